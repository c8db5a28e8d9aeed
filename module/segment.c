// SPDX-License-Identifier: GPL-2.0
/*
 * Segments: attaching, the page cache's operations, and mapping.
 */
#include <linux/file.h>
#include <linux/module.h>
#include <linux/mount.h>
#include <linux/pagemap.h>
#include <linux/pseudo_fs.h>
#include <linux/slab.h>

#include "module/area.h"
#include "module/compat.h"
#include "module/image.h"
#include "module/log.h"
#include "module/segment.h"
#include "module/trace.h"
#include "module/tracking.h"

#define RVM_FS_MAGIC	0x52564d21	/* "RVM!" */

/* Mounted while there are segments: a mount holds a reference to the module. */
static struct vfsmount *rvm_mount;
static int rvm_mounts;

/* --- the file system ---------------------------------------------------- */

static int rvm_fs_init_context(struct fs_context *fc)
{
	return init_pseudo(fc, RVM_FS_MAGIC) ? 0 : -ENOMEM;
}

static struct file_system_type rvm_fs_type = {
	.name			= "rvm",
	.owner			= THIS_MODULE,
	.init_fs_context	= rvm_fs_init_context,
	.kill_sb		= kill_anon_super,
};

/* --- pages -------------------------------------------------------------- */

/* Adjacent pages of a segment, locked, on their way from its file. */
struct rvm_read {
	struct work_struct work;
	struct rvm_segment *segment;
	u64 offset;
	unsigned int n;
	struct bio_vec pages[];
};

/* With the last page unlocked the segment may go. */
static int do_read(struct rvm_read *read)
{
	u64 began = rvm_trace_begin(trace_rvm_read_enabled());
	int ret = rvm_file_read_pages(&read->segment->file, read->pages, read->n, read->offset);
	unsigned int i;

	atomic_long_add(read->n, &read->segment->pages_read);
	atomic_long_add(read->n, &read->segment->log->pages_read);
	trace_rvm_read(read->segment, read->offset >> PAGE_SHIFT, read->n, began, ret);
	for (i = 0; i < read->n; i++) {
		struct folio *folio = page_folio(read->pages[i].bv_page);

		if (!ret)
			folio_mark_uptodate(folio);
		folio_unlock(folio);
	}
	kfree(read);
	return ret;
}

static void do_read_work(struct work_struct *work)
{
	do_read(container_of(work, struct rvm_read, work));
}

static struct rvm_read *alloc_read(struct rvm_segment *segment, u64 offset, unsigned int n,
				   gfp_t gfp)
{
	struct rvm_read *read = kmalloc(struct_size(read, pages, n), gfp);

	if (!read)
		return NULL;
	INIT_WORK(&read->work, do_read_work);
	read->segment = segment;
	read->offset = offset;
	read->n = 0;
	return read;
}

static void add_folio(struct rvm_read *read, struct folio *folio)
{
	bvec_set_page(&read->pages[read->n++], folio_page(folio, 0), PAGE_SIZE, 0);
}

/*
 * A file system takes locks of the file to read from it, and the task that
 * faults may hold them: in a write(2) to the same file, from a region of ours.
 * So a kernel thread reads; the task's wait for the folio ends if it is killed,
 * and the segment's end waits for the folio.
 */
static int rvm_segment_read_folio(struct file *file, struct folio *folio)
{
	struct rvm_segment *segment = folio->mapping->host->i_private;
	struct rvm_read *read = alloc_read(segment, folio_pos(folio), 1, GFP_KERNEL);

	if (!read) {
		folio_unlock(folio);
		return -ENOMEM;
	}
	add_folio(read, folio);
	if (segment->file.bdev)
		return do_read(read);
	rvm_file_queue(&read->work);
	return 0;
}

/* By a thread on devices, too: most of it nobody waits for.  What is not taken is dropped. */
static void rvm_segment_readahead(struct readahead_control *ahead)
{
	struct rvm_segment *segment = ahead->mapping->host->i_private;
	gfp_t gfp = readahead_gfp_mask(ahead->mapping);
	struct rvm_read *read = NULL;
	struct folio *folio;

	while ((folio = readahead_folio(ahead))) {
		if (!read)
			read = alloc_read(segment, folio_pos(folio),
					  min_t(unsigned int, readahead_count(ahead), RVM_IO_MAX),
					  gfp);
		if (!read) {
			folio_unlock(folio);
			return;
		}
		add_folio(read, folio);
		if (read->n == RVM_IO_MAX) {
			rvm_file_queue(&read->work);
			read = NULL;
		}
	}
	if (read)
		rvm_file_queue(&read->work);
}

static const struct address_space_operations rvm_segment_aops = {
	.read_folio	= rvm_segment_read_folio,
	.readahead	= rvm_segment_readahead,
	.dirty_folio	= noop_dirty_folio,
	.migrate_folio	= filemap_migrate_folio,
};

/* --- regions ------------------------------------------------------------ */

/* Not yet: the next try comes to rvm_region_fault(), which can wait. */
static vm_fault_t refuse_store(struct rvm_segment *segment, struct folio *folio)
{
	loff_t offset = folio_pos(folio);

	folio_unlock(folio);
	unmap_mapping_range(segment->inode->i_mapping, offset, PAGE_SIZE, 0);
	return VM_FAULT_NOPAGE;
}

/* The write hook: no store to a page before it has a committed image. */
static vm_fault_t rvm_region_page_mkwrite(struct vm_fault *vmf)
{
	struct rvm_region *region = vmf->vma->vm_private_data;
	struct folio *folio = page_folio(vmf->page);
	struct rvm_image *image;
	vm_fault_t ret;

	folio_lock(folio);
	if (folio->mapping != region->segment->inode->i_mapping) {
		folio_unlock(folio);
		return VM_FAULT_NOPAGE;
	}
	image = rvm_image_make(region->segment, folio, RVM_MEMORY_STORE);
	if (!image)
		return refuse_store(region->segment, folio);
	/* Pairs with the barrier where checking begins. */
	smp_mb();
	if (READ_ONCE(region->segment->tracked) || READ_ONCE(region->segment->checked)) {
		ret = rvm_tracking_store(region, image);
		if (ret == VM_FAULT_NOPAGE)
			return refuse_store(region->segment, folio);
		if (ret) {
			folio_unlock(folio);
			return ret;
		}
	}
	folio_mark_dirty(folio);
	atomic_long_inc(&region->segment->write_faults);
	atomic_long_inc(&region->segment->log->write_faults);
	trace_rvm_write_fault(region->segment, folio->index);
	return VM_FAULT_LOCKED;
}

static vm_fault_t rvm_region_fault(struct vm_fault *vmf)
{
	struct rvm_region *region = vmf->vma->vm_private_data;
	vm_fault_t ret = 0;

	if (vmf->flags & FAULT_FLAG_WRITE && region->tracking & RVM_SEGMENT_TRACKED)
		ret = rvm_tracking_fault(region, vmf);
	if (!ret)
		ret = rvm_memory_fault(region->segment, vmf);
	return ret ? ret : filemap_fault(vmf);
}

static vm_fault_t rvm_orphan_fault(struct vm_fault *vmf)
{
	return VM_FAULT_SIGBUS;
}

static const struct vm_operations_struct rvm_orphan_vm_ops = {
	.fault	= rvm_orphan_fault,
};

static void rvm_region_open(struct vm_area_struct *vma)
{
	struct rvm_region *region = vma->vm_private_data;
	struct rvm_log *log = region->segment->log;

	/* A fork after MADV_DOFORK: nothing is inherited all the same. */
	if (vma->vm_mm != region->process->mm) {
		vma->vm_private_data = NULL;
		vma->vm_ops = &rvm_orphan_vm_ops;
		return;
	}
	mutex_lock(&log->commit_lock);
	region->maps++;
	mutex_unlock(&log->commit_lock);
}

static bool covered_by_another(struct rvm_segment *segment, pgoff_t index)
{
	struct rvm_region *region;

	list_for_each_entry(region, &segment->regions, segment_node)
		if (index >= region->index &&
		    index < region->index + ((region->end - region->start) >> PAGE_SHIFT))
			return true;
	return false;
}

/*
 * The last process that mapped a page goes: what was stored there and never
 * committed goes with it.
 */
static void forget_uncommitted(struct rvm_region *region)
{
	struct rvm_segment *segment = region->segment;
	pgoff_t last = region->index + ((region->end - region->start) >> PAGE_SHIFT) - 1;
	struct rvm_image *image;
	unsigned long index;

	xa_for_each_range(&segment->images, index, image, region->index, last)
		if (!covered_by_another(segment, index))
			copy_page(rvm_image_current(image), rvm_image_committed(image));
}

static void rvm_region_close(struct vm_area_struct *vma)
{
	struct rvm_region *region = vma->vm_private_data;
	struct rvm_log *log = region->segment->log;
	bool last;

	mutex_lock(&log->commit_lock);
	last = !--region->maps;
	if (last) {
		rvm_area_undo_region(region);
		list_del(&region->segment_node);
		forget_uncommitted(region);
		list_del(&region->node);
		rvm_tracking_close(region);
		xa_erase(&log->region_ids, region->id);
		region->segment->region_count--;
		rvm_process_put(region->process);
	}
	mutex_unlock(&log->commit_lock);
	if (last)
		kfree(region);
}

static int rvm_region_may_split(struct vm_area_struct *vma, unsigned long address)
{
	return -EINVAL;
}

static int rvm_region_mremap(struct vm_area_struct *vma)
{
	return -EINVAL;
}

static const struct vm_operations_struct rvm_region_vm_ops = {
	.open		= rvm_region_open,
	.close		= rvm_region_close,
	.may_split	= rvm_region_may_split,
	.mremap		= rvm_region_mremap,
	.fault		= rvm_region_fault,
	.map_pages	= filemap_map_pages,
	.page_mkwrite	= rvm_region_page_mkwrite,
};

/* Enter the region into the lists, with an id.  Under commit_lock. */
static int enter_region(struct rvm_region *region, struct mm_struct *mm)
{
	struct rvm_segment *segment = region->segment;
	int ret;

	region->process = rvm_process_get(segment->log, mm);
	if (!region->process)
		return -ENOMEM;
	ret = xa_alloc(&segment->log->region_ids, &region->id, region, xa_limit_31b,
		       GFP_KERNEL_ACCOUNT);
	if (ret)
		goto err;
	ret = rvm_tracking_open(region);
	if (ret) {
		xa_erase(&segment->log->region_ids, region->id);
		goto err;
	}
	list_add(&region->node, &region->process->regions);
	list_add(&region->segment_node, &segment->regions);
	segment->region_count++;
	return 0;

err:
	rvm_process_put(region->process);
	return ret;
}

static int rvm_segment_mmap(struct file *file, struct vm_area_struct *vma)
{
	struct rvm_segment *segment = file_inode(file)->i_private;
	struct rvm_log *log = segment->log;
	struct rvm_region *region;
	int ret;

	if (!(vma->vm_flags & VM_MAYSHARE))
		return -EINVAL;
	if (vma->vm_pgoff + vma_pages(vma) > DIV_ROUND_UP_ULL(READ_ONCE(segment->size), PAGE_SIZE))
		return -EINVAL;
	if (!READ_ONCE(log->recovered) || READ_ONCE(segment->waiting))
		return -EAGAIN;

	region = kzalloc(sizeof(*region), GFP_KERNEL_ACCOUNT);
	if (!region)
		return -ENOMEM;
	region->segment = segment;
	region->start = vma->vm_start;
	region->end = vma->vm_end;
	region->index = vma->vm_pgoff;
	region->writable = vma->vm_flags & VM_MAYWRITE;
	/* What can't be stored to has nothing to find. */
	region->tracking = region->writable ? (uintptr_t)file->private_data : 0;
	region->maps = 1;

	mutex_lock(&log->commit_lock);
	ret = enter_region(region, vma->vm_mm);
	mutex_unlock(&log->commit_lock);
	if (ret) {
		kfree(region);
		return ret;
	}
	vm_flags_set(vma, VM_DONTCOPY | VM_DONTEXPAND);
	vma->vm_private_data = region;
	vma->vm_ops = &rvm_region_vm_ops;
	return 0;
}

/* --- attaching ---------------------------------------------------------- */

static int rvm_segment_release(struct inode *inode, struct file *file)
{
	struct rvm_segment *segment = inode->i_private;
	struct rvm_log *log = segment->log;

	mutex_lock(&log->attach_lock);
	segment->descriptors--;
	rvm_segment_detach_unused(log);
	mutex_unlock(&log->attach_lock);
	rvm_log_put(log);
	return 0;
}

static const struct file_operations rvm_segment_fops = {
	.owner		= THIS_MODULE,
	.mmap		= rvm_segment_mmap,
	.release	= rvm_segment_release,
};

static int rvm_segment_setattr(struct rvm_compat_idmap *unused, struct dentry *dentry,
			       struct iattr *attr)
{
	return -EPERM;
}

struct rvm_segment *rvm_segment_find(struct rvm_log *log, u32 id)
{
	struct rvm_segment *segment;

	list_for_each_entry(segment, &log->segments, node)
		if (segment->id == id)
			return segment;
	return NULL;
}

static void detach(struct rvm_segment *segment)
{
	rvm_image_drop_all(segment);
	mutex_lock(&segment->log->commit_lock);
	list_del(&segment->node);
	mutex_unlock(&segment->log->commit_lock);
	/* The page cache goes now, even if somebody still looks at the inode. */
	truncate_inode_pages(segment->inode->i_mapping, 0);
	iput(segment->inode);
	simple_release_fs(&rvm_mount, &rvm_mounts);
	iput(segment->key);
	rvm_file_close(&segment->file);
	xa_destroy(&segment->images);
	kfree(segment);
}

void rvm_segment_detach_unused(struct rvm_log *log)
{
	struct rvm_segment *segment, *next;
	struct rvm_image *image;
	unsigned long index;
	bool logged;

	list_for_each_entry_safe(segment, next, &log->segments, node) {
		if (segment->descriptors)
			continue;
		mutex_lock(&log->truncate_lock);
		/* Records of an earlier opening stay: so does what they speak of. */
		logged = segment->unflushed || log->kept != RVM_NOWHERE;
		mutex_lock(&log->commit_lock);
		xa_for_each(&segment->images, index, image)
			logged |= image->first != RVM_NOWHERE;
		mutex_unlock(&log->commit_lock);
		if (!logged)
			detach(segment);
		mutex_unlock(&log->truncate_lock);
	}
}

void rvm_segment_detach_all(struct rvm_log *log)
{
	struct rvm_segment *segment, *next;

	list_for_each_entry_safe(segment, next, &log->segments, node)
		detach(segment);
}

static struct inode *make_inode(struct rvm_segment *segment)
{
	static const struct inode_operations iops = { .setattr = rvm_segment_setattr };
	struct inode *inode;
	int ret = simple_pin_fs(&rvm_fs_type, &rvm_mount, &rvm_mounts);

	if (ret)
		return ERR_PTR(ret);
	inode = alloc_anon_inode(rvm_mount->mnt_sb);
	if (IS_ERR(inode)) {
		simple_release_fs(&rvm_mount, &rvm_mounts);
		return inode;
	}
	inode->i_op = &iops;
	inode->i_private = segment;
	inode->i_mapping->a_ops = &rvm_segment_aops;
	mapping_set_gfp_mask(inode->i_mapping, GFP_USER);
	i_size_write(inode, segment->size);
	return inode;
}

/* Find the name's id, or enter it durably: records will speak of it by id only. */
static int name_segment(struct rvm_log *log, const char *name, u32 name_length, u32 *id)
{
	struct rvm_status *status = log->status;
	int ret = 0;

	mutex_lock(&log->truncate_lock);
	*id = rvm_dict_find(status, name, name_length);
	if (!*id) {
		ret = rvm_dict_add(status, name, name_length, id);
		if (ret == -ENOSPC) {
			/* Full: forget those that nothing in the log or the system needs. */
			struct rvm_dict_entry e;
			u32 cursor = 0;

			if (log->kept == RVM_NOWHERE)
				while (rvm_dict_next(status, &cursor, &e))
					if (!rvm_segment_find(log, e.id)) {
						rvm_dict_remove(status, e.id);
						cursor = 0;
					}
			ret = rvm_dict_add(status, name, name_length, id);
		}
		if (!ret)
			ret = rvm_log_write_status(log);
	} else if (rvm_segment_find(log, *id)) {
		ret = -EEXIST;
	}
	mutex_unlock(&log->truncate_lock);
	return ret;
}

/*
 * The file may have grown since it was attached.  If its last page was a part of
 * one, what is cached of that is out of date, and must not be in use.
 */
static void take_growth(struct rvm_segment *segment)
{
	struct address_space *mapping = segment->inode->i_mapping;
	u64 size = i_size_read(segment->key);

	if (size <= segment->size)
		return;
	if (!PAGE_ALIGNED(segment->size) &&
	    (segment->descriptors || !xa_empty(&segment->images) ||
	     invalidate_inode_pages2(mapping)))
		return;
	WRITE_ONCE(segment->size, size);
	i_size_write(segment->inode, size);
}

static struct rvm_segment *find_or_open(struct rvm_log *log, struct file *theirs, bool writable,
					const char *name, u32 name_length)
{
	struct rvm_segment *segment;
	int ret;

	list_for_each_entry(segment, &log->segments, node) {
		if (segment->key != rvm_file_key(theirs))
			continue;
		if (writable && !segment->file.writable)
			return ERR_PTR(-EBUSY);
		take_growth(segment);
		return segment;
	}

	segment = kzalloc(sizeof(*segment), GFP_KERNEL_ACCOUNT);
	if (!segment)
		return ERR_PTR(-ENOMEM);
	segment->log = log;
	xa_init(&segment->images);
	xa_init(&segment->wanted);
	INIT_LIST_HEAD(&segment->regions);
	INIT_LIST_HEAD(&segment->hot);
	ret = rvm_file_open(&segment->file, theirs, writable);
	if (ret)
		goto err_segment;
	segment->size = segment->file.size;
	ret = -EINVAL;
	if (!segment->size)
		goto err_file;
	ret = name_segment(log, name, name_length, &segment->id);
	if (ret)
		goto err_file;
	segment->waiting = xa_load(&log->waiting, segment->id);
	segment->inode = make_inode(segment);
	if (IS_ERR(segment->inode)) {
		ret = PTR_ERR(segment->inode);
		goto err_file;
	}
	segment->key = rvm_file_key(theirs);
	ihold(segment->key);
	mutex_lock(&log->commit_lock);
	list_add_tail(&segment->node, &log->segments);
	mutex_unlock(&log->commit_lock);
	return segment;

err_file:
	rvm_file_close(&segment->file);
err_segment:
	kfree(segment);
	return ERR_PTR(ret);
}

/* What a descriptor refers to: counts as a user of the segment and the log. */
static struct file *make_file(struct rvm_segment *segment, bool writable, u32 tracking)
{
	struct file *file;

	ihold(segment->inode);
	__module_get(THIS_MODULE);	/* fput of the file puts it */
	file = alloc_file_pseudo(segment->inode, rvm_mount, "[rvm-segment]",
				 writable ? O_RDWR : O_RDONLY, &rvm_segment_fops);
	if (IS_ERR(file)) {
		module_put(THIS_MODULE);
		iput(segment->inode);
		return file;
	}
	file->private_data = (void *)(uintptr_t)tracking;
	/* As much as its device or file system would read ahead, were the file mapped itself. */
	file->f_ra.ra_pages = segment->file.file->f_ra.ra_pages;
	segment->descriptors++;
	rvm_log_get(segment->log);
	return file;
}

struct file *rvm_segment_attach(struct rvm_log *log, int fd, const char *name, u32 name_length,
				u32 tracking, u64 *size)
{
	struct file *theirs = rvm_file_get(fd), *file;
	struct rvm_segment *segment;
	bool writable;

	if (IS_ERR(theirs))
		return theirs;
	if (!(theirs->f_mode & FMODE_READ)) {
		fput(theirs);
		return ERR_PTR(-EBADF);
	}
	writable = theirs->f_mode & FMODE_WRITE;

	mutex_lock(&log->attach_lock);
	segment = find_or_open(log, theirs, writable, name, name_length);
	if (IS_ERR(segment)) {
		file = ERR_CAST(segment);
	} else {
		*size = segment->size;
		file = make_file(segment, writable, tracking);
		if (IS_ERR(file))
			rvm_segment_detach_unused(log);
	}
	mutex_unlock(&log->attach_lock);
	fput(theirs);
	return file;
}
