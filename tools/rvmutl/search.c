// SPDX-License-Identifier: GPL-2.0 OR MIT
/*
 * Records wherever they are in the area, whatever the status says: those that were
 * truncated and are not yet overwritten, and those behind damage.
 *
 * What looks like records may be made to take for ever, each with a length that
 * takes half the log to sum up.  So the work is limited to some readings of the log.
 */
#include <stdlib.h>

#include "lib/user.h"
#include "tools/rvmutl/rvmutl.h"

#define PIECE		(1u << 20)
#define READINGS	16

struct search {
	struct log *log;
	u64 area;
	u64 budget;		/* bytes that may still be read of what looks like a record */
	u64 next;		/* what is before it in the area belongs to the last one found */
};

/* The position of an offset in the area, in the turn that begins at the head. */
static u64 live_position(const struct rvm_status *s, u64 offset)
{
	u64 position = s->head - s->head % s->area_length + offset;

	return position < s->head ? position + s->area_length : position;
}

/* False: the budget is used up. */
static bool try_record(struct search *search, u64 offset)
{
	struct rvm_status *s = &search->log->status;
	struct rvm_record_header h = { .magic = 0 };
	struct place p;
	u64 length, cost;
	int found;

	if (!log_area_bytes(search->log, offset, &h, sizeof(h)))
		return true;
	length = le64_to_cpu(h.length);
	if (le32_to_cpu(h.magic) != RVM_RECORD_MAGIC || length > search->area || !h.log_id)
		return true;
	/* the status doesn't know: the first whole record does */
	if (le64_to_cpu(h.log_id) != s->log_id && s->log_id)
		return true;
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

bool log_search(struct log *log)
{
	struct search search = { .log = log, .area = log_area(log) };
	u8 *piece = check_memory(user_file_buffer(PIECE));
	bool whole = true;
	u64 at;

	log->found.count = 0;
	search.budget = (search.area + PIECE) * READINGS;
	for (at = 0; whole && at < search.area; at += PIECE) {
		ssize_t n = log_bytes(log, RVM_AREA_START + at, piece,
				      search.area - at < PIECE ? search.area - at : PIECE);

		for (ssize_t i = 0; whole && i + 8 <= n; i += 8) {
			u32 magic;

			memcpy(&magic, piece + i, sizeof(magic));
			if (le32_to_cpu(magic) == RVM_RECORD_MAGIC && at + i >= search.next)
				whole = try_record(&search, at + i);
		}
	}
	free(piece);
	if (log->found.count)
		qsort(log->found.at, log->found.count, sizeof(*log->found.at), by_sequence);
	log->probe.log_id = log->status.log_id;
	return whole || fail("the search was given up: too much of the area only looks like records");
}
