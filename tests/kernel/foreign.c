// SPDX-License-Identifier: GPL-2.0 OR MIT
/*
 * Description: what changes a region, or ends it, without a store or a call of the
 * process: devices and other processes that write into its memory, and exec.
 */
#include "null_blk.h"

#define SECTOR	512ul

WORLD_FIXTURE(256 * KIB)

/* --- direct I/O ----------------------------------------------------------- */

struct read {
	_Atomic bool ended;
	pthread_t thread;
	int fd;
	void *to;
	ssize_t ret;
};

static void *do_read(void *argument)
{
	struct read *r = argument;

	r->ret = pread(r->fd, r->to, SECTOR, 0);
	r->ended = true;
	return NULL;
}

/*
 * The device writes into a page that a turn of truncation has found unchanged
 * meanwhile: the page must have kept its committed image.  It takes one request at
 * a time, and a read waits behind another, its page pinned.  False if that took
 * no longer than the truncations.
 */
static bool late_read(struct __test_metadata *_metadata, struct world *w, char *page, long us)
{
	struct read reads[2] = { };
	char device[100], ns[30];
	void *elsewhere;
	bool late;
	int i;

	sprintf(ns, "%ld", us * 1000);
	ASSERT_EQ(0, posix_memalign(&elsewhere, PAGE, PAGE));
	WORKS(make_slow_device(device, "rvmslow", "1", "512", "1", ns));
	for (i = 0; i < 2; i++) {
		reads[i].to = i ? page + SECTOR : elsewhere;
		WORKS(reads[i].fd = open(device, O_RDONLY | O_DIRECT | O_CLOEXEC));
	}
	for (i = 0; i < 2; i++) {
		ASSERT_EQ(0, pthread_create(&reads[i].thread, NULL, do_read, &reads[i]));
		sleep_us(us / 4);
	}
	for (i = 0; i < 3; i++)
		WORKS(truncate_log(w->log));
	/* the first is not over, so the second has not begun */
	late = !reads[0].ended;
	for (i = 0; i < 2; i++) {
		pthread_join(reads[i].thread, NULL);
		EXPECT_EQ(SECTOR, reads[i].ret);
		close(reads[i].fd);
	}
	WORKS(remove_device("rvmslow"));
	free(elsewhere);
	return late;
}

TEST_F(rvm, device_writes_late)
{
	struct world *w = &self->w;
	const unsigned long at = 3 * PAGE;
	char *page = w->memory + at;
	long us = 500000;

	if (access(NULL_BLK, X_OK))
		SKIP(return, "null_blk is not loaded");
	do {
		us *= 2;
		set(w->area, page, 5, PAGE);
		WORKS(commit(w->log, w->area, RVM_COMMIT_FLUSH));
	} while (!late_read(_metadata, w, page, us));

	/* there, and not committed with what is */
	ASSERT_TRUE(all_are(page + SECTOR, 0, SECTOR));
	set(w->area, page + SECTOR + 8, 9, 8);
	WORKS(commit(w->log, w->area, RVM_COMMIT_FLUSH));
	WORKS(truncate_log(w->log));
	EXPECT_TRUE(file_is(w->f.segment, at, 5, SECTOR + 8));
	EXPECT_TRUE(file_is(w->f.segment, at + SECTOR + 8, 9, 8));
	EXPECT_TRUE(file_is(w->f.segment, at + SECTOR + 16, 5, PAGE - SECTOR - 16));

	/* and gone with the last who maps it */
	WORKS(munmap(w->memory, LENGTH));
	ASSERT_EQ(w->memory, map_at(w->memory, w->segment, LENGTH, 0));
	EXPECT_TRUE(all_are(page, 5, SECTOR + 8));
	EXPECT_TRUE(all_are(page + SECTOR + 16, 5, PAGE - SECTOR - 16));
}

/* --- another process ------------------------------------------------------ */

static bool write_parent(const void *to, int value, size_t length)
{
	char path[50], buffer[PAGE];
	bool done;
	int fd;

	memset(buffer, value, length);
	sprintf(path, "/proc/%d/mem", getppid());
	fd = open(path, O_WRONLY | O_CLOEXEC);
	done = pwrite(fd, buffer, length, (off_t)(uintptr_t)to) == (ssize_t)length;
	close(fd);
	return done;
}

/* As if the process had stored it: what it declared is committed or undone. */
TEST_F(rvm, process_writes)
{
	struct world *w = &self->w;
	char *at = w->memory + PAGE - 50;

	declare(w->area, at, 100);
	CHILD(ASSERT_TRUE(write_parent(at, 1, 150)));
	WORKS(commit(w->log, w->area, RVM_COMMIT_FLUSH));
	WORKS(truncate_log(w->log));
	EXPECT_TRUE(all_are(at, 1, 150));
	EXPECT_TRUE(file_is(w->f.segment, PAGE - 50, 1, 100));
	EXPECT_TRUE(file_is(w->f.segment, PAGE + 50, 0, 50));

	declare(w->area, at, 100);
	CHILD(ASSERT_TRUE(write_parent(at, 2, 100)));
	EXPECT_TRUE(all_are(at, 2, 100));
	WORKS(do_abort(w->log, w->area));
	EXPECT_TRUE(all_are(at, 1, 150));
}

/* A process becomes another program: as if it had ended. */
TEST_F(rvm, exec)
{
	struct world *w = &self->w;

	set(w->area, w->memory, 1, 100);
	WORKS(commit(w->log, w->area, 0));
	CHILD({
		char *memory = map(w->segment, LENGTH);
		struct rvm_area_header *area = map(w->log, AREA);

		ASSERT_NE(MAP_FAILED, (void *)memory);
		ASSERT_NE(MAP_FAILED, (void *)area);
		set(area, memory, 2, 50);
		WORKS(commit(w->log, area, 0));
		set(area, memory, 3, 100);
		memset(memory + PAGE, 4, 100);
		execl("/bin/sh", "sh", "-c", "exit 0", NULL);
		ASSERT_TRUE(false);
	});
	EXPECT_TRUE(all_are(w->memory, 2, 50));
	EXPECT_TRUE(all_are(w->memory + 50, 1, 50));
	/* not declared: as long as we map the page */
	EXPECT_TRUE(all_are(w->memory + PAGE, 4, 100));
	WORKS(truncate_log(w->log));
	EXPECT_TRUE(file_is(w->f.segment, 0, 2, 50));
	EXPECT_TRUE(file_is(w->f.segment, 50, 1, 50));
	EXPECT_TRUE(file_is(w->f.segment, PAGE, 0, 100));
}

TEST_HARNESS_MAIN
