/* SPDX-License-Identifier: GPL-2.0 OR MIT */
/*
 * The user engine, inside: recoverable memory by one process alone.
 *
 * A commit copies the declared bytes out of memory into a record at the end of
 * the open *batch*; a batch is what one log write carries.  Truncation reads
 * records back from the log, never from memory, which also holds uncommitted bytes.
 *
 * Locks, in the order in which they are taken:
 *
 *   truncating    one epoch at a time; segments are freed only under it
 *   status_lock   the status in memory and its writing to the log, the list
 *                 of segments, their fds and counts of regions
 *   lock          everything about the log's end (batches, sequence numbers,
 *                 what is acknowledged), the head as appenders see it, the
 *                 open transactions, the counts of commits
 *   transaction->lock  one transaction's ranges and their saved bytes
 *
 * Log and segment I/O is never done under `lock`.
 */
#ifndef RVM_LIB_USER_H
#define RVM_LIB_USER_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>
#include <time.h>

#include "core/format.h"
#include "core/record.h"
#include "core/status.h"
#include "lib/engine.h"
#include "lib/user_lock.h"

#define USER_PAGE	4096u		/* alignment of all I/O buffers */
#define USER_WRITES	8		/* log writes in flight at once */
#define USER_PIECE	(1u << 30)	/* a longer range becomes several in the record */
#define USER_GROUP	64u		/* ranges with common bounds */

/* A segment that is mapped, or that live records name. */
struct user_segment {
	struct user_segment *next;
	char *name;
	u32 id;
	int fd;			/* ours by flock; -1: not open */
	u64 device_length;	/* of a block device; 0 for a file, which can grow */
	unsigned int regions;	/* mapped ones */
	u64 last_sequence;	/* under `lock`: the last commit that names it, 0 none */
	u64 applied_sequence;	/* under truncating: commits below it are durably in the file */

	/* under truncating, for the length of one epoch: */
	int target;		/* fd */
	int absent;		/* errno: why it can't be opened, or is too short a device */
	int failure;		/* errno of the write or fdatasync that failed */
	u64 records;		/* how many name it, */
	u64 oldest_position, oldest_sequence;	/* the first of them, */
	u64 newest_sequence;	/* and the last */
};

struct user_region {
	struct rvm_region base;
	struct user_region *next;	/* of log->regions */
	struct user_segment *segment;
	u64 shift;		/* offset in the segment = address + shift */
	struct user_track *track;	/* user_tracking.c's, if it is tracked or checked */
};

/*
 * One log write: records one after the other, encoded but for their checksums.
 * The open batch is the last of the list, and takes records until its write
 * begins.  Then it is padded to whole blocks, and its end is the next one's position.
 */
struct user_batch {
	struct user_batch *next;
	u64 position;
	char *data;
	size_t used, capacity;
	u64 sequence;		/* of its first commit */
	u64 next_sequence;	/* of the first after it */
	u32 records;
	bool merged;		/* no more is to be gained by merging it */
	bool called;		/* one of those who wait was told to write it: a write may begin */
	u64 coalesced_ranges, coalesced_bytes;	/* what user_merge.c saved in the first of them */
	bool done;		/* written; acknowledged when all before it are */
	pthread_cond_t changed;	/* for those who wait for its write, or to do it */
};

struct user_range {
	struct user_region *region;
	char *address;
	u64 length;
	char *undo;		/* the old bytes, or NULL */
};

struct user_group {
	const char *low, *high;
};

/* Saved bytes are taken from chunks, and given back all at once. */
struct user_chunk {
	struct user_chunk *next;
	size_t used, size;
	char data[];
};

struct user_transaction {
	struct rvm_transaction base;
	struct user_log *log;
	struct user_transaction *next, **link;	/* open or free ones: log->lock */
	struct user_lock lock;
	struct user_range *ranges;
	u64 count, capacity;
	char *low, *high;	/* all ranges with saved bytes lie in [low, high) */
	struct user_group *groups;	/* the same of each USER_GROUP ranges, made when wanted */
	u64 grouped, group_capacity;
	char *end;		/* of the last range */
	u64 length;		/* of the record that it would make */
	u64 pieces;		/* range headers in it */
	struct user_chunk *chunk;	/* the newest; the oldest stays with the transaction */
};

struct user_log {
	struct rvm_log base;
	struct rvm_log_options options;	/* status_lock and lock to change, either to read */

	/* user_file.c */
	int fd;			/* holds the ownership */
	int io_fd;		/* fd, or a second one for direct and durable writes */
	bool device;		/* a block device, not a file */
	bool direct;
	bool direct_proven;	/* by a write that succeeded */
	u32 block;		/* log writes are whole blocks of this size */

	pthread_mutex_t truncating;

	pthread_mutex_t status_lock;
	struct rvm_status status;
	char *slot;		/* RVM_STATUS_SIZE bytes, to encode into */
	struct user_segment *segments;
	struct user_region *regions;
	unsigned int tracks;	/* tracked or checked ones; they change while no call needs it */

	pthread_mutex_t lock;
	int failed;		/* errno of the log write that failed: for good */
	u64 head;		/* as made durable */
	u64 end;		/* of the last batch whose write has begun: where the next is */
	u64 next_sequence;	/* the next commit's */
	u64 acknowledged;	/* all before this position is durable */
	u64 acknowledged_sequence;	/* and the first sequence number there */
	struct user_batch *first;	/* the oldest that is not acknowledged */
	struct user_batch *open;	/* takes records; NULL or the last */
	struct user_batch *spare;
	unsigned int writes;	/* in flight */
	bool shares;		/* two at most: watch_cpu() has seen that this is better */
	unsigned int cpus;	/* that the process may use */
	unsigned int watched;	/* writes since then, */
	u64 shortest_ns;	/* the shortest of them, */
	u64 watched_ns, watched_cpu_ns;	/* and what the two clocks said then */
	char *merge_data;	/* where a batch is merged into (user_merge.c) */
	size_t merge_capacity;

	/* commits that found no room are let in one by one, in order of arrival */
	u64 room_tickets, room_turn;
	pthread_cond_t room;

	struct user_transaction *open_transactions, *free_transactions;

	/* the truncation thread */
	bool thread_runs, thread_stop, thread_wanted;
	pthread_t thread;
	pthread_cond_t thread_wake;
	u64 thread_again;	/* not before the log's end passes this */

	/* the flushing thread (user_flush.c) */
	bool flusher_runs, flusher_stop;
	bool flush_due;			/* there are commits to flush at flush_at */
	struct timespec flush_at;
	pthread_t flusher;
	pthread_cond_t flusher_wake;

	/* what is counted under lock, and that of the last epoch's end */
	struct rvm_counts counts, epoch;
	struct rvm_count_state state;	/* log_most_used, and what was last */
	rvm_engine_counters_t counters;	/* I/O, by atomic addition */
};

#define user_count(counter, n) ((void)__atomic_fetch_add(&(counter), (n), __ATOMIC_RELAXED))

static inline struct user_log *user_log_of(struct rvm_log *log)
{
	return (struct user_log *)log;
}

/* unit is a power of two */
static inline u64 user_round_up(u64 n, u64 unit)
{
	return (n + unit - 1) & ~(unit - 1);
}

/* RVM_EIO with errno from a negative errno; -ENOMEM is RVM_ENO_MEMORY. */
rvm_return_t user_error(int error);
/* In nanoseconds. */
u64 user_clock(clockid_t clock);
/* A sentence for the person on stderr. */
void user_complain(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* user_file.c: files and their ownership; log reads and durable writes. All return -errno. */
int user_file_open(const char *path, u64 *length, bool *is_device);
void user_file_close(int fd);
int user_file_again(int fd, const char *path);	/* a second description, to read */
int user_file_open_direct(struct user_log *log, const char *path);
int user_file_read(int fd, u64 offset, void *buffer, size_t length);
int user_file_write(int fd, u64 offset, const void *buffer, size_t length);
/* position and length are whole blocks, buffer is aligned; durable when it returns */
int user_file_log_write(struct user_log *log, u64 offset, const void *buffer, size_t length);
int user_file_log_read(void *log, u64 offset, void *buffer, size_t length);
void *user_file_buffer(size_t length);

/* user_device.c: the same on a block device whose fd is direct and durable. */
int user_device_write(int fd, u64 offset, const void *buffer, size_t length);
void user_device_forget(void);	/* in a forked child */

/* user_log.c: the end of the log. `lock` is held around all of them but commit. */
rvm_return_t user_log_commit(struct user_transaction *t, bool flush);
/* Make all commits below a sequence number durable. Drops and retakes the lock. */
int user_log_flush(struct user_log *log, u64 sequence);
void user_log_free(struct user_log *log);
u64 user_log_used(const struct user_log *log);

/* user_merge.c: make one record of all in the batch. Leaves it alone where it can't. */
void user_merge(struct user_log *log, struct user_batch *batch);

/* user_segment.c: status_lock is held, for free_idle truncating too. */
struct user_segment *user_segment_find(struct user_log *log, const char *name);
int user_segment_add(struct user_log *log, const char *name, size_t length, u32 id,
		     struct user_segment **segment);
int user_segment_open(struct user_segment *segment);
void user_segment_drop(struct user_log *log, struct user_segment *segment);
/* The segments that are not needed, given where the head is: out of a status, and out of memory. */
void user_segment_forget_idle(struct user_log *log, struct rvm_status *status);
void user_segment_free_idle(struct user_log *log);
void user_segment_free_all(struct user_log *log);

/* user_apply.c: the records from the head on into their segments. truncating is held. */
struct user_apply {
	struct user_log *log;
	struct rvm_status *status;	/* as it was at the beginning */
	struct rvm_scan scan;
	void *buffer;
	size_t buffer_length;
	u64 records;			/* that user_apply_scan found */
	struct user_segment **segments;	/* those of status, in order of their ids */
	size_t segment_count;
	struct user_segment *segment;	/* of the last range */
	struct user_gather *gather;
	bool read_ahead;		/* the segments' pages, as the first who comes to them */
	u64 write_ns;			/* for writing and flushing the segments */
	struct user_segment *kept;	/* missing or failed, the one with the oldest record */
	int kept_error;
};

int user_apply_init(struct user_apply *apply, struct user_log *log);
void user_apply_free(struct user_apply *apply);
/* Check all records up to the tail. 0 or -errno. */
int user_apply_scan(struct user_apply *apply);
void user_apply_rewind(struct user_apply *apply);
/*
 * Write those before that sequence number, `length` bytes of log, and make them
 * durable.  0 also if segments are missing or failed: apply->kept is one then.
 */
int user_apply_run(struct user_apply *apply, u64 end_sequence, u64 length);

/* user_recover.c */
rvm_return_t user_recover(struct user_log *log, u64 length);
/*
 * Make this the status, durably; if that fails, log->status is as before and
 * the log has failed.  status_lock is held.
 */
int user_status_write(struct user_log *log, struct rvm_status *status);

/* user_truncate.c */
/* One epoch: the acknowledged goes to the segments. 0, or -errno if the head could not reach it. */
int user_truncate_epoch(struct user_log *log, enum rvm_truncation why);
void user_truncate_start(struct user_log *log);	/* wake or create the thread; lock is held */
void user_truncate_stop(struct user_log *log);
/* A thread of the engine's own; false: there is none to be had. */
bool user_thread_start(pthread_t *thread, void *(*run)(void *), struct user_log *log);

/*
 * user_flush.c: what is committed is to be flushed after the interval, if there is
 * one; `anew`: after an interval from now on.  lock is held.  -EAGAIN: there is no thread to do it.
 */
int user_flush_later(struct user_log *log, bool anew);
void user_flush_stop(struct user_log *log);

/* user_region.c */
rvm_return_t user_map(struct rvm_log *log, const struct rvm_map_request *request,
		      struct rvm_region **region);
rvm_return_t user_unmap(struct rvm_log *log, struct rvm_region *region);
/* Memory that shows the segment, at `beside` if that is not NULL; or MAP_FAILED. */
char *user_map_private(const struct rvm_map_request *request, int fd, char *beside);

/* user_transaction.c */
rvm_return_t user_begin(struct rvm_log *log, bool restore, struct rvm_transaction **transaction);
rvm_return_t user_set_range(struct rvm_transaction *transaction, struct rvm_region *region,
			    char *address, uint64_t length);
rvm_return_t user_prepare(struct rvm_transaction *transaction, struct rvm_region *region,
			  char *address, uint64_t length);
rvm_return_t user_end(struct rvm_transaction *transaction, bool flush);
rvm_return_t user_abort(struct rvm_transaction *transaction);
/* These hold log->lock. Other open transactions' saved bytes take what t commits: */
void user_transaction_patch(struct user_transaction *t, const char *record);
void user_transaction_undo(struct user_transaction *t);
void user_transaction_retire(struct user_transaction *t);
/* A range whose old bytes are not needed; not while log->lock is held. */
bool user_transaction_add(struct user_transaction *t, struct user_region *region, char *address,
			  u64 length);
void user_transaction_free_all(struct user_log *log);

#endif
