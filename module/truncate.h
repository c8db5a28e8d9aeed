/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Truncation: committed images go to their segments, and log space is freed.
 */
#ifndef RVM_TRUNCATE_H
#define RVM_TRUNCATE_H

#include <linux/bvec.h>
#include <linux/workqueue.h>

#include "core/counts.h"

struct rvm_image;
struct rvm_log;

#define RVM_TRUNCATE_BATCH	64	/* pages copied at a time, preallocated */
#define RVM_TRUNCATE_DEFAULT	50	/* per cent of the log in use that starts it */

/* Pages that truncation writes at a time: made with the log, for it works when memory is short. */
struct rvm_batch {
	unsigned int n;
	u64 position;		/* the log must be durable up to here first */
	struct rvm_copy {
		struct rvm_image *image;
		struct page *page;
	} copies[RVM_TRUNCATE_BATCH];
	struct bio_vec pages[RVM_TRUNCATE_BATCH];
};

/*
 * Flush the log, write all that it speaks of to the segments, durably, and free
 * its space; if need is not 0, only until so many bytes fit.
 */
int rvm_truncate(struct rvm_log *log, u64 need, enum rvm_truncation why);

/* For recovery, with truncate_lock held: it is not counted, and ends no epoch.  hard: as below. */
int rvm_truncate_locked(struct rvm_log *log, bool hard);

/* For memory's sake: of all pages that are clean then, none keeps its image. */
int rvm_truncate_hard(struct rvm_log *log);

/* Start it in the background if enough of the log is in use. */
void rvm_truncate_consider(struct rvm_log *log);
void rvm_truncate_work(struct work_struct *work);

#endif
