// SPDX-License-Identifier: GPL-2.0 OR MIT
/* The transactions on banks, and their making: see banks.h. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/param.h>

#include "tools/rvmbench/banks.h"

uint64_t banks_length(void)
{
	return count_banks() * bank_length(opt.accounts);
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
	int64_t amount = pick_amount(bank);

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
	struct bank_header header = bank_header(opt.accounts);
	rvm_tid_t tid;

	rvm_init_tid(&tid);
	check(rvm_begin_transaction(&tid, no_restore), "rvm_begin_transaction", NULL);
	check(rvm_modify_bytes(&tid, bank->header, &header, sizeof(header)), "rvm_modify_bytes", NULL);
	check(rvm_end_transaction(&tid, no_flush), "rvm_end_transaction", NULL);
}

static void check_bank(const struct bank *bank)
{
	struct bank_header header = bank_header(opt.accounts);

	if (memcmp(bank->header->magic, header.magic, sizeof(header.magic)))
		die("the segment %s holds no bank, or not enough of them; --create overwrites it",
		    opt.segment);
	if (memcmp(bank->header, &header, sizeof(header)))
		die("the bank in %s has %" PRIu64 " accounts, not %" PRIu64 "; --create makes a new one",
		    opt.segment, bank->header->accounts, opt.accounts);
}

void open_banks(struct bank *banks, rvm_region_t *region)
{
	uint64_t need = banks_length();
	bool fresh = open_segment(region, need);

	if (fresh)
		zero_bank(region->vmaddr, need);
	for (uint64_t i = 0; i < count_banks(); i++) {
		bank_layout(&banks[i], opt.accounts, region->vmaddr + i * bank_length(opt.accounts));
		if (fresh)
			make_bank(&banks[i]);
	}
	if (fresh)
		check(rvm_truncate(), "rvm_truncate", NULL);
	for (uint64_t i = 0; i < count_banks(); i++) {
		check_bank(&banks[i]);
		bank_begin(&banks[i], opt.access, opt.seed + i);
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
