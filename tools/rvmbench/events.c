// SPDX-License-Identifier: GPL-2.0 OR MIT
/*
 * What the steps of a transaction take: rvm_begin_transaction, the stores (with
 * rvm_set_range where changes are declared), rvm_end_transaction; as in the tables
 * of Saito and Bershad, "A Transactional Memory Service in an Extensible
 * Operating System", 1998.  The time that reading the clock takes is taken off.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/param.h>

#include "tools/rvmbench/rvmbench.h"

#define PAGE		4096u
#define ROUNDS		50u		/* a table's cell is their median: the same on each run */
#define ROUNDS_LARGE	10u		/* of transactions that change many pages */
#define LARGE		64u
#define TRUNCATE_EVERY	10u		/* rounds after which the log is truncated */
#define QUIET		4u		/* so many transactions leave a page cold */

struct steps {
	uint64_t begin, declare, store, end;
};

static struct steps rounds[ROUNDS];
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
	steps->begin = since(&at);
	for (unsigned int i = 0; i < pages && !tracked(); i++)
		declare(&tid, memory + i * PAGE, bytes);
	steps->declare = since(&at);
	for (unsigned int i = 0; i < pages; i++)
		memset(memory + i * PAGE, value, bytes);
	steps->store = since(&at);
	check(rvm_end_transaction(&tid, commit_modes[opt.commit]), "rvm_end_transaction", NULL);
	steps->end = since(&at);
}

static int compare(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

/* Of one step, which is so many bytes into struct steps, in the first n rounds. */
static uint64_t median(size_t step, unsigned int n)
{
	uint64_t values[ROUNDS] = { 0 };

	for (unsigned int i = 0; i < n; i++)
		memcpy(&values[i], (char *)&rounds[i] + step, sizeof(values[i]));
	qsort(values, n, sizeof(values[0]), compare);
	return values[n / 2];
}

static void print(const char *event, unsigned int pages, unsigned int bytes, unsigned int n,
		  uint64_t truncation)
{
	uint64_t begin = median(offsetof(struct steps, begin), n);
	uint64_t declaring = median(offsetof(struct steps, declare), n);
	uint64_t store = median(offsetof(struct steps, store), n);
	uint64_t end = median(offsetof(struct steps, end), n);

	if (!opt.json) {
		printf("%-12s %4u pages, %7u bytes in each: begin %9" PRIu64 ", declare %9" PRIu64 ", store %9" PRIu64
		       ", end %9" PRIu64 ", truncation %9" PRIu64 " ns\n",
		       event, pages, bytes, begin, declaring, store, end, truncation);
		return;
	}
	putchar('{');
	print_json_string("engine", rvm_get_engine());
	print_json_string("commit", commit_names[opt.commit]);
	print_tracking();
	print_json_string("event", event);
	printf("\"pages\":%u,\"bytes\":%u,\"begin_ns\":%" PRIu64 ",\"declare_ns\":%" PRIu64 ",\"store_ns\":%" PRIu64
	       ",\"end_ns\":%" PRIu64 ",\"truncate_ns\":%" PRIu64 "}\n",
	       pages, bytes, begin, declaring, store, end, truncation);
}

/* Stores of the transactions before are forgotten: by the tracking, and by what truncates. */
static void rest(char *memory, bool truncate)
{
	struct steps unused;

	for (unsigned int i = 0; i < QUIET; i++)
		transaction(memory, 0, 0, 0, &unused);
	for (unsigned int i = 0; truncate && i < 2; i++)
		check(rvm_truncate(), "rvm_truncate", NULL);
}

/* What truncating takes for each of the transactions since it was done last. */
static uint64_t truncation(void)
{
	uint64_t at;

	check(rvm_flush(), "rvm_flush", NULL);
	at = now_ns();
	check(rvm_truncate(), "rvm_truncate", NULL);
	return since(&at) / TRUNCATE_EVERY;
}

/* The same pages in each round. */
static void steady(char *memory, const char *event, unsigned int pages, unsigned int bytes)
{
	unsigned int n = pages >= LARGE || bytes >= LARGE * PAGE ? ROUNDS_LARGE : ROUNDS;
	uint64_t truncations[ROUNDS / TRUNCATE_EVERY] = { 0 };
	struct steps unused;

	rest(memory, true);
	transaction(memory, pages, bytes, 1, &unused);
	transaction(memory, pages, bytes, 2, &unused);
	check(rvm_truncate(), "rvm_truncate", NULL);
	for (unsigned int i = 0; i < n; i++) {
		transaction(memory, pages, bytes, i, &rounds[i]);
		if (i % TRUNCATE_EVERY == TRUNCATE_EVERY - 1)
			truncations[i / TRUNCATE_EVERY] = truncation();
	}
	qsort(truncations, n / TRUNCATE_EVERY, sizeof(truncations[0]), compare);
	print(event, pages, bytes, n, truncations[n / TRUNCATE_EVERY / 2]);
}

/* One page's first store in a while: since it was protected, or since truncation wrote it. */
static void first_store(char *memory, const char *event, bool truncate)
{
	for (unsigned int i = 0; i < ROUNDS; i++) {
		rest(memory, truncate);
		transaction(memory, 1, 8, i + 1, &rounds[i]);
	}
	print(event, 1, 8, ROUNDS, 0);
}

static void read_only(char *memory)
{
	rest(memory, false);
	for (unsigned int i = 0; i < ROUNDS; i++)
		transaction(memory, 0, 0, 0, &rounds[i]);
	print("read_only", 0, 0, ROUNDS, 0);
}

void measure_events(char *memory)
{
	static const unsigned int pages[] = { 1, 8, 64, 512 }, bytes[] = { 8, 256, 4096 };
	static const unsigned int lengths[] = { 8, 64, 512, 4096, 32768, 262144, 1048576 };
	volatile char sum = 0;

	/* what reading the segment takes is not the question */
	for (unsigned int i = 0; i < EVENTS_PAGES; i++)
		sum += memory[i * PAGE];
	calibrate();
	read_only(memory);
	first_store(memory, "first_cold", true);
	first_store(memory, "first_warm", false);
	for (unsigned int i = 0; i < sizeof(pages) / sizeof(pages[0]); i++)
		for (unsigned int k = 0; k < sizeof(bytes) / sizeof(bytes[0]) && pages[i] <= opt.events; k++)
			steady(memory, "commit", pages[i], bytes[k]);
	/* one piece of 8 bytes to 1 MiB */
	for (unsigned int i = 0; i < sizeof(lengths) / sizeof(lengths[0]) && lengths[i] <= opt.events * PAGE; i++)
		steady(memory, "length", 1, lengths[i]);
}
