// SPDX-License-Identifier: GPL-2.0-only
/* udev: what a block device is to a pair, for the udev rules. */

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>

#include "command.h"
#include "host.h"

static const char *variable(const char *name)
{
	const char *value = getenv(name);

	return value ? value : "";
}

static void answer(const char *pair, const char *role, const char *stage)
{
	printf("DMREPL_PAIR=%s\nDMREPL_ROLE=%s\nDMREPL_STAGE=%s\n", pair, role, stage);
}

/* A device of our own says by its uuid what it is. */
static bool answer_own(void)
{
	const char *uuid = variable("DM_UUID");
	struct live live;
	int err;

	if (!strncmp(uuid, UUID_VIEW, strlen(UUID_VIEW))) {
		err = live_read_view(variable("DM_NAME"), &live);
		if (err) {
			answer(uuid + strlen(UUID_VIEW), "view",
			       err == -EPROTO ? "unknown" : "");
			return true;
		}
		/* A primary can be read in every stage if it has a disk of its own. */
		answer(uuid + strlen(UUID_VIEW), "view",
		       live.kind == LIVE_PRIMARY ? "running" : live.stage);
		live_free(&live);
		return true;
	}
	if (!strncmp(uuid, UUID_ORIGIN, strlen(UUID_ORIGIN))) {
		answer(uuid + strlen(UUID_ORIGIN), "origin", "");
		return true;
	}
	if (!strncmp(uuid, UUID_PART, strlen(UUID_PART))) {
		answer(uuid + strlen(UUID_PART), "part", "");
		return true;
	}
	return false;
}

/* At the first event of a device its links are not there yet: its names tell, too. */
static bool is_device(const char *path)
{
	char *mapped AUTOFREE = must_print("/dev/mapper/%s", variable("DM_NAME"));
	char *volume AUTOFREE = must_print("/dev/%s/%s", variable("DM_VG_NAME"),
					   variable("DM_LV_NAME"));
	dev_t dev = device_number(path);

	if (!strcmp(path, mapped) || !strcmp(path, volume) || !strcmp(path, variable("DEVNAME")))
		return true;
	return dev && dev == makedev(atoi(variable("MAJOR")), atoi(variable("MINOR")));
}

/* What is on a disk of ours is seen on its partitions, too. */
static bool is_whole_of_this(const char *path)
{
	char *number AUTOFREE = must_print("/sys/dev/block/%s:%s/../dev", variable("MAJOR"),
					   variable("MINOR"));
	unsigned int its_major, its_minor;
	bool is = false;
	FILE *file;

	if (strcmp(variable("DEVTYPE"), "partition"))
		return false;
	file = fopen(number, "re");
	if (file && fscanf(file, "%u:%u", &its_major, &its_minor) == 2)
		is = device_number(path) == makedev(its_major, its_minor);
	if (file)
		fclose(file);
	return is;
}

static bool is_this(const char *path)
{
	return is_device(path) || is_whole_of_this(path);
}

/* Of a file with an error in it what can be read: its disks are a pair's all the same. */
static bool answer_unreadable(const char *name)
{
	char *path AUTOFREE = config_path(name), *line = NULL;
	char key[32], value[4096];
	FILE *file = fopen(path, "re");
	bool found = false;
	size_t room = 0;
	unsigned int i;

	while (file && !found && getline(&line, &room, file) >= 0) {
		if (sscanf(line, " %31[a-z_] = %4095s", key, value) != 2)
			continue;
		for (i = 0; i < KEYS && !found; i++) {
			found = keys[i].kind == DEVICE && !strcmp(keys[i].name, key) &&
				is_this(value);
			if (found)
				answer(name, keys[i].name, "");
		}
	}
	free(line);
	if (file)
		fclose(file);
	return found;
}

static bool answer_disk(const char *name)
{
	struct pair pair;
	bool found = false;
	unsigned int i;

	if (config_read(name, &pair))
		return answer_unreadable(name);
	for (i = 0; i < KEYS && !found; i++) {
		if (keys[i].kind != DEVICE || !pair.value[i] || !is_this(pair.value[i]))
			continue;
		answer(name, keys[i].name, "");
		found = true;
	}
	pair_free(&pair);
	return found;
}

static int udev(unsigned int count, const char **words)
{
	struct words names = {};
	unsigned int i;

	(void)count;
	(void)words;
	if (answer_own() || config_names(&names))
		return EXIT_DONE;
	for (i = 0; i < names.count && !answer_disk(names.word[i]); i++)
		;
	words_free(&names);
	return EXIT_DONE;
}

static const struct poptOption udev_options[] = { END };

const struct command udev_commands[] = {
	{ "udev", "", "Say what a block device is to a pair; for udev's rules.",
	  udev_options, 0, 0, udev },
	{}
};
