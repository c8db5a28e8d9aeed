/* SPDX-License-Identifier: GPL-2.0 OR MIT */
/*
 * Which bytes of a page differ from its copy: what tracking logs, and what it
 * reports.
 */
#ifndef RVM_CORE_DIFF_H
#define RVM_CORE_DIFF_H

#include "core/format.h"

/* So few equal bytes between two changes take less room than a range of their own. */
#define RVM_DIFF_GAP	((u32)sizeof(struct rvm_range_header))

/* The first byte at or after `at` that differs, or size.  Both are aligned to 8. */
static inline u32 rvm_diff_first(const void *a, const void *b, u32 at, u32 size)
{
	const u8 *x = a, *y = b;

	for (; at % 32 && at < size; at++)
		if (x[at] != y[at])
			return at;
	for (; at + 32 <= size; at += 32) {
		const u64 *p = (const u64 *)(x + at), *q = (const u64 *)(y + at);

		if ((p[0] ^ q[0]) | (p[1] ^ q[1]) | (p[2] ^ q[2]) | (p[3] ^ q[3]))
			break;
	}
	while (at < size && x[at] == y[at])
		at++;
	return at;
}

/*
 * The next run of bytes that differ, at or after `at`: its start, and *length; size
 * if there is none.  Runs with fewer than `gap` equal bytes between them are one.
 */
static inline u32 rvm_diff_next(const void *a, const void *b, u32 at, u32 size, u32 gap,
				u32 *length)
{
	const u8 *x = a, *y = b;
	u32 start = rvm_diff_first(a, b, at, size), end = start;

	/* end: behind the last that differs */
	for (at = start; at < size && at <= end + gap; at++)
		if (x[at] != y[at])
			end = at + 1;
	*length = end - start;
	return start;
}

#endif
