/* SPDX-License-Identifier: GPL-2.0 OR MIT */
/*
 * Gathering what goes to the segments by pages, so that many small ranges cost
 * a few writes.  What is added later lies on top.
 */
#ifndef RVM_LIB_USER_GATHER_H
#define RVM_LIB_USER_GATHER_H

#include "lib/user.h"

struct user_gather {
	struct user_log *log;
	char *data;		/* what was added, one after the other */
	size_t used, capacity;
	struct gather_piece *pieces;
	u32 piece_count, piece_capacity;
	struct gather_page *pages;
	u32 page_count;		/* as many pages as pieces fit */
	u32 *heads;		/* hash table of pages: index + 1 */
	u32 mask;
	char *images;		/* of pages in the write that is being put together */
	bool read_ahead;	/* nothing of the pages is in memory yet */
	u64 write_ns;		/* that writing took */
};

/* `length`: of the log that is to be applied. 0 or -ENOMEM. */
int user_gather_init(struct user_gather *gather, struct user_log *log, u64 length);
void user_gather_free(struct user_gather *gather);

/* A write that fails is noted in segment->failure, and then no more are made to it. */
void user_gather_add(struct user_gather *gather, struct user_segment *segment, u64 offset,
		     const void *data, u32 length);
/* Write all that was added. */
void user_gather_flush(struct user_gather *gather);

#endif
