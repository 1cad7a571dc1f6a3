/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * dm-replication: the one kernel call whose form depends on the kernel. Kbuild
 * looks into the headers and defines HAVE_BDEV_FILE_OPEN_BY_DEV.
 */
#ifndef DM_REPLICATION_COMPAT_H
#define DM_REPLICATION_COMPAT_H

#include <linux/blkdev.h>
#include <linux/file.h>

#ifdef HAVE_BDEV_FILE_OPEN_BY_DEV
static inline void *compat_open_bdev(dev_t dev)
{
	return bdev_file_open_by_dev(dev, BLK_OPEN_READ, NULL, NULL);
}

static inline void compat_close_bdev(void *opened)
{
	fput(opened);
	/* In a worker the close itself is put off: not beyond our return. */
	flush_delayed_fput();
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

#endif
