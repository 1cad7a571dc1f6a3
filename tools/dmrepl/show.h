/* SPDX-License-Identifier: GPL-2.0-only */
/* Pairs as a person and as a program reads them. */
#ifndef DMREPL_SHOW_H
#define DMREPL_SHOW_H

#include <json-c/json.h>

#include "config.h"
#include "status.h"
#include "store.h"

/* All that is known of one pair. */
struct row {
	char *name;
	bool configured;
	struct pair pair;
	struct live live;
	struct promotion promotion;
};

struct rows {
	struct row *row;
	unsigned int count;
};

/* The named pairs, or all that are configured or up. */
int rows_read(struct rows *rows, unsigned int count, const char **names);
void rows_free(struct rows *rows);
/* The kernel's stage, or down. */
const char *row_stage(const struct row *row);

void show_table(FILE *to, const struct rows *rows);
struct json_object *show_json(const struct rows *rows);
void show_metrics(FILE *to, const struct rows *rows);

#endif
