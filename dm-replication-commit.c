// SPDX-License-Identifier: GPL-2.0-only
/*
 * dm-replication: failover, which makes the view the disk.
 *
 * Copyright (C) the dm-replication authors
 */

#include <linux/delay.h>
#include <linux/slab.h>

#include "dm-replication.h"
#include "dm-replication-trace.h"

/**
 * DOC: the commit beside the view
 *
 * The message has fenced the origin, deferred newcomers and set the stage; the
 * worker here drains, changes the stage of routing, lets the parked go, and
 * walks the leaves in ascending order. Up to NR_SLOTS leaves, or MAX_SECTORS in
 * them, are under way at once; each is retired when its own copies have ended.
 *
 * A leaf is locked; then the worker waits for the view writes counted into it
 * (they end by themselves, and newcomers back out and park, so it cannot
 * starve); then no bit of the leaf can change, and no view write can touch its
 * stretch of secondary. Each extent of equal source is copied: active and
 * hidden through memory, held pages are written as they are. When all copies
 * have ended well the bits are cleared, saved before active, and the leaf is
 * unlocked: from then on secondary has the data. View reads never stop: until
 * the bits are clear they read the sources, which the commit does not change.
 *
 * The memory is that of NR_COPIES copies, used again and again: to get new pages
 * for each copy, as kcopyd does, costs more than the rest of it where the kernel
 * zeroes them. A read that has ended is put on a list for the worker, who alone
 * may submit its write; so whatever the worker waits for that copies must end
 * for, it waits for by wait_and_write(). A copy that is wanted comes free when
 * another one's write ends. Where that takes long more are made, as far as memory
 * is to be had, and small ones for scattered blocks; they go when the commit ends.
 *
 * No bit is ever set on a block that had none, so what is to be committed only
 * shrinks, and the walk ends under any load.
 *
 * With metadata the leaves that are done are made empty some at a time: their
 * copies are flushed, their records are written empty, and only then are the
 * bits in memory cleared. See dm-replication-metadata.c.
 *
 * An error leaves the bits of its leaf as they are: failover_failed, and the
 * next failover goes on with what is left.
 */

#define NR_SLOTS	16
#define MAX_SECTORS	(4 * STRETCH_SECTORS)	/* of locked leaves: 4 MiB */
#define MAX_EXTENTS	256	/* writes of held pages in flight */
#define NR_COPIES	16	/* always there: 1 MiB */
#define MAX_COPIES	64
#define MAX_SMALL	256	/* copies of one page */
#define LONG_WAIT_NS	(4 * NSEC_PER_MSEC)	/* for a copy */
#define COPY_ORDER	(PAGE_SHIFT < 16 ? 16 - PAGE_SHIFT : 0)	/* 64 KiB */

/**
 * struct slot - a leaf that is being committed
 * @pair: the pair
 * @leaf: the leaf, locked
 * @index: its stretch
 * @sectors: how much is to be copied
 * @pending: copies in flight, plus one while they are being started
 * @failed: one of them failed
 * @recorded: the metadata says that the leaf is empty, and it is
 */
struct slot {
	struct pair *pair;
	struct leaf *leaf;
	unsigned long index;
	unsigned int sectors;
	atomic_t pending;
	bool failed;
	bool recorded;
};

/**
 * struct copy - memory for a part of an extent, on its way to secondary
 * @node: on commit->free or commit->small, or on commit->read
 * @slot: its leaf's
 * @sector: where
 * @sectors: how long
 * @max: how long it may be, a power of two: memory is in one piece
 * @small: one of commit->small's
 * @page: the memory
 * @bv: the same, for @bio
 * @bio: reads the source, then writes secondary
 */
struct copy {
	struct llist_node node;
	struct slot *slot;
	sector_t sector;
	unsigned int sectors;
	unsigned int max;
	bool small;
	struct page *page;
	struct bio_vec bv;
	struct bio bio;
};

static void slot_put(struct slot *slot)
{
	struct pair *pair = slot->pair;

	/* The worker, and then the pair, may end before the wake-up does. */
	rcu_read_lock();
	if (atomic_dec_and_test(&slot->pending))
		wake_up(&pair->commit.wait);
	rcu_read_unlock();
}

static void slot_error(struct slot *slot, sector_t sector, int error)
{
	WRITE_ONCE(slot->failed, true);
	pair_record_error(slot->pair, ERROR_COMMIT, error, sector);
}

/*
 *---------------------------------------------------------------------------
 * Copies through memory
 *---------------------------------------------------------------------------
 */
static void free_copy(struct copy *copy)
{
	put_page(copy->page);
	kfree(copy);
}

/* Return: false if there is no memory. */
static bool add_copy(struct commit *c, unsigned int order, bool small, gfp_t gfp)
{
	struct copy *copy = kzalloc(sizeof(*copy), gfp | __GFP_NOWARN);

	if (!copy)
		return false;
	copy->page = alloc_pages(gfp | __GFP_COMP | __GFP_NOWARN, order);
	if (!copy->page) {
		kfree(copy);
		return false;
	}
	copy->max = 1U << (order + PAGE_SHIFT - SECTOR_SHIFT);
	copy->small = small;
	if (small)
		c->nr_small++;
	else
		c->nr_copies++;
	llist_add(&copy->node, small ? &c->small : &c->free);
	return true;
}

/* While all are idle. */
static void drop_copies(struct llist_head *copies, unsigned int *n,
			unsigned int left)
{
	struct llist_node *node;

	while (*n > left) {
		node = llist_del_first(copies);
		if (!node)
			break;
		free_copy(llist_entry(node, struct copy, node));
		--*n;
	}
}

/* Send a copy to where it is read from, or written to. */
static void send_copy(struct copy *copy, struct block_device *bdev,
		      blk_opf_t op, bio_end_io_t *end_io)
{
	struct bio *bio = &copy->bio;

	bio_init(bio, bdev, &copy->bv, 1, op);
	__bio_add_page(bio, copy->page, copy->sectors << SECTOR_SHIFT, 0);
	bio->bi_iter.bi_sector = copy->sector;
	bio->bi_end_io = end_io;
	submit_bio_noacct(bio);
}

/* Any context. */
static void end_copy(struct copy *copy)
{
	struct slot *slot = copy->slot;
	struct commit *c = &slot->pair->commit;

	if (copy->bio.bi_status)
		slot_error(slot, copy->sector,
			   blk_status_to_errno(copy->bio.bi_status));
	bio_uninit(&copy->bio);
	/* The slot, which is put last, keeps all this alive. */
	if (llist_add(&copy->node, copy->small ? &c->small : &c->free))
		wake_up(&c->wait);
	slot_put(slot);
}

static void copy_written(struct bio *bio)
{
	end_copy(container_of(bio, struct copy, bio));
}

static void copy_read(struct bio *bio)
{
	struct copy *copy = container_of(bio, struct copy, bio);
	struct commit *c = &copy->slot->pair->commit;

	if (bio->bi_status) {
		end_copy(copy);
		return;
	}
	/* The worker, and then the pair, may end before the wake-up does. */
	rcu_read_lock();
	if (llist_add(&copy->node, &c->read))
		wake_up(&c->wait);
	rcu_read_unlock();
}

static void write_copies(struct commit *c)
{
	struct pair *pair = container_of(c, struct pair, commit);
	struct copy *copy, *next;
	struct llist_node *nodes;
	struct blk_plug plug;

	nodes = llist_reverse_order(llist_del_all(&c->read));
	if (!nodes)
		return;
	blk_start_plug(&plug);
	llist_for_each_entry_safe(copy, next, nodes, node) {
		bio_uninit(&copy->bio);
		send_copy(copy, pair->secondary, REQ_OP_WRITE, copy_written);
	}
	blk_finish_plug(&plug);
}

/*
 * For the worker: wait, and meanwhile write what has been read. Nobody else takes
 * copies off that list: if it is empty, the wait has ended by the condition.
 */
#define wait_and_write(waiter, condition)				\
do {									\
	struct commit *__c = (waiter);					\
									\
	do {								\
		write_copies(__c);					\
		wait_event_idle(__c->wait, (condition) ||		\
				!llist_empty(&__c->read));		\
	} while (!llist_empty(&__c->read));				\
} while (0)

/* Worker only; sleeps until there is a copy. It may be too short for all @n. */
static struct copy *get_copy(struct commit *c, unsigned int n)
{
	const gfp_t gfp = GFP_NOWAIT | __GFP_NOMEMALLOC;
	bool small = n <= PAGE_SECTORS;
	struct llist_node *node = NULL;
	u64 began;

	if (small && llist_empty(&c->small) && c->nr_small < MAX_SMALL)
		add_copy(c, 0, true, gfp);
	if (llist_empty(&c->free) && !(small && !llist_empty(&c->small))) {
		began = ktime_get_ns();
		wait_and_write(c, !llist_empty(&c->free) ||
			       (small && !llist_empty(&c->small)));
		if (ktime_get_ns() - began > LONG_WAIT_NS &&
		    c->nr_copies < MAX_COPIES)
			add_copy(c, COPY_ORDER, false, gfp);
	}
	if (small)
		node = llist_del_first(&c->small);
	return llist_entry(node ?: llist_del_first(&c->free), struct copy,
			   node);
}

static void copy_extent(struct slot *slot, struct block_device *from,
			sector_t sector, unsigned int n)
{
	struct commit *c = &slot->pair->commit;
	struct copy *copy;

	trace_commit_extent(slot->pair, from == slot->pair->active ?
			    COMMIT_ACTIVE : COMMIT_HIDDEN, sector, n);
	while (n) {
		copy = get_copy(c, n);
		copy->slot = slot;
		copy->sector = sector;
		/* Pieces begin where disks like it. */
		copy->sectors = n <= copy->max ? n :
				copy->max - (sector & (copy->max - 1));
		sector += copy->sectors;
		n -= copy->sectors;
		atomic_inc(&slot->pending);
		send_copy(copy, from, REQ_OP_READ, copy_read);
	}
}

/*
 *---------------------------------------------------------------------------
 * Held pages
 *---------------------------------------------------------------------------
 */

/**
 * struct held_write - held pages on their way to secondary
 * @slot: their leaf's
 * @sector: where
 * @bio: writes them
 */
struct held_write {
	struct slot *slot;
	sector_t sector;
	struct bio bio;
};

/* Before held pages are sent. Their writes end by themselves, so the wait does. */
static void begin_extent(struct slot *slot)
{
	struct commit *c = &slot->pair->commit;

	wait_and_write(c, atomic_read(&c->extents) < MAX_EXTENTS);
	atomic_inc(&c->extents);
	atomic_inc(&slot->pending);
}

static void end_extent(struct slot *slot)
{
	struct commit *c = &slot->pair->commit;

	/* The slot, which is put last, keeps all this alive. */
	if (atomic_dec_return(&c->extents) == MAX_EXTENTS - 1)
		wake_up(&c->wait);
	slot_put(slot);
}

static void held_written(struct bio *bio)
{
	struct held_write *w = container_of(bio, struct held_write, bio);
	struct slot *slot = w->slot;

	if (bio->bi_status)
		slot_error(slot, w->sector, blk_status_to_errno(bio->bi_status));
	bio_put(bio);
	end_extent(slot);
}

/* Write the held pages at the beginning of a saved run; 0 if there is none. */
static unsigned int write_held(struct slot *slot, sector_t sector,
			       unsigned int n)
{
	unsigned int done = 0, at, offset, part;
	struct held_write *w;
	struct bio *bio = NULL;
	struct page *page;

	while (done < n) {
		at = (sector + done) & (STRETCH_SECTORS - 1);
		offset = at & (COW_PAGE_SECTORS - 1);
		part = min(n - done, COW_PAGE_SECTORS - offset);
		page = cow_page(slot->leaf, at >> COW_PAGE_SHIFT);
		if (!page)
			break;
		if (!bio) {
			bio = bio_alloc_bioset(slot->pair->secondary,
					       LEAF_PAGES, REQ_OP_WRITE,
					       GFP_NOIO,
					       &slot->pair->commit.bios);
			bio->bi_iter.bi_sector = sector;
			bio->bi_end_io = held_written;
			w = container_of(bio, struct held_write, bio);
			w->slot = slot;
			w->sector = sector;
		}
		WARN_ON_ONCE(!bio_add_page(bio, page, part << SECTOR_SHIFT,
					   offset << SECTOR_SHIFT));
		done += part;
	}
	if (bio) {
		begin_extent(slot);
		trace_commit_extent(slot->pair, COMMIT_HELD, sector, done);
		submit_bio_noacct(bio);
	}
	return done;
}

/* How much of a saved run hidden has, from its beginning. */
static unsigned int hidden_run(struct slot *slot, sector_t sector,
			       unsigned int n)
{
	unsigned int done = 0, at;

	while (done < n) {
		at = (sector + done) & (STRETCH_SECTORS - 1);
		if (cow_page(slot->leaf, at >> COW_PAGE_SHIFT))
			break;
		done += COW_PAGE_SECTORS - (at & (COW_PAGE_SECTORS - 1));
	}
	return min(done, n);
}

/*
 *---------------------------------------------------------------------------
 * Leaves
 *---------------------------------------------------------------------------
 */

/* Send the copies of a leaf that is locked and idle. */
static void copy_leaf(struct slot *slot)
{
	struct pair *pair = slot->pair;
	sector_t sector = (sector_t)slot->index << STRETCH_SHIFT;
	sector_t end = min_t(sector_t, sector + STRETCH_SECTORS,
			     pair->overlay.sectors);
	enum overlay_class class;
	unsigned int run, held;

	for (; sector < end; sector += run) {
		rcu_read_lock();
		class = overlay_classify(&pair->overlay, sector, end - sector,
					 &run);
		rcu_read_unlock();
		if (class == OVERLAY_ACTIVE) {
			copy_extent(slot, pair->active, sector, run);
		} else if (class == OVERLAY_SAVED) {
			held = write_held(slot, sector, run);
			run = held ?: hidden_run(slot, sector, run);
			if (!held)
				copy_extent(slot, pair->hidden, sector, run);
		} else if (class == OVERLAY_LOST) {
			slot_error(slot, sector, -EILSEQ);
		}
		cond_resched();
	}
}

/* All copies of the leaf have ended. */
static void retire_leaf(struct slot *slot)
{
	struct pair *pair = slot->pair;
	LIST_HEAD(pages);
	unsigned int n;

	if (!slot->failed && !slot->recorded) {
		n = cow_collect(pair, slot->leaf, &pages);
		overlay_clear_leaf(&pair->overlay, slot->index, slot->leaf);
		cow_retire(pair, &pages, n);
	}
	overlay_unlock_leaf(slot->leaf);
	pair_release_parked(pair);
}

/**
 * struct walk - the commit's way over the leaves
 * @pair: the pair
 * @index: the next stretch to look at
 * @slots: leaves under way
 * @busy: how many are under way
 * @sectors: how much is to be copied of them
 * @failed: stop
 * @paced_from: when the present pace began, in jiffies
 * @paced: sectors begun since
 * @rate: the pace, MiB/s
 */
struct walk {
	struct pair *pair;
	unsigned long index;
	struct slot slots[NR_SLOTS];
	unsigned int busy;
	unsigned int sectors;
	bool failed;
	unsigned long paced_from;
	u64 paced;
	unsigned int rate;
};

static struct slot *finished_slot(struct walk *w)
{
	unsigned int i;

	for (i = 0; i < NR_SLOTS; i++)
		if (w->slots[i].leaf && !atomic_read(&w->slots[i].pending))
			return &w->slots[i];
	return NULL;
}

static struct slot *free_slot(struct walk *w)
{
	unsigned int i;

	for (i = 0; i < NR_SLOTS; i++)
		if (!w->slots[i].leaf)
			return &w->slots[i];
	return NULL;
}

/* With metadata: make all leaves empty whose copies have ended, on disk first. */
static void record_finished(struct walk *w)
{
	struct slot *slots[NR_SLOTS];
	struct leaf *leaves[NR_SLOTS];
	unsigned long indexes[NR_SLOTS];
	unsigned int i, n = 0;
	int r;

	for (i = 0; i < NR_SLOTS; i++) {
		if (!w->slots[i].leaf || atomic_read(&w->slots[i].pending))
			continue;
		/* Copies end before the look; pairs with slot_put(). */
		smp_rmb();
		if (w->slots[i].failed)
			continue;
		slots[n] = &w->slots[i];
		leaves[n] = slots[n]->leaf;
		indexes[n] = slots[n]->index;
		n++;
	}
	/* Others' copies go on beside the flush. */
	write_copies(&w->pair->commit);
	r = metadata_clear_leaves(w->pair->metadata, leaves, indexes, n);
	for (i = 0; i < n; i++) {
		slots[i]->recorded = !r;
		slots[i]->failed = r;
	}
}

/* No leaf waits for another one's copies: each is unlocked when its own end. */
static void retire_finished(struct walk *w)
{
	struct slot *slot;

	while ((slot = finished_slot(w))) {
		/* Copies end before the bits go; pairs with slot_put(). */
		smp_rmb();
		if (w->pair->metadata && !slot->failed && !slot->recorded)
			record_finished(w);
		retire_leaf(slot);
		w->failed |= slot->failed;
		slot->leaf = NULL;
		w->busy--;
		w->sectors -= slot->sectors;
	}
}

static void retire_down_to(struct walk *w, unsigned int busy)
{
	while (w->busy > busy) {
		wait_and_write(&w->pair->commit, finished_slot(w));
		retire_finished(w);
	}
}

/* A view write waits for a locked leaf: not for too much that comes before. */
static void make_room(struct walk *w, unsigned int sectors)
{
	retire_finished(w);
	retire_down_to(w, NR_SLOTS - 1);
	while (w->busy && w->sectors + sectors > MAX_SECTORS)
		retire_down_to(w, w->busy - 1);
}

/* Lock a leaf, and wait for the view writes that are counted into it. */
static void begin_leaf(struct walk *w, struct slot *slot, struct leaf *leaf,
		       unsigned int sectors)
{
	struct commit *c = &w->pair->commit;
	struct blk_plug plug;

	slot->pair = w->pair;
	slot->leaf = leaf;
	slot->index = w->index;
	slot->failed = false;
	slot->sectors = sectors;
	slot->recorded = false;
	atomic_set(&slot->pending, 1);
	w->busy++;
	w->sectors += sectors;
	overlay_lock_leaf(leaf);
	while (!overlay_leaf_idle(leaf)) {
		wait_and_write(c, overlay_leaf_idle(leaf) || finished_slot(w));
		retire_finished(w);
	}
	/* Neighbours are read, and written, with one request if a disk can. */
	blk_start_plug(&plug);
	copy_leaf(slot);
	blk_finish_plug(&plug);
	slot_put(slot);
}

/* Between presuspend and resume no new extent is started. */
static void pause_if_suspended(struct walk *w)
{
	struct commit *c = &w->pair->commit;

	for (;;) {
		WRITE_ONCE(c->copying, true);
		/* Pairs with commit_suspend(): it sees us, or we see it. */
		smp_mb();
		if (!READ_ONCE(c->suspended) || READ_ONCE(c->closing))
			return;
		retire_down_to(w, 0);
		WRITE_ONCE(c->copying, false);
		wake_up(&c->wait);
		wait_event_idle(c->wait, !READ_ONCE(c->suspended) ||
				READ_ONCE(c->closing));
	}
}

static void pace(struct walk *w, unsigned int sectors)
{
	struct commit *c = &w->pair->commit;
	unsigned int rate = READ_ONCE(w->pair->tunables.commit_rate_mib);
	unsigned long due;
	long left;

	if (rate != w->rate) {
		w->rate = rate;
		w->paced_from = jiffies;
		w->paced = 0;
	}
	if (!rate)
		return;
	due = w->paced_from +
	      div_u64(w->paced * HZ, rate << (20 - SECTOR_SHIFT));
	w->paced += sectors;
	if (time_before_eq(due, jiffies))
		return;
	/* No leaf stays locked while nothing is copied. */
	retire_down_to(w, 0);
	left = due - jiffies;
	if (left <= 0)
		return;
	wait_event_idle_timeout(c->wait, READ_ONCE(c->closing) ||
				READ_ONCE(c->suspended) ||
				READ_ONCE(w->pair->tunables.commit_rate_mib) !=
				rate, left);
}

static unsigned int leaf_sectors(struct pair *pair, struct leaf *leaf)
{
	return (bitmap_weight(leaf->active,
			      STRETCH_SECTORS >> pair->overlay.block_shift) <<
		pair->overlay.block_shift) +
	       (bitmap_weight(leaf->saved, LEAF_PAGES) << COW_PAGE_SHIFT);
}

/* Return: false if an error has stopped the walk. */
static bool walk_leaves(struct pair *pair)
{
	struct walk *w = kzalloc(sizeof(*w), GFP_NOIO | __GFP_NOFAIL);
	unsigned int sectors;
	struct leaf *leaf;
	bool done;

	w->pair = pair;
	while (!w->failed) {
		leaf = overlay_next(&pair->overlay, &w->index);
		if (!leaf)
			break;
		sectors = leaf_sectors(pair, leaf);
		if (!READ_ONCE(pair->commit.closing))
			pace(w, sectors);
		pause_if_suspended(w);
		make_room(w, sectors);
		if (w->failed)
			break;
		begin_leaf(w, free_slot(w), leaf, sectors);
		w->index++;
	}
	retire_down_to(w, 0);
	done = !w->failed;
	kfree(w);
	WRITE_ONCE(pair->commit.copying, false);
	wake_up(&pair->commit.wait);
	return done;
}

static bool flush_secondary(struct pair *pair)
{
	int r = blkdev_issue_flush(pair->secondary);

	if (r)
		pair_record_error(pair, ERROR_COMMIT, r, 0);
	return !r;
}

/* The superblock says done, and the epoch to which end_commit() goes. */
static bool record_done(struct pair *pair)
{
	struct metadata_state s;

	if (!pair->metadata)
		return true;
	s = metadata_state(pair->metadata);
	s.stage = STAGE_DONE;
	s.epoch = pair->overlay.epoch + 1;
	s.fenced = true;
	return !metadata_write(pair->metadata, &s);
}

/*
 * Every bit is clear, so the epoch may change beside admitted requests: empty
 * before, empty after. But if active and hidden are to be discarded, no view
 * read may still be under way there.
 */
static void end_commit(struct pair *pair)
{
	bool drain = READ_ONCE(pair->tunables.discard_passdown);
	unsigned int ms = READ_ONCE(pair->tunables.checkpoint_timeout_ms);

	if (drain) {
		pair_defer(pair);
		WRITE_ONCE(pair->undrained,
			   pair_drain(pair, jiffies + msecs_to_jiffies(ms)));
	} else {
		WRITE_ONCE(pair->undrained, true);
	}
	/* Pairs with may_discard(): that before the leaves are stale. */
	smp_wmb();
	overlay_new_epoch(&pair->overlay);
	spin_lock_irq(&pair->stage_lock);
	memset(&pair->error, 0, sizeof(pair->error));
	spin_unlock_irq(&pair->stage_lock);
	pair_set_stage(pair, STAGE_DONE, STAGE_DONE);
	if (drain)
		pair_undefer(pair);
	queue_delayed_work(pair->slow_wq, &pair->reclaim_work, HZ);
	DMINFO("%s: failover is done, the view is the disk", pair->name);
}

static void do_commit(struct work_struct *work)
{
	struct pair *pair = container_of(work, struct pair, commit.work);
	struct commit *c = &pair->commit;
	bool done;

	/* The failover began with newcomers deferred; see commit_start(). */
	pair_drain_forever(pair);
	if (READ_ONCE(pair->route) != STAGE_FAILOVER) {
		WRITE_ONCE(c->to_commit, atomic64_read(&pair->overlay.active) +
			   atomic64_read(&pair->overlay.saved));
		pair_set_stage(pair, STAGE_FAILOVER, STAGE_FAILOVER);
	}
	pair_undefer(pair);
	/* The parked go first: copies would crowd them out. */
	usleep_range(500, 1000);

	done = walk_leaves(pair);
	drop_copies(&c->small, &c->nr_small, 0);
	drop_copies(&c->free, &c->nr_copies, NR_COPIES);
	done = done && flush_secondary(pair) && record_done(pair);
	/* Before the stage, after which the next failover may come. */
	WRITE_ONCE(c->running, false);
	wake_up(&c->wait);
	if (done) {
		end_commit(pair);
	} else {
		pair_set_stage(pair, STAGE_FAILOVER_FAILED, STAGE_FAILOVER);
		DMERR("%s: failover failed; mend the disk and send failover again",
		      pair->name);
	}
	queue_work(pair->slow_wq, &pair->after_work);
}

/**
 * commit_start - begin, or begin again, to commit
 * @pair: the pair, fenced, deferring, its stage failover
 *
 * Returns at once. From now on the deferral belongs to the worker.
 */
void commit_start(struct pair *pair)
{
	WRITE_ONCE(pair->commit.running, true);
	queue_work(pair->commit_wq, &pair->commit.work);
}

/**
 * commit_suspend - start no new extent
 * @pair: the pair whose view is being suspended
 *
 * Does not sleep: view requests still have to end.
 */
void commit_suspend(struct pair *pair)
{
	WRITE_ONCE(pair->commit.suspended, true);
	/* Pairs with pause_if_suspended(). */
	smp_mb();
	wake_up(&pair->commit.wait);
}

/**
 * commit_wait_suspended - wait until no extent is in flight
 * @pair: the pair whose view is suspended
 */
void commit_wait_suspended(struct pair *pair)
{
	wait_event_idle(pair->commit.wait, !READ_ONCE(pair->commit.copying));
}

/**
 * commit_resume - go on
 * @pair: the pair whose view is resumed
 */
void commit_resume(struct pair *pair)
{
	WRITE_ONCE(pair->commit.suspended, false);
	wake_up(&pair->commit.wait);
}

/**
 * commit_close - finish at full speed, suspended or not
 * @pair: the pair whose view is going away; its mutex is held
 *
 * Sleeps until the worker has ended, one way or the other.
 */
void commit_close(struct pair *pair)
{
	struct commit *c = &pair->commit;

	WRITE_ONCE(c->closing, true);
	wake_up(&c->wait);
	/* Idle: a long commit is not a hung task. Then its last lines. */
	wait_event_idle(c->wait, !READ_ONCE(c->running));
	flush_work(&c->work);
	WRITE_ONCE(c->closing, false);
}

/**
 * commit_init - make what a commit needs
 * @pair: a new pair, zeroed
 *
 * Return: 0 or a negative errno.
 */
int commit_init(struct pair *pair)
{
	struct commit *c = &pair->commit;

	init_waitqueue_head(&c->wait);
	INIT_WORK(&c->work, do_commit);
	init_llist_head(&c->free);
	init_llist_head(&c->small);
	init_llist_head(&c->read);
	return bioset_init(&c->bios, NR_SLOTS, offsetof(struct held_write, bio),
			   BIOSET_NEED_BVECS);
}

/**
 * commit_fill - have the memory at hand that a commit copies through
 * @pair: the pair that gets a view
 *
 * May sleep. A commit of the pair is not running, or has all it needs.
 *
 * Return: 0 or -ENOMEM.
 */
int commit_fill(struct pair *pair)
{
	struct commit *c = &pair->commit;
	unsigned int order = COPY_ORDER;
	gfp_t gfp;

	while (c->nr_copies < NR_COPIES) {
		/* Small pieces rather than long reclaim. */
		gfp = order > PAGE_ALLOC_COSTLY_ORDER ?
		      GFP_KERNEL | __GFP_NORETRY : GFP_KERNEL;
		if (!add_copy(c, order, false, gfp) && !order--)
			return -ENOMEM;
	}
	return 0;
}

/**
 * commit_exit - undo commit_init()
 * @pair: a pair without a view
 */
void commit_exit(struct pair *pair)
{
	struct llist_node *node;

	/* Not by their number: two tables may have filled it at once. */
	while ((node = llist_del_first(&pair->commit.free)))
		free_copy(llist_entry(node, struct copy, node));
	bioset_exit(&pair->commit.bios);
}
