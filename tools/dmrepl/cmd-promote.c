// SPDX-License-Identifier: GPL-2.0-only
/* failover and promote: the view becomes the disk, and stays it over a reboot. */

#define _GNU_SOURCE
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "command.h"
#include "host.h"
#include "pair.h"
#include "progress.h"

/* --- what it costs -------------------------------------------------------- */

static void say_cost(const struct live *live, bool failover)
{
	time_t since = time(NULL) - live->age;
	char undone[32], dropped[32], age[32], at[32];
	struct tm tm;

	show_size(undone, sizeof(undone), undone_by_failover(live));
	show_size(dropped, sizeof(dropped), dropped_by_promote(live));
	show_time(age, sizeof(age), live->age);
	localtime_r(&since, &tm);
	strftime(at, sizeof(at), "%Y-%m-%d %H:%M:%S", &tm);
	if (failover)
		fprintf(stderr, "failover of %s undoes %s that the stream has written since the checkpoint of %s (%s ago), and keeps %s of the view's own.\n",
			live->name, undone, at, age, dropped);
	else
		fprintf(stderr, "promote of %s drops %s that the view has written since the checkpoint of %s (%s ago), and keeps %s of the stream's.\n",
			live->name, dropped, at, age, undone);
}

static int say_costs(const struct words *names, bool failover)
{
	struct live live;
	unsigned int i;

	for (i = 0; i < names->count; i++) {
		if (live_read_view(names->word[i], &live))
			return fail(EXIT_FAILED, "%s: its status cannot be read", names->word[i]);
		if (live.kind == LIVE_VIEW)
			say_cost(&live, failover);
		live_free(&live);
	}
	return EXIT_DONE;
}

/* --- the durable record --------------------------------------------------- */

/* The record is to name the disk that is promoted: the file may be another's by now. */
static int check_secondary(const struct live *live, const struct pair *pair)
{
	const char *named = pair->value[KEY_SECONDARY];
	const char *its = live->table[live->kind == LIVE_VIEW ? 2 : 0];
	dev_t dev = named ? device_number(named) : 0;
	char *numbers AUTOFREE = must_print("%u:%u", major(dev), minor(dev));

	if (dev && its && !strcmp(numbers, its))
		return EXIT_DONE;
	return fail(EXIT_STAGE, "%s: the configuration names %s, which is not its replica (%s); mend that first",
		    live->name, named ? named : "no secondary", its ? its : "none");
}

static int record_one(const struct live *live, const char *kind)
{
	struct promotion promotion = {};
	struct pair pair;
	int code;

	if (!config_exists(live->name)) {
		note("%s has no configuration file: this will not outlive a reboot", live->name);
		return EXIT_DONE;
	}
	code = config_read(live->name, &pair);
	if (code)
		return code;
	code = check_secondary(live, &pair);
	if (!code) {
		promotion_now(&promotion, kind);
		promotion.secondary = must_copy(pair.value[KEY_SECONDARY]);
		promotion.metadata = live->kind == LIVE_VIEW && live->table[3];
		code = promotion_write(live->name, &promotion);
	}
	promotion_free(&promotion);
	pair_free(&pair);
	return code;
}

/* Under the lock, of a view that is the disk; a record that is not there is written. */
static int record_done(const char *name, const char *kind)
{
	struct promotion promotion;
	struct live live;
	int code;

	if (!config_exists(name))
		return EXIT_DONE;
	if (live_read(name, &live))
		return fail(EXIT_FAILED, "%s: its status cannot be read", name);
	code = promotion_read(name, &promotion);
	if (!code && !promotion.kind[0]) {
		code = record_one(&live, kind);
		if (!code)
			code = promotion_read(name, &promotion);
	}
	if (!code && promotion.kind[0] && strcmp(promotion.state, "done")) {
		snprintf(promotion.state, sizeof(promotion.state), "done");
		code = promotion_write(name, &promotion);
	}
	promotion_free(&promotion);
	live_free(&live);
	return code;
}

/* For who has waited without the lock: by now it may have been rejoined. */
static int note_end(const char *name)
{
	struct live live;
	int code = lock_pair_in_time(name);

	if (!code && !live_read_view(name, &live)) {
		if (live_is(&live, "done"))
			code = record_done(name, "failover");
		live_free(&live);
	}
	unlock_pairs();
	return code;
}

static int check_stage(const struct live *live, bool failover);

/* What another dmrepl has recorded, or the kernel has begun, since we asked stays. */
static int record_member(const char *name, bool failover, struct words *written)
{
	struct promotion old;
	struct live live;
	int code;

	if (live_read(name, &live))
		return fail(EXIT_FAILED, "%s: its status cannot be read", name);
	code = check_stage(&live, failover);
	if (!code)
		code = promotion_read(name, &old);
	if (!code) {
		if (!live_is_promoted(&live))
			words_add(written, "%s", name);
		if (!live_is_promoted(&live) || !old.kind[0])
			code = record_one(&live, failover ? "failover" : "promote");
		promotion_free(&old);
	}
	live_free(&live);
	return code;
}

static int record_all(const struct words *names, bool failover, struct words *written)
{
	unsigned int i;
	int code = EXIT_DONE;

	for (i = 0; i < names->count && !code; i++)
		code = lock_pair(names->word[i]);
	for (i = 0; i < names->count && !code; i++)
		code = record_member(names->word[i], failover, written);
	return code;
}

/* Of a view that is on its way to be the disk in spite of all the record must stay. */
static bool is_promoted(const char *name)
{
	struct live live;
	bool is;

	if (live_read_view(name, &live))
		return true;
	is = live_is_promoted(&live);
	live_free(&live);
	return is;
}

static void forget_refused(const struct words *written)
{
	unsigned int i;

	for (i = 0; i < written->count; i++) {
		if (!is_promoted(written->word[i]))
			promotion_remove(written->word[i]);
	}
}

/* --- waiting -------------------------------------------------------------- */

static enum progress_state failover_state(const struct live *live, uint64_t *done,
					  uint64_t *total)
{
	*done = live->committed * SECTOR;
	*total = live->to_commit * SECTOR;
	if (live_is(live, "done"))
		return PROGRESS_DONE;
	return live_is(live, "failover") ? PROGRESS_ON : PROGRESS_FAILED;
}

int await_failover(const char *name)
{
	switch (progress_wait(name, "failover", failover_state)) {
	case PROGRESS_DONE:
		return note_end(name);
	case PROGRESS_GONE:
		return fail(EXIT_NO_PAIR, "%s is gone", name);
	case PROGRESS_INTERRUPTED:
		return fail(EXIT_TIME, "%s: interrupted; the failover goes on", name);
	default:
		return fail(EXIT_FAILED, "%s: the failover failed, nothing acknowledged is lost; mend the disk (dmrepl errors %s), then dmrepl failover %s again",
			    name, name, name);
	}
}

static int await_all(const struct words *names)
{
	unsigned int i;
	int code = EXIT_DONE, its;

	for (i = 0; i < names->count; i++) {
		its = await_failover(names->word[i]);
		code = code ? code : its;
	}
	return code;
}

/* Somebody has to write down that the copying has ended: a process stays for that. */
static int await_behind(const struct words *names)
{
	int status = -1;
	pid_t pid;

	fflush(NULL);
	pid = fork();
	if (pid > 0)
		waitpid(pid, &status, 0);
	if (pid && status)
		return fail(EXIT_FAILED, "the failover goes on, but no process can be made to note its end; dmrepl wait --for done does it");
	if (pid)
		return EXIT_DONE;
	pid = fork();
	if (pid)
		_exit(pid < 0);
	setsid();
	if (!freopen("/dev/null", "r", stdin) || !freopen("/dev/null", "w", stdout) ||
	    !freopen("/dev/null", "w", stderr))
		_exit(1);
	_exit(await_all(names));
}

/* --- the commands --------------------------------------------------------- */

static int promote_members(const struct live *live, const struct words *names, bool failover)
{
	struct words written = {};
	unsigned int i;
	int code = say_costs(names, failover);

	if (!code)
		code = confirm("Go on?");
	if (!code)
		code = record_all(names, failover, &written);
	if (!code)
		code = tell_view(live->name, failover ? "failover" : "promote");
	if (code)
		forget_refused(&written);
	words_free(&written);
	if (code || dry_run)
		return code;
	if (failover) {
		unlock_pairs();
		return opts.wait ? await_all(names) : await_behind(names);
	}
	for (i = 0; i < names->count && !code; i++)
		code = record_done(names->word[i], "promote");
	return code;
}

/* What the kernel would refuse is refused before anybody is asked. */
static int check_stage(const struct live *live, bool failover)
{
	if (live->kind == LIVE_PRIMARY)
		return fail(EXIT_STAGE, "%s is a primary; its standby's view is promoted",
			    live->name);
	if (live_is(live, "done"))
		return EXIT_DONE;
	if (!failover && live_is_promoted(live))
		return fail(EXIT_STAGE, "%s: its failover has begun and must end; dmrepl failover --wait %s",
			    live->name, live->name);
	if (live_is(live, "none"))
		return fail(EXIT_STAGE, "%s has not been started; dmrepl start %s, or use its secondary",
			    live->name, live->name);
	if (failover && live_is(live, "stopped"))
		return fail(EXIT_STAGE, "%s is stopped and has no checkpoint to go back to; dmrepl promote %s",
			    live->name, live->name);
	if (failover && live_is(live, "invalid"))
		return fail(EXIT_STAGE, "%s is invalid, its old data is lost; dmrepl promote %s",
			    live->name, live->name);
	if (!failover && live_has_flag(live, "guarded"))
		return fail(EXIT_STAGE, "%s is guarded: its replica is inconsistent; dmrepl failover %s goes back to the last checkpoint",
			    live->name, live->name);
	return EXIT_DONE;
}

static bool all_promoted(const struct words *names, bool failover)
{
	struct live live;
	unsigned int i;
	bool are = true;

	for (i = 0; i < names->count && are; i++) {
		if (live_read_view(names->word[i], &live))
			return false;
		are = live_is(&live, "done") || (failover && live_is(&live, "failover"));
		live_free(&live);
	}
	return are;
}

static int promoted_already(const struct words *names)
{
	unsigned int i;
	int code = EXIT_DONE;

	note("%s is promoted already", names->word[0]);
	if (dry_run)
		return EXIT_DONE;
	if (opts.wait)
		return await_all(names);
	for (i = 0; i < names->count && !code; i++)
		code = note_end(names->word[i]);
	return code;
}

static int promote_view(const char *name, bool failover)
{
	struct words names = {};
	struct live live;
	int code = live_must(name, &live);

	if (code)
		return code;
	code = check_stage(&live, failover);
	if (!code)
		code = members_of(&live, &names);
	if (!code && all_promoted(&names, failover)) {
		code = promoted_already(&names);
	} else {
		if (!code && !failover)
			code = check_mounts(&names, "promote");
		if (!code)
			code = promote_members(&live, &names, failover);
	}
	words_free(&names);
	live_free(&live);
	return code;
}

static int failover(unsigned int count, const char **words)
{
	(void)count;
	return promote_view(words[0], true);
}

static int promote(unsigned int count, const char **words)
{
	(void)count;
	return promote_view(words[0], false);
}

static const struct poptOption failover_options[] = {
	ALL, YES,
	FLAG("wait", wait, "wait for the end of the copying, with a progress bar"),
	DRY_RUN, END
};

static const struct poptOption promote_options[] = {
	ALL, YES,
	{ "force", 'f', POPT_ARG_NONE, &opts.force, 0, "also while the view is mounted", NULL },
	DRY_RUN, END
};

/* --- wait ----------------------------------------------------------------- */

static const struct poptOption wait_options[] = {
	TEXT("for", want, "WHAT", "done, error or checkpoint (done)"),
	TEXT("timeout", timeout, "TIME", "wait no longer (for ever)"),
	END
};

/* A primary has no transitions to wait for. */
static int never(const struct live *live, const char *want)
{
	if (live->kind != LIVE_PRIMARY || !strcmp(want, "error"))
		return EXIT_DONE;
	return fail(EXIT_STAGE, "%s is a primary; only --for error can come, dmrepl resync --wait waits for its end",
		    live->name);
}

/* Whether it has happened: EXIT_DONE, another code, or -1: not yet. */
static int happened(const struct live *live, const char *want, uint64_t epoch)
{
	if (!strcmp(want, "error"))
		return strcmp(live->error, "none") ? EXIT_DONE : -1;
	if (!strcmp(want, "checkpoint"))
		return live->epoch != epoch ? EXIT_DONE : -1;
	if (live_is(live, "done"))
		return EXIT_DONE;
	if (live_is(live, "failover_failed"))
		return fail(EXIT_STAGE, "%s: the failover failed; mend the disk (dmrepl errors %s), then dmrepl failover %s again",
			    live->name, live->name, live->name);
	return -1;
}

static int wait_for(const char *name, const char *want, bool limited, uint64_t ms)
{
	uint64_t end = now_ms() + ms, epoch = 0, left;
	bool first = true;
	struct live live;
	uint32_t event;
	int code, err;

	for (;;) {
		code = live_must(name, &live);
		if (code)
			return code;
		epoch = first ? live.epoch : epoch;
		first = false;
		event = live.event;
		code = never(&live, want);
		if (!code)
			code = happened(&live, want, epoch);
		live_free(&live);
		if (code >= 0)
			return code;
		left = now_ms() < end ? end - now_ms() : 0;
		if (interrupted() || (limited && !left))
			return fail(EXIT_TIME, "%s: no %s %s", name, want, limited && !left ?
				    "in this time" : "yet, interrupted");
		err = dm_event(name, event, limited ? left : 0);
		if (err && err != -EINTR && err != -ETIMEDOUT && err != -ENXIO)
			return fail(EXIT_FAILED, "%s: cannot wait: %s", name, strerror(-err));
	}
}

static int wait_command(unsigned int count, const char **words)
{
	const char *want = opts.want ? opts.want : "done";
	uint64_t ms;
	int code;

	(void)count;
	if (strcmp(want, "done") && strcmp(want, "error") && strcmp(want, "checkpoint"))
		return fail(EXIT_USAGE, "--for %s: must be done, error or checkpoint", want);
	if (!time_option("timeout", opts.timeout, 0, &ms))
		return EXIT_USAGE;
	catch_signals();
	code = wait_for(words[0], want, !!opts.timeout, ms);
	if (!code && !strcmp(want, "done") && !geteuid())
		code = note_end(words[0]);
	return code;
}

const struct command promote_commands[] = {
	{ "failover", "NAME", "Make the view the disk; the stream's writes since the checkpoint are undone.",
	  failover_options, 1, 1, failover },
	{ "promote", "NAME", "Make the newest replica the disk; the view's own writes are dropped.",
	  promote_options, 1, 1, promote },
	{ "wait", "NAME", "Wait for an event.", wait_options, 1, 1, wait_command },
	{}
};
