// SPDX-License-Identifier: GPL-2.0-only
/*
 * The physical limits that the bench compares with; for tests only.
 *
 *	<start> <length> read_then_write <dev> [<source dev>]
 *
 * A write first reads what it is about to change, into memory that was allocated
 * beforehand; when that read has ended, a work item sends the write. There is no
 * less that saves old data. Nothing is done with the data; other requests pass.
 *
 * The message `copy <start> <length> <stride> <count> <in flight>` copies <count>
 * extents of <length> sectors, one each <stride> sectors, from <source dev> to
 * <dev> by kcopyd, so many at a time, and answers the nanoseconds it took.
 */
#include <linux/bio.h>
#include <linux/blkdev.h>
#include <linux/device-mapper.h>
#include <linux/dm-io.h>
#include <linux/dm-kcopyd.h>
#include <linux/gfp.h>
#include <linux/ktime.h>
#include <linux/module.h>
#include <linux/semaphore.h>
#include <linux/slab.h>
#include <linux/workqueue.h>

#define DM_MSG_PREFIX	"read_then_write"
#define NR_READS	64
#define MAX_SECTORS	2048
#define MAX_COPIES	1024

struct probe;

/* A read under way and the write that waits for it. */
struct read {
	struct list_head list;
	struct probe *probe;
	struct page *pages;
	struct bio *write;
	struct bio bio;
	struct bio_vec vec;
	struct work_struct work;
};

struct probe {
	struct dm_dev *dev;
	struct dm_dev *source;
	struct workqueue_struct *wq;
	struct dm_kcopyd_client *kcopyd;
	spinlock_t lock;	/* of the list */
	struct list_head unused;
	struct read *reads[NR_READS];
};

/* --- read, then write --------------------------------------------------------*/

static struct read *take_read(struct probe *probe)
{
	struct read *read;
	unsigned long flags;

	spin_lock_irqsave(&probe->lock, flags);
	read = list_first_entry_or_null(&probe->unused, struct read, list);
	if (read)
		list_del(&read->list);
	spin_unlock_irqrestore(&probe->lock, flags);
	return read;
}

static void put_read(struct read *read)
{
	struct probe *probe = read->probe;
	unsigned long flags;

	spin_lock_irqsave(&probe->lock, flags);
	list_add(&read->list, &probe->unused);
	spin_unlock_irqrestore(&probe->lock, flags);
}

static void send_write(struct work_struct *work)
{
	struct read *read = container_of(work, struct read, work);
	struct bio *write = read->write;

	write->bi_status = read->bio.bi_status;
	bio_uninit(&read->bio);
	put_read(read);
	if (write->bi_status)
		bio_endio(write);
	else
		dm_submit_bio_remap(write, NULL);
}

static void read_ended(struct bio *bio)
{
	struct read *read = bio->bi_private;

	queue_work(read->probe->wq, &read->work);
}

static int probe_map(struct dm_target *ti, struct bio *bio)
{
	struct probe *probe = ti->private;
	struct read *read;

	bio_set_dev(bio, probe->dev->bdev);
	if (bio_op(bio) != REQ_OP_WRITE || !bio_sectors(bio))
		return DM_MAPIO_REMAPPED;
	read = take_read(probe);
	if (!read)
		return DM_MAPIO_KILL;
	read->write = bio;
	bio_init(&read->bio, probe->dev->bdev, &read->vec, 1, REQ_OP_READ);
	read->bio.bi_iter.bi_sector = bio->bi_iter.bi_sector;
	read->bio.bi_private = read;
	read->bio.bi_end_io = read_ended;
	__bio_add_page(&read->bio, read->pages, bio->bi_iter.bi_size, 0);
	submit_bio_noacct(&read->bio);
	return DM_MAPIO_SUBMITTED;
}

/* --- the raw copy --------------------------------------------------------------*/

struct copying {
	struct semaphore room;
	unsigned long failed;
};

static void copied(int read_err, unsigned long write_err, void *context)
{
	struct copying *copying = context;

	if (read_err || write_err)
		WRITE_ONCE(copying->failed, 1);
	up(&copying->room);
}

static int copy(struct probe *probe, const unsigned int *words)
{
	unsigned int i, length = words[1], count = words[3], depth = words[4];
	struct copying copying = {};
	struct dm_io_region from, to;

	sema_init(&copying.room, depth);
	for (i = 0; i < count; i++) {
		from.bdev = probe->source->bdev;
		from.sector = words[0] + (sector_t)i * words[2];
		from.count = length;
		to = from;
		to.bdev = probe->dev->bdev;
		down(&copying.room);
		dm_kcopyd_copy(probe->kcopyd, &from, 1, &to, 0, copied, &copying);
	}
	for (i = 0; i < depth; i++)
		down(&copying.room);
	return copying.failed ? -EIO : 0;
}

static int probe_message(struct dm_target *ti, unsigned int argc, char **argv,
			 char *result, unsigned int maxlen)
{
	struct probe *probe = ti->private;
	unsigned int words[5], i;
	unsigned int sz = 0;
	u64 begin;
	int r;

	if (argc != 6 || strcasecmp(argv[0], "copy") || !probe->source)
		return -EINVAL;
	for (i = 0; i < 5; i++)
		if (kstrtouint(argv[i + 1], 10, &words[i]))
			return -EINVAL;
	if (!words[1] || !words[4] || words[4] > MAX_COPIES)
		return -EINVAL;
	begin = ktime_get_ns();
	r = copy(probe, words);
	if (r)
		return r;
	DMEMIT("%llu", ktime_get_ns() - begin);
	return 1;
}

/* --- the target ----------------------------------------------------------------*/

static void free_reads(struct probe *probe)
{
	int i;

	for (i = 0; i < NR_READS && probe->reads[i]; i++) {
		if (probe->reads[i]->pages)
			__free_pages(probe->reads[i]->pages,
				     get_order(MAX_SECTORS << SECTOR_SHIFT));
		kfree(probe->reads[i]);
	}
}

static int alloc_reads(struct probe *probe)
{
	int i;

	for (i = 0; i < NR_READS; i++) {
		struct read *read = kzalloc(sizeof(*read), GFP_KERNEL);

		if (!read)
			return -ENOMEM;
		probe->reads[i] = read;
		read->pages = alloc_pages(GFP_KERNEL,
					  get_order(MAX_SECTORS << SECTOR_SHIFT));
		if (!read->pages)
			return -ENOMEM;
		read->probe = probe;
		INIT_WORK(&read->work, send_write);
		list_add_tail(&read->list, &probe->unused);
	}
	return 0;
}

static void probe_free(struct dm_target *ti, struct probe *probe)
{
	if (!IS_ERR_OR_NULL(probe->kcopyd))
		dm_kcopyd_client_destroy(probe->kcopyd);
	if (probe->wq)
		destroy_workqueue(probe->wq);
	free_reads(probe);
	if (probe->source)
		dm_put_device(ti, probe->source);
	if (probe->dev)
		dm_put_device(ti, probe->dev);
	kvfree(probe);
}

static int probe_get_devices(struct dm_target *ti, struct probe *probe,
			     unsigned int argc, char **argv)
{
	fmode_t mode = dm_table_get_mode(ti->table);
	int r;

	r = dm_get_device(ti, argv[0], mode, &probe->dev);
	if (!r && argc > 1)
		r = dm_get_device(ti, argv[1], mode, &probe->source);
	if (r)
		ti->error = "No such device";
	return r;
}

static int probe_alloc(struct dm_target *ti, struct probe *probe)
{
	int r = alloc_reads(probe);

	if (r) {
		ti->error = "No memory for reads";
		return r;
	}
	probe->wq = alloc_workqueue("read_then_write",
				    WQ_UNBOUND | WQ_MEM_RECLAIM | WQ_HIGHPRI, 0);
	probe->kcopyd = dm_kcopyd_client_create(NULL);
	if (!probe->wq || IS_ERR(probe->kcopyd)) {
		ti->error = "No workqueue or kcopyd client";
		return -ENOMEM;
	}
	return 0;
}

static int probe_ctr(struct dm_target *ti, unsigned int argc, char **argv)
{
	struct probe *probe;
	int r;

	if (argc < 1 || argc > 2) {
		ti->error = "One or two devices expected";
		return -EINVAL;
	}
	probe = kvzalloc(sizeof(*probe), GFP_KERNEL);
	if (!probe) {
		ti->error = "No memory";
		return -ENOMEM;
	}
	spin_lock_init(&probe->lock);
	INIT_LIST_HEAD(&probe->unused);
	r = probe_get_devices(ti, probe, argc, argv);
	if (!r)
		r = probe_alloc(ti, probe);
	if (!r)
		r = dm_set_target_max_io_len(ti, MAX_SECTORS);
	if (r) {
		probe_free(ti, probe);
		return r;
	}
	ti->private = probe;
	ti->num_flush_bios = 1;
	ti->accounts_remapped_io = true;
	return 0;
}

static void probe_dtr(struct dm_target *ti)
{
	probe_free(ti, ti->private);
}

static int probe_iterate_devices(struct dm_target *ti,
				 iterate_devices_callout_fn fn, void *data)
{
	struct probe *probe = ti->private;

	return fn(ti, probe->dev, 0, ti->len, data);
}

static struct target_type read_then_write_target = {
	.name = "read_then_write",
	.version = {1, 0, 0},
	.module = THIS_MODULE,
	.ctr = probe_ctr,
	.dtr = probe_dtr,
	.map = probe_map,
	.message = probe_message,
	.iterate_devices = probe_iterate_devices,
};

static int __init probe_init(void)
{
	return dm_register_target(&read_then_write_target);
}

static void __exit probe_exit(void)
{
	dm_unregister_target(&read_then_write_target);
}

module_init(probe_init);
module_exit(probe_exit);

MODULE_DESCRIPTION(DM_NAME " target that reads, then writes: a limit to measure with");
MODULE_AUTHOR("the dm-replication authors");
MODULE_LICENSE("GPL");
