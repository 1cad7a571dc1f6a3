// SPDX-License-Identifier: GPL-2.0-only
/* start, checkpoint, stop, guard, set, clear-error, resync: messages to one pair. */

#define _GNU_SOURCE
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "command.h"
#include "host.h"
#include "pair.h"
#include "progress.h"

#define FORCE \
	{ "force", 'f', POPT_ARG_NONE, &opts.force, 0, \
	  "also while the view is mounted", NULL }

/* --- start, stop ---------------------------------------------------------- */

static const struct poptOption start_options[] = { ALL, FORCE, DRY_RUN, END };

/* A transition of the view and, with --all, of its group. */
static int transition(const char *name, const char *message)
{
	struct words names = {};
	struct live live;
	int code = live_must(name, &live);

	if (code)
		return code;
	if (live.kind == LIVE_PROMOTED) {
		live_free(&live);
		return fail(EXIT_STAGE, "%s: is promoted; dmrepl rejoin %s ends that", name, name);
	}
	if (live.kind == LIVE_VIEW)
		code = members_of(&live, &names);
	if (!code)
		code = check_mounts(&names, message);
	if (!code)
		code = tell_view(name, message);
	words_free(&names);
	live_free(&live);
	return code;
}

static int start(unsigned int count, const char **words)
{
	(void)count;
	return transition(words[0], "start");
}

static int stop(unsigned int count, const char **words)
{
	(void)count;
	return transition(words[0], "stop");
}

/* --- checkpoint ----------------------------------------------------------- */

static const struct poptOption checkpoint_options[] = {
	ALL,
	TEXT("every", every, "TIME", "one after the other, so far apart, until a signal"),
	{ "count", 0, POPT_ARG_INT, &opts.count, 0, "with --every: end after so many", "N" },
	TEXT("before", before, "PROGRAM", "run this before; if it fails there is no checkpoint"),
	TEXT("after", after, "PROGRAM", "run this after, whatever has happened"),
	TEXT("hook-timeout", hook_timeout, "TIME", "stop either of them after so long (30s)"),
	FORCE, DRY_RUN, END
};

/* One of the two programs; what stands in quotes is one word, nothing is expanded. */
static int run_hook(const char *option, const char *text, uint64_t ms)
{
	struct words words = {};
	const char **vector;
	int count, i, status;

	if (poptParseArgvString(text, &count, &vector) || !count)
		return fail(EXIT_USAGE, "--%s '%s': is no program with its arguments", option,
			    text);
	for (i = 0; i < count; i++)
		words_add(&words, "%s", vector[i]);
	free(vector);
	if (dry_run) {
		words_show(stdout, &words);
		words_free(&words);
		return EXIT_DONE;
	}
	status = run_program(&words, ms);
	words_free(&words);
	if (!status)
		return EXIT_DONE;
	if (status < 0)
		return fail(EXIT_HOOK, "--%s %s: %s", option, text, errno == ETIMEDOUT ?
			    "did not end in time and was stopped" : strerror(errno));
	return fail(EXIT_HOOK, "--%s %s: ended with status %d%s", option, text, status,
		    status == 127 ? "; is it there?" : "");
}

static int checkpoint_once(const char *name, uint64_t hook_ms)
{
	int code = opts.before ? run_hook("before", opts.before, hook_ms) : EXIT_DONE, after;

	if (code)
		note("%s: no checkpoint", name);
	else
		code = transition(name, "checkpoint");
	after = opts.after ? run_hook("after", opts.after, hook_ms) : EXIT_DONE;
	return code ? code : after;
}

/* At even distances, however long each takes; one that fails does not end it. */
static int checkpoint_every(const char *name, uint64_t ms, uint64_t hook_ms)
{
	uint64_t next = now_ms();
	int code = EXIT_DONE, done;

	stir = false;
	catch_signals();
	for (done = 0; !interrupted() && (!opts.count || done < opts.count); done++) {
		struct timespec at = { next / 1000, next % 1000 * 1000000 };

		if (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &at, NULL))
			break;
		code = checkpoint_once(name, hook_ms);
		if (code == EXIT_NO_PAIR || code == EXIT_USAGE || dry_run)
			return code;
		next += ms;
		if (next < now_ms())
			next = now_ms();
	}
	return code;
}

static int checkpoint(unsigned int count, const char **words)
{
	uint64_t every, hook_ms;
	struct live live;
	int code;

	(void)count;
	if (!time_option("every", opts.every, 0, &every) ||
	    !time_option("hook-timeout", opts.hook_timeout, 30000, &hook_ms))
		return EXIT_USAGE;
	if (opts.every && !every)
		return fail(EXIT_USAGE, "--every %s: must be more than nothing", opts.every);
	code = live_must(words[0], &live);
	if (code)
		return code;
	live_free(&live);
	catch_signals();
	/* Whoever has read our words may be gone; the program for after must run. */
	signal(SIGPIPE, SIG_IGN);
	return every ? checkpoint_every(words[0], every, hook_ms) :
		       checkpoint_once(words[0], hook_ms);
}

/* --- guard, set, clear-error ---------------------------------------------- */

static const struct poptOption plain_options[] = { DRY_RUN, END };

static int guard(unsigned int count, const char **words)
{
	char *message AUTOFREE = must_print("guard %s", words[1]);
	struct live live;
	int code;

	(void)count;
	if (strcmp(words[1], "on") && strcmp(words[1], "off"))
		return fail(EXIT_USAGE, "guard: must be on or off, not %s", words[1]);
	code = live_must(words[0], &live);
	if (code)
		return code;
	live_free(&live);
	return tell(words[0], message);
}

static int set(unsigned int count, const char **words)
{
	char *message AUTOFREE = must_print("set %s %s", words[1], words[2]);
	struct live live;
	int code;

	(void)count;
	if (strpbrk(words[1], " \\\n") || strpbrk(words[2], " \\\n"))
		return fail(EXIT_USAGE, "set: names and values have no blanks");
	code = live_must(words[0], &live);
	if (code)
		return code;
	live_free(&live);
	code = tell(words[0], message);
	if (!code && config_exists(words[0]))
		note("%s: set until it is taken down; " CONFIG_DIR "/%s.conf keeps it", words[0],
		     words[0]);
	return code;
}

static const struct poptOption errors_options[] = {
	FLAG("clear", clear, "forget them"),
	DRY_RUN, END
};

static int errors(unsigned int count, const char **words)
{
	char *answer AUTOFREE = NULL;
	struct live live;
	int code = live_must(words[0], &live);

	(void)count;
	if (code)
		return code;
	live_free(&live);
	if (opts.clear)
		return tell(words[0], "clear_error");
	if (dm_tell(words[0], "get_error", &answer))
		return fail(EXIT_STAGE, "%s: has no errors before its first start", words[0]);
	if (answer)
		printf("%s\n", answer);
	return EXIT_DONE;
}

/* --- resync --------------------------------------------------------------- */

static const struct poptOption resync_options[] = {
	FLAG("full", full, "copy everything"),
	FLAG("pause", pause, "end one that is under way; what is not copied stays dirty"),
	FLAG("wait", wait, "wait for its end, with a progress bar"),
	DRY_RUN, END
};

static enum progress_state resync_state(const struct live *live, uint64_t *done, uint64_t *total)
{
	*done = live->resynced * SECTOR;
	*total = live->to_resync * SECTOR;
	if (live->kind != LIVE_PRIMARY)
		return PROGRESS_GONE;
	if (live_has_flag(live, "resync"))
		return PROGRESS_ON;
	return live->dirty ? PROGRESS_FAILED : PROGRESS_DONE;
}

static int resync(unsigned int count, const char **words)
{
	struct live live;
	int code = live_must(words[0], &live);
	bool primary = live.kind == LIVE_PRIMARY;

	(void)count;
	if (code)
		return code;
	live_free(&live);
	if (!primary)
		return fail(EXIT_STAGE, "%s is a view; resync is for a primary", words[0]);
	if (opts.pause)
		return tell(words[0], "pause_resync");
	code = tell(words[0], opts.full ? "start_resync full" : "start_resync");
	if (code || !opts.wait || dry_run)
		return code;
	switch (progress_wait(words[0], "resync", resync_state)) {
	case PROGRESS_DONE:
		note("%s: the replica is in sync", words[0]);
		return EXIT_DONE;
	case PROGRESS_GONE:
		return fail(EXIT_NO_PAIR, "%s is gone", words[0]);
	case PROGRESS_FAILED:
		return fail(EXIT_FAILED, "%s: the resync ended, the replica is not in sync; dmrepl errors %s",
			    words[0], words[0]);
	default:
		return fail(EXIT_TIME, "%s: interrupted; the resync goes on", words[0]);
	}
}

const struct command steer_commands[] = {
	{ "start", "NAME", "Begin: the view becomes a frozen picture of the replica.",
	  start_options, 1, 1, start },
	{ "checkpoint", "NAME", "The view becomes the replica as it is now; its own writes go.",
	  checkpoint_options, 1, 1, checkpoint },
	{ "stop", "NAME", "End: the view shows the replica live and takes no writes.",
	  start_options, 1, 1, stop },
	{ "guard", "NAME on|off", "Say that the replica is inconsistent, or no longer is.",
	  plain_options, 2, 2, guard },
	{ "set", "NAME TUNABLE VALUE", "Change a tunable of a pair that is up.",
	  plain_options, 3, 3, set },
	{ "errors", "NAME", "Show the first error since start and how many there were.",
	  errors_options, 1, 1, errors },
	{ "resync", "NAME", "Bring a primary's replica up to date.",
	  resync_options, 1, 1, resync },
	{}
};
