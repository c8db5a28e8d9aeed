// SPDX-License-Identifier: GPL-2.0 OR MIT
/*
 * Description: group commit: several log writes are under way at once, and are
 * acknowledged in the log's order.  On a null_blk device that takes its time.
 */
#include "null_blk.h"

#define THREADS	4
#define SECTOR	512ul

struct committer {
	struct world *w;
	pthread_t thread;
	struct rvm_area_header *area;
	unsigned long *counter;		/* on a page of its own */
	unsigned long acknowledged;
	unsigned int commits;		/* at most */
	int error;
};

static _Atomic unsigned int ended;	/* threads */

FIXTURE(group)
{
	struct world w;
	struct committer committers[THREADS];
};

FIXTURE_SETUP(group)
{
	struct world *w = &self->w;
	unsigned int i;

	if (access(NULL_BLK, X_OK))
		SKIP(return, "null_blk is not loaded");
	WORKS(make_slow_device(w->f.log, "rvmlog", "1", "512", "64", "100000000"));
	WORKS(make_device(w->f.segment, "rvmseg", "4", "4096"));
	WORKS(format_log(w->f.log));
	WORKS(open_world(w));
	WORKS(set_truncate(w->log, 0));
	for (i = 0; i < THREADS; i++) {
		struct committer *c = &self->committers[i];

		c->w = w;
		c->area = map(w->log, AREA);
		ASSERT_NE(MAP_FAILED, (void *)c->area);
		c->counter = (unsigned long *)(w->memory + i * PAGE);
	}
}

static void close_all(struct committer *committers)
{
	unsigned int i;

	for (i = 0; i < THREADS; i++)
		munmap(committers[i].area, AREA);
	close_world(committers->w);
}

FIXTURE_TEARDOWN(group)
{
	close_all(self->committers);
	EXPECT_EQ(0, remove_device("rvmlog"));
	EXPECT_EQ(0, remove_device("rvmseg"));
}

static void *commit_often(void *context)
{
	struct committer *c = context;
	unsigned int i;

	for (i = 0; i < c->commits; i++) {
		declare(c->area, c->counter, sizeof(*c->counter));
		++*c->counter;
		if (commit(c->w->log, c->area, RVM_COMMIT_FLUSH)) {
			c->error = errno;
			break;
		}
		c->acknowledged = *c->counter;
	}
	ended++;
	return NULL;
}

static void start(struct __test_metadata *_metadata, struct committer *committers,
		  unsigned int commits)
{
	unsigned int i;

	for (i = 0; i < THREADS; i++) {
		committers[i].commits = commits;
		ASSERT_EQ(0, pthread_create(&committers[i].thread, NULL, commit_often,
					    &committers[i]));
	}
}

static void join(struct committer *committers)
{
	unsigned int i;

	for (i = 0; i < THREADS; i++)
		pthread_join(committers[i].thread, NULL);
}

TEST_F(group, writes_at_once)
{
	unsigned int most = 0, now, round, i;

	for (round = 0; round < 20 && most < THREADS; round++) {
		ended = 0;
		start(_metadata, self->committers, 1);
		while (ended < THREADS) {
			now = under_way("rvmlog").writes;
			most = now > most ? now : most;
		}
		join(self->committers);
		for (i = 0; i < THREADS; i++)
			ASSERT_EQ(0, self->committers[i].error);
	}
	ASSERT_EQ(THREADS, most);
}

TEST_F(group, all_are_durable)
{
	unsigned int i;

	start(_metadata, self->committers, 10);
	join(self->committers);
	close_all(self->committers);
	WORKS(open_world(&self->w));
	for (i = 0; i < THREADS; i++) {
		ASSERT_EQ(0, self->committers[i].error);
		ASSERT_EQ(10, *(unsigned long *)(self->w.memory + i * PAGE));
		self->committers[i].area = map(self->w.log, AREA);
	}
}

/*
 * One of the writes under way fails.  What follows it in the log may be on the
 * disk, but will not be found there: it must not be acknowledged.
 */
TEST_F(group, one_fails)
{
	uint64_t first = 128 * KIB / SECTOR + 60;
	unsigned int i, failed = 0;
	char sector[50];

	snprintf(sector, sizeof(sector), "+%lu-%lu", first, first);
	WORKS(configure("rvmlog", "badblocks", sector));
	start(_metadata, self->committers, 100);
	join(self->committers);
	ASSERT_EQ(1, query(self->w.log).failed);
	close_all(self->committers);
	snprintf(sector, sizeof(sector), "-%lu-%lu", first, first);
	WORKS(configure("rvmlog", "badblocks", sector));
	WORKS(open_world(&self->w));
	for (i = 0; i < THREADS; i++) {
		struct committer *c = &self->committers[i];
		unsigned long found = *(unsigned long *)(self->w.memory + i * PAGE);

		failed += c->error == EIO;
		ASSERT_LE(c->acknowledged, found);
		ASSERT_GE(c->acknowledged + 1, found);
		c->area = map(self->w.log, AREA);
	}
	ASSERT_EQ(THREADS, failed);
}

TEST_HARNESS_MAIN
