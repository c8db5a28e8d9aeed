/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Commit: a transaction's new values go to the log and into the committed images.
 */
#ifndef RVM_COMMIT_H
#define RVM_COMMIT_H

#include <linux/types.h>

struct rvm_log;

struct rvm_piece;

/* The piece's present bytes are the committed ones, by the record at this position. */
void rvm_commit_piece(const struct rvm_piece *piece, u64 position, u64 sequence);

/* Append them, as a range of the record that has been begun. */
void rvm_commit_append(struct rvm_log *log, const struct rvm_piece *piece);

int rvm_commit(struct rvm_log *log, u32 area, bool flush, u64 *sequence);

#endif
