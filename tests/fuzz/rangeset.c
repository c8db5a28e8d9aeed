// SPDX-License-Identifier: GPL-2.0 OR MIT
/*
 * Fuzzing the range set against one flag for each byte of a small space, which
 * lies somewhere in the 64 bits.
 *
 * Input: u8 where the space lies; then operations of u8 what, u16 start, u16 length.
 */
#include "core/rangeset.h"
#include "fuzz.h"

#define SPACE	2048u

static bool model[SPACE], gaps[SPACE];
static u64 base;

struct gap_check {
	u64 next;		/* the next gap begins behind this */
	u64 refuse;		/* this one is refused, 0: none */
	u64 calls;
	bool first;
};

static int gap(void *context, u64 start, u64 length)
{
	struct gap_check *g = context;
	u64 i;

	CHECK(length && (g->first || start > g->next));
	for (i = start - base; i < start - base + length; i++) {
		CHECK(i < SPACE && !model[i] && !gaps[i]);
		gaps[i] = true;
	}
	g->first = false;
	g->next = start + length;
	return ++g->calls == g->refuse ? -EINTR : 0;
}

/* All of it is as the model says. */
static void check(const struct rvm_rangeset *set)
{
	u64 i = 0, ranges = 0, bytes = 0, start, length, end;

	for (i = 0; i < SPACE; i = end) {
		for (; i < SPACE && !model[i]; i++)
			;
		for (end = i; end < SPACE && model[end]; end++)
			;
		ranges += end > i;
		bytes += end - i;
		if (end == i)
			continue;
		CHECK(rvm_rangeset_next(set, base + (i ? i - 1 : 0), &start, &length));
		CHECK(start == base + i && length == end - i);
	}
	CHECK(set->ranges == ranges && set->bytes == bytes);
}

static void add(struct rvm_rangeset *set, u64 start, u64 length, u64 refuse)
{
	struct gap_check g = { .refuse = refuse, .first = true };
	u64 i;
	int err;

	if (length > SPACE - start)
		length = SPACE - start;
	memset(gaps, 0, sizeof(gaps));
	err = rvm_rangeset_add(set, base + start, length, gap, &g);
	CHECK(err == (refuse && g.calls == refuse ? -EINTR : 0));
	if (err) {
		check(set);
		return;
	}
	for (i = start; i < start + length; i++) {
		CHECK(gaps[i] == !model[i]);
		model[i] = true;
	}
}

static void ask(const struct rvm_rangeset *set, u64 start, u64 length)
{
	u64 i, end, got, got_length;

	if (length > SPACE - start)
		length = SPACE - start;
	for (i = start; i < SPACE && !model[i]; i++)
		;
	for (end = i; end < SPACE && model[end]; end++)
		;
	CHECK(rvm_rangeset_overlaps(set, base + start, length) == (i < start + length));
	CHECK(rvm_rangeset_next(set, base + start, &got, &got_length) == (i < SPACE));
	if (i < SPACE)
		CHECK(got == base + i && got_length == end - i);
}

int LLVMFuzzerTestOneInput(const u8 *input, size_t size)
{
	struct rvm_rangeset set;
	u64 i;

	if (!size)
		return 0;
	/* at the beginning, at the end, at 2^63, or somewhere */
	base = input[0] % 4 == 0 ? 0 : input[0] % 4 == 1 ? -(u64)SPACE - 1 :
	       input[0] % 4 == 2 ? (1ull << 63) - SPACE / 2 : (u64)input[0] << 32;
	memset(model, 0, sizeof(model));
	rvm_rangeset_init(&set);
	for (input++, size--; size >= 5; input += 5, size -= 5) {
		u64 start = (input[1] | input[2] << 8) % SPACE;
		u64 length = (input[3] | input[4] << 8) % SPACE;

		switch (input[0] % 8) {
		case 0:
		case 1:
			add(&set, start, length, 0);
			break;
		case 2:
			add(&set, start, length % 64, 0);
			break;
		case 3:
			add(&set, start, length, 1 + input[0] / 8);
			break;
		case 4:		/* many at once: more than one chunk holds */
			for (i = 0; i < length % 256; i++)
				add(&set, (start + i * (2 + input[0] / 8)) % SPACE,
				    1 + length / 1024, 0);
			break;
		case 5:
			ask(&set, start, length);
			break;
		case 6:		/* it would pass the end of all; nothing changes */
			CHECK(rvm_rangeset_add(&set, -1 - start, 2 + start + length, NULL, NULL) ==
			      -EOVERFLOW);
			check(&set);
			break;
		case 7:
			if (input[0] == 255) {
				rvm_rangeset_clear(&set);
				memset(model, 0, sizeof(model));
			}
			check(&set);
			break;
		}
	}
	check(&set);
	rvm_rangeset_clear(&set);
	return 0;
}
