// SPDX-License-Identifier: GPL-2.0 OR MIT
/*
 * Description: a file system that is full under a sparse segment or under the
 * log, on either engine.  What can't be written to the segment stays in the
 * log; when that is full, commits fail and don't hang; and when there is space
 * again all goes on.
 */
#include "tests/api/api.h"

#include <sys/mount.h>
#include <sys/statvfs.h>

#define LENGTH	(256 * KIB)	/* of the segment */
#define LOG	(128 * KIB)	/* of the log's record area */

FIXTURE(disk) { struct files f; char full[256]; };

FIXTURE_VARIANT(disk) { const char *engine; };
FIXTURE_VARIANT_ADD(disk, user) { "user" };
FIXTURE_VARIANT_ADD(disk, kernel) { "kernel" };

FIXTURE_SETUP(disk)
{
	make_files(_metadata, &self->f);
	snprintf(self->full, sizeof(self->full), "%s/full", self->f.dir);
	ASSERT_EQ(0, mkdir(self->full, 0777));
	ASSERT_EQ(0, mount("full", self->full, "tmpfs", 0, "size=1m"));
	setenv("RVM_ENGINE", variant->engine, 1);
}

FIXTURE_TEARDOWN(disk)
{
	EXPECT_EQ(0, umount(self->full));
	remove_files(&self->f);
}

static void filler_path(const struct files *f, char *path)
{
	sprintf(path, "%s/full/filler", f->dir);
}

/* Take all space that is left. */
static void fill(struct __test_metadata *_metadata, const struct files *f)
{
	char path[300], page[PAGE] = "";
	struct statvfs st;
	int fd;

	filler_path(f, path);
	fd = open(path, O_CREAT | O_WRONLY | O_APPEND | O_CLOEXEC, 0600);
	ASSERT_NE(-1, fd);
	while (write(fd, page, sizeof(page)) > 0)
		;
	ASSERT_EQ(ENOSPC, errno);
	close(fd);
	ASSERT_EQ(0, statvfs(path, &st));
	ASSERT_EQ(0, st.f_bfree);
}

static void make_space(struct __test_metadata *_metadata, const struct files *f)
{
	char path[300];

	filler_path(f, path);
	ASSERT_EQ(0, unlink(path));
}

/* A segment that is nothing but a hole. */
static void make_sparse(struct __test_metadata *_metadata, struct files *f)
{
	snprintf(f->segment, sizeof(f->segment), "%s/full/segment", f->dir);
	ASSERT_TRUE(make_file(f->segment, 0, 0));
	ASSERT_EQ(0, truncate(f->segment, LENGTH));
}

/* The i-th transaction, and what the first `count` of them leave. */
#define AT(i)		((i) % (LENGTH / PAGE) * PAGE)
#define VALUE(i)	((i) % 255 + 1)

static bool shows(const char *memory, unsigned int count)
{
	unsigned int first = count < LENGTH / PAGE ? 0 : count - LENGTH / PAGE, i;

	for (i = first; i < count; i++)
		if (!all_are(memory + AT(i), VALUE(i), 3000))
			return false;
	return count >= LENGTH / PAGE || all_are(memory + AT(count), 0, LENGTH - AT(count));
}

static void commit_some(struct __test_metadata *_metadata, char *memory, unsigned int from,
			unsigned int to)
{
	for (; from < to; from++)
		OK(commit_bytes(memory + AT(from), VALUE(from), 3000, from % 3 ? no_flush : flush));
}

/* The segment can't be written, until there is space. */
static void truncation(CHILD_ARGS)
{
	rvm_region_t region;
	rvm_return_t code;
	unsigned int count, i;
	int error;

	OK(start_with(f, LOG + STATUS_AREA, 0));
	OK(map_segment(f, &region));
	fill(_metadata, f);
	EIO_ERRNO(ENOSPC, (commit_some(_metadata, region.vmaddr, 0, 5), rvm_truncate()));
	for (count = 5; count < 1000; count++) {
		code = commit_bytes(region.vmaddr + AT(count), VALUE(count), 3000,
				    count % 3 ? no_flush : flush);
		error = errno;
		if (code)
			break;
	}
	ASSERT_EQ(RVM_EIO, code) TH_LOG("%s", rvm_return(code));
	ASSERT_EQ(ENOSPC, error);
	ASSERT_LT(20, count);
	ASSERT_TRUE(shows(region.vmaddr, count));
	for (i = 0; i < 3; i++) {
		EIO_ERRNO(ENOSPC, commit_bytes(region.vmaddr, 99, PAGE * 2, flush));
		ASSERT_TRUE(shows(region.vmaddr, count));
	}
	/* the log has not failed */
	OK(rvm_flush());

	make_space(_metadata, f);
	commit_some(_metadata, region.vmaddr, count, 2 * count);
	OK(rvm_truncate());
	ASSERT_TRUE(shows(region.vmaddr, 2 * count));
	for (i = 2 * count - 20; i < 2 * count; i++)
		ASSERT_TRUE(file_is(f->segment, AT(i), VALUE(i), 3000));
	OK(rvm_terminate());
}

TEST_F(disk, truncation)
{
	struct files *f = &self->f;

	make_sparse(_metadata, f);
	CHILD_OK(truncation);
}

static void leave_records(CHILD_ARGS)
{
	rvm_region_t region;
	rvm_options_t options;

	log_options(f, &options, LOG + STATUS_AREA, 0);
	options.truncate = 0;
	OK(RVM_INIT(&options));
	OK(map_segment(f, &region));
	commit_some(_metadata, region.vmaddr, 0, 22);
	OK(rvm_flush());
	die(_metadata);
}

/* Whoever needs the records learns why they can't be had; they are not lost. */
static void fail_to_recover(CHILD_ARGS)
{
	rvm_region_t region;
	rvm_return_t code;

	errno = 0;
	code = start_with(f, 0, 0);
	if (code == RVM_SUCCESS) {
		EIO_ERRNO(ENOSPC, map_segment(f, &region));
		/* without a new start */
		make_space(_metadata, f);
		OK(map_segment(f, &region));
		ASSERT_TRUE(shows(region.vmaddr, 22));
		die(_metadata);
	}
	ASSERT_EQ(RVM_EIO, code);
	ASSERT_EQ(ENOSPC, errno);
	make_space(_metadata, f);
	die(_metadata);
}

static void recovered(CHILD_ARGS)
{
	rvm_region_t region;

	OK(start_with(f, 0, 0));
	OK(map_segment(f, &region));
	ASSERT_TRUE(shows(region.vmaddr, 22));
	commit_some(_metadata, region.vmaddr, 22, 100);
	OK(rvm_truncate());
	OK(rvm_terminate());
	ASSERT_TRUE(file_is(f->segment, AT(99), VALUE(99), 3000));
}

TEST_F(disk, recovery)
{
	struct files *f = &self->f;

	make_sparse(_metadata, f);
	CHILD_DIES(leave_records);
	fill(_metadata, f);
	CHILD_DIES(fail_to_recover);
	CHILD_OK(recovered);
}

/* A log has all its space from the start. */
static void log_on_it(CHILD_ARGS)
{
	rvm_region_t region;

	OK(start_with(f, LOG + STATUS_AREA, 0));
	fill(_metadata, f);
	OK(map_segment(f, &region));
	commit_some(_metadata, region.vmaddr, 0, 200);
	OK(rvm_flush());
	die(_metadata);
}

static void log_again(CHILD_ARGS)
{
	rvm_region_t region;

	OK(start_with(f, 0, 0));
	OK(map_segment(f, &region));
	ASSERT_TRUE(shows(region.vmaddr, 200));
	commit_some(_metadata, region.vmaddr, 200, 300);
	OK(rvm_terminate());
}

TEST_F(disk, log)
{
	struct files *f = &self->f;

	snprintf(f->log, sizeof(f->log), "%s/full/log", f->dir);
	CHILD_DIES(log_on_it);
	CHILD_OK(log_again);
}

/* And where there is none, it is not made. */
static void no_log(CHILD_ARGS)
{
	fill(_metadata, f);
	EIO_ERRNO(ENOSPC, start_with(f, MIB, 0));
	make_space(_metadata, f);
	OK(start_with(f, LOG + STATUS_AREA, 0));
	OK(rvm_terminate());
}

TEST_F(disk, no_log)
{
	struct files *f = &self->f;

	snprintf(f->log, sizeof(f->log), "%s/full/log", f->dir);
	CHILD_OK(no_log);
}

TEST_HARNESS_MAIN
