/* SPDX-License-Identifier: GPL-2.0 OR MIT */
/*
 * A peer: something else, or RVM, that keeps the bank of tools/rvmbench/bank.h and makes
 * transfers in it.  Each is a file of its own, in its own idiom and at its best; peers.c
 * knows them by this table alone, and measures and verifies all of them alike.
 */
#ifndef PEER_H
#define PEER_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "tools/rvmbench/bank.h"
#include "tools/rvmbench/clock.h"

enum table { BRANCHES, TELLERS, ACCOUNTS, AUDITS, TABLES };

static const size_t record_length[TABLES] = {
	sizeof(struct balance), sizeof(struct balance), sizeof(struct account), sizeof(struct audit),
};

/* How many records each table has; they are numbered from 0. */
struct shape {
	uint64_t count[TABLES];
};

/* One transaction. The amounts are the same, but where a wrong one is planted. */
struct transfer {
	uint64_t record[TABLES];
	uint64_t sequence;
	int64_t amount[TABLES];
};

/* The end of what a transfer survives once it was made. */
enum survives { NOTHING, CLOSING, PROCESS, KERNEL, MACHINE };

/*
 * All work in the current folder, and end the program with a message when anything fails.
 * Where `atomic` is set a crash leaves all of a transfer or nothing.
 */
struct peer {
	const char *name, *about;
	enum survives survives;
	bool atomic;
	const char *(*engine)(void);	/* of RVM; or NULL */
	void (*open)(const struct shape *shape, bool create);	/* a new one holds zeros */
	void (*transfer)(const struct transfer *transfer);
	void (*settle)(void);		/* what it has put off: a checkpoint; or NULL */
	void (*read)(enum table table, uint64_t index, void *record);
	void (*close)(void);
};

extern const struct peer peer_memory, peer_rvm, peer_rvm_no_flush, peer_lmdb, peer_sqlite, peer_bdb,
	peer_pmemobj, peer_msync, peer_pwrite, peer_pwrite_only, peer_direct, peer_bare;

/* --- what a transfer does to records, wherever they lie ---------------------- */

static inline void change_balance(struct balance *b, int64_t amount)
{
	b->balance += amount;
	b->updates++;
}

static inline void change_account(struct account *a, const struct transfer *t)
{
	a->balance += t->amount[ACCOUNTS];
	a->updates++;
	a->last_audit = t->sequence;
}

static inline struct audit make_audit(const struct transfer *t, int64_t branch_balance)
{
	struct audit audit = {
		.sequence = t->sequence, .account = t->record[ACCOUNTS], .accounts = 1,
		.teller = t->record[TELLERS], .branch = t->record[BRANCHES],
		.amount = t->amount[AUDITS], .balance = branch_balance,
	};

	audit.check = audit_check(&audit);
	return audit;
}

/* The whole transfer, by copies of records that are got and put. */
static inline void transfer_copies(const struct transfer *t, void (*get)(enum table, uint64_t, void *),
				   void (*put)(enum table, uint64_t, void *))
{
	struct balance teller, branch;
	struct account account;
	struct audit audit;

	get(ACCOUNTS, t->record[ACCOUNTS], &account);
	change_account(&account, t);
	put(ACCOUNTS, t->record[ACCOUNTS], &account);
	get(TELLERS, t->record[TELLERS], &teller);
	change_balance(&teller, t->amount[TELLERS]);
	put(TELLERS, t->record[TELLERS], &teller);
	get(BRANCHES, t->record[BRANCHES], &branch);
	change_balance(&branch, t->amount[BRANCHES]);
	put(BRANCHES, t->record[BRANCHES], &branch);
	audit = make_audit(t, branch.balance);
	put(AUDITS, t->record[AUDITS], &audit);
}

/* --- records in memory, one table after the other ----------------------------- */

struct layout {
	char *table[TABLES];
};

static inline size_t table_length(const struct shape *shape, enum table table)
{
	return (shape->count[table] * record_length[table] + BANK_PAGE - 1) / BANK_PAGE * BANK_PAGE;
}

static inline size_t shape_length(const struct shape *shape)
{
	size_t sum = 0;

	for (int i = 0; i < TABLES; i++)
		sum += table_length(shape, i);
	return sum;
}

static inline void lay_out(struct layout *layout, const struct shape *shape, char *base)
{
	for (int i = 0; i < TABLES; i++) {
		layout->table[i] = base;
		base += table_length(shape, i);
	}
}

static inline void *record_at(const struct layout *layout, enum table table, uint64_t index)
{
	return layout->table[table] + index * record_length[table];
}

/* The whole transfer, as stores. */
static inline void store_transfer(const struct layout *layout, const struct transfer *t)
{
	struct balance *branch = record_at(layout, BRANCHES, t->record[BRANCHES]);

	change_account(record_at(layout, ACCOUNTS, t->record[ACCOUNTS]), t);
	change_balance(record_at(layout, TELLERS, t->record[TELLERS]), t->amount[TELLERS]);
	change_balance(branch, t->amount[BRANCHES]);
	*(struct audit *)record_at(layout, AUDITS, t->record[AUDITS]) = make_audit(t, branch->balance);
}

#endif
