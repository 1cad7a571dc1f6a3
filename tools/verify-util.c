// SPDX-License-Identifier: GPL-2.0-only
/* Random numbers, time, errors, the finding and the progress line. */

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "verify.h"

void rng_seed(struct rng *r, u64 seed, u64 stream)
{
	r->s = seed ^ stream << 40;
	/* a state from the output: neighbouring seeds must not walk one sequence */
	r->s = rng_next(r);
}

/* splitmix64: small, and any seed is a good one */
u64 rng_next(struct rng *r)
{
	u64 z = (r->s += 0x9e3779b97f4a7c15ull);

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
	return z ^ (z >> 31);
}

u64 rng_below(struct rng *r, u64 n)
{
	return n ? rng_next(r) % n : 0;
}

bool rng_chance(struct rng *r, unsigned int percent)
{
	return rng_below(r, 100) < percent;
}

void die(const char *fmt, ...)
{
	va_list ap;

	fflush(stdout);
	fputs("dmrepl-verify: ", stderr);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
	exit(EXIT_USAGE);
}

u64 now_us(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (u64)ts.tv_sec * 1000000 + (u64)ts.tv_nsec / 1000;
}

void sleep_us(u64 us)
{
	struct timespec ts = {
		.tv_sec = (time_t)(us / 1000000),
		.tv_nsec = (long)(us % 1000000) * 1000,
	};

	while (nanosleep(&ts, &ts) && errno == EINTR)
		;
}

void *xcalloc(size_t n, size_t size)
{
	void *p = calloc(n, size);

	if (!p)
		die("out of memory (%zu times %zu bytes)", n, size);
	return p;
}

void *io_buffer(size_t bytes)
{
	void *p = NULL;

	if (posix_memalign(&p, 4096, bytes))
		die("out of memory (%zu bytes)", bytes);
	memset(p, 0, bytes);
	return p;
}

static atomic_bool have_finding;

bool failed(void)
{
	return atomic_load_explicit(&have_finding, memory_order_relaxed);
}

bool finding_begin(void)
{
	bool none = false;

	return atomic_compare_exchange_strong(&have_finding, &none, true);
}

static void finding_va(const char *fmt, va_list ap)
{
	fputs("MISMATCH ", stdout);
	vfprintf(stdout, fmt, ap);
	fputc('\n', stdout);
}

void finding_line(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	finding_va(fmt, ap);
	va_end(ap);
}

void finding_end(void)
{
	fflush(stdout);
}

void finding(const char *fmt, ...)
{
	va_list ap;

	if (!finding_begin())
		return;
	va_start(ap, fmt);
	finding_va(fmt, ap);
	va_end(ap);
	finding_end();
}

static struct {
	pthread_t thread;
	bool on, print;
	atomic_bool end;
	const struct progress_ops *ops;
} progress;

/* A request that never ends must end the run: nothing else would. */
static void check_stall(u64 *last, u64 *since)
{
	u64 done = progress.ops->done();

	if (done != *last) {
		*last = done;
		*since = now_us();
	} else if (now_us() - *since > STALL_US) {
		if (finding_begin()) {
			finding_line("nothing ended for %llu s",
				     STALL_US / 1000000ull);
			progress.ops->stalled();
			finding_end();
		}
		_exit(EXIT_MISMATCH);
	}
}

static void *progress_main(void *arg)
{
	u64 last = 0, since = now_us();
	unsigned int ticks = 0;

	(void)arg;
	while (!atomic_load(&progress.end)) {
		sleep_us(100000);
		if (++ticks % 10)
			continue;
		check_stall(&last, &since);
		if (!progress.print)
			continue;
		progress.ops->line(stderr);
		fputc(isatty(2) ? '\r' : '\n', stderr);
	}
	if (progress.print && isatty(2))
		fputc('\n', stderr);
	return NULL;
}

void progress_start(bool wanted, const struct progress_ops *ops)
{
	progress.ops = ops;
	progress.print = wanted || isatty(2);
	atomic_store(&progress.end, false);
	progress.on = !pthread_create(&progress.thread, NULL, progress_main, NULL);
}

void progress_stop(void)
{
	if (!progress.on)
		return;
	atomic_store(&progress.end, true);
	pthread_join(progress.thread, NULL);
	progress.on = false;
}
