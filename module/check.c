// SPDX-License-Identifier: GPL-2.0
/*
 * Checked regions: what was changed there, and nobody declared.  Most pages have
 * nothing that the committer did not declare, so only the others are looked at
 * with the entries of all open transactions.
 */
#include <linux/bitmap.h>
#include <linux/rmap.h>
#include <linux/sched/signal.h>

#include "core/diff.h"
#include "module/area.h"
#include "module/image.h"
#include "module/log.h"
#include "module/segment.h"
#include "module/tracking.h"

/* Bytes of one page. */
struct bytes {
	DECLARE_BITMAP(set, PAGE_SIZE);
	bool any;
};

static void add(struct bytes *bytes, u32 start, u32 end)
{
	if (start >= end)
		return;
	bitmap_set(bytes->set, start, end - start);
	bytes->any = true;
}

/* The page's changed bytes that the committer's pieces don't cover. */
static void find_undeclared(struct rvm_image *image, const struct rvm_piece *pieces, u32 n,
			    struct bytes *bytes)
{
	void *committed = rvm_image_committed(image), *current_page = rvm_image_current(image);
	u32 size = rvm_image_length(image), at, length;
	u64 base = (u64)image->index << PAGE_SHIFT;

	bytes->any = false;
	for (at = 0;; at += length) {
		u32 from, p;

		at = rvm_diff_next(committed, current_page, at, size, 0, &length);
		if (at == size)
			return;
		if (!bytes->any)
			bitmap_zero(bytes->set, PAGE_SIZE);
		from = at;
		for (p = rvm_pieces_find(pieces, n, image->segment, base + at);
		     p < n && pieces[p].image == image && pieces[p].offset < at + length; p++) {
			add(bytes, from, pieces[p].offset);
			from = pieces[p].offset + pieces[p].length;
		}
		add(bytes, from, at + length);
	}
}

/* Without what an entry declares. */
static void leave_out(struct bytes *bytes, const struct rvm_image *image,
		      struct rvm_process *process, const struct rvm_area_entry *entry)
{
	struct rvm_region *region = rvm_process_find(process, entry->address, entry->length);
	u64 base = (u64)image->index << PAGE_SHIFT, start, end;

	if (!region || region->segment != image->segment)
		return;
	start = max(rvm_region_offset(region, entry->address), base);
	end = min(rvm_region_offset(region, entry->address) + entry->length, base + PAGE_SIZE);
	if (start < end)
		bitmap_clear(bytes->set, start - base, end - start);
}

static void leave_out_declared(struct bytes *bytes, const struct rvm_image *image,
			       struct rvm_area *committer)
{
	struct rvm_entries *entries;
	struct rvm_area_entry entry;
	struct rvm_area *area;
	u32 i;

	list_for_each_entry(area, &committer->log->areas, node) {
		if (area == committer || !rvm_area_open(area))
			continue;
		rvm_area_index(area);
		for (entries = rvm_area_next(area, NULL); entries;
		     entries = rvm_area_next(area, entries))
			for (i = 0; i < entries->count; i++)
				if (rvm_entry_read(entries, i, &entry))
					leave_out(bytes, image, area->process, &entry);
		if (fatal_signal_pending(current))
			return;
		cond_resched();
	}
}

/* What has been told of the page, and is as it was then. */
static void leave_out_told(struct bytes *bytes, struct rvm_image *image)
{
	const u8 *current_page = rvm_image_current(image), *told;
	u32 at;

	if (!image->told)
		return;
	told = page_address(image->told);
	for_each_set_bit(at, bytes->set, PAGE_SIZE)
		if (current_page[at] == told[at])
			__clear_bit(at, bytes->set);
}

/* These bytes have been told, and no others.  If there's no memory for it, they are told again. */
static void remember(struct rvm_image *image, const struct bytes *bytes)
{
	const u8 *current_page = rvm_image_current(image);
	unsigned long start, end;

	if (!image->told) {
		image->told = alloc_page(GFP_KERNEL_ACCOUNT | __GFP_NORETRY | __GFP_NOWARN);
		if (!image->told)
			return;
		copy_page(page_address(image->told), rvm_image_committed(image));
	}
	for_each_set_bitrange(start, end, bytes->set, PAGE_SIZE)
		memcpy(page_address(image->told) + start, current_page + start, end - start);
}

/*
 * As committed, for some commits: then a fault will tell when it is stored to.
 * The folio's lock comes before commit_lock, so this is another time's if it is taken.
 */
static void rest(struct rvm_image *image)
{
	if (++image->quiet < RVM_TRACKING_QUIET || folio_maybe_dma_pinned(image->folio) ||
	    !folio_trylock(image->folio))
		return;
	folio_mkclean(image->folio);
	/* Only now: whoever pinned it before, or stored to it, is seen. */
	if (!folio_maybe_dma_pinned(image->folio) && !rvm_image_changed(image))
		list_del_init(&image->hot);
	folio_unlock(image->folio);
}

static void check_image(struct rvm_image *image, const struct rvm_region *region,
			struct rvm_area *committer, u32 n, bool once,
			struct rvm_findings *findings)
{
	u64 before = findings->count;
	unsigned long start, end;
	struct bytes bytes;

	if (!rvm_image_changed(image)) {
		rest(image);
		return;
	}
	image->quiet = 0;
	find_undeclared(image, committer->pieces, n, &bytes);
	if (!bytes.any)
		return;
	leave_out_declared(&bytes, image, committer);
	if (fatal_signal_pending(current))
		return;
	leave_out_told(&bytes, image);
	for_each_set_bitrange(start, end, bytes.set, PAGE_SIZE)
		rvm_findings_add(findings, region, image, start, end - start);
	if (findings->count == before)
		return;
	committer->log->undeclared += findings->count - before;
	if (once)
		remember(image, &bytes);
}

static void check_region(const struct rvm_region *region, struct rvm_area *committer, u32 n,
			 bool once, struct rvm_findings *findings)
{
	struct rvm_image *image, *next;

	list_for_each_entry_safe(image, next, &region->segment->hot, hot) {
		if (image->index < region->index ||
		    image->index - region->index >= (region->end - region->start) >> PAGE_SHIFT)
			continue;
		check_image(image, region, committer, n, once, findings);
		if (fatal_signal_pending(current))
			return;
		cond_resched();
	}
}

int rvm_check(struct rvm_area *area, u32 n, bool once, struct rvm_findings *findings)
{
	struct rvm_region *region;

	list_for_each_entry(region, &area->process->regions, node)
		if (region->tracking & RVM_SEGMENT_CHECK)
			check_region(region, area, n, once, findings);
	return fatal_signal_pending(current) ? -EINTR : 0;
}
