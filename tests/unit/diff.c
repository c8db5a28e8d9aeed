// SPDX-License-Identifier: GPL-2.0 OR MIT
/* Description: what differs between two pages, against a comparison byte by byte. */

#include "core/diff.h"

#include "kselftest_harness.h"

#define PAGE	4096u

static unsigned long random_state = 88172645463325252ul;

static unsigned long next_random(void)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return random_state;
}

/* By the letter of what rvm_diff_next promises. */
static u32 slow_next(const u8 *a, const u8 *b, u32 at, u32 size, u32 gap, u32 *length)
{
	u32 start, end, i;

	while (at < size && a[at] == b[at])
		at++;
	start = end = at;
	for (i = start; i < size && i <= end + gap; i++)
		if (a[i] != b[i])
			end = i + 1;
	*length = end - start;
	return start;
}

static void compare(struct __test_metadata *_metadata, const u8 *a, const u8 *b, u32 size)
{
	static const u32 gaps[] = { 0, 8, RVM_DIFF_GAP, 31 };

	for (unsigned int g = 0; g < sizeof(gaps) / sizeof(gaps[0]); g++) {
		u32 at = 0, length, expected, expected_length;

		do {
			expected = slow_next(a, b, at, size, gaps[g], &expected_length);
			ASSERT_EQ(expected, rvm_diff_first(a, b, at, size));
			ASSERT_EQ(expected, rvm_diff_next(a, b, at, size, gaps[g], &length))
				TH_LOG("from %u of %u, gap %u", at, size, gaps[g]);
			ASSERT_EQ(expected_length, length)
				TH_LOG("from %u of %u, gap %u", at, size, gaps[g]);
			at = expected + length;
		} while (at < size);
	}
}

static u8 a[PAGE] __attribute__((aligned(8))), b[PAGE] __attribute__((aligned(8)));

TEST(equal)
{
	u32 length;

	for (u32 size = 0; size <= PAGE; size += size < 200 ? 1 : 61) {
		ASSERT_EQ(size, rvm_diff_next(a, b, 0, size, 0, &length));
		ASSERT_EQ(0, length);
	}
}

/* One byte, at each place, and the page as short as that. */
TEST(each_byte)
{
	for (u32 i = 0; i < PAGE; i++) {
		b[i] ^= 0x10;
		compare(_metadata, a, b, PAGE);
		compare(_metadata, a, b, i);
		compare(_metadata, a, b, i + 1);
		b[i] ^= 0x10;
	}
}

/* Two bytes at each distance. */
TEST(gaps)
{
	for (u32 i = 0; i < 40; i++) {
		for (u32 k = 1; k < 60; k++) {
			b[i] = b[i + k] = 1;
			compare(_metadata, a, b, 200);
			b[i] = b[i + k] = 0;
		}
	}
}

TEST(random_changes)
{
	for (int round = 0; round < 3000; round++) {
		u32 runs = next_random() % 20, size = PAGE - next_random() % 100;

		for (u32 i = 0; i < PAGE; i++)
			a[i] = b[i] = next_random();
		while (runs--) {
			u32 at = next_random() % PAGE, length = next_random() % (round % 3 ? 30 : 600);

			/* some of it is as before */
			for (u32 i = at; i < PAGE && i < at + length; i++)
				if (next_random() % 8)
					b[i] = next_random() % 4 ? a[i] + 1u : next_random();
		}
		compare(_metadata, a, b, size);
	}
}

TEST_HARNESS_MAIN
