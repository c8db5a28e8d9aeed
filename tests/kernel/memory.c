// SPDX-License-Identifier: GPL-2.0 OR MIT
/*
 * Description: the limits of memory: what is counted, that stores wait for
 * truncation at the limit of their log or of the system, and fail where it can free
 * nothing; that transactions can still end then; and that memory is given back
 * when the machine, or a cgroup, is short of it.
 */
#include "cgroup.h"

#include <linux/fs.h>
#include <setjmp.h>

#define SIZE		(32 * MIB)	/* of the segment */
#define PAGES		(SIZE / PAGE)
#define LIMIT		(4 * MIB)
#define SYSTEM_LIMIT	"/sys/module/rvm/parameters/memory_kib"

FIXTURE(memory) {
	struct world w;
	char *memory;			/* the whole segment */
};

static int open_all(struct world *w, char **memory)
{
	if (truncate(w->f.segment, SIZE) || attach_world(w))
		return -1;
	*memory = map(w->segment, SIZE);
	return *memory == MAP_FAILED || set_truncate(w->log, 0) ? -1 : 0;
}

FIXTURE_SETUP(memory)
{
	ASSERT_TRUE(module_is_free());
	WORKS(make_files(&self->w.f, 16 * MIB));
	WORKS(open_all(&self->w, &self->memory));
	WORKS(set_memory(self->w.log, LIMIT));
}

FIXTURE_TEARDOWN(memory)
{
	munmap(self->memory, SIZE);
	close_world(&self->w);
	remove_files(&self->w.f);
}

/*
 * Bytes that the log holds once it is truncated, unless somebody else has a page in
 * hand just then: pages wait in the processors' lists, or are being compacted.
 */
static unsigned long held(int log, unsigned long wanted)
{
	unsigned long bytes;
	int tries = 0;

	do {
		if (tries)
			sleep_us(10000);
		write_text("/proc/sys/vm/compact_memory", "1");
		truncate_log(log);
		truncate_log(log);
		bytes = query(log).memory;
	} while (bytes != wanted && ++tries < 100);
	return bytes;
}

static sigjmp_buf after_fault;

static void on_fault(int signal)
{
	siglongjmp(after_fault, signal);
}

/* Store to pages until one can't be: its number. */
static unsigned long store_all(char *memory, int value)
{
	volatile unsigned long i = 0;
	struct sigaction old, new = { .sa_handler = on_fault };

	sigaction(SIGBUS, &new, &old);
	if (!sigsetjmp(after_fault, 1))
		for (; i < PAGES; i++)
			*(volatile char *)(memory + i * PAGE) = value;
	sigaction(SIGBUS, &old, NULL);
	return i;
}

/* Declare what has been stored to n pages, and commit it. */
static int commit_pages(struct world *w, char *memory, unsigned long n)
{
	unsigned long i;

	for (i = 0; i < n; i++)
		declare_no_restore(w->area, memory + i * PAGE, 1);
	return commit(w->log, w->area, 0);
}

/* --- what is counted ------------------------------------------------------- */

TEST_F(memory, options)
{
	struct rvm_ioc_options a = { .size = sizeof(a), .memory = LIMIT };

	EXPECT_EQ(LIMIT, query(self->w.log).memory_limit);
	FAILS(EINVAL, ioctl(self->w.log, RVM_IOC_SET_OPTIONS, &a));	/* no flag */
	a.flags = RVM_OPTION_TRUNCATE;
	FAILS(EINVAL, ioctl(self->w.log, RVM_IOC_SET_OPTIONS, &a));
	a.flags = RVM_OPTION_MEMORY;
	a.truncate = 1;
	FAILS(EINVAL, ioctl(self->w.log, RVM_IOC_SET_OPTIONS, &a));
	FAILS(EINVAL, set_memory(self->w.log, RVM_MEMORY_MIN - 1));
	EXPECT_EQ(LIMIT, query(self->w.log).memory_limit);
	WORKS(set_memory(self->w.log, RVM_MEMORY_MIN));
	EXPECT_EQ(RVM_MEMORY_MIN, query(self->w.log).memory_limit);
	WORKS(set_memory(self->w.log, 0));
	WORKS(write_text(SYSTEM_LIMIT, "20000"));
	EXPECT_EQ(10000 * KIB, query(self->w.log).memory_limit);
	WORKS(write_text(SYSTEM_LIMIT, "0"));
	EXPECT_LT(64 * MIB, query(self->w.log).memory_limit);
}

/* Changed pages count twice, and areas and what was spilled from them. */
TEST_F(memory, counted)
{
	struct world *w = &self->w;
	unsigned long before = query(w->log).memory, i;
	void *area;

	for (i = 0; i < 10; i++)
		set(w->area, self->memory + i * PAGE, 1, 8);
	EXPECT_EQ(before + 20 * PAGE, query(w->log).memory);
	WORKS(commit(w->log, w->area, 0));
	EXPECT_EQ(before + 20 * PAGE, query(w->log).memory);
	EXPECT_EQ(before, held(w->log, before));

	declare(w->area, self->memory, 32 * KIB);
	WORKS(area_ioctl(w->log, RVM_IOC_SPILL, w->area->area));
	EXPECT_LE(before + 32 * KIB, query(w->log).memory);
	WORKS(do_abort(w->log, w->area));
	EXPECT_EQ(before, held(w->log, before));

	area = map(w->log, MIB);
	ASSERT_NE(MAP_FAILED, area);
	EXPECT_LE(before + MIB, query(w->log).memory);
	munmap(area, MIB);
	EXPECT_EQ(before, query(w->log).memory);
}

/* --- at the limit ---------------------------------------------------------- */

/* Commits of many times the limit go on: truncation starts though it is set to never. */
TEST_F(memory, goes_on)
{
	struct world *w = &self->w;
	unsigned long round, i;

	for (round = 1; round <= 2; round++) {
		for (i = 0; i < PAGES / 4; i++) {
			set(w->area, self->memory + i * PAGE, round, 8);
			if (i % 16 == 15)
				WORKS(commit(w->log, w->area, 0));
			ASSERT_GE(LIMIT, query(w->log).memory);
		}
	}
	EXPECT_LT(0, query(w->log).truncations);
	WORKS(truncate_log(w->log));
	for (i = 0; i < PAGES / 4; i++)
		ASSERT_TRUE(file_is(w->f.segment, i * PAGE, 2, 8)) TH_LOG("page %lu", i);
}

/* What was never committed can't be written: who stores more gets an error, and no more. */
TEST_F(memory, undeclared)
{
	unsigned long before = query(self->w.log).memory, n = store_all(self->memory, 5);
	int ends[2], mem;

	EXPECT_GE((LIMIT - before) / 2 / PAGE, n);
	EXPECT_LE((LIMIT - LIMIT / 8 - before) / 2 / PAGE, n);
	EXPECT_GE(LIMIT, query(self->w.log).memory);
	EXPECT_LT(0, query(self->w.log).memory_waits);
	EXPECT_EQ(n, store_all(self->memory, 6));
	EXPECT_EQ(0, self->memory[n * PAGE]);
	EXPECT_EQ(0, self->memory[SIZE - 1]);

	/* a system call stores */
	WORKS(pipe(ends));
	ASSERT_EQ(2, write(ends[1], "ab", 2));
	FAILS(EFAULT, read(ends[0], self->memory + (n + 1) * PAGE, 1));
	ASSERT_EQ(1, read(ends[0], self->memory, 1));
	/* and one that can't wait as a program does */
	WORKS(mem = open("/proc/self/mem", O_RDWR | O_CLOEXEC));
	FAILS(EIO, pwrite(mem, "a", 1, (uintptr_t)self->memory + (n + 1) * PAGE));
	close(mem);
	close(ends[0]);
	close(ends[1]);

	/* nobody maps it: it is gone, and there is room */
	munmap(self->memory, SIZE);
	EXPECT_EQ(before, held(self->w.log, before));
	self->memory = map(self->w.segment, SIZE);
	EXPECT_EQ(0, self->memory[0]);
	EXPECT_LE(n / 2, store_all(self->memory, 7));
}

/* Transactions can begin and end where stores can't go on. */
TEST_F(memory, transactions_end)
{
	struct world *w = &self->w;
	unsigned long n = store_all(self->memory, 5);
	void *area = map(w->log, 4 * KIB);

	ASSERT_NE(MAP_FAILED, area);
	munmap(area, 4 * KIB);
	WORKS(commit_pages(w, self->memory, n));
	/* now they can be written, and others take their place */
	memset(self->memory + n * PAGE, 5, n / 2 * PAGE);
	WORKS(truncate_log(w->log));
	EXPECT_TRUE(file_is(w->f.segment, (n - 1) * PAGE, 5, 1));
	EXPECT_TRUE(file_is(w->f.segment, n * PAGE, 0, 1));
}

/* Areas and what they spill, too. */
TEST_F(memory, areas)
{
	struct world *w = &self->w;
	char *areas[4];
	unsigned int n;
	int ret = 0;

	for (n = 0; n < ARRAY_LENGTH(areas); n++) {
		areas[n] = map(w->log, MIB);
		if (areas[n] == MAP_FAILED)
			break;
	}
	ASSERT_EQ(ENOMEM, errno);
	ASSERT_EQ(2, n);
	while (n--)
		munmap(areas[n], MIB);

	for (n = 0; n < 100 && !ret; n++) {
		declare(w->area, self->memory, 60 * KIB);
		ret = area_ioctl(w->log, RVM_IOC_SPILL, w->area->area);
	}
	EXPECT_EQ(ENOMEM, errno);
	EXPECT_LE(20, n);
	EXPECT_GE(60, n);
	WORKS(do_abort(w->log, w->area));
	memset(self->memory, 1, MIB);
}

/* A log whose segment's file system is frozen waits; but who may hold its locks does not. */
TEST_F(memory, frozen)
{
	struct world *w = &self->w;
	char dir[] = "/tmp/rvm-frozen", device[100], *memory, *state = shared_memory(PAGE);
	int file, other, ends[2], status;
	struct files old = w->f;
	unsigned long n;
	pid_t waits, dies;

	if (access(NULL_BLK, X_OK))
		SKIP(return, "null_blk is not loaded");
	WORKS(make_device(device, "rvmseg", "48", "512"));
	WORKS(mkdir(dir, 0700));
	ASSERT_EQ(0, system("mke2fs -F /dev/rvmseg >/tmp/mke2fs.log 2>&1"));
	WORKS(mount(device, dir, "ext4", 0, NULL));
	snprintf(w->f.segment, sizeof(w->f.segment), "%s/segment", dir);
	WORKS(make_file(w->f.segment, SIZE, 0));
	WORKS(other = segment(w->log, w->f.segment));
	memory = map(other, SIZE);
	ASSERT_NE(MAP_FAILED, (void *)memory);
	n = store_all(memory, 5);
	ASSERT_GT(PAGES, n);
	WORKS(commit_pages(w, memory, n));
	WORKS(file = open(dir, O_RDONLY | O_CLOEXEC));
	WORKS(ioctl(file, FIFREEZE, 0));

	WORKS(pipe(ends));
	ASSERT_EQ(1, write(ends[1], "a", 1));
	FAILS(EFAULT, read(ends[0], memory + n * PAGE, 1));
	WORKS(waits = fork());
	if (!waits) {
		memory = map(other, SIZE);
		memory[n * PAGE] = 1;
		state[0] = 1;
		_exit(memory[0] == 5 ? 0 : 1);
	}
	WORKS(dies = fork());
	if (!dies) {
		memory = map(other, SIZE);
		memory[(n + 1) * PAGE] = 1;
		_exit(0);
	}
	sleep_us(500000);
	WORKS(kill(dies, SIGKILL));
	ASSERT_EQ(dies, waitpid(dies, &status, 0));
	EXPECT_TRUE(WIFSIGNALED(status));
	EXPECT_EQ(0, waitpid(waits, &status, WNOHANG));
	EXPECT_EQ(0, *(volatile char *)state);

	WORKS(ioctl(file, FITHAW, 0));
	ASSERT_EQ(waits, waitpid(waits, &status, 0));
	EXPECT_EQ(0, status);
	close(ends[0]);
	close(ends[1]);
	munmap(memory, SIZE);
	close(other);
	WORKS(truncate_log(w->log));
	EXPECT_TRUE(file_is(w->f.segment, (n - 1) * PAGE, 5, 1));
	close(file);
	WORKS(umount(dir));
	WORKS(remove_device("rvmseg"));
	WORKS(rmdir(dir));
	w->f = old;
}

/* --- of the system ---------------------------------------------------------- */

/* A log takes some memory itself: there may be none for it. */
TEST_F(memory, no_room_for_log)
{
	/* more than its own limit, and within that, but for the system's */
	static const char *const limits[] = { "1500", "2600" };
	struct files f;
	unsigned int i;
	int log;

	WORKS(make_files(&f, MIB));
	for (i = 0; i < ARRAY_LENGTH(limits); i++) {
		WORKS(write_text(SYSTEM_LIMIT, limits[i]));
		FAILS(ENOMEM, attach(f.log));
	}
	WORKS(write_text(SYSTEM_LIMIT, "0"));
	WORKS(log = attach(f.log));
	close(log);
	remove_files(&f);
}

/* One log's pages go for another's sake, as far as they can. */
TEST_F(memory, system)
{
	struct world other;
	char *memory;
	unsigned long n;

	WORKS(make_files(&other.f, 16 * MIB));
	WORKS(open_all(&other, &memory));
	WORKS(set_memory(other.log, 64 * MIB));
	WORKS(set_memory(self->w.log, 64 * MIB));
	WORKS(write_text(SYSTEM_LIMIT, "8192"));

	n = store_all(self->memory, 5);
	EXPECT_GT(8 * MIB / 2 / PAGE, n);
	EXPECT_LT(4 * MIB / 2 / PAGE, n);
	EXPECT_GE(2, store_all(memory, 6));
	WORKS(commit_pages(&self->w, self->memory, n));
	EXPECT_LE(n / 2, store_all(memory, 6));
	EXPECT_LT(0, query(other.log).memory_waits);

	WORKS(write_text(SYSTEM_LIMIT, "0"));
	munmap(memory, SIZE);
	close_world(&other);
	remove_files(&other.f);
}

/* The machine wants memory: truncation begins. */
TEST_F(memory, shrinker)
{
	struct world *w = &self->w;
	unsigned long before = query(w->log).memory, i;

	WORKS(set_memory(w->log, 0));
	for (i = 0; i < 1000; i++)
		self->memory[i * PAGE] = 5;
	WORKS(commit_pages(w, self->memory, 1000));
	EXPECT_LE(before + 2000 * PAGE, query(w->log).memory);
	WORKS(write_text("/proc/sys/vm/compact_memory", "1"));
	do {
		WORKS(write_text("/proc/sys/vm/drop_caches", "2"));
		sleep_us(10000);
	} while (query(w->log).memory > before + 100 * PAGE);
	EXPECT_TRUE(file_is(w->f.segment, 999 * PAGE, 5, 1));
}

/* A cgroup has a quarter of what its process changes, and nobody is killed for it. */
TEST_F(memory, group)
{
	struct world *w = &self->w;
	unsigned long i;

	WORKS(set_memory(w->log, 0));
	CHILD({
		char *memory;

		/* what the group's processes share with others is charged to them now */
		WORKS(enter_group());
		WORKS(write_text(GROUP "/memory.max", "8M"));
		memory = map(w->segment, SIZE);
		w->area = map(w->log, AREA);
		for (i = 0; i < PAGES; i++) {
			set(w->area, memory + i * PAGE, 7, 8);
			if (i % 64 == 63)
				WORKS(commit(w->log, w->area, 0));
		}
		for (i = 0; i < PAGES; i++)
			ASSERT_TRUE(all_are(memory + i * PAGE, 7, 8)) TH_LOG("page %lu", i);
		EXPECT_EQ(0, group_value(GROUP "/memory.events", "oom_kill"));
		EXPECT_LT(0, group_value(GROUP "/memory.events", "max"));
		WORKS(write_text(GROUP "/memory.max", "max"));
		WORKS(write_text(GROUPS "/cgroup.procs", "0"));
	});
	WORKS(rmdir(GROUP));
	WORKS(truncate_log(w->log));
	for (i = 0; i < PAGES; i++)
		ASSERT_TRUE(file_is(w->f.segment, i * PAGE, 7, 8)) TH_LOG("page %lu", i);
}

TEST_HARNESS_MAIN
