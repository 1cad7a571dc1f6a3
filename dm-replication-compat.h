/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * dm-replication: the kernel calls whose form depends on the kernel. Kbuild
 * looks into the headers and defines HAVE_BDEV_FILE_OPEN_BY_DEV and
 * HAVE_HRTIMER_SETUP.
 */
#ifndef DM_REPLICATION_COMPAT_H
#define DM_REPLICATION_COMPAT_H

#include <linux/blkdev.h>
#include <linux/file.h>
#include <linux/hrtimer.h>
#include <linux/rcupdate.h>

#ifdef HAVE_BDEV_FILE_OPEN_BY_DEV
static inline void *compat_open_bdev(dev_t dev)
{
	return bdev_file_open_by_dev(dev, BLK_OPEN_READ, NULL, NULL);
}

static inline void compat_close_bdev(void *opened)
{
	/*
	 * fput() in a worker closes later, and to flush what was put off is to wait
	 * for a queue that gives no promise under memory pressure, as ours do.
	 */
	__fput_sync(opened);
}
#else
static inline void *compat_open_bdev(dev_t dev)
{
	return blkdev_get_by_dev(dev, FMODE_READ, NULL);
}

static inline void compat_close_bdev(void *opened)
{
	blkdev_put(opened, FMODE_READ);
}
#endif

/* Somebody waits for what comes free: not the callback's batch of seconds. */
#ifdef HAVE_CALL_RCU_HURRY
#define compat_call_rcu		call_rcu_hurry
#else
#define compat_call_rcu		call_rcu
#endif

#ifdef HAVE_HRTIMER_SETUP
#define compat_hrtimer_setup	hrtimer_setup
#else
typedef enum hrtimer_restart hrtimer_fn(struct hrtimer *timer);

static inline void compat_hrtimer_setup(struct hrtimer *timer,
					hrtimer_fn *function, clockid_t clock,
					enum hrtimer_mode mode)
{
	hrtimer_init(timer, clock, mode);
	timer->function = function;
}
#endif

#endif
