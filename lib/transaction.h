/* SPDX-License-Identifier: GPL-2.0 OR MIT */
/* The table of open transactions. */
#ifndef RVM_LIB_TRANSACTION_H
#define RVM_LIB_TRANSACTION_H

#include <stdbool.h>
#include <stddef.h>

#include "lib/region.h"

/*
 * List the open transactions, or those with ranges in a mapping: calls fn for
 * each with rvm_api.lock held (by the caller, who with a mapping has frozen the
 * regions as well).
 */
void rvm_transaction_list(const struct rvm_mapping *mapping,
			  void (*fn)(void *context, const rvm_tid_t *tid), void *context);

/* How many are open in that log.  With rvm_api.lock held. */
unsigned long rvm_transaction_count(const struct rvm_log *log);

#endif
