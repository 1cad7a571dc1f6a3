/* SPDX-License-Identifier: GPL-2.0-only */
/* The host around a pair: programs, block devices, mounts, the kernel's log. */
#ifndef DMREPL_HOST_H
#define DMREPL_HOST_H

#include <sys/types.h>

#include "util.h"

/*
 * Runs a program without a shell. Its status, or -1 if it could not be started
 * (errno) or was stopped because @ms had passed (ETIMEDOUT; 0: no limit).
 */
int run_program(const struct words *words, uint64_t ms);
/* The same; its errors go nowhere, the first 64 KiB of its output are in *@output, to be freed. */
int read_program(const struct words *words, char **output);

/* Size in sectors of a block device, or a negative errno. */
int64_t device_sectors(const char *path);
/* Number of a block device, or 0. */
dev_t device_number(const char *path);
/* Until all of them are there and have a size, @ms have passed, or a signal. */
void await_devices(const struct words *paths, uint64_t ms);
/* Where device @dev, or what is stacked on it, is mounted or swapped on: one place, or NULL. */
char *mounted_at(dev_t dev);
/* Numbers like 253:4 of a device as a path. */
char *device_path(const char *numbers);

/* Begin to listen to the kernel's log; what it says of device mapper since then. */
int klog_open(void);
char *klog_reason(int fd);

#endif
