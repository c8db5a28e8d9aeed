/* SPDX-License-Identifier: GPL-2.0 OR MIT */
/*
 * The on-disk format: what a log consists of, byte by byte.  docs/format.md
 * explains it to a reader who has only the disk.
 *
 * A log is two status slots and a circular record area:
 *
 *   0        status slot 0   RVM_STATUS_SIZE bytes
 *   64 KiB   status slot 1   RVM_STATUS_SIZE bytes
 *   128 KiB  record area     area_length bytes, a multiple of 4096
 *
 * A *position* counts bytes ever appended to the log.  It never wraps; byte
 * `position` stands at file offset RVM_AREA_START + position % area_length.
 * A record may therefore continue from the area's end at its start.
 *
 * Everything is little-endian.  All lengths in a record are multiples of 8.
 */
#ifndef RVM_CORE_FORMAT_H
#define RVM_CORE_FORMAT_H

#include "core/port.h"

#define RVM_FORMAT_VERSION	1
#define RVM_STATUS_SIZE		(64u << 10)
#define RVM_AREA_START		(2 * RVM_STATUS_SIZE)
#define RVM_AREA_UNIT		4096u	/* area_length is a multiple of it */
#define RVM_BLOCK_MIN		512u	/* writes begin at multiples of a block */
#define RVM_BLOCK_MAX		4096u
#define RVM_NAME_MAX		4095u	/* bytes of a segment's absolute name */

#define RVM_STATUS_MAGIC	"RVM-LOG"	/* 8 bytes with the final 0 */
#define RVM_RECORD_MAGIC	0x524d5652u	/* "RVMR" */
#define RVM_TRAILER_MAGIC	0x544d5652u	/* "RVMT" */

/*
 * Status: where the live part of the log begins, and which segments its
 * records speak of.  The two slots are written in turn; of the valid ones the
 * higher generation counts, so a torn status write leaves the one before.
 */
struct rvm_status_disk {
	u8 magic[8];
	__le32 version;
	__le32 crc;		/* of the first `used` bytes, with crc = 0 */
	__le32 used;		/* bytes in use: this header and the dictionary */
	__le32 segments;	/* dictionary entries */
	__le64 generation;	/* one higher with every status write */
	__le64 log_id;		/* random, never 0 */
	__le64 incarnation;	/* one higher with every opening */
	__le64 area_length;
	__le64 head;		/* position of the first live record */
	__le64 head_sequence;	/* its sequence number */
	__le64 start;		/* where this incarnation's records begin */
	__le64 start_sequence;
	__le64 created;		/* nanoseconds since 1970 */
	__le32 next_segment;	/* the id that the next new segment gets */
	__le32 reserved;
};

/* Dictionary entry; the name follows without a final 0, zero-padded to 8. */
struct rvm_dict_disk {
	__le32 id;		/* never 0, never used again in this log */
	__le32 name_length;
};

#define RVM_DICT_MAX	(RVM_STATUS_SIZE - sizeof(struct rvm_status_disk))

/*
 * Record: one commit, or a contiguous run of the commit order that was
 * coalesced into one.  Header, ranges, trailer.
 */
struct rvm_record_header {
	__le32 magic;
	__le32 commits;		/* how many commits this record carries, >= 1 */
	__le64 log_id;
	__le64 incarnation;
	__le64 sequence;	/* of the first; the next record's is sequence + commits */
	__le64 length;		/* of the whole record, trailer included */
	__le64 time;		/* of the last commit, nanoseconds since 1970 */
	__le32 ranges;
	__le32 reserved;
};

/* Range: the new bytes follow, zero-padded to a multiple of 8. */
struct rvm_range_header {
	__le32 segment;
	__le32 length;		/* without the padding, never 0 */
	__le64 offset;		/* in the segment */
};

struct rvm_record_trailer {
	__le32 magic;
	__le32 crc;		/* of everything before the trailer */
	__le64 length;		/* again, so that the log reads backwards */
};

#define RVM_CRC_SEED	(~0u)

#define RVM_RECORD_MIN	(sizeof(struct rvm_record_header) + \
			 sizeof(struct rvm_record_trailer))

static inline u64 rvm_align8(u64 n)
{
	return (n + 7) & ~7ull;
}

/* What a range of `length` data bytes takes in a record. */
static inline u64 rvm_range_size(u64 length)
{
	return sizeof(struct rvm_range_header) + rvm_align8(length);
}

#endif
