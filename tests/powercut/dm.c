// SPDX-License-Identifier: GPL-2.0-only
/* Device-mapper by ioctl: thousands of tables are loaded. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/dm-ioctl.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "powercut.h"

static int control = -1;

union call {
	struct dm_ioctl head;
	char bytes[4096];
};

void dm_open(void)
{
	control = open("/dev/mapper/control", O_RDWR);
	if (control < 0)
		die("/dev/mapper/control: %s", strerror(errno));
}

static void prepare(union call *c, const char *name)
{
	memset(c, 0, sizeof(*c));
	c->head.version[0] = 4;
	c->head.data_size = sizeof(*c);
	c->head.data_start = sizeof(c->head);
	snprintf(c->head.name, sizeof(c->head.name), "%s", name);
}

static int call(union call *c, const char *name, unsigned long request)
{
	prepare(c, name);
	return ioctl(control, request, c) ? -errno : 0;
}

int dm_remove(const char *name)
{
	union call c;

	return call(&c, name, DM_DEV_REMOVE);
}

/* A device of one target "replication", resumed. Return: 0 or an errno. */
int dm_create(const char *name, const char *params, char *path)
{
	struct dm_target_spec *spec;
	union call c;
	int r;

	r = call(&c, name, DM_DEV_CREATE);
	if (r)
		return r;
	sprintf(path, "/dev/dm-%u", (unsigned int)minor(c.head.dev));
	prepare(&c, name);
	c.head.target_count = 1;
	spec = (void *)(c.bytes + c.head.data_start);
	spec->length = opt.sectors;
	strcpy(spec->target_type, "replication");
	strcpy((char *)(spec + 1), params);
	r = ioctl(control, DM_TABLE_LOAD, &c) ? -errno : 0;
	if (!r)
		r = call(&c, name, DM_DEV_SUSPEND);
	if (r)
		dm_remove(name);
	return r;
}

int dm_message(const char *name, const char *text)
{
	struct dm_target_msg *msg;
	union call c;

	prepare(&c, name);
	msg = (void *)(c.bytes + c.head.data_start);
	strcpy(msg->message, text);
	return ioctl(control, DM_TARGET_MSG, &c) ? -errno : 0;
}

int dm_status(const char *name, char *text, size_t bytes)
{
	union call c;

	prepare(&c, name);
	c.head.flags = DM_NOFLUSH_FLAG;
	if (ioctl(control, DM_TABLE_STATUS, &c))
		return -errno;
	snprintf(text, bytes, "%s", c.bytes + c.head.data_start +
		 sizeof(struct dm_target_spec));
	return 0;
}
