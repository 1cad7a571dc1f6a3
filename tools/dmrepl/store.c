// SPDX-License-Identifier: GPL-2.0-only
/* What dmrepl remembers: locks, promotions, and what a create has made so far. */

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "config.h"
#include "store.h"

/* --- locks ---------------------------------------------------------------- */

static int *held;
static unsigned int held_count;

static void hold(int fd)
{
	held = reallocarray(held, held_count + 1, sizeof(*held));
	if (!held) {
		fputs("dmrepl: no memory\n", stderr);
		abort();
	}
	held[held_count++] = fd;
}

/* @ms: how long to wait for another dmrepl; 0: until it has ended. */
static int lock_within(const char *name, uint64_t ms)
{
	char *path AUTOFREE = must_print(RUN_DIR "/%s.lock", name);
	const struct timespec pause = { 0, 100000000 };
	uint64_t end = now_ms() + ms;
	int fd;

	if (dry_run)
		return EXIT_DONE;
	mkdir(RUN_DIR, 0755);
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (fd < 0)
		return fail(EXIT_FAILED, "%s cannot be opened: %s%s", path, strerror(errno),
			    errno == EACCES ? "; only root may do this" : "");
	while (flock(fd, LOCK_EX | LOCK_NB)) {
		if (errno != EWOULDBLOCK || (ms && now_ms() >= end) || interrupted()) {
			close(fd);
			return fail(EXIT_LOCKED,
				    "%s: another dmrepl works on it; try again when that has ended",
				    name);
		}
		nanosleep(&pause, NULL);
	}
	hold(fd);
	return EXIT_DONE;
}

int lock_pair(const char *name)
{
	return lock_within(name, 10000);
}

int lock_pair_in_time(const char *name)
{
	return lock_within(name, 0);
}

void unlock_pairs(void)
{
	while (held_count)
		close(held[--held_count]);
	free(held);
	held = NULL;
}

/* --- promotions ----------------------------------------------------------- */

static const char *take_promotion(void *to, const char *section, const char *key,
				  const char *value)
{
	struct promotion *promotion = to;

	if (strcmp(section, "promotion"))
		return "must stand in section [promotion]";
	if (!strcmp(key, "kind"))
		snprintf(promotion->kind, sizeof(promotion->kind), "%s", value);
	else if (!strcmp(key, "state"))
		snprintf(promotion->state, sizeof(promotion->state), "%s", value);
	else if (!strcmp(key, "time"))
		snprintf(promotion->time, sizeof(promotion->time), "%s", value);
	else if (!strcmp(key, "metadata"))
		promotion->metadata = !strcmp(value, "on");
	else if (!strcmp(key, "secondary") && !promotion->secondary)
		promotion->secondary = must_copy(value);
	else
		return "is not known";
	return NULL;
}

static char *promotion_path(const char *name)
{
	return must_print(STATE_DIR "/%s", name);
}

bool promotion_exists(const char *name)
{
	char *path AUTOFREE = promotion_path(name);

	return !access(path, F_OK);
}

int promotion_read(const char *name, struct promotion *promotion)
{
	char *path AUTOFREE = promotion_path(name);
	struct stat st;
	int code;

	memset(promotion, 0, sizeof(*promotion));
	if (stat(path, &st) && errno == ENOENT)
		return EXIT_DONE;
	code = read_keys(path, take_promotion, promotion);
	if (!code && strcmp(promotion->kind, "failover") && strcmp(promotion->kind, "promote"))
		code = fail(EXIT_FAILED, "%s does not say what was promoted", path);
	return code;
}

int promotion_write(const char *name, const struct promotion *promotion)
{
	char *path AUTOFREE = promotion_path(name);
	char *text AUTOFREE = must_print("# %s is promoted; dmrepl rejoin %s ends it.\n"
					 "[promotion]\nkind = %s\nstate = %s\ntime = %s\n"
					 "secondary = %s\nmetadata = %s\n", name, name,
					 promotion->kind, promotion->state, promotion->time,
					 promotion->secondary,
					 promotion->metadata ? "on" : "off");

	return write_kept(path, text);
}

int promotion_remove(const char *name)
{
	char *path AUTOFREE = promotion_path(name);

	return remove_durably(path);
}

void promotion_free(struct promotion *promotion)
{
	free(promotion->secondary);
	memset(promotion, 0, sizeof(*promotion));
}

void promotion_now(struct promotion *promotion, const char *kind)
{
	time_t now = time(NULL);
	struct tm tm;

	gmtime_r(&now, &tm);
	snprintf(promotion->kind, sizeof(promotion->kind), "%s", kind);
	snprintf(promotion->state, sizeof(promotion->state), "begun");
	strftime(promotion->time, sizeof(promotion->time), "%Y-%m-%dT%H:%M:%SZ", &tm);
}

/* --- the journal of create ------------------------------------------------ */

char *journal_path(const char *name)
{
	return must_print(STATE_DIR "/.creating/%s", name);
}

bool journal_exists(const char *name)
{
	char *path AUTOFREE = journal_path(name);

	return !access(path, F_OK);
}

int journal_add(const char *name, const char *kind, const char *what)
{
	char *path AUTOFREE = journal_path(name);
	bool new = access(path, F_OK);
	int fd;

	if (dry_run)
		return EXIT_DONE;
	mkdir(STATE_DIR, 0755);
	mkdir(STATE_DIR "/.creating", 0755);
	fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
	if (fd < 0)
		return fail(EXIT_FAILED, "%s cannot be opened: %s", path, strerror(errno));
	if (dprintf(fd, "%s %s\n", kind, what) < 0 || fsync(fd) ||
	    (new && (sync_folder(path) || sync_folder(STATE_DIR "/.creating")))) {
		close(fd);
		return fail(EXIT_FAILED, "%s cannot be written: %s", path, strerror(errno));
	}
	close(fd);
	return EXIT_DONE;
}

int journal_read(const char *name, struct words *lines)
{
	char *path AUTOFREE = journal_path(name), *line = NULL, *swap;
	FILE *file = fopen(path, "re");
	unsigned int i;
	size_t room = 0;
	ssize_t len;

	if (!file)
		return errno == ENOENT ? EXIT_DONE :
		       fail(EXIT_FAILED, "%s cannot be read: %s", path, strerror(errno));
	while ((len = getline(&line, &room, file)) > 0) {
		line[strcspn(line, "\n")] = 0;
		words_add(lines, "%s", line);
	}
	free(line);
	fclose(file);
	for (i = 0; i < lines->count / 2; i++) {
		swap = lines->word[i];
		lines->word[i] = lines->word[lines->count - 1 - i];
		lines->word[lines->count - 1 - i] = swap;
	}
	return EXIT_DONE;
}

int journal_remove(const char *name)
{
	char *path AUTOFREE = journal_path(name);

	return dry_run ? EXIT_DONE : remove_durably(path);
}
