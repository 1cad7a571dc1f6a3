// SPDX-License-Identifier: GPL-2.0-only
/* status and metrics. */

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "command.h"
#include "host.h"
#include "show.h"

static const struct poptOption status_options[] = {
	FLAG("json", json, "for programs; see dmrepl(8)"),
	FLAG("watch", watch, "again and again, until a signal"),
	TEXT("interval", interval, "TIME", "with --watch: so far apart (2s)"),
	{ "count", 0, POPT_ARG_INT, &opts.count, 0, "with --watch: end after so many", "N" },
	END
};

static int status_once(unsigned int count, const char **words)
{
	struct rows rows = {};
	int code = rows_read(&rows, count, words);

	if (opts.json) {
		struct json_object *json = show_json(&rows);

		puts(json_object_to_json_string_ext(json, opts.watch ? JSON_C_TO_STRING_PLAIN :
						    JSON_C_TO_STRING_PRETTY |
						    JSON_C_TO_STRING_NOSLASHESCAPE));
		json_object_put(json);
	} else if (rows.count || !code) {
		show_table(stdout, &rows);
	}
	rows_free(&rows);
	fflush(stdout);
	return code;
}

static int status(unsigned int count, const char **words)
{
	struct timespec pause;
	uint64_t ms;
	int code, done = 0;

	if (!opts.watch)
		return status_once(count, words);
	if (!time_option("interval", opts.interval, 2000, &ms))
		return EXIT_USAGE;
	pause.tv_sec = ms / 1000;
	pause.tv_nsec = ms % 1000 * 1000000;
	catch_signals();
	do {
		if (isatty(STDOUT_FILENO) && !opts.json)
			fputs("\033[H\033[J", stdout);
		code = status_once(count, words);
		if (++done == opts.count)
			break;
	} while (!code && !interrupted() && !nanosleep(&pause, NULL));
	return code;
}

/* --- metrics -------------------------------------------------------------- */

static const struct poptOption metrics_options[] = {
	TEXT("output", output, "FILE", "into this file, at once as a whole"),
	END
};

static int metrics(unsigned int count, const char **words)
{
	char *text AUTOFREE = NULL;
	struct rows rows = {};
	size_t len;
	FILE *to = open_memstream(&text, &len);
	unsigned int got;
	int code, written;

	if (!to)
		return fail(EXIT_FAILED, "no memory");
	code = rows_read(&rows, count, words);
	got = rows.count;
	show_metrics(to, &rows);
	rows_free(&rows);
	fclose(to);
	if (!opts.output) {
		fputs(text, stdout);
		return code;
	}
	/* One pair that cannot be read does not keep the others' figures away. */
	written = got || !code ? write_durably(opts.output, text) : EXIT_DONE;
	return code ? code : written;
}

const struct command show_commands[] = {
	{ "status", "[NAME...]", "Show pairs: all, or those that are named.",
	  status_options, 0, 0, status },
	{ "metrics", "[NAME...]", "Print figures in the text format of Prometheus.",
	  metrics_options, 0, 0, metrics },
	{}
};
