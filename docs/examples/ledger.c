// SPDX-License-Identifier: GPL-2.0 OR MIT
/*
 * A forgotten rvm_set_range, and how check mode finds it.
 *
 *	ledger FOLDER add AMOUNT [forget]
 *	ledger FOLDER show
 *
 * A ledger has entries and their sum.  With `forget` the sum is changed, but not
 * declared: the program that does it sees the right sum, and the next one the old.
 *
 *	$ ledger . add 5
 *	1 entries, sum 5
 *	$ ledger . add 7 forget
 *	2 entries, sum 12
 *	$ ledger . show
 *	2 entries, sum 5
 *
 * Nothing but a look at the sum tells.  Run it so in the program's own tests:
 *
 *	$ RVM_TRACKING=check RVM_CHECK=abort ledger . add 7 forget
 *	rvm: undeclared change of 1 bytes at 0x7f..., segment .../ledger.segment offset 8,
 *	found by rvm_end_transaction at ledger(+0x...)
 *	Aborted
 *
 * The offset says that it is the sum.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <rvm/rvm.h>

#define ENTRIES	1000

struct ledger {
	long count;
	long sum;			/* of all entries */
	long entry[ENTRIES];
};

static struct ledger *ledger;		/* recoverable memory */

static void check(rvm_return_t code, const char *what)
{
	if (code) {
		fprintf(stderr, "ledger: %s: %s\n", what,
			code == RVM_EIO ? strerror(errno) : rvm_return(code));
		exit(1);
	}
}

static void open_ledger(const char *folder)
{
	char log[512], segment[512];
	rvm_options_t options;
	rvm_region_t region;

	snprintf(log, sizeof(log), "%s/ledger.log", folder);
	snprintf(segment, sizeof(segment), "%s/ledger.segment", folder);
	rvm_init_options(&options);
	options.log_dev = log;
	options.create_log_file = access(log, F_OK) ? rvm_true : rvm_false;
	options.create_log_size = RVM_MK_OFFSET(0, 1 << 20);
	check(RVM_INIT(&options), log);

	close(open(segment, O_CREAT | O_RDWR | O_CLOEXEC, 0600));
	rvm_init_region(&region);
	region.data_dev = segment;
	region.dev_length = RVM_MK_OFFSET(0, sizeof(struct ledger));
	check(rvm_map(&region, NULL), segment);
	if (region.length < sizeof(struct ledger))
		check(RVM_EOFFSET, segment);
	ledger = (struct ledger *)region.vmaddr;
}

static void add(long amount, int forget)
{
	long *entry = &ledger->entry[ledger->count];
	rvm_tid_t tid;

	if (ledger->count < 0 || ledger->count >= ENTRIES) {
		fprintf(stderr, "ledger: it is full\n");
		exit(1);
	}
	rvm_init_tid(&tid);
	check(rvm_begin_transaction(&tid, restore), "rvm_begin_transaction");
	check(rvm_set_range(&tid, &ledger->count, sizeof(ledger->count)), "rvm_set_range");
	check(rvm_set_range(&tid, entry, sizeof(*entry)), "rvm_set_range");
	if (!forget)
		check(rvm_set_range(&tid, &ledger->sum, sizeof(ledger->sum)), "rvm_set_range");
	*entry = amount;
	ledger->sum += amount;
	ledger->count++;
	check(rvm_end_transaction(&tid, flush), "rvm_end_transaction");
}

static int misused(void)
{
	fprintf(stderr, "usage: ledger FOLDER add AMOUNT [forget] | ledger FOLDER show\n");
	return 2;
}

int main(int argc, char **argv)
{
	int adds = argc >= 4 && !strcmp(argv[2], "add"), forget = argc == 5;
	char *end = NULL;
	long amount = adds ? strtol(argv[3], &end, 10) : 0;

	if (adds ? end == argv[3] || *end || argc > 5 || (forget && strcmp(argv[4], "forget")) :
		   argc != 3 || strcmp(argv[2], "show"))
		return misused();
	open_ledger(argv[1]);
	if (adds)
		add(amount, forget);
	printf("%ld entries, sum %ld\n", ledger->count, ledger->sum);
	check(rvm_terminate(), "rvm_terminate");
	return fflush(stdout) ? 1 : 0;
}
