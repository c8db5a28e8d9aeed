/* SPDX-License-Identifier: GPL-2.0 OR MIT */
/*
 * The engine table: all that the API layer asks of an engine.
 *
 * The API layer (api.c, region.c, transaction.c) checks arguments, keeps the
 * tables of regions and transactions, and turns errors into the standard
 * codes.  An engine keeps the log and the pages.  Both sides follow these rules:
 *
 * - The API layer calls one transaction's operations from one thread at a time
 *   (it holds the transaction's lock), and different transactions' at once.
 * - open, close, map, unmap and set_options are called one at a time, with no other call
 *   of the same log running in open and close.  unmap is called only when no
 *   open transaction has ranges in the region.
 * - While a tracked region is mapped, one transaction is open at a time.  A log's
 *   first such region comes, and each goes, while none is.  Their changes are the engine's to find:
 *   prepare is called for them instead of set_range.
 * - Every operation returns an rvm_return_t; with RVM_EIO errno says why.
 */
#ifndef RVM_LIB_ENGINE_H
#define RVM_LIB_ENGINE_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include <rvm/rvm.h>
#include <rvm/rvm_engine.h>

#include "core/counts.h"
#include "core/rangeset.h"
#include "lib/tracking.h"

struct rvm_engine;

/* An open log. An engine embeds it at the start of its own. */
struct rvm_log {
	const struct rvm_engine *engine;
	char *path;			/* as the user gave it */
	struct rvm_log *next;		/* API layer: in rvm_api.others */
};

/* A mapped region. The engine allocates it (map) and frees it (unmap). */
struct rvm_region {
	char *name;			/* the segment's absolute name (realpath) */
	char *address;			/* page aligned */
	uint64_t length;		/* bytes; less than whole pages only at the segment's end */
	uint64_t offset;		/* in the segment, page aligned */
	bool address_given;		/* the caller chose the address */
	struct rvm_tracking tracking;
	uint64_t users;			/* API layer: open transactions with ranges here */
};

/* What a mapping of that many bytes takes. */
size_t rvm_whole_pages(uint64_t length);

/*
 * Take the region's memory away; what the caller chose stays memory, and is no
 * longer the segment's.  False, with errno: it is as it was.
 */
bool rvm_unmap_memory(const struct rvm_region *region);

/* An open transaction. The engine allocates it (begin), and end or abort frees it. */
struct rvm_transaction {
	struct rvm_log *log;
	bool restore;			/* begin mode restore: old values are kept */
	uint64_t merged_ranges;		/* API layer, for end: see struct rvm_counts; */
	uint64_t merged_bytes;		/* 0 where merged_ranges is */
};

/* What the API layer asks the engine to map. */
struct rvm_map_request {
	const char *name;		/* absolute name of the segment, which exists */
	uint64_t offset, length;	/* offset page aligned; not past the segment's end */
	uint64_t segment_length;	/* of the file or device, in bytes */
	char *address;			/* NULL: the engine chooses */
	bool private_map;		/* RVM_MAP_PRIVATE */
	bool no_copy;			/* region->no_copy: do not read the segment's data in */
	struct rvm_tracking tracking;
};

struct rvm_log_options {
	unsigned int truncate;		/* % of the log in use that starts truncation; 0 never */
	uint64_t recovery_buffer, flush_buffer, max_read;
	bool coalesce_ranges;		/* RVM_COALESCE_RANGES (or _TRANS) */
	bool coalesce_transactions;	/* RVM_COALESCE_TRANS */
	uint32_t flush_interval;	/* rvm_set_flush_interval's: milliseconds, 0 never */
	bool flush_interval_set;
	uint64_t memory_limit;		/* rvm_set_memory_limit's: of what can't be reclaimed */
	bool memory_limit_set;
};

/* What an engine counted, all at one moment. */
struct rvm_log_statistics {
	struct rvm_counts now;		/* since the log was opened */
	struct rvm_counts before;	/* the same, when the epoch began */
	struct rvm_count_state state;
};

struct rvm_engine {
	const char *name;		/* "user" or "kernel" */

	/*
	 * Can this engine be used here?  0, or a negative errno and *why, a
	 * sentence that says what is missing and what to do about it.
	 */
	int (*probe)(const char **why);

	/*
	 * Open a log that exists, and recover: every committed record reaches
	 * its segment, except those of segments that are missing or not
	 * permitted, which stay live and are named on stderr.
	 * RVM_EIO (errno: ENOENT, EACCES, EBUSY when another owner has it, ...),
	 * RVM_ELOG not a log or damaged, RVM_ELOG_VERSION_SKEW, RVM_ENO_MEMORY.
	 */
	rvm_return_t (*open)(const char *path, const struct rvm_log_options *options,
			     struct rvm_log **log);
	/* Flush what is queued, stop threads, give up ownership; regions may still be mapped. */
	rvm_return_t (*close)(struct rvm_log *log);
	rvm_return_t (*set_options)(struct rvm_log *log, const struct rvm_log_options *options);

	/* RVM_EVM_OVERLAP, RVM_EOVERLAP are the API layer's to find. */
	rvm_return_t (*map)(struct rvm_log *log, const struct rvm_map_request *request,
			    struct rvm_region **region);
	rvm_return_t (*unmap)(struct rvm_log *log, struct rvm_region *region);

	/*
	 * What was stored to tracked regions since the last transaction is put
	 * back, and goes to rvm_tracking_report.
	 */
	rvm_return_t (*begin)(struct rvm_log *log, bool restore,
			      struct rvm_transaction **transaction);
	/*
	 * Declare [address, address + length), which lies inside region, before
	 * it is changed: under restore its old bytes are saved.  Under
	 * coalesce_ranges the API layer never passes a byte twice.
	 */
	rvm_return_t (*set_range)(struct rvm_transaction *transaction, struct rvm_region *region,
				  char *address, uint64_t length);
	/*
	 * The program says that it is going to store to this range of a tracked
	 * region; NULL: the engine need not know.
	 */
	rvm_return_t (*prepare)(struct rvm_transaction *transaction, struct rvm_region *region,
				char *address, uint64_t length);
	/*
	 * RVM_ETOO_BIG and RVM_EUNDECLARED leave the transaction open and as it was.
	 * Any other return ends it.  Undeclared changes of checked regions go to
	 * rvm_tracking_report; if rvm_tracking_refuses(), instead of the commit.
	 */
	rvm_return_t (*end)(struct rvm_transaction *transaction, bool flush);
	rvm_return_t (*abort)(struct rvm_transaction *transaction);

	rvm_return_t (*flush)(struct rvm_log *log);
	/* Flush, apply the whole log to the segments, durably, and empty it. */
	rvm_return_t (*truncate)(struct rvm_log *log);
	void (*counters)(struct rvm_log *log, rvm_engine_counters_t *counters);
	rvm_return_t (*statistics)(struct rvm_log *log, struct rvm_log_statistics *statistics);
};

extern const struct rvm_engine rvm_engine_user;
extern const struct rvm_engine rvm_engine_kernel;

#endif
