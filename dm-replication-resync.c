// SPDX-License-Identifier: GPL-2.0-only
/*
 * dm-replication: the primary's resync.
 *
 * Copyright (C) the dm-replication authors
 */

#include <linux/dm-kcopyd.h>
#include <linux/slab.h>

#include "dm-replication-primary.h"

/**
 * DOC: copying beside the guest
 *
 * A run of dirty blocks, at most 1 MiB, is copied in one piece. Its copy takes
 * the run's range as a guest's write does (range_enter()): it waits for older
 * writes there, younger ones wait for it, and reads do not care. So a copy
 * cannot overtake a write, nor be overtaken. It counts in as unsettled, as
 * writes do, and clears the run's dirty bits when it has ended well: so blocks
 * that the replica loses with its cache become dirty again.
 *
 * While the replica is sound nothing makes a block dirty, so the number of runs
 * only shrinks, and each is copied once: the resync ends under any load. It
 * walks in ascending order, up to NR_COPIES at a time; at the end it looks
 * again from the beginning, expands the next regions, and when there is nothing
 * left it flushes the replica.
 *
 * A copy is counted in to the pair, so that a stop waits for it, and stands on
 * the list of legs, so that it is abandoned when the replica breaks.
 */

static bool is_wanted(struct primary *p)
{
	return READ_ONCE(p->resync.on) && !READ_ONCE(p->dirty.broken);
}

/* The range's grant, under primary->lock. */
static void copy_granted(struct write_range *range)
{
	wake_up(&container_of(range, struct copy, range)->primary->wait);
}

static void release_range(struct copy *copy)
{
	struct primary *p = copy->primary;

	range_leave(p, &copy->range);
	atomic_dec(&p->resync.nr_active);
	pair_count_out(p->pair);
}

static void free_copy(struct copy *copy)
{
	/* All else before; pairs with free_slot(). */
	smp_store_release(&copy->busy, false);
	wake_up(&copy->primary->wait);
}

/*
 * The replica does not answer: the guest may write there again. The slot stays
 * in use until kcopyd is done with it.
 */
static void abandon_copy(struct leg *leg)
{
	struct copy *copy = container_of(leg, struct copy, leg);

	release_range(copy);
	wake_up(&copy->primary->wait);
}

static void copied(int read_err, unsigned long write_err, void *context)
{
	struct copy *copy = context;
	struct primary *p = copy->primary;
	sector_t sector = copy->range.start;
	unsigned int n = copy->range.last - sector + 1;

	if (READ_ONCE(copy->leg.abandoned)) {
		/* Late: it has no say any more. */
	} else if (write_err) {
		replica_break(p, -EIO, sector);
	} else if (read_err) {
		pair_record_error(p->pair, ERROR_LOCAL, -EIO, sector);
		resync_stop(p, true);
	} else {
		dirty_clear(&p->dirty, sector, n);
	}
	if (leg_ended(p, &copy->leg)) {
		free_copy(copy);
		replica_tell_late(p);
		return;
	}
	if (!read_err && !write_err)
		atomic64_add(n, &p->resync.done);
	release_range(copy);
	free_copy(copy);
}

static struct copy *free_slot(struct primary *p)
{
	struct copy *copy;

	for (copy = p->resync.copies; copy < p->resync.copies + NR_COPIES;
	     copy++)
		/* Pairs with free_copy(). */
		if (!smp_load_acquire(&copy->busy))
			return copy;
	return NULL;
}

static void send_copy(struct copy *copy, sector_t sector, unsigned int n)
{
	struct primary *p = copy->primary;
	struct dm_io_region from = {
		.bdev = p->local, .sector = sector, .count = n,
	};
	struct dm_io_region to = {
		.bdev = p->pair->secondary, .sector = sector, .count = n,
	};

	dm_kcopyd_copy(p->resync.kcopyd, &from, 1, &to, 0, copied, copy);
}

/* Return: false if the resync is to stop. */
static bool begin_copy(struct primary *p, struct copy *copy, sector_t sector,
		       unsigned int n)
{
	copy->busy = true;
	if (!range_enter(p, &copy->range, sector, n, copy_granted))
		wait_event_idle(p->wait, !atomic_read(&copy->range.waits));
	copy->leg.generation = dirty_begin(&p->dirty, sector, n);
	copy->leg.sector = sector;
	if (copy->leg.generation && leg_sent(p, &copy->leg)) {
		send_copy(copy, sector, n);
		if (dirty_wants_flush(&p->dirty))
			replica_flush(p);
		return true;
	}
	if (copy->leg.generation)
		dirty_end(copy->leg.generation);
	release_range(copy);
	free_copy(copy);
	return false;
}

/* Waits out a suspend. Return: false if the resync is to stop. */
static bool activate(struct primary *p)
{
	struct resync *rs = &p->resync;

	for (;;) {
		wait_event_idle(p->wait, !READ_ONCE(rs->suspended) ||
				!is_wanted(p));
		if (!is_wanted(p))
			return false;
		pair_count_in(p->pair);
		atomic_inc(&rs->nr_active);
		/* Pairs with resync_suspend(): it sees us, or we see it. */
		smp_mb__after_atomic();
		if (!READ_ONCE(rs->suspended))
			return true;
		atomic_dec(&rs->nr_active);
		pair_count_out(p->pair);
		wake_up(&p->wait);
	}
}

/* Return: false if the resync is to stop. */
static bool copy_run(struct primary *p, sector_t sector, unsigned int n)
{
	struct copy *copy;

	wait_event_idle(p->wait,
			(copy = free_slot(p)) || !is_wanted(p));
	if (!copy || !activate(p))
		return false;
	return begin_copy(p, copy, sector, n);
}

static void pace(struct primary *p, unsigned int n)
{
	unsigned int rate = READ_ONCE(p->pair->tunables.resync_rate_mib);
	struct resync *rs = &p->resync;
	unsigned long due;
	long left;

	if (rate != rs->rate) {
		rs->rate = rate;
		rs->pace_from = jiffies;
		rs->paced = 0;
	}
	if (!rate)
		return;
	rs->paced += n;
	due = rs->pace_from +
	      div_u64(rs->paced * HZ, rate << (20 - SECTOR_SHIFT));
	left = due - jiffies;
	if (left > 0)
		wait_event_idle_timeout(p->wait, !is_wanted(p) ||
					READ_ONCE(p->pair->tunables.resync_rate_mib) !=
					rate, left);
}

/* Return: false if the resync is to stop, or others have made work. */
static bool flush_at_end(struct primary *p)
{
	struct resync *rs = &p->resync;

	/*
	 * One that is under way may have left before the last copy. Or memory
	 * is short, and nobody says when there is some.
	 */
	while (!replica_flush(p)) {
		if (!is_wanted(p))
			return false;
		wait_event_idle_timeout(p->wait, !is_wanted(p), HZ / 50);
	}
	wait_event_idle(p->wait, READ_ONCE(rs->flush_done) || !is_wanted(p));
	return is_wanted(p) && !dirty_count(&p->dirty);
}

/* The last run is behind. Return: whether there is more to do. */
static bool look_again(struct primary *p)
{
	struct resync *rs = &p->resync;
	sector_t sector = 0;
	unsigned int n;

	wait_event_idle(p->wait, !atomic_read(&rs->nr_active));
	if (!is_wanted(p))
		return false;
	if (dirty_next(&p->dirty, &sector, &n))
		return true;
	dirty_trim(&p->dirty);
	if (dirty_expand(&p->dirty))
		return true;
	if (!flush_at_end(p))
		return is_wanted(p);
	if (xchg(&rs->on, false)) {
		DMINFO("%s: resync is done, %llu sectors were copied",
		       p->pair->name, (u64)atomic64_read(&rs->done));
		queue_work(p->pair->slow_wq, &p->pair->after_work);
	}
	return false;
}

static void do_resync(struct work_struct *work)
{
	struct primary *p = container_of(work, struct primary, resync.work);
	sector_t sector = 0;
	unsigned int n;

	for (;;) {
		if (!dirty_next(&p->dirty, &sector, &n)) {
			if (!look_again(p))
				break;
			sector = 0;
			continue;
		}
		if (!copy_run(p, sector, n))
			break;
		sector += n;
		pace(p, n);
	}
	wait_event_idle(p->wait, !atomic_read(&p->resync.nr_active));
	/* A break may have come between the mend and resync_start(). */
	if (READ_ONCE(p->dirty.broken))
		WRITE_ONCE(p->resync.on, false);
	WRITE_ONCE(p->resync.running, false);
	wake_up(&p->wait);
}

/**
 * resync_start - begin to copy
 * @p: the primary; no resync is on
 */
void resync_start(struct primary *p)
{
	struct resync *rs = &p->resync;

	atomic64_set(&rs->done, 0);
	rs->total = dirty_count(&p->dirty);
	rs->pace_from = jiffies;
	rs->paced = 0;
	WRITE_ONCE(rs->paused, false);
	WRITE_ONCE(rs->running, true);
	WRITE_ONCE(rs->on, true);
	queue_work(p->pair->commit_wq, &rs->work);
}

/**
 * resync_stop - begin no more copies
 * @p: the primary
 * @paused: say so in the status, if it was on
 *
 * Any context. Copies under way go on.
 */
void resync_stop(struct primary *p, bool paused)
{
	if (!xchg(&p->resync.on, false))
		return;
	WRITE_ONCE(p->resync.paused, paused);
	wake_up(&p->wait);
}

/**
 * resync_suspend - begin no more copies until the resume
 * @p: the primary
 *
 * Does not sleep.
 */
void resync_suspend(struct primary *p)
{
	WRITE_ONCE(p->resync.suspended, true);
	/* Pairs with activate(). */
	smp_mb();
	wake_up(&p->wait);
}

/**
 * resync_wait_suspended - wait until no copy is under way
 * @p: the primary
 */
void resync_wait_suspended(struct primary *p)
{
	wait_event_idle(p->wait, !atomic_read(&p->resync.nr_active));
}

/**
 * resync_resume - go on
 * @p: the primary
 */
void resync_resume(struct primary *p)
{
	WRITE_ONCE(p->resync.suspended, false);
	wake_up(&p->wait);
}

/**
 * resync_init - make what a resync needs
 * @p: a new primary, zeroed
 *
 * Return: 0 or a negative errno.
 */
int resync_init(struct primary *p)
{
	struct resync *rs = &p->resync;
	unsigned int i;

	INIT_WORK(&rs->work, do_resync);
	for (i = 0; i < NR_COPIES; i++) {
		rs->copies[i].primary = p;
		rs->copies[i].leg.abandon = abandon_copy;
		INIT_LIST_HEAD(&rs->copies[i].leg.list);
	}
	rs->kcopyd = dm_kcopyd_client_create(NULL);
	return PTR_ERR_OR_ZERO(rs->kcopyd);
}

/**
 * resync_exit - undo resync_init()
 * @p: a primary without copies
 */
void resync_exit(struct primary *p)
{
	dm_kcopyd_client_destroy(p->resync.kcopyd);
}
