// SPDX-License-Identifier: GPL-2.0 OR MIT
/*
 * Bounded persistence: a thread flushes no_flush commits when they are as old as
 * rvm_set_flush_interval() lets them be.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE	/* pthread_cond_clockwait */
#endif

#include "lib/user.h"

static struct timespec after(uint32_t milliseconds)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	t.tv_sec += milliseconds / 1000;
	t.tv_nsec += milliseconds % 1000 * 1000000;
	if (t.tv_nsec >= 1000000000) {
		t.tv_sec++;
		t.tv_nsec -= 1000000000;
	}
	return t;
}

static bool is_past(const struct timespec *t)
{
	struct timespec now = after(0);

	return now.tv_sec > t->tv_sec || (now.tv_sec == t->tv_sec && now.tv_nsec >= t->tv_nsec);
}

static void *thread_main(void *context)
{
	struct user_log *log = context;

	pthread_mutex_lock(&log->lock);
	while (!log->flusher_stop) {
		if (!log->flush_due) {
			pthread_cond_wait(&log->flusher_wake, &log->lock);
		} else if (!is_past(&log->flush_at)) {
			pthread_cond_clockwait(&log->flusher_wake, &log->lock, CLOCK_MONOTONIC,
					       &log->flush_at);
		} else {
			log->flush_due = false;
			/* an error stays with the log: the next commit gets it */
			user_log_flush(log, log->next_sequence);
		}
	}
	pthread_mutex_unlock(&log->lock);
	return NULL;
}

int user_flush_later(struct user_log *log, bool anew)
{
	uint32_t interval = log->options.flush_interval;

	if (!interval) {
		log->flush_due = false;
		return 0;
	}
	if (log->flush_due && !anew)
		return 0;
	if (!log->flusher_runs)
		log->flusher_runs = user_thread_start(&log->flusher, thread_main, log);
	if (!log->flusher_runs)
		return -EAGAIN;
	log->flush_due = true;
	log->flush_at = after(interval);
	pthread_cond_signal(&log->flusher_wake);
	return 0;
}

void user_flush_stop(struct user_log *log)
{
	pthread_mutex_lock(&log->lock);
	log->flusher_stop = true;
	pthread_cond_signal(&log->flusher_wake);
	pthread_mutex_unlock(&log->lock);
	if (log->flusher_runs)
		pthread_join(log->flusher, NULL);
}
