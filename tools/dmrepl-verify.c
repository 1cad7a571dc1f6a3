// SPDX-License-Identifier: GPL-2.0-only
/* dmrepl-verify: the command line. What it does is said by usage() below. */

#define _GNU_SOURCE
#include <ctype.h>
#include <errno.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "verify.h"

enum {
	MODEL = 1, FROZEN = 2, GROUPS = 4, LOAD = 8, SHOW = 16,
	RUNS = MODEL | FROZEN | GROUPS | LOAD,
};

enum opt_type { TEXT, NUMBER, SWITCH };

struct opt {
	const char *name, *arg;
	enum opt_type type;
	size_t at;
	unsigned int commands, required;
	const char *help;
};

#define AT(field)	offsetof(struct opts, field)

static const struct opt options[] = {
	{ "view", "DEV", TEXT, AT(view), RUNS | SHOW, RUNS | SHOW,
	  "the view's device (show: any device)" },
	{ "origin", "DEV", TEXT, AT(origin), RUNS, RUNS,
	  "the origin's device" },
	{ "secondary", "DEV", TEXT, AT(secondary), MODEL | LOAD, MODEL | LOAD,
	  "the secondary device, read only" },
	{ "view-name", "NAME", TEXT, AT(view_name), RUNS, 0,
	  "the view's device-mapper name (from --view when that is in /dev/mapper)" },
	{ "view-b", "DEV", TEXT, AT(view_b), GROUPS, GROUPS,
	  "the view of the group's other pair" },
	{ "origin-b", "DEV", TEXT, AT(origin_b), GROUPS, GROUPS,
	  "its origin" },
	{ "view-name-b", "NAME", TEXT, AT(view_name_b), GROUPS, 0,
	  "its view's device-mapper name" },
	{ "seed", "N", NUMBER, AT(seed), RUNS, 0,
	  "where the random numbers begin (default: a fresh one, printed)" },
	{ "ops", "N", NUMBER, AT(ops), MODEL | LOAD, 0,
	  "how many operations before the end (10000)" },
	{ "threads", "N", NUMBER, AT(threads), MODEL, 0,
	  "that many threads: writers of the origin, readers and writers of the view (1)" },
	{ "writers", "N", NUMBER, AT(writers), MODEL | LOAD, 0,
	  "threads that write the origin" },
	{ "readers", "N", NUMBER, AT(readers), MODEL | FROZEN | LOAD, 0,
	  "threads that read the view" },
	{ "view-writers", "N", NUMBER, AT(view_writers), MODEL | FROZEN | LOAD, 0,
	  "threads that write the view" },
	{ "end", "HOW", TEXT, AT(end), MODEL, 0,
	  "failover, promote, stop or none (failover)" },
	{ "max-kib", "N", NUMBER, AT(max_kib), MODEL | LOAD, 0,
	  "the longest request (1024)" },
	{ "vary-hold", NULL, SWITCH, AT(vary_hold), MODEL | LOAD, 0,
	  "change hold_mib now and then" },
	{ "overlap", NULL, SWITCH, AT(overlap), MODEL | LOAD, 0,
	  "let writers of the origin write the same sectors at once" },
	{ "torn", NULL, SWITCH, AT(torn), MODEL | LOAD, 0,
	  "a sector read while it is written may be of both, as on brd and on files" },
	{ "qd", "N", NUMBER, AT(qd), FROZEN, 0,
	  "writes of the origin in flight (32)" },
	{ "checkpoints", "N", NUMBER, AT(checkpoints), FROZEN | GROUPS, 0,
	  "how many (300)" },
	{ "interval-ms", "N", NUMBER, AT(interval_ms), FROZEN | GROUPS, 0,
	  "time between two (50)" },
	{ "samples", "N", NUMBER, AT(samples), FROZEN, 0,
	  "places that a reader reads again and again in one interval (32)" },
	{ "streams", "N", NUMBER, AT(streams), GROUPS, 0,
	  "independent sequences of writes (16)" },
	{ "bound-s", "N", NUMBER, AT(bound_s), MODEL | LOAD, 0,
	  "a commit that takes longer is a failure (120)" },
	{ "sector", "N", NUMBER, AT(sector), SHOW, 0, "the first sector (0)" },
	{ "count", "N", NUMBER, AT(count), SHOW, 0, "how many sectors (8)" },
	{ "progress", NULL, SWITCH, AT(progress), RUNS, 0,
	  "say once a second how far it is, also when stderr is no terminal" },
};

#define OPTIONS	(sizeof(options) / sizeof(options[0]))

static const struct command {
	const char *name;
	unsigned int bit;
	int (*run)(struct opts *o);
	const char *help;
} commands[] = {
	{ "model", MODEL, cmd_model,
	  "random operations on view and origin, every read compared with an exact model" },
	{ "frozen", FROZEN, cmd_frozen,
	  "checkpoints at an interval while the origin is written and never pauses" },
	{ "groups", GROUPS, cmd_groups,
	  "two pairs of one group: no later write without the earlier one" },
	{ "failover-load", LOAD, cmd_failover_load,
	  "failover while the view is written and the origin keeps trying" },
	{ "show", SHOW, cmd_show,
	  "print what the sectors of a device say about themselves" },
};

#define COMMANDS	(sizeof(commands) / sizeof(commands[0]))

static void usage_command(const struct command *c)
{
	const struct opt *o;
	char left[48];

	printf("\n%s: %s\n", c->name, c->help);
	for (o = options; o < options + OPTIONS; o++) {
		if (!(o->commands & c->bit))
			continue;
		snprintf(left, sizeof(left), "--%s%s%s", o->name, o->arg ? " " : "",
			 o->arg ? o->arg : "");
		printf("  %-20s %s%s\n", left, o->help,
		       o->required & c->bit ? " (required)" : "");
	}
}

static void usage(void)
{
	unsigned int i;

	printf("Usage: dmrepl-verify COMMAND [OPTION...]\n\n"
	       "Checks a pair of dm-replication. It OVERWRITES the whole origin; the pair may be\n"
	       "in stage none, stopped or running, and is started. Every sector it writes says\n"
	       "where it belongs, who wrote it and when, so a wrong one is described exactly.\n"
	       "The last line is \"ok\" or \"failed\", the command and name=value figures.\n\n"
	       "Exit status: 0 all as it must be, 1 something was not, 2 it could not be tried.\n");
	for (i = 0; i < COMMANDS; i++)
		usage_command(&commands[i]);
}

static u64 number(const char *name, const char *text)
{
	unsigned long long n;
	char *end;

	errno = 0;
	n = strtoull(text, &end, 0);
	if (!isdigit((unsigned char)*text) || *end || errno)
		die("--%s takes a number, not '%s'", name, text);
	return n;
}

static void set_option(struct opts *o, const struct opt *opt, const char *arg)
{
	char *at = (char *)o + opt->at;

	switch (opt->type) {
	case TEXT:
		*(const char **)at = arg;
		break;
	case NUMBER:
		*(u64 *)at = number(opt->name, arg);
		break;
	case SWITCH:
		*(bool *)at = true;
		break;
	}
}

static void parse(struct opts *o, const struct command *c, int argc, char **argv)
{
	struct option list[OPTIONS + 2];
	const struct opt *opt;
	unsigned int i;
	int got;

	memset(list, 0, sizeof(list));
	for (i = 0; i < OPTIONS; i++) {
		list[i].name = options[i].name;
		list[i].has_arg = options[i].type != SWITCH;
		list[i].val = (int)i + 1;
	}
	list[OPTIONS].name = "help";
	list[OPTIONS].val = OPTIONS + 1;
	opterr = 0;
	while ((got = getopt_long(argc, argv, ":", list, NULL)) != -1) {
		if (got == OPTIONS + 1) {
			usage();
			exit(EXIT_OK);
		}
		if (got == '?' || got == ':')
			die("%s: %s '%s' (see --help)", c->name, got == '?' ?
			    "unknown option" : "no value for", argv[optind - 1]);
		opt = &options[got - 1];
		if (!(opt->commands & c->bit))
			die("%s does not take --%s (see --help)", c->name, opt->name);
		set_option(o, opt, optarg);
	}
	if (optind < argc)
		die("%s: what is '%s'? (see --help)", c->name, argv[optind]);
	for (opt = options; opt < options + OPTIONS; opt++)
		if (opt->required & c->bit && !*(const char **)((char *)o + opt->at))
			die("%s needs --%s (see --help)", c->name, opt->name);
}

static void check_values(const struct opts *o)
{
	static const char *const ends[] = { "failover", "promote", "stop", "none" };
	unsigned int i;

	for (i = 0; i < 4 && strcmp(o->end, ends[i]); i++)
		;
	if (i == 4)
		die("--end takes failover, promote, stop or none, not '%s'", o->end);
	if (o->max_kib < 4 || o->max_kib > 65536)
		die("--max-kib takes 4 to 65536");
	if (!o->ops || o->ops > 1ull << 40)
		die("--ops takes 1 to 2^40");
}

/* The command that repeats this run: what was typed, and the seed. */
static void print_repeat(const struct opts *o, int argc, char **argv)
{
	int i;

	printf("repeat: dmrepl-verify");
	for (i = 1; i < argc; i++) {
		if (!strcmp(argv[i], "--seed"))
			i++;
		else if (strncmp(argv[i], "--seed=", 7))
			printf(" %s", argv[i]);
	}
	printf(" --seed %llu\n", (unsigned long long)o->seed);
}

static u64 fresh_seed(void)
{
	u32 seed = 0;

	if (getrandom(&seed, sizeof(seed), 0) != sizeof(seed))
		die("no random seed: %s", strerror(errno));
	return seed;
}

int cmd_show(struct opts *o)
{
	unsigned char *buf = io_buffer(4096);
	struct dev d = { 0 };
	struct stamp st;
	char text[256];
	u64 s, at;

	dev_open(&d, "device", o->view, false);
	stamp_run(0);
	for (s = o->sector; s < o->sector + o->count && s < d.sectors; s++) {
		at = s / d.block * d.block;
		if (dev_read(&d, buf, at, d.block))
			die("cannot read sector %llu of %s", (unsigned long long)s, d.path);
		stamp_read(buf + (s - at) * SECTOR_SIZE, s, &st);
		printf("%llu: %s\n", (unsigned long long)s,
		       stamp_text(&st, text, sizeof(text)));
	}
	free(buf);
	return EXIT_OK;
}

int main(int argc, char **argv)
{
	struct opts o = {
		.ops = 10000, .threads = 1, .end = "failover", .max_kib = 1024,
		.qd = 32, .checkpoints = 300, .interval_ms = 50, .samples = 32,
		.streams = 16, .bound_s = 120, .count = 8,
	};
	const struct command *c;
	int ret;

	if (argc < 2)
		die("no command given (see --help)");
	if (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h")) {
		usage();
		return EXIT_OK;
	}
	for (c = commands; c < commands + COMMANDS && strcmp(c->name, argv[1]); c++)
		;
	if (c == commands + COMMANDS)
		die("unknown command '%s' (see --help)", argv[1]);
	o.seed = fresh_seed();
	parse(&o, c, argc - 1, argv + 1);
	check_values(&o);
	dm_setup();
	stamp_run(fresh_seed() | 1);
	if (c->bit & RUNS)
		printf("begin %s seed=%llu\n", c->name, (unsigned long long)o.seed);
	fflush(stdout);
	ret = c->run(&o);
	if (ret == EXIT_MISMATCH)
		print_repeat(&o, argc, argv);
	return ret;
}
