/* SPDX-License-Identifier: GPL-2.0-only */
/* A pair's devices: made, taken down, promoted. */
#ifndef DMREPL_PAIR_H
#define DMREPL_PAIR_H

#include "config.h"
#include "status.h"
#include "store.h"

/* How the devices are to come up. */
enum assembly { AS_PAIR, AS_PROMOTED };

/* Waits for the disks for so long, then makes all devices of the pair, or none. */
int pair_up(const struct pair *pair, uint64_t wait_ms);
/*
 * The same for a create that can be killed: what it makes is in the journal. If
 * nothing is done, its volumes are not there: @sectors is the length they would
 * have, @extent what LVM rounds up to.
 */
int pair_up_journalled(const struct pair *pair, uint64_t sectors, uint64_t extent);
/* EXIT_DONE if none of the pair's devices is there. */
int pair_check_names(const char *name);
/* Takes down what is there of the pair's devices. */
int pair_down(const char *name);
/* The same for the view alone, with an origin that stays. */
int pair_view_down(const char *name);
int pair_view_up(const struct pair *pair);
/* Undoes what a create that was cut short has made. */
int pair_undo(const char *name);
/* Has udev look at the pair's disks again: they are its own now, or no longer. */
void pair_stir_disks(const struct pair *pair);
/* Sectors of the pair, or 0 after an error that it has said. */
uint64_t pair_sectors(const struct pair *pair);

/* A pair that is up, or words that say what to do. */
int live_must(const char *name, struct live *live);
/* Sends a message; if it is refused says why in the kernel's words. */
int tell(const char *device, const char *message);
/* Whether udev is to look at the view again after each message. */
extern bool stir;

#endif
