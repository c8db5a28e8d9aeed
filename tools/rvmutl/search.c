// SPDX-License-Identifier: GPL-2.0 OR MIT
/*
 * Records wherever they are in the area, whatever the status says: those that were
 * truncated and are not yet overwritten, and those behind damage.
 *
 * What looks like records may be made to take for ever, each with a length that
 * takes half the log to sum up.  So the work is limited to some readings of the log.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "lib/user.h"
#include "tools/rvmutl/rvmutl.h"

#define PIECE		(1u << 20)
#define READINGS	16

struct search {
	struct log *log;
	u64 area;
	u64 from;		/* sequence numbers below it are of no interest */
	u64 budget;		/* bytes that may still be read of what looks like a record */
	u64 next;		/* what is before it in the area belongs to the last one found */
};

/* The position of an offset in the area, in the turn that begins at the head. */
static u64 live_position(const struct rvm_status *s, u64 offset)
{
	u64 position = s->head - s->head % s->area_length + offset;

	return position < s->head ? position + s->area_length : position;
}

/* Has it a header that is worth reading the record for? */
static bool looks_right(const struct search *search, const struct rvm_record_header *h)
{
	const u64 log_id = search->log->status.log_id;

	if (le32_to_cpu(h->magic) != RVM_RECORD_MAGIC || le64_to_cpu(h->length) > search->area || !h->log_id)
		return false;
	if (le64_to_cpu(h->sequence) < search->from)
		return false;
	/* if the status doesn't know, the first whole record does */
	return !log_id || le64_to_cpu(h->log_id) == log_id;
}

/* False: the budget is used up. The header may be here already, `there` bytes of it. */
static bool try_record(struct search *search, u64 offset, const u8 *here, size_t there)
{
	struct rvm_status *s = &search->log->status;
	struct rvm_record_header h = { .magic = 0 };
	struct place p;
	u64 length, cost;
	int found;

	if (there >= sizeof(h))
		memcpy(&h, here, sizeof(h));
	else if (!log_area_bytes(search->log, offset, &h, sizeof(h)))
		return true;
	if (!looks_right(search, &h))
		return true;
	length = le64_to_cpu(h.length);
	cost = length + RVM_AREA_UNIT;
	if (cost > search->budget)
		return false;
	search->budget -= cost;

	search->log->probe.log_id = le64_to_cpu(h.log_id);
	p.position = live_position(s, offset);
	p.sequence = le64_to_cpu(h.sequence);
	p.incarnation = le64_to_cpu(h.incarnation);
	/* of an earlier turn, as far as one can know */
	if (p.sequence < s->head_sequence && p.position >= s->area_length)
		p.position -= s->area_length;
	found = log_contents(search->log, &p);
	if (found != 1)
		return true;
	s->log_id = search->log->probe.log_id;
	places_add(&search->log->found, p.position, p.sequence, p.incarnation);
	search->next = offset + length;
	return true;
}

static int by_sequence(const void *a, const void *b)
{
	const struct place *p = a, *q = b;

	if (p->sequence != q->sequence)
		return p->sequence < q->sequence ? -1 : 1;
	return (p->incarnation > q->incarnation) - (p->incarnation < q->incarnation);
}

/* The next unit of the area from `at` on that isn't a hole in the file. */
static u64 next_data(const struct search *search, u64 at)
{
	off_t data = lseek(search->log->fd, (off_t)(RVM_AREA_START + at), SEEK_DATA);

	if (data < 0)
		return errno == ENXIO ? search->area : at;
	return ((u64)data - RVM_AREA_START) & -(u64)RVM_AREA_UNIT;
}

bool log_search(struct log *log, u64 from)
{
	struct search search = { .log = log, .area = log_area(log), .from = from };
	u8 *piece = check_memory(user_file_buffer(PIECE));
	bool whole = true;
	u64 at;

	log->found.count = 0;
	search.budget = (search.area + PIECE) * READINGS;
	for (at = next_data(&search, 0); whole && at < search.area; at = next_data(&search, at + PIECE)) {
		ssize_t n = log_bytes(log, RVM_AREA_START + at, piece,
				      search.area - at < PIECE ? search.area - at : PIECE);

		for (ssize_t i = 0; whole && i + 8 <= n; i += 8) {
			u32 magic;

			memcpy(&magic, piece + i, sizeof(magic));
			if (le32_to_cpu(magic) == RVM_RECORD_MAGIC && at + i >= search.next)
				whole = try_record(&search, at + i, piece + i, n - i);
		}
	}
	free(piece);
	if (log->found.count)
		qsort(log->found.at, log->found.count, sizeof(*log->found.at), by_sequence);
	log->probe.log_id = log->status.log_id;
	return whole || fail("the search was given up: too much of the area only looks like records");
}
