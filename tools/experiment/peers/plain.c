// SPDX-License-Identifier: GPL-2.0 OR MIT
/*
 * No transactions: the tables in memory, in a mapped file with an msync() for each
 * transfer, or in a file with a pwrite() for each record, and an fdatasync() or none.
 * A crash in the middle of a transfer leaves half of it.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "tools/experiment/peers/peer.h"

static struct layout layout;
static char *memory;
static size_t length;
static int fd;

/* Length of a new file, with blocks that are written already. */
static void fill(void)
{
	static char zeros[1 << 20];

	for (size_t at = 0; at < length; at += sizeof(zeros)) {
		size_t part = length - at < sizeof(zeros) ? length - at : sizeof(zeros);

		if (pwrite(fd, zeros, part, at) != (ssize_t)part)
			die("plain: %s", strerror(errno));
	}
	if (fsync(fd))
		die("plain: %s", strerror(errno));
}

static void map(const struct shape *shape, int flags)
{
	memory = mmap(NULL, length, PROT_READ | PROT_WRITE, flags, fd, 0);
	if (memory == MAP_FAILED)
		die("mmap: %s", strerror(errno));
	lay_out(&layout, shape, memory);
}

static void open_file(const struct shape *shape, bool create)
{
	length = shape_length(shape);
	fd = open("plain", O_RDWR | O_CLOEXEC | (create ? O_CREAT | O_EXCL : 0), 0600);
	if (fd < 0)
		die("plain: %s", strerror(errno));
	if (create)
		fill();
}

static void memory_open(const struct shape *shape, bool create)
{
	(void)create;
	length = shape_length(shape);
	fd = -1;
	map(shape, MAP_PRIVATE | MAP_ANONYMOUS);
}

static void mapped_open(const struct shape *shape, bool create)
{
	open_file(shape, create);
	map(shape, MAP_SHARED);
}

/* What is stored to memory is written to the file by calls alone. */
static void written_open(const struct shape *shape, bool create)
{
	open_file(shape, create);
	map(shape, MAP_PRIVATE);
}

static void memory_transfer(const struct transfer *t)
{
	store_transfer(&layout, t);
}

static void msync_transfer(const struct transfer *t)
{
	store_transfer(&layout, t);
	if (msync(memory, length, MS_SYNC))
		die("msync: %s", strerror(errno));
}

static void pwrite_only_transfer(const struct transfer *t)
{
	store_transfer(&layout, t);
	for (int i = 0; i < TABLES; i++) {
		const char *record = record_at(&layout, i, t->record[i]);

		if (pwrite(fd, record, record_length[i], record - memory) != (ssize_t)record_length[i])
			die("pwrite: %s", strerror(errno));
	}
}

static void sync_file(void)
{
	if (fdatasync(fd))
		die("fdatasync: %s", strerror(errno));
}

static void pwrite_transfer(const struct transfer *t)
{
	pwrite_only_transfer(t);
	sync_file();
}

static void memory_read(enum table table, uint64_t index, void *record)
{
	memcpy(record, record_at(&layout, table, index), record_length[table]);
}

static void plain_close(void)
{
	if (munmap(memory, length) || (fd >= 0 && close(fd)))
		die("plain: %s", strerror(errno));
}

const struct peer peer_memory = {
	.name = "memory", .about = "stores to memory alone", .survives = NOTHING,
	.open = memory_open, .transfer = memory_transfer, .read = memory_read, .close = plain_close,
};

const struct peer peer_msync = {
	.name = "msync", .about = "a mapped file, msync", .survives = MACHINE,
	.open = mapped_open, .transfer = msync_transfer, .read = memory_read, .close = plain_close,
};

const struct peer peer_pwrite = {
	.name = "pwrite", .about = "a file, four pwrites and fdatasync", .survives = MACHINE,
	.open = written_open, .transfer = pwrite_transfer, .read = memory_read, .close = plain_close,
};

const struct peer peer_pwrite_only = {
	.name = "pwrite-only", .about = "a file, four pwrites alone", .survives = PROCESS,
	.open = written_open, .transfer = pwrite_only_transfer, .settle = sync_file, .read = memory_read, .close = plain_close,
};
