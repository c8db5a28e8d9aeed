// SPDX-License-Identifier: GPL-2.0 OR MIT
/*
 * The kernel engine: a thin layer over the ioctls of /dev/rvm, which
 * <linux/rvm.h> explains.  What costs no system call happens here: declaring a
 * range appends to an area that the process shares with the kernel.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <uapi/linux/rvm.h>

#include "lib/engine.h"

#define DEVICE		"/dev/" RVM_DEVICE_NAME
#define AREA_LENGTH	(64u << 10)
#define ENTRY_SIZE	sizeof(struct rvm_area_entry)

struct kernel_transaction {
	struct rvm_transaction base;
	struct kernel_transaction *next;	/* in kernel_log.idle */
	struct rvm_area_header *area;
};

struct kernel_log {
	struct rvm_log base;
	int fd;
	struct kernel_transaction *last;	/* the last to be idle, or NULL; atomic */
	pthread_mutex_t lock;			/* protects idle */
	struct kernel_transaction *idle;	/* the others, with their areas, to be used again */
	unsigned int tracked;			/* regions; as engine.h says */
};

static struct kernel_log *kernel_log(struct rvm_log *log)
{
	return (struct kernel_log *)log;
}

static struct kernel_transaction *kernel_transaction(struct rvm_transaction *transaction)
{
	return (struct kernel_transaction *)transaction;
}

/* Keep errno over what tidies up after a failure. */
static void close_quietly(int fd)
{
	int error = errno;

	if (fd >= 0)
		close(fd);
	errno = error;
}

static rvm_return_t code_of_errno(void)
{
	return errno == ENOMEM ? RVM_ENO_MEMORY : RVM_EIO;
}

static int kernel_probe(const char **why)
{
	int fd = open(DEVICE, O_RDWR | O_CLOEXEC);

	if (fd >= 0) {
		close(fd);
		return 0;
	}
	switch (errno) {
	case ENOENT:
	case ENXIO:
	case ENODEV:
		*why = "there is no " DEVICE ": load the module with 'sudo modprobe rvm', or 'sudo modprobe libcrc32c && sudo insmod build/rvm.ko' where it was built";
		return -ENODEV;
	case EACCES:
	case EPERM:
		*why = "no permission for " DEVICE ": load the module with device_mode=0666, or 'sudo chmod a+rw " DEVICE "'";
		return -EACCES;
	default:
		*why = DEVICE " can't be opened";
		return -errno;
	}
}

/* --- opening ------------------------------------------------------------ */

static int attach_log(int log)
{
	struct rvm_ioc_attach_log a = { .size = sizeof(a), .fd = log };
	int device = open(DEVICE, O_RDWR | O_CLOEXEC), fd;

	if (device < 0)
		return -1;
	fd = ioctl(device, RVM_IOC_ATTACH_LOG, &a);
	close_quietly(device);
	return fd;
}

static int attach_segment(int log, const char *name, size_t name_length, int segment,
			  uint32_t flags, uint64_t *length)
{
	struct rvm_ioc_attach_segment a = {
		.size = sizeof(a),
		.flags = flags,
		.fd = segment,
		.name = (uintptr_t)name,
		.name_length = name_length,
	};
	int fd = ioctl(log, RVM_IOC_ATTACH_SEGMENT, &a);

	*length = a.length;
	return fd;
}

/* Open a segment by name and attach it: a segment descriptor, or -1 and errno. */
static int open_segment(int log, const char *name, uint32_t flags, uint64_t *length)
{
	/* O_NONBLOCK: a name out of a log may be that of a FIFO. */
	int file = open(name, O_RDWR | O_CLOEXEC | O_NONBLOCK), fd;

	if (file < 0)
		return -1;
	fd = attach_segment(log, name, strlen(name), file, flags, length);
	close_quietly(file);
	return fd;
}

static int get_dictionary(int log, void **buffer, struct rvm_ioc_dictionary *d)
{
	*d = (struct rvm_ioc_dictionary){ .size = sizeof(*d) };
	*buffer = NULL;
	while (ioctl(log, RVM_IOC_DICTIONARY, d)) {
		void *larger;

		if (errno != ENOSPC)
			goto err;
		larger = realloc(*buffer, d->length);
		if (!larger)
			goto err;
		*buffer = larger;
		d->buffer = (uintptr_t)larger;
	}
	return 0;
err:
	free(*buffer);
	return -1;
}

typedef void (*name_fn)(void *context, const char *name, uint64_t records);

/* Call fn for every segment that log records wait for. */
static int for_each_waiting(int log, name_fn fn, void *context)
{
	struct rvm_ioc_dictionary d;
	char name[4096];
	void *buffer;
	char *at;

	if (get_dictionary(log, &buffer, &d))
		return -1;
	at = buffer;
	while (d.segments--) {
		const struct rvm_ioc_segment_name *s = (const void *)at;

		memcpy(name, s + 1, s->name_length);
		name[s->name_length] = 0;
		if (s->records)
			fn(context, name, s->records);
		at += sizeof(*s) + ((s->name_length + 7) & ~7u);
	}
	free(buffer);
	return 0;
}

/* The segments that recovery needs, kept open until it's done. */
struct waiting {
	int log;
	const char *path;
	struct waiting_segment {
		int fd;
		char *name;
	} *segments;
	size_t count;
};

static void say_kept(const struct waiting *w, const char *name, const char *why, uint64_t records)
{
	fprintf(stderr, "rvm: log %s: segment %s: %s: its %llu records stay in the log\n",
		w->path, name, why, (unsigned long long)records);
}

static void attach_waiting(void *context, const char *name, uint64_t records)
{
	struct waiting *w = context;
	struct waiting_segment *segments, new;
	uint64_t length;

	new.fd = open_segment(w->log, name, 0, &length);
	if (new.fd < 0) {
		say_kept(w, name, strerror(errno), records);
		return;
	}
	new.name = strdup(name);
	segments = realloc(w->segments, (w->count + 1) * sizeof(*segments));
	if (segments)
		w->segments = segments;
	if (!segments || !new.name) {
		close(new.fd);
		free(new.name);
		return;
	}
	segments[w->count++] = new;
}

/* Attached, and yet its records could not be applied. */
static void name_unfit(void *context, const char *name, uint64_t records)
{
	const struct waiting *w = context;

	for (size_t i = 0; i < w->count; i++)
		if (!strcmp(w->segments[i].name, name))
			say_kept(w, name, "too short or read-only", records);
}

static int recover(int log)
{
	struct rvm_ioc_recover a = { .size = sizeof(a) };

	return ioctl(log, RVM_IOC_RECOVER, &a);
}

static int recover_all(int log, const char *path)
{
	struct waiting w = { .log = log, .path = path };
	int ret = for_each_waiting(log, attach_waiting, &w);

	if (!ret)
		ret = recover(log);
	if (!ret)
		for_each_waiting(log, name_unfit, &w);
	while (w.count) {
		--w.count;
		close_quietly(w.segments[w.count].fd);
		free(w.segments[w.count].name);
	}
	free(w.segments);
	return ret;
}

static rvm_return_t attach_error(const char *path)
{
	int error = errno;

	switch (error) {
	case EINVAL:
		fprintf(stderr, "rvm: %s is not an RVM log\n", path);
		return RVM_ELOG;
	case EPROTONOSUPPORT:
		fprintf(stderr, "rvm: %s is a log of another format version\n", path);
		return RVM_ELOG_VERSION_SKEW;
	case EUCLEAN:
		fprintf(stderr, "rvm: log %s is damaged\n", path);
		return RVM_ELOG;
	case EBUSY:
		fprintf(stderr, "rvm: log %s is in use: by a process with the user engine, or as something else\n",
			path);
		errno = error;
		return RVM_EIO;
	default:
		return code_of_errno();
	}
}

static rvm_return_t kernel_set_options(struct rvm_log *log, const struct rvm_log_options *options)
{
	struct rvm_ioc_options a = {
		.size = sizeof(a),
		.flags = RVM_OPTION_TRUNCATE | RVM_OPTION_COALESCE,
		.truncate = options->truncate,
		.coalesce = options->coalesce_transactions,
	};

	if (options->flush_interval_set) {
		a.flags |= RVM_OPTION_FLUSH_INTERVAL;
		a.flush_interval = options->flush_interval;
	}
	if (options->memory_limit_set) {
		a.flags |= RVM_OPTION_MEMORY;
		a.memory = options->memory_limit;
	}
	if (!ioctl(kernel_log(log)->fd, RVM_IOC_SET_OPTIONS, &a))
		return RVM_SUCCESS;
	return errno == ENOMEM ? RVM_ENO_MEMORY : RVM_EINTERNAL;
}

static rvm_return_t kernel_open(const char *path, const struct rvm_log_options *options,
				struct rvm_log **result)
{
	struct kernel_log *log = calloc(1, sizeof(*log));
	rvm_return_t code;
	int file;

	if (!log)
		return RVM_ENO_MEMORY;
	log->fd = -1;
	log->base.engine = &rvm_engine_kernel;
	log->base.path = strdup(path);
	pthread_mutex_init(&log->lock, NULL);
	code = RVM_ENO_MEMORY;
	if (!log->base.path)
		goto err;
	code = RVM_EIO;
	file = open(path, O_RDWR | O_CLOEXEC | O_NONBLOCK);
	if (file < 0)
		goto err;
	log->fd = attach_log(file);
	close_quietly(file);
	if (log->fd < 0) {
		code = attach_error(path);
		goto err;
	}
	if (recover_all(log->fd, path)) {
		code = errno == EUCLEAN ? RVM_ELOG : code_of_errno();
		goto err;
	}
	code = kernel_set_options(&log->base, options);
	if (code != RVM_SUCCESS)
		goto err;
	*result = &log->base;
	return RVM_SUCCESS;

err:
	close_quietly(log->fd);
	pthread_mutex_destroy(&log->lock);
	free(log->base.path);
	free(log);
	return code;
}

static rvm_return_t log_ioctl(struct rvm_log *log, unsigned long command)
{
	struct rvm_ioc_log a = { .size = sizeof(a) };

	return ioctl(kernel_log(log)->fd, command, &a) ? code_of_errno() : RVM_SUCCESS;
}

static rvm_return_t kernel_flush(struct rvm_log *log)
{
	return log_ioctl(log, RVM_IOC_FLUSH);
}

static rvm_return_t kernel_truncate(struct rvm_log *log)
{
	return log_ioctl(log, RVM_IOC_TRUNCATE);
}

/* Regions that are still mapped stay, and with them the kernel keeps the log. */
static rvm_return_t kernel_close(struct rvm_log *base)
{
	struct kernel_log *log = kernel_log(base);
	rvm_return_t code = kernel_flush(base);
	struct kernel_transaction *t = log->last;
	int error = errno;

	if (t) {
		t->next = log->idle;
		log->idle = t;
	}
	while ((t = log->idle)) {
		log->idle = t->next;
		munmap(t->area, AREA_LENGTH);
		free(t);
	}
	close(log->fd);
	pthread_mutex_destroy(&log->lock);
	free(base->path);
	free(base);
	errno = error;
	return code;
}

/* --- regions ------------------------------------------------------------ */

static uint32_t tracking_flags(const struct rvm_tracking *tracking)
{
	uint32_t strict = tracking->strict ? RVM_SEGMENT_STRICT : 0;

	switch (tracking->mode) {
	case RVM_TRACKING_CHECK:
		return RVM_SEGMENT_CHECK;
	case RVM_TRACKING_PAGES:
		return RVM_SEGMENT_PAGES | strict;
	case RVM_TRACKING_DIFF:
		return RVM_SEGMENT_DIFF | strict;
	default:
		return 0;
	}
}

static void *map_segment(int fd, const struct rvm_map_request *request)
{
	return mmap(request->address, rvm_whole_pages(request->length), PROT_READ | PROT_WRITE,
		    MAP_SHARED | (request->address ? MAP_FIXED : 0), fd, request->offset);
}

static rvm_return_t kernel_map(struct rvm_log *log, const struct rvm_map_request *request,
			       struct rvm_region **result)
{
	uint32_t flags = tracking_flags(&request->tracking);
	struct rvm_region *region = calloc(1, sizeof(*region));
	uint64_t length;
	void *address;
	int fd;

	if (region)
		region->name = strdup(request->name);
	if (!region || !region->name) {
		free(region);
		return RVM_ENO_MEMORY;
	}
	fd = open_segment(kernel_log(log)->fd, request->name, flags, &length);
	/* in a full dictionary truncation makes room */
	if (fd < 0 && errno == ENOSPC && kernel_truncate(log) == RVM_SUCCESS)
		fd = open_segment(kernel_log(log)->fd, request->name, flags, &length);
	if (fd < 0) {
		if (errno == EBUSY)
			fprintf(stderr, "rvm: segment %s is in use: by another log, or a process with the user engine\n",
				request->name);
		goto err;
	}
	address = map_segment(fd, request);
	/* Log records waited for this segment, which was missing when the log was opened. */
	if (address == MAP_FAILED && errno == EAGAIN && !recover(kernel_log(log)->fd))
		address = map_segment(fd, request);
	close_quietly(fd);
	if (address == MAP_FAILED) {
		if (errno == EBUSY)
			fprintf(stderr, "rvm: segment %s is mapped already: with tracking by pages or diff all its regions are, or none\n",
				request->name);
		goto err;
	}

	__atomic_fetch_add(&kernel_log(log)->tracked, rvm_tracked(&request->tracking),
			   __ATOMIC_RELAXED);
	region->address = address;
	region->length = request->length;
	region->offset = request->offset;
	region->address_given = request->address;
	*result = region;
	return RVM_SUCCESS;

err:
	free(region->name);
	free(region);
	return code_of_errno();
}

static rvm_return_t kernel_unmap(struct rvm_log *log, struct rvm_region *region)
{
	if (!rvm_unmap_memory(region))
		return code_of_errno();
	__atomic_fetch_sub(&kernel_log(log)->tracked, rvm_tracked(&region->tracking),
			   __ATOMIC_RELAXED);
	free(region->name);
	free(region);
	return RVM_SUCCESS;
}

/* --- transactions ------------------------------------------------------- */

static struct kernel_transaction *new_transaction(struct kernel_log *log)
{
	struct kernel_transaction *t = calloc(1, sizeof(*t));

	if (!t)
		return NULL;
	t->area = mmap(NULL, AREA_LENGTH, PROT_READ | PROT_WRITE, MAP_SHARED, log->fd, 0);
	if (t->area == MAP_FAILED) {
		free(t);
		return NULL;
	}
	t->base.log = &log->base;
	return t;
}

/* One that was used before, or NULL; where one thread commits, without a lock. */
static struct kernel_transaction *take_transaction(struct kernel_log *log)
{
	struct kernel_transaction *t = __atomic_exchange_n(&log->last, NULL, __ATOMIC_ACQUIRE);

	if (t)
		return t;
	pthread_mutex_lock(&log->lock);
	t = log->idle;
	if (t)
		log->idle = t->next;
	pthread_mutex_unlock(&log->lock);
	return t;
}

static void put_transaction(struct kernel_transaction *t)
{
	struct kernel_log *log = kernel_log(t->base.log);

	t = __atomic_exchange_n(&log->last, t, __ATOMIC_ACQ_REL);
	if (!t)
		return;
	pthread_mutex_lock(&log->lock);
	t->next = log->idle;
	log->idle = t;
	pthread_mutex_unlock(&log->lock);
}

_Static_assert(sizeof(struct rvm_found) == sizeof(struct rvm_ioc_found), "the kernel fills it in");

/* The kernel is asked only if pages are hot: what was stored to those it can tell. */
static rvm_return_t begin_tracked(struct kernel_transaction *t)
{
	struct rvm_found found[RVM_FOUND_MAX];	/* as struct rvm_ioc_found */
	struct rvm_ioc_begin a = {
		.size = sizeof(a),
		.area = t->area->area,
		.room = RVM_FOUND_MAX,
		.found = (uintptr_t)found,
	};
	rvm_return_t code;

	if (t->area->hot) {
		if (ioctl(kernel_log(t->base.log)->fd, RVM_IOC_BEGIN, &a))
			return RVM_EINTERNAL;
		code = rvm_tracking_report(RVM_FOUND_STRAY, found, a.count);
		if (code != RVM_SUCCESS)
			return code;
	}
	__atomic_store_n(&t->area->open, 1, __ATOMIC_RELAXED);
	/* No store to the data comes before it. */
	__atomic_thread_fence(__ATOMIC_RELEASE);
	return RVM_SUCCESS;
}

static rvm_return_t kernel_begin(struct rvm_log *base, bool restore,
				 struct rvm_transaction **transaction)
{
	struct kernel_log *log = kernel_log(base);
	struct kernel_transaction *t = take_transaction(log);
	rvm_return_t code;

	if (!t)
		t = new_transaction(log);
	if (!t)
		return RVM_ENO_MEMORY;
	code = __atomic_load_n(&log->tracked, __ATOMIC_RELAXED) ? begin_tracked(t) : RVM_SUCCESS;
	if (code != RVM_SUCCESS) {
		put_transaction(t);
		return code;
	}
	t->base.restore = restore;
	*transaction = &t->base;
	return RVM_SUCCESS;
}

static int area_ioctl(struct kernel_transaction *t, unsigned long command)
{
	struct rvm_ioc_area a = { .size = sizeof(a), .area = t->area->area };

	return ioctl(kernel_log(t->base.log)->fd, command, &a);
}

/* The steps are <linux/rvm.h>'s: see struct rvm_area_entry. */
static void append_entry(struct rvm_area_header *area, char *address, uint32_t length, bool save)
{
	struct rvm_area_entry *e = (struct rvm_area_entry *)(area->entries + area->used);
	uint32_t size = ENTRY_SIZE + (save ? (length + 7) & ~7u : 0);
	uint32_t saving = RVM_ENTRY_SAVING;

	e->address = (uintptr_t)address;
	e->length = length;
	e->state = save ? RVM_ENTRY_SAVING : RVM_ENTRY_NO_RESTORE;
	__atomic_store_n(&area->used, area->used + size, __ATOMIC_RELEASE);
	if (!save)
		return;
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	memcpy(e->saved, address, length);
	while (!__atomic_compare_exchange_n(&e->state, &saving, RVM_ENTRY_SAVED, false,
					    __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST)) {
		__atomic_exchange_n(&e->state, RVM_ENTRY_SAVING, __ATOMIC_SEQ_CST);
		memcpy(e->saved, address, length);
		saving = RVM_ENTRY_SAVING;
	}
}

static rvm_return_t kernel_set_range(struct rvm_transaction *transaction,
				     struct rvm_region *region, char *address, uint64_t length)
{
	struct kernel_transaction *t = kernel_transaction(transaction);
	struct rvm_area_header *area = t->area;
	bool save = transaction->restore;

	(void)region;
	while (length) {
		uint32_t room = area->room - area->used;
		uint64_t n = length;

		/* Without saved bytes an entry may speak of any length. */
		if (save && n > (area->room & ~7u) - ENTRY_SIZE)
			n = (area->room & ~7u) - ENTRY_SIZE;
		if (n > UINT32_MAX)
			n = UINT32_MAX;
		if (room < ENTRY_SIZE + (save ? (n + 7) & ~7ull : 0)) {
			if (area_ioctl(t, RVM_IOC_SPILL))
				return errno == EFBIG ? RVM_ETOO_BIG : code_of_errno();
		}
		append_entry(area, address, n, save);
		address += n;
		length -= n;
	}
	return RVM_SUCCESS;
}

static rvm_return_t kernel_abort(struct rvm_transaction *transaction)
{
	struct kernel_transaction *t = kernel_transaction(transaction);
	int ret = area_ioctl(t, RVM_IOC_ABORT);

	put_transaction(t);
	return ret ? RVM_EINTERNAL : RVM_SUCCESS;
}

/* In tracked regions nothing was stored to, and nothing declared in others. */
static bool changed_nothing(const struct kernel_transaction *t)
{
	return t->area->open && !t->area->used && !t->area->hot;
}

static uint32_t at_most_u32(uint64_t n)
{
	return n < UINT32_MAX ? n : UINT32_MAX;
}

static rvm_return_t kernel_end(struct rvm_transaction *transaction, bool flush)
{
	struct kernel_transaction *t = kernel_transaction(transaction);
	struct rvm_found found[RVM_FOUND_MAX];	/* as struct rvm_ioc_found */
	struct rvm_ioc_commit a = {
		.size = sizeof(a),
		.flags = (flush ? RVM_COMMIT_FLUSH : 0) |
			 (rvm_tracking_refuses() ? RVM_COMMIT_CHECKED : 0),
		.area = t->area->area,
		.room = RVM_FOUND_MAX,
		.found = (uintptr_t)found,
	};
	rvm_return_t code;
	int error;

	/* always: an end that failed may have left some */
	t->area->merged_ranges = at_most_u32(transaction->merged_ranges);
	if (transaction->merged_ranges)
		t->area->merged_bytes = at_most_u32(transaction->merged_bytes);
	if (!flush && changed_nothing(t)) {
		t->area->open = 0;
		put_transaction(t);
		return RVM_SUCCESS;
	}
	if (!ioctl(kernel_log(transaction->log)->fd, RVM_IOC_COMMIT, &a)) {
		put_transaction(t);
		rvm_tracking_report(RVM_FOUND_UNDECLARED, found, a.count);
		return RVM_SUCCESS;
	}
	if (errno == EUCLEAN)
		return rvm_tracking_report(RVM_FOUND_UNDECLARED, found, a.count);
	if (errno == EFBIG)
		return RVM_ETOO_BIG;
	error = errno;
	code = error == EFAULT ? RVM_ENOT_MAPPED :
	       error == EINVAL ? RVM_EINTERNAL : code_of_errno();
	kernel_abort(transaction);
	errno = error;
	return code;
}

static void kernel_counters(struct rvm_log *log, rvm_engine_counters_t *counters)
{
	struct rvm_ioc_query a = { .size = sizeof(a) };

	memset(counters, 0, sizeof(*counters));
	if (ioctl(kernel_log(log)->fd, RVM_IOC_QUERY, &a))
		return;
	*counters = (rvm_engine_counters_t){
		.log_length = a.log_length,
		.log_used = a.log_used,
		.log_writes = a.log_writes,
		.log_flushes = a.log_flushes,
		.log_bytes = a.log_bytes,
		.segment_writes = a.segment_writes,
		.segment_flushes = a.segment_flushes,
		.segment_bytes = a.segment_bytes,
		.commits = a.commits,
		.flush_commits = a.flush_commits,
		.aborts = a.aborts,
		.truncations = a.truncations,
		.recovered_records = a.recovered_records,
		.failed = a.failed,
		.memory = a.memory,
		.memory_limit = a.memory_limit,
		.memory_waits = a.memory_waits,
	};
}

_Static_assert(sizeof(struct rvm_counts) == sizeof(struct rvm_ioc_counts),
	       "they are the same, which the module checks by each field");

static rvm_return_t kernel_statistics(struct rvm_log *log, struct rvm_log_statistics *s)
{
	struct rvm_ioc_statistics a = { .size = sizeof(a) };

	if (ioctl(kernel_log(log)->fd, RVM_IOC_STATISTICS, &a))
		return code_of_errno();
	memcpy(&s->now, &a.now, sizeof(s->now));
	memcpy(&s->before, &a.before, sizeof(s->before));
	s->state = (struct rvm_count_state){
		.log_length = a.log_length,
		.log_used = a.log_used,
		.log_most_used = a.log_most_used,
		.queued_commits = a.queued_commits,
		.queued_bytes = a.queued_bytes,
		.last_flush_ns = a.last_flush_ns,
		.last_truncation = {
			.total = a.last_truncation_ns,
			.build = a.last_build_ns,
			.apply = a.last_apply_ns,
		},
	};
	return RVM_SUCCESS;
}

const struct rvm_engine rvm_engine_kernel = {
	.name		= "kernel",
	.probe		= kernel_probe,
	.open		= kernel_open,
	.close		= kernel_close,
	.set_options	= kernel_set_options,
	.map		= kernel_map,
	.unmap		= kernel_unmap,
	.begin		= kernel_begin,
	.set_range	= kernel_set_range,
	.end		= kernel_end,
	.abort		= kernel_abort,
	.flush		= kernel_flush,
	.truncate	= kernel_truncate,
	.counters	= kernel_counters,
	.statistics	= kernel_statistics,
};
