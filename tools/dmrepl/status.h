/* SPDX-License-Identifier: GPL-2.0-only */
/* A pair as the kernel has it now, whoever made it. */
#ifndef DMREPL_STATUS_H
#define DMREPL_STATUS_H

#include <sys/types.h>

#include "dm.h"
#include "util.h"

#define UUID_VIEW	"DMREPL-view-"
#define UUID_ORIGIN	"DMREPL-origin-"
#define UUID_PART	"DMREPL-part-"

enum live_kind {
	LIVE_NONE,		/* no device has this name */
	LIVE_OTHER,		/* one has it, which is none of ours */
	LIVE_VIEW,
	LIVE_PRIMARY,
	LIVE_PROMOTED,		/* the promoted disk alone, see dmrepl rejoin */
};

/* Sizes in sectors. The names are those of Documentation/dm-replication.rst. */
struct live {
	enum live_kind kind;
	char *name, *uuid;
	uint64_t sectors;
	uint32_t event;
	dev_t dev;
	int open;
	char *table[4];		/* devices of the table line, as numbers */
	char stage[32], error[96];
	uint64_t epoch, age, active, saved, held, committed, to_commit;
	uint64_t pause_last, pause_longest, captures, spills, errors, leaf_bytes;
	uint64_t dirty, resynced, to_resync;
	struct words flags, args;
	char *origin;		/* the origin's name, or NULL */
	char fence[16];
};

/* 0 or a negative errno; a device that is not there or not ours is a kind. */
int live_read(const char *name, struct live *live);
/* The same without a look for the origin: for loops. */
int live_read_view(const char *name, struct live *live);
void live_free(struct live *live);
bool live_is(const struct live *live, const char *stage);
/* It is the disk, or on its way to be it. */
bool live_is_promoted(const struct live *live);
bool live_has_flag(const struct live *live, const char *flag);
/* A tunable's value, or NULL. */
const char *live_arg(const struct live *live, const char *name);
/* Names of all views and primaries of the kernel. */
int live_names(struct words *names);
/* Names of the views of a group. */
int live_group(const char *group, struct words *names);

/* What failover would undo and promote would drop, in bytes. */
uint64_t undone_by_failover(const struct live *live);
uint64_t dropped_by_promote(const struct live *live);

#endif
