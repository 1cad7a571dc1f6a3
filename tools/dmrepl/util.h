/* SPDX-License-Identifier: GPL-2.0-only */
/* Words, numbers and errors; knows nothing of device mapper. */
#ifndef DMREPL_UTIL_H
#define DMREPL_UTIL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/* What dmrepl ends with; dmrepl(8) has this list, too. */
enum exit_code {
	EXIT_DONE,		/* it is as was asked */
	EXIT_FAILED,		/* the kernel, LVM or a disk refused */
	EXIT_USAGE,		/* a wrong command line or configuration */
	EXIT_NO_PAIR,		/* there is no such pair, or it is not up */
	EXIT_STAGE,		/* not in this stage: the message says which one would do */
	EXIT_ASK,		/* data would be lost, or the view is mounted */
	EXIT_TIME,		/* it did not happen in time; nothing has changed */
	EXIT_LOCKED,		/* another dmrepl works on this pair */
	EXIT_HOOK,		/* a --before or --after program failed */
};

#define PRINTF(at)	__attribute__((format(printf, (at), (at) + 1)))
#define AUTOFREE	__attribute__((cleanup(free_text)))
#define COUNT(array)	(sizeof(array) / sizeof((array)[0]))
#define SECTOR		512ULL

extern bool dry_run;		/* print what would be done, do nothing */

/* A list of words that ends with a NULL, as execv() takes it. */
struct words {
	char **word;
	unsigned int count;
};

void free_text(void *text);
void *must_alloc(size_t size);
char *must_copy(const char *text);
char *must_print(const char *fmt, ...) PRINTF(1);
void words_add(struct words *words, const char *fmt, ...) PRINTF(2);
void words_free(struct words *words);
/* The words as a shell would take them back, for people to read and copy. */
void words_show(FILE *to, const struct words *words);

int fail(enum exit_code code, const char *fmt, ...) PRINTF(2);
void warn(const char *fmt, ...) PRINTF(1);
void note(const char *fmt, ...) PRINTF(1);

bool number_of(const char *text, uint64_t max, uint64_t *number);
bool sectors_of(const char *text, uint64_t *sectors);
bool ms_of(const char *text, uint64_t *ms);
void show_size(char *text, size_t len, uint64_t bytes);
void show_time(char *text, size_t len, uint64_t seconds);
const char *bad_name(const char *name);

uint64_t now_ms(void);
bool interrupted(void);
void catch_signals(void);

#endif
