// SPDX-License-Identifier: GPL-2.0-only
/* The operations: each does one thing to the pair, to the model, and compares. */

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "verify-model.h"

bool op_is_exclusive(enum operation op)
{
	return op == OP_CHECKPOINT || op == OP_RESTART || op == OP_COMPARE;
}

static bool op_is_origin(enum operation op)
{
	return op >= OP_ORG_WRITE && op <= OP_ORG_FLUSH;
}

static void count_op(struct worker *w, struct record *r)
{
	log_op(w, r);
	atomic_fetch_add(&w->m->ops, 1);
}

/*
 * Did the request end as it must? True if it took effect. The origin is
 * refused from the moment the failover message has returned, and may be while
 * it is under way; the view refuses only what changes it, and only when stopped.
 */
static bool outcome(struct worker *w, const struct record *r, bool fenced)
{
	struct model *m = w->m;
	bool origin = op_is_origin(r->op);
	bool refused = origin ? fenced :
		       atomic_load(&m->phase) == PH_STOPPED && r->op != OP_VIEW_READ;

	if (refused && r->err != -EIO)
		finding("%s sectors %llu+%llu must be refused with EIO, and %s",
			op_text(r->op), U(r->sector), U(r->count),
			r->err ? strerror(-r->err) : "succeeded");
	else if (refused)
		atomic_fetch_add(&m->late_writes, 1);
	else if (r->err && !(origin && r->err == -EIO && atomic_load(&m->fence_sent)))
		finding("%s sectors %llu+%llu failed: %s", op_text(r->op), U(r->sector),
			U(r->count), strerror(-r->err));
	return !r->err;
}

/* Sends what a record says, but a read or a flush. Return: 0 or -errno. */
int submit_change(struct worker *w, const struct dev *d, const struct record *r)
{
	enum writer_kind kind = op_is_origin(r->op) ? BY_ORIGIN : BY_VIEW;

	switch (r->op) {
	case OP_ORG_ZERO:
	case OP_VIEW_ZERO:
		return dev_zero(d, r->sector, r->count);
	case OP_ORG_DISCARD:
	case OP_VIEW_DISCARD:
		return dev_discard(d, r->sector, r->count);
	default:
		stamp_write(w->buf, r->sector, r->count, r->seq, kind, w->id,
			    w->m->epoch);
		return dev_write(d, w->buf, r->sector, r->count,
				 rng_chance(&w->rng, 5));
	}
}

/*
 * What a discard leaves is the device's choice, sector by sector: what was
 * there, or zeroes. Whatever it chose must stay.
 */
static void settle_discard(struct worker *w, const struct dev *d, struct track *t,
			   const struct record *r)
{
	struct stamp st;
	u64 i, s;
	int err;

	rule_before(w, t, r->sector, r->count);
	err = dev_read(d, w->buf, r->sector, r->count);
	/* the failover undoes it, whatever it left */
	if (d == &w->m->origin && atomic_load(&w->m->fence_sent))
		return;
	if (err) {
		finding("read of %s sectors %llu+%llu after a discard failed: %s",
			d->role, U(r->sector), U(r->count), strerror(-err));
		return;
	}
	rule_check(w, d, t, r->sector, r->count, w->buf);
	for (i = 0; i < r->count; i++) {
		s = r->sector + i;
		stamp_read(w->buf + i * SECTOR_SIZE, s, &st);
		if (st.content == IS_ZERO)
			atomic_store(&t->ack[s], r->seq);
		else
			atomic_store(&t->sub[s], w->lo[i]);
	}
}

static void op_write(struct worker *w, const struct dev *d, struct track *t, enum operation op)
{
	struct record r = { .op = op };
	unsigned int tries;
	bool fenced;

	for (tries = 0; !r.seq; tries++) {
		if (tries == 10)
			return;
		pick_range(w, d, &r.sector, &r.count);
		r.seq = slot_take(w, op, t, r.sector, r.count);
	}
	fenced = atomic_load(&w->m->fence_back);
	r.begin = now_us();
	r.err = submit_change(w, d, &r);
	if (outcome(w, &r, fenced) && t) {
		if (op == OP_ORG_DISCARD || op == OP_VIEW_DISCARD)
			settle_discard(w, d, t, &r);
		else
			slot_ack(w, r.seq);
	}
	slot_drop(w);
	count_op(w, &r);
}

static void op_read(struct worker *w, const struct dev *d, enum operation op)
{
	struct track *t = rule_of(w->m, d);
	struct record r = { .op = op };
	bool fenced;

	pick_range(w, d, &r.sector, &r.count);
	slot_take(w, op, NULL, r.sector, r.count);
	rule_before(w, t, r.sector, r.count);
	fenced = atomic_load(&w->m->fence_back);
	r.begin = now_us();
	r.err = dev_read(d, w->buf, r.sector, r.count);
	if (outcome(w, &r, fenced) &&
	    !(d == &w->m->origin && atomic_load(&w->m->fence_sent)))
		rule_check(w, d, t, r.sector, r.count, w->buf);
	slot_drop(w);
	count_op(w, &r);
}

static void op_flush(struct worker *w, const struct dev *d, enum operation op)
{
	struct record r = { .op = op, .begin = now_us() };
	bool fenced = atomic_load(&w->m->fence_back);

	/* count stays 0 in the log only for transitions */
	r.sector = ~0ull;
	r.count = 1;
	r.err = dev_flush(d);
	outcome(w, &r, fenced);
	count_op(w, &r);
}

static void op_view_discard(struct worker *w)
{
	struct model *m = w->m;

	if (!m->view.discards)
		return;
	switch (atomic_load(&m->phase)) {
	case PH_RUNNING:	/* accepted, without effect */
		op_write(w, &m->view, NULL, OP_VIEW_DISCARD);
		break;
	case PH_DONE:
		op_write(w, &m->view, &m->act, OP_VIEW_DISCARD);
		break;
	default:
		break;
	}
}

/* ---- transitions: nothing else is under way ---- */

static u64 active_sectors(struct model *m)
{
	u64 s, n = 0;

	for (s = 0; s < m->sectors; s++)
		n += atomic_load(&m->act.ack[s]) != 0;
	return n;
}

static bool read_status(struct model *m, struct pair_status *st)
{
	int err = dm_pair_status(m->name, st);

	if (err)
		finding("status of %s: %s", m->name, err == -EPROTO ?
			"not that of a view" : strerror(-err));
	return !err;
}

bool stage_is(struct model *m, const char *want)
{
	struct pair_status st;

	if (!read_status(m, &st))
		return false;
	if (strcmp(st.stage, want))
		finding("%s is in stage %s, not %s", m->name, st.stage, want);
	return !strcmp(st.stage, want);
}

static void check_status(struct model *m)
{
	struct pair_status st;
	u64 active = active_sectors(m);

	if (!read_status(m, &st))
		return;
	if (strcmp(st.stage, "running") || strcmp(st.error, "none") || st.errors)
		finding("status: stage %s, error %s, %llu errors; expected running, none, 0",
			st.stage, st.error, U(st.errors));
	if (st.active != active)
		finding("status: %llu active sectors; the view wrote %llu", U(st.active),
			U(active));
	if (st.epoch != m->pair_epoch)
		finding("status: epoch %llu; expected %llu", U(st.epoch),
			U(m->pair_epoch));
}

void settle_unsure(struct worker *w)
{
	struct model *m = w->m;
	struct stamp st;
	u64 s, n, i;

	for (s = 0; s < m->sectors; s += n) {
		n = m->sectors - s < MIB_SECTORS ? m->sectors - s : MIB_SECTORS;
		if (!memchr(m->unsure + s, 1, n))
			continue;
		compare_range(w, &m->origin, s, n);
		for (i = 0; i < n; i++) {
			if (!m->unsure[s + i])
				continue;
			stamp_read(w->buf + i * SECTOR_SIZE, s + i, &st);
			atomic_store(&m->org.ack[s + i], st.seq);
			atomic_store(&m->org.sub[s + i], st.seq);
			m->unsure[s + i] = 0;
		}
	}
}

static void compare_some(struct worker *w)
{
	struct model *m = w->m;
	u64 i, s, n = MIB_SECTORS / 8;

	if (n > m->sectors)
		n = m->sectors;
	for (i = 0; i < 3; i++) {
		s = i ? rng_below(&w->rng, m->sectors) : atomic_load(&m->hot);
		if (s > m->sectors - n)
			s = m->sectors - n;
		s = s / m->view.block * m->view.block;
		compare_range(w, &m->view, s, n / m->view.block * m->view.block);
	}
}

static void new_epoch(struct worker *w)
{
	struct model *m = w->m;
	struct pair_status st;

	model_new_epoch(m);
	if (read_status(m, &st))
		m->pair_epoch = st.epoch;
	if (rng_chance(&w->rng, 30))
		atomic_store(&m->hot, rng_below(&w->rng, m->sectors));
}

static void op_checkpoint(struct worker *w)
{
	struct record r = { .op = OP_CHECKPOINT, .begin = now_us() };
	struct model *m = w->m;
	u64 before = m->pair_epoch;

	if (atomic_load(&m->phase) != PH_RUNNING) {
		if (atomic_load(&m->fence_back))	/* ignored, without error */
			must_message(m->name, "checkpoint");
		return;
	}
	settle_unsure(w);
	check_status(m);
	must_message(m->name, "checkpoint");
	new_epoch(w);
	if (m->pair_epoch != before + 1)
		finding("checkpoint took the epoch from %llu to %llu", U(before),
			U(m->pair_epoch));
	atomic_fetch_add(&m->checkpoints, 1);
	count_op(w, &r);
	check_status(m);
	compare_some(w);
}

static void op_restart(struct worker *w)
{
	struct record r = { .op = OP_RESTART, .begin = now_us() };
	struct model *m = w->m;
	unsigned int i;

	if (atomic_load(&m->phase) != PH_RUNNING)
		return;
	settle_unsure(w);
	must_message(m->name, "stop");
	atomic_store(&m->phase, PH_STOPPED);
	stage_is(m, "stopped");
	for (i = 0; i < 8 && !failed(); i++) {
		op_write(w, &m->origin, &m->org, OP_ORG_WRITE);
		op_read(w, &m->view, OP_VIEW_READ);
		op_write(w, &m->view, NULL, OP_VIEW_WRITE);
		op_flush(w, &m->view, OP_VIEW_FLUSH);
	}
	compare_some(w);
	must_message(m->name, "start");
	atomic_store(&m->phase, PH_RUNNING);
	new_epoch(w);
	count_op(w, &r);
	check_status(m);
}

static void op_hold(struct worker *w)
{
	static const char *const text[] = {
		"set hold_mib 0", "set hold_mib 1", "set hold_mib 2", "set hold_mib 32",
	};

	must_message(w->m->name, text[rng_below(&w->rng, 4)]);
	atomic_fetch_add(&w->m->ops, 1);
}

static void op_compare(struct worker *w)
{
	struct record r = { .op = OP_COMPARE, .begin = now_us() };

	if (atomic_load(&w->m->phase) == PH_FAILOVER)
		return;
	settle_unsure(w);
	compare_all(w);
	count_op(w, &r);
}

static void op_sec_read(struct worker *w)
{
	if (atomic_load(&w->m->phase) == PH_RUNNING)
		op_read(w, &w->m->secondary, OP_SEC_READ);
}

void run_op(struct worker *w, enum operation op)
{
	struct model *m = w->m;

	switch (op) {
	case OP_ORG_DISCARD:
		if (!m->origin.discards)
			break;
		/* fall through */
	case OP_ORG_WRITE:
	case OP_ORG_ZERO:
		op_write(w, &m->origin, &m->org, op);
		break;
	case OP_ORG_READ:
		op_read(w, &m->origin, op);
		break;
	case OP_ORG_FLUSH:
		op_flush(w, &m->origin, op);
		break;
	case OP_VIEW_WRITE:
	case OP_VIEW_ZERO:
		op_write(w, &m->view, &m->act, op);
		break;
	case OP_VIEW_DISCARD:
		op_view_discard(w);
		break;
	case OP_VIEW_READ:
		op_read(w, &m->view, op);
		break;
	case OP_VIEW_FLUSH:
		op_flush(w, &m->view, op);
		break;
	case OP_SEC_READ:
		op_sec_read(w);
		break;
	case OP_CHECKPOINT:
		op_checkpoint(w);
		break;
	case OP_RESTART:
		op_restart(w);
		break;
	case OP_COMPARE:
		op_compare(w);
		break;
	case OP_HOLD:
		op_hold(w);
		break;
	case OP_NONE:
	case OP_END:
	case OP_COUNT:
		break;
	}
}

/* ---- the beginning ---- */

/* The pair may be given in stage none, stopped or running. */
void begin_running(struct worker *w)
{
	struct model *m = w->m;
	bool running = pair_is_running(m->name);
	u64 id = atomic_fetch_add(&m->seq, 1) + 1, s;

	dev_fill(&m->origin, w->buf, id);
	for (s = 0; s < m->sectors; s++) {
		atomic_store(&m->org.sub[s], id);
		atomic_store(&m->org.ack[s], id);
	}
	pair_begin(m->name, running ? "checkpoint" : "start");
	new_epoch(w);
	check_status(m);
}
