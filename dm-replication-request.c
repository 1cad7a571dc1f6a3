// SPDX-License-Identifier: GPL-2.0-only
/*
 * dm-replication: what every request does, whichever way it takes.
 *
 * Copyright (C) the dm-replication authors
 */

#include <linux/kthread.h>
#include <linux/ktime.h>
#include <linux/llist.h>
#include <linux/sched/signal.h>

#include "dm-replication.h"
#include "dm-replication-compat.h"

#define CREATE_TRACE_POINTS
#include "dm-replication-trace.h"

/**
 * DOC: admission, drain, parking
 *
 * A request counts itself in on its CPU, passes a full barrier and looks at
 * pair->deferring. The drainer sets deferring, passes a full barrier and sums
 * the counters. So either the drainer sees the request, or the request sees
 * that it must count out and park. The counters only grow; the drainer sums
 * all outs, then, behind a barrier, all ins: a request that goes in and out
 * between the two sums makes them differ and costs one more look, never an
 * "empty" that is not true.
 *
 * Who counts out does its last writes to what the pair holds, passes a barrier
 * (so that the drainer's change comes after them), counts, passes another, and
 * wakes the drainer if there is one. Woken or not, the drainer sees the count:
 * it sets draining before it sums. rcu_read_lock() around the count keeps the
 * pair's memory until the wake-up is over; see pair_destroy().
 *
 * Parking cannot lose a wake-up: a request remembers pair->releases before it
 * looks at anything that might make it park. Whoever takes such a cause away
 * (the end of a transition, a leaf unlocked or reclaimed) calls
 * pair_release_parked(), which raises the number. A request that finds it
 * raised does not park but is routed again by the worker.
 *
 * DOC: tracked reads
 *
 * A view read that may go to secondary joins the bucket of its one or two
 * stretches (or the pair's wide bucket), passes a full barrier, and only then
 * looks at the bits. An origin write looks for such reads after the saved bits
 * of its pages are set, and behind a full barrier. So a read that the write
 * does not see has seen the saved bits. The write counts the older overlapping
 * reads in rq->pending and joins the same buckets; each of these reads takes
 * itself off that count when it leaves. Nodes carry a number drawn under the
 * bucket's lock, so that both sides agree who is older. The wait ends: the
 * reads it waits for are in flight to a disk, and younger ones do not count.
 */

const char * const stage_names[NR_STAGES] = {
	[STAGE_NONE]		= "none",
	[STAGE_RUNNING]		= "running",
	[STAGE_FAILOVER]	= "failover",
	[STAGE_FAILOVER_FAILED]	= "failover_failed",
	[STAGE_DONE]		= "done",
	[STAGE_STOPPED]		= "stopped",
	[STAGE_INVALID]		= "invalid",
};

const char * const error_names[NR_ERROR_CLASSES] = {
	[ERROR_CAPTURE]		= "capture",
	[ERROR_SPILL]		= "spill",
	[ERROR_ACTIVE]		= "active",
	[ERROR_SECONDARY]	= "secondary",
	[ERROR_COMMIT]		= "commit",
	[ERROR_FORWARD]		= "forward",
	[ERROR_LOCAL]		= "local",
	[ERROR_ORIGIN]		= "origin",
	[ERROR_METADATA]	= "metadata",
};

/*
 *---------------------------------------------------------------------------
 * Counting in and out
 *---------------------------------------------------------------------------
 */

/**
 * pair_wake_drainer - the slow part of pair_count_out()
 * @pair: the pair
 *
 * Any context, with preemption disabled, which it enables.
 */
void pair_wake_drainer(struct pair *pair)
{
	rcu_read_lock();	/* a wake-up may sleep on an RT kernel */
	preempt_enable();
	wake_up(&pair->drain_wait);
	rcu_read_unlock();
}

static bool pair_is_empty(struct pair *pair)
{
	unsigned long in = 0, out = 0;
	int cpu;

	for_each_possible_cpu(cpu)
		out += READ_ONCE(per_cpu_ptr(pair->inflight, cpu)->out);
	/* All outs before all ins; and outs before what the drainer does. */
	smp_mb();
	for_each_possible_cpu(cpu)
		in += READ_ONCE(per_cpu_ptr(pair->inflight, cpu)->in);
	return in == out;
}

/**
 * pair_defer - from now on newcomers park
 * @pair: the pair, whose mutex the caller holds
 */
void pair_defer(struct pair *pair)
{
	pair->deferred_at = ktime_get_ns();
	WRITE_ONCE(pair->draining, true);
	WRITE_ONCE(pair->deferring, true);
	/* Pairs with pair_count_in() and pair_count_out(). */
	smp_mb();
}

/**
 * pair_drain - wait until nothing that was admitted is in flight
 * @pair: the pair, deferring
 * @deadline: in jiffies
 *
 * Process context. Every admitted request ends by itself: what it waits for
 * is in flight to a disk, or is a page that the spiller frees for it.
 *
 * Return: 0, -ETIMEDOUT, or -EINTR on a fatal signal.
 */
int pair_drain(struct pair *pair, unsigned long deadline)
{
	long left = deadline - jiffies;
	long r;

	r = wait_event_killable_timeout(pair->drain_wait, pair_is_empty(pair),
					max(left, 0L));
	if (r < 0)
		return -EINTR;
	return r ? 0 : -ETIMEDOUT;
}

/**
 * pair_drain_forever - the same where nothing can be given up
 * @pair: the pair, deferring
 */
void pair_drain_forever(struct pair *pair)
{
	/* Idle: a disk that takes minutes is not a hung task of ours. */
	wait_event_idle(pair->drain_wait, pair_is_empty(pair));
}

/**
 * pair_undefer - let the parked go
 * @pair: the pair, whose pause ends here
 */
void pair_undefer(struct pair *pair)
{
	u64 pause;

	WRITE_ONCE(pair->draining, false);
	/* What the transition changed is seen by who finds the way open. */
	smp_store_release(&pair->deferring, false);
	pair_release_parked(pair);
	pause = div_u64(ktime_get_ns() - pair->deferred_at, NSEC_PER_USEC);
	WRITE_ONCE(pair->pause_last, pause);
	if (pause > pair->pause_longest)
		WRITE_ONCE(pair->pause_longest, pause);
	trace_checkpoint(pair, pause);
}

/*
 *---------------------------------------------------------------------------
 * A request begins, parks, goes on, ends
 *---------------------------------------------------------------------------
 */

/**
 * request_park - put a request aside until the next release
 * @rq: a counted request; it counts out
 *
 * Process context, does not sleep.
 *
 * Return: DM_MAPIO_SUBMITTED.
 */
int request_park(struct repl_request *rq)
{
	struct pair *pair = rq->pair;
	unsigned long flags;
	bool again;

	request_count_out(rq);
	spin_lock_irqsave(&pair->park_lock, flags);
	again = pair->releases != rq->releases;
	if (!again)
		bio_list_add(&pair->parked, request_bio(rq));
	spin_unlock_irqrestore(&pair->park_lock, flags);
	if (again)
		request_continue(rq);
	return DM_MAPIO_SUBMITTED;
}

/**
 * pair_release_parked - a cause of parking is gone
 * @pair: the pair
 *
 * Any context.
 */
void pair_release_parked(struct pair *pair)
{
	struct bio_list parked;
	unsigned long flags;
	struct bio *bio;

	/* The cause is gone before the number is raised: pair_count_in(). */
	smp_wmb();
	spin_lock_irqsave(&pair->park_lock, flags);
	WRITE_ONCE(pair->releases, pair->releases + 1);
	parked = pair->parked;
	bio_list_init(&pair->parked);
	spin_unlock_irqrestore(&pair->park_lock, flags);

	while ((bio = bio_list_pop(&parked)))
		request_continue(dm_per_bio_data(bio,
						 sizeof(struct repl_request)));
}

/**
 * request_continue - have the worker route the request (again)
 * @rq: the request; not to be touched afterwards
 *
 * Any context.
 */
void request_continue(struct repl_request *rq)
{
	struct pair *pair = rq->pair;

	/* The request may end, and the pair with it, before we are through. */
	rcu_read_lock();
	if (llist_add(&rq->ready, &pair->ready))
		wake_up_process(pair->worker);
	rcu_read_unlock();
}

static void serve(struct pair *pair, struct llist_node *nodes, gfp_t gfp)
{
	struct repl_request *rq, *next;

	llist_for_each_entry_safe(rq, next, nodes, ready)
		pair->route_again(rq, gfp);
}

static void serve_list(struct pair *pair, struct llist_head *list)
{
	struct llist_node *nodes = llist_del_all(list);
	const gfp_t gfp = GFP_NOIO | __GFP_NORETRY;
	struct blk_plug plug;

	if (!nodes)
		return;
	if (!nodes->next) {	/* a plug costs more than it gains */
		serve(pair, nodes, gfp);
		return;
	}
	blk_start_plug(&plug);
	serve(pair, llist_reverse_order(nodes), gfp);
	blk_finish_plug(&plug);
}

/*
 * A thread, not a work item: it is on the way of every first write, and waking
 * a thread takes less than queueing work.
 */
static int work(void *data)
{
	struct pair *pair = data;

	while (!kthread_should_stop()) {
		/* The state before the lists: pairs with request_continue(). */
		set_current_state(TASK_IDLE);
		if (llist_empty(&pair->ready) && llist_empty(&pair->soon) &&
		    !kthread_should_stop())
			schedule();
		__set_current_state(TASK_RUNNING);
		serve_list(pair, &pair->ready);
		serve_list(pair, &pair->soon);
		cond_resched();
	}
	return 0;
}

/*
 *---------------------------------------------------------------------------
 * Newcomers that take others along
 *---------------------------------------------------------------------------
 */

/**
 * DOC: newcomers serve those who are due soon
 *
 * Where a processor is busy with a stream of origin writes, to wake the worker
 * for each of them costs two switches of task a write, a tenth of all. There
 * writes whose captures have ended wait on a list of their own, pair->soon, for
 * the next newcomer, which routes them before itself, in map. That is hoped for
 * only if the last newcomer came on the processor that completes the capture,
 * and this one is not idle. A timer bounds it: if none has come in a whole turn of
 * the timer (PATIENCE_NS, up to half as long again, so that it mostly needs no
 * interrupt of its own), it wakes the worker, which then has the next DOUBTED
 * writes, too; and twice as many with each wrong guess, up to MAX_DOUBTED, until
 * one was right. So who is busy with other things than a stream pays little. Who
 * finds the spiller on its processor was not wrong: that only keeps newcomers
 * waiting. It does not route the list itself, as on its way to secondary it may sleep.
 *
 * On that list are origin writes only, and what a newcomer submits for them
 * goes to secondary, where its own write goes: so a stream never waits for
 * active or hidden, nor for who serves them. All else, and what could not be had
 * with GFP_NOWAIT, is the worker's alone (pair->ready), so nothing waits in map.
 * Block core takes what was submitted off the task's list before anything that
 * is still to be mapped.
 *
 * Nobody is left on the list: who adds the first one finds the timer queued, or
 * starts it. When it goes off, it is started again only if newcomers have begun
 * to take the list since it was started; each of them takes all who are there.
 */
#define PATIENCE_NS	(100 * NSEC_PER_USEC)
#define DOUBTED		4
#define MAX_DOUBTED	64

/* A guess: wrong, it costs PATIENCE_NS or a switch of task. */
static bool expects_newcomer(struct pair *pair)
{
	unsigned int doubt = READ_ONCE(pair->doubt);

	if (unlikely(doubt)) {	/* that two may count as one is fine */
		WRITE_ONCE(pair->doubt, doubt - 1);
		return false;
	}
	return READ_ONCE(pair->stream_cpu) == raw_smp_processor_id() &&
	       !is_idle_task(current) && hrtimer_resolution <= PATIENCE_NS &&
	       !READ_ONCE(pair->deferring);	/* newcomers park */
}

static void start_patience(struct pair *pair)
{
	WRITE_ONCE(pair->served_then, READ_ONCE(pair->served));
	hrtimer_start_range_ns(&pair->patience, ns_to_ktime(PATIENCE_NS),
			       PATIENCE_NS / 2, HRTIMER_MODE_REL);
}

/**
 * request_put_soon - request_put(), but a newcomer may route the request
 * @rq: the request; not to be touched afterwards
 *
 * Any context.
 */
void request_put_soon(struct repl_request *rq)
{
	struct pair *pair = rq->pair;

	if (!atomic_dec_and_test(&rq->pending))
		return;
	if (!expects_newcomer(pair)) {
		request_continue(rq);
		return;
	}
	/* As in pair_count_out(): the request may end, and the pair with it. */
	preempt_disable();
	/* A full barrier before the look at the timer: pairs with be_patient() */
	if (llist_add(&rq->ready, &pair->soon) &&
	    !hrtimer_is_queued(&pair->patience))
		start_patience(pair);
	preempt_enable();
}

static enum hrtimer_restart be_patient(struct hrtimer *timer)
{
	struct pair *pair = container_of(timer, struct pair, patience);
	bool right = READ_ONCE(pair->served) != READ_ONCE(pair->served_then);

	if (right)
		pair->caution = DOUBTED;
	/* Not queued before the list: pairs with request_put_soon(). */
	smp_mb();
	if (llist_empty(&pair->soon))
		return HRTIMER_NORESTART;
	/* Started, not forwarded: somebody else may be starting it, too. */
	if (right) {
		start_patience(pair);
		return HRTIMER_NORESTART;
	}
	/* The spiller, here on the processor, says nothing of newcomers. */
	if (READ_ONCE(pair->cow.spiller) != current) {
		WRITE_ONCE(pair->doubt, pair->caution);
		pair->caution = min(2 * pair->caution, MAX_DOUBTED);
	}
	wake_up_process(pair->worker);
	return HRTIMER_NORESTART;
}

/**
 * pair_serve_soon - a newcomer takes along those who are due soon
 * @pair: the pair
 *
 * In map of an origin's request; does not sleep.
 */
void pair_serve_soon(struct pair *pair)
{
	struct llist_node *nodes;

	if (likely(llist_empty(&pair->soon)))
		return;
	/* Before they are taken: be_patient(). Two may count as one. */
	WRITE_ONCE(pair->served, READ_ONCE(pair->served) + 1);
	nodes = llist_del_all(&pair->soon);
	serve(pair, llist_reverse_order(nodes), GFP_NOWAIT);
}

/**
 * pair_start_worker - make the thread behind request_continue()
 * @pair: a new pair
 * @route_again: what it does with a request; sleeps if its second argument does
 *
 * May sleep.
 *
 * Return: 0 or a negative errno.
 */
int pair_start_worker(struct pair *pair,
		      void (*route_again)(struct repl_request *rq, gfp_t gfp))
{
	struct task_struct *worker;

	compat_hrtimer_setup(&pair->patience, be_patient, CLOCK_MONOTONIC,
			     HRTIMER_MODE_REL);
	pair->stream_cpu = -1;
	pair->caution = DOUBTED;
	pair->route_again = route_again;
	worker = kthread_run(work, pair, "dm_repl/%s", pair->name);
	if (IS_ERR(worker))
		return PTR_ERR(worker);
	set_user_nice(worker, MIN_NICE);
	pair->worker = worker;
	return 0;
}

/**
 * pair_stop_worker - undo pair_start_worker()
 * @pair: a pair without requests
 *
 * May sleep.
 */
void pair_stop_worker(struct pair *pair)
{
	hrtimer_cancel(&pair->patience);
	kthread_stop(pair->worker);
}

/**
 * request_put - something that a waiting origin write waits for is done
 * @rq: the request; not to be touched afterwards
 *
 * Any context.
 */
void request_put(struct repl_request *rq)
{
	if (atomic_dec_and_test(&rq->pending))
		request_continue(rq);
}

/**
 * request_end_with - end a request here and now
 * @rq: the request, counted or not
 * @status: how
 *
 * Return: DM_MAPIO_SUBMITTED.
 */
int request_end_with(struct repl_request *rq, blk_status_t status)
{
	struct bio *bio = request_bio(rq);

	/*
	 * Not DM_MAPIO_KILL: end_io, which counts out, must come. The class
	 * tells it that this is no error of a device.
	 */
	rq->class = NR_ERROR_CLASSES;
	bio->bi_status = status;
	bio_endio(bio);
	return DM_MAPIO_SUBMITTED;
}

/*
 *---------------------------------------------------------------------------
 * Tracked reads
 *---------------------------------------------------------------------------
 */

static void join_reads(struct repl_request *rq, struct track *t,
		       struct bucket *b)
{
	t->rq = rq;
	t->bucket = b;
	spin_lock_irq(&b->lock);
	t->seq = ++b->seq;
	hlist_add_head(&t->list, &b->reads);
	spin_unlock_irq(&b->lock);
}

/* A read of several stretches. */
static noinline void join_several(struct repl_request *rq, unsigned long first,
				  unsigned long last)
{
	struct pair *pair = rq->pair;

	if (last - first > 1) {
		join_reads(rq, &rq->track[0], &pair->wide);
		rq->track[1].bucket = NULL;
		return;
	}
	join_reads(rq, &rq->track[0], pair_bucket(pair, first));
	join_reads(rq, &rq->track[1], pair_bucket(pair, last));
}

/**
 * request_track - a view read announces itself before it looks at the bits
 * @rq: the read
 *
 * Process context, interrupts on, does not sleep. Ends with a full barrier.
 */
void request_track(struct repl_request *rq)
{
	unsigned long first = rq->sector >> STRETCH_SHIFT;
	unsigned long last = (request_end(rq) - 1) >> STRETCH_SHIFT;

	rq->tracked = true;
	if (likely(first == last)) {
		join_reads(rq, &rq->track[0], pair_bucket(rq->pair, first));
		rq->track[1].bucket = NULL;
	} else {
		join_several(rq, first, last);
	}
	/* On the list before the bits: pairs with request_wait_for_reads(). */
	smp_mb();
}

static bool overlap(struct repl_request *a, struct repl_request *b)
{
	return a->sector < request_end(b) && b->sector < request_end(a);
}

static __always_inline void leave_reads(struct repl_request *rq,
					struct track *t)
{
	struct bucket *b = t->bucket;
	unsigned long flags;
	struct track *w;

	spin_lock_irqsave(&b->lock, flags);
	hlist_del(&t->list);
	hlist_for_each_entry(w, &b->writes, list)
		if ((long)(w->seq - t->seq) > 0 && overlap(w->rq, rq))
			request_put(w->rq);
	spin_unlock_irqrestore(&b->lock, flags);
	t->bucket = NULL;
}

static noinline void leave_second(struct repl_request *rq)
{
	leave_reads(rq, &rq->track[1]);
}

/**
 * request_untrack - a tracked read has ended
 * @rq: the read
 *
 * Any context.
 */
void request_untrack(struct repl_request *rq)
{
	rq->tracked = false;
	leave_reads(rq, &rq->track[0]);
	if (unlikely(rq->track[1].bucket))
		leave_second(rq);
}

static void join_writes(struct repl_request *rq, struct track *t,
			struct bucket *b)
{
	unsigned long flags;
	struct track *reader;
	int older = 0;

	spin_lock_irqsave(&b->lock, flags);
	hlist_for_each_entry(reader, &b->reads, list)
		older += overlap(reader->rq, rq);
	if (older) {
		atomic_add(older, &rq->pending);
		t->rq = rq;
		t->bucket = b;
		t->seq = ++b->seq;
		hlist_add_head(&t->list, &b->writes);
	}
	spin_unlock_irqrestore(&b->lock, flags);
}

static void leave_writes(struct track *t)
{
	unsigned long flags;

	if (!t->bucket)
		return;
	spin_lock_irqsave(&t->bucket->lock, flags);
	hlist_del(&t->list);
	spin_unlock_irqrestore(&t->bucket->lock, flags);
	t->bucket = NULL;
}

static noinline bool wait_for_reads(struct repl_request *rq)
{
	struct pair *pair = rq->pair;
	struct bucket *b;
	sector_t next;

	leave_writes(&rq->track[0]);
	leave_writes(&rq->track[1]);

	while (rq->done < rq->sectors) {
		next = rq->sector + rq->done;
		b = pair_bucket(pair, next >> STRETCH_SHIFT);
		next = (next | (STRETCH_SECTORS - 1)) + 1;
		rq->done = min_t(sector_t, next - rq->sector, rq->sectors);
		/* Saved bits before the lists: pairs with request_track(). */
		smp_mb();
		if (hlist_empty(&b->reads) && hlist_empty(&pair->wide.reads))
			continue;
		atomic_set(&rq->pending, 1);
		join_writes(rq, &rq->track[0], b);
		join_writes(rq, &rq->track[1], &pair->wide);
		if (!atomic_dec_and_test(&rq->pending))
			return false;
		leave_writes(&rq->track[0]);
		leave_writes(&rq->track[1]);
	}
	return true;
}

/**
 * request_wait_for_reads - an origin write lets older view reads go first
 * @rq: the write, whose old data is saved; rq->done sectors of it have passed
 *
 * Process context, does not sleep. A write lies in one stretch, but for a
 * discard of larger granularity: that one goes stretch by stretch, with
 * rq->done as its mark.
 *
 * Return: true if no older read overlaps any more; false if the request was
 * put to wait: the last read hands it to the worker, which calls this again.
 */
bool request_wait_for_reads(struct repl_request *rq)
{
	struct bucket *b = pair_bucket(rq->pair, rq->sector >> STRETCH_SHIFT);
	sector_t last = request_end(rq) - 1;

	if (!rq->done) {
		/* Saved bits before the lists: pairs with request_track(). */
		smp_mb();
		if (rq->sector >> STRETCH_SHIFT == last >> STRETCH_SHIFT &&
		    hlist_empty(&b->reads) &&
		    hlist_empty(&rq->pair->wide.reads))
			return true;
		rq->track[0].bucket = NULL;
		rq->track[1].bucket = NULL;
	}
	return wait_for_reads(rq);
}

/*
 *---------------------------------------------------------------------------
 * Errors and stages
 *---------------------------------------------------------------------------
 */

/**
 * pair_record_error - remember the first error, count all, tell who listens
 * @pair: the pair
 * @class: what failed
 * @error: negative errno
 * @sector: where
 *
 * Any context.
 */
void pair_record_error(struct pair *pair, enum error_class class, int error,
		       sector_t sector)
{
	unsigned long flags;
	bool first;

	spin_lock_irqsave(&pair->stage_lock, flags);
	first = !pair->error.total++;
	pair->error.of[class]++;
	if (first) {
		pair->error.error = error;
		pair->error.class = class;
		pair->error.sector = sector;
	}
	spin_unlock_irqrestore(&pair->stage_lock, flags);

	DMERR_LIMIT("%s: %s error %d at sector %llu", pair->name,
		    error_names[class], error, (unsigned long long)sector);
	trace_error(pair, class, error, sector);
	if (first)
		queue_work(pair->slow_wq, &pair->after_work);
}

/**
 * pair_set_stage - change what status shows and by what requests are routed
 * @pair: the pair
 * @stage: for status
 * @route: for requests
 */
void pair_set_stage(struct pair *pair, enum stage stage, enum stage route)
{
	unsigned long flags;

	spin_lock_irqsave(&pair->stage_lock, flags);
	WRITE_ONCE(pair->stage, stage);
	WRITE_ONCE(pair->route, route);
	spin_unlock_irqrestore(&pair->stage_lock, flags);
}

/**
 * pair_set_fence - refuse the origin's requests, or let them in
 * @pair: the pair
 * @up: refuse them
 *
 * Any context. Who finds the way open finds the stage that was set before.
 */
void pair_set_fence(struct pair *pair, bool up)
{
	bool was = pair->fenced;

	/* Pairs with the looks of request_admit(). */
	smp_store_release(&pair->fenced, up);
	if (was != up)
		trace_fence(pair, up);
}

/**
 * pair_invalidate - give the view up, so that the origin can go on
 * @pair: the pair, whose policy on a capture's error is drop_view
 *
 * Any context. Ends with a full barrier: a view request that saw what the
 * origin writes afterwards finds the stage invalid when it ends.
 *
 * Return: true if the origin write may go on without a capture; false if a
 * failover has begun, where the policy is to fail the write.
 */
bool pair_invalidate(struct pair *pair)
{
	bool now = false, invalid;
	unsigned long flags;

	spin_lock_irqsave(&pair->stage_lock, flags);
	if (pair->stage == STAGE_RUNNING && !pair->no_drop) {
		if (pair->metadata)
			metadata_unsettle(pair->metadata);
		WRITE_ONCE(pair->stage, STAGE_INVALID);
		WRITE_ONCE(pair->route, STAGE_INVALID);
		now = true;
	}
	invalid = pair->route == STAGE_INVALID;
	spin_unlock_irqrestore(&pair->stage_lock, flags);

	/* Pairs with the look at the end of a view request, view_end_io(). */
	smp_mb();
	if (now) {
		DMERR("%s: old data cannot be saved, the view is invalid",
		      pair->name);
		queue_work(pair->slow_wq, &pair->after_work);
	}
	return invalid;
}

static void init_bucket(struct bucket *b)
{
	spin_lock_init(&b->lock);
	INIT_HLIST_HEAD(&b->reads);
	INIT_HLIST_HEAD(&b->writes);
	INIT_LIST_HEAD(&b->captures);
}

/**
 * pair_init_requests - the part of a new pair that this file uses
 * @pair: the pair, zeroed
 */
void pair_init_requests(struct pair *pair)
{
	unsigned int i;

	spin_lock_init(&pair->stage_lock);
	spin_lock_init(&pair->park_lock);
	init_waitqueue_head(&pair->drain_wait);
	bio_list_init(&pair->parked);
	init_llist_head(&pair->ready);
	init_llist_head(&pair->soon);
	for (i = 0; i < NR_BUCKETS; i++)
		init_bucket(&pair->buckets[i]);
	init_bucket(&pair->wide);
}
