// SPDX-License-Identifier: GPL-2.0 OR MIT
/*
 * Description: makes a log to look at, for the tests of rvmutl.
 *
 *	commits LOG COUNT SEGMENT...
 *
 * So many transactions, or for ever if COUNT is 0, each with the next number: in
 * every segment it stands at 16, at 24 modulo 10 in one byte, and in 400 bytes from 1000 on as
 * text.  A log or segment that is not there is made.  With a COUNT each is flushed, and
 * stays in the log; for ever, every eighth is, and truncation runs.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <rvm/rvm.h>

#define SEGMENTS_MAX	8

#define TRY(call) do { \
	rvm_return_t code = (call); \
	if (code) { \
		fprintf(stderr, "commits: %s: %s\n", #call, rvm_return(code)); \
		exit(1); \
	} \
} while (0)

static void commit(rvm_region_t *regions, int n, long number, rvm_mode_t mode)
{
	rvm_tid_t tid;
	int i;

	rvm_init_tid(&tid);
	TRY(rvm_begin_transaction(&tid, no_restore));
	for (i = 0; i < n; i++) {
		char *at = regions[i].vmaddr;

		TRY(rvm_modify_bytes(&tid, at + 16, &number, sizeof(number)));
		TRY(rvm_set_range(&tid, at + 24, 1));
		at[24] = (char)(number % 10);
		TRY(rvm_set_range(&tid, at + 1000, 400));
		snprintf(at + 1000, 400, "%0399ld", number);
	}
	TRY(rvm_end_transaction(&tid, mode));
}

int main(int argc, char **argv)
{
	rvm_region_t regions[SEGMENTS_MAX];
	rvm_options_t options;
	long number, count, i;

	if (argc < 4 || argc > 3 + SEGMENTS_MAX) {
		fprintf(stderr, "usage: commits LOG COUNT SEGMENT...\n");
		return 2;
	}
	rvm_init_options(&options);
	options.log_dev = argv[1];
	options.create_log_file = access(argv[1], F_OK) ? rvm_true : rvm_false;
	options.create_log_size = RVM_MK_OFFSET(0, 65536);
	count = strtol(argv[2], NULL, 10);
	/* what is to be looked at stays in the log */
	if (count)
		options.truncate = 0;
	TRY(RVM_INIT(&options));
	for (i = 0; i < argc - 3; i++) {
		close(open(argv[3 + i], O_CREAT | O_RDWR | O_CLOEXEC, 0600));
		rvm_init_region(&regions[i]);
		regions[i].data_dev = argv[3 + i];
		regions[i].dev_length = RVM_MK_OFFSET(0, 4096);
		TRY(rvm_map(&regions[i], NULL));
	}
	memcpy(&number, regions[0].vmaddr + 16, sizeof(number));
	for (i = 0; !count || i < count; i++)
		commit(regions, argc - 3, ++number, count || i % 8 == 0 ? flush : no_flush);
	TRY(rvm_terminate());
	return 0;
}
