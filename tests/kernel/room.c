// SPDX-License-Identifier: GPL-2.0 OR MIT
/*
 * Description: commits that find the log full: they go on as soon as truncation has
 * made room for them, and one after the other.
 */
#include "null_blk.h"

#define AREA_LENGTH	MIB		/* of the log */
#define PAGES		512ul

FIXTURE(room) { struct world w; char *memory; };

static void open_all(struct __test_metadata *_metadata, struct world *w, char **memory)
{
	WORKS(open_world(w));
	WORKS(set_truncate(w->log, 0));
	*memory = map(w->segment, PAGES * PAGE);
	ASSERT_NE(MAP_FAILED, *memory);
}

static void close_all(struct world *w, char *memory)
{
	munmap(memory, PAGES * PAGE);
	close_world(w);
}

FIXTURE_SETUP(room)
{
	WORKS(make_files(&self->w.f, AREA_LENGTH));
	WORKS(make_file(self->w.f.segment, PAGES * PAGE, 0));
	open_all(_metadata, &self->w, &self->memory);
}

FIXTURE_TEARDOWN(room)
{
	close_all(&self->w, self->memory);
	remove_files(&self->w.f);
}

static int commit_page(struct world *w, struct rvm_area_header *area, char *page, int value,
		       uint32_t flags)
{
	append(area, (uintptr_t)page, PAGE, RVM_ENTRY_NO_RESTORE);
	memset(page, value, PAGE);
	return commit(w->log, area, flags);
}

/* Pages that are not adjacent, so that each is a write. */
TEST_F(room, in_portions)
{
	unsigned int commits = 0, i;
	struct rvm_ioc_query q;

	do {
		ASSERT_GT(PAGES / 2, commits);
		ASSERT_EQ(0, commit_page(&self->w, self->w.area, self->memory + commits * 2 * PAGE,
					 commits, 0));
		commits++;
		q = query(self->w.log);
	} while (!q.segment_writes);
	/* it has not waited for all of them to be written */
	ASSERT_LT(100, commits);
	ASSERT_GT(commits / 2, q.segment_writes);
	ASSERT_LT(AREA_LENGTH / 2, q.log_used);

	close_all(&self->w, self->memory);
	open_all(_metadata, &self->w, &self->memory);
	for (i = 0; i < commits; i++)
		ASSERT_TRUE(all_are(self->memory + i * 2 * PAGE, i, PAGE));
	ASSERT_EQ(0, truncate_log(self->w.log));
	for (i = 0; i < commits; i++)
		ASSERT_TRUE(file_is(self->w.f.segment, i * 2 * PAGE, i, PAGE));
}

/* --- one after the other ---------------------------------------------------- */

/* A segment whose writes take long, so that truncation does. */
FIXTURE(line) { struct world w; char *memory; };

FIXTURE_SETUP(line)
{
	if (access(NULL_BLK, X_OK))
		SKIP(return, "null_blk is not loaded");
	WORKS(make_files(&self->w.f, AREA_LENGTH));
	WORKS(make_slow_device(self->w.f.segment, "rvmseg", "4", "4096", "64", "100000000"));
	open_all(_metadata, &self->w, &self->memory);
}

FIXTURE_TEARDOWN(line)
{
	close_all(&self->w, self->memory);
	EXPECT_EQ(0, remove_device("rvmseg"));
	remove_files(&self->w.f);
}

struct large {
	struct world *w;
	struct rvm_area_header *area;
	struct rvm_ioc_commit commit;
	int ret;
};

static void *commit_large(void *context)
{
	struct large *large = context;

	large->ret = ioctl(large->w->log, RVM_IOC_COMMIT, &large->commit);
	return NULL;
}

/* One that there is no room for gets its turn, however many come that there is room for. */
TEST_F(line, one_after_the_other)
{
	const unsigned long length = AREA_LENGTH / 4 * 3;
	struct rvm_area_header *area = map(self->w.log, RVM_AREA_MAX);
	struct rvm_ioc_commit small = { .size = sizeof(small), .area = self->w.area->area };
	struct large large = {
		.w = &self->w, .area = area,
		.commit = { .size = sizeof(large.commit), .area = area->area },
	};
	pthread_t thread;
	unsigned int i;

	ASSERT_NE(MAP_FAILED, (void *)area);
	for (i = 0; i < 80; i++)
		WORKS(commit_page(&self->w, self->w.area, self->memory + i * 2 * PAGE, i, 0));

	append(area, (uintptr_t)self->memory, length, RVM_ENTRY_NO_RESTORE);
	memset(self->memory, 100, length);
	ASSERT_EQ(0, pthread_create(&thread, NULL, commit_large, &large));
	/* it has found the log full, and has it truncated */
	while (!under_way("rvmseg").writes)
		;
	set(self->w.area, self->memory + length, 101, 8);
	WORKS(ioctl(self->w.log, RVM_IOC_COMMIT, &small));
	pthread_join(thread, NULL);
	ASSERT_EQ(0, large.ret);
	EXPECT_LT(large.commit.sequence, small.sequence);
	munmap(area, RVM_AREA_MAX);
}

TEST_HARNESS_MAIN
