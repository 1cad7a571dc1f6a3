// SPDX-License-Identifier: GPL-2.0-only
/*
 * Faults at every request: runs one script of operations on a pair again and
 * again, each time with another request to one of its disks failing, and
 * compares with the model of dmrepl-verify after each operation.
 *
 * The disks are device-mapper devices f-active, f-hidden, f-secondary and
 * f-metadata of target fault_nth, each over one that is named raw-...; the pair
 * e-view, e-origin is made and removed here. The script is the same in every run,
 * whatever fails in it, so that the k-th request of one run is that of the next
 * (but for spills, and for how much is done while a failover lasts).
 *
 * What is asked, by the numbers of the invariants:
 *   1, 2, 3, 4, 5, 6  every read of view, origin and secondary by the model
 *   7  one fault fails at most one operation, with EIO; get_error tells of it,
 *      by the disk's class; the same operation succeeds when it is repeated
 *   8  once a failover has begun the origin is refused
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../../tools/verify-model.h"
#include "dmctl.h"

#define VIEW	"e-view"
#define ORIGIN	"e-origin"
#define POLL_US	2000

enum device { ACTIVE, HIDDEN, SECONDARY, METADATA, NR_DEVICES };
enum kind { READS, WRITES, NR_KINDS };
enum how { BEFORE, AFTER, FROM, NR_HOWS };

static const char *const device_names[] = {
	"active", "hidden", "secondary", "metadata",
};


static const char *const kind_names[] = { "read", "write" };
static const char *const how_names[] = { "before", "after", "from" };

/* ---- the scripts ---- */

enum step_kind {
	REQUEST, START, CHECKPOINT, STOP, FAILOVER, PROMOTE, COMPARE, REFUSED, REOPEN
};

struct step {
	enum step_kind kind;
	enum operation op;
	u64 sector, count;
};

#define MAX_STEPS	512

struct plan {
	struct step steps[MAX_STEPS];
	unsigned int n;
};

struct scenario {
	const char *name;
	const char *features;
	bool drops;				/* on_capture_error drop_view */
	bool metadata;
	void (*make)(struct worker *w, struct plan *p);
};

struct counts {
	u64 reads, writes, failed;
};

/* How this run's fault is, and what has come of it. */
static struct {
	const struct scenario *scenario;
	enum device device;
	enum kind kind;
	enum how how;
	u64 k;
	bool armed;				/* the disk may still fail */
	u64 injected;				/* as of when it was mended */
	unsigned int failures;			/* operations that failed */
	bool allocation;			/* not a disk: the k-th allocation */
	struct counts counts[NR_DEVICES];	/* what the script has sent */
} now;

static struct model model;
static struct worker worker;
static struct opts opts;
static struct totals {
	u64 runs, injected, failures, commits, invalid;
} totals;

static void add(struct plan *p, struct step s)
{
	if (p->n == MAX_STEPS)
		die("a script has more than %u steps", MAX_STEPS);
	p->steps[p->n++] = s;
}

static void add_request(struct plan *p, enum operation op, u64 sector, u64 count)
{
	add(p, (struct step){ REQUEST, op, sector, count });
}

static void add_mixed(struct worker *w, struct plan *p, unsigned int n)
{
	static const enum operation ops[] = {
		OP_ORG_WRITE, OP_VIEW_READ, OP_VIEW_WRITE, OP_ORG_WRITE, OP_VIEW_READ,
		OP_ORG_READ, OP_VIEW_WRITE, OP_ORG_ZERO, OP_VIEW_READ, OP_ORG_DISCARD,
		OP_ORG_FLUSH, OP_VIEW_FLUSH, OP_VIEW_ZERO, OP_VIEW_DISCARD,
	};
	u64 sector, count;

	for (; n; n--) {
		pick_range(w, &w->m->view, &sector, &count);
		add_request(p, ops[rng_below(&w->rng, sizeof(ops) / sizeof(ops[0]))],
			    sector, count);
	}
}

/* Borders of pages, blocks and leaves, and all sources of a view read. */
static void add_borders(struct plan *p)
{
	u64 mib = MIB_SECTORS, end = model.sectors;

	add_request(p, OP_ORG_WRITE, 3, 1);
	add_request(p, OP_VIEW_WRITE, 8, 1);
	add_request(p, OP_ORG_WRITE, 8, 16);		/* half of it is covered */
	add_request(p, OP_VIEW_READ, 0, 64);
	add_request(p, OP_ORG_WRITE, mib - 24, 48);	/* two leaves */
	add_request(p, OP_VIEW_WRITE, mib - 8, 16);
	add_request(p, OP_VIEW_READ, mib - 64, 128);
	add_request(p, OP_ORG_WRITE, end - 3, 3);	/* the short page */
	add_request(p, OP_VIEW_WRITE, end - 1, 1);
	add_request(p, OP_VIEW_READ, end - 16, 16);
	add_request(p, OP_ORG_DISCARD, mib + 64, 64);
	add_request(p, OP_ORG_ZERO, mib + 256, 64);
	add_request(p, OP_ORG_WRITE, mib - 200, mib + 400);	/* three leaves */
	add_request(p, OP_VIEW_READ, mib - 100, mib + 200);
	add_request(p, OP_VIEW_FLUSH, 0, 0);
	add_request(p, OP_ORG_FLUSH, 0, 0);
}

/* More than hold_mib 1 takes, and reads of what went to hidden. */
static void add_stream(struct plan *p)
{
	u64 s;

	for (s = 0; s + 128 <= model.sectors; s += 128)
		add_request(p, OP_ORG_WRITE, s, 128);
	for (s = 0; s + 64 <= model.sectors; s += 512)
		add_request(p, OP_VIEW_READ, s, 64);
}

static void add_kind(struct plan *p, enum step_kind kind)
{
	add(p, (struct step){ .kind = kind });
}

static void plan_held(struct worker *w, struct plan *p)
{
	add_kind(p, START);
	add_borders(p);
	add_mixed(w, p, 30);
	add_kind(p, CHECKPOINT);
	add_borders(p);
	add_mixed(w, p, 30);
	add_kind(p, COMPARE);
	add_kind(p, FAILOVER);
	add_mixed(w, p, 10);
}

static void plan_spill(struct worker *w, struct plan *p)
{
	add_kind(p, START);
	add_borders(p);
	add_mixed(w, p, 10);
	add_stream(p);
	add_mixed(w, p, 20);
	add_kind(p, FAILOVER);
	add_mixed(w, p, 10);
}

static void plan_restart(struct worker *w, struct plan *p)
{
	add_kind(p, START);
	add_borders(p);
	add_kind(p, STOP);
	add_mixed(w, p, 10);
	add_kind(p, START);
	add_borders(p);
	add_mixed(w, p, 20);
	add_stream(p);
	add_kind(p, CHECKPOINT);
	add_mixed(w, p, 10);
	add_kind(p, PROMOTE);
	add_mixed(w, p, 10);
}

/* With metadata: it goes away and comes back in the middle of an epoch. */
static void plan_durable(struct worker *w, struct plan *p)
{
	add_kind(p, START);
	add_borders(p);
	add_mixed(w, p, 15);
	add_request(p, OP_VIEW_FLUSH, 0, 0);
	add_kind(p, REOPEN);
	add_kind(p, COMPARE);
	add_borders(p);
	add_mixed(w, p, 10);
	add_kind(p, CHECKPOINT);
	add_borders(p);
	add_mixed(w, p, 10);
	add_kind(p, FAILOVER);
	add_mixed(w, p, 5);
}

static const struct scenario scenarios[] = {
	{ "held", "", false, false, plan_held },
	{ "spill", " 2 hold_mib 1", false, false, plan_spill },
	{ "letter", " 2 hold_mib 0", false, false, plan_held },
	{ "restart", " 3 hold_mib 1 discard_passdown", false, false, plan_restart },
	{ "drop", " 4 hold_mib 1 on_capture_error drop_view", true, false, plan_spill },
	{ "durable", " 2 metadata /dev/mapper/f-metadata", false, true, plan_durable },
};

#define SCENARIOS	(sizeof(scenarios) / sizeof(scenarios[0]))

/* ---- the disk that fails ---- */

static void disk_name(enum device device, char *name, size_t size)
{
	snprintf(name, size, "f-%s", device_names[device]);
}

static void tell_disk(enum device device, const char *text)
{
	char name[32];
	int err;

	disk_name(device, name, sizeof(name));
	err = dmctl_message(name, text, NULL, 0);
	if (err)
		die("%s to %s: %s", text, name, strerror(-err));
}

static struct counts disk_counts(enum device device)
{
	unsigned long long reads, writes, failed;
	char name[32], line[256];

	disk_name(device, name, sizeof(name));
	if (dmctl_status(name, line, sizeof(line)) ||
	    sscanf(line, "%llu %llu %llu", &reads, &writes, &failed) != 3)
		die("%s is no disk of target fault_nth", name);
	return (struct counts){ reads, writes, failed };
}

/*
 * The k-th allocation of this thread, in whatever call of the kernel: only in
 * those that are tested, between fail_on() and fail_off().
 */
static struct {
	int fd;
	u64 left;				/* 0: it has failed */
} nth;

static void write_nth(u64 k)
{
	char text[24];
	int n = snprintf(text, sizeof(text), "%llu", U(k));

	if (pwrite(nth.fd, text, (size_t)n, 0) != n)
		die("/proc/thread-self/fail-nth: %s", strerror(errno));
}

static void set_fail_nth(u64 k)
{
	if (nth.fd <= 0)
		nth.fd = open("/proc/thread-self/fail-nth", O_RDWR | O_CLOEXEC);
	if (nth.fd < 0)
		die("/proc/thread-self/fail-nth: %s (a kernel with FAULT_INJECTION is needed)",
		    strerror(errno));
	nth.left = k;
}

static void fail_on(void)
{
	if (now.allocation && now.armed && nth.left)
		write_nth(nth.left);
}

static void fail_off(void)
{
	char text[24] = "";

	if (!now.allocation || !now.armed || !nth.left)
		return;
	if (pread(nth.fd, text, sizeof(text) - 1, 0) <= 0)
		die("/proc/thread-self/fail-nth: %s", strerror(errno));
	write_nth(0);
	nth.left = strtoull(text, NULL, 10);
}

/* A system call that is tested: its value, with nothing failing after it. */
#define TESTED(call)							\
({									\
	int _r;								\
									\
	fail_on();							\
	_r = (call);							\
	fail_off();							\
	_r;								\
})

static void arm(void)
{
	char text[64];
	unsigned int i;

	for (i = 0; i < NR_DEVICES; i++)
		tell_disk((enum device)i, "count");
	now.injected = 0;
	now.failures = 0;
	now.armed = now.k;
	if (!now.k)
		return;
	if (now.allocation) {
		set_fail_nth(now.k);
		return;
	}
	snprintf(text, sizeof(text), "fail %s %llu %s", kind_names[now.kind], U(now.k),
		 how_names[now.how]);
	tell_disk(now.device, text);
}

static u64 injected(void)
{
	if (!now.armed)
		return now.injected;
	if (now.allocation)
		return !nth.left;
	return disk_counts(now.device).failed;
}

static void mend(void)
{
	if (!now.armed)
		return;
	now.injected = injected();
	if (now.allocation)
		set_fail_nth(0);
	else
		tell_disk(now.device, "fail none 0 before");
	now.armed = false;
}

/* ---- what may fail, and what is said of it ---- */

static bool stage_now(char *stage)
{
	struct pair_status st;
	int err = dm_pair_status(VIEW, &st);

	if (err)
		finding("status of the view: %s", strerror(-err));
	strcpy(stage, err ? "gone" : st.stage);
	return !err;
}

static bool class_fits(const char *class)
{
	if (now.scenario->metadata && !strcmp(class, "metadata"))
		return true;
	switch (now.device) {
	case ACTIVE:
		return !strcmp(class, "active") || !strcmp(class, "commit");
	case HIDDEN:
		return !strcmp(class, "spill") || !strcmp(class, "commit");
	case METADATA:
		return false;
	default:
		return !strcmp(class, "capture") || !strcmp(class, "secondary") ||
		       !strcmp(class, "commit");
	}
}

/* A failover that ends forgets what went wrong in it. */
static bool is_forgotten(const char *text)
{
	char stage[24];

	return !strcmp(text, "none") && atomic_load(&model.phase) == PH_FAILOVER &&
	       stage_now(stage) && !strcmp(stage, "done");
}

/* The pair tells of the fault; its end is a moment later than its beginning. */
static void expect_recorded(const char *what)
{
	char text[256] = "", class[32] = "";
	unsigned long long total = 0, sector = 0;
	u64 until = now_us() + 2000000;
	int err, error = 0;

	if (now.allocation)
		return;
	do {
		err = dmctl_message(VIEW, "get_error", text, sizeof(text));
		if (err || strcmp(text, "none") || is_forgotten(text))
			break;
		sleep_us(POLL_US);
	} while (now_us() < until);
	if (err == -ENXIO && stage_now(class) && !strcmp(class, "none"))
		return;		/* it has not been started yet */
	if (!err && is_forgotten(text))
		return;
	if (err)
		finding("get_error after %s failed: %s", what, strerror(-err));
	else if (sscanf(text, "%d %31s sector %llu total %llu", &error, class, &sector,
			&total) != 4)
		finding("%s failed, and get_error says: %s", what, text);
	else if (error != -EIO || !class_fits(class) || sector >= model.sectors)
		finding("%s failed as the disk %s did, and get_error says: %s", what,
			device_names[now.device], text);
}

/*
 * An operation has failed. It may, if something was injected that no other
 * operation has met; a disk that is dead is mended now.
 */
static void note_failure(const char *what, int err)
{
	u64 hits = injected();

	now.failures++;
	if (!hits)
		finding("%s failed, though nothing was injected: %s", what,
			strerror(-err));
	else if (now.how != FROM && now.failures > 1)
		finding("%s failed, too: one fault fails one operation: %s", what,
			strerror(-err));
	else if (!now.allocation && err != -EIO)
		finding("%s failed with %s", what, strerror(-err));
	if (!failed())
		expect_recorded(what);
	if (now.how == FROM)
		mend();
}

/* ---- requests ---- */

static bool is_origin_op(enum operation op)
{
	return op >= OP_ORG_WRITE && op <= OP_ORG_FLUSH;
}

static void read_by_rule(const struct dev *d, u64 sector, u64 count)
{
	struct track *t = rule_of(&model, d);
	int err = 0, tries;

	rule_before(&worker, t, sector, count);
	for (tries = 0; tries < 2 && !failed(); tries++) {
		err = TESTED(dev_read(d, worker.buf, sector, count));
		if (!err) {
			rule_check(&worker, d, t, sector, count, worker.buf);
			return;
		}
		note_failure(d == &model.view ? "a view read" : "an origin read", err);
	}
	finding("a read of %s sectors %llu+%llu failed when repeated: %s", d->role,
		U(sector), U(count), strerror(-err));
}

/*
 * A write has failed: each of its sectors is as it was, or as it would be. In
 * stage running a failed write of the view (and no flush after it) leaves no
 * mark on a block that it had not written before. What is there now must stay.
 */
static void settle(struct track *t, u64 sector, u64 count, bool flushed)
{
	const struct dev *d = t == &model.org ? &model.secondary : &model.view;
	bool no_mark = t == &model.act && atomic_load(&model.phase) == PH_RUNNING;
	struct stamp st;
	u64 s, i;

	for (s = sector; no_mark && !flushed && s < sector + count; s++)
		if (!atomic_load(&t->ack[s]))
			atomic_store(&t->sub[s], 0);
	read_by_rule(d, sector, count);
	for (i = 0; i < count && !failed(); i++) {
		u64 ack = atomic_load(&t->ack[sector + i]);
		u64 sub = atomic_load(&t->sub[sector + i]);

		stamp_read(worker.buf + i * SECTOR_SIZE, sector + i, &st);
		if (st.content == IS_ZERO ? (sub & ID_ZERO) && !(ack & ID_ZERO) :
		    st.seq == ID_SEQ(sub))
			atomic_store(&t->ack[sector + i], sub);
		else
			atomic_store(&t->sub[sector + i], ack);
	}
}

/* A discard may leave what was there, or zeroes. */
static bool leaves_open(enum operation op)
{
	return op == OP_ORG_DISCARD || op == OP_VIEW_DISCARD;
}

static struct track *track_of(enum operation op)
{
	if (is_origin_op(op))
		return &model.org;
	if (op == OP_VIEW_DISCARD && atomic_load(&model.phase) != PH_DONE)
		return NULL;		/* it has no effect */
	return &model.act;
}

/* Whatever it is that cannot be saved, or read to be saved. */
static bool must_go_on(void)
{
	return now.scenario->drops && !now.allocation &&
	       (now.kind == READS || now.device != SECONDARY);
}

static void do_change(const struct step *s)
{
	const struct dev *d = is_origin_op(s->op) ? &model.origin : &model.view;
	struct record r = { .op = s->op, .sector = s->sector, .count = s->count };
	struct track *t = track_of(s->op);
	unsigned int tries;
	struct rng rng;
	bool flushed;

	for (tries = 0; tries < 2 && !failed(); tries++) {
		rng = worker.rng;
		flushed = rng_chance(&rng, 5);	/* as submit_change() will */
		r.seq = slot_take(&worker, s->op, t, s->sector, s->count);
		r.begin = now_us();
		r.err = TESTED(submit_change(&worker, d, &r));
		log_op(&worker, &r);
		if (!r.err && t && !leaves_open(s->op))
			slot_ack(&worker, r.seq);
		slot_drop(&worker);
		if (r.err)
			note_failure(op_text(s->op), r.err);
		if (r.err && is_origin_op(s->op) && must_go_on())
			finding("%s failed, and drop_view says that it goes on",
				op_text(s->op));
		if (t && (r.err || leaves_open(s->op)))
			settle(t, s->sector, s->count, flushed);
		if (!r.err)
			return;
	}
	finding("%s failed when repeated: %s", op_text(s->op), strerror(-r.err));
}

static void do_flush(enum operation op)
{
	const struct dev *d = is_origin_op(op) ? &model.origin : &model.view;
	unsigned int tries;
	int err = 0;

	for (tries = 0; tries < 2 && !failed(); tries++) {
		err = TESTED(dev_flush(d));
		if (!err)
			return;
		note_failure(op_text(op), err);
	}
	finding("%s failed when repeated: %s", op_text(op), strerror(-err));
}

/* What must be refused is, and nothing of it comes through. */
static void do_refused(const struct step *s)
{
	const struct dev *d = is_origin_op(s->op) ? &model.origin : &model.view;
	struct record r = { .op = s->op, .sector = s->sector, .count = s->count,
			    .seq = atomic_fetch_add(&model.seq, 1) + 1 };
	int err;

	switch (s->op) {
	case OP_ORG_FLUSH:
	case OP_VIEW_FLUSH:
		err = dev_flush(d);
		break;
	case OP_ORG_READ:
	case OP_VIEW_READ:
		err = dev_read(d, worker.buf, s->sector, s->count);
		break;
	default:
		err = submit_change(&worker, d, &r);
	}
	if (err != -EIO && !(now.allocation && err))
		finding("%s must be refused with EIO: %s", op_text(s->op),
			err ? strerror(-err) : "it succeeded");
}

static bool is_refused(enum operation op)
{
	enum phase phase = atomic_load(&model.phase);

	if (is_origin_op(op))
		return phase == PH_FAILOVER || phase == PH_DONE;
	return phase == PH_STOPPED && op != OP_VIEW_READ;
}

static void do_request(const struct step *s)
{
	if (is_refused(s->op)) {
		do_refused(s);
		return;
	}
	switch (s->op) {
	case OP_ORG_READ:
		read_by_rule(&model.origin, s->sector, s->count);
		break;
	case OP_VIEW_READ:
		read_by_rule(&model.view, s->sector, s->count);
		break;
	case OP_ORG_FLUSH:
	case OP_VIEW_FLUSH:
		do_flush(s->op);
		break;
	default:
		do_change(s);
	}
}

/* ---- the pair ---- */

static int make_pair(void)
{
	char params[256];
	int err;

	err = dmctl_make(ORIGIN, model.sectors, "replication",
			 now.scenario->metadata ?
			 "origin /dev/mapper/f-secondary 1 fenced" :
			 "origin /dev/mapper/f-secondary");
	if (err)
		return err;
	snprintf(params, sizeof(params),
		 "secondary /dev/mapper/f-active /dev/mapper/f-hidden /dev/mapper/f-secondary%s",
		 now.scenario->features);
	err = dmctl_make(VIEW, model.sectors, "replication", params);
	if (err)
		dmctl_remove(ORIGIN);
	return err;
}

/* Who was told that the failover has ended may be a moment early. */
static void remove_pair(void)
{
	u64 until = now_us() + 20000000;
	int err;

	while ((err = dmctl_remove(VIEW)) == -EBUSY && now_us() < until)
		sleep_us(POLL_US);
	if (!err)
		err = dmctl_remove(ORIGIN);
	if (err)
		die("cannot remove the pair: %s", strerror(-err));
}

static void open_pair(void)
{
	dev_open(&model.view, "view", "/dev/mapper/" VIEW, true);
	dev_open(&model.origin, "origin", "/dev/mapper/" ORIGIN, true);
}

static void close_pair(void)
{
	close(model.view.fd);
	close(model.origin.fd);
}

/* As a pair may fail to be made because a fault came, once more. */
static void must_make_pair(void)
{
	int err = TESTED(make_pair());

	if (err && injected() && (now.allocation || now.scenario->metadata)) {
		now.failures++;
		if (now.how == FROM)
			mend();
		err = make_pair();
	}
	if (err)
		die("cannot make the pair: %s", strerror(-err));
	open_pair();
}

/* A metadata device is blank, or not a new pair's. */
static void blank_metadata(void)
{
	static struct dev raw;

	if (!raw.path)
		dev_open(&raw, "metadata", "/dev/mapper/raw-metadata", true);
	memset(worker.buf, 0, 1u << 17);
	if (dev_write(&raw, worker.buf, 0, 256, true))
		die("cannot blank %s", raw.path);
}

/* ---- transitions ---- */

/*
 * It must be done; if an allocation fails, or what has to be durable first does
 * not become so, at the second try. Then nothing has changed.
 */
static void transition(const char *text)
{
	int err = TESTED(dmctl_message(VIEW, text, NULL, 0));

	if (err && (now.allocation || now.scenario->metadata) && injected()) {
		note_failure(text, err);
		err = dmctl_message(VIEW, text, NULL, 0);
	}
	if (err)
		finding("%s was refused: %s", text, strerror(-err));
}

static void compare_everything(void)
{
	bool all = atomic_load(&model.phase) != PH_FAILOVER;
	u64 s, n;

	for (s = 0; s < model.sectors && !failed(); s += n) {
		n = model.sectors - s < MIB_SECTORS ? model.sectors - s : MIB_SECTORS;
		read_by_rule(&model.view, s, n);
		if (all)
			read_by_rule(&model.secondary, s, n);
	}
}

static void check_active(void)
{
	struct pair_status st;
	u64 s, n = 0;

	for (s = 0; s < model.sectors; s++)
		n += atomic_load(&model.act.ack[s]) != 0;
	if (dm_pair_status(VIEW, &st))
		finding("no status of the view");
	else if (st.active != n)
		finding("status: %llu active sectors; the view wrote %llu", U(st.active),
			U(n));
}

static void do_failover(void)
{
	static const struct step meanwhile[] = {
		{ REQUEST, OP_VIEW_WRITE, 0, 24 }, { REQUEST, OP_VIEW_READ, 0, 64 },
		{ REQUEST, OP_ORG_WRITE, 40, 8 }, { REQUEST, OP_VIEW_WRITE, 2040, 24 },
		{ REQUEST, OP_VIEW_READ, 2000, 96 }, { REQUEST, OP_ORG_READ, 40, 8 },
		{ REQUEST, OP_VIEW_FLUSH, 0, 0 },
	};
	u64 until = now_us() + 30000000;
	char stage[24] = "";
	unsigned int i = 0;

	atomic_store(&model.phase, PH_FAILOVER);
	transition("failover");
	while (!failed() && stage_now(stage) && strcmp(stage, "done")) {
		if (i < sizeof(meanwhile) / sizeof(meanwhile[0]))
			do_request(&meanwhile[i++]);
		else
			sleep_us(POLL_US);
		if (!strcmp(stage, "failover_failed")) {
			totals.commits++;
			if (!injected())
				finding("the commit failed, though nothing was injected");
			expect_recorded("the commit");
			compare_everything();
			do_refused(&meanwhile[2]);
			if (now.how == FROM)
				mend();
			transition("failover");
		} else if (strcmp(stage, "failover")) {
			finding("stage %s in a failover", stage);
		}
		if (now_us() > until)
			finding("the failover does not end");
	}
	atomic_store(&model.phase, PH_DONE);
}

static void new_epoch(void)
{
	model_new_epoch(&model);
	check_active();
}

static void do_step(const struct step *s)
{
	char stage[24];

	switch (s->kind) {
	case REQUEST:
		do_request(s);
		break;
	case START:
		transition("start");
		atomic_store(&model.phase, PH_RUNNING);
		new_epoch();
		break;
	case CHECKPOINT:
		check_active();
		transition("checkpoint");
		new_epoch();
		break;
	case STOP:
		transition("stop");
		atomic_store(&model.phase, PH_STOPPED);
		break;
	case FAILOVER:
		check_active();
		do_failover();
		break;
	case PROMOTE:
		transition("promote");
		model_new_epoch(&model);
		atomic_store(&model.phase, PH_DONE);
		break;
	case COMPARE:
		compare_everything();
		break;
	case REFUSED:
		do_refused(s);
		break;
	case REOPEN:
		close_pair();
		remove_pair();
		must_make_pair();
		if (stage_now(stage) && strcmp(stage, "running"))
			finding("stage %s when it came back", stage);
		break;
	}
}

/* The policy drop_view: the view is refused as a whole, and starts anew. */
static void look_for_invalid(void)
{
	static const struct step read = { REFUSED, OP_VIEW_READ, 0, 8 };
	static const struct step start = { .kind = START };
	char stage[24];

	if (!now.scenario->drops || !injected() ||
	    atomic_load(&model.phase) != PH_RUNNING || !stage_now(stage) ||
	    strcmp(stage, "invalid"))
		return;
	totals.invalid++;
	expect_recorded("an origin write's capture");
	do_refused(&read);
	mend();
	do_step(&start);
}

/* ---- one run ---- */

/* What the disk has become is where the next run begins. */
static void carry_over(void)
{
	u64 s, id;

	for (s = 0; s < model.sectors; s++) {
		id = atomic_load(&model.act.ack[s]);
		if (!id)
			id = model.frozen[s];
		atomic_store(&model.org.ack[s], id);
		atomic_store(&model.org.sub[s], id);
		atomic_store(&model.act.ack[s], 0);
		atomic_store(&model.act.sub[s], 0);
	}
}

/* Return: whether the fault came. */
static bool one_run(const struct plan *p)
{
	bool came;
	unsigned int i, j;

	if (now.scenario->metadata)
		blank_metadata();
	arm();
	atomic_store(&model.phase, PH_STOPPED);
	must_make_pair();
	for (i = 0; i < p->n && !failed(); i++) {
		/* the same in each run, whatever has failed in it */
		rng_seed(&worker.rng, opts.seed, i);
		do_step(&p->steps[i]);
		look_for_invalid();
	}
	for (j = 0; j < NR_DEVICES; j++)
		now.counts[j] = disk_counts((enum device)j);
	came = injected();
	totals.injected += came;
	totals.failures += now.failures;
	totals.runs++;
	mend();
	if (!failed())
		compare_everything();
	if (failed())
		printf("MISMATCH   at step %u of %u of scenario %s\n", i, p->n,
		       now.scenario->name);
	close_pair();
	remove_pair();
	carry_over();
	return came;
}

/* ---- all runs ---- */

static struct {
	const char *scenario, *device, *kind, *how;
	u64 only, step, offset, seconds, seed, allocations;
} wanted = { .step = 1, .seed = 1 };

static u64 began;

static bool is_late(void)
{
	return wanted.seconds && now_us() - began > wanted.seconds * 1000000;
}

static void describe_run(void)
{
	if (now.allocation)
		printf("MISMATCH   with the allocation %llu failing\n", U(now.k));
	else
		printf("MISMATCH   with %s %llu of %s failing (%s)\n",
		       kind_names[now.kind], U(now.k), device_names[now.device],
		       how_names[now.how]);
	printf("repeat: every --scenario %s ", now.scenario->name);
	if (now.allocation)
		printf("--allocations 1 ");
	else
		printf("--device %s --kind %s --how %s ", device_names[now.device],
		       kind_names[now.kind], how_names[now.how]);
	printf("--only %llu --seed %llu\n", U(now.k), U(opts.seed));
}

/*
 * k from the first one on, to the script's number of requests and on until one
 * does not come. With a step only each so-manieth; where to begin differs from
 * place to place.
 */
static void each_k(const struct plan *p, u64 n)
{
	static u64 turn;
	u64 first = wanted.only ? wanted.only : 1 + (wanted.offset + turn++) % wanted.step;
	u64 hits = 0, last = now_us(), limit = wanted.allocations ? ~0ull : n + 50;

	for (now.k = first; !failed() && !is_late(); now.k += wanted.step) {
		bool came = one_run(p);

		if (!came && now.k > n)
			break;
		/* how many there are in a failover varies */
		hits += came || one_run(p);
		if (now.k >= limit || wanted.only)
			break;
		if (now_us() - last > 10000000) {
			last = now_us();
			if (now.allocation)
				printf("# %s: allocation %llu\n", now.scenario->name, U(now.k));
			else
				printf("# %s %s %s %s: %llu of about %llu\n",
				       now.scenario->name, device_names[now.device],
				       kind_names[now.kind], how_names[now.how],
				       U(now.k), U(n));
			fflush(stdout);
		}
	}
	if (failed())
		describe_run();
	else
		printf("# %s: %s %s %s: %llu faults\n", now.scenario->name,
		       now.allocation ? "allocation" : device_names[now.device],
		       now.allocation ? "" : kind_names[now.kind],
		       now.allocation ? "" : how_names[now.how], U(hits));
	fflush(stdout);
}

static bool wants(const char *name, const char *only)
{
	return !only || !strcmp(name, only);
}

static void each_how(const struct plan *p, u64 n)
{
	unsigned int how;

	for (how = 0; how < NR_HOWS && !failed(); how++) {
		/* a read that is done and then fails is like one not done */
		if (!wants(how_names[how], wanted.how) ||
		    (now.kind == READS && how == AFTER))
			continue;
		now.how = (enum how)how;
		each_k(p, n);
	}
}

/* Return: the number of requests that the script sends to the three disks. */
static u64 each_place(const struct plan *p)
{
	struct counts counts[NR_DEVICES];
	unsigned int i, kind;
	u64 n = 0;

	now.k = 0;
	one_run(p);
	for (i = 0; i < NR_DEVICES; i++) {
		counts[i] = now.counts[i];
		n += counts[i].reads + counts[i].writes;
	}
	printf("# %s: %u steps send reads/writes: active %llu/%llu, hidden %llu/%llu, ",
	       now.scenario->name, p->n, U(counts[0].reads), U(counts[0].writes),
	       U(counts[1].reads), U(counts[1].writes));
	printf("secondary %llu/%llu, metadata %llu/%llu\n", U(counts[2].reads),
	       U(counts[2].writes), U(counts[3].reads), U(counts[3].writes));
	for (i = 0; i < NR_DEVICES && !failed(); i++)
		for (kind = 0; kind < NR_KINDS && !failed(); kind++) {
			if (!wants(device_names[i], wanted.device) ||
			    !wants(kind_names[kind], wanted.kind))
				continue;
			now.device = (enum device)i;
			now.kind = (enum kind)kind;
			each_how(p, kind ? counts[i].writes : counts[i].reads);
		}
	return n;
}

static void each_allocation(const struct plan *p)
{
	now.k = 0;
	one_run(p);
	now.allocation = true;
	now.how = BEFORE;
	each_k(p, 0);
	now.allocation = false;
}

static u64 each_scenario(void)
{
	static struct plan plans[SCENARIOS];
	unsigned int i;
	u64 n = 0;

	for (i = 0; i < SCENARIOS; i++) {
		rng_seed(&worker.rng, opts.seed, 1000 + i);
		scenarios[i].make(&worker, &plans[i]);
	}
	for (i = 0; i < SCENARIOS && !failed() && !is_late(); i++) {
		if (!wants(scenarios[i].name, wanted.scenario))
			continue;
		now.scenario = &scenarios[i];
		if (wanted.allocations)
			each_allocation(&plans[i]);
		else
			n += each_place(&plans[i]);
	}
	return n;
}

/* ---- the program ---- */

static u64 done_so_far(void)
{
	return atomic_load(&model.compares) + totals.runs;
}

static void line(FILE *to)
{
	fprintf(to, "%llu runs ", U(totals.runs));
}

static void stalled(void)
{
	finding_line("  in scenario %s with %s %llu of %s failing (%s)",
		     now.scenario->name, kind_names[now.kind], U(now.k),
		     device_names[now.device], how_names[now.how]);
}

static const struct progress_ops progress_ops = {
	.line = line, .done = done_so_far, .stalled = stalled,
};

#define USAGE								\
	"usage: every [--scenario NAME] [--device NAME] [--kind read|write] "	\
	"[--how before|after|from] [--only K] [--step N] [--offset N] "	\
	"[--seconds N] [--seed N] [--allocations 1]"

/* An option's value is a text or a number. */
static void set_option(const char *name, const char *value)
{
	const struct {
		const char *name;
		const char **text;
		u64 *number;
	} options[] = {
		{ "--scenario", &wanted.scenario, NULL },
		{ "--device", &wanted.device, NULL },
		{ "--kind", &wanted.kind, NULL },
		{ "--how", &wanted.how, NULL },
		{ "--only", NULL, &wanted.only },
		{ "--step", NULL, &wanted.step },
		{ "--offset", NULL, &wanted.offset },
		{ "--seconds", NULL, &wanted.seconds },
		{ "--seed", NULL, &wanted.seed },
		{ "--allocations", NULL, &wanted.allocations },
	};
	unsigned int i;

	for (i = 0; i < sizeof(options) / sizeof(options[0]); i++) {
		if (strcmp(name, options[i].name))
			continue;
		if (options[i].text)
			*options[i].text = value;
		else
			*options[i].number = strtoull(value, NULL, 10);
		return;
	}
	die(USAGE);
}

static void parse(int argc, char **argv)
{
	int i;

	if (!(argc & 1))
		die(USAGE);
	for (i = 1; i < argc; i += 2)
		set_option(argv[i], argv[i + 1]);
	if (!wanted.step)
		wanted.step = 1;
}

/* The model is made once, on a pair; its content is carried from run to run. */
static void prepare(void)
{
	struct dev raw = { 0 };
	u64 s, id;

	dev_open(&raw, "secondary", "/dev/mapper/f-secondary", true);
	model.sectors = raw.sectors;
	now.scenario = &scenarios[0];
	if (make_pair())
		die("cannot make the pair e-view, e-origin on f-active, f-hidden, f-secondary");
	opts = (struct opts){ .view = "/dev/mapper/" VIEW,
		.origin = "/dev/mapper/" ORIGIN, .secondary = "/dev/mapper/raw-secondary",
		.max_kib = 160, .seed = wanted.seed };
	model_init(&model, &opts, 1);
	model.zeroes = true;
	worker = (struct worker){ .m = &model, .buf = io_buffer(4u << 20),
		.lo = xcalloc(8192, sizeof(*worker.lo)) };
	id = atomic_fetch_add(&model.seq, 1) + 1;
	dev_fill(&model.origin, worker.buf, id);
	for (s = 0; s < model.sectors; s++) {
		atomic_store(&model.org.sub[s], id);
		atomic_store(&model.org.ack[s], id);
	}
	close(raw.fd);
	close_pair();
	remove_pair();
}

int main(int argc, char **argv)
{
	u64 n;

	parse(argc, argv);
	dm_setup();
	stamp_run(1);
	prepare();
	began = now_us();
	progress_start(false, &progress_ops);
	n = each_scenario();
	progress_stop();
	printf("%s every N=%llu runs=%llu faults=%llu operations_failed=%llu ",
	       failed() ? "failed" : "ok", U(n), U(totals.runs), U(totals.injected),
	       U(totals.failures));
	printf("commits_failed=%llu views_dropped=%llu compares=%llu seed=%llu s=%llu%s\n",
	       U(totals.commits), U(totals.invalid), U(atomic_load(&model.compares)),
	       U(opts.seed), U((now_us() - began) / 1000000),
	       is_late() ? " (time is over)" : "");
	return failed() ? EXIT_MISMATCH : EXIT_OK;
}
