// SPDX-License-Identifier: GPL-2.0-only
/* The model's memory: tracks, requests under way, the rule, the report. */

#define _GNU_SOURCE
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "verify-model.h"

static u64 get(const _Atomic u64 *p)
{
	return atomic_load_explicit(p, memory_order_acquire);
}

static void put(_Atomic u64 *p, u64 v)
{
	atomic_store_explicit(p, v, memory_order_release);
}

static void track_init(struct track *t, u64 sectors)
{
	t->sub = xcalloc(sectors, sizeof(*t->sub));
	t->ack = xcalloc(sectors, sizeof(*t->ack));
}

static void open_devices(struct model *m, struct opts *o)
{
	dev_open(&m->view, "view", o->view, true);
	dev_open(&m->origin, "origin", o->origin, true);
	dev_open(&m->secondary, "secondary", o->secondary, false);
	if (m->view.sectors != m->origin.sectors ||
	    m->view.sectors != m->secondary.sectors)
		die("view, origin and secondary differ in length: %llu, %llu, %llu sectors",
		    (unsigned long long)m->view.sectors,
		    (unsigned long long)m->origin.sectors,
		    (unsigned long long)m->secondary.sectors);
}

void model_init(struct model *m, struct opts *o, unsigned int workers)
{
	pthread_rwlockattr_t attr;

	memset(m, 0, sizeof(*m));
	m->o = o;
	open_devices(m, o);
	m->name = o->view_name ? o->view_name : dm_name_of(o->view);
	m->sectors = m->view.sectors;
	m->max_sectors = o->max_kib * 2;
	if (m->max_sectors > m->sectors)
		m->max_sectors = m->sectors;
	track_init(&m->org, m->sectors);
	track_init(&m->act, m->sectors);
	m->frozen = xcalloc(m->sectors, sizeof(*m->frozen));
	m->unsure = xcalloc(m->sectors, 1);
	m->log = xcalloc(LOG_RECORDS, sizeof(*m->log));
	m->nslots = workers;
	atomic_store(&m->phase, PH_RUNNING);
	pthread_rwlockattr_init(&attr);
	pthread_rwlockattr_setkind_np(&attr,
				      PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
	pthread_rwlock_init(&m->world, &attr);
	pthread_mutex_init(&m->slots_lock, NULL);
}

void model_free(struct model *m)
{
	free(m->org.sub);
	free(m->org.ack);
	free(m->act.sub);
	free(m->act.ack);
	free(m->frozen);
	free(m->unsure);
	free(m->log);
}

void model_new_epoch(struct model *m)
{
	u64 s;

	for (s = 0; s < m->sectors; s++) {
		m->frozen[s] = get(&m->org.ack[s]);
		put(&m->act.sub[s], 0);
		put(&m->act.ack[s], 0);
	}
	m->epoch++;
	m->epoch_seq = atomic_load(&m->seq);
}

const char *op_text(enum operation op)
{
	static const char *const text[OP_COUNT] = {
		[OP_NONE] = "nothing",
		[OP_ORG_WRITE] = "origin write",
		[OP_ORG_ZERO] = "origin write-zeroes",
		[OP_ORG_DISCARD] = "origin discard",
		[OP_ORG_READ] = "origin read",
		[OP_ORG_FLUSH] = "origin flush",
		[OP_VIEW_WRITE] = "view write",
		[OP_VIEW_ZERO] = "view write of zeroes",
		[OP_VIEW_DISCARD] = "view discard",
		[OP_VIEW_READ] = "view read",
		[OP_VIEW_FLUSH] = "view flush",
		[OP_SEC_READ] = "secondary read",
		[OP_CHECKPOINT] = "checkpoint",
		[OP_RESTART] = "stop and start",
		[OP_COMPARE] = "full compare",
		[OP_HOLD] = "set hold_mib",
		[OP_END] = "failover or promote",
	};

	return text[op];
}

/* ---- where and how much ---- */

static u64 pick_count(struct worker *w, u64 block)
{
	struct rng *r = &w->rng;
	u64 max = w->m->max_sectors, kind = rng_below(r, 100), n, top = 5;

	if (kind < 15) {
		n = block;
	} else if (kind < 35) {
		n = 1 + rng_below(r, 16);
	} else if (kind < 50) {
		n = 8;
	} else if (kind < 57) {
		n = 128;
	} else if (kind < 60) {
		n = max;
	} else {	/* every magnitude is as likely */
		while (1ull << top < max)
			top++;
		n = 1 + rng_below(r, 1ull << (4 + rng_below(r, top - 3)));
	}
	if (n > max)
		n = max;
	n = n / block * block;
	return n ? n : block;
}

/* A sector at which something of another worker is under way, or this one's last. */
static u64 pick_busy(struct worker *w)
{
	struct model *m = w->m;
	u64 sector = w->last_sector;
	struct slot *sl;

	if (m->nslots < 2)
		return sector;
	pthread_mutex_lock(&m->slots_lock);
	sl = &m->slots[rng_below(&w->rng, m->nslots)];
	if (sl->op != OP_NONE)
		sector = sl->sector + rng_below(&w->rng, sl->count);
	pthread_mutex_unlock(&m->slots_lock);
	return sector;
}

/* At, before or across a border of pages, 64 KiB, 1 MiB or the device's end. */
static u64 pick_border(struct worker *w, u64 count)
{
	static const u64 unit[] = { 8, 8, 128, MIB_SECTORS, MIB_SECTORS };
	struct rng *r = &w->rng;
	u64 sectors = w->m->sectors, u = unit[rng_below(r, 5)], at, back;

	if (rng_chance(r, 8))
		at = sectors;
	else if (rng_chance(r, 50))
		at = (atomic_load(&w->m->hot) / u + rng_below(r, 4096 / u + 4)) * u;
	else
		at = rng_below(r, sectors / u + 1) * u;
	switch (rng_below(r, 3)) {
	case 0:
		return at;
	case 1:
		back = count;
		break;
	default:
		back = rng_below(r, count + 1);
	}
	return at > back ? at - back : 0;
}

void pick_range(struct worker *w, const struct dev *d, u64 *sector, u64 *count)
{
	u64 sectors = w->m->sectors, kind = rng_below(&w->rng, 100);
	u64 n = pick_count(w, d->block), s;

	if (kind < 25)
		s = pick_busy(w);
	else if (kind < 60)
		s = pick_border(w, n);
	else if (kind < 85)
		s = atomic_load(&w->m->hot) + rng_below(&w->rng, 4096);
	else
		s = rng_below(&w->rng, sectors);
	if (s > sectors - n)
		s = sectors - n;
	s = s / d->block * d->block;
	w->last_sector = s;
	*sector = s;
	*count = n;
}

/* ---- requests under way ---- */

static bool overlap(const struct slot *a, u64 sector, u64 count)
{
	return a->sector < sector + count && sector < a->sector + a->count;
}

/* Which of two writes at once a sector keeps, only the device can tell. */
static void mark_unsure(struct model *m, const struct slot *o, u64 sector, u64 count)
{
	u64 from = o->sector > sector ? o->sector : sector;
	u64 to = o->sector + o->count;

	if (to > sector + count)
		to = sector + count;
	memset(m->unsure + from, 1, to - from);
}

static u64 new_id(struct model *m, enum operation op)
{
	u64 id = atomic_fetch_add(&m->seq, 1) + 1;

	return op == OP_ORG_WRITE || op == OP_VIEW_WRITE ? id : id | ID_ZERO;
}

/*
 * Announces a request. A write gets its id, and is entered as submitted; 0
 * means that another writer is at these sectors.
 */
u64 slot_take(struct worker *w, enum operation op, struct track *t, u64 sector, u64 count)
{
	struct model *m = w->m;
	bool shared = m->o->overlap && t == &m->org;
	struct slot *sl;
	u64 id = 1, s;

	pthread_mutex_lock(&m->slots_lock);
	if (shared)
		memset(m->unsure + sector, 0, count);
	for (sl = m->slots; t && sl < m->slots + m->nslots; sl++) {
		if (sl->track != t || !overlap(sl, sector, count))
			continue;
		if (!shared) {
			id = 0;
			goto out;
		}
		mark_unsure(m, sl, sector, count);
	}
	if (t) {
		id = new_id(m, op);
		for (s = sector; s < sector + count; s++)
			put(&t->sub[s], id);
	}
	m->slots[w->id] = (struct slot){ sector, count, t, op };
out:
	pthread_mutex_unlock(&m->slots_lock);
	return id;
}

/* The write in this worker's slot has ended well. */
void slot_ack(struct worker *w, u64 id)
{
	struct model *m = w->m;
	struct slot *sl = &m->slots[w->id];
	bool shared = m->o->overlap && sl->track == &m->org;
	u64 s;

	if (shared)
		pthread_mutex_lock(&m->slots_lock);
	for (s = sl->sector; s < sl->sector + sl->count; s++)
		if (!shared || !m->unsure[s])
			put(&sl->track->ack[s], id);
	if (shared)
		pthread_mutex_unlock(&m->slots_lock);
}

void slot_drop(struct worker *w)
{
	struct model *m = w->m;

	pthread_mutex_lock(&m->slots_lock);
	m->slots[w->id].op = OP_NONE;
	m->slots[w->id].track = NULL;
	pthread_mutex_unlock(&m->slots_lock);
}

void log_op(struct worker *w, const struct record *r)
{
	struct model *m = w->m;
	u64 at = atomic_fetch_add(&m->logged, 1) % LOG_RECORDS;

	m->log[at] = *r;
	m->log[at].worker = w->id;
	m->log[at].epoch = m->epoch;
	m->log[at].end = now_us();
}

/* ---- the report ---- */

static bool concerns(const struct record *r, u64 sector)
{
	return !r->count || (r->sector <= sector && sector < r->sector + r->count);
}

static void report_record(const struct record *r)
{
	char what[64] = "";

	if (r->count)
		snprintf(what, sizeof(what), " sectors %llu+%llu seq %llu", U(r->sector),
			 U(r->count), U(ID_SEQ(r->seq)));
	finding_line("  %9llu..%9llu us worker %u epoch %llu %s%s%s%s", U(r->begin),
		     U(r->end), r->worker, U(r->epoch), op_text(r->op), what,
		     r->err ? ": " : "", r->err ? strerror(-r->err) : "");
}

static void report_history(struct model *m, u64 sector)
{
	u64 logged = atomic_load(&m->logged), i, first = logged, shown = 0;

	for (i = logged; i && logged - i < LOG_RECORDS && shown < 14; i--)
		if (concerns(&m->log[(i - 1) % LOG_RECORDS], sector)) {
			shown++;
			first = i - 1;
		}
	finding_line("  what touched this sector, and transitions, by their ends:");
	for (i = first; i < logged; i++)
		if (concerns(&m->log[i % LOG_RECORDS], sector))
			report_record(&m->log[i % LOG_RECORDS]);
}

/* What a read found wrong first. */
struct wrong {
	const struct dev *d;
	const struct track *t;
	u64 sector, lo;
	struct stamp st;
	u64 first, count, bad;			/* the read; how many are wrong */
};

static void report(struct model *m, const struct wrong *x)
{
	u64 s = x->sector, base = x->lo;
	const char *whose = "the origin's write";
	char want[64], last[64], found[256];

	if (!finding_begin())
		return;
	if (x->t == &m->act) {
		whose = x->lo ? "active" : "frozen";
		base = x->lo ? x->lo : m->frozen[s];
	}
	finding_line("%s at sector %llu (byte %llu, page %llu, MiB %llu), epoch %llu",
		     x->d->role, U(s), U(s * SECTOR_SIZE), U(s / 8), U(s / MIB_SECTORS),
		     U(m->epoch));
	finding_line("  expected %s: %s %s, submitted meanwhile %s", x->d->role, whose,
		     id_text(base, want, sizeof(want)),
		     id_text(get(&x->t->sub[s]), last, sizeof(last)));
	finding_line("  found: %s", stamp_text(&x->st, found, sizeof(found)));
	finding_line("  %llu of the sectors %llu+%llu read are wrong", U(x->bad),
		     U(x->first), U(x->count));
	finding_line("  model: origin acknowledged %llu submitted %llu, frozen %llu,",
		     U(ID_SEQ(get(&m->org.ack[s]))), U(ID_SEQ(get(&m->org.sub[s]))),
		     U(ID_SEQ(m->frozen[s])));
	finding_line("         view acknowledged %llu submitted %llu",
		     U(ID_SEQ(get(&m->act.ack[s]))), U(ID_SEQ(get(&m->act.sub[s]))));
	report_history(m, s);
	finding_end();
}

/* ---- the rule ---- */

/* origin and secondary follow org until the view has become the disk */
struct track *rule_of(struct model *m, const struct dev *d)
{
	enum phase phase = atomic_load(&m->phase);

	if (phase == PH_DONE)
		return &m->act;
	if (phase == PH_STOPPED)
		return &m->org;
	return d == &m->view ? &m->act : &m->org;
}

void rule_before(struct worker *w, const struct track *t, u64 sector, u64 count)
{
	u64 i;

	for (i = 0; i < count; i++)
		w->lo[i] = get(&t->ack[sector + i]);
}

static bool rule_holds(const struct model *m, const struct track *t, u64 sector,
		       u64 lo, const struct stamp *st)
{
	bool act = t == &m->act;
	u64 base = act && !lo ? m->frozen[sector] : lo;
	u64 hi = get(&t->sub[sector]);

	if (st->content == IS_ZERO)
		return (base & ID_ZERO) || (hi != lo && m->zeroes);
	if (st->content == IS_TORN || st->content == IS_JUNK)
		return m->o->torn && hi != lo;
	if (st->content != IS_STAMP)
		return false;
	if (st->seq == base)
		return true;
	return hi != lo && st->kind == (act ? BY_VIEW : BY_ORIGIN) &&
	       st->seq > (act && !lo ? m->epoch_seq : ID_SEQ(lo)) &&
	       st->seq <= ID_SEQ(hi);
}

void rule_check(struct worker *w, const struct dev *d, struct track *t,
		u64 sector, u64 count, const unsigned char *buf)
{
	struct wrong x = { .d = d, .t = t, .first = sector, .count = count };
	struct model *m = w->m;
	struct stamp st;
	u64 i;

	for (i = 0; i < count; i++) {
		stamp_read(buf + i * SECTOR_SIZE, sector + i, &st);
		if (rule_holds(m, t, sector + i, w->lo[i], &st))
			continue;
		if (!x.bad++) {
			x.sector = sector + i;
			x.lo = w->lo[i];
			x.st = st;
		}
	}
	atomic_fetch_add(&m->compares, 1);
	atomic_fetch_add(&m->compared, count);
	if (x.bad)
		report(m, &x);
}

/* Reads and compares; an error is a finding too. */
void compare_range(struct worker *w, const struct dev *d, u64 sector, u64 count)
{
	struct track *t = rule_of(w->m, d);
	int err;

	rule_before(w, t, sector, count);
	err = dev_read(d, w->buf, sector, count);
	if (err)
		finding("read of %s sectors %llu+%llu failed: %s", d->role,
			(unsigned long long)sector, (unsigned long long)count,
			strerror(-err));
	else
		rule_check(w, d, t, sector, count, w->buf);
}

/* All of view and secondary; nothing else may be under way. */
void compare_all(struct worker *w)
{
	struct model *m = w->m;
	u64 s, n;

	for (s = 0; s < m->sectors && !failed(); s += n) {
		n = m->sectors - s < MIB_SECTORS ? m->sectors - s : MIB_SECTORS;
		compare_range(w, &m->view, s, n);
		compare_range(w, &m->secondary, s, n);
	}
}
