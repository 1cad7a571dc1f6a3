/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The power-cut test: disks in this process's memory that write down all that
 * comes, a load on pairs over them, and a model of what each pair must be if
 * the power fails at any moment. See powercut.c.
 */
#ifndef POWERCUT_H
#define POWERCUT_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#define MAX_PAIRS 2
#define SECTOR 512

/* A primary has local and replica in place of the first three. */
enum role { ACTIVE, HIDDEN, SECONDARY, METADATA, ROLES,
	    LOCAL = ACTIVE, REPLICA = HIDDEN };

enum stage { NONE, RUNNING, FAILOVER, FAILED, DONE, STOPPED, INVALID };

enum action { START, CHECKPOINT, STOP, FAIL_OVER, PROMOTE, GUARD, UNGUARD,
	      REJOIN };

/* A request to one of the disks. */
struct request {
	int disk;
	uint32_t type;
	bool fua;
	uint64_t handle;
	uint64_t from;
	uint32_t bytes;
	unsigned char *data;
	bool arrived;
	bool replied;
	bool durable;
	uint32_t number;
	struct request *next;
};

/* A request to a view or an origin. */
struct io {
	int pair;
	bool view;
	bool flush;
	bool fua;
	bool acked;
	bool failed;
	bool settled;
	uint32_t id;
	uint32_t sector;
	uint32_t sectors;
	long submitted;
	long ended;
};

enum kind { ARRIVE, REPLY, SUBMIT, ACK, BEGIN, END, DONE_SEEN };

/* What happened, in the one order in which it did. */
struct event {
	enum kind kind;
	struct request *rq;
	struct io *io;
	enum action action;
	int pairs;		/* of which pairs: a bit each */
	long epoch;		/* END: the new one */
};

struct options {
	unsigned int seed;
	int pairs;
	int rounds;
	int ops;
	long cuts;
	uint32_t sectors;
	int block;
	bool failover;
	bool primary;
};

extern struct options opt;

__attribute__((format(printf, 1, 2), noreturn)) void die(const char *text, ...);
unsigned int rnd(unsigned int n);
void *alloc(size_t bytes);

/* disks.c */
extern struct event *events;
extern long nr_events;
long note(const struct event *e);
void disks_make(void);
const char *disk_path(int pair, enum role role);
void disks_record(bool on);
void disks_cut(long at, int variant);
void disks_advance(long at);
uint64_t metadata_bytes(void);

/* dm.c */
void dm_open(void);
int dm_create(const char *name, const char *params, char *path);
int dm_remove(const char *name);
int dm_message(const char *name, const char *text);
int dm_status(const char *name, char *text, size_t bytes);

/* load.c */
extern char view_path[MAX_PAIRS][32];
extern char origin_path[MAX_PAIRS][32];
void pair_make(int pair, bool fenced);
void pair_remove(int pair);
enum stage pair_stage(int pair, long *epoch, bool *guarded);
void scenario(void);

/* primary.c */
long primary_run(void);

/* model.c */
void model_make(void);
void model_apply(const struct event *e, long at);
int model_check(long at, char *why);
void fill(unsigned char *data, uint32_t id, uint32_t sector, uint32_t n);

#endif
