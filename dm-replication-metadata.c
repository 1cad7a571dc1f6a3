// SPDX-License-Identifier: GPL-2.0-only
/*
 * dm-replication: the metadata device; and the overlay on it.
 *
 * Copyright (C) the dm-replication authors
 *
 * What is where on the disk, byte by byte, is in dm-replication-format.h.
 */

#include <linux/crc32c.h>
#include <linux/ktime.h>
#include <linux/mm.h>
#include <linux/random.h>
#include <linux/slab.h>

#include "dm-replication-metadata.h"

/**
 * DOC: what is durable when, and in which order
 *
 * A record is built anew from its leaf in memory whenever it is written; only
 * which active bits are durable is kept beside the leaf (leaf->durable). All
 * writing is done under the metadata's mutex, by its worker, by the commit's
 * or by a transition. Records carry the epoch: one superblock voids them all.
 *
 * An origin's first write: read secondary, write hidden; then the worker, when
 * all captures have come that have begun, or many have: flush hidden, write their
 * records, durably, set the saved bits, let the origin writes go. So no origin write
 * reaches secondary before a record says where its old data is, and no record
 * says so before hidden has it. A record that is written for a capture holds
 * the active bits that were durable before, not those in memory: their data
 * may not be.
 *
 * A view's flush: collect the active bits, whose writes have ended; flush
 * active; write the records, durably; end the flush. A FUA write does the same
 * when its data is written.
 *
 * A transition is one superblock, written (FUA) while nothing is admitted,
 * before anything in memory changes. Before a start, a checkpoint and a
 * promote secondary is flushed, since the view takes it for what it is. A
 * failover is durable before the origin is fenced and before anything is
 * copied. Given up (drop_view) is durable before the origin write that was not
 * captured goes on.
 *
 * The commit: copies of some leaves have ended; flush secondary; write their
 * records empty, durably; only then clear the bits in memory and unlock the
 * leaves. Otherwise a commit begun again after a crash would copy old data
 * over what the view has written to secondary since.
 *
 * The other superblock, which is older by one change, is made to say the same a
 * second later: then one that is damaged costs nothing. It is tried each second
 * until it succeeds, so a state gets to the disk also if nothing else is written.
 * Where the older one cannot be written the newer one is written over.
 *
 * A superblock write that fails leaves open what is on the disk. Nothing is
 * promised any more until the state in memory was written anew, which is tried
 * before everything else.
 */

#define MAX_SAVES	32	/* so many do not wait for others that are coming */
#define MAX_GAP		512	/* bytes between records that go together */
#define SCAN_PAGES	256	/* read at once */
#define GROUP_SHIFT	12	/* stretches per bit of @dirty_groups */
#define MIRROR_DELAY	HZ	/* until both superblocks say the same */

/*
 *---------------------------------------------------------------------------
 * Sectors
 *---------------------------------------------------------------------------
 */
static u32 checksum(const void *sector)
{
	return crc32c(~0U, sector + sizeof(__le32),
		      DMREPL_SECTOR - sizeof(__le32));
}

static void seal(void *sector)
{
	*(__le32 *)sector = cpu_to_le32(checksum(sector));
}

static bool is_whole(const void *sector)
{
	return le32_to_cpup(sector) == checksum(sector);
}

static bool is_zero(const void *bytes, unsigned int n)
{
	return !memchr_inv(bytes, 0, n);
}

static int transfer(struct block_device *bdev, blk_opf_t op, u64 byte,
		    void *buffer, unsigned int bytes)
{
	struct bio_vec bv;
	struct bio bio;
	int r;

	bio_init(&bio, bdev, &bv, 1, op);
	bio.bi_iter.bi_sector = byte >> SECTOR_SHIFT;
	__bio_add_page(&bio, virt_to_page(buffer), bytes,
		       offset_in_page(buffer));
	r = submit_bio_wait(&bio);
	bio_uninit(&bio);
	return r;
}

/* Neighbouring sectors of one physical block must not suffer from a write. */
static unsigned int unit_of(struct block_device *bdev)
{
	return clamp_t(unsigned int, bdev_physical_block_size(bdev),
		       DMREPL_SECTOR, DMREPL_SUPER_STEP);
}

/*
 *---------------------------------------------------------------------------
 * Superblocks
 *---------------------------------------------------------------------------
 */
static const u32 stage_to_disk[NR_STAGES] = {
	[STAGE_NONE]		= DMREPL_STAGE_NONE,
	[STAGE_RUNNING]		= DMREPL_STAGE_RUNNING,
	[STAGE_FAILOVER]	= DMREPL_STAGE_FAILOVER,
	[STAGE_FAILOVER_FAILED]	= DMREPL_STAGE_FAILOVER,
	[STAGE_DONE]		= DMREPL_STAGE_DONE,
	[STAGE_STOPPED]		= DMREPL_STAGE_STOPPED,
	[STAGE_INVALID]		= DMREPL_STAGE_INVALID,
};

/* Return: NR_STAGES if there is no such stage. */
static enum stage stage_from_disk(u32 stage)
{
	unsigned int i;

	for (i = 0; i < NR_STAGES; i++)
		if (stage_to_disk[i] == stage)
			break;
	return i;
}

static u32 flags_to_disk(bool guarded, bool fenced, bool clean, bool all)
{
	return (guarded ? DMREPL_SUPER_GUARDED : 0) |
	       (fenced ? DMREPL_SUPER_FENCED : 0) |
	       (clean ? DMREPL_SUPER_CLEAN : 0) |
	       (all ? DMREPL_SUPER_ALL : 0);
}

static void build_super(struct metadata *m, const struct metadata_state *s)
{
	struct dmrepl_super *d = m->super;

	memset(m->super, 0, m->unit);
	d->version = cpu_to_le32(DMREPL_VERSION);
	d->magic = cpu_to_le64(DMREPL_SUPER_MAGIC);
	d->sequence = cpu_to_le64(m->sequence);
	d->tag = cpu_to_le64(m->tag);
	d->sectors = cpu_to_le64(m->sectors);
	d->block = cpu_to_le32(SECTOR_SIZE << m->block_shift);
	d->mode = cpu_to_le32(m->ops->mode);
	d->epoch = cpu_to_le64(s->epoch);
	d->stage = cpu_to_le32(stage_to_disk[s->stage]);
	d->flags = cpu_to_le32(flags_to_disk(s->guarded, s->fenced, s->clean,
					     s->all));
	d->since = cpu_to_le64(s->since);
	d->completed = cpu_to_le64(s->completed);
	d->prepared = cpu_to_le64(s->prepared);
	if (s->prepared) {
		d->prepared_epoch = cpu_to_le64(s->prepared_epoch);
		d->prepared_stage =
			cpu_to_le32(stage_to_disk[s->prepared_stage]);
		d->prepared_flags =
			cpu_to_le32(flags_to_disk(s->guarded,
						  s->prepared_fenced, false,
						  false));
		d->prepared_by = cpu_to_le64(s->prepared_by);
		d->prepared_after = cpu_to_le64(s->prepared_after);
	}
	memcpy(d->uuid, m->uuid, sizeof(d->uuid));
	seal(d);
}

/* Return: @r. Errors are recorded here, not by who called for the write. */
static int note_result(struct metadata *m, int r, sector_t sector)
{
	WRITE_ONCE(m->failed, r);
	if (r)
		pair_record_error(m->pair, ERROR_METADATA, r, sector);
	return r;
}

/* The mutex is held. */
static int send_super(struct metadata *m, const struct metadata_state *s,
		      unsigned int slot)
{
	int r;

	lockdep_assert_held(&m->mutex);
	do
		m->sequence++;
	while (m->sequence % DMREPL_NR_SUPERS != slot);
	build_super(m, s);
	r = transfer(m->bdev, URGENT_WRITE | REQ_META | REQ_FUA,
		     slot * DMREPL_SUPER_STEP, m->super, m->unit);
	/* Of two of which one is bad, the good one is not left for it. */
	if (slot != m->newest || r)
		m->skip = r && slot != m->newest;
	if (!r)
		m->newest = slot;
	return r;
}

/**
 * super_write - make a state the one that counts
 * @m: the metadata, whose mutex is held
 * @s: the state
 *
 * May sleep. Whatever comes of it, the other superblock is written later.
 *
 * Return: 0 or a negative errno; then what is on the disk is open.
 */
int super_write(struct metadata *m, const struct metadata_state *s)
{
	int r = send_super(m, s, m->skip ? m->newest : !m->newest);

	m->stale = r;
	if (!r)
		m->state = *s;
	mod_delayed_work(m->wq, &m->mirror, MIRROR_DELAY);
	return note_result(m, r, 0);
}

/**
 * super_refresh - if a superblock write has failed, write the state anew
 * @m: the metadata, whose mutex is held
 *
 * May sleep.
 *
 * Return: 0: what is on the disk is known; or a negative errno.
 */
int super_refresh(struct metadata *m)
{
	return m->stale ? super_write(m, &m->state) : 0;
}

/*
 * The mutex is held. An error counts once, however often it is tried again. It
 * leaves nothing open: what may be there says what the newest one does.
 */
static bool mirror_super(struct metadata *m)
{
	bool was_stale = m->stale, known = m->skip;
	int r = send_super(m, &m->state, !m->newest);

	if (r && known)
		WRITE_ONCE(m->failed, r);
	else
		note_result(m, r, 0);
	if (r)
		return false;
	m->stale = false;
	return !was_stale;	/* else nobody knows what the other one says */
}

static void do_mirror(struct work_struct *work)
{
	struct metadata *m = container_of(to_delayed_work(work),
					  struct metadata, mirror);

	mutex_lock(&m->mutex);
	if (!mirror_super(m))
		mod_delayed_work(m->wq, &m->mirror, MIRROR_DELAY);
	mutex_unlock(&m->mutex);
}

enum content {
	CONTENT_BLANK,
	CONTENT_OURS,
	CONTENT_FOREIGN,
	CONTENT_NEWER,
	CONTENT_DAMAGED,
	CONTENT_UNREADABLE,
};

static char * const content_errors[] = {
	[CONTENT_FOREIGN] =
		"The metadata device is neither blank nor a metadata device",
	[CONTENT_NEWER] =
		"The metadata device has a newer format than this module knows",
	[CONTENT_DAMAGED] =
		"Both superblocks of the metadata device are damaged; see dmrepl-metadata check",
	[CONTENT_UNREADABLE] =
		"A superblock of the metadata device cannot be read; try again, or see dmrepl-metadata repair",
};

static enum content look_for_data(struct block_device *bdev, void *buffer)
{
	u64 byte, end = min_t(u64, DMREPL_BLANK,
			      bdev_nr_sectors(bdev) << SECTOR_SHIFT);

	for (byte = 0; byte < end; byte += DMREPL_SUPER_STEP) {
		if (transfer(bdev, REQ_OP_READ, byte, buffer,
			     DMREPL_SUPER_STEP))
			return CONTENT_UNREADABLE;
		if (!is_zero(buffer, DMREPL_SUPER_STEP))
			return CONTENT_FOREIGN;
	}
	return CONTENT_BLANK;
}

/*
 * The disk knows that it has lost what was there. After any other error it may
 * be read the next time: then nothing is to be written in its place.
 */
static bool is_lost(int error)
{
	return error == -ENODATA || error == -EILSEQ;
}

/* The newer one of the valid superblocks. @buffer has DMREPL_SUPER_STEP. */
static enum content read_super(struct block_device *bdev, void *buffer,
			       struct dmrepl_super *newest, bool *alone)
{
	struct dmrepl_super *d = buffer;
	unsigned int i, found = 0, damaged = 0;
	bool unread = false;
	int r;

	for (i = 0; i < DMREPL_NR_SUPERS; i++) {
		r = transfer(bdev, REQ_OP_READ, i * DMREPL_SUPER_STEP, buffer,
			     DMREPL_SUPER_STEP);
		if (r) {
			damaged++;
			unread |= !is_lost(r);
			continue;
		}
		if (le64_to_cpu(d->magic) != DMREPL_SUPER_MAGIC)
			continue;
		if (!is_whole(d)) {
			damaged++;
			continue;
		}
		if (!found++ || le64_to_cpu(d->sequence) >
				le64_to_cpu(newest->sequence))
			*newest = *d;
	}
	if (unread)
		return CONTENT_UNREADABLE;
	if (found && damaged)
		DMWARN("%pg: one of two superblocks is damaged", bdev);
	*alone = found < DMREPL_NR_SUPERS;
	if (found)
		return le32_to_cpu(newest->version) > DMREPL_VERSION ?
		       CONTENT_NEWER : CONTENT_OURS;
	return damaged ? CONTENT_DAMAGED : look_for_data(bdev, buffer);
}

static void view_uuid(struct replication *r, char *uuid)
{
	char name[DM_NAME_LEN];

	memset(uuid, 0, DMREPL_UUID_BYTES);
	if (dm_copy_name_and_uuid(r->md, name, uuid))
		*uuid = '\0';
}

/* Whether it is this pair's. */
static int match_super(struct replication *r, struct dmrepl_super *d,
		       char **error)
{
	const char *device = dm_table_device_name(r->ti->table);
	u32 block = SECTOR_SIZE << r->block_shift;
	char uuid[DMREPL_UUID_BYTES];

	*error = "The metadata device belongs to another pair";
	d->uuid[DMREPL_UUID_BYTES - 1] = '\0';
	view_uuid(r, uuid);
	if (le32_to_cpu(d->mode) != (r->is_primary ? DMREPL_MODE_PRIMARY :
				     DMREPL_MODE_SECONDARY)) {
		DMERR("%s: the metadata device is not of mode %s", device,
		      r->is_primary ? "primary" : "secondary");
	} else if (le64_to_cpu(d->sectors) != r->ti->len) {
		DMERR("%s: the metadata is of devices of %llu sectors, these have %llu",
		      device, le64_to_cpu(d->sectors), (u64)r->ti->len);
	} else if (le32_to_cpu(d->block) != block) {
		DMERR("%s: the metadata is of blocks of %u bytes, these have %u",
		      device, le32_to_cpu(d->block), block);
	} else if (*d->uuid && strcmp(d->uuid, uuid)) {
		DMERR("%s: the metadata is of a %s with uuid %*pE, not \"%s\"",
		      device, r->is_primary ? "primary" : "view",
		      (int)strlen(d->uuid), d->uuid, uuid);
	} else if (stage_from_disk(le32_to_cpu(d->stage)) == NR_STAGES ||
		   (d->prepared && stage_from_disk(le32_to_cpu(d->prepared_stage)) ==
		    NR_STAGES)) {
		DMERR("%s: the metadata has a stage that does not exist",
		      device);
	} else if (d->prepared && le64_to_cpu(d->prepared_epoch) -
		   le64_to_cpu(d->epoch) > 1) {
		DMERR("%s: the metadata has a transition that does not exist",
		      device);
	} else {
		*error = NULL;
	}
	return *error ? -EINVAL : 0;
}

/* Look at the device. Return: CONTENT_BLANK, CONTENT_OURS, or an errno. */
static int inspect(struct replication *r, struct dmrepl_super *d, bool *alone,
		   char **error)
{
	void *buffer = (void *)__get_free_page(GFP_NOIO);
	enum content content;

	*error = "Cannot allocate memory for the metadata device";
	if (!buffer)
		return -ENOMEM;
	content = read_super(r->metadata->bdev, buffer, d, alone);
	free_page((unsigned long)buffer);
	if (content == CONTENT_BLANK)
		return content;
	if (content != CONTENT_OURS) {
		*error = content_errors[content];
		return content == CONTENT_UNREADABLE ? -EIO : -EINVAL;
	}
	return match_super(r, d, error) ?: CONTENT_OURS;
}

/**
 * metadata_check - look whether a table line's metadata device will do
 * @r: the target, its devices open and of the right length
 * @error: what is wrong, if it will not
 *
 * May sleep. Writes nothing.
 *
 * Return: 0 or a negative errno.
 */
int metadata_check(struct replication *r, char **error)
{
	u64 need = dmrepl_bytes(r->ti->len);
	u64 have = bdev_nr_sectors(r->metadata->bdev) << SECTOR_SHIFT;
	struct dmrepl_super *d;
	bool alone;
	int found;

	if (have < need) {
		DMERR("%s: the metadata device has %llu bytes, it needs %llu",
		      dm_table_device_name(r->ti->table), have, need);
		*error = "The metadata device is too small";
		return -ENOSPC;
	}
	*error = "Cannot allocate memory for the metadata device";
	d = kmalloc(sizeof(*d), GFP_KERNEL);
	if (!d)
		return -ENOMEM;
	found = inspect(r, d, &alone, error);
	kfree(d);
	return min(found, 0);
}

/*
 *---------------------------------------------------------------------------
 * Records, some at a time
 *---------------------------------------------------------------------------
 */

/**
 * batch_begin - records are about to be written
 * @m: the metadata, whose mutex is held from here to batch_write()
 */
void batch_begin(struct metadata *m)
{
	lockdep_assert_held(&m->mutex);
	m->nr_units = 0;
}

static void build_record(struct metadata *m, unsigned long index,
			 struct dmrepl_record *d)
{
	memset(d, 0, sizeof(*d));
	if (index >= m->records)
		return;
	d->magic = cpu_to_le32(DMREPL_RECORD_MAGIC);
	d->tag = cpu_to_le64(m->tag);
	d->number = cpu_to_le64(index);
	m->ops->fill(m, index, d);
}

static void fill_view_record(struct metadata *m, unsigned long index,
			     struct dmrepl_record *d)
{
	u64 active[OVERLAY_ACTIVE_WORDS] = { }, saved[OVERLAY_SAVED_WORDS] = { };
	struct overlay *o = &m->pair->overlay;
	unsigned int i;

	d->epoch = cpu_to_le64(o->epoch);
	if (overlay_export(o, index, active, saved))
		d->flags = cpu_to_le32(DMREPL_RECORD_LOST);
	for (i = 0; i < OVERLAY_SAVED_WORDS; i++)
		d->saved[i] = cpu_to_le64(saved[i]);
	for (i = 0; i < OVERLAY_ACTIVE_WORDS; i++)
		d->active[i] = cpu_to_le64(active[i]);
}

/* Where a unit is in the batch, which is in order, or would be. */
static unsigned int place_of(struct metadata *m, u64 nr)
{
	unsigned int low = 0, high = m->nr_units, middle;

	while (low < high) {
		middle = (low + high) / 2;
		if (m->units[middle].nr < nr)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

/* There is room. Its records are as the memory is now. */
static struct unit *insert_unit(struct metadata *m, unsigned int at, u64 nr)
{
	unsigned int per_unit = m->unit / DMREPL_SECTOR, i;
	struct unit *u = &m->units[at];
	struct unit fresh = m->units[m->nr_units];

	memmove(u + 1, u, (m->nr_units - at) * sizeof(*u));
	m->nr_units++;
	*u = fresh;
	u->nr = nr;
	u->gap = false;
	for (i = 0; i < per_unit; i++)
		build_record(m, nr * per_unit + i,
			     u->buffer + i * DMREPL_SECTOR);
	return u;
}

/**
 * batch_add - have a record written
 * @m: the metadata, whose mutex is held
 * @index: its stretch
 *
 * Return: the record as it is now, to be changed; NULL if the batch is full.
 */
struct dmrepl_record *batch_add(struct metadata *m, unsigned long index)
{
	unsigned int per_unit = m->unit / DMREPL_SECTOR;
	u64 nr = index / per_unit;
	unsigned int at = place_of(m, nr);
	struct unit *u = &m->units[at];
	struct dmrepl_record *d;

	if (at == m->nr_units || u->nr != nr) {
		if (m->nr_units == MAX_UNITS)
			return NULL;
		u = insert_unit(m, at, nr);
	}
	d = u->buffer;
	return d + index % per_unit;
}

/*
 * Records with little between them go in one request, and with them what lies
 * between, as it is: a disk counts requests before it counts bytes.
 */
static void fill_gaps(struct metadata *m)
{
	unsigned int i;
	u64 gap;

	for (i = 1; i < m->nr_units && m->nr_units < MAX_UNITS; i++) {
		gap = m->units[i].nr - m->units[i - 1].nr - 1;
		if (gap && gap <= MAX_GAP / m->unit)
			insert_unit(m, i, m->units[i - 1].nr + 1)->gap = true;
	}
}

static void run_written(struct bio *bio)
{
	struct metadata *m = bio->bi_private;

	if (bio->bi_status)
		cmpxchg(&m->status, BLK_STS_OK, bio->bi_status);
	bio_uninit(bio);
	if (atomic_dec_and_test(&m->pending))
		complete(&m->written);
}

static void seal_unit(struct metadata *m, struct unit *u)
{
	struct dmrepl_record *d = u->buffer;
	unsigned int i;

	for (i = 0; i < m->unit / DMREPL_SECTOR; i++)
		if (d[i].magic)
			seal(d + i);
}

/* Return: where the units in a row end that begin with this one. */
static unsigned int run_end(struct metadata *m, unsigned int first)
{
	unsigned int end = first + 1;

	while (end < m->nr_units &&
	       m->units[end].nr == m->units[end - 1].nr + 1)
		end++;
	return end;
}

static void write_run(struct metadata *m, unsigned int first, unsigned int end,
		      blk_opf_t op)
{
	struct bio *bio = &m->bios[first];
	struct unit *u;

	bio_init(bio, m->bdev, &m->bvs[first], end - first, op);
	bio->bi_iter.bi_sector =
		(DMREPL_RECORDS + m->units[first].nr * m->unit) >> SECTOR_SHIFT;
	bio->bi_private = m;
	bio->bi_end_io = run_written;
	for (u = &m->units[first]; u < &m->units[end]; u++) {
		seal_unit(m, u);
		__bio_add_page(bio, virt_to_page(u->buffer), m->unit,
			       offset_in_page(u->buffer));
	}
	atomic_inc(&m->pending);
	submit_bio_noacct(bio);
}

/*
 * Some of the batch may be on the disk, or all of it, and something else in
 * memory: what is acknowledged next writes these records anew.
 */
static void mark_batch(struct metadata *m)
{
	unsigned int per_unit = m->unit / DMREPL_SECTOR, i, j;
	u64 index;

	for (i = 0; i < m->nr_units; i++)
		for (j = 0; j < per_unit; j++) {
			index = m->units[i].nr * per_unit + j;
			if (index < m->records)
				metadata_mark(m, index << STRETCH_SHIFT, 1);
		}
}

/*
 * What lies between must not keep from the disk what was asked for. Whatever has
 * become of it there is as true as what it was to become. Return: whether there
 * was any.
 */
static bool drop_gaps(struct metadata *m)
{
	unsigned int i, n = 0, before = m->nr_units;

	for (i = 0; i < before; i++) {
		if (m->units[i].gap)
			continue;
		swap(m->units[n], m->units[i]);
		n++;
	}
	m->nr_units = n;
	return n < before;
}

static int write_units(struct metadata *m)
{
	blk_opf_t op = URGENT_WRITE | REQ_META;
	unsigned int first, end;
	struct blk_plug plug;
	bool one;
	int r;

	one = run_end(m, 0) == m->nr_units;
	if (one)	/* else one flush behind them */
		op |= REQ_FUA;
	m->status = BLK_STS_OK;
	atomic_set(&m->pending, 1);
	reinit_completion(&m->written);
	blk_start_plug(&plug);
	for (first = 0; first < m->nr_units; first = end) {
		end = run_end(m, first);
		write_run(m, first, end, op);
	}
	blk_finish_plug(&plug);
	if (!atomic_dec_and_test(&m->pending))
		wait_for_completion_io(&m->written);
	r = blk_status_to_errno(m->status);
	if (!r && !one)
		r = blkdev_issue_flush(m->bdev);
	return r;
}

/**
 * batch_write - write the records of the batch
 * @m: the metadata, whose mutex is held
 *
 * May sleep.
 *
 * Return: 0: they are durable; or a negative errno.
 */
int batch_write(struct metadata *m)
{
	int r;

	if (!m->nr_units)
		return 0;
	r = write_units(m);
	if (r && drop_gaps(m))
		r = write_units(m);
	if (r)
		mark_batch(m);
	return note_result(m, r, (sector_t)m->units[0].nr * m->unit /
			   DMREPL_SECTOR << STRETCH_SHIFT);
}

/*
 *---------------------------------------------------------------------------
 * Captures
 *---------------------------------------------------------------------------
 */
static bool add_save(struct metadata *m, struct metadata_save *save)
{
	struct dmrepl_record *d = batch_add(m, save->index);
	unsigned int page;

	if (!d)
		return false;
	for (page = save->first; page < save->first + save->n; page++)
		d->saved[page / 64] |= cpu_to_le64(1ULL << page % 64);
	return true;
}

/* Return: what does not fit into one batch. */
static struct llist_node *save_some(struct metadata *m,
				    struct llist_node *nodes)
{
	enum error_class class = ERROR_METADATA;
	struct llist_node *node = nodes, *next;
	struct metadata_save *save;
	int r;

	mutex_lock(&m->mutex);
	batch_begin(m);
	while (node && add_save(m, llist_entry(node, struct metadata_save,
					       node)))
		node = node->next;
	fill_gaps(m);
	r = super_refresh(m);
	if (!r) {
		r = blkdev_issue_flush(m->pair->hidden);
		if (r)
			class = ERROR_SPILL;
		else
			r = batch_write(m);
	}
	/* Published before anybody else builds these records. */
	for (; nodes != node; nodes = next) {
		next = nodes->next;
		save = llist_entry(nodes, struct metadata_save, node);
		save->done(save, errno_to_blk_status(r), class);
	}
	mutex_unlock(&m->mutex);
	return node;
}

/*
 * Have the worker serve a list. It may run already, take what was added, and end
 * it, which may be all that kept the view: metadata_destroy() waits for the lock here.
 */
static void add_work(struct metadata *m, struct llist_node *node,
		     struct llist_head *list)
{
	rcu_read_lock();
	if (llist_add(node, list))
		queue_work(m->wq, &m->work);
	rcu_read_unlock();
}

/* Whether records are to be written now, or others will be asked for at once. */
static bool saves_are_due(struct metadata *m)
{
	return !atomic_read(&m->coming) ||
	       atomic_read(&m->waiting) >= MAX_SAVES;
}

/* Return: the captures that are in hidden, the oldest first. */
static struct llist_node *take_saves(struct metadata *m)
{
	struct llist_node *nodes, *node;
	int n = 0;

	nodes = llist_reverse_order(llist_del_all(&m->saves));
	llist_for_each(node, nodes)
		n++;
	atomic_sub(n, &m->waiting);
	return nodes;
}

/**
 * metadata_expect - a capture begins that will come to metadata_save()
 * @m: the metadata
 *
 * Any context. Records of those that have come wait for it, so that one flush of
 * hidden and one round of records do for all. It must depend on none of them.
 */
void metadata_expect(struct metadata *m)
{
	atomic_inc(&m->coming);
}

/**
 * metadata_dont_expect - it has failed, and will not come
 * @m: the metadata
 *
 * Any context. The capture's owner is still counted.
 */
void metadata_dont_expect(struct metadata *m)
{
	if (atomic_dec_and_test(&m->coming))
		queue_work(m->wq, &m->work);
}

/**
 * metadata_save - have the record written of pages that are in hidden
 * @m: the metadata, told of it by metadata_expect()
 * @save: which; its done is called by the worker
 *
 * Any context.
 */
void metadata_save(struct metadata *m, struct metadata_save *save)
{
	bool full, last;

	/* As in add_work(). */
	rcu_read_lock();
	full = atomic_inc_return(&m->waiting) == MAX_SAVES;
	llist_add(&save->node, &m->saves);
	/* Added before it is counted off: who counts off the last finds all. */
	last = atomic_dec_and_test(&m->coming);
	if (full || last)
		queue_work(m->wq, &m->work);
	rcu_read_unlock();
}

/*
 *---------------------------------------------------------------------------
 * Active bits
 *---------------------------------------------------------------------------
 */

/**
 * metadata_mark - active bits were set, which are not durable yet
 * @m: the metadata
 * @sector: where they begin
 * @n: sectors
 *
 * Any context. Before the write is acknowledged.
 */
void metadata_mark(struct metadata *m, sector_t sector, unsigned int n)
{
	unsigned long index = sector >> STRETCH_SHIFT;
	unsigned long last = (sector + n - 1) >> STRETCH_SHIFT;

	for (; index <= last; index++) {
		set_bit(index, m->dirty);
		/* Bit before group: pairs with collect_group(). */
		smp_mb__after_atomic();
		if (!test_bit(index >> GROUP_SHIFT, m->dirty_groups))
			set_bit(index >> GROUP_SHIFT, m->dirty_groups);
	}
}

static bool has_dirty(struct metadata *m)
{
	unsigned long groups = (m->records >> GROUP_SHIFT) + 1;

	return find_first_bit(m->dirty_groups, groups) < groups;
}

/* Return: false if the batch is full. */
static bool collect_active(struct metadata *m, unsigned long index)
{
	u64 active[OVERLAY_ACTIVE_WORDS] = { };
	struct dmrepl_record *d;
	unsigned int i;

	/* Of an older epoch, or committed meanwhile: nothing to be kept. */
	if (!overlay_export_active(&m->pair->overlay, index, active))
		return true;
	d = batch_add(m, index);
	if (!d)
		return false;
	for (i = 0; i < OVERLAY_ACTIVE_WORDS; i++)
		d->active[i] |= cpu_to_le64(active[i]);
	return true;
}

/* From *index on, within a group. Return: false if the batch is full. */
static bool collect_group(struct metadata *m, unsigned long *index)
{
	unsigned long end = min(m->records,
				(*index | ((1UL << GROUP_SHIFT) - 1)) + 1);

	if (!test_and_clear_bit(*index >> GROUP_SHIFT, m->dirty_groups)) {
		*index = end;
		return true;
	}
	/* Cleared before the bits are looked at: pairs with metadata_mark(). */
	for (;;) {
		*index = find_next_bit(m->dirty, end, *index);
		if (*index >= end)
			return true;
		/* Cleared before the active bits are: a later one marks it. */
		if (test_and_clear_bit(*index, m->dirty) &&
		    !collect_active(m, *index)) {
			metadata_mark(m, (sector_t)*index << STRETCH_SHIFT, 1);
			return false;
		}
		(*index)++;
	}
}

/* The records of this batch are on the disk. */
static void keep_active(struct metadata *m)
{
	unsigned int per_unit = m->unit / DMREPL_SECTOR, i, j, k;
	u64 active[OVERLAY_ACTIVE_WORDS];
	struct dmrepl_record *d;
	unsigned long index;

	for (i = 0; i < m->nr_units; i++) {
		d = m->units[i].buffer;
		for (j = 0; j < per_unit; j++) {
			index = m->units[i].nr * per_unit + j;
			if (index >= m->records)
				break;
			for (k = 0; k < OVERLAY_ACTIVE_WORDS; k++)
				active[k] = le64_to_cpu(d[j].active[k]);
			overlay_keep_active(&m->pair->overlay, index, active);
		}
	}
}

/*
 * Make durable all active bits that are set now. Who calls it while writes go
 * on gets an end nevertheless: each stretch is looked at once.
 */
static int sync_active(struct metadata *m, enum error_class *class)
{
	unsigned long index = 0;
	int r;

	do {
		mutex_lock(&m->mutex);
		batch_begin(m);
		while (index < m->records && collect_group(m, &index))
			;
		fill_gaps(m);
		*class = ERROR_METADATA;
		r = super_refresh(m);
		if (!r) {
			/* Behind the collecting, before the records. */
			r = blkdev_issue_flush(m->pair->active);
			if (r)
				*class = ERROR_ACTIVE;
			else
				r = batch_write(m);
		}
		if (r)
			mark_batch(m);
		else
			keep_active(m);
		mutex_unlock(&m->mutex);
	} while (!r && index < m->records);
	return r;
}

static void end_flushes(struct metadata *m, struct llist_node *nodes)
{
	struct repl_request *rq, *next;
	enum error_class class;
	int r = sync_active(m, &class);

	/* An error of the metadata is recorded already. */
	if (r && class == ERROR_ACTIVE)
		pair_record_error(m->pair, class, r, 0);
	llist_for_each_entry_safe(rq, next, nodes, ready)
		request_end_with(rq, rq->status ?: errno_to_blk_status(r));
}

/**
 * metadata_sync - end a request when all active bits are durable
 * @m: the metadata
 * @rq: a view's flush, or a FUA write whose data is written; counted
 *
 * Any context. Active is flushed, too.
 */
void metadata_sync(struct metadata *m, struct repl_request *rq)
{
	add_work(m, &rq->ready, &m->flushes);
}

/*
 *---------------------------------------------------------------------------
 * Given up
 *---------------------------------------------------------------------------
 */

/**
 * metadata_unsettle - the view is being given up
 * @m: the metadata
 *
 * Any context. Before the stage is invalid for anybody else.
 */
void metadata_unsettle(struct metadata *m)
{
	WRITE_ONCE(m->unsettled, true);
	/* Pairs with metadata_settled(). */
	smp_wmb();
}

/**
 * metadata_settled - whether a stage that is invalid is durable
 * @m: the metadata
 * @rq: an origin write that found the stage invalid
 *
 * Any context.
 *
 * Return: false if the request was put to wait; it will be routed again.
 */
bool metadata_settled(struct metadata *m, struct repl_request *rq)
{
	/* The stage was seen before; pairs with metadata_unsettle(). */
	smp_rmb();
	if (likely(!READ_ONCE(m->unsettled)))
		return true;
	add_work(m, &rq->ready, &m->settles);
	return false;
}

static void settle(struct metadata *m, struct llist_node *nodes)
{
	struct repl_request *rq, *next;
	struct metadata_state s;

	mutex_lock(&m->mutex);
	s = m->state;
	s.stage = STAGE_INVALID;
	/* The policy is that the origin goes on, whatever it costs the view. */
	if (m->unsettled && super_write(m, &s)) {
		m->state = s;
		DMERR("%s: cannot record that the view is invalid: after a crash do not trust it",
		      m->pair->name);
	}
	WRITE_ONCE(m->unsettled, false);
	mutex_unlock(&m->mutex);
	llist_for_each_entry_safe(rq, next, nodes, ready)
		request_continue(rq);
}

static void do_metadata(struct work_struct *work)
{
	struct metadata *m = container_of(work, struct metadata, work);
	struct llist_node *saves, *flushes, *settles;

	for (;;) {
		saves = saves_are_due(m) ? take_saves(m) : NULL;
		flushes = llist_del_all(&m->flushes);
		settles = llist_del_all(&m->settles);
		if (!saves && !flushes && !settles)
			break;
		if (settles)
			settle(m, settles);
		while (saves)
			saves = save_some(m, saves);
		if (flushes)
			end_flushes(m, flushes);
	}
}

/*
 *---------------------------------------------------------------------------
 * The commit and the transitions
 *---------------------------------------------------------------------------
 */

/**
 * metadata_clear_leaves - secondary holds what these leaves described
 * @m: the metadata
 * @leaves: the leaves, locked and idle, their copies have ended
 * @indexes: their stretches
 * @n: how many; at most 64
 *
 * May sleep. Flushes secondary, then makes the records empty, then the leaves.
 *
 * Return: 0 or a negative errno; then nothing has changed in memory.
 */
int metadata_clear_leaves(struct metadata *m, struct leaf **leaves,
			  unsigned long *indexes, unsigned int n)
{
	struct overlay *o = &m->pair->overlay;
	struct dmrepl_record *d;
	unsigned int i;
	int r;

	mutex_lock(&m->mutex);
	batch_begin(m);
	for (i = 0; i < n; i++) {
		d = batch_add(m, indexes[i]);
		if (WARN_ON_ONCE(!d))
			break;
		memset(d->saved, 0, sizeof(d->saved));
		memset(d->active, 0, sizeof(d->active));
		d->flags = 0;
	}
	r = super_refresh(m);
	if (!r) {
		r = blkdev_issue_flush(m->pair->secondary);
		if (r)
			pair_record_error(m->pair, ERROR_COMMIT, r,
					  (sector_t)indexes[0] << STRETCH_SHIFT);
		else
			r = batch_write(m);
	}
	/* Durable before in memory: then the view may write to secondary. */
	for (i = 0; !r && i < n; i++)
		overlay_clear_leaf(o, indexes[i], leaves[i]);
	mutex_unlock(&m->mutex);
	return r;
}

/**
 * metadata_tag - what tells this device from all others
 * @m: the metadata
 *
 * Return: a random number, drawn when the device was formatted; never 0.
 */
u64 metadata_tag(struct metadata *m)
{
	return m->tag;
}

/**
 * metadata_state - what the superblock says
 * @m: the metadata
 *
 * For who holds the pair's mutex, or has just opened the metadata.
 */
struct metadata_state metadata_state(struct metadata *m)
{
	struct metadata_state s;

	mutex_lock(&m->mutex);
	s = m->state;
	mutex_unlock(&m->mutex);
	return s;
}

/**
 * metadata_write - make a state durable
 * @m: the metadata
 * @s: the state
 *
 * May sleep. If it fails, what is on the disk is open: the old state was
 * written anew if that was possible, and is before anything else is promised.
 *
 * Return: 0 or a negative errno.
 */
int metadata_write(struct metadata *m, const struct metadata_state *s)
{
	int r;

	mutex_lock(&m->mutex);
	r = super_write(m, s);
	if (r)
		super_refresh(m);
	mutex_unlock(&m->mutex);
	return r;
}

/**
 * metadata_guard - put the guard on, or take it off, durably
 * @m: the metadata
 * @on: on
 *
 * May sleep. In one go: beside it the stage may become invalid.
 *
 * Return: 0 or a negative errno, as metadata_write().
 */
int metadata_guard(struct metadata *m, bool on)
{
	struct metadata_state s;
	int r;

	mutex_lock(&m->mutex);
	s = m->state;
	s.guarded = on;
	r = super_write(m, &s);
	if (r)
		super_refresh(m);
	mutex_unlock(&m->mutex);
	return r;
}

/**
 * metadata_adopt - a state that counts although it could not be written
 * @m: the metadata
 * @s: the state
 *
 * It is written before anything else is promised.
 */
void metadata_adopt(struct metadata *m, const struct metadata_state *s)
{
	mutex_lock(&m->mutex);
	m->state = *s;
	m->stale = true;
	mod_delayed_work(m->wq, &m->mirror, MIRROR_DELAY);
	mutex_unlock(&m->mutex);
}

/**
 * metadata_failing - whether the metadata device's last write has failed
 * @m: the metadata
 */
bool metadata_failing(struct metadata *m)
{
	return READ_ONCE(m->failed);
}

/*
 *---------------------------------------------------------------------------
 * Opening and closing
 *---------------------------------------------------------------------------
 */
/**
 * metadata_destroy - undo metadata_make(); what is on the disk stays
 * @m: the metadata, in nobody's use
 *
 * May sleep.
 */
void metadata_destroy(struct metadata *m)
{
	unsigned int i;

	/* Pairs with add_work(); not a grace period of milliseconds. */
	synchronize_rcu_expedited();
	cancel_delayed_work_sync(&m->mirror);
	if (m->wq)
		destroy_workqueue(m->wq);
	for (i = 0; i < MAX_UNITS; i++)
		kfree(m->units[i].buffer);
	kvfree(m->bios);
	kfree(m->super);
	kvfree(m->dirty);
	bitmap_free(m->dirty_groups);
	kvfree(m);
}

static struct metadata *create(struct pair *pair, struct replication *r)
{
	struct metadata *m = kvzalloc(sizeof(*m), GFP_NOIO);
	unsigned int i;

	if (!m)
		return NULL;
	m->pair = pair;
	m->bdev = r->metadata->bdev;
	mutex_init(&m->mutex);
	init_completion(&m->written);
	init_llist_head(&m->saves);
	init_llist_head(&m->flushes);
	init_llist_head(&m->settles);
	INIT_WORK(&m->work, do_metadata);
	INIT_DELAYED_WORK(&m->mirror, do_mirror);
	m->unit = unit_of(m->bdev);
	m->sectors = r->ti->len;
	m->block_shift = r->block_shift;
	m->records = dmrepl_records(r->ti->len);
	m->super = kmalloc(m->unit, GFP_NOIO);
	m->bios = kvcalloc(MAX_UNITS, sizeof(*m->bios), GFP_NOIO);
	m->dirty = kvcalloc(BITS_TO_LONGS(m->records), sizeof(long), GFP_NOIO);
	m->dirty_groups = bitmap_zalloc((m->records >> GROUP_SHIFT) + 1,
					GFP_NOIO);
	m->wq = alloc_workqueue("dm-repl-meta/%s", WQ_UNBOUND | WQ_MEM_RECLAIM |
				WQ_HIGHPRI, 0, pair->name);
	for (i = 0; i < MAX_UNITS; i++) {
		m->units[i].buffer = kmalloc(m->unit, GFP_NOIO);
		if (!m->units[i].buffer)
			break;
	}
	if (i == MAX_UNITS && m->super && m->bios && m->dirty &&
	    m->dirty_groups && m->wq)
		return m;
	metadata_destroy(m);
	return NULL;
}

/* A blank device becomes ours; it says what the pair is now. */
static int format(struct metadata *m)
{
	struct metadata_state s = m->ops->first_state(m);
	u64 bytes = dmrepl_bytes(m->sectors);
	int r;

	/* Later, whatever is neither zero nor whole is damaged. */
	r = blkdev_issue_zeroout(m->bdev, 0, bytes >> SECTOR_SHIFT, GFP_NOIO,
				 0);
	if (!r)
		r = blkdev_issue_flush(m->bdev);
	if (r)
		return note_result(m, r, 0);
	do
		m->tag = get_random_u64();
	while (!m->tag);
	mutex_lock(&m->mutex);
	r = super_write(m, &s);
	if (!r)
		r = super_write(m, &s);
	mutex_unlock(&m->mutex);
	if (!r)
		DMINFO("%s: %pg is its metadata device from now on",
		       m->pair->name, m->bdev);
	return r;
}

static void parse_super(struct metadata *m, struct dmrepl_super *d)
{
	u32 flags = le32_to_cpu(d->flags);

	m->sequence = le64_to_cpu(d->sequence);
	m->newest = m->sequence % DMREPL_NR_SUPERS;
	m->tag = le64_to_cpu(d->tag);
	m->state = (struct metadata_state){
		.stage = stage_from_disk(le32_to_cpu(d->stage)),
		.epoch = le64_to_cpu(d->epoch),
		.guarded = flags & DMREPL_SUPER_GUARDED,
		.fenced = flags & DMREPL_SUPER_FENCED,
		.clean = flags & DMREPL_SUPER_CLEAN,
		.all = flags & DMREPL_SUPER_ALL,
		.since = le64_to_cpu(d->since),
		.completed = le64_to_cpu(d->completed),
		.prepared = le64_to_cpu(d->prepared),
		.prepared_epoch = le64_to_cpu(d->prepared_epoch),
		.prepared_stage = stage_from_disk(le32_to_cpu(d->prepared_stage)),
		.prepared_fenced = le32_to_cpu(d->prepared_flags) &
				   DMREPL_SUPER_FENCED,
		.prepared_by = le64_to_cpu(d->prepared_by),
		.prepared_after = le64_to_cpu(d->prepared_after),
	};
}

/* Bits that stand for nothing, beyond the end of the device. */
static bool has_stray_bits(struct metadata *m, unsigned long index,
			   const u64 *active, const u64 *saved)
{
	sector_t left = m->sectors - ((sector_t)index << STRETCH_SHIFT);
	unsigned int i, sectors = min_t(sector_t, left, STRETCH_SECTORS);
	unsigned int blocks = sectors >> m->block_shift;
	unsigned int pages = DIV_ROUND_UP(sectors, COW_PAGE_SECTORS);

	for (i = pages; i < LEAF_PAGES; i++)
		if (saved[i / 64] & (1ULL << i % 64))
			return true;
	for (i = blocks; i < STRETCH_SECTORS; i++)
		if (active[i / 64] & (1ULL << i % 64))
			return true;
	return false;
}

/*
 * Called with the mutex held. For the next load it will be whole, but lost; it
 * is not written before all others are loaded, since its unit has some of them.
 */
static int lose_view_record(struct metadata *m, unsigned long index, char *why,
			    int error)
{
	static const u64 none[OVERLAY_ACTIVE_WORDS];
	struct pair *pair = m->pair;

	if (!is_lost(error)) {
		DMERR("%s: record %lu of the metadata %s: %d; try again, or dmrepl-metadata repair",
		      pair->name, index, why, error);
		return error;
	}
	DMERR("%s: record %lu of the metadata %s: the view's sectors %llu to %llu are lost",
	      pair->name, index, why, (u64)index << STRETCH_SHIFT,
	      min_t(u64, (u64)(index + 1) << STRETCH_SHIFT,
		    pair->overlay.sectors) - 1);
	pair_record_error(pair, ERROR_METADATA, -EILSEQ,
			  (sector_t)index << STRETCH_SHIFT);
	metadata_mark(m, (sector_t)index << STRETCH_SHIFT, 1);
	return overlay_import(&pair->overlay, index, none, none, true);
}

/* Called with the mutex held. */
static int load_record(struct metadata *m, unsigned long index,
		       struct dmrepl_record *d)
{
	u64 active[OVERLAY_ACTIVE_WORDS], saved[OVERLAY_SAVED_WORDS];
	unsigned int i;

	if (!d->checksum && is_zero(d, sizeof(*d)))
		return m->ops->skip(m, index);
	if (!is_whole(d) || le32_to_cpu(d->magic) != DMREPL_RECORD_MAGIC ||
	    le64_to_cpu(d->tag) != m->tag || le64_to_cpu(d->number) != index)
		return m->ops->lose(m, index, "is damaged", -EILSEQ);
	if (le64_to_cpu(d->epoch) > m->state.epoch) {
		DMERR("%s: record %lu is newer than its superblock; see dmrepl-metadata repair",
		      m->pair->name, index);
		return -EILSEQ;
	}
	if (le64_to_cpu(d->epoch) != m->state.epoch)
		return m->ops->skip(m, index);
	for (i = 0; i < OVERLAY_SAVED_WORDS; i++)
		saved[i] = le64_to_cpu(d->saved[i]);
	for (i = 0; i < OVERLAY_ACTIVE_WORDS; i++)
		active[i] = le64_to_cpu(d->active[i]);
	if (has_stray_bits(m, index, active, saved))
		return m->ops->lose(m, index, "has bits beyond the end",
				    -EILSEQ);
	return m->ops->take(m, index, active, saved,
			    le32_to_cpu(d->flags) & DMREPL_RECORD_LOST);
}

/* Part of the disk cannot be read at once: unit by unit. */
static int load_slowly(struct metadata *m, unsigned long index,
		       unsigned long end, void *buffer)
{
	unsigned int per_unit = m->unit / DMREPL_SECTOR, i;
	struct dmrepl_record *d = buffer;
	int r = 0, failed;

	for (; !r && index < end; index += per_unit) {
		failed = transfer(m->bdev, REQ_OP_READ,
				  DMREPL_RECORDS + (u64)index * DMREPL_SECTOR,
				  buffer, m->unit);
		for (i = 0; !r && i < per_unit && index + i < end; i++)
			r = failed ? m->ops->lose(m, index + i, "cannot be read",
						  failed) :
				     load_record(m, index + i, d + i);
		cond_resched();
	}
	return r;
}

static int read_pages(struct metadata *m, u64 byte, void **pages,
		      unsigned int n, struct bio_vec *bvs)
{
	struct bio bio;
	unsigned int i;
	int r;

	bio_init(&bio, m->bdev, bvs, n, REQ_OP_READ);
	bio.bi_iter.bi_sector = byte >> SECTOR_SHIFT;
	for (i = 0; i < n; i++)
		__bio_add_page(&bio, virt_to_page(pages[i]), PAGE_SIZE, 0);
	r = submit_bio_wait(&bio);
	bio_uninit(&bio);
	return r;
}

/* What a scan reads into. */
struct scan {
	unsigned int n;
	void *pages[SCAN_PAGES];
	struct bio_vec bvs[SCAN_PAGES];
};

static int load_chunk(struct metadata *m, struct scan *s, unsigned long index,
		      unsigned long end)
{
	u64 byte = DMREPL_RECORDS + (u64)index * DMREPL_SECTOR;
	u64 size = bdev_nr_sectors(m->bdev) << SECTOR_SHIFT;
	unsigned long n = (end - index) * DMREPL_SECTOR;
	unsigned int pages = DIV_ROUND_UP(n, PAGE_SIZE), i;
	struct dmrepl_record *d;
	int r = 0;

	if (byte + (u64)pages * PAGE_SIZE > size ||
	    read_pages(m, byte, s->pages, pages, s->bvs))
		return load_slowly(m, index, end, s->pages[0]);
	for (i = 0; !r && index < end; index++, i += DMREPL_SECTOR) {
		d = s->pages[i / PAGE_SIZE] + i % PAGE_SIZE;
		r = load_record(m, index, d);
	}
	cond_resched();
	return r;
}

/**
 * metadata_load_records - look at every record
 * @m: the metadata
 *
 * May sleep. Calls the ops for each, in ascending order, under the mutex.
 *
 * Return: 0 or a negative errno.
 */
int metadata_load_records(struct metadata *m)
{
	struct scan *s = kvzalloc(sizeof(*s), GFP_NOIO);
	unsigned long index, step;
	int r = -ENOMEM;

	if (!s)
		return r;
	while (s->n < SCAN_PAGES) {
		s->pages[s->n] = (void *)__get_free_page(GFP_NOIO);
		if (!s->pages[s->n])
			break;
		s->n++;
	}
	step = s->n * (PAGE_SIZE / DMREPL_SECTOR);
	if (step)
		r = 0;
	mutex_lock(&m->mutex);
	for (index = 0; !r && index < m->records; index += step)
		r = load_chunk(m, s, index, min(index + step, m->records));
	mutex_unlock(&m->mutex);
	while (s->n--)
		free_page((unsigned long)s->pages[s->n]);
	kvfree(s);
	return r;
}

static bool has_overlay(enum stage stage)
{
	return stage == STAGE_RUNNING || stage == STAGE_FAILOVER;
}

static struct metadata_state first_view_state(struct metadata *m)
{
	struct pair *pair = m->pair;

	return (struct metadata_state){
		.stage = READ_ONCE(pair->stage),
		.epoch = pair->overlay.epoch,
		.guarded = pair->guarded,
		.fenced = pair->fenced && pair->stage == STAGE_DONE,
	};
}

static int take_view_record(struct metadata *m, unsigned long index,
			    const u64 *active, const u64 *saved, bool lost)
{
	return overlay_import(&m->pair->overlay, index, active, saved, lost);
}

static int skip_view_record(struct metadata *m, unsigned long index)
{
	return 0;
}

static int pass_record(struct metadata *m, unsigned long index,
		       const u64 *active, const u64 *saved, bool lost)
{
	return 0;
}

static int pass_lost(struct metadata *m, unsigned long index, char *why,
		     int error)
{
	return is_lost(error) ? 0 : lose_view_record(m, index, why, error);
}

static const struct metadata_ops look_ops = {
	.take = pass_record,
	.skip = skip_view_record,
	.lose = pass_lost,
};

/*
 * There was one superblock only: the other one may have been the newer. Its epoch
 * must not be given out again while there are records of it.
 */
static int look_for_newer(struct metadata *m)
{
	const struct metadata_ops *ops = m->ops;
	int r;

	m->ops = &look_ops;
	r = metadata_load_records(m);
	m->ops = ops;
	return r;
}

static int load_view(struct metadata *m)
{
	struct overlay *o = &m->pair->overlay;
	enum error_class class;
	int r = 0;

	o->epoch = m->state.epoch;
	if (has_overlay(m->state.stage))
		r = metadata_load_records(m);
	else if (m->alone)
		r = look_for_newer(m);
	if (!r && has_dirty(m))
		r = sync_active(m, &class);
	if (!r)
		DMINFO("%s: found in stage %s, epoch %lu, %s: %llu active, %llu saved",
		       m->pair->name, stage_names[m->state.stage], o->epoch,
		       m->state.clean ? "removed in good order" :
					"after a crash",
		       (u64)atomic64_read(&o->active),
		       (u64)atomic64_read(&o->saved));
	return r;
}

static const struct metadata_ops view_ops = {
	.mode = DMREPL_MODE_SECONDARY,
	.first_state = first_view_state,
	.fill = fill_view_record,
	.load = load_view,
	.take = take_view_record,
	.skip = skip_view_record,
	.lose = lose_view_record,
};

static int find_or_format(struct metadata *m, struct dmrepl_super *d,
			  bool found)
{
	if (!found)
		return format(m);
	parse_super(m, d);
	return m->ops->load(m);
}

/**
 * metadata_make - make or find what the metadata device holds
 * @pair: the pair, whose mutex is held
 * @r: its target
 * @ops: what is its mode's own
 * @owner: for @ops
 * @found: whether there was something to be found
 *
 * May sleep.
 *
 * Return: the metadata, or an ERR_PTR().
 */
struct metadata *metadata_make(struct pair *pair, struct replication *r,
			       const struct metadata_ops *ops, void *owner,
			       bool *found)
{
	struct metadata *m = create(pair, r);
	struct dmrepl_super *d = kmalloc(sizeof(*d), GFP_NOIO);
	char *why = "Cannot allocate memory for the metadata device";
	int content = -ENOMEM, error;

	if (m && d)
		content = inspect(r, d, &m->alone, &why);
	error = min(content, 0);
	*found = content == CONTENT_OURS;
	if (error) {
		DMERR("%s: %s", dm_device_name(r->md), why);
	} else {
		m->ops = ops;
		m->owner = owner;
		view_uuid(r, m->uuid);
		error = find_or_format(m, d, *found);
		if (error)
			DMERR("%s: the metadata device cannot be used: %d",
			      dm_device_name(r->md), error);
	}
	kfree(d);
	if (!error)
		return m;
	if (m)
		metadata_destroy(m);
	return ERR_PTR(error);
}

/**
 * metadata_open - make or find a view's metadata
 * @pair: the pair, whose mutex is held; its overlay is empty
 * @r: the view's target
 * @found: whether there was something to be found
 *
 * May sleep. Fills the overlay and gives it its epoch. The caller makes the
 * pair what metadata_state() says.
 *
 * Return: the metadata, or an ERR_PTR().
 */
struct metadata *metadata_open(struct pair *pair, struct replication *r,
			       bool *found)
{
	struct metadata *m;

	pair->overlay.durable = true;
	m = metadata_make(pair, r, &view_ops, NULL, found);
	if (IS_ERR(m))
		pair->overlay.durable = false;
	return m;
}

/**
 * metadata_close - all that is acknowledged becomes durable; a clean mark
 * @m: the metadata; nothing is admitted to its pair
 *
 * May sleep.
 */
void metadata_close(struct metadata *m)
{
	struct metadata_state s = metadata_state(m);
	struct pair *pair = m->pair;
	enum error_class class;

	flush_work(&m->work);
	if (has_overlay(s.stage) && sync_active(m, &class)) {
		DMERR("%s: what the view has written since its last flush is lost",
		      pair->name);
	} else {
		s.clean = true;
		metadata_write(m, &s);
	}
	flush_delayed_work(&m->mirror);
	pair->overlay.durable = false;
	metadata_destroy(m);
}
