// SPDX-License-Identifier: GPL-2.0-only
/* Messages to a view, and its status line. */

#include <errno.h>
#include <inttypes.h>
#include <libdevmapper.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "verify.h"

/* libdevmapper keeps one control descriptor without locking */
static pthread_mutex_t dm_lock = PTHREAD_MUTEX_INITIALIZER;

static void quiet(int level, const char *file, int line, int dm_errno,
		  const char *fmt, ...)
{
	(void)level, (void)file, (void)line, (void)dm_errno, (void)fmt;
}

void dm_setup(void)
{
	dm_log_with_errno_init(quiet);
}

/* Runs @type on @name; the answer of a status is copied into @out. */
static int dm_run(int type, const char *name, const char *text, char *out, size_t len)
{
	struct dm_task *dmt;
	uint64_t start, length;
	char *target = NULL, *params = NULL;
	int err = -ENOMEM;

	pthread_mutex_lock(&dm_lock);
	dmt = dm_task_create(type);
	if (!dmt)
		goto out;
	if (!dm_task_set_name(dmt, name))
		goto out_destroy;
	if (text && (!dm_task_set_sector(dmt, 0) || !dm_task_set_message(dmt, text)))
		goto out_destroy;
	err = 0;
	if (!dm_task_run(dmt)) {
		err = -dm_task_get_errno(dmt);
		if (!err)
			err = -EIO;
		goto out_destroy;
	}
	if (out) {
		dm_get_next_target(dmt, NULL, &start, &length, &target, &params);
		snprintf(out, len, "%s %s", target ? target : "none",
			 params ? params : "");
	}
out_destroy:
	dm_task_destroy(dmt);
out:
	pthread_mutex_unlock(&dm_lock);
	return err;
}

int dm_message(const char *name, const char *text)
{
	return dm_run(DM_DEVICE_TARGET_MSG, name, text, NULL, 0);
}

void must_message(const char *name, const char *text)
{
	int err = dm_message(name, text);

	if (err)
		finding("message '%s' to %s was refused: %s", text, name, strerror(-err));
}

int dm_pair_status(const char *name, struct pair_status *st)
{
	char line[1024];
	int err = dm_run(DM_DEVICE_STATUS, name, NULL, line, sizeof(line));
	int n;

	if (err)
		return err;
	memset(st, 0, sizeof(*st));
	n = sscanf(line, "replication secondary %23s %95s %" SCNu64 " %*s %" SCNu64
		   " %" SCNu64 " %" SCNu64 " %*s %" SCNu64 "/%" SCNu64 " %" SCNu64
		   " %" SCNu64 " %" SCNu64, st->stage, st->error, &st->epoch,
		   &st->active, &st->saved, &st->held, &st->pause_last,
		   &st->pause_longest, &st->captures, &st->spills, &st->errors);
	return n == 11 ? 0 : -EPROTO;
}

/* /dev/mapper/NAME is the device NAME; other paths need --view-name */
const char *dm_name_of(const char *path)
{
	static const char dir[] = "/dev/mapper/";

	if (strncmp(path, dir, sizeof(dir) - 1))
		die("%s is no /dev/mapper path: give its name with --view-name", path);
	return path + sizeof(dir) - 1;
}

bool pair_is_running(const char *name)
{
	struct pair_status st;
	int err = dm_pair_status(name, &st);

	if (err)
		die("%s: %s", name, err == -EPROTO ?
		    "is not a view of dm-replication" : strerror(-err));
	if (!strcmp(st.stage, "running"))
		return true;
	if (strcmp(st.stage, "none") && strcmp(st.stage, "stopped"))
		die("%s is in stage %s; it must be none, stopped or running", name,
		    st.stage);
	return false;
}

void pair_begin(const char *name, const char *text)
{
	int err = dm_message(name, text);

	if (err)
		die("%s: '%s' was refused: %s", name, text, strerror(-err));
}
