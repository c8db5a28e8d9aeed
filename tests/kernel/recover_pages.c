// SPDX-License-Identifier: GPL-2.0 OR MIT
/*
 * Description: the pages that recovery reads and writes: many at once, in order, and
 * none in vain.  On a null_blk device whose requests take long, with both engines.
 */
#include "null_blk.h"

#include <rvm/rvm.h>

#define PAGES		32ul
#define APART		6ul	/* one of them from the next: no read-ahead of others finds it */
#define SEGMENT_PAGES	(PAGES * APART)
#define AT_ONCE		8u
#define FEW		16u	/* requests, for all of the segment's pages */

FIXTURE(recover_pages) { struct files f; };
FIXTURE_VARIANT(recover_pages) { const char *engine; };
FIXTURE_VARIANT_ADD(recover_pages, kernel) { "kernel" };
FIXTURE_VARIANT_ADD(recover_pages, user) { "user" };

FIXTURE_SETUP(recover_pages)
{
	if (access(NULL_BLK, X_OK))
		SKIP(return, "null_blk is not loaded");
	WORKS(setenv("RVM_ENGINE", variant->engine, 1));
	WORKS(make_files(&self->f, 2 * MIB));
	WORKS(make_slow_device(self->f.segment, "rvmseg", "1", "4096", "64", "100000000"));
}

FIXTURE_TEARDOWN(recover_pages)
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

static void open_log(const struct files *f)
{
	rvm_options_t options;

	rvm_init_options(&options);
	options.log_dev = (char *)f->log;
	options.truncate = 0;
	TRY(RVM_INIT(&options));
}

static char *map_all(const struct files *f)
{
	rvm_region_t region;

	rvm_init_region(&region);
	region.data_dev = (char *)f->segment;
	region.dev_length = RVM_LENGTH_TO_OFFSET(SEGMENT_PAGES * PAGE);
	region.length = SEGMENT_PAGES * PAGE;
	TRY(rvm_map(&region, NULL));
	return region.vmaddr;
}

/* Which pages have records, and where in the page. */
struct records {
	unsigned long pages;
	unsigned long apart;
	unsigned int offset, length;
};

static char *place(char *memory, const struct records *r, unsigned long i)
{
	/* 37 has no factor with the numbers of pages: each once, neighbours far from each other */
	return memory + i * 37 % r->pages * r->apart * PAGE + r->offset;
}

/* Nothing goes to the segment. */
static void commit_and_die(const struct files *f, const struct records *r)
{
	unsigned long i;
	rvm_tid_t tid;
	char *memory;

	open_log(f);
	memory = map_all(f);
	rvm_init_tid(&tid);
	for (i = 0; i < r->pages; i++) {
		char *at = place(memory, r, i);

		TRY(rvm_begin_transaction(&tid, restore));
		TRY(rvm_set_range(&tid, at, r->length));
		memset(at, i + 1, r->length);
		TRY(rvm_end_transaction(&tid, no_flush));
	}
	TRY(rvm_flush());
	raise(SIGKILL);
}

/* What the segment's device did for a recovery, and how many reads at once. */
struct recovery {
	struct requests done;
	unsigned int at_once;
};

static void recover_and_look(const struct files *f, const struct records *r, struct requests *done)
{
	struct requests before = requests("rvmseg");
	unsigned long i;
	char *memory;

	open_log(f);
	*done = requests_since("rvmseg", &before);
	memory = map_all(f);
	for (i = 0; i < r->pages; i++) {
		char *at = place(memory, r, i), *page = at - r->offset;

		if (!all_are(at, i + 1, r->length) || !all_are(page, 0, r->offset) ||
		    !all_are(at + r->length, 0, page + PAGE - at - r->length))
			_exit(2);
	}
	TRY(rvm_terminate());
	_exit(0);
}

/* One that has such records and is killed, and one that recovers. */
static struct recovery recover_after(struct __test_metadata *_metadata, const struct files *f,
				     const struct records *r)
{
	struct recovery *recovery = shared_memory(PAGE);
	unsigned int now;
	int status;
	pid_t pid;

	pid = fork();
	if (!pid)
		commit_and_die(f, r);
	EXPECT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_TRUE(WIFSIGNALED(status));
	pid = fork();
	if (!pid)
		recover_and_look(f, r, &recovery->done);
	while (!waitpid(pid, &status, WNOHANG)) {
		now = under_way("rvmseg").reads;
		if (now > recovery->at_once)
			recovery->at_once = now;
	}
	EXPECT_EQ(0, status);
	return *recovery;
}

TEST_F(recover_pages, at_once)
{
	const struct records r = { PAGES, APART, 10, 20 };

	/* only recovery reads more than one at a time: what is mapped then is not touched yet */
	ASSERT_LE(AT_ONCE, recover_after(_metadata, &self->f, &r).at_once);
}

TEST_F(recover_pages, in_order)
{
	const struct records r = { SEGMENT_PAGES, 1, 10, 20 };
	struct requests done = recover_after(_metadata, &self->f, &r).done;

	ASSERT_LE(1, done.reads);
	ASSERT_GE(FEW, done.reads);
	ASSERT_LE(1, done.writes);
	ASSERT_GE(FEW, done.writes);
}

/* What is written as a whole is not read. */
TEST_F(recover_pages, whole_pages)
{
	const struct records r = { SEGMENT_PAGES, 1, 0, PAGE };
	struct requests done = recover_after(_metadata, &self->f, &r).done;

	ASSERT_EQ(0, done.reads);
	ASSERT_LE(1, done.writes);
	ASSERT_GE(FEW, done.writes);
}

TEST_HARNESS_MAIN
