// SPDX-License-Identifier: GPL-2.0 OR MIT
/*
 * Description: everything at once, by threads of several processes.  What it
 * says of the data alone is little; its worth is on the kernels that watch:
 * KCSAN's for data races, the debug kernel for locks and memory.
 * RVM_RACE_ROUNDS says for how long.
 */
#include "kernel.h"

#define PROCESSES	3
#define COMMITTERS	2			/* threads of a process */
#define STRIPE		5000ul			/* of a committer: none begins with a page */
#define COMMON		(10 * PAGE)		/* overlapping transactions: 2 pages */
#define SCRATCH		(12 * PAGE)		/* never committed: to the end */
#define SCRATCH_LENGTH	(LENGTH - SCRATCH)

/* What the processes of a test share besides the log. */
struct shared {
	int failures;
	bool stop;
	char committed[PROCESSES * COMMITTERS][STRIPE];
	unsigned int opened[PROCESSES];	/* commits to the second log */
};

struct thread {
	struct world *w;
	struct shared *s;
	struct files *second;
	char *memory;
	unsigned int process, number;
	unsigned int seed;
};

/* Threads can't use the harness's checks. */
#define CHECK(condition) do {						\
	if (!(condition)) {						\
		int errno_ = errno;					\
									\
		if (!__atomic_fetch_add(&t->s->failures, 1, __ATOMIC_SEQ_CST)) \
			fprintf(stderr, "# line %d: %s, errno %d\n",	\
				__LINE__, #condition, errno_);		\
		return NULL;						\
	}								\
} while (0)

static unsigned int rounds(void)
{
	const char *n = getenv("RVM_RACE_ROUNDS");

	return n ? atoi(n) : 100;
}

static bool stopped(struct shared *s)
{
	return __atomic_load_n(&s->stop, __ATOMIC_SEQ_CST) ||
	       __atomic_load_n(&s->failures, __ATOMIC_SEQ_CST);
}

static unsigned int some(struct thread *t, unsigned int n)
{
	t->seed = t->seed * 1103515245 + 12345;
	return (t->seed >> 8) % n;
}

/* --- at work ------------------------------------------------------------ */

/* Changes its own stripe, and knows what must be there. */
static void *committer(void *argument)
{
	struct thread *t = argument;
	unsigned int me = t->process * COMMITTERS + t->number, i, n;
	struct rvm_area_header *area = map(t->w->log, AREA);
	char *at = t->memory + me * STRIPE, *copy = t->s->committed[me];

	CHECK(area != MAP_FAILED);
	for (i = 0; i < rounds(); i++) {
		bool keep = some(t, 4);

		for (n = 1 + some(t, 4); n; n--) {
			unsigned int length = 1 + some(t, 900), offset = some(t, STRIPE - length);
			char value = some(t, 256);

			if (some(t, 4) || !keep)
				declare(area, at + offset, length);
			else
				declare_no_restore(area, at + offset, length);
			memset(at + offset, value, length);
			if (keep)
				memset(copy + offset, value, length);
			if (!some(t, 8))
				CHECK(!area_ioctl(t->w->log, RVM_IOC_SPILL, area->area));
		}
		if (keep)
			CHECK(!commit(t->w->log, area, some(t, 4) ? 0 : RVM_COMMIT_FLUSH));
		else
			CHECK(!do_abort(t->w->log, area));
		CHECK(!memcmp(at, copy, STRIPE));
	}
	munmap(area, AREA);
	return NULL;
}

/*
 * Declares what others have declared: commits replace what they saved, and make
 * them save again; aborts go against commits.
 */
static void *overlapper(void *argument)
{
	struct thread *t = argument;
	struct rvm_area_header *area = map(t->w->log, AREA);
	unsigned int n;

	CHECK(area != MAP_FAILED);
	while (!stopped(t->s)) {
		for (n = 1 + some(t, 3); n; n--) {
			unsigned int length = 1 + some(t, 3000);

			set(area, t->memory + COMMON + some(t, 2 * PAGE - length), n, length);
		}
		if (some(t, 2))
			CHECK(!commit(t->w->log, area, 0));
		else
			CHECK(!do_abort(t->w->log, area));
	}
	munmap(area, AREA);
	return NULL;
}

/* Maps, stores what is undone or forgotten, and unmaps; reclaim takes what it can. */
static void *mapper(void *argument)
{
	struct thread *t = argument;

	while (!stopped(t->s)) {
		struct rvm_area_header *area = map(t->w->log, 4 * PAGE);
		char *memory = map_at(NULL, t->w->segment, SCRATCH_LENGTH, SCRATCH);
		unsigned int length = 1 + some(t, PAGE);

		CHECK(area != MAP_FAILED && memory != MAP_FAILED);
		set(area, memory + some(t, SCRATCH_LENGTH - length), 0xee, length);
		memory[some(t, SCRATCH_LENGTH)] = 0xdd;
		if (some(t, 2))
			munmap(area, 4 * PAGE);
		munmap(memory, SCRATCH_LENGTH);
		if (some(t, 2))
			madvise(t->memory, SCRATCH, MADV_DONTNEED);
		munmap(area, 4 * PAGE);
		if (!some(t, 16)) {
			int fd = open("/proc/sys/vm/drop_caches", O_WRONLY | O_CLOEXEC);

			CHECK(write(fd, "1", 1) == 1);
			close(fd);
		}
	}
	return NULL;
}

/* Asks, flushes, truncates and sets options. */
static void *onlooker(void *argument)
{
	struct thread *t = argument;
	struct rvm_ioc_segment_name name;
	struct rvm_ioc_query q, before = query(t->w->log);

	while (!stopped(t->s)) {
		q = query(t->w->log);
		CHECK(!q.failed && q.log_used <= q.log_length);
		CHECK(q.commits >= before.commits && q.log_bytes >= before.log_bytes);
		before = q;
		CHECK(find_name(t->w->log, t->w->f.segment, &name));
		CHECK(!set_truncate(t->w->log, some(t, 100)));
		if (some(t, 2))
			CHECK(!flush_log(t->w->log));
		if (!some(t, 4))
			CHECK(!truncate_log(t->w->log));
	}
	return NULL;
}

/* Commits in the second log, which nobody keeps open: 1.5 MB at times, more than its ring. */
static void *commit_to_second(struct thread *t, int log, int fd)
{
	struct rvm_area_header *area = map(log, AREA);
	unsigned char *memory = map(fd, LENGTH), *mine = memory + t->process;
	unsigned int n = some(t, 8) ? 0 : 24;

	CHECK(area != MAP_FAILED && memory != MAP_FAILED);
	CHECK(*mine == t->s->opened[t->process]);
	set(area, mine, ++t->s->opened[t->process], 1);
	if (n)
		memset(memory + PAGE, n, LENGTH - PAGE);
	while (n--)
		declare_no_restore(area, memory + PAGE, LENGTH - PAGE);
	CHECK(!commit(log, area, some(t, 2) ? 0 : RVM_COMMIT_FLUSH));
	munmap(area, AREA);
	munmap(memory, LENGTH);
	return t;
}

/* Opens and closes the log and the segment, which may have grown, and another log. */
static void *opener(void *argument)
{
	struct thread *t = argument;
	int log, fd;

	/* once at least: it must not take luck to find a commit in the end */
	do {
		CHECK(t->process || truncate(t->w->f.segment, LENGTH + some(t, 64) * PAGE) == 0);
		log = attach(t->w->f.log);
		CHECK(log >= 0);
		fd = segment(log, t->w->f.segment);
		CHECK(fd >= 0);
		CHECK(!recover(log, NULL, NULL));
		close(log);
		close(fd);

		log = attach(t->second->log);
		CHECK(log >= 0);
		fd = segment(log, t->second->segment);
		CHECK(fd >= 0);
		CHECK(!recover(log, NULL, NULL));
		if (!commit_to_second(t, log, fd))
			return NULL;
		close(fd);
		close(log);
	} while (!stopped(t->s));
	return NULL;
}

/* Children of it die in a transaction. */
static void *reaper(void *argument)
{
	struct thread *t = argument;
	int status;
	pid_t pid;

	while (!stopped(t->s)) {
		pid = fork();
		if (!pid) {
			char *memory = map_at(NULL, t->w->segment, SCRATCH_LENGTH, SCRATCH);
			struct rvm_area_header *area = map(t->w->log, AREA);

			if (memory == MAP_FAILED || area == MAP_FAILED)
				_exit(1);
			for (;;) {
				set(area, memory + some(t, SCRATCH_LENGTH - 2000), 0xcc, 1000);
				declare_no_restore(area, memory, 1000);
				memset(memory, 0xbb, 1000);
				if (!some(t, 4) && do_abort(t->w->log, area))
					_exit(2);
			}
		}
		CHECK(pid > 0);
		sleep_us(some(t, 20000));
		kill(pid, SIGKILL);
		CHECK(waitpid(pid, &status, 0) == pid);
		CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
		some(t, 1);
	}
	return NULL;
}

/* --- processes ---------------------------------------------------------- */

typedef void *role(void *thread);

static void start(pthread_t *thread, struct thread *t, role *role)
{
	if (pthread_create(thread, NULL, role, t))
		__atomic_add_fetch(&t->s->failures, 1, __ATOMIC_SEQ_CST);
}

/* Runs the first n roles to their end, and the others until then. */
static void __attribute__((noreturn)) run(struct world *w, struct shared *s, struct files *second,
					  unsigned int process, role **roles, unsigned int n)
{
	struct thread threads[16];
	pthread_t ids[16];
	unsigned int i;
	char *memory = map(w->segment, SCRATCH);

	if (memory == MAP_FAILED)
		_exit(1);
	for (i = 0; roles[i]; i++) {
		threads[i] = (struct thread){
			.w = w, .s = s, .second = second, .memory = memory,
			.process = process, .number = i, .seed = process * 100 + i + 1,
		};
		start(&ids[i], &threads[i], roles[i]);
	}
	for (i = 0; i < n; i++)
		pthread_join(ids[i], NULL);
	/* process 0 ends it for all */
	if (!process)
		__atomic_store_n(&s->stop, true, __ATOMIC_SEQ_CST);
	for (; roles[i]; i++)
		pthread_join(ids[i], NULL);
	_exit(!!s->failures);
}

WORLD_FIXTURE(256 * KIB)

TEST_F(rvm, all_at_once)
{
	static role *roles[] = {
		committer, committer, overlapper, mapper, onlooker, opener, NULL,
	};
	static role *reapers[] = { reaper, NULL };
	struct shared *s = shared_memory(sizeof(*s));
	struct world *w = &self->w;
	struct files second;
	int status, log, fd;
	unsigned int i;

	WORKS(make_files(&second, 4 * MIB));
	for (i = 0; i <= PROCESSES; i++) {
		pid_t pid = fork();

		ASSERT_NE(-1, pid);
		if (!pid && i < PROCESSES)
			run(w, s, &second, i, roles, COMMITTERS);
		if (!pid)
			run(w, s, &second, i, reapers, 0);
	}
	for (i = 0; i <= PROCESSES; i++) {
		ASSERT_NE(-1, wait(&status));
		EXPECT_EQ(0, status);
	}
	ASSERT_EQ(0, s->failures);

	for (i = 0; i < PROCESSES * COMMITTERS; i++)
		ASSERT_EQ(0, memcmp(w->memory + i * STRIPE, s->committed[i], STRIPE));
	WORKS(truncate_log(w->log));
	/* what was never committed is in memory, as long as we map it, and nowhere else */
	ASSERT_TRUE(file_is(w->f.segment, SCRATCH, 0, SCRATCH_LENGTH));
	log = attach(second.log);
	fd = segment(log, second.segment);
	WORKS(recover(log, NULL, NULL));
	close(fd);
	close(log);
	for (i = 0; i < PROCESSES; i++) {
		ASSERT_NE(0, s->opened[i]);
		ASSERT_TRUE(file_is(second.segment, i, (unsigned char)s->opened[i], 1));
	}
	remove_files(&second);
}

/* --- one area, scribbled ------------------------------------------------ */

static struct rvm_area_header *victim;

/* Of a transaction that is scribbled meanwhile, anything of these may come. */
static bool tolerable(int ret)
{
	return !ret || errno == ENOENT || errno == EINVAL || errno == EFAULT || errno == EFBIG;
}

/* Appends entries that make sense, if those before did. */
static void *appender(void *argument)
{
	struct thread *t = argument;
	unsigned int i;

	for (i = 0; i < rounds() * 10; i++) {
		uint32_t used = __atomic_load_n(&victim->used, __ATOMIC_ACQUIRE) & ~7u;
		struct rvm_area_entry *e = entry_at(victim, used % (AREA / 2));

		e->address = (uintptr_t)t->memory + some(t, SCRATCH - 1000);
		e->length = 1 + some(t, 1000);
		e->state = some(t, 4);
		__atomic_store_n(&victim->used, used % (AREA / 2) + entry_size(e->length, true),
				 __ATOMIC_RELEASE);
		if (!some(t, 8))
			saved(e);
	}
	return NULL;
}

static void *scribbler(void *argument)
{
	struct thread *t = argument;

	while (!stopped(t->s)) {
		uint32_t *word = (uint32_t *)victim + some(t, 2000);

		*(volatile uint32_t *)word = some(t, 2) ? some(t, 5) : *word + 8;
		if (!some(t, 64))
			__atomic_store_n(&victim->used, some(t, AREA), __ATOMIC_RELEASE);
	}
	return NULL;
}

static void *area_committer(void *argument)
{
	struct thread *t = argument;

	while (!stopped(t->s))
		CHECK(tolerable(commit(t->w->log, victim, some(t, 4) ? 0 : RVM_COMMIT_FLUSH)));
	return NULL;
}

static void *area_aborter(void *argument)
{
	struct thread *t = argument;

	while (!stopped(t->s)) {
		CHECK(tolerable(area_ioctl(t->w->log, RVM_IOC_SPILL, victim->area)));
		CHECK(tolerable(do_abort(t->w->log, victim)));
	}
	return NULL;
}

/* The area goes, with a transaction in it, and another takes its place. */
static void *area_remapper(void *argument)
{
	struct thread *t = argument;

	while (!stopped(t->s)) {
		CHECK(map_at(victim, t->w->log, AREA, 0) == victim);
		sleep_us(some(t, 3000));
	}
	return NULL;
}

/* Scribbling and hurry harm nobody but the process itself. */
TEST_F(rvm, one_area)
{
	static role *wild[] = {
		appender, scribbler, area_committer, area_aborter, area_remapper, NULL,
	};
	static role *tame[] = { overlapper, overlapper, NULL };
	struct shared *s = shared_memory(sizeof(*s));
	struct world *w = &self->w;
	unsigned int i;
	int status;

	memset(w->memory + SCRATCH, 0, SCRATCH_LENGTH);
	set(w->area, w->memory + SCRATCH, 7, SCRATCH_LENGTH);
	WORKS(commit(w->log, w->area, 0));
	for (i = 0; i < 2; i++) {
		pid_t pid = fork();

		ASSERT_NE(-1, pid);
		if (!pid) {
			victim = map(w->log, AREA);
			if (victim == MAP_FAILED)
				_exit(1);
			run(w, s, NULL, i, i ? tame : wild, !i);
		}
	}
	for (i = 0; i < 2; i++) {
		ASSERT_NE(-1, wait(&status));
		EXPECT_EQ(0, status);
	}
	ASSERT_EQ(0, s->failures);
	ASSERT_EQ(0, query(w->log).failed);
	ASSERT_TRUE(all_are(w->memory + SCRATCH, 7, SCRATCH_LENGTH));
	WORKS(truncate_log(w->log));
	ASSERT_TRUE(file_is(w->f.segment, SCRATCH, 7, SCRATCH_LENGTH));
}

TEST_HARNESS_MAIN
