// SPDX-License-Identifier: GPL-2.0 OR MIT
/*
 * Redo: from the log into the segments.  Truncation and recovery are both
 * this, and a new status after it.
 *
 * Records are applied oldest first, through a gather that writes each page
 * once in a while: what is newer then lies on top, and a crash in the middle
 * harms nothing, since all of it is done again.  (Newest first, each byte once,
 * would need two passes over the log and a set of all bytes seen.)
 *
 * A segment file that is shorter than a record's range grows again; a device
 * that is too short keeps its records in the log.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/user.h"
#include "lib/user_gather.h"

static int by_id(const void *a, const void *b)
{
	u32 x = (*(struct user_segment *const *)a)->id, y = (*(struct user_segment *const *)b)->id;

	return (x > y) - (x < y);
}

int user_apply_init(struct user_apply *a, struct user_log *log)
{
	struct user_segment *s;
	size_t length;

	memset(a, 0, sizeof(*a));
	a->log = log;
	pthread_mutex_lock(&log->lock);
	length = log->options.recovery_buffer;
	pthread_mutex_unlock(&log->lock);
	length = user_round_up(length, RVM_AREA_UNIT);
	if (length < RVM_SCAN_BUFFER_MIN)
		length = RVM_SCAN_BUFFER_MIN;
	a->buffer_length = length;
	a->buffer = user_file_buffer(length);
	a->status = malloc(sizeof(*a->status));
	if (!a->buffer || !a->status)
		goto no_memory;

	pthread_mutex_lock(&log->status_lock);
	*a->status = log->status;
	for (s = log->segments; s; s = s->next)
		a->segment_count++;
	a->segments = malloc((a->segment_count + 1) * sizeof(*a->segments));
	if (a->segments) {
		struct user_segment **to = a->segments;

		for (s = log->segments; s; s = s->next) {
			s->absent = s->failure = 0;
			s->records = 0;
			*to++ = s;
		}
		qsort(a->segments, a->segment_count, sizeof(*a->segments), by_id);
	}
	pthread_mutex_unlock(&log->status_lock);
	if (!a->segments)
		goto no_memory;
	user_apply_rewind(a);
	return 0;

no_memory:
	user_apply_free(a);
	return -ENOMEM;
}

void user_apply_rewind(struct user_apply *a)
{
	rvm_scan_init(&a->scan, a->status, user_file_log_read, a->log, a->buffer, a->buffer_length);
}

void user_apply_free(struct user_apply *a)
{
	free(a->buffer);
	free(a->status);
	free(a->segments);
}

/* At its first record: what was missing before may be there by now. */
static void open_target(struct user_log *log, struct user_segment *s)
{
	pthread_mutex_lock(&log->status_lock);
	s->absent = -user_segment_open(s);
	s->target = s->fd;
	pthread_mutex_unlock(&log->status_lock);
}

static struct user_segment *find_segment(struct user_apply *a, u32 id)
{
	struct user_segment key = { .id = id }, *k = &key, **found;

	found = bsearch(&k, a->segments, a->segment_count, sizeof(*a->segments), by_id);
	return found ? *found : NULL;
}

static int apply_range(void *context, u32 id, u64 offset, const void *data, u32 length)
{
	struct user_apply *a = context;
	const struct rvm_record *record = &a->scan.record;
	struct user_segment *s = a->segment;

	if (!s || s->id != id) {
		s = a->segment = find_segment(a, id);
		if (!s)
			return -EUCLEAN;
	}
	if (!s->records) {
		s->oldest_position = record->position;
		s->oldest_sequence = record->sequence;
		open_target(a->log, s);
	}
	if (!s->records || s->newest_sequence != record->sequence) {
		s->newest_sequence = record->sequence;
		s->records++;
	}
	if (s->device_length && offset + length > s->device_length)
		s->absent = ENOSPC;
	if (!s->absent && !s->failure)
		user_gather_add(a->gather, s, offset, data, length);
	return 0;
}

int user_apply_scan(struct user_apply *a)
{
	int found;

	while ((found = rvm_scan_next(&a->scan)) > 0)
		a->records++;
	return found;
}

static int apply_records(struct user_apply *a, u64 end_sequence)
{
	int found;

	while (a->scan.sequence < end_sequence) {
		found = rvm_scan_next(&a->scan);
		if (found > 0)
			found = rvm_scan_ranges(&a->scan, &a->scan.record, apply_range, a);
		else if (!found)
			found = -EUCLEAN;	/* the device lost what it acknowledged */
		if (found)
			return found;
	}
	user_gather_flush(a->gather);
	return a->scan.sequence == end_sequence ? 0 : -EUCLEAN;
}

int user_apply_run(struct user_apply *a, u64 end_sequence, u64 length)
{
	struct user_gather gather;
	u64 began;
	size_t i;
	int error;

	error = user_gather_init(&gather, a->log, length);
	if (error)
		return error;
	gather.read_ahead = a->read_ahead;
	a->gather = &gather;
	error = apply_records(a, end_sequence);
	a->write_ns = gather.write_ns;
	user_gather_free(&gather);
	if (error)
		return error;
	began = user_clock(CLOCK_MONOTONIC);
	for (i = 0; i < a->segment_count; i++) {
		struct user_segment *s = a->segments[i];

		if (s->records && !s->absent && !s->failure) {
			user_count(a->log->counters.segment_flushes, 1);
			if (fdatasync(s->target))
				s->failure = errno;
		}
		if (!s->absent && !s->failure) {
			s->applied_sequence = end_sequence;
		} else if (!a->kept || s->oldest_sequence < a->kept->oldest_sequence) {
			a->kept = s;
			a->kept_error = s->failure ? s->failure : s->absent;
		}
	}
	a->write_ns += user_clock(CLOCK_MONOTONIC) - began;
	return 0;
}
