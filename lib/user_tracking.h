/* SPDX-License-Identifier: GPL-2.0 OR MIT */
/*
 * Tracking in the user engine: tracked and checked regions are write-protected,
 * and the first store to each page is noticed, at once by a signal or later by
 * asking the kernel (user_track.h).  Of such a page there is an image, what is
 * committed of it: the signal's handler copies the page, else it comes from the
 * segment's file.  Such pages are hot, until two commits in a row find them unchanged,
 * or more than 512 are; strict regions keep none.  Comparing a hot page costs a
 * tenth of what the signal does.
 *
 * Pages and images change under one lock, which comes after all others; the
 * handler takes it.  So nothing stores to a region while it holds it, but to pages
 * that are hot, or whose stores get no signal.
 */
#ifndef RVM_LIB_USER_TRACKING_H
#define RVM_LIB_USER_TRACKING_H

#include "lib/user.h"

/* A mapped region begins and ends to be tracked or checked: 0 or -errno. */
int user_tracking_open(const struct user_log *log, struct user_region *region,
		       const struct rvm_map_request *request);
/*
 * Its memory is protected no longer, or goes, if `unmap`: false, with errno, all is as
 * it was.
 */
bool user_tracking_close(struct user_region *region, bool unmap);

/*
 * A transaction begins: what was stored to tracked regions since the last one is
 * put back and reported.  RVM_EUNDECLARED: it doesn't begin.
 */
rvm_return_t user_tracking_begin(const struct user_log *log);

/* The whole range is going to be stored to, perhaps by a system call, which gets no signal. */
rvm_return_t user_tracking_prepare(struct user_region *region, char *address, u64 length);

/*
 * Before a commit: what changed in tracked regions becomes ranges of the
 * transaction; and what changed in checked ones, and no open transaction
 * declares, is reported.  RVM_EUNDECLARED and RVM_ENO_MEMORY leave it as it was.
 */
rvm_return_t user_tracking_collect(struct user_transaction *t);

/* The ranges stand in the record with the bytes that are committed.  log->lock is held. */
void user_tracking_committed(struct user_transaction *t, const char *record);

/* Tracked regions are as after the last commit.  log->lock may be held. */
void user_tracking_undo(const struct user_log *log);

/* The transaction is over: protect what is not to stay hot. */
void user_tracking_end(const struct user_log *log);

#endif
