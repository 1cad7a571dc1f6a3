// SPDX-License-Identifier: GPL-2.0-only
/*
 * groups: streams write number n to pair A, and to pair B once A has
 * acknowledged it. Whatever moment a checkpoint of both takes, A shows B's
 * number or the next one. Views that took different moments would not.
 */

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "verify-gen.h"

#define MAX_STREAMS	256
#define READERS		2

/* entry of stream i: 2 * i on A, 2 * i + 1 on B */
static struct {
	struct opts *o;
	struct dev view[2], origin[2];
	const char *name;
	struct gens g;
	u64 stride, count;			/* in sectors */
	u64 n[MAX_STREAMS];
	unsigned char *buf[MAX_STREAMS];
	atomic_bool stop;
	_Atomic u64 writes, reads, unjudged;
} gr;

static u64 place(u64 stream)
{
	return stream * gr.stride;
}

static void submit(struct aio *a, u64 stream, unsigned int side)
{
	u64 n = gr.n[stream];
	int err;

	stamp_write(gr.buf[stream], place(stream), gr.count, n, BY_ORIGIN,
		    (u32)stream, gens_mark(&gr.g) / 2);
	atomic_store(&gr.g.sub[2 * stream + side], n);
	err = aio_write(a, &gr.origin[side], gr.buf[stream], place(stream), gr.count,
			2 * stream + side);
	if (err)
		finding("write to origin %c was not taken: %s", "AB"[side],
			strerror(-err));
}

static void *writer_main(void *arg)
{
	struct aio a;
	struct aio_done done[32];
	u64 i, stream, flying = 0;
	unsigned int side;
	int n;

	(void)arg;
	if (aio_open(&a, (unsigned int)gr.o->streams))
		die("cannot set up asynchronous I/O: %s", strerror(errno));
	for (i = 0; i < gr.o->streams; i++, flying++) {
		gr.n[i]++;
		submit(&a, i, 0);
	}
	while (flying && !failed()) {
		n = aio_wait(&a, done, 32);
		for (i = 0; (int)i < n; i++) {
			stream = done[i].tag / 2;
			side = done[i].tag % 2;
			if (done[i].res != (long)(gr.count * SECTOR_SIZE))
				finding("a write to origin %c failed", "AB"[side]);
			atomic_store(&gr.g.ack[done[i].tag], gr.n[stream]);
			atomic_fetch_add(&gr.writes, 1);
			flying--;
			if (atomic_load(&gr.stop) || failed())
				continue;
			gr.n[stream] += side;
			submit(&a, stream, !side);
			flying++;
		}
	}
	aio_close(&a);
	return NULL;
}

static bool read_side(unsigned char *buf, u64 stream, unsigned int side, struct stamp *st)
{
	int err = dev_read(&gr.view[side], buf, place(stream), gr.count);
	char text[256];
	u64 i, seq = 0;

	if (err) {
		finding("read of view %c failed: %s", "AB"[side], strerror(-err));
		return false;
	}
	for (i = 0; i < gr.count; i++) {
		stamp_read(buf + i * SECTOR_SIZE, place(stream) + i, st);
		if (st->content == IS_STAMP && (!i || st->seq == seq)) {
			seq = st->seq;
			continue;
		}
		finding("view %c, sector %llu, is of no single write: %s", "AB"[side],
			U(place(stream) + i), stamp_text(st, text, sizeof(text)));
		return false;
	}
	return true;
}

static void judge(u64 stream, const struct stamp *a, const struct stamp *b)
{
	bool a_ok = gens_permits(&gr.g, false, 2 * stream, a->seq, true);
	bool b_ok = gens_permits(&gr.g, false, 2 * stream + 1, b->seq, true);

	atomic_fetch_add(&gr.reads, 1);
	if (a_ok && b_ok && a->seq >= b->seq && a->seq <= b->seq + 1)
		return;
	if (!finding_begin())
		return;
	finding_line("stream %llu (sector %llu), epoch %llu: A must show B's write or the next",
		     U(stream), U(place(stream)), U(gens_mark(&gr.g) / 2));
	finding_line(" view A shows write %llu%s", U(a->seq),
		     a_ok ? "" : ", which it may not in this epoch");
	gens_explain(&gr.g, 2 * stream);
	finding_line(" view B shows write %llu%s", U(b->seq),
		     b_ok ? "" : ", which it may not in this epoch");
	gens_explain(&gr.g, 2 * stream + 1);
	finding_end();
}

static void *reader_main(void *arg)
{
	unsigned char *buf = io_buffer(gr.count * SECTOR_SIZE);
	struct rng *rng = arg;
	struct stamp a, b;
	u64 stream, mark;
	bool first;

	while (!atomic_load(&gr.stop) && !failed()) {
		stream = rng_below(rng, gr.o->streams);
		first = rng_chance(rng, 50);
		mark = gens_mark(&gr.g);
		if (!read_side(buf, stream, first, first ? &b : &a) ||
		    !read_side(buf, stream, !first, first ? &a : &b))
			break;
		if (gens_settle(&gr.g, mark) == IN_ONE)
			judge(stream, &a, &b);
		else
			atomic_fetch_add(&gr.unjudged, 1);
		gens_release(&gr.g);
	}
	free(buf);
	return NULL;
}

static void groups_line(FILE *to)
{
	fprintf(to, "%llu checkpoints, %llu writes, %llu pairs of reads compared ",
		U(gr.g.checkpoints), U(atomic_load(&gr.writes)),
		U(atomic_load(&gr.reads)));
}

static u64 groups_done(void)
{
	return atomic_load(&gr.writes) + atomic_load(&gr.reads);
}

static void groups_stalled(void)
{
	u64 i;

	for (i = 0; i < gr.o->streams; i++)
		finding_line("  stream %llu is at write %llu", U(i), U(gr.n[i]));
}

static const struct progress_ops groups_progress = {
	.line = groups_line,
	.done = groups_done,
	.stalled = groups_stalled,
};

static void prepare(struct opts *o)
{
	unsigned char *buf = io_buffer(MIB_SECTORS * SECTOR_SIZE);
	const char *name_b;
	u64 i;

	gr.o = o;
	dev_open(&gr.view[0], "view A", o->view, true);
	dev_open(&gr.view[1], "view B", o->view_b, true);
	dev_open(&gr.origin[0], "origin A", o->origin, true);
	dev_open(&gr.origin[1], "origin B", o->origin_b, true);
	gr.name = o->view_name ? o->view_name : dm_name_of(o->view);
	name_b = o->view_name_b ? o->view_name_b : dm_name_of(o->view_b);
	gr.count = 8;
	gr.stride = gr.view[0].sectors;
	if (gr.view[1].sectors < gr.stride)
		gr.stride = gr.view[1].sectors;
	gr.stride = gr.stride / o->streams / 8 * 8;
	if (!gr.stride)
		die("the pairs are too short for %llu streams", U(o->streams));
	gens_init(&gr.g, 2 * o->streams);
	if (pair_is_running(gr.name) != pair_is_running(name_b))
		die("one pair is running, the other is not");
	dev_fill(&gr.origin[0], buf, 1);
	dev_fill(&gr.origin[1], buf, 1);
	free(buf);
	for (i = 0; i < o->streams; i++) {
		gr.n[i] = 1;
		gr.buf[i] = io_buffer(gr.count * SECTOR_SIZE);
		atomic_store(&gr.g.sub[2 * i], 1);
		atomic_store(&gr.g.ack[2 * i], 1);
		atomic_store(&gr.g.sub[2 * i + 1], 1);
		atomic_store(&gr.g.ack[2 * i + 1], 1);
	}
	if (!pair_is_running(gr.name))
		pair_begin(gr.name, "start all");
	gens_checkpoint(&gr.g, gr.name, "checkpoint all");
}

static void checkpoints_on_time(struct opts *o)
{
	while (gr.g.checkpoints <= o->checkpoints && !failed()) {
		sleep_us(o->interval_ms * 1000);
		gens_checkpoint(&gr.g, gr.name, "checkpoint all");
	}
	atomic_store(&gr.stop, true);
}

int cmd_groups(struct opts *o)
{
	pthread_t writer, reader[READERS];
	struct rng rng[READERS];
	u64 i, n;

	if (!o->view_b || !o->origin_b)
		die("groups needs --view-b and --origin-b");
	if (!o->streams || o->streams > MAX_STREAMS)
		die("groups takes 1 to %u streams", MAX_STREAMS);
	prepare(o);
	progress_start(o->progress, &groups_progress);
	if (pthread_create(&writer, NULL, writer_main, NULL))
		die("cannot start a thread");
	for (i = 0; i < READERS; i++) {
		rng_seed(&rng[i], o->seed, i);
		if (pthread_create(&reader[i], NULL, reader_main, &rng[i]))
			die("cannot start a thread");
	}
	checkpoints_on_time(o);
	pthread_join(writer, NULL);
	for (i = 0; i < READERS; i++)
		pthread_join(reader[i], NULL);
	progress_stop();
	n = gr.g.checkpoints;
	if (!failed() && !atomic_load(&gr.reads))
		finding("not one read of the views could be judged: the interval is too short");
	printf("%s groups ops=%llu compares=%llu unjudged=%llu checkpoints=%llu",
	       failed() ? "failed" : "ok", U(atomic_load(&gr.writes)),
	       U(atomic_load(&gr.reads)), U(atomic_load(&gr.unjudged)), U(n));
	printf(" message_us_mean=%llu message_us_max=%llu seed=%llu\n",
	       U(n ? gr.g.latency_sum / n : 0), U(gr.g.latency_max), U(o->seed));
	for (i = 0; i < o->streams; i++)
		free(gr.buf[i]);
	gens_free(&gr.g);
	return failed() ? EXIT_MISMATCH : EXIT_OK;
}
