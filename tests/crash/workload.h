/* SPDX-License-Identifier: GPL-2.0 OR MIT */
/*
 * What the crash tests' threads do to two segments.  What the n-th transaction
 * of a thread writes is a function of its number, the thread, the round and the
 * seed, so that every byte which a prefix of a thread's transactions leaves is
 * known.  A thread has a part of its own in each segment; its part of the
 * first begins with n.
 */
#ifndef RVM_TESTS_CRASH_WORKLOAD_H
#define RVM_TESTS_CRASH_WORKLOAD_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <rvm/rvm.h>
#include <rvm/rvm_engine.h>

#define THREADS_MAX	16
#define SEGMENTS	2
#define AREA		(64ul << 10)	/* of one thread in one segment */
#define RANGES_MAX	6
#define LONGEST		20000

#define MAYBE_UNUSED	__attribute__((unused))

static unsigned long seed = 1;
static char *verdict;		/* what went wrong: 512 bytes, shared with the parent */
static unsigned long grown_length;	/* not 0: segments are made empty, and rvm_map grows them to this */

static unsigned long mix(unsigned long x)
{
	x += 0x9e3779b97f4a7c15ul;
	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9ul;
	x = (x ^ x >> 27) * 0x94d049bb133111ebul;
	return x ^ x >> 31;
}

static unsigned long next_random(unsigned long *state)
{
	return *state = mix(*state);
}

static void __attribute__((noreturn, format(printf, 1, 2))) fail(const char *format, ...)
{
	va_list ap;

	va_start(ap, format);
	vsnprintf(verdict, 512, format, ap);
	va_end(ap);
	_exit(1);
}

static void check(rvm_return_t code, const char *call)
{
	if (code)
		fail("%s: %s, errno %d (%s)", call, rvm_return(code), errno, strerror(errno));
}

#define OK(call) check(call, #call)

/* What the records of a round are like. It is a part of the round's number. */
enum shape {
	SHAPE_ANY,	/* short ones and a few long ones; in some rounds all of one length */
	SHAPE_BLOCK,	/* workload.c's are exactly a block: any can take any other's place */
	SHAPE_LONG,	/* each a good part of a small log: it wraps and fills again and again */
	SHAPES
};

#define ROUND(number, shape)	((number) | (shape) << 16)
#define BLOCK_LENGTH	248	/* of the change in a record of one block */

struct change {
	unsigned int segment;
	unsigned long offset, length;	/* in the thread's part */
	unsigned char fill;
};

static unsigned int changes_of(unsigned int thread, unsigned long n, unsigned int round,
			       struct change *c)
{
	unsigned long r = mix(seed ^ mix(thread ^ mix(n ^ mix(round))));
	unsigned int count = 1 + next_random(&r) % RANGES_MAX, i;
	enum shape shape = round >> 16;
	/* records alike, as one must be to take exactly the place of another */
	bool alike = shape == SHAPE_BLOCK ||
		     (shape == SHAPE_ANY && mix(seed ^ mix(round)) % 3 == 0);
	unsigned int often = shape == SHAPE_LONG ? 2 : 32;

	if (alike || shape == SHAPE_LONG)
		count = 1;
	for (i = 0; i < count; i++) {
		c[i].segment = next_random(&r) % SEGMENTS;
		c[i].length = shape == SHAPE_BLOCK ? BLOCK_LENGTH : alike ? 64 :
			      1 + next_random(&r) % ((next_random(&r) % often) ? 200 : LONGEST);
		/* not next to n: the two ranges would become one */
		c[i].offset = 16 + next_random(&r) % (AREA - 16 - c[i].length);
		c[i].fill = next_random(&r);
	}
	return count;
}

typedef unsigned char model_t[SEGMENTS][THREADS_MAX][AREA];

/* Take a thread from its transaction `from` to `to`. */
static void MAYBE_UNUSED advance_model(model_t model, unsigned int thread, unsigned long from,
				       unsigned long to, unsigned int round)
{
	struct change c[RANGES_MAX];
	unsigned long n;

	for (n = from + 1; n <= to; n++) {
		unsigned int count = changes_of(thread, n, round, c), i;

		memcpy(model[0][thread], &n, 8);
		for (i = 0; i < count; i++)
			memset(model[c[i].segment][thread] + c[i].offset, c[i].fill, c[i].length);
	}
}

static void MAYBE_UNUSED compare(model_t model, const unsigned char *found, unsigned int segment,
				 unsigned int thread, const char *when)
{
	const unsigned char *m = model[segment][thread];
	unsigned long i;

	for (i = 0; i < AREA; i++)
		if (found[i] != m[i])
			fail("%s: thread %u, segment %u, byte %lu is %#x, not %#x", when, thread,
			     segment, i, found[i], m[i]);
}

static rvm_region_t regions[SEGMENTS];

static void MAYBE_UNUSED start_library(const char *log, char *const segments[SEGMENTS],
				       unsigned long flags, long truncate)
{
	rvm_options_t options;
	unsigned int i;

	rvm_init_options(&options);
	options.log_dev = (char *)log;
	options.flags = flags;
	options.truncate = truncate;
	OK(RVM_INIT(&options));
	for (i = 0; i < SEGMENTS; i++) {
		rvm_init_region(&regions[i]);
		regions[i].data_dev = segments[i];
		regions[i].dev_length = RVM_LENGTH_TO_OFFSET(grown_length);
		OK(rvm_map(&regions[i], &options));
	}
}

static unsigned char *area(unsigned int segment, unsigned int thread)
{
	return (unsigned char *)regions[segment].vmaddr + thread * AREA;
}

/*
 * Transaction n of a thread, up to its end or abort, which is the caller's;
 * one that is going to be aborted writes something else.
 */
static void MAYBE_UNUSED begin_changes(rvm_tid_t *tid, unsigned int thread, unsigned long n,
				       unsigned int round, rvm_mode_t mode, bool aborts)
{
	struct change c[RANGES_MAX];
	unsigned int count = changes_of(thread, n, round, c), i;

	rvm_init_tid(tid);
	OK(rvm_begin_transaction(tid, mode));
	OK(rvm_set_range(tid, area(0, thread), 8));
	memcpy(area(0, thread), &n, 8);
	for (i = 0; i < count; i++) {
		unsigned char *at = area(c[i].segment, thread) + c[i].offset;

		OK(rvm_set_range(tid, at, c[i].length));
		memset(at, aborts ? ~c[i].fill : c[i].fill, c[i].length);
	}
}

static void MAYBE_UNUSED make_files(const char *log, unsigned long log_size,
				    char *const segments[SEGMENTS], unsigned int threads)
{
	rvm_options_t options;
	unsigned int i;

	unlink(log);
	for (i = 0; i < SEGMENTS; i++) {
		int fd;

		unlink(segments[i]);
		fd = open(segments[i], O_CREAT | O_EXCL | O_RDWR, 0600);
		if (fd < 0 || ftruncate(fd, grown_length ? 0 : threads * AREA) || fsync(fd))
			fail("making %s: %s", segments[i], strerror(errno));
		close(fd);
	}
	rvm_init_options(&options);
	options.log_dev = (char *)log;
	options.create_log_file = rvm_true;
	options.create_log_size = RVM_LENGTH_TO_OFFSET(log_size);
	OK(RVM_INIT(&options));
	OK(rvm_terminate());
}

#endif
