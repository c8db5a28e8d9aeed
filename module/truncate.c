// SPDX-License-Identifier: GPL-2.0
/*
 * Truncation, oldest logged page first.  An image may hold a commit that is not
 * durable in the log yet; so a batch is copied under commit_lock, the log is
 * flushed up to what was copied, and only then is the copy written.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/list_sort.h>
#include <linux/sort.h>

#include "module/image.h"
#include "module/log.h"
#include "module/segment.h"
#include "module/trace.h"
#include "module/truncate.h"

/*
 * A truncation's images, oldest record first, on lists of its own.  It frees log space
 * at its end; but for commits that wait for room in portions, so that none waits for
 * much more than a batch.
 */
struct truncation {
	struct list_head old;		/* to be written */
	struct list_head written;	/* their space is not free yet */
	u64 end, end_sequence;		/* of what it frees */
	unsigned int pages;
	struct rvm_truncation_time time;
};

static int by_age(void *unused, const struct list_head *a, const struct list_head *b)
{
	return list_entry(a, struct rvm_image, node)->first >
	       list_entry(b, struct rvm_image, node)->first;
}

static int compare_places(const struct rvm_image *x, const struct rvm_image *y)
{
	if (x->segment != y->segment)
		return x->segment < y->segment ? -1 : 1;
	return x->index < y->index ? -1 : x->index > y->index;
}

static int by_place(void *unused, const struct list_head *a, const struct list_head *b)
{
	return compare_places(list_entry(a, struct rvm_image, node),
			      list_entry(b, struct rvm_image, node));
}

static int copy_by_place(const void *a, const void *b)
{
	return compare_places(((const struct rvm_copy *)a)->image,
			      ((const struct rvm_copy *)b)->image);
}

static void begin(struct rvm_log *log, struct truncation *t)
{
	INIT_LIST_HEAD(&t->old);
	INIT_LIST_HEAD(&t->written);
	t->pages = 0;
	t->time = (struct rvm_truncation_time){ };
	mutex_lock(&log->commit_lock);
	t->end = rvm_log_seal(log);
	t->end_sequence = log->sequence;
	spin_lock(&log->list_lock);
	list_splice_init(&log->logged, &t->old);
	spin_unlock(&log->list_lock);
	mutex_unlock(&log->commit_lock);
	/*
	 * Those that were logged again while they were being written came to the list late.
	 * Before recovery has ended nobody commits, so no space is freed but all at the end.
	 */
	list_sort(NULL, &t->old, log->recovered ? by_age : by_place);
}

/* Copy the oldest that are to be written. */
static void copy_batch(struct rvm_log *log, struct truncation *t)
{
	struct rvm_batch *batch = log->batch;
	struct rvm_image *image;

	batch->n = 0;
	mutex_lock(&log->commit_lock);
	while (batch->n < RVM_TRUNCATE_BATCH && !list_empty(&t->old)) {
		struct rvm_copy *copy = &batch->copies[batch->n];

		image = list_first_entry(&t->old, struct rvm_image, node);
		image->writing = image->first;
		image->writing_sequence = image->first_sequence;
		image->first = RVM_NOWHERE;
		list_move_tail(&image->node, &t->written);
		copy->image = image;
		copy->page = log->bounce[batch->n++];
		copy_page(page_address(copy->page), rvm_image_committed(image));
	}
	batch->position = rvm_log_seal(log);
	mutex_unlock(&log->commit_lock);
	t->pages += batch->n;
}

/* Write runs of adjacent pages with one write each, and all of them at once. */
static int write_batch(struct rvm_log *log, struct rvm_batch *batch)
{
	unsigned int i, first = 0, requests = 0;
	struct blk_plug plug;
	int ret = 0, error;

	sort(batch->copies, batch->n, sizeof(batch->copies[0]), copy_by_place, NULL);
	for (i = 0; i < batch->n; i++)
		bvec_set_page(&batch->pages[i], batch->copies[i].page, PAGE_SIZE, 0);
	blk_start_plug(&plug);
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
	blk_finish_plug(&plug);
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

/* One that was written names its images, so the list of attached segments isn't needed. */
static int flush_segments(struct rvm_log *log, struct list_head *written)
{
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
	return 0;
}

/* What was not freed stays logged where it was, and is written again: nothing is lost. */
static void put_back(struct rvm_log *log, struct truncation *t)
{
	struct rvm_image *image;

	mutex_lock(&log->commit_lock);
	spin_lock(&log->list_lock);
	list_for_each_entry(image, &t->written, node) {
		image->first = image->writing;
		image->first_sequence = image->writing_sequence;
		image->writing = RVM_NOWHERE;
	}
	list_splice_init(&t->old, &log->logged);
	list_splice_init(&t->written, &log->logged);
	spin_unlock(&log->list_lock);
	mutex_unlock(&log->commit_lock);
}

/* Those whose space is free belong to the logged or the loose again. */
static void settle(struct rvm_log *log, struct list_head *written)
{
	struct rvm_image *image, *next;

	mutex_lock(&log->commit_lock);
	spin_lock(&log->list_lock);
	list_for_each_entry_safe(image, next, written, node) {
		image->writing = RVM_NOWHERE;
		list_move_tail(&image->node,
			       image->first == RVM_NOWHERE ? &log->loose : &log->logged);
	}
	spin_unlock(&log->list_lock);
	mutex_unlock(&log->commit_lock);
}

/*
 * The loose may be clean by now; but a page that has just been committed will likely
 * be stored to again soon, and stays writable, with its image, until it has not been
 * for a whole turn: that saves its next store a page fault.  Not where memory is
 * wanted: hard.
 */
static void clean_images(struct rvm_log *log, bool hard)
{
	struct rvm_image *image;
	LIST_HEAD(check);

	mutex_lock(&log->commit_lock);
	spin_lock(&log->list_lock);
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
	if (ret)
		return ret;
	atomic64_set(&log->head, position);
	wake_up_all(&log->room);
	return 0;
}

/* Write a batch, or all if nobody waits for room, and free what only they held. */
static int truncate_portion(struct rvm_log *log, struct truncation *t, bool one)
{
	struct rvm_image *oldest;
	u64 began, ready;
	int ret;

	while (!list_empty(&t->old)) {
		began = ktime_get_ns();
		copy_batch(log, t);
		ret = rvm_log_flush(log, log->batch->position);
		ready = ktime_get_ns();
		if (!ret)
			ret = write_batch(log, log->batch);
		t->time.build += ready - began;
		t->time.apply += ktime_get_ns() - ready;
		if (ret)
			return ret;
		if (one || wq_has_sleeper(&log->room))
			break;
		cond_resched();
	}
	ready = ktime_get_ns();
	ret = flush_segments(log, &t->written);
	t->time.apply += ktime_get_ns() - ready;
	if (ret)
		return ret;
	oldest = list_first_entry_or_null(&t->old, struct rvm_image, node);
	if (oldest)
		ret = free_space(log, oldest->first, oldest->first_sequence);
	else
		ret = free_space(log, t->end, t->end_sequence);
	if (!ret)
		settle(log, &t->written);
	return ret;
}

/* If need is not 0, only until so many bytes fit. */
static int truncate(struct rvm_log *log, u64 need, bool hard, struct rvm_truncation_time *time)
{
	u64 began = ktime_get_ns();
	struct truncation t;
	int ret;

	WRITE_ONCE(log->truncating, true);
	begin(log, &t);
	ret = rvm_log_flush(log, t.end);
	while (!ret) {
		ret = truncate_portion(log, &t, need);
		if (list_empty(&t.old) || (need && rvm_log_fits(log, need)))
			break;
	}
	put_back(log, &t);
	if (!ret && !need)
		clean_images(log, hard);
	WRITE_ONCE(log->truncating, false);
	wake_up_all(&log->room);
	*time = t.time;
	time->total = ktime_get_ns() - began;
	trace_rvm_truncate(log, t.pages, used(log), began, ret);
	return ret;
}

int rvm_truncate_locked(struct rvm_log *log, bool hard)
{
	struct rvm_truncation_time time;

	return truncate(log, 0, hard, &time);
}

/* Truncate, and end the epoch. */
static int truncate_epoch(struct rvm_log *log, u64 need, bool hard, enum rvm_truncation why)
{
	struct rvm_truncation_time time;
	int ret = truncate(log, need, hard, &time);

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
	ret = truncate_epoch(log, 0, true, RVM_TRUNCATION_BACKGROUND);
	mutex_unlock(&log->truncate_lock);
	detach_unused(log);
	return ret;
}

/* A truncation that is under way may make room long before it ends. */
static bool room_came(struct rvm_log *log, u64 need)
{
	wait_event(log->room, rvm_log_fits(log, need) || !READ_ONCE(log->truncating));
	return rvm_log_fits(log, need);
}

int rvm_truncate(struct rvm_log *log, u64 need, enum rvm_truncation why)
{
	int ret = 0;

	if (need && room_came(log, need))
		return 0;
	mutex_lock(&log->truncate_lock);
	if (!need || !rvm_log_fits(log, need))
		ret = truncate_epoch(log, need, false, why);
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

	/* Another truncation may have done it meanwhile. */
	mutex_lock(&log->truncate_lock);
	if (due(log))
		truncate_epoch(log, 0, false, RVM_TRUNCATION_BACKGROUND);
	mutex_unlock(&log->truncate_lock);
	detach_unused(log);
}
