/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What a log does, to look at: by RVM_IOC_QUERY and RVM_IOC_STATISTICS, and in debugfs.
 */
#ifndef RVM_STAT_H
#define RVM_STAT_H

#include "uapi/linux/rvm.h"

struct rvm_log;

/* Fill in all but size and flags. */
void rvm_stat_query(struct rvm_log *log, struct rvm_ioc_query *a);

/* Fill in all of it. */
void rvm_stat_statistics(struct rvm_log *log, struct rvm_ioc_statistics *a);

/* The log has been opened, and it closes.  close waits for readers: no lock may be held. */
void rvm_stat_open(struct rvm_log *log);
void rvm_stat_close(struct rvm_log *log);

void rvm_stat_init(void);
void rvm_stat_exit(void);

#endif
