// SPDX-License-Identifier: GPL-2.0-only
/*
 * A disk that counts its requests and fails the one it was told to; for tests.
 *
 *	<start> <length> fault_nth <dev>
 *
 * Messages:
 *	count			all is well; the counts begin at 0
 *	fail <what> <k> <how>	likewise, but the k-th request from now on fails;
 *				what: read, write (all that is no read: discards and
 *				flushes too) or any
 *				how: before (nothing is done), after (it is done, and
 *				reported as failed) or from (this one and all that
 *				come after it are not done)
 *
 * Status: <reads> <writes> <failed>
 */
#include <linux/bio.h>
#include <linux/blkdev.h>
#include <linux/device-mapper.h>
#include <linux/module.h>
#include <linux/slab.h>

#define DM_MSG_PREFIX	"fault_nth"

enum what { NOTHING, READS, WRITES, ANY };
enum how { BEFORE, AFTER, FROM };

struct nth {
	struct dm_dev *dev;
	atomic64_t reads;
	atomic64_t writes;
	atomic64_t failed;
	u64 k;
	enum what what;
	enum how how;
};

/* Per bio: it is to be reported as failed. */
struct verdict {
	bool fails;
};

static void nth_set(struct nth *nth, enum what what, u64 k, enum how how)
{
	WRITE_ONCE(nth->what, NOTHING);
	atomic64_set(&nth->reads, 0);
	atomic64_set(&nth->writes, 0);
	atomic64_set(&nth->failed, 0);
	nth->k = k;
	nth->how = how;
	/* Pairs with is_meant(). */
	smp_store_release(&nth->what, what);
}

static bool is_meant(struct nth *nth, bool writes)
{
	u64 reads_before, writes_before, n;
	enum what what;

	if (writes) {
		writes_before = atomic64_inc_return(&nth->writes);
		reads_before = atomic64_read(&nth->reads);
	} else {
		reads_before = atomic64_inc_return(&nth->reads);
		writes_before = atomic64_read(&nth->writes);
	}
	/* Pairs with nth_set(). */
	what = smp_load_acquire(&nth->what);
	if (what == NOTHING || (what == READS && writes) ||
	    (what == WRITES && !writes))
		return false;
	n = what == ANY ? reads_before + writes_before :
	    writes ? writes_before : reads_before;
	return nth->how == FROM ? n >= nth->k : n == nth->k;
}

static int nth_map(struct dm_target *ti, struct bio *bio)
{
	struct verdict *verdict = dm_per_bio_data(bio, sizeof(*verdict));
	struct nth *nth = ti->private;
	bool meant = is_meant(nth, op_is_write(bio_op(bio)));

	verdict->fails = meant && nth->how == AFTER;
	if (meant)
		atomic64_inc(&nth->failed);
	if (meant && !verdict->fails)
		return DM_MAPIO_KILL;
	bio_set_dev(bio, nth->dev->bdev);
	if (bio_sectors(bio))
		bio->bi_iter.bi_sector = dm_target_offset(ti,
							  bio->bi_iter.bi_sector);
	return DM_MAPIO_REMAPPED;
}

static int nth_end_io(struct dm_target *ti, struct bio *bio,
		      blk_status_t *error)
{
	struct verdict *verdict = dm_per_bio_data(bio, sizeof(*verdict));

	if (verdict->fails)
		*error = BLK_STS_IOERR;
	return DM_ENDIO_DONE;
}

static int find(const char *word, const char * const *words, unsigned int n)
{
	unsigned int i;

	for (i = 0; i < n; i++)
		if (!strcmp(word, words[i]))
			return i;
	return -EINVAL;
}

static int nth_message(struct dm_target *ti, unsigned int argc, char **argv,
		       char *result, unsigned int maxlen)
{
	static const char * const what_names[] = { "none", "read", "write", "any" };
	static const char * const how_names[] = { "before", "after", "from" };
	struct nth *nth = ti->private;
	int what, how;
	u64 k;

	if (argc == 1 && !strcmp(argv[0], "count")) {
		nth_set(nth, NOTHING, 0, BEFORE);
		return 0;
	}
	if (argc != 4 || strcmp(argv[0], "fail") || kstrtou64(argv[2], 10, &k))
		return -EINVAL;
	what = find(argv[1], what_names, ARRAY_SIZE(what_names));
	how = find(argv[3], how_names, ARRAY_SIZE(how_names));
	if (what < 0 || how < 0)
		return -EINVAL;
	nth_set(nth, what, k, how);
	return 0;
}

static int nth_ctr(struct dm_target *ti, unsigned int argc, char **argv)
{
	struct nth *nth;
	int r;

	if (argc != 1) {
		ti->error = "One device expected";
		return -EINVAL;
	}
	nth = kzalloc(sizeof(*nth), GFP_KERNEL);
	if (!nth) {
		ti->error = "No memory";
		return -ENOMEM;
	}
	r = dm_get_device(ti, argv[0], dm_table_get_mode(ti->table), &nth->dev);
	if (r) {
		ti->error = "No such device";
		kfree(nth);
		return r;
	}
	ti->private = nth;
	ti->per_io_data_size = sizeof(struct verdict);
	ti->num_flush_bios = 1;
	ti->num_discard_bios = 1;
	ti->num_write_zeroes_bios = 1;
	ti->flush_supported = true;
	return 0;
}

static void nth_dtr(struct dm_target *ti)
{
	struct nth *nth = ti->private;

	dm_put_device(ti, nth->dev);
	kfree(nth);
}

static void nth_status(struct dm_target *ti, status_type_t type,
		       unsigned int flags, char *result, unsigned int maxlen)
{
	struct nth *nth = ti->private;
	unsigned int sz = 0;

	*result = '\0';
	if (type == STATUSTYPE_INFO)
		DMEMIT("%lld %lld %lld", (long long)atomic64_read(&nth->reads),
		       (long long)atomic64_read(&nth->writes),
		       (long long)atomic64_read(&nth->failed));
	else if (type == STATUSTYPE_TABLE)
		DMEMIT("%s", nth->dev->name);
}

static int nth_iterate_devices(struct dm_target *ti,
			       iterate_devices_callout_fn fn, void *data)
{
	struct nth *nth = ti->private;

	return fn(ti, nth->dev, 0, ti->len, data);
}

static struct target_type fault_nth_target = {
	.name = "fault_nth",
	.version = {1, 0, 0},
	.module = THIS_MODULE,
	.ctr = nth_ctr,
	.dtr = nth_dtr,
	.map = nth_map,
	.end_io = nth_end_io,
	.message = nth_message,
	.status = nth_status,
	.iterate_devices = nth_iterate_devices,
};

static int __init nth_init(void)
{
	return dm_register_target(&fault_nth_target);
}

static void __exit nth_exit(void)
{
	dm_unregister_target(&fault_nth_target);
}

module_init(nth_init);
module_exit(nth_exit);

MODULE_DESCRIPTION(DM_NAME " target that fails the n-th request, for tests");
MODULE_AUTHOR("the dm-replication authors");
MODULE_LICENSE("GPL");
