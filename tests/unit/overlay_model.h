/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * An overlay beside a model of it that cannot be wrong: one byte a sector.
 */
#ifndef OVERLAY_MODEL_H
#define OVERLAY_MODEL_H

#include <kunit/test.h>
#include <linux/slab.h>

#include "dm-replication-overlay.h"

#define MODEL_ACTIVE	1
#define MODEL_SAVED	2

struct geometry {
	const char *name;
	sector_t sectors;
	unsigned int block_shift;
};

/**
 * struct bench - what every test works on
 * @o: the overlay under test
 * @sectors: its length
 * @block: sectors per block
 * @model: MODEL_ACTIVE and MODEL_SAVED of each sector
 * @held: what holds each page in memory
 * @active: sectors that have MODEL_ACTIVE
 * @saved: sectors that have MODEL_SAVED
 */
struct bench {
	struct overlay o;
	unsigned int sectors;
	unsigned int block;
	u8 *model;
	void **held;
	u64 active;
	u64 saved;
};

static inline unsigned int bench_pages(struct bench *b)
{
	return DIV_ROUND_UP(b->sectors, COW_PAGE_SECTORS);
}

static inline struct bench *bench_make(struct kunit *test,
				       const struct geometry *g)
{
	struct bench *b = kunit_kzalloc(test, sizeof(*b), GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, b);
	overlay_init(&b->o);
	KUNIT_ASSERT_EQ(test, overlay_configure(&b->o, g->sectors,
						g->block_shift), 0);
	b->sectors = g->sectors;
	b->block = 1U << g->block_shift;
	b->model = kunit_kzalloc(test, b->sectors, GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, b->model);
	b->held = kunit_kcalloc(test, bench_pages(b), sizeof(*b->held),
				GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, b->held);
	return b;
}

static inline void bench_mark(struct bench *b, unsigned int sector,
			      unsigned int n, u8 bit, u64 *count)
{
	unsigned int end = min(sector + n, b->sectors);

	for (; sector < end; sector++) {
		*count += !(b->model[sector] & bit);
		b->model[sector] |= bit;
	}
}

static inline void bench_unmark(struct bench *b, unsigned int sector,
				unsigned int n)
{
	unsigned int end = min(sector + n, b->sectors);

	for (; sector < end; sector++) {
		b->active -= !!(b->model[sector] & MODEL_ACTIVE);
		b->saved -= !!(b->model[sector] & MODEL_SAVED);
		b->model[sector] = 0;
	}
}

/* What a view write does. */
static inline void bench_write(struct kunit *test, struct bench *b,
			       unsigned int sector, unsigned int n)
{
	KUNIT_ASSERT_EQ(test, overlay_get_range(&b->o, sector, n, GFP_KERNEL),
			0);
	overlay_set_active(&b->o, sector, n);
	bench_mark(b, sector, n, MODEL_ACTIVE, &b->active);
}

/* What a capture of pages does that were not saved before; one leaf only. */
static inline struct leaf *bench_save(struct kunit *test, struct bench *b,
				      unsigned int page, unsigned int n,
				      void *held)
{
	unsigned long index = page / LEAF_PAGES;
	struct leaf *leaf;
	unsigned int i;

	KUNIT_ASSERT_EQ(test,
			overlay_get(&b->o, (sector_t)page << COW_PAGE_SHIFT,
				    held ? n : 0, GFP_KERNEL, &leaf), 0);
	for (i = page; i < page + n; i++) {
		overlay_set_slot(leaf, i % LEAF_PAGES, held);
		b->held[i] = held;
	}
	overlay_set_saved(&b->o, leaf, index, page % LEAF_PAGES, n);
	bench_mark(b, page << COW_PAGE_SHIFT, n << COW_PAGE_SHIFT, MODEL_SAVED,
		   &b->saved);
	return leaf;
}

/* What a checkpoint does. */
static inline void bench_new_epoch(struct bench *b)
{
	overlay_new_epoch(&b->o);
	memset(b->model, 0, b->sectors);
	b->active = 0;
	b->saved = 0;
}

static inline enum overlay_class bench_class(struct bench *b,
					     unsigned int sector)
{
	if (b->model[sector] & MODEL_ACTIVE)
		return OVERLAY_ACTIVE;
	return b->model[sector] & MODEL_SAVED ? OVERLAY_SAVED : OVERLAY_NONE;
}

static inline void bench_expect_counts(struct kunit *test, struct bench *b)
{
	KUNIT_ASSERT_EQ(test, (u64)atomic64_read(&b->o.active), b->active);
	KUNIT_ASSERT_EQ(test, (u64)atomic64_read(&b->o.saved), b->saved);
}

/* Whether bits lie in one word, so that one look must find them. */
static inline bool bench_in_word(unsigned int bit, unsigned int n)
{
	return bit / BITS_PER_LONG == (bit + n - 1) / BITS_PER_LONG;
}

/* One look at a range, of which the first @run sectors are of one class. */
static inline void bench_expect_look(struct kunit *test, struct bench *b,
				     unsigned int sector, unsigned int n,
				     unsigned int run)
{
	unsigned int at = sector & (STRETCH_SECTORS - 1);
	unsigned int page = at >> COW_PAGE_SHIFT;
	unsigned int pages = ((at + n - 1) >> COW_PAGE_SHIFT) - page + 1;
	enum overlay_class got = OVERLAY_NONE;
	struct leaf *leaf;

	if (at + n > STRETCH_SECTORS)
		return;
	rcu_read_lock();
	leaf = __overlay_find(&b->o, sector);
	if (leaf)
		got = overlay_look(&b->o, leaf, sector, n);
	rcu_read_unlock();
	if (run < n)
		KUNIT_ASSERT_EQ_MSG(test, got, OVERLAY_MIXED,
				    "look at %u+%u", sector, n);
	else if (got != OVERLAY_MIXED ||
		 (bench_in_word(at >> b->o.block_shift, n >> b->o.block_shift) &&
		  bench_in_word(page, pages)))
		KUNIT_ASSERT_EQ_MSG(test, got, bench_class(b, sector),
				    "look at %u+%u", sector, n);
}

/* All look-ups of a range against the model. */
static inline void bench_expect_range(struct kunit *test, struct bench *b,
				      unsigned int sector, unsigned int n)
{
	enum overlay_class want = bench_class(b, sector), got;
	unsigned int class_run = 1, any_run, run, other_run;
	bool any;

	while (class_run < n && bench_class(b, sector + class_run) == want)
		class_run++;
	any_run = class_run;
	while (any_run < n && (bench_class(b, sector + any_run) != OVERLAY_NONE)
	       == (want != OVERLAY_NONE))
		any_run++;

	rcu_read_lock();
	got = overlay_classify(&b->o, sector, n, &run);
	any = overlay_any(&b->o, sector, n, &other_run);
	rcu_read_unlock();
	KUNIT_ASSERT_EQ_MSG(test, got, want, "class of %u+%u", sector, n);
	KUNIT_ASSERT_EQ_MSG(test, run, class_run, "run of %u+%u", sector, n);
	bench_expect_look(test, b, sector, n, run);
	KUNIT_ASSERT_EQ_MSG(test, any, want != OVERLAY_NONE, "any of %u+%u",
			    sector, n);
	KUNIT_ASSERT_EQ_MSG(test, other_run, any_run, "any's run of %u+%u",
			    sector, n);
}

/* Whether a page must be captured. */
static inline bool bench_needs_saving(struct overlay *o, struct leaf *leaf,
				      unsigned long index, unsigned int page)
{
	unsigned int n;

	return overlay_unsaved(o, leaf, index, page, page + 1, &n) == page &&
	       n == 1;
}

/* The runs of pages that must be captured, against one page at a time. */
static inline void bench_expect_unsaved(struct kunit *test, struct bench *b,
					struct leaf *leaf, unsigned long index)
{
	unsigned int pages = min_t(unsigned int, LEAF_PAGES,
				   DIV_ROUND_UP(b->sectors - index *
						STRETCH_SECTORS,
						COW_PAGE_SECTORS));
	unsigned int page, want, first, n;

	for (page = 0; page < pages; page++) {
		want = page;
		while (want < pages &&
		       !bench_needs_saving(&b->o, leaf, index, want))
			want++;
		first = overlay_unsaved(&b->o, leaf, index, page, pages, &n);
		KUNIT_ASSERT_EQ_MSG(test, first, want, "unsaved from %u", page);
		for (want = first; want < pages; want++)
			if (!bench_needs_saving(&b->o, leaf, index, want))
				break;
		KUNIT_ASSERT_EQ_MSG(test, n, want - first, "run from %u", page);
	}
}

/* Ranges of every length from all over the device. */
static inline void bench_expect_all(struct kunit *test, struct bench *b)
{
	struct leaf *leaf;
	unsigned int s, n;

	for (s = 0; s < b->sectors; s += b->block) {
		bench_expect_range(test, b, s, b->block);
		n = min(b->sectors - s, (s % 37 + 1) * 2 * b->block);
		bench_expect_range(test, b, s, n);
	}
	for (s = 0; s < b->sectors; s += 61 * b->block)
		bench_expect_range(test, b, s, b->sectors - s);
	for (s = 0; s < b->sectors; s += STRETCH_SECTORS) {
		leaf = overlay_find(&b->o, s);
		if (leaf)
			bench_expect_unsaved(test, b, leaf,
					     s >> STRETCH_SHIFT);
	}
	bench_expect_counts(test, b);
}

static inline void bench_expect_held(struct kunit *test, struct bench *b,
				     unsigned int page)
{
	struct leaf *leaf;
	void *held;

	if (!(b->model[page << COW_PAGE_SHIFT] & MODEL_SAVED))
		return;
	rcu_read_lock();
	leaf = overlay_find(&b->o, (sector_t)page << COW_PAGE_SHIFT);
	held = leaf ? overlay_held(leaf, page % LEAF_PAGES) : ERR_PTR(-ENOENT);
	rcu_read_unlock();
	KUNIT_ASSERT_PTR_EQ_MSG(test, held, b->held[page], "page %u", page);
}

#endif
