// SPDX-License-Identifier: GPL-2.0-only
/*
 * A guest that knows what its disk must contain:
 *
 *	pmodel DEV SECONDS SEED
 *
 * THREADS threads write, zero, discard, flush and read at random, past the page
 * cache. Each has a part of the disk to itself and compares what it reads with
 * its model; the last part is everybody's, where writes overlap and only the two
 * disks below can be compared. Discarded sectors must read as zeroes. Exit
 * status: 0 all was as it must be, 1 a request failed or a sector differed.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#define THREADS	4
#define MOST	1024U		/* sectors in one request */

struct guest {
	pthread_t thread;
	uint64_t random;
	uint32_t first;		/* of its part */
	uint32_t sectors;
	uint32_t *model;	/* a sector's stamp, 0: zeroes */
	uint32_t stamps;
	unsigned char *buffer;
	unsigned long requests;
	unsigned long compared;
};

static struct guest guests[THREADS];
static uint32_t part;
static int fd;
static time_t end;

static uint32_t draw(struct guest *g, uint32_t n)
{
	g->random ^= g->random << 13;
	g->random ^= g->random >> 7;
	g->random ^= g->random << 17;
	return (g->random >> 11) % n;
}

static void fill(unsigned char *sector, uint32_t where, uint32_t stamp)
{
	uint32_t *words = (uint32_t *)sector;
	unsigned int i;

	for (i = 0; i < 128; i++)
		words[i] = stamp ? stamp * 2654435761U + where + i : 0;
}

static void failed(const char *what, uint32_t sector, uint32_t n)
{
	printf("%s at %u+%u: %s\n", what, sector, n, strerrorname_np(errno));
	exit(1);
}

static void compare(struct guest *g, uint32_t at, uint32_t n)
{
	unsigned char want[512];
	uint32_t i;

	if (pread(fd, g->buffer, n * 512UL, (g->first + at) * 512ULL) !=
	    (ssize_t)n * 512)
		failed("read", g->first + at, n);
	for (i = 0; i < n; i++) {
		fill(want, g->first + at + i, g->model[at + i]);
		if (!memcmp(want, g->buffer + i * 512, 512))
			continue;
		printf("sector %u is not what was written last (stamp %u)\n",
		       g->first + at + i, g->model[at + i]);
		exit(1);
	}
	g->compared += n;
}

static void change(struct guest *g, uint32_t first, uint32_t n, uint32_t *model)
{
	uint64_t range[2] = { first * 512ULL, n * 512ULL };
	uint32_t kind = draw(g, 16), stamp = 0, i;

	/* A table that was loaded beside a broken disk may have no discard. */
	if (kind == 0 && ioctl(fd, BLKDISCARD, range)) {
		if (errno != EOPNOTSUPP)
			failed("discard", first, n);
		kind = 2;
	}
	if (kind == 1) {
		if (ioctl(fd, BLKZEROOUT, range))
			failed("zeroes", first, n);
	} else if (kind > 1) {
		stamp = ++g->stamps * THREADS + (g - guests);
		for (i = 0; i < n; i++)
			fill(g->buffer + i * 512, first + i, stamp);
		if (pwrite(fd, g->buffer, n * 512UL, first * 512ULL) !=
		    (ssize_t)n * 512)
			failed("write", first, n);
	}
	for (i = 0; model && i < n; i++)
		model[i] = stamp;
}

static void *run(void *arg)
{
	struct guest *g = arg;
	uint32_t at, n;

	while (time(NULL) < end) {
		n = draw(g, 8) ? 1 + draw(g, 64) : 1 + draw(g, MOST);
		at = draw(g, g->sectors - n);
		switch (draw(g, 8)) {
		case 0:
			if (fsync(fd))
				failed("flush", 0, 0);
			break;
		case 1:
		case 2:
			compare(g, at, n);
			break;
		case 3:
			/* Everybody's part; a small one, to meet often. */
			n = 1 + n % 64;
			change(g, THREADS * part + draw(g, 256), n, NULL);
			break;
		default:
			change(g, g->first + at, n, g->model + at);
		}
		g->requests++;
	}
	for (at = 0; at < g->sectors; at += n) {
		n = g->sectors - at < MOST ? g->sectors - at : MOST;
		compare(g, at, n);
	}
	return NULL;
}

int main(int argc, char **argv)
{
	unsigned long requests = 0, compared = 0;
	struct guest *g;
	uint64_t bytes;

	fd = argc == 4 ? open(argv[1], O_RDWR | O_DIRECT) : -1;
	if (fd < 0 || ioctl(fd, BLKGETSIZE64, &bytes)) {
		fprintf(stderr, "usage: pmodel DEV SECONDS SEED\n");
		return 1;
	}
	part = bytes / 512 / (THREADS + 1);
	end = time(NULL) + atoi(argv[2]);
	for (g = guests; g < guests + THREADS; g++) {
		g->random = strtoull(argv[3], NULL, 0) * 2862933555777941757ULL +
			    (g - guests) * 3037000493ULL + 1;
		g->first = (g - guests) * part;
		g->sectors = part;
		g->model = calloc(part, sizeof(*g->model));
		g->buffer = aligned_alloc(4096, MOST * 512);
		if (!g->model || !g->buffer)
			failed("memory", 0, 0);
		change(g, g->first, 1, g->model);
	}
	for (g = guests; g < guests + THREADS; g++)
		if (pthread_create(&g->thread, NULL, run, g))
			failed("thread", 0, 0);
	for (g = guests; g < guests + THREADS; g++) {
		pthread_join(g->thread, NULL);
		requests += g->requests;
		compared += g->compared;
	}
	printf("ok requests=%lu sectors_compared=%lu\n", requests, compared);
	return 0;
}
