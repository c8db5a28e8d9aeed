// SPDX-License-Identifier: GPL-2.0 OR MIT
/* The bank: see bank.h. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "tools/rvmbench/bank.h"

const char *const access_names[] = { "sequential", "random", "localized", NULL };

static uint64_t round_up(uint64_t n)
{
	return (n + BANK_PAGE - 1) & ~(uint64_t)(BANK_PAGE - 1);
}

struct bank_header bank_header(uint64_t accounts)
{
	uint64_t branches = (accounts + ACCOUNTS_PER_BRANCH - 1) / ACCOUNTS_PER_BRANCH;

	return (struct bank_header){
		.magic = BANK_MAGIC, .accounts = accounts, .branches = branches,
		.tellers = branches * TELLERS_PER_BRANCH,
		/* as many bytes as the accounts have, like in the paper */
		.audits = 2 * accounts,
	};
}

uint64_t bank_layout(struct bank *bank, uint64_t accounts, void *base)
{
	struct bank_header header = bank_header(accounts);
	uintptr_t at = (uintptr_t)base;

	bank->header = (void *)at;
	at += round_up(sizeof(*bank->header));
	bank->branches = (void *)at;
	at += round_up(header.branches * sizeof(*bank->branches));
	bank->tellers = (void *)at;
	at += round_up(header.tellers * sizeof(*bank->tellers));
	bank->accounts = (void *)at;
	at += round_up(header.accounts * sizeof(*bank->accounts));
	bank->audits = (void *)at;
	at += round_up(header.audits * sizeof(*bank->audits));
	return at - (uintptr_t)base;
}

uint64_t bank_length(uint64_t accounts)
{
	struct bank bank;

	return bank_layout(&bank, accounts, NULL);
}

void bank_begin(struct bank *bank, int access, uint64_t seed)
{
	bank->access = access;
	bank->random = seed;
	bank->next_account = 0;
	bank->pages = (bank->header->accounts + ACCOUNTS_PER_PAGE - 1) / ACCOUNTS_PER_PAGE;
	bank->hot = bank->pages * 5 / 100;
	bank->warm = bank->pages * 15 / 100;
	bank->next_audit = 1;
	for (uint64_t i = 0; i < bank->header->audits; i++)
		if (bank->audits[i].sequence >= bank->next_audit)
			bank->next_audit = bank->audits[i].sequence + 1;
}

/* splitmix64 */
static uint64_t random_u64(struct bank *bank)
{
	uint64_t z = bank->random += UINT64_C(0x9e3779b97f4a7c15);

	z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
	return z ^ z >> 31;
}

uint64_t random_below(struct bank *bank, uint64_t n)
{
	return (unsigned __int128)random_u64(bank) * n >> 64;
}

uint64_t pick_account(struct bank *bank)
{
	uint64_t page, share, account;

	switch (bank->access) {
	case ACCESS_SEQUENTIAL:
		account = bank->next_account;
		bank->next_account = (account + 1) % bank->header->accounts;
		return account;
	case ACCESS_RANDOM:
		return random_below(bank, bank->header->accounts);
	}
	share = random_below(bank, 100);
	if (share < 70)
		page = random_below(bank, bank->hot);
	else if (share < 95)
		page = bank->hot + random_below(bank, bank->warm);
	else
		page = bank->hot + bank->warm + random_below(bank, bank->pages - bank->hot - bank->warm);
	account = page * ACCOUNTS_PER_PAGE + random_below(bank, ACCOUNTS_PER_PAGE);
	return account < bank->header->accounts ? account : bank->header->accounts - 1;
}

int64_t pick_amount(struct bank *bank)
{
	return (int64_t)random_below(bank, 2 * MAX_AMOUNT + 1) - MAX_AMOUNT;
}

uint64_t audit_check(const struct audit *audit)
{
	uint64_t words[sizeof(*audit) / sizeof(uint64_t)], hash = UINT64_C(0xcbf29ce484222325);

	memcpy(words, audit, sizeof(words));
	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]) - 1; i++)
		hash = (hash ^ words[i]) * UINT64_C(0x100000001b3);
	return hash;
}

bool verify_bank(const struct bank *bank)
{
	const struct bank_header *h = bank->header;
	int64_t accounts = 0, branches = 0, tellers = 0, audited = 0;
	uint64_t newest = 0, used = 0, branch_updates = 0, teller_updates = 0;
	int wrong = 0;

#define EXPECT(condition, ...) do {						\
	if (!(condition) && wrong++ < 10) {					\
		fprintf(stderr, "verify: " __VA_ARGS__);			\
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
		fprintf(stderr, "verify: and %d more\n", wrong - 10);
	return wrong == 0;
}
