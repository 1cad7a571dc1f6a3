// SPDX-License-Identifier: GPL-2.0-only
/* Pairs as a person reads them. */

#include <stdlib.h>
#include <string.h>

#include "host.h"
#include "pair.h"
#include "show.h"

static int read_row(struct row *row, const char *name)
{
	int err, code = EXIT_DONE;

	row->name = must_copy(name);
	row->configured = !bad_name(name) && config_exists(name);
	if (row->configured)
		code = config_read(name, &row->pair);
	if (!code && !bad_name(name))
		code = promotion_read(name, &row->promotion);
	if (code)
		return code;
	err = live_read(name, &row->live);
	if (!err && (row->configured || row->live.kind > LIVE_OTHER))
		return EXIT_DONE;
	if (!err)
		live_free(&row->live);
	return live_must(name, &row->live);
}

static void free_row(struct row *row)
{
	free(row->name);
	pair_free(&row->pair);
	live_free(&row->live);
	promotion_free(&row->promotion);
	memset(row, 0, sizeof(*row));
}

static int all_names(struct words *all)
{
	struct words up = {};
	unsigned int i, j;
	int code = config_names(all);
	unsigned int configured = all->count;

	if (!code && live_names(&up))
		code = fail(EXIT_FAILED, "device mapper cannot be asked; only root may, and the module dm-mod must be there");
	for (i = 0; i < up.count; i++) {
		for (j = 0; j < configured && strcmp(all->word[j], up.word[i]); j++)
			;
		if (j == configured)
			words_add(all, "%s", up.word[i]);
	}
	words_free(&up);
	return code;
}

int rows_read(struct rows *rows, unsigned int count, const char **names)
{
	struct words all = {};
	unsigned int i;
	int code = EXIT_DONE, its;

	for (i = 0; i < count; i++)
		words_add(&all, "%s", names[i]);
	if (!count)
		code = all_names(&all);
	rows->row = must_alloc((all.count + 1) * sizeof(*rows->row));
	for (i = 0; i < all.count; i++) {
		its = read_row(&rows->row[rows->count], all.word[i]);
		if (its)
			free_row(&rows->row[rows->count]);
		else
			rows->count++;
		code = code ? code : its;
	}
	words_free(&all);
	return code;
}

void rows_free(struct rows *rows)
{
	unsigned int i;

	for (i = 0; i < rows->count; i++)
		free_row(&rows->row[i]);
	free(rows->row);
	memset(rows, 0, sizeof(*rows));
}

const char *row_stage(const struct row *row)
{
	return row->live.kind > LIVE_OTHER ? row->live.stage : "down";
}

/* --- the table ------------------------------------------------------------ */

static void show_ms(char *text, size_t len, uint64_t us)
{
	if (us < 1000)
		snprintf(text, len, "%u us", (unsigned int)us);
	else if (us < 1000000)
		snprintf(text, len, "%.1f ms", us / 1000.0);
	else
		snprintf(text, len, "%.2f s", us / 1000000.0);
}

/* What a person should know beside the figures. */
static void show_remarks(FILE *to, const struct row *row)
{
	const struct live *live = &row->live;
	unsigned int i;

	for (i = 0; i < live->flags.count; i++)
		fprintf(to, " %s", live->flags.word[i]);
	if (live->error[0] && strcmp(live->error, "none"))
		fprintf(to, " error %s", live->error);
	if (row->promotion.kind[0])
		fprintf(to, " promoted by %s %s", row->promotion.kind, row->promotion.time);
	if (live->kind == LIVE_VIEW && !live->origin && !live_has_flag(live, "no_origin"))
		fprintf(to, " no_origin");
	putc('\n', to);
}

static void show_view(FILE *to, const struct row *row)
{
	const struct live *live = &row->live;
	char age[32], undone[32], dropped[32], held[32], pause[32];

	show_time(age, sizeof(age), live->age);
	show_size(undone, sizeof(undone), undone_by_failover(live));
	show_size(dropped, sizeof(dropped), dropped_by_promote(live));
	show_size(held, sizeof(held), live->held * SECTOR);
	show_ms(pause, sizeof(pause), live->pause_longest);
	if (live_is(live, "failover") && live->to_commit)
		snprintf(undone, sizeof(undone), "%u %% done",
			 (unsigned int)(live->committed * 100 / live->to_commit));
	fprintf(to, "%-16s %-15s %-10s %12s %12s %10s %10s ", row->name, live->stage, age, undone,
		dropped, held, pause);
}

static void show_primary(FILE *to, const struct row *row)
{
	const struct live *live = &row->live;
	char dirty[32], done[16] = "-";

	show_size(dirty, sizeof(dirty), live->dirty * SECTOR);
	if (live_has_flag(live, "resync") && live->to_resync)
		snprintf(done, sizeof(done), "%u %%",
			 (unsigned int)(live->resynced * 100 / live->to_resync));
	fprintf(to, "%-16s %-15s %-10s %12s %12s %10s %10s ", row->name, live->stage, "-", "-",
		"-", dirty, done);
}

void show_table(FILE *to, const struct rows *rows)
{
	unsigned int i;

	fprintf(to, "%-16s %-15s %-10s %12s %12s %10s %10s  %s\n", "PAIR", "STAGE", "CHECKPOINT",
		"FAILOVER", "PROMOTE", "HELD", "PAUSE", "");
	fprintf(to, "%-16s %-15s %-10s %12s %12s %10s %10s  %s\n", "", "", "AGE", "UNDOES",
		"DROPS", "OR DIRTY", "AT MOST", "REMARKS");
	for (i = 0; i < rows->count; i++) {
		const struct row *row = &rows->row[i];

		if (row->live.kind == LIVE_VIEW)
			show_view(to, row);
		else if (row->live.kind == LIVE_PRIMARY)
			show_primary(to, row);
		else
			fprintf(to, "%-16s %-15s %-10s %12s %12s %10s %10s ", row->name,
				row_stage(row), "-", "-", "-", "-", "-");
		show_remarks(to, row);
	}
}
