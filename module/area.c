// SPDX-License-Identifier: GPL-2.0
/*
 * Areas: mapping them, reading what stands in them, and undo.
 */
#include <linux/file.h>
#include <linux/sched/mm.h>
#include <linux/slab.h>
#include <linux/sort.h>
#include <linux/vmalloc.h>

#include "module/area.h"
#include "module/compat.h"
#include "module/image.h"
#include "module/log.h"
#include "module/segment.h"
#include "module/trace.h"

#define ENTRY_SIZE	sizeof(struct rvm_area_entry)

unsigned int rvm_max_areas = 1024;

/* --- processes ---------------------------------------------------------- */

struct rvm_process *rvm_process_get(struct rvm_log *log, struct mm_struct *mm)
{
	struct rvm_process *process;

	list_for_each_entry(process, &log->processes, node)
		if (process->mm == mm)
			goto found;
	process = kzalloc(sizeof(*process), GFP_KERNEL_ACCOUNT);
	if (!process)
		return NULL;
	INIT_LIST_HEAD(&process->regions);
	INIT_LIST_HEAD(&process->areas);
	INIT_LIST_HEAD(&process->hot);
	mmgrab(mm);
	process->mm = mm;
	process->pid = get_pid(task_tgid(current));
	list_add(&process->node, &log->processes);
found:
	process->users++;
	return process;
}

void rvm_process_put(struct rvm_process *process)
{
	if (--process->users)
		return;
	list_del(&process->node);
	mmdrop(process->mm);
	put_pid(process->pid);
	kfree(process);
}

struct rvm_region *rvm_process_find(struct rvm_process *process, u64 address, u64 length)
{
	struct rvm_region *region;

	list_for_each_entry(region, &process->regions, node)
		if (rvm_region_takes(region, address, length))
			return region;
	return NULL;
}

struct rvm_region *rvm_process_region(struct rvm_process *process, u64 address, u64 length)
{
	struct rvm_region *region = rvm_process_find(process, address, length);

	if (region && !list_is_first(&region->node, &process->regions))
		list_move(&region->node, &process->regions);
	return region;
}

/* --- entries ------------------------------------------------------------ */

struct rvm_entries *rvm_area_next(struct rvm_area *area, struct rvm_entries *entries)
{
	if (entries == &area->entries)
		return NULL;
	if (!entries)
		entries = list_entry(&area->spilled, struct rvm_entries, node);
	if (list_is_last(&entries->node, &area->spilled))
		return &area->entries;
	return list_next_entry(entries, node);
}

struct rvm_entries *rvm_area_previous(struct rvm_area *area, struct rvm_entries *entries)
{
	if (!entries)
		return &area->entries;
	if (entries == &area->entries)
		entries = list_entry(&area->spilled, struct rvm_entries, node);
	if (list_is_first(&entries->node, &area->spilled))
		return NULL;
	return list_prev_entry(entries, node);
}

bool rvm_area_open(const struct rvm_area *area)
{
	return READ_ONCE(area->shared->used) || !list_empty(&area->spilled);
}

u32 rvm_entry_copy(const u8 *at, u32 room, struct rvm_area_entry *copy)
{
	const struct rvm_area_entry *entry = (const void *)at;
	u64 size = ENTRY_SIZE;

	if (room < size)
		return 0;
	copy->address = READ_ONCE(entry->address);
	copy->length = READ_ONCE(entry->length);
	copy->state = READ_ONCE(entry->state);
	if (!copy->length || copy->state > RVM_ENTRY_NO_RESTORE)
		return 0;
	if (copy->state != RVM_ENTRY_NO_RESTORE)
		size += rvm_align8(copy->length);
	return size <= room ? size : 0;
}

bool rvm_entry_read(const struct rvm_entries *entries, u32 i, struct rvm_area_entry *copy)
{
	u32 end = i + 1 < entries->count ? entries->offsets[i + 1] : entries->used;

	return rvm_entry_copy(entries->base + entries->offsets[i], end - entries->offsets[i], copy);
}

int rvm_area_index(struct rvm_area *area)
{
	struct rvm_entries *entries = &area->entries;
	/* Pairs with the process's store-release, after it wrote the entry. */
	u32 used = smp_load_acquire(&area->shared->used);
	struct rvm_area_entry copy;

	if (used > area->room || used < entries->used)
		return -EINVAL;
	while (entries->used < used) {
		u32 size = rvm_entry_copy(entries->base + entries->used, used - entries->used,
					  &copy);

		if (!size)
			return -EINVAL;
		entries->offsets[entries->count++] = entries->used;
		entries->used += size;
	}
	return 0;
}

static void rewind(struct rvm_area *area)
{
	area->entries.used = 0;
	area->entries.count = 0;
	WRITE_ONCE(area->shared->used, 0);
}

/* Of spilled entries: their offsets follow, and then they themselves. */
static size_t copy_offsets(const struct rvm_entries *entries)
{
	return round_up(entries->count, 2) * sizeof(u32);
}

static size_t copy_size(const struct rvm_entries *entries)
{
	return sizeof(*entries) + copy_offsets(entries) + entries->used;
}

void rvm_area_reset(struct rvm_area *area)
{
	struct rvm_entries *entries, *next;

	list_for_each_entry_safe(entries, next, &area->spilled, node) {
		list_del(&entries->node);
		rvm_memory_uncharge(area->log, rvm_pages(copy_size(entries)));
		kvfree(entries);
	}
	area->spilled_bytes = 0;
	rewind(area);
}

/* --- undo --------------------------------------------------------------- */

/* Put bytes back: those saved, or the committed ones where from is NULL. */
static void restore(struct rvm_region *region, u64 address, u32 length, const u8 *from)
{
	u64 start = rvm_region_offset(region, address), offset = start, end = start + length;
	struct rvm_image *image;

	/* A page without an image has not been stored to. */
	while (offset < end &&
	       (image = rvm_image_find(region->segment, &offset, end))) {
		u32 at = offset_in_page(offset);
		u32 n = min_t(u64, end - offset, PAGE_SIZE - at);

		memcpy(rvm_image_current(image) + at,
		       from ? from + (offset - start) : rvm_image_committed(image) + at, n);
		offset += n;
	}
	cond_resched();
}

/*
 * Undo, latest first; only what lies in one region if given.  A transaction
 * whose process dies leaves nothing: what it declared without saving takes its
 * committed value.
 */
static void undo(struct rvm_area *area, struct rvm_region *only, bool dies)
{
	struct rvm_entries *entries = NULL;
	struct rvm_area_entry entry;
	struct rvm_region *region;
	u32 i;

	trace_rvm_undo(area, dies);
	rvm_area_index(area);
	while ((entries = rvm_area_previous(area, entries))) {
		for (i = entries->count; i--;) {
			if (!rvm_entry_read(entries, i, &entry))
				continue;
			/* While it was still saving it had not stored to the data. */
			if (entry.state != RVM_ENTRY_SAVED &&
			    !(dies && entry.state == RVM_ENTRY_NO_RESTORE))
				continue;
			region = rvm_process_region(area->process, entry.address, entry.length);
			if (!region || (only && region != only))
				continue;
			restore(region, entry.address, entry.length,
				entry.state == RVM_ENTRY_SAVED ?
				entries->base + entries->offsets[i] + ENTRY_SIZE : NULL);
		}
	}
}

void rvm_area_undo_region(struct rvm_region *region)
{
	struct rvm_area *area;

	list_for_each_entry(area, &region->process->areas, process_node)
		if (rvm_area_open(area))
			undo(area, region, true);
}

int rvm_area_abort(struct rvm_log *log, u32 id)
{
	struct rvm_area *area;

	mutex_lock(&log->commit_lock);
	area = rvm_area_find(log, id);
	if (area) {
		undo(area, NULL, false);
		rvm_area_reset(area);
		log->counts.aborts++;
		if (rvm_tracking_owns(area)) {
			rvm_tracking_undo(area->process);
			if (rvm_tracking_end(area))
				rvm_tracking_cool(log, area->process);
		}
	}
	mutex_unlock(&log->commit_lock);
	return area ? 0 : -ENOENT;
}

/* --- what others saved -------------------------------------------------- */

static u64 piece_start(const struct rvm_piece *piece)
{
	return ((u64)piece->image->index << PAGE_SHIFT) + piece->offset;
}

static int by_place(const void *a, const void *b)
{
	const struct rvm_piece *x = a, *y = b;

	if (x->image->segment != y->image->segment)
		return x->image->segment < y->image->segment ? -1 : 1;
	return piece_start(x) < piece_start(y) ? -1 : piece_start(x) > piece_start(y);
}

u32 rvm_pieces_sort(struct rvm_piece *pieces, u32 n)
{
	struct rvm_piece *last = pieces;
	u32 i;

	sort(pieces, n, sizeof(*pieces), by_place, NULL);
	for (i = 1; i < n; i++) {
		struct rvm_piece *piece = &pieces[i];

		if (piece->image == last->image && piece->offset <= last->offset + last->length)
			last->length = max(last->offset + last->length,
					   piece->offset + piece->length) - last->offset;
		else
			*++last = *piece;
	}
	return last - pieces + 1;
}

u32 rvm_pieces_find(const struct rvm_piece *pieces, u32 n, struct rvm_segment *segment,
		    u64 offset)
{
	u32 low = 0;

	while (low < n) {
		u32 middle = low + (n - low) / 2;
		const struct rvm_piece *piece = &pieces[middle];

		if (piece->image->segment < segment ||
		    (piece->image->segment == segment &&
		     piece_start(piece) + piece->length <= offset))
			low = middle + 1;
		else
			n = middle;
	}
	return low;
}

static void patch_entry(struct rvm_entries *entries, u32 i, struct rvm_process *process,
			const struct rvm_piece *pieces, u32 n)
{
	u8 *at = entries->base + entries->offsets[i];
	struct rvm_area_entry entry;
	struct rvm_region *region;
	u64 first, last;
	u32 p;

	if (!rvm_entry_read(entries, i, &entry) || entry.state == RVM_ENTRY_NO_RESTORE)
		return;
	region = rvm_process_region(process, entry.address, entry.length);
	if (!region)
		return;
	first = rvm_region_offset(region, entry.address);
	last = first + entry.length;
	for (p = rvm_pieces_find(pieces, n, region->segment, first); p < n; p++) {
		const struct rvm_piece *piece = &pieces[p];
		u64 start = max(piece_start(piece), first);
		u64 end = min(piece_start(piece) + piece->length, last);

		if (piece->image->segment != region->segment || start >= end)
			return;
		/* It has not copied them yet, or not wholly: let it copy once more. */
		if (entry.state == RVM_ENTRY_AGAIN ||
		    cmpxchg(&((struct rvm_area_entry *)at)->state, RVM_ENTRY_SAVING,
			    RVM_ENTRY_AGAIN) != RVM_ENTRY_SAVED)
			return;
		memcpy(at + ENTRY_SIZE + (start - first),
		       rvm_image_committed(piece->image) + offset_in_page(start), end - start);
	}
}

void rvm_area_patch_others(struct rvm_area *committer, u32 n)
{
	struct rvm_log *log = committer->log;
	struct rvm_entries *entries;
	struct rvm_area *area;
	bool sorted = false;
	u32 i;

	/*
	 * Pairs with the barrier between raising `used` and saving: either we
	 * see the entry here, or its process saves what has just been committed.
	 */
	smp_mb();
	list_for_each_entry(area, &log->areas, node) {
		if (area == committer || !rvm_area_open(area))
			continue;
		if (!sorted)
			n = rvm_pieces_sort(committer->pieces, n);
		sorted = true;
		rvm_area_index(area);
		for (entries = rvm_area_next(area, NULL); entries;
		     entries = rvm_area_next(area, entries))
			for (i = 0; i < entries->count; i++)
				patch_entry(entries, i, area->process, committer->pieces, n);
		cond_resched();
	}
}

/* --- spilling ----------------------------------------------------------- */

static struct rvm_entries *copy_entries(struct rvm_log *log, const struct rvm_entries *from)
{
	size_t size = copy_size(from);
	struct rvm_entries *copy;

	if (!rvm_memory_charge(log, rvm_pages(size), RVM_MEMORY_COMMIT))
		return NULL;
	copy = kvmalloc(size, GFP_KERNEL_ACCOUNT);
	if (!copy) {
		rvm_memory_uncharge(log, rvm_pages(size));
		return NULL;
	}
	copy->used = from->used;
	copy->count = from->count;
	copy->offsets = (u32 *)(copy + 1);
	copy->base = (u8 *)copy->offsets + copy_offsets(copy);
	memcpy(copy->offsets, from->offsets, from->count * sizeof(u32));
	memcpy(copy->base, from->base, from->used);
	return copy;
}

int rvm_area_spill(struct rvm_log *log, u32 id)
{
	struct rvm_entries *copy;
	struct rvm_area *area;
	int ret;

	mutex_lock(&log->commit_lock);
	ret = -ENOENT;
	area = rvm_area_find(log, id);
	if (!area)
		goto out;
	ret = rvm_area_index(area);
	if (ret || !area->entries.count)
		goto out;
	/* More than this could not be committed. */
	ret = -EFBIG;
	if (area->spilled_bytes > min_t(u64, log->status->area_length, RVM_RECORD_MAX))
		goto out;
	ret = -ENOMEM;
	copy = copy_entries(log, &area->entries);
	if (!copy)
		goto out;
	list_add_tail(&copy->node, &area->spilled);
	area->spilled_bytes += copy->used;
	rewind(area);
	ret = 0;
out:
	mutex_unlock(&log->commit_lock);
	return ret;
}

/* --- mapping ------------------------------------------------------------ */

struct rvm_area *rvm_area_find(struct rvm_log *log, u32 id)
{
	struct rvm_area *area = log->recent_area;

	if (!area || area->id != id)
		area = xa_load(&log->area_ids, id);
	if (!area || area->process->mm != current->mm)
		return NULL;
	log->recent_area = area;
	return area;
}

static void rvm_area_vma_open(struct vm_area_struct *vma)
{
	struct rvm_area *area = vma->vm_private_data;

	mutex_lock(&area->log->commit_lock);
	area->maps++;
	mutex_unlock(&area->log->commit_lock);
}

/* Shared memory, and an offset for each entry that it has room for. */
static unsigned long fixed_pages(const struct rvm_area *area)
{
	return rvm_pages(sizeof(*area->shared) + area->room) +
	       rvm_pages((u64)area->room / ENTRY_SIZE * sizeof(u32));
}

static void free_area(struct rvm_area *area)
{
	rvm_memory_uncharge(area->log, fixed_pages(area) + rvm_pieces_pages(area->pieces_room));
	vfree(area->shared);
	kvfree(area->entries.offsets);
	kvfree(area->pieces);
	kfree(area);
}

/* By munmap, exec or death: with mmap_lock held for writing.  Undo needs no I/O. */
static void rvm_area_vma_close(struct vm_area_struct *vma)
{
	struct rvm_area *area = vma->vm_private_data;
	struct rvm_log *log = area->log;
	bool last;

	mutex_lock(&log->commit_lock);
	last = !--area->maps;
	if (last) {
		log->counts.undone += rvm_area_open(area) || rvm_tracking_owns(area);
		if (rvm_area_open(area)) {
			undo(area, NULL, true);
			rvm_area_reset(area);
		}
		if (rvm_tracking_owns(area))
			rvm_tracking_abandon(area);
		if (log->recent_area == area)
			log->recent_area = NULL;
		xa_erase(&log->area_ids, area->id);
		list_del(&area->node);
		list_del(&area->process_node);
		area->process->area_count--;
		rvm_process_put(area->process);
	}
	mutex_unlock(&log->commit_lock);
	if (last)
		free_area(area);
}

static int rvm_area_vma_may_split(struct vm_area_struct *vma, unsigned long address)
{
	return -EINVAL;
}

static int rvm_area_vma_mremap(struct vm_area_struct *vma)
{
	return -EINVAL;
}

/* Every page is there from the start. */
static vm_fault_t rvm_area_vma_fault(struct vm_fault *vmf)
{
	return VM_FAULT_SIGBUS;
}

static const struct vm_operations_struct rvm_area_vm_ops = {
	.open		= rvm_area_vma_open,
	.close		= rvm_area_vma_close,
	.may_split	= rvm_area_vma_may_split,
	.mremap		= rvm_area_vma_mremap,
	.fault		= rvm_area_vma_fault,
};

/* Enter the area into the log's and the process's lists, with an id. */
static int enter_area(struct rvm_area *area, struct mm_struct *mm)
{
	struct rvm_log *log = area->log;
	struct rvm_process *process;
	int ret = -ENOMEM;

	mutex_lock(&log->commit_lock);
	process = rvm_process_get(log, mm);
	if (!process)
		goto out;
	if (process->area_count < READ_ONCE(rvm_max_areas))
		ret = xa_alloc(&log->area_ids, &area->id, area, xa_limit_31b, GFP_KERNEL_ACCOUNT);
	if (ret) {
		rvm_process_put(process);
		goto out;
	}
	area->process = process;
	process->area_count++;
	list_add_tail(&area->process_node, &process->areas);
	list_add_tail(&area->node, &log->areas);
	rvm_tracking_publish(process);
	/* The pages are there already: other threads may write to them. */
	WRITE_ONCE(area->shared->area, area->id);
out:
	mutex_unlock(&log->commit_lock);
	return ret;
}

int rvm_area_mmap(struct rvm_log *log, struct vm_area_struct *vma)
{
	unsigned long length = vma->vm_end - vma->vm_start, at;
	struct rvm_area *area;
	int ret = -ENOMEM;

	if (!(vma->vm_flags & VM_MAYSHARE) || vma->vm_pgoff || length < RVM_AREA_MIN ||
	    length > RVM_AREA_MAX)
		return -EINVAL;
	area = kzalloc(sizeof(*area), GFP_KERNEL_ACCOUNT);
	if (!area)
		return -ENOMEM;
	area->log = log;
	area->maps = 1;
	INIT_LIST_HEAD(&area->spilled);
	area->room = length - sizeof(*area->shared);
	area->pieces_room = 32;
	if (!rvm_memory_charge(log, fixed_pages(area) + rvm_pieces_pages(area->pieces_room),
			       RVM_MEMORY_COMMIT)) {
		kfree(area);
		return -ENOMEM;
	}
	area->shared = __vmalloc(length, GFP_KERNEL_ACCOUNT | __GFP_ZERO);
	area->entries.offsets = kvmalloc_array(area->room / ENTRY_SIZE + 1, sizeof(u32),
					       GFP_KERNEL_ACCOUNT);
	area->pieces = kvmalloc_array(area->pieces_room, sizeof(*area->pieces),
				      GFP_KERNEL_ACCOUNT);
	if (!area->shared || !area->entries.offsets || !area->pieces)
		goto err;
	area->entries.base = area->shared->entries;
	area->shared->room = area->room;
	vm_flags_set(vma, VM_DONTCOPY | VM_DONTEXPAND | VM_IO | VM_DONTDUMP);
	for (at = 0; at < length; at += PAGE_SIZE) {
		ret = vm_insert_page(vma, vma->vm_start + at,
				     vmalloc_to_page((u8 *)area->shared + at));
		if (ret)
			goto err;
	}
	ret = enter_area(area, vma->vm_mm);
	if (ret)
		goto err;
	vma->vm_private_data = area;
	vma->vm_ops = &rvm_area_vm_ops;
	return 0;

err:
	free_area(area);
	return ret;
}
