// SPDX-License-Identifier: GPL-2.0 OR MIT
/*
 * Description: tracking by page protection, the user engine's: whose signals are whose,
 * system calls that store, forked children.
 */
#include "api.h"

#include <pthread.h>
#include <setjmp.h>
#include <sys/mman.h>

#include <rvm/rvm_tracking.h>

#define LENGTH	(16 * PAGE)

static char *memory;
static rvm_region_t region;
/* No memory is there; the compiler need not know. */
static volatile char *volatile nowhere = (char *)8;

static void begin_all(CHILD_ARGS, rvm_length_t flags)
{
	rvm_options_t options;

	log_options(f, &options, 512 * KIB, flags);
	OK(RVM_INIT(&options));
	close(open(f->segment, O_CREAT | O_RDWR, 0600));
	rvm_init_region(&region);
	region.data_dev = (char *)f->segment;
	region.dev_length = RVM_MK_OFFSET(0, LENGTH);
	OK(rvm_map(&region, NULL));
	memory = region.vmaddr;
}

static rvm_tid_t begin(struct __test_metadata *_metadata)
{
	rvm_tid_t tid;

	rvm_init_tid(&tid);
	OK(rvm_begin_transaction(&tid, restore));
	return tid;
}

/* --- signals ------------------------------------------------------------- */

static sigjmp_buf failed;
static void *volatile fault_address;
static volatile int fault_code, usr1_blocked, segv_blocked;
static struct sigaction before;

static void note_mask(void)
{
	sigset_t mask;

	pthread_sigmask(SIG_BLOCK, NULL, &mask);
	usr1_blocked = sigismember(&mask, SIGUSR1);
	segv_blocked = sigismember(&mask, SIGSEGV);
}

static void with_info(int signal, siginfo_t *info, void *context)
{
	(void)context;
	fault_address = info->si_addr;
	fault_code = info->si_code;
	note_mask();
	if (info->si_code > 0)
		siglongjmp(failed, signal);
}

static void without_info(int signal)
{
	note_mask();
	siglongjmp(failed, signal);
}

/* What an application that comes later does. */
static void in_front(int signal, siginfo_t *info, void *context)
{
	fault_code++;
	before.sa_sigaction(signal, info, context);
}

/* The signal that a store gets, or 0. */
static int store(volatile char *to, int value)
{
	int signal = sigsetjmp(failed, 1);

	if (!signal)
		*to = value;
	return signal;
}

static void install(struct __test_metadata *_metadata, struct sigaction *action)
{
	ASSERT_EQ(0, sigaction(SIGSEGV, action, NULL));
}

static void passes_on(CHILD_ARGS)
{
	struct sigaction action = { .sa_sigaction = with_info, .sa_flags = SA_SIGINFO }, now;
	char *nothing = mmap(NULL, PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	rvm_tid_t tid;

	sigaddset(&action.sa_mask, SIGUSR1);
	install(_metadata, &action);
	begin_all(_metadata, f, RVM_TRACK_DIFF);

	/* memory of nobody, not of ours, and ours at the wrong time */
	ASSERT_EQ(SIGSEGV, store(nowhere, 1));
	ASSERT_TRUE(fault_address == nowhere);
	ASSERT_EQ(SEGV_MAPERR, fault_code);
	ASSERT_EQ(SIGSEGV, store(nothing + 9, 1));
	ASSERT_EQ(nothing + 9, fault_address);
	ASSERT_EQ(SIGSEGV, store(memory + PAGE + 9, 1));
	ASSERT_EQ(memory + PAGE + 9, fault_address);
	ASSERT_EQ(SEGV_ACCERR, fault_code);
	/* with the mask that it asked for, and no longer */
	ASSERT_EQ(1, usr1_blocked);
	ASSERT_EQ(1, segv_blocked);
	note_mask();
	ASSERT_EQ(0, usr1_blocked);
	ASSERT_EQ(0, segv_blocked);
	/* one that somebody sent */
	ASSERT_EQ(0, raise(SIGSEGV));
	ASSERT_EQ(SI_TKILL, fault_code);
	note_mask();
	ASSERT_EQ(0, usr1_blocked);
	ASSERT_EQ(0, segv_blocked);

	tid = begin(_metadata);
	fault_code = 0;
	ASSERT_EQ(0, store(memory + PAGE + 9, 1));
	ASSERT_EQ(0, fault_code);
	ASSERT_EQ(SIGSEGV, store(nothing, 1));
	OK(rvm_end_transaction(&tid, no_flush));
	ASSERT_EQ(1, memory[PAGE + 9]);

	/* with the last region it is as it was */
	OK(rvm_unmap(&region));
	ASSERT_EQ(0, sigaction(SIGSEGV, NULL, &now));
	ASSERT_TRUE(now.sa_sigaction == with_info);
	ASSERT_EQ(1, sigismember(&now.sa_mask, SIGUSR1));
	OK(rvm_terminate());
}

TEST_F(api, handler_before)
{
	const struct files *f = &self->f;

	CHILD_OK(passes_on);
}

static void passes_on_without_info(CHILD_ARGS)
{
	struct sigaction action = { .sa_handler = without_info, .sa_flags = SA_NODEFER };

	install(_metadata, &action);
	begin_all(_metadata, f, RVM_TRACK_PAGES | RVM_TRACK_STRICT);
	ASSERT_EQ(SIGSEGV, store(memory, 1));
#ifndef __SANITIZE_THREAD__	/* it calls handlers with all signals blocked */
	ASSERT_EQ(0, segv_blocked);
#endif
	ASSERT_EQ(SIGSEGV, store(nowhere, 1));
	OK(rvm_terminate());
}

TEST_F(api, handler_of_one_argument)
{
	const struct files *f = &self->f;

	CHILD_OK(passes_on_without_info);
}

static void comes_later(CHILD_ARGS)
{
	struct sigaction action = { .sa_sigaction = in_front, .sa_flags = SA_SIGINFO | SA_NODEFER };
	struct sigaction now;
	rvm_tid_t tid;

	begin_all(_metadata, f, RVM_TRACK_DIFF);
	ASSERT_EQ(0, sigaction(SIGSEGV, &action, &before));
	tid = begin(_metadata);
	fault_code = 0;
	memory[0] = 1;
	memory[PAGE] = 1;
	ASSERT_EQ(2, fault_code);
	OK(rvm_abort_transaction(&tid));
	ASSERT_EQ(0, memory[0]);
	/* it is not ours to take away */
	OK(rvm_unmap(&region));
	ASSERT_EQ(0, sigaction(SIGSEGV, NULL, &now));
	ASSERT_TRUE(now.sa_sigaction == in_front);
	OK(rvm_terminate());
}

TEST_F(api, handler_after)
{
	const struct files *f = &self->f;

	CHILD_OK(comes_later);
}

static void stores_to_nothing(CHILD_ARGS)
{
	begin_all(_metadata, f, RVM_TRACK_CHECK);
	*nowhere = 1;
}

static void is_sent_one(CHILD_ARGS)
{
	begin_all(_metadata, f, RVM_TRACK_CHECK);
	kill(getpid(), SIGSEGV);
}

TEST_F(api, no_handler)
{
	int status = in_child(_metadata, &self->f, stores_to_nothing);

	ASSERT_TRUE(WIFSIGNALED(status));
	ASSERT_EQ(SIGSEGV, WTERMSIG(status));
	status = in_child(_metadata, &self->f, is_sent_one);
	ASSERT_TRUE(WIFSIGNALED(status));
	ASSERT_EQ(SIGSEGV, WTERMSIG(status));
}

/* --- system calls -------------------------------------------------------- */

static void reads_undeclared(CHILD_ARGS)
{
	rvm_tid_t tid;
	int ends[2];

	begin_all(_metadata, f, RVM_TRACK_DIFF);
	ASSERT_EQ(0, pipe(ends));
	ASSERT_EQ(4, write(ends[1], "abcd", 4));
	tid = begin(_metadata);
	ASSERT_EQ(-1, read(ends[0], memory + 10, 2));
	ASSERT_EQ(EFAULT, errno);
	ASSERT_EQ(0, memory[10]);
	OK(rvm_set_range(&tid, memory + 10, 2));
	ASSERT_EQ(2, read(ends[0], memory + 10, 2));
	OK(rvm_end_transaction(&tid, flush));
	/* it came to a hot page; and back it goes */
	tid = begin(_metadata);
	ASSERT_EQ(2, read(ends[0], memory + 10, 2));
	ASSERT_EQ(0, memcmp(memory + 10, "cd", 2));
	OK(rvm_abort_transaction(&tid));
	ASSERT_EQ(0, memcmp(memory + 10, "ab", 2));
	die(_metadata);
}

static void find_read(CHILD_ARGS)
{
	begin_all(_metadata, f, 0);
	ASSERT_EQ(0, memcmp(memory + 10, "ab", 2));
	OK(rvm_terminate());
}

TEST_F(api, system_call)
{
	const struct files *f = &self->f;

	CHILD_DIES(reads_undeclared);
	CHILD_OK(find_read);
}

/* --- forked children ----------------------------------------------------- */

static void child_stores(CHILD_ARGS)
{
	memset(memory, 7, LENGTH);
	ASSERT_EQ(7, memory[LENGTH - 1]);
}

static void child_stores_to_nothing(CHILD_ARGS)
{
	memory[0] = 7;
	*nowhere = 1;
}

static void forks(CHILD_ARGS)
{
	rvm_tid_t tid;
	int status;

	begin_all(_metadata, f, RVM_TRACK_DIFF);
	CHILD_OK(child_stores);
	status = in_child(_metadata, f, child_stores_to_nothing);
	ASSERT_TRUE(WIFSIGNALED(status));
	ASSERT_EQ(SIGSEGV, WTERMSIG(status));
	tid = begin(_metadata);
	memory[1] = 1;
	CHILD_OK(child_stores);
	memory[PAGE] = 1;
	OK(rvm_end_transaction(&tid, flush));
	ASSERT_EQ(1, memory[1]);
	ASSERT_EQ(0, memory[0]);
	die(_metadata);
}

static void find_parents(CHILD_ARGS)
{
	begin_all(_metadata, f, 0);
	ASSERT_EQ(0, memory[0]);
	ASSERT_EQ(1, memory[1]);
	ASSERT_EQ(1, memory[PAGE]);
	ASSERT_EQ(0, memory[PAGE + 1]);
	OK(rvm_terminate());
}

TEST_F(api, fork)
{
	const struct files *f = &self->f;

	CHILD_DIES(forks);
	CHILD_OK(find_parents);
}

/* --- threads ------------------------------------------------------------- */

/* A check reads bytes that others store just then; ThreadSanitizer takes that for a bug. */
#ifndef __SANITIZE_THREAD__

#define THREADS	4
#define ROUNDS	300

/* Each its own bytes, but all in the same pages. */
static void *declare_and_store(void *context)
{
	long *own = context;
	rvm_tid_t tid;
	int i;

	rvm_init_tid(&tid);
	for (i = 0; i < ROUNDS; i++) {
		char *at = (char *)own + i % 16 * PAGE;

		if (rvm_begin_transaction(&tid, restore) || rvm_set_range(&tid, at, sizeof(long)))
			return "begin";
		++*(long *)at;
		if (i % 7 ? rvm_end_transaction(&tid, no_flush) : rvm_abort_transaction(&tid))
			return "end";
	}
	return NULL;
}

static void declares_in_threads(CHILD_ARGS)
{
	rvm_engine_counters_t counters;
	pthread_t threads[THREADS];
	long sum = 0;
	void *wrong;
	int i;

	begin_all(_metadata, f, RVM_TRACK_CHECK);
	for (i = 0; i < THREADS; i++)
		ASSERT_EQ(0, pthread_create(&threads[i], NULL, declare_and_store,
					    (long *)memory + i));
	for (i = 0; i < THREADS; i++) {
		ASSERT_EQ(0, pthread_join(threads[i], &wrong));
		ASSERT_EQ(NULL, wrong);
	}
	for (i = 0; i < 16; i++)
		sum += *(long *)(memory + i * PAGE);
	ASSERT_EQ(ROUNDS - (ROUNDS + 6) / 7, sum);
	OK(rvm_get_engine_counters(&counters));
	ASSERT_EQ(0, counters.undeclared);
	OK(rvm_terminate());
}

TEST_F(api, check_in_threads)
{
	const struct files *f = &self->f;

	CHILD_OK(declares_in_threads);
}

#endif

TEST_HARNESS_MAIN
