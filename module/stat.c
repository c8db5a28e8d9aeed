// SPDX-License-Identifier: GPL-2.0
/*
 * Statistics in debugfs: a folder for each log, named as its tracepoints name it.
 *
 * The folder goes before its log does, and its removal waits for those who read:
 * so they hold no reference.  They take commit_lock alone, for which nobody waits
 * long, and never from one record to the next: processes decide how many there
 * are.  A record is found again by a number, which it keeps.
 */
#include <linux/build_bug.h>
#include <linux/debugfs.h>
#include <linux/pid.h>
#include <linux/seq_file.h>
#include <linux/slab.h>

#include "module/area.h"
#include "module/log.h"
#include "module/memory.h"
#include "module/segment.h"
#include "module/stat.h"

static struct dentry *rvm_folder;

/* --- counters ----------------------------------------------------------- */

/* Bytes that aren't free. */
static u64 log_used(struct rvm_log *log)
{
	/* With larger blocks than a full log was written in, the next is beyond. */
	return min(log->appended - atomic64_read(&log->head), log->status->area_length);
}

void rvm_stat_query(struct rvm_log *log, struct rvm_ioc_query *a)
{
	unsigned int i;

	mutex_lock(&log->commit_lock);
	spin_lock(&log->write_lock);
	a->log_length = log->status->area_length;
	a->log_used = log_used(log);
	/* Truncation and recovery hold truncate_lock as long as devices take: do without. */
	a->log_writes = log->counts.flushes + data_race(log->counts.status_writes);
	a->log_flushes = a->log_writes;
	a->log_bytes = log->counts.flushed_bytes + data_race(log->status_bytes);
	a->segment_writes = data_race(log->segment_writes);
	a->segment_flushes = data_race(log->segment_flushes);
	a->segment_bytes = data_race(log->segment_bytes);
	a->commits = log->counts.commits;
	a->flush_commits = log->counts.flush_commits;
	a->aborts = log->counts.aborts;
	a->undone = log->counts.undone;
	a->truncations = 0;
	for (i = 0; i < RVM_TRUNCATIONS; i++)
		a->truncations += data_race(log->counts.truncations[i]);
	a->recovered_records = data_race(log->recovered_records);
	a->failed = !!READ_ONCE(log->failed);
	a->memory = (u64)atomic_long_read(&log->memory.held) << PAGE_SHIFT;
	a->memory_limit = (u64)rvm_memory_limit(log) << PAGE_SHIFT;
	a->memory_waits = atomic_long_read(&log->memory.waits);
	spin_unlock(&log->write_lock);
	mutex_unlock(&log->commit_lock);
}

/* What is counted, and what processes are told of it, are the same. */
static_assert(sizeof(struct rvm_ioc_counts) == sizeof(struct rvm_counts));

void rvm_stat_statistics(struct rvm_log *log, struct rvm_ioc_statistics *a)
{
	*a = (struct rvm_ioc_statistics){ .size = sizeof(*a) };
	mutex_lock(&log->commit_lock);
	spin_lock(&log->write_lock);
	a->log_length = log->status->area_length;
	a->log_used = log_used(log);
	a->log_most_used = min(max(data_race(log->most_used), a->log_used), a->log_length);
	a->queued_commits = log->sequence - log->sealed;
	a->queued_bytes = log->appended - atomic64_read(&log->ready) + log->coalesce.bytes;
	a->last_flush_ns = log->last_flush_ns;
	a->last_truncation_ns = log->last_truncation.total;
	a->last_build_ns = log->last_truncation.build;
	a->last_apply_ns = log->last_truncation.apply;
	/* A status write or a recovery that is under way may count or not. */
	data_race(memcpy(&a->now, &log->counts, sizeof(a->now)));
	memcpy(&a->before, &log->epoch, sizeof(a->before));
	spin_unlock(&log->write_lock);
	mutex_unlock(&log->commit_lock);
}

static const struct {
	const char *name;
	size_t offset;
} counters[] = {
#define COUNTER(name) { #name, offsetof(struct rvm_ioc_query, name) }
	COUNTER(log_length),
	COUNTER(log_used),
	COUNTER(log_writes),
	COUNTER(log_flushes),
	COUNTER(log_bytes),
	COUNTER(segment_writes),
	COUNTER(segment_flushes),
	COUNTER(segment_bytes),
	COUNTER(commits),
	COUNTER(flush_commits),
	COUNTER(aborts),
	COUNTER(undone),
	COUNTER(truncations),
	COUNTER(recovered_records),
	COUNTER(failed),
	COUNTER(memory),
	COUNTER(memory_limit),
	COUNTER(memory_waits),
};

/* None is missing. */
static_assert(sizeof(struct rvm_ioc_query) ==
	      offsetof(struct rvm_ioc_query, log_length) + ARRAY_SIZE(counters) * sizeof(u64));

/* The rest of struct rvm_ioc_counts: numbers, and histograms and what else has several. */
static const struct {
	const char *name;
	size_t offset, n;
} counts[] = {
#define SAME(name)	BUILD_BUG_ON_ZERO(offsetof(struct rvm_counts, name) !=	\
					  offsetof(struct rvm_ioc_counts, name))
#define COUNT(name)	{ #name, offsetof(struct rvm_ioc_counts, name) + SAME(name),	\
			  sizeof_field(struct rvm_ioc_counts, name) / sizeof(u64) }
	COUNT(truncation_waits),
	COUNT(merged_ranges),
	COUNT(merged_bytes),
	COUNT(coalesced_commits),
	COUNT(coalesced_ranges),
	COUNT(coalesced_bytes),
	COUNT(splits),
	COUNT(wraps),
	COUNT(flushes),
	COUNT(flushed_bytes),
	COUNT(flush_ns),
	COUNT(flush_requests),
	COUNT(status_writes),
	COUNT(recoveries),
	COUNT(truncation_ns),
	COUNT(truncations),
	COUNT(range_lengths),
	COUNT(range_merges),
	COUNT(range_overlaps),
	COUNT(trans_coalesces),
	COUNT(trans_merges),
	COUNT(trans_overlaps),
	COUNT(flush_times),
	COUNT(truncation_times),
	COUNT(build_times),
	COUNT(apply_times),
};

static void show_counts(struct seq_file *m, bool histograms)
{
	struct rvm_ioc_statistics *a = kmalloc(sizeof(*a), GFP_KERNEL);
	unsigned int i, k;

	if (!a)
		return;
	rvm_stat_statistics(m->private, a);
	for (i = 0; i < ARRAY_SIZE(counts); i++) {
		const u64 *values = (u64 *)((u8 *)&a->now + counts[i].offset);
		bool several = counts[i].n > 1;

		if (several != histograms)
			continue;
		seq_puts(m, counts[i].name);
		for (k = 0; k < counts[i].n; k++)
			seq_printf(m, " %llu", values[k]);
		seq_putc(m, '\n');
	}
	kfree(a);
}

static int counters_show(struct seq_file *m, void *v)
{
	struct rvm_log *log = m->private;
	struct rvm_ioc_query a;
	unsigned int i;

	rvm_stat_query(log, &a);
	for (i = 0; i < ARRAY_SIZE(counters); i++)
		seq_printf(m, "%s %llu\n", counters[i].name,
			   *(u64 *)((u8 *)&a + counters[i].offset));
	seq_printf(m, "write_faults %lu\n", atomic_long_read(&log->write_faults));
	seq_printf(m, "pages_read %lu\n", atomic_long_read(&log->pages_read));
	show_counts(m, false);
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(counters);

static int histograms_show(struct seq_file *m, void *v)
{
	show_counts(m, true);
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(histograms);

/* The file or device that the log is. */
static int path_show(struct seq_file *m, void *v)
{
	struct rvm_log *log = m->private;

	seq_file_path(m, log->file.file, " \t\n\\");
	seq_putc(m, '\n');
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(path);

/* --- segments: found by their id ---------------------------------------- */

/* The first with this id, or a greater one.  Under commit_lock. */
static struct rvm_segment *segment_from(struct rvm_log *log, u64 id)
{
	struct rvm_segment *segment, *first = NULL;

	list_for_each_entry(segment, &log->segments, node)
		if (segment->id >= id && (!first || segment->id < first->id))
			first = segment;
	return first;
}

static void *segments_start(struct seq_file *m, loff_t *position)
{
	struct rvm_log *log = m->private;
	struct rvm_segment *segment;

	mutex_lock(&log->commit_lock);
	segment = segment_from(log, *position);
	if (segment)
		*position = segment->id;
	mutex_unlock(&log->commit_lock);
	return segment ? position : NULL;
}

static void *segments_next(struct seq_file *m, void *v, loff_t *position)
{
	++*position;
	return segments_start(m, position);
}

static void segments_stop(struct seq_file *m, void *v)
{
}

static int segments_show(struct seq_file *m, void *v)
{
	struct rvm_log *log = m->private;
	u64 id = *(loff_t *)v;
	struct rvm_segment *segment;

	mutex_lock(&log->commit_lock);
	segment = segment_from(log, id);
	if (segment && segment->id == id) {
		dev_t device = rvm_key_device(segment->key);

		seq_printf(m, "segment=%u device=%u:%u:%llu size=%llu descriptors=%u regions=%u changed=%lu write_faults=%lu pages_read=%lu pages_written=%lu writable=%d waiting=%d unfit=%d path=",
			   segment->id, MAJOR(device), MINOR(device), rvm_key_inode(segment->key),
			   READ_ONCE(segment->size), data_race(segment->descriptors),
			   segment->region_count, data_race(segment->image_count),
			   atomic_long_read(&segment->write_faults),
			   atomic_long_read(&segment->pages_read),
			   data_race(segment->pages_written), segment->file.writable,
			   READ_ONCE(segment->waiting), data_race(segment->unfit));
		seq_file_path(m, segment->file.file, " \t\n\\");
		seq_putc(m, '\n');
	}
	mutex_unlock(&log->commit_lock);
	return 0;
}

static const struct seq_operations segments_sops = {
	.start	= segments_start,
	.next	= segments_next,
	.stop	= segments_stop,
	.show	= segments_show,
};
DEFINE_SEQ_ATTRIBUTE(segments);

/* --- processes: regions by their ids, then areas by theirs -------------- */

#define FIRST_AREA	BIT_ULL(32)

static void *processes_start(struct seq_file *m, loff_t *position)
{
	struct rvm_log *log = m->private;
	unsigned long id;

	if (*position < FIRST_AREA) {
		id = *position;
		if (xa_find(&log->region_ids, &id, U32_MAX, XA_PRESENT)) {
			*position = id;
			return position;
		}
		*position = FIRST_AREA;
	}
	id = *position - FIRST_AREA;
	if (!xa_find(&log->area_ids, &id, U32_MAX, XA_PRESENT))
		return NULL;
	*position = FIRST_AREA + id;
	return position;
}

static void *processes_next(struct seq_file *m, void *v, loff_t *position)
{
	++*position;
	return processes_start(m, position);
}

static void processes_stop(struct seq_file *m, void *v)
{
}

static void show_region(struct seq_file *m, const struct rvm_region *region)
{
	seq_printf(m, "region pid=%d segment=%u start=%#lx end=%#lx offset=%llu writable=%d\n",
		   pid_vnr(region->process->pid), region->segment->id, region->start, region->end,
		   rvm_region_offset(region, region->start), region->writable);
}

static void show_area(struct seq_file *m, const struct rvm_area *area)
{
	seq_printf(m, "area pid=%d area=%u open=%d used=%u spilled=%llu\n",
		   pid_vnr(area->process->pid), area->id, rvm_area_open(area),
		   min(READ_ONCE(area->shared->used), area->room), area->spilled_bytes);
}

static int processes_show(struct seq_file *m, void *v)
{
	struct rvm_log *log = m->private;
	u64 position = *(loff_t *)v;
	void *record;

	mutex_lock(&log->commit_lock);
	if (position < FIRST_AREA) {
		record = xa_load(&log->region_ids, position);
		if (record)
			show_region(m, record);
	} else {
		record = xa_load(&log->area_ids, position - FIRST_AREA);
		if (record)
			show_area(m, record);
	}
	mutex_unlock(&log->commit_lock);
	return 0;
}

static const struct seq_operations processes_sops = {
	.start	= processes_start,
	.next	= processes_next,
	.stop	= processes_stop,
	.show	= processes_show,
};
DEFINE_SEQ_ATTRIBUTE(processes);

/* --- the folders: nothing depends on whether they come to be ------------ */

void rvm_stat_open(struct rvm_log *log)
{
	dev_t device = rvm_key_device(log->key);
	char name[48];

	snprintf(name, sizeof(name), "%u:%u:%llu", MAJOR(device), MINOR(device),
		 rvm_key_inode(log->key));
	log->folder = debugfs_create_dir(name, rvm_folder);
	debugfs_create_file("counters", 0400, log->folder, log, &counters_fops);
	debugfs_create_file("histograms", 0400, log->folder, log, &histograms_fops);
	debugfs_create_file("path", 0400, log->folder, log, &path_fops);
	debugfs_create_file("processes", 0400, log->folder, log, &processes_fops);
	debugfs_create_file("segments", 0400, log->folder, log, &segments_fops);
}

void rvm_stat_close(struct rvm_log *log)
{
	debugfs_remove(log->folder);
}

void rvm_stat_init(void)
{
	rvm_folder = debugfs_create_dir("rvm", NULL);
}

void rvm_stat_exit(void)
{
	debugfs_remove(rvm_folder);
}
