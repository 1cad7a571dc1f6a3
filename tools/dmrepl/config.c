// SPDX-License-Identifier: GPL-2.0-only
/* Configuration files. The parser is libinih, which mkfs.xfs uses, too. */

#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ini.h>
#include <libgen.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "config.h"

const struct key keys[KEYS] = {
	[KEY_ACTIVE] = { "active", "DEVICE", DEVICE, OF_VIEW | MUST,
		"the device that takes what the view writes" },
	[KEY_HIDDEN] = { "hidden", "DEVICE", DEVICE, OF_VIEW | MUST,
		"the device that takes old data of the replica" },
	[KEY_SECONDARY] = { "secondary", "DEVICE", DEVICE, OF_VIEW | MUST,
		"the replica" },
	[KEY_METADATA] = { "metadata", "DEVICE", DEVICE, OF_VIEW | OF_PRIMARY | OF_TABLE,
		"the device that makes the overlay outlive a crash" },
	[KEY_REPLICA] = { "replica", "DEVICE", DEVICE, OF_PRIMARY | MUST,
		"of a primary: where its writes are forwarded" },
	[KEY_LOCAL] = { "local", "DEVICE", DEVICE, OF_PRIMARY | OF_TABLE,
		"of a primary: its own disk" },
	[KEY_GROUP] = { "group", "NAME", WORD, OF_VIEW | OF_TABLE,
		"pairs of one group make their transitions together" },
	[KEY_HOLD_MIB] = { "hold_mib", "N", NUMBER, OF_VIEW | OF_TABLE,
		"MiB of captures held in memory" },
	[KEY_ON_CAPTURE_ERROR] = { "on_capture_error", "fail|drop_view", WORD,
		OF_VIEW | OF_TABLE, "what happens if old data cannot be saved" },
	[KEY_CHECKPOINT_TIMEOUT_MS] = { "checkpoint_timeout_ms", "N", NUMBER,
		OF_VIEW | OF_TABLE, "a drain that lasts longer is given up" },
	[KEY_COMMIT_RATE_MIB] = { "commit_rate_mib", "N", NUMBER, OF_VIEW | OF_TABLE,
		"MiB/s copied by a failover, 0: no limit" },
	[KEY_RESYNC_RATE_MIB] = { "resync_rate_mib", "N", NUMBER, OF_PRIMARY | OF_TABLE,
		"MiB/s copied by a resync, 0: no limit" },
	[KEY_REPLICA_TIMEOUT_MS] = { "replica_timeout_ms", "N", NUMBER,
		OF_PRIMARY | OF_TABLE, "a replica that is silent so long is broken, 0: never" },
	[KEY_AUTOSTART] = { "autostart", NULL, SWITCH, OF_VIEW | OF_PRIMARY | OF_TABLE,
		"start when the devices come up" },
	[KEY_DISCARD_PASSDOWN] = { "discard_passdown", NULL, SWITCH, OF_VIEW | OF_TABLE,
		"give the space of thin volumes back after each checkpoint" },
	[KEY_GUARDED] = { "guarded", NULL, SWITCH, OF_VIEW | OF_TABLE,
		"come up with the guard on" },
	[KEY_IN_SYNC] = { "in_sync", NULL, SWITCH, OF_PRIMARY | OF_TABLE,
		"of a primary: local and replica are equal now" },
	[KEY_VOLUMES] = { "volumes", "VG", WORD, OF_VIEW,
		"the volume group in which create made volumes" },
};

void pair_free(struct pair *pair)
{
	unsigned int i;

	free(pair->name);
	for (i = 0; i < KEYS; i++)
		free(pair->value[i]);
	memset(pair, 0, sizeof(*pair));
}

static const char *switch_set(struct pair *pair, enum key_id key, const char *value)
{
	static const char * const on[] = { "on", "yes", "true", "1" };
	static const char * const off[] = { "off", "no", "false", "0" };
	unsigned int i;

	for (i = 0; i < COUNT(on); i++) {
		if (!strcasecmp(value, on[i])) {
			pair->value[key] = must_copy("on");
			return NULL;
		}
		if (!strcasecmp(value, off[i]))
			return NULL;
	}
	return "must be on or off";
}

/* A table line is parted by blanks and has no way to quote them. */
static bool goes_into_table(const char *value)
{
	for (; *value; value++) {
		if (*value <= ' ' || *value == '\\' || *value == 0x7f)
			return false;
	}
	return true;
}

const char *pair_set(struct pair *pair, enum key_id key, const char *value)
{
	uint64_t number;

	if (pair->value[key])
		return "is given twice";
	if (keys[key].kind == SWITCH)
		return switch_set(pair, key, value);
	if (!*value || !goes_into_table(value))
		return "must not be empty or have blanks, backslashes or control characters";
	if (keys[key].kind == DEVICE && value[0] != '/')
		return "must be a path that begins with /";
	if (keys[key].kind == NUMBER && !number_of(value, UINT32_MAX, &number))
		return "must be a number";
	if (key == KEY_ON_CAPTURE_ERROR && strcmp(value, "fail") && strcmp(value, "drop_view"))
		return "must be fail or drop_view";
	if (key == KEY_GROUP && strlen(value) > 64)
		return "must have 1 to 64 characters";
	if (key == KEY_VOLUMES && bad_name(value))
		return "is no name of a volume group";
	pair->value[key] = must_copy(value);
	return NULL;
}

char *pair_wrong(const struct pair *pair)
{
	unsigned int mode = is_primary(pair) ? OF_PRIMARY : OF_VIEW, i, j;

	for (i = 0; i < KEYS; i++) {
		if (pair->value[i] && !(keys[i].mode & mode))
			return must_print("%s is not for a %s", keys[i].name,
					  is_primary(pair) ? "primary" : "view");
		if (!pair->value[i] && (keys[i].mode & MUST) && (keys[i].mode & mode))
			return must_print("%s is missing", keys[i].name);
		for (j = 0; j < i; j++) {
			if (keys[i].kind == DEVICE && keys[j].kind == DEVICE &&
			    pair->value[i] && pair->value[j] &&
			    !strcmp(pair->value[i], pair->value[j]))
				return must_print("%s and %s are the same device", keys[j].name,
						  keys[i].name);
		}
	}
	return NULL;
}

char *config_path(const char *name)
{
	return must_print(CONFIG_DIR "/%s.conf", name);
}

bool config_exists(const char *name)
{
	char *path AUTOFREE = config_path(name);

	return !access(path, F_OK);
}

/* --- reading -------------------------------------------------------------- */

struct reading {
	FILE *file;
	take_fn *take;
	void *to;
	unsigned int line;
	const char *wrong;
	char *key;
};

/* libinih splits a line that is too long for it; we refuse it. */
static char *next_line(char *text, int room, void *stream)
{
	struct reading *reading = stream;

	if (reading->wrong || !fgets(text, room, reading->file))
		return NULL;
	reading->line++;
	if (!strchr(text, '\n') && !feof(reading->file)) {
		reading->wrong = "the line is too long";
		return NULL;
	}
	return text;
}

static int take_key(void *to, const char *section, const char *key, const char *value)
{
	struct reading *reading = to;

	if (reading->wrong)
		return 0;
	reading->wrong = reading->take(reading->to, section, key, value);
	if (reading->wrong)
		reading->key = must_copy(key);
	return !reading->wrong;
}

int read_keys(const char *path, take_fn *take, void *to)
{
	struct reading reading = { .take = take, .to = to };
	int line;

	reading.file = fopen(path, "re");
	if (!reading.file)
		return fail(EXIT_FAILED, "%s cannot be read: %s", path, strerror(errno));
	line = ini_parse_stream(next_line, &reading, take_key, &reading);
	fclose(reading.file);
	if (reading.wrong)
		fail(EXIT_USAGE, "%s:%u: %s%s%s", path, reading.line,
		     reading.key ? reading.key : "", reading.key ? " " : "", reading.wrong);
	else if (line)
		fail(EXIT_USAGE, "%s:%d: neither a [section] nor key = value", path, line);
	free(reading.key);
	return reading.wrong || line ? EXIT_USAGE : EXIT_DONE;
}

static const char *take_pair_key(void *to, const char *section, const char *key,
				 const char *value)
{
	unsigned int i;

	if (strcmp(section, "pair"))
		return "must stand in section [pair]";
	for (i = 0; i < KEYS; i++) {
		if (!strcmp(keys[i].name, key))
			return pair_set(to, i, value);
	}
	return "is not known";
}

int config_read(const char *name, struct pair *pair)
{
	char *path AUTOFREE = config_path(name), *wrong AUTOFREE = NULL;
	int code;

	memset(pair, 0, sizeof(*pair));
	if (bad_name(name))
		return fail(EXIT_USAGE, "%s: a pair's name %s", name, bad_name(name));
	if (!config_exists(name))
		return fail(EXIT_NO_PAIR, "%s: there is no %s; dmrepl create makes a pair", name,
			    path);
	code = read_keys(path, take_pair_key, pair);
	if (!code) {
		pair->name = must_copy(name);
		wrong = pair_wrong(pair);
	}
	if (wrong)
		code = fail(EXIT_USAGE, "%s: %s", path, wrong);
	if (code)
		pair_free(pair);
	return code;
}

/* --- writing -------------------------------------------------------------- */

int sync_folder(const char *path)
{
	char *copy AUTOFREE = must_copy(path);
	int fd = open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC), err = 0;

	if (fd < 0)
		return -errno;
	if (fsync(fd))
		err = -errno;
	close(fd);
	return err;
}

/* Another file for each writer: the last rename wins, whoever else is at it. */
static int write_whole(char *temporary, const char *text)
{
	size_t len = strlen(text);
	int fd, err = 0;

	fd = mkostemp(temporary, O_CLOEXEC);
	if (fd < 0)
		return -errno;
	errno = ENOSPC;
	if (write(fd, text, len) != (ssize_t)len || fchmod(fd, 0644) || fsync(fd))
		err = -errno;
	close(fd);
	return err;
}

int write_durably(const char *path, const char *text)
{
	char *copy AUTOFREE = must_copy(path);
	const char *folder = dirname(copy), *base = strrchr(path, '/');
	/* No name of a pair begins with a dot. */
	char *temporary AUTOFREE = must_print("%s/.%s.XXXXXX", folder, base ? base + 1 : path);
	int err;

	if (dry_run) {
		printf("# %s:\n", path);
		for (; *text; text += strcspn(text, "\n") + 1)
			printf("#   %.*s\n", (int)strcspn(text, "\n"), text);
		return EXIT_DONE;
	}
	err = write_whole(temporary, text);
	if (!err && rename(temporary, path))
		err = -errno;
	if (!err)
		err = sync_folder(path);
	if (err) {
		unlink(temporary);
		return fail(EXIT_FAILED, "%s cannot be written: %s", path, strerror(-err));
	}
	return EXIT_DONE;
}

int write_kept(const char *path, const char *text)
{
	char *folder AUTOFREE = must_copy(path);

	if (!dry_run)
		mkdir(dirname(folder), 0755);
	return write_durably(path, text);
}

int remove_durably(const char *path)
{
	int err;

	if (dry_run) {
		if (!access(path, F_OK))
			printf("rm %s\n", path);
		return EXIT_DONE;
	}
	err = unlink(path) ? -errno : sync_folder(path);
	if (err && err != -ENOENT)
		return fail(EXIT_FAILED, "%s cannot be removed: %s", path, strerror(-err));
	return EXIT_DONE;
}

int config_write(const struct pair *pair)
{
	char *path AUTOFREE = config_path(pair->name), *text AUTOFREE = NULL;
	unsigned int i;
	size_t len;
	FILE *to = open_memstream(&text, &len);

	if (!to)
		return fail(EXIT_FAILED, "no memory");
	fprintf(to, "# A pair of dm-replication, see dmrepl.conf(5).\n[pair]\n");
	for (i = 0; i < KEYS; i++) {
		if (pair->value[i])
			fprintf(to, "%s = %s\n", keys[i].name, pair->value[i]);
	}
	fclose(to);
	return write_kept(path, text);
}

int config_remove(const char *name)
{
	char *path AUTOFREE = config_path(name);

	return remove_durably(path);
}

static int by_name(const void *a, const void *b)
{
	return strcmp(*(char * const *)a, *(char * const *)b);
}

int config_names(struct words *names)
{
	DIR *folder = opendir(CONFIG_DIR);
	struct dirent *entry;
	size_t len;

	if (!folder)
		return errno == ENOENT ? EXIT_DONE :
		       fail(EXIT_FAILED, CONFIG_DIR " cannot be read: %s", strerror(errno));
	while ((entry = readdir(folder))) {
		len = strlen(entry->d_name);
		if (len > 5 && !strcmp(entry->d_name + len - 5, ".conf")) {
			entry->d_name[len - 5] = 0;
			words_add(names, "%s", entry->d_name);
		}
	}
	closedir(folder);
	if (names->count)
		qsort(names->word, names->count, sizeof(char *), by_name);
	return EXIT_DONE;
}
