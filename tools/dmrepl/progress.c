// SPDX-License-Identifier: GPL-2.0-only
/* Waiting for something that copies, with a bar on a terminal. */

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "progress.h"

#define BAR	"========================================"

static void draw(const char *name, const char *what, uint64_t done, uint64_t total,
		 uint64_t speed)
{
	const int width = strlen(BAR);
	char of[32], rate[32], left[32] = "-";
	int filled = total ? (int)(done * width / total) : width;

	show_size(of, sizeof(of), total);
	show_size(rate, sizeof(rate), speed);
	if (speed)
		show_time(left, sizeof(left), total > done ? (total - done) / speed : 0);
	fprintf(stderr, "\r%s: %s [%-*.*s] %3u %% of %s, %s/s, %s left \033[K", name, what, width,
		filled > width ? width : filled, BAR,
		total ? (unsigned int)(done * 100 / total) : 100, of, rate, left);
}

/* By what was copied while we looked: it may have begun long before. */
static uint64_t speed_of(uint64_t done, uint64_t first, uint64_t ms)
{
	return done > first && ms ? (done - first) * 1000 / ms : 0;
}

enum progress_state progress_wait(const char *name, const char *what, progress_fn *state)
{
	bool bar = isatty(STDERR_FILENO);
	uint64_t begin = now_ms(), first = UINT64_MAX, done, total;
	enum progress_state now;
	struct live live;
	uint32_t event;
	int err;

	catch_signals();
	for (;;) {
		if (live_read_view(name, &live))
			return PROGRESS_GONE;
		event = live.event;
		now = live.kind > LIVE_OTHER ? state(&live, &done, &total) : PROGRESS_GONE;
		live_free(&live);
		if (now != PROGRESS_GONE && first > done)
			first = done;
		if (bar && now != PROGRESS_GONE)
			draw(name, what, done, total, speed_of(done, first, now_ms() - begin));
		if (now != PROGRESS_ON || interrupted())
			break;
		err = dm_event(name, event, bar ? 500 : 0);
		if (err && err != -ETIMEDOUT && err != -EINTR)
			return PROGRESS_GONE;
	}
	if (bar)
		putc('\n', stderr);
	return now == PROGRESS_ON ? PROGRESS_INTERRUPTED : now;
}
