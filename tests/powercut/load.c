// SPDX-License-Identifier: GPL-2.0-only
/*
 * The load: views and origins written by several threads, with flushes and FUA,
 * and all that a pair can go through. What is sent and what is acknowledged is
 * written down among the disks' requests.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#include "powercut.h"

#define MOST 256	/* sectors of one write */

char view_path[MAX_PAIRS][32];
char origin_path[MAX_PAIRS][32];

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static unsigned char *busy[MAX_PAIRS][2];
static uint32_t last_id;
static bool fenced_now[MAX_PAIRS];

struct thread {
	pthread_t thread;
	int pair;
	bool view;
	int ops;
	unsigned int seed;
};

static const char *name_of(int pair, bool view)
{
	static const char * const names[MAX_PAIRS][2] = {
		{ "p0-origin", "p0-view" }, { "p1-origin", "p1-view" },
	};

	return names[pair][view];
}

static int make_view(int pair)
{
	bool group = opt.pairs > 1;
	char params[256];

	snprintf(params, sizeof(params), "secondary %s %s %s %d metadata %s%s",
		 disk_path(pair, ACTIVE), disk_path(pair, HIDDEN),
		 disk_path(pair, SECONDARY), group ? 4 : 2,
		 disk_path(pair, METADATA), group ? " group g" : "");
	return dm_create(name_of(pair, true), params, view_path[pair]);
}

void pair_make(int pair, bool fenced)
{
	char params[256];
	int r;

	snprintf(params, sizeof(params), "origin %s%s",
		 disk_path(pair, SECONDARY), fenced ? " 1 fenced" : "");
	r = dm_create(name_of(pair, false), params, origin_path[pair]);
	if (r)
		die("cannot make the origin: %s", strerror(-r));
	r = make_view(pair);
	if (r)
		die("cannot make the view: %s", strerror(-r));
}

static void remove_device(const char *name)
{
	int r, tries;

	for (tries = 0; tries < 1000; tries++) {
		r = dm_remove(name);
		if (r != -EBUSY)
			break;
		usleep(1000);
	}
	if (r)
		die("cannot remove %s: %s", name, strerror(-r));
}

void pair_remove(int pair)
{
	remove_device(name_of(pair, true));
	remove_device(name_of(pair, false));
}

enum stage pair_stage(int pair, long *epoch, bool *guarded)
{
	static const char * const names[] = {
		"none", "running", "failover", "failover_failed", "done",
		"stopped", "invalid",
	};
	char text[1024], stage[32], error[32];
	unsigned int i;

	if (dm_status(name_of(pair, true), text, sizeof(text)) ||
	    sscanf(text, "secondary %31s %31s %ld", stage, error, epoch) != 3)
		die("no status");
	if (strcmp(error, "none"))
		die("an error where there is none: %s", text);
	*guarded = strstr(text, " guarded");
	for (i = 0; i < sizeof(names) / sizeof(*names); i++)
		if (!strcmp(stage, names[i]))
			return i;
	die("no such stage: %s", text);
}

/* A place where nobody writes now. */
static void take_place(struct io *io, unsigned int *seed)
{
	unsigned int align = opt.block / SECTOR, most;
	unsigned char *map = busy[io->pair][io->view];

	for (;;) {
		most = rand_r(seed) % 8 ? 24 : MOST;
		io->sectors = (1 + rand_r(seed) % most) * align;
		if (io->sectors > MOST)
			io->sectors = MOST;
		if (rand_r(seed) % 2)
			io->sectors = (io->sectors + 7) / 8 * 8;
		io->sector = rand_r(seed) % opt.sectors / align * align;
		if (io->sector + io->sectors > opt.sectors)
			io->sectors = opt.sectors - io->sector;
		pthread_mutex_lock(&lock);
		if (!memchr(map + io->sector, 1, io->sectors)) {
			memset(map + io->sector, 1, io->sectors);
			io->id = ++last_id;
			pthread_mutex_unlock(&lock);
			return;
		}
		pthread_mutex_unlock(&lock);
	}
}

static void do_io(int fd, struct io *io, unsigned char *data)
{
	struct iovec iov = { data, io->sectors * SECTOR };
	ssize_t done = 0;
	int r;

	note(&(struct event){ .kind = SUBMIT, .io = io });
	if (io->flush) {
		r = fdatasync(fd);
		io->failed = r;
	} else {
		fill(data, io->id, io->sector, io->sectors);
		done = pwritev2(fd, &iov, 1, (off_t)io->sector * SECTOR,
				io->fua ? RWF_DSYNC : 0);
		io->failed = done != (ssize_t)iov.iov_len;
	}
	if (io->failed && (io->view || !fenced_now[io->pair]))
		die("%s: %s at sector %u: %s", name_of(io->pair, io->view),
		    io->flush ? "a flush" : "a write", io->sector,
		    strerror(errno));
	note(&(struct event){ .kind = ACK, .io = io });
}

static void *write_some(void *arg)
{
	struct thread *t = arg;
	unsigned char *data = aligned_alloc(4096, MOST * SECTOR);
	int fd = open(t->view ? view_path[t->pair] : origin_path[t->pair],
		      O_RDWR | O_DIRECT);
	struct io *io;
	int i, dice;

	if (fd < 0)
		die("cannot open a device: %s", strerror(errno));
	for (i = 0; i < t->ops; i++) {
		io = alloc(sizeof(*io));
		io->pair = t->pair;
		io->view = t->view;
		dice = rand_r(&t->seed) % 100;
		io->flush = dice < (t->view ? 20 : 6);
		io->fua = !io->flush && dice < (t->view ? 30 : 9);
		if (!io->flush)
			take_place(io, &t->seed);
		do_io(fd, io, data);
		pthread_mutex_lock(&lock);
		memset(busy[io->pair][io->view] + io->sector, 0, io->sectors);
		pthread_mutex_unlock(&lock);
	}
	close(fd);
	free(data);
	return NULL;
}

#define THREADS 4	/* of a pair: two write the view, two the origin */
static struct thread threads[MAX_PAIRS * THREADS];

static void start_load(int ops, int writers)
{
	struct thread *t;
	int i;

	for (i = 0; i < opt.pairs * writers; i++) {
		t = &threads[i];
		t->pair = i / writers;
		t->view = writers == 2 || i % 2;
		t->ops = ops;
		t->seed = rnd(1 << 30);
		if (pthread_create(&t->thread, NULL, write_some, t))
			die("no thread");
	}
}

static void end_load(int writers)
{
	int i;

	for (i = 0; i < opt.pairs * writers; i++)
		pthread_join(threads[i].thread, NULL);
}

static void load(int ops)
{
	start_load(ops, THREADS);
	end_load(THREADS);
}

static void act(enum action action, int pair)
{
	static const char * const texts[] = {
		"start", "checkpoint", "stop", "failover", "promote",
		"guard on", "guard off",
	};
	struct event e = { .action = action, .pairs = 1 << pair };
	char text[32];
	bool guarded, all;
	int r;

	all = opt.pairs > 1 && action <= PROMOTE;
	if (all)
		e.pairs = (1 << opt.pairs) - 1;
	snprintf(text, sizeof(text), "%s%s", texts[action], all ? " all" : "");
	e.kind = BEGIN;
	note(&e);
	if (action == FAIL_OVER || action == PROMOTE)
		memset(fenced_now, true, sizeof(fenced_now));
	r = dm_message(name_of(pair, true), text);
	if (r)
		die("%s: %s", text, strerror(-r));
	pair_stage(pair, &e.epoch, &guarded);
	e.kind = END;
	note(&e);
}

static void wait_done(void)
{
	struct event e = { .kind = DONE_SEEN };
	bool guarded;
	int i;

	for (i = 0; i < opt.pairs; i++) {
		while (pair_stage(i, &e.epoch, &guarded) != DONE)
			usleep(1000);
		e.pairs = 1 << i;
		note(&e);
	}
}

/* The view is the disk: write it, flush it. */
static void be_the_disk(void)
{
	struct io *io;
	int i, fd;

	start_load(opt.ops / 4, 2);
	end_load(2);
	for (i = 0; i < opt.pairs; i++) {
		io = alloc(sizeof(*io));
		io->pair = i;
		io->view = true;
		io->flush = true;
		fd = open(view_path[i], O_RDWR | O_DIRECT);
		do_io(fd, io, NULL);
		close(fd);
	}
}

/* The fence is lifted while the view is away; it comes back in stage none. */
static void rejoin(void)
{
	struct event e = { .kind = BEGIN, .action = REJOIN };
	bool guarded;
	int i;

	for (i = 0; i < opt.pairs; i++) {
		e.pairs = 1 << i;
		e.kind = BEGIN;
		note(&e);
		remove_device(name_of(i, true));
		if (dm_message(name_of(i, false), "rejoin"))
			die("rejoin fails");
		fenced_now[i] = false;
	}
	for (i = 0; i < opt.pairs; i++) {
		if (make_view(i))
			die("cannot make the view again");
		if (pair_stage(i, &e.epoch, &guarded) != NONE)
			die("it has not rejoined");
		e.pairs = 1 << i;
		e.kind = END;
		note(&e);
	}
}

static void reload(void)
{
	int i;

	for (i = 0; i < opt.pairs; i++)
		pair_remove(i);
	for (i = 0; i < opt.pairs; i++)
		pair_make(i, true);
}

static void fail_over(void)
{
	act(START, 0);
	load(opt.ops);
	start_load(opt.ops, THREADS);
	usleep(20000);
	act(FAIL_OVER, 0);
	end_load(THREADS);
	wait_done();
	be_the_disk();
	rejoin();
}

static void one_round(void)
{
	int i;

	act(START, 0);
	for (i = 0; i < 3; i++) {
		load(opt.ops);
		act(CHECKPOINT, 0);
	}
	act(GUARD, 0);
	load(opt.ops);
	act(UNGUARD, 0);
	reload();
	load(opt.ops);
	act(STOP, 0);
	fail_over();
	act(START, 0);
	load(opt.ops);
	act(PROMOTE, 0);
	be_the_disk();
	rejoin();
}

/* All of secondary has an owner. */
static void fill_origins(void)
{
	unsigned char *data = aligned_alloc(4096, MOST * SECTOR);
	struct io *io;
	uint32_t at;
	int i, fd;

	for (i = 0; i < opt.pairs; i++) {
		fd = open(origin_path[i], O_RDWR | O_DIRECT);
		for (at = 0; at < opt.sectors; at += MOST) {
			io = alloc(sizeof(*io));
			io->pair = i;
			io->id = ++last_id;
			io->sector = at;
			io->sectors = opt.sectors - at < MOST ?
				      opt.sectors - at : MOST;
			do_io(fd, io, data);
		}
		close(fd);
	}
	free(data);
}

void scenario(void)
{
	int i;

	disks_record(true);
	for (i = 0; i < opt.pairs; i++) {
		busy[i][0] = alloc(opt.sectors);
		busy[i][1] = alloc(opt.sectors);
		pair_make(i, true);
	}
	fill_origins();
	for (i = 0; i < opt.rounds; i++)
		(opt.failover ? fail_over : one_round)();
	for (i = 0; i < opt.pairs; i++)
		pair_remove(i);
	disks_record(false);
}
