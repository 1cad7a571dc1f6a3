// SPDX-License-Identifier: GPL-2.0-only
/*
 * dm-replication: the two legs of a primary's write.
 *
 * Copyright (C) the dm-replication authors
 */

#include <linux/interval_tree_generic.h>
#include <linux/mm.h>
#include <linux/slab.h>

#include "dm-replication-primary.h"

/**
 * DOC: with local: a write and its two legs
 *
 * Reads are remapped to local and not even counted. A write is cut at borders
 * of 1 MiB, and while the replica is sound:
 *
 * 1. It gets a struct forward: two bios and pages of its own, into which its
 *    data is copied. Both legs write these pages. So a guest that changes its
 *    page while it is being written (direct I/O may) cannot make the two disks
 *    differ, and a leg may outlive the guest's request. Stable pages of the
 *    page cache would not do: neither for direct I/O, nor for a late leg.
 * 2. It takes its range. Overlapping ranges go one after the other, in the
 *    order of their coming: a range waits for all older ones in the tree, and
 *    who leaves counts itself off the younger. Nobody sleeps: the last one
 *    hands the request to the worker. Who is in the tree has all its memory
 *    and waits for older ones only, so no circle can come to be; and as
 *    newcomers queue behind those who wait, nobody starves.
 * 3. With metadata it waits until a durable mark covers it
 *    (dm-replication-marks.c). It is marked unsettled (dm-replication-dirty.c).
 * 4. Both legs leave: local's at once, the replica's by a worker of its own,
 *    since a replica that hangs makes those sleep who send to it, once its
 *    queue is full.
 * 5. The guest's request ends, and leaves its range, when local has answered
 *    and the replica has answered or been given up. Its status is local's.
 *
 * Memory that cannot be had is not waited for: the request parks, counted out,
 * holding nothing, until forwards are freed: any if there are few, else when
 * they have a quarter less than they may have.
 *
 * While the replica is broken, and outside stage running, a write takes its
 * range, waits for a durable mark likewise, is marked dirty, and is remapped to
 * local: no copy, no forward. It takes its range since a copy of the resync may be
 * under way there.
 *
 * DOC: the replica breaks
 *
 * A failed leg, a failed flush or a leg without an answer for
 * replica_timeout_ms breaks the replica: dirty->broken is set, in any context.
 * From then on nobody counts in to a generation, and nothing is put on a list
 * to be sent. The break's worker then
 *
 * 1. takes each leg off its list: what was not sent never will be; what was
 *    sent is abandoned. Its guest's request ends as soon as local has answered.
 * 2. makes dirty what was unsettled; that includes all that was on its way.
 *
 * An abandoned leg has pages of its own and nothing of the guest's, so its
 * late answer finds all it touches in place. But until it comes, what it
 * writes could overwrite newer data on the replica. So nothing is sent to the
 * replica again (start, start_resync) while there are late ones; and neither
 * the devices nor the module go away.
 *
 * A leg that fails because the replica cannot do that operation at all (discard,
 * zeroes) breaks nothing: its blocks are marked dirty. So they are where local
 * has failed: its content is not known then.
 *
 * DOC: locks
 *
 * primary->lock (irqsave) is for ranges and legs and is taken by completions;
 * dirty->lock is for the sets, process context only; primary->spare_lock
 * (irqsave) is for spare pages. None is taken inside another.
 */

#define FORWARD_PAGES	(STRETCH_SECTORS >> (PAGE_SHIFT - SECTOR_SHIFT))
#define MAX_PAGES	(32U << (20 - PAGE_SHIFT))	/* in forwards: 32 MiB */
#define LOW_PAGES	(MAX_PAGES / 4 * 3)	/* who found none is let go */
#define FLOOR_PAGES	FORWARD_PAGES		/* always ours */
#define TRIM_PAGES	256U			/* freed under one hold of the lock */
#define TRIM_DELAY	HZ

/*
 *---------------------------------------------------------------------------
 * Ranges
 *---------------------------------------------------------------------------
 */
#define RANGE_START(r)	((r)->start)
#define RANGE_LAST(r)	((r)->last)

INTERVAL_TREE_DEFINE(struct write_range, rb, sector_t, subtree_last, RANGE_START,
		     RANGE_LAST, static, ranges)

/**
 * range_enter - take a range, or queue for it
 * @p: the primary
 * @range: not in the tree
 * @sector: where it begins
 * @n: its sectors
 * @granted: called later if the answer is false; any context, must not sleep
 *
 * Process context, does not sleep.
 *
 * Return: true if it is taken.
 */
bool range_enter(struct primary *p, struct write_range *range, sector_t sector,
		 unsigned int n, void (*granted)(struct write_range *range))
{
	struct write_range *older;
	unsigned long flags;
	int waits = 1;

	range->start = sector;
	range->last = sector + n - 1;
	range->granted = granted;
	spin_lock_irqsave(&p->lock, flags);
	range->seq = ++p->seq;
	older = ranges_iter_first(&p->ranges, range->start, range->last);
	while (older) {
		waits++;
		older = ranges_iter_next(older, range->start, range->last);
	}
	atomic_set(&range->waits, waits);
	ranges_insert(range, &p->ranges);
	spin_unlock_irqrestore(&p->lock, flags);
	return atomic_dec_and_test(&range->waits);
}

/**
 * range_leave - the next one's turn
 * @p: the primary
 * @range: a range that was granted
 *
 * Any context.
 */
void range_leave(struct primary *p, struct write_range *range)
{
	struct write_range *other;
	unsigned long flags;

	spin_lock_irqsave(&p->lock, flags);
	ranges_remove(range, &p->ranges);
	other = ranges_iter_first(&p->ranges, range->start, range->last);
	while (other) {
		if (other->seq > range->seq &&
		    atomic_dec_and_test(&other->waits))
			other->granted(other);
		other = ranges_iter_next(other, range->start, range->last);
	}
	spin_unlock_irqrestore(&p->lock, flags);
}

/**
 * range_any - whether somebody is in a range, or queues there
 * @p: the primary
 * @sector: where it begins
 * @n: its sectors
 *
 * Any context.
 */
bool range_any(struct primary *p, sector_t sector, unsigned int n)
{
	unsigned long flags;
	bool any;

	spin_lock_irqsave(&p->lock, flags);
	any = ranges_iter_first(&p->ranges, sector, sector + n - 1);
	spin_unlock_irqrestore(&p->lock, flags);
	return any;
}

/*
 *---------------------------------------------------------------------------
 * The memory of forwards
 *---------------------------------------------------------------------------
 */

/**
 * DOC: pages are used again
 *
 * A kernel with init_on_alloc zeroes each page that it hands out, which takes
 * as long as to write it once. So the pages of a forward that has ended are
 * kept, and the next one gets them. What has been spare for TRIM_DELAY goes
 * back to the system, down to FLOOR_PAGES: so many a primary always owns, in
 * forwards or spare, and so one forward can always be had when there is no
 * other.
 */

/* Called with the lock held. @n: no more than there are. */
static void __cut_spare(struct primary *p, unsigned int n,
			struct list_head *pages)
{
	struct list_head *last = &p->spare;
	unsigned int i;

	lockdep_assert_held(&p->spare_lock);
	for (i = 0; i < n; i++)
		last = last->next;
	list_cut_position(pages, &p->spare, last);
	p->nr_spare -= n;
	p->nr_idle = min(p->nr_idle, p->nr_spare);
}

/* Any context. */
static void keep_pages(struct primary *p, struct list_head *pages,
		       unsigned int n)
{
	unsigned long flags;
	bool many;

	spin_lock_irqsave(&p->spare_lock, flags);
	list_splice(pages, &p->spare);
	p->nr_spare += n;
	many = p->nr_spare > FLOOR_PAGES;
	spin_unlock_irqrestore(&p->spare_lock, flags);
	if (many && !delayed_work_pending(&p->trim_work))
		queue_delayed_work(p->wq, &p->trim_work, TRIM_DELAY);
}

static void free_pages_of(struct list_head *pages)
{
	struct page *page, *next;

	list_for_each_entry_safe(page, next, pages, lru)
		__free_page(page);
}

static int fill_spare(struct primary *p)
{
	struct page *page;

	while (p->nr_spare < FLOOR_PAGES) {
		page = alloc_page(GFP_KERNEL);
		if (!page)
			return -ENOMEM;
		list_add(&page->lru, &p->spare);
		p->nr_spare++;
	}
	return 0;
}

/* What was spare all the time since the last look goes back to the system. */
static void do_trim(struct work_struct *work)
{
	struct primary *p = container_of(to_delayed_work(work), struct primary,
					 trim_work);
	unsigned int n;
	LIST_HEAD(pages);
	bool again;

	spin_lock_irq(&p->spare_lock);
	while (p->nr_idle && p->nr_spare > FLOOR_PAGES) {
		n = min3(p->nr_idle, p->nr_spare - FLOOR_PAGES, TRIM_PAGES);
		p->nr_idle -= n;
		__cut_spare(p, n, &pages);
		spin_unlock_irq(&p->spare_lock);
		free_pages_of(&pages);
		cond_resched();
		spin_lock_irq(&p->spare_lock);
	}
	p->nr_idle = p->nr_spare;
	again = p->nr_spare > FLOOR_PAGES;
	spin_unlock_irq(&p->spare_lock);
	if (again)
		queue_delayed_work(p->wq, &p->trim_work, TRIM_DELAY);
}

/* Under rcu_read_lock() if the pair may end with the last forward. */
static void free_forward(struct forward *fw)
{
	struct primary *p = fw->primary;
	struct bvec_iter_all iter;
	struct bio_vec *bv;
	unsigned int n = 0;
	LIST_HEAD(pages);

	bio_for_each_segment_all(bv, &fw->bio, iter) {
		list_add(&bv->bv_page->lru, &pages);
		n++;
	}
	if (n)
		keep_pages(p, &pages, n);
	atomic_sub(fw->cost, &p->nr_pages);
	bio_put(&fw->bio);
}

static void count_out(struct primary *p)
{
	if (atomic_dec_and_test(&p->nr_forwards))
		wake_up(&p->wait);
}

/**
 * forward_put - give back a reference
 * @fw: the forward
 *
 * Any context.
 */
void forward_put(struct forward *fw)
{
	struct primary *p = fw->primary;

	if (!atomic_dec_and_test(&fw->refs))
		return;
	/* Whoever waits for the last one may free the pair at once. */
	rcu_read_lock();
	free_forward(fw);
	/* Freed before the look; pairs with who is short. */
	smp_mb();
	if (READ_ONCE(p->short_of_memory) &&
	    atomic_read(&p->nr_pages) <= LOW_PAGES) {
		WRITE_ONCE(p->short_of_memory, false);
		pair_release_parked(p->pair);
	}
	count_out(p);
	rcu_read_unlock();
}

static struct forward *alloc_forward(struct primary *p, unsigned int nr_pages,
				     blk_opf_t opf)
{
	struct forward *fw;
	struct bio *bio;

	bio = bio_alloc_bioset(p->pair->secondary, nr_pages, opf,
			       GFP_NOWAIT | __GFP_NOWARN, &p->bios);
	if (!bio)
		return NULL;
	atomic_inc(&p->nr_forwards);
	fw = container_of(bio, struct forward, bio);
	memset(fw, 0, offsetof(struct forward, bio));
	fw->primary = p;
	fw->cost = max(nr_pages, 1U);
	atomic_add(fw->cost, &p->nr_pages);
	INIT_LIST_HEAD(&fw->leg.list);
	atomic_set(&fw->refs, 1);
	return fw;
}

/* Return: false if memory is short. */
static bool copy_data(struct forward *fw, struct bio *bio, gfp_t gfp)
{
	unsigned int left = bio->bi_iter.bi_size, part;
	struct primary *p = fw->primary;
	unsigned long flags;
	struct page *page;
	LIST_HEAD(spare);

	spin_lock_irqsave(&p->spare_lock, flags);
	__cut_spare(p, min(fw->cost, p->nr_spare), &spare);
	spin_unlock_irqrestore(&p->spare_lock, flags);
	while (left) {
		page = list_first_entry_or_null(&spare, struct page, lru);
		if (page)
			list_del(&page->lru);
		else
			page = alloc_page(gfp | __GFP_NORETRY | __GFP_NOWARN |
					  __GFP_NOMEMALLOC);
		if (!page)
			return false;
		part = min_t(unsigned int, left, PAGE_SIZE);
		WARN_ON_ONCE(bio_add_page(&fw->bio, page, part, 0) != part);
		left -= part;
	}
	bio_copy_data(&fw->bio, bio);
	return true;
}

#define KEPT_FLAGS	(REQ_SYNC | REQ_META | REQ_PRIO | REQ_FUA | REQ_IDLE | \
			 REQ_BACKGROUND | REQ_NOUNMAP)

/* An empty bio that makes what has been written durable. */
static struct forward *new_flush(struct primary *p)
{
	return alloc_forward(p, 0, REQ_OP_WRITE | REQ_SYNC | REQ_PREFLUSH);
}

/*
 * Once somebody has found no room there is none for newcomers either until a
 * quarter is free. So those who wait are let go in batches, in their order,
 * and small ones do not keep a large one out. One forward there always is
 * room for.
 */
static bool has_room(struct primary *p, unsigned int nr_pages)
{
	unsigned int used = atomic_read(&p->nr_pages);

	if (!used)
		return true;
	if (READ_ONCE(p->short_of_memory) && used > LOW_PAGES)
		return false;
	return used + max(nr_pages, 1U) <= MAX_PAGES;
}

/**
 * forward_new - a forward with a copy of a request
 * @p: the primary
 * @bio: a write, a discard, zeroes or a flush
 * @gfp: how to allocate; never waits for other forwards
 *
 * Return: NULL if memory is short.
 */
struct forward *forward_new(struct primary *p, struct bio *bio, gfp_t gfp)
{
	unsigned int nr = 0;
	struct forward *fw;

	if (!bio_sectors(bio))
		return new_flush(p);
	if (bio_has_data(bio))
		nr = DIV_ROUND_UP(bio->bi_iter.bi_size, PAGE_SIZE);
	if (!has_room(p, nr))
		return NULL;
	fw = alloc_forward(p, nr, bio_op(bio) | (bio->bi_opf & KEPT_FLAGS));
	if (!fw)
		return NULL;
	if (nr && !copy_data(fw, bio, gfp)) {
		/* Not forward_put(): who waits would take it for good news. */
		free_forward(fw);
		count_out(p);
		return NULL;
	}
	fw->bio.bi_iter.bi_sector = bio->bi_iter.bi_sector;
	fw->bio.bi_iter.bi_size = bio->bi_iter.bi_size;
	fw->bio.bi_ioprio = bio->bi_ioprio;
	fw->leg.sector = bio->bi_iter.bi_sector;
	return fw;
}

/*
 *---------------------------------------------------------------------------
 * Legs
 *---------------------------------------------------------------------------
 */
static void watch(struct primary *p)
{
	unsigned int ms = READ_ONCE(p->pair->tunables.replica_timeout_ms);

	if (ms)
		queue_delayed_work(p->wq, &p->timeout_work,
				   msecs_to_jiffies(ms));
}

/* Return: false if the replica is broken: the leg is not to be sent. */
static bool list_leg(struct primary *p, struct leg *leg, struct list_head *list)
{
	unsigned long flags;
	bool sound;

	leg->since = jiffies;
	leg->abandoned = false;
	spin_lock_irqsave(&p->lock, flags);
	/* Looked at under the lock: do_break() will find it, or we see it. */
	sound = !READ_ONCE(p->dirty.broken);
	if (sound)
		list_add_tail(&leg->list, list);
	spin_unlock_irqrestore(&p->lock, flags);
	if (sound)
		watch(p);
	return sound;
}

/**
 * leg_sent - somebody else sends a leg now
 * @p: the primary
 * @leg: the leg
 *
 * Return: false if it must not be sent: the replica is broken.
 */
bool leg_sent(struct primary *p, struct leg *leg)
{
	return list_leg(p, leg, &p->sent);
}

static bool __leg_ended(struct primary *p, struct leg *leg)
{
	lockdep_assert_held(&p->lock);
	if (!leg->abandoned) {
		list_del_init(&leg->list);
		return false;
	}
	p->nr_late--;
	return true;
}

/**
 * replica_tell_late - one late answer less is due
 * @p: the primary
 *
 * Any context.
 */
void replica_tell_late(struct primary *p)
{
	/* The last one may be waited for by who frees the pair. */
	rcu_read_lock();
	if (!READ_ONCE(p->nr_late))
		wake_up(&p->wait);
	rcu_read_unlock();
}

/**
 * leg_ended - the replica has answered
 * @p: the primary
 * @leg: the leg
 *
 * Any context.
 *
 * Return: true if it comes late: the leg was abandoned.
 */
bool leg_ended(struct primary *p, struct leg *leg)
{
	unsigned long flags;
	bool late;

	dirty_end(leg->generation);
	spin_lock_irqsave(&p->lock, flags);
	late = __leg_ended(p, leg);
	spin_unlock_irqrestore(&p->lock, flags);
	return late;
}

static void local_ended(struct bio *bio)
{
	struct forward *fw = container_of(bio, struct forward, local_bio);
	struct primary *p = fw->primary;
	unsigned long flags;
	bool last;

	fw->local_status = bio->bi_status;
	if (bio->bi_status && bio->bi_status != BLK_STS_NOTSUPP)
		pair_record_error(p->pair, ERROR_LOCAL,
				  blk_status_to_errno(bio->bi_status),
				  fw->leg.sector);
	bio_uninit(bio);
	spin_lock_irqsave(&p->lock, flags);
	fw->local_done = true;
	last = fw->replica_done || fw->leg.abandoned;
	spin_unlock_irqrestore(&p->lock, flags);
	if (last)
		fw->finished(fw);
	forward_put(fw);
}

static void settle(struct primary *p, unsigned long covers)
{
	dirty_flushed(&p->dirty, covers);
	queue_work(p->wq, &p->settle_work);
}

/*
 * Not the status alone: a namespace of NVMe that is gone answers NOTSUPP to all,
 * and a disk of SCSI answers TARGET to a command that it does not know.
 */
static bool is_unsupported(struct bio *bio)
{
	return (bio_op(bio) == REQ_OP_DISCARD ||
		bio_op(bio) == REQ_OP_WRITE_ZEROES) &&
	       (bio->bi_status == BLK_STS_NOTSUPP ||
		bio->bi_status == BLK_STS_TARGET);
}

static void replica_ended(struct bio *bio)
{
	struct forward *fw = container_of(bio, struct forward, bio);
	struct primary *p = fw->primary;
	blk_status_t status = bio->bi_status;
	bool abandoned = READ_ONCE(fw->leg.abandoned);
	unsigned long flags;
	bool late, last;

	/* Whoever waits for the last forward may free the pair at once. */
	rcu_read_lock();
	if (is_unsupported(bio))
		fw->unsupported = true;
	else if (status && !abandoned)
		replica_break(p, blk_status_to_errno(status), fw->leg.sector);
	else if (fw->covers && !abandoned)
		settle(p, fw->covers);
	if (fw->leg.generation)
		dirty_end(fw->leg.generation);

	spin_lock_irqsave(&p->lock, flags);
	late = __leg_ended(p, &fw->leg);
	fw->replica_done = true;
	last = !late && fw->local_done;
	spin_unlock_irqrestore(&p->lock, flags);
	if (last)
		fw->finished(fw);
	forward_put(fw);
	if (late)
		replica_tell_late(p);
	rcu_read_unlock();
}

static struct forward *next_unsent(struct primary *p)
{
	struct leg *leg;

	spin_lock_irq(&p->lock);
	leg = list_first_entry_or_null(&p->unsent, struct leg, list);
	if (leg)
		list_move_tail(&leg->list, &p->sent);
	spin_unlock_irq(&p->lock);
	return leg ? container_of(leg, struct forward, leg) : NULL;
}

/* May sleep in a replica that hangs; then do_break() takes the list away. */
static void do_send(struct work_struct *work)
{
	struct primary *p = container_of(work, struct primary, send_work);
	struct blk_plug plug;
	struct forward *fw;

	blk_start_plug(&plug);
	while ((fw = next_unsent(p))) {
		submit_bio_noacct(&fw->bio);
		cond_resched();
	}
	blk_finish_plug(&plug);
}

/*
 * The forward has a reference for this leg. Return: false if it is not sent;
 * if local has answered, too, fw->finished() is the caller's.
 */
static bool send_to_replica(struct forward *fw)
{
	struct primary *p = fw->primary;

	fw->bio.bi_end_io = replica_ended;
	if (list_leg(p, &fw->leg, &p->unsent)) {
		queue_work(p->pair->cow_wq, &p->send_work);
		return true;
	}
	fw->replica_done = true;
	if (fw->leg.generation)
		dirty_end(fw->leg.generation);
	forward_put(fw);
	return false;
}

/**
 * forward_send_both - let both legs leave
 * @fw: the forward, with fw->finished set
 *
 * Process context, does not wait for memory.
 */
void forward_send_both(struct forward *fw)
{
	struct primary *p = fw->primary;
	struct bio *local = &fw->local_bio;

	/* Before the replica's leave: its bio changes on the way. */
	if (fw->bio.bi_iter.bi_size)
		bio_init_clone(p->local, local, &fw->bio, GFP_NOIO);
	else
		bio_init(local, p->local, NULL, 0, fw->bio.bi_opf);
	local->bi_end_io = local_ended;
	atomic_add(2, &fw->refs);
	send_to_replica(fw);
	submit_bio_noacct(local);
}

static void own_flush_finished(struct forward *fw)
{
	struct primary *p = fw->primary;

	WRITE_ONCE(p->resync.flush_done, true);
	WRITE_ONCE(p->own_flush, false);
	wake_up(&p->wait);
	forward_put(fw);
}

/**
 * replica_flush - a flush that no guest has asked for
 * @p: the primary
 *
 * Process context, does not sleep. When it has ended, resync.flush_done is
 * set and primary->wait woken.
 *
 * Return: false if another one is under way, or memory is short.
 */
bool replica_flush(struct primary *p)
{
	struct forward *fw;

	if (xchg(&p->own_flush, true))
		return false;
	fw = new_flush(p);
	if (!fw) {
		WRITE_ONCE(p->own_flush, false);
		return false;
	}
	WRITE_ONCE(p->resync.flush_done, false);
	fw->local_done = true;
	fw->finished = own_flush_finished;
	fw->covers = dirty_flush_begin(&p->dirty);
	atomic_inc(&fw->refs);
	if (!send_to_replica(fw))
		fw->finished(fw);
	return true;
}

/*
 *---------------------------------------------------------------------------
 * The replica breaks
 *---------------------------------------------------------------------------
 */

static void __set_broken(struct primary *p)
{
	lockdep_assert_held(&p->lock);
	dirty_break(&p->dirty);
	p->breaks++;
}

static void set_broken(struct primary *p)
{
	unsigned long flags;

	spin_lock_irqsave(&p->lock, flags);
	__set_broken(p);
	spin_unlock_irqrestore(&p->lock, flags);
}

/* It is broken: let the worker see to it, and tell. */
static void broken_by(struct primary *p, int error, sector_t sector)
{
	WRITE_ONCE(p->tell, true);
	pair_record_error(p->pair, ERROR_FORWARD, error, sector);
	queue_work(p->wq, &p->break_work);
}

/**
 * replica_break - the replica has failed
 * @p: the primary
 * @error: how, negative errno
 * @sector: where
 *
 * Any context.
 */
void replica_break(struct primary *p, int error, sector_t sector)
{
	set_broken(p);
	broken_by(p, error, sector);
}

/* Return: false if there is none left. */
static bool abandon_one(struct primary *p)
{
	struct forward *fw;
	struct leg *leg;
	bool never, last;

	spin_lock_irq(&p->lock);
	leg = list_first_entry_or_null(&p->unsent, struct leg, list);
	never = leg;
	if (!leg)
		leg = list_first_entry_or_null(&p->sent, struct leg, list);
	if (!leg) {
		spin_unlock_irq(&p->lock);
		return false;
	}
	list_del_init(&leg->list);
	if (!never) {
		leg->abandoned = true;
		p->nr_late++;
	}
	if (leg->abandon) {
		spin_unlock_irq(&p->lock);
		leg->abandon(leg);
		return true;
	}
	fw = container_of(leg, struct forward, leg);
	fw->replica_done |= never;
	last = fw->local_done;
	spin_unlock_irq(&p->lock);

	/* The end of the guest's request has a reference, if it is ours. */
	if (never && leg->generation)
		dirty_end(leg->generation);
	if (last)
		fw->finished(fw);
	if (never)
		forward_put(fw);
	return true;
}

/*
 * Return: false if there is no break that has not been seen to. Only until it is
 * no one mends the replica, so that this is not done to a sound one.
 */
static bool serve_break(struct primary *p)
{
	unsigned long breaks;
	bool served;

	spin_lock_irq(&p->lock);
	breaks = p->breaks;
	served = breaks == p->breaks_served;
	spin_unlock_irq(&p->lock);
	if (served)
		return false;

	WRITE_ONCE(p->resync.on, false);
	while (abandon_one(p))
		;
	dirty_fall_back(&p->dirty);
	spin_lock_irq(&p->lock);
	p->breaks_served = breaks;
	spin_unlock_irq(&p->lock);
	return true;
}

static void do_break(struct work_struct *work)
{
	struct primary *p = container_of(work, struct primary, break_work);
	struct pair *pair = p->pair;

	/* It may be queued twice for one run, as breaks and runs overlap. */
	if (serve_break(p)) {
		/* Who waits for memory of forwards needs none now. */
		pair_release_parked(pair);
		wake_up(&p->wait);
	}
	if (!xchg(&p->tell, false))
		return;
	DMERR_LIMIT("%s: the replica is broken: %llu sectors dirty, %u answers due",
		    pair->name, dirty_count(&p->dirty), READ_ONCE(p->nr_late));
	queue_work(pair->slow_wq, &pair->after_work);
}

/**
 * replica_cut_off - nothing more reaches the replica
 * @p: the primary
 *
 * May sleep. Afterwards all that it may lack is dirty.
 */
void replica_cut_off(struct primary *p)
{
	set_broken(p);
	queue_work(p->wq, &p->break_work);
	flush_work(&p->break_work);
}

/**
 * replica_mend - the replica may be sent to again
 * @p: the primary
 *
 * Process context, does not sleep.
 *
 * Return: false if it has just broken once more, or owes a late answer.
 */
bool replica_mend(struct primary *p)
{
	bool sound;

	spin_lock_irq(&p->lock);
	sound = p->breaks == p->breaks_served && !p->nr_late &&
		list_empty(&p->sent) && list_empty(&p->unsent);
	if (sound)
		dirty_mend(&p->dirty);
	spin_unlock_irq(&p->lock);
	return sound;
}

static void do_settle(struct work_struct *work)
{
	struct primary *p = container_of(work, struct primary, settle_work);

	dirty_settle(&p->dirty);
}

/* The oldest leg, or NULL. */
static struct leg *oldest_leg(struct primary *p)
{
	struct leg *leg, *unsent;

	lockdep_assert_held(&p->lock);
	leg = list_first_entry_or_null(&p->sent, struct leg, list);
	unsent = list_first_entry_or_null(&p->unsent, struct leg, list);
	if (!leg || (unsent && time_before(unsent->since, leg->since)))
		leg = unsent;
	return leg;
}

static void do_timeout(struct work_struct *work)
{
	struct primary *p = container_of(to_delayed_work(work), struct primary,
					 timeout_work);
	unsigned int ms = READ_ONCE(p->pair->tunables.replica_timeout_ms);
	sector_t sector = 0;
	struct leg *leg;
	long left = 1;

	if (!ms)
		return;
	/* One hold: a leg that has been waited for is not yet another's. */
	spin_lock_irq(&p->lock);
	leg = oldest_leg(p);
	if (leg) {
		left = leg->since + msecs_to_jiffies(ms) - jiffies;
		sector = leg->sector;
	}
	if (left <= 0)
		__set_broken(p);
	spin_unlock_irq(&p->lock);

	if (left <= 0)
		broken_by(p, -ETIMEDOUT, sector);
	else if (leg)
		queue_delayed_work(p->wq, &p->timeout_work, left);
}

/**
 * forward_init - make what forwards need
 * @p: a new primary, zeroed
 *
 * Return: 0 or a negative errno.
 */
int forward_init(struct primary *p)
{
	int r;

	spin_lock_init(&p->lock);
	spin_lock_init(&p->spare_lock);
	INIT_LIST_HEAD(&p->spare);
	init_waitqueue_head(&p->wait);
	p->ranges = RB_ROOT_CACHED;
	INIT_LIST_HEAD(&p->unsent);
	INIT_LIST_HEAD(&p->sent);
	INIT_WORK(&p->send_work, do_send);
	INIT_WORK(&p->break_work, do_break);
	INIT_WORK(&p->settle_work, do_settle);
	INIT_DELAYED_WORK(&p->timeout_work, do_timeout);
	INIT_DELAYED_WORK(&p->trim_work, do_trim);
	p->wq = alloc_workqueue("dm-repl-replica/%s",
				WQ_UNBOUND | WQ_MEM_RECLAIM, 0, p->pair->name);
	if (!p->wq)
		return -ENOMEM;
	r = fill_spare(p);
	if (r)
		goto out_with_pages;
	r = bioset_init(&p->bios, 16, offsetof(struct forward, bio),
			BIOSET_NEED_BVECS);
	if (r)
		goto out_with_pages;
	return 0;

out_with_pages:
	free_pages_of(&p->spare);
	destroy_workqueue(p->wq);
	return r;
}

/**
 * forward_exit - undo forward_init()
 * @p: a primary without forwards
 */
void forward_exit(struct primary *p)
{
	cancel_delayed_work_sync(&p->trim_work);
	destroy_workqueue(p->wq);
	bioset_exit(&p->bios);
	free_pages_of(&p->spare);
}
