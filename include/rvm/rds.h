/* SPDX-License-Identifier: GPL-2.0 OR MIT */
/*
 * RDS: a heap in recoverable memory, with malloc and free.
 *
 * rds_zap_heap makes a segment with a heap, and beside it a static area for what
 * the program wants to find first (its roots).  In short:
 *
 *	char *root;
 *	int err;
 *
 *	RVM_INIT(&options);
 *	rds_load_heap("list.segment", length, &root, &err);
 *
 *	rvm_begin_transaction(&tid, restore);
 *	node = (struct node *)rds_malloc(sizeof(*node), &tid, &err);
 *	rvm_set_range(&tid, node, sizeof(*node));
 *	node->next = *(struct node **)root;
 *	rvm_modify_bytes(&tid, root, &node, sizeof(node));
 *	rvm_end_transaction(&tid, flush);
 *
 * The block, the node in it and the pointer to it are there together, or not at all,
 * whatever crashes.  Link with -lrds -lseg -lrvm.
 *
 *
 * Results
 *
 * What went wrong is in *err: SUCCESS, a code of those below, or, where RVM failed,
 * its code (RVM_...; then errno is as after that call).  The int calls with an err
 * return 0 or ERVM_FAILED, rds_malloc NULL; those without one return the code.  err
 * may be NULL.  After an error nothing has changed, where nothing else is said.
 *
 * Every call may also give
 *
 * EHEAP_INIT	no heap is started; or, of the calls that start or make one, this heap
 *		or another one is started already
 * ECORRUPT	the heap was found damaged
 * RVM_EINIT	RVM is not initialized, or this is a forked child
 * RVM_ENO_MEMORY
 *
 *
 * Transactions
 *
 * A call with a tid is part of that transaction.  If it commits, the blocks that
 * it allocated and freed are allocated and free; if it aborts, or the process
 * dies, then the heap is as if it had never been, whoever aborts it and in
 * whatever order.  Durable is the one as soon as the other is.
 *
 * With NULL a call has a transaction of its own, committed no_flush: the next flush
 * makes it durable (rvm_flush, or any flush commit).
 *
 * Transactions allocate and free side by side, in threads or in one.  What an open
 * one has allocated or freed belongs to it until it ends:
 *
 * - others don't get the memory that it freed; they may find no room (ENO_ROOM)
 *   where a commit would make some.  It can have that itself, once there is no other;
 * - others can't free what it allocated: RVM_EUNCOMMIT.
 *
 *
 * Caveats
 *
 * - A new block's contents are what was there before: not zeros.  Declare it with
 *   rvm_set_range before you store to it, as any recoverable memory.
 * - Don't abort a transaction that was begun with no_restore and called RDS.  RVM
 *   leaves its bytes in memory, so the blocks stay as it left them until the heap is
 *   loaded again, and what is committed from there on may leave a heap with EBAD_LIST.
 * - The heap is at a fixed address, so that pointers in it stay valid.  Choose one where
 *   neither the system nor malloc puts anything; it must be free in every process
 *   that loads the heap.
 * - A process has one heap started, and a heap is loaded by one process: a second one
 *   gets RVM_EIO with EBUSY, also with the kernel engine.  (A child that was forked
 *   meanwhile, and lives on, keeps it so.)  Processes that map the segment by other
 *   means and call rds_start_heap must see to that themselves.
 * - While regions are mapped whose changes are found (rvm_tracking.h: pages, diff) a
 *   process has one transaction open at a time: a call with NULL in a thread with an
 *   open one gives RVM_EUNCOMMIT.
 * - Every block has 24 bytes that guard it, in front and at its end; rds_free and
 *   rds_fake_free find them overwritten, nothing else does.
 *
 * Threads: every call may be made from any thread at any time.  None may be made from
 * a signal handler.
 */
#ifndef RDS_H
#define RDS_H

#include <stdio.h>

#include <rvm/rvm.h>

#ifdef __cplusplus
extern "C" {
#endif

#define SUCCESS			0
#define ERVM_FAILED		-1	/* what calls return that have an err */
#define EBAD_LIST		-2	/* the map of what is free is damaged */
#define EBAD_SEGMENT_HDR	-3	/* no heap is there, its header is damaged, or it is
					   not at the address for which it was made */
#define EHEAP_VERSION_SKEW	-4	/* a heap of another format version */
#define EHEAP_INIT		-5	/* no heap is started, or one is */
#define EBAD_ARGS		-6	/* an argument is of no use */
#define ECORRUPT		-7	/* a block or the map is damaged */
#define EFREED_TWICE		-8	/* the block is free already */
#define ENO_ROOM		-9	/* no free space of that size */

/*
 * Making a heap
 *
 * chunkSize	what is given out are multiples of this: at least 32, a multiple of the
 *		size of a pointer.  With a multiple of 16 blocks are aligned to 16 bytes,
 *		else to 8
 * nlists	sizes up to that many chunks have free lists of their own (of at most
 *		4096 use is made); at least 1
 *
 * Two bytes for each chunk, and 112 in all, are taken out of the heap's length.  It
 * can have 2^31 - 1 chunks.
 */

/*
 * Make a heap in the segment DevName, a file or device that exists; an empty file is
 * grown to DevLength first.  Whatever was there before is lost.  It has a page of
 * header (rvm_segment.h), the heap, at the address startAddr, and right after it the
 * static area, which is zeroed.  Address and lengths are multiples of the page
 * size, and not 0.  The heap is durable when this returns, and not loaded.
 *
 * This is done in many small transactions: a crash, or an error that is not one of
 * arguments, can leave a segment without a heap (EBAD_SEGMENT_HDR when it is loaded).
 *
 * EBAD_ARGS	DevName is NULL; chunkSize or nlists; the heap is too short for one
 *		chunk, or has too many
 * RVM_EREGION_DEF, RVM_ERANGE	address or lengths
 * RVM_EOFFSET	the segment is too short
 * RVM_EVM_OVERLAP	something is in memory there
 * RVM_EIO	EBUSY: it is loaded, by this process or another; and as rvm_map
 */
int rds_zap_heap(char *DevName, rvm_offset_t DevLength, char *startAddr,
		 rvm_length_t staticLength, rvm_length_t heapLength, unsigned long nlists,
		 unsigned long chunkSize, int *err);

/*
 * Make a heap in memory that the program has mapped, at base (a multiple of 16), of
 * that length.  It is not started.  With a tid it is made when the transaction
 * commits; what the region had in the heap's map before is cleared in it, too, which
 * needs nothing in a new segment and up to two bytes for each chunk otherwise.  With
 * NULL it is done in small transactions, see rds_zap_heap.
 *
 * EBAD_ARGS	as above; or base
 * RVM_ENOT_MAPPED	it is not in one mapped region
 */
int rds_init_heap(char *base, rvm_length_t length, unsigned long chunkSize,
		  unsigned long nlists, rvm_tid_t *tid, int *err);

/*
 * Using it
 */

/*
 * Load the segment's regions, each at its address, and start the heap.  *staticAddr,
 * if staticAddr is not NULL, is the static area.  Header and map are checked (and no
 * block is looked at, so nothing else of the heap is read in).
 *
 * EBAD_ARGS	DevName is NULL
 * EBAD_LIST, EBAD_SEGMENT_HDR, EHEAP_VERSION_SKEW
 * RVM_ESEGMENT_HDR, RVM_EVM_OVERLAP	as rvm_load_segment
 * RVM_EIO	EBUSY: it is loaded by another process; and as rvm_map
 */
int rds_load_heap(char *DevName, rvm_offset_t DevLength, char **staticAddr, int *err);

/*
 * Flush, truncate, stop the heap and unmap both regions.
 *
 * EHEAP_INIT	none was loaded
 * RVM_EUNCOMMIT	transactions with changes there are open.  The heap goes on
 * RVM_EIO	the log or segment can't be written.  The heap goes on
 */
int rds_unload_heap(int *err);

/*
 * Start, and stop, using a heap in memory that the program has mapped itself, at the
 * heap's address.
 *
 * EBAD_ARGS	the address is NULL or not a multiple of 16
 * EBAD_LIST, EBAD_SEGMENT_HDR, EHEAP_VERSION_SKEW
 * RVM_ENOT_MAPPED	it is not in one mapped region
 * RVM_EUNCOMMIT	open transactions have ranges in it
 */
int rds_start_heap(char *startAddr, int *err);
int rds_stop_heap(int *err);

/*
 * Allocate a block of that many bytes (0: the smallest).  NULL: none, see *err.
 *
 * ENO_ROOM
 * RVM_ETID, RVM_ETOO_BIG and what rvm_set_range gives
 */
char *rds_malloc(unsigned long size, rvm_tid_t *tid, int *err);

/*
 * Free one.
 *
 * EBAD_ARGS	NULL, or no address that a block of this heap could have
 * ECORRUPT	it is none, or what guards it was overwritten.  Nothing is freed
 * EFREED_TWICE	it was freed
 * RVM_EUNCOMMIT	another open transaction allocated or freed it
 */
int rds_free(char *addr, rvm_tid_t *tid, int *err);

/*
 * Make nblocks free blocks for requests of that size, so that those need not be cut
 * from longer ones.  They last until a longer request finds no other room, and no
 * longer than the heap is started.  Nothing of it is in the transaction.
 *
 * EBAD_ARGS	nblocks is 0
 * ENO_ROOM	there is no room for all
 */
int rds_prealloc(unsigned long size, unsigned long nblocks, rvm_tid_t *tid, int *err);

/*
 * The most bytes that a request of that size gets: all of these can be used.  0: the
 * size is more than any heap has, or no heap is started.
 */
unsigned long rds_maxblock(unsigned long size);

/*
 * Deferred frees
 *
 * rds_fake_free only notes a block in a list, for the time after the transaction that
 * stops using it has committed; rds_do_free frees all that are in it, in a
 * transaction of its own that ends in that mode.  If the first transaction is
 * aborted instead, free(list->table).
 *
 * A list begins as all zeros, and is used by one thread at a time.  rds_do_free
 * frees the table and zeroes the list; after an error the list is as it was, and no
 * block is freed.
 *
 * EBAD_ARGS	list is NULL; and as rds_free
 * EFREED_TWICE	rds_do_free: also of a block that is in the list twice
 * RVM_EMODE	mode is neither flush nor no_flush
 */
#define STARTSIZE	128		/* blocks that a new table has room for */

typedef struct intlist {
	unsigned long size;		/* blocks that it has room for */
	unsigned long count;		/* blocks in it */
	char **table;			/* from malloc */
} intentionList_t;

int rds_fake_free(char *addr, intentionList_t *list);
int rds_do_free(intentionList_t *list, rvm_mode_t mode);

/*
 * Statistics
 *
 * They are this process's, since the heap was started or they were cleared, and count
 * what was called, whether it committed or not.  The last two are the heap's as
 * memory has it, open transactions included.  A number that does not fit is the
 * highest that does.
 */
typedef struct {
	unsigned int malloc;		/* blocks allocated */
	unsigned int prealloc;		/* and preallocated */
	unsigned int free;		/* and freed */
	unsigned int coalesce;		/* times that preallocated blocks were joined again */
	unsigned int hits;		/* requests up to nlists chunks that found their size */
	unsigned int misses;		/* or had to cut it from more */
	unsigned int large_list;	/* free extents of more than nlists chunks, now */
	unsigned int large_hits;		/* longer requests that found their size */
	unsigned int large_misses;
	unsigned int merged;		/* free extents that became part of another */
	unsigned int unmerged;		/* became free with nothing free beside them */
	unsigned int freebytes;		/* of chunks that are in no block */
	unsigned int mallocbytes;	/* of those that are */
} rds_stats_t;

int rds_print_stats(void);		/* to standard output */
int rds_clear_stats(int *err);		/* all but large_list and the bytes */
int rds_get_stats(rds_stats_t *stats);	/* EBAD_ARGS: NULL */

/*
 * Tracing
 *
 * Between rds_trace_on and rds_trace_off every call writes a line to the file, beginning
 * with "rdstrace:".  rds_trace_dump_heap writes one for each block, in order of
 * address, and for each extent between them.
 *
 * EBAD_ARGS	rds_trace_on: NULL; rds_trace_dump_heap: tracing is off
 */
extern int rds_tracing;
extern FILE *rds_tracing_file;

int rds_trace_on(FILE *file);
int rds_trace_off(void);
int rds_trace_dump_heap(void);

/* For lines of the program's own among them. */
#define RDS_LOG(...) do {						\
	if (rds_tracing)						\
		fprintf(rds_tracing_file, __VA_ARGS__);			\
} while (0)

#ifdef __cplusplus
}
#endif

#endif
