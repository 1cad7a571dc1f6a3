// SPDX-License-Identifier: GPL-2.0-only
/* dmrepl: the command line. */

#include <stdlib.h>
#include <string.h>

#include "command.h"
#include "store.h"

#ifndef DMREPL_VERSION
#define DMREPL_VERSION	"unknown"
#endif

static const struct command * const lists[] = {
	make_commands, steer_commands, promote_commands, show_commands, top_commands,
	udev_commands,
};

static const struct command *find_command(const char *name)
{
	const struct command *c;
	unsigned int i;

	for (i = 0; i < COUNT(lists); i++) {
		for (c = lists[i]; c->name; c++) {
			if (!strcmp(c->name, name))
				return c;
		}
	}
	return NULL;
}

static int usage(FILE *to)
{
	const struct command *c;
	unsigned int i;

	fputs("Usage: dmrepl COMMAND [OPTION...] [NAME...]\n\n"
	      "Pairs of dm-replication: a frozen, writable view of a moving replica.\n\n", to);
	for (i = 0; i < COUNT(lists); i++) {
		for (c = lists[i]; c->name; c++)
			fprintf(to, "  %-11s %s\n", c->name, c->help);
	}
	fputs("\nEach command has --help. See also dmrepl(8).\n", to);
	return to == stdout ? EXIT_DONE : EXIT_USAGE;
}

static int usage_command(const struct command *c)
{
	const struct poptOption *o;
	char left[64];

	printf("Usage: dmrepl %s %s%s\n\n%s\n\n", c->name, c->args,
	       c->options->longName ? " [OPTION...]" : "", c->help);
	for (o = c->options; o->longName; o++) {
		snprintf(left, sizeof(left), "--%s%s%s", o->longName, o->argDescrip ? " " : "",
			 o->argDescrip ? o->argDescrip : "");
		if (o->shortName)
			printf("  -%c, %-28s %s\n", o->shortName, left, o->descrip);
		else
			printf("      %-28s %s\n", left, o->descrip);
	}
	printf("  -h, %-28s %s\n", "--help", "this text");
	return EXIT_DONE;
}

static void free_options(void)
{
	char **texts[] = {
		&opts.every, &opts.before, &opts.after, &opts.hook_timeout, &opts.timeout,
		&opts.want, &opts.output, &opts.interval, &opts.size, &opts.vg, &opts.thin,
		&opts.disks,
	};
	unsigned int i;

	for (i = 0; i < COUNT(texts); i++)
		free(*texts[i]);
	for (i = 0; i < KEYS; i++)
		free(opts.key[i]);
}

static int run_command(const struct command *c, poptContext context)
{
	const char **words = poptGetArgs(context);
	unsigned int count = 0;

	while (words && words[count])
		count++;
	if (count < c->least)
		return fail(EXIT_USAGE, "%s: too few words, it takes %s; dmrepl %s --help",
			    c->name, c->args, c->name);
	if (c->most && count > c->most)
		return fail(EXIT_USAGE, "%s: %s is a word too many, it takes %s; dmrepl %s --help",
			    c->name, words[c->most], c->args, c->name);
	dry_run = dry_run_option;
	dm_begin();
	return c->run(count, words);
}

static int parse_and_run(const struct command *c, int argc, const char **argv)
{
	struct poptOption table[] = {
		{ "help", 'h', POPT_ARG_NONE, NULL, 'h', NULL, NULL },
		{ NULL, 0, POPT_ARG_INCLUDE_TABLE, (void *)c->options, 0, NULL, NULL },
		END
	};
	poptContext context = poptGetContext("dmrepl", argc, argv, table, 0);
	int got, code;

	do {
		got = poptGetNextOpt(context);
	} while (got > 0 && got != 'h');
	if (got == 'h')
		code = usage_command(c);
	else if (got < -1)
		code = fail(EXIT_USAGE, "%s: %s: %s; dmrepl %s --help", c->name,
			    poptBadOption(context, 0), poptStrerror(got), c->name);
	else
		code = run_command(c, context);
	poptFreeContext(context);
	return code;
}

int main(int argc, char **argv)
{
	const struct command *c;
	int code;

	if (argc < 2)
		return usage(stderr);
	if (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h") || !strcmp(argv[1], "help"))
		return usage(stdout);
	if (!strcmp(argv[1], "--version")) {
		printf("dmrepl %s\n", DMREPL_VERSION);
		return EXIT_DONE;
	}
	c = find_command(argv[1]);
	if (!c)
		return fail(EXIT_USAGE, "%s: there is no such command; dmrepl --help lists them",
			    argv[1]);
	/* lvcreate and its like; not whatever PATH has. */
	setenv("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", 1);
	code = parse_and_run(c, argc - 1, (const char **)argv + 1);
	unlock_pairs();
	free_options();
	if (fflush(stdout) || ferror(stdout))
		return fail(EXIT_FAILED, "standard output cannot be written");
	return code;
}
