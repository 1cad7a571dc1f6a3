// SPDX-License-Identifier: GPL-2.0-only
/* model and failover-load: who does what, how often, and how it ends. */

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "verify-model.h"

typedef unsigned short weights_t[OP_COUNT];

/* in thousandths of a worker's operations, more or less */
static const weights_t alone = {
	[OP_ORG_WRITE] = 290, [OP_ORG_ZERO] = 15, [OP_ORG_DISCARD] = 25,
	[OP_ORG_READ] = 40, [OP_ORG_FLUSH] = 15, [OP_VIEW_WRITE] = 210,
	[OP_VIEW_ZERO] = 10, [OP_VIEW_DISCARD] = 10, [OP_VIEW_READ] = 310,
	[OP_VIEW_FLUSH] = 15, [OP_SEC_READ] = 40, [OP_CHECKPOINT] = 25,
	[OP_RESTART] = 2, [OP_COMPARE] = 1, [OP_HOLD] = 3,
};

static const weights_t origin_writer = {
	[OP_ORG_WRITE] = 850, [OP_ORG_ZERO] = 20, [OP_ORG_DISCARD] = 30,
	[OP_ORG_READ] = 60, [OP_ORG_FLUSH] = 20, [OP_CHECKPOINT] = 60,
	[OP_RESTART] = 2, [OP_HOLD] = 5,
};

static const weights_t view_reader = {
	[OP_VIEW_READ] = 940, [OP_SEC_READ] = 50, [OP_VIEW_FLUSH] = 10,
	[OP_COMPARE] = 1,
};

static const weights_t view_writer = {
	[OP_VIEW_WRITE] = 750, [OP_VIEW_ZERO] = 20, [OP_VIEW_DISCARD] = 20,
	[OP_VIEW_READ] = 190, [OP_VIEW_FLUSH] = 20,
};

static const weights_t after_the_end = {
	[OP_ORG_WRITE] = 100, [OP_VIEW_WRITE] = 300, [OP_VIEW_ZERO] = 10,
	[OP_VIEW_DISCARD] = 30, [OP_VIEW_READ] = 500, [OP_VIEW_FLUSH] = 30,
	[OP_CHECKPOINT] = 10,
};

static struct model model;
static struct worker workers[MAX_WORKERS];

static void set_weights(struct worker *w, const unsigned short *weights)
{
	unsigned int i;

	w->weights = weights;
	w->weight_sum = 0;
	for (i = 0; i < OP_COUNT; i++)
		w->weight_sum += weights[i];
}

static void worker_init(struct worker *w, struct model *m, unsigned int id)
{
	u64 max = m->max_sectors > MIB_SECTORS ? m->max_sectors : MIB_SECTORS;

	w->m = m;
	w->id = id;
	rng_seed(&w->rng, m->o->seed, id);
	w->buf = io_buffer(max * SECTOR_SIZE);
	w->lo = xcalloc(max, sizeof(*w->lo));
	set_weights(w, alone);
}

static bool op_allowed(const struct model *m, enum operation op)
{
	switch (op) {
	case OP_HOLD:
		return m->o->vary_hold;
	case OP_CHECKPOINT:	/* the end is to find much in the overlay */
	case OP_RESTART:
	case OP_COMPARE:
		return !atomic_load(&m->ending) || atomic_load(&m->fence_back);
	case OP_ORG_ZERO:
	case OP_ORG_DISCARD:	/* zeroes do not say which write they are of */
		return !m->o->overlap;
	default:
		return true;
	}
}

static enum operation pick_op(struct worker *w)
{
	unsigned int at = (unsigned int)rng_below(&w->rng, w->weight_sum), i;

	for (i = 0; i < OP_COUNT - 1 && at >= w->weights[i]; i++)
		at -= w->weights[i];
	return op_allowed(w->m, (enum operation)i) ? (enum operation)i : pick_op(w);
}

static void one_op(struct worker *w)
{
	struct model *m = w->m;
	enum operation op = pick_op(w);

	if (op_is_exclusive(op))
		pthread_rwlock_wrlock(&m->world);
	else
		pthread_rwlock_rdlock(&m->world);
	if (!failed())
		run_op(w, op);
	pthread_rwlock_unlock(&m->world);
}

static void *worker_main(void *arg)
{
	struct worker *w = arg;

	while (!failed() && atomic_fetch_sub(&w->m->ops_left, 1) > 0)
		one_op(w);
	return NULL;
}

static void run_workers(struct model *m)
{
	unsigned int i;

	for (i = 0; i < m->nslots; i++)
		if (pthread_create(&workers[i].thread, NULL, worker_main, &workers[i]))
			die("cannot start a thread");
}

static void join_workers(struct model *m)
{
	unsigned int i;

	for (i = 0; i < m->nslots; i++)
		pthread_join(workers[i].thread, NULL);
}

/* ---- the end ---- */

/* The view is the disk now, whatever the origin wrote meanwhile. */
static void view_is_disk(struct model *m)
{
	atomic_store(&m->phase, PH_DONE);
}

/* Waits for the commit; with one worker, its operations go on meanwhile. */
static void wait_done(struct model *m)
{
	u64 begin = now_us(), limit = m->o->bound_s * 1000000;
	struct pair_status st = { .stage = "" };
	int err;

	while (!failed()) {
		err = dm_pair_status(m->name, &st);
		if (err)
			finding("status of %s: %s", m->name, strerror(-err));
		else if (!strcmp(st.stage, "done"))
			break;
		else if (strcmp(st.stage, "failover"))
			finding("stage %s (error %s) while the commit runs", st.stage,
				st.error);
		if (now_us() - begin > limit)
			finding("the commit has not ended in %llu s", U(m->o->bound_s));
		if (m->nslots == 1)
			one_op(workers);
		else
			sleep_us(2000);
	}
	m->commit_us = now_us() - begin;
	if (!failed() && strcmp(st.error, "none"))
		finding("after the failover: error %s", st.error);
}

static void fence(struct model *m, const char *message)
{
	struct record r = { .op = OP_END, .begin = now_us() };

	atomic_store(&m->fence_sent, true);
	must_message(m->name, message);
	atomic_store(&m->fence_back, true);
	log_op(&workers[0], &r);
}

/* Worker 0 alone. */
static void some_ops(u64 n, const unsigned short *weights)
{
	set_weights(&workers[0], weights);
	for (; n && !failed(); n--)
		one_op(&workers[0]);
}

/* All go on through the failover, and do not know when it comes. */
static void failover_under_load(struct model *m)
{
	u64 until = atomic_load(&m->ops) + m->o->ops / 8 + 200;

	atomic_store(&m->ops_left, 1ll << 62);
	run_workers(m);
	while (atomic_load(&m->ops) < until && !failed())
		sleep_us(5000);
	/* what the commit moves makes secondary's content no matter for reads */
	pthread_rwlock_wrlock(&m->world);
	atomic_store(&m->phase, PH_FAILOVER);
	pthread_rwlock_unlock(&m->world);
	fence(m, "failover");
	wait_done(m);
	sleep_us(100000);
	atomic_store(&m->ops_left, 0);
	join_workers(m);
}

static void end_by_failover(struct model *m)
{
	if (m->nslots > 1) {
		failover_under_load(m);
	} else {
		some_ops(150, alone);
		set_weights(workers, after_the_end);
		atomic_store(&m->phase, PH_FAILOVER);
		fence(m, "failover");
		wait_done(m);
	}
	view_is_disk(m);
	some_ops(100, after_the_end);
}

static void end_by_promote(struct model *m)
{
	some_ops(150, alone);
	fence(m, "promote");
	stage_is(m, "done");
	model_new_epoch(m);
	view_is_disk(m);
	some_ops(100, after_the_end);
}

static void end_by_stop(struct model *m)
{
	some_ops(150, alone);
	must_message(m->name, "stop");
	stage_is(m, "stopped");
	atomic_store(&m->phase, PH_STOPPED);
}

static void end_run(struct model *m)
{
	const char *end = m->o->end;

	/* not always: reading all of it would hide what only a commit meets */
	if (!strcmp(end, "none") || rng_chance(&workers[0].rng, 50))
		compare_all(workers);
	atomic_store(&m->ending, true);
	if (failed())
		return;
	if (!strcmp(end, "failover"))
		end_by_failover(m);
	else if (!strcmp(end, "promote"))
		end_by_promote(m);
	else if (!strcmp(end, "stop"))
		end_by_stop(m);
	if (strcmp(end, "none") && !failed())
		compare_all(workers);
}

/* ---- progress ---- */

static void model_line(FILE *to)
{
	fprintf(to, "%llu operations, %llu compares, %llu checkpoints ",
		U(atomic_load(&model.ops)), U(atomic_load(&model.compares)),
		U(atomic_load(&model.checkpoints)));
}

static u64 model_done(void)
{
	return atomic_load(&model.ops) + atomic_load(&model.compares);
}

static void model_stalled(void)
{
	unsigned int i;

	for (i = 0; i < model.nslots; i++)
		if (model.slots[i].op != OP_NONE)
			finding_line("  worker %u waits for: %s sectors %llu+%llu", i,
				     op_text(model.slots[i].op),
				     U(model.slots[i].sector), U(model.slots[i].count));
}

static const struct progress_ops model_progress = {
	.line = model_line,
	.done = model_done,
	.stalled = model_stalled,
};

/* ---- the commands ---- */

static void prepare(struct model *m, struct opts *o)
{
	u64 n = o->writers + o->readers + o->view_writers;
	unsigned int i;

	if (n > MAX_WORKERS)
		die("%llu threads are too many, at most %u", U(n), MAX_WORKERS);
	model_init(m, o, n ? (unsigned int)n : 1);
	m->zeroes = true;
	for (i = 0; i < m->nslots; i++)
		worker_init(&workers[i], m, i);
	for (i = 0; n && i < m->nslots; i++)
		set_weights(&workers[i], i < o->writers ? origin_writer :
			    i < o->writers + o->readers ? view_reader : view_writer);
	progress_start(o->progress, &model_progress);
	begin_running(workers);
}

static int run_model(struct opts *o, const char *what)
{
	struct model *m = &model;
	u64 begin = now_us();
	unsigned int i;

	prepare(m, o);
	atomic_store(&m->ops_left, (long long)o->ops);
	if (m->nslots > 1) {
		run_workers(m);
		join_workers(m);
	} else {
		worker_main(workers);
	}
	settle_unsure(workers);
	if (!failed())
		end_run(m);
	progress_stop();
	printf("%s %s ops=%llu compares=%llu sectors=%llu checkpoints=%llu end=%s",
	       failed() ? "failed" : "ok", what, U(atomic_load(&m->ops)),
	       U(atomic_load(&m->compares)), U(atomic_load(&m->compared)),
	       U(atomic_load(&m->checkpoints)), o->end);
	printf(" refused=%llu commit_ms=%llu ms=%llu seed=%llu\n",
	       U(atomic_load(&m->late_writes)), U(m->commit_us / 1000),
	       U((now_us() - begin) / 1000), U(o->seed));
	for (i = 0; i < m->nslots; i++) {
		free(workers[i].buf);
		free(workers[i].lo);
	}
	model_free(m);
	return failed() ? EXIT_MISMATCH : EXIT_OK;
}

int cmd_model(struct opts *o)
{
	u64 t = o->threads;

	if (t > 1 && !o->writers && !o->readers && !o->view_writers) {
		o->view_writers = (t + 2) / 4;
		o->readers = (t + 1) / 3;
		o->writers = t - o->readers - o->view_writers;
	}
	return run_model(o, "model");
}

int cmd_failover_load(struct opts *o)
{
	o->end = "failover";
	if (!o->writers)
		o->writers = 2;
	if (!o->readers)
		o->readers = 1;
	if (!o->view_writers)
		o->view_writers = 4;
	return run_model(o, "failover-load");
}
