// SPDX-License-Identifier: GPL-2.0
/*
 * Truncation, oldest logged page first.  An image may hold a commit that is not
 * durable in the log yet; so a batch is copied under commit_lock, the log is
 * flushed up to what was copied, and only then is the copy written.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/sort.h>

#include "module/image.h"
#include "module/log.h"
#include "module/segment.h"
#include "module/trace.h"
#include "module/truncate.h"

/* Copy the oldest images with records before `limit`; they move to `written`. */
static void copy_batch(struct rvm_log *log, u64 limit, struct rvm_batch *batch,
		       struct list_head *written)
{
	struct rvm_image *image;
	unsigned int i;

	batch->n = 0;
	mutex_lock(&log->commit_lock);
	spin_lock(&log->list_lock);
	while (batch->n < RVM_TRUNCATE_BATCH && !list_empty(&log->logged)) {
		image = list_first_entry(&log->logged, struct rvm_image, node);
		if (image->first >= limit)
			break;
		image->writing = image->first;
		image->writing_sequence = image->first_sequence;
		image->first = RVM_NOWHERE;
		list_move_tail(&image->node, written);
		batch->copies[batch->n].image = image;
		batch->copies[batch->n].page = log->bounce[batch->n];
		batch->n++;
	}
	spin_unlock(&log->list_lock);
	for (i = 0; i < batch->n; i++)
		copy_page(page_address(log->bounce[i]),
			  rvm_image_committed(batch->copies[i].image));
	batch->position = rvm_log_seal(log);
	mutex_unlock(&log->commit_lock);
}

static int by_place(const void *a, const void *b)
{
	const struct rvm_image *x = ((const struct rvm_copy *)a)->image;
	const struct rvm_image *y = ((const struct rvm_copy *)b)->image;

	if (x->segment != y->segment)
		return x->segment < y->segment ? -1 : 1;
	return x->index < y->index ? -1 : x->index > y->index;
}

/* Write runs of adjacent pages with one write each, and all of them at once. */
static int write_batch(struct rvm_log *log, struct rvm_batch *batch)
{
	unsigned int i, first = 0, requests = 0;
	int ret = 0, error;

	sort(batch->copies, batch->n, sizeof(batch->copies[0]), by_place, NULL);
	for (i = 0; i < batch->n; i++)
		bvec_set_page(&batch->pages[i], batch->copies[i].page, PAGE_SIZE, 0);
	for (i = 1; i <= batch->n && !ret; i++) {
		struct rvm_image *image = batch->copies[first].image;
		struct rvm_segment *segment = image->segment;
		u64 offset = (u64)image->index << PAGE_SHIFT;
		size_t length;

		if (i < batch->n && batch->copies[i].image->segment == segment &&
		    batch->copies[i].image->index == image->index + (i - first))
			continue;
		/* The last page may be a part of one: the file must not grow. */
		length = min_t(u64, (u64)(i - first) << PAGE_SHIFT,
			       READ_ONCE(segment->size) - offset);
		segment->unflushed = true;
		log->segment_writes++;
		log->segment_bytes += length;
		segment->pages_written += i - first;
		ret = rvm_file_submit(&segment->file, &log->requests[requests],
				      batch->pages + first, 0, length, offset, 0);
		requests += !ret;
		first = i;
	}
	/* The last comes first: most have ended then, and nobody is woken for them. */
	while (requests) {
		error = rvm_file_wait(&log->requests[--requests]);
		if (error)
			ret = error;
	}
	if (ret)
		pr_err_ratelimited("segment write failed (%d): its records stay in the log\n", ret);
	return ret;
}

static int write_images(struct rvm_log *log, u64 limit, struct list_head *written,
			unsigned int *pages, struct rvm_truncation_time *time)
{
	struct rvm_batch *batch = log->batch;
	u64 began, ready;
	int ret;

	do {
		began = ktime_get_ns();
		copy_batch(log, limit, batch, written);
		*pages += batch->n;
		ret = rvm_log_flush(log, batch->position);
		ready = ktime_get_ns();
		if (!ret)
			ret = write_batch(log, batch);
		time->build += ready - began;
		time->apply += ktime_get_ns() - ready;
		cond_resched();
	} while (batch->n && !ret);
	return ret;
}

/* One that was written names its images, so the list of attached segments isn't needed. */
static int flush_segments(struct rvm_log *log, struct list_head *written,
			  struct rvm_truncation_time *time)
{
	u64 began = ktime_get_ns();
	struct rvm_image *image;
	int ret;

	/* Only this truncation takes images off the list: it holds truncate_lock. */
	list_for_each_entry(image, written, node) {
		struct rvm_segment *segment = image->segment;

		if (!segment->unflushed)
			continue;
		log->segment_flushes++;
		ret = rvm_file_flush(&segment->file);
		if (ret) {
			pr_err_ratelimited("segment flush failed (%d): its records stay in the log\n",
					   ret);
			return ret;
		}
		segment->unflushed = false;
	}
	time->apply += ktime_get_ns() - began;
	return 0;
}

/* Nothing is lost: all of it stays logged where it was, and is written again. */
static void put_back(struct rvm_log *log, struct list_head *written)
{
	struct rvm_image *image;

	mutex_lock(&log->commit_lock);
	spin_lock(&log->list_lock);
	list_for_each_entry(image, written, node) {
		image->first = image->writing;
		image->first_sequence = image->writing_sequence;
		image->writing = RVM_NOWHERE;
	}
	list_splice_init(written, &log->logged);
	spin_unlock(&log->list_lock);
	mutex_unlock(&log->commit_lock);
}

/*
 * Those written belong to the logged or the loose again.  The loose may be clean
 * by now; but a page that has just been committed will likely be stored to again
 * soon, and stays writable, with its image, until it has not been for a whole
 * turn: that saves its next store a page fault.  Not where memory is wanted: hard.
 */
static void clean_images(struct rvm_log *log, struct list_head *written, bool hard)
{
	struct rvm_image *image, *next;
	LIST_HEAD(check);

	mutex_lock(&log->commit_lock);
	spin_lock(&log->list_lock);
	list_for_each_entry_safe(image, next, written, node) {
		image->writing = RVM_NOWHERE;
		list_move_tail(&image->node,
			       image->first == RVM_NOWHERE ? &log->loose : &log->logged);
	}
	list_splice_init(&log->loose, &check);
	while (!list_empty(&check)) {
		image = list_first_entry(&check, struct rvm_image, node);
		list_move_tail(&image->node, &log->loose);
		if (!image->cold && !hard) {
			image->cold = true;
			continue;
		}
		spin_unlock(&log->list_lock);
		mutex_unlock(&log->commit_lock);
		rvm_image_clean(image);
		cond_resched();
		mutex_lock(&log->commit_lock);
		spin_lock(&log->list_lock);
	}
	spin_unlock(&log->list_lock);
	mutex_unlock(&log->commit_lock);
}

/* Bytes of the log that are not free. */
static u64 used(struct rvm_log *log)
{
	/* Without commit_lock: if the end is out of date, truncation begins a commit later. */
	return data_race(READ_ONCE(log->appended)) - atomic64_read(&log->head);
}

static int free_space(struct rvm_log *log, u64 position, u64 sequence)
{
	struct rvm_status *status = log->status;
	int ret;

	/* It was never more than just before some of it is freed. */
	log->most_used = max(log->most_used, used(log));
	if (log->kept < position) {
		position = log->kept;
		sequence = log->kept_sequence;
	}
	if (position == status->head)
		return 0;
	status->head = position;
	status->head_sequence = sequence;
	/* A status has its head not behind the incarnation's start. */
	if (status->start < position) {
		status->start = position;
		status->start_sequence = sequence;
	}
	ret = rvm_log_write_status(log);
	if (!ret)
		atomic64_set(&log->head, position);
	return ret;
}

static int truncate_to_end(struct rvm_log *log, bool hard, unsigned int *pages,
			   struct rvm_truncation_time *time)
{
	u64 position, sequence;
	LIST_HEAD(written);
	int ret;

	mutex_lock(&log->commit_lock);
	position = rvm_log_seal(log);
	sequence = log->sequence;
	mutex_unlock(&log->commit_lock);

	ret = rvm_log_flush(log, position);
	if (!ret)
		ret = write_images(log, position, &written, pages, time);
	if (!ret)
		ret = flush_segments(log, &written, time);
	if (!ret)
		ret = free_space(log, position, sequence);
	if (ret) {
		put_back(log, &written);
		return ret;
	}
	clean_images(log, &written, hard);
	return 0;
}

static int truncate(struct rvm_log *log, bool hard, struct rvm_truncation_time *time)
{
	u64 began = ktime_get_ns();
	unsigned int pages = 0;
	int ret = truncate_to_end(log, hard, &pages, time);

	time->total = ktime_get_ns() - began;
	trace_rvm_truncate(log, pages, used(log), began, ret);
	return ret;
}

int rvm_truncate_locked(struct rvm_log *log)
{
	struct rvm_truncation_time time = { };

	return truncate(log, false, &time);
}

/* Truncate, and end the epoch. */
static int truncate_epoch(struct rvm_log *log, bool hard, enum rvm_truncation why)
{
	struct rvm_truncation_time time = { };
	int ret = truncate(log, hard, &time);

	if (ret)
		return ret;
	mutex_lock(&log->commit_lock);
	spin_lock(&log->write_lock);
	rvm_count_truncation(&log->counts, why, &time);
	log->last_truncation = time;
	log->epoch = log->counts;
	spin_unlock(&log->write_lock);
	mutex_unlock(&log->commit_lock);
	return 0;
}

static void detach_unused(struct rvm_log *log)
{
	mutex_lock(&log->attach_lock);
	rvm_segment_detach_unused(log);
	mutex_unlock(&log->attach_lock);
}

int rvm_truncate_hard(struct rvm_log *log)
{
	int ret;

	mutex_lock(&log->truncate_lock);
	ret = truncate_epoch(log, true, RVM_TRUNCATION_BACKGROUND);
	mutex_unlock(&log->truncate_lock);
	detach_unused(log);
	return ret;
}

int rvm_truncate(struct rvm_log *log, u64 need, enum rvm_truncation why)
{
	bool fits = false;
	int ret = 0;

	mutex_lock(&log->truncate_lock);
	if (need) {
		mutex_lock(&log->commit_lock);
		fits = rvm_log_fits(log, need);
		mutex_unlock(&log->commit_lock);
	}
	if (!fits)
		ret = truncate_epoch(log, false, why);
	mutex_unlock(&log->truncate_lock);
	if (!need)
		detach_unused(log);
	return ret;
}

static bool due(struct rvm_log *log)
{
	unsigned int at = READ_ONCE(log->truncate_at);

	return at && used(log) >= div_u64(log->status->area_length, 100) * at;
}

void rvm_truncate_consider(struct rvm_log *log)
{
	if (due(log) && !work_pending(&log->truncate_work))
		queue_work(rvm_log_workqueue, &log->truncate_work);
}

void rvm_truncate_work(struct work_struct *work)
{
	struct rvm_log *log = container_of(work, struct rvm_log, truncate_work);

	if (due(log))
		rvm_truncate(log, 0, RVM_TRUNCATION_BACKGROUND);
}
