/* SPDX-License-Identifier: GPL-2.0 OR MIT */
/*
 * Where in a heap there is room: lists of free extents by length, in memory that
 * is not recoverable.  It is made of the map when a heap is started.
 *
 * Extents shorter than `exact` chunks have a list for each length.  Longer ones
 * share lists, eight for each power of two.  A bitmap says which have any, so
 * neither adding nor taking depends on how many there are.
 */
#ifndef RVM_LIB_RDS_INDEX_H
#define RVM_LIB_RDS_INDEX_H

#include <stdbool.h>
#include <stdint.h>

#define RDS_NONE	UINT32_MAX
#define RDS_HELD	0x80000000u

/* One for each chunk of the heap; all zero if there is nothing to say. */
struct rds_chunk {
	/*
	 * Of the first chunk of a free extent: its length.  With RDS_HELD, of the
	 * first of a block or extent that belongs to an open transaction.
	 */
	uint32_t length;
	uint32_t back;		/* of the last chunk of a free extent: its length; held: by whom */
	uint32_t next, prev;	/* first chunks of others in the list, which is a ring */
};

struct rds_index {
	struct rds_chunk *chunk;
	uint32_t chunks;
	uint32_t exact;
	uint32_t bins;
	uint32_t *head;		/* the first extent of each list, or RDS_NONE */
	uint64_t *any;		/* a bit for each list that is not empty */
	uint32_t large;		/* extents in lists of several lengths */
	bool unmerged;		/* there may be neighbours that are not one extent */
};

/* False: no memory. */
bool rds_index_init(struct rds_index *index, uint32_t chunks, uint32_t lists);
void rds_index_free(struct rds_index *index);

/* Add a free extent, with the free ones beside it: how many those were, 0 to 2. */
unsigned int rds_index_add(struct rds_index *index, uint32_t first, uint32_t length);

/* Add it as it is. */
void rds_index_add_alone(struct rds_index *index, uint32_t first, uint32_t length);

/*
 * Take that many chunks out: the first one's number, or RDS_NONE.  What was cut
 * off stays free.  *cut: it came of a longer extent.
 */
uint32_t rds_index_take(struct rds_index *index, uint32_t length, bool *cut);

/* Join what add_alone left apart: how many extents have become part of another. */
unsigned int rds_index_merge(struct rds_index *index);

#endif
