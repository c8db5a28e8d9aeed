/* SPDX-License-Identifier: GPL-2.0 OR MIT */
/*
 * RVM: recoverable virtual memory.
 *
 * A program maps parts of files (regions of segments) into its memory, and
 * changes them inside transactions with ordinary stores.  After a crash of the
 * program or the machine it finds exactly the committed changes, applied in
 * commit order.  In short:
 *
 *	rvm_options_t options;
 *	rvm_region_t region;
 *	rvm_tid_t tid;
 *
 *	rvm_init_options(&options);
 *	options.log_dev = "bank.log";		// made before by rvm_create_log
 *	RVM_INIT(&options);			// opens the log, and recovers
 *
 *	rvm_init_region(&region);
 *	region.data_dev = "bank.segment";
 *	rvm_map(&region, NULL);			// region.vmaddr is the memory
 *
 *	rvm_init_tid(&tid);
 *	rvm_begin_transaction(&tid, restore);
 *	rvm_set_range(&tid, region.vmaddr, 8);	// what is going to change
 *	++*(long *)region.vmaddr;
 *	rvm_end_transaction(&tid, flush);	// durable when this returns
 *
 *	rvm_terminate();
 *
 * Every call returns an rvm_return_t: test it.
 *
 *
 * Caveats
 *
 * - A store that no rvm_set_range declared is not logged.  It is in memory, it
 *   may seem to be there for as long as the region is mapped, and it is lost.
 *   Declare first, then store.
 * - There are no locks on data.  Transactions of several threads must not
 *   write the same bytes at the same time; keeping them apart (serializing) is
 *   up to the program.
 * - A committed transaction is not a durable one, unless it was committed with
 *   flush, or rvm_flush or a later flush commit has returned since.
 * - A transaction begun with no_restore can be aborted, but its stores stay in
 *   memory; they count as undeclared.
 * - A log has one owner at a time, and so has a segment: a process, or the
 *   kernel for all the processes that use its engine.  The lock is an
 *   advisory one (flock); programs that ignore it can damage the data.
 * - Pointers stored in a region are valid after the next map only if it is
 *   mapped at the same address again: give vmaddr.
 * - Don't shorten a segment's file, or change it by other means, while it is
 *   mapped or the log holds records of it.  With the kernel engine a page that
 *   is not there any more is SIGBUS, as for any mapped file.
 * - After fork the child has no use of the library: every call there gives
 *   RVM_EINIT.  The parent goes on as before.  (Processes made with clone or
 *   vfork, behind the C library's back, must not call it at all.)
 * - A process that ends without rvm_terminate has crashed, as far as this
 *   library is concerned; with the user engine its queued no_flush commits are
 *   lost.
 * - After a failed write to the log (RVM_EIO) no commit succeeds any more:
 *   terminate, mend the cause, and start again.
 *
 * Threads: every call may be made from any thread at any time.  Calls on one
 * transaction follow one another; calls on different transactions run side by
 * side.  Records (options, region, tid) are the caller's, and calls only read
 * them, except where it is said that they write.  None of the calls may be
 * made from a signal handler.
 *
 * Which engine does the work, the one in this library ("user") or the one in
 * the kernel ("kernel"), is chosen by the environment variable RVM_ENGINE or
 * by rvm_set_engine; see <rvm/rvm_engine.h>.
 *
 * Lengths are in bytes.  errno is meaningful after RVM_EIO only.
 */
#ifndef RVM_H
#define RVM_H

#include <sys/param.h>
#include <sys/time.h>

#ifdef __cplusplus
extern "C" {
#endif

#define RVM_VERSION	"RVM Interface Version 1.3  7 Mar 1994"
#define RVM_VERSION_MAX	128		/* bytes of a version string that count */

#ifndef TRUE
#define TRUE 1
#endif
#ifndef FALSE
#define FALSE 0
#endif

typedef enum {
	rvm_false = 0,
	rvm_true = 1
} rvm_bool_t;

/* What a record is: the first field of each. */
typedef enum {
	rvm_first_struct_id = 39,
	rvm_region_id,
	rvm_options_id,
	rvm_tid_id,
	rvm_statistics_id,
	rvm_last_struct_id
} rvm_struct_id_t;

/* How a transaction begins, and how it ends. */
typedef enum {
	rvm_first_mode = 139,
	restore,		/* begin: abort gives the old values back */
	no_restore,		/* begin: no old values are kept */
	flush,			/* end: durable on return */
	no_flush,		/* end: durable after the next flush */
	rvm_last_mode
} rvm_mode_t;

/* What every call returns. */
typedef int rvm_return_t;

#define RVM_SUCCESS		0
#define rvm_first_code		199
#define RVM_EINIT		200	/* not initialized, or already terminated */
#define RVM_EINTERNAL		201	/* internal error */
#define RVM_EIO			202	/* I/O error; errno says which */
#define RVM_ELOG		204	/* no or invalid log; a log to be made exists */
#define RVM_ELOG_VERSION_SKEW	205	/* a log of another format version */
#define RVM_EMODE		206	/* bad begin or end mode */
#define RVM_ENAME_TOO_LONG	207	/* name of more than MAXPATHLEN - 1 bytes */
#define RVM_ENO_MEMORY		208	/* out of memory */
#define RVM_ENOT_MAPPED		209	/* not wholly inside one mapped region */
#define RVM_EOFFSET		210	/* past the segment's end, or overflow */
#define RVM_EOPTIONS		211	/* options NULL where required, or invalid */
#define RVM_EOVERLAP		212	/* part of that segment is mapped already */
#define RVM_EPAGER		213	/* an external pager was asked for */
#define RVM_ERANGE		214	/* address not page aligned; part of a region */
#define RVM_EREGION		215	/* region NULL or invalid */
#define RVM_EREGION_DEF		216	/* bad region definition */
#define RVM_ESRC		217	/* bad source range */
#define RVM_ESTATISTICS		218	/* bad statistics record */
#define RVM_ESTAT_VERSION_SKEW	219	/* statistics of another version */
#define RVM_ETERMINATED		220	/* terminated by an error already reported */
#define RVM_ETHREADS		221	/* illegal thread library */
#define RVM_ETID		222	/* bad tid, or not in a transaction */
#define RVM_ETOO_BIG		223	/* the transaction cannot fit the log */
#define RVM_EUNCOMMIT		224	/* uncommitted transactions are pending */
#define RVM_EVERSION_SKEW	225	/* RVM_VERSION differs */
#define RVM_EVM_OVERLAP		226	/* addresses overlap another mapped region */
#define rvm_last_code		227

/*
 * The names of codes, modes and record types, as they stand above, for
 * messages: rvm_return(RVM_EIO) is "RVM_EIO".  Other values give a string that
 * says so.  The strings are constant: don't write to them, don't free them.
 */
char *rvm_return(rvm_return_t code);
char *rvm_mode(rvm_mode_t mode);
char *rvm_type(rvm_struct_id_t id);

/*
 * Lengths and offsets.  An offset has two words so that segments can be longer
 * than an address; here one word is always enough, and high is 0.
 */
typedef unsigned long rvm_length_t;

typedef struct {
	rvm_length_t high;
	rvm_length_t low;
} rvm_offset_t;

/*
 * Arguments called x and y are offsets, and lvalues; they may be evaluated
 * more than once.  Sums and differences wrap around.
 */
#define RVM_MK_OFFSET(high, low)	(rvm_mk_offset((high), (low)))
#define RVM_OFFSET_INITIALIZER(high, low)	{ (high), (low) }
#define RVM_ZERO_OFFSET(x)		((x).high = 0, (x).low = 0)
#define RVM_OFFSET_TO_LENGTH(x)		((rvm_length_t)(x).low)
#define RVM_OFFSET_HIGH_BITS_TO_LENGTH(x)	((rvm_length_t)(x).high)
#define RVM_LENGTH_TO_OFFSET(length)	(rvm_mk_offset(0, (length)))

#define RVM_ADD_OFFSETS(x, y)		(rvm_add_offsets(&(x), &(y)))
#define RVM_ADD_LENGTH_TO_OFFSET(x, length) \
	(rvm_add_length_to_offset(&(x), (length)))
#define RVM_ADD_LENGTH_TO_ADDR(length, addr) \
	((char *)((rvm_length_t)(length) + (rvm_length_t)(addr)))
#define RVM_SUB_OFFSETS(x, y)		(rvm_sub_offsets(&(x), &(y)))	/* x - y */
#define RVM_SUB_LENGTH_FROM_OFFSET(x, length) \
	(rvm_sub_length_from_offset(&(x), (length)))
#define RVM_SUB_LENGTH_FROM_ADDR(addr, length) \
	((char *)((rvm_length_t)(addr) - (rvm_length_t)(length)))

#define RVM_OFFSET_LSS(x, y) \
	((x).high < (y).high || ((x).high == (y).high && (x).low < (y).low))
#define RVM_OFFSET_GTR(x, y) \
	((x).high > (y).high || ((x).high == (y).high && (x).low > (y).low))
#define RVM_OFFSET_LEQ(x, y)		(!RVM_OFFSET_GTR(x, y))
#define RVM_OFFSET_GEQ(x, y)		(!RVM_OFFSET_LSS(x, y))
#define RVM_OFFSET_EQL(x, y)		((x).high == (y).high && (x).low == (y).low)
#define RVM_OFFSET_EQL_ZERO(x)		((x).high == 0 && (x).low == 0)

#define RVM_PAGE_SIZE			(rvm_page_size())
#define RVM_ROUND_LENGTH_UP_TO_PAGE_SIZE(length) \
	(((rvm_length_t)(length) + ~rvm_page_mask()) & rvm_page_mask())
#define RVM_ROUND_LENGTH_DOWN_TO_PAGE_SIZE(length) \
	((rvm_length_t)(length) & rvm_page_mask())
#define RVM_ROUND_ADDR_UP_TO_PAGE_SIZE(addr) \
	((char *)RVM_ROUND_LENGTH_UP_TO_PAGE_SIZE(addr))
#define RVM_ROUND_ADDR_DOWN_TO_PAGE_SIZE(addr) \
	((char *)RVM_ROUND_LENGTH_DOWN_TO_PAGE_SIZE(addr))
#define RVM_ROUND_OFFSET_UP_TO_PAGE_SIZE(x)	(rvm_rnd_offset_up_to_page(&(x)))
#define RVM_ROUND_OFFSET_DOWN_TO_PAGE_SIZE(x)	(rvm_rnd_offset_dn_to_page(&(x)))

/* The functions beneath the macros.  They work at any time, initialized or not. */
rvm_offset_t rvm_mk_offset(rvm_length_t high, rvm_length_t low);
rvm_offset_t rvm_add_offsets(rvm_offset_t *x, rvm_offset_t *y);
rvm_offset_t rvm_add_length_to_offset(rvm_offset_t *x, rvm_length_t length);
rvm_offset_t rvm_sub_offsets(rvm_offset_t *x, rvm_offset_t *y);
rvm_offset_t rvm_sub_length_from_offset(rvm_offset_t *x, rvm_length_t length);
rvm_offset_t rvm_rnd_offset_up_to_page(rvm_offset_t *x);
rvm_offset_t rvm_rnd_offset_dn_to_page(rvm_offset_t *x);
rvm_length_t rvm_page_size(void);
rvm_length_t rvm_page_mask(void);	/* ~(page size - 1) */

/*
 * Records
 *
 * Each begins with struct_id, by which calls tell a record from something else
 * (RVM_EOPTIONS, RVM_EREGION, RVM_ETID), and from_heap.  Let rvm_init_X fill
 * in a record that the program allocated (any earlier contents are
 * overwritten), or take one from rvm_malloc_X.  Set the other fields
 * afterwards.
 *
 * rvm_malloc_X	a new record from the heap, initialized; NULL: out of memory
 * rvm_init_X	set all fields to their defaults
 * rvm_copy_X	a new record from the heap with the same contents; pointers are
 *		copied, not what they point to.  NULL: out of memory, or the
 *		argument is no such record
 * rvm_free_X	free a record from rvm_malloc_X or rvm_copy_X, not what its
 *		pointers point to.  Does nothing to any other record
 *
 * These work at any time, initialized or not.
 */

/*
 * Transaction identifier.  The record is the program's, and says which
 * transaction is meant between begin and end or abort.  A copy of it means the
 * same transaction.  It can be used for one transaction after another.
 */
typedef struct {
	rvm_struct_id_t struct_id;	/* rvm_tid_id */
	rvm_bool_t from_heap;
	struct timeval uname;		/* when it began, distinct in this process; by begin */
	void *tid;			/* private; written by begin */
	rvm_length_t reserved;
} rvm_tid_t;

/* Defaults, and the least that a buffer's length is raised to. */
#define TRUNCATE		50		/* % of the log in use */
#define RECOVERY_BUF_LEN	(256 * 1024)
#define MIN_RECOVERY_BUF_LEN	(64 * 1024)
#define FLUSH_BUF_LEN		(256 * 1024)
#define MIN_FLUSH_BUF_LEN	(64 * 1024)
#define MAX_READ_LEN		(512 * 1024)

/*
 * Flags of options.
 *
 * COALESCE_RANGES: overlapping and adjacent ranges of a transaction are merged,
 * so that each byte is saved and logged once.  COALESCE_TRANS: no_flush commits
 * that wait to be flushed are merged with later ones that supersede them; it
 * implies COALESCE_RANGES.  Neither changes what is recovered.  They apply to
 * transactions begun after the options were set.  With the kernel engine
 * COALESCE_TRANS is the log's, like `truncate`: who sets it last decides for all.
 *
 * MAP_PRIVATE: regions are mapped copy-on-write and read in page by page,
 * instead of being copied whole by rvm_map (user engine; the kernel engine
 * always reads page by page).
 *
 * Other bits are ignored.
 */
#define RVM_COALESCE_RANGES	1
#define RVM_COALESCE_TRANS	2
#define RVM_ALL_OPTIMIZATIONS	(RVM_COALESCE_RANGES | RVM_COALESCE_TRANS)
#define RVM_MAP_PRIVATE		8

typedef struct {
	rvm_struct_id_t struct_id;	/* rvm_options_id */
	rvm_bool_t from_heap;
	char *log_dev;			/* name of the log file or block device */
	long truncate;			/* % of the log in use at which truncation
					   starts in the background; 0: never by itself */
	rvm_length_t recovery_buf_len;	/* a smaller value than MIN_... counts as that */
	rvm_length_t flush_buf_len;
	rvm_length_t max_read_len;
	rvm_bool_t log_empty;		/* rvm_query: has the log no live records? */
	char *pager;			/* must be NULL */
	long n_uncommit;		/* rvm_query: length of tid_array */
	rvm_tid_t *tid_array;		/* rvm_query: open transactions; free() it */
	rvm_length_t flags;
	rvm_bool_t create_log_file;	/* rvm_initialize: make the log log_dev first, */
	rvm_offset_t create_log_size;	/* with a record area of this length, */
	long create_log_mode;		/* and these permissions (less the umask) */
} rvm_options_t;

/* A region: what is to be mapped where; then, what was. */
typedef struct {
	rvm_struct_id_t struct_id;	/* rvm_region_id */
	rvm_bool_t from_heap;
	char *data_dev;			/* name of the segment's file or block device */
	rvm_offset_t dev_length;	/* length that an empty file is grown to */
	rvm_offset_t offset;		/* of the region in the segment */
	char *vmaddr;			/* address in memory; NULL: the library chooses */
	rvm_length_t length;		/* 0: to the segment's end */
	rvm_bool_t no_copy;		/* don't read the segment in: its present contents
					   don't matter, and memory reads as zeros
					   (a hint, which an engine may ignore) */
} rvm_region_t;

rvm_options_t *rvm_malloc_options(void);
void rvm_init_options(rvm_options_t *options);
rvm_options_t *rvm_copy_options(rvm_options_t *options);
void rvm_free_options(rvm_options_t *options);

rvm_region_t *rvm_malloc_region(void);
void rvm_init_region(rvm_region_t *region);
rvm_region_t *rvm_copy_region(rvm_region_t *region);
void rvm_free_region(rvm_region_t *region);

rvm_tid_t *rvm_malloc_tid(void);
void rvm_init_tid(rvm_tid_t *tid);
rvm_tid_t *rvm_copy_tid(rvm_tid_t *tid);
void rvm_free_tid(rvm_tid_t *tid);

/*
 * Start and end
 *
 * All calls from here on give RVM_EINIT before rvm_initialize has succeeded
 * (except itself), after rvm_terminate, and in the child of a fork, whatever
 * their arguments.
 *
 * Calls that take options check them first:
 *
 * RVM_EOPTIONS		NULL where they are required; struct_id is not
 *			rvm_options_id; truncate is not in 0..100
 * RVM_EPAGER		pager is not NULL
 * RVM_ENAME_TOO_LONG	log_dev has more than MAXPATHLEN - 1 bytes
 */

/*
 * Start.  options may be NULL.  With log_dev NULL, too, no log is opened, and
 * calls that need one give RVM_ELOG until rvm_set_options opens one.  With
 * create_log_file the log is made first, as by rvm_create_log; if that fails
 * nothing is started.
 *
 * With log_dev the log is opened and recovered: when this returns, every
 * committed record is durably in its segment, except those of segments that
 * are missing or not permitted: they are named on stderr, and their records
 * stay in the log for a later start.
 *
 * Nothing is kept of the arguments.  A second call succeeds and does nothing.
 * A call that failed can be repeated.
 *
 * RVM_EVERSION_SKEW	version is not RVM_VERSION
 * RVM_EINIT		after rvm_terminate: a process can't start twice
 * RVM_EOPTIONS		also if create_log_file is set without log_dev, or RVM_ENGINE
 *			names no engine: a message on stderr says which there are
 * RVM_EIO		ENODEV: the kernel engine was asked for and is not there; a
 *			message on stderr says what to do.  Else: the log can't be
 *			opened, read or written: ENOENT, EACCES, EBUSY if another
 *			process owns it, ...
 * RVM_ELOG		log_dev is no log, or damaged; or create_log_file is set and
 *			it exists
 * RVM_ELOG_VERSION_SKEW  a log of another format version
 * RVM_EOFFSET		create_log_size: see rvm_create_log
 * RVM_ENO_MEMORY
 */
rvm_return_t rvm_initialize(const char *version, rvm_options_t *options);

#define RVM_INIT(options)	rvm_initialize(RVM_VERSION, (options))

/*
 * Make a new log file, options->log_dev, with permissions `mode` (less the
 * umask).  log_len is the length of the record area, which is rounded up to
 * 4096; the file is 128 KiB longer.  The whole file is allocated and written,
 * so that commits need no new blocks.  On return file and directory entry are
 * durable; on failure no file is left.  The log is not opened.
 *
 * Other fields of options than log_dev have no effect.
 *
 * RVM_EOPTIONS		also if log_dev is NULL
 * RVM_ELOG		a file of this name exists, whatever it is
 * RVM_EOFFSET		log_len is NULL, 0, or longer than a file can be
 * RVM_EIO		it can't be made or written: ENOENT, EACCES, ENOSPC, ...
 * RVM_ENO_MEMORY
 */
rvm_return_t rvm_create_log(rvm_options_t *options, rvm_offset_t *log_len, long mode);

/*
 * End.  All queued no_flush commits become durable, and the log is closed; it
 * is not truncated.  Regions may still be mapped.  Their memory stays in the
 * address space, but nothing that is done to it matters to the segments.
 *
 * RVM_EUNCOMMIT	transactions are open: end or abort them first (rvm_query
 *			lists them).  Nothing has changed
 * RVM_EIO		the last flush failed.  The log is closed all the same
 */
rvm_return_t rvm_terminate(void);

/*
 * Change options: truncate, flags, and the buffer lengths; with log_dev, while
 * no log is open, also open that log and recover, as rvm_initialize does.  If
 * log_dev names the open log, it is as if it was NULL.  options is required.
 * create_log_file has no effect.
 *
 * RVM_ELOG		log_dev is another log than the open one; no log, or damaged
 * and as rvm_initialize: RVM_EIO, RVM_ELOG_VERSION_SKEW, RVM_ENO_MEMORY
 */
rvm_return_t rvm_set_options(rvm_options_t *options);

/*
 * Read the options in force into *options: truncate, buffer lengths, flags,
 * and log_empty, which is true also without a log.  If log_dev is not NULL it
 * points to room for MAXPATHLEN bytes, and the log's name is copied there (an
 * empty string without a log).
 *
 * The open transactions are appended to tid_array, which is reallocated, and
 * n_uncommit grows by their number: start with what rvm_init_options put there.
 * If region is not NULL, it says by vmaddr and length which mapped region is
 * meant (it or any part of it), and only transactions with ranges there
 * count.  A tid from the array can be ended or aborted like any other.
 *
 * RVM_EOPTIONS		options NULL, wrong struct_id, n_uncommit negative
 * RVM_EREGION		wrong struct_id
 * RVM_ENOT_MAPPED	region is not inside a mapped region
 * RVM_ENO_MEMORY
 */
rvm_return_t rvm_query(rvm_options_t *options, rvm_region_t *region);

/*
 * Regions
 */

/*
 * Map a region: make the committed contents of [offset, offset + length) of a
 * segment appear in memory.
 *
 * The beginning is rounded down and the end up to whole pages, and the end is
 * clipped to the segment's.  offset and length are changed to say what was
 * mapped, and vmaddr where.  If the call fails, *region is as it was.
 *
 * vmaddr, if not NULL, is page aligned, and what memory was there before is
 * replaced, whoever's it was: choose addresses where neither malloc nor the
 * system puts anything, or keep the range mapped until this call.
 *
 * The segment is a file or block device, which must exist.  An empty file is
 * first grown to dev_length, with blocks allocated where the file system can;
 * otherwise dev_length does not matter.  Symbolic links are followed, and the
 * log remembers the absolute name, so don't rename a segment while the log
 * holds records of it.
 *
 * options may be NULL.  Of them, flags decides about RVM_MAP_PRIVATE for this
 * region (with NULL: that of rvm_initialize or rvm_set_options does), and
 * log_dev, if given, must name the open log.
 *
 * RVM_EREGION		region NULL, wrong struct_id, or data_dev NULL
 * RVM_ENAME_TOO_LONG	data_dev has more than MAXPATHLEN - 1 bytes
 * RVM_ERANGE		vmaddr is not page aligned, or the region would wrap around
 * RVM_ELOG		no log is open, or log_dev is not the open one
 * RVM_EOFFSET		offset is at or past the segment's end, or offset + length,
 *			or dev_length, overflows
 * RVM_EVM_OVERLAP	the memory overlaps a mapped region
 * RVM_EOVERLAP		this part of the segment is in a mapped region already
 * RVM_EIO		the segment can't be opened for writing, grown or read:
 *			ENOENT, EACCES, EBUSY if another process owns it, ENOSPC,
 *			EISDIR, ENOTBLK if it is neither file nor block device, ...
 * RVM_ENO_MEMORY	also if no memory can be mapped at vmaddr
 */
rvm_return_t rvm_map(rvm_region_t *region, rvm_options_t *options);

/*
 * Unmap a region: the whole of it, as rvm_map left the record (vmaddr and
 * length count).  Committed changes stay committed, no_flush ones too, and the
 * next map shows them.  Other changes are gone.
 *
 * Where the library had chosen the address, the memory is given back; where
 * the caller did, ordinary zeroed memory stays in its place.
 *
 * RVM_EREGION		region NULL or wrong struct_id
 * RVM_ENOT_MAPPED	not inside a mapped region
 * RVM_ERANGE		only a part of a mapped region
 * RVM_EUNCOMMIT	an open transaction has ranges in it
 * RVM_EIO		the engine could not; it is still mapped
 */
rvm_return_t rvm_unmap(rvm_region_t *region);

/*
 * Transactions
 */

/*
 * Begin a transaction: restore, or no_restore if it is never going to be
 * aborted, which saves keeping old values.  *tid (see rvm_init_tid) is written.
 * Several may be open at once, in one thread or in many.
 *
 * RVM_ETID		tid NULL or wrong struct_id
 * RVM_EMODE		mode is neither
 * RVM_ELOG		no log is open
 * RVM_ENO_MEMORY
 */
rvm_return_t rvm_begin_transaction(rvm_tid_t *tid, rvm_mode_t mode);

/*
 * Declare that [dest, dest + length) is going to be changed.  Call it before
 * the first store.  The range lies inside one mapped region; there is no need
 * for alignment.  Declaring a byte again does no harm.
 *
 * With length 0 nothing is declared; dest is then checked only if ranges are
 * not coalesced.
 *
 * RVM_ETID		the tid is not in an open transaction
 * RVM_ENOT_MAPPED	the range is not wholly inside one mapped region
 * RVM_ENO_MEMORY
 * RVM_EIO
 * In each case nothing was declared, and the transaction goes on.
 */
rvm_return_t rvm_set_range(rvm_tid_t *tid, void *dest, rvm_length_t length);

/*
 * Declare [dest, dest + length), then copy length bytes from src there.  The two
 * may overlap.  As rvm_set_range, and
 *
 * RVM_ESRC		src is NULL or wraps around, and length is not 0
 */
rvm_return_t rvm_modify_bytes(rvm_tid_t *tid, void *dest, const void *src,
			      rvm_length_t length);

/*
 * Commit.  The values that memory has now, in the ranges declared, are
 * committed; what is stored there later is not part of it.  Commits take effect
 * in the order in which they are made.
 *
 * flush	on return this commit is durable, and so are all before it.
 * no_flush	it becomes durable with the next flush commit, rvm_flush,
 *		rvm_truncate or rvm_terminate, or by itself when its queue grows;
 *		always in commit order.  Until then a power failure (user engine:
 *		also the end of the process) undoes it, together with all after it.
 *
 * mode is checked first.  If the log is full, this waits for truncation.
 *
 * RVM_EMODE		mode is neither; the transaction is still open
 * RVM_ETID		the tid is not in an open transaction
 * RVM_ETOO_BIG		it would not fit the log even if that were empty.  It is
 *			still open, and nothing has changed: abort it
 * RVM_EIO		the log could not be written, now or earlier, or it is full
 *			and a segment could not.  The transaction has ended.  It is
 *			not committed, unless the record that failed did reach the
 *			log: the next start finds that whole, or not at all.  Memory
 *			may still have the changes
 * RVM_ENO_MEMORY	the transaction has ended, and is not committed
 */
rvm_return_t rvm_end_transaction(rvm_tid_t *tid, rvm_mode_t mode);

/*
 * Abort.  Under restore every range gets back the bytes it had when it was
 * declared, the latest first, except bytes that another transaction committed
 * meanwhile: they get the committed values.  Under no_restore memory stays as
 * it is.  The tid is ended, whatever is returned.
 *
 * RVM_ETID		the tid is not in an open transaction
 * RVM_EIO
 */
rvm_return_t rvm_abort_transaction(rvm_tid_t *tid);

/*
 * Make all commits so far durable.
 *
 * RVM_ELOG		no log is open
 * RVM_EIO		the log could not be written, now or earlier
 */
rvm_return_t rvm_flush(void);

/*
 * Make all commits so far durable, write them to their segments, durably, and
 * empty the log.  Afterwards an ordinary read of a segment's file sees them.
 * Open transactions don't matter.
 *
 * RVM_ELOG		no log is open
 * RVM_EIO		the log or a segment could not be written.  Nothing is lost:
 *			what is not in its segment stays in the log
 * RVM_ENO_MEMORY
 */
rvm_return_t rvm_truncate(void);

#ifdef __cplusplus
}
#endif

#endif
