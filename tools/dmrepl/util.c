// SPDX-License-Identifier: GPL-2.0-only
/* Words, numbers and errors. */

#define _GNU_SOURCE
#include <ctype.h>
#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "util.h"

#define LETTERS	"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"

bool dry_run;

static volatile sig_atomic_t got_signal;

void free_text(void *text)
{
	free(*(char **)text);
}

void *must_alloc(size_t size)
{
	void *got = calloc(1, size);

	if (!got) {
		fputs("dmrepl: no memory\n", stderr);
		abort();
	}
	return got;
}

char *must_copy(const char *text)
{
	return text ? must_print("%s", text) : NULL;
}

static char *must_vprint(const char *fmt, va_list args)
{
	char *text;

	if (vasprintf(&text, fmt, args) < 0) {
		fputs("dmrepl: no memory\n", stderr);
		abort();
	}
	return text;
}

char *must_print(const char *fmt, ...)
{
	va_list args;
	char *text;

	va_start(args, fmt);
	text = must_vprint(fmt, args);
	va_end(args);
	return text;
}

void words_add(struct words *words, const char *fmt, ...)
{
	va_list args;

	words->word = reallocarray(words->word, words->count + 2, sizeof(char *));
	if (!words->word) {
		fputs("dmrepl: no memory\n", stderr);
		abort();
	}
	va_start(args, fmt);
	words->word[words->count++] = must_vprint(fmt, args);
	va_end(args);
	words->word[words->count] = NULL;
}

void words_free(struct words *words)
{
	unsigned int i;

	for (i = 0; i < words->count; i++)
		free(words->word[i]);
	free(words->word);
	memset(words, 0, sizeof(*words));
}

void words_show(FILE *to, const struct words *words)
{
	static const char plain[] = LETTERS "0123456789_@%+=:,./-";
	const char *word, *at;
	unsigned int i;

	for (i = 0; i < words->count; i++) {
		word = words->word[i];
		if (i)
			putc(' ', to);
		if (*word && strspn(word, plain) == strlen(word)) {
			fputs(word, to);
			continue;
		}
		putc('\'', to);
		for (at = word; *at; at++) {
			if (*at == '\'')
				fputs("'\\''", to);
			else
				putc(*at, to);
		}
		putc('\'', to);
	}
	putc('\n', to);
}

static void say(const char *before, const char *fmt, va_list args)
{
	char *text = must_vprint(fmt, args);

	fprintf(stderr, "dmrepl: %s%s\n", before, text);
	free(text);
}

int fail(enum exit_code code, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	say("", fmt, args);
	va_end(args);
	return code;
}

void warn(const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	say("warning: ", fmt, args);
	va_end(args);
}

void note(const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	say("", fmt, args);
	va_end(args);
}

bool number_of(const char *text, uint64_t max, uint64_t *number)
{
	char *end;

	if (!isdigit((unsigned char)*text))
		return false;
	errno = 0;
	*number = strtoull(text, &end, 10);
	return !errno && !*end && *number <= max;
}

/* A size as LVM takes it: a number and s, b, k, m, g, t or p; m without one. */
bool sectors_of(const char *text, uint64_t *sectors)
{
	static const char units[] = "kmgtp";
	uint64_t number;
	const char *unit;
	char *end;

	if (!isdigit((unsigned char)*text))
		return false;
	errno = 0;
	number = strtoull(text, &end, 10);
	if (errno || (*end && end[1]))
		return false;
	if (tolower((unsigned char)*end) == 's') {
		*sectors = number;
		return number > 0;
	}
	if (tolower((unsigned char)*end) == 'b') {
		*sectors = number / SECTOR;
		return number > 0 && number % SECTOR == 0;
	}
	unit = *end ? strchr(units, tolower((unsigned char)*end)) : units + 1;
	if (!unit || !*unit || !number)
		return false;
	*sectors = number << (1 + 10 * (unit - units));
	return *sectors >> (1 + 10 * (unit - units)) == number;
}

/* A time: a number and ms, s, m, h or d; seconds without one. */
bool ms_of(const char *text, uint64_t *ms)
{
	static const struct {
		const char *unit;
		uint64_t ms;
	} units[] = {
		{ "", 1000 }, { "ms", 1 }, { "s", 1000 }, { "m", 60000 },
		{ "min", 60000 }, { "h", 3600000 }, { "d", 86400000 },
	};
	uint64_t number;
	unsigned int i;
	char *end;

	if (!isdigit((unsigned char)*text))
		return false;
	errno = 0;
	number = strtoull(text, &end, 10);
	if (errno || number > 1000000000)
		return false;
	for (i = 0; i < COUNT(units); i++) {
		if (!strcmp(end, units[i].unit)) {
			*ms = number * units[i].ms;
			return true;
		}
	}
	return false;
}

void show_size(char *text, size_t len, uint64_t bytes)
{
	static const char * const units[] = { "KiB", "MiB", "GiB", "TiB", "PiB" };
	unsigned int unit = 0;
	double value = bytes / 1024.0;

	if (!bytes) {
		snprintf(text, len, "0");
		return;
	}
	while (value >= 1024 && unit + 1 < COUNT(units)) {
		value /= 1024;
		unit++;
	}
	snprintf(text, len, value < 10 && unit ? "%.1f %s" : "%.0f %s", value, units[unit]);
	if (bytes < 1024)
		snprintf(text, len, "%u B", (unsigned int)bytes);
}

void show_time(char *text, size_t len, uint64_t seconds)
{
	uint64_t s = seconds % 60, m = seconds / 60 % 60, h = seconds / 3600 % 24;

	if (seconds < 120)
		snprintf(text, len, "%u s", (unsigned int)seconds);
	else if (seconds < 86400)
		snprintf(text, len, "%02u:%02u:%02u", (unsigned int)h, (unsigned int)m,
			 (unsigned int)s);
	else
		snprintf(text, len, "%llu d %02u:%02u", (unsigned long long)seconds / 86400,
			 (unsigned int)h, (unsigned int)m);
}

/*
 * What is wrong with a pair's name, or NULL. It becomes the name of devices, of
 * files and of volumes, so it has what all of them allow; the endings are those
 * of the pair's other devices.
 */
const char *bad_name(const char *name)
{
	static const char * const endings[] = { "-origin", "-active", "-hidden" };
	static const char plain[] = LETTERS "0123456789+_.-";
	size_t len = strlen(name), end;
	unsigned int i;

	if (!len || len > 64)
		return "must have 1 to 64 characters";
	if (!isalnum((unsigned char)name[0]))
		return "must begin with a letter or a digit";
	if (strspn(name, plain) != len)
		return "may have letters, digits and + _ . - only";
	if (!strcmp(name, "control"))
		return "is device mapper's own";
	for (i = 0; i < COUNT(endings); i++) {
		end = strlen(endings[i]);
		if (len >= end && !strcmp(name + len - end, endings[i]))
			return "must not end in -origin, -active or -hidden";
	}
	return NULL;
}

uint64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000ULL + ts.tv_nsec / 1000000;
}

static void on_signal(int sig)
{
	got_signal = sig;
}

bool interrupted(void)
{
	return got_signal != 0;
}

/* From now on a signal is noticed at the next step, which then undoes them all. */
void catch_signals(void)
{
	struct sigaction action = { .sa_handler = on_signal };

	sigaction(SIGINT, &action, NULL);
	sigaction(SIGTERM, &action, NULL);
	sigaction(SIGHUP, &action, NULL);
	sigaction(SIGQUIT, &action, NULL);
}
