// SPDX-License-Identifier: GPL-2.0 OR MIT
/* Description: mapping and unmapping regions. */
#include "api.h"

#include <sys/file.h>
#include <sys/resource.h>
#include <sys/socket.h>

/* Fails with that code, and leaves the record as it was. */
#define MAP_FAILS(code, region) do {				\
	rvm_region_t before_ = *(region);			\
								\
	CODE(code, rvm_map((region), NULL));			\
	ASSERT_EQ(0, memcmp(&before_, (region), sizeof(before_)));	\
} while (0)

#define MAP_FAILS_ERRNO(error, region) do {			\
	errno = 0;						\
	MAP_FAILS(RVM_EIO, region);				\
	ASSERT_EQ(error, errno);				\
} while (0)

static bool is_mapped(void *address)
{
	unsigned char there;

	return !mincore(address, PAGE, &there);
}

TEST_F(api, whole_segment)
{
	rvm_region_t region;

	ASSERT_TRUE(make_file(self->f.segment, 64 * KIB, 7));
	start(&self->f);
	region = region_of(self->f.segment, 0, 0);
	OK(rvm_map(&region, NULL));
	ASSERT_NE(NULL, region.vmaddr);
	EXPECT_EQ(0, (unsigned long)region.vmaddr % PAGE);
	EXPECT_EQ(64 * KIB, region.length);
	EXPECT_TRUE(RVM_OFFSET_EQL_ZERO(region.offset));
	EXPECT_EQ(rvm_region_id, region.struct_id);
	EXPECT_STREQ(self->f.segment, region.data_dev);
	EXPECT_TRUE(all_are(region.vmaddr, 7, 64 * KIB));
	OK(rvm_unmap(&region));
	EXPECT_FALSE(is_mapped(region.vmaddr));
	OK(rvm_terminate());
}

TEST_F(api, rounding_and_clipping)
{
	static const struct {
		unsigned long size, offset, length, got_offset, got_length;
	} cases[] = {
		{ 64 * KIB, 0, 1, 0, PAGE },
		{ 64 * KIB, 0, PAGE, 0, PAGE },
		{ 64 * KIB, 1, PAGE, 0, 2 * PAGE },
		{ 64 * KIB, PAGE, PAGE, PAGE, PAGE },
		{ 64 * KIB, PAGE + 904, 100, PAGE, PAGE },
		{ 64 * KIB, PAGE + 904, 0, PAGE, 60 * KIB },
		{ 64 * KIB, 60 * KIB, 64 * KIB, 60 * KIB, PAGE },
		{ 64 * KIB, 0, MIB, 0, 64 * KIB },
		{ 64 * KIB, 64 * KIB - 1, 1, 60 * KIB, PAGE },
		{ 10000, 0, 0, 0, 10000 },
		{ 10000, 0, 8192, 0, 8192 },
		{ 10000, 0, 8193, 0, 10000 },
		{ 10000, 8192, 5, 8192, 1808 },
		{ 10000, 9999, 0, 8192, 1808 },
		{ 100, 0, 0, 0, 100 },
		{ 100, 0, PAGE, 0, 100 },
		{ 1, 0, 1, 0, 1 },
	};

	start(&self->f);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		rvm_region_t region = region_of(self->f.segment, cases[i].offset, cases[i].length);

		ASSERT_TRUE(make_file(self->f.segment, cases[i].size, 3));
		OK(rvm_map(&region, NULL));
		EXPECT_EQ(cases[i].got_offset, RVM_OFFSET_TO_LENGTH(region.offset))
			TH_LOG("case %zu", i);
		EXPECT_EQ(0, region.offset.high);
		ASSERT_EQ(cases[i].got_length, region.length) TH_LOG("case %zu", i);
		EXPECT_TRUE(all_are(region.vmaddr, 3, region.length)) TH_LOG("case %zu", i);
		/* and the last byte can be changed */
		OK(commit_bytes(region.vmaddr + region.length - 1, 4, 1, flush));
		OK(rvm_truncate());
		EXPECT_TRUE(file_is(self->f.segment, cases[i].got_offset + cases[i].got_length - 1,
				    4, 1));
		EXPECT_EQ(cases[i].size, file_size(self->f.segment));
		OK(rvm_unmap(&region));
	}
	OK(rvm_terminate());
}

TEST_F(api, bad_offset)
{
	static const struct {
		unsigned long high, low, length;
	} cases[] = {
		{ 0, 10000, 0 }, { 0, 10000, 1 }, { 0, 10001, 0 }, { 0, 12288, 0 },
		{ 0, ~0ul, 0 }, { 0, ~0ul, 1 }, { 0, ~0ul - PAGE + 1, 1 }, { 1, 0, 0 },
		{ 1, 0, 1 }, { ~0ul, ~0ul, ~0ul }, { 0, PAGE, ~0ul }, { 0, 1, ~0ul },
	};
	rvm_region_t region;

	ASSERT_TRUE(make_file(self->f.segment, 10000, 3));
	start(&self->f);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		region = region_of(self->f.segment, 0, cases[i].length);
		region.offset = RVM_MK_OFFSET(cases[i].high, cases[i].low);
		MAP_FAILS(RVM_EOFFSET, &region);
	}
	/* the most that does not overflow is clipped */
	region = region_of(self->f.segment, 0, ~0ul);
	OK(rvm_map(&region, NULL));
	EXPECT_EQ(10000, region.length);
	OK(rvm_terminate());
}

TEST_F(api, empty_segment)
{
	const struct rlimit limit = { 100 * KIB, RLIM_INFINITY };
	rvm_region_t region;
	struct stat st;

	start(&self->f);
	ASSERT_TRUE(make_file(self->f.segment, 0, 0));
	region = region_of(self->f.segment, 0, 0);
	region.dev_length = RVM_LENGTH_TO_OFFSET(0);
	MAP_FAILS(RVM_EOFFSET, &region);
	region.dev_length = RVM_MK_OFFSET(1, 0);
	MAP_FAILS(RVM_EOFFSET, &region);
	region.dev_length = RVM_LENGTH_TO_OFFSET(~0ul);
	MAP_FAILS(RVM_EOFFSET, &region);
	region.dev_length = RVM_LENGTH_TO_OFFSET(100 * KIB);
	region.offset = RVM_LENGTH_TO_OFFSET(100 * KIB);
	MAP_FAILS(RVM_EOFFSET, &region);
	EXPECT_EQ(0, file_size(self->f.segment));

	region.offset = RVM_LENGTH_TO_OFFSET(PAGE);
	OK(rvm_map(&region, NULL));
	EXPECT_EQ(96 * KIB, region.length);
	EXPECT_TRUE(all_are(region.vmaddr, 0, region.length));
	ASSERT_EQ(0, stat(self->f.segment, &st));
	EXPECT_EQ(100 * KIB, st.st_size);
	/* with room on the disk, so that truncation will find it */
	EXPECT_LE(100 * KIB, st.st_blocks * 512ul);
	OK(commit_bytes(region.vmaddr + 95 * KIB, 1, KIB, flush));
	OK(rvm_truncate());
	EXPECT_TRUE(file_is(self->f.segment, 99 * KIB, 1, KIB));
	OK(rvm_unmap(&region));

	/* dev_length does not matter any more */
	region = region_of(self->f.segment, 0, 0);
	region.dev_length = RVM_LENGTH_TO_OFFSET(MIB);
	OK(rvm_map(&region, NULL));
	EXPECT_EQ(100 * KIB, region.length);
	OK(rvm_unmap(&region));

	/* one that can't grow stays empty */
	signal(SIGXFSZ, SIG_IGN);
	ASSERT_EQ(0, setrlimit(RLIMIT_FSIZE, &limit));
	ASSERT_TRUE(make_file(self->f.segment, 0, 0));
	region = region_of(self->f.segment, 0, 0);
	MAP_FAILS_ERRNO(EFBIG, &region);
	EXPECT_EQ(0, file_size(self->f.segment));
	OK(rvm_terminate());
}

TEST_F(api, bad_region)
{
	char name[MAXPATHLEN + 1];
	rvm_region_t region;

	memset(name, 'a', sizeof(name));
	name[0] = '/';
	name[MAXPATHLEN] = 0;
	ASSERT_TRUE(make_file(self->f.segment, 64 * KIB, 3));
	start(&self->f);
	CODE(RVM_EREGION, rvm_map(NULL, NULL));
	region = region_of(self->f.segment, 0, 0);
	region.struct_id = rvm_tid_id;
	MAP_FAILS(RVM_EREGION, &region);
	region = region_of(NULL, 0, 0);
	MAP_FAILS(RVM_EREGION, &region);
	region = region_of(name, 0, 0);
	MAP_FAILS(RVM_ENAME_TOO_LONG, &region);
	name[MAXPATHLEN - 1] = 0;
	MAP_FAILS_ERRNO(ENAMETOOLONG, &region);
	region = region_of("", 0, 0);
	MAP_FAILS_ERRNO(ENOENT, &region);

	region = region_of(self->f.segment, 0, 0);
	region.vmaddr = (char *)(16 * MIB + 1);
	MAP_FAILS(RVM_ERANGE, &region);
	region.vmaddr = (char *)(16 * MIB + PAGE / 2);
	MAP_FAILS(RVM_ERANGE, &region);
	/* around the end of memory */
	region.vmaddr = (char *)-PAGE;
	MAP_FAILS(RVM_ERANGE, &region);
	/* where the system has no memory for us */
	region.vmaddr = (char *)-(1024 * MIB);
	ASSERT_NE(RVM_SUCCESS, rvm_map(&region, NULL));
	ASSERT_EQ((char *)-(1024 * MIB), region.vmaddr);
	OK(rvm_terminate());
}

TEST_F(api, no_such_segment)
{
	rvm_region_t region = region_of(self->f.segment, 0, 0);

	start(&self->f);
	MAP_FAILS_ERRNO(ENOENT, &region);
	EXPECT_EQ(-1, access(self->f.segment, F_OK));
	ASSERT_EQ(0, symlink("nowhere", self->f.segment));
	MAP_FAILS_ERRNO(ENOENT, &region);
	region = region_of(self->f.dir, 0, 0);
	MAP_FAILS_ERRNO(EISDIR, &region);
	region = region_of("/dev/null", 0, 0);
	MAP_FAILS_ERRNO(ENOTBLK, &region);
	ASSERT_EQ(0, unlink(self->f.segment));
	ASSERT_EQ(0, mkfifo(self->f.segment, 0600));
	region = region_of(self->f.segment, 0, 0);
	MAP_FAILS_ERRNO(ENOTBLK, &region);
	ASSERT_EQ(0, unlink(self->f.segment));
	/* and then it works */
	ASSERT_TRUE(make_file(self->f.segment, 64 * KIB, 3));
	OK(rvm_map(&region, NULL));
	OK(rvm_terminate());
}

static void without_permission(CHILD_ARGS)
{
	rvm_region_t region = region_of(f->segment, 0, 0);

	if (!getuid()) {
		ASSERT_EQ(0, setgid(65534));
		ASSERT_EQ(0, setuid(65534));
	}
	start(f);
	MAP_FAILS_ERRNO(EACCES, &region);
	OK(rvm_terminate());
}

TEST_F(api, no_permission)
{
	const struct files *f = &self->f;

	ASSERT_TRUE(make_file(f->segment, 64 * KIB, 3));
	ASSERT_EQ(0, chmod(f->segment, 0));
	CHILD_OK(without_permission);
	/* to read it is not enough */
	ASSERT_EQ(0, chmod(f->segment, 0444));
	CHILD_OK(without_permission);
	/* an empty one is not grown either */
	ASSERT_EQ(0, unlink(f->segment));
	ASSERT_TRUE(make_file(f->segment, 0, 0));
	ASSERT_EQ(0, chmod(f->segment, 0444));
	CHILD_OK(without_permission);
}

TEST_F(api, segment_of_another_owner)
{
	rvm_region_t region = region_of(self->f.segment, 0, 0);
	int fd;

	start(&self->f);
	ASSERT_TRUE(make_file(self->f.segment, 64 * KIB, 3));
	fd = open(self->f.segment, O_RDWR | O_CLOEXEC);
	ASSERT_EQ(0, flock(fd, LOCK_EX));
	MAP_FAILS_ERRNO(EBUSY, &region);
	ASSERT_EQ(0, close(fd));
	OK(rvm_map(&region, NULL));
	/* now it is ours */
	fd = open(self->f.segment, O_RDWR | O_CLOEXEC);
	EXPECT_EQ(-1, flock(fd, LOCK_EX | LOCK_NB));
	close(fd);
	OK(rvm_terminate());
}

TEST_F(api, overlap_in_segment)
{
	rvm_region_t a, b, c;
	char name[300], cwd[300];

	ASSERT_TRUE(make_file(self->f.segment, 64 * KIB, 3));
	start(&self->f);
	a = region_of(self->f.segment, 4 * PAGE, 4 * PAGE);
	OK(rvm_map(&a, NULL));
	b = a;
	b.vmaddr = NULL;
	MAP_FAILS(RVM_EOVERLAP, &b);
	b = region_of(self->f.segment, 0, 4 * PAGE + 1);
	MAP_FAILS(RVM_EOVERLAP, &b);
	b = region_of(self->f.segment, 8 * PAGE - 1, 1);
	MAP_FAILS(RVM_EOVERLAP, &b);
	b = region_of(self->f.segment, 0, 0);
	MAP_FAILS(RVM_EOVERLAP, &b);
	b = region_of(self->f.segment, 5 * PAGE, PAGE);
	MAP_FAILS(RVM_EOVERLAP, &b);

	/* under other names */
	snprintf(name, sizeof(name), "%s/symlink", self->f.dir);
	ASSERT_EQ(0, symlink(self->f.segment, name));
	b = region_of(name, 5 * PAGE, PAGE);
	MAP_FAILS(RVM_EOVERLAP, &b);
	snprintf(name, sizeof(name), "%s/../%s/segment", self->f.dir, strrchr(self->f.dir, '/'));
	MAP_FAILS(RVM_EOVERLAP, &b);
	ASSERT_NE(NULL, getcwd(cwd, sizeof(cwd)));
	ASSERT_EQ(0, chdir(self->f.dir));
	b = region_of("segment", 5 * PAGE, PAGE);
	MAP_FAILS(RVM_EOVERLAP, &b);
	ASSERT_EQ(0, chdir(cwd));
	snprintf(name, sizeof(name), "%s/link", self->f.dir);
	ASSERT_EQ(0, link(self->f.segment, name));
	b = region_of(name, 5 * PAGE, PAGE);
	MAP_FAILS(RVM_EOVERLAP, &b);

	/* neighbours are fine, and so is another segment */
	b = region_of(self->f.segment, 0, 4 * PAGE);
	OK(rvm_map(&b, NULL));
	c = region_of(self->f.segment, 8 * PAGE, 0);
	OK(rvm_map(&c, NULL));
	OK(rvm_unmap(&b));
	snprintf(name, sizeof(name), "%s/segment2", self->f.dir);
	ASSERT_TRUE(make_file(name, 64 * KIB, 4));
	b = region_of(name, 0, 0);
	OK(rvm_map(&b, NULL));
	EXPECT_TRUE(all_are(b.vmaddr, 4, 64 * KIB));
	OK(rvm_terminate());
}

TEST_F(api, overlap_in_memory)
{
	char *room = mmap(NULL, 64 * PAGE, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	rvm_region_t a, b;

	ASSERT_NE(MAP_FAILED, room);
	ASSERT_TRUE(make_file(self->f.segment, 64 * PAGE, 3));
	start(&self->f);
	a = region_of(self->f.segment, 0, 4 * PAGE);
	a.vmaddr = room + 8 * PAGE;
	OK(rvm_map(&a, NULL));
	EXPECT_EQ(room + 8 * PAGE, a.vmaddr);

	b = region_of(self->f.segment, 4 * PAGE, 4 * PAGE);
	for (int page = 5; page < 12; page++) {
		b.vmaddr = room + page * PAGE;
		MAP_FAILS(RVM_EVM_OVERLAP, &b);
	}
	b.length = 32 * PAGE;
	b.vmaddr = room;
	MAP_FAILS(RVM_EVM_OVERLAP, &b);
	EXPECT_TRUE(all_are(a.vmaddr, 3, 4 * PAGE));
	b.length = 4 * PAGE;
	b.vmaddr = room + 4 * PAGE;
	OK(rvm_map(&b, NULL));
	b = region_of(self->f.segment, 8 * PAGE, 4 * PAGE);
	b.vmaddr = room + 12 * PAGE;
	OK(rvm_map(&b, NULL));
	OK(rvm_terminate());
}

TEST_F(api, address_given)
{
	char *room = mmap(NULL, 64 * PAGE, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	rvm_region_t region;

	ASSERT_NE(MAP_FAILED, room);
	ASSERT_TRUE(make_file(self->f.segment, 10000, 3));
	start(&self->f);
	/* in the middle of memory of our own, more than once */
	for (int i = 0; i < 3; i++) {
		memset(room, 9, 64 * PAGE);
		region = region_of(self->f.segment, 0, 0);
		region.vmaddr = room + 8 * PAGE;
		OK(rvm_map(&region, NULL));
		ASSERT_EQ(room + 8 * PAGE, region.vmaddr);
		EXPECT_EQ(10000, region.length);
		EXPECT_TRUE(all_are(region.vmaddr, i ? 9 + i : 3, 10000));
		EXPECT_TRUE(all_are(room, 9, 8 * PAGE));
		EXPECT_TRUE(all_are(room + 11 * PAGE, 9, 53 * PAGE));
		OK(commit_bytes(region.vmaddr, 10 + i, 10000, flush));
		OK(rvm_unmap(&region));
		/* ordinary memory is there, not the segment's */
		EXPECT_TRUE(all_are(room + 8 * PAGE, 0, 3 * PAGE));
		memset(room, 0, 64 * PAGE);
	}
	EXPECT_EQ(0, munmap(room, 64 * PAGE));

	/* where nothing was, and malloc puts nothing either */
	region.vmaddr = (char *)0x20000000;
	region.length = 0;
	OK(rvm_map(&region, NULL));
	ASSERT_EQ((char *)0x20000000, region.vmaddr);
	EXPECT_TRUE(all_are(region.vmaddr, 12, 10000));
	OK(rvm_unmap(&region));
	EXPECT_TRUE(all_are(region.vmaddr, 0, 3 * PAGE));
	EXPECT_EQ(0, munmap(region.vmaddr, 3 * PAGE));

	/* and where malloc or mmap would put the next */
	room = mmap(NULL, 32 * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, room);
	EXPECT_EQ(0, munmap(room, 32 * PAGE));
	for (int i = 0; i < 30; i++) {
		region.vmaddr = room + i * PAGE;
		OK(rvm_map(&region, NULL));
		ASSERT_EQ(room + i * PAGE, region.vmaddr);
		EXPECT_TRUE(all_are(region.vmaddr, 12, 10000)) TH_LOG("page %d", i);
		OK(rvm_unmap(&region));
		EXPECT_EQ(0, munmap(region.vmaddr, 3 * PAGE));
	}
	OK(rvm_terminate());
}

TEST_F(api, failed_map_keeps_memory)
{
	char *room = mmap(NULL, 16 * PAGE, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	rvm_region_t region = region_of(self->f.segment, 0, 0);
	int fd;

	ASSERT_NE(MAP_FAILED, room);
	memset(room, 9, 16 * PAGE);
	ASSERT_TRUE(make_file(self->f.segment, 10000, 3));
	start(&self->f);
	fd = open(self->f.segment, O_RDWR | O_CLOEXEC);
	ASSERT_EQ(0, flock(fd, LOCK_EX));
	region.vmaddr = room;
	MAP_FAILS_ERRNO(EBUSY, &region);
	EXPECT_TRUE(all_are(room, 9, 16 * PAGE));
	close(fd);
	OK(rvm_terminate());
}

TEST_F(api, unmap_errors)
{
	rvm_region_t region, part;
	rvm_tid_t tid, other;

	DECLARED_ONLY("several transactions at a time");
	start(&self->f);
	OK(map_segment(&self->f, &region));
	CODE(RVM_EREGION, rvm_unmap(NULL));
	part = region;
	part.struct_id = rvm_options_id;
	CODE(RVM_EREGION, rvm_unmap(&part));
	part = region;
	part.length -= PAGE;
	CODE(RVM_ERANGE, rvm_unmap(&part));
	part.vmaddr += PAGE;
	CODE(RVM_ERANGE, rvm_unmap(&part));
	part = region;
	part.length = 0;
	CODE(RVM_ERANGE, rvm_unmap(&part));
	part = region;
	part.length++;
	CODE(RVM_ENOT_MAPPED, rvm_unmap(&part));
	part.length = ~0ul;
	CODE(RVM_ENOT_MAPPED, rvm_unmap(&part));
	part = region;
	part.vmaddr -= PAGE;
	CODE(RVM_ENOT_MAPPED, rvm_unmap(&part));
	part.vmaddr = NULL;
	CODE(RVM_ENOT_MAPPED, rvm_unmap(&part));
	part.vmaddr = region.vmaddr + region.length;
	CODE(RVM_ENOT_MAPPED, rvm_unmap(&part));

	/* an open transaction without ranges there is no hindrance, one with ranges is */
	rvm_init_tid(&tid);
	rvm_init_tid(&other);
	OK(rvm_begin_transaction(&tid, restore));
	OK(rvm_begin_transaction(&other, restore));
	OK(rvm_unmap(&region));
	CODE(RVM_ENOT_MAPPED, rvm_unmap(&region));
	CODE(RVM_ENOT_MAPPED, rvm_set_range(&tid, region.vmaddr, 1));
	OK(map_segment(&self->f, &region));
	OK(rvm_set_range(&tid, region.vmaddr, 0));
	OK(rvm_unmap(&region));
	OK(map_segment(&self->f, &region));
	OK(rvm_set_range(&tid, region.vmaddr, 1));
	CODE(RVM_EUNCOMMIT, rvm_unmap(&region));
	OK(rvm_set_range(&other, region.vmaddr + 1, 1));
	OK(rvm_end_transaction(&tid, no_flush));
	CODE(RVM_EUNCOMMIT, rvm_unmap(&region));
	OK(rvm_abort_transaction(&other));
	OK(rvm_unmap(&region));
	OK(rvm_terminate());
}

/*
 * What the next map shows
 */

FIXTURE(remap) {
	struct files f;
};

FIXTURE_VARIANT(remap) {
	unsigned long flags;
	rvm_mode_t mode;
};

FIXTURE_VARIANT_ADD(remap, flush) { 0, flush };
FIXTURE_VARIANT_ADD(remap, no_flush) { 0, no_flush };
FIXTURE_VARIANT_ADD(remap, no_flush_optimized) { RVM_ALL_OPTIMIZATIONS, no_flush };
FIXTURE_VARIANT_ADD(remap, private_flush) { RVM_MAP_PRIVATE, flush };
FIXTURE_VARIANT_ADD(remap, private_no_flush) { RVM_MAP_PRIVATE, no_flush };

FIXTURE_SETUP(remap)
{
	make_files(_metadata, &self->f);
}

FIXTURE_TEARDOWN(remap)
{
	remove_files(&self->f);
}

TEST_F(remap, shows_commits)
{
	rvm_region_t region;

	OK(start_with(&self->f, MIB, variant->flags));
	for (int i = 1; i < 20; i++) {
		OK(map_segment(&self->f, &region));
		if (i > 1) {
			ASSERT_TRUE(all_are(region.vmaddr + 100, i - 1, 10 * KIB));
			ASSERT_TRUE(all_are(region.vmaddr + region.length - 50, i - 1, 50));
		}
		ASSERT_EQ(0, region.vmaddr[99]);
		OK(commit_bytes(region.vmaddr + 100, i, 10 * KIB, variant->mode));
		OK(commit_bytes(region.vmaddr + region.length - 50, i, 50, variant->mode));
		if (i == 10)
			OK(rvm_truncate());
		OK(rvm_unmap(&region));
	}
	OK(rvm_terminate());
}

TEST_F(remap, hides_the_rest)
{
	rvm_region_t region;
	rvm_tid_t tid;

	DECLARED_ONLY("stores that are in no transaction");
	OK(start_with(&self->f, MIB, variant->flags));
	OK(map_segment(&self->f, &region));
	OK(commit_bytes(region.vmaddr, 1, 3 * PAGE, variant->mode));
	rvm_init_tid(&tid);
	OK(rvm_begin_transaction(&tid, restore));
	OK(rvm_set_range(&tid, region.vmaddr, 100));
	memset(region.vmaddr, 2, 100);
	OK(rvm_abort_transaction(&tid));
	OK(rvm_begin_transaction(&tid, no_restore));
	OK(rvm_set_range(&tid, region.vmaddr + PAGE, 100));
	memset(region.vmaddr + PAGE, 2, 100);
	OK(rvm_abort_transaction(&tid));
	/* undeclared, next to declared */
	memset(region.vmaddr + 2 * PAGE, 2, 100);
	OK(commit_bytes(region.vmaddr + 2 * PAGE + 100, 1, 100, variant->mode));
	OK(rvm_unmap(&region));
	OK(map_segment(&self->f, &region));
	EXPECT_TRUE(all_are(region.vmaddr, 1, 3 * PAGE));
	OK(rvm_truncate());
	EXPECT_TRUE(all_are(region.vmaddr, 1, 3 * PAGE));
	EXPECT_TRUE(file_is(self->f.segment, 0, 1, 3 * PAGE));
	OK(rvm_terminate());
}

/* Pages of a private map that are touched only after truncation changed the file. */
TEST_F(remap, truncation_under_a_map)
{
	rvm_region_t a, b;

	DECLARED_ONLY("stores that are in no transaction");
	OK(start_with(&self->f, MIB, variant->flags));
	ASSERT_TRUE(make_file(self->f.segment, 64 * PAGE, 3));
	a = region_of(self->f.segment, 0, 32 * PAGE);
	b = region_of(self->f.segment, 32 * PAGE, 0);
	OK(rvm_map(&a, NULL));
	OK(rvm_map(&b, NULL));
	OK(commit_bytes(a.vmaddr, 1, 8 * PAGE, variant->mode));
	OK(commit_bytes(b.vmaddr, 2, 8 * PAGE, variant->mode));
	a.vmaddr[10 * PAGE] = 77;	/* undeclared */
	OK(rvm_truncate());
	EXPECT_TRUE(all_are(a.vmaddr, 1, 8 * PAGE));
	EXPECT_TRUE(all_are(a.vmaddr + 8 * PAGE, 3, 2 * PAGE));
	EXPECT_TRUE(all_are(a.vmaddr + 11 * PAGE, 3, 21 * PAGE));
	EXPECT_TRUE(all_are(b.vmaddr, 2, 8 * PAGE));
	EXPECT_TRUE(all_are(b.vmaddr + 8 * PAGE, 3, 24 * PAGE));
	EXPECT_TRUE(file_is(self->f.segment, 8 * PAGE, 3, 24 * PAGE));
	OK(rvm_unmap(&a));
	a.vmaddr = NULL;
	OK(rvm_map(&a, NULL));
	EXPECT_TRUE(all_are(a.vmaddr, 1, 8 * PAGE));
	EXPECT_TRUE(all_are(a.vmaddr + 8 * PAGE, 3, 24 * PAGE));
	OK(rvm_terminate());
}

TEST_F(api, many_regions)
{
	enum { N = 48 };
	char *room = mmap(NULL, N * PAGE, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	rvm_region_t region[N];
	rvm_tid_t tid;

	ASSERT_NE(MAP_FAILED, room);
	ASSERT_TRUE(make_file(self->f.segment, N * PAGE, 3));
	start(&self->f);
	/* a page each, in another order than that of the segment, side by side */
	for (int i = 0; i < N; i++) {
		int page = i * 19 % N;

		region[page] = region_of(self->f.segment, page * PAGE, PAGE);
		region[page].vmaddr = room + (N - 1 - page) * PAGE;
		OK(rvm_map(&region[page], NULL));
	}
	rvm_init_tid(&tid);
	OK(rvm_begin_transaction(&tid, restore));
	/* a range lies in one region, even if the next adjoins */
	CODE(RVM_ENOT_MAPPED, rvm_set_range(&tid, room + PAGE - 1, 2));
	CODE(RVM_ENOT_MAPPED, rvm_set_range(&tid, room, PAGE + 1));
	CODE(RVM_ENOT_MAPPED, rvm_set_range(&tid, room + (N - 1) * PAGE, PAGE + 1));
	for (int i = 0; i < N; i++) {
		int page = i * 7 % N;

		OK(rvm_set_range(&tid, region[page].vmaddr + 8, 8));
		memset(region[page].vmaddr + 8, page, 8);
	}
	CODE(RVM_ENOT_MAPPED, rvm_set_range(&tid, room + PAGE - 1, 2));
	OK(rvm_end_transaction(&tid, flush));
	for (int i = 0; i < N; i += 2)
		OK(rvm_unmap(&region[i]));
	OK(rvm_begin_transaction(&tid, restore));
	for (int i = 0; i < N; i++)
		CODE(i % 2 ? RVM_SUCCESS : RVM_ENOT_MAPPED,
		     rvm_set_range(&tid, region[i].vmaddr, 1));
	OK(rvm_abort_transaction(&tid));
	OK(rvm_truncate());
	for (int i = 0; i < N; i++) {
		EXPECT_TRUE(file_is(self->f.segment, i * PAGE, 3, 8));
		EXPECT_TRUE(file_is(self->f.segment, i * PAGE + 8, i, 8));
		EXPECT_TRUE(file_is(self->f.segment, i * PAGE + 16, 3, PAGE - 16));
	}
	OK(rvm_terminate());
}

enum { SEGMENTS = 150 };

static rvm_region_t map_one_of_many(struct __test_metadata *_metadata, const struct files *f, int i)
{
	rvm_region_t region;
	char name[300];

	snprintf(name, sizeof(name), "%s/segment.%d", f->dir, i);
	region = region_of(name, 0, 0);
	OK(rvm_map(&region, NULL));
	region.data_dev = NULL;		/* the name goes with us */
	return region;
}

static int hold[2];	/* a socket for each side */

/* It dies, but leaves a child, which has inherited its descriptors. */
static void commit_to_many(CHILD_ARGS)
{
	rvm_tid_t tid;
	char c = 0;

	start(f);
	rvm_init_tid(&tid);
	OK(rvm_begin_transaction(&tid, restore));
	for (int i = 0; i < SEGMENTS; i++) {
		rvm_region_t region = map_one_of_many(_metadata, f, i);

		OK(rvm_set_range(&tid, region.vmaddr + i, 8));
		memset(region.vmaddr + i, i, 8);
	}
	OK(rvm_end_transaction(&tid, flush));
	if (!fork()) {
		close(hold[0]);
		write(hold[1], &c, 1);
		read(hold[1], &c, 1);
		_exit(0);
	}
	/* it has come out of fork(), where it closes them */
	ASSERT_EQ(1, read(hold[0], &c, 1));
	die(_metadata);
}

/* The child must not go on owning what its parent owned. */
TEST_F(api, many_segments)
{
	const struct files *f = &self->f;
	char name[300];

	DECLARED_ONLY("regions are mapped while a transaction is open");
	for (int i = 0; i < SEGMENTS; i++) {
		snprintf(name, sizeof(name), "%s/segment.%d", f->dir, i);
		ASSERT_TRUE(make_file(name, PAGE, 0));
	}
	ASSERT_EQ(0, socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, hold));
	CHILD_DIES(commit_to_many);
	start(f);
	for (int i = 0; i < SEGMENTS; i++) {
		rvm_region_t region = map_one_of_many(_metadata, f, i);

		EXPECT_TRUE(all_are(region.vmaddr, 0, i));
		EXPECT_TRUE(all_are(region.vmaddr + i, i, 8));
		EXPECT_TRUE(all_are(region.vmaddr + i + 8, 0, PAGE - i - 8));
	}
	OK(rvm_terminate());
	close(hold[0]);
	close(hold[1]);
}

/* One after the other: the log forgets names when it needs the room, and no record is lost. */
TEST_F(api, more_segments_than_fit_the_log)
{
	const struct files *f = &self->f;
	enum { N = 400, LONG = 200 };
	char name[500];

	start(f);
	for (int i = 0; i < N; i++) {
		rvm_region_t region;

		snprintf(name, sizeof(name), "%s/%0*d", f->dir, LONG, i);
		ASSERT_TRUE(make_file(name, PAGE, 0));
		region = region_of(name, 0, 0);
		OK(rvm_map(&region, NULL));
		OK(commit_bytes(region.vmaddr, i, 100, no_flush));
		OK(rvm_unmap(&region));
	}
	OK(rvm_truncate());
	for (int i = 0; i < N; i++) {
		snprintf(name, sizeof(name), "%s/%0*d", f->dir, LONG, i);
		EXPECT_TRUE(file_is(name, 0, i, 100)) TH_LOG("segment %d", i);
	}
	OK(rvm_terminate());
}

static void commit_without_copy(CHILD_ARGS)
{
	rvm_region_t region = region_of(f->segment, 0, 0);

	start(f);
	region.no_copy = rvm_true;
	OK(rvm_map(&region, NULL));
	OK(commit_bytes(region.vmaddr + 100, 1, 1000, flush));
	die(_metadata);
}

TEST_F(api, no_copy)
{
	const struct files *f = &self->f;
	rvm_region_t region;

	FEW_BYTES_ONLY("of memory that was not loaded, too");
	ASSERT_TRUE(make_file(f->segment, 16 * PAGE, 3));
	CHILD_DIES(commit_without_copy);
	start(f);
	OK(map_segment(f, &region));
	EXPECT_TRUE(all_are(region.vmaddr, 3, 100));
	EXPECT_TRUE(all_are(region.vmaddr + 100, 1, 1000));
	EXPECT_TRUE(all_are(region.vmaddr + 1100, 3, 16 * PAGE - 1100));
	OK(rvm_terminate());
}

/* A map's own options: only its flags count. */
TEST_F(api, options_of_a_map)
{
	rvm_options_t options;
	rvm_region_t region;

	ASSERT_TRUE(make_file(self->f.segment, 16 * PAGE, 3));
	start(&self->f);
	rvm_init_options(&options);
	options.flags = RVM_MAP_PRIVATE;
	options.truncate = 99;
	options.log_dev = self->f.log;
	region = region_of(self->f.segment, 0, 0);
	OK(rvm_map(&region, &options));
	OK(commit_bytes(region.vmaddr, 1, 100, flush));
	OK(rvm_unmap(&region));
	options.log_dev = NULL;
	OK(rvm_query(&options, NULL));
	EXPECT_EQ(50, options.truncate);
	EXPECT_EQ(0, options.flags);
	options.log_dev = (char *)"/another/log";
	region = region_of(self->f.segment, 0, 0);
	CODE(RVM_ELOG, rvm_map(&region, &options));
	OK(rvm_terminate());
}

TEST_HARNESS_MAIN
