// SPDX-License-Identifier: GPL-2.0 OR MIT
/*
 * Description: transactions larger than what the module keeps of a log in memory,
 * and recoveries of more pages than it holds at once.
 */
#include "kernel.h"

#include <sys/mount.h>

#define LARGE		(3 * MIB)	/* a transaction */
#define PAGES		4200ul		/* a record: more than recovery has in memory */
#define RECORDS		3u

/* A world, and beside it a large segment on a file system of its own. */
FIXTURE(large) {
	struct world w;
	char folder[200], path[220];
	int fd;
	char *memory;
	struct rvm_area_header *area;
};

#define SELF	struct __test_metadata *_metadata, FIXTURE_DATA(large) *self

/* All but the world's segment, unless that is wanted; without RECOVER and what comes after. */
static void attach_all(SELF, bool both)
{
	WORKS(self->w.log = attach(self->w.f.log));
	WORKS(self->fd = segment(self->w.log, self->path));
	if (both)
		WORKS(self->w.segment = segment(self->w.log, self->w.f.segment));
}

static void map_all(SELF)
{
	WORKS(set_truncate(self->w.log, 0));
	self->memory = map(self->fd, PAGES * PAGE);
	self->area = map(self->w.log, RVM_AREA_MAX);
	self->w.memory = map(self->w.segment, LENGTH);
	self->w.area = map(self->w.log, AREA);
	ASSERT_NE(MAP_FAILED, self->memory);
	ASSERT_NE(MAP_FAILED, (void *)self->area);
	ASSERT_NE(MAP_FAILED, self->w.memory);
	ASSERT_NE(MAP_FAILED, (void *)self->w.area);
}

static void detach_all(FIXTURE_DATA(large) *self)
{
	munmap(self->memory, PAGES * PAGE);
	munmap(self->area, RVM_AREA_MAX);
	close(self->fd);
	close_world(&self->w);
}

FIXTURE_SETUP(large)
{
	struct world *w = &self->w;

	ASSERT_TRUE(module_is_free());
	WORKS(make_files(&w->f, 8 * MIB));
	snprintf(self->folder, sizeof(self->folder), "%s/small", w->f.dir);
	snprintf(self->path, sizeof(self->path), "%s/segment", self->folder);
	WORKS(mkdir(self->folder, 0700));
	WORKS(mount("small", self->folder, "tmpfs", 0, "size=100M"));
	WORKS(close(open(self->path, O_CREAT | O_RDWR | O_CLOEXEC, 0600)));
	WORKS(truncate(self->path, PAGES * PAGE));
	attach_all(_metadata, self, true);
	WORKS(recover(w->log, NULL, NULL));
	map_all(_metadata, self);
}

FIXTURE_TEARDOWN(large)
{
	detach_all(self);
	EXPECT_EQ(0, umount(self->folder));
	remove_files(&self->w.f);
}

/* --- transactions --------------------------------------------------------- */

static void commit_large(SELF, int value, uint32_t flags)
{
	declare_no_restore(self->w.area, self->memory, LARGE);
	memset(self->memory, value, LARGE);
	set(self->w.area, self->w.memory, value, 1000);
	WORKS(commit(self->w.log, self->w.area, flags));
}

static void reopen(SELF)
{
	detach_all(self);
	attach_all(_metadata, self, true);
	WORKS(recover(self->w.log, NULL, NULL));
	map_all(_metadata, self);
}

TEST_F(large, transactions)
{
	unsigned int i;

	for (i = 1; i < 6; i++)
		commit_large(_metadata, self, i, i % 2 ? RVM_COMMIT_FLUSH : 0);
	reopen(_metadata, self);
	ASSERT_TRUE(all_are(self->memory, 5, LARGE));
	ASSERT_TRUE(all_are(self->w.memory, 5, 1000));
}

/*
 * The memory for the log's end grows for it while that holds much that has not
 * been written yet, and goes round its end.
 */
TEST_F(large, transaction_after_unflushed)
{
	struct world *w = &self->w;
	unsigned int i;

	for (i = 0; i < 22; i++) {
		set(w->area, w->memory + 1000, i + 1, 30000);
		set(w->area, w->memory + 31000, i + 2, 30000);
		WORKS(commit(w->log, w->area, i < 10 ? RVM_COMMIT_FLUSH : 0));
	}
	commit_large(_metadata, self, 9, 0);
	WORKS(flush_log(w->log));
	reopen(_metadata, self);
	ASSERT_TRUE(all_are(w->memory, 9, 1000));
	ASSERT_TRUE(all_are(w->memory + 1000, 22, 30000));
	ASSERT_TRUE(all_are(w->memory + 31000, 23, 30000));
	ASSERT_TRUE(all_are(self->memory, 9, LARGE));
}

/* --- recoveries ----------------------------------------------------------- */

/* Each changes every page; the world's segment has a record between the first and the others. */
static void commit_records(SELF)
{
	struct world *w = &self->w;
	unsigned long page;
	unsigned int i;

	for (i = 0; i < RECORDS; i++) {
		for (page = 0; page < PAGES; page++) {
			char *at = self->memory + page * PAGE + i * 8;

			declare_no_restore(self->area, at, 8);
			memset(at, page + i, 8);
		}
		WORKS(commit(w->log, self->area, RVM_COMMIT_FLUSH));
		if (!i) {
			set(w->area, w->memory, 7, 100);
			WORKS(commit(w->log, w->area, RVM_COMMIT_FLUSH));
		}
	}
}

static void check_segment(SELF)
{
	char *content = malloc(PAGES * PAGE);
	unsigned long page;
	unsigned int i;
	int fd;

	WORKS(fd = open(self->path, O_RDONLY | O_CLOEXEC));
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
	uint64_t applied, kept;

	commit_records(_metadata, self);
	detach_all(self);
	attach_all(_metadata, self, false);
	WORKS(recover(self->w.log, &applied, &kept));
	EXPECT_EQ(RECORDS, applied);
	EXPECT_EQ(1, kept);
	EXPECT_LT(1, query(self->w.log).truncations);
	check_segment(_metadata, self);
	close(self->fd);
	close(self->w.log);

	attach_all(_metadata, self, true);
	WORKS(recover(self->w.log, &applied, &kept));
	EXPECT_EQ(RECORDS, applied);	/* those behind the one that was kept, and that */
	EXPECT_EQ(0, kept);
	check_segment(_metadata, self);
	map_all(_metadata, self);
	ASSERT_TRUE(all_are(self->w.memory, 7, 100));
}

/* A step that fails: all is still in the log, and the next RECOVER begins anew. */
TEST_F(large, failed_recovery)
{
	uint64_t applied, kept;

	commit_records(_metadata, self);
	detach_all(self);
	/* the segment is all holes yet */
	WORKS(mount("small", self->folder, "tmpfs", MS_REMOUNT, "size=8M"));
	attach_all(_metadata, self, true);
	FAILS(ENOSPC, recover(self->w.log, NULL, NULL));
	FAILS(ENOSPC, recover(self->w.log, NULL, NULL));
	close(self->w.segment);
	close(self->fd);
	close(self->w.log);
	attach_all(_metadata, self, true);
	FAILS(ENOSPC, recover(self->w.log, NULL, NULL));
	WORKS(mount("small", self->folder, "tmpfs", MS_REMOUNT, "size=100M"));
	WORKS(recover(self->w.log, &applied, &kept));
	EXPECT_EQ(RECORDS + 1, applied);
	EXPECT_EQ(0, kept);
	check_segment(_metadata, self);
	map_all(_metadata, self);
	ASSERT_TRUE(all_are(self->w.memory, 7, 100));
}

TEST_HARNESS_MAIN
