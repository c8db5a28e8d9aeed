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
	u64 offset;
	u32 segment;
	u32 length;
	const char *data;
	char *to;
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

static void list_pieces(const struct user_batch *b, struct piece *p)
{
	const char *at = b->data;
	u32 i, k;

	for (i = 0; i < b->records; i++) {
		const struct rvm_record_header *h = (const void *)at;
		const char *r = at + sizeof(*h);

		for (k = 0; k < le32_to_cpu(h->ranges); k++, p++) {
			const struct rvm_range_header *range = (const void *)r;

			p->segment = le32_to_cpu(range->segment);
			p->length = le32_to_cpu(range->length);
			p->offset = le64_to_cpu(range->offset);
			p->data = r + sizeof(*range);
			r += rvm_range_size(p->length);
		}
		at += le64_to_cpu(h->length);
	}
}

static int by_place(const void *a, const void *b)
{
	const struct piece *x = *(struct piece *const *)a, *y = *(struct piece *const *)b;

	if (x->segment != y->segment)
		return x->segment > y->segment ? 1 : -1;
	return (x->offset > y->offset) - (x->offset < y->offset);
}

/* Give each piece, in order of place, where its bytes go. Returns the end; *ranges counts. */
static char *lay_out(struct piece **order, u64 n, char *at, u32 *ranges)
{
	u64 i = 0;

	*ranges = 0;
	while (i < n) {
		struct piece *first = order[i];
		u64 end = first->offset;
		char *data = at + sizeof(struct rvm_range_header);

		for (; i < n && order[i]->segment == first->segment && order[i]->offset <= end; i++) {
			order[i]->to = data + (order[i]->offset - first->offset);
			if (order[i]->offset + order[i]->length > end)
				end = order[i]->offset + order[i]->length;
		}
		end -= first->offset;
		rvm_range_header_init((struct rvm_range_header *)at, first->segment,
				      first->offset, end);
		at += rvm_range_size(end);
		memset(at - 8, 0, 8);
		++*ranges;
	}
	return at;
}

void user_merge(struct user_log *log, struct user_batch *b)
{
	const struct rvm_record_header *first = (const void *)b->data, *last = first;
	struct piece *pieces, **order;
	char *end;
	u64 n, i, length;
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
	pieces = malloc(n * (sizeof(*pieces) + sizeof(*order)));
	if (!pieces)
		return;
	order = (struct piece **)(pieces + n);
	list_pieces(b, pieces);
	for (i = 0; i < n; i++)
		order[i] = &pieces[i];
	qsort(order, n, sizeof(*order), by_place);

	end = lay_out(order, n, log->merge_data + sizeof(*first), &ranges);
	for (i = 0; i < n; i++)
		memcpy(pieces[i].to, pieces[i].data, pieces[i].length);
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
