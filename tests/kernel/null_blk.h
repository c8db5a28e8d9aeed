/* SPDX-License-Identifier: GPL-2.0 OR MIT */
/*
 * Block devices in memory for the tests: null_blk's, through configfs.
 */
#ifndef RVM_TESTS_NULL_BLK_H
#define RVM_TESTS_NULL_BLK_H

#include "kernel.h"

#define NULL_BLK	"/sys/kernel/config/nullb"

/* The whole content of a small file that the kernel reads. */
static int UNUSED write_text(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC), ret;

	if (fd < 0)
		return -1;
	ret = write(fd, text, strlen(text)) == (ssize_t)strlen(text) ? 0 : -1;
	close(fd);
	return ret;
}

static int UNUSED configure(const char *device, const char *attribute, const char *value)
{
	char path[200];

	snprintf(path, sizeof(path), NULL_BLK "/%s/%s", device, attribute);
	return write_text(path, value);
}

/* A device of so many MiB, of zeros, that is not there before its power is on. */
static int UNUSED prepare_device(const char *name, const char *mib, const char *block)
{
	char dir[100];

	snprintf(dir, sizeof(dir), NULL_BLK "/%s", name);
	return mkdir(dir, 0700) || configure(name, "size", mib) ||
	       configure(name, "blocksize", block) || configure(name, "memory_backed", "1") ||
	       configure(name, "badblocks", "+0-0") || configure(name, "badblocks", "-0-0") ? -1 : 0;
}

/* One whose requests, so many at once, take so long; and its path. */
static int UNUSED make_slow_device(char *path, const char *name, const char *mib, const char *block,
				   const char *depth, const char *nanoseconds)
{
	if (prepare_device(name, mib, block) ||
	    (nanoseconds && (configure(name, "hw_queue_depth", depth) ||
			     configure(name, "irqmode", "2") ||
			     configure(name, "completion_nsec", nanoseconds))) ||
	    configure(name, "power", "1"))
		return -1;
	sprintf(path, "/dev/%s", name);
	return access(path, R_OK | W_OK);
}

static int UNUSED make_device(char *path, const char *name, const char *mib, const char *block)
{
	return make_slow_device(path, name, mib, block, NULL, NULL);
}

static int UNUSED remove_device(const char *name)
{
	char dir[100];

	snprintf(dir, sizeof(dir), NULL_BLK "/%s", name);
	configure(name, "power", "0");
	return rmdir(dir);
}

/* Requests that a device has got, and not done. */
struct under_way {
	unsigned int reads, writes;
};

static struct under_way UNUSED under_way(const char *name)
{
	struct under_way u = { 0, 0 };
	char path[100];
	FILE *f;

	snprintf(path, sizeof(path), "/sys/block/%s/inflight", name);
	f = fopen(path, "re");
	if (f && fscanf(f, "%u %u", &u.reads, &u.writes) != 2)
		u = (struct under_way){ 0, 0 };
	if (f)
		fclose(f);
	return u;
}

/* Requests that a device has done. */
struct requests {
	unsigned long reads, reads_merged, sectors_read, read_ms;
	unsigned long writes;
};

static struct requests UNUSED requests(const char *name)
{
	struct requests r = { 0 };
	char path[100];
	FILE *f;

	snprintf(path, sizeof(path), "/sys/block/%s/stat", name);
	f = fopen(path, "re");
	if (!f || fscanf(f, "%lu %lu %lu %lu %lu", &r.reads, &r.reads_merged, &r.sectors_read,
			 &r.read_ms, &r.writes) != 5)
		abort();
	fclose(f);
	return r;
}

static struct requests UNUSED requests_since(const char *name, const struct requests *before)
{
	struct requests r = requests(name);

	r.reads -= before->reads;
	r.reads_merged -= before->reads_merged;
	r.sectors_read -= before->sectors_read;
	r.read_ms -= before->read_ms;
	r.writes -= before->writes;
	return r;
}

#endif
