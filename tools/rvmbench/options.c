// SPDX-License-Identifier: GPL-2.0 OR MIT
/* The command line. */
#include <argp.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "tools/rvmbench/arguments.h"
#include "tools/rvmbench/banks.h"

#define MAX_ACCOUNTS		(UINT64_C(1) << 32)
#define MAX_RANGES		1000
#define MAX_TRANSACTIONS	UINT64_C(1000000000000)

const char *const optimize_names[] = { "none", "ranges", "all", NULL };
const char *const begin_names[] = { "restore", "no_restore", NULL };
const char *const commit_names[] = { "flush", "no_flush", NULL };
const char *const workload_names[] = { "debit-credit", "order-entry", NULL };
const char *const tracking_names[] = { "ranges", "check", "pages", "diff", NULL };
const char *const mechanism_names[] = { "mprotect", "userfaultfd", "userfaultfd-async", NULL };
static const char *const engine_names[] = { "auto", "kernel", "user", NULL };

const rvm_mode_t begin_modes[] = { restore, no_restore };
const rvm_mode_t commit_modes[] = { flush, no_flush };

struct rvmbench_options opt = {
	.accounts = 32768, .threads = 1, .processes = 1, .group = 1, .transactions = 10000, .repeat = 1, .ranges = CLASSIC_RANGES,
	.truncate = TRUNCATE, .seed = 1, .access = ACCESS_RANDOM,
};

const char *argp_program_version = "rvmbench 1.0.0";

static const char doc[] =
	"Measures transactions on recoverable memory: a bank in the manner of TPC-A.\v"
	"The log and the segment may be files or block devices. Files that do not exist are made; "
	"an existing bank is used again if its number of accounts is right. Nothing else is overwritten but with --create.\n\n"
	"A transaction changes one account (a 128-byte record), a teller's and a branch's balance (16 bytes each) and "
	"appends a 64-byte audit record: four declared ranges. The accounts and the audit trail take half of the bank each. "
	"With --ranges=N it changes N - 3 accounts instead of one. "
	"With --threads=N or --processes=N there are N such banks, each one thread's or process's, and the transactions are divided among them.\n\n"
	"A repetition is all transactions, then rvm_flush(), both timed together, then rvm_truncate(), timed apart. "
	"Writes, flushes and bytes are counted over the whole repetition.\n\n"
	"SIZE is in bytes, or with a suffix K, M or G in units of 1024, 1024^2 or 1024^3 bytes. Times are in nanoseconds, the longest commit's in microseconds.\n\n"
	"Exit status: 0; 1 for an error or a failed --verify; 2 for a wrong command line.";

enum {
	KEY_LOG_SIZE = 256, KEY_BEGIN, KEY_BUSY, KEY_CREATE, KEY_JSON, KEY_MAP_PRIVATE, KEY_OPTIMIZE,
	KEY_REPEAT, KEY_SEED, KEY_THREADS, KEY_TRUNCATE, KEY_VERIFY, KEY_WARMUP, KEY_WORST,
	KEY_BARE, KEY_EVENTS, KEY_MECHANISM, KEY_STRICT, KEY_TRACKING,
	KEY_CRASH, KEY_GROUP, KEY_PROCESSES, KEY_STARTUP, KEY_WORKLOAD,
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

	{ "processes", KEY_PROCESSES, "N", 0,
	  "The same with processes that share log and segment; takes the kernel engine (1)", 0 },

	{ NULL, 0, NULL, 0, "What a transaction does:", 2 },
	{ "workload", KEY_WORKLOAD, "WHAT", 0,
	  "debit-credit, or order-entry: 5 to 15 accounts, as items of a warehouse, and an audit record for each (debit-credit)", 0 },
	{ "engine", 'e', "NAME", 0, "kernel, user or auto (what RVM_ENGINE says, else auto)", 0 },
	{ "begin", KEY_BEGIN, "MODE", 0, "restore or no_restore (restore)", 0 },
	{ "commit", 'c', "MODE", 0, "flush or no_flush (flush)", 0 },
	{ "group", KEY_GROUP, "N", 0, "With --commit=flush, let only each N-th commit of a thread flush (1)", 0 },
	{ "access", 'A', "HOW", 0,
	  "Which accounts: sequential, random, or localized: 70 % on 5 % of the pages, 25 % on another 15 %, 5 % on the rest (random)", 0 },
	{ "ranges", 'r', "N", 0, "Ranges that a transaction declares, 4..1000 (4)", 0 },
	{ "optimize", KEY_OPTIMIZE, "WHAT", 0, "The library's optimizations: none, ranges or all (none)", 0 },
	{ "map-private", KEY_MAP_PRIVATE, NULL, 0,
	  "Map copy-on-write, page by page, instead of copying the segment whole (the user engine's choice)", 0 },
	{ "tracking", KEY_TRACKING, "MODE", 0,
	  "How changes are found: ranges, check, pages or diff; with the last two nothing is declared (ranges)", 0 },
	{ "mechanism", KEY_MECHANISM, "NAME", 0,
	  "What notices stores for the user engine then: mprotect, userfaultfd or userfaultfd-async (mprotect)", 0 },
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
	{ "bare", KEY_BARE, NULL, 0,
	  "After each repetition measure as many durable writes of as many bytes to the log's file without RVM; takes --commit=flush and one thread", 0 },
	{ "events", KEY_EVENTS, "PAGES", OPTION_ARG_OPTIONAL,
	  "Instead of the bank's transactions: what each step of simple ones takes, for several lengths, up to so many pages (512)", 0 },
	{ "startup", KEY_STARTUP, NULL, 0,
	  "Instead of transactions: how long it takes to open the log, and to recover; to map as much as the banks would take; and to touch it", 0 },
	{ "crash", KEY_CRASH, NULL, 0, "End as if killed, without truncation: the log has to be recovered", 0 },
	{ "verify", KEY_VERIFY, NULL, 0, "Check the bank at the end (with --transactions=0: do only this)", 0 },
	{ "json", KEY_JSON, NULL, 0, "Print one JSON object a line for each repetition", 0 },
	{ 0 },
};

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
	case KEY_PROCESSES:
		opt.processes = parse_number(state, "processes", arg, 1, MAX_THREADS);
		break;
	case KEY_WORKLOAD:
		opt.workload = parse_name(state, "workload", arg, workload_names);
		break;
	case KEY_GROUP:
		opt.group = parse_number(state, "group", arg, 1, MAX_TRANSACTIONS);
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
	case KEY_BARE:
		opt.bare = true;
		break;
	case KEY_EVENTS:
		opt.events = arg ? parse_number(state, "events", arg, 1, EVENTS_PAGES) : EVENTS_PAGES;
		break;
	case KEY_STARTUP:
		opt.startup = true;
		break;
	case KEY_CRASH:
		opt.crash = true;
		break;
	case KEY_MECHANISM:
		opt.mechanism = parse_name(state, "mechanism", arg, mechanism_names);
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
		if (opt.mechanism && opt.tracking == TRACKING_RANGES)
			argp_error(state, "--mechanism takes --tracking");
		if (opt.strict && opt.mechanism == MECHANISM_USERFAULTFD_ASYNC)
			argp_error(state, "userfaultfd-async can't be strict");
		if (tracked() && opt.threads > 1)
			argp_error(state, "--tracking=%s takes one thread: a process has one transaction at a time",
				   tracking_names[opt.tracking]);
		if (opt.bare && (opt.commit != COMMIT_FLUSH || opt.threads > 1))
			argp_error(state, "--bare takes --commit=flush and one thread: one write for each transaction");
		if (opt.processes > 1 && (opt.threads > 1 || opt.worst || opt.bare || opt.events || opt.startup))
			argp_error(state, "--processes does without --threads, --worst, --bare, --events and --startup");
		if (opt.startup && (opt.create || opt.events))
			argp_error(state, "--startup takes a log that is there, and no --events");
		if (opt.workload == WORKLOAD_ORDER_ENTRY && opt.ranges != CLASSIC_RANGES)
			argp_error(state, "--ranges is for --workload=debit-credit");
		if (opt.access == ACCESS_LOCALIZED && opt.accounts < MIN_LOCALIZED)
			argp_error(state, "--access=localized takes at least %zu accounts", MIN_LOCALIZED);
		break;
	default:
		return ARGP_ERR_UNKNOWN;
	}
	return 0;
}

void parse_command_line(int argc, char **argv)
{
	const struct argp argp = { .options = options, .parser = parse_option, .doc = doc };

	argp_err_exit_status = 2;
	argp_parse(&argp, argc, argv, 0, NULL, NULL);
}
