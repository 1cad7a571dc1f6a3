// SPDX-License-Identifier: GPL-2.0-only
/* A pair's devices: made, taken down, promoted. */

#define _GNU_SOURCE
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "host.h"
#include "lvm.h"
#include "pair.h"

/* --- what the kernel says ------------------------------------------------- */

int live_must(const char *name, struct live *live)
{
	int err = live_read(name, live);

	if (err == -EACCES || err == -EPERM)
		return fail(EXIT_FAILED, "device mapper refuses; only root may ask it");
	if (err == -EPROTO)
		return fail(EXIT_FAILED,
			    "%s: its status is not understood; dmrepl and module are of different versions",
			    name);
	if (err)
		return fail(EXIT_FAILED, "%s: its status cannot be read: %s", name,
			    strerror(-err));
	if (live->kind == LIVE_NONE && config_exists(name)) {
		live_free(live);
		return fail(EXIT_NO_PAIR, "%s is not up; dmrepl up %s", name, name);
	}
	err = live->kind;
	if (err <= LIVE_OTHER)
		live_free(live);
	if (err == LIVE_NONE)
		return fail(EXIT_NO_PAIR, "%s: there is no such pair; dmrepl status lists them",
			    name);
	if (err == LIVE_OTHER)
		return fail(EXIT_NO_PAIR, "%s is a device, but no view of dm-replication", name);
	return EXIT_DONE;
}

bool stir = true;

/* What udev knows of a device goes by its role, of a view by its stage, too. */
static void stir_udev(dev_t dev)
{
	char *path AUTOFREE = must_print("/sys/dev/block/%u:%u/uevent", major(dev), minor(dev));
	FILE *file = fopen(path, "we");

	if (file) {
		fputs("change", file);
		fclose(file);
	}
}

static void stir_mapped(const char *name)
{
	struct live live;

	if (live_read_view(name, &live))
		return;
	stir_udev(live.dev);
	live_free(&live);
}

void pair_stir_disks(const struct pair *pair)
{
	unsigned int i;

	for (i = 0; i < KEYS && !dry_run; i++) {
		dev_t dev = keys[i].kind == DEVICE && pair->value[i] ?
			    device_number(pair->value[i]) : 0;

		if (dev)
			stir_udev(dev);
	}
}

int tell(const char *device, const char *message)
{
	char *reason AUTOFREE = NULL;
	int log = klog_open(), err;

	err = dm_tell(device, message, NULL);
	reason = klog_reason(log);
	switch (err) {
	case 0:
		if (!dry_run && stir)
			stir_mapped(device);
		return EXIT_DONE;
	case -ETIMEDOUT:
		return fail(EXIT_TIME, "%s: %s: %s", device, message, reason ? reason :
			    "requests are still under way, nothing has changed; try again");
	case -EINTR:
		return fail(EXIT_TIME, "%s: %s: interrupted, nothing has changed", device,
			    message);
	case -EBUSY:
	case -EINVAL:
	case -ENODEV:
	case -ENXIO:
		return fail(EXIT_STAGE, "%s: %s is refused: %s", device, message,
			    reason ? reason : strerror(-err));
	default:
		return fail(EXIT_FAILED, "%s: %s failed: %s", device, message,
			    reason ? reason : strerror(-err));
	}
}

/* --- table lines ---------------------------------------------------------- */

static char *view_params(const struct pair *pair, const char *active, const char *hidden)
{
	struct words features = {};
	char *text = NULL;
	unsigned int i;
	size_t len;
	FILE *to = open_memstream(&text, &len);

	for (i = 0; i < KEYS; i++) {
		if (!pair->value[i] || !(keys[i].mode & OF_TABLE))
			continue;
		words_add(&features, "%s", keys[i].name);
		if (keys[i].kind != SWITCH)
			words_add(&features, "%s", pair->value[i]);
	}
	if (is_primary(pair))
		fprintf(to, "primary %s", pair->value[KEY_REPLICA]);
	else
		fprintf(to, "secondary %s %s %s", active, hidden, pair->value[KEY_SECONDARY]);
	if (features.count)
		fprintf(to, " %u", features.count);
	for (i = 0; i < features.count; i++)
		fprintf(to, " %s", features.word[i]);
	fclose(to);
	words_free(&features);
	return text;
}

static const char *length_device(const struct pair *pair)
{
	if (!is_primary(pair))
		return pair->value[KEY_SECONDARY];
	return pair->value[KEY_LOCAL] ? pair->value[KEY_LOCAL] : pair->value[KEY_REPLICA];
}

uint64_t pair_sectors(const struct pair *pair)
{
	const char *path = length_device(pair);
	int64_t sectors = device_sectors(path);

	if (sectors > 0)
		return sectors;
	fail(EXIT_FAILED, "%s: %s cannot be used: %s", pair->name, path,
	     sectors ? strerror(-sectors) : "it has no size");
	return 0;
}

/* --- up ------------------------------------------------------------------- */

struct building {
	const struct pair *pair;
	uint64_t sectors, extent;
	bool journalled;
	bool reuse;		/* what there is of it stays */
	struct words made;	/* what to remove again if a later step fails */
};

static bool is_ours(const char *name, const char *uuid)
{
	struct dm_line line;
	bool ours = !dm_status(name, &line) && line.uuid && !strcmp(line.uuid, uuid);

	dm_line_free(&line);
	return ours;
}

static int make(struct building *b, const struct dm_new *new)
{
	char *reason AUTOFREE = NULL;
	int log, err, code;

	if (interrupted())
		return fail(EXIT_FAILED, "%s: interrupted", b->pair->name);
	if (b->reuse && is_ours(new->name, new->uuid))
		return EXIT_DONE;
	if (dm_exists(new->name))
		return fail(EXIT_FAILED, "%s: there is a device %s already", b->pair->name,
			    new->name);
	code = b->journalled ? journal_add(b->pair->name, "device", new->name) : EXIT_DONE;
	if (code)
		return code;
	log = klog_open();
	err = dm_make(new);
	reason = klog_reason(log);
	if (!err) {
		words_add(&b->made, "%s", new->name);
		return EXIT_DONE;
	}
	if (!strcmp(new->target, "replication") && !reason && err == -EINVAL)
		return fail(EXIT_FAILED, "%s: the kernel knows no target replication; modprobe dm-replication",
			    new->name);
	return fail(EXIT_FAILED, "%s cannot be made: %s", new->name,
		    reason ? reason : strerror(-err));
}

/* The device itself, or the first part of it if it is longer than secondary. */
static int make_part(struct building *b, enum key_id key, char **path)
{
	const char *whole = b->pair->value[key];
	char *name AUTOFREE = must_print("%s-%s", b->pair->name, keys[key].name);
	char *uuid AUTOFREE = must_print(UUID_PART "%s-%s", b->pair->name, keys[key].name);
	char *params AUTOFREE = must_print("%s 0", whole);
	struct dm_new new = {
		.name = name, .uuid = uuid, .target = "linear", .params = params,
		.sectors = b->sectors, .sight = SIGHT_NONE,
	};
	int64_t sectors = device_sectors(whole);

	if (sectors < 0 && dry_run && b->extent)
		sectors = (b->sectors + b->extent - 1) / b->extent * b->extent;
	if (sectors < 0)
		return fail(EXIT_FAILED, "%s: %s (%s) cannot be used: %s", b->pair->name,
			    keys[key].name, whole, strerror(-sectors));
	if ((uint64_t)sectors < b->sectors)
		return fail(EXIT_FAILED, "%s: %s (%s) is %llu sectors shorter than secondary; make it at least as long",
			    b->pair->name, keys[key].name, whole,
			    (unsigned long long)(b->sectors - sectors));
	if ((uint64_t)sectors == b->sectors) {
		*path = must_copy(whole);
		return EXIT_DONE;
	}
	*path = must_print("/dev/mapper/%s", name);
	return make(b, &new);
}

static int make_origin(struct building *b, bool fenced)
{
	char *name AUTOFREE = must_print("%s-origin", b->pair->name);
	char *uuid AUTOFREE = must_print(UUID_ORIGIN "%s", b->pair->name);
	char *params AUTOFREE = must_print("origin %s%s", b->pair->value[KEY_SECONDARY],
					   fenced ? " 1 fenced" : "");
	struct dm_new new = {
		.name = name, .uuid = uuid, .target = "replication", .params = params,
		.sectors = b->sectors, .sight = SIGHT_NONE,
	};

	return make(b, &new);
}

static int make_view(struct building *b, const char *target, const char *params)
{
	char *uuid AUTOFREE = must_print(UUID_VIEW "%s", b->pair->name);
	struct dm_new new = {
		.name = b->pair->name, .uuid = uuid, .target = target, .params = params,
		.sectors = b->sectors, .sight = SIGHT_LOW,
	};

	return make(b, &new);
}

static int make_pair(struct building *b)
{
	const struct pair *pair = b->pair;
	char *active AUTOFREE = NULL, *hidden AUTOFREE = NULL, *params AUTOFREE = NULL;
	int code;

	if (is_primary(pair)) {
		params = view_params(pair, NULL, NULL);
		return make_view(b, "replication", params);
	}
	code = make_part(b, KEY_ACTIVE, &active);
	if (!code)
		code = make_part(b, KEY_HIDDEN, &hidden);
	if (code)
		return code;
	params = view_params(pair, active, hidden);
	/* With metadata the view lifts the fence if what it remembers allows it. */
	code = make_origin(b, !!pair->value[KEY_METADATA]);
	return code ? code : make_view(b, "replication", params);
}

/* The promoted disk under the name of the view, and an origin that lets nothing in. */
static int make_promoted(struct building *b)
{
	char *params AUTOFREE = must_print("%s 0", b->pair->value[KEY_SECONDARY]);
	int code = make_origin(b, true);

	return code ? code : make_view(b, "linear", params);
}

static int build(struct building *b, enum assembly as)
{
	unsigned int i;
	int code;

	if (!b->sectors)
		b->sectors = pair_sectors(b->pair);
	if (!b->sectors)
		return EXIT_FAILED;
	code = as == AS_PROMOTED ? make_promoted(b) : make_pair(b);
	for (i = b->made.count; code && i--;) {
		if (dm_gone(b->made.word[i]))
			warn("%s could not be removed again; dmsetup remove %s", b->made.word[i],
			     b->made.word[i]);
	}
	words_free(&b->made);
	return code;
}

/* A promoted disk needs no view's. */
static void wait_for_disks(const struct pair *pair, enum assembly as, uint64_t ms)
{
	struct words paths = {};
	unsigned int i;

	for (i = 0; i < KEYS; i++) {
		if (pair->value[i] && keys[i].kind == DEVICE &&
		    (as == AS_PAIR || i == KEY_SECONDARY))
			words_add(&paths, "%s", pair->value[i]);
	}
	await_devices(&paths, ms);
	words_free(&paths);
}

/* A failover that a crash has cut short leaves a disk that is neither state. */
static int check_promotion(const struct pair *pair, const struct promotion *promotion)
{
	const char *its = pair->value[KEY_SECONDARY];

	if (!strcmp(promotion->state, "rejoining"))
		return fail(EXIT_STAGE, "%s: its rejoin was cut short; dmrepl rejoin %s again",
			    pair->name, pair->name);
	if (!its || (promotion->secondary && strcmp(promotion->secondary, its)))
		return fail(EXIT_STAGE, "%s: %s was promoted, the configuration names %s; dmrepl rejoin %s first",
			    pair->name, promotion->secondary ? promotion->secondary : "a view",
			    its ? its : "no secondary", pair->name);
	if (promotion->metadata != !!pair->value[KEY_METADATA])
		return fail(EXIT_STAGE, "%s: it was promoted %s metadata, the configuration says otherwise; mend that, or give the promotion up: dmrepl rejoin %s",
			    pair->name, promotion->metadata ? "with" : "without", pair->name);
	if (!strcmp(promotion->kind, "failover") && strcmp(promotion->state, "done") &&
	    !promotion->metadata)
		return fail(EXIT_STAGE, "%s: nobody has noted the end of its failover of %s, %s may be partly new, partly old; replicate anew: dmrepl rejoin %s; or, if it is known to have ended, say state = done in /var/lib/dmrepl/%s",
			    pair->name, promotion->time, its, pair->name, pair->name);
	return EXIT_DONE;
}

/* Other metadata than those of the promotion have no fence in them. */
static int check_still_promoted(const struct pair *pair)
{
	bool is = dry_run;
	struct live live;

	if (!is && !live_read_view(pair->name, &live)) {
		is = live_is_promoted(&live);
		live_free(&live);
	}
	if (is)
		return EXIT_DONE;
	pair_down(pair->name);
	return fail(EXIT_STAGE, "%s: it was promoted, %s knows nothing of that; mend it, or give the promotion up: dmrepl rejoin %s",
		    pair->name, pair->value[KEY_METADATA], pair->name);
}

static bool is_up(const struct pair *pair)
{
	char *origin AUTOFREE = must_print("%s-origin", pair->name);
	char *uuid AUTOFREE = must_print(UUID_ORIGIN "%s", pair->name);
	char *view AUTOFREE = must_print(UUID_VIEW "%s", pair->name);

	return is_ours(pair->name, view) && (is_primary(pair) || is_ours(origin, uuid));
}

int pair_up(const struct pair *pair, uint64_t wait_ms)
{
	struct building b = { .pair = pair };
	struct promotion promotion;
	enum assembly as;
	bool promoted, done;
	int code;

	if (is_up(pair)) {
		note("%s is up already", pair->name);
		return EXIT_DONE;
	}
	code = promotion_read(pair->name, &promotion);
	if (!code && promotion.kind[0])
		code = check_promotion(pair, &promotion);
	promoted = promotion.kind[0] && !promotion.metadata;
	done = !strcmp(promotion.state, "done") && promotion.metadata;
	promotion_free(&promotion);
	if (code)
		return code;
	as = promoted ? AS_PROMOTED : AS_PAIR;
	wait_for_disks(pair, as, wait_ms);
	code = build(&b, as);
	/* At their first event those named by a link of udev's were not known yet. */
	if (!code)
		pair_stir_disks(pair);
	return !code && done ? check_still_promoted(pair) : code;
}

int pair_view_up(const struct pair *pair)
{
	struct building b = { .pair = pair, .reuse = true };

	return build(&b, AS_PAIR);
}

int pair_up_journalled(const struct pair *pair, uint64_t sectors, uint64_t extent)
{
	struct building b = {
		.pair = pair, .journalled = true, .sectors = sectors, .extent = extent,
	};

	return build(&b, AS_PAIR);
}

/* --- down ----------------------------------------------------------------- */

/* Only what has our uuid: a device of this name may be somebody else's. */
static int remove_ours(const char *name, const char *uuid)
{
	struct dm_line line;
	int err = dm_status(name, &line);
	bool ours = !err && line.uuid && !strcmp(line.uuid, uuid);
	int open = line.open;

	dm_line_free(&line);
	if (err == -ENXIO)
		return EXIT_DONE;
	if (!ours)
		return fail(EXIT_FAILED, "%s is not a device that dmrepl has made; dmsetup remove it",
			    name);
	err = dm_gone(name);
	if (err == -EBUSY)
		return fail(EXIT_STAGE, "%s is in use (opened %d times); close what uses it, or wait for the end of a failover",
			    name, open);
	if (err)
		return fail(EXIT_FAILED, "%s cannot be removed: %s", name, strerror(-err));
	return EXIT_DONE;
}

int pair_check_names(const char *name)
{
	static const char * const endings[] = { "", "-origin", "-active", "-hidden" };
	unsigned int i;

	for (i = 0; i < COUNT(endings); i++) {
		char *device AUTOFREE = must_print("%s%s", name, endings[i]);

		if (dm_exists(device))
			return fail(EXIT_FAILED, "%s: there is a device %s already; take it down, or give another name",
				    name, device);
	}
	return EXIT_DONE;
}

int pair_view_down(const char *name)
{
	char *uuid AUTOFREE = must_print(UUID_VIEW "%s", name);

	return remove_ours(name, uuid);
}

int pair_down(const char *name)
{
	static const char * const parts[] = { "active", "hidden" };
	char *origin AUTOFREE = must_print("%s-origin", name);
	char *uuid AUTOFREE = must_print(UUID_ORIGIN "%s", name);
	unsigned int i;
	int code;

	code = pair_view_down(name);
	if (!code)
		code = remove_ours(origin, uuid);
	for (i = 0; i < COUNT(parts) && !code; i++) {
		char *part AUTOFREE = must_print("%s-%s", name, parts[i]);
		char *its AUTOFREE = must_print(UUID_PART "%s-%s", name, parts[i]);

		code = remove_ours(part, its);
	}
	return code;
}

static int undo_volume(const char *name, char *volume)
{
	char *slash = strchr(volume, '/');

	if (!slash)
		return EXIT_DONE;
	*slash = 0;
	return lvm_remove(volume, slash + 1, name);
}

/* Another device of the pair may be one that was there before. */
static int undo_device(const char *name, const char *device)
{
	char *origin AUTOFREE = must_print("%s-origin", name);
	char *uuid AUTOFREE = NULL;

	if (!strcmp(device, name))
		uuid = must_print(UUID_VIEW "%s", name);
	else if (!strcmp(device, origin))
		uuid = must_print(UUID_ORIGIN "%s", name);
	else
		uuid = must_print(UUID_PART "%s", device);
	return remove_ours(device, uuid);
}

int pair_undo(const char *name)
{
	struct words lines = {};
	unsigned int i;
	int code;

	code = journal_read(name, &lines);
	for (i = 0; i < lines.count && !code; i++) {
		if (!strncmp(lines.word[i], "device ", strlen("device ")))
			code = undo_device(name, lines.word[i] + strlen("device "));
		if (!strncmp(lines.word[i], "volume ", strlen("volume ")))
			code = undo_volume(name, lines.word[i] + strlen("volume "));
	}
	words_free(&lines);
	return code ? code : journal_remove(name);
}
