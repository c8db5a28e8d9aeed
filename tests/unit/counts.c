// SPDX-License-Identifier: GPL-2.0 OR MIT
/* Description: which bucket counts what. */
#include "kselftest_harness.h"

#include "core/counts.h"

#define LENGTH(array)	(sizeof(array) / sizeof((array)[0]))
#define MS		1000000ull
#define SECOND		(1000 * MS)

/* Only this one was counted in, once. */
static bool only(const u64 *buckets, size_t n, size_t one)
{
	while (n--)
		if (n == one ? buckets[n] != 1 : buckets[n])
			return false;
	return true;
}

#define ONLY(buckets, one)	ASSERT_TRUE(only((buckets), LENGTH(buckets), (one)))

/* A bound belongs to its own bucket, what is more to the next. */
TEST(flushes)
{
	static const u64 bounds[] = { 25, 50, 100, 250, 500, 1000, 2500, 5000, 10000 };

	for (size_t i = 0; i < LENGTH(bounds); i++) {
		struct rvm_counts at = { 0 }, above = { 0 };

		rvm_count_flush(&at, 512, bounds[i] * MS);
		ONLY(at.flush_times, i);
		ASSERT_EQ(1, at.flushes);
		ASSERT_EQ(512, at.flushed_bytes);
		ASSERT_EQ(bounds[i] * MS, at.flush_ns);
		rvm_count_flush(&above, 512, bounds[i] * MS + 1);
		ONLY(above.flush_times, i + 1);
	}
}

TEST(truncations)
{
	static const u64 bounds[] = { 1, 10, 100, 500 };

	for (size_t i = 0; i < LENGTH(bounds); i++) {
		struct rvm_truncation_time time = { bounds[i] * SECOND + 1, 0, bounds[i] * SECOND };
		struct rvm_counts counts = { 0 };

		rvm_count_truncation(&counts, RVM_TRUNCATION_BACKGROUND, &time);
		ONLY(counts.truncation_times, i + 1);
		ONLY(counts.build_times, 0);
		ONLY(counts.apply_times, i);
		ONLY(counts.truncations, RVM_TRUNCATION_BACKGROUND);
		ASSERT_EQ(time.total, counts.truncation_ns);
	}
}

TEST(merges)
{
	static const u64 lengths[] = { 0, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096 };
	static const u64 merges[] = { 0, 5, 10, 50, 100 };

	for (size_t i = 0; i < LENGTH(lengths); i++) {
		struct rvm_counts at = { 0 }, above = { 0 };
		size_t m = i % LENGTH(merges);

		rvm_count_merged(&at, merges[m], lengths[i]);
		ONLY(at.range_merges, m);
		ONLY(at.range_overlaps, i);
		ASSERT_EQ(merges[m], at.merged_ranges);
		ASSERT_EQ(lengths[i], at.merged_bytes);
		rvm_count_coalesced(&above, merges[m] + 2, merges[m] + 1, lengths[i] + 1);
		ONLY(above.trans_coalesces, m + 1);
		ONLY(above.trans_merges, m + 1);
		ONLY(above.trans_overlaps, i + 1);
		ASSERT_EQ(merges[m] + 1, above.coalesced_commits);
		ASSERT_EQ(merges[m] + 1, above.coalesced_ranges);
		ASSERT_EQ(lengths[i] + 1, above.coalesced_bytes);
	}
}

/* A record of one commit is none that was coalesced. */
TEST(alone)
{
	struct rvm_counts counts = { 0 }, none = { 0 };

	rvm_count_coalesced(&counts, 1, 0, 0);
	rvm_count_coalesced(&counts, 0, 0, 0);
	ASSERT_EQ(0, memcmp(&counts, &none, sizeof(counts)));
}

TEST(range_lengths)
{
	for (u32 i = 1; i < 32; i++) {
		struct rvm_counts at = { 0 }, above = { 0 };

		rvm_count_range(&at, 1u << i);
		ONLY(at.range_lengths, i - 1);
		rvm_count_range(&above, (1u << i) + 1);
		ONLY(above.range_lengths, i);
	}
	for (u32 length = 1; length <= 2; length++) {
		struct rvm_counts counts = { 0 };

		rvm_count_range(&counts, length);
		ONLY(counts.range_lengths, 0);
	}
	{
		struct rvm_counts counts = { 0 };

		rvm_count_range(&counts, UINT32_MAX);
		ONLY(counts.range_lengths, 31);
	}
}

TEST_HARNESS_MAIN
