// SPDX-License-Identifier: GPL-2.0 OR MIT
/* Description: the range set against a bitmap, a million inserts, and failures half way. */

#include "core/port.h"

static long allocations_left = -1;	/* -1: no limit */
static long allocated;

static void *test_alloc(size_t size)
{
	void *p;

	if (!allocations_left)
		return NULL;
	p = malloc(size);
	if (p) {
		memset(p, 0xa5, size);
		allocated++;
		if (allocations_left > 0)
			allocations_left--;
	}
	return p;
}

static void test_free(void *p)
{
	allocated -= !!p;
	free(p);
}

/* The file itself, with other names for what it allocates by and exports. */
#define rvm_alloc test_alloc
#define rvm_free test_free
#define rvm_rangeset_init set_init
#define rvm_rangeset_clear set_clear
#define rvm_rangeset_add set_add
#define rvm_rangeset_overlaps set_overlaps
#define rvm_rangeset_next set_next
#include "core/rangeset.c"

#include "kselftest_harness.h"
#include "random.h"

#define MAP_SIZE 6000

/* What a call of set_add reported, in a bitmap of its own. */
struct gaps {
	u8 map[MAP_SIZE];
	u64 last_end;
	bool any;
	bool in_order;		/* ascending and maximal */
	int calls;
	int fail_at;		/* the call that fails, 0: none */
};

static int note_gap(void *context, u64 start, u64 length)
{
	struct gaps *gaps = context;

	if (++gaps->calls == gaps->fail_at)
		return -EINTR;
	if (!length || (gaps->any && start <= gaps->last_end))
		gaps->in_order = false;
	gaps->any = true;
	gaps->last_end = start + length;
	while (length--)
		gaps->map[start++] = 1;
	return 0;
}

/* The whole structure, and that it says the same as the bitmap. */
static void check(struct __test_metadata *_metadata, const struct rvm_rangeset *set,
		  const u8 *map)
{
	u64 from = 0, at = 0, start, length, ranges = 0, bytes = 0, i;
	const struct list *list = set->root;

	for (i = 0; list && i < list->count; i++) {
		ASSERT_NE(list->chunk[i]->count, 0);
		ASSERT_LE(list->chunk[i]->count, CHUNK_RANGES);
	}
	while (rvm_rangeset_next(set, from, &start, &length)) {
		ASSERT_GE(start, from);
		ASSERT_TRUE(!ranges || start > from);	/* merged where they touch */
		ASSERT_NE(length, 0);
		for (; at < start; at++)
			ASSERT_EQ(map[at], 0);
		for (; at < start + length; at++)
			ASSERT_EQ(map[at], 1);
		from = start + length;
		ranges++;
		bytes += length;
	}
	for (; at < MAP_SIZE; at++)
		ASSERT_EQ(map[at], 0);
	ASSERT_EQ(set->ranges, ranges);
	ASSERT_EQ(set->bytes, bytes);
}

static void against_bitmap(struct __test_metadata *_metadata, u64 longest, int rounds, u64 universe)
{
	struct rvm_rangeset set;
	struct gaps gaps;
	u8 map[MAP_SIZE];
	u64 start, length, i, next_start, next_length, expected;
	bool any;
	int round, n, err;

	for (round = 0; round < rounds; round++) {
		rvm_rangeset_init(&set);
		memset(map, 0, sizeof(map));
		for (n = 0; n < 2000 && set.bytes < universe; n++) {
			start = random_below(universe);
			length = random_below(one_in(50) ? universe - start + 1 : longest + 1);
			if (length > universe - start)
				length = universe - start;

			any = false;
			for (i = start; i < start + length; i++)
				any |= map[i];
			ASSERT_EQ(rvm_rangeset_overlaps(&set, start, length), any);

			memset(&gaps, 0, sizeof(gaps));
			gaps.in_order = true;
			gaps.fail_at = one_in(4) ? 1 + random_below(3) : 0;
			err = rvm_rangeset_add(&set, start, length, note_gap, &gaps);
			ASSERT_TRUE(gaps.in_order);
			if (gaps.fail_at && gaps.calls >= gaps.fail_at) {
				ASSERT_EQ(err, -EINTR);
				if (one_in(10))
					check(_metadata, &set, map);
				continue;
			}
			ASSERT_EQ(err, 0);
			for (i = 0; i < universe; i++)
				ASSERT_EQ(gaps.map[i], i >= start && i < start + length && !map[i]);
			memset(map + start, 1, length);
			if (one_in(20))
				check(_metadata, &set, map);

			start = random_below(universe);
			for (i = start; i < universe && !map[i]; i++)
				;
			expected = i;
			ASSERT_EQ(rvm_rangeset_next(&set, start, &next_start, &next_length),
				  i < universe);
			if (i == universe)
				continue;
			for (; i < universe && map[i]; i++)
				;
			ASSERT_EQ(next_start, expected);
			ASSERT_EQ(next_length, i - expected);
		}
		check(_metadata, &set, map);
		rvm_rangeset_clear(&set);
		ASSERT_EQ(set.ranges + set.bytes, 0);
		ASSERT_EQ(allocated, 0);
	}
}

TEST(model_small)
{
	against_bitmap(_metadata, 5, 200, 200);
}

TEST(model_many_chunks)
{
	against_bitmap(_metadata, 2, 6, MAP_SIZE);
}

TEST(model_wide)
{
	against_bitmap(_metadata, 300, 20, MAP_SIZE);
}

/* Single bytes two apart, then what lies between them, from any side. */
TEST(fill_up)
{
	struct rvm_rangeset set;
	u8 map[MAP_SIZE];
	int mode, i, at, step;

	for (mode = 0; mode < 3; mode++) {
		rvm_rangeset_init(&set);
		memset(map, 0, sizeof(map));
		for (i = 0; i < MAP_SIZE; i += 2) {
			at = mode == 1 ? MAP_SIZE - 2 - i : i;
			ASSERT_EQ(rvm_rangeset_add(&set, at, 1, NULL, NULL), 0);
			map[at] = 1;
		}
		check(_metadata, &set, map);
		/* Ascending ranges fill their chunks. */
		if (mode == 0)
			ASSERT_EQ(allocated, (MAP_SIZE / 2 + CHUNK_RANGES - 1) / CHUNK_RANGES + 1);
		step = mode == 2 ? 7 : 1;	/* 7 visits all: it has no factor in common */
		for (i = 0; i < MAP_SIZE / 2; i++) {
			at = (u64)i * step % (MAP_SIZE / 2) * 2 + 1;
			ASSERT_EQ(rvm_rangeset_add(&set, at, 1, NULL, NULL), 0);
			map[at] = 1;
			if (i % 100 == 0)
				check(_metadata, &set, map);
		}
		check(_metadata, &set, map);
		ASSERT_EQ(set.ranges, 1);
		/* Chunks that drained went away: all but the one and the list. */
		ASSERT_LE(allocated, 3);
		rvm_rangeset_clear(&set);
		ASSERT_EQ(allocated, 0);
	}
}

/* One range over any run of others, within a chunk and across several. */
TEST(swallow)
{
	struct rvm_rangeset set;
	u8 map[MAP_SIZE];
	int n = 3 * CHUNK_RANGES + 5, first, last, i;

	for (first = 0; first < n; first++) {
		for (last = first; last < n; last++) {
			rvm_rangeset_init(&set);
			memset(map, 0, sizeof(map));
			for (i = 0; i < n; i++) {
				rvm_rangeset_add(&set, 2 * i, 1, NULL, NULL);
				map[2 * i] = 1;
			}
			ASSERT_EQ(rvm_rangeset_add(&set, 2 * first, 2 * (last - first) + 1,
						   NULL, NULL), 0);
			memset(map + 2 * first, 1, 2 * (last - first) + 1);
			check(_metadata, &set, map);
			rvm_rangeset_clear(&set);
		}
	}
	ASSERT_EQ(allocated, 0);
}

/* Many ranges that merge into few leave few chunks. */
TEST(shrink)
{
	struct rvm_rangeset set;
	u64 n = 100 * CHUNK_RANGES, i, at;
	int order;

	for (order = 0; order < 2; order++) {
		rvm_rangeset_init(&set);
		for (i = 0; i < n; i++)
			ASSERT_EQ(rvm_rangeset_add(&set, 16 * i, 8, NULL, NULL), 0);
		ASSERT_GE(allocated, 100);
		/* All but the last of each chunk become one. */
		for (i = 0; i < 100; i++) {
			at = (order ? 99 - i : i) * CHUNK_RANGES * 16;
			ASSERT_EQ(rvm_rangeset_add(&set, at, (CHUNK_RANGES - 2) * 16 + 8,
						   NULL, NULL), 0);
		}
		ASSERT_EQ(set.ranges, 200);
		ASSERT_LE(allocated, 20);
		rvm_rangeset_clear(&set);
	}
	ASSERT_EQ(allocated, 0);
}

TEST(limits)
{
	struct rvm_rangeset set;
	u64 start, length, top = ~0ull;

	rvm_rangeset_init(&set);
	EXPECT_FALSE(rvm_rangeset_overlaps(&set, 0, top));
	EXPECT_FALSE(rvm_rangeset_next(&set, 0, &start, &length));
	EXPECT_EQ(rvm_rangeset_add(&set, top, 2, NULL, NULL), -EOVERFLOW);
	EXPECT_EQ(rvm_rangeset_add(&set, 2, top, NULL, NULL), -EOVERFLOW);
	EXPECT_EQ(rvm_rangeset_add(&set, 17, 0, NULL, NULL), 0);
	EXPECT_EQ(set.ranges, 0);
	EXPECT_EQ(rvm_rangeset_add(&set, top - 1, 1, NULL, NULL), 0);
	EXPECT_TRUE(rvm_rangeset_overlaps(&set, top - 1, 1));
	EXPECT_TRUE(rvm_rangeset_overlaps(&set, 5, top));
	EXPECT_FALSE(rvm_rangeset_overlaps(&set, top - 1, 0));
	EXPECT_FALSE(rvm_rangeset_overlaps(&set, 0, top - 1));
	EXPECT_FALSE(rvm_rangeset_overlaps(&set, top, 1));
	EXPECT_FALSE(rvm_rangeset_next(&set, top, &start, &length));
	EXPECT_EQ(rvm_rangeset_add(&set, 0, top, NULL, NULL), 0);
	EXPECT_EQ(set.ranges, 1);
	EXPECT_EQ(set.bytes, top);
	EXPECT_TRUE(rvm_rangeset_next(&set, 5, &start, &length));
	EXPECT_EQ(start, 5);
	EXPECT_EQ(length, top - 5);
	rvm_rangeset_clear(&set);
}

static int no_gap(void *context, u64 start, u64 length)
{
	(void)start;
	(void)length;
	++*(int *)context;
	return 0;
}

/* Whichever allocation fails: no call of fn, and the set is as it was. */
TEST(out_of_memory)
{
	struct rvm_rangeset set;
	u8 map[MAP_SIZE] = { 0 };
	int i, calls, failures = 0;

	rvm_rangeset_init(&set);
	for (i = 0; i < 2000; i++) {
		int at = (u64)i * 1237 % (MAP_SIZE / 2) * 2;
		int err, allow = 0;

		do {
			calls = 0;
			allocations_left = allow++;
			err = rvm_rangeset_add(&set, at, 1, no_gap, &calls);
			if (err) {
				ASSERT_EQ(err, -ENOMEM);
				ASSERT_EQ(calls, 0);
				failures++;
				check(_metadata, &set, map);
			}
		} while (err);
		ASSERT_EQ(calls, 1);
		map[at] = 1;
	}
	allocations_left = -1;
	ASSERT_GT(failures, 20);
	check(_metadata, &set, map);
	rvm_rangeset_clear(&set);
	ASSERT_EQ(allocated, 0);
}

/* Quick whatever the order; the harness kills a test after 30 seconds. */
static void a_million(struct __test_metadata *_metadata, u64 first, u64 step)
{
	struct rvm_rangeset set;
	u64 n = 1000000, i, at, start, length;

	rvm_rangeset_init(&set);
	for (i = 0; i < n; i++) {
		at = (first + i * step) % n;
		ASSERT_EQ(rvm_rangeset_add(&set, at * 16, 8, NULL, NULL), 0);
	}
	ASSERT_EQ(set.ranges, n);
	ASSERT_EQ(set.bytes, 8 * n);
	for (i = 0, at = 0; rvm_rangeset_next(&set, at, &start, &length); i++) {
		ASSERT_EQ(start, i * 16);
		ASSERT_EQ(length, 8);
		at = start + length;
	}
	ASSERT_EQ(i, n);
	ASSERT_EQ(rvm_rangeset_add(&set, 3, 16 * n, NULL, NULL), 0);
	ASSERT_EQ(set.ranges, 1);
	rvm_rangeset_clear(&set);
	ASSERT_EQ(allocated, 0);
}

TEST(a_million_ascending)
{
	a_million(_metadata, 0, 1);
}

TEST(a_million_descending)
{
	a_million(_metadata, 999999, 999999);
}

TEST(a_million_scattered)
{
	a_million(_metadata, 0, 7368787);
}

TEST(a_million_that_merge)
{
	struct rvm_rangeset set;
	int i;

	rvm_rangeset_init(&set);
	for (i = 0; i < 1000000; i++)
		ASSERT_EQ(rvm_rangeset_add(&set, random_u64() >> 24, random_below(1 << 20),
					   NULL, NULL), 0);
	rvm_rangeset_clear(&set);
	ASSERT_EQ(allocated, 0);
}

TEST_HARNESS_MAIN
