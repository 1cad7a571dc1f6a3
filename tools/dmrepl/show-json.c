// SPDX-License-Identifier: GPL-2.0-only
/* Pairs as programs read them. Documentation/dmrepl-status.schema.json says what there is. */

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>

#include "host.h"
#include "show.h"

typedef struct json_object json;

static void add_text(json *to, const char *name, const char *text)
{
	json_object_object_add(to, name, text ? json_object_new_string(text) : NULL);
}

static void add_number(json *to, const char *name, uint64_t number)
{
	json_object_object_add(to, name, json_object_new_uint64(number));
}

static void add_bytes(json *to, const char *name, uint64_t sectors)
{
	add_number(to, name, sectors * SECTOR);
}

static json *two(const char *first, uint64_t a, const char *second, uint64_t b)
{
	json *object = json_object_new_object();

	add_number(object, first, a);
	add_number(object, second, b);
	return object;
}

/* "spill:-5", or "none". */
static json *error_of(const char *error)
{
	const char *colon = strchr(error, ':');
	json *object;

	if (!colon)
		return NULL;
	object = json_object_new_object();
	json_object_object_add(object, "class", json_object_new_string_len(error, colon - error));
	json_object_object_add(object, "errno", json_object_new_int(abs(atoi(colon + 1))));
	return object;
}

static json *flags_of(const struct live *live)
{
	json *array = json_object_new_array();
	unsigned int i;

	for (i = 0; i < live->flags.count; i++)
		json_object_array_add(array, json_object_new_string(live->flags.word[i]));
	return array;
}

/* Numbers as numbers, the rest as words. */
static json *tunables_of(const struct live *live)
{
	json *object = json_object_new_object();
	uint64_t number;
	unsigned int i;

	for (i = 0; i + 1 < live->args.count; i += 2) {
		if (number_of(live->args.word[i + 1], UINT32_MAX, &number))
			add_number(object, live->args.word[i], number);
		else
			add_text(object, live->args.word[i], live->args.word[i + 1]);
	}
	return object;
}

static void add_devices(json *to, const struct live *live)
{
	static const char * const of_view[] = { "active", "hidden", "secondary", "metadata" };
	static const char * const of_primary[] = { "replica", "local", "metadata" };
	const char * const *names = live->kind == LIVE_PRIMARY ? of_primary : of_view;
	json *object = json_object_new_object();
	unsigned int i;

	for (i = 0; i < COUNT(live->table); i++) {
		char *path AUTOFREE = live->table[i] ? device_path(live->table[i]) : NULL;

		if (path && live->kind == LIVE_PROMOTED)
			add_text(object, "secondary", path);
		else if (path)
			add_text(object, names[i], path);
	}
	json_object_object_add(to, "devices", object);
}

static void add_view(json *to, const struct live *live)
{
	add_text(to, "group", live_arg(live, "group"));
	add_number(to, "epoch", live->epoch);
	add_number(to, "checkpoint_age_s", live->age);
	add_number(to, "failover_undoes_bytes", undone_by_failover(live));
	add_number(to, "promote_drops_bytes", dropped_by_promote(live));
	add_bytes(to, "active_bytes", live->active);
	add_bytes(to, "saved_bytes", live->saved);
	add_bytes(to, "held_bytes", live->held);
	json_object_object_add(to, "commit", two("done_bytes", live->committed * SECTOR,
						 "total_bytes", live->to_commit * SECTOR));
	json_object_object_add(to, "pause_us", two("last", live->pause_last, "longest",
						   live->pause_longest));
	add_number(to, "captures", live->captures);
	add_number(to, "spills", live->spills);
	add_number(to, "errors", live->errors);
	add_number(to, "memory_bytes", live->leaf_bytes);
	json_object_object_add(to, "tunables", tunables_of(live));
}

static void add_primary(json *to, const struct live *live)
{
	add_bytes(to, "dirty_bytes", live->dirty);
	json_object_object_add(to, "resync", two("done_bytes", live->resynced * SECTOR,
						 "total_bytes", live->to_resync * SECTOR));
	add_number(to, "errors", live->errors);
	json_object_object_add(to, "tunables", tunables_of(live));
}

static void add_live(json *to, const struct live *live)
{
	char *path AUTOFREE = must_print("/dev/mapper/%s", live->name);
	char *mounted AUTOFREE = mounted_at(live->dev);
	json *origin = NULL;

	add_text(to, "device", path);
	add_number(to, "major", major(live->dev));
	add_number(to, "minor", minor(live->dev));
	add_bytes(to, "size_bytes", live->sectors);
	add_number(to, "open", live->open);
	add_text(to, "mounted", mounted);
	json_object_object_add(to, "error", error_of(live->error));
	json_object_object_add(to, "flags", flags_of(live));
	add_devices(to, live);
	if (live->origin) {
		char *its AUTOFREE = must_print("/dev/mapper/%s", live->origin);

		origin = json_object_new_object();
		add_text(origin, "device", its);
		add_text(origin, "fence", live->fence);
	}
	json_object_object_add(to, "origin", origin);
	if (live->kind == LIVE_VIEW)
		add_view(to, live);
	else if (live->kind == LIVE_PRIMARY)
		add_primary(to, live);
}

static json *promotion_of(const struct promotion *promotion)
{
	json *object;

	if (!promotion->kind[0])
		return NULL;
	object = json_object_new_object();
	add_text(object, "kind", promotion->kind);
	add_text(object, "state", promotion->state);
	add_text(object, "time", promotion->time);
	return object;
}

static const char *mode_of(const struct row *row)
{
	switch (row->live.kind) {
	case LIVE_VIEW:
		return "secondary";
	case LIVE_PRIMARY:
		return "primary";
	case LIVE_PROMOTED:
		return "promoted";
	default:
		return is_primary(&row->pair) ? "primary" : "secondary";
	}
}

struct json_object *show_json(const struct rows *rows)
{
	json *all = json_object_new_object(), *array = json_object_new_array(), *object;
	unsigned int i;

	for (i = 0; i < rows->count; i++) {
		const struct row *row = &rows->row[i];

		object = json_object_new_object();
		add_text(object, "name", row->name);
		add_text(object, "mode", mode_of(row));
		add_text(object, "stage", row_stage(row));
		json_object_object_add(object, "configured",
				       json_object_new_boolean(row->configured));
		json_object_object_add(object, "promotion", promotion_of(&row->promotion));
		if (row->live.kind > LIVE_OTHER)
			add_live(object, &row->live);
		json_object_array_add(array, object);
	}
	add_number(all, "version", 1);
	json_object_object_add(all, "pairs", array);
	return all;
}
