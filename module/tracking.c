// SPDX-License-Identifier: GPL-2.0
/*
 * Tracked regions: who has which page, and what was changed in it.
 */
#include <linux/file.h>
#include <linux/rmap.h>
#include <linux/sched/signal.h>

#include "core/diff.h"
#include "module/area.h"
#include "module/compat.h"
#include "module/image.h"
#include "module/log.h"
#include "module/segment.h"
#include "module/trace.h"
#include "module/tracking.h"

/* More hot pages than this would be too many to compare for each transaction. */
#define HOT_MAX		512

/* As in module/memory.c: the task may hold locks that the page's owner needs. */
#define KERNEL_FAULT_WAIT	(5 * HZ)

/* A store that waits for a page of another process.  On log->waits, in order of arrival. */
struct rvm_wait {
	struct list_head node;
	struct rvm_process *process;
	struct rvm_segment *segment;
	pgoff_t index;
};

bool rvm_tracking_valid(u32 flags)
{
	u32 mode = flags & (RVM_SEGMENT_CHECK | RVM_SEGMENT_TRACKED);

	return !(mode & (mode - 1)) &&
	       (!(flags & RVM_SEGMENT_STRICT) || mode & RVM_SEGMENT_TRACKED);
}

/* --- regions ------------------------------------------------------------ */

static struct rvm_region *region_of(struct rvm_process *process, struct rvm_segment *segment,
				    pgoff_t index)
{
	struct rvm_region *region;

	list_for_each_entry(region, &process->regions, node)
		if (region->segment == segment && index >= region->index &&
		    index - region->index < (region->end - region->start) >> PAGE_SHIFT)
			return region;
	return NULL;
}

int rvm_tracking_open(struct rvm_region *region)
{
	struct rvm_segment *segment = region->segment;
	bool tracked = region->tracking & RVM_SEGMENT_TRACKED;
	struct rvm_image *image;
	unsigned long index;

	if (!region->writable)
		return 0;
	if (tracked ? segment->declared : segment->tracked)
		return -EBUSY;
	segment->declared += !tracked;
	WRITE_ONCE(segment->tracked, segment->tracked + tracked);
	if (!(region->tracking & RVM_SEGMENT_CHECK))
		return 0;
	WRITE_ONCE(segment->checked, segment->checked + 1);
	region->process->checked++;
	/* Pairs with the barrier in the write hook: either it sees this, or we see its image. */
	smp_mb();
	xa_for_each(&segment->images, index, image) {
		if (!list_empty(&image->hot))
			continue;
		image->quiet = 0;
		list_add_tail(&image->hot, &segment->hot);
	}
	return 0;
}

/* --- ownership ---------------------------------------------------------- */

static struct rvm_area *open_area(struct rvm_process *process)
{
	struct rvm_area *area;

	list_for_each_entry(area, &process->areas, process_node)
		if (READ_ONCE(area->shared->open))
			return area;
	return NULL;
}

bool rvm_tracking_owns(struct rvm_area *area)
{
	return READ_ONCE(area->shared->open) && open_area(area->process) == area;
}

void rvm_tracking_publish(struct rvm_process *process)
{
	struct rvm_area *area;

	list_for_each_entry(area, &process->areas, process_node)
		WRITE_ONCE(area->shared->hot, process->hot_count + !!process->strays.count);
}

static void own(struct rvm_image *image, struct rvm_region *region)
{
	struct rvm_process *process = region->process;

	image->owner = process;
	image->whole = region->tracking & RVM_SEGMENT_PAGES;
	image->strict = region->tracking & RVM_SEGMENT_STRICT;
	image->quiet = 0;
	image->cooling = false;
	list_add_tail(&image->hot, &process->hot);
	if (!process->hot_count++)
		rvm_tracking_publish(process);
}

/* Nobody can store to it without a fault.  Who has waited longest gets it. */
static void disown(struct rvm_image *image)
{
	struct rvm_log *log = image->segment->log;
	struct rvm_region *region;
	struct rvm_wait *wait;

	list_del_init(&image->hot);
	image->owner->hot_count--;
	image->owner = NULL;
	list_for_each_entry(wait, &log->waits, node) {
		if (wait->segment != image->segment || wait->index != image->index)
			continue;
		region = region_of(wait->process, wait->segment, wait->index);
		if (!region || !open_area(wait->process))
			continue;
		own(image, region);
		break;
	}
}

static void wake_waits(struct rvm_log *log)
{
	if (list_empty(&log->waits))
		return;
	WRITE_ONCE(log->turns, log->turns + 1);
	wake_up_all(&log->turn);
}

void rvm_tracking_drop(struct rvm_image *image)
{
	if (image->owner) {
		disown(image);
		/* It goes all the same: who waits makes a new one. */
		if (image->owner) {
			list_del_init(&image->hot);
			image->owner->hot_count--;
			image->owner = NULL;
		}
		wake_waits(image->segment->log);
	} else {
		list_del_init(&image->hot);
	}
}

/* --- what was stored outside of any transaction ------------------------- */

void rvm_findings_add(struct rvm_findings *findings, const struct rvm_region *region,
		      const struct rvm_image *image, u32 at, u32 length)
{
	u64 count = findings->count++;

	if (count >= RVM_FOUND_MAX)
		return;
	findings->found[count] = (struct rvm_ioc_found){
		.address = region->start + ((image->index - region->index) << PAGE_SHIFT) + at,
		.length = length,
	};
}

/* The owner has no transaction open: what it changed goes. */
static void put_back(struct rvm_image *image, struct rvm_findings *findings)
{
	struct rvm_region *region = region_of(image->owner, image->segment, image->index);
	void *committed = rvm_image_committed(image), *current_page = rvm_image_current(image);
	u32 size = rvm_image_length(image), at, length;
	u64 before = findings->count;

	for (at = 0; region; at += length) {
		at = rvm_diff_next(committed, current_page, at, size, 0, &length);
		if (at == size)
			break;
		rvm_findings_add(findings, region, image, at, length);
	}
	if (findings->count == before)
		return;
	image->segment->log->undeclared += findings->count - before;
	copy_page(current_page, committed);
}

static void take_findings(struct rvm_findings *to, struct rvm_findings *from)
{
	u64 i;

	to->count = from->count;
	for (i = 0; i < min_t(u64, from->count, RVM_FOUND_MAX); i++)
		to->found[i] = from->found[i];
	from->count = 0;
}

int rvm_tracking_begin(struct rvm_log *log, u32 id, struct rvm_findings *findings)
{
	struct rvm_image *image;
	struct rvm_area *area;
	int ret = -ENOENT;

	mutex_lock(&log->commit_lock);
	area = rvm_area_find(log, id);
	if (!area)
		goto out;
	ret = -EBUSY;
	if (rvm_area_open(area) || open_area(area->process))
		goto out;
	take_findings(findings, &area->process->strays);
	list_for_each_entry(image, &area->process->hot, hot) {
		put_back(image, findings);
		cond_resched();
	}
	rvm_tracking_publish(area->process);
	ret = 0;
out:
	mutex_unlock(&log->commit_lock);
	return ret;
}

/* --- taking a page ------------------------------------------------------ */

/*
 * The process whose transaction has changed the page, or NULL.  A page that was only
 * hot when that began is free: else processes would wait for each other's leftovers.
 */
static struct rvm_process *holder(struct rvm_image *image)
{
	struct rvm_process *owner = image->owner;

	return owner && open_area(owner) && rvm_image_changed(image) ? owner : NULL;
}

/* From another process: false if its transaction has changed it. */
static bool take(struct rvm_image *image)
{
	if (holder(image))
		return false;
	folio_mkclean(image->folio);
	/*
	 * It may have begun one and stored to the page before that.  Its `open` was
	 * written first, and is seen: the other processors' entries were flushed.
	 */
	if (holder(image))
		return false;
	put_back(image, &image->owner->strays);
	rvm_tracking_publish(image->owner);
	disown(image);
	return true;
}

static vm_fault_t store_tracked(struct rvm_region *region, struct rvm_image *image)
{
	struct rvm_process *process = region->process;

	if (!open_area(process))
		return VM_FAULT_SIGSEGV;
	if (image->owner && image->owner != process && !take(image))
		return VM_FAULT_NOPAGE;
	if (!image->owner)
		own(image, region);
	/* What was taken may have gone to one who waited. */
	if (image->owner != process)
		return VM_FAULT_NOPAGE;
	return 0;
}

vm_fault_t rvm_tracking_store(struct rvm_region *region, struct rvm_image *image)
{
	struct rvm_segment *segment = region->segment;
	struct rvm_log *log = segment->log;
	vm_fault_t ret = 0;

	mutex_lock(&log->commit_lock);
	if (region->tracking & RVM_SEGMENT_TRACKED)
		ret = store_tracked(region, image);
	else if (segment->checked && list_empty(&image->hot))
		list_add_tail(&image->hot, &segment->hot);
	image->quiet = 0;
	mutex_unlock(&log->commit_lock);
	return ret;
}

/* --- waiting for one ---------------------------------------------------- */

/* Whom it waits for, or NULL. */
static struct rvm_process *waits_for(const struct rvm_wait *wait)
{
	struct rvm_image *image = xa_load(&wait->segment->images, wait->index);

	return image && image->owner != wait->process ? holder(image) : NULL;
}

/*
 * Would the process wait for itself, if it waited for this one?  All that one
 * of its threads waits for counts, though another could go on and end the transaction.
 */
static bool deadlocks(struct rvm_log *log, struct rvm_process *process, struct rvm_process *owner)
{
	struct rvm_wait *wait;
	bool more;

	log->search++;
	owner->reached = log->search;
	do {
		more = false;
		list_for_each_entry(wait, &log->waits, node) {
			struct rvm_process *next;

			if (wait->process->reached != log->search)
				continue;
			next = waits_for(wait);
			if (!next)
				continue;
			if (next == process)
				return true;
			more |= next->reached != log->search;
			next->reached = log->search;
		}
	} while (more);
	return false;
}

/*
 * Until a transaction has ended, or for that long: how much of it is left, or none.
 * Drops commit_lock meanwhile.
 */
static long wait_for_turn(struct rvm_log *log, struct rvm_wait *wait, long timeout)
{
	u64 turns = log->turns, began = rvm_trace_begin(trace_rvm_page_wait_enabled());
	long left;

	wait->process->users++;
	list_add_tail(&wait->node, &log->waits);
	log->page_waits++;
	mutex_unlock(&log->commit_lock);
	left = wait_event_killable_timeout(log->turn, READ_ONCE(log->turns) != turns, timeout);
	trace_rvm_page_wait(wait->segment, wait->index, began);
	mutex_lock(&log->commit_lock);
	list_del(&wait->node);
	rvm_process_put(wait->process);
	return left;
}

/*
 * A system call's store keeps the address space's lock: so it need not be told on the
 * next try.  It may hold what the owner needs, however many others go on: then it
 * must give up.  Under commit_lock.
 */
static vm_fault_t wait_here(struct rvm_log *log, struct rvm_wait *wait)
{
	long left = KERNEL_FAULT_WAIT;
	struct rvm_process *owner;

	do {
		left = wait_for_turn(log, wait, left);
		if (left <= 0)
			return VM_FAULT_SIGBUS;
		owner = waits_for(wait);
		if (owner && deadlocks(log, wait->process, owner))
			return VM_FAULT_SIGBUS;
	} while (owner);
	return 0;
}

vm_fault_t rvm_tracking_fault(struct rvm_region *region, struct vm_fault *vmf)
{
	struct rvm_log *log = region->segment->log;
	struct rvm_wait wait = {
		.process = region->process,
		.segment = region->segment,
		.index = vmf->pgoff,
	};
	struct rvm_process *owner;
	vm_fault_t ret = 0;
	struct file *file;

	mutex_lock(&log->commit_lock);
	owner = waits_for(&wait);
	if (!open_area(region->process))
		ret = VM_FAULT_SIGSEGV;
	else if (!owner)
		ret = 0;
	else if (deadlocks(log, region->process, owner))
		ret = VM_FAULT_SIGBUS;
	else if (vmf->flags & FAULT_FLAG_RETRY_NOWAIT)
		ret = VM_FAULT_RETRY;
	else if (!(vmf->flags & FAULT_FLAG_USER) || !(vmf->flags & FAULT_FLAG_ALLOW_RETRY))
		ret = wait_here(log, &wait);
	else
		goto wait;
	mutex_unlock(&log->commit_lock);
	return ret;

wait:
	/* With the lock dropped the mapping may go: the file keeps segment and log. */
	file = get_file(vmf->vma->vm_file);
	rvm_compat_release_fault_lock(vmf);
	wait_for_turn(log, &wait, HZ);
	mutex_unlock(&log->commit_lock);
	fput(file);
	return VM_FAULT_RETRY | VM_FAULT_MAJOR;
}

/* --- the transaction's end ---------------------------------------------- */

void rvm_tracking_undo(struct rvm_process *process)
{
	struct rvm_image *image;

	list_for_each_entry(image, &process->hot, hot) {
		copy_page(rvm_image_current(image), rvm_image_committed(image));
		cond_resched();
	}
}

/* Mark those that are to be protected, and bring them to the front: true if there are any. */
static bool choose_cold(struct rvm_process *process)
{
	struct rvm_image *image, *next;
	unsigned int warm = 0;
	LIST_HEAD(recent);

	list_for_each_entry_safe(image, next, &process->hot, hot) {
		image->quiet = image->changed ? 0 : image->quiet + 1;
		if (image->changed)
			list_move_tail(&image->hot, &recent);
		image->changed = false;
		image->cooling = image->strict || image->quiet >= RVM_TRACKING_QUIET;
		warm += !image->cooling;
	}
	list_splice_tail(&recent, &process->hot);
	list_for_each_entry_safe(image, next, &process->hot, hot) {
		if (!image->cooling && warm > HOT_MAX) {
			image->cooling = true;
			warm--;
		}
		if (image->cooling)
			list_move(&image->hot, &process->hot);
	}
	image = list_first_entry_or_null(&process->hot, struct rvm_image, hot);
	return image && image->cooling;
}

/* What others wait for. */
static bool choose_wanted(struct rvm_log *log, struct rvm_process *process)
{
	struct rvm_image *image;
	struct rvm_wait *wait;
	bool any = false;

	list_for_each_entry(wait, &log->waits, node) {
		image = xa_load(&wait->segment->images, wait->index);
		if (!image || image->owner != process)
			continue;
		image->cooling = true;
		list_move(&image->hot, &process->hot);
		any = true;
	}
	return any;
}

bool rvm_tracking_end(struct rvm_area *area)
{
	struct rvm_process *process = area->process;
	bool cold;

	WRITE_ONCE(area->shared->open, 0);
	cold = choose_cold(process);
	cold |= choose_wanted(area->log, process);
	rvm_tracking_publish(process);
	wake_waits(area->log);
	process->users += cold;
	return cold;
}

void rvm_tracking_abandon(struct rvm_area *area)
{
	rvm_tracking_undo(area->process);
	WRITE_ONCE(area->shared->open, 0);
	/* They take what they wait for. */
	wake_waits(area->log);
}

/* The folio is locked: no fault makes the page writable again meanwhile. */
static void cool(struct rvm_image *image)
{
	struct rvm_process *process = image->owner;

	image->cooling = false;
	list_move_tail(&image->hot, &process->hot);
	folio_mkclean(image->folio);
	/*
	 * Another thread may have begun the next one, and stored to it already.  And
	 * who has pinned the page writes without a fault: it stays to be compared.
	 */
	if (holder(image) || folio_maybe_dma_pinned(image->folio))
		return;
	put_back(image, &process->strays);
	disown(image);
}

void rvm_tracking_cool(struct rvm_log *log, struct rvm_process *process)
{
	struct rvm_image *image;
	struct folio *folio;

	/* Other threads may go on bringing more: who is killed leaves it to them. */
	while ((image = list_first_entry_or_null(&process->hot, struct rvm_image, hot)) &&
	       image->cooling && !fatal_signal_pending(current)) {
		folio = image->folio;
		folio_get(folio);
		if (folio_trylock(folio)) {
			cool(image);
			folio_unlock(folio);
			folio_put(folio);
			cond_resched();
			continue;
		}
		/* Its lock comes before ours.  With that dropped all may have changed. */
		mutex_unlock(&log->commit_lock);
		folio_wait_locked(folio);
		folio_put(folio);
		mutex_lock(&log->commit_lock);
	}
	rvm_tracking_publish(process);
	wake_waits(log);
	rvm_process_put(process);
}

void rvm_tracking_close(struct rvm_region *region)
{
	struct rvm_process *process = region->process;
	struct rvm_segment *segment = region->segment;
	struct rvm_image *image, *next;

	if (region->tracking & RVM_SEGMENT_CHECK) {
		process->checked--;
		WRITE_ONCE(segment->checked, segment->checked - 1);
		list_for_each_entry_safe(image, next, &segment->hot, hot)
			if (!segment->checked)
				list_del_init(&image->hot);
	}
	if (!(region->tracking & RVM_SEGMENT_TRACKED)) {
		segment->declared -= region->writable;
		return;
	}
	WRITE_ONCE(segment->tracked, segment->tracked - 1);
	list_for_each_entry_safe(image, next, &process->hot, hot) {
		if (image->segment != segment || region_of(process, segment, image->index))
			continue;
		copy_page(rvm_image_current(image), rvm_image_committed(image));
		disown(image);
	}
	rvm_tracking_publish(process);
	wake_waits(segment->log);
}
