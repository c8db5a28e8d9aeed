// SPDX-License-Identifier: GPL-2.0 OR MIT
/*
 * Description: a heap with a byte damaged, each in turn, is refused, or what meets
 * with the damage gives an error; never a crash, or a call that does not return.
 */
#include "heap.h"

#define LENGTH	(2 * PAGE)
#define BLOCKS	12

static const unsigned int sizes[BLOCKS] = { 8, 100, 0, 40, 300, 8, 8, 700, 64, 72, 1, 200 };

struct heap {
	char *blocks[BLOCKS];
	bool freed[BLOCKS];
	char *map, *data;	/* where they begin */
	char image[LENGTH];
};

/* A heap with blocks, holes, and memory that is free. */
static void make_heap(struct __test_metadata *_metadata, const struct files *f, struct heap *heap)
{
	unsigned int chunks;
	rvm_tid_t tid;

	start(f);
	MAKE(f, LENGTH);
	LOAD(f, LENGTH, NULL);
	chunks = unallocated() / CHUNK;
	heap->map = HEAP + 96;
	heap->data = HEAP + 96 + (chunks * 2 + 15) / 16 * 16;
	BEGIN(&tid);
	for (int i = 0; i < BLOCKS; i++) {
		RDS_OK(heap->blocks[i] = rds_malloc(sizes[i], &tid, &err));
		OK(rvm_set_range(&tid, heap->blocks[i], sizes[i]));
		memset(heap->blocks[i], 0x11, sizes[i]);
	}
	ASSERT_EQ(heap->data + 16, heap->blocks[0]);
	OK(rvm_end_transaction(&tid, flush));
	for (int i = 1; i < BLOCKS; i += 4) {
		RDS_OK(rds_free(heap->blocks[i], NULL, &err));
		heap->freed[i] = true;
	}
	RDS_OK(rds_stop_heap(&err));
	memcpy(heap->image, HEAP, LENGTH);
}

/* All that a program can do, in a transaction that is aborted: did anything complain? */
static bool try_all(struct __test_metadata *_metadata, const struct heap *heap)
{
	intentionList_t list = { 0 };
	bool complaint = false;
	char *own[8];
	rvm_tid_t tid;
	int err;

	BEGIN(&tid);
	rds_trace_dump_heap();
	for (int i = 0; i < BLOCKS; i++) {
		int expected = heap->freed[i] ? -1 : 0;

		if (rds_fake_free(heap->blocks[i], &list))
			complaint |= !expected;
		if (rds_free(heap->blocks[i], &tid, &err) != expected)
			complaint = true;
	}
	for (int i = 0; i < 8; i++)
		own[i] = rds_malloc(i * 30, &tid, &err);
	rds_prealloc(50, 3, &tid, &err);
	rds_malloc(rds_maxblock(1000), &tid, &err);
	for (int i = 0; i < 8; i++)
		if (own[i])
			complaint |= rds_free(own[i], &tid, &err);
	rds_malloc(3000, &tid, &err);
	OK(rvm_abort_transaction(&tid));
	rds_do_free(&list, no_flush);
	free(list.table);
	return complaint;
}

/* Is this byte one that guards a block? */
static bool guards(const struct heap *heap, const char *at)
{
	for (int i = 0; i < BLOCKS; i++) {
		const char *block = heap->blocks[i] - 16;

		if (!heap->freed[i] &&
		    ((at >= block && at < block + 16) ||
		     (at >= block + block_bytes(sizes[i]) - 8 && at < block + block_bytes(sizes[i]))))
			return true;
	}
	return false;
}

/* One byte is another one. */
static void damage(struct __test_metadata *_metadata, const struct heap *heap, char *at, char change)
{
	bool in_map = at >= heap->map && at < heap->data;
	int err;

	memcpy(HEAP, heap->image, LENGTH);
	*at ^= change;
	if (rds_start_heap(HEAP, &err)) {
		ASSERT_TRUE(at < heap->data) TH_LOG("%ld: %d", (long)(at - HEAP), err);
		ASSERT_EQ(in_map ? EBAD_LIST : EBAD_SEGMENT_HDR, err);
		return;
	}
	/* what is behind the map's end is nothing */
	ASSERT_TRUE(at >= heap->data - 14) TH_LOG("%ld", (long)(at - HEAP));
	ASSERT_EQ(guards(heap, at), try_all(_metadata, heap)) TH_LOG("%ld", (long)(at - HEAP));
	RDS_OK(rds_stop_heap(&err));
}

TEST_F(api, each_byte)
{
	struct heap heap = { 0 };
	FILE *null = fopen("/dev/null", "w");

	DECLARED_ONLY("stores that are in no transaction");
	make_heap(_metadata, &self->f, &heap);
	rds_trace_on(null);
	for (char *at = HEAP; at < HEAP + LENGTH; at += step_over(1)) {
		damage(_metadata, &heap, at, 1 << (at - HEAP) % 8);
		damage(_metadata, &heap, at, -1);
	}
	fclose(null);
}

/* Of a map's byte, and a few of the header's, every other value. */
TEST_F(api, each_value)
{
	struct heap heap = { 0 };

	DECLARED_ONLY("stores that are in no transaction");
	make_heap(_metadata, &self->f, &heap);
	for (char *at = heap.map - 8; at < heap.map + 40; at++)
		for (size_t i = 1; i < 256; i += step_over(1))
			damage(_metadata, &heap, at, i);
}

/* An entry that is another valid one. */
TEST_F(api, each_entry)
{
	static const uint16_t entries[] = { 0, 0x1b51, 0x2e62, 0x4dc4 };
	struct heap heap = { 0 };

	DECLARED_ONLY("stores that are in no transaction");
	make_heap(_metadata, &self->f, &heap);
	for (char *at = heap.map; at < heap.map + 300; at += step_over(2)) {
		for (int i = 0; i < 4; i++) {
			int err;

			memcpy(HEAP, heap.image, LENGTH);
			memcpy(at, &entries[i], 2);
			if (rds_start_heap(HEAP, &err)) {
				ASSERT_EQ(EBAD_LIST, err);
				continue;
			}
			try_all(_metadata, &heap);
			RDS_OK(rds_stop_heap(&err));
		}
	}
}

/* Damage after the start: by a stray store of the program's. */
TEST_F(api, while_in_use)
{
	struct heap heap = { 0 };
	unsigned int seed = 1;

	DECLARED_ONLY("stores that are in no transaction");
	make_heap(_metadata, &self->f, &heap);
	for (int round = 0; round < 2000; round += step_over(1)) {
		memcpy(HEAP, heap.image, LENGTH);
		RDS_OK(rds_start_heap(HEAP, &err));
		for (int i = rand_r(&seed) % 8; i >= 0; i--)
			HEAP[rand_r(&seed) % LENGTH] = rand_r(&seed) % 3 ? rand_r(&seed) : 0;
		if (round % 2)
			memset(heap.map + rand_r(&seed) % 300, rand_r(&seed), rand_r(&seed) % 100);
		try_all(_metadata, &heap);
		try_all(_metadata, &heap);
		RDS_OK(rds_stop_heap(&err));
	}
}

/* Header values that no heap can have, made to look right. */
TEST_F(api, each_header)
{
	static const uint64_t values[] = {
		0, 1, 8, 31, 32, 33, 40, PAGE, LENGTH - 1, LENGTH, LENGTH + 1, 1ul << 31, 1ul << 32,
		1ul << 62, 1ul << 63, -1ul, -8ul, -96ul, -4096ul, (uint64_t)0x566000000000,
		-0x566000000000ul,
	};
	struct heap heap = { 0 };
	int err;

	DECLARED_ONLY("stores that are in no transaction");
	make_heap(_metadata, &self->f, &heap);
	for (int word = 0; word < 6; word++) {
		for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
			memcpy(HEAP, heap.image, LENGTH);
			((uint64_t *)HEAP)[word] = values[i];
			((uint64_t *)HEAP)[word + 6] = ~values[i];
			if (rds_start_heap(HEAP, &err)) {
				if (word == 1)
					ASSERT_EQ(EHEAP_VERSION_SKEW, err);
				ASSERT_TRUE(err < 0 || err == RVM_ENOT_MAPPED) TH_LOG("%d", err);
				continue;
			}
			try_all(_metadata, &heap);
			RDS_OK(rds_stop_heap(&err));
		}
	}
}

TEST_HARNESS_MAIN
