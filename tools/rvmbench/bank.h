/* SPDX-License-Identifier: GPL-2.0 OR MIT */
/*
 * The bank: accounts, tellers, branches, and an audit trail that is used in turn.
 * A transaction changes the balances of an account, of a teller and of the
 * teller's branch by the same sum, and appends a record to the audit trail.
 * Money is neither made nor lost, which --verify checks.  Threads have a bank
 * each, one after the other in the segment: what two transactions change at once
 * must not overlap.
 */
#ifndef RVMBENCH_BANK_H
#define RVMBENCH_BANK_H

#include <pthread.h>

#include "tools/rvmbench/rvmbench.h"

#define BANK_MAGIC		"RVMBANK"	/* 8 bytes with the final 0 */
#define BANK_PAGE		4096u		/* what the parts are aligned to, on any machine */
#define CLASSIC_RANGES		4
#define MAX_THREADS		256
#define ACCOUNTS_PER_BRANCH	100000u
#define TELLERS_PER_BRANCH	10u
#define ACCOUNTS_PER_PAGE	(BANK_PAGE / sizeof(struct account))

/* The segment: these, each part on a page boundary, in this order. */
struct bank_header {
	char magic[8];
	uint64_t accounts, tellers, branches, audits;
};

struct balance {			/* of a teller or branch */
	int64_t balance;
	uint64_t updates;
};

struct account {
	int64_t balance;
	uint64_t updates;
	uint64_t last_audit;
	uint8_t filler[104];
};

struct audit {
	uint64_t sequence;		/* from 1 on; 0: not used yet */
	uint64_t account;		/* the transaction's first, or the line's */
	uint64_t accounts;		/* how many it changed */
	uint64_t teller, branch;
	int64_t amount;			/* the sum of all changes */
	int64_t balance;		/* of the branch, or the order, after it */
	uint64_t check;			/* of the other fields */
};

_Static_assert(sizeof(struct account) == 128, "the paper's account");
_Static_assert(sizeof(struct audit) == 64, "the paper's audit record");

struct bank {
	struct bank_header *header;
	struct balance *tellers, *branches;
	struct account *accounts;
	struct audit *audits;
	uint64_t next_audit;		/* sequence number of the next audit record */
	uint64_t next_account;		/* sequential access: the next one's index */
	uint64_t random;
	uint64_t pages, hot, warm;	/* account pages; the first hot and the next warm of them */
	pthread_t thread;
	uint64_t transactions;		/* that it makes now */
	uint64_t commits;		/* that it made: --group counts them */
	uint64_t worst;			/* --worst: of these the longest commit, in ns */
};

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
