// SPDX-License-Identifier: GPL-2.0 OR MIT
/*
 * Description: rvm_statistics: each field is moved by what it counts, and by nothing
 * else; epochs; several threads and processes; printing.
 */
#include "api.h"

#include <pthread.h>
#include <stddef.h>
#include <rvm/rvm_statistics.h>

#define ROOM	(64 * KIB)

#define LENGTH(array)	(sizeof(array) / sizeof((array)[0]))

static rvm_statistics_t read_statistics(struct __test_metadata *_metadata)
{
	rvm_statistics_t s;

	rvm_init_statistics(&s);
	OK(RVM_STATISTICS(&s));
	return s;
}

#define NOW()	read_statistics(_metadata)

static rvm_length_t sum(const rvm_length_t *buckets, size_t n)
{
	rvm_length_t all = 0;

	while (n--)
		all += buckets[n];
	return all;
}

#define SUM(buckets)	sum((buckets), LENGTH(buckets))

static bool on_kernel(void)
{
	return !strcmp(rvm_get_engine(), "kernel");
}

/* Start, and map the segment. The options say nothing of truncation in the background. */
static void begin(struct __test_metadata *_metadata, const struct files *f, unsigned long size,
		  unsigned long flags, rvm_region_t *region)
{
	rvm_options_t options;

	log_options(f, &options, size, flags);
	options.truncate = 0;
	OK(RVM_INIT(&options));
	OK(map_segment(f, region));
}

static void abort_one(struct __test_metadata *_metadata, char *at)
{
	rvm_tid_t tid;

	rvm_init_tid(&tid);
	OK(rvm_begin_transaction(&tid, restore));
	OK(rvm_set_range(&tid, at, 100));
	OK(rvm_set_range(&tid, at, 100));
	OK(rvm_abort_transaction(&tid));
}

TEST_F(api, arguments)
{
	const char *other = "RVM Statistics Version 1.0 1 Jan 1991";
	rvm_statistics_t s, *record;
	rvm_options_t options;

	rvm_init_statistics(&s);
	CODE(RVM_EINIT, rvm_statistics(NULL, NULL));
	CODE(RVM_EINIT, RVM_STATISTICS(&s));
	CODE(RVM_EINIT, rvm_print_statistics(NULL, NULL));

	OK(RVM_INIT(NULL));
	CODE(RVM_ELOG, RVM_STATISTICS(&s));
	CODE(RVM_ESTAT_VERSION_SKEW, rvm_statistics(other, &s));
	CODE(RVM_ESTAT_VERSION_SKEW, rvm_statistics(RVM_VERSION, NULL));
	CODE(RVM_ESTAT_VERSION_SKEW, rvm_statistics("", &s));
	CODE(RVM_ESTAT_VERSION_SKEW, rvm_statistics(NULL, &s));
	CODE(RVM_ESTATISTICS, RVM_STATISTICS(NULL));
	log_options(&self->f, &options, MIB, 0);
	OK(rvm_create_log(&options, &options.create_log_size, 0600));
	OK(rvm_set_options(&options));
	CODE(RVM_ESTATISTICS, RVM_STATISTICS((rvm_statistics_t *)&options));
	OK(RVM_STATISTICS(&s));
	ASSERT_EQ(rvm_false, s.from_heap);

	/* an error leaves it as it was */
	memset(&s, 0x55, sizeof(s));
	CODE(RVM_ESTATISTICS, RVM_STATISTICS(&s));
	s.struct_id = rvm_statistics_id;
	CODE(RVM_ESTAT_VERSION_SKEW, rvm_statistics(other, &s));
	ASSERT_EQ(0x5555555555555555, s.n_abort);
	ASSERT_EQ(0x5555555555555555, s.tot_trans_coalesces[5]);
	OK(RVM_STATISTICS(&s));
	ASSERT_EQ(0, s.n_abort);
	ASSERT_EQ(0, s.tot_trans_coalesces[5]);

	record = rvm_malloc_statistics();
	ASSERT_NE(NULL, record);
	OK(RVM_STATISTICS(record));
	ASSERT_EQ(rvm_true, record->from_heap);
	OK(rvm_print_statistics(record, stderr));
	CODE(RVM_ESTATISTICS, rvm_print_statistics(NULL, stderr));
	CODE(RVM_ESTATISTICS, rvm_print_statistics((rvm_statistics_t *)&options, stderr));
	EIO_ERRNO(EINVAL, rvm_print_statistics(record, NULL));
	rvm_free_statistics(record);
	OK(rvm_terminate());
	CODE(RVM_EINIT, RVM_STATISTICS(&s));
	CODE(RVM_EINIT, rvm_print_statistics(&s, stderr));
}

/* Nothing may be between them but what alignment wants. */
#define NEXT(field) do {							\
	ASSERT_LE(end, offsetof(rvm_statistics_t, field)) TH_LOG("%s", #field);	\
	ASSERT_GT(end + 8, offsetof(rvm_statistics_t, field)) TH_LOG("%s", #field); \
	end = offsetof(rvm_statistics_t, field) + sizeof(((rvm_statistics_t *)NULL)->field); \
} while (0)

TEST(layout)
{
	static const unsigned int flushes[] = { flush_times_dist };
	static const unsigned int truncations[] = { truncation_times_dist };
	static const unsigned int lengths[] = { range_lengths_dist }, a[] = { range_overlaps_dist };
	static const unsigned int b[] = { trans_overlaps_dist }, c[] = { range_elims_dist };
	static const unsigned int d[] = { trans_elims_dist }, e[] = { trans_coalesces_dist };
	size_t end = 0;

	ASSERT_STREQ("RVM Statistics Version 1.1 8 Dec 1992", RVM_STATISTICS_VERSION);
	ASSERT_EQ(10, flush_times_len);
	ASSERT_EQ(9, LENGTH(flushes));
	ASSERT_EQ(5, truncation_times_len);
	ASSERT_EQ(4, LENGTH(truncations));
	ASSERT_EQ(13, range_lengths_len);
	ASSERT_EQ(13, range_overlaps_len);
	ASSERT_EQ(13, trans_overlaps_len);
	ASSERT_EQ(12, LENGTH(lengths));
	ASSERT_EQ(12, LENGTH(a));
	ASSERT_EQ(12, LENGTH(b));
	ASSERT_EQ(6, range_elims_len);
	ASSERT_EQ(6, trans_elims_len);
	ASSERT_EQ(6, trans_coalesces_len);
	ASSERT_EQ(5, LENGTH(c));
	ASSERT_EQ(5, LENGTH(d));
	ASSERT_EQ(5, LENGTH(e));
	ASSERT_EQ(25, flushes[0]);
	ASSERT_EQ(10000, flushes[8]);
	ASSERT_EQ(500, truncations[3]);
	ASSERT_EQ(4, lengths[1]);
	ASSERT_EQ(4096, lengths[11]);
	ASSERT_EQ(100, c[4]);

	NEXT(struct_id); NEXT(from_heap);
	NEXT(n_abort); NEXT(n_flush_commit); NEXT(n_no_flush_commit); NEXT(n_uncommit);
	NEXT(n_no_flush); NEXT(n_truncation_wait); NEXT(no_flush_length);
	NEXT(n_split); NEXT(n_flush); NEXT(n_rvm_flush); NEXT(n_special); NEXT(n_wrap);
	NEXT(log_dev_cur); NEXT(log_written); NEXT(range_overlap); NEXT(trans_overlap);
	NEXT(n_range_elim); NEXT(n_trans_elim); NEXT(n_trans_coalesced); NEXT(flush_time);
	NEXT(last_flush_time); NEXT(last_truncation_time); NEXT(last_tree_build_time);
	NEXT(last_tree_apply_time);
	NEXT(flush_times); NEXT(range_lengths); NEXT(range_elims); NEXT(trans_elims);
	NEXT(range_overlaps); NEXT(trans_overlaps);
	NEXT(tot_abort); NEXT(tot_flush_commit); NEXT(tot_no_flush_commit); NEXT(tot_split);
	NEXT(tot_flush); NEXT(tot_rvm_flush); NEXT(tot_special); NEXT(tot_wrap);
	NEXT(log_dev_max); NEXT(tot_log_written); NEXT(tot_range_overlap);
	NEXT(tot_trans_overlap); NEXT(tot_range_elim); NEXT(tot_trans_elim);
	NEXT(tot_trans_coalesced); NEXT(tot_rvm_truncate); NEXT(tot_async_truncation);
	NEXT(tot_sync_truncation); NEXT(tot_truncation_wait); NEXT(tot_recovery);
	NEXT(tot_flush_time); NEXT(tot_truncation_time); NEXT(tot_tree_build_times);
	NEXT(tot_tree_apply_times); NEXT(tot_truncation_times); NEXT(tot_flush_times);
	NEXT(tot_range_lengths); NEXT(tot_range_elims); NEXT(tot_trans_elims);
	NEXT(tot_range_overlaps); NEXT(tot_trans_overlaps); NEXT(tot_trans_coalesces);
	ASSERT_EQ(end, sizeof(rvm_statistics_t));
}

TEST_F(api, transactions)
{
	rvm_statistics_t s;
	rvm_region_t region;
	rvm_tid_t tid[3];

	DECLARED_ONLY("several transactions at a time");
	begin(_metadata, &self->f, MIB, 0, &region);
	s = NOW();
	ASSERT_EQ(0, s.n_flush_commit + s.n_no_flush_commit + s.n_abort + s.n_uncommit);
	ASSERT_EQ(0, s.n_no_flush);
	ASSERT_EQ(0, s.no_flush_length.low);
	ASSERT_EQ(0, SUM(s.range_elims));
	for (int i = 0; i < 3; i++) {
		rvm_init_tid(&tid[i]);
		OK(rvm_begin_transaction(&tid[i], restore));
	}
	ASSERT_EQ(3, NOW().n_uncommit);
	OK(rvm_abort_transaction(&tid[0]));
	s = NOW();
	ASSERT_EQ(2, s.n_uncommit);
	ASSERT_EQ(1, s.n_abort);
	/* empty ones */
	OK(rvm_end_transaction(&tid[1], no_flush));
	s = NOW();
	ASSERT_EQ(1, s.n_uncommit);
	ASSERT_EQ(1, s.n_no_flush_commit);
	ASSERT_EQ(0, s.n_no_flush);
	OK(rvm_end_transaction(&tid[2], flush));
	ASSERT_EQ(1, NOW().n_flush_commit);

	for (int i = 0; i < 3; i++)
		OK(commit_bytes(region.vmaddr + i * 200, 1, 100, no_flush));
	s = NOW();
	ASSERT_EQ(4, s.n_no_flush_commit);
	ASSERT_EQ(1, s.n_flush_commit);
	ASSERT_EQ(3, s.n_no_flush);
	ASSERT_LE(300, s.no_flush_length.low);
	ASSERT_GE(600, s.no_flush_length.low);
	OK(commit_bytes(region.vmaddr, 1, 100, flush));
	s = NOW();
	ASSERT_EQ(2, s.n_flush_commit);
	ASSERT_EQ(4, s.n_no_flush_commit);
	ASSERT_EQ(0, s.n_no_flush);
	ASSERT_EQ(0, s.no_flush_length.low);
	ASSERT_EQ(6, s.range_elims[0]);
	ASSERT_EQ(6, SUM(s.range_elims));
	ASSERT_EQ(6, s.range_overlaps[0]);
	ASSERT_EQ(6, SUM(s.range_overlaps));

	ASSERT_EQ(0, s.tot_abort + s.tot_flush_commit + s.tot_no_flush_commit);
	OK(rvm_truncate());
	s = NOW();
	ASSERT_EQ(0, s.n_abort + s.n_flush_commit + s.n_no_flush_commit);
	ASSERT_EQ(1, s.tot_abort);
	ASSERT_EQ(2, s.tot_flush_commit);
	ASSERT_EQ(4, s.tot_no_flush_commit);
	ASSERT_EQ(0, SUM(s.range_elims) + SUM(s.range_overlaps));
	ASSERT_EQ(6, s.tot_range_elims[0]);
	ASSERT_EQ(6, SUM(s.tot_range_elims));
	ASSERT_EQ(6, SUM(s.tot_range_overlaps));
	OK(commit_bytes(region.vmaddr, 1, 100, flush));
	OK(rvm_truncate());
	s = NOW();
	ASSERT_EQ(3, s.tot_flush_commit);
	ASSERT_EQ(4, s.tot_no_flush_commit);
	OK(rvm_terminate());
}

TEST_F(api, range_lengths)
{
	static const struct {
		unsigned int length, bucket;
	} ranges[] = {
		{ 1, 1 }, { 2, 1 }, { 3, 1 }, { 4, 1 }, { 5, 2 }, { 8, 2 }, { 9, 3 }, { 16, 3 }, { 17, 4 },
		{ 64, 5 }, { 65, 6 }, { 128, 6 }, { 256, 7 }, { 512, 8 }, { 1000, 9 }, { 1025, 10 },
		{ 2048, 10 }, { 2049, 11 }, { 4096, 11 },
	};
	rvm_length_t expected[range_lengths_len] = { 0 };
	rvm_region_t region;
	rvm_statistics_t s;
	rvm_tid_t tid;

	DECLARED_ONLY("declared ranges");
	begin(_metadata, &self->f, MIB, 0, &region);
	rvm_init_tid(&tid);
	for (int mode = no_restore; mode >= restore; mode--) {
		OK(rvm_begin_transaction(&tid, mode));
		/* not one beside the other */
		for (size_t i = 0; i < LENGTH(ranges); i++) {
			OK(rvm_set_range(&tid, region.vmaddr + 2 * i * PAGE, ranges[i].length));
			region.vmaddr[2 * i * PAGE]++;
			expected[ranges[i].bucket]++;
		}
		OK(rvm_end_transaction(&tid, mode == restore ? flush : no_flush));
	}
	abort_one(_metadata, region.vmaddr);
	s = NOW();
	for (size_t i = 0; i < range_lengths_len; i++) {
		ASSERT_EQ(expected[i], s.range_lengths[i]) TH_LOG("bucket %zu", i);
	}

	/* the kernel engine's end with their page */
	OK(commit_bytes(region.vmaddr, 1, 5000, flush));
	if (on_kernel()) {
		expected[11]++;		/* 4096 */
		expected[9]++;		/* 904 */
	} else {
		expected[12]++;
	}
	OK(rvm_truncate());
	s = NOW();
	ASSERT_EQ(0, SUM(s.range_lengths));
	for (size_t i = 0; i < range_lengths_len; i++) {
		ASSERT_EQ(expected[i], s.tot_range_lengths[i]) TH_LOG("bucket %zu", i);
	}
	OK(rvm_terminate());
}

/* Declare what was declared, n times more. */
static void commit_again(struct __test_metadata *_metadata, char *at, unsigned long length, int n)
{
	rvm_tid_t tid;

	rvm_init_tid(&tid);
	OK(rvm_begin_transaction(&tid, restore));
	while (n-- >= 0)
		OK(rvm_set_range(&tid, at, length));
	++*at;
	OK(rvm_end_transaction(&tid, no_flush));
}

TEST_F(api, coalesced_ranges)
{
	rvm_region_t region;
	rvm_statistics_t s;
	rvm_tid_t tid;

	DECLARED_ONLY("declared ranges");
	begin(_metadata, &self->f, MIB, RVM_COALESCE_RANGES, &region);
	rvm_init_tid(&tid);
	OK(rvm_begin_transaction(&tid, restore));
	OK(rvm_set_range(&tid, region.vmaddr, 100));
	OK(rvm_set_range(&tid, region.vmaddr + 50, 100));	/* 50 again */
	OK(rvm_set_range(&tid, region.vmaddr + 150, 10));	/* adjoins */
	OK(rvm_set_range(&tid, region.vmaddr + 1000, 10));	/* is one of its own */
	OK(rvm_set_range(&tid, region.vmaddr + 1000, 0));
	CODE(RVM_ENOT_MAPPED, rvm_set_range(&tid, region.vmaddr - 1, 10));
	memset(region.vmaddr, 1, 160);
	ASSERT_EQ(0, NOW().n_range_elim);
	OK(rvm_end_transaction(&tid, no_flush));
	s = NOW();
	ASSERT_EQ(2, s.n_range_elim);
	ASSERT_EQ(50, s.range_overlap.low);
	ASSERT_EQ(1, s.range_elims[1]);
	ASSERT_EQ(1, SUM(s.range_elims));
	ASSERT_EQ(1, s.range_overlaps[5]);	/* up to 64 */
	ASSERT_EQ(1, SUM(s.range_overlaps));
	/* what adjoins stays apart in the kernel, unless it looks for undeclared changes */
	ASSERT_EQ(on_kernel() && !getenv("RVM_TRACKING") ? 4 : 2, SUM(s.range_lengths));

	/* aborts save nothing, and a commit after one nothing of the aborted */
	abort_one(_metadata, region.vmaddr);
	OK(commit_bytes(region.vmaddr, 2, 10, no_flush));
	s = NOW();
	ASSERT_EQ(2, s.n_range_elim);
	ASSERT_EQ(1, s.range_elims[0]);
	ASSERT_EQ(1, s.range_overlaps[0]);

	commit_again(_metadata, region.vmaddr, 1, 5);
	commit_again(_metadata, region.vmaddr, 1, 6);
	commit_again(_metadata, region.vmaddr, 100, 50);
	commit_again(_metadata, region.vmaddr, 1, 100);
	commit_again(_metadata, region.vmaddr, 1, 101);
	s = NOW();
	ASSERT_EQ(2 + 5 + 6 + 50 + 100 + 101, s.n_range_elim);
	ASSERT_EQ(50 + 5 + 6 + 5000 + 100 + 101, s.range_overlap.low);
	ASSERT_EQ(1, s.range_elims[0]);
	ASSERT_EQ(2, s.range_elims[1]);
	ASSERT_EQ(1, s.range_elims[2]);
	ASSERT_EQ(1, s.range_elims[3]);
	ASSERT_EQ(1, s.range_elims[4]);
	ASSERT_EQ(1, s.range_elims[5]);
	ASSERT_EQ(1, s.range_overlaps[12]);
	OK(rvm_truncate());
	s = NOW();
	ASSERT_EQ(0, s.n_range_elim + s.range_overlap.low + SUM(s.range_elims));
	ASSERT_EQ(264, s.tot_range_elim);
	ASSERT_EQ(5262, s.tot_range_overlap.low);
	ASSERT_EQ(7, SUM(s.tot_range_elims));
	ASSERT_EQ(1, s.tot_range_elims[5]);
	ASSERT_EQ(7, SUM(s.tot_range_overlaps));
	ASSERT_EQ(1, s.tot_range_overlaps[12]);
	OK(rvm_terminate());
}

TEST_F(api, coalesced_transactions)
{
	rvm_region_t region;
	rvm_statistics_t s;

	DECLARED_ONLY("declared ranges");
	begin(_metadata, &self->f, MIB, RVM_COALESCE_TRANS, &region);
	for (int i = 0; i < 3; i++)
		OK(commit_bytes(region.vmaddr, i, 100, no_flush));
	s = NOW();
	ASSERT_EQ(3, s.n_no_flush);
	ASSERT_EQ(0, s.n_flush);
	OK(rvm_flush());
	s = NOW();
	ASSERT_EQ(0, s.n_no_flush);
	ASSERT_EQ(1, s.n_flush);
	ASSERT_EQ(2, s.n_trans_coalesced);
	ASSERT_EQ(2, s.n_trans_elim);
	ASSERT_EQ(200, s.trans_overlap.low);
	ASSERT_EQ(1, s.trans_elims[1]);
	ASSERT_EQ(1, s.trans_overlaps[7]);	/* up to 256 */
	ASSERT_EQ(1, s.tot_trans_coalesces[1]);
	ASSERT_EQ(1, SUM(s.trans_elims));
	ASSERT_EQ(1, SUM(s.trans_overlaps));
	ASSERT_EQ(1, SUM(s.tot_trans_coalesces));

	/* one alone is none; two with nothing in common */
	OK(commit_bytes(region.vmaddr, 4, 100, no_flush));
	OK(rvm_flush());
	OK(commit_bytes(region.vmaddr, 5, 100, no_flush));
	OK(commit_bytes(region.vmaddr + 200, 5, 100, no_flush));
	OK(rvm_flush());
	/* half of it again, and what adjoins */
	OK(commit_bytes(region.vmaddr, 6, 100, no_flush));
	OK(commit_bytes(region.vmaddr + 50, 6, 100, no_flush));
	OK(commit_bytes(region.vmaddr + 150, 6, 10, no_flush));
	OK(rvm_flush());
	s = NOW();
	ASSERT_EQ(2 + 1 + 2, s.n_trans_coalesced);
	ASSERT_EQ(2 + 2, s.n_trans_elim);
	ASSERT_EQ(250, s.trans_overlap.low);
	ASSERT_EQ(1, s.trans_elims[0]);
	ASSERT_EQ(2, s.trans_elims[1]);
	ASSERT_EQ(1, s.trans_overlaps[0]);
	ASSERT_EQ(1, s.trans_overlaps[5]);
	ASSERT_EQ(3, s.tot_trans_coalesces[1]);

	/* as many as are merged more than once, for want of room */
	for (int i = 0; i < 5000; i++)
		OK(commit_bytes(region.vmaddr, i, 100, no_flush));
	OK(rvm_flush());
	s = NOW();
	ASSERT_EQ(5009, s.n_no_flush_commit);
	ASSERT_LE(5 + 4990, s.n_trans_coalesced);
	ASSERT_EQ(s.n_trans_coalesced - 5, s.n_trans_elim - 4);
	ASSERT_EQ((s.n_trans_coalesced - 5) * 100, s.trans_overlap.low - 250);
	ASSERT_LE(1, s.trans_elims[5]);
	ASSERT_LE(1, s.trans_overlaps[12]);
	ASSERT_LE(1, s.tot_trans_coalesces[5]);
	OK(rvm_truncate());
	ASSERT_EQ(s.n_trans_coalesced, NOW().tot_trans_coalesced);
	ASSERT_EQ(s.n_trans_elim, NOW().tot_trans_elim);
	ASSERT_EQ(s.trans_overlap.low, NOW().tot_trans_overlap.low);
	ASSERT_EQ(s.trans_elims[1], NOW().tot_trans_elims[1]);
	ASSERT_EQ(s.trans_overlaps[12], NOW().tot_trans_overlaps[12]);
	ASSERT_EQ(s.tot_trans_coalesces[1], NOW().tot_trans_coalesces[1]);
	ASSERT_EQ(0, NOW().n_trans_coalesced + NOW().n_trans_elim + NOW().trans_overlap.low);
	OK(rvm_terminate());
}

static bool is_time(struct timeval t)
{
	return (t.tv_sec > 0 || t.tv_usec > 0) && t.tv_sec < 100 && t.tv_usec < 1000000;
}

TEST_F(api, flushes)
{
	rvm_engine_counters_t before, after;
	rvm_length_t special;
	rvm_region_t region;
	rvm_statistics_t s;

	begin(_metadata, &self->f, MIB, 0, &region);
	special = NOW().n_special;
	OK(rvm_get_engine_counters(&before));
	for (int i = 0; i < 5; i++)
		OK(commit_bytes(region.vmaddr, i, 100, no_flush));
	ASSERT_EQ(0, NOW().n_flush);
	OK(rvm_flush());
	s = NOW();
	ASSERT_EQ(1, s.n_flush);
	ASSERT_EQ(1, s.n_rvm_flush);
	OK(rvm_flush());
	for (int i = 0; i < 5; i++)
		OK(commit_bytes(region.vmaddr, i, 100, flush));
	OK(rvm_get_engine_counters(&after));
	s = NOW();
	ASSERT_EQ(6, s.n_flush);
	ASSERT_EQ(2, s.n_rvm_flush);
	ASSERT_EQ(after.log_bytes - before.log_bytes, s.log_written.low);
	ASSERT_LE(6 * 512, s.log_written.low);
	ASSERT_EQ(6, SUM(s.flush_times));
	ASSERT_TRUE(is_time(s.flush_time));
	ASSERT_GE(100000, s.last_flush_time);
	ASSERT_EQ(special, s.n_special);
	ASSERT_EQ(0, s.tot_flush + s.tot_rvm_flush + s.tot_log_written.low + s.tot_special);
	ASSERT_EQ(0, SUM(s.tot_flush_times));

	/* it flushes, and writes a status */
	OK(commit_bytes(region.vmaddr, 1, 100, no_flush));
	OK(rvm_truncate());
	s = NOW();
	ASSERT_EQ(7, s.tot_flush);
	ASSERT_EQ(2, s.tot_rvm_flush);
	ASSERT_EQ(7, SUM(s.tot_flush_times));
	ASSERT_LE(7 * 512, s.tot_log_written.low);
	ASSERT_EQ(special + 1, s.tot_special);
	ASSERT_TRUE(is_time(s.tot_flush_time));
	ASSERT_EQ(0, s.n_flush + s.n_rvm_flush + s.log_written.low + s.n_special);
	ASSERT_EQ(0, SUM(s.flush_times) + s.flush_time.tv_sec + s.flush_time.tv_usec);
	OK(rvm_terminate());
}

/* A segment that is new to the log is written to its status. */
TEST_F(api, special)
{
	rvm_length_t special;
	rvm_region_t region;
	char other[300];

	begin(_metadata, &self->f, MIB, 0, &region);
	special = NOW().n_special;
	ASSERT_LE(1, special);
	snprintf(other, sizeof(other), "%s/other", self->f.dir);
	ASSERT_TRUE(make_file(other, 4 * PAGE, 0));
	region = region_of(other, 0, PAGE);
	OK(rvm_map(&region, NULL));
	ASSERT_EQ(special + 1, NOW().n_special);
	region = region_of(other, PAGE, PAGE);
	OK(rvm_map(&region, NULL));
	ASSERT_EQ(special + 1, NOW().n_special);
	OK(rvm_terminate());
}

TEST_F(api, wraps)
{
	rvm_length_t area, one, at, wraps = 0, splits = 0;
	rvm_engine_counters_t counters;
	rvm_region_t region;
	rvm_statistics_t s;

	DECLARED_ONLY("declared ranges");
	begin(_metadata, &self->f, ROOM, 0, &region);
	OK(rvm_get_engine_counters(&counters));
	area = counters.log_length;
	OK(commit_bytes(region.vmaddr, 1, 7000, flush));
	one = NOW().log_written.low;
	ASSERT_LT(7000, one);
	for (at = one; at < 20 * area; at += one) {
		if (at / area == 15 && at + one >= 16 * area)
			break;
		OK(commit_bytes(region.vmaddr, 1, 7000, flush));
		if (at / area != (at + one - 1) / area)
			splits++;
		OK(rvm_truncate());
	}
	wraps = (at - 1) / area;
	s = NOW();
	ASSERT_EQ(15, wraps);
	ASSERT_EQ(wraps, s.tot_wrap + s.n_wrap);
	ASSERT_EQ(splits, s.tot_split + s.n_split);
	ASSERT_EQ(0, s.n_wrap + s.n_split);

	/* fill the area to its end; then the log goes on with a whole record */
	one = 16 * area - at;
	ASSERT_EQ(0, one % 512);
	if (one > 512)
		OK(commit_bytes(region.vmaddr, 1, one - 512, flush));
	at += NOW().log_written.low;
	while (at < 16 * area) {
		OK(rvm_truncate());
		OK(commit_bytes(region.vmaddr, 1, 8, flush));
		at += NOW().log_written.low;
	}
	ASSERT_EQ(16 * area, at);
	s = NOW();
	ASSERT_EQ(wraps, s.tot_wrap + s.n_wrap);
	OK(rvm_truncate());
	OK(commit_bytes(region.vmaddr, 1, 8, flush));
	s = NOW();
	ASSERT_EQ(1, s.n_wrap);
	ASSERT_EQ(0, s.n_split);
	ASSERT_EQ(wraps, s.tot_wrap);
	ASSERT_EQ(splits, s.tot_split);
	OK(rvm_terminate());
}

TEST_F(api, use_of_the_log)
{
	rvm_engine_counters_t counters;
	rvm_length_t current;
	rvm_region_t region;
	rvm_statistics_t s;

	DECLARED_ONLY("declared ranges");
	begin(_metadata, &self->f, MIB, 0, &region);
	s = NOW();
	ASSERT_EQ(0, s.log_dev_cur);
	ASSERT_EQ(0, s.log_dev_max);
	for (int i = 0; i < 4; i++)
		OK(commit_bytes(region.vmaddr, 1, 100 * KIB, flush));
	OK(rvm_get_engine_counters(&counters));
	s = NOW();
	current = s.log_dev_cur;
	ASSERT_EQ(counters.log_used * 100 / counters.log_length, current);
	/* and what fills up blocks */
	ASSERT_TRUE(current == 39 || current == 40) TH_LOG("%lu", current);
	ASSERT_EQ(current, s.log_dev_max);
	OK(rvm_truncate());
	s = NOW();
	ASSERT_EQ(0, s.log_dev_cur);
	ASSERT_EQ(current, s.log_dev_max);
	OK(commit_bytes(region.vmaddr, 1, 100 * KIB, flush));
	OK(rvm_truncate());
	s = NOW();
	ASSERT_EQ(0, s.log_dev_cur);
	ASSERT_EQ(current, s.log_dev_max);
	OK(rvm_terminate());
}

/* Truncations of these numbers. */
#define TRUNCATIONS(s, requested, background, needed) do {			\
	rvm_length_t all_ = (requested) + (background) + (needed);		\
										\
	ASSERT_EQ((requested), (s).tot_rvm_truncate);				\
	ASSERT_EQ((background), (s).tot_async_truncation);			\
	ASSERT_EQ((needed), (s).tot_sync_truncation);				\
	ASSERT_EQ(all_, SUM((s).tot_truncation_times));				\
	ASSERT_EQ(all_, SUM((s).tot_tree_build_times));				\
	ASSERT_EQ(all_, SUM((s).tot_tree_apply_times));				\
	ASSERT_EQ(!!all_, is_time((s).tot_truncation_time));			\
	ASSERT_LE((s).last_tree_build_time + (s).last_tree_apply_time, (s).last_truncation_time); \
} while (0)

TEST_F(api, requested_truncations)
{
	rvm_region_t region;
	rvm_statistics_t s;

	begin(_metadata, &self->f, MIB, 0, &region);
	s = NOW();
	TRUNCATIONS(s, 0, 0, 0);
	OK(commit_bytes(region.vmaddr, 1, 1000, no_flush));
	OK(rvm_truncate());
	s = NOW();
	TRUNCATIONS(s, 1, 0, 0);
	/* also of an empty log, and that ends an epoch, too */
	abort_one(_metadata, region.vmaddr);
	OK(rvm_truncate());
	s = NOW();
	TRUNCATIONS(s, 2, 0, 0);
	ASSERT_EQ(0, s.n_abort);
	ASSERT_EQ(1, s.tot_abort);
	ASSERT_EQ(0, s.n_truncation_wait + s.tot_truncation_wait);
	OK(rvm_terminate());
}

TEST_F(api, needed_truncations)
{
	rvm_engine_counters_t counters;
	rvm_length_t fit, waits;
	rvm_region_t region;
	rvm_statistics_t s;

	DECLARED_ONLY("declared ranges");
	begin(_metadata, &self->f, ROOM, 0, &region);
	OK(rvm_get_engine_counters(&counters));
	OK(commit_bytes(region.vmaddr, 0, 7000, flush));
	fit = counters.log_length / NOW().log_written.low;
	for (int i = 1; i < 60; i++)
		OK(commit_bytes(region.vmaddr, i, 7000, flush));
	s = NOW();
	waits = 59 / fit;
	ASSERT_LE(6, waits);
	ASSERT_EQ(waits, s.n_truncation_wait + s.tot_truncation_wait);
	TRUNCATIONS(s, 0, 0, waits);
	/* who waits commits in the epoch that begins then */
	ASSERT_EQ(0, s.n_truncation_wait);
	ASSERT_EQ(60 - waits * fit, s.n_flush_commit);
	ASSERT_EQ(waits * fit, s.tot_flush_commit);
	OK(rvm_terminate());
}

static int eventually(struct __test_metadata *_metadata, int n)
{
	while (NOW().tot_async_truncation < (rvm_length_t)n)
		usleep(1000);
	return n;
}

TEST_F(api, background_truncations)
{
	rvm_options_t options;
	rvm_region_t region;
	rvm_statistics_t s;

	begin(_metadata, &self->f, MIB, 0, &region);
	for (int i = 0; i < 4; i++)
		OK(commit_bytes(region.vmaddr, i, 100 * KIB, flush));
	TRUNCATIONS(NOW(), 0, 0, 0);
	log_options(&self->f, &options, MIB, 0);
	options.truncate = 20;
	OK(rvm_set_options(&options));
	OK(commit_bytes(region.vmaddr, 5, 10, flush));
	ASSERT_EQ(1, eventually(_metadata, 1));
	s = NOW();
	TRUNCATIONS(s, 0, 1, 0);
	ASSERT_EQ(5, s.n_flush_commit + s.tot_flush_commit);
	ASSERT_EQ(0, s.n_truncation_wait + s.tot_truncation_wait);
	OK(rvm_terminate());
}

static void commits_and_dies(CHILD_ARGS)
{
	rvm_region_t region;

	begin(_metadata, f, MIB, 0, &region);
	ASSERT_EQ(0, NOW().tot_recovery);
	OK(commit_bytes(region.vmaddr, 1, 100, flush));
	die(_metadata);
}

static void recovers(CHILD_ARGS)
{
	rvm_statistics_t s;

	start(f);
	s = NOW();
	ASSERT_EQ(1, s.tot_recovery);
	ASSERT_EQ(0, s.n_flush_commit + s.tot_flush_commit);
	TRUNCATIONS(s, 0, 0, 0);
	OK(rvm_terminate());
}

static void finds_nothing(CHILD_ARGS)
{
	start(f);
	ASSERT_EQ(0, NOW().tot_recovery);
	OK(rvm_terminate());
}

TEST_F(api, recoveries)
{
	const struct files *f = &self->f;

	CHILD_DIES(commits_and_dies);
	CHILD_OK(recovers);
	CHILD_OK(finds_nothing);
}

#define THREADS	4
#define ROUNDS	150

struct worker {
	pthread_t thread;
	char *memory;
	rvm_return_t code;
};

static void *work(void *context)
{
	struct worker *w = context;
	rvm_statistics_t s;
	rvm_tid_t tid;

	rvm_init_statistics(&s);
	rvm_init_tid(&tid);
	for (int i = 0; i < ROUNDS && !w->code; i++) {
		w->code = commit_bytes(w->memory, i, 100, i % 10 ? no_flush : flush);
		if (!w->code)
			w->code = rvm_begin_transaction(&tid, restore);
		if (!w->code)
			w->code = rvm_abort_transaction(&tid);
		if (!w->code && i % 16 == 0)
			w->code = rvm_truncate();
		if (!w->code)
			w->code = RVM_STATISTICS(&s);
		/* of one moment */
		if (!w->code && (SUM(s.range_elims) != s.n_flush_commit + s.n_no_flush_commit ||
				 SUM(s.flush_times) != s.n_flush))
			w->code = RVM_EINTERNAL;
	}
	return NULL;
}

TEST_F(api, threads)
{
	struct worker workers[THREADS] = { 0 };
	rvm_region_t region;
	rvm_statistics_t s;

	DECLARED_ONLY("declared ranges");
	begin(_metadata, &self->f, MIB, 0, &region);
	for (int i = 0; i < THREADS; i++) {
		workers[i].memory = region.vmaddr + i * PAGE;
		ASSERT_EQ(0, pthread_create(&workers[i].thread, NULL, work, &workers[i]));
	}
	for (int i = 0; i < THREADS; i++) {
		ASSERT_EQ(0, pthread_join(workers[i].thread, NULL));
		OK(workers[i].code);
	}
	s = NOW();
	ASSERT_EQ(THREADS * ROUNDS / 10, s.n_flush_commit + s.tot_flush_commit);
	ASSERT_EQ(THREADS * ROUNDS * 9 / 10, s.n_no_flush_commit + s.tot_no_flush_commit);
	ASSERT_EQ(THREADS * ROUNDS, s.n_abort + s.tot_abort);
	ASSERT_EQ(THREADS * ROUNDS, s.range_lengths[6] + s.tot_range_lengths[6]);
	ASSERT_EQ(THREADS * ((ROUNDS + 15) / 16), s.tot_rvm_truncate);
	ASSERT_EQ(0, s.n_uncommit);
	OK(rvm_terminate());
}

/* Commits, aborts, and leaves one open when it dies. */
static void uses_the_log_too(CHILD_ARGS)
{
	rvm_region_t region;
	rvm_tid_t tid;

	begin(_metadata, f, MIB, RVM_COALESCE_RANGES, &region);
	commit_again(_metadata, region.vmaddr, 100, 1);
	commit_again(_metadata, region.vmaddr, 100, 1);
	abort_one(_metadata, region.vmaddr);
	OK(rvm_flush());
	rvm_init_tid(&tid);
	OK(rvm_begin_transaction(&tid, restore));
	OK(rvm_set_range(&tid, region.vmaddr, 1));
	ASSERT_EQ(1, NOW().n_uncommit);
	ASSERT_EQ(3, NOW().n_no_flush_commit);
	die(_metadata);
}

static void is_refused(CHILD_ARGS)
{
	EIO_ERRNO(EBUSY, start_with(f, MIB, 0));
	die(_metadata);
}

/* A log of the user engine is one process's; with the kernel engine all of them count. */
TEST_F(api, two_processes)
{
	const struct files *f = &self->f;
	rvm_region_t region;
	rvm_statistics_t s;
	int status, go[2];
	char engine;
	pid_t pid;

	DECLARED_ONLY("declared ranges");
	ASSERT_EQ(0, pipe(go));
	pid = fork();
	ASSERT_NE(-1, pid);
	if (!pid) {
		ASSERT_EQ(1, read(go[0], &engine, 1));
		if (engine == 'k')
			uses_the_log_too(_metadata, f);
		else
			is_refused(_metadata, f);
	}
	begin(_metadata, f, MIB, RVM_COALESCE_RANGES, &region);
	OK(commit_bytes(region.vmaddr + PAGE, 1, 100, no_flush));
	ASSERT_EQ(1, write(go[1], rvm_get_engine(), 1));
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	ASSERT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
	s = NOW();
	ASSERT_EQ(0, s.n_uncommit);
	if (on_kernel()) {
		ASSERT_EQ(3, s.n_no_flush_commit);
		ASSERT_EQ(2, s.n_abort);	/* one of them by its death */
		ASSERT_EQ(1, s.n_rvm_flush);
		ASSERT_EQ(0, s.n_no_flush);
		ASSERT_EQ(2, s.n_range_elim);
		ASSERT_EQ(200, s.range_overlap.low);
		ASSERT_EQ(1, s.range_elims[0]);
		ASSERT_EQ(2, s.range_elims[1]);
		ASSERT_EQ(3, s.range_lengths[6]);
	} else {
		ASSERT_EQ(1, s.n_no_flush_commit);
		ASSERT_EQ(0, s.n_abort);
		ASSERT_EQ(1, s.n_no_flush);
		ASSERT_EQ(1, s.range_lengths[6]);
	}
	OK(rvm_terminate());
}

/* --- in print --- */

/* Is this there as a word? */
static bool has_word(const char *text, const char *word)
{
	size_t n = strlen(word);

	for (const char *at = text; (at = strstr(at, word)); at++)
		if ((at == text || at[-1] == ' ') && (at[n] == ' ' || at[n] == '\n'))
			return true;
	return false;
}

/* The first line with this label has these numbers after it. */
static bool has_line(const char *text, const char *label, const char *numbers)
{
	char want[100], *line = NULL, *to;
	const char *at = strstr(text, label);
	bool same;

	if (!at)
		return false;
	line = strndup(at + strlen(label), strcspn(at + strlen(label), "\n"));
	snprintf(want, sizeof(want), "%s", numbers);
	/* blanks are as many as they like */
	to = line;
	for (const char *from = line; *from; from++)
		if (*from != ' ' || (to > line && to[-1] != ' '))
			*to++ = *from;
	while (to > line && to[-1] == ' ')
		to--;
	*to = 0;
	same = !strcmp(line, want);
	if (!same)
		fprintf(stderr, "'%s' has '%s', not '%s'\n", label, line, want);
	free(line);
	return same;
}

TEST_F(api, print)
{
	rvm_statistics_t s;
	char word[64], *text;
	struct timeval *t;
	rvm_length_t *w;
	size_t size;
	FILE *out;

	OK(RVM_INIT(NULL));
	/* every number another one */
	rvm_init_statistics(&s);
	w = &s.n_abort;
	for (size_t i = 0; &w[i] < (rvm_length_t *)(&s + 1); i++)
		w[i] = 100000 + i;
	s.no_flush_length.high = s.log_written.high = s.range_overlap.high = 0;
	s.trans_overlap.high = s.tot_log_written.high = s.tot_range_overlap.high = 0;
	s.tot_trans_overlap.high = 0;

	out = open_memstream(&text, &size);
	ASSERT_NE(NULL, out);
	OK(rvm_print_statistics(&s, out));
	ASSERT_EQ(0, fclose(out));
	for (size_t i = 0; &w[i] < (rvm_length_t *)(&s + 1); i++) {
		t = (struct timeval *)&w[i];
		if (!w[i])
			continue;
		snprintf(word, sizeof(word), "%lu", w[i]);
		if (t == &s.flush_time || t == &s.tot_flush_time || t == &s.tot_truncation_time) {
			snprintf(word, sizeof(word), "%lu.%06lu", w[i], w[i + 1]);
			i++;
		}
		EXPECT_TRUE(has_word(text, word)) TH_LOG("word %zu, %s", i, word);
	}
#define LINE(label, ...) do {						\
	snprintf(word, sizeof(word), __VA_ARGS__);			\
	EXPECT_TRUE(has_line(text, label, word));			\
} while (0)
#define BOTH(label, name)	LINE(label, "%lu %lu", s.n_##name, s.tot_##name)
#define BYTES(label, name)	LINE(label, "%lu %lu", s.name.low, s.tot_##name.low)
#define ONE(label, name)	LINE(label, "%lu", s.name)
	BOTH("aborted", abort);
	BOTH("committed, flush", flush_commit);
	BOTH("committed, no_flush", no_flush_commit);
	ONE("open now", n_uncommit);
	ONE("commits queued now", n_no_flush);
	ONE("bytes of the log that these take", no_flush_length.low);
	BOTH("commits that waited for truncation", truncation_wait);
	BYTES("bytes declared again", range_overlap);
	BOTH("ranges merged in a transaction", range_elim);
	BYTES("bytes committed again", trans_overlap);
	BOTH("ranges merged between transactions", trans_elim);
	BOTH("commits coalesced", trans_coalesced);
	LINE("per cent in use: now, most", "%lu %lu", s.log_dev_cur, s.log_dev_max);
	BYTES("bytes written", log_written);
	BOTH("\n  flushes", flush);
	BOTH("calls of rvm_flush", rvm_flush);
	BOTH("status blocks written", special);
	BOTH("returns to the area's start", wrap);
	BOTH("records split there", split);
	LINE("seconds of flushes", "%lu.%lu %lu.%lu", s.flush_time.tv_sec, s.flush_time.tv_usec,
	     s.tot_flush_time.tv_sec, s.tot_flush_time.tv_usec);
	ONE("the last flush, ms", last_flush_time);
	ONE("by rvm_truncate", tot_rvm_truncate);
	ONE("in the background", tot_async_truncation);
	ONE("by calls that needed it", tot_sync_truncation);
	ONE("recoveries", tot_recovery);
	ONE("the last, seconds", last_truncation_time);
	ONE("the last, finding what to write, s", last_tree_build_time);
	ONE("the last, writing it, s", last_tree_apply_time);

	/* histograms: the first line after the label, and one further down */
#define HISTOGRAM(label, first, name, unit) do {				\
	char *at_ = strstr(text, label);					\
										\
	ASSERT_NE(NULL, at_) TH_LOG("%s", label);				\
	snprintf(word, sizeof(word), "%lu %lu", s.name[0], s.tot_##name[0]);	\
	EXPECT_TRUE(has_line(at_, "up to " first unit, word));			\
	snprintf(word, sizeof(word), "%lu %lu", s.name[name##_len - 1],		\
		 s.tot_##name[name##_len - 1]);					\
	EXPECT_TRUE(has_line(at_, "more", word));				\
} while (0)
	HISTOGRAM("flushes by time", "25", flush_times, " ms");
	HISTOGRAM("committed ranges by length", "0", range_lengths, " bytes");
	HISTOGRAM("commits by merged ranges", "0", range_elims, "");
	HISTOGRAM("commits by bytes declared again", "0", range_overlaps, " bytes");
	HISTOGRAM("coalesced records by merged ranges", "0", trans_elims, "");
	HISTOGRAM("coalesced records by bytes committed again", "0", trans_overlaps, " bytes");
#define TOTALS(label, first, array) do {					\
	char *at_ = strstr(text, label);					\
										\
	ASSERT_NE(NULL, at_) TH_LOG("%s", label);				\
	snprintf(word, sizeof(word), "%lu", s.array[0]);			\
	EXPECT_TRUE(has_line(at_, "up to " first, word));			\
	snprintf(word, sizeof(word), "%lu", s.array[LENGTH(s.array) - 1]);	\
	EXPECT_TRUE(has_line(at_, "more", word));				\
} while (0)
	TOTALS("coalesced records by coalesced commits, in all epochs", "0", tot_trans_coalesces);
	TOTALS("truncations by time, in all epochs", "1 s", tot_truncation_times);
	TOTALS("the same, finding what to write", "1 s", tot_tree_build_times);
	TOTALS("the same, writing it", "1 s", tot_tree_apply_times);
	free(text);

	/* what can't be written is told */
	out = fopen("/dev/full", "w");
	ASSERT_NE(NULL, out);
	setvbuf(out, NULL, _IONBF, 0);
	EIO_ERRNO(ENOSPC, rvm_print_statistics(&s, out));
	fclose(out);
	OK(rvm_terminate());
}

TEST_HARNESS_MAIN
