// SPDX-License-Identifier: GPL-2.0
/*
 * Commit.  All of it happens under commit_lock, which is the commit order; what
 * needs memory, log space or the disk first is done without it, and then the
 * commit begins anew.
 */
#include <linux/overflow.h>
#include <linux/slab.h>

#include "core/diff.h"
#include "module/area.h"
#include "module/coalesce.h"
#include "module/commit.h"
#include "module/image.h"
#include "module/log.h"
#include "module/segment.h"
#include "module/trace.h"
#include "module/tracking.h"
#include "module/truncate.h"

/* What a transaction comes to: its pieces are in area->pieces, as far as there's room. */
struct total {
	u32 pieces;
	u64 bytes;		/* of the whole record */
	bool tracked;		/* what the process changed in tracked regions is part of it */
	bool in_line;		/* for log space: its task holds line_lock */
};

static void add_piece(struct rvm_area *area, struct rvm_image *image, u32 at, u32 n,
		      struct total *total)
{
	if (total->pieces < area->pieces_room)
		area->pieces[total->pieces] = (struct rvm_piece) { image, at, n };
	total->pieces++;
	total->bytes += rvm_range_size(n);
}

/*
 * The pages of one declared range that have been stored to.  A page without an
 * image still equals its segment: there is nothing to log.
 */
static void add_pieces(struct rvm_area *area, struct rvm_region *region,
		       const struct rvm_area_entry *entry, struct total *total)
{
	u64 offset = rvm_region_offset(region, entry->address);
	u64 end = offset + entry->length;
	struct rvm_image *image;

	while (offset < end) {
		u32 n;

		image = rvm_image_find(region->segment, &offset, end);
		if (!image)
			break;
		n = min_t(u64, end - offset, PAGE_SIZE - offset_in_page(offset));
		add_piece(area, image, offset_in_page(offset), n, total);
		offset += n;
	}
}

static int add_entries(struct rvm_area *area, const u8 *base, u32 used, struct total *total)
{
	struct rvm_region *region = NULL;
	struct rvm_area_entry entry;
	u32 at, size, n = 0;

	for (at = 0; at < used; at += size) {
		size = rvm_entry_copy(base + at, used - at, &entry);
		if (!size)
			return -EINVAL;
		if (!region || !rvm_region_takes(region, entry.address, entry.length))
			region = rvm_process_region(area->process, entry.address, entry.length);
		/* Recovery could not put back what lies behind the end, in the last page. */
		if (!region || rvm_region_offset(region, entry.address) + entry.length >
			       READ_ONCE(region->segment->size))
			return -EFAULT;
		add_pieces(area, region, &entry, total);
		if (total->bytes > RVM_RECORD_MAX)
			return -EFBIG;
		if (++n % 64)
			continue;
		if (fatal_signal_pending(current))
			return -EINTR;
		cond_resched();
	}
	return 0;
}

/* What a page that the process owns has changed in, or all of it. */
static void add_changed(struct rvm_area *area, struct rvm_image *image, struct total *total)
{
	void *committed = rvm_image_committed(image), *current_page = rvm_image_current(image);
	u32 size = rvm_image_length(image), at, length;

	at = rvm_diff_next(committed, current_page, 0, size, RVM_DIFF_GAP, &length);
	image->changed = at < size;
	if (image->whole && at < size) {
		add_piece(area, image, 0, size, total);
		return;
	}
	while (at < size) {
		add_piece(area, image, at, length, total);
		at = rvm_diff_next(committed, current_page, at + length, size, RVM_DIFF_GAP,
				   &length);
	}
}

static int add_tracked(struct rvm_area *area, struct total *total)
{
	struct rvm_image *image;

	list_for_each_entry(image, &area->process->hot, hot) {
		add_changed(area, image, total);
		if (total->bytes > RVM_RECORD_MAX)
			return -EFBIG;
		if (fatal_signal_pending(current))
			return -EINTR;
		cond_resched();
	}
	return 0;
}

/* Check what was declared, and break it into pieces. */
static int take_stock(struct rvm_area *area, struct total *total)
{
	/* Pairs with the process's store-release, after it wrote the entry. */
	u32 used = smp_load_acquire(&area->shared->used);
	struct rvm_entries *spilled;
	int ret;

	total->pieces = 0;
	total->bytes = RVM_RECORD_MIN;
	total->tracked = rvm_tracking_owns(area);
	if (total->tracked) {
		ret = add_tracked(area, total);
		if (ret)
			return ret;
	}
	list_for_each_entry(spilled, &area->spilled, node) {
		ret = add_entries(area, spilled->base, spilled->used, total);
		if (ret)
			return ret;
	}
	return used > area->room ? -EINVAL :
	       add_entries(area, area->entries.base, used, total);
}

static void append(struct rvm_log *log, struct rvm_area *area, const struct total *total)
{
	u32 i;

	rvm_log_begin(log, total->bytes, total->pieces, log->sequence, 1);
	for (i = 0; i < total->pieces; i++) {
		rvm_count_range(&log->counts, area->pieces[i].length);
		rvm_commit_piece(&area->pieces[i], log->appending, log->sequence);
		rvm_commit_append(log, &area->pieces[i]);
	}
	rvm_log_end(log, total->bytes);
	log->sequence++;
}

/* Room for the pieces: -EAGAIN tells to look again, for the lock was dropped. */
static int grow_pieces(struct rvm_log *log, u32 id, u32 room)
{
	struct rvm_piece *pieces = NULL;
	struct rvm_area *area;

	mutex_unlock(&log->commit_lock);
	room = roundup_pow_of_two(room);
	if (rvm_memory_charge(log, rvm_pieces_pages(room), RVM_MEMORY_COMMIT)) {
		pieces = kvmalloc_array(room, sizeof(*pieces), GFP_KERNEL_ACCOUNT);
		if (!pieces)
			rvm_memory_uncharge(log, rvm_pieces_pages(room));
	}
	mutex_lock(&log->commit_lock);
	if (!pieces)
		return -ENOMEM;
	area = rvm_area_find(log, id);
	if (area && area->pieces_room < room) {
		swap(area->pieces, pieces);
		swap(area->pieces_room, room);
	}
	rvm_memory_uncharge(log, rvm_pieces_pages(room));
	kvfree(pieces);
	return -EAGAIN;
}

/* head: as it was when there was no room, or before. */
static int make_log_room(struct rvm_log *log, u64 size, u64 head, struct total *total)
{
	int ret;

	log->counts.truncation_waits += !total->in_line;
	mutex_unlock(&log->commit_lock);
	if (!total->in_line)
		mutex_lock(&log->line_lock);
	total->in_line = true;
	ret = rvm_truncate(log, size, RVM_TRUNCATION_NEEDED);
	mutex_lock(&log->commit_lock);
	if (READ_ONCE(log->failed))
		return -EIO;
	if (!ret && rvm_log_fits(log, size))
		return -EAGAIN;
	/* The log is full because memory is short, which may pass. */
	if (ret == -ENOMEM)
		return ret;
	/* Full, and what holds the space can't be applied. */
	if (ret || atomic64_read(&log->head) == head)
		return -ENOSPC;
	return -EAGAIN;
}

/* The same in memory: write out what is there. */
static int make_ring_room(struct rvm_log *log, u64 size)
{
	bool grow = size > log->ring.size - RVM_BLOCK_MAX;
	u64 position = rvm_log_seal(log);
	int ret;

	mutex_unlock(&log->commit_lock);
	if (grow)
		ret = rvm_log_grow_ring(log, size);
	else
		ret = rvm_log_flush(log, position);
	mutex_lock(&log->commit_lock);
	return ret ? ret : -EAGAIN;
}

/* Sorted, and without what was declared twice. */
static void sort_pieces(struct rvm_area *area, struct total *total)
{
	u32 i;

	if (!total->pieces)
		return;
	total->pieces = rvm_pieces_sort(area->pieces, total->pieces);
	total->bytes = RVM_RECORD_MIN;
	for (i = 0; i < total->pieces; i++)
		total->bytes += rvm_range_size(area->pieces[i].length);
}

/* What the library merged before we saw it. */
static void count_merged(struct rvm_log *log, struct rvm_area_header *shared)
{
	rvm_count_merged(&log->counts, READ_ONCE(shared->merged_ranges),
			 READ_ONCE(shared->merged_bytes));
	WRITE_ONCE(shared->merged_ranges, 0);
}

/* One try, under commit_lock. */
static int try_commit(struct rvm_log *log, u32 id, u32 flags, struct total *total, u64 *sequence,
		      u64 *position, struct rvm_findings *findings)
{
	bool flush = flags & RVM_COMMIT_FLUSH;
	struct rvm_area *area = rvm_area_find(log, id);
	u64 head, need;
	bool coalesce;
	int ret;

	if (!area)
		return -ENOENT;
	if (READ_ONCE(log->failed))
		return -EIO;
	ret = take_stock(area, total);
	if (ret)
		return ret;
	if (!rvm_log_fits_empty(log, total->bytes))
		return -EFBIG;
	if (total->pieces > area->pieces_room)
		return grow_pieces(log, id, total->pieces);
	/* A commit that is flushed at once begins no run, but ends one. */
	coalesce = log->coalesce.pieces && (!flush || log->coalesce.commits) &&
		   rvm_coalesce_takes(log, total->pieces, total->bytes);
	if (log->coalesce.commits && total->pieces &&
	    !(coalesce && rvm_coalesce_make_room(log, total->pieces, total->bytes))) {
		rvm_log_seal(log);
		coalesce &= !flush;
	}
	need = total->bytes + log->coalesce.bytes;
	/* First this: a truncation may move it at any time. */
	head = atomic64_read(&log->head);
	/* Behind those that wait already: a large one would wait for ever. */
	if (!rvm_log_fits(log, need) || (mutex_is_locked(&log->line_lock) && !total->in_line))
		return make_log_room(log, need, head, total);
	if (!rvm_log_fits_ring(log, need))
		return make_ring_room(log, need);

	if (area->process->checked) {
		sort_pieces(area, total);
		ret = rvm_check(area, total->pieces, !(flags & RVM_COMMIT_CHECKED), findings);
		if (ret)
			return ret;
		if (flags & RVM_COMMIT_CHECKED && findings->count)
			return -EUCLEAN;
	}

	*sequence = log->sequence;
	if (total->pieces) {
		if (coalesce)
			rvm_coalesce_add(log, area, total->pieces, total->bytes);
		else
			append(log, area, total);
		rvm_area_patch_others(area, total->pieces);
	}
	if (READ_ONCE(area->shared->merged_ranges))
		count_merged(log, area->shared);
	rvm_area_reset(area);
	log->counts.commits++;
	if (flush) {
		log->counts.flush_commits++;
		*position = rvm_log_seal(log);
	}
	if (total->tracked && rvm_tracking_end(area))
		rvm_tracking_cool(log, area->process);
	return 0;
}

int rvm_commit(struct rvm_log *log, u32 area, u32 flags, u64 *sequence,
	       struct rvm_findings *findings)
{
	bool flush = flags & RVM_COMMIT_FLUSH;
	u64 position = 0, began = rvm_trace_begin(trace_rvm_commit_enabled());
	struct total total = { };
	int ret;

	*sequence = 0;
	findings->count = 0;
	if (!READ_ONCE(log->recovered))
		return -EAGAIN;
	mutex_lock(&log->commit_lock);
	do {
		ret = try_commit(log, area, flags, &total, sequence, &position, findings);
	} while (ret == -EAGAIN);
	mutex_unlock(&log->commit_lock);
	if (total.in_line)
		mutex_unlock(&log->line_lock);
	if (!ret && flush)
		ret = rvm_log_flush(log, position);
	else if (!ret)
		rvm_log_flush_later(log);
	trace_rvm_commit(log, area, flush, *sequence, total.pieces, total.bytes, began, ret);
	rvm_truncate_consider(log);
	return ret;
}
