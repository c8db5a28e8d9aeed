// SPDX-License-Identifier: GPL-2.0 OR MIT
/*
 * What the steps of a transaction take: rvm_begin_transaction, the stores (with
 * rvm_set_range where changes are declared), rvm_end_transaction; as in the tables
 * of Saito and Bershad, "A Transactional Memory Service in an Extensible
 * Operating System", 1998.  The time that reading the clock takes is taken off.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "tools/rvmbench/rvmbench.h"

#define PAGE		4096u
#define PAGES_MAX	512u
#define ROUNDS		50u		/* a table's cell is their mean */
#define QUIET		4u		/* so many transactions leave a page cold */

struct steps {
	uint64_t begin, store, end;
};

static uint64_t clock_takes;

static void calibrate(void)
{
	uint64_t began = now_ns(), i;

	for (i = 0; i < 1000; i++)
		now_ns();
	clock_takes = (now_ns() - began) / i;
}

static uint64_t since(uint64_t *at)
{
	uint64_t now = now_ns(), took = now - *at;

	*at = now;
	return took > clock_takes ? took - clock_takes : 0;
}

/* One transaction changes so many bytes at the beginning of each of so many pages. */
static void transaction(char *memory, unsigned int pages, unsigned int bytes, int value,
			struct steps *steps)
{
	rvm_tid_t tid;
	uint64_t at;

	rvm_init_tid(&tid);
	at = now_ns();
	check(rvm_begin_transaction(&tid, restore), "rvm_begin_transaction", NULL);
	steps->begin += since(&at);
	for (unsigned int i = 0; i < pages; i++) {
		char *page = memory + i * PAGE;

		declare(&tid, page, bytes);
		memset(page, value, bytes);
	}
	steps->store += since(&at);
	check(rvm_end_transaction(&tid, commit_modes[opt.commit]), "rvm_end_transaction", NULL);
	steps->end += since(&at);
}

static void print(const char *event, unsigned int pages, unsigned int bytes, unsigned int rounds,
		  const struct steps *steps)
{
	if (!opt.json) {
		printf("%-12s %4u pages, %4u bytes in each: begin %9" PRIu64 ", store %9" PRIu64 ", end %9" PRIu64 " ns\n",
		       event, pages, bytes, steps->begin / rounds, steps->store / rounds,
		       steps->end / rounds);
		return;
	}
	putchar('{');
	print_json_string("engine", rvm_get_engine());
	print_json_string("commit", commit_names[opt.commit]);
	print_tracking();
	print_json_string("event", event);
	printf("\"pages\":%u,\"bytes\":%u,\"begin_ns\":%" PRIu64 ",\"store_ns\":%" PRIu64 ",\"end_ns\":%" PRIu64 "}\n",
	       pages, bytes, steps->begin / rounds, steps->store / rounds, steps->end / rounds);
}

/* Stores of the transactions before are forgotten: by the tracking, and by what truncates. */
static void rest(char *memory, bool truncate)
{
	struct steps unused = { 0 };

	for (unsigned int i = 0; i < QUIET; i++)
		transaction(memory, 0, 0, 0, &unused);
	for (unsigned int i = 0; truncate && i < 2; i++)
		check(rvm_truncate(), "rvm_truncate", NULL);
}

/* The same pages in each round. */
static void steady(char *memory, unsigned int pages, unsigned int bytes)
{
	struct steps unused = { 0 }, steps = { 0 };

	rest(memory, true);
	transaction(memory, pages, bytes, 1, &unused);
	transaction(memory, pages, bytes, 2, &unused);
	for (unsigned int i = 0; i < ROUNDS; i++) {
		transaction(memory, pages, bytes, i, &steps);
		/* so that the log has room */
		if (pages > 8 && i % 8 == 7)
			check(rvm_flush(), "rvm_flush", NULL);
	}
	print("commit", pages, bytes, ROUNDS, &steps);
}

/* One page's first store in a while: since it was protected, or since truncation wrote it. */
static void first_store(char *memory, const char *event, bool truncate)
{
	struct steps steps = { 0 };

	for (unsigned int i = 0; i < ROUNDS; i++) {
		rest(memory, truncate);
		transaction(memory, 1, 8, i + 1, &steps);
	}
	print(event, 1, 8, ROUNDS, &steps);
}

static void read_only(char *memory)
{
	struct steps steps = { 0 };

	rest(memory, false);
	for (unsigned int i = 0; i < ROUNDS; i++)
		transaction(memory, 0, 0, 0, &steps);
	print("read_only", 0, 0, ROUNDS, &steps);
}

void measure_events(char *memory)
{
	static const unsigned int pages[] = { 1, 8, 64, 512 }, bytes[] = { 8, 256, 4096 };
	volatile char sum = 0;

	/* what reading the segment takes is not the question */
	for (unsigned int i = 0; i < PAGES_MAX; i++)
		sum += memory[i * PAGE];
	calibrate();
	read_only(memory);
	first_store(memory, "first_cold", true);
	first_store(memory, "first_warm", false);
	for (unsigned int i = 0; i < sizeof(pages) / sizeof(pages[0]); i++)
		for (unsigned int k = 0; k < sizeof(bytes) / sizeof(bytes[0]); k++)
			steady(memory, pages[i], bytes[k]);
}
