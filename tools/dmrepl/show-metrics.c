// SPDX-License-Identifier: GPL-2.0-only
/* Pairs in the text format of Prometheus. */

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "show.h"

static const char * const stages[] = {
	"none", "running", "failover", "failover_failed", "done", "stopped", "invalid", "down",
};

enum of { VIEWS = 1, PRIMARIES = 2 };

static double age(const struct live *live) { return live->age; }
static double epoch(const struct live *live) { return live->epoch; }
static double undoes(const struct live *live) { return undone_by_failover(live); }
static double drops(const struct live *live) { return dropped_by_promote(live); }
static double held(const struct live *live) { return live->held * SECTOR; }
static double memory(const struct live *live) { return live->leaf_bytes; }
static double captures(const struct live *live) { return live->captures; }
static double spills(const struct live *live) { return live->spills; }
static double pause_last(const struct live *live) { return live->pause_last / 1e6; }
static double pause_longest(const struct live *live) { return live->pause_longest / 1e6; }
static double committed(const struct live *live) { return live->committed * SECTOR; }
static double to_commit(const struct live *live) { return live->to_commit * SECTOR; }
static double dirty(const struct live *live) { return live->dirty * SECTOR; }
static double resynced(const struct live *live) { return live->resynced * SECTOR; }
static double to_resync(const struct live *live) { return live->to_resync * SECTOR; }
static double guarded(const struct live *live) { return live_has_flag(live, "guarded"); }
static double broken(const struct live *live) { return live_has_flag(live, "broken"); }

static double fenced(const struct live *live)
{
	return live->origin && !strcmp(live->fence, "fenced");
}

static double has_origin(const struct live *live)
{
	return !!live->origin;
}

static const struct metric {
	const char *name, *type;
	unsigned int of;
	double (*value)(const struct live *live);
	const char *help;
} metrics[] = {
	{ "checkpoint_age_seconds", "gauge", VIEWS, age, "Time since the last checkpoint." },
	{ "epoch", "gauge", VIEWS, epoch, "Number of the epoch; a checkpoint raises it." },
	{ "failover_undoes_bytes", "gauge", VIEWS, undoes,
	  "What a failover would undo of the stream's writes." },
	{ "promote_drops_bytes", "gauge", VIEWS, drops,
	  "What a promote would drop of the view's writes." },
	{ "held_bytes", "gauge", VIEWS, held, "Old data held in memory." },
	{ "memory_bytes", "gauge", VIEWS, memory, "Memory of the overlay's records." },
	{ "captures_total", "counter", VIEWS, captures, "Pages captured since start." },
	{ "spills_total", "counter", VIEWS, spills, "Spill writes to hidden since start." },
	{ "pause_last_seconds", "gauge", VIEWS, pause_last, "Pause of the last transition." },
	{ "pause_longest_seconds", "gauge", VIEWS, pause_longest, "Longest pause since start." },
	{ "committed_bytes", "gauge", VIEWS, committed, "What a failover has copied." },
	{ "to_commit_bytes", "gauge", VIEWS, to_commit, "What a failover had to copy." },
	{ "guarded", "gauge", VIEWS, guarded, "1: the replica is known to be inconsistent." },
	{ "fenced", "gauge", VIEWS, fenced, "1: the origin is refused." },
	{ "has_origin", "gauge", VIEWS, has_origin, "0: the stream has nowhere to write." },
	{ "dirty_bytes", "gauge", PRIMARIES, dirty, "What the replica lacks." },
	{ "resynced_bytes", "gauge", PRIMARIES, resynced, "What the resync has copied." },
	{ "to_resync_bytes", "gauge", PRIMARIES, to_resync, "What the resync had to copy." },
	{ "broken", "gauge", PRIMARIES, broken, "1: the replica is not written." },
};

static unsigned int what(const struct live *live)
{
	switch (live->kind) {
	case LIVE_VIEW:
		return VIEWS;
	case LIVE_PRIMARY:
		return PRIMARIES;
	default:
		return 0;
	}
}

static void head(FILE *to, const char *name, const char *type, const char *help)
{
	fprintf(to, "# HELP dm_replication_%s %s\n# TYPE dm_replication_%s %s\n", name, help,
		name, type);
}

/* Names of devices that others have made may have anything in them. */
static void label(FILE *to, const char *name, const char *text)
{
	fprintf(to, "%s=\"", name);
	for (; *text; text++) {
		if (*text == '"' || *text == '\\')
			putc('\\', to);
		putc(*text == '\n' ? ' ' : *text, to);
	}
	putc('"', to);
}

static void show_stages(FILE *to, const struct rows *rows)
{
	unsigned int i, j;

	head(to, "stage", "gauge", "1 for the stage the pair is in.");
	for (i = 0; i < rows->count; i++) {
		for (j = 0; j < COUNT(stages); j++) {
			fputs("dm_replication_stage{", to);
			label(to, "pair", rows->row[i].name);
			fprintf(to, ",stage=\"%s\"} %d\n", stages[j],
				!strcmp(row_stage(&rows->row[i]), stages[j]));
		}
	}
}

/* Words and numbers in turn. */
static void show_classes(FILE *to, const char *name, const char *counts)
{
	char class[32];
	uint64_t count;
	int len;

	while (sscanf(counts, "%31s %" SCNu64 "%n", class, &count, &len) == 2) {
		fputs("dm_replication_errors_total{", to);
		label(to, "pair", name);
		fprintf(to, ",class=\"%s\"} %" PRIu64 "\n", class, count);
		counts += len;
	}
}

static void show_errors(FILE *to, const struct rows *rows)
{
	unsigned int i;

	head(to, "errors_total", "counter", "Errors since start, by class.");
	for (i = 0; i < rows->count; i++) {
		char *counts AUTOFREE = NULL;

		if (what(&rows->row[i].live) &&
		    !dm_tell(rows->row[i].live.name, "get_errors", &counts) && counts)
			show_classes(to, rows->row[i].name, counts);
	}
}

static void show_first_errors(FILE *to, const struct rows *rows)
{
	unsigned int i;

	head(to, "first_error", "gauge", "Errno of the first error since start, by class.");
	for (i = 0; i < rows->count; i++) {
		const char *error = rows->row[i].live.error, *colon = strchr(error, ':');

		if (!colon)
			continue;
		fputs("dm_replication_first_error{", to);
		label(to, "pair", rows->row[i].name);
		fprintf(to, ",class=\"%.*s\"} %s\n", (int)(colon - error), error,
			colon + (colon[1] == '-' ? 2 : 1));
	}
}

void show_metrics(FILE *to, const struct rows *rows)
{
	unsigned int i, j;

	show_stages(to, rows);
	for (i = 0; i < COUNT(metrics); i++) {
		head(to, metrics[i].name, metrics[i].type, metrics[i].help);
		for (j = 0; j < rows->count; j++) {
			if (!(what(&rows->row[j].live) & metrics[i].of))
				continue;
			fprintf(to, "dm_replication_%s{", metrics[i].name);
			label(to, "pair", rows->row[j].name);
			fprintf(to, "} %.15g\n", metrics[i].value(&rows->row[j].live));
		}
	}
	show_errors(to, rows);
	show_first_errors(to, rows);
}
