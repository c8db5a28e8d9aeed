// SPDX-License-Identifier: GPL-2.0 OR MIT
/*
 * The log's end: capturing commits into batches, and writing these in order.
 *
 * Up to USER_WRITES batches are being written at once, to consecutive places;
 * they are acknowledged in order, so one that failed takes all after it along.
 * A committer writes in its own context if that limit allows; otherwise it
 * joins the open batch and waits, and one of those who wait writes it next.
 *
 * So a commit waits for two writes besides its own, whatever else there is: for
 * one to end, so that its own begins, which carries all that has come by then;
 * and for the slowest of those that go before it in the log and were begun before it.
 * Both were under way when it came, for none begins before its own.  (When the limit
 * has just been lowered, several of those end until its own begins, all at once.)
 */
#include <errno.h>
#include <stdlib.h>

#include "lib/user_tracking.h"

#define WATCHED		64		/* writes */
#define SHORT_WRITE	250000		/* ns */

static u64 live_limit(const struct user_log *log)
{
	/* the block that the head lies in holds live bytes from its start on */
	return (log->head & ~(u64)(log->block - 1)) + log->status.area_length;
}

u64 user_log_used(const struct user_log *log)
{
	const struct user_batch *b = log->open;
	u64 used = (b ? b->position + b->used : log->end) - log->head;

	/* With larger blocks than a full log was written in, the next is beyond. */
	return used < log->status.area_length ? used : log->status.area_length;
}

/* --- batches --- */

/* What the queue may hold, and the record that exceeds it. */
static u64 usual_capacity(const struct user_log *log)
{
	return user_round_up(2 * (u64)log->options.flush_buffer, RVM_BLOCK_MAX);
}

static void batch_free(struct user_batch *b)
{
	pthread_cond_destroy(&b->changed);
	free(b->data);
	free(b);
}

static struct user_batch *batch_new(struct user_log *log, u64 length)
{
	struct user_batch *b, **link;

	for (link = &log->spare; (b = *link); link = &b->next)
		if (b->capacity >= length)
			break;
	if (b) {
		*link = b->next;
	} else {
		if (length < usual_capacity(log))
			length = usual_capacity(log);
		b = malloc(sizeof(*b));
		if (!b)
			return NULL;
		b->capacity = user_round_up(length, RVM_BLOCK_MAX);
		b->data = user_file_buffer(b->capacity);
		if (!b->data) {
			free(b);
			return NULL;
		}
		pthread_cond_init(&b->changed, NULL);
	}
	b->next = NULL;
	b->position = log->end;
	b->used = 0;
	b->sequence = b->next_sequence = log->next_sequence;
	b->records = 0;
	b->coalesced_ranges = b->coalesced_bytes = 0;
	b->merged = b->called = b->done = false;
	for (link = &log->first; *link; link = &(*link)->next)
		;
	*link = b;
	log->open = b;
	return b;
}

/* Keep as many of the usual size as can be in use at once. */
static void batch_put(struct user_log *log, struct user_batch *b)
{
	unsigned int spares = 0;
	struct user_batch *s;

	for (s = log->spare; s; s = s->next)
		spares++;
	if (spares > USER_WRITES || b->capacity > usual_capacity(log)) {
		batch_free(b);
		return;
	}
	b->next = log->spare;
	log->spare = b;
}

/* So that `length` bytes more fit. */
static bool batch_grow(struct user_batch *b, u64 length)
{
	u64 capacity = user_round_up(b->used + length, RVM_BLOCK_MAX);
	char *data;

	if (capacity < 2 * b->capacity)
		capacity = 2 * b->capacity;
	data = user_file_buffer(capacity);
	if (!data)
		return false;
	memcpy(data, b->data, b->used);
	free(b->data);
	b->data = data;
	b->capacity = capacity;
	return true;
}

/* Does the log go on at the area's start here, perhaps in the middle of a record? */
static void count_wrap(struct user_log *log, const struct user_batch *b)
{
	u64 start = rvm_area_offset(&log->status, b->position) - RVM_AREA_START;
	u64 left = log->status.area_length - start, at = 0;
	u32 i;

	if (b->used <= left) {
		log->counts.wraps += !start && b->position;
		return;
	}
	log->counts.wraps++;
	for (i = 0; i < b->records && at < left; i++) {
		at += le64_to_cpu(((struct rvm_record_header *)(b->data + at))->length);
		log->counts.splits += at > left;
	}
}

/* Its write begins: now its length is known, and so the next one's position. */
static struct user_batch *batch_seal(struct user_log *log)
{
	struct user_batch *b = log->open;
	u32 gap;

	if (log->options.coalesce_transactions && !b->merged)
		user_merge(log, b);
	rvm_count_coalesced(&log->counts,
			    le32_to_cpu(((struct rvm_record_header *)b->data)->commits),
			    b->coalesced_ranges, b->coalesced_bytes);
	count_wrap(log, b);
	gap = rvm_block_gap(b->position + b->used, log->block);
	memset(b->data + b->used, 0, gap);
	b->used += gap;
	log->end = b->position + b->used;
	log->open = NULL;
	return b;
}

static void batch_checksum(struct user_batch *b)
{
	char *at = b->data;
	u32 i;

	for (i = 0; i < b->records; i++) {
		u64 length = le64_to_cpu(((struct rvm_record_header *)at)->length);
		u64 body = length - sizeof(struct rvm_record_trailer);

		rvm_record_trailer_init((struct rvm_record_trailer *)(at + body), length,
					rvm_crc32c(RVM_CRC_SEED, at, body));
		at += length;
	}
}

static int batch_write(struct user_log *log, struct user_batch *b)
{
	u64 offset = rvm_area_offset(&log->status, b->position);
	u64 left = RVM_AREA_START + log->status.area_length - offset;
	int error;

	batch_checksum(b);
	if (b->used <= left)
		return user_file_log_write(log, offset, b->data, b->used);
	error = user_file_log_write(log, offset, b->data, left);
	if (error)
		return error;
	return user_file_log_write(log, RVM_AREA_START, b->data + left, b->used - left);
}

/* --- writing in order --- */

/*
 * If the process uses nearly all the CPU time there is, and the device is fast, it is the
 * CPU that commits wait for: then they share writes, which cost more of it than all else
 * in a commit.  (Of writes that wait for the CPU, too, the shortest says what the device
 * takes.)
 */
static void watch_cpu(struct user_log *log, u64 ns)
{
	u64 now, cpu;

	if (!log->watched || ns < log->shortest_ns)
		log->shortest_ns = ns;
	if (++log->watched < WATCHED)
		return;
	now = user_clock(CLOCK_MONOTONIC);
	cpu = user_clock(CLOCK_PROCESS_CPUTIME_ID);
	log->shares = log->shortest_ns < SHORT_WRITE &&
		      cpu - log->watched_cpu_ns > (now - log->watched_ns) * log->cpus / 4 * 3;
	log->watched_ns = now;
	log->watched_cpu_ns = cpu;
	log->watched = 0;
}

static bool may_write(const struct user_log *log)
{
	return log->writes < (log->shares ? 2 : USER_WRITES);
}

static void acknowledge(struct user_log *log)
{
	struct user_batch *b;

	while (!log->failed && (b = log->first) && b->done) {
		log->first = b->next;
		log->acknowledged = b->position + b->used;
		log->acknowledged_sequence = b->next_sequence;
		pthread_cond_broadcast(&b->changed);
		batch_put(log, b);
	}
	if (log->failed) {
		for (b = log->first; b; b = b->next)
			pthread_cond_broadcast(&b->changed);
		pthread_cond_broadcast(&log->room);
		return;
	}
	/* a write may begin: one of those who wait for it does it */
	b = log->open;
	if (b && !b->called && may_write(log)) {
		pthread_cond_signal(&b->changed);
		b->called = true;
	}
	if (log->options.truncate && log->end >= log->thread_again &&
	    user_log_used(log) > log->status.area_length / 100 * log->options.truncate)
		user_truncate_start(log);
}

static void write_next(struct user_log *log)
{
	struct user_batch *b = batch_seal(log);
	u64 ns;
	int error;

	log->writes++;
	pthread_mutex_unlock(&log->lock);
	ns = user_clock(CLOCK_MONOTONIC);
	error = batch_write(log, b);
	ns = user_clock(CLOCK_MONOTONIC) - ns;
	pthread_mutex_lock(&log->lock);
	log->writes--;
	if (!error) {
		b->done = true;
		rvm_count_flush(&log->counts, b->used, ns);
		log->state.last_flush_ns = ns;
		watch_cpu(log, ns);
	} else if (!log->failed) {
		log->failed = -error;
		user_complain("log %s: write failed: %s; it takes no more commits",
			      log->base.path, strerror(-error));
	}
	acknowledge(log);
}

int user_log_flush(struct user_log *log, u64 sequence)
{
	while (log->acknowledged_sequence < sequence) {
		struct user_batch *b = log->open;

		if (log->failed)
			return -log->failed;
		if (b && b->sequence < sequence && (b->called || may_write(log))) {
			write_next(log);
			continue;
		}
		for (b = log->first; b->next_sequence < sequence; b = b->next)
			;
		pthread_cond_wait(&b->changed, &log->lock);
	}
	return 0;
}

/* --- capturing --- */

/* A queue that is full is written by whoever made it so. */
static bool is_full(const struct user_log *log, const struct user_batch *b)
{
	return b->merged || b->used > log->options.flush_buffer;
}

/* Before a record of that length is added: make room by merging, if that is worth it. */
static void merge_full(struct user_log *log, struct user_batch *b, u64 length)
{
	u64 limit = live_limit(log) - b->position;	/* where it began there was room */

	if (limit > log->options.flush_buffer)
		limit = log->options.flush_buffer;
	if (b->used + length <= limit || b->merged)
		return;
	user_merge(log, b);
	b->merged = b->used > limit / 2;
}

/*
 * A place for a record of that length in the open batch, or NULL: -ENOSPC, the
 * log is full, or -ENOMEM.
 */
static char *reserve(struct user_log *log, u64 length, int *error)
{
	struct user_batch *b = log->open;

	if (b && log->options.coalesce_transactions)
		merge_full(log, b, length);
	if ((b ? b->position + b->used : log->end) + length > live_limit(log)) {
		*error = -ENOSPC;
		return NULL;
	}
	if (!b)
		b = batch_new(log, length);
	else if (b->used + length > b->capacity && !batch_grow(b, length))
		b = NULL;
	if (!b) {
		*error = -ENOMEM;
		return NULL;
	}
	return b->data + b->used;
}

/* Write out and truncate until something is freed. An error: nothing can be. */
static int make_room(struct user_log *log)
{
	u64 head = log->head;
	int error = user_log_flush(log, log->next_sequence);

	if (error)
		return error;
	pthread_mutex_unlock(&log->lock);
	pthread_mutex_lock(&log->truncating);
	/* perhaps we waited for an epoch that did it */
	pthread_mutex_lock(&log->lock);
	if (log->head == head) {
		pthread_mutex_unlock(&log->lock);
		error = user_truncate_epoch(log, RVM_TRUNCATION_NEEDED);
		pthread_mutex_lock(&log->lock);
	}
	if (log->head != head)
		error = 0;
	else if (!error)
		error = -ENOSPC;
	pthread_mutex_unlock(&log->lock);
	pthread_mutex_unlock(&log->truncating);
	pthread_mutex_lock(&log->lock);
	return error;
}

static char *wait_for_room(struct user_log *log, u64 length, int *error)
{
	u64 ticket = log->room_tickets++;
	char *to = NULL;

	log->counts.truncation_waits++;
	while (log->room_turn != ticket && !log->failed)
		pthread_cond_wait(&log->room, &log->lock);
	for (;;) {
		*error = -log->failed;
		if (*error)
			break;
		to = reserve(log, length, error);
		if (to || *error != -ENOSPC)
			break;
		*error = make_room(log);
		if (*error)
			break;
	}
	log->room_turn++;
	pthread_cond_broadcast(&log->room);
	return to;
}

static char *encode_piece(char *to, u32 segment, u64 offset, const char *from, u32 length)
{
	u64 padded = rvm_align8(length);

	rvm_range_header_init((struct rvm_range_header *)to, segment, offset, length);
	to += sizeof(struct rvm_range_header);
	/* the last word first: the bytes then overwrite all but its padding */
	memset(to + padded - 8, 0, 8);
	memcpy(to, from, length);
	return to + padded;
}

static void encode(struct user_log *log, struct user_transaction *t, char *to)
{
	const struct user_range *r = t->ranges, *end = r + t->count;

	rvm_record_header_init((struct rvm_record_header *)to, &log->status,
			       log->next_sequence, 1, t->length, t->pieces,
			       user_clock(CLOCK_REALTIME_COARSE));
	to += sizeof(struct rvm_record_header);
	for (; r < end; r++) {
		struct user_segment *segment = r->region->segment;
		u64 offset = (uintptr_t)r->address + r->region->shift;
		const char *from = r->address;
		u64 left = r->length;

		for (; left > USER_PIECE; left -= USER_PIECE) {
			rvm_count_range(&log->counts, USER_PIECE);
			to = encode_piece(to, segment->id, offset, from, USER_PIECE);
			offset += USER_PIECE;
			from += USER_PIECE;
		}
		rvm_count_range(&log->counts, left);
		to = encode_piece(to, segment->id, offset, from, left);
		segment->last_sequence = log->next_sequence;
	}
}

static int capture(struct user_log *log, struct user_transaction *t)
{
	struct user_batch *b;
	char *to = NULL;
	int error = -ENOSPC;

	if (log->room_tickets == log->room_turn)
		to = reserve(log, t->length, &error);
	if (!to && error == -ENOSPC)
		to = wait_for_room(log, t->length, &error);
	if (!to)
		return error;
	encode(log, t, to);
	if (__atomic_load_n(&log->tracks, __ATOMIC_RELAXED))
		user_tracking_committed(t, to);
	if (t->next || t->link != &log->open_transactions)
		user_transaction_patch(t, to);
	b = log->open;
	b->used += t->length;
	b->records++;
	b->next_sequence = ++log->next_sequence;
	return 0;
}

rvm_return_t user_log_commit(struct user_transaction *t, bool flush)
{
	struct user_log *log = t->log;
	u64 sequence;
	int error;

	pthread_mutex_lock(&log->lock);
	error = -log->failed;
	if (!error && t->count) {
		if (user_round_up(t->length, log->block) > log->status.area_length ||
		    t->pieces > UINT32_MAX) {
			pthread_mutex_unlock(&log->lock);
			return RVM_ETOO_BIG;
		}
		error = capture(log, t);
	}
	if (error) {
		/* it did not happen: memory must not say that it did */
		user_transaction_undo(t);
		if (__atomic_load_n(&log->tracks, __ATOMIC_RELAXED))
			user_tracking_undo(log);
		user_transaction_retire(t);
		log->counts.aborts++;
		goto out;
	}
	if (t->base.merged_ranges)
		rvm_count_merged(&log->counts, t->base.merged_ranges, t->base.merged_bytes);
	user_transaction_retire(t);
	log->counts.commits++;
	log->counts.flush_commits += flush;

	sequence = 0;
	if (flush || (log->open && is_full(log, log->open)))
		sequence = log->next_sequence;
	if (!flush && user_flush_later(log, false))
		sequence = log->next_sequence;
	if (sequence)
		error = user_log_flush(log, sequence);
out:
	pthread_mutex_unlock(&log->lock);
	return user_error(error);
}

void user_log_free(struct user_log *log)
{
	struct user_batch *b;

	while ((b = log->first)) {
		log->first = b->next;
		batch_free(b);
	}
	while ((b = log->spare)) {
		log->spare = b->next;
		batch_free(b);
	}
	free(log->merge_data);
}
