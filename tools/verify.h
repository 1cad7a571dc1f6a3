/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * dmrepl-verify: checks a pair of dm-replication against an exact model.
 *
 * Every sector it writes says which sector it is, who wrote it, when, and
 * carries a checksum, so a torn, misplaced, lost or late sector names itself.
 */
#ifndef DMREPL_VERIFY_H
#define DMREPL_VERIFY_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

typedef uint64_t u64;
typedef uint32_t u32;

#define SECTOR_SIZE	512u
#define MIB_SECTORS	2048u

#define U(x)		((unsigned long long)(x))	/* for %llu */

enum exit_code { EXIT_OK, EXIT_MISMATCH, EXIT_USAGE };

/* ---- random numbers (verify-util.c) ---- */

struct rng {
	u64 s;
};

void rng_seed(struct rng *r, u64 seed, u64 stream);
u64 rng_next(struct rng *r);
u64 rng_below(struct rng *r, u64 n);		/* 0 .. n - 1 */
bool rng_chance(struct rng *r, unsigned int percent);

/* ---- errors, time, progress (verify-util.c) ---- */

void die(const char *fmt, ...)			/* usage or environment: exit 2 */
	__attribute__((format(printf, 1, 2), noreturn));
u64 now_us(void);
void sleep_us(u64 us);
void *xcalloc(size_t n, size_t size);
void *io_buffer(size_t bytes);

/*
 * The verdict of a run. The first finding is printed in full and ends the run;
 * what other threads find after it is a consequence, and is not printed.
 */
bool failed(void);
bool finding_begin(void);			/* true for the first caller only */
void finding_line(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void finding_end(void);
void finding(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* Nothing that is asked of a pair may take longer, whatever delays it has. */
#define STALL_US	90000000ull

struct progress_ops {
	void (*line)(FILE *to);			/* no newline */
	u64 (*done)(void);			/* grows while things go on */
	void (*stalled)(void);			/* finding_line()s: who waits */
};

void progress_start(bool wanted, const struct progress_ops *ops);
void progress_stop(void);

/* ---- what a sector says (verify-stamp.c) ---- */

enum writer_kind { BY_FILL, BY_ORIGIN, BY_VIEW };

/*
 * An id stands for a sector's content: the sequence number of its write, with
 * ID_ZERO set when that write left zeroes instead of a stamp. 0 is "none".
 */
#define ID_ZERO		(1ull << 63)
#define ID_SEQ(id)	((id) & ~ID_ZERO)

enum content { IS_STAMP, IS_ZERO, IS_TORN, IS_MISPLACED, IS_FOREIGN, IS_JUNK };

struct stamp {
	enum content content;
	enum writer_kind kind;
	u32 writer;
	u32 run;
	u64 sector;
	u64 seq;
	u64 epoch;
	unsigned char head[16];			/* of what is no stamp */
};

void stamp_run(u32 run);			/* sets the number of this run */
void stamp_write(void *buf, u64 sector, u64 count, u64 seq,
		 enum writer_kind kind, u32 writer, u64 epoch);
void stamp_read(const void *buf, u64 sector, struct stamp *st);
const char *stamp_text(const struct stamp *st, char *buf, size_t len);
const char *id_text(u64 id, char *buf, size_t len);

/* ---- devices (verify-dev.c) ---- */

struct dev {
	const char *role;			/* "view", "origin", "secondary" */
	const char *path;
	int fd;
	u64 sectors;
	u32 block;				/* sectors in one logical block */
	bool discards;
};

void dev_open(struct dev *d, const char *role, const char *path, bool writable);
int dev_read(const struct dev *d, void *buf, u64 sector, u64 count);
int dev_write(const struct dev *d, const void *buf, u64 sector, u64 count, bool fua);
int dev_discard(const struct dev *d, u64 sector, u64 count);
int dev_zero(const struct dev *d, u64 sector, u64 count);
int dev_flush(const struct dev *d);
/* Gives every sector a stamp, so that nothing older can be taken for data. */
void dev_fill(const struct dev *d, void *mib_buf, u64 seq);

/* Queue-depth writes by the kernel's own asynchronous I/O. */
struct aio {
	unsigned long ctx;
	unsigned int depth;
};

struct aio_done {
	u64 tag;
	long res;
};

int aio_open(struct aio *a, unsigned int depth);
void aio_close(struct aio *a);
int aio_write(struct aio *a, const struct dev *d, void *buf, u64 sector,
	      u64 count, u64 tag);
int aio_wait(struct aio *a, struct aio_done *done, unsigned int max);

/* ---- device-mapper (verify-dm.c) ---- */

struct pair_status {
	char stage[24];
	char error[96];
	u64 epoch;
	u64 active;
	u64 saved;
	u64 held;
	u64 pause_last;
	u64 pause_longest;
	u64 captures;
	u64 spills;
	u64 errors;
};

void dm_setup(void);
int dm_message(const char *name, const char *text);	/* 0 or -errno */
int dm_pair_status(const char *name, struct pair_status *st);
void must_message(const char *name, const char *text);	/* else a finding */
const char *dm_name_of(const char *path);	/* dies if there is none */
bool pair_is_running(const char *name);		/* dies unless it is or can be */
void pair_begin(const char *name, const char *text);	/* a message that must do */

/* ---- options (dmrepl-verify.c) ---- */

struct opts {
	const char *view, *origin, *secondary, *view_name;
	const char *view_b, *origin_b, *view_name_b;
	u64 seed;
	u64 ops;
	u64 threads, writers, readers, view_writers;
	const char *end;
	u64 max_kib;
	bool vary_hold, overlap, torn, progress;
	u64 qd, checkpoints, interval_ms, samples, streams, bound_s;
	u64 sector, count;
};

int cmd_model(struct opts *o);
int cmd_frozen(struct opts *o);
int cmd_groups(struct opts *o);
int cmd_failover_load(struct opts *o);
int cmd_show(struct opts *o);

#endif
