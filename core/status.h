/* SPDX-License-Identifier: GPL-2.0 OR MIT */
/*
 * The status block: where the live log begins, and the dictionary of segments.
 * Decode checks everything; encode makes a slot ready to write.
 */
#ifndef RVM_CORE_STATUS_H
#define RVM_CORE_STATUS_H

#include "core/format.h"

struct rvm_status {
	u64 generation;
	u64 log_id;
	u64 incarnation;
	u64 area_length;
	u64 head;
	u64 head_sequence;
	u64 start;
	u64 start_sequence;
	u64 created;
	u32 next_segment;
	u32 segments;		/* entries in dict */
	u32 dict_used;		/* bytes of dict in use, in on-disk form */
	u8 dict[RVM_DICT_MAX];
};

/* A fresh log's status: empty, generation 0 (written as 1), sequence 1. */
void rvm_status_init(struct rvm_status *s, u64 log_id, u64 area_length, u64 created);

/*
 * Decode one slot of RVM_STATUS_SIZE bytes, aligned to 8.  0, or (and then *s
 * means nothing)
 * -EINVAL           this is no RVM log (magic)
 * -EPROTONOSUPPORT  a log of another format version
 * -EUCLEAN          damaged: checksum, lengths or dictionary are wrong
 */
int rvm_status_decode(struct rvm_status *s, const void *slot);

/* What slot i, 0 or 1, says that its generation is: it may be damaged, or no status. */
u64 rvm_status_generation(const void *slots, int i);

/*
 * Decode the slot that counts of the two, which lie one after the other.  A
 * status counts only in the slot that rvm_status_offset() gives for it.
 * Errors as above; if none is valid, the "nearest" error: damaged before
 * other version before no log.
 */
int rvm_status_choose(struct rvm_status *s, const void *slots);

/*
 * Encode into a slot of RVM_STATUS_SIZE bytes, whose unused part is zeroed.
 * The generation is raised first (in *s too).  Returns the bytes in use; write
 * them, rounded up to whole blocks, at rvm_status_offset(s).
 */
u32 rvm_status_encode(struct rvm_status *s, void *slot);

/* File offset of the slot that generation s->generation goes to. */
static inline u64 rvm_status_offset(const struct rvm_status *s)
{
	return (s->generation & 1) * RVM_STATUS_SIZE;
}

struct rvm_dict_entry {
	u32 id;
	u32 name_length;
	const char *name;	/* into the status, not 0-terminated */
};

/*
 * Iterate: start with *cursor = 0; true while there is an entry.
 * The dictionary must not change in between.
 */
bool rvm_dict_next(const struct rvm_status *s, u32 *cursor, struct rvm_dict_entry *e);

/* The id of a name, or 0. */
u32 rvm_dict_find(const struct rvm_status *s, const char *name, u32 name_length);

/*
 * Add an absolute name.  0, -ENAMETOOLONG (0 or > RVM_NAME_MAX bytes), -EINVAL
 * (does not begin with '/', or has a 0 in it), -EEXIST, or -ENOSPC (the
 * dictionary is full).
 */
int rvm_dict_add(struct rvm_status *s, const char *name, u32 name_length, u32 *id);

/* Remove an entry; does nothing if it is not there. */
void rvm_dict_remove(struct rvm_status *s, u32 id);

#endif
