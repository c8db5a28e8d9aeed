// SPDX-License-Identifier: GPL-2.0 OR MIT
/*
 * The yardstick: one O_DIRECT | O_DSYNC write of one block for each transfer, one block
 * after the other in a file that was written before.  Nothing that keeps data can do with
 * less.  The block holds the transfer, so that what was written can be verified, but it
 * is never brought to any other place: the file is a log that is never truncated.
 *
 * Or without O_DSYNC, so that a power cut can undo it.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "tools/experiment/peers/peer.h"

#define MAX_BLOCK	4096u
#define TRANSFERS	16384u

static struct layout layout;
static char *memory, *block;
static size_t block_length, length;
static uint64_t next;
static int fd;

static void create_file(void)
{
	size_t part = 1 << 20;
	char *zeros = aligned_alloc(MAX_BLOCK, part);

	if (!zeros)
		die("bare: out of memory");
	memset(zeros, 0, part);
	for (size_t at = 0; at < TRANSFERS * block_length; at += part)
		if (pwrite(fd, zeros, part, at) != (ssize_t)part)
			die("bare: %s", strerror(errno));
	free(zeros);
	if (fsync(fd))
		die("bare: %s", strerror(errno));
}

/* Every transfer that was written is made in memory once more. */
static void replay(void)
{
	struct transfer t;

	for (next = 0; next < TRANSFERS; next++) {
		if (pread(fd, block, block_length, next * block_length) != (ssize_t)block_length)
			die("bare: %s", strerror(errno));
		memcpy(&t, block, sizeof(t));
		if (!t.sequence)
			break;
		store_transfer(&layout, &t);
	}
}

static void open_file(const struct shape *shape, bool create, int flags)
{
	length = shape_length(shape);
	memory = mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	block = aligned_alloc(MAX_BLOCK, MAX_BLOCK);
	if (memory == MAP_FAILED || !block)
		die("bare: out of memory");
	memset(block, 0, MAX_BLOCK);
	lay_out(&layout, shape, memory);
	fd = open("bare", O_RDWR | O_DIRECT | O_CLOEXEC | flags | (create ? O_CREAT | O_EXCL : 0), 0600);
	if (fd < 0)
		die("bare: %s", strerror(errno));
	/* what a block of the device is: the shortest that can be written alone */
	block_length = create ? 512 : lseek(fd, 0, SEEK_END) / TRANSFERS;
	if (create && pwrite(fd, block, block_length, 0) < 0) {
		if (errno != EINVAL)
			die("bare: %s", strerror(errno));
		block_length = MAX_BLOCK;
	}
	if (create)
		create_file();
	replay();
}

static void bare_open(const struct shape *shape, bool create)
{
	open_file(shape, create, O_DSYNC);
}

static void direct_open(const struct shape *shape, bool create)
{
	open_file(shape, create, 0);
}

static void bare_transfer(const struct transfer *t)
{
	if (next == TRANSFERS)
		die("bare: there is room for %u transfers", TRANSFERS);
	store_transfer(&layout, t);
	memcpy(block, t, sizeof(*t));
	if (pwrite(fd, block, block_length, next++ * block_length) != (ssize_t)block_length)
		die("bare: %s", strerror(errno));
}

static void bare_read(enum table table, uint64_t index, void *record)
{
	memcpy(record, record_at(&layout, table, index), record_length[table]);
}

static void bare_close(void)
{
	free(block);
	if (munmap(memory, length) || close(fd))
		die("bare: %s", strerror(errno));
}

const struct peer peer_bare = {
	.name = "bare", .about = "one O_DIRECT | O_DSYNC write of a block", .survives = MACHINE, .atomic = true,
	.open = bare_open, .transfer = bare_transfer, .read = bare_read, .close = bare_close,
};

/* it reaches the device, and stays in its cache */
const struct peer peer_direct = {
	.name = "direct", .about = "one O_DIRECT write of a block", .survives = KERNEL, .atomic = true,
	.open = direct_open, .transfer = bare_transfer, .read = bare_read, .close = bare_close,
};
