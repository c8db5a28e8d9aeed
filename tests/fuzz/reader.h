/* SPDX-License-Identifier: GPL-2.0 OR MIT */
/*
 * A reader of logs by the letter of docs/format.md, "Reading", on a log that is
 * in memory as a whole: what the real one is compared with.
 */
#ifndef RVM_FUZZ_READER_H
#define RVM_FUZZ_READER_H

#include "image.h"

#define READER_RECORDS	(IMAGE_UNITS * RVM_AREA_UNIT / RVM_RECORD_MIN + 1)

struct reader {
	u32 n;
	bool damaged;
	u64 tail, sequence;	/* if it is not */
	struct rvm_record record[READER_RECORDS];
};

static inline bool reader_knows(const struct rvm_status *s, u32 segment)
{
	struct rvm_dict_entry e;
	u32 cursor = 0;

	while (rvm_dict_next(s, &cursor, &e))
		if (e.id == segment)
			return true;
	return false;
}

/* Call fn (may be NULL) for each range.  False if they are not right inside. */
static inline bool reader_ranges(const struct image *image, const struct rvm_status *s,
				 const struct rvm_record *r, rvm_range_fn fn, void *context)
{
	static u8 data[IMAGE_UNITS * RVM_AREA_UNIT];
	u64 at = r->position + sizeof(struct rvm_record_header), offset;
	u64 end = r->position + r->length - sizeof(struct rvm_record_trailer);
	struct rvm_range_header h;
	u32 i, length;

	for (i = 0; i < r->ranges; i++) {
		if (end - at < sizeof(h))
			return false;
		image_get(image, at, &h, sizeof(h));
		length = le32_to_cpu(h.length);
		offset = le64_to_cpu(h.offset);
		if (!length || rvm_range_size(length) > end - at || offset >> 63 ||
		    (offset + length) >> 63 || !reader_knows(s, le32_to_cpu(h.segment)))
			return false;
		if (fn) {
			image_get(image, at + sizeof(h), data, length);
			fn(context, le32_to_cpu(h.segment), offset, data, length);
		}
		at += rvm_range_size(length);
	}
	return at == end;
}

/* 1: the next record stands here; 0: it does not; -1: damaged. */
static inline int reader_at(const struct image *image, const struct rvm_status *s, u64 position,
			    u64 bound, u64 sequence, u64 incarnation, struct rvm_record *r)
{
	struct rvm_record_trailer right, now;
	struct rvm_record_header h;

	if (position > bound || bound - position < RVM_RECORD_MIN)
		return 0;
	image_get(image, position, &h, sizeof(h));
	*r = (struct rvm_record) {
		.position = position,
		.incarnation = le64_to_cpu(h.incarnation),
		.sequence = le64_to_cpu(h.sequence),
		.length = le64_to_cpu(h.length),
		.time = le64_to_cpu(h.time),
		.commits = le32_to_cpu(h.commits),
		.ranges = le32_to_cpu(h.ranges),
	};
	if (h.magic != cpu_to_le32(RVM_RECORD_MAGIC) || le64_to_cpu(h.log_id) != s->log_id ||
	    h.reserved || !r->commits || r->length % 8 || r->length < RVM_RECORD_MIN ||
	    r->length > bound - position)
		return 0;
	image_trailer(image, position, r->length, &right);
	image_get(image, position + r->length - sizeof(now), &now, sizeof(now));
	if (memcmp(&right, &now, sizeof(now)))
		return 0;
	if (r->incarnation > s->incarnation)
		return -1;
	if (r->sequence != sequence ||
	    r->incarnation < (position < s->start ? incarnation : s->incarnation))
		return 0;
	if (!reader_ranges(image, s, r, NULL, NULL) || (r->sequence + r->commits) >> 63)
		return -1;
	return 1;
}

static inline void reader_read(struct reader *reader, const struct image *image,
			       const struct rvm_status *s)
{
	u64 turn = s->head + s->area_length, position = s->head, sequence = s->head_sequence;
	u64 incarnation = 0, bound, at;
	struct rvm_record r;
	int found;

	reader->n = 0;
	reader->damaged = true;
	for (;;) {
		if (position == s->start && sequence != s->start_sequence)
			return;
		bound = position < s->start ? s->start : turn;
		found = 0;
		if (position >= s->start || sequence < s->start_sequence)
			for (at = position; !found && at - position < 4096;
			     at = (at / 512 + 1) * 512)
				found = reader_at(image, s, at, bound, sequence, incarnation, &r);
		if (found < 0)
			return;
		if (found) {
			reader->record[reader->n++] = r;
			position = r.position + r.length;
			sequence = r.sequence + r.commits;
			incarnation = r.incarnation;
		} else if (position < s->start) {
			if (s->start - position >= 4096)
				return;
			position = s->start;
		} else {
			break;
		}
	}
	reader->damaged = false;
	reader->tail = position;
	reader->sequence = sequence;
}

#endif
