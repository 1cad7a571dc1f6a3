// SPDX-License-Identifier: GPL-2.0-only
/*
 * What a pair must be if the power fails now. Of every sector of a view, and
 * of an origin, the model knows the last write that was acknowledged and then
 * flushed (or FUA), and the later ones, any of which may be what is found. An
 * epoch that begins makes what the origin has the view's, whole.
 */
#define _GNU_SOURCE
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "powercut.h"

#define PIECE (1024 * 1024)

struct later {
	struct io *io;
	struct later *next;	/* the newer one */
};

struct sector {
	uint32_t sure;		/* what is there, or something later */
	uint32_t newest;	/* the last acknowledged one */
	struct later *later;
};

struct side {
	struct sector *sectors;
	struct io **open;	/* acknowledged or not, not sure */
	long nr_open;
	long room;
};

struct world {
	struct side view;
	struct side origin;
	uint32_t *base;		/* what the view becomes if the change is made */
	enum stage stage;
	enum stage next;	/* while a message is under way */
	long epoch;
	bool changing;
	bool guarded;
	bool guarding;		/* the guard is being changed */
};

static struct world worlds[MAX_PAIRS];
static unsigned char *buffer;

/* Sixteen bytes, again and again: the write and the place. */
void fill(unsigned char *data, uint32_t id, uint32_t sector, uint32_t n)
{
	uint32_t i, word[4] = { id, 0, ~id, 0x50574354 };

	for (; n; n--, sector++, data += SECTOR) {
		word[1] = sector;
		for (i = 0; i < SECTOR; i += sizeof(word))
			memcpy(data + i, word, sizeof(word));
	}
}

/* Return: the write whose data it is; 0: none; -1: torn or misplaced. */
static int64_t identify(const unsigned char *data, uint32_t sector)
{
	unsigned char want[SECTOR];
	uint32_t id;

	memcpy(&id, data, sizeof(id));
	if (id)
		fill(want, id, sector, 1);
	else
		memset(want, 0, sizeof(want));
	return memcmp(data, want, SECTOR) ? -1 : (int64_t)id;
}

void model_make(void)
{
	int i;

	buffer = aligned_alloc(4096, PIECE);
	for (i = 0; i < opt.pairs; i++) {
		worlds[i].view.sectors =
			alloc(opt.sectors * sizeof(struct sector));
		worlds[i].origin.sectors =
			alloc(opt.sectors * sizeof(struct sector));
		worlds[i].base = alloc(opt.sectors * sizeof(uint32_t));
	}
}

static struct side *side_of(struct io *io)
{
	struct world *w = &worlds[io->pair];

	return io->view ? &w->view : &w->origin;
}

static void submitted(struct io *io)
{
	struct side *side = side_of(io);
	struct later *l, **end;
	uint32_t i;

	if (io->flush)
		return;
	for (i = io->sector; i < io->sector + io->sectors; i++) {
		l = alloc(sizeof(*l));
		l->io = io;
		for (end = &side->sectors[i].later; *end; end = &(*end)->next)
			;
		*end = l;
	}
	if (side->nr_open == side->room) {
		side->room += 1024;
		side->open = realloc(side->open, side->room * sizeof(io));
	}
	side->open[side->nr_open++] = io;
}

/* What was there before this write is gone for good. */
static void make_sure(struct side *side, struct io *io)
{
	struct later *l, *next;
	struct sector *s;
	uint32_t i;

	io->settled = true;
	for (i = io->sector; i < io->sector + io->sectors; i++) {
		s = &side->sectors[i];
		for (l = s->later; l && l->io != io; l = l->next)
			;
		if (!l)
			continue;
		for (l = s->later; l->io != io; l = next) {
			next = l->next;
			free(l);
		}
		s->sure = io->id;
		s->later = l->next;
		free(l);
	}
}

static void forget_settled(struct side *side)
{
	long i, kept = 0;

	for (i = 0; i < side->nr_open; i++)
		if (!side->open[i]->settled)
			side->open[kept++] = side->open[i];
	side->nr_open = kept;
}

static void ended(struct io *io)
{
	struct side *side = side_of(io);
	uint32_t i;
	long n;

	if (io->failed)
		return;
	if (io->flush) {
		for (n = 0; n < side->nr_open; n++)
			if (side->open[n]->acked &&
			    side->open[n]->ended < io->submitted)
				make_sure(side, side->open[n]);
		forget_settled(side);
		return;
	}
	io->acked = true;
	for (i = io->sector; i < io->sector + io->sectors; i++)
		side->sectors[i].newest = io->id;
	if (io->fua) {
		make_sure(side, io);
		forget_settled(side);
	}
}

/* All that was acknowledged is what it is; nothing else is under way. */
static void make_all_sure(struct side *side, const uint32_t *what)
{
	struct later *l, *next;
	uint32_t i;

	for (i = 0; i < opt.sectors; i++) {
		side->sectors[i].sure = what[i];
		side->sectors[i].newest = what[i];
		for (l = side->sectors[i].later; l; l = next) {
			next = l->next;
			free(l);
		}
		side->sectors[i].later = NULL;
	}
	side->nr_open = 0;
}

static const enum stage leads_to[] = {
	[START] = RUNNING, [CHECKPOINT] = RUNNING, [STOP] = STOPPED,
	[FAIL_OVER] = FAILOVER, [PROMOTE] = DONE, [REJOIN] = NONE,
};

static void begin(struct world *w, enum action action)
{
	uint32_t i;

	if (action == GUARD || action == UNGUARD) {
		w->guarding = true;
		return;
	}
	for (i = 0; i < opt.sectors; i++)
		w->base[i] = w->origin.sectors[i].newest;
	w->next = leads_to[action];
	w->changing = true;
}

static void end(struct world *w, const struct event *e)
{
	uint32_t i;

	if (e->action == GUARD || e->action == UNGUARD) {
		w->guarding = false;
		w->guarded = e->action == GUARD;
		return;
	}
	w->changing = false;
	w->stage = w->next;
	w->epoch = e->epoch;
	if (e->action == START || e->action == CHECKPOINT ||
	    e->action == PROMOTE) {
		make_all_sure(&w->view, w->base);
		make_all_sure(&w->origin, w->base);
	} else if (e->action == REJOIN) {
		/* The view was flushed and is the disk. */
		for (i = 0; i < opt.sectors; i++)
			w->base[i] = w->view.sectors[i].sure;
		make_all_sure(&w->origin, w->base);
	}
}

static void seen_done(struct world *w, long epoch)
{
	w->stage = DONE;
	w->epoch = epoch;
}

void model_apply(const struct event *e, long at)
{
	int i;

	switch (e->kind) {
	case SUBMIT:
		e->io->submitted = at;
		submitted(e->io);
		break;
	case ACK:
		e->io->ended = at;
		ended(e->io);
		break;
	case BEGIN:
	case END:
	case DONE_SEEN:
		for (i = 0; i < opt.pairs; i++) {
			if (!(e->pairs & 1 << i))
				continue;
			if (e->kind == BEGIN)
				begin(&worlds[i], e->action);
			else if (e->kind == END)
				end(&worlds[i], e);
			else
				seen_done(&worlds[i], e->epoch);
		}
		break;
	default:
		break;
	}
}

static bool may_be(const struct sector *s, int64_t id)
{
	struct later *l;

	if (id == s->sure)
		return true;
	for (l = s->later; l; l = l->next)
		if (l->io->id == id)
			return true;
	return false;
}

/* From @at to @end. @exact: no leeway, for what an epoch began with. */
static int compare(const char *path, uint32_t at, uint32_t end,
		   const struct side *side, const uint32_t *exact, char *why)
{
	int fd = open(path, O_RDONLY | O_DIRECT);
	uint32_t i, n;
	bool fits;
	int64_t id;

	if (fd < 0)
		return sprintf(why, "%s: %s", path, strerror(errno));
	for (; at < end; at += n) {
		n = end - at < PIECE / SECTOR ? end - at : PIECE / SECTOR;
		if (pread(fd, buffer, n * SECTOR, (off_t)at * SECTOR) !=
		    (ssize_t)n * SECTOR) {
			close(fd);
			return sprintf(why, "%s: reading sector %u: %s", path,
				       at, strerror(errno));
		}
		for (i = 0; i < n; i++) {
			id = identify(buffer + i * SECTOR, at + i);
			fits = exact ? id == exact[at + i] :
				       may_be(&side->sectors[at + i], id);
			if (fits)
				continue;
			close(fd);
			return sprintf(why, "%s: sector %u has write %lld, not %u%s",
				       path, at + i, (long long)id,
				       exact ? exact[at + i] :
				       side->sectors[at + i].sure,
				       !exact && side->sectors[at + i].later ?
				       " or a later one" : "");
		}
	}
	close(fd);
	return 0;
}

/* Neither lost nor found too early. */
static int check_stage(int pair, enum stage found, long epoch, bool guarded,
		       bool *changed, char *why)
{
	struct world *w = &worlds[pair];
	enum stage want = w->stage == FAILOVER ? DONE : w->stage;
	enum stage next = w->next == FAILOVER ? DONE : w->next;
	bool moves = w->changing && w->next != FAILOVER;

	*changed = false;
	if (!w->guarding && guarded != w->guarded)
		return sprintf(why, "pair %d: the guard is %d", pair, guarded);
	if (found == want && epoch == (w->stage == FAILOVER ? w->epoch + 1 :
							      w->epoch))
		return 0;
	if (w->changing && found == next &&
	    epoch == (w->next == NONE ? w->epoch : w->epoch + 1)) {
		*changed = moves;
		return 0;
	}
	return sprintf(why, "pair %d: stage %d epoch %ld, not %d %ld%s", pair,
		       found, epoch, want, w->epoch,
		       w->changing ? " or the next" : "");
}

/* A write of the origin, which must not show in the view, or be refused. */
static int probe(int pair, uint32_t at, bool fenced, char *why)
{
	int fd = open(origin_path[pair], O_RDWR | O_DIRECT), error = 0;

	if (fd < 0)
		return sprintf(why, "%s: %s", origin_path[pair],
			       strerror(errno));
	memset(buffer, 0xee, 8 * SECTOR);
	if (pwrite(fd, buffer, 8 * SECTOR, (off_t)at * SECTOR) < 0)
		error = errno;
	close(fd);
	if (error == (fenced ? EIO : 0))
		return 0;
	return sprintf(why, "%s: a write gave \"%s\" in a pair that is %s",
		       origin_path[pair], strerror(error),
		       fenced ? "fenced" : "open");
}

static int check_pair(int pair, bool *changed, char *why)
{
	uint32_t at = rnd(opt.sectors / 8) * 8, all = opt.sectors;
	struct world *w = &worlds[pair];
	const uint32_t *exact;
	enum stage stage;
	bool guarded;
	long epoch;
	int tries;

	for (tries = 0; tries < 20000; tries++) {
		stage = pair_stage(pair, &epoch, &guarded);
		if (stage != FAILOVER)
			break;
		usleep(1000);
	}
	if (check_stage(pair, stage, epoch, guarded, changed, why))
		return 1;
	/* It has rejoined: secondary is what the view was. */
	if (stage == NONE && w->stage == DONE)
		return compare(origin_path[pair], 0, all, &w->view, NULL, why);
	if (stage == NONE || stage == STOPPED || stage == INVALID)
		return compare(origin_path[pair], 0, all, &w->origin, NULL,
			       why);
	exact = *changed ? w->base : NULL;
	if (compare(view_path[pair], 0, all, &w->view, exact, why))
		return 1;
	if (stage == DONE)
		return probe(pair, at, true, why);
	if (compare(origin_path[pair], 0, all, &w->origin, NULL, why) ||
	    probe(pair, at, false, why))
		return 1;
	return compare(view_path[pair], at, at + 8, &w->view, exact, why);
}

/* Both are in a message to "all": what it does happens to both, or neither. */
static bool change_together(const struct world *a, const struct world *b)
{
	/* A rejoin is each pair's own. */
	return a->changing && b->changing && a->next != NONE && b->next != NONE;
}

/* Return: 0 if what is found after a cut may be; else @why not. */
int model_check(long at, char *why)
{
	bool changed[MAX_PAIRS];
	int i;

	(void)at;
	for (i = 0; i < opt.pairs; i++)
		pair_make(i, true);
	for (i = 0; i < opt.pairs; i++)
		if (check_pair(i, &changed[i], why))
			return 1;
	for (i = 1; i < opt.pairs; i++)
		if (change_together(&worlds[0], &worlds[i]) &&
		    changed[i] != changed[0])
			return sprintf(why, "the group is torn: pair %d %s",
				       i, changed[i] ? "is ahead" : "is behind");
	for (i = 0; i < opt.pairs; i++)
		pair_remove(i);
	return 0;
}
