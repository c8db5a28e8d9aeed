// SPDX-License-Identifier: GPL-2.0 OR MIT
/*
 * Open transactions: their ranges and saved bytes.
 *
 * Restoring happens under log->lock, as capturing does: between a commit's
 * capture and its patching of saved bytes nobody can restore older ones.  And
 * saving happens under the transaction's own lock, which patching takes: what
 * is saved was either there to be patched, or is read after the capture.
 */
#include <stdlib.h>
#include <string.h>

#include "lib/user_tracking.h"

#define FIRST_RANGES	16
#define FIRST_CHUNK	(4096 - sizeof(struct user_chunk))
#define MORE_CHUNK	((64u << 10) - sizeof(struct user_chunk))
#define KEPT_RANGES	4096

static bool chunk_add(struct user_transaction *t, u64 length)
{
	u64 size = !t->chunk ? FIRST_CHUNK : length > MORE_CHUNK ? length : MORE_CHUNK;
	struct user_chunk *c = malloc(sizeof(*c) + size);

	if (!c)
		return false;
	c->next = t->chunk;
	c->used = 0;
	c->size = size;
	t->chunk = c;
	return true;
}

static bool ranges_resize(struct user_transaction *t, u64 capacity)
{
	struct user_range *r = realloc(t->ranges, capacity * sizeof(*r));

	if (!r)
		return false;
	t->ranges = r;
	t->capacity = capacity;
	return true;
}

static void transaction_free(struct user_transaction *t)
{
	struct user_chunk *c;

	while ((c = t->chunk)) {
		t->chunk = c->next;
		free(c);
	}
	free(t->ranges);
	free(t->groups);
	free(t);
}

static struct user_transaction *transaction_new(struct user_log *log)
{
	struct user_transaction *t = calloc(1, sizeof(*t));

	if (!t)
		return NULL;
	t->base.log = &log->base;
	t->log = log;
	if (!ranges_resize(t, FIRST_RANGES) || !chunk_add(t, 0)) {
		transaction_free(t);
		return NULL;
	}
	return t;
}

static void list_add(struct user_transaction **list, struct user_transaction *t)
{
	t->next = *list;
	t->link = list;
	if (t->next)
		t->next->link = &t->next;
	*list = t;
}

static void list_remove(struct user_transaction *t)
{
	*t->link = t->next;
	if (t->next)
		t->next->link = t->link;
}

static bool has_tracks(const struct user_log *log)
{
	return __atomic_load_n(&log->tracks, __ATOMIC_RELAXED);
}

rvm_return_t user_begin(struct rvm_log *base, bool restore, struct rvm_transaction **transaction)
{
	struct user_log *log = user_log_of(base);
	rvm_return_t code = has_tracks(log) ? user_tracking_begin(log) : RVM_SUCCESS;
	struct user_transaction *t;

	if (code)
		return code;
	pthread_mutex_lock(&log->lock);
	t = log->free_transactions;
	if (t) {
		list_remove(t);
	} else {
		pthread_mutex_unlock(&log->lock);
		t = transaction_new(log);
		if (!t) {
			if (has_tracks(log))
				user_tracking_end(log);
			return RVM_ENO_MEMORY;
		}
		pthread_mutex_lock(&log->lock);
	}
	t->base.restore = restore;
	t->count = 0;
	t->grouped = 0;
	t->pieces = 0;
	t->length = RVM_RECORD_MIN;
	t->low = (char *)UINTPTR_MAX;
	t->high = t->end = NULL;
	list_add(&log->open_transactions, t);
	pthread_mutex_unlock(&log->lock);
	*transaction = &t->base;
	return RVM_SUCCESS;
}

static char *save(struct user_transaction *t, char *address, u64 length)
{
	struct user_chunk *c = t->chunk;
	char *undo;

	if (length > c->size - c->used) {
		if (!chunk_add(t, length))
			return NULL;
		c = t->chunk;
	}
	undo = c->data + c->used;
	c->used += length;
	if (address < t->low)
		t->low = address;
	if (address + length > t->high)
		t->high = address + length;
	memcpy(undo, address, length);
	return undo;
}

/* Often a range continues the one before: then it is the same range. */
static bool extend_last(struct user_transaction *t, struct rvm_region *region, const char *undo,
			u64 length)
{
	struct user_range *last = &t->ranges[t->count - 1];

	if (&last->region->base != region || last->length + length > USER_PIECE ||
	    (undo && last->undo + last->length != undo))
		return false;
	t->length += rvm_align8(last->length + length) - rvm_align8(last->length);
	last->length += length;
	return true;
}

static bool add_range(struct user_transaction *t, struct rvm_region *region, char *address,
		      u64 length, bool saving)
{
	struct user_range *r;
	char *undo = NULL;
	u64 pieces = 1;

	if (t->count == t->capacity && !ranges_resize(t, t->capacity * 2))
		return false;
	if (saving) {
		undo = save(t, address, length);
		if (!undo)
			return false;
	}
	if (address == t->end && extend_last(t, region, undo, length)) {
		t->end += length;
		return true;
	}
	r = &t->ranges[t->count++];
	r->region = (struct user_region *)region;
	r->address = address;
	r->length = length;
	r->undo = undo;
	t->end = address + length;
	if (length > USER_PIECE)
		pieces = (length + USER_PIECE - 1) / USER_PIECE;
	t->pieces += pieces;
	t->length += pieces * sizeof(struct rvm_range_header) + rvm_align8(length);
	return true;
}

rvm_return_t user_set_range(struct rvm_transaction *transaction, struct rvm_region *region,
			    char *address, uint64_t length)
{
	struct user_transaction *t = (struct user_transaction *)transaction;
	bool added;

	if (!length)
		return RVM_SUCCESS;
	user_lock(&t->lock);
	added = add_range(t, region, address, length, t->base.restore);
	user_unlock(&t->lock);
	return added ? RVM_SUCCESS : RVM_ENO_MEMORY;
}

bool user_transaction_add(struct user_transaction *t, struct user_region *region, char *address,
			  u64 length)
{
	bool added;

	user_lock(&t->lock);
	added = add_range(t, &region->base, address, length, false);
	user_unlock(&t->lock);
	return added;
}

rvm_return_t user_prepare(struct rvm_transaction *transaction, struct rvm_region *region,
			  char *address, uint64_t length)
{
	(void)transaction;
	return user_tracking_prepare((struct user_region *)region, address, length);
}

static void patch_ranges(const struct user_range *r, const struct user_range *end,
			 const char *address, const char *data, u64 length)
{
	for (; r < end; r++) {
		const char *from = address > r->address ? address : r->address;
		const char *to = address + length < r->address + r->length ?
				 address + length : r->address + r->length;

		if (from < to)
			memcpy(r->undo + (from - r->address), data + (from - address), to - from);
	}
}

/*
 * Bring the bounds of full groups up to date, so that a long transaction does
 * not cost each commit a look at all its ranges.  The last range can still
 * grow, so its group isn't full.
 */
static void make_groups(struct user_transaction *o)
{
	while ((o->grouped + 1) * USER_GROUP < o->count) {
		const struct user_range *r = o->ranges + o->grouped * USER_GROUP;
		const struct user_range *end = r + USER_GROUP;
		struct user_group group = { r->address, r->address };

		if (o->grouped == o->group_capacity) {
			u64 capacity = o->group_capacity * 2 + 16;
			void *p = realloc(o->groups, capacity * sizeof(*o->groups));

			if (!p)
				return;
			o->groups = p;
			o->group_capacity = capacity;
		}
		for (; r < end; r++) {
			if (r->address < group.low)
				group.low = r->address;
			if (r->address + r->length > group.high)
				group.high = r->address + r->length;
		}
		o->groups[o->grouped++] = group;
	}
}

static void patch_one(struct user_transaction *o, const char *address, const char *data, u64 length)
{
	u64 i;

	if (address >= o->high || address + length <= o->low)
		return;
	for (i = 0; i < o->grouped; i++)
		if (address < o->groups[i].high && address + length > o->groups[i].low)
			patch_ranges(o->ranges + i * USER_GROUP, o->ranges + (i + 1) * USER_GROUP,
				     address, data, length);
	patch_ranges(o->ranges + i * USER_GROUP, o->ranges + o->count, address, data, length);
}

/*
 * t's ranges stand in record with the bytes that it commits: so that an abort
 * of another transaction doesn't bring back older ones.
 */
void user_transaction_patch(struct user_transaction *t, const char *record)
{
	struct user_transaction *o;

	for (o = t->log->open_transactions; o; o = o->next) {
		const char *at = record + sizeof(struct rvm_record_header);
		u64 i;

		if (o == t || !o->base.restore)
			continue;
		user_lock(&o->lock);
		make_groups(o);
		for (i = 0; i < t->count; i++) {
			const char *address = t->ranges[i].address;
			u64 left = t->ranges[i].length;

			while (left) {
				u64 piece = left < USER_PIECE ? left : USER_PIECE;

				at += sizeof(struct rvm_range_header);
				patch_one(o, address, at, piece);
				at += rvm_align8(piece);
				address += piece;
				left -= piece;
			}
		}
		user_unlock(&o->lock);
	}
}

void user_transaction_undo(struct user_transaction *t)
{
	u64 i;

	if (!t->base.restore)
		return;
	for (i = t->count; i-- > 0; )
		if (t->ranges[i].undo)
			memcpy(t->ranges[i].address, t->ranges[i].undo, t->ranges[i].length);
}

void user_transaction_retire(struct user_transaction *t)
{
	struct user_chunk *c;

	list_remove(t);
	while ((c = t->chunk)->next) {
		t->chunk = c->next;
		free(c);
	}
	c->used = 0;
	if (t->capacity > KEPT_RANGES)
		ranges_resize(t, FIRST_RANGES);
	list_add(&t->log->free_transactions, t);
}

/* What was collected is looked for anew by the next end. */
static rvm_return_t end_tracked(struct user_transaction *t, bool flush)
{
	u64 count = t->count, length = t->length, pieces = t->pieces;
	char *end = t->end;
	rvm_return_t code = user_tracking_collect(t);

	if (!code)
		code = user_log_commit(t, flush);
	else if (code == RVM_ENO_MEMORY)
		user_abort(&t->base);
	if (code != RVM_ETOO_BIG && code != RVM_EUNDECLARED) {
		user_tracking_end(t->log);
		return code;
	}
	t->count = count;
	t->length = length;
	t->pieces = pieces;
	t->end = end;
	return code;
}

rvm_return_t user_end(struct rvm_transaction *transaction, bool flush)
{
	struct user_transaction *t = (struct user_transaction *)transaction;

	return has_tracks(t->log) ? end_tracked(t, flush) : user_log_commit(t, flush);
}

rvm_return_t user_abort(struct rvm_transaction *transaction)
{
	struct user_transaction *t = (struct user_transaction *)transaction;
	struct user_log *log = t->log;

	pthread_mutex_lock(&log->lock);
	user_transaction_undo(t);
	if (has_tracks(log))
		user_tracking_undo(log);
	user_transaction_retire(t);
	log->counts.aborts++;
	pthread_mutex_unlock(&log->lock);
	if (has_tracks(log))
		user_tracking_end(log);
	return RVM_SUCCESS;
}

void user_transaction_free_all(struct user_log *log)
{
	struct user_transaction *t;

	while ((t = log->open_transactions) || (t = log->free_transactions)) {
		list_remove(t);
		transaction_free(t);
	}
}
