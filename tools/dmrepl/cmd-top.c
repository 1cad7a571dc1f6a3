// SPDX-License-Identifier: GPL-2.0-only
/* top: a live screen of pairs and their rates. */

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <termios.h>
#include <unistd.h>

#include "command.h"
#include "host.h"
#include "show.h"

/* Counters of one pair at one moment. */
struct sample {
	char name[65];
	uint64_t ms, captures, spills, stream, reads, writes;
};

struct samples {
	struct sample *sample;
	unsigned int count;
};

/* Sectors that a mapped device has read and written. */
static void read_counters(dev_t dev, uint64_t *reads, uint64_t *writes)
{
	char *path AUTOFREE = must_print("/sys/dev/block/%u:%u/stat", major(dev), minor(dev));
	unsigned long long in, out;
	FILE *file = fopen(path, "re");

	if (file && fscanf(file, "%*u %*u %llu %*u %*u %*u %llu", &in, &out) == 2) {
		*reads = in;
		*writes = out;
	}
	if (file)
		fclose(file);
}

static void take_sample(struct sample *sample, const struct live *live)
{
	uint64_t ignored = 0;

	snprintf(sample->name, sizeof(sample->name), "%s", live->name);
	sample->ms = now_ms();
	sample->captures = live->captures;
	sample->spills = live->spills;
	read_counters(live->dev, &sample->reads, &sample->writes);
	if (live->origin) {
		char *path AUTOFREE = must_print("/dev/mapper/%s", live->origin);

		read_counters(device_number(path), &ignored, &sample->stream);
	}
}

static const struct sample *find_sample(const struct samples *samples, const char *name)
{
	unsigned int i;

	for (i = 0; i < samples->count; i++) {
		if (!strcmp(samples->sample[i].name, name))
			return &samples->sample[i];
	}
	return NULL;
}

static uint64_t rate(uint64_t now, uint64_t then, uint64_t ms)
{
	return now > then && ms ? (now - then) * 1000 / ms : 0;
}

static void show_line(const struct live *live, const struct sample *now,
		      const struct sample *then)
{
	uint64_t ms = then ? now->ms - then->ms : 0;
	char stream[32], reads[32], writes[32], undone[32], dropped[32], held[32], age[32];

	if (!then)
		then = now;
	show_size(stream, sizeof(stream), rate(now->stream, then->stream, ms) * SECTOR);
	show_size(reads, sizeof(reads), rate(now->reads, then->reads, ms) * SECTOR);
	show_size(writes, sizeof(writes), rate(now->writes, then->writes, ms) * SECTOR);
	show_size(undone, sizeof(undone), undone_by_failover(live));
	show_size(dropped, sizeof(dropped), dropped_by_promote(live));
	show_size(held, sizeof(held), live->held * SECTOR);
	show_time(age, sizeof(age), live->age);
	printf("%-16s %-10s %9s %9s %9s %9s %7llu %7llu %9s %9s %9s %6llu/%-6llu\n", live->name,
	       live->stage, age, stream, reads, writes,
	       (unsigned long long)rate(now->captures, then->captures, ms),
	       (unsigned long long)rate(now->spills, then->spills, ms), undone, dropped, held,
	       (unsigned long long)live->pause_last, (unsigned long long)live->pause_longest);
}

static int screen(struct samples *last, unsigned int count, const char **words)
{
	struct samples now = {};
	struct rows rows = {};
	unsigned int i;
	int code = rows_read(&rows, count, words);

	if (isatty(STDOUT_FILENO) && !opts.batch)
		fputs("\033[H\033[J", stdout);
	printf("%-16s %-10s %9s %9s %9s %9s %7s %7s %9s %9s %9s %s\n", "PAIR", "STAGE", "AGE",
	       "STREAM/s", "READ/s", "WRITE/s", "CAPT/s", "SPILL/s", "UNDO", "DROP", "HELD",
	       "PAUSE us");
	now.sample = must_alloc((rows.count + 1) * sizeof(*now.sample));
	for (i = 0; i < rows.count; i++) {
		const struct row *row = &rows.row[i];

		if (row->live.kind <= LIVE_OTHER) {
			printf("%-16s %-10s\n", row->name, "down");
			continue;
		}
		take_sample(&now.sample[now.count], &row->live);
		show_line(&row->live, &now.sample[now.count], find_sample(last, row->live.name));
		now.count++;
	}
	fflush(stdout);
	rows_free(&rows);
	free(last->sample);
	*last = now;
	return code;
}

/* True if the time has passed, false if q was pressed or a signal came. */
static bool rest(uint64_t ms, bool keys)
{
	struct pollfd key = { .fd = STDIN_FILENO, .events = POLLIN };
	char pressed;

	if (poll(&key, keys ? 1 : 0, ms) < 0)
		return false;
	return !(key.revents & POLLIN) || read(STDIN_FILENO, &pressed, 1) != 1 ||
	       (pressed != 'q' && pressed != 'Q');
}

static const struct poptOption top_options[] = {
	TEXT("interval", interval, "TIME", "a new screen so often (2s)"),
	{ "count", 0, POPT_ARG_INT, &opts.count, 0, "end after so many screens", "N" },
	FLAG("batch", batch, "one screen after the other, for a file"),
	END
};

static int top(unsigned int count, const char **words)
{
	bool keys = isatty(STDIN_FILENO) && !opts.batch;
	struct termios before, raw;
	struct samples last = {};
	uint64_t ms;
	int code, done = 0;

	if (!time_option("interval", opts.interval, 2000, &ms))
		return EXIT_USAGE;
	catch_signals();
	if (keys && tcgetattr(STDIN_FILENO, &before))
		keys = false;
	if (keys) {
		raw = before;
		raw.c_lflag &= ~(ICANON | ECHO);
		tcsetattr(STDIN_FILENO, TCSANOW, &raw);
	}
	do {
		code = screen(&last, count, words);
	} while (!code && ++done != opts.count && !interrupted() && rest(ms, keys));
	if (keys)
		tcsetattr(STDIN_FILENO, TCSANOW, &before);
	free(last.sample);
	return code;
}

const struct command top_commands[] = {
	{ "top", "[NAME...]", "A live screen of pairs and their rates; q ends it.",
	  top_options, 0, 0, top },
	{}
};
