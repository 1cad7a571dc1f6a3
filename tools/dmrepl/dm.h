/* SPDX-License-Identifier: GPL-2.0-only */
/* Device mapper: one function, one request. With dry_run set those that change
 * something print the dmsetup line instead. All return 0 or a negative errno.
 */
#ifndef DMREPL_DM_H
#define DMREPL_DM_H

#include "util.h"

/* Who may look at a new device: udev rules read this of the request. */
enum dm_sight {
	SIGHT_ALL,		/* like any disk */
	SIGHT_LOW,		/* like any disk, but others of the same name come first */
	SIGHT_NONE,		/* nobody scans it */
};

struct dm_new {
	const char *name, *uuid, *target, *params;
	uint64_t sectors;
	enum dm_sight sight;
};

/* One device with one target. */
struct dm_line {
	char *name, *uuid, *target, *params;
	uint64_t sectors;
	uint32_t major, minor, event;
	int open;
	bool suspended;
};

void dm_begin(void);
int dm_make(const struct dm_new *new);
int dm_gone(const char *name);
int dm_tell(const char *name, const char *message, char **answer);

/* The live table or the status of a device that has one target; else -ENODATA. */
int dm_table(const char *name, struct dm_line *line);
int dm_status(const char *name, struct dm_line *line);
void dm_line_free(struct dm_line *line);
bool dm_exists(const char *name);
/* Names of all devices. */
int dm_names(struct words *names);
/* Until the device has an event after number @event, @ms have passed, or a signal. */
int dm_event(const char *name, uint32_t event, uint64_t ms);

#endif
