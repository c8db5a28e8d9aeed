/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Commit: a transaction's new values go to the log and into the committed images.
 */
#ifndef RVM_COMMIT_H
#define RVM_COMMIT_H

#include <linux/types.h>

struct rvm_log;

int rvm_commit(struct rvm_log *log, u32 area, bool flush, u64 *sequence);

#endif
