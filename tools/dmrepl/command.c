// SPDX-License-Identifier: GPL-2.0-only
/* What commands share. */

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "command.h"
#include "host.h"
#include "pair.h"

struct options opts;
int dry_run_option;

int check_name(const char *name)
{
	const char *wrong = bad_name(name);

	return wrong ? fail(EXIT_USAGE, "%s: a pair's name %s", name, wrong) : EXIT_DONE;
}

bool on_terminal(void)
{
	return isatty(STDIN_FILENO) && isatty(STDERR_FILENO);
}

int confirm(const char *question)
{
	char answer[16];

	if (opts.yes || dry_run)
		return EXIT_DONE;
	if (!on_terminal())
		return fail(EXIT_ASK, "not done: give --yes to say that this is meant");
	fprintf(stderr, "%s [y/N] ", question);
	if (fgets(answer, sizeof(answer), stdin) && (answer[0] == 'y' || answer[0] == 'Y'))
		return EXIT_DONE;
	return fail(EXIT_ASK, "not done");
}

int members_of(const struct live *live, struct words *names)
{
	const char *group = opts.all ? live_arg(live, "group") : NULL;

	if (!group) {
		words_add(names, "%s", live->name);
		return EXIT_DONE;
	}
	if (live_group(group, names))
		return fail(EXIT_FAILED, "%s: the members of group %s cannot be read", live->name,
			    group);
	return EXIT_DONE;
}

int check_mounts(const struct words *names, const char *what)
{
	struct live live;
	unsigned int i;

	for (i = 0; i < names->count && !opts.force; i++) {
		char *place = NULL;

		if (live_read_view(names->word[i], &live))
			return fail(EXIT_FAILED, "%s: its status cannot be read",
				    names->word[i]);
		if (live.kind > LIVE_OTHER)
			place = mounted_at(live.dev);
		live_free(&live);
		if (place) {
			fail(EXIT_ASK, "%s is mounted (%s): %s would change the disk under it; umount it, or give --force",
			     names->word[i], place, what);
			free(place);
			return EXIT_ASK;
		}
	}
	return EXIT_DONE;
}

int tell_view(const char *name, const char *message)
{
	char *all AUTOFREE = must_print("%s all", message);

	return tell(name, opts.all ? all : message);
}

bool time_option(const char *option, const char *text, uint64_t otherwise, uint64_t *ms)
{
	*ms = otherwise;
	if (!text || ms_of(text, ms))
		return true;
	fail(EXIT_USAGE, "--%s %s: must be a time, such as 5s, 500ms or 2m", option, text);
	return false;
}
