// SPDX-License-Identifier: GPL-2.0-only
/* Device-mapper's calls; see dmctl.h. */

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/dm-ioctl.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "dmctl.h"

/* The kernel copies all of it, both ways: no larger than it has to be. */
#define SMALL	2048
#define LARGE	(DMCTL_TEXT + 1024)

static union {
	struct dm_ioctl head;
	char bytes[LARGE];
} dm;

static int call(const char *name, unsigned long request, uint32_t flags,
		size_t size, uint32_t targets)
{
	static int control = -1;

	if (control < 0)
		control = open("/dev/mapper/control", O_RDWR | O_CLOEXEC);
	if (control < 0)
		return -errno;
	memset(&dm.head, 0, sizeof(dm.head));
	dm.head.version[0] = 4;
	dm.head.data_size = size;
	dm.head.data_start = sizeof(dm.head);
	dm.head.flags = flags;
	dm.head.target_count = targets;
	strncpy(dm.head.name, name, sizeof(dm.head.name) - 1);
	return ioctl(control, request, &dm) ? -errno : 0;
}

static void node_of(const char *name, char *path, size_t size)
{
	snprintf(path, size, "/dev/mapper/%s", name);
}

int dmctl_create(const char *name)
{
	char path[160];
	uint64_t dev;
	int r = call(name, DM_DEV_CREATE, 0, SMALL, 0);

	if (r)
		return r;
	/* As the kernel's huge form of a device number has it. */
	dev = makedev(dm.head.dev >> 8 & 0xfff,
		      (dm.head.dev & 0xff) | (dm.head.dev >> 12 & 0xfff00));
	node_of(name, path, sizeof(path));
	unlink(path);
	return mknod(path, S_IFBLK | 0600, dev) ? -errno : 0;
}

int dmctl_remove(const char *name)
{
	char path[160];
	int r = call(name, DM_DEV_REMOVE, 0, SMALL, 0);

	if (r)
		return r;
	node_of(name, path, sizeof(path));
	unlink(path);
	return 0;
}

int dmctl_load(const char *name, uint64_t sectors, const char *type,
	       const char *params)
{
	struct dm_target_spec *spec = (void *)(dm.bytes + sizeof(dm.head));
	size_t length = strlen(params), size;

	size = sizeof(dm.head) + sizeof(*spec) + length + 8;
	if (size > LARGE)
		return -E2BIG;
	memset(spec, 0, sizeof(*spec));
	spec->length = sectors;
	spec->next = (sizeof(*spec) + length + 8) & ~7UL;
	strncpy(spec->target_type, type, sizeof(spec->target_type) - 1);
	memcpy(spec + 1, params, length + 1);
	return call(name, DM_TABLE_LOAD, 0, size < SMALL ? SMALL : size, 1);
}

int dmctl_clear(const char *name)
{
	return call(name, DM_TABLE_CLEAR, 0, SMALL, 0);
}

int dmctl_suspend(const char *name)
{
	return call(name, DM_DEV_SUSPEND,
		    DM_SUSPEND_FLAG | DM_SKIP_LOCKFS_FLAG, SMALL, 0);
}

int dmctl_suspend_noflush(const char *name)
{
	return call(name, DM_DEV_SUSPEND, DM_SUSPEND_FLAG |
		    DM_SKIP_LOCKFS_FLAG | DM_NOFLUSH_FLAG, SMALL, 0);
}

int dmctl_resume(const char *name)
{
	return call(name, DM_DEV_SUSPEND, 0, SMALL, 0);
}

bool dmctl_is_suspended(const char *name)
{
	return !call(name, DM_DEV_STATUS, 0, SMALL, 0) &&
	       dm.head.flags & DM_SUSPEND_FLAG;
}

static void copy_text(char *to, size_t size, const char *from)
{
	size_t n = strnlen(from, size - 1);

	memcpy(to, from, n);
	to[n] = '\0';
}

int dmctl_message(const char *name, const char *text, char *answer, size_t size)
{
	struct dm_target_msg *msg = (void *)(dm.bytes + sizeof(dm.head));
	size_t length = strlen(text);
	size_t total = sizeof(dm.head) + sizeof(*msg) + length + 1;
	int r;

	if (total > LARGE)
		return -E2BIG;
	if (answer)
		*answer = '\0';
	msg->sector = 0;
	memcpy(msg->message, text, length + 1);
	r = call(name, DM_TARGET_MSG, 0, total < SMALL ? SMALL : total, 0);
	if (!r && answer && dm.head.flags & DM_DATA_OUT_FLAG)
		copy_text(answer, size, dm.bytes + dm.head.data_start);
	return r;
}

static int status(const char *name, uint32_t flag, char *line, size_t size)
{
	struct dm_target_spec *spec;
	int r = call(name, DM_TABLE_STATUS, DM_NOFLUSH_FLAG | flag, SMALL, 0);

	*line = '\0';
	if (r)
		return r;
	spec = (void *)(dm.bytes + dm.head.data_start);
	if (dm.head.target_count)
		copy_text(line, size, (char *)(spec + 1));
	return 0;
}

int dmctl_status(const char *name, char *line, size_t size)
{
	return status(name, 0, line, size);
}

int dmctl_table(const char *name, char *line, size_t size)
{
	return status(name, DM_STATUS_TABLE_FLAG, line, size);
}

int dmctl_make(const char *name, uint64_t sectors, const char *type,
	       const char *params)
{
	int r = dmctl_create(name);

	if (r)
		return r;
	r = dmctl_load(name, sectors, type, params);
	if (!r)
		r = dmctl_resume(name);
	if (r)
		dmctl_remove(name);
	return r;
}

int dmctl_swap(const char *name, uint64_t sectors, const char *type,
	       const char *params)
{
	int r = dmctl_load(name, sectors, type, params);

	if (!r)
		r = dmctl_suspend_noflush(name);
	return r ? r : dmctl_resume(name);
}
