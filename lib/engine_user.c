// SPDX-License-Identifier: GPL-2.0 OR MIT
/*
 * The user engine: the whole of RVM in one process, which asks the kernel for
 * nothing but files.  This is its table, and the log's opening and closing;
 * user.h has the data structures and says which file does what.
 *
 * A forked child closes its copies of our fds at once; the ownership is the
 * parent's alone.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE	/* CPU_COUNT */
#endif
#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

#include "lib/user_tracking.h"

static int user_probe(const char **why)
{
	(void)why;
	return 0;
}

static void log_free(struct user_log *log)
{
	struct user_region *r;

	/* their memory stays where it is, and is the application's now */
	while ((r = log->regions)) {
		log->regions = r->next;
		user_tracking_close(r, false);
		free(r->base.name);
		free(r);
	}
	user_transaction_free_all(log);
	user_log_free(log);
	user_segment_free_all(log);
	pthread_cond_destroy(&log->thread_wake);
	pthread_cond_destroy(&log->flusher_wake);
	pthread_cond_destroy(&log->room);
	pthread_mutex_destroy(&log->lock);
	pthread_mutex_destroy(&log->status_lock);
	pthread_mutex_destroy(&log->truncating);
	if (log->io_fd != log->fd)
		user_file_close(log->io_fd);
	user_file_close(log->fd);
	free(log->slot);
	free(log->base.path);
	free(log);
}

static struct user_log *log_new(const char *path, const struct rvm_log_options *options)
{
	struct user_log *log = calloc(1, sizeof(*log));
	cpu_set_t cpus;

	if (!log)
		return NULL;
	log->cpus = sched_getaffinity(0, sizeof(cpus), &cpus) ? CPU_SETSIZE : CPU_COUNT(&cpus);
	log->base.engine = &rvm_engine_user;
	log->options = *options;
	log->fd = log->io_fd = -1;
	pthread_mutex_init(&log->truncating, NULL);
	pthread_mutex_init(&log->status_lock, NULL);
	pthread_mutex_init(&log->lock, NULL);
	pthread_cond_init(&log->room, NULL);
	pthread_cond_init(&log->thread_wake, NULL);
	pthread_cond_init(&log->flusher_wake, NULL);
	log->base.path = strdup(path);
	log->slot = user_file_buffer(RVM_STATUS_SIZE);
	if (!log->base.path || !log->slot) {
		log_free(log);
		return NULL;
	}
	return log;
}

static rvm_return_t user_open(const char *path, const struct rvm_log_options *options,
			      struct rvm_log **result)
{
	struct user_log *log = log_new(path, options);
	rvm_return_t code;
	bool device;
	u64 length;
	int error;

	if (!log)
		return RVM_ENO_MEMORY;
	log->fd = user_file_open(path, &length, &device);
	if (log->fd == -EINVAL) {
		user_complain("%s is no RVM log: neither a regular file nor a block device", path);
		code = RVM_ELOG;
		goto fail;
	}
	if (log->fd == -EBUSY)
		user_complain("log %s is in use by another process", path);
	error = log->fd < 0 ? log->fd : user_file_open_direct(log, path);
	code = error ? user_error(error) : user_recover(log, length);
	if (code)
		goto fail;
	*result = &log->base;
	return RVM_SUCCESS;

fail:
	error = errno;
	log_free(log);
	errno = error;
	return code;
}

static rvm_return_t flush_all(struct user_log *log, bool requested)
{
	int error;

	pthread_mutex_lock(&log->lock);
	log->counts.flush_requests += requested;
	error = user_log_flush(log, log->next_sequence);
	if (!error)
		error = -log->failed;
	pthread_mutex_unlock(&log->lock);
	return user_error(error);
}

static rvm_return_t user_flush(struct rvm_log *base)
{
	return flush_all(user_log_of(base), true);
}

static rvm_return_t user_truncate(struct rvm_log *base)
{
	struct user_log *log = user_log_of(base);
	rvm_return_t code = flush_all(log, false);

	if (code)
		return code;
	pthread_mutex_lock(&log->truncating);
	code = user_error(user_truncate_epoch(log, RVM_TRUNCATION_REQUESTED));
	pthread_mutex_unlock(&log->truncating);
	return code;
}

static rvm_return_t user_close(struct rvm_log *base)
{
	struct user_log *log = user_log_of(base);
	rvm_return_t code;
	int error;

	user_flush_stop(log);
	user_truncate_stop(log);
	code = flush_all(log, false);
	error = errno;
	log_free(log);
	errno = error;
	return code;
}

static rvm_return_t user_set_options(struct rvm_log *base, const struct rvm_log_options *options)
{
	struct user_log *log = user_log_of(base);
	bool changed;

	pthread_mutex_lock(&log->lock);
	changed = options->flush_interval != log->options.flush_interval;
	log->options = *options;
	/* an error stays with the log: the next commit gets it */
	if (changed && user_flush_later(log, true))
		user_log_flush(log, log->next_sequence);
	pthread_mutex_unlock(&log->lock);
	return RVM_SUCCESS;
}

static void user_counters(struct rvm_log *base, rvm_engine_counters_t *counters)
{
	struct user_log *log = user_log_of(base);

	*counters = (rvm_engine_counters_t){ 0 };
	pthread_mutex_lock(&log->lock);
#define COPY(field) counters->field = __atomic_load_n(&log->counters.field, __ATOMIC_RELAXED)
	COPY(log_writes);
	COPY(log_flushes);
	COPY(log_bytes);
	COPY(segment_writes);
	COPY(segment_flushes);
	COPY(segment_bytes);
	COPY(recovered_records);
#undef COPY
	counters->commits = log->counts.commits;
	counters->flush_commits = log->counts.flush_commits;
	counters->aborts = log->counts.aborts;
	for (size_t i = 0; i < RVM_TRUNCATIONS; i++)
		counters->truncations += log->counts.truncations[i];
	counters->log_length = log->status.area_length;
	counters->log_used = user_log_used(log);
	counters->failed = log->failed != 0;
	pthread_mutex_unlock(&log->lock);
}

static rvm_return_t user_statistics(struct rvm_log *base, struct rvm_log_statistics *s)
{
	struct user_log *log = user_log_of(base);

	pthread_mutex_lock(&log->lock);
	s->now = log->counts;
	s->before = log->epoch;
	s->state = log->state;
	s->state.log_length = log->status.area_length;
	s->state.log_used = user_log_used(log);
	if (s->state.log_most_used < s->state.log_used)
		s->state.log_most_used = s->state.log_used;
	if (log->open) {
		s->state.queued_commits = log->next_sequence - log->open->sequence;
		s->state.queued_bytes = log->open->used;
	}
	pthread_mutex_unlock(&log->lock);
	return RVM_SUCCESS;
}

const struct rvm_engine rvm_engine_user = {
	.name = "user",
	.probe = user_probe,
	.open = user_open,
	.close = user_close,
	.set_options = user_set_options,
	.map = user_map,
	.unmap = user_unmap,
	.begin = user_begin,
	.set_range = user_set_range,
	.prepare = user_prepare,
	.end = user_end,
	.abort = user_abort,
	.flush = user_flush,
	.truncate = user_truncate,
	.counters = user_counters,
	.statistics = user_statistics,
};
