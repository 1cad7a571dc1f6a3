// SPDX-License-Identifier: GPL-2.0-only
/*
 * One process that does requests, messages and status for a whole test, so that
 * thousands of them do not cost thousands of processes. A command a line on
 * standard input, an answer a line on standard output:
 *
 *	write|fua|holds DEV BYTE OFFSET LENGTH
 *	read|discard|punch|zeroout DEV OFFSET LENGTH
 *	flush DEV
 *	message NAME WORD...	to a device-mapper device
 *	status|table NAME	of its first target
 *
 * The answer is "ok", with a text if there is one, or an errno's name, or what
 * differs. Numbers may carry s (512 bytes), k or m. All of LENGTH is one system
 * call, past the page cache; punch writes zeroes without payload.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/dm-ioctl.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/uio.h>
#include <unistd.h>

#define MAX_WORDS	64
#define DM_BUFFER	16384

static char answer[DM_BUFFER];

static uint64_t number(const char *text)
{
	char *end;
	uint64_t value = strtoull(text, &end, 0);

	switch (*end) {
	case 's':
		return value << 9;
	case 'k':
		return value << 10;
	case 'm':
		return value << 20;
	}
	return value;
}

/* Words, not memset(): an emulated "rep stosb" takes a step for each byte. */
static void fill(uint64_t *buf, unsigned char byte, size_t length)
{
	volatile uint64_t *at = buf;
	size_t i;

	for (i = 0; i < length / sizeof(*at); i++)
		at[i] = byte * 0x0101010101010101ULL;
}

static int compare(const unsigned char *buf, unsigned char byte,
		   uint64_t offset, size_t length)
{
	const uint64_t *words = (const uint64_t *)buf;
	size_t i = 0;

	while (i < length / 8 && words[i] == byte * 0x0101010101010101ULL)
		i++;
	for (i *= 8; i < length; i++)
		if (buf[i] != byte) {
			snprintf(answer, sizeof(answer),
				 "byte %llu is 0x%02x, not 0x%02x",
				 (unsigned long long)(offset + i), buf[i],
				 byte);
			return 1;
		}
	return 0;
}

/* Return: 0, 1 with an answer, or -1 with errno. */
static int transfer(int fd, const char *verb, unsigned char byte,
		    uint64_t offset, size_t length)
{
	int writing = !strcmp(verb, "write") || !strcmp(verb, "fua");
	void *buf = aligned_alloc(4096, (length + 4095) & -4096ULL);
	struct iovec iov = { .iov_base = buf, .iov_len = length };
	ssize_t done;
	int ret = 0;

	if (!buf)
		return -1;
	fill(buf, writing ? byte : ~byte, length);
	if (writing)
		done = pwritev2(fd, &iov, 1, offset,
				strcmp(verb, "fua") ? 0 : RWF_DSYNC);
	else
		done = preadv2(fd, &iov, 1, offset, 0);
	if (done >= 0 && (size_t)done != length)
		errno = ENOSPC;
	if (done < 0 || (size_t)done != length)
		ret = -1;
	else if (!strcmp(verb, "holds"))
		ret = compare(buf, byte, offset, length);
	free(buf);
	return ret;
}

static int change(int fd, const char *verb, uint64_t offset, uint64_t length)
{
	uint64_t range[2] = { offset, length };

	if (!strcmp(verb, "discard"))
		return ioctl(fd, BLKDISCARD, range);
	if (!strcmp(verb, "zeroout"))
		return ioctl(fd, BLKZEROOUT, range);
	return fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, offset,
			 length);
}

static int request(int argc, char **argv)
{
	const char *verb = argv[0];
	int reading = !strcmp(verb, "holds") || !strcmp(verb, "read");
	uint64_t offset, length;
	int fd, ret, saved;

	fd = open(argv[1], O_DIRECT | (reading ? O_RDONLY : O_RDWR));
	if (fd < 0)
		return -1;
	offset = number(argv[argc - 2]);
	length = number(argv[argc - 1]);
	if (!strcmp(verb, "flush"))
		ret = fsync(fd);
	else if (argc == 5)
		ret = transfer(fd, verb, number(argv[2]), offset, length);
	else if (reading)
		ret = transfer(fd, verb, 0, offset, length);
	else
		ret = change(fd, verb, offset, length);
	saved = errno;
	close(fd);
	errno = saved;
	return ret;
}

static union {
	struct dm_ioctl head;
	char bytes[DM_BUFFER];
} dm;

static int dm_call(const char *name, unsigned long call, uint32_t flags)
{
	static int control = -1;

	if (control < 0)
		control = open("/dev/mapper/control", O_RDWR);
	if (control < 0)
		return -1;
	dm.head.version[0] = 4;
	dm.head.data_size = sizeof(dm);
	dm.head.data_start = sizeof(dm.head);
	dm.head.flags = flags;
	strncpy(dm.head.name, name, sizeof(dm.head.name) - 1);
	return ioctl(control, call, &dm);
}

static int message(int argc, char **argv)
{
	struct dm_target_msg *msg;
	size_t used = 0;
	int i;

	memset(&dm, 0, sizeof(dm));
	msg = (struct dm_target_msg *)(dm.bytes + sizeof(dm.head));
	for (i = 2; i < argc; i++)
		used += sprintf(msg->message + used, "%s%s", i > 2 ? " " : "",
				argv[i]);
	if (dm_call(argv[1], DM_TARGET_MSG, 0))
		return -1;
	if (dm.head.flags & DM_DATA_OUT_FLAG)
		snprintf(answer, sizeof(answer), " %.8000s",
			 dm.bytes + dm.head.data_start);
	return 0;
}

static int status(char **argv)
{
	struct dm_target_spec *spec;

	memset(&dm, 0, sizeof(dm));
	if (dm_call(argv[1], DM_TABLE_STATUS, DM_NOFLUSH_FLAG |
		    (strcmp(argv[0], "table") ? 0 : DM_STATUS_TABLE_FLAG)))
		return -1;
	spec = (struct dm_target_spec *)(dm.bytes + dm.head.data_start);
	if (dm.head.target_count)
		snprintf(answer, sizeof(answer), " %llu %llu %.16s %.8000s",
			 (unsigned long long)spec->sector_start,
			 (unsigned long long)spec->length, spec->target_type,
			 (char *)(spec + 1));
	return 0;
}

static int command(int argc, char **argv)
{
	errno = EINVAL;
	if (argc >= 3 && !strcmp(argv[0], "message"))
		return message(argc, argv);
	if (argc == 2 && (!strcmp(argv[0], "status") ||
			  !strcmp(argv[0], "table")))
		return status(argv);
	if (argc == 4 || argc == 5 || (argc == 2 && !strcmp(argv[0], "flush")))
		return request(argc, argv);
	return -1;
}

int main(void)
{
	char *line = NULL, *word, *argv[MAX_WORDS];
	size_t size = 0;
	int argc, ret;

	setvbuf(stdout, NULL, _IOLBF, 0);
	while (getline(&line, &size, stdin) > 0) {
		argc = 0;
		for (word = strtok(line, " \n"); word && argc < MAX_WORDS;
		     word = strtok(NULL, " \n"))
			argv[argc++] = word;
		answer[0] = '\0';
		ret = argc ? command(argc, argv) : -1;
		if (!ret)
			printf("ok%s\n", answer);
		else if (ret > 0)
			printf("%s\n", answer);
		else
			printf("%s\n", strerrorname_np(errno) ?: "EUNKNOWN");
	}
	return 0;
}
