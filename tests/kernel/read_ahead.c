// SPDX-License-Identifier: GPL-2.0 OR MIT
/*
 * Description: recovery reads many pages of a segment at once.  On a null_blk device
 * whose reads take long, with both engines.
 */
#include "null_blk.h"

#include <rvm/rvm.h>

#define PAGES		32ul
#define APART		5ul	/* one of them from the next: no read-ahead of others finds it */
#define SEGMENT_PAGES	(PAGES * APART)
#define AT_ONCE		8u

FIXTURE(read_ahead) { struct files f; };
FIXTURE_VARIANT(read_ahead) { const char *engine; };
FIXTURE_VARIANT_ADD(read_ahead, kernel) { "kernel" };
FIXTURE_VARIANT_ADD(read_ahead, user) { "user" };

FIXTURE_SETUP(read_ahead)
{
	if (access(NULL_BLK, X_OK))
		SKIP(return, "null_blk is not loaded");
	WORKS(setenv("RVM_ENGINE", variant->engine, 1));
	WORKS(make_files(&self->f, 512 * KIB));
	WORKS(make_slow_device(self->f.segment, "rvmseg", "1", "4096", "64", "100000000"));
}

FIXTURE_TEARDOWN(read_ahead)
{
	EXPECT_EQ(0, remove_device("rvmseg"));
	remove_files(&self->f);
}

/* Ends with what failed. */
#define TRY(call) do {							\
	rvm_return_t code_ = (call);					\
	if (code_) {							\
		fprintf(stderr, "# %s: %s\n", #call, rvm_return(code_));	\
		_exit(1);						\
	}								\
} while (0)

static char *open_and_map(const struct files *f)
{
	rvm_options_t options;
	rvm_region_t region;

	rvm_init_options(&options);
	options.log_dev = (char *)f->log;
	options.truncate = 0;
	TRY(RVM_INIT(&options));
	rvm_init_region(&region);
	region.data_dev = (char *)f->segment;
	region.dev_length = RVM_LENGTH_TO_OFFSET(SEGMENT_PAGES * PAGE);
	region.length = SEGMENT_PAGES * PAGE;
	TRY(rvm_map(&region, NULL));
	return region.vmaddr;
}

/* Each page has a record, and nothing goes to the segment. */
static void commit_and_die(const struct files *f)
{
	char *memory = open_and_map(f);
	unsigned long i;
	rvm_tid_t tid;

	rvm_init_tid(&tid);
	for (i = 0; i < PAGES; i++) {
		TRY(rvm_begin_transaction(&tid, restore));
		TRY(rvm_set_range(&tid, memory + i * APART * PAGE + 10, 20));
		memset(memory + i * APART * PAGE + 10, i + 1, 20);
		TRY(rvm_end_transaction(&tid, no_flush));
	}
	TRY(rvm_flush());
	raise(SIGKILL);
}

static void look(const struct files *f)
{
	char *memory = open_and_map(f);
	unsigned long i;

	for (i = 0; i < PAGES; i++)
		if (!all_are(memory + i * APART * PAGE + 10, i + 1, 20) ||
		    memory[i * APART * PAGE + 9] || memory[i * APART * PAGE + 30])
			_exit(2);
	TRY(rvm_terminate());
	_exit(0);
}

TEST_F(read_ahead, at_once)
{
	unsigned int most = 0, now;
	int status;
	pid_t pid;

	pid = fork();
	if (!pid)
		commit_and_die(&self->f);
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	ASSERT_TRUE(WIFSIGNALED(status));

	/* only recovery reads more than one at a time: what is mapped then is not touched yet */
	pid = fork();
	if (!pid)
		look(&self->f);
	while (!waitpid(pid, &status, WNOHANG)) {
		now = under_way("rvmseg").reads;
		most = now > most ? now : most;
	}
	ASSERT_EQ(0, status);
	ASSERT_LE(AT_ONCE, most);
}

TEST_HARNESS_MAIN
