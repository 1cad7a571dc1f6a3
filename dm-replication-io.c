// SPDX-License-Identifier: GPL-2.0-only
/*
 * dm-replication: the ways a request can take.
 *
 * Copyright (C) the dm-replication authors
 */

#include <linux/slab.h>

#include "dm-replication.h"

/**
 * DOC: routing
 *
 * route_map() admits a request, then routes it by the stage of routing and by
 * what it is; the table below says where to. A request that must come back
 * (it was parked, memory was short, something had to be waited for) is routed
 * again from the beginning by route_again(), in the worker or in the map of a
 * newcomer; what it has passed is noted in the request. A bio is remapped whole
 * if all of it goes to one place; else it is cut into runs, each a clone of its
 * own, and ends when the last of them has.
 *
 * In map memory is asked for with GFP_NOWAIT. What fails goes to the worker,
 * which may wait: the clones come from a mempool whose elements come back from
 * completions that need no worker.
 */

enum way {
	WAY_EIO,		/* refused */
	WAY_OVERLAY,		/* active, else saved, else secondary */
	WAY_ACTIVE,		/* active, bits set at the end */
	WAY_BLOCKWISE,		/* overlaid blocks to active, others below */
	WAY_CAPTURE,		/* old data first, then secondary */
	WAY_SECONDARY,
	WAY_SETTLED,		/* to secondary, once the view is known to be lost */
	WAY_FLUSH_ACTIVE,
	WAY_FLUSH_BOTH,
	WAY_FLUSH_SECONDARY,
	WAY_DISCARD,		/* to secondary, if it can */
	WAY_NOTHING,		/* succeeds without effect */
};

enum kind {
	VIEW_READ,
	VIEW_WRITE,
	VIEW_FLUSH,
	VIEW_DISCARD,
	ORIGIN_READ,
	ORIGIN_WRITE,
	NR_KINDS
};

/* The stage table of the documentation. A fence overrides the origin's part. */
static const u8 stage_table[NR_STAGES][NR_KINDS] = {
	/* view:  read, write, flush, discard;  origin:  read, write */
	[STAGE_NONE] = {
		WAY_EIO, WAY_EIO, WAY_EIO, WAY_EIO,
		WAY_SECONDARY, WAY_SECONDARY },
	[STAGE_RUNNING] = {
		WAY_OVERLAY, WAY_ACTIVE, WAY_FLUSH_ACTIVE, WAY_NOTHING,
		WAY_SECONDARY, WAY_CAPTURE },
	[STAGE_FAILOVER] = {
		WAY_OVERLAY, WAY_BLOCKWISE, WAY_FLUSH_BOTH, WAY_NOTHING,
		WAY_EIO, WAY_EIO },
	[STAGE_FAILOVER_FAILED] = {
		WAY_OVERLAY, WAY_BLOCKWISE, WAY_FLUSH_BOTH, WAY_NOTHING,
		WAY_EIO, WAY_EIO },
	[STAGE_DONE] = {
		WAY_SECONDARY, WAY_SECONDARY, WAY_FLUSH_SECONDARY, WAY_DISCARD,
		WAY_EIO, WAY_EIO },
	[STAGE_STOPPED] = {
		WAY_SECONDARY, WAY_EIO, WAY_EIO, WAY_EIO,
		WAY_SECONDARY, WAY_SECONDARY },
	[STAGE_INVALID] = {
		WAY_EIO, WAY_EIO, WAY_EIO, WAY_EIO,
		WAY_SECONDARY, WAY_SETTLED },
};

/* How far an origin write has come. */
enum step {
	STEP_SAVE,		/* old data is to be saved */
	STEP_READS,		/* older view reads are to be waited for */
	STEP_PASS,
};

/**
 * struct run - a part of a request, on its way to one device
 * @rq: the request
 * @sector: where
 * @sectors: how long
 * @class: whom to blame
 * @to_active: sets active bits when it has ended well
 * @bio: the clone
 */
struct run {
	struct repl_request *rq;
	sector_t sector;
	unsigned int sectors;
	u8 class;
	bool to_active;
	struct bio bio;
};

static bool is_flush(struct bio *bio)
{
	return (bio->bi_opf & REQ_PREFLUSH) && !bio_sectors(bio);
}

static enum kind request_kind(struct repl_request *rq, struct bio *bio)
{
	if (!rq->is_view)
		return op_is_write(bio_op(bio)) ? ORIGIN_WRITE : ORIGIN_READ;
	if (is_flush(bio))
		return VIEW_FLUSH;
	if (bio_op(bio) == REQ_OP_DISCARD)
		return VIEW_DISCARD;
	return op_is_write(bio_op(bio)) ? VIEW_WRITE : VIEW_READ;
}

/*
 *---------------------------------------------------------------------------
 * Whole bios, and runs of them
 *---------------------------------------------------------------------------
 */
static int remap(struct repl_request *rq, struct bio *bio,
		 struct block_device *bdev, enum error_class class)
{
	rq->class = class;
	bio_set_dev(bio, bdev);
	return DM_MAPIO_REMAPPED;
}

static int pass_to_secondary(struct repl_request *rq, struct bio *bio)
{
	return remap(rq, bio, rq->pair->secondary, ERROR_SECONDARY);
}

/* One part of the request is done; the last one ends it. */
static void part_done(struct repl_request *rq, blk_status_t status)
{
	struct bio *bio = request_bio(rq);

	if (status)
		cmpxchg(&rq->status, BLK_STS_OK, status);
	if (!atomic_dec_and_test(&rq->pending))
		return;
	rq->class = NR_ERROR_CLASSES;	/* the parts' errors are recorded */
	if (rq->fua && !rq->status) {
		metadata_sync(rq->pair->metadata, rq);
		return;
	}
	bio->bi_status = rq->status;
	bio_endio(bio);
}

static void set_run_active(struct pair *pair, sector_t sector, unsigned int n)
{
	if (overlay_set_active(&pair->overlay, sector, n) && pair->metadata)
		metadata_mark(pair->metadata, sector, n);
}

static void end_run(struct bio *clone)
{
	struct run *run = container_of(clone, struct run, bio);
	struct repl_request *rq = run->rq;
	blk_status_t status = clone->bi_status;

	if (status)
		pair_record_error(rq->pair, run->class,
				  blk_status_to_errno(status), run->sector);
	else if (run->to_active)
		set_run_active(rq->pair, run->sector, run->sectors);
	bio_put(clone);
	part_done(rq, status);
}

/* A clone cannot be had: the worker goes on, or it was the worker. */
static int no_clone(struct repl_request *rq, gfp_t gfp)
{
	if (!gfpflags_allow_blocking(gfp))
		return -ENOMEM;
	/* Other parts may be in flight: end as they do. */
	part_done(rq, BLK_STS_RESOURCE);
	return -EINPROGRESS;
}

/* Send the next @n sectors of a request to a device. */
static int send_run(struct repl_request *rq, struct bio *bio,
		    enum overlay_class class, unsigned int n, gfp_t gfp)
{
	struct pair *pair = rq->pair;
	struct block_device *bdev;
	struct bio *clone;
	struct run *run;
	u8 blame;

	switch (class) {
	case OVERLAY_ACTIVE:
		bdev = pair->active;
		blame = ERROR_ACTIVE;
		break;
	case OVERLAY_SAVED:
		bdev = pair->hidden;
		blame = ERROR_SPILL;
		break;
	default:
		bdev = pair->secondary;
		blame = ERROR_SECONDARY;
	}
	if (n == rq->sectors && !rq->fua) {
		rq->to_active = rq->entered && class == OVERLAY_ACTIVE;
		return remap(rq, bio, bdev, blame);
	}

	clone = bio_alloc_clone(bdev, bio, gfp, &pair->runs);
	if (!clone)
		return no_clone(rq, gfp);
	bio_trim(clone, rq->done, n);
	clone->bi_end_io = end_run;
	run = container_of(clone, struct run, bio);
	run->rq = rq;
	run->sector = rq->sector + rq->done;
	run->sectors = n;
	run->class = blame;
	run->to_active = (rq->entered || rq->fua) && class == OVERLAY_ACTIVE;
	atomic_inc(&rq->pending);
	rq->done += n;
	submit_bio_noacct(clone);
	return DM_MAPIO_SUBMITTED;
}

/*
 *---------------------------------------------------------------------------
 * The view
 *---------------------------------------------------------------------------
 */

/*
 * Serve the next part of a read from memory, or find out who is to serve it.
 * Return: sectors copied; or 0, and then *class and *n.
 */
static unsigned int look_up(struct repl_request *rq, struct bio *bio,
			    enum overlay_class *class, unsigned int *n)
{
	unsigned int left = rq->sectors - rq->done, copied = 0, run;

	rcu_read_lock();
	*class = overlay_classify(&rq->pair->overlay, rq->sector + rq->done,
				  left, n);
	if (*class == OVERLAY_SAVED) {
		run = *n;
		copied = cow_copy_held(rq, bio, rq->done, run, n);
	}
	rcu_read_unlock();
	return copied;
}

/*
 * The origin may overwrite what is about to be read, but for a commit, beside
 * which it is fenced. Blocks of active and saved pages stay what they are.
 */
static bool must_track(struct repl_request *rq, enum overlay_class class)
{
	return class == OVERLAY_NONE && rq->route == STAGE_RUNNING &&
	       !rq->tracked;
}

/* What is there is not known: the record of the stretch was damaged. */
static int lost_read(struct repl_request *rq)
{
	pair_record_error(rq->pair, ERROR_METADATA, -EILSEQ,
			  rq->sector + rq->done);
	part_done(rq, BLK_STS_IOERR);
	return DM_MAPIO_SUBMITTED;
}

/*
 * A read of which parts may lie in different places. Return: as target methods
 * do, or -ENOMEM: the worker goes on from rq->done.
 */
static noinline int view_read_parts(struct repl_request *rq, struct bio *bio,
				    gfp_t gfp)
{
	enum overlay_class class;
	unsigned int copied, n;
	int r;

	while (rq->done < rq->sectors) {
		copied = look_up(rq, bio, &class, &n);
		if (copied || !n) {
			rq->done += copied;
			continue;
		}
		if (class == OVERLAY_LOST)
			return lost_read(rq);
		if (must_track(rq, class)) {
			request_track(rq);	/* and look again */
			continue;
		}
		r = send_run(rq, bio, class, n, gfp);
		if (r != DM_MAPIO_SUBMITTED)
			return r;
	}
	part_done(rq, BLK_STS_OK);
	return DM_MAPIO_SUBMITTED;
}

static bool in_one_stretch(struct repl_request *rq)
{
	return (rq->sector & (STRETCH_SECTORS - 1)) + rq->sectors <=
	       STRETCH_SECTORS;
}

static enum overlay_class look(struct repl_request *rq, struct leaf *leaf)
{
	if (!leaf)
		return OVERLAY_NONE;
	return overlay_look(&rq->pair->overlay, leaf, rq->sector, rq->sectors);
}

/* A saved page that is not held is in hidden, and stays there. */
static bool is_in_hidden(struct repl_request *rq, struct leaf *leaf)
{
	unsigned int at = rq->sector & (STRETCH_SECTORS - 1);
	unsigned int page = at >> COW_PAGE_SHIFT;

	return (at + rq->sectors - 1) >> COW_PAGE_SHIFT == page &&
	       !overlay_held(leaf, page);
}

/* Most reads find all of their data in one place, with one or two looks. */
static noinline int view_read(struct repl_request *rq, struct bio *bio,
			      gfp_t gfp)
{
	struct overlay *o = &rq->pair->overlay;
	enum overlay_class class;
	struct leaf *leaf;

	if (rq->done || !in_one_stretch(rq))
		return view_read_parts(rq, bio, gfp);

	rcu_read_lock();
	leaf = __overlay_find(o, rq->sector);
	class = look(rq, leaf);
	if (must_track(rq, class)) {
		request_track(rq);
		leaf = leaf ?: __overlay_find(o, rq->sector);
		class = look(rq, leaf);
	}
	if (class == OVERLAY_SAVED && !is_in_hidden(rq, leaf))
		class = OVERLAY_MIXED;
	rcu_read_unlock();

	switch (class) {
	case OVERLAY_NONE:
		return pass_to_secondary(rq, bio);
	case OVERLAY_ACTIVE:
		return remap(rq, bio, rq->pair->active, ERROR_ACTIVE);
	case OVERLAY_SAVED:
		return remap(rq, bio, rq->pair->hidden, ERROR_SPILL);
	case OVERLAY_MIXED:
	case OVERLAY_LOST:
		break;
	}
	return view_read_parts(rq, bio, gfp);
}

/* A FUA write to active is durable when its active bits are. */
static bool must_be_durable(struct repl_request *rq, struct bio *bio)
{
	return (bio->bi_opf & REQ_FUA) && rq->pair->metadata;
}

static noinline int view_write(struct repl_request *rq, struct bio *bio,
			       gfp_t gfp)
{
	struct overlay *o = &rq->pair->overlay;
	int r;

	if (in_one_stretch(rq))
		r = overlay_get(o, rq->sector, 0, gfp, &rq->leaf);
	else
		r = overlay_get_range(o, rq->sector, rq->sectors, gfp);
	if (r) {
		rq->leaf = NULL;	/* not ours: it may come back elsewhere */
		return r;
	}
	if (must_be_durable(rq, bio)) {
		rq->fua = true;
		r = send_run(rq, bio, OVERLAY_ACTIVE, rq->sectors, gfp);
		if (r == DM_MAPIO_SUBMITTED)
			part_done(rq, BLK_STS_OK);
		return r;
	}
	rq->to_active = true;
	return remap(rq, bio, rq->pair->active, ERROR_ACTIVE);
}

/* A view write has ended well: from now on active has these blocks. */
static void set_active(struct repl_request *rq)
{
	struct overlay *o = &rq->pair->overlay;
	struct metadata *m = rq->pair->metadata;
	bool fresh;

	if (rq->leaf)
		fresh = overlay_set_active_in(o, rq->leaf, rq->sector,
					      rq->sectors);
	else
		fresh = overlay_set_active(o, rq->sector, rq->sectors);
	if (m && fresh)
		metadata_mark(m, rq->sector, rq->sectors);
}

/* Counted out of the leaves; the commit may have been waiting for that. */
static void leave_leaves(struct repl_request *rq)
{
	rq->entered = false;
	if (overlay_leave(&rq->pair->overlay, rq->sector, rq->sectors))
		wake_up(&rq->pair->commit.wait);
}

/* A view write beside a commit, or after one has failed. */
static noinline int view_write_blockwise(struct repl_request *rq,
					 struct bio *bio, gfp_t gfp)
{
	struct overlay *o = &rq->pair->overlay;
	unsigned int n;
	bool overlaid;
	int r;

	rq->fua = must_be_durable(rq, bio);
	if (!rq->entered) {
		rq->entered = true;
		if (!overlay_enter(o, rq->sector, rq->sectors)) {
			leave_leaves(rq);
			return -EBUSY;
		}
	}
	while (rq->done < rq->sectors) {
		rcu_read_lock();
		overlaid = overlay_any(o, rq->sector + rq->done,
				       rq->sectors - rq->done, &n);
		rcu_read_unlock();
		r = send_run(rq, bio, overlaid ? OVERLAY_ACTIVE : OVERLAY_NONE,
			     n, gfp);
		if (r != DM_MAPIO_SUBMITTED)
			return r;
	}
	part_done(rq, BLK_STS_OK);
	return DM_MAPIO_SUBMITTED;
}

/* dm sends every flush of the view twice: 0 is active's, 1 is secondary's. */
static int view_flush(struct repl_request *rq, struct bio *bio, enum way way)
{
	bool second = dm_bio_get_target_bio_nr(bio);

	if (!second && way != WAY_FLUSH_SECONDARY && rq->pair->metadata) {
		metadata_sync(rq->pair->metadata, rq);
		return -EINPROGRESS;
	}
	if (!second && way != WAY_FLUSH_SECONDARY)
		return remap(rq, bio, rq->pair->active, ERROR_ACTIVE);
	if (second && way != WAY_FLUSH_ACTIVE)
		return pass_to_secondary(rq, bio);
	return request_end_with(rq, BLK_STS_OK);
}

static int view_discard(struct repl_request *rq, struct bio *bio)
{
	if (!bdev_max_discard_sectors(rq->pair->secondary))
		return request_end_with(rq, BLK_STS_OK);
	return pass_to_secondary(rq, bio);
}

/*
 *---------------------------------------------------------------------------
 * The origin
 *---------------------------------------------------------------------------
 */
static noinline int origin_write(struct repl_request *rq, struct bio *bio,
				 gfp_t gfp)
{
	struct pair *pair = rq->pair;
	int r;

	if (rq->step == STEP_SAVE) {
		r = cow_is_saved(rq) ? 0 : cow_save(rq, gfp);
		if (r == -ENOMEM && gfpflags_allow_blocking(gfp)) {
			pair_record_error(pair, ERROR_CAPTURE, r, rq->sector);
			cow_deny(rq, BLK_STS_RESOURCE);
			r = cow_save(rq, gfp);	/* what was decided */
		}
		if (r)
			return r;
		rq->step = STEP_READS;
	}
	if (rq->step == STEP_READS) {
		if (!request_wait_for_reads(rq))
			return -EINPROGRESS;
		rq->step = STEP_PASS;
	}
	return pass_to_secondary(rq, bio);
}

/* Sectors that an origin write may have, so that it lies in one stretch. */
static unsigned int origin_write_max(struct replication *r, struct bio *bio)
{
	sector_t sector = bio->bi_iter.bi_sector;
	unsigned int max = STRETCH_SECTORS, grain;

	if (bio_op(bio) == REQ_OP_DISCARD) {
		grain = bdev_discard_granularity(r->secondary->bdev) >>
			SECTOR_SHIFT;
		max = max(max, grain);
	}
	return max - sector_div(sector, max);
}

/*
 *---------------------------------------------------------------------------
 * Routing
 *---------------------------------------------------------------------------
 */
static int take_way(struct repl_request *rq, struct bio *bio, gfp_t gfp)
{
	enum way way = stage_table[rq->route][request_kind(rq, bio)];

	if (way == WAY_SECONDARY)	/* not behind the others: as linear as can be */
		return pass_to_secondary(rq, bio);
	switch (way) {
	case WAY_OVERLAY:
		return view_read(rq, bio, gfp);
	case WAY_ACTIVE:
		return view_write(rq, bio, gfp);
	case WAY_BLOCKWISE:
		return view_write_blockwise(rq, bio, gfp);
	case WAY_CAPTURE:
		/* An empty flush has nothing to capture. */
		if (rq->sectors)
			return origin_write(rq, bio, gfp);
		return pass_to_secondary(rq, bio);
	case WAY_SETTLED:
		if (rq->pair->metadata &&
		    !metadata_settled(rq->pair->metadata, rq))
			return -EINPROGRESS;
		return pass_to_secondary(rq, bio);
	case WAY_FLUSH_ACTIVE:
	case WAY_FLUSH_BOTH:
	case WAY_FLUSH_SECONDARY:
		return view_flush(rq, bio, way);
	case WAY_DISCARD:
		return view_discard(rq, bio);
	case WAY_NOTHING:
		return request_end_with(rq, BLK_STS_OK);
	default:
		return request_end_with(rq, BLK_STS_IOERR);
	}
}

/*
 * Route a request, admitting it first if it is not counted. Return:
 * DM_MAPIO_REMAPPED if the bio is to be submitted, else DM_MAPIO_SUBMITTED.
 */
static int route(struct repl_request *rq, struct bio *bio, gfp_t gfp)
{
	int r;

	if (!rq->counted) {
		r = request_admit(rq);
		if (r == -EBUSY)
			return request_park(rq);
		if (r)
			return request_end_with(rq, BLK_STS_IOERR);
		rq->route = READ_ONCE(rq->pair->route);
	}
	r = take_way(rq, bio, gfp);
	switch (r) {
	case -EINPROGRESS:
		return DM_MAPIO_SUBMITTED;
	case -EBUSY:
		return request_park(rq);
	case -ENOMEM:
		if (!gfpflags_allow_blocking(gfp)) {
			request_continue(rq);
			return DM_MAPIO_SUBMITTED;
		}
		fallthrough;
	default:
		if (r >= 0)
			return r;
	}
	/* A disk's own error may look like one of the words above: not r. */
	return request_end_with(rq, rq->status ?: errno_to_blk_status(r));
}

/* A request that had to come back. */
static void route_again(struct repl_request *rq, gfp_t gfp)
{
	struct bio *bio = request_bio(rq);

	if (route(rq, bio, gfp) == DM_MAPIO_REMAPPED)
		submit_bio_noacct(bio);
}

/**
 * route_map - the target method map
 * @r: the target
 * @bio: the request
 *
 * Return: DM_MAPIO_REMAPPED or DM_MAPIO_SUBMITTED.
 */
int route_map(struct replication *r, struct bio *bio)
{
	struct repl_request *rq = dm_per_bio_data(bio, sizeof(*rq));
	unsigned int max;

	if (!r->is_view && op_is_write(bio_op(bio)) && bio_sectors(bio)) {
		max = origin_write_max(r, bio);
		if (bio_sectors(bio) > max)
			dm_accept_partial_bio(bio, max);
	}
	request_init(rq, r, bio);
	if (!r->is_view)
		pair_serve_soon(r->pair);
	return route(rq, bio, GFP_NOWAIT);
}

/**
 * route_end_io - the target method end_io
 * @r: the target
 * @bio: the request
 * @error: its status; may be changed
 *
 * Any context.
 *
 * Return: DM_ENDIO_DONE.
 */
int route_end_io(struct replication *r, struct bio *bio, blk_status_t *error)
{
	struct repl_request *rq = dm_per_bio_data(bio, sizeof(*rq));
	struct pair *pair = rq->pair;

	if (rq->tracked)
		request_untrack(rq);
	if (*error && rq->class < NR_ERROR_CLASSES &&
	    *error != BLK_STS_NOTSUPP)
		pair_record_error(pair, rq->class, blk_status_to_errno(*error),
				  rq->sector);
	if (!*error && rq->to_active)
		set_active(rq);
	if (rq->entered)
		leave_leaves(rq);
	if (rq->is_view && rq->route == STAGE_RUNNING) {
		/* What was read before the stage: pairs with pair_invalidate() */
		smp_mb();
		if (READ_ONCE(pair->route) == STAGE_INVALID)
			*error = BLK_STS_IOERR;
	}
	if (rq->counted)
		request_count_out(rq);
	return DM_ENDIO_DONE;
}

/**
 * route_init - make what requests need
 * @pair: a new pair, zeroed
 *
 * May sleep.
 *
 * Return: 0 or a negative errno.
 */
int route_init(struct pair *pair)
{
	int r = bioset_init(&pair->runs, 64, offsetof(struct run, bio), 0);

	if (r)
		return r;
	r = pair_start_worker(pair, route_again);
	if (r)
		bioset_exit(&pair->runs);
	return r;
}

/**
 * route_exit - undo route_init()
 * @pair: a pair without requests
 *
 * May sleep.
 */
void route_exit(struct pair *pair)
{
	pair_stop_worker(pair);
	bioset_exit(&pair->runs);
}
