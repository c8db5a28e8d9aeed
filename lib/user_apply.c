// SPDX-License-Identifier: GPL-2.0 OR MIT
/*
 * Redo: from the log into the segments, newest record first, each byte once.
 * Truncation and recovery are both this, and a new status after it.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/user.h"

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
			s->oldest = SIZE_MAX;
			s->records = 0;
			*to++ = s;
		}
		qsort(a->segments, a->segment_count, sizeof(*a->segments), by_id);
	}
	pthread_mutex_unlock(&log->status_lock);
	if (!a->segments)
		goto no_memory;
	rvm_scan_init(&a->scan, a->status, user_file_log_read, log, a->buffer, length);
	return 0;

no_memory:
	user_apply_free(a);
	return -ENOMEM;
}

void user_apply_free(struct user_apply *a)
{
	free(a->buffer);
	free(a->status);
	free(a->segments);
	free(a->records);
}

int user_apply_scan(struct user_apply *a, u64 end_sequence)
{
	int found;

	while (a->scan.sequence < end_sequence && (found = rvm_scan_next(&a->scan))) {
		if (found < 0)
			return found;
		if (a->count == a->capacity) {
			size_t capacity = a->capacity ? a->capacity * 2 : 1024;
			void *p = realloc(a->records, capacity * sizeof(*a->records));

			if (!p)
				return -ENOMEM;
			a->records = p;
			a->capacity = capacity;
		}
		a->records[a->count++] = a->scan.record;
	}
	return 0;
}

struct gap_context {
	struct user_apply *apply;
	u64 offset;
	const char *data;	/* of offset */
};

static int write_gap(void *context, u64 start, u64 length)
{
	struct gap_context *g = context;
	struct user_segment *s = g->apply->segment;

	user_count(g->apply->log->counters.segment_writes, 1);
	user_count(g->apply->log->counters.segment_bytes, length);
	s->failure = -user_file_write(s->target, start, g->data + (start - g->offset), length);
	return -s->failure;
}

/* At its first record: what was missing before may be there by now. */
static void open_target(struct user_log *log, struct user_segment *s)
{
	pthread_mutex_lock(&log->status_lock);
	s->absent = -user_segment_open(s);
	s->target = s->fd;
	pthread_mutex_unlock(&log->status_lock);
}

static int apply_range(void *context, u32 id, u64 offset, const void *data, u32 length)
{
	struct user_apply *a = context;
	struct user_segment *s = a->segment, key = { .id = id }, *k = &key;
	struct gap_context gap = { a, offset, data };
	int error;

	if (!s || s->id != id) {
		struct user_segment **found = bsearch(&k, a->segments, a->segment_count,
						      sizeof(*a->segments), by_id);

		if (!found)
			return -EUCLEAN;
		s = a->segment = *found;
	}
	if (s->oldest == SIZE_MAX)
		open_target(a->log, s);
	if (s->oldest != a->current) {
		s->oldest = a->current;
		s->records++;
	}
	if (s->device_length && offset + length > s->device_length)
		s->absent = ENOSPC;
	if (s->absent || s->failure)
		return 0;
	error = rvm_rangeset_add(&s->written, offset, length, write_gap, &gap);
	return s->failure ? 0 : error;
}

static int apply_records(struct user_apply *a)
{
	int error = 0;
	size_t i;

	for (i = a->count; i-- > 0 && !error; ) {
		a->current = i;
		error = rvm_scan_ranges(&a->scan, &a->records[i], apply_range, a);
	}
	for (i = 0; i < a->segment_count; i++)
		rvm_rangeset_clear(&a->segments[i]->written);
	return error;
}

int user_apply_run(struct user_apply *a, size_t *kept, int *kept_error)
{
	u64 applied = a->scan.sequence;
	int error = apply_records(a);
	size_t i;

	if (error)
		return error;
	*kept = a->count;
	*kept_error = 0;
	for (i = 0; i < a->segment_count; i++) {
		struct user_segment *s = a->segments[i];

		if (s->oldest != SIZE_MAX && !s->absent && !s->failure) {
			user_count(a->log->counters.segment_flushes, 1);
			if (fdatasync(s->target))
				s->failure = errno;
		}
		if (!s->absent && !s->failure) {
			s->applied_sequence = applied;
		} else if (s->oldest < *kept) {
			*kept = s->oldest;
			*kept_error = s->failure ? s->failure : s->absent;
		}
	}
	return 0;
}
