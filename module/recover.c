// SPDX-License-Identifier: GPL-2.0
/*
 * Recovery commits the old records anew, oldest first, into committed images;
 * the rest is truncation.
 *
 * Records are of pages anywhere, but a device reads and writes in sequence best.  So
 * they are taken in batches, of as many pages as memory allows: a first scan collects
 * their pages, these are read in order, the records are applied, and truncation writes
 * the pages, in order too.
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

#define PAGES_AT_LEAST	4096ul	/* in a batch, however little memory there is */
#define GAP		4	/* pages between two cost less to read than another request */

struct recovery {
	struct rvm_log *log;
	struct rvm_record record;
	bool applied, kept;		/* some of the record was, some stays */
	struct rvm_scan ahead;		/* stands where the batch ends */
	unsigned long pages;		/* in the batch */
};

static bool takes(const struct rvm_segment *segment, u64 offset, u32 length)
{
	return segment->file.writable && offset + length <= segment->size;
}

static int collect(void *context, u32 id, u64 offset, const void *data, u32 length)
{
	struct recovery *r = context;
	struct rvm_segment *segment = rvm_segment_find(r->log, id);
	u64 end = offset + length;

	if (!segment || !segment->waiting || !takes(segment, offset, length))
		return 0;
	while (offset < end) {
		u64 next = min(end, (offset | ~PAGE_MASK) + 1);
		unsigned long index = offset >> PAGE_SHIFT;
		int ret;

		if (!xa_load(&segment->wanted, index)) {
			/* What is first written as a whole need not be read. */
			ret = xa_insert(&segment->wanted, index,
					xa_mk_value(next - offset < PAGE_SIZE),
					GFP_KERNEL_ACCOUNT);
			if (ret)
				return ret;
			r->pages++;
		}
		offset = next;
	}
	return 0;
}

/* What can't be read now is found, and told, when records are applied to it. */
static void read_run(struct rvm_segment *segment, pgoff_t first, unsigned long pages)
{
	DEFINE_READAHEAD(ahead, NULL, NULL, segment->inode->i_mapping, first);

	if (pages)
		page_cache_ra_unbounded(&ahead, pages, 0);
}

static void read_collected(struct rvm_segment *segment)
{
	unsigned long index, first = 0, pages = 0;
	void *entry;

	xa_for_each(&segment->wanted, index, entry) {
		if (!xa_to_value(entry))
			continue;
		if (pages >= RVM_IO_MAX || index - first > pages + GAP) {
			read_run(segment, first, pages);
			pages = 0;
		}
		if (!pages)
			first = index;
		pages = index - first + 1;
	}
	read_run(segment, first, pages);
	xa_destroy(&segment->wanted);
}

/* The last batch is written, and the pages of the next are on their way. */
static int next_batch(struct recovery *r)
{
	struct rvm_segment *segment;
	unsigned long most;
	int ret;

	ret = r->pages ? rvm_truncate_locked(r->log, true) : 0;
	if (ret)
		return ret;
	r->pages = 0;
	most = max(rvm_memory_left(r->log), PAGES_AT_LEAST);
	while (r->pages < most && r->ahead.position < r->log->status->start) {
		ret = rvm_scan_next(&r->ahead);
		if (ret > 0)
			ret = rvm_scan_ranges(&r->ahead, &r->ahead.record, collect, r);
		else
			r->ahead.position = RVM_NOWHERE;
		if (ret < 0)
			break;
		cond_resched();
	}
	list_for_each_entry(segment, &r->log->segments, node)
		read_collected(segment);
	return ret;
}

/* Locked.  One that is written as a whole isn't read. */
static struct folio *get_folio(struct rvm_segment *segment, pgoff_t index, const void *data,
			       u32 length)
{
	struct address_space *mapping = segment->inode->i_mapping;
	struct folio *folio;
	struct page *page;

	if (length < PAGE_SIZE) {
		folio = read_mapping_folio(mapping, index, NULL);
		if (!IS_ERR(folio))
			folio_lock(folio);
		return folio;
	}
	page = find_or_create_page(mapping, index, mapping_gfp_mask(mapping));
	if (!page)
		return ERR_PTR(-ENOMEM);
	folio = page_folio(page);
	if (!folio_test_uptodate(folio)) {
		memcpy(folio_address(folio), data, PAGE_SIZE);
		folio_mark_uptodate(folio);
	}
	return folio;
}

static int apply_to_page(struct recovery *r, struct rvm_segment *segment, u64 offset,
			 const void *data, u32 length)
{
	/* Under truncate_lock images stay. */
	struct rvm_image *image = xa_load(&segment->images, offset >> PAGE_SHIFT);
	struct folio *folio;

	if (!image) {
		folio = get_folio(segment, offset >> PAGE_SHIFT, data, length);
		if (IS_ERR(folio))
			return PTR_ERR(folio);
		image = rvm_image_make(segment, folio, RVM_MEMORY_RECOVER);
		folio_unlock(folio);
		folio_put(folio);
		if (!image)
			return -ENOMEM;
	}
	mutex_lock(&r->log->commit_lock);
	memcpy(rvm_image_committed(image) + offset_in_page(offset), data, length);
	memcpy(rvm_image_current(image) + offset_in_page(offset), data, length);
	rvm_image_logged(image, r->record.position, r->record.sequence);
	mutex_unlock(&r->log->commit_lock);
	return 0;
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
		ret = rvm_scan_next(scan);
		if (ret <= 0)
			return ret;
		if (scan->record.position >= start)
			break;
		if (scan->record.position >= r->ahead.position) {
			ret = next_batch(r);
			if (ret)
				return ret;
		}
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
	ret = rvm_truncate_locked(log, false);
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
