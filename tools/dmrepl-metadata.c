// SPDX-License-Identifier: GPL-2.0-only
/*
 * Look at, check and repair the metadata device of a replication pair, as
 * thin_dump, thin_check and thin_repair do for a thin pool:
 *
 *	dmrepl-metadata size SECTORS		bytes that a device must have
 *	dmrepl-metadata dump DEVICE		all of it as XML, in sectors
 *	dmrepl-metadata check DEVICE		one line for each thing that is wrong
 *	dmrepl-metadata repair DEVICE		what can be made whole again
 *
 * Exit status: 0 fine (repair: fine now), 1 something is wrong, 2 wrong usage,
 * or it cannot be read. The pair must not be loaded for check and repair, else
 * what is found may be half of a change. A description of the format is in
 * dm-replication-format.h.
 */
#define _GNU_SOURCE
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../dm-replication-format.h"

enum verdict { FINE, BLANK, DAMAGED, UNREADABLE };

struct image {
	const char *path;
	int fd;
	struct dmrepl_super supers[DMREPL_NR_SUPERS];
	enum verdict verdicts[DMREPL_NR_SUPERS];
	int newest;		/* the one that counts, -1: none */
	uint64_t tag;
	uint64_t epoch;
	uint64_t sectors;
	uint32_t block;
	bool primary;		/* its mode; else secondary */
	uint64_t damaged;	/* records */
	uint64_t newer;		/* records of an epoch to come */
	uint64_t last_epoch;	/* the latest of them */
	uint64_t lost;
	int wrong;
};

static const char * const verdict_names[] = {
	"fine", "blank", "damaged", "unreadable",
};

__attribute__((format(printf, 1, 2), noreturn)) static void
die(const char *text, ...)
{
	va_list args;

	va_start(args, text);
	fprintf(stderr, "dmrepl-metadata: ");
	vfprintf(stderr, text, args);
	va_end(args);
	fprintf(stderr, "\n");
	exit(2);
}

__attribute__((format(printf, 2, 3))) static void
complain(struct image *im, const char *text, ...)
{
	va_list args;

	va_start(args, text);
	vprintf(text, args);
	printf("\n");
	va_end(args);
	im->wrong++;
}

static uint32_t checksum(const void *sector)
{
	const unsigned char *byte = (const unsigned char *)sector + 4;
	const unsigned char *end = (const unsigned char *)sector + DMREPL_SECTOR;
	uint32_t crc = ~0U;
	int i;

	for (; byte < end; byte++) {
		crc ^= *byte;
		for (i = 0; i < 8; i++)
			crc = crc >> 1 ^ (crc & 1 ? 0x82f63b78U : 0);
	}
	return crc;
}

static bool is_whole(const void *sector)
{
	__le32 sum;

	memcpy(&sum, sector, sizeof(sum));
	return le32toh(sum) == checksum(sector);
}

static void seal(void *sector)
{
	__le32 sum = htole32(checksum(sector));

	memcpy(sector, &sum, sizeof(sum));
}

static bool is_zero(const void *sector)
{
	static const unsigned char zeroes[DMREPL_SECTOR];

	return !memcmp(sector, zeroes, DMREPL_SECTOR);
}

static enum verdict look_at_super(struct image *im, int i)
{
	struct dmrepl_super *s = &im->supers[i];

	if (pread(im->fd, s, sizeof(*s), (off_t)i * DMREPL_SUPER_STEP) !=
	    sizeof(*s))
		return UNREADABLE;
	if (is_zero(s))
		return BLANK;
	if (le64toh(s->magic) != DMREPL_SUPER_MAGIC || !is_whole(s))
		return DAMAGED;
	return FINE;
}

/* Find the superblock that counts. */
static void read_supers(struct image *im)
{
	const struct dmrepl_super *s;
	int i;

	im->newest = -1;
	for (i = 0; i < DMREPL_NR_SUPERS; i++) {
		im->verdicts[i] = look_at_super(im, i);
		if (im->verdicts[i] == FINE &&
		    (im->newest < 0 || le64toh(im->supers[i].sequence) >
		     le64toh(im->supers[im->newest].sequence)))
			im->newest = i;
	}
	if (im->newest < 0)
		return;
	s = &im->supers[im->newest];
	if (le32toh(s->version) > DMREPL_VERSION)
		die("%s: format %u is newer than this program's %u", im->path,
		    le32toh(s->version), DMREPL_VERSION);
	im->tag = le64toh(s->tag);
	im->epoch = le64toh(s->epoch);
	im->sectors = le64toh(s->sectors);
	im->block = le32toh(s->block);
	im->primary = le32toh(s->mode) == DMREPL_MODE_PRIMARY;
}

static bool get_bit(const __le64 *words, unsigned int bit)
{
	return le64toh(words[bit / 64]) >> bit % 64 & 1;
}

static bool has_stray_bits(struct image *im, const struct dmrepl_record *r,
			   uint64_t number)
{
	uint64_t left = im->sectors - number * DMREPL_STRETCH_SECTORS;
	unsigned int n = left < DMREPL_STRETCH_SECTORS ? left :
							 DMREPL_STRETCH_SECTORS;
	unsigned int bit;

	bit = (n + DMREPL_PAGE_SECTORS - 1) / DMREPL_PAGE_SECTORS;
	for (; bit < DMREPL_SAVED_WORDS * 64; bit++)
		if (get_bit(r->saved, bit))
			return true;
	for (bit = n / (im->block / 512); bit < DMREPL_ACTIVE_WORDS * 64; bit++)
		if (get_bit(r->active, bit))
			return true;
	return false;
}

/* Return: what is wrong with a record, or NULL. */
static const char *judge(struct image *im, const struct dmrepl_record *r,
			 uint64_t number)
{
	if (is_zero(r))
		return NULL;
	if (!is_whole(r))
		return "its checksum is wrong";
	if (le32toh(r->magic) != DMREPL_RECORD_MAGIC)
		return "it is no record";
	if (le64toh(r->tag) != im->tag)
		return "it is of another metadata device";
	if (le64toh(r->number) != number)
		return "it belongs elsewhere";
	if (has_stray_bits(im, r, number))
		return "it has bits beyond the end";
	return NULL;
}

static bool is_current(struct image *im, const struct dmrepl_record *r)
{
	return !is_zero(r) && le64toh(r->epoch) == im->epoch;
}

static uint64_t last_sector(struct image *im, uint64_t number)
{
	uint64_t end = (number + 1) * DMREPL_STRETCH_SECTORS;

	return (end < im->sectors ? end : im->sectors) - 1;
}

static off_t record_at(uint64_t number)
{
	return DMREPL_RECORDS + (off_t)number * DMREPL_SECTOR;
}

/* @r has no more than zeroes if it cannot be read. */
static const char *read_record(struct image *im, struct dmrepl_record *r,
			       uint64_t number)
{
	if (pread(im->fd, r, sizeof(*r), record_at(number)) != sizeof(*r)) {
		memset(r, 0, sizeof(*r));
		return "it cannot be read";
	}
	return judge(im, r, number);
}

typedef void (*visit)(struct image *im, uint64_t number,
		      struct dmrepl_record *r, const char *why);

static void visit_records(struct image *im, visit fn)
{
	uint64_t number, n = dmrepl_records(im->sectors);
	struct dmrepl_record r;
	const char *why;

	for (number = 0; number < n; number++) {
		why = read_record(im, &r, number);
		fn(im, number, &r, why);
	}
}

/*
 *---------------------------------------------------------------------------
 * dump
 *---------------------------------------------------------------------------
 */
static const char *stage_name(uint32_t stage)
{
	static const char * const names[] = {
		[DMREPL_STAGE_NONE] = "none",
		[DMREPL_STAGE_RUNNING] = "running",
		[DMREPL_STAGE_FAILOVER] = "failover",
		[DMREPL_STAGE_DONE] = "done",
		[DMREPL_STAGE_STOPPED] = "stopped",
		[DMREPL_STAGE_INVALID] = "invalid",
	};

	if (stage >= sizeof(names) / sizeof(*names) || !names[stage])
		return "unknown";
	return names[stage];
}

static void dump_runs(struct image *im, const char *what, const __le64 *words,
		      unsigned int bits, unsigned int sectors, uint64_t base)
{
	unsigned int bit, end;
	uint64_t last;

	for (bit = 0; bit < bits; bit = end) {
		for (; bit < bits && !get_bit(words, bit); bit++)
			;
		if (bit == bits)
			return;
		for (end = bit; end < bits && get_bit(words, end); end++)
			;
		last = base + (uint64_t)end * sectors;
		if (last > im->sectors)
			last = im->sectors;
		printf("    <%s begin=\"%llu\" length=\"%llu\"/>\n", what,
		       (unsigned long long)(base + (uint64_t)bit * sectors),
		       (unsigned long long)(last - base -
					    (uint64_t)bit * sectors));
	}
}

static void dump_record(struct image *im, uint64_t number,
			struct dmrepl_record *r, const char *why)
{
	uint64_t base = number * DMREPL_STRETCH_SECTORS;
	unsigned int sectors = im->block / 512;

	if (why) {
		printf("  <damaged stretch=\"%llu\" why=\"%s\"/>\n",
		       (unsigned long long)number, why);
		return;
	}
	if (!is_current(im, r))
		return;
	printf("  <stretch number=\"%llu\" lost=\"%u\">\n",
	       (unsigned long long)number,
	       le32toh(r->flags) & DMREPL_RECORD_LOST);
	dump_runs(im, im->primary ? "dirty" : "active", r->active, DMREPL_STRETCH_SECTORS / sectors,
		  sectors, base);
	dump_runs(im, "saved", r->saved,
		  DMREPL_STRETCH_SECTORS / DMREPL_PAGE_SECTORS,
		  DMREPL_PAGE_SECTORS, base);
	printf("  </stretch>\n");
}

static void dump(struct image *im)
{
	const struct dmrepl_super *s = &im->supers[im->newest];
	uint32_t flags = le32toh(s->flags);

	printf("<superblock version=\"%u\" sequence=\"%llu\" tag=\"%016llx\"",
	       le32toh(s->version), (unsigned long long)le64toh(s->sequence),
	       (unsigned long long)im->tag);
	printf(" uuid=\"%.*s\" sectors=\"%llu\" block=\"%u\"",
	       DMREPL_UUID_BYTES, s->uuid, (unsigned long long)im->sectors,
	       im->block);
	printf(" stage=\"%s\" epoch=\"%llu\" since=\"%llu\"",
	       stage_name(le32toh(s->stage)), (unsigned long long)im->epoch,
	       (unsigned long long)le64toh(s->since));
	printf(" guarded=\"%u\" fenced=\"%u\" clean=\"%u\"",
	       !!(flags & DMREPL_SUPER_GUARDED),
	       !!(flags & DMREPL_SUPER_FENCED), !!(flags & DMREPL_SUPER_CLEAN));
	printf(" mode=\"%s\" all=\"%u\">\n",
	       im->primary ? "primary" : "secondary",
	       !!(flags & DMREPL_SUPER_ALL));
	if (s->prepared)
		printf("  <prepared id=\"%016llx\" stage=\"%s\" epoch=\"%llu\" by=\"%016llx\"/>\n",
		       (unsigned long long)le64toh(s->prepared),
		       stage_name(le32toh(s->prepared_stage)),
		       (unsigned long long)le64toh(s->prepared_epoch),
		       (unsigned long long)le64toh(s->prepared_by));
	visit_records(im, dump_record);
	printf("</superblock>\n");
}

/*
 *---------------------------------------------------------------------------
 * check and repair
 *---------------------------------------------------------------------------
 */
static void check_record(struct image *im, uint64_t number,
			 struct dmrepl_record *r, const char *why)
{
	if (why) {
		im->damaged++;
		complain(im, "record %llu is damaged: %s: sectors %llu to %llu %s",
			 (unsigned long long)number, why,
			 (unsigned long long)number * DMREPL_STRETCH_SECTORS,
			 (unsigned long long)last_sector(im, number),
			 im->primary ? "count as dirty" : "are lost");
	} else if (!is_zero(r) && le64toh(r->epoch) > im->epoch) {
		im->newer++;
		if (le64toh(r->epoch) > im->last_epoch)
			im->last_epoch = le64toh(r->epoch);
	} else if (is_current(im, r) &&
		   le32toh(r->flags) & DMREPL_RECORD_LOST) {
		im->lost++;
		complain(im, "record %llu follows a damaged one: sectors %llu to %llu are lost",
			 (unsigned long long)number,
			 (unsigned long long)number * DMREPL_STRETCH_SECTORS,
			 (unsigned long long)last_sector(im, number));
	}
}

static void check(struct image *im)
{
	int i;

	for (i = 0; i < DMREPL_NR_SUPERS; i++)
		if (im->verdicts[i] != FINE)
			complain(im, "superblock %d is %s", i,
				 verdict_names[im->verdicts[i]]);
	if (!strcmp(stage_name(le32toh(im->supers[im->newest].stage)),
		    "unknown"))
		complain(im, "the stage %u does not exist",
			 le32toh(im->supers[im->newest].stage));
	visit_records(im, check_record);
	if (im->newer)
		complain(im, "%llu records are newer than the superblock: do not trust the %s",
			 (unsigned long long)im->newer,
			 im->primary ? "others" : "view");
}

static void put(struct image *im, const void *sector, off_t at)
{
	/* Not more than the sector: its neighbours are somebody else's. */
	if (pwrite(im->fd, sector, DMREPL_SECTOR, at) != DMREPL_SECTOR)
		die("%s: writing byte %llu: %s", im->path,
		    (unsigned long long)at, strerror(errno));
}

/* What a primary's record says that was damaged: all of it may differ. */
static void set_all(struct image *im, struct dmrepl_record *r, uint64_t number)
{
	uint64_t first = number * DMREPL_STRETCH_SECTORS;
	unsigned int bits, bit;

	bits = (last_sector(im, number) - first + 1) / (im->block / 512);
	for (bit = 0; bit < bits; bit++)
		r->active[bit / 64] |= htole64(1ULL << bit % 64);
}

/* A damaged one becomes whole, but what it said is lost. */
static void repair_record(struct image *im, uint64_t number,
			  struct dmrepl_record *r, const char *why)
{
	if (!why)
		return;
	memset(r, 0, sizeof(*r));
	r->magic = htole32(DMREPL_RECORD_MAGIC);
	r->tag = htole64(im->tag);
	r->number = htole64(number);
	r->epoch = htole64(im->epoch);
	if (im->primary)
		set_all(im, r, number);
	else
		r->flags = htole32(DMREPL_RECORD_LOST);
	seal(r);
	put(im, r, record_at(number));
	printf("record %llu is whole again, its stretch is %s\n",
	       (unsigned long long)number, im->primary ? "dirty" : "lost");
}

/* Both superblocks are written, so that both say the same. */
static void repair_supers(struct image *im)
{
	struct dmrepl_super s = im->supers[im->newest];
	uint64_t sequence = le64toh(s.sequence);
	int i;

	if (im->newer && im->primary) {
		s.epoch = htole64(im->last_epoch + 1);
		s.flags |= htole32(DMREPL_SUPER_ALL);
		printf("all is dirty now: start_resync will copy everything\n");
	} else if (im->newer) {
		s.stage = htole32(DMREPL_STAGE_INVALID);
		/* The next one is of no record. */
		s.epoch = htole64(im->last_epoch);
		s.prepared = 0;
		printf("the stage is invalid now: send start, stop or promote\n");
	}
	for (i = 0; i < DMREPL_NR_SUPERS; i++) {
		s.sequence = htole64(++sequence);
		seal(&s);
		put(im, &s, (off_t)(sequence % DMREPL_NR_SUPERS) *
		    DMREPL_SUPER_STEP);
		if (fsync(im->fd))
			die("%s: %s", im->path, strerror(errno));
	}
}

static void repair(struct image *im)
{
	check(im);
	if (im->newer && !im->primary &&
	    le32toh(im->supers[im->newest].stage) != DMREPL_STAGE_RUNNING)
		die("%s: it was not running, and its state is lost: nothing can be repaired",
		    im->path);
	visit_records(im, repair_record);
	if (fsync(im->fd))
		die("%s: %s", im->path, strerror(errno));
	repair_supers(im);
	im->wrong = 0;
}

static void usage(void)
{
	fprintf(stderr, "usage: dmrepl-metadata size SECTORS\n"
		"       dmrepl-metadata dump|check|repair DEVICE\n");
	exit(2);
}

static int print_size(const char *text)
{
	unsigned long long sectors;
	char *end;

	errno = 0;
	sectors = strtoull(text, &end, 0);
	if (errno || end == text || *end || !sectors || text[0] == '-')
		die("a number of sectors of 512 bytes is wanted, not %s", text);
	printf("%llu\n", (unsigned long long)dmrepl_bytes(sectors));
	return 0;
}

int main(int argc, char **argv)
{
	struct image im = { .newest = -1 };
	void (*fn)(struct image *im) = NULL;
	bool writes;

	if (argc != 3)
		usage();
	if (!strcmp(argv[1], "size"))
		return print_size(argv[2]);
	if (!strcmp(argv[1], "dump"))
		fn = dump;
	else if (!strcmp(argv[1], "check"))
		fn = check;
	else if (!strcmp(argv[1], "repair"))
		fn = repair;
	if (!fn)
		usage();
	im.path = argv[2];
	writes = fn == repair;
	/* O_EXCL: a device that a loaded pair holds is refused. */
	im.fd = open(im.path, writes ? O_RDWR | O_EXCL : O_RDONLY);
	if (im.fd < 0)
		die("%s: %s", im.path, strerror(errno));
	read_supers(&im);
	if (im.newest < 0)
		die("%s: no superblock is whole: %s, %s", im.path,
		    verdict_names[im.verdicts[0]],
		    verdict_names[im.verdicts[1]]);
	if (im.block != 512 && im.block != 4096)
		die("%s: blocks of %u bytes do not exist", im.path, im.block);
	fn(&im);
	return im.wrong ? 1 : 0;
}
