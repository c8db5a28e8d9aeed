// SPDX-License-Identifier: GPL-2.0 OR MIT
/*
 * Description: how the user engine notices stores, by each of its mechanisms: whose signals
 * are whose, system calls that store, forked children, what is refused.
 */
#include "api.h"

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <setjmp.h>
#include <stddef.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/uio.h>

#include <rvm/rvm_tracking.h>

#define LENGTH	(16 * PAGE)

static char *memory;
static rvm_region_t region;

static rvm_length_t mechanism;
static int fault_signal;	/* that it gets, or 0 */

FIXTURE(mechanism) {
	struct files f;
};

FIXTURE_VARIANT(mechanism) {
	rvm_length_t flag;
	int signal;
};

FIXTURE_VARIANT_ADD(mechanism, mprotect) { 0, SIGSEGV };
FIXTURE_VARIANT_ADD(mechanism, userfaultfd) { RVM_TRACK_USERFAULTFD, SIGBUS };
FIXTURE_VARIANT_ADD(mechanism, async) { RVM_TRACK_USERFAULTFD_ASYNC, 0 };

static bool too_old;	/* the kernel: it must be refused */

FIXTURE_SETUP(mechanism)
{
	make_files(_metadata, &self->f);
	mechanism = variant->flag;
	fault_signal = variant->signal;
	too_old = mechanism == RVM_TRACK_USERFAULTFD_ASYNC && !linux_is(6, 7);
}

FIXTURE_TEARDOWN(mechanism)
{
	remove_files(&self->f);
}

static void async_is_refused(CHILD_ARGS);

#define KNOWN_HERE() do {						\
	if (too_old) {							\
		CHILD_OK(async_is_refused);				\
		SKIP(return, "Linux before 6.7: it was refused");	\
	}								\
} while (0)

#define WITH_SIGNAL() do {						\
	if (!fault_signal)						\
		SKIP(return, "this mechanism has no signal");		\
} while (0)

/* No memory is there; the compiler need not know. */
static volatile char *volatile nowhere = (char *)8;

static void begin_unmapped(CHILD_ARGS, rvm_length_t flags)
{
	rvm_options_t options;

	log_options(f, &options, 512 * KIB, flags | mechanism);
	OK(RVM_INIT(&options));
	close(open(f->segment, O_CREAT | O_RDWR, 0600));
	rvm_init_region(&region);
	region.data_dev = (char *)f->segment;
	region.dev_length = RVM_MK_OFFSET(0, LENGTH);
}

static void begin_all(CHILD_ARGS, rvm_length_t flags)
{
	begin_unmapped(_metadata, f, flags);
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

static volatile int reached;

static void reach(int signal)
{
	(void)signal;
	reached++;
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
	ASSERT_EQ(0, sigaction(SIGBUS, action, NULL));
}

/* Behind the end of a file. */
static char *no_page(CHILD_ARGS)
{
	int fd = open(f->log, O_RDWR);
	char *at = mmap(NULL, 16 * MIB, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	ASSERT_NE(MAP_FAILED, at);
	close(fd);
	return at + 15 * MIB;
}

static void passes_on(CHILD_ARGS)
{
	struct sigaction action = { .sa_sigaction = with_info, .sa_flags = SA_SIGINFO }, now;
	char *nothing = mmap(NULL, PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	rvm_tid_t tid;

	sigaddset(&action.sa_mask, SIGUSR1);
	install(_metadata, &action);
	begin_all(_metadata, f, RVM_TRACK_DIFF);
	ASSERT_EQ(SIGBUS, store(no_page(_metadata, f), 1));
	ASSERT_EQ(BUS_ADRERR, fault_code);

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
	ASSERT_EQ(0, raise(fault_signal));
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
	ASSERT_EQ(0, sigaction(fault_signal, NULL, &now));
	ASSERT_TRUE(now.sa_sigaction == with_info);
	ASSERT_EQ(1, sigismember(&now.sa_mask, SIGUSR1));
	OK(rvm_terminate());
}

TEST_F(mechanism, handler_before)
{
	const struct files *f = &self->f;

	WITH_SIGNAL();
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

TEST_F(mechanism, handler_of_one_argument)
{
	const struct files *f = &self->f;

	WITH_SIGNAL();
	CHILD_OK(passes_on_without_info);
}

static void comes_later(CHILD_ARGS)
{
	struct sigaction action = { .sa_sigaction = in_front, .sa_flags = SA_SIGINFO | SA_NODEFER };
	struct sigaction first = { .sa_handler = reach }, now;
	rvm_tid_t tid;

	install(_metadata, &first);
	begin_all(_metadata, f, RVM_TRACK_DIFF);
	ASSERT_EQ(0, sigaction(fault_signal, &action, &before));
	tid = begin(_metadata);
	fault_code = 0;
	memory[0] = 1;
	memory[PAGE] = 1;
	ASSERT_EQ(2, fault_code);
	OK(rvm_abort_transaction(&tid));
	ASSERT_EQ(0, memory[0]);
	/* it is not ours to take away */
	OK(rvm_unmap(&region));
	ASSERT_EQ(0, sigaction(fault_signal, NULL, &now));
	ASSERT_TRUE(now.sa_sigaction == in_front);
	/* still there, and called first: once */
	region.vmaddr = NULL;
	OK(rvm_map(&region, NULL));
	tid = begin(_metadata);
	fault_code = 0;
	region.vmaddr[0] = 1;
	ASSERT_EQ(1, fault_code);
	OK(rvm_abort_transaction(&tid));
	/* and what is not ours gets to the first that was there */
	fault_code = 0;
	ASSERT_EQ(0, raise(fault_signal));
	ASSERT_EQ(1, fault_code);
	ASSERT_EQ(1, reached);
	OK(rvm_terminate());
}

TEST_F(mechanism, handler_after)
{
	const struct files *f = &self->f;

	WITH_SIGNAL();
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
	kill(getpid(), fault_signal);
}

static void ignores_one(CHILD_ARGS)
{
	rvm_tid_t tid;

	signal(fault_signal, SIG_IGN);
	begin_all(_metadata, f, RVM_TRACK_DIFF);
	kill(getpid(), fault_signal);
	tid = begin(_metadata);
	memory[0] = 1;
	OK(rvm_end_transaction(&tid, no_flush));
	OK(rvm_terminate());
}

TEST_F(mechanism, ignored)
{
	const struct files *f = &self->f;

	KNOWN_HERE();
	WITH_SIGNAL();
	CHILD_OK(ignores_one);
}

TEST_F(mechanism, no_handler)
{
	const struct files *f = &self->f;
	int status;

	KNOWN_HERE();
	status = in_child(_metadata, f, stores_to_nothing);
	ASSERT_TRUE(WIFSIGNALED(status));
	ASSERT_EQ(SIGSEGV, WTERMSIG(status));
	WITH_SIGNAL();
	status = in_child(_metadata, f, is_sent_one);
	ASSERT_TRUE(WIFSIGNALED(status));
	ASSERT_EQ(fault_signal, WTERMSIG(status));
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

/* Where stores are noticed later, a system call's is one like any other. */
static void reads_anywhere(CHILD_ARGS)
{
	struct iovec from = { "abcdefgh", 8 }, to;
	rvm_tid_t tid;
	int ends[2], file;

	begin_all(_metadata, f, RVM_TRACK_DIFF);
	to = (struct iovec){ memory + 3 * PAGE, 8 };
	ASSERT_EQ(0, pipe(ends));
	ASSERT_EQ(4, write(ends[1], "abcd", 4));
	file = open(f->log, O_RDONLY | O_DIRECT);
	tid = begin(_metadata);
	ASSERT_EQ(2, read(ends[0], memory + 10, 2));
	ASSERT_EQ(8, process_vm_writev(getpid(), &from, 1, &to, 1, 0));
	if (file >= 0)
		ASSERT_EQ(PAGE, pread(file, memory + 5 * PAGE, PAGE, 0));
	OK(rvm_end_transaction(&tid, flush));
	if (file >= 0)
		ASSERT_NE(0, memory[5 * PAGE]);
	/* outside it is found, too */
	OK(rvm_set_check("fail"));
	ASSERT_EQ(2, read(ends[0], memory + 10, 2));
	CODE(RVM_EUNDECLARED, rvm_begin_transaction(&tid, restore));
	ASSERT_EQ(0, memcmp(memory + 10, "ab", 2));
	die(_metadata);
}

static void find_all_read(CHILD_ARGS)
{
	int file = open(f->log, O_RDONLY | O_DIRECT);

	begin_all(_metadata, f, 0);
	ASSERT_EQ(0, memcmp(memory + 10, "ab", 2));
	ASSERT_EQ(0, memcmp(memory + 3 * PAGE, "abcdefgh", 8));
	if (file >= 0)
		ASSERT_NE(0, memory[5 * PAGE]);
	OK(rvm_terminate());
}

TEST_F(mechanism, system_call)
{
	const struct files *f = &self->f;

	KNOWN_HERE();
	CHILD_DIES(fault_signal ? reads_undeclared : reads_anywhere);
	CHILD_OK(fault_signal ? find_read : find_all_read);
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

TEST_F(mechanism, fork)
{
	const struct files *f = &self->f;

	KNOWN_HERE();
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

TEST_F(mechanism, check_in_threads)
{
	const struct files *f = &self->f;

	KNOWN_HERE();
	CHILD_OK(declares_in_threads);
}

#endif

/* --- memory -------------------------------------------------------------- */

#define MANY	1200u

/* More than are kept hot, and more places than the kernel is asked for at once. */
static void stores_to_many(CHILD_ARGS)
{
	unsigned int i, round;
	rvm_tid_t tid;

	begin_unmapped(_metadata, f, RVM_TRACK_DIFF);
	region.dev_length = RVM_MK_OFFSET(0, MANY * PAGE);
	OK(rvm_map(&region, NULL));
	memory = region.vmaddr;
	for (round = 1; round < 5; round++) {
		tid = begin(_metadata);
		for (i = 0; i < MANY; i += 1 + round % 2)
			memory[i * PAGE + i] = round;
		OK(rvm_end_transaction(&tid, no_flush));
		tid = begin(_metadata);
		for (i = 0; i < MANY; i += 3)
			memory[i * PAGE + i] = 99;
		OK(rvm_abort_transaction(&tid));
		OK(rvm_truncate());
	}
	for (i = 0; i < MANY; i++) {
		ASSERT_EQ(4, memory[i * PAGE + i]);
		ASSERT_TRUE(file_is(f->segment, i * PAGE + i, 4, 1));
	}
	OK(rvm_terminate());
}

TEST_F(mechanism, many_pages)
{
	const struct files *f = &self->f;

	KNOWN_HERE();
	CHILD_OK(stores_to_many);
}

/* Memory that doesn't show the segment: what is not stored to is not logged. */
static void maps_without_copying(CHILD_ARGS)
{
	rvm_tid_t tid;

	ASSERT_TRUE(make_file(f->segment, LENGTH, 5));
	begin_unmapped(_metadata, f, RVM_TRACK_DIFF);
	region.no_copy = rvm_true;
	OK(rvm_map(&region, NULL));
	memory = region.vmaddr;
	ASSERT_TRUE(all_are(memory, 0, LENGTH));
	tid = begin(_metadata);
	memory[PAGE] = 1;
	OK(rvm_end_transaction(&tid, flush));
	tid = begin(_metadata);
	memory[PAGE] = 2;
	memory[2 * PAGE] = 2;
	OK(rvm_abort_transaction(&tid));
	ASSERT_EQ(1, memory[PAGE]);
	ASSERT_EQ(0, memory[2 * PAGE]);
	OK(rvm_terminate());
	/* it stays, and is the program's */
	memset(memory, 9, LENGTH);
}

static void find_one(CHILD_ARGS)
{
	begin_all(_metadata, f, 0);
	ASSERT_TRUE(all_are(memory, 5, PAGE));
	ASSERT_EQ(1, memory[PAGE]);
	ASSERT_TRUE(all_are(memory + PAGE + 1, 5, LENGTH - PAGE - 1));
	OK(rvm_terminate());
}

TEST_F(mechanism, no_copy)
{
	const struct files *f = &self->f;

	KNOWN_HERE();
	CHILD_OK(maps_without_copying);
	CHILD_OK(find_one);
}

/* A child that keeps the descriptors doesn't keep the memory protected. */
static void leaves_a_child(CHILD_ARGS)
{
	int ends[2], status;
	rvm_tid_t tid;
	char byte;
	pid_t pid;

	begin_all(_metadata, f, RVM_TRACK_DIFF);
	tid = begin(_metadata);
	memory[0] = 1;
	ASSERT_EQ(0, pipe(ends));
	pid = fork();
	if (!pid) {
		close(ends[1]);
		memset(memory, 3, LENGTH);
		_exit(read(ends[0], &byte, 1) || memory[LENGTH - 1] != 3);
	}
	close(ends[0]);
	memory[PAGE] = 1;
	OK(rvm_end_transaction(&tid, flush));
	ASSERT_EQ(0, memory[2 * PAGE]);
	OK(rvm_terminate());
	memset(memory, 9, LENGTH);
	close(ends[1]);
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	ASSERT_EQ(0, status);
}

TEST_F(mechanism, child_that_stays)
{
	const struct files *f = &self->f;

	KNOWN_HERE();
	CHILD_OK(leaves_a_child);
	ASSERT_TRUE(!file_is(f->segment, 0, 9, 1));
}

/* --- what is refused ----------------------------------------------------- */

static void async_is_refused(CHILD_ARGS)
{
	begin_unmapped(_metadata, f, RVM_TRACK_DIFF);
	EIO_ERRNO(EOPNOTSUPP, rvm_map(&region, NULL));
	OK(rvm_terminate());
}

/* The system call fails from now on. */
static void deny_userfaultfd(struct __test_metadata *_metadata, int error)
{
	struct sock_filter filter[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_userfaultfd, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | error),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = { sizeof(filter) / sizeof(filter[0]), filter };

	ASSERT_EQ(0, prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
	ASSERT_EQ(0, prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program));
}

static void is_denied(CHILD_ARGS)
{
	struct rlimit files = { 0 }, before;
	rvm_options_t options;
	struct sigaction now;
	rvm_tid_t tid;
	int next = dup(0);

	close(next);
	begin_unmapped(_metadata, f, RVM_TRACK_DIFF);
	/* it is made after the log's and the segment's descriptors, which stay */
	OK(rvm_map(&region, NULL));
	OK(rvm_unmap(&region));
	region.vmaddr = NULL;
	ASSERT_EQ(0, getrlimit(RLIMIT_NOFILE, &before));
	files = before;
	for (files.rlim_cur = next; files.rlim_cur < 100u; files.rlim_cur++) {
		ASSERT_EQ(0, setrlimit(RLIMIT_NOFILE, &files));
		if (!rvm_map(&region, NULL))
			break;
		ASSERT_EQ(EMFILE, errno);
	}
	ASSERT_TRUE(files.rlim_cur < 100u);
	OK(rvm_unmap(&region));
	region.vmaddr = NULL;
	ASSERT_EQ(0, setrlimit(RLIMIT_NOFILE, &before));

	deny_userfaultfd(_metadata, ENOSYS);
	EIO_ERRNO(ENOSYS, rvm_map(&region, NULL));
	deny_userfaultfd(_metadata, EPERM);
	EIO_ERRNO(EPERM, rvm_map(&region, NULL));
	ASSERT_EQ(0, sigaction(SIGBUS, NULL, &now));
	ASSERT_TRUE(now.sa_handler == SIG_DFL);
	/* mprotect is there */
	rvm_init_options(&options);
	options.flags = RVM_TRACK_DIFF;
	OK(rvm_map(&region, &options));
	tid = begin(_metadata);
	region.vmaddr[0] = 1;
	OK(rvm_end_transaction(&tid, flush));
	OK(rvm_terminate());
}

TEST_F(mechanism, denied)
{
	const struct files *f = &self->f;

	KNOWN_HERE();
	if (!mechanism)
		SKIP(return, "mprotect can't be denied");
	CHILD_OK(is_denied);
}

static void is_private(CHILD_ARGS)
{
	rvm_options_t options;

	begin_unmapped(_metadata, f, 0);
	rvm_init_options(&options);
	options.flags = RVM_TRACK_CHECK | RVM_TRACK_USERFAULTFD | RVM_MAP_PRIVATE;
	EIO_ERRNO(EINVAL, rvm_map(&region, &options));
	options.flags &= ~RVM_MAP_PRIVATE;
	OK(rvm_map(&region, &options));
	OK(rvm_terminate());
}

TEST_F(api, private_map)
{
	const struct files *f = &self->f;

	mechanism = 0;
	CHILD_OK(is_private);
}

/* Without any right. */
static void is_nobody(CHILD_ARGS)
{
	rvm_tid_t tid;

	if (!getuid()) {
		ASSERT_EQ(0, setgid(65534));
		ASSERT_EQ(0, setuid(65534));
		/* as after an exec: it may look at itself */
		ASSERT_EQ(0, prctl(PR_SET_DUMPABLE, 1));
	}
	begin_all(_metadata, f, RVM_TRACK_DIFF);
	tid = begin(_metadata);
	memory[0] = 1;
	OK(rvm_end_transaction(&tid, no_flush));
	tid = begin(_metadata);
	memset(memory, 2, LENGTH);
	OK(rvm_abort_transaction(&tid));
	ASSERT_EQ(1, memory[0]);
	ASSERT_TRUE(all_are(memory + 1, 0, LENGTH - 1));
	OK(rvm_terminate());
}

TEST_F(mechanism, unprivileged)
{
	const struct files *f = &self->f;

	KNOWN_HERE();
	CHILD_OK(is_nobody);
}

TEST_HARNESS_MAIN
