// SPDX-License-Identifier: GPL-2.0 OR MIT
/*
 * Description: regions whose changes are found, not declared, and regions in which
 * undeclared changes are reported: <rvm/rvm_tracking.h>.
 */
#include "api.h"

#include <pthread.h>
#include <setjmp.h>
#include <sys/mman.h>

#include <rvm/rvm_engine.h>
#include <rvm/rvm_tracking.h>

#define LENGTH	(16 * PAGE)

static char *memory;

static void start_tracking(CHILD_ARGS, rvm_length_t flags)
{
	rvm_options_t options;

	rvm_init_options(&options);
	options.log_dev = (char *)f->log;
	options.flags = flags;
	options.create_log_file = access(f->log, F_OK) ? rvm_true : rvm_false;
	options.create_log_size = RVM_MK_OFFSET(0, 512 * KIB);
	options.truncate = 0;
	OK(RVM_INIT(&options));
}

static void map_region(CHILD_ARGS, rvm_region_t *region, rvm_options_t *options)
{
	int fd = open(f->segment, O_CREAT | O_RDWR, 0600);

	ASSERT_NE(-1, fd);
	close(fd);
	rvm_init_region(region);
	region->data_dev = (char *)f->segment;
	region->dev_length = RVM_MK_OFFSET(0, LENGTH);
	OK(rvm_map(region, options));
	memory = region->vmaddr;
}

static rvm_region_t region;

static void begin_all(CHILD_ARGS, rvm_length_t flags)
{
	start_tracking(_metadata, f, flags);
	map_region(_metadata, f, &region, NULL);
}

static rvm_tid_t begin(struct __test_metadata *_metadata)
{
	rvm_tid_t tid;

	rvm_init_tid(&tid);
	OK(rvm_begin_transaction(&tid, restore));
	return tid;
}

static uint64_t reported(struct __test_metadata *_metadata)
{
	rvm_engine_counters_t counters;

	OK(rvm_get_engine_counters(&counters));
	return counters.undeclared;
}

/* --- stores that fail ---------------------------------------------------- */

static sigjmp_buf failed;
static void *fault_address;

static void on_fault(int signal, siginfo_t *info, void *context)
{
	(void)context;
	fault_address = info->si_addr;
	siglongjmp(failed, signal);
}

/* Before rvm_map, as the user engine wants it. */
static void catch_faults(void)
{
	struct sigaction action = { .sa_sigaction = on_fault, .sa_flags = SA_SIGINFO };

	sigaction(SIGSEGV, &action, NULL);
}

/* The signal that a store gets, or 0. */
static int store(volatile char *to, int value)
{
	int signal = sigsetjmp(failed, 1);

	if (!signal)
		*to = value;
	return signal;
}

/* --- tracked regions ----------------------------------------------------- */

FIXTURE(tracked) {
	struct files f;
};

FIXTURE_VARIANT(tracked) {
	rvm_length_t flags;
};

FIXTURE_VARIANT_ADD(tracked, diff) { RVM_TRACK_DIFF };
FIXTURE_VARIANT_ADD(tracked, pages) { RVM_TRACK_PAGES };
FIXTURE_VARIANT_ADD(tracked, diff_strict) { RVM_TRACK_DIFF | RVM_TRACK_STRICT };
FIXTURE_VARIANT_ADD(tracked, pages_strict) { RVM_TRACK_PAGES | RVM_TRACK_STRICT };
FIXTURE_VARIANT_ADD(tracked, diff_optimized) { RVM_TRACK_DIFF | RVM_ALL_OPTIMIZATIONS };
FIXTURE_VARIANT_ADD(tracked, diff_private) { RVM_TRACK_DIFF | RVM_MAP_PRIVATE };
FIXTURE_VARIANT_ADD(tracked, diff_userfaultfd) { RVM_TRACK_DIFF | RVM_TRACK_USERFAULTFD };
FIXTURE_VARIANT_ADD(tracked, pages_strict_userfaultfd) {
	RVM_TRACK_PAGES | RVM_TRACK_STRICT | RVM_TRACK_USERFAULTFD
};

FIXTURE_VARIANT_ADD(tracked, diff_async) { RVM_TRACK_DIFF | RVM_TRACK_USERFAULTFD_ASYNC };
FIXTURE_VARIANT_ADD(tracked, pages_async) { RVM_TRACK_PAGES | RVM_TRACK_USERFAULTFD_ASYNC };
FIXTURE_VARIANT_ADD(tracked, diff_private_async) {
	RVM_TRACK_DIFF | RVM_TRACK_USERFAULTFD_ASYNC | RVM_MAP_PRIVATE
};

static rvm_length_t flags;

#define STRICT	(flags & RVM_TRACK_STRICT)
/* Stores are only noticed later. */
#define LATE	(flags & RVM_TRACK_USERFAULTFD_ASYNC)

/* Why the tests of this variant can't be run, or NULL. */
static const char *not_here;

#define HERE_ONLY() do {							\
	if (not_here)							\
		SKIP(return, "%s", not_here);				\
} while (0)

static bool user_engine(void)
{
	const char *name = getenv("RVM_ENGINE");

	return name ? !strcmp(name, "user") : access("/dev/rvm", F_OK);
}

FIXTURE_SETUP(tracked)
{
	make_files(_metadata, &self->f);
	flags = variant->flags;
	if (flags & (RVM_TRACK_USERFAULTFD | RVM_TRACK_USERFAULTFD_ASYNC) && !user_engine())
		not_here = "the kernel engine's hooks are all that it has";
	else if (LATE && !linux_is(6, 7))
		not_here = "Linux before 6.7: tests/api/user_tracking.c has what happens then";
}

FIXTURE_TEARDOWN(tracked)
{
	remove_files(&self->f);
}

/* Nothing is declared; and it dies with a transaction open. */
static void change_and_die(CHILD_ARGS)
{
	rvm_tid_t tid;
	int i;

	begin_all(_metadata, f, flags);
	for (i = 1; i < 30; i++) {
		tid = begin(_metadata);
		memset(memory + i * 1000, i, 1000);
		memory[17] = i;
		OK(rvm_end_transaction(&tid, i % 3 ? no_flush : flush));
		tid = begin(_metadata);
		memset(memory + i * 1000, 99, 20);
		memory[15 * PAGE + i] = 99;
		OK(rvm_abort_transaction(&tid));
		ASSERT_TRUE(all_are(memory + i * 1000, i, 1000));
		ASSERT_EQ(0, memory[15 * PAGE + i]);
		if (i % 10 == 0)
			OK(rvm_truncate());
	}
	OK(rvm_flush());
	tid = begin(_metadata);
	memset(memory, 77, LENGTH);
	die(_metadata);
}

static void find_changes(CHILD_ARGS)
{
	int i;

	begin_all(_metadata, f, 0);
	for (i = 1; i < 30; i++)
		ASSERT_TRUE(all_are(memory + i * 1000, i, 1000));
	ASSERT_EQ(29, memory[17]);
	ASSERT_TRUE(all_are(memory + 18, 0, 900));
	ASSERT_TRUE(all_are(memory + 30000, 0, LENGTH - 30000));
	OK(rvm_terminate());
}

TEST_F(tracked, commit_without_set_range)
{
	const struct files *f = &self->f;

	HERE_ONLY();
	CHILD_DIES(change_and_die);
	CHILD_OK(find_changes);
}

/* Calls to declare change nothing, but their arguments are checked. */
static void declares(CHILD_ARGS)
{
	char outside[100];
	rvm_tid_t tid;

	begin_all(_metadata, f, flags);
	tid = begin(_metadata);
	OK(rvm_set_range(&tid, memory + 100, 3 * PAGE));
	memset(memory + 100, 1, 10);
	memset(memory + 5 * PAGE, 1, 10);
	CODE(RVM_ENOT_MAPPED, rvm_set_range(&tid, outside, 10));
	CODE(RVM_ENOT_MAPPED, rvm_set_range(&tid, memory + LENGTH - 5, 10));
	OK(rvm_modify_bytes(&tid, memory + 7 * PAGE - 3, "abcdef", 6));
	OK(rvm_end_transaction(&tid, flush));
	/* the old values come back in either begin mode */
	OK(rvm_begin_transaction(&tid, no_restore));
	memset(memory, 9, LENGTH);
	OK(rvm_abort_transaction(&tid));
	ASSERT_TRUE(all_are(memory + 100, 1, 10));
	ASSERT_TRUE(all_are(memory + 110, 0, PAGE));
	OK(rvm_terminate());
}

static void find_declared(CHILD_ARGS)
{
	begin_all(_metadata, f, 0);
	ASSERT_TRUE(all_are(memory + 100, 1, 10));
	ASSERT_TRUE(all_are(memory + 5 * PAGE, 1, 10));
	ASSERT_EQ(0, memcmp(memory + 7 * PAGE - 3, "abcdef", 6));
	OK(rvm_terminate());
}

TEST_F(tracked, with_set_range)
{
	const struct files *f = &self->f;

	HERE_ONLY();
	CHILD_OK(declares);
	CHILD_OK(find_declared);
}

static void stores_outside(CHILD_ARGS)
{
	rvm_tid_t tid;

	catch_faults();
	begin_all(_metadata, f, flags);
	if (!LATE) {
		ASSERT_EQ(SIGSEGV, store(memory + 3 * PAGE + 5, 1));
		ASSERT_EQ(memory + 3 * PAGE + 5, fault_address);
	}
	tid = begin(_metadata);
	ASSERT_EQ(0, store(memory + 10, 1));
	OK(rvm_end_transaction(&tid, no_flush));
	ASSERT_EQ(0, reported(_metadata));
	if (STRICT) {
		ASSERT_EQ(SIGSEGV, store(memory + 11, 1));
		return;
	}
	/* hot: it is found and put back by the next begin */
	ASSERT_EQ(0, store(memory + 11, 1));
	ASSERT_EQ(0, store(memory + 4095, 1));
	tid = begin(_metadata);
	ASSERT_EQ(2, reported(_metadata));
	ASSERT_EQ(0, memory[11]);
	ASSERT_EQ(0, memory[4095]);
	ASSERT_EQ(1, memory[10]);
	OK(rvm_end_transaction(&tid, flush));

	OK(rvm_set_check("fail"));
	ASSERT_EQ(0, store(memory + 12, 1));
	CODE(RVM_EUNDECLARED, rvm_begin_transaction(&tid, restore));
	ASSERT_EQ(0, strcmp("RVM_EUNDECLARED", rvm_return(RVM_EUNDECLARED)));
	ASSERT_EQ(0, memory[12]);
	tid = begin(_metadata);
	memory[13] = 1;
	OK(rvm_end_transaction(&tid, flush));
	/* cold after a while: at once again */
	tid = begin(_metadata);
	OK(rvm_end_transaction(&tid, no_flush));
	tid = begin(_metadata);
	OK(rvm_end_transaction(&tid, no_flush));
	ASSERT_EQ(LATE ? 0 : SIGSEGV, store(memory + 13, 2));
	if (LATE) {
		CODE(RVM_EUNDECLARED, rvm_begin_transaction(&tid, restore));
		ASSERT_EQ(1, memory[13]);
	}
	OK(rvm_terminate());
}

TEST_F(tracked, store_outside_of_a_transaction)
{
	const struct files *f = &self->f;

	HERE_ONLY();
	CHILD_OK(stores_outside);
}

/* The signal ends a process that has no handler. */
static void stores_outside_and_dies(CHILD_ARGS)
{
	rvm_tid_t tid;

	begin_all(_metadata, f, flags);
	memory[5] = 1;
	if (LATE) {
		OK(rvm_set_check("abort"));
		rvm_init_tid(&tid);
		rvm_begin_transaction(&tid, restore);
	}
	_exit(0);
}

static void aborts_on_stray(CHILD_ARGS)
{
	rvm_tid_t tid;

	begin_all(_metadata, f, flags);
	OK(rvm_set_check("abort"));
	tid = begin(_metadata);
	memory[0] = 1;
	OK(rvm_end_transaction(&tid, no_flush));
	memory[1] = 1;
	rvm_begin_transaction(&tid, restore);
	_exit(0);
}

TEST_F(tracked, fatal)
{
	const struct files *f = &self->f;
	int status = in_child(_metadata, f, stores_outside_and_dies);

	HERE_ONLY();
	ASSERT_TRUE(WIFSIGNALED(status));
	ASSERT_EQ(LATE ? SIGABRT : SIGSEGV, WTERMSIG(status));
	status = in_child(_metadata, f, aborts_on_stray);
	ASSERT_TRUE(WIFSIGNALED(status));
	ASSERT_EQ(STRICT ? SIGSEGV : SIGABRT, WTERMSIG(status));
}

/* --- one transaction at a time ------------------------------------------- */

static pthread_barrier_t met;
static volatile int order;

/* Threads return what went wrong, or NULL. */
static void *second(void *context)
{
	rvm_tid_t tid;

	(void)context;
	rvm_init_tid(&tid);
	pthread_barrier_wait(&met);
	if (rvm_begin_transaction(&tid, restore))
		return "begin";
	if (order != 1)
		return "order";
	memory[1] = 2;
	return rvm_end_transaction(&tid, no_flush) ? "end" : NULL;
}

static void takes_turns(CHILD_ARGS)
{
	rvm_tid_t tid, other;
	pthread_t thread;
	void *wrong;

	begin_all(_metadata, f, flags);
	pthread_barrier_init(&met, NULL, 2);
	tid = begin(_metadata);
	rvm_init_tid(&other);
	CODE(RVM_EUNCOMMIT, rvm_begin_transaction(&other, restore));
	ASSERT_EQ(0, pthread_create(&thread, NULL, second, NULL));
	pthread_barrier_wait(&met);
	usleep(50000);
	memory[0] = 1;
	order = 1;
	OK(rvm_abort_transaction(&tid));
	ASSERT_EQ(0, pthread_join(thread, &wrong));
	ASSERT_EQ(NULL, wrong);
	ASSERT_EQ(0, memory[0]);
	ASSERT_EQ(2, memory[1]);
	OK(rvm_terminate());
}

TEST_F(tracked, one_transaction_at_a_time)
{
	const struct files *f = &self->f;

	HERE_ONLY();
	CHILD_OK(takes_turns);
}

#define THREADS	4
#define ROUNDS	200

static void *count_up(void *context)
{
	rvm_tid_t tid;
	int i;

	(void)context;
	rvm_init_tid(&tid);
	for (i = 0; i < ROUNDS; i++) {
		if (rvm_begin_transaction(&tid, restore))
			return "begin";
		++*(long *)memory;
		++*(long *)(memory + (1 + i % 8) * PAGE);
		if (i % 5 ? rvm_end_transaction(&tid, i % 50 == 1 ? flush : no_flush) :
			    rvm_abort_transaction(&tid))
			return "end";
	}
	return NULL;
}

static void counts_up(CHILD_ARGS)
{
	pthread_t threads[THREADS];
	void *wrong;
	int i;

	begin_all(_metadata, f, flags);
	for (i = 0; i < THREADS; i++)
		ASSERT_EQ(0, pthread_create(&threads[i], NULL, count_up, NULL));
	for (i = 0; i < THREADS; i++) {
		ASSERT_EQ(0, pthread_join(threads[i], &wrong));
		ASSERT_EQ(NULL, wrong);
	}
	ASSERT_EQ(THREADS * ROUNDS / 5 * 4, *(long *)memory);
	OK(rvm_terminate());
}

static void find_count(CHILD_ARGS)
{
	begin_all(_metadata, f, 0);
	ASSERT_EQ(THREADS * ROUNDS / 5 * 4, *(long *)memory);
	OK(rvm_terminate());
}

TEST_F(tracked, threads)
{
	const struct files *f = &self->f;

	HERE_ONLY();
	CHILD_OK(counts_up);
	CHILD_OK(find_count);
}

/* In the log of that name, or without: returns the code of its begin. */
static void *begin_late(void *log)
{
	rvm_log_t *opened;
	rvm_tid_t tid;
	long code;

	if (log && (rvm_open_log(log, &opened) || rvm_use_log(opened)))
		return log;
	rvm_init_tid(&tid);
	code = rvm_begin_transaction(&tid, restore);
	return (void *)(code ? code : rvm_abort_transaction(&tid));
}

static void some_fail(CHILD_ARGS)
{
	rvm_offset_t length = RVM_MK_OFFSET(0, 512 * KIB);
	pthread_t threads[THREADS];
	rvm_options_t options;
	rvm_log_t *opened;
	rvm_tid_t tid;
	void *code;
	int i;

	OK(RVM_INIT(NULL));
	rvm_init_options(&options);
	options.log_dev = (char *)f->log;
	options.flags = RVM_TRACK_DIFF;
	OK(rvm_create_log(&options, &length, 0600));
	OK(rvm_open_log(f->log, &opened));
	OK(rvm_use_log(opened));
	map_region(_metadata, f, &region, &options);
	tid = begin(_metadata);
	for (i = 0; i < THREADS; i++) {
		ASSERT_EQ(0, pthread_create(&threads[i], NULL, begin_late,
					    i < THREADS - 1 ? NULL : (void *)f->log));
		usleep(20000);
	}
	OK(rvm_end_transaction(&tid, no_flush));
	for (i = 0; i < THREADS; i++) {
		ASSERT_EQ(0, pthread_join(threads[i], &code));
		ASSERT_EQ(i < THREADS - 1 ? (void *)RVM_ELOG : NULL, code);
	}
	OK(rvm_terminate());
}

/* Whose turn it is, and then does not begin, is in nobody's way. */
TEST_F(api, turn_not_taken)
{
	const struct files *f = &self->f;

	CHILD_OK(some_fail);
}

/* --- regions ------------------------------------------------------------- */

static void maps(CHILD_ARGS)
{
	rvm_options_t options;
	rvm_region_t untracked, other;
	char second[300];
	rvm_tid_t tid;
	char *at;

	start_tracking(_metadata, f, 0);
	rvm_init_options(&options);
	options.flags = flags;

	/* the first tracked region comes while no transaction is open */
	map_region(_metadata, f, &untracked, NULL);
	at = memory;
	snprintf(second, sizeof(second), "%s/second", f->dir);
	close(open(second, O_CREAT | O_RDWR, 0600));
	rvm_init_region(&other);
	other.data_dev = second;
	other.dev_length = RVM_MK_OFFSET(0, LENGTH);
	tid = begin(_metadata);
	CODE(RVM_EUNCOMMIT, rvm_map(&other, &options));
	OK(rvm_abort_transaction(&tid));
	OK(rvm_map(&other, &options));

	/* one region declares, the other one need not */
	tid = begin(_metadata);
	OK(rvm_set_range(&tid, at, 10));
	memset(at, 1, 20);
	memset(other.vmaddr + 50, 1, 20);
	CODE(RVM_EUNCOMMIT, rvm_unmap(&other));
	OK(rvm_end_transaction(&tid, no_flush));
	tid = begin(_metadata);
	OK(rvm_set_range(&tid, at, 10));
	memset(at, 2, 10);
	memset(other.vmaddr + 50, 2, 20);
	OK(rvm_abort_transaction(&tid));
	ASSERT_TRUE(all_are(at, 1, 20));
	ASSERT_TRUE(all_are(other.vmaddr + 50, 1, 20));
	OK(rvm_unmap(&other));
	OK(rvm_unmap(&untracked));

	/* both are as they were committed */
	untracked.vmaddr = NULL;
	OK(rvm_map(&untracked, &options));
	other.vmaddr = NULL;
	OK(rvm_map(&other, NULL));
	ASSERT_TRUE(all_are(untracked.vmaddr, 1, 10));
	ASSERT_TRUE(all_are(untracked.vmaddr + 10, 0, 10));
	ASSERT_TRUE(all_are(other.vmaddr + 50, 1, 20));
	OK(rvm_terminate());
}

TEST_F(tracked, map_and_unmap)
{
	const struct files *f = &self->f;

	HERE_ONLY();
	CHILD_OK(maps);
}

/* What a transaction changes is of its log alone. */
static void two_logs(CHILD_ARGS)
{
	rvm_offset_t length = RVM_MK_OFFSET(0, 512 * KIB);
	char log[300], segment[300];
	rvm_options_t options;
	rvm_region_t other;
	rvm_log_t *second;
	rvm_tid_t tid;

	catch_faults();
	begin_all(_metadata, f, flags);
	snprintf(log, sizeof(log), "%s/log2", f->dir);
	snprintf(segment, sizeof(segment), "%s/segment2", f->dir);
	rvm_init_options(&options);
	options.log_dev = log;
	OK(rvm_create_log(&options, &length, 0600));
	OK(rvm_open_log(log, &second));
	OK(rvm_use_log(second));
	close(open(segment, O_CREAT | O_RDWR, 0600));
	rvm_init_region(&other);
	other.data_dev = segment;
	other.dev_length = RVM_MK_OFFSET(0, LENGTH);
	options.flags = flags;
	/* the first of that log, though not of the process */
	tid = begin(_metadata);
	CODE(RVM_EUNCOMMIT, rvm_map(&other, &options));
	OK(rvm_abort_transaction(&tid));
	OK(rvm_map(&other, &options));

	tid = begin(_metadata);
	other.vmaddr[0] = 1;
	ASSERT_EQ(LATE ? 0 : SIGSEGV, store(memory, 1));
	OK(rvm_end_transaction(&tid, flush));
	OK(rvm_use_log(NULL));
	tid = begin(_metadata);
	ASSERT_EQ(!!LATE, reported(_metadata));
	ASSERT_EQ(0, memory[0]);
	memory[1] = 2;
	/* hot: put back by that log's next */
	ASSERT_EQ(STRICT ? SIGSEGV : 0, store(other.vmaddr + 1, 9));
	OK(rvm_end_transaction(&tid, flush));
	OK(rvm_use_log(second));
	tid = begin(_metadata);
	ASSERT_EQ(0, other.vmaddr[1]);
	ASSERT_EQ((STRICT ? 0 : 1) + !!LATE, reported(_metadata));
	OK(rvm_abort_transaction(&tid));
	ASSERT_EQ(1, other.vmaddr[0]);
	OK(rvm_use_log(NULL));
	OK(rvm_truncate());
	ASSERT_EQ(0, memory[0]);
	ASSERT_EQ(2, memory[1]);
	OK(rvm_terminate());
	ASSERT_TRUE(file_is(f->segment, 1, 2, 1));
	ASSERT_TRUE(file_is(f->segment, 0, 0, 1));
}

TEST_F(tracked, several_logs)
{
	const struct files *f = &self->f;

	HERE_ONLY();
	CHILD_OK(two_logs);
}

/* At the caller's address: ordinary memory before and after. */
static void maps_at(CHILD_ARGS)
{
	rvm_options_t options;
	rvm_tid_t tid;
	char *at = mmap(NULL, LENGTH, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	start_tracking(_metadata, f, flags);
	rvm_init_options(&options);
	options.flags = flags;
	close(open(f->segment, O_CREAT | O_RDWR, 0600));
	rvm_init_region(&region);
	region.data_dev = (char *)f->segment;
	region.dev_length = RVM_MK_OFFSET(0, LENGTH);
	region.vmaddr = at;
	OK(rvm_map(&region, &options));
	tid = begin(_metadata);
	memset(at, 1, LENGTH);
	OK(rvm_end_transaction(&tid, flush));
	OK(rvm_unmap(&region));
	memset(at, 2, LENGTH);
	OK(rvm_map(&region, &options));
	ASSERT_TRUE(all_are(at, 1, LENGTH));
	OK(rvm_terminate());
}

TEST_F(tracked, given_address)
{
	const struct files *f = &self->f;

	HERE_ONLY();
	CHILD_OK(maps_at);
}

static void too_big(CHILD_ARGS)
{
	rvm_region_t large;
	char *at;
	rvm_tid_t tid;

	begin_all(_metadata, f, flags);
	OK(rvm_unmap(&region));
	ASSERT_EQ(0, truncate(f->segment, 1 * MIB));
	rvm_init_region(&large);
	large.data_dev = (char *)f->segment;
	OK(rvm_map(&large, NULL));
	at = large.vmaddr;
	tid = begin(_metadata);
	memset(at, 1, 1 * MIB);
	CODE(RVM_ETOO_BIG, rvm_end_transaction(&tid, no_flush));
	CODE(RVM_ETOO_BIG, rvm_end_transaction(&tid, flush));
	ASSERT_TRUE(all_are(at, 1, 1 * MIB));
	/* less of it can be committed */
	memset(at + 100 * KIB, 0, 924 * KIB);
	OK(rvm_end_transaction(&tid, flush));
	tid = begin(_metadata);
	memset(at, 2, 1 * MIB);
	CODE(RVM_ETOO_BIG, rvm_end_transaction(&tid, flush));
	OK(rvm_abort_transaction(&tid));
	ASSERT_TRUE(all_are(at, 1, 100 * KIB));
	ASSERT_TRUE(all_are(at + 100 * KIB, 0, 924 * KIB));
	OK(rvm_terminate());
}

TEST_F(tracked, too_big)
{
	const struct files *f = &self->f;

	HERE_ONLY();
	CHILD_OK(too_big);
}

/* A read-only transaction writes nothing. */
static void only_reads(CHILD_ARGS)
{
	rvm_engine_counters_t counters;
	rvm_tid_t tid;

	begin_all(_metadata, f, flags);
	tid = begin(_metadata);
	ASSERT_TRUE(all_are(memory, 0, LENGTH));
	OK(rvm_end_transaction(&tid, no_flush));
	tid = begin(_metadata);
	ASSERT_TRUE(all_are(memory, 0, LENGTH));
	OK(rvm_end_transaction(&tid, flush));
	OK(rvm_get_engine_counters(&counters));
	ASSERT_EQ(0, counters.log_used);
	OK(rvm_terminate());
}

TEST_F(tracked, read_only)
{
	const struct files *f = &self->f;

	HERE_ONLY();
	CHILD_OK(only_reads);
}

/* The system call that stores: declared, it works on either engine. */
static void reads_a_pipe(CHILD_ARGS)
{
	rvm_tid_t tid;
	int ends[2];

	begin_all(_metadata, f, flags);
	ASSERT_EQ(0, pipe(ends));
	ASSERT_EQ(6, write(ends[1], "abcdef", 6));
	tid = begin(_metadata);
	OK(rvm_set_range(&tid, memory + PAGE - 3, 6));
	ASSERT_EQ(6, read(ends[0], memory + PAGE - 3, 6));
	OK(rvm_end_transaction(&tid, flush));
	OK(rvm_terminate());
}

static void find_read(CHILD_ARGS)
{
	begin_all(_metadata, f, 0);
	ASSERT_EQ(0, memcmp(memory + PAGE - 3, "abcdef", 6));
	OK(rvm_terminate());
}

TEST_F(tracked, system_call)
{
	const struct files *f = &self->f;

	HERE_ONLY();
	CHILD_OK(reads_a_pipe);
	CHILD_OK(find_read);
}

/* --- checked regions ----------------------------------------------------- */

static void commit_range(struct __test_metadata *_metadata, unsigned long at, int value)
{
	rvm_tid_t tid = begin(_metadata);

	OK(rvm_set_range(&tid, memory + at, 10));
	memset(memory + at, value, 10);
	OK(rvm_end_transaction(&tid, no_flush));
}

static void forgets(CHILD_ARGS)
{
	static const unsigned long places[] = { 0, 4095, PAGE, 3 * PAGE + 2000, LENGTH - 1 };
	uint64_t n = 0;
	rvm_tid_t tid;
	unsigned int i;

	begin_all(_metadata, f, RVM_TRACK_CHECK);
	commit_range(_metadata, 100, 1);
	ASSERT_EQ(0, reported(_metadata));
	for (i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
		/* before the transaction began, or in it */
		if (i % 2)
			memory[places[i]] = 1;
		tid = begin(_metadata);
		if (!(i % 2))
			memory[places[i]] = 1;
		OK(rvm_end_transaction(&tid, flush));
		ASSERT_EQ(++n, reported(_metadata)) TH_LOG("place %u", i);
		/* once, */
		commit_range(_metadata, 100, i);
		ASSERT_EQ(n, reported(_metadata));
	}
	/* unless it changes */
	memory[0] = 2;
	commit_range(_metadata, 100, 9);
	ASSERT_EQ(++n, reported(_metadata));
	/* what is beside and between declared bytes */
	tid = begin(_metadata);
	OK(rvm_set_range(&tid, memory + 5 * PAGE + 10, 10));
	OK(rvm_set_range(&tid, memory + 5 * PAGE + 25, 10));
	memset(memory + 5 * PAGE + 9, 3, 27);
	OK(rvm_end_transaction(&tid, no_flush));
	n += 3;
	ASSERT_EQ(n, reported(_metadata));
	die(_metadata);
}

static void find_forgotten(CHILD_ARGS)
{
	begin_all(_metadata, f, 0);
	ASSERT_EQ(0, memory[0]);
	ASSERT_EQ(0, memory[LENGTH - 1]);
	OK(rvm_terminate());
}

TEST_F(api, check_finds_undeclared)
{
	const struct files *f = &self->f;

	CHILD_DIES(forgets);
	CHILD_OK(find_forgotten);
}

static void fails(CHILD_ARGS)
{
	rvm_tid_t tid;

	begin_all(_metadata, f, RVM_TRACK_CHECK);
	OK(rvm_set_check("fail"));
	tid = begin(_metadata);
	OK(rvm_set_range(&tid, memory, 10));
	memset(memory, 1, 11);
	CODE(RVM_EUNDECLARED, rvm_end_transaction(&tid, flush));
	CODE(RVM_EUNDECLARED, rvm_end_transaction(&tid, no_flush));
	ASSERT_EQ(2, reported(_metadata));
	OK(rvm_set_range(&tid, memory + 10, 1));
	OK(rvm_end_transaction(&tid, flush));
	/* or it is given up */
	tid = begin(_metadata);
	OK(rvm_set_range(&tid, memory + 20, 10));
	memset(memory + 20, 2, 10);
	memory[40] = 2;
	CODE(RVM_EUNDECLARED, rvm_end_transaction(&tid, flush));
	OK(rvm_abort_transaction(&tid));
	ASSERT_TRUE(all_are(memory + 20, 0, 10));
	memory[40] = 0;
	commit_range(_metadata, 20, 3);
	OK(rvm_terminate());
}

static void find_complete(CHILD_ARGS)
{
	begin_all(_metadata, f, 0);
	ASSERT_TRUE(all_are(memory, 1, 11));
	ASSERT_EQ(0, memory[11]);
	ASSERT_TRUE(all_are(memory + 20, 3, 10));
	OK(rvm_terminate());
}

TEST_F(api, check_fails)
{
	const struct files *f = &self->f;

	CHILD_OK(fails);
	CHILD_OK(find_complete);
}

static void aborts(CHILD_ARGS)
{
	rvm_tid_t tid;

	setenv("RVM_TRACKING", "check", 1);
	setenv("RVM_CHECK", "abort", 1);
	begin_all(_metadata, f, 0);
	memory[5] = 1;
	tid = begin(_metadata);
	rvm_end_transaction(&tid, no_flush);
	_exit(0);
}

TEST_F(api, check_aborts)
{
	int status = in_child(_metadata, &self->f, aborts);

	ASSERT_TRUE(WIFSIGNALED(status));
	ASSERT_EQ(SIGABRT, WTERMSIG(status));
}

/* Transactions of a checked region run side by side: each declares its own. */
static void side_by_side(CHILD_ARGS)
{
	rvm_tid_t a, b;

	begin_all(_metadata, f, RVM_TRACK_CHECK);
	a = begin(_metadata);
	b = begin(_metadata);
	OK(rvm_set_range(&a, memory, 10));
	OK(rvm_set_range(&b, memory + 10, 10));
	memset(memory, 1, 20);
	OK(rvm_end_transaction(&a, no_flush));
	ASSERT_EQ(0, reported(_metadata));
	memory[20] = 1;
	OK(rvm_end_transaction(&b, no_flush));
	ASSERT_EQ(1, reported(_metadata));
	/* what no_restore leaves behind counts */
	OK(rvm_begin_transaction(&a, no_restore));
	OK(rvm_set_range(&a, memory + 100, 10));
	memset(memory + 100, 1, 10);
	OK(rvm_abort_transaction(&a));
	commit_range(_metadata, 200, 1);
	ASSERT_EQ(2, reported(_metadata));
	OK(rvm_terminate());
}

TEST_F(api, check_side_by_side)
{
	const struct files *f = &self->f;

	CHILD_OK(side_by_side);
}

/* --- choosing ------------------------------------------------------------ */

static void chooses(CHILD_ARGS)
{
	static const char *const bad[] = {
		"paged", "diff,diff", "diff,pages", "strict", "diff,", ",diff", "diff strict", "DIFF",
		"userfaultfd", "diff,userfaultfd,userfaultfd-async", "diff,strict,userfaultfd-async",
	};
	rvm_options_t options;
	unsigned int i;
	rvm_tid_t tid;

	start_tracking(_metadata, f, 0);
	rvm_init_options(&options);
	close(open(f->segment, O_CREAT | O_RDWR, 0600));
	rvm_init_region(&region);
	region.data_dev = (char *)f->segment;
	region.dev_length = RVM_MK_OFFSET(0, LENGTH);
	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		setenv("RVM_TRACKING", bad[i], 1);
		CODE(RVM_EOPTIONS, rvm_map(&region, NULL));
	}
	options.flags = 0x500;
	CODE(RVM_EOPTIONS, rvm_map(&region, &options));
	options.flags = RVM_TRACK_DIFF | RVM_TRACK_USERFAULTFD | RVM_TRACK_USERFAULTFD_ASYNC;
	CODE(RVM_EOPTIONS, rvm_map(&region, &options));
	options.flags = RVM_TRACK_DIFF | RVM_TRACK_STRICT | RVM_TRACK_USERFAULTFD_ASYNC;
	CODE(RVM_EOPTIONS, rvm_map(&region, &options));
	CODE(RVM_EOPTIONS, rvm_set_check(NULL));
	CODE(RVM_EOPTIONS, rvm_set_check("Fail"));

	/* the environment, where the program says nothing */
	setenv("RVM_TRACKING", "diff,strict", 1);
	OK(rvm_map(&region, NULL));
	memory = region.vmaddr;
	tid = begin(_metadata);
	memory[0] = 1;
	OK(rvm_abort_transaction(&tid));
	ASSERT_EQ(0, memory[0]);
	OK(rvm_unmap(&region));
	/* with a mechanism, which the kernel engine has no use for */
	setenv("RVM_TRACKING", "userfaultfd,diff", 1);
	region.vmaddr = NULL;
	OK(rvm_map(&region, NULL));
	memory = region.vmaddr;
	tid = begin(_metadata);
	memory[0] = 1;
	OK(rvm_abort_transaction(&tid));
	ASSERT_EQ(0, memory[0]);
	OK(rvm_unmap(&region));
	/* but the program comes first */
	region.vmaddr = NULL;
	options.flags = RVM_TRACK_RANGES;
	OK(rvm_map(&region, &options));
	memory = region.vmaddr;
	memory[0] = 1;
	tid = begin(_metadata);
	OK(rvm_abort_transaction(&tid));
	ASSERT_EQ(1, memory[0]);
	OK(rvm_terminate());
}

TEST_F(api, choosing)
{
	const struct files *f = &self->f;

	CHILD_OK(chooses);
}

TEST_HARNESS_MAIN
