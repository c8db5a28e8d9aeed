// SPDX-License-Identifier: GPL-2.0
/*
 * Recovery commits the old records anew, oldest first, into committed images;
 * the rest is truncation.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/pagemap.h>
#include <linux/sched/signal.h>

#include "module/image.h"
#include "module/log.h"
#include "module/recover.h"
#include "module/segment.h"
#include "module/trace.h"
#include "module/truncate.h"

#define PAGES_AT_A_TIME	4096	/* what recovery holds in memory at once */
#define READ_AHEAD	(64u << 10)	/* bytes of the log whose pages are being read, */
#define PAGES_AHEAD	1024ul		/* and of a record so many at most */

struct recovery {
	struct rvm_log *log;
	struct rvm_record record;
	bool applied, kept;		/* some of the record was, some stays */
	unsigned int pages;		/* applied since the last truncation */
	struct rvm_scan ahead;		/* goes before, for pages; RVM_NOWHERE: ended */
	unsigned long pages_ahead;	/* that may yet be read for its record */
};

static bool takes(const struct rvm_segment *segment, u64 offset, u32 length)
{
	return segment->file.writable && offset + length <= segment->size;
}

static int begin_read(void *context, u32 id, u64 offset, const void *data, u32 length)
{
	struct recovery *r = context;
	struct rvm_segment *segment = rvm_segment_find(r->log, id);

	if (length && segment && segment->waiting && takes(segment, offset, length)) {
		pgoff_t first = offset >> PAGE_SHIFT, last = (offset + length - 1) >> PAGE_SHIFT;
		unsigned long pages = min(last - first + 1, r->pages_ahead);
		DEFINE_READAHEAD(ahead, NULL, NULL, segment->inode->i_mapping, first);

		page_cache_ra_unbounded(&ahead, pages, 0);
		r->pages_ahead -= pages;
	}
	return 0;
}

/*
 * Records are of pages anywhere, and a device does many reads in the time of one: they
 * begin before they are needed.  What fails here is found, and told, by the scan.
 */
static void read_ahead(struct recovery *r, u64 position)
{
	u64 end = min(position + READ_AHEAD, r->log->status->start);

	while (r->ahead.position < end) {
		r->pages_ahead = PAGES_AHEAD;
		if (rvm_scan_next(&r->ahead) <= 0 ||
		    rvm_scan_ranges(&r->ahead, &r->ahead.record, begin_read, r))
			r->ahead.position = RVM_NOWHERE;
	}
}

static int apply_to_page(struct recovery *r, struct rvm_segment *segment, u64 offset,
			 const void *data, u32 length)
{
	struct rvm_log *log = r->log;
	struct rvm_image *image;
	struct folio *folio;

	folio = read_mapping_folio(segment->inode->i_mapping, offset >> PAGE_SHIFT, NULL);
	if (IS_ERR(folio))
		return PTR_ERR(folio);
	folio_lock(folio);
	image = rvm_image_make(segment, folio, RVM_MEMORY_RECOVER);
	if (image) {
		mutex_lock(&log->commit_lock);
		memcpy(rvm_image_committed(image) + offset_in_page(offset), data, length);
		memcpy(rvm_image_current(image) + offset_in_page(offset), data, length);
		rvm_image_logged(image, r->record.position, r->record.sequence);
		mutex_unlock(&log->commit_lock);
	}
	folio_unlock(folio);
	folio_put(folio);
	return image ? 0 : -ENOMEM;
}

static int apply(void *context, u32 id, u64 offset, const void *data, u32 length)
{
	struct recovery *r = context;
	struct rvm_segment *segment = rvm_segment_find(r->log, id);
	int ret;

	if (!segment) {
		if (xa_load(&r->log->waiting, id))
			r->kept = true;
		return 0;
	}
	if (!segment->waiting)
		return 0;
	if (!takes(segment, offset, length)) {
		pr_warn_ratelimited("a segment is too short or read-only for its log records: they stay in the log\n");
		segment->unfit = true;
		r->kept = true;
		return 0;
	}
	r->applied = true;
	while (length) {
		u32 n = min_t(u32, length, PAGE_SIZE - offset_in_page(offset));

		ret = apply_to_page(r, segment, offset, data, n);
		if (ret)
			return ret;
		r->pages++;
		offset += n;
		data += n;
		length -= n;
	}
	return 0;
}

static int apply_records(struct recovery *r, struct rvm_scan *scan, u64 *applied, u64 *kept,
			 u64 *first_kept, u64 *first_kept_sequence)
{
	u64 start = r->log->status->start;
	int ret;

	while (scan->position < start) {
		read_ahead(r, scan->position);
		ret = rvm_scan_next(scan);
		if (ret <= 0)
			return ret;
		if (scan->record.position >= start)
			break;
		r->record = scan->record;
		r->applied = false;
		r->kept = false;
		ret = rvm_scan_ranges(scan, &r->record, apply, r);
		if (ret)
			return ret;
		*applied += r->applied;
		if (r->kept && !(*kept)++) {
			*first_kept = r->record.position;
			*first_kept_sequence = r->record.sequence;
		}
		if (r->pages >= PAGES_AT_A_TIME) {
			ret = rvm_truncate_locked(r->log);
			if (ret)
				return ret;
			r->pages = 0;
		}
		if (fatal_signal_pending(current))
			return -EINTR;
		cond_resched();
	}
	return 0;
}

int rvm_recover(struct rvm_log *log, u64 *applied, u64 *kept)
{
	u64 first_kept = RVM_NOWHERE, first_kept_sequence = 0;
	u64 old_kept, old_kept_sequence;
	struct recovery r = { .log = log };
	u64 began = rvm_trace_begin(trace_rvm_recover_enabled());
	struct rvm_segment *segment;
	struct rvm_scan scan;
	int ret;

	*applied = 0;
	*kept = 0;
	mutex_lock(&log->attach_lock);
	mutex_lock(&log->truncate_lock);
	if (log->kept == RVM_NOWHERE)
		goto done;
	ret = rvm_log_scan_init(log, &scan);
	if (ret)
		goto out;
	ret = rvm_log_scan_init(log, &r.ahead);
	if (ret)
		goto out_scan;
	list_for_each_entry(segment, &log->segments, node)
		segment->unfit = false;
	ret = apply_records(&r, &scan, applied, kept, &first_kept, &first_kept_sequence);
	rvm_log_scan_end(&r.ahead);
out_scan:
	rvm_log_scan_end(&scan);
	if (ret)
		goto out;
	old_kept = log->kept;
	old_kept_sequence = log->kept_sequence;
	log->kept = first_kept;
	log->kept_sequence = first_kept_sequence;
	ret = rvm_truncate_locked(log);
	if (ret) {
		/* The next RECOVER applies all of them again. */
		log->kept = old_kept;
		log->kept_sequence = old_kept_sequence;
		goto out;
	}
	log->recovered_records += *applied;
	log->counts.recoveries += *applied != 0;
	list_for_each_entry(segment, &log->segments, node) {
		if (segment->unfit)
			continue;
		xa_erase(&log->waiting, segment->id);
		WRITE_ONCE(segment->waiting, false);
	}
done:
	ret = 0;
	WRITE_ONCE(log->recovered, true);
out:
	mutex_unlock(&log->truncate_lock);
	mutex_unlock(&log->attach_lock);
	trace_rvm_recover(log, *applied, *kept, began, ret);
	return ret;
}
