// SPDX-License-Identifier: GPL-2.0 OR MIT
/* Counting what is seldom enough to look for its bucket. */
#include "core/counts.h"

#define MS	1000000ull
#define SECOND	(1000 * MS)

/* Upper bounds, included; what exceeds them all is in one bucket more. */
static const u64 flush_times[RVM_COUNTS_FLUSH_TIMES - 1] = {
	25 * MS, 50 * MS, 100 * MS, 250 * MS, 500 * MS, 1000 * MS, 2500 * MS, 5000 * MS, 10000 * MS,
};

static const u64 truncation_times[RVM_COUNTS_TRUNCATION_TIMES - 1] = {
	SECOND, 10 * SECOND, 100 * SECOND, 500 * SECOND,
};

static const u64 lengths[RVM_COUNTS_LENGTHS - 1] = {
	0, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096,
};

static const u64 merges[RVM_COUNTS_MERGES - 1] = { 0, 5, 10, 50, 100 };

static void count(u64 *buckets, const u64 *bounds, unsigned int n, u64 value)
{
	unsigned int i = 0;

	while (i < n && value > bounds[i])
		i++;
	buckets[i]++;
}

#define COUNT(buckets, bounds, value) \
	count((buckets), (bounds), sizeof(bounds) / sizeof((bounds)[0]), (value))

void rvm_count_merged(struct rvm_counts *c, u64 ranges, u64 bytes)
{
	c->merged_ranges += ranges;
	c->merged_bytes += bytes;
	COUNT(c->range_merges, merges, ranges);
	COUNT(c->range_overlaps, lengths, bytes);
}

void rvm_count_coalesced(struct rvm_counts *c, u64 commits, u64 ranges, u64 bytes)
{
	if (commits < 2)
		return;
	c->coalesced_commits += commits - 1;
	c->coalesced_ranges += ranges;
	c->coalesced_bytes += bytes;
	COUNT(c->trans_coalesces, merges, commits - 1);
	COUNT(c->trans_merges, merges, ranges);
	COUNT(c->trans_overlaps, lengths, bytes);
}

void rvm_count_flush(struct rvm_counts *c, u64 bytes, u64 ns)
{
	c->flushes++;
	c->flushed_bytes += bytes;
	c->flush_ns += ns;
	COUNT(c->flush_times, flush_times, ns);
}

void rvm_count_truncation(struct rvm_counts *c, enum rvm_truncation why,
			  const struct rvm_truncation_time *time)
{
	c->truncations[why]++;
	c->truncation_ns += time->total;
	COUNT(c->truncation_times, truncation_times, time->total);
	COUNT(c->build_times, truncation_times, time->build);
	COUNT(c->apply_times, truncation_times, time->apply);
}
