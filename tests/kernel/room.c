// SPDX-License-Identifier: GPL-2.0 OR MIT
/*
 * Description: commits that find the log full: they go on as soon as truncation has
 * made room for them, and one after the other.
 */
#include "kernel.h"

#define AREA_LENGTH	MIB		/* of the log */
#define PAGES		512ul
#define OTHERS		3u

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

struct other {
	struct world *w;
	struct rvm_area_header *area;
	char *page;
	pthread_t thread;
	int error;
};

static _Atomic bool done;

static void *commit_until_done(void *context)
{
	struct other *other = context;
	int value;

	for (value = 0; !done && !other->error; value++)
		if (commit_page(other->w, other->area, other->page, value, value & 1))
			other->error = errno;
	return NULL;
}

/* A large one gets its turn, however many small ones there are. */
TEST_F(room, one_after_the_other)
{
	unsigned long length = AREA_LENGTH / 4 * 3;
	struct other others[OTHERS];
	unsigned int i;

	done = false;
	for (i = 0; i < OTHERS; i++) {
		others[i] = (struct other){
			.w = &self->w, .area = map(self->w.log, AREA),
			.page = self->memory + length + i * PAGE,
		};
		ASSERT_NE(MAP_FAILED, (void *)others[i].area);
		ASSERT_EQ(0, pthread_create(&others[i].thread, NULL, commit_until_done,
					    &others[i]));
	}
	for (i = 0; i < 5; i++) {
		append(self->w.area, (uintptr_t)self->memory, length, RVM_ENTRY_NO_RESTORE);
		memset(self->memory, i, length);
		ASSERT_EQ(0, commit(self->w.log, self->w.area, 0));
	}
	done = true;
	for (i = 0; i < OTHERS; i++) {
		pthread_join(others[i].thread, NULL);
		EXPECT_EQ(0, others[i].error);
		munmap(others[i].area, AREA);
	}
}

TEST_HARNESS_MAIN
