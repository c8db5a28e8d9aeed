// SPDX-License-Identifier: GPL-2.0 OR MIT
/* A segment with a heap and a static area: made, loaded, unloaded. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "lib/rds_heap.h"

enum { HEAP, STATIC, REGIONS };

/* Old programs know them. */
rvm_region_def_t *RegionDefs;
unsigned long NRegionDefs;

/*
 * Held by what loads, unloads, starts or stops; before the heap's.  The regions,
 * and the segment's file with its lock, are beneath it.
 */
static pthread_mutex_t setup = PTHREAD_MUTEX_INITIALIZER;
static int loaded = -1;

/*
 * Lock the segment against other heap users.  With the kernel engine they could map
 * it, and each believe that what is free is its own.
 */
static int lock_segment(const char *name, int *fd)
{
	struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET };

	if (rvm_check_tid(NULL) == RVM_EINIT)
		return RVM_EINIT;
	if (!name)
		return EBAD_ARGS;
	*fd = open(name, O_RDWR | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	if (*fd < 0)
		return errno == ENAMETOOLONG ? RVM_ENAME_TOO_LONG : RVM_EIO;
	if (!fcntl(*fd, F_OFD_SETLK, &lock))
		return SUCCESS;
	close(*fd);
	if (errno == EAGAIN || errno == EACCES)
		errno = EBUSY;
	return RVM_EIO;
}

static void unlock_segment(int fd)
{
	int err = errno;

	close(fd);
	errno = err;
}

/*
 * Making one
 */

static int make(char *name, rvm_offset_t dev_length, rvm_region_def_t defs[REGIONS],
		unsigned long lists, unsigned long chunk_size)
{
	rvm_region_def_t *regions;
	unsigned long count;
	int code, released;
	char *start;

	code = rvm_create_segment(name, dev_length, NULL, REGIONS, defs);
	if (!code)
		code = rvm_load_segment(name, dev_length, NULL, &count, &regions);
	if (code)
		return code;
	start = regions[STATIC].vmaddr;
	rds_init_heap(regions[HEAP].vmaddr, regions[HEAP].length, chunk_size, lists, NULL, &code);
	if (!code)
		code = rds_zero(NULL, start, start + regions[STATIC].length);
	if (!code)
		code = rvm_flush();
	released = rvm_release_segment(count, &regions);
	return code ? code : released;
}

int rds_zap_heap(char *DevName, rvm_offset_t DevLength, char *startAddr,
		 rvm_length_t staticLength, rvm_length_t heapLength, unsigned long nlists,
		 unsigned long chunkSize, int *err)
{
	rvm_region_def_t defs[REGIONS];
	struct rds_image described;
	struct rds_layout layout;
	int code, fd;

	rds_image_describe(&described, startAddr, heapLength, chunkSize, nlists);
	if (!rds_image_layout(&described.header, &layout))
		return rds_result(err, EBAD_ARGS);
	RVM_INIT_REGION(defs[HEAP], RVM_MK_OFFSET(0, 0), heapLength, startAddr);
	RVM_INIT_REGION(defs[STATIC], RVM_MK_OFFSET(0, 0), staticLength, startAddr + heapLength);
	code = lock_segment(DevName, &fd);
	if (code)
		return rds_result(err, code);
	code = make(DevName, DevLength, defs, nlists, chunkSize);
	unlock_segment(fd);
	return rds_result(err, code);
}

/*
 * Using one
 */

static int load(char *name, rvm_offset_t dev_length)
{
	int code = rvm_load_segment(name, dev_length, NULL, &NRegionDefs, &RegionDefs);

	if (code)
		return code;
	if (NRegionDefs < REGIONS)
		code = EBAD_SEGMENT_HDR;
	else
		code = rds_open(RegionDefs[HEAP].vmaddr);
	if (code && !rvm_release_segment(NRegionDefs, &RegionDefs))
		NRegionDefs = 0;
	return code;
}

int rds_load_heap(char *DevName, rvm_offset_t DevLength, char **staticAddr, int *err)
{
	int code, fd;

	pthread_mutex_lock(&setup);
	if (RegionDefs) {
		code = EHEAP_INIT;
		goto out;
	}
	code = lock_segment(DevName, &fd);
	if (code)
		goto out;
	code = load(DevName, DevLength);
	if (code) {
		unlock_segment(fd);
		goto out;
	}
	loaded = fd;
	if (staticAddr)
		*staticAddr = RegionDefs[STATIC].vmaddr;
out:
	pthread_mutex_unlock(&setup);
	return rds_result(err, code);
}

/* Has no open transaction any ranges in the regions? */
static int check_idle(void)
{
	bool open;
	int code;

	for (unsigned long i = 0; i < NRegionDefs; i++) {
		/* an unload that failed before may have released it */
		if (!RegionDefs[i].length)
			continue;
		code = rds_mapped(RegionDefs[i].vmaddr, RegionDefs[i].length, &open);
		if (!code && open)
			code = RVM_EUNCOMMIT;
		if (code)
			return code;
	}
	return SUCCESS;
}

static int unload(void)
{
	int code;

	if (!RegionDefs)
		return EHEAP_INIT;
	code = check_idle();
	if (!code)
		code = rvm_truncate();
	if (!code)
		code = rds_close();
	/* it may have been stopped already */
	if (code && code != EHEAP_INIT)
		return code;
	code = rvm_release_segment(NRegionDefs, &RegionDefs);
	if (code)
		return code;
	NRegionDefs = 0;
	unlock_segment(loaded);
	return SUCCESS;
}

int rds_unload_heap(int *err)
{
	int code;

	pthread_mutex_lock(&setup);
	code = unload();
	pthread_mutex_unlock(&setup);
	return rds_result(err, code);
}

int rds_start_heap(char *startAddr, int *err)
{
	int code;

	pthread_mutex_lock(&setup);
	code = rds_open(startAddr);
	pthread_mutex_unlock(&setup);
	return rds_result(err, code);
}

int rds_stop_heap(int *err)
{
	int code;

	pthread_mutex_lock(&setup);
	code = rds_close();
	pthread_mutex_unlock(&setup);
	return rds_result(err, code);
}
