// SPDX-License-Identifier: GPL-2.0-only
/* What a written sector says about itself, and how it is read back. */

#include <string.h>

#include "verify.h"

/*
 * A sector is 64 words in the machine's byte order:
 *   0 magic, 1 its own sector number, 2 sequence number, 3 run << 32 | kind <<
 *   24 | writer, 4 epoch as the writer saw it, 5..62 filling that depends on
 *   1 and 2, 63 checksum over words 0..62.
 */
#define WORDS		(SECTOR_SIZE / 8)
#define MAGIC		0x7265766c706d6401ull
#define FILL_STEP	0x9e3779b97f4a7c15ull

static u32 this_run;

void stamp_run(u32 run)
{
	this_run = run;
}

static u64 checksum(const u64 *w)
{
	u64 a = MAGIC, b = FILL_STEP;
	unsigned int i;

	for (i = 0; i + 1 < WORDS - 1; i += 2) {
		a = ((a << 7) | (a >> 57)) ^ w[i];
		b = ((b << 11) | (b >> 53)) + w[i + 1];
	}
	a ^= w[WORDS - 2];
	return (a + (b << 1)) * FILL_STEP ^ b;
}

static void stamp_one(u64 *w, u64 sector, u64 seq, u64 meta, u64 epoch)
{
	u64 fill = (seq * FILL_STEP) ^ (sector << 20);
	unsigned int i;

	w[0] = MAGIC;
	w[1] = sector;
	w[2] = seq;
	w[3] = meta;
	w[4] = epoch;
	for (i = 5; i < WORDS - 1; i++)
		w[i] = fill += FILL_STEP;
	w[WORDS - 1] = checksum(w);
}

void stamp_write(void *buf, u64 sector, u64 count, u64 seq,
		 enum writer_kind kind, u32 writer, u64 epoch)
{
	u64 meta = (u64)this_run << 32 | (u64)kind << 24 | (writer & 0xffffff);
	u64 *w = buf;

	for (; count; count--, sector++, w += WORDS)
		stamp_one(w, sector, seq, meta, epoch);
}

static bool all_zero(const u64 *w)
{
	return !w[0] && !memcmp(w, w + 1, SECTOR_SIZE - 8);
}

void stamp_read(const void *buf, u64 sector, struct stamp *st)
{
	const u64 *w = buf;
	u64 meta = w[3];

	st->sector = w[1];
	st->seq = w[2];
	st->run = (u32)(meta >> 32);
	st->kind = (enum writer_kind)(meta >> 24 & 0xff);
	st->writer = meta & 0xffffff;
	st->epoch = w[4];
	memcpy(st->head, buf, sizeof(st->head));

	if (w[0] != MAGIC)
		st->content = all_zero(w) ? IS_ZERO : IS_JUNK;
	else if (w[WORDS - 1] != checksum(w))
		st->content = IS_TORN;
	else if (st->run != this_run)
		st->content = IS_FOREIGN;
	else if (st->sector != sector)
		st->content = IS_MISPLACED;
	else
		st->content = IS_STAMP;
}

static const char *kind_text(enum writer_kind kind)
{
	switch (kind) {
	case BY_FILL:
		return "fill";
	case BY_ORIGIN:
		return "origin";
	case BY_VIEW:
		return "view";
	}
	return "unknown";
}

static const char *content_text(enum content c)
{
	switch (c) {
	case IS_STAMP:
		return "stamp";
	case IS_TORN:
		return "TORN stamp (checksum wrong)";
	case IS_MISPLACED:
		return "MISPLACED stamp";
	case IS_FOREIGN:
		return "stamp of another run";
	case IS_ZERO:
		return "zeroes";
	case IS_JUNK:
		break;
	}
	return "no stamp";
}

const char *stamp_text(const struct stamp *st, char *buf, size_t len)
{
	const unsigned char *h = st->head;

	if (st->content == IS_ZERO)
		snprintf(buf, len, "zeroes");
	else if (st->content == IS_JUNK)
		snprintf(buf, len, "no stamp, begins %02x%02x%02x%02x %02x%02x%02x%02x",
			 h[0], h[1], h[2], h[3], h[4], h[5], h[6], h[7]);
	else
		snprintf(buf, len,
			 "%s: %s write seq %llu, writer %u, epoch %llu, sector %llu, run %08x",
			 content_text(st->content), kind_text(st->kind),
			 (unsigned long long)st->seq, st->writer,
			 (unsigned long long)st->epoch,
			 (unsigned long long)st->sector, st->run);
	return buf;
}

const char *id_text(u64 id, char *buf, size_t len)
{
	if (!id)
		snprintf(buf, len, "none");
	else if (id & ID_ZERO)
		snprintf(buf, len, "zeroes of seq %llu",
			 (unsigned long long)ID_SEQ(id));
	else
		snprintf(buf, len, "seq %llu", (unsigned long long)id);
	return buf;
}
