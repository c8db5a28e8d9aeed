// SPDX-License-Identifier: GPL-2.0 OR MIT
/*
 * Inter-transaction optimization: the commits of a batch become one record, in
 * which each byte appears once, as the last of them left it.
 *
 * The union of all ranges is laid out in order of offsets, and then filled in
 * commit order, so that what is later lies on top.  Where ranges meet they
 * become one, so the result is never longer than what it is made of.
 */
#include <stdlib.h>
#include <string.h>

#include "lib/user.h"

struct piece {
	const char *data;
	u32 length;
	char *to;
};

/* A piece's place, to sort by. */
struct place {
	u64 offset;
	u32 segment;
	u32 piece;
};

static u64 count_pieces(const struct user_batch *b, u32 *commits)
{
	const char *at = b->data;
	u64 n = 0;
	u32 i;

	*commits = 0;
	for (i = 0; i < b->records; i++) {
		const struct rvm_record_header *h = (const void *)at;

		n += le32_to_cpu(h->ranges);
		*commits += le32_to_cpu(h->commits);
		at += le64_to_cpu(h->length);
	}
	return n;
}

static void list_pieces(const struct user_batch *b, struct piece *piece, struct place *place)
{
	const char *at = b->data;
	u32 n = 0, i, k;

	for (i = 0; i < b->records; i++) {
		const struct rvm_record_header *h = (const void *)at;
		const char *r = at + sizeof(*h);

		for (k = 0; k < le32_to_cpu(h->ranges); k++, n++) {
			const struct rvm_range_header *range = (const void *)r;

			piece[n].data = r + sizeof(*range);
			piece[n].length = le32_to_cpu(range->length);
			place[n].offset = le64_to_cpu(range->offset);
			place[n].segment = le32_to_cpu(range->segment);
			place[n].piece = n;
			r += rvm_range_size(piece[n].length);
		}
		at += le64_to_cpu(h->length);
	}
}

static u8 digit(const struct place *p, unsigned int i)
{
	return i < 8 ? p->offset >> 8 * i : p->segment >> 8 * (i - 8);
}

/*
 * By segment, then offset; equal ones stay in order.  A radix sort, since there
 * are thousands at a time and most digits are the same in all.  Returns where
 * the sorted ones are: at `p` or at `other`, which is as long.
 */
static struct place *sort_places(struct place *p, struct place *other, u64 n)
{
	u64 offsets = 0, start[256], sum, i, k;
	u32 segments = 0;
	unsigned int d;

	for (i = 1; i < n; i++) {
		offsets |= p[i].offset ^ p[0].offset;
		segments |= p[i].segment ^ p[0].segment;
	}
	for (d = 0; d < 12; d++) {
		struct place differs = { offsets, segments, 0 }, *sorted = other;

		if (!digit(&differs, d))
			continue;
		memset(start, 0, sizeof(start));
		for (i = 0; i < n; i++)
			start[digit(&p[i], d)]++;
		for (sum = 0, k = 0; k < 256; k++) {
			u64 count = start[k];

			start[k] = sum;
			sum += count;
		}
		for (i = 0; i < n; i++)
			sorted[start[digit(&p[i], d)]++] = p[i];
		other = p;
		p = sorted;
	}
	return p;
}

/*
 * Give each piece, in order of place, where its bytes go. Returns the end; *ranges
 * and *bytes count.
 */
static char *lay_out(const struct place *p, struct piece *pieces, u64 n, char *at, u32 *ranges,
		     u64 *bytes)
{
	const struct place *last = p + n;

	*ranges = 0;
	*bytes = 0;
	while (p < last) {
		const struct place *first = p;
		u64 end = first->offset;
		char *data = at + sizeof(struct rvm_range_header);

		for (; p < last && p->segment == first->segment && p->offset <= end; p++) {
			struct piece *piece = &pieces[p->piece];

			piece->to = data + (p->offset - first->offset);
			if (p->offset + piece->length > end)
				end = p->offset + piece->length;
		}
		end -= first->offset;
		rvm_range_header_init((struct rvm_range_header *)at, first->segment,
				      first->offset, end);
		at += rvm_range_size(end);
		memset(at - 8, 0, 8);
		++*ranges;
		*bytes += end;
	}
	return at;
}

void user_merge(struct user_log *log, struct user_batch *b)
{
	const struct rvm_record_header *first = (const void *)b->data, *last = first;
	struct piece *pieces;
	struct place *places;
	char *end;
	u64 n, i, length, bytes;
	u32 commits, ranges;

	if (b->records < 2 || b->used > USER_PIECE)
		return;
	if (log->merge_capacity < b->capacity) {
		char *data = user_file_buffer(b->capacity);

		if (!data)
			return;
		free(log->merge_data);
		log->merge_data = data;
		log->merge_capacity = b->capacity;
	}
	n = count_pieces(b, &commits);
	pieces = malloc(n * (sizeof(*pieces) + 2 * sizeof(*places)));
	if (!pieces)
		return;
	places = (struct place *)(pieces + n);
	list_pieces(b, pieces, places);
	places = sort_places(places, places + n, n);
	end = lay_out(places, pieces, n, log->merge_data + sizeof(*first), &ranges,
		      &bytes);
	b->coalesced_ranges += n - ranges;
	for (i = 0; i < n; i++) {
		memcpy(pieces[i].to, pieces[i].data, pieces[i].length);
		b->coalesced_bytes += pieces[i].length;
	}
	b->coalesced_bytes -= bytes;
	free(pieces);
	length = end + sizeof(struct rvm_record_trailer) - log->merge_data;
	for (i = 1; i < b->records; i++)
		last = (const void *)((const char *)last + le64_to_cpu(last->length));
	rvm_record_header_init((struct rvm_record_header *)log->merge_data, &log->status,
			       le64_to_cpu(first->sequence), commits, length, ranges,
			       le64_to_cpu(last->time));

	end = b->data;
	b->data = log->merge_data;
	b->used = length;
	b->records = 1;
	log->merge_data = end;
	i = b->capacity;
	b->capacity = log->merge_capacity;
	log->merge_capacity = i;
}
