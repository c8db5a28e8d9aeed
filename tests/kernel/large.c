// SPDX-License-Identifier: GPL-2.0 OR MIT
/*
 * Description: transactions larger than what the module keeps of a log in memory,
 * and recoveries of more pages than it holds at once.
 */
#include "kernel.h"

#define LARGE		(3 * MIB)	/* a transaction */
#define PAGES		4200ul		/* a record: more than recovery takes at once with little memory */
#define RECORDS		3u

/* A world, and beside it a large segment on a file system of its own. */
struct large {
	struct world w;
	char folder[240], path[250];
	int fd;
	char *memory;
	struct rvm_area_header *area;
};

FIXTURE(large) { struct large l; };

/* All but the world's segment, unless that is wanted; without RECOVER and what comes after. */
static void attach_all(struct __test_metadata *_metadata, struct large *l, bool both)
{
	WORKS(l->w.log = attach(l->w.f.log));
	WORKS(l->fd = segment(l->w.log, l->path));
	if (both)
		WORKS(l->w.segment = segment(l->w.log, l->w.f.segment));
	WORKS(set_memory(l->w.log, RVM_MEMORY_MIN));
}

static void map_all(struct __test_metadata *_metadata, struct large *l)
{
	WORKS(set_truncate(l->w.log, 0));
	WORKS(set_memory(l->w.log, 0));
	l->memory = map(l->fd, PAGES * PAGE);
	l->area = map(l->w.log, RVM_AREA_MAX);
	l->w.memory = map(l->w.segment, LENGTH);
	l->w.area = map(l->w.log, AREA);
	ASSERT_NE(MAP_FAILED, l->memory);
	ASSERT_NE(MAP_FAILED, (void *)l->area);
	ASSERT_NE(MAP_FAILED, l->w.memory);
	ASSERT_NE(MAP_FAILED, (void *)l->w.area);
}

static void detach_all(struct large *l)
{
	munmap(l->memory, PAGES * PAGE);
	munmap(l->area, RVM_AREA_MAX);
	close(l->fd);
	close_world(&l->w);
}

FIXTURE_SETUP(large)
{
	struct large *l = &self->l;
	struct world *w = &l->w;

	ASSERT_TRUE(module_is_free());
	WORKS(make_files(&w->f, 8 * MIB));
	snprintf(l->folder, sizeof(l->folder), "%s/small", w->f.dir);
	snprintf(l->path, sizeof(l->path), "%s/segment", l->folder);
	WORKS(mkdir(l->folder, 0700));
	WORKS(mount("small", l->folder, "tmpfs", 0, "size=100M"));
	WORKS(close(open(l->path, O_CREAT | O_RDWR | O_CLOEXEC, 0600)));
	WORKS(truncate(l->path, PAGES * PAGE));
	attach_all(_metadata, l, true);
	WORKS(recover(w->log, NULL, NULL));
	map_all(_metadata, l);
}

FIXTURE_TEARDOWN(large)
{
	struct large *l = &self->l;

	detach_all(l);
	EXPECT_EQ(0, umount(l->folder));
	remove_files(&l->w.f);
}

/* --- transactions --------------------------------------------------------- */

static void commit_large(struct __test_metadata *_metadata, struct large *l, int value,
			 uint32_t flags)
{
	declare_no_restore(l->w.area, l->memory, LARGE);
	memset(l->memory, value, LARGE);
	set(l->w.area, l->w.memory, value, 1000);
	WORKS(commit(l->w.log, l->w.area, flags));
}

static void reopen(struct __test_metadata *_metadata, struct large *l)
{
	detach_all(l);
	attach_all(_metadata, l, true);
	WORKS(recover(l->w.log, NULL, NULL));
	map_all(_metadata, l);
}

TEST_F(large, transactions)
{
	struct large *l = &self->l;
	unsigned int i;

	for (i = 1; i < 6; i++)
		commit_large(_metadata, l, i, i % 2 ? RVM_COMMIT_FLUSH : 0);
	reopen(_metadata, l);
	ASSERT_TRUE(all_are(l->memory, 5, LARGE));
	ASSERT_TRUE(all_are(l->w.memory, 5, 1000));
}

/*
 * The memory for the log's end grows for it while that holds much that has not
 * been written yet, and goes round its end.
 */
TEST_F(large, transaction_after_unflushed)
{
	struct large *l = &self->l;
	struct world *w = &l->w;
	unsigned int i;

	for (i = 0; i < 22; i++) {
		set(w->area, w->memory + 1000, i + 1, 30000);
		set(w->area, w->memory + 31000, i + 2, 30000);
		WORKS(commit(w->log, w->area, i < 10 ? RVM_COMMIT_FLUSH : 0));
	}
	commit_large(_metadata, l, 9, 0);
	WORKS(flush_log(w->log));
	reopen(_metadata, l);
	ASSERT_TRUE(all_are(w->memory, 9, 1000));
	ASSERT_TRUE(all_are(w->memory + 1000, 22, 30000));
	ASSERT_TRUE(all_are(w->memory + 31000, 23, 30000));
	ASSERT_TRUE(all_are(l->memory, 9, LARGE));
}

/* --- recoveries ----------------------------------------------------------- */

/* Each changes every page; the world's segment has a record between the first and the others. */
static void commit_records(struct __test_metadata *_metadata, struct large *l)
{
	struct world *w = &l->w;
	unsigned long page;
	unsigned int i;

	for (i = 0; i < RECORDS; i++) {
		for (page = 0; page < PAGES; page++) {
			char *at = l->memory + page * PAGE + i * 8;

			declare_no_restore(l->area, at, 8);
			memset(at, page + i, 8);
		}
		WORKS(commit(w->log, l->area, RVM_COMMIT_FLUSH));
		if (!i) {
			set(w->area, w->memory, 7, 100);
			WORKS(commit(w->log, w->area, RVM_COMMIT_FLUSH));
		}
	}
}

static void check_segment(struct __test_metadata *_metadata, struct large *l)
{
	char *content = malloc(PAGES * PAGE);
	unsigned long page;
	unsigned int i;
	int fd;

	WORKS(fd = open(l->path, O_RDONLY | O_CLOEXEC));
	ASSERT_EQ((ssize_t)(PAGES * PAGE), read(fd, content, PAGES * PAGE));
	close(fd);
	for (page = 0; page < PAGES; page++) {
		for (i = 0; i < RECORDS; i++)
			ASSERT_TRUE(all_are(content + page * PAGE + i * 8, page + i, 8))
				TH_LOG("page %lu, record %u", page, i);
		ASSERT_TRUE(all_are(content + page * PAGE + RECORDS * 8, 0, PAGE - RECORDS * 8));
	}
	free(content);
}

/* In steps, each of which writes to the segment; what is missing keeps its records. */
TEST_F(large, recovery)
{
	struct large *l = &self->l;
	uint64_t applied, kept;

	commit_records(_metadata, l);
	detach_all(l);
	attach_all(_metadata, l, false);
	WORKS(recover(l->w.log, &applied, &kept));
	EXPECT_EQ(RECORDS, applied);
	EXPECT_EQ(1, kept);
	/* one for each step */
	EXPECT_EQ(RECORDS, query(l->w.log).segment_flushes);
	check_segment(_metadata, l);
	close(l->fd);
	close(l->w.log);

	/* with memory for it, at once */
	attach_all(_metadata, l, true);
	WORKS(set_memory(l->w.log, 128 * MIB));
	WORKS(recover(l->w.log, &applied, &kept));
	EXPECT_EQ(RECORDS, applied);	/* those behind the one that was kept, and that */
	EXPECT_EQ(0, kept);
	EXPECT_EQ(2, query(l->w.log).segment_flushes);	/* of two segments */
	check_segment(_metadata, l);
	map_all(_metadata, l);
	ASSERT_TRUE(all_are(l->w.memory, 7, 100));
}

/* A step that fails: all is still in the log, and the next RECOVER begins anew. */
TEST_F(large, failed_recovery)
{
	struct large *l = &self->l;
	uint64_t applied, kept;

	commit_records(_metadata, l);
	detach_all(l);
	/* the segment is all holes yet */
	WORKS(mount("small", l->folder, "tmpfs", MS_REMOUNT, "size=8M"));
	attach_all(_metadata, l, true);
	FAILS(ENOSPC, recover(l->w.log, NULL, NULL));
	FAILS(ENOSPC, recover(l->w.log, NULL, NULL));
	close(l->w.segment);
	close(l->fd);
	close(l->w.log);
	attach_all(_metadata, l, true);
	FAILS(ENOSPC, recover(l->w.log, NULL, NULL));
	WORKS(mount("small", l->folder, "tmpfs", MS_REMOUNT, "size=100M"));
	WORKS(recover(l->w.log, &applied, &kept));
	EXPECT_EQ(RECORDS + 1, applied);
	EXPECT_EQ(0, kept);
	check_segment(_metadata, l);
	map_all(_metadata, l);
	ASSERT_TRUE(all_are(l->w.memory, 7, 100));
}

TEST_HARNESS_MAIN
