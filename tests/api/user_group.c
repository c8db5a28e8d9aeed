// SPDX-License-Identifier: GPL-2.0 OR MIT
/*
 * Description: group commit in the user engine: several log writes are under way
 * at once, commits are acknowledged in the log's order, and none waits for more
 * than two writes besides its own.
 *
 * The program brings its own pwrite, in which writes to the log's records wait
 * until the test lets them go, one by one, and each time only when all threads
 * are asleep.  So nothing here depends on how long anything takes.
 */
#include "api.h"

#include <pthread.h>
#include <sys/syscall.h>

#include "core/format.h"

#define WRITES		8	/* under way at once, at most */
#define THREADS		20
#define ROUNDS		3
#define SHORT		100ul
#define LONG		(150 * KIB)	/* two are more than flush_buf_len */

struct write {
	off_t offset;
	unsigned int after;	/* so many others had ended when it began */
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
	unsigned int write;	/* that carries the commit: index */
	bool finished, out_of_order;
	rvm_return_t code;
};

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
/* all of it under the mutex */
static ino_t held_inode;
static struct write writes[THREADS * ROUNDS];
static unsigned int begun, ended, held, most;
static unsigned int waited;	/* the most that ended between a commit's call and its write's begin */
static struct committer committers[THREADS];

/* What a commit's range begins with. */
struct mark {
	uint32_t id, time;
};

static void note_ranges(const char *range, uint32_t ranges, unsigned int number)
{
	const struct rvm_range_header *h;
	struct mark mark;

	for (; ranges; ranges--) {
		h = (const void *)range;
		memcpy(&mark, range + sizeof(*h), sizeof(mark));
		committers[mark.id].write = number;
		if (ended - committers[mark.id].called > waited)
			waited = ended - committers[mark.id].called;
		range += rvm_range_size(h->length);
	}
}

static void note_records(const char *at, const char *end, unsigned int number)
{
	const struct rvm_record_header *h;

	for (; at < end; at += h->length) {
		h = (const void *)at;
		if (h->magic != RVM_RECORD_MAGIC)
			break;
		note_ranges(at + sizeof(*h), h->ranges, number);
	}
}

static int hold(const char *buffer, size_t length, off_t offset)
{
	unsigned int number;
	int error;

	pthread_mutex_lock(&mutex);
	number = begun++;
	writes[number] = (struct write){ .offset = offset, .after = ended, .held = true };
	note_records(buffer, buffer + length, number);
	held++;
	if (held > most)
		most = held;
	while (writes[number].held)
		pthread_cond_wait(&changed, &mutex);
	error = writes[number].error;
	pthread_mutex_unlock(&mutex);
	return error;
}

ssize_t pwrite(int fd, const void *buffer, size_t length, off_t offset)
{
	struct stat st;

	if (held_inode && offset >= (off_t)STATUS_AREA && !fstat(fd, &st) && st.st_ino == held_inode) {
		errno = hold(buffer, length, offset);
		if (errno)
			return -1;
	}
	return syscall(SYS_pwrite64, fd, buffer, length, offset);
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
			asleep = state == 'S';
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

	while (!are_asleep(threads, &before) || !are_asleep(threads, &after) || before != after)
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

static void open_held(struct __test_metadata *_metadata, const struct files *f,
		      rvm_region_t *region, unsigned long length, unsigned long flags)
{
	rvm_options_t options;
	struct stat st;

	log_options(f, &options, 16 * MIB, flags);
	options.truncate = 0;
	OK(RVM_INIT(&options));
	if (access(f->segment, F_OK))
		ASSERT_TRUE(make_file(f->segment, THREADS * (length + PAGE), 0));
	OK(map_segment(f, region));
	ASSERT_EQ(0, stat(f->log, &st));
	pthread_mutex_lock(&mutex);
	held_inode = st.st_ino;
	pthread_mutex_unlock(&mutex);
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
	writes[write].error = error;
	writes[write].done = !error;
	writes[write].held = false;
	held--;
	ended++;
	pthread_cond_broadcast(&changed);
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

/* 8 have a write each, and the others wait. */
static void ten_commit(struct __test_metadata *_metadata, const rvm_region_t *region)
{
	unsigned int i;

	for (i = 0; i < WRITES + 2; i++) {
		begin(_metadata, region, i, SHORT, 1);
		settle(i + 1);
	}
	ASSERT_EQ(WRITES, held);
	for (i = 0; i < WRITES; i++) {
		ASSERT_EQ(i, committers[i].write);
		ASSERT_EQ(writes[0].offset + (long)(i * 512), writes[i].offset);
	}
}

static void join(struct __test_metadata *_metadata, unsigned int threads)
{
	while (threads--)
		ASSERT_EQ(0, pthread_join(committers[threads].thread, NULL));
}

FIXTURE(user_group) { struct files f; };

FIXTURE_SETUP(user_group)
{
	ASSERT_EQ(0, setenv("RVM_ENGINE", "user", 1));
	make_files(_metadata, &self->f);
}

FIXTURE_TEARDOWN(user_group)
{
	remove_files(&self->f);
}

/* --- the tests --- */

static void in_order(CHILD_ARGS)
{
	rvm_region_t region;
	unsigned int i;

	open_held(_metadata, f, &region, SHORT, 0);
	ten_commit(_metadata, &region);
	/* the last is over first: that acknowledges none, and lets the others' begin, as one */
	release(7, 0, 10);
	ASSERT_EQ(0, finished(10));
	ASSERT_EQ(9, begun);
	ASSERT_EQ(8, committers[8].write);
	ASSERT_EQ(8, committers[9].write);
	release(0, 0, 10);
	ASSERT_EQ(1, finished(10));
	for (i = 8; i > 1; i--) {
		if (i != 7)
			release(i, 0, 10);
		ASSERT_EQ(1, finished(10));
	}
	release(1, 0, 10);
	ASSERT_EQ(0x3ff, finished(10));
	join(_metadata, 10);
	for (i = 0; i < 10; i++)
		ASSERT_EQ(RVM_SUCCESS, committers[i].code);
	ASSERT_EQ(9, begun);
	OK(rvm_terminate());
}

TEST_F(user_group, in_order)
{
	const struct files *f = &self->f;

	CHILD_OK(in_order);
}

/* The third write fails when a later one is over: so does all from there on, and only what is before is there. */
static void earlier_fails(CHILD_ARGS)
{
	static const unsigned int rest[] = { 0, 1, 3, 4, 6, 7 };
	rvm_region_t region;
	unsigned int i;

	open_held(_metadata, f, &region, SHORT, 0);
	ten_commit(_metadata, &region);
	release(5, 0, 10);
	release(2, EIO, 10);
	/* the sixth's end let the write of the two that waited begin; one of them makes it */
	ASSERT_EQ(9, begun);
	ASSERT_EQ(1 << 2 | 1 << 5, finished(8));
	for (i = 0; i < sizeof(rest) / sizeof(rest[0]); i++)
		release(rest[i], 0, 10);
	release(8, 0, 10);
	ASSERT_EQ(0x3ff, finished(10));
	join(_metadata, 10);
	for (i = 2; i < 10; i++)
		ASSERT_EQ(RVM_EIO, committers[i].code);
	EIO_ERRNO(EIO, commit_bytes(region.vmaddr, 9, 10, flush));
	ASSERT_EQ(9, begun);
	die(_metadata);
}

static void expect_two(struct __test_metadata *_metadata, const rvm_region_t *region)
{
	unsigned int i;

	for (i = 0; i < 10; i++)
		ASSERT_TRUE(all_are(region->vmaddr + i * (SHORT + PAGE) + sizeof(struct mark),
				    i < 2 ? i + 1 : 0, SHORT - sizeof(struct mark)))
			TH_LOG("thread %u's", i);
}

/* The next commit takes the place of the one that failed. */
static void in_its_place(CHILD_ARGS)
{
	rvm_region_t region;

	open_held(_metadata, f, &region, SHORT, 0);
	expect_two(_metadata, &region);
	held_inode = 0;
	OK(commit_bytes(region.vmaddr + 12 * (SHORT + PAGE), 9, SHORT, flush));
	die(_metadata);
}

static void not_come_back(CHILD_ARGS)
{
	rvm_region_t region;

	open_held(_metadata, f, &region, SHORT, 0);
	expect_two(_metadata, &region);
	ASSERT_TRUE(all_are(region.vmaddr + 12 * (SHORT + PAGE), 9, SHORT));
	held_inode = 0;
	OK(rvm_terminate());
}

TEST_F(user_group, earlier_fails)
{
	const struct files *f = &self->f;

	CHILD_DIES(earlier_fails);
	CHILD_DIES(in_its_place);
	CHILD_OK(not_come_back);
}

/*
 * Many threads commit again and again, and the writes end in random order.  A
 * commit's write begins when one of those ends that were under way before at the latest, and
 * what goes before it in the log has begun before it: so it waits for two besides its own.
 */
static void fair(struct __test_metadata *_metadata, const struct files *f, unsigned long length,
		 unsigned long flags)
{
	unsigned int i, k, n, random = 1;
	rvm_region_t region;

	open_held(_metadata, f, &region, length, flags);
	for (i = 0; i < THREADS; i++)
		begin(_metadata, &region, i, length, ROUNDS);
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
	ASSERT_GE(WRITES, most);
	ASSERT_LE(waited, 1);
	ASSERT_LT(begun, THREADS * ROUNDS);
	OK(rvm_terminate());
}

static void fair_short(CHILD_ARGS)
{
	fair(_metadata, f, SHORT, 0);
}

static void fair_long(CHILD_ARGS)
{
	fair(_metadata, f, LONG, 0);
}

static void fair_coalesced(CHILD_ARGS)
{
	fair(_metadata, f, LONG, RVM_COALESCE_TRANS);
}

TEST_F(user_group, fair)
{
	const struct files *f = &self->f;

	CHILD_OK(fair_short);
}

TEST_F(user_group, fair_with_long_records)
{
	const struct files *f = &self->f;

	CHILD_OK(fair_long);
}

TEST_F(user_group, fair_coalesced)
{
	const struct files *f = &self->f;

	CHILD_OK(fair_coalesced);
}

TEST_HARNESS_MAIN
