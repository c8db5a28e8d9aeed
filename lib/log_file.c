// SPDX-License-Identifier: GPL-2.0 OR MIT
/*
 * Making logs: a file or device is filled with zeros, so that every block is
 * allocated and written before the first commit, and only then gets the status
 * that makes it a log.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <linux/fs.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "core/status.h"
#include "lib/log_file.h"

static int write_all(int fd, const void *data, size_t length, uint64_t offset)
{
	while (length) {
		ssize_t n = pwrite(fd, data, length, offset);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0) {
			if (!n)
				errno = ENOSPC;
			return -1;
		}
		data = (const char *)data + n;
		offset += n;
		length -= n;
	}
	return 0;
}

static int write_zeros(int fd, uint64_t length)
{
	const size_t piece = 1 << 20;
	char *zeros = calloc(1, piece);
	uint64_t offset = 0;
	int err = zeros ? 0 : -1;

	while (!err && offset < length) {
		size_t n = length - offset < piece ? length - offset : piece;

		err = write_all(fd, zeros, n, offset);
		offset += n;
	}
	free(zeros);
	return err;
}

static int write_status(int fd, uint64_t area_length)
{
	struct rvm_status *status = malloc(sizeof(*status));
	void *slot = malloc(RVM_STATUS_SIZE);
	struct timespec now;
	u64 id = 0;
	int err = -1;

	if (!status || !slot)
		goto out;
	while (!id)
		if (getrandom(&id, sizeof(id), 0) != sizeof(id) && errno != EINTR)
			goto out;
	clock_gettime(CLOCK_REALTIME, &now);
	rvm_status_init(status, id, area_length, now.tv_sec * 1000000000ull + now.tv_nsec);
	rvm_status_encode(status, slot);
	err = write_all(fd, slot, RVM_STATUS_SIZE, rvm_status_offset(status));
out:
	free(slot);
	free(status);
	return err;
}

static rvm_return_t error(void)
{
	return errno == ENOMEM ? RVM_ENO_MEMORY : RVM_EIO;
}

static rvm_return_t round_area(uint64_t *area_length)
{
	const uint64_t max = INT64_MAX - RVM_AREA_START - RVM_AREA_UNIT;

	if (!*area_length || *area_length > max)
		return RVM_EOFFSET;
	*area_length = (*area_length + RVM_AREA_UNIT - 1) & -(uint64_t)RVM_AREA_UNIT;
	return RVM_SUCCESS;
}

rvm_return_t rvm_log_file_format(int fd, uint64_t area_length)
{
	struct stat st;
	rvm_return_t code;

	if (fstat(fd, &st))
		return RVM_EIO;
	if (S_ISBLK(st.st_mode)) {
		uint64_t size;

		if (ioctl(fd, BLKGETSIZE64, &size))
			return RVM_EIO;
		if (size < RVM_AREA_START + RVM_AREA_UNIT ||
		    area_length > size - RVM_AREA_START) {
			errno = ENOSPC;
			return RVM_EIO;
		}
		if (!area_length)
			area_length = (size - RVM_AREA_START) & -(uint64_t)RVM_AREA_UNIT;
	}
	code = round_area(&area_length);
	if (code)
		return code;
	/* In one piece where the file system can; the writes find room anyway. */
	if (S_ISREG(st.st_mode) && fallocate(fd, 0, 0, RVM_AREA_START + area_length) &&
	    errno != EOPNOTSUPP && errno != ENOSYS && errno != EINTR)
		return RVM_EIO;
	if (write_zeros(fd, RVM_AREA_START + area_length) || fsync(fd) ||
	    write_status(fd, area_length) || fsync(fd))
		return error();
	return RVM_SUCCESS;
}

/* Make the directory entry durable. */
static int sync_parent(const char *path, int fd)
{
	char *copy = strdup(path);
	int dir, err;

	if (!copy)
		return -1;
	dir = open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	free(copy);
	if (dir < 0)		/* a directory that may be written, but not read */
		return syncfs(fd);
	err = fsync(dir);
	if (err && errno == EINVAL)	/* a file system that has nothing to sync there */
		err = 0;
	close(dir);
	return err;
}

rvm_return_t rvm_log_file_create(const char *path, uint64_t area_length, mode_t mode)
{
	rvm_return_t code;
	int fd, saved;

	code = round_area(&area_length);
	if (code)
		return code;
	fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, mode);
	if (fd < 0)
		return errno == EEXIST ? RVM_ELOG : error();
	code = rvm_log_file_format(fd, area_length);
	if (!code && sync_parent(path, fd))
		code = error();
	saved = errno;
	close(fd);
	if (code)
		unlink(path);
	errno = saved;
	return code;
}
