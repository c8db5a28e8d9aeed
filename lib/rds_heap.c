// SPDX-License-Identifier: GPL-2.0 OR MIT
/* The heap that is started, and the transactions that are at work in it. */
#include <stdlib.h>
#include <string.h>

#include "lib/rds_heap.h"

struct rds_heap rds_heap = { .lock = PTHREAD_MUTEX_INITIALIZER };

/* Old programs know them. */
char *rds_startaddr;
unsigned long rds_rvmsize;
int rds_testsw;

int rds_result(int *err, int code)
{
	if (err)
		*err = code;
	return code ? ERVM_FAILED : SUCCESS;
}

int rds_mapped(const char *start, uint64_t length, bool *open)
{
	rvm_options_t options;
	rvm_region_t region;
	rvm_return_t code;

	rvm_init_options(&options);
	rvm_init_region(&region);
	region.vmaddr = (char *)start;
	region.length = length;
	code = rvm_query(&options, &region);
	*open = options.n_uncommit;
	free(options.tid_array);
	return code;
}

/*
 * Owners
 */

static void give_back(struct rds_extent extent)
{
	unsigned int merged = rds_index_add(&rds_heap.index, extent.first, extent.length);

	rds_heap.stats.merged += merged;
	rds_heap.stats.unmerged += !merged;
}

/* Make the index say what the map says of an extent that no transaction holds: chunks in blocks. */
static uint32_t look_at(struct rds_extent extent)
{
	uint32_t at = extent.first, end = at + extent.length, used = 0;
	struct rds_extent block;

	while (at < end) {
		int found = rds_image_next(rds_heap.image->map, at, end, &block);

		if (found < 0) {
			/* nobody is to get anything of it */
			rds_heap.damaged = true;
			return used + end - at;
		}
		if (!found)
			block.first = end;
		if (block.first > at)
			give_back((struct rds_extent){ at, block.first - at });
		if (!found)
			break;
		at = block.first + block.length;
		used += block.length;
	}
	return used;
}

static int by_first(const void *a, const void *b)
{
	const struct rds_held *x = a, *y = b;

	return x->extent.first < y->extent.first ? -1 : 1;
}

/* What was freed and used again need not end where what was held ends. */
static void join_held(struct rds_owner *owner)
{
	struct rds_held *last = owner->held;

	qsort(owner->held, owner->count, sizeof(*owner->held), by_first);
	for (uint32_t i = 1; i < owner->count; i++) {
		struct rds_held *held = &owner->held[i];

		if (last->extent.first + last->extent.length == held->extent.first) {
			last->extent.length += held->extent.length;
			last->before += held->before;
		} else {
			*++last = *held;
		}
	}
	owner->count = last - owner->held + 1;
}

/* The owner's transaction has ended: no undo is going to change the map any more. */
static void settle(struct rds_owner *owner)
{
	rds_heap.used -= owner->used;
	if (owner->divided)
		join_held(owner);
	for (uint32_t i = 0; i < owner->count; i++) {
		struct rds_extent extent = owner->held[i].extent;
		/* nothing of a block's inside needs to be looked at, nor of what had none */
		bool whole = !owner->divided && rds_heap.image->map[extent.first] != RDS_FREE;

		memset(&rds_heap.index.chunk[extent.first], 0,
		       (owner->divided ? extent.length : 1) * sizeof(struct rds_chunk));
		rds_heap.used += whole ? extent.length : look_at(extent);
		rds_heap.used -= owner->held[i].before;
	}
	owner->in_use = false;
	owner->count = 0;
	owner->used = 0;
	owner->divided = false;
}

static bool is_open(rvm_tid_t *tid)
{
	return !rvm_check_tid(tid);
}

static bool settle_ended(void)
{
	bool all = true;

	for (uint32_t i = 0; i < rds_heap.owners; i++) {
		struct rds_owner *owner = &rds_heap.owner[i];

		if (!owner->in_use)
			continue;
		if (is_open(&owner->tid))
			all = false;
		else
			settle(owner);
	}
	return all;
}

static bool make_room(struct rds_owner *owner)
{
	struct rds_held *held;
	uint32_t room = owner->room ? 2 * owner->room : 16;

	if (owner->count < owner->room)
		return true;
	held = realloc(owner->held, room * sizeof(*held));
	if (!held)
		return false;
	owner->held = held;
	owner->room = room;
	return true;
}

struct rds_owner *rds_owner(const rvm_tid_t *tid)
{
	struct rds_owner *owner, *unused = NULL;

	for (owner = rds_heap.owner; owner < rds_heap.owner + rds_heap.owners; owner++) {
		if (!owner->in_use)
			unused = owner;
		else if (owner->tid.tid == tid->tid)
			return make_room(owner) ? owner : NULL;
	}
	if (!unused) {
		owner = realloc(rds_heap.owner, (rds_heap.owners + 1) * sizeof(*owner));
		if (!owner)
			return NULL;
		rds_heap.owner = owner;
		unused = &owner[rds_heap.owners++];
		memset(unused, 0, sizeof(*unused));
	}
	if (!make_room(unused))
		return NULL;
	unused->in_use = true;
	unused->tid = *tid;
	unused->freed = RDS_NONE;
	return unused;
}

static uint32_t number(const struct rds_owner *owner)
{
	return owner - rds_heap.owner;
}

bool rds_held(uint32_t first)
{
	return rds_heap.index.chunk[first].length & RDS_HELD;
}

bool rds_holds(const struct rds_owner *owner, uint32_t first)
{
	return rds_held(first) && rds_heap.index.chunk[first].back == number(owner);
}

static void mark(struct rds_owner *owner, uint32_t first)
{
	rds_heap.index.chunk[first].length = RDS_HELD;
	rds_heap.index.chunk[first].back = number(owner);
}

void rds_hold(struct rds_owner *owner, struct rds_extent extent, uint32_t before)
{
	owner->held[owner->count].extent = extent;
	owner->held[owner->count++].before = before;
	mark(owner, extent.first);
}

void rds_keep(struct rds_owner *owner, struct rds_extent extent)
{
	mark(owner, extent.first);
	rds_heap.index.chunk[extent.first].length |= extent.length;
	rds_heap.index.chunk[extent.first].next = owner->freed;
	owner->freed = extent.first;
}

static uint32_t reuse(struct rds_owner *owner, uint32_t length)
{
	struct rds_chunk *chunk = rds_heap.index.chunk;

	for (uint32_t *at = &owner->freed; *at != RDS_NONE; at = &chunk[*at].next) {
		uint32_t first = *at, have = chunk[first].length & ~RDS_HELD;

		if (have < length)
			continue;
		*at = chunk[first].next;
		mark(owner, first);
		owner->divided = true;
		if (have > length)
			rds_keep(owner, (struct rds_extent){ first + length, have - length });
		return first;
	}
	return RDS_NONE;
}

/* Join what it may use again with what of that follows it. */
static void join_freed(struct rds_owner *owner)
{
	struct rds_chunk *chunk = rds_heap.index.chunk;
	uint32_t *at, next;

	for (uint32_t first = owner->freed; first != RDS_NONE; first = chunk[first].next) {
		while (chunk[first].length) {
			next = first + (chunk[first].length & ~RDS_HELD);
			if (next == rds_heap.layout.chunks || !rds_holds(owner, next) ||
			    chunk[next].length == RDS_HELD)
				break;
			chunk[first].length += chunk[next].length & ~RDS_HELD;
			chunk[next].length = 0;
		}
	}
	for (at = &owner->freed; *at != RDS_NONE;) {
		if (chunk[*at].length) {
			at = &chunk[*at].next;
			continue;
		}
		next = chunk[*at].next;
		memset(&chunk[*at], 0, sizeof(*chunk));
		*at = next;
	}
}

uint32_t rds_reuse(struct rds_owner *owner, uint32_t length)
{
	uint32_t first = reuse(owner, length);

	if (first != RDS_NONE)
		return first;
	join_freed(owner);
	return reuse(owner, length);
}

/*
 * Calls
 */

int rds_lock(void)
{
	/* in a forked child the lock can be anyone's */
	rvm_return_t code = rvm_check_tid(NULL);

	if (code == RVM_EINIT)
		return code;
	pthread_mutex_lock(&rds_heap.lock);
	code = SUCCESS;
	if (!rds_heap.image)
		code = EHEAP_INIT;
	else
		settle_ended();
	if (!code && rds_heap.damaged)
		code = ECORRUPT;
	if (code)
		pthread_mutex_unlock(&rds_heap.lock);
	return code;
}

void rds_unlock(void)
{
	pthread_mutex_unlock(&rds_heap.lock);
}

static int locked(rvm_tid_t *tid, int (*fn)(rvm_tid_t *tid, void *context), void *context)
{
	int code = rds_lock();

	if (code)
		return code;
	code = fn(tid, context);
	rds_unlock();
	return code;
}

int rds_change(rvm_tid_t *tid, rvm_mode_t mode,
	       int (*fn)(rvm_tid_t *tid, void *context), void *context)
{
	rvm_tid_t own;
	int code;

	if (tid) {
		code = rvm_check_tid(tid);
		return code ? code : locked(tid, fn, context);
	}
	rvm_init_tid(&own);
	code = rvm_begin_transaction(&own, restore);
	if (code)
		return code;
	code = locked(&own, fn, context);
	if (!code)
		code = rvm_end_transaction(&own, mode);
	if (code)
		rvm_abort_transaction(&own);
	return code;
}

/*
 * Start and stop
 */

static int prepare(char *base)
{
	struct rds_layout layout;
	struct rds_image copy;
	bool open;
	int code;

	if (rds_heap.image)
		return EHEAP_INIT;
	if (!base || (uintptr_t)base % RDS_ALIGNMENT)
		return EBAD_ARGS;
	code = rds_mapped(base, sizeof(copy), &open);
	if (!code) {
		memcpy(&copy, base, sizeof(copy));
		code = rds_image_check(&copy, base, &layout);
	}
	if (!code)
		code = rds_mapped(base, copy.header.length, &open);
	if (code)
		return code;
	/* what they have changed here could not be told from what is committed */
	if (open)
		return RVM_EUNCOMMIT;
	rds_heap.layout = layout;
	rds_startaddr = base;
	rds_rvmsize = copy.header.length;
	return rds_index_init(&rds_heap.index, layout.chunks, layout.lists) ? SUCCESS :
		RVM_ENO_MEMORY;
}

int rds_open(char *base)
{
	int code;

	pthread_mutex_lock(&rds_heap.lock);
	code = prepare(base);
	if (!code) {
		rds_heap.image = (struct rds_image *)base;
		rds_heap.used = look_at((struct rds_extent){ 0, rds_heap.layout.chunks });
		memset(&rds_heap.stats, 0, sizeof(rds_heap.stats));
		if (rds_heap.damaged) {
			rds_index_free(&rds_heap.index);
			rds_heap.image = NULL;
			rds_heap.damaged = false;
			code = EBAD_LIST;
		}
	}
	pthread_mutex_unlock(&rds_heap.lock);
	return code;
}

int rds_close(void)
{
	int code = SUCCESS;

	pthread_mutex_lock(&rds_heap.lock);
	if (!rds_heap.image) {
		code = EHEAP_INIT;
	} else if (!settle_ended()) {
		code = RVM_EUNCOMMIT;
	} else {
		rds_index_free(&rds_heap.index);
		for (uint32_t i = 0; i < rds_heap.owners; i++)
			free(rds_heap.owner[i].held);
		free(rds_heap.owner);
		rds_heap.owner = NULL;
		rds_heap.owners = 0;
		rds_heap.image = NULL;
		rds_heap.damaged = false;
	}
	pthread_mutex_unlock(&rds_heap.lock);
	return code;
}
