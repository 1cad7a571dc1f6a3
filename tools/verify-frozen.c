// SPDX-License-Identifier: GPL-2.0-only
/*
 * frozen: the origin is written at a queue depth and never pauses, checkpoints
 * come at an interval, and the view is read all the time. See verify-gen.h for
 * what a read must return. View writers have the last quarter of the device:
 * their writes last until the next checkpoint, whole or not at all.
 */

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "verify-gen.h"

#define MAX_DEPTH	256
#define MAX_READERS	32
#define WRITE_SECTORS	128u			/* longest write of the origin */
#define READ_SECTORS	128u
#define VIEW_SECTORS	2048u			/* longest write of a view writer */

struct wslot {
	u64 sector, count, seq;			/* count 0: idle */
	unsigned char *buf;
};

static struct {
	struct opts *o;
	struct dev view, origin;
	const char *name;
	struct gens g;
	_Atomic u64 seq;
	u64 sampled;				/* sectors below are the samplers' */
	struct wslot slot[MAX_DEPTH];
	atomic_bool stop;
	_Atomic u64 writes, reads, across, too_long, compared, view_writes, last_write;
} fz;

struct reader {
	pthread_t thread;
	struct rng rng;
	unsigned int id;
	unsigned char *buf, *buf2;
	u64 *sector, *count;			/* this epoch's samples */
};

/* ---- the origin's writer ---- */

static bool range_busy(u64 sector, u64 count)
{
	u64 i;

	for (i = 0; i < fz.o->qd; i++)
		if (fz.slot[i].count && fz.slot[i].sector < sector + count &&
		    sector < fz.slot[i].sector + fz.slot[i].count)
			return true;
	return false;
}

static void pick_write(struct rng *r, u64 *sector, u64 *count)
{
	u32 block = fz.origin.block;
	u64 n, s;

	do {
		n = rng_chance(r, 70) ? 8 : 1 + rng_below(r, WRITE_SECTORS);
		n = (n + block - 1) / block * block;
		s = rng_below(r, fz.origin.sectors);
		if (rng_chance(r, 50))
			s = s / 8 * 8;
		if (s > fz.origin.sectors - n)
			s = fz.origin.sectors - n;
		s = s / block * block;
	} while (range_busy(s, n));
	*sector = s;
	*count = n;
}

static void submit_write(struct aio *a, struct rng *r, u64 i)
{
	struct wslot *sl = &fz.slot[i];
	u64 s;
	int err;

	sl->count = 0;
	pick_write(r, &sl->sector, &sl->count);
	sl->seq = atomic_fetch_add(&fz.seq, 1) + 1;
	stamp_write(sl->buf, sl->sector, sl->count, sl->seq, BY_ORIGIN, (u32)i,
		    gens_mark(&fz.g) / 2);
	for (s = sl->sector; s < sl->sector + sl->count; s++)
		atomic_store(&fz.g.sub[s], sl->seq);
	atomic_store(&fz.last_write, sl->sector);
	err = aio_write(a, &fz.origin, sl->buf, sl->sector, sl->count, i);
	if (err)
		finding("origin write sectors %llu+%llu was not taken: %s",
			U(sl->sector), U(sl->count), strerror(-err));
}

/* True if the write ended well: then it is entered as acknowledged. */
static void end_write(const struct aio_done *d)
{
	struct wslot *sl = &fz.slot[d->tag];
	u64 s;

	if (d->res != (long)(sl->count * SECTOR_SIZE))
		finding("origin write sectors %llu+%llu failed: %s", U(sl->sector),
			U(sl->count), d->res < 0 ? strerror((int)-d->res) : "short");
	for (s = sl->sector; s < sl->sector + sl->count; s++)
		atomic_store(&fz.g.ack[s], sl->seq);
	atomic_fetch_add(&fz.writes, 1);
}

static void *writer_main(void *arg)
{
	struct aio a;
	struct aio_done done[32];
	struct rng rng;
	u64 i, flying = 0;
	int n;

	(void)arg;
	rng_seed(&rng, fz.o->seed, 1000);
	if (aio_open(&a, (unsigned int)fz.o->qd))
		die("cannot set up asynchronous I/O: %s", strerror(errno));
	for (i = 0; i < fz.o->qd; i++, flying++)
		submit_write(&a, &rng, i);
	while (flying && !failed()) {
		n = aio_wait(&a, done, 32);
		for (i = 0; (int)i < n; i++) {
			end_write(&done[i]);
			flying--;
			if (atomic_load(&fz.stop) || failed())
				continue;
			submit_write(&a, &rng, done[i].tag);
			flying++;
		}
	}
	aio_close(&a);
	return NULL;
}

/* ---- readers of the view ---- */

static bool buffer_permitted(const unsigned char *buf, u64 sector, u64 count,
			     bool previous, bool pin, u64 *bad, struct stamp *st)
{
	u64 i;

	for (i = 0; i < count; i++) {
		stamp_read(buf + i * SECTOR_SIZE, sector + i, st);
		if (st->content == IS_STAMP && st->kind != BY_VIEW &&
		    gens_permits(&fz.g, previous, sector + i, st->seq, pin))
			continue;
		*bad = sector + i;
		return false;
	}
	return true;
}

static void report(const char *what, u64 bad, u64 sector, u64 count,
		   const struct stamp *st)
{
	char text[256];

	if (!finding_begin())
		return;
	finding_line("view at sector %llu (page %llu, MiB %llu): %s", U(bad), U(bad / 8),
		     U(bad / MIB_SECTORS), what);
	finding_line("  request sectors %llu+%llu, now in epoch %llu", U(sector), U(count),
		     U(gens_mark(&fz.g) / 2));
	finding_line("  found: %s", stamp_text(st, text, sizeof(text)));
	gens_explain(&fz.g, bad);
	finding_end();
}

/* Is what was read, begun at @mark, what the view may show? */
static void judge(const unsigned char *buf, u64 sector, u64 count, u64 mark)
{
	enum when when = gens_settle(&fz.g, mark);
	struct stamp st, st2;
	u64 bad = 0, bad2 = 0;

	switch (when) {
	case IN_ONE:
		if (!buffer_permitted(buf, sector, count, false, true, &bad, &st))
			report("not the frozen content", bad, sector, count, &st);
		atomic_fetch_add(&fz.reads, 1);
		atomic_fetch_add(&fz.compared, count);
		break;
	case ACROSS:
		if (!buffer_permitted(buf, sector, count, true, false, &bad, &st) &&
		    !buffer_permitted(buf, sector, count, false, false, &bad2, &st2))
			report("neither all of the old epoch nor all of the new",
			       bad2, sector, count, &st2);
		atomic_fetch_add(&fz.across, 1);
		break;
	case TOO_LONG:
		atomic_fetch_add(&fz.too_long, 1);
		break;
	}
	gens_release(&fz.g);
}

static bool read_view(unsigned char *buf, u64 sector, u64 count)
{
	int err = dev_read(&fz.view, buf, sector, count);

	if (err)
		finding("view read sectors %llu+%llu failed: %s", U(sector), U(count),
			strerror(-err));
	return !err;
}

static void pick_samples(struct reader *rd)
{
	u32 block = fz.view.block;
	u64 i, n, s;

	for (i = 0; i < fz.o->samples; i++) {
		n = rng_chance(&rd->rng, 80) ? 8 : 1 + rng_below(&rd->rng, READ_SECTORS);
		n = (n + block - 1) / block * block;
		s = rng_chance(&rd->rng, 30) ? atomic_load(&fz.last_write) :
		    rng_below(&rd->rng, fz.sampled);
		if (s > fz.sampled - n)
			s = fz.sampled - n;
		rd->sector[i] = s / block * block;
		rd->count[i] = n;
	}
}

static void *sampler_main(void *arg)
{
	struct reader *rd = arg;
	u64 i, mark, epoch = 0;

	while (!atomic_load(&fz.stop) && !failed()) {
		mark = gens_mark(&fz.g);
		if (mark / 2 != epoch)
			pick_samples(rd);
		epoch = mark / 2;
		for (i = 0; i < fz.o->samples && !failed(); i++) {
			mark = gens_mark(&fz.g);
			if (mark / 2 != epoch)
				break;
			if (read_view(rd->buf, rd->sector[i], rd->count[i]))
				judge(rd->buf, rd->sector[i], rd->count[i], mark);
		}
	}
	return NULL;
}

/* ---- writers of the view ---- */

static bool all_of_write(const unsigned char *buf, u64 sector, u64 count, u64 seq,
			 u64 *bad, struct stamp *st)
{
	u64 i;

	for (i = 0; i < count; i++) {
		stamp_read(buf + i * SECTOR_SIZE, sector + i, st);
		if (st->content == IS_STAMP && st->kind == BY_VIEW && st->seq == seq)
			continue;
		*bad = sector + i;
		return false;
	}
	return true;
}

/*
 * Reads a write back. In the epoch that began after it was submitted it may
 * have been dropped, whole; in the one it was both submitted and acknowledged
 * in it must be there. True while it is still there.
 */
static bool check_own_write(struct reader *rd, u64 sector, u64 count, u64 seq,
			    u64 mark, enum when when)
{
	struct stamp st, st2;
	u64 bad = 0, bad2 = 0;
	bool there;

	if (when == TOO_LONG || !read_view(rd->buf2, sector, count))
		return false;
	/* the epoch the write ended in must be the one of this read */
	if (gens_settle(&fz.g, mark) != IN_ONE) {
		gens_release(&fz.g);
		return false;
	}
	there = all_of_write(rd->buf2, sector, count, seq, &bad, &st);
	if (!there && when == IN_ONE)
		report("an acknowledged write of the view is gone", bad, sector, count, &st);
	else if (!there &&
		 !buffer_permitted(rd->buf2, sector, count, false, false, &bad2, &st2))
		report("a write of the view across a checkpoint is neither there nor gone",
		       bad2, sector, count, &st2);
	atomic_fetch_add(&fz.compared, count);
	gens_release(&fz.g);
	return there;
}

static void view_write(struct reader *rd, u64 sector, u64 count)
{
	u64 seq = atomic_fetch_add(&fz.seq, 1) + 1, mark, after;
	enum when when;
	int err;

	stamp_write(rd->buf, sector, count, seq, BY_VIEW, rd->id, gens_mark(&fz.g) / 2);
	mark = gens_mark(&fz.g);
	err = dev_write(&fz.view, rd->buf, sector, count, false);
	if (err) {
		finding("view write sectors %llu+%llu failed: %s", U(sector), U(count),
			strerror(-err));
		return;
	}
	atomic_fetch_add(&fz.view_writes, 1);
	when = gens_settle(&fz.g, mark);
	after = gens_mark(&fz.g);
	gens_release(&fz.g);
	while (check_own_write(rd, sector, count, seq, after, when) &&
	       rng_chance(&rd->rng, 50) && !failed())
		when = IN_ONE;			/* seen: it must stay */
	if (rng_chance(&rd->rng, 75))
		return;
	/* once its epoch is over, nothing of it may be left */
	while (gens_mark(&fz.g) / 2 == after / 2 && !atomic_load(&fz.stop) && !failed())
		sleep_us(1000);
	mark = gens_mark(&fz.g);
	if (!(mark & 1) && mark > after && read_view(rd->buf2, sector, count))
		judge(rd->buf2, sector, count, mark);
}

static void *view_writer_main(void *arg)
{
	struct reader *rd = arg;
	u64 area = (fz.view.sectors - fz.sampled) / fz.o->view_writers;
	u64 base = fz.sampled + area * rd->id, n, s;
	u32 block = fz.view.block;

	area = area / block * block;
	base = (base + block - 1) / block * block;
	while (!atomic_load(&fz.stop) && !failed()) {
		n = 1 + rng_below(&rd->rng, 1ull << rng_below(&rd->rng, 12));
		n = (n + block - 1) / block * block;
		if (n > area - block)
			n = area - block;
		s = base + rng_below(&rd->rng, area - block - n + 1) / block * block;
		view_write(rd, s, n);
	}
	return NULL;
}

/* ---- the run ---- */

static void frozen_line(FILE *to)
{
	fprintf(to, "%llu checkpoints, %llu origin writes, %llu view reads compared ",
		U(fz.g.checkpoints), U(atomic_load(&fz.writes)),
		U(atomic_load(&fz.reads)));
}

static u64 frozen_done(void)
{
	return atomic_load(&fz.writes) + atomic_load(&fz.reads);
}

static void frozen_stalled(void)
{
	u64 i;

	for (i = 0; i < fz.o->qd; i++)
		if (fz.slot[i].count)
			finding_line("  under way: origin write sectors %llu+%llu",
				     U(fz.slot[i].sector), U(fz.slot[i].count));
}

static const struct progress_ops frozen_progress = {
	.line = frozen_line,
	.done = frozen_done,
	.stalled = frozen_stalled,
};

static void prepare(struct opts *o)
{
	unsigned char *buf = io_buffer(MIB_SECTORS * SECTOR_SIZE);
	bool running;
	u64 i;

	fz.o = o;
	dev_open(&fz.view, "view", o->view, true);
	dev_open(&fz.origin, "origin", o->origin, true);
	if (fz.view.sectors != fz.origin.sectors || fz.view.sectors < 8 * MIB_SECTORS)
		die("view and origin must be of one length, at least 8 MiB");
	fz.name = o->view_name ? o->view_name : dm_name_of(o->view);
	fz.sampled = o->view_writers ? fz.view.sectors / 4 * 3 : fz.view.sectors;
	for (i = 0; i < o->qd; i++)
		fz.slot[i].buf = io_buffer((WRITE_SECTORS + 8) * SECTOR_SIZE);
	gens_init(&fz.g, fz.view.sectors);
	running = pair_is_running(fz.name);
	dev_fill(&fz.origin, buf, 1);
	free(buf);
	atomic_store(&fz.seq, 1);
	for (i = 0; i < fz.g.entries; i++) {
		atomic_store(&fz.g.sub[i], 1);
		atomic_store(&fz.g.ack[i], 1);
	}
	if (!running)
		pair_begin(fz.name, "start");
	gens_checkpoint(&fz.g, fz.name, "checkpoint");
}

static void readers_start(struct reader *rd, unsigned int samplers, unsigned int n)
{
	struct opts *o = fz.o;
	unsigned int i;

	for (i = 0; i < n; i++) {
		bool sampler = i < samplers;

		rd[i].id = sampler ? i : i - samplers;
		rng_seed(&rd[i].rng, o->seed, i + 1);
		rd[i].buf = io_buffer((VIEW_SECTORS + 8) * SECTOR_SIZE);
		rd[i].buf2 = io_buffer((VIEW_SECTORS + 8) * SECTOR_SIZE);
		rd[i].sector = xcalloc(o->samples, sizeof(u64));
		rd[i].count = xcalloc(o->samples, sizeof(u64));
		if (pthread_create(&rd[i].thread, NULL,
				   sampler ? sampler_main : view_writer_main, &rd[i]))
			die("cannot start a thread");
	}
}

static void readers_end(struct reader *rd, unsigned int n)
{
	unsigned int i;

	for (i = 0; i < n; i++) {
		pthread_join(rd[i].thread, NULL);
		free(rd[i].buf);
		free(rd[i].buf2);
		free(rd[i].sector);
		free(rd[i].count);
	}
}

static void checkpoints_on_time(struct opts *o)
{
	u64 next = now_us(), now;

	while (fz.g.checkpoints <= o->checkpoints && !failed()) {
		next += o->interval_ms * 1000;
		now = now_us();		/* one look: time goes on between two */
		if (now < next)
			sleep_us(next - now);
		else
			next = now;
		gens_checkpoint(&fz.g, fz.name, "checkpoint");
	}
}

static void summary(struct opts *o)
{
	struct pair_status st = { .pause_last = 0 };
	u64 n = fz.g.checkpoints;

	if (dm_pair_status(fz.name, &st))
		finding("no status of %s at the end", fz.name);
	if (!failed() && !atomic_load(&fz.reads))
		finding("not one read of the view could be judged: the interval is too short");
	printf("%s frozen ops=%llu compares=%llu sectors=%llu across=%llu unjudged=%llu",
	       failed() ? "failed" : "ok", U(atomic_load(&fz.writes)),
	       U(atomic_load(&fz.reads)), U(atomic_load(&fz.compared)),
	       U(atomic_load(&fz.across)), U(atomic_load(&fz.too_long)));
	printf(" view_writes=%llu checkpoints=%llu message_us_mean=%llu message_us_max=%llu",
	       U(atomic_load(&fz.view_writes)), U(n), U(n ? fz.g.latency_sum / n : 0),
	       U(fz.g.latency_max));
	printf(" pause_us_last=%llu pause_us_longest=%llu seed=%llu\n", U(st.pause_last),
	       U(st.pause_longest), U(o->seed));
}

int cmd_frozen(struct opts *o)
{
	struct reader rd[MAX_READERS];
	unsigned int samplers = o->readers ? (unsigned int)o->readers : 2;
	unsigned int n = samplers + (unsigned int)o->view_writers;
	pthread_t writer;
	u64 i;

	if (n > MAX_READERS || !o->qd || o->qd > MAX_DEPTH || !o->samples)
		die("frozen takes up to %u readers and view writers, --qd 1 to %u, --samples",
		    MAX_READERS, MAX_DEPTH);
	memset(rd, 0, sizeof(rd));
	prepare(o);
	progress_start(o->progress, &frozen_progress);
	if (pthread_create(&writer, NULL, writer_main, NULL))
		die("cannot start a thread");
	readers_start(rd, samplers, n);
	checkpoints_on_time(o);
	atomic_store(&fz.stop, true);
	pthread_join(writer, NULL);
	readers_end(rd, n);
	progress_stop();
	summary(o);
	for (i = 0; i < o->qd; i++)
		free(fz.slot[i].buf);
	gens_free(&fz.g);
	return failed() ? EXIT_MISMATCH : EXIT_OK;
}
