// SPDX-License-Identifier: GPL-2.0-only
/*
 * Everything at once, in rounds of some seconds: four processes send all messages,
 * one reloads, suspends, resumes, removes and makes again, one breaks, slows and
 * mends the disks, and the others read and write view, origin and a primary.
 *
 * What can be asked while nobody knows what comes next (a life is the time from
 * one making of the pair to the next, an epoch is what the status says):
 *   - each sector says that it is that sector's; nothing is torn or misplaced
 *   - frozen: two reads in one epoch of one life, in stage running, are equal
 *   - not stale: what the origin had acknowledged before an epoch began is in
 *     the view in that epoch (in rounds without failover and promote)
 *   - what the view has acknowledged it reads, in the same epoch of the same life
 *   - fenced: nothing of the origin is acknowledged while the stage is done
 *   - the primary reads what it has written, always: its own disk is sound
 * and when all is quiet again, in any case:
 *   - everything ends; a checkpoint, or a failover, makes view and secondary equal
 *   - the primary's replica equals its own disk after a resync
 *
 * With PERCENT so many of the module's allocations fail while nothing is quiet.
 *
 * Expects the disks raw-active, raw-hidden, raw-secondary, raw-metadata, raw-local
 * and raw-replica, of one length, in /dev/mapper.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../../tools/verify.h"
#include "dmctl.h"

#define VIEW	"r-view"
#define ORIGIN	"r-origin"
#define PRIMARY	"r-primary"

#define MESSENGERS	4
#define ORIGIN_WRITERS	2
#define VIEW_WRITERS	2
#define READERS		2
#define PRIMARY_USERS	2
#define MAX_COUNT	64			/* sectors of a request */

enum { ACTIVE, HIDDEN, SECONDARY, METADATA, LOCAL, REPLICA, NR_DISKS };

static const char *const disk_names[NR_DISKS] = {
	"active", "hidden", "secondary", "metadata", "local", "replica",
};

/* What all processes see. */
struct shared {
	atomic_bool stop, pause, found;
	_Atomic u64 seq, life, messages, accepted, reloads, losses, reads, writes;
	_Atomic u64 frozen_checks, fresh_checks, own_checks, fence_checks, primary_checks;
	_Atomic u64 using;			/* processes with view or origin open */
	_Atomic u64 acked[];			/* by the origin, per sector */
};

static struct shared *shared;
static u64 sectors, seed, round_nr;
static bool calm;				/* no failover, no promote */
static bool with_metadata;
static u64 scarcity;				/* percent of allocations that fail */
static struct rng rng;
static unsigned char *buf;

/* Return: what it was. */
static u64 bump(_Atomic u64 *counter)
{
	return atomic_fetch_add(counter, 1);
}

/* ---- what is found ---- */

__attribute__((format(printf, 1, 2)))
static void found(const char *fmt, ...)
{
	va_list ap;

	if (atomic_exchange(&shared->found, true))
		return;
	va_start(ap, fmt);
	printf("MISMATCH ");
	vprintf(fmt, ap);
	printf(" (round %llu, %s%s)\n", U(round_nr), calm ? "calm" : "wild",
	       with_metadata ? ", metadata" : "");
	va_end(ap);
	fflush(stdout);
}

static bool over(void)
{
	return atomic_load(&shared->stop) || atomic_load(&shared->found);
}

/* ---- status ---- */

struct moment {
	char stage[24];
	u64 epoch, life;
};

/* False if there is no view, or no live table. */
static bool look(struct moment *m)
{
	unsigned long long epoch;
	char line[1024], error[96];

	m->life = atomic_load(&shared->life);
	if (dmctl_status(VIEW, line, sizeof(line)) ||
	    sscanf(line, "secondary %23s %95s %llu", m->stage, error, &epoch) != 3)
		return false;
	m->epoch = epoch;
	return true;
}

static bool same_moment(const struct moment *a, const char *stage)
{
	struct moment b;

	return look(&b) && a->life == b.life && a->epoch == b.epoch &&
	       !(a->life & 1) && !strcmp(a->stage, stage) && !strcmp(b.stage, stage);
}

/* ---- users ---- */

static int open_disk(const char *path, struct dev *d)
{
	*d = (struct dev){ .role = path, .path = path, .sectors = sectors, .block = 1 };
	d->fd = open(path, O_RDWR | O_DIRECT | O_CLOEXEC);
	return d->fd < 0 ? -errno : 0;
}

/* A device that comes and goes: some requests, then let others remove it. */
static void use(const char *path, void (*request)(struct dev *d, unsigned int who),
		unsigned int who)
{
	struct dev d;
	unsigned int n;

	while (!over()) {
		if (atomic_load(&shared->pause)) {
			sleep_us(1000);
			continue;
		}
		bump(&shared->using);
		if (!atomic_load(&shared->pause) && !open_disk(path, &d)) {
			for (n = 0; n < 100 && !over() && !atomic_load(&shared->pause); n++)
				request(&d, who);
			close(d.fd);
		}
		atomic_fetch_sub(&shared->using, 1);
		sleep_us(rng_below(&rng, 2000));
	}
}

/*
 * The disk is divided: the origin's writers have the lower half in turns of
 * MAX_COUNT sectors, the view's writers the upper. Nobody else writes there.
 */
static u64 own_sector(unsigned int who, unsigned int of, bool upper)
{
	u64 half = sectors / 2 / MAX_COUNT, slot;

	slot = rng_below(&rng, half / of) * of + who;
	return ((upper ? half : 0) + slot) * MAX_COUNT;
}

static u64 check_stamps(const char *whose, u64 sector, u64 count)
{
	struct stamp st;
	char text[256];
	u64 i, first = 0;

	for (i = 0; i < count; i++) {
		stamp_read(buf + i * SECTOR_SIZE, sector + i, &st);
		if (st.content != IS_STAMP)
			found("%s sector %llu: %s", whose, U(sector + i),
			      stamp_text(&st, text, sizeof(text)));
		if (!i)
			first = st.seq;
	}
	return first;
}

static void write_origin(struct dev *d, unsigned int who)
{
	u64 count = 1 + rng_below(&rng, MAX_COUNT), seq, i;
	u64 sector = own_sector(who, ORIGIN_WRITERS, false);
	struct moment m;
	bool watched = look(&m) && !strcmp(m.stage, "done");
	int r;

	seq = bump(&shared->seq) + 1;
	stamp_write(buf, sector, count, seq, BY_ORIGIN, who, 0);
	r = dev_write(d, buf, sector, count, rng_chance(&rng, 10));
	bump(&shared->writes);
	for (i = 0; !r && i < count; i++)
		atomic_store(&shared->acked[sector + i], seq);
	if (!watched || !same_moment(&m, "done"))
		return;
	bump(&shared->fence_checks);
	if (!r)
		found("an origin write of sector %llu was acknowledged in stage done",
		      U(sector));
}

static void write_view(struct dev *d, unsigned int who)
{
	u64 sector = own_sector(who, VIEW_WRITERS, true);
	u64 count = 1 + rng_below(&rng, MAX_COUNT), seq = bump(&shared->seq) + 1;
	struct moment m = { .epoch = 0 };
	bool watched = look(&m);

	stamp_write(buf, sector, count, seq, BY_VIEW, who, m.epoch);
	bump(&shared->writes);
	if (dev_write(d, buf, sector, count, rng_chance(&rng, 10)))
		return;
	bump(&shared->reads);
	if (dev_read(d, buf, sector, count))
		return;
	seq -= check_stamps("view", sector, count);
	if (!watched || !same_moment(&m, "running"))
		return;
	bump(&shared->own_checks);
	if (seq)
		found("the view does not read its own write of sector %llu", U(sector));
}

/* In one epoch the lower half of the view stands still. */
static void check_frozen(struct dev *d, u64 sector, u64 count)
{
	struct moment m;
	u64 before;

	if (!look(&m) || dev_read(d, buf, sector, count))
		return;
	before = check_stamps("view", sector, count);
	sleep_us(rng_below(&rng, 3000));
	if (dev_read(d, buf, sector, count))
		return;
	bump(&shared->reads);
	if (before == check_stamps("view", sector, count) || !same_moment(&m, "running")) {
		bump(&shared->frozen_checks);
		return;
	}
	found("the view's sector %llu was of write %llu and changed in epoch %llu",
	      U(sector), U(before), U(m.epoch));
}

/* A new epoch has what was acknowledged before it. */
static void check_fresh(struct dev *d, u64 sector)
{
	u64 want = atomic_load(&shared->acked[sector]), got, tries;
	struct moment before, after;

	if (!calm || !look(&before))
		return;
	for (tries = 0; tries < 100 && !over(); tries++) {
		if (!look(&after) || after.life != before.life || after.life & 1)
			return;
		if (after.epoch > before.epoch)
			break;
		sleep_us(1000);
	}
	if (after.epoch == before.epoch || dev_read(d, buf, sector, 1))
		return;
	got = check_stamps("view", sector, 1);
	if (atomic_load(&shared->life) != before.life)
		return;
	bump(&shared->fresh_checks);
	if (got < want)
		found("stale: epoch %llu, the view's sector %llu is of write %llu, not %llu",
		      U(after.epoch), U(sector), U(got), U(want));
}

static void read_view(struct dev *d, unsigned int who)
{
	u64 sector = own_sector((unsigned int)rng_below(&rng, 2), 2, false);

	(void)who;
	if (rng_chance(&rng, 50))
		check_frozen(d, sector, 1 + rng_below(&rng, MAX_COUNT));
	else
		check_fresh(d, sector);
}

static void use_primary(struct dev *d, unsigned int who)
{
	u64 sector = own_sector(who, PRIMARY_USERS, rng_chance(&rng, 50));
	u64 count = 1 + rng_below(&rng, MAX_COUNT), seq = bump(&shared->seq) + 1;
	int r;

	stamp_write(buf, sector, count, seq, BY_ORIGIN, who, 0);
	r = dev_write(d, buf, sector, count, rng_chance(&rng, 10));
	if (!r)
		r = dev_read(d, buf, sector, count);
	if (r) {
		found("the primary's disk fails: %s", strerror(-r));
		return;
	}
	bump(&shared->primary_checks);
	if (check_stamps("primary", sector, count) != seq)
		found("the primary does not read its own write of sector %llu", U(sector));
}

/* ---- who makes it hard ---- */

static void send_message(unsigned int who)
{
	static const char *const calm_words[] = {
		"checkpoint", "checkpoint", "checkpoint", "start", "start", "stop",
		"guard on", "guard off", "guard off", "get_error", "clear_error",
		"set hold_mib 0", "set hold_mib 1", "set hold_mib 8",
		"set on_capture_error drop_view", "set on_capture_error fail",
		"set checkpoint_timeout_ms 3", "set checkpoint_timeout_ms 2000",
		"set discard_passdown on", "set discard_passdown off",
		"set commit_rate_mib 1", "set commit_rate_mib 0", "checkpoint all",
	};
	static const char *const wild_words[] = { "failover", "promote", "failover all" };
	static const char *const primary_words[] = {
		"start", "start", "stop", "failover", "start_resync", "start_resync full",
		"pause_resync", "checkpoint", "get_error", "clear_error",
		"set resync_rate_mib 1", "set resync_rate_mib 0",
		"set replica_timeout_ms 20", "set replica_timeout_ms 0",
	};
	char answer[256];
	int r;

	(void)who;
	bump(&shared->messages);
	if (rng_chance(&rng, 20))
		r = dmctl_message(PRIMARY, primary_words[rng_below(&rng, 14)], answer, 256);
	else if (!calm && rng_chance(&rng, 2))
		r = dmctl_message(VIEW, wild_words[rng_below(&rng, 3)], answer, 256);
	else if (rng_chance(&rng, 4))
		r = dmctl_message(ORIGIN, "rejoin", answer, 256);
	else
		r = dmctl_message(VIEW, calm_words[rng_below(&rng, 23)], answer, 256);
	if (!r)
		bump(&shared->accepted);
	sleep_us(rng_below(&rng, 10000));
}

static void view_params(char *params, size_t size)
{
	snprintf(params, size,
		 "secondary /dev/mapper/r-active /dev/mapper/r-hidden /dev/mapper/r-secondary%s",
		 with_metadata ? " 3 autostart metadata /dev/mapper/r-metadata" :
		 " 1 autostart");
}

static const char *origin_params(void)
{
	return with_metadata ? "origin /dev/mapper/r-secondary 1 fenced" :
	       "origin /dev/mapper/r-secondary";
}

static int make_view(void)
{
	char params[256];

	view_params(params, sizeof(params));
	return dmctl_make(VIEW, sectors, "replication", params);
}

static int make_origin(void)
{
	return dmctl_make(ORIGIN, sectors, "replication", origin_params());
}

/* An odd life is one that is being ended or begun: nothing is asked of it. */
static void begin_change(void)
{
	bump(&shared->life);
}

static void end_change(void)
{
	bump(&shared->life);
}

/* Its users close it, and it goes; a moment later it is there again. */
static void remove_and_make(bool view)
{
	u64 until = now_us() + 3000000;
	int r;

	begin_change();
	atomic_store(&shared->pause, true);
	while (atomic_load(&shared->using) && now_us() < until)
		sleep_us(500);
	r = dmctl_remove(view ? VIEW : ORIGIN);
	sleep_us(rng_below(&rng, 3000));
	if (!r || r == -ENXIO)
		r = view ? make_view() : make_origin();
	atomic_store(&shared->pause, false);
	end_change();
}

/* The table is taken away under its users' requests, and comes back. */
static void wipe(bool view)
{
	const char *name = view ? VIEW : ORIGIN;
	char params[256];

	begin_change();
	if (!dmctl_load(name, sectors, "error", "")) {
		if (rng_chance(&rng, 50))
			dmctl_suspend_noflush(name);
		else
			dmctl_suspend(name);
		dmctl_resume(name);
	}
	sleep_us(rng_below(&rng, 3000));
	view_params(params, sizeof(params));
	dmctl_swap(name, sectors, "replication", view ? params : origin_params());
	end_change();
}

static void change_tables(unsigned int who)
{
	bool view = rng_chance(&rng, 60);
	const char *name = view ? VIEW : ORIGIN;
	char params[256];
	u64 kind = rng_below(&rng, 100);

	(void)who;
	bump(&shared->reloads);
	view_params(params, sizeof(params));
	if (kind < 50) {
		dmctl_load(name, sectors, "replication", view ? params : origin_params());
		if (rng_chance(&rng, 50))
			dmctl_suspend(name);
		else
			dmctl_suspend_noflush(name);
		sleep_us(rng_below(&rng, 4000));
		dmctl_resume(name);
	} else if (kind < 75) {
		dmctl_suspend(name);
		sleep_us(rng_below(&rng, 4000));
		dmctl_resume(name);
	} else if (kind < 80) {
		dmctl_suspend(PRIMARY);
		dmctl_resume(PRIMARY);
	} else if (kind < 85) {
		dmctl_remove(name);	/* in use, most often */
	} else if (kind < 93) {
		remove_and_make(view);
	} else {
		wipe(view);
	}
	sleep_us(rng_below(&rng, 30000));
}

/* ---- disks ---- */

#define LONGEST_DELAY_US	27000
static bool delayed[NR_DISKS];

/*
 * 6.1's dm-delay may set its timer while it is being suspended, and is freed with
 * the timer running. A table that was one stays until the timer is over.
 */
static void disk_becomes(unsigned int disk, const char *target, const char *more)
{
	char name[32], params[160];
	int r;

	snprintf(name, sizeof(name), "r-%s", disk_names[disk]);
	snprintf(params, sizeof(params), "/dev/mapper/raw-%s 0 %s", disk_names[disk], more);
	r = dmctl_load(name, sectors, target, strcmp(target, "error") ? params : "");
	if (!r)
		r = dmctl_suspend_noflush(name);
	if (!r) {
		if (delayed[disk])
			sleep_us(2 * LONGEST_DELAY_US);
		delayed[disk] = !strcmp(target, "delay");
		r = dmctl_resume(name);
	}
	if (r)
		die("%s cannot become %s: %s", name, target, strerror(-r));
}

static void break_disks(unsigned int who)
{
	static const char *const delays[] = { "1", "3", "9", "27" };
	static const unsigned int some[] = {
		ACTIVE, HIDDEN, SECONDARY, METADATA, REPLICA, REPLICA,
	};
	unsigned int disk = some[rng_below(&rng, 6)];

	(void)who;
	bump(&shared->losses);
	if (rng_chance(&rng, 25))
		disk_becomes(disk, "error", "");
	else
		disk_becomes(disk, "delay", delays[rng_below(&rng, 4)]);
	sleep_us(rng_below(&rng, 60000));
	disk_becomes(disk, "linear", "");
	sleep_us(rng_below(&rng, 60000));
}

static void mend_all(void)
{
	unsigned int i;

	for (i = 0; i < NR_DISKS; i++)
		disk_becomes(i, "linear", "");
}

/* ---- processes ---- */

#define MAX_CHILDREN 32
static struct {
	pid_t pid;
	const char *what;
} children[MAX_CHILDREN];
static unsigned int nr_children;

static void again(void (*fn)(unsigned int who), unsigned int who)
{
	while (!over())
		fn(who);
}

static bool is_child(const char *what)
{
	pid_t pid;

	fflush(stdout);
	pid = fork();
	if (pid < 0)
		die("cannot fork: %s", strerror(errno));
	if (!pid) {
		rng_seed(&rng, seed + round_nr, nr_children + 1);
		return true;
	}
	children[nr_children].pid = pid;
	children[nr_children++].what = what;
	return false;
}

static void start_work(const char *what, void (*fn)(unsigned int who), unsigned int n)
{
	unsigned int i;

	for (i = 0; i < n; i++)
		if (is_child(what)) {
			again(fn, i);
			_exit(0);
		}
}

static void start_users(const char *path, void (*request)(struct dev *d, unsigned int who),
			unsigned int n)
{
	unsigned int i;

	for (i = 0; i < n; i++)
		if (is_child(path)) {
			use(path, request, i);
			_exit(0);
		}
}

static const char *suspended(const char *name, const char *text)
{
	return dmctl_is_suspended(name) ? text : "";
}

/*
 * Whoever does not come back hangs. A resume that failed, for want of memory or
 * because the metadata could not be read, leaves its device suspended, and its
 * users wait until somebody tries again: the disks are well soon.
 */
static void gather(void)
{
	u64 until = now_us() + 60000000, next = now_us() + 1000000;
	unsigned int i;

	atomic_store(&shared->stop, true);
	for (i = 0; i < nr_children; i++)
		while (!waitpid(children[i].pid, NULL, WNOHANG)) {
			if (now_us() > until) {
				found("a process hangs: %s%s%s%s", children[i].what,
				      suspended(VIEW, ", the view is suspended"),
				      suspended(ORIGIN, ", the origin is suspended"),
				      suspended(PRIMARY, ", the primary is suspended"));
				_exit(EXIT_MISMATCH);
			}
			if (now_us() > next) {
				dmctl_resume(VIEW);
				dmctl_resume(ORIGIN);
				dmctl_resume(PRIMARY);
				next += 1000000;
			}
			sleep_us(5000);
		}
	nr_children = 0;
	atomic_store(&shared->stop, false);
}

/* ---- the quiet between two rounds ---- */

static void compare_disks(const char *a, const char *b)
{
	static unsigned char *other;
	struct dev da, db;
	u64 s;

	if (!other)
		other = io_buffer(MIB_SECTORS * SECTOR_SIZE);
	if (open_disk(a, &da) || open_disk(b, &db))
		die("cannot open %s or %s: %s", a, b, strerror(errno));
	for (s = 0; s < sectors; s += MIB_SECTORS) {
		u64 n = sectors - s < MIB_SECTORS ? sectors - s : MIB_SECTORS;

		if (dev_read(&da, buf, s, n) || dev_read(&db, other, s, n))
			found("%s or %s cannot be read though its disks are well", a, b);
		else if (memcmp(buf, other, n * SECTOR_SIZE))
			found("%s and %s differ in the MiB at sector %llu", a, b, U(s));
		check_stamps(b, s, n);
	}
	close(da.fd);
	close(db.fd);
}

static bool is_stage(const char *stage)
{
	struct moment m;

	return look(&m) && !strcmp(m.stage, stage);
}

static void wait_for_stage(const char *stage)
{
	u64 until = now_us() + 40000000;
	struct moment m = { .stage = "no view" };

	while (!is_stage(stage)) {
		if (now_us() > until) {
			look(&m);
			found("stage %s, not %s, though all disks are well", m.stage, stage);
			return;
		}
		if (is_stage("failover_failed"))
			dmctl_message(VIEW, "failover", NULL, 0);
		sleep_us(5000);
	}
}

static void remove_it(const char *name)
{
	u64 until = now_us() + 30000000;
	int r;

	while ((r = dmctl_remove(name)) == -EBUSY && now_us() < until)
		sleep_us(5000);
	if (r && r != -ENXIO)
		found("cannot remove %s: %s", name, strerror(-r));
}

/* It may have been left without its table, or not be there. */
static void restore(const char *name, const char *mode, int (*make)(void))
{
	char line[1024];

	dmctl_resume(name);
	if (!dmctl_status(name, line, sizeof(line)) && !strncmp(line, mode, strlen(mode)))
		return;
	remove_it(name);
	make();
}

/* Whatever state it was left in, a pair comes to a stage that is known. */
static void settle_view(void)
{
	int r;

	restore(ORIGIN, "origin", make_origin);
	restore(VIEW, "secondary", make_view);
	dmctl_message(VIEW, "guard off", NULL, 0);
	dmctl_message(VIEW, "set commit_rate_mib 0", NULL, 0);
	dmctl_message(VIEW, "set checkpoint_timeout_ms 20000", NULL, 0);
	if (is_stage("failover") || is_stage("failover_failed"))
		wait_for_stage("done");
	if (is_stage("done"))
		return;
	dmctl_message(ORIGIN, "rejoin", NULL, 0);
	r = dmctl_message(VIEW, is_stage("running") ? "checkpoint" : "start", NULL, 0);
	if (r)
		found("neither start nor checkpoint though all disks are well: %s",
		      strerror(-r));
	else
		wait_for_stage("running");
}

/* Calm: what the origin had acknowledged is still there. */
static void check_acked(void)
{
	struct stamp st;
	struct dev d;
	u64 s, n, i;

	if (open_disk("/dev/mapper/raw-secondary", &d))
		die("cannot open raw-secondary");
	for (s = 0; s < sectors; s += n) {
		n = sectors - s < MIB_SECTORS ? sectors - s : MIB_SECTORS;
		if (dev_read(&d, buf, s, n))
			die("cannot read raw-secondary");
		for (i = 0; i < n; i++) {
			stamp_read(buf + i * SECTOR_SIZE, s + i, &st);
			if (calm && st.seq < atomic_load(&shared->acked[s + i]))
				found("lost: secondary's sector %llu is of write %llu, not %llu",
				      U(s + i), U(st.seq), U(atomic_load(&shared->acked[s + i])));
			atomic_store(&shared->acked[s + i], st.seq);
		}
	}
	close(d.fd);
}

static bool primary_is_clean(void)
{
	unsigned long long dirty = 1;
	char line[512];

	return !dmctl_status(PRIMARY, line, sizeof(line)) &&
	       sscanf(line, "primary running %*s %llu", &dirty) == 1 && !dirty &&
	       !strstr(line, " broken") && !strstr(line, " resync ");
}

static void settle_primary(void)
{
	u64 until = now_us() + 60000000;

	dmctl_resume(PRIMARY);
	dmctl_message(PRIMARY, "set resync_rate_mib 0", NULL, 0);
	dmctl_message(PRIMARY, "set replica_timeout_ms 0", NULL, 0);
	while (!primary_is_clean()) {
		if (now_us() > until) {
			found("the primary's resync does not end though all disks are well");
			return;
		}
		dmctl_message(PRIMARY, "start", NULL, 0);
		dmctl_message(PRIMARY, "start_resync", NULL, 0);
		sleep_us(20000);
	}
	compare_disks("/dev/mapper/raw-local", "/dev/mapper/raw-replica");
}

static void settle(void)
{
	mend_all();
	settle_view();
	if (!atomic_load(&shared->found))
		compare_disks("/dev/mapper/" VIEW, "/dev/mapper/raw-secondary");
	if (!atomic_load(&shared->found))
		settle_primary();
	if (atomic_load(&shared->found))
		return;
	check_acked();
	remove_it(VIEW);
	remove_it(ORIGIN);
	remove_it(PRIMARY);
}

/* ---- memory ---- */

static void fail_allocations(const char *kind, u64 percent)
{
	char path[80];
	FILE *file;

	snprintf(path, sizeof(path), "/sys/kernel/debug/%s/probability", kind);
	file = fopen(path, "w");
	if (!file || fprintf(file, "%llu\n", U(percent)) < 0 || fclose(file))
		die("%s: %s (a kernel with FAULT_INJECTION is needed)", path,
		    strerror(errno));
}

static void make_scarce(u64 percent)
{
	fail_allocations("failslab", percent);
	fail_allocations("fail_page_alloc", percent);
}

/* ---- rounds ---- */

static void blank_metadata(void)
{
	struct dev d;

	if (open_disk("/dev/mapper/raw-metadata", &d))
		die("cannot open raw-metadata");
	memset(buf, 0, 1u << 17);
	if (dev_write(&d, buf, 0, 256, true))
		die("cannot blank raw-metadata");
	close(d.fd);
}

static void make_all(void)
{
	char params[160];
	int r;

	blank_metadata();
	r = make_origin();
	if (!r)
		r = make_view();
	snprintf(params, sizeof(params), "primary /dev/mapper/r-%s 4 %s /dev/mapper/r-%s",
		 "replica", "autostart in_sync local", "local");
	if (!r)
		r = dmctl_make(PRIMARY, sectors, "replication", params);
	if (r)
		die("cannot make the pairs: %s", strerror(-r));
}

static void one_round(u64 us)
{
	rng_seed(&rng, seed + round_nr, 0);
	calm = round_nr % 2;
	with_metadata = rng_chance(&rng, 35);
	make_all();
	if (scarcity)
		make_scarce(scarcity);
	start_work("message", send_message, MESSENGERS);
	start_work("reload", change_tables, 1);
	start_work("disks", break_disks, 1);
	start_users("/dev/mapper/" ORIGIN, write_origin, ORIGIN_WRITERS);
	start_users("/dev/mapper/" VIEW, write_view, VIEW_WRITERS);
	start_users("/dev/mapper/" VIEW, read_view, READERS);
	start_users("/dev/mapper/" PRIMARY, use_primary, PRIMARY_USERS);
	while (us && !atomic_load(&shared->found)) {
		u64 step = us < 200000 ? us : 200000;

		sleep_us(step);
		us -= step;
	}
	if (scarcity)
		make_scarce(0);
	gather();
	if (!atomic_load(&shared->found))
		settle();
}

static void fill(const char *path)
{
	struct dev d;

	if (open_disk(path, &d))
		die("cannot open %s: %s", path, strerror(errno));
	dev_fill(&d, buf, 1);
	close(d.fd);
}

static void prepare(void)
{
	unsigned long long bytes;
	struct dev d;

	if (open_disk("/dev/mapper/raw-secondary", &d) || ioctl(d.fd, BLKGETSIZE64, &bytes))
		die("there is no raw-secondary");
	close(d.fd);
	sectors = bytes / SECTOR_SIZE;
	shared = mmap(NULL, sizeof(*shared) + sectors * sizeof(u64),
		      PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (shared == MAP_FAILED)
		die("no memory");
	buf = io_buffer(MIB_SECTORS * SECTOR_SIZE);
	atomic_store(&shared->seq, 1);
	stamp_run(1);
	fill("/dev/mapper/raw-active");		/* whatever was there: never seen */
	fill("/dev/mapper/raw-hidden");
	fill("/dev/mapper/raw-secondary");
	fill("/dev/mapper/raw-local");
	fill("/dev/mapper/raw-replica");
}

static void report(u64 began)
{
	bool bad = atomic_load(&shared->found);

	printf("%s races rounds=%llu messages=%llu accepted=%llu reloads=%llu losses=%llu ",
	       bad ? "failed" : "ok", U(round_nr), U(atomic_load(&shared->messages)),
	       U(atomic_load(&shared->accepted)), U(atomic_load(&shared->reloads)),
	       U(atomic_load(&shared->losses)));
	printf("writes=%llu reads=%llu frozen=%llu fresh=%llu own=%llu fenced=%llu primary=%llu ",
	       U(atomic_load(&shared->writes)), U(atomic_load(&shared->reads)),
	       U(atomic_load(&shared->frozen_checks)), U(atomic_load(&shared->fresh_checks)),
	       U(atomic_load(&shared->own_checks)), U(atomic_load(&shared->fence_checks)),
	       U(atomic_load(&shared->primary_checks)));
	printf("lives=%llu seed=%llu s=%llu\n", U(atomic_load(&shared->life) / 2), U(seed),
	       U((now_us() - began) / 1000000));
}

int main(int argc, char **argv)
{
	u64 began, seconds;

	if (argc != 3 && argc != 4)
		die("usage: races SECONDS SEED [PERCENT]");
	seconds = strtoull(argv[1], NULL, 10);
	seed = strtoull(argv[2], NULL, 10);
	if (argc == 4)
		scarcity = strtoull(argv[3], NULL, 10);
	printf("# races: %llu s, seed %llu, %llu %% of the allocations fail\n",
	       U(seconds), U(seed), U(scarcity));
	prepare();
	began = now_us();
	do {
		round_nr++;
		one_round(10000000);
		if (!atomic_load(&shared->found))
			printf("# round %llu%s%s, %llu s\n", U(round_nr), calm ? " calm" : "",
			       with_metadata ? " metadata" : "",
			       U((now_us() - began) / 1000000));
		fflush(stdout);
	} while (!atomic_load(&shared->found) && now_us() - began < seconds * 1000000);
	report(began);
	return atomic_load(&shared->found) ? EXIT_MISMATCH : EXIT_OK;
}
