// SPDX-License-Identifier: GPL-2.0 OR MIT
/*
 * heapload rds|malloc PERCENT: fills a heap of 16 MiB, and then replaces blocks of it
 * at random, one in each transaction; for tests/heapbench, which counts the
 * instructions of measured(). PERCENT over 100: until there is no room.
 */
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <rvm/rds.h>

#define LENGTH	(16ul << 20)
#define STATIC	4096ul
#define BLOCKS	400000
#define ROUNDS	2000

static char *blocks[BLOCKS];
static unsigned int count;
static unsigned long bytes;
static bool recoverable;
static unsigned int seed = 1;

static void check(int failed, const char *what)
{
	if (!failed)
		return;
	fprintf(stderr, "heapload: %s failed\n", what);
	exit(1);
}

static unsigned long random_size(void)
{
	return rand_r(&seed) % 100 ? 16 + rand_r(&seed) % 500 : rand_r(&seed) % 10000;
}

static char *allocate(unsigned long size, rvm_tid_t *tid)
{
	return recoverable ? rds_malloc(size, tid, NULL) : malloc(size);
}

static void start(void)
{
	rvm_offset_t length = RVM_LENGTH_TO_OFFSET(LENGTH + STATIC + RVM_PAGE_SIZE);
	rvm_options_t o;
	FILE *file = fopen("segment", "w");

	check(!file || fclose(file), "making a segment");
	rvm_init_options(&o);
	o.log_dev = "log";
	o.create_log_file = rvm_true;
	o.create_log_size = RVM_LENGTH_TO_OFFSET(16ul << 20);
	check(RVM_INIT(&o), "rvm_initialize");
	check(rds_zap_heap("segment", length, (char *)0x200000000000, STATIC, LENGTH, 32, 32, NULL),
	      "rds_zap_heap");
	check(rds_load_heap("segment", length, NULL, NULL), "rds_load_heap");
}

static void fill(unsigned int percent)
{
	unsigned long size;

	while (count < BLOCKS && bytes < LENGTH / 100 * percent) {
		size = random_size();
		blocks[count] = allocate(size, NULL);
		if (!blocks[count])
			return;
		/* what it has of the heap */
		bytes += (size + 24 + 31) / 32 * 32;
		count++;
	}
}

/* noinline: it is found by name */
void __attribute__((noinline)) measured(void);
void measured(void)
{
	for (int i = 0; i < ROUNDS; i++) {
		char **block = &blocks[rand_r(&seed) % count];
		unsigned long size = random_size();
		rvm_tid_t tid;

		if (!recoverable) {
			free(*block);
			*block = malloc(size);
			continue;
		}
		rvm_init_tid(&tid);
		check(rvm_begin_transaction(&tid, restore), "begin");
		check(*block && rds_free(*block, &tid, NULL), "rds_free");
		*block = rds_malloc(size, &tid, NULL);
		check(rvm_end_transaction(&tid, no_flush), "end");
	}
}

int main(int argc, char **argv)
{
	check(argc != 3, "the command line");
	recoverable = !strcmp(argv[1], "rds");
	if (recoverable)
		start();
	fill(atoi(argv[2]));
	measured();
	printf("%d %u\n", ROUNDS, count);
	return 0;
}
