/* SPDX-License-Identifier: GPL-2.0 WITH Linux-syscall-note */
/*
 * /dev/rvm: recoverable virtual memory in the kernel.
 *
 * Objects are file descriptors, and live as long as their references.
 *
 *	rvm = open("/dev/rvm", O_RDWR)
 *	log = ioctl(rvm, RVM_IOC_ATTACH_LOG)		an fd of the log file in
 *	for each entry of ioctl(log, RVM_IOC_DICTIONARY)
 *		ioctl(log, RVM_IOC_ATTACH_SEGMENT)	an fd of the segment in
 *	ioctl(log, RVM_IOC_RECOVER)
 *
 *	segment = ioctl(log, RVM_IOC_ATTACH_SEGMENT)
 *	memory = mmap(segment, MAP_SHARED)		a region
 *	area = mmap(log, MAP_SHARED)			a transaction's declarations
 *
 * The kernel opens no file by name: the caller passes descriptors that it
 * opened itself, and the kernel reaches exactly those files, with the rights
 * they were opened with.  It opens them anew for itself, so that the caller's
 * descriptor may be closed at once and nothing done to it matters afterwards.
 * A log or segment has one owner: the kernel takes a flock on a regular file
 * and an exclusive claim on a block device; EBUSY if another has it.  Several
 * processes that attach the same log or segment share one object.
 *
 * A transaction is an area with entries in it.  To declare a range the
 * process appends an entry to its area, with no system call; commit and abort
 * are one ioctl each.  A transaction belongs to the address space that mapped
 * the area: when the area is unmapped, by munmap, exec or the death of the
 * process, an open transaction in it is undone.  Neither areas nor regions
 * are inherited over fork, and they can't be split, moved or grown.
 *
 * The kernel believes nothing that stands in an area: it copies an entry and
 * then checks it.  What a process scribbles there can damage only ranges of
 * regions that the process itself mapped for writing.
 *
 * Every structure begins with its size in bytes, for which the kernel knows
 * exactly one value, and flags, of which unknown ones are refused (EINVAL).
 * An unknown ioctl is ENOTTY.
 */
#ifndef _UAPI_LINUX_RVM_H
#define _UAPI_LINUX_RVM_H

#include <linux/ioctl.h>
#include <linux/types.h>

#define RVM_DEVICE_NAME	"rvm"

/*
 * ATTACH_LOG, on /dev/rvm: attach the log that `fd`, open for reading and
 * writing, refers to: a regular file or a block device.  Returns a new log
 * descriptor (close-on-exec).  The first attach reads the whole live log and
 * finds its tail, and makes a new incarnation durable.
 *
 * EBADF	fd is not open for reading and writing
 * EINVAL	fd is no regular file or block device, or not an RVM log
 * EPROTONOSUPPORT  a log of another format version
 * EUCLEAN	the log is damaged
 * EPERM	fd was opened with O_APPEND, or the file is append-only
 * EACCES	the device is set read-only
 * EBUSY	another owner has it
 * EIO, ENOMEM, ...
 */
struct rvm_ioc_attach_log {
	__u32 size;
	__u32 flags;		/* 0 */
	__s32 fd;
	__u32 reserved;		/* 0 */
};

/*
 * DICTIONARY, on a log: the segments that the log knows.  Up to `length`
 * bytes are written to `buffer`, entries one after the other, each a struct
 * rvm_ioc_segment_name, its name and padding to 8.  `length` becomes the bytes
 * that all entries take; ENOSPC if that was more than there was room for
 * (nothing is written to buffer then).
 */
struct rvm_ioc_dictionary {
	__u32 size;
	__u32 flags;		/* 0 */
	__u64 buffer;		/* address */
	__u32 length;		/* in: room; out: needed */
	__u32 segments;		/* out: entries */
};

struct rvm_ioc_segment_name {
	__u32 id;
	__u32 name_length;	/* without a final 0; the name follows */
	__u64 records;		/* records waiting for RECOVER that speak of it */
};

/*
 * ATTACH_SEGMENT, on a log: attach the segment that `fd` refers to, under its
 * absolute name.  If fd is open for reading only, so are regions mapped through
 * the descriptor.  Returns a new segment descriptor (close-on-exec).
 *
 * The flags say how changes are found in regions that are mapped through the
 * descriptor, at most one of
 *
 * (none)		by the entries of an area, and nothing else is committed
 * RVM_SEGMENT_CHECK	the same, and COMMIT looks for changes that no entry declares
 * RVM_SEGMENT_DIFF	by page faults, and comparing pages with their committed
 *	images: what a transaction changed is what differs.  Such a region is
 *	tracked.  An entry in it is EFAULT at COMMIT.
 * RVM_SEGMENT_PAGES	the same, and the whole of a changed page is committed
 *
 * and with the last two RVM_SEGMENT_STRICT: pages are write-protected at the end
 * of each transaction.  Without it pages that were stored to lately, the hot ones,
 * stay writable, and are compared.
 *
 * In tracked regions a page belongs to one process at a time.  Another that stores to
 * it waits until that one's transaction has ended; if that waits for a page of the
 * first, it is a SIGBUS (EFAULT in a system call), and so it is if a system call's
 * store has waited for 5 seconds.  All writable regions of a segment are tracked
 * or none: else mmap is EBUSY.  Flags have no effect on one that can't be written.
 *
 * EBADF	fd is not open for reading
 * EINVAL	no regular file or block device, empty, or a name that is not absolute
 * ENAMETOOLONG	name of 0 or more than 4095 bytes
 * EPERM, EACCES	as for ATTACH_LOG, if fd is open for writing
 * EEXIST	the log knows another attached file by this name
 * EBUSY	another owner has it (or another log)
 * ENOSPC	the log's dictionary is full of names that are in use or have records;
 *		TRUNCATE may make room
 */
struct rvm_ioc_attach_segment {
	__u32 size;
	__u32 flags;		/* RVM_SEGMENT_* */
	__s32 fd;
	__u32 name_length;
	__u64 name;		/* address */
	__u64 length;		/* out: of the segment, bytes */
};

#define RVM_SEGMENT_CHECK	(1u << 0)
#define RVM_SEGMENT_DIFF	(1u << 1)
#define RVM_SEGMENT_PAGES	(1u << 2)
#define RVM_SEGMENT_STRICT	(1u << 3)

/* Bytes of a region that changed and should not have. */
struct rvm_ioc_found {
	__u64 address;
	__u64 length;
};

/*
 * BEGIN, on a log: a transaction that is going to store to tracked regions
 * begins in area `area`, which is empty and not `open`.  What was stored to hot
 * pages of this process outside of any transaction is put back, and told:
 * the first `room` runs of bytes in the array at `found`; `count` becomes how
 * many there were.  It is needed only if the area's `hot` is not 0.
 *
 * ENOENT	no such area in this address space
 * EBUSY	a transaction is open in it
 * EINVAL	room of more than RVM_FOUND_MAX
 * EFAULT	this structure or the array can't be written
 */
struct rvm_ioc_begin {
	__u32 size;
	__u32 flags;		/* 0 */
	__u32 area;
	__u32 room;
	__u64 found;		/* address */
	__u64 count;		/* out */
};

#define RVM_FOUND_MAX		32

/*
 * RECOVER, on a log: apply what the attach found in it to the segments that
 * are attached, durably.  Records of other segments stay live.  A log takes no
 * commit (EAGAIN) before its first RECOVER; later ones apply what became
 * possible since, and may find nothing to do.
 */
struct rvm_ioc_recover {
	__u32 size;
	__u32 flags;		/* 0 */
	__u64 applied;		/* out: records applied */
	__u64 kept;		/* out: records that stay live */
};

/*
 * COMMIT, on a log: commit the transaction in area `area`, which must have
 * been mapped by this address space.  The new values are those in memory
 * during the call.  With RVM_COMMIT_FLUSH it and all commits before it are on
 * stable storage on return; without, it survives the process at once and the
 * machine after the next flush.  On success the area is empty; on EIO it may be,
 * and who knows whether the commit took place; after any other error it did not.
 *
 * If the area is `open`, what its process changed in tracked regions is part of it.
 * Changes in checked regions of this process that no area declares are told as
 * by BEGIN; each once, unless its bytes change again.  With RVM_COMMIT_CHECKED the
 * commit does not take place if there are any (EUCLEAN), and they are told again
 * by the next.
 *
 * `sequence` is written back unchanged before the commit, so that memory that
 * can't be written is found in time.  If it goes away during the call, the
 * commit is a success all the same, and its sequence is not told.
 *
 * ENOENT	no such area in this address space
 * EINVAL	the area is scribbled: lengths or states make no sense
 * EFAULT	an entry is not inside one region that is mapped for writing, or
 *		this structure can't be written
 * EFBIG	the transaction could not fit into the empty log; it stays open
 * EAGAIN	RECOVER has not been called
 * EIO		the log has failed; no commit will succeed any more
 * ENOMEM	the record is larger than the memory to be had for it, or the log is
 *		full and truncation lacks memory to free it; it stays open
 * ENOSPC	the log is full, and truncation can't free it: a segment can't be
 *		written (its error is in the kernel log) or is missing; it stays open
 * EUCLEAN	RVM_COMMIT_CHECKED, and there are undeclared changes; it stays open
 */
struct rvm_ioc_commit {
	__u32 size;
	__u32 flags;		/* RVM_COMMIT_* */
	__u32 area;
	__u32 room;		/* for findings */
	__u64 sequence;		/* out: the commit's place in the commit order */
	__u64 found;		/* address of struct rvm_ioc_found[room] */
	__u64 count;		/* out: of findings, also if they exceed room */
};

#define RVM_COMMIT_FLUSH	(1u << 0)
#define RVM_COMMIT_CHECKED	(1u << 1)

/*
 * ABORT, on a log: undo the transaction in the area, latest entry first:
 * entries with saved bytes get them back, unless another transaction committed
 * the bytes since: then they take the committed value.  Entries without
 * (no_restore) leave memory as it is.  If the area is `open`, pages of tracked
 * regions take their committed bytes.  The area is empty afterwards.
 *
 * SPILL, on a log: move the area's entries to kernel memory, to make room for
 * more of the same transaction.  ENOMEM; EFBIG if it exceeds the log.
 */
struct rvm_ioc_area {
	__u32 size;
	__u32 flags;		/* 0 */
	__u32 area;
	__u32 reserved;		/* 0 */
};

/*
 * FLUSH, on a log: make all commits so far durable.
 * TRUNCATE, on a log: that, and write them to their segments, durably, and
 * free their log space.
 */
struct rvm_ioc_log {
	__u32 size;
	__u32 flags;		/* 0 */
};

/*
 * SET_OPTIONS, on a log: set what `flags` names; the other fields are 0.  One
 * setting per log, shared by all who attached it, and gone with the last.
 *
 * RVM_OPTION_TRUNCATE	truncation starts in the background when `truncate` per
 *	cent of the log are used; 0 means never.  At first it is 50.
 * RVM_OPTION_FLUSH_INTERVAL	commits without RVM_COMMIT_FLUSH are flushed
 *	`flush_interval` milliseconds later at the latest, and what the device then
 *	takes; 0, as at first, means that they wait for a flush.
 * RVM_OPTION_COALESCE	1: commits that wait for a flush become one record, in
 *	which what was committed again stands once; 0, as at first: each is a record.
 *	After a power failure such a record is there wholly or not at all.
 * RVM_OPTION_MEMORY	changed pages with their committed images, areas and what
 *	of the log is in memory take `memory` bytes at most; 0 means the default, half
 *	of the module parameter memory_kib.  From half of it on truncation starts,
 *	whatever `truncate` says.  At the limit a store waits for truncation; if
 *	nothing can be freed, since all that is held is not committed or can't be
 *	written to its segment, it is SIGBUS (EFAULT in a system call).  A system
 *	call's own store waits 5 seconds at most in which nothing is freed.
 *	A sixteenth is kept for the areas and commits of transactions, for which it
 *	is ENOMEM at the limit.
 *
 * EINVAL	an unknown flag, a field that no flag names, more than 100 per cent,
 *		less memory than RVM_MEMORY_MIN
 * ENOMEM	there is none for coalescing
 */
struct rvm_ioc_options {
	__u32 size;
	__u32 flags;		/* RVM_OPTION_* */
	__u32 truncate;		/* 0..100 */
	__u32 flush_interval;	/* milliseconds */
	__u32 coalesce;		/* 0 or 1 */
	__u32 reserved;		/* 0 */
	__u64 memory;		/* bytes */
};

#define RVM_OPTION_TRUNCATE	(1u << 0)
#define RVM_OPTION_MEMORY	(1u << 1)
#define RVM_OPTION_FLUSH_INTERVAL (1u << 2)
#define RVM_OPTION_COALESCE	(1u << 3)

#define RVM_MEMORY_MIN		(1u << 20)

/* QUERY, on a log. Counts are since the log was attached; lengths in bytes. */
struct rvm_ioc_query {
	__u32 size;
	__u32 flags;		/* 0 */
	__u64 log_length;	/* out from here on */
	__u64 log_used;
	__u64 log_writes;
	__u64 log_flushes;
	__u64 log_bytes;
	__u64 segment_writes;
	__u64 segment_flushes;
	__u64 segment_bytes;
	__u64 commits;
	__u64 flush_commits;
	__u64 aborts;
	__u64 undone;		/* transactions of processes that died */
	__u64 truncations;
	__u64 recovered_records;
	__u64 failed;		/* 1 once a log write has failed */
	__u64 memory;		/* held now, of what RVM_OPTION_MEMORY limits */
	__u64 memory_limit;	/* in force */
	__u64 memory_waits;	/* stores that waited for memory */
};

/*
 * What is counted of a log since it was attached, of all processes that use it.  Times
 * are in nanoseconds, lengths in bytes.
 */
struct rvm_ioc_counts {
	__u64 commits;		/* with RVM_COMMIT_FLUSH and without */
	__u64 flush_commits;
	__u64 aborts;		/* by ABORT */
	__u64 undone;		/* transactions of processes that died */
	__u64 truncation_waits;	/* commits that waited for room in the log */
	__u64 merged_ranges;	/* as processes told: see struct rvm_area_header */
	__u64 merged_bytes;
	__u64 coalesced_commits;	/* that became part of an earlier one's record */
	__u64 coalesced_ranges;	/* in it: that became part of another */
	__u64 coalesced_bytes;	/* in it: that were committed again */
	__u64 splits;		/* records that continue at the start of the log's area */
	__u64 wraps;		/* how often the log came to its end, and went on there */
	__u64 flushes;		/* writes of records, each of all there was */
	__u64 flushed_bytes;	/* in them, with what fills their last blocks */
	__u64 flush_ns;
	__u64 flush_requests;	/* by FLUSH */
	__u64 status_writes;
	__u64 recoveries;	/* RECOVERs that applied something */
	/* That succeeded: by TRUNCATE; in the background; by a commit that found the log full. */
	__u64 truncations[3];
	__u64 truncation_ns;
	/*
	 * Histograms.  The bounds of those without are: of merged and coalesced ranges
	 * and commits 0, 5, 10, 50, 100; of bytes 0, 4, 8, 16, ... 4096; of flushes 25, 50,
	 * 100, 250, 500, 1000, 2500, 5000, 10000 ms; of truncations 1, 10, 100, 500 s.
	 * An element counts what is at most its bound, the last the rest.
	 */
	__u64 range_lengths[32];	/* pieces of pages that were committed; [i]: up to 2 << i */
	__u64 range_merges[6];	/* commits with merged_ranges by how many, */
	__u64 range_overlaps[13];	/* and by their merged_bytes */
	__u64 trans_coalesces[6];	/* records of several commits by coalesced_commits, */
	__u64 trans_merges[6];	/* by coalesced_ranges, */
	__u64 trans_overlaps[13];	/* and by coalesced_bytes */
	__u64 flush_times[10];
	__u64 truncation_times[5];	/* truncations by how long they took: in all, */
	__u64 build_times[5];	/* to flush the log and copy what is to be written, */
	__u64 apply_times[5];	/* and to write and flush the segments */
};

/*
 * STATISTICS, on a log: what was counted, in all and before the last truncation
 * (of the three sorts in `truncations`, and if it succeeded), so that the difference
 * is what came since.  All of it is of one moment.
 */
struct rvm_ioc_statistics {
	__u32 size;
	__u32 flags;		/* 0 */
	__u64 log_length;	/* out from here on */
	__u64 log_used;
	__u64 log_most_used;	/* at any one time */
	__u64 queued_commits;	/* that wait for a flush, */
	__u64 queued_bytes;	/* and what of the log they take at most */
	__u64 last_flush_ns;
	__u64 last_truncation_ns;
	__u64 last_build_ns;
	__u64 last_apply_ns;
	struct rvm_ioc_counts now;
	struct rvm_ioc_counts before;
};

#define RVM_IOC_TYPE		'v'
#define RVM_IOC_ATTACH_LOG	_IOW(RVM_IOC_TYPE, 0x80, struct rvm_ioc_attach_log)
#define RVM_IOC_DICTIONARY	_IOWR(RVM_IOC_TYPE, 0x81, struct rvm_ioc_dictionary)
#define RVM_IOC_ATTACH_SEGMENT	_IOWR(RVM_IOC_TYPE, 0x82, struct rvm_ioc_attach_segment)
#define RVM_IOC_RECOVER		_IOWR(RVM_IOC_TYPE, 0x83, struct rvm_ioc_recover)
#define RVM_IOC_COMMIT		_IOWR(RVM_IOC_TYPE, 0x84, struct rvm_ioc_commit)
#define RVM_IOC_ABORT		_IOW(RVM_IOC_TYPE, 0x85, struct rvm_ioc_area)
#define RVM_IOC_SPILL		_IOW(RVM_IOC_TYPE, 0x86, struct rvm_ioc_area)
#define RVM_IOC_FLUSH		_IOW(RVM_IOC_TYPE, 0x87, struct rvm_ioc_log)
#define RVM_IOC_TRUNCATE	_IOW(RVM_IOC_TYPE, 0x88, struct rvm_ioc_log)
#define RVM_IOC_SET_OPTIONS	_IOW(RVM_IOC_TYPE, 0x89, struct rvm_ioc_options)
#define RVM_IOC_QUERY		_IOWR(RVM_IOC_TYPE, 0x8a, struct rvm_ioc_query)
#define RVM_IOC_BEGIN		_IOWR(RVM_IOC_TYPE, 0x8b, struct rvm_ioc_begin)
#define RVM_IOC_STATISTICS	_IOWR(RVM_IOC_TYPE, 0x8c, struct rvm_ioc_statistics)

/*
 * An area: mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_SHARED, log, 0),
 * length whole pages, RVM_AREA_MIN..RVM_AREA_MAX.  One open transaction at a
 * time; a process maps as many as it has transactions open at once, and uses
 * them again.  The kernel writes `area` and `room` when it is mapped and sets
 * `used` and `open` to 0 when a transaction ends.
 *
 * A transaction that stores to tracked regions begins when the process sets
 * `open` to 1, before its first store to them; one area of a process can be open.  While
 * `hot` is 0 no page of the process's tracked regions is writable: then BEGIN has
 * nothing to look for, and a transaction without entries has changed nothing, and
 * ends by setting `open` to 0.
 *
 * A process that appends no entry for bytes for which the transaction has one may tell
 * before COMMIT how many declarations that saved, in `merged_ranges`, and how many
 * bytes, in `merged_bytes`: they are counted, and that is all.  COMMIT sets
 * merged_ranges to 0 if it succeeds; while it is 0, merged_bytes means nothing.
 */
#define RVM_AREA_MIN	4096
#define RVM_AREA_MAX	(1 << 20)

struct rvm_area_header {
	__u32 area;		/* its id, for the ioctls */
	__u32 room;		/* bytes for entries */
	__u32 used;		/* bytes of entries; written by the process */
	__u32 open;		/* 0 or 1; written by the process */
	__u32 hot;		/* how many tracked pages are writable */
	__u32 merged_ranges;	/* written by the process: see below */
	__u32 merged_bytes;
	__u32 reserved;
	__u8 entries[];
};

/*
 * An entry is sizeof(struct rvm_area_entry) bytes and, unless its state is
 * RVM_ENTRY_NO_RESTORE, the `length` old bytes, padded to 8.  A process
 *
 *  1. writes address, length, and state RVM_ENTRY_SAVING;
 *  2. raises `used`, store-release, and issues a full memory barrier;
 *  3. copies the old bytes into the entry;
 *  4. changes state from SAVING to SAVED with a compare-and-exchange; if it
 *     finds RVM_ENTRY_AGAIN, another transaction committed some of these bytes
 *     meanwhile: it sets SAVING with an exchange and goes on with 3;
 *  5. only then stores to the data.
 *
 * Without old bytes (no_restore), state is NO_RESTORE from the start, and 3
 * and 4 fall away.  If the process dies before 4 the entry counts as never
 * stored to.  When another transaction commits bytes of a SAVED entry, the
 * kernel changes the saved bytes to the committed ones.
 */
struct rvm_area_entry {
	__u64 address;
	__u32 length;		/* > 0 */
	__u32 state;		/* RVM_ENTRY_* */
	__u8 saved[];
};

#define RVM_ENTRY_SAVING	0
#define RVM_ENTRY_SAVED		1
#define RVM_ENTRY_AGAIN		2
#define RVM_ENTRY_NO_RESTORE	3

#endif
