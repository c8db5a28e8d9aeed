// SPDX-License-Identifier: GPL-2.0 OR MIT
/*
 * Description: group commit in the user engine: several log writes are under way
 * at once, commits are acknowledged in the log's order, and none waits for more
 * than two writes besides its own.  See tests/held.h.
 *
 * The program brings its own pwrite, in which writes to the log's records wait
 * until the test lets them go, one by one, and each time only when all threads
 * are asleep.  It also brings its own clocks, which say how long a write takes and
 * whether the CPU is busy.  So nothing here depends on how long anything takes.
 */
#define ASLEEP	'S'
#include "tests/held.h"

#include <sys/syscall.h>

#define SHARED		2	/* under way at once where commits share writes, at most */
#define WATCHED		64	/* so many writes decide whether they do */

/* under the mutex */
static ino_t held_inode;
/* the clocks: what a look at the time takes, and whether all CPUs are in use meanwhile */
static unsigned long look_ns = 1000;
static bool is_busy;

static void let_go(unsigned int write)
{
	(void)write;
	pthread_cond_broadcast(&changed);
}

/* who sleeps in a write has come to it */
static bool all_are_held(void)
{
	return true;
}

static int hold(const char *buffer, size_t length, off_t offset)
{
	unsigned int number;
	int error;

	pthread_mutex_lock(&mutex);
	number = hold_write(buffer, length, offset);
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

int clock_gettime(clockid_t clock, struct timespec *t)
{
	static unsigned long ns, cpu_ns;
	unsigned long time;

	if (clock != CLOCK_MONOTONIC && clock != CLOCK_PROCESS_CPUTIME_ID)
		return (int)syscall(SYS_clock_gettime, clock, t);
	pthread_mutex_lock(&mutex);
	ns += look_ns;
	cpu_ns += is_busy ? CPU_SETSIZE * look_ns : 0;
	time = clock == CLOCK_MONOTONIC ? ns : cpu_ns;
	pthread_mutex_unlock(&mutex);
	t->tv_sec = time / 1000000000;
	t->tv_nsec = time % 1000000000;
	return 0;
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

/* So many commits, each with a write that is not held, while a look at the time takes this. */
static void commit_alone(struct __test_metadata *_metadata, const rvm_region_t *region,
			 unsigned int times, bool busy, unsigned long ns)
{
	ino_t inode = held_inode;

	held_inode = 0;
	is_busy = busy;
	look_ns = ns;
	while (times--)
		OK(commit_bytes(region->vmaddr, 1, 1, flush));
	held_inode = inode;
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

	open_held(_metadata, f, &region, SHORT, 0);
	ten_commit(_metadata, &region, WRITES);
	/* the last is over first: that acknowledges none, and lets the others' begin, as one */
	release(7, 0, 10);
	ASSERT_EQ(0, finished(10));
	ASSERT_EQ(9, begun);
	ASSERT_EQ(8, committers[8].write);
	ASSERT_EQ(8, committers[9].write);
	release(0, 0, 10);
	end_from_behind(_metadata, 0);
	ASSERT_EQ(9, begun);
	OK(rvm_terminate());
}

TEST_F(user_group, in_order)
{
	const struct files *f = &self->f;

	DECLARED_ONLY("several transactions at a time");
	CHILD_OK(in_order);
}

/* The CPU is busy, and writes are short: two are under way, and the next takes all others. */
static void shared(CHILD_ARGS)
{
	rvm_region_t region;

	open_held(_metadata, f, &region, SHORT, 0);
	commit_alone(_metadata, &region, WATCHED, true, 1000);
	ten_commit(_metadata, &region, SHARED);
	release(1, 0, 10);
	ASSERT_EQ(0, finished(10));
	ASSERT_EQ(3, begun);
	release(0, 0, 10);
	ASSERT_EQ(3, finished(10));
	release(2, 0, 10);
	ten_have_committed(_metadata);
	ASSERT_EQ(3, begun);
	OK(rvm_terminate());
}

TEST_F(user_group, shared)
{
	const struct files *f = &self->f;

	DECLARED_ONLY("several transactions at a time");
	CHILD_OK(shared);
}

static void all_alone(struct __test_metadata *_metadata, const struct files *f, bool busy,
		      unsigned long ns)
{
	rvm_region_t region;
	unsigned int i;

	open_held(_metadata, f, &region, SHORT, 0);
	/* it was so, but is no more */
	commit_alone(_metadata, &region, WATCHED, true, 1000);
	commit_alone(_metadata, &region, WATCHED, busy, ns);
	ten_commit(_metadata, &region, WRITES);
	for (i = 0; i < WRITES + 1; i++)
		release(i, 0, 10);
	join(_metadata, 10);
	OK(rvm_terminate());
}

static void not_busy(CHILD_ARGS)
{
	all_alone(_metadata, f, false, 1000);
}

static void long_writes(CHILD_ARGS)
{
	all_alone(_metadata, f, true, 1000000);
}

TEST_F(user_group, not_shared)
{
	const struct files *f = &self->f;

	DECLARED_ONLY("several transactions at a time");
	CHILD_OK(not_busy);
	CHILD_OK(long_writes);
}

/* 8 are under way when it is seen: of those all but one end, then the two that wait get theirs. */
static void shared_from_now_on(CHILD_ARGS)
{
	rvm_region_t region;
	unsigned int i;

	open_held(_metadata, f, &region, SHORT, 0);
	commit_alone(_metadata, &region, WATCHED - 1, true, 1000);
	ten_commit(_metadata, &region, WRITES);
	for (i = 0; i < WRITES - SHARED; i++) {
		release(i, 0, 10);
		ASSERT_EQ((2u << i) - 1, finished(10));
		ASSERT_EQ(WRITES, begun);
	}
	release(7, 0, 10);
	ASSERT_EQ(0x3f, finished(10));
	ASSERT_EQ(9, begun);
	release(8, 0, 10);
	ASSERT_EQ(0x3f, finished(10));
	release(6, 0, 10);
	ASSERT_EQ(0x3ff, finished(10));
	join(_metadata, 10);
	OK(rvm_terminate());
}

TEST_F(user_group, shared_from_now_on)
{
	const struct files *f = &self->f;

	DECLARED_ONLY("several transactions at a time");
	CHILD_OK(shared_from_now_on);
}

/* The third write fails when a later one is over: so does all from there on, and only what is before is there. */
static void earlier_fails(CHILD_ARGS)
{
	static const unsigned int rest[] = { 0, 1, 3, 4, 6, 7 };
	rvm_region_t region;
	unsigned int i;

	open_held(_metadata, f, &region, SHORT, 0);
	ten_commit(_metadata, &region, WRITES);
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

	DECLARED_ONLY("several transactions at a time");
	CHILD_DIES(earlier_fails);
	CHILD_DIES(in_its_place);
	CHILD_OK(not_come_back);
}

static void fair(struct __test_metadata *_metadata, const struct files *f, unsigned long length,
		 unsigned long flags, bool busy)
{
	rvm_region_t region;

	open_held(_metadata, f, &region, length, flags);
	commit_alone(_metadata, &region, WATCHED, busy, 1000);
	all_commit(_metadata, &region, length, busy ? SHARED : WRITES);
	ASSERT_LE(waited, 1);
	OK(rvm_terminate());
}

static void fair_short(CHILD_ARGS)
{
	fair(_metadata, f, SHORT, 0, false);
}

static void fair_long(CHILD_ARGS)
{
	fair(_metadata, f, LONG, 0, false);
}

static void fair_shared(CHILD_ARGS)
{
	fair(_metadata, f, SHORT, 0, true);
}

static void fair_coalesced(CHILD_ARGS)
{
	fair(_metadata, f, LONG, RVM_COALESCE_TRANS, false);
}

TEST_F(user_group, fair)
{
	const struct files *f = &self->f;

	DECLARED_ONLY("several transactions at a time");
	CHILD_OK(fair_short);
}

TEST_F(user_group, fair_with_long_records)
{
	const struct files *f = &self->f;

	DECLARED_ONLY("several transactions at a time");
	CHILD_OK(fair_long);
}

TEST_F(user_group, fair_shared)
{
	const struct files *f = &self->f;

	DECLARED_ONLY("several transactions at a time");
	CHILD_OK(fair_shared);
}

TEST_F(user_group, fair_coalesced)
{
	const struct files *f = &self->f;

	DECLARED_ONLY("several transactions at a time");
	CHILD_OK(fair_coalesced);
}

TEST_HARNESS_MAIN
