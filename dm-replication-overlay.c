// SPDX-License-Identifier: GPL-2.0-only
/*
 * dm-replication: the overlay of a pair.
 *
 * Copyright (C) the dm-replication authors
 */

#include <linux/bitmap.h>
#include <linux/kernel.h>
#include <linux/log2.h>
#include <linux/slab.h>

#include "dm-replication-overlay.h"

/**
 * DOC: leaves, epochs, and who may touch which bit
 *
 * The overlay is an xarray of leaves, one for each stretch of 1 MiB that
 * anybody has written in. A leaf counts only if its epoch is the overlay's:
 * raising that one number empties both sets in the same instant, whatever
 * their size.
 *
 * The overlay's epoch changes only while no request is admitted to the pair
 * (dm-replication-pair.c sees to that; the one exception, the end of a commit,
 * finds every bit clear). So for an admitted request the epoch stands still,
 * and a leaf that it has once found to be of this epoch stays in the tree and
 * keeps its address until the request has counted out.
 *
 * Whoever will set a bit calls overlay_get() before its first I/O. There, and
 * only there, a leaf of an older epoch is emptied and given the present one:
 * bits first, then a store-release of the epoch, which pairs with the
 * load-acquire in leaf_is_current(). A reader that still sees the old epoch
 * takes the leaf for empty, which it is.
 *
 * The reclaimer takes leaves of older epochs only: it marks one busy under the
 * leaf's lock, may discard what lies below, then removes and frees it by RCU.
 * Who needs a busy leaf gets -EBUSY and comes back when the reclaimer is done.
 *
 * Bits are set with atomic operations, from any context, and cleared only by
 * overlay_clear_leaf(), when a commit holds the leaf's commit lock. Readers
 * test active before saved; the commit clears saved before active; so nobody
 * is sent to hidden for a block of which active holds newer data.
 *
 * A slot (the page of a capture that is still in memory) is stored before the
 * saved bit is set, and read after it was seen set.
 *
 * After a checkpoint all leaves are of older epochs, and looking for one is in
 * vain until somebody has called overlay_get(): o->begun says whether somebody
 * has. It is raised there, before any bit is set, and so a look-up that does not
 * see it raised comes before the bits as one that does not see the leaf.
 */

static struct kmem_cache *leaf_cache[2];	/* blocks of 512, of 4096 bytes */
static const char * const leaf_cache_name[2] = {
	"dm_repl_leaf_512", "dm_repl_leaf_4096",
};

static unsigned int leaf_bits(unsigned int block_shift)
{
	return STRETCH_SECTORS >> block_shift;
}

static size_t leaf_size(unsigned int block_shift)
{
	return sizeof(struct leaf) + leaf_bits(block_shift) / BITS_PER_BYTE;
}

static struct kmem_cache *leaf_cache_of(struct overlay *o)
{
	return leaf_cache[o->block_shift ? 1 : 0];
}

/**
 * overlay_setup - once a module load, before the first overlay
 *
 * Return: 0 or -ENOMEM.
 */
int overlay_setup(void)
{
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(leaf_cache); i++) {
		leaf_cache[i] = kmem_cache_create(leaf_cache_name[i],
						  leaf_size(i * COW_PAGE_SHIFT),
						  0, 0, NULL);
		if (!leaf_cache[i]) {
			overlay_teardown();
			return -ENOMEM;
		}
	}
	return 0;
}

/**
 * overlay_teardown - once a module unload, after the last overlay
 *
 * May sleep: waits for leaves that RCU still has to free.
 */
void overlay_teardown(void)
{
	unsigned int i;

	rcu_barrier();
	for (i = 0; i < ARRAY_SIZE(leaf_cache); i++) {
		kmem_cache_destroy(leaf_cache[i]);
		leaf_cache[i] = NULL;
	}
}

/**
 * overlay_init - make an overlay of length 0
 * @o: the overlay
 *
 * Its epoch is 0. Give it a length with overlay_configure().
 */
void overlay_init(struct overlay *o)
{
	memset(o, 0, sizeof(*o));
	xa_init(&o->leaves);
}

/**
 * overlay_configure - give an overlay its length and block
 * @o: an overlay that nobody uses at the moment
 * @sectors: length of the device
 * @block_shift: log2 of sectors per block: 0 or 3
 *
 * May sleep. Drops every leaf.
 *
 * Return: 0, or -EINVAL for a block that is neither 512 nor 4096 bytes.
 */
int overlay_configure(struct overlay *o, sector_t sectors,
		      unsigned int block_shift)
{
	if (block_shift && block_shift != COW_PAGE_SHIFT)
		return -EINVAL;
	overlay_exit(o);
	o->block_shift = block_shift;
	o->sectors = sectors;
	return 0;
}

static void free_leaf(struct rcu_head *rcu, struct kmem_cache *cache)
{
	struct leaf *leaf = container_of(rcu, struct leaf, rcu);
	unsigned int i;

	for (i = 0; i < NR_SLOT_ARRAYS; i++)
		kfree(leaf->slots[i]);
	kfree(leaf->durable);
	kmem_cache_free(cache, leaf);
}

static void free_leaf_512(struct rcu_head *rcu)
{
	free_leaf(rcu, leaf_cache[0]);
}

static void free_leaf_4096(struct rcu_head *rcu)
{
	free_leaf(rcu, leaf_cache[1]);
}

/* The leaf is in the tree no more; readers may still hold its address. */
static void put_leaf(struct overlay *o, struct leaf *leaf)
{
	unsigned int i;

	atomic_long_dec(&o->nr_leaves);
	for (i = 0; i < NR_SLOT_ARRAYS; i++)
		if (leaf->slots[i])
			atomic_long_dec(&o->nr_slots);
	call_rcu(&leaf->rcu, o->block_shift ? free_leaf_4096 : free_leaf_512);
}

/**
 * overlay_exit - drop every leaf
 * @o: an overlay that nobody uses any more
 *
 * May sleep.
 */
void overlay_exit(struct overlay *o)
{
	unsigned long index;
	struct leaf *leaf;

	xa_for_each(&o->leaves, index, leaf) {
		xa_erase(&o->leaves, index);
		put_leaf(o, leaf);
		cond_resched();
	}
	xa_destroy(&o->leaves);
	atomic64_set(&o->active, 0);
	atomic64_set(&o->saved, 0);
}

/*
 *---------------------------------------------------------------------------
 * Finding and making leaves
 *---------------------------------------------------------------------------
 */
static bool leaf_is_current(struct overlay *o, struct leaf *leaf)
{
	/* Pairs with the release in renew_leaf(): the epoch before the bits. */
	return smp_load_acquire(&leaf->epoch) == READ_ONCE(o->epoch);
}

/* Called under rcu_read_lock(): one of an older epoch may go at any time. */
static struct leaf *find_leaf(struct overlay *o, unsigned long index)
{
	XA_STATE(xas, &o->leaves, index);
	struct leaf *leaf;

	if (!READ_ONCE(o->begun))	/* as it is after a checkpoint */
		return NULL;
	/* As xa_load(), but for its rcu_read_lock(); nothing is reserved here. */
	do {
		leaf = xas_load(&xas);
	} while (xas_retry(&xas, leaf));
	return leaf && leaf_is_current(o, leaf) ? leaf : NULL;
}

/**
 * __overlay_find - overlay_find() for who holds rcu_read_lock() already
 * @o: the overlay
 * @sector: any sector of the stretch
 *
 * Return: the leaf of the present epoch, or NULL if there is none.
 */
struct leaf *__overlay_find(struct overlay *o, sector_t sector)
{
	return find_leaf(o, sector >> STRETCH_SHIFT);
}

/**
 * overlay_find - the leaf that describes a sector
 * @o: the overlay
 * @sector: any sector of the stretch
 *
 * Any context. The leaf stays valid for as long as the caller is admitted to
 * the pair, or under RCU.
 *
 * Return: the leaf of the present epoch, or NULL if there is none.
 */
struct leaf *overlay_find(struct overlay *o, sector_t sector)
{
	struct leaf *leaf;

	rcu_read_lock();
	leaf = __overlay_find(o, sector);
	rcu_read_unlock();
	return leaf;
}

static struct leaf *alloc_leaf(struct overlay *o, gfp_t gfp)
{
	struct leaf *leaf = kmem_cache_zalloc(leaf_cache_of(o), gfp);

	if (leaf) {
		spin_lock_init(&leaf->lock);
		leaf->epoch = o->epoch;
	}
	return leaf;
}

/* Return: 0, -EBUSY while the reclaimer has it, -EAGAIN if it is gone. */
static int renew_leaf(struct overlay *o, struct leaf *leaf)
{
	int r = 0;

	if (leaf_is_current(o, leaf))
		return 0;

	spin_lock(&leaf->lock);
	if (leaf->dead) {
		r = -EAGAIN;
	} else if (leaf->busy) {
		r = -EBUSY;
	} else if (leaf->epoch != o->epoch) {
		bitmap_zero(leaf->saved, LEAF_PAGES);
		bitmap_zero(leaf->active, leaf_bits(o->block_shift));
		if (leaf->durable)
			bitmap_zero(leaf->durable, leaf_bits(o->block_shift));
		leaf->lost = false;
		/* A write that outlived its commit's end may have left these. */
		atomic_set(&leaf->writers, 0);
		leaf->locked = false;
		/* Pairs with leaf_is_current(): empty before it counts. */
		smp_store_release(&leaf->epoch, o->epoch);
	}
	spin_unlock(&leaf->lock);
	return r;
}

static int get_leaf(struct overlay *o, unsigned long index, gfp_t gfp,
		    struct leaf **found)
{
	struct leaf *leaf;
	int r;

	for (;;) {
		rcu_read_lock();
		leaf = xa_load(&o->leaves, index);
		r = leaf ? renew_leaf(o, leaf) : -ENOENT;
		rcu_read_unlock();
		*found = leaf;
		if (!r || r == -EBUSY)
			return r;
		if (r == -EAGAIN)	/* removed under its lock: seen once */
			continue;

		leaf = alloc_leaf(o, gfp);
		if (!leaf)
			return -ENOMEM;
		r = xa_insert(&o->leaves, index, leaf, gfp);
		if (!r) {
			atomic_long_inc(&o->nr_leaves);
			*found = leaf;
			return 0;
		}
		kmem_cache_free(leaf_cache_of(o), leaf);
		if (r != -EBUSY)	/* -EBUSY: somebody else was faster */
			return -ENOMEM;
	}
}

static int get_slots(struct overlay *o, void ***array, gfp_t gfp)
{
	void **slots;

	if (READ_ONCE(*array))
		return 0;
	slots = kcalloc(1 << SLOTS_SHIFT, sizeof(*slots), gfp);
	if (!slots)
		return -ENOMEM;
	if (cmpxchg(array, NULL, slots))
		kfree(slots);		/* somebody else was faster */
	else
		atomic_long_inc(&o->nr_slots);
	return 0;
}

static int get_durable(struct overlay *o, struct leaf *leaf, gfp_t gfp)
{
	unsigned long *bits;

	if (READ_ONCE(leaf->durable))
		return 0;
	bits = bitmap_zalloc(leaf_bits(o->block_shift), gfp);
	if (!bits)
		return -ENOMEM;
	if (cmpxchg(&leaf->durable, NULL, bits))
		bitmap_free(bits);	/* somebody else was faster */
	return 0;
}

/**
 * overlay_get - get the leaf in which the caller will set bits
 * @o: the overlay
 * @sector: any sector of the stretch
 * @slots: of how many pages, from @sector's on, captures are to be kept in memory
 * @gfp: how to allocate; failing is allowed
 * @found: the leaf, if the call succeeds
 *
 * Process context; sleeps if @gfp does. The caller is admitted to the pair.
 *
 * Return: 0, -ENOMEM, or -EBUSY: the reclaimer works on this stretch.
 */
int overlay_get(struct overlay *o, sector_t sector, unsigned int slots,
		gfp_t gfp, struct leaf **found)
{
	unsigned int page = (sector & (STRETCH_SECTORS - 1)) >> COW_PAGE_SHIFT;
	unsigned int i, end = min(page + slots, LEAF_PAGES);
	int r;

	gfp |= __GFP_NOWARN | __GFP_NOMEMALLOC;
	r = get_leaf(o, sector >> STRETCH_SHIFT, gfp, found);
	if (!r && !READ_ONCE(o->begun))
		WRITE_ONCE(o->begun, true);
	if (!r && o->durable)
		r = get_durable(o, *found, gfp);
	if (r || !slots)
		return r;
	for (i = page >> SLOTS_SHIFT; !r && i << SLOTS_SHIFT < end; i++)
		r = get_slots(o, &(*found)->slots[i], gfp);
	return r;
}

/**
 * overlay_get_range - overlay_get() for every stretch of a range
 * @o: the overlay
 * @sector: where the range begins
 * @n: its sectors
 * @gfp: how to allocate
 *
 * Return: as overlay_get().
 */
int overlay_get_range(struct overlay *o, sector_t sector, unsigned int n,
		      gfp_t gfp)
{
	unsigned long index = sector >> STRETCH_SHIFT;
	unsigned long last = (sector + n - 1) >> STRETCH_SHIFT;
	struct leaf *leaf;
	int r = 0;

	for (; !r && index <= last; index++)
		r = overlay_get(o, (sector_t)index << STRETCH_SHIFT, 0, gfp,
				&leaf);
	return r;
}

/*
 *---------------------------------------------------------------------------
 * Reading the sets
 *---------------------------------------------------------------------------
 */

/*
 * The kernel looks for bits by plain reads, here beside who sets or clears some.
 * It takes each word once and whole, and what it says is as true as a moment
 * earlier: a bit that changes meanwhile is of a request that has not ended.
 */
static unsigned int next_set(const unsigned long *map, unsigned int end,
			     unsigned int at)
{
	/* either answer will do, see above */
	return data_race(find_next_bit(map, end, at));
}

/* The same for a bit that is not set. */
static unsigned int next_unset(const unsigned long *map, unsigned int end,
			       unsigned int at)
{
	/* either answer will do, see above */
	return data_race(find_next_zero_bit(map, end, at));
}

/* Of bits in one word: 1 if all are set, 0 if none; -1: look closer. */
static int test_word(const unsigned long *map, unsigned int bit, unsigned int n)
{
	unsigned int at = bit % BITS_PER_LONG;
	unsigned long mask, word;

	if (at + n > BITS_PER_LONG)
		return -1;
	mask = GENMASK(at + n - 1, at);
	word = READ_ONCE(map[bit / BITS_PER_LONG]) & mask;
	if (!word)
		return 0;
	return word == mask ? 1 : -1;
}

/* The class of what was found in no set. */
static enum overlay_class neither(const struct leaf *leaf)
{
	/* Saved before lost; pairs with overlay_clear_leaf(). */
	smp_rmb();
	return READ_ONCE(leaf->lost) ? OVERLAY_LOST : OVERLAY_NONE;
}

/* The class of the first sector, and how far it reaches within the leaf. */
static enum overlay_class classify_leaf(struct overlay *o, struct leaf *leaf,
					unsigned int at, unsigned int n,
					unsigned int *run)
{
	unsigned int shift = o->block_shift;
	unsigned int bit = at >> shift;
	unsigned int end = (at + n - 1) / (1U << shift) + 1;
	unsigned int page = at >> COW_PAGE_SHIFT;
	unsigned int stop;
	enum overlay_class class;

	stop = next_set(leaf->active, end, bit);
	if (stop == bit) {
		stop = next_unset(leaf->active, end, bit);
		*run = min(n, (stop << shift) - at);
		return OVERLAY_ACTIVE;
	}
	n = min(n, (stop << shift) - at);

	/* Active before saved; pairs with overlay_clear_leaf(). */
	smp_rmb();
	end = ((at + n - 1) >> COW_PAGE_SHIFT) + 1;
	stop = next_set(leaf->saved, end, page);
	if (stop == page) {
		stop = next_unset(leaf->saved, end, page);
		class = OVERLAY_SAVED;
	} else {
		class = neither(leaf);
	}
	*run = min(n, (stop << COW_PAGE_SHIFT) - at);
	return class;
}

/**
 * overlay_look - one look at all of a request that lies in one stretch
 * @o: the overlay
 * @leaf: the stretch's leaf
 * @sector: where the request begins
 * @n: its sectors
 *
 * Any context; the caller keeps the leaf valid, see overlay_find(). @sector
 * and @n are whole blocks.
 *
 * Return: the class of all of it; OVERLAY_MIXED if it has several, or is so
 * long that overlay_classify() should tell.
 */
enum overlay_class overlay_look(struct overlay *o, struct leaf *leaf,
				sector_t sector, unsigned int n)
{
	unsigned int at = sector & (STRETCH_SECTORS - 1);
	unsigned int page = at >> COW_PAGE_SHIFT;
	int all;

	all = test_word(leaf->active, at >> o->block_shift,
			n >> o->block_shift);
	if (all)
		return all > 0 ? OVERLAY_ACTIVE : OVERLAY_MIXED;
	/* Active before saved; pairs with overlay_clear_leaf(). */
	smp_rmb();
	all = test_word(leaf->saved, page,
			((at + n - 1) >> COW_PAGE_SHIFT) - page + 1);
	if (all)
		return all > 0 ? OVERLAY_SAVED : OVERLAY_MIXED;
	return neither(leaf);
}

/**
 * overlay_classify - where the view finds its data
 * @o: the overlay
 * @sector: where to look
 * @n: at most this many sectors
 * @run: how many sectors from @sector on are of the returned class
 *
 * Any context, under rcu_read_lock(). @sector and @n are whole blocks.
 *
 * Return: the class of the first @run sectors.
 */
enum overlay_class overlay_classify(struct overlay *o, sector_t sector,
				    unsigned int n, unsigned int *run)
{
	enum overlay_class class = OVERLAY_NONE, next;
	unsigned int done = 0, part, length, at;
	struct leaf *leaf;

	while (done < n) {
		at = (sector + done) & (STRETCH_SECTORS - 1);
		part = min(n - done, STRETCH_SECTORS - at);
		length = part;
		leaf = find_leaf(o, (sector + done) >> STRETCH_SHIFT);
		next = leaf ? classify_leaf(o, leaf, at, part, &length) :
			      OVERLAY_NONE;
		if (done && next != class)
			break;
		class = next;
		done += length;
		if (length < part)
			break;
	}
	*run = done;
	return class;
}

/**
 * overlay_any - whether the first block has any overlay, active or saved
 * @o: the overlay
 * @sector: where to look
 * @n: at most this many sectors
 * @run: how many sectors from @sector on have the same answer
 *
 * As overlay_classify(), for who does not care which set it is.
 *
 * Return: true if active or hidden holds the data.
 */
bool overlay_any(struct overlay *o, sector_t sector, unsigned int n,
		 unsigned int *run)
{
	unsigned int done, part;
	bool any;

	any = overlay_classify(o, sector, n, &done) != OVERLAY_NONE;
	while (done < n &&
	       any == (overlay_classify(o, sector + done, n - done, &part) !=
		       OVERLAY_NONE))
		done += part;
	*run = done;
	return any;
}

/* Sectors that a page at the end of the device lacks. */
static unsigned int page_shortfall(struct overlay *o, unsigned long index,
				   unsigned int page)
{
	sector_t end = ((sector_t)index << STRETCH_SHIFT) +
		       ((page + 1) << COW_PAGE_SHIFT);

	return end > o->sectors ? end - o->sectors : 0;
}

/* Whether the view has written all of a page, whose first bit is set. */
static noinline bool is_all_set(struct overlay *o, struct leaf *leaf,
				unsigned long index, unsigned int page,
				unsigned int bit)
{
	unsigned int end = ((page + 1) << COW_PAGE_SHIFT) -
			   page_shortfall(o, index, page);

	end >>= o->block_shift;
	return next_unset(leaf->active, end, bit) >= end;
}

/* Whether the view has written all of a page. */
static __always_inline bool is_covered(struct overlay *o, struct leaf *leaf,
				       unsigned long index, unsigned int page)
{
	unsigned int bit = page << COW_PAGE_SHIFT >> o->block_shift;

	return test_bit(bit, leaf->active) &&
	       is_all_set(o, leaf, index, page, bit);
}

/* Whether the view has written anything in some pages. */
static bool has_active(struct overlay *o, struct leaf *leaf, unsigned int page,
		       unsigned int end)
{
	unsigned int stop = end << COW_PAGE_SHIFT >> o->block_shift;

	return next_set(leaf->active, stop,
			page << COW_PAGE_SHIFT >> o->block_shift) < stop;
}

/* overlay_unsaved() of one page, which is what most writes are. */
static bool is_unsaved(struct overlay *o, struct leaf *leaf,
		       unsigned long index, unsigned int page)
{
	if (test_bit(page, leaf->saved) || leaf->lost)
		return false;
	return o->durable || !is_covered(o, leaf, index, page);
}

/**
 * overlay_unsaved - the next pages that an origin write must capture
 * @o: the overlay
 * @leaf: the leaf of the pages, of the present epoch
 * @index: the leaf's stretch
 * @page: where to look from, a page's number within the leaf
 * @end: where to stop
 * @n: how many there are in a row
 *
 * Not those that are saved, nor those of which the view has written all:
 * nobody can read their old data again in this epoch. But if the overlay is
 * durable the active bits may not be yet, and after a crash the old data would
 * be needed. Any context.
 *
 * Return: the first one's number, or @end with *@n 0.
 */
unsigned int overlay_unsaved(struct overlay *o, struct leaf *leaf,
			     unsigned long index, unsigned int page,
			     unsigned int end, unsigned int *n)
{
	unsigned int stop, last;

	if (page + 1 == end) {
		*n = is_unsaved(o, leaf, index, page);
		return *n ? page : end;
	}
	for (;;) {
		page = next_unset(leaf->saved, end, page);
		*n = 0;
		if (leaf->lost || page >= end)
			return end;
		stop = next_set(leaf->saved, end, page);
		if (stop == page)	/* saved between the two looks */
			continue;
		if (o->durable || !has_active(o, leaf, page, stop)) {
			*n = stop - page;
			return page;
		}
		while (page < stop && is_covered(o, leaf, index, page))
			page++;
		last = page;
		while (last < stop && !is_covered(o, leaf, index, last))
			last++;
		*n = last - page;
		if (*n)
			return page;
	}
}

static void **slots_of(struct leaf *leaf, unsigned int page)
{
	return READ_ONCE(leaf->slots[page >> SLOTS_SHIFT]);
}

/**
 * overlay_has_slots - whether captures can be kept in memory
 * @leaf: the leaf of the pages
 * @page: the first page's number within the leaf
 * @n: how many pages
 *
 * Any context.
 */
bool overlay_has_slots(struct leaf *leaf, unsigned int page, unsigned int n)
{
	unsigned int i;

	for (i = page >> SLOTS_SHIFT; i << SLOTS_SHIFT < page + n; i++)
		if (!READ_ONCE(leaf->slots[i]))
			return false;
	return true;
}

/**
 * overlay_held - what holds a saved page in memory
 * @leaf: the leaf of the page
 * @page: the page's number within the leaf
 *
 * Under rcu_read_lock(), which also keeps what is returned. The caller has
 * found the page saved.
 *
 * Return: the pointer given to overlay_set_slot(), or NULL: it is in hidden.
 */
void *overlay_held(struct leaf *leaf, unsigned int page)
{
	void **slots;

	/* The saved bit before both looks; pairs with overlay_set_saved(). */
	smp_rmb();
	slots = slots_of(leaf, page);
	return slots ? READ_ONCE(slots[page % (1 << SLOTS_SHIFT)]) : NULL;
}

/*
 *---------------------------------------------------------------------------
 * Setting and clearing
 *---------------------------------------------------------------------------
 */

/* Return: how many bits of the range were clear before. */
static unsigned int set_bits(unsigned long *map, unsigned int start,
			     unsigned int n)
{
	unsigned int end = start + n, w = start / BITS_PER_LONG, fresh = 0;
	unsigned long mask = BITMAP_FIRST_WORD_MASK(start), old;

	if (n == 1)	/* as most writes have it */
		return !test_and_set_bit(start, map);
	for (; w * BITS_PER_LONG < end; w++, mask = ~0UL) {
		if (end - w * BITS_PER_LONG < BITS_PER_LONG)
			mask &= BITMAP_LAST_WORD_MASK(end);
		old = READ_ONCE(map[w]);
		if ((old & mask) == mask)
			continue;
		old = atomic_long_fetch_or(mask, (atomic_long_t *)&map[w]);
		fresh += hweight_long(mask & ~old);
	}
	return fresh;
}

/* Whether a record holds these active bits, if records are kept. */
static bool is_durable(struct overlay *o, struct leaf *leaf, unsigned int bit,
		       unsigned int n)
{
	unsigned long *bits;

	if (!o->durable)
		return true;
	bits = READ_ONCE(leaf->durable);
	return bits && next_unset(bits, bit + n, bit) == bit + n;
}

/**
 * overlay_set_active_in - the view has written these blocks of one leaf
 * @o: the overlay
 * @leaf: their leaf, got with overlay_get() before the write left
 * @sector: where the range begins
 * @n: its sectors
 *
 * Any context. The data is in active.
 *
 * Return: true if a bit was set that was not set before; or, if the overlay is
 * durable, that no record holds. Who had set it may not have said so yet.
 */
bool overlay_set_active_in(struct overlay *o, struct leaf *leaf,
			   sector_t sector, unsigned int n)
{
	unsigned int at = sector & (STRETCH_SECTORS - 1), fresh;

	at >>= o->block_shift;
	n >>= o->block_shift;
	fresh = set_bits(leaf->active, at, n);
	if (fresh)
		atomic64_add((u64)fresh << o->block_shift, &o->active);
	return fresh || !is_durable(o, leaf, at, n);
}

/**
 * overlay_set_active - the view has written these blocks
 * @o: the overlay
 * @sector: where the range begins
 * @n: its sectors
 *
 * Any context. The leaves were got with overlay_get() before the write left,
 * and the data is in active.
 *
 * Return: as overlay_set_active_in().
 */
bool overlay_set_active(struct overlay *o, sector_t sector, unsigned int n)
{
	struct leaf *leaf;
	unsigned int part;
	bool fresh = false;

	while (n) {
		part = min_t(unsigned int, n, STRETCH_SECTORS -
			     (sector & (STRETCH_SECTORS - 1)));
		leaf = overlay_find(o, sector);
		if (!WARN_ON_ONCE(!leaf))
			fresh |= overlay_set_active_in(o, leaf, sector, part);
		sector += part;
		n -= part;
	}
	return fresh;
}

/**
 * overlay_clear_active - these blocks are not in the set any more
 * @o: the overlay
 * @sector: where the range begins
 * @n: its sectors, within one leaf
 *
 * Any context. For a set of which the caller knows that nobody relies on these
 * bits any more: the view's are cleared by overlay_clear_leaf().
 */
void overlay_clear_active(struct overlay *o, sector_t sector, unsigned int n)
{
	unsigned int at = (sector & (STRETCH_SECTORS - 1)) >> o->block_shift;
	struct leaf *leaf = overlay_find(o, sector);
	unsigned int cleared = 0;

	for (n >>= o->block_shift; leaf && n; at++, n--)
		cleared += test_and_clear_bit(at, leaf->active);
	atomic64_sub((u64)cleared << o->block_shift, &o->active);
}

/**
 * overlay_set_saved - the old data of these pages is kept
 * @o: the overlay
 * @leaf: their leaf, got with overlay_get()
 * @index: the leaf's stretch
 * @page: the first page's number within the leaf
 * @n: how many pages, none of which was saved before
 *
 * Any context. The pages' slots are set, or hidden holds the data.
 */
void overlay_set_saved(struct overlay *o, struct leaf *leaf,
		       unsigned long index, unsigned int page, unsigned int n)
{
	unsigned int fresh;

	/* Slots before saved bits; pairs with overlay_held(). */
	smp_mb__before_atomic();
	fresh = set_bits(leaf->saved, page, n) << COW_PAGE_SHIFT;
	if (fresh)
		fresh -= page_shortfall(o, index, page + n - 1);
	atomic64_add(fresh, &o->saved);
}

/**
 * overlay_set_slot - tell what holds a page in memory
 * @leaf: its leaf
 * @page: the page's number within the leaf
 * @held: what holds it, NULL if hidden does
 *
 * Any context. From NULL to something only before the saved bit is set. Who
 * clears it leaves the page as it is for an RCU grace period.
 */
void overlay_set_slot(struct leaf *leaf, unsigned int page, void *held)
{
	void **slots = slots_of(leaf, page);

	if (slots)	/* what @held points to before the pointer */
		smp_store_release(&slots[page % (1 << SLOTS_SHIFT)], held);
}

/**
 * overlay_new_epoch - empty both sets
 * @o: the overlay
 *
 * No request is admitted meanwhile, or every bit is clear. Leaves stay for
 * reuse until the reclaimer takes them.
 */
void overlay_new_epoch(struct overlay *o)
{
	WRITE_ONCE(o->epoch, o->epoch + 1);
	WRITE_ONCE(o->begun, false);
	atomic64_set(&o->active, 0);
	atomic64_set(&o->saved, 0);
}

static bool claim_leaf(struct overlay *o, struct leaf *leaf)
{
	bool stale;

	spin_lock(&leaf->lock);
	stale = leaf->epoch != READ_ONCE(o->epoch) && !leaf->dead;
	if (stale)
		leaf->busy = true;
	spin_unlock(&leaf->lock);
	return stale;
}

/**
 * overlay_claim_stale - take the next leaf of an older epoch out of use
 * @o: the overlay
 * @index: where to look from; the leaf's stretch on return
 *
 * Process context; may sleep between leaves. There is one reclaimer only.
 *
 * Return: the leaf, marked busy, for overlay_drop_stale(); NULL at the end.
 */
struct leaf *overlay_claim_stale(struct overlay *o, unsigned long *index)
{
	struct leaf *leaf;

	rcu_read_lock();
	leaf = xa_find(&o->leaves, index, ULONG_MAX, XA_PRESENT);
	while (leaf && !claim_leaf(o, leaf)) {
		if (need_resched()) {
			rcu_read_unlock();
			cond_resched();
			rcu_read_lock();
		}
		leaf = xa_find_after(&o->leaves, index, ULONG_MAX, XA_PRESENT);
	}
	rcu_read_unlock();
	return leaf;
}

/**
 * overlay_claim_stale_at - the same for one stretch
 * @o: the overlay
 * @index: the stretch
 *
 * Return: its leaf, marked busy, or NULL if it has none of an older epoch.
 */
struct leaf *overlay_claim_stale_at(struct overlay *o, unsigned long index)
{
	struct leaf *leaf;

	rcu_read_lock();
	leaf = xa_load(&o->leaves, index);
	if (leaf && !claim_leaf(o, leaf))
		leaf = NULL;
	rcu_read_unlock();
	return leaf;
}

/**
 * overlay_drop_stale - remove a leaf that was claimed
 * @o: the overlay
 * @index: its stretch
 * @leaf: what overlay_claim_stale() returned
 *
 * Process context. Afterwards wake who got -EBUSY.
 */
void overlay_drop_stale(struct overlay *o, unsigned long index,
			struct leaf *leaf)
{
	spin_lock(&leaf->lock);
	leaf->dead = true;
	xa_erase(&o->leaves, index);
	spin_unlock(&leaf->lock);
	put_leaf(o, leaf);
}

/**
 * overlay_bytes - the memory that leaves and their slots take
 * @o: the overlay
 *
 * Any context. The xarray's own nodes (576 bytes for 64 leaves) are not in it.
 */
size_t overlay_bytes(struct overlay *o)
{
	size_t durable = o->durable ? leaf_bits(o->block_shift) / 8 : 0;

	return atomic_long_read(&o->nr_leaves) *
	       (leaf_size(o->block_shift) + durable) +
	       (atomic_long_read(&o->nr_slots) * sizeof(void *) << SLOTS_SHIFT);
}

/*
 *---------------------------------------------------------------------------
 * The commit's side
 *---------------------------------------------------------------------------
 */

/**
 * overlay_next - the next leaf with something in it
 * @o: the overlay
 * @index: where to look from; the leaf's stretch on return
 *
 * Process context. Leaves of the present epoch do not go away while a commit
 * runs, so the leaf stays valid.
 *
 * Return: the leaf, or NULL at the end.
 */
struct leaf *overlay_next(struct overlay *o, unsigned long *index)
{
	struct leaf *leaf;

	rcu_read_lock();
	leaf = xa_find(&o->leaves, index, ULONG_MAX, XA_PRESENT);
	while (leaf && !(leaf_is_current(o, leaf) &&
			 (leaf->lost || !bitmap_empty(leaf->saved, LEAF_PAGES) ||
			  !bitmap_empty(leaf->active,
					leaf_bits(o->block_shift)))))
		leaf = xa_find_after(&o->leaves, index, ULONG_MAX, XA_PRESENT);
	rcu_read_unlock();
	return leaf;
}

/**
 * overlay_enter - count a view write into every leaf it touches
 * @o: the overlay
 * @sector: where the write begins
 * @n: its sectors
 *
 * Process context, during a commit. While no leaf is locked the caller may
 * classify and write; it calls overlay_leave() when it has ended. Otherwise
 * it must call overlay_leave() at once and come back after an unlock.
 *
 * Return: true if no leaf is locked.
 */
bool overlay_enter(struct overlay *o, sector_t sector, unsigned int n)
{
	unsigned long first = sector >> STRETCH_SHIFT;
	unsigned long last = (sector + n - 1) >> STRETCH_SHIFT;
	unsigned long index;
	bool locked = false;
	struct leaf *leaf;

	/* The end of a commit may make the leaves stale beside us. */
	rcu_read_lock();
	for (index = first; index <= last; index++) {
		leaf = find_leaf(o, index);
		if (leaf)
			atomic_inc(&leaf->writers);
	}
	/* Counted in before the locks are looked at: overlay_lock_leaf(). */
	smp_mb();
	for (index = first; index <= last && !locked; index++) {
		leaf = find_leaf(o, index);
		/* Acquire: unlocked means cleared, see overlay_unlock_leaf(). */
		locked = leaf && smp_load_acquire(&leaf->locked);
	}
	rcu_read_unlock();
	return !locked;
}

/**
 * overlay_leave - count a view write out of its leaves
 * @o: the overlay
 * @sector: where the write begins
 * @n: its sectors
 *
 * Any context.
 *
 * Return: true if the commit may be waiting for this.
 */
bool overlay_leave(struct overlay *o, sector_t sector, unsigned int n)
{
	unsigned long index = sector >> STRETCH_SHIFT;
	unsigned long last = (sector + n - 1) >> STRETCH_SHIFT;
	struct leaf *leaf;
	bool wake = false;

	rcu_read_lock();
	for (; index <= last; index++) {
		leaf = find_leaf(o, index);
		/* The value-returning atomic orders the test of the lock. */
		if (leaf && atomic_dec_and_test(&leaf->writers) &&
		    READ_ONCE(leaf->locked))
			wake = true;
	}
	rcu_read_unlock();
	return wake;
}

/**
 * overlay_lock_leaf - begin to commit a leaf
 * @leaf: the leaf
 *
 * Then wait for overlay_leaf_idle(). It comes: who is counted in ends by
 * itself, and who counts in from now on sees the lock and backs out.
 */
void overlay_lock_leaf(struct leaf *leaf)
{
	WRITE_ONCE(leaf->locked, true);
	/* Locked before the writers are counted: pairs with overlay_enter(). */
	smp_mb();
}

/**
 * overlay_unlock_leaf - end the commit of a leaf
 * @leaf: the leaf
 *
 * Afterwards wake who backed out.
 */
void overlay_unlock_leaf(struct leaf *leaf)
{
	/* Pairs with overlay_enter(): who sees it unlocked sees it cleared. */
	smp_store_release(&leaf->locked, false);
}

/**
 * overlay_leaf_idle - whether no view write is counted into a locked leaf
 * @leaf: the leaf
 */
bool overlay_leaf_idle(struct leaf *leaf)
{
	return !atomic_read_acquire(&leaf->writers);
}

static unsigned int clear_bits(unsigned long *map, unsigned int bits)
{
	unsigned int w, cleared = 0;

	for (w = 0; w < BITS_TO_LONGS(bits); w++) {
		cleared += hweight_long(map[w]);
		WRITE_ONCE(map[w], 0);
	}
	return cleared;
}

/**
 * overlay_clear_leaf - secondary holds what this leaf described
 * @o: the overlay
 * @index: the leaf's stretch
 * @leaf: the leaf, locked and idle
 *
 * Process context. Slots are left as they are: a reader that saw the saved
 * bit may still copy from them.
 */
void overlay_clear_leaf(struct overlay *o, unsigned long index,
			struct leaf *leaf)
{
	unsigned int last = 0, short_by = 0, sectors;

	if (!bitmap_empty(leaf->saved, LEAF_PAGES)) {
		last = find_last_bit(leaf->saved, LEAF_PAGES);
		short_by = page_shortfall(o, index, last);
	}
	WRITE_ONCE(leaf->lost, false);
	/* Not lost any more before not saved; pairs with neither(). */
	smp_wmb();
	sectors = (clear_bits(leaf->saved, LEAF_PAGES) << COW_PAGE_SHIFT) -
		  short_by;
	atomic64_sub(sectors, &o->saved);

	/* Saved before active; pairs with classify_leaf(). */
	smp_wmb();
	sectors = clear_bits(leaf->active, leaf_bits(o->block_shift)) <<
		  o->block_shift;
	atomic64_sub(sectors, &o->active);
	if (leaf->durable)
		clear_bits(leaf->durable, leaf_bits(o->block_shift));
}

/*
 *---------------------------------------------------------------------------
 * Leaves that are kept on a disk, too
 *---------------------------------------------------------------------------
 */

/**
 * overlay_export - what a leaf's record must hold
 * @o: the overlay
 * @index: the leaf's stretch
 * @active: the active bits that are durable
 * @saved: the saved bits
 *
 * Called by who makes bits durable only. Both arrays come zeroed; they are
 * left so if there is no leaf of the present epoch.
 *
 * Return: true if the leaf is a lost one.
 */
bool overlay_export(struct overlay *o, unsigned long index, u64 *active,
		    u64 *saved)
{
	struct leaf *leaf;
	bool lost = false;

	rcu_read_lock();
	leaf = find_leaf(o, index);
	if (leaf) {
		bitmap_to_arr64(saved, leaf->saved, LEAF_PAGES);
		if (leaf->durable)
			bitmap_to_arr64(active, leaf->durable,
					leaf_bits(o->block_shift));
		lost = leaf->lost;
	}
	rcu_read_unlock();
	return lost;
}

/**
 * overlay_export_active - the active bits as they are now
 * @o: the overlay
 * @index: the leaf's stretch
 * @active: the bits
 *
 * Return: false if there is no leaf of the present epoch.
 */
bool overlay_export_active(struct overlay *o, unsigned long index, u64 *active)
{
	struct leaf *leaf;

	rcu_read_lock();
	leaf = find_leaf(o, index);
	if (leaf)
		bitmap_to_arr64(active, leaf->active,
				leaf_bits(o->block_shift));
	rcu_read_unlock();
	return leaf;
}

/**
 * overlay_keep_active - these active bits are durable now
 * @o: the overlay
 * @index: the leaf's stretch
 * @active: what its record holds
 */
void overlay_keep_active(struct overlay *o, unsigned long index,
			 const u64 *active)
{
	struct leaf *leaf;

	rcu_read_lock();
	leaf = find_leaf(o, index);
	if (leaf && leaf->durable)
		bitmap_from_arr64(leaf->durable, active,
				  leaf_bits(o->block_shift));
	rcu_read_unlock();
}

/**
 * overlay_import - make the leaf that a record describes
 * @o: a durable overlay that nobody uses yet
 * @index: the stretch
 * @active: its active bits
 * @saved: its saved bits
 * @lost: the record was damaged: what is in neither set is not known
 *
 * May sleep.
 *
 * Return: 0 or -ENOMEM.
 */
int overlay_import(struct overlay *o, unsigned long index, const u64 *active,
		   const u64 *saved, bool lost)
{
	unsigned int bits = leaf_bits(o->block_shift), last;
	struct leaf *leaf;
	u64 sectors;
	int r;

	r = overlay_get(o, (sector_t)index << STRETCH_SHIFT, 0, GFP_NOIO,
			&leaf);
	if (r)
		return r;
	leaf->lost = lost;
	bitmap_from_arr64(leaf->saved, saved, LEAF_PAGES);
	bitmap_from_arr64(leaf->active, active, bits);
	bitmap_copy(leaf->durable, leaf->active, bits);

	sectors = (u64)bitmap_weight(leaf->saved, LEAF_PAGES) << COW_PAGE_SHIFT;
	last = find_last_bit(leaf->saved, LEAF_PAGES);
	if (last < LEAF_PAGES)
		sectors -= page_shortfall(o, index, last);
	atomic64_add(sectors, &o->saved);
	atomic64_add((u64)bitmap_weight(leaf->active, bits) << o->block_shift,
		     &o->active);
	return 0;
}
