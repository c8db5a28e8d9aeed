/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Recovery: what an earlier incarnation left in the log goes to the segments.
 */
#ifndef RVM_RECOVER_H
#define RVM_RECOVER_H

#include <linux/types.h>

struct rvm_log;

/*
 * Apply to the segments that are attached, durably.  How many records were
 * applied (in part, if other segments of theirs are missing), and how many stay.
 */
int rvm_recover(struct rvm_log *log, u64 *applied, u64 *kept);

#endif
