// SPDX-License-Identifier: GPL-2.0 OR MIT
/*
 * Description: coalescing: commits that wait for a flush become one record, which
 * holds what they came to; runs end where they must; and commits age no longer than
 * the flush interval.
 */
#include "kernel.h"

FIXTURE(coalesce) { struct world w; };

static int set_coalesce(int log, unsigned int on)
{
	struct rvm_ioc_options a = {
		.size = sizeof(a), .flags = RVM_OPTION_COALESCE, .coalesce = on,
	};

	return ioctl(log, RVM_IOC_SET_OPTIONS, &a);
}

static int set_interval(int log, unsigned int milliseconds)
{
	struct rvm_ioc_options a = {
		.size = sizeof(a), .flags = RVM_OPTION_FLUSH_INTERVAL,
		.flush_interval = milliseconds,
	};

	return ioctl(log, RVM_IOC_SET_OPTIONS, &a);
}

FIXTURE_SETUP(coalesce)
{
	WORKS(make_world(&self->w, 256 * KIB));
	WORKS(set_truncate(self->w.log, 0));
	WORKS(set_coalesce(self->w.log, 1));
}

FIXTURE_TEARDOWN(coalesce)
{
	close_world(&self->w);
	remove_files(&self->w.f);
}

static int commit_bytes(struct world *w, unsigned long offset, int value, uint32_t length,
			uint32_t flags)
{
	set(w->area, w->memory + offset, value, length);
	return commit(w->log, w->area, flags);
}

/* The sequence number of a commit that says nothing new. */
static uint64_t sequence(struct world *w)
{
	struct rvm_ioc_commit a = { .size = sizeof(a), .area = w->area->area };

	set(w->area, w->memory + LENGTH - 1, 0, 1);
	return ioctl(w->log, RVM_IOC_COMMIT, &a) ? ~0ull : a.sequence;
}

/* Close the log, and open it again: how many records it had. */
static long records_after_closing(struct world *w)
{
	struct rvm_ioc_segment_name entry = { .records = ~0ull };
	int log;

	close_world(w);
	log = attach(w->f.log);
	if (log < 0 || !find_name(log, w->f.segment, &entry) || open_world(w))
		return -1;
	close(log);
	set_truncate(w->log, 0);
	set_coalesce(w->log, 1);
	return entry.records;
}

/* What overwrites what, in order, stands once. */
TEST_F(coalesce, one_record)
{
	struct world *w = &self->w;
	uint64_t first = sequence(w), writes = query(w->log).log_writes;
	unsigned int i;

	for (i = 1; i <= 200; i++) {
		WORKS(commit_bytes(w, 100, i, 50, 0));
		WORKS(commit_bytes(w, 1000 + i * 10, i, 10, 0));
		WORKS(commit_bytes(w, 110, i + 1, 7, 0));
		WORKS(commit_bytes(w, PAGE - 4, i, 8, 0));
	}
	EXPECT_EQ(writes, query(w->log).log_writes);
	WORKS(flush_log(w->log));
	EXPECT_EQ(writes + 1, query(w->log).log_writes);
	EXPECT_GE(12 * KIB, query(w->log).log_used);
	ASSERT_EQ(1, records_after_closing(w));
	EXPECT_TRUE(all_are(w->memory, 0, 100));
	EXPECT_TRUE(all_are(w->memory + 100, 200, 10));
	EXPECT_TRUE(all_are(w->memory + 110, 201, 7));
	EXPECT_TRUE(all_are(w->memory + 117, 200, 33));
	EXPECT_TRUE(all_are(w->memory + PAGE - 4, 200, 8));
	for (i = 1; i <= 200; i++)
		EXPECT_TRUE(all_are(w->memory + 1000 + i * 10, i, 10));
	EXPECT_EQ(first + 801, sequence(w));
}

/* A commit that is flushed is part of the run that it ends, and alone begins none. */
TEST_F(coalesce, flush_commit)
{
	struct world *w = &self->w;
	unsigned int i;

	for (i = 0; i < 10; i++)
		WORKS(commit_bytes(w, i, 1, 8, 0));
	WORKS(commit_bytes(w, 4, 2, 8, RVM_COMMIT_FLUSH));
	WORKS(commit_bytes(w, 8, 3, 8, RVM_COMMIT_FLUSH));
	ASSERT_EQ(2, records_after_closing(w));
	EXPECT_TRUE(all_are(w->memory, 1, 4));
	EXPECT_TRUE(all_are(w->memory + 4, 2, 4));
	EXPECT_TRUE(all_are(w->memory + 8, 3, 8));
	EXPECT_TRUE(all_are(w->memory + 16, 1, 1));
}

/* Runs are bounded, and a transaction beyond that is a record of its own. */
TEST_F(coalesce, bounds)
{
	struct world *w = &self->w;
	unsigned long i;

	for (i = 0; i < 16; i++)
		WORKS(commit_bytes(w, i * PAGE, i + 1, PAGE - 200, 0));
	WORKS(commit_bytes(w, 100, 99, 48 * KIB, 0));
	WORKS(commit_bytes(w, 200, 98, 10, 0));
	i = records_after_closing(w);
	EXPECT_LE(4, i);
	EXPECT_GE(8, i);
	EXPECT_TRUE(all_are(w->memory, 1, 100));
	EXPECT_TRUE(all_are(w->memory + 100, 99, 100));
	EXPECT_TRUE(all_are(w->memory + 200, 98, 10));
	EXPECT_TRUE(all_are(w->memory + 210, 99, 48 * KIB - 110));
	EXPECT_TRUE(all_are(w->memory + 15 * PAGE, 16, PAGE - 200));
}

/* More than the log has room for goes on, and many small ranges, too. */
TEST_F(coalesce, full_log)
{
	struct world *w = &self->w;
	unsigned long i, at;

	for (i = 1; i <= 200; i++) {
		for (at = 0; at < LENGTH; at += 256)
			set(w->area, w->memory + at + i % 8, i, 1);
		WORKS(commit(w->log, w->area, 0));
		if (i % 10 == 0)
			WORKS(commit_bytes(w, 128, i, 100, RVM_COMMIT_FLUSH));
	}
	EXPECT_LT(0, query(w->log).truncations);
	ASSERT_LT(0, records_after_closing(w));
	for (at = 0; at < LENGTH; at += 256)
		for (i = 193; i <= 200; i++)
			ASSERT_EQ((char)i, w->memory[at + i % 8]) TH_LOG("at %lu", at);
	EXPECT_TRUE(all_are(w->memory + 128, 200, 100));
}

/* Truncation takes along what waits, and what comes then is a new run. */
TEST_F(coalesce, truncation)
{
	struct world *w = &self->w;

	WORKS(commit_bytes(w, 0, 1, 100, 0));
	WORKS(commit_bytes(w, 50, 2, 100, 0));
	WORKS(truncate_log(w->log));
	EXPECT_EQ(0, query(w->log).log_used);
	EXPECT_TRUE(file_is(w->f.segment, 50, 2, 100));
	WORKS(commit_bytes(w, 0, 3, 10, 0));
	WORKS(commit_bytes(w, 5, 4, 10, 0));
	ASSERT_EQ(1, records_after_closing(w));
	EXPECT_TRUE(all_are(w->memory, 3, 5));
	EXPECT_TRUE(all_are(w->memory + 5, 4, 10));
	EXPECT_TRUE(all_are(w->memory + 15, 1, 35));
	EXPECT_TRUE(all_are(w->memory + 50, 2, 100));
}

/* That ends a run, as often as it is done. */
TEST_F(coalesce, switched_off)
{
	struct world *w = &self->w;

	WORKS(commit_bytes(w, 0, 1, 10, 0));
	WORKS(commit_bytes(w, 0, 2, 10, 0));
	WORKS(set_coalesce(w->log, 0));
	WORKS(set_coalesce(w->log, 0));
	WORKS(commit_bytes(w, 0, 3, 10, 0));
	WORKS(commit_bytes(w, 5, 4, 10, 0));
	WORKS(set_coalesce(w->log, 1));
	WORKS(set_coalesce(w->log, 1));
	WORKS(commit_bytes(w, 10, 5, 10, 0));
	WORKS(commit_bytes(w, 10, 6, 5, 0));
	ASSERT_EQ(4, records_after_closing(w));
	EXPECT_TRUE(all_are(w->memory, 3, 5));
	EXPECT_TRUE(all_are(w->memory + 5, 4, 5));
	EXPECT_TRUE(all_are(w->memory + 10, 6, 5));
	EXPECT_TRUE(all_are(w->memory + 15, 5, 5));
}

/* What was not committed is not logged, though it is in the page when the record is made. */
TEST_F(coalesce, values_at_commit)
{
	struct world *w = &self->w;

	WORKS(commit_bytes(w, 0, 1, 10, 0));
	WORKS(commit_bytes(w, 10, 2, 10, 0));
	set(w->area, w->memory + 5, 9, 10);
	WORKS(flush_log(w->log));
	WORKS(do_abort(w->log, w->area));
	memset(w->memory, 8, 20);
	ASSERT_EQ(1, records_after_closing(w));
	EXPECT_TRUE(all_are(w->memory, 1, 10));
	EXPECT_TRUE(all_are(w->memory + 10, 2, 10));
}

/* --- the flush interval ----------------------------------------------------- */

/* Only against hangs. */
static bool written_since(struct world *w, uint64_t writes)
{
	int tries;

	for (tries = 0; tries < 6000; tries++) {
		if (query(w->log).log_writes > writes)
			return true;
		sleep_us(10000);
	}
	return false;
}

TEST_F(coalesce, interval)
{
	struct world *w = &self->w;
	unsigned int on;
	uint64_t writes;

	for (on = 0; on < 2; on++) {
		WORKS(set_coalesce(w->log, on));
		WORKS(set_interval(w->log, 0));
		writes = query(w->log).log_writes;
		WORKS(commit_bytes(w, 0, 1, 10, 0));
		sleep_us(300000);
		EXPECT_EQ(writes, query(w->log).log_writes);
		/* also for what was committed before */
		WORKS(set_interval(w->log, 20));
		EXPECT_TRUE(written_since(w, writes));
		writes = query(w->log).log_writes;
		WORKS(commit_bytes(w, 0, 2, 10, 0));
		EXPECT_TRUE(written_since(w, writes));
	}
	/* and who closes does not wait for it */
	WORKS(set_interval(w->log, UINT32_MAX));
	WORKS(commit_bytes(w, 0, 3, 10, 0));
	ASSERT_EQ(5, records_after_closing(w));
	EXPECT_TRUE(all_are(w->memory, 3, 10));
}

TEST_F(coalesce, options)
{
	struct rvm_ioc_options a = { .size = sizeof(a), .coalesce = 1 };

	FAILS(EINVAL, ioctl(self->w.log, RVM_IOC_SET_OPTIONS, &a));
	a = (struct rvm_ioc_options){ .size = sizeof(a), .flush_interval = 1 };
	FAILS(EINVAL, ioctl(self->w.log, RVM_IOC_SET_OPTIONS, &a));
	FAILS(EINVAL, set_coalesce(self->w.log, 2));
}

TEST_HARNESS_MAIN
