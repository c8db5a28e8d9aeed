// SPDX-License-Identifier: GPL-2.0 OR MIT
/* Description: the segment loader. */
#include "api.h"

#include <sys/mman.h>
#include <rvm/rvm_segment.h>

/*
 * Where neither the kernel nor a sanitizer maps anything by itself, and where it may be done:
 * above a program at any place, and below the end of what ThreadSanitizer knows there.
 */
#define A	((char *)0x567000000000)
#define B	((char *)0x567800000000)
#define LENGTH	RVM_LENGTH_TO_OFFSET(256 * KIB)

static void two(rvm_region_def_t defs[2])
{
	RVM_INIT_REGION(defs[0], RVM_MK_OFFSET(0, 0), 16 * KIB, B);
	RVM_INIT_REGION(defs[1], RVM_MK_OFFSET(0, 0), 8 * KIB, A);
}

static bool is_mapped(void *address)
{
	unsigned char there;

	return !mincore(address, PAGE, &there);
}

#define CREATE(f) do {							\
	rvm_region_def_t defs_[2];					\
									\
	two(defs_);							\
	ASSERT_TRUE(make_file((f)->segment, 0, 0));			\
	OK(rvm_create_segment((char *)(f)->segment, LENGTH, NULL, 2, defs_)); \
	ASSERT_EQ(PAGE, defs_[0].offset.low);				\
	ASSERT_EQ(5 * PAGE, defs_[1].offset.low);			\
} while (0)

static void make_pointer(CHILD_ARGS)
{
	rvm_region_def_t *regions;
	unsigned long n;
	rvm_tid_t tid;

	start(f);
	CREATE(f);
	OK(rvm_load_segment((char *)f->segment, LENGTH, NULL, &n, &regions));
	ASSERT_EQ(2, n);
	ASSERT_EQ(B, regions[0].vmaddr);
	ASSERT_EQ(A, regions[1].vmaddr);
	rvm_init_tid(&tid);
	OK(rvm_begin_transaction(&tid, restore));
	OK(rvm_set_range(&tid, A, sizeof(char *)));
	*(char **)A = B + 40;
	CODE(RVM_EUNCOMMIT, rvm_release_segment(n, &regions));
	OK(rvm_end_transaction(&tid, flush));
	OK(rvm_release_segment(n, &regions));
	ASSERT_EQ(NULL, regions);
	ASSERT_FALSE(is_mapped(A));
	ASSERT_FALSE(is_mapped(B));
	die(_metadata);
}

static void follow_pointer(CHILD_ARGS)
{
	rvm_region_def_t *regions;
	unsigned long n;

	start(f);
	for (int i = 0; i < 2; i++) {
		OK(rvm_load_segment((char *)f->segment, LENGTH, NULL, &n, &regions));
		ASSERT_EQ(B + 40, *(char **)A);
		ASSERT_EQ(0, **(char **)A);
		OK(rvm_release_segment(n, &regions));
	}
	OK(rvm_terminate());
}

TEST_F(api, pointers_stay_valid)
{
	const struct files *f = &self->f;

	CHILD_DIES(make_pointer);
	CHILD_OK(follow_pointer);
}

TEST_F(api, definitions)
{
	static const struct {
		rvm_return_t code;
		unsigned long length;
		char *address;
	} cases[] = {
		{ RVM_EREGION_DEF, 0, A }, { RVM_EREGION_DEF, 100, A },
		{ RVM_EREGION_DEF, PAGE, A + 8 }, { RVM_EREGION_DEF, PAGE, NULL },
		{ RVM_EREGION_DEF, 2 * PAGE, (char *)-PAGE }, { RVM_ERANGE, PAGE, B },
		{ RVM_ERANGE, 2 * PAGE, B - PAGE }, { RVM_ERANGE, PAGE, B + 12 * KIB },
		{ RVM_EOFFSET, 256 * KIB, A },
	};
	rvm_region_def_t defs[2];

	start(&self->f);
	ASSERT_TRUE(make_file(self->f.segment, 256 * KIB, 5));
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		two(defs);
		defs[1].length = cases[i].length;
		defs[1].vmaddr = cases[i].address;
		CODE(cases[i].code, rvm_create_segment(self->f.segment, LENGTH, NULL, 2, defs));
	}
	CODE(RVM_EREGION_DEF, rvm_create_segment(self->f.segment, LENGTH, NULL, 0, defs));
	CODE(RVM_EREGION_DEF, rvm_create_segment(self->f.segment, LENGTH, NULL, 2, NULL));
	CODE(RVM_EREGION_DEF, rvm_create_segment(self->f.segment, LENGTH, NULL, 1000, defs));
	OK(rvm_truncate());
	ASSERT_TRUE(file_is(self->f.segment, 0, 5, 256 * KIB));
}

/* The real length counts, not what the caller says. */
TEST_F(api, short_segment)
{
	rvm_region_def_t defs[2], *regions;
	unsigned long n;

	start(&self->f);
	two(defs);
	ASSERT_TRUE(make_file(self->f.segment, 27 * KIB, 0));
	CODE(RVM_EOFFSET, rvm_create_segment(self->f.segment, LENGTH, NULL, 2, defs));
	ASSERT_TRUE(make_file(self->f.segment, 28 * KIB, 0));
	OK(rvm_create_segment(self->f.segment, LENGTH, NULL, 2, defs));
	OK(rvm_truncate());
	ASSERT_EQ(0, truncate(self->f.segment, 27 * KIB));
	CODE(RVM_ESEGMENT_HDR, rvm_load_segment(self->f.segment, LENGTH, NULL, &n, &regions));
	ASSERT_FALSE(is_mapped(A));
	ASSERT_FALSE(is_mapped(B));
}

TEST_F(api, place_taken)
{
	rvm_region_def_t *regions = NULL;
	unsigned long n = 7;

	start(&self->f);
	CREATE(&self->f);
	ASSERT_EQ(A + PAGE, mmap(A + PAGE, PAGE, PROT_READ | PROT_WRITE,
				 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0));
	A[PAGE] = 3;
	CODE(RVM_EVM_OVERLAP, rvm_load_segment(self->f.segment, LENGTH, NULL, &n, &regions));
	ASSERT_EQ(3, A[PAGE]);
	ASSERT_EQ(7, n);
	ASSERT_EQ(NULL, regions);
	ASSERT_FALSE(is_mapped(B));
	munmap(A + PAGE, PAGE);
	OK(rvm_load_segment(self->f.segment, LENGTH, NULL, &n, &regions));
	CODE(RVM_EREGION_DEF, rvm_load_segment(self->f.segment, LENGTH, NULL, NULL, &regions));
	OK(rvm_release_segment(n, &regions));
	CODE(RVM_EREGION_DEF, rvm_release_segment(n, &regions));
	CODE(RVM_EREGION_DEF, rvm_release_segment(n, NULL));
}

/* Every byte of the header matters. */
TEST_F(api, damaged_header)
{
	rvm_region_def_t *regions;
	unsigned long n;
	char byte;
	int fd;

	start(&self->f);
	CREATE(&self->f);
	OK(rvm_truncate());
	fd = open(self->f.segment, O_RDWR | O_CLOEXEC);
	ASSERT_LE(0, fd);
	for (long at = 0; at < (long)PAGE; at += at < 128 ? 1 : 97) {
		ASSERT_EQ(1, pread(fd, &byte, 1, at));
		byte ^= 0x10;
		ASSERT_EQ(1, pwrite(fd, &byte, 1, at));
		CODE(RVM_ESEGMENT_HDR,
		     rvm_load_segment(self->f.segment, LENGTH, NULL, &n, &regions));
		byte ^= 0x10;
		ASSERT_EQ(1, pwrite(fd, &byte, 1, at));
	}
	close(fd);
	OK(rvm_load_segment(self->f.segment, LENGTH, NULL, &n, &regions));
}

TEST_HARNESS_MAIN
