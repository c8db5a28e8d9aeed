// SPDX-License-Identifier: GPL-2.0 OR MIT
/*
 * Description: attaching logs that have something to recover, or are damaged;
 * logs that are small, full, or too small; disks that are full or fail.
 */
#include "kernel.h"

FIXTURE(rvm) { struct world w; };

FIXTURE_SETUP(rvm)
{
	WORKS(make_world(&self->w, 64 * KIB));
	/* no truncation but by request, so that the log keeps its records */
	WORKS(set_truncate(self->w.log, 0));
}

FIXTURE_TEARDOWN(rvm)
{
	close_world(&self->w);
	remove_files(&self->w.f);
}

static void path_of(char *path, const struct world *w, const char *name)
{
	sprintf(path, "%s/%s", w->f.dir, name);
}

static void commit_bytes(struct __test_metadata *_metadata, struct world *w, char *at, int value,
			 unsigned int length)
{
	set(w->area, at, value, length);
	WORKS(commit(w->log, w->area, 0));
}

TEST_F(rvm, close_and_attach)
{
	struct world *w = &self->w;
	struct rvm_ioc_segment_name name;
	uint64_t applied, kept;
	int i;

	for (i = 1; i < 40; i++) {
		commit_bytes(_metadata, w, w->memory, i, 1000 + i);
		commit_bytes(_metadata, w, w->memory + i * 1000, i, 1000);
		if (i % 3 == 0)
			WORKS(truncate_log(w->log));
		close_world(w);

		WORKS(w->log = attach(w->f.log));
		ASSERT_TRUE(find_name(w->log, w->f.segment, &name));
		ASSERT_EQ(1, name.id);
		ASSERT_EQ(i % 3 ? 2 : 0, name.records) TH_LOG("%d", i);
		WORKS(w->segment = segment(w->log, w->f.segment));
		WORKS(recover(w->log, &applied, &kept));
		ASSERT_EQ(name.records, applied);
		ASSERT_EQ(0, kept);
		ASSERT_TRUE(find_name(w->log, w->f.segment, &name));
		ASSERT_EQ(0, name.records);
		ASSERT_EQ(applied, query(w->log).recovered_records);
		ASSERT_EQ(0, query(w->log).log_used);
		/* a second time there is nothing left */
		WORKS(recover(w->log, &applied, &kept));
		ASSERT_EQ(0, applied);
		WORKS(set_truncate(w->log, 0));
		w->memory = map(w->segment, LENGTH);
		w->area = map(w->log, AREA);
		ASSERT_TRUE(all_are(w->memory + i * 1000, i, 1000));
		ASSERT_TRUE(file_is(w->f.segment, i * 1000, i, 1000));
	}
}

/* RECOVER not called at all: everything is there the next time. */
TEST_F(rvm, attach_without_recover)
{
	struct world *w = &self->w;
	int i;

	commit_bytes(_metadata, w, w->memory, 1, 5000);
	close_world(w);
	for (i = 0; i < 5; i++) {
		WORKS(w->log = attach(w->f.log));
		if (i % 2) {
			WORKS(w->segment = segment(w->log, w->f.segment));
			close(w->segment);
		}
		close(w->log);
	}
	ASSERT_TRUE(file_is(w->f.segment, 0, 0, LENGTH));
	WORKS(open_world(w));
	ASSERT_TRUE(all_are(w->memory, 1, 5000));
}

#define SEGMENTS 3

/* Records of several segments, of which some are missing for a while. */
TEST_F(rvm, missing_segments)
{
	struct world *w = &self->w;
	struct rvm_ioc_segment_name name;
	char paths[SEGMENTS][200], *memory[SEGMENTS];
	uint64_t applied, kept;
	int fds[SEGMENTS], i;

	for (i = 0; i < SEGMENTS; i++) {
		sprintf(paths[i], "%s/s%d", w->f.dir, i);
		WORKS(make_file(paths[i], 3 * PAGE, 0));
		WORKS(fds[i] = segment(w->log, paths[i]));
		memory[i] = map(fds[i], 3 * PAGE);
	}
	/* 1: 0 and 1; 2: 1, twice, over a page's end; 3: 2; 4: all; 5: ours */
	set(w->area, memory[0], 1, 100);
	set(w->area, memory[1], 1, 100);
	WORKS(commit(w->log, w->area, 0));
	set(w->area, memory[1] + 100, 2, 100);
	set(w->area, memory[1] + PAGE - 10, 2, 100);
	WORKS(commit(w->log, w->area, 0));
	commit_bytes(_metadata, w, memory[2], 3, 100);
	for (i = 0; i < SEGMENTS; i++)
		set(w->area, memory[i] + 50, 4, 100);
	WORKS(commit(w->log, w->area, 0));
	commit_bytes(_metadata, w, w->memory, 5, 100);
	for (i = 0; i < SEGMENTS; i++) {
		munmap(memory[i], 3 * PAGE);
		close(fds[i]);
	}
	close_world(w);

	WORKS(w->log = attach(w->f.log));
	WORKS(set_truncate(w->log, 0));
	ASSERT_TRUE(find_name(w->log, paths[0], &name));
	ASSERT_EQ(2, name.records);
	ASSERT_TRUE(find_name(w->log, paths[1], &name));
	ASSERT_EQ(3, name.records);
	ASSERT_TRUE(find_name(w->log, paths[2], &name));
	ASSERT_EQ(2, name.records);
	ASSERT_TRUE(find_name(w->log, w->f.segment, &name));
	ASSERT_EQ(1, name.records);

	/* segment 0 and ours are here */
	WORKS(w->segment = segment(w->log, w->f.segment));
	WORKS(fds[0] = segment(w->log, paths[0]));
	ASSERT_EQ(MAP_FAILED, map(fds[0], PAGE));
	ASSERT_EQ(EAGAIN, errno);
	WORKS(recover(w->log, &applied, &kept));
	ASSERT_EQ(3, applied);
	ASSERT_EQ(4, kept);
	ASSERT_TRUE(file_is(paths[0], 0, 1, 50));
	ASSERT_TRUE(file_is(paths[0], 50, 4, 100));
	ASSERT_TRUE(file_is(w->f.segment, 0, 5, 100));
	ASSERT_TRUE(file_is(paths[1], 0, 0, PAGE));

	/* life goes on, with what is here */
	w->memory = map(w->segment, LENGTH);
	w->area = map(w->log, AREA);
	memory[0] = map(fds[0], PAGE);
	ASSERT_NE(MAP_FAILED, memory[0]);
	for (i = 0; i < 20; i++) {
		commit_bytes(_metadata, w, memory[0], 10 + i, 60);
		commit_bytes(_metadata, w, w->memory, 10 + i, 60);
		if (i % 8 == 0)
			WORKS(truncate_log(w->log));
	}
	munmap(memory[0], PAGE);
	close(fds[0]);
	close_world(w);

	/* the next time, segment 2 comes, late; 1 not at all */
	WORKS(w->log = attach(w->f.log));
	WORKS(set_truncate(w->log, 0));
	ASSERT_TRUE(find_name(w->log, paths[1], &name));
	ASSERT_EQ(3, name.records);
	WORKS(w->segment = segment(w->log, w->f.segment));
	WORKS(recover(w->log, &applied, &kept));
	WORKS(fds[2] = segment(w->log, paths[2]));
	ASSERT_EQ(MAP_FAILED, map(fds[2], PAGE));
	ASSERT_EQ(EAGAIN, errno);
	WORKS(recover(w->log, &applied, &kept));
	ASSERT_EQ(2, applied);
	ASSERT_TRUE(file_is(paths[2], 0, 3, 50));
	ASSERT_TRUE(file_is(paths[2], 50, 4, 100));
	ASSERT_TRUE(file_is(w->f.segment, 0, 29, 60));
	WORKS(fds[0] = segment(w->log, paths[0]));
	WORKS(recover(w->log, &applied, &kept));
	ASSERT_TRUE(file_is(paths[0], 0, 29, 60));
	ASSERT_TRUE(file_is(paths[0], 60, 4, 90));
	WORKS(fds[1] = segment(w->log, paths[1]));
	WORKS(recover(w->log, &applied, &kept));
	ASSERT_EQ(3, applied);
	ASSERT_EQ(0, kept);
	ASSERT_EQ(0, query(w->log).log_used);
	ASSERT_TRUE(file_is(paths[1], 0, 1, 50));
	ASSERT_TRUE(file_is(paths[1], 50, 4, 100));
	ASSERT_TRUE(file_is(paths[1], 150, 2, 50));
	ASSERT_TRUE(file_is(paths[1], PAGE - 10, 2, 100));
	for (i = 0; i < SEGMENTS; i++)
		close(fds[i]);
	w->memory = map(w->segment, LENGTH);
	w->area = map(w->log, AREA);
	ASSERT_TRUE(all_are(w->memory, 29, 60));
}

/* A log that a missing segment keeps full: no commit, but nothing lost or stuck. */
TEST_F(rvm, full_of_missing)
{
	struct world *w = &self->w;
	char path[200], *memory;
	int fd, i;

	path_of(path, w, "missing");
	WORKS(make_file(path, PAGE, 0));
	WORKS(fd = segment(w->log, path));
	memory = map(fd, PAGE);
	commit_bytes(_metadata, w, memory, 7, PAGE);
	munmap(memory, PAGE);
	close(fd);
	close_world(w);

	WORKS(open_world(w));
	for (i = 0; i < 1000; i++) {
		set(w->area, w->memory, i, PAGE);
		if (commit(w->log, w->area, 0))
			break;
	}
	ASSERT_EQ(ENOSPC, errno);
	ASSERT_LT(5, i);
	ASSERT_GT(100, i);
	FAILS(ENOSPC, commit(w->log, w->area, RVM_COMMIT_FLUSH));
	WORKS(do_abort(w->log, w->area));
	ASSERT_TRUE(all_are(w->memory, i - 1, PAGE));
	ASSERT_EQ(0, query(w->log).failed);

	WORKS(fd = segment(w->log, path));
	WORKS(recover(w->log, NULL, NULL));
	close(fd);
	ASSERT_TRUE(file_is(path, 0, 7, PAGE));
	commit_bytes(_metadata, w, w->memory, 9, PAGE);
}

/* Too short for its records: kept until it has grown. */
TEST_F(rvm, short_segment)
{
	struct world *w = &self->w;
	uint64_t applied, kept;
	char path[200], *memory;
	int fd;

	path_of(path, w, "short");
	WORKS(make_file(path, 4 * PAGE, 0));
	WORKS(fd = segment(w->log, path));
	memory = map(fd, 4 * PAGE);
	commit_bytes(_metadata, w, memory, 1, 100);
	commit_bytes(_metadata, w, memory + 3 * PAGE, 2, PAGE);
	commit_bytes(_metadata, w, memory, 3, 50);
	munmap(memory, 4 * PAGE);
	close(fd);
	close_world(w);
	WORKS(truncate(path, 3 * PAGE));

	WORKS(w->log = attach(w->f.log));
	WORKS(w->segment = segment(w->log, w->f.segment));
	WORKS(fd = segment(w->log, path));
	WORKS(recover(w->log, &applied, &kept));
	ASSERT_EQ(2, kept + (applied == 2 ? 1 : 0)) TH_LOG("%lu applied, %lu kept", applied, kept);
	ASSERT_EQ(MAP_FAILED, map(fd, PAGE));
	ASSERT_EQ(EAGAIN, errno);
	w->memory = map(w->segment, LENGTH);
	w->area = map(w->log, AREA);
	commit_bytes(_metadata, w, w->memory, 1, 100);
	WORKS(truncate_log(w->log));

	/* it grows, while it is attached, and is attached anew */
	WORKS(truncate(path, 4 * PAGE));
	close(segment(w->log, path));
	WORKS(recover(w->log, &applied, &kept));
	ASSERT_EQ(0, kept);
	memory = map(fd, 4 * PAGE);
	ASSERT_NE(MAP_FAILED, memory);
	ASSERT_TRUE(all_are(memory, 3, 50));
	ASSERT_TRUE(all_are(memory + 50, 1, 50));
	ASSERT_TRUE(all_are(memory + 3 * PAGE, 2, PAGE));
	munmap(memory, 4 * PAGE);
	close(fd);
}

/* Read-only segments can't take their records. */
TEST_F(rvm, read_only_segment)
{
	struct world *w = &self->w;
	uint64_t applied, kept;
	int fd;

	commit_bytes(_metadata, w, w->memory, 1, 100);
	close_world(w);
	WORKS(w->log = attach(w->f.log));
	WORKS(fd = segment_mode(w->log, w->f.segment, O_RDONLY));
	WORKS(recover(w->log, &applied, &kept));
	ASSERT_EQ(0, applied);
	ASSERT_EQ(1, kept);
	ASSERT_EQ(MAP_FAILED, mmap(NULL, PAGE, PROT_READ, MAP_SHARED, fd, 0));
	ASSERT_EQ(EAGAIN, errno);
	close(fd);
	close(w->log);
	WORKS(open_world(w));
	ASSERT_TRUE(all_are(w->memory, 1, 100));
}

/* --- damage ------------------------------------------------------------- */

static long read_file(const char *path, char *buffer, size_t length)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	long n = read(fd, buffer, length);

	close(fd);
	return n;
}

static void write_at(struct __test_metadata *_metadata, const char *path, const char *buffer,
		     size_t length, unsigned long offset)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

	ASSERT_EQ((ssize_t)length, pwrite(fd, buffer, length, offset));
	close(fd);
}

#define AREA_START	(128 * KIB)
#define RECORD_AREA	(16 * KIB)	/* holds them, with blocks of 4096 bytes, too */
#define LOG_LENGTH	(AREA_START + RECORD_AREA)
#define RECORDS		5

/*
 * What a log of RECORDS commits, the n-th of which set byte n of each page to
 * n, gives: an error, or a prefix.  Its length, or -1.
 */
static int prefix_of(struct __test_metadata *_metadata, const struct files *f)
{
	char *memory;
	int log, fd, n = -1, i;

	log = attach(f->log);
	if (log < 0) {
		ASSERT_TRUE(errno == EINVAL || errno == EUCLEAN || errno == EPROTONOSUPPORT)
			TH_LOG("errno %d", errno);
		return -1;
	}
	fd = segment(log, f->segment);
	if (fd >= 0 && !recover(log, NULL, NULL)) {
		memory = map(fd, 2 * PAGE);
		ASSERT_NE(MAP_FAILED, memory);
		for (n = 0; n < RECORDS && memory[n]; n++)
			ASSERT_EQ(n + 1, memory[n]);
		for (i = 0; i < 100; i++) {
			ASSERT_EQ(i < n ? i + 1 : 0, memory[i]);
			ASSERT_EQ(i < n ? i + 1 : 0, memory[PAGE + i]);
		}
		munmap(memory, 2 * PAGE);
	} else {
		ASSERT_EQ(EUCLEAN, errno);
	}
	close(fd);
	close(log);
	return n;
}

static void make_records(struct __test_metadata *_metadata, struct world *w)
{
	int n;

	close_world(w);
	unlink(w->f.log);
	ASSERT_EQ(0, (int)rvm_log_file_create(w->f.log, RECORD_AREA, 0600));
	WORKS(open_world(w));
	WORKS(set_truncate(w->log, 0));
	for (n = 0; n < RECORDS; n++) {
		set(w->area, w->memory + n, n + 1, 1);
		set(w->area, w->memory + PAGE + n, n + 1, 1);
		/* some end on a block, some do not */
		WORKS(commit(w->log, w->area, n % 2 ? 0 : RVM_COMMIT_FLUSH));
	}
	close_world(w);
}

/* Is there anything in the neighbourhood? */
static bool in_use(const char *log, unsigned long i)
{
	unsigned long first = i < 16 ? 0 : i - 16, end = i + 16 > LOG_LENGTH ? LOG_LENGTH : i + 16;

	return !all_are(log + first, 0, end - first);
}

/* Every byte that is in use, flipped. */
TEST_F(rvm, every_byte)
{
	struct world *w = &self->w;
	char *log = malloc(LOG_LENGTH), page[2 * PAGE] = { 0 };
	unsigned long i;
	int n, results[RECORDS + 2] = { 0 };

	make_records(_metadata, w);
	ASSERT_EQ((long)LOG_LENGTH, read_file(w->f.log, log, LOG_LENGTH));
	/* before the damage */
	ASSERT_EQ(RECORDS, prefix_of(_metadata, &w->f));

	for (i = 0; i < LOG_LENGTH; i++) {
		if (!in_use(log, i))
			continue;
		write_at(_metadata, w->f.log, log, LOG_LENGTH, 0);
		write_at(_metadata, w->f.segment, page, 2 * PAGE, 0);
		log[i] ^= 1 << i % 8;
		write_at(_metadata, w->f.log, &log[i], 1, i);
		log[i] ^= 1 << i % 8;
		n = prefix_of(_metadata, &w->f);
		results[n + 1]++;
		/* what the log says of itself is twice there */
		if (i < AREA_START)
			ASSERT_TRUE(n == RECORDS || n == -1) TH_LOG("byte %lu: %d", i, n);
	}
	for (n = 0; n <= RECORDS + 1; n++)
		TH_LOG("%d records: %d times", n - 1, results[n]);
	ASSERT_LT(0, results[RECORDS + 1]);
	free(log);
	WORKS(make_file(w->f.segment, LENGTH, 0));
	unlink(w->f.log);
	ASSERT_EQ(0, (int)rvm_log_file_create(w->f.log, 4096, 0600));
	WORKS(open_world(w));
}

TEST_F(rvm, truncated_file)
{
	struct world *w = &self->w;
	const long lengths[] = {
		LOG_LENGTH - 1, LOG_LENGTH - 4096, AREA_START + 512, AREA_START, AREA_START - 1, 64 * KIB + 96,
		64 * KIB, 4096, 512, 100, 8, 1, 0,
	};
	unsigned int i;

	make_records(_metadata, w);
	for (i = 0; i < ARRAY_LENGTH(lengths); i++) {
		WORKS(truncate(w->f.log, lengths[i]));
		errno = 0;
		ASSERT_EQ(-1, attach(w->f.log));
		ASSERT_TRUE(errno == EINVAL || errno == EUCLEAN);
	}
	unlink(w->f.log);
	ASSERT_EQ(0, (int)rvm_log_file_create(w->f.log, 4096, 0600));
	WORKS(open_world(w));
}

TEST_F(rvm, other_version)
{
	struct world *w = &self->w;
	uint32_t version = 2;

	close_world(w);
	write_at(_metadata, w->f.log, (void *)&version, 4, 8);
	write_at(_metadata, w->f.log, (void *)&version, 4, 64 * KIB + 8);
	FAILS(EPROTONOSUPPORT, attach(w->f.log));
	unlink(w->f.log);
	ASSERT_EQ(0, (int)rvm_log_file_create(w->f.log, 4096, 0600));
	WORKS(open_world(w));
}

/* --- size --------------------------------------------------------------- */

static void small_log(struct __test_metadata *_metadata, struct world *w, unsigned long length)
{
	close_world(w);
	unlink(w->f.log);
	ASSERT_EQ(0, (int)rvm_log_file_create(w->f.log, length, 0600));
	WORKS(open_world(w));
}

/*
 * Round and round in the smallest log, so that records begin, end and wrap at
 * every multiple of 8, and attach again now and then.
 */
TEST_F(rvm, wrap_around)
{
	struct world *w = &self->w;
	char *model = calloc(1, LENGTH);
	unsigned long length, offset;
	unsigned int i;

	small_log(_metadata, w, 4096);
	for (i = 0; i < 1500; i++) {
		length = 1 + i * 7 % 3000;
		offset = i * 97 % (LENGTH - 8000);
		set(w->area, w->memory + offset, i, length);
		memset(model + offset, i, length);
		if (i % 5 == 0) {
			set(w->area, w->memory + offset + 4000, i + 1, 8);
			memset(model + offset + 4000, i + 1, 8);
		}
		WORKS(commit(w->log, w->area, i % 3 ? 0 : RVM_COMMIT_FLUSH));
		if (i % 11 == 10) {
			set(w->area, w->memory + 500, 1, 300);	/* undone by the exit */
			close_world(w);
			WORKS(open_world(w));
			WORKS(set_truncate(w->log, i % 2 ? 0 : 50));
			ASSERT_EQ(0, memcmp(model, w->memory, LENGTH));
		}
	}
	WORKS(truncate_log(w->log));
	close_world(w);
	ASSERT_EQ(LENGTH, read_file(w->f.segment, model, LENGTH));
	WORKS(open_world(w));
	ASSERT_EQ(0, memcmp(model, w->memory, LENGTH));
	free(model);
}

/* What could not fit into the empty log is refused, and stays open. */
TEST_F(rvm, too_big)
{
	struct world *w = &self->w;
	unsigned int length;

	small_log(_metadata, w, 4096);
	set(w->area, w->memory, 1, 1000);
	WORKS(commit(w->log, w->area, 0));
	for (length = 3900; length <= 4100; length += 8) {
		bool fits = 56 + 16 + length + 16 <= 4096;
		char value = w->memory[2000];

		set(w->area, w->memory, length, length);
		if (length > PAGE)
			fits = false;
		if (fits) {
			WORKS(commit(w->log, w->area, RVM_COMMIT_FLUSH));
			continue;
		}
		FAILS(EFBIG, commit(w->log, w->area, RVM_COMMIT_FLUSH));
		FAILS(EFBIG, commit(w->log, w->area, 0));
		ASSERT_NE(0, w->area->used);
		ASSERT_TRUE(all_are(w->memory, length, length));
		WORKS(do_abort(w->log, w->area));
		ASSERT_EQ(value, w->memory[2000]);
	}
	ASSERT_EQ(0, query(w->log).failed);
	set(w->area, w->memory, 1, 1000);
	WORKS(commit(w->log, w->area, RVM_COMMIT_FLUSH));
}

/* --- disks -------------------------------------------------------------- */

static void mount_small(struct __test_metadata *_metadata, struct world *w, char *dir,
			const char *options)
{
	path_of(dir, w, "small");
	WORKS(mkdir(dir, 0700));
	WORKS(mount("small", dir, "tmpfs", 0, options));
}

/* A sparse segment that its file system has no room for. */
TEST_F(rvm, disk_full)
{
	const unsigned long length = 64 * PAGE;
	struct world *w = &self->w;
	char dir[200], path[300], filler[300], *memory;
	struct rvm_ioc_query q;
	unsigned int i, n;
	int fd;

	mount_small(_metadata, w, dir, "size=128k");
	sprintf(path, "%s/sparse", dir);
	sprintf(filler, "%s/filler", dir);
	WORKS(fd = open(path, O_CREAT | O_RDWR | O_CLOEXEC, 0600));
	WORKS(ftruncate(fd, length));
	close(fd);
	WORKS(make_file(filler, 96 * KIB, 0));
	WORKS(fd = segment(w->log, path));
	memory = map(fd, length);
	ASSERT_NE(MAP_FAILED, memory);
	WORKS(set_truncate(w->log, 30));

	/* commits succeed as long as there is log; then they fail, at once, and clearly */
	for (i = 0; i < 64; i++) {
		set(w->area, memory + i * PAGE, i + 1, 2000);
		if (commit(w->log, w->area, i % 4 ? 0 : RVM_COMMIT_FLUSH))
			break;
	}
	ASSERT_EQ(ENOSPC, errno);
	ASSERT_LT(10, i);
	ASSERT_GT(64, i);
	FAILS(ENOSPC, commit(w->log, w->area, RVM_COMMIT_FLUSH));
	FAILS(ENOSPC, truncate_log(w->log));
	WORKS(flush_log(w->log));
	WORKS(do_abort(w->log, w->area));
	ASSERT_TRUE(all_are(memory + i * PAGE, 0, 2000));
	q = query(w->log);
	ASSERT_EQ(0, q.failed);
	ASSERT_LT(q.log_length / 2, q.log_used);
	for (n = 0; n < i; n++)
		ASSERT_TRUE(all_are(memory + n * PAGE, n + 1, 2000));

	/* another segment of the same log is as stuck, and says so */
	set(w->area, w->memory, 1, 5000);
	FAILS(ENOSPC, commit(w->log, w->area, 0));
	WORKS(do_abort(w->log, w->area));

	/* reopened, still no room */
	munmap(memory, length);
	close(fd);
	close_world(w);
	WORKS(w->log = attach(w->f.log));
	WORKS(fd = segment(w->log, path));
	FAILS(ENOSPC, recover(w->log, NULL, NULL));
	FAILS(ENOSPC, recover(w->log, NULL, NULL));
	ASSERT_EQ(MAP_FAILED, map(fd, length));
	ASSERT_EQ(EAGAIN, errno);

	/* space again: nothing is lost */
	WORKS(unlink(filler));
	WORKS(mount("small", dir, "tmpfs", MS_REMOUNT, "size=4m"));
	WORKS(w->segment = segment(w->log, w->f.segment));
	WORKS(recover(w->log, NULL, NULL));
	memory = map(fd, length);
	ASSERT_NE(MAP_FAILED, memory);
	for (n = 0; n < i; n++) {
		ASSERT_TRUE(all_are(memory + n * PAGE, n + 1, 2000));
		ASSERT_TRUE(file_is(path, n * PAGE, n + 1, 2000));
	}
	munmap(memory, length);
	close(fd);
	w->memory = map(w->segment, LENGTH);
	w->area = map(w->log, AREA);
	WORKS(umount2(dir, 0));
	WORKS(remove(dir));
}

/* The same, with room found while the log is attached. */
TEST_F(rvm, disk_full_for_a_while)
{
	const unsigned long length = 64 * PAGE;
	struct world *w = &self->w;
	char dir[200], path[300], *memory;
	unsigned int i, n;
	uint64_t applied;
	int fd, again;

	mount_small(_metadata, w, dir, "size=32k");
	sprintf(path, "%s/sparse", dir);
	for (again = 0; again < 2; again++) {
		WORKS(fd = open(path, O_CREAT | O_RDWR | O_CLOEXEC, 0600));
		WORKS(ftruncate(fd, length));
		close(fd);
		WORKS(fd = segment(w->log, path));
		memory = map(fd, length);
		ASSERT_NE(MAP_FAILED, memory);
		for (i = 0; i < 64; i++) {
			set(w->area, memory + i * PAGE, i + 1 + again, 2000);
			if (commit(w->log, w->area, i % 4 ? 0 : RVM_COMMIT_FLUSH))
				break;
		}
		ASSERT_EQ(ENOSPC, errno);
		if (again) {
			/* now with a new attach and RECOVER in between */
			munmap(memory, length);
			close(fd);
			close_world(w);
			WORKS(w->log = attach(w->f.log));
			WORKS(w->segment = segment(w->log, w->f.segment));
			WORKS(fd = segment(w->log, path));
			FAILS(ENOSPC, recover(w->log, NULL, NULL));
			WORKS(mount("small", dir, "tmpfs", MS_REMOUNT, "size=4m"));
			WORKS(recover(w->log, &applied, NULL));
			ASSERT_EQ(i, applied);
			memory = map(fd, length);
			ASSERT_NE(MAP_FAILED, memory);
			w->memory = map(w->segment, LENGTH);
			w->area = map(w->log, AREA);
		} else {
			WORKS(mount("small", dir, "tmpfs", MS_REMOUNT, "size=4m"));
			WORKS(commit(w->log, w->area, RVM_COMMIT_FLUSH));
			ASSERT_TRUE(all_are(memory + i * PAGE, i + 1, 2000));
			i++;
		}
		WORKS(truncate_log(w->log));
		ASSERT_EQ(0, query(w->log).log_used);
		for (n = 0; n < i; n++) {
			ASSERT_TRUE(all_are(memory + n * PAGE, n + 1 + again, 2000));
			ASSERT_TRUE(file_is(path, n * PAGE, n + 1 + again, 2000));
		}
		munmap(memory, length);
		close(fd);
		WORKS(truncate(path, 0));
		unlink(path);
		WORKS(mount("small", dir, "tmpfs", MS_REMOUNT, "size=32k"));
	}
	WORKS(umount2(dir, 0));
	WORKS(remove(dir));
}

/* A log that can't be written: sparse, on a full file system. */
TEST_F(rvm, log_write_fails)
{
	struct world *w = &self->w, o;
	char dir[200], filler[300];
	unsigned int i, n;
	int fd;

	mount_small(_metadata, w, dir, "size=512k");
	sprintf(o.f.log, "%s/log", dir);
	strcpy(o.f.segment, w->f.segment);
	sprintf(filler, "%s/filler", dir);
	ASSERT_EQ(0, (int)rvm_log_file_create(o.f.log, 128 * KIB, 0600));
	WORKS(fd = open(o.f.log, O_RDWR | O_CLOEXEC));
	WORKS(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, AREA_START + 32 * KIB,
			96 * KIB));
	close(fd);
	make_file(filler, MIB, 0);	/* until it is full */
	close_world(w);

	WORKS(open_world(&o));
	WORKS(set_truncate(o.log, 0));
	for (i = 0; i < 100; i++) {
		set(o.area, o.memory + i * 500, i + 1, 500);
		if (commit(o.log, o.area, RVM_COMMIT_FLUSH))
			break;
	}
	ASSERT_EQ(EIO, errno);
	ASSERT_LT(5, i);
	ASSERT_EQ(1, query(o.log).failed);
	/* for ever, even when there would be room */
	WORKS(unlink(filler));
	for (n = 0; n < 10; n++) {
		set(o.area, o.memory, 99, 100);
		FAILS(EIO, commit(o.log, o.area, n % 2));
		WORKS(do_abort(o.log, o.area));
		ASSERT_TRUE(all_are(o.memory, 1, 100));
	}
	FAILS(EIO, flush_log(o.log));
	FAILS(EIO, truncate_log(o.log));
	/* and for those who attach it as long as it is attached */
	WORKS(fd = attach(o.f.log));
	ASSERT_EQ(1, query(fd).failed);
	close(fd);
	close_world(&o);

	WORKS(open_world(&o));
	ASSERT_EQ(0, query(o.log).failed);
	for (n = 0; n < i; n++)
		ASSERT_TRUE(all_are(o.memory + n * 500, n + 1, 500));
	for (n = 0; n < 50; n++) {
		set(o.area, o.memory, 99, 5000);
		WORKS(commit(o.log, o.area, RVM_COMMIT_FLUSH));
	}
	close_world(&o);
	WORKS(umount2(dir, 0));
	WORKS(remove(dir));
	WORKS(open_world(w));
}

TEST_HARNESS_MAIN
