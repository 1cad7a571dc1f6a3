/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * dm-replication: the types that all files share.
 *
 * Copyright (C) the dm-replication authors
 */
#ifndef DM_REPLICATION_H
#define DM_REPLICATION_H

#include <linux/bio.h>
#include <linux/blkdev.h>
#include <linux/device-mapper.h>
#include <linux/hrtimer.h>
#include <linux/list.h>
#include <linux/llist.h>
#include <linux/mutex.h>
#include <linux/percpu.h>
#include <linux/wait.h>
#include <linux/workqueue.h>

#include "dm-replication-overlay.h"

#define DM_MSG_PREFIX "replication"

/**
 * DOC: the life of a request, and the locks, on one page
 *
 * map      request_init, request_admit: count in, full barrier, look whether
 *          newcomers are deferred. If so: count out and park, else route.
 * route    by the stage of routing (pair->route), which cannot change while a
 *          request is counted; only drop_view turns running into invalid.
 *          Nothing here sleeps or waits for memory when called from map: what
 *          cannot be had at once is had by the worker, a thread of the pair, to
 *          which request_continue() hands the request.
 * wait     an origin write that waits (for a capture, for pages, for tracked
 *          reads) stays counted and sleeps nowhere: rq->pending counts what it
 *          waits for, and who brings that to zero hands it to the worker, or
 *          leaves it to the next newcomer (request_put_soon()).
 * end_io   leaves its lists, sets its bits, records its error, counts out.
 *
 * Locks, outermost first:
 *   group->mutex		members of the group; transitions with "all"
 *   pair->mutex		transitions, tables, joining; ascending dev_t
 *   registry_mutex		all pairs, their targets, groups by name
 *   then, each for itself (none is taken inside another, but for the park
 *   lock's and the bucket's use of the lockless ready list):
 *   metadata->mutex		writing metadata; held across its I/O
 *   leaf->lock			renewal and removal of a leaf; process context
 *   bucket->lock, irqsave	tracked reads, waiting writes, captures
 *   cow->lock, irqsave		pages, held captures, who waits for pages
 *   pair->stage_lock, irqsave	stage, route, first error
 *   pair->park_lock, irqsave	parked requests
 * None of the first three is taken in map, end_io, presuspend, or by a worker that
 * a drain waits for.
 */

enum stage {
	STAGE_NONE,
	STAGE_RUNNING,
	STAGE_FAILOVER,
	STAGE_FAILOVER_FAILED,
	STAGE_DONE,
	STAGE_STOPPED,
	STAGE_INVALID,
	NR_STAGES
};

enum error_class {
	ERROR_CAPTURE,		/* reading old data from secondary */
	ERROR_SPILL,		/* hidden: writing old data, reading it back */
	ERROR_ACTIVE,
	ERROR_SECONDARY,
	ERROR_COMMIT,
	ERROR_FORWARD,		/* the primary's replica */
	ERROR_LOCAL,		/* the primary's own disk */
	ERROR_ORIGIN,		/* the origin went away while running */
	ERROR_METADATA,		/* writing metadata, or a damaged record */
	NR_ERROR_CLASSES
};

/* Where a failover's copy comes from. */
enum commit_source {
	COMMIT_ACTIVE,
	COMMIT_HIDDEN,
	COMMIT_HELD,
};

/* What a table line or a "set" message can choose. */
struct tunables {
	bool autostart;
	bool drop_view;			/* on_capture_error */
	bool discard_passdown;
	unsigned int hold_mib;
	unsigned int checkpoint_timeout_ms;
	unsigned int commit_rate_mib;
	unsigned int resync_rate_mib;
	unsigned int replica_timeout_ms;
};

/**
 * struct group - pairs that make their transitions together
 * @list: all groups, by name (registry_mutex)
 * @name: as the table lines spell it
 * @refs: targets that name it (registry_mutex)
 * @mutex: orders transitions with "all" and changes of @pairs
 * @pairs: its members, ascending by their secondary's dev_t
 */
struct group {
	struct list_head list;
	char *name;
	unsigned int refs;
	struct mutex mutex;		/* transitions with "all", members */
	struct list_head pairs;
};

/**
 * struct replication - one target: a table's view, origin or primary
 * @pair: what it belongs to
 * @list: on pair->targets (registry_mutex)
 * @seq: grows with every target that joins a pair
 * @ti: the target
 * @md: the mapped device, to tell a reload from a rival
 * @is_view: mode secondary
 * @is_primary: mode primary; neither: mode origin
 * @active: (view)
 * @hidden: (view)
 * @secondary: all; for a primary it is the replica
 * @metadata: (view) or NULL
 * @local: (primary) or NULL
 * @group: (view) or NULL
 * @block_shift: (view, primary) log2 of sectors per block
 * @tunables: (view, primary) as loaded
 * @guarded: (view) loaded with the guard on
 * @fenced: (origin) loaded fenced
 * @in_sync: (primary) loaded as equal to its replica
 * @resumed: resume was called before
 */
struct replication {
	struct pair *pair;
	struct list_head list;
	u64 seq;
	struct dm_target *ti;
	struct mapped_device *md;
	bool is_view;
	bool is_primary;
	struct dm_dev *active;
	struct dm_dev *hidden;
	struct dm_dev *secondary;
	struct dm_dev *metadata;
	struct dm_dev *local;
	struct group *group;
	unsigned int block_shift;
	struct tunables tunables;
	bool guarded;
	bool fenced;
	bool in_sync;
	bool resumed;
};

/* Stretches are hashed into buckets; one more bucket takes the wide reads. */
#define NR_BUCKETS	256

/* A request waits for it: it is not to be held back as a cache's writing is. */
#define URGENT_WRITE	(REQ_OP_WRITE | REQ_SYNC | REQ_IDLE)

/**
 * struct bucket - who reads and who waits in some stretches of secondary
 * @lock: guards all members; irqsave, never nested
 * @seq: grows with every node that joins
 * @reads: tracked view reads
 * @writes: origin writes that wait for older tracked reads
 * @captures: captures being read (not in the bucket of the wide reads)
 */
struct bucket {
	spinlock_t lock;		/* all members */
	unsigned long seq;
	struct hlist_head reads;
	struct hlist_head writes;
	struct list_head captures;
};

/* A request's place in a bucket. */
struct track {
	struct hlist_node list;
	struct repl_request *rq;
	struct bucket *bucket;		/* NULL: in none */
	unsigned long seq;
};

/**
 * struct repl_request - per-bio data of both targets
 * @pair: its pair
 * @ready: on pair->ready or ->soon
 * @sector: its first sector; a remapped bio forgets it
 * @sectors: its length
 * @leaf: (view write in running) its leaf, if it lies in one
 * @done: sectors already dealt with, for who comes back for the rest
 * @releases: pair->releases when it was admitted, see request_park()
 * @pending: what it waits for, plus one while it is being routed
 * @status: the first error of its parts
 * @route: the stage by which it was routed
 * @step: how far an origin write has come
 * @class: whom to blame for an error of the bio itself
 * @is_view: view or origin
 * @counted: counted in, must be counted out
 * @entered: counted into its leaves (view write during a commit)
 * @to_active: sets active bits when the bio itself ends well
 * @tracked: a read that stands in buckets
 * @fua: a view write that ends only when its active bits are durable
 * @track: places in buckets: of a tracked read, or of a waiting write
 * @wait: on a capture's waiters or on the pool's
 * @need: pages it waits for
 * @granted: pages it waited for and got
 * @saving: when nothing is pending any more, all old data is saved
 *
 * @track of a read is set by request_track(), of an origin write by
 * request_wait_for_reads(); @granted is for origin writes only.
 */
struct repl_request {
	struct pair *pair;
	struct llist_node ready;
	sector_t sector;
	unsigned int sectors;
	unsigned int done;
	struct leaf *leaf;
	unsigned long releases;
	atomic_t pending;
	blk_status_t status;
	u8 route;
	u8 step;
	u8 class;
	bool is_view:1;
	bool counted:1;
	bool entered:1;
	bool to_active:1;
	bool tracked:1;
	bool saving:1;
	bool fua:1;
	struct track track[2];
	struct list_head wait;
	unsigned int need;
	struct list_head granted;
};

/**
 * struct cow - captures of a pair
 * @lock: guards the lists and numbers; irqsave
 * @free: pages in nobody's hands
 * @held: published captures in memory, oldest first
 * @waiters: requests that wait for pages, first come first served
 * @nr_free: pages on @free
 * @nr_idle: the least that @nr_free was since @trimmed
 * @trimmed: when idle pages were given back the last time, in jiffies
 * @nr_pages: pages that the pool owns, wherever they are, and those
 * @nr_coming: that are being allocated for it
 * @nr_held: pages published and still in memory
 * @nr_spilling: of those, pages on their way to hidden
 * @nr_spills: spill writes in flight
 * @spilling: from over the limit and its slack down to the limit
 * @spill_failed: the last spill failed; next try for a new waiter or later
 * @spill_again: jiffies of "later"
 * @limit: pages that may be held (hold_mib)
 * @grace: pages whose slots were cleared, readers may still copy from them
 * @grace_next: those that came after the running grace period began
 * @nr_grace: pages on @grace
 * @nr_grace_next: pages on @grace_next
 * @grace_running: an RCU callback is pending
 * @rcu: the callback
 * @captures: number of pages captured since start
 * @spills: number of spill writes since start
 * @through: captures to be written to hidden before their write may go on
 * @reading: (metadata) captures that are being read, and will be among @through
 * @read: (metadata) how many of @through wait for others
 * @smalls: captures of one page, for who finds one free
 * @small: those that are free; taken under @lock
 * @work: spills; runs on pair->cow_wq
 * @spiller: who runs it, or NULL
 * @capture_bios: front pad: struct capture
 * @spill_bios: front pad: struct spill
 */
struct cow {
	spinlock_t lock;		/* the lists and numbers */
	struct list_head free;
	struct list_head held;
	struct list_head waiters;
	unsigned int nr_free;
	unsigned int nr_idle;
	unsigned long trimmed;
	unsigned int nr_pages;
	unsigned int nr_coming;
	unsigned int nr_held;
	unsigned int nr_spilling;
	unsigned int nr_spills;
	bool spilling;
	bool spill_failed;
	unsigned long spill_again;
	unsigned int limit;
	struct list_head grace;
	struct list_head grace_next;
	unsigned int nr_grace;
	unsigned int nr_grace_next;
	bool grace_running;
	struct rcu_head rcu;
	atomic64_t captures;
	atomic64_t spills;
	struct llist_head through;
	atomic_t reading;
	atomic_t read;
	struct capture *smalls;
	struct llist_head small;
	struct work_struct work;
	struct task_struct *spiller;
	struct bio_set capture_bios;
	struct bio_set spill_bios;
};

/**
 * struct commit - failover's copying
 * @work: the worker, on pair->commit_wq
 * @free: memory for copies of active and hidden
 * @small: the same for copies of a page or less, while it runs
 * @read: copies that have been read
 * @nr_copies: how many copies there are that @free is for
 * @nr_small: how many that @small is for
 * @bios: writes of held pages to secondary
 * @wait: the worker waits here, for writers, copies, resume; and who suspends
 * @suspended: between presuspend and resume: start no new extent
 * @closing: the view is going away: neither pause nor pace
 * @running: queued or under way
 * @extents: writes of held pages in flight
 * @copying: leaves are locked, copies in flight
 * @to_commit: sectors in both sets when the failover began
 */
struct commit {
	struct work_struct work;
	struct llist_head free;
	struct llist_head small;
	struct llist_head read;
	unsigned int nr_copies;
	unsigned int nr_small;
	struct bio_set bios;
	wait_queue_head_t wait;
	bool suspended;
	bool closing;
	bool running;
	atomic_t extents;
	bool copying;
	u64 to_commit;
};

/* Requests counted in and out, per CPU; see pair_drain(). */
struct inflight {
	unsigned long in;
	unsigned long out;
};

/* The first error since start, and how many there were, in all and by class. */
struct first_error {
	int error;
	enum error_class class;
	sector_t sector;
	u64 total;
	u64 of[NR_ERROR_CLASSES];
};

/**
 * struct pair - what joins one view and one origin; or what a primary has
 * @list: all pairs (registry_mutex)
 * @targets: all tables' targets, live or not (registry_mutex)
 * @key: dev_t of secondary
 * @name: the same, for the log
 * @mutex: serialises transitions, and joining and leaving
 * @primary: of a pair of mode primary, which has no origin, and neither
 *           @overlay, @runs, @cow nor @commit; else NULL
 * @view: the live view, or primary, or NULL (changes under @mutex)
 * @origin: the live origin or NULL (changes under @mutex)
 * @active: (valid while there is a view)
 * @hidden: (valid while there is a view)
 * @secondary: where everything ends
 * @tunables: the live view's, as "set" has changed them
 * @group: the live view's group or NULL (changes under its mutex)
 * @group_list: on group->pairs
 * @stage_lock: guards @stage, @route, @error; irqsave
 * @stage: what status shows
 * @route: by which requests are routed; lags behind @stage only while the
 *         drain of a failover lasts
 * @fenced: origin requests are refused
 * @guarded: the replica is known inconsistent
 * @no_drop: a failover is beginning: drop_view has no effect any more
 * @undrained: the commit ended beside view reads of active and hidden
 * @starting: a start looks at the tables that are loaded (registry_mutex)
 * @other_loaded: a table with other devices waits to be resumed
 * @origin_lost: the origin left while running; its writes may have gone round
 * @error: the first error
 * @stage_since: when the overlay was last emptied (ktime, ns)
 * @deferred_at: when newcomers were deferred (ktime, ns)
 * @pause_last: microseconds that the last transition deferred newcomers
 * @pause_longest: the longest such time since start
 * @inflight: requests counted in and out
 * @deferring: newcomers park
 * @draining: somebody waits in @drain_wait
 * @drain_wait: where it waits
 * @park_lock: guards @parked, @releases; irqsave
 * @parked: requests that wait for a release
 * @releases: number of releases so far
 * @ready: requests for @worker alone
 * @soon: origin writes for the next newcomer, or @worker
 * @worker: the thread that routes them
 * @route_again: how
 * @patience: wakes @worker if no newcomer has taken @soon along
 * @stream_cpu: where the last newcomer began a capture
 * @served: how often a newcomer has taken @soon along
 * @served_then: the same, when @patience was started
 * @doubt: for so many writes no newcomer is hoped for
 * @caution: (of @patience) how many it will be after the next wrong guess
 * @overlay: the two sets
 * @metadata: the same on a disk, or NULL (changes while nothing is admitted)
 * @rejoined: the fence was lifted while no view was there
 * @awaited: the view has left, and will be found again in its stage
 * @was_open: the origin could write while the metadata was not there
 * @in_doubt: whether its group has completed a transition is not known yet
 * @interrupted: found in a failover, which goes on when the view is resumed
 * @buckets: tracked reads, waiting writes, captures
 * @wide: the bucket of reads over more than two stretches
 * @runs: bios for parts of requests; front pad: struct run
 * @cow: captures
 * @commit: failover's copying
 * @changing: the transition under way has deferred this pair
 * @next: what the transition under way has decided for this pair
 * @cow_wq: cow.work; each of the three has a rescuer of its own, since what
 *          one of them waits for may be another's work
 * @commit_wq: commit.work
 * @slow_wq: @after_work, @reclaim_work, @trim_work
 * @view_open: what keeps the view open from failover to done
 * @stop_reclaim: @reclaim_work and @trim_work are to end soon
 * @cache_stale: the page caches of view and origin are out of date
 * @open_work: opens the view once a failover has begun
 * @after_work: after a transition: event, page cache, dropping @view_open
 * @reclaim_work: frees (and discards) leaves of older epochs
 * @trim_work: frees spare pages
 */
struct pair {
	struct list_head list;
	struct list_head targets;
	dev_t key;
	char name[24];

	struct primary *primary;
	struct mutex mutex;		/* transitions, joining, leaving */
	struct replication *view;
	struct replication *origin;
	struct block_device *active;
	struct block_device *hidden;
	struct block_device *secondary;
	struct tunables tunables;
	struct group *group;
	struct list_head group_list;

	spinlock_t stage_lock;		/* stage, route, error */
	enum stage stage;
	enum stage route;
	bool fenced;
	bool guarded;
	bool no_drop;
	bool undrained;
	bool starting;
	bool other_loaded;
	bool origin_lost;
	struct first_error error;
	u64 stage_since;
	u64 pause_last;
	u64 pause_longest;

	struct inflight __percpu *inflight;
	bool deferring;
	bool draining;
	u64 deferred_at;
	wait_queue_head_t drain_wait;
	spinlock_t park_lock;		/* parked, releases */
	struct bio_list parked;
	unsigned long releases;
	struct llist_head ready;
	struct llist_head soon;
	struct task_struct *worker;
	void (*route_again)(struct repl_request *rq, gfp_t gfp);
	struct hrtimer patience;
	int stream_cpu;
	unsigned int served;
	unsigned int served_then;
	unsigned int doubt;
	unsigned int caution;

	struct overlay overlay;
	struct metadata *metadata;
	bool rejoined;
	bool awaited;
	bool was_open;
	bool in_doubt;
	bool interrupted;
	struct bucket buckets[NR_BUCKETS];
	struct bucket wide;
	struct bio_set runs;
	struct cow cow;
	struct commit commit;

	struct workqueue_struct *cow_wq;
	struct workqueue_struct *commit_wq;
	struct workqueue_struct *slow_wq;
	bool changing;
	int next;
	void *view_open;
	bool cache_stale;
	bool stop_reclaim;
	struct work_struct open_work;
	struct work_struct after_work;
	struct delayed_work reclaim_work;
	struct delayed_work trim_work;
};

static inline struct bio *request_bio(struct repl_request *rq)
{
	return dm_bio_from_per_bio_data(rq, sizeof(struct repl_request));
}

static inline sector_t request_end(struct repl_request *rq)
{
	return rq->sector + rq->sectors;
}

/* What every request does on its way in and out; here, as each instruction counts. */

/**
 * pair_count_in - count something in that must be drained
 * @pair: the pair
 *
 * Any context. Followed by a full barrier.
 */
static inline void pair_count_in(struct pair *pair)
{
	this_cpu_inc(pair->inflight->in);
	/* Counted before anything is looked at: pairs with pair_defer(). */
	smp_mb();
}

/**
 * pair_bucket - the bucket of a stretch
 * @pair: the pair
 * @index: number of the stretch
 */
static inline struct bucket *pair_bucket(struct pair *pair, unsigned long index)
{
	return &pair->buckets[index % NR_BUCKETS];
}

/**
 * pair_note_newcomer - an origin write has begun its capture
 * @pair: the pair
 *
 * Process context, does not sleep.
 */
static inline void pair_note_newcomer(struct pair *pair)
{
	WRITE_ONCE(pair->stream_cpu, raw_smp_processor_id());
}

void pair_wake_drainer(struct pair *pair);

/**
 * pair_count_out - the last access to the pair of what was counted in
 * @pair: the pair
 *
 * Any context.
 */
static inline void pair_count_out(struct pair *pair)
{
	/* The pair may end behind the count; its end waits for a grace period. */
	preempt_disable();
	/* Effects before the count; pairs with pair_is_empty(). */
	smp_mb();
	this_cpu_inc(pair->inflight->out);
	/* Count before the look for a drainer; pairs with pair_defer(). */
	smp_mb();
	if (likely(!READ_ONCE(pair->draining)))
		preempt_enable();
	else
		pair_wake_drainer(pair);
}

/**
 * request_count_out - the request is not under way any more
 * @rq: a counted request
 *
 * Any context.
 */
static inline void request_count_out(struct repl_request *rq)
{
	rq->counted = false;
	pair_count_out(rq->pair);
}

/**
 * request_init - fill in the per-bio data
 * @rq: the request
 * @r: its target
 * @bio: its bio, after dm_accept_partial_bio()
 */
static inline void request_init(struct repl_request *rq, struct replication *r,
				struct bio *bio)
{
	/* Nobody polls for what the worker submits, nor for parts. */
	bio->bi_opf &= ~REQ_POLLED;

	rq->pair = r->pair;
	rq->sector = bio->bi_iter.bi_sector;
	rq->sectors = bio_sectors(bio);
	rq->done = 0;
	atomic_set(&rq->pending, 1);
	rq->status = BLK_STS_OK;
	rq->route = STAGE_NONE;
	rq->step = 0;
	rq->class = ERROR_SECONDARY;
	rq->is_view = r->is_view;
	rq->counted = false;
	rq->entered = false;
	rq->to_active = false;
	rq->tracked = false;
	rq->fua = false;
	rq->saving = false;
	rq->leaf = NULL;
	if (!r->is_view)
		INIT_LIST_HEAD(&rq->granted);
}

/**
 * request_admit - count a request in, unless newcomers are deferred
 * @rq: a request that is not counted
 *
 * Process context, does not sleep.
 *
 * Return: 0 if it may be routed; -EBUSY if it must be parked; -EIO if it is
 * fenced off, counted or not.
 */
static inline int request_admit(struct repl_request *rq)
{
	struct pair *pair = rq->pair;

	/* A fence is not waited for, nor does who runs into it delay a drain. */
	if (!rq->is_view && READ_ONCE(pair->fenced))
		return -EIO;

	rq->releases = READ_ONCE(pair->releases);
	rq->counted = true;
	pair_count_in(pair);
	/* Look again: who set the fence now counts on seeing us or stopping us. */
	if (!rq->is_view && READ_ONCE(pair->fenced))
		return -EIO;
	/* Acquire pairs with pair_undefer(). */
	if (likely(!smp_load_acquire(&pair->deferring)))
		return 0;
	return -EBUSY;
}

/* dm-replication-request.c */
extern const char * const stage_names[NR_STAGES];
extern const char * const error_names[NR_ERROR_CLASSES];
int request_park(struct repl_request *rq);
void request_continue(struct repl_request *rq);
void request_put(struct repl_request *rq);
void request_put_soon(struct repl_request *rq);
int request_end_with(struct repl_request *rq, blk_status_t status);
void request_track(struct repl_request *rq);
void request_untrack(struct repl_request *rq);
bool request_wait_for_reads(struct repl_request *rq);
void pair_init_requests(struct pair *pair);
int pair_start_worker(struct pair *pair,
		      void (*route_again)(struct repl_request *rq, gfp_t gfp));
void pair_stop_worker(struct pair *pair);
void pair_serve_soon(struct pair *pair);
void pair_defer(struct pair *pair);
int pair_drain(struct pair *pair, unsigned long deadline);
void pair_drain_forever(struct pair *pair);
void pair_undefer(struct pair *pair);
void pair_release_parked(struct pair *pair);
void pair_record_error(struct pair *pair, enum error_class class, int error,
		       sector_t sector);
void pair_set_fence(struct pair *pair, bool up);
bool pair_invalidate(struct pair *pair);
void pair_set_stage(struct pair *pair, enum stage stage, enum stage route);

/* dm-replication-metadata.c */

/**
 * struct metadata_state - what a superblock says of a pair
 * @stage: its stage
 * @epoch: its epoch
 * @guarded: its guard is on
 * @fenced: its origin is fenced
 * @clean: the view, or primary, was removed in good order
 * @all: (primary) what has no record of this epoch is dirty
 * @since: when the epoch began, seconds since 1970
 * @completed: the last transition of its group that was completed
 * @prepared: a transition of its group that may not be, or 0; if not 0:
 * @prepared_epoch: what it leads to
 * @prepared_stage: likewise
 * @prepared_fenced: likewise
 * @prepared_by: the tag of the member that completes it first
 * @prepared_after: what that one has as @completed until then
 */
struct metadata_state {
	enum stage stage;
	unsigned long epoch;
	bool guarded;
	bool fenced;
	bool clean;
	bool all;
	u64 since;
	u64 completed;
	u64 prepared;
	unsigned long prepared_epoch;
	enum stage prepared_stage;
	bool prepared_fenced;
	u64 prepared_by;
	u64 prepared_after;
};

/**
 * struct metadata_save - pages in hidden whose record is to be written
 * @node: on the metadata's list
 * @index: the stretch
 * @first: the first page's number within the stretch
 * @n: how many
 * @done: called when it is, or with an error and whom to blame
 */
struct metadata_save {
	struct llist_node node;
	unsigned long index;
	unsigned int first;
	unsigned int n;
	void (*done)(struct metadata_save *save, blk_status_t status,
		     enum error_class class);
};

int metadata_check(struct replication *r, char **error);
struct metadata *metadata_open(struct pair *pair, struct replication *r,
			       bool *found);
void metadata_close(struct metadata *m);
u64 metadata_tag(struct metadata *m);
int metadata_guard(struct metadata *m, bool on);
void metadata_expect(struct metadata *m);
void metadata_dont_expect(struct metadata *m);
void metadata_save(struct metadata *m, struct metadata_save *save);
void metadata_mark(struct metadata *m, sector_t sector, unsigned int n);
void metadata_sync(struct metadata *m, struct repl_request *rq);
void metadata_unsettle(struct metadata *m);
bool metadata_settled(struct metadata *m, struct repl_request *rq);
int metadata_clear_leaves(struct metadata *m, struct leaf **leaves,
			  unsigned long *indexes, unsigned int n);
struct metadata_state metadata_state(struct metadata *m);
int metadata_write(struct metadata *m, const struct metadata_state *s);
void metadata_adopt(struct metadata *m, const struct metadata_state *s);
bool metadata_failing(struct metadata *m);

/* dm-replication-cow.c */
extern unsigned long hold_mib_total;
int cow_init(struct pair *pair);
void cow_exit(struct pair *pair);
int cow_fill(struct pair *pair);
void cow_set_limit(struct pair *pair, unsigned int hold_mib);
int cow_save(struct repl_request *rq, gfp_t gfp);

/**
 * cow_is_saved - whether cow_save() would find at once that all is done
 * @rq: an origin write whose captures, if it has begun any, have ended
 */
static inline bool cow_is_saved(struct repl_request *rq)
{
	return rq->saving && !rq->status &&
	       READ_ONCE(rq->pair->route) != STAGE_INVALID;
}

void cow_deny(struct repl_request *rq, blk_status_t status);
unsigned int cow_copy_held(struct repl_request *rq, struct bio *bio,
			   unsigned int done, unsigned int n,
			   unsigned int *missing);
void cow_drop_held(struct pair *pair);
unsigned int cow_collect(struct pair *pair, struct leaf *leaf,
			 struct list_head *pages);
void cow_retire(struct pair *pair, struct list_head *pages, unsigned int n);
struct page *cow_page(struct leaf *leaf, unsigned int page);
void cow_kick(struct pair *pair);
bool cow_trim(struct pair *pair);

/* dm-replication-commit.c */
int commit_init(struct pair *pair);
int commit_fill(struct pair *pair);
void commit_exit(struct pair *pair);
void commit_start(struct pair *pair);
void commit_suspend(struct pair *pair);
void commit_wait_suspended(struct pair *pair);
void commit_resume(struct pair *pair);
void commit_close(struct pair *pair);

/* dm-replication-io.c */
int route_init(struct pair *pair);
void route_exit(struct pair *pair);
int route_map(struct replication *r, struct bio *bio);
int route_end_io(struct replication *r, struct bio *bio, blk_status_t *error);

/* dm-replication-primary.c */
int primary_init(struct pair *pair);
void primary_exit(struct pair *pair);
int primary_take(struct pair *pair, struct replication *r, bool anew);
void primary_leave(struct pair *pair);
void primary_await_late(struct pair *pair);
const char *primary_why_not_start(struct pair *pair, int *error);
void primary_begin_stop(struct pair *pair);
bool primary_give_up(struct pair *pair);
void primary_change(struct pair *pair, enum stage stage);
void primary_tuned(struct pair *pair);
int primary_start_resync(struct pair *pair, bool full);
int primary_pause_resync(struct pair *pair);
int primary_map(struct replication *r, struct bio *bio);
int primary_end_io(struct replication *r, struct bio *bio,
		   blk_status_t *error);
unsigned int primary_per_bio_size(void);

/* dm-replication-pair.c */
enum transition {
	ACTION_START,
	ACTION_CHECKPOINT,
	ACTION_STOP,
	ACTION_FAILOVER,
	ACTION_PROMOTE,
	NR_ACTIONS
};

int pair_attach(struct replication *r, const char *group);
void pair_detach(struct replication *r);
int pair_preresume(struct replication *r);
void pair_resume(struct replication *r);
int pair_act(struct replication *r, enum transition action, bool all);
int pair_rejoin(struct replication *r);
int pair_guard(struct replication *r, bool on);
int pair_set(struct replication *r,
	     int (*change)(struct replication *r, struct tunables *t,
			   char **argv, char **error),
	     char **argv, char **error);
int pair_get_error(struct replication *r, bool all, struct first_error *e);
void pair_clear_error(struct replication *r);
int pair_resync(struct replication *r, bool start, bool full);

#endif
