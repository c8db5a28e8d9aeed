// SPDX-License-Identifier: GPL-2.0 OR MIT
/*
 * Scanning a log for its records.  Whatever is on the disk, a scan ends: each
 * step goes forward, and none leaves the turn of the area that begins at head.
 */
#include "core/record.h"

#define COUNT_MAX	((u64)1 << 63)	/* every counter stays below it */

static u64 block_start(u64 position)
{
	return position & ~(u64)(RVM_AREA_UNIT - 1);
}

static u64 block_end(u64 position)
{
	return block_start(position + RVM_AREA_UNIT - 1);
}

/* Where one turn of the area, counted from head, ends. */
static u64 turn_end(const struct rvm_scan *scan)
{
	return scan->status->head + scan->status->area_length;
}

void rvm_scan_init(struct rvm_scan *scan, const struct rvm_status *status,
		   rvm_read_fn read, void *context, void *buffer, size_t buffer_length)
{
	memset(scan, 0, sizeof(*scan));
	scan->status = status;
	scan->read = read;
	scan->context = context;
	scan->buffer = buffer;
	scan->buffer_length = buffer_length;
	scan->position = status->head;
	scan->sequence = status->head_sequence;
}

static u64 window_end(const struct rvm_scan *scan)
{
	return scan->window + scan->window_length;
}

static bool in_window(const struct rvm_scan *scan, u64 position, size_t length)
{
	return position >= scan->window && position + length <= window_end(scan);
}

/* Move the window so that it holds these bytes, in whole blocks. */
static int move_window(struct rvm_scan *scan, u64 position, size_t length)
{
	const struct rvm_status *s = scan->status;
	u64 from = block_start(position), end = block_end(position + length);
	size_t done, n;
	int err;

	/* Going backwards, what comes before is wanted next. */
	if (scan->window_length && position < scan->window)
		from = end > scan->buffer_length ? end - scan->buffer_length : 0;
	end = block_end(turn_end(scan));
	if (end > from + scan->buffer_length)
		end = from + scan->buffer_length;

	scan->window_length = 0;
	scan->is_checked = false;
	for (done = 0; done < end - from; done += n) {
		u64 left = s->area_length - (from + done) % s->area_length;

		n = end - from - done;
		if (n > left)
			n = left;
		err = scan->read(scan->context, rvm_area_offset(s, from + done),
				 (u8 *)scan->buffer + done, n);
		if (err)
			return err;
	}
	scan->window = from;
	scan->window_length = done;
	return 0;
}

/* `length` bytes (at most buffer_length - RVM_AREA_UNIT) of the log, in one piece. */
static inline int fetch(struct rvm_scan *scan, u64 position, size_t length, const void **data)
{
	int err;

	if (!in_window(scan, position, length)) {
		err = move_window(scan, position, length);
		if (err)
			return err;
	}
	*data = (const u8 *)scan->buffer + (position - scan->window);
	return 0;
}

static bool has_segment(const struct rvm_status *s, u32 id)
{
	struct rvm_dict_entry e;
	u32 cursor = 0;

	while (rvm_dict_next(s, &cursor, &e))
		if (e.id == id)
			return true;
	return false;
}

/*
 * Going through one record, in which nothing is sure before its checksum is.
 * The checksum is taken of what lies in the window before the window moves.
 */
struct walk {
	struct rvm_scan *scan;
	u64 at;
	u64 end;		/* where the trailer stands */
	u64 summed;		/* the checksum covers what is before */
	u32 crc;
	u32 segment;		/* last seen in the dictionary */
};

static void walk_sum(struct walk *w)
{
	const u8 *data = (const u8 *)w->scan->buffer + (w->summed - w->scan->window);

	w->crc = rvm_crc32c(w->crc, data, w->at - w->summed);
	w->summed = w->at;
}

static int walk_on(struct walk *w, size_t length)
{
	walk_sum(w);
	return move_window(w->scan, w->at, length);
}

static inline int walk_fetch(struct walk *w, size_t length, const void **data)
{
	if (!in_window(w->scan, w->at, length)) {
		int err = walk_on(w, length);

		if (err)
			return err;
	}
	*data = (const u8 *)w->scan->buffer + (w->at - w->scan->window);
	return 0;
}

/* Pass over `length` bytes; fn, if there is one, gets them in pieces. */
static int walk_data(struct walk *w, u64 length, rvm_range_fn fn, void *context,
		     u32 segment, u64 offset)
{
	const void *data;
	u64 n;
	int err;

	while (length) {
		err = walk_fetch(w, 1, &data);
		if (err)
			return err;
		n = window_end(w->scan) - w->at;
		if (n > length)
			n = length;
		if (fn) {
			err = fn(context, segment, offset, data, n);
			if (err)
				return err;
		}
		w->at += n;
		offset += n;
		length -= n;
	}
	return 0;
}

/* All ranges; stops where their shape is not sound. */
static int walk_ranges(struct walk *w, u32 ranges, rvm_range_fn fn, void *context, bool *sound)
{
	const struct rvm_range_header *r;
	const void *data;
	u32 segment, length;
	u64 offset;
	int err;

	*sound = false;
	for (; ranges; ranges--) {
		if (w->end - w->at < sizeof(*r))
			return 0;
		err = walk_fetch(w, sizeof(*r), &data);
		if (err)
			return err;
		r = data;
		segment = le32_to_cpu(r->segment);
		length = le32_to_cpu(r->length);
		offset = le64_to_cpu(r->offset);

		if (!length || rvm_range_size(length) > w->end - w->at)
			return 0;
		if (offset >= COUNT_MAX || offset + length >= COUNT_MAX)
			return 0;
		if (!segment ||
		    (segment != w->segment && !has_segment(w->scan->status, segment)))
			return 0;
		w->segment = segment;

		w->at += sizeof(*r);
		err = walk_data(w, length, fn, context, segment, offset);
		if (err)
			return err;
		w->at += rvm_align8(length) - length;
	}
	*sound = w->at == w->end;
	return 0;
}

/* From its first range on. */
static struct walk walk_begin(struct rvm_scan *scan, const struct rvm_record *record)
{
	return (struct walk){
		.scan = scan,
		.at = record->position + sizeof(struct rvm_record_header),
		.end = record->position + record->length - sizeof(struct rvm_record_trailer),
		.summed = record->position,
		.crc = RVM_CRC_SEED,
	};
}

/*
 * Go through the whole record.  *whole: checksum and trailer are right.
 * *sound: so are the ranges.
 */
static int walk_record(struct rvm_scan *scan, const struct rvm_record *record,
		       rvm_range_fn fn, void *context, bool *whole, bool *sound)
{
	const struct rvm_record_trailer *t;
	struct walk w = walk_begin(scan, record);
	const void *data;
	int err;

	/* its header has been read: the window holds where the walk begins to sum */
	err = walk_ranges(&w, record->ranges, fn, context, sound);
	if (err)
		return err;
	err = walk_data(&w, w.end - w.at, NULL, NULL, 0, 0);
	if (err)
		return err;
	walk_sum(&w);

	err = fetch(scan, w.end, sizeof(*t), &data);
	if (err)
		return err;
	t = data;
	*whole = le32_to_cpu(t->magic) == RVM_TRAILER_MAGIC &&
		 le64_to_cpu(t->length) == record->length &&
		 le32_to_cpu(t->crc) == w.crc;
	return 0;
}

/*
 * Read a header.  1 if it is one of this log's and its record would end by
 * `bound`; nothing more is known of it yet.
 */
static int read_header(struct rvm_scan *scan, u64 position, u64 bound, struct rvm_record *record)
{
	const struct rvm_record_header *h;
	const void *data;
	int err;

	if (position >= bound || bound - position < RVM_RECORD_MIN)
		return 0;
	err = fetch(scan, position, sizeof(*h), &data);
	if (err)
		return err;
	h = data;
	if (le32_to_cpu(h->magic) != RVM_RECORD_MAGIC ||
	    le64_to_cpu(h->log_id) != scan->status->log_id)
		return 0;

	record->position = position;
	record->incarnation = le64_to_cpu(h->incarnation);
	record->sequence = le64_to_cpu(h->sequence);
	record->length = le64_to_cpu(h->length);
	record->time = le64_to_cpu(h->time);
	record->commits = le32_to_cpu(h->commits);
	record->ranges = le32_to_cpu(h->ranges);
	return !h->reserved && record->commits && record->length % 8 == 0 &&
	       record->length >= RVM_RECORD_MIN && record->length <= bound - position;
}

/* 1 and scan->record if the next record stands here. */
static int record_at(struct rvm_scan *scan, u64 position, u64 bound)
{
	const struct rvm_status *s = scan->status;
	u64 lowest = position < s->start ? scan->incarnation : s->incarnation;
	struct rvm_record record;
	bool whole, sound;
	int found;

	found = read_header(scan, position, bound, &record);
	if (found <= 0)
		return found;
	if (record.incarnation < lowest)
		return 0;
	if (record.incarnation <= s->incarnation && record.sequence != scan->sequence)
		return 0;
	found = walk_record(scan, &record, NULL, NULL, &whole, &sound);
	if (found)
		return found;
	if (!whole)
		return 0;
	/*
	 * It was written as it is.  Never take such a record for the tail: it
	 * holds a commit that, most likely, was acknowledged.  A coming
	 * incarnation means that the status is an old one.
	 */
	if (!sound || record.incarnation > s->incarnation ||
	    record.sequence + record.commits >= COUNT_MAX)
		return -EUCLEAN;
	scan->record = record;
	scan->is_checked = in_window(scan, record.position, record.length);
	return 1;
}

/*
 * The next record stands at scan->position or, behind a gap, at the beginning
 * of a block.  What the gap holds means nothing.
 */
static int probe(struct rvm_scan *scan, u64 bound)
{
	u64 position = scan->position;
	int found;

	while (position < bound && position - scan->position < RVM_BLOCK_MAX) {
		found = record_at(scan, position, bound);
		if (found)
			return found;
		position = (position | (RVM_BLOCK_MIN - 1)) + 1;
	}
	return 0;
}

static int find_next(struct rvm_scan *scan)
{
	const struct rvm_status *s = scan->status;
	int found;

	if (scan->position < s->start) {
		if (scan->sequence < s->start_sequence) {
			found = probe(scan, s->start);
			if (found)
				return found;
		}
		/* If all that former openings wrote was found, it is less than a block. */
		if (s->start - scan->position >= RVM_BLOCK_MAX)
			return -EUCLEAN;
		scan->position = s->start;
	}
	if (scan->position == s->start && scan->sequence != s->start_sequence)
		return -EUCLEAN;
	return probe(scan, turn_end(scan));
}

int rvm_scan_next(struct rvm_scan *scan)
{
	int found = find_next(scan);

	if (found != 1) {
		scan->window_length = 0;	/* if asked again, read again */
		return found;
	}
	scan->position = scan->record.position + scan->record.length;
	scan->sequence = scan->record.sequence + scan->record.commits;
	scan->incarnation = scan->record.incarnation;
	return 1;
}

int rvm_scan_ranges(struct rvm_scan *scan, const struct rvm_record *record,
		    rvm_range_fn fn, void *context)
{
	struct rvm_record now;
	bool whole, sound;
	const void *data;
	size_t length = scan->buffer_length - RVM_AREA_UNIT;
	struct walk w;
	int err;

	if (scan->is_checked && record->position == scan->record.position &&
	    in_window(scan, record->position, record->length)) {
		w = walk_begin(scan, &scan->record);
		err = walk_ranges(&w, scan->record.ranges, fn, context, &sound);
		return err || sound ? err : -EUCLEAN;
	}
	if (record->position > turn_end(scan) ||
	    record->length > turn_end(scan) - record->position ||
	    record->length < RVM_RECORD_MIN)
		return -EUCLEAN;
	if (record->length < length)
		length = record->length;
	err = fetch(scan, record->position, length, &data);
	if (err)
		return err;
	err = read_header(scan, record->position, turn_end(scan), &now);
	if (err < 0)
		return err;
	if (!err || now.sequence != record->sequence || now.incarnation != record->incarnation ||
	    now.length != record->length || now.ranges != record->ranges)
		return -EUCLEAN;
	err = walk_record(scan, record, fn, context, &whole, &sound);
	if (err)
		return err;
	return whole && sound ? 0 : -EUCLEAN;
}

/* 1 and *record if one seems to end here that scan->sequence follows. */
static int record_before(struct rvm_scan *scan, u64 end, struct rvm_record *record)
{
	const struct rvm_record_trailer *t;
	const void *data;
	u64 length;
	int err;

	err = fetch(scan, end - sizeof(*t), sizeof(*t), &data);
	if (err)
		return err;
	t = data;
	length = le64_to_cpu(t->length);
	if (le32_to_cpu(t->magic) != RVM_TRAILER_MAGIC || length % 8 ||
	    length > end - scan->status->head)
		return 0;
	err = read_header(scan, end - length, end, record);
	if (err <= 0)
		return err;
	return record->length == length &&
	       record->sequence + record->commits == scan->sequence;
}

int rvm_scan_previous(struct rvm_scan *scan, u64 position, struct rvm_record *record)
{
	u64 end;
	int found;

	if (position > turn_end(scan))
		return 0;
	for (end = position; position - end < RVM_BLOCK_MAX; end -= 8) {
		if (end < scan->status->head + RVM_RECORD_MIN)
			return 0;
		found = record_before(scan, end, record);
		if (found)
			return found;
	}
	return 0;
}
