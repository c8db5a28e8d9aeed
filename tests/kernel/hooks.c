// SPDX-License-Identifier: GPL-2.0 OR MIT
/*
 * Description: changes found by page faults: whose they are, when they are
 * refused, what is logged, and who waits for whom.
 */
#include "kernel.h"
#include "null_blk.h"

#include <setjmp.h>
#include <sys/sysmacros.h>
#include <sys/uio.h>

#include <linux/io_uring.h>

#define PAGES	(LENGTH / PAGE)

FIXTURE(tracking) {
	struct world w;
};

FIXTURE_VARIANT(tracking) {
	uint32_t flags;
};

FIXTURE_VARIANT_ADD(tracking, diff) { RVM_SEGMENT_DIFF };
FIXTURE_VARIANT_ADD(tracking, pages) { RVM_SEGMENT_PAGES };
FIXTURE_VARIANT_ADD(tracking, strict) { RVM_SEGMENT_DIFF | RVM_SEGMENT_STRICT };

static int open_as(struct world *w, uint32_t flags)
{
	w->log = attach(w->f.log);
	if (w->log < 0)
		return -1;
	w->segment = segment_as(w->log, w->f.segment, flags);
	if (w->segment < 0 || recover(w->log, NULL, NULL) || set_truncate(w->log, 0))
		return -1;
	w->area = map(w->log, AREA);
	w->memory = map(w->segment, LENGTH);
	return w->area == MAP_FAILED || w->memory == MAP_FAILED ? -1 : 0;
}

static int reopen_as(struct world *w, uint32_t flags)
{
	close_world(w);
	return open_as(w, flags);
}

FIXTURE_SETUP(tracking)
{
	ASSERT_TRUE(module_is_free());
	WORKS(make_files(&self->w.f, 512 * KIB));
	WORKS(open_as(&self->w, variant->flags));
}

FIXTURE_TEARDOWN(tracking)
{
	close_world(&self->w);
	remove_files(&self->w.f);
}

/* --- transactions ------------------------------------------------------- */

/* As the library does it; how much had been stored to hot pages outside, or -1. */
static long begin(int log, struct rvm_area_header *area)
{
	struct rvm_ioc_found found[RVM_FOUND_MAX];
	uint64_t count = 0;

	if (area->hot && begin_id(log, area->area, found, RVM_FOUND_MAX, &count))
		return -1;
	__atomic_store_n(&area->open, 1, __ATOMIC_SEQ_CST);
	return count;
}

#define BEGIN(w)	ASSERT_EQ(0, begin((w)->log, (w)->area))

/* --- stores that fail --------------------------------------------------- */

static sigjmp_buf stored;
static void *fault_address;

static void on_fault(int signal, siginfo_t *info, void *context)
{
	(void)context;
	fault_address = info->si_addr;
	siglongjmp(stored, signal);
}

/* The signal that a store gets, or 0. */
static int store(volatile char *to, int value)
{
	struct sigaction action = { .sa_sigaction = on_fault, .sa_flags = SA_SIGINFO }, segv, bus;
	int signal;

	fault_address = NULL;
	sigaction(SIGSEGV, &action, &segv);
	sigaction(SIGBUS, &action, &bus);
	signal = sigsetjmp(stored, 1);
	if (!signal)
		*to = value;
	sigaction(SIGSEGV, &segv, NULL);
	sigaction(SIGBUS, &bus, NULL);
	return signal;
}

/* --- one process -------------------------------------------------------- */

TEST_F(tracking, commit_and_recover)
{
	struct world *w = &self->w;
	unsigned int i;

	for (i = 1; i < 30; i++) {
		BEGIN(w);
		memset(w->memory + i * 1000, i, 1000);
		w->memory[17] = i;
		WORKS(commit(w->log, w->area, i % 3 ? 0 : RVM_COMMIT_FLUSH));
		ASSERT_EQ(0, w->area->open);
		BEGIN(w);
		memset(w->memory + i * 1000, 99, 20);
		w->memory[PAGE * 15 + i] = 99;
		WORKS(do_abort(w->log, w->area));
		ASSERT_TRUE(all_are(w->memory + i * 1000, i, 1000));
		ASSERT_EQ(0, w->memory[PAGE * 15 + i]);
		if (i % 7 == 0)
			WORKS(reopen_as(w, variant->flags));
		if (i % 10 == 0)
			WORKS(truncate_log(w->log));
	}
	WORKS(reopen_as(w, variant->flags));
	for (i = 1; i < 30; i++)
		ASSERT_TRUE(all_are(w->memory + i * 1000, i, 1000));
	ASSERT_EQ(29, w->memory[17]);
	ASSERT_TRUE(all_are(w->memory + 30 * 1000, 0, LENGTH - 30 * 1000));
	ASSERT_TRUE(all_are(w->memory + 18, 0, 900));
	WORKS(truncate_log(w->log));
	for (i = 1; i < 30; i++)
		ASSERT_TRUE(file_is(w->f.segment, i * 1000, i, 1000));
}

/* diff logs what changed, and pages the whole of each page that did. */
TEST_F(tracking, what_is_logged)
{
	struct world *w = &self->w;
	bool whole = variant->flags & RVM_SEGMENT_PAGES;
	uint64_t before, used;

	BEGIN(w);
	w->memory[100] = 1;
	w->memory[PAGE + 100] = 1;
	WORKS(commit(w->log, w->area, RVM_COMMIT_FLUSH));

	before = query(w->log).log_bytes;
	BEGIN(w);
	w->memory[100] = 2;
	w->memory[110] = 2;
	w->memory[3000] = 2;
	w->memory[PAGE + 100] = 1;	/* what it is */
	WORKS(commit(w->log, w->area, RVM_COMMIT_FLUSH));
	used = query(w->log).log_bytes - before;
	ASSERT_EQ(whole, used > PAGE);	/* beyond one block of the file system */
	ASSERT_TRUE(used <= 2 * PAGE);

	/* nothing changed: nothing is written */
	before = query(w->log).log_bytes;
	BEGIN(w);
	w->memory[100] = 3;
	w->memory[100] = 2;
	WORKS(commit(w->log, w->area, RVM_COMMIT_FLUSH));
	ASSERT_EQ(before, query(w->log).log_bytes);
}

TEST_F(tracking, store_outside_of_a_transaction)
{
	struct world *w = &self->w;
	struct rvm_ioc_found found[RVM_FOUND_MAX];
	bool strict = variant->flags & RVM_SEGMENT_STRICT;
	uint64_t count;

	/* on a page that was never stored to, seen or not */
	ASSERT_EQ(SIGSEGV, store(w->memory + 5 * PAGE + 7, 1));
	ASSERT_EQ(w->memory + 5 * PAGE + 7, fault_address);
	ASSERT_EQ(0, w->memory[6 * PAGE]);
	ASSERT_EQ(SIGSEGV, store(w->memory + 6 * PAGE, 1));

	BEGIN(w);
	ASSERT_EQ(0, store(w->memory + 10, 1));
	ASSERT_EQ(0, store(w->memory + PAGE + 10, 1));
	ASSERT_NE(0, w->area->hot);
	WORKS(commit(w->log, w->area, 0));
	ASSERT_EQ(strict, !w->area->hot);

	if (strict) {
		ASSERT_EQ(SIGSEGV, store(w->memory + 11, 9));
		return;
	}
	/* hot: not at once, but it is put back, and told by the next begin */
	ASSERT_EQ(0, store(w->memory + 11, 9));
	ASSERT_EQ(0, store(w->memory + 4095, 9));
	ASSERT_EQ(0, store(w->memory + PAGE, 9));
	WORKS(begin_id(w->log, w->area->area, found, RVM_FOUND_MAX, &count));
	ASSERT_EQ(3, count);
	EXPECT_EQ((uintptr_t)w->memory + 11, found[0].address);
	EXPECT_EQ(1, found[0].length);
	EXPECT_EQ((uintptr_t)w->memory + 4095, found[1].address);
	EXPECT_EQ((uintptr_t)w->memory + PAGE, found[2].address);
	ASSERT_EQ(0, w->memory[11]);
	ASSERT_EQ(1, w->memory[10]);
	WORKS(begin_id(w->log, w->area->area, found, RVM_FOUND_MAX, &count));
	ASSERT_EQ(0, count);
	BEGIN(w);
	WORKS(commit(w->log, w->area, RVM_COMMIT_FLUSH));
	WORKS(reopen_as(w, variant->flags));
	ASSERT_EQ(1, w->memory[10]);
	ASSERT_EQ(0, w->memory[11]);
}

static uint64_t faults(struct world *w)
{
	char path[200], line[100];
	struct stat st;
	uint64_t n = ~0ull;
	FILE *file;

	stat(w->f.log, &st);
	mount("none", "/sys/kernel/debug", "debugfs", 0, NULL);
	snprintf(path, sizeof(path), "/sys/kernel/debug/rvm/%u:%u:%lu/counters", major(st.st_dev),
		 minor(st.st_dev), st.st_ino);
	file = fopen(path, "r");
	while (file && fgets(line, sizeof(line), file))
		sscanf(line, "write_faults %lu", &n);
	if (file)
		fclose(file);
	return n;
}

/* A page stays writable while transactions store to it, and for one that doesn't. */
TEST_F(tracking, hot_and_cold)
{
	struct world *w = &self->w;
	bool strict = variant->flags & RVM_SEGMENT_STRICT;
	uint64_t before = faults(w);
	unsigned int i;

	for (i = 1; i <= 10; i++) {
		BEGIN(w);
		w->memory[0] = i;
		WORKS(commit(w->log, w->area, 0));
	}
	ASSERT_EQ(before + (strict ? 10 : 1), faults(w));
	if (strict)
		return;
	BEGIN(w);
	WORKS(commit(w->log, w->area, 0));
	ASSERT_NE(0, w->area->hot);
	BEGIN(w);
	w->memory[0] = 20;
	WORKS(commit(w->log, w->area, 0));
	ASSERT_EQ(before + 1, faults(w));
	for (i = 0; i < 2; i++) {
		BEGIN(w);
		WORKS(commit(w->log, w->area, 0));
	}
	ASSERT_EQ(0, w->area->hot);
	ASSERT_EQ(SIGSEGV, store(w->memory, 1));
	BEGIN(w);
	w->memory[0] = 21;
	WORKS(commit(w->log, w->area, 0));
	ASSERT_EQ(before + 2, faults(w));
}

/* What a transaction reads is neither logged nor hot. */
TEST_F(tracking, read_only)
{
	struct world *w = &self->w;

	BEGIN(w);
	ASSERT_TRUE(all_are(w->memory, 0, LENGTH));
	ASSERT_EQ(0, w->area->hot);
	WORKS(commit(w->log, w->area, RVM_COMMIT_FLUSH));
	ASSERT_EQ(0, w->area->hot);
	ASSERT_EQ(0, query(w->log).log_used);
}

/* Truncation takes committed bytes alone, and leaves the open transaction its own. */
TEST_F(tracking, truncation_meanwhile)
{
	struct world *w = &self->w;
	unsigned int i;

	BEGIN(w);
	memset(w->memory, 1, 3 * PAGE);
	WORKS(commit(w->log, w->area, 0));
	BEGIN(w);
	memset(w->memory + PAGE, 2, 3 * PAGE);
	for (i = 0; i < 3; i++) {
		WORKS(truncate_log(w->log));
		ASSERT_TRUE(file_is(w->f.segment, 0, 1, 3 * PAGE));
		ASSERT_TRUE(file_is(w->f.segment, 3 * PAGE, 0, PAGE));
		ASSERT_EQ(0, store(w->memory + 3 * PAGE + 50 + i, 3));
	}
	WORKS(commit(w->log, w->area, 0));
	for (i = 0; i < 3; i++)
		WORKS(truncate_log(w->log));
	ASSERT_TRUE(file_is(w->f.segment, 0, 1, PAGE));
	ASSERT_TRUE(file_is(w->f.segment, PAGE, 2, 2 * PAGE + 50));
	ASSERT_TRUE(file_is(w->f.segment, 3 * PAGE + 50, 3, 3));
	ASSERT_TRUE(file_is(w->f.segment, 3 * PAGE + 53, 2, PAGE - 53));
	/* clean: what others store to must be noticed again */
	ASSERT_EQ(SIGSEGV, store(w->memory, 9));
	BEGIN(w);
	w->memory[0] = 4;
	WORKS(do_abort(w->log, w->area));
	ASSERT_EQ(1, w->memory[0]);
}

TEST_F(tracking, too_big)
{
	struct world *w = &self->w;
	char *large;
	int fd;

	WORKS(truncate(w->f.segment, 0));
	munmap(w->memory, LENGTH);
	close(w->segment);
	WORKS(make_file(w->f.segment, 1 * MIB, 0));
	fd = segment_as(w->log, w->f.segment, variant->flags);
	WORKS(fd);
	large = map(fd, 1 * MIB);
	ASSERT_NE(MAP_FAILED, large);
	BEGIN(w);
	memset(large, 1, 1 * MIB);
	FAILS(EFBIG, commit(w->log, w->area, 0));
	ASSERT_EQ(1, w->area->open);
	ASSERT_TRUE(all_are(large, 1, 1 * MIB));
	/* less of it fits */
	memset(large + 100 * KIB, 0, 924 * KIB);
	WORKS(commit(w->log, w->area, 0));
	BEGIN(w);
	memset(large, 2, 1 * MIB);
	FAILS(EFBIG, commit(w->log, w->area, 0));
	WORKS(do_abort(w->log, w->area));
	ASSERT_TRUE(all_are(large, 1, 100 * KIB));
	ASSERT_TRUE(all_are(large + 100 * KIB, 0, 924 * KIB));
	munmap(large, 1 * MIB);
	w->segment = fd;
	w->memory = map(fd, LENGTH);
}

/* The bytes behind a segment's end, in its last page, are nobody's. */
TEST_F(tracking, end_of_segment)
{
	struct world *w = &self->w;

	munmap(w->memory, LENGTH);
	close(w->segment);
	WORKS(make_file(w->f.segment, LENGTH - 1000, 0));
	WORKS(w->segment = segment_as(w->log, w->f.segment, variant->flags));
	w->memory = map(w->segment, LENGTH);
	ASSERT_NE(MAP_FAILED, w->memory);
	BEGIN(w);
	memset(w->memory + LENGTH - 1100, 1, 1100);
	WORKS(commit(w->log, w->area, RVM_COMMIT_FLUSH));
	WORKS(truncate_log(w->log));
	WORKS(reopen_as(w, variant->flags));
	ASSERT_TRUE(all_are(w->memory + LENGTH - 1100, 1, 100));
	ASSERT_TRUE(all_are(w->memory + LENGTH - 1000, 0, 1000));
}

/* System calls that store are seen, and refused outside of a transaction. */
TEST_F(tracking, system_calls)
{
	struct world *w = &self->w;
	char *buffer = aligned_alloc(PAGE, PAGE);
	struct iovec from = { buffer, PAGE }, to;
	int pair[2], file;
	char device[60];

	if (access(NULL_BLK, X_OK))
		SKIP(return, "null_blk is not loaded");
	memset(buffer, 7, PAGE);
	WORKS(socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
	WORKS(write(pair[0], buffer, 100));
	FAILS(EFAULT, recv(pair[1], w->memory, 100, 0));
	to = (struct iovec){ w->memory + PAGE, PAGE };
	FAILS(EFAULT, process_vm_writev(getpid(), &from, 1, &to, 1, 0));

	/* direct I/O, into pages that it holds */
	WORKS(make_device(device, "rvmdirect", "1", "512"));
	WORKS(file = open(device, O_RDWR | O_DIRECT | O_CLOEXEC));
	ASSERT_EQ(PAGE, pwrite(file, buffer, PAGE, 0));
	FAILS(EFAULT, pread(file, w->memory + 3 * PAGE, PAGE, 0));
	BEGIN(w);
	WORKS(write(pair[0], buffer, 100));
	ASSERT_EQ(100, recv(pair[1], w->memory + 50, 100, 0));
	ASSERT_EQ(PAGE, process_vm_writev(getpid(), &from, 1, &to, 1, 0));
	ASSERT_EQ(PAGE, pread(file, w->memory + 3 * PAGE, PAGE, 0));
	WORKS(commit(w->log, w->area, RVM_COMMIT_FLUSH));
	WORKS(reopen_as(w, variant->flags));
	ASSERT_TRUE(all_are(w->memory + 50, 7, 100));
	ASSERT_TRUE(all_are(w->memory + PAGE, 7, PAGE));
	ASSERT_TRUE(all_are(w->memory + 3 * PAGE, 7, PAGE));
	WORKS(remove_device("rvmdirect"));
	close(file);
	close(pair[0]);
	close(pair[1]);
	free(buffer);
}

/*
 * A buffer that is registered stays pinned, and whoever stores to it does so unseen:
 * the kernel takes no memory of files for one.
 */
TEST_F(tracking, registered_buffer)
{
	struct world *w = &self->w;
	struct iovec buffer = { w->memory, PAGE };
	struct io_uring_params params = { .flags = 0 };
	int ring = syscall(SYS_io_uring_setup, 2, &params);

	WORKS(ring);
	BEGIN(w);
	ASSERT_EQ(-1, syscall(SYS_io_uring_register, ring, IORING_REGISTER_BUFFERS, &buffer, 1));
	ASSERT_TRUE(errno == EOPNOTSUPP || errno == EFAULT) TH_LOG("%s", strerror(errno));
	WORKS(do_abort(w->log, w->area));
	close(ring);
}

/* What goes in the middle of a transaction takes its changes along. */
TEST_F(tracking, unmapped_meanwhile)
{
	struct world *w = &self->w;
	char *other = map_at(NULL, w->segment, PAGE, 0);

	BEGIN(w);
	memset(w->memory, 1, 2 * PAGE);
	munmap(w->memory, LENGTH);
	ASSERT_TRUE(all_are(other, 1, PAGE));	/* it is mapped once more by this process */
	munmap(other, PAGE);
	w->memory = map(w->segment, LENGTH);
	ASSERT_TRUE(all_are(w->memory, 0, 2 * PAGE));
	memset(w->memory + PAGE, 2, 100);
	WORKS(commit(w->log, w->area, 0));
	ASSERT_TRUE(all_are(w->memory, 0, PAGE));

	BEGIN(w);
	memset(w->memory, 3, 3 * PAGE);
	munmap(w->area, AREA);
	ASSERT_TRUE(all_are(w->memory, 0, PAGE));
	ASSERT_TRUE(all_are(w->memory + PAGE, 2, 100));
	w->area = map(w->log, AREA);
	ASSERT_NE(0, w->area->hot);
	w->memory[5] = 9;
	ASSERT_EQ(1, begin(w->log, w->area));
	ASSERT_EQ(0, w->memory[5]);
	w->memory[6] = 4;
	WORKS(commit(w->log, w->area, RVM_COMMIT_FLUSH));
	WORKS(reopen_as(w, variant->flags));
	ASSERT_EQ(4, w->memory[6]);
}

TEST_F(tracking, bad_arguments)
{
	struct world *w = &self->w;
	struct rvm_ioc_begin a = { .size = sizeof(a), .area = w->area->area };
	uint64_t count;
	uint32_t bad[] = {
		RVM_SEGMENT_STRICT, RVM_SEGMENT_CHECK | RVM_SEGMENT_STRICT,
		RVM_SEGMENT_CHECK | RVM_SEGMENT_DIFF, RVM_SEGMENT_DIFF | RVM_SEGMENT_PAGES, 16,
	};
	unsigned int i;
	int other;

	for (i = 0; i < ARRAY_LENGTH(bad); i++)
		FAILS(EINVAL, segment_as(w->log, w->f.segment, bad[i]));
	/* tracked regions and others don't mix */
	WORKS(other = segment_as(w->log, w->f.segment, 0));
	ASSERT_EQ(MAP_FAILED, map(other, PAGE));
	ASSERT_EQ(EBUSY, errno);
	munmap(w->memory, LENGTH);
	w->memory = map(other, LENGTH);
	ASSERT_NE(MAP_FAILED, w->memory);
	ASSERT_EQ(MAP_FAILED, map(w->segment, PAGE));
	ASSERT_EQ(EBUSY, errno);
	munmap(w->memory, LENGTH);
	close(other);
	w->memory = map(w->segment, LENGTH);
	ASSERT_NE(MAP_FAILED, w->memory);

	FAILS(ENOENT, begin_id(w->log, 12345, NULL, 0, &count));
	FAILS(EINVAL, begin_id(w->log, w->area->area, NULL, RVM_FOUND_MAX + 1, &count));
	a.flags = 1;
	FAILS(EINVAL, ioctl(w->log, RVM_IOC_BEGIN, &a));
	a.flags = 0;
	FAILS(EFAULT, ioctl(w->log, RVM_IOC_BEGIN, hole()));
	BEGIN(w);
	FAILS(EBUSY, begin_id(w->log, w->area->area, NULL, 0, &count));
	/* what is tracked can't be declared */
	declare(w->area, w->memory, 10);
	FAILS(EFAULT, commit(w->log, w->area, 0));
	memset(w->memory, 1, 10);
	WORKS(do_abort(w->log, w->area));
	ASSERT_TRUE(all_are(w->memory, 0, 10));
	/* not with nowhere to tell */
	BEGIN(w);
	w->memory[0] = 1;
	WORKS(commit(w->log, w->area, 0));
	if (variant->flags & RVM_SEGMENT_STRICT)
		return;
	w->memory[0] = 2;
	FAILS(EFAULT, begin_id(w->log, w->area->area, (void *)hole(), 1, &count));
	ASSERT_EQ(1, w->memory[0]);
}

/* More pages than are kept hot. */
TEST_F(tracking, many_pages)
{
	struct world *w = &self->w;
	const unsigned long length = 700 * PAGE;
	unsigned int i, round;
	char *large;
	int fd;

	munmap(w->memory, LENGTH);
	close(w->segment);
	WORKS(make_file(w->f.segment, length, 0));
	WORKS(fd = segment_as(w->log, w->f.segment, variant->flags));
	large = map(fd, length);
	ASSERT_NE(MAP_FAILED, large);
	for (round = 1; round < 4; round++) {
		unsigned int pages = variant->flags & RVM_SEGMENT_PAGES ? 100 : 700;

		BEGIN(w);
		for (i = 0; i < pages; i++)
			large[i * PAGE + i] = round;
		WORKS(commit(w->log, w->area, 0));
		ASSERT_TRUE(w->area->hot <= 513);
		WORKS(truncate_log(w->log));
		for (i = 0; i < pages; i++)
			ASSERT_TRUE(file_is(w->f.segment, i * PAGE + i, round, 1));
	}
	munmap(large, length);
	w->segment = fd;
	w->memory = map(fd, LENGTH);
}

/* --- several processes -------------------------------------------------- */

#define TURNS	200

/* A counter that nobody locks: a page belongs to one transaction at a time. */
TEST_F(tracking, processes_take_turns)
{
	struct world *w = &self->w;
	unsigned int i, n;
	int status;

	for (i = 0; i < 4; i++) {
		if (fork())
			continue;
		struct rvm_area_header *area = map(w->log, AREA);
		volatile unsigned int *memory = map(w->segment, LENGTH);

		for (n = 0; n < TURNS; n++) {
			if (begin(w->log, area))
				_exit(1);
			/* who reads it first may see what is not committed */
			if (n % 7 == 3) {
				memory[0] = 0;
				memory[PAGE * 2 / sizeof(int) + i] = 77;
				if (do_abort(w->log, area) || begin(w->log, area))
					_exit(2);
			}
			memory[1] = i;
			++memory[0];
			++memory[PAGE * (3 + i) / sizeof(int)];
			if (commit(w->log, area, n % 20 == 0 ? RVM_COMMIT_FLUSH : 0))
				_exit(3);
		}
		/* and one that is never finished */
		if (begin(w->log, area))
			_exit(4);
		memory[0] = 12345678;
		_exit(0);
	}
	for (n = 0; n < 3; n++)
		WORKS(truncate_log(w->log));
	for (i = 0; i < 4; i++) {
		wait(&status);
		ASSERT_EQ(0, status);
	}
	ASSERT_EQ(4 * TURNS, *(unsigned int *)w->memory);
	for (i = 0; i < 4; i++)
		ASSERT_EQ(TURNS, *(unsigned int *)(w->memory + PAGE * (3 + i)));
	ASSERT_TRUE(all_are(w->memory + 2 * PAGE, 0, PAGE));
	WORKS(truncate_log(w->log));
	ASSERT_EQ(4 * TURNS, *(unsigned int *)w->memory);
}

struct stage {
	int stage;
	int signals[2];
};

static void reach(struct stage *stage, int n)
{
	__atomic_store_n(&stage->stage, n, __ATOMIC_SEQ_CST);
}

static void await(struct stage *stage, int n)
{
	while (__atomic_load_n(&stage->stage, __ATOMIC_SEQ_CST) < n)
		sleep_us(1000);
}

/* A store waits for the other's transaction, and sees what it committed. */
TEST_F(tracking, waits_for_commit)
{
	struct world *w = &self->w;
	struct stage *stage = shared_memory(PAGE);
	int status, how;
	pid_t pid;

	for (how = 0; how < 4; how++) {
		reach(stage, 0);
		pid = fork();
		if (!pid) {
			struct rvm_area_header *area = map(w->log, AREA);
			char *memory = map(w->segment, LENGTH);

			begin(w->log, area);
			memset(memory, 10 + how, 100);
			reach(stage, 1);
			sleep_us(300000);
			if (how == 0)
				_exit(commit(w->log, area, 0) ? 1 : 0);
			if (how == 1)
				_exit(do_abort(w->log, area) ? 1 : 0);
			if (how == 2)
				munmap(area, AREA);
			else
				raise(SIGKILL);
			_exit(0);
		}
		await(stage, 1);
		BEGIN(w);
		/* it adds to what was committed */
		ASSERT_EQ(0, store(w->memory + 50, 1));
		ASSERT_TRUE(all_are(w->memory, 10, 50));
		WORKS(commit(w->log, w->area, 0));
		ASSERT_EQ(pid, waitpid(pid, &status, 0));
		ASSERT_EQ(how == 3 ? SIGKILL : 0, status);
		ASSERT_TRUE(all_are(w->memory, 10, 50));
		ASSERT_EQ(1, w->memory[50]);
		ASSERT_TRUE(all_are(w->memory + 51, 10, 49));
	}
}

/* One of two that wait for each other gets SIGBUS, and when it aborts the other goes on. */
TEST_F(tracking, deadlock)
{
	struct world *w = &self->w;
	struct stage *stage = shared_memory(PAGE);
	int i, status;

	for (i = 0; i < 2; i++) {
		if (fork())
			continue;
		struct rvm_area_header *area = map(w->log, AREA);
		char *memory = map(w->segment, LENGTH);

		begin(w->log, area);
		memory[i * PAGE] = 1 + i;
		__atomic_add_fetch(&stage->stage, 1, __ATOMIC_SEQ_CST);
		await(stage, 2);
		stage->signals[i] = store(memory + !i * PAGE + 1, 1 + i);
		if (stage->signals[i])
			_exit(do_abort(w->log, area) ? 1 : 0);
		_exit(commit(w->log, area, 0) ? 2 : 0);
	}
	for (i = 0; i < 2; i++) {
		wait(&status);
		ASSERT_EQ(0, status);
	}
	ASSERT_EQ(SIGBUS, stage->signals[0] + stage->signals[1]);
	i = !!stage->signals[0];	/* who went on */
	ASSERT_EQ(1 + i, w->memory[i * PAGE]);
	ASSERT_EQ(1 + i, w->memory[!i * PAGE + 1]);
	ASSERT_EQ(0, w->memory[!i * PAGE]);
}

/* Another process may take a hot page; what was stored to it outside is told and gone. */
TEST_F(tracking, hot_page_of_another)
{
	struct world *w = &self->w;

	BEGIN(w);
	memset(w->memory, 1, 100);
	WORKS(commit(w->log, w->area, 0));
	if (!(variant->flags & RVM_SEGMENT_STRICT))
		w->memory[200] = 9;
	CHILD({
		struct rvm_area_header *area = map(w->log, AREA);
		char *memory = map(w->segment, LENGTH);

		ASSERT_EQ(0, begin(w->log, area));
		memory[50] = 2;
		WORKS(commit(w->log, area, 0));
	});
	ASSERT_EQ(2, w->memory[50]);
	ASSERT_EQ(0, w->memory[200]);
	if (variant->flags & RVM_SEGMENT_STRICT)
		return;
	ASSERT_NE(0, w->area->hot);
	/* whichever area it is in */
	munmap(w->area, AREA);
	w->area = map(w->log, AREA);
	ASSERT_NE(0, w->area->hot);
	ASSERT_EQ(1, begin(w->log, w->area));
	w->memory[51] = 3;
	WORKS(commit(w->log, w->area, 0));
	ASSERT_EQ(2, w->memory[50]);
	ASSERT_EQ(3, w->memory[51]);
}

/* A system call's store doesn't wait for ever: its task may hold what the owner needs. */
TEST_F(tracking, system_call_waits)
{
	struct world *w = &self->w;
	struct stage *stage = shared_memory(PAGE);
	int pair[2], status;
	pid_t pid, busy;

	WORKS(socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
	pid = fork();
	if (!pid) {
		struct rvm_area_header *area = map(w->log, AREA);
		char *memory = map(w->segment, LENGTH);

		begin(w->log, area);
		memory[0] = 1;
		reach(stage, 1);
		await(stage, 2);
		_exit(commit(w->log, area, 0) ? 1 : 0);
	}
	await(stage, 1);
	/* others go on all the time */
	busy = fork();
	if (!busy) {
		struct rvm_area_header *area = map(w->log, AREA);
		char *memory = map(w->segment, LENGTH);

		while (__atomic_load_n(&stage->stage, __ATOMIC_SEQ_CST) < 2) {
			begin(w->log, area);
			memory[2 * PAGE]++;
			if (commit(w->log, area, 0))
				_exit(1);
			sleep_us(1000);
		}
		_exit(0);
	}
	BEGIN(w);
	WORKS(write(pair[0], "abc", 3));
	FAILS(EFAULT, recv(pair[1], w->memory, 3, 0));
	reach(stage, 2);
	ASSERT_EQ(busy, waitpid(busy, &status, 0));
	ASSERT_EQ(0, status);
	WORKS(write(pair[0], "abc", 3));
	ASSERT_EQ(3, recv(pair[1], w->memory + 10, 3, 0));
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	ASSERT_EQ(0, status);
	ASSERT_EQ(1, w->memory[0]);
	WORKS(commit(w->log, w->area, 0));
	ASSERT_EQ(0, memcmp(w->memory + 10, "abc", 3));
}

/* Killed at any moment: the rest goes on, and finds what was committed. */
TEST_F(tracking, killed)
{
	struct world *w = &self->w;
	unsigned int *counts = shared_memory(PAGE), before, i, round;
	pid_t pids[3];

	for (round = 0; round < 20; round++) {
		for (i = 0; i < 3; i++) {
			pids[i] = fork();
			if (pids[i])
				continue;
			struct rvm_area_header *area = map(w->log, AREA);
			volatile unsigned int *memory = map(w->segment, LENGTH);

			for (;;) {
				begin(w->log, area);
				memory[1] = i;
				++memory[0];
				memory[PAGE / sizeof(int) + 1] = i;
				++memory[PAGE / sizeof(int)];
				if (commit(w->log, area, 0))
					_exit(1);
				__atomic_add_fetch(counts, 1, __ATOMIC_SEQ_CST);
			}
		}
		sleep_us(20000 + next_random() % 30000);
		for (i = 0; i < 3; i++)
			kill(pids[i], SIGKILL);
		for (i = 0; i < 3; i++)
			waitpid(pids[i], NULL, 0);
		before = *(unsigned int *)w->memory;
		ASSERT_EQ(before, *(unsigned int *)(w->memory + PAGE));
		/* some were committed, and not counted any more */
		ASSERT_TRUE(before >= *counts && before <= *counts + 3 * (round + 1));
		WORKS(truncate_log(w->log));
		ASSERT_EQ(before, *(unsigned int *)w->memory);
	}
	ASSERT_NE(0, *counts);
}

/* --- checked regions ---------------------------------------------------- */

FIXTURE(check) {
	struct world w;
};

/* What the last commit told. */
static struct rvm_ioc_found found[RVM_FOUND_MAX];
static uint64_t count;

FIXTURE_SETUP(check)
{
	ASSERT_TRUE(module_is_free());
	WORKS(make_files(&self->w.f, 512 * KIB));
	WORKS(open_as(&self->w, RVM_SEGMENT_CHECK));
}

FIXTURE_TEARDOWN(check)
{
	close_world(&self->w);
	remove_files(&self->w.f);
}

static int commit_checked(const struct world *w, uint32_t flags)
{
	struct rvm_ioc_commit a = {
		.size = sizeof(a), .flags = flags, .area = w->area->area,
		.room = RVM_FOUND_MAX, .found = (uintptr_t)found,
	};
	int ret = ioctl(w->log, RVM_IOC_COMMIT, &a);

	count = a.count;
	return ret;
}

#define FOUND(i, at, bytes) do {						\
	EXPECT_EQ((uintptr_t)self->w.memory + (at), found[i].address);	\
	EXPECT_EQ((bytes), found[i].length);				\
} while (0)

TEST_F(check, finds_undeclared)
{
	struct world *w = &self->w;
	static const struct { unsigned long at, length; } places[] = {
		{ 0, 1 }, { 4095, 1 }, { PAGE, PAGE }, { 3 * PAGE - 3, 6 }, { LENGTH - 1, 1 },
		{ 5 * PAGE + 100, 8 },
	};
	unsigned int i;

	set(w->area, w->memory + 200, 1, 100);
	WORKS(commit_checked(w, 0));
	ASSERT_EQ(0, count);
	for (i = 0; i < ARRAY_LENGTH(places); i++) {
		bool two = places[i].at % PAGE + places[i].length > PAGE;

		/* before the transaction, or in it */
		if (i % 2)
			memset(w->memory + places[i].at, 2 + i, places[i].length);
		set(w->area, w->memory + 200, i, 100);
		if (!(i % 2))
			memset(w->memory + places[i].at, 2 + i, places[i].length);
		WORKS(commit_checked(w, 0));
		ASSERT_EQ(1 + two, count);
		FOUND(0, places[i].at, two ? PAGE - places[i].at % PAGE : places[i].length);
		/* once */
		set(w->area, w->memory + 200, i, 50);
		WORKS(commit_checked(w, 0));
		ASSERT_EQ(0, count);
	}
	/* and again if it changes */
	w->memory[0] = 99;
	WORKS(commit_checked(w, 0));
	ASSERT_EQ(1, count);
	FOUND(0, 0, 1);
	/* none of it is durable */
	WORKS(reopen_as(w, RVM_SEGMENT_CHECK));
	ASSERT_EQ(0, w->memory[0]);
	ASSERT_TRUE(all_are(w->memory + 200, 5, 100));
	ASSERT_TRUE(all_are(w->memory + PAGE, 0, PAGE));
}

TEST_F(check, beside_declared)
{
	struct world *w = &self->w;

	declare(w->area, w->memory + 100, 50);
	declare(w->area, w->memory + 140, 60);
	declare(w->area, w->memory + PAGE - 10, 20);
	memset(w->memory + 90, 1, 120);
	memset(w->memory + PAGE - 11, 1, 22);
	WORKS(commit_checked(w, 0));
	ASSERT_EQ(4, count);
	FOUND(0, 90, 10);
	FOUND(1, 200, 10);
	FOUND(2, PAGE - 11, 1);
	FOUND(3, PAGE + 10, 1);
	/* what an abort leaves under no_restore counts as undeclared */
	declare_no_restore(w->area, w->memory + 2 * PAGE, 10);
	memset(w->memory + 2 * PAGE, 1, 10);
	WORKS(do_abort(w->log, w->area));
	WORKS(commit_checked(w, 0));
	ASSERT_EQ(1, count);
	FOUND(0, 2 * PAGE, 10);
}

/* What another open transaction declares is its own affair. */
TEST_F(check, of_another_transaction)
{
	struct world *w = &self->w;
	struct rvm_area_header *other = map(w->log, AREA);
	struct stage *stage = shared_memory(PAGE);
	int status;
	pid_t pid;

	set(other, w->memory + 100, 1, 50);
	w->memory[150] = 1;
	declare_no_restore(other, w->memory + 200, 10);
	memset(w->memory + 200, 1, 10);
	set(w->area, w->memory + 300, 1, 10);
	WORKS(commit_checked(w, 0));
	ASSERT_EQ(1, count);
	FOUND(0, 150, 1);
	WORKS(do_abort(w->log, other));
	munmap(other, AREA);
	/* what it leaves was not told with the other */
	WORKS(commit_checked(w, 0));
	ASSERT_EQ(1, count);
	FOUND(0, 200, 10);

	/* and so it is of another process, whose stores are seen here */
	pid = fork();
	if (!pid) {
		struct rvm_area_header *area = map(w->log, AREA);
		char *memory = map(w->segment, LENGTH);

		set(area, memory + 500, 1, 10);
		memory[510] = 1;
		reach(stage, 1);
		await(stage, 2);
		_exit(commit(w->log, area, 0) ? 1 : 0);
	}
	await(stage, 1);
	WORKS(commit_checked(w, 0));
	ASSERT_EQ(1, count);
	FOUND(0, 510, 1);
	reach(stage, 2);
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	ASSERT_EQ(0, status);
	WORKS(commit_checked(w, 0));
	ASSERT_EQ(0, count);
}

TEST_F(check, refused)
{
	struct world *w = &self->w;
	uint64_t commits = query(w->log).commits;

	set(w->area, w->memory, 1, 10);
	w->memory[10] = 1;
	FAILS(EUCLEAN, commit_checked(w, RVM_COMMIT_CHECKED));
	ASSERT_EQ(1, count);
	FOUND(0, 10, 1);
	ASSERT_EQ(commits, query(w->log).commits);
	/* it is told until it is right */
	FAILS(EUCLEAN, commit_checked(w, RVM_COMMIT_CHECKED | RVM_COMMIT_FLUSH));
	ASSERT_EQ(1, count);
	declare(w->area, w->memory + 10, 1);
	WORKS(commit_checked(w, RVM_COMMIT_CHECKED | RVM_COMMIT_FLUSH));
	ASSERT_EQ(0, count);
	WORKS(reopen_as(w, RVM_SEGMENT_CHECK));
	ASSERT_TRUE(all_are(w->memory, 1, 11));
}

/* More than there is room for are counted. */
TEST_F(check, many)
{
	struct world *w = &self->w;
	unsigned int i;

	for (i = 0; i < 100; i++)
		w->memory[i * 600] = 1;
	WORKS(commit_checked(w, 0));
	ASSERT_EQ(100, count);
	for (i = 0; i < RVM_FOUND_MAX; i++)
		EXPECT_EQ(1, found[i].length);
	WORKS(commit_checked(w, 0));
	ASSERT_EQ(0, count);
}

/* Stores from before the region that checks was mapped, by one that doesn't. */
TEST_F(check, of_other_regions)
{
	struct world *w = &self->w;
	int other = segment_as(w->log, w->f.segment, 0);
	char *memory;

	WORKS(other);
	munmap(w->memory, LENGTH);
	memory = map(other, LENGTH);
	ASSERT_NE(MAP_FAILED, memory);
	memory[100] = 1;
	w->memory = map(w->segment, LENGTH);
	ASSERT_NE(MAP_FAILED, w->memory);
	memory[PAGE + 100] = 1;
	WORKS(commit_checked(w, 0));
	ASSERT_EQ(2, count);
	/* it checks no longer once it has gone */
	memory[200] = 1;
	munmap(w->memory, LENGTH);
	WORKS(commit_checked(w, 0));
	ASSERT_EQ(0, count);
	w->memory = memory;
	close(w->segment);
	w->segment = other;
}

TEST_HARNESS_MAIN
