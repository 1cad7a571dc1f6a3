// SPDX-License-Identifier: GPL-2.0-only
/*
 * dm-replication: the target: table lines, messages, status.
 *
 * Copyright (C) the dm-replication authors
 */

#include <linux/ctype.h>
#include <linux/ktime.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/slab.h>

#include "dm-replication.h"
#include "dm-replication-primary.h"

#define MAX_HOLD_MIB		1048576U
#define MAX_TIMEOUT_MS		(24U * 3600 * 1000)
#define MAX_RATE_MIB		1048576U
#define MAX_FEATURE_ARGS	32
#define MAX_GROUP_NAME		64

static const struct tunables default_tunables = {
	.hold_mib = 32,
	.checkpoint_timeout_ms = 5000,
};

/*
 *---------------------------------------------------------------------------
 * Tunables: features of a table line, arguments of "set"
 *---------------------------------------------------------------------------
 */

/* A number and where it lives; what it may be at most. */
struct number {
	const char *name;
	bool for_primary;		/* else for a view */
	size_t offset;
	unsigned int max;
	char *error;
};

static const struct number numbers[] = {
	{ "hold_mib", false, offsetof(struct tunables, hold_mib), MAX_HOLD_MIB,
	  "hold_mib must be a number of MiB from 0 to 1048576" },
	{ "checkpoint_timeout_ms", false,
	  offsetof(struct tunables, checkpoint_timeout_ms), MAX_TIMEOUT_MS,
	  "checkpoint_timeout_ms must be a number from 0 to 86400000" },
	{ "commit_rate_mib", false, offsetof(struct tunables, commit_rate_mib),
	  MAX_RATE_MIB,
	  "commit_rate_mib must be a number of MiB/s from 0 to 1048576" },
	{ "resync_rate_mib", true, offsetof(struct tunables, resync_rate_mib),
	  MAX_RATE_MIB,
	  "resync_rate_mib must be a number of MiB/s from 0 to 1048576" },
	{ "replica_timeout_ms", true,
	  offsetof(struct tunables, replica_timeout_ms), MAX_TIMEOUT_MS,
	  "replica_timeout_ms must be a number from 0 to 86400000" },
};

struct flag {
	const char *name;
	bool for_primary;		/* else for a view only */
	size_t offset;
};

static const struct flag flags[] = {
	{ "autostart", true, offsetof(struct tunables, autostart) },
	{ "discard_passdown", false,
	  offsetof(struct tunables, discard_passdown) },
};

static bool has_number(struct replication *r, const struct number *n)
{
	return n->for_primary == r->is_primary;
}

static bool has_flag(struct replication *r, const struct flag *f)
{
	return f->for_primary || !r->is_primary;
}

static unsigned int *number_in(const struct tunables *t, const struct number *n)
{
	return (unsigned int *)((char *)t + n->offset);
}

static bool *flag_in(const struct tunables *t, const struct flag *f)
{
	return (bool *)((char *)t + f->offset);
}

static const struct flag *find_flag(struct replication *r, const char *name)
{
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(flags); i++)
		if (has_flag(r, &flags[i]) && !strcasecmp(name, flags[i].name))
			return &flags[i];
	return NULL;
}

/* Return: 0, -ENOENT if no number has this name, -EINVAL with *error. */
static int parse_number(struct replication *r, struct tunables *t,
			const char *name, const char *value, char **error)
{
	unsigned int i, n;

	for (i = 0; i < ARRAY_SIZE(numbers); i++) {
		if (!has_number(r, &numbers[i]) ||
		    strcasecmp(name, numbers[i].name))
			continue;
		if (!value || kstrtouint(value, 10, &n) || n > numbers[i].max) {
			*error = numbers[i].error;
			return -EINVAL;
		}
		*number_in(t, &numbers[i]) = n;
		return 0;
	}
	return -ENOENT;
}

/* Return: as parse_number(). */
static int parse_policy(struct tunables *t, const char *name,
			const char *value, char **error)
{
	if (strcasecmp(name, "on_capture_error"))
		return -ENOENT;
	if (value && !strcasecmp(value, "fail")) {
		t->drop_view = false;
	} else if (value && !strcasecmp(value, "drop_view")) {
		t->drop_view = true;
	} else {
		*error = "on_capture_error must be fail or drop_view";
		return -EINVAL;
	}
	return 0;
}

/* A tunable that has a value. Return: as parse_number(). */
static int parse_valued(struct replication *r, struct tunables *t,
			const char *name, const char *value, char **error)
{
	int found = parse_number(r, t, name, value, error);

	if (found != -ENOENT || r->is_primary)
		return found;
	return parse_policy(t, name, value, error);
}

/*
 *---------------------------------------------------------------------------
 * Table lines
 *---------------------------------------------------------------------------
 */
#define TUNABLES							\
	"hold_mib, checkpoint_timeout_ms, commit_rate_mib, on_capture_error, autostart, discard_passdown"
#define VIEW_FEATURES	TUNABLES ", group, guarded, metadata"
#define PRIMARY_TUNABLES "resync_rate_mib, replica_timeout_ms, autostart"
#define PRIMARY_FEATURES PRIMARY_TUNABLES ", local, in_sync, metadata"

/* What a table line can print so that it loads again. */
static bool is_group_name(const char *name)
{
	const char *c;

	if (!name || !*name || strlen(name) > MAX_GROUP_NAME)
		return false;
	for (c = name; *c; c++)
		if (!isascii(*c) || !isgraph(*c) || *c == '\\')
			return false;
	return true;
}

static int open_device(struct replication *r, struct dm_arg_set *as,
		       struct dm_dev **dev, char *missing, char *refused,
		       char **error)
{
	const char *path = dm_shift_arg(as);
	int found;

	if (!path) {
		*error = missing;
		return -EINVAL;
	}
	found = dm_get_device(r->ti, path, dm_table_get_mode(r->ti->table),
			      dev);
	if (found) {
		*error = refused;
		return found;
	}
	if (bdev_read_only((*dev)->bdev)) {
		*error = "A device is read-only; all must be writable";
		return -EROFS;
	}
	if (bdev_logical_block_size((*dev)->bdev) > COW_PAGE_BYTES) {
		*error = "A device has logical blocks larger than 4096 bytes";
		return -EINVAL;
	}
	return 0;
}

static int parse_metadata(struct replication *r, struct dm_arg_set *as,
			  char **error)
{
	if (!r->metadata)
		return open_device(r, as, &r->metadata,
				   "metadata needs a device",
				   "Cannot open the metadata device", error);
	*error = "metadata is there twice";
	return -EINVAL;
}

static int parse_view_feature(struct replication *r, const char *name,
			      struct dm_arg_set *as, const char **group,
			      char **error)
{
	const struct flag *flag = find_flag(r, name);
	int found;

	if (flag) {
		*flag_in(&r->tunables, flag) = true;
		return 0;
	}
	if (!strcasecmp(name, "guarded")) {
		r->guarded = true;
		return 0;
	}
	if (!strcasecmp(name, "metadata"))
		return parse_metadata(r, as, error);
	if (!strcasecmp(name, "group")) {
		*group = dm_shift_arg(as);
		if (is_group_name(*group))
			return 0;
		*error = "group needs a name of 1 to 64 visible characters but \\";
		return -EINVAL;
	}
	found = parse_valued(r, &r->tunables, name, dm_shift_arg(as), error);
	if (found == -ENOENT)
		*error = "Unknown feature; there are " VIEW_FEATURES;
	return found ? -EINVAL : 0;
}

static int parse_primary_feature(struct replication *r, const char *name,
				 struct dm_arg_set *as, char **error)
{
	const struct flag *flag = find_flag(r, name);
	int found;

	if (flag) {
		*flag_in(&r->tunables, flag) = true;
		return 0;
	}
	if (!strcasecmp(name, "in_sync")) {
		r->in_sync = true;
		return 0;
	}
	if (!strcasecmp(name, "metadata"))
		return parse_metadata(r, as, error);
	if (!strcasecmp(name, "local")) {
		if (r->local) {
			*error = "local is given twice";
			return -EINVAL;
		}
		return open_device(r, as, &r->local,
				   "local needs a device",
				   "Cannot open the local device", error);
	}
	found = parse_valued(r, &r->tunables, name, dm_shift_arg(as), error);
	if (found == -ENOENT)
		*error = "Unknown feature; there are " PRIMARY_FEATURES;
	return found ? -EINVAL : 0;
}

/* What means nothing to a pure forwarder. */
static int check_primary_features(struct replication *r, char **error)
{
	if (r->local || (!r->in_sync && !r->metadata &&
			 !r->tunables.resync_rate_mib &&
			 !r->tunables.replica_timeout_ms))
		return 0;
	*error = "in_sync, metadata, resync_rate_mib and replica_timeout_ms need local <dev>";
	return -EINVAL;
}

static int parse_origin_feature(struct replication *r, const char *name,
				char **error)
{
	if (!strcasecmp(name, "fenced")) {
		r->fenced = true;
		return 0;
	}
	*error = "Unknown feature; mode origin has only fenced";
	return -EINVAL;
}

static int parse_features(struct replication *r, struct dm_arg_set *as,
			  const char **group, char **error)
{
	static const struct dm_arg counts[] = {
		{ 0, MAX_FEATURE_ARGS,
		  "The number of feature arguments must be from 0 to 32" },
	};
	struct dm_arg_set features;
	unsigned int argc = 0;
	const char *name;
	int found = 0;

	if (as->argc && dm_read_arg_group(counts, as, &argc, error))
		return -EINVAL;
	features.argc = argc;
	features.argv = as->argv;
	dm_consume_args(as, argc);
	if (as->argc) {
		*error = "There are more arguments than the number of feature arguments says";
		return -EINVAL;
	}
	while (!found && features.argc) {
		name = dm_shift_arg(&features);
		if (r->is_primary)
			found = parse_primary_feature(r, name, &features,
						      error);
		else if (r->is_view)
			found = parse_view_feature(r, name, &features, group,
						   error);
		else
			found = parse_origin_feature(r, name, error);
	}
	if (!found && r->is_primary)
		found = check_primary_features(r, error);
	return found;
}

static int open_devices(struct replication *r, struct dm_arg_set *as,
			char **error)
{
	int found;

	if (r->is_view) {
		found = open_device(r, as, &r->active,
				    "The active device is missing: secondary <active> <hidden> <secondary>",
				    "Cannot open the active device", error);
		if (found)
			return found;
		found = open_device(r, as, &r->hidden,
				    "The hidden device is missing: secondary <active> <hidden> <secondary>",
				    "Cannot open the hidden device", error);
		if (found)
			return found;
	}
	if (r->is_primary)
		return open_device(r, as, &r->secondary,
				   "The replica device is missing: primary <replica>",
				   "Cannot open the replica device", error);
	return open_device(r, as, &r->secondary,
			   "The secondary device is missing: secondary <active> <hidden> <secondary>, or origin <secondary>",
			   "Cannot open the secondary device", error);
}

static void close_devices(struct replication *r)
{
	if (r->active)
		dm_put_device(r->ti, r->active);
	if (r->hidden)
		dm_put_device(r->ti, r->hidden);
	if (r->secondary)
		dm_put_device(r->ti, r->secondary);
	if (r->metadata)
		dm_put_device(r->ti, r->metadata);
	if (r->local)
		dm_put_device(r->ti, r->local);
}

static bool check_length(struct replication *r, struct dm_dev *dev,
			 const char *role)
{
	sector_t sectors = bdev_nr_sectors(dev->bdev);

	if (sectors == r->ti->len)
		return true;
	DMERR("%s: %s is %llu sectors, %llu %s than the table line's %llu",
	      dm_table_device_name(r->ti->table), role,
	      (unsigned long long)sectors,
	      (unsigned long long)(sectors > r->ti->len ?
				   sectors - r->ti->len :
				   r->ti->len - sectors),
	      sectors > r->ti->len ? "more" : "fewer",
	      (unsigned long long)r->ti->len);
	return false;
}

static int check_lengths(struct replication *r, char **error)
{
	bool equal;

	equal = check_length(r, r->secondary,
			     r->is_primary ? "the replica" : "secondary");
	if (r->local)
		equal &= check_length(r, r->local, "local");
	if (r->is_view) {
		equal &= check_length(r, r->active, "active");
		equal &= check_length(r, r->hidden, "hidden");
	}
	if (equal)
		return 0;
	*error = "Lengths differ: table line and devices must be equally long";
	return -EINVAL;
}

static unsigned int largest_block(struct replication *r)
{
	unsigned int block = bdev_logical_block_size(r->secondary->bdev);

	if (r->is_view) {
		block = max(block, bdev_logical_block_size(r->active->bdev));
		block = max(block, bdev_logical_block_size(r->hidden->bdev));
	}
	if (r->local)
		block = max(block, bdev_logical_block_size(r->local->bdev));
	/*
	 * Between the two a view raises its own block to the larger one (see
	 * replication_io_hints()). A primary's guest keeps the disk it had, so
	 * its requests may be smaller than that.
	 */
	if (r->is_primary)
		return block < COW_PAGE_BYTES ? SECTOR_SIZE : COW_PAGE_BYTES;
	return block > SECTOR_SIZE ? COW_PAGE_BYTES : SECTOR_SIZE;
}

static bool same(struct dm_dev *a, struct dm_dev *b)
{
	return a->bdev->bd_disk == b->bdev->bd_disk &&
	       (a->bdev == b->bdev || !bdev_is_partition(a->bdev) ||
		!bdev_is_partition(b->bdev));
}

static bool is_separate(struct replication *r)
{
	struct dm_dev *m = r->metadata;

	return !same(r->active, r->hidden) && !same(r->active, r->secondary) &&
	       !same(r->hidden, r->secondary) &&
	       (!m || (!same(m, r->active) && !same(m, r->hidden) &&
		       !same(m, r->secondary)));
}

static int check_geometry(struct replication *r, char **error)
{
	unsigned int block = largest_block(r);

	if (r->ti->begin) {
		*error = "The target must begin at sector 0 and be the only one";
		return -EINVAL;
	}
	if (r->is_view && !is_separate(r)) {
		*error = r->metadata ?
			"Active, hidden, secondary and metadata must be four separate devices" :
			"Active, hidden and secondary must be three separate devices";
		return -EINVAL;
	}
	if (r->local && same(r->local, r->secondary)) {
		*error = "Local and replica must be two separate devices";
		return -EINVAL;
	}
	if (r->local && r->metadata && (same(r->local, r->metadata) ||
					same(r->secondary, r->metadata))) {
		*error = "Local, replica and metadata must be three separate devices";
		return -EINVAL;
	}
	if (r->ti->len & ((block >> SECTOR_SHIFT) - 1)) {
		*error = "The length must be a multiple of the largest logical block";
		return -EINVAL;
	}
	r->block_shift = ilog2(block) - SECTOR_SHIFT;
	return check_lengths(r, error);
}

static void describe_target(struct replication *r)
{
	struct dm_target *ti = r->ti;

	ti->private = r;
	ti->per_io_data_size = r->is_primary ? primary_per_bio_size() :
					       sizeof(struct repl_request);
	ti->flush_supported = true;
	ti->num_flush_bios = r->is_view ? 2 : 1;
	ti->num_discard_bios = 1;
	ti->discards_supported = r->is_view;
	/* Zeroes come to the view as writes, which dm does not cut. */
	ti->num_write_zeroes_bios = r->is_view ? 0 : 1;
	ti->num_secure_erase_bios = 0;
}

static int parse_mode(struct replication *r, struct dm_arg_set *as,
		      char **error)
{
	const char *mode = dm_shift_arg(as);

	if (mode && !strcasecmp(mode, "secondary")) {
		r->is_view = true;
		return 0;
	}
	if (mode && !strcasecmp(mode, "origin"))
		return 0;
	if (mode && !strcasecmp(mode, "primary")) {
		r->is_primary = true;
		return 0;
	}
	*error = "The mode must be secondary, origin or primary";
	return -EINVAL;
}

/*
 * secondary <active> <hidden> <secondary> [<#feature_args> <feature>...]
 * origin <secondary> [<#feature_args> <feature>...]
 * primary <replica> [<#feature_args> <feature>...]
 */
static int replication_ctr(struct dm_target *ti, unsigned int argc, char **argv)
{
	struct dm_arg_set as = { .argc = argc, .argv = argv };
	const char *group = NULL;
	struct replication *r;
	int error;

	r = kzalloc(sizeof(*r), GFP_KERNEL);
	if (!r) {
		ti->error = "Cannot allocate a target";
		return -ENOMEM;
	}
	r->ti = ti;
	r->md = dm_table_get_md(ti->table);
	r->tunables = default_tunables;
	error = parse_mode(r, &as, &ti->error);
	if (!error)
		error = open_devices(r, &as, &ti->error);
	if (!error)
		error = parse_features(r, &as, &group, &ti->error);
	if (!error)
		error = check_geometry(r, &ti->error);
	if (!error && r->metadata)
		error = metadata_check(r, &ti->error);
	if (!error)
		error = pair_attach(r, group);
	if (error) {
		close_devices(r);
		kfree(r);
		return error;
	}
	describe_target(r);
	return 0;
}

static void replication_dtr(struct dm_target *ti)
{
	struct replication *r = ti->private;

	pair_detach(r);
	close_devices(r);
	kfree(r);
}

/*
 *---------------------------------------------------------------------------
 * I/O, suspend and resume, limits
 *---------------------------------------------------------------------------
 */
static int replication_map(struct dm_target *ti, struct bio *bio)
{
	struct replication *r = ti->private;

	return r->is_primary ? primary_map(r, bio) : route_map(r, bio);
}

static int replication_end_io(struct dm_target *ti, struct bio *bio,
			      blk_status_t *error)
{
	struct replication *r = ti->private;

	return r->is_primary ? primary_end_io(r, bio, error) :
			       route_end_io(r, bio, error);
}

/* Of views and primaries. */
static bool is_live(struct replication *r)
{
	return READ_ONCE(r->pair->view) == r;
}

static void replication_presuspend(struct dm_target *ti)
{
	struct replication *r = ti->private;

	if (is_live(r) && r->is_primary)
		resync_suspend(r->pair->primary);
	else if (is_live(r))
		commit_suspend(r->pair);
}

static void replication_presuspend_undo(struct dm_target *ti)
{
	struct replication *r = ti->private;

	if (is_live(r) && r->is_primary)
		resync_resume(r->pair->primary);
	else if (is_live(r))
		commit_resume(r->pair);
}

static void replication_postsuspend(struct dm_target *ti)
{
	struct replication *r = ti->private;

	if (is_live(r) && r->is_primary)
		resync_wait_suspended(r->pair->primary);
	else if (is_live(r))
		commit_wait_suspended(r->pair);
}

static int replication_preresume(struct dm_target *ti)
{
	return pair_preresume(ti->private);
}

static void replication_resume(struct dm_target *ti)
{
	struct replication *r = ti->private;

	if (r->is_primary)
		resync_resume(r->pair->primary);
	pair_resume(r);
}

static int replication_iterate_devices(struct dm_target *ti,
				       iterate_devices_callout_fn fn,
				       void *data)
{
	struct replication *r = ti->private;
	int found = fn(ti, r->secondary, 0, ti->len, data);

	if (!found && r->is_view)
		found = fn(ti, r->active, 0, ti->len, data);
	if (!found && r->is_view)
		found = fn(ti, r->hidden, 0, ti->len, data);
	if (!found && r->local)
		found = fn(ti, r->local, 0, ti->len, data);
	return found;
}

static void replication_io_hints(struct dm_target *ti,
				 struct queue_limits *limits)
{
	struct replication *r = ti->private;
	unsigned int block = SECTOR_SIZE << r->block_shift;

	if (!r->is_view)
		return;
	if (limits->logical_block_size < block)
		limits->logical_block_size = block;
	if (limits->physical_block_size < block)
		limits->physical_block_size = block;
	/* The view takes every discard, whatever the devices can. */
	limits->max_discard_sectors = UINT_MAX >> SECTOR_SHIFT;
	limits->max_hw_discard_sectors = UINT_MAX >> SECTOR_SHIFT;
	limits->discard_granularity = limits->logical_block_size;
	limits->discard_alignment = 0;
}

/*
 *---------------------------------------------------------------------------
 * Status
 *---------------------------------------------------------------------------
 */

/* What status and table show: of the live table, else as loaded. */
static struct tunables present_tunables(struct replication *r)
{
	return is_live(r) ? r->pair->tunables : r->tunables;
}

static bool is_guarded(struct replication *r)
{
	return is_live(r) ? READ_ONCE(r->pair->guarded) : r->guarded;
}

/* What is promised to outlive a crash may not: metadata cannot be written. */
static bool is_unsafe(struct replication *r)
{
	bool unsafe = false;

	/* A view that leaves waits for status in dm; its metadata ends later. */
	if (is_live(r) && r->pair->metadata)
		unsafe = metadata_failing(r->pair->metadata);
	return unsafe;
}

static unsigned int emit_flags(struct replication *r, char *result,
			       unsigned int sz, unsigned int maxlen)
{
	struct pair *pair = r->pair;
	bool no_origin = !READ_ONCE(pair->origin);
	bool deferring = READ_ONCE(pair->deferring);
	bool fenced = READ_ONCE(pair->fenced);
	bool in_doubt = READ_ONCE(pair->in_doubt);
	bool guarded = is_guarded(r);
	bool unsafe = is_unsafe(r);

	DMEMIT(" %u", guarded + fenced + no_origin + deferring + in_doubt +
	       unsafe);
	if (guarded)
		DMEMIT(" guarded");
	if (fenced)
		DMEMIT(" fenced");
	if (no_origin)
		DMEMIT(" no_origin");
	if (deferring)
		DMEMIT(" deferring");
	if (in_doubt)
		DMEMIT(" in_doubt");
	if (unsafe)
		DMEMIT(" unsafe");
	return sz;
}

static unsigned int count_args(struct replication *r)
{
	unsigned int i, n = (r->group ? 1 : 0) + (r->metadata ? 1 : 0);

	n += !r->is_primary;		/* on_capture_error */
	for (i = 0; i < ARRAY_SIZE(numbers); i++)
		n += has_number(r, &numbers[i]);
	for (i = 0; i < ARRAY_SIZE(flags); i++)
		n += has_flag(r, &flags[i]);
	return 2 * n;
}

static unsigned int emit_args(struct replication *r, char *result,
			      unsigned int sz, unsigned int maxlen)
{
	struct tunables present = present_tunables(r), *t = &present;
	unsigned int i;

	DMEMIT(" %u", count_args(r));
	for (i = 0; i < ARRAY_SIZE(numbers); i++)
		if (has_number(r, &numbers[i]))
			DMEMIT(" %s %u", numbers[i].name,
			       *number_in(t, &numbers[i]));
	if (!r->is_primary)
		DMEMIT(" on_capture_error %s",
		       t->drop_view ? "drop_view" : "fail");
	for (i = 0; i < ARRAY_SIZE(flags); i++)
		if (has_flag(r, &flags[i]))
			DMEMIT(" %s %s", flags[i].name,
			       *flag_in(t, &flags[i]) ? "on" : "off");
	if (r->group)
		DMEMIT(" group %s", r->group->name);
	if (r->metadata)
		DMEMIT(" metadata %s", r->metadata->name);
	return sz;
}

/*
 * secondary <stage> <error> <epoch> <age s> <active> <saved> <held>
 * <committed>/<to_commit> <pause last>/<longest us> <captures> <spills>
 * <errors> <leaf bytes> <#flags> <flag>... <#args> <name value>...
 */
static void emit_view(struct replication *r, char *result, unsigned int maxlen)
{
	struct pair *pair = r->pair;
	u64 active = atomic64_read(&pair->overlay.active);
	u64 saved = atomic64_read(&pair->overlay.saved);
	u64 to_commit, committed = 0, age = 0;
	struct first_error e;
	unsigned int sz = 0;
	enum stage stage;

	spin_lock_irq(&pair->stage_lock);
	e = pair->error;
	stage = pair->stage;
	spin_unlock_irq(&pair->stage_lock);

	to_commit = READ_ONCE(pair->commit.to_commit);
	if (to_commit > active + saved)
		committed = to_commit - active - saved;
	if (pair->stage_since)
		age = div_u64(ktime_get_boottime_ns() - pair->stage_since,
			      NSEC_PER_SEC);

	DMEMIT("secondary %s ", stage_names[stage]);
	if (e.total)
		DMEMIT("%s:%d", error_names[e.class], e.error);
	else
		DMEMIT("none");
	DMEMIT(" %lu %llu %llu %llu %llu", pair->overlay.epoch, age, active,
	       saved, (u64)READ_ONCE(pair->cow.nr_held) << COW_PAGE_SHIFT);
	DMEMIT(" %llu/%llu %llu/%llu", committed, to_commit,
	       READ_ONCE(pair->pause_last), READ_ONCE(pair->pause_longest));
	DMEMIT(" %llu %llu %llu %zu",
	       (u64)atomic64_read(&pair->cow.captures),
	       (u64)atomic64_read(&pair->cow.spills), e.total,
	       overlay_bytes(&pair->overlay));
	sz = emit_flags(r, result, sz, maxlen);
	emit_args(r, result, sz, maxlen);
}

static void emit_origin(struct replication *r, char *result,
			unsigned int maxlen)
{
	struct pair *pair = r->pair;
	enum stage stage = READ_ONCE(pair->stage);
	bool alone = !READ_ONCE(pair->view) && stage == STAGE_NONE;
	unsigned int sz = 0;

	DMEMIT("origin %s %s", alone ? "alone" : stage_names[stage],
	       READ_ONCE(pair->fenced) ? "fenced" : "open");
}

static unsigned int emit_primary_flags(struct replication *r, char *result,
				       unsigned int sz, unsigned int maxlen)
{
	struct primary *p = r->pair->primary;
	bool deferring = READ_ONCE(r->pair->deferring);
	bool broken = READ_ONCE(p->dirty.broken) &&
		      READ_ONCE(r->pair->stage) == STAGE_RUNNING;
	bool resync = READ_ONCE(p->resync.on);
	bool paused = READ_ONCE(p->resync.paused);
	bool late = READ_ONCE(p->nr_late);
	bool unsafe = is_live(r) && p->marks && marks_unsafe(p->marks);

	DMEMIT(" %u", broken + resync + paused + late + deferring + unsafe);
	if (broken)
		DMEMIT(" broken");
	if (resync)
		DMEMIT(" resync");
	if (paused)
		DMEMIT(" paused");
	if (late)
		DMEMIT(" late");
	if (deferring)
		DMEMIT(" deferring");
	if (unsafe)
		DMEMIT(" unsafe");
	return sz;
}

/*
 * primary <stage> <error> <dirty> <resynced>/<to_resync> <errors>
 * <#flags> <flag>... <#args> <name value>...
 */
static void emit_primary(struct replication *r, char *result,
			 unsigned int maxlen)
{
	struct primary *p = r->pair->primary;
	struct pair *pair = r->pair;
	struct first_error e;
	unsigned int sz = 0;
	enum stage stage;

	spin_lock_irq(&pair->stage_lock);
	e = pair->error;
	stage = pair->stage;
	spin_unlock_irq(&pair->stage_lock);

	DMEMIT("primary %s ", stage_names[stage]);
	if (e.total)
		DMEMIT("%s:%d", error_names[e.class], e.error);
	else
		DMEMIT("none");
	DMEMIT(" %llu %llu/%llu %llu", dirty_count(&p->dirty),
	       (u64)atomic64_read(&p->resync.done), READ_ONCE(p->resync.total),
	       e.total);
	sz = emit_primary_flags(r, result, sz, maxlen);
	emit_args(r, result, sz, maxlen);
}

static bool is_changed(const struct tunables *t, const struct number *n)
{
	return *number_in(t, n) != *number_in(&default_tunables, n);
}

static unsigned int count_features(struct replication *r,
				   const struct tunables *t, bool guarded)
{
	unsigned int i, n = guarded + (r->group ? 2 : 0) +
			    (r->metadata ? 2 : 0);

	for (i = 0; i < ARRAY_SIZE(flags); i++)
		n += *flag_in(t, &flags[i]);
	for (i = 0; i < ARRAY_SIZE(numbers); i++)
		n += is_changed(t, &numbers[i]) ? 2 : 0;
	return n + (t->drop_view ? 2 : 0);
}

/* Without those that have their default. */
static unsigned int emit_tunables(const struct tunables *t, char *result,
				  unsigned int sz, unsigned int maxlen)
{
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(numbers); i++)
		if (is_changed(t, &numbers[i]))
			DMEMIT(" %s %u", numbers[i].name,
			       *number_in(t, &numbers[i]));
	return sz;
}

/* What the line says when it is loaded, or what is so now. */
static bool is_in_sync(struct replication *r)
{
	struct primary *p = r->pair->primary;

	if (!r->local || !is_live(r))
		return r->in_sync;
	return !dirty_count(&p->dirty) &&
	       !(READ_ONCE(r->pair->stage) == STAGE_RUNNING &&
		 READ_ONCE(p->dirty.broken));
}

static void emit_primary_table(struct replication *r, char *result,
			       unsigned int maxlen)
{
	struct tunables present = present_tunables(r), *t = &present;
	bool in_sync = is_in_sync(r);
	unsigned int sz = 0, n = count_features(r, t, false);

	DMEMIT("primary %s", r->secondary->name);
	n += in_sync + (r->local ? 2 : 0);
	if (!n)
		return;
	DMEMIT(" %u", n);
	if (t->autostart)
		DMEMIT(" autostart");
	if (r->local)
		DMEMIT(" local %s", r->local->name);
	if (in_sync)
		DMEMIT(" in_sync");
	if (r->metadata)
		DMEMIT(" metadata %s", r->metadata->name);
	emit_tunables(t, result, sz, maxlen);
}

static void emit_view_table(struct replication *r, char *result,
			    unsigned int maxlen)
{
	struct tunables present = present_tunables(r), *t = &present;
	bool guarded = is_guarded(r);
	unsigned int i, sz = 0, n = count_features(r, t, guarded);

	DMEMIT("secondary %s %s %s", r->active->name, r->hidden->name,
	       r->secondary->name);
	if (!n)
		return;
	DMEMIT(" %u", n);
	for (i = 0; i < ARRAY_SIZE(flags); i++)
		if (*flag_in(t, &flags[i]))
			DMEMIT(" %s", flags[i].name);
	if (r->group)
		DMEMIT(" group %s", r->group->name);
	if (r->metadata)
		DMEMIT(" metadata %s", r->metadata->name);
	sz = emit_tunables(t, result, sz, maxlen);
	if (t->drop_view)
		DMEMIT(" on_capture_error drop_view");
	if (guarded)
		DMEMIT(" guarded");
}

static void emit_origin_table(struct replication *r, char *result,
			      unsigned int maxlen)
{
	bool live = READ_ONCE(r->pair->origin) == r;
	unsigned int sz = 0;

	DMEMIT("origin %s%s", r->secondary->name,
	       (live ? READ_ONCE(r->pair->fenced) : r->fenced) ?
	       " 1 fenced" : "");
}

static void replication_status(struct dm_target *ti, status_type_t type,
			       unsigned int status_flags, char *result,
			       unsigned int maxlen)
{
	struct replication *r = ti->private;

	switch (type) {
	case STATUSTYPE_INFO:
		if (r->is_primary)
			emit_primary(r, result, maxlen);
		else if (r->is_view)
			emit_view(r, result, maxlen);
		else
			emit_origin(r, result, maxlen);
		break;
	case STATUSTYPE_TABLE:
		if (r->is_primary)
			emit_primary_table(r, result, maxlen);
		else if (r->is_view)
			emit_view_table(r, result, maxlen);
		else
			emit_origin_table(r, result, maxlen);
		break;
	case STATUSTYPE_IMA:
		*result = '\0';
		break;
	}
}

/*
 *---------------------------------------------------------------------------
 * Messages
 *---------------------------------------------------------------------------
 */

/* How much of a word is shown in the log, where %pE escapes what is not text. */
static int shown(const char *word)
{
	return strnlen(word, 32);
}

/* An answer of text makes a message return 1; see target_message() in dm. */
#define ANSWERED 1

static bool take_all(unsigned int *argc, char **argv)
{
	if (*argc < 2 || strcasecmp(argv[*argc - 1], "all"))
		return false;
	(*argc)--;
	return true;
}

static int act(struct replication *r, enum transition action, unsigned int argc,
	       char **argv)
{
	bool all = take_all(&argc, argv);

	if (argc > 1) {
		DMERR("%s: %s takes no argument but all",
		      dm_device_name(r->md), argv[0]);
		return -EINVAL;
	}
	return pair_act(r, action, all);
}

static int message_start(struct replication *r, unsigned int argc, char **argv,
			 char *result, unsigned int maxlen)
{
	const char *mode = r->is_primary ? "primary" : "secondary";
	const char *other = r->is_primary ? "secondary" : "primary";
	enum stage stage = READ_ONCE(r->pair->stage);
	bool all = take_all(&argc, argv);

	if (argc == 2 && !strcasecmp(argv[1], other)) {
		/* QEMU looks at the stage first: there it is ignored. */
		if (stage == STAGE_FAILOVER || stage == STAGE_DONE)
			return 0;
		DMERR("%s: cannot start as %s in stage %s: the table says %s",
		      dm_device_name(r->md), other, stage_names[stage], mode);
		return -EINVAL;
	}
	if (argc > 2 || (argc == 2 && strcasecmp(argv[1], mode))) {
		DMERR("%s: start takes %s and all, nothing else",
		      dm_device_name(r->md), mode);
		return -EINVAL;
	}
	return pair_act(r, ACTION_START, all);
}

static int message_checkpoint(struct replication *r, unsigned int argc,
			      char **argv, char *result, unsigned int maxlen)
{
	return act(r, ACTION_CHECKPOINT, argc, argv);
}

static int message_stop(struct replication *r, unsigned int argc, char **argv,
			char *result, unsigned int maxlen)
{
	return act(r, ACTION_STOP, argc, argv);
}

static int message_failover(struct replication *r, unsigned int argc,
			    char **argv, char *result, unsigned int maxlen)
{
	return act(r, ACTION_FAILOVER, argc, argv);
}

static int message_promote(struct replication *r, unsigned int argc,
			   char **argv, char *result, unsigned int maxlen)
{
	return act(r, ACTION_PROMOTE, argc, argv);
}

static int message_get_error(struct replication *r, unsigned int argc,
			     char **argv, char *result, unsigned int maxlen)
{
	bool all = take_all(&argc, argv);
	struct first_error e;
	unsigned int sz = 0;
	int error;

	if (argc > 1) {
		DMERR("%s: get_error takes no argument but all",
		      dm_device_name(r->md));
		return -EINVAL;
	}
	error = pair_get_error(r, all, &e);
	if (error) {
		DMERR("%s: cannot get_error in stage none: send start first",
		      dm_device_name(r->md));
		return error;
	}
	if (!e.total)
		DMEMIT("none");
	else
		DMEMIT("%d %s sector %llu total %llu", e.error,
		       error_names[e.class], (unsigned long long)e.sector,
		       e.total);
	return ANSWERED;
}

/* For figures that somebody keeps: before start, too, there are none. */
static int message_get_errors(struct replication *r, unsigned int argc,
			      char **argv, char *result, unsigned int maxlen)
{
	struct first_error e;
	unsigned int sz = 0, i;
	int error;

	error = pair_get_error(r, false, &e);
	if (error && error != -ENXIO)
		return error;
	for (i = 0; i < NR_ERROR_CLASSES; i++)
		DMEMIT("%s%s %llu", i ? " " : "", error_names[i], e.of[i]);
	return ANSWERED;
}

static int message_clear_error(struct replication *r, unsigned int argc,
			       char **argv, char *result, unsigned int maxlen)
{
	pair_clear_error(r);
	return 0;
}

/* Return: 1, 0, or -EINVAL. */
static int parse_on_off(const char *value)
{
	if (!strcasecmp(value, "on"))
		return 1;
	return strcasecmp(value, "off") ? -EINVAL : 0;
}

static int message_guard(struct replication *r, unsigned int argc, char **argv,
			 char *result, unsigned int maxlen)
{
	int on = parse_on_off(argv[1]);

	if (on < 0) {
		DMERR("%s: guard must be on or off", dm_device_name(r->md));
		return on;
	}
	return pair_guard(r, on);
}

/* argv is: set <name> <value>. Return: 0 or -EINVAL with *error. */
static int change_tunable(struct replication *r, struct tunables *t,
			  char **argv, char **error)
{
	const struct flag *flag = find_flag(r, argv[1]);
	int found;

	if (!flag) {
		*error = r->is_primary ?
			"unknown name; there are " PRIMARY_TUNABLES :
			"unknown name; there are " TUNABLES;
		if (parse_valued(r, t, argv[1], argv[2], error))
			return -EINVAL;
		if (!r->is_primary || r->local)
			return 0;
		*error = "without local it means nothing";
		return -EINVAL;
	}
	found = parse_on_off(argv[2]);
	if (found < 0) {
		*error = "it must be on or off";
		return found;
	}
	*flag_in(t, flag) = found;
	return 0;
}

static int message_set(struct replication *r, unsigned int argc, char **argv,
		       char *result, unsigned int maxlen)
{
	char *why = NULL;
	int found = pair_set(r, change_tunable, argv, &why);

	if (found)
		DMERR("%s: cannot set %*pE: %s", dm_device_name(r->md),
		      shown(argv[1]), argv[1], why);
	return found;
}

static int message_rejoin(struct replication *r, unsigned int argc,
			  char **argv, char *result, unsigned int maxlen)
{
	return pair_rejoin(r);
}

static int message_start_resync(struct replication *r, unsigned int argc,
				char **argv, char *result, unsigned int maxlen)
{
	if (argc == 2 && strcasecmp(argv[1], "full")) {
		DMERR("%s: start_resync takes no argument but full",
		      dm_device_name(r->md));
		return -EINVAL;
	}
	return pair_resync(r, true, argc == 2);
}

static int message_pause_resync(struct replication *r, unsigned int argc,
				char **argv, char *result, unsigned int maxlen)
{
	return pair_resync(r, false, false);
}

#define FOR_VIEW	1
#define FOR_ORIGIN	2
#define FOR_PRIMARY	4
#define FOR_BOTH	(FOR_VIEW | FOR_PRIMARY)

struct message {
	const char *name;
	unsigned int min;
	unsigned int max;
	unsigned int modes;
	int (*fn)(struct replication *r, unsigned int argc, char **argv,
		  char *result, unsigned int maxlen);
};

static const struct message messages[] = {
	{ "start", 1, 3, FOR_BOTH, message_start },
	{ "checkpoint", 1, 2, FOR_BOTH, message_checkpoint },
	{ "stop", 1, 2, FOR_BOTH, message_stop },
	{ "failover", 1, 2, FOR_BOTH, message_failover },
	{ "promote", 1, 2, FOR_BOTH, message_promote },
	{ "get_error", 1, 2, FOR_BOTH, message_get_error },
	{ "get_errors", 1, 1, FOR_BOTH, message_get_errors },
	{ "clear_error", 1, 1, FOR_BOTH, message_clear_error },
	{ "guard", 2, 2, FOR_VIEW, message_guard },
	{ "set", 3, 3, FOR_BOTH, message_set },
	{ "start_resync", 1, 2, FOR_PRIMARY, message_start_resync },
	{ "pause_resync", 1, 1, FOR_PRIMARY, message_pause_resync },
	{ "rejoin", 1, 1, FOR_ORIGIN, message_rejoin },
};

/* Whom a message is for. */
static const char *addressee(const struct message *m)
{
	if (m->modes == FOR_PRIMARY)
		return "a primary";
	return m->modes & FOR_VIEW ? "the pair's view" : "the pair's origin";
}

static unsigned int mode_of(struct replication *r)
{
	if (r->is_primary)
		return FOR_PRIMARY;
	return r->is_view ? FOR_VIEW : FOR_ORIGIN;
}

#define VIEW_MESSAGES							\
	"start, checkpoint, stop, failover, promote, guard, get_error, get_errors, clear_error, set; for an origin rejoin; for a primary start_resync, pause_resync"

static int replication_message(struct dm_target *ti, unsigned int argc,
			       char **argv, char *result, unsigned int maxlen)
{
	struct replication *r = ti->private;
	const char *device = dm_device_name(r->md);
	const struct message *m;

	for (m = messages; m < messages + ARRAY_SIZE(messages); m++)
		if (!strcasecmp(argv[0], m->name))
			break;
	if (m == messages + ARRAY_SIZE(messages)) {
		DMERR("%s: unknown message %*pE; there are " VIEW_MESSAGES,
		      device, shown(argv[0]), argv[0]);
		return -EINVAL;
	}
	if (!(m->modes & mode_of(r))) {
		DMERR("%s: %s must be sent to %s", device, m->name,
		      addressee(m));
		return -EINVAL;
	}
	if (argc < m->min || argc > m->max) {
		DMERR("%s: %s takes %u to %u arguments, there are %u", device,
		      m->name, m->min - 1, m->max - 1, argc - 1);
		return -EINVAL;
	}
	return m->fn(r, argc, argv, result, maxlen);
}

/*
 *---------------------------------------------------------------------------
 * The module
 *---------------------------------------------------------------------------
 */
static struct target_type replication_target = {
	.name = "replication",
	.version = {1, 0, 0},
	.features = DM_TARGET_SINGLETON | DM_TARGET_ALWAYS_WRITEABLE,
	.module = THIS_MODULE,
	.ctr = replication_ctr,
	.dtr = replication_dtr,
	.map = replication_map,
	.end_io = replication_end_io,
	.presuspend = replication_presuspend,
	.presuspend_undo = replication_presuspend_undo,
	.postsuspend = replication_postsuspend,
	.preresume = replication_preresume,
	.resume = replication_resume,
	.status = replication_status,
	.message = replication_message,
	.iterate_devices = replication_iterate_devices,
	.io_hints = replication_io_hints,
};

static int __init replication_init(void)
{
	int r;

	if (!hold_mib_total)
		hold_mib_total = totalram_pages() / 20 >> (20 - PAGE_SHIFT);
	r = overlay_setup();
	if (r)
		return r;
	r = dm_register_target(&replication_target);
	if (r)
		overlay_teardown();
	return r;
}

static void __exit replication_exit(void)
{
	dm_unregister_target(&replication_target);
	overlay_teardown();
}

module_init(replication_init);
module_exit(replication_exit);

module_param(hold_mib_total, ulong, 0644);
MODULE_PARM_DESC(hold_mib_total,
		 "MiB that the captures of all pairs may take together (0: 5 % of memory)");

MODULE_ALIAS("dm-replication");
MODULE_AUTHOR("the dm-replication authors");
MODULE_DESCRIPTION(DM_NAME " replication: a frozen, writable, promotable view of a replica");
MODULE_LICENSE("GPL");
