// SPDX-License-Identifier: GPL-2.0 OR MIT
/* Description: transactions, with and without optimizations. */
#include "api.h"

FIXTURE(transaction) {
	struct files f;
	rvm_region_t region;
	char *at;
	rvm_tid_t tid;
};

FIXTURE_VARIANT(transaction) {
	unsigned long flags;
};

FIXTURE_VARIANT_ADD(transaction, plain) { 0 };
FIXTURE_VARIANT_ADD(transaction, coalesce_ranges) { RVM_COALESCE_RANGES };
FIXTURE_VARIANT_ADD(transaction, coalesce_trans) { RVM_COALESCE_TRANS };
FIXTURE_VARIANT_ADD(transaction, map_private) { RVM_ALL_OPTIMIZATIONS | RVM_MAP_PRIVATE };

FIXTURE_SETUP(transaction)
{
	make_files(_metadata, &self->f);
	OK(start_with(&self->f, 64 * KIB, variant->flags));
	OK(map_segment(&self->f, &self->region));
	self->at = self->region.vmaddr;
	rvm_init_tid(&self->tid);
}

FIXTURE_TEARDOWN(transaction)
{
	remove_files(&self->f);
}

/* Declare and store. */
#define SET(tid, address, value, length) do {			\
	OK(rvm_set_range((tid), (address), (length)));		\
	memset((address), (value), (length));			\
} while (0)

#define NO_TRANSACTION(tid) do {				\
	char byte_ = 0;						\
								\
	CODE(RVM_ETID, rvm_set_range((tid), self->at, 1));	\
	CODE(RVM_ETID, rvm_set_range((tid), NULL, 0));		\
	CODE(RVM_ETID, rvm_modify_bytes((tid), self->at, &byte_, 1));	\
	CODE(RVM_ETID, rvm_end_transaction((tid), flush));	\
	CODE(RVM_ETID, rvm_end_transaction((tid), no_flush));	\
	CODE(RVM_ETID, rvm_abort_transaction((tid)));		\
	CODE(RVM_ETID, rvm_check_tid(tid));			\
} while (0)

TEST_F(transaction, bad_tid)
{
	unsigned long seed = 1;
	rvm_tid_t tid;

	CODE(RVM_ETID, rvm_begin_transaction(NULL, restore));
	NO_TRANSACTION(NULL);
	memset(&tid, 0, sizeof(tid));
	CODE(RVM_ETID, rvm_begin_transaction(&tid, restore));
	NO_TRANSACTION(&tid);
	rvm_init_tid(&tid);
	NO_TRANSACTION(&tid);
	tid.struct_id = rvm_region_id;
	CODE(RVM_ETID, rvm_begin_transaction(&tid, restore));

	rvm_init_tid(&tid);
	OK(rvm_begin_transaction(&tid, restore));
	OK(rvm_end_transaction(&tid, flush));
	NO_TRANSACTION(&tid);
	OK(rvm_begin_transaction(&tid, restore));
	OK(rvm_abort_transaction(&tid));
	NO_TRANSACTION(&tid);

	/* anything may stand there, also near what is right */
	OK(rvm_begin_transaction(&self->tid, restore));
	for (int i = 0; i < 5000; i++) {
		rvm_init_tid(&tid);
		seed = seed * 6364136223846793005 + 1442695040888963407;
		if (i % 3 == 0)
			tid.tid = (void *)seed;
		else if (i % 3 == 1)
			tid.tid = (char *)self->tid.tid + 1 + seed % 1000;
		else
			tid.tid = (void *)((unsigned long)self->tid.tid ^ 1ul << (1 + i % 63));
		if (tid.tid != self->tid.tid)
			CODE(RVM_ETID, rvm_set_range(&tid, self->at, 1));
	}
	tid = self->tid;
	tid.struct_id = rvm_options_id;
	NO_TRANSACTION(&tid);
	OK(rvm_end_transaction(&self->tid, flush));
}

TEST_F(transaction, bad_mode)
{
	static const rvm_mode_t modes[] = { 0, 1, rvm_first_mode, rvm_last_mode, 1 << 20 };
	rvm_tid_t *tid = &self->tid, none;

	rvm_init_tid(&none);
	/* begin looks at the tid first, end at the mode */
	CODE(RVM_ETID, rvm_begin_transaction(NULL, flush));
	CODE(RVM_EMODE, rvm_end_transaction(NULL, restore));
	CODE(RVM_EMODE, rvm_end_transaction(&none, restore));
	CODE(RVM_EMODE, rvm_begin_transaction(tid, flush));
	CODE(RVM_EMODE, rvm_begin_transaction(tid, no_flush));
	NO_TRANSACTION(tid);
	OK(rvm_begin_transaction(tid, restore));
	SET(tid, self->at, 1, 10);
	CODE(RVM_EMODE, rvm_end_transaction(tid, restore));
	CODE(RVM_EMODE, rvm_end_transaction(tid, no_restore));
	for (size_t i = 0; i < sizeof(modes) / sizeof(modes[0]); i++) {
		CODE(RVM_EMODE, rvm_begin_transaction(&none, modes[i]));
		CODE(RVM_EMODE, rvm_end_transaction(tid, modes[i]));
	}
	/* it is still open */
	OK(rvm_abort_transaction(tid));
	EXPECT_TRUE(all_are(self->at, 0, 10));
}

TEST_F(transaction, bad_range)
{
	char *const at = self->at;
	const unsigned long length = self->region.length;
	rvm_tid_t *tid = &self->tid;
	char local[16];

	OK(rvm_begin_transaction(tid, restore));
	CODE(RVM_ENOT_MAPPED, rvm_set_range(tid, NULL, 1));
	CODE(RVM_ENOT_MAPPED, rvm_set_range(tid, local, 1));
	CODE(RVM_ENOT_MAPPED, rvm_set_range(tid, at - 1, 1));
	CODE(RVM_ENOT_MAPPED, rvm_set_range(tid, at - 1, 2));
	CODE(RVM_ENOT_MAPPED, rvm_set_range(tid, at + length, 1));
	for (int again = 0; again < 2; again++) {
		CODE(RVM_ENOT_MAPPED, rvm_set_range(tid, at, length + 1));
		CODE(RVM_ENOT_MAPPED, rvm_set_range(tid, at + length - 1, 2));
		CODE(RVM_ENOT_MAPPED, rvm_set_range(tid, at, ~0ul));
		CODE(RVM_ENOT_MAPPED, rvm_set_range(tid, at + 1, ~0ul));
		CODE(RVM_ENOT_MAPPED, rvm_set_range(tid, at + 1, -(unsigned long)at - 1));
		CODE(RVM_ENOT_MAPPED, rvm_set_range(tid, (char *)~0ul, 1));
		/* once with the region in use and once without */
		OK(rvm_set_range(tid, at, 1));
	}
	OK(rvm_set_range(tid, at + length - 1, 1));
	memset(at, 1, 1);
	memset(at + length - 1, 1, 1);
	OK(rvm_end_transaction(tid, flush));
	OK(rvm_truncate());
	EXPECT_TRUE(file_is(self->f.segment, 0, 1, 1));
	EXPECT_TRUE(file_is(self->f.segment, 1, 0, length - 2));
	EXPECT_TRUE(file_is(self->f.segment, length - 1, 1, 1));
}

TEST_F(transaction, empty_range)
{
	const bool optimizing = variant->flags;
	rvm_tid_t *tid = &self->tid;
	char local;

	CODE(RVM_ETID, rvm_set_range(tid, self->at, 0));
	OK(rvm_begin_transaction(tid, restore));
	OK(rvm_set_range(tid, self->at, 0));
	OK(rvm_set_range(tid, self->at + self->region.length - 1, 0));
	OK(rvm_modify_bytes(tid, self->at, self->at, 0));
	OK(rvm_modify_bytes(tid, self->at, NULL, 0));
	CODE(optimizing ? RVM_SUCCESS : RVM_ENOT_MAPPED, rvm_set_range(tid, &local, 0));
	CODE(optimizing ? RVM_SUCCESS : RVM_ENOT_MAPPED, rvm_set_range(tid, NULL, 0));
	OK(rvm_end_transaction(tid, flush));
}

TEST_F(transaction, commit)
{
	rvm_tid_t *tid = &self->tid;

	for (int i = 0; i < 4; i++) {
		OK(rvm_begin_transaction(tid, i & 1 ? restore : no_restore));
		SET(tid, self->at + 100 * i, 10 + i, 50);
		OK(rvm_end_transaction(tid, i & 2 ? flush : no_flush));
		EXPECT_TRUE(all_are(self->at + 100 * i, 10 + i, 50));
	}
	OK(rvm_flush());
	OK(rvm_truncate());
	for (int i = 0; i < 4; i++) {
		EXPECT_TRUE(file_is(self->f.segment, 100 * i, 10 + i, 50));
		EXPECT_TRUE(file_is(self->f.segment, 100 * i + 50, 0, 50));
	}
	OK(rvm_terminate());
}

/* What is declared and not changed is logged all the same, what is stored later is not. */
TEST_F(transaction, values_at_commit)
{
	rvm_tid_t *tid = &self->tid;

	DECLARED_ONLY("stores that are in no transaction");
	OK(rvm_begin_transaction(tid, restore));
	OK(rvm_set_range(tid, self->at, 30));
	memset(self->at, 1, 30);
	memset(self->at, 2, 10);
	OK(rvm_end_transaction(tid, no_flush));
	memset(self->at, 3, 30);
	/* stored and declared, but not committed */
	OK(rvm_begin_transaction(tid, restore));
	SET(tid, self->at + 5, 4, 10);
	OK(rvm_flush());
	OK(rvm_abort_transaction(tid));
	OK(rvm_begin_transaction(tid, restore));
	SET(tid, self->at + 5, 5, 10);
	OK(rvm_truncate());
	EXPECT_TRUE(file_is(self->f.segment, 0, 2, 10));
	EXPECT_TRUE(file_is(self->f.segment, 10, 1, 20));
	EXPECT_TRUE(file_is(self->f.segment, 30, 0, 20));
	EXPECT_TRUE(all_are(self->at, 3, 5));
	EXPECT_TRUE(all_are(self->at + 5, 5, 10));
	OK(rvm_abort_transaction(tid));
}

TEST_F(transaction, abort_restores)
{
	char *const at = self->at;
	rvm_tid_t *tid = &self->tid;
	char before[1000];

	for (int i = 0; i < 1000; i++)
		before[i] = i * 7;
	OK(rvm_begin_transaction(tid, restore));
	OK(rvm_modify_bytes(tid, at, before, sizeof(before)));
	OK(rvm_end_transaction(tid, flush));

	for (int round = 0; round < 3; round++) {
		OK(rvm_begin_transaction(tid, restore));
		/* the same, overlapping, inside, around, adjacent: each after stores */
		SET(tid, at + 100, 1, 100);
		SET(tid, at + 100, 2, 100);
		SET(tid, at + 150, 3, 100);
		SET(tid, at + 120, 4, 10);
		SET(tid, at + 50, 5, 300);
		SET(tid, at + 350, 6, 50);
		SET(tid, at + 0, 7, 50);
		SET(tid, at + 999, 8, 1);
		SET(tid, at + 600, 9, 100);
		SET(tid, at + 800, 10, 100);
		SET(tid, at + 650, 11, 200);
		SET(tid, at + 0, 12, 1000);
		OK(rvm_abort_transaction(tid));
		ASSERT_EQ(0, memcmp(at, before, sizeof(before)));
	}
	/* nothing of it is ever durable */
	OK(rvm_truncate());
	for (int i = 0; i < 1000; i++) {
		ASSERT_TRUE(file_is(self->f.segment, i, before[i], 1));
	}
}

TEST_F(transaction, abort_no_restore)
{
	rvm_tid_t *tid = &self->tid;

	DECLARED_ONLY("stores that are in no transaction");
	OK(commit_bytes(self->at, 1, 100, flush));
	OK(rvm_begin_transaction(tid, no_restore));
	SET(tid, self->at + 50, 2, 100);
	OK(rvm_abort_transaction(tid));
	EXPECT_TRUE(all_are(self->at, 1, 50));
	EXPECT_TRUE(all_are(self->at + 50, 2, 100));
	OK(rvm_truncate());
	EXPECT_TRUE(file_is(self->f.segment, 0, 1, 100));
	EXPECT_TRUE(file_is(self->f.segment, 100, 0, 100));
}

TEST_F(transaction, overlapping_ranges_commit)
{
	rvm_tid_t *tid = &self->tid;
	static const struct {
		int start, length;
	} ranges[] = {
		{ 100, 100 }, { 150, 100 }, { 100, 100 }, { 120, 1 }, { 90, 400 }, { 490, 10 },
		{ 600, 1 }, { 601, 1 }, { 599, 1 }, { 0, 1 }, { 4090, 20 }, { 4096, 4096 },
	};
	char expected[16 * KIB] = { 0 };

	OK(rvm_begin_transaction(tid, restore));
	for (size_t i = 0; i < sizeof(ranges) / sizeof(ranges[0]); i++) {
		SET(tid, self->at + ranges[i].start, i + 1, ranges[i].length);
		memset(expected + ranges[i].start, i + 1, ranges[i].length);
	}
	OK(rvm_end_transaction(tid, flush));
	EXPECT_EQ(0, memcmp(self->at, expected, sizeof(expected)));
	OK(rvm_truncate());
	for (size_t i = 0; i < sizeof(expected); i++) {
		ASSERT_TRUE(file_is(self->f.segment, i, expected[i], 1));
	}
}

TEST_F(transaction, modify_bytes)
{
	char *const at = self->at;
	rvm_tid_t *tid = &self->tid;
	char expected[100], local[100];

	for (int i = 0; i < 100; i++)
		expected[i] = local[i] = i;
	OK(rvm_begin_transaction(tid, restore));
	OK(rvm_modify_bytes(tid, at, local, 100));
	EXPECT_EQ(0, memcmp(at, expected, 100));
	/* overlapping both ways, and onto itself */
	OK(rvm_modify_bytes(tid, at + 10, at, 50));
	memmove(expected + 10, expected, 50);
	EXPECT_EQ(0, memcmp(at, expected, 100));
	OK(rvm_modify_bytes(tid, at, at + 20, 50));
	memmove(expected, expected + 20, 50);
	EXPECT_EQ(0, memcmp(at, expected, 100));
	OK(rvm_modify_bytes(tid, at, at, 100));
	EXPECT_EQ(0, memcmp(at, expected, 100));

	CODE(RVM_ESRC, rvm_modify_bytes(tid, at, NULL, 1));
	CODE(RVM_ESRC, rvm_modify_bytes(tid, at, (char *)-10, 100));
	CODE(RVM_ENOT_MAPPED, rvm_modify_bytes(tid, local, at, 1));
	CODE(RVM_ENOT_MAPPED, rvm_modify_bytes(tid, at + self->region.length - 1, local, 2));
	EXPECT_EQ(0, memcmp(at, expected, 100));
	OK(rvm_end_transaction(tid, flush));
	OK(rvm_truncate());
	for (int i = 0; i < 100; i++) {
		ASSERT_TRUE(file_is(self->f.segment, i, expected[i], 1));
	}

	OK(rvm_begin_transaction(tid, restore));
	OK(rvm_modify_bytes(tid, at, local, 100));
	OK(rvm_abort_transaction(tid));
	EXPECT_EQ(0, memcmp(at, expected, 100));
}

TEST_F(transaction, tid_copies)
{
	rvm_tid_t *tid = &self->tid, copy, *heap;

	DECLARED_ONLY("several transactions at a time");
	/* a copy is as good as the tid */
	OK(rvm_begin_transaction(tid, restore));
	copy = *tid;
	OK(rvm_check_tid(tid));
	OK(rvm_check_tid(&copy));
	SET(&copy, self->at, 1, 10);
	OK(rvm_end_transaction(&copy, flush));
	NO_TRANSACTION(tid);
	NO_TRANSACTION(&copy);

	OK(rvm_begin_transaction(tid, restore));
	heap = rvm_copy_tid(tid);
	ASSERT_NE(NULL, heap);
	memset(tid, 0, sizeof(*tid));
	SET(heap, self->at, 2, 10);
	OK(rvm_abort_transaction(heap));
	EXPECT_TRUE(all_are(self->at, 1, 10));

	/* an old copy does not mean the next transaction, of the same record or another */
	rvm_init_tid(tid);
	for (int i = 0; i < 200; i++) {
		NO_TRANSACTION(&copy);
		OK(rvm_begin_transaction(tid, restore));
		NO_TRANSACTION(&copy);
		NO_TRANSACTION(heap);
		copy = *tid;
		OK(rvm_end_transaction(tid, no_flush));
	}

	/* a record can be used again while a copy of it is open */
	OK(rvm_begin_transaction(tid, restore));
	copy = *tid;
	OK(rvm_begin_transaction(tid, restore));
	SET(tid, self->at, 3, 10);
	OK(rvm_abort_transaction(tid));
	NO_TRANSACTION(tid);
	SET(&copy, self->at, 4, 10);
	OK(rvm_end_transaction(&copy, flush));
	EXPECT_TRUE(all_are(self->at, 4, 10));
	rvm_free_tid(heap);
	OK(rvm_terminate());
}

static bool earlier(const struct timeval *a, const struct timeval *b)
{
	return timercmp(a, b, <);
}

TEST_F(transaction, many_at_once)
{
	DECLARED_ONLY("several transactions at a time");
	enum { N = 300 };
	static rvm_tid_t tids[N];

	for (int i = 0; i < N; i++) {
		rvm_init_tid(&tids[i]);
		OK(rvm_begin_transaction(&tids[i], i % 3 ? restore : no_restore));
		if (i) {
			ASSERT_NE(tids[i - 1].tid, tids[i].tid);
			ASSERT_TRUE(earlier(&tids[i - 1].uname, &tids[i].uname));
		}
	}
	for (int i = 0; i < N; i++)
		SET(&tids[i], self->at + 64 * i, 1 + i % 100, 64);
	/* in another order than begun: 2 of 3 are committed */
	for (int i = 0; i < N; i++) {
		int n = (i * 77 + 5) % N;

		if (n % 3 == 1)
			OK(rvm_abort_transaction(&tids[n]));
		else
			OK(rvm_end_transaction(&tids[n], n % 10 ? no_flush : flush));
	}
	OK(rvm_truncate());
	for (int i = 0; i < N; i++) {
		int value = i % 3 == 1 ? 0 : 1 + i % 100;

		ASSERT_TRUE(all_are(self->at + 64 * i, value, 64)) TH_LOG("transaction %d", i);
		ASSERT_TRUE(file_is(self->f.segment, 64 * i, value, 64));
	}
	OK(rvm_terminate());
}

/* More than the engines keep room for, and still what one with few ranges is afterwards. */
TEST_F(transaction, many_ranges)
{
	enum { N = 5000 };

	for (int round = 0; round < 2; round++) {
		OK(rvm_begin_transaction(&self->tid, restore));
		for (int i = 0; i < N; i++)
			SET(&self->tid, self->at + 3 * i, 7, 2);
		OK(rvm_abort_transaction(&self->tid));
		ASSERT_TRUE(all_are(self->at, 0, 3 * N));
	}
	OK(rvm_begin_transaction(&self->tid, restore));
	SET(&self->tid, self->at, 8, 1);
	OK(rvm_end_transaction(&self->tid, flush));
	OK(rvm_truncate());
	ASSERT_TRUE(file_is(self->f.segment, 0, 8, 1));
	ASSERT_TRUE(file_is(self->f.segment, 1, 0, 3 * N));
	OK(rvm_terminate());
}

/* An undo never leaves memory older than what another transaction committed since. */
TEST_F(transaction, undo_keeps_commits_of_others)
{
	rvm_tid_t *a = &self->tid, b;
	char *const at = self->at;

	DECLARED_ONLY("several transactions at a time");
	rvm_init_tid(&b);
	OK(commit_bytes(at, 1, 400, flush));

	/* declared by a, then wholly committed by b */
	OK(rvm_begin_transaction(a, restore));
	SET(a, at, 2, 100);
	OK(rvm_begin_transaction(&b, restore));
	SET(&b, at, 3, 100);
	OK(rvm_end_transaction(&b, flush));
	OK(rvm_abort_transaction(a));
	EXPECT_TRUE(all_are(at, 3, 100));
	EXPECT_TRUE(all_are(at + 100, 1, 300));

	/* partly; in several of a's ranges; no_flush */
	OK(rvm_begin_transaction(a, restore));
	SET(a, at, 4, 100);
	SET(a, at + 150, 4, 100);
	OK(rvm_begin_transaction(&b, no_restore));
	SET(&b, at + 50, 5, 150);
	OK(rvm_end_transaction(&b, no_flush));
	OK(rvm_abort_transaction(a));
	EXPECT_TRUE(all_are(at, 3, 50));
	EXPECT_TRUE(all_are(at + 50, 5, 150));
	EXPECT_TRUE(all_are(at + 200, 1, 200));

	/* a declares again what it had, and goes on after b's commit */
	OK(rvm_begin_transaction(a, restore));
	SET(a, at + 300, 6, 50);
	OK(rvm_begin_transaction(&b, restore));
	SET(&b, at + 310, 7, 10);
	OK(rvm_end_transaction(&b, no_flush));
	SET(a, at + 300, 8, 50);
	OK(rvm_abort_transaction(a));
	EXPECT_TRUE(all_are(at + 300, 1, 10));
	EXPECT_TRUE(all_are(at + 310, 7, 10));
	EXPECT_TRUE(all_are(at + 320, 1, 30));

	/* an aborted b is no commit */
	OK(rvm_begin_transaction(a, restore));
	SET(a, at, 9, 10);
	OK(rvm_begin_transaction(&b, restore));
	SET(&b, at + 20, 9, 10);
	OK(rvm_abort_transaction(&b));
	OK(rvm_abort_transaction(a));
	EXPECT_TRUE(all_are(at, 3, 50));

	OK(rvm_truncate());
	EXPECT_TRUE(file_is(self->f.segment, 0, 3, 50));
	EXPECT_TRUE(file_is(self->f.segment, 50, 5, 150));
	EXPECT_TRUE(file_is(self->f.segment, 200, 1, 110));
	EXPECT_TRUE(file_is(self->f.segment, 310, 7, 10));
	EXPECT_TRUE(file_is(self->f.segment, 320, 1, 80));
}

/* The log is 64 KiB. */
TEST_F(transaction, too_big)
{
	char *const at = self->at;
	rvm_tid_t *tid = &self->tid;

	DECLARED_ONLY("several transactions at a time");
	OK(commit_bytes(at, 1, 10 * KIB, flush));
	for (int i = 0; i < 4; i++) {
		OK(rvm_begin_transaction(tid, i & 1 ? restore : no_restore));
		for (int k = 0; k < 40; k++)
			SET(tid, at + 4 * KIB * k, 2, 4 * KIB);
		CODE(RVM_ETOO_BIG, rvm_end_transaction(tid, i & 2 ? flush : no_flush));
		/* still open, as it was; also for others */
		EXPECT_TRUE(all_are(at, 2, 160 * KIB));
		OK(commit_bytes(at + 200 * KIB, 10 + i, 100, flush));
		CODE(RVM_ETOO_BIG, rvm_end_transaction(tid, flush));
		OK(rvm_abort_transaction(tid));
		if (i & 1) {
			EXPECT_TRUE(all_are(at, 1, 10 * KIB));
			EXPECT_TRUE(all_are(at + 10 * KIB, 0, 150 * KIB));
		} else {
			/* nothing to restore from: put it right by hand */
			memset(at, 1, 10 * KIB);
			memset(at + 10 * KIB, 0, 150 * KIB);
		}
	}
	OK(rvm_truncate());
	EXPECT_TRUE(file_is(self->f.segment, 0, 1, 10 * KIB));
	EXPECT_TRUE(file_is(self->f.segment, 10 * KIB, 0, 150 * KIB));
	EXPECT_TRUE(file_is(self->f.segment, 200 * KIB, 13, 100));

	/* one that fits the empty log succeeds, however full it is */
	for (int i = 0; i < 10; i++) {
		OK(commit_bytes(at, i, 5 * KIB, no_flush));
		OK(commit_bytes(at, 100 + i, 60 * KIB, i & 1 ? flush : no_flush));
	}
	EXPECT_TRUE(all_are(at, 109, 60 * KIB));
	OK(rvm_terminate());
}

/* Declared many times over it is no bigger, if ranges are coalesced. */
TEST_F(transaction, coalesced_size)
{
	rvm_tid_t *tid = &self->tid;

	if (!(variant->flags & RVM_ALL_OPTIMIZATIONS))
		return;
	OK(rvm_begin_transaction(tid, restore));
	for (int i = 0; i < 100; i++)
		SET(tid, self->at + i, i, 8 * KIB);
	OK(rvm_end_transaction(tid, flush));
	OK(rvm_begin_transaction(tid, restore));
	for (int i = 0; i < 100; i++)
		SET(tid, self->at + 100 - i, i, 8 * KIB);
	OK(rvm_abort_transaction(tid));
	EXPECT_EQ(0, self->at[0]);
	EXPECT_EQ(50, self->at[50]);
	EXPECT_TRUE(all_are(self->at + 99, 99, 8 * KIB));
	OK(rvm_terminate());
}

TEST_F(transaction, empty)
{
	rvm_engine_counters_t before, after;
	rvm_tid_t *tid = &self->tid;

	OK(commit_bytes(self->at, 1, 10, flush));
	OK(rvm_get_engine_counters(&before));
	for (int i = 0; i < 20; i++) {
		OK(rvm_begin_transaction(tid, i & 1 ? restore : no_restore));
		if (i & 4)
			OK(rvm_abort_transaction(tid));
		else
			OK(rvm_end_transaction(tid, i & 2 ? flush : no_flush));
	}
	OK(rvm_flush());
	OK(rvm_get_engine_counters(&after));
	if (variant->flags) {
		EXPECT_EQ(before.log_bytes, after.log_bytes);
	}
	OK(rvm_terminate());
}

/* Options count for transactions that begin after they were set. */
TEST_F(transaction, options_change)
{
	rvm_tid_t *tid = &self->tid;
	rvm_options_t options;

	rvm_init_options(&options);
	for (int i = 0; i < 12; i++) {
		OK(rvm_begin_transaction(tid, restore));
		SET(tid, self->at, 2 * i, 100);
		options.flags = i % 4;
		OK(rvm_set_options(&options));
		SET(tid, self->at + 50, 2 * i + 1, 100);
		SET(tid, self->at, 2 * i, 60);
		if (i % 3 == 2) {
			OK(rvm_abort_transaction(tid));
			EXPECT_TRUE(all_are(self->at, 2 * i - 2, 60));
			EXPECT_TRUE(all_are(self->at + 60, 2 * i - 1, 90));
		} else {
			OK(rvm_end_transaction(tid, i & 1 ? flush : no_flush));
		}
	}
	OK(rvm_truncate());
	EXPECT_TRUE(file_is(self->f.segment, 0, 20, 60));
	EXPECT_TRUE(file_is(self->f.segment, 60, 21, 90));
	OK(rvm_terminate());
}

TEST_HARNESS_MAIN
