/* SPDX-License-Identifier: GPL-2.0 OR MIT */
/*
 * Beyond the standard API: choosing the engine, what it counted, several logs,
 * whether a transaction is open.
 */
#ifndef RVM_ENGINE_H
#define RVM_ENGINE_H

#include <stdint.h>

#include <rvm/rvm.h>

#ifdef __cplusplus
extern "C" {
#endif

/*
 * Choose the engine by name: "user", "kernel", or "auto" (the kernel engine
 * where /dev/rvm can be used, else the user engine; the default).  It takes
 * the place of the environment variable RVM_ENGINE, and must be called before
 * rvm_initialize.
 *
 * RVM_SUCCESS; RVM_EINIT after rvm_initialize; RVM_EOPTIONS for another name.
 */
rvm_return_t rvm_set_engine(const char *name);

/*
 * The name of the engine in use, "user" or "kernel"; NULL before
 * rvm_initialize.  The string is constant.
 */
const char *rvm_get_engine(void);

/* What an engine counted since its log was opened. Lengths are in bytes. */
typedef struct {
	uint64_t log_length;		/* of the record area */
	uint64_t log_used;		/* by live records */
	uint64_t log_writes;		/* device writes to the log */
	uint64_t log_flushes;		/* requests to it: cache flushes, FUA or O_DSYNC writes */
	uint64_t log_bytes;		/* written to it */
	uint64_t segment_writes;
	uint64_t segment_flushes;
	uint64_t segment_bytes;
	uint64_t commits;		/* of both modes */
	uint64_t flush_commits;
	uint64_t aborts;
	uint64_t truncations;
	uint64_t recovered_records;
	uint64_t failed;		/* 1: a log write failed, and no commit succeeds any more */
	uint64_t memory;		/* held, of what the limit is for; 0 in the user engine */
	uint64_t memory_limit;		/* in force; 0 in the user engine, which has none */
	uint64_t memory_waits;		/* stores that waited for memory */
	uint64_t undeclared;		/* changes that this process reported: rvm_tracking.h */
} rvm_engine_counters_t;

/*
 * Read the counters of the open log.  RVM_SUCCESS; RVM_EINIT before
 * rvm_initialize; RVM_ELOG without a log; RVM_EOPTIONS for NULL.
 */
rvm_return_t rvm_get_engine_counters(rvm_engine_counters_t *counters);

/*
 * Bounded persistence: a no_flush commit is flushed by itself, `milliseconds`
 * later at the latest (and what the device then takes).  0, as at first: it waits
 * for a flush, or for the queue to fill.  It is in force for the open log, with
 * the kernel engine for all who use it, and for logs that are opened later; there
 * its age counts from this call for what was committed before.  If the flush
 * fails, the log has failed, and the next commit says so.
 *
 * RVM_SUCCESS; RVM_EINIT after rvm_terminate, or in a forked child.  It may be
 * called before rvm_initialize, and by any thread.
 */
rvm_return_t rvm_set_flush_interval(uint32_t milliseconds);

/*
 * Limit the memory that can't be reclaimed, to `bytes`: changed pages and
 * their committed images, what transactions declared, and the part of the log
 * that is not written.  0 is the kernel engine's default.  It is in force for
 * the open log, whoever uses it, and for logs that are opened later.  A store at
 * the limit waits for truncation, and is a SIGBUS where that can't free anything;
 * calls give RVM_ENO_MEMORY.  See rvm(4).
 *
 * The user engine's pages are the process's own, which can be swapped: it takes
 * the limit, and does nothing with it.
 *
 * RVM_SUCCESS; RVM_EINIT after rvm_terminate, or in a forked child;
 * RVM_EOPTIONS for less than RVM_MEMORY_LIMIT_MIN.  It may be called before
 * rvm_initialize, and by any thread.
 */
rvm_return_t rvm_set_memory_limit(uint64_t bytes);

#define RVM_MEMORY_LIMIT_MIN	(1ul << 20)

/*
 * Several logs in one process, for data that are used together but must be able
 * to go separate ways: each log recovers its own segments, whatever became of the
 * others.  A transaction belongs to one log, and there is none across two.
 */
typedef struct rvm_log rvm_log_t;

/*
 * Open the log log_dev, which exists (rvm_create_log), and recover, as
 * rvm_initialize does with its own, with the options in force.  One that is open
 * already is only looked up.  *log is the library's, until rvm_terminate, which
 * closes all.  Call rvm_initialize first; its log_dev may be NULL.
 *
 * RVM_EINIT; RVM_EOPTIONS for NULL; RVM_ENAME_TOO_LONG; and as rvm_initialize:
 * RVM_EIO, RVM_ELOG, RVM_ELOG_VERSION_SKEW, RVM_ENO_MEMORY.  Any thread may call it.
 */
rvm_return_t rvm_open_log(const char *log_dev, rvm_log_t **log);

/*
 * From now on all calls of this thread which are about "the open log" are about
 * this one; with NULL (as at first) about that of rvm_initialize or
 * rvm_set_options.  A transaction stays with the log with which it began, and a
 * region with that with which it was mapped: rvm_set_range for a region of another
 * log than the transaction's, or rvm_unmap while another one is in use, is
 * RVM_ENOT_MAPPED.  rvm_query and rvm_terminate know all open transactions.
 *
 * RVM_EINIT; RVM_ELOG if it is none that is open.
 */
rvm_return_t rvm_use_log(rvm_log_t *log);

/*
 * Is this transaction open, neither committed nor aborted?  It never waits, also
 * while another thread ends the transaction: then it is open until that call is
 * about to return.  Once it is said to be over, memory is as it left it.  For a
 * library that keeps something for each transaction, which the program ends.
 *
 * RVM_SUCCESS: it is; RVM_ETID: it is not, or tid is NULL or has the wrong
 * struct_id; RVM_EINIT.
 */
rvm_return_t rvm_check_tid(const rvm_tid_t *tid);

#ifdef __cplusplus
}
#endif

#endif
