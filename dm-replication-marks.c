// SPDX-License-Identifier: GPL-2.0-only
/*
 * dm-replication: what a primary's replica may lack, on a disk.
 *
 * Copyright (C) the dm-replication authors
 */

#include <linux/mm.h>
#include <linux/slab.h>

#include "dm-replication-metadata.h"
#include "dm-replication-primary.h"

/**
 * DOC: marks that outlive a crash
 *
 * It holds at all times, at any power cut of this host, that
 *
 *	where local and replica may differ, a record says so.
 *
 * They may differ where a block is dirty or unsettled (dm-replication-dirty.c),
 * where a write is under way, and where local has a write in its cache only: a
 * power cut here can take it, and the replica keeps it.
 *
 * A stretch is *hot* while its durable record says that all its blocks may
 * differ. A write, with two legs or with local's alone, leaves only when its
 * stretches are hot; it is in its range by then (step 2 of
 * dm-replication-forward.c). If one is cold it waits for the worker, which
 * writes the records of all that have come, and then makes them hot: a write
 * in a hot stretch costs nothing, and a stretch is marked once for all of its
 * writes until it is cleaned.
 *
 * A stretch is *loose* while its record may say more than is so; hot ones are.
 * What is not loose has nothing dirty and a record that says so.
 *
 * DOC: the cleaner
 *
 * Every few seconds, for loose stretches that were not written meanwhile:
 *
 * 1. It makes the stretch cold, passes a full barrier, and looks for ranges
 *    there. If there is one its write may have left: the stretch is hot as it
 *    was. If there is none, all who ever found it hot have ended: local has
 *    answered them, and their blocks are dirty, unsettled or settled. Who comes
 *    now enters its range, passes a full barrier, finds it cold, and waits.
 * 2. It flushes local. What is neither dirty nor unsettled now is so after a
 *    power cut of either side.
 * 3. It writes the record with what is dirty or unsettled now; what is
 *    unsettled is looked at under the lock that fall-back and flush take, and a
 *    block goes from unsettled to dirty without a gap.
 *
 * Who waits is marked behind that: the metadata's mutex is held while records
 * are built and written, and while stretches become hot or cold. A failed write
 * leaves the old record or the new one, and a damaged one counts as all dirty:
 * nothing is lost, and the stretch stays loose.
 *
 * The resync needs nothing of this: a copy goes to blocks that are dirty, so a
 * record names them; what it has copied is cleaned later. A fall-back turns
 * unsettled into dirty, all of it in records.
 *
 * DOC: everything
 *
 * What has no record of the present epoch is clean, or, if the superblock's
 * flag says so, dirty. So one superblock marks everything: a new primary,
 * start_resync full. All stretches are hot then, until they are cleaned.
 *
 * So it is if a mark cannot be written, too. The guest must not suffer: local
 * alone decides. Everything is made dirty, by a superblock that voids all
 * records. If that cannot be written either the stretches are hot nevertheless,
 * which is a lie, and status says unsafe: the superblock is tried again every
 * few seconds, before anything else is written. A crash meanwhile loses marks.
 */

#define CLEAN_DELAY	(3 * HZ)
#define MAX_CHOSEN	1024U	/* stretches cleaned behind one flush of local */
#define MAX_LOOKED	16384U	/* stretches looked at together */

/**
 * struct marks - the marks of a primary
 * @p: the primary
 * @m: its metadata; its mutex is held by who changes @hot or @loose
 * @nr: number of stretches
 * @hot: see above
 * @loose: likewise
 * @used: hot ones that were written since the cleaner looked
 * @lying: what is hot is not durable
 * @cleaning: a batch's cold records are to be exact (under the mutex)
 * @closing: the cleaner is to end
 * @damaged: (load) a record was; until it is written it counts as dirty
 * @run: (load) the first of some neighbouring stretches without records
 * @run_end: (load) behind the last of them
 * @waiting: writes that wait for a mark
 * @mark_work: writes it
 * @clean_work: the cleaner
 * @cursor: where it goes on looking
 * @nr_chosen: in @chosen
 * @chosen: stretches to be cleaned
 */
struct marks {
	struct primary *p;
	struct metadata *m;
	unsigned long nr;
	unsigned long *hot;
	unsigned long *loose;
	unsigned long *used;
	bool lying;
	bool cleaning;
	bool closing;
	bool damaged;
	unsigned long run;
	unsigned long run_end;
	struct llist_head waiting;
	struct work_struct mark_work;
	struct delayed_work clean_work;
	unsigned long cursor;
	unsigned int nr_chosen;
	unsigned long chosen[MAX_CHOSEN];
};

static void arm(struct marks *mk, unsigned long delay)
{
	if (!READ_ONCE(mk->closing))
		queue_delayed_work(mk->m->wq, &mk->clean_work, delay);
}

/*
 *---------------------------------------------------------------------------
 * Records
 *---------------------------------------------------------------------------
 */
static void fill(struct metadata *m, unsigned long index,
		 struct dmrepl_record *d)
{
	u64 words[OVERLAY_ACTIVE_WORDS] = { };
	struct marks *mk = m->owner;
	bool hot = test_bit(index, mk->hot);
	unsigned int i;

	if (!hot && mk->cleaning && test_bit(index, mk->loose))
		dirty_look(&mk->p->dirty, index, words);
	else if (hot || test_bit(index, mk->loose))
		dirty_fill(&mk->p->dirty, index, words);
	d->epoch = cpu_to_le64(m->state.epoch);
	for (i = 0; i < OVERLAY_ACTIVE_WORDS; i++)
		d->active[i] = cpu_to_le64(words[i]);
}

typedef void (*written_fn)(struct marks *mk, unsigned long index,
			   struct dmrepl_record *d);

/* Call a function for each record that the batch has written. */
static void visit_written(struct marks *mk, written_fn fn)
{
	unsigned int per_unit = mk->m->unit / DMREPL_SECTOR, i, j;
	struct dmrepl_record *d;
	unsigned long index;

	for (i = 0; i < mk->m->nr_units; i++) {
		d = mk->m->units[i].buffer;
		for (j = 0; j < per_unit; j++) {
			index = mk->m->units[i].nr * per_unit + j;
			if (index < mk->nr)
				fn(mk, index, d + j);
		}
	}
}

/*
 *---------------------------------------------------------------------------
 * Everything
 *---------------------------------------------------------------------------
 */

/*
 * Called with the mutex. Both superblocks: a damaged one must not unsay it. If
 * only one can be written it counts, and the other is tried again later.
 */
static int write_both(struct metadata *m, const struct metadata_state *s)
{
	int r = super_write(m, s);

	if (!r)
		super_write(m, s);
	return r;
}

/* No record is of the present epoch, and the superblock says what that means. */
static void set_all(struct marks *mk, bool dirty)
{
	if (dirty) {
		bitmap_fill(mk->loose, mk->nr);
		bitmap_fill(mk->hot, mk->nr);
	} else {
		bitmap_zero(mk->hot, mk->nr);
		bitmap_zero(mk->loose, mk->nr);
	}
}

/* Called with the mutex. Whatever becomes of it, it is so in memory. */
static void say_all(struct marks *mk)
{
	struct metadata_state s = mk->m->state;
	bool lying;

	s.epoch++;
	s.all = true;
	lying = write_both(mk->m, &s);
	mk->m->state = s;
	if (lying && !mk->lying)
		DMERR("%s: marks cannot be written: after a crash send start_resync full",
		      mk->p->pair->name);
	WRITE_ONCE(mk->lying, lying);
	set_all(mk, true);
	arm(mk, CLEAN_DELAY);
}

/* Called with the mutex. Return: 0: what is hot is durable. */
static int tell_truth(struct marks *mk)
{
	int r = super_refresh(mk->m);

	if (!r && mk->lying) {
		WRITE_ONCE(mk->lying, false);
		DMINFO("%s: marks are durable again, all is marked",
		       mk->p->pair->name);
	}
	return r;
}

/**
 * marks_all - every block may differ
 * @mk: the marks; in memory it is so already, else the cleaner would undo it
 *
 * May sleep.
 */
void marks_all(struct marks *mk)
{
	mutex_lock(&mk->m->mutex);
	say_all(mk);
	mutex_unlock(&mk->m->mutex);
}

/**
 * marks_unsafe - whether a crash now could lose marks
 * @mk: the marks
 */
bool marks_unsafe(struct marks *mk)
{
	return READ_ONCE(mk->lying);
}

/*
 *---------------------------------------------------------------------------
 * Marking
 *---------------------------------------------------------------------------
 */

/**
 * marks_pass - whether a write may leave
 * @mk: the marks
 * @rq: the write; its range is granted
 *
 * Process context, does not sleep.
 *
 * Return: false if it was put to wait; it will be routed again.
 */
bool marks_pass(struct marks *mk, struct repl_request *rq)
{
	unsigned long index = rq->sector >> STRETCH_SHIFT;
	unsigned long last = (request_end(rq) - 1) >> STRETCH_SHIFT;

	/* In the tree of ranges before the look; pairs with is_ripe(). */
	smp_mb();
	for (; index <= last; index++) {
		if (!test_bit(index, mk->hot))
			break;
		if (!test_bit(index, mk->used))
			set_bit(index, mk->used);
	}
	if (likely(index > last))
		return true;
	rq->done = 0;
	/* The worker may take and end it, and all with it, before we are through. */
	rcu_read_lock();
	if (llist_add(&rq->ready, &mk->waiting))
		queue_work(mk->m->wq, &mk->mark_work);
	rcu_read_unlock();
	return false;
}

/* Return: false if the batch is full; what is in it is noted in rq->done. */
static bool add_mark(struct marks *mk, struct repl_request *rq)
{
	struct dmrepl_record *d;
	unsigned long index;
	sector_t next;

	while (rq->done < rq->sectors) {
		index = (rq->sector + rq->done) >> STRETCH_SHIFT;
		if (!test_bit(index, mk->hot)) {
			set_bit(index, mk->loose);
			d = batch_add(mk->m, index);
			if (!d)
				return false;
			/* A neighbour may have brought it while it was not. */
			fill(mk->m, index, d);
		}
		set_bit(index, mk->used);
		next = (sector_t)(index + 1) << STRETCH_SHIFT;
		rq->done = min_t(sector_t, next - rq->sector, rq->sectors);
	}
	return true;
}

static void make_hot(struct marks *mk, unsigned long index,
		     struct dmrepl_record *d)
{
	/* Such as it was written with all bits. */
	if (test_bit(index, mk->loose))
		set_bit(index, mk->hot);
}

/* Return: what does not fit into one batch. */
static struct llist_node *mark_some(struct marks *mk, struct llist_node *nodes)
{
	struct llist_node *node = nodes, *next;
	struct repl_request *rq;
	int r;

	mutex_lock(&mk->m->mutex);
	batch_begin(mk->m);
	while (node && add_mark(mk, llist_entry(node, struct repl_request,
						ready)))
		node = node->next;
	r = tell_truth(mk);
	if (!r)
		r = batch_write(mk->m);
	if (r)
		say_all(mk);
	else
		visit_written(mk, make_hot);
	mutex_unlock(&mk->m->mutex);
	for (; nodes != node; nodes = next) {
		next = nodes->next;
		rq = llist_entry(nodes, struct repl_request, ready);
		request_continue(rq);
	}
	return node;
}

static void do_mark(struct work_struct *work)
{
	struct marks *mk = container_of(work, struct marks, mark_work);
	struct llist_node *nodes;

	while ((nodes = llist_reverse_order(llist_del_all(&mk->waiting)))) {
		arm(mk, CLEAN_DELAY);
		while (nodes)
			nodes = mark_some(mk, nodes);
	}
}

/*
 *---------------------------------------------------------------------------
 * Cleaning
 *---------------------------------------------------------------------------
 */

/* Whether an exact record would say no less. */
static bool is_full(struct marks *mk, unsigned long index)
{
	u64 words[OVERLAY_ACTIVE_WORDS];
	unsigned int n = dirty_look(&mk->p->dirty, index, words);

	return n == dirty_fill(&mk->p->dirty, index, words);
}

/*
 * Called with the mutex: whether a loose stretch's record should be written
 * anew. Then it is cold, and nobody who saw it hot is under way.
 */
static bool is_ripe(struct marks *mk, unsigned long index)
{
	u64 words[OVERLAY_ACTIVE_WORDS];

	if (test_and_clear_bit(index, mk->used))
		return false;
	if (!test_bit(index, mk->hot))
		return !dirty_look(&mk->p->dirty, index, words);
	if (is_full(mk, index))
		return false;
	clear_bit(index, mk->hot);
	/* Cold before the look at the ranges; pairs with marks_pass(). */
	smp_mb__after_atomic();
	if (!range_any(mk->p, (sector_t)index << STRETCH_SHIFT,
		       STRETCH_SECTORS))
		return true;
	set_bit(index, mk->hot);
	return false;
}

static void choose(struct marks *mk)
{
	unsigned long index = mk->cursor;
	unsigned int looked;

	mutex_lock(&mk->m->mutex);
	mk->nr_chosen = 0;
	for (looked = 0; looked < MAX_LOOKED && mk->nr_chosen < MAX_CHOSEN;
	     looked++) {
		index = find_next_bit(mk->loose, mk->nr, index);
		if (index >= mk->nr)
			break;
		if (is_ripe(mk, index))
			mk->chosen[mk->nr_chosen++] = index;
		index++;
		cond_resched();
	}
	mk->cursor = index < mk->nr ? index : 0;
	mutex_unlock(&mk->m->mutex);
}

static void tighten(struct marks *mk, unsigned long index,
		    struct dmrepl_record *d)
{
	if (!memchr_inv(d->active, 0, sizeof(d->active)))
		clear_bit(index, mk->loose);
}

/* Called with the mutex: from @i on. Return: the number of the next. */
static unsigned int clean_some(struct marks *mk, unsigned int i, int *error)
{
	batch_begin(mk->m);
	mk->cleaning = true;
	while (i < mk->nr_chosen && batch_add(mk->m, mk->chosen[i]))
		i++;
	mk->cleaning = false;
	*error = tell_truth(mk);
	if (!*error)
		*error = batch_write(mk->m);
	if (!*error)
		visit_written(mk, tighten);
	return i;
}

static int clean_chosen(struct marks *mk)
{
	unsigned int i = 0;
	int r = 0;

	while (!r && i < mk->nr_chosen) {
		mutex_lock(&mk->m->mutex);
		i = clean_some(mk, i, &r);
		mutex_unlock(&mk->m->mutex);
	}
	return r;
}

/*
 * What nobody else flushes is settled by the next time. Counted in, so that a
 * stop does not take the flush for one that the replica owes.
 */
static void flush_replica(struct primary *p)
{
	unsigned int ms = READ_ONCE(p->pair->tunables.checkpoint_timeout_ms);

	pair_count_in(p->pair);
	if (!READ_ONCE(p->pair->deferring) && !READ_ONCE(p->resync.suspended) &&
	    dirty_unsettled(&p->dirty) && replica_flush(p))
		wait_event_idle_timeout(p->wait, !READ_ONCE(p->own_flush) ||
					READ_ONCE(p->dirty.broken),
					msecs_to_jiffies(ms));
	pair_count_out(p->pair);
}

static void clean(struct marks *mk)
{
	struct primary *p = mk->p;
	int r;

	flush_replica(p);
	choose(mk);
	if (!mk->nr_chosen)
		return;
	r = blkdev_issue_flush(p->local);
	if (r)
		pair_record_error(p->pair, ERROR_LOCAL, r, 0);
	else
		clean_chosen(mk);
}

static void do_clean(struct work_struct *work)
{
	struct marks *mk = container_of(to_delayed_work(work), struct marks,
					clean_work);

	if (READ_ONCE(mk->closing))
		return;
	mk->nr_chosen = 0;
	if (READ_ONCE(mk->lying)) {
		mutex_lock(&mk->m->mutex);
		tell_truth(mk);
		mutex_unlock(&mk->m->mutex);
	} else {
		clean(mk);
	}
	if (mk->nr_chosen == MAX_CHOSEN)
		arm(mk, 1);
	else if (!bitmap_empty(mk->loose, mk->nr))
		arm(mk, CLEAN_DELAY);
}

/*
 *---------------------------------------------------------------------------
 * Opening and closing
 *---------------------------------------------------------------------------
 */
static struct metadata_state first_state(struct metadata *m)
{
	struct marks *mk = m->owner;

	return (struct metadata_state){
		.stage = STAGE_NONE,
		.epoch = 1,
		.all = dirty_count(&mk->p->dirty),
	};
}

static void end_run(struct marks *mk)
{
	sector_t sector = (sector_t)mk->run << STRETCH_SHIFT;
	sector_t end = min_t(sector_t, (sector_t)mk->run_end << STRETCH_SHIFT,
			     mk->m->sectors);

	if (sector < end)
		dirty_mark_wide(&mk->p->dirty, sector, end - sector);
}

static int skip(struct metadata *m, unsigned long index)
{
	struct marks *mk = m->owner;

	if (!m->state.all)
		return 0;
	set_bit(index, mk->loose);
	set_bit(index, mk->hot);
	if (index != mk->run_end) {
		end_run(mk);
		mk->run = index;
	}
	mk->run_end = index + 1;
	return 0;
}

static int take(struct metadata *m, unsigned long index, const u64 *active,
		const u64 *saved, bool lost)
{
	u64 all[OVERLAY_ACTIVE_WORDS] = { };
	struct marks *mk = m->owner;

	if (!memchr_inv(active, 0, sizeof(all)))
		return 0;
	set_bit(index, mk->loose);
	dirty_fill(&mk->p->dirty, index, all);
	if (!memcmp(active, all, sizeof(all)))
		set_bit(index, mk->hot);
	dirty_import(&mk->p->dirty, index, active);
	return 0;
}

/* Not written anew here: its neighbours may not have been read yet. */
static int lose(struct metadata *m, unsigned long index, char *why, int error)
{
	sector_t sector = (sector_t)index << STRETCH_SHIFT;
	sector_t end = min_t(sector_t, sector + STRETCH_SECTORS, m->sectors);
	struct marks *mk = m->owner;

	DMERR("%s: record %lu of the metadata %s: sectors %llu to %llu count as dirty",
	      m->pair->name, index, why, (u64)sector, (u64)end - 1);
	pair_record_error(m->pair, ERROR_METADATA, error, sector);
	mk->damaged = true;
	set_bit(index, mk->loose);
	dirty_mark(&mk->p->dirty, sector, end - sector);
	return 0;
}

static int load(struct metadata *m)
{
	struct marks *mk = m->owner;
	struct metadata_state s;
	int r;

	mk->m = m;
	r = dirty_configure(&mk->p->dirty, m->sectors, m->block_shift, false);
	if (!r)
		r = metadata_load_records(m);
	if (r)
		return r;
	end_run(mk);
	DMINFO("%s: the metadata was found, %s: %llu sectors are dirty",
	       m->pair->name, m->state.clean ? "removed in good order" :
					       "after a crash",
	       dirty_count(&mk->p->dirty));
	s = m->state;
	s.clean = false;
	mutex_lock(&m->mutex);
	r = super_write(m, &s);
	mutex_unlock(&m->mutex);
	return r;
}

static const struct metadata_ops primary_ops = {
	.mode = DMREPL_MODE_PRIMARY,
	.first_state = first_state,
	.fill = fill,
	.load = load,
	.take = take,
	.skip = skip,
	.lose = lose,
};

static void destroy(struct marks *mk)
{
	kvfree(mk->hot);
	kvfree(mk->loose);
	kvfree(mk->used);
	kvfree(mk);
}

static struct marks *create(struct primary *p, sector_t sectors)
{
	struct marks *mk = kvzalloc(sizeof(*mk), GFP_NOIO);
	size_t longs;

	if (!mk)
		return NULL;
	mk->p = p;
	mk->nr = dmrepl_records(sectors);
	longs = BITS_TO_LONGS(mk->nr);
	init_llist_head(&mk->waiting);
	INIT_WORK(&mk->mark_work, do_mark);
	INIT_DELAYED_WORK(&mk->clean_work, do_clean);
	mk->hot = kvcalloc(longs, sizeof(long), GFP_NOIO);
	mk->loose = kvcalloc(longs, sizeof(long), GFP_NOIO);
	mk->used = kvcalloc(longs, sizeof(long), GFP_NOIO);
	if (mk->hot && mk->loose && mk->used)
		return mk;
	destroy(mk);
	return NULL;
}

/**
 * marks_open - make or find what the metadata device holds
 * @p: the primary, whose books are as they are without metadata; idle
 * @r: its target
 *
 * May sleep. What is found becomes what is dirty.
 *
 * Return: 0 or a negative errno.
 */
int marks_open(struct primary *p, struct replication *r)
{
	struct marks *mk = create(p, r->ti->len);
	struct metadata *m;
	bool found;

	if (!mk)
		return -ENOMEM;
	m = metadata_make(p->pair, r, &primary_ops, mk, &found);
	if (IS_ERR(m)) {
		destroy(mk);
		return PTR_ERR(m);
	}
	mk->m = m;
	if (!found)
		set_all(mk, m->state.all);
	if (found && r->in_sync && dirty_count(&p->dirty))
		DMWARN("%s: in_sync has no effect, the metadata says otherwise",
		       p->pair->name);
	p->marks = mk;
	arm(mk, CLEAN_DELAY);
	return 0;
}

/**
 * marks_restart - the primary has other devices, of the same length and block
 * @mk: the marks of a primary that is idle
 * @all: every block may differ; else none does
 *
 * May sleep. So it is in memory, too.
 *
 * Return: 0 or a negative errno.
 */
int marks_restart(struct marks *mk, bool all)
{
	struct metadata_state s;
	int r;

	/* It looks at what is about to be replaced. */
	cancel_delayed_work_sync(&mk->clean_work);
	r = dirty_configure(&mk->p->dirty, mk->m->sectors, mk->m->block_shift,
			    all);
	if (r) {
		arm(mk, CLEAN_DELAY);
		return r;
	}
	mutex_lock(&mk->m->mutex);
	s = mk->m->state;
	s.epoch++;
	s.all = all;
	r = write_both(mk->m, &s);
	if (r) {
		/* The old devices stay, and what was dirty there is forgotten. */
		dirty_mark_all(&mk->p->dirty);
		say_all(mk);
	} else {
		WRITE_ONCE(mk->lying, false);
		set_all(mk, all);
	}
	mutex_unlock(&mk->m->mutex);
	arm(mk, CLEAN_DELAY);
	return r;
}

/**
 * marks_pause - no more cleaning: the primary is about to leave
 * @mk: the marks
 *
 * May sleep.
 */
void marks_pause(struct marks *mk)
{
	WRITE_ONCE(mk->closing, true);
	cancel_delayed_work_sync(&mk->clean_work);
}

/* Called with the mutex, while nothing is under way: exact records. */
static int clean_all(struct marks *mk)
{
	unsigned long index = 0;
	int r = 0;

	while (!r && index < mk->nr) {
		mk->nr_chosen = 0;
		for (; mk->nr_chosen < MAX_UNITS; index++) {
			index = find_next_bit(mk->loose, mk->nr, index);
			if (index >= mk->nr)
				break;
			if (test_bit(index, mk->hot) && is_full(mk, index))
				continue;
			clear_bit(index, mk->hot);
			mk->chosen[mk->nr_chosen++] = index;
		}
		clean_some(mk, 0, &r);
	}
	return r;
}

/* Called with the mutex. */
static int write_last(struct marks *mk)
{
	struct metadata_state s = mk->m->state;
	int r = 0;

	s.clean = true;
	if (dirty_count(&mk->p->dirty) || mk->damaged) {
		r = clean_all(mk);
	} else {
		s.epoch++;		/* voids them all */
		s.all = false;
	}
	return r ?: write_both(mk->m, &s);
}

/**
 * marks_close - make the records exact; a clean mark
 * @p: the primary, idle; nothing is unsettled
 *
 * May sleep.
 */
void marks_close(struct primary *p)
{
	struct marks *mk = p->marks;
	struct metadata *m = mk->m;
	int r;

	marks_pause(mk);	/* who came to wait since has armed it again */
	flush_work(&mk->mark_work);
	r = blkdev_issue_flush(p->local);
	mutex_lock(&m->mutex);
	if (!r)
		r = write_last(mk);
	mutex_unlock(&m->mutex);
	if (r)
		DMERR("%s: the last marks could not be written: %d%s",
		      p->pair->name, r, mk->lying ?
		      ", send start_resync full when it is back" : "");
	p->marks = NULL;
	metadata_destroy(m);
	destroy(mk);
}
