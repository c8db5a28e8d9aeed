// SPDX-License-Identifier: GPL-2.0 OR MIT
/*
 * Undo: a transaction that can't be finished never was.
 *
 *	warehouse FOLDER [crash]
 *
 * Stock leaves a warehouse by the order.  An order is taken item by item, and that
 * one of them is short shows only in the middle: then abort puts back all that was
 * taken before.  With `crash` the program kills itself in the middle of an order
 * instead, and the next run finds that this order never was.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <rvm/rvm.h>

enum { BOLTS, NUTS, GEARS, ITEMS };

static const char *const names[ITEMS] = { "bolts", "nuts", "gears" };

struct warehouse {
	long filled;			/* once: 0 in a new segment */
	long stock[ITEMS];
};

static struct warehouse *warehouse;	/* recoverable memory */

static void check(rvm_return_t code, const char *what)
{
	if (code) {
		fprintf(stderr, "warehouse: %s: %s\n", what,
			code == RVM_EIO ? strerror(errno) : rvm_return(code));
		exit(1);
	}
}

static void open_warehouse(const char *folder)
{
	char log[512], segment[512];
	rvm_options_t options;
	rvm_region_t region;

	snprintf(log, sizeof(log), "%s/warehouse.log", folder);
	snprintf(segment, sizeof(segment), "%s/warehouse.segment", folder);
	rvm_init_options(&options);
	options.log_dev = log;
	options.create_log_file = access(log, F_OK) ? rvm_true : rvm_false;
	options.create_log_size = RVM_MK_OFFSET(0, 1 << 20);
	check(RVM_INIT(&options), log);

	close(open(segment, O_CREAT | O_RDWR | O_CLOEXEC, 0600));
	rvm_init_region(&region);
	region.data_dev = segment;
	region.dev_length = RVM_MK_OFFSET(0, sizeof(struct warehouse));
	check(rvm_map(&region, NULL), segment);
	if (region.length < sizeof(struct warehouse))
		check(RVM_EOFFSET, segment);
	warehouse = (struct warehouse *)region.vmaddr;
}

static void show(const char *when)
{
	printf("%-22s", when);
	for (int i = 0; i < ITEMS; i++)
		printf(" %3ld %s", warehouse->stock[i], names[i]);
	printf("\n");
	fflush(stdout);
}

static void fill(void)
{
	static const struct warehouse full = { 1, { 100, 100, 10 } };
	rvm_tid_t tid;

	rvm_init_tid(&tid);
	/* never aborted, so no old values need to be kept */
	check(rvm_begin_transaction(&tid, no_restore), "begin");
	check(rvm_modify_bytes(&tid, warehouse, &full, sizeof(full)), "fill");
	check(rvm_end_transaction(&tid, flush), "commit");
}

static void order(const char *who, const long *wanted, int crash)
{
	int item;
	rvm_tid_t tid;

	rvm_init_tid(&tid);
	check(rvm_begin_transaction(&tid, restore), "begin");
	for (item = 0; item < ITEMS && warehouse->stock[item] >= wanted[item]; item++) {
		check(rvm_set_range(&tid, &warehouse->stock[item], sizeof(long)), "order");
		warehouse->stock[item] -= wanted[item];
	}
	if (crash) {
		show("in the middle:");
		raise(SIGKILL);
	}
	if (item < ITEMS) {
		show("in the middle:");
		check(rvm_abort_transaction(&tid), "abort");
		printf("%s: not enough %s, undone\n", who, names[item]);
	} else {
		check(rvm_end_transaction(&tid, flush), "commit");
		printf("%s: delivered\n", who);
	}
	show("");
}

int main(int argc, char **argv)
{
	static const long small[ITEMS] = { 8, 8, 2 }, large[ITEMS] = { 40, 40, 20 };

	if (argc < 2) {
		fprintf(stderr, "usage: warehouse FOLDER [crash]\n");
		return 2;
	}
	open_warehouse(argv[1]);
	if (!warehouse->filled)
		fill();
	show("at the beginning:");
	order("a small order", small, argc > 2);
	order("a large order", large, 0);
	check(rvm_terminate(), "terminate");
	return 0;
}
