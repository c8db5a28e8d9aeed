/* SPDX-License-Identifier: GPL-2.0 OR MIT */
/*
 * Beyond the standard API: how changes are found.  Each region has one mode,
 * given when it is mapped:
 *
 *   ranges	rvm_set_range declares what changes.  Nothing else is durable.
 *   check	the same, and each commit looks for changes that were not declared.
 *   diff	nothing is declared: the bytes that a transaction changed are found
 *		when it ends, by comparing the pages that were stored to with copies.
 *   pages	the same, but the whole of each changed page is logged.
 *
 * pages and diff are called tracked.  The first store to a page is noticed by a
 * page fault; pages that were stored to lately are hot: they stay writable, and
 * are compared with their copies.  In tracked regions
 *
 * - rvm_set_range checks its arguments, and changes nothing;
 * - rvm_abort_transaction gives back what was there at rvm_begin_transaction,
 *   in the begin mode no_restore, too;
 * - a process has one transaction at a time, whatever thread made it:
 *   rvm_begin_transaction waits for another thread's to end, and is RVM_EUNCOMMIT in the
 *   thread that began the open one.  rvm_map of a log's first tracked region is
 *   RVM_EUNCOMMIT while a transaction is open, and so is rvm_unmap of one;
 * - a store outside of any transaction is an error: SIGSEGV at the store, and on
 *   a hot page a report at the next rvm_begin_transaction.  It is undone.  `strict`
 *   has no hot pages: then it is always SIGSEGV;
 * - with the kernel engine processes that store to the same page take turns:
 *   the second waits for the end of the first one's transaction.  Where each waits
 *   for the other, one gets SIGBUS (a system call EFAULT);
 * - with the kernel engine all regions of a segment are tracked, or none
 *   (RVM_EIO, errno EBUSY);
 * - with the user engine stores are noticed by one of three mechanisms, see below.
 *
 * The user engine protects the pages of tracked regions, and of checked ones, by
 *
 * - mprotect(2), if nothing else is asked for.  The first store to a page gets SIGSEGV,
 *   which a handler of the library takes.  Each page that is stored to may take a mapping of its
 *   own: a process can have 65,530 (vm.max_map_count);
 * - userfaultfd(2), RVM_TRACK_USERFAULTFD.  The store gets SIGBUS, and the same
 *   is done about it; it takes no mappings.  Not with RVM_MAP_PRIVATE (RVM_EIO, errno
 *   EINVAL).  The whole region is in memory from rvm_map on;
 * - userfaultfd(2), asynchronously, RVM_TRACK_USERFAULTFD_ASYNC, from Linux 6.7 on.
 *   Stores get no signal: the pages are found later, by PAGEMAP_SCAN, which looks at the
 *   whole region when a transaction begins and when it ends.  System calls can store
 *   anywhere.  A store outside of any transaction is never a signal, but always reported by the
 *   next rvm_begin_transaction; so it can't be strict (RVM_EOPTIONS).  The copies are
 *   private mappings of the segment, which nobody must make shorter meanwhile.
 *
 * Of the first two holds: a system call that stores to a protected page gets EFAULT, unless
 * rvm_set_range was called for that memory in the transaction.  A handler of the signal that
 * the application installed before rvm_map gets all that are for no region; one that it
 * installs later must pass on to the one before it what is not its own.  No thread
 * may block the signal.  A signal handler must not store to such a region.  A store
 * outside of any transaction is SIGSEGV under both.
 *
 * Neither userfaultfd needs a privilege.  Where it can't be had, rvm_map says so on stderr and
 * gives RVM_EIO: errno is what the system call said (ENOSYS, EPERM, EMFILE...), or
 * EOPNOTSUPP if this kernel's can't do it.  Under all three regions in a forked child are
 * ordinary memory.  The kernel engine notices stores by itself, and has no use for these flags.
 *
 * The environment variable RVM_TRACKING gives the mode to programs that don't
 * choose one, and may go on with words for these flags: RVM_TRACKING=diff,strict or
 * RVM_TRACKING=diff,userfaultfd-async
 *
 * check is for tests: run a program with RVM_TRACKING=check RVM_CHECK=abort.
 */
#ifndef RVM_TRACKING_H
#define RVM_TRACKING_H

#include <rvm/rvm.h>

#ifdef __cplusplus
extern "C" {
#endif

/*
 * In `flags` of the options that rvm_map is given, for this region; in those of
 * rvm_initialize and rvm_set_options, for regions that are mapped without.  One
 * mode; none: the next of these sources decides, then RVM_TRACKING, and last it is ranges.
 */
#define RVM_TRACK_RANGES	0x100
#define RVM_TRACK_PAGES		0x200
#define RVM_TRACK_DIFF		0x300
#define RVM_TRACK_CHECK		0x400
#define RVM_TRACK_MODES		0x700		/* mask */

/* With pages and diff: no hot pages. */
#define RVM_TRACK_STRICT	0x800

/* How the user engine notices stores, one of these or mprotect; for the mode beside it. */
#define RVM_TRACK_USERFAULTFD		0x1000
#define RVM_TRACK_USERFAULTFD_ASYNC	0x2000

/*
 * A commit found undeclared changes, or a begin a store outside of any transaction,
 * and the action is "fail".  From rvm_end_transaction: the transaction is open,
 * and can be ended once they are declared; from rvm_begin_transaction: it has not begun.
 */
#define RVM_EUNDECLARED		3000

/*
 * What is done about undeclared changes: "warn" (a line for each on stderr, and
 * counted in the engine's counters; the default), "fail" (that, and RVM_EUNDECLARED) or
 * "abort" (that, and abort()).  It takes the place of the environment variable
 * RVM_CHECK.  A change is reported once, and again if its bytes change.
 *
 * RVM_SUCCESS; RVM_EOPTIONS for another word.  By any thread, at any time.
 */
rvm_return_t rvm_set_check(const char *action);

#ifdef __cplusplus
}
#endif

#endif
