/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Device-mapper's calls without libdevmapper, so that 100000 of them take
 * minutes in an emulated machine, and so that nothing stands between the bytes
 * of a test and the kernel. Each returns 0 or -errno. One thread at a time, but
 * any number of processes.
 */
#ifndef DMCTL_H
#define DMCTL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The longest table line or message, with its end. */
#define DMCTL_TEXT	(256 * 1024)

int dmctl_create(const char *name);		/* no table yet; makes its node */
int dmctl_remove(const char *name);
int dmctl_load(const char *name, uint64_t sectors, const char *type,
	       const char *params);
int dmctl_clear(const char *name);
int dmctl_suspend(const char *name);		/* flushes nothing, waits for I/O */
int dmctl_suspend_noflush(const char *name);
int dmctl_resume(const char *name);
bool dmctl_is_suspended(const char *name);
/* @answer may be NULL; it is empty if there was none. */
int dmctl_message(const char *name, const char *text, char *answer, size_t size);
int dmctl_status(const char *name, char *line, size_t size);
int dmctl_table(const char *name, char *line, size_t size);

/* create, load and resume; leaves nothing behind if one of them fails */
int dmctl_make(const char *name, uint64_t sectors, const char *type,
	       const char *params);
int dmctl_swap(const char *name, uint64_t sectors, const char *type,
	       const char *params);

#endif
