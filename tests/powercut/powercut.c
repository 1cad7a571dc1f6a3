// SPDX-License-Identifier: GPL-2.0-only
/*
 * Cut the power at every request of a scenario, and look what comes up.
 *
 *	powercut [--seed N] [--pairs 1|2] [--rounds N] [--ops N] [--cuts N]
 *		 [--block 512|4096] [--failover] [--primary]
 *
 * First a load is recorded: pairs with metadata over disks whose write caches
 * are known (disks.c), through all that a pair can go through (load.c). Then,
 * for each event in the recording (a request comes to a disk, a disk answers,
 * a request to the view or the origin is sent or acknowledged, a message is
 * sent or has returned), the disks are made what a power cut leaves of them
 * then: at least what was flushed, and of the rest nothing, all, or any
 * sectors. The tables are loaded, and the model (model.c) is asked whether what
 * is found may be.
 *
 * --cuts bounds how many events are looked at (0: all). --failover leaves out
 * all but failovers. --primary is another test; see primary.c. The
 * kernel's dm-log-writes cannot be used for this: it puts a write into its log
 * when it is flushed and forgets when it was sent, but the first rule to be
 * tested is that a write to secondary is not sent before others are durable;
 * and in one log for all disks a flush of each would count for the others.
 */
#define _GNU_SOURCE
#include <getopt.h>
#include <stdarg.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "powercut.h"

struct options opt = {
	.seed = 1, .pairs = 1, .rounds = 1, .ops = 40, .cuts = 0,
	.sectors = 2048 + 512 + 7 * 8, .block = 512,
};

static unsigned int seed;

void die(const char *text, ...)
{
	va_list args;

	va_start(args, text);
	printf("not ok - ");
	vprintf(text, args);
	va_end(args);
	printf("\n");
	fflush(stdout);
	_exit(2);
}

unsigned int rnd(unsigned int n)
{
	return rand_r(&seed) % n;
}

void *alloc(size_t bytes)
{
	void *p = calloc(1, bytes ? bytes : 1);

	if (!p)
		die("no memory");
	return p;
}

static void take(int name, long n)
{
	switch (name) {
	case 's':
		opt.seed = n;
		break;
	case 'p':
		opt.pairs = n;
		break;
	case 'r':
		opt.rounds = n;
		break;
	case 'o':
		opt.ops = n;
		break;
	case 'c':
		opt.cuts = n;
		break;
	case 'b':
		opt.block = n;
		break;
	case 'f':
		opt.failover = true;
		break;
	case 'P':
		opt.primary = true;
		opt.sectors = 6 * 2048 + 512 + 7 * 8;
		break;
	default:
		die("wrong usage");
	}
}

static void parse(int argc, char **argv)
{
	static const struct option names[] = {
		{ "seed", 1, NULL, 's' }, { "pairs", 1, NULL, 'p' },
		{ "rounds", 1, NULL, 'r' }, { "ops", 1, NULL, 'o' },
		{ "cuts", 1, NULL, 'c' }, { "block", 1, NULL, 'b' },
		{ "failover", 0, NULL, 'f' },
		{ "primary", 0, NULL, 'P' }, { }
	};
	int c;

	while ((c = getopt_long(argc, argv, "", names, NULL)) != -1)
		take(c, optarg ? atol(optarg) : 0);
	if (opt.pairs < 1 || opt.pairs > MAX_PAIRS)
		die("--pairs is 1 or 2");
}

static const char *describe(const struct event *e)
{
	static const char * const names[] = {
		"a disk's request", "a disk's answer", "a request is sent",
		"a request is acknowledged", "a message is sent",
		"a message has returned", "the stage is done",
	};

	return names[e->kind];
}

/*
 * What kind of moment it is: OTHER; while a message is under WAY, or a failover
 * goes on; and then, right AFTER a metadata device has answered.
 */
enum moment { OTHER, WAY, AFTER };

static enum moment *classify(void)
{
	enum moment *moments = alloc((nr_events + 1) * sizeof(*moments));
	bool inside = false;
	int after = 0;
	long at;

	for (at = 0; at < nr_events; at++) {
		const struct event *e = &events[at];

		if (e->kind == BEGIN)
			inside = true;
		if (inside)
			moments[at] = after ? AFTER : WAY;
		if (after)
			after--;
		if (e->kind == REPLY && e->rq->disk % ROLES == METADATA)
			after = 3;
		if (e->kind == DONE_SEEN ||
		    (e->kind == END && e->action != FAIL_OVER))
			inside = false;
	}
	return moments;
}

/* Evenly spread, @n of those of one kind. */
static void choose(bool *chosen, const enum moment *moments, enum moment kind,
		   long n)
{
	long at, of = 0, seen = 0, took = 0;

	for (at = 0; at < nr_events; at++)
		of += moments[at] == kind;
	for (at = 0; at < nr_events; at++) {
		if (moments[at] != kind)
			continue;
		if (seen++ * n >= took * of) {
			chosen[at] = true;
			took++;
		}
	}
}

/* A third of the cuts for each kind of moment. */
static bool *choose_cuts(void)
{
	bool *chosen = alloc(nr_events + 1);
	enum moment *moments = classify(), kind;

	for (kind = OTHER; kind <= AFTER; kind++)
		choose(chosen, moments, kind,
		       opt.cuts ? opt.cuts / 3 : nr_events);
	chosen[nr_events] = true;
	free(moments);
	return chosen;
}

/* Cuts are tried in the state before each chosen event. */
static long replay(void)
{
	bool *chosen = choose_cuts();
	long at, tried = 0, failed = 0;
	char why[512];

	for (at = 0; at <= nr_events; at++) {
		if (chosen[at]) {
			disks_cut(at, rnd(3));
			tried++;
			if (model_check(at, why)) {
				printf("# cut %ld, before %s: %s\n", at,
				       at < nr_events ? describe(&events[at]) :
				       "the end", why);
				failed++;
				break;
			}
		}
		if (at < nr_events) {
			disks_advance(at);
			model_apply(&events[at], at);
		}
	}
	printf("# %ld cuts tried of %ld\n", tried, nr_events + 1);
	return failed;
}

static long count_requests(void)
{
	long at, n = 0;

	for (at = 0; at < nr_events; at++)
		n += events[at].kind == ARRIVE;
	return n;
}

static long views_run(time_t began)
{
	scenario();
	printf("# seed %u: %ld events recorded in %ld s, %ld requests of the disks\n",
	       opt.seed, nr_events, (long)(time(NULL) - began), count_requests());
	model_make();
	return replay();
}

int main(int argc, char **argv)
{
	time_t began = time(NULL);
	long failed;

	setvbuf(stdout, NULL, _IOLBF, 0);
	parse(argc, argv);
	seed = opt.seed;
	disks_make();
	dm_open();
	failed = opt.primary ? primary_run() : views_run(began);
	printf("%sok - %d %s%s, blocks of %d: nothing %s is lost (%ld s)\n",
	       failed ? "not " : "", opt.pairs,
	       opt.primary ? "primary" : "pair", opt.pairs > 1 ? "s" : "",
	       opt.block, opt.primary ? "dirty" : "flushed",
	       (long)(time(NULL) - began));
	fflush(stdout);
	_exit(failed ? 1 : 0);
}
