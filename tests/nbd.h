/* SPDX-License-Identifier: GPL-2.0 OR MIT */
/* A network block device whose server is in this process, with its bytes in memory. */
#ifndef RVM_TESTS_NBD_H
#define RVM_TESTS_NBD_H

#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <linux/fs.h>
#include <linux/nbd.h>

#define NBD_FUA		(1 << 16)

struct nbd {
	unsigned int number;		/* of /dev/nbdN */
	unsigned int block;		/* bytes of a sector */
	unsigned long length;
	/* of a write that it was told of; it answers, if it returns true, later by nbd_reply() */
	bool (*wrote)(struct nbd *d, uint64_t from, uint32_t length, const char *handle);
	unsigned int flushes;		/* and FUA writes that the server has done */
	char path[32];
	char *bytes;
	int device, client, server;
	pthread_t attached, serving;
	pthread_mutex_t replies;	/* one at a time */
};

/* To a read, with its bytes. */
static void nbd_reply(struct nbd *d, const char *handle, int error, const char *bytes,
		      uint32_t length)
{
	struct nbd_reply reply = { .magic = htobe32(NBD_REPLY_MAGIC), .error = htobe32(error) };

	memcpy(reply.handle, handle, sizeof(reply.handle));
	pthread_mutex_lock(&d->replies);
	send(d->server, &reply, sizeof(reply), MSG_NOSIGNAL);
	send(d->server, bytes, length, MSG_NOSIGNAL);
	pthread_mutex_unlock(&d->replies);
}

/* Requests and replies that the kernel and we have sent as a whole. */
static void *nbd_serve(void *argument)
{
	struct nbd_request request;
	struct nbd *d = argument;
	uint32_t type, length;
	uint64_t from;

	while (recv(d->server, &request, sizeof(request), MSG_WAITALL) == sizeof(request)) {
		type = be32toh(request.type);
		length = be32toh(request.len);
		from = be64toh(request.from);
		if ((type & 0xffff) == NBD_CMD_DISC || from + length > d->length)
			break;
		if ((type & 0xffff) == NBD_CMD_WRITE &&
		    recv(d->server, d->bytes + from, length, MSG_WAITALL) != (ssize_t)length)
			break;
		if ((type & 0xffff) == NBD_CMD_FLUSH || type & NBD_FUA)
			__atomic_fetch_add(&d->flushes, 1, __ATOMIC_SEQ_CST);
		if ((type & 0xffff) == NBD_CMD_READ)
			nbd_reply(d, request.handle, 0, d->bytes + from, length);
		else if ((type & 0xffff) != NBD_CMD_WRITE || !d->wrote ||
			 !d->wrote(d, from, length, request.handle))
			nbd_reply(d, request.handle, 0, NULL, 0);
	}
	shutdown(d->server, SHUT_RDWR);
	return NULL;
}

static void *nbd_attach(void *argument)
{
	ioctl(((struct nbd *)argument)->device, NBD_DO_IT);
	return NULL;
}

/* Of what is set in *d: number, block, length and wrote. */
static int make_nbd(struct nbd *d)
{
	uint64_t length = 0;
	int fds[2], tries;

	sprintf(d->path, "/dev/nbd%u", d->number);
	pthread_mutex_init(&d->replies, NULL);
	d->device = open(d->path, O_RDWR | O_CLOEXEC);
	d->bytes = calloc(1, d->length);
	if (d->device < 0 || !d->bytes || socketpair(AF_UNIX, SOCK_STREAM, 0, fds))
		return -1;
	d->client = fds[0];
	d->server = fds[1];
	if (pthread_create(&d->serving, NULL, nbd_serve, d) ||
	    ioctl(d->device, NBD_SET_BLKSIZE, (unsigned long)d->block) ||
	    ioctl(d->device, NBD_SET_SIZE_BLOCKS, d->length / d->block) ||
	    ioctl(d->device, NBD_SET_FLAGS,
		  NBD_FLAG_HAS_FLAGS | NBD_FLAG_SEND_FLUSH | NBD_FLAG_SEND_FUA) ||
	    ioctl(d->device, NBD_SET_SOCK, d->client) ||
	    pthread_create(&d->attached, NULL, nbd_attach, d))
		return -1;
	for (tries = 0; tries < 1000 && length != d->length; tries++) {
		usleep(10000);
		if (ioctl(d->device, BLKGETSIZE64, &length))
			return -1;
	}
	return length == d->length ? 0 : -1;
}

static int remove_nbd(struct nbd *d)
{
	int ret = ioctl(d->device, NBD_DISCONNECT);

	pthread_join(d->attached, NULL);
	pthread_join(d->serving, NULL);
	ioctl(d->device, NBD_CLEAR_SOCK);
	close(d->device);
	close(d->client);
	close(d->server);
	free(d->bytes);
	return ret;
}

#endif
