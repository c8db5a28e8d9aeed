// SPDX-License-Identifier: GPL-2.0 OR MIT
/*
 * Transactions, from begin to end or abort.
 *
 * An open transaction has a slot, and its tid holds the slot's handle: the
 * slot's number and a generation that is different each time the slot is used.
 * Slots are never freed, so any value can be looked up, and a copy of a tid is
 * as good as the tid; an ended one is told by its generation.
 */
#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "lib/api.h"
#include "lib/region.h"
#include "lib/transaction.h"

struct slot {
	/* Held by every call on the transaction. */
	pthread_mutex_t lock;
	struct rvm_transaction *transaction;
	struct rvm_mapping *last;	/* the region of the last range */
	bool coalesce;
	struct rvm_rangeset declared;	/* addresses, if coalesce; */
	uint64_t ranges, bytes;		/* and what that was made of */
	struct rvm_mappings used;	/* see rvm_region_use; emptied under rvm_api.lock */

	/* Written under rvm_api.lock; `handle` is cleared under the slot's. */
	_Atomic uintptr_t handle;	/* 0: no transaction */
	uintptr_t generation;
	struct rvm_log *log;
	struct timeval uname;
	uint32_t number;		/* from 1 on */
	struct slot *next_free;
} __attribute__((aligned(64)));

#define NUMBER_BITS	(sizeof(uintptr_t) * 4)
#define NUMBER_MASK	(((uintptr_t)1 << NUMBER_BITS) - 1)
#define CHUNK_SLOTS	64
#define CHUNKS		1000	/* that many slots are numbers even in 16 bits */

/* Grows under rvm_api.lock; what is in it never moves. */
static struct slot *chunks[CHUNKS];
static _Atomic uint32_t slots;
static struct slot *free_slots;		/* under rvm_api.lock */

/*
 * While tracked regions are mapped: the one open transaction, and who began it.
 * Under rvm_api.lock.
 */
static struct slot *turn;
static pthread_t turn_taker;

static struct slot *slot_at(uint32_t index)
{
	return &chunks[index / CHUNK_SLOTS][index % CHUNK_SLOTS];
}

static void add_chunk(void)
{
	uint32_t first = slots;
	struct slot *chunk;

	if (first == CHUNKS * CHUNK_SLOTS)
		return;
	chunk = aligned_alloc(64, CHUNK_SLOTS * sizeof(*chunk));
	if (!chunk)
		return;
	memset(chunk, 0, CHUNK_SLOTS * sizeof(*chunk));
	for (uint32_t i = CHUNK_SLOTS; i-- > 0;) {
		pthread_mutex_init(&chunk[i].lock, NULL);
		rvm_rangeset_init(&chunk[i].declared);
		chunk[i].number = first + i + 1;
		chunk[i].next_free = free_slots;
		free_slots = &chunk[i];
	}
	chunks[first / CHUNK_SLOTS] = chunk;
	slots = first + CHUNK_SLOTS;
}

/* Now, but later than any that was given out before. */
static struct timeval unique_time(void)
{
	static struct timeval last;
	struct timespec coarse;
	struct timeval now;

	/* what it costs to ask a clock device would show in every transaction */
	clock_gettime(CLOCK_REALTIME_COARSE, &coarse);
	now.tv_sec = coarse.tv_sec;
	now.tv_usec = coarse.tv_nsec / 1000;
	if (!timercmp(&now, &last, >)) {
		const struct timeval step = { .tv_usec = 1 };

		timeradd(&last, &step, &now);
	}
	last = now;
	return now;
}

static rvm_return_t wait_for_turn(void)
{
	while (rvm_api.held || (rvm_api.tracked && turn)) {
		if (turn && pthread_equal(turn_taker, pthread_self()))
			return RVM_EUNCOMMIT;
		pthread_cond_wait(&rvm_api.turn_over, &rvm_api.lock);
	}
	return RVM_SUCCESS;
}

/* Take a free slot, and lock it. */
static rvm_return_t take_slot(struct slot **taken, struct rvm_log **log)
{
	struct slot *slot;
	rvm_return_t code;

	pthread_mutex_lock(&rvm_api.lock);
	code = wait_for_turn();
	if (code)
		goto out;
	*log = rvm_api_log();
	if (!rvm_api_ready()) {
		code = RVM_EINIT;
		goto out;
	}
	if (!*log) {
		code = RVM_ELOG;
		goto out;
	}
	if (!free_slots)
		add_chunk();
	slot = free_slots;
	if (!slot) {
		code = RVM_ENO_MEMORY;
		goto out;
	}
	free_slots = slot->next_free;
	++rvm_api.transactions;
	/* Only one with a stale tid can hold this, and not for long. */
	pthread_mutex_lock(&slot->lock);
	slot->generation += NUMBER_MASK + 1;
	slot->uname = unique_time();
	slot->log = *log;
	slot->coalesce = rvm_api.options.flags & RVM_COALESCE_RANGES;
	slot->ranges = 0;
	slot->bytes = 0;
	slot->handle = slot->generation | slot->number;
	if (rvm_api.tracked) {
		turn = slot;
		turn_taker = pthread_self();
	}
	*taken = slot;
out:
	pthread_mutex_unlock(&rvm_api.lock);
	return code;
}

/* The transaction in a locked slot is over. */
static void return_slot(struct slot *slot)
{
	rvm_rangeset_clear(&slot->declared);
	slot->transaction = NULL;
	slot->last = NULL;
	slot->handle = 0;
	pthread_mutex_unlock(&slot->lock);

	pthread_mutex_lock(&rvm_api.lock);
	rvm_region_release(&slot->used);
	slot->next_free = free_slots;
	free_slots = slot;
	--rvm_api.transactions;
	if (turn == slot) {
		turn = NULL;
		/* all: the first of them may fail to begin, and not pass it on */
		pthread_cond_broadcast(&rvm_api.turn_over);
	}
	pthread_mutex_unlock(&rvm_api.lock);
}

/* Find the slot of an open transaction. */
static rvm_return_t find(const rvm_tid_t *tid, struct slot **found)
{
	uintptr_t handle, index;

	if (!rvm_api_ready())
		return RVM_EINIT;
	if (!tid || tid->struct_id != rvm_tid_id)
		return RVM_ETID;
	handle = (uintptr_t)tid->tid;
	index = (handle & NUMBER_MASK) - 1;
	if (index >= slots)
		return RVM_ETID;
	*found = slot_at(index);
	return (*found)->handle == handle ? RVM_SUCCESS : RVM_ETID;
}

/* Find and lock it. */
static rvm_return_t hold(const rvm_tid_t *tid, struct slot **held)
{
	struct slot *slot;
	rvm_return_t code = find(tid, &slot);

	if (code)
		return code;
	pthread_mutex_lock(&slot->lock);
	if (slot->handle != (uintptr_t)tid->tid) {
		pthread_mutex_unlock(&slot->lock);
		return RVM_ETID;
	}
	*held = slot;
	return RVM_SUCCESS;
}

rvm_return_t rvm_check_tid(const rvm_tid_t *tid)
{
	struct slot *slot;

	return find(tid, &slot);
}

static void let_go(struct slot *slot)
{
	pthread_mutex_unlock(&slot->lock);
}

rvm_return_t rvm_begin_transaction(rvm_tid_t *tid, rvm_mode_t mode)
{
	struct rvm_log *log;
	struct slot *slot;
	rvm_return_t code;

	if (!rvm_api_ready())
		return RVM_EINIT;
	if (!tid || tid->struct_id != rvm_tid_id)
		return RVM_ETID;
	if (mode != restore && mode != no_restore)
		return RVM_EMODE;
	rvm_call_site = __builtin_return_address(0);
	code = take_slot(&slot, &log);
	if (code)
		return code;
	code = log->engine->begin(log, mode == restore, &slot->transaction);
	if (code) {
		return_slot(slot);
		return code;
	}
	tid->uname = slot->uname;
	tid->tid = (void *)slot->handle;
	let_go(slot);
	return RVM_SUCCESS;
}

static const struct rvm_engine *engine_of(const struct slot *slot)
{
	return slot->transaction->log->engine;
}

struct gap {
	struct slot *slot;
	rvm_return_t code;
};

static int declare_gap(void *context, u64 start, u64 length)
{
	struct gap *gap = context;
	struct slot *slot = gap->slot;

	gap->code = engine_of(slot)->set_range(slot->transaction, slot->last->region,
					       (char *)(uintptr_t)start, length);
	return gap->code;
}

/* Only the bytes that were not declared before go to the engine. */
static rvm_return_t declare_new(struct slot *slot, uintptr_t start, uint64_t length)
{
	struct gap gap = { .slot = slot };
	int err = rvm_rangeset_add(&slot->declared, start, length, declare_gap, &gap);

	if (!err) {
		slot->ranges++;
		slot->bytes += length;
		return RVM_SUCCESS;
	}
	if (gap.code)
		return gap.code;
	return err == -ENOMEM ? RVM_ENO_MEMORY : RVM_EINTERNAL;
}

static bool in_mapping(const struct rvm_mapping *mapping, uintptr_t start, uint64_t length)
{
	return mapping && start >= mapping->start && start < mapping->end &&
	       length <= mapping->end - start;
}

static rvm_return_t prepare(struct slot *slot, void *dest, uint64_t length)
{
	const struct rvm_engine *engine = engine_of(slot);

	if (!engine->prepare)
		return RVM_SUCCESS;
	return engine->prepare(slot->transaction, slot->last->region, dest, length);
}

static rvm_return_t set_range(struct slot *slot, void *dest, uint64_t length)
{
	uintptr_t start = (uintptr_t)dest;

	if (!length && slot->coalesce)
		return RVM_SUCCESS;
	if (!in_mapping(slot->last, start, length)) {
		struct rvm_mapping *mapping = rvm_mappings_find(&slot->used, start);

		if (!mapping) {
			rvm_return_t code = rvm_region_use(slot->transaction->log, &slot->used,
							   start, length, &mapping);
			if (code || !length)
				return code;
		} else if (!in_mapping(mapping, start, length)) {
			return RVM_ENOT_MAPPED;
		}
		slot->last = mapping;
	}
	if (!length)
		return RVM_SUCCESS;
	if (rvm_tracked(&slot->last->region->tracking))
		return prepare(slot, dest, length);
	if (slot->coalesce)
		return declare_new(slot, start, length);
	return engine_of(slot)->set_range(slot->transaction, slot->last->region, dest, length);
}

rvm_return_t rvm_set_range(rvm_tid_t *tid, void *dest, rvm_length_t length)
{
	struct slot *slot;
	rvm_return_t code = hold(tid, &slot);

	if (code)
		return code;
	code = set_range(slot, dest, length);
	let_go(slot);
	return code;
}

rvm_return_t rvm_modify_bytes(rvm_tid_t *tid, void *dest, const void *src, rvm_length_t length)
{
	struct slot *slot;
	rvm_return_t code = hold(tid, &slot);

	if (code)
		return code;
	if (length && (!src || (uintptr_t)src > -length))
		code = RVM_ESRC;
	else
		code = set_range(slot, dest, length);
	if (!code && length)
		memmove(dest, src, length);
	let_go(slot);
	return code;
}

rvm_return_t rvm_end_transaction(rvm_tid_t *tid, rvm_mode_t mode)
{
	struct slot *slot;
	rvm_return_t code;

	if (!rvm_api_ready())
		return RVM_EINIT;
	if (mode != flush && mode != no_flush)
		return RVM_EMODE;
	code = hold(tid, &slot);
	if (code)
		return code;
	rvm_call_site = __builtin_return_address(0);
	slot->transaction->merged_ranges = slot->ranges - slot->declared.ranges;
	slot->transaction->merged_bytes = slot->bytes - slot->declared.bytes;
	code = engine_of(slot)->end(slot->transaction, mode == flush);
	if (code == RVM_ETOO_BIG || code == RVM_EUNDECLARED)
		let_go(slot);
	else
		return_slot(slot);
	return code;
}

rvm_return_t rvm_abort_transaction(rvm_tid_t *tid)
{
	struct slot *slot;
	rvm_return_t code = hold(tid, &slot);

	if (code)
		return code;
	code = engine_of(slot)->abort(slot->transaction);
	return_slot(slot);
	return code;
}

void rvm_transaction_list(const struct rvm_mapping *mapping,
			  void (*fn)(void *context, const rvm_tid_t *tid), void *context)
{
	for (uint32_t i = 0; i < slots; i++) {
		struct slot *slot = slot_at(i);
		rvm_tid_t tid;

		rvm_init_tid(&tid);
		tid.tid = (void *)slot->handle;
		if (!tid.tid)
			continue;
		if (mapping && rvm_mappings_find(&slot->used, mapping->start) != mapping)
			continue;
		tid.uname = slot->uname;
		fn(context, &tid);
	}
}

unsigned long rvm_transaction_count(const struct rvm_log *log)
{
	unsigned long n = 0;

	for (uint32_t i = 0; i < slots; i++)
		n += slot_at(i)->handle && slot_at(i)->log == log;
	return n;
}

rvm_return_t rvm_flush(void)
{
	struct rvm_log *log;
	rvm_return_t code = rvm_api_enter(&log);

	if (code)
		return code;
	code = log->engine->flush(log);
	rvm_api_leave();
	return code;
}

rvm_return_t rvm_truncate(void)
{
	struct rvm_log *log;
	rvm_return_t code = rvm_api_enter(&log);

	if (code)
		return code;
	code = log->engine->truncate(log);
	rvm_api_leave();
	return code;
}
