// SPDX-License-Identifier: GPL-2.0-only
/* Device mapper: one function, one request. */

#define _GNU_SOURCE
#include <errno.h>
#include <libdevmapper.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>

#include "dm.h"

/* Every caller says what failed in its own words. */
static void quiet(int level, const char *file, int line, int number, const char *fmt, ...)
{
	(void)level, (void)file, (void)line, (void)number, (void)fmt;
}

void dm_begin(void)
{
	dm_log_with_errno_init(quiet);
}

static struct dm_task *task_for(int type, const char *name)
{
	struct dm_task *task = dm_task_create(type);

	if (task && name && !dm_task_set_name(task, name)) {
		dm_task_destroy(task);
		return NULL;
	}
	return task;
}

static int run(struct dm_task *task)
{
	int err;

	if (dm_task_run(task))
		return 0;
	err = dm_task_get_errno(task);
	return err ? -err : -EIO;
}

/* Runs a request that udev answers, and waits for the answer: then /dev is as it will be. */
static int run_with_udev(struct dm_task *task, uint16_t flags)
{
	uint32_t cookie = 0;
	int err;

	if (!dm_task_set_cookie(task, &cookie, flags))
		return -EIO;
	err = run(task);
	dm_udev_wait(cookie);
	return err;
}

static uint16_t udev_flags(enum dm_sight sight)
{
	switch (sight) {
	case SIGHT_NONE:
		return DM_UDEV_DISABLE_SUBSYSTEM_RULES_FLAG | DM_UDEV_DISABLE_DISK_RULES_FLAG |
		       DM_UDEV_DISABLE_OTHER_RULES_FLAG;
	case SIGHT_LOW:
		return DM_UDEV_LOW_PRIORITY_FLAG;
	default:
		return 0;
	}
}

static void print_line(const struct dm_new *new)
{
	struct words words = {};

	words_add(&words, "dmsetup");
	words_add(&words, "create");
	words_add(&words, "%s", new->name);
	if (new->uuid) {
		words_add(&words, "--uuid");
		words_add(&words, "%s", new->uuid);
	}
	words_add(&words, "--table");
	words_add(&words, "0 %llu %s %s", (unsigned long long)new->sectors, new->target,
		  new->params);
	words_show(stdout, &words);
	words_free(&words);
}

int dm_make(const struct dm_new *new)
{
	struct dm_task *task;
	int err = -ENOMEM;

	if (dry_run) {
		print_line(new);
		return 0;
	}
	task = task_for(DM_DEVICE_CREATE, new->name);
	if (!task)
		return err;
	if ((!new->uuid || dm_task_set_uuid(task, new->uuid)) &&
	    dm_task_add_target(task, 0, new->sectors, new->target, new->params))
		err = run_with_udev(task, udev_flags(new->sight));
	dm_task_destroy(task);
	return err;
}

int dm_gone(const char *name)
{
	struct dm_task *task;
	int err;

	if (dry_run) {
		printf("dmsetup remove --retry %s\n", name);
		return 0;
	}
	task = task_for(DM_DEVICE_REMOVE, name);
	if (!task)
		return -ENOMEM;
	dm_task_retry_remove(task);
	err = run_with_udev(task, 0);
	dm_task_destroy(task);
	return err;
}

int dm_tell(const char *name, const char *message, char **answer)
{
	const char *text;
	struct dm_task *task;
	int err = -ENOMEM;

	if (answer)
		*answer = NULL;
	if (dry_run) {
		printf("dmsetup message %s 0 %s\n", name, message);
		return 0;
	}
	task = task_for(DM_DEVICE_TARGET_MSG, name);
	if (!task)
		return err;
	if (dm_task_set_sector(task, 0) && dm_task_set_message(task, message))
		err = run(task);
	text = err || !answer ? NULL : dm_task_get_message_response(task);
	if (text)
		*answer = must_copy(text);
	dm_task_destroy(task);
	return err;
}

static int line_of(struct dm_task *task, struct dm_line *line)
{
	char *target = NULL, *params = NULL;
	uint64_t start, sectors = 0;
	struct dm_info info;
	void *next;

	if (!dm_task_get_info(task, &info))
		return -EIO;
	if (!info.exists)
		return -ENXIO;
	next = dm_get_next_target(task, NULL, &start, &sectors, &target, &params);
	if (next || !target)
		return -ENODATA;
	line->name = must_copy(dm_task_get_name(task));
	line->uuid = must_copy(dm_task_get_uuid(task));
	line->target = must_copy(target);
	line->params = must_copy(params ? params : "");
	line->sectors = sectors;
	line->major = info.major;
	line->minor = info.minor;
	line->event = info.event_nr;
	line->open = info.open_count;
	line->suspended = info.suspended;
	return 0;
}

static int ask(int type, const char *name, struct dm_line *line)
{
	struct dm_task *task = task_for(type, name);
	int err;

	memset(line, 0, sizeof(*line));
	if (!task)
		return -ENOMEM;
	dm_task_no_flush(task);
	err = run(task);
	if (!err)
		err = line_of(task, line);
	dm_task_destroy(task);
	return err;
}

int dm_table(const char *name, struct dm_line *line)
{
	return ask(DM_DEVICE_TABLE, name, line);
}

int dm_status(const char *name, struct dm_line *line)
{
	return ask(DM_DEVICE_STATUS, name, line);
}

void dm_line_free(struct dm_line *line)
{
	free(line->name);
	free(line->uuid);
	free(line->target);
	free(line->params);
	memset(line, 0, sizeof(*line));
}

bool dm_exists(const char *name)
{
	struct dm_line line;
	int err = dm_status(name, &line);

	dm_line_free(&line);
	return err != -ENXIO;
}

int dm_names(struct words *names)
{
	struct dm_task *task = task_for(DM_DEVICE_LIST, NULL);
	struct dm_names *entry;
	int err;

	if (!task)
		return -ENOMEM;
	err = run(task);
	entry = err ? NULL : dm_task_get_names(task);
	while (entry && entry->dev) {
		words_add(names, "%s", entry->name);
		if (!entry->next)
			break;
		entry = (struct dm_names *)((char *)entry + entry->next);
	}
	dm_task_destroy(task);
	return err;
}

static void on_alarm(int sig)
{
	(void)sig;
}

/* The alarm comes again and again, so that one before the wait is not missed. */
static void set_alarm(uint64_t ms)
{
	struct sigaction action = { .sa_handler = on_alarm };
	struct itimerval timer = {
		.it_value = { ms / 1000, ms % 1000 * 1000 },
		.it_interval = { 0, ms ? 100000 : 0 },
	};

	sigaction(SIGALRM, &action, NULL);
	setitimer(ITIMER_REAL, &timer, NULL);
}

int dm_event(const char *name, uint32_t event, uint64_t ms)
{
	struct dm_task *task = task_for(DM_DEVICE_WAITEVENT, name);
	int err = -ENOMEM;

	if (!task)
		return err;
	if (dm_task_set_event_nr(task, event)) {
		/* A signal just before the wait is noticed by and by. */
		set_alarm(ms ? ms : 10000);
		err = interrupted() ? -EINTR : run(task);
		set_alarm(0);
	}
	dm_task_destroy(task);
	return err == -EINTR && !interrupted() ? -ETIMEDOUT : err;
}
