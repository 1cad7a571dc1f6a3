/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Checkpoints while nothing pauses.
 *
 * An entry is something the origin's writer stamps again and again. Before a
 * checkpoint's message leaves, each entry's last acknowledged write is noted;
 * when it has returned, the last submitted one. What the view shows of the
 * entry in this epoch lies between the two, and the first value read is pinned:
 * every later read of the epoch must find the same.
 */
#ifndef DMREPL_VERIFY_GEN_H
#define DMREPL_VERIFY_GEN_H

#include "verify.h"

struct epoch_bounds {
	u64 *lo, *hi;
	_Atomic u64 *pin;
};

struct gens {
	u64 entries;
	_Atomic u64 *sub, *ack;
	struct epoch_bounds epoch[2];		/* by number % 2 */
	_Atomic u64 state;			/* number * 2, + 1: a message is under way */
	pthread_rwlock_t lock;			/* held shared while bounds are looked at */
	u64 checkpoints, latency_sum, latency_max;	/* microseconds */
};

enum when {
	IN_ONE,					/* no checkpoint since the mark */
	ACROSS,					/* exactly one: old or new, but whole */
	TOO_LONG,				/* more: says nothing */
};

void gens_init(struct gens *g, u64 entries);
void gens_free(struct gens *g);
/* Sends @text, which must be a checkpoint; the first call begins epoch 1. */
void gens_checkpoint(struct gens *g, const char *name, const char *text);

u64 gens_mark(struct gens *g);
/* Waits for a message under way; looks held stable until gens_release(). */
enum when gens_settle(struct gens *g, u64 mark);
void gens_release(struct gens *g);
/* Between settle and release: may the view show write @seq of @entry? */
bool gens_permits(struct gens *g, bool previous, u64 entry, u64 seq, bool pin);
/* How the verdict came to be, for a finding. */
void gens_explain(struct gens *g, u64 entry);

#endif
