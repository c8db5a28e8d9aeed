/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Memory that can't be reclaimed, and its limits: one of each log, and one of
 * the system.  What changed pages and their images, areas and rings take is
 * charged to both; past half of a limit truncation starts, whatever the log's
 * threshold, and at the limit stores wait for it.  Charges take no lock.
 *
 * A pass is one truncation for memory's sake: of the log, or of all logs for
 * the system's.
 */
#ifndef RVM_MEMORY_H
#define RVM_MEMORY_H

#include <linux/atomic.h>
#include <linux/mm_types.h>
#include <linux/wait.h>
#include <linux/workqueue.h>

struct rvm_log;
struct rvm_segment;

struct rvm_memory {
	atomic_long_t held;		/* pages */
	atomic_long_t freed;		/* pages, since it exists */
	unsigned int limit_kib;		/* 0: the default; read without a lock */
	bool futile;			/* nothing could be freed, and nothing has been since */
	atomic_long_t waits;		/* faults that waited */
	struct work_struct press;	/* a pass */
	unsigned long begun, ended;	/* passes, by number; written by the work only */
	unsigned long rest;		/* held when the last pass ended */
	wait_queue_head_t waiting;	/* for a pass to end, or memory to be freed */
};

/* Of all logs; its limit is the module parameter memory_kib. */
extern struct rvm_memory rvm_system_memory;

enum rvm_memory_use {
	RVM_MEMORY_STORE,	/* changed pages: some of the limit is left for */
	RVM_MEMORY_COMMIT,	/* what transactions need to end */
	RVM_MEMORY_RECOVER,	/* never refused: recovery bounds itself */
};

/* The memory of a changed page: itself and its image. */
#define RVM_IMAGE_PAGES		2

static inline unsigned long rvm_pages(u64 bytes)
{
	return DIV_ROUND_UP_ULL(bytes, PAGE_SIZE);
}

/* False if a limit forbids it. */
bool rvm_memory_charge(struct rvm_log *log, unsigned long pages, enum rvm_memory_use use);
void rvm_memory_uncharge(struct rvm_log *log, unsigned long pages);

/* The limit in force for a log, in pages. */
unsigned long rvm_memory_limit(struct rvm_log *log);

/* How many more pages can change before half of the log's or the system's limit is used. */
unsigned long rvm_memory_left(struct rvm_log *log);

/*
 * Before a fault on a page takes memory, in ->fault: 0 to go on, or the fault's
 * result.  It may have waited, with the lock of the address space dropped.
 */
vm_fault_t rvm_memory_fault(struct rvm_segment *segment, struct vm_fault *vmf);

void rvm_memory_init_log(struct rvm_log *log);

/* The log closes: no pass begins any more. */
void rvm_memory_close_log(struct rvm_log *log);

int rvm_memory_init(void);
void rvm_memory_exit(void);

#endif
