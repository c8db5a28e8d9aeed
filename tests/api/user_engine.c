// SPDX-License-Identifier: GPL-2.0 OR MIT
/*
 * Description: the user engine when writes fail, hang or are refused.
 *
 * The program brings its own pread, pwrite and fdatasync, which do as they are
 * told; they stand before the C library's.  On the kernel engine there is nothing to
 * test here.
 */
#include "api.h"

#include <pthread.h>
#include <stdatomic.h>
#include <sys/file.h>
#include <sys/syscall.h>

/* What happens to writes and flushes of one file. */
struct fault {
	_Atomic ino_t inode;	/* 0: of none; truncation may just look */
	atomic_long pass;	/* so many go well first */
	int error;		/* then this happens, */
	atomic_long times;	/* so many times; */
	bool hang;		/* or the write never comes to an end */
	atomic_long calls, now;	/* writes: all, under way */
};

static struct fault write_fault, flush_fault;
static bool no_direct;		/* direct reads are refused, so I/O is buffered */

static bool is_at(struct fault *fault, int fd)
{
	struct stat st;

	return fault->inode && !fstat(fd, &st) && st.st_ino == fault->inode;
}

/* Does it fail this time? */
static bool strikes(struct fault *fault)
{
	if (atomic_fetch_sub(&fault->pass, 1) > 0 || atomic_fetch_sub(&fault->times, 1) <= 0)
		return false;
	while (fault->hang)
		pause();
	errno = fault->error;
	return true;
}

ssize_t pread(int fd, void *buffer, size_t length, off_t offset)
{
	if (no_direct && fcntl(fd, F_GETFL) & O_DIRECT) {
		errno = EINVAL;
		return -1;
	}
	return syscall(SYS_pread64, fd, buffer, length, offset);
}

ssize_t pwrite(int fd, const void *buffer, size_t length, off_t offset)
{
	bool at = is_at(&write_fault, fd);
	ssize_t n = -1;

	if (at) {
		atomic_fetch_add(&write_fault.calls, 1);
		atomic_fetch_add(&write_fault.now, 1);
	}
	if (!at || !strikes(&write_fault))
		n = syscall(SYS_pwrite64, fd, buffer, length, offset);
	if (at)
		atomic_fetch_sub(&write_fault.now, 1);
	return n;
}

int fdatasync(int fd)
{
	if (is_at(&flush_fault, fd) && strikes(&flush_fault))
		return -1;
	return syscall(SYS_fdatasync, fd);
}

static void set_fault(struct fault *fault, const char *path, long pass, int error, long times)
{
	struct stat st;

	fault->pass = pass;
	fault->error = error;
	fault->times = times;
	fault->inode = stat(path, &st) ? 0 : st.st_ino;
}

static void no_faults(void)
{
	write_fault.inode = flush_fault.inode = 0;
}

FIXTURE(user_engine) {
	struct files f;
	char other[300];
};

FIXTURE_SETUP(user_engine)
{
	const char *tmp = getenv("TMPDIR"), *engine = getenv("RVM_ENGINE");

	if (engine && !strcmp(engine, "kernel"))
		SKIP(return, "this is about the user engine");
	ASSERT_EQ(0, setenv("RVM_ENGINE", "user", 1));
	snprintf(self->f.dir, sizeof(self->f.dir), "%s/rvm-test.XXXXXX", tmp ? tmp : "/tmp");
	ASSERT_NE(NULL, mkdtemp(self->f.dir));
	snprintf(self->f.log, sizeof(self->f.log), "%s/log", self->f.dir);
	snprintf(self->f.segment, sizeof(self->f.segment), "%s/segment", self->f.dir);
	snprintf(self->other, sizeof(self->other), "%s.other", self->f.segment);
}

FIXTURE_TEARDOWN(user_engine)
{
	if (self->f.dir[0])
		nftw(self->f.dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static rvm_engine_counters_t counters(void)
{
	rvm_engine_counters_t c;

	memset(&c, 0, sizeof(c));
	rvm_get_engine_counters(&c);
	return c;
}

/* Map a segment of 256 KiB by name. */
static rvm_return_t map_name(const char *name, rvm_region_t *region)
{
	if (access(name, F_OK) && !make_file(name, 256 * KIB, 0))
		return RVM_EIO;
	*region = region_of(name, 0, 0);
	return rvm_map(region, NULL);
}

/* No commit, of whatever kind, and no flush succeeds any more. */
static void all_fails(struct __test_metadata *_metadata, char *at, int error)
{
	EIO_ERRNO(error, commit_bytes(at, 9, 10, flush));
	EIO_ERRNO(error, commit_bytes(at, 9, 10, no_flush));
	EIO_ERRNO(error, rvm_flush());
	EIO_ERRNO(error, rvm_truncate());
	EXPECT_EQ(1, counters().failed);
}

/* --- the log fails --- */

static void log_write_fails(CHILD_ARGS)
{
	rvm_region_t region;

	start(f);
	OK(map_segment(f, &region));
	OK(commit_bytes(region.vmaddr, 1, 100, flush));
	OK(commit_bytes(region.vmaddr + 1000, 1, 100, no_flush));
	EXPECT_EQ(0, counters().failed);
	set_fault(&write_fault, f->log, 0, ENXIO, 1);
	EIO_ERRNO(ENXIO, commit_bytes(region.vmaddr, 2, 100, flush));
	/* the device is well again, but the log isn't */
	all_fails(_metadata, region.vmaddr, ENXIO);
	EIO_ERRNO(ENXIO, rvm_terminate());
}

static void first_commit_alone(CHILD_ARGS)
{
	rvm_region_t region;

	start(f);
	OK(map_segment(f, &region));
	EXPECT_TRUE(all_are(region.vmaddr, 1, 100));
	EXPECT_TRUE(all_are(region.vmaddr + 100, 0, 200 * KIB));
	OK(commit_bytes(region.vmaddr, 3, 100, flush));
	OK(rvm_terminate());
}

TEST_F(user_engine, log_write_fails)
{
	const struct files *f = &self->f;

	CHILD_OK(log_write_fails);
	CHILD_OK(first_commit_alone);
}

static void log_flush_fails(CHILD_ARGS)
{
	rvm_region_t region;

	no_direct = true;
	start(f);
	OK(map_segment(f, &region));
	set_fault(&flush_fault, f->log, 0, EIO, 1);
	OK(commit_bytes(region.vmaddr, 2, 100, no_flush));
	EIO_ERRNO(EIO, rvm_flush());
	all_fails(_metadata, region.vmaddr, EIO);
	EIO_ERRNO(EIO, rvm_terminate());
}

TEST_F(user_engine, log_flush_fails)
{
	const struct files *f = &self->f;

	CHILD_OK(log_flush_fails);
}

/* What fails before it was captured did not happen in memory, either. */
static void failed_commit_is_undone(CHILD_ARGS)
{
	rvm_region_t region;
	rvm_tid_t tid;

	start(f);
	OK(map_segment(f, &region));
	OK(commit_bytes(region.vmaddr, 1, 100, flush));
	set_fault(&write_fault, f->log, 0, EIO, 1);
	EIO_ERRNO(EIO, commit_bytes(region.vmaddr + 500, 2, 100, flush));
	EIO_ERRNO(EIO, commit_bytes(region.vmaddr, 2, 50, no_flush));
	EXPECT_TRUE(all_are(region.vmaddr, 1, 100));

	rvm_init_tid(&tid);
	OK(rvm_begin_transaction(&tid, no_restore));
	OK(rvm_set_range(&tid, region.vmaddr, 10));
	memset(region.vmaddr, 4, 10);
	EIO_ERRNO(EIO, rvm_end_transaction(&tid, flush));
	/* no_restore gives back what is found */
	EXPECT_TRUE(all_are(region.vmaddr, changes_are_found ? 1 : 4, 10));
	CODE(RVM_ETID, rvm_abort_transaction(&tid));
}

TEST_F(user_engine, failed_commit_is_undone)
{
	const struct files *f = &self->f;

	CHILD_OK(failed_commit_is_undone);
}

static void status_write_fails(CHILD_ARGS)
{
	rvm_region_t region;

	start(f);
	OK(map_segment(f, &region));
	OK(commit_bytes(region.vmaddr, 1, 100, flush));
	set_fault(&write_fault, f->log, 0, EIO, 1);
	EIO_ERRNO(EIO, rvm_truncate());
	all_fails(_metadata, region.vmaddr, EIO);
	/* what is in the log stays readable */
	OK(rvm_unmap(&region));
	OK(map_segment(f, &region));
	EXPECT_TRUE(all_are(region.vmaddr, 1, 100));
	EIO_ERRNO(EIO, rvm_terminate());
}

TEST_F(user_engine, status_write_fails)
{
	const struct files *f = &self->f;

	CHILD_OK(status_write_fails);
	CHILD_OK(first_commit_alone);
}

/* --- a segment fails --- */

static void fill_log(struct __test_metadata *_metadata, char *at, int error, int *committed)
{
	rvm_return_t code;
	int i;

	for (i = 0; i < 1000; i++) {
		errno = 0;
		code = commit_bytes(at + i % 50 * 4 * KIB, i, 3000, i % 2 ? flush : no_flush);
		if (code)
			break;
	}
	ASSERT_EQ(RVM_EIO, code);
	ASSERT_EQ(error, errno);
	*committed = i;
}

static void segment_write_fails(CHILD_ARGS)
{
	rvm_region_t region;
	int i, committed, more;

	OK(start_with(f, 64 * KIB, 0));
	OK(map_segment(f, &region));
	set_fault(&write_fault, f->segment, 3, ENOSPC, 1000000);
	fill_log(_metadata, region.vmaddr, ENOSPC, &committed);
	EXPECT_LE(10, committed);
	EXPECT_EQ(0, counters().failed);
	EIO_ERRNO(ENOSPC, rvm_truncate());
	/* a big one finds no room, and is undone; a flush goes on working */
	EIO_ERRNO(ENOSPC, commit_bytes(region.vmaddr, 77, 40000, no_flush));
	EXPECT_FALSE(all_are(region.vmaddr, 77, 1));
	OK(rvm_flush());

	no_faults();
	OK(rvm_truncate());
	EXPECT_EQ(0, counters().log_used);
	for (i = committed > 50 ? committed - 50 : 0; i < committed; i++)
		EXPECT_TRUE(file_is(f->segment, i % 50 * 4 * KIB, i, 3000));
	for (more = 0; more < 100; more++)
		OK(commit_bytes(region.vmaddr, more, 3000, flush));
	OK(rvm_terminate());
}

TEST_F(user_engine, segment_write_fails)
{
	const struct files *f = &self->f;

	CHILD_OK(segment_write_fails);
}

/* A flush that failed may have lost what was written since the last: all is written again. */
static void segment_flush_fails(CHILD_ARGS)
{
	rvm_engine_counters_t c;
	rvm_region_t region;

	start(f);
	OK(map_segment(f, &region));
	OK(commit_bytes(region.vmaddr, 1, 100, no_flush));
	OK(commit_bytes(region.vmaddr + 1000, 1, 100, no_flush));
	set_fault(&flush_fault, f->segment, 0, EIO, 1);
	EIO_ERRNO(EIO, rvm_truncate());
	EXPECT_LT(0, counters().log_used);
	c = counters();
	EXPECT_EQ(200, c.segment_bytes);
	OK(commit_bytes(region.vmaddr + 20000, 1, 100, no_flush));
	OK(rvm_truncate());
	c = counters();
	EXPECT_EQ(500, c.segment_bytes);
	EXPECT_EQ(0, c.log_used);
	OK(rvm_terminate());
}

TEST_F(user_engine, segment_flush_fails)
{
	const struct files *f = &self->f;

	FEW_BYTES_ONLY("counts of bytes");
	CHILD_OK(segment_flush_fails);
}

/* In recovery it is an error, and changes nothing: the next try has it all. */
static void commit_and_die(CHILD_ARGS)
{
	rvm_region_t region;

	start(f);
	OK(map_segment(f, &region));
	OK(commit_bytes(region.vmaddr, 1, 100, flush));
	die(_metadata);
}

static void recovery_fails(CHILD_ARGS)
{
	rvm_options_t options;

	log_options(f, &options, MIB, 0);
	set_fault(&write_fault, f->segment, 0, ENOSPC, 1);
	EIO_ERRNO(ENOSPC, RVM_INIT(&options));
	set_fault(&flush_fault, f->segment, 0, EIO, 1);
	EIO_ERRNO(EIO, RVM_INIT(&options));
	set_fault(&write_fault, f->log, 0, EIO, 1);
	EIO_ERRNO(EIO, RVM_INIT(&options));
	no_faults();
	OK(RVM_INIT(&options));
	EXPECT_EQ(1, counters().recovered_records);
	EXPECT_TRUE(file_is(f->segment, 0, 1, 100));
	OK(rvm_terminate());
}

TEST_F(user_engine, recovery_fails)
{
	const struct files *f = &self->f;

	CHILD_DIES(commit_and_die);
	CHILD_OK(recovery_fails);
}

/* --- segments that are missing --- */

static void two_segments(CHILD_ARGS)
{
	char other[300];
	rvm_region_t a, b;
	rvm_tid_t tid;

	snprintf(other, sizeof(other), "%s.other", f->segment);
	start(f);
	OK(map_segment(f, &a));
	OK(map_name(other, &b));
	OK(commit_bytes(a.vmaddr, 1, 100, flush));
	OK(commit_bytes(b.vmaddr, 1, 100, flush));
	rvm_init_tid(&tid);
	OK(rvm_begin_transaction(&tid, restore));
	OK(rvm_set_range(&tid, a.vmaddr + 1000, 100));
	OK(rvm_set_range(&tid, b.vmaddr + 1000, 100));
	memset(a.vmaddr + 1000, 2, 100);
	memset(b.vmaddr + 1000, 2, 100);
	OK(rvm_end_transaction(&tid, flush));
	OK(commit_bytes(a.vmaddr + 2000, 3, 100, flush));
	OK(commit_bytes(b.vmaddr + 2000, 3, 100, flush));
	die(_metadata);
}

/* With a segment away all goes on with the other, and truncation says why it can't. */
static void without_other(CHILD_ARGS)
{
	rvm_region_t a;
	int i;

	start(f);
	EXPECT_LT(0, counters().log_used);
	EXPECT_TRUE(file_is(f->segment, 0, 1, 100));
	EXPECT_TRUE(file_is(f->segment, 1000, 2, 100));
	OK(map_segment(f, &a));
	EXPECT_TRUE(all_are(a.vmaddr + 2000, 3, 100) || all_are(a.vmaddr + 2000, 4, 260));
	for (i = 0; i < 5; i++)
		OK(commit_bytes(a.vmaddr + 2000, 4, 100 + i * 40, i % 2 ? flush : no_flush));
	EIO_ERRNO(ENOENT, rvm_truncate());
	EXPECT_TRUE(file_is(f->segment, 2000, 4, 260));
	OK(commit_bytes(a.vmaddr + 2500, 5, 100, flush));
	OK(rvm_unmap(&a));
	OK(map_segment(f, &a));
	EXPECT_TRUE(all_are(a.vmaddr + 2500, 5, 100));
}

static void without_other_and_die(CHILD_ARGS)
{
	without_other(_metadata, f);
	die(_metadata);
}

static void without_other_and_terminate(CHILD_ARGS)
{
	without_other(_metadata, f);
	OK(rvm_terminate());
}

static void fill_without_other(CHILD_ARGS)
{
	rvm_region_t a;
	int committed;

	start(f);
	OK(map_segment(f, &a));
	fill_log(_metadata, a.vmaddr, ENOENT, &committed);
	EXPECT_EQ(0, counters().failed);
	OK(rvm_terminate());
}

static void check_other(struct __test_metadata *_metadata, const char *b)
{
	EXPECT_TRUE(all_are(b, 1, 100));
	EXPECT_TRUE(all_are(b + 1000, 2, 100));
	EXPECT_TRUE(all_are(b + 2000, 3, 100));
}

static void map_other(CHILD_ARGS)
{
	char other[300], away[300];
	rvm_region_t b;

	snprintf(other, sizeof(other), "%s.other", f->segment);
	snprintf(away, sizeof(away), "%s.away", f->segment);
	start(f);
	EIO_ERRNO(ENOENT, rvm_truncate());
	ASSERT_EQ(0, rename(away, other));
	OK(map_name(other, &b));
	check_other(_metadata, b.vmaddr);
	OK(commit_bytes(b.vmaddr + 3000, 6, 100, flush));
	OK(rvm_truncate());
	EXPECT_EQ(0, counters().log_used);
	OK(rvm_terminate());
}

static void open_with_other(CHILD_ARGS)
{
	char other[300];
	rvm_region_t b;

	snprintf(other, sizeof(other), "%s.other", f->segment);
	start(f);
	EXPECT_EQ(0, counters().log_used);
	OK(map_name(other, &b));
	check_other(_metadata, b.vmaddr);
	OK(rvm_terminate());
}

TEST_F(user_engine, segment_missing)
{
	const struct files *f = &self->f;
	char away[300];

	snprintf(away, sizeof(away), "%s.away", f->segment);
	CHILD_DIES(two_segments);
	ASSERT_EQ(0, rename(self->other, away));
	CHILD_OK(without_other_and_terminate);
	CHILD_DIES(without_other_and_die);
	CHILD_OK(without_other_and_terminate);
	CHILD_OK(map_other);
	CHILD_OK(open_with_other);
}

TEST_F(user_engine, segment_missing_until_the_log_is_full)
{
	const struct files *f = &self->f;
	char away[300];

	snprintf(away, sizeof(away), "%s.away", f->segment);
	CHILD_DIES(two_segments);
	ASSERT_EQ(0, rename(self->other, away));
	CHILD_OK(fill_without_other);
	CHILD_OK(fill_without_other);
	ASSERT_EQ(0, rename(away, self->other));
	CHILD_OK(open_with_other);
}

static void refuse_fifo(CHILD_ARGS)
{
	start(f);
	EIO_ERRNO(EINVAL, rvm_truncate());
	OK(rvm_terminate());
}

TEST_F(user_engine, segment_not_a_file)
{
	const struct files *f = &self->f;
	char away[300];

	snprintf(away, sizeof(away), "%s.away", f->segment);
	CHILD_DIES(two_segments);
	ASSERT_EQ(0, rename(self->other, away));
	/* nobody reads it: an open that waited would hang */
	ASSERT_EQ(0, mkfifo(self->other, 0666));
	CHILD_OK(refuse_fifo);
	ASSERT_EQ(0, rename(away, self->other));
	CHILD_OK(open_with_other);
}

static void refuse_owned(CHILD_ARGS)
{
	start(f);
	EIO_ERRNO(EBUSY, rvm_truncate());
	OK(rvm_terminate());
}

TEST_F(user_engine, segment_of_another_owner)
{
	const struct files *f = &self->f;
	int fd;

	CHILD_DIES(two_segments);
	fd = open(self->other, O_RDWR | O_CLOEXEC);
	ASSERT_EQ(0, flock(fd, LOCK_EX | LOCK_NB));
	CHILD_OK(refuse_owned);
	EXPECT_TRUE(file_is(self->other, 0, 0, 3000));
	close(fd);
	CHILD_OK(open_with_other);
}

/* A file that was cut grows again to hold what was committed. */
TEST_F(user_engine, segment_cut)
{
	const struct files *f = &self->f;

	FEW_BYTES_ONLY("a segment grows to whole pages");
	CHILD_DIES(two_segments);
	ASSERT_EQ(0, truncate(self->other, 1050));
	CHILD_OK(open_with_other);
	EXPECT_EQ(2100, file_size(self->other));
}

/* --- owning --- */

/* Fork one that lives on, and wait until it does. */
static void leave_child(void)
{
	int fds[2];
	char c = 0;

	if (pipe(fds))
		return;
	if (!fork()) {
		if (write(fds[1], &c, 1) == 1)
			sleep(20);
		_exit(0);
	}
	while (read(fds[0], &c, 1) < 0)
		;
}

/* A forked child that lives on does not own the log, nor a segment. */
static void fork_and_die(CHILD_ARGS)
{
	rvm_region_t a;

	start(f);
	OK(map_segment(f, &a));
	OK(commit_bytes(a.vmaddr, 1, 100, flush));
	leave_child();
	die(_metadata);
}

static void fork_and_die_private(CHILD_ARGS)
{
	rvm_options_t options;
	rvm_region_t a;

	start(f);
	ASSERT_TRUE(make_file(f->segment, 256 * KIB, 0));
	rvm_init_options(&options);
	options.flags = RVM_MAP_PRIVATE;
	a = region_of(f->segment, 0, 0);
	OK(rvm_map(&a, &options));
	OK(commit_bytes(a.vmaddr, 1, 100, flush));
	leave_child();
	die(_metadata);
}

TEST_F(user_engine, forked_child_lives_on)
{
	const struct files *f = &self->f;

	CHILD_DIES(fork_and_die);
	CHILD_OK(first_commit_alone);
}

TEST_F(user_engine, forked_child_keeps_a_private_map)
{
	const struct files *f = &self->f;

	CHILD_DIES(fork_and_die_private);
	CHILD_OK(first_commit_alone);
}

static void terminate_under_private_map(CHILD_ARGS)
{
	rvm_options_t options;
	rvm_region_t a;
	int fd;

	start(f);
	ASSERT_TRUE(make_file(f->segment, 256 * KIB, 7));
	rvm_init_options(&options);
	options.flags = RVM_MAP_PRIVATE;
	a = region_of(f->segment, 0, 0);
	OK(rvm_map(&a, &options));
	fd = open(f->segment, O_RDWR | O_CLOEXEC);
	EXPECT_EQ(-1, flock(fd, LOCK_EX | LOCK_NB));
	OK(rvm_terminate());
	EXPECT_EQ(0, flock(fd, LOCK_EX | LOCK_NB));
	EXPECT_TRUE(all_are(a.vmaddr, 7, 256 * KIB));
}

TEST_F(user_engine, terminate_under_private_map)
{
	const struct files *f = &self->f;

	CHILD_OK(terminate_under_private_map);
}

/* --- the log's end --- */

struct committer {
	char *at;
	int value, times;
	rvm_mode_t mode;
	rvm_return_t code;
	unsigned long length;
};

static void *committer(void *context)
{
	struct committer *c = context;

	while (c->times-- > 0 && !c->code)
		c->code = commit_bytes(c->at, c->value, c->length, c->mode);
	return NULL;
}

/*
 * Two writes are under way when the process dies; the first was never made, the
 * second was.  What it holds was not acknowledged, and its predecessor is lost:
 * it must not come back when another record takes the place of the first.
 */
static void second_write_alone(CHILD_ARGS)
{
	struct committer first, second;
	rvm_region_t region;
	pthread_t id;

	start(f);
	OK(map_segment(f, &region));
	OK(commit_bytes(region.vmaddr, 1, 100, flush));
	first = (struct committer){ region.vmaddr + 1000, 2, 1, flush, 0, 100 };
	second = (struct committer){ region.vmaddr + 2000, 3, 1, flush, 0, 100 };
	set_fault(&write_fault, f->log, 0, 0, 1);
	write_fault.hang = true;
	ASSERT_EQ(0, pthread_create(&id, NULL, committer, &first));
	while (!write_fault.calls)
		usleep(1000);
	ASSERT_EQ(0, pthread_create(&id, NULL, committer, &second));
	while (write_fault.calls < 2 || write_fault.now > 1)
		usleep(1000);
	usleep(50000);
	EXPECT_EQ(1, first.times + second.times + 1);
	die(_metadata);
}

static void in_its_place(CHILD_ARGS)
{
	rvm_region_t region;

	start(f);
	EXPECT_EQ(1, counters().recovered_records);
	OK(map_segment(f, &region));
	EXPECT_TRUE(all_are(region.vmaddr + 1000, 0, 2000));
	OK(commit_bytes(region.vmaddr + 1000, 4, 100, flush));
	die(_metadata);
}

static void not_come_back(CHILD_ARGS)
{
	rvm_region_t region;

	start(f);
	EXPECT_EQ(1, counters().recovered_records);
	OK(map_segment(f, &region));
	EXPECT_TRUE(all_are(region.vmaddr + 1000, 4, 100));
	EXPECT_TRUE(all_are(region.vmaddr + 2000, 0, 100));
	OK(rvm_terminate());
}

TEST_F(user_engine, lost_write_before_a_whole_one)
{
	const struct files *f = &self->f;

	DECLARED_ONLY("several transactions at a time");
	CHILD_DIES(second_write_alone);
	CHILD_DIES(in_its_place);
	CHILD_OK(not_come_back);
}

/* A small log, threads that all want more of it than there is, and failures in between. */
static void crowd(CHILD_ARGS)
{
	struct committer c[8];
	rvm_region_t region;
	pthread_t id[8];
	int i;

	OK(start_with(f, 16 * KIB, 0));
	OK(map_segment(f, &region));
	for (i = 0; i < 8; i++) {
		c[i] = (struct committer){ region.vmaddr + i * 16 * KIB, i + 1, 200,
					   i % 2 ? flush : no_flush, 0, i < 4 ? 10000 : 100 };
		ASSERT_EQ(0, pthread_create(&id[i], NULL, committer, &c[i]));
	}
	for (i = 0; i < 8; i++) {
		ASSERT_EQ(0, pthread_join(id[i], NULL));
		EXPECT_EQ(RVM_SUCCESS, c[i].code);
	}
	OK(rvm_truncate());
	for (i = 0; i < 8; i++)
		EXPECT_TRUE(file_is(f->segment, i * 16 * KIB, i + 1, i < 4 ? 10000 : 100));

	/* and when it can't be emptied, all come back */
	set_fault(&write_fault, f->segment, 0, EIO, 1000000);
	for (i = 0; i < 8; i++) {
		c[i].times = 200;
		ASSERT_EQ(0, pthread_create(&id[i], NULL, committer, &c[i]));
	}
	for (i = 0; i < 8; i++) {
		ASSERT_EQ(0, pthread_join(id[i], NULL));
		EXPECT_EQ(RVM_EIO, c[i].code);
	}
	no_faults();
	OK(rvm_truncate());
	OK(commit_bytes(region.vmaddr, 9, 10000, flush));
	OK(rvm_terminate());
}

TEST_F(user_engine, crowd)
{
	const struct files *f = &self->f;

	DECLARED_ONLY("commits of what is there already");
	CHILD_OK(crowd);
}

/* --- no_flush commits in the queue --- */

static void coalesced(CHILD_ARGS)
{
	rvm_engine_counters_t c;
	rvm_region_t region;
	int i;

	OK(start_with(f, MIB, RVM_COALESCE_TRANS));
	OK(map_segment(f, &region));
	for (i = 0; i < 1000; i++) {
		OK(commit_bytes(region.vmaddr + 100, i, 50, no_flush));
		OK(commit_bytes(region.vmaddr + 200 + i * 10, i, 10, no_flush));
		OK(commit_bytes(region.vmaddr + 110, i + 1, 7, no_flush));
	}
	c = counters();
	EXPECT_EQ(3000, c.commits);
	OK(commit_bytes(region.vmaddr + 50000, 5, 10, flush));
	c = counters();
	/* 10 KiB in all, and what was before the log was opened: its status */
	EXPECT_GE(5, c.log_writes);
	EXPECT_GE(20 * KIB, c.log_bytes);
	die(_metadata);
}

static void coalesced_after(CHILD_ARGS)
{
	rvm_region_t region;
	int i;

	start(f);
	EXPECT_EQ(1, counters().recovered_records);
	OK(map_segment(f, &region));
	EXPECT_TRUE(all_are(region.vmaddr + 100, 999 & 255, 10));
	EXPECT_TRUE(all_are(region.vmaddr + 110, 1000 & 255, 7));
	EXPECT_TRUE(all_are(region.vmaddr + 117, 999 & 255, 33));
	for (i = 0; i < 1000; i++)
		EXPECT_TRUE(all_are(region.vmaddr + 200 + i * 10, i, 10));
	EXPECT_TRUE(all_are(region.vmaddr + 50000, 5, 10));
	EXPECT_TRUE(all_are(region.vmaddr, 0, 100));
	OK(rvm_terminate());
}

TEST_F(user_engine, coalesced)
{
	const struct files *f = &self->f;

	CHILD_DIES(coalesced);
	CHILD_OK(coalesced_after);
}

/* The queue is bounded: beyond flush_buf_len it is written. */
static void bounded_queue(CHILD_ARGS)
{
	rvm_options_t options;
	rvm_region_t region;
	long before;
	int i;

	log_options(f, &options, MIB, 0);
	options.flush_buf_len = 64 * KIB;
	OK(RVM_INIT(&options));
	OK(map_segment(f, &region));
	before = counters().log_writes;
	for (i = 0; i < 6; i++)
		OK(commit_bytes(region.vmaddr, i, 10000, no_flush));
	EXPECT_EQ(before, counters().log_writes);
	for (i = 0; i < 12; i++)
		OK(commit_bytes(region.vmaddr, i, 10000, no_flush));
	EXPECT_EQ(before + 2, counters().log_writes);
	/* one that is longer than the queue may be goes with what is in it */
	OK(commit_bytes(region.vmaddr, 7, 200000, no_flush));
	EXPECT_EQ(before + 3, counters().log_writes);
	die(_metadata);
}

static void bounded_queue_after(CHILD_ARGS)
{
	rvm_region_t region;

	start(f);
	OK(map_segment(f, &region));
	EXPECT_TRUE(all_are(region.vmaddr, 7, 200000));
	OK(rvm_terminate());
}

TEST_F(user_engine, bounded_queue)
{
	const struct files *f = &self->f;

	CHILD_DIES(bounded_queue);
	CHILD_OK(bounded_queue_after);
}

TEST_HARNESS_MAIN
