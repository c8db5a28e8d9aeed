/* SPDX-License-Identifier: GPL-2.0 OR MIT */
/*
 * A journal of all that a process writes to the log and the segments, and
 * flushes; and from it the files as a power cut at some event can leave them.
 *
 * A program that includes this has its own pwrite, fsync and fdatasync. The
 * journal is in memory that outlives the process which writes it.
 */
#ifndef RVM_TESTS_CRASH_JOURNAL_H
#define RVM_TESTS_CRASH_JOURNAL_H

#include "workload.h"

#include <pthread.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#define FILES		(1 + SEGMENTS)
#define SECTOR		512ul
#define EVENTS		(1ul << 18)
#define DATA		(64ul << 20)

enum kind { WRITE, WRITTEN, FLUSH, FLUSHED, BASE, COMMIT, RETURNED, DURABLE };

struct event {
	enum kind kind;
	unsigned int file;		/* or the thread */
	bool durable;			/* WRITE: with O_DSYNC */
	unsigned long offset, length;	/* WRITE */
	unsigned long other;		/* where its data is; the event that this one ends; n */
	unsigned long until;		/* WRITE: it was never made, as was seen at this event; or 0 */
};

struct journal {
	unsigned long events, data;
	struct event event[EVENTS];
	unsigned char bytes[DATA];
};

static struct journal *journal;		/* NULL: don't keep one */
static pthread_mutex_t journal_lock = PTHREAD_MUTEX_INITIALIZER;
static unsigned long kill_at;		/* the event to die at */
static char *names[FILES];		/* the log and the segments */
static bool buffered;			/* refuse direct I/O */

/* --- the journal --- */

/* Which of our files is it? -1: another. */
static int file_of(int fd)
{
	static struct stat st[FILES];
	struct stat now;
	unsigned int i;

	if (fstat(fd, &now))
		return -1;
	for (i = 0; i < FILES; i++) {
		if (!st[i].st_ino)
			stat(names[i], &st[i]);
		if (now.st_ino == st[i].st_ino && now.st_dev == st[i].st_dev)
			return i;
	}
	return -1;
}

/* Call it with the lock held. */
static unsigned long add_event(struct event event)
{
	unsigned long i = journal->events++;

	if (i >= EVENTS)
		fail("the journal is full");
	journal->event[i] = event;
	if (journal->events >= kill_at)
		raise(SIGKILL);
	return i;
}

static unsigned long note(enum kind kind, unsigned int file, unsigned long other)
{
	unsigned long i;

	pthread_mutex_lock(&journal_lock);
	i = add_event((struct event){ .kind = kind, .file = file, .other = other });
	pthread_mutex_unlock(&journal_lock);
	return i;
}

ssize_t pread(int fd, void *buffer, size_t length, off_t offset)
{
	if (buffered && fcntl(fd, F_GETFL) & O_DIRECT) {
		errno = EINVAL;
		return -1;
	}
	return syscall(SYS_pread64, fd, buffer, length, offset);
}

ssize_t pwrite(int fd, const void *buffer, size_t length, off_t offset)
{
	int file = journal ? file_of(fd) : -1;
	unsigned long i = 0;
	ssize_t n;

	if (file >= 0) {
		pthread_mutex_lock(&journal_lock);
		if (journal->data + length > DATA)
			fail("the journal is full");
		memcpy(journal->bytes + journal->data, buffer, length);
		journal->data += length;
		i = add_event((struct event){ WRITE, file, fcntl(fd, F_GETFL) & O_DSYNC, offset,
					      length, journal->data - length, 0 });
		pthread_mutex_unlock(&journal_lock);
	}
	n = syscall(SYS_pwrite64, fd, buffer, length, offset);
	if (file >= 0) {
		if (n != (ssize_t)length)
			fail("pwrite: %zd of %zu: %s", n, length, strerror(errno));
		note(WRITTEN, file, i);
	}
	return n;
}

static int sync_with(long call, int fd)
{
	int file = journal ? file_of(fd) : -1, result;
	unsigned long i = 0;

	if (file >= 0)
		i = note(FLUSH, file, 0);
	result = syscall(call, fd);
	if (file >= 0)
		note(FLUSHED, file, i);
	return result;
}

int fdatasync(int fd)
{
	return sync_with(SYS_fdatasync, fd);
}

int fsync(int fd)
{
	return sync_with(SYS_fsync, fd);
}

/* --- what files a cut leaves --- */

/* Was this write, before the cut, covered by a flush or durable by itself? */
static bool is_durable(const struct journal *j, unsigned long write, unsigned long cut)
{
	unsigned long written = 0, i;

	for (i = write + 1; i < cut; i++) {
		const struct event *e = &j->event[i];

		if (!written) {
			if (e->kind != WRITTEN || e->other != write)
				continue;
			if (j->event[write].durable)
				return true;
			written = i;
		} else if (e->kind == FLUSHED && e->file == j->event[write].file &&
			   e->other > written) {
			return true;
		}
	}
	return false;
}

static void copy_file(const char *from, const char *to)
{
	static char buffer[1 << 20];
	int in = open(from, O_RDONLY), out = open(to, O_CREAT | O_TRUNC | O_WRONLY, 0600);
	ssize_t n;

	while ((n = read(in, buffer, sizeof(buffer))) > 0)
		if (write(out, buffer, n) != n)
			break;
	if (n || close(in) || close(out))
		fail("copying %s: %s", from, strerror(errno));
}

static char *name_of(unsigned int file, const char *suffix)
{
	static char name[4096];

	snprintf(name, sizeof(name), "%s%s", names[file], suffix);
	return name;
}

static void MAYBE_UNUSED keep_files(const char *suffix)
{
	unsigned int i;

	for (i = 0; i < FILES; i++)
		copy_file(names[i], name_of(i, suffix));
}

/* From the files kept under that suffix, when the journal began. */
static void cut_files(const struct journal *j, const char *suffix, unsigned long cut,
		      unsigned long r)
{
	unsigned long i, at, n;
	int fd[FILES];

	for (i = 0; i < FILES; i++) {
		copy_file(name_of(i, suffix), names[i]);
		fd[i] = open(names[i], O_RDWR);
	}
	for (i = 0; i < cut; i++) {
		const struct event *e = &j->event[i];
		bool whole;

		if (e->kind != WRITE || (e->until && cut > e->until))
			continue;
		whole = is_durable(j, i, cut) || next_random(&r) % 4 == 0;
		for (at = e->offset; at < e->offset + e->length; at += n) {
			n = SECTOR - at % SECTOR;
			if (n > e->offset + e->length - at)
				n = e->offset + e->length - at;
			if (whole || next_random(&r) % 2)
				syscall(SYS_pwrite64, fd[e->file],
					j->bytes + e->other + (at - e->offset), n, at);
		}
	}
	for (i = 0; i < FILES; i++)
		close(fd[i]);
}

#endif
