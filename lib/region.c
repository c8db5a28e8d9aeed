// SPDX-License-Identifier: GPL-2.0 OR MIT
/* Mapping and unmapping regions, and the table of those that are mapped. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/api.h"
#include "lib/region.h"

/*
 * All mapped regions.  Changed with setup held as well, so a holder of setup
 * reads them without this lock.
 */
static pthread_rwlock_t table_lock = PTHREAD_RWLOCK_INITIALIZER;
static struct rvm_mappings table;

/* The index of the first mapping that ends after an address. */
static size_t position(const struct rvm_mappings *mappings, uintptr_t address)
{
	size_t low = 0, high = mappings->count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (mappings->at[middle]->end <= address)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

struct rvm_mapping *rvm_mappings_find(const struct rvm_mappings *mappings, uintptr_t address)
{
	size_t i = position(mappings, address);

	return i < mappings->count && mappings->at[i]->start <= address ?
	       mappings->at[i] : NULL;
}

static bool make_room(struct rvm_mappings *mappings)
{
	size_t room = mappings->room ? 2 * mappings->room : 4;
	void *at;

	if (mappings->count < mappings->room)
		return true;
	at = realloc(mappings->at, room * sizeof(mappings->at[0]));
	if (!at)
		return false;
	mappings->at = at;
	mappings->room = room;
	return true;
}

/* There is room for it. */
static void insert(struct rvm_mappings *mappings, struct rvm_mapping *mapping)
{
	size_t i = position(mappings, mapping->start);

	memmove(&mappings->at[i + 1], &mappings->at[i],
		(mappings->count - i) * sizeof(mappings->at[0]));
	mappings->at[i] = mapping;
	++mappings->count;
}

static void remove_mapping(struct rvm_mappings *mappings, struct rvm_mapping *mapping)
{
	size_t i = position(mappings, mapping->start);

	--mappings->count;
	memmove(&mappings->at[i], &mappings->at[i + 1],
		(mappings->count - i) * sizeof(mappings->at[0]));
}

static bool holds(const struct rvm_mapping *mapping, uintptr_t start, uint64_t length)
{
	return mapping && !mapping->leaving && length <= mapping->end - start;
}

rvm_return_t rvm_region_use(const struct rvm_log *log, struct rvm_mappings *used,
			    uintptr_t start, uint64_t length, struct rvm_mapping **mapping)
{
	rvm_return_t code = RVM_SUCCESS;

	pthread_rwlock_rdlock(&table_lock);
	*mapping = rvm_mappings_find(&table, start);
	if (!holds(*mapping, start, length) || (*mapping)->log != log) {
		code = RVM_ENOT_MAPPED;
	} else if (length && !make_room(used)) {
		code = RVM_ENO_MEMORY;
	} else if (length) {
		insert(used, *mapping);
		__atomic_fetch_add(&(*mapping)->region->users, 1, __ATOMIC_RELAXED);
	}
	pthread_rwlock_unlock(&table_lock);
	return code;
}

void rvm_region_release(struct rvm_mappings *used)
{
	for (size_t i = 0; i < used->count; i++)
		__atomic_fetch_sub(&used->at[i]->region->users, 1, __ATOMIC_RELEASE);
	used->count = 0;
}

const char *rvm_region_place(uintptr_t address, char *to, size_t size)
{
	struct rvm_mapping *mapping;

	pthread_rwlock_rdlock(&table_lock);
	mapping = rvm_mappings_find(&table, address);
	if (mapping)
		snprintf(to, size, "segment %s offset %" PRIu64, mapping->region->name,
			 mapping->region->offset + (address - mapping->start));
	else
		snprintf(to, size, "segment unknown");
	pthread_rwlock_unlock(&table_lock);
	return to;
}

void rvm_region_freeze(void)
{
	pthread_rwlock_wrlock(&table_lock);
}

void rvm_region_thaw(void)
{
	pthread_rwlock_unlock(&table_lock);
}

rvm_return_t rvm_region_find(const rvm_region_t *region, struct rvm_mapping **mapping)
{
	uintptr_t start;

	if (!region || region->struct_id != rvm_region_id)
		return RVM_EREGION;
	start = (uintptr_t)region->vmaddr;
	*mapping = rvm_mappings_find(&table, start);
	return holds(*mapping, start, region->length) ? RVM_SUCCESS : RVM_ENOT_MAPPED;
}

void rvm_region_forget(void)
{
	pthread_rwlock_wrlock(&table_lock);
	while (table.count)
		free(table.at[--table.count]);
	pthread_rwlock_unlock(&table_lock);
}

/*
 * Mapping
 */

struct segment {
	char *name;		/* absolute, from malloc */
	uint64_t length;
	bool empty;		/* a file that has to be grown to length first */
	bool device;
	dev_t dev;
	ino_t ino;
};

static int device_length(const char *name, uint64_t *length)
{
	int fd = open(name, O_RDONLY | O_CLOEXEC), err;

	if (fd < 0)
		return -1;
	err = ioctl(fd, BLKGETSIZE64, length);
	close(fd);
	return err;
}

static rvm_return_t examine(const rvm_region_t *record, struct segment *segment)
{
	struct stat st;

	segment->name = realpath(record->data_dev, NULL);
	if (!segment->name)
		return errno == ENOMEM ? RVM_ENO_MEMORY : RVM_EIO;
	if (stat(segment->name, &st))
		return RVM_EIO;
	if (S_ISBLK(st.st_mode)) {
		segment->device = true;
		segment->dev = st.st_rdev;
		return device_length(segment->name, &segment->length) ? RVM_EIO : RVM_SUCCESS;
	}
	if (!S_ISREG(st.st_mode)) {
		errno = S_ISDIR(st.st_mode) ? EISDIR : ENOTBLK;
		return RVM_EIO;
	}
	segment->dev = st.st_dev;
	segment->ino = st.st_ino;
	segment->length = st.st_size;
	if (!st.st_size) {
		if (record->dev_length.high || record->dev_length.low > INT64_MAX)
			return RVM_EOFFSET;
		segment->length = record->dev_length.low;
		segment->empty = true;
	}
	return RVM_SUCCESS;
}

/* Give an empty file its length, with room on the disk where the file system can. */
static rvm_return_t grow(const struct segment *segment)
{
	int fd, err, saved;

	fd = open(segment->name, O_RDWR | O_CLOEXEC);
	if (fd < 0)
		return RVM_EIO;
	do
		err = fallocate(fd, 0, 0, segment->length);
	while (err && errno == EINTR);
	if (err && (errno == EOPNOTSUPP || errno == ENOSYS))
		err = ftruncate(fd, segment->length);
	if (!err)
		err = fsync(fd);
	saved = errno;
	if (err && ftruncate(fd, 0))
		saved = errno;
	close(fd);
	errno = saved;
	return err ? RVM_EIO : RVM_SUCCESS;
}

static bool page_aligned(uintptr_t address)
{
	return !(address & ~rvm_page_mask());
}

static rvm_return_t check_record(const rvm_region_t *record)
{
	rvm_return_t code;

	if (!record || record->struct_id != rvm_region_id || !record->data_dev)
		return RVM_EREGION;
	code = rvm_api_check_name(record->data_dev);
	if (code)
		return code;
	return page_aligned((uintptr_t)record->vmaddr) ? RVM_SUCCESS : RVM_ERANGE;
}

/* What is mapped: whole pages, clipped to the segment. */
static rvm_return_t clip(const rvm_region_t *record, uint64_t segment_length,
			 uint64_t *offset, uint64_t *length)
{
	uint64_t end;

	if (record->offset.high || record->offset.low >= segment_length ||
	    __builtin_add_overflow(record->offset.low, record->length, &end))
		return RVM_EOFFSET;
	*offset = RVM_ROUND_LENGTH_DOWN_TO_PAGE_SIZE(record->offset.low);
	if (!record->length || end > segment_length ||
	    RVM_ROUND_LENGTH_UP_TO_PAGE_SIZE(end) > segment_length)
		end = segment_length;
	else
		end = RVM_ROUND_LENGTH_UP_TO_PAGE_SIZE(end);
	*length = end - *offset;
	return RVM_SUCCESS;
}

static bool disjoint(uint64_t a, uint64_t a_length, uint64_t b, uint64_t b_length)
{
	return a + RVM_ROUND_LENGTH_UP_TO_PAGE_SIZE(a_length) <= b ||
	       b + RVM_ROUND_LENGTH_UP_TO_PAGE_SIZE(b_length) <= a;
}

static rvm_return_t check_overlap(const struct segment *segment,
				  const struct rvm_map_request *request)
{
	rvm_return_t code = RVM_SUCCESS;

	for (size_t i = 0; i < table.count; i++) {
		const struct rvm_mapping *m = table.at[i];
		const struct rvm_region *r = m->region;

		if (request->address &&
		    !disjoint(m->start, r->length, (uintptr_t)request->address, request->length))
			return RVM_EVM_OVERLAP;
		if ((!strcmp(r->name, segment->name) ||
		     (m->device == segment->device && m->dev == segment->dev &&
		      m->ino == segment->ino)) &&
		    !disjoint(r->offset, r->length, request->offset, request->length))
			code = RVM_EOVERLAP;
	}
	return code;
}

/* Does the log have a tracked region mapped? */
static bool has_tracked(const struct rvm_log *log)
{
	for (size_t i = 0; i < table.count; i++)
		if (table.at[i]->log == log && rvm_tracked(&table.at[i]->region->tracking))
			return true;
	return false;
}

/* A log's first tracked region comes, and each goes, while no transaction is open or begins. */
static rvm_return_t hold_transactions(void)
{
	rvm_return_t code = RVM_SUCCESS;

	pthread_mutex_lock(&rvm_api.lock);
	if (rvm_api.transactions)
		code = RVM_EUNCOMMIT;
	else
		rvm_api.held = true;
	pthread_mutex_unlock(&rvm_api.lock);
	return code;
}

/* So many more tracked regions are mapped. */
static void count_tracked(int more)
{
	pthread_mutex_lock(&rvm_api.lock);
	rvm_api.tracked += more;
	rvm_api.held = false;
	pthread_cond_broadcast(&rvm_api.turn_over);
	pthread_mutex_unlock(&rvm_api.lock);
}

static rvm_return_t map(struct rvm_log *log, const struct segment *segment,
			const struct rvm_map_request *request, struct rvm_mapping **mapped)
{
	struct rvm_mapping *mapping = calloc(1, sizeof(*mapping));
	bool tracked = rvm_tracked(&request->tracking);
	rvm_return_t code;

	pthread_rwlock_wrlock(&table_lock);
	code = mapping && make_room(&table) ? RVM_SUCCESS : RVM_ENO_MEMORY;
	pthread_rwlock_unlock(&table_lock);
	if (!code && segment->empty)
		code = grow(segment);
	if (!code && tracked && !has_tracked(log))
		code = hold_transactions();
	if (code)
		goto err;
	code = log->engine->map(log, request, &mapping->region);
	if (tracked)
		count_tracked(!code);
	if (code)
		goto err;
	mapping->region->tracking = request->tracking;
	mapping->start = (uintptr_t)mapping->region->address;
	mapping->end = mapping->start + mapping->region->length;
	mapping->log = log;
	mapping->device = segment->device;
	mapping->dev = segment->dev;
	mapping->ino = segment->ino;
	pthread_rwlock_wrlock(&table_lock);
	insert(&table, mapping);
	pthread_rwlock_unlock(&table_lock);
	*mapped = mapping;
	return RVM_SUCCESS;

err:
	free(mapping);
	return code;
}

rvm_return_t rvm_map(rvm_region_t *record, rvm_options_t *options)
{
	struct segment segment = { 0 };
	struct rvm_map_request request = { 0 };
	struct rvm_mapping *mapping;
	struct rvm_log *log;
	rvm_return_t code;

	if (!rvm_api_ready())
		return RVM_EINIT;
	code = check_record(record);
	if (!code)
		code = rvm_api_check_options(options, false);
	if (!code)
		code = rvm_api_lock_setup(&log);
	if (code)
		return code;
	if (options && options->log_dev && !rvm_api_is_log(log, options->log_dev)) {
		code = RVM_ELOG;
		goto out;
	}
	code = examine(record, &segment);
	if (!code)
		code = clip(record, segment.length, &request.offset, &request.length);
	if (code)
		goto out;
	request.name = segment.name;
	request.segment_length = segment.length;
	request.address = record->vmaddr;
	request.private_map = (options ? options : &rvm_api.options)->flags & RVM_MAP_PRIVATE;
	request.no_copy = record->no_copy;
	code = rvm_tracking_choose(options ? options->flags : 0, rvm_api.options.flags,
				   &request.tracking);
	if (code)
		goto out;
	if ((uintptr_t)request.address > -RVM_ROUND_LENGTH_UP_TO_PAGE_SIZE(request.length))
		code = RVM_ERANGE;
	if (!code)
		code = check_overlap(&segment, &request);
	if (!code)
		code = map(log, &segment, &request, &mapping);
	if (!code) {
		record->offset = RVM_MK_OFFSET(0, request.offset);
		record->length = request.length;
		record->vmaddr = mapping->region->address;
	}
out:
	rvm_api_unlock_setup();
	free(segment.name);
	return code;
}

static rvm_return_t unmap(struct rvm_log *log, const rvm_region_t *record)
{
	struct rvm_mapping *mapping;
	rvm_return_t code;
	bool tracked;

	pthread_rwlock_wrlock(&table_lock);
	code = rvm_region_find(record, &mapping);
	if (!code && mapping->log != log)
		code = RVM_ENOT_MAPPED;
	if (!code && ((uintptr_t)record->vmaddr != mapping->start ||
		      record->length != mapping->region->length))
		code = RVM_ERANGE;
	if (!code && __atomic_load_n(&mapping->region->users, __ATOMIC_ACQUIRE))
		code = RVM_EUNCOMMIT;
	if (!code)
		mapping->leaving = true;
	pthread_rwlock_unlock(&table_lock);
	if (code)
		return code;

	tracked = rvm_tracked(&mapping->region->tracking);
	if (tracked)
		code = hold_transactions();
	if (!code) {
		code = log->engine->unmap(log, mapping->region);
		if (tracked)
			count_tracked(code ? 0 : -1);
	}

	pthread_rwlock_wrlock(&table_lock);
	mapping->leaving = false;
	if (!code)
		remove_mapping(&table, mapping);
	pthread_rwlock_unlock(&table_lock);
	if (!code)
		free(mapping);
	return code;
}

rvm_return_t rvm_unmap(rvm_region_t *record)
{
	struct rvm_log *log;
	rvm_return_t code;

	if (!rvm_api_ready())
		return RVM_EINIT;
	if (!record || record->struct_id != rvm_region_id)
		return RVM_EREGION;
	code = rvm_api_lock_setup(&log);
	if (code)
		return code == RVM_ELOG ? RVM_ENOT_MAPPED : code;
	code = unmap(log, record);
	rvm_api_unlock_setup();
	return code;
}
