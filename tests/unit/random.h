/* SPDX-License-Identifier: GPL-2.0 OR MIT */
/* Random numbers that repeat: RVM_TEST_SEED=n in the environment gives others. */
#ifndef RVM_UNIT_RANDOM_H
#define RVM_UNIT_RANDOM_H

#include "core/port.h"

static u64 random_state;

static inline u64 random_u64(void)
{
	const char *seed;

	if (!random_state) {
		seed = getenv("RVM_TEST_SEED");
		random_state = 0x9e3779b97f4a7c15ull * (seed ? strtoull(seed, NULL, 0) + 1 : 1);
	}
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return random_state * 0x2545f4914f6cdd1dull;
}

/* 0..n-1 */
static inline u64 random_below(u64 n)
{
	return (random_u64() >> 16) % n;
}

static inline bool one_in(u64 n)
{
	return !random_below(n);
}

static inline void random_fill(void *to, size_t length)
{
	u8 *p = to;

	while (length--)
		*p++ = random_u64() >> 32;
}

#endif
