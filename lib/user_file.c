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
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "lib/user.h"

rvm_return_t user_error(int error)
{
	errno = -error;
	return error == 0 ? RVM_SUCCESS : error == -ENOMEM ? RVM_ENO_MEMORY : RVM_EIO;
}

u64 user_clock(clockid_t clock)
{
	struct timespec t;

	clock_gettime(clock, &t);
	return t.tv_sec * 1000000000ull + t.tv_nsec;
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
 * Fds that a forked child closes: it shares their descriptions, and would go on
 * owning the files when its parent is dead.  A fork can come at any moment of
 * other threads' work here, so the table is only ever added to, and its words
 * change atomically: an fd + 1, or 0.
 */
struct owned {
	atomic_int fd[61];
	_Atomic(struct owned *) next;
};

static struct owned owned;

static void close_in_child(void)
{
	struct owned *o;
	size_t i;

	user_device_forget();
	for (o = &owned; o; o = o->next) {
		for (i = 0; i < sizeof(o->fd) / sizeof(o->fd[0]); i++) {
			int fd = atomic_exchange(&o->fd[i], 0);

			if (fd)
				close(fd - 1);
		}
	}
}

static int handle_fork(void)
{
	static pthread_mutex_t once = PTHREAD_MUTEX_INITIALIZER;
	static bool done;
	int error = 0;

	pthread_mutex_lock(&once);
	if (!done)
		error = pthread_atfork(NULL, NULL, close_in_child);
	done = !error;
	pthread_mutex_unlock(&once);
	return -error;
}

static bool own_replace(struct owned *o, int old, int new)
{
	size_t i;

	for (i = 0; i < sizeof(o->fd) / sizeof(o->fd[0]); i++) {
		int expected = old;

		if (atomic_compare_exchange_strong(&o->fd[i], &expected, new))
			return true;
	}
	return false;
}

static int own(int fd)
{
	struct owned *o = &owned, *none = NULL, *more;
	int error = handle_fork();

	if (error)
		return error;
	while (!own_replace(o, 0, fd + 1)) {
		if (!o->next) {
			more = calloc(1, sizeof(*more));
			if (!more)
				return -ENOMEM;
			if (!atomic_compare_exchange_strong(&o->next, &none, more))
				free(more);
			none = NULL;
		}
		o = o->next;
	}
	return 0;
}

/* Close it, and give it up even if a mapping or a child still has it. */
void user_file_close(int fd)
{
	struct owned *o;

	if (fd < 0)
		return;
	flock(fd, LOCK_UN);
	for (o = &owned; o && !own_replace(o, fd + 1, 0); o = o->next)
		;
	close(fd);
}

/*
 * Open a regular file or block device for reading and writing, and own it.
 * The fd, or -errno: -EBUSY when another owns it, -EINVAL when it is neither.
 * O_NONBLOCK keeps a FIFO or terminal of that name from making us wait.
 */
int user_file_open(const char *path, u64 *length, bool *is_device)
{
	struct stat st;
	int fd, error, flags = O_RDWR | O_CLOEXEC | O_NOCTTY | O_NONBLOCK;

	if (stat(path, &st))
		return -errno;
	if (S_ISBLK(st.st_mode))
		flags |= O_EXCL;
	else if (!S_ISREG(st.st_mode))
		return S_ISDIR(st.st_mode) ? -EISDIR : -EINVAL;
	fd = open(path, flags);
	if (fd < 0)
		return -errno;
	error = own(fd);
	if (error) {
		errno = -error;
		goto fail;
	}
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
	error = -errno;
	user_file_close(fd);
	return error;
}

/* Another description of an open file. -errno. */
static int open_again(int fd, const char *path, int flags)
{
	struct stat st, again;
	char link[64];
	int new;

	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	new = open(link, flags | O_CLOEXEC | O_NONBLOCK);
	if (new < 0)
		new = open(path, flags | O_CLOEXEC | O_NONBLOCK);
	if (new < 0)
		return -errno;
	if (!fstat(fd, &st) && !fstat(new, &again) && st.st_dev == again.st_dev &&
	    st.st_ino == again.st_ino)
		return new;
	close(new);
	return -ESTALE;
}

int user_file_again(int fd, const char *path)
{
	return open_again(fd, path, O_RDONLY);
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
	struct stat st;
	int fd, error = 0, sector = RVM_BLOCK_MIN;
	char *buffer;

	log->io_fd = log->fd;
	log->direct = false;
	log->block = RVM_BLOCK_MIN;
	if (fstat(log->fd, &st))
		return -errno;
	log->device = S_ISBLK(st.st_mode);
	if (log->device && ioctl(log->fd, BLKSSZGET, &sector))
		return -errno;
	if (sector > (int)RVM_BLOCK_MAX)
		return -EINVAL;
	if (sector > (int)log->block)
		log->block = sector;

	buffer = user_file_buffer(RVM_BLOCK_MAX);
	if (!buffer)
		return -ENOMEM;
	fd = open_again(log->fd, path, O_RDWR | O_DIRECT | O_DSYNC);
	if (fd >= 0) {
		if (can_read(fd, buffer, log->block)) {
			log->direct = true;
		} else if (can_read(fd, buffer, RVM_BLOCK_MAX)) {
			log->direct = true;
			log->block = RVM_BLOCK_MAX;
		}
	}
	free(buffer);
	if (log->direct)
		error = own(fd);
	if (log->direct && !error)
		log->io_fd = fd;
	else if (fd >= 0)
		close(fd);
	return error;
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

static int log_write(struct user_log *log, u64 offset, const void *buffer, size_t length)
{
	if (log->device && log->direct)
		return user_device_write(log->io_fd, offset, buffer, length);
	return user_file_write(log->io_fd, offset, buffer, length);
}

int user_file_log_write(struct user_log *log, u64 offset, const void *buffer, size_t length)
{
	int error;

	user_count(log->counters.log_writes, 1);
	user_count(log->counters.log_flushes, 1);
	user_count(log->counters.log_bytes, length);
	error = log_write(log, offset, buffer, length);
	if (error == -EINVAL && log->direct && !log->direct_proven) {
		/* it reads directly and doesn't write so; we are still opening */
		user_file_close(log->io_fd);
		log->io_fd = log->fd;
		log->direct = false;
		error = log_write(log, offset, buffer, length);
	}
	if (!error && !log->direct && fdatasync(log->fd))
		error = -errno;
	if (!error && !log->direct_proven)
		log->direct_proven = true;
	return error;
}

/* rvm_read_fn. Callers ask for whole blocks, into aligned buffers, as direct reads need it. */
int user_file_log_read(void *context, u64 offset, void *buffer, size_t length)
{
	struct user_log *log = context;

	return user_file_read(log->io_fd, offset, buffer, length);
}

void *user_file_buffer(size_t length)
{
	void *p;

	return posix_memalign(&p, USER_PAGE, user_round_up(length, USER_PAGE)) ? NULL : p;
}
