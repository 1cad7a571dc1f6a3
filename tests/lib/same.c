// SPDX-License-Identifier: GPL-2.0-only
/*
 * Whether a part of a disk is what a file says:
 *
 *	same DISK FILE OFFSET LENGTH
 *
 * The disk is read past the page cache, a MiB at a time. Exit status: 0 it is,
 * 1 a byte differs (which one is shown), 2 the disk refused or wrong usage.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PIECE (1024 * 1024)

static int differ(const unsigned char *is, const unsigned char *want,
		  uint64_t offset, size_t length)
{
	size_t i = 0;

	if (!memcmp(is, want, length))
		return 0;
	while (is[i] == want[i])
		i++;
	printf("byte %llu (MiB %llu, sector %llu) is 0x%02x, not 0x%02x\n",
	       (unsigned long long)(offset + i),
	       (unsigned long long)((offset + i) >> 20),
	       (unsigned long long)((offset + i) >> 9), is[i], want[i]);
	return 1;
}

static int refused(const char *path, uint64_t offset)
{
	printf("%s at %llu: %s\n", path, (unsigned long long)offset,
	       strerrorname_np(errno) ?: "short");
	return 2;
}

static int compare(char **argv, int disk, int file)
{
	uint64_t offset = strtoull(argv[3], NULL, 0);
	uint64_t end = offset + strtoull(argv[4], NULL, 0);
	unsigned char *is = aligned_alloc(4096, PIECE);
	unsigned char *want = aligned_alloc(4096, PIECE);
	int ret = 0;

	if (!is || !want)
		return refused("memory", 0);
	while (offset < end && !ret) {
		size_t n = end - offset < PIECE ? end - offset : PIECE;

		errno = 0;
		if (pread(disk, is, n, offset) != (ssize_t)n)
			ret = refused(argv[1], offset);
		else if (pread(file, want, n, offset) != (ssize_t)n)
			ret = refused(argv[2], offset);
		else
			ret = differ(is, want, offset, n);
		offset += n;
	}
	free(is);
	free(want);
	return ret;
}

int main(int argc, char **argv)
{
	int disk, file;

	if (argc != 5) {
		fprintf(stderr, "usage: same DISK FILE OFFSET LENGTH\n");
		return 2;
	}
	disk = open(argv[1], O_RDONLY | O_DIRECT);
	if (disk < 0)
		return refused(argv[1], 0);
	file = open(argv[2], O_RDONLY);
	if (file < 0)
		return refused(argv[2], 0);
	return compare(argv, disk, file);
}
