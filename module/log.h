/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A log: one object however many processes attach it.
 *
 * Locks, in the order in which they nest:
 *
 *   rvm_logs_lock	which logs exist
 *   attach_lock	which segments are attached; opening and recovery
 *   line_lock		who is the next to get log space, of commits that wait for it
 *   truncate_lock	the status block and the head; one truncation at a time
 *   ring_lock		(shared) writing from the ring; (exclusive) replacing it
 *   (mmap_lock, folio lock)
 *   commit_lock	the commit order: the ring's end, the committed images'
 *			bytes; processes, regions, areas and what stands in them
 *   list_lock		(spin) the lists of images
 *   write_lock		(spin) log writes under way
 *
 * A page fault takes folio locks and list_lock only, and nothing copies to or
 * from user memory under any of them.  commit_lock is taken under mmap_lock, so
 * nothing waits for I/O under it: file systems take mmap_lock under their own.
 */
#ifndef RVM_LOG_H
#define RVM_LOG_H

#include <linux/average.h>
#include <linux/kref.h>
#include <linux/list.h>
#include <linux/mutex.h>
#include <linux/sizes.h>
#include <linux/spinlock.h>
#include <linux/workqueue.h>
#include <linux/xarray.h>
#include "uapi/linux/rvm.h"

#include "core/counts.h"
#include "core/record.h"
#include "core/status.h"
#include "module/coalesce.h"
#include "module/file.h"
#include "module/image.h"
#include "module/memory.h"

struct rvm_batch;

/* The log's end, on its way to the disk. */
struct rvm_ring {
	u8 *base;			/* mapped twice, so that no record wraps */
	struct page **pages;
	u32 size;			/* power of two */
	struct bio_vec *pieces;		/* the pages, as writes take them */
};

/* Log writes under way at once: to consecutive places, acknowledged in this order. */
#define RVM_LOG_WRITES	8

/* What a write takes, in nanoseconds, on average. */
DECLARE_EWMA(rvm_write_ns, 4, 8)

struct rvm_log_write {
	u64 to;				/* it ends at this position */
	int state;			/* 0 done, negative it failed, else under way */
};

#define RVM_RING_MAX	SZ_1G
#define RVM_RECORD_MAX	(RVM_RING_MAX / 5 * 4)	/* the ring is made a little larger */

struct rvm_log {
	struct kref ref;		/* log descriptors and segments */
	struct list_head node;		/* rvm_logs_lock */
	bool closing;			/* rvm_logs_lock: the last user has gone */
	struct inode *key;		/* what rvm_file_key() says of it */
	struct rvm_file file;
	struct dentry *folder;		/* its statistics */

	/* attach_lock; what is attached changes under commit_lock, too */
	struct mutex attach_lock;
	bool open;			/* read, checked, a new incarnation begun */
	bool recovered;			/* RECOVER was called: commits are taken */
	struct list_head segments;
	struct xarray waiting;		/* segment id -> records waiting for RECOVER */

	/* truncate_lock */
	struct mutex truncate_lock;
	struct rvm_status *status;
	u8 *slot;			/* a status slot as written */
	u64 kept, kept_sequence;	/* first record that waits for a segment, or RVM_NOWHERE */
	struct page **bounce;		/* pages that truncation writes from */
	struct rvm_request *requests;	/* its writes under way */
	struct rvm_batch *batch;
	bool truncating;		/* read without */
	wait_queue_head_t room;		/* the head has moved, or no truncation is under way */
	struct mutex line_lock;

	/* commit_lock */
	struct mutex commit_lock;
	struct rvm_ring ring;		/* replaced under ring_lock, too */
	u64 appended;			/* position after the last record, or its last block */
	u64 sequence;			/* of the next commit */
	u64 sealed;			/* the same when the log was last sealed */
	u64 wrap;			/* position: the area's start, when it comes to that */
	u64 appending;			/* position of the record being appended */
	struct rvm_coalesce coalesce;	/* commits that will be the next record */
	struct list_head processes;
	struct list_head areas;
	struct rvm_area *recent_area;	/* found last */
	struct list_head waits;		/* module/tracking.c: stores that wait for a page */
	u64 turns;			/* transactions that ended while some did; read without */
	wait_queue_head_t turn;		/* it has changed */
	u64 search;			/* for a deadlock: its number */
	struct xarray area_ids, region_ids;

	/*
	 * ready: whole blocks up to here may be written.  durable: up to here
	 * they have been; changes under write_lock.  head: what lies before it
	 * is free; changes under truncate_lock.
	 */
	atomic64_t ready, durable, head;
	struct rw_semaphore ring_lock;
	int failed;			/* errno of a log or status write; read without a lock */

	/* write_lock */
	spinlock_t write_lock;
	u64 issued;			/* up to here writes have begun; read without */
	struct rvm_log_write writes[RVM_LOG_WRITES];
	unsigned int first_write;	/* the oldest that is not acknowledged */
	unsigned int n_writes;		/* how many are not; read without */
	struct ewma_rvm_write_ns write_ns;	/* read without */
	wait_queue_head_t written;	/* what is durable has changed, or log->failed */

	spinlock_t list_lock;		/* the two lists of images */
	struct list_head logged;	/* images with log records to free, oldest first */
	struct list_head loose;		/* images without */

	struct rvm_memory memory;
	bool pressed;			/* memory.press is part of a pass of the system's */

	unsigned int truncate_at;	/* per cent */
	struct work_struct truncate_work;
	unsigned int flush_interval;	/* milliseconds until a commit is flushed; 0: it is not */
	struct delayed_work flush_work;

	/*
	 * Each count changes under the lock of what it counts: commit_lock; write_lock
	 * for flushes; truncate_lock for status_writes, truncations and recoveries.
	 * epoch, as they were when the epoch began, changes under all three.
	 */
	struct rvm_counts counts, epoch;
	u64 status_bytes;					/* truncate_lock */
	u64 segment_writes, segment_flushes, segment_bytes;	/* truncate_lock */
	u64 undeclared, page_waits;				/* commit_lock */
	u64 recovered_records;					/* attach_lock */
	u64 most_used;						/* truncate_lock */
	u64 last_flush_ns;					/* write_lock */
	struct rvm_truncation_time last_truncation;		/* as epoch */
	atomic_long_t write_faults, pages_read;
};

/* Module parameters. */
extern unsigned int rvm_ring_kib;

/* Where truncation and flushes in the background work, also when memory is short. */
extern struct workqueue_struct *rvm_log_workqueue;

int rvm_log_attach(int fd, struct rvm_log **log);
void rvm_log_get(struct rvm_log *log);
void rvm_log_put(struct rvm_log *log);

/* Call fn for every log that isn't closing.  Takes rvm_logs_lock. */
void rvm_log_for_each(void (*fn)(struct rvm_log *log));

int rvm_log_init(void);
void rvm_log_exit(void);

/* The largest record that the empty log takes. */
static inline bool rvm_log_fits_empty(struct rvm_log *log, u64 size)
{
	return size <= min_t(u64, log->status->area_length, RVM_RECORD_MAX) &&
	       round_up(size, log->file.block) <= log->status->area_length;
}

/* Is there room to append size bytes now?  Without commit_lock it may be otherwise soon. */
static inline bool rvm_log_fits(struct rvm_log *log, u64 size)
{
	u64 head = atomic64_read(&log->head);
	/* Who asks without the lock asks again with it. */
	u64 end = data_race(READ_ONCE(log->appended)) + size;

	return round_up(end, log->file.block) - head <= log->status->area_length;
}

/* Is there room in memory, too? */
static inline bool rvm_log_fits_ring(struct rvm_log *log, u64 size)
{
	return round_up(log->appended + size, log->file.block) - atomic64_read(&log->durable) <=
	       log->ring.size;
}

/* Make the ring larger, for a record of `size` bytes.  It stays so. */
int rvm_log_grow_ring(struct rvm_log *log, u64 size);

/*
 * Append a record of `length` bytes in all, under commit_lock, after
 * rvm_log_fits() and rvm_log_fits_ring(): begin, append everything, end.
 */
void rvm_log_begin(struct rvm_log *log, u64 length, u32 ranges, u64 sequence, u32 commits);

static inline void rvm_log_append(struct rvm_log *log, const void *data, size_t length)
{
	memcpy(log->ring.base + (log->appended & (log->ring.size - 1)), data, length);
	log->appended += length;
}

void rvm_log_end(struct rvm_log *log, u64 length);

/*
 * Append what was coalesced, and fill up to a block boundary, so that all may be
 * written: its end.
 */
u64 rvm_log_seal(struct rvm_log *log);

/* Make the log durable up to a sealed position. */
int rvm_log_flush(struct rvm_log *log, u64 position);

/* Make all commits so far durable. */
int rvm_log_flush_all(struct rvm_log *log);

/* There is a commit that is not flushed: it is to be, after the interval. */
static inline void rvm_log_flush_later(struct rvm_log *log)
{
	unsigned int interval = READ_ONCE(log->flush_interval);

	if (interval)
		queue_delayed_work(rvm_log_workqueue, &log->flush_work,
				   msecs_to_jiffies(interval));
}

/* Of the commits before, too. */
void rvm_log_set_flush_interval(struct rvm_log *log, unsigned int milliseconds);

/* Write the status block, durably, after all else on the device. Under truncate_lock. */
int rvm_log_write_status(struct rvm_log *log);

/* Scan the live log, as the disk has it, up to this incarnation's start. */
int rvm_log_scan_init(struct rvm_log *log, struct rvm_scan *scan);
void rvm_log_scan_end(struct rvm_scan *scan);

#endif
