/* SPDX-License-Identifier: GPL-2.0 OR MIT */
/*
 * Writes to a log's records that wait until the test lets them go, one by one, and
 * each time only when nothing moves; and threads that commit meanwhile.  So what is
 * seen does not depend on how long anything takes.
 */
#ifndef RVM_TESTS_HELD_H
#define RVM_TESTS_HELD_H

#include "tests/api/api.h"

#include <pthread.h>
#include <sched.h>

#include "core/format.h"

#define WRITES		8	/* under way at once, at most */
#define THREADS		20
#define ROUNDS		3
#define SHORT		100ul
#define LONG		(150 * KIB)	/* two are more than flush_buf_len */

#define BLOCK		512ul
#define NONE		(-1)

struct write {
	off_t offset;
	unsigned int after;	/* so many others had ended when it began */
	unsigned int end;	/* and when it had ended, itself counted */
	bool held, done;
	int error;		/* it fails with this */
};

struct committer {
	pthread_t thread;
	pid_t tid;
	char *memory;
	unsigned long length;
	unsigned int id, times;
	unsigned int called;	/* so many writes had ended */
	int write;		/* that carries the commit: index, or NONE */
	int first;		/* in the log, of those under way when it was first seen to wait: index, or NONE */
	bool finished, out_of_order;
	rvm_return_t code;
};

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t UNUSED changed = PTHREAD_COND_INITIALIZER;
/* all of it under the mutex */
static struct write writes[THREADS * ROUNDS + 1];
static unsigned int begun, ended, held, most;
static unsigned int waited;	/* the most that ended between a commit's call and its write's begin */
static unsigned int passed_over;	/* commits, see note_waits() */
static struct committer committers[THREADS];

/* What the test brings, besides ASLEEP, a thread's state in a commit that waits: how a write goes on, under the mutex; and whether all that began have come to hold_write(). */
static void let_go(unsigned int write);
static bool all_are_held(void);

/* What a commit's range begins with. */
struct mark {
	uint32_t id, time;
};

/*
 * A commit that has to wait for others' writes: its own begins when the one ends that is
 * now first in the log, at the latest.  What is before its own in the log has begun
 * before it.  So it waits for two besides its own: for that one, and for those before
 * its own, which are under way together.
 */
static void note_waits(unsigned int threads)
{
	int i, first = NONE;
	struct committer *c;

	for (i = 0; i < (int)begun; i++)
		if (writes[i].held && (first == NONE || writes[i].offset < writes[first].offset))
			first = i;
	for (c = committers; c < committers + threads; c++)
		if (c->write == NONE && c->first == NONE)
			c->first = first;
}

static void note_commit(struct committer *c, unsigned int number)
{
	c->write = number;
	if (ended - c->called > waited)
		waited = ended - c->called;
	if (c->first != NONE && writes[c->first].end && ended > writes[c->first].end)
		passed_over++;
}

/* One stands behind the other, or where a block begins. */
static void note_records(const char *at, const char *end, unsigned int number)
{
	const char *first = at;
	const struct rvm_record_header *h;
	const struct rvm_range_header *range;
	struct mark mark;
	const char *next;
	uint32_t ranges;

	for (; at < end; at += h->length) {
		h = (const void *)at;
		if (h->magic != RVM_RECORD_MAGIC)
			at += -(at - first) & (BLOCK - 1);
		h = (const void *)at;
		if (at == end || h->magic != RVM_RECORD_MAGIC)
			break;
		next = at + sizeof(*h);
		for (ranges = h->ranges; ranges; ranges--) {
			range = (const void *)next;
			memcpy(&mark, next + sizeof(*range), sizeof(mark));
			note_commit(&committers[mark.id], number);
			next += rvm_range_size(range->length);
		}
	}
}

/* Under the mutex.  Returns its index. */
static unsigned int hold_write(const char *buffer, size_t length, off_t offset)
{
	unsigned int number = begun++;

	writes[number] = (struct write){ .offset = offset, .after = ended, .held = true };
	note_records(buffer, buffer + length, number);
	held++;
	if (held > most)
		most = held;
	return number;
}

/* --- seeing that nothing moves --- */

/* Is a thread asleep, and how often has it been? */
static bool is_asleep(pid_t tid, unsigned long *times)
{
	unsigned long n;
	char text[100], state;
	bool asleep = false;
	FILE *file;

	snprintf(text, sizeof(text), "/proc/self/task/%d/status", tid);
	file = fopen(text, "re");
	if (!file)
		return false;
	while (fgets(text, sizeof(text), file)) {
		if (sscanf(text, "State: %c", &state) == 1)
			asleep = state == ASLEEP;
		if (sscanf(text, "voluntary_ctxt_switches: %lu", &n) == 1)
			*times += n;
	}
	fclose(file);
	return asleep;
}

static bool are_asleep(unsigned int threads, unsigned long *times)
{
	unsigned int i, finished;
	pid_t tid;

	*times = 0;
	for (i = 0; i < threads; i++) {
		pthread_mutex_lock(&mutex);
		finished = committers[i].finished;
		tid = committers[i].tid;
		pthread_mutex_unlock(&mutex);
		if (!finished && (!tid || !is_asleep(tid, times)))
			return false;
	}
	return true;
}

/* Until all are asleep, and none has been awake in between. */
static void settle(unsigned int threads)
{
	unsigned long before, after;

	while (!are_asleep(threads, &before) || !all_are_held() ||
	       !are_asleep(threads, &after) || before != after)
		sched_yield();
}

/* --- committers --- */

static void *commit_often(void *context)
{
	struct committer *c = context;
	struct mark mark = { c->id, 0 };
	unsigned int i;
	rvm_tid_t tid;

	pthread_mutex_lock(&mutex);
	c->tid = gettid();
	pthread_mutex_unlock(&mutex);
	for (; mark.time < c->times && !c->code; mark.time++) {
		rvm_init_tid(&tid);
		c->code = rvm_begin_transaction(&tid, restore);
		if (!c->code)
			c->code = rvm_set_range(&tid, c->memory, c->length);
		if (c->code)
			break;
		memcpy(c->memory, &mark, sizeof(mark));
		memset(c->memory + sizeof(mark), c->id + 1, c->length - sizeof(mark));
		pthread_mutex_lock(&mutex);
		c->called = ended;
		c->write = c->first = NONE;
		pthread_mutex_unlock(&mutex);
		c->code = rvm_end_transaction(&tid, flush);
		pthread_mutex_lock(&mutex);
		for (i = 0; !c->code && i < begun; i++)
			if (writes[i].offset <= writes[c->write].offset && !writes[i].done)
				c->out_of_order = true;
		pthread_mutex_unlock(&mutex);
	}
	pthread_mutex_lock(&mutex);
	c->finished = true;
	pthread_mutex_unlock(&mutex);
	return NULL;
}

static void begin(struct __test_metadata *_metadata, const rvm_region_t *region, unsigned int i,
		  unsigned long length, unsigned int times)
{
	committers[i] = (struct committer){ .memory = region->vmaddr + i * (length + PAGE),
					    .length = length, .id = i, .times = times };
	ASSERT_EQ(0, pthread_create(&committers[i].thread, NULL, commit_often, &committers[i]));
}

/* Let a write go, or fail; and see what comes of it. */
static void release(unsigned int write, int error, unsigned int threads)
{
	pthread_mutex_lock(&mutex);
	note_waits(threads);
	writes[write].error = error;
	writes[write].done = !error;
	writes[write].held = false;
	held--;
	writes[write].end = ++ended;
	let_go(write);
	pthread_mutex_unlock(&mutex);
	settle(threads);
}

/* A bit for each thread that has finished. */
static unsigned int finished(unsigned int threads)
{
	unsigned int i, bits = 0;

	for (i = 0; i < threads; i++)
		bits |= (unsigned int)committers[i].finished << i;
	return bits;
}

static void join(struct __test_metadata *_metadata, unsigned int threads)
{
	while (threads--)
		ASSERT_EQ(0, pthread_join(committers[threads].thread, NULL));
}

/* --- what both engines do --- */

/* The first have a write each, as many as may be under way at once, and the others wait. */
static void ten_commit(struct __test_metadata *_metadata, const rvm_region_t *region,
		       unsigned int at_once)
{
	unsigned int i, first = begun;

	for (i = 0; i < 10; i++) {
		begin(_metadata, region, i, SHORT, 1);
		settle(i + 1);
	}
	ASSERT_EQ(at_once, held);
	for (i = 0; i < at_once; i++) {
		ASSERT_EQ((int)(first + i), committers[i].write);
		ASSERT_EQ(writes[first].offset + (long)(i * BLOCK), writes[first + i].offset);
	}
}

static void ten_have_committed(struct __test_metadata *_metadata)
{
	unsigned int i;

	ASSERT_EQ(0x3ff, finished(10));
	join(_metadata, 10);
	for (i = 0; i < 10; i++)
		ASSERT_EQ(RVM_SUCCESS, committers[i].code);
}

/*
 * Of ten_commit()'s writes the first and the eighth are over, and so the others' has begun.
 * All end from behind: none is acknowledged before the second.
 */
static void end_from_behind(struct __test_metadata *_metadata, unsigned int first)
{
	unsigned int i;

	ASSERT_EQ(1, finished(10));
	for (i = first + 8; i > first + 1; i--) {
		if (i != first + 7)
			release(i, 0, 10);
		ASSERT_EQ(1, finished(10));
	}
	release(first + 1, 0, 10);
	ten_have_committed(_metadata);
}

/* Many threads commit again and again, and the writes end in random order. */
static void all_commit(struct __test_metadata *_metadata, const rvm_region_t *region,
		       unsigned long length, unsigned int at_once)
{
	unsigned int i, k, n, random = 1;

	for (i = 0; i < THREADS; i++)
		begin(_metadata, region, i, length, ROUNDS);
	settle(THREADS);
	while (held) {
		random = random * 1103515245 + 12345;
		for (i = 0, n = (random >> 16) % held; n || !writes[i].held; i++)
			n -= writes[i].held;
		release(i, 0, THREADS);
	}
	ASSERT_EQ((1u << THREADS) - 1, finished(THREADS));
	join(_metadata, THREADS);
	for (i = 0; i < THREADS; i++) {
		ASSERT_EQ(RVM_SUCCESS, committers[i].code);
		ASSERT_FALSE(committers[i].out_of_order);
	}
	for (i = 0; i < begun; i++)
		for (k = 0; k < begun; k++)
			if (writes[i].offset < writes[k].offset)
				ASSERT_LE(writes[i].after, writes[k].after);
	ASSERT_EQ(at_once, most);
	ASSERT_EQ(0, passed_over);
	ASSERT_LT(begun, THREADS * ROUNDS);
}

#endif
