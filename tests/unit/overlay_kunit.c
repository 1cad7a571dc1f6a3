// SPDX-License-Identifier: GPL-2.0-only
/*
 * What each call of the overlay promises, one by one.
 */

#include "overlay_model.h"

static const struct geometry geometries[] = {
	{ "512-byte blocks, whole leaves", 4 * STRETCH_SECTORS, 0 },
	{ "512-byte blocks, a short page at the end",
	  2 * STRETCH_SECTORS + 5 * COW_PAGE_SECTORS + 3, 0 },
	{ "512-byte blocks, less than a page", 5, 0 },
	{ "4096-byte blocks, whole leaves", 4 * STRETCH_SECTORS, 3 },
	{ "4096-byte blocks, a short leaf at the end",
	  3 * STRETCH_SECTORS + 9 * COW_PAGE_SECTORS, 3 },
	{ "4096-byte blocks, one of them", COW_PAGE_SECTORS, 3 },
};

static void geometry_name(const struct geometry *g, char *name)
{
	strscpy(name, g->name, KUNIT_PARAM_DESC_SIZE);
}

KUNIT_ARRAY_PARAM(geometry, geometries, geometry_name);

static char page_a, page_b;	/* stand for captures; only their addresses count */

static int suite_begin(struct kunit_suite *suite)
{
	return overlay_setup();
}

/* A leaf that is left over makes the destruction of its cache complain. */
static void suite_end(struct kunit_suite *suite)
{
	overlay_teardown();
}

static int bench_begin(struct kunit *test)
{
	const struct geometry *g = test->param_value;

	test->priv = bench_make(test, g ? g : &geometries[1]);
	return 0;
}

static void bench_end(struct kunit *test)
{
	struct bench *b = test->priv;

	if (!b)
		return;
	overlay_exit(&b->o);
	KUNIT_EXPECT_EQ(test, overlay_bytes(&b->o), 0);
}

/* Sets a leaf up whose every block is active and every page saved and held. */
static struct leaf *fill_leaf(struct kunit *test, struct bench *b,
			      unsigned int index)
{
	unsigned int at = index * STRETCH_SECTORS;
	unsigned int n = min(STRETCH_SECTORS, b->sectors - at);

	bench_write(test, b, at, n);
	return bench_save(test, b, index * LEAF_PAGES,
			  DIV_ROUND_UP(n, COW_PAGE_SECTORS), &page_a);
}

static void new_overlay_is_empty(struct kunit *test)
{
	struct bench *b = test->priv;
	unsigned long index = 0;

	KUNIT_EXPECT_NULL(test, overlay_find(&b->o, 0));
	KUNIT_EXPECT_NULL(test, overlay_find(&b->o, b->sectors - 1));
	KUNIT_EXPECT_NULL(test, overlay_next(&b->o, &index));
	index = 0;
	KUNIT_EXPECT_NULL(test, overlay_claim_stale(&b->o, &index));
	KUNIT_EXPECT_EQ(test, overlay_bytes(&b->o), 0);
	bench_expect_all(test, b);
}

static void configure_checks_the_block(struct kunit *test)
{
	struct bench *b = test->priv;
	unsigned int shift, other = b->o.block_shift ^ COW_PAGE_SHIFT;

	for (shift = 1; shift < 10; shift++)
		if (shift != COW_PAGE_SHIFT)
			KUNIT_EXPECT_EQ(test, overlay_configure(&b->o, 64,
								shift),
					-EINVAL);
	fill_leaf(test, b, 0);
	KUNIT_EXPECT_EQ(test, overlay_configure(&b->o, 64, other), 0);
	KUNIT_EXPECT_NULL(test, overlay_find(&b->o, 0));
	KUNIT_EXPECT_EQ(test, overlay_bytes(&b->o), 0);
	KUNIT_EXPECT_EQ(test, atomic64_read(&b->o.active), 0);
	KUNIT_EXPECT_EQ(test, atomic64_read(&b->o.saved), 0);
	KUNIT_ASSERT_EQ(test, overlay_get_range(&b->o, 0, 64, GFP_KERNEL), 0);
	overlay_set_active(&b->o, 0, 8);
	KUNIT_EXPECT_EQ(test, atomic64_read(&b->o.active), 8);
}

static void get_makes_one_leaf_a_stretch(struct kunit *test)
{
	struct leaf *first, *again, *other = NULL;
	struct bench *b = test->priv;
	sector_t s;

	KUNIT_ASSERT_EQ(test, overlay_get(&b->o, 0, 0, GFP_KERNEL, &first),
			0);
	KUNIT_ASSERT_NOT_NULL(test, first);
	for (s = 0; s < min(b->sectors, STRETCH_SECTORS); s += b->block) {
		KUNIT_ASSERT_EQ(test, overlay_get(&b->o, s, 0, GFP_NOWAIT,
						  &again), 0);
		KUNIT_ASSERT_PTR_EQ(test, again, first);
		KUNIT_ASSERT_PTR_EQ(test, overlay_find(&b->o, s), first);
	}
	KUNIT_EXPECT_EQ(test, atomic_long_read(&b->o.nr_leaves), 1);
	if (b->sectors > STRETCH_SECTORS) {
		KUNIT_EXPECT_NULL(test, overlay_find(&b->o, STRETCH_SECTORS));
		KUNIT_ASSERT_EQ(test, overlay_get(&b->o, STRETCH_SECTORS, 0,
						  GFP_NOWAIT, &other), 0);
		KUNIT_EXPECT_PTR_NE(test, other, first);
		KUNIT_EXPECT_EQ(test, atomic_long_read(&b->o.nr_leaves), 2);
	}
	bench_expect_all(test, b);
}

static void get_range_makes_every_leaf(struct kunit *test)
{
	struct bench *b = test->priv;
	unsigned int i, leaves = DIV_ROUND_UP(b->sectors, STRETCH_SECTORS);

	if (leaves > 2) {
		KUNIT_ASSERT_EQ(test, overlay_get_range(&b->o,
							STRETCH_SECTORS - 8,
							16, GFP_KERNEL), 0);
		KUNIT_EXPECT_EQ(test, atomic_long_read(&b->o.nr_leaves), 2);
		KUNIT_EXPECT_NULL(test, overlay_find(&b->o,
						     2 * STRETCH_SECTORS));
	}
	KUNIT_ASSERT_EQ(test, overlay_get_range(&b->o, 0, b->sectors,
						GFP_KERNEL), 0);
	KUNIT_EXPECT_EQ(test, atomic_long_read(&b->o.nr_leaves), leaves);
	for (i = 0; i < leaves; i++)
		KUNIT_EXPECT_NOT_NULL(test, overlay_find(&b->o,
							 i * STRETCH_SECTORS));
}

/* One run laid over each kind of border, as active and as saved. */
static void runs_end_where_they_should(struct kunit *test)
{
	static const unsigned int borders[] = {
		COW_PAGE_SECTORS, BITS_PER_LONG, 2 * BITS_PER_LONG,
		BITS_PER_LONG * COW_PAGE_SECTORS,
		STRETCH_SECTORS - BITS_PER_LONG, STRETCH_SECTORS,
		2 * STRETCH_SECTORS, UINT_MAX,
	};
	unsigned int i, from, to, border;
	struct bench *b = test->priv;
	int before, after;

	for (i = 0; i < ARRAY_SIZE(borders); i++) {
		border = min(borders[i], b->sectors);
		for (before = 0; before <= 2; before++) {
			for (after = 0; after <= 2; after++) {
				from = max_t(int, 0, border - before * b->block);
				to = min(b->sectors, border + after * b->block);
				from = round_down(from, b->block);
				to = round_down(to, b->block);
				if (from >= to)
					continue;
				bench_write(test, b, from, to - from);
				bench_expect_all(test, b);
				bench_new_epoch(b);
			}
		}
	}
}

static void saved_runs_end_where_they_should(struct kunit *test)
{
	static const unsigned int borders[] = {
		1, BITS_PER_LONG, LEAF_PAGES - 1, LEAF_PAGES, 2 * LEAF_PAGES,
		UINT_MAX,
	};
	unsigned int i, page, from, to, border;
	struct bench *b = test->priv;

	for (i = 0; i < ARRAY_SIZE(borders); i++) {
		border = min(borders[i], bench_pages(b));
		from = border > 2 ? border - 2 : 0;
		to = min(bench_pages(b), border + 2);
		for (page = from; page < to; page++) {
			bench_save(test, b, page, 1, &page_a);
			bench_expect_all(test, b);
		}
		bench_new_epoch(b);
	}
}

static void active_hides_saved(struct kunit *test)
{
	struct bench *b = test->priv;
	unsigned int s, last = bench_pages(b) - 1;

	bench_save(test, b, 0, 1, &page_a);
	if (last)
		bench_save(test, b, last, 1, &page_a);
	bench_expect_all(test, b);
	for (s = 0; s < b->sectors; s += 3 * b->block)
		bench_write(test, b, s, b->block);
	bench_expect_all(test, b);
	bench_write(test, b, 0, b->sectors);
	bench_expect_all(test, b);
}

static void blocks_are_counted_once(struct kunit *test)
{
	struct bench *b = test->priv;
	unsigned int half = round_up(b->sectors / 2, b->block);

	bench_write(test, b, 0, half);
	bench_expect_counts(test, b);
	bench_write(test, b, 0, half);
	bench_expect_counts(test, b);
	bench_write(test, b, 0, b->sectors);
	bench_expect_counts(test, b);
	KUNIT_EXPECT_EQ(test, atomic64_read(&b->o.active), b->sectors);
	fill_leaf(test, b, (b->sectors - 1) / STRETCH_SECTORS);
	bench_expect_counts(test, b);
}

static void needs_saving_until_saved_or_covered(struct kunit *test)
{
	struct bench *b = test->priv;
	unsigned int page = bench_pages(b) - 1, s = page << COW_PAGE_SHIFT;
	unsigned long index = page / LEAF_PAGES;
	unsigned int in_leaf = page % LEAF_PAGES;
	struct leaf *leaf = NULL;

	for (; s < b->sectors; s += b->block) {
		KUNIT_ASSERT_EQ(test, overlay_get(&b->o, s, 0, GFP_KERNEL,
						  &leaf), 0);
		KUNIT_EXPECT_TRUE_MSG(test,
				      bench_needs_saving(&b->o, leaf, index,
							 in_leaf),
				      "active up to sector %u", s);
		bench_write(test, b, s, b->block);
	}
	KUNIT_EXPECT_FALSE(test, bench_needs_saving(&b->o, leaf, index,
						    in_leaf));
	bench_new_epoch(b);
	leaf = bench_save(test, b, page, 1, NULL);
	KUNIT_EXPECT_FALSE(test, bench_needs_saving(&b->o, leaf, index,
						    in_leaf));
	if (in_leaf)
		KUNIT_EXPECT_TRUE(test, bench_needs_saving(&b->o, leaf, index,
							   in_leaf - 1));
}

static void slots_say_what_is_held(struct kunit *test)
{
	struct bench *b = test->priv;
	unsigned int page = bench_pages(b) - 1, in_leaf = page % LEAF_PAGES;
	struct leaf *leaf;

	KUNIT_ASSERT_EQ(test, overlay_get(&b->o, b->sectors - 1, 0,
					  GFP_KERNEL, &leaf), 0);
	rcu_read_lock();
	KUNIT_EXPECT_NULL(test, overlay_held(leaf, in_leaf));
	overlay_set_slot(leaf, in_leaf, NULL);	/* without slots: nothing */
	rcu_read_unlock();
	KUNIT_EXPECT_EQ(test, atomic_long_read(&b->o.nr_slots), 0);

	leaf = bench_save(test, b, page, 1, &page_a);
	KUNIT_EXPECT_EQ(test, atomic_long_read(&b->o.nr_slots), 1);
	rcu_read_lock();
	KUNIT_EXPECT_PTR_EQ(test, overlay_held(leaf, in_leaf), (void *)&page_a);
	if (in_leaf)
		KUNIT_EXPECT_NULL(test, overlay_held(leaf, in_leaf - 1));
	overlay_set_slot(leaf, in_leaf, &page_b);
	KUNIT_EXPECT_PTR_EQ(test, overlay_held(leaf, in_leaf), (void *)&page_b);
	overlay_set_slot(leaf, in_leaf, NULL);
	KUNIT_EXPECT_NULL(test, overlay_held(leaf, in_leaf));
	rcu_read_unlock();
	bench_expect_all(test, b);
}

static void slots_are_made_once(struct kunit *test)
{
	struct bench *b = test->priv;
	struct leaf *leaf, *again;
	void *slots;

	KUNIT_ASSERT_EQ(test, overlay_get(&b->o, 0, LEAF_PAGES, GFP_KERNEL,
					  &leaf), 0);
	slots = leaf->slots[0];
	KUNIT_ASSERT_NOT_NULL(test, slots);
	KUNIT_ASSERT_EQ(test, overlay_get(&b->o, 0, LEAF_PAGES, GFP_KERNEL,
					  &again), 0);
	KUNIT_EXPECT_PTR_EQ(test, again, leaf);
	KUNIT_EXPECT_PTR_EQ(test, (void *)leaf->slots[0], slots);
	KUNIT_EXPECT_EQ(test, atomic_long_read(&b->o.nr_slots),
			NR_SLOT_ARRAYS);
}

static void new_epoch_empties_both_sets(struct kunit *test)
{
	unsigned int i, leaves;
	struct bench *b = test->priv;
	unsigned long epoch = b->o.epoch, index = 0;
	size_t bytes;

	leaves = DIV_ROUND_UP(b->sectors, STRETCH_SECTORS);
	for (i = 0; i < leaves; i++)
		fill_leaf(test, b, i);
	bench_expect_all(test, b);
	bytes = overlay_bytes(&b->o);

	bench_new_epoch(b);
	KUNIT_EXPECT_EQ(test, b->o.epoch, epoch + 1);
	KUNIT_EXPECT_NULL(test, overlay_next(&b->o, &index));
	for (i = 0; i < leaves; i++)
		KUNIT_EXPECT_NULL(test, overlay_find(&b->o,
						     i * STRETCH_SECTORS));
	KUNIT_EXPECT_EQ(test, overlay_bytes(&b->o), bytes);
	bench_expect_all(test, b);
}

static void stale_leaf_is_reused_empty(struct kunit *test)
{
	struct bench *b = test->priv;
	struct leaf *leaf, *again;
	unsigned int page;
	size_t bytes;

	leaf = fill_leaf(test, b, 0);
	bytes = overlay_bytes(&b->o);
	bench_new_epoch(b);
	KUNIT_ASSERT_EQ(test, overlay_get(&b->o, 0, 0, GFP_KERNEL, &again),
			0);
	KUNIT_EXPECT_PTR_EQ(test, again, leaf);
	KUNIT_EXPECT_EQ(test, again->epoch, b->o.epoch);
	KUNIT_EXPECT_EQ(test, overlay_bytes(&b->o), bytes);
	bench_expect_all(test, b);
	for (page = 0; page < min(LEAF_PAGES, bench_pages(b)); page++)
		KUNIT_EXPECT_TRUE(test, bench_needs_saving(&b->o, again, 0,
							   page));
	bench_write(test, b, 0, b->block);
	KUNIT_ASSERT_EQ(test, overlay_get(&b->o, 0, LEAF_PAGES, GFP_KERNEL,
					  &again), 0);
	bench_expect_all(test, b);
}

static void renewed_leaf_has_no_writers(struct kunit *test)
{
	struct bench *b = test->priv;
	struct leaf *leaf;

	/* A write of the view that a commit's end overtakes. */
	bench_write(test, b, 0, b->block);
	KUNIT_EXPECT_TRUE(test, overlay_enter(&b->o, 0, b->block));
	bench_new_epoch(b);
	overlay_leave(&b->o, 0, b->block);

	KUNIT_ASSERT_EQ(test, overlay_get(&b->o, 0, 0, GFP_KERNEL, &leaf),
			0);
	KUNIT_EXPECT_TRUE(test, overlay_leaf_idle(leaf));
	KUNIT_EXPECT_TRUE(test, overlay_enter(&b->o, 0, b->block));
	KUNIT_EXPECT_FALSE(test, overlay_leave(&b->o, 0, b->block));
	KUNIT_EXPECT_TRUE(test, overlay_leaf_idle(leaf));
}

static void other_leaves_stay_stale(struct kunit *test)
{
	struct bench *b = test->priv;

	fill_leaf(test, b, 0);
	fill_leaf(test, b, 1);
	bench_new_epoch(b);
	bench_write(test, b, STRETCH_SECTORS, 1);
	KUNIT_EXPECT_NULL(test, overlay_find(&b->o, 0));
	bench_expect_all(test, b);
	bench_new_epoch(b);
	bench_new_epoch(b);
	bench_write(test, b, 0, 1);
	KUNIT_EXPECT_NULL(test, overlay_find(&b->o, STRETCH_SECTORS));
	bench_expect_all(test, b);
}

static void claimed_leaf_is_busy(struct kunit *test)
{
	struct bench *b = test->priv;
	struct leaf *leaf, *claimed, *found;
	unsigned long index = 0;

	leaf = fill_leaf(test, b, 0);
	KUNIT_EXPECT_NULL(test, overlay_claim_stale(&b->o, &index));
	bench_new_epoch(b);

	index = 0;
	claimed = overlay_claim_stale(&b->o, &index);
	KUNIT_ASSERT_PTR_EQ(test, claimed, leaf);
	KUNIT_EXPECT_EQ(test, index, 0);
	KUNIT_EXPECT_EQ(test, overlay_get(&b->o, 0, 0, GFP_KERNEL, &found),
			-EBUSY);
	KUNIT_EXPECT_EQ(test, overlay_get(&b->o, 0, LEAF_PAGES, GFP_NOWAIT,
					  &found), -EBUSY);
	KUNIT_EXPECT_EQ(test, overlay_get_range(&b->o, 0, b->sectors,
						GFP_KERNEL), -EBUSY);
	KUNIT_EXPECT_NULL(test, overlay_find(&b->o, 0));
	KUNIT_EXPECT_NE(test, claimed->epoch, b->o.epoch);
	bench_expect_all(test, b);

	overlay_drop_stale(&b->o, index, claimed);
	KUNIT_EXPECT_EQ(test, overlay_bytes(&b->o), 0);
	bench_write(test, b, 0, b->block);
	KUNIT_EXPECT_EQ(test, atomic_long_read(&b->o.nr_leaves), 1);
	bench_expect_all(test, b);
}

static void reclaim_takes_stale_leaves_only(struct kunit *test)
{
	struct bench *b = test->priv;
	unsigned long index = 0;
	struct leaf *claimed;

	fill_leaf(test, b, 0);
	fill_leaf(test, b, 1);
	fill_leaf(test, b, 2);
	bench_new_epoch(b);
	fill_leaf(test, b, 1);

	claimed = overlay_claim_stale(&b->o, &index);
	KUNIT_ASSERT_NOT_NULL(test, claimed);
	KUNIT_EXPECT_EQ(test, index, 0);
	overlay_drop_stale(&b->o, index, claimed);
	claimed = overlay_claim_stale(&b->o, &index);
	KUNIT_ASSERT_NOT_NULL(test, claimed);
	KUNIT_EXPECT_EQ(test, index, 2);
	overlay_drop_stale(&b->o, index, claimed);
	KUNIT_EXPECT_NULL(test, overlay_claim_stale(&b->o, &index));

	KUNIT_EXPECT_EQ(test, atomic_long_read(&b->o.nr_leaves), 1);
	KUNIT_EXPECT_EQ(test, atomic_long_read(&b->o.nr_slots),
			NR_SLOT_ARRAYS);
	bench_expect_all(test, b);
}

static void reclaim_takes_a_stretch_by_number(struct kunit *test)
{
	struct bench *b = test->priv;
	struct leaf *leaf, *found;

	KUNIT_EXPECT_NULL(test, overlay_claim_stale_at(&b->o, 0));
	fill_leaf(test, b, 0);
	leaf = fill_leaf(test, b, 1);
	KUNIT_EXPECT_NULL(test, overlay_claim_stale_at(&b->o, 1));
	bench_new_epoch(b);
	fill_leaf(test, b, 0);
	KUNIT_EXPECT_NULL(test, overlay_claim_stale_at(&b->o, 0));
	KUNIT_EXPECT_NULL(test, overlay_claim_stale_at(&b->o, 2));

	KUNIT_ASSERT_PTR_EQ(test, overlay_claim_stale_at(&b->o, 1), leaf);
	KUNIT_EXPECT_EQ(test, overlay_get(&b->o, STRETCH_SECTORS, 0,
					  GFP_KERNEL, &found), -EBUSY);
	KUNIT_EXPECT_EQ(test, overlay_get(&b->o, 0, 0, GFP_KERNEL, &found),
			0);
	overlay_drop_stale(&b->o, 1, leaf);
	KUNIT_EXPECT_NULL(test, overlay_claim_stale_at(&b->o, 1));
	KUNIT_EXPECT_EQ(test, atomic_long_read(&b->o.nr_leaves), 1);
	bench_expect_all(test, b);
}

/* KASAN sees the access if the leaf or its slots are gone too early. */
static void dropped_leaf_lives_until_its_readers_end(struct kunit *test)
{
	struct bench *b = test->priv;
	unsigned long index = 0;
	struct leaf *leaf;

	leaf = fill_leaf(test, b, 0);
	bench_new_epoch(b);
	KUNIT_ASSERT_PTR_EQ(test, overlay_claim_stale(&b->o, &index), leaf);
	rcu_read_lock();
	overlay_drop_stale(&b->o, index, leaf);
	KUNIT_EXPECT_TRUE(test, test_bit(0, leaf->saved));
	KUNIT_EXPECT_PTR_EQ(test, overlay_held(leaf, 0), (void *)&page_a);
	rcu_read_unlock();
}

static void walk_is_ascending_and_skips_empty(struct kunit *test)
{
	struct bench *b = test->priv;
	unsigned long index = 0;
	struct leaf *first, *last;

	KUNIT_ASSERT_EQ(test, overlay_get_range(&b->o, 0, b->sectors,
						GFP_KERNEL), 0);
	KUNIT_EXPECT_NULL(test, overlay_next(&b->o, &index));

	/* From the end on, one with a saved page, one with an active block. */
	last = bench_save(test, b, bench_pages(b) - 1, 1, NULL);
	bench_write(test, b, STRETCH_SECTORS - 1, 1);
	first = overlay_find(&b->o, 0);
	index = 0;
	KUNIT_EXPECT_PTR_EQ(test, overlay_next(&b->o, &index), first);
	KUNIT_EXPECT_EQ(test, index, 0);
	KUNIT_EXPECT_PTR_EQ(test, overlay_next(&b->o, &index), first);
	index++;
	KUNIT_EXPECT_PTR_EQ(test, overlay_next(&b->o, &index), last);
	KUNIT_EXPECT_EQ(test, index, 2);
	index++;
	KUNIT_EXPECT_NULL(test, overlay_next(&b->o, &index));

	bench_new_epoch(b);
	bench_write(test, b, STRETCH_SECTORS, 1);
	index = 0;
	KUNIT_EXPECT_NOT_NULL(test, overlay_next(&b->o, &index));
	KUNIT_EXPECT_EQ(test, index, 1);
}

static void enter_counts_into_every_leaf(struct kunit *test)
{
	unsigned int at = STRETCH_SECTORS - 4, n = STRETCH_SECTORS + 8;
	struct bench *b = test->priv;
	struct leaf *leaf[3];
	unsigned int i;

	bench_write(test, b, 0, b->sectors);
	for (i = 0; i < 3; i++)
		leaf[i] = overlay_find(&b->o, i * STRETCH_SECTORS);
	KUNIT_EXPECT_TRUE(test, overlay_enter(&b->o, at, n));
	KUNIT_EXPECT_TRUE(test, overlay_enter(&b->o, at, 4));
	for (i = 0; i < 3; i++) {
		overlay_lock_leaf(leaf[i]);
		KUNIT_EXPECT_FALSE(test, overlay_leaf_idle(leaf[i]));
	}
	KUNIT_EXPECT_TRUE(test, overlay_leave(&b->o, at, n));
	KUNIT_EXPECT_FALSE(test, overlay_leaf_idle(leaf[0]));
	KUNIT_EXPECT_TRUE(test, overlay_leaf_idle(leaf[1]));
	KUNIT_EXPECT_TRUE(test, overlay_leaf_idle(leaf[2]));
	KUNIT_EXPECT_TRUE(test, overlay_leave(&b->o, at, 4));
	KUNIT_EXPECT_TRUE(test, overlay_leaf_idle(leaf[0]));
}

static void locked_leaf_turns_writers_away(struct kunit *test)
{
	struct bench *b = test->priv;
	struct leaf *leaf;
	unsigned int i;

	bench_write(test, b, 0, b->sectors);
	for (i = 0; i < 3; i++) {
		leaf = overlay_find(&b->o, i * STRETCH_SECTORS);
		overlay_lock_leaf(leaf);
		KUNIT_EXPECT_TRUE(test, overlay_leaf_idle(leaf));
		KUNIT_EXPECT_FALSE(test, overlay_enter(&b->o, 0, b->sectors));
		KUNIT_EXPECT_FALSE(test, overlay_leaf_idle(leaf));
		KUNIT_EXPECT_TRUE(test, overlay_leave(&b->o, 0, b->sectors));
		KUNIT_EXPECT_TRUE(test, overlay_leaf_idle(leaf));
		overlay_unlock_leaf(leaf);
		KUNIT_EXPECT_TRUE(test, overlay_enter(&b->o, 0, b->sectors));
		KUNIT_EXPECT_FALSE(test, overlay_leave(&b->o, 0, b->sectors));
	}
}

static void writes_without_leaves_pass_a_commit(struct kunit *test)
{
	struct bench *b = test->priv;

	KUNIT_EXPECT_TRUE(test, overlay_enter(&b->o, 0, b->sectors));
	KUNIT_EXPECT_FALSE(test, overlay_leave(&b->o, 0, b->sectors));
	KUNIT_EXPECT_EQ(test, overlay_bytes(&b->o), 0);
}

static void clear_empties_one_leaf(struct kunit *test)
{
	struct bench *b = test->priv;
	unsigned int leaves = DIV_ROUND_UP(b->sectors, STRETCH_SECTORS);
	unsigned long index = 0;
	struct leaf *leaf;
	unsigned int i;

	for (i = 0; i < leaves; i++)
		fill_leaf(test, b, i);
	/* The last first: it is the one that may be short. */
	for (i = leaves; i-- > 0;) {
		leaf = overlay_find(&b->o, i * STRETCH_SECTORS);
		overlay_lock_leaf(leaf);
		overlay_clear_leaf(&b->o, i, leaf);
		overlay_unlock_leaf(leaf);
		bench_unmark(b, i * STRETCH_SECTORS, STRETCH_SECTORS);
		bench_expect_all(test, b);
		/* Who saw the saved bit may still copy from the slot. */
		rcu_read_lock();
		KUNIT_EXPECT_PTR_EQ(test, overlay_held(leaf, 0),
				    (void *)&page_a);
		rcu_read_unlock();
	}
	KUNIT_EXPECT_NULL(test, overlay_next(&b->o, &index));
	KUNIT_EXPECT_EQ(test, atomic64_read(&b->o.active), 0);
	KUNIT_EXPECT_EQ(test, atomic64_read(&b->o.saved), 0);
}

static void clear_counts_what_was_set(struct kunit *test)
{
	struct bench *b = test->priv;
	unsigned int last = bench_pages(b) - 1;
	unsigned long index = last / LEAF_PAGES;
	struct leaf *leaf;

	/* A leaf that is partly filled, in both sets. */
	bench_write(test, b, (b->sectors - 1) / b->block * b->block, b->block);
	leaf = bench_save(test, b, last, 1, NULL);
	if (last % LEAF_PAGES > 2)
		bench_save(test, b, last - 2, 1, NULL);
	bench_expect_counts(test, b);
	overlay_clear_leaf(&b->o, index, leaf);
	bench_unmark(b, index * STRETCH_SECTORS, STRETCH_SECTORS);
	bench_expect_all(test, b);
	/* Nothing twice. */
	overlay_clear_leaf(&b->o, index, leaf);
	bench_expect_all(test, b);
}

static void memory_is_accounted(struct kunit *test)
{
	struct bench *b = test->priv;
	unsigned int blocks = STRETCH_SECTORS >> b->o.block_shift;
	struct leaf *leaf;
	size_t one, both;

	KUNIT_ASSERT_EQ(test, overlay_get(&b->o, 0, 0, GFP_KERNEL, &leaf),
			0);
	one = overlay_bytes(&b->o);
	KUNIT_EXPECT_EQ(test, one, sizeof(*leaf) + blocks / BITS_PER_BYTE);
	KUNIT_ASSERT_EQ(test, overlay_get(&b->o, 0, LEAF_PAGES, GFP_KERNEL,
					  &leaf), 0);
	both = overlay_bytes(&b->o);
	KUNIT_EXPECT_EQ(test, both - one, LEAF_PAGES * sizeof(void *));
	bench_new_epoch(b);
	KUNIT_EXPECT_EQ(test, overlay_bytes(&b->o), both);
	overlay_exit(&b->o);
	KUNIT_EXPECT_EQ(test, overlay_bytes(&b->o), 0);
}

/* Far beyond 32 bits of sectors, and of bytes. */
static void large_devices_have_no_aliases(struct kunit *test)
{
	static const sector_t at[] = {
		0, 1ULL << 23, 1ULL << 32, 1ULL << 43, (1ULL << 44) - 8,
	};
	struct bench *b = test->priv;
	unsigned long index = 0;
	unsigned int i, j, run;
	struct leaf *leaf;

	KUNIT_ASSERT_EQ(test, overlay_configure(&b->o, 1ULL << 44, 0), 0);
	for (i = 0; i < ARRAY_SIZE(at); i++) {
		KUNIT_ASSERT_EQ(test, overlay_get_range(&b->o, at[i], 8,
							GFP_KERNEL), 0);
		overlay_set_active(&b->o, at[i], 8);
		for (j = 0; j < ARRAY_SIZE(at); j++) {
			rcu_read_lock();
			KUNIT_EXPECT_EQ(test, overlay_classify(&b->o, at[j], 8,
							       &run),
					j <= i ? OVERLAY_ACTIVE : OVERLAY_NONE);
			rcu_read_unlock();
			KUNIT_EXPECT_EQ(test, run, 8);
		}
	}
	for (i = 0; i < ARRAY_SIZE(at); i++, index++) {
		leaf = overlay_next(&b->o, &index);
		KUNIT_ASSERT_NOT_NULL(test, leaf);
		KUNIT_EXPECT_EQ(test, index, at[i] >> STRETCH_SHIFT);
	}
	KUNIT_EXPECT_EQ(test, atomic64_read(&b->o.active), 8 * ARRAY_SIZE(at));
}

/* A lost leaf that was written anew and committed is like any other one. */
static void clear_ends_what_was_lost(struct kunit *test)
{
	u64 active[OVERLAY_ACTIVE_WORDS] = { }, saved[OVERLAY_SAVED_WORDS] = { };
	struct bench *b = test->priv;
	unsigned int n = min(STRETCH_SECTORS, b->sectors), run;
	struct leaf *leaf;

	b->o.durable = true;
	KUNIT_ASSERT_EQ(test, overlay_import(&b->o, 0, active, saved, true), 0);
	leaf = overlay_find(&b->o, 0);
	KUNIT_ASSERT_NOT_NULL(test, leaf);
	rcu_read_lock();
	KUNIT_EXPECT_EQ(test, overlay_classify(&b->o, 0, n, &run),
			OVERLAY_LOST);
	rcu_read_unlock();
	overlay_set_active(&b->o, 0, n);
	overlay_lock_leaf(leaf);
	overlay_clear_leaf(&b->o, 0, leaf);
	overlay_unlock_leaf(leaf);
	rcu_read_lock();
	KUNIT_EXPECT_EQ(test, overlay_classify(&b->o, 0, n, &run),
			OVERLAY_NONE);
	rcu_read_unlock();
	KUNIT_EXPECT_EQ(test, run, n);
	KUNIT_EXPECT_FALSE(test, overlay_export(&b->o, 0, active, saved));
}

/* Two writes of one block: whichever is flushed first finds it unrecorded. */
static void bits_are_news_until_recorded(struct kunit *test)
{
	u64 active[OVERLAY_ACTIVE_WORDS] = { };
	struct bench *b = test->priv;
	unsigned int n = min(STRETCH_SECTORS, b->sectors);
	unsigned int block = 1 << b->o.block_shift;

	b->o.durable = true;
	KUNIT_ASSERT_EQ(test, overlay_get_range(&b->o, 0, n, GFP_KERNEL), 0);
	KUNIT_EXPECT_TRUE(test, overlay_set_active(&b->o, 0, block));
	KUNIT_EXPECT_TRUE(test, overlay_set_active(&b->o, 0, block));
	KUNIT_ASSERT_TRUE(test, overlay_export_active(&b->o, 0, active));
	overlay_keep_active(&b->o, 0, active);
	KUNIT_EXPECT_FALSE(test, overlay_set_active(&b->o, 0, block));
	if (n > block)
		KUNIT_EXPECT_TRUE(test, overlay_set_active(&b->o, 0, n));
	KUNIT_EXPECT_EQ(test, atomic64_read(&b->o.active), n);
	b->o.durable = false;
	KUNIT_EXPECT_FALSE(test, overlay_set_active(&b->o, 0, n));
}

static struct kunit_case overlay_cases[] = {
	KUNIT_CASE_PARAM(new_overlay_is_empty, geometry_gen_params),
	KUNIT_CASE_PARAM(configure_checks_the_block, geometry_gen_params),
	KUNIT_CASE_PARAM(get_makes_one_leaf_a_stretch, geometry_gen_params),
	KUNIT_CASE_PARAM(get_range_makes_every_leaf, geometry_gen_params),
	KUNIT_CASE_PARAM(runs_end_where_they_should, geometry_gen_params),
	KUNIT_CASE_PARAM(saved_runs_end_where_they_should, geometry_gen_params),
	KUNIT_CASE_PARAM(active_hides_saved, geometry_gen_params),
	KUNIT_CASE_PARAM(blocks_are_counted_once, geometry_gen_params),
	KUNIT_CASE_PARAM(needs_saving_until_saved_or_covered,
			 geometry_gen_params),
	KUNIT_CASE_PARAM(slots_say_what_is_held, geometry_gen_params),
	KUNIT_CASE(slots_are_made_once),
	KUNIT_CASE_PARAM(new_epoch_empties_both_sets, geometry_gen_params),
	KUNIT_CASE_PARAM(stale_leaf_is_reused_empty, geometry_gen_params),
	KUNIT_CASE_PARAM(renewed_leaf_has_no_writers, geometry_gen_params),
	KUNIT_CASE(other_leaves_stay_stale),
	KUNIT_CASE_PARAM(claimed_leaf_is_busy, geometry_gen_params),
	KUNIT_CASE(reclaim_takes_stale_leaves_only),
	KUNIT_CASE(reclaim_takes_a_stretch_by_number),
	KUNIT_CASE(dropped_leaf_lives_until_its_readers_end),
	KUNIT_CASE(walk_is_ascending_and_skips_empty),
	KUNIT_CASE(enter_counts_into_every_leaf),
	KUNIT_CASE(locked_leaf_turns_writers_away),
	KUNIT_CASE(writes_without_leaves_pass_a_commit),
	KUNIT_CASE_PARAM(clear_empties_one_leaf, geometry_gen_params),
	KUNIT_CASE_PARAM(clear_counts_what_was_set, geometry_gen_params),
	KUNIT_CASE_PARAM(memory_is_accounted, geometry_gen_params),
	KUNIT_CASE(large_devices_have_no_aliases),
	KUNIT_CASE_PARAM(clear_ends_what_was_lost, geometry_gen_params),
	KUNIT_CASE_PARAM(bits_are_news_until_recorded, geometry_gen_params),
	{}
};

static struct kunit_suite overlay_suite = {
	.name = "dm-replication-overlay",
	.suite_init = suite_begin,
	.suite_exit = suite_end,
	.init = bench_begin,
	.exit = bench_end,
	.test_cases = overlay_cases,
};

kunit_test_suite(overlay_suite);

MODULE_LICENSE("GPL");
