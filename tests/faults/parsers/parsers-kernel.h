/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * As much of a kernel as the module's own sources with the table and message
 * parsers need to be compiled, unchanged, for user space. Every <linux/...> that
 * they include is this file (see Makefile).
 *
 * What is parsed with is real: strings, numbers, argument sets. What holds things
 * together (locks, lists, work) does nothing: one thread, nothing in flight.
 */
#ifndef PARSERS_KERNEL_H
#define PARSERS_KERNEL_H

#include <errno.h>
#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

typedef uint8_t u8;
typedef uint16_t u16;
typedef int16_t s16;
typedef uint32_t u32;
typedef unsigned long long u64;
typedef uint64_t sector_t;
typedef uint32_t dev_t_;
#define dev_t dev_t_
typedef unsigned int gfp_t;
typedef u8 blk_status_t;
typedef u64 ktime_t;
typedef u32 __le32;
typedef u64 __le64;
typedef u16 __le16;

#define GFP_KERNEL	0
#define GFP_NOIO	0
#define __percpu
#define __init
#define __exit
#define __packed	__attribute__((packed))
#define __bitwise
#define BITS_PER_LONG	64
#define SECTOR_SHIFT	9
#define SECTOR_SIZE	512
#define PAGE_SHIFT	12
#define NSEC_PER_SEC	1000000000ULL
#define BLK_STS_OK	0
#define REQ_POLLED	0
#define DMREPL_NOTHING	do { } while (0)

#define ARRAY_SIZE(a)	(sizeof(a) / sizeof((a)[0]))
#define BITS_TO_LONGS(n) (((n) + 63) / 64)
#define READ_ONCE(x)	(x)
#define WRITE_ONCE(x, v) ((x) = (v))
/* one thread: nothing has to be ordered */
#define smp_load_acquire(p) (*(p))
/* the same */
#define smp_mb()	DMREPL_NOTHING
#define this_cpu_inc(x)	DMREPL_NOTHING
#define preempt_disable() DMREPL_NOTHING
#define preempt_enable() DMREPL_NOTHING
#define raw_smp_processor_id() 0
#define likely(x)	(x)
#define unlikely(x)	(x)
#define max(a, b)	({ __auto_type _a = (a); __auto_type _b = (b); _a > _b ? _a : _b; })
#define min(a, b)	({ __auto_type _a = (a); __auto_type _b = (b); _a < _b ? _a : _b; })
#define container_of(p, type, member) \
	((type *)((char *)(p) - offsetof(type, member)))
#define BUILD_BUG_ON(x)	_Static_assert(!(x), "")
#define static_assert	_Static_assert
#define cpu_to_le32(x)	(x)
#define cpu_to_le64(x)	(x)
#define le32_to_cpu(x)	(x)
#define le64_to_cpu(x)	(x)

/* ---- what only has to have a size ---- */

struct list_head {
	struct list_head *next, *prev;
};

struct hlist_node {
	struct hlist_node *next, **pprev;
};

struct hlist_head {
	struct hlist_node *first;
};

struct llist_node {
	struct llist_node *next;
};

struct llist_head {
	struct llist_node *first;
};

struct rb_node {
	unsigned long parent;
	struct rb_node *right, *left;
};

struct rb_root {
	struct rb_node *node;
};

struct rb_root_cached {
	struct rb_root root;
};

struct rcu_head {
	void *next;
};

struct mutex {
	int unused;
};

typedef struct {
	int unused;
} spinlock_t, wait_queue_head_t;

typedef struct {
	int v;
} atomic_t, refcount_t;

typedef struct {
	u64 v;
} atomic64_t, atomic_long_t;

struct xarray {
	void *unused;
};

struct work_struct {
	int unused;
};

struct delayed_work {
	struct work_struct work;
};

struct timer_list {
	int unused;
};

struct hrtimer {
	int unused;
};

struct completion {
	int unused;
};

struct bio_set {
	int unused;
};

typedef struct {
	int unused;
} mempool_t;

struct kmem_cache;
struct workqueue_struct;
struct task_struct;
struct dm_kcopyd_client;
struct mapped_device;
struct page;
struct percpu_ref;

struct bio_vec {
	struct page *bv_page;
};

struct bvec_iter {
	sector_t bi_sector;
	unsigned int bi_size;
};

struct bio {
	struct bio *bi_next;
	unsigned int bi_opf;
	blk_status_t bi_status;
	struct bvec_iter bi_iter;
};

struct bio_list {
	struct bio *head, *tail;
};

#define bio_sectors(bio) ((bio)->bi_iter.bi_size >> 9)

static inline void INIT_LIST_HEAD(struct list_head *list)
{
	list->next = list;
	list->prev = list;
}

static inline u64 atomic64_read(const atomic64_t *v)
{
	return v->v;
}

static inline int atomic_read(const atomic_t *v)
{
	return v->v;
}

static inline void atomic_set(atomic_t *v, int n)
{
	v->v = n;
}

#define spin_lock_irq(lock)		((void)(lock))
#define spin_unlock_irq(lock)		((void)(lock))

/* ---- strings and numbers ---- */

int kstrtouint(const char *text, unsigned int base, unsigned int *n);

#define isascii(c)	(((unsigned char)(c)) < 128)

/* As the kernel has it: Latin-1. */
static inline bool isgraph(unsigned char c)
{
	return (c > 32 && c < 127) || c > 160;
}

#define ilog2(n)	(63 - __builtin_clzll(n))

static inline u64 div_u64(u64 a, u32 b)
{
	return a / b;
}

/* Whatever is said is formatted, so that its arguments are looked at. */
void say(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

#define DMERR(fmt, ...)		say(fmt, ##__VA_ARGS__)
#define DMWARN(fmt, ...)	say(fmt, ##__VA_ARGS__)
#define DMINFO(fmt, ...)	say(fmt, ##__VA_ARGS__)
#define DMERR_LIMIT(fmt, ...)	say(fmt, ##__VA_ARGS__)
#define DMEMIT(...)							\
	(sz += sz >= maxlen ? 0 : emit(result + sz, maxlen - sz, __VA_ARGS__))

unsigned int emit(char *to, size_t size, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/* ---- memory: that of the host, with its checks ---- */

static inline void *kzalloc(size_t size, gfp_t gfp)
{
	(void)gfp;
	return calloc(1, size);
}

#define kfree		free
#define totalram_pages() 1000000UL

static inline u64 ktime_get_boottime_ns(void)
{
	return 5 * NSEC_PER_SEC;
}

/* ---- block devices ---- */

struct gendisk {
	int number;
};

struct block_device {
	struct gendisk *bd_disk;
	sector_t sectors;
	unsigned int block;
	bool read_only, partition;
	unsigned int opened;
	dev_t bd_dev;
};

#define bdev_read_only(b)		((b)->read_only)
#define bdev_logical_block_size(b)	((b)->block)
#define bdev_nr_sectors(b)		((b)->sectors)
#define bdev_is_partition(b)		((b)->partition)

struct queue_limits {
	unsigned int logical_block_size, physical_block_size, max_discard_sectors;
	unsigned int max_hw_discard_sectors, discard_granularity, discard_alignment;
};

/* ---- device mapper ---- */

typedef unsigned int fmode_t;
typedef enum { STATUSTYPE_INFO, STATUSTYPE_TABLE, STATUSTYPE_IMA } status_type_t;

struct dm_dev {
	struct block_device *bdev;
	char name[16];
};

struct dm_table {
	struct mapped_device *md;
};

struct dm_target {
	struct dm_table *table;
	sector_t begin, len;
	char *error;
	void *private;
	unsigned int num_flush_bios, num_discard_bios, num_secure_erase_bios;
	unsigned int num_write_zeroes_bios, per_io_data_size;
	bool flush_supported, discards_supported;
};

struct dm_arg_set {
	unsigned int argc;
	char **argv;
};

struct dm_arg {
	unsigned int min, max;
	char *error;
};

const char *dm_shift_arg(struct dm_arg_set *as);
void dm_consume_args(struct dm_arg_set *as, unsigned int n);
int dm_read_arg_group(const struct dm_arg *arg, struct dm_arg_set *as,
		      unsigned int *n, char **error);
int dm_get_device(struct dm_target *ti, const char *path, fmode_t mode,
		  struct dm_dev **dev);
void dm_put_device(struct dm_target *ti, struct dm_dev *dev);
#define dm_table_get_mode(t)		3
#define dm_table_get_md(t)		((t)->md)
#define dm_device_name(md)		"254:0"
#define dm_table_device_name(t)		"254:0"
#define dm_bio_from_per_bio_data(p, size) ((struct bio *)(p))

typedef int (*iterate_devices_callout_fn)(struct dm_target *ti, struct dm_dev *dev,
					  sector_t start, sector_t len, void *data);

struct target_type {
	const char *name;
	unsigned int version[3];
	u64 features;
	void *module;
	int (*ctr)(struct dm_target *ti, unsigned int argc, char **argv);
	void (*dtr)(struct dm_target *ti);
	int (*map)(struct dm_target *ti, struct bio *bio);
	int (*end_io)(struct dm_target *ti, struct bio *bio, blk_status_t *error);
	void (*presuspend)(struct dm_target *ti);
	void (*presuspend_undo)(struct dm_target *ti);
	void (*postsuspend)(struct dm_target *ti);
	int (*preresume)(struct dm_target *ti);
	void (*resume)(struct dm_target *ti);
	void (*status)(struct dm_target *ti, status_type_t type, unsigned int flags,
		       char *result, unsigned int maxlen);
	int (*message)(struct dm_target *ti, unsigned int argc, char **argv,
		       char *result, unsigned int maxlen);
	int (*iterate_devices)(struct dm_target *ti, iterate_devices_callout_fn fn,
			       void *data);
	void (*io_hints)(struct dm_target *ti, struct queue_limits *limits);
};

#define THIS_MODULE			NULL
#define DM_NAME				"device-mapper"
#define DM_TARGET_SINGLETON		1
#define DM_TARGET_ALWAYS_WRITEABLE	2
#define dm_register_target(t)		((void)(t), 0)
#define dm_unregister_target(t)		((void)(t))
#define module_init(fn)	int (*parsers_init)(void) = fn
#define module_exit(fn)	void (*parsers_exit)(void) = fn
#define module_param(name, type, mode)	struct parsers_unused
#define MODULE_PARM_DESC(name, text)	struct parsers_unused
#define MODULE_ALIAS(text)		struct parsers_unused
#define MODULE_AUTHOR(text)		struct parsers_unused
#define MODULE_DESCRIPTION(text)	struct parsers_unused
#define MODULE_LICENSE(text)		struct parsers_unused

#endif
