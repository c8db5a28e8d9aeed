// SPDX-License-Identifier: GPL-2.0 OR MIT
/* Allocating and freeing blocks. */
#include <string.h>

#include "lib/rds_heap.h"

#define TOGETHER	16	/* chunks of blocks whose entries of the map are declared as one */

/* The chunks that a block of that many bytes takes; 0: more than any heap has. */
static uint32_t chunks_for(unsigned long size)
{
	uint64_t chunks;

	if (__builtin_add_overflow(size, RDS_OVERHEAD + rds_heap.layout.chunk_size - 1, &size))
		return 0;
	chunks = size / rds_heap.layout.chunk_size;
	return chunks <= rds_heap.layout.chunks ? chunks : 0;
}

unsigned long rds_maxblock(unsigned long size)
{
	unsigned long most;

	if (rds_lock())
		return 0;
	most = chunks_for(size) * rds_heap.layout.chunk_size;
	rds_unlock();
	return most ? most - RDS_OVERHEAD : 0;
}

static rvm_return_t declare_entries(rvm_tid_t *tid, struct rds_extent block)
{
	uint16_t *first = &rds_heap.image->map[block.first], *last = first + block.length - 1;
	rvm_return_t code;

	if (block.length <= TOGETHER)
		return rvm_set_range(tid, first, block.length * sizeof(*first));
	code = rvm_set_range(tid, first, sizeof(*first));
	return code ? code : rvm_set_range(tid, last, sizeof(*last));
}

static void set_entries(struct rds_extent block, bool used)
{
	uint16_t *first = &rds_heap.image->map[block.first], *last = first + block.length - 1;

	if (!used) {
		*first = RDS_FREE;
		*last = RDS_FREE;
	} else if (block.length == 1) {
		*first = RDS_ONLY;
	} else {
		*first = RDS_FIRST;
		*last = RDS_LAST;
	}
}

static void count_used(struct rds_owner *owner, int64_t chunks)
{
	owner->used += chunks;
	rds_heap.used += chunks;
}

/*
 * Allocation
 */

struct request {
	unsigned long size;
	char *address;		/* the result */
};

/* Make a block there, in the image. */
static int make_block(rvm_tid_t *tid, struct rds_extent extent)
{
	struct rds_block *block = rds_image_block(&rds_heap.layout, extent.first);
	uint64_t *end = rds_image_end_guard(&rds_heap.layout, extent);
	const uint16_t *map = rds_heap.image->map;
	rvm_return_t code;

	if (map[extent.first] != RDS_FREE || map[extent.first + extent.length - 1] != RDS_FREE)
		return ECORRUPT;
	code = declare_entries(tid, extent);
	if (!code)
		code = rvm_set_range(tid, block, sizeof(*block));
	if (!code)
		code = rvm_set_range(tid, end, sizeof(*end));
	if (code)
		return code;
	set_entries(extent, true);
	block->guard = rds_image_guard(block);
	block->chunks = extent.length;
	*end = rds_image_guard(block);
	return SUCCESS;
}

static void count_taken(uint32_t length, bool cut)
{
	if (length < rds_heap.index.exact)
		++*(cut ? &rds_heap.stats.misses : &rds_heap.stats.hits);
	else
		++*(cut ? &rds_heap.stats.large_misses : &rds_heap.stats.large_hits);
}

/* Out of what anyone may have. */
static uint32_t take(uint32_t length, bool *cut)
{
	uint32_t first = rds_index_take(&rds_heap.index, length, cut);

	if (first != RDS_NONE || !rds_heap.index.unmerged)
		return first;
	rds_heap.stats.merged += rds_index_merge(&rds_heap.index);
	rds_heap.stats.coalesce++;
	return rds_index_take(&rds_heap.index, length, cut);
}

static int allocate(rvm_tid_t *tid, void *context)
{
	struct request *request = context;
	struct rds_extent extent = { .length = chunks_for(request->size) };
	struct rds_owner *owner = rds_owner(tid);
	bool cut, again;
	int code;

	if (!owner)
		return RVM_ENO_MEMORY;
	if (!extent.length)
		return ENO_ROOM;
	extent.first = take(extent.length, &cut);
	again = extent.first == RDS_NONE;
	if (again)
		extent.first = rds_reuse(owner, extent.length);
	if (extent.first == RDS_NONE)
		return ENO_ROOM;
	code = make_block(tid, extent);
	if (code) {
		if (again)
			rds_keep(owner, extent);
		else
			rds_index_add(&rds_heap.index, extent.first, extent.length);
		return code;
	}
	if (!again) {
		rds_hold(owner, extent, 0);
		count_taken(extent.length, cut);
	}
	count_used(owner, extent.length);
	rds_heap.stats.malloc++;
	request->address = rds_image_block(&rds_heap.layout, extent.first)->data;
	RDS_LOG("rdstrace: malloc addr %p size %lu\n", (void *)request->address, request->size);
	return SUCCESS;
}

char *rds_malloc(unsigned long size, rvm_tid_t *tid, int *err)
{
	struct request request = { .size = size };

	return rds_result(err, rds_change(tid, no_flush, allocate, &request)) ? NULL :
		request.address;
}

/*
 * Freeing
 */

int rds_check_block(const char *address, struct rds_extent *block)
{
	return rds_image_find(rds_heap.image->map, &rds_heap.layout, address, block);
}

int rds_free_block(rvm_tid_t *tid, void *address)
{
	struct rds_owner *owner = rds_owner(tid);
	struct rds_extent block;
	int code;

	if (!owner)
		return RVM_ENO_MEMORY;
	code = rds_check_block(address, &block);
	if ((!code || code == EFREED_TWICE) && rds_held(block.first) &&
	    !rds_holds(owner, block.first))
		code = RVM_EUNCOMMIT;
	if (!code)
		code = declare_entries(tid, block);
	if (code)
		return code;
	set_entries(block, false);
	if (!rds_held(block.first))
		rds_hold(owner, block, block.length);
	rds_keep(owner, block);
	count_used(owner, -(int64_t)block.length);
	rds_heap.stats.free++;
	RDS_LOG("rdstrace: free addr %p\n", address);
	return SUCCESS;
}

int rds_free(char *addr, rvm_tid_t *tid, int *err)
{
	return rds_result(err, rds_change(tid, no_flush, rds_free_block, addr));
}

/*
 * Preallocation
 */

static int preallocate(uint32_t length, unsigned long count)
{
	struct rds_chunk *chunk = rds_heap.index.chunk;
	uint32_t taken, *end = &taken, first;
	unsigned long missing = count;
	bool cut;

	while (missing) {
		first = take(length, &cut);
		if (first == RDS_NONE)
			break;
		*end = first;
		end = &chunk[first].next;
		missing--;
	}
	*end = RDS_NONE;
	while (taken != RDS_NONE) {
		first = taken;
		taken = chunk[first].next;
		if (missing)
			rds_index_add(&rds_heap.index, first, length);
		else
			rds_index_add_alone(&rds_heap.index, first, length);
	}
	if (missing)
		return ENO_ROOM;
	rds_heap.stats.prealloc += count;
	RDS_LOG("rdstrace: prealloc chunks %u blocks %lu\n", length, count);
	return SUCCESS;
}

int rds_prealloc(unsigned long size, unsigned long nblocks, rvm_tid_t *tid, int *err)
{
	int code = tid ? rvm_check_tid(tid) : SUCCESS;
	uint32_t length;

	if (!code)
		code = rds_lock();
	if (code)
		return rds_result(err, code);
	length = chunks_for(size);
	if (!nblocks)
		code = EBAD_ARGS;
	else if (!length || nblocks > rds_heap.layout.chunks / length)
		code = ENO_ROOM;
	else
		code = preallocate(length, nblocks);
	rds_unlock();
	return rds_result(err, code);
}
