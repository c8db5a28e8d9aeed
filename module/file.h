/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A log's or segment's backing file or block device, opened by the module for
 * itself: ownership, and I/O from kernel pages.
 */
#ifndef RVM_FILE_H
#define RVM_FILE_H

#include <linux/blkdev.h>
#include <linux/bvec.h>
#include <linux/completion.h>
#include <linux/fs.h>
#include <linux/workqueue.h>

struct rvm_file {
	struct file *file;
	struct block_device *bdev;	/* NULL for a regular file */
	u64 size;
	u32 block;			/* unit of aligned I/O: 512..4096 bytes */
	bool direct;			/* direct I/O works */
	bool writable;
};

/* Bits for rvm_file_write(). */
#define RVM_WRITE_DURABLE	BIT(0)	/* on stable storage when it returns */
#define RVM_WRITE_PREFLUSH	BIT(1)	/* and everything written before it, first */

#define RVM_IO_MAX		BIO_MAX_VECS	/* of one request */

/* A request to a device, until it is waited for. */
struct rvm_request {
	struct rvm_file *file;
	u64 offset;
	size_t length;
	struct completion done;
	struct bio bio;
};

/* What two descriptors of the same file have in common: identifies it. */
static inline struct inode *rvm_file_key(struct file *file)
{
	return file->f_mapping->host;
}

/* It is named by the device that it is, or by its device and inode. */
static inline dev_t rvm_key_device(const struct inode *key)
{
	return S_ISBLK(key->i_mode) ? key->i_rdev : key->i_sb->s_dev;
}

static inline u64 rvm_key_inode(const struct inode *key)
{
	return S_ISBLK(key->i_mode) ? 0 : key->i_ino;
}

/* The caller's file behind fd, checked to be a regular file or block device. */
struct file *rvm_file_get(int fd);

/* Open theirs anew for ourselves, and take ownership: -EBUSY if another has it. */
int rvm_file_open(struct rvm_file *f, struct file *theirs, bool writable);
void rvm_file_close(struct rvm_file *f);

/* Read exactly length bytes into kernel memory of any kind; past the end is -EIO. */
int rvm_file_read(struct rvm_file *f, void *buffer, size_t length, u64 offset);

/*
 * Read into n whole pages, at most RVM_IO_MAX; what lies past the end in the
 * last reads as zeros.
 */
int rvm_file_read_pages(struct rvm_file *f, const struct bio_vec *pages, unsigned int n,
			u64 offset);

/*
 * Write length bytes from whole pages, of the first all but `skip` bytes.  Offset,
 * skip and length are multiples of f->block, or the write ends at the file's end.
 */
int rvm_file_write(struct rvm_file *f, const struct bio_vec *pages, u32 skip, size_t length,
		   u64 offset, unsigned int flags);

/*
 * The same in two parts, so that a device has several at once; at most RVM_IO_MAX
 * pages each.  Only what submit took without an error is waited for, and until then
 * `pages` stay as they are.  A file is written in the first part.
 */
int rvm_file_submit(struct rvm_file *f, struct rvm_request *r, const struct bio_vec *pages,
		    u32 skip, size_t length, u64 offset, unsigned int flags);
int rvm_file_wait(struct rvm_request *r);

/* Make all writes that have returned durable. */
int rvm_file_flush(struct rvm_file *f);

/* Drop what the page cache keeps of the file, so that others read what we wrote. */
void rvm_file_invalidate(struct rvm_file *f, u64 offset, u64 length);

/* Let a kernel thread do it. */
void rvm_file_queue(struct work_struct *work);

int rvm_file_init(void);
void rvm_file_exit(void);

#endif
