/* SPDX-License-Identifier: GPL-2.0 OR MIT */
/* The table of mapped regions, and which of them a transaction has ranges in. */
#ifndef RVM_LIB_REGION_H
#define RVM_LIB_REGION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "lib/engine.h"

struct rvm_mapping {
	uintptr_t start, end;		/* in memory; end is not rounded to pages */
	struct rvm_region *region;
	struct rvm_log *log;
	bool device;
	dev_t dev;			/* of the segment's file, or the device itself */
	ino_t ino;
	bool leaving;			/* being unmapped: not found any more */
};

/* Mappings in order of their addresses. */
struct rvm_mappings {
	struct rvm_mapping **at;
	size_t count, room;
};

/* The one that holds an address, or NULL. */
struct rvm_mapping *rvm_mappings_find(const struct rvm_mappings *mappings, uintptr_t address);

/*
 * Find the mapping, of that log, that holds the whole of [start, start + length),
 * and keep it from being unmapped until rvm_region_release: RVM_ENOT_MAPPED, RVM_ENO_MEMORY.
 * With length 0 only find it: there is nothing to keep it for.
 * `used` is what the transaction uses so far, and grows.
 */
rvm_return_t rvm_region_use(const struct rvm_log *log, struct rvm_mappings *used,
			    uintptr_t start, uint64_t length, struct rvm_mapping **mapping);
void rvm_region_release(struct rvm_mappings *used);

/* Says which segment and where in it an address is, for messages: `to`. */
#define RVM_REGION_PLACE_MAX	4200
const char *rvm_region_place(uintptr_t address, char *to, size_t size);

/*
 * Check a record, and find the mapping that holds it.  Call with region_lock
 * held, in either way.  RVM_EREGION, RVM_ENOT_MAPPED.
 */
rvm_return_t rvm_region_find(const rvm_region_t *region, struct rvm_mapping **mapping);

/* Keep the table as it is, the sets `used` of all transactions included. */
void rvm_region_freeze(void);
void rvm_region_thaw(void);

/* Forget all mappings, whose regions were closed with their log. */
void rvm_region_forget(void);

#endif
