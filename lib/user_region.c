// SPDX-License-Identifier: GPL-2.0 OR MIT
/*
 * Mapping regions: the copying map, which reads the segment into memory of
 * its own, and the private one, which leaves that to page faults.
 *
 * Both first bring what this log still holds for the segment into it, so that
 * what was committed before is seen.  A page of a private mapping shows the
 * file until it is first stored to.  That is safe: truncation writes only what
 * was committed from this region since, and a page whose bytes were changed
 * and committed was stored to.  A page that was not stored to gets from
 * truncation the bytes that it has.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "lib/user_tracking.h"

static int write_status(struct user_log *log)
{
	struct rvm_status *status = malloc(sizeof(*status));
	int error;

	if (!status)
		return -ENOMEM;
	*status = log->status;
	error = user_status_write(log, status);
	free(status);
	return error;
}

/* A new segment is in the dictionary, durably, before any record can name it. */
static int new_segment(struct user_log *log, const char *name, struct user_segment **segment)
{
	struct user_segment *s;
	int error;

	error = user_segment_add(log, name, strlen(name), 0, &s);
	if (error)
		return error;
	error = user_segment_open(s);
	if (!error)
		error = rvm_dict_add(&log->status, name, strlen(name), &s->id);
	if (!error)
		error = write_status(log);
	if (error)
		user_segment_drop(log, s);
	*segment = s;
	return error;
}

/* Find or add it, open, with one more region. */
static int get_segment(struct user_log *log, const char *name, struct user_segment **segment)
{
	struct user_segment *s;
	int error;

	pthread_mutex_lock(&log->status_lock);
	s = user_segment_find(log, name);
	error = s ? user_segment_open(s) : new_segment(log, name, &s);
	if (!error)
		s->regions++;
	pthread_mutex_unlock(&log->status_lock);
	if (error == -EBUSY)
		user_complain("segment %s is in use by another process or log", name);
	*segment = s;
	return error;
}

static void put_segment(struct user_log *log, struct user_segment *segment)
{
	bool truncating = !pthread_mutex_trylock(&log->truncating);

	pthread_mutex_lock(&log->status_lock);
	segment->regions--;
	/* if an epoch runs now, it does this when it ends */
	if (truncating)
		user_segment_free_idle(log);
	pthread_mutex_unlock(&log->status_lock);
	if (truncating)
		pthread_mutex_unlock(&log->truncating);
}

/* Bring what was committed to the segment so far into its file. */
static int settle(struct user_log *log, struct user_segment *segment)
{
	u64 last;
	int error = 0;

	pthread_mutex_lock(&log->lock);
	last = segment->last_sequence;
	if (last >= log->acknowledged_sequence)
		error = user_log_flush(log, last + 1);
	pthread_mutex_unlock(&log->lock);
	if (error || !last)
		return error;
	pthread_mutex_lock(&log->truncating);
	if (segment->applied_sequence <= last) {
		error = user_truncate_epoch(log, RVM_TRUNCATION_NEEDED);
		if (segment->applied_sequence > last)
			error = 0;	/* if others couldn't be written, never mind */
		else if (!error)
			error = -EIO;
	}
	pthread_mutex_unlock(&log->truncating);
	return error;
}

/* Read a segment; what lies past its end is zero. */
static int read_in(int fd, u64 offset, char *to, u64 length, u64 piece)
{
	if (piece < USER_PAGE)
		piece = USER_PAGE;
	while (length) {
		ssize_t n = pread(fd, to, length < piece ? length : piece, offset);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n ? -errno : 0;
		to += n;
		offset += n;
		length -= n;
	}
	return 0;
}

/*
 * Address space of that length which doesn't overlap what begins at target and
 * is as long: of three lengths in a row, target can't touch all.
 */
static char *reserve_beside(size_t length, char *target)
{
	char *p = mmap(NULL, 3 * length, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
		       -1, 0);
	char *free = p;

	if (p == MAP_FAILED)
		return p;
	if (target < p + length && target + length > p)
		free = p + 2 * length;
	if (free > p)
		munmap(p, free - p);
	if (p + 3 * length > free + length)
		munmap(free + length, p + 2 * length - free);
	return free;
}

char *user_map_private(const struct rvm_map_request *request, int fd, char *beside)
{
	char *p = MAP_FAILED;

	/* a mapping keeps its description open, so it must not be the one that owns */
	fd = user_file_again(fd, request->name);
	if (fd < 0) {
		errno = -fd;
		return p;
	}
	p = mmap(beside, rvm_whole_pages(request->length), PROT_READ | PROT_WRITE,
		 MAP_PRIVATE | (beside ? MAP_FIXED : 0), fd, request->offset);
	close(fd);
	return p;
}

static char *map_copy(const struct rvm_map_request *request, int fd, char *beside, u64 max_read)
{
	size_t length = rvm_whole_pages(request->length);
	char *p = mmap(beside, length, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | (beside ? MAP_FIXED : 0), -1, 0);
	int error;

	if (p == MAP_FAILED || request->no_copy)
		return p;
	error = read_in(fd, request->offset, p, request->length, max_read);
	if (error) {
		if (!beside)
			munmap(p, length);
		errno = -error;
		return MAP_FAILED;
	}
	return p;
}

static int fill(struct user_log *log, const struct rvm_map_request *request, int fd,
		char **address)
{
	size_t length = rvm_whole_pages(request->length);
	char *p, *beside = NULL;
	int error;

	/* take the caller's place only once nothing can fail any more */
	if (request->address) {
		beside = reserve_beside(length, request->address);
		if (beside == MAP_FAILED)
			return -errno;
	}
	p = request->private_map ? user_map_private(request, fd, beside) :
				   map_copy(request, fd, beside, log->options.max_read);
	if (p == MAP_FAILED) {
		error = -errno;
		if (beside)
			munmap(beside, length);
		return error;
	}
	*address = p;
	if (!beside)
		return 0;
	*address = mremap(p, length, length, MREMAP_MAYMOVE | MREMAP_FIXED, request->address);
	if (*address != MAP_FAILED)
		return 0;
	error = -errno;
	munmap(p, length);
	return error;
}

rvm_return_t user_map(struct rvm_log *base, const struct rvm_map_request *request,
		      struct rvm_region **region)
{
	struct user_log *log = user_log_of(base);
	struct user_region *r = calloc(1, sizeof(*r));
	int error = -ENOMEM;

	if (!r)
		return RVM_ENO_MEMORY;
	r->base.name = strdup(request->name);
	if (!r->base.name)
		goto no_name;
	error = get_segment(log, request->name, &r->segment);
	/* in a full dictionary truncation makes room */
	if (error == -ENOSPC && rvm_engine_user.truncate(base) == RVM_SUCCESS)
		error = get_segment(log, request->name, &r->segment);
	if (error)
		goto no_segment;
	error = settle(log, r->segment);
	if (!error)
		error = fill(log, request, r->segment->fd, &r->base.address);
	if (error)
		goto no_memory;
	r->base.length = request->length;
	r->base.offset = request->offset;
	r->shift = request->offset - (uintptr_t)r->base.address;
	r->base.address_given = request->address;
	r->base.tracking = request->tracking;
	error = user_tracking_open(log, r, request);
	if (error)
		goto no_tracking;
	__atomic_fetch_add(&log->tracks, !!r->track, __ATOMIC_RELAXED);
	r->next = log->regions;
	log->regions = r;
	*region = &r->base;
	return RVM_SUCCESS;

no_tracking:
	rvm_unmap_memory(&r->base);
no_memory:
	put_segment(log, r->segment);
no_segment:
	free(r->base.name);
no_name:
	free(r);
	return user_error(error);
}

rvm_return_t user_unmap(struct rvm_log *base, struct rvm_region *region)
{
	struct user_log *log = user_log_of(base);
	struct user_region *r = (struct user_region *)region, **link;
	bool tracked = r->track;

	if (!user_tracking_close(r, true))
		return user_error(-errno);
	for (link = &log->regions; *link != r; link = &(*link)->next)
		;
	*link = r->next;
	__atomic_fetch_sub(&log->tracks, tracked, __ATOMIC_RELAXED);
	put_segment(log, r->segment);
	free(region->name);
	free(r);
	return RVM_SUCCESS;
}
