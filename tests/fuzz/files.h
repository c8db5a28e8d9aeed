/* SPDX-License-Identifier: GPL-2.0 OR MIT */
/*
 * Files in memory, for the user engine to recover: its system calls come here
 * (the Makefile renames them in its objects), so that a run takes microseconds,
 * and no path that a fuzzer invents leads anywhere.
 *
 * There are a log and some segments: /s1, a file; /s2, an empty one; /s3, a
 * device; /s4, a file that may not be opened.  All else is not there.
 */
#ifndef RVM_FUZZ_FILES_H
#define RVM_FUZZ_FILES_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <fcntl.h>
#include <linux/fs.h>
#include <stdarg.h>
#include <sys/file.h>
#include <sys/stat.h>

#include "fuzz.h"
#include "image.h"

#define SEGMENT_LENGTH	(6 * 1024u)
#define SEGMENT_MOST	(12 * 1024u)	/* no file grows beyond this: EFBIG */
#define FILES		5u
#define FIRST_FD	1000

struct file {
	const char *name;
	bool device, forbidden;
	u64 size;
	u8 *bytes;
};

static struct file files[FILES] = {
	{ .name = "/log" },
	{ .name = "/s1" },
	{ .name = "/s2" },
	{ .name = "/s3", .device = true },
	{ .name = "/s4", .forbidden = true },
};

#define LOG (&files[0])

struct opened {
	struct file *file;
	bool direct, locked;
};

static struct opened opened[2 * FILES];
static bool direct_works;

/* File contents before a run. */
static void files_reset(void)
{
	u32 i, k;

	for (i = 1; i < FILES; i++) {
		if (!files[i].bytes)
			files[i].bytes = malloc(SEGMENT_MOST);
		memset(files[i].bytes, 0, SEGMENT_MOST);
		files[i].size = i == 2 ? 0 : SEGMENT_LENGTH;
		for (k = 0; k < files[i].size; k++)
			files[i].bytes[k] = i + k;
	}
}

static bool files_all_closed(void)
{
	u32 i;

	for (i = 0; i < 2 * FILES; i++)
		if (opened[i].file)
			return false;
	return true;
}

static struct file *file_named(const char *path)
{
	u32 i;

	for (i = 0; i < FILES; i++)
		if (!strcmp(files[i].name, path))
			return &files[i];
	return NULL;
}

static struct opened *opened_fd(int fd)
{
	struct opened *o = &opened[fd - FIRST_FD];

	CHECK(fd >= FIRST_FD && fd < FIRST_FD + (int)(2 * FILES) && o->file);
	return o;
}

int file_stat(const char *path, struct stat *st);
int file_fstat(int fd, struct stat *st);
int file_open(const char *path, int flags, ...);
int file_close(int fd);
int file_flock(int fd, int operation);
int file_ioctl(int fd, unsigned long request, ...);
ssize_t file_pread(int fd, void *buffer, size_t length, off_t offset);
ssize_t file_pwrite(int fd, const void *buffer, size_t length, off_t offset);
int file_fsync(int fd);
int file_fdatasync(int fd);
int file_fprintf(FILE *to, const char *format, ...);

static int fail(int error)
{
	errno = error;
	return -1;
}

static void fill_stat(const struct file *f, struct stat *st)
{
	memset(st, 0, sizeof(*st));
	st->st_mode = f->device ? S_IFBLK : S_IFREG;
	st->st_size = f->device ? 0 : f->size;
	st->st_ino = f - files + 1;
}

int file_stat(const char *path, struct stat *st)
{
	struct file *f = file_named(path);

	if (!f)
		return fail(ENOENT);
	fill_stat(f, st);
	return 0;
}

int file_fstat(int fd, struct stat *st)
{
	fill_stat(opened_fd(fd)->file, st);
	return 0;
}

int file_open(const char *path, int flags, ...)
{
	struct file *f = file_named(path);
	u32 i;
	int fd;

	if (sscanf(path, "/proc/self/fd/%d", &fd) == 1)
		f = opened_fd(fd)->file;
	if (!f)
		return fail(ENOENT);
	if (f->forbidden)
		return fail(EACCES);
	CHECK(!(flags & (O_CREAT | O_TRUNC)) && !f->device == !(flags & O_EXCL));
	for (i = 0; opened[i].file; i++)
		CHECK(i + 1 < 2 * FILES);
	opened[i] = (struct opened) { f, flags & O_DIRECT, false };
	return FIRST_FD + i;
}

int file_close(int fd)
{
	memset(opened_fd(fd), 0, sizeof(struct opened));
	return 0;
}

int file_flock(int fd, int operation)
{
	struct opened *o = opened_fd(fd);
	u32 i;

	for (i = 0; i < 2 * FILES && !(operation & LOCK_UN); i++)
		if (&opened[i] != o && opened[i].file == o->file && opened[i].locked)
			return fail(EWOULDBLOCK);
	o->locked = !(operation & LOCK_UN);
	return 0;
}

int file_ioctl(int fd, unsigned long request, ...)
{
	struct opened *o = opened_fd(fd);
	va_list ap;

	CHECK(request == BLKGETSIZE64 && o->file->device);
	va_start(ap, request);
	*va_arg(ap, u64 *) = o->file->size;
	va_end(ap);
	return 0;
}

static bool direct_refuses(const struct opened *o, const void *buffer, size_t length, u64 offset)
{
	if (!o->direct)
		return false;
	CHECK(!((uintptr_t)buffer % 512) && !(length % 512) && !(offset % 512));
	return !direct_works;
}

ssize_t file_pread(int fd, void *buffer, size_t length, off_t offset)
{
	struct opened *o = opened_fd(fd);

	CHECK(offset >= 0);
	if (direct_refuses(o, buffer, length, offset))
		return fail(EINVAL);
	if ((u64)offset >= o->file->size)
		return 0;
	if (length > o->file->size - offset)
		length = o->file->size - offset;
	memcpy(buffer, o->file->bytes + offset, length);
	return length;
}

ssize_t file_pwrite(int fd, const void *buffer, size_t length, off_t offset)
{
	struct opened *o = opened_fd(fd);
	struct file *f = o->file;

	CHECK(offset >= 0 && length);
	if (direct_refuses(o, buffer, length, offset))
		return fail(EINVAL);
	if (f == LOG || f->device) {
		/* recovery writes statuses only; a device is never written past its end */
		u64 end = f->device ? f->size : RVM_AREA_START;

		CHECK((u64)offset < end && length <= end - offset);
	} else if (offset >= SEGMENT_MOST) {
		return fail(EFBIG);
	} else if (length > SEGMENT_MOST - (u64)offset) {
		length = SEGMENT_MOST - offset;
	}
	memcpy(f->bytes + offset, buffer, length);
	if (f->size < offset + length)
		f->size = offset + length;
	return length;
}

int file_fsync(int fd)
{
	opened_fd(fd);
	return 0;
}

int file_fdatasync(int fd)
{
	return file_fsync(fd);
}

/* The engine's complaints: of no interest by the thousand. */
int file_fprintf(FILE *to, const char *format, ...)
{
	(void)to;
	(void)format;
	return 0;
}

#endif
