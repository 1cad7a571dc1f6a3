// SPDX-License-Identifier: GPL-2.0-only
/*
 * dm-replication: pairs: joining view and origin, transitions, groups.
 *
 * Copyright (C) the dm-replication authors
 */

#include <linux/ktime.h>
#include <linux/random.h>
#include <linux/sched/mm.h>
#include <linux/slab.h>

#include "dm-replication.h"
#include "dm-replication-compat.h"

/**
 * DOC: pairs, their targets, their end
 *
 * A pair comes to be with the first target (of a live or of a loaded table)
 * that names its secondary, and goes with the last. Which targets are live is
 * decided by preresume, under the pair's mutex; I/O paths use the devices that
 * preresume has put into the pair. A reload brings the same devices (while it
 * matters), so what is in flight keeps its devices open through the new table
 * when the old one lets go of them.
 *
 * A view that goes drops its overlay: newcomers are deferred, what is admitted
 * is drained (spills too), then stage none. Waiting for that in dtr has no
 * limit: a device may not be closed under a request.
 *
 * DOC: transitions
 *
 * act_on_pairs() is all there is: decide for every pair by the table below;
 * defer newcomers; drain; decide again, since an error may have made the view
 * invalid, or a commit may have ended, meanwhile; change; release. For a group
 * each step is done for all its pairs before the next, so that no member shows
 * a later state than another. Between defer and release nothing is allocated
 * with reclaim that could wait for our own devices (memalloc_noio), and no
 * lock is taken that anybody holds across such an allocation.
 *
 * A primary is a pair of one target; see dm-replication-primary.c. Its
 * transitions are made here, by a table of its own.
 *
 * A failover is different in one thing: it fences, defers and hands the
 * deferral to the commit's worker, which drains without a limit: it cannot be
 * taken back.
 */

static DEFINE_MUTEX(registry_mutex);
static LIST_HEAD(all_pairs);
static LIST_HEAD(all_groups);
static u64 last_seq;

#define RECLAIM_DELAY	HZ
#define IGNORED		NR_STAGES

static const char * const action_names[NR_ACTIONS] = {
	[ACTION_START]		= "start",
	[ACTION_CHECKPOINT]	= "checkpoint",
	[ACTION_STOP]		= "stop",
	[ACTION_FAILOVER]	= "failover",
	[ACTION_PROMOTE]	= "promote",
};

/* The message table of the documentation: the next stage, or an errno. */
static const s16 action_table[NR_ACTIONS][NR_STAGES] = {
	[ACTION_START] = {
		[STAGE_NONE]		= STAGE_RUNNING,
		[STAGE_RUNNING]		= -EBUSY,
		[STAGE_FAILOVER]	= IGNORED,
		[STAGE_FAILOVER_FAILED]	= -EINVAL,
		[STAGE_DONE]		= IGNORED,
		[STAGE_STOPPED]		= STAGE_RUNNING,
		[STAGE_INVALID]		= STAGE_RUNNING,
	},
	[ACTION_CHECKPOINT] = {
		[STAGE_NONE]		= -EINVAL,
		[STAGE_RUNNING]		= STAGE_RUNNING,
		[STAGE_FAILOVER]	= IGNORED,
		[STAGE_FAILOVER_FAILED]	= -EINVAL,
		[STAGE_DONE]		= IGNORED,
		[STAGE_STOPPED]		= IGNORED,
		[STAGE_INVALID]		= -EINVAL,
	},
	[ACTION_STOP] = {
		[STAGE_NONE]		= -EINVAL,
		[STAGE_RUNNING]		= STAGE_STOPPED,
		[STAGE_FAILOVER]	= IGNORED,
		[STAGE_FAILOVER_FAILED]	= -EINVAL,
		[STAGE_DONE]		= IGNORED,
		[STAGE_STOPPED]		= IGNORED,
		[STAGE_INVALID]		= STAGE_STOPPED,
	},
	[ACTION_FAILOVER] = {
		[STAGE_NONE]		= -EINVAL,
		[STAGE_RUNNING]		= STAGE_FAILOVER,
		[STAGE_FAILOVER]	= IGNORED,
		[STAGE_FAILOVER_FAILED]	= STAGE_FAILOVER,
		[STAGE_DONE]		= IGNORED,
		[STAGE_STOPPED]		= -EINVAL,
		[STAGE_INVALID]		= -EINVAL,
	},
	[ACTION_PROMOTE] = {
		[STAGE_NONE]		= -EINVAL,
		[STAGE_RUNNING]		= STAGE_DONE,
		[STAGE_FAILOVER]	= -EBUSY,
		[STAGE_FAILOVER_FAILED]	= -EINVAL,
		[STAGE_DONE]		= IGNORED,
		[STAGE_STOPPED]		= STAGE_DONE,
		[STAGE_INVALID]		= STAGE_DONE,
	},
};

/* The same for a primary. The stages it never has are of no interest. */
static const s16 primary_table[NR_ACTIONS][NR_STAGES] = {
	[ACTION_START] = {
		[STAGE_NONE]		= STAGE_RUNNING,
		[STAGE_RUNNING]		= -EBUSY,
		[STAGE_STOPPED]		= STAGE_RUNNING,
	},
	[ACTION_CHECKPOINT] = {
		[STAGE_NONE]		= IGNORED,
		[STAGE_RUNNING]		= IGNORED,
		[STAGE_STOPPED]		= IGNORED,
	},
	[ACTION_STOP] = {
		[STAGE_NONE]		= -EINVAL,
		[STAGE_RUNNING]		= STAGE_STOPPED,
		[STAGE_STOPPED]		= IGNORED,
	},
	[ACTION_FAILOVER] = {
		[STAGE_NONE]		= -EINVAL,
		[STAGE_RUNNING]		= STAGE_STOPPED,
		[STAGE_STOPPED]		= IGNORED,
	},
	[ACTION_PROMOTE] = {
		[STAGE_NONE]		= -EINVAL,
		[STAGE_RUNNING]		= -EINVAL,
		[STAGE_STOPPED]		= -EINVAL,
	},
};

static const char * const stage_hints[NR_STAGES] = {
	[STAGE_NONE]		= "send start first",
	[STAGE_RUNNING]		= "it runs already",
	[STAGE_FAILOVER]	= "wait until it has ended",
	[STAGE_FAILOVER_FAILED]	= "send failover to try again",
	[STAGE_DONE]		= "the view is the disk",
	[STAGE_STOPPED]		= "send start or promote",
	[STAGE_INVALID]		= "send start, stop or promote",
};

/* In these stages a table may change the devices. */
static bool is_at_rest(enum stage stage)
{
	return stage == STAGE_NONE || stage == STAGE_DONE ||
	       stage == STAGE_STOPPED;
}

/*
 *---------------------------------------------------------------------------
 * Work after a transition or an error
 *---------------------------------------------------------------------------
 */
static void tell_listeners(struct replication *r)
{
	if (r)
		dm_table_event(r->ti->table);
}

static void forget_cache(struct replication *r)
{
	if (r)
		invalidate_bdev(dm_disk(r->md)->part0);
}

static bool is_committing(struct pair *pair)
{
	enum stage stage = READ_ONCE(pair->stage);

	return stage == STAGE_FAILOVER || stage == STAGE_FAILOVER_FAILED;
}

static void do_after_work(struct work_struct *work)
{
	struct pair *pair = container_of(work, struct pair, after_work);
	void *opened = NULL;

	/* An open under way would be seen by who removes the view when told. */
	if (!is_committing(pair))
		cancel_work_sync(&pair->open_work);
	mutex_lock(&pair->mutex);
	if (!is_committing(pair))
		swap(opened, pair->view_open);
	else if (!pair->view_open)
		queue_work(pair->slow_wq, &pair->open_work);
	mutex_unlock(&pair->mutex);
	if (opened)
		compat_close_bdev(opened);

	/* Told last: who listens may want to remove the view. */
	mutex_lock(&pair->mutex);
	if (pair->cache_stale) {
		pair->cache_stale = false;
		forget_cache(pair->view);
		forget_cache(pair->origin);
	}
	tell_listeners(pair->view);
	tell_listeners(pair->origin);
	mutex_unlock(&pair->mutex);
}

/*
 * From failover to done the pair keeps its view open, so that it is not
 * removed half-committed. Opening waits for who closes the device, and that
 * one for its I/O: so not in the message, which a suspend waits for, and with
 * no lock that a resume needs. A view that is removed before has its commit
 * finished by pair_detach().
 */
static void do_open(struct work_struct *work)
{
	struct pair *pair = container_of(work, struct pair, open_work);
	void *opened = NULL;
	dev_t dev = 0;

	mutex_lock(&pair->mutex);
	if (pair->view && !pair->view_open && is_committing(pair))
		dev = disk_devt(dm_disk(pair->view->md));
	mutex_unlock(&pair->mutex);
	if (dev)
		opened = compat_open_bdev(dev);
	if (IS_ERR_OR_NULL(opened))
		return;

	mutex_lock(&pair->mutex);
	if (pair->view && dev == disk_devt(dm_disk(pair->view->md)) &&
	    !pair->view_open && is_committing(pair))
		swap(opened, pair->view_open);
	mutex_unlock(&pair->mutex);
	if (opened)
		compat_close_bdev(opened);
}

/* After the sets were emptied, or the stage has changed. */
static void follow_up(struct pair *pair)
{
	/* A primary's disk is the same in every stage. */
	pair->cache_stale = !pair->primary;
	queue_work(pair->slow_wq, &pair->after_work);
	if (!pair->primary)
		queue_delayed_work(pair->slow_wq, &pair->reclaim_work,
				   RECLAIM_DELAY);
}

static void discard_stretches(struct pair *pair, struct block_device *bdev,
			      unsigned long index, unsigned int n)
{
	sector_t sector = (sector_t)index << STRETCH_SHIFT;
	sector_t sectors = (sector_t)n << STRETCH_SHIFT;
	int r;

	if (!bdev_max_discard_sectors(bdev))
		return;
	sectors = min(sectors, pair->overlay.sectors - sector);
	r = blkdev_issue_discard(bdev, sector, sectors, GFP_NOIO);
	if (r)
		DMWARN_LIMIT("%s: cannot discard %llu sectors of %pg at %llu: %d",
			     pair->name, (unsigned long long)sectors, bdev,
			     (unsigned long long)sector, r);
}

#define RECLAIM_BATCH	64	/* neighbouring leaves, discarded at once */

/*
 * Whether what claimed leaves described may be discarded: not if view reads
 * of it may still be under way since a failover that ended beside them.
 */
static bool may_discard(struct pair *pair)
{
	/* The leaves were seen stale before; pairs with end_commit(). */
	smp_rmb();
	return READ_ONCE(pair->tunables.discard_passdown) && pair->active &&
	       !READ_ONCE(pair->undrained);
}

/* Return: the number of leaves freed. */
static unsigned int reclaim_leaves(struct pair *pair, unsigned long *index)
{
	struct leaf *leaves[RECLAIM_BATCH];
	unsigned long first, next;
	unsigned int n, i;

	leaves[0] = overlay_claim_stale(&pair->overlay, index);
	if (!leaves[0])
		return 0;
	first = *index;
	for (n = 1; n < RECLAIM_BATCH; n++) {
		next = first + n;
		leaves[n] = overlay_claim_stale_at(&pair->overlay, next);
		if (!leaves[n])
			break;
	}
	if (may_discard(pair)) {
		discard_stretches(pair, pair->active, first, n);
		discard_stretches(pair, pair->hidden, first, n);
	}
	for (i = 0; i < n; i++)
		overlay_drop_stale(&pair->overlay, first + i, leaves[i]);
	pair_release_parked(pair);
	*index = first + n;
	return n;
}

static void do_trim(struct work_struct *work)
{
	struct pair *pair = container_of(to_delayed_work(work), struct pair,
					 trim_work);

	if (cow_trim(pair) && !READ_ONCE(pair->stop_reclaim))
		queue_delayed_work(pair->slow_wq, &pair->trim_work,
				   RECLAIM_DELAY);
}

/*
 * Readers of an older epoch were drained when it ended, so nobody needs what
 * is discarded here; who wants to write there finds the leaf busy and parks.
 */
static void do_reclaim(struct work_struct *work)
{
	struct pair *pair = container_of(to_delayed_work(work), struct pair,
					 reclaim_work);
	unsigned long index = 0;

	while (!READ_ONCE(pair->stop_reclaim) && reclaim_leaves(pair, &index))
		cond_resched();
	if (!READ_ONCE(pair->stop_reclaim))
		mod_delayed_work(pair->slow_wq, &pair->trim_work, 0);
}

/* Until the next follow_up(). Waits for the batch under way. */
static void stop_reclaim(struct pair *pair)
{
	WRITE_ONCE(pair->stop_reclaim, true);
	cancel_delayed_work_sync(&pair->reclaim_work);
	/* Which may have been queued by that one. */
	cancel_delayed_work_sync(&pair->trim_work);
	WRITE_ONCE(pair->stop_reclaim, false);
}

/*
 *---------------------------------------------------------------------------
 * Making and ending pairs
 *---------------------------------------------------------------------------
 */
static struct pair *find_pair(dev_t key)
{
	struct pair *pair;

	lockdep_assert_held(&registry_mutex);
	list_for_each_entry(pair, &all_pairs, list)
		if (pair->key == key)
			return pair;
	return NULL;
}

static struct workqueue_struct *make_queue(struct pair *pair, const char *what,
					   unsigned int flags)
{
	return alloc_workqueue("dm-repl-%s/%s", WQ_UNBOUND | WQ_MEM_RECLAIM |
			       flags, 0, what, pair->name);
}

static void destroy_queues(struct pair *pair)
{
	struct workqueue_struct *queues[] = {
		pair->commit_wq, pair->slow_wq, pair->cow_wq,
	};
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(queues); i++)
		if (queues[i])
			destroy_workqueue(queues[i]);
}

/*
 * Until a commit ends a crash leaves secondary mixed, and its disks wait for
 * whoever submits: it does not queue for a processor behind the view's clients.
 * A primary has a resync there, which may take its time.
 */
static int make_queues(struct pair *pair, bool primary)
{
	pair->cow_wq = make_queue(pair, "cow", 0);
	pair->commit_wq = make_queue(pair, "commit", primary ? 0 : WQ_HIGHPRI);
	pair->slow_wq = make_queue(pair, "slow", 0);
	if (pair->cow_wq && pair->commit_wq && pair->slow_wq)
		return 0;
	destroy_queues(pair);
	return -ENOMEM;
}

static int make_view_parts(struct pair *pair)
{
	int r;

	r = route_init(pair);
	if (r)
		return r;
	r = cow_init(pair);
	if (r)
		goto out_with_route;
	r = commit_init(pair);
	if (r)
		goto out_with_cow;
	return 0;

out_with_cow:
	cow_exit(pair);
out_with_route:
	route_exit(pair);
	return r;
}

static void destroy_view_parts(struct pair *pair)
{
	commit_exit(pair);
	cow_exit(pair);
	route_exit(pair);
	overlay_exit(&pair->overlay);
}

static int make_parts(struct pair *pair, bool primary)
{
	int r;

	pair->inflight = alloc_percpu(struct inflight);
	if (!pair->inflight)
		return -ENOMEM;
	r = make_queues(pair, primary);
	if (r)
		goto out_with_inflight;
	r = primary ? primary_init(pair) : make_view_parts(pair);
	if (r)
		goto out_with_queues;
	return 0;

out_with_queues:
	destroy_queues(pair);
out_with_inflight:
	free_percpu(pair->inflight);
	return r;
}

static struct pair *make_pair(struct block_device *secondary, bool primary)
{
	struct pair *pair = kvzalloc(sizeof(*pair), GFP_KERNEL);
	int r;

	if (!pair)
		return ERR_PTR(-ENOMEM);
	pair->key = secondary->bd_dev;
	format_dev_t(pair->name, pair->key);
	INIT_LIST_HEAD(&pair->targets);
	INIT_LIST_HEAD(&pair->group_list);
	mutex_init(&pair->mutex);
	pair_init_requests(pair);
	overlay_init(&pair->overlay);
	INIT_WORK(&pair->open_work, do_open);
	INIT_WORK(&pair->after_work, do_after_work);
	INIT_DELAYED_WORK(&pair->reclaim_work, do_reclaim);
	INIT_DELAYED_WORK(&pair->trim_work, do_trim);
	r = make_parts(pair, primary);
	if (r) {
		kvfree(pair);
		return ERR_PTR(r);
	}
	return pair;
}

/* The last target has left; nobody finds the pair any more. */
static void destroy_pair(struct pair *pair)
{
	stop_reclaim(pair);
	/* Who counted out may still be waking a drainer, or queueing work. */
	synchronize_rcu();
	destroy_queues(pair);
	if (pair->view_open)
		compat_close_bdev(pair->view_open);
	if (pair->primary)
		primary_exit(pair);
	else
		destroy_view_parts(pair);
	free_percpu(pair->inflight);
	kvfree(pair);
}

static struct group *make_group(const char *name)
{
	struct group *g = kzalloc(sizeof(*g), GFP_KERNEL);

	if (!g)
		return NULL;
	g->name = kstrdup(name, GFP_KERNEL);
	if (!g->name) {
		kfree(g);
		return NULL;
	}
	mutex_init(&g->mutex);
	INIT_LIST_HEAD(&g->pairs);
	return g;
}

static void free_group(struct group *g)
{
	if (g)
		kfree(g->name);
	kfree(g);
}

/* The group of the new one's name: another that exists, else the new one. */
static struct group *get_group(struct group *new)
{
	struct group *g;

	lockdep_assert_held(&registry_mutex);
	list_for_each_entry(g, &all_groups, list)
		if (!strcmp(g->name, new->name)) {
			g->refs++;
			return g;
		}
	new->refs = 1;
	list_add(&new->list, &all_groups);
	return new;
}

static void put_group(struct group *g)
{
	lockdep_assert_held(&registry_mutex);
	if (!g || --g->refs)
		return;
	list_del(&g->list);
	free_group(g);
}

/*
 *---------------------------------------------------------------------------
 * Which targets go together
 *---------------------------------------------------------------------------
 */

/* One is the other, or a partition of it. */
static bool same_disk(struct block_device *a, struct block_device *b)
{
	return a == b || (a->bd_disk == b->bd_disk &&
			  (!bdev_is_partition(a) || !bdev_is_partition(b)));
}

#define MAX_DEVICES	5

/* Return: how many devices a target has. */
static unsigned int list_devices(struct replication *r,
				 struct block_device **devices)
{
	struct dm_dev *all[MAX_DEVICES] = {
		r->secondary, r->active, r->hidden, r->metadata, r->local,
	};
	unsigned int i, n = 0;

	for (i = 0; i < MAX_DEVICES; i++)
		if (all[i])
			devices[n++] = all[i]->bdev;
	return n;
}

static bool share_a_device(struct replication *a, struct replication *b)
{
	struct block_device *of_a[MAX_DEVICES], *of_b[MAX_DEVICES];
	unsigned int n = list_devices(a, of_a), m = list_devices(b, of_b);
	unsigned int i, k;

	for (i = 0; i < n; i++)
		for (k = 0; k < m; k++)
			if (same_disk(of_a[i], of_b[k]))
				return true;
	return false;
}

static bool same_metadata(struct replication *a, struct replication *b)
{
	return (a->metadata ? a->metadata->bdev : NULL) ==
	       (b->metadata ? b->metadata->bdev : NULL);
}

/* Of two targets of one mode. */
static bool same_devices(struct replication *a, struct replication *b)
{
	struct block_device *of_a[MAX_DEVICES], *of_b[MAX_DEVICES];
	unsigned int n = list_devices(a, of_a), i;

	if (a->ti->len != b->ti->len || a->block_shift != b->block_shift ||
	    n != list_devices(b, of_b))
		return false;
	for (i = 0; i < n; i++)
		if (of_a[i] != of_b[i])
			return false;
	return true;
}

/* The other table is of the same mapped device: this is a reload. */
static int check_reload(struct replication *r, struct replication *old)
{
	if (r->is_view != old->is_view || r->is_primary != old->is_primary) {
		r->ti->error = "A view, an origin and a primary cannot become each other";
		return -EINVAL;
	}
	if (!same_metadata(r, old)) {
		r->ti->error = r->is_primary ?
			"The metadata device of a primary cannot change; remove the primary first" :
			"The metadata device of a view cannot change; remove the view first";
		return -EBUSY;
	}
	/* It would be another pair's, and the one before has yet to close it. */
	if (r->metadata && r->secondary->bdev != old->secondary->bdev) {
		r->ti->error = "With metadata secondary or replica cannot change; remove it first";
		return -EBUSY;
	}
	if (!same_devices(r, old) && r->is_view && r->metadata) {
		r->ti->error = "A view with metadata cannot change its devices; remove it first";
		return -EBUSY;
	}
	if (!same_devices(r, old) &&
	    (old->pair->starting || !is_at_rest(READ_ONCE(old->pair->stage)))) {
		r->ti->error = "Devices, blocks, length change only in stage none, done or stopped";
		return -EBUSY;
	}
	return 0;
}

/* The other table is of another mapped device. */
static int check_rival(struct replication *r, struct replication *other)
{
	if (!share_a_device(r, other))
		return 0;
	if (r->secondary->bdev != other->secondary->bdev || r->is_primary ||
	    other->is_primary) {
		r->ti->error = "A device is in use by another pair, in whole or in part";
		return -EBUSY;
	}
	if (r->is_view && other->is_view) {
		r->ti->error = "The secondary device has a view already";
		return -EBUSY;
	}
	if (!r->is_view && !other->is_view) {
		r->ti->error = "The secondary device has an origin already";
		return -EBUSY;
	}
	return 0;
}

static int check_targets(struct replication *r)
{
	struct replication *other;
	struct pair *pair;
	int error;

	lockdep_assert_held(&registry_mutex);
	list_for_each_entry(pair, &all_pairs, list)
		list_for_each_entry(other, &pair->targets, list) {
			error = other->md == r->md ? check_reload(r, other) :
						     check_rival(r, other);
			if (error)
				return error;
		}
	return 0;
}

/*
 * Called with the registry's lock. Takes over what it uses of *new and *group
 * and leaves the rest to the caller.
 */
static int join_pair(struct replication *r, struct pair **new,
		     struct group **group)
{
	struct group *g = NULL;
	struct pair *pair;
	int error;

	lockdep_assert_held(&registry_mutex);
	error = check_targets(r);
	if (error)
		return error;
	pair = find_pair((*new)->key);
	if (!pair) {
		pair = *new;
		*new = NULL;
		list_add_tail(&pair->list, &all_pairs);
	}
	if (*group)
		g = get_group(*group);
	if (g == *group)
		*group = NULL;
	r->group = g;
	r->pair = pair;
	r->seq = ++last_seq;
	list_add_tail(&r->list, &pair->targets);
	return 0;
}

/**
 * pair_attach - join a target to its pair, making the pair if need be
 * @r: the target, its devices open
 * @group: the name of its group, or NULL
 *
 * May sleep. Sets ti->error when it fails.
 *
 * Return: 0 or a negative errno.
 */
int pair_attach(struct replication *r, const char *group)
{
	struct pair *new = make_pair(r->secondary->bdev, r->is_primary);
	struct group *new_group = NULL;
	int error;

	r->ti->error = "Cannot allocate the memory of a pair";
	if (IS_ERR(new))
		return PTR_ERR(new);
	if (group)
		new_group = make_group(group);
	if (group && !new_group) {
		destroy_pair(new);
		return -ENOMEM;
	}

	/* Nothing is allocated under this lock: transitions take it. */
	mutex_lock(&registry_mutex);
	error = join_pair(r, &new, &new_group);
	mutex_unlock(&registry_mutex);

	if (new)
		destroy_pair(new);
	free_group(new_group);
	if (!error && r->is_view &&
	    (cow_fill(r->pair) || commit_fill(r->pair))) {
		pair_detach(r);
		error = -ENOMEM;
	}
	return error;
}

/*
 *---------------------------------------------------------------------------
 * Tables come and go
 *---------------------------------------------------------------------------
 */

/*
 * The view leaves, but will be found again where it was: meanwhile nothing may
 * change secondary behind its back.
 */
static void leave_metadata(struct pair *pair, enum stage stage)
{
	metadata_close(pair->metadata);
	pair->metadata = NULL;
	pair->interrupted = false;
	if (stage == STAGE_RUNNING || is_committing(pair) || pair->in_doubt) {
		pair_set_fence(pair, true);
		pair->awaited = true;
		DMINFO("%s: the view is removed in stage %s, its origin is fenced until it is back",
		       pair->name, stage_names[stage]);
	}
	WRITE_ONCE(pair->in_doubt, false);
	/* The leaves become stale, but what they describe is still needed. */
	stop_reclaim(pair);
}

/* What the origin writes now no metadata will know. */
static void note_open(struct pair *pair)
{
	if (pair->origin && !pair->fenced && !pair->metadata)
		pair->was_open = true;
}

/* The view leaves: what only it knew is lost. */
static void leave_view(struct pair *pair)
{
	enum stage stage;
	u64 lost;

	/* Whatever the stage: its worker may be at its last lines. */
	commit_close(pair);

	pair_defer(pair);
	pair_drain_forever(pair);
	stage = READ_ONCE(pair->stage);
	lost = atomic64_read(&pair->overlay.active);
	if (pair->metadata)
		leave_metadata(pair, stage);
	else if (stage == STAGE_FAILOVER_FAILED)
		DMERR("%s: the view left a failed failover: lost %llu own, %llu saved sectors",
		      pair->name, lost,
		      (u64)atomic64_read(&pair->overlay.saved));
	else if (stage == STAGE_RUNNING || stage == STAGE_INVALID)
		DMWARN("%s: the view is removed, %llu sectors of its own are dropped",
		       pair->name, lost);
	if (stage != STAGE_DONE)
		pair_set_stage(pair, STAGE_NONE, STAGE_NONE);
	overlay_new_epoch(&pair->overlay);
	cow_drop_held(pair);
	pair->commit.to_commit = 0;
	pair->view = NULL;
	note_open(pair);
	pair_undefer(pair);

	/* Not from here on: it would discard what is no longer ours. */
	stop_reclaim(pair);
	pair->active = NULL;
	pair->hidden = NULL;
	follow_up(pair);	/* its reclaim will only free */
}

static void leave_origin(struct pair *pair)
{
	pair->origin = NULL;
	if (READ_ONCE(pair->stage) != STAGE_RUNNING)
		return;
	pair->origin_lost = true;
	pair_record_error(pair, ERROR_ORIGIN, -ENODEV, 0);
	DMWARN("%s: the origin left while running: bring one back, or fail over",
	       pair->name);
}

static void lock_group(struct group *g)
{
	if (g)
		mutex_lock(&g->mutex);
}

static void unlock_group(struct group *g)
{
	if (g)
		mutex_unlock(&g->mutex);
}

/**
 * pair_detach - a table goes away
 * @r: its target; its devices may be closed afterwards
 *
 * May sleep, for as long as a device takes to answer.
 */
void pair_detach(struct replication *r)
{
	struct pair *pair = r->pair;
	bool other = false, last;

	lock_group(r->group);
	mutex_lock(&pair->mutex);
	if (pair->primary && pair->view == r) {
		primary_leave(pair);
	} else if (pair->primary) {
		other = !(pair->view && same_devices(r, pair->view));
	} else if (pair->view == r) {
		leave_view(pair);
		list_del_init(&pair->group_list);
		pair->group = NULL;
	} else if (pair->origin == r) {
		leave_origin(pair);
	}
	mutex_unlock(&pair->mutex);
	unlock_group(r->group);
	/* Not with the mutex: there may be another table, whose user has messages. */
	if (other)
		primary_await_late(pair);

	mutex_lock(&registry_mutex);
	list_del(&r->list);
	put_group(r->group);
	last = list_empty(&pair->targets);
	if (last)
		list_del(&pair->list);
	mutex_unlock(&registry_mutex);
	if (last)
		destroy_pair(pair);
	r->pair = NULL;
}

/* Called with the mutexes of both groups and of the pair. */
static void join_group(struct pair *pair, struct group *g)
{
	struct pair *member;

	list_del_init(&pair->group_list);
	pair->group = g;
	if (!g)
		return;
	list_for_each_entry(member, &g->pairs, group_list)
		if (member->key > pair->key)
			break;
	/* Before the first of a higher number, or at the end. */
	list_add_tail(&pair->group_list, &member->group_list);
}

/* And wait for what the origin had under way: it would land behind it. */
static void raise_fence(struct pair *pair)
{
	pair_set_fence(pair, true);
	pair_defer(pair);
	pair_drain_forever(pair);
	pair_undefer(pair);
}

/* The stage that the superblock names becomes the pair's. */
static void apply_state(struct pair *pair, const struct metadata_state *s)
{
	struct overlay *o = &pair->overlay;
	bool fence = s->prepared || s->stage == STAGE_FAILOVER ||
		     s->stage == STAGE_DONE;
	enum stage stage = s->prepared ? STAGE_NONE : s->stage;

	WRITE_ONCE(pair->in_doubt, s->prepared);
	if (fence)
		raise_fence(pair);
	pair->interrupted = stage == STAGE_FAILOVER;
	if (pair->interrupted)
		WRITE_ONCE(pair->commit.to_commit, atomic64_read(&o->active) +
			   atomic64_read(&o->saved));
	if (s->since)
		pair->stage_since = ktime_get_boottime_ns() -
			(ktime_get_real_seconds() - s->since) * NSEC_PER_SEC;
	pair_set_stage(pair, stage, stage);
	if (!fence)	/* behind the stage */
		pair_set_fence(pair, false);
	if (s->prepared)
		DMWARN("%s: in doubt until the member of its group with tag %016llx is loaded",
		       pair->name, s->prepared_by);
}

static bool may_be_running(const struct metadata_state *s)
{
	return s->stage == STAGE_RUNNING ||
	       (s->prepared && s->prepared_stage == STAGE_RUNNING);
}

/* The view was here before. */
static int find_state(struct pair *pair, struct replication *r)
{
	struct metadata_state s = metadata_state(pair->metadata);
	int error;

	s.clean = false;
	s.guarded |= pair->guarded;
	if (pair->rejoined && (s.stage == STAGE_DONE ||
			       s.stage == STAGE_FAILOVER)) {
		s.stage = STAGE_NONE;
		s.fenced = false;
		s.prepared = 0;
		DMINFO("%s: its origin has rejoined", pair->name);
	} else if (pair->was_open && may_be_running(&s)) {
		s.stage = STAGE_INVALID;
		s.prepared = 0;
		DMERR("%s: its origin was open before the view was found: the view is invalid",
		      pair->name);
	}
	error = metadata_write(pair->metadata, &s);
	if (error)
		return error;
	pair->guarded = s.guarded;
	apply_state(pair, &s);
	return 0;
}

static int take_metadata(struct pair *pair, struct replication *r)
{
	struct metadata *m;
	int error = 0;
	bool found;

	m = metadata_open(pair, r, &found);
	if (IS_ERR(m))
		return PTR_ERR(m);
	pair->metadata = m;
	if (found)
		error = find_state(pair, r);
	else if (READ_ONCE(pair->stage) == STAGE_NONE)
		pair_set_fence(pair, false);
	if (error) {
		metadata_close(m);
		pair->metadata = NULL;
		overlay_exit(&pair->overlay);
		return error;
	}
	pair->rejoined = false;
	pair->awaited = false;
	pair->was_open = false;
	return 0;
}

static int check_devices(struct pair *pair, struct replication *r)
{
	if (!pair->view || is_at_rest(READ_ONCE(pair->stage)) ||
	    same_devices(r, pair->view))
		return 0;
	DMERR("%s: cannot resume other devices in stage %s, only in none, done, stopped",
	      dm_device_name(r->md), stage_names[pair->stage]);
	return -EBUSY;
}

/* Called with the pair's mutex. */
static int take_primary(struct pair *pair, struct replication *r)
{
	int error;

	error = check_devices(pair, r);
	if (!error)
		error = primary_take(pair, r, !pair->view ||
				     !same_devices(r, pair->view));
	if (error)
		return error;
	pair->secondary = r->secondary->bdev;
	if (pair->view != r) {
		pair->tunables = r->tunables;
		primary_tuned(pair);
	}
	pair->view = r;
	return 0;
}

/* Called with the pair's mutex, and its groups'. */
static int take_view(struct pair *pair, struct replication *r)
{
	int error;

	error = check_devices(pair, r);
	if (error)
		return error;
	if (!pair->view || !same_devices(r, pair->view)) {
		/* At rest only the reclaimer uses leaves and old devices. */
		stop_reclaim(pair);
		queue_delayed_work(pair->slow_wq, &pair->trim_work,
				   RECLAIM_DELAY);
		error = overlay_configure(&pair->overlay, r->ti->len,
					  r->block_shift);
		if (error)
			return error;
	}
	pair->active = r->active->bdev;
	pair->hidden = r->hidden->bdev;
	pair->secondary = r->secondary->bdev;
	pair->guarded |= r->guarded && pair->view != r;
	if (r->metadata && !pair->metadata) {
		error = take_metadata(pair, r);
		if (error)
			return error;
	}
	if (pair->view != r) {
		pair->tunables = r->tunables;
		cow_set_limit(pair, r->tunables.hold_mib);
		join_group(pair, r->group);
	}
	pair->view = r;
	queue_delayed_work(pair->slow_wq, &pair->reclaim_work, RECLAIM_DELAY);
	return 0;
}

/* The metadata knows what the origin may; its line says what holds without. */
static bool knows_fence(struct pair *pair)
{
	enum stage stage = READ_ONCE(pair->stage);

	return pair->metadata && !pair->in_doubt && !is_committing(pair) &&
	       stage != STAGE_DONE;
}

static void take_origin(struct pair *pair, struct replication *r)
{
	pair->secondary = r->secondary->bdev;
	if (pair->origin != r && r->fenced && !knows_fence(pair))
		pair_set_fence(pair, true);
	pair->origin = r;
	pair->origin_lost = false;
	note_open(pair);
}

static void lock_two_groups(struct group *a, struct group *b)
{
	if (a > b)
		swap(a, b);
	lock_group(a);
	if (b && b != a)
		mutex_lock_nested(&b->mutex, SINGLE_DEPTH_NESTING);
}

static void unlock_two_groups(struct group *a, struct group *b)
{
	unlock_group(a);
	if (b != a)
		unlock_group(b);
}

/* The group may go with an older table, which lets go of it just now. */
static struct group *hold_group_of(struct pair *pair)
{
	struct group *g;

	mutex_lock(&registry_mutex);
	g = READ_ONCE(pair->group);
	if (g)
		g->refs++;
	mutex_unlock(&registry_mutex);
	return g;
}

static unsigned int count_members(struct list_head *list)
{
	struct list_head *pos;
	unsigned int n = 0;

	list_for_each(pos, list)
		n++;
	return n;
}

/* Called with the group's mutex held, or for a pair without one. */
static struct pair **list_pairs(struct replication *r, bool all,
				unsigned int *n)
{
	struct pair **pairs, *pair;
	struct group *g = all ? r->group : NULL;

	*n = g ? count_members(&g->pairs) : 1;
	/* A resume may wait for the group's mutex: no I/O for memory. */
	pairs = kcalloc(max(*n, 1U), sizeof(*pairs), GFP_NOIO);
	if (!pairs)
		return NULL;
	if (!g) {
		pairs[0] = r->pair;
		return pairs;
	}
	*n = 0;
	list_for_each_entry(pair, &g->pairs, group_list)
		pairs[(*n)++] = pair;
	return pairs;
}

static void lock_pairs(struct replication *r, struct pair **pairs,
		       unsigned int n)
{
	unsigned int i;

	if (n == 1) {
		mutex_lock(&pairs[0]->mutex);
		return;
	}
	for (i = 0; i < n; i++)
		mutex_lock_nest_lock(&pairs[i]->mutex, &r->group->mutex);
}

static void unlock_pairs(struct pair **pairs, unsigned int n)
{
	while (n--)
		mutex_unlock(&pairs[n]->mutex);
}

/*
 * Called with the group's mutex and those of its pairs: if one member has
 * completed the transition that others have only prepared, so do these; if the
 * one that was to do so before all others is there and has not, none does. To
 * count members would not do: who is there may have joined since.
 * Return: 1 to complete, 0 to take back, -EAGAIN if it is not known, -ESTALE if
 * it will not be: that one has completed another one since.
 */
static int judge(struct pair **pairs, unsigned int n,
		 const struct metadata_state *doubt)
{
	struct metadata_state s;
	int verdict = -EAGAIN;
	unsigned int i;

	for (i = 0; i < n; i++) {
		if (!pairs[i]->metadata)
			continue;
		s = metadata_state(pairs[i]->metadata);
		if (s.completed == doubt->prepared)
			return 1;
		if (metadata_tag(pairs[i]->metadata) == doubt->prepared_by)
			verdict = s.completed == doubt->prepared_after ?
				  0 : -ESTALE;
	}
	return verdict;
}

static void settle_doubt(struct pair *pair, bool complete)
{
	struct metadata_state s = metadata_state(pair->metadata);

	if (complete) {
		s.stage = s.prepared_stage;
		s.fenced = s.prepared_fenced;
		s.completed = s.prepared;
	}
	s.prepared = 0;
	if (complete && s.epoch != s.prepared_epoch) {
		s.epoch = s.prepared_epoch;
		s.since = ktime_get_real_seconds();
	}
	if (metadata_write(pair->metadata, &s))
		return;
	if (s.epoch != pair->overlay.epoch)
		overlay_new_epoch(&pair->overlay);
	DMINFO("%s: the last transition of its group is %s", pair->name,
	       complete ? "completed" : "taken back");
	apply_state(pair, &s);
	follow_up(pair);
}

static void settle_all(struct pair **pairs, unsigned int n, u64 prepared,
		       bool complete)
{
	unsigned int i;

	for (i = 0; i < n; i++)
		if (pairs[i]->metadata && pairs[i]->in_doubt &&
		    metadata_state(pairs[i]->metadata).prepared == prepared)
			settle_doubt(pairs[i], complete);
}

/* Called with the pair's mutex: a failover found under way goes on. */
static void resume_failover(struct pair *pair)
{
	if (!pair->interrupted || !pair->view || !pair->view->resumed)
		return;
	pair->interrupted = false;
	DMINFO("%s: an interrupted failover goes on", pair->name);
	pair_defer(pair);
	queue_work(pair->slow_wq, &pair->open_work);
	commit_start(pair);
	follow_up(pair);
}

#define LEFT_BEHIND_TEXT						\
	"%s: its group has gone on without it: it stays in doubt; blank its metadata device to make it anew"

/* Called with the group's mutex. */
static void settle_group(struct replication *r)
{
	struct metadata_state s;
	struct pair **pairs;
	unsigned int n, i;
	int verdict;

	pairs = list_pairs(r, true, &n);
	if (!pairs)
		return;
	lock_pairs(r, pairs, n);
	for (i = 0; i < n; i++) {
		if (!pairs[i]->metadata || !pairs[i]->in_doubt)
			continue;
		s = metadata_state(pairs[i]->metadata);
		verdict = judge(pairs, n, &s);
		if (verdict == -ESTALE)
			DMERR(LEFT_BEHIND_TEXT, pairs[i]->name);
		if (verdict < 0)
			continue;
		settle_all(pairs, n, s.prepared, verdict);
	}
	for (i = 0; i < n; i++)
		resume_failover(pairs[i]);
	unlock_pairs(pairs, n);
	kfree(pairs);
}

/**
 * pair_preresume - make a table the live one
 * @r: its target
 *
 * May sleep.
 *
 * Return: 0, or -EBUSY if the stage does not allow the change.
 */
int pair_preresume(struct replication *r)
{
	struct pair *pair = r->pair;
	struct group *old = NULL;
	unsigned int noio;
	int error = 0;

	/* Members of the group are suspended while they wait for its mutex. */
	noio = memalloc_noio_save();
	if (r->is_view)
		old = hold_group_of(pair);
	lock_two_groups(r->group, old);
	mutex_lock(&pair->mutex);
	if (r->is_primary)
		error = take_primary(pair, r);
	else if (r->is_view)
		error = take_view(pair, r);
	else
		take_origin(pair, r);
	mutex_unlock(&pair->mutex);
	if (!error && r->group && r->metadata)
		settle_group(r);
	unlock_two_groups(r->group, old);
	mutex_lock(&registry_mutex);
	put_group(old);
	mutex_unlock(&registry_mutex);
	memalloc_noio_restore(noio);
	return error;
}

/*
 *---------------------------------------------------------------------------
 * Transitions
 *---------------------------------------------------------------------------
 */
static const char *check_start(struct pair *pair, int *error)
{
	struct replication *r = pair->view;

	*error = -EBUSY;
	if (pair->in_doubt)
		return "the last transition of its group is open; load all its members";
	if (pair->fenced)
		return "the origin is fenced; send it rejoin first";
	if (pair->other_loaded)
		return "a table with other devices is loaded; resume or clear it";
	if (pair->primary)
		return primary_why_not_start(pair, error);
	*error = -ENODEV;
	if (!pair->origin)
		return "it has no origin; make one on its secondary device";
	*error = -EINVAL;
	if (bdev_nr_sectors(pair->active) != r->ti->len ||
	    bdev_nr_sectors(pair->hidden) != r->ti->len ||
	    bdev_nr_sectors(pair->secondary) != r->ti->len)
		return "a device has changed its length; all must be equal";
	return NULL;
}

/* Return: the next stage, IGNORED, or a negative errno, with the reason. */
static int decide(struct pair *pair, enum transition action, const char **why)
{
	enum stage stage = READ_ONCE(pair->stage);
	int next = pair->primary ? primary_table[action][stage] :
				   action_table[action][stage];
	int error;

	*why = stage_hints[stage];
	if (pair->primary && action == ACTION_PROMOTE)
		*why = "a primary is the disk already";
	if (next < 0 || next == IGNORED)
		return next;
	if (pair->guarded && action != ACTION_FAILOVER) {
		*why = "its replica is inconsistent; send guard off when it is whole";
		return -EBUSY;
	}
	if (action == ACTION_START) {
		*why = check_start(pair, &error);
		return *why ? error : next;
	}
	if (pair->origin_lost && action != ACTION_FAILOVER) {
		*why = "its origin is gone; bring one back";
		return -ENODEV;
	}
	return next;
}

/* Return: 0, or the errno of the first pair that refuses; then none changes. */
static int decide_all(struct pair **pairs, unsigned int n, enum transition action)
{
	const char *why;
	unsigned int i;

	for (i = 0; i < n; i++) {
		pairs[i]->next = decide(pairs[i], action, &why);
		if (pairs[i]->next < 0) {
			DMERR("%s: cannot %s in stage %s: %s", pairs[i]->name,
			      action_names[action],
			      stage_names[READ_ONCE(pairs[i]->stage)], why);
			return pairs[i]->next;
		}
	}
	return 0;
}

static u64 seconds_since_checkpoint(struct pair *pair)
{
	return div_u64(ktime_get_boottime_ns() - pair->stage_since,
		       NSEC_PER_SEC);
}

#define PROMOTE_TEXT							\
	"%s: promote: dropping %llu sectors written by the view in the %llu s since the checkpoint; failover would keep them"

/* Everything is drained: the change itself. */
static void change(struct pair *pair, enum transition action)
{
	if (pair->primary) {
		primary_change(pair, pair->next);
		return;
	}
	if (action == ACTION_START) {
		spin_lock_irq(&pair->stage_lock);
		memset(&pair->error, 0, sizeof(pair->error));
		spin_unlock_irq(&pair->stage_lock);
		pair->pause_last = 0;
		pair->pause_longest = 0;
		atomic64_set(&pair->cow.captures, 0);
		atomic64_set(&pair->cow.spills, 0);
		pair->commit.to_commit = 0;
	}
	if (action == ACTION_PROMOTE) {
		DMINFO(PROMOTE_TEXT, pair->name,
		       (u64)atomic64_read(&pair->overlay.active),
		       seconds_since_checkpoint(pair));
		pair_set_fence(pair, true);
	}
	overlay_new_epoch(&pair->overlay);
	cow_drop_held(pair);
	pair->undrained = false;
	pair->stage_since = ktime_get_boottime_ns();
	pair_set_stage(pair, pair->next, pair->next);
}

/* What the superblock will say. */
static struct metadata_state next_state(struct pair *pair,
					enum transition action)
{
	struct metadata_state s = metadata_state(pair->metadata);

	s.stage = pair->next;
	s.guarded = pair->guarded;
	s.fenced = pair->fenced || action == ACTION_PROMOTE ||
		   action == ACTION_FAILOVER;
	s.prepared = 0;
	if (action != ACTION_FAILOVER) {
		s.epoch = pair->overlay.epoch + 1;
		s.since = ktime_get_real_seconds();
	}
	return s;
}

static bool has_record(struct pair *pair)
{
	return pair->metadata && pair->next != IGNORED;
}

/* Whose record decides: record_all() goes in the same order. */
static struct pair *first_of(struct pair **pairs, unsigned int n)
{
	unsigned int i;

	for (i = 0; i < n; i++)
		if (has_record(pairs[i]))
			return pairs[i];
	return NULL;
}

static int prepare(struct pair *pair, enum transition action, u64 id,
		   struct pair *first)
{
	struct metadata_state s = metadata_state(pair->metadata);
	struct metadata_state next = next_state(pair, action);

	s.prepared = id;
	s.prepared_epoch = next.epoch;
	s.prepared_stage = next.stage;
	s.prepared_fenced = next.fenced;
	s.prepared_by = metadata_tag(first->metadata);
	s.prepared_after = metadata_state(first->metadata).completed;
	return metadata_write(pair->metadata, &s);
}

/*
 * Of all, even if it stays open what the first one's disk says: who is still
 * prepared would follow it after a crash, over what it has promised since.
 */
static void unprepare(struct pair **pairs, unsigned int n)
{
	struct metadata_state s;
	unsigned int i;

	for (i = 0; i < n; i++) {
		if (!has_record(pairs[i]))
			continue;
		s = metadata_state(pairs[i]->metadata);
		s.prepared = 0;
		if (metadata_write(pairs[i]->metadata, &s))
			metadata_adopt(pairs[i]->metadata, &s);
	}
}

/* Each superblock is the change of its pair; of a group, first_of()'s is. */
static int record_all(struct pair **pairs, unsigned int n,
		      enum transition action, u64 id)
{
	struct metadata_state s;
	bool decided = false;
	unsigned int i;
	int error;

	for (i = 0; i < n; i++) {
		if (!has_record(pairs[i]))
			continue;
		s = next_state(pairs[i], action);
		if (id)
			s.completed = id;
		error = metadata_write(pairs[i]->metadata, &s);
		if (error && !decided)
			return error;
		if (error)
			metadata_adopt(pairs[i]->metadata, &s);
		else if (id && !decided)	/* others ask it: in both places */
			metadata_write(pairs[i]->metadata, &s);
		decided = true;
	}
	return 0;
}

/* The view is about to take secondary for what it is. */
static int flush_secondaries(struct pair **pairs, unsigned int n)
{
	unsigned int i;
	int error;

	for (i = 0; i < n; i++) {
		if (!has_record(pairs[i]))
			continue;
		error = blkdev_issue_flush(pairs[i]->secondary);
		if (error) {
			pair_record_error(pairs[i], ERROR_SECONDARY, error, 0);
			return error;
		}
	}
	return 0;
}

/*
 * Make a change durable that is about to be made in memory. Of several pairs
 * either all come up changed after a crash, or none: see settle_group().
 */
static int make_durable(struct pair **pairs, unsigned int n,
			enum transition action)
{
	struct pair *first = first_of(pairs, n);
	unsigned int i, changing = 0;
	int error = 0;
	u64 id = 0;

	for (i = 0; i < n; i++)
		changing += has_record(pairs[i]);
	if (!changing)
		return 0;
	if (action != ACTION_FAILOVER && action != ACTION_STOP)
		error = flush_secondaries(pairs, n);
	while (!error && changing > 1 && !id)
		id = get_random_u64();
	for (i = 0; i < n && id && !error; i++)
		if (has_record(pairs[i]))
			error = prepare(pairs[i], action, id, first);
	if (!error)
		error = record_all(pairs, n, action, id);
	if (error && id)
		unprepare(pairs, n);
	if (error)
		DMERR("%s: cannot %s durably: %d, nothing has changed",
		      pairs[0]->name, action_names[action], error);
	return error;
}

static void set_no_drop(struct pair **pairs, unsigned int n, bool on)
{
	unsigned int i;

	for (i = 0; i < n; i++) {
		spin_lock_irq(&pairs[i]->stage_lock);
		pairs[i]->no_drop = on;
		spin_unlock_irq(&pairs[i]->stage_lock);
	}
}

#define FAILOVER_TEXT							\
	"%s: failover: undoing %llu sectors replicated in the %llu s since the checkpoint; promote would keep them"

static void begin_failover(struct pair *pair)
{
	if (pair->stage == STAGE_RUNNING) {
		DMINFO(FAILOVER_TEXT, pair->name,
		       (u64)atomic64_read(&pair->overlay.saved),
		       seconds_since_checkpoint(pair));
		if (!pair->metadata)
			DMWARN("%s: a crash before the failover is done leaves secondary mixed",
			       pair->name);
	}
	/* The fence first: who comes now hears it and does not park. */
	pair_set_fence(pair, true);
	pair_defer(pair);
	pair_set_stage(pair, STAGE_FAILOVER, pair->route);
}

/* A failover cannot be taken back once its first pair is fenced. */
static int fail_over(struct pair **pairs, unsigned int n)
{
	unsigned int i;
	int error;

	set_no_drop(pairs, n, true);
	error = decide_all(pairs, n, ACTION_FAILOVER);
	if (!error)
		error = make_durable(pairs, n, ACTION_FAILOVER);
	if (error)
		goto out;
	for (i = 0; i < n; i++)
		if (pairs[i]->next != IGNORED)
			begin_failover(pairs[i]);
	for (i = 0; i < n; i++)
		if (pairs[i]->next != IGNORED) {
			queue_work(pairs[i]->slow_wq, &pairs[i]->open_work);
			commit_start(pairs[i]);
			follow_up(pairs[i]);
		}
out:
	set_no_drop(pairs, n, false);
	return error;
}

static int drain_all(struct pair **pairs, unsigned int n, unsigned int ms)
{
	unsigned long deadline = jiffies + msecs_to_jiffies(ms);
	const char *left;
	bool gave_up;
	unsigned int i;
	int error = 0;

	for (i = 0; i < n && !error; i++) {
		if (pairs[i]->next == IGNORED)
			continue;
		error = pair_drain(pairs[i], deadline);
		gave_up = error == -ETIMEDOUT && pairs[i]->primary &&
			  primary_give_up(pairs[i]);
		if (gave_up)
			error = pair_drain(pairs[i],
					   jiffies + msecs_to_jiffies(ms));
		left = gave_up ? "only the replica is broken" :
			"nothing has changed";
		if (error == -ETIMEDOUT)
			DMERR("%s: requests are still under way after %u ms, %s",
			      pairs[i]->name, ms, left);
		else if (error)
			DMERR("%s: interrupted, %s", pairs[i]->name, left);
	}
	return error;
}

/* All mutexes are held. */
static int act_on_pairs(struct pair **pairs, unsigned int n,
			enum transition action, unsigned int ms)
{
	unsigned int noio, i;
	int error;

	error = decide_all(pairs, n, action);
	if (error)
		return error;
	if (action == ACTION_FAILOVER && !pairs[0]->primary)
		return fail_over(pairs, n);

	noio = memalloc_noio_save();
	for (i = 0; i < n; i++) {
		pairs[i]->changing = pairs[i]->next != IGNORED;
		if (pairs[i]->changing && pairs[i]->primary)
			primary_begin_stop(pairs[i]);
		if (pairs[i]->changing)
			pair_defer(pairs[i]);
	}
	error = drain_all(pairs, n, ms);
	if (!error)
		error = decide_all(pairs, n, action);
	for (i = 0; i < n; i++)
		if (!pairs[i]->changing)
			pairs[i]->next = IGNORED;
	if (!error)
		error = make_durable(pairs, n, action);
	for (i = 0; i < n && !error; i++)
		if (pairs[i]->next != IGNORED)
			change(pairs[i], action);
	for (i = 0; i < n; i++)
		if (pairs[i]->changing)
			pair_undefer(pairs[i]);
	memalloc_noio_restore(noio);

	for (i = 0; i < n; i++)
		if (pairs[i]->changing) {
			if (!pairs[i]->primary)
				cow_kick(pairs[i]);
			follow_up(pairs[i]);
		}
	return error;
}

/*
 * A table that waits to be resumed in place of a live one, but differs. Not an
 * older one: that was replaced itself, and is about to go.
 */
static bool would_replace(struct replication *live, struct replication *other)
{
	return live && live->md == other->md && other->seq > live->seq &&
	       !same_devices(live, other);
}

/*
 * Resuming a loaded table with other devices would end what is being started.
 * Looked at before newcomers are deferred; from here to end_starting() no
 * such table can be loaded.
 */
static void begin_starting(struct pair *pair)
{
	struct replication *other;
	struct pair *any;

	mutex_lock(&registry_mutex);
	pair->starting = true;
	pair->other_loaded = false;
	list_for_each_entry(any, &all_pairs, list)
		list_for_each_entry(other, &any->targets, list)
			if (would_replace(pair->view, other) ||
			    would_replace(pair->origin, other))
				pair->other_loaded = true;
	mutex_unlock(&registry_mutex);
}

static void end_starting(struct pair *pair)
{
	mutex_lock(&registry_mutex);
	pair->starting = false;
	mutex_unlock(&registry_mutex);
}

/* Called with the pair's mutex held. */
static int check_live(struct replication *r)
{
	if (r->pair->view == r || r->pair->origin == r)
		return 0;
	DMERR("%s: this table is not live yet; resume the device first",
	      dm_device_name(r->md));
	return -EBUSY;
}

/**
 * pair_act - one of the messages that change the stage
 * @r: the view that got it
 * @action: what is asked
 * @all: of every pair of its group
 *
 * May sleep, at most for checkpoint_timeout_ms besides other messages.
 *
 * Return: 0, or a negative errno; then nothing has changed.
 */
int pair_act(struct replication *r, enum transition action, bool all)
{
	struct group *g = all ? r->group : NULL;
	struct pair **pairs;
	unsigned int n, i;
	int error = -ENOMEM;

	lock_group(g);
	pairs = list_pairs(r, all, &n);
	if (!pairs)
		goto out;
	lock_pairs(r, pairs, n);
	error = check_live(r);
	if (!error) {
		for (i = 0; i < n; i++)
			begin_starting(pairs[i]);
		error = act_on_pairs(pairs, n, action,
				     r->pair->tunables.checkpoint_timeout_ms);
		for (i = 0; i < n; i++)
			end_starting(pairs[i]);
	}
	unlock_pairs(pairs, n);
	kfree(pairs);
out:
	unlock_group(g);
	return error;
}

/* View and origin are there; a primary needs none. */
static bool is_complete(struct pair *pair)
{
	if (!pair->view || !pair->view->resumed)
		return false;
	return pair->primary || (pair->origin && pair->origin->resumed);
}

/* It is complete, and wants to start by itself. */
static void autostart(struct pair *pair)
{
	int error;

	mutex_lock(&pair->mutex);
	if (is_complete(pair) && pair->tunables.autostart &&
	    pair->stage == STAGE_NONE) {
		begin_starting(pair);
		error = act_on_pairs(&pair, 1, ACTION_START,
				     pair->tunables.checkpoint_timeout_ms);
		end_starting(pair);
		if (error)
			DMWARN("%s: it did not start by itself: %d", pair->name,
			       error);
	}
	mutex_unlock(&pair->mutex);
}

/**
 * pair_resume - a table's I/O begins
 * @r: its target
 *
 * May sleep.
 */
void pair_resume(struct replication *r)
{
	bool first = !r->resumed;

	r->resumed = true;
	if (r->is_view)
		commit_resume(r->pair);
	if (!first)
		return;
	autostart(r->pair);
	mutex_lock(&r->pair->mutex);
	resume_failover(r->pair);
	mutex_unlock(&r->pair->mutex);
}

/* Return: why the fence must stay, or NULL. */
static const char *why_not_rejoin(struct pair *pair)
{
	enum stage stage = READ_ONCE(pair->stage);

	if (pair->view && (is_committing(pair) || stage == STAGE_DONE))
		return "the view is the disk; remove it first";
	if (pair->in_doubt)
		return "the last transition of its group is open; load all its members";
	if (pair->awaited && !pair->view)
		return "its view will be found where it was; load it, or remove the origin";
	return NULL;
}

/**
 * pair_rejoin - lift the fence
 * @r: the origin that got the message
 *
 * May sleep.
 *
 * Return: 0, or -EBUSY while a promoted view is there, or a view is awaited.
 */
int pair_rejoin(struct replication *r)
{
	struct pair *pair = r->pair;
	const char *why;
	int error;

	mutex_lock(&pair->mutex);
	error = check_live(r);
	if (error)
		goto out;
	why = why_not_rejoin(pair);
	if (why) {
		DMERR("%s: cannot rejoin in stage %s: %s", pair->name,
		      stage_names[pair->stage], why);
		error = -EBUSY;
		goto out;
	}
	if (!pair->view) {
		pair_set_stage(pair, STAGE_NONE, STAGE_NONE);
		pair->rejoined = true;
	}
	/* The cache is older than what a failover has written below it. */
	forget_cache(pair->origin);
	pair_set_fence(pair, false);
	note_open(pair);
	follow_up(pair);
out:
	mutex_unlock(&pair->mutex);
	return error;
}

/**
 * pair_guard - say whether the replica is consistent
 * @r: the view that got the message
 * @on: it is not
 *
 * Return: 0, or -EINVAL where there is nothing to guard.
 */
int pair_guard(struct replication *r, bool on)
{
	struct pair *pair = r->pair;
	int error;

	mutex_lock(&pair->mutex);
	error = check_live(r);
	if (!error && (pair->stage == STAGE_FAILOVER ||
		       pair->stage == STAGE_FAILOVER_FAILED ||
		       pair->stage == STAGE_DONE)) {
		DMERR("%s: cannot guard in stage %s: the view is the disk",
		      pair->name, stage_names[pair->stage]);
		error = -EINVAL;
	}
	if (!error && pair->metadata)
		error = metadata_guard(pair->metadata, on);
	if (!error)
		pair->guarded = on;
	mutex_unlock(&pair->mutex);
	return error;
}

/**
 * pair_set - change what a table line can choose
 * @r: the view that got the message
 * @change: parses the message into a copy of the present tunables
 * @argv: for @change
 * @error: for @change
 *
 * Return: what @change returns; if that is not 0 nothing has changed.
 */
int pair_set(struct replication *r,
	     int (*change)(struct replication *r, struct tunables *t,
			   char **argv, char **error),
	     char **argv, char **error)
{
	struct pair *pair = r->pair;
	struct tunables t;
	int failed;

	mutex_lock(&pair->mutex);
	t = pair->view == r ? pair->tunables : r->tunables;
	failed = change(r, &t, argv, error);
	if (!failed)
		r->tunables = t;
	if (!failed && pair->view == r && pair->primary) {
		pair->tunables = t;
		primary_tuned(pair);
	} else if (!failed && pair->view == r) {
		pair->tunables = t;
		cow_set_limit(pair, t.hold_mib);
		queue_delayed_work(pair->slow_wq, &pair->reclaim_work,
				   RECLAIM_DELAY);
		wake_up(&pair->commit.wait);
	}
	mutex_unlock(&pair->mutex);
	return failed;
}

/**
 * pair_get_error - the first error since start
 * @r: the view that got the message
 * @all: of any pair of its group
 * @e: the error; its total is 0 if there was none
 *
 * Return: 0, or -ENXIO if a pair has not been started.
 */
int pair_get_error(struct replication *r, bool all, struct first_error *e)
{
	struct group *g = all ? r->group : NULL;
	struct pair **pairs;
	unsigned int n, i;
	int error = 0;

	memset(e, 0, sizeof(*e));
	lock_group(g);
	pairs = list_pairs(r, all, &n);
	for (i = 0; pairs && i < n; i++) {
		spin_lock_irq(&pairs[i]->stage_lock);
		if (pairs[i]->stage == STAGE_NONE)
			error = -ENXIO;
		if (!e->total)
			*e = pairs[i]->error;
		spin_unlock_irq(&pairs[i]->stage_lock);
	}
	if (!pairs)
		error = -ENOMEM;
	kfree(pairs);
	unlock_group(g);
	return error;
}

/**
 * pair_clear_error - forget the errors
 * @r: the view that got the message
 */
void pair_clear_error(struct replication *r)
{
	spin_lock_irq(&r->pair->stage_lock);
	memset(&r->pair->error, 0, sizeof(r->pair->error));
	spin_unlock_irq(&r->pair->stage_lock);
}

/**
 * pair_resync - start_resync or pause_resync
 * @r: the primary that got the message
 * @start: which of them
 * @full: everything is to be copied
 *
 * May sleep.
 *
 * Return: 0 or a negative errno, with a line in the log.
 */
int pair_resync(struct replication *r, bool start, bool full)
{
	const char *message = start ? "start_resync" : "pause_resync";
	struct pair *pair = r->pair;
	int error;

	mutex_lock(&pair->mutex);
	error = check_live(r);
	if (!error && !r->local) {
		DMERR("%s: cannot %s: without local there is nothing to copy from",
		      pair->name, message);
		error = -EINVAL;
	} else if (!error && pair->stage != STAGE_RUNNING) {
		DMERR("%s: cannot %s in stage %s: send start first",
		      pair->name, message, stage_names[pair->stage]);
		error = -EINVAL;
	}
	if (!error)
		error = start ? primary_start_resync(pair, full) :
				primary_pause_resync(pair);
	mutex_unlock(&pair->mutex);
	return error;
}
