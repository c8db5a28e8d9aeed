/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Coalescing, the inter-transaction optimization: commits that are not on their
 * way to the disk yet become one record, in which bytes that were committed
 * several times stand once.  It is atomic, and covers a contiguous run of the commit
 * order.  Until the log is sealed the run is only a list of what it changed:
 * the values are in the committed images.
 *
 * See Satyanarayanan et al., "Lightweight Recoverable Virtual Memory", 1993.
 */
#ifndef RVM_COALESCE_H
#define RVM_COALESCE_H

#include <linux/types.h>

struct rvm_area;
struct rvm_log;

/* A run of commits; all under commit_lock.  It begins where the log ends. */
struct rvm_coalesce {
	struct rvm_piece *pieces;	/* NULL: commits are not coalesced */
	u32 n_pieces;
	u32 commits;			/* 0: there is no run */
	u64 sequence;			/* of the first */
	u64 bytes;			/* that its record takes at most */
	u64 added_pieces, added_bytes;	/* what its commits alone had come to */
};

/* Switch it on or off.  -ENOMEM. */
int rvm_coalesce_set(struct rvm_log *log, bool on);

/* May a commit of so many pieces, and so long a record of its own, be part of a run? */
bool rvm_coalesce_takes(const struct rvm_log *log, u32 pieces, u64 bytes);

/* Is there room for it in the present run, or can it be made? */
bool rvm_coalesce_make_room(struct rvm_log *log, u32 pieces, u64 bytes);

/* Commit the area's first n pieces as part of the run, for which there is room in the log. */
void rvm_coalesce_add(struct rvm_log *log, struct rvm_area *area, u32 n, u64 bytes);

/* The run's record goes to the log. */
void rvm_coalesce_end(struct rvm_log *log);

#endif
