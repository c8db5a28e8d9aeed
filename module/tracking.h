/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Tracking: changes that are found, not declared, by the write hook and by
 * comparing pages with their committed images.
 *
 * A page of a tracked region (RVM_SEGMENT_DIFF, RVM_SEGMENT_PAGES) belongs to one
 * process: what it holds besides committed bytes are that one's changes.  The
 * process's first store to it takes the page, if no open transaction of another
 * has it.  It is hot then: it stays writable, and each commit compares it, until
 * two of the process's transactions in a row have left it alone, or another process
 * wants it.  Comparing twice costs about what the fault costs that it saves.
 *
 * Checked regions (RVM_SEGMENT_CHECK) own nothing: a commit compares the pages
 * that were stored to lately with their images, and leaves out what is declared.
 *
 * All under commit_lock.
 */
#ifndef RVM_TRACKING_H
#define RVM_TRACKING_H

#include <linux/mm_types.h>
#include "uapi/linux/rvm.h"

struct rvm_area;
struct rvm_image;
struct rvm_log;
struct rvm_process;
struct rvm_region;

#define RVM_SEGMENT_TRACKED	(RVM_SEGMENT_DIFF | RVM_SEGMENT_PAGES)

/* So many transactions in a row must have left a page alone before it is protected. */
#define RVM_TRACKING_QUIET	2

/* What BEGIN and COMMIT tell: the first of them, and how many there were. */
struct rvm_findings {
	u64 count;
	struct rvm_ioc_found found[RVM_FOUND_MAX];
};

void rvm_findings_add(struct rvm_findings *findings, const struct rvm_region *region,
		      const struct rvm_image *image, u32 at, u32 length);

/* Flags of ATTACH_SEGMENT that make sense. */
bool rvm_tracking_valid(u32 flags);

/* May the region be, beside the segment's others?  0 or -EBUSY; it is counted then. */
int rvm_tracking_open(struct rvm_region *region);

/* The region has left its process's list; and its pages' uncommitted bytes are gone. */
void rvm_tracking_close(struct rvm_region *region);

/*
 * In ->fault, without commit_lock: may this region's process store to the page?
 * 0, or the fault's result; it may have waited, with the address space's lock dropped.
 */
vm_fault_t rvm_tracking_fault(struct rvm_region *region, struct vm_fault *vmf);

/*
 * In the write hook, without commit_lock, with the folio locked: 0, or
 * VM_FAULT_SIGSEGV, or VM_FAULT_NOPAGE: another has it.
 */
vm_fault_t rvm_tracking_store(struct rvm_region *region, struct rvm_image *image);

/* The image is about to be dropped: its page is clean, and write-protected. */
void rvm_tracking_drop(struct rvm_image *image);

/* Tell the process whether its next transaction may begin, and end, without the kernel. */
void rvm_tracking_publish(struct rvm_process *process);

/* Does what the process changes in tracked regions belong to the transaction in this area? */
bool rvm_tracking_owns(struct rvm_area *area);

/* Undo that. */
void rvm_tracking_undo(struct rvm_process *process);

/*
 * The transaction has ended.  True: pages are to be write-protected, by
 * rvm_tracking_cool() of the process, which has a reference for that.
 */
bool rvm_tracking_end(struct rvm_area *area);

/* The process unmaps the area in the middle of its transaction, or dies. */
void rvm_tracking_abandon(struct rvm_area *area);

/* Drops commit_lock at times, and the reference. */
void rvm_tracking_cool(struct rvm_log *log, struct rvm_process *process);

/* BEGIN: put back and tell what was stored outside of any transaction. */
int rvm_tracking_begin(struct rvm_log *log, u32 id, struct rvm_findings *findings);

/*
 * Tell what was changed in checked regions of the area's process and is declared
 * neither by its n pieces, which are sorted, nor by entries of other areas.  `once`:
 * what is told is not told again.  -EINTR: the task is being killed.
 */
int rvm_check(struct rvm_area *area, u32 n, bool once, struct rvm_findings *findings);

#endif
