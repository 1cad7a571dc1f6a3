// SPDX-License-Identifier: GPL-2.0-only
/*
 * The overlay among others: a timer's interrupt falls into any instruction,
 * and threads take turns between any two calls.
 */

#include <linux/delay.h>
#include <linux/hrtimer.h>
#include <linux/kthread.h>
#include <linux/rwsem.h>
#include <linux/sched/task.h>

#include "overlay_model.h"

#define INTERVAL_NS	40000
#define INTERRUPTS	10000
#define CHECKPOINTS	60
#define PAGES_SET	600
#define PATIENCE	(60 * HZ)	/* on a busy machine */
#define THREADS		6

static const struct geometry geometries[] = {
	{ "512-byte blocks", 4 * STRETCH_SECTORS, 0 },
	{ "4096-byte blocks", 4 * STRETCH_SECTORS, 3 },
};

static void geometry_name(const struct geometry *g, char *name)
{
	strscpy(name, g->name, KUNIT_PARAM_DESC_SIZE);
}

KUNIT_ARRAY_PARAM(geometry, geometries, geometry_name);

/**
 * struct race - an overlay, an interrupt that works on it, threads as well
 * @b: the overlay
 * @timer: its interrupt
 * @interrupt: what the interrupt does
 * @ticks: how often it did
 * @wrong: what it or a thread found wrong, counted
 * @at: the block that is being set
 * @quiet: nothing may be found in the overlay at the moment
 * @admission: held for reading by whom the pair would have admitted
 * @stop: threads shall end
 * @done: what the threads achieved
 */
struct race {
	struct bench *b;
	struct hrtimer timer;
	void (*interrupt)(struct race *race);
	unsigned long ticks;
	atomic_t wrong;
	unsigned int at;
	bool quiet;
	struct rw_semaphore admission;
	bool stop;
	atomic_t done;
};

static struct race race;

static int suite_begin(struct kunit_suite *suite)
{
	return overlay_setup();
}

static void suite_end(struct kunit_suite *suite)
{
	overlay_teardown();
}

static int race_begin(struct kunit *test)
{
	memset(&race, 0, sizeof(race));
	init_rwsem(&race.admission);
	race.b = bench_make(test, test->param_value);
	return 0;
}

static void race_end(struct kunit *test)
{
	if (race.interrupt)
		hrtimer_cancel(&race.timer);
	if (race.b)
		overlay_exit(&race.b->o);
}

static enum hrtimer_restart tick(struct hrtimer *timer)
{
	race.ticks++;
	race.interrupt(&race);
	hrtimer_forward_now(timer, ns_to_ktime(INTERVAL_NS));
	return HRTIMER_RESTART;
}

/*
 * They interrupt the caller. Beside it, on another processor, a look could begin
 * before fill() and end after it, and see active as it was, saved as it is.
 */
static void start_interrupts(void (*interrupt)(struct race *race))
{
	set_cpus_allowed_ptr(current, cpumask_of(raw_smp_processor_id()));
	race.interrupt = interrupt;
	hrtimer_init(&race.timer, CLOCK_MONOTONIC, HRTIMER_MODE_REL_PINNED);
	race.timer.function = tick;
	hrtimer_start(&race.timer, ns_to_ktime(INTERVAL_NS),
		      HRTIMER_MODE_REL_PINNED);
}

static void stop_interrupts(struct kunit *test)
{
	hrtimer_cancel(&race.timer);
	race.interrupt = NULL;
	KUNIT_EXPECT_EQ(test, atomic_read(&race.wrong), 0);
	/* A test that was hardly interrupted has shown nothing. */
	if (!atomic_read(&race.wrong))
		KUNIT_EXPECT_GE(test, race.ticks, INTERRUPTS);
	kunit_info(test, "%lu interrupts", race.ticks);
}

/* Whether to go on: enough is not done yet, and nothing was found. */
static bool go_on(unsigned long began)
{
	return READ_ONCE(race.ticks) < INTERRUPTS &&
	       !atomic_read(&race.wrong) &&
	       time_before(jiffies, began + PATIENCE);
}

/* Every block of the device by itself, none may be of @class. */
static void expect_nowhere(struct race *race, enum overlay_class class)
{
	struct bench *b = race->b;
	unsigned int s, run;

	rcu_read_lock();
	for (s = 0; s < b->sectors; s += run)
		if (overlay_classify(&b->o, s, b->sectors - s, &run) == class)
			atomic_inc(&race->wrong);
	rcu_read_unlock();
}

/* Every block active, then every page saved; no model, it would take longer. */
static void fill(struct kunit *test)
{
	struct overlay *o = &race.b->o;
	struct leaf *leaf;
	sector_t s;

	KUNIT_ASSERT_EQ(test, overlay_get_range(o, 0, o->sectors, GFP_KERNEL),
			0);
	overlay_set_active(o, 0, o->sectors);
	for (s = 0; s < o->sectors; s += STRETCH_SECTORS) {
		leaf = overlay_find(o, s);
		overlay_set_saved(o, leaf, s >> STRETCH_SHIFT, 0, LEAF_PAGES);
	}
}

/* Blocks that are both saved and active must never show what is saved. */
static void look_for_saved(struct race *race)
{
	expect_nowhere(race, OVERLAY_SAVED);
}

static void commit_never_shows_saved_under_active(struct kunit *test)
{
	unsigned long began = jiffies, index;
	struct bench *b = race.b;
	struct leaf *leaf;

	start_interrupts(look_for_saved);
	while (go_on(began)) {
		fill(test);
		for (index = 0; (leaf = overlay_next(&b->o, &index)); index++) {
			overlay_lock_leaf(leaf);
			overlay_clear_leaf(&b->o, index, leaf);
			overlay_unlock_leaf(leaf);
		}
	}
	stop_interrupts(test);
}

static void look_for_anything(struct race *race)
{
	if (!race->quiet)
		return;
	expect_nowhere(race, OVERLAY_ACTIVE);
	expect_nowhere(race, OVERLAY_SAVED);
}

static void renewal_never_shows_old_bits(struct kunit *test)
{
	unsigned long began = jiffies;
	struct bench *b = race.b;

	start_interrupts(look_for_anything);
	while (go_on(began)) {
		fill(test);
		overlay_new_epoch(&b->o);
		WRITE_ONCE(race.quiet, true);
		KUNIT_ASSERT_EQ(test, overlay_get_range(&b->o, 0, b->sectors,
							GFP_KERNEL), 0);
		WRITE_ONCE(race.quiet, false);
	}
	stop_interrupts(test);
}

/*
 * The test sets the even blocks; the interrupt sets the odd one beside, in the
 * same word of the bitmap.
 */
static void set_the_block_beside(struct race *race)
{
	struct bench *b = race->b;
	unsigned int s = race->at + b->block;

	if (race->quiet)
		return;
	overlay_set_active(&b->o, s, b->block);
	bench_mark(b, s, b->block, MODEL_ACTIVE, &b->active);
}

static void expect_odd_blocks(struct kunit *test)
{
	struct bench *b = race.b;
	unsigned int s, run, lost = 0;

	rcu_read_lock();
	for (s = b->block; s < b->sectors; s += 2 * b->block)
		lost += b->model[s] && overlay_classify(&b->o, s, b->block,
							&run) != OVERLAY_ACTIVE;
	rcu_read_unlock();
	KUNIT_ASSERT_EQ(test, lost, 0);
	KUNIT_ASSERT_EQ(test, (u64)atomic64_read(&b->o.active),
			b->sectors / 2 + b->active);
}

static void setting_bits_loses_none(struct kunit *test)
{
	unsigned long began = jiffies;
	struct bench *b = race.b;
	unsigned int s;

	race.quiet = true;
	start_interrupts(set_the_block_beside);
	while (go_on(began)) {
		KUNIT_ASSERT_EQ(test, overlay_get_range(&b->o, 0, b->sectors,
							GFP_KERNEL), 0);
		for (s = 0; s < b->sectors; s += 2 * b->block) {
			WRITE_ONCE(race.at, s);
			WRITE_ONCE(race.quiet, false);
			overlay_set_active(&b->o, s, b->block);
		}
		WRITE_ONCE(race.quiet, true);
		expect_odd_blocks(test);
		bench_new_epoch(b);
	}
	stop_interrupts(test);
}

/* The interrupt saves the page that the test has just found, or is about to. */
static void save_the_first(struct race *race)
{
	struct overlay *o = &race->b->o;
	struct leaf *leaf;
	unsigned int n;

	if (race->quiet || race->at == LEAF_PAGES)
		return;
	leaf = overlay_find(o, 0);
	race->at = overlay_unsaved(o, leaf, 0, 0, LEAF_PAGES, &n);
	if (race->at < LEAF_PAGES)
		overlay_set_saved(o, leaf, 0, race->at, 1);
}

static void what_is_unsaved_is_never_none(struct kunit *test)
{
	unsigned long began = jiffies;
	struct bench *b = race.b;
	struct leaf *leaf;
	unsigned int n;

	race.quiet = true;
	start_interrupts(save_the_first);
	while (go_on(began)) {
		KUNIT_ASSERT_EQ(test, overlay_get_range(&b->o, 0, 1, GFP_KERNEL),
				0);
		leaf = overlay_find(&b->o, 0);
		race.at = 0;
		WRITE_ONCE(race.quiet, false);
		while (overlay_unsaved(&b->o, leaf, 0, 0, LEAF_PAGES, &n) <
		       LEAF_PAGES && go_on(began))
			if (!n)
				atomic_inc(&race.wrong);
		WRITE_ONCE(race.quiet, true);
		overlay_new_epoch(&b->o);
	}
	stop_interrupts(test);
}

/*
 * Threads. Each one owns every THREADSth page, sets it and finds it set, with
 * pauses in which the others run, until the epoch ends.
 */
static void pause_a_little(void)
{
	usleep_range(1, 50);
}

static void check(bool good)
{
	if (!good)
		atomic_inc(&race.wrong);
}

static enum overlay_class class_of(unsigned int sector)
{
	enum overlay_class class;
	unsigned int run;

	rcu_read_lock();
	class = overlay_classify(&race.b->o, sector, COW_PAGE_SECTORS, &run);
	rcu_read_unlock();
	check(run == COW_PAGE_SECTORS);
	return class;
}

static bool write_page(unsigned int page)
{
	unsigned int s = page << COW_PAGE_SHIFT;
	struct overlay *o = &race.b->o;

	check(class_of(s) != OVERLAY_SAVED);
	if (overlay_get_range(o, s, COW_PAGE_SECTORS, GFP_KERNEL))
		return false;
	pause_a_little();
	overlay_set_active(o, s, COW_PAGE_SECTORS);
	pause_a_little();
	check(class_of(s) == OVERLAY_ACTIVE);
	return true;
}

static bool save_page(unsigned int page)
{
	unsigned int s = page << COW_PAGE_SHIFT, in_leaf = page % LEAF_PAGES;
	struct overlay *o = &race.b->o;
	struct leaf *leaf;

	check(class_of(s) != OVERLAY_ACTIVE);
	if (overlay_get(o, s, LEAF_PAGES, GFP_KERNEL, &leaf))
		return false;
	pause_a_little();
	check(overlay_find(o, s) == leaf);
	if (bench_needs_saving(o, leaf, page / LEAF_PAGES, in_leaf)) {
		overlay_set_slot(leaf, in_leaf, race.b->held + page);
		overlay_set_saved(o, leaf, page / LEAF_PAGES, in_leaf, 1);
	}
	pause_a_little();
	check(class_of(s) == OVERLAY_SAVED);
	rcu_read_lock();
	check(overlay_held(leaf, in_leaf) == race.b->held + page);
	rcu_read_unlock();
	return true;
}

/* Even threads write the view, odd ones save. */
static int user(void *data)
{
	unsigned int me = (uintptr_t)data, page = me;
	unsigned int pages = bench_pages(race.b);

	while (!READ_ONCE(race.stop)) {
		down_read(&race.admission);
		if (me & 1 ? save_page(page) : write_page(page))
			atomic_inc(&race.done);
		up_read(&race.admission);
		page += THREADS * 7;
		if (page >= pages)
			page = me;
		pause_a_little();
	}
	return 0;
}

static int reclaimer(void *data)
{
	struct overlay *o = &race.b->o;
	unsigned long index = 0;
	struct leaf *leaf;

	while (!READ_ONCE(race.stop)) {
		leaf = overlay_claim_stale(o, &index);
		pause_a_little();
		if (leaf) {
			check(leaf->epoch != o->epoch && leaf->busy);
			overlay_drop_stale(o, index, leaf);
		} else {
			index = 0;
		}
	}
	return 0;
}

static unsigned int count_class(enum overlay_class class)
{
	struct bench *b = race.b;
	unsigned int s, run, n = 0;

	rcu_read_lock();
	for (s = 0; s < b->sectors; s += run)
		if (overlay_classify(&b->o, s, b->sectors - s, &run) == class)
			n += run;
	rcu_read_unlock();
	return n;
}

static void checkpoint(struct kunit *test)
{
	struct overlay *o = &race.b->o;

	down_write(&race.admission);
	KUNIT_EXPECT_EQ(test, atomic64_read(&o->active),
			count_class(OVERLAY_ACTIVE));
	KUNIT_EXPECT_EQ(test, atomic64_read(&o->saved),
			count_class(OVERLAY_SAVED));
	overlay_new_epoch(o);
	KUNIT_EXPECT_EQ(test, count_class(OVERLAY_NONE), race.b->sectors);
	up_write(&race.admission);
}

/* Not admitted, so any answer will do: only the checkers look. */
static void wander(struct race *race)
{
	count_class(OVERLAY_NONE);
}

static void threads_share_an_overlay(struct kunit *test)
{
	struct task_struct *threads[THREADS + 1];
	unsigned long began = jiffies;
	unsigned int checkpoints = 0;
	uintptr_t i;

	for (i = 0; i <= THREADS; i++) {
		threads[i] = kthread_create(i < THREADS ? user : reclaimer,
					    (void *)i, "overlay/%lu",
					    (unsigned long)i);
		KUNIT_ASSERT_NOT_ERR_OR_NULL(test, threads[i]);
		get_task_struct(threads[i]);
	}
	start_interrupts(wander);
	for (i = 0; i <= THREADS; i++)
		wake_up_process(threads[i]);
	while (!atomic_read(&race.wrong) &&
	       (go_on(began) || checkpoints < CHECKPOINTS ||
		atomic_read(&race.done) < PAGES_SET) &&
	       time_before(jiffies, began + PATIENCE)) {
		usleep_range(500, 3000);
		checkpoint(test);
		checkpoints++;
	}
	WRITE_ONCE(race.stop, true);
	for (i = 0; i <= THREADS; i++) {
		kthread_stop(threads[i]);
		put_task_struct(threads[i]);
	}
	stop_interrupts(test);
	KUNIT_EXPECT_GE(test, checkpoints, CHECKPOINTS);
	KUNIT_EXPECT_GE(test, atomic_read(&race.done), PAGES_SET);
	kunit_info(test, "%u checkpoints, %d pages set", checkpoints,
		   atomic_read(&race.done));
}

static struct kunit_case race_cases[] = {
	KUNIT_CASE_PARAM(commit_never_shows_saved_under_active,
			 geometry_gen_params),
	KUNIT_CASE_PARAM(renewal_never_shows_old_bits, geometry_gen_params),
	KUNIT_CASE_PARAM(setting_bits_loses_none, geometry_gen_params),
	KUNIT_CASE_PARAM(what_is_unsaved_is_never_none, geometry_gen_params),
	KUNIT_CASE_PARAM(threads_share_an_overlay, geometry_gen_params),
	{}
};

static struct kunit_suite race_suite = {
	.name = "dm-replication-overlay-race",
	.suite_init = suite_begin,
	.suite_exit = suite_end,
	.init = race_begin,
	.exit = race_end,
	.test_cases = race_cases,
};

kunit_test_suite(race_suite);

MODULE_LICENSE("GPL");
