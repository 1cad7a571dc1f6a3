// SPDX-License-Identifier: GPL-2.0-only
/* create, up, down, rejoin, remove. */

#include <stdlib.h>
#include <string.h>

#include "command.h"
#include "host.h"
#include "lvm.h"
#include "pair.h"

/* --- create --------------------------------------------------------------- */

#define KEY_TEXT(name, id, arg, help) \
	{ name, 0, POPT_ARG_STRING, &opts.key[id], 0, help, arg }
#define KEY_FLAG(name, id, help) \
	{ name, 0, POPT_ARG_NONE, &opts.key_on[id], 0, help, NULL }

static const struct poptOption create_options[] = {
	KEY_TEXT("active", KEY_ACTIVE, "DEVICE", "takes what the view writes"),
	KEY_TEXT("hidden", KEY_HIDDEN, "DEVICE", "takes old data of the replica"),
	KEY_TEXT("secondary", KEY_SECONDARY, "DEVICE", "the replica"),
	KEY_TEXT("metadata", KEY_METADATA, "DEVICE", "makes the overlay outlive a crash"),
	TEXT("vg", vg, "VG", "make what is missing of these as volumes of this group"),
	TEXT("thin", thin, "POOL", "with --vg: active and hidden as thin volumes in this pool"),
	TEXT("size", size, "SIZE", "with --vg: make secondary, too; a size as for lvcreate"),
	KEY_TEXT("replica", KEY_REPLICA, "DEVICE", "a primary: where its writes are forwarded"),
	KEY_TEXT("local", KEY_LOCAL, "DEVICE", "a primary: its own disk"),
	KEY_FLAG("in-sync", KEY_IN_SYNC, "a primary: local and replica are equal now"),
	KEY_TEXT("group", KEY_GROUP, "NAME", "its group"),
	KEY_TEXT("hold-mib", KEY_HOLD_MIB, "N", "MiB of captures held in memory (32)"),
	KEY_TEXT("on-capture-error", KEY_ON_CAPTURE_ERROR, "WHAT", "fail or drop_view (fail)"),
	KEY_TEXT("checkpoint-timeout-ms", KEY_CHECKPOINT_TIMEOUT_MS, "N",
		 "a drain that lasts longer is given up (5000)"),
	KEY_TEXT("commit-rate-mib", KEY_COMMIT_RATE_MIB, "N", "MiB/s of a failover (0: no limit)"),
	KEY_TEXT("resync-rate-mib", KEY_RESYNC_RATE_MIB, "N", "MiB/s of a resync (0: no limit)"),
	KEY_TEXT("replica-timeout-ms", KEY_REPLICA_TIMEOUT_MS, "N",
		 "a replica that is silent so long is broken (0: never)"),
	KEY_FLAG("autostart", KEY_AUTOSTART, "start when the devices come up"),
	KEY_FLAG("discard-passdown", KEY_DISCARD_PASSDOWN,
		 "give the space of thin volumes back after each checkpoint"),
	KEY_FLAG("guarded", KEY_GUARDED, "come up with the guard on"),
	FLAG("transient", transient, "write no configuration file: gone after a reboot"),
	DRY_RUN, END
};

static int take_options(struct pair *pair)
{
	const char *wrong;
	unsigned int i;

	for (i = 0; i < KEYS; i++) {
		if (opts.key_on[i])
			opts.key[i] = must_copy("on");
		wrong = opts.key[i] ? pair_set(pair, i, opts.key[i]) : NULL;
		if (wrong)
			return fail(EXIT_USAGE, "%s: %s %s", opts.key[i], keys[i].name, wrong);
	}
	if (!opts.vg && (opts.thin || opts.size))
		return fail(EXIT_USAGE, "--thin and --size need --vg");
	if (opts.vg && is_primary(pair))
		return fail(EXIT_USAGE, "--vg is for views; name the primary's devices");
	return EXIT_DONE;
}

/* Makes one volume; the journal has it before. */
static int make_volume(struct pair *pair, enum key_id key, uint64_t sectors)
{
	char *volume AUTOFREE = must_print("%s_%s", pair->name, keys[key].name);
	char *line AUTOFREE = must_print("%s/%s", opts.vg, volume);
	char *path AUTOFREE = must_print("/dev/%s/%s", opts.vg, volume);
	bool thin = opts.thin && (key == KEY_ACTIVE || key == KEY_HIDDEN), there;
	int code;

	if (interrupted())
		return fail(EXIT_FAILED, "%s: interrupted", pair->name);
	code = lvm_find(opts.vg, volume, &there);
	if (code)
		return code;
	if (there)
		return fail(EXIT_FAILED, "%s: there is a volume %s already", pair->name, line);
	code = journal_add(pair->name, "volume", line);
	if (!code)
		code = lvm_make(opts.vg, volume, thin ? opts.thin : NULL, sectors, pair->name);
	if (!code && pair_set(pair, key, path))
		code = fail(EXIT_USAGE, "%s: is no name of a volume group", opts.vg);
	return code;
}

/* Of volumes that are not made: how long secondary would be, and what an extent is. */
static uint64_t planned_sectors, extent;

static int make_secondary(struct pair *pair)
{
	uint64_t sectors = 0;
	int code;

	if (!sectors_of(opts.size, &sectors))
		return fail(EXIT_USAGE, "--size %s: must be a number with s, k, m, g, t or p",
			    opts.size);
	code = make_volume(pair, KEY_SECONDARY, sectors);
	if (dry_run)
		planned_sectors = (sectors + extent - 1) / extent * extent;
	return code;
}

/* Whole extents: active and hidden become as long as secondary by dm-linear. */
static int make_volumes(struct pair *pair)
{
	static const enum key_id others[] = { KEY_ACTIVE, KEY_HIDDEN };
	uint64_t sectors;
	unsigned int i;
	int code;

	if (bad_name(opts.vg) || pair_set(pair, KEY_VOLUMES, opts.vg))
		return fail(EXIT_USAGE, "%s: is no name of a volume group", opts.vg);
	if (!pair->value[KEY_SECONDARY] == !opts.size)
		return fail(EXIT_USAGE, "with --vg give either --secondary DEVICE or --size SIZE");
	extent = lvm_extent(opts.vg);
	if (!extent)
		return EXIT_FAILED;
	code = opts.size ? make_secondary(pair) : EXIT_DONE;
	if (code)
		return code;
	sectors = planned_sectors ? planned_sectors : pair_sectors(pair);
	if (!sectors)
		return EXIT_FAILED;
	for (i = 0; i < COUNT(others); i++) {
		code = pair->value[others[i]] ? EXIT_DONE : make_volume(pair, others[i], sectors);
		if (code)
			return code;
	}
	return EXIT_DONE;
}

static int create_steps(struct pair *pair)
{
	char *wrong AUTOFREE = NULL;
	int code = opts.vg ? make_volumes(pair) : EXIT_DONE;

	if (code)
		return code;
	wrong = pair_wrong(pair);
	if (wrong)
		return fail(EXIT_USAGE, "%s: %s; dmrepl create --help", pair->name, wrong);
	code = pair_up_journalled(pair, planned_sectors, extent);
	if (!code && !opts.transient) {
		code = config_write(pair);
		pair_stir_disks(pair);
	}
	return code;
}

static int create_pair(struct pair *pair)
{
	char *path AUTOFREE = config_path(pair->name);
	int code;

	if (config_exists(pair->name))
		return fail(EXIT_FAILED, "%s: there is %s already; dmrepl up, or dmrepl remove first",
			    pair->name, path);
	if (journal_exists(pair->name))
		return fail(EXIT_FAILED, "%s: a create was cut short; dmrepl remove %s takes down what it has made",
			    pair->name, pair->name);
	if (promotion_exists(pair->name))
		return fail(EXIT_FAILED, "%s: there is the record of an earlier promotion; dmrepl remove %s forgets it",
			    pair->name, pair->name);
	code = pair_check_names(pair->name);
	if (code)
		return code;
	catch_signals();
	code = create_steps(pair);
	if (!code)
		return journal_remove(pair->name);
	if (!dry_run && journal_exists(pair->name)) {
		if (pair_undo(pair->name))
			note("%s: not all could be undone; dmrepl remove %s tries again",
			     pair->name, pair->name);
		else
			config_remove(pair->name);
	}
	return code;
}

static int create(unsigned int count, const char **words)
{
	struct pair pair = {};
	int code = check_name(words[0]);

	(void)count;
	if (code)
		return code;
	code = lock_pair(words[0]);
	if (!code)
		code = take_options(&pair);
	pair.name = must_copy(words[0]);
	if (!code)
		code = create_pair(&pair);
	pair_free(&pair);
	return code;
}

/* --- up and down ---------------------------------------------------------- */

static const struct poptOption up_options[] = {
	TEXT("wait", disks, "TIME", "wait so long for its disks (0)"),
	DRY_RUN, END
};

static int up(unsigned int count, const char **words)
{
	struct pair pair;
	uint64_t wait_ms;
	int code;

	(void)count;
	if (!time_option("wait", opts.disks, 0, &wait_ms))
		return EXIT_USAGE;
	code = config_read(words[0], &pair);
	if (code)
		return code;
	code = lock_pair(words[0]);
	catch_signals();
	if (!code)
		code = pair_up(&pair, wait_ms);
	pair_free(&pair);
	return code;
}

/* What taking the view down would lose: nobody is asked when it is nothing. */
static int ask_loss(const struct live *live, const char *what)
{
	char text[32];

	if (live->kind != LIVE_VIEW || !live_is(live, "running") || !live->active ||
	    live->table[3])
		return EXIT_DONE;
	show_size(text, sizeof(text), live->active * SECTOR);
	fprintf(stderr, "%s %s drops %s that the view has written.\n", what, live->name, text);
	return confirm("Go on?");
}

/* Who uses the origin would be left with it when the view is gone. */
static int check_origin_unused(const struct live *live)
{
	struct dm_line line;
	int open;

	if (!live->origin || dm_status(live->origin, &line))
		return EXIT_DONE;
	open = line.open;
	dm_line_free(&line);
	return open ? fail(EXIT_STAGE, "%s is in use: the stream, or whoever has it open, must go first",
			   live->origin) : EXIT_DONE;
}

/* The end of a failover that nobody has waited for. */
static int note_done(const struct live *live)
{
	struct promotion promotion;
	int code = promotion_read(live->name, &promotion);

	if (!code && promotion.kind[0] && strcmp(promotion.state, "done") &&
	    live_is(live, "done")) {
		snprintf(promotion.state, sizeof(promotion.state), "done");
		code = promotion_write(live->name, &promotion);
	}
	promotion_free(&promotion);
	return code;
}

/* It could end while the removal is tried again and again, and nobody would note it. */
static int check_not_copying(const struct live *live)
{
	if (live->kind != LIVE_VIEW || !live_is(live, "failover") || live->table[3])
		return EXIT_DONE;
	return fail(EXIT_STAGE, "%s: its failover is under way; dmrepl down --wait %s waits for its end",
		    live->name, live->name);
}

static int take_down(const char *name, const char *what)
{
	struct live live;
	int err, code;

	err = live_read(name, &live);
	if (err)
		return fail(EXIT_FAILED, "%s: its status cannot be read: %s", name, strerror(-err));
	code = ask_loss(&live, what);
	if (!code)
		code = check_not_copying(&live);
	if (!code)
		code = check_origin_unused(&live);
	if (!code && live.kind == LIVE_VIEW)
		code = note_done(&live);
	live_free(&live);
	return code ? code : pair_down(name);
}

static const struct poptOption down_options[] = {
	FLAG("wait", wait, "wait for the end of a failover that no metadata would continue"),
	YES, DRY_RUN, END
};

static int await_unless_kept(const char *name)
{
	struct live live;
	bool lost;

	if (live_read(name, &live))
		return fail(EXIT_FAILED, "%s: its status cannot be read", name);
	lost = live_is(&live, "failover") && !live.table[3];
	live_free(&live);
	return lost && !dry_run ? await_failover(name) : EXIT_DONE;
}

static int down(unsigned int count, const char **words)
{
	int code = check_name(words[0]);

	(void)count;
	if (!code && opts.wait)
		code = await_unless_kept(words[0]);
	if (!code)
		code = lock_pair(words[0]);
	return code ? code : take_down(words[0], "down");
}

/* --- rejoin --------------------------------------------------------------- */

/* What the new view needs is looked for before the promotion is given up. */
static int check_disks(const struct pair *pair)
{
	int64_t least = pair_sectors(pair), sectors;
	unsigned int i;

	if (!least)
		return EXIT_FAILED;
	for (i = 0; i < KEYS; i++) {
		if (keys[i].kind != DEVICE || !pair->value[i])
			continue;
		sectors = device_sectors(pair->value[i]);
		if (sectors < 0)
			return fail(EXIT_FAILED, "%s: %s (%s) cannot be used: %s", pair->name,
				    keys[i].name, pair->value[i], strerror(-sectors));
		if ((i == KEY_ACTIVE || i == KEY_HIDDEN) && sectors < least)
			return fail(EXIT_FAILED, "%s: %s (%s) is shorter than secondary",
				    pair->name, keys[i].name, pair->value[i]);
	}
	return EXIT_DONE;
}

/* From here to the end of rejoin the disk is neither promoted nor a replica. */
static int lift_fence(const char *name, const char *origin, struct promotion *promotion)
{
	struct promotion rejoining = *promotion;
	int code;

	snprintf(rejoining.state, sizeof(rejoining.state), "rejoining");
	code = promotion->kind[0] ? promotion_write(name, &rejoining) : EXIT_DONE;
	if (code)
		return code;
	code = tell(origin, "rejoin");
	if (code && promotion->kind[0])
		promotion_write(name, promotion);
	return code;
}

static int rejoin_steps(const struct pair *pair, struct promotion *promotion)
{
	char *origin AUTOFREE = must_print("%s-origin", pair->name);
	int code = check_disks(pair);

	/* Metadata are to hear of it, too. */
	if (!code && !dm_exists(origin) && pair->value[KEY_METADATA])
		code = pair_view_up(pair);
	if (!code)
		code = pair_view_down(pair->name);
	if (!code && dm_exists(origin))
		code = lift_fence(pair->name, origin, promotion);
	if (!code)
		code = promotion_remove(pair->name);
	return code ? code : pair_view_up(pair);
}

/* Without a record: by hand, or by a rejoin that was cut short near its end. */
static int check_promoted(const char *name, const struct promotion *promotion)
{
	char *origin AUTOFREE = must_print("%s-origin", name);
	struct live live;
	bool is;

	if (promotion->kind[0])
		return EXIT_DONE;
	if (live_read(name, &live))
		return fail(EXIT_FAILED, "%s: its status cannot be read", name);
	is = live_is_promoted(&live) || !strcmp(live.fence, "fenced") ||
	     (live.kind == LIVE_NONE && dm_exists(origin));
	live_free(&live);
	return is ? EXIT_DONE : fail(EXIT_STAGE, "%s is not promoted; there is nothing to rejoin",
				     name);
}

static int rejoin_pair(const struct pair *pair)
{
	struct promotion promotion;
	int code = promotion_read(pair->name, &promotion);

	if (!code)
		code = check_promoted(pair->name, &promotion);
	if (!code && promotion.kind[0])
		fprintf(stderr, "rejoin gives %s up to the stream: what was written to it since its %s of %s will be overwritten.\n",
			pair->name, promotion.kind, promotion.time);
	else if (!code)
		fprintf(stderr, "rejoin gives %s up to the stream: what was written to it will be overwritten.\n",
			pair->name);
	if (!code)
		code = confirm("Go on?");
	if (!code)
		code = rejoin_steps(pair, &promotion);
	promotion_free(&promotion);
	return code;
}

static const struct poptOption rejoin_options[] = { YES, DRY_RUN, END };

static int rejoin(unsigned int count, const char **words)
{
	struct pair pair;
	int code = config_read(words[0], &pair);

	(void)count;
	if (code)
		return code;
	code = lock_pair(words[0]);
	if (!code)
		code = rejoin_pair(&pair);
	pair_free(&pair);
	return code;
}

/* --- remove --------------------------------------------------------------- */

static const struct poptOption remove_options[] = {
	FLAG("volumes", volumes, "remove active and hidden, too, if they are create's volumes"),
	YES, DRY_RUN, END
};

static int remove_volumes(const struct pair *pair)
{
	static const enum key_id made[] = { KEY_ACTIVE, KEY_HIDDEN };
	unsigned int i;
	int code = EXIT_DONE;

	for (i = 0; i < COUNT(made) && !code; i++) {
		char *volume AUTOFREE = must_print("%s_%s", pair->name, keys[made[i]].name);

		code = lvm_remove(pair->value[KEY_VOLUMES], volume, pair->name);
	}
	return code;
}

static int remove_pair(const char *name)
{
	struct pair pair = {};
	int code = EXIT_DONE;

	if (config_exists(name))
		code = config_read(name, &pair);
	if (!code && opts.volumes && !pair.value[KEY_VOLUMES])
		code = fail(EXIT_USAGE, "%s: create has made no volumes for it", name);
	if (!code && !opts.yes && !dry_run && config_exists(name)) {
		fprintf(stderr, "remove takes %s down and forgets it; secondary stays as it is.\n",
			name);
		code = confirm("Go on?");
	}
	opts.yes |= !code;
	if (!code)
		code = take_down(name, "remove");
	if (!code && opts.volumes)
		code = remove_volumes(&pair);
	/* A file without its record would come up unfenced. */
	if (!code)
		code = config_remove(name);
	if (!code)
		code = promotion_remove(name);
	if (!code)
		pair_stir_disks(&pair);
	pair_free(&pair);
	return code;
}

static int remove_command(unsigned int count, const char **words)
{
	int code = check_name(words[0]);

	(void)count;
	if (!code)
		code = lock_pair(words[0]);
	if (code)
		return code;
	if (journal_exists(words[0]) && !config_exists(words[0])) {
		note("%s: undoing a create that was cut short", words[0]);
		return pair_undo(words[0]);
	}
	if (!config_exists(words[0]) && !promotion_exists(words[0]) && !dm_exists(words[0]))
		return fail(EXIT_NO_PAIR, "%s: there is no such pair; dmrepl status lists them",
			    words[0]);
	code = remove_pair(words[0]);
	return code ? code : journal_remove(words[0]);
}

const struct command make_commands[] = {
	{ "create", "NAME", "Make a pair, its devices and its configuration file.",
	  create_options, 1, 1, create },
	{ "up", "NAME", "Make the devices of a configured pair; a promoted one comes up promoted.",
	  up_options, 1, 1, up },
	{ "down", "NAME", "Take the devices down; the configuration stays.",
	  down_options, 1, 1, down },
	{ "rejoin", "NAME", "End a promotion: let the stream in again, with a new view.",
	  rejoin_options, 1, 1, rejoin },
	{ "remove", "NAME", "Take the pair down and forget it, or undo a create that was cut short.",
	  remove_options, 1, 1, remove_command },
	{}
};
