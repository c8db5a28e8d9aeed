/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What differs between the kernels that the module builds for, 6.1 to 6.12.
 */
#ifndef RVM_COMPAT_H
#define RVM_COMPAT_H

#include <linux/fs.h>
#include <linux/mm.h>
#include <linux/shrinker.h>
#include <linux/version.h>

#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 3, 0)
#include <linux/filelock.h>
#define rvm_compat_idmap	mnt_idmap
#else
#define rvm_compat_idmap	user_namespace

static inline void vm_flags_set(struct vm_area_struct *vma, vm_flags_t flags)
{
	vma->vm_flags |= flags;
}

static inline void vm_flags_clear(struct vm_area_struct *vma, vm_flags_t flags)
{
	vma->vm_flags &= ~flags;
}
#endif

/* How many page-table entries map a folio of one page. */
static inline int rvm_compat_mapcount(struct folio *folio)
{
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 8, 0)
	return folio_mapcount(folio);
#else
	return page_mapcount(folio_page(folio, 0));
#endif
}

/* Release what a fault holds of its address space, before VM_FAULT_RETRY. */
static inline void rvm_compat_release_fault_lock(struct vm_fault *vmf)
{
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 6, 0)
	release_fault_lock(vmf);
#else
	mmap_read_unlock(vmf->vma->vm_mm);
#endif
}

/* A registered shrinker of the module, or NULL.  Only one at a time. */
static inline struct shrinker *
rvm_compat_shrinker(unsigned long (*count)(struct shrinker *, struct shrink_control *),
		    unsigned long (*scan)(struct shrinker *, struct shrink_control *))
{
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 7, 0)
	struct shrinker *shrinker = shrinker_alloc(0, "rvm");

	if (!shrinker)
		return NULL;
	shrinker->count_objects = count;
	shrinker->scan_objects = scan;
	shrinker_register(shrinker);
	return shrinker;
#else
	static struct shrinker shrinker;

	shrinker = (struct shrinker){
		.count_objects = count,
		.scan_objects = scan,
		.seeks = DEFAULT_SEEKS,
	};
	return register_shrinker(&shrinker, "rvm") ? NULL : &shrinker;
#endif
}

static inline void rvm_compat_shrinker_free(struct shrinker *shrinker)
{
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 7, 0)
	shrinker_free(shrinker);
#else
	unregister_shrinker(shrinker);
#endif
}

/* Fill in a request for an exclusive flock on the whole file. */
static inline void rvm_compat_flock_init(struct file_lock *lock, struct file *file)
{
	locks_init_lock(lock);
	lock->fl_start = 0;
	lock->fl_end = OFFSET_MAX;
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 9, 0)
	lock->c.flc_file = file;
	lock->c.flc_owner = file;
	lock->c.flc_pid = current->tgid;
	lock->c.flc_flags = FL_FLOCK;
	lock->c.flc_type = F_WRLCK;
#else
	lock->fl_file = file;
	lock->fl_owner = file;
	lock->fl_pid = current->tgid;
	lock->fl_flags = FL_FLOCK;
	lock->fl_type = F_WRLCK;
#endif
}

#endif
