// SPDX-License-Identifier: GPL-2.0-only
/*
 * One process that makes, changes and removes device-mapper devices for a whole
 * test: dmsetup costs a tenth of a second each time in an emulated machine. A
 * command a line on standard input, an answer a line on standard output ("ok" or
 * an errno's name):
 *
 *	create NAME LINE[;LINE]...	a new device, resumed
 *	load NAME LINE[;LINE]...	a table for the next resume
 *	swap NAME LINE[;LINE]...	load and resume; requests wait meanwhile
 *	suspend|resume|remove NAME
 *
 * A LINE is as in dmsetup's --table: START LENGTH TARGET ARGUMENTS.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/dm-ioctl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#define DM_BUFFER 8192

static union {
	struct dm_ioctl head;
	char bytes[DM_BUFFER];
} dm;
static int control;

static void prepare(const char *name, uint32_t flags)
{
	memset(&dm, 0, sizeof(dm));
	dm.head.version[0] = 4;
	dm.head.data_size = sizeof(dm);
	dm.head.data_start = sizeof(dm.head);
	dm.head.flags = flags;
	strncpy(dm.head.name, name, sizeof(dm.head.name) - 1);
}

static int call(const char *name, unsigned long request, uint32_t flags)
{
	prepare(name, flags);
	return ioctl(control, request, &dm);
}

static int load(const char *name, char *lines)
{
	struct dm_target_spec *spec;
	size_t at = sizeof(dm.head);
	char *line, *args;
	int used;

	prepare(name, 0);
	for (line = strtok(lines, ";"); line; line = strtok(NULL, ";")) {
		unsigned long long start, length;

		spec = (struct dm_target_spec *)(dm.bytes + at);
		if (at + sizeof(*spec) + strlen(line) + 16 > sizeof(dm) ||
		    sscanf(line, "%llu %llu %15s%n", &start, &length,
			   spec->target_type, &used) != 3) {
			errno = EINVAL;
			return -1;
		}
		spec->sector_start = start;
		spec->length = length;
		args = line + used + strspn(line + used, " ");
		strcpy((char *)(spec + 1), args);
		spec->next = (sizeof(*spec) + strlen(args) + 8) & ~7UL;
		at += spec->next;
		dm.head.target_count++;
	}
	return ioctl(control, DM_TABLE_LOAD, &dm);
}

static int resume(const char *name)
{
	return call(name, DM_DEV_SUSPEND, DM_NOFLUSH_FLAG | DM_SKIP_LOCKFS_FLAG);
}

static void node(char *path, size_t size, const char *name)
{
	snprintf(path, size, "/dev/mapper/%s", name);
}

static int remove_device(const char *name)
{
	char path[256];

	if (call(name, DM_DEV_REMOVE, 0))
		return -1;
	node(path, sizeof(path), name);
	unlink(path);
	return 0;
}

static int create(const char *name, char *lines)
{
	char path[256];
	dev_t dev;
	int saved;

	if (call(name, DM_DEV_CREATE, 0))
		return -1;
	/* As the kernel's huge form of a device number has it. */
	dev = makedev(dm.head.dev >> 8 & 0xfff,
		      (dm.head.dev & 0xff) | (dm.head.dev >> 12 & 0xfff00));
	node(path, sizeof(path), name);
	unlink(path);
	if (!load(name, lines) && !resume(name) &&
	    !mknod(path, S_IFBLK | 0600, dev))
		return 0;
	saved = errno;
	remove_device(name);
	errno = saved;
	return -1;
}

static int command(const char *verb, const char *name, char *lines)
{
	if (!strcmp(verb, "create"))
		return create(name, lines);
	if (!strcmp(verb, "load"))
		return load(name, lines);
	if (!strcmp(verb, "swap"))
		return load(name, lines) || resume(name) ? -1 : 0;
	if (!strcmp(verb, "suspend"))
		return call(name, DM_DEV_SUSPEND, DM_SUSPEND_FLAG |
			    DM_NOFLUSH_FLAG | DM_SKIP_LOCKFS_FLAG);
	if (!strcmp(verb, "resume"))
		return resume(name);
	if (!strcmp(verb, "remove"))
		return remove_device(name);
	errno = EINVAL;
	return -1;
}

int main(void)
{
	char empty[1] = "", *line = NULL, *verb, *name, *rest;
	size_t size = 0;
	ssize_t n;

	control = open("/dev/mapper/control", O_RDWR);
	if (control < 0) {
		perror("/dev/mapper/control");
		return 1;
	}
	setvbuf(stdout, NULL, _IOLBF, 0);
	while ((n = getline(&line, &size, stdin)) > 0) {
		line[strcspn(line, "\n")] = '\0';
		rest = line;
		verb = strsep(&rest, " ");
		name = strsep(&rest, " ");
		if (name && !command(verb, name, rest ? rest : empty))
			puts("ok");
		else
			puts(name ? strerrorname_np(errno) : "EINVAL");
	}
	return 0;
}
