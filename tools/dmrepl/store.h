/* SPDX-License-Identifier: GPL-2.0-only */
/* What dmrepl remembers: locks, promotions, and what a create has made so far. */
#ifndef DMREPL_STORE_H
#define DMREPL_STORE_H

#include "util.h"

#define STATE_DIR	"/var/lib/dmrepl"
#define RUN_DIR		"/run/dmrepl"

/* Waits ten seconds at most for another dmrepl; the lock ends with the process. */
int lock_pair(const char *name);
/* For who has only to note what is so: however long another dmrepl takes. */
int lock_pair_in_time(const char *name);
void unlock_pairs(void);

/* A promotion, durable before the kernel hears of it. */
struct promotion {
	char kind[16];		/* failover or promote; "" is none */
	char state[16];		/* begun, done or, until rejoin has ended, rejoining */
	char time[32];
	char *secondary;
	bool metadata;		/* the pair's metadata remembers the rest */
};

bool promotion_exists(const char *name);
int promotion_read(const char *name, struct promotion *promotion);
int promotion_write(const char *name, const struct promotion *promotion);
int promotion_remove(const char *name);
void promotion_free(struct promotion *promotion);
void promotion_now(struct promotion *promotion, const char *kind);

/* What create makes is written down before it is made: "device NAME", "volume VG/LV". */
char *journal_path(const char *name);
bool journal_exists(const char *name);
int journal_add(const char *name, const char *kind, const char *what);
/* The lines of the journal, the newest first. */
int journal_read(const char *name, struct words *lines);
int journal_remove(const char *name);

#endif
