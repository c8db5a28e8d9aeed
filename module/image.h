/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Committed images.  The page in a segment's page cache holds committed,
 * uncommitted and undeclared bytes together.  Each page that may differ from
 * its segment therefore has a second page, made by the write-fault hook before
 * the first store and brought up to date by each commit: what the segment
 * shall become.  Truncation writes the image, never the mapped page; a page
 * that equals its image again is clean, and the image goes.
 *
 * An image is removed only under commit_lock and its folio's lock; it holds a
 * reference to the folio, so the page stays in memory as long.
 */
#ifndef RVM_IMAGE_H
#define RVM_IMAGE_H

#include <linux/list.h>
#include <linux/mm.h>
#include <linux/pagemap.h>
#include <linux/xarray.h>

#include "module/memory.h"
#include "module/segment.h"

struct rvm_process;

#define RVM_NOWHERE	U64_MAX		/* a position in the log that is none */

struct rvm_image {
	struct list_head node;		/* list_lock: log->logged, ->loose or truncation's own */
	struct rvm_segment *segment;
	pgoff_t index;
	struct folio *folio;
	struct page *page;
	bool cold;			/* commit_lock: not logged since the last truncation */

	/* commit_lock */
	u64 first, first_sequence;	/* oldest record that speaks of it, or RVM_NOWHERE */

	/* The same, of what truncation is writing to the segment. */
	u64 writing, writing_sequence;

	/* module/tracking.c's and check.c's, commit_lock */
	struct list_head hot;		/* owner->hot or segment->hot, or empty */
	struct rvm_process *owner;	/* of a tracked page, or NULL */
	bool whole;			/* all of it is logged */
	bool strict;
	bool changed;			/* by the transaction that is being committed */
	bool cooling;			/* to be write-protected */
	u8 quiet;			/* so many transactions have left it alone */
	struct page *told;		/* as it was when a check last told of it, or NULL */
};

static inline void *rvm_image_committed(struct rvm_image *image)
{
	return page_address(image->page);
}

static inline void *rvm_image_current(struct rvm_image *image)
{
	/* Where memory is sparse it's found by the folio's flags: by those that never change. */
	return data_race(folio_address(image->folio));
}

/* Bytes of the page that are the segment's: the last may be a part of one. */
u32 rvm_image_length(const struct rvm_image *image);

/* Is the page other than what is committed? */
bool rvm_image_changed(struct rvm_image *image);

/*
 * The image of a locked, uptodate folio of the segment: found or made.  NULL: no
 * memory, or none for this use of it.
 */
struct rvm_image *rvm_image_make(struct rvm_segment *segment, struct folio *folio,
				 enum rvm_memory_use use);

/* There is none of the page at *offset: the first behind it, as rvm_image_find(). */
struct rvm_image *rvm_image_find_next(struct rvm_segment *segment, u64 *offset, u64 end);

void rvm_image_first_logged(struct rvm_image *image, u64 position, u64 sequence);

/* The record at `position` changed it.  Under commit_lock. */
static inline void rvm_image_logged(struct rvm_image *image, u64 position, u64 sequence)
{
	if (image->first == RVM_NOWHERE)
		rvm_image_first_logged(image, position, sequence);
}

/* Write-protect the page; drop the image if it's clean.  Under truncate_lock. */
void rvm_image_clean(struct rvm_image *image);

static inline struct rvm_image **rvm_image_recent(struct rvm_segment *segment, pgoff_t index)
{
	return &segment->recent[index % RVM_SEGMENT_RECENT];
}

/*
 * The first image at or after *offset and before end, or NULL: *offset moves on
 * to where its page begins.  Under commit_lock.
 */
static inline struct rvm_image *rvm_image_find(struct rvm_segment *segment, u64 *offset, u64 end)
{
	unsigned long index = *offset >> PAGE_SHIFT;
	struct rvm_image **recent = rvm_image_recent(segment, index);

	if (*recent && (*recent)->index == index)
		return *recent;
	*recent = xa_load(&segment->images, index);
	return *recent ? *recent : rvm_image_find_next(segment, offset, end);
}

/* Drop all of a segment that nobody uses any more. */
void rvm_image_drop_all(struct rvm_segment *segment);

#endif
