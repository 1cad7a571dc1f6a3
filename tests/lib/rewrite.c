// SPDX-License-Identifier: GPL-2.0-only
/*
 * Write a buffer past the page cache, and change it while it is being written:
 *
 *	rewrite DEV OFFSET LENGTH BYTE LATER
 *
 * A third of a second after the write was begun each byte is changed from BYTE
 * to LATER, and "changed" is printed. Numbers may carry k or m. The exit status
 * says how the write has ended.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int fd;
static char *buffer;
static size_t length;
static off_t offset;
static int error;

static unsigned long long number(const char *text)
{
	char *end;
	unsigned long long n = strtoull(text, &end, 0);

	if (*end == 'k')
		n <<= 10;
	else if (*end == 'm')
		n <<= 20;
	return n;
}

static void *writer(void *unused)
{
	ssize_t done = pwrite(fd, buffer, length, offset);

	(void)unused;
	if (done != (ssize_t)length)
		error = done < 0 ? errno : ENOSPC;
	return NULL;
}

int main(int argc, char **argv)
{
	pthread_t thread;

	if (argc != 6) {
		fprintf(stderr, "usage: rewrite DEV OFFSET LENGTH BYTE LATER\n");
		return 2;
	}
	fd = open(argv[1], O_RDWR | O_DIRECT);
	offset = number(argv[2]);
	length = number(argv[3]);
	buffer = aligned_alloc(4096, (length + 4095) & ~4095UL);
	if (fd < 0 || !buffer) {
		perror(argv[1]);
		return 1;
	}
	memset(buffer, number(argv[4]), length);
	if (pthread_create(&thread, NULL, writer, NULL)) {
		perror("rewrite");
		return 1;
	}
	usleep(333333);
	memset(buffer, number(argv[5]), length);
	puts("changed");
	fflush(stdout);
	pthread_join(thread, NULL);
	if (error) {
		fprintf(stderr, "rewrite: %s: %s\n", argv[1], strerrorname_np(error));
		return 1;
	}
	return 0;
}
