/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Commit: a transaction's new values go to the log and into the committed images.
 */
#ifndef RVM_COMMIT_H
#define RVM_COMMIT_H

#include "module/area.h"
#include "module/image.h"
#include "module/log.h"
#include "module/segment.h"

/*
 * The piece's present bytes are the committed ones, by the record at this position.
 * Memory is read once, and the log gets it from the image: what is logged is what
 * is committed, whoever stores meanwhile.
 */
static inline void rvm_commit_piece(const struct rvm_piece *piece, u64 position, u64 sequence)
{
	struct rvm_image *image = piece->image;

	memcpy(rvm_image_committed(image) + piece->offset,
	       rvm_image_current(image) + piece->offset, piece->length);
	rvm_image_logged(image, position, sequence);
}

/* Append them, as a range of the record that has been begun. */
static inline void rvm_commit_append(struct rvm_log *log, const struct rvm_piece *piece)
{
	struct rvm_image *image = piece->image;
	void *committed = rvm_image_committed(image) + piece->offset;
	u32 padding = -piece->length & 7;
	struct rvm_range_header header;
	u64 zero = 0;

	rvm_range_header_init(&header, image->segment->id,
			      ((u64)image->index << PAGE_SHIFT) + piece->offset, piece->length);
	rvm_log_append(log, &header, sizeof(header));
	rvm_log_append(log, committed, piece->length);
	if (padding)
		rvm_log_append(log, &zero, padding);
}

int rvm_commit(struct rvm_log *log, u32 area, u32 flags, u64 *sequence,
	       struct rvm_findings *findings);

#endif
