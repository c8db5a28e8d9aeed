/* SPDX-License-Identifier: GPL-2.0 OR MIT */
/*
 * Statistics of the open log.
 *
 *	rvm_statistics_t statistics;
 *
 *	rvm_init_statistics(&statistics);
 *	RVM_STATISTICS(&statistics);
 *	rvm_print_statistics(&statistics, stdout);
 *
 * Whose they are: all of them are the log's, since it was opened.  With the user
 * engine that is this process alone.  With the kernel engine it is all processes
 * that use the log, since the first of them opened it, and until the last has
 * gone; only n_uncommit is about this process.
 *
 * An epoch begins when the log is opened, and when a truncation has succeeded,
 * also if there was nothing in the log.  Recovery begins none.  What was counted goes
 * to the fields tot_... then; they are the sum over all epochs but the current one, and
 * n_... + tot_... is the total.  Commits that are made while a truncation is under
 * way are of the epoch that it ends.
 */
#ifndef RVM_STATISTICS_H
#define RVM_STATISTICS_H

#include <stdio.h>

#include <rvm/rvm.h>

#ifdef __cplusplus
extern "C" {
#endif

#define RVM_STATISTICS_VERSION	"RVM Statistics Version 1.1 8 Dec 1992"

/*
 * Histograms.  An element counts what is at most the bound of the same place in
 * the list of bounds, and more than the one before; the last what exceeds them all.
 */
#define flush_times_len		10
#define flush_times_dist	25, 50, 100, 250, 500, 1000, 2500, 5000, 10000	/* ms */

#define truncation_times_len	5
#define truncation_times_dist	1, 10, 100, 500					/* s */

#define range_lengths_len	13
#define range_lengths_dist	0, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096	/* bytes */
#define range_overlaps_len	range_lengths_len
#define range_overlaps_dist	range_lengths_dist
#define trans_overlaps_len	range_lengths_len
#define trans_overlaps_dist	range_lengths_dist

#define range_elims_len		6
#define range_elims_dist	0, 5, 10, 50, 100
#define trans_elims_len		range_elims_len
#define trans_elims_dist	range_elims_dist
#define trans_coalesces_len	range_elims_len
#define trans_coalesces_dist	range_elims_dist

/* Offsets are lengths in bytes. Where nothing else is said, a field is a count. */
typedef struct {
	rvm_struct_id_t struct_id;	/* rvm_statistics_id */
	rvm_bool_t from_heap;

	/*
	 * Transactions, in this epoch.  Aborts are those by rvm_abort_transaction,
	 * those after a commit that failed, and with the kernel engine those of
	 * processes that died.  Commits count when they have a place in the commit
	 * order, empty ones too.  (But not the kernel engine's no_flush commits in
	 * which tracked regions are all that is used, and nothing was stored.)
	 */
	rvm_length_t n_abort;
	rvm_length_t n_flush_commit;
	rvm_length_t n_no_flush_commit;
	rvm_length_t n_uncommit;	/* transactions of this process that are open now */
	rvm_length_t n_no_flush;	/* commits that are queued now: nobody has begun to
					   write them to the log */
	rvm_length_t n_truncation_wait;	/* commits that waited for truncation, since the
					   log was full */
	rvm_offset_t no_flush_length;	/* of the log that the n_no_flush commits take; an
					   upper bound where they are being coalesced */

	/*
	 * The log, in this epoch.  A flush is one write of all that was queued, by
	 * whatever it was caused; it is one also where it continues at the area's
	 * start, and takes two requests.
	 */
	rvm_length_t n_split;		/* records that begin at the area's end and
					   continue at its start */
	rvm_length_t n_flush;		/* flushes that were done */
	rvm_length_t n_rvm_flush;	/* calls of rvm_flush, and of rvm_terminate by other
					   processes that use the log */
	rvm_length_t n_special;		/* writes of the status block, which has what is not
					   of a commit: where the log begins, and the names of
					   its segments */
	rvm_length_t n_wrap;		/* times that the log, having come to the area's
					   end, went on at its start */
	rvm_length_t log_dev_cur;	/* per cent of the log that are in use now */
	rvm_offset_t log_written;	/* by flushes, with what fills their last blocks */

	/*
	 * Optimizations, in this epoch.  Within a transaction (RVM_COALESCE_RANGES), for
	 * each commit: bytes that were declared again, and declared ranges that
	 * became part of another, since they overlap or adjoin.  Between transactions
	 * (RVM_COALESCE_TRANS), for each record that several commits became: bytes
	 * that were committed again, ranges that became part of another, and commits
	 * that need no record of their own, all but the first.
	 */
	rvm_offset_t range_overlap;
	rvm_offset_t trans_overlap;
	rvm_length_t n_range_elim;
	rvm_length_t n_trans_elim;
	rvm_length_t n_trans_coalesced;

	/*
	 * Times.  The last ones are as they were, whenever that was, rounded down.  A
	 * truncation first finds out what is to be written ("builds the tree"), and
	 * then writes and flushes the segments ("applies" it), in turns if that is much;
	 * its time also has writing the status block.
	 */
	struct timeval flush_time;	/* of all flushes of this epoch */
	rvm_length_t last_flush_time;	/* milliseconds */
	rvm_length_t last_truncation_time;	/* seconds; so are the next two */
	rvm_length_t last_tree_build_time;
	rvm_length_t last_tree_apply_time;

	/*
	 * Histograms of this epoch: flushes by their time; committed ranges, as the
	 * engine has them, by length (what adjoins may be one; the kernel engine's end
	 * with their page); commits by their n_range_elim; records of several commits by
	 * their n_trans_elim; commits by range_overlap; those records by trans_overlap.
	 */
	rvm_length_t flush_times[flush_times_len];
	rvm_length_t range_lengths[range_lengths_len];
	rvm_length_t range_elims[range_elims_len];
	rvm_length_t trans_elims[trans_elims_len];
	rvm_length_t range_overlaps[range_overlaps_len];
	rvm_length_t trans_overlaps[trans_overlaps_len];

	/* The same counts, of all epochs before. */
	rvm_length_t tot_abort;
	rvm_length_t tot_flush_commit;
	rvm_length_t tot_no_flush_commit;
	rvm_length_t tot_split;
	rvm_length_t tot_flush;
	rvm_length_t tot_rvm_flush;
	rvm_length_t tot_special;
	rvm_length_t tot_wrap;
	rvm_length_t log_dev_max;	/* per cent of the log: the most that were in use at
					   one time, in this epoch or before */
	rvm_offset_t tot_log_written;
	rvm_offset_t tot_range_overlap;
	rvm_offset_t tot_trans_overlap;
	rvm_length_t tot_range_elim;
	rvm_length_t tot_trans_elim;
	rvm_length_t tot_trans_coalesced;

	/*
	 * Truncations that succeeded, by what they were for: rvm_truncate; in the
	 * background, at the `truncate` option or for want of memory; in a call that
	 * could not go on without: a commit that found the log full, of several one,
	 * though all count as waiting, or the user engine's rvm_map of a segment of which
	 * the log has newer bytes.
	 */
	rvm_length_t tot_rvm_truncate;
	rvm_length_t tot_async_truncation;
	rvm_length_t tot_sync_truncation;
	rvm_length_t tot_truncation_wait;	/* n_truncation_wait, of the epochs before */
	rvm_length_t tot_recovery;		/* recoveries that found records to apply: when
						   the log was opened, or when a segment that had
						   been missing was mapped */
	struct timeval tot_flush_time;		/* flush_time, of the epochs before */
	struct timeval tot_truncation_time;	/* of the three sorts above */

	/*
	 * Histograms.  Those of truncations, and the last one, which is of records of
	 * several commits by n_trans_coalesced, are of all epochs; the others of those
	 * before this one.
	 */
	rvm_length_t tot_tree_build_times[truncation_times_len];
	rvm_length_t tot_tree_apply_times[truncation_times_len];
	rvm_length_t tot_truncation_times[truncation_times_len];
	rvm_length_t tot_flush_times[flush_times_len];
	rvm_length_t tot_range_lengths[range_lengths_len];
	rvm_length_t tot_range_elims[range_elims_len];
	rvm_length_t tot_trans_elims[trans_elims_len];
	rvm_length_t tot_range_overlaps[range_overlaps_len];
	rvm_length_t tot_trans_overlaps[trans_overlaps_len];
	rvm_length_t tot_trans_coalesces[trans_coalesces_len];
} rvm_statistics_t;

/* As for the other records, see <rvm/rvm.h>. All counts are 0. */
rvm_statistics_t *rvm_malloc_statistics(void);
void rvm_init_statistics(rvm_statistics_t *statistics);
rvm_statistics_t *rvm_copy_statistics(rvm_statistics_t *statistics);
void rvm_free_statistics(rvm_statistics_t *statistics);

/*
 * Read the statistics of the open log (of the one in use, where there are several)
 * into *statistics, a record that was initialized.  All of it is of one moment.  It
 * waits neither for the log nor for truncation, and any thread may call it.
 *
 * RVM_EINIT		as for the calls of <rvm/rvm.h>
 * RVM_ESTAT_VERSION_SKEW  version is not RVM_STATISTICS_VERSION
 * RVM_ESTATISTICS	statistics is NULL, or its struct_id not rvm_statistics_id
 * RVM_ELOG		no log is open
 * After an error *statistics is as it was.
 */
rvm_return_t rvm_statistics(const char *version, rvm_statistics_t *statistics);

#define RVM_STATISTICS(statistics)	rvm_statistics(RVM_STATISTICS_VERSION, (statistics))

/*
 * Print a record for people to read: every field, those of the epoch and of the
 * epochs before side by side, and histograms with their bounds.  It is not
 * flushed to the file.
 *
 * RVM_EINIT		as above
 * RVM_ESTATISTICS	as above
 * RVM_EIO		out is NULL (EINVAL), or could not be written; some may have been
 */
rvm_return_t rvm_print_statistics(rvm_statistics_t *statistics, FILE *out);

#ifdef __cplusplus
}
#endif

#endif
