// SPDX-License-Identifier: GPL-2.0 OR MIT
/*
 * Description: processes that are killed at random moments, while others map
 * what they changed: open transactions are undone, commits stay, and nobody
 * waits for the dead.
 */
#include "kernel.h"

WORLD_FIXTURE(256 * KIB)

#define THREADS	3
#define SLOT	(LENGTH / THREADS / 8 * 8)	/* of one thread */
#define LOOPS	100

struct progress {
	/* transactions that began to commit, and whose commit returned */
	volatile unsigned long begun[THREADS], committed[THREADS];
	volatile unsigned long loop, working;	/* working: threads, in this loop */
};

struct worker {
	struct world *w;
	char *memory;
	struct progress *progress;
	unsigned int thread;
	bool restore;
};

/* What the n-th transaction of a thread leaves in its slot. */
static unsigned int offset_of(unsigned long n)
{
	return n * 611 % (SLOT - 2500);
}

static unsigned int length_of(unsigned long n)
{
	return 1 + n * 97 % 2400;
}

static void change(char *slot, unsigned long n)
{
	memset(slot + offset_of(n), n, length_of(n));
	memset(slot + SLOT - 64, n >> 1, 64);
}

/* Commits all odd transactions, aborts the even ones, or leaves them half done. */
static void *work(void *argument)
{
	struct worker *me = argument;
	struct rvm_area_header *area = map(me->w->log, 4 * PAGE);
	char *slot = me->memory + me->thread * SLOT;
	unsigned long n = me->progress->committed[me->thread];

	/* what the one before has committed, perhaps without living to say so */
	me->progress->begun[me->thread] = n;
	__atomic_add_fetch(&me->progress->working, 1, __ATOMIC_SEQ_CST);
	for (;; n++) {
		char before[64];

		if (n % 4 == 2) {
			memcpy(before, slot + SLOT - 64, 64);
			set(area, slot, n, 2000);
			set(area, slot + SLOT - 64, n, 64);
			set(area, slot + 1000, n + 1, 2000);
			if (do_abort(me->w->log, area) || memcmp(before, slot + SLOT - 64, 64))
				_exit(2);
		}
		if (me->restore) {
			declare(area, slot + offset_of(n), length_of(n));
			declare(area, slot + SLOT - 64, 64);
		} else {
			declare_no_restore(area, slot + offset_of(n), length_of(n));
			declare_no_restore(area, slot + SLOT - 64, 64);
		}
		change(slot, n);
		me->progress->begun[me->thread] = n + 1;
		if (commit(me->w->log, area, n % 5 ? 0 : RVM_COMMIT_FLUSH))
			_exit(3);
		me->progress->committed[me->thread] = n + 1;
	}
	return NULL;
}

static void __attribute__((noreturn)) work_in_threads(struct world *w, struct progress *progress,
						      bool restore)
{
	struct worker workers[THREADS];
	char *memory = map(w->segment, LENGTH);
	pthread_t thread;
	unsigned int i;

	if (memory == MAP_FAILED)
		_exit(4);
	for (i = 0; i < THREADS; i++) {
		workers[i] = (struct worker){ w, memory, progress, i, restore };
		if (i && pthread_create(&thread, NULL, work, &workers[i]))
			_exit(5);
	}
	work(&workers[0]);
	_exit(6);
}

/*
 * The survivor's model of each slot after n transactions: kept up to date with
 * what is known to be committed; the one that was on its way may be in or not.
 */
static void check_slots(struct __test_metadata *_metadata, const char *memory, char *model,
			struct progress *progress, unsigned long *done)
{
	unsigned int i;

	for (i = 0; i < THREADS; i++) {
		char *slot = model + i * SLOT;

		for (; done[i] < progress->committed[i]; done[i]++)
			change(slot, done[i]);
		if (progress->begun[i] > progress->committed[i] &&
		    memcmp(memory + i * SLOT, slot, SLOT)) {
			change(slot, done[i]++);
			progress->committed[i]++;
		}
		ASSERT_EQ(0, memcmp(memory + i * SLOT, slot, SLOT))
			TH_LOG("thread %u of loop %lu: %lu begun, %lu committed", i, progress->loop,
			       progress->begun[i], progress->committed[i]);
	}
}

static void kill_loop(struct __test_metadata *_metadata, struct world *w, bool restore,
		      unsigned int loops)
{
	struct progress *progress = shared_memory(sizeof(*progress));
	unsigned long done[THREADS] = { 0 };
	char *model = calloc(1, LENGTH);
	unsigned int i;
	int status;
	pid_t pid;

	for (i = 0; i < loops; i++) {
		progress->loop = i;
		progress->working = 0;
		pid = fork();
		ASSERT_NE(-1, pid);
		if (!pid)
			work_in_threads(w, progress, restore);
		/* in the beginning, or at work */
		while (i % 4 && !progress->working)
			sleep_us(100);
		sleep_us(next_random() % (i % 4 ? 30000 : 60000));
		kill(pid, SIGKILL);
		ASSERT_EQ(pid, waitpid(pid, &status, 0));
		ASSERT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL)
			TH_LOG("status %x", status);
		check_slots(_metadata, w->memory, model, progress, done);
		ASSERT_EQ(0, query(w->log).failed);
	}
	ASSERT_LT(loops / 2, done[0] + done[1] + done[2]);

	/* the same after everybody has gone, and from the disk */
	close_world(w);
	WORKS(open_world(w));
	check_slots(_metadata, w->memory, model, progress, done);
	WORKS(truncate_log(w->log));
	for (i = 0; i < LENGTH && model[i] == w->memory[i]; i++)
		;
	ASSERT_EQ((unsigned int)LENGTH, i);
	free(model);
	munmap(progress, sizeof(*progress));
}

TEST_F(rvm, killed)
{
	kill_loop(_metadata, &self->w, true, LOOPS);
}

/* Without old values, the dead one's transaction takes the committed ones. */
TEST_F(rvm, killed_no_restore)
{
	kill_loop(_metadata, &self->w, false, LOOPS / 2);
}

/* No survivor, not even of the log: what was committed is in the log or the segment. */
TEST_F(rvm, killed_alone)
{
	struct progress *progress = shared_memory(sizeof(*progress));
	struct world *w = &self->w;
	unsigned long done[THREADS] = { 0 };
	char *model = calloc(1, LENGTH);
	int status, i;
	pid_t pid;

	for (i = 0; i < 20; i++) {
		progress->loop = i;
		close_world(w);
		pid = fork();
		ASSERT_NE(-1, pid);
		if (!pid) {
			if (open_world(w))
				_exit(7);
			work_in_threads(w, progress, i % 2);
		}
		sleep_us(next_random() % 50000);
		kill(pid, SIGKILL);
		ASSERT_EQ(pid, waitpid(pid, &status, 0));
		ASSERT_TRUE(WIFSIGNALED(status)) TH_LOG("status %x", status);
		WORKS(open_world(w));
		check_slots(_metadata, w->memory, model, progress, done);
	}
	free(model);
	munmap(progress, sizeof(*progress));
}

/* Start a child that does what is given and then waits for its death. */
#define START(pid, statement) do {					\
	int fds_[2];							\
	char c_;							\
									\
	WORKS(pipe(fds_));						\
	pid = fork();							\
	ASSERT_NE(-1, pid);						\
	if (!pid) {							\
		struct rvm_area_header *area UNUSED = map(w->log, AREA); \
		char *memory = map(w->segment, LENGTH);			\
									\
		close(fds_[0]);						\
		if (memory == MAP_FAILED)				\
			_exit(1);					\
		statement;						\
		write(fds_[1], "", 1);					\
		for (;;)						\
			pause();					\
	}								\
	close(fds_[1]);							\
	ASSERT_EQ(1, read(fds_[0], &c_, 1));				\
	close(fds_[0]);							\
} while (0)

static void kill_and_wait(struct __test_metadata *_metadata, pid_t pid)
{
	int status;

	kill(pid, SIGKILL);
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	ASSERT_TRUE(WIFSIGNALED(status));
}

/* Exactly the bytes before: overlapping declarations, over page ends, several areas. */
TEST_F(rvm, undone_exactly)
{
	struct world *w = &self->w;
	struct rvm_ioc_query before;
	char *old = malloc(LENGTH);
	unsigned int i;
	pid_t pid;

	for (i = 0; i < LENGTH; i++)
		old[i] = next_random();
	for (i = 0; i < LENGTH; i += 16 * KIB) {
		declare(w->area, w->memory + i, 16 * KIB);
		memcpy(w->memory + i, old + i, 16 * KIB);
		WORKS(commit(w->log, w->area, 0));
	}
	before = query(w->log);
	START(pid, ({
		struct rvm_area_header *second = map(w->log, AREA);

		set(area, memory + 10, 1, 5000);
		set(area, memory + 4000, 2, 5000);
		set(area, memory + 4000, 3, 1);
		set(second, memory + 20000, 4, 20000);
		area_ioctl(w->log, RVM_IOC_SPILL, area->area);
		set(area, memory, 5, 30);
		declare_no_restore(area, memory + 50000, 100);
		memset(memory + 50000, 6, 100);
		/* declared, but never saved: never stored to */
		append(area, (uintptr_t)memory + 60000, 100, RVM_ENTRY_SAVING);
	}));
	ASSERT_TRUE(all_are(w->memory, 5, 30));
	ASSERT_TRUE(all_are(w->memory + 20000, 4, 20000));
	ASSERT_TRUE(all_are(w->memory + 50000, 6, 100));
	kill_and_wait(_metadata, pid);
	ASSERT_EQ(0, memcmp(old, w->memory, LENGTH));
	ASSERT_EQ(before.undone + 2, query(w->log).undone);
	ASSERT_EQ(before.commits, query(w->log).commits);
	free(old);
}

/* Undeclared stores are seen by the others, and go with the last that maps the page. */
TEST_F(rvm, undeclared_stores)
{
	struct world *w = &self->w;
	pid_t first, second;

	START(first, memset(memory + 100, 1, 10000));
	START(second, memset(memory + 5 * PAGE, 2, 10));
	ASSERT_TRUE(all_are(w->memory + 100, 1, 10000));
	munmap(w->memory, LENGTH);
	w->memory = map_at(NULL, w->segment, PAGE, PAGE);

	kill_and_wait(_metadata, first);
	/* second maps it still */
	ASSERT_TRUE(all_are(w->memory, 1, PAGE));
	WORKS(truncate_log(w->log));
	ASSERT_TRUE(all_are(w->memory, 1, PAGE));
	kill_and_wait(_metadata, second);
	/* and so do we, the one page */
	ASSERT_TRUE(all_are(w->memory, 1, PAGE));
	second = first = 0;
	CHILD({
		char *memory = map(w->segment, LENGTH);

		ASSERT_TRUE(all_are(memory, 0, PAGE));
		ASSERT_TRUE(all_are(memory + PAGE, 1, PAGE));
		ASSERT_TRUE(all_are(memory + 2 * PAGE, 0, LENGTH - 2 * PAGE));
	});
	munmap(w->memory, PAGE);
	w->memory = map(w->segment, LENGTH);
	ASSERT_TRUE(all_are(w->memory, 0, LENGTH));
	WORKS(truncate_log(w->log));
	ASSERT_TRUE(file_is(w->f.segment, 0, 0, LENGTH));
}

/* A commit of bytes beside undeclared ones takes the declared alone. */
TEST_F(rvm, undeclared_beside_committed)
{
	struct world *w = &self->w;
	pid_t pid;

	munmap(w->memory, LENGTH);
	START(pid, ({
		memset(memory, 1, 300);
		set(area, memory + 100, 2, 100);
		commit(w->log, area, 0);
		memset(memory + 150, 3, 100);
	}));
	kill_and_wait(_metadata, pid);
	w->memory = map(w->segment, LENGTH);
	ASSERT_TRUE(all_are(w->memory, 0, 100));
	ASSERT_TRUE(all_are(w->memory + 100, 2, 100));
	ASSERT_TRUE(all_are(w->memory + 200, 0, 100));
}

/* What was committed without flush survives the process, not only in memory. */
TEST_F(rvm, no_flush_commits)
{
	struct world *w = &self->w;
	pid_t pid;
	int i;

	close_world(w);
	pid = fork();
	if (!pid) {
		if (open_world(w))
			_exit(1);
		for (i = 0; i < 50; i++) {
			set(w->area, w->memory + i * 100, i, 100);
			if (commit(w->log, w->area, 0))
				_exit(2);
		}
		set(w->area, w->memory, 77, 5000);
		raise(SIGKILL);
	}
	ASSERT_EQ(pid, waitpid(pid, &i, 0));
	ASSERT_TRUE(WIFSIGNALED(i));
	WORKS(open_world(w));
	for (i = 0; i < 50; i++)
		ASSERT_TRUE(all_are(w->memory + i * 100, i, 100));
}

/* A grandchild that inherits the descriptors does not keep the transaction open. */
TEST_F(rvm, inherited_descriptors)
{
	struct world *w = &self->w;
	struct rvm_ioc_query before = query(w->log);
	pid_t pid, *grandchild = shared_memory(sizeof(*grandchild));

	START(pid, ({
		set(area, memory, 1, 5000);
		pid = fork();
		while (!pid)
			pause();
		*grandchild = pid;
	}));
	ASSERT_TRUE(all_are(w->memory, 1, 5000));
	kill_and_wait(_metadata, pid);
	ASSERT_TRUE(all_are(w->memory, 0, 5000));
	ASSERT_EQ(before.undone + 1, query(w->log).undone);
	ASSERT_EQ(0, kill(*grandchild, 0));
	kill(*grandchild, SIGKILL);
	munmap(grandchild, sizeof(*grandchild));
}

/* The last descriptor in a socket's queue: it all goes with the socket. */
TEST_F(rvm, descriptors_in_flight)
{
	struct world *w = &self->w;
	char control[CMSG_SPACE(2 * sizeof(int))] = { 0 }, byte = 0;
	struct iovec iov = { &byte, 1 };
	struct msghdr message = {
		.msg_iov = &iov, .msg_iovlen = 1,
		.msg_control = control, .msg_controllen = sizeof(control),
	};
	struct cmsghdr *c = CMSG_FIRSTHDR(&message);
	int sockets[2], fds[2] = { w->log, w->segment };

	WORKS(socketpair(AF_UNIX, SOCK_STREAM, 0, sockets));
	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(sizeof(fds));
	memcpy(CMSG_DATA(c), fds, sizeof(fds));
	ASSERT_EQ(1, sendmsg(sockets[0], &message, 0));
	set(w->area, w->memory, 1, 100);
	close_world(w);
	close(sockets[0]);
	close(sockets[1]);
	WORKS(open_world(w));
	ASSERT_TRUE(all_are(w->memory, 0, 100));
}

/* Killed while it waits, and while others wait for the same. */
TEST_F(rvm, killed_in_truncation)
{
	struct world *w = &self->w;
	int status, i;
	pid_t pid;

	for (i = 0; i < 20; i++) {
		pid = fork();
		if (!pid) {
			for (;;)
				if (truncate_log(w->log) || flush_log(w->log))
					_exit(1);
		}
		set(w->area, w->memory + i * 1000, i, 3000);
		WORKS(commit(w->log, w->area, i % 2));
		sleep_us(next_random() % 10000);
		kill(pid, SIGKILL);
		ASSERT_EQ(pid, waitpid(pid, &status, 0));
		ASSERT_TRUE(WIFSIGNALED(status));
		WORKS(truncate_log(w->log));
		ASSERT_EQ(0, query(w->log).failed);
		ASSERT_TRUE(file_is(w->f.segment, i * 1000, i, 3000));
	}
}

TEST_HARNESS_MAIN
