// SPDX-License-Identifier: GPL-2.0 OR MIT
/* The bank's transactions, its making and its checking: see bank.h. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/param.h>

#include "tools/rvmbench/bank.h"

static uint64_t round_up(uint64_t n)
{
	return (n + BANK_PAGE - 1) & ~(uint64_t)(BANK_PAGE - 1);
}

static uint64_t count_branches(void)
{
	return (opt.accounts + ACCOUNTS_PER_BRANCH - 1) / ACCOUNTS_PER_BRANCH;
}

/* As many bytes as the accounts have, like in the paper. */
static uint64_t count_audits(void)
{
	return 2 * opt.accounts;
}

/* Lays the bank out from an address on, and returns its length. */
static uint64_t bank_layout(struct bank *bank, uintptr_t base)
{
	uint64_t at = 0;

	bank->header = (void *)base;
	at += round_up(sizeof(*bank->header));
	bank->branches = (void *)(base + at);
	at += round_up(count_branches() * sizeof(*bank->branches));
	bank->tellers = (void *)(base + at);
	at += round_up(count_branches() * TELLERS_PER_BRANCH * sizeof(*bank->tellers));
	bank->accounts = (void *)(base + at);
	at += round_up(opt.accounts * sizeof(*bank->accounts));
	bank->audits = (void *)(base + at);
	at += round_up(count_audits() * sizeof(*bank->audits));
	return at;
}

static uint64_t bank_length(void)
{
	struct bank bank;

	return bank_layout(&bank, 0);
}

uint64_t banks_length(void)
{
	return count_banks() * bank_length();
}

/* splitmix64 */
static uint64_t random_u64(struct bank *bank)
{
	uint64_t z = bank->random += UINT64_C(0x9e3779b97f4a7c15);

	z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
	return z ^ z >> 31;
}

static uint64_t random_below(struct bank *bank, uint64_t n)
{
	return (unsigned __int128)random_u64(bank) * n >> 64;
}

static uint64_t pick_account(struct bank *bank)
{
	uint64_t page, share, account;

	switch (opt.access) {
	case ACCESS_SEQUENTIAL:
		account = bank->next_account;
		bank->next_account = (account + 1) % opt.accounts;
		return account;
	case ACCESS_RANDOM:
		return random_below(bank, opt.accounts);
	}
	share = random_below(bank, 100);
	if (share < 70)
		page = random_below(bank, bank->hot);
	else if (share < 95)
		page = bank->hot + random_below(bank, bank->warm);
	else
		page = bank->hot + bank->warm + random_below(bank, bank->pages - bank->hot - bank->warm);
	account = page * ACCOUNTS_PER_PAGE + random_below(bank, ACCOUNTS_PER_PAGE);
	return account < opt.accounts ? account : opt.accounts - 1;
}

static uint64_t audit_check(const struct audit *audit)
{
	uint64_t words[sizeof(*audit) / sizeof(uint64_t)], hash = UINT64_C(0xcbf29ce484222325);

	memcpy(words, audit, sizeof(words));
	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]) - 1; i++)
		hash = (hash ^ words[i]) * UINT64_C(0x100000001b3);
	return hash;
}

void declare(rvm_tid_t *tid, void *at, size_t length)
{
	if (!tracked())
		check(rvm_set_range(tid, at, length), "rvm_set_range", NULL);
}

static void change_balance(rvm_tid_t *tid, struct balance *b, int64_t amount, uint64_t updates)
{
	declare(tid, b, sizeof(*b));
	b->balance += amount;
	b->updates += updates;
}

static int64_t change_account(rvm_tid_t *tid, struct bank *bank, uint64_t n, size_t declared,
			      uint64_t audit)
{
	struct account *account = &bank->accounts[n];
	int64_t amount = (int64_t)random_below(bank, 1999999) - 999999;

	declare(tid, account, declared);
	account->balance += amount;
	account->updates++;
	account->last_audit = audit;
	return amount;
}

static void append_audit(rvm_tid_t *tid, struct bank *bank, struct audit *entry)
{
	struct audit *audit = &bank->audits[(entry->sequence - 1) % bank->header->audits];

	entry->check = audit_check(entry);
	declare(tid, audit, sizeof(*audit));
	*audit = *entry;
}

/* TPC-A's: returns how many audit records it wrote. */
static uint64_t debit_credit(rvm_tid_t *tid, struct bank *bank)
{
	uint64_t accounts = opt.ranges - (CLASSIC_RANGES - 1);
	uint64_t teller = random_below(bank, bank->header->tellers);
	uint64_t branch = teller / TELLERS_PER_BRANCH;
	struct audit entry = {
		.sequence = bank->next_audit, .accounts = accounts, .teller = teller, .branch = branch,
	};

	for (uint64_t i = 0; i < accounts; i++) {
		uint64_t n = pick_account(bank);

		entry.amount += change_account(tid, bank, n, sizeof(struct account), entry.sequence);
		if (i == 0)
			entry.account = n;
	}
	change_balance(tid, &bank->tellers[teller], entry.amount, 1);
	change_balance(tid, &bank->branches[branch], entry.amount, 1);
	entry.balance = bank->branches[branch].balance;
	append_audit(tid, bank, &entry);
	return 1;
}

/*
 * In the manner of TPC-C's new order: a branch is a warehouse, a teller one of its ten
 * districts, an account an item of the 100,000 in stock, and an audit record a line of
 * the order.  Of an item only what changes is declared.
 */
static uint64_t order_entry(rvm_tid_t *tid, struct bank *bank)
{
	uint64_t lines = 5 + random_below(bank, 11);
	uint64_t teller = random_below(bank, bank->header->tellers);
	uint64_t branch = teller / TELLERS_PER_BRANCH;
	int64_t sum = 0;

	for (uint64_t i = 0; i < lines; i++) {
		struct audit line = {
			.sequence = bank->next_audit + i, .account = pick_account(bank), .accounts = 1,
			.teller = teller, .branch = branch,
		};

		line.amount = change_account(tid, bank, line.account, offsetof(struct account, filler),
					     line.sequence);
		sum += line.amount;
		line.balance = sum;
		append_audit(tid, bank, &line);
	}
	change_balance(tid, &bank->tellers[teller], sum, lines);
	change_balance(tid, &bank->branches[branch], sum, lines);
	return lines;
}

void bank_transaction(struct bank *bank)
{
	rvm_mode_t mode = commit_modes[opt.commit];
	uint64_t committing = 0, audits;
	rvm_tid_t tid;

	rvm_init_tid(&tid);
	check(rvm_begin_transaction(&tid, begin_modes[opt.begin]), "rvm_begin_transaction", NULL);
	audits = opt.workload == WORKLOAD_ORDER_ENTRY ? order_entry(&tid, bank) : debit_credit(&tid, bank);
	if (++bank->commits % opt.group)
		mode = no_flush;
	if (opt.worst)
		committing = now_ns();
	check(rvm_end_transaction(&tid, mode), "rvm_end_transaction", NULL);
	if (opt.worst)
		bank->worst = MAX(bank->worst, now_ns() - committing);
	bank->next_audit += audits;
}

/* Check everything that must hold of a bank between transactions; says what does not. */
static bool verify_bank(const struct bank *bank)
{
	const struct bank_header *h = bank->header;
	int64_t accounts = 0, branches = 0, tellers = 0, audited = 0;
	uint64_t newest = 0, used = 0, branch_updates = 0, teller_updates = 0;
	int wrong = 0;

#define EXPECT(condition, ...) do {						\
	if (!(condition) && wrong++ < 10) {					\
		fprintf(stderr, "rvmbench: verify: " __VA_ARGS__);		\
		fputc('\n', stderr);						\
	}									\
} while (0)

	for (uint64_t i = 0; i < h->audits; i++) {
		const struct audit *audit = &bank->audits[i];

		if (audit->sequence == 0)
			continue;
		EXPECT(audit->check == audit_check(audit), "audit record %" PRIu64 " is torn", i);
		EXPECT((audit->sequence - 1) % h->audits == i,
		       "audit record %" PRIu64 " has number %" PRIu64, i, audit->sequence);
		if (audit->sequence > newest)
			newest = audit->sequence;
		audited += audit->amount;
		used++;
	}
	EXPECT(used == (newest < h->audits ? newest : h->audits),
	       "%" PRIu64 " audit records, and the newest has number %" PRIu64, used, newest);
	for (uint64_t i = 0; i < h->audits; i++)
		EXPECT(bank->audits[i].sequence == 0 || bank->audits[i].sequence + h->audits > newest,
		       "audit record %" PRIu64 " is a round behind", i);

	for (uint64_t i = 0; i < h->accounts; i++)
		accounts += bank->accounts[i].balance;
	for (uint64_t i = 0; i < h->branches; i++) {
		int64_t of_branch = 0;

		for (uint64_t j = i * TELLERS_PER_BRANCH; j < (i + 1) * TELLERS_PER_BRANCH; j++) {
			of_branch += bank->tellers[j].balance;
			teller_updates += bank->tellers[j].updates;
		}
		EXPECT(of_branch == bank->branches[i].balance,
		       "branch %" PRIu64 " has %" PRId64 ", and its tellers %" PRId64, i,
		       bank->branches[i].balance, of_branch);
		tellers += of_branch;
		branches += bank->branches[i].balance;
		branch_updates += bank->branches[i].updates;
	}
	EXPECT(accounts == tellers && accounts == branches,
	       "accounts have %" PRId64 " together, tellers %" PRId64 ", branches %" PRId64,
	       accounts, tellers, branches);
	EXPECT(newest > h->audits || audited == accounts,
	       "accounts have %" PRId64 " together, and the audit trail %" PRId64, accounts, audited);
	EXPECT(teller_updates == newest && branch_updates == newest,
	       "%" PRIu64 " transactions in the audit trail, %" PRIu64 " at the tellers, %" PRIu64 " at the branches",
	       newest, teller_updates, branch_updates);
#undef EXPECT
	if (wrong > 10)
		fprintf(stderr, "rvmbench: verify: and %d more\n", wrong - 10);
	return wrong == 0;
}

/* Zero what is not zero, in transactions that fit the log. */
static void zero_bank(char *base, uint64_t length)
{
	static const char zeros[BANK_PAGE];
	rvm_tid_t tid;

	for (uint64_t at = 0; at < length; at += BANK_PAGE) {
		if (!memcmp(base + at, zeros, BANK_PAGE))
			continue;
		rvm_init_tid(&tid);
		check(rvm_begin_transaction(&tid, no_restore), "rvm_begin_transaction", NULL);
		declare(&tid, base + at, BANK_PAGE);
		memset(base + at, 0, BANK_PAGE);
		check(rvm_end_transaction(&tid, no_flush), "rvm_end_transaction", NULL);
	}
}

static void make_bank(struct bank *bank)
{
	struct bank_header header = {
		.magic = BANK_MAGIC, .accounts = opt.accounts, .branches = count_branches(),
		.tellers = count_branches() * TELLERS_PER_BRANCH, .audits = count_audits(),
	};
	rvm_tid_t tid;

	rvm_init_tid(&tid);
	check(rvm_begin_transaction(&tid, no_restore), "rvm_begin_transaction", NULL);
	check(rvm_modify_bytes(&tid, bank->header, &header, sizeof(header)), "rvm_modify_bytes", NULL);
	check(rvm_end_transaction(&tid, no_flush), "rvm_end_transaction", NULL);
}

static void check_bank(const struct bank *bank)
{
	const struct bank_header *h = bank->header;

	if (memcmp(h->magic, BANK_MAGIC, sizeof(h->magic)))
		die("the segment %s holds no bank, or not enough of them; --create overwrites it",
		    opt.segment);
	if (h->accounts != opt.accounts || h->branches != count_branches() ||
	    h->tellers != count_branches() * TELLERS_PER_BRANCH || h->audits != count_audits())
		die("the bank in %s has %" PRIu64 " accounts, not %" PRIu64 "; --create makes a new one",
		    opt.segment, h->accounts, opt.accounts);
}

static void begin_bank(struct bank *bank, uint64_t seed)
{
	bank->random = seed;
	bank->next_account = 0;
	bank->pages = (opt.accounts + ACCOUNTS_PER_PAGE - 1) / ACCOUNTS_PER_PAGE;
	bank->hot = bank->pages * 5 / 100;
	bank->warm = bank->pages * 15 / 100;
	bank->next_audit = 1;
	for (uint64_t i = 0; i < bank->header->audits; i++)
		if (bank->audits[i].sequence >= bank->next_audit)
			bank->next_audit = bank->audits[i].sequence + 1;
}

void open_banks(struct bank *banks, rvm_region_t *region)
{
	uint64_t need = banks_length();
	bool fresh = open_segment(region, need);

	if (fresh)
		zero_bank(region->vmaddr, need);
	for (uint64_t i = 0; i < count_banks(); i++) {
		bank_layout(&banks[i], (uintptr_t)region->vmaddr + i * bank_length());
		if (fresh)
			make_bank(&banks[i]);
	}
	if (fresh)
		check(rvm_truncate(), "rvm_truncate", NULL);
	for (uint64_t i = 0; i < count_banks(); i++) {
		check_bank(&banks[i]);
		begin_bank(&banks[i], opt.seed + i);
	}
}

bool verify_banks(const struct bank *banks)
{
	uint64_t transactions = 0;
	bool good = true;

	for (uint64_t i = 0; i < count_banks(); i++) {
		good &= verify_bank(&banks[i]);
		transactions += banks[i].next_audit - 1;
	}
	if (good && !opt.json)
		printf("\nverified: %" PRIu64 " %s since the bank was made, every balance is right\n",
		       transactions, opt.workload == WORKLOAD_ORDER_ENTRY ? "lines" : "transactions");
	return good;
}
