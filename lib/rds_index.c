// SPDX-License-Identifier: GPL-2.0 OR MIT
/* Where in a heap there is room: lists of free extents by length. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "lib/rds_index.h"

#define EXACT_MAX	4096u	/* lists of one length: more of them have no use */
#define SHARED		(31 * 8)	/* lists of several, for lengths under 1 << 31 */
#define PROBES		8	/* extents of a list looked at before longer ones are cut */

bool rds_index_init(struct rds_index *index, uint32_t chunks, uint32_t lists)
{
	size_t words;

	index->chunks = chunks;
	index->exact = (lists < EXACT_MAX ? lists : EXACT_MAX) + 1;
	index->bins = index->exact + SHARED;
	words = index->bins / 64 + 1;
	index->head = malloc(index->bins * sizeof(*index->head));
	index->any = calloc(words, sizeof(*index->any));
	/* only what is used of it costs memory: the ends of free extents */
	index->chunk = mmap(NULL, chunks * sizeof(*index->chunk), PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (index->chunk == MAP_FAILED)
		index->chunk = NULL;
	if (!index->head || !index->any || !index->chunk) {
		rds_index_free(index);
		return false;
	}
	memset(index->head, 0xff, index->bins * sizeof(*index->head));
	return true;
}

void rds_index_free(struct rds_index *index)
{
	if (index->chunk)
		munmap(index->chunk, index->chunks * sizeof(*index->chunk));
	free(index->head);
	free(index->any);
	memset(index, 0, sizeof(*index));
}

static uint32_t bin_of(const struct rds_index *index, uint32_t length)
{
	unsigned int power;

	if (length < index->exact)
		return length;
	power = 31 - __builtin_clz(length);
	return index->exact + power * 8 + (((uint64_t)length << 3 >> power) & 7);
}

void rds_index_add_alone(struct rds_index *index, uint32_t first, uint32_t length)
{
	struct rds_chunk *chunk = index->chunk;
	uint32_t bin = bin_of(index, length), head = index->head[bin];

	chunk[first].length = length;
	chunk[first + length - 1].back = length;
	if (head == RDS_NONE) {
		chunk[first].next = first;
		chunk[first].prev = first;
		index->head[bin] = first;
		index->any[bin / 64] |= 1ull << bin % 64;
	} else {
		chunk[first].next = head;
		chunk[first].prev = chunk[head].prev;
		chunk[chunk[head].prev].next = first;
		chunk[head].prev = first;
	}
	index->large += bin >= index->exact;
	index->unmerged = true;
}

static void remove_extent(struct rds_index *index, uint32_t first)
{
	struct rds_chunk *chunk = index->chunk;
	uint32_t length = chunk[first].length, bin = bin_of(index, length);
	uint32_t next = chunk[first].next, prev = chunk[first].prev;

	if (next == first) {
		index->head[bin] = RDS_NONE;
		index->any[bin / 64] &= ~(1ull << bin % 64);
	} else {
		chunk[next].prev = prev;
		chunk[prev].next = next;
		if (index->head[bin] == first)
			index->head[bin] = next;
	}
	index->large -= bin >= index->exact;
	chunk[first].length = 0;
	chunk[first + length - 1].back = 0;
}

unsigned int rds_index_add(struct rds_index *index, uint32_t first, uint32_t length)
{
	struct rds_chunk *chunk = index->chunk;
	bool unmerged = index->unmerged;
	unsigned int merged = 0;
	uint32_t end = first + length;

	if (first && chunk[first - 1].back && !(chunk[first - 1].length & RDS_HELD)) {
		length += chunk[first - 1].back;
		first -= chunk[first - 1].back;
		remove_extent(index, first);
		merged++;
	}
	if (end < index->chunks && chunk[end].length && !(chunk[end].length & RDS_HELD)) {
		length += chunk[end].length;
		remove_extent(index, end);
		merged++;
	}
	rds_index_add_alone(index, first, length);
	index->unmerged = unmerged;
	return merged;
}

/* The first list from `bin` on that has any extent, or RDS_NONE. */
static uint32_t next_list(const struct rds_index *index, uint32_t bin)
{
	uint32_t word = bin / 64, words = index->bins / 64 + 1;
	uint64_t bits = index->any[word] & ~0ull << bin % 64;

	while (!bits && ++word < words)
		bits = index->any[word];
	return bits ? word * 64 + __builtin_ctzll(bits) : RDS_NONE;
}

/* An extent of that length among the first `probes` of a list. */
static uint32_t probe(const struct rds_index *index, uint32_t bin, uint32_t length,
		      uint32_t probes)
{
	uint32_t head = index->head[bin], at = head;

	if (head == RDS_NONE)
		return RDS_NONE;
	while (probes--) {
		if (index->chunk[at].length >= length)
			return at;
		at = index->chunk[at].next;
		if (at == head)
			break;
	}
	return RDS_NONE;
}

static uint32_t find(const struct rds_index *index, uint32_t length)
{
	uint32_t bin = bin_of(index, length), list, first;

	if (bin < index->exact) {
		list = next_list(index, bin);
		return list == RDS_NONE ? RDS_NONE : index->head[list];
	}
	first = probe(index, bin, length, PROBES);
	if (first != RDS_NONE)
		return first;
	list = next_list(index, bin + 1);
	if (list != RDS_NONE)
		return index->head[list];
	return probe(index, bin, length, UINT32_MAX);
}

uint32_t rds_index_take(struct rds_index *index, uint32_t length, bool *cut)
{
	uint32_t first = find(index, length), have;
	bool unmerged = index->unmerged;

	if (first == RDS_NONE)
		return RDS_NONE;
	have = index->chunk[first].length;
	remove_extent(index, first);
	*cut = have > length;
	if (*cut)
		rds_index_add_alone(index, first + length, have - length);
	index->unmerged = unmerged;
	return first;
}

unsigned int rds_index_merge(struct rds_index *index)
{
	unsigned int merged = 0;
	uint32_t count, first, length;

	if (!index->unmerged)
		return 0;
	for (uint32_t bin = 0; bin < index->bins; bin++) {
		first = index->head[bin];
		if (first == RDS_NONE)
			continue;
		count = 1;
		for (uint32_t at = index->chunk[first].next; at != first; count++)
			at = index->chunk[at].next;
		/* what stays in the list goes to its end, so each has its turn */
		for (; count && index->head[bin] != RDS_NONE; count--) {
			first = index->head[bin];
			length = index->chunk[first].length;
			remove_extent(index, first);
			merged += rds_index_add(index, first, length);
		}
	}
	index->unmerged = false;
	return merged;
}
