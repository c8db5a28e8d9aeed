// SPDX-License-Identifier: GPL-2.0 OR MIT
/*
 * The user engine's files: opening and owning logs and segments, and the
 * log's I/O, direct where that works.
 *
 * Ownership is a flock on the description that is opened here, and for a
 * block device also an exclusive claim.  Both are cooperative: they keep other
 * RVM processes away, not programs that never ask.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/user.h"

rvm_return_t user_error(int error)
{
	errno = -error;
	return error == 0 ? RVM_SUCCESS : error == -ENOMEM ? RVM_ENO_MEMORY : RVM_EIO;
}

void user_complain(const char *format, ...)
{
	char text[4096 + 512];
	int error = errno;
	va_list ap;

	va_start(ap, format);
	vsnprintf(text, sizeof(text), format, ap);
	va_end(ap);
	fprintf(stderr, "rvm: %s\n", text);
	errno = error;
}

/*
 * Open a regular file or block device for reading and writing, and own it.
 * The fd, or -errno: -EBUSY when another owns it, -EINVAL when it is neither.
 * O_NONBLOCK keeps a FIFO or terminal of that name from making us wait.
 */
int user_file_open(const char *path, u64 *length, bool *is_device)
{
	struct stat st;
	int fd, flags = O_RDWR | O_CLOEXEC | O_NOCTTY | O_NONBLOCK;

	if (stat(path, &st))
		return -errno;
	if (S_ISBLK(st.st_mode))
		flags |= O_EXCL;
	else if (!S_ISREG(st.st_mode))
		return S_ISDIR(st.st_mode) ? -EISDIR : -EINVAL;
	fd = open(path, flags);
	if (fd < 0)
		return -errno;
	/* the name may lead elsewhere by now: believe only the fd */
	if (fstat(fd, &st))
		goto fail;
	*is_device = S_ISBLK(st.st_mode);
	if (*is_device != !!(flags & O_EXCL) || (!*is_device && !S_ISREG(st.st_mode))) {
		errno = EINVAL;
		goto fail;
	}
	if (flock(fd, LOCK_EX | LOCK_NB)) {
		if (errno == EWOULDBLOCK)
			errno = EBUSY;
		goto fail;
	}
	*length = st.st_size;
	if (*is_device && ioctl(fd, BLKGETSIZE64, length))
		goto fail;
	return fd;
fail:
	flags = -errno;
	close(fd);
	return flags;
}

static bool can_read(int fd, void *buffer, size_t length)
{
	return pread(fd, buffer, length, 0) == (ssize_t)length;
}

/*
 * Set up log->io_fd: a second description with O_DIRECT | O_DSYNC if a real
 * direct read works (some file systems let such an open succeed and then
 * refuse every transfer), else the first one and fdatasync.
 */
int user_file_open_direct(struct user_log *log, const char *path)
{
	struct stat st, own;
	char link[64];
	int fd, sector = RVM_BLOCK_MIN;
	char *buffer;

	log->io_fd = log->fd;
	log->direct = false;
	log->block = RVM_BLOCK_MIN;
	if (fstat(log->fd, &own))
		return -errno;
	if (S_ISBLK(own.st_mode) && ioctl(log->fd, BLKSSZGET, &sector))
		return -errno;
	if (sector > (int)RVM_BLOCK_MAX)
		return -EINVAL;
	if (sector > (int)log->block)
		log->block = sector;

	buffer = user_file_buffer(RVM_BLOCK_MAX);
	if (!buffer)
		return -ENOMEM;
	snprintf(link, sizeof(link), "/proc/self/fd/%d", log->fd);
	fd = open(link, O_RDWR | O_CLOEXEC | O_DIRECT | O_DSYNC);
	if (fd < 0)
		fd = open(path, O_RDWR | O_CLOEXEC | O_NONBLOCK | O_DIRECT | O_DSYNC);
	if (fd >= 0 && !fstat(fd, &st) && st.st_dev == own.st_dev && st.st_ino == own.st_ino) {
		if (can_read(fd, buffer, log->block)) {
			log->direct = true;
		} else if (can_read(fd, buffer, RVM_BLOCK_MAX)) {
			log->direct = true;
			log->block = RVM_BLOCK_MAX;
		}
	}
	free(buffer);
	if (log->direct)
		log->io_fd = fd;
	else if (fd >= 0)
		close(fd);
	return 0;
}

int user_file_read(int fd, u64 offset, void *buffer, size_t length)
{
	while (length) {
		ssize_t n = pread(fd, buffer, length, offset);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n ? -errno : -EIO;
		buffer = (char *)buffer + n;
		offset += n;
		length -= n;
	}
	return 0;
}

int user_file_write(int fd, u64 offset, const void *buffer, size_t length)
{
	while (length) {
		ssize_t n = pwrite(fd, buffer, length, offset);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n ? -errno : -EIO;
		buffer = (const char *)buffer + n;
		offset += n;
		length -= n;
	}
	return 0;
}

int user_file_log_write(struct user_log *log, u64 offset, const void *buffer, size_t length)
{
	int error;

	user_count(log->counters.log_writes, 1);
	user_count(log->counters.log_flushes, 1);
	user_count(log->counters.log_bytes, length);
	error = user_file_write(log->io_fd, offset, buffer, length);
	if (error == -EINVAL && log->direct && !log->direct_proven) {
		/* it reads directly and doesn't write so; we are still opening */
		close(log->io_fd);
		log->io_fd = log->fd;
		log->direct = false;
		error = user_file_write(log->io_fd, offset, buffer, length);
	}
	if (!error && !log->direct && fdatasync(log->fd))
		error = -errno;
	if (!error && !log->direct_proven)
		log->direct_proven = true;
	return error;
}

/* rvm_read_fn. A direct read takes whole blocks, so others go by a copy. */
int user_file_log_read(void *context, u64 offset, void *buffer, size_t length)
{
	struct user_log *log = context;
	u64 from, whole;
	char *copy;
	int error;

	if (!log->direct || ((offset | length) % log->block == 0 &&
			     (uintptr_t)buffer % USER_PAGE == 0))
		return user_file_read(log->io_fd, offset, buffer, length);
	from = offset / log->block * log->block;
	whole = user_round_up(offset + length, log->block) - from;
	copy = user_file_buffer(whole);
	if (!copy)
		return -ENOMEM;
	error = user_file_read(log->io_fd, from, copy, whole);
	if (!error)
		memcpy(buffer, copy + (offset - from), length);
	free(copy);
	return error;
}

void *user_file_buffer(size_t length)
{
	void *p;

	return posix_memalign(&p, USER_PAGE, user_round_up(length, USER_PAGE)) ? NULL : p;
}
