/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The model of a pair, sector by sector:
 *
 *   org     what the origin's writes left on secondary
 *   frozen  what secondary held at the last checkpoint
 *   act     what the view wrote since
 *   view    act where there is something, else frozen
 *
 * A track knows for each sector the last write submitted and the last one
 * acknowledged. Writes to one sector of one track do not overlap (unless asked
 * for), so a read that began when 'ack' was LO and ended when 'sub' was HI must
 * return LO or a write after LO up to HI. With nothing under way that is one
 * value: the single-threaded model is exact by the same rule. A disk that reads
 * and writes a sector at once (--torn) may then return some bytes of each.
 */
#ifndef DMREPL_VERIFY_MODEL_H
#define DMREPL_VERIFY_MODEL_H

#include "verify.h"

struct track {
	_Atomic u64 *sub;
	_Atomic u64 *ack;
};

enum phase { PH_RUNNING, PH_STOPPED, PH_FAILOVER, PH_DONE };

enum operation {
	OP_NONE, OP_ORG_WRITE, OP_ORG_ZERO, OP_ORG_DISCARD, OP_ORG_READ,
	OP_ORG_FLUSH, OP_VIEW_WRITE, OP_VIEW_ZERO, OP_VIEW_DISCARD, OP_VIEW_READ,
	OP_VIEW_FLUSH, OP_SEC_READ, OP_CHECKPOINT, OP_RESTART, OP_COMPARE,
	OP_HOLD, OP_END, OP_COUNT
};

/* what a worker is doing now; writers of one track keep out of each other's way */
struct slot {
	u64 sector, count;
	struct track *track;			/* written, or NULL */
	enum operation op;
};

struct record {
	u64 begin, end, sector, count, seq, epoch;
	enum operation op;
	unsigned int worker;
	int err;
};

#define MAX_WORKERS	64
#define LOG_RECORDS	16384

struct model {
	struct opts *o;
	struct dev view, origin, secondary;
	const char *name;
	u64 sectors;
	u64 max_sectors;			/* longest request */
	bool zeroes;				/* there are writes of zeroes */

	struct track org, act;
	u64 *frozen;
	unsigned char *unsure;			/* overlapped: ask the device */
	_Atomic u64 seq;
	u64 epoch;				/* changes only under world, exclusive */
	u64 epoch_seq;				/* seq when it began */
	u64 pair_epoch;				/* the pair's own number for it */
	_Atomic enum phase phase;
	atomic_bool fence_sent, fence_back;	/* failover asked for, answered */
	atomic_bool ending;			/* no transition but the last */

	pthread_rwlock_t world;			/* shared: a request; exclusive: a transition */
	pthread_mutex_t slots_lock;
	struct slot slots[MAX_WORKERS];
	unsigned int nslots;
	_Atomic u64 hot;			/* a busy stretch begins here */

	struct record *log;
	_Atomic u64 logged;
	_Atomic long long ops_left;
	_Atomic u64 ops, compares, compared, checkpoints, late_writes;
	u64 commit_us;
};

struct worker {
	struct model *m;
	unsigned int id;
	struct rng rng;
	const unsigned short *weights;		/* OP_COUNT of them */
	unsigned int weight_sum;
	unsigned char *buf;
	u64 *lo;				/* a track's acks before a read */
	u64 last_sector;
	pthread_t thread;
};

/* verify-track.c */
void model_init(struct model *m, struct opts *o, unsigned int workers);
void model_free(struct model *m);
void model_new_epoch(struct model *m);		/* secondary becomes the view */
const char *op_text(enum operation op);
void pick_range(struct worker *w, const struct dev *d, u64 *sector, u64 *count);
u64 slot_take(struct worker *w, enum operation op, struct track *t, u64 sector, u64 count);
void slot_ack(struct worker *w, u64 id);
void slot_drop(struct worker *w);
void log_op(struct worker *w, const struct record *r);

/* which rule a device's content follows */
struct track *rule_of(struct model *m, const struct dev *d);
void rule_before(struct worker *w, const struct track *t, u64 sector, u64 count);
void rule_check(struct worker *w, const struct dev *d, struct track *t,
		u64 sector, u64 count, const unsigned char *buf);
void compare_range(struct worker *w, const struct dev *d, u64 sector, u64 count);
void compare_all(struct worker *w);

/* verify-ops.c */
void run_op(struct worker *w, enum operation op);
int submit_change(struct worker *w, const struct dev *d, const struct record *r);
bool op_is_exclusive(enum operation op);
void begin_running(struct worker *w);
void settle_unsure(struct worker *w);
bool stage_is(struct model *m, const char *want);

#endif
