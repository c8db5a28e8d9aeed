// SPDX-License-Identifier: GPL-2.0 OR MIT
/* The yardstick: as many writes as transactions have, to the same file, and nothing else. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE		/* O_DIRECT */
#endif
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/fs.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/param.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tools/rvmbench/measure.h"

#define AREA_START	(UINT64_C(128) << 10)	/* of a log's records: docs/format.md */
#define PAGE		4096u
#define STRETCH		(UINT64_C(1) << 20)

static uint64_t block_length(int fd)
{
	struct stat st;
	int sector = 512;

	if (fstat(fd, &st) || (S_ISBLK(st.st_mode) && ioctl(fd, BLKSSZGET, &sector)))
		die("--bare: %s: %s", opt.log, strerror(errno));
	return sector;
}

/* Write a stretch of the log over with the same, `length` bytes at once; how long that takes. */
static uint64_t rewrite(int fd, char *buffer, uint64_t at, uint64_t length, uint64_t writes)
{
	uint64_t began;
	ssize_t n = length;

	if (pread(fd, buffer, writes * length, at) != (ssize_t)(writes * length))
		die("--bare: %s can't be read: %s", opt.log, strerror(errno));
	began = now_ns();
	for (uint64_t i = 0; i < writes && n == (ssize_t)length; i++)
		n = pwrite(fd, buffer + i * length, length, at + i * length);
	if (n != (ssize_t)length)
		die("--bare: %s can't be written: %s", opt.log, strerror(errno));
	return now_ns() - began;
}

uint64_t measure_bare(uint64_t writes, uint64_t length)
{
	int fd = open(opt.log, O_RDWR | O_DIRECT | O_DSYNC | O_CLOEXEC);
	char *buffer = aligned_alloc(PAGE, STRETCH);
	uint64_t block, at = 0, took = 0, n;
	rvm_engine_counters_t counters;

	if (fd < 0 && errno == EINVAL)	/* there are file systems without, as for the engines */
		fd = open(opt.log, O_RDWR | O_DSYNC | O_CLOEXEC);
	if (fd < 0 || !buffer)
		die("--bare: %s: %s", opt.log, strerror(errno));
	check(rvm_get_engine_counters(&counters), "rvm_get_engine_counters", NULL);
	block = block_length(fd);
	length = MAX((length + block / 2) / block, 1u) * block;
	if (length > STRETCH || length > counters.log_length)
		die("--bare: the transactions' records have %" PRIu64 " bytes; that is too long", length);
	for (; writes; writes -= n) {
		if (at + length > counters.log_length)
			at = 0;
		n = MIN(MIN(writes, STRETCH / length), (counters.log_length - at) / length);
		took += rewrite(fd, buffer, AREA_START + at, length, n);
		at += n * length;
	}
	free(buffer);
	close(fd);
	return took;
}
