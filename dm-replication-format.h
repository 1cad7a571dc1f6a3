/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * dm-replication: what is on a metadata device. Shared with user space.
 *
 * Copyright (C) the dm-replication authors
 *
 * All numbers are little-endian. Bytes from the device's beginning:
 *
 *	   0	superblock, sequence numbers that are even	512 bytes
 *	4096	superblock, sequence numbers that are odd	512 bytes
 *	8192	record 0, record 1, ...				512 bytes each
 *
 * Record N describes the stretch of 1 MiB that begins at byte N MiB of active,
 * hidden and secondary, or of local and replica. There is one for each stretch,
 * the last may be short. What lies between is zero.
 *
 * A superblock and a record are one sector of 512 bytes each, and stand for
 * themselves: a disk writes a sector as a whole or not at all, so no write,
 * however torn, damages what it does not change. They are written in units of
 * the device's physical block, 512 to 4096 bytes.
 *
 * Of two valid superblocks the one with the higher sequence number counts. A
 * record counts if it carries the superblock's tag and epoch; one of an older
 * epoch, or all zero, says that nothing of its stretch is in active or hidden;
 * a primary's, that the replica may lack nothing of it, or, if the superblock's
 * flag says so, all of it.
 *
 * A checksum is crc32c with an initial value of all ones and no inversion at
 * the end, over all bytes of the sector that follow the checksum itself.
 */
#ifndef DM_REPLICATION_FORMAT_H
#define DM_REPLICATION_FORMAT_H

#include <linux/types.h>
#ifdef __KERNEL__
#include <linux/build_bug.h>
#include <linux/stddef.h>
#else
#include <assert.h>
#include <stddef.h>
#endif

#define DMREPL_VERSION		1
#define DMREPL_SUPER_MAGIC	0x7265707573706d64ULL	/* "dmpsuper" */
#define DMREPL_RECORD_MAGIC	0x63657270U		/* "prec" */

#define DMREPL_SECTOR		512
#define DMREPL_SUPER_STEP	4096	/* bytes from one superblock to the other */
#define DMREPL_NR_SUPERS	2
#define DMREPL_RECORDS		8192	/* bytes before the first record */
#define DMREPL_BLANK		65536	/* bytes that are zero if it is blank */

#define DMREPL_STRETCH_SECTORS	2048
#define DMREPL_PAGE_SECTORS	8
#define DMREPL_SAVED_WORDS	4	/* 64-bit words of a bit per 4 KiB page */
#define DMREPL_ACTIVE_WORDS	32	/* ... of a bit per block */
#define DMREPL_UUID_BYTES	136

/* Whose device it is. */
#define DMREPL_MODE_SECONDARY	1	/* active and saved sets of a view */
#define DMREPL_MODE_PRIMARY	2	/* active: blocks the replica may lack */

/* Stages as the superblock spells them. */
#define DMREPL_STAGE_NONE	0
#define DMREPL_STAGE_RUNNING	1
#define DMREPL_STAGE_FAILOVER	2
#define DMREPL_STAGE_DONE	4
#define DMREPL_STAGE_STOPPED	5
#define DMREPL_STAGE_INVALID	6

#define DMREPL_SUPER_GUARDED	0x1	/* the replica is inconsistent */
#define DMREPL_SUPER_FENCED	0x2	/* origin requests are refused */
#define DMREPL_SUPER_CLEAN	0x4	/* removed in good order */
#define DMREPL_SUPER_ALL	0x8	/* (primary) what has no record is dirty */

/*
 * Byte	what
 *   0	checksum of bytes 4 to 511
 *   4	version of this format
 *   8	magic
 *  16	sequence number, grows with every superblock that is written
 *  24	tag, drawn when the device was formatted
 *  32	length of the pair's devices in sectors of 512 bytes
 *  40	bytes per block of the active set: 512 or 4096
 *  44	mode
 *  48	epoch
 *  56	stage
 *  60	flags
 *  64	when the epoch began, seconds since 1970, 0 if it never did
 *  72	transition of the group that was the last to be completed, or 0
 *  80	transition of the group that is prepared, or 0; if so:
 *  88	its epoch
 *  96	its stage
 * 100	its flags
 * 104	tag of the member whose record decides: if it has not completed the
 *	transition nobody has
 * 112	uuid of the mapped device, ended by zeroes; none: all zero
 * 248	if one is prepared: what that member had completed before it
 * 256	zero
 */
struct dmrepl_super {
	__le32 checksum;
	__le32 version;
	__le64 magic;
	__le64 sequence;
	__le64 tag;
	__le64 sectors;
	__le32 block;
	__le32 mode;
	__le64 epoch;
	__le32 stage;
	__le32 flags;
	__le64 since;
	__le64 completed;
	__le64 prepared;
	__le64 prepared_epoch;
	__le32 prepared_stage;
	__le32 prepared_flags;
	__le64 prepared_by;
	char uuid[DMREPL_UUID_BYTES];
	__le64 prepared_after;
	__u8 rest[256];
};

#define DMREPL_RECORD_LOST	0x1	/* see below */

/*
 * Byte	what
 *   0	checksum of bytes 4 to 511
 *   4	magic
 *   8	tag of the superblock
 *  16	number of the record
 *  24	epoch
 *  32	flags; lost: an older record of this stretch was damaged, so what is
 *	in no set is not known
 *  36	zero
 *  64	saved set: bit B % 8 of byte 64 + B / 8 is for the B-th page of 4096
 *	bytes of the stretch; set: its old data is in hidden
 *  96	active set, likewise, for the blocks of the stretch; set: active has
 *	the data. With blocks of 4096 bytes it ends at byte 128. A primary's:
 *	the replica may lack it
 * 352	zero
 */
struct dmrepl_record {
	__le32 checksum;
	__le32 magic;
	__le64 tag;
	__le64 number;
	__le64 epoch;
	__le32 flags;
	__u8 zero[28];
	__le64 saved[DMREPL_SAVED_WORDS];
	__le64 active[DMREPL_ACTIVE_WORDS];
	__u8 rest[160];
};

/* No compiler has room for padding: each number lies at a multiple of itself. */
static_assert(sizeof(struct dmrepl_super) == DMREPL_SECTOR,
	      "a superblock is a sector");
static_assert(sizeof(struct dmrepl_record) == DMREPL_SECTOR,
	      "a record is a sector");
static_assert(offsetof(struct dmrepl_super, uuid) == 112 &&
	      offsetof(struct dmrepl_super, prepared_after) == 248 &&
	      offsetof(struct dmrepl_super, rest) == 256 &&
	      offsetof(struct dmrepl_record, saved) == 64 &&
	      offsetof(struct dmrepl_record, active) == 96 &&
	      offsetof(struct dmrepl_record, rest) == 352,
	      "the members are where they are said to be");

/* Records of a device of so many sectors, and bytes of its metadata device. */
static inline __u64 dmrepl_records(__u64 sectors)
{
	return (sectors + DMREPL_STRETCH_SECTORS - 1) / DMREPL_STRETCH_SECTORS;
}

static inline __u64 dmrepl_bytes(__u64 sectors)
{
	__u64 bytes = DMREPL_RECORDS + dmrepl_records(sectors) * DMREPL_SECTOR;

	if (bytes < DMREPL_BLANK)
		return DMREPL_BLANK;
	return (bytes + DMREPL_SUPER_STEP - 1) / DMREPL_SUPER_STEP *
	       DMREPL_SUPER_STEP;
}

#endif
