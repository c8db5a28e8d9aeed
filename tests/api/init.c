// SPDX-License-Identifier: GPL-2.0 OR MIT
/* Description: starting and ending, options, making logs, choosing the engine. */
#include "api.h"

#include <pthread.h>
#include <sys/file.h>
#include <sys/resource.h>

/* Every call that takes part in the rule gives that code, whatever its arguments. */
static void all_calls_give(struct __test_metadata *_metadata, rvm_return_t code)
{
	rvm_options_t options;
	rvm_region_t region;
	rvm_tid_t tid;
	rvm_offset_t length = RVM_LENGTH_TO_OFFSET(4096);
	char byte;

	rvm_init_options(&options);
	rvm_init_region(&region);
	rvm_init_tid(&tid);
	CODE(code, rvm_create_log(NULL, NULL, 0));
	CODE(code, rvm_create_log(&options, &length, 0600));
	CODE(code, rvm_set_options(NULL));
	CODE(code, rvm_set_options(&options));
	CODE(code, rvm_query(NULL, NULL));
	CODE(code, rvm_query(&options, NULL));
	CODE(code, rvm_map(NULL, NULL));
	CODE(code, rvm_map(&region, &options));
	CODE(code, rvm_unmap(NULL));
	CODE(code, rvm_unmap(&region));
	CODE(code, rvm_begin_transaction(NULL, rvm_last_mode));
	CODE(code, rvm_begin_transaction(&tid, restore));
	CODE(code, rvm_set_range(NULL, NULL, 0));
	CODE(code, rvm_set_range(&tid, &byte, 1));
	CODE(code, rvm_modify_bytes(NULL, NULL, NULL, 1));
	CODE(code, rvm_modify_bytes(&tid, &byte, &byte, 1));
	CODE(code, rvm_end_transaction(NULL, rvm_last_mode));
	CODE(code, rvm_end_transaction(&tid, flush));
	CODE(code, rvm_abort_transaction(NULL));
	CODE(code, rvm_abort_transaction(&tid));
	CODE(code, rvm_flush());
	CODE(code, rvm_truncate());
	CODE(code, rvm_get_engine_counters(NULL));
	CODE(code, rvm_open_log(NULL, NULL));
	CODE(code, rvm_use_log(NULL));
	CODE(code, rvm_check_tid(NULL));
	CODE(code, rvm_check_tid(&tid));
	CODE(code, rvm_terminate());
}

TEST_F(api, before_initialize)
{
	all_calls_give(_metadata, RVM_EINIT);
}

TEST_F(api, after_terminate)
{
	start(&self->f);
	OK(rvm_terminate());
	all_calls_give(_metadata, RVM_EINIT);
	CODE(RVM_EINIT, RVM_INIT(NULL));
	CODE(RVM_EINIT, start_with(&self->f, MIB, 0));
	CODE(RVM_EINIT, rvm_set_engine("auto"));
	CODE(RVM_EINIT, rvm_set_memory_limit(0));
}

static unsigned long memory_limit(struct __test_metadata *_metadata)
{
	rvm_engine_counters_t counters;

	OK(rvm_get_engine_counters(&counters));
	return counters.memory_limit;
}

/* Before the log is opened, and while it is open; options that are set keep it. */
TEST_F(api, memory_limit)
{
	rvm_options_t options;
	unsigned long at_first;
	bool kernel;

	CODE(RVM_EOPTIONS, rvm_set_memory_limit(RVM_MEMORY_LIMIT_MIN - 1));
	OK(rvm_set_memory_limit(5 * MIB));
	start(&self->f);
	kernel = !strcmp(rvm_get_engine(), "kernel");
	EXPECT_EQ(kernel ? 5 * MIB : 0, memory_limit(_metadata));
	CODE(RVM_EOPTIONS, rvm_set_memory_limit(1));
	EXPECT_EQ(kernel ? 5 * MIB : 0, memory_limit(_metadata));
	OK(rvm_set_memory_limit(0));
	at_first = memory_limit(_metadata);
	OK(rvm_set_memory_limit(RVM_MEMORY_LIMIT_MIN));
	rvm_init_options(&options);
	OK(rvm_set_options(&options));
	EXPECT_EQ(kernel ? RVM_MEMORY_LIMIT_MIN : 0, memory_limit(_metadata));
	EXPECT_EQ(kernel, memory_limit(_metadata) < at_first);
	OK(rvm_terminate());
}

TEST_F(api, version)
{
	char longer[RVM_VERSION_MAX + 10];

	memset(longer, 'x', sizeof(longer));
	longer[sizeof(longer) - 1] = 0;
	CODE(RVM_EVERSION_SKEW, rvm_initialize(NULL, NULL));
	CODE(RVM_EVERSION_SKEW, rvm_initialize("", NULL));
	CODE(RVM_EVERSION_SKEW, rvm_initialize("RVM Interface Version 1.3", NULL));
	CODE(RVM_EVERSION_SKEW, rvm_initialize(RVM_VERSION " ", NULL));
	CODE(RVM_EVERSION_SKEW, rvm_initialize("RVM Interface Version 1.2  7 Mar 1994", NULL));
	CODE(RVM_EVERSION_SKEW, rvm_initialize(longer, NULL));
	CODE(RVM_EINIT, rvm_flush());
	OK(rvm_initialize("RVM Interface Version 1.3  7 Mar 1994", NULL));
}

TEST_F(api, twice)
{
	rvm_region_t region;

	start(&self->f);
	OK(map_segment(&self->f, &region));
	OK(RVM_INIT(NULL));
	OK(start_with(&self->f, MIB, 0));
	OK(commit_bytes(region.vmaddr, 1, 10, flush));
	OK(rvm_terminate());
}

TEST_F(api, without_log)
{
	rvm_options_t options;
	rvm_offset_t length = RVM_LENGTH_TO_OFFSET(64 * KIB);
	rvm_region_t region, unmapped;
	rvm_tid_t tid;
	char other[300];

	OK(RVM_INIT(NULL));
	CODE(RVM_ELOG, map_segment(&self->f, &region));
	rvm_init_tid(&tid);
	CODE(RVM_ETID, rvm_begin_transaction(NULL, restore));
	CODE(RVM_EMODE, rvm_begin_transaction(&tid, flush));
	CODE(RVM_ELOG, rvm_begin_transaction(&tid, restore));
	CODE(RVM_ETID, rvm_set_range(&tid, &tid, 1));
	CODE(RVM_ETID, rvm_end_transaction(&tid, flush));
	CODE(RVM_ETID, rvm_abort_transaction(&tid));
	CODE(RVM_ELOG, rvm_flush());
	CODE(RVM_ELOG, rvm_truncate());
	rvm_engine_counters_t counters;

	CODE(RVM_ELOG, rvm_get_engine_counters(&counters));
	rvm_init_region(&unmapped);
	CODE(RVM_ENOT_MAPPED, rvm_unmap(&unmapped));

	/* options can be set, and are kept */
	rvm_init_options(&options);
	options.truncate = 77;
	options.flags = RVM_COALESCE_RANGES;
	OK(rvm_set_options(&options));
	rvm_init_options(&options);
	options.log_dev = other;
	strcpy(other, "?");
	OK(rvm_query(&options, NULL));
	EXPECT_EQ(77, options.truncate);
	EXPECT_EQ(RVM_COALESCE_RANGES, options.flags);
	EXPECT_EQ(rvm_true, options.log_empty);
	EXPECT_EQ(0, options.n_uncommit);
	EXPECT_STREQ("", other);

	/* a log that is missing, then made, then opened */
	rvm_init_options(&options);
	options.log_dev = self->f.log;
	EIO_ERRNO(ENOENT, rvm_set_options(&options));
	CODE(RVM_ELOG, rvm_flush());
	OK(rvm_create_log(&options, &length, 0600));
	CODE(RVM_ELOG, rvm_flush());
	OK(rvm_set_options(&options));
	OK(rvm_flush());
	OK(map_segment(&self->f, &region));
	OK(commit_bytes(region.vmaddr, 1, 10, flush));

	/* that one again is no second log, under whatever name */
	OK(rvm_set_options(&options));
	snprintf(other, sizeof(other), "%s/./log", self->f.dir);
	options.log_dev = other;
	OK(rvm_set_options(&options));
	snprintf(other, sizeof(other), "%s/log2", self->f.dir);
	CODE(RVM_ELOG, rvm_set_options(&options));
	OK(rvm_create_log(&options, &length, 0600));
	CODE(RVM_ELOG, rvm_set_options(&options));
	region.vmaddr = NULL;
	CODE(RVM_ELOG, rvm_map(&region, &options));
	OK(rvm_flush());
	OK(rvm_terminate());
}

TEST_F(api, terminate_without_log)
{
	OK(RVM_INIT(NULL));
	OK(rvm_terminate());
	CODE(RVM_EINIT, rvm_terminate());
}

TEST_F(api, missing_log)
{
	rvm_options_t options;

	rvm_init_options(&options);
	options.log_dev = self->f.log;
	EIO_ERRNO(ENOENT, RVM_INIT(&options));
	CODE(RVM_EINIT, rvm_flush());
	options.log_dev = self->f.dir;
	ASSERT_NE(RVM_SUCCESS, RVM_INIT(&options));
	CODE(RVM_EINIT, rvm_flush());
	/* a start that failed can be tried again */
	start(&self->f);
	OK(rvm_flush());
}

TEST_F(api, bad_options)
{
	rvm_options_t good, bad;
	rvm_region_t region;
	char name[MAXPATHLEN + 2];
	rvm_offset_t length = RVM_LENGTH_TO_OFFSET(4096);

	memset(name, 'a', sizeof(name));
	name[0] = '/';
	name[MAXPATHLEN] = 0;

#define ALL(code) do {					\
	CODE(code, rvm_set_options(&bad));		\
	CODE(code, rvm_create_log(&bad, &length, 0600));	\
	CODE(code, rvm_map(&region, &bad));		\
} while (0)

	rvm_init_options(&good);
	bad = good;
	bad.struct_id = rvm_region_id;
	CODE(RVM_EOPTIONS, RVM_INIT(&bad));
	bad = good;
	bad.truncate = 101;
	CODE(RVM_EOPTIONS, RVM_INIT(&bad));
	bad = good;
	bad.pager = (char *)"pager";
	CODE(RVM_EPAGER, RVM_INIT(&bad));
	bad = good;
	bad.log_dev = name;
	CODE(RVM_ENAME_TOO_LONG, RVM_INIT(&bad));
	bad = good;
	bad.create_log_file = rvm_true;
	CODE(RVM_EOPTIONS, RVM_INIT(&bad));
	CODE(RVM_EINIT, rvm_flush());

	start(&self->f);
	OK(map_segment(&self->f, &region));
	OK(rvm_unmap(&region));
	CODE(RVM_EOPTIONS, rvm_set_options(NULL));
	CODE(RVM_EOPTIONS, rvm_create_log(NULL, &length, 0600));
	CODE(RVM_EOPTIONS, rvm_create_log(&good, &length, 0600));
	CODE(RVM_EOPTIONS, rvm_query(NULL, NULL));

	bad = good;
	bad.struct_id = rvm_region_id;
	ALL(RVM_EOPTIONS);
	CODE(RVM_EOPTIONS, rvm_query(&bad, NULL));
	bad = good;
	bad.truncate = 101;
	ALL(RVM_EOPTIONS);
	bad.truncate = -1;
	ALL(RVM_EOPTIONS);
	bad = good;
	bad.pager = (char *)"";
	ALL(RVM_EPAGER);
	bad = good;
	bad.log_dev = name;
	ALL(RVM_ENAME_TOO_LONG);
	bad = good;
	bad.n_uncommit = -1;
	CODE(RVM_EOPTIONS, rvm_query(&bad, NULL));

	/* as long as it may be, and then the system's affair */
	name[MAXPATHLEN - 1] = 0;
	bad = good;
	bad.log_dev = name;
	EIO_ERRNO(ENAMETOOLONG, rvm_create_log(&bad, &length, 0600));
	OK(rvm_terminate());
}

TEST_F(api, options_in_force)
{
	rvm_options_t options;
	char name[MAXPATHLEN];

	start(&self->f);
	rvm_init_options(&options);
	options.truncate = 0;
	options.recovery_buf_len = 0;
	options.flush_buf_len = 100 * KIB;
	options.max_read_len = 128 * KIB;
	options.flags = RVM_COALESCE_TRANS | RVM_MAP_PRIVATE;
	OK(rvm_set_options(&options));

	rvm_init_options(&options);
	options.log_dev = name;
	OK(rvm_query(&options, NULL));
	EXPECT_EQ(0, options.truncate);
	EXPECT_EQ(MIN_RECOVERY_BUF_LEN, options.recovery_buf_len);
	EXPECT_EQ(100 * KIB, options.flush_buf_len);
	EXPECT_EQ(128 * KIB, options.max_read_len);
	EXPECT_EQ(RVM_ALL_OPTIMIZATIONS | RVM_MAP_PRIVATE, options.flags);
	EXPECT_STREQ(self->f.log, name);
	EXPECT_EQ(NULL, options.pager);

	/* what was read can be set */
	options.truncate = 100;
	OK(rvm_set_options(&options));
	rvm_init_options(&options);
	OK(rvm_query(&options, NULL));
	EXPECT_EQ(100, options.truncate);
	EXPECT_EQ(RVM_ALL_OPTIMIZATIONS | RVM_MAP_PRIVATE, options.flags);

	/* an error changes nothing */
	options.truncate = 101;
	CODE(RVM_EOPTIONS, rvm_set_options(&options));
	OK(rvm_query(&options, NULL));
	EXPECT_EQ(100, options.truncate);
	OK(rvm_terminate());
}

TEST_F(api, create_log)
{
	rvm_options_t options;
	rvm_offset_t length = RVM_LENGTH_TO_OFFSET(4096);
	rvm_engine_counters_t counters;
	struct stat st;

	umask(022);
	OK(RVM_INIT(NULL));
	rvm_init_options(&options);
	options.log_dev = self->f.log;

	CODE(RVM_EOFFSET, rvm_create_log(&options, NULL, 0600));
	length = RVM_LENGTH_TO_OFFSET(0);
	CODE(RVM_EOFFSET, rvm_create_log(&options, &length, 0600));
	length = RVM_MK_OFFSET(1, 4096);
	CODE(RVM_EOFFSET, rvm_create_log(&options, &length, 0600));
	length = RVM_LENGTH_TO_OFFSET(~0ul);
	CODE(RVM_EOFFSET, rvm_create_log(&options, &length, 0600));
	length = RVM_LENGTH_TO_OFFSET(~0ul >> 1);
	CODE(RVM_EOFFSET, rvm_create_log(&options, &length, 0600));
	ASSERT_EQ(-1, access(self->f.log, F_OK));

	/* the record area is rounded up, and all of the file has blocks */
	length = RVM_LENGTH_TO_OFFSET(300 * KIB + 1);
	OK(rvm_create_log(&options, &length, 0666));
	ASSERT_EQ(0, stat(self->f.log, &st));
	EXPECT_EQ(0644, st.st_mode & 07777);
	EXPECT_EQ(STATUS_AREA + 304 * KIB, st.st_size);
	EXPECT_LE(st.st_size, st.st_blocks * 512);
	EXPECT_EQ(300 * KIB + 1, RVM_OFFSET_TO_LENGTH(length));

	/* it exists: whatever it is */
	CODE(RVM_ELOG, rvm_create_log(&options, &length, 0600));
	ASSERT_TRUE(make_file(self->f.segment, 100, 1));
	options.log_dev = self->f.segment;
	CODE(RVM_ELOG, rvm_create_log(&options, &length, 0600));
	EXPECT_TRUE(file_is(self->f.segment, 0, 1, 100));
	EXPECT_EQ(100, file_size(self->f.segment));
	options.log_dev = self->f.dir;
	CODE(RVM_ELOG, rvm_create_log(&options, &length, 0600));
	ASSERT_EQ(0, unlink(self->f.segment));
	ASSERT_EQ(0, symlink("nowhere", self->f.segment));
	options.log_dev = self->f.segment;
	CODE(RVM_ELOG, rvm_create_log(&options, &length, 0600));

	options.log_dev = (char *)"/nonexistent/log";
	EIO_ERRNO(ENOENT, rvm_create_log(&options, &length, 0600));

	options.log_dev = self->f.log;
	OK(rvm_set_options(&options));
	OK(rvm_get_engine_counters(&counters));
	EXPECT_EQ(304 * KIB, counters.log_length);
	OK(rvm_terminate());
}

TEST_F(api, create_log_fails)
{
	const struct rlimit limit = { 200 * KIB, RLIM_INFINITY };
	rvm_options_t options;
	rvm_offset_t length = RVM_LENGTH_TO_OFFSET(256 * KIB);

	signal(SIGXFSZ, SIG_IGN);
	OK(RVM_INIT(NULL));
	rvm_init_options(&options);
	options.log_dev = self->f.log;
	ASSERT_EQ(0, setrlimit(RLIMIT_FSIZE, &limit));
	EIO_ERRNO(EFBIG, rvm_create_log(&options, &length, 0600));
	EXPECT_EQ(-1, access(self->f.log, F_OK));
	length = RVM_LENGTH_TO_OFFSET(64 * KIB);
	OK(rvm_create_log(&options, &length, 0600));
	OK(rvm_set_options(&options));
	OK(rvm_terminate());
}

static void use_log_of_4096(CHILD_ARGS)
{
	rvm_region_t region;

	OK(start_with(f, 4096, 0));
	OK(map_segment(f, &region));
	for (int i = 0; i < 50; i++)
		OK(commit_bytes(region.vmaddr + 100 * i, i, 100, flush));
	die(_metadata);
}

TEST_F(api, log_of_4096)
{
	const struct files *f = &self->f;
	rvm_region_t region;

	FEW_BYTES_ONLY("none fits into the log");
	CHILD_DIES(use_log_of_4096);
	EXPECT_EQ(STATUS_AREA + 4096, file_size(f->log));
	start(f);
	OK(map_segment(f, &region));
	for (int i = 0; i < 50; i++) {
		ASSERT_TRUE(all_are(region.vmaddr + 100 * i, i, 100));
	}
	OK(rvm_terminate());
}

TEST_F(api, create_log_file)
{
	rvm_options_t options;
	struct stat st;

	rvm_init_options(&options);
	options.log_dev = self->f.log;
	options.create_log_file = rvm_true;
	CODE(RVM_EOFFSET, RVM_INIT(&options));
	ASSERT_EQ(-1, access(self->f.log, F_OK));
	options.create_log_size = RVM_LENGTH_TO_OFFSET(64 * KIB);
	ASSERT_TRUE(make_file(self->f.log, 10, 0));
	CODE(RVM_ELOG, RVM_INIT(&options));
	CODE(RVM_EINIT, rvm_flush());
	ASSERT_EQ(0, unlink(self->f.log));
	OK(RVM_INIT(&options));
	OK(rvm_flush());
	ASSERT_EQ(0, stat(self->f.log, &st));
	EXPECT_EQ(0600, st.st_mode & 07777);
	/* no matter to set_options */
	OK(rvm_set_options(&options));
	OK(rvm_terminate());
}

TEST_F(api, terminate_with_open_transaction)
{
	rvm_region_t region;
	rvm_tid_t tid;

	DECLARED_ONLY("several transactions at a time");
	start(&self->f);
	OK(map_segment(&self->f, &region));
	rvm_init_tid(&tid);
	OK(rvm_begin_transaction(&tid, restore));
	CODE(RVM_EUNCOMMIT, rvm_terminate());
	/* all goes on working */
	OK(rvm_set_range(&tid, region.vmaddr, 10));
	memset(region.vmaddr, 1, 10);
	CODE(RVM_EUNCOMMIT, rvm_terminate());
	OK(commit_bytes(region.vmaddr + 100, 2, 10, flush));
	OK(rvm_end_transaction(&tid, no_flush));
	OK(rvm_terminate());
}

TEST_F(api, terminate_with_region)
{
	rvm_region_t region;

	start(&self->f);
	OK(map_segment(&self->f, &region));
	OK(commit_bytes(region.vmaddr, 5, 100, no_flush));
	OK(rvm_terminate());
	/* the memory is still there */
	EXPECT_TRUE(all_are(region.vmaddr, 5, 100));
}

/*
 * Engine choice
 */

/* What `call` writes to stderr. */
#define STDERR_OF(text, call) do {					\
	char name_[300];						\
	int fd_, saved_ = dup(2);					\
	ssize_t n_;							\
									\
	snprintf(name_, sizeof(name_), "%s/stderr", self->f.dir);	\
	fd_ = open(name_, O_CREAT | O_TRUNC | O_RDWR, 0600);		\
	ASSERT_LE(0, fd_);						\
	dup2(fd_, 2);							\
	call;								\
	dup2(saved_, 2);						\
	n_ = pread(fd_, text, sizeof(text) - 1, 0);			\
	text[n_ < 0 ? 0 : n_] = 0;					\
	close(fd_);							\
	close(saved_);							\
} while (0)

TEST_F(api, engine_by_environment)
{
	rvm_return_t code;
	char text[1000];

	setenv("RVM_ENGINE", "kernl", 1);
	STDERR_OF(text, code = RVM_INIT(NULL));
	EXPECT_EQ(RVM_EOPTIONS, code);
	EXPECT_NE(NULL, strstr(text, "kernl"));
	EXPECT_NE(NULL, strstr(text, "user"));
	EXPECT_NE(NULL, strstr(text, "kernel"));
	EXPECT_NE(NULL, strstr(text, "auto"));
	EXPECT_EQ(NULL, rvm_get_engine());
	CODE(RVM_EINIT, rvm_flush());

	setenv("RVM_ENGINE", "user", 1);
	start(&self->f);
	EXPECT_STREQ("user", rvm_get_engine());
	OK(rvm_terminate());
}

TEST_F(api, engine_by_call)
{
	setenv("RVM_ENGINE", "nonsense", 1);
	CODE(RVM_EOPTIONS, rvm_set_engine(NULL));
	CODE(RVM_EOPTIONS, rvm_set_engine(""));
	CODE(RVM_EOPTIONS, rvm_set_engine("usr"));
	OK(rvm_set_engine("kernel"));
	OK(rvm_set_engine("user"));
	EXPECT_EQ(NULL, rvm_get_engine());
	start(&self->f);
	EXPECT_STREQ("user", rvm_get_engine());
	CODE(RVM_EINIT, rvm_set_engine("user"));
	OK(rvm_terminate());
}

/* Both with the module loaded and without. */
TEST_F(api, kernel_engine)
{
	bool there = !access("/dev/rvm", R_OK | W_OK);
	rvm_return_t code;
	char text[1000];
	int err;

	setenv("RVM_ENGINE", "kernel", 1);
	STDERR_OF(text, code = RVM_INIT(NULL); err = errno);
	if (there) {
		EXPECT_EQ(RVM_SUCCESS, code);
		EXPECT_STREQ("kernel", rvm_get_engine());
		return;
	}
	EXPECT_EQ(RVM_EIO, code);
	EXPECT_EQ(ENODEV, err);
	EXPECT_NE(NULL, strstr(text, "/dev/rvm")) TH_LOG("message: %s", text);
	EXPECT_NE(NULL, strstr(text, "insmod") ?: strstr(text, "modprobe"))
		TH_LOG("message: %s", text);
	CODE(RVM_EINIT, rvm_flush());
}

TEST_F(api, auto_engine)
{
	bool there = !access("/dev/rvm", R_OK | W_OK);
	char text[1000];
	rvm_return_t code;

	unsetenv("RVM_ENGINE");
	STDERR_OF(text, code = RVM_INIT(NULL));
	EXPECT_EQ(RVM_SUCCESS, code);
	EXPECT_STREQ("", text);
	EXPECT_STREQ(there ? "kernel" : "user", rvm_get_engine());
}

TEST_F(api, counters)
{
	rvm_engine_counters_t counters;
	rvm_region_t region;
	rvm_tid_t tid;

	start(&self->f);
	CODE(RVM_EOPTIONS, rvm_get_engine_counters(NULL));
	OK(map_segment(&self->f, &region));
	for (int i = 0; i < 5; i++)
		OK(commit_bytes(region.vmaddr, i, 10, i < 2 ? flush : no_flush));
	rvm_init_tid(&tid);
	OK(rvm_begin_transaction(&tid, restore));
	OK(rvm_abort_transaction(&tid));
	OK(rvm_flush());
	OK(rvm_get_engine_counters(&counters));
	EXPECT_EQ(MIB, counters.log_length);
	EXPECT_LT(0, counters.log_used);
	EXPECT_LE(3, counters.log_writes);
	EXPECT_LE(3, counters.log_flushes);
	EXPECT_LT(0, counters.log_bytes);
	EXPECT_EQ(5, counters.commits);
	EXPECT_EQ(2, counters.flush_commits);
	EXPECT_EQ(1, counters.aborts);
	EXPECT_EQ(0, counters.failed);
	OK(rvm_terminate());
}

/*
 * Owners and processes
 */

TEST_F(api, log_of_another_owner)
{
	rvm_options_t options;
	int fd;

	OK(RVM_INIT(NULL));
	rvm_init_options(&options);
	options.log_dev = self->f.log;
	rvm_offset_t length = RVM_LENGTH_TO_OFFSET(64 * KIB);

	OK(rvm_create_log(&options, &length, 0600));
	fd = open(self->f.log, O_RDWR | O_CLOEXEC);
	ASSERT_LE(0, fd);
	ASSERT_EQ(0, flock(fd, LOCK_EX));
	EIO_ERRNO(EBUSY, rvm_set_options(&options));
	close(fd);
	OK(rvm_set_options(&options));
	/* and now it's ours */
	fd = open(self->f.log, O_RDWR | O_CLOEXEC);
	ASSERT_LE(0, fd);
	EXPECT_EQ(-1, flock(fd, LOCK_EX | LOCK_NB));
	OK(rvm_terminate());
	EXPECT_EQ(0, flock(fd, LOCK_EX | LOCK_NB));
}

static void after_fork(CHILD_ARGS)
{
	all_calls_give(_metadata, RVM_EINIT);
	CODE(RVM_EINIT, RVM_INIT(NULL));
	CODE(RVM_EINIT, start_with(f, MIB, 0));
}

static void start_and_die(CHILD_ARGS)
{
	start(f);
	die(_metadata);
}

TEST_F(api, fork)
{
	const struct files *f = &self->f;
	rvm_region_t region;
	rvm_tid_t tid;

	/* a child of a process that has not started can start itself */
	CHILD_DIES(start_and_die);

	start(f);
	OK(map_segment(f, &region));
	rvm_init_tid(&tid);
	OK(rvm_begin_transaction(&tid, restore));
	OK(rvm_set_range(&tid, region.vmaddr, 10));
	CHILD_OK(after_fork);
	memset(region.vmaddr, 1, 10);
	OK(rvm_end_transaction(&tid, flush));
	OK(rvm_truncate());
	EXPECT_TRUE(file_is(f->segment, 0, 1, 10));
	OK(rvm_terminate());
	CHILD_OK(after_fork);
}

static rvm_region_t forks_region;
static bool forks_stop;

static void *keep_committing(void *unused)
{
	(void)unused;
	for (int i = 0; !__atomic_load_n(&forks_stop, __ATOMIC_RELAXED); i++)
		if (commit_bytes(forks_region.vmaddr, i, 100, i % 8 ? no_flush : flush))
			return (void *)1;
	return NULL;
}

/* Killed, for by leaving it would lose what only the other threads' stacks knew of. */
static void after_fork_and_die(CHILD_ARGS)
{
	after_fork(_metadata, f);
	die(_metadata);
}

/* Whatever locks the parent's threads hold, the child is not held up. */
TEST_F(api, fork_among_threads)
{
	const struct files *f = &self->f;
	void *failed;
	pthread_t t;

	start(f);
	OK(map_segment(f, &forks_region));
	ASSERT_EQ(0, pthread_create(&t, NULL, keep_committing, NULL));
	for (int i = 0; i < 30; i++)
		CHILD_DIES(after_fork_and_die);
	__atomic_store_n(&forks_stop, true, __ATOMIC_RELAXED);
	pthread_join(t, &failed);
	EXPECT_EQ(NULL, failed);
	OK(rvm_terminate());
}

TEST_HARNESS_MAIN
