// SPDX-License-Identifier: GPL-2.0-only
/* Checkpoints while nothing pauses: bounds and pins. */

#define _GNU_SOURCE
#include <stdlib.h>
#include <string.h>

#include "verify-gen.h"

void gens_init(struct gens *g, u64 entries)
{
	pthread_rwlockattr_t attr;
	int i;

	memset(g, 0, sizeof(*g));
	g->entries = entries;
	g->sub = xcalloc(entries, sizeof(*g->sub));
	g->ack = xcalloc(entries, sizeof(*g->ack));
	for (i = 0; i < 2; i++) {
		g->epoch[i].lo = xcalloc(entries, sizeof(u64));
		g->epoch[i].hi = xcalloc(entries, sizeof(u64));
		g->epoch[i].pin = xcalloc(entries, sizeof(*g->epoch[i].pin));
	}
	pthread_rwlockattr_init(&attr);
	pthread_rwlockattr_setkind_np(&attr,
				      PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
	pthread_rwlock_init(&g->lock, &attr);
}

void gens_free(struct gens *g)
{
	int i;

	for (i = 0; i < 2; i++) {
		free(g->epoch[i].lo);
		free(g->epoch[i].hi);
		free(g->epoch[i].pin);
	}
	free(g->sub);
	free(g->ack);
}

static void note(u64 *to, const _Atomic u64 *from, u64 entries)
{
	u64 i;

	for (i = 0; i < entries; i++)
		to[i] = atomic_load_explicit(&from[i], memory_order_acquire);
}

void gens_checkpoint(struct gens *g, const char *name, const char *text)
{
	u64 number = atomic_load(&g->state) / 2 + 1, begin, took;
	struct epoch_bounds *e = &g->epoch[number % 2];

	/* readers still judge the epoch before the present one by these arrays */
	pthread_rwlock_wrlock(&g->lock);
	atomic_store(&g->state, (number - 1) * 2 + 1);
	pthread_rwlock_unlock(&g->lock);

	note(e->lo, g->ack, g->entries);
	begin = now_us();
	must_message(name, text);
	took = now_us() - begin;
	note(e->hi, g->sub, g->entries);
	memset((void *)e->pin, 0, g->entries * sizeof(*e->pin));

	pthread_rwlock_wrlock(&g->lock);
	atomic_store(&g->state, number * 2);
	pthread_rwlock_unlock(&g->lock);
	g->checkpoints++;
	g->latency_sum += took;
	if (took > g->latency_max)
		g->latency_max = took;
}

u64 gens_mark(struct gens *g)
{
	return atomic_load(&g->state);
}

enum when gens_settle(struct gens *g, u64 mark)
{
	u64 state;

	for (;;) {
		pthread_rwlock_rdlock(&g->lock);
		state = atomic_load(&g->state);
		if (!(state & 1) || failed())
			break;
		pthread_rwlock_unlock(&g->lock);
		sleep_us(200);
	}
	if (state == mark)
		return state & 1 ? TOO_LONG : IN_ONE;
	return state / 2 - mark / 2 == 1 ? ACROSS : TOO_LONG;
}

void gens_release(struct gens *g)
{
	pthread_rwlock_unlock(&g->lock);
}

bool gens_permits(struct gens *g, bool previous, u64 entry, u64 seq, bool pin)
{
	u64 number = atomic_load(&g->state) / 2 - previous, none = 0;
	struct epoch_bounds *e = &g->epoch[number % 2];

	if (seq < e->lo[entry] || seq > e->hi[entry])
		return false;
	if (!pin)
		none = atomic_load(&e->pin[entry]);
	else if (atomic_compare_exchange_strong(&e->pin[entry], &none, seq))
		return true;
	return !none || none == seq;
}

void gens_explain(struct gens *g, u64 entry)
{
	u64 number = atomic_load(&g->state) / 2;
	struct epoch_bounds *e;
	int old;

	for (old = 0; old < 2 && number > (u64)old; old++) {
		e = &g->epoch[(number - (u64)old) % 2];
		finding_line("  checkpoint %llu:", (unsigned long long)(number - (u64)old));
		finding_line("    acknowledged before the message: seq %llu",
			     (unsigned long long)e->lo[entry]);
		finding_line("    submitted before it returned: seq %llu",
			     (unsigned long long)e->hi[entry]);
		finding_line("    first read in its epoch: seq %llu",
			     (unsigned long long)atomic_load(&e->pin[entry]));
	}
	finding_line("  by now: acknowledged seq %llu, submitted %llu",
		     (unsigned long long)atomic_load(&g->ack[entry]),
		     (unsigned long long)atomic_load(&g->sub[entry]));
}
