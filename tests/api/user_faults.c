// SPDX-License-Identifier: GPL-2.0 OR MIT
/*
 * Description: each allocation, read, write, flush and so on of the user engine
 * fails in turn, once or from then on.  After each failure what a call returns
 * is an error or true: whatever was acknowledged is there when the log is opened
 * again, as a whole, and nothing that was never committed.
 *
 * The linker sends the library's calls here (--wrap, see the Makefile).
 */
#include "api.h"

#include <stdatomic.h>
#include <sys/mman.h>

#include <rvm/rvm_tracking.h>

/* --- what fails ----------------------------------------------------------- */

enum kind { MEMORY, MAP, OPEN, SPACE, READ, WRITE, FLUSH, KINDS };

static const struct {
	const char *name;
	int error;
} kinds[KINDS] = {
	[MEMORY] = { "allocation", ENOMEM },
	[MAP] = { "mmap", ENOMEM },
	[OPEN] = { "open", EMFILE },
	[SPACE] = { "fallocate or ftruncate", ENOSPC },
	[READ] = { "read", EIO },
	[WRITE] = { "write", EIO },
	[FLUSH] = { "flush", EIO },
};

static enum kind failing;
static bool for_good;		/* not only one fails */

/* Shared by the processes of a test, which follow one another. */
static struct known {
	atomic_bool armed;
	atomic_long until;	/* so many calls of that kind go well first */
	/* values: the last one that was; and what is in memory */
	int tried, committed, durable, shown;
} *known;

static bool fails(enum kind kind)
{
	long n;

	if (!known || !known->armed || kind != failing)
		return false;
	n = atomic_fetch_sub(&known->until, 1);
	if (n > 0 || (n < 0 && !for_good))
		return false;
	errno = kinds[kind].error;
	return true;
}

#define WRAP(kind, type, failed, name, declared, arguments)		\
	type __real_##name declared;					\
	type __wrap_##name declared;					\
	type __wrap_##name declared					\
	{								\
		return fails(kind) ? (failed) : __real_##name arguments; \
	}

WRAP(MEMORY, void *, NULL, malloc, (size_t size), (size))
WRAP(MEMORY, void *, NULL, calloc, (size_t n, size_t size), (n, size))
WRAP(MEMORY, void *, NULL, realloc, (void *old, size_t size), (old, size))
WRAP(MEMORY, void *, NULL, aligned_alloc, (size_t unit, size_t size), (unit, size))
WRAP(MEMORY, int, ENOMEM, posix_memalign, (void **at, size_t unit, size_t size), (at, unit, size))
WRAP(MAP, void *, MAP_FAILED, mmap,
     (void *at, size_t length, int protection, int flags, int fd, off_t offset),
     (at, length, protection, flags, fd, offset))
WRAP(SPACE, int, -1, fallocate, (int fd, int mode, off_t offset, off_t length),
     (fd, mode, offset, length))
WRAP(SPACE, int, -1, ftruncate, (int fd, off_t length), (fd, length))
WRAP(READ, ssize_t, -1, pread, (int fd, void *to, size_t length, off_t offset),
     (fd, to, length, offset))
WRAP(WRITE, ssize_t, -1, pwrite, (int fd, const void *from, size_t length, off_t offset),
     (fd, from, length, offset))
WRAP(FLUSH, int, -1, fsync, (int fd), (fd))
WRAP(FLUSH, int, -1, fdatasync, (int fd), (fd))

int __real_open(const char *path, int flags, mode_t mode);
int __wrap_open(const char *path, int flags, mode_t mode);
int __wrap_open(const char *path, int flags, mode_t mode)
{
	/* a durable write takes a flush then */
	if (failing == FLUSH && flags & O_DIRECT) {
		errno = EINVAL;
		return -1;
	}
	return fails(OPEN) ? -1 : __real_open(path, flags, mode);
}

/* --- the program that meets with it --------------------------------------- */

#define LOG	(32 * KIB)	/* of the record area: it fills several times */
#define USED	(2 * PAGE)	/* of the segment: all bytes have the same value */

/* An error that a failure may cause, and no success that is none. */
static bool worked(struct __test_metadata *_metadata, const char *call, rvm_return_t code)
{
	ASSERT_TRUE(code == RVM_SUCCESS || code == RVM_EIO || code == RVM_ENO_MEMORY)
		TH_LOG("%s: %s, errno %d", call, rvm_return(code), errno);
	return code == RVM_SUCCESS;
}

#define WORKED(call)	worked(_metadata, #call, call)

static rvm_length_t flags;	/* of the library's options */

static bool start_small(struct __test_metadata *_metadata, const struct files *f)
{
	rvm_options_t options;

	log_options(f, &options, LOG + STATUS_AREA, flags);
	return WORKED(RVM_INIT(&options));
}

static bool change(struct __test_metadata *_metadata, char *memory, rvm_mode_t mode)
{
	bool hopeless = known->armed && for_good && (failing == WRITE || failing == FLUSH) && known->until < 0;
	int value = ++known->tried;
	rvm_tid_t tid;

	rvm_init_tid(&tid);
	if (!WORKED(rvm_begin_transaction(&tid, restore)))
		return false;
	/* two, to be undone separately */
	if (WORKED(rvm_set_range(&tid, memory, 100)) &&
	    WORKED(rvm_set_range(&tid, memory + 100, USED - 100))) {
		memset(memory, value, USED);
		if (WORKED(rvm_end_transaction(&tid, mode))) {
			ASSERT_FALSE(hopeless && mode == flush);
			known->committed = value;
			known->shown = value;
			if (mode == flush)
				known->durable = value;
			return true;
		}
	} else {
		WORKED(rvm_abort_transaction(&tid));
	}
	if (memory[0] == (char)value) {
		/* the log failed when the transaction was in it: who knows whether the disk has it */
		ASSERT_NE(RVM_SUCCESS, rvm_flush());
		known->shown = value;
	}
	ASSERT_TRUE(all_are(memory, known->shown, USED))
		TH_LOG("memory has %d, not %d", memory[0], known->shown);
	return false;
}

static rvm_region_t segment_region(const struct files *f)
{
	rvm_region_t region = region_of(f->segment, 0, USED);

	region.dev_length = RVM_LENGTH_TO_OFFSET(USED);
	return region;
}

/* What stands there is durable, be it what a log that failed had left. */
static void resume(const char *memory)
{
	known->shown = (unsigned char)memory[0];
	known->committed = known->shown;
	known->durable = known->shown;
}

static void session(CHILD_ARGS)
{
	rvm_region_t region;
	int i;

	known->armed = true;
	if (!start_small(_metadata, f) && !start_small(_metadata, f))
		goto end;
	region = segment_region(f);
	if (!WORKED(rvm_map(&region, NULL)) && !WORKED(rvm_map(&region, NULL)))
		goto out;
	/* after a failure of the log an earlier value may be there */
	ASSERT_LE(known->durable, region.vmaddr[0]);
	ASSERT_GE(known->tried, region.vmaddr[0]);
	ASSERT_TRUE(all_are(region.vmaddr, region.vmaddr[0], USED));
	resume(region.vmaddr);
	for (i = 0; i < 8; i++)
		change(_metadata, region.vmaddr, i % 3 ? no_flush : flush);
	if (WORKED(rvm_flush()))
		known->durable = known->committed;
	if (WORKED(rvm_truncate()))
		known->durable = known->committed;
	change(_metadata, region.vmaddr, no_flush);
	change(_metadata, region.vmaddr, flush);
	WORKED(rvm_unmap(&region));
out:
	if (WORKED(rvm_terminate()))
		known->durable = known->committed;
end:
	known->armed = false;
}

/* The same, and it dies in the middle: the next one has to recover. */
static void cut_short(CHILD_ARGS)
{
	rvm_region_t region;
	int i;

	known->armed = true;
	if (start_small(_metadata, f)) {
		region = segment_region(f);
		if (WORKED(rvm_map(&region, NULL))) {
			resume(region.vmaddr);
			for (i = 0; i < 4; i++)
				change(_metadata, region.vmaddr, i % 2 ? flush : no_flush);
		}
	}
	known->armed = false;
	die(_metadata);
}

static void look(CHILD_ARGS)
{
	rvm_region_t region = segment_region(f);
	int i;

	ASSERT_TRUE(start_small(_metadata, f));
	OK(rvm_map(&region, NULL));
	ASSERT_TRUE(all_are(region.vmaddr, region.vmaddr[0], USED));
	ASSERT_LE(known->durable, region.vmaddr[0]);
	ASSERT_GE(known->tried, region.vmaddr[0]);
	resume(region.vmaddr);
	for (i = 0; i < 10; i++)
		ASSERT_TRUE(change(_metadata, region.vmaddr, flush));
	OK(rvm_terminate());
}

static void fail_each(struct __test_metadata *_metadata, struct files *f, enum kind kind, bool good)
{
	static void (*const programs[4])(CHILD_ARGS) = { session, cut_short, session, look };
	unsigned int i;
	long n = -1;
	int status;

	known = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, known);
	failing = kind;
	for_good = good;
	do {
		n++;
		remove(f->log);
		/* empty: the library makes it longer */
		ASSERT_TRUE(make_file(f->segment, 0, 0));
		memset(known, 0, sizeof(*known));
		known->until = n;
		for (i = 0; i < 4; i++) {
			status = in_child(_metadata, f, programs[i]);
			ASSERT_TRUE(!status || (programs[i] == cut_short && WIFSIGNALED(status) &&
						WTERMSIG(status) == SIGKILL))
				TH_LOG("%s %ld fails%s, program %u: status %x", kinds[kind].name, n + 1,
				       good ? " for good" : "", i + 1, status);
		}
	} while (known->until < 0);
	fprintf(stderr, "# %s: %ld failures%s\n", kinds[kind].name, n, good ? ", for good" : "");
	ASSERT_LT(0, n);
}

FIXTURE(faults) { struct files f; };

FIXTURE_VARIANT(faults) { enum kind kind; bool for_good; const char *folder; };
FIXTURE_VARIANT_ADD(faults, memory) { MEMORY, false, "/dev/shm" };
FIXTURE_VARIANT_ADD(faults, map) { MAP, false, "/dev/shm" };
FIXTURE_VARIANT_ADD(faults, open) { OPEN, false, "/dev/shm" };
FIXTURE_VARIANT_ADD(faults, space) { SPACE, false, "/dev/shm" };
FIXTURE_VARIANT_ADD(faults, read) { READ, false, "/tmp" };
FIXTURE_VARIANT_ADD(faults, write) { WRITE, false, "/tmp" };
FIXTURE_VARIANT_ADD(faults, flush) { FLUSH, false, "/tmp" };
FIXTURE_VARIANT_ADD(faults, memory_for_good) { MEMORY, true, "/dev/shm" };
FIXTURE_VARIANT_ADD(faults, read_for_good) { READ, true, "/dev/shm" };
FIXTURE_VARIANT_ADD(faults, write_for_good) { WRITE, true, "/dev/shm" };
FIXTURE_VARIANT_ADD(faults, flush_for_good) { FLUSH, true, "/dev/shm" };

FIXTURE_SETUP(faults)
{
	make_files_in(_metadata, &self->f, variant->folder);
}

FIXTURE_TEARDOWN(faults)
{
	remove_files(&self->f);
}

TEST_F(faults, each)
{
	fail_each(_metadata, &self->f, variant->kind, variant->for_good);
}

/* There must be memory again where the region was: without, it stays mapped. */
static void unmap(CHILD_ARGS)
{
	rvm_region_t region = segment_region(f);

	region.vmaddr = mmap(NULL, USED, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_TRUE(start_small(_metadata, f));
	OK(rvm_map(&region, NULL));
	ASSERT_TRUE(change(_metadata, region.vmaddr, flush));
	known->armed = true;
	ASSERT_EQ(RVM_ENO_MEMORY, rvm_unmap(&region));
	known->armed = false;
	ASSERT_TRUE(change(_metadata, region.vmaddr, flush));
	OK(rvm_unmap(&region));
	ASSERT_TRUE(all_are(region.vmaddr, 0, USED));
	OK(rvm_terminate());
}

TEST(unmap_without_memory)
{
	struct files f;

	make_files_in(_metadata, &f, "/dev/shm");
	ASSERT_TRUE(make_file(f.segment, 0, 0));
	known = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, known);
	failing = MAP;
	ASSERT_EQ(0, in_child(_metadata, &f, unmap));
	/* and is tracked still */
	flags = RVM_TRACK_DIFF;
	ASSERT_TRUE(make_file(f.segment, 0, 0));
	remove(f.log);
	memset(known, 0, sizeof(*known));
	ASSERT_EQ(0, in_child(_metadata, &f, unmap));
	remove_files(&f);
}

TEST_HARNESS_MAIN
