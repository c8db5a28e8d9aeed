/* SPDX-License-Identifier: GPL-2.0 OR MIT */
/*
 * The small interface to recoverable memory that courses on operating systems
 * assign.  Segments are named areas of memory that belong to a directory; a
 * transaction changes one or more of them, whole or not at all:
 *
 *	rvm_t rvm = rvm_init("accounts");
 *	char *base = rvm_map(rvm, "alice", 10000);
 *	trans_t t = rvm_begin_trans(rvm, 1, (void **)&base);
 *
 *	rvm_about_to_modify(t, base, 0, 100);	// first say what is going to change,
 *	strcpy(base, "hello");			// then store
 *	rvm_commit_trans(t);			// durable when this returns
 *
 * It is a short layer over the standard interface, <rvm/rvm.h>: lib/simple.c is
 * there to be read.  It runs on both engines, see rvm_engine(3).  Compile and
 * link with `pkg-config --cflags --libs rvmsimple`: that is -lrvmsimple -lrvm, and
 * an include path (.../include/rvm/simple) by which #include "rvm.h" means this
 * header, for programs that say so.
 *
 * rvm_map and rvm_unmap are the standard interface's names, too, for other
 * functions.  So the library's are rvm_simple_map and rvm_simple_unmap, and these
 * two words are macros for them; a program can be linked with both libraries, in
 * any order.  A source file includes this header or <rvm/rvm.h>.  One that wants
 * both includes <rvm/rvm.h> first, and writes rvm_simple_map.
 *
 *
 * Mistakes and failures
 *
 * Most calls return nothing.  A mistake of the program (a range outside its
 * segment, a transaction that is over) is told on stderr, and the call does
 * nothing.  Where a call can't do what it is there for and has no way to say so (a
 * commit that the disk refuses, a range that can't be remembered for want of
 * memory), it tells why on stderr and ends the process with abort(): what was
 * committed before is safe, and the next start finds it.
 *
 * Caveats
 *
 * - A store that no rvm_about_to_modify declared is lost sooner or later.
 * - A directory is in use by one process at a time with the user engine: a second
 *   one's rvm_init fails.  A process that has ended, however it did, is out of
 *   the way.
 * - A child made by fork() can't use what its parent opened, nor open anything;
 *   fork before the first rvm_init.
 * - A transaction's ranges have to fit the log, RVM_SIMPLE_LOG bytes together.
 * - All calls may be made by any thread.  Threads must not change the same bytes
 *   at the same time.
 */
#ifndef RVM_SIMPLE_H
#define RVM_SIMPLE_H

#ifdef __cplusplus
extern "C" {
#endif

/* A directory in use: rvm_init's, until the process ends. */
typedef struct rvm_directory *rvm_t;

/* A transaction: positive, and not used again soon. */
typedef int trans_t;

#define RVM_SIMPLE_LOG	(8 << 20)

/*
 * Use a directory, which is made if it is not there.  It holds the log
 * ("rvm.log") and a file for each segment ("NAME.segment").  What was committed
 * by whoever used it last is recovered.  Several directories can be in use at
 * once, each with a log of its own: none needs another one to be recovered.
 *
 * NULL, and a message: it can't be made, read or written, or it is in use by
 * another process.  A directory that this process uses already is returned again.
 */
rvm_t rvm_init(const char *directory);

/*
 * Map a segment: its memory, page aligned, holds what was committed last.  One
 * that does not exist is made, size_to_create bytes of 0; a shorter one is
 * extended by 0s to that size; a longer one stays as long as it is.  Any size
 * from 1 on will do.
 *
 * NULL, and a message: it is mapped already, or a parameter is no good (a name
 * that is empty, too long, or has a '/' in it), or the file or memory is.
 */
void *rvm_simple_map(rvm_t rvm, const char *segname, int size_to_create);

/*
 * Unmap a segment, by the address that rvm_map returned.  What was committed is
 * there at the next rvm_map, and nothing else.  Refused, with a message, while a
 * transaction has the segment.
 */
void rvm_simple_unmap(rvm_t rvm, void *segbase);

/*
 * Delete a segment, for good: durably so on return.  Nothing happens if there is
 * none.  Refused, with a message, while it is mapped.
 */
void rvm_destroy(rvm_t rvm, const char *segname);

/*
 * Begin a transaction on numsegs segments, by the addresses that rvm_map returned.
 * (trans_t)-1 if one of them is in a transaction already; and, with a message, if
 * one is not mapped or given twice, or numsegs is less than 1.
 */
trans_t rvm_begin_trans(rvm_t rvm, int numsegs, void **segbases);

/*
 * Say that the transaction is going to change `size` bytes of a segment, from
 * `offset` on, before it does so: their old values are saved.  Any number of
 * ranges, which may overlap.
 */
void rvm_about_to_modify(trans_t tid, void *segbase, int offset, int size);

/*
 * Commit: what is now in the ranges of the transaction is durable when this
 * returns, all of it; after a crash before that, all of it or nothing.
 */
void rvm_commit_trans(trans_t tid);

/* Abort: the ranges of the transaction get back the values they had at its begin. */
void rvm_abort_trans(trans_t tid);

/*
 * Write all that is in the directory's log to the segments' files, and empty the
 * log.  The library does so by itself when the log fills.  A failure is told on
 * stderr; nothing is lost by it.
 */
void rvm_truncate_log(rvm_t rvm);

/* Tell on stderr what each call does (1), or not (0, as at first). */
void rvm_verbose(int enable);

#ifndef RVM_H
#define rvm_map		rvm_simple_map
#define rvm_unmap	rvm_simple_unmap
#endif

#ifdef __cplusplus
}
#endif

#endif
