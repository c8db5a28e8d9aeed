// SPDX-License-Identifier: GPL-2.0
/*
 * Backing files.  Block devices are written by bios, since a kiocb would add a
 * cache flush to each FUA write; regular files go through their file system,
 * directly where that works.
 */
#include <linux/bio.h>
#include <linux/cred.h>
#include <linux/delay.h>
#include <linux/file.h>
#include <linux/pagemap.h>
#include <linux/sched/mm.h>
#include <linux/swap.h>
#include <linux/uio.h>
#include <linux/workqueue.h>

#include "core/format.h"
#include "module/compat.h"
#include "module/file.h"

struct file *rvm_file_get(int fd)
{
	struct file *theirs = fget(fd);
	umode_t mode;

	if (!theirs)
		return ERR_PTR(-EBADF);
	mode = file_inode(theirs)->i_mode;
	if (!(S_ISREG(mode) || S_ISBLK(mode)) || IS_SWAPFILE(rvm_file_key(theirs))) {
		fput(theirs);
		return ERR_PTR(-EINVAL);
	}
	/* Who may only append may not use it as a whole. */
	if ((theirs->f_mode & FMODE_WRITE) &&
	    ((theirs->f_flags & O_APPEND) || IS_APPEND(file_inode(theirs)))) {
		fput(theirs);
		return ERR_PTR(-EPERM);
	}
	return theirs;
}

/* The device claims itself (O_EXCL at open); a regular file is flocked. */
static int lock_file(struct file *file)
{
	struct file_lock lock;
	int ret;

	rvm_compat_flock_init(&lock, file);
	if (file->f_op->flock)
		ret = file->f_op->flock(file, F_SETLK, &lock);
	else
		ret = locks_lock_file_wait(file, &lock);
	return ret == -EAGAIN ? -EBUSY : ret;
}

static ssize_t kiocb_io(struct rvm_file *f, struct iov_iter *iter, u64 offset, int flags,
			bool write)
{
	struct super_block *sb = file_inode(f->file)->i_sb;
	struct kiocb kiocb;
	ssize_t ret;

	init_sync_kiocb(&kiocb, f->file);
	kiocb.ki_pos = offset;
	kiocb.ki_flags |= flags;
	if (!write)
		return f->file->f_op->read_iter(&kiocb, iter);
	/* not file_start_write(): that reads the mode, which overlayfs sets at each write */
	sb_start_write(sb);
	ret = f->file->f_op->write_iter(&kiocb, iter);
	sb_end_write(sb);
	return ret;
}

static ssize_t direct_read(struct rvm_file *f, const struct bio_vec *pages, size_t length,
			   u64 offset)
{
	struct iov_iter iter;

	iov_iter_bvec(&iter, READ, pages, DIV_ROUND_UP(length, PAGE_SIZE), length);
	return kiocb_io(f, &iter, offset, IOCB_DIRECT, false);
}

/* A real read: some file systems advertise direct I/O and then refuse it. */
static bool probe_direct(struct rvm_file *f)
{
	struct bio_vec piece;
	ssize_t ret;

	if (!(f->file->f_mode & FMODE_CAN_ODIRECT))
		return false;
	bvec_set_page(&piece, alloc_page(GFP_KERNEL), f->block, 0);
	if (!piece.bv_page)
		return false;
	ret = direct_read(f, &piece, f->block, 0);
	put_page(piece.bv_page);
	return ret >= 0;
}

static u32 file_block(struct file *file, struct block_device *bdev)
{
	struct super_block *sb = file_inode(file)->i_sb;

	if (!bdev)
		bdev = sb->s_bdev;
	if (!bdev)
		return RVM_BLOCK_MAX;
	return clamp_t(u32, bdev_logical_block_size(bdev), RVM_BLOCK_MIN, RVM_BLOCK_MAX);
}

int rvm_file_open(struct rvm_file *f, struct file *theirs, bool writable)
{
	bool block = S_ISBLK(file_inode(theirs)->i_mode);
	struct file *file;
	int ret;

	file = dentry_open(&theirs->f_path,
			   (writable ? O_RDWR : O_RDONLY) | O_LARGEFILE | (block ? O_EXCL : 0),
			   theirs->f_cred);
	if (IS_ERR(file))
		return PTR_ERR(file);
	if (!file->f_op->read_iter || (writable && !file->f_op->write_iter)) {
		ret = -EINVAL;
		goto err_file;
	}
	if (!block) {
		ret = lock_file(file);
		if (ret)
			goto err_file;
	}

	f->file = file;
	f->bdev = block ? I_BDEV(file->f_mapping->host) : NULL;
	f->size = i_size_read(file->f_mapping->host);
	f->writable = writable;
	/* Opening a device does not look at this, nor do bios. */
	ret = -EACCES;
	if (writable && f->bdev && bdev_read_only(f->bdev))
		goto err_file;
	f->block = file_block(file, f->bdev);
	if (block) {
		/* Bios go past the page cache: leave nothing dirty behind them. */
		ret = filemap_write_and_wait(file->f_mapping);
		if (ret)
			goto err_file;
		f->direct = true;
	} else {
		f->direct = probe_direct(f);
		if (!f->direct)
			f->block = RVM_BLOCK_MIN;
	}
	return 0;

err_file:
	f->file = NULL;
	fput(file);
	return ret;
}

int rvm_file_read(struct rvm_file *f, void *buffer, size_t length, u64 offset)
{
	loff_t pos = offset;
	ssize_t ret;

	while (length) {
		ret = kernel_read(f->file, buffer, length, &pos);
		if (ret <= 0)
			return ret ? ret : -EIO;
		buffer += ret;
		length -= ret;
	}
	return 0;
}

static void end_request(struct bio *bio)
{
	complete(bio->bi_private);
}

/* The bio takes the caller's whole pages as they are, so there is nothing to allocate. */
static void submit(struct rvm_file *f, struct rvm_request *r, const struct bio_vec *pages,
		   u32 skip, size_t length, u64 offset, blk_opf_t opf)
{
	struct bio *bio = &r->bio;

	bio_init(bio, f->bdev, NULL, 0, opf);
	bio->bi_io_vec = (struct bio_vec *)pages;
	bio->bi_vcnt = DIV_ROUND_UP(skip + length, PAGE_SIZE);
	bio_set_flag(bio, BIO_CLONED);
	bio->bi_iter.bi_sector = offset >> SECTOR_SHIFT;
	bio->bi_iter.bi_size = length;
	bio->bi_iter.bi_bvec_done = skip;
	bio->bi_end_io = end_request;
	bio->bi_private = &r->done;
	init_completion(&r->done);
	submit_bio(bio);
}

static int wait(struct rvm_request *r)
{
	/* In parts: it isn't the task that hangs if the device takes minutes. */
	while (!wait_for_completion_io_timeout(&r->done, 10 * HZ))
		;
	bio_uninit(&r->bio);
	return blk_status_to_errno(r->bio.bi_status);
}

static int read_bdev(struct rvm_file *f, const struct bio_vec *pages, size_t length, u64 offset)
{
	struct rvm_request r;

	submit(f, &r, pages, 0, length, offset, REQ_OP_READ | REQ_SYNC);
	return wait(&r);
}

/* What direct I/O can't read goes through the page cache of the file's own. */
static int read_regular(struct rvm_file *f, const struct bio_vec *pages, size_t length,
			u64 offset)
{
	size_t direct = f->direct ? round_down(length, PAGE_SIZE) : 0, at;
	ssize_t ret;

	if (direct) {
		ret = direct_read(f, pages, direct, offset);
		if (ret != direct)
			return ret < 0 ? ret : -EIO;
	}
	for (at = direct; at < length; at += PAGE_SIZE) {
		ret = rvm_file_read(f, page_address(pages[at >> PAGE_SHIFT].bv_page),
				    min_t(size_t, length - at, PAGE_SIZE), offset + at);
		if (ret)
			return ret;
	}
	return 0;
}

int rvm_file_read_pages(struct rvm_file *f, const struct bio_vec *pages, unsigned int n,
			u64 offset)
{
	u64 end = i_size_read(f->file->f_mapping->host);
	size_t length = (size_t)n << PAGE_SHIFT, last = length - PAGE_SIZE;
	int ret;

	if (offset + last >= end)
		return -EIO;	/* the file has been cut short under us */
	length = min_t(u64, length, end - offset);
	if (f->bdev)
		ret = read_bdev(f, pages, length, offset);
	else
		ret = read_regular(f, pages, length, offset);
	if (!ret)
		memset(page_address(pages[n - 1].bv_page) + (length - last), 0,
		       PAGE_SIZE - (length - last));
	return ret;
}

static int write_regular(struct rvm_file *f, const struct bio_vec *pages, u32 skip, size_t length,
			 u64 offset, unsigned int flags)
{
	bool aligned = IS_ALIGNED(offset | length, f->block);
	int io_flags = f->direct && aligned ? IOCB_DIRECT : 0;
	struct iov_iter iter;
	ssize_t ret;

	if (flags & RVM_WRITE_PREFLUSH) {
		ret = vfs_fsync(f->file, 1);
		if (ret)
			return ret;
	}
	if (flags & RVM_WRITE_DURABLE)
		io_flags |= IOCB_DSYNC;
	iov_iter_bvec(&iter, WRITE, pages, DIV_ROUND_UP(skip + length, PAGE_SIZE), skip + length);
	iov_iter_advance(&iter, skip);
	while (iov_iter_count(&iter)) {
		ret = kiocb_io(f, &iter, offset, io_flags, true);
		if (ret <= 0)
			return ret ? ret : -EIO;
		offset += ret;
	}
	return 0;
}

/* --- by a kernel thread -------------------------------------------------- */

static struct workqueue_struct *rvm_file_workqueue;

void rvm_file_queue(struct work_struct *work)
{
	queue_work(rvm_file_workqueue, work);
}

/* Have work that is on the stack done, and wait for it. */
static void run_by_thread(struct work_struct *work)
{
	rvm_file_queue(work);
	flush_work(work);
	destroy_work_on_stack(work);
}

struct close_work {
	struct work_struct work;
	struct file *file;
};

static void do_close_work(struct work_struct *work)
{
	__fput_sync(container_of(work, struct close_work, work)->file);
}

/*
 * It drops the flock or the claim, too.  A task's own fput() would do so only on
 * its way back to user space; but when this returns the next owner may come.
 */
void rvm_file_close(struct rvm_file *f)
{
	struct close_work w = { .file = f->file };

	if (!f->file)
		return;
	INIT_WORK_ONSTACK(&w.work, do_close_work);
	run_by_thread(&w.work);
	f->file = NULL;
}

/*
 * File systems refuse a write by a task that has been killed, and one beyond the
 * task's RLIMIT_FSIZE; memory may be short in its cgroup only.  But what we write
 * belongs to all users of the log, and must not fail because of one of them: a
 * kernel thread does it then.  Those without a block device (the network's) may
 * even return while the write goes on.
 */
struct write_work {
	struct work_struct work;
	struct rvm_file *f;
	const struct bio_vec *pages;
	u32 skip;
	size_t length;
	u64 offset;
	unsigned int flags;
	int ret;
};

#define WRITE_TRIES	10	/* a second in all */

/* A failed write may fail the log for good: so not because memory is short for a moment. */
static void do_write_work(struct work_struct *work)
{
	struct write_work *w = container_of(work, struct write_work, work);
	unsigned int nofs = memalloc_nofs_save(), tries;

	for (tries = 0; tries < WRITE_TRIES; tries++) {
		if (tries)
			msleep(1 << tries);
		w->ret = write_regular(w->f, w->pages, w->skip, w->length, w->offset, w->flags);
		if (w->ret != -ENOMEM)
			break;
	}
	memalloc_nofs_restore(nofs);
}

static int write_by_thread(struct rvm_file *f, const struct bio_vec *pages, u32 skip,
			   size_t length, u64 offset, unsigned int flags)
{
	struct write_work w = {
		.f = f, .pages = pages, .skip = skip, .length = length, .offset = offset,
		.flags = flags,
	};

	INIT_WORK_ONSTACK(&w.work, do_write_work);
	run_by_thread(&w.work);
	return w.ret;
}

static bool may_write_directly(struct rvm_file *f)
{
	return current->flags & PF_KTHREAD ||
	       (file_inode(f->file)->i_sb->s_bdev && rlimit(RLIMIT_FSIZE) == RLIM_INFINITY);
}

static int write_file(struct rvm_file *f, const struct bio_vec *pages, u32 skip, size_t length,
		      u64 offset, unsigned int flags)
{
	int ret = -EINTR;

	if (may_write_directly(f))
		ret = write_regular(f, pages, skip, length, offset, flags);
	if (ret == -EINTR || ret == -ERESTARTSYS || ret == -ENOMEM)
		ret = write_by_thread(f, pages, skip, length, offset, flags);
	return ret;
}

int rvm_file_submit(struct rvm_file *f, struct rvm_request *r, const struct bio_vec *pages,
		    u32 skip, size_t length, u64 offset, unsigned int flags)
{
	unsigned int nofs = memalloc_nofs_save();
	blk_opf_t opf = REQ_OP_WRITE | REQ_SYNC | REQ_IDLE;
	int ret = 0;

	if (flags & RVM_WRITE_DURABLE)
		opf |= REQ_FUA;
	if (flags & RVM_WRITE_PREFLUSH)
		opf |= REQ_PREFLUSH;
	r->file = f;
	r->offset = offset;
	r->length = length;
	if (f->bdev)
		submit(f, r, pages, skip, length, offset, opf);
	else
		ret = write_file(f, pages, skip, length, offset, flags);
	memalloc_nofs_restore(nofs);
	return ret;
}

int rvm_file_wait(struct rvm_request *r)
{
	int ret;

	if (!r->file->bdev)
		return 0;
	ret = wait(r);
	rvm_file_invalidate(r->file, r->offset, r->length);
	return ret;
}

int rvm_file_write(struct rvm_file *f, const struct bio_vec *pages, u32 skip, size_t length,
		   u64 offset, unsigned int flags)
{
	size_t most = f->bdev ? (size_t)RVM_IO_MAX << PAGE_SHIFT : SIZE_MAX, now;
	struct rvm_request r;
	int ret = 0;

	while (length && !ret) {
		now = min(length, most - skip);
		ret = rvm_file_submit(f, &r, pages, skip, now, offset, flags);
		if (!ret)
			ret = rvm_file_wait(&r);
		pages += RVM_IO_MAX;
		skip = 0;
		length -= now;
		offset += now;
	}
	return ret;
}

int rvm_file_flush(struct rvm_file *f)
{
	unsigned int nofs = memalloc_nofs_save();
	int ret = f->bdev ? blkdev_issue_flush(f->bdev) : vfs_fsync(f->file, 1);

	memalloc_nofs_restore(nofs);
	return ret;
}

void rvm_file_invalidate(struct rvm_file *f, u64 offset, u64 length)
{
	struct address_space *mapping = f->file->f_mapping;

	if (f->bdev && length && mapping->nrpages)
		invalidate_inode_pages2_range(mapping, offset >> PAGE_SHIFT,
					      (offset + length - 1) >> PAGE_SHIFT);
}

int rvm_file_init(void)
{
	rvm_file_workqueue = alloc_workqueue("rvm-write", WQ_UNBOUND | WQ_MEM_RECLAIM, 0);
	return rvm_file_workqueue ? 0 : -ENOMEM;
}

void rvm_file_exit(void)
{
	destroy_workqueue(rvm_file_workqueue);
}
