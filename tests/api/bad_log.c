// SPDX-License-Identifier: GPL-2.0 OR MIT
/*
 * Description: logs that are no logs, truncated, of another version, damaged in
 * any byte, or made to mislead: an error or a prefix of what was committed, and
 * never a crash or a hang.
 */
#include "api.h"

#include "core/status.h"

#define AREA	(64 * KIB)
#define SIZE	(STATUS_AREA + AREA)
#define COMMITS	20
#define CELL	1500ul

/*
 * A log with COMMITS live records, as a crash left it.  Commit n sets the
 * count, at 0, and cell n; the cells of some records cross each other's pages.
 */
static unsigned char image[SIZE];

static char *cell(const rvm_region_t *r, int n)
{
	return r->vmaddr + n * CELL;
}

static void make_log(CHILD_ARGS)
{
	rvm_options_t options;
	rvm_region_t r;
	rvm_tid_t tid;

	log_options(f, &options, AREA, 0);
	options.truncate = 0;
	OK(RVM_INIT(&options));
	OK(map_segment(f, &r));
	rvm_init_tid(&tid);
	for (int n = 1; n <= COMMITS; n++) {
		OK(rvm_begin_transaction(&tid, restore));
		OK(rvm_set_range(&tid, r.vmaddr, 1));
		*r.vmaddr = n;
		OK(rvm_set_range(&tid, cell(&r, n), CELL - n));
		memset(cell(&r, n), n, CELL - n);
		OK(rvm_end_transaction(&tid, n % 3 ? no_flush : flush));
	}
	OK(rvm_flush());
	die(_metadata);
}

static bool read_log(const struct files *f, unsigned char *to)
{
	int fd = open(f->log, O_RDONLY | O_CLOEXEC);
	bool ok = fd >= 0 && pread(fd, to, SIZE, 0) == (ssize_t)SIZE;

	close(fd);
	return ok;
}

FIXTURE(bad_log) {
	struct files f;
};

FIXTURE_SETUP(bad_log)
{
	const struct files *f = &self->f;

	/* in memory if possible: there are very many starts here */
	make_files_in(_metadata, &self->f, access("/dev/shm", W_OK) ? "/tmp" : "/dev/shm");
	CHILD_DIES(make_log);
	ASSERT_TRUE(read_log(f, image));
}

FIXTURE_TEARDOWN(bad_log)
{
	remove_files(&self->f);
}

static bool write_log(const struct files *f, const void *data, size_t size)
{
	int fd = open(f->log, O_CREAT | O_TRUNC | O_RDWR | O_CLOEXEC, 0600);
	bool ok = fd >= 0 && write(fd, data, size) == (ssize_t)size;

	return !close(fd) && ok;
}

static bool log_is(const struct files *f, const void *data, size_t size)
{
	char *now = malloc(size + 1);
	int fd = open(f->log, O_RDONLY | O_CLOEXEC);
	bool same = read(fd, now, size + 1) == (ssize_t)size && !memcmp(now, data, size);

	close(fd);
	free(now);
	return same;
}

/* Start on the log, and use it if that works.  The exit status tells. */
#define STARTED		0
#define OTHER_ERROR	99

static void try_log(CHILD_ARGS)
{
	rvm_return_t code;
	rvm_region_t r;
	int null = open("/dev/null", O_WRONLY | O_CLOEXEC);

	dup2(null, 2);
	code = start_with(f, AREA, 0);
	if (code)
		_exit(code == RVM_EIO || code == RVM_ELOG || code == RVM_ELOG_VERSION_SKEW ?
		      code - rvm_first_code : OTHER_ERROR);
	/* it must be good for work now, and for being opened again */
	if (map_segment(f, &r) || commit_bytes(r.vmaddr + 200 * KIB, 1, 100, flush) ||
	    commit_bytes(r.vmaddr + 200 * KIB, 2, 100, no_flush) || rvm_terminate())
		_exit(OTHER_ERROR);
	_exit(STARTED);
}

/* Recover, and no more: a commit after that might be truncated into the segment. */
static void open_log(CHILD_ARGS)
{
	_exit(start_with(f, AREA, 0) || rvm_terminate() ? OTHER_ERROR : STARTED);
}

static int outcome(struct __test_metadata *_metadata, const struct files *f)
{
	int status = in_child(_metadata, f, try_log);

	return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

#define ELOG_OUTCOME	(RVM_ELOG - rvm_first_code)
#define SKEW_OUTCOME	(RVM_ELOG_VERSION_SKEW - rvm_first_code)
#define EIO_OUTCOME	(RVM_EIO - rvm_first_code)

/* How many commits the segment shows, or -1 if that is no prefix. */
static int prefix(const struct files *f)
{
	int fd = open(f->segment, O_RDONLY | O_CLOEXEC), n;
	char count = -1;

	if (pread(fd, &count, 1, 0) != 1 || count < 0 || count > COMMITS)
		count = -1;
	close(fd);
	for (n = 1; count >= 0 && n <= COMMITS; n++)
		if (!file_is(f->segment, n * CELL, n <= count ? n : 0, CELL - n))
			return -1;
	return count;
}

/*
 * A log of those bytes: an error, or a prefix, of `least` commits at least, and
 * the log is usable again.
 */
static void expect_survival(struct __test_metadata *_metadata, const struct files *f,
			    const void *data, size_t size, int least, const char *what, long where)
{
	int got;

	ASSERT_TRUE(make_file(f->segment, 256 * KIB, 0));
	ASSERT_TRUE(write_log(f, data, size));
	got = outcome(_metadata, f);
	ASSERT_TRUE(got == STARTED || got == ELOG_OUTCOME || got == EIO_OUTCOME ||
		    got == SKEW_OUTCOME) {
		TH_LOG("%s %ld: outcome %d", what, where, got);
	}
	ASSERT_LE(0, prefix(f)) {
		TH_LOG("%s %ld: outcome %d, and torn", what, where, got);
	}
	if (got != STARTED)
		return;
	ASSERT_LE(least, prefix(f)) {
		TH_LOG("%s %ld", what, where);
	}
	got = in_child(_metadata, f, open_log);
	ASSERT_TRUE(WIFEXITED(got) && WEXITSTATUS(got) == STARTED) {
		TH_LOG("%s %ld: the second time", what, where);
	}
	ASSERT_TRUE(file_is(f->segment, 200 * KIB, 2, 100));
}

static unsigned int next(unsigned int *seed)
{
	*seed = *seed * 1103515245 + 12345;
	return *seed >> 8;
}

TEST_F(bad_log, undamaged)
{
	const struct files *f = &self->f;

	FEW_BYTES_ONLY("the log does not hold all commits");
	expect_survival(_metadata, f, image, SIZE, COMMITS, "undamaged", 0);
	EXPECT_EQ(COMMITS, prefix(f));
}

TEST_F(bad_log, no_log)
{
	static const size_t sizes[] = {
		0, 1, 100, 511, 4096, 64 * KIB, STATUS_AREA - 1, STATUS_AREA, STATUS_AREA + 1, SIZE,
	};
	const struct files *f = &self->f;
	static unsigned char data[SIZE];
	unsigned int seed = 1;

	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		for (int kind = 0; kind < 3; kind++) {
			memset(data, kind == 1 ? 'x' : 0, SIZE);
			for (size_t k = 0; kind == 2 && k < SIZE; k++)
				data[k] = next(&seed);
			ASSERT_TRUE(write_log(f, data, sizes[i]));
			ASSERT_EQ(ELOG_OUTCOME, outcome(_metadata, f)) {
				TH_LOG("size %zu, kind %d", sizes[i], kind);
			}
			/* whatever it is, it stays that */
			ASSERT_TRUE(log_is(f, data, sizes[i]));
		}
	}
}

TEST_F(bad_log, no_file)
{
	rvm_options_t options;
	int fd;

	OK(RVM_INIT(NULL));
	rvm_init_options(&options);
	options.log_dev = self->f.dir;
	ASSERT_NE(RVM_SUCCESS, rvm_set_options(&options));
	options.log_dev = (char *)"/dev/null";
	ASSERT_NE(RVM_SUCCESS, rvm_set_options(&options));
	options.log_dev = (char *)"/dev/zero";
	ASSERT_NE(RVM_SUCCESS, rvm_set_options(&options));
	options.log_dev = self->f.segment;
	ASSERT_EQ(0, unlink(self->f.segment));
	ASSERT_EQ(0, mkfifo(self->f.segment, 0600));
	ASSERT_NE(RVM_SUCCESS, rvm_set_options(&options));
	ASSERT_EQ(0, unlink(self->f.segment));
	ASSERT_EQ(0, symlink(self->f.segment, self->f.segment));
	EIO_ERRNO(ELOOP, rvm_set_options(&options));
	/* none of it is in the way of a real one, even under another name */
	ASSERT_EQ(0, unlink(self->f.segment));
	fd = open(self->f.segment, O_CREAT | O_RDWR | O_CLOEXEC, 0600);
	ASSERT_EQ(0, close(fd));
	CODE(RVM_ELOG, rvm_set_options(&options));
	options.log_dev = self->f.log;
	OK(rvm_set_options(&options));
	OK(rvm_terminate());
}

static void without_permission(CHILD_ARGS)
{
	rvm_options_t options;

	if (!getuid()) {
		ASSERT_EQ(0, setgid(65534));
		ASSERT_EQ(0, setuid(65534));
	}
	rvm_init_options(&options);
	options.log_dev = (char *)f->log;
	EIO_ERRNO(EACCES, RVM_INIT(&options));
}

TEST_F(bad_log, no_permission)
{
	const struct files *f = &self->f;

	ASSERT_EQ(0, chmod(f->log, 0));
	CHILD_OK(without_permission);
	ASSERT_EQ(0, chmod(f->log, 0444));
	CHILD_OK(without_permission);
	ASSERT_TRUE(log_is(f, image, SIZE) || chmod(f->log, 0600));
}

/* Both statuses say another version, and their checksums are right. */
TEST_F(bad_log, other_version)
{
	static const u32 versions[] = { 0, 2, 99, 0xffffffff };
	const struct files *f = &self->f;
	static unsigned char data[SIZE];

	for (size_t i = 0; i < sizeof(versions) / sizeof(versions[0]); i++) {
		memcpy(data, image, SIZE);
		for (int slot = 0; slot < 2; slot++) {
			struct rvm_status_disk *d = (void *)(data + slot * RVM_STATUS_SIZE);

			d->version = cpu_to_le32(versions[i]);
			d->crc = 0;
			d->crc = cpu_to_le32(rvm_crc32c(RVM_CRC_SEED, d, le32_to_cpu(d->used)));
		}
		ASSERT_TRUE(write_log(f, data, SIZE));
		ASSERT_EQ(SKEW_OUTCOME, outcome(_metadata, f));
		ASSERT_TRUE(log_is(f, data, SIZE));
	}
}

TEST_F(bad_log, truncated)
{
	static const size_t sizes[] = {
		0, 1, 511, 512, 4096, 64 * KIB, 64 * KIB + 100, STATUS_AREA - 1, STATUS_AREA,
		STATUS_AREA + 1, STATUS_AREA + 512, STATUS_AREA + 4096, STATUS_AREA + 20000,
		STATUS_AREA + 32 * KIB, SIZE - 4096, SIZE - 512, SIZE - 1,
	};
	const struct files *f = &self->f;

	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++)
		expect_survival(_metadata, f, image, sizes[i], 0, "size", sizes[i]);
}

/* The status that counts. */
static unsigned char *newest(unsigned char *data)
{
	static struct rvm_status s;

	if (rvm_status_choose(&s, data))
		abort();
	return data + rvm_status_offset(&s);
}

TEST_F(bad_log, status_flipped)
{
	const struct files *f = &self->f;
	static unsigned char data[SIZE];
	const size_t slot = newest(image) - image;
	const size_t used = le32_to_cpu(((struct rvm_status_disk *)(image + slot))->used);
	unsigned int seed = 1;

	FEW_BYTES_ONLY("the log does not hold all commits");
	ASSERT_LT(sizeof(struct rvm_status_disk), used);
	/* all of the one that counts, some of the other, and of what is in no use */
	for (size_t i = 0; i < used; i++) {
		memcpy(data, image, SIZE);
		data[slot + i] ^= 1 << next(&seed) % 8;
		expect_survival(_metadata, f, data, SIZE, 0, "status byte", i);
	}
	for (size_t i = 0; i < used; i += step_over(5)) {
		memcpy(data, image, SIZE);
		data[(slot ^ RVM_STATUS_SIZE) + i] ^= 1 << next(&seed) % 8;
		expect_survival(_metadata, f, data, SIZE, COMMITS, "other status byte", i);
	}
	for (size_t i = used; i < RVM_STATUS_SIZE; i += step_over(8191)) {
		memcpy(data, image, SIZE);
		data[slot + i] ^= 1 << next(&seed) % 8;
		expect_survival(_metadata, f, data, SIZE, COMMITS, "unused byte", i);
	}
}

TEST_F(bad_log, both_statuses_damaged)
{
	const struct files *f = &self->f;
	static unsigned char data[SIZE];

	for (size_t i = 0; i < sizeof(struct rvm_status_disk); i += step_over(4)) {
		memcpy(data, image, SIZE);
		data[i] ^= 0x10;
		data[RVM_STATUS_SIZE + i] ^= 0x10;
		ASSERT_TRUE(write_log(f, data, SIZE));
		ASSERT_LT(STARTED, outcome(_metadata, f)) {
			TH_LOG("byte %zu", i);
		}
		ASSERT_TRUE(log_is(f, data, SIZE));
	}
}

TEST_F(bad_log, records_flipped)
{
	const struct files *f = &self->f;
	static unsigned char data[SIZE];
	unsigned int seed = 1;

	FEW_BYTES_ONLY("the log does not hold all commits");
	for (size_t i = 0; i < AREA; i += step_over(i < 200 ? 3 : 397)) {
		memcpy(data, image, SIZE);
		data[STATUS_AREA + i] ^= 1 << next(&seed) % 8;
		/* a commit takes 2,731 bytes at most, on the average */
		expect_survival(_metadata, f, data, SIZE,
				i / 2731 < COMMITS ? i / 2731 : COMMITS, "record byte", i);
	}
}

/* Whole blocks lost, zeroed or exchanged. */
TEST_F(bad_log, records_lost)
{
	const struct files *f = &self->f;
	static unsigned char data[SIZE];
	unsigned int seed = 1;

	FEW_BYTES_ONLY("the log does not hold all commits");
	for (size_t i = 0; i < AREA; i += 4096) {
		memcpy(data, image, SIZE);
		memset(data + STATUS_AREA + i, 0, 512);
		expect_survival(_metadata, f, data, SIZE, 0, "zeroed block", i);
		memcpy(data, image, SIZE);
		for (size_t k = 0; k < 4096; k++)
			data[STATUS_AREA + i + k] = next(&seed);
		expect_survival(_metadata, f, data, SIZE, 0, "garbage block", i);
		memcpy(data + STATUS_AREA + i, image + STATUS_AREA, 4096);
		expect_survival(_metadata, f, data, SIZE, 0, "repeated block", i);
	}
	memset(data + STATUS_AREA, 0, AREA);
	expect_survival(_metadata, f, data, SIZE, 0, "no records", 0);
	for (size_t k = STATUS_AREA; k < SIZE; k++)
		data[k] = next(&seed);
	memcpy(data, image, STATUS_AREA);
	expect_survival(_metadata, f, data, SIZE, 0, "only garbage", 0);
}

/* Statuses with a right checksum that say what can't be, or shouldn't be believed. */
TEST_F(bad_log, misleading_status)
{
	static const u64 values[] = {
		0, 1, 7, 8, 512, 4095, 4096, 4104, AREA - 4096, AREA, AREA + 1, AREA + 4096,
		1ull << 20, 1ull << 32, 1ull << 40, (1ull << 62) - 4096, 1ull << 62, 1ull << 63,
		~0ull - 4095, ~0ull - 7, ~0ull,
	};
	const struct files *f = &self->f;
	static unsigned char data[SIZE];
	static struct rvm_status s;
	u64 *const fields[] = {
		&s.generation, &s.log_id, &s.incarnation, &s.area_length, &s.head,
		&s.head_sequence, &s.start, &s.start_sequence,
	};

	FEW_BYTES_ONLY("the log does not hold all commits");
	for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++) {
		for (size_t k = 0; k < sizeof(values) / sizeof(values[0]); k++) {
			memcpy(data, image, SIZE);
			ASSERT_EQ(0, rvm_status_choose(&s, data));
			memset(data, 0, STATUS_AREA);
			*fields[i] = values[k];
			if (fields[i] == &s.generation)
				s.generation--;
			rvm_status_encode(&s, data + RVM_STATUS_SIZE * ((s.generation + 1) & 1));
			expect_survival(_metadata, f, data, SIZE, 0, "field and value",
					100 * i + k);
		}
	}
}

/*
 * Where an opening began although the last record ends before: no later one
 * begins before it again, for positions only grow.
 */
TEST_F(bad_log, start_behind_a_gap)
{
	const struct files *f = &self->f;
	static unsigned char data[SIZE];
	static struct rvm_status s;
	const u64 start = 7 * 512;

	ASSERT_EQ(0, rvm_status_choose(&s, image));
	s.head = 0;
	s.start = start;
	s.head_sequence = s.start_sequence;
	memset(data, 0, SIZE);
	rvm_status_encode(&s, data + RVM_STATUS_SIZE * ((s.generation + 1) & 1));
	ASSERT_TRUE(write_log(f, data, SIZE));
	CHILD_OK(open_log);
	ASSERT_TRUE(read_log(f, data));
	ASSERT_EQ(0, rvm_status_choose(&s, data));
	ASSERT_LE(start, s.start);
	ASSERT_EQ(s.start, s.head);
}

TEST_HARNESS_MAIN
