// SPDX-License-Identifier: GPL-2.0 OR MIT
/*
 * Durable writes to a block device, each one request.
 *
 * Of pwrite to a device that is open with O_DIRECT | O_DSYNC Linux makes two
 * requests, one after the other: a write with FUA, which alone is durable, and
 * then a flush of the whole cache (block/fops.c: dio_bio_write_op, and
 * generic_write_sync at the end of blkdev_write_iter).  The same write by
 * io_submit is over when the request with FUA is, and no flush follows.  (On a
 * file, pwrite is as good.)
 *
 * A write that is under way has a queue of its own.  The queues are the
 * process's, and never given back to the kernel, which would take it tens of
 * milliseconds.  Where there are none to be had it is pwrite.
 */
#include <errno.h>
#include <linux/aio_abi.h>

#include "lib/user.h"

#define QUEUES	64		/* more writes at once make do with pwrite */

static struct queue {
	atomic_bool taken;
	aio_context_t context;	/* 0: not made yet; changed by who has taken it */
} queues[QUEUES];

/* Make it, and try whether all that is needed later is allowed here. */
static bool make(struct queue *q)
{
	struct timespec no_time = { 0 };
	struct io_event end;

	if (syscall(SYS_io_setup, 1, &q->context))
		return false;
	if (!syscall(SYS_io_getevents, q->context, 0, 1, &end, &no_time))
		return true;
	syscall(SYS_io_destroy, q->context);
	q->context = 0;
	return false;
}

static void give_back(struct queue *q)
{
	atomic_store_explicit(&q->taken, false, memory_order_release);
}

static struct queue *take(void)
{
	struct queue *q = queues;

	while (atomic_exchange_explicit(&q->taken, true, memory_order_acquire))
		if (++q == queues + QUEUES)
			return NULL;
	if (q->context || make(q))
		return q;
	give_back(q);
	return NULL;
}

void user_device_forget(void)
{
	struct queue *q;

	for (q = queues; q < queues + QUEUES; q++) {
		q->context = 0;
		q->taken = false;
	}
}

/* Bytes written, or -errno; -EAGAIN: nothing was begun. */
static ssize_t write_some(const struct queue *q, int fd, u64 offset, const void *buffer,
			  size_t length)
{
	struct iocb request = {
		.aio_lio_opcode = IOCB_CMD_PWRITE, .aio_fildes = fd,
		.aio_buf = (uintptr_t)buffer, .aio_nbytes = length, .aio_offset = offset,
	};
	struct iocb *requests = &request;
	struct io_event end;

	if (syscall(SYS_io_submit, q->context, 1, &requests) != 1)
		return -EAGAIN;
	/* a signal ends the call, but not the request, which has our buffer */
	while (syscall(SYS_io_getevents, q->context, 1, 1, &end, NULL) != 1)
		;
	return end.res ? end.res : -EIO;
}

int user_device_write(int fd, u64 offset, const void *buffer, size_t length)
{
	struct queue *q = take();
	ssize_t n = -EAGAIN;

	while (q && length) {
		n = write_some(q, fd, offset, buffer, length);
		if (n < 0)
			break;
		buffer = (const char *)buffer + n;
		offset += n;
		length -= n;
	}
	if (q)
		give_back(q);
	return n == -EAGAIN ? user_file_write(fd, offset, buffer, length) : n < 0 ? (int)n : 0;
}
