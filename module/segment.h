/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Segments and their mapped regions.  A segment's pages live in the page cache
 * of an anonymous inode on a file system of our own, so that reclaim, fault
 * handling and sharing are the kernel's, and the hooks are ours.
 */
#ifndef RVM_SEGMENT_H
#define RVM_SEGMENT_H

#include <linux/fs.h>
#include <linux/list.h>
#include <linux/xarray.h>
#include "uapi/linux/rvm.h"

#include "module/file.h"
#include "module/tracking.h"

struct rvm_image;
struct rvm_log;
struct rvm_process;

#define RVM_SEGMENT_RECENT	64

struct rvm_segment {
	struct list_head node;		/* log->segments */
	struct rvm_log *log;
	struct rvm_file file;
	struct inode *key;		/* what rvm_file_key() says of it */
	struct inode *inode;		/* whose page cache it is */
	u64 size;			/* bytes; grows under attach_lock, read without it */
	u32 id;				/* in the log's dictionary */
	unsigned int descriptors;	/* attach_lock */
	bool waiting;			/* records wait for RECOVER: not mappable yet */
	bool unfit;			/* attach_lock: RECOVER could not apply them */
	struct xarray wanted;		/* attach_lock: by page index, what RECOVER reads next */
	bool unflushed;			/* truncate_lock: written since its last flush */
	struct xarray images;		/* by page index; erased under commit_lock */
	struct rvm_image *recent[RVM_SEGMENT_RECENT];	/* found last; commit_lock */
	unsigned long image_count;	/* list_lock */
	struct list_head regions;	/* commit_lock */
	unsigned int region_count;	/* commit_lock */
	/* Writable regions of each kind; commit_lock, read without. */
	unsigned int tracked, checked, declared;
	struct list_head hot;		/* commit_lock: images to check, if any region is */

	unsigned long pages_written;	/* truncate_lock */
	atomic_long_t write_faults, pages_read;
};

/* A mapping of part of a segment, as it was made.  All under commit_lock. */
struct rvm_region {
	struct list_head node;		/* process->regions */
	struct list_head segment_node;	/* segment->regions */
	u32 id;				/* in log->region_ids */
	struct rvm_process *process;
	struct rvm_segment *segment;
	unsigned long start, end;	/* addresses */
	pgoff_t index;			/* of the first page */
	bool writable;
	u32 tracking;			/* RVM_SEGMENT_* */
	unsigned int maps;		/* vmas: mremap makes a second for a moment */
};

/* Byte offset in the segment of an address in the region. */
static inline u64 rvm_region_offset(const struct rvm_region *region, unsigned long address)
{
	return ((u64)region->index << PAGE_SHIFT) + (address - region->start);
}

/* Does all of [address, address + length) lie in the region, and may be declared there? */
static inline bool rvm_region_takes(const struct rvm_region *region, u64 address, u64 length)
{
	return address >= region->start && address < region->end &&
	       length <= region->end - address && region->writable &&
	       !(region->tracking & RVM_SEGMENT_TRACKED);
}

/*
 * Attach the caller's fd under a name: a file of ours, for a descriptor by which
 * regions with this tracking are mapped.
 */
struct file *rvm_segment_attach(struct rvm_log *log, int fd, const char *name, u32 name_length,
				u32 tracking, u64 *size);

/* The attached segment with this id, or NULL.  Under attach_lock. */
struct rvm_segment *rvm_segment_find(struct rvm_log *log, u32 id);

/* Let go of segments that nobody has open and that hold no image.  Under attach_lock. */
void rvm_segment_detach_unused(struct rvm_log *log);

/* The log closes: let go of all. */
void rvm_segment_detach_all(struct rvm_log *log);

#endif
