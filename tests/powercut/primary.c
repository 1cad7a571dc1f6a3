// SPDX-License-Identifier: GPL-2.0-only
/*
 * The same for a primary with metadata: --primary. Recorded are its disks, while
 * several threads write and flush, with pauses that let the cleaner work, and
 * through stops, starts and resyncs. After each cut this must hold: what the
 * records say, copied by a resync, makes both disks equal. A cut may be one of
 * the primary's host alone: then the replica has what had arrived, and local
 * only what was flushed.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "powercut.h"

#define THREADS	3
#define MOST	32	/* sectors of one write */

static char path[32];
static volatile bool done;
static uint32_t last_id;

struct writer {
	pthread_t thread;
	int ops;		/* 0: slowly, until the pause is over */
	uint32_t base;		/* it writes near this sector */
	unsigned int seed;
};

static void make(const char *features)
{
	char params[256];
	int r;

	snprintf(params, sizeof(params), "primary %s %s local %s metadata %s",
		 disk_path(0, REPLICA), features, disk_path(0, LOCAL),
		 disk_path(0, METADATA));
	r = dm_create("p", params, path);
	if (r)
		die("cannot make the primary: %s", strerror(-r));
}

static void drop(void)
{
	int r, tries;

	for (tries = 0; tries < 1000; tries++) {
		r = dm_remove("p");
		if (r != -EBUSY)
			break;
		usleep(1000);
	}
	if (r)
		die("cannot remove the primary: %s", strerror(-r));
}

static void say(const char *text)
{
	int r = dm_message("p", text);

	if (r)
		die("%s: %s", text, strerror(-r));
}

/* Return: dirty sectors; @busy: a resync is under way. */
static long status(bool *busy)
{
	char text[1024], stage[32], error[32];
	long dirty;

	if (dm_status("p", text, sizeof(text)) ||
	    sscanf(text, "primary %31s %31s %ld", stage, error, &dirty) != 3)
		die("no status");
	if (strcmp(error, "none"))
		die("an error where there is none: %s", text);
	*busy = strstr(text, " resync ");
	return dirty;
}

static void end_resync(void)
{
	int tries = 0;
	bool busy;

	while (status(&busy) || busy) {
		usleep(1000);
		if (++tries == 120000)
			die("a resync does not end");
	}
}

static void write_one(int fd, struct writer *w, unsigned char *data)
{
	unsigned int align = opt.block / SECTOR, dice = rand_r(&w->seed) % 100;
	uint32_t n = (1 + rand_r(&w->seed) % MOST) * align, at;
	struct iovec iov = { data, n * SECTOR };

	if (dice < 8) {
		if (fdatasync(fd))
			die("a flush: %s", strerror(errno));
		return;
	}
	/* Near the others': ranges overlap. */
	at = (w->base + rand_r(&w->seed) % 256) / align * align;
	if (at + n > opt.sectors)
		at = opt.sectors - n;
	fill(data, __sync_add_and_fetch(&last_id, 1), at, n);
	if (pwritev2(fd, &iov, 1, (off_t)at * SECTOR,
		     dice < 14 ? RWF_DSYNC : 0) != (ssize_t)iov.iov_len)
		die("a write: %s", strerror(errno));
}

static void *write_some(void *arg)
{
	unsigned char *data = aligned_alloc(4096, MOST * 4096);
	int fd = open(path, O_RDWR | O_DIRECT), i;
	struct writer *w = arg;

	if (fd < 0)
		die("%s: %s", path, strerror(errno));
	for (i = 0; w->ops ? i < w->ops : !done; i++) {
		write_one(fd, w, data);
		if (!w->ops)
			usleep(50000 + rand_r(&w->seed) % 300000);
		if (rand_r(&w->seed) % 16 == 0)
			w->base = rand_r(&w->seed) % opt.sectors;
	}
	close(fd);
	free(data);
	return NULL;
}

/* @seconds: 0: so many writes, then no more; else slowly, for so long. */
static void load(int ops, int seconds)
{
	struct writer writers[THREADS];
	uint32_t base = rnd(opt.sectors);
	int i;

	done = false;
	for (i = 0; i < THREADS; i++) {
		writers[i] = (struct writer){ .ops = seconds ? 0 : ops,
					      .base = base, .seed = rnd(1 << 30) };
		if (pthread_create(&writers[i].thread, NULL, write_some,
				   &writers[i]))
			die("no thread");
	}
	if (seconds)
		sleep(seconds);
	done = true;
	for (i = 0; i < THREADS; i++)
		pthread_join(writers[i].thread, NULL);
}

static void one_round(void)
{
	load(opt.ops, 0);
	load(0, 9);		/* the cleaner beside writes */
	say("stop");
	load(opt.ops / 2, 0);	/* to local alone */
	say("start");
	load(opt.ops / 2, 0);
	say("start_resync");
	end_resync();
	say("start_resync full");
	load(opt.ops, 0);
	end_resync();
	sleep(10);		/* the cleaner alone */
}

/* Return: when all was clean. */
static long scenario_of_primary(void)
{
	long clean;
	int i;

	disks_record(true);
	make("6 in_sync autostart");
	for (i = 0; i < opt.rounds; i++)
		one_round();
	clean = nr_events;
	load(opt.ops, 0);
	drop();
	disks_record(false);
	return clean;
}

/* Whether the disks that a cut has left are equal. */
static bool are_equal(void)
{
	static unsigned char *data[2];
	enum role role;
	ssize_t got;
	int fd;

	for (role = LOCAL; role <= REPLICA; role++) {
		if (!data[role])
			data[role] = aligned_alloc(4096, (opt.sectors + 7) / 8 * 4096);
		fd = open(disk_path(0, role), O_RDONLY | O_DIRECT);
		got = pread(fd, data[role], opt.sectors * SECTOR, 0);
		if (fd < 0 || got != (ssize_t)opt.sectors * SECTOR)
			die("%s: %s", disk_path(0, role), strerror(errno));
		close(fd);
	}
	return !memcmp(data[LOCAL], data[REPLICA], opt.sectors * SECTOR);
}

/* Return: how many sectors were dirty; -1: not all that had to be. */
static long cut(long at, int variant)
{
	long dirty;
	bool busy;

	disks_cut(at, variant);
	make("4");
	dirty = status(&busy);
	say("start");
	say("start_resync");
	end_resync();
	drop();
	return are_equal() ? dirty : -1;
}

long primary_run(void)
{
	long clean = scenario_of_primary(), at, tried = 0, dirty, sum = 0;
	long n = opt.cuts ? opt.cuts : nr_events;
	int variant;

	printf("# seed %u: %ld events recorded\n", opt.seed, nr_events);
	for (at = 0; at <= nr_events; at++) {
		if (at * n >= tried * nr_events || at == clean) {
			variant = at == clean || at == nr_events ? 0 : rnd(5);
			dirty = cut(at, variant);
			tried++;
			sum += dirty;
			if (dirty < 0 || (dirty && !variant &&
					  (at == clean || at == nr_events))) {
				printf("# cut %ld of kind %d: %s\n", at,
				       variant, dirty < 0 ?
				       "something differs that was not dirty" :
				       "something is dirty, but nothing differs");
				return 1;
			}
		}
		if (at < nr_events)
			disks_advance(at);
	}
	printf("# %ld cuts tried of %ld, %ld sectors dirty in the mean of %u\n",
	       tried, nr_events + 1, sum / tried, opt.sectors);
	return 0;
}
