/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * dm-replication: what the files of mode primary share.
 *
 * Copyright (C) the dm-replication authors
 */
#ifndef DM_REPLICATION_PRIMARY_H
#define DM_REPLICATION_PRIMARY_H

#include <linux/rbtree.h>

#include "dm-replication.h"
#include "dm-replication-dirty.h"

#define NR_COPIES	8

/**
 * struct write_range - sectors that somebody writes; overlapping ones take turns
 * @rb: in primary->ranges
 * @start: first sector
 * @last: last sector
 * @subtree_last: the tree's own
 * @seq: who has the lower one goes first
 * @waits: older ranges that overlap, plus one while they are counted
 * @granted: called, under primary->lock, when that reaches 0
 */
struct write_range {
	struct rb_node rb;
	sector_t start;
	sector_t last;
	sector_t subtree_last;
	u64 seq;
	atomic_t waits;
	void (*granted)(struct write_range *range);
};

/**
 * struct leg - something on its way to the replica
 * @list: on primary->unsent or ->sent; on neither once it has ended
 * @generation: where it is counted in, NULL for a flush
 * @since: when it was given to be sent (jiffies)
 * @sector: where, for the log
 * @abandon: for another than a struct forward's: it has been abandoned;
 *           process context, must not sleep
 * @abandoned: nobody waits for it any more
 */
struct leg {
	struct list_head list;
	struct generation *generation;
	unsigned long since;
	sector_t sector;
	void (*abandon)(struct leg *leg);
	bool abandoned;
};

/**
 * struct forward - a guest's write or flush, or a flush of our own
 * @primary: the primary
 * @guest: whose it is, for @finished
 * @finished: local has answered, and the replica has or is given up; comes
 *            once, in any context, and has a reference to put
 * @leg: the replica's
 * @refs: one for each leg, one for @finished
 * @cost: counted in primary->nr_pages
 * @covers: what a flush settles if it succeeds
 * @local_done: local has answered
 * @replica_done: the replica has answered, or will not be asked
 * @unsupported: the replica cannot do this
 * @local_status: what local has answered
 * @local_bio: writes local; shares the pages of @bio
 * @bio: writes the replica
 */
struct forward {
	struct primary *primary;
	void *guest;
	void (*finished)(struct forward *fw);
	struct leg leg;
	atomic_t refs;
	unsigned int cost;
	unsigned long covers;
	bool local_done;
	bool replica_done;
	bool unsupported;
	blk_status_t local_status;
	struct bio local_bio;
	struct bio bio;
};

/**
 * struct copy - a run of dirty blocks on its way from local to the replica
 * @primary: the primary
 * @range: keeps the guest's writes away
 * @leg: counted in here
 * @busy: in use
 */
struct copy {
	struct primary *primary;
	struct write_range range;
	struct leg leg;
	bool busy;
};

/**
 * struct resync - the copying of what is dirty
 * @work: the worker, on pair->commit_wq
 * @kcopyd: copies
 * @on: wanted, and not at its end yet
 * @paused: ended by pause_resync or by an error of local
 * @suspended: between presuspend and resume: start no new copy
 * @running: the worker has not come to its end
 * @flush_done: the last flush of our own has ended
 * @nr_active: copies in flight that are not abandoned
 * @done: sectors copied
 * @total: sectors that were dirty when it began
 * @pace_from: when the present pace began (jiffies)
 * @paced: sectors begun since
 * @rate: the pace, MiB/s
 * @copies: so many at a time
 */
struct resync {
	struct work_struct work;
	struct dm_kcopyd_client *kcopyd;
	bool on;
	bool paused;
	bool suspended;
	bool running;
	bool flush_done;
	atomic_t nr_active;
	atomic64_t done;
	u64 total;
	unsigned long pace_from;
	u64 paced;
	unsigned int rate;
	struct copy copies[NR_COPIES];
};

/**
 * struct primary - what a pair of mode primary has in place of an overlay
 * @pair: the pair
 * @local: the disk, or NULL: a pure forwarder
 * @lock: ranges, legs; irqsave
 * @wait: who waits for copies, late answers, an end
 * @ranges: who writes where
 * @seq: the last range's
 * @unsent: legs that the sender has not got to
 * @sent: legs that the replica has not answered, oldest first
 * @breaks: how often the replica broke, or was cut off
 * @breaks_served: up to which of them @break_work has seen to
 * @tell: the next one is news
 * @nr_late: abandoned ones that it has not answered
 * @nr_forwards: struct forward in memory
 * @short_of_memory: somebody waits for memory that a forward gives back
 * @nr_pages: pages that forwards have; one without data counts as one
 * @spare_lock: spare pages; irqsave
 * @spare: pages in nobody's use
 * @nr_spare: so many
 * @nr_idle: the least that @nr_spare was since the last trim
 * @trim_work: gives spare pages back to the system
 * @bios: front pad: struct forward
 * @own_flush: a flush of our own is under way
 * @send_work: sends legs, on pair->cow_wq: the replica may make it wait
 * @wq: its own: nothing on it waits for a disk
 * @break_work: after the replica broke
 * @settle_work: after a flush
 * @timeout_work: looks at the oldest leg
 * @dirty: what the replica lacks
 * @marks: the same on a disk, or NULL (changes while nothing is admitted)
 * @resync: its mending
 */
struct primary {
	struct pair *pair;
	struct block_device *local;
	spinlock_t lock;		/* ranges, legs */
	wait_queue_head_t wait;
	struct rb_root_cached ranges;
	u64 seq;
	struct list_head unsent;
	struct list_head sent;
	unsigned long breaks;
	unsigned long breaks_served;
	bool tell;
	unsigned int nr_late;
	atomic_t nr_forwards;
	bool short_of_memory;
	atomic_t nr_pages;
	spinlock_t spare_lock;		/* spare pages */
	struct list_head spare;
	unsigned int nr_spare;
	unsigned int nr_idle;
	struct delayed_work trim_work;
	struct bio_set bios;
	bool own_flush;
	struct workqueue_struct *wq;
	struct work_struct send_work;
	struct work_struct break_work;
	struct work_struct settle_work;
	struct delayed_work timeout_work;
	struct dirty dirty;
	struct marks *marks;
	struct resync resync;
};

/* dm-replication-forward.c */
bool range_enter(struct primary *p, struct write_range *range,
		 sector_t sector, unsigned int n,
		 void (*granted)(struct write_range *range));
void range_leave(struct primary *p, struct write_range *range);
bool range_any(struct primary *p, sector_t sector, unsigned int n);
struct forward *forward_new(struct primary *p, struct bio *bio, gfp_t gfp);
void forward_put(struct forward *fw);
void forward_send_both(struct forward *fw);
bool leg_sent(struct primary *p, struct leg *leg);
bool leg_ended(struct primary *p, struct leg *leg);
bool replica_flush(struct primary *p);
void replica_break(struct primary *p, int error, sector_t sector);
void replica_cut_off(struct primary *p);
bool replica_mend(struct primary *p);
void replica_tell_late(struct primary *p);
int forward_init(struct primary *p);
void forward_exit(struct primary *p);

/* dm-replication-resync.c */
int resync_init(struct primary *p);
void resync_exit(struct primary *p);
void resync_start(struct primary *p);
void resync_stop(struct primary *p, bool paused);
void resync_suspend(struct primary *p);
void resync_wait_suspended(struct primary *p);
void resync_resume(struct primary *p);

/* dm-replication-marks.c */
int marks_open(struct primary *p, struct replication *r);
int marks_restart(struct marks *mk, bool all);
void marks_pause(struct marks *mk);
void marks_close(struct primary *p);
bool marks_pass(struct marks *mk, struct repl_request *rq);
void marks_all(struct marks *mk);
bool marks_unsafe(struct marks *mk);

#endif
