// SPDX-License-Identifier: GPL-2.0 OR MIT
/*
 * Opening a log: apply what it holds, and begin a new incarnation.
 *
 * In this order, each step durable before the next: the records as they were
 * found (a process that died may have left them in the page cache), the
 * segments, the status.  A crash in between finds the log as it was, and does
 * it all again.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/user.h"

/* All but what appenders read without the lock: that never changes while the log is open. */
static void take_status(struct rvm_status *to, const struct rvm_status *from)
{
	to->generation = from->generation;
	to->head = from->head;
	to->head_sequence = from->head_sequence;
	to->start = from->start;
	to->start_sequence = from->start_sequence;
	to->next_segment = from->next_segment;
	to->segments = from->segments;
	to->dict_used = from->dict_used;
	memcpy(to->dict, from->dict, sizeof(to->dict));
}

int user_status_write(struct user_log *log, struct rvm_status *status)
{
	u32 used;
	int error;

	pthread_mutex_lock(&log->lock);
	error = -log->failed;
	log->counts.status_writes += !error;
	pthread_mutex_unlock(&log->lock);
	if (error)
		return error;
	used = rvm_status_encode(status, log->slot);
	error = user_file_log_write(log, rvm_status_offset(status), log->slot,
				    user_round_up(used, log->block));
	if (!error) {
		take_status(&log->status, status);
	} else {
		pthread_mutex_lock(&log->lock);
		if (!log->failed)
			log->failed = -error;
		pthread_mutex_unlock(&log->lock);
		user_complain("log %s: writing its status failed: %s; it takes no more commits",
			      log->base.path, strerror(-error));
	}
	return error;
}

static rvm_return_t read_status(struct user_log *log, u64 length)
{
	char *slots;
	int error;

	if (length < RVM_AREA_START) {
		user_complain("%s is no RVM log: it is too short", log->base.path);
		return RVM_ELOG;
	}
	slots = user_file_buffer(RVM_AREA_START);
	if (!slots)
		return RVM_ENO_MEMORY;
	error = user_file_read(log->io_fd, 0, slots, RVM_AREA_START);
	if (error) {
		free(slots);
		return user_error(error);
	}
	error = rvm_status_choose(&log->status, slots);
	free(slots);
	switch (error) {
	case 0:
		break;
	case -EPROTONOSUPPORT:
		user_complain("log %s is of another format version", log->base.path);
		return RVM_ELOG_VERSION_SKEW;
	case -EINVAL:
		user_complain("%s is no RVM log", log->base.path);
		return RVM_ELOG;
	default:
		user_complain("log %s is damaged: neither status is whole", log->base.path);
		return RVM_ELOG;
	}
	if (log->status.area_length > length - RVM_AREA_START) {
		user_complain("log %s is damaged: it was longer once", log->base.path);
		return RVM_ELOG;
	}
	return RVM_SUCCESS;
}

static int add_segments(struct user_log *log)
{
	struct rvm_dict_entry e;
	struct user_segment *s;
	u32 cursor = 0;
	int error;

	while (rvm_dict_next(&log->status, &cursor, &e)) {
		error = user_segment_add(log, e.name, e.name_length, e.id, &s);
		if (error)
			return error;
	}
	return 0;
}

static void name_kept(struct user_log *log, struct user_apply *a)
{
	size_t i;

	for (i = 0; i < a->segment_count; i++) {
		struct user_segment *s = a->segments[i];

		if (s->absent)
			user_complain("segment %s: %s; %llu of its records stay in log %s", s->name,
				      s->absent == ENOSPC ? "Device too short" :
							    strerror(s->absent),
				      (unsigned long long)s->records, log->base.path);
	}
}

/* What failed other than by being missing or forbidden makes recovery fail. */
static int real_failure(struct user_apply *a)
{
	size_t i;

	for (i = 0; i < a->segment_count; i++) {
		struct user_segment *s = a->segments[i];

		if (s->failure) {
			user_complain("segment %s: %s", s->name, strerror(s->failure));
			return -s->failure;
		}
		if (s->absent == EMFILE || s->absent == ENFILE || s->absent == ENOMEM)
			return -s->absent;
	}
	return 0;
}

static int begin_incarnation(struct user_log *log, struct user_apply *a)
{
	struct rvm_status *s = a->status;
	u64 tail = a->scan.position, start = user_round_up(tail, log->block);
	size_t i;
	int error;

	if (a->kept) {
		s->head = a->kept->oldest_position;
		s->head_sequence = a->kept->oldest_sequence;
		/* full, and our block is larger than the last owner's: it would pass the head */
		s->start = start - s->head > s->area_length ? tail : start;
	} else {
		s->head = s->start = start;
		s->head_sequence = a->scan.sequence;
	}
	s->start_sequence = a->scan.sequence;
	s->incarnation++;
	for (i = 0; i < a->segment_count; i++)
		if (a->segments[i]->records)
			a->segments[i]->last_sequence = a->scan.sequence - 1;

	log->head = s->head;
	log->end = log->acknowledged = start;
	log->next_sequence = log->acknowledged_sequence = a->scan.sequence;
	user_segment_forget_idle(log, s);
	error = user_status_write(log, s);
	if (error)
		return error;
	log->status.incarnation = s->incarnation;
	user_segment_free_idle(log);
	return 0;
}

static int apply(struct user_log *log, struct user_apply *a)
{
	u64 tail, end_sequence;
	int error;

	/* all of it, before a segment is touched: the log may be damaged */
	error = user_apply_scan(a);
	if (error)
		return error;
	user_count(log->counters.log_flushes, 1);
	if (fsync(log->fd))
		return -errno;
	tail = a->scan.position;
	end_sequence = a->scan.sequence;
	user_apply_rewind(a);
	a->read_ahead = true;
	error = user_apply_run(a, end_sequence, tail - a->status->head);
	if (error)
		return error;
	/* it stopped behind the last record, which may be before the old start */
	a->scan.position = tail;
	return real_failure(a);
}

static rvm_return_t recover(struct user_log *log, struct user_apply *a)
{
	int error = apply(log, a);

	if (!error) {
		name_kept(log, a);
		log->counters.recovered_records = a->records;
		log->counts.recoveries = a->records != 0;
		pthread_mutex_lock(&log->status_lock);
		error = begin_incarnation(log, a);
		pthread_mutex_unlock(&log->status_lock);
	}
	if (error == -EUCLEAN) {
		user_complain("log %s is damaged at position %llu", log->base.path,
			      (unsigned long long)a->scan.position);
		return RVM_ELOG;
	}
	return user_error(error);
}

rvm_return_t user_recover(struct user_log *log, u64 length)
{
	struct user_apply apply;
	rvm_return_t code = read_status(log, length);
	int error;

	if (code)
		return code;
	error = add_segments(log);
	if (!error)
		error = user_apply_init(&apply, log);
	if (error)
		return user_error(error);
	code = recover(log, &apply);
	user_apply_free(&apply);
	return code;
}
