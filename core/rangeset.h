/* SPDX-License-Identifier: GPL-2.0 OR MIT */
/*
 * A set of bytes, kept as disjoint ranges in order; neighbours merge.  Adding
 * tells which bytes were new: so a transaction declares each byte once
 * (intra-transaction optimization), and a reader that goes through a log newest
 * first applies each byte once (redo merge).  Our engines redo oldest first into
 * whole pages, which writes each page once: lib/user_apply.c, module/recover.c.
 */
#ifndef RVM_CORE_RANGESET_H
#define RVM_CORE_RANGESET_H

#include "core/port.h"

struct rvm_rangeset {
	void *root;		/* private */
	u64 ranges;		/* how many disjoint ranges */
	u64 bytes;		/* how many bytes in all */
};

void rvm_rangeset_init(struct rvm_rangeset *set);
void rvm_rangeset_clear(struct rvm_rangeset *set);

/*
 * Add [start, start + length).  fn (may be NULL) is called in ascending order
 * for each maximal run of bytes that was not in the set.  All memory is
 * allocated before fn is first called.  0, -ENOMEM or -EOVERFLOW (nothing was
 * changed), or fn's first non-zero return: then the set is unchanged too, and
 * the caller undoes what its fn did.  Cost: O(log n) and what is merged away.
 */
typedef int (*rvm_gap_fn)(void *context, u64 start, u64 length);
int rvm_rangeset_add(struct rvm_rangeset *set, u64 start, u64 length,
		     rvm_gap_fn fn, void *context);

/* Is any byte of [start, start + length) in the set? */
bool rvm_rangeset_overlaps(const struct rvm_rangeset *set, u64 start, u64 length);

/*
 * The first range that ends after `from`, clipped to begin no earlier than
 * `from`: true and *start, *length.  For iterating and for intersections.
 */
bool rvm_rangeset_next(const struct rvm_rangeset *set, u64 from, u64 *start, u64 *length);

#endif
