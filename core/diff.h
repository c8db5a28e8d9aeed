/* SPDX-License-Identifier: GPL-2.0 OR MIT */
/*
 * Which bytes of a page differ from its copy: what tracking logs, and what it
 * reports.  Both are aligned to 8, and `size` need not be a multiple of anything.
 */
#ifndef RVM_CORE_DIFF_H
#define RVM_CORE_DIFF_H

#include "core/format.h"

/* So few equal bytes between two changes take less room than a range of their own. */
#define RVM_DIFF_GAP	((u32)sizeof(struct rvm_range_header))

/* The bytes that differ among the 8 at this place, the first one lowest. */
static inline u64 rvm_diff_word(const u8 *a, const u8 *b)
{
	return le64_to_cpu(*(const __le64 *)a) ^ le64_to_cpu(*(const __le64 *)b);
}

static inline bool rvm_diff_64(const u8 *a, const u8 *b)
{
	return rvm_diff_word(a, b) | rvm_diff_word(a + 8, b + 8) |
	       rvm_diff_word(a + 16, b + 16) | rvm_diff_word(a + 24, b + 24) |
	       rvm_diff_word(a + 32, b + 32) | rvm_diff_word(a + 40, b + 40) |
	       rvm_diff_word(a + 48, b + 48) | rvm_diff_word(a + 56, b + 56);
}

/* The first byte at or after `at` that differs, or size. */
static inline u32 rvm_diff_first(const void *a, const void *b, u32 at, u32 size)
{
	const u8 *x = a, *y = b;

	for (; at % 8 && at < size; at++)
		if (x[at] != y[at])
			return at;
	while (at + 64 <= size && !rvm_diff_64(x + at, y + at))
		at += 64;
	while (at + 8 <= size && !rvm_diff_word(x + at, y + at))
		at += 8;
	while (at < size && x[at] == y[at])
		at++;
	return at;
}

/* Has a bit in the lowest byte that is 0, and none below; 0 if there is none. */
static inline u64 rvm_diff_any_equal(u64 word)
{
	return (word - 0x0101010101010101ull) & ~word & 0x8080808080808080ull;
}

/*
 * The next run of bytes that differ, at or after `at`: its start, and *length; size
 * if there is none.  Runs with at most `gap` equal bytes between them are one; gap
 * is 0 or at least 8.
 */
static inline u32 rvm_diff_next(const void *a, const void *b, u32 at, u32 size, u32 gap,
				u32 *length)
{
	u32 start = rvm_diff_first(a, b, at, size), end = start;
	const u8 *x = a, *y = b;
	u64 word;

	/* end: behind the last that differs */
	for (at = start; at < size && at <= end + gap;) {
		if (at % 8 || at + 8 > size) {
			if (x[at] != y[at])
				end = at + 1;
			at++;
			continue;
		}
		word = rvm_diff_word(x + at, y + at);
		if (!rvm_diff_any_equal(word)) {
			end = at += 8;
			continue;
		}
		if (word && at + __builtin_ctzll(word) / 8 <= end + gap)
			end = at + (gap ? 8 - __builtin_clzll(word) / 8 :
					  __builtin_ctzll(rvm_diff_any_equal(word)) / 8);
		if (!gap)
			break;
		at += 8;
	}
	*length = end - start;
	return start;
}

#endif
