// SPDX-License-Identifier: GPL-2.0-only
/*
 * The overlay against its model, at random; and when memory runs out.
 */

#include <linux/mm.h>
#include <linux/moduleparam.h>
#include <linux/prandom.h>
#include <linux/random.h>

#include "overlay_model.h"

#define STEPS	20000

static uint seed;
module_param(seed, uint, 0444);
MODULE_PARM_DESC(seed, "what equals_model_with_fresh_seed starts from");

static const struct geometry geometries[] = {
	{ "512-byte blocks", 5 * STRETCH_SECTORS, 0 },
	{ "512-byte blocks, a short page at the end",
	  3 * STRETCH_SECTORS + 7 * COW_PAGE_SECTORS + 1, 0 },
	{ "512-byte blocks, within one word", 37, 0 },
	{ "4096-byte blocks", 5 * STRETCH_SECTORS, 3 },
	{ "4096-byte blocks, a short leaf at the end",
	  3 * STRETCH_SECTORS + 9 * COW_PAGE_SECTORS, 3 },
};

static void geometry_name(const struct geometry *g, char *name)
{
	strscpy(name, g->name, KUNIT_PARAM_DESC_SIZE);
}

KUNIT_ARRAY_PARAM(geometry, geometries, geometry_name);

static char captures[16];	/* only their addresses count */

static int suite_begin(struct kunit_suite *suite)
{
	return overlay_setup();
}

static void suite_end(struct kunit_suite *suite)
{
	overlay_teardown();
}

static int bench_begin(struct kunit *test)
{
	const struct geometry *g = test->param_value;

	test->priv = bench_make(test, g ? g : &geometries[0]);
	return 0;
}

static void bench_end(struct kunit *test)
{
	struct bench *b = test->priv;

	if (b)
		overlay_exit(&b->o);
}

static u32 below(struct rnd_state *rnd, u32 limit)
{
	return prandom_u32_state(rnd) % limit;
}

/* A range of any length, often at, before or across a border. */
static unsigned int pick(struct rnd_state *rnd, struct bench *b,
			 unsigned int *n)
{
	unsigned int sector = below(rnd, b->sectors);

	if (below(rnd, 2)) {
		sector = round_down(sector, 1U << (6 + below(rnd, 6)));
		sector -= min(sector, below(rnd, 3) * b->block);
	}
	sector = round_down(sector, b->block);
	*n = 1 + below(rnd, 2U << below(rnd, STRETCH_SHIFT + 1));
	*n = min(round_up(*n, b->block), b->sectors - sector);
	return sector;
}

static void *pick_capture(struct rnd_state *rnd)
{
	unsigned int i = below(rnd, 2 * ARRAY_SIZE(captures));

	return i < ARRAY_SIZE(captures) ? &captures[i] : NULL;
}

static void view_write(struct kunit *test, struct rnd_state *rnd)
{
	struct bench *b = test->priv;
	unsigned int n, sector = pick(rnd, b, &n);

	bench_write(test, b, sector, n);
}

static bool model_needs_saving(struct bench *b, unsigned int page)
{
	unsigned int s = page << COW_PAGE_SHIFT;
	unsigned int end = min(s + COW_PAGE_SECTORS, b->sectors);

	if (b->model[s] & MODEL_SAVED)
		return false;
	while (s < end && b->model[s] & MODEL_ACTIVE)
		s++;
	return s < end;
}

/* How many pages from @page on must be saved, and are of one leaf. */
static unsigned int pages_to_save(struct kunit *test, unsigned int page,
				  unsigned int last, bool slots)
{
	struct bench *b = test->priv;
	unsigned int n = 0;
	struct leaf *leaf;
	bool needs;

	last = min_t(unsigned int, last, page | (LEAF_PAGES - 1));
	KUNIT_ASSERT_EQ(test, overlay_get(&b->o,
					  (sector_t)page << COW_PAGE_SHIFT,
					  slots ? last - page + 1 : 0,
					  GFP_KERNEL, &leaf), 0);
	for (; page + n <= last; n++) {
		needs = bench_needs_saving(&b->o, leaf, page / LEAF_PAGES,
					   (page + n) % LEAF_PAGES);
		KUNIT_ASSERT_EQ_MSG(test, needs,
				    model_needs_saving(b, page + n),
				    "page %u", page + n);
		if (!needs)
			break;
	}
	return n;
}

static void origin_write(struct kunit *test, struct rnd_state *rnd)
{
	struct bench *b = test->priv;
	unsigned int n, sector = pick(rnd, b, &n);
	unsigned int page = sector >> COW_PAGE_SHIFT;
	unsigned int last = (sector + n - 1) >> COW_PAGE_SHIFT;
	bool slots = below(rnd, 2);

	while (page <= last) {
		n = pages_to_save(test, page, last, slots);
		if (n)
			bench_save(test, b, page, n,
				   slots ? pick_capture(rnd) : NULL);
		page += max(n, 1U);
	}
}

static void spill(struct kunit *test, struct rnd_state *rnd)
{
	struct bench *b = test->priv;
	unsigned int page = below(rnd, bench_pages(b));
	struct leaf *leaf = overlay_find(&b->o, page << COW_PAGE_SHIFT);

	if (!leaf || !(b->model[page << COW_PAGE_SHIFT] & MODEL_SAVED))
		return;
	overlay_set_slot(leaf, page % LEAF_PAGES, NULL);
	b->held[page] = NULL;
}

static void reclaim(struct kunit *test, struct rnd_state *rnd)
{
	struct bench *b = test->priv;
	unsigned long index = below(rnd, 4);
	struct leaf *leaf = overlay_claim_stale(&b->o, &index), *found;
	unsigned int at, end;

	if (!leaf)
		return;
	at = index << STRETCH_SHIFT;
	end = min(at + STRETCH_SECTORS, b->sectors);
	KUNIT_ASSERT_LT(test, at, end);
	KUNIT_ASSERT_EQ(test, overlay_get(&b->o, at, 0, GFP_KERNEL,
					  &found), -EBUSY);
	bench_expect_range(test, b, at, end - at);
	overlay_drop_stale(&b->o, index, leaf);
	for (; at < end; at++)
		KUNIT_ASSERT_EQ(test, b->model[at], 0);
}

static void commit_leaf(struct kunit *test, struct rnd_state *rnd)
{
	struct bench *b = test->priv;
	unsigned long from = below(rnd, 4), index = from;
	struct leaf *leaf = overlay_next(&b->o, &index);
	unsigned int s, skipped = b->sectors;

	if (leaf)
		skipped = index << STRETCH_SHIFT;
	for (s = from << STRETCH_SHIFT; s < skipped; s++)
		KUNIT_ASSERT_EQ(test, b->model[s], 0);
	if (!leaf)
		return;
	overlay_lock_leaf(leaf);
	KUNIT_ASSERT_TRUE(test, overlay_leaf_idle(leaf));
	overlay_clear_leaf(&b->o, index, leaf);
	overlay_unlock_leaf(leaf);
	bench_unmark(b, skipped, STRETCH_SECTORS);
}

static void look(struct kunit *test, struct rnd_state *rnd)
{
	struct bench *b = test->priv;
	unsigned int n, sector = pick(rnd, b, &n);

	bench_expect_range(test, b, sector, n);
	bench_expect_held(test, b, sector >> COW_PAGE_SHIFT);
}

static void (* const deeds[])(struct kunit *test, struct rnd_state *rnd) = {
	view_write, view_write, origin_write, origin_write, spill, spill,
	look, look, look, look,
};

static void run_at_random(struct kunit *test, u32 from)
{
	struct bench *b = test->priv;
	struct rnd_state rnd;
	unsigned int i, rare;

	kunit_info(test, "seed %u", from);
	prandom_seed_state(&rnd, from);
	for (i = 0; i < STEPS; i++) {
		rare = below(&rnd, 300);
		if (rare == 0)
			bench_new_epoch(b);
		else if (rare < 4)
			reclaim(test, &rnd);
		else if (rare < 8)
			commit_leaf(test, &rnd);
		else
			deeds[below(&rnd, ARRAY_SIZE(deeds))](test, &rnd);
		bench_expect_counts(test, b);
		cond_resched();
	}
	bench_expect_all(test, b);
}

static void equals_model_with_known_seed(struct kunit *test)
{
	run_at_random(test, 20230);
}

static void equals_model_with_fresh_seed(struct kunit *test)
{
	run_at_random(test, seed ? seed : get_random_u32());
}

/* All pages there are, in lists by order; nothing is left for GFP_NOWAIT. */
static void take_all_memory(struct page **pages)
{
	int order;

	for (order = MAX_ORDER - 1; order >= 0; order--) {
		struct page *page;

		while ((page = alloc_pages(GFP_NOWAIT | __GFP_NOWARN, order))) {
			set_page_private(page, (unsigned long)pages[order]);
			pages[order] = page;
		}
	}
}

static void give_back_memory(struct page **pages)
{
	struct page *page;
	int order;

	for (order = 0; order < MAX_ORDER; order++) {
		while ((page = pages[order])) {
			pages[order] = (struct page *)page_private(page);
			set_page_private(page, 0);
			__free_pages(page, order);
		}
	}
}

/* So many pages that giving some back rises above what the kernel reserves. */
#define SPARE_ORDER	7

/* So far apart that each leaf needs a node of the xarray as well. */
#define FAR_APART	((sector_t)64 * STRETCH_SECTORS)

/* Makes leaves until memory is refused; returns where it was. */
static sector_t until_refused(struct overlay *o, sector_t s, bool slots, int *r)
{
	struct leaf *leaf;

	for (*r = 0; s < o->sectors; s += FAR_APART) {
		*r = overlay_get(o, s, slots ? LEAF_PAGES : 0, GFP_NOWAIT,
				 &leaf);
		if (!*r && slots && !overlay_has_slots(leaf, 0, LEAF_PAGES))
			*r = -EPROTO;	/* it said yes and has none */
		if (*r)
			break;
	}
	return s;
}

static void no_memory_is_an_error(struct kunit *test)
{
	struct page *pages[MAX_ORDER] = {}, *spare[16];
	struct bench *b = test->priv;
	struct overlay *o = &b->o;
	struct leaf *leaf;
	sector_t s = 0, at;
	int r[ARRAY_SIZE(spare)], i;
	long found = 0;

	KUNIT_ASSERT_EQ(test, overlay_configure(o, 1ULL << 40, 0), 0);
	for (i = 0; i < ARRAY_SIZE(spare); i++)
		spare[i] = alloc_pages(GFP_KERNEL, SPARE_ORDER);
	take_all_memory(pages);
	for (i = 0; i < ARRAY_SIZE(spare); i++) {
		s = until_refused(o, s, i & 1, &r[i]);
		if (spare[i])
			__free_pages(spare[i], SPARE_ORDER);
	}
	give_back_memory(pages);

	for (i = 0; i < ARRAY_SIZE(r); i++)
		KUNIT_EXPECT_EQ(test, r[i], -ENOMEM);
	for (at = 0; at <= s; at += FAR_APART)
		found += !!overlay_find(o, at);
	KUNIT_EXPECT_GT(test, found, 0);
	KUNIT_EXPECT_EQ(test, atomic_long_read(&o->nr_leaves), found);
	KUNIT_EXPECT_EQ(test, overlay_get(o, s, LEAF_PAGES, GFP_KERNEL, &leaf), 0);
	KUNIT_EXPECT_PTR_EQ(test, overlay_find(o, s), leaf);
	kunit_info(test, "refused %d times, %ld leaves made", i, found);
}

/* A leak of leaves or of slots would take 100 MiB, or more than there is. */
static void reclaim_gives_memory_back(struct kunit *test)
{
	struct bench *b = test->priv;
	unsigned long index, before;
	struct leaf *leaf;
	unsigned int round;
	sector_t s;

	KUNIT_ASSERT_EQ(test, overlay_configure(&b->o, 1ULL << 40, 0), 0);
	rcu_barrier();
	before = global_zone_page_state(NR_FREE_PAGES);
	for (round = 0; round < 50; round++) {
		for (s = 0; s < 1024 * STRETCH_SECTORS; s += STRETCH_SECTORS)
			KUNIT_ASSERT_EQ(test, overlay_get(&b->o, s, LEAF_PAGES,
							  GFP_KERNEL, &leaf),
					0);
		overlay_new_epoch(&b->o);
		index = 0;
		while ((leaf = overlay_claim_stale(&b->o, &index)))
			overlay_drop_stale(&b->o, index, leaf);
		KUNIT_ASSERT_EQ(test, overlay_bytes(&b->o), 0);
		rcu_barrier();
	}
	/* KASAN keeps back up to a thirty-second of memory. */
	KUNIT_EXPECT_GT(test, global_zone_page_state(NR_FREE_PAGES) +
			(48UL << 20 >> PAGE_SHIFT), before);
}

static struct kunit_case random_cases[] = {
	KUNIT_CASE_PARAM(equals_model_with_known_seed, geometry_gen_params),
	KUNIT_CASE_PARAM(equals_model_with_fresh_seed, geometry_gen_params),
	KUNIT_CASE(no_memory_is_an_error),
	KUNIT_CASE(reclaim_gives_memory_back),
	{}
};

static struct kunit_suite random_suite = {
	.name = "dm-replication-overlay-random",
	.suite_init = suite_begin,
	.suite_exit = suite_end,
	.init = bench_begin,
	.exit = bench_end,
	.test_cases = random_cases,
};

kunit_test_suite(random_suite);

MODULE_LICENSE("GPL");
