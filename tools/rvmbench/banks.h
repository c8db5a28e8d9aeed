/* SPDX-License-Identifier: GPL-2.0 OR MIT */
/*
 * The banks: threads have one each, one after the other in the segment, since what two
 * transactions change at once must not overlap.
 */
#ifndef RVMBENCH_BANKS_H
#define RVMBENCH_BANKS_H

#include "tools/rvmbench/bank.h"
#include "tools/rvmbench/rvmbench.h"

#define CLASSIC_RANGES		4
#define MAX_THREADS		256

/* How many banks there are: a thread's or a process's each. */
static inline uint64_t count_banks(void)
{
	return opt.threads * opt.processes;
}

/* How long all banks are together. */
uint64_t banks_length(void);

/* Map the segment, and find banks there, or make them. */
void open_banks(struct bank *banks, rvm_region_t *region);

/* One of opt.workload. */
void bank_transaction(struct bank *bank);

/* Check everything that must hold of banks between transactions; says what does not. */
bool verify_banks(const struct bank *banks);

#endif
