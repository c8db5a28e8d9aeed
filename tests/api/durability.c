// SPDX-License-Identifier: GPL-2.0 OR MIT
/*
 * Description: what a new process finds after the one before it terminated, or
 * was killed at some point.
 */
#include "api.h"

#include <time.h>

FIXTURE(durability) {
	struct files f;
};

FIXTURE_VARIANT(durability) {
	unsigned long flags;
};

FIXTURE_VARIANT_ADD(durability, plain) { 0 };
FIXTURE_VARIANT_ADD(durability, optimized) { RVM_ALL_OPTIMIZATIONS };
FIXTURE_VARIANT_ADD(durability, map_private) { RVM_ALL_OPTIMIZATIONS | RVM_MAP_PRIVATE };

static unsigned long flags;		/* the variant's, for children as well */

FIXTURE_SETUP(durability)
{
	flags = variant->flags;
	make_files(_metadata, &self->f);
}

FIXTURE_TEARDOWN(durability)
{
	remove_files(&self->f);
}

static void start_and_map(struct __test_metadata *_metadata, const struct files *f,
			  rvm_region_t *region)
{
	OK(start_with(f, 256 * KIB, flags));
	OK(map_segment(f, region));
}

static bool kernel_engine(void)
{
	return !strcmp(rvm_get_engine(), "kernel");
}

static void flush_commits(CHILD_ARGS)
{
	rvm_region_t r;

	start_and_map(_metadata, f, &r);
	for (int i = 0; i < 20; i++)
		OK(commit_bytes(r.vmaddr + 5000 * i, 1 + i, 1000, flush));
	die(_metadata);
}

TEST_F(durability, flush_commits)
{
	const struct files *f = &self->f;
	rvm_region_t r;

	CHILD_DIES(flush_commits);
	OK(start_with(f, 0, flags));
	/* once it has started, they are in the segment's file */
	for (int i = 0; i < 20; i++) {
		ASSERT_TRUE(file_is(f->segment, 5000 * i, 1 + i, 1000));
		ASSERT_TRUE(file_is(f->segment, 5000 * i + 1000, 0, 4000));
	}
	OK(map_segment(f, &r));
	for (int i = 0; i < 20; i++) {
		ASSERT_TRUE(all_are(r.vmaddr + 5000 * i, 1 + i, 1000));
	}
	OK(rvm_terminate());
}

static void terminate_after_no_flush(CHILD_ARGS)
{
	rvm_region_t r;

	start_and_map(_metadata, f, &r);
	OK(commit_bytes(r.vmaddr, 1, 1000, no_flush));
	OK(commit_bytes(r.vmaddr + 500, 2, 1000, no_flush));
	OK(rvm_terminate());
	die(_metadata);
}

static void expect_1_2(struct __test_metadata *_metadata, const struct files *f)
{
	OK(start_with(f, 0, flags));
	EXPECT_TRUE(file_is(f->segment, 0, 1, 500));
	EXPECT_TRUE(file_is(f->segment, 500, 2, 1000));
	EXPECT_TRUE(file_is(f->segment, 1500, 0, 1000));
	OK(rvm_terminate());
}

TEST_F(durability, terminate_flushes)
{
	const struct files *f = &self->f;

	CHILD_DIES(terminate_after_no_flush);
	expect_1_2(_metadata, f);
}

static void flush_after_no_flush(CHILD_ARGS)
{
	rvm_region_t r;

	start_and_map(_metadata, f, &r);
	OK(commit_bytes(r.vmaddr, 1, 1000, no_flush));
	OK(commit_bytes(r.vmaddr + 500, 2, 1000, no_flush));
	OK(rvm_flush());
	die(_metadata);
}

TEST_F(durability, flush_call)
{
	const struct files *f = &self->f;

	CHILD_DIES(flush_after_no_flush);
	expect_1_2(_metadata, f);
}

static void flush_commit_after_no_flush(CHILD_ARGS)
{
	rvm_region_t r;

	start_and_map(_metadata, f, &r);
	OK(commit_bytes(r.vmaddr, 1, 1000, no_flush));
	OK(commit_bytes(r.vmaddr + 500, 2, 1000, no_flush));
	OK(commit_bytes(r.vmaddr + 3000, 3, 1, flush));
	die(_metadata);
}

TEST_F(durability, flush_commit_takes_the_earlier_along)
{
	const struct files *f = &self->f;

	CHILD_DIES(flush_commit_after_no_flush);
	expect_1_2(_metadata, f);
}

static void truncate_and_die(CHILD_ARGS)
{
	rvm_region_t r;

	start_and_map(_metadata, f, &r);
	OK(commit_bytes(r.vmaddr, 1, 1000, no_flush));
	OK(commit_bytes(r.vmaddr + 500, 2, 1000, no_flush));
	OK(rvm_truncate());
	die(_metadata);
}

TEST_F(durability, truncate_flushes)
{
	const struct files *f = &self->f;

	CHILD_DIES(truncate_and_die);
	EXPECT_TRUE(file_is(f->segment, 500, 2, 1000));
	expect_1_2(_metadata, f);
}

static void unmap_and_die(CHILD_ARGS)
{
	rvm_region_t r;

	start_and_map(_metadata, f, &r);
	OK(commit_bytes(r.vmaddr, 1, 1000, flush));
	OK(commit_bytes(r.vmaddr + 500, 2, 1000, flush));
	OK(rvm_unmap(&r));
	die(_metadata);
}

TEST_F(durability, unmapped_region)
{
	const struct files *f = &self->f;

	CHILD_DIES(unmap_and_die);
	expect_1_2(_metadata, f);
}

static void no_flush_and_die(CHILD_ARGS)
{
	rvm_region_t r;

	start_and_map(_metadata, f, &r);
	OK(commit_bytes(r.vmaddr, 1, 10, flush));
	for (int i = 1; i <= 50; i++)
		OK(commit_bytes(r.vmaddr + i * 100, i, 100, no_flush));
	die(_metadata);
}

/* A suffix of no_flush commits may be lost, with the kernel engine none. */
TEST_F(durability, no_flush_commits)
{
	const struct files *f = &self->f;
	int kept = 0;

	CHILD_DIES(no_flush_and_die);
	OK(start_with(f, 0, flags));
	EXPECT_TRUE(file_is(f->segment, 0, 1, 10));
	while (kept < 50 && file_is(f->segment, 100 * (kept + 1), kept + 1, 100))
		kept++;
	EXPECT_TRUE(file_is(f->segment, 100 * (kept + 1), 0, 100 * (51 - kept)));
	if (kernel_engine()) {
		EXPECT_EQ(50, kept);
	}
	OK(rvm_terminate());
}

static void supersede(CHILD_ARGS)
{
	rvm_engine_counters_t before, after;
	rvm_region_t r;

	start_and_map(_metadata, f, &r);
	OK(rvm_get_engine_counters(&before));
	for (int i = 0; i < 100; i++)
		OK(commit_bytes(r.vmaddr + 100, i, 500, no_flush));
	OK(rvm_flush());
	OK(rvm_get_engine_counters(&after));
	after.log_bytes -= before.log_bytes;
	EXPECT_TRUE(flags ? after.log_bytes <= (pages_are_logged ? 8 : 4) * KIB :
			    after.log_bytes >= 50 * KIB);
	EXPECT_EQ(100, after.commits - before.commits);
	OK(rvm_terminate());
}

/* With all optimizations the log gets what was committed last, once. */
TEST_F(durability, superseded)
{
	const struct files *f = &self->f;
	rvm_region_t r;

	CHILD_OK(supersede);
	start_and_map(_metadata, f, &r);
	EXPECT_TRUE(all_are(r.vmaddr + 100, 99, 500));
	OK(rvm_terminate());
}

static unsigned long log_writes(struct __test_metadata *_metadata)
{
	rvm_engine_counters_t counters;

	OK(rvm_get_engine_counters(&counters));
	return counters.log_writes;
}

/* Commits are flushed by themselves, with the interval set before or while the log is open. */
TEST_F(durability, flush_interval)
{
	const struct timespec pause = { .tv_nsec = 10000000 };
	const struct files *f = &self->f;
	unsigned long before;
	rvm_region_t r;

	OK(rvm_set_flush_interval(30));
	start_and_map(_metadata, f, &r);
	for (int i = 0; i < 3; i++) {
		before = log_writes(_metadata);
		OK(commit_bytes(r.vmaddr, i + 1, 10, no_flush));
		/* for ever, if it is not flushed: the test's time limit ends that */
		while (log_writes(_metadata) == before)
			nanosleep(&pause, NULL);
	}
	OK(rvm_set_flush_interval(0));
	before = log_writes(_metadata);
	OK(commit_bytes(r.vmaddr, 5, 10, no_flush));
	for (int i = 0; i < 30; i++)
		nanosleep(&pause, NULL);
	EXPECT_EQ(before, log_writes(_metadata));
	OK(rvm_set_flush_interval(1));
	while (log_writes(_metadata) == before)
		nanosleep(&pause, NULL);
	OK(rvm_terminate());
	CODE(RVM_EINIT, rvm_set_flush_interval(1));
}

static void leave_things_open(CHILD_ARGS)
{
	rvm_tid_t a, b, c;
	rvm_region_t r;

	rvm_init_tid(&a);
	rvm_init_tid(&b);
	rvm_init_tid(&c);
	start_and_map(_metadata, f, &r);
	OK(commit_bytes(r.vmaddr, 1, 10 * KIB, flush));
	OK(rvm_begin_transaction(&a, restore));
	OK(rvm_set_range(&a, r.vmaddr, 1000));
	memset(r.vmaddr, 2, 1000);
	OK(rvm_begin_transaction(&b, no_restore));
	OK(rvm_set_range(&b, r.vmaddr + 1000, 1000));
	memset(r.vmaddr + 1000, 2, 1000);
	OK(rvm_begin_transaction(&c, no_restore));
	OK(rvm_set_range(&c, r.vmaddr + 2000, 1000));
	memset(r.vmaddr + 2000, 2, 1000);
	OK(rvm_abort_transaction(&c));
	memset(r.vmaddr + 3000, 2, 1000);	/* undeclared */
	OK(commit_bytes(r.vmaddr + 4000, 3, 1000, flush));
	die(_metadata);
}

TEST_F(durability, nothing_uncommitted)
{
	const struct files *f = &self->f;

	DECLARED_ONLY("several transactions at a time");
	CHILD_DIES(leave_things_open);
	/* not by then, and not by recovery */
	for (int i = 0; i < 2; i++) {
		EXPECT_FALSE(file_is(f->segment, 0, 2, 1));
		if (!i)
			OK(start_with(f, 0, flags));
	}
	EXPECT_TRUE(file_is(f->segment, 0, 1, 4000));
	EXPECT_TRUE(file_is(f->segment, 4000, 3, 1000));
	EXPECT_TRUE(file_is(f->segment, 5000, 1, 5 * KIB));
	OK(rvm_terminate());
}

static void change_after_commit(CHILD_ARGS)
{
	rvm_tid_t a, b;
	rvm_region_t r;

	rvm_init_tid(&a);
	rvm_init_tid(&b);
	start_and_map(_metadata, f, &r);
	OK(commit_bytes(r.vmaddr, 1, 400, no_flush));
	memset(r.vmaddr, 2, 100);
	OK(rvm_begin_transaction(&a, restore));
	OK(rvm_set_range(&a, r.vmaddr + 100, 100));
	memset(r.vmaddr + 100, 3, 100);
	OK(rvm_begin_transaction(&b, restore));
	OK(rvm_set_range(&b, r.vmaddr + 200, 100));
	memset(r.vmaddr + 200, 4, 100);
	OK(rvm_abort_transaction(&b));
	OK(rvm_flush());
	die(_metadata);
}

TEST_F(durability, values_at_commit)
{
	const struct files *f = &self->f;

	DECLARED_ONLY("several transactions at a time");
	CHILD_DIES(change_after_commit);
	OK(start_with(f, 0, flags));
	EXPECT_TRUE(file_is(f->segment, 0, 1, 400));
	OK(rvm_terminate());
}

static int generation;

static void one_generation(CHILD_ARGS)
{
	rvm_region_t r;

	start_and_map(_metadata, f, &r);
	for (int i = 0; i < generation; i++) {
		ASSERT_TRUE(all_are(r.vmaddr + 4000 * i, i + 1, 4000));
	}
	OK(commit_bytes(r.vmaddr + 4000 * generation, generation + 1, 4000, flush));
	if (generation % 3 == 0)
		OK(rvm_terminate());
	if (generation % 3 != 2)
		die(_metadata);
	/* a process that exits without terminating */
}

static void only_recover(CHILD_ARGS)
{
	OK(start_with(f, 0, flags));
	die(_metadata);
}

/* Many processes, one after the other, over more than the log's length. */
TEST_F(durability, generations)
{
	const struct files *f = &self->f;

	for (generation = 0; generation < 30; generation++) {
		int status = in_child(_metadata, f, one_generation);

		ASSERT_TRUE(generation % 3 == 2 ? !status :
			    WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
		if (generation % 5 == 0)
			CHILD_DIES(only_recover);
	}
	OK(start_with(f, 0, flags));
	for (int i = 0; i < generation; i++) {
		ASSERT_TRUE(file_is(f->segment, 4000 * i, i + 1, 4000));
	}
	OK(rvm_terminate());
}

static void relative_names(CHILD_ARGS)
{
	rvm_region_t r;

	ASSERT_EQ(0, chdir(f->dir));
	ASSERT_TRUE(make_file("segment", 64 * KIB, 0));
	start(f);
	r = region_of("segment", 0, 0);
	OK(rvm_map(&r, NULL));
	/* it is in the log by now */
	OK(commit_bytes(r.vmaddr, 1, 100, flush));
	die(_metadata);
}

TEST_F(durability, relative_names)
{
	const struct files *f = &self->f;

	CHILD_DIES(relative_names);
	start(f);
	EXPECT_TRUE(file_is(f->segment, 0, 1, 100));
	OK(rvm_terminate());
}

/*
 * A process commits numbered changes until it is killed, at any moment: also
 * while the log wraps around, or is being truncated.  Number n sets cell
 * n % CELLS and the count, which lie far apart, in one transaction.
 */
#define CELLS	37
#define CELL	(3000 / sizeof(unsigned int))	/* of equal words */

static struct {
	unsigned int attempted, committed, flushed;
} *told;		/* shared with the child */

static unsigned int *cell_at(const rvm_region_t *r, unsigned int n)
{
	return (unsigned int *)(r->vmaddr + PAGE + 4000 * (n % CELLS));
}

static void commit_numbers(CHILD_ARGS)
{
	rvm_region_t r;
	rvm_tid_t tid;

	OK(start_with(f, 64 * KIB, flags));
	OK(map_segment(f, &r));
	rvm_init_tid(&tid);
	for (unsigned int n = *(unsigned int *)r.vmaddr + 1;; n++) {
		unsigned int words = 1 + n * 7 % CELL;
		rvm_mode_t mode = n % 5 ? no_flush : flush;

		told->attempted = n;
		OK(rvm_begin_transaction(&tid, n % 3 ? restore : no_restore));
		OK(rvm_set_range(&tid, cell_at(&r, n), CELL * sizeof(int)));
		for (unsigned int i = 0; i < CELL; i++)
			cell_at(&r, n)[i] = i < words ? n : ~n;
		OK(rvm_set_range(&tid, r.vmaddr, sizeof(n)));
		*(unsigned int *)r.vmaddr = n;
		OK(rvm_end_transaction(&tid, mode));
		told->committed = n;
		if (mode == flush)
			told->flushed = n;
		if (n % 41 == 0)
			OK(rvm_truncate());
	}
}

static void check_numbers(CHILD_ARGS)
{
	unsigned int last;
	rvm_region_t r;

	OK(start_with(f, 64 * KIB, flags));
	OK(map_segment(f, &r));
	last = *(unsigned int *)r.vmaddr;
	EXPECT_LE(told->flushed, last);
	EXPECT_LE(last, told->attempted);
	if (kernel_engine()) {
		EXPECT_LE(told->committed, last);
	}
	for (unsigned int n = last; n > 0 && n + CELLS > last; n--) {
		unsigned int words = 1 + n * 7 % CELL;

		for (unsigned int i = 0; i < CELL; i++) {
			ASSERT_EQ(i < words ? n : ~n, cell_at(&r, n)[i])
				TH_LOG("number %u of %u, word %u", n, last, i);
		}
	}
}

TEST_F(durability, killed_at_random)
{
	const struct files *f = &self->f;
	unsigned long seed = time(NULL);

	told = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, told);
	for (int round = 0; round < 12; round++) {
		struct timespec pause = { 0 };
		unsigned int before = told->attempted;
		int status;
		pid_t pid = fork();

		ASSERT_NE(-1, pid);
		if (!pid) {
			commit_numbers(_metadata, f);
			_exit(1);
		}
		/* at least one, and then at any moment */
		while (*(volatile unsigned int *)&told->attempted == before &&
		       !waitpid(pid, &status, WNOHANG))
			nanosleep(&(struct timespec){ .tv_nsec = 100000 }, NULL);
		seed = seed * 6364136223846793005 + 1442695040888963407;
		pause.tv_nsec = (seed >> 33) % 30000000;
		nanosleep(&pause, NULL);
		kill(pid, SIGKILL);
		ASSERT_EQ(pid, waitpid(pid, &status, 0));
		ASSERT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
		CHILD_OK(check_numbers);
	}
	EXPECT_LT(12, told->attempted);
}

TEST_HARNESS_MAIN
