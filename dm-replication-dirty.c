// SPDX-License-Identifier: GPL-2.0-only
/*
 * dm-replication: what a primary's replica lacks.
 *
 * Copyright (C) the dm-replication authors
 */

#include <linux/bitmap.h>
#include <linux/delay.h>
#include <linux/mm.h>

#include "dm-replication-dirty.h"

/**
 * DOC: dirty, unsettled, settled
 *
 * A block is dirty if local and replica differ there, or may. A block that was
 * sent to the replica is unsettled until a flush of the replica has succeeded
 * that was sent after its write had ended: until then a power cut there can
 * lose it. As soon as a write has been answered, and until then for all that
 * the replica has been sent, it holds that
 *
 *	what may differ, now or after the replica's power cut,
 *		is in the dirty set or in one of the two generations.
 *
 * (Where local has failed, or the replica does not know the operation, a flush
 * may drop the blocks between the replica's answer and the mark that takes their
 * place, which comes before the guest's answer.)
 *
 * Who is about to send blocks marks them in the young generation and counts
 * itself in there, before it sends; when the replica has answered it counts
 * out (dirty_begin(), dirty_end()). So a request that gets lost, or never gets
 * an answer, is in the books without anybody having to write while it ends:
 * an end_io needs no memory.
 *
 * A generation is closed when a flush is about to be sent, and the other one
 * takes newcomers. A flush that is sent when the closed generation has nobody
 * in flight covers all of it: if it succeeds, the whole set is dropped. A
 * flush that comes while some are in flight covers nothing, and the next one
 * will. So what is unsettled is never too small, and too large only by what
 * lay between two or three flushes.
 *
 * When the replica breaks, nobody counts in any more, and all that is
 * unsettled becomes dirty (dirty_fall_back()); not what a flush has covered
 * that was answered before, even if nobody had the time to drop it. Counting
 * in and marking are one step under the lock that looks at @broken, so the
 * fall-back, which takes the lock afterwards, misses nobody.
 *
 * The sets are overlays whose epoch never changes; only their active bits are
 * used. They are emptied by swapping them for an empty one.
 *
 * DOC: the dirty set without memory
 *
 * Beside the set there is a bitmap of regions, allocated beforehand, at most
 * MAX_REGIONS bits for a disk of any size. If no leaf can be had the whole
 * region is marked: too much is copied, nothing is lost, and nobody waits for
 * memory. "All is dirty" is every bit of it. The resync turns regions back into
 * leaves, a few at a time (dirty_expand()), and drops the leaves when their
 * blocks are copied (dirty_trim()), so that the first copy of a disk of many
 * TiB needs no more memory than a small one's.
 */

#define MAX_REGIONS	65536U
#define EXPAND_LEAVES	64U	/* 64 MiB are expanded at once */
#define FLUSH_LEAVES	1024	/* of the young generation: time for a flush */

/**
 * dirty_init - make one of length 0
 * @d: zeroed
 */
void dirty_init(struct dirty *d)
{
	unsigned int i;

	spin_lock_init(&d->lock);
	mutex_init(&d->busy);
	for (i = 0; i < ARRAY_SIZE(d->sets); i++)
		overlay_init(&d->sets[i]);
	d->set = &d->sets[0];
	d->spare = &d->sets[1];
	for (i = 0; i < ARRAY_SIZE(d->generations); i++) {
		d->generations[i].set = &d->sets[2 + i];
		atomic_set(&d->generations[i].inflight, 0);
	}
}

/**
 * dirty_exit - free all
 * @d: in nobody's use
 *
 * May sleep.
 */
void dirty_exit(struct dirty *d)
{
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(d->sets); i++)
		overlay_exit(&d->sets[i]);
	kvfree(d->regions);
	d->regions = NULL;
}

static unsigned int region_of(struct dirty *d, sector_t sector)
{
	return sector >> d->region_shift;
}

/**
 * dirty_configure - begin anew, for another device
 * @d: in nobody's use at the moment
 * @sectors: length of the device
 * @block_shift: log2 of sectors per block: 0 or 3
 * @all: everything is dirty, else nothing
 *
 * May sleep.
 *
 * Return: 0, or a negative errno; then nothing has changed.
 */
int dirty_configure(struct dirty *d, sector_t sectors,
		    unsigned int block_shift, bool all)
{
	unsigned int shift = STRETCH_SHIFT, nr, i;
	unsigned long *regions, *old;

	while ((sectors - 1) >> shift >= MAX_REGIONS)
		shift++;
	nr = ((sectors - 1) >> shift) + 1;
	regions = kvcalloc(BITS_TO_LONGS(nr), sizeof(long), GFP_KERNEL);
	if (!regions)
		return -ENOMEM;

	for (i = 0; i < ARRAY_SIZE(d->sets); i++)
		WARN_ON_ONCE(overlay_configure(&d->sets[i], sectors,
					       block_shift));
	/* A status may be counting. */
	spin_lock(&d->lock);
	old = d->regions;
	d->regions = regions;
	d->region_shift = shift;
	d->nr_regions = nr;
	d->nr_marked = 0;
	d->sectors = sectors;
	d->young = 0;
	d->closed = false;
	spin_unlock(&d->lock);
	kvfree(old);
	if (all)
		dirty_mark_all(d);
	return 0;
}

/*
 *---------------------------------------------------------------------------
 * Marking
 *---------------------------------------------------------------------------
 */

static void __mark_regions(struct dirty *d, sector_t sector, unsigned int n)
{
	unsigned int i = region_of(d, sector);

	lockdep_assert_held(&d->lock);
	for (; i <= region_of(d, sector + n - 1); i++)
		if (!__test_and_set_bit(i, d->regions))
			d->nr_marked++;
}

/* Return: whether leaves could be had for it. */
static bool __mark_set(struct dirty *d, struct overlay *set, sector_t sector,
		       unsigned int n)
{
	lockdep_assert_held(&d->lock);
	if (overlay_get_range(set, sector, n, GFP_NOWAIT))
		return false;
	overlay_set_active(set, sector, n);
	return true;
}

/* Called with the lock held: within one region. */
static void __mark(struct dirty *d, sector_t sector, unsigned int n)
{
	if (test_bit(region_of(d, sector), d->regions))
		return;
	if (!__mark_set(d, d->set, sector, n))
		__mark_regions(d, sector, n);
}

/**
 * dirty_mark - these blocks differ, or may
 * @d: the books
 * @sector: where
 * @n: how many sectors
 *
 * Process context, does not sleep, does not fail.
 */
void dirty_mark(struct dirty *d, sector_t sector, unsigned int n)
{
	sector_t border;
	unsigned int part;

	spin_lock(&d->lock);
	while (n) {
		border = ((sector >> d->region_shift) + 1) << d->region_shift;
		part = min_t(sector_t, n, border - sector);
		__mark(d, sector, part);
		sector += part;
		n -= part;
	}
	spin_unlock(&d->lock);
}

/* Called with @busy held. The set that was swapped out is emptied. */
static void swap_and_empty(struct dirty *d, struct overlay **set)
{
	lockdep_assert_held(&d->busy);
	spin_lock(&d->lock);
	swap(*set, d->spare);
	spin_unlock(&d->lock);
	overlay_exit(d->spare);
}

/**
 * dirty_mark_all - every block differs, or may
 * @d: the books
 *
 * May sleep.
 */
void dirty_mark_all(struct dirty *d)
{
	spin_lock(&d->lock);
	bitmap_fill(d->regions, d->nr_regions);
	d->nr_marked = d->nr_regions;
	spin_unlock(&d->lock);

	/* Each bit of the set is a region's now. */
	mutex_lock(&d->busy);
	swap_and_empty(d, &d->set);
	mutex_unlock(&d->busy);
}

/**
 * dirty_count - sectors that are dirty
 * @d: the books
 *
 * Process context. Where a region was marked for want of memory some may be
 * counted twice, but never more than there are.
 */
u64 dirty_count(struct dirty *d)
{
	u64 count, size, last;

	spin_lock(&d->lock);
	count = atomic64_read(&d->set->active);
	if (d->nr_marked) {
		size = 1ULL << d->region_shift;
		last = d->sectors - (d->nr_regions - 1) * size;
		count += d->nr_marked * size;
		if (test_bit(d->nr_regions - 1, d->regions))
			count -= size - last;
	}
	count = min_t(u64, count, d->sectors);
	spin_unlock(&d->lock);
	return count;
}

/**
 * dirty_bytes - the memory that the leaves take
 * @d: the books
 */
size_t dirty_bytes(struct dirty *d)
{
	size_t bytes = 0;
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(d->sets); i++)
		bytes += overlay_bytes(&d->sets[i]);
	return bytes;
}

/*
 *---------------------------------------------------------------------------
 * On the way to the replica
 *---------------------------------------------------------------------------
 */

/**
 * dirty_begin - blocks are about to be sent to the replica
 * @d: the books
 * @sector: where
 * @n: how many sectors
 *
 * Process context, does not sleep.
 *
 * Return: what dirty_end() is to be called with; NULL if the replica is
 * broken: then nothing may be sent.
 */
struct generation *dirty_begin(struct dirty *d, sector_t sector,
			       unsigned int n)
{
	struct generation *g = NULL;

	spin_lock(&d->lock);
	if (!READ_ONCE(d->broken)) {
		g = &d->generations[d->young];
		atomic_inc(&g->inflight);
		if (!__mark_set(d, g->set, sector, n))
			__mark_regions(d, sector, n);
	}
	spin_unlock(&d->lock);
	return g;
}

/**
 * dirty_end - the replica has answered, or never will be asked
 * @g: from dirty_begin()
 *
 * Any context.
 */
void dirty_end(struct generation *g)
{
	/* Ended before the count; pairs with dirty_flush_begin(). */
	smp_mb__before_atomic();
	atomic_dec(&g->inflight);
}

/**
 * dirty_wants_flush - whether so much is unsettled that somebody should flush
 * @d: the books
 */
bool dirty_wants_flush(struct dirty *d)
{
	struct overlay *set = READ_ONCE(d->generations[d->young].set);

	return atomic_long_read(&set->nr_leaves) > FLUSH_LEAVES;
}

/**
 * dirty_flush_begin - a flush of the replica is about to be sent
 * @d: the books
 *
 * Process context, does not sleep.
 *
 * Return: for dirty_flushed(), which generation it covers; 0: none.
 */
unsigned long dirty_flush_begin(struct dirty *d)
{
	unsigned long covers = 0;

	spin_lock(&d->lock);
	if (!d->closed) {
		d->closed = true;
		d->closings++;
		d->young ^= 1;
	}
	if (!atomic_read(&d->generations[d->young ^ 1].inflight))
		covers = d->closings;
	spin_unlock(&d->lock);
	/* Ended before the flush leaves; pairs with dirty_end(). */
	smp_mb();
	return covers;
}

/**
 * dirty_flushed - a flush of the replica has succeeded
 * @d: the books
 * @closing: from dirty_flush_begin(), not 0
 *
 * Any context. dirty_settle() must follow.
 */
void dirty_flushed(struct dirty *d, unsigned long closing)
{
	WRITE_ONCE(d->settled, closing);
}

/* Whether a flush has covered the closed generation. */
static bool __is_settled(struct dirty *d)
{
	lockdep_assert_held(&d->lock);
	return d->closed && d->closings == READ_ONCE(d->settled);
}

/**
 * dirty_settle - drop what a flush has covered
 * @d: the books
 *
 * Broken or not: a write that fails breaks the replica before it counts out, and
 * none of the flushes that see it gone is sent then.
 *
 * May sleep.
 */
void dirty_settle(struct dirty *d)
{
	struct overlay *settled = NULL;
	struct generation *g;

	mutex_lock(&d->busy);
	spin_lock(&d->lock);
	g = &d->generations[d->young ^ 1];
	/* It may have been dropped before, for another flush or a break. */
	if (__is_settled(d)) {
		swap(g->set, d->spare);
		settled = d->spare;
		d->closed = false;
	}
	spin_unlock(&d->lock);
	if (settled)
		overlay_exit(settled);
	mutex_unlock(&d->busy);
}

/*
 *---------------------------------------------------------------------------
 * The replica breaks, and is mended
 *---------------------------------------------------------------------------
 */

/**
 * dirty_break - nothing more may be sent to the replica
 * @d: the books
 *
 * Any context. dirty_fall_back() must follow.
 */
void dirty_break(struct dirty *d)
{
	WRITE_ONCE(d->broken, true);
}

static void mark_all_of(struct dirty *d, struct overlay *set)
{
	sector_t sector, end;
	unsigned long index;
	struct leaf *leaf;
	unsigned int run;
	bool unsettled;

	for (index = 0; (leaf = overlay_next(set, &index)); index++) {
		sector = (sector_t)index << STRETCH_SHIFT;
		end = min_t(sector_t, sector + STRETCH_SECTORS, d->sectors);
		for (; sector < end; sector += run) {
			rcu_read_lock();
			unsettled = overlay_any(set, sector, end - sector,
						&run);
			rcu_read_unlock();
			if (unsettled)
				dirty_mark(d, sector, run);
		}
		cond_resched();
	}
}

/**
 * dirty_fall_back - what is unsettled becomes dirty
 * @d: the books, broken
 *
 * May sleep.
 */
void dirty_fall_back(struct dirty *d)
{
	unsigned int i;

	dirty_settle(d);
	/* Who has seen that it is not broken has marked when we get this. */
	spin_lock(&d->lock);
	spin_unlock(&d->lock);

	mutex_lock(&d->busy);
	for (i = 0; i < ARRAY_SIZE(d->generations); i++) {
		mark_all_of(d, d->generations[i].set);
		overlay_exit(d->generations[i].set);
	}
	spin_lock(&d->lock);
	d->closed = false;
	spin_unlock(&d->lock);
	mutex_unlock(&d->busy);
}

/**
 * dirty_mend - blocks may be sent to the replica again
 * @d: the books, fallen back; nothing is in flight
 *
 * Any context.
 */
void dirty_mend(struct dirty *d)
{
	WRITE_ONCE(d->broken, false);
}

/*
 *---------------------------------------------------------------------------
 * The resync's side
 *---------------------------------------------------------------------------
 */

/**
 * dirty_next - the next dirty blocks that are in leaves
 * @d: the books
 * @sector: where to look from; where they begin on return
 * @n: how many sectors, within one leaf
 *
 * Process context. There is one resync only.
 *
 * Return: false if there are none behind @sector.
 */
bool dirty_next(struct dirty *d, sector_t *sector, unsigned int *n)
{
	unsigned long index;
	unsigned int run;
	sector_t end;
	bool found;

	while (*sector < d->sectors) {
		index = *sector >> STRETCH_SHIFT;
		if (!overlay_next(d->set, &index))
			return false;
		*sector = max_t(sector_t, *sector,
				(sector_t)index << STRETCH_SHIFT);
		end = min_t(sector_t, (sector_t)(index + 1) << STRETCH_SHIFT,
			    d->sectors);
		while (*sector < end) {
			rcu_read_lock();
			found = overlay_any(d->set, *sector, end - *sector,
					    &run);
			rcu_read_unlock();
			*n = run;
			if (found)
				return true;
			*sector += run;
		}
		cond_resched();
	}
	return false;
}

/* Called with the lock held. Return: false if memory is short. */
static bool __expand(struct dirty *d, unsigned int region)
{
	sector_t sector = (sector_t)region << d->region_shift;
	sector_t end = min_t(sector_t, sector + (1ULL << d->region_shift),
			     d->sectors);
	unsigned int part;

	for (; sector < end; sector += part) {
		part = min_t(sector_t, end - sector, STRETCH_SECTORS);
		if (!__mark_set(d, d->set, sector, part))
			return false;
	}
	__clear_bit(region, d->regions);
	d->nr_marked--;
	return true;
}

/**
 * dirty_expand - turn some regions into leaves
 * @d: the books, whose resync has no copy in flight
 *
 * May sleep, as long as there is no memory.
 *
 * Return: false if there are no marked regions.
 */
bool dirty_expand(struct dirty *d)
{
	unsigned int leaves = 1U << (d->region_shift - STRETCH_SHIFT);
	unsigned int done = 0, region = 0;
	bool expanded;

	while (done < EXPAND_LEAVES) {
		spin_lock(&d->lock);
		region = find_next_bit(d->regions, d->nr_regions, region);
		expanded = region < d->nr_regions && __expand(d, region);
		spin_unlock(&d->lock);
		if (region >= d->nr_regions || (done && !expanded))
			break;
		if (expanded)
			done += leaves;
		else
			msleep(20);	/* until there is memory again */
	}
	return done;
}

/**
 * dirty_clear - the replica has these blocks, if it is not broken
 * @d: the books
 * @sector: where
 * @n: how many sectors, within one leaf
 *
 * Process context. The caller has kept others from writing them since before
 * it read them, and counts out of its generation only afterwards.
 */
void dirty_clear(struct dirty *d, sector_t sector, unsigned int n)
{
	spin_lock(&d->lock);
	if (!READ_ONCE(d->broken))
		overlay_clear_active(d->set, sector, n);
	spin_unlock(&d->lock);
}

/**
 * dirty_trim - give back the memory of leaves that are all clear
 * @d: the books, whose resync has no copy in flight
 *
 * May sleep.
 */
void dirty_trim(struct dirty *d)
{
	struct overlay *old = NULL;

	mutex_lock(&d->busy);
	spin_lock(&d->lock);
	if (!atomic64_read(&d->set->active)) {
		swap(d->set, d->spare);
		old = d->spare;
	}
	spin_unlock(&d->lock);
	if (old)
		overlay_exit(old);
	mutex_unlock(&d->busy);
}

/*
 *---------------------------------------------------------------------------
 * The records' side
 *---------------------------------------------------------------------------
 */

/**
 * dirty_fill - the bits of all blocks of a stretch
 * @d: the books
 * @index: the stretch
 * @words: OVERLAY_ACTIVE_WORDS
 *
 * Return: how many bits there are.
 */
unsigned int dirty_fill(struct dirty *d, unsigned long index, u64 *words)
{
	sector_t left = d->sectors - ((sector_t)index << STRETCH_SHIFT);
	unsigned int n = min_t(sector_t, left, STRETCH_SECTORS) >>
			 d->sets[0].block_shift;
	unsigned int i;

	for (i = 0; i < OVERLAY_ACTIVE_WORDS; i++) {
		words[i] = 0;
		if (n >= (i + 1) * 64)
			words[i] = ~0ULL;
		else if (n > i * 64)
			words[i] = (1ULL << (n - i * 64)) - 1;
	}
	return n;
}

/**
 * dirty_look - the bits of the blocks that are dirty or unsettled
 * @d: the books
 * @index: the stretch
 * @words: OVERLAY_ACTIVE_WORDS
 *
 * Process context, does not sleep.
 *
 * Return: how many bits are set.
 */
unsigned int dirty_look(struct dirty *d, unsigned long index, u64 *words)
{
	struct overlay *sets[] = { NULL, NULL, NULL };
	u64 of_set[OVERLAY_ACTIVE_WORDS] = { };
	unsigned int i, k, n = 0;

	memset(words, 0, sizeof(of_set));
	spin_lock(&d->lock);
	if (test_bit(region_of(d, (sector_t)index << STRETCH_SHIFT),
		     d->regions)) {
		spin_unlock(&d->lock);
		return dirty_fill(d, index, words);
	}
	sets[0] = d->set;
	sets[1] = d->generations[0].set;
	sets[2] = d->generations[1].set;
	for (i = 0; i < ARRAY_SIZE(sets); i++)
		if (overlay_export_active(sets[i], index, of_set))
			for (k = 0; k < OVERLAY_ACTIVE_WORDS; k++)
				words[k] |= of_set[k];
	spin_unlock(&d->lock);
	for (k = 0; k < OVERLAY_ACTIVE_WORDS; k++)
		n += hweight64(words[k]);
	return n;
}

/**
 * dirty_import - mark the blocks whose bits are set
 * @d: the books
 * @index: the stretch
 * @words: OVERLAY_ACTIVE_WORDS, none beyond the end
 *
 * Process context, does not sleep.
 */
void dirty_import(struct dirty *d, unsigned long index, const u64 *words)
{
	unsigned int shift = d->sets[0].block_shift, bit, end;
	DECLARE_BITMAP(bits, STRETCH_SECTORS);

	bitmap_from_arr64(bits, words, STRETCH_SECTORS);
	for (bit = find_first_bit(bits, STRETCH_SECTORS);
	     bit < STRETCH_SECTORS;
	     bit = find_next_bit(bits, STRETCH_SECTORS, end)) {
		end = find_next_zero_bit(bits, STRETCH_SECTORS, bit);
		dirty_mark(d, ((sector_t)index << STRETCH_SHIFT) +
			   (bit << shift), (end - bit) << shift);
	}
}

/**
 * dirty_mark_wide - dirty_mark() of any number of sectors
 * @d: the books
 * @sector: where
 * @n: how many
 *
 * May sleep. Whole regions take no memory.
 */
void dirty_mark_wide(struct dirty *d, sector_t sector, sector_t n)
{
	sector_t end = sector + n, next, size = 1ULL << d->region_shift;
	bool whole;

	for (; sector < end; sector = next) {
		next = min((sector & ~(size - 1)) + size, d->sectors);
		whole = !(sector & (size - 1)) && next <= end;
		next = min(next, end);
		if (whole) {
			spin_lock(&d->lock);
			__mark_regions(d, sector, 1);
			spin_unlock(&d->lock);
		} else {
			dirty_mark(d, sector, next - sector);
		}
		cond_resched();
	}
}

/**
 * dirty_unsettled - whether anything is unsettled
 * @d: the books
 */
bool dirty_unsettled(struct dirty *d)
{
	bool any;

	spin_lock(&d->lock);
	any = atomic_long_read(&d->generations[0].set->nr_leaves) ||
	      atomic_long_read(&d->generations[1].set->nr_leaves);
	spin_unlock(&d->lock);
	return any;
}
