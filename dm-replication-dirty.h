/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What a primary's replica lacks, or may lack. This header and its .c file
 * know neither bios nor device-mapper.
 */
#ifndef DM_REPLICATION_DIRTY_H
#define DM_REPLICATION_DIRTY_H

#include <linux/atomic.h>
#include <linux/mutex.h>
#include <linux/spinlock.h>
#include <linux/types.h>

#include "dm-replication-overlay.h"

/**
 * struct generation - blocks sent to the replica, not known to be durable
 * @set: the blocks
 * @inflight: of the requests that marked them, those that have not ended
 */
struct generation {
	struct overlay *set;
	atomic_t inflight;
};

/**
 * struct dirty - what the replica lacks
 * @lock: all members but @busy; process context only, nothing sleeps under it
 * @busy: who empties a set; taken before @lock
 * @broken: nothing is sent to the replica: who writes marks (looked at under
 *          the lock, changed without it)
 * @sectors: length of the device
 * @set: blocks that differ, or may differ
 * @spare: an empty set, to be swapped in
 * @generations: blocks on their way or not flushed; see dirty_flush_begin()
 * @young: which generation takes newcomers
 * @closed: the other one is in use
 * @closings: how many generations have been closed
 * @settled: the newest of these that a flush has covered (without the lock)
 * @regions: a bit per region all of which counts as dirty
 * @region_shift: log2 of a region's sectors
 * @nr_regions: how many there are
 * @nr_marked: how many bits of @regions are set
 * @sets: what @set, @spare and the generations point to
 */
struct dirty {
	spinlock_t lock;		/* all but busy */
	struct mutex busy;		/* who empties a set */
	bool broken;
	sector_t sectors;
	struct overlay *set;
	struct overlay *spare;
	struct generation generations[2];
	unsigned int young;
	bool closed;
	unsigned long closings;
	unsigned long settled;
	unsigned long *regions;
	unsigned int region_shift;
	unsigned int nr_regions;
	unsigned int nr_marked;
	struct overlay sets[4];
};

void dirty_init(struct dirty *d);
void dirty_exit(struct dirty *d);
int dirty_configure(struct dirty *d, sector_t sectors,
		    unsigned int block_shift, bool all);

void dirty_mark(struct dirty *d, sector_t sector, unsigned int n);
void dirty_mark_all(struct dirty *d);
u64 dirty_count(struct dirty *d);
size_t dirty_bytes(struct dirty *d);

struct generation *dirty_begin(struct dirty *d, sector_t sector,
			       unsigned int n);
void dirty_end(struct generation *g);
bool dirty_wants_flush(struct dirty *d);
unsigned long dirty_flush_begin(struct dirty *d);
void dirty_flushed(struct dirty *d, unsigned long closing);
void dirty_settle(struct dirty *d);

void dirty_break(struct dirty *d);
void dirty_fall_back(struct dirty *d);
void dirty_mend(struct dirty *d);

bool dirty_next(struct dirty *d, sector_t *sector, unsigned int *n);
bool dirty_expand(struct dirty *d);
void dirty_clear(struct dirty *d, sector_t sector, unsigned int n);
void dirty_trim(struct dirty *d);

unsigned int dirty_look(struct dirty *d, unsigned long index, u64 *words);
unsigned int dirty_fill(struct dirty *d, unsigned long index, u64 *words);
void dirty_import(struct dirty *d, unsigned long index, const u64 *words);
void dirty_mark_wide(struct dirty *d, sector_t sector, sector_t n);
bool dirty_unsettled(struct dirty *d);

#endif
