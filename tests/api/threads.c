// SPDX-License-Identifier: GPL-2.0 OR MIT
/* Description: many threads at once. */
#include "api.h"

#include <pthread.h>

#define THREADS	8
#define STRIPE	(16 * KIB)

static rvm_region_t shared;
static struct files files;
static bool stop;
static pthread_barrier_t barrier;

/* What threads find wrong: the harness's own checks are for one thread. */
static int failures;

#define CHECK(condition) do {						\
	if (!(condition)) {						\
		int errno_ = errno;					\
									\
		if (!__atomic_fetch_add(&failures, 1, __ATOMIC_SEQ_CST))	\
			fprintf(stderr, "# line %d: %s, errno %d\n", __LINE__, #condition, errno_); \
		return NULL;						\
	}								\
} while (0)

#define CHECK_OK(call)	CHECK((call) == RVM_SUCCESS)

static bool stopped(void)
{
	return __atomic_load_n(&stop, __ATOMIC_SEQ_CST);
}

static unsigned int next(unsigned int *seed)
{
	*seed = *seed * 1103515245 + 12345;
	return *seed >> 8;
}

#define RUN(n, fn) do {							\
	pthread_t t_[n];						\
									\
	for (long i_ = 0; i_ < (n); i_++) {				\
		ASSERT_EQ(0, pthread_create(&t_[i_], NULL, (fn), (void *)i_));	\
	}								\
	for (long i_ = 0; i_ < (n); i_++) {				\
		pthread_join(t_[i_], NULL);				\
	}								\
	ASSERT_EQ(0, failures);						\
} while (0)

FIXTURE(threads) {
	struct files f;
};

FIXTURE_VARIANT(threads) {
	unsigned long flags;
};

FIXTURE_VARIANT_ADD(threads, plain) { 0 };
FIXTURE_VARIANT_ADD(threads, optimized) { RVM_ALL_OPTIMIZATIONS };

static unsigned long flags;

FIXTURE_SETUP(threads)
{
	flags = variant->flags;
	make_files(_metadata, &self->f);
	files = self->f;
}

FIXTURE_TEARDOWN(threads)
{
	remove_files(&self->f);
}

/*
 * Each thread changes its own stripe, and keeps a copy of what is committed.
 * The copies are shared with the parent, which compares after the crash.
 */
static char (*committed)[STRIPE];

static void *change_stripe(void *arg)
{
	const long me = (long)arg;
	char *at = shared.vmaddr + me * STRIPE, *copy = committed[me];
	unsigned int seed = me + 1;
	rvm_tid_t tid;

	rvm_init_tid(&tid);
	for (int i = 0; i < 150; i++) {
		bool keep = next(&seed) % 4;
		int ranges = 1 + next(&seed) % 5;

		CHECK_OK(rvm_begin_transaction(&tid, restore));
		for (int k = 0; k < ranges; k++) {
			unsigned long length = 1 + next(&seed) % 700;
			unsigned long offset = next(&seed) % (STRIPE - length);
			char value = next(&seed);

			CHECK_OK(rvm_set_range(&tid, at + offset, length));
			memset(at + offset, value, length);
			if (keep)
				memset(copy + offset, value, length);
		}
		if (keep)
			CHECK_OK(rvm_end_transaction(&tid, next(&seed) % 8 ? no_flush : flush));
		else
			CHECK_OK(rvm_abort_transaction(&tid));
		CHECK(!memcmp(at, copy, STRIPE));
	}
	return NULL;
}

static void change_stripes(CHILD_ARGS)
{
	OK(start_with(f, 256 * KIB, flags));
	OK(map_segment(f, &shared));
	RUN(THREADS, change_stripe);
	OK(rvm_flush());
	die(_metadata);
}

TEST_F(threads, disjoint_ranges)
{
	const struct files *f = &self->f;
	rvm_region_t r;

	committed = mmap(NULL, THREADS * STRIPE, PROT_READ | PROT_WRITE,
			 MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, committed);
	CHILD_DIES(change_stripes);
	OK(start_with(f, 0, flags));
	OK(map_segment(f, &r));
	for (int i = 0; i < THREADS; i++) {
		EXPECT_EQ(0, memcmp(r.vmaddr + i * STRIPE, committed[i], STRIPE));
	}
	OK(rvm_terminate());
}

/*
 * Some commit, some open and abort, and all the while regions come and go,
 * options change, the log is flushed, truncated and queried.
 */
static void *commit_until_stopped(void *arg)
{
	char *at = shared.vmaddr + (long)arg * STRIPE;

	for (int i = 0; !stopped(); i++) {
		CHECK_OK(commit_bytes(at + i % 10 * 1000, i, 1000, i % 8 ? no_flush : flush));
		CHECK(all_are(at + i % 10 * 1000, i, 1000));
	}
	return NULL;
}

static void *abort_until_stopped(void *arg)
{
	char *at = shared.vmaddr + (long)arg * STRIPE;
	rvm_tid_t tid[3];

	while (!stopped()) {
		for (int i = 0; i < 3; i++) {
			rvm_init_tid(&tid[i]);
			CHECK_OK(rvm_begin_transaction(&tid[i], restore));
			CHECK_OK(rvm_set_range(&tid[i], at + i * 1000, 1000));
			memset(at + i * 1000, 9, 1000);
		}
		for (int i = 0; i < 3; i++)
			CHECK_OK(rvm_abort_transaction(&tid[i]));
		CHECK(all_are(at, 0, 3000));
	}
	return NULL;
}

static void *map_until_stopped(void *arg)
{
	char name[300];
	rvm_region_t r;
	rvm_tid_t tid;

	snprintf(name, sizeof(name), "%s/segment%ld", files.dir, (long)arg);
	CHECK(make_file(name, 20 * KIB, 0));
	rvm_init_tid(&tid);
	for (int i = 0; !stopped(); i++) {
		r = region_of(name, 0, 0);
		CHECK_OK(rvm_map(&r, NULL));
		CHECK(all_are(r.vmaddr + 100, i, 100));
		CHECK_OK(commit_bytes(r.vmaddr + 100, i + 1, 100, i % 4 ? no_flush : flush));
		CHECK_OK(rvm_begin_transaction(&tid, restore));
		CHECK_OK(rvm_set_range(&tid, r.vmaddr, 10));
		CHECK(rvm_unmap(&r) == RVM_EUNCOMMIT);
		CHECK_OK(rvm_abort_transaction(&tid));
		CHECK_OK(rvm_unmap(&r));
	}
	return NULL;
}

static void *disturb(void *arg)
{
	for (int i = 0; i < 40; i++) {
		rvm_engine_counters_t counters;
		rvm_options_t options;
		char name[MAXPATHLEN];

		rvm_init_options(&options);
		options.log_dev = name;
		CHECK_OK(rvm_query(&options, NULL));
		CHECK(!strcmp(name, files.log));
		free(options.tid_array);
		rvm_init_options(&options);
		CHECK_OK(rvm_query(&options, &shared));
		free(options.tid_array);
		options.truncate = i % 5 * 20;
		options.flags = i % 4;
		CHECK_OK(rvm_set_options(&options));
		CHECK_OK(rvm_get_engine_counters(&counters));
		CHECK_OK(rvm_flush());
		if (i % 4 == 3)
			CHECK_OK(rvm_truncate());
		usleep(1000);
	}
	__atomic_store_n(&stop, true, __ATOMIC_SEQ_CST);
	return arg;
}

static void *all_sorts(void *arg)
{
	static void *(*const roles[])(void *) = {
		disturb, map_until_stopped, map_until_stopped, abort_until_stopped,
		abort_until_stopped, commit_until_stopped, commit_until_stopped,
		commit_until_stopped,
	};
	void *result = roles[(long)arg](arg);

	if (__atomic_load_n(&failures, __ATOMIC_SEQ_CST))
		__atomic_store_n(&stop, true, __ATOMIC_SEQ_CST);
	return result;
}

TEST_F(threads, everything_at_once)
{
	DECLARED_ONLY("several transactions at a time");
	OK(start_with(&self->f, 256 * KIB, flags));
	OK(map_segment(&self->f, &shared));
	RUN(8, all_sorts);
	OK(rvm_terminate());
}

/* A region with a declared range stays, whoever wants to unmap it; without one it goes. */
static rvm_region_t fleeting;

static void *come_and_go(void *arg)
{
	for (int i = 0; i < 300; i++) {
		rvm_region_t r = region_of(files.segment, 0, 0);
		rvm_return_t code;

		CHECK_OK(rvm_map(&r, NULL));
		__atomic_store_n(&fleeting.vmaddr, r.vmaddr, __ATOMIC_SEQ_CST);
		do {
			code = rvm_unmap(&r);
			CHECK(code == RVM_SUCCESS || code == RVM_EUNCOMMIT);
		} while (code && !__atomic_load_n(&failures, __ATOMIC_SEQ_CST));
	}
	__atomic_store_n(&stop, true, __ATOMIC_SEQ_CST);
	return arg;
}

static void *hold_on(void *arg)
{
	rvm_tid_t tid;

	rvm_init_tid(&tid);
	while (!stopped() && !__atomic_load_n(&failures, __ATOMIC_SEQ_CST)) {
		char *at = __atomic_load_n(&fleeting.vmaddr, __ATOMIC_SEQ_CST);
		rvm_return_t code;

		if (!at)
			continue;
		at += (long)arg * PAGE;
		CHECK_OK(rvm_begin_transaction(&tid, restore));
		code = rvm_set_range(&tid, at, 100);
		CHECK(code == RVM_SUCCESS || code == RVM_ENOT_MAPPED);
		if (!code)
			memset(at, 1, 100);
		CHECK_OK(rvm_abort_transaction(&tid));
	}
	return NULL;
}

static void *come_hold_and_go(void *arg)
{
	return arg ? hold_on(arg) : come_and_go(arg);
}

TEST_F(threads, range_holds_region)
{
	DECLARED_ONLY("regions are mapped while a transaction is open");
	OK(start_with(&self->f, MIB, flags));
	ASSERT_TRUE(make_file(self->f.segment, 64 * KIB, 0));
	RUN(3, come_hold_and_go);
	OK(rvm_terminate());
}

/* One tid, ended or aborted by all: one of them does it. */
static rvm_tid_t contested;
static int winners;

static void *end_it(void *arg)
{
	rvm_tid_t copy;

	for (int i = 0; i < 60; i++) {
		rvm_return_t code;

		if (!arg) {
			CHECK_OK(rvm_begin_transaction(&contested, restore));
			__atomic_store_n(&winners, 0, __ATOMIC_SEQ_CST);
		}
		pthread_barrier_wait(&barrier);
		copy = contested;
		code = rvm_set_range(&copy, shared.vmaddr, 100);
		CHECK(code == RVM_SUCCESS || code == RVM_ETID);
		if ((i + (long)arg) % 2)
			code = rvm_end_transaction(&copy, flush);
		else
			code = rvm_abort_transaction(&copy);
		CHECK(code == RVM_SUCCESS || code == RVM_ETID);
		if (!code)
			__atomic_fetch_add(&winners, 1, __ATOMIC_SEQ_CST);
		CHECK((rvm_set_range)(&copy, shared.vmaddr, 100) == RVM_ETID);
		pthread_barrier_wait(&barrier);
		CHECK(__atomic_load_n(&winners, __ATOMIC_SEQ_CST) == 1);
		pthread_barrier_wait(&barrier);
	}
	return NULL;
}

TEST_F(threads, one_end)
{
	OK(start_with(&self->f, MIB, flags));
	OK(map_segment(&self->f, &shared));
	rvm_init_tid(&contested);
	pthread_barrier_init(&barrier, NULL, 4);
	RUN(4, end_it);
	OK(rvm_terminate());
}

/* One transaction, used by several threads. */
static void *share_it(void *arg)
{
	const long me = (long)arg;
	char *at = shared.vmaddr + me * STRIPE;

	for (int i = 0; i < 100; i++) {
		CHECK_OK(rvm_set_range(&contested, at + i * 100, 100));
		memset(at + i * 100, 1 + me, 100);
	}
	return NULL;
}

TEST_F(threads, shared_transaction)
{
	OK(start_with(&self->f, 256 * KIB, flags));
	OK(map_segment(&self->f, &shared));
	rvm_init_tid(&contested);
	OK(rvm_begin_transaction(&contested, restore));
	RUN(4, share_it);
	OK(rvm_abort_transaction(&contested));
	EXPECT_TRUE(all_are(shared.vmaddr, 0, 4 * STRIPE));
	OK(rvm_begin_transaction(&contested, restore));
	RUN(4, share_it);
	OK(rvm_end_transaction(&contested, flush));
	OK(rvm_truncate());
	for (int i = 0; i < 4; i++) {
		EXPECT_TRUE(file_is(self->f.segment, i * STRIPE, 1 + i, 10000));
	}
	OK(rvm_terminate());
}

/* Starting from many threads starts once; ending among calls ends once. */
static int ended;

static void *start_work_and_end(void *arg)
{
	char *at;
	rvm_tid_t tid;
	rvm_return_t code;

	CHECK_OK(start_with(&files, MIB, flags));
	pthread_barrier_wait(&barrier);
	if (!arg)
		CHECK_OK(map_segment(&files, &shared));
	pthread_barrier_wait(&barrier);
	at = shared.vmaddr + (long)arg * STRIPE;
	rvm_init_tid(&tid);
	for (int i = 0;; i++) {
		code = rvm_begin_transaction(&tid, restore);
		if (code) {
			CHECK(code == RVM_EINIT);
			return NULL;
		}
		/* as long as it is open, nothing can end */
		CHECK_OK(rvm_set_range(&tid, at, 100));
		memset(at, i, 100);
		CHECK_OK(rvm_end_transaction(&tid, no_flush));
		if (i >= 50) {
			code = rvm_terminate();
			CHECK(code == RVM_SUCCESS || code == RVM_EUNCOMMIT || code == RVM_EINIT);
			if (!code)
				__atomic_fetch_add(&ended, 1, __ATOMIC_SEQ_CST);
		}
		if (i % 5 == 0) {
			code = rvm_flush();
			CHECK(code == RVM_SUCCESS || code == RVM_EINIT);
		}
	}
}

TEST_F(threads, start_and_end)
{
	/* made beforehand, so that all agree on making it or not */
	ASSERT_TRUE(make_file(self->f.segment, 256 * KIB, 0));
	pid_t pid = fork();

	if (!pid)
		_exit(start_with(&self->f, MIB, flags));
	ASSERT_EQ(pid, waitpid(pid, NULL, 0));
	pthread_barrier_init(&barrier, NULL, 6);
	RUN(6, start_work_and_end);
	EXPECT_EQ(1, ended);
	CODE(RVM_EINIT, rvm_flush());
	for (int i = 0; i < 6; i++) {
		EXPECT_TRUE(all_are(shared.vmaddr + i * STRIPE, shared.vmaddr[i * STRIPE], 100));
	}
}

TEST_HARNESS_MAIN
