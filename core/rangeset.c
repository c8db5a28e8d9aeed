// SPDX-License-Identifier: GPL-2.0 OR MIT
/*
 * A set of byte ranges as a sorted list of chunks, each a sorted array of
 * ranges.  Two binary searches find a place; few and large allocations, no
 * recursion, and ranges declared in ascending order fill whole chunks.
 */
#include "core/rangeset.h"

struct run {
	u64 start;
	u64 end;
};

#define CHUNK_RANGES	63	/* so that a chunk takes just under 1 KiB */

struct chunk {
	u64 count;		/* never 0 */
	struct run range[CHUNK_RANGES];
};

struct list {
	u64 count;
	u64 capacity;
	struct chunk *chunk[];
};

#define LIST_MIN	6	/* chunks in a set's first list */

/* Where a range is, or would go; chunk == the list's count: behind the last. */
struct place {
	u64 chunk;
	u64 range;
};

void rvm_rangeset_init(struct rvm_rangeset *set)
{
	memset(set, 0, sizeof(*set));
}

void rvm_rangeset_clear(struct rvm_rangeset *set)
{
	struct list *list = set->root;
	u64 i;

	for (i = 0; list && i < list->count; i++)
		rvm_free(list->chunk[i]);
	rvm_free(list);
	rvm_rangeset_init(set);
}

static struct run *range_at(const struct rvm_rangeset *set, struct place at)
{
	const struct list *list = set->root;

	return list && at.chunk < list->count ? &list->chunk[at.chunk]->range[at.range] : NULL;
}

static struct place place_after(const struct rvm_rangeset *set, struct place at)
{
	const struct list *list = set->root;

	if (++at.range == list->chunk[at.chunk]->count) {
		at.chunk++;
		at.range = 0;
	}
	return at;
}

/* The first range that ends at `end` or later. */
static struct place find(const struct rvm_rangeset *set, u64 end)
{
	const struct list *list = set->root;
	struct place at = { 0, 0 };
	const struct chunk *chunk;
	u64 high, middle;

	if (!list)
		return at;
	for (high = list->count; at.chunk < high; ) {
		middle = at.chunk + (high - at.chunk) / 2;
		chunk = list->chunk[middle];
		if (chunk->range[chunk->count - 1].end < end)
			at.chunk = middle + 1;
		else
			high = middle;
	}
	if (at.chunk == list->count)
		return at;
	chunk = list->chunk[at.chunk];
	for (high = chunk->count; at.range < high; ) {
		middle = at.range + (high - at.range) / 2;
		if (chunk->range[middle].end < end)
			at.range = middle + 1;
		else
			high = middle;
	}
	return at;
}

static int grow_list(struct rvm_rangeset *set)
{
	struct list *old = set->root, *list;
	u64 capacity = old ? 2 * old->capacity : LIST_MIN;

	list = rvm_alloc(sizeof(*list) + capacity * sizeof(list->chunk[0]));
	if (!list)
		return -ENOMEM;
	list->count = old ? old->count : 0;
	list->capacity = capacity;
	if (old)
		memcpy(list->chunk, old->chunk, old->count * sizeof(list->chunk[0]));
	rvm_free(old);
	set->root = list;
	return 0;
}

static void list_insert(struct list *list, u64 at, struct chunk *chunk)
{
	memmove(&list->chunk[at + 1], &list->chunk[at],
		(list->count - at) * sizeof(list->chunk[0]));
	list->chunk[at] = chunk;
	list->count++;
}

static void list_remove(struct list *list, u64 at, u64 n)
{
	u64 i;

	for (i = 0; i < n; i++)
		rvm_free(list->chunk[at + i]);
	list->count -= n;
	memmove(&list->chunk[at], &list->chunk[at + n],
		(list->count - at) * sizeof(list->chunk[0]));
}

static void chunk_insert(struct chunk *chunk, u64 at, struct run range)
{
	memmove(&chunk->range[at + 1], &chunk->range[at],
		(chunk->count - at) * sizeof(range));
	chunk->range[at] = range;
	chunk->count++;
}

static void chunk_remove(struct chunk *chunk, u64 at, u64 n)
{
	chunk->count -= n;
	memmove(&chunk->range[at], &chunk->range[at + n],
		(chunk->count - at) * sizeof(chunk->range[0]));
}

/* A range that touches none goes in at a place; fn may still refuse it. */
static int insert(struct rvm_rangeset *set, struct place at, struct run new,
		  rvm_gap_fn fn, void *context)
{
	struct list *list = set->root;
	struct chunk *chunk, *spare = NULL;
	int err;

	if (!list || list->count == list->capacity) {
		err = grow_list(set);
		if (err)
			return err;
		list = set->root;
	}
	if (at.chunk && at.chunk == list->count) {
		at.chunk--;
		at.range = list->chunk[at.chunk]->count;
	}
	if (!list->count || list->chunk[at.chunk]->count == CHUNK_RANGES) {
		spare = rvm_alloc(sizeof(*spare));
		if (!spare)
			return -ENOMEM;
		spare->count = 0;
	}
	err = fn ? fn(context, new.start, new.end - new.start) : 0;
	if (err) {
		rvm_free(spare);
		return err;
	}

	if (spare && (!list->count || at.range == CHUNK_RANGES)) {
		/* Only the last place of all is behind a full chunk. */
		list_insert(list, list->count, spare);
		at.chunk = list->count - 1;
		at.range = 0;
	} else if (spare) {
		chunk = list->chunk[at.chunk];
		chunk->count = CHUNK_RANGES / 2;
		spare->count = CHUNK_RANGES - chunk->count;
		memcpy(spare->range, &chunk->range[chunk->count],
		       spare->count * sizeof(spare->range[0]));
		list_insert(list, at.chunk + 1, spare);
		if (at.range > chunk->count) {
			at.range -= chunk->count;
			at.chunk++;
		}
	}
	chunk_insert(list->chunk[at.chunk], at.range, new);
	set->ranges++;
	set->bytes += new.end - new.start;
	return 0;
}

/* Two neighbouring chunks that have become small are put together. */
static void join(struct list *list, u64 at)
{
	struct chunk *chunk = list->chunk[at], *next;

	if (at + 1 == list->count)
		return;
	next = list->chunk[at + 1];
	if (chunk->count + next->count > CHUNK_RANGES / 2)
		return;
	memcpy(&chunk->range[chunk->count], next->range, next->count * sizeof(next->range[0]));
	chunk->count += next->count;
	list_remove(list, at + 1, 1);
}

/* Remove the n ranges after the one at a place. */
static void remove_after(struct rvm_rangeset *set, struct place at, u64 n)
{
	struct list *list = set->root;
	struct chunk *chunk = list->chunk[at.chunk], *next;
	u64 left = n, here = chunk->count - at.range - 1, whole;

	if (here > left)
		here = left;
	chunk_remove(chunk, at.range + 1, here);
	left -= here;
	for (whole = 0; left; whole++) {
		next = list->chunk[at.chunk + 1 + whole];
		if (next->count > left) {
			chunk_remove(next, 0, left);
			break;
		}
		left -= next->count;
	}
	list_remove(list, at.chunk + 1, whole);
	set->ranges -= n;
	join(list, at.chunk);
	if (at.chunk)
		join(list, at.chunk - 1);
}

int rvm_rangeset_add(struct rvm_rangeset *set, u64 start, u64 length,
		     rvm_gap_fn fn, void *context)
{
	struct run new = { start, start + length }, *range;
	u64 from = start, bytes = 0, touched = 0, gap;
	struct place first, at;
	int err;

	if (new.end < start)
		return -EOVERFLOW;
	if (!length)
		return 0;

	first = find(set, start);
	range = range_at(set, first);
	if (!range || range->start > new.end)
		return insert(set, first, new, fn, context);

	/* It grows the first that it touches, and that one takes in the others. */
	for (at = first; range && range->start <= new.end; range = range_at(set, at)) {
		if (range->start > from) {
			gap = range->start - from;
			err = fn ? fn(context, from, gap) : 0;
			if (err)
				return err;
			bytes += gap;
		}
		if (range->start < new.start)
			new.start = range->start;
		from = range->end;
		touched++;
		at = place_after(set, at);
	}
	if (from < new.end) {
		gap = new.end - from;
		err = fn ? fn(context, from, gap) : 0;
		if (err)
			return err;
		bytes += gap;
	} else {
		new.end = from;
	}
	*range_at(set, first) = new;
	set->bytes += bytes;
	if (touched > 1)
		remove_after(set, first, touched - 1);
	return 0;
}

bool rvm_rangeset_overlaps(const struct rvm_rangeset *set, u64 start, u64 length)
{
	u64 next, next_length;

	return length && rvm_rangeset_next(set, start, &next, &next_length) &&
	       next - start < length;
}

bool rvm_rangeset_next(const struct rvm_rangeset *set, u64 from, u64 *start, u64 *length)
{
	const struct run *range;

	if (from + 1 == 0)
		return false;
	range = range_at(set, find(set, from + 1));
	if (!range)
		return false;
	*start = range->start > from ? range->start : from;
	*length = range->end - *start;
	return true;
}
