// SPDX-License-Identifier: GPL-2.0 OR MIT
/*
 * A bank in recoverable memory: the smallest program that does everything.
 *
 * The accounts are an array of numbers in a mapped segment.  Moving coins is
 * one transaction, so coins are never made nor lost, whatever dies and when.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <rvm/rvm.h>
#include <rvm/rvm_engine.h>

#define ACCOUNTS	8
#define COINS		100		/* in each account of a new bank */
#define LOG_LENGTH	(1 << 20)
#define SEGMENT_LENGTH	(1 << 16)

static long *accounts;			/* recoverable memory */
static unsigned long recovered;		/* transactions, when the log was opened */

static void check(rvm_return_t ret, const char *what)
{
	int err = errno;

	if (ret == RVM_SUCCESS)
		return;
	fprintf(stderr, "bank: %s: %s", what, rvm_return(ret));
	fprintf(stderr, ret == RVM_EIO ? ": %s\n" : "\n", strerror(err));
	exit(1);
}

/* Open the log, which recovers, and map the segment. */
static void open_bank(char *log, char *segment, int create)
{
	rvm_options_t options;
	rvm_region_t region;
	rvm_engine_counters_t counters;

	rvm_init_options(&options);
	options.log_dev = log;
	if (create) {
		options.create_log_file = rvm_true;
		options.create_log_size = RVM_MK_OFFSET(0, LOG_LENGTH);
		options.create_log_mode = 0600;
		close(open(segment, O_CREAT | O_EXCL | O_WRONLY, 0600));
	}
	check(RVM_INIT(&options), log);
	check(rvm_get_engine_counters(&counters), "counters");
	recovered = counters.recovered_records;

	rvm_init_region(&region);
	region.data_dev = segment;
	region.dev_length = RVM_MK_OFFSET(0, SEGMENT_LENGTH);	/* an empty file grows to it */
	region.length = SEGMENT_LENGTH;
	check(rvm_map(&region, NULL), segment);
	accounts = (long *)region.vmaddr;
}

static void show(const char *who)
{
	long total = 0;

	printf("%s:", who);
	for (int i = 0; i < ACCOUNTS; i++) {
		printf(" %4ld", accounts[i]);
		total += accounts[i];
	}
	printf("   together %ld\n", total);
}

static void found(void)
{
	rvm_tid_t tid;

	rvm_init_tid(&tid);
	check(rvm_begin_transaction(&tid, restore), "begin");
	check(rvm_set_range(&tid, accounts, ACCOUNTS * sizeof(*accounts)), "set_range");
	for (int i = 0; i < ACCOUNTS; i++)
		accounts[i] = COINS;
	check(rvm_end_transaction(&tid, flush), "end");
}

static void move(int from, int to, long coins, rvm_mode_t mode, int stop)
{
	rvm_tid_t tid;

	rvm_init_tid(&tid);
	check(rvm_begin_transaction(&tid, restore), "begin");
	check(rvm_set_range(&tid, &accounts[from], sizeof(*accounts)), "set_range");
	check(rvm_set_range(&tid, &accounts[to], sizeof(*accounts)), "set_range");
	accounts[from] -= coins;
	if (stop) {
		printf("mover:   took %ld coins out of account %d, and stops before it puts them into account %d\n",
		       coins, from, to);
		pause();
	}
	accounts[to] += coins;
	check(rvm_end_transaction(&tid, mode), "end");
	printf("committed: %ld coins from account %d to account %d%s\n", coins, from, to,
	       mode == flush ? ", on disk" : "");
}

/* Look at the shared memory, and tell every change, until this is killed. */
static void watch(void)
{
	long seen[ACCOUNTS];

	for (;;) {
		memcpy(seen, accounts, sizeof(seen));
		show("watcher");
		while (!memcmp(seen, accounts, sizeof(seen)))
			usleep(10000);
	}
}

static int account(const char *word)
{
	int n = atoi(word);

	if (n < 0 || n >= ACCOUNTS) {
		fprintf(stderr, "bank: accounts are 0..%d\n", ACCOUNTS - 1);
		exit(2);
	}
	return n;
}

int main(int argc, char **argv)
{
	const char *command = argc > 3 ? argv[3] : "";
	int moves = !strcmp(command, "move") || !strcmp(command, "move-fast") || !strcmp(command, "stop");
	int create = !strcmp(command, "new");

	if (argc != (moves ? 7 : 4) ||
	    (!moves && !create && strcmp(command, "show") && strcmp(command, "watch"))) {
		fprintf(stderr, "usage: bank LOG SEGMENT new | show | watch\n"
				"       bank LOG SEGMENT move | move-fast | stop  FROM TO COINS\n\n"
				"  new        make the files, and a bank of %d accounts with %d coins each\n"
				"  show       print the accounts\n"
				"  watch      print them after every change, for ever\n"
				"  move       move coins, committed with flush\n"
				"  move-fast  the same with no_flush\n"
				"  stop       stop in the middle of it, and wait to be killed\n",
			ACCOUNTS, COINS);
		return 2;
	}
	setvbuf(stdout, NULL, _IOLBF, 0);
	open_bank(argv[1], argv[2], create);
	if (recovered && strcmp(command, "watch") && strcmp(command, "stop"))
		printf("recovered %lu transaction%s from the log\n", recovered, recovered == 1 ? "" : "s");
	if (create)
		found();
	if (moves)
		move(account(argv[4]), account(argv[5]), atol(argv[6]),
		     strcmp(command, "move-fast") ? flush : no_flush, !strcmp(command, "stop"));
	else if (!strcmp(command, "watch"))
		watch();
	show(rvm_get_engine());
	check(rvm_terminate(), "terminate");
	return 0;
}
