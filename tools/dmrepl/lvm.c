// SPDX-License-Identifier: GPL-2.0-only
/* Volumes of lvm2, made and removed by its own programs. */

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "host.h"
#include "lvm.h"

static int change(const struct words *words, const char *what)
{
	int status;

	if (dry_run) {
		words_show(stdout, words);
		return EXIT_DONE;
	}
	status = run_program(words, 0);
	if (status < 0)
		return fail(EXIT_FAILED, "%s cannot be run: %s", words->word[0], strerror(errno));
	if (status == 127)
		return fail(EXIT_FAILED, "%s is not installed; install lvm2", words->word[0]);
	if (status)
		return fail(EXIT_FAILED, "%s: %s failed (status %d); see its words above", what,
			    words->word[0], status);
	return EXIT_DONE;
}

/* A report of LVM's without its headings, of one object or of what is selected. */
static int report(const char *program, const char *field, const char *of, const char *select,
		  char **answer)
{
	struct words words = {};
	int status;

	words_add(&words, "%s", program);
	words_add(&words, "--noheadings");
	words_add(&words, "--nosuffix");
	words_add(&words, "--units");
	words_add(&words, "s");
	words_add(&words, "-o");
	words_add(&words, "%s", field);
	if (select)
		words_add(&words, "-S");
	words_add(&words, "%s", select ? select : of);
	status = read_program(&words, answer);
	words_free(&words);
	return status;
}

uint64_t lvm_extent(const char *group)
{
	char *answer AUTOFREE = NULL;
	uint64_t sectors = 0;
	int status = report("vgs", "vg_extent_size", group, NULL, &answer);

	if (status == 127)
		fail(EXIT_FAILED, "vgs is not installed; install lvm2");
	else if (status || sscanf(answer, "%llu", (unsigned long long *)&sectors) != 1)
		fail(EXIT_FAILED, "%s: there is no such volume group; vgs lists them", group);
	return sectors;
}

/* Selected, not named: that there is none is an answer, too, and no failure. */
static int find(const char *group, const char *volume, const char *field, char **answer)
{
	char *select AUTOFREE = must_print("vg_name=\"%s\" && lv_name=\"%s\"", group, volume);
	int status = report("lvs", field, NULL, select, answer);

	if (status == 127)
		return fail(EXIT_FAILED, "lvs is not installed; install lvm2");
	if (status)
		return fail(EXIT_FAILED, "%s/%s: lvs cannot say whether it is there (status %d)",
			    group, volume, status);
	return EXIT_DONE;
}

int lvm_find(const char *group, const char *volume, bool *there)
{
	char *answer AUTOFREE = NULL;
	int code = find(group, volume, "lv_name", &answer);

	*there = !code && answer[strspn(answer, "\n ")];
	return code;
}

int lvm_make(const char *group, const char *volume, const char *pool, uint64_t sectors,
	     const char *pair)
{
	struct words words = {};
	int code;

	words_add(&words, "lvcreate");
	words_add(&words, "-qq");
	words_add(&words, "--yes");
	words_add(&words, "--wipesignatures");
	words_add(&words, "y");
	words_add(&words, "--addtag");
	words_add(&words, "dmrepl.%s", pair);
	words_add(&words, "--name");
	words_add(&words, "%s", volume);
	if (pool) {
		words_add(&words, "--virtualsize");
		words_add(&words, "%llus", (unsigned long long)sectors);
		words_add(&words, "--thinpool");
		words_add(&words, "%s", pool);
	} else {
		words_add(&words, "--size");
		words_add(&words, "%llus", (unsigned long long)sectors);
	}
	words_add(&words, "%s", group);
	code = change(&words, volume);
	words_free(&words);
	return code;
}

/* LVM parts tags by commas. */
static bool has_tag(char *tags, const char *tag)
{
	char *at, *rest = NULL;

	for (at = strtok_r(tags, "\n ,", &rest); at; at = strtok_r(NULL, "\n ,", &rest)) {
		if (!strcmp(at, tag))
			return true;
	}
	return false;
}

int lvm_remove(const char *group, const char *volume, const char *pair)
{
	char *tag AUTOFREE = must_print("dmrepl.%s", pair);
	char *path AUTOFREE = must_print("%s/%s", group, volume);
	char *answer AUTOFREE = NULL;
	struct words words = {};
	bool there;
	int code = lvm_find(group, volume, &there);

	if (!code && there)
		code = find(group, volume, "lv_tags", &answer);
	if (code || !there)
		return code;
	if (!has_tag(answer, tag)) {
		warn("%s is kept: it has no tag %s, so create has not made it", path, tag);
		return EXIT_DONE;
	}
	words_add(&words, "lvremove");
	words_add(&words, "-qq");
	words_add(&words, "--yes");
	words_add(&words, "%s", path);
	code = change(&words, path);
	words_free(&words);
	return code;
}
