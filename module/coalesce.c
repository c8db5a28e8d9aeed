// SPDX-License-Identifier: GPL-2.0
/*
 * Coalescing: collecting a run of commits, and making one record of it.
 */
#include <linux/slab.h>

#include "module/area.h"
#include "module/coalesce.h"
#include "module/commit.h"
#include "module/log.h"

/* A run is bounded: by this, and by an eighth of the log and of its ring. */
#define PIECES_MAX	4096

int rvm_coalesce_set(struct rvm_log *log, bool on)
{
	struct rvm_piece *pieces = NULL;

	if (on) {
		if (!rvm_memory_charge(log, rvm_pieces_pages(PIECES_MAX), RVM_MEMORY_COMMIT))
			return -ENOMEM;
		pieces = kvmalloc_array(PIECES_MAX, sizeof(*pieces), GFP_KERNEL_ACCOUNT);
		if (!pieces) {
			rvm_memory_uncharge(log, rvm_pieces_pages(PIECES_MAX));
			return -ENOMEM;
		}
	}
	mutex_lock(&log->commit_lock);
	/* It may be on or off already: then this changes nothing. */
	if (on != !!log->coalesce.pieces) {
		if (log->coalesce.commits)
			rvm_coalesce_end(log);
		swap(log->coalesce.pieces, pieces);
	}
	mutex_unlock(&log->commit_lock);
	if (pieces)
		rvm_memory_uncharge(log, rvm_pieces_pages(PIECES_MAX));
	kvfree(pieces);
	return 0;
}

static u64 bytes_max(const struct rvm_log *log)
{
	return min_t(u64, log->ring.size, log->status->area_length) / 8;
}

bool rvm_coalesce_takes(const struct rvm_log *log, u32 pieces, u64 bytes)
{
	return log->coalesce.pieces && pieces <= PIECES_MAX && bytes <= bytes_max(log);
}

/* What was committed again stands once. */
static void compact(struct rvm_coalesce *run)
{
	u32 i;

	run->n_pieces = rvm_pieces_sort(run->pieces, run->n_pieces);
	run->bytes = RVM_RECORD_MIN;
	for (i = 0; i < run->n_pieces; i++)
		run->bytes += rvm_range_size(run->pieces[i].length);
}

bool rvm_coalesce_make_room(struct rvm_log *log, u32 pieces, u64 bytes)
{
	struct rvm_coalesce *run = &log->coalesce;

	if (rvm_coalesce_takes(log, run->n_pieces + pieces, run->bytes + bytes))
		return true;
	compact(run);
	/* Else sorting would soon be for every commit. */
	return run->n_pieces + pieces <= PIECES_MAX / 2 && run->bytes + bytes <= bytes_max(log) / 2;
}

void rvm_coalesce_add(struct rvm_log *log, struct rvm_area *area, u32 n, u64 bytes)
{
	struct rvm_coalesce *run = &log->coalesce;
	u32 i;

	if (!run->commits++)
		run->sequence = log->sequence;
	/* The run's record will be appended next, here. */
	for (i = 0; i < n; i++) {
		rvm_count_range(&log->counts, area->pieces[i].length);
		run->added_bytes += area->pieces[i].length;
		rvm_commit_piece(&area->pieces[i], log->appended, run->sequence);
	}
	run->added_pieces += n;
	memcpy(run->pieces + run->n_pieces, area->pieces, n * sizeof(*run->pieces));
	run->n_pieces += n;
	run->bytes += bytes;
	log->sequence++;
}

void rvm_coalesce_end(struct rvm_log *log)
{
	struct rvm_coalesce *run = &log->coalesce;
	u64 bytes = 0;
	u32 i;

	compact(run);
	rvm_log_begin(log, run->bytes, run->n_pieces, run->sequence, run->commits);
	for (i = 0; i < run->n_pieces; i++) {
		rvm_commit_append(log, &run->pieces[i]);
		bytes += run->pieces[i].length;
	}
	rvm_log_end(log, run->bytes);
	rvm_count_coalesced(&log->counts, run->commits, run->added_pieces - run->n_pieces,
			    run->added_bytes - bytes);
	run->n_pieces = 0;
	run->commits = 0;
	run->bytes = 0;
	run->added_pieces = 0;
	run->added_bytes = 0;
}
