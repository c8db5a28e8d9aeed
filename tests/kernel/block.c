// SPDX-License-Identifier: GPL-2.0 OR MIT
/*
 * Description: raw block devices as log and segment, with blocks of 512 and
 * 4096 bytes, with sectors that fail, and one that is slow.  On null_blk devices.
 */
#include <linux/fs.h>

#include "null_blk.h"

FIXTURE(block) { struct world w; };

FIXTURE_VARIANT(block) { const char *block; };
FIXTURE_VARIANT_ADD(block, bytes_512) { "512" };
FIXTURE_VARIANT_ADD(block, bytes_4096) { "4096" };

FIXTURE_SETUP(block)
{
	struct world *w = &self->w;

	if (access(NULL_BLK, X_OK))
		SKIP(return, "null_blk is not loaded");
	WORKS(make_device(w->f.log, "rvmlog", "1", variant->block));
	WORKS(make_device(w->f.segment, "rvmseg", "4", variant->block));
	WORKS(format_log(w->f.log));
	ASSERT_TRUE(module_is_free());
	WORKS(open_world(w));
	WORKS(set_truncate(w->log, 0));
}

FIXTURE_TEARDOWN(block)
{
	close_world(&self->w);
	EXPECT_EQ(0, remove_device("rvmlog"));
	EXPECT_EQ(0, remove_device("rvmseg"));
}

TEST_F(block, commit_and_recover)
{
	struct world *w = &self->w;
	uint64_t length;
	int fd, i;

	WORKS(fd = open(w->f.segment, O_RDONLY | O_CLOEXEC));
	WORKS(ioctl(fd, BLKGETSIZE64, &length));
	ASSERT_EQ(4 * MIB, length);
	close(fd);
	ASSERT_EQ(MIB - 128 * KIB, query(w->log).log_length);
	for (i = 1; i < 20; i++) {
		set(w->area, w->memory + i * 1000, i, 1000);
		WORKS(commit(w->log, w->area, i % 3 ? 0 : RVM_COMMIT_FLUSH));
		set(w->area, w->memory, i, 10);
		WORKS(do_abort(w->log, w->area));
		if (i % 6 == 0)
			WORKS(reopen_world(w));
		ASSERT_TRUE(all_are(w->memory + i * 1000, i, 1000));
		ASSERT_TRUE(all_are(w->memory, 0, 1000));
	}
	WORKS(truncate_log(w->log));
	WORKS(reopen_world(w));
	ASSERT_EQ(0, query(w->log).recovered_records);
	for (i = 1; i < 20; i++)
		ASSERT_TRUE(all_are(w->memory + i * 1000, i, 1000));
}

/* Ordinary reads of the device, cached ones too, see what was truncated. */
TEST_F(block, coherent)
{
	struct world *w = &self->w;
	int fd, i;
	char byte;

	WORKS(fd = open(w->f.segment, O_RDONLY | O_CLOEXEC));
	for (i = 1; i < 30; i++) {
		/* in the device's page cache */
		ASSERT_EQ(1, pread(fd, &byte, 1, 3 * PAGE));
		ASSERT_EQ(i - 1, byte);
		set(w->area, w->memory + 2 * PAGE, i, 3 * PAGE);
		WORKS(commit(w->log, w->area, 0));
		ASSERT_EQ(1, pread(fd, &byte, 1, 3 * PAGE));
		ASSERT_EQ(i - 1, byte);
		WORKS(truncate_log(w->log));
		ASSERT_TRUE(file_is(w->f.segment, 2 * PAGE, i, 3 * PAGE));
		ASSERT_TRUE(file_is(w->f.segment, 0, 0, 2 * PAGE));
	}
	close(fd);
}

/* What was written through the page cache before the attach is seen by it. */
TEST_F(block, written_before)
{
	struct world *w = &self->w;
	char page[PAGE];
	int fd;

	close_world(w);
	memset(page, 5, sizeof(page));
	WORKS(fd = open(w->f.segment, O_RDWR | O_CLOEXEC));
	ASSERT_EQ((ssize_t)PAGE, pwrite(fd, page, PAGE, PAGE));
	WORKS(open_world(w));
	ASSERT_TRUE(all_are(w->memory + PAGE, 5, PAGE));
	set(w->area, w->memory + PAGE, 6, 100);
	WORKS(commit(w->log, w->area, 0));
	WORKS(truncate_log(w->log));
	close(fd);
	ASSERT_TRUE(file_is(w->f.segment, PAGE, 6, 100));
	ASSERT_TRUE(file_is(w->f.segment, PAGE + 100, 5, PAGE - 100));
}

/* Several turns of the log, with attaches in between. */
TEST_F(block, wrap_around)
{
	struct world *w = &self->w;
	char *model = calloc(1, LENGTH);
	unsigned int i, offset, length;

	for (i = 0; i < 300; i++) {
		offset = i * 991 % 20000;
		length = 1 + i * 337 % 40000;
		set(w->area, w->memory + offset, i, length);
		memset(model + offset, i, length);
		WORKS(commit(w->log, w->area, i % 4 ? 0 : RVM_COMMIT_FLUSH));
		if (i % 37 == 36) {
			set(w->area, w->memory, i + 1, 5000);
			WORKS(reopen_world(w));
			ASSERT_EQ(0, memcmp(w->memory, model, LENGTH));
		}
	}
	free(model);
}

static int copy_device(const char *from, const char *to)
{
	int in = open(from, O_RDONLY | O_CLOEXEC), out = open(to, O_WRONLY | O_CLOEXEC), ret = -1;
	char *buffer = malloc(MIB);

	if (in >= 0 && out >= 0 && read(in, buffer, MIB) == (ssize_t)MIB &&
	    write(out, buffer, MIB) == (ssize_t)MIB)
		ret = fsync(out);
	free(buffer);
	close(in);
	close(out);
	return ret;
}

/*
 * A log that is full to its last block comes to a device with other blocks.
 * Where they are larger, the next one would reach the live head: it is no
 * damaged log, and RECOVER makes room.
 */
TEST_F(block, full_for_other_blocks)
{
	struct world *w = &self->w;
	unsigned int i, commits, block = atoi(variant->block);
	char old_log[256];

	/* the head comes to the last small block of a large one */
	for (i = 0; i < 7; i++) {
		set(w->area, w->memory, 1, 1);
		WORKS(commit(w->log, w->area, RVM_COMMIT_FLUSH));
	}
	WORKS(truncate_log(w->log));
	ASSERT_EQ(0, query(w->log).log_used);
	for (commits = 0; query(w->log).log_length - query(w->log).log_used > block; commits++) {
		set(w->area, w->memory + commits, 2, 1);
		WORKS(commit(w->log, w->area, RVM_COMMIT_FLUSH));
	}
	ASSERT_LT(200, commits);
	close_world(w);

	strcpy(old_log, w->f.log);
	WORKS(make_device(w->f.log, "rvmother", "1", block == 512 ? "4096" : "512"));
	WORKS(copy_device(old_log, w->f.log));
	for (i = 0; i < 2; i++) {
		/* without RECOVER, that is, at first */
		if (!i) {
			WORKS(w->log = attach(w->f.log));
			ASSERT_LE(query(w->log).log_used, query(w->log).log_length);
			close(w->log);
		}
		WORKS(open_world(w));
		ASSERT_EQ(i ? 1 : commits, query(w->log).recovered_records);
		ASSERT_TRUE(all_are(w->memory, 2, commits));
		ASSERT_TRUE(all_are(w->memory + commits, i ? 3 : 0, 10));
		set(w->area, w->memory + commits, 3, 10);
		WORKS(commit(w->log, w->area, RVM_COMMIT_FLUSH));
		close_world(w);
	}
	WORKS(remove_device("rvmother"));
	strcpy(w->f.log, old_log);
	WORKS(open_world(w));
}

/* An exclusive claim, in both directions. */
TEST_F(block, exclusive)
{
	struct world *w = &self->w;
	char node[] = "/tmp/rvm-node";
	struct stat st;
	int fd, log;

	FAILS(EBUSY, open(w->f.log, O_RDWR | O_EXCL | O_CLOEXEC));
	FAILS(EBUSY, open(w->f.segment, O_RDWR | O_EXCL | O_CLOEXEC));
	FAILS(EBUSY, segment(w->log, w->f.log));
	FAILS(EBUSY, attach(w->f.segment));
	/* another node of the device is the same log */
	WORKS(stat(w->f.log, &st));
	unlink(node);
	WORKS(mknod(node, S_IFBLK | 0600, st.st_rdev));
	WORKS(log = attach(node));
	WORKS(commit(log, w->area, 0));
	close(log);
	unlink(node);

	close_world(w);
	WORKS(fd = open(w->f.log, O_RDWR | O_EXCL | O_CLOEXEC));
	FAILS(EBUSY, attach(w->f.log));
	FAILS(EBUSY, attach_fd(fd));
	close(fd);
	WORKS(log = attach(w->f.log));
	WORKS(fd = open(w->f.segment, O_RDWR | O_EXCL | O_CLOEXEC));
	FAILS(EBUSY, segment(log, w->f.segment));
	close(fd);
	close(log);
	WORKS(open_world(w));
}

/* --- many writes at once -------------------------------------------------- */

/* Milliseconds that the device had something to do, and those of all its writes together. */
static int spent(const char *device, unsigned long *busy, unsigned long *writes)
{
	char path[100];
	FILE *file;
	int n;

	snprintf(path, sizeof(path), "/sys/block/%s/stat", device);
	file = fopen(path, "re");
	if (!file)
		return -1;
	n = fscanf(file, "%*u %*u %*u %*u %*u %*u %*u %lu %*u %lu", writes, busy);
	fclose(file);
	return n == 2 ? 0 : -1;
}

/* Every other page, so that each is a write of its own. */
static void set_apart(const struct world *w, char *memory, int value)
{
	unsigned int i;

	for (i = 0; i < LENGTH; i += 2 * PAGE)
		set(w->area, memory + i, value, 100);
}

static bool are_apart(const char *path, int value)
{
	unsigned int i;

	for (i = 0; i < LENGTH; i += 2 * PAGE)
		if (!file_is(path, i, value, 100) || !file_is(path, i + 100, 0, 2 * PAGE - 100))
			return false;
	return true;
}

FIXTURE(two)
{
	struct world w;
	char path[256];
	int segment;
	char *memory;
};

FIXTURE_VARIANT(two) { const char *block; };
FIXTURE_VARIANT_ADD(two, bytes_512) { "512" };
FIXTURE_VARIANT_ADD(two, bytes_4096) { "4096" };

/* A second segment, each request to which takes 100 ms. */
FIXTURE_SETUP(two)
{
	struct world *w = &self->w;

	if (access(NULL_BLK, X_OK))
		SKIP(return, "null_blk is not loaded");
	WORKS(make_device(w->f.log, "rvmlog", "1", variant->block));
	WORKS(make_device(w->f.segment, "rvmseg", "4", variant->block));
	WORKS(make_slow_device(self->path, "rvmslow", "4", variant->block, "64", "100000000"));
	WORKS(format_log(w->f.log));
	ASSERT_TRUE(module_is_free());
	WORKS(open_world(w));
	WORKS(set_truncate(w->log, 0));
	WORKS(self->segment = segment(w->log, self->path));
	self->memory = map(self->segment, LENGTH);
	ASSERT_NE(MAP_FAILED, self->memory);
}

FIXTURE_TEARDOWN(two)
{
	munmap(self->memory, LENGTH);
	close(self->segment);
	close_world(&self->w);
	EXPECT_EQ(0, remove_device("rvmlog"));
	EXPECT_EQ(0, remove_device("rvmseg"));
	EXPECT_EQ(0, remove_device("rvmslow"));
}

/* Truncation does not wait for one before it begins the next. */
TEST_F(two, writes_at_once)
{
	unsigned long busy_before, busy, writes_before, writes;
	uint64_t count = query(self->w.log).segment_writes;

	set_apart(&self->w, self->memory, 1);
	WORKS(commit(self->w.log, self->w.area, 0));
	WORKS(spent("rvmslow", &busy_before, &writes_before));
	WORKS(truncate_log(self->w.log));
	WORKS(spent("rvmslow", &busy, &writes));
	busy -= busy_before;
	writes -= writes_before;
	ASSERT_EQ(count + 8, query(self->w.log).segment_writes);
	/* one after the other: as much time as the device was busy */
	ASSERT_LT(2 * busy, writes) TH_LOG("busy for %lu of %lu ms", busy, writes);
	ASSERT_TRUE(are_apart(self->path, 1));
}

/* One that fails lets the others end first, and frees nothing. */
TEST_F(two, one_write_fails)
{
	struct world *w = &self->w;
	unsigned int i;
	uint64_t used;

	for (i = 1; i <= 3; i++) {
		set_apart(w, w->memory, i);
		set_apart(w, self->memory, i);
		WORKS(commit(w->log, w->area, RVM_COMMIT_FLUSH));
		used = query(w->log).log_used;
		WORKS(configure("rvmseg", "badblocks", "+48-55"));
		FAILS(EIO, truncate_log(w->log));
		ASSERT_EQ(used, query(w->log).log_used);
		ASSERT_EQ(0, query(w->log).failed);
		WORKS(configure("rvmseg", "badblocks", "-48-55"));
		WORKS(truncate_log(w->log));
		ASSERT_EQ(0, query(w->log).log_used);
		ASSERT_TRUE(are_apart(w->f.segment, i));
		ASSERT_TRUE(are_apart(self->path, i));
	}
}

/* --- sectors that fail -------------------------------------------------- */

static void commit_until(struct __test_metadata *_metadata, struct world *w, int error,
			 unsigned int *commits)
{
	unsigned int i;

	for (i = 0; i < 1000; i++) {
		set(w->area, w->memory + i % 16 * PAGE, i, 3000);
		if (commit(w->log, w->area, RVM_COMMIT_FLUSH))
			break;
	}
	ASSERT_EQ(error, errno);
	ASSERT_GT(1000, i);
	*commits = i;
}

/* What `commits` of the above leave. */
static bool shows(const struct world *w, unsigned int commits)
{
	unsigned int i;

	for (i = commits < 16 ? 0 : commits - 16; i < commits; i++)
		if (!all_are(w->memory + i % 16 * PAGE, i, 3000))
			return false;
	return true;
}

TEST_F(block, log_write_fails)
{
	struct world *w = &self->w;
	unsigned int commits, i;

	WORKS(configure("rvmlog", "badblocks", "+512-1024"));
	commit_until(_metadata, w, EIO, &commits);
	ASSERT_LT(10, commits);
	ASSERT_EQ(1, query(w->log).failed);
	/* the bad sectors are good again, the log is not */
	WORKS(configure("rvmlog", "badblocks", "-512-1024"));
	for (i = 0; i < 10; i++) {
		set(w->area, w->memory, 99, 10);
		FAILS(EIO, commit(w->log, w->area, i % 2));
		WORKS(do_abort(w->log, w->area));
		ASSERT_EQ((char)(commits / 16 * 16), w->memory[0]);
	}
	FAILS(EIO, flush_log(w->log));
	FAILS(EIO, truncate_log(w->log));
	ASSERT_EQ(1, query(w->log).failed);

	WORKS(reopen_world(w));
	ASSERT_EQ(0, query(w->log).failed);
	ASSERT_EQ(commits, query(w->log).recovered_records);
	ASSERT_TRUE(shows(w, commits));
	for (i = 0; i < 600; i++) {
		set(w->area, w->memory, i, 3000);
		WORKS(commit(w->log, w->area, RVM_COMMIT_FLUSH));
	}
}

TEST_F(block, status_write_fails)
{
	struct world *w = &self->w;
	unsigned int i;

	set(w->area, w->memory, 1, 5000);
	WORKS(commit(w->log, w->area, RVM_COMMIT_FLUSH));
	WORKS(configure("rvmlog", "badblocks", "+0-255"));
	FAILS(EIO, truncate_log(w->log));
	ASSERT_EQ(1, query(w->log).failed);
	for (i = 0; i < 3; i++) {
		set(w->area, w->memory, 2, 10);
		FAILS(EIO, commit(w->log, w->area, RVM_COMMIT_FLUSH));
		WORKS(do_abort(w->log, w->area));
	}
	close_world(w);
	errno = 0;
	ASSERT_EQ(-1, attach(w->f.log));
	ASSERT_EQ(EIO, errno);
	WORKS(configure("rvmlog", "badblocks", "-0-255"));
	WORKS(open_world(w));
	ASSERT_TRUE(all_are(w->memory, 1, 5000));
}

/* A segment that can't be written: the log keeps what it has, and tells when it's full. */
TEST_F(block, segment_write_fails)
{
	struct world *w = &self->w;
	unsigned int commits, i;

	/* loaded before they go bad */
	for (i = 0; i < LENGTH; i += PAGE)
		ASSERT_EQ(0, ((volatile char *)w->memory)[i]);
	WORKS(configure("rvmseg", "badblocks", "+40-47"));
	WORKS(set_truncate(w->log, 50));
	for (i = 0; i < 1000; i++) {
		set(w->area, w->memory + i % 16 * PAGE, i, 3000);
		if (commit(w->log, w->area, i % 2))
			break;
	}
	ASSERT_TRUE(errno == ENOSPC || errno == EIO) TH_LOG("errno %d", errno);
	ASSERT_LT(100, i);
	ASSERT_GT(1000, i);
	commits = i;
	ASSERT_EQ(0, query(w->log).failed);
	ASSERT_EQ(-1, truncate_log(w->log));
	ASSERT_EQ(0, query(w->log).failed);
	WORKS(do_abort(w->log, w->area));

	/* attached anew, it can't be recovered either, as long as they are bad */
	close_world(w);
	WORKS(w->log = attach(w->f.log));
	WORKS(w->segment = segment(w->log, w->f.segment));
	FAILS(EIO, recover(w->log, NULL, NULL));
	ASSERT_EQ(MAP_FAILED, map(w->segment, LENGTH));
	ASSERT_EQ(EAGAIN, errno);
	WORKS(configure("rvmseg", "badblocks", "-40-47"));
	WORKS(recover(w->log, NULL, NULL));
	w->memory = map(w->segment, LENGTH);
	w->area = map(w->log, AREA);
	ASSERT_NE(MAP_FAILED, w->memory);
	ASSERT_TRUE(shows(w, commits));
	ASSERT_TRUE(file_is(w->f.segment, (commits - 1) % 16 * PAGE, commits - 1, 3000));
}

/* And the same without a new attach. */
TEST_F(block, segment_writes_fail_for_a_while)
{
	struct world *w = &self->w;
	unsigned int commits, i;

	for (i = 0; i < LENGTH; i += PAGE)
		ASSERT_EQ(0, ((volatile char *)w->memory)[i]);
	WORKS(configure("rvmseg", "badblocks", "+40-47"));
	for (i = 0; i < 100; i++) {
		set(w->area, w->memory + i % 16 * PAGE, i, 3000);
		WORKS(commit(w->log, w->area, 0));
		if (i % 10 == 9)
			ASSERT_EQ(-1, truncate_log(w->log));
	}
	commits = i;
	WORKS(configure("rvmseg", "badblocks", "-40-47"));
	WORKS(truncate_log(w->log));
	ASSERT_EQ(0, query(w->log).log_used);
	ASSERT_TRUE(shows(w, commits));
	for (i = commits - 16; i < commits; i++)
		ASSERT_TRUE(file_is(w->f.segment, i % 16 * PAGE, i, 3000));
	WORKS(reopen_world(w));
	ASSERT_TRUE(shows(w, commits));
}

/* A page that can't be read is a SIGBUS for who touches it, and nothing else. */
TEST_F(block, segment_read_fails)
{
	struct world *w = &self->w;
	int status, fds[2];
	pid_t pid;

	WORKS(configure("rvmseg", "badblocks", "+40-47"));
	pid = fork();
	if (!pid) {
		volatile char *memory = map(w->segment, LENGTH);

		_exit(memory[5 * PAGE]);
	}
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	ASSERT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGBUS);
	WORKS(pipe(fds));
	FAILS(EFAULT, write(fds[1], w->memory + 5 * PAGE, 1));
	set(w->area, w->memory, 1, 4 * PAGE);
	declare_no_restore(w->area, w->memory + 5 * PAGE, 1000);
	WORKS(commit(w->log, w->area, RVM_COMMIT_FLUSH));
	WORKS(truncate_log(w->log));
	WORKS(configure("rvmseg", "badblocks", "-40-47"));
	ASSERT_TRUE(all_are(w->memory + 4 * PAGE, 0, LENGTH - 4 * PAGE));
	close(fds[0]);
	close(fds[1]);
}

TEST_HARNESS_MAIN
