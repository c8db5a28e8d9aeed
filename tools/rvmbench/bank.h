/* SPDX-License-Identifier: GPL-2.0 OR MIT */
/*
 * The bank: accounts, tellers, branches, and an audit trail that is used in turn.
 * A transaction changes the balances of an account, of a teller and of the
 * teller's branch by the same sum, and appends a record to the audit trail.
 * Money is neither made nor lost, which verify_bank() checks.
 */
#ifndef RVMBENCH_BANK_H
#define RVMBENCH_BANK_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#define BANK_MAGIC		"RVMBANK"	/* 8 bytes with the final 0 */
#define BANK_PAGE		4096u		/* what the parts are aligned to, on any machine */
#define ACCOUNTS_PER_BRANCH	100000u
#define TELLERS_PER_BRANCH	10u
#define ACCOUNTS_PER_PAGE	(BANK_PAGE / sizeof(struct account))

#define MIN_LOCALIZED		(20 * ACCOUNTS_PER_PAGE)	/* 5 % must be a page at least */
#define MAX_AMOUNT		999999

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

enum { ACCESS_SEQUENTIAL, ACCESS_RANDOM, ACCESS_LOCALIZED };
extern const char *const access_names[];

struct bank {
	struct bank_header *header;
	struct balance *tellers, *branches;
	struct account *accounts;
	struct audit *audits;
	int access;
	uint64_t next_audit;		/* sequence number of the next audit record */
	uint64_t next_account;		/* sequential access: the next one's index */
	uint64_t random;
	uint64_t pages, hot, warm;	/* account pages; the first hot and the next warm of them */
	pthread_t thread;
	uint64_t transactions;		/* that it makes now */
	uint64_t commits;		/* that it made: --group counts them */
	uint64_t worst;			/* --worst: of these the longest commit, in ns */
};

/* What the header of a bank with so many accounts says. */
struct bank_header bank_header(uint64_t accounts);

/* Lay it out from base on; returns how many bytes it takes. */
uint64_t bank_layout(struct bank *bank, uint64_t accounts, void *base);
uint64_t bank_length(uint64_t accounts);

/* Before the first transaction: it is there, and laid out. */
void bank_begin(struct bank *bank, int access, uint64_t seed);

uint64_t random_below(struct bank *bank, uint64_t n);

/* What a transaction changes: the index of an account, and by how much. */
uint64_t pick_account(struct bank *bank);
int64_t pick_amount(struct bank *bank);

/* What audit->check must be. */
uint64_t audit_check(const struct audit *audit);

/* Check everything that must hold between transactions; says what does not. */
bool verify_bank(const struct bank *bank);

#endif
