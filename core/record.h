/* SPDX-License-Identifier: GPL-2.0 OR MIT */
/*
 * Records: filling in their headers when they are written, and scanning a log
 * for them when it is read.
 */
#ifndef RVM_CORE_RECORD_H
#define RVM_CORE_RECORD_H

#include "core/format.h"
#include "core/status.h"

static inline void rvm_record_header_init(struct rvm_record_header *h,
					  const struct rvm_status *s,
					  u64 sequence, u32 commits, u64 length,
					  u32 ranges, u64 time)
{
	h->magic = cpu_to_le32(RVM_RECORD_MAGIC);
	h->commits = cpu_to_le32(commits);
	h->log_id = cpu_to_le64(s->log_id);
	h->incarnation = cpu_to_le64(s->incarnation);
	h->sequence = cpu_to_le64(sequence);
	h->length = cpu_to_le64(length);
	h->time = cpu_to_le64(time);
	h->ranges = cpu_to_le32(ranges);
	h->reserved = 0;
}

static inline void rvm_range_header_init(struct rvm_range_header *r, u32 segment,
					 u64 offset, u32 length)
{
	r->segment = cpu_to_le32(segment);
	r->length = cpu_to_le32(length);
	r->offset = cpu_to_le64(offset);
}

/* crc: of the whole record before the trailer, seeded with RVM_CRC_SEED. */
static inline void rvm_record_trailer_init(struct rvm_record_trailer *t, u64 length, u32 crc)
{
	t->magic = cpu_to_le32(RVM_TRAILER_MAGIC);
	t->crc = cpu_to_le32(crc);
	t->length = cpu_to_le64(length);
}

/* Bytes from position to the next block boundary (0 on one). */
static inline u32 rvm_block_gap(u64 position, u32 block)
{
	return -position & (block - 1);
}

/* File offset of a position. */
static inline u64 rvm_area_offset(const struct rvm_status *s, u64 position)
{
	return RVM_AREA_START + position % s->area_length;
}

/*
 * Reads exactly `length` bytes at a file offset: 0 or -errno.  A scan asks for
 * whole multiples of RVM_AREA_UNIT only.
 */
typedef int (*rvm_read_fn)(void *context, u64 offset, void *buffer, size_t length);

struct rvm_record {
	u64 position;
	u64 incarnation;
	u64 sequence;
	u64 length;
	u64 time;
	u32 commits;
	u32 ranges;
};

/*
 * A scan walks the live log forwards, from status->head, and finds the tail by
 * itself.  It reads through one caller-given buffer, whatever a record's size,
 * and never reads the record area past one whole turn.
 */
struct rvm_scan {
	const struct rvm_status *status;
	rvm_read_fn read;
	void *context;
	void *buffer;		/* aligned to 8 bytes at least; reads go to multiples of 4096 */
	size_t buffer_length;	/* >= RVM_SCAN_BUFFER_MIN, multiple of 4096 */

	struct rvm_record record;	/* the one last found */
	u64 position;		/* where the next record is looked for; at the end: the tail */
	u64 sequence;		/* the sequence number expected there */
	u64 incarnation;	/* the highest seen so far */

	u64 window;		/* what of the log the buffer holds: private */
	size_t window_length;
	bool is_checked;	/* that is, all of `record`, which was found valid */
};

#define RVM_SCAN_BUFFER_MIN	8192u

void rvm_scan_init(struct rvm_scan *scan, const struct rvm_status *status,
		   rvm_read_fn read, void *context, void *buffer, size_t buffer_length);

/*
 * Find the next record and check all of it: header, every range's shape
 * (segment id in the dictionary, no overflow), checksum, trailer, sequence,
 * and incarnation (from status->start on exactly the status's; before it never
 * falling).
 * 1: scan->record is valid; 0: the tail, scan->position is where it is: the
 * end of the last record, or start or head.  -EUCLEAN: the log is
 * damaged before status->start, where a former opening found it whole, or it
 * holds a record that only a newer status could explain.  Other negative: what
 * read returned.  After 1, the next call goes on; else it looks again.
 */
int rvm_scan_next(struct rvm_scan *scan);

/*
 * Call fn for every range of a record that rvm_scan_next found valid
 * (scan->record or a copy kept from before), in the record's order; a range
 * may come in pieces.  Stops at fn's first non-zero return and returns it.  The
 * record is read and checked again unless it is in the buffer still: what
 * changed meanwhile is -EUCLEAN, which fn may have seen a part of.  Leaves
 * scan->position alone.
 */
typedef int (*rvm_range_fn)(void *context, u32 segment, u64 offset,
			    const void *data, u32 length);
int rvm_scan_ranges(struct rvm_scan *scan, const struct rvm_record *record,
		    rvm_range_fn fn, void *context);

/*
 * Find the record before `position`, the one that scan->sequence follows, for
 * reading backwards.  It is not checked yet: set scan->position and
 * scan->sequence to the record's, scan->incarnation to 0, and scan.  1 found,
 * 0 none, or what read returned.
 */
int rvm_scan_previous(struct rvm_scan *scan, u64 position, struct rvm_record *record);

#endif
