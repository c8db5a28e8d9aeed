/* SPDX-License-Identifier: GPL-2.0 OR MIT */
/*
 * The heap that is started, and the transactions that are at work in it.
 *
 * RDS is not told how a transaction ends: rvm_end_transaction and
 * rvm_abort_transaction know nothing of heaps.  So each open transaction that
 * changed the heap has an owner here, with the blocks that it allocated or
 * freed.  Nobody else gets those.  The next call after it has ended looks at what
 * the map then says of them, which is right for commit and abort alike.
 */
#ifndef RVM_LIB_RDS_HEAP_H
#define RVM_LIB_RDS_HEAP_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include <rvm/rds.h>
#include <rvm/rvm_engine.h>
#include <rvm/rvm_segment.h>

#include "lib/rds_image.h"
#include "lib/rds_index.h"

/* What an open transaction holds, and how much of it was in blocks before. */
struct rds_held {
	struct rds_extent extent;
	uint32_t before;
};

struct rds_owner {
	bool in_use;
	rvm_tid_t tid;
	struct rds_held *held;
	uint32_t count, room;
	uint32_t freed;			/* extents that it alone may use again: a list by next */
	bool divided;			/* it did: what it holds need not be one block each */
	int64_t used;			/* what it added to rds_heap.used, in chunks */
};

struct rds_heap {
	/*
	 * Everything below it.  Never held over begin, end or abort of a
	 * transaction, which can wait for one that waits for the lock.
	 */
	pthread_mutex_t lock;
	struct rds_image *image;	/* NULL: none is started */
	struct rds_layout layout;
	struct rds_index index;
	bool damaged;			/* the map was, after the start */
	struct rds_owner *owner;
	uint32_t owners;
	uint64_t used;			/* chunks in blocks */
	rds_stats_t stats;		/* but for what is computed when asked for */
};

extern struct rds_heap rds_heap;

/* Put a code where the caller wants it: what an int call returns. */
int rds_result(int *err, int code);

/*
 * Lock the heap, and take notice of transactions that have ended: RVM_EINIT,
 * EHEAP_INIT or ECORRUPT (and it is not locked), or SUCCESS.
 */
int rds_lock(void);
void rds_unlock(void);

/*
 * Call fn, the heap locked, in the transaction tid, or with NULL in one of its
 * own, which is then committed in that mode.
 */
int rds_change(rvm_tid_t *tid, rvm_mode_t mode,
	       int (*fn)(rvm_tid_t *tid, void *context), void *context);

/*
 * The transaction's owner, with room for one more that it holds; NULL: no
 * memory.  The pointer is good until the next call.
 */
struct rds_owner *rds_owner(const rvm_tid_t *tid);

/* Does any open transaction hold the extent that begins there; does this one? */
bool rds_held(uint32_t first);
bool rds_holds(const struct rds_owner *owner, uint32_t first);

/* It has changed this extent, of which `before` chunks were in a block. */
void rds_hold(struct rds_owner *owner, struct rds_extent extent, uint32_t before);

/* It freed this, which it holds; and wants to use that many chunks of such again. */
void rds_keep(struct rds_owner *owner, struct rds_extent extent);
uint32_t rds_reuse(struct rds_owner *owner, uint32_t length);

/*
 * Are those bytes in a mapped region?  RVM_ENOT_MAPPED, or SUCCESS, and whether
 * open transactions have ranges in the region.
 */
int rds_mapped(const char *start, uint64_t length, bool *open);

/* Start the heap at that address; stop it.  One at a time. */
int rds_open(char *base);
int rds_close(void);

/* Which block is the data at that address of?  As rds_free; the heap is locked. */
int rds_check_block(const char *address, struct rds_extent *block);

/* Free it; for rds_change. */
int rds_free_block(rvm_tid_t *tid, void *address);

/* Zero recoverable bytes, in that transaction or with NULL in many small ones. */
int rds_zero(rvm_tid_t *tid, char *start, const char *end);

#endif
