/* SPDX-License-Identifier: GPL-2.0-only */
/* Commands: what a person types, and what they share. */
#ifndef DMREPL_COMMAND_H
#define DMREPL_COMMAND_H

#include <popt.h>

#include "config.h"
#include "status.h"

struct command {
	const char *name, *args, *help;
	const struct poptOption *options;
	unsigned int least, most;	/* words after the options; most 0: any number */
	int (*run)(unsigned int count, const char **words);
};

/* Each ends with an entry without a name. */
extern const struct command make_commands[], steer_commands[], promote_commands[],
	show_commands[], top_commands[], udev_commands[];

/* What options have set; every command looks at its own. */
struct options {
	int yes, force, all, wait, json, watch, full, pause, volumes, transient, batch;
	int count, clear;
	char *every, *before, *after, *hook_timeout, *timeout, *want, *output, *interval;
	char *size, *vg, *thin, *disks;
	char *key[KEYS];
	int key_on[KEYS];
};

extern struct options opts;

#define FLAG(name, field, help)	\
	{ name, 0, POPT_ARG_NONE, &opts.field, 0, help, NULL }
#define TEXT(name, field, arg, help) \
	{ name, 0, POPT_ARG_STRING, &opts.field, 0, help, arg }
#define DRY_RUN \
	{ "dry-run", 'n', POPT_ARG_NONE, &dry_run_option, 0, \
	  "print the dmsetup and LVM lines, do nothing", NULL }
#define YES \
	{ "yes", 'y', POPT_ARG_NONE, &opts.yes, 0, "do not ask", NULL }
#define ALL \
	{ "all", 'a', POPT_ARG_NONE, &opts.all, 0, "every pair of the view's group", NULL }
#define END	{ NULL, 0, 0, NULL, 0, NULL, NULL }

extern int dry_run_option;

/* EXIT_DONE if the name can be one of a pair. */
int check_name(const char *name);
/* Asks on a terminal; without one --yes must have been given. */
int confirm(const char *question);
/* The view alone or, with --all, the members of its group. */
int members_of(const struct live *live, struct words *names);
/* Refuses if one of the views is mounted, unless --force. */
int check_mounts(const struct words *names, const char *what);
/* A message to the view, with "all" if --all. */
int tell_view(const char *name, const char *message);
/* A time of the command line, or the default; false after an error that it has said. */
bool time_option(const char *option, const char *text, uint64_t otherwise, uint64_t *ms);
bool on_terminal(void);
/* Until the failover of a view has ended, and that is recorded. */
int await_failover(const char *name);

#endif
