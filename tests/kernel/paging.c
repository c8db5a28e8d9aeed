// SPDX-License-Identifier: GPL-2.0 OR MIT
/*
 * Description: a segment's pages: they come when they are needed, and some more
 * with them; they go when memory is wanted and nothing in them would be lost.  On
 * a null_blk device, whose requests the kernel counts, or in a file on one.
 */
#include "cgroup.h"

#include <setjmp.h>

#define SIZE		(4 * MIB)
#define PAGES		(SIZE / PAGE)
#define LAST		100ul		/* bytes of a file's last page */
#define SECTORS		(PAGE / 512)

FIXTURE(paging) {
	struct world w;
	unsigned char *memory;		/* the whole segment */
};

/* What page i has at its start. */
static unsigned long content(unsigned long i)
{
	return (i + 1) * 0x9e3779b97f4a7c15ul;
}

static int fill(const char *path, ssize_t length)
{
	char *buffer = calloc(1, SIZE);
	int fd = open(path, O_CREAT | O_RDWR | O_CLOEXEC, 0600), ret;
	unsigned long i;

	for (i = 0; i < PAGES; i++)
		*(unsigned long *)(buffer + i * PAGE) = content(i);
	ret = pwrite(fd, buffer, length, 0) == length && !fsync(fd) ? 0 : -1;
	close(fd);
	free(buffer);
	return ret;
}

/* --- memory ---------------------------------------------------------------- */

/* The group's memory is wanted: the kernel takes what it can. */
static void reclaim(void *memory)
{
	madvise(memory, SIZE, MADV_DONTNEED);
	while (!write_text(GROUP "/memory.reclaim", "2M"))
		;
}

/* --- the fixture ----------------------------------------------------------- */

FIXTURE_VARIANT(paging) {
	bool file;
};

FIXTURE_VARIANT_ADD(paging, device) { false };
FIXTURE_VARIANT_ADD(paging, file) { true };

static int make_segment(struct files *f, bool file)
{
	char device[100];

	if (!file)
		return make_device(f->segment, "rvmseg", "4", "4096") ?: fill(f->segment, SIZE);
	strcpy(f->dir, "/tmp/rvm-paging");
	sprintf(f->segment, "%s/segment", f->dir);
	if (make_device(device, "rvmseg", "8", "512") || mkdir(f->dir, 0700) ||
	    system("mke2fs -F /dev/rvmseg >/tmp/mke2fs.log 2>&1") ||
	    mount(device, f->dir, "ext4", 0, NULL))
		return -1;
	return fill(f->segment, SIZE - PAGE + LAST);
}

static int remove_segment(const struct files *f, bool file)
{
	if (file && (umount(f->dir) || rmdir(f->dir)))
		return -1;
	return remove_device("rvmseg");
}

FIXTURE_SETUP(paging)
{
	struct world *w = &self->w;

	if (access(NULL_BLK, X_OK))
		SKIP(return, "null_blk is not loaded");
	WORKS(enter_group());
	WORKS(make_device(w->f.log, "rvmlog", "2", "512"));
	WORKS(make_segment(&w->f, variant->file));
	WORKS(format_log(w->f.log));
	WORKS(attach_world(w));
	WORKS(set_truncate(w->log, 0));
	self->memory = MAP_FAILED;
}

FIXTURE_TEARDOWN(paging)
{
	struct world *w = &self->w;

	munmap(self->memory, SIZE);
	munmap(w->area, AREA);
	close(w->segment);
	close(w->log);
	EXPECT_EQ(0, remove_device("rvmlog"));
	EXPECT_EQ(0, remove_segment(&w->f, variant->file));
	EXPECT_EQ(0, leave_group());
}

#define MAP_ALL() do {							\
	self->memory = map(self->w.segment, SIZE);			\
	ASSERT_NE(MAP_FAILED, (void *)self->memory);			\
} while (0)

static unsigned long load(const unsigned char *memory, unsigned long page)
{
	return *(volatile unsigned long *)(memory + page * PAGE);
}

static unsigned long resident(void *memory)
{
	static unsigned char there[PAGES];
	unsigned long i, n = 0;

	if (mincore(memory, SIZE, there))
		return ~0ul;
	for (i = 0; i < PAGES; i++)
		n += there[i] & 1;
	return n;
}

/* --- pages come ------------------------------------------------------------ */

TEST_F(paging, map_reads_nothing)
{
	struct requests before = requests("rvmseg");

	MAP_ALL();
	EXPECT_EQ(0, requests_since("rvmseg", &before).sectors_read);
	EXPECT_EQ(0, resident(self->memory));
}

TEST_F(paging, in_order)
{
	struct requests before = requests("rvmseg"), r;
	unsigned long i;

	MAP_ALL();
	for (i = 0; i < PAGES; i++)
		ASSERT_EQ(content(i), load(self->memory, i)) TH_LOG("page %lu", i);
	r = requests_since("rvmseg", &before);
	EXPECT_LE((PAGES - 1) * SECTORS, r.sectors_read);
	EXPECT_GE((PAGES + 8) * SECTORS, r.sectors_read);	/* the file's blocks are looked up, too */
	EXPECT_GE(PAGES / 8, r.reads);
	EXPECT_EQ(PAGES, resident(self->memory));
	if (variant->file)
		EXPECT_TRUE(all_are(self->memory + SIZE - PAGE + LAST, 0, PAGE - LAST));
}

/* What was asked for, and some around it. */
TEST_F(paging, a_few)
{
	struct requests before = requests("rvmseg"), r;
	unsigned long i;

	MAP_ALL();
	for (i = 0; i < 8; i++)
		ASSERT_EQ(content(i * 120), load(self->memory, i * 120));
	r = requests_since("rvmseg", &before);
	EXPECT_LT(8 * SECTORS, r.sectors_read);
	EXPECT_GE(8 * 64 * SECTORS, r.sectors_read);
}

/* Who says that it will not go in order gets single pages. */
TEST_F(paging, at_random)
{
	struct requests before = requests("rvmseg"), r;
	unsigned long i;

	MAP_ALL();
	WORKS(madvise(self->memory, SIZE, MADV_RANDOM));
	for (i = 0; i < 100; i++)
		ASSERT_EQ(content(i * 9), load(self->memory, i * 9));
	r = requests_since("rvmseg", &before);
	EXPECT_LE(100, r.reads);
	EXPECT_LE(100 * SECTORS, r.sectors_read);
	EXPECT_GE((variant->file ? 200 : 100) * SECTORS, r.sectors_read);
}

static sigjmp_buf after_fault;

static void on_fault(int signal)
{
	siglongjmp(after_fault, signal);
}

/* A sector that can't be read costs its own page only. */
TEST_F(paging, bad_sector)
{
	const unsigned long bad = 100;
	unsigned long i;
	bool fails;

	if (variant->file)
		return;		/* who knows where its blocks are */
	signal(SIGBUS, on_fault);
	WORKS(configure("rvmseg", "badblocks", "+800-807"));
	MAP_ALL();
	for (i = 0; i < 200; i++) {
		fails = sigsetjmp(after_fault, 1);
		if (!fails)
			ASSERT_EQ(content(i), load(self->memory, i)) TH_LOG("page %lu", i);
		ASSERT_EQ(i == bad, fails) TH_LOG("page %lu", i);
	}
	WORKS(configure("rvmseg", "badblocks", "-800-807"));
	ASSERT_EQ(content(bad), load(self->memory, bad));
}

/* --- pages go -------------------------------------------------------------- */

/*
 * The kernel is asked to take the whole segment, and tries once: for a group that
 * has nothing to give, it tries for long.
 */
static int page_out(void *memory)
{
	unsigned long i;

	for (i = 0; i < PAGES; i++)
		load(memory, i);
	/* pages that were just read wait in the processors' lists: this empties them first */
	if (write_text("/proc/sys/vm/compact_memory", "1"))
		return -1;
	return madvise(memory, SIZE, MADV_PAGEOUT);
}

/*
 * So many stay.  A page that waits in a processor's list has one more who refers to it:
 * truncation lets go of it the next time.
 */
static unsigned long stay(const struct world *w, void *memory, unsigned long expected)
{
	unsigned int tries;

	for (tries = 0; tries < 20; tries++) {
		if (truncate_log(w->log) || page_out(memory) || resident(memory) == expected)
			break;
	}
	return resident(memory);
}

TEST_F(paging, clean_pages_go)
{
	unsigned long i, before = charged("file");

	MAP_ALL();
	for (i = 0; i < PAGES; i++)
		load(self->memory, i);
	ASSERT_EQ(PAGES, resident(self->memory));
	/* the counts lag behind, by 64 pages a processor */
	EXPECT_LT(SIZE / 2, charged("file") - before);
	reclaim(self->memory);
	EXPECT_EQ(0, resident(self->memory));
	for (i = 0; i < PAGES; i++)
		ASSERT_EQ(content(i), load(self->memory, i));
}

/* Committed, declared or merely stored: until it is in the segment, or gone. */
TEST_F(paging, changed_pages_stay)
{
	struct world *w = &self->w;
	unsigned long i;

	MAP_ALL();
	for (i = 0; i < 30; i++)
		set(w->area, self->memory + i * PAGE, 200, 8);
	WORKS(commit(w->log, w->area, RVM_COMMIT_FLUSH));
	for (; i < 60; i++)
		set(w->area, self->memory + i * PAGE, 201, 8);
	for (; i < 90; i++)
		memset(self->memory + i * PAGE, 202, 8);
	WORKS(page_out(self->memory));
	EXPECT_EQ(90, resident(self->memory));
	for (i = 0; i < 90; i++)
		ASSERT_TRUE(all_are(self->memory + i * PAGE, 200 + i / 30, 8)) TH_LOG("page %lu", i);
	WORKS(page_out(self->memory));

	/* in the segment; they are kept for one turn more, for the next store's sake */
	WORKS(truncate_log(w->log));
	EXPECT_EQ(60, stay(w, self->memory, 60));
	WORKS(do_abort(w->log, w->area));
	EXPECT_EQ(30, stay(w, self->memory, 30));
	for (i = 0; i < 90; i++)
		ASSERT_TRUE(i >= 30 && i < 60 ? load(self->memory, i) == content(i) :
			    all_are(self->memory + i * PAGE, 200 + i / 30, 8)) TH_LOG("page %lu", i);

	/* nobody maps what was never declared: it is gone, and the page is clean */
	munmap(self->memory, SIZE);
	WORKS(truncate_log(w->log));
	MAP_ALL();
	EXPECT_EQ(0, stay(w, self->memory, 0));
	for (i = 0; i < 90; i++)
		ASSERT_TRUE(i >= 30 ? load(self->memory, i) == content(i) :
			    all_are(self->memory + i * PAGE, 200, 8)) TH_LOG("page %lu", i);
}

TEST_HARNESS_MAIN
