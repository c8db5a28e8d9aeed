/* SPDX-License-Identifier: GPL-2.0 OR MIT */
/* A log in memory, and a plain writer for it: what the record tests stand on. */
#ifndef RVM_UNIT_LOG_H
#define RVM_UNIT_LOG_H

#include <stdio.h>

#include "core/record.h"
#include "random.h"

struct log {
	struct rvm_status s;
	u64 position;		/* where the writer is */
	u64 tail;		/* behind the last record, or where start is */
	u64 sequence;
	u64 fail_read;		/* this read fails with read_error, 0: none */
	int read_error;
	u64 reads;
	u8 *image;		/* the whole log, slots and area */
};

static inline struct log *log_new(u64 area_length)
{
	struct log *log = malloc(sizeof(*log));
	u32 id;

	memset(log, 0, sizeof(*log));
	rvm_status_init(&log->s, 0xabcdef0123456789, area_length, 1);
	rvm_dict_add(&log->s, "/seg/one", 8, &id);
	rvm_dict_add(&log->s, "/seg/two", 8, &id);
	log->s.incarnation = 1;
	log->sequence = 1;
	log->image = calloc(1, RVM_AREA_START + area_length);
	return log;
}

static inline void log_free(struct log *log)
{
	free(log->image);
	free(log);
}

/* The scan's read function: what it must never do ends the test. */
static inline int log_read(void *context, u64 offset, void *buffer, size_t length)
{
	struct log *log = context;

	if (offset < RVM_AREA_START || offset % RVM_AREA_UNIT || length % RVM_AREA_UNIT || !length ||
	    length > log->s.area_length || offset - RVM_AREA_START > log->s.area_length - length) {
		fprintf(stderr, "scan read %zu bytes at %llu\n", length, (unsigned long long)offset);
		abort();
	}
	if (++log->reads == log->fail_read)
		return log->read_error;
	memcpy(buffer, log->image + offset, length);
	return 0;
}

/* Copy to and from positions, round the end of the area. */
static inline void log_put(struct log *log, u64 position, const void *data, u64 length)
{
	const u8 *p = data;

	while (length--)
		log->image[rvm_area_offset(&log->s, position++)] = *p++;
}

static inline void log_get(struct log *log, u64 position, void *data, u64 length)
{
	u8 *p = data;

	while (length--)
		*p++ = log->image[rvm_area_offset(&log->s, position++)];
}

/* A record being put together. */
struct build {
	u64 length;
	u32 ranges;
	u8 *data;
};

static inline void build_begin(struct build *b, u64 most)
{
	b->data = calloc(1, most);
	b->length = sizeof(struct rvm_record_header);
	b->ranges = 0;
}

static inline void build_range(struct build *b, u32 segment, u64 offset, const void *data, u32 length)
{
	rvm_range_header_init((void *)(b->data + b->length), segment, offset, length);
	memcpy(b->data + b->length + sizeof(struct rvm_range_header), data, length);
	b->length += rvm_range_size(length);
	b->ranges++;
}

/* Header, length and checksum, from what was put together or was made wrong. */
static inline void build_seal(struct build *b, const struct log *log, u64 sequence, u32 commits)
{
	b->length += sizeof(struct rvm_record_trailer);
	rvm_record_header_init((void *)b->data, &log->s, sequence, commits, b->length, b->ranges, 99);
}

static inline void build_sum(struct build *b)
{
	u64 end = b->length - sizeof(struct rvm_record_trailer);
	struct rvm_record_trailer t;

	rvm_record_trailer_init(&t, b->length, rvm_crc32c(RVM_CRC_SEED, b->data, end));
	memcpy(b->data + end, &t, sizeof(t));
}

static inline void log_append(struct log *log, const struct build *b, u32 commits)
{
	log_put(log, log->position, b->data, b->length);
	log->position += b->length;
	log->tail = log->position;
	log->sequence += commits;
}

/* Append a record of `ranges` ranges of `length` bytes: position of the record. */
static inline u64 log_record(struct log *log, u32 ranges, u32 length)
{
	u64 position = log->position;
	struct build b;
	u8 *data = malloc(length + 1);
	u32 i;

	build_begin(&b, RVM_RECORD_MIN + ranges * rvm_range_size(length));
	for (i = 0; i < ranges; i++) {
		random_fill(data, length);
		build_range(&b, 1 + i % 2, random_below(1 << 30), data, length);
	}
	build_seal(&b, log, log->sequence, 1);
	build_sum(&b);
	log_append(log, &b, 1);
	free(b.data);
	free(data);
	return position;
}

/* End the block: the next record begins at a boundary. */
static inline void log_align(struct log *log, u32 block)
{
	static const u8 zeros[RVM_BLOCK_MAX];
	u32 gap = rvm_block_gap(log->position, block);

	log_put(log, log->position, zeros, gap);
	log->position += gap;
}

/* A new opening: what is there belongs to former ones from here on. */
static inline void log_reopen(struct log *log, u32 block)
{
	log->position += rvm_block_gap(log->position, block);
	log->s.start = log->tail = log->position;
	log->s.start_sequence = log->sequence;
	log->s.incarnation++;
}

#define SCAN_MAX 4096	/* records in a test's log, at most */

struct scanned {
	int n;
	int end;		/* what the last rvm_scan_next returned */
	u64 tail;
	u64 sequence;
	struct rvm_record record[SCAN_MAX];
};

static inline void scan_all(struct log *log, size_t buffer_length, struct scanned *to)
{
	void *buffer = aligned_alloc(4096, buffer_length);
	struct rvm_scan scan;

	rvm_scan_init(&scan, &log->s, log_read, log, buffer, buffer_length);
	to->n = 0;
	while ((to->end = rvm_scan_next(&scan)) == 1) {
		if (to->n == SCAN_MAX)
			abort();
		to->record[to->n++] = scan.record;
	}
	to->tail = scan.position;
	to->sequence = scan.sequence;
	free(buffer);
}

#endif
