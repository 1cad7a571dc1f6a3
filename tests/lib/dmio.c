// SPDX-License-Identifier: GPL-2.0-only
/*
 * One process that does requests and device-mapper's calls for a whole test, so
 * that thousands of them do not cost thousands of processes. A command a line
 * on standard input, an answer a line on standard output:
 *
 *	write|fua|holds DEV BYTE OFFSET LENGTH
 *	read|discard|punch|zeroout DEV OFFSET LENGTH
 *	same DEV DEV LENGTH
 *	flush DEV
 *	cover DEV LENGTH STRIDE COUNT	COUNT writes, one each STRIDE bytes
 *	sectors DEV
 *	create NAME TABLE	a device-mapper device; a ; ends a line of its table
 *	load NAME TABLE
 *	swap NAME TABLE		load, suspend without a flush, resume
 *	clear|remove|events|suspend|resume NAME
 *	message NAME WORD...
 *	status|table NAME	of its first target
 *	until NAME PATTERN MS	its status matches (fnmatch) soon enough
 *	time COMMAND...		"ok", the nanoseconds it took, its text
 *	clock			nanoseconds of the monotonic clock
 *	sleep US
 *	line PATH		the first line of a file
 *	mark			klog tells what comes from now on
 *	klog			what the kernel has said, a line each before "ok"
 *
 * The answer is "ok", with a text if there is one, or an errno's name, or what
 * differs. Numbers may carry s (512 bytes), k or m. All of LENGTH is one system
 * call, past the page cache; punch writes zeroes without payload. DEV may be a
 * file. Whole huge pages are written, read and compared as such if there are
 * free ones: then the call is one request however long it is.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <linux/dm-ioctl.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#define MAX_WORDS	64
#define DM_BUFFER	16384
#define HUGE_PAGE	(2 << 20)
#define MESSAGE_BUFFER	2048	/* the kernel copies all of it, both ways */

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

/* Sets @huge to what give() must know. */
static void *take(size_t length, int *huge)
{
	void *buf = MAP_FAILED;

	if (length % HUGE_PAGE == 0)
		buf = mmap(NULL, length, PROT_READ | PROT_WRITE,
			   MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB, -1, 0);
	*huge = buf != MAP_FAILED;
	return *huge ? buf : aligned_alloc(4096, (length + 4095) & -4096ULL);
}

static void give(void *buf, size_t length, int huge)
{
	if (huge)
		munmap(buf, length);
	else
		free(buf);
}

/* Return: 0, 1 with an answer, or -1 with errno. */
static int transfer(int fd, const char *verb, unsigned char byte,
		    uint64_t offset, size_t length)
{
	int writing = !strcmp(verb, "write") || !strcmp(verb, "fua");
	int huge, ret = 0;
	void *buf = take(length, &huge);
	struct iovec iov = { .iov_base = buf, .iov_len = length };
	ssize_t done;

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
	give(buf, length, huge);
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

/* A file in memory is not opened past the page cache. */
static int open_direct(const char *path, int flags)
{
	int fd = open(path, flags | O_DIRECT);

	return fd < 0 && errno == EINVAL ? open(path, flags) : fd;
}

static unsigned char *read_all(const char *path, size_t length)
{
	unsigned char *buf = aligned_alloc(4096, (length + 4095) & -4096ULL);
	int fd = open_direct(path, O_RDONLY);

	if (fd >= 0 && buf && pread(fd, buf, length, 0) == (ssize_t)length) {
		close(fd);
		return buf;
	}
	if (fd >= 0)
		close(fd);
	free(buf);
	return NULL;
}

static int same(char **argv)
{
	size_t length = number(argv[3]), i;
	unsigned char *a = read_all(argv[1], length);
	unsigned char *b = read_all(argv[2], length);
	int ret = -1;

	if (a && b) {
		ret = !!memcmp(a, b, length);
		for (i = 0; ret && a[i] == b[i];)
			i++;
		if (ret)
			snprintf(answer, sizeof(answer),
				 "byte %zu is 0x%02x and 0x%02x", i, a[i], b[i]);
	}
	free(a);
	free(b);
	return ret;
}

static int cover(char **argv)
{
	size_t length = number(argv[2]), stride = number(argv[3]);
	unsigned long i, count = number(argv[4]);
	void *buf = aligned_alloc(4096, (length + 4095) & -4096ULL);
	int fd = open_direct(argv[1], O_RDWR);
	int ret = buf && fd >= 0 ? 0 : -1;

	if (buf)
		fill(buf, 0, length);
	for (i = 0; !ret && i < count; i++)
		if (pwrite(fd, buf, length, i * stride) != (ssize_t)length)
			ret = -1;
	close(fd);
	free(buf);
	return ret;
}

static int request(int argc, char **argv)
{
	const char *verb = argv[0];
	int reading = !strcmp(verb, "holds") || !strcmp(verb, "read");
	uint64_t offset, length;
	int fd, ret, saved;

	fd = open_direct(argv[1], reading ? O_RDONLY : O_RDWR);
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

static unsigned int dm_size = DM_BUFFER;
static union {
	struct dm_ioctl head;
	char bytes[DM_BUFFER];
} dm;

static int dm_call_with(const char *name, unsigned long call, uint32_t flags,
			uint32_t targets)
{
	static int control = -1;

	if (control < 0)
		control = open("/dev/mapper/control", O_RDWR);
	if (control < 0)
		return -1;
	memset(&dm.head, 0, sizeof(dm.head));
	dm.head.version[0] = 4;
	dm.head.data_size = dm_size;
	dm.head.data_start = sizeof(dm.head);
	dm.head.flags = flags;
	dm.head.target_count = targets;
	strncpy(dm.head.name, name, sizeof(dm.head.name) - 1);
	return ioctl(control, call, &dm);
}

static int dm_call(const char *name, unsigned long call, uint32_t flags)
{
	return dm_call_with(name, call, flags, 0);
}

static struct dm_target_spec *first_spec(void)
{
	return (struct dm_target_spec *)(dm.bytes + sizeof(dm.head));
}

/* The words from @from on, with a space between two of them. */
static void join(char *to, int from, int argc, char **argv)
{
	int i;

	*to = '\0';
	for (i = from; i < argc; i++)
		to += sprintf(to, "%s%s", i > from ? " " : "", argv[i]);
}

static int message(int argc, char **argv)
{
	struct dm_target_msg *msg = (void *)first_spec();
	int ret;

	memset(&dm, 0, sizeof(dm));
	join(msg->message, 2, argc, argv);
	dm_size = MESSAGE_BUFFER;
	ret = dm_call(argv[1], DM_TARGET_MSG, 0);
	dm_size = DM_BUFFER;
	if (ret)
		return -1;
	if (dm.head.flags & DM_DATA_OUT_FLAG)
		snprintf(answer, sizeof(answer), " %.8000s",
			 dm.bytes + dm.head.data_start);
	return 0;
}

static int status(const char *name, uint32_t flag)
{
	struct dm_target_spec *spec;

	memset(&dm, 0, sizeof(dm));
	if (dm_call(name, DM_TABLE_STATUS, DM_NOFLUSH_FLAG | flag))
		return -1;
	spec = (void *)(dm.bytes + dm.head.data_start);
	if (dm.head.target_count)
		snprintf(answer, sizeof(answer), " %llu %llu %.16s %.8000s",
			 (unsigned long long)spec->sector_start,
			 (unsigned long long)spec->length, spec->target_type,
			 (char *)(spec + 1));
	return 0;
}

/* The call's argument is the table. */
static int load(const char *name, char *table)
{
	struct dm_target_spec *spec = first_spec();
	unsigned int count = 0;
	char *line, *rest;
	int used;

	memset(&dm, 0, sizeof(dm));
	for (line = strtok_r(table, ";", &rest); line;
	     line = strtok_r(NULL, ";", &rest)) {
		unsigned long long start, length;

		used = strlen(line);
		if (sscanf(line, "%llu %llu %15s %n", &start, &length,
			   spec->target_type, &used) != 3)
			return -1;
		spec->sector_start = start;
		spec->length = length;
		strcpy((char *)(spec + 1), line + used);
		spec->next = (sizeof(*spec) + strlen(line + used) + 8) & ~7U;
		spec = (void *)((char *)spec + spec->next);
		count++;
	}
	return dm_call_with(name, DM_TABLE_LOAD, 0, count);
}

static int suspend(const char *name)
{
	return dm_call(name, DM_DEV_SUSPEND, DM_SUSPEND_FLAG |
		       DM_NOFLUSH_FLAG | DM_SKIP_LOCKFS_FLAG);
}

static int resume(const char *name)
{
	return dm_call(name, DM_DEV_SUSPEND, 0);
}

static void node_of(const char *name, char *path)
{
	sprintf(path, "/dev/mapper/%.120s", name);
}

static int dm_remove(const char *name)
{
	char path[160];

	if (dm_call(name, DM_DEV_REMOVE, 0))
		return -1;
	node_of(name, path);
	return unlink(path);
}

/* Nobody else makes the nodes here. */
static int dm_create(const char *name, char *table)
{
	char path[160];
	uint64_t dev;
	int saved;

	memset(&dm, 0, sizeof(dm));
	if (dm_call(name, DM_DEV_CREATE, 0))
		return -1;
	dev = dm.head.dev;
	node_of(name, path);
	unlink(path);
	if (!mknod(path, S_IFBLK | 0600,
		   makedev((dev >> 8) & 0xfff, (dev & 0xff) | ((dev >> 12) & ~0xffU))) &&
	    !load(name, table) && !resume(name))
		return 0;
	saved = errno;
	dm_remove(name);
	errno = saved;
	return -1;
}

static int swap(const char *name, char *table)
{
	if (load(name, table) || suspend(name))
		return -1;
	return resume(name);
}

static int events(const char *name)
{
	if (dm_call(name, DM_DEV_STATUS, 0))
		return -1;
	snprintf(answer, sizeof(answer), " %u", dm.head.event_nr);
	return 0;
}

static int dm_command(int argc, char **argv)
{
	static char table[DM_BUFFER];
	const char *verb = argv[0], *name = argv[1];

	join(table, 2, argc, argv);
	if (!strcmp(verb, "message"))
		return message(argc, argv);
	if (!strcmp(verb, "create"))
		return dm_create(name, table);
	if (!strcmp(verb, "load"))
		return load(name, table);
	if (!strcmp(verb, "swap"))
		return swap(name, table);
	if (!strcmp(verb, "clear"))
		return dm_call(name, DM_TABLE_CLEAR, 0);
	if (!strcmp(verb, "remove"))
		return dm_remove(name);
	if (!strcmp(verb, "events"))
		return events(name);
	if (!strcmp(verb, "suspend"))
		return suspend(name);
	if (!strcmp(verb, "resume"))
		return resume(name);
	return status(name, strcmp(verb, "table") ? 0 : DM_STATUS_TABLE_FLAG);
}

static int sectors(const char *device)
{
	int fd = open(device, O_RDONLY);
	uint64_t bytes;

	if (fd < 0 || ioctl(fd, BLKGETSIZE64, &bytes))
		return -1;
	close(fd);
	snprintf(answer, sizeof(answer), " %llu",
		 (unsigned long long)bytes >> 9);
	return 0;
}

static int kernel_log(int mark)
{
	static int log = -1;
	char record[8192], *text;
	ssize_t n;

	if (log < 0)
		log = open("/dev/kmsg", O_RDONLY | O_NONBLOCK);
	if (log < 0)
		return -1;
	if (mark)
		return lseek(log, 0, SEEK_END) < 0 ? -1 : 0;
	for (;;) {
		n = read(log, record, sizeof(record) - 1);
		if (n < 0 && errno == EPIPE)	/* some were overwritten */
			continue;
		if (n < 0)
			return errno == EAGAIN ? 0 : -1;
		record[n] = '\0';
		/* <level,number,time,flags>;<text>, then more lines */
		text = strchr(record, ';');
		if (text)
			printf("%.*s\n", (int)strcspn(text + 1, "\n"), text + 1);
	}
}

/* --- for measuring ---*/

static uint64_t nanoseconds(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000000000ULL + now.tv_nsec;
}

static void sleep_us(uint64_t us)
{
	struct timespec length = {
		.tv_sec = us / 1000000, .tv_nsec = us % 1000000 * 1000
	};

	nanosleep(&length, NULL);
}

static int until(char **argv)
{
	const char *slow = getenv("SLOW");
	uint64_t end = nanoseconds() +
		number(argv[3]) * 1000000 * (slow ? number(slow) : 1);

	for (;;) {
		if (status(argv[1], 0))
			return -1;
		if (!fnmatch(argv[2], answer, 0))
			return 0;
		if (nanoseconds() >= end) {
			errno = ETIMEDOUT;
			return -1;
		}
		sleep_us(200);
	}
}

static int first_line(const char *path)
{
	FILE *file = fopen(path, "r");
	char line[1024];

	if (!file)
		return -1;
	if (fgets(line, sizeof(line), file)) {
		line[strcspn(line, "\n")] = '\0';
		snprintf(answer, sizeof(answer), " %s", line);
	}
	fclose(file);
	return 0;
}

static int command(int argc, char **argv);

static int timed(int argc, char **argv)
{
	static char text[DM_BUFFER];
	uint64_t begin = nanoseconds();
	int ret = command(argc - 1, argv + 1);
	uint64_t end = nanoseconds();

	if (ret)
		return ret;
	strcpy(text, answer);
	snprintf(answer, sizeof(answer), " %llu%.8000s",
		 (unsigned long long)(end - begin), text);
	return 0;
}

static int measure(int argc, char **argv)
{
	const char *verb = argv[0];

	if (argc >= 2 && !strcmp(verb, "time"))
		return timed(argc, argv);
	if (argc == 4 && !strcmp(verb, "until"))
		return until(argv);
	if (argc == 2 && !strcmp(verb, "line"))
		return first_line(argv[1]);
	if (argc == 2 && !strcmp(verb, "sleep")) {
		sleep_us(number(argv[1]));
		return 0;
	}
	if (argc == 1 && !strcmp(verb, "clock")) {
		snprintf(answer, sizeof(answer), " %llu",
			 (unsigned long long)nanoseconds());
		return 0;
	}
	return -1;
}

static int is_one_of(const char *word, const char *list)
{
	const char *at = strstr(list, word);

	return at && at[strlen(word)] == ' ' && (at == list || at[-1] == ' ');
}

static int command(int argc, char **argv)
{
	const char *verb = argv[0];

	errno = EINVAL;
	if (argc == 1 && is_one_of(verb, "mark klog "))
		return kernel_log(!strcmp(verb, "mark"));
	if (argc == 2 && !strcmp(verb, "sectors"))
		return sectors(argv[1]);
	if (argc >= 3 && is_one_of(verb, "message create load swap "))
		return dm_command(argc, argv);
	if (argc == 2 && is_one_of(verb, "status table clear remove events suspend resume "))
		return dm_command(argc, argv);
	if (argc == 4 && !strcmp(verb, "same"))
		return same(argv);
	if (argc == 5 && !strcmp(verb, "cover"))
		return cover(argv);
	if ((argc == 5 && is_one_of(verb, "write fua holds ")) ||
	    (argc == 4 && is_one_of(verb, "read discard punch zeroout ")) ||
	    (argc == 2 && !strcmp(verb, "flush")))
		return request(argc, argv);
	return measure(argc, argv);
}

int main(void)
{
	char *line = NULL, *word, *argv[MAX_WORDS];
	size_t size = 0;
	int argc, ret;

	setvbuf(stdout, NULL, _IOLBF, 0);
	while (getline(&line, &size, stdin) > 0) {
		argc = 0;
		for (word = strtok(line, "\n "); word && argc < MAX_WORDS;
		     word = strtok(NULL, "\n "))
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
