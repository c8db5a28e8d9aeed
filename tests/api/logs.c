// SPDX-License-Identifier: GPL-2.0 OR MIT
/* Description: several logs in one process, by rvm_open_log and rvm_use_log. */
#include "api.h"

#include <pthread.h>

/* A second log and its segment, beside those of the fixture. */
struct second {
	char log[300], segment[300];
	rvm_log_t *opened;
	rvm_region_t region;
};

static void name_second(const struct files *f, struct second *s)
{
	snprintf(s->log, sizeof(s->log), "%s/log2", f->dir);
	snprintf(s->segment, sizeof(s->segment), "%s/segment2", f->dir);
}

static void open_second(struct __test_metadata *_metadata, const struct files *f, struct second *s)
{
	rvm_offset_t length = RVM_LENGTH_TO_OFFSET(MIB);
	rvm_options_t options;

	name_second(f, s);
	rvm_init_options(&options);
	options.log_dev = s->log;
	if (access(s->log, F_OK))
		OK(rvm_create_log(&options, &length, 0600));
	OK(rvm_open_log(s->log, &s->opened));
}

static void map_second(struct __test_metadata *_metadata, struct second *s)
{
	int fd = open(s->segment, O_CREAT | O_RDWR | O_CLOEXEC, 0666);

	ASSERT_NE(-1, fd);
	close(fd);
	s->region = region_of(s->segment, 0, 0);
	OK(rvm_use_log(s->opened));
	OK(rvm_map(&s->region, NULL));
}

TEST_F(api, arguments)
{
	const struct files *f = &self->f;
	char longer[MAXPATHLEN + 1];
	struct second s;
	rvm_log_t *log;

	CODE(RVM_EINIT, rvm_open_log(NULL, NULL));
	CODE(RVM_EINIT, rvm_use_log(NULL));
	start(f);
	memset(longer, 'x', sizeof(longer));
	longer[sizeof(longer) - 1] = 0;
	CODE(RVM_EOPTIONS, rvm_open_log(NULL, &log));
	CODE(RVM_EOPTIONS, rvm_open_log(f->log, NULL));
	CODE(RVM_ENAME_TOO_LONG, rvm_open_log(longer, &log));
	name_second(f, &s);
	EIO_ERRNO(ENOENT, rvm_open_log(s.log, &log));
	ASSERT_TRUE(make_file(s.log, MIB, 1));
	CODE(RVM_ELOG, rvm_open_log(s.log, &log));
	ASSERT_EQ(0, unlink(s.log));
	CODE(RVM_ELOG, rvm_use_log((rvm_log_t *)longer));
	OK(rvm_use_log(NULL));
	open_second(_metadata, f, &s);
	OK(rvm_terminate());
	CODE(RVM_EINIT, rvm_open_log(f->log, &log));
	CODE(RVM_EINIT, rvm_use_log(s.opened));
}

TEST_F(api, looked_up)
{
	const struct files *f = &self->f;
	rvm_log_t *first, *again;
	struct second s;
	rvm_region_t region;

	start(f);
	open_second(_metadata, f, &s);
	OK(rvm_open_log(f->log, &first));
	OK(rvm_open_log(s.log, &again));
	ASSERT_EQ(s.opened, again);
	ASSERT_NE(s.opened, first);
	OK(rvm_use_log(s.opened));
	OK(rvm_use_log(first));
	OK(map_segment(f, &region));
	OK(rvm_use_log(NULL));
	OK(rvm_unmap(&region));
	OK(rvm_terminate());
}

static void commits_to_both(CHILD_ARGS)
{
	rvm_region_t region;
	struct second s;

	start(f);
	OK(map_segment(f, &region));
	open_second(_metadata, f, &s);
	map_second(_metadata, &s);
	OK(commit_bytes(s.region.vmaddr, 2, 10, flush));
	/* a region of the other log */
	CODE(RVM_ENOT_MAPPED, commit_bytes(region.vmaddr, 1, 10, flush));
	CODE(RVM_ENOT_MAPPED, rvm_unmap(&region));
	OK(rvm_use_log(NULL));
	CODE(RVM_ENOT_MAPPED, commit_bytes(s.region.vmaddr, 1, 10, flush));
	OK(commit_bytes(region.vmaddr, 1, 10, flush));
	die(_metadata);
}

static void finds_first(CHILD_ARGS)
{
	rvm_region_t region;

	start(f);
	OK(map_segment(f, &region));
	ASSERT_TRUE(all_are(region.vmaddr, 1, 10));
}

/* Without the first log's initialization. */
static void finds_second(CHILD_ARGS)
{
	rvm_region_t region;
	struct second s;

	OK(RVM_INIT(NULL));
	open_second(_metadata, f, &s);
	CODE(RVM_ELOG, map_segment(f, &region));
	map_second(_metadata, &s);
	ASSERT_TRUE(all_are(s.region.vmaddr, 2, 10));
	OK(rvm_unmap(&s.region));
	OK(rvm_use_log(NULL));
	CODE(RVM_ELOG, rvm_flush());
}

TEST_F(api, each_recovers_its_own)
{
	const struct files *f = &self->f;

	DECLARED_ONLY("several transactions at a time");
	CHILD_DIES(commits_to_both);
	CHILD_OK(finds_second);
	CHILD_OK(finds_first);
	CHILD_OK(finds_second);
}

static void terminates(CHILD_ARGS)
{
	rvm_region_t region;
	struct second s;
	rvm_tid_t tid;

	start(f);
	OK(map_segment(f, &region));
	open_second(_metadata, f, &s);
	map_second(_metadata, &s);
	OK(commit_bytes(s.region.vmaddr, 2, 10, no_flush));
	rvm_init_tid(&tid);
	OK(rvm_begin_transaction(&tid, restore));
	OK(rvm_use_log(NULL));
	OK(commit_bytes(region.vmaddr, 1, 10, no_flush));
	CODE(RVM_EUNCOMMIT, rvm_terminate());
	/* it stays with its log */
	OK(rvm_set_range(&tid, s.region.vmaddr, 1));
	OK(rvm_abort_transaction(&tid));
	OK(rvm_terminate());
	die(_metadata);
}

/* It flushes all of them. */
TEST_F(api, terminate)
{
	const struct files *f = &self->f;

	DECLARED_ONLY("several transactions at a time");
	CHILD_DIES(terminates);
	CHILD_OK(finds_first);
	CHILD_OK(finds_second);
}

static void *without_use(void *context)
{
	(void)context;
	return (void *)(intptr_t)rvm_truncate();
}

/* What a thread uses is its own choice. */
TEST_F(api, threads)
{
	const struct files *f = &self->f;
	pthread_t thread;
	struct second s;
	void *code;

	OK(RVM_INIT(NULL));
	open_second(_metadata, f, &s);
	map_second(_metadata, &s);
	OK(rvm_truncate());
	ASSERT_EQ(0, pthread_create(&thread, NULL, without_use, NULL));
	ASSERT_EQ(0, pthread_join(thread, &code));
	ASSERT_EQ(RVM_ELOG, (rvm_return_t)(intptr_t)code);
	OK(rvm_terminate());
}

/* Options and counters are the used one's. */
TEST_F(api, query)
{
	const struct files *f = &self->f;
	rvm_engine_counters_t counters;
	rvm_options_t options;
	char name[MAXPATHLEN];
	struct second s;

	start(f);
	open_second(_metadata, f, &s);
	map_second(_metadata, &s);
	OK(commit_bytes(s.region.vmaddr, 2, 10, flush));
	rvm_init_options(&options);
	options.log_dev = name;
	OK(rvm_query(&options, NULL));
	ASSERT_STREQ(s.log, name);
	OK(rvm_get_engine_counters(&counters));
	ASSERT_EQ(1, counters.flush_commits);
	options.truncate = 30;
	OK(rvm_set_options(&options));
	OK(rvm_use_log(NULL));
	OK(rvm_get_engine_counters(&counters));
	ASSERT_EQ(0, counters.flush_commits);
	CODE(RVM_ELOG, rvm_set_options(&options));
	options.log_dev = NULL;
	OK(rvm_query(&options, NULL));
	ASSERT_EQ(30, options.truncate);
	OK(rvm_terminate());
}

TEST_HARNESS_MAIN
