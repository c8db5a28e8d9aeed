// SPDX-License-Identifier: GPL-2.0 OR MIT
/* Statistics: what an engine counted, in the record of the API, and in print. */
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include <rvm/rvm_statistics.h>

#include "lib/api.h"
#include "lib/transaction.h"

#define LENGTH(array)	(sizeof(array) / sizeof((array)[0]))
#define SECOND		1000000000ull

_Static_assert(flush_times_len == RVM_COUNTS_FLUSH_TIMES &&
	       truncation_times_len == RVM_COUNTS_TRUNCATION_TIMES &&
	       range_lengths_len == RVM_COUNTS_LENGTHS && range_elims_len == RVM_COUNTS_MERGES,
	       "the engines count in these buckets");

/* --- the record ----------------------------------------------------------- */

static struct timeval time_of(uint64_t ns)
{
	return (struct timeval){ .tv_sec = ns / SECOND, .tv_usec = ns % SECOND / 1000 };
}

static rvm_length_t per_cent(uint64_t part, uint64_t whole)
{
	return whole ? part * 100 / whole : 0;
}

static void copy(rvm_length_t *to, const u64 *from, size_t n)
{
	while (n--)
		to[n] = from[n];
}

#define COPY(to, from) do {							\
	_Static_assert(LENGTH(to) == LENGTH(from), "the same buckets");	\
	copy((to), (from), LENGTH(to));						\
} while (0)

/* From buckets of all powers of two to those of the API: <= 0, 4, 8, ... 4096, and more. */
static void copy_lengths(rvm_length_t *to, const u64 *from)
{
	memset(to, 0, range_lengths_len * sizeof(*to));
	for (size_t i = 0; i < RVM_COUNTS_RANGE_LENGTHS; i++)
		to[i < 1 ? 1 : i > range_lengths_len - 1 ? range_lengths_len - 1 : i] += from[i];
}

/* Commits in which nothing was merged belong into the first bucket. */
static void add_others(rvm_length_t *buckets, size_t n, uint64_t commits)
{
	for (size_t i = 1; i < n; i++)
		commits -= buckets[i];
	buckets[0] = commits;
}

static void fill_epoch(rvm_statistics_t *s, const struct rvm_counts *c)
{
	s->n_abort = c->aborts + c->undone;
	s->n_flush_commit = c->flush_commits;
	s->n_no_flush_commit = c->commits - c->flush_commits;
	s->n_truncation_wait = c->truncation_waits;
	s->n_split = c->splits;
	s->n_flush = c->flushes;
	s->n_rvm_flush = c->flush_requests;
	s->n_special = c->status_writes;
	s->n_wrap = c->wraps;
	s->log_written.low = c->flushed_bytes;
	s->range_overlap.low = c->merged_bytes;
	s->trans_overlap.low = c->coalesced_bytes;
	s->n_range_elim = c->merged_ranges;
	s->n_trans_elim = c->coalesced_ranges;
	s->n_trans_coalesced = c->coalesced_commits;
	s->flush_time = time_of(c->flush_ns);
	COPY(s->flush_times, c->flush_times);
	copy_lengths(s->range_lengths, c->range_lengths);
	COPY(s->range_elims, c->range_merges);
	COPY(s->trans_elims, c->trans_merges);
	COPY(s->range_overlaps, c->range_overlaps);
	COPY(s->trans_overlaps, c->trans_overlaps);
	add_others(s->range_elims, range_elims_len, c->commits);
	add_others(s->range_overlaps, range_overlaps_len, c->commits);
}

static void fill_total(rvm_statistics_t *s, const struct rvm_counts *c)
{
	s->tot_abort = c->aborts + c->undone;
	s->tot_flush_commit = c->flush_commits;
	s->tot_no_flush_commit = c->commits - c->flush_commits;
	s->tot_split = c->splits;
	s->tot_flush = c->flushes;
	s->tot_rvm_flush = c->flush_requests;
	s->tot_special = c->status_writes;
	s->tot_wrap = c->wraps;
	s->tot_log_written.low = c->flushed_bytes;
	s->tot_range_overlap.low = c->merged_bytes;
	s->tot_trans_overlap.low = c->coalesced_bytes;
	s->tot_range_elim = c->merged_ranges;
	s->tot_trans_elim = c->coalesced_ranges;
	s->tot_trans_coalesced = c->coalesced_commits;
	s->tot_truncation_wait = c->truncation_waits;
	s->tot_flush_time = time_of(c->flush_ns);
	COPY(s->tot_flush_times, c->flush_times);
	copy_lengths(s->tot_range_lengths, c->range_lengths);
	COPY(s->tot_range_elims, c->range_merges);
	COPY(s->tot_trans_elims, c->trans_merges);
	COPY(s->tot_range_overlaps, c->range_overlaps);
	COPY(s->tot_trans_overlaps, c->trans_overlaps);
	add_others(s->tot_range_elims, range_elims_len, c->commits);
	add_others(s->tot_range_overlaps, range_overlaps_len, c->commits);
}

/* What has no epochs. */
static void fill_ever(rvm_statistics_t *s, const struct rvm_counts *c)
{
	s->tot_rvm_truncate = c->truncations[RVM_TRUNCATION_REQUESTED];
	s->tot_async_truncation = c->truncations[RVM_TRUNCATION_BACKGROUND];
	s->tot_sync_truncation = c->truncations[RVM_TRUNCATION_NEEDED];
	s->tot_recovery = c->recoveries;
	s->tot_truncation_time = time_of(c->truncation_ns);
	COPY(s->tot_tree_build_times, c->build_times);
	COPY(s->tot_tree_apply_times, c->apply_times);
	COPY(s->tot_truncation_times, c->truncation_times);
	COPY(s->tot_trans_coalesces, c->trans_coalesces);
}

static void fill_state(rvm_statistics_t *s, const struct rvm_count_state *state)
{
	s->n_no_flush = state->queued_commits;
	s->no_flush_length.low = state->queued_bytes;
	s->log_dev_cur = per_cent(state->log_used, state->log_length);
	s->log_dev_max = per_cent(state->log_most_used, state->log_length);
	s->last_flush_time = state->last_flush_ns / (SECOND / 1000);
	s->last_truncation_time = state->last_truncation.total / SECOND;
	s->last_tree_build_time = state->last_truncation.build / SECOND;
	s->last_tree_apply_time = state->last_truncation.apply / SECOND;
}

/* Both are nothing but numbers, of which none has shrunk. */
static struct rvm_counts since(const struct rvm_counts *now, const struct rvm_counts *before)
{
	struct rvm_counts result = *now;
	const u64 *old = (const u64 *)before;
	u64 *to = (u64 *)&result;

	for (size_t i = 0; i < sizeof(result) / sizeof(*to); i++)
		to[i] -= old[i];
	return result;
}

rvm_return_t rvm_statistics(const char *version, rvm_statistics_t *statistics)
{
	struct rvm_log_statistics counted;
	struct rvm_counts epoch;
	rvm_bool_t from_heap;
	struct rvm_log *log;
	rvm_return_t code;

	if (!rvm_api_ready())
		return RVM_EINIT;
	if (!version || strcmp(version, RVM_STATISTICS_VERSION))
		return RVM_ESTAT_VERSION_SKEW;
	if (!statistics || statistics->struct_id != rvm_statistics_id)
		return RVM_ESTATISTICS;
	code = rvm_api_enter(&log);
	if (code)
		return code;
	code = log->engine->statistics(log, &counted);
	if (!code) {
		from_heap = statistics->from_heap;
		rvm_init_statistics(statistics);
		statistics->from_heap = from_heap;
		epoch = since(&counted.now, &counted.before);
		fill_epoch(statistics, &epoch);
		fill_total(statistics, &counted.before);
		fill_ever(statistics, &counted.now);
		fill_state(statistics, &counted.state);
		pthread_mutex_lock(&rvm_api.lock);
		statistics->n_uncommit = rvm_transaction_count(log);
		pthread_mutex_unlock(&rvm_api.lock);
	}
	rvm_api_leave();
	return code;
}

/* --- in print --------------------------------------------------------------- */

/* A line of the table; a column that is NULL stays empty. */
static void print_line(FILE *out, const char *label, const rvm_length_t *epoch,
		       const rvm_length_t *total)
{
	char columns[2][24] = { "", "" };

	if (epoch)
		snprintf(columns[0], sizeof(columns[0]), "%lu", *epoch);
	if (total)
		snprintf(columns[1], sizeof(columns[1]), "%16lu", *total);
	fprintf(out, "  %-38s %16s%s%s\n", label, columns[0], total ? "     " : "", columns[1]);
}

static void print_time(FILE *out, const char *label, const struct timeval *epoch,
		       const struct timeval *total)
{
	char column[32] = "";

	if (epoch)
		snprintf(column, sizeof(column), "%lld.%06ld", (long long)epoch->tv_sec,
			 (long)epoch->tv_usec);
	fprintf(out, "  %-38s %16s %13lld.%06ld\n", label, column, (long long)total->tv_sec,
		(long)total->tv_usec);
}

static const rvm_length_t flush_bounds[] = { flush_times_dist };
static const rvm_length_t truncation_bounds[] = { truncation_times_dist };
static const rvm_length_t length_bounds[] = { range_lengths_dist };
static const rvm_length_t elim_bounds[] = { range_elims_dist };

struct bounds {
	const char *unit;
	const rvm_length_t *bound;
	size_t n;
};

#define BOUNDS(unit, bound)	((const struct bounds){ (unit), (bound), LENGTH(bound) })

static void print_histogram(FILE *out, const char *label, struct bounds b,
			    const rvm_length_t *epoch, const rvm_length_t *total)
{
	char text[48];

	fprintf(out, "  %s\n", label);
	for (size_t i = 0; i <= b.n; i++) {
		if (i < b.n)
			snprintf(text, sizeof(text), "  up to %lu%s", b.bound[i], b.unit);
		else
			snprintf(text, sizeof(text), "  more");
		print_line(out, text, epoch ? epoch + i : NULL, total ? total + i : NULL);
	}
}

#define PRINT(label, name)	print_line(out, (label), &s->n_##name, &s->tot_##name)
#define NOW(label, name)	print_line(out, (label), &s->name, NULL)
#define EVER(label, name)	print_line(out, (label), NULL, &s->name)
#define OFFSETS(label, name)	print_line(out, (label), &s->name.low, &s->tot_##name.low)
#define HISTOGRAM(label, unit, bound, name) \
	print_histogram(out, (label), BOUNDS((unit), (bound)), s->name, s->tot_##name)

static void print(const rvm_statistics_t *s, FILE *out)
{
	fprintf(out, "%-40s %16s %20s\n", "Transactions", "this epoch", "the epochs before");
	PRINT("aborted", abort);
	PRINT("committed, flush", flush_commit);
	PRINT("committed, no_flush", no_flush_commit);
	NOW("open now", n_uncommit);
	NOW("commits queued now", n_no_flush);
	NOW("bytes of the log that these take", no_flush_length.low);
	PRINT("commits that waited for truncation", truncation_wait);

	fprintf(out, "Optimizations\n");
	OFFSETS("bytes declared again", range_overlap);
	PRINT("ranges merged in a transaction", range_elim);
	OFFSETS("bytes committed again", trans_overlap);
	PRINT("ranges merged between transactions", trans_elim);
	PRINT("commits coalesced", trans_coalesced);

	fprintf(out, "Log\n");
	print_line(out, "per cent in use: now, most", &s->log_dev_cur, &s->log_dev_max);
	OFFSETS("bytes written", log_written);
	PRINT("flushes", flush);
	PRINT("calls of rvm_flush", rvm_flush);
	PRINT("status blocks written", special);
	PRINT("returns to the area's start", wrap);
	PRINT("records split there", split);
	print_time(out, "seconds of flushes", &s->flush_time, &s->tot_flush_time);
	NOW("the last flush, ms", last_flush_time);

	fprintf(out, "Truncation, in all epochs\n");
	EVER("by rvm_truncate", tot_rvm_truncate);
	EVER("in the background", tot_async_truncation);
	EVER("by calls that needed it", tot_sync_truncation);
	EVER("recoveries", tot_recovery);
	print_time(out, "seconds", NULL, &s->tot_truncation_time);
	NOW("the last, seconds", last_truncation_time);
	NOW("the last, finding what to write, s", last_tree_build_time);
	NOW("the last, writing it, s", last_tree_apply_time);

	fprintf(out, "Histograms\n");
	HISTOGRAM("flushes by time", " ms", flush_bounds, flush_times);
	HISTOGRAM("committed ranges by length", " bytes", length_bounds, range_lengths);
	HISTOGRAM("commits by merged ranges", "", elim_bounds, range_elims);
	HISTOGRAM("commits by bytes declared again", " bytes", length_bounds, range_overlaps);
	HISTOGRAM("coalesced records by merged ranges", "", elim_bounds, trans_elims);
	HISTOGRAM("coalesced records by bytes committed again", " bytes", length_bounds,
		  trans_overlaps);
	print_histogram(out, "coalesced records by coalesced commits, in all epochs",
			BOUNDS("", elim_bounds), NULL, s->tot_trans_coalesces);
	print_histogram(out, "truncations by time, in all epochs",
			BOUNDS(" s", truncation_bounds), NULL, s->tot_truncation_times);
	print_histogram(out, "the same, finding what to write",
			BOUNDS(" s", truncation_bounds), NULL, s->tot_tree_build_times);
	print_histogram(out, "the same, writing it",
			BOUNDS(" s", truncation_bounds), NULL, s->tot_tree_apply_times);
}

rvm_return_t rvm_print_statistics(rvm_statistics_t *statistics, FILE *out)
{
	if (!rvm_api_ready())
		return RVM_EINIT;
	if (!statistics || statistics->struct_id != rvm_statistics_id)
		return RVM_ESTATISTICS;
	if (!out) {
		errno = EINVAL;
		return RVM_EIO;
	}
	flockfile(out);
	print(statistics, out);
	funlockfile(out);
	return ferror(out) ? RVM_EIO : RVM_SUCCESS;
}
