// SPDX-License-Identifier: GPL-2.0-only
/*
 * dm-replication: captures, the old data of secondary.
 *
 * Copyright (C) the dm-replication authors
 */

#include <linux/highmem.h>
#include <linux/mm.h>
#include <linux/slab.h>
#include <xen/xen.h>

#include "dm-replication.h"
#include "dm-replication-compat.h"
#include "dm-replication-trace.h"

/**
 * DOC: the life of a capture
 *
 * An origin write looks at the cow pages of its range. Each run of pages that
 * must be saved is read from secondary with one bio into pages of the pool,
 * taken all or nothing; while it is being read it stands in its bucket, and a
 * write that finds it there waits for it and then looks again. As soon as the
 * read has ended it is published: slots, then saved bits, then the list of
 * held pages; then it leaves the bucket. So under the bucket's lock a page is
 * either not saved, or being read, or saved; no page is read twice at once.
 *
 * With hold_mib 0 (or where no slots could be had) the pages go to hidden
 * before they are published, and the saved bits are all that is published.
 * With metadata they do so, too, and then their record is written.
 *
 * Over the limit, held pages are spilled: written to hidden, oldest first,
 * with their neighbours; then their slots are cleared, and after an RCU grace
 * period (a view read may be copying) they are free again. A transition drops
 * what is held without a grace period, as it has drained all readers.
 *
 * DOC: why nobody waits for pages for ever
 *
 * The pool owns at least FLOOR_PAGES, twice what one run can need. A page is
 * free, granted to a request that the worker is about to route, in a capture
 * (its read ends by itself, then it is held), held (the spiller takes it,
 * since somebody waits), on its way to hidden, or in its grace period: each
 * of these ends without anybody's waiting for pages. Who waits holds none and
 * has no capture of its own under way; waiters are served in their order, and
 * what is freed for the first is granted to it, not left for others to take.
 * If a spill fails, all who wait are told, and do not wait any longer; if the
 * view is given up, nothing is spilled any more and all who wait go on.
 */

/* Bounds the pages of all pairs together, but for each pair's floor. */
unsigned long hold_mib_total;

#define FLOOR_PAGES		(2 * LEAF_PAGES)	/* 2 MiB */
#define PAGES_PER_MIB		(1U << (20 - PAGE_SHIFT))	/* as they cost */
#define TRIM_PAGES		256U	/* with interrupts off */
#define MAX_SPILLS		32			/* in flight */
#define KEEP_IDLE		(10 * HZ)	/* for the epochs that come */
#define MAX_READ		32	/* so many do not wait for others */
#define NR_SMALL		32	/* captures of one page that a pair has */
#define LAST_BYTES		(256UL << 20)	/* at most, that are left to others */
#define SPILL_RETRY		HZ

static atomic_long_t total_pages;	/* of all pairs, floors apart */
static unsigned long refused_at;	/* by hold_mib_total, in jiffies */

/**
 * struct held - a page of the pool, and what it holds
 * @list: on the pool's, a capture's, a spill's or a request's list
 * @page: the memory
 * @leaf: (published) where its slot is
 * @index: (published) the leaf's stretch
 * @nr: (published) its number within the leaf
 * @listed: on cow->held, not yet being spilled
 */
struct held {
	struct list_head list;
	struct page *page;
	struct leaf *leaf;
	unsigned long index;
	unsigned int nr;
	bool listed;
};

/**
 * struct capture - a run of pages that is being read
 * @list: on its bucket's captures
 * @through: on cow->through, or on cow->small
 * @save: has the record written
 * @owner: the write that started it
 * @leaf: the leaf of the pages
 * @index: the leaf's stretch
 * @first: the first page's number within the leaf
 * @n: how many
 * @small: one of cow->small's
 * @bv: (small) where its page is
 * @pages: struct held, in order
 * @waiters: other writes that wait for it
 * @bio: reads secondary, and may then write hidden
 */
struct capture {
	struct list_head list;
	struct llist_node through;
	struct metadata_save save;
	struct repl_request *owner;
	struct leaf *leaf;
	unsigned long index;
	unsigned int first;
	unsigned int n;
	bool small;
	struct bio_vec bv;
	struct list_head pages;
	struct list_head waiters;
	struct bio bio;
};

/**
 * struct spill - a run of held pages on its way to hidden
 * @pair: the pair
 * @pages: struct held, in order
 * @n: how many
 * @bio: writes hidden
 */
struct spill {
	struct pair *pair;
	struct list_head pages;
	unsigned int n;
	struct bio bio;
};

/*
 *---------------------------------------------------------------------------
 * The pool of pages
 *---------------------------------------------------------------------------
 */
static unsigned int capacity(struct cow *cow)
{
	return FLOOR_PAGES + cow->limit + cow->limit / 4;
}

/*
 * Pages over the limit before spilling begins: then many are spilled at a time,
 * down to the limit, and neighbours have had the time to meet.
 */
static unsigned int slack(struct cow *cow)
{
	return READ_ONCE(cow->limit) / 8;
}

/* How many of a pool's pages count against hold_mib_total. */
static long chargeable(unsigned int pages)
{
	return max_t(long, 0, (long)pages - FLOOR_PAGES);
}

/* Called with the lock held. Return: how many of @n pages may be added. */
static unsigned int __reserve(struct cow *cow, unsigned int n)
{
	long max = min_t(unsigned long, READ_ONCE(hold_mib_total),
			 LONG_MAX / PAGES_PER_MIB) * PAGES_PER_MIB;
	unsigned int room = capacity(cow);
	long more, over = 0;

	lockdep_assert_held(&cow->lock);
	room -= min(room, cow->nr_pages);
	n = min(n, room);
	more = chargeable(cow->nr_pages + n) - chargeable(cow->nr_pages);
	if (more)
		over = atomic_long_add_return(more, &total_pages) - max;
	if (over > 0) {
		WRITE_ONCE(refused_at, jiffies);
		over = min(over, more);
		atomic_long_sub(over, &total_pages);
		n -= over;
	}
	cow->nr_pages += n;
	cow->nr_coming += n;
	return n;
}

static void __unreserve(struct cow *cow, unsigned int n)
{
	lockdep_assert_held(&cow->lock);
	atomic_long_sub(chargeable(cow->nr_pages) -
			chargeable(cow->nr_pages - n), &total_pages);
	cow->nr_pages -= n;
}

/* Pages allocated at once: 64 KiB. */
#define CHUNK_ORDER	(PAGE_SHIFT < 16 ? 16 - PAGE_SHIFT : 0)

/* As many pages as can be had, and are wanted. */
static unsigned int alloc_pages_for(struct list_head *pages, unsigned int n,
				    gfp_t gfp)
{
	unsigned int order = n >> CHUNK_ORDER ? CHUNK_ORDER : 0, i;
	struct page *page = NULL;
	struct held *h;

	/* Neighbours in memory: a disk takes them as one segment. */
	if (order)
		page = alloc_pages((gfp & ~__GFP_KSWAPD_RECLAIM) |
				   __GFP_NORETRY, order);
	if (page)
		split_page(page, order);
	else
		order = 0;
	if (!page)
		page = alloc_page(gfp);
	for (i = 0; page && i < 1U << order; i++) {
		h = kzalloc(sizeof(*h), gfp);
		if (!h)
			break;
		h->page = page + i;
		list_add_tail(&h->list, pages);
	}
	for (n = i; page && n < 1U << order; n++)
		__free_page(page + n);
	return i;
}

static void free_held(struct list_head *pages)
{
	struct held *h, *next;

	list_for_each_entry_safe(h, next, pages, list) {
		__free_page(h->page);
		kfree(h);
		cond_resched();
	}
	INIT_LIST_HEAD(pages);
}

/* Called with the lock held: serve who waits, in order. */
static void __grant(struct cow *cow)
{
	struct repl_request *rq;
	unsigned int i;

	lockdep_assert_held(&cow->lock);
	while (!list_empty(&cow->waiters)) {
		rq = list_first_entry(&cow->waiters, struct repl_request, wait);
		if (cow->nr_free < rq->need)
			break;
		for (i = 0; i < rq->need; i++)
			list_move_tail(cow->free.next, &rq->granted);
		cow->nr_free -= rq->need;
		cow->nr_idle = min(cow->nr_idle, cow->nr_free);
		list_del(&rq->wait);
		request_put(rq);
	}
}

static void put_pages(struct cow *cow, struct list_head *pages, unsigned int n)
{
	unsigned long flags;

	spin_lock_irqsave(&cow->lock, flags);
	list_splice_tail_init(pages, &cow->free);
	cow->nr_free += n;
	__grant(cow);
	spin_unlock_irqrestore(&cow->lock, flags);
}

/* Captures can go to hidden: the last of the memory is left to those who cannot. */
static bool is_memory_short(void)
{
	/* Huge pages count as memory, and are never available. */
	return si_mem_available() <
	       (long)min(totalram_pages() / 32, LAST_BYTES >> PAGE_SHIFT);
}

/* Add up to @n pages, as far as the limits and the memory go. */
static void grow(struct cow *cow, unsigned int n, gfp_t gfp)
{
	unsigned int want, more, got = 0;
	unsigned long flags;
	LIST_HEAD(pages);

	/* In a task that reclaims: not from the system's last reserves. */
	gfp |= __GFP_NOWARN | __GFP_NOMEMALLOC;
	spin_lock_irqsave(&cow->lock, flags);
	want = __reserve(cow, n);
	spin_unlock_irqrestore(&cow->lock, flags);

	while (got < want) {
		more = alloc_pages_for(&pages, want - got, gfp);
		if (!more)
			break;
		got += more;
	}

	spin_lock_irqsave(&cow->lock, flags);
	cow->nr_coming -= want;
	__unreserve(cow, want - got);
	spin_unlock_irqrestore(&cow->lock, flags);
	put_pages(cow, &pages, got);
}

/* Called with the lock held. Pages that the request was granted come first. */
static bool __take_pages(struct cow *cow, struct repl_request *rq,
			 unsigned int n, struct list_head *pages)
{
	struct list_head *from = &cow->free, *last;
	unsigned int i;

	lockdep_assert_held(&cow->lock);
	if (!list_empty(&rq->granted) && n <= rq->need) {
		from = &rq->granted;
		rq->need -= n;
	} else if (list_empty(&cow->waiters) && n <= cow->nr_free) {
		cow->nr_free -= n;
		cow->nr_idle = min(cow->nr_idle, cow->nr_free);
	} else {
		return false;
	}
	for (i = 0, last = from; i < n; i++)
		last = last->next;
	list_cut_position(pages, from, last);
	return true;
}

static bool take_pages(struct repl_request *rq, unsigned int n,
		       struct list_head *pages, struct llist_node **small)
{
	struct cow *cow = &rq->pair->cow;
	unsigned int missing = 0;
	unsigned long flags;
	bool taken;

	spin_lock_irqsave(&cow->lock, flags);
	taken = __take_pages(cow, rq, n, pages);
	*small = taken && n == 1 ? llist_del_first(&cow->small) : NULL;
	if (!taken && list_empty(&cow->waiters))
		missing = n - cow->nr_free;
	spin_unlock_irqrestore(&cow->lock, flags);
	if (taken || !missing)
		return taken;

	if (is_memory_short())
		return false;
	/* More than is missing: the next one needs pages, too. */
	grow(cow, max(missing, 1U << CHUNK_ORDER), GFP_NOWAIT);
	spin_lock_irqsave(&cow->lock, flags);
	taken = __take_pages(cow, rq, n, pages);
	spin_unlock_irqrestore(&cow->lock, flags);
	return taken;
}

static void give_back_granted(struct repl_request *rq)
{
	if (!list_empty(&rq->granted))
		put_pages(&rq->pair->cow, &rq->granted, rq->need);
}

/* Return: true if the request was put to wait; false if pages came free. */
static bool wait_for_pages(struct repl_request *rq, unsigned int n)
{
	struct cow *cow = &rq->pair->cow;
	unsigned long flags;
	bool wait;

	give_back_granted(rq);
	spin_lock_irqsave(&cow->lock, flags);
	wait = !list_empty(&cow->waiters) || cow->nr_free < n;
	if (wait) {
		atomic_inc(&rq->pending);
		rq->need = n;
		list_add_tail(&rq->wait, &cow->waiters);
		cow->spill_failed = false;
	}
	spin_unlock_irqrestore(&cow->lock, flags);
	if (wait)
		cow_kick(rq->pair);
	return wait;
}

/* Called with the lock held. Pages that cow_trim() may free now. */
static unsigned int __count_surplus(struct cow *cow, bool idle)
{
	/* Those that are being allocated may never come: not the floor's. */
	unsigned int n = 0, real = cow->nr_pages - cow->nr_coming;

	lockdep_assert_held(&cow->lock);
	if (idle && real > FLOOR_PAGES)
		n = min(cow->nr_idle, real - FLOOR_PAGES);
	if (real > capacity(cow))
		n = max(n, min(cow->nr_free, real - capacity(cow)));
	return n;
}

/* Called with the lock held. */
static void __cut_free(struct cow *cow, unsigned int n, struct list_head *pages)
{
	lockdep_assert_held(&cow->lock);
	cow->nr_free -= n;
	cow->nr_idle -= min(cow->nr_idle, n);
	__unreserve(cow, n);
	while (n--)
		list_move(cow->free.next, pages);
}

/* How long unused pages are kept; and not where somebody has to do without. */
static unsigned long keep_idle(struct pair *pair)
{
	if (READ_ONCE(pair->route) != STAGE_RUNNING ||
	    jiffies - READ_ONCE(refused_at) < KEEP_IDLE || is_memory_short())
		return HZ;
	return KEEP_IDLE;
}

/**
 * cow_trim - give unused pages back to the system
 * @pair: the pair
 *
 * Process context, one at a time. Frees what was free all the time since it
 * last did so, if that was keep_idle() ago; and what is over a lowered limit.
 *
 * Return: true if there may be more to free a second later.
 */
bool cow_trim(struct pair *pair)
{
	struct cow *cow = &pair->cow;
	bool idle, again;
	LIST_HEAD(pages);
	unsigned int n;

	idle = jiffies - cow->trimmed >= keep_idle(pair);
	spin_lock_irq(&cow->lock);
	while ((n = min(__count_surplus(cow, idle), TRIM_PAGES))) {
		__cut_free(cow, n, &pages);
		spin_unlock_irq(&cow->lock);
		free_held(&pages);
		spin_lock_irq(&cow->lock);
	}
	if (idle) {
		cow->nr_idle = cow->nr_free;
		cow->trimmed = jiffies;
	}
	again = cow->nr_pages > FLOOR_PAGES &&
		(cow->nr_free || cow->nr_pages > capacity(cow));
	spin_unlock_irq(&cow->lock);
	return again;
}

/*
 *---------------------------------------------------------------------------
 * Grace: a slot was cleared, a reader may still copy from the page
 *---------------------------------------------------------------------------
 */
static void grace_over(struct rcu_head *rcu)
{
	struct cow *cow = container_of(rcu, struct cow, rcu);
	unsigned long flags;

	spin_lock_irqsave(&cow->lock, flags);
	list_splice_tail_init(&cow->grace, &cow->free);
	cow->nr_free += cow->nr_grace;
	list_splice_init(&cow->grace_next, &cow->grace);
	cow->nr_grace = cow->nr_grace_next;
	cow->nr_grace_next = 0;
	cow->grace_running = !list_empty(&cow->grace);
	if (cow->grace_running)
		compat_call_rcu(&cow->rcu, grace_over);
	__grant(cow);
	spin_unlock_irqrestore(&cow->lock, flags);
}

/* Called with the lock held. */
static void __begin_grace(struct cow *cow, struct list_head *pages,
			  unsigned int n)
{
	lockdep_assert_held(&cow->lock);
	if (cow->grace_running) {
		list_splice_tail_init(pages, &cow->grace_next);
		cow->nr_grace_next += n;
		return;
	}
	list_splice_tail_init(pages, &cow->grace);
	cow->nr_grace = n;
	cow->grace_running = true;
	compat_call_rcu(&cow->rcu, grace_over);
}

/*
 *---------------------------------------------------------------------------
 * Errors of captures and spills
 *---------------------------------------------------------------------------
 */

/**
 * cow_deny - old data cannot be saved: fail the write, or give up the view
 * @rq: the origin write
 * @status: the error that it gets by policy fail
 *
 * Any context.
 */
void cow_deny(struct repl_request *rq, blk_status_t status)
{
	if (READ_ONCE(rq->pair->tunables.drop_view) &&
	    pair_invalidate(rq->pair))
		cow_kick(rq->pair);	/* nothing is spilled any more */
	else
		rq->status = status;
}

/*
 *---------------------------------------------------------------------------
 * Captures
 *---------------------------------------------------------------------------
 */
static sector_t page_sector(unsigned long index, unsigned int page)
{
	return ((sector_t)index << STRETCH_SHIFT) + (page << COW_PAGE_SHIFT);
}

/* Not where neighbours in memory are none for a device, or for a checker. */
static bool is_next_page(struct page *page, struct page *next)
{
	if (xen_domain() || IS_ENABLED(CONFIG_KMSAN))
		return false;
	return next == page + 1 && page_to_pfn(next) == page_to_pfn(page) + 1;
}

/* Fill a bio with pages; the last page of the device may be a short one. */
static void fill_bio(struct pair *pair, struct bio *bio, sector_t sector,
		     struct list_head *pages)
{
	sector_t left = pair->overlay.sectors - sector;
	struct page *first = NULL, *last = NULL;
	unsigned int n, bytes = 0;
	struct held *h;

	bio->bi_iter.bi_sector = sector;
	list_for_each_entry(h, pages, list) {
		n = min_t(sector_t, left, COW_PAGE_SECTORS);
		left -= n;
		n <<= SECTOR_SHIFT;
		/* Pages in a row are one segment. */
		if (bytes % PAGE_SIZE || !first || !is_next_page(last, h->page)) {
			if (first)
				__bio_add_page(bio, first, bytes, 0);
			first = h->page;
			bytes = 0;
		}
		last = h->page;
		bytes += n;
	}
	if (first)
		__bio_add_page(bio, first, bytes, 0);
}

static void publish(struct capture *c, bool held)
{
	struct pair *pair = c->owner->pair;
	struct cow *cow = &pair->cow;
	unsigned int nr = c->first;
	unsigned long flags;
	struct held *h;

	spin_lock_irqsave(&cow->lock, flags);
	list_for_each_entry(h, &c->pages, list) {
		h->leaf = c->leaf;
		h->index = c->index;
		h->nr = nr;
		h->listed = held;
		overlay_set_slot(c->leaf, nr++, held ? h : NULL);
	}
	overlay_set_saved(&pair->overlay, c->leaf, c->index, c->first, c->n);
	if (held) {
		list_splice_tail_init(&c->pages, &cow->held);
		cow->nr_held += c->n;
	}
	spin_unlock_irqrestore(&cow->lock, flags);
	atomic64_add(c->n, &cow->captures);
	trace_capture(pair, page_sector(c->index, c->first), c->n, held);
}

static void put_capture(struct capture *c, struct cow *cow)
{
	if (!c->small) {
		bio_put(&c->bio);
		return;
	}
	bio_uninit(&c->bio);
	llist_add(&c->through, &cow->small);
}

/* Any context. The capture is published, or has failed; @c is freed. */
static void finish_capture(struct capture *c)
{
	struct repl_request *owner = c->owner, *rq, *next;
	struct pair *pair = owner->pair;
	struct bucket *b = pair_bucket(pair, c->index);
	unsigned long flags;
	LIST_HEAD(waiters);

	if (!list_empty(&c->pages))
		put_pages(&pair->cow, &c->pages, c->n);
	spin_lock_irqsave(&b->lock, flags);
	list_del(&c->list);
	list_splice_init(&c->waiters, &waiters);
	spin_unlock_irqrestore(&b->lock, flags);

	list_for_each_entry_safe(rq, next, &waiters, wait)
		request_put(rq);
	put_capture(c, &pair->cow);
	/* Behind the lock under which it was published: wait_for_pages(). */
	if (READ_ONCE(pair->cow.nr_held) > READ_ONCE(pair->cow.limit) +
					   slack(&pair->cow) ||
	    !list_empty(&pair->cow.waiters))
		cow_kick(pair);
	request_put_soon(owner);	/* last: the owner keeps the pair alive */
}

static void __capture_failed(struct capture *c, enum error_class class,
			     blk_status_t status)
{
	if (class != ERROR_METADATA)	/* that is recorded already */
		pair_record_error(c->owner->pair, class,
				  blk_status_to_errno(status),
				  page_sector(c->index, c->first));
	cow_deny(c->owner, status);
	finish_capture(c);
}

/* Before its record could be asked for. */
static void capture_failed(struct capture *c, enum error_class class,
			   blk_status_t status)
{
	struct metadata *m = c->owner->pair->metadata;

	if (m)
		metadata_dont_expect(m);
	__capture_failed(c, class, status);
}

/* The record says that hidden has the pages. */
static void capture_recorded(struct metadata_save *save, blk_status_t status,
			     enum error_class class)
{
	struct capture *c = container_of(save, struct capture, save);

	if (status) {
		__capture_failed(c, class, status);
		return;
	}
	publish(c, false);
	finish_capture(c);
}

static void capture_written(struct bio *bio)
{
	struct capture *c = container_of(bio, struct capture, bio);
	struct metadata *m = c->owner->pair->metadata;

	if (bio->bi_status) {
		capture_failed(c, ERROR_SPILL, bio->bi_status);
		return;
	}
	if (m) {
		c->save.index = c->index;
		c->save.first = c->first;
		c->save.n = c->n;
		c->save.done = capture_recorded;
		metadata_save(m, &c->save);
		return;
	}
	publish(c, false);
	finish_capture(c);
}

/* Whether captures may stay in memory: not what must outlive a crash. */
static bool may_hold(struct pair *pair)
{
	return READ_ONCE(pair->cow.limit) && !pair->metadata;
}

/*
 * With metadata all first writes go through hidden, and their records wait for
 * each other anyway: so do these writes to hidden, which the worker sends when no
 * capture is being read any more, or many wait. Each read ends by itself.
 */
static void count_read(struct pair *pair)
{
	struct cow *cow = &pair->cow;

	/* Added before it is counted off: who counts off the last finds all. */
	if (atomic_dec_and_test(&cow->reading) ||
	    atomic_inc_return(&cow->read) == MAX_READ)
		queue_work(pair->cow_wq, &cow->work);
}

static void capture_read(struct bio *bio)
{
	struct capture *c = container_of(bio, struct capture, bio);
	struct pair *pair = c->owner->pair;
	bool counted = pair->metadata;	/* which may go with the capture */

	if (bio->bi_status) {
		if (counted)
			count_read(pair);
		capture_failed(c, ERROR_CAPTURE, bio->bi_status);
		return;
	}
	if (may_hold(pair) && overlay_has_slots(c->leaf, c->first, c->n)) {
		publish(c, true);
		finish_capture(c);
		return;
	}
	/* The worker may run, end the capture, and with it all that kept us. */
	rcu_read_lock();
	if (llist_add(&c->through, &pair->cow.through) && !counted)
		queue_work(pair->cow_wq, &pair->cow.work);
	if (counted)
		count_read(pair);
	rcu_read_unlock();
}

/* hold_mib 0: the old data is in hidden before its write is let through. */
static void write_through(struct pair *pair)
{
	struct llist_node *nodes;
	struct capture *c, *next;

	/* Before they are taken: who is added later counts anew. */
	atomic_set(&pair->cow.read, 0);
	nodes = llist_reverse_order(llist_del_all(&pair->cow.through));
	llist_for_each_entry_safe(c, next, nodes, through) {
		bio_reset(&c->bio, pair->hidden, URGENT_WRITE);
		fill_bio(pair, &c->bio, page_sector(c->index, c->first),
			 &c->pages);
		c->bio.bi_end_io = capture_written;
		submit_bio_noacct(&c->bio);
	}
}

/* Called with the bucket's lock held. */
static struct capture *__find_capture(struct bucket *b, unsigned long index,
				      unsigned int page, unsigned int n)
{
	struct capture *c, *first = NULL;

	lockdep_assert_held(&b->lock);
	list_for_each_entry(c, &b->captures, list)
		if (c->index == index && c->first < page + n &&
		    page < c->first + c->n && (!first || c->first < first->first))
			first = c;
	return first;
}

/*
 * If somebody reads this page, wait for that (once is enough: everything is
 * looked at again afterwards). Return: the first page after it, else 0.
 */
static unsigned int join_capture(struct repl_request *rq, struct bucket *b,
				 unsigned long index, unsigned int page,
				 bool *joined)
{
	unsigned int after = 0;
	unsigned long flags;
	struct capture *c;

	spin_lock_irqsave(&b->lock, flags);
	c = __find_capture(b, index, page, 1);
	if (c) {
		after = c->first + c->n;
		if (!*joined) {
			atomic_inc(&rq->pending);
			list_add_tail(&rq->wait, &c->waiters);
			*joined = true;
		}
	}
	spin_unlock_irqrestore(&b->lock, flags);
	return after;
}

/* Announce the run, as far as it is still nobody's. */
static void announce(struct capture *c, unsigned int n)
{
	struct pair *pair = c->owner->pair;
	struct bucket *b = pair_bucket(pair, c->index);
	struct capture *other;
	unsigned long flags;

	spin_lock_irqsave(&b->lock, flags);
	/* Others may have saved some meanwhile: what is left in a row. */
	if (overlay_unsaved(&pair->overlay, c->leaf, c->index, c->first,
			    c->first + n, &c->n) != c->first)
		c->n = 0;
	other = __find_capture(b, c->index, c->first, c->n);
	if (other)
		c->n = other->first > c->first ? other->first - c->first : 0;
	if (c->n)
		list_add_tail(&c->list, &b->captures);
	spin_unlock_irqrestore(&b->lock, flags);
}

/* Return: a capture of @n pages, or NULL. @small is one of one page, or NULL. */
static struct capture *make_capture(struct pair *pair, struct llist_node *small,
				    unsigned int n, gfp_t gfp)
{
	struct capture *c;
	struct bio *bio;

	if (small) {
		c = llist_entry(small, struct capture, through);
		bio_init(&c->bio, pair->secondary, &c->bv, 1, REQ_OP_READ);
		return c;
	}
	bio = bio_alloc_bioset(pair->secondary, n, REQ_OP_READ, gfp,
			       &pair->cow.capture_bios);
	if (!bio)
		return NULL;
	c = container_of(bio, struct capture, bio);
	c->small = false;
	return c;
}

/*
 * Begin to read a run. Return: the number of pages; 0 if somebody was faster;
 * -ENOMEM; or -EAGAIN if there are not enough pages.
 */
static int start_capture(struct repl_request *rq, struct leaf *leaf,
			 unsigned long index, unsigned int page,
			 unsigned int n, gfp_t gfp)
{
	struct pair *pair = rq->pair;
	struct llist_node *small;
	LIST_HEAD(surplus);
	struct capture *c;
	LIST_HEAD(pages);
	unsigned int i;

	if (!take_pages(rq, n, &pages, &small))
		return -EAGAIN;
	/* It may wait for a capture's end, which does not wait for pages. */
	c = make_capture(pair, small, n, gfp);
	if (!c) {
		put_pages(&pair->cow, &pages, n);
		return -ENOMEM;
	}
	INIT_LIST_HEAD(&c->pages);
	INIT_LIST_HEAD(&c->waiters);
	list_splice(&pages, &c->pages);
	c->owner = rq;
	c->leaf = leaf;
	c->index = index;
	c->first = page;

	announce(c, n);
	for (i = c->n; i < n; i++)
		list_move(c->pages.prev, &surplus);
	if (!list_empty(&surplus))
		put_pages(&pair->cow, &surplus, n - c->n);
	if (!c->n) {
		put_capture(c, &pair->cow);
		return 0;
	}
	n = c->n;
	fill_bio(pair, &c->bio, page_sector(index, page), &c->pages);
	c->bio.bi_end_io = capture_read;
	atomic_inc(&rq->pending);
	if (pair->metadata) {
		metadata_expect(pair->metadata);
		atomic_inc(&pair->cow.reading);
	}
	pair_note_newcomer(pair);
	submit_bio_noacct(&c->bio);
	return n;
}

/**
 * struct scan - where a write's look over its pages stands
 * @waits: how many things it has begun to wait for
 * @joined: one of them is somebody else's capture
 * @for_pages: the one of them is pages
 * @stopped: it has not looked at all pages
 * @gfp: how to allocate
 */
struct scan {
	int waits;
	bool joined;
	bool for_pages;
	bool stopped;
	gfp_t gfp;
};

/* Return: 0, 1 if the look must stop here, or a negative errno. */
static int scan_leaf(struct repl_request *rq, struct leaf *leaf,
		     unsigned long index, unsigned int page, unsigned int end,
		     struct scan *scan)
{
	struct pair *pair = rq->pair;
	struct bucket *b = pair_bucket(pair, index);
	unsigned int n, run;
	int r;

	while (page < end) {
		page = overlay_unsaved(&pair->overlay, leaf, index, page, end,
				       &run);
		if (page >= end)
			break;
		/* Looked at again, under its lock, by announce(). */
		n = 0;
		if (!list_empty(&b->captures))
			n = join_capture(rq, b, index, page, &scan->joined);
		if (n) {
			scan->waits++;
			page = n;
			continue;
		}
		r = start_capture(rq, leaf, index, page, run, scan->gfp);
		if (r == -EAGAIN) {
			/* Never wait for pages with unpublished ones at hand. */
			if (!scan->waits) {
				if (!wait_for_pages(rq, run))
					continue;
				scan->waits++;
				scan->for_pages = true;
			}
			scan->stopped = true;
			return 1;
		}
		if (r < 0)
			return r;
		if (r)
			scan->waits++;
		page += r;
	}
	return 0;
}

static int scan_range(struct repl_request *rq, struct scan *scan)
{
	struct pair *pair = rq->pair;
	sector_t sector = rq->sector, stop, base;
	unsigned int page, end;
	struct leaf *leaf;
	int r = 0;

	while (!r && sector < request_end(rq)) {
		base = sector & ~(sector_t)(STRETCH_SECTORS - 1);
		stop = min_t(sector_t, request_end(rq), base + STRETCH_SECTORS);
		page = (sector - base) >> COW_PAGE_SHIFT;
		end = (stop - base + COW_PAGE_SECTORS - 1) >> COW_PAGE_SHIFT;
		r = overlay_get(&pair->overlay, sector,
				may_hold(pair) ? end - page : 0,
				scan->gfp, &leaf);
		/* No slots: then through hidden. */
		if (r == -ENOMEM && gfpflags_allow_blocking(scan->gfp))
			r = overlay_get(&pair->overlay, sector, 0, scan->gfp,
					&leaf);
		if (!r)
			r = scan_leaf(rq, leaf, base >> STRETCH_SHIFT, page,
				      end, scan);
		sector = stop;
	}
	return min(r, 0);
}

/* The view was given up. Return: 0 or -EINPROGRESS, as cow_save(). */
static int settled(struct repl_request *rq)
{
	struct metadata *m = rq->pair->metadata;

	return !m || metadata_settled(m, rq) ? 0 : -EINPROGRESS;
}

/**
 * cow_save - see that the old data under an origin write is kept
 * @rq: the write, counted, in stage running
 * @gfp: GFP_NOWAIT in map
 *
 * Process context; sleeps if @gfp does. Looks at everything anew each time it
 * is called, unless the captures that it has begun were all that was missing.
 *
 * Return: 0 if the write may go on (all is saved, or the view was given up);
 * -EINPROGRESS if it was put to wait and is the worker's now; -ENOMEM; -EBUSY
 * if it must park; -EIO if it must end with rq->status, which may well be a
 * disk's BLK_STS_DEV_RESOURCE: so no errno made of it.
 */
int cow_save(struct repl_request *rq, gfp_t gfp)
{
	struct scan scan;
	int r;

	do {
		if (rq->status || READ_ONCE(rq->pair->route) == STAGE_INVALID) {
			give_back_granted(rq);
			return rq->status ? -EIO : settled(rq);
		}
		if (rq->saving)
			return 0;
		scan = (struct scan){ .gfp = gfp };
		atomic_set(&rq->pending, 1);
		r = scan_range(rq, &scan);
		/* What has just been granted to who waits is not surplus. */
		if (!scan.for_pages)
			give_back_granted(rq);
		rq->saving = !r && !scan.joined && !scan.stopped;
		if (!atomic_dec_and_test(&rq->pending))
			return -EINPROGRESS;
	} while (scan.waits);
	return r;
}

/*
 *---------------------------------------------------------------------------
 * Spills
 *---------------------------------------------------------------------------
 */

/* Called with the lock held. */
static bool __spill_wanted(struct cow *cow)
{
	unsigned int idle = cow->nr_held - cow->nr_spilling;

	lockdep_assert_held(&cow->lock);
	if (!idle || cow->nr_spills >= MAX_SPILLS)
		return false;
	if (!list_empty(&cow->waiters))
		return true;
	if (cow->spill_failed && time_before(jiffies, cow->spill_again))
		return false;
	if (idle > cow->limit + slack(cow))
		cow->spilling = true;
	else if (idle <= cow->limit)
		cow->spilling = false;
	return cow->spilling;
}

/**
 * cow_kick - spill if there is something to spill
 * @pair: the pair
 *
 * Any context.
 */
void cow_kick(struct pair *pair)
{
	struct cow *cow = &pair->cow;
	unsigned long flags;
	bool wanted;

	spin_lock_irqsave(&cow->lock, flags);
	wanted = __spill_wanted(cow) ||
		 (!list_empty(&cow->waiters) &&
		  READ_ONCE(pair->route) == STAGE_INVALID);
	spin_unlock_irqrestore(&cow->lock, flags);
	if (wanted)
		queue_work(pair->cow_wq, &cow->work);
}

/* Called with the lock held: the neighbour, if it can go along. */
static struct held *__neighbour(struct held *h, int step)
{
	struct held *other;

	if (step < 0 ? h->nr == 0 : h->nr == LEAF_PAGES - 1)
		return NULL;
	if (!test_bit(h->nr + step, h->leaf->saved))
		return NULL;
	other = overlay_held(h->leaf, h->nr + step);
	return other && other->listed ? other : NULL;
}

/* Called with the lock held: the oldest held page and its neighbours. */
static unsigned int __pick_spill(struct cow *cow, struct list_head *pages)
{
	struct held *first, *h;
	unsigned int n = 1;

	lockdep_assert_held(&cow->lock);
	if (!__spill_wanted(cow))
		return 0;
	first = list_first_entry(&cow->held, struct held, list);
	first->listed = false;
	list_move(&first->list, pages);
	for (h = first; (h = __neighbour(h, -1)); n++) {
		h->listed = false;
		list_move(&h->list, pages);
	}
	for (h = first; (h = __neighbour(h, 1)); n++) {
		h->listed = false;
		list_move_tail(&h->list, pages);
	}
	cow->nr_spilling += n;
	cow->nr_spills++;
	return n;
}

static void spill_failed(struct spill *s, blk_status_t status)
{
	struct held *first = list_first_entry(&s->pages, struct held, list);
	sector_t sector = page_sector(first->index, first->nr);
	struct cow *cow = &s->pair->cow;
	struct repl_request *rq, *next;
	unsigned long flags;
	LIST_HEAD(waiters);
	struct held *h;

	pair_record_error(s->pair, ERROR_SPILL, blk_status_to_errno(status),
			  sector);
	spin_lock_irqsave(&cow->lock, flags);
	list_for_each_entry(h, &s->pages, list)
		h->listed = true;
	list_splice_init(&s->pages, &cow->held);
	cow->nr_spilling -= s->n;
	cow->nr_spills--;
	cow->spill_failed = true;
	cow->spill_again = jiffies + SPILL_RETRY;
	list_splice_init(&cow->waiters, &waiters);
	spin_unlock_irqrestore(&cow->lock, flags);

	list_for_each_entry_safe(rq, next, &waiters, wait) {
		cow_deny(rq, status);
		request_put(rq);
	}
}

static void spill_done(struct spill *s)
{
	struct held *first = list_first_entry(&s->pages, struct held, list);
	struct cow *cow = &s->pair->cow;
	unsigned long flags;
	struct held *h;

	trace_spill(s->pair, page_sector(first->index, first->nr), s->n);
	spin_lock_irqsave(&cow->lock, flags);
	list_for_each_entry(h, &s->pages, list)
		overlay_set_slot(h->leaf, h->nr, NULL);
	cow->nr_held -= s->n;
	cow->nr_spilling -= s->n;
	cow->nr_spills--;
	cow->spill_failed = false;
	__begin_grace(cow, &s->pages, s->n);
	spin_unlock_irqrestore(&cow->lock, flags);
	atomic64_inc(&cow->spills);
}

static void spill_end_io(struct bio *bio)
{
	struct spill *s = container_of(bio, struct spill, bio);
	struct pair *pair = s->pair;

	if (bio->bi_status)
		spill_failed(s, bio->bi_status);
	else
		spill_done(s);
	bio_put(bio);
	/* The worker's turn is worth it for some; the last one finds none. */
	if (READ_ONCE(pair->cow.nr_spills) <= MAX_SPILLS / 2)
		cow_kick(pair);
	pair_count_out(pair);
}

/* The view was given up: who waits for pages needs none. */
static void release_waiters(struct pair *pair)
{
	struct repl_request *rq, *next;
	LIST_HEAD(waiters);

	if (READ_ONCE(pair->route) != STAGE_INVALID)
		return;
	spin_lock_irq(&pair->cow.lock);
	list_splice_init(&pair->cow.waiters, &waiters);
	spin_unlock_irq(&pair->cow.lock);
	list_for_each_entry_safe(rq, next, &waiters, wait)
		request_put(rq);
}

/* Return: false if nothing (more) is to be spilled. */
static bool spill_some(struct pair *pair)
{
	struct cow *cow = &pair->cow;
	struct held *first;
	LIST_HEAD(pages);
	struct spill *s;
	struct bio *bio;
	unsigned int n = 0;

	/* Counted like a request: a drain waits for it, or it for the drain. */
	pair_count_in(pair);
	spin_lock_irq(&cow->lock);
	if (READ_ONCE(pair->route) == STAGE_RUNNING &&
	    (!READ_ONCE(pair->deferring) || !list_empty(&cow->waiters)))
		n = __pick_spill(cow, &pages);
	spin_unlock_irq(&cow->lock);
	if (!n) {
		pair_count_out(pair);
		return false;
	}

	/* Where nobody waits for pages yet, throttled here somebody would. */
	bio = bio_alloc_bioset(pair->hidden, n, URGENT_WRITE, GFP_NOIO,
			       &cow->spill_bios);
	s = container_of(bio, struct spill, bio);
	s->pair = pair;
	s->n = n;
	INIT_LIST_HEAD(&s->pages);
	list_splice(&pages, &s->pages);
	first = list_first_entry(&s->pages, struct held, list);
	fill_bio(pair, bio, page_sector(first->index, first->nr), &s->pages);
	bio->bi_end_io = spill_end_io;
	submit_bio_noacct(bio);
	return true;
}

static void do_cow_work(struct work_struct *work)
{
	struct pair *pair = container_of(work, struct pair, cow.work);
	struct blk_plug plug;

	WRITE_ONCE(pair->cow.spiller, current);
	blk_start_plug(&plug);
	release_waiters(pair);
	write_through(pair);
	while (spill_some(pair))
		cond_resched();
	blk_finish_plug(&plug);
	WRITE_ONCE(pair->cow.spiller, NULL);
}

/*
 *---------------------------------------------------------------------------
 * What others need of the held pages
 *---------------------------------------------------------------------------
 */
static void copy_to_bio(struct bio *bio, unsigned int done, struct page *page,
			unsigned int offset, unsigned int n)
{
	struct bvec_iter iter = bio->bi_iter;
	struct bio_vec bv;
	char *from;

	bio_advance_iter(bio, &iter, done << SECTOR_SHIFT);
	iter.bi_size = n << SECTOR_SHIFT;
	from = kmap_local_page(page) + (offset << SECTOR_SHIFT);
	__bio_for_each_segment(bv, bio, iter, iter) {
		memcpy_to_page(bv.bv_page, bv.bv_offset, from, bv.bv_len);
		from += bv.bv_len;
	}
	kunmap_local(from - (n << SECTOR_SHIFT));
}

/**
 * cow_copy_held - serve a view read from memory, page by page
 * @rq: the read
 * @bio: its bio
 * @done: sectors of it that are dealt with
 * @n: sectors from there on that were found saved
 * @missing: if nothing was copied: sectors that hidden must serve, or 0 if
 *           the look must be repeated
 *
 * Under the rcu_read_lock() under which they were found saved: it keeps a
 * page whose slot is cleared meanwhile, and where the slot is empty already,
 * hidden has the data.
 *
 * Return: sectors copied.
 */
unsigned int cow_copy_held(struct repl_request *rq, struct bio *bio,
			   unsigned int done, unsigned int n,
			   unsigned int *missing)
{
	unsigned int copied = 0, at, offset, part;
	sector_t sector = rq->sector + done;
	struct leaf *leaf;
	struct held *h;

	*missing = 0;
	while (copied + *missing < n) {
		at = (sector + copied + *missing) & (STRETCH_SECTORS - 1);
		offset = at & (COW_PAGE_SECTORS - 1);
		part = min(n - copied - *missing, COW_PAGE_SECTORS - offset);
		leaf = overlay_find(&rq->pair->overlay,
				    sector + copied + *missing);
		if (!leaf)	/* the commit has ended meanwhile */
			break;
		h = overlay_held(leaf, at >> COW_PAGE_SHIFT);
		if (h && *missing)
			break;
		if (!h && copied)
			break;
		if (!h) {
			*missing += part;
			continue;
		}
		copy_to_bio(bio, done + copied, h->page, offset, part);
		copied += part;
	}
	return copied;
}

/**
 * cow_page - the page that holds a saved page in memory
 * @leaf: its leaf
 * @page: its number within the leaf
 *
 * For the commit, beside which nothing spills.
 *
 * Return: the page, or NULL if hidden has the data.
 */
struct page *cow_page(struct leaf *leaf, unsigned int page)
{
	struct held *h;

	rcu_read_lock();
	h = overlay_held(leaf, page);
	rcu_read_unlock();
	return h ? h->page : NULL;
}

/**
 * cow_collect - take a leaf's held pages off the list of the held
 * @pair: the pair
 * @leaf: a leaf that is being committed
 * @pages: where to put them
 *
 * Process context. Before the leaf's saved bits are cleared.
 *
 * Return: how many there are.
 */
unsigned int cow_collect(struct pair *pair, struct leaf *leaf,
			 struct list_head *pages)
{
	struct cow *cow = &pair->cow;
	unsigned int page, n = 0;
	struct held *h;

	spin_lock_irq(&cow->lock);
	for_each_set_bit(page, leaf->saved, LEAF_PAGES) {
		h = overlay_held(leaf, page);
		if (!h)
			continue;
		h->listed = false;
		list_move_tail(&h->list, pages);
		n++;
	}
	cow->nr_held -= n;
	spin_unlock_irq(&cow->lock);
	return n;
}

/**
 * cow_retire - free collected pages after their last reader
 * @pair: the pair
 * @pages: from cow_collect(); their saved bits are cleared
 * @n: how many
 */
void cow_retire(struct pair *pair, struct list_head *pages, unsigned int n)
{
	spin_lock_irq(&pair->cow.lock);
	if (n)
		__begin_grace(&pair->cow, pages, n);
	spin_unlock_irq(&pair->cow.lock);
}

/**
 * cow_drop_held - a transition drops all that is held
 * @pair: the pair, drained, so that nobody reads or spills
 *
 * Takes the same time whatever is held.
 */
void cow_drop_held(struct pair *pair)
{
	struct cow *cow = &pair->cow;

	spin_lock_irq(&cow->lock);
	list_splice_tail_init(&cow->held, &cow->free);
	cow->nr_free += cow->nr_held;
	cow->nr_held = 0;
	spin_unlock_irq(&cow->lock);
}

/**
 * cow_set_limit - change hold_mib
 * @pair: the pair
 * @hold_mib: MiB of captures that may stay in memory
 */
void cow_set_limit(struct pair *pair, unsigned int hold_mib)
{
	spin_lock_irq(&pair->cow.lock);
	WRITE_ONCE(pair->cow.limit, hold_mib * PAGES_PER_MIB);
	spin_unlock_irq(&pair->cow.lock);
	cow_kick(pair);
}

/**
 * cow_fill - fill the pool up to its floor
 * @pair: the pair that gets a view
 *
 * May sleep.
 *
 * Return: 0 or -ENOMEM.
 */
int cow_fill(struct pair *pair)
{
	struct cow *cow = &pair->cow;

	if (cow->nr_pages < FLOOR_PAGES)
		grow(cow, FLOOR_PAGES - cow->nr_pages, GFP_KERNEL);
	return cow->nr_pages < FLOOR_PAGES ? -ENOMEM : 0;
}

/* Most captures are of one page: they need not be allocated each time. */
static int make_smalls(struct cow *cow)
{
	unsigned int i;

	init_llist_head(&cow->small);
	cow->smalls = kcalloc(NR_SMALL, sizeof(*cow->smalls), GFP_KERNEL);
	if (!cow->smalls)
		return -ENOMEM;
	for (i = 0; i < NR_SMALL; i++) {
		cow->smalls[i].small = true;
		llist_add(&cow->smalls[i].through, &cow->small);
	}
	return 0;
}

/**
 * cow_init - make the pool and what captures need
 * @pair: a new pair, zeroed
 *
 * May sleep.
 *
 * Return: 0 or a negative errno.
 */
int cow_init(struct pair *pair)
{
	struct cow *cow = &pair->cow;
	int r;

	r = make_smalls(cow);
	if (r)
		return r;
	cow->trimmed = jiffies;
	spin_lock_init(&cow->lock);
	INIT_LIST_HEAD(&cow->free);
	INIT_LIST_HEAD(&cow->held);
	INIT_LIST_HEAD(&cow->waiters);
	INIT_LIST_HEAD(&cow->grace);
	INIT_LIST_HEAD(&cow->grace_next);
	init_llist_head(&cow->through);
	INIT_WORK(&cow->work, do_cow_work);
	r = bioset_init(&cow->capture_bios, 16, offsetof(struct capture, bio),
			BIOSET_NEED_BVECS);
	if (r)
		goto out_with_smalls;
	r = bioset_init(&cow->spill_bios, 4, offsetof(struct spill, bio),
			BIOSET_NEED_BVECS);
	if (!r)
		return 0;
	bioset_exit(&cow->capture_bios);
out_with_smalls:
	kfree(cow->smalls);
	return r;
}

/**
 * cow_exit - undo cow_init()
 * @pair: a pair without requests
 *
 * May sleep.
 */
void cow_exit(struct pair *pair)
{
	struct cow *cow = &pair->cow;

	/* A callback may begin one more grace period. */
	do
		rcu_barrier();
	while (READ_ONCE(cow->grace_running));
	free_held(&cow->held);
	free_held(&cow->free);
	kfree(cow->smalls);
	atomic_long_sub(chargeable(cow->nr_pages), &total_pages);
	bioset_exit(&cow->spill_bios);
	bioset_exit(&cow->capture_bios);
}
