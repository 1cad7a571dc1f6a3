// SPDX-License-Identifier: GPL-2.0-only
/* A pair as the kernel has it now. */

#define _GNU_SOURCE
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>

#include "status.h"

/* The counted words after the fixed fields; the rest after them. */
static const char *counted(const char *at, struct words *words)
{
	unsigned int count, i;
	int len;

	if (sscanf(at, "%u%n", &count, &len) != 1)
		return NULL;
	at += len;
	for (i = 0; i < count; i++) {
		at += strspn(at, " ");
		len = strcspn(at, " ");
		if (!len)
			return NULL;
		words_add(words, "%.*s", len, at);
		at += len;
	}
	return at;
}

static int parse_view(const char *params, struct live *live)
{
	int len = 0;
	int got = sscanf(params, "secondary %31s %95s %" SCNu64 " %" SCNu64 " %" SCNu64
			 " %" SCNu64 " %" SCNu64 " %" SCNu64 "/%" SCNu64 " %" SCNu64
			 "/%" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64 "%n",
			 live->stage, live->error, &live->epoch, &live->age, &live->active,
			 &live->saved, &live->held, &live->committed, &live->to_commit,
			 &live->pause_last, &live->pause_longest, &live->captures,
			 &live->spills, &live->errors, &live->leaf_bytes, &len);

	if (got != 15)
		return -EPROTO;
	params = counted(params + len, &live->flags);
	if (!params || !counted(params, &live->args))
		return -EPROTO;
	live->kind = LIVE_VIEW;
	return 0;
}

static int parse_primary(const char *params, struct live *live)
{
	int len = 0;
	int got = sscanf(params, "primary %31s %95s %" SCNu64 " %" SCNu64 "/%" SCNu64
			 " %" SCNu64 "%n", live->stage, live->error, &live->dirty,
			 &live->resynced, &live->to_resync, &live->errors, &len);

	if (got != 6)
		return -EPROTO;
	params = counted(params + len, &live->flags);
	if (!params || !counted(params, &live->args))
		return -EPROTO;
	live->kind = LIVE_PRIMARY;
	return 0;
}

static int parse_status(const struct dm_line *line, struct live *live)
{
	live->kind = LIVE_OTHER;
	if (!strcmp(line->target, "linear") &&
	    !strncmp(line->uuid, UUID_VIEW, strlen(UUID_VIEW))) {
		live->kind = LIVE_PROMOTED;
		strcpy(live->stage, "done");
		strcpy(live->error, "none");
		return 0;
	}
	if (strcmp(line->target, "replication"))
		return 0;
	if (!strncmp(line->params, "secondary ", strlen("secondary ")))
		return parse_view(line->params, live);
	if (!strncmp(line->params, "primary ", strlen("primary ")))
		return parse_primary(line->params, live);
	return 0;
}

int live_read_view(const char *name, struct live *live)
{
	struct dm_line line;
	int err = dm_status(name, &line);

	memset(live, 0, sizeof(*live));
	if (err == -ENXIO || err == -ENODATA) {
		live->kind = err == -ENXIO ? LIVE_NONE : LIVE_OTHER;
		live->name = must_copy(name);
		dm_line_free(&line);
		return 0;
	}
	if (!err) {
		live->name = must_copy(name);
		live->uuid = must_copy(line.uuid);
		live->sectors = line.sectors;
		live->event = line.event;
		live->open = line.open;
		live->dev = makedev(line.major, line.minor);
		err = parse_status(&line, live);
	}
	dm_line_free(&line);
	if (err)
		live_free(live);
	return err;
}

/* The devices that a table line names: its first words with a colon, and a primary's local. */
static int read_table(struct live *live)
{
	unsigned int at = 0, len;
	struct dm_line line;
	const char *word;
	int err = dm_table(live->name, &line);

	if (err)
		return err;
	for (word = line.params; *word && at < COUNT(live->table); word += len) {
		word += strspn(word, " ");
		len = strcspn(word, " ");
		if (strspn(word, "0123456789") && memchr(word, ':', len) &&
		    strspn(word, "0123456789:") == len)
			live->table[at++] = must_print("%.*s", (int)len, word);
	}
	dm_line_free(&line);
	return 0;
}

/* Whether a device is the origin on the given secondary; if so its fence is read. */
static bool is_origin_on(const char *name, const char *secondary, struct live *live)
{
	struct dm_line line;
	char dev[32];
	bool is;

	is = !dm_table(name, &line) && !strcmp(line.target, "replication") &&
	     sscanf(line.params, "origin %31s", dev) == 1 && !strcmp(dev, secondary);
	dm_line_free(&line);
	if (!is)
		return false;
	if (!dm_status(name, &line))
		sscanf(line.params, "origin %*s %15s", live->fence);
	dm_line_free(&line);
	return true;
}

static int find_origin(struct live *live)
{
	char *usual AUTOFREE = must_print("%s-origin", live->name);
	const char *secondary = live->kind == LIVE_VIEW ? live->table[2] : live->table[0];
	struct words names = {};
	unsigned int i;
	int err = 0;

	if (!secondary)
		return -EPROTO;
	if (is_origin_on(usual, secondary, live)) {
		live->origin = must_copy(usual);
		return 0;
	}
	err = dm_names(&names);
	for (i = 0; !err && i < names.count && !live->origin; i++) {
		if (is_origin_on(names.word[i], secondary, live))
			live->origin = must_copy(names.word[i]);
	}
	words_free(&names);
	return err;
}

int live_read(const char *name, struct live *live)
{
	int err = live_read_view(name, live);

	if (err || live->kind <= LIVE_OTHER)
		return err;
	err = read_table(live);
	if (!err && live->kind != LIVE_PRIMARY)
		err = find_origin(live);
	if (err)
		live_free(live);
	return err;
}

void live_free(struct live *live)
{
	unsigned int i;

	free(live->name);
	free(live->uuid);
	free(live->origin);
	for (i = 0; i < COUNT(live->table); i++)
		free(live->table[i]);
	words_free(&live->flags);
	words_free(&live->args);
	memset(live, 0, sizeof(*live));
}

bool live_is(const struct live *live, const char *stage)
{
	return !strcmp(live->stage, stage);
}

bool live_is_promoted(const struct live *live)
{
	return live_is(live, "failover") || live_is(live, "failover_failed") ||
	       live_is(live, "done");
}

bool live_has_flag(const struct live *live, const char *flag)
{
	unsigned int i;

	for (i = 0; i < live->flags.count; i++) {
		if (!strcmp(live->flags.word[i], flag))
			return true;
	}
	return false;
}

const char *live_arg(const struct live *live, const char *name)
{
	unsigned int i;

	for (i = 0; i + 1 < live->args.count; i += 2) {
		if (!strcmp(live->args.word[i], name))
			return live->args.word[i + 1];
	}
	return NULL;
}

/* All views and primaries; with @group only the views of that group. */
static int collect(const char *group, struct words *names)
{
	struct words all = {};
	const char *its;
	struct live live;
	unsigned int i;
	int err = dm_names(&all);

	for (i = 0; !err && i < all.count; i++) {
		if (live_read_view(all.word[i], &live))
			continue;
		its = live_arg(&live, "group");
		if (live.kind > LIVE_OTHER && (!group || (its && !strcmp(its, group))))
			words_add(names, "%s", all.word[i]);
		live_free(&live);
	}
	words_free(&all);
	return err;
}

int live_names(struct words *names)
{
	return collect(NULL, names);
}

int live_group(const char *group, struct words *names)
{
	return collect(group, names);
}

uint64_t undone_by_failover(const struct live *live)
{
	return live_is(live, "running") ? live->saved * SECTOR : 0;
}

uint64_t dropped_by_promote(const struct live *live)
{
	return live_is(live, "running") ? live->active * SECTOR : 0;
}
