// SPDX-License-Identifier: GPL-2.0-only
/*
 * Tables and messages from a grammar, from mutations of it and from raw bytes,
 * by the system calls themselves. What each must give is foretold by a second
 * reading of the documented grammar and stage tables, written for this test; a
 * refused one must change neither status nor table; and every so often the
 * model of dmrepl-verify writes, reads and compares.
 *
 * It expects the disks z-a, z-h, z-s (for the pair z-view, z-origin, made here),
 * z-l, z-r (for the primary z-prim), z-x, z-y, z-w (free, of the same length),
 * z-short, z-ro and z-big (blocks of 4096), all in /dev/mapper.
 */
#define _GNU_SOURCE
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "../../tools/verify-model.h"
#include "dmctl.h"

#define VIEW	"z-view"
#define ORIGIN	"z-origin"
#define PRIMARY	"z-prim"
#define LOADED	"z-load"
#define MAX_WORDS 32768

/* ---- what is expected ---- */

enum stage { NONE, RUNNING, FAILING, FAILED, DONE, STOPPED, INVALID, STAGES };

static const char *const stage_words[STAGES] = {
	"none", "running", "failover", "failover_failed", "done", "stopped", "invalid",
};

enum act { A_START, A_CHECKPOINT, A_STOP, A_FAILOVER, A_PROMOTE, ACTS };

static const char *const act_words[ACTS] = {
	"start", "checkpoint", "stop", "failover", "promote",
};

/* The table of messages of the documentation; 100: ignored. */
#define IGNORED 100
static const int acts[ACTS][STAGES] = {
	[A_START] = { RUNNING, -EBUSY, IGNORED, -EINVAL, IGNORED, RUNNING, RUNNING },
	[A_CHECKPOINT] = { -EINVAL, RUNNING, IGNORED, -EINVAL, IGNORED, IGNORED, -EINVAL },
	[A_STOP] = { -EINVAL, STOPPED, IGNORED, -EINVAL, IGNORED, IGNORED, STOPPED },
	[A_FAILOVER] = { -EINVAL, FAILING, IGNORED, FAILING, IGNORED, -EINVAL, -EINVAL },
	[A_PROMOTE] = { -EINVAL, DONE, -EBUSY, -EINVAL, IGNORED, DONE, DONE },
};

/* Those of a primary; what is 0 here cannot be. */
static const int primary_acts[ACTS][STAGES] = {
	[A_START] = { [NONE] = RUNNING, [RUNNING] = -EBUSY, [STOPPED] = RUNNING },
	[A_CHECKPOINT] = { [NONE] = IGNORED, [RUNNING] = IGNORED, [STOPPED] = IGNORED },
	[A_STOP] = { [NONE] = -EINVAL, [RUNNING] = STOPPED, [STOPPED] = IGNORED },
	[A_FAILOVER] = { [NONE] = -EINVAL, [RUNNING] = STOPPED, [STOPPED] = IGNORED },
	[A_PROMOTE] = { [NONE] = -EINVAL, [RUNNING] = -EINVAL, [STOPPED] = -EINVAL },
};

enum mode { M_VIEW, M_ORIGIN, M_PRIMARY };

static const char *const mode_words[] = { "secondary", "origin", "primary" };

static const struct {
	const char *name;
	enum mode mode;
	unsigned int max;
} numbers[] = {
	{ "hold_mib", M_VIEW, 1048576 }, { "checkpoint_timeout_ms", M_VIEW, 86400000 },
	{ "commit_rate_mib", M_VIEW, 1048576 }, { "resync_rate_mib", M_PRIMARY, 1048576 },
	{ "replica_timeout_ms", M_PRIMARY, 86400000 },
};

#define COUNT(a)	(sizeof(a) / sizeof((a)[0]))

static struct model model;
static struct worker worker;
static struct opts opts;

/* What is known of the pair. */
static struct {
	enum stage stage;
	bool guarded, fenced;
} pair;

static enum stage primary_stage;

/* What a message must give; act >= 0: and what it then does. */
struct foretold {
	int r;
	bool changes;				/* stage, guard, fence or a tunable */
	int next;				/* the stage afterwards */
	int act;
	int or;					/* as well: it depends on the moment */
};

static char *words[MAX_WORDS];
static unsigned int nr_words;
static char split_buf[DMCTL_TEXT + 1];

/* The kernel's: a byte of Latin-1 that is no space to anybody else is one. */
static bool is_space(unsigned char c)
{
	return (c >= 9 && c <= 13) || c == 32 || c == 160;
}

/* A backslash takes the next byte as it is. */
static void split(const char *text)
{
	char *out = split_buf;

	nr_words = 0;
	for (;;) {
		while (is_space((unsigned char)*text))
			text++;
		if (!*text || nr_words == MAX_WORDS)
			return;
		words[nr_words++] = out;
		while (*text && !is_space((unsigned char)*text)) {
			if (*text == '\\' && text[1])
				text++;
			*out++ = *text++;
		}
		*out++ = '\0';
	}
}

/* As kstrtouint() reads: a plus, digits, a newline. */
static bool reads_as_number(const char *text, unsigned int max)
{
	unsigned long long n = 0;

	if (*text == '+')
		text++;
	if (!isdigit((unsigned char)*text))
		return false;
	for (; isdigit((unsigned char)*text); text++) {
		n = n * 10 + (unsigned int)(*text - '0');
		if (n > max)
			return false;
	}
	return !*text || !strcmp(text, "\n");
}

/* 0: there is no such name; 1: well; -1: the value is wrong */
static int reads_as_tunable(enum mode mode, const char *name, const char *value)
{
	unsigned int i;

	for (i = 0; i < COUNT(numbers); i++)
		if (mode == numbers[i].mode && !strcasecmp(name, numbers[i].name))
			return value && reads_as_number(value, numbers[i].max) ? 1 : -1;
	if (mode != M_VIEW || strcasecmp(name, "on_capture_error"))
		return 0;
	return value && (!strcasecmp(value, "fail") || !strcasecmp(value, "drop_view")) ?
	       1 : -1;
}

static bool is_flag(enum mode mode, const char *name)
{
	return !strcasecmp(name, "autostart") ||
	       (mode == M_VIEW && !strcasecmp(name, "discard_passdown"));
}

static bool is_on_off(const char *text)
{
	return !strcasecmp(text, "on") || !strcasecmp(text, "off");
}

static struct foretold refuse(int r)
{
	return (struct foretold){ .r = r, .or = r, .next = pair.stage, .act = -1 };
}

static struct foretold foretell_act(enum act act, enum mode mode)
{
	int next = mode == M_VIEW ? acts[act][pair.stage] :
				    primary_acts[act][primary_stage];

	if (next < 0)
		return refuse(next);
	if (next == IGNORED)
		return refuse(0);
	if (mode == M_VIEW && pair.guarded && act != A_FAILOVER)
		return refuse(-EBUSY);
	if (mode == M_VIEW && act == A_START && pair.fenced)
		return refuse(-EBUSY);
	return (struct foretold){ .changes = true, .next = next, .act = act };
}

static struct foretold foretell_start(unsigned int n, enum mode mode)
{
	bool ignored = mode == M_VIEW && (pair.stage == FAILING || pair.stage == DONE);
	const char *other = mode_words[M_VIEW + M_PRIMARY - mode];

	if (n > 3)
		return refuse(-EINVAL);
	if (n > 1 && !strcasecmp(words[n - 1], "all"))
		n--;
	if (n == 2 && !strcasecmp(words[1], other))
		return refuse(ignored ? 0 : -EINVAL);
	if (n > 2 || (n == 2 && strcasecmp(words[1], mode_words[mode])))
		return refuse(-EINVAL);
	return foretell_act(A_START, mode);
}

static struct foretold foretell_set(enum mode mode)
{
	bool good = nr_words == 3 && (is_flag(mode, words[1]) ? is_on_off(words[2]) :
				      reads_as_tunable(mode, words[1], words[2]) > 0);
	struct foretold f = refuse(good ? 0 : -EINVAL);

	f.changes = good;
	return f;
}

static bool is_disk(void)
{
	return pair.stage == FAILING || pair.stage == FAILED || pair.stage == DONE;
}

static bool is_alone_or_with(const char *word)
{
	return nr_words == 1 || (nr_words == 2 && !strcasecmp(words[1], word));
}

/* What view and primary have in common. */
static struct foretold foretell_both(enum mode mode)
{
	enum stage stage = mode == M_VIEW ? pair.stage : primary_stage;
	const char *name = words[0];
	unsigned int i;

	if (!strcasecmp(name, "start"))
		return foretell_start(nr_words, mode);
	for (i = A_CHECKPOINT; i < ACTS; i++)
		if (!strcasecmp(name, act_words[i]))
			return is_alone_or_with("all") ?
			       foretell_act((enum act)i, mode) : refuse(-EINVAL);
	if (!strcasecmp(name, "get_error") && is_alone_or_with("all"))
		return refuse(stage == NONE ? -ENXIO : 0);
	if ((!strcasecmp(name, "get_errors") || !strcasecmp(name, "clear_error")) &&
	    nr_words == 1)
		return refuse(0);
	if (!strcasecmp(name, "set"))
		return foretell_set(mode);
	return refuse(-EINVAL);
}

static struct foretold foretell_guard(void)
{
	struct foretold f = refuse(-EINVAL);

	if (nr_words == 2 && is_on_off(words[1]) && !is_disk()) {
		f.r = 0;
		f.changes = true;
	}
	return f;
}

/* A resync may be under way or not. */
static struct foretold foretell_resync(void)
{
	bool start = !strcasecmp(words[0], "start_resync");
	struct foretold f = refuse(-EINVAL);

	if (primary_stage != RUNNING || !(start ? is_alone_or_with("full") : nr_words == 1))
		return f;
	f.r = 0;
	f.or = start ? -EBUSY : -EINVAL;
	return f;
}

static struct foretold foretell_message(const char *text, enum mode mode)
{
	struct foretold f = refuse(-EINVAL);

	split(text);
	if (!nr_words || *words[0] == '@')
		return f;
	if (mode == M_VIEW && !strcasecmp(words[0], "guard"))
		return foretell_guard();
	if (mode == M_PRIMARY && (!strcasecmp(words[0], "start_resync") ||
				  !strcasecmp(words[0], "pause_resync")))
		return foretell_resync();
	if (mode != M_ORIGIN)
		return foretell_both(mode);
	if (strcasecmp(words[0], "rejoin") || nr_words != 1)
		return f;
	f.r = is_disk() ? -EBUSY : 0;
	f.changes = !f.r;
	return f;
}

/* ---- table lines ---- */

enum disk_state { FREE, TAKEN, WRONG_LENGTH, READ_ONLY, UNKNOWN };

static const struct {
	const char *path;
	enum disk_state state;
} disks[] = {
	{ "/dev/mapper/z-a", TAKEN }, { "/dev/mapper/z-h", TAKEN },
	{ "/dev/mapper/z-s", TAKEN }, { "/dev/mapper/z-l", TAKEN },
	{ "/dev/mapper/z-r", TAKEN }, { "/dev/mapper/z-x", FREE },
	{ "/dev/mapper/z-y", FREE }, { "/dev/mapper/z-w", FREE },
	{ "/dev/mapper/z-big", FREE }, { "/dev/mapper/z-short", WRONG_LENGTH },
	{ "/dev/mapper/z-ro", READ_ONLY },
	{ "/dev/mapper/z-view", FREE },		/* pairs may be stacked */
};

static bool x_is_gone;

static enum disk_state state_of(const char *path)
{
	unsigned int i;

	for (i = 0; i < COUNT(disks); i++)
		if (!strcmp(path, disks[i].path))
			return x_is_gone && strstr(path, "z-x") ? UNKNOWN :
			       disks[i].state;
	return UNKNOWN;
}

#define ANY_ERROR	1			/* whose errno is the kernel's affair */

/* What opening these gives, in their order. */
static int foretell_open(char **paths, unsigned int n)
{
	unsigned int i;

	for (i = 0; i < n; i++)
		switch (state_of(paths[i])) {
		case UNKNOWN:
			return ANY_ERROR;
		case READ_ONLY:
			return -EROFS;
		default:
			break;
		}
	return 0;
}

static bool is_group_name(const char *name)
{
	const char *c;

	for (c = name; *c; c++)
		if (*c < 33 || *c > 126 || *c == '\\')
			return false;
	return c > name && c - name <= 64;
}

#define MAX_DEVICES 64

/* A table line that is being read. */
struct line {
	enum mode mode;
	char *devices[MAX_DEVICES];
	unsigned int nr_devices;
	char *metadata_path;			/* may have another length */
	bool metadata, local, needs_local, taken;
};

/* A feature that names a device. */
static int foretell_device(struct line *l, bool *once, char *path)
{
	if (*once || !path)
		return -EINVAL;
	*once = true;
	l->devices[l->nr_devices++] = path;
	return foretell_open(&path, 1);
}

/* Return: as foretell_table(), for one feature; *i is at its last word then. */
static int foretell_feature(struct line *l, char **at, unsigned int n, unsigned int *i)
{
	char *name = at[*i], *value = *i + 1 < n ? at[*i + 1] : NULL;

	if (l->mode == M_ORIGIN)
		return strcasecmp(name, "fenced") ? -EINVAL : 0;
	if (is_flag(l->mode, name) ||
	    (l->mode == M_VIEW && !strcasecmp(name, "guarded")))
		return 0;
	if (l->mode == M_PRIMARY && !strcasecmp(name, "in_sync")) {
		l->needs_local = true;
		return 0;
	}
	++*i;
	if (!strcasecmp(name, "metadata")) {
		l->needs_local = true;
		l->metadata_path = value;
		return foretell_device(l, &l->metadata, value);
	}
	if (l->mode == M_PRIMARY && !strcasecmp(name, "local"))
		return foretell_device(l, &l->local, value);
	if (l->mode == M_VIEW && !strcasecmp(name, "group"))
		return value && is_group_name(value) ? 0 : -EINVAL;
	if (reads_as_tunable(l->mode, name, value) <= 0)
		return -EINVAL;
	if (l->mode == M_PRIMARY && strtoull(value, NULL, 10))
		l->needs_local = true;
	return 0;
}

static int foretell_features(struct line *l, char **at, unsigned int n)
{
	unsigned int i;
	int r;

	for (i = 0; i < n; i++) {
		r = foretell_feature(l, at, n, &i);
		if (r)
			return r;
	}
	return l->mode == M_PRIMARY && l->needs_local && !l->local ? -EINVAL : 0;
}

/* The count as device-mapper's own sscanf() reads it: modulo 2^32, no sign. */
static bool reads_as_count(const char *text, unsigned int *n)
{
	unsigned long long v = 0;
	const char *c;

	while (is_space((unsigned char)*text))
		text++;
	for (c = text; isdigit((unsigned char)*c); c++)
		v = v * 10 + (unsigned int)(*c - '0');
	*n = (unsigned int)v;
	return c > text && !*c;
}

static int foretell_geometry(struct line *l)
{
	unsigned int i, j;

	for (i = 0; i < l->nr_devices; i++) {
		if (state_of(l->devices[i]) == WRONG_LENGTH &&
		    l->devices[i] != l->metadata_path)
			return -EINVAL;
		for (j = 0; j < i; j++)
			if (!strcmp(l->devices[i], l->devices[j]))
				return -EINVAL;
		l->taken |= state_of(l->devices[i]) == TAKEN;
	}
	return 0;
}

static int read_mode(struct line *l)
{
	unsigned int i;

	for (i = 0; nr_words && i < COUNT(mode_words); i++)
		if (!strcasecmp(words[0], mode_words[i])) {
			l->mode = (enum mode)i;
			return 0;
		}
	return -EINVAL;
}

/*
 * Return: 0, an errno, or ANY_ERROR. That no other pair has the devices is not
 * looked at, but said in *l.
 */
static int foretell_table(const char *text, u64 sectors, struct line *l)
{
	unsigned int devices, n, count;
	char **rest;
	int r;

	memset(l, 0, sizeof(*l));
	if (sectors != model.sectors)	/* none of the disks is that long */
		return ANY_ERROR;
	split(text);
	r = read_mode(l);
	if (r)
		return r;
	devices = l->mode == M_VIEW ? 3 : 1;
	r = foretell_open(words + 1, nr_words - 1 < devices ? nr_words - 1 : devices);
	if (r)
		return r;
	if (nr_words < devices + 1)
		return -EINVAL;
	memcpy(l->devices, words + 1, devices * sizeof(words[0]));
	l->nr_devices = devices;
	rest = words + 1 + devices;
	n = nr_words - 1 - devices;
	if (n && (!reads_as_count(rest[0], &count) || count > 32 || count != n - 1))
		return -EINVAL;
	r = n ? foretell_features(l, rest + 1, n - 1) : 0;
	return r ? r : foretell_geometry(l);
}

/* ---- what is sent ---- */

static struct rng rng;
static char text[DMCTL_TEXT];

static const char *const message_words[] = {
	"start", "checkpoint", "stop", "failover", "promote", "get_error", "get_errors",
	"clear_error", "guard", "set", "rejoin", "all", "primary", "secondary", "on", "off", "hold_mib",
	"checkpoint_timeout_ms", "commit_rate_mib", "on_capture_error", "fail",
	"drop_view", "autostart", "discard_passdown", "resync_rate_mib",
	"replica_timeout_ms", "group", "metadata", "start_resync", "pause_resync", "full",
	"@cancel", "top-id",
};

static const char *const table_words[] = {
	"secondary", "origin", "primary", "autostart", "group", "hold_mib",
	"on_capture_error", "fail", "drop_view", "checkpoint_timeout_ms",
	"commit_rate_mib", "discard_passdown", "guarded", "fenced", "in_sync",
	"replica_timeout_ms", "resync_rate_mib", "metadata", "local", "top-id",
};

static const char *const number_words[] = {
	"0", "1", "2", "3", "4", "32", "33", "64", "-1", "+1", "007", "0x10", "1e3", "1.5",
	"1048575", "1048576", "1048577", "86400000", "86400001", "2147483647",
	"2147483648", "4294967295", "4294967296", "4294967297", "18446744073709551615",
	"18446744073709551616", "99999999999999999999999999999999", "-0", "1\\\n", "\\ 1",
};

static const char *const device_words[] = {
	"/dev/null", "/dev/none", "/dev/mapper", ".", "0:0",
	"7:999999", "4294967295:4294967295", "PARTUUID=", "a1", "ffffffff",
};

static void append(const char *word)
{
	size_t n = strlen(text);

	snprintf(text + n, sizeof(text) - n, "%s%s", n ? " " : "", word);
}

/* A word of the list, now and then in another case. */
static void append_of(const char *const *list, size_t n)
{
	char word[64];
	char *c;

	snprintf(word, sizeof(word), "%s", list[rng_below(&rng, n)]);
	for (c = word; *c && rng_chance(&rng, 2); c++)
		*c = (char)toupper((unsigned char)*c);
	append(word);
}

static void append_number(void)
{
	char word[32];

	if (rng_chance(&rng, 40)) {
		append_of(number_words, COUNT(number_words));
		return;
	}
	snprintf(word, sizeof(word), "%llu", U(rng_next(&rng) >> rng_below(&rng, 64)));
	append(word);
}

/* What is seldom done changes the pair; most often it is not to be allowed. */
static void make_message(void)
{
	unsigned int n;

	if (rng_chance(&rng, 2)) {
		append_of(message_words + 27, 2);
	} else if (rng_chance(&rng, 8)) {
		append_of(message_words, 5);
		if (rng_chance(&rng, 20))
			append("all");
	} else if (rng_chance(&rng, 30)) {
		append("set");
		append_of(message_words + 15, 10);
		if (rng_chance(&rng, 60))
			append_number();
		else
			append_of(message_words, COUNT(message_words));
	} else if (rng_chance(&rng, 15)) {
		append("guard");
		append_of(message_words + 13, 2);
	} else {
		append_of(message_words, COUNT(message_words));
		for (n = (unsigned int)rng_below(&rng, 4); n; n--)
			append_of(message_words, COUNT(message_words));
	}
	/* that would give up every transition that finds something under way */
	if (strcasestr(text, "timeout_ms"))
		text[0] = '\0';
}

static void append_device(void)
{
	if (rng_chance(&rng, 90))
		append(disks[rng_below(&rng, COUNT(disks))].path);
	else
		append_of(device_words, COUNT(device_words));
}

static void make_features(unsigned int wrong)
{
	static char saved[DMCTL_TEXT];
	unsigned int n = (unsigned int)rng_below(&rng, 6), count;
	char number[32];

	strcpy(saved, text);
	text[0] = '\0';
	for (; n; n--) {
		append_of(table_words + 3, rng_chance(&rng, 80) ? 14 : 17);
		if (rng_chance(&rng, 15))
			append_device();
		else if (rng_chance(&rng, 70))
			append_number();
	}
	split(text);
	count = nr_words;
	if (rng_chance(&rng, wrong))
		count += (unsigned int)rng_below(&rng, 5);
	snprintf(number, sizeof(number), " %u ", count);
	if (rng_chance(&rng, 5))
		snprintf(number, sizeof(number), " %s ",
			 number_words[rng_below(&rng, COUNT(number_words))]);
	memmove(text + strlen(saved) + strlen(number), text, strlen(text) + 1);
	memcpy(text, saved, strlen(saved));
	memcpy(text + strlen(saved), number, strlen(number));
}

/* Lines that can be right, so that a good part of them is. */
static void make_good_table(void)
{
	static const char *const views[] = {
		"0", "1 autostart", "2 hold_mib 0", "3 guarded hold_mib 3",
		"2 group g", "4 on_capture_error drop_view commit_rate_mib 7",
		"1 discard_passdown", "2 checkpoint_timeout_ms 1", "2 group g\\ h",
		"2 metadata /dev/mapper/z-big", "4 hold_mib 1 metadata /dev/mapper/z-short",
	};
	static const char *const primaries[] = {
		"0", "1 autostart", "2 local /dev/mapper/z-y",
		"3 local /dev/mapper/z-y in_sync",
		"7 in_sync replica_timeout_ms 9 local /dev/mapper/z-w resync_rate_mib 1",
		"1 in_sync", "4 local /dev/mapper/z-y metadata /dev/mapper/z-w",
		"2 metadata /dev/mapper/z-w",
	};

	if (rng_chance(&rng, 60)) {
		append("secondary /dev/mapper/z-x /dev/mapper/z-y /dev/mapper/z-w");
		append_of(views, COUNT(views));
	} else {
		append("primary /dev/mapper/z-x");
		append_of(primaries, COUNT(primaries));
	}
}

static void make_table(void)
{
	unsigned int kind = (unsigned int)rng_below(&rng, 100), n;

	if (kind < 2) {
		make_good_table();
		return;
	}
	append_of(table_words, kind < 60 ? 1 : 3);
	n = !strcasecmp(text, "secondary") ? 3 : 1;
	if (rng_chance(&rng, 3))
		n = (unsigned int)rng_below(&rng, 5);
	for (; n; n--)
		append_device();
	if (rng_chance(&rng, 85))
		make_features(15);
}

/* A byte that is none of a text's end. */
static char any_byte(void)
{
	if (rng_chance(&rng, 30))
		return " \t\n\v\f\r\\\033\177\240\377"[rng_below(&rng, 11)];
	return (char)(1 + rng_below(&rng, 255));
}

static void mutate(void)
{
	size_t n = strlen(text), at;
	unsigned int times = 1 + (unsigned int)rng_below(&rng, 4);

	for (; times && n && n < sizeof(text) / 2; times--) {
		at = rng_below(&rng, n);
		switch (rng_below(&rng, 4)) {
		case 0:
			text[at] = any_byte();
			break;
		case 1:
			memmove(text + at + 1, text + at, n - at + 1);
			text[at] = any_byte();
			break;
		case 2:
			text[at] = '\0';
			break;
		default:	/* again, from here */
			memmove(text + n, text + at, n - at + 1);
			text[n + n - at] = '\0';
		}
		n = strlen(text);
	}
}

static void make_raw(void)
{
	static const unsigned int lengths[] = { 4, 16, 64, 300, 300, 4100, 66000 };
	size_t n = rng_below(&rng, lengths[rng_below(&rng, rng_chance(&rng, 97) ? 5 : 7)]);
	size_t i;

	for (i = 0; i < n; i++)
		text[i] = any_byte();
	text[n] = '\0';
}

/* Thousands of arguments. */
static void make_many(const char *const *list, size_t n)
{
	size_t i, count = 1000 + rng_below(&rng, 9000);
	size_t at = strlen(text);

	for (i = 0; i < count && at + 32 < sizeof(text); i++)
		at += (size_t)sprintf(text + at, " %s", list[rng_below(&rng, n)]);
}

static void make_text(bool table)
{
	text[0] = '\0';
	if (rng_chance(&rng, 15)) {
		make_raw();
		return;
	}
	if (table)
		make_table();
	else
		make_message();
	if (rng_chance(&rng, 1) && rng_chance(&rng, 20)) {
		if (table)
			make_many(table_words, COUNT(table_words));
		else
			make_many(message_words, COUNT(message_words));
	}
	if (rng_chance(&rng, 25))
		mutate();
}

/* ---- what has come of it ---- */

static struct {
	u64 inputs, messages, tables, accepted, refused, transitions, pairs, checks;
	u64 losses, longest;
} totals;

#define LAST 8
static char last[LAST][200];

/* As C writes it. */
static void quote(char *to, size_t size, const char *from)
{
	size_t n = 0;

	for (; *from && n + 8 < size; from++) {
		if (*from > 32 && *from < 127 && *from != '"' && *from != '\\')
			to[n++] = *from;
		else if (*from == ' ')
			to[n++] = ' ';
		else
			n += (size_t)sprintf(to + n, "\\%03o", (unsigned char)*from);
	}
	strcpy(to + n, *from ? "..." : "");
}

static void remember(const char *what)
{
	char *to = last[totals.inputs % LAST];
	int n = snprintf(to, sizeof(last[0]), "%s \"", what);

	quote(to + n, sizeof(last[0]) - (size_t)n - 1, text);
	strcat(to, "\"");
	totals.inputs++;
	if (strlen(text) > totals.longest)
		totals.longest = strlen(text);
}

static void show_last(void)
{
	u64 i = totals.inputs > LAST ? totals.inputs - LAST : 0;

	printf("MISMATCH   the last inputs, of %llu, seed %llu:\n", U(totals.inputs),
	       U(opts.seed));
	for (; i < totals.inputs; i++)
		printf("MISMATCH   %llu: %s\n", U(i + 1), last[i % LAST]);
}

static const char *errno_word(int r)
{
	return r < 0 ? strerrorname_np(-r) ?: "?" : r ? "an error" : "0";
}

static void judge(const char *what, int want, int or, int got)
{
	if (got == want || (want == ANY_ERROR ? got < 0 : got == or)) {
		if (got)
			totals.refused++;
		else
			totals.accepted++;
		return;
	}
	finding("%s gave %s, not %s", what, errno_word(got), errno_word(want));
}

/* ---- the pair ---- */

static void show_last(void);

static void make_pair(void)
{
	int r;

	if (failed()) {		/* what was before is still there */
		show_last();
		exit(EXIT_MISMATCH);
	}
	r = dmctl_make(ORIGIN, model.sectors, "replication",
		       "origin /dev/mapper/z-s");

	if (!r)
		r = dmctl_make(VIEW, model.sectors, "replication",
			       "secondary /dev/mapper/z-a /dev/mapper/z-h /dev/mapper/z-s");
	if (r)
		die("cannot make the pair: %s", strerror(-r));
	totals.pairs++;
	memset(&pair, 0, sizeof(pair));
}

static void make_primary(void)
{
	int r = dmctl_make(PRIMARY, model.sectors, "replication",
			   "primary /dev/mapper/z-r 2 local /dev/mapper/z-l");

	if (r)
		die("cannot make the primary: %s", strerror(-r));
	primary_stage = NONE;
}

static void remove_it(const char *name)
{
	u64 until = now_us() + 20000000;
	int r;

	while ((r = dmctl_remove(name)) == -EBUSY && now_us() < until)
		sleep_us(2000);
	if (r && r != -ENXIO)
		finding("cannot remove %s: %s", name, strerror(-r));
}

static void open_pair(void)
{
	dev_open(&model.view, "view", "/dev/mapper/" VIEW, true);
	dev_open(&model.origin, "origin", "/dev/mapper/" ORIGIN, true);
}

/* A new pair, running, all content known. */
static void fresh_pair(void)
{
	static bool first = true;

	if (first) {
		make_pair();
		model_init(&model, &opts, 1);
		model.zeroes = true;
		first = false;
	} else {
		close(model.view.fd);
		close(model.origin.fd);
		remove_it(VIEW);
		remove_it(ORIGIN);
		make_pair();
		open_pair();
	}
	atomic_store(&model.phase, PH_RUNNING);
	atomic_store(&model.fence_sent, false);
	atomic_store(&model.fence_back, false);
	begin_running(&worker);
	pair.stage = RUNNING;
}

/* Some requests, each compared; the model says so if anything was harmed. */
static void look_at_content(void)
{
	static const enum operation some[] = {
		OP_ORG_WRITE, OP_VIEW_READ, OP_VIEW_WRITE, OP_VIEW_READ, OP_ORG_WRITE,
		OP_VIEW_READ,
	};
	unsigned int i;

	if (pair.stage == NONE || pair.stage == INVALID || pair.fenced != is_disk())
		return;
	totals.checks++;
	for (i = 0; i < COUNT(some) && !failed(); i++)
		run_op(&worker, some[i]);
	if (rng_chance(&rng, 4))
		run_op(&worker, OP_COMPARE);
}

static void wait_for_commit(void)
{
	u64 until = now_us() + 30000000;
	struct pair_status st = { .stage = "" };

	while (now_us() < until && !failed()) {
		if (dm_pair_status(VIEW, &st))
			finding("no status while a failover is under way");
		if (!strcmp(st.stage, "done")) {
			atomic_store(&model.phase, PH_DONE);
			pair.stage = DONE;
			return;
		}
		sleep_us(1000);
	}
	finding("the failover does not end: stage %s, error %s", st.stage, st.error);
}

/* A message was accepted and has changed the stage: so does the model. */
static void follow(enum act act, enum stage next)
{
	totals.transitions++;
	pair.stage = next;
	switch (act) {
	case A_START:
	case A_CHECKPOINT:
		model_new_epoch(&model);
		atomic_store(&model.phase, PH_RUNNING);
		break;
	case A_STOP:
		atomic_store(&model.phase, PH_STOPPED);
		break;
	case A_FAILOVER:
	case A_PROMOTE:
		atomic_store(&model.fence_sent, true);
		atomic_store(&model.fence_back, true);
		pair.fenced = true;
		if (act == A_PROMOTE) {
			model_new_epoch(&model);
			atomic_store(&model.phase, PH_DONE);
		} else {
			atomic_store(&model.phase, PH_FAILOVER);
			wait_for_commit();
		}
		break;
	default:
		break;
	}
}

static void follow_small(void)
{
	if (!strcasecmp(words[0], "guard"))
		pair.guarded = !strcasecmp(words[1], "on");
	else if (!strcasecmp(words[0], "rejoin"))
		pair.fenced = false;
}

struct look {
	char status[1024], table[1024];
};

/* What changes by itself: the age, what workers free and spill. */
static bool is_fleeting(unsigned int word)
{
	return word == 4 || word == 7 || word == 11 || word == 13;
}

static void look_at(struct look *look)
{
	unsigned int word = 0;
	char *c;

	if (dmctl_status(VIEW, look->status, sizeof(look->status)) ||
	    dmctl_table(VIEW, look->table, sizeof(look->table)))
		finding("no status or table of the view");
	/* a number's length may change, too */
	for (c = look->status; *c; c++) {
		word += *c == ' ';
		while (is_fleeting(word) && isdigit((unsigned char)*c))
			memmove(c, c + 1, strlen(c));
	}
}

static void expect_stage(const struct look *look, enum stage stage)
{
	const char *at = strchr(look->status, ' ');
	const char *want = stage_words[stage];
	size_t n = strlen(want);

	if (!at || strncmp(at + 1, want, n) || at[1 + n] != ' ')
		finding("the status is '%s', the stage should be %s", look->status, want);
}

static void expect_unchanged(const struct look *before, const struct look *after)
{
	if (strcmp(before->table, after->table))
		finding("the table was '%s' and is '%s'", before->table, after->table);
	if (strcmp(before->status, after->status))
		finding("the status was '%s' and is '%s'", before->status, after->status);
}

static enum mode pick_mode(void)
{
	u64 n = rng_below(&rng, 100);

	return n < 65 ? M_VIEW : n < 75 ? M_ORIGIN : M_PRIMARY;
}

static void message_to_primary(const struct foretold *f)
{
	struct look after;
	char answer[256];
	int r = dmctl_message(PRIMARY, text, answer, sizeof(answer));

	judge("the message", f->r, f->or, r);
	if (!r && f->act >= 0) {
		totals.transitions++;
		primary_stage = (enum stage)f->next;
	}
	if (dmctl_status(PRIMARY, after.status, sizeof(after.status)))
		finding("no status of the primary");
	expect_stage(&after, primary_stage);
}

static void message_to_pair(enum mode mode, const struct foretold *f)
{
	static struct look before, after;
	char answer[256];
	int r;

	look_at(&before);
	r = dmctl_message(mode == M_VIEW ? VIEW : ORIGIN, text, answer, sizeof(answer));
	judge("the message", f->r, f->or, r);
	if (failed())
		return;
	if (!r && f->act >= 0)
		follow((enum act)f->act, (enum stage)f->next);
	else if (!r && f->changes)
		follow_small();
	look_at(&after);
	expect_stage(&after, pair.stage);
	if (!f->changes)
		expect_unchanged(&before, &after);
}

static void one_message(void)
{
	static const char *const what[] = {
		"message to the view", "message to the origin", "message to the primary",
	};
	enum mode mode = pick_mode();
	struct foretold f;

	make_text(false);
	f = foretell_message(text, mode);
	/* a pair's life is to be long enough for the other stages */
	if (mode == M_VIEW && f.act >= A_STOP && f.next != (int)pair.stage &&
	    !rng_chance(&rng, 12))
		return;
	remember(what[mode]);
	totals.messages++;
	if (mode == M_PRIMARY)
		message_to_primary(&f);
	else
		message_to_pair(mode, &f);
}

/* ---- tables ---- */

/* What a table prints is a table that prints the same. */
static void expect_fixed_point(void)
{
	static char first[1024], second[1024];
	int r;

	r = dmctl_resume(LOADED);
	if (!r)
		r = dmctl_table(LOADED, first, sizeof(first));
	if (!r)
		r = dmctl_load(LOADED, model.sectors, "replication", first);
	if (!r)
		r = dmctl_resume(LOADED);
	if (!r)
		r = dmctl_table(LOADED, second, sizeof(second));
	if (r)
		finding("'%s' loads, but is not loaded again: %s", first, strerror(-r));
	else if (strcmp(first, second))
		finding("'%s' loads, and prints '%s'", first, second);
	remove_it(LOADED);
	r = dmctl_create(LOADED);
	if (r)
		die("cannot create " LOADED ": %s", strerror(-r));
}

static u64 pick_length(void)
{
	static const u64 odd[] = { 0, 1, 7, 8, 1ull << 31, 1ull << 32, 1ull << 55,
				   ~0ull >> 9, ~0ull };

	if (!rng_chance(&rng, 4))
		return model.sectors;
	if (rng_chance(&rng, 50))
		return odd[rng_below(&rng, COUNT(odd))];
	return model.sectors + rng_below(&rng, 3) - 1;
}

/* What it does to its disks is another's affair: that it comes and goes well. */
static void try_loaded(void)
{
	dmctl_resume(LOADED);
	remove_it(LOADED);
	if (dmctl_create(LOADED))
		die("cannot create " LOADED);
}

static void one_table(void)
{
	u64 sectors = pick_length();
	struct line l;
	int want, r;

	make_text(true);
	remember("table");
	totals.tables++;
	want = foretell_table(text, sectors, &l);
	if (!want && l.taken)
		want = l.metadata ? ANY_ERROR : -EBUSY;
	r = dmctl_load(LOADED, sectors, "replication", text);
	/* a metadata device may have another pair's metadata by now */
	judge("the table", want, !want && l.metadata ? -EINVAL : want, r);
	if (!r && !failed() && l.metadata)
		try_loaded();
	else if (!r && !failed())
		expect_fixed_point();
}

static bool names_the_pair(const struct line *l)
{
	if (l->mode == M_VIEW)
		return !l->metadata && !strcmp(l->devices[0], disks[0].path) &&
		       !strcmp(l->devices[1], disks[1].path) &&
		       !strcmp(l->devices[2], disks[2].path);
	return l->mode == M_ORIGIN && !strcmp(l->devices[0], disks[2].path);
}

/* A table for a device that is live; it is not resumed. */
static void one_reload(void)
{
	enum mode mode = rng_chance(&rng, 60) ? M_VIEW : M_ORIGIN;
	const char *name = mode == M_VIEW ? VIEW : ORIGIN;
	static struct look before, after;
	struct line l;
	int want, r;

	make_text(true);
	if (rng_chance(&rng, 30))
		strcpy(text, mode == M_VIEW ?
		       "secondary /dev/mapper/z-a /dev/mapper/z-h /dev/mapper/z-s 2 hold_mib 5" :
		       "origin /dev/mapper/z-s");
	remember(mode == M_VIEW ? "table of the view" : "table of the origin");
	totals.tables++;
	want = foretell_table(text, model.sectors, &l);
	look_at(&before);
	r = dmctl_load(name, model.sectors, "replication", text);
	if (want)
		judge("the table", want, want, r);
	else if (l.mode == mode && names_the_pair(&l))
		judge("the same table again", 0, 0, r);
	else if (l.mode != mode || pair.stage == RUNNING)
		judge("another table", ANY_ERROR, ANY_ERROR, r);
	if (!r && dmctl_clear(name))
		finding("cannot clear the table");
	look_at(&after);
	expect_unchanged(&before, &after);
}

/* ---- devices that vanish ---- */

static void swap_disk(const char *name, const char *target)
{
	int r = dmctl_swap(name, model.sectors, target, "");

	if (r)
		die("cannot swap %s: %s", name, strerror(-r));
}

/* A free disk goes; lines that name it must be refused. */
static void lose_free_disk(void)
{
	unsigned int i;

	remove_it("z-x");
	x_is_gone = true;
	for (i = 0; i < 50 && !failed(); i++)
		one_table();
	if (dmctl_make("z-x", model.sectors, "linear", "/dev/mapper/raw-x 0"))
		die("cannot make z-x again");
	x_is_gone = false;
}

/* A view whose failover is under way, or has failed, is not to be removed. */
static void end_failover(void)
{
	u64 until = now_us() + 30000000;
	struct pair_status st;

	while (!dm_pair_status(VIEW, &st) && !strncmp(st.stage, "failover", 8)) {
		if (!strcmp(st.stage, "failover_failed"))
			dmctl_message(VIEW, "failover", NULL, 0);
		if (now_us() > until) {
			finding("the disk is well, and the failover does not end");
			return;
		}
		sleep_us(2000);
	}
}

/*
 * A disk of the pair turns into errors, and all messages come down on what is
 * left. Only that everything ends is asked; then the pair is made anew.
 */
static void lose_disk(void)
{
	static const char *const mine[] = { "z-a", "z-h", "z-s" };
	unsigned int which = (unsigned int)rng_below(&rng, 3), i;
	char params[64], answer[256];

	swap_disk(mine[which], "error");
	totals.losses++;
	for (i = 0; i < 60 && !failed(); i++) {
		make_text(false);
		remember("message, a disk is lost:");
		totals.messages++;
		dmctl_message(rng_chance(&rng, 85) ? VIEW : ORIGIN, text, answer,
			      sizeof(answer));
		dev_read(&model.view, worker.buf, rng_below(&rng, 400) * 8, 8);
		dev_write(&model.origin, worker.buf, rng_below(&rng, 400) * 8, 8, false);
		dev_write(&model.view, worker.buf, rng_below(&rng, 400) * 8, 8, false);
	}
	snprintf(params, sizeof(params), "/dev/mapper/raw-%c 0", mine[which][2]);
	if (dmctl_swap(mine[which], model.sectors, "linear", params))
		die("cannot mend %s", mine[which]);
	end_failover();
	fresh_pair();
}

/* ---- the primary ---- */

static struct dev primary_dev;

/* Whatever it was told: what it was given can be read. */
static void look_at_primary(void)
{
	u64 sector = rng_below(&rng, model.sectors / 8) * 8, id = totals.inputs + 1;
	struct stamp st;
	int r;

	stamp_write(worker.buf, sector, 8, id, BY_ORIGIN, 0, 0);
	r = dev_write(&primary_dev, worker.buf, sector, 8, false);
	memset(worker.buf, 0, 4096);
	if (!r)
		r = dev_read(&primary_dev, worker.buf, sector, 8);
	stamp_read(worker.buf, sector, &st);
	if (r)
		finding("the primary's disk fails: %s", strerror(-r));
	else if (st.content != IS_STAMP || st.seq != id)
		finding("the primary's sector %llu is not what was written", U(sector));
}

/* ---- the run ---- */

static u64 wanted_inputs = 100000, wanted_seconds;
static u64 began;

static void one_input(void)
{
	u64 kind = rng_below(&rng, 1000);

	if (kind < 700)
		one_message();
	else if (kind < 950)
		one_table();
	else
		one_reload();
}

static void run(void)
{
	u64 i, shown = now_us();

	for (i = 0; totals.inputs < wanted_inputs && !failed(); i++) {
		rng_seed(&rng, opts.seed, i);
		one_input();
		if (!failed() && rng_chance(&rng, 2)) {
			look_at_content();
			look_at_primary();
		}
		/* done is for ever, and so is an origin whose fence was lifted */
		if (!failed() && is_disk() && rng_chance(&rng, 3))
			fresh_pair();
		if (!failed() && i % 5000 == 4999)
			lose_disk();
		if (!failed() && i % 7000 == 6999)
			lose_free_disk();
		if (now_us() - shown > 10000000) {
			shown = now_us();
			printf("# %llu of %llu inputs, %llu pairs\n", U(totals.inputs),
			       U(wanted_inputs), U(totals.pairs));
			fflush(stdout);
		}
		if (wanted_seconds && now_us() - began > wanted_seconds * 1000000)
			break;
	}
}

static u64 done_so_far(void)
{
	return totals.inputs;
}

static void line(FILE *to)
{
	fprintf(to, "%llu inputs ", U(totals.inputs));
}

static void stalled(void)
{
	show_last();
}

static const struct progress_ops progress_ops = {
	.line = line, .done = done_so_far, .stalled = stalled,
};

static void prepare(u64 seed)
{
	struct dev raw = { 0 };

	dev_open(&raw, "secondary", "/dev/mapper/z-s", false);
	model.sectors = raw.sectors;
	close(raw.fd);
	opts = (struct opts){ .view = "/dev/mapper/" VIEW,
		.origin = "/dev/mapper/" ORIGIN, .secondary = "/dev/mapper/raw-s",
		.max_kib = 64, .seed = seed };
	worker = (struct worker){ .m = &model, .buf = io_buffer(1u << 20),
		.lo = xcalloc(2048, sizeof(*worker.lo)) };
	rng_seed(&worker.rng, seed, ~0ull);
	dm_setup();
	stamp_run(1);
	if (dmctl_create(LOADED))
		die("cannot create " LOADED);
	fresh_pair();
	make_primary();
	dev_open(&primary_dev, "primary", "/dev/mapper/" PRIMARY, true);
}

int main(int argc, char **argv)
{
	u64 seed = argc > 2 ? strtoull(argv[2], NULL, 10) : 1;

	if (argc > 1)
		wanted_inputs = strtoull(argv[1], NULL, 10);
	if (argc > 3)
		wanted_seconds = strtoull(argv[3], NULL, 10);
	if (argc < 2 || !wanted_inputs)
		die("usage: fuzz INPUTS [SEED [SECONDS]]");
	printf("# fuzz: %llu inputs, seed %llu\n", U(wanted_inputs), U(seed));
	prepare(seed);
	began = now_us();
	progress_start(false, &progress_ops);
	run();
	progress_stop();
	if (failed()) {
		show_last();
		printf("repeat: SEED=%llu make check-fuzz N=%llu\n", U(seed),
		       U(totals.inputs));
	} else {
		run_op(&worker, OP_VIEW_READ);
		close(model.view.fd);
		close(model.origin.fd);
		remove_it(VIEW);
		remove_it(ORIGIN);
		remove_it(LOADED);
		close(primary_dev.fd);
		remove_it(PRIMARY);
	}
	printf("%s fuzz inputs=%llu messages=%llu tables=%llu accepted=%llu refused=%llu ",
	       failed() ? "failed" : "ok", U(totals.inputs), U(totals.messages),
	       U(totals.tables), U(totals.accepted), U(totals.refused));
	printf("transitions=%llu pairs=%llu losses=%llu content_checks=%llu ",
	       U(totals.transitions), U(totals.pairs), U(totals.losses),
	       U(totals.checks));
	printf("compares=%llu longest=%llu seed=%llu s=%llu\n",
	       U(atomic_load(&model.compares)), U(totals.longest), U(seed),
	       U((now_us() - began) / 1000000));
	return failed() ? EXIT_MISMATCH : EXIT_OK;
}
