// SPDX-License-Identifier: GPL-2.0 OR MIT
/* Description: truncation, asked for, in the background, and when the log is full. */
#include "api.h"

FIXTURE(truncate) {
	struct files f;
	rvm_region_t region;
	char *at;
};

FIXTURE_VARIANT(truncate) {
	unsigned long flags;
	rvm_mode_t mode;
};

FIXTURE_VARIANT_ADD(truncate, flush) { 0, flush };
FIXTURE_VARIANT_ADD(truncate, no_flush) { 0, no_flush };
FIXTURE_VARIANT_ADD(truncate, optimized) { RVM_ALL_OPTIMIZATIONS, no_flush };
FIXTURE_VARIANT_ADD(truncate, map_private) { RVM_MAP_PRIVATE, flush };

FIXTURE_SETUP(truncate)
{
	make_files(_metadata, &self->f);
}

FIXTURE_TEARDOWN(truncate)
{
	remove_files(&self->f);
}

/* Start with a log of that size, truncated by itself at `percent`. */
#define BEGIN(size, percent) do {					\
	rvm_options_t options_;						\
									\
	log_options(&self->f, &options_, (size), variant->flags);	\
	options_.truncate = (percent);					\
	OK(RVM_INIT(&options_));					\
	OK(map_segment(&self->f, &self->region));			\
	self->at = self->region.vmaddr;					\
} while (0)

static rvm_engine_counters_t counters(void)
{
	rvm_engine_counters_t c = { 0 };

	rvm_get_engine_counters(&c);
	return c;
}

static bool log_empty(void)
{
	rvm_options_t options;

	bool empty;

	rvm_init_options(&options);
	empty = !rvm_query(&options, NULL) && options.log_empty;
	free(options.tid_array);
	return empty;
}

TEST_F(truncate, on_request)
{
	rvm_tid_t tid;

	DECLARED_ONLY("stores that are in no transaction");
	BEGIN(MIB, 0);
	OK(rvm_truncate());
	EXPECT_TRUE(log_empty());
	OK(commit_bytes(self->at, 1, 1000, variant->mode));
	OK(rvm_flush());
	EXPECT_FALSE(log_empty());
	EXPECT_LT(0, counters().log_used);

	/* open transactions don't matter, and nothing of theirs is written */
	rvm_init_tid(&tid);
	OK(rvm_begin_transaction(&tid, restore));
	OK(rvm_set_range(&tid, self->at + 900, 200));
	memset(self->at + 900, 2, 200);
	memset(self->at + 2000, 3, 100);	/* undeclared */
	OK(rvm_truncate());
	EXPECT_TRUE(log_empty());
	EXPECT_EQ(0, counters().log_used);
	EXPECT_LE(1, counters().truncations);
	EXPECT_TRUE(file_is(self->f.segment, 0, 1, 1000));
	EXPECT_TRUE(file_is(self->f.segment, 1000, 0, 2000));
	EXPECT_TRUE(all_are(self->at + 900, 2, 200));
	OK(rvm_end_transaction(&tid, variant->mode));
	OK(rvm_truncate());
	EXPECT_TRUE(file_is(self->f.segment, 0, 1, 900));
	EXPECT_TRUE(file_is(self->f.segment, 900, 2, 200));
	EXPECT_TRUE(file_is(self->f.segment, 1100, 0, 2000));
	OK(rvm_terminate());
}

/* The newest of many values for a byte is the one that counts. */
TEST_F(truncate, newest_first)
{
	BEGIN(MIB, 0);
	for (int i = 0; i < 100; i++) {
		OK(commit_bytes(self->at + 10 * (i % 7), i + 1, 100, variant->mode));
	}
	OK(rvm_truncate());
	for (int i = 0; i < 160; i++) {
		ASSERT_TRUE(file_is(self->f.segment, i, self->at[i], 1));
	}
	EXPECT_EQ(99, self->at[0]);
	EXPECT_EQ(100, self->at[99]);
	EXPECT_EQ(98, self->at[159]);
	OK(rvm_terminate());
}

/* Several segments, and regions that are not mapped any more. */
TEST_F(truncate, several_segments)
{
	enum { N = 6 };
	static char names[N][300];
	rvm_region_t r[N];

	BEGIN(MIB, 0);
	for (int i = 0; i < N; i++) {
		snprintf(names[i], sizeof(names[i]), "%s/segment%d", self->f.dir, i);
		ASSERT_TRUE(make_file(names[i], 5000 + i, 9));
		r[i] = region_of(names[i], 0, 0);
		OK(rvm_map(&r[i], NULL));
	}
	for (int i = 0; i < 60; i++) {
		OK(commit_bytes(r[i % N].vmaddr + 50 * i, i, 50, variant->mode));
	}
	for (int i = 0; i < N; i += 2) {
		OK(rvm_unmap(&r[i]));
	}
	OK(rvm_truncate());
	EXPECT_TRUE(log_empty());
	for (int i = 0; i < 60; i++) {
		ASSERT_TRUE(file_is(names[i % N], 50 * i, i, 50));
	}
	for (int i = 0; i < N; i++) {
		EXPECT_TRUE(file_is(names[i], 3000, 9, 2000 + i));
		EXPECT_EQ(5000 + i, file_size(names[i]));
	}
	OK(rvm_terminate());
}

/* More at once than an engine holds in memory, in pieces that share pages, and older ones under them. */
TEST_F(truncate, much_at_once)
{
	enum { N = 160, PIECE = 40000 };

	ASSERT_TRUE(make_file(self->f.segment, N * PIECE, 200));
	BEGIN(16 * MIB, 0);
	for (int i = 0; i < N; i++) {
		OK(commit_bytes(self->at + i * PIECE, 201, 100, variant->mode));
		OK(commit_bytes(self->at + i * PIECE + 10, i, PIECE - 10, variant->mode));
	}
	OK(rvm_truncate());
	EXPECT_TRUE(log_empty());
	for (int i = 0; i < N; i++) {
		ASSERT_TRUE(file_is(self->f.segment, i * PIECE, 201, 10));
		ASSERT_TRUE(file_is(self->f.segment, i * PIECE + 10, i, PIECE - 10));
	}
	OK(rvm_terminate());
}

/* Wait, however long it takes: the harness has a limit. */
#define EVENTUALLY(condition)	while (!(condition)) usleep(1000)

TEST_F(truncate, in_background)
{
	BEGIN(256 * KIB, 30);
	for (int i = 0; counters().log_used < 64 * KIB; i++) {
		OK(commit_bytes(self->at + i % 50 * 4 * KIB, i, 4 * KIB, flush));
	}
	EXPECT_EQ(0, counters().truncations);
	for (int i = 0; i < 5; i++) {
		OK(commit_bytes(self->at, i, 4 * KIB, flush));
	}
	EVENTUALLY(counters().truncations > 0 && counters().log_used < 64 * KIB);
	EXPECT_TRUE(file_is(self->f.segment, 4 * KIB, 1, 4 * KIB));
	OK(rvm_terminate());
}

TEST_F(truncate, threshold_set_later)
{
	rvm_options_t options;

	BEGIN(256 * KIB, 0);
	for (int i = 0; counters().log_used < 200 * KIB; i++) {
		OK(commit_bytes(self->at + i % 50 * 4 * KIB, i, 4 * KIB, flush));
	}
	EXPECT_EQ(0, counters().truncations);
	rvm_init_options(&options);
	options.truncate = 10;
	options.flags = variant->flags;
	OK(rvm_set_options(&options));
	OK(commit_bytes(self->at, 77, 4 * KIB, flush));
	EVENTUALLY(counters().truncations > 0 && counters().log_used < 100 * KIB);
	OK(rvm_truncate());
	EXPECT_TRUE(file_is(self->f.segment, 0, 77, 4 * KIB));
	OK(rvm_terminate());
}

/* Never by itself, but a full log is truncated all the same. */
TEST_F(truncate, full_log)
{
	BEGIN(64 * KIB, 0);
	for (int i = 0; i < 100; i++) {
		OK(commit_bytes(self->at + i % 50 * 4 * KIB, i, 4 * KIB, variant->mode));
	}
	EXPECT_LE(3, counters().truncations);
	OK(rvm_truncate());
	for (int i = 50; i < 100; i++) {
		ASSERT_TRUE(file_is(self->f.segment, i % 50 * 4 * KIB, i, 4 * KIB));
	}
	OK(rvm_terminate());
}

/* A transaction that stays open holds nothing up. */
TEST_F(truncate, long_transaction)
{
	rvm_tid_t tid;

	DECLARED_ONLY("several transactions at a time");
	BEGIN(64 * KIB, 50);
	rvm_init_tid(&tid);
	OK(rvm_begin_transaction(&tid, restore));
	OK(rvm_set_range(&tid, self->at, 20 * KIB));
	memset(self->at, 99, 20 * KIB);
	for (int i = 0; i < 100; i++) {
		OK(commit_bytes(self->at + 20 * KIB + i % 50 * 4 * KIB, i, 4 * KIB,
				variant->mode));
	}
	OK(rvm_truncate());
	EXPECT_TRUE(file_is(self->f.segment, 0, 0, 20 * KIB));
	OK(rvm_end_transaction(&tid, flush));
	OK(rvm_truncate());
	EXPECT_TRUE(file_is(self->f.segment, 0, 99, 20 * KIB));
	EXPECT_TRUE(file_is(self->f.segment, 20 * KIB, 50, 4 * KIB));
	OK(rvm_terminate());
}

static unsigned long log_size, log_flags;
static unsigned int first_seed;

static unsigned int next(unsigned int *seed)
{
	*seed = *seed * 1103515245 + 12345;
	return *seed >> 8;
}

#define COMMITS	80

/* Lengths of all sorts, so that records end and wrap everywhere. */
static void choose(int i, unsigned int *seed, unsigned long *offset, unsigned long *length)
{
	unsigned long most = log_size < 20000 ? log_size - 200 : 20000;

	*length = 1 + next(seed) % (i % 4 ? 300 : most);
	*offset = next(seed) % (256 * KIB - *length);
}

static void commit_all(CHILD_ARGS)
{
	unsigned int seed = first_seed;
	unsigned long offset, length;
	rvm_region_t r;

	OK(start_with(f, log_size, log_flags));
	OK(map_segment(f, &r));
	for (int i = 0; i < COMMITS; i++) {
		choose(i, &seed, &offset, &length);
		OK(commit_bytes(r.vmaddr + offset, i + 1, length, i % 10 ? no_flush : flush));
		if (i % 30 == 29)
			OK(rvm_truncate());
	}
	OK(rvm_flush());
	die(_metadata);
}

static void find_all(CHILD_ARGS)
{
	static char expected[256 * KIB];
	unsigned int seed = first_seed;
	unsigned long offset, length;
	rvm_region_t r;

	for (int i = 0; i < COMMITS; i++) {
		choose(i, &seed, &offset, &length);
		memset(expected + offset, i + 1, length);
	}
	OK(start_with(f, log_size, log_flags));
	OK(map_segment(f, &r));
	ASSERT_EQ(sizeof(expected), r.length);
	EXPECT_EQ(0, memcmp(r.vmaddr, expected, sizeof(expected)));
	OK(rvm_terminate());
}

TEST_F(truncate, wrap_around)
{
	static const unsigned long sizes[] = { 4 * KIB, 8 * KIB, 12 * KIB, 64 * KIB };
	const struct files *f = &self->f;

	FEW_BYTES_ONLY("some are larger than the log");
	log_flags = variant->flags;
	for (unsigned int round = 0; round < 4; round++) {
		log_size = sizes[round];
		first_seed = round + 1;
		CHILD_DIES(commit_all);
		CHILD_OK(find_all);
		ASSERT_EQ(0, unlink(f->log));
		ASSERT_EQ(0, unlink(f->segment));
	}
}

TEST_HARNESS_MAIN
