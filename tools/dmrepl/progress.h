/* SPDX-License-Identifier: GPL-2.0-only */
/* Waiting for something that copies, with a bar on a terminal. */
#ifndef DMREPL_PROGRESS_H
#define DMREPL_PROGRESS_H

#include "status.h"

enum progress_state {
	PROGRESS_ON, PROGRESS_DONE, PROGRESS_FAILED, PROGRESS_GONE, PROGRESS_INTERRUPTED,
};

typedef enum progress_state progress_fn(const struct live *live, uint64_t *done,
					uint64_t *total);

/* Until it is no longer on; device mapper's events tell, the bar is drawn twice a second. */
enum progress_state progress_wait(const char *name, const char *what, progress_fn *state);

#endif
