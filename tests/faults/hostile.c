// SPDX-License-Identifier: GPL-2.0-only
/*
 * Metadata devices that somebody has made up: superblocks and records with
 * any fields, most of them with a right checksum. Whatever is on the device,
 * a view is refused with EINVAL or EILSEQ, or it comes up and serves; then each
 * sector that it shows is that sector of active, hidden or secondary, its status
 * is one that there can be, and all messages come to an end.
 *
 * Expects the disks h-active, h-hidden, h-secondary (of one length) and
 * h-metadata in /dev/mapper.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <linux/fs.h>
#include <unistd.h>

#include "../../dm-replication-format.h"
#include "../../tools/verify.h"
#include "dmctl.h"

#define VIEW	"h-view"
#define ORIGIN	"h-origin"
#define IMAGE	(128 * 1024)		/* what is kept of the metadata device */

static struct rng rng;
static struct dev disk[4];
static const char *const paths[4] = {
	"/dev/mapper/h-active", "/dev/mapper/h-hidden", "/dev/mapper/h-secondary",
	"/dev/mapper/h-metadata",
};

static u64 sectors, seed;
static unsigned char *buf, *image, *template;
static struct {
	u64 images, accepted, refused, reads, failed_reads, done;
} totals;

static u32 crc32c(const unsigned char *p, size_t n)
{
	u32 crc = ~0u;
	unsigned int i;

	while (n--) {
		crc ^= *p++;
		for (i = 0; i < 8; i++)
			crc = crc >> 1 ^ (crc & 1 ? 0x82f63b78u : 0);
	}
	return crc;
}

static void seal(void *sector)
{
	u32 crc = crc32c((unsigned char *)sector + 4, DMREPL_SECTOR - 4);

	memcpy(sector, &crc, 4);
}

static int make_pair(void)
{
	char params[160];
	int r = dmctl_make(ORIGIN, sectors, "replication",
			   "origin /dev/mapper/h-secondary 1 fenced");

	if (r)
		die("cannot make the origin: %s", strerror(-r));
	snprintf(params, sizeof(params), "secondary %s %s %s 2 metadata %s", paths[0],
		 paths[1], paths[2], paths[3]);
	r = dmctl_make(VIEW, sectors, "replication", params);
	if (r)
		dmctl_remove(ORIGIN);
	return r;
}

/*
 * A failover that fails since its data is lost holds its view: the table is taken
 * away by force then.
 */
static void remove_it(const char *name)
{
	u64 began = now_us();
	bool forced = false;
	int r;

	while ((r = dmctl_remove(name)) == -EBUSY && now_us() - began < 20000000) {
		sleep_us(2000);
		if (!forced && now_us() - began > 500000)
			forced = !dmctl_swap(name, sectors, "error", "");
	}
	if (r)
		finding("cannot remove %s: %s", name, strerror(-r));
}

/* Numbers that somebody would try. */
static u64 odd_number(void)
{
	static const u64 some[] = {
		0, 1, 2, 3, 4, 5, 6, 7, 8, 255, 511, 512, 4096, 65535, 1u << 31, ~0u,
		1ull << 32, 1ull << 63, ~0ull, ~0ull - 1, ~0ull >> 1,
	};

	if (rng_chance(&rng, 70))
		return some[rng_below(&rng, sizeof(some) / sizeof(some[0]))];
	return rng_next(&rng) >> rng_below(&rng, 64);
}

/* One field or another of 4 or 8 bytes, or any byte. */
static void spoil(unsigned char *sector, size_t fields)
{
	unsigned int n = 1 + (unsigned int)rng_below(&rng, 4);
	u64 value;

	for (; n; n--) {
		value = odd_number();
		switch (rng_below(&rng, 3)) {
		case 0:
			memcpy(sector + rng_below(&rng, fields / 8) * 8, &value, 8);
			break;
		case 1:
			memcpy(sector + rng_below(&rng, fields / 4) * 4, &value, 4);
			break;
		default:
			sector[rng_below(&rng, DMREPL_SECTOR)] = (unsigned char)value;
		}
	}
	if (rng_chance(&rng, 90))
		seal(sector);
}

/* Both superblocks alike, so that what is spoilt counts. */
static void spoil_image(void)
{
	u64 records = dmrepl_records(sectors), i;

	memcpy(image, template, IMAGE);
	if (rng_chance(&rng, 60)) {
		spoil(image, 112);
		memcpy(image + DMREPL_SUPER_STEP, image, DMREPL_SECTOR);
	}
	if (rng_chance(&rng, 20))
		spoil(image + DMREPL_SUPER_STEP, 112);
	for (i = 0; i < records; i++)
		if (rng_chance(&rng, 40))
			spoil(image + DMREPL_RECORDS + i * DMREPL_SECTOR, 352);
	if (rng_chance(&rng, 3))
		for (i = 0; i < IMAGE; i++)
			image[i] = (unsigned char)rng_next(&rng);
}

static void read_view(const struct dev *d)
{
	struct stamp st;
	char text[256];
	u64 s, i;

	for (s = 0; s < sectors && !failed(); s += 128) {
		u64 n = sectors - s < 128 ? sectors - s : 128;

		totals.reads++;
		if (dev_read(d, buf, s, n)) {
			totals.failed_reads++;
			continue;
		}
		for (i = 0; i < n; i++) {
			stamp_read(buf + i * SECTOR_SIZE, s + i, &st);
			if (st.content != IS_STAMP)
				finding("the view's sector %llu: %s", U(s + i),
					stamp_text(&st, text, sizeof(text)));
		}
	}
}

static void use_view(void)
{
	static const char *const words[] = {
		"get_error", "start", "checkpoint", "guard off", "start", "stop",
		"failover", "failover", "promote",
	};
	struct dev d = { 0 };
	char answer[256];
	unsigned int i, n = 1 + (unsigned int)rng_below(&rng, 4);

	dev_open(&d, "view", "/dev/mapper/" VIEW, true);
	read_view(&d);
	for (i = 0; i < n && !failed(); i++) {
		u64 sector = rng_below(&rng, sectors - 8);

		stamp_write(buf, sector, 8, totals.images + 10, BY_VIEW, 0, 0);
		dev_write(&d, buf, sector, 8, rng_chance(&rng, 30));
		dmctl_message(VIEW, words[rng_below(&rng, 9)], answer, sizeof(answer));
		if (rng_chance(&rng, 30))
			read_view(&d);
	}
	close(d.fd);
}

/* What it came up with exists. */
static void expect_status(void)
{
	static const char *const stages[] = {
		"none", "running", "failover", "failover_failed", "done", "stopped",
		"invalid",
	};
	unsigned long long active, saved;
	char line[1024], stage[32];
	unsigned int i;

	if (dmctl_status(VIEW, line, sizeof(line)) ||
	    sscanf(line, "secondary %31s %*s %*s %*s %llu %llu", stage, &active,
		   &saved) != 3) {
		finding("no status: %s", line);
		return;
	}
	for (i = 0; i < sizeof(stages) / sizeof(stages[0]); i++)
		if (!strcmp(stage, stages[i]))
			break;
	if (i == sizeof(stages) / sizeof(stages[0]) || active > sectors ||
	    saved > sectors)
		finding("a status that cannot be: %s", line);
}

static void one_image(u64 i)
{
	int r;

	rng_seed(&rng, seed, i);
	spoil_image();
	if (dev_write(&disk[3], image, 0, IMAGE / SECTOR_SIZE, false))
		die("cannot write the metadata device");
	r = make_pair();
	totals.images++;
	if (r) {
		totals.refused++;
		if (r != -EINVAL && r != -EILSEQ)
			finding("refused with %s", strerror(-r));
		return;
	}
	totals.accepted++;
	expect_status();
	use_view();
	remove_it(VIEW);
	remove_it(ORIGIN);
}

/* A pair in the middle of its life, as a crash would leave it. */
static void make_template(void)
{
	struct dev view = { 0 }, origin = { 0 };
	unsigned int i;

	memset(image, 0, IMAGE);
	if (dev_write(&disk[3], image, 0, IMAGE / SECTOR_SIZE, false) || make_pair() ||
	    dmctl_message(VIEW, "start", NULL, 0))
		die("cannot make a pair with metadata");
	dev_open(&view, "view", "/dev/mapper/" VIEW, true);
	dev_open(&origin, "origin", "/dev/mapper/" ORIGIN, true);
	for (i = 0; i < 20; i++) {
		u64 sector = rng_below(&rng, sectors - 16);

		stamp_write(buf, sector, 16, 5, BY_VIEW, 0, 0);
		if (dev_write(i & 1 ? &view : &origin, buf, sector, 16, true))
			die("cannot write");
	}
	if (dev_flush(&view) || dev_read(&disk[3], template, 0, IMAGE / SECTOR_SIZE))
		die("cannot read the metadata device");
	close(view.fd);
	close(origin.fd);
	remove_it(VIEW);
	remove_it(ORIGIN);
}

static void prepare(void)
{
	unsigned int i;

	buf = io_buffer(MIB_SECTORS * SECTOR_SIZE);
	image = io_buffer(IMAGE);
	template = io_buffer(IMAGE);
	stamp_run(1);
	for (i = 0; i < 4; i++)
		dev_open(&disk[i], "disk", paths[i], true);
	sectors = disk[0].sectors;
	/* each disk's own numbers: all of them are that sector's */
	for (i = 0; i < 3; i++)
		dev_fill(&disk[i], buf, i + 1);
	rng_seed(&rng, seed, ~0ull);
	make_template();
}

static u64 done_so_far(void)
{
	return totals.images + totals.reads;
}

static void line(FILE *to)
{
	fprintf(to, "%llu images ", U(totals.images));
}

static void stalled(void)
{
	finding_line("  with image %llu, seed %llu", U(totals.images), U(seed));
}

static const struct progress_ops progress_ops = {
	.line = line, .done = done_so_far, .stalled = stalled,
};

int main(int argc, char **argv)
{
	u64 i, n;

	if (argc != 3)
		die("usage: hostile IMAGES SEED");
	n = strtoull(argv[1], NULL, 10);
	seed = strtoull(argv[2], NULL, 10);
	printf("# hostile: %llu images, seed %llu\n", U(n), U(seed));
	prepare();
	progress_start(false, &progress_ops);
	for (i = 0; i < n && !failed(); i++)
		one_image(i);
	progress_stop();
	if (failed())
		printf("MISMATCH   with image %llu of seed %llu\n", U(i), U(seed));
	printf("%s hostile images=%llu accepted=%llu refused=%llu ",
	       failed() ? "failed" : "ok", U(totals.images), U(totals.accepted),
	       U(totals.refused));
	printf("reads=%llu failed_reads=%llu seed=%llu\n", U(totals.reads),
	       U(totals.failed_reads), U(seed));
	return failed() ? EXIT_MISMATCH : EXIT_OK;
}
