/* SPDX-License-Identifier: GPL-2.0-only */
/* Volumes of lvm2, made and removed by its own programs. */
#ifndef DMREPL_LVM_H
#define DMREPL_LVM_H

#include "util.h"

/* Sectors of an extent of the group, 0 after an error that it has said. */
uint64_t lvm_extent(const char *group);
/* Whether there is such a volume; fails if LVM cannot say. */
int lvm_find(const char *group, const char *volume, bool *there);
/* Sizes are rounded up to extents by LVM. @pool: a thin volume in this pool, or NULL. */
int lvm_make(const char *group, const char *volume, const char *pool, uint64_t sectors,
	     const char *pair);
/* Removes the volume if create has made it for this pair: its tag says so. */
int lvm_remove(const char *group, const char *volume, const char *pair);

#endif
