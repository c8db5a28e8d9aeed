/* SPDX-License-Identifier: GPL-2.0 OR MIT */
/*
 * What the API tests share.  Each test has a folder of its own with the names
 * of a log and a segment, and each process of it starts the library anew, so
 * the tests run on whichever engine RVM_ENGINE names.
 */
#ifndef RVM_TESTS_API_H
#define RVM_TESTS_API_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <fcntl.h>
#include <ftw.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/stat.h>
#include <sys/utsname.h>

#include "kselftest_harness.h"

#include <rvm/rvm.h>
#include <rvm/rvm_engine.h>

/* Only against hangs; emulated machines are slow. */
#undef TEST_TIMEOUT_DEFAULT
#define TEST_TIMEOUT_DEFAULT 280

#define KIB	1024ul
#define MIB	(1024 * KIB)
#define PAGE	4096ul
#define STATUS_AREA	(128 * KIB)	/* of a log file, before the record area */

#define UNUSED	__attribute__((unused))

/* What the call that is made in this thread is to return. */
static __thread rvm_return_t UNUSED expected_code;

/* A call returns this code. */
#define CODE(expected, call) do {					\
	rvm_return_t code_ = (expected_code = (expected), (call));	\
	int errno_ = errno;						\
	expected_code = RVM_SUCCESS;					\
	ASSERT_EQ((expected), code_)					\
		TH_LOG("%s: %s, errno %d", #call, rvm_return(code_), errno_); \
	errno = errno_;							\
} while (0)

#define OK(call)	CODE(RVM_SUCCESS, call)

/* A call fails with RVM_EIO and this errno. */
#define EIO_ERRNO(expected, call) do {					\
	errno = 0;							\
	CODE(RVM_EIO, call);						\
	ASSERT_EQ((expected), errno) TH_LOG("%s", #call);		\
} while (0)

/*
 * Begun with RVM_TRACKING=pages or diff the tests are programs that declare nothing: of
 * the calls of rvm_set_range only those are made that are to fail, or say (rvm_set_range).
 */
static bool UNUSED changes_are_found, pages_are_logged;

static void __attribute__((constructor)) look_at_mode(void)
{
	const char *mode = getenv("RVM_TRACKING");

	pages_are_logged = mode && !strncmp(mode, "pages", 5);
	changes_are_found = pages_are_logged || (mode && !strncmp(mode, "diff", 4));
}

#define rvm_set_range(tid, at, length)					\
	(changes_are_found && !expected_code ? RVM_SUCCESS : rvm_set_range(tid, at, length))

/* A test of what there is not where changes are found. */
#define DECLARED_ONLY(why) do {						\
	if (changes_are_found)						\
		SKIP(return, "changes are found: " why);		\
} while (0)

/* A test of what is there only while few bytes are logged. */
#define FEW_BYTES_ONLY(why) do {						\
	if (pages_are_logged)						\
		SKIP(return, "whole pages are logged: " why);		\
} while (0)

struct files {
	char dir[200];
	char log[256];
	char segment[256];
};

static int UNUSED remove_one(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
	(void)st;
	(void)flag;
	(void)ftw;
	return remove(path);
}

static void UNUSED make_files_in(struct __test_metadata *_metadata, struct files *f,
				 const char *folder)
{
	const char *tmp = getenv("TMPDIR");

	snprintf(f->dir, sizeof(f->dir), "%s/rvm-test.XXXXXX", tmp ? tmp : folder);
	ASSERT_NE(NULL, mkdtemp(f->dir));
	ASSERT_EQ(0, chmod(f->dir, 0777));
	snprintf(f->log, sizeof(f->log), "%s/log", f->dir);
	snprintf(f->segment, sizeof(f->segment), "%s/segment", f->dir);
}

static void UNUSED make_files(struct __test_metadata *_metadata, struct files *f)
{
	make_files_in(_metadata, f, "/tmp");
}

static void UNUSED remove_files(const struct files *f)
{
	nftw(f->dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

FIXTURE(api) {
	struct files f;
};

FIXTURE_SETUP(api)
{
	make_files(_metadata, &self->f);
}

FIXTURE_TEARDOWN(api)
{
	remove_files(&self->f);
}

#define CHILD_ARGS struct __test_metadata UNUSED *_metadata, const struct files UNUSED *f

/*
 * Run fn in a process of its own: what it starts ends with it, whether it
 * terminates properly or not.  0 if it returned with nothing failed, else what
 * waitpid says.
 */
static int UNUSED in_child(struct __test_metadata *_metadata, const struct files *f,
			   void (*fn)(struct __test_metadata *, const struct files *))
{
	int status;
	pid_t pid;

	fflush(stdout);
	fflush(stderr);
	pid = fork();
	ASSERT_NE(-1, pid);
	if (!pid) {
		fn(_metadata, f);
		_exit(_metadata->passed ? 0 : 1);
	}
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	return status;
}

#define CHILD_OK(fn)	ASSERT_EQ(0, in_child(_metadata, f, fn))

/* The process that dies here, dies as in a crash; not if something has failed in it. */
static void UNUSED die(struct __test_metadata *_metadata)
{
	if (_metadata->passed)
		raise(SIGKILL);
	_exit(1);
}

#define CHILD_DIES(fn) do {						\
	int status_ = in_child(_metadata, f, fn);			\
	ASSERT_TRUE(WIFSIGNALED(status_) && WTERMSIG(status_) == SIGKILL); \
} while (0)

/* Options with the log, which rvm_initialize is to make if it is not there. */
static void UNUSED log_options(const struct files *f, rvm_options_t *options,
			       unsigned long size, unsigned long flags)
{
	rvm_init_options(options);
	options->log_dev = (char *)f->log;
	options->flags = flags;
	options->create_log_size = RVM_LENGTH_TO_OFFSET(size);
	if (access(f->log, F_OK))
		options->create_log_file = rvm_true;
}

static rvm_return_t UNUSED start_with(const struct files *f, unsigned long size,
				      unsigned long flags)
{
	rvm_options_t options;

	log_options(f, &options, size, flags);
	return RVM_INIT(&options);
}

/* Start on the log; make it if necessary. */
#define start(f)	OK(start_with((f), MIB, 0))

static rvm_region_t UNUSED region_of(const char *segment, unsigned long offset,
				     unsigned long length)
{
	rvm_region_t region;

	rvm_init_region(&region);
	region.data_dev = (char *)segment;
	region.dev_length = RVM_LENGTH_TO_OFFSET(256 * KIB);
	region.offset = RVM_LENGTH_TO_OFFSET(offset);
	region.length = length;
	return region;
}

/* Map the test's segment whole, of 256 KiB if it was not there. */
static rvm_return_t UNUSED map_segment(const struct files *f, rvm_region_t *region)
{
	int fd = open(f->segment, O_CREAT | O_RDWR | O_CLOEXEC, 0666);

	if (fd >= 0)
		close(fd);
	*region = region_of(f->segment, 0, 0);
	return rvm_map(region, NULL);
}

/* One transaction that sets bytes. */
static rvm_return_t UNUSED commit_bytes(char *at, int value, unsigned long length,
					rvm_mode_t mode)
{
	rvm_return_t code;
	rvm_tid_t tid;

	rvm_init_tid(&tid);
	code = rvm_begin_transaction(&tid, restore);
	if (code)
		return code;
	code = rvm_set_range(&tid, at, length);
	if (code)
		return code;
	memset(at, value, length);
	return rvm_end_transaction(&tid, mode);
}

static bool UNUSED all_are(const char *at, int value, unsigned long length)
{
	while (length)
		if (at[--length] != (char)value)
			return false;
	return true;
}

/* A file's bytes, by ordinary reads. */
static bool UNUSED file_is(const char *path, unsigned long offset, int value,
			   unsigned long length)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	char buffer[4096];

	if (fd < 0)
		return false;
	while (length) {
		size_t n = length < sizeof(buffer) ? length : sizeof(buffer);

		if (pread(fd, buffer, n, offset) != (ssize_t)n || !all_are(buffer, value, n))
			break;
		offset += n;
		length -= n;
	}
	close(fd);
	return !length;
}

/* Make a file of that many bytes. */
static bool UNUSED make_file(const char *path, unsigned long length, int value)
{
	int fd = open(path, O_CREAT | O_TRUNC | O_RDWR | O_CLOEXEC, 0666);
	char buffer[4096];
	bool ok = fd >= 0;

	memset(buffer, value, sizeof(buffer));
	while (ok && length) {
		size_t n = length < sizeof(buffer) ? length : sizeof(buffer);

		ok = write(fd, buffer, n) == (ssize_t)n;
		length -= n;
	}
	return !close(fd) && ok;
}

/* How far on to the next case: RVM_TEST_BRIEF is for kernels on which all take too long. */
static size_t UNUSED step_over(size_t usual)
{
	return getenv("RVM_TEST_BRIEF") ? 31 * usual : usual;
}

/* The kernel is that version or a later one. */
static bool UNUSED linux_is(unsigned int major, unsigned int minor)
{
	unsigned int is_major, is_minor;
	struct utsname name;

	if (uname(&name) || sscanf(name.release, "%u.%u", &is_major, &is_minor) != 2)
		return false;
	return is_major > major || (is_major == major && is_minor >= minor);
}

static long UNUSED file_size(const char *path)
{
	struct stat st;

	return stat(path, &st) ? -1 : (long)st.st_size;
}

#endif
