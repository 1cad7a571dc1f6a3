/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The overlay of a pair: which blocks the view has written, and of which
 * pages the old data is kept. This header and its .c file know neither bios
 * nor device-mapper, so that they can be tested by themselves.
 */
#ifndef DM_REPLICATION_OVERLAY_H
#define DM_REPLICATION_OVERLAY_H

#include <linux/atomic.h>
#include <linux/rcupdate.h>
#include <linux/spinlock.h>
#include <linux/types.h>
#include <linux/xarray.h>

/* A stretch is what one leaf describes: 1 MiB, counted in sectors. */
#define STRETCH_SHIFT		11
#define STRETCH_SECTORS		2048U

/* A cow page is what a capture saves at once: 4 KiB, counted in sectors. */
#define COW_PAGE_SHIFT		3
#define COW_PAGE_SECTORS	8U
#define COW_PAGE_BYTES		(COW_PAGE_SECTORS << 9)
#define LEAF_PAGES		(STRETCH_SECTORS >> COW_PAGE_SHIFT)

/* Slots come in arrays: a lone capture needs one of them, not all. */
#define SLOTS_SHIFT		5
#define NR_SLOT_ARRAYS		(LEAF_PAGES >> SLOTS_SHIFT)

enum overlay_class {
	OVERLAY_NONE,		/* read secondary */
	OVERLAY_SAVED,		/* read the held page, else hidden */
	OVERLAY_ACTIVE,		/* read active */
	OVERLAY_MIXED,		/* not all the same: overlay_classify() tells */
	OVERLAY_LOST,		/* nobody knows: the record was damaged */
};

/**
 * struct leaf - the record of one stretch of 1 MiB
 * @epoch: a leaf of an older epoch than its overlay's is an empty leaf
 * @slots: arrays of pointers to what holds a saved page in memory, or NULL; a
 *         slot means something only while its page's saved bit is set
 * @lock: orders renewal (new epoch), claim and removal; process context only
 * @dead: removed from the overlay, look up again (under @lock)
 * @busy: claimed by the reclaimer, come back later (under @lock)
 * @locked: the commit works on this leaf (see overlay_enter())
 * @writers: view writes counted in while a commit may run
 * @lost: what is in no set is not known (see overlay_import())
 * @durable: the active bits that a record holds, or NULL: none
 * @rcu: frees the leaf after its last reader
 * @saved: a bit per cow page
 * @active: a bit per block
 */
struct leaf {
	unsigned long epoch;
	void **slots[NR_SLOT_ARRAYS];
	spinlock_t lock;	/* renewal, claim, removal */
	bool dead;
	bool busy;
	bool locked;
	bool lost;
	atomic_t writers;
	unsigned long *durable;
	struct rcu_head rcu;
	unsigned long saved[LEAF_PAGES / BITS_PER_LONG];
	unsigned long active[];
};

/**
 * struct overlay - two sets over one range of sectors, emptied by one number
 * @leaves: stretch number -> leaf
 * @epoch: the present epoch; changes only while no request is admitted
 * @begun: there may be leaves of this epoch
 * @sectors: length of the device
 * @block_shift: log2 of sectors per block: 0 or 3
 * @durable: leaves are kept on a disk, too
 * @active: sectors in the active set
 * @saved: sectors in the saved set
 * @nr_leaves: leaves in memory, of any epoch
 * @nr_slots: arrays of slots in memory
 */
struct overlay {
	struct xarray leaves;
	unsigned long epoch;
	bool begun;
	sector_t sectors;
	unsigned int block_shift;
	bool durable;
	atomic64_t active;
	atomic64_t saved;
	atomic_long_t nr_leaves;
	atomic_long_t nr_slots;
};

int overlay_setup(void);
void overlay_teardown(void);

void overlay_init(struct overlay *o);
int overlay_configure(struct overlay *o, sector_t sectors,
		      unsigned int block_shift);
void overlay_exit(struct overlay *o);

struct leaf *overlay_find(struct overlay *o, sector_t sector);
struct leaf *__overlay_find(struct overlay *o, sector_t sector);
int overlay_get(struct overlay *o, sector_t sector, unsigned int slots,
		gfp_t gfp, struct leaf **found);
int overlay_get_range(struct overlay *o, sector_t sector, unsigned int n,
		      gfp_t gfp);

enum overlay_class overlay_look(struct overlay *o, struct leaf *leaf,
				sector_t sector, unsigned int n);
enum overlay_class overlay_classify(struct overlay *o, sector_t sector,
				    unsigned int n, unsigned int *run);
bool overlay_any(struct overlay *o, sector_t sector, unsigned int n,
		 unsigned int *run);
unsigned int overlay_unsaved(struct overlay *o, struct leaf *leaf,
			     unsigned long index, unsigned int page,
			     unsigned int end, unsigned int *n);
bool overlay_has_slots(struct leaf *leaf, unsigned int page, unsigned int n);
void *overlay_held(struct leaf *leaf, unsigned int page);

bool overlay_set_active(struct overlay *o, sector_t sector, unsigned int n);
bool overlay_set_active_in(struct overlay *o, struct leaf *leaf,
			   sector_t sector, unsigned int n);
void overlay_clear_active(struct overlay *o, sector_t sector, unsigned int n);
void overlay_set_saved(struct overlay *o, struct leaf *leaf,
		       unsigned long index, unsigned int page, unsigned int n);
void overlay_set_slot(struct leaf *leaf, unsigned int page, void *held);

void overlay_new_epoch(struct overlay *o);
struct leaf *overlay_claim_stale(struct overlay *o, unsigned long *index);
struct leaf *overlay_claim_stale_at(struct overlay *o, unsigned long index);
void overlay_drop_stale(struct overlay *o, unsigned long index,
			struct leaf *leaf);
size_t overlay_bytes(struct overlay *o);

struct leaf *overlay_next(struct overlay *o, unsigned long *index);
bool overlay_enter(struct overlay *o, sector_t sector, unsigned int n);
bool overlay_leave(struct overlay *o, sector_t sector, unsigned int n);
void overlay_lock_leaf(struct leaf *leaf);
void overlay_unlock_leaf(struct leaf *leaf);
bool overlay_leaf_idle(struct leaf *leaf);
void overlay_clear_leaf(struct overlay *o, unsigned long index,
			struct leaf *leaf);

/* What records hold: so many 64-bit words, whatever the block. */
#define OVERLAY_SAVED_WORDS	(LEAF_PAGES / 64)
#define OVERLAY_ACTIVE_WORDS	(STRETCH_SECTORS / 64)

bool overlay_export(struct overlay *o, unsigned long index, u64 *active,
		    u64 *saved);
bool overlay_export_active(struct overlay *o, unsigned long index, u64 *active);
void overlay_keep_active(struct overlay *o, unsigned long index,
			 const u64 *active);
int overlay_import(struct overlay *o, unsigned long index, const u64 *active,
		   const u64 *saved, bool lost);

#endif
