// SPDX-License-Identifier: GPL-2.0
/*
 * The log: opening and closing, the ring in which records are built, writing
 * it out, and the status block.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/bvec.h>
#include <linux/file.h>
#include <linux/ktime.h>
#include <linux/sched/stat.h>
#include <linux/vmalloc.h>

#include "module/area.h"
#include "module/image.h"
#include "module/log.h"
#include "module/segment.h"
#include "module/stat.h"
#include "module/trace.h"
#include "module/truncate.h"

#define SCAN_BUFFER	(256u << 10)
#define SHORT_WRITE	(250 * NSEC_PER_USEC)

static LIST_HEAD(rvm_logs);
static DEFINE_MUTEX(rvm_logs_lock);
static DECLARE_WAIT_QUEUE_HEAD(rvm_logs_closed);
static unsigned long rvm_closings;	/* logs that have closed; rvm_logs_lock, read without */
struct workqueue_struct *rvm_log_workqueue;

/* --- the ring ----------------------------------------------------------- */

static u8 *ring_at(struct rvm_log *log, u64 position)
{
	return log->ring.base + (position & (log->ring.size - 1));
}

void rvm_log_begin(struct rvm_log *log, u64 length, u32 ranges, u64 sequence, u32 commits)
{
	struct rvm_record_header header;

	log->appending = log->appended;
	rvm_record_header_init(&header, log->status, sequence, commits, length, ranges,
			       ktime_get_coarse_real_ns());
	rvm_log_append(log, &header, sizeof(header));
}

/* The record that ends here has bytes beyond the area's end, or all of them. */
static void count_wrap(struct rvm_log *log)
{
	log->counts.wraps++;
	log->counts.splits += log->appending < log->wrap;
	log->wrap += log->status->area_length;
}

void rvm_log_end(struct rvm_log *log, u64 length)
{
	struct rvm_record_trailer trailer;

	rvm_record_trailer_init(&trailer, length,
				rvm_crc32c(RVM_CRC_SEED, ring_at(log, log->appending),
					   log->appended - log->appending));
	rvm_log_append(log, &trailer, sizeof(trailer));
	if (log->appended > log->wrap)
		count_wrap(log);
}

u64 rvm_log_seal(struct rvm_log *log)
{
	u32 gap;

	if (log->coalesce.commits)
		rvm_coalesce_end(log);
	gap = rvm_block_gap(log->appended, log->file.block);
	/* Ring and durable are block-aligned: there is room up to the boundary. */
	memset(ring_at(log, log->appended), 0, gap);
	log->appended += gap;
	log->sealed = log->sequence;
	atomic64_set_release(&log->ready, log->appended);
	return log->appended;
}

/* --- writing ------------------------------------------------------------ */

/* One device write from the ring, which does not wrap at the area's end. */
static int write_ring(struct rvm_log *log, u64 from, u64 to)
{
	u32 at = from & (log->ring.size - 1);

	return rvm_file_write(&log->file, log->ring.pieces + (at >> PAGE_SHIFT),
			      offset_in_page(at), to - from, rvm_area_offset(log->status, from),
			      RVM_WRITE_DURABLE);
}

/*
 * How many writes may be under way.  If others want this CPU, and the device is fast, it
 * is the CPU that commits wait for: then they share writes, which cost more of it than
 * all else in a commit.
 */
static unsigned int writes_max(struct rvm_log *log)
{
	/* An average of a moment ago is as good. */
	bool is_short = data_race(ewma_rvm_write_ns_read(&log->write_ns)) < SHORT_WRITE;

	return is_short && !single_task_running() ? 2 : RVM_LOG_WRITES;
}

/* Is there something to write for this position, and may one more write begin? */
static bool may_write(struct rvm_log *log, u64 position)
{
	return READ_ONCE(log->issued) < position && READ_ONCE(log->n_writes) < writes_max(log);
}

static bool is_settled(struct rvm_log *log, u64 position)
{
	return atomic64_read_acquire(&log->durable) >= position || READ_ONCE(log->failed);
}

/* Of all who wait, wake those whose wait is over, and one who makes the next write. */
struct flush_wait {
	struct wait_queue_entry entry;
	u64 position;
};

struct flush_wakeup {
	struct rvm_log *log;
	bool has_writer;
	unsigned int settled;		/* so many waits are over */
};

static int wake_flush(struct wait_queue_entry *entry, unsigned int mode, int flags, void *key)
{
	u64 position = container_of(entry, struct flush_wait, entry)->position;
	struct flush_wakeup *w = key;

	if (is_settled(w->log, position)) {
		w->settled++;
	} else {
		if (w->has_writer || !may_write(w->log, position))
			return 0;
		w->has_writer = true;
	}
	return autoremove_wake_function(entry, mode, flags, key);
}

static unsigned int wake_flushes(struct rvm_log *log)
{
	struct flush_wakeup w = { .log = log };

	if (wq_has_sleeper(&log->written))
		__wake_up(&log->written, TASK_NORMAL, 0, &w);
	return w.settled;
}

static void wait_for_flush(struct rvm_log *log, u64 position)
{
	struct flush_wait w = { .position = position };

	init_wait(&w.entry);
	w.entry.func = wake_flush;
	prepare_to_wait(&log->written, &w.entry, TASK_UNINTERRUPTIBLE);
	if (!is_settled(log, position) && !may_write(log, position))
		schedule();
	finish_wait(&log->written, &w.entry);
}

static unsigned int fail(struct rvm_log *log, int error, const char *what)
{
	WRITE_ONCE(log->failed, error);
	pr_err("%s write failed (%d): no commit succeeds any more; detach and attach the log again to recover\n",
	       what, error);
	return wake_flushes(log);
}

/* All that is ready and not being written, or NULL if there is no need or no room. */
static struct rvm_log_write *begin_write(struct rvm_log *log, u64 position, u64 *from)
{
	struct rvm_log_write *write = NULL;

	spin_lock(&log->write_lock);
	if (may_write(log, position)) {
		write = &log->writes[(log->first_write + log->n_writes) % RVM_LOG_WRITES];
		WRITE_ONCE(log->n_writes, log->n_writes + 1);
		*from = log->issued;
		write->to = atomic64_read_acquire(&log->ready);
		write->state = 1;
		WRITE_ONCE(log->issued, write->to);
	}
	spin_unlock(&log->write_lock);
	return write;
}

/*
 * Durable is what has been written up to the first write that is under way, or
 * failed.  How many others waited for that.
 */
static unsigned int end_write(struct rvm_log *log, struct rvm_log_write *write, u64 from, u64 ns,
			      int ret)
{
	spin_lock(&log->write_lock);
	if (!ret) {
		rvm_count_flush(&log->counts, write->to - from, ns);
		log->last_flush_ns = ns;
	}
	write->state = ret;
	ewma_rvm_write_ns_add(&log->write_ns, ns);
	while (log->n_writes && !log->writes[log->first_write].state) {
		atomic64_set_release(&log->durable, log->writes[log->first_write].to);
		log->first_write = (log->first_write + 1) % RVM_LOG_WRITES;
		WRITE_ONCE(log->n_writes, log->n_writes - 1);
	}
	spin_unlock(&log->write_lock);
	return ret ? fail(log, ret, "log") : wake_flushes(log);
}

static void do_write(struct rvm_log *log, struct rvm_log_write *write, u64 from)
{
	u64 to = write->to, began = ktime_get_ns();
	u64 turn = from + log->status->area_length - from % log->status->area_length;
	unsigned int settled;
	int ret;

	down_read(&log->ring_lock);
	ret = write_ring(log, from, min(to, turn));
	if (!ret && to > turn)
		ret = write_ring(log, turn, to);
	up_read(&log->ring_lock);
	settled = end_write(log, write, from, ktime_get_ns() - began, ret);
	trace_rvm_log_write(log, from, to - from, settled, began, ret);
}

/*
 * Who finds room for one more write makes it, of all that is ready; else another's
 * write takes it along.
 */
int rvm_log_flush(struct rvm_log *log, u64 position)
{
	struct rvm_log_write *write;
	u64 from;

	while (atomic64_read_acquire(&log->durable) < position) {
		if (READ_ONCE(log->failed))
			return -EIO;
		write = begin_write(log, position, &from);
		if (write)
			do_write(log, write, from);
		else
			wait_for_flush(log, position);
	}
	return 0;
}

int rvm_log_flush_all(struct rvm_log *log)
{
	u64 position;

	mutex_lock(&log->commit_lock);
	position = rvm_log_seal(log);
	mutex_unlock(&log->commit_lock);
	return READ_ONCE(log->failed) ? -EIO : rvm_log_flush(log, position);
}

static void flush_in_background(struct work_struct *work)
{
	rvm_log_flush_all(container_of(work, struct rvm_log, flush_work.work));
}

void rvm_log_set_flush_interval(struct rvm_log *log, unsigned int milliseconds)
{
	WRITE_ONCE(log->flush_interval, milliseconds);
	if (milliseconds)
		mod_delayed_work(rvm_log_workqueue, &log->flush_work,
				 msecs_to_jiffies(milliseconds));
}

int rvm_log_write_status(struct rvm_log *log)
{
	struct bio_vec pages[RVM_STATUS_SIZE / PAGE_SIZE];
	u32 length, at;
	int ret;

	if (READ_ONCE(log->failed))
		return -EIO;
	length = round_up(rvm_status_encode(log->status, log->slot), log->file.block);
	for (at = 0; at < length; at += PAGE_SIZE)
		bvec_set_page(&pages[at >> PAGE_SHIFT], vmalloc_to_page(log->slot + at),
			      PAGE_SIZE, 0);
	log->counts.status_writes++;
	log->status_bytes += length;
	ret = rvm_file_write(&log->file, pages, 0, length, rvm_status_offset(log->status),
			     RVM_WRITE_DURABLE | RVM_WRITE_PREFLUSH);
	if (ret) {
		/* The other slot may be the only good one now: never write again. */
		fail(log, ret, "status");
		return -EIO;
	}
	return 0;
}

/* --- opening ------------------------------------------------------------ */

static int scan_read(void *context, u64 offset, void *buffer, size_t length)
{
	struct rvm_log *log = context;

	if (fatal_signal_pending(current))
		return -EINTR;
	return rvm_file_read(&log->file, buffer, length, offset);
}

int rvm_log_scan_init(struct rvm_log *log, struct rvm_scan *scan)
{
	void *buffer = vmalloc(SCAN_BUFFER);

	if (!buffer)
		return -ENOMEM;
	rvm_scan_init(scan, log->status, scan_read, log, buffer, SCAN_BUFFER);
	return 0;
}

void rvm_log_scan_end(struct rvm_scan *scan)
{
	vfree(scan->buffer);
}

/* Counts records per segment; seen: the last one that was counted. */
struct count {
	struct rvm_log *log;
	struct xarray seen;
	unsigned long record;
	u32 segment;			/* of the range before, if of the same record */
};

static int count_waiting(void *context, u32 segment, u64 offset, const void *data, u32 length)
{
	struct count *c = context;
	void *entry;
	int ret;

	if (segment == c->segment)
		return 0;
	c->segment = segment;
	entry = xa_load(&c->seen, segment);
	if (entry && xa_to_value(entry) == c->record)
		return 0;
	ret = xa_err(xa_store(&c->seen, segment, xa_mk_value(c->record), GFP_KERNEL));
	if (ret)
		return ret;
	entry = xa_load(&c->log->waiting, segment);
	return xa_err(xa_store(&c->log->waiting, segment,
			       xa_mk_value(entry ? xa_to_value(entry) + 1 : 1), GFP_KERNEL));
}

/* Find the tail: count what waits for RECOVER, and put the log's end there. */
static int find_tail(struct rvm_log *log)
{
	struct rvm_status *status = log->status;
	struct count count = { .log = log };
	struct rvm_scan scan;
	u64 start;
	int ret;

	ret = rvm_log_scan_init(log, &scan);
	if (ret)
		return ret;
	xa_init(&count.seen);
	while ((ret = rvm_scan_next(&scan)) > 0) {
		count.record++;
		count.segment = 0;
		ret = rvm_scan_ranges(&scan, &scan.record, count_waiting, &count);
		if (ret)
			break;
		if (fatal_signal_pending(current)) {
			ret = -EINTR;
			break;
		}
	}
	xa_destroy(&count.seen);
	rvm_log_scan_end(&scan);
	if (ret)
		return ret;

	start = round_up(scan.position, log->file.block);
	status->start = start;
	log->kept = RVM_NOWHERE;
	if (!count.record) {
		status->head = start;
	} else {
		log->kept = status->head;
		log->kept_sequence = status->head_sequence;
		/* Full, and our block is larger than its last owner's: no room until RECOVER. */
		if (start - status->head > status->area_length)
			status->start = scan.position;
	}
	atomic64_set(&log->head, status->head);
	status->start_sequence = scan.sequence;
	status->incarnation++;
	log->sequence = scan.sequence;
	log->sealed = scan.sequence;
	log->wrap = max(roundup(start, status->area_length), status->area_length);
	log->appended = start;
	atomic64_set(&log->ready, start);
	atomic64_set(&log->durable, start);
	log->issued = start;
	return 0;
}

static int open_log(struct rvm_log *log, struct file *theirs)
{
	void *slots = NULL;
	int ret;

	ret = rvm_file_open(&log->file, theirs, true);
	if (ret)
		return ret;
	ret = -ENOMEM;
	slots = vmalloc(2 * RVM_STATUS_SIZE);
	if (!slots)
		goto out;
	ret = -EINVAL;
	if (log->file.size < RVM_AREA_START)
		goto out;
	ret = rvm_file_read(&log->file, slots, 2 * RVM_STATUS_SIZE, 0);
	if (ret)
		goto out;
	ret = rvm_status_choose(log->status, slots);
	if (ret)
		goto out;
	ret = -EUCLEAN;
	if (log->file.size - RVM_AREA_START < log->status->area_length)
		goto out;
	xa_destroy(&log->waiting);
	ret = find_tail(log);
	if (!ret)
		ret = rvm_log_write_status(log);
	if (!ret) {
		log->open = true;
		rvm_stat_open(log);
	}
	rvm_file_invalidate(&log->file, 0, log->file.size);
out:
	vfree(slots);
	if (ret) {
		rvm_file_close(&log->file);
		log->failed = 0;
	}
	return ret;
}

/* --- the object --------------------------------------------------------- */

static void free_pages_of(struct page **pages, unsigned int n)
{
	while (pages && n--)
		if (pages[n])
			__free_page(pages[n]);
	kvfree(pages);
}

static struct page **alloc_pages_of(unsigned int n, unsigned int room)
{
	struct page **pages = kvcalloc(room, sizeof(*pages), GFP_KERNEL_ACCOUNT);
	unsigned int i;

	for (i = 0; pages && i < n; i++) {
		pages[i] = alloc_page(GFP_KERNEL_ACCOUNT);
		if (!pages[i]) {
			free_pages_of(pages, i);
			return NULL;
		}
	}
	return pages;
}

static void free_ring(struct rvm_ring *ring)
{
	kvfree(ring->pieces);
	vunmap(ring->base);
	free_pages_of(ring->pages, ring->size >> PAGE_SHIFT);
	*ring = (struct rvm_ring){};
}

/* Mapped twice in a row, so that what wraps is contiguous all the same. */
static int alloc_ring(struct rvm_ring *ring, u32 size)
{
	unsigned int n = size >> PAGE_SHIFT, i;

	*ring = (struct rvm_ring){ .size = size };
	ring->pages = alloc_pages_of(n, 2 * n);
	if (!ring->pages)
		return -ENOMEM;
	memcpy(ring->pages + n, ring->pages, n * sizeof(*ring->pages));
	ring->base = vmap(ring->pages, 2 * n, VM_MAP, PAGE_KERNEL);
	ring->pieces = kvcalloc(2 * n, sizeof(*ring->pieces), GFP_KERNEL_ACCOUNT);
	if (!ring->base || !ring->pieces) {
		free_ring(ring);
		return -ENOMEM;
	}
	for (i = 0; i < 2 * n; i++)
		bvec_set_page(&ring->pieces[i], ring->pages[i], PAGE_SIZE, 0);
	return 0;
}

int rvm_log_grow_ring(struct rvm_log *log, u64 size)
{
	struct rvm_ring ring;
	u64 position;
	int ret;

	/* Some more, lest other commits come in between for ever. */
	size += size / 4;
	if (size > RVM_RING_MAX)
		return -ENOMEM;
	size = roundup_pow_of_two(size);
	if (!rvm_memory_charge(log, rvm_pages(size), RVM_MEMORY_COMMIT))
		return -ENOMEM;
	ret = alloc_ring(&ring, size);
	if (ret) {
		rvm_memory_uncharge(log, rvm_pages(size));
		return ret;
	}
	down_write(&log->ring_lock);
	mutex_lock(&log->commit_lock);
	if (ring.size > log->ring.size) {
		for (position = atomic64_read(&log->durable); position < log->appended; ) {
			u64 n = min(log->appended - position, (u64)log->ring.size);

			memcpy(ring.base + (position & (ring.size - 1)), ring_at(log, position), n);
			position += n;
		}
		swap(ring, log->ring);
	}
	mutex_unlock(&log->commit_lock);
	up_write(&log->ring_lock);
	rvm_memory_uncharge(log, rvm_pages(ring.size));
	free_ring(&ring);
	return 0;
}

/* What a log takes from the start; its ring may grow. */
static unsigned long fixed_pages(u32 ring_size)
{
	return rvm_pages(ring_size) + RVM_TRUNCATE_BATCH;
}

static void free_log(struct rvm_log *log)
{
	rvm_memory_close_log(log);
	rvm_coalesce_set(log, false);
	kfree(log->batch);
	kvfree(log->requests);
	free_pages_of(log->bounce, RVM_TRUNCATE_BATCH);
	rvm_memory_uncharge(log, fixed_pages(log->ring.size));
	free_ring(&log->ring);
	vfree(log->slot);
	vfree(log->status);
	xa_destroy(&log->waiting);
	xa_destroy(&log->area_ids);
	xa_destroy(&log->region_ids);
	kfree(log);
}

static struct rvm_log *alloc_log(struct inode *key)
{
	struct rvm_log *log = kzalloc(sizeof(*log), GFP_KERNEL_ACCOUNT);
	u32 ring_size = roundup_pow_of_two(clamp(rvm_ring_kib, 64u, 16384u) << 10);

	if (!log)
		return NULL;
	kref_init(&log->ref);
	mutex_init(&log->attach_lock);
	mutex_init(&log->line_lock);
	mutex_init(&log->truncate_lock);
	mutex_init(&log->commit_lock);
	init_rwsem(&log->ring_lock);
	spin_lock_init(&log->list_lock);
	spin_lock_init(&log->write_lock);
	init_waitqueue_head(&log->written);
	init_waitqueue_head(&log->room);
	ewma_rvm_write_ns_init(&log->write_ns);
	INIT_LIST_HEAD(&log->segments);
	INIT_LIST_HEAD(&log->processes);
	INIT_LIST_HEAD(&log->areas);
	INIT_LIST_HEAD(&log->waits);
	init_waitqueue_head(&log->turn);
	INIT_LIST_HEAD(&log->logged);
	INIT_LIST_HEAD(&log->loose);
	xa_init(&log->waiting);
	xa_init_flags(&log->area_ids, XA_FLAGS_ALLOC1);
	xa_init_flags(&log->region_ids, XA_FLAGS_ALLOC1);
	INIT_WORK(&log->truncate_work, rvm_truncate_work);
	INIT_DELAYED_WORK(&log->flush_work, flush_in_background);
	log->truncate_at = RVM_TRUNCATE_DEFAULT;
	rvm_memory_init_log(log);
	if (!rvm_memory_charge(log, fixed_pages(ring_size), RVM_MEMORY_COMMIT)) {
		rvm_memory_close_log(log);
		kfree(log);
		return NULL;
	}

	log->status = vzalloc(sizeof(*log->status));
	log->slot = vzalloc(RVM_STATUS_SIZE);
	log->bounce = alloc_pages_of(RVM_TRUNCATE_BATCH, RVM_TRUNCATE_BATCH);
	log->requests = kvcalloc(RVM_TRUNCATE_BATCH, sizeof(*log->requests), GFP_KERNEL_ACCOUNT);
	log->batch = kmalloc(sizeof(*log->batch), GFP_KERNEL_ACCOUNT);
	if (!log->status || !log->slot || !log->bounce || !log->requests || !log->batch ||
	    alloc_ring(&log->ring, ring_size)) {
		log->ring.size = ring_size;	/* free_log() uncharges it */
		free_log(log);
		return NULL;
	}
	ihold(key);
	log->key = key;
	return log;
}

static struct rvm_log *find_log(struct inode *key)
{
	struct rvm_log *log;

	list_for_each_entry(log, &rvm_logs, node)
		if (log->key == key)
			return log;
	return NULL;
}

/* The log with this key, or a new one that is yet to be opened. */
static struct rvm_log *get_log(struct inode *key)
{
	struct rvm_log *log;
	unsigned long closings;

	for (;;) {
		mutex_lock(&rvm_logs_lock);
		log = find_log(key);
		if (!log || !log->closing)
			break;
		closings = rvm_closings;
		mutex_unlock(&rvm_logs_lock);
		/* No mutex in the condition, where the task must not sleep. */
		if (wait_event_killable(rvm_logs_closed, READ_ONCE(rvm_closings) != closings))
			return ERR_PTR(-EINTR);
	}
	if (log) {
		kref_get(&log->ref);
	} else {
		log = alloc_log(key);
		if (log)
			list_add(&log->node, &rvm_logs);
	}
	mutex_unlock(&rvm_logs_lock);
	return log ? log : ERR_PTR(-ENOMEM);
}

int rvm_log_attach(int fd, struct rvm_log **result)
{
	struct file *theirs = rvm_file_get(fd);
	struct rvm_log *log;
	int ret = 0;

	if (IS_ERR(theirs))
		return PTR_ERR(theirs);
	if (~theirs->f_mode & (FMODE_READ | FMODE_WRITE)) {
		fput(theirs);
		return -EBADF;
	}

	log = get_log(rvm_file_key(theirs));
	if (IS_ERR(log)) {
		fput(theirs);
		return PTR_ERR(log);
	}

	mutex_lock(&log->attach_lock);
	if (!log->open)
		ret = open_log(log, theirs);
	mutex_unlock(&log->attach_lock);
	fput(theirs);
	if (ret) {
		rvm_log_put(log);
		return ret;
	}
	*result = log;
	return 0;
}

void rvm_log_get(struct rvm_log *log)
{
	kref_get(&log->ref);
}

/* The last user goes: the queue is flushed before ownership is given up. */
static void release_log(struct kref *ref)
{
	struct rvm_log *log = container_of(ref, struct rvm_log, ref);

	/* Others who want this log wait; those who want another don't. */
	log->closing = true;
	mutex_unlock(&rvm_logs_lock);
	rvm_stat_close(log);
	cancel_work_sync(&log->truncate_work);
	rvm_memory_close_log(log);
	cancel_delayed_work_sync(&log->flush_work);
	if (log->open)
		rvm_log_flush_all(log);
	rvm_segment_detach_all(log);
	iput(log->key);
	rvm_file_close(&log->file);
	mutex_lock(&rvm_logs_lock);
	list_del(&log->node);
	WRITE_ONCE(rvm_closings, rvm_closings + 1);
	mutex_unlock(&rvm_logs_lock);
	wake_up_all(&rvm_logs_closed);
	free_log(log);
}

void rvm_log_put(struct rvm_log *log)
{
	kref_put_mutex(&log->ref, release_log, &rvm_logs_lock);
}

void rvm_log_for_each(void (*fn)(struct rvm_log *log))
{
	struct rvm_log *log;

	mutex_lock(&rvm_logs_lock);
	list_for_each_entry(log, &rvm_logs, node)
		if (!log->closing)
			fn(log);
	mutex_unlock(&rvm_logs_lock);
}

int rvm_log_init(void)
{
	rvm_log_workqueue = alloc_workqueue("rvm-log", WQ_UNBOUND | WQ_MEM_RECLAIM, 0);
	return rvm_log_workqueue ? 0 : -ENOMEM;
}

void rvm_log_exit(void)
{
	destroy_workqueue(rvm_log_workqueue);
}
