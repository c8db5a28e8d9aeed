// SPDX-License-Identifier: GPL-2.0 OR MIT
/*
 * Description: the user engine's log on a block device: a flush commit is one
 * request, several are under way at once, one that fails is an error; and where
 * asynchronous I/O is not to be had, commits are as durable without.
 */
#include "null_blk.h"

#include <rvm/rvm.h>
#include <rvm/rvm_engine.h>

#define AIO_MAX	"/proc/sys/fs/aio-max-nr"	/* 0: nobody gets a queue */
#define LENGTH	(64 * KIB)
#define THREADS	8
#define COMMITS	20

struct devices { char log[100], segment[100]; };

/* The log's has a cache that loses what is not flushed: else a flush would be no request. */
static int make_devices(struct devices *d, const char *block, const char *nanoseconds)
{
	strcpy(d->log, "/dev/rvmlog");
	if (prepare_device("rvmlog", "4", block) || configure("rvmlog", "cache_size", "4") ||
	    (nanoseconds && (configure("rvmlog", "irqmode", "2") ||
			     configure("rvmlog", "completion_nsec", nanoseconds))) ||
	    configure("rvmlog", "power", "1"))
		return -1;
	return make_device(d->segment, "rvmseg", "1", block) || format_log(d->log) ? -1 : 0;
}

FIXTURE(user_device) { struct devices d; };

FIXTURE_VARIANT(user_device) { const char *block; };
FIXTURE_VARIANT_ADD(user_device, sectors_512) { "512" };
FIXTURE_VARIANT_ADD(user_device, sectors_4096) { "4096" };

FIXTURE_SETUP(user_device)
{
	WORKS(make_devices(&self->d, variant->block, NULL));
}

FIXTURE_TEARDOWN(user_device)
{
	EXPECT_EQ(0, remove_device("rvmlog"));
	EXPECT_EQ(0, remove_device("rvmseg"));
}

/* What the log's device has done, and has to do. */
static void count_requests(struct __test_metadata *_metadata, unsigned long *writes,
			   unsigned long *flushes, unsigned long *now)
{
	FILE *f = fopen("/sys/block/rvmlog/stat", "re");

	ASSERT_NE(NULL, f);
	ASSERT_EQ(3, fscanf(f, "%*u %*u %*u %*u %lu %*u %*u %*u %lu %*u %*u %*u %*u %*u %*u %lu",
			    writes, now, flushes));
	fclose(f);
}

static char *start(struct __test_metadata *_metadata, const struct devices *d)
{
	rvm_options_t options;
	rvm_region_t region;

	rvm_init_options(&options);
	options.log_dev = (char *)d->log;
	options.truncate = 0;
	rvm_init_region(&region);
	region.data_dev = (char *)d->segment;
	region.length = LENGTH;
	ASSERT_EQ(RVM_SUCCESS, rvm_set_engine("user"));
	ASSERT_EQ(RVM_SUCCESS, RVM_INIT(&options));
	ASSERT_EQ(RVM_SUCCESS, rvm_map(&region, NULL));
	return region.vmaddr;
}

static rvm_return_t commit_value(char *at, int value)
{
	rvm_return_t code;
	rvm_tid_t tid;

	rvm_init_tid(&tid);
	code = rvm_begin_transaction(&tid, restore);
	if (!code)
		code = rvm_set_range(&tid, at, 100);
	if (code)
		return code;
	memset(at, value, 100);
	return rvm_end_transaction(&tid, flush);
}

/* The writes and flushes that the device gets for so many commits. */
static void count_commits(struct __test_metadata *_metadata, char *memory, unsigned long *writes,
			  unsigned long *flushes)
{
	unsigned long writes_before, flushes_before, now;
	int i;

	ASSERT_EQ(RVM_SUCCESS, commit_value(memory, 1));
	count_requests(_metadata, &writes_before, &flushes_before, &now);
	for (i = 0; i < COMMITS; i++)
		ASSERT_EQ(RVM_SUCCESS, commit_value(memory, i));
	count_requests(_metadata, writes, flushes, &now);
	*writes -= writes_before;
	*flushes -= flushes_before;
}

static void one_request(struct __test_metadata *_metadata, const struct devices *d)
{
	char *memory = start(_metadata, d);
	unsigned long writes, flushes;

	count_commits(_metadata, memory, &writes, &flushes);
	ASSERT_EQ(COMMITS, writes);
	ASSERT_EQ(0, flushes);
}

static void without_queues(struct __test_metadata *_metadata, const struct devices *d)
{
	char *memory = start(_metadata, d);
	unsigned long writes, flushes;

	count_commits(_metadata, memory, &writes, &flushes);
	ASSERT_LE(COMMITS, writes);
	ASSERT_EQ(COMMITS, flushes);
	ASSERT_EQ(RVM_SUCCESS, rvm_terminate());
}

TEST_F(user_device, requests)
{
	char before[30] = "";
	int fd = open(AIO_MAX, O_RDONLY | O_CLOEXEC);

	ASSERT_LT(0, read(fd, before, sizeof(before) - 1));
	close(fd);
	CHILD(one_request(_metadata, &self->d));
	WORKS(write_text(AIO_MAX, "0"));
	CHILD(without_queues(_metadata, &self->d));
	WORKS(write_text(AIO_MAX, before));
	CHILD(one_request(_metadata, &self->d));
}

struct committer {
	pthread_t thread;
	char *at;
	rvm_return_t code;
};

static void *commit_once(void *context)
{
	struct committer *c = context;

	c->code = commit_value(c->at, 5);
	return NULL;
}

/* The most that were under way at once. */
static unsigned long commit_together(struct __test_metadata *_metadata, char *memory,
				     struct committer *c)
{
	unsigned long most = 0, now, before, writes, flushes;
	unsigned int i;

	count_requests(_metadata, &before, &flushes, &now);
	for (i = 0; i < THREADS; i++) {
		c[i].at = memory + i * 4096;
		ASSERT_EQ(0, pthread_create(&c[i].thread, NULL, commit_once, &c[i]));
	}
	for (writes = before; writes < before + THREADS; most = now > most ? now : most)
		count_requests(_metadata, &writes, &flushes, &now);
	for (i = 0; i < THREADS; i++)
		ASSERT_EQ(0, pthread_join(c[i].thread, NULL));
	return most;
}

static void at_once(struct __test_metadata *_metadata, const struct devices *d)
{
	char *memory = start(_metadata, d);
	struct committer c[THREADS];
	unsigned int round, i;

	for (round = 0; commit_together(_metadata, memory, c) < THREADS; round++)
		ASSERT_GT(20, round);
	for (i = 0; i < THREADS; i++)
		ASSERT_EQ(RVM_SUCCESS, c[i].code);
}

TEST(user_slow_device)
{
	struct devices d;

	WORKS(make_devices(&d, "512", "100000000"));
	CHILD(at_once(_metadata, &d));
	ASSERT_EQ(0, remove_device("rvmlog"));
	ASSERT_EQ(0, remove_device("rvmseg"));
}

/* Shared with the processes of a test. */
static int *acknowledged;

static void fails(struct __test_metadata *_metadata, const struct devices *d)
{
	char *memory = start(_metadata, d);

	/* some of the sectors that the first records get, after the status */
	WORKS(configure("rvmlog", "badblocks", "+280-300"));
	while (commit_value(memory, *acknowledged + 1) == RVM_SUCCESS)
		ASSERT_GT(100, ++*acknowledged);
	ASSERT_EQ(EIO, errno);
	ASSERT_EQ(RVM_EIO, commit_value(memory, 101));
	WORKS(configure("rvmlog", "badblocks", "-280-300"));
	ASSERT_EQ(RVM_EIO, commit_value(memory, 102));
}

static void works_again(struct __test_metadata *_metadata, const struct devices *d)
{
	char *memory = start(_metadata, d);

	ASSERT_TRUE(all_are(memory, *acknowledged, 100));
	ASSERT_EQ(RVM_SUCCESS, commit_value(memory, 103));
}

TEST_F(user_device, fails)
{
	acknowledged = shared_memory(PAGE);
	ASSERT_NE(MAP_FAILED, (void *)acknowledged);
	CHILD(fails(_metadata, &self->d));
	ASSERT_LT(0, *acknowledged);
	CHILD(works_again(_metadata, &self->d));
}

TEST_HARNESS_MAIN
