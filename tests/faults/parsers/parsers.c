// SPDX-License-Identifier: GPL-2.0-only
/*
 * The parsers of table lines and messages under libFuzzer, ASan and UBSan: the
 * module's own dm-replication.c, compiled for user space as it is (included, since
 * its target methods are static). The rest of the module is a pair that accepts
 * everything and remembers nothing.
 *
 * An input is lines: the first a table line, each other a message. Asked is:
 *   - nothing is read or written beyond what is there (each word, each answer and
 *     each status is in memory of exactly its size)
 *   - a refusal has words, and leaves no device open and no memory
 *   - what is accepted is within its bounds
 *   - a table prints a line that loads and prints itself
 *   - the status counts its words rightly
 */
#include "parsers-kernel.h"
#include "dm-replication.c"

#include <stdarg.h>

#define MAX_WORDS	4096

static void fail(const char *what, const char *text)
{
	fprintf(stderr, "parsers: %s: %s\n", what, text);
	abort();
}

/* ---- the kernel's part ---- */

void say(const char *fmt, ...)
{
	char line[1024];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(line, sizeof(line), fmt, ap);
	va_end(ap);
}

unsigned int emit(char *to, size_t size, const char *fmt, ...)
{
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(to, size, fmt, ap);
	va_end(ap);
	return n < 0 ? 0 : (size_t)n >= size ? (unsigned int)size - 1 : (unsigned int)n;
}

int kstrtouint(const char *text, unsigned int base, unsigned int *n)
{
	u64 value = 0;

	if (*text == '+')
		text++;
	if (*text < '0' || *text > '9')
		return -EINVAL;
	for (; *text >= '0' && *text <= '9'; text++) {
		value = value * base + (unsigned int)(*text - '0');
		if (value > UINT_MAX)
			return -ERANGE;
	}
	if (*text && strcmp(text, "\n"))
		return -EINVAL;
	*n = (unsigned int)value;
	return 0;
}

const char *dm_shift_arg(struct dm_arg_set *as)
{
	if (!as->argc)
		return NULL;
	as->argc--;
	return *as->argv++;
}

void dm_consume_args(struct dm_arg_set *as, unsigned int n)
{
	if (as->argc < n)
		fail("more arguments consumed than there are", "");
	as->argc -= n;
	as->argv += n;
}

int dm_read_arg_group(const struct dm_arg *arg, struct dm_arg_set *as,
		      unsigned int *n, char **error)
{
	const char *text = dm_shift_arg(as);
	char rest;

	if (!text || sscanf(text, "%u%c", n, &rest) != 1 || *n < arg->min ||
	    *n > arg->max || *n > as->argc) {
		*error = arg->error ? arg->error : "too few";
		return -EINVAL;
	}
	return 0;
}

static struct gendisk disks[12];
static struct block_device devices[12];
static unsigned int opened;

/* One letter is a device; from v on there is something about it. */
static const char letters[] = "ahsmlxyvpbBr";

static void make_devices(void)
{
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(devices); i++)
		devices[i] = (struct block_device){
			.bd_disk = &disks[i], .sectors = 4096, .block = 512,
		};
	devices[7].sectors = 4000;
	devices[8].bd_disk = &disks[0];		/* a part of a */
	devices[8].partition = true;
	devices[9].block = 4096;
	devices[10].block = 8192;
	devices[11].read_only = true;
}

int dm_get_device(struct dm_target *ti, const char *path, fmode_t mode,
		  struct dm_dev **dev)
{
	const char *at = strlen(path) == 1 ? strchr(letters, *path) : NULL;

	(void)ti;
	(void)mode;
	if (!at)
		return -ENODEV;
	*dev = kzalloc(sizeof(**dev), 0);
	(*dev)->bdev = &devices[at - letters];
	(*dev)->name[0] = *path;
	opened++;
	return 0;
}

void dm_put_device(struct dm_target *ti, struct dm_dev *dev)
{
	(void)ti;
	free(dev);
	opened--;
}

/* ---- the rest of the module ---- */

unsigned long hold_mib_total;
const char * const stage_names[NR_STAGES] = {
	"none", "running", "failover", "failover_failed", "done", "stopped", "invalid",
};

const char * const error_names[NR_ERROR_CLASSES] = {
	"class0", "class1", "class2", "class3", "class4", "class5", "class6", "class7",
};

static struct pair the_pair;
static struct primary the_primary;
static struct group the_group;

static void within(unsigned int n, unsigned int most, const char *name)
{
	if (n > most)
		fail("accepted beyond its bounds", name);
}

static void expect_bounds(const struct tunables *t)
{
	within(t->hold_mib, 1048576, "hold_mib");
	within(t->checkpoint_timeout_ms, 86400000, "checkpoint_timeout_ms");
	within(t->commit_rate_mib, 1048576, "commit_rate_mib");
	within(t->resync_rate_mib, 1048576, "resync_rate_mib");
	within(t->replica_timeout_ms, 86400000, "replica_timeout_ms");
}

int pair_attach(struct replication *r, const char *group)
{
	memset(&the_pair, 0, sizeof(the_pair));
	expect_bounds(&r->tunables);
	if (group && (!*group || strlen(group) > 64))
		fail("accepted as a group's name", group);
	the_group.name = group ? strdup(group) : NULL;
	r->group = group ? &the_group : NULL;
	r->pair = &the_pair;
	the_pair.tunables = r->tunables;
	the_pair.guarded = r->guarded;
	the_pair.fenced = r->fenced;
	the_pair.view = r->is_view || r->is_primary ? r : NULL;
	the_pair.origin = r->is_view || r->is_primary ? NULL : r;
	the_pair.primary = &the_primary;
	if (r->local && !r->in_sync)
		the_primary.dirty.nr_marked = 1;
	return 0;
}

void pair_detach(struct replication *r)
{
	(void)r;
	free(the_group.name);
	the_group.name = NULL;
}

int pair_set(struct replication *r,
	     int (*change)(struct replication *r, struct tunables *t, char **argv,
			   char **error),
	     char **argv, char **error)
{
	struct tunables t = the_pair.tunables;
	int error_nr = change(r, &t, argv, error);

	if (error_nr && !*error)
		fail("refused without words", argv[1]);
	if (!error_nr) {
		expect_bounds(&t);
		the_pair.tunables = t;
		r->tunables = t;
	}
	return error_nr;
}

int pair_get_error(struct replication *r, bool all, struct first_error *e)
{
	(void)r;
	memset(e, 0, sizeof(*e));
	if (all) {
		e->error = INT_MIN;
		e->sector = ~0ULL;
		e->total = ~0ULL;
	}
	return 0;
}

int pair_act(struct replication *r, enum transition action, bool all)
{
	(void)r;
	(void)all;
	the_pair.stage = (enum stage)(action + 1);
	return 0;
}

int pair_guard(struct replication *r, bool on)
{
	(void)r;
	the_pair.guarded = on;
	return 0;
}

int pair_rejoin(struct replication *r)
{
	(void)r;
	the_pair.fenced = false;
	return 0;
}

void pair_clear_error(struct replication *r)
{
	(void)r;
}

int pair_resync(struct replication *r, bool start, bool full)
{
	(void)r;
	(void)start;
	return full;
}

int pair_preresume(struct replication *r)
{
	(void)r;
	return 0;
}

void pair_resume(struct replication *r)
{
	(void)r;
}

int route_map(struct replication *r, struct bio *bio)
{
	(void)r;
	(void)bio;
	return 0;
}

int route_end_io(struct replication *r, struct bio *bio, blk_status_t *error)
{
	(void)r;
	(void)bio;
	(void)error;
	return 0;
}

int primary_map(struct replication *r, struct bio *bio)
{
	return route_map(r, bio);
}

int primary_end_io(struct replication *r, struct bio *bio, blk_status_t *error)
{
	return route_end_io(r, bio, error);
}

unsigned int primary_per_bio_size(void)
{
	return 1;
}

void commit_suspend(struct pair *pair)
{
	(void)pair;
}

void commit_resume(struct pair *pair)
{
	(void)pair;
}

void commit_wait_suspended(struct pair *pair)
{
	(void)pair;
}

void resync_suspend(struct primary *p)
{
	(void)p;
}

void resync_resume(struct primary *p)
{
	(void)p;
}

void resync_wait_suspended(struct primary *p)
{
	(void)p;
}

size_t overlay_bytes(struct overlay *o)
{
	(void)o;
	return 12345;
}

int overlay_setup(void)
{
	return 0;
}

void overlay_teardown(void)
{
}

u64 dirty_count(struct dirty *d)
{
	return d->nr_marked;
}

int metadata_check(struct replication *r, char **error)
{
	if (r->metadata->bdev->sectors == 4096)
		return 0;
	*error = "The metadata device is too small";
	return -ENOSPC;
}

bool marks_unsafe(struct marks *mk)
{
	(void)mk;
	return false;
}

bool metadata_failing(struct metadata *m)
{
	(void)m;
	return false;
}

/* ---- an input ---- */

struct arguments {
	unsigned int argc;
	char **argv;
};

static bool is_space(char c)
{
	return c == ' ' || (c >= '\t' && c <= '\r') || c == '\240';
}

/*
 * Each word, and the row of them, in memory of its own size. A backslash takes
 * the next byte as it is.
 */
static void split(struct arguments *a, const char *text)
{
	char *word = malloc(strlen(text) + 1), *words[MAX_WORDS], *out;

	a->argc = 0;
	while (a->argc < MAX_WORDS) {
		while (is_space(*text))
			text++;
		if (!*text)
			break;
		for (out = word; *text && !is_space(*text); text++) {
			if (*text == '\\' && text[1])
				text++;
			*out++ = *text;
		}
		*out = '\0';
		words[a->argc++] = strdup(word);
	}
	free(word);
	a->argv = malloc(a->argc * sizeof(*words));
	memcpy(a->argv, words, a->argc * sizeof(*words));
}

static void drop(struct arguments *a)
{
	while (a->argc)
		free(a->argv[--a->argc]);
	free(a->argv);
}

static struct dm_table table;

static bool load(struct dm_target *ti, const char *line)
{
	struct arguments a;
	int r;

	memset(ti, 0, sizeof(*ti));
	ti->table = &table;
	ti->len = 4096;
	split(&a, line);
	r = replication_target.ctr(ti, a.argc, a.argv);
	drop(&a);
	if (r && !ti->error)
		fail("refused without words", line);
	if (r && opened)
		fail("a refused line holds a device", line);
	return !r;
}

static void unload(struct dm_target *ti)
{
	replication_target.dtr(ti);
	if (opened)
		fail("a device is still open", "");
}

/* In memory of exactly its size. */
static char *print(struct dm_target *ti, status_type_t type, unsigned int size)
{
	char *text = malloc(size);

	text[0] = '\0';
	replication_target.status(ti, type, 0, text, size);
	if (!memchr(text, 0, size))
		fail("a status without an end", "");
	return text;
}

/* Here and there in the status is a number of words that follow. */
static void expect_counts(struct dm_target *ti)
{
	struct replication *r = ti->private;
	unsigned int at = r->is_primary ? 6 : 14, n;
	char *text = print(ti, STATUSTYPE_INFO, 4096);
	struct arguments a;

	split(&a, text);
	if (r->is_view || r->is_primary) {
		if (a.argc <= at)
			fail("a short status", text);
		n = (unsigned int)atoi(a.argv[at]);
		at += n + 1;
		if (at >= a.argc || (unsigned int)atoi(a.argv[at]) != a.argc - at - 1)
			fail("the status miscounts its words", text);
	}
	drop(&a);
	free(text);
}

/* A name may have what a reader takes for an end or an escape. */
static void expect_fixed_point(struct dm_target *ti)
{
	char *first = print(ti, STATUSTYPE_TABLE, 4096), *second;

	unload(ti);
	if (!load(ti, first))
		fail("a table prints what does not load", first);
	second = print(ti, STATUSTYPE_TABLE, 4096);
	if (strcmp(first, second))
		fail("a table does not print itself", first);
	free(first);
	free(second);
}

static void send(struct dm_target *ti, const char *line, unsigned int size)
{
	char *answer = malloc(size);
	struct arguments a;

	split(&a, line);
	answer[0] = '\0';
	if (a.argc)
		replication_target.message(ti, a.argc, a.argv, answer, size);
	if (!memchr(answer, 0, size))
		fail("an answer without an end", line);
	drop(&a);
	free(answer);
}

static void exercise(struct dm_target *ti, char *lines, unsigned int size)
{
	char *line;

	while ((line = strsep(&lines, "\n")))
		send(ti, line, size);
	free(print(ti, STATUSTYPE_INFO, size));
	free(print(ti, STATUSTYPE_TABLE, size));
	free(print(ti, STATUSTYPE_IMA, size));
	expect_counts(ti);
	expect_fixed_point(ti);
	unload(ti);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct dm_target ti;
	char *text, *rest;

	if (!size)
		return 0;
	make_devices();
	memset(&the_primary, 0, sizeof(the_primary));
	text = malloc(size);
	memcpy(text, data + 1, size - 1);
	text[size - 1] = '\0';
	rest = text;
	if (load(&ti, strsep(&rest, "\n")))
		exercise(&ti, rest ? rest : text + strlen(text), 1 + 2 * data[0]);
	free(text);
	return 0;
}
