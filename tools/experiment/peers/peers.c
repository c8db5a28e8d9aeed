// SPDX-License-Identifier: GPL-2.0 OR MIT
/*
 * peers: rvmbench's transactions on what else keeps data, and on RVM beside it, all
 * measured and verified alike.
 */
#define _GNU_SOURCE
#include <argp.h>
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>
#include <fcntl.h>

#include "tools/experiment/peers/peer.h"
#include "tools/rvmbench/arguments.h"

static const struct peer *const peers[] = {
	&peer_rvm, &peer_rvm_no_flush, &peer_lmdb, &peer_sqlite, &peer_bdb, &peer_pmemobj,
	&peer_msync, &peer_pwrite, &peer_pwrite_only, &peer_direct, &peer_bare, &peer_memory,
};

#define PEERS	(sizeof(peers) / sizeof(peers[0]))

static const char *const survives_names[] = { "nothing", "its closing", "the process", "the kernel", "the machine" };
static const char *const table_names[] = { "branch", "teller", "account", "audit", NULL };

static struct {
	const struct peer *peer;
	const char *folder;
	uint64_t accounts, transactions, warmup, repeat, seed;
	int access, plant;			/* plant: a table, or TABLES for none */
	bool busy, device, verify, check, die;
} opt = {
	.folder = "peers.data", .accounts = 32768, .transactions = 10000, .repeat = 1, .seed = 1,
	.access = ACCESS_RANDOM, .plant = TABLES,
};

void die(const char *format, ...)
{
	va_list args;

	fflush(stdout);
	fputs("peers: ", stderr);
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fputc('\n', stderr);
	exit(1);
}

/* --- the command line ---------------------------------------------------------- */

static const char doc[] =
	"Makes rvmbench's transactions, transfers in a bank, on RVM or on something else that keeps data, in a new folder, "
	"and prints a JSON object for each repetition.\v"
	"A repetition is all transactions, timed, and then what the peer has put off until later, its checkpoint, timed apart "
	"(truncate_...). What the device did is counted over the whole repetition, and what the file system had put off is written "
	"before; a write with FUA is no flush.\n\n"
	"RVM_ENGINE chooses RVM's engine.\n\n"
	"Exit status: 0; 1 for an error or what --verify found; 2 for a wrong command line.";

enum { KEY_ACCOUNTS = 256, KEY_WARMUP, KEY_REPEAT, KEY_SEED, KEY_BUSY, KEY_DEVICE, KEY_VERIFY, KEY_CHECK, KEY_DIE, KEY_PLANT, KEY_LIST };

static const struct argp_option options[] = {
	{ "list", KEY_LIST, NULL, 0, "Only print the peers, and what of theirs survives what", 0 },
	{ "peer", 'p', "NAME", 0, "Which (required)", 0 },
	{ "folder", 'C', "DIR", 0, "Where it keeps its files; a new one (peers.data)", 0 },
	{ "accounts", 'a', "N", 0, "Of the bank (32768)", 0 },
	{ "access", 'A', "HOW", 0, "Which accounts: sequential, random or localized (random)", 0 },
	{ "transactions", 'n', "N", 0, "In a repetition (10000)", 0 },
	{ "warmup", KEY_WARMUP, "N", 0, "Transactions before the first repetition (0)", 0 },
	{ "repeat", KEY_REPEAT, "N", 0, "Repetitions (1)", 0 },
	{ "seed", KEY_SEED, "N", 0, "Of the random numbers (1)", 0 },
	{ "busy", KEY_BUSY, NULL, 0, "Report the machine's busy time too; takes root and a machine with one CPU", 0 },
	{ "device", KEY_DEVICE, NULL, 0, "Report what the block device under the file system did; nothing else may use it", 0 },
	{ "verify", KEY_VERIFY, NULL, 0,
	  "At the end, open it in another process, and check that every transfer is there and the balances are right", 0 },
	{ "check", KEY_CHECK, NULL, 0,
	  "Make no transfer: print how many of them are in the folder, and whether what is there is right", 0 },
	{ "die", KEY_DIE, NULL, 0, "Measure nothing: end by SIGKILL right after the last transfer, and then do what --check does", 0 },
	{ "plant", KEY_PLANT, "TABLE", 0,
	  "Make a last transfer that is wrong in one of branch, teller, account or audit, to see that --verify finds it", 0 },
	{ 0 },
};

static int parse_name(struct argp_state *state, const char *option, const char *arg, const char *const *names)
{
	for (int i = 0; names[i]; i++)
		if (!strcmp(arg, names[i]))
			return i;
	argp_error(state, "--%s: '%s' is none, see --help", option, arg);
	return 0;
}

static const struct peer *find_peer(struct argp_state *state, const char *name)
{
	for (size_t i = 0; i < PEERS; i++)
		if (!strcmp(peers[i]->name, name))
			return peers[i];
	argp_error(state, "there is no peer '%s', see --list", name);
	return NULL;
}

static void list_peers(void)
{
	for (size_t i = 0; i < PEERS; i++)
		printf("%-14s %-12s %-14s %s\n", peers[i]->name, survives_names[peers[i]->survives],
		       peers[i]->atomic ? "all or nothing" : "may be torn", peers[i]->about);
	exit(0);
}

static error_t parse_option(int key, char *arg, struct argp_state *state)
{
	switch (key) {
	case KEY_LIST:
		list_peers();
		break;
	case 'p':
		opt.peer = find_peer(state, arg);
		break;
	case 'C':
		opt.folder = arg;
		break;
	case 'a':
		opt.accounts = parse_number(state, "accounts", arg, 1, 1 << 20);
		break;
	case 'A':
		opt.access = parse_name(state, "access", arg, access_names);
		break;
	case 'n':
		opt.transactions = parse_number(state, "transactions", arg, 1, 1000000000);
		break;
	case KEY_WARMUP:
		opt.warmup = parse_number(state, "warmup", arg, 0, 1000000000);
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
	case KEY_DEVICE:
		opt.device = true;
		break;
	case KEY_VERIFY:
		opt.verify = true;
		break;
	case KEY_CHECK:
		opt.check = true;
		break;
	case KEY_DIE:
		opt.die = true;
		break;
	case KEY_PLANT:
		opt.plant = parse_name(state, "plant", arg, table_names);
		break;
	case ARGP_KEY_ARG:
		argp_error(state, "'%s' is one argument too many", arg);
		break;
	case ARGP_KEY_END:
		if (!opt.peer)
			argp_error(state, "--peer is required");
		if (opt.verify + opt.check + opt.die > 1)
			argp_error(state, "only one of --verify, --check and --die");
		if (opt.access == ACCESS_LOCALIZED && opt.accounts < MIN_LOCALIZED)
			argp_error(state, "--access=localized takes at least %zu accounts", MIN_LOCALIZED);
		break;
	default:
		return ARGP_ERR_UNKNOWN;
	}
	return 0;
}

/* --- the device ------------------------------------------------------------------ */

struct device {
	uint64_t writes, bytes, flushes;
};

/* Of the one that has the folder's file system, with all that was put off. */
static struct device read_device(void)
{
	int fd = open(".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	unsigned long long n[17];
	char path[64];
	struct stat st;
	int found = 0;
	FILE *file;

	if (fd < 0 || syncfs(fd) || fstat(fd, &st))
		die("%s: %s", opt.folder, strerror(errno));
	close(fd);
	snprintf(path, sizeof(path), "/sys/dev/block/%u:%u/stat", major(st.st_dev), minor(st.st_dev));
	file = fopen(path, "r");
	if (!file)
		die("--device: %s: %s; is the folder's file system on one block device?", path, strerror(errno));
	while (found < 17 && fscanf(file, "%llu", &n[found]) == 1)
		found++;
	fclose(file);
	if (found != 17)
		die("--device: %s does not tell what it does since Linux 5.5", path);
	return (struct device){ .writes = n[4], .bytes = n[6] * 512, .flushes = n[15] };
}

/* --- transfers --------------------------------------------------------------------- */

static struct shape shape_of(uint64_t accounts)
{
	struct bank_header header = bank_header(accounts);

	return (struct shape){
		.count = { header.branches, header.tellers, header.accounts, header.audits },
	};
}

/* A bank in memory, of zeros. */
static void make_bank(struct bank *bank)
{
	char *base = mmap(NULL, bank_length(opt.accounts), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (base == MAP_FAILED)
		die("out of memory");
	memset(bank, 0, sizeof(*bank));
	bank_layout(bank, opt.accounts, base);
	*bank->header = bank_header(opt.accounts);
}

static struct transfer next_transfer(struct bank *bank)
{
	struct transfer t = { .sequence = bank->next_audit++ };
	int64_t amount;

	t.record[TELLERS] = random_below(bank, bank->header->tellers);
	t.record[BRANCHES] = t.record[TELLERS] / TELLERS_PER_BRANCH;
	t.record[AUDITS] = (t.sequence - 1) % bank->header->audits;
	t.record[ACCOUNTS] = pick_account(bank);
	amount = pick_amount(bank);
	for (int i = 0; i < TABLES; i++)
		t.amount[i] = amount;
	return t;
}

/* A function of its own, so that valgrind can tell what is to be counted. */
static __attribute__((noinline)) void run_transfers(struct bank *bank, uint64_t transactions)
{
	for (uint64_t i = 0; i < transactions; i++) {
		struct transfer t = next_transfer(bank);

		opt.peer->transfer(&t);
	}
}

static void settle(void)
{
	if (opt.peer->settle)
		opt.peer->settle();
}

static void print_result(uint64_t number, const struct stretch *commits, const struct stretch *settling,
			 const struct device *before, const struct device *after)
{
	double n = opt.transactions;

	printf("{\"peer\":\"%s\",\"about\":\"%s\"", opt.peer->name, opt.peer->about);
	if (opt.peer->engine)
		printf(",\"engine\":\"%s\"", opt.peer->engine());
	printf(",\"survives\":\"%s\",\"atomic\":%s,\"access\":\"%s\",\"accounts\":%" PRIu64 ",\"transactions\":%" PRIu64
	       ",\"warmup\":%" PRIu64 ",\"repeat\":%" PRIu64 ",\"seed\":%" PRIu64 ",\"repetition\":%" PRIu64,
	       survives_names[opt.peer->survives], opt.peer->atomic ? "true" : "false", access_names[opt.access],
	       opt.accounts, opt.transactions, opt.warmup, opt.repeat, opt.seed, number);
	printf(",\"tps\":%.1f,\"ns_per_txn\":%.1f,\"truncate_ns_per_txn\":%.1f",
	       n * 1e9 / commits->elapsed, commits->elapsed / n, settling->elapsed / n);
	if (opt.busy)
		printf(",\"busy_ns_per_txn\":%.1f,\"truncate_busy_ns_per_txn\":%.1f",
		       (commits->elapsed - commits->idle) / n, (settling->elapsed - settling->idle) / n);
	if (opt.device)
		printf(",\"device_writes_per_txn\":%.4f,\"device_bytes_per_txn\":%.1f,\"device_flushes_per_txn\":%.4f",
		       (after->writes - before->writes) / n, (after->bytes - before->bytes) / n,
		       (after->flushes - before->flushes) / n);
	printf("}\n");
	fflush(stdout);
}

static void repetition(struct bank *bank, uint64_t number)
{
	struct device before = { 0 }, after = { 0 };
	struct stretch commits, settling;

	if (opt.device)
		before = read_device();
	stretch_begin(&commits, opt.busy);
	run_transfers(bank, opt.transactions);
	stretch_end(&commits, opt.busy);
	stretch_begin(&settling, opt.busy);
	settle();
	stretch_end(&settling, opt.busy);
	if (opt.device)
		after = read_device();
	print_result(number, &commits, &settling, &before, &after);
}

static uint64_t planned(void)
{
	return opt.warmup + opt.repeat * opt.transactions;
}

static void measure(const struct shape *shape)
{
	struct bank bank;

	make_bank(&bank);
	bank_begin(&bank, opt.access, opt.seed);
	opt.peer->open(shape, true);
	if (opt.die) {
		run_transfers(&bank, planned());
		raise(SIGKILL);
	}
	run_transfers(&bank, opt.warmup);
	settle();
	for (uint64_t i = 1; i <= opt.repeat; i++)
		repetition(&bank, i);
	if (opt.plant != TABLES) {
		struct transfer t = next_transfer(&bank);

		t.amount[opt.plant]++;
		opt.peer->transfer(&t);
	}
	opt.peer->close();
}

/* --- verifying --------------------------------------------------------------------- */

/* How many transfers are there; *good: everything that must hold of them holds. */
static uint64_t count_transfers(const struct shape *shape, bool *good)
{
	struct bank bank;

	make_bank(&bank);
	opt.peer->open(shape, false);
	for (int table = 0; table < TABLES; table++) {
		char *records[TABLES] = {
			(char *)bank.branches, (char *)bank.tellers, (char *)bank.accounts, (char *)bank.audits,
		};

		for (uint64_t i = 0; i < shape->count[table]; i++)
			opt.peer->read(table, i, records[table] + i * record_length[table]);
	}
	opt.peer->close();
	bank_begin(&bank, opt.access, opt.seed);
	*good = verify_bank(&bank);
	return bank.next_audit - 1;
}

static bool verify_transfers(const struct shape *shape)
{
	uint64_t made = planned() + (opt.plant != TABLES), found;
	bool good;

	found = count_transfers(shape, &good);
	if (opt.die || opt.check) {
		printf("{\"peer\":\"%s\",\"made\":%" PRIu64 ",\"survived\":%" PRIu64 ",\"right\":%s}\n",
		       opt.peer->name, made, found, good ? "true" : "false");
		return true;
	}
	if (opt.peer->survives != NOTHING && found != made) {
		fprintf(stderr, "verify: of %" PRIu64 " transfers there are %" PRIu64 "\n", made, found);
		good = false;
	}
	return good;
}

/* In a process of its own, so that what is verified is what another finds. */
static void measure_apart(const struct shape *shape)
{
	pid_t child;
	int status;

	fflush(stdout);
	child = fork();
	if (child < 0)
		die("fork: %s", strerror(errno));
	if (child == 0) {
		measure(shape);
		exit(0);
	}
	while (waitpid(child, &status, 0) < 0)
		if (errno != EINTR)
			die("waitpid: %s", strerror(errno));
	if (opt.die ? !WIFSIGNALED(status) || WTERMSIG(status) != SIGKILL : status)
		exit(1);
}

int main(int argc, char **argv)
{
	const struct argp argp = { .options = options, .parser = parse_option, .doc = doc };
	struct shape shape;
	bool good = true;

	argp_err_exit_status = 2;
	argp_parse(&argp, argc, argv, 0, NULL, NULL);
	if (opt.busy && sysconf(_SC_NPROCESSORS_ONLN) != 1)
		die("--busy takes a machine with one CPU, and here are %ld", sysconf(_SC_NPROCESSORS_ONLN));
	if (!opt.check && mkdir(opt.folder, 0700))
		die("%s: %s", opt.folder, strerror(errno));
	if (chdir(opt.folder))
		die("%s: %s", opt.folder, strerror(errno));

	shape = shape_of(opt.accounts);
	if (opt.verify || opt.die)
		measure_apart(&shape);
	else if (!opt.check)
		measure(&shape);
	if (opt.verify || opt.die || opt.check)
		good = verify_transfers(&shape);
	if (fflush(stdout) || ferror(stdout))
		die("standard output: %s", strerror(errno));
	return good ? 0 : 1;
}
