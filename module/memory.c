// SPDX-License-Identifier: GPL-2.0
/*
 * Limits of memory: charging, passes of truncation, and faults that wait for them.
 *
 * A store is refused by the write hook, which can't wait: it holds the address
 * space's lock.  So it unmaps the page, and the next try comes to ->fault, where
 * the lock can be dropped.
 */
#include <linux/file.h>
#include <linux/mm.h>
#include <linux/sched/signal.h>
#include <linux/shrinker.h>

#include "module/compat.h"
#include "module/image.h"
#include "module/log.h"
#include "module/memory.h"
#include "module/segment.h"
#include "module/trace.h"
#include "module/truncate.h"

/*
 * A task that faults in the kernel may hold locks that truncation needs, of a
 * segment's file: it waits no longer than this without anything being freed.
 */
#define KERNEL_FAULT_WAIT	(5 * HZ)

struct rvm_memory rvm_system_memory = {
	.waiting = __WAIT_QUEUE_HEAD_INITIALIZER(rvm_system_memory.waiting),
};

static atomic_t logs_pressed;	/* passes of logs that the system's waits for */

/* --- charging ----------------------------------------------------------- */

static unsigned long system_limit(void)
{
	unsigned long kib = READ_ONCE(rvm_system_memory.limit_kib);

	return kib ? kib >> (PAGE_SHIFT - 10) : totalram_pages() / 4;
}

unsigned long rvm_memory_limit(struct rvm_log *log)
{
	unsigned long kib = READ_ONCE(log->memory.limit_kib);

	return kib ? kib >> (PAGE_SHIFT - 10) : system_limit() / 2;
}

static void press(struct rvm_memory *memory)
{
	/* The system's waits for the logs', which must go on when memory is short. */
	queue_work(memory == &rvm_system_memory ? system_unbound_wq : rvm_log_workqueue,
		   &memory->press);
}

/* Of which use may have how much. */
static unsigned long share(unsigned long limit, enum rvm_memory_use use)
{
	switch (use) {
	case RVM_MEMORY_STORE:
		return limit - limit / 16;
	case RVM_MEMORY_COMMIT:
		return limit;
	default:
		return LONG_MAX;
	}
}

static bool charge(struct rvm_memory *memory, unsigned long limit, unsigned long pages,
		   enum rvm_memory_use use)
{
	unsigned long held = atomic_long_add_return(pages, &memory->held);

	if (held > share(limit, use)) {
		atomic_long_sub(pages, &memory->held);
		return false;
	}
	/* Not for ever anew, if the last pass could not free it. */
	if (held > limit / 2 && held > READ_ONCE(memory->rest) + limit / 8)
		press(memory);
	return true;
}

bool rvm_memory_charge(struct rvm_log *log, unsigned long pages, enum rvm_memory_use use)
{
	if (!charge(&log->memory, rvm_memory_limit(log), pages, use))
		return false;
	if (charge(&rvm_system_memory, system_limit(), pages, use))
		return true;
	atomic_long_sub(pages, &log->memory.held);
	return false;
}

static unsigned long left(struct rvm_memory *memory, unsigned long limit)
{
	unsigned long held = atomic_long_read(&memory->held);

	return held < limit / 2 ? (limit / 2 - held) / RVM_IMAGE_PAGES : 0;
}

unsigned long rvm_memory_left(struct rvm_log *log)
{
	return min(left(&log->memory, rvm_memory_limit(log)),
		   left(&rvm_system_memory, system_limit()));
}

static void uncharge(struct rvm_memory *memory, unsigned long pages)
{
	atomic_long_sub(pages, &memory->held);
	atomic_long_add(pages, &memory->freed);
	if (READ_ONCE(memory->futile))
		WRITE_ONCE(memory->futile, false);
	if (wq_has_sleeper(&memory->waiting))
		wake_up_all(&memory->waiting);
}

void rvm_memory_uncharge(struct rvm_log *log, unsigned long pages)
{
	uncharge(&log->memory, pages);
	uncharge(&rvm_system_memory, pages);
}

/* --- passes ------------------------------------------------------------- */

static unsigned long begin_pass(struct rvm_memory *memory)
{
	WRITE_ONCE(memory->begun, memory->begun + 1);
	return atomic_long_read(&memory->freed);
}

static void end_pass(struct rvm_memory *memory, unsigned long freed_before)
{
	WRITE_ONCE(memory->rest, atomic_long_read(&memory->held));
	if (atomic_long_read(&memory->freed) == freed_before)
		WRITE_ONCE(memory->futile, true);
	/* Pairs with the acquire in has_ended(). */
	smp_store_release(&memory->ended, memory->begun);
	wake_up_all(&memory->waiting);
}

static void end_pressed(struct rvm_log *log)
{
	if (xchg(&log->pressed, false) && atomic_dec_and_test(&logs_pressed))
		wake_up_all(&rvm_system_memory.waiting);
}

static void press_log(struct work_struct *work)
{
	struct rvm_log *log = container_of(work, struct rvm_log, memory.press);
	unsigned long freed = begin_pass(&log->memory);

	if (READ_ONCE(log->recovered))
		rvm_truncate_hard(log);
	end_pass(&log->memory, freed);
	end_pressed(log);
}

static void press_one(struct rvm_log *log)
{
	atomic_inc(&logs_pressed);
	WRITE_ONCE(log->pressed, true);
	press(&log->memory);
}

static void press_system(struct work_struct *work)
{
	unsigned long freed = begin_pass(&rvm_system_memory);

	rvm_log_for_each(press_one);
	wait_event(rvm_system_memory.waiting, !atomic_read(&logs_pressed));
	end_pass(&rvm_system_memory, freed);
}

void rvm_memory_init_log(struct rvm_log *log)
{
	INIT_WORK(&log->memory.press, press_log);
	init_waitqueue_head(&log->memory.waiting);
}

void rvm_memory_close_log(struct rvm_log *log)
{
	cancel_work_sync(&log->memory.press);
	end_pressed(log);
}

/* --- faults that wait --------------------------------------------------- */

/* Whose limit leaves no room for another changed page, or NULL. */
static struct rvm_memory *full(struct rvm_log *log)
{
	if (atomic_long_read(&log->memory.held) + RVM_IMAGE_PAGES >
	    share(rvm_memory_limit(log), RVM_MEMORY_STORE))
		return &log->memory;
	if (atomic_long_read(&rvm_system_memory.held) + RVM_IMAGE_PAGES >
	    share(system_limit(), RVM_MEMORY_STORE))
		return &rvm_system_memory;
	return NULL;
}

/* Does the machine, or the task's cgroup, have the memory? */
static bool to_be_had(gfp_t gfp)
{
	struct page *page = alloc_page(GFP_KERNEL_ACCOUNT | gfp);
	struct page *image = alloc_page(GFP_KERNEL_ACCOUNT | gfp);
	bool ok = page && image;

	if (page)
		__free_page(page);
	if (image)
		__free_page(image);
	return ok;
}

static bool has_ended(struct rvm_memory *memory, unsigned long pass)
{
	/* Pairs with the release in end_pass(). */
	return (long)(smp_load_acquire(&memory->ended) - pass) >= 0;
}

static void wait_for_pass(struct rvm_log *log, struct rvm_memory *memory, bool short_of_pages,
			  bool user)
{
	unsigned long pass = READ_ONCE(memory->begun) + 1, freed;
	u64 began = rvm_trace_begin(trace_rvm_memory_wait_enabled());
	long ret;

	atomic_long_inc(&log->memory.waits);
	press(memory);
	do {
		freed = atomic_long_read(&memory->freed);
		ret = wait_event_killable_timeout(memory->waiting,
						  has_ended(memory, pass) ||
						  (!short_of_pages && !full(log)),
						  user ? MAX_SCHEDULE_TIMEOUT : KERNEL_FAULT_WAIT);
	} while (!ret && atomic_long_read(&memory->freed) != freed);
	if (!ret)
		WRITE_ONCE(memory->futile, true);
	trace_rvm_memory_wait(log, memory == &rvm_system_memory, began);
}

vm_fault_t rvm_memory_fault(struct rvm_segment *segment, struct vm_fault *vmf)
{
	struct rvm_log *log = segment->log;
	struct rvm_memory *memory = NULL;
	struct file *file;

	if (xa_load(&segment->images, vmf->pgoff))
		return 0;
	if (vmf->flags & FAULT_FLAG_WRITE)
		memory = full(log);
	if (!memory && to_be_had(__GFP_NORETRY | __GFP_NOWARN))
		return 0;

	if (!fault_flag_allow_retry_first(vmf->flags)) {
		/* It has waited, or can't drop the lock; the kernel would try again at once. */
		if (!memory)
			return to_be_had(0) ? 0 : VM_FAULT_OOM;
		if (!(vmf->flags & FAULT_FLAG_USER) && !READ_ONCE(memory->futile))
			wait_for_pass(log, memory, false, false);
		return READ_ONCE(memory->futile) ? VM_FAULT_SIGBUS : 0;
	}
	if (vmf->flags & FAULT_FLAG_RETRY_NOWAIT)
		return VM_FAULT_RETRY;

	/* With the lock dropped the mapping may go: the file keeps segment and log. */
	file = get_file(vmf->vma->vm_file);
	rvm_compat_release_fault_lock(vmf);
	wait_for_pass(log, memory ? memory : &log->memory, !memory,
		      vmf->flags & FAULT_FLAG_USER);
	fput(file);
	/* Major: else a fault under the lock of its vma alone would wait twice. */
	return VM_FAULT_RETRY | VM_FAULT_MAJOR;
}

/* --- the machine is short of memory -------------------------------------- */

static unsigned long count_held(struct shrinker *shrinker, struct shrink_control *control)
{
	return atomic_long_read(&rvm_system_memory.held);
}

/* It comes later: truncation waits for devices, and reclaim must not. */
static unsigned long start_press(struct shrinker *shrinker, struct shrink_control *control)
{
	press(&rvm_system_memory);
	return SHRINK_STOP;
}

static struct shrinker *rvm_shrinker;

int rvm_memory_init(void)
{
	INIT_WORK(&rvm_system_memory.press, press_system);
	rvm_shrinker = rvm_compat_shrinker(count_held, start_press);
	return rvm_shrinker ? 0 : -ENOMEM;
}

void rvm_memory_exit(void)
{
	rvm_compat_shrinker_free(rvm_shrinker);
	cancel_work_sync(&rvm_system_memory.press);
}
