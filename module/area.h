/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Areas: the memory in which a process declares the ranges of a transaction,
 * shared with the kernel, which believes nothing in it.  And undo.
 */
#ifndef RVM_AREA_H
#define RVM_AREA_H

#include <linux/list.h>
#include <linux/mm_types.h>
#include "uapi/linux/rvm.h"

#include "module/memory.h"
#include "module/tracking.h"

struct rvm_log;
struct rvm_region;
struct rvm_image;
struct rvm_segment;

/* Module parameter. */
extern unsigned int rvm_max_areas;

/* An address space that uses a log: by what it mapped of it.  Under commit_lock. */
struct rvm_process {
	struct list_head node;		/* log->processes */
	struct mm_struct *mm;		/* grabbed: the pointer stays unique */
	struct pid *pid;		/* whose it was when it first mapped something */
	unsigned int users;		/* regions and areas */
	unsigned int area_count;
	struct list_head regions;	/* the last one hit comes first */
	struct list_head areas;

	/* module/tracking.c's */
	struct list_head hot;		/* images of its pages; first those to be protected soon */
	unsigned int hot_count;
	unsigned int checked;		/* regions */
	u64 reached;			/* by the search for a deadlock of this number */
	struct rvm_findings strays;	/* to be told by the next BEGIN */
};

/*
 * Entries one after the other: in the shared area, or spilled from it.  offsets
 * are where the `count` well-formed entries among the first `used` bytes begin.
 */
struct rvm_entries {
	struct list_head node;		/* area->spilled */
	u8 *base;
	u32 used;
	u32 count;
	u32 *offsets;
};

/* One page's part of a declared range, at commit. */
struct rvm_piece {
	struct rvm_image *image;
	u32 offset, length;		/* in the page */
};

/* All under commit_lock; what stands in shared memory is the process's to change. */
struct rvm_area {
	struct list_head node;		/* log->areas */
	struct list_head process_node;	/* process->areas */
	struct rvm_log *log;
	struct rvm_process *process;
	u32 id;
	unsigned int maps;		/* vmas: mremap makes a second for a moment */

	struct rvm_area_header *shared;
	u32 room;
	struct rvm_entries entries;	/* in the shared memory */
	struct list_head spilled;	/* rvm_entries, oldest first */
	u64 spilled_bytes;
	struct rvm_piece *pieces;	/* for commit */
	u32 pieces_room;
};

static inline unsigned long rvm_pieces_pages(u32 room)
{
	return rvm_pages((u64)room * sizeof(struct rvm_piece));
}

/* Sort pieces, and join those of the same bytes: how many it makes. */
u32 rvm_pieces_sort(struct rvm_piece *pieces, u32 n);

/* The first of the sorted pieces that ends behind this place. */
u32 rvm_pieces_find(const struct rvm_piece *pieces, u32 n, struct rvm_segment *segment,
		    u64 offset);

/* --- processes, under commit_lock --- */
struct rvm_process *rvm_process_get(struct rvm_log *log, struct mm_struct *mm);
void rvm_process_put(struct rvm_process *process);

/*
 * The region of the process that holds all of [address, address + length), mapped
 * for writing and not tracked.
 */
struct rvm_region *rvm_process_find(struct rvm_process *process, u64 address, u64 length);

/* The same, and it will be found sooner. */
struct rvm_region *rvm_process_region(struct rvm_process *process, u64 address, u64 length);

/* --- areas --- */
int rvm_area_mmap(struct rvm_log *log, struct vm_area_struct *vma);

/* The area with this id, if it's this address space's.  Under commit_lock. */
struct rvm_area *rvm_area_find(struct rvm_log *log, u32 id);

/*
 * Take stock of what the process has written so far.  -EINVAL: it makes no
 * sense from somewhere on; what comes before that is indexed.  Under commit_lock.
 */
int rvm_area_index(struct rvm_area *area);

/* Copy what stands there, then check it: the entry's size, or 0 if it makes no sense. */
u32 rvm_entry_copy(const u8 *at, u32 room, struct rvm_area_entry *copy);

/* An indexed entry's checked copy; false if it was scribbled since it was indexed. */
bool rvm_entry_read(const struct rvm_entries *entries, u32 i, struct rvm_area_entry *copy);

/* Walk an area's sets of entries, oldest first and newest first: NULL begins and ends. */
struct rvm_entries *rvm_area_next(struct rvm_area *area, struct rvm_entries *entries);
struct rvm_entries *rvm_area_previous(struct rvm_area *area, struct rvm_entries *entries);

/* Is a transaction open in it?  It may be wrong a moment later. */
bool rvm_area_open(const struct rvm_area *area);

/* The transaction has ended: the area is empty.  Under commit_lock. */
void rvm_area_reset(struct rvm_area *area);

int rvm_area_spill(struct rvm_log *log, u32 id);
int rvm_area_abort(struct rvm_log *log, u32 id);

/* A region goes: what open transactions of its process did there is undone. Under commit_lock. */
void rvm_area_undo_region(struct rvm_region *region);

/*
 * The committer's first n pieces were committed: in other open transactions
 * they replace what was saved of the same bytes.  Sorts the pieces.  Under commit_lock.
 */
void rvm_area_patch_others(struct rvm_area *committer, u32 n);

#endif
