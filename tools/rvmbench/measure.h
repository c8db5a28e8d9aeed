/* SPDX-License-Identifier: GPL-2.0 OR MIT */
/* What is measured, and printed. */
#ifndef RVMBENCH_MEASURE_H
#define RVMBENCH_MEASURE_H

#include "tools/rvmbench/banks.h"

struct result {
	struct stretch commits, truncation;
	rvm_engine_counters_t counters;		/* of the repetition; log_length as it is */
	uint64_t worst;				/* --worst: the longest commit, in ns */
	uint64_t bare;				/* --bare: ns for as many writes */
};

/* The share that another process has in measure_repetition. */
void take_part(struct bank *banks, uint64_t number, uint64_t transactions);

/* So many transactions, by all threads, and the truncation after them. */
void measure_repetition(struct bank *banks, uint64_t transactions, struct result *result);

/*
 * bare.c: so many durable writes of so many bytes (to the nearest whole block) to the
 * log's file, without RVM, in ns.  The log must be at rest: its record area is written
 * over with what stands there.
 */
uint64_t measure_bare(uint64_t writes, uint64_t length);

void report_repetition(uint64_t number, const struct result *result);

#endif
