// SPDX-License-Identifier: GPL-2.0 OR MIT
/*
 * Description: segments that are missing, forbidden, too short or can't be
 * written when the log is to be applied to them, full disks, and a log that
 * can't be written.  Nothing that was committed is lost.
 */
#include "api.h"

#include <sched.h>
#include <sys/mount.h>
#include <sys/resource.h>

/* Two segments, and a log with live records for both. */
static void second(const struct files *f, char *name)
{
	sprintf(name, "%s/second", f->dir);
}

static void commit_to_both(CHILD_ARGS)
{
	rvm_options_t options;
	rvm_region_t a, b;
	char name[300];

	second(f, name);
	ASSERT_TRUE(make_file(f->segment, 64 * KIB, 0));
	ASSERT_TRUE(make_file(name, 64 * KIB, 0));
	log_options(f, &options, 128 * KIB, 0);
	options.truncate = 0;
	OK(RVM_INIT(&options));
	a = region_of(f->segment, 0, 0);
	b = region_of(name, 0, 0);
	OK(rvm_map(&a, NULL));
	OK(rvm_map(&b, NULL));
	for (int i = 0; i < 5; i++) {
		OK(commit_bytes(a.vmaddr + 1000 * i, 1, 1000, flush));
		OK(commit_bytes(b.vmaddr + 1000 * i, 2, 1000, flush));
	}
	die(_metadata);
}

static bool logged;		/* the child's stderr named the second segment */

/* Start, and see whether that is said. */
static rvm_return_t start_and_listen(const struct files *f)
{
	char name[300], text[2000];
	rvm_return_t code;
	int fd, saved = dup(2);
	ssize_t n;

	sprintf(name, "%s/stderr", f->dir);
	fd = open(name, O_CREAT | O_TRUNC | O_RDWR | O_CLOEXEC, 0666);
	dup2(fd, 2);
	code = start_with(f, 128 * KIB, 0);
	dup2(saved, 2);
	n = pread(fd, text, sizeof(text) - 1, 0);
	text[n < 0 ? 0 : n] = 0;
	close(fd);
	close(saved);
	second(f, name);
	logged = strstr(text, name);
	return code;
}

static bool log_empty(void)
{
	rvm_options_t options;

	rvm_init_options(&options);
	return !rvm_query(&options, NULL) && options.log_empty;
}

/* The first segment is recovered, the second one is named, and waits. */
static void recover_first(CHILD_ARGS)
{
	rvm_region_t r;

	OK(start_and_listen(f));
	EXPECT_TRUE(logged);
	EXPECT_TRUE(file_is(f->segment, 100, 1, 4900));
	EXPECT_FALSE(log_empty());
	/* work goes on */
	r = region_of(f->segment, 0, 0);
	OK(rvm_map(&r, NULL));
	OK(commit_bytes(r.vmaddr, 3, 100, flush));
	OK(rvm_terminate());
}

static void recover_both(CHILD_ARGS)
{
	char name[300];

	second(f, name);
	OK(start_and_listen(f));
	EXPECT_FALSE(logged);
	EXPECT_TRUE(file_is(f->segment, 0, 3, 100));
	EXPECT_TRUE(file_is(f->segment, 100, 1, 4900));
	EXPECT_TRUE(file_is(name, 0, 2, 5000));
	OK(rvm_truncate());
	EXPECT_TRUE(log_empty());
	OK(rvm_terminate());
}

TEST_F(api, missing_at_recovery)
{
	const struct files *f = &self->f;
	char name[300], elsewhere[400];

	second(f, name);
	sprintf(elsewhere, "%s.away", name);
	CHILD_DIES(commit_to_both);
	ASSERT_EQ(0, rename(name, elsewhere));
	CHILD_OK(recover_first);
	CHILD_OK(recover_first);
	ASSERT_EQ(0, rename(elsewhere, name));
	CHILD_OK(recover_both);
}

static void as_nobody(CHILD_ARGS)
{
	if (!getuid()) {
		ASSERT_EQ(0, setgid(65534));
		ASSERT_EQ(0, setuid(65534));
	}
	recover_first(_metadata, f);
}

TEST_F(api, forbidden_at_recovery)
{
	const struct files *f = &self->f;
	char name[300];

	second(f, name);
	CHILD_DIES(commit_to_both);
	ASSERT_EQ(0, chmod(name, 0444));
	ASSERT_EQ(0, chmod(f->segment, 0666));
	ASSERT_EQ(0, chmod(f->log, 0666));
	CHILD_OK(as_nobody);
	ASSERT_EQ(0, chmod(name, 0600));
	CHILD_OK(recover_both);
}

/* A file that became a directory, or something else, is not written to. */
TEST_F(api, another_kind_at_recovery)
{
	const struct files *f = &self->f;
	char name[300], elsewhere[400];

	second(f, name);
	sprintf(elsewhere, "%s.away", name);
	CHILD_DIES(commit_to_both);
	ASSERT_EQ(0, rename(name, elsewhere));
	ASSERT_EQ(0, mkdir(name, 0777));
	CHILD_OK(recover_first);
	ASSERT_EQ(0, rmdir(name));
	ASSERT_EQ(0, mkfifo(name, 0666));
	CHILD_OK(recover_first);
	ASSERT_EQ(0, unlink(name));
	ASSERT_EQ(0, rename(elsewhere, name));
	CHILD_OK(recover_both);
}

/* While a segment is missing its records fill the log; then commits fail, and don't wait. */
static void fill_the_log(CHILD_ARGS)
{
	rvm_return_t code = RVM_SUCCESS;
	rvm_region_t r;
	int i;

	OK(start_and_listen(f));
	EXPECT_TRUE(logged);
	r = region_of(f->segment, 0, 0);
	OK(rvm_map(&r, NULL));
	OK(commit_bytes(r.vmaddr, 3, 100, flush));
	for (i = 0; i < 200 && !code; i++)
		code = commit_bytes(r.vmaddr + 8 * KIB + i % 10 * 4 * KIB, 10 + i, 4 * KIB, flush);
	/* an engine may know how to keep some and go on; it may not wait or lose any */
	if (code) {
		ASSERT_EQ(RVM_EIO, code);
		ASSERT_TRUE(errno == ENOSPC || errno == ENOENT);
		i--;
		EXPECT_LE(4, i);
		/* memory says what is committed */
		EXPECT_TRUE(all_are(r.vmaddr + 8 * KIB + i % 10 * 4 * KIB, i < 10 ? 0 : i, 4 * KIB));
	}
	for (int k = i > 10 ? i - 10 : 0; k < i; k++) {
		EXPECT_TRUE(all_are(r.vmaddr + 8 * KIB + k % 10 * 4 * KIB, 10 + k, 4 * KIB));
	}
	die(_metadata);
}

TEST_F(api, full_log_and_missing_segment)
{
	const struct files *f = &self->f;
	char name[300], elsewhere[400];

	second(f, name);
	sprintf(elsewhere, "%s.away", name);
	CHILD_DIES(commit_to_both);
	ASSERT_EQ(0, rename(name, elsewhere));
	CHILD_DIES(fill_the_log);
	ASSERT_EQ(0, rename(elsewhere, name));
	CHILD_OK(recover_both);
}

/* Shorter than what the log has for it: an error that is said, or all of it is there. */
static void recover_short(CHILD_ARGS)
{
	char name[300];

	second(f, name);
	OK(start_and_listen(f));
	EXPECT_TRUE(file_is(f->segment, 0, 1, 5000));
	if (!logged) {
		EXPECT_TRUE(file_is(name, 0, 2, 5000));
	} else {
		EXPECT_FALSE(log_empty());
	}
	OK(rvm_terminate());
}

TEST_F(api, shorter_at_recovery)
{
	static const long sizes[] = { 0, 1, 512, 2500, 4096, 4999, 5000, 5001, 8192 };
	const struct files *f = &self->f;
	char name[300];

	second(f, name);
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		unlink(f->log);
		CHILD_DIES(commit_to_both);
		ASSERT_EQ(0, truncate(name, sizes[i]));
		CHILD_OK(recover_short);
	}
}

/* Cut while it is mapped.  What happens to its data is the cutter's fault. */
static void cut_while_mapped(CHILD_ARGS)
{
	rvm_region_t a, b;
	char name[300];

	second(f, name);
	ASSERT_TRUE(make_file(f->segment, 64 * KIB, 0));
	ASSERT_TRUE(make_file(name, 64 * KIB, 0));
	start(f);
	a = region_of(f->segment, 0, 0);
	b = region_of(name, 0, 0);
	OK(rvm_map(&a, NULL));
	OK(rvm_map(&b, NULL));
	OK(commit_bytes(b.vmaddr + 40 * KIB, 1, 4 * KIB, flush));
	OK(commit_bytes(b.vmaddr + 3 * KIB, 1, 4 * KIB, flush));
	ASSERT_EQ(0, truncate(name, 5000));
	OK(commit_bytes(a.vmaddr, 1, 4 * KIB, flush));
	OK(commit_bytes(b.vmaddr + 20 * KIB, 1, 4 * KIB, flush));
	if (rvm_truncate() == RVM_SUCCESS) {
		EXPECT_TRUE(file_is(name, 40 * KIB, 1, 4 * KIB));
		EXPECT_TRUE(file_is(name, 20 * KIB, 1, 4 * KIB));
	}
	EXPECT_TRUE(file_is(f->segment, 0, 1, 4 * KIB));
	OK(commit_bytes(a.vmaddr, 2, 4 * KIB, flush));
	rvm_terminate();
}

/* Where pages come on demand, one that is gone is SIGBUS, as for any mapped file. */
TEST_F(api, shorter_while_mapped)
{
	const struct files *f = &self->f;
	int status = in_child(_metadata, f, cut_while_mapped);

	ASSERT_TRUE(!status || (WIFSIGNALED(status) && WTERMSIG(status) == SIGBUS)) {
		TH_LOG("status %#x", status);
	}
	/* and no other process is the worse for it */
	start(f);
	EXPECT_TRUE(file_is(f->segment, 0, 2, 4 * KIB) || file_is(f->segment, 0, 1, 4 * KIB));
	OK(rvm_terminate());
}

/*
 * A file system of our own, of 1 MiB, at dir/small, gone with this process.
 * Where a process may make none, the test is skipped, and says so.
 */
static bool small_disk(const struct files *f, char *dir)
{
	sprintf(dir, "%s/small", f->dir);
	if (mkdir(dir, 0777))
		return false;
	if (unshare(CLONE_NEWNS) && unshare(CLONE_NEWUSER | CLONE_NEWNS))
		return false;
	mount("", "/", "", MS_REC | MS_PRIVATE, NULL);
	return !mount("small", dir, "tmpfs", 0, "size=1m");
}

#define SMALL_DISK(dir)							\
	if (!small_disk(&self->f, dir))					\
		SKIP(return, "can't mount a tmpfs here")

TEST_F(api, disk_full_for_log)
{
	rvm_options_t options;
	rvm_offset_t length = RVM_LENGTH_TO_OFFSET(4 * MIB);
	char dir[300], name[400];

	SMALL_DISK(dir);
	OK(RVM_INIT(NULL));
	sprintf(name, "%s/log", dir);
	rvm_init_options(&options);
	options.log_dev = name;
	EIO_ERRNO(ENOSPC, rvm_create_log(&options, &length, 0600));
	EXPECT_EQ(-1, access(name, F_OK));
	length = RVM_LENGTH_TO_OFFSET(256 * KIB);
	OK(rvm_create_log(&options, &length, 0600));
	OK(rvm_set_options(&options));
	OK(rvm_terminate());
	umount2(dir, MNT_DETACH);
}

TEST_F(api, disk_full_for_growing)
{
	rvm_region_t r;
	char dir[300], name[400];

	SMALL_DISK(dir);
	start(&self->f);
	sprintf(name, "%s/segment", dir);
	ASSERT_TRUE(make_file(name, 0, 0));
	r = region_of(name, 0, 0);
	r.dev_length = RVM_LENGTH_TO_OFFSET(4 * MIB);
	EIO_ERRNO(ENOSPC, rvm_map(&r, NULL));
	EXPECT_EQ(0, file_size(name));
	r.dev_length = RVM_LENGTH_TO_OFFSET(256 * KIB);
	OK(rvm_map(&r, NULL));
	OK(commit_bytes(r.vmaddr, 1, 256 * KIB - 1, flush));
	OK(rvm_truncate());
	OK(rvm_terminate());
	umount2(dir, MNT_DETACH);
}

/* A segment with holes, on a disk that fills up: its records stay until there is room. */
TEST_F(api, disk_full_for_truncation)
{
	rvm_return_t code = RVM_SUCCESS;
	rvm_engine_counters_t counters;
	char dir[300], name[400], filler[400];
	rvm_region_t r;
	int i, fd;

	SMALL_DISK(dir);
	sprintf(name, "%s/segment", dir);
	sprintf(filler, "%s/filler", dir);
	ASSERT_TRUE(make_file(name, 0, 0));
	ASSERT_EQ(0, truncate(name, 512 * KIB));
	OK(start_with(&self->f, 256 * KIB, 0));
	r = region_of(name, 0, 0);
	OK(rvm_map(&r, NULL));
	make_file(filler, 4 * MIB, 1);

	OK(commit_bytes(r.vmaddr, 1, 16 * KIB, flush));
	EIO_ERRNO(ENOSPC, rvm_truncate());
	EXPECT_TRUE(all_are(r.vmaddr, 1, 16 * KIB));
	/* commits go on while the log has room, then fail, and don't wait */
	for (i = 0; i < 100 && !code; i++)
		code = commit_bytes(r.vmaddr + 16 * KIB * (1 + i % 20), 2 + i, 16 * KIB, flush);
	ASSERT_EQ(RVM_EIO, code);
	ASSERT_EQ(ENOSPC, errno);
	i--;
	EXPECT_LT(5, i);
	EXPECT_GT(20, i);
	EXPECT_TRUE(all_are(r.vmaddr + 16 * KIB * (1 + i), 0, 16 * KIB));
	EIO_ERRNO(ENOSPC, rvm_truncate());
	OK(rvm_get_engine_counters(&counters));
	EXPECT_EQ(0, counters.failed);

	/* make room */
	fd = open(filler, O_RDWR | O_TRUNC | O_CLOEXEC);
	ASSERT_LE(0, fd);
	close(fd);
	OK(commit_bytes(r.vmaddr + 16 * KIB * (1 + i), 99, 16 * KIB, flush));
	OK(rvm_truncate());
	EXPECT_TRUE(file_is(name, 0, 1, 16 * KIB));
	for (int k = 0; k < i; k++) {
		EXPECT_TRUE(file_is(name, 16 * KIB * (1 + k), 2 + k, 16 * KIB));
	}
	EXPECT_TRUE(file_is(name, 16 * KIB * (1 + i), 99, 16 * KIB));
	OK(rvm_terminate());
	umount2(dir, MNT_DETACH);
}

/*
 * After a failed write to the log no commit succeeds.  The user engine's writes
 * fail while this process may not write to files.
 */
static void fail_the_log(CHILD_ARGS)
{
	const struct rlimit none = { 0, RLIM_INFINITY }, all = { RLIM_INFINITY, RLIM_INFINITY };
	rvm_engine_counters_t counters;
	rvm_region_t r;
	rvm_tid_t tid;

	signal(SIGXFSZ, SIG_IGN);
	OK(rvm_set_engine("user"));
	start(f);
	OK(map_segment(f, &r));
	OK(commit_bytes(r.vmaddr, 1, 1000, flush));
	OK(commit_bytes(r.vmaddr + 1000, 1, 1000, no_flush));
	ASSERT_EQ(0, setrlimit(RLIMIT_FSIZE, &none));
	EIO_ERRNO(EFBIG, commit_bytes(r.vmaddr + 2000, 2, 1000, flush));
	ASSERT_EQ(0, setrlimit(RLIMIT_FSIZE, &all));

	EIO_ERRNO(EFBIG, commit_bytes(r.vmaddr + 3000, 2, 1000, flush));
	EIO_ERRNO(EFBIG, commit_bytes(r.vmaddr + 4000, 2, 1000, no_flush));
	EIO_ERRNO(EFBIG, rvm_flush());
	ASSERT_EQ(RVM_EIO, rvm_truncate());
	OK(rvm_get_engine_counters(&counters));
	EXPECT_EQ(1, counters.failed);
	/* it stays readable, and aborts work */
	rvm_init_tid(&tid);
	OK(rvm_begin_transaction(&tid, restore));
	OK(rvm_set_range(&tid, r.vmaddr, 100));
	memset(r.vmaddr, 9, 100);
	OK(rvm_abort_transaction(&tid));
	EXPECT_TRUE(all_are(r.vmaddr, 1, 1000));
	ASSERT_EQ(RVM_EIO, rvm_terminate());
	CODE(RVM_EINIT, rvm_flush());
}

TEST_F(api, failed_log)
{
	const struct files *f = &self->f;

	CHILD_OK(fail_the_log);
	start(f);
	/* what was acknowledged is there, and nothing that failed after it */
	EXPECT_TRUE(file_is(f->segment, 0, 1, 1000));
	EXPECT_TRUE(file_is(f->segment, 3000, 0, 2000));
	OK(rvm_terminate());
}

TEST_HARNESS_MAIN
