/* SPDX-License-Identifier: GPL-2.0 OR MIT */
/*
 * What both engines count, for rvm_statistics().  Counts only ever grow.  Those
 * of an epoch are what they grew by since its beginning, for which an engine
 * keeps a copy of them all: so truncation moves them, and commits don't notice.
 */
#ifndef RVM_CORE_COUNTS_H
#define RVM_CORE_COUNTS_H

#include "core/port.h"

/* Buckets; the bounds are the API's, see <rvm/rvm_statistics.h>. */
#define RVM_COUNTS_FLUSH_TIMES		10
#define RVM_COUNTS_TRUNCATION_TIMES	5
#define RVM_COUNTS_LENGTHS		13
#define RVM_COUNTS_MERGES		6
#define RVM_COUNTS_RANGE_LENGTHS	32	/* powers of two */

/* Why log space was freed: indices of `truncations`. */
enum rvm_truncation {
	RVM_TRUNCATION_REQUESTED,	/* a program asked for it */
	RVM_TRUNCATION_BACKGROUND,	/* a threshold was reached, or memory wanted */
	RVM_TRUNCATION_NEEDED,		/* without it a call could not go on: the log is full */
	RVM_TRUNCATIONS
};

/* Nothing but u64: it is copied by words. */
struct rvm_counts {
	/* commits */
	u64 commits;			/* of both modes */
	u64 flush_commits;
	u64 aborts;
	u64 undone;			/* transactions of processes that died */
	u64 truncation_waits;		/* commits that waited since the log was full */
	u64 merged_ranges;		/* declared, and part of another in its transaction */
	u64 merged_bytes;		/* declared again in their transaction */
	u64 coalesced_commits;		/* whose record is an earlier one's */
	u64 coalesced_ranges;		/* and ranges in it that are part of another */
	u64 coalesced_bytes;		/* committed again */

	/* the log */
	u64 splits;			/* records that go on at the area's start */
	u64 wraps;			/* how often the log went on there */
	u64 flushes;			/* writes of what was queued */
	u64 flushed_bytes;
	u64 flush_ns;
	u64 flush_requests;
	u64 status_writes;
	u64 recoveries;			/* that found records to apply */
	u64 truncations[RVM_TRUNCATIONS];
	u64 truncation_ns;

	/*
	 * How many fell into which bucket.  Not counted: commits in which nothing was
	 * merged, and records of one commit.
	 */
	u64 range_lengths[RVM_COUNTS_RANGE_LENGTHS];	/* [i]: up to 2 << i bytes */
	u64 range_merges[RVM_COUNTS_MERGES];		/* merged_ranges of a commit */
	u64 range_overlaps[RVM_COUNTS_LENGTHS];		/* merged_bytes of a commit */
	u64 trans_coalesces[RVM_COUNTS_MERGES];		/* the same of a coalesced record */
	u64 trans_merges[RVM_COUNTS_MERGES];
	u64 trans_overlaps[RVM_COUNTS_LENGTHS];
	u64 flush_times[RVM_COUNTS_FLUSH_TIMES];
	u64 truncation_times[RVM_COUNTS_TRUNCATION_TIMES];
	u64 build_times[RVM_COUNTS_TRUNCATION_TIMES];
	u64 apply_times[RVM_COUNTS_TRUNCATION_TIMES];
};

/* How long a truncation took, in nanoseconds. */
struct rvm_truncation_time {
	u64 total;
	u64 build;		/* finding out what is to be written */
	u64 apply;		/* writing it */
};

/* How it is at this moment. */
struct rvm_count_state {
	u64 log_length, log_used;	/* bytes */
	u64 log_most_used;		/* so far */
	u64 queued_commits;		/* for whose flush nobody has begun a write */
	u64 queued_bytes;		/* that these take of the log, at most */
	u64 last_flush_ns;
	struct rvm_truncation_time last_truncation;
};

/* One committed range, of 1 to 2^32 - 1 bytes. */
static inline void rvm_count_range(struct rvm_counts *counts, u32 length)
{
	counts->range_lengths[31 - __builtin_clz((length - 1) | 1)]++;
}

/* A commit in which some of the declared ranges were part of others. */
void rvm_count_merged(struct rvm_counts *counts, u64 ranges, u64 bytes);

/* A record of so many commits; what was saved. Does nothing for one. */
void rvm_count_coalesced(struct rvm_counts *counts, u64 commits, u64 ranges, u64 bytes);

void rvm_count_flush(struct rvm_counts *counts, u64 bytes, u64 ns);
void rvm_count_truncation(struct rvm_counts *counts, enum rvm_truncation why,
			  const struct rvm_truncation_time *time);

#endif
