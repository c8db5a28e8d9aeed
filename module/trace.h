/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Tracepoints, in the system "rvm".  What a transaction does before it ends, it
 * does without the kernel: that is why there is none for begin and declare.
 *
 * A log is named by the device that it is, or by its file's device and inode.
 * Times are in nanoseconds, and 0 if tracing began in between.
 */
#undef TRACE_SYSTEM
#define TRACE_SYSTEM rvm

#if !defined(RVM_TRACE_H) || defined(TRACE_HEADER_MULTI_READ)
#define RVM_TRACE_H

#include <linux/ktime.h>
#include <linux/tracepoint.h>

#include "module/area.h"
#include "module/log.h"
#include "module/segment.h"

#ifndef RVM_TRACE_ONCE
#define RVM_TRACE_ONCE

/* When something began; 0 while nobody traces it. */
static inline u64 rvm_trace_begin(bool enabled)
{
	return enabled ? ktime_get_ns() : 0;
}

static inline u64 rvm_trace_since(u64 began)
{
	return began ? ktime_get_ns() - began : 0;
}

#endif

#define RVM_LOG_FIELDS							\
	__field(dev_t, device)						\
	__field(u64, inode)

#define RVM_LOG_ASSIGN(log)						\
	__entry->device = rvm_key_device((log)->key);			\
	__entry->inode = rvm_key_inode((log)->key)

#define RVM_LOG_FORMAT "log=%u:%u:%llu "
#define RVM_LOG_PRINT MAJOR(__entry->device), MINOR(__entry->device), __entry->inode

/* A transaction's end; sequence and what follows are 0 where it came to nothing. */
TRACE_EVENT(rvm_commit,
	TP_PROTO(struct rvm_log *log, u32 area, bool flush, u64 sequence, u32 pieces, u64 bytes,
		 u64 began, int ret),
	TP_ARGS(log, area, flush, sequence, pieces, bytes, began, ret),
	TP_STRUCT__entry(
		RVM_LOG_FIELDS
		__field(u32, area)
		__field(bool, flush)
		__field(u64, sequence)
		__field(u32, pieces)
		__field(u64, bytes)
		__field(u64, ns)
		__field(int, ret)
	),
	TP_fast_assign(
		RVM_LOG_ASSIGN(log);
		__entry->area = area;
		__entry->flush = flush;
		__entry->sequence = sequence;
		__entry->pieces = pieces;
		__entry->bytes = bytes;
		__entry->ns = rvm_trace_since(began);
		__entry->ret = ret;
	),
	TP_printk(RVM_LOG_FORMAT "area=%u flush=%d sequence=%llu pieces=%u bytes=%llu ns=%llu ret=%d",
		  RVM_LOG_PRINT, __entry->area, __entry->flush, __entry->sequence,
		  __entry->pieces, __entry->bytes, __entry->ns, __entry->ret)
);

/* Of a transaction's declarations: by abort, or since its process has gone. */
TRACE_EVENT(rvm_undo,
	TP_PROTO(struct rvm_area *area, bool died),
	TP_ARGS(area, died),
	TP_STRUCT__entry(
		RVM_LOG_FIELDS
		__field(u32, area)
		__field(bool, died)
	),
	TP_fast_assign(
		RVM_LOG_ASSIGN(area->log);
		__entry->area = area->id;
		__entry->died = died;
	),
	TP_printk(RVM_LOG_FORMAT "area=%u died=%d", RVM_LOG_PRINT, __entry->area, __entry->died)
);

/* One log write; settled: the calls whose wait for durability it ended, besides the writer's. */
TRACE_EVENT(rvm_log_write,
	TP_PROTO(struct rvm_log *log, u64 position, u64 bytes, unsigned int settled, u64 began,
		 int ret),
	TP_ARGS(log, position, bytes, settled, began, ret),
	TP_STRUCT__entry(
		RVM_LOG_FIELDS
		__field(u64, position)
		__field(u64, bytes)
		__field(unsigned int, settled)
		__field(u64, ns)
		__field(int, ret)
	),
	TP_fast_assign(
		RVM_LOG_ASSIGN(log);
		__entry->position = position;
		__entry->bytes = bytes;
		__entry->settled = settled;
		__entry->ns = rvm_trace_since(began);
		__entry->ret = ret;
	),
	TP_printk(RVM_LOG_FORMAT "position=%llu bytes=%llu settled=%u ns=%llu ret=%d",
		  RVM_LOG_PRINT, __entry->position, __entry->bytes, __entry->settled,
		  __entry->ns, __entry->ret)
);

/* The first store to a page since it was write-protected. */
TRACE_EVENT(rvm_write_fault,
	TP_PROTO(struct rvm_segment *segment, pgoff_t page),
	TP_ARGS(segment, page),
	TP_STRUCT__entry(
		RVM_LOG_FIELDS
		__field(u32, segment)
		__field(u64, page)
	),
	TP_fast_assign(
		RVM_LOG_ASSIGN(segment->log);
		__entry->segment = segment->id;
		__entry->page = page;
	),
	TP_printk(RVM_LOG_FORMAT "segment=%u page=%llu", RVM_LOG_PRINT, __entry->segment,
		  __entry->page)
);

/* Pages that come from their segment. */
TRACE_EVENT(rvm_read,
	TP_PROTO(struct rvm_segment *segment, pgoff_t page, unsigned int pages, u64 began,
		 int ret),
	TP_ARGS(segment, page, pages, began, ret),
	TP_STRUCT__entry(
		RVM_LOG_FIELDS
		__field(u32, segment)
		__field(u64, page)
		__field(unsigned int, pages)
		__field(u64, ns)
		__field(int, ret)
	),
	TP_fast_assign(
		RVM_LOG_ASSIGN(segment->log);
		__entry->segment = segment->id;
		__entry->page = page;
		__entry->pages = pages;
		__entry->ns = rvm_trace_since(began);
		__entry->ret = ret;
	),
	TP_printk(RVM_LOG_FORMAT "segment=%u page=%llu pages=%u ns=%llu ret=%d", RVM_LOG_PRINT,
		  __entry->segment, __entry->page, __entry->pages, __entry->ns, __entry->ret)
);

/* A fault has waited for memory: of the log, or of the system. */
TRACE_EVENT(rvm_memory_wait,
	TP_PROTO(struct rvm_log *log, bool system, u64 began),
	TP_ARGS(log, system, began),
	TP_STRUCT__entry(
		RVM_LOG_FIELDS
		__field(bool, system)
		__field(u64, ns)
	),
	TP_fast_assign(
		RVM_LOG_ASSIGN(log);
		__entry->system = system;
		__entry->ns = rvm_trace_since(began);
	),
	TP_printk(RVM_LOG_FORMAT "system=%d ns=%llu", RVM_LOG_PRINT, __entry->system, __entry->ns)
);

/* A store has waited for a page that another process's transaction has changed. */
TRACE_EVENT(rvm_page_wait,
	TP_PROTO(struct rvm_segment *segment, pgoff_t page, u64 began),
	TP_ARGS(segment, page, began),
	TP_STRUCT__entry(
		RVM_LOG_FIELDS
		__field(u32, segment)
		__field(u64, page)
		__field(u64, ns)
	),
	TP_fast_assign(
		RVM_LOG_ASSIGN(segment->log);
		__entry->segment = segment->id;
		__entry->page = page;
		__entry->ns = rvm_trace_since(began);
	),
	TP_printk(RVM_LOG_FORMAT "segment=%u page=%llu ns=%llu", RVM_LOG_PRINT, __entry->segment,
		  __entry->page, __entry->ns)
);

/* used: bytes of the log that are not free after it. */
TRACE_EVENT(rvm_truncate,
	TP_PROTO(struct rvm_log *log, unsigned int pages, u64 used, u64 began, int ret),
	TP_ARGS(log, pages, used, began, ret),
	TP_STRUCT__entry(
		RVM_LOG_FIELDS
		__field(unsigned int, pages)
		__field(u64, used)
		__field(u64, ns)
		__field(int, ret)
	),
	TP_fast_assign(
		RVM_LOG_ASSIGN(log);
		__entry->pages = pages;
		__entry->used = used;
		__entry->ns = rvm_trace_since(began);
		__entry->ret = ret;
	),
	TP_printk(RVM_LOG_FORMAT "pages=%u used=%llu ns=%llu ret=%d", RVM_LOG_PRINT,
		  __entry->pages, __entry->used, __entry->ns, __entry->ret)
);

TRACE_EVENT(rvm_recover,
	TP_PROTO(struct rvm_log *log, u64 applied, u64 kept, u64 began, int ret),
	TP_ARGS(log, applied, kept, began, ret),
	TP_STRUCT__entry(
		RVM_LOG_FIELDS
		__field(u64, applied)
		__field(u64, kept)
		__field(u64, ns)
		__field(int, ret)
	),
	TP_fast_assign(
		RVM_LOG_ASSIGN(log);
		__entry->applied = applied;
		__entry->kept = kept;
		__entry->ns = rvm_trace_since(began);
		__entry->ret = ret;
	),
	TP_printk(RVM_LOG_FORMAT "applied=%llu kept=%llu ns=%llu ret=%d", RVM_LOG_PRINT,
		  __entry->applied, __entry->kept, __entry->ns, __entry->ret)
);

#endif

#undef TRACE_INCLUDE_PATH
#define TRACE_INCLUDE_PATH module
#undef TRACE_INCLUDE_FILE
#define TRACE_INCLUDE_FILE trace
#include <trace/define_trace.h>
