/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * dm-replication: tracepoints. Each is a nop until somebody listens; what they
 * say is documented in Documentation/dm-replication.rst, Tracepoints.
 *
 * Copyright (C) the dm-replication authors
 */
#undef TRACE_SYSTEM
#define TRACE_SYSTEM dm_replication

#if !defined(DM_REPLICATION_TRACE_H) || defined(TRACE_HEADER_MULTI_READ)
#define DM_REPLICATION_TRACE_H

#include <linux/tracepoint.h>

#include "dm-replication.h"

/* Programs that read the events know no enums: these become numbers. */
TRACE_DEFINE_ENUM(STAGE_NONE);
TRACE_DEFINE_ENUM(STAGE_RUNNING);
TRACE_DEFINE_ENUM(STAGE_FAILOVER);
TRACE_DEFINE_ENUM(STAGE_FAILOVER_FAILED);
TRACE_DEFINE_ENUM(STAGE_DONE);
TRACE_DEFINE_ENUM(STAGE_STOPPED);
TRACE_DEFINE_ENUM(STAGE_INVALID);
TRACE_DEFINE_ENUM(ERROR_CAPTURE);
TRACE_DEFINE_ENUM(ERROR_SPILL);
TRACE_DEFINE_ENUM(ERROR_ACTIVE);
TRACE_DEFINE_ENUM(ERROR_SECONDARY);
TRACE_DEFINE_ENUM(ERROR_COMMIT);
TRACE_DEFINE_ENUM(ERROR_FORWARD);
TRACE_DEFINE_ENUM(ERROR_LOCAL);
TRACE_DEFINE_ENUM(ERROR_ORIGIN);
TRACE_DEFINE_ENUM(ERROR_METADATA);
TRACE_DEFINE_ENUM(COMMIT_ACTIVE);
TRACE_DEFINE_ENUM(COMMIT_HIDDEN);
TRACE_DEFINE_ENUM(COMMIT_HELD);

#define show_stage(stage)						\
	__print_symbolic(stage,						\
			 { STAGE_NONE, "none" },			\
			 { STAGE_RUNNING, "running" },			\
			 { STAGE_FAILOVER, "failover" },		\
			 { STAGE_FAILOVER_FAILED, "failover_failed" },	\
			 { STAGE_DONE, "done" },			\
			 { STAGE_STOPPED, "stopped" },			\
			 { STAGE_INVALID, "invalid" })

#define show_class(class)						\
	__print_symbolic(class,						\
			 { ERROR_CAPTURE, "capture" },			\
			 { ERROR_SPILL, "spill" },			\
			 { ERROR_ACTIVE, "active" },			\
			 { ERROR_SECONDARY, "secondary" },		\
			 { ERROR_COMMIT, "commit" },			\
			 { ERROR_FORWARD, "forward" },			\
			 { ERROR_LOCAL, "local" },			\
			 { ERROR_ORIGIN, "origin" },			\
			 { ERROR_METADATA, "metadata" })

#define show_source(source)						\
	__print_symbolic(source,					\
			 { COMMIT_ACTIVE, "active" },			\
			 { COMMIT_HIDDEN, "hidden" },			\
			 { COMMIT_HELD, "held" })

/* Old data of secondary is saved: in memory (held), or in hidden at once. */
TRACE_EVENT(capture,
	TP_PROTO(struct pair *pair, sector_t sector, unsigned int pages,
		 bool held),
	TP_ARGS(pair, sector, pages, held),
	TP_STRUCT__entry(
		__field(dev_t, dev)
		__field(sector_t, sector)
		__field(unsigned int, pages)
		__field(bool, held)
	),
	TP_fast_assign(
		__entry->dev = pair->key;
		__entry->sector = sector;
		__entry->pages = pages;
		__entry->held = held;
	),
	TP_printk("%u,%u sector %llu pages %u %s", MAJOR(__entry->dev),
		  MINOR(__entry->dev), (unsigned long long)__entry->sector,
		  __entry->pages, __entry->held ? "held" : "hidden")
);

/* Pages, of all that are held, have got to hidden. */
TRACE_EVENT(spill,
	TP_PROTO(struct pair *pair, sector_t sector, unsigned int pages),
	TP_ARGS(pair, sector, pages),
	TP_STRUCT__entry(
		__field(dev_t, dev)
		__field(sector_t, sector)
		__field(unsigned int, pages)
		__field(unsigned int, held)
	),
	TP_fast_assign(
		__entry->dev = pair->key;
		__entry->sector = sector;
		__entry->pages = pages;
		__entry->held = READ_ONCE(pair->cow.nr_held);
	),
	TP_printk("%u,%u sector %llu pages %u of %u", MAJOR(__entry->dev),
		  MINOR(__entry->dev), (unsigned long long)__entry->sector,
		  __entry->pages, __entry->held)
);

/* A transition has ended, well or not: newcomers go on. */
TRACE_EVENT(checkpoint,
	TP_PROTO(struct pair *pair, u64 pause),
	TP_ARGS(pair, pause),
	TP_STRUCT__entry(
		__field(dev_t, dev)
		__field(u64, epoch)
		__field(u64, pause)
		__field(unsigned int, stage)
	),
	TP_fast_assign(
		__entry->dev = pair->key;
		__entry->epoch = pair->overlay.epoch;
		__entry->pause = pause;
		__entry->stage = pair->stage;
	),
	TP_printk("%u,%u stage %s epoch %llu pause %llu us",
		  MAJOR(__entry->dev), MINOR(__entry->dev),
		  show_stage(__entry->stage), __entry->epoch, __entry->pause)
);

/* A failover sends a copy to secondary. */
TRACE_EVENT(commit_extent,
	TP_PROTO(struct pair *pair, enum commit_source source, sector_t sector,
		 unsigned int sectors),
	TP_ARGS(pair, source, sector, sectors),
	TP_STRUCT__entry(
		__field(dev_t, dev)
		__field(sector_t, sector)
		__field(unsigned int, sectors)
		__field(unsigned int, source)
	),
	TP_fast_assign(
		__entry->dev = pair->key;
		__entry->sector = sector;
		__entry->sectors = sectors;
		__entry->source = source;
	),
	TP_printk("%u,%u sector %llu + %u from %s", MAJOR(__entry->dev),
		  MINOR(__entry->dev), (unsigned long long)__entry->sector,
		  __entry->sectors, show_source(__entry->source))
);

/* The origin is fenced off, or let in again. */
TRACE_EVENT(fence,
	TP_PROTO(struct pair *pair, bool up),
	TP_ARGS(pair, up),
	TP_STRUCT__entry(
		__field(dev_t, dev)
		__field(unsigned int, stage)
		__field(bool, up)
	),
	TP_fast_assign(
		__entry->dev = pair->key;
		__entry->stage = pair->stage;
		__entry->up = up;
	),
	TP_printk("%u,%u %s in stage %s", MAJOR(__entry->dev),
		  MINOR(__entry->dev), __entry->up ? "up" : "down",
		  show_stage(__entry->stage))
);

/* Each error that the status counts. */
TRACE_EVENT(error,
	TP_PROTO(struct pair *pair, enum error_class class, int error,
		 sector_t sector),
	TP_ARGS(pair, class, error, sector),
	TP_STRUCT__entry(
		__field(dev_t, dev)
		__field(sector_t, sector)
		__field(unsigned int, class)
		__field(int, error)
	),
	TP_fast_assign(
		__entry->dev = pair->key;
		__entry->sector = sector;
		__entry->class = class;
		__entry->error = error;
	),
	TP_printk("%u,%u class %s error %d sector %llu", MAJOR(__entry->dev),
		  MINOR(__entry->dev), show_class(__entry->class),
		  __entry->error, (unsigned long long)__entry->sector)
);

#endif

/* Outside of what is read once: this file includes itself. */
#undef TRACE_INCLUDE_PATH
#define TRACE_INCLUDE_PATH .
#undef TRACE_INCLUDE_FILE
#define TRACE_INCLUDE_FILE dm-replication-trace
#include <trace/define_trace.h>
