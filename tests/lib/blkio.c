// SPDX-License-Identifier: GPL-2.0-only
/*
 * One request to a block device, past the page cache, with one byte value as
 * its content:
 *
 *	blkio write   DEV BYTE OFFSET LENGTH	write the byte
 *	blkio fua     DEV BYTE OFFSET LENGTH	the same, durable when it returns
 *	blkio expect  DEV BYTE OFFSET LENGTH	read, compare every byte
 *	blkio read    DEV OFFSET LENGTH		read to standard output
 *	blkio discard DEV OFFSET LENGTH
 *	blkio zeroout DEV OFFSET LENGTH
 *	blkio flush   DEV
 *
 * Numbers are decimal, 0x or 0 prefixed, with an optional s (512 bytes), k or m.
 * More than 1 MiB is done in pieces of 1 MiB. Exit status: 0 done, 1 the device
 * refused (the errno's name is shown), 2 wrong usage, 3 other bytes were read.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/uio.h>
#include <unistd.h>

#define PIECE (1024 * 1024)

struct request {
	const char *verb;
	const char *device;
	int fd;
	unsigned char byte;
	uint64_t offset;
	uint64_t length;
};

static void usage(void)
{
	fprintf(stderr, "usage: blkio write|fua|expect DEV BYTE OFFSET LENGTH\n"
			"       blkio read|discard|zeroout DEV OFFSET LENGTH\n"
			"       blkio flush DEV\n");
	exit(2);
}

static uint64_t number(const char *text)
{
	unsigned long long value;
	char *end;

	errno = 0;
	value = strtoull(text, &end, 0);
	if (errno || end == text)
		usage();
	switch (*end) {
	case 's':
		value *= 512;
		end++;
		break;
	case 'k':
		value *= 1024;
		end++;
		break;
	case 'm':
		value *= 1024 * 1024;
		end++;
		break;
	}
	if (*end)
		usage();
	return value;
}

static int refused(const struct request *rq, uint64_t offset, uint64_t length)
{
	const char *name = strerrorname_np(errno);

	fprintf(stderr, "blkio: %s %s at %llu+%llu: %s\n", rq->verb, rq->device,
		(unsigned long long)offset, (unsigned long long)length,
		name ? name : "unknown error");
	return 1;
}

static int compare(const struct request *rq, const unsigned char *buf,
		   uint64_t offset, size_t length)
{
	size_t i;

	for (i = 0; i < length; i++) {
		if (buf[i] == rq->byte)
			continue;
		printf("%s: byte %llu is 0x%02x, not 0x%02x\n", rq->device,
		       (unsigned long long)(offset + i), buf[i], rq->byte);
		return 3;
	}
	return 0;
}

static int transfer(const struct request *rq, unsigned char *buf,
		    uint64_t offset, size_t length)
{
	struct iovec iov = { .iov_base = buf, .iov_len = length };
	int writing = !strcmp(rq->verb, "write") || !strcmp(rq->verb, "fua");
	ssize_t done;

	if (writing) {
		memset(buf, rq->byte, length);
		done = pwritev2(rq->fd, &iov, 1, offset,
				strcmp(rq->verb, "fua") ? 0 : RWF_DSYNC);
	} else {
		memset(buf, ~rq->byte, length);
		done = preadv2(rq->fd, &iov, 1, offset, 0);
	}
	if (done >= 0 && (size_t)done != length) {
		/* Past the end, or the error comes with the next call. */
		errno = ENOSPC;
		done = -1;
	}
	if (done < 0)
		return refused(rq, offset, length);
	if (!strcmp(rq->verb, "expect"))
		return compare(rq, buf, offset, length);
	if (!strcmp(rq->verb, "read") && fwrite(buf, 1, length, stdout) != length)
		return refused(rq, offset, length);
	return 0;
}

static int transfer_all(const struct request *rq)
{
	uint64_t offset = rq->offset, left = rq->length;
	unsigned char *buf;
	int ret = 0;

	buf = aligned_alloc(4096, PIECE);
	if (!buf) {
		errno = ENOMEM;
		return refused(rq, offset, left);
	}
	while (left && !ret) {
		size_t length = left < PIECE ? left : PIECE;

		ret = transfer(rq, buf, offset, length);
		offset += length;
		left -= length;
	}
	free(buf);
	return ret;
}

static int control(const struct request *rq)
{
	uint64_t range[2] = { rq->offset, rq->length };
	int ret;

	if (!strcmp(rq->verb, "flush"))
		ret = fsync(rq->fd);
	else if (!strcmp(rq->verb, "discard"))
		ret = ioctl(rq->fd, BLKDISCARD, range);
	else
		ret = ioctl(rq->fd, BLKZEROOUT, range);
	return ret ? refused(rq, rq->offset, rq->length) : 0;
}

static int takes(const char *verb, const char *list)
{
	const char *at = strstr(list, verb);

	return at && at[strlen(verb)] == ' ' && (at == list || at[-1] == ' ');
}

int main(int argc, char **argv)
{
	struct request rq = { 0 };
	int patterned, reading;

	if (argc < 3)
		usage();
	rq.verb = argv[1];
	rq.device = argv[2];
	patterned = takes(rq.verb, "write fua expect ");
	reading = takes(rq.verb, "expect read ");
	if (patterned) {
		if (argc != 6)
			usage();
		rq.byte = number(argv[3]);
	} else if (takes(rq.verb, "read discard zeroout ")) {
		if (argc != 5)
			usage();
	} else if (!takes(rq.verb, "flush ") || argc != 3) {
		usage();
	}
	if (argc > 3) {
		rq.offset = number(argv[argc - 2]);
		rq.length = number(argv[argc - 1]);
	}
	rq.fd = open(rq.device, O_DIRECT | (reading ? O_RDONLY : O_RDWR));
	if (rq.fd < 0)
		return refused(&rq, rq.offset, rq.length);
	return patterned || reading ? transfer_all(&rq) : control(&rq);
}
