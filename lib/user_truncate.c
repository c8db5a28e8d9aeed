// SPDX-License-Identifier: GPL-2.0 OR MIT
/*
 * Truncation by epochs, and the thread that does it in the background.
 *
 * An epoch is what was acknowledged when it began.  It is read back from the
 * log, written to the segments, made durable there, and only then does the
 * status say that the log begins after it.  Commits go on meanwhile.  When a
 * segment is missing or fails, the head stops before the oldest record that
 * names it, and the next epoch writes everything from there again.
 */
#include <errno.h>
#include <signal.h>

#include "lib/user.h"

static int advance(struct user_log *log, struct rvm_status *status, u64 head, u64 head_sequence)
{
	u64 used;
	int error;

	pthread_mutex_lock(&log->status_lock);
	*status = log->status;
	status->head = head;
	status->head_sequence = head_sequence;
	/* a status has its head not behind the start of the incarnation */
	if (status->start < head) {
		status->start = head;
		status->start_sequence = head_sequence;
	}
	user_segment_forget_idle(log, status);
	error = user_status_write(log, status);
	if (!error)
		user_segment_free_idle(log);
	pthread_mutex_unlock(&log->status_lock);
	if (error)
		return error;
	pthread_mutex_lock(&log->lock);
	used = user_log_used(log);	/* it was never more than just before some of it is freed */
	if (used > log->state.log_most_used)
		log->state.log_most_used = used;
	log->head = head;
	pthread_mutex_unlock(&log->lock);
	return 0;
}

static int epoch(struct user_log *log, struct user_apply *a, u64 end, u64 end_sequence,
		 struct rvm_truncation_time *time)
{
	u64 began = user_clock(CLOCK_MONOTONIC);
	int error;

	error = user_apply_run(a, end_sequence, end - a->status->head);
	time->apply = a->write_ns;
	time->build = user_clock(CLOCK_MONOTONIC) - began - time->apply;
	if (error)
		return error;
	if (a->kept) {
		end = a->kept->oldest_position;
		end_sequence = a->kept->oldest_sequence;
	}
	if (end != a->status->head)
		error = advance(log, a->status, end, end_sequence);
	return error ? error : -a->kept_error;
}

static int truncate_log(struct user_log *log, struct rvm_truncation_time *time)
{
	struct user_apply apply;
	u64 head, end, end_sequence;
	int error;

	pthread_mutex_lock(&log->lock);
	head = log->head;
	end = log->acknowledged;
	end_sequence = log->acknowledged_sequence;
	error = head == end ? -log->failed : 0;
	pthread_mutex_unlock(&log->lock);
	if (head == end) {
		pthread_mutex_lock(&log->status_lock);
		user_segment_free_idle(log);
		pthread_mutex_unlock(&log->status_lock);
		return error;
	}
	/* if the log has failed, the segments get what is there all the same */
	error = user_apply_init(&apply, log);
	if (error)
		return error;
	error = epoch(log, &apply, end, end_sequence, time);
	user_apply_free(&apply);

	if (error == -EUCLEAN)
		user_complain("log %s: its records can't be read back", log->base.path);
	pthread_mutex_lock(&log->lock);
	/* if it brought little, don't try again at once */
	log->thread_again = error ? log->end + log->status.area_length / 16 : 0;
	pthread_mutex_unlock(&log->lock);
	return error;
}

int user_truncate_epoch(struct user_log *log, enum rvm_truncation why)
{
	struct rvm_truncation_time time = { 0 };
	u64 began = user_clock(CLOCK_MONOTONIC);
	int error = truncate_log(log, &time);

	if (error)
		return error;
	time.total = user_clock(CLOCK_MONOTONIC) - began;
	pthread_mutex_lock(&log->lock);
	rvm_count_truncation(&log->counts, why, &time);
	log->state.last_truncation = time;
	log->epoch = log->counts;
	pthread_mutex_unlock(&log->lock);
	return 0;
}

static void *thread_main(void *context)
{
	struct user_log *log = context;

	pthread_mutex_lock(&log->lock);
	while (!log->thread_stop) {
		if (!log->thread_wanted) {
			pthread_cond_wait(&log->thread_wake, &log->lock);
			continue;
		}
		pthread_mutex_unlock(&log->lock);
		pthread_mutex_lock(&log->truncating);
		user_truncate_epoch(log, RVM_TRUNCATION_BACKGROUND);
		pthread_mutex_unlock(&log->truncating);
		pthread_mutex_lock(&log->lock);
		log->thread_wanted = false;
	}
	pthread_mutex_unlock(&log->lock);
	return NULL;
}

bool user_thread_start(pthread_t *thread, void *(*run)(void *), struct user_log *log)
{
	sigset_t all, old;
	int error;

	/* the application's signals are for its own threads */
	sigfillset(&all);
	pthread_sigmask(SIG_BLOCK, &all, &old);
	error = pthread_create(thread, NULL, run, log);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	return !error;
}

void user_truncate_start(struct user_log *log)
{
	if (log->thread_wanted || log->thread_stop)
		return;
	if (!log->thread_runs)
		log->thread_runs = user_thread_start(&log->thread, thread_main, log);
	/* without a thread, whoever finds the log full truncates */
	log->thread_wanted = log->thread_runs;
	pthread_cond_signal(&log->thread_wake);
}

void user_truncate_stop(struct user_log *log)
{
	pthread_mutex_lock(&log->lock);
	log->thread_stop = true;
	pthread_cond_signal(&log->thread_wake);
	pthread_mutex_unlock(&log->lock);
	if (log->thread_runs)
		pthread_join(log->thread, NULL);
}
