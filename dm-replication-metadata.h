/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * dm-replication: what the metadata of views and of primaries have in common.
 *
 * Copyright (C) the dm-replication authors
 */
#ifndef DM_REPLICATION_METADATA_H
#define DM_REPLICATION_METADATA_H

#include "dm-replication.h"
#include "dm-replication-format.h"

#define MAX_UNITS	128	/* written together */

struct metadata;

/* A piece of the disk, written at once: one record or several. */
struct unit {
	u64 nr;
	void *buffer;
	bool gap;	/* nobody has asked for it: see fill_gaps() */
};

/**
 * struct metadata_ops - what is different for the modes; the mutex is held
 * @mode: as the superblock spells it
 * @first_state: what the superblock of a blank device is to say
 * @fill: epoch, flags and sets of a record, as it is to be written
 * @load: a superblock was found: fill the memory
 * @take: a record that counts
 * @skip: one of an older epoch, or none
 * @lose: a record that is damaged, and how; or not read, and with which error
 */
struct metadata_ops {
	u32 mode;
	struct metadata_state (*first_state)(struct metadata *m);
	void (*fill)(struct metadata *m, unsigned long index,
		     struct dmrepl_record *d);
	int (*load)(struct metadata *m);
	int (*take)(struct metadata *m, unsigned long index, const u64 *active,
		    const u64 *saved, bool lost);
	int (*skip)(struct metadata *m, unsigned long index);
	int (*lose)(struct metadata *m, unsigned long index, char *why,
		    int error);
};

/**
 * struct metadata - the metadata device of a pair
 * @pair: the pair
 * @ops: what is its mode's own
 * @owner: (primary) its struct marks
 * @sectors: length of the pair's devices
 * @block_shift: log2 of sectors per block
 * @bdev: the device
 * @mutex: who holds it may write; guards all but the lists and bitmaps
 * @state: what the superblock says
 * @sequence: of the superblock that was last written, well or not
 * @newest: which superblock is the newest that was written well
 * @skip: the other one could not be written
 * @alone: when it was opened there was one superblock only
 * @tag: what records must carry
 * @uuid: of the mapped device
 * @unit: bytes that are written at once
 * @records: number of records
 * @stale: a superblock write has failed, see above
 * @failed: the last write has failed
 * @unsettled: (view) the stage is invalid, but the superblock does not say so yet
 * @super: a superblock on its way
 * @nr_units: units in use
 * @units: records on their way, in the order of the disk
 * @bios: writes of @units in a row, at the number of the first
 * @bvs: theirs
 * @pending: writes of @units in flight, plus one
 * @status: the first error of them
 * @written: the last of them has ended
 * @dirty: (view) stretches whose active bits are not all durable
 * @dirty_groups: (view) groups of stretches with a bit in @dirty
 * @coming: (view) captures that have begun, and will be among @saves
 * @waiting: (view) how many are among @saves, or are just being added
 * @saves: (view) captures in hidden whose records are to be written
 * @flushes: (view) requests that wait for active bits to be durable
 * @settles: (view) origin writes that wait for @unsettled to end
 * @wq: of @work; with a rescuer of its own
 * @work: (view) serves the three lists
 * @mirror: makes the older superblock say what the newer one does
 */
struct metadata {
	struct pair *pair;
	const struct metadata_ops *ops;
	void *owner;
	sector_t sectors;
	unsigned int block_shift;
	struct block_device *bdev;
	struct mutex mutex;		/* writing; all but lists and bitmaps */
	struct metadata_state state;
	u64 sequence;
	unsigned int newest;
	bool skip;
	bool alone;
	u64 tag;
	char uuid[DMREPL_UUID_BYTES];
	unsigned int unit;
	unsigned long records;
	bool stale;
	bool failed;
	bool unsettled;
	void *super;
	unsigned int nr_units;
	struct unit units[MAX_UNITS];
	struct bio *bios;
	struct bio_vec bvs[MAX_UNITS];
	atomic_t pending;
	blk_status_t status;
	struct completion written;
	unsigned long *dirty;
	unsigned long *dirty_groups;
	atomic_t coming;
	atomic_t waiting;
	struct llist_head saves;
	struct llist_head flushes;
	struct llist_head settles;
	struct workqueue_struct *wq;
	struct work_struct work;
	struct delayed_work mirror;
};

int super_write(struct metadata *m, const struct metadata_state *s);
int super_refresh(struct metadata *m);
void batch_begin(struct metadata *m);
struct dmrepl_record *batch_add(struct metadata *m, unsigned long index);
int batch_write(struct metadata *m);
int metadata_load_records(struct metadata *m);
struct metadata *metadata_make(struct pair *pair, struct replication *r,
			       const struct metadata_ops *ops, void *owner,
			       bool *found);
void metadata_destroy(struct metadata *m);

#endif
