/* SPDX-License-Identifier: GPL-2.0 OR MIT */
/*
 * A lock for what is short and hardly ever contended: where it is free, taking
 * it is one instruction and no call.  (Each set_range takes one; a mutex would
 * be a good part of all that it costs.)
 */
#ifndef RVM_LIB_USER_LOCK_H
#define RVM_LIB_USER_LOCK_H

#include <linux/futex.h>
#include <stdatomic.h>
#include <sys/syscall.h>
#include <unistd.h>

/* 0: free, 1: held, 2: held, and perhaps somebody waits */
struct user_lock {
	atomic_uint word;
};

static inline void user_lock(struct user_lock *lock)
{
	unsigned int free = 0;

	if (atomic_compare_exchange_strong_explicit(&lock->word, &free, 1, memory_order_acquire,
						    memory_order_relaxed))
		return;
	while (atomic_exchange_explicit(&lock->word, 2, memory_order_acquire))
		syscall(SYS_futex, &lock->word, FUTEX_WAIT_PRIVATE, 2, NULL, NULL, 0);
}

static inline void user_unlock(struct user_lock *lock)
{
	if (atomic_exchange_explicit(&lock->word, 0, memory_order_release) == 2)
		syscall(SYS_futex, &lock->word, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}

#endif
