// SPDX-License-Identifier: GPL-2.0-only
/*
 * Print how many thousand ticks this processor's time stamp counter makes in a
 * second. An emulated guest reads this very counter; told its frequency it need
 * not find out, which goes wrong by factors on a busy host.
 */
#define _GNU_SOURCE
#include <stdint.h>
#include <stdio.h>
#include <time.h>
#include <x86intrin.h>

#define SPAN_NS 60000000

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC_RAW, &ts);
	return ts.tv_sec * 1000000000ULL + ts.tv_nsec;
}

/* Both clocks at one instant: of many tries the one that was least disturbed. */
static void sample(uint64_t *ns, uint64_t *ticks)
{
	uint64_t best = ~0ULL;
	int i;

	for (i = 0; i < 200; i++) {
		uint64_t before = __rdtsc();
		uint64_t middle = now_ns();
		uint64_t after = __rdtsc();

		if (after - before >= best)
			continue;
		best = after - before;
		*ns = middle;
		*ticks = before + best / 2;
	}
}

int main(void)
{
	const struct timespec span = { .tv_nsec = SPAN_NS };
	uint64_t ns[2], ticks[2];

	sample(&ns[0], &ticks[0]);
	nanosleep(&span, NULL);
	sample(&ns[1], &ticks[1]);
	printf("%.0f\n", (ticks[1] - ticks[0]) * 1e6 / (ns[1] - ns[0]));
	return 0;
}
