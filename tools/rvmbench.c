// SPDX-License-Identifier: GPL-2.0 OR MIT
/*
 * rvmbench: the TPC-A variant with which RVM was first measured.
 *
 * A bank lies in one segment: accounts, tellers, branches, and an audit trail
 * that is used in turn.  A transaction changes the balances of an account, of
 * a teller and of the teller's branch by the same sum, and appends a record to
 * the audit trail.  Money is neither made nor lost, which --verify checks.
 * Threads have a bank each, one after the other in the segment: what two
 * transactions change at once must not overlap.
 */
#include <argp.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/fs.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/param.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "tools/rvmbench/rvmbench.h"

#define BANK_MAGIC		"RVMBANK"	/* 8 bytes with the final 0 */
#define BANK_PAGE		4096u		/* what the parts are aligned to, on any machine */
#define CLASSIC_RANGES		4
#define ACCOUNTS_PER_BRANCH	100000u
#define TELLERS_PER_BRANCH	10u
#define ACCOUNTS_PER_PAGE	(BANK_PAGE / sizeof(struct account))

#define MIN_LOCALIZED		(20 * ACCOUNTS_PER_PAGE)	/* 5 % must be a page at least */
#define MAX_ACCOUNTS		(UINT64_C(1) << 32)
#define MAX_RANGES		1000
#define MAX_THREADS		256
#define MAX_TRANSACTIONS	UINT64_C(1000000000000)

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
	uint64_t account;		/* the transaction's first */
	uint64_t accounts;		/* how many it changed */
	uint64_t teller, branch;
	int64_t amount;			/* the sum of all changes */
	int64_t balance;		/* of the branch, after it */
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
	uint64_t worst;			/* --worst: of these the longest commit, in ns */
};

enum access { ACCESS_SEQUENTIAL, ACCESS_RANDOM, ACCESS_LOCALIZED };
static const char *const access_names[] = { "sequential", "random", "localized", NULL };

enum optimize { OPTIMIZE_NONE, OPTIMIZE_RANGES, OPTIMIZE_ALL };
static const char *const optimize_names[] = { "none", "ranges", "all", NULL };
static const rvm_length_t optimize_flags[] = { 0, RVM_COALESCE_RANGES, RVM_ALL_OPTIMIZATIONS };

static const char *const begin_names[] = { "restore", "no_restore", NULL };
static const rvm_mode_t begin_modes[] = { restore, no_restore };

const char *const commit_names[] = { "flush", "no_flush", NULL };
const rvm_mode_t commit_modes[] = { flush, no_flush };

const char *const tracking_names[] = { "ranges", "check", "pages", "diff", NULL };
static const rvm_length_t tracking_flags[] = {
	RVM_TRACK_RANGES, RVM_TRACK_CHECK, RVM_TRACK_PAGES, RVM_TRACK_DIFF,
};

static const char *const engine_names[] = { "auto", "kernel", "user", NULL };

struct rvmbench_options opt = {
	.accounts = 32768, .threads = 1, .transactions = 10000, .repeat = 1, .ranges = CLASSIC_RANGES,
	.truncate = TRUNCATE, .seed = 1, .access = ACCESS_RANDOM,
};

#define DEFAULT_LOG_SIZE	(UINT64_C(16) << 20)

void die(const char *format, ...)
{
	va_list args;

	fflush(stdout);
	fputs("rvmbench: ", stderr);
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fputc('\n', stderr);
	exit(1);
}

void check(rvm_return_t ret, const char *call, const char *path)
{
	int err = errno;

	if (ret == RVM_SUCCESS)
		return;
	die("%s%s%s: %s%s%s", call, path ? " " : "", path ? path : "", rvm_return(ret),
	    ret == RVM_EIO ? ": " : "", ret == RVM_EIO ? strerror(err) : "");
}

/* --- the command line ---------------------------------------------------- */

const char *argp_program_version = "rvmbench 1.0.0";

static const char doc[] =
	"Measures transactions on recoverable memory: a bank in the manner of TPC-A.\v"
	"The log and the segment may be files or block devices. Files that do not exist are made; "
	"an existing bank is used again if its number of accounts is right. Nothing else is overwritten but with --create.\n\n"
	"A transaction changes one account (a 128-byte record), a teller's and a branch's balance (16 bytes each) and "
	"appends a 64-byte audit record: four declared ranges. The accounts and the audit trail take half of the bank each. "
	"With --ranges=N it changes N - 3 accounts instead of one. "
	"With --threads=N there are N such banks, each one thread's, and the transactions are divided among them.\n\n"
	"A repetition is all transactions, then rvm_flush(), both timed together, then rvm_truncate(), timed apart. "
	"Writes, flushes and bytes are counted over the whole repetition.\n\n"
	"SIZE is in bytes, or with a suffix K, M or G in units of 1024, 1024^2 or 1024^3 bytes. Times are in nanoseconds, the longest commit's in microseconds.\n\n"
	"Exit status: 0; 1 for an error or a failed --verify; 2 for a wrong command line.";

enum {
	KEY_LOG_SIZE = 256, KEY_BEGIN, KEY_BUSY, KEY_CREATE, KEY_JSON, KEY_MAP_PRIVATE, KEY_OPTIMIZE,
	KEY_REPEAT, KEY_SEED, KEY_THREADS, KEY_TRUNCATE, KEY_VERIFY, KEY_WARMUP, KEY_WORST,
	KEY_EVENTS, KEY_STRICT, KEY_TRACKING,
};

static const struct argp_option options[] = {
	{ NULL, 0, NULL, 0, "Where the bank is:", 1 },
	{ "log", 'l', "PATH", 0, "The log (required)", 0 },
	{ "log-size", KEY_LOG_SIZE, "SIZE", 0,
	  "Length of the log's record area (16M for a new log, or what an existing one has)", 0 },
	{ "segment", 's', "PATH", 0, "The segment (required)", 0 },
	{ "create", KEY_CREATE, NULL, 0, "Begin with a new log and a new bank, whatever the two held before", 0 },
	{ "accounts", 'a', "N", 0, "Accounts of a bank (32768); each takes 256 bytes of the segment, audit trail included", 0 },
	{ "threads", KEY_THREADS, "N", 0, "Threads that commit, 1..256, each with a bank of its own, all in the segment (1)", 0 },

	{ NULL, 0, NULL, 0, "What a transaction does:", 2 },
	{ "engine", 'e', "NAME", 0, "kernel, user or auto (what RVM_ENGINE says, else auto)", 0 },
	{ "begin", KEY_BEGIN, "MODE", 0, "restore or no_restore (restore)", 0 },
	{ "commit", 'c', "MODE", 0, "flush or no_flush (flush)", 0 },
	{ "access", 'A', "HOW", 0,
	  "Which accounts: sequential, random, or localized: 70 % on 5 % of the pages, 25 % on another 15 %, 5 % on the rest (random)", 0 },
	{ "ranges", 'r', "N", 0, "Ranges that a transaction declares, 4..1000 (4)", 0 },
	{ "optimize", KEY_OPTIMIZE, "WHAT", 0, "The library's optimizations: none, ranges or all (none)", 0 },
	{ "map-private", KEY_MAP_PRIVATE, NULL, 0,
	  "Map copy-on-write, page by page, instead of copying the segment whole (the user engine's choice)", 0 },
	{ "tracking", KEY_TRACKING, "MODE", 0,
	  "How changes are found: ranges, check, pages or diff; with the last two nothing is declared (ranges)", 0 },
	{ "strict", KEY_STRICT, NULL, 0, "With pages and diff: keep no page writable between transactions", 0 },
	{ "truncate", KEY_TRUNCATE, "PERCENT", 0,
	  "Share of the log in use that starts background truncation; 0: never (50)", 0 },

	{ NULL, 0, NULL, 0, "How long, and what is printed:", 3 },
	{ "transactions", 'n', "N", 0, "Transactions in a repetition (10000)", 0 },
	{ "warmup", KEY_WARMUP, "N", 0, "Transactions before the first repetition (0)", 0 },
	{ "repeat", KEY_REPEAT, "N", 0, "Repetitions (1)", 0 },
	{ "seed", KEY_SEED, "N", 0, "Of the random numbers: the same seed makes the same bank (1)", 0 },
	{ "busy", KEY_BUSY, NULL, 0,
	  "Report the machine's busy time too, kernel threads included; takes root and a machine with one CPU", 0 },
	{ "worst", KEY_WORST, NULL, 0, "Report the longest time that one commit took, whichever thread made it", 0 },
	{ "events", KEY_EVENTS, NULL, 0,
	  "Instead of the bank's transactions: what each step of simple ones takes, for several lengths", 0 },
	{ "verify", KEY_VERIFY, NULL, 0, "Check the bank at the end (with --transactions=0: do only this)", 0 },
	{ "json", KEY_JSON, NULL, 0, "Print one JSON object a line for each repetition", 0 },
	{ 0 },
};

static uint64_t parse_number(struct argp_state *state, const char *name, const char *arg,
			     uint64_t min, uint64_t max)
{
	unsigned long long n;
	char *end;

	errno = 0;
	n = strtoull(arg, &end, 10);
	if (*arg < '0' || *arg > '9' || *end || errno || n < min || n > max)
		argp_error(state, "--%s: '%s' is not a number from %" PRIu64 " to %" PRIu64,
			   name, arg, min, max);
	return n;
}

static uint64_t parse_size(struct argp_state *state, const char *name, const char *arg)
{
	static const char suffixes[] = "KMG";
	const char *suffix;
	unsigned long long n;
	unsigned int shift = 0;
	char *end;

	errno = 0;
	n = strtoull(arg, &end, 10);
	if (*arg < '0' || *arg > '9' || errno)
		argp_error(state, "--%s: '%s' is not a size", name, arg);
	if (*end) {
		suffix = strchr(suffixes, *end);
		if (!suffix || end[1])
			argp_error(state, "--%s: '%s' is not a size; suffixes are K, M and G", name, arg);
		else
			shift = 10 * (suffix - suffixes + 1);
	}
	if (n == 0 || n > (UINT64_C(1) << 62) >> shift)
		argp_error(state, "--%s: '%s' is out of range", name, arg);
	return (uint64_t)n << shift;
}

static int parse_name(struct argp_state *state, const char *option, const char *arg,
		      const char *const *names)
{
	char all[100] = "";

	for (int i = 0; names[i]; i++) {
		if (!strcmp(arg, names[i]))
			return i;
		strcat(strcat(all, i ? names[i + 1] ? ", " : " or " : ""), names[i]);
	}
	argp_error(state, "--%s: '%s' is not %s", option, arg, all);
	return 0;
}

static error_t parse_option(int key, char *arg, struct argp_state *state)
{
	switch (key) {
	case 'l':
		opt.log = arg;
		break;
	case KEY_LOG_SIZE:
		opt.log_size = parse_size(state, "log-size", arg);
		break;
	case 's':
		opt.segment = arg;
		break;
	case KEY_CREATE:
		opt.create = true;
		break;
	case 'a':
		opt.accounts = parse_number(state, "accounts", arg, 1, MAX_ACCOUNTS);
		break;
	case KEY_THREADS:
		opt.threads = parse_number(state, "threads", arg, 1, MAX_THREADS);
		break;
	case 'e':
		opt.engine = engine_names[parse_name(state, "engine", arg, engine_names)];
		break;
	case KEY_BEGIN:
		opt.begin = parse_name(state, "begin", arg, begin_names);
		break;
	case 'c':
		opt.commit = parse_name(state, "commit", arg, commit_names);
		break;
	case 'A':
		opt.access = parse_name(state, "access", arg, access_names);
		break;
	case 'r':
		opt.ranges = parse_number(state, "ranges", arg, CLASSIC_RANGES, MAX_RANGES);
		break;
	case KEY_OPTIMIZE:
		opt.optimize = parse_name(state, "optimize", arg, optimize_names);
		break;
	case KEY_MAP_PRIVATE:
		opt.map_private = true;
		break;
	case KEY_TRUNCATE:
		opt.truncate = parse_number(state, "truncate", arg, 0, 100);
		break;
	case 'n':
		opt.transactions = parse_number(state, "transactions", arg, 0, MAX_TRANSACTIONS);
		break;
	case KEY_WARMUP:
		opt.warmup = parse_number(state, "warmup", arg, 0, MAX_TRANSACTIONS);
		break;
	case KEY_REPEAT:
		opt.repeat = parse_number(state, "repeat", arg, 1, 1000000);
		break;
	case KEY_SEED:
		opt.seed = parse_number(state, "seed", arg, 0, UINT64_MAX);
		break;
	case KEY_BUSY:
		opt.busy = true;
		break;
	case KEY_WORST:
		opt.worst = true;
		break;
	case KEY_EVENTS:
		opt.events = true;
		break;
	case KEY_STRICT:
		opt.strict = true;
		break;
	case KEY_TRACKING:
		opt.tracking = parse_name(state, "tracking", arg, tracking_names);
		break;
	case KEY_VERIFY:
		opt.verify = true;
		break;
	case KEY_JSON:
		opt.json = true;
		break;
	case ARGP_KEY_ARG:
		argp_error(state, "'%s' is one argument too many", arg);
		break;
	case ARGP_KEY_END:
		if (!opt.log || !*opt.log || !opt.segment || !*opt.segment)
			argp_error(state, "--log and --segment are required");
		else if (!strcmp(opt.log, opt.segment))
			argp_error(state, "--log and --segment are the same file");
		if (opt.strict && !tracked())
			argp_error(state, "--strict takes --tracking=pages or diff");
		if (tracked() && opt.threads > 1)
			argp_error(state, "--tracking=%s takes one thread: a process has one transaction at a time",
				   tracking_names[opt.tracking]);
		if (opt.access == ACCESS_LOCALIZED && opt.accounts < MIN_LOCALIZED)
			argp_error(state, "--access=localized takes at least %zu accounts", MIN_LOCALIZED);
		break;
	default:
		return ARGP_ERR_UNKNOWN;
	}
	return 0;
}

/* --- times --------------------------------------------------------------- */

uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * UINT64_C(1000000000) + ts.tv_nsec;
}

/*
 * How long the CPU has been idle since boot.  /proc/stat knows it in ticks, and
 * this file in nanoseconds; of a CPU that is idle now it misses the current
 * period, and so it serves on a machine with one CPU alone, whose CPU runs this.
 */
static uint64_t idle_ns(void)
{
	FILE *file = fopen("/proc/timer_list", "r");
	unsigned long long ns;
	uint64_t sum = 0;
	int found = 0;
	char line[256];

	if (!file)
		die("--busy: /proc/timer_list: %s", strerror(errno));
	while (fgets(line, sizeof(line), file)) {
		if (sscanf(line, " .idle_sleeptime : %llu nsecs", &ns) == 1 ||
		    sscanf(line, " .iowait_sleeptime : %llu nsecs", &ns) == 1) {
			sum += ns;
			found++;
		}
	}
	fclose(file);
	if (found != 2)
		die("--busy: /proc/timer_list tells no idle times; is it a kernel with NO_HZ?");
	return sum;
}

/* A stretch of time; the idle time is read outside it, since reading takes long. */
struct stretch {
	uint64_t elapsed, idle;
};

static void stretch_begin(struct stretch *s)
{
	s->idle = opt.busy ? idle_ns() : 0;
	s->elapsed = now_ns();
}

static void stretch_end(struct stretch *s)
{
	s->elapsed = now_ns() - s->elapsed;
	s->idle = opt.busy ? idle_ns() - s->idle : 0;
}

/* --- the bank ------------------------------------------------------------ */

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

/* Lays the bank out from base on, and returns its length. */
static uint64_t bank_layout(struct bank *bank, char *base)
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
	static char nowhere[1];
	struct bank bank;

	return bank_layout(&bank, nowhere);
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

static void change_balance(rvm_tid_t *tid, struct balance *b, int64_t amount)
{
	declare(tid, b, sizeof(*b));
	b->balance += amount;
	b->updates++;
}

static void transaction(struct bank *bank)
{
	uint64_t accounts = opt.ranges - (CLASSIC_RANGES - 1);
	uint64_t teller = random_below(bank, bank->header->tellers);
	uint64_t branch = teller / TELLERS_PER_BRANCH;
	struct audit *audit = &bank->audits[(bank->next_audit - 1) % bank->header->audits];
	struct audit entry = {
		.sequence = bank->next_audit, .accounts = accounts, .teller = teller, .branch = branch,
	};
	uint64_t committing = 0;
	rvm_tid_t tid;

	rvm_init_tid(&tid);
	check(rvm_begin_transaction(&tid, begin_modes[opt.begin]), "rvm_begin_transaction", NULL);
	for (uint64_t i = 0; i < accounts; i++) {
		uint64_t n = pick_account(bank);
		struct account *account = &bank->accounts[n];
		int64_t amount = (int64_t)random_below(bank, 1999999) - 999999;

		declare(&tid, account, sizeof(*account));
		account->balance += amount;
		account->updates++;
		account->last_audit = entry.sequence;
		entry.amount += amount;
		if (i == 0)
			entry.account = n;
	}
	change_balance(&tid, &bank->tellers[teller], entry.amount);
	change_balance(&tid, &bank->branches[branch], entry.amount);
	entry.balance = bank->branches[branch].balance;
	entry.check = audit_check(&entry);
	declare(&tid, audit, sizeof(*audit));
	*audit = entry;
	if (opt.worst)
		committing = now_ns();
	check(rvm_end_transaction(&tid, commit_modes[opt.commit]), "rvm_end_transaction", NULL);
	if (opt.worst)
		bank->worst = MAX(bank->worst, now_ns() - committing);
	bank->next_audit++;
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

/* --- opening ------------------------------------------------------------- */

/* Length of a file or block device; 0 if there is none. */
static uint64_t file_length(const char *what, const char *path, bool *device)
{
	struct stat st;
	uint64_t length;
	int fd;

	*device = false;
	if (stat(path, &st)) {
		if (errno != ENOENT)
			die("%s %s: %s", what, path, strerror(errno));
		return 0;
	}
	if (S_ISREG(st.st_mode))
		return st.st_size;
	if (!S_ISBLK(st.st_mode))
		die("%s %s is neither a file nor a block device", what, path);
	*device = true;
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || ioctl(fd, BLKGETSIZE64, &length))
		die("%s %s: %s", what, path, strerror(errno));
	close(fd);
	return length;
}

static void remove_file(const char *what, const char *path)
{
	if (unlink(path) && errno != ENOENT)
		die("%s %s: %s", what, path, strerror(errno));
}

/*
 * The library makes logs in new files only, for fear of overwriting something;
 * but a log is the same bytes wherever it is, and --create says that it may.
 */
static void copy_to_device(const char *from, const char *device)
{
	static char buffer[1 << 20];
	int in = open(from, O_RDONLY | O_CLOEXEC);
	int out = open(device, O_WRONLY | O_EXCL | O_CLOEXEC);
	ssize_t n;

	if (in < 0 || out < 0)
		die("log %s: %s", in < 0 ? from : device, strerror(errno));
	while ((n = read(in, buffer, sizeof(buffer))) > 0)
		if (write(out, buffer, n) != n)
			die("log %s: %s", device, errno ? strerror(errno) : "it is too small");
	if (n < 0 || fsync(out) || close(out))
		die("log %s: %s", device, strerror(errno));
	close(in);
}

static void make_log(rvm_options_t *options, bool device)
{
	rvm_offset_t size = RVM_MK_OFFSET(0, opt.log_size ? opt.log_size : DEFAULT_LOG_SIZE);
	const char *dir = getenv("TMPDIR");
	char *made = (char *)opt.log, temporary[MAXPATHLEN];
	rvm_return_t ret;

	if (device) {
		if (snprintf(temporary, sizeof(temporary), "%s/rvmbench-log.%d", dir ? dir : "/tmp",
			     getpid()) >= (int)sizeof(temporary))
			die("TMPDIR is too long");
		made = temporary;
	}
	options->log_dev = made;
	ret = rvm_create_log(options, &size, 0600);
	if (ret == RVM_ELOG)
		die("%s exists and is no log; --create replaces it", made);
	check(ret, "rvm_create_log", made);
	if (device) {
		copy_to_device(made, opt.log);
		remove_file("log", made);
	}
}

static void open_log(void)
{
	rvm_options_t options;
	rvm_engine_counters_t counters;
	rvm_return_t ret;
	bool device;
	uint64_t length;

	if (opt.engine)
		check(rvm_set_engine(opt.engine), "rvm_set_engine", opt.engine);

	rvm_init_options(&options);
	options.truncate = opt.truncate;
	options.flags = optimize_flags[opt.optimize] | (opt.map_private ? RVM_MAP_PRIVATE : 0) |
			tracking_flags[opt.tracking] | (opt.strict ? RVM_TRACK_STRICT : 0);
	length = file_length("log", opt.log, &device);
	if (opt.create && !device) {
		remove_file("log", opt.log);
		length = 0;
	}
	if (length == 0 || opt.create) {
		/* it takes an initialized library to make a log */
		check(rvm_initialize(RVM_VERSION, &options), "rvm_initialize", NULL);
		make_log(&options, device);
		options.log_dev = (char *)opt.log;
		check(rvm_set_options(&options), "rvm_set_options", opt.log);
	} else {
		options.log_dev = (char *)opt.log;
		ret = rvm_initialize(RVM_VERSION, &options);
		if (ret == RVM_ELOG)
			die("%s is no log, or damaged; --create makes a new one", opt.log);
		check(ret, "rvm_initialize", opt.log);
	}
	check(rvm_get_engine_counters(&counters), "rvm_get_engine_counters", NULL);
	if (opt.log_size && opt.log_size != counters.log_length)
		die("the log %s has %" PRIu64 " bytes, not %" PRIu64 "; --create makes a new one",
		    opt.log, counters.log_length, opt.log_size);
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

/* Map the segment: is it new? */
static bool open_segment(rvm_region_t *region, uint64_t need)
{
	bool device, fresh;
	uint64_t have;
	int fd;

	have = file_length("segment", opt.segment, &device);
	if (opt.create && !device) {
		remove_file("segment", opt.segment);
		have = 0;
	}
	fresh = opt.create || have == 0;
	if (have == 0 && !device) {
		/* rvm_map makes an empty file as long as it has to be */
		fd = open(opt.segment, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
		if (fd < 0)
			die("segment %s: %s", opt.segment, strerror(errno));
		close(fd);
	} else if (have < need) {
		if (opt.events)
			die("the segment %s has %" PRIu64 " bytes, and --events takes %" PRIu64,
			    opt.segment, have, need);
		die("the segment %s has %" PRIu64 " bytes, and %" PRIu64 " bank%s of %" PRIu64 " accounts take%s %" PRIu64,
		    opt.segment, have, opt.threads, opt.threads == 1 ? "" : "s", opt.accounts,
		    opt.threads == 1 ? "s" : "", need);
	}

	rvm_init_region(region);
	region->data_dev = (char *)opt.segment;
	region->dev_length = RVM_MK_OFFSET(0, need);
	region->length = need;
	check(rvm_map(region, NULL), "rvm_map", opt.segment);
	return fresh;
}

static void open_banks(struct bank *banks, rvm_region_t *region)
{
	uint64_t need = opt.threads * bank_length();
	bool fresh = open_segment(region, need);

	if (fresh)
		zero_bank(region->vmaddr, need);
	for (uint64_t i = 0; i < opt.threads; i++) {
		bank_layout(&banks[i], region->vmaddr + i * bank_length());
		if (fresh)
			make_bank(&banks[i]);
	}
	if (fresh)
		check(rvm_truncate(), "rvm_truncate", NULL);
	for (uint64_t i = 0; i < opt.threads; i++) {
		check_bank(&banks[i]);
		begin_bank(&banks[i], opt.seed + i);
	}
}

static bool verify(const struct bank *banks)
{
	uint64_t transactions = 0;
	bool good = true;

	for (uint64_t i = 0; i < opt.threads; i++) {
		good &= verify_bank(&banks[i]);
		transactions += banks[i].next_audit - 1;
	}
	if (good && !opt.json)
		printf("\nverified: %" PRIu64 " transactions since the bank was made, every balance is right\n",
		       transactions);
	return good;
}

/* --- measuring ----------------------------------------------------------- */

struct result {
	struct stretch commits, truncation;
	rvm_engine_counters_t counters;		/* of the repetition; log_length as it is */
	uint64_t worst;				/* --worst: the longest commit, in ns */
};

static pthread_barrier_t begun;

static void *work(void *context)
{
	struct bank *bank = context;

	if (opt.threads > 1)
		pthread_barrier_wait(&begun);
	for (uint64_t i = 0; i < bank->transactions; i++)
		transaction(bank);
	return NULL;
}

/* The first bank's by this thread, which measures. */
static void begin_others(struct bank *banks, uint64_t transactions)
{
	pthread_barrier_init(&begun, NULL, opt.threads);
	for (uint64_t i = 0; i < opt.threads; i++) {
		int error = 0;

		banks[i].transactions = (transactions + opt.threads - 1 - i) / opt.threads;
		banks[i].worst = 0;
		if (i)
			error = pthread_create(&banks[i].thread, NULL, work, &banks[i]);
		if (error)
			die("%" PRIu64 " threads: %s", opt.threads, strerror(error));
	}
}

static void repetition(struct bank *banks, uint64_t transactions, struct result *result)
{
	rvm_engine_counters_t before, after;

	check(rvm_get_engine_counters(&before), "rvm_get_engine_counters", NULL);
	begin_others(banks, transactions);
	stretch_begin(&result->commits);
	work(&banks[0]);
	for (uint64_t i = 1; i < opt.threads; i++)
		pthread_join(banks[i].thread, NULL);
	check(rvm_flush(), "rvm_flush", NULL);
	stretch_end(&result->commits);
	stretch_begin(&result->truncation);
	check(rvm_truncate(), "rvm_truncate", NULL);
	stretch_end(&result->truncation);
	check(rvm_get_engine_counters(&after), "rvm_get_engine_counters", NULL);

	result->worst = 0;
	for (uint64_t i = 0; i < opt.threads; i++)
		result->worst = MAX(result->worst, banks[i].worst);
	result->counters = after;
#define DIFFERENCE(field) (result->counters.field = after.field - before.field)
	DIFFERENCE(log_writes);
	DIFFERENCE(log_flushes);
	DIFFERENCE(log_bytes);
	DIFFERENCE(segment_writes);
	DIFFERENCE(segment_flushes);
	DIFFERENCE(segment_bytes);
	DIFFERENCE(truncations);
#undef DIFFERENCE
}

void print_json_string(const char *name, const char *value)
{
	printf("\"%s\":\"", name);
	for (; *value; value++) {
		if (*value == '"' || *value == '\\')
			printf("\\%c", *value);
		else if ((unsigned char)*value < 0x20)
			printf("\\u%04x", *value);
		else
			putchar(*value);
	}
	printf("\",");
}

void print_tracking(void)
{
	print_json_string("tracking", tracking_names[opt.tracking]);
	printf("\"strict\":%s,", opt.strict ? "true" : "false");
}

static void print_json(uint64_t number, const struct result *r)
{
	const rvm_engine_counters_t *c = &r->counters;
	double n = opt.transactions;

	putchar('{');
	print_json_string("engine", rvm_get_engine());
	print_json_string("begin", begin_names[opt.begin]);
	print_json_string("commit", commit_names[opt.commit]);
	print_json_string("access", access_names[opt.access]);
	print_json_string("optimize", optimize_names[opt.optimize]);
	print_tracking();
	printf("\"map_private\":%s,", opt.map_private ? "true" : "false");
	print_json_string("log", opt.log);
	print_json_string("segment", opt.segment);
	printf("\"log_size\":%" PRIu64 ",\"accounts\":%" PRIu64 ",\"threads\":%" PRIu64 ",\"ranges\":%" PRIu64
	       ",\"truncate\":%" PRIu64 ",\"transactions\":%" PRIu64 ",\"warmup\":%" PRIu64
	       ",\"repeat\":%" PRIu64 ",\"seed\":%" PRIu64 ",\"repetition\":%" PRIu64,
	       c->log_length, opt.accounts, opt.threads, opt.ranges, opt.truncate, opt.transactions, opt.warmup,
	       opt.repeat, opt.seed, number);
	printf(",\"tps\":%.1f,\"ns_per_txn\":%.1f,\"truncate_ns_per_txn\":%.1f",
	       n * 1e9 / r->commits.elapsed, r->commits.elapsed / n, r->truncation.elapsed / n);
	if (opt.busy)
		printf(",\"busy_ns_per_txn\":%.1f,\"truncate_busy_ns_per_txn\":%.1f",
		       (r->commits.elapsed - r->commits.idle) / n,
		       (r->truncation.elapsed - r->truncation.idle) / n);
	if (opt.worst)
		printf(",\"worst_us\":%.1f", r->worst / 1e3);
	printf(",\"log_writes_per_txn\":%.4f,\"log_flushes_per_txn\":%.4f,\"log_bytes_per_txn\":%.1f"
	       ",\"segment_writes_per_txn\":%.4f,\"segment_flushes_per_txn\":%.4f,\"segment_bytes_per_txn\":%.1f"
	       ",\"truncations\":%" PRIu64 "}\n",
	       c->log_writes / n, c->log_flushes / n, c->log_bytes / n,
	       c->segment_writes / n, c->segment_flushes / n, c->segment_bytes / n, c->truncations);
	fflush(stdout);
}

static void print_text(uint64_t number, const struct result *r)
{
	const rvm_engine_counters_t *c = &r->counters;
	double n = opt.transactions;

	if (number == 1)
		printf("%s engine, %s commits, %" PRIu64 " thread%s, %" PRIu64 " accounts, %s access, %" PRIu64 " ranges\n"
		       "log %s, %" PRIu64 " bytes; segment %s, %" PRIu64 " bytes\n",
		       rvm_get_engine(), commit_names[opt.commit], opt.threads,
		       opt.threads == 1 ? "" : "s", opt.accounts, access_names[opt.access], opt.ranges,
		       opt.log, c->log_length, opt.segment, opt.threads * bank_length());
	printf("\nrepetition %" PRIu64 ": %" PRIu64 " transactions in %.3f s, %.0f a second\n",
	       number, opt.transactions, r->commits.elapsed / 1e9, n * 1e9 / r->commits.elapsed);
	printf("  for each        commit %12.1f ns, truncation %10.1f ns\n",
	       r->commits.elapsed / n, r->truncation.elapsed / n);
	if (opt.busy)
		printf("  CPU busy        commit %12.1f ns, truncation %10.1f ns\n",
		       (r->commits.elapsed - r->commits.idle) / n,
		       (r->truncation.elapsed - r->truncation.idle) / n);
	if (opt.worst)
		printf("  longest         commit %12.1f us\n", r->worst / 1e3);
	printf("  log             %8.4f writes, %8.4f flushes, %10.1f bytes\n",
	       c->log_writes / n, c->log_flushes / n, c->log_bytes / n);
	printf("  segment         %8.4f writes, %8.4f flushes, %10.1f bytes; %" PRIu64 " truncation%s\n",
	       c->segment_writes / n, c->segment_flushes / n, c->segment_bytes / n, c->truncations,
	       c->truncations == 1 ? "" : "s");
	fflush(stdout);
}

int main(int argc, char **argv)
{
	const struct argp argp = { .options = options, .parser = parse_option, .doc = doc };
	static struct bank banks[MAX_THREADS];
	struct result result;
	rvm_region_t region;
	bool good = true;

	argp_err_exit_status = 2;
	argp_parse(&argp, argc, argv, 0, NULL, NULL);
	if (opt.busy && sysconf(_SC_NPROCESSORS_ONLN) != 1)
		die("--busy takes a machine with one CPU, and here are %ld", sysconf(_SC_NPROCESSORS_ONLN));

	open_log();
	if (opt.events) {
		if (!open_segment(&region, EVENTS_LENGTH))
			die("--events would overwrite the segment %s; --create says that it may",
			    opt.segment);
		measure_events(region.vmaddr);
	} else {
		open_banks(banks, &region);
	}
	if (opt.warmup && !opt.events)
		repetition(banks, opt.warmup, &result);
	for (uint64_t i = 1; i <= opt.repeat && opt.transactions && !opt.events; i++) {
		repetition(banks, opt.transactions, &result);
		(opt.json ? print_json : print_text)(i, &result);
	}
	if (opt.verify && !opt.events)
		good = verify(banks);
	check(rvm_unmap(&region), "rvm_unmap", NULL);
	check(rvm_terminate(), "rvm_terminate", NULL);
	if (fflush(stdout) || ferror(stdout))
		die("standard output: %s", strerror(errno));
	return good ? 0 : 1;
}
