// SPDX-License-Identifier: GPL-2.0-only
/*
 * dm-replication: the primary: one guest, its disk, and the disk's replica.
 *
 * Copyright (C) the dm-replication authors
 */

#include <linux/mm.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>

#include "dm-replication-primary.h"

/**
 * DOC: a pair of its own kind
 *
 * A primary is a pair that has one target only and is known by its replica; in
 * place of overlay, captures and commit it has a struct primary. Counting in
 * and out, parking, the worker, stages, errors and messages are the pair's.
 *
 * Without local it is a pure forwarder, as QEMU's primary is: a request is
 * remapped to the replica and its error is kept from the guest.
 */

/**
 * struct guest_io - per-bio data of a primary
 * @forward: while there are two legs
 * @range: what it writes
 * @ranged: it stands in the tree of ranges
 * @rq: what every request has. Last: request_bio() counts from its end.
 */
struct guest_io {
	struct forward *forward;
	struct write_range range;
	bool ranged;
	struct repl_request rq;
};

static_assert(offsetofend(struct guest_io, rq) == sizeof(struct guest_io));

/* How far a guest's write has come. */
enum {
	STEP_NEW,
	STEP_RANGE,		/* its range is taken, or waited for */
	STEP_MARK,		/* it has ended, and is to be marked dirty */
};

static struct guest_io *guest_io_of(struct repl_request *rq)
{
	return container_of(rq, struct guest_io, rq);
}

static void guest_granted(struct write_range *range)
{
	request_continue(&container_of(range, struct guest_io, range)->rq);
}

/*
 * Local has answered, and the replica has or is given up; comes once. The
 * forward's last reference may be ours.
 */
static void guest_finished(struct forward *fw)
{
	bool mark = fw->local_status || fw->unsupported;
	blk_status_t status = fw->local_status;
	struct guest_io *gio = fw->guest;

	gio->forward = NULL;
	forward_put(fw);
	if (mark && gio->rq.sectors) {
		gio->rq.status = status;
		gio->rq.step = STEP_MARK;
		request_continue(&gio->rq);
	} else {
		request_end_with(&gio->rq, status);
	}
}

/*
 * Return: 0; -ENOMEM: the worker may have more luck; -EBUSY: park until a
 * forward is freed.
 */
static int get_forward(struct guest_io *gio, struct bio *bio, gfp_t gfp)
{
	struct primary *p = gio->rq.pair->primary;

	gio->forward = forward_new(p, bio, gfp);
	if (!gio->forward && !gfpflags_allow_blocking(gfp))
		return -ENOMEM;
	if (!gio->forward) {
		WRITE_ONCE(p->short_of_memory, true);
		/* Said before the last look; pairs with forward_put(). */
		smp_mb();
		gio->forward = forward_new(p, bio, gfp);
	}
	if (!gio->forward)
		return -EBUSY;
	gio->forward->guest = gio;
	gio->forward->finished = guest_finished;
	return 0;
}

static int send_both(struct forward *fw)
{
	forward_send_both(fw);
	return -EINPROGRESS;
}

static void drop_forward(struct guest_io *gio)
{
	forward_put(gio->forward);
	gio->forward = NULL;
}

/*
 *---------------------------------------------------------------------------
 * Routing
 *---------------------------------------------------------------------------
 */
static int remap(struct guest_io *gio, struct bio *bio,
		 struct block_device *bdev, enum error_class class)
{
	gio->rq.class = class;
	bio_set_dev(bio, bdev);
	return DM_MAPIO_REMAPPED;
}

/* Whether a write leaves on two legs. */
static bool is_forwarding(struct guest_io *gio)
{
	return gio->rq.route == STAGE_RUNNING &&
	       !READ_ONCE(gio->rq.pair->primary->dirty.broken);
}

static int pure_forward(struct guest_io *gio, struct bio *bio)
{
	if (!op_is_write(bio_op(bio)) || gio->rq.route != STAGE_RUNNING)
		return request_end_with(&gio->rq, BLK_STS_IOERR);
	return remap(gio, bio, gio->rq.pair->secondary, ERROR_FORWARD);
}

static int flush_both(struct guest_io *gio, struct bio *bio, gfp_t gfp)
{
	struct primary *p = gio->rq.pair->primary;
	int r;

	if (!is_forwarding(gio))
		return remap(gio, bio, p->local, ERROR_LOCAL);
	r = get_forward(gio, bio, gfp);
	if (r)
		return r;
	gio->forward->covers = dirty_flush_begin(&p->dirty);
	return send_both(gio->forward);
}

static int write_both(struct guest_io *gio, struct bio *bio, gfp_t gfp)
{
	struct repl_request *rq = &gio->rq;
	struct primary *p = rq->pair->primary;
	struct forward *fw;
	int r;

	if (rq->step == STEP_NEW) {
		r = is_forwarding(gio) ? get_forward(gio, bio, gfp) : 0;
		if (r)
			return r;
		rq->step = STEP_RANGE;
		gio->ranged = true;
		if (!range_enter(p, &gio->range, rq->sector, rq->sectors,
				 guest_granted))
			return -EINPROGRESS;
	}
	if (p->marks && !marks_pass(p->marks, rq))
		return -EINPROGRESS;
	fw = gio->forward;
	/* While this request holds the pair; behind send_both() it may be gone. */
	if (fw && dirty_wants_flush(&p->dirty))
		replica_flush(p);
	if (fw)
		fw->leg.generation = dirty_begin(&p->dirty, rq->sector,
						 rq->sectors);
	if (fw && fw->leg.generation)
		return send_both(fw);
	if (fw)
		drop_forward(gio);
	/* Marked before it leaves. */
	dirty_mark(&p->dirty, rq->sector, rq->sectors);
	return remap(gio, bio, p->local, ERROR_LOCAL);
}

static int mark_and_end(struct guest_io *gio)
{
	struct repl_request *rq = &gio->rq;

	dirty_mark(&rq->pair->primary->dirty, rq->sector, rq->sectors);
	return request_end_with(rq, rq->status);
}

static int take_way(struct guest_io *gio, struct bio *bio, gfp_t gfp)
{
	if (!gio->rq.pair->primary->local)
		return pure_forward(gio, bio);
	if (!gio->rq.sectors)
		return flush_both(gio, bio, gfp);
	if (gio->rq.step == STEP_MARK)
		return mark_and_end(gio);
	return write_both(gio, bio, gfp);
}

/* As the same function of view and origin. */
static int route(struct guest_io *gio, struct bio *bio, gfp_t gfp)
{
	struct repl_request *rq = &gio->rq;
	int r;

	if (!rq->counted) {
		if (request_admit(rq))
			return request_park(rq);
		rq->route = READ_ONCE(rq->pair->route);
	}
	r = take_way(gio, bio, gfp);
	if (r == -EINPROGRESS)
		return DM_MAPIO_SUBMITTED;
	if (r == -EBUSY)
		return request_park(rq);
	if (r == -ENOMEM) {
		request_continue(rq);
		return DM_MAPIO_SUBMITTED;
	}
	return r;
}

/* What the worker does with a request; see request_continue(). */
static void route_again(struct repl_request *rq, gfp_t gfp)
{
	struct bio *bio = request_bio(rq);

	if (route(guest_io_of(rq), bio, gfp) == DM_MAPIO_REMAPPED)
		submit_bio_noacct(bio);
}

/* Sectors that a write may have: within one stretch, but see the origin's. */
static unsigned int write_max(struct replication *r, struct bio *bio)
{
	sector_t sector = bio->bi_iter.bi_sector;
	unsigned int max = STRETCH_SECTORS, grain;

	if (bio_op(bio) == REQ_OP_DISCARD) {
		grain = max(bdev_discard_granularity(r->local->bdev),
			    bdev_discard_granularity(r->secondary->bdev));
		grain = max(grain >> SECTOR_SHIFT, 1U);
		/* No chunk across a border: nobody would discard it. */
		max = max(rounddown(max, grain), grain);
	}
	return max - sector_div(sector, max);
}

/**
 * primary_map - the target method map
 * @r: the target
 * @bio: the request
 *
 * Return: DM_MAPIO_REMAPPED or DM_MAPIO_SUBMITTED.
 */
int primary_map(struct replication *r, struct bio *bio)
{
	struct guest_io *gio = dm_per_bio_data(bio, sizeof(*gio));
	unsigned int max;

	if (r->local && op_is_write(bio_op(bio)) && bio_sectors(bio)) {
		max = write_max(r, bio);
		if (bio_sectors(bio) > max)
			dm_accept_partial_bio(bio, max);
	}
	gio->forward = NULL;
	gio->ranged = false;
	request_init(&gio->rq, r, bio);
	/* In every stage: whoever suspends waits for it, and nobody else. */
	if (r->local && !op_is_write(bio_op(bio)))
		return remap(gio, bio, r->local->bdev, ERROR_LOCAL);
	return route(gio, bio, GFP_NOWAIT);
}

/**
 * primary_end_io - the target method end_io
 * @r: the target
 * @bio: the request
 * @error: its status; may be changed
 *
 * Any context.
 *
 * Return: DM_ENDIO_DONE.
 */
int primary_end_io(struct replication *r, struct bio *bio, blk_status_t *error)
{
	struct guest_io *gio = dm_per_bio_data(bio, sizeof(*gio));
	struct repl_request *rq = &gio->rq;
	struct pair *pair = rq->pair;

	if (*error && rq->class < NR_ERROR_CLASSES &&
	    *error != BLK_STS_NOTSUPP) {
		pair_record_error(pair, rq->class, blk_status_to_errno(*error),
				  rq->sector);
		/* A pure forwarder's guest has another disk: QEMU's way. */
		if (rq->class == ERROR_FORWARD)
			*error = BLK_STS_OK;
	}
	if (gio->ranged)
		range_leave(pair->primary, &gio->range);
	if (rq->counted)
		request_count_out(rq);
	return DM_ENDIO_DONE;
}

/**
 * primary_per_bio_size - of the target's per-bio data
 */
unsigned int primary_per_bio_size(void)
{
	return sizeof(struct guest_io);
}

/*
 *---------------------------------------------------------------------------
 * Tables and transitions; the pair's mutex is held
 *---------------------------------------------------------------------------
 */
static bool is_quiet(struct primary *p)
{
	return !READ_ONCE(p->nr_late) && !atomic_read(&p->nr_forwards);
}

static int begin_anew(struct primary *p, struct replication *r)
{
	bool all = r->local && !r->in_sync;
	int error;

	flush_work(&p->break_work);
	flush_work(&p->resync.work);
	if (p->marks)
		error = marks_restart(p->marks, all);
	else
		error = dirty_configure(&p->dirty, r->ti->len, r->block_shift,
					all);
	if (!error && r->metadata && !p->marks)
		error = marks_open(p, r);
	if (error)
		return error;
	p->resync.total = 0;
	atomic64_set(&p->resync.done, 0);
	p->resync.paused = false;
	return 0;
}

/**
 * primary_take - a table becomes the live one
 * @pair: the pair
 * @r: its target
 * @anew: its devices are others than before
 *
 * May sleep.
 *
 * Return: 0 or a negative errno.
 */
int primary_take(struct pair *pair, struct replication *r, bool anew)
{
	struct primary *p = pair->primary;
	int error = 0;

	if (anew)
		error = begin_anew(p, r);
	if (!error)
		p->local = r->local ? r->local->bdev : NULL;
	return error;
}

/**
 * primary_await_late - wait until no late answer is due
 * @pair: the pair
 *
 * Sleeps, for as long as the replica does not answer: its device may not be
 * closed before.
 */
void primary_await_late(struct pair *pair)
{
	struct primary *p = pair->primary;

	if (READ_ONCE(p->nr_late))
		DMWARN("%s: waiting for %u late answers of the replica",
		       pair->name, READ_ONCE(p->nr_late));
	wait_event_idle(p->wait, !READ_ONCE(p->nr_late));
}

/*
 * What the replica has, but nobody has flushed, need not be found dirty by who
 * loads the metadata. No guest's request is under way. The generation that is
 * closed may take a flush of its own.
 */
static void settle(struct primary *p)
{
	unsigned int ms = p->pair->tunables.checkpoint_timeout_ms, tries;

	for (tries = 0; tries < 3 && dirty_unsettled(&p->dirty) &&
	     !READ_ONCE(p->dirty.broken); tries++) {
		replica_flush(p);
		wait_event_idle_timeout(p->wait, !READ_ONCE(p->own_flush) ||
					READ_ONCE(p->dirty.broken),
					msecs_to_jiffies(ms));
		flush_work(&p->settle_work);
	}
}

/**
 * primary_leave - the live table goes away
 * @pair: the pair; no guest's request is under way
 *
 * Sleeps, for as long as the replica does not answer.
 */
void primary_leave(struct pair *pair)
{
	struct primary *p = pair->primary;
	u64 dirty;

	if (p->marks) {
		marks_pause(p->marks);
		settle(p);
	}
	replica_cut_off(p);
	flush_work(&p->resync.work);
	cancel_delayed_work_sync(&p->timeout_work);
	pair_defer(pair);
	pair_drain_forever(pair);
	primary_await_late(pair);
	wait_event_idle(p->wait, is_quiet(p));
	/* An error may have come since: it is queued before its leg has ended. */
	flush_work(&p->break_work);
	dirty = dirty_count(&p->dirty);
	if (p->marks)
		marks_close(p);
	if (p->local && dirty)
		DMWARN("%s: the primary is removed, its replica may lack %llu sectors",
		       pair->name, dirty);
	pair_set_stage(pair, STAGE_NONE, STAGE_NONE);
	pair->view = NULL;
	pair_undefer(pair);
}

/**
 * primary_why_not_start - what speaks against a start
 * @pair: the pair
 * @error: negative errno
 *
 * Return: words, or NULL.
 */
const char *primary_why_not_start(struct pair *pair, int *error)
{
	struct primary *p = pair->primary;

	*error = -EBUSY;
	flush_work(&p->break_work);
	if (READ_ONCE(p->nr_late))
		return "the replica still owes late answers; wait for them";
	*error = -EINVAL;
	if (bdev_nr_sectors(pair->secondary) != pair->view->ti->len ||
	    (p->local && bdev_nr_sectors(p->local) != pair->view->ti->len))
		return "a device has changed its length; all must be equal";
	return NULL;
}

/**
 * primary_begin_stop - before a stop puts newcomers aside
 * @pair: the pair
 *
 * Does not sleep.
 */
void primary_begin_stop(struct pair *pair)
{
	resync_stop(pair->primary, true);
}

/**
 * primary_give_up - a stop has waited long enough for the replica
 * @pair: the pair, deferring
 *
 * Return: true if it is worth while to drain again.
 */
bool primary_give_up(struct pair *pair)
{
	struct primary *p = pair->primary;

	if (!p->local)
		return false;
	DMWARN("%s: a write is not answered, stop goes on without the replica",
	       pair->name);
	replica_cut_off(p);
	return true;
}

/**
 * primary_change - all is drained: the change of a transition itself
 * @pair: the pair
 * @stage: running or stopped
 */
void primary_change(struct pair *pair, enum stage stage)
{
	struct primary *p = pair->primary;

	if (stage == STAGE_RUNNING)
		WARN_ON_ONCE(!replica_mend(p));
	else
		replica_cut_off(p);
	spin_lock_irq(&pair->stage_lock);
	memset(&pair->error, 0, sizeof(pair->error));
	spin_unlock_irq(&pair->stage_lock);
	pair_set_stage(pair, stage, stage);
}

/**
 * primary_tuned - a tunable has changed
 * @pair: the pair
 */
void primary_tuned(struct pair *pair)
{
	struct primary *p = pair->primary;

	mod_delayed_work(p->wq, &p->timeout_work, 0);
	wake_up(&p->wait);
}

/* The copies of a resync that was paused may hang, and no late answer is due. */
static int await_paused(struct primary *p, unsigned int ms)
{
	long left;

	left = wait_event_killable_timeout(p->wait,
					   !READ_ONCE(p->resync.running),
					   msecs_to_jiffies(ms));
	if (left <= 0) {
		DMERR("%s: cannot start_resync: copies of the one before are still under way",
		      p->pair->name);
		return left ? -EINTR : -EBUSY;
	}
	/* Its last lines. */
	flush_work(&p->resync.work);
	return 0;
}

/**
 * primary_start_resync - the message
 * @pair: the pair, in stage running
 * @full: copy everything
 *
 * Sleeps for a while if the replica owes answers.
 *
 * Return: 0 or a negative errno, with a line in the log.
 */
int primary_start_resync(struct pair *pair, bool full)
{
	struct primary *p = pair->primary;
	unsigned int ms = pair->tunables.checkpoint_timeout_ms;
	long left = 1;
	int error;

	if (READ_ONCE(p->dirty.broken)) {
		left = wait_event_killable_timeout(p->wait,
						   !READ_ONCE(p->nr_late),
						   msecs_to_jiffies(ms));
		flush_work(&p->break_work);
	}
	if (READ_ONCE(p->resync.on)) {
		DMERR("%s: cannot start_resync: it is under way; send pause_resync first",
		      pair->name);
		return -EBUSY;
	}
	error = await_paused(p, ms);
	if (error)
		return error;
	if (full)
		dirty_mark_all(&p->dirty);
	if (full && p->marks)
		marks_all(p->marks);
	if (READ_ONCE(p->dirty.broken) && !replica_mend(p)) {
		DMERR("%s: cannot start_resync: the replica still owes %u late answers",
		      pair->name, READ_ONCE(p->nr_late));
		return left < 0 ? -EINTR : -EBUSY;
	}
	resync_start(p);
	return 0;
}

/**
 * primary_pause_resync - the message
 * @pair: the pair, in stage running
 *
 * Return: 0, or -EINVAL if there is no resync.
 */
int primary_pause_resync(struct pair *pair)
{
	struct primary *p = pair->primary;

	if (!READ_ONCE(p->resync.on)) {
		DMERR("%s: cannot pause_resync: none is under way", pair->name);
		return -EINVAL;
	}
	resync_stop(p, true);
	return 0;
}

/*
 *---------------------------------------------------------------------------
 * Making and ending
 *---------------------------------------------------------------------------
 */

/**
 * primary_init - make what a pair of mode primary needs
 * @pair: a new pair
 *
 * Return: 0 or a negative errno.
 */
int primary_init(struct pair *pair)
{
	struct primary *p = kzalloc(sizeof(*p), GFP_KERNEL);
	int r;

	if (!p)
		return -ENOMEM;
	p->pair = pair;
	dirty_init(&p->dirty);
	dirty_break(&p->dirty);		/* until it is started */
	r = forward_init(p);
	if (r)
		goto out_with_dirty;
	r = resync_init(p);
	if (r)
		goto out_with_forward;
	pair->primary = p;
	r = pair_start_worker(pair, route_again);
	if (r)
		goto out_with_resync;
	return 0;

out_with_resync:
	pair->primary = NULL;
	resync_exit(p);
out_with_forward:
	forward_exit(p);
out_with_dirty:
	dirty_exit(&p->dirty);
	kfree(p);
	return r;
}

/**
 * primary_exit - undo primary_init()
 * @pair: a pair without targets, requests and queues
 */
void primary_exit(struct pair *pair)
{
	struct primary *p = pair->primary;

	pair_stop_worker(pair);
	resync_exit(p);
	forward_exit(p);
	dirty_exit(&p->dirty);
	kfree(p);
	pair->primary = NULL;
}
