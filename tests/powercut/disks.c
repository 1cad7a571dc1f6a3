// SPDX-License-Identifier: GPL-2.0-only
/*
 * Disks with a write cache that a power cut empties: NBD devices served from
 * here. Every request is written down when it arrives and when it is answered,
 * in one order for all disks. Until a write is followed by a flush of its own
 * disk, or was FUA, nobody knows which of its sectors a power cut leaves. What
 * is left is looked at on RAM disks, which are faster, where blocks are of 512
 * bytes.
 */
#define _GNU_SOURCE
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/nbd.h>
#include <poll.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "powercut.h"

#define CHUNK 4096
#define MAX_DISKS (MAX_PAIRS * ROLES)

struct disk {
	int socket;
	int kernel;		/* the driver's end of the socket */
	int fd;
	int ram;
	char path[24];
	char ram_path[24];
	uint64_t bytes;
	unsigned char *now;
	unsigned char *base;	/* what is durable, of the events so far */
	unsigned char *dirty;	/* chunks of now that may differ from base */
	struct request *first;	/* writes that are not in base, as they came */
	struct request **last;
};

struct event *events;
long nr_events;

static struct disk disks[MAX_DISKS];
static int nr_disks;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static long room;
static bool recording;
static struct request *waiting[1024];
static int nr_waiting;
static unsigned int server_seed = 1;

long note(const struct event *e)
{
	long at;

	pthread_mutex_lock(&lock);
	if (nr_events == room) {
		room = room ? room * 2 : 65536;
		events = realloc(events, room * sizeof(*events));
		if (!events)
			die("no memory for the events");
	}
	at = nr_events;
	events[nr_events++] = *e;
	pthread_mutex_unlock(&lock);
	return at;
}

uint64_t metadata_bytes(void)
{
	uint64_t bytes = 8192 + (opt.sectors + 2047) / 2048 * 512;

	return bytes < 65536 ? 65536 : (bytes + 4095) / 4096 * 4096;
}

const char *disk_path(int pair, enum role role)
{
	struct disk *d = &disks[pair * ROLES + role];

	return recording || d->ram < 0 ? d->path : d->ram_path;
}

void disks_record(bool on)
{
	recording = on;
}

static void get(int fd, void *data, size_t n)
{
	ssize_t got;

	for (; n; n -= got, data = (char *)data + got) {
		got = read(fd, data, n);
		if (!got)
			pause();	/* the end of the process */
		if (got < 0)
			die("a disk's socket: %s", strerror(errno));
	}
}

static void put(int fd, const void *data, size_t n)
{
	ssize_t done;

	for (; n; n -= done, data = (const char *)data + done) {
		done = write(fd, data, n);
		if (done <= 0)
			die("a disk's socket: %s", strerror(errno));
	}
}

static void change(struct disk *d, uint64_t from, const void *data, uint32_t n)
{
	uint64_t chunk;

	memcpy(d->now + from, data, n);
	for (chunk = from / CHUNK; n && chunk <= (from + n - 1) / CHUNK; chunk++)
		d->dirty[chunk] = 1;
}

static void receive(int nr)
{
	struct disk *d = &disks[nr];
	struct request *rq = alloc(sizeof(*rq));
	struct nbd_request head;
	uint32_t type;

	get(d->socket, &head, sizeof(head));
	if (be32toh(head.magic) != NBD_REQUEST_MAGIC)
		die("a disk's socket: no request");
	type = be32toh(head.type);
	rq->disk = nr;
	rq->type = type & 0xffff;
	rq->fua = type & NBD_CMD_FLAG_FUA;
	memcpy(&rq->handle, &head.handle, sizeof(rq->handle));
	rq->from = be64toh(head.from);
	rq->bytes = be32toh(head.len);
	if (rq->type == NBD_CMD_DISC) {
		free(rq);
		return;
	}
	if (rq->type == NBD_CMD_WRITE) {
		rq->data = alloc(rq->bytes);
		get(d->socket, rq->data, rq->bytes);
		change(d, rq->from, rq->data, rq->bytes);
	}
	if (recording && rq->type != NBD_CMD_READ)
		note(&(struct event){ .kind = ARRIVE, .rq = rq });
	waiting[nr_waiting++] = rq;
}

static void answer(int at)
{
	struct request *rq = waiting[at];
	struct disk *d = &disks[rq->disk];
	struct nbd_reply head = { .magic = htobe32(NBD_REPLY_MAGIC) };

	waiting[at] = waiting[--nr_waiting];
	if (recording && rq->type != NBD_CMD_READ)
		note(&(struct event){ .kind = REPLY, .rq = rq });
	memcpy(&head.handle, &rq->handle, sizeof(rq->handle));
	put(d->socket, &head, sizeof(head));
	if (rq->type == NBD_CMD_READ)
		put(d->socket, d->now + rq->from, rq->bytes);
	if (!recording || rq->type == NBD_CMD_READ) {
		free(rq->data);
		free(rq);
	}
}

/* In the order of no clock: what comes and what is answered is mixed. */
static void *serve(void *unused)
{
	struct pollfd fds[MAX_DISKS];
	int i, ready, start;

	for (;;) {
		for (i = 0; i < nr_disks; i++)
			fds[i] = (struct pollfd){ disks[i].socket, POLLIN, 0 };
		ready = poll(fds, nr_disks, nr_waiting ? 0 : -1);
		if (ready < 0)
			die("poll: %s", strerror(errno));
		start = rand_r(&server_seed);
		if (ready && nr_waiting < 1000 &&
		    (!nr_waiting || start % 4)) {
			for (i = 0; i < nr_disks; i++)
				if (fds[(start + i) % nr_disks].revents)
					break;
			receive((start + i) % nr_disks);
		} else if (recording && !ready && start % 3 == 0) {
			usleep(100);	/* let more come before the answer */
			answer(start / 3 % nr_waiting);
		} else if (nr_waiting) {
			answer(recording ? start % nr_waiting : 0);
		}
	}
	return unused;
}

static void *drive(void *disk)
{
	struct disk *d = disk;

	if (ioctl(d->fd, NBD_DO_IT) < 0)
		die("%s: %s", d->path, strerror(errno));
	return NULL;
}

static void make_disk(struct disk *d, int nr, uint64_t bytes)
{
	int flags = NBD_FLAG_HAS_FLAGS | NBD_FLAG_SEND_FLUSH |
		    NBD_FLAG_SEND_FUA;
	pthread_t thread;
	int pair[2];

	snprintf(d->path, sizeof(d->path), "/dev/nbd%d", nr);
	d->bytes = bytes;
	d->now = aligned_alloc(CHUNK, (bytes + CHUNK) / CHUNK * CHUNK);
	memset(d->now, 0, bytes);
	d->base = alloc(bytes);
	d->dirty = alloc(bytes / CHUNK + 1);
	d->last = &d->first;
	snprintf(d->ram_path, sizeof(d->ram_path), "/dev/ram%d", nr);
	d->ram = opt.block == SECTOR ? open(d->ram_path, O_RDWR | O_DIRECT) : -1;
	if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair))
		die("socketpair: %s", strerror(errno));
	d->socket = pair[0];
	d->kernel = pair[1];
	d->fd = open(d->path, O_RDWR);
	if (d->fd < 0 || ioctl(d->fd, NBD_SET_BLKSIZE, (long)opt.block) ||
	    ioctl(d->fd, NBD_SET_SIZE_BLOCKS, (long)(bytes / opt.block)) ||
	    ioctl(d->fd, NBD_SET_FLAGS, (long)flags) ||
	    ioctl(d->fd, NBD_SET_SOCK, (long)d->kernel))
		die("%s: %s", d->path, strerror(errno));
	if (pthread_create(&thread, NULL, drive, d))
		die("no thread");
}

void disks_make(void)
{
	pthread_t thread;
	int i;

	server_seed = opt.seed + 1;
	nr_disks = opt.pairs * ROLES;
	for (i = 0; i < nr_disks; i++)
		make_disk(&disks[i], i, i % ROLES == METADATA ?
			  metadata_bytes() : (uint64_t)opt.sectors * SECTOR);
	if (pthread_create(&thread, NULL, serve, NULL))
		die("no thread");
	/* The devices have their size once DO_IT has begun. */
	for (i = 0; i < nr_disks; i++)
		while (lseek(disks[i].fd, 0, SEEK_END) !=
		       (off_t)disks[i].bytes)
			usleep(1000);
}

/* A write is durable: FUA and answered, or flushed later. */
static void settle_flushed(struct disk *d, struct request *flush)
{
	struct request *rq;

	for (rq = d->first; rq; rq = rq->next)
		if (rq->number && rq->number < flush->number)
			rq->durable = true;
}

static void merge(struct disk *d)
{
	struct request *rq;

	while ((rq = d->first) && rq->durable) {
		memcpy(d->base + rq->from, rq->data, rq->bytes);
		memset(d->dirty + rq->from / CHUNK, 1,
		       (rq->from + rq->bytes - 1) / CHUNK - rq->from / CHUNK + 1);
		d->first = rq->next;
		if (!d->first)
			d->last = &d->first;
	}
}

/* One event later. Numbers: of answers of writes, of arrivals of flushes. */
void disks_advance(long at)
{
	struct request *rq = events[at].rq;
	struct disk *d;

	if (events[at].kind != ARRIVE && events[at].kind != REPLY)
		return;
	d = &disks[rq->disk];
	if (events[at].kind == ARRIVE) {
		if (rq->type == NBD_CMD_FLUSH) {
			rq->number = at + 1;
		} else {
			*d->last = rq;
			d->last = &rq->next;
		}
		return;
	}
	if (rq->type == NBD_CMD_FLUSH) {
		settle_flushed(d, rq);
	} else {
		rq->number = at + 1;
		rq->durable |= rq->fua;
	}
	merge(d);
}

/* The sectors that a power cut has left of what was not durable. */
static void apply(struct disk *d, struct request *rq, int variant)
{
	uint32_t at;

	if (rq->durable || variant == 1) {
		change(d, rq->from, rq->data, rq->bytes);
		return;
	}
	if (variant == 0)
		return;
	switch (rnd(4)) {
	case 0:
		return;
	case 1:
	case 2:
		change(d, rq->from, rq->data, rq->bytes);
		return;
	default:
		for (at = 0; at < rq->bytes; at += SECTOR)
			if (rnd(2))
				change(d, rq->from + at, rq->data + at, SECTOR);
	}
}

/* Variants 3 and 4 are a cut of one host: the replica's is another. */
static int variant_of(struct disk *d, int variant)
{
	bool replica = (d - disks) % ROLES == REPLICA;

	if (variant == 3)
		return replica;
	return variant == 4 ? !replica : variant;
}

/*
 * What the disks are after a cut: variant 0 leaves only what is durable,
 * variant 1 all that had arrived, variant 2 what chance leaves.
 */
void disks_cut(long at, int variant)
{
	struct request *rq;
	struct disk *d;
	uint64_t chunk, n;

	if (nr_waiting)
		die("cut %ld: a disk still has requests", at);
	for (d = disks; d < disks + nr_disks; d++) {
		for (chunk = 0; chunk * CHUNK < d->bytes; chunk++) {
			if (!d->dirty[chunk])
				continue;
			n = d->bytes - chunk * CHUNK;
			memcpy(d->now + chunk * CHUNK, d->base + chunk * CHUNK,
			       n < CHUNK ? n : CHUNK);
			d->dirty[chunk] = 0;
		}
		for (rq = d->first; rq; rq = rq->next)
			apply(d, rq, variant_of(d, variant));
		if (d->ram >= 0 && pwrite(d->ram, d->now, d->bytes, 0) !=
		    (ssize_t)d->bytes)
			die("%s: %s", d->ram_path, strerror(errno));
	}
}
