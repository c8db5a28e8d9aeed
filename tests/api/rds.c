// SPDX-License-Identifier: GPL-2.0 OR MIT
/* Description: the recoverable heap: every call, what it gives, what aborts undo. */
#include "heap.h"

#include <pthread.h>
#include <rvm/rvm_segment.h>

#define LENGTH	(64 * KIB)

/* Old programs declare them. */
extern rvm_region_def_t *RegionDefs;
extern unsigned long NRegionDefs;
extern unsigned long rds_rvmsize;
extern char *rds_startaddr;

static void store_list(CHILD_ARGS)
{
	char **root, *node;
	rvm_tid_t tid;

	start(f);
	MAKE(f, LENGTH);
	LOAD(f, LENGTH, &root);
	ASSERT_EQ(HEAP + LENGTH, (char *)root);
	ASSERT_EQ(2, NRegionDefs);
	ASSERT_EQ(HEAP, RegionDefs[0].vmaddr);
	ASSERT_EQ(HEAP, rds_startaddr);
	ASSERT_EQ(LENGTH, rds_rvmsize);
	for (int i = 0; i < 10; i++) {
		BEGIN(&tid);
		RDS_OK(node = rds_malloc(100, &tid, &err));
		ASSERT_EQ(0, (uintptr_t)node % 16);
		OK(rvm_set_range(&tid, node, 100));
		*(char **)node = *root;
		node[8] = i;
		OK(rvm_modify_bytes(&tid, root, &node, sizeof(node)));
		OK(rvm_end_transaction(&tid, i == 9 ? flush : no_flush));
	}
	/* and one that is not committed */
	BEGIN(&tid);
	RDS_OK(rds_malloc(100, &tid, &err));
	RDS_OK(rds_free(*root, &tid, &err));
	die(_metadata);
}

static void read_list(CHILD_ARGS)
{
	char **root;
	int n = 10;

	start(f);
	LOAD(f, LENGTH, &root);
	ASSERT_EQ(10 * block_bytes(100), allocated());
	for (char *node = *root; node; node = *(char **)node)
		ASSERT_EQ(--n, node[8]);
	ASSERT_EQ(0, n);
	while (*root) {
		char *next = *(char **)*root;
		rvm_tid_t tid;

		BEGIN(&tid);
		RDS_OK(rds_free(*root, &tid, &err));
		OK(rvm_modify_bytes(&tid, root, &next, sizeof(next)));
		OK(rvm_end_transaction(&tid, no_flush));
	}
	ASSERT_EQ(0, allocated());
	RDS_OK(rds_unload_heap(&err));
	ASSERT_EQ(NULL, RegionDefs);
	LOAD(f, LENGTH, &root);
	ASSERT_EQ(0, allocated());
	RDS_OK(rds_unload_heap(&err));
	OK(rvm_terminate());
}

TEST_F(api, survives)
{
	const struct files *f = &self->f;

	CHILD_DIES(store_list);
	CHILD_OK(read_list);
}

/* Without a tid each call is a transaction, no_flush. */
static void own_transactions(CHILD_ARGS)
{
	char *kept, *freed;

	start(f);
	MAKE(f, LENGTH);
	LOAD(f, LENGTH, NULL);
	RDS_OK(kept = rds_malloc(1, NULL, &err));
	RDS_OK(freed = rds_malloc(5000, NULL, &err));
	RDS_OK(rds_free(freed, NULL, &err));
	RDS_CODE(EFREED_TWICE, rds_free(freed, NULL, &err));
	OK(rvm_flush());
	ASSERT_NE(NULL, kept);
	die(_metadata);
}

static void see_one(CHILD_ARGS)
{
	start(f);
	LOAD(f, LENGTH, NULL);
	ASSERT_EQ(CHUNK, allocated());
}

TEST_F(api, null_tid)
{
	const struct files *f = &self->f;

	CHILD_DIES(own_transactions);
	CHILD_OK(see_one);
}

/* rvm_abort_transaction says nothing to RDS. */
TEST_F(api, abort)
{
	unsigned int before, room;
	char *kept, *other;
	rvm_tid_t tid;

	start(&self->f);
	MAKE(&self->f, LENGTH);
	LOAD(&self->f, LENGTH, NULL);
	RDS_OK(kept = rds_malloc(1000, NULL, &err));
	before = allocated();
	room = unallocated();
	for (int i = 0; i < 200; i++) {
		BEGIN(&tid);
		RDS_OK(rds_malloc(10000, &tid, &err));
		RDS_OK(other = rds_malloc(i, &tid, &err));
		RDS_OK(rds_free(kept, &tid, &err));
		RDS_CODE(EFREED_TWICE, rds_free(kept, &tid, &err));
		RDS_OK(rds_free(other, &tid, &err));
		RDS_OK(rds_malloc(20000, &tid, &err));
		OK(rvm_abort_transaction(&tid));
	}
	ASSERT_EQ(before, allocated());
	RDS_OK(rds_free(kept, NULL, &err));
	/* all is one extent again */
	RDS_OK(rds_malloc(room + before - GUARDS, NULL, &err));
}

/* What two open transactions do is undone, and committed, in any order. */
TEST_F(api, side_by_side)
{
	char *a, *b, *c, *d;
	rvm_tid_t one, two;

	DECLARED_ONLY("several transactions at a time");
	start(&self->f);
	MAKE(&self->f, LENGTH);
	for (int order = 0; order < 8; order++) {
		LOAD(&self->f, LENGTH, NULL);
		RDS_OK(a = rds_malloc(100, NULL, &err));
		RDS_OK(b = rds_malloc(100, NULL, &err));
		BEGIN(&one);
		BEGIN(&two);
		RDS_OK(rds_free(a, &one, &err));
		RDS_OK(rds_malloc(40, &two, &err));
		RDS_OK(c = rds_malloc(100, &one, &err));
		RDS_OK(rds_free(b, &two, &err));
		RDS_OK(d = rds_malloc(100, &two, &err));
		/* each has its own */
		ASSERT_TRUE(d != a && d != b && c != a && c != b);
		RDS_CODE(RVM_EUNCOMMIT, rds_free(a, &two, &err));
		RDS_CODE(RVM_EUNCOMMIT, rds_free(b, &one, &err));
		RDS_CODE(RVM_EUNCOMMIT, rds_free(c, &two, &err));
		RDS_CODE(RVM_EUNCOMMIT, rds_free(d, NULL, &err));
		RDS_CODE(RVM_EUNCOMMIT, rds_stop_heap(&err));
		RDS_CODE(RVM_EUNCOMMIT, rds_unload_heap(&err));
		if (order & 1) {
			OK(order & 2 ? rvm_end_transaction(&one, flush) : rvm_abort_transaction(&one));
			OK(order & 4 ? rvm_end_transaction(&two, flush) : rvm_abort_transaction(&two));
		} else {
			OK(order & 4 ? rvm_end_transaction(&two, flush) : rvm_abort_transaction(&two));
			OK(order & 2 ? rvm_end_transaction(&one, flush) : rvm_abort_transaction(&one));
		}
		/* in memory, and in the segment */
		for (int i = 0; i < 2; i++) {
			ASSERT_EQ(2 * block_bytes(100) + (order & 4 ? block_bytes(40) : 0),
				  allocated());
			RDS_OK(rds_unload_heap(&err));
			LOAD(&self->f, LENGTH, NULL);
		}
		RDS_OK(rds_free(order & 2 ? c : a, NULL, &err));
		RDS_OK(rds_free(order & 4 ? d : b, NULL, &err));
		RDS_OK(rds_unload_heap(&err));
		MAKE(&self->f, LENGTH);
	}
}

/* A transaction has the room that it freed itself, nobody else does before it ends. */
TEST_F(api, own_room)
{
	char *all, *some[2], *pieces[LENGTH / 8 / CHUNK];
	unsigned int room;
	rvm_tid_t tid;

	DECLARED_ONLY("several transactions at a time");
	start(&self->f);
	MAKE(&self->f, LENGTH);
	LOAD(&self->f, LENGTH, NULL);
	room = unallocated();
	RDS_OK(all = rds_malloc(room - GUARDS, NULL, &err));
	for (int commit = 0; commit < 2; commit++) {
		BEGIN(&tid);
		RDS_OK(rds_free(all, &tid, &err));
		RDS_CODE(ENO_ROOM, rds_malloc(1, NULL, &err));
		for (int i = 0; i < 1000; i++) {
			RDS_OK(some[0] = rds_malloc(room / 4, &tid, &err));
			RDS_OK(some[1] = rds_malloc(room / 4, &tid, &err));
			RDS_CODE(ENO_ROOM, rds_malloc(room / 2, &tid, &err));
			RDS_CODE(RVM_EUNCOMMIT, rds_free(some[0], NULL, &err));
			if (i == 999)
				break;
			RDS_OK(rds_free(some[0], &tid, &err));
			RDS_CODE(EFREED_TWICE, rds_free(some[0], &tid, &err));
			RDS_OK(rds_free(some[1], &tid, &err));
			if (i % 100)
				continue;
			/* in pieces, which do become one again */
			for (unsigned int j = 0; j < room / 8 / CHUNK; j++)
				RDS_OK(pieces[j] = rds_malloc(8, &tid, &err));
			for (unsigned int j = 0; j < room / 8 / CHUNK; j++)
				RDS_OK(rds_free(pieces[j * 7 % (room / 8 / CHUNK)], &tid, &err));
			RDS_OK(some[0] = rds_malloc(room - GUARDS, &tid, &err));
			RDS_OK(rds_free(some[0], &tid, &err));
		}
		if (commit) {
			OK(rvm_end_transaction(&tid, flush));
			ASSERT_EQ(2 * block_bytes(room / 4), allocated());
			RDS_OK(rds_malloc(room / 4 - 100, NULL, &err));
		} else {
			OK(rvm_abort_transaction(&tid));
			ASSERT_EQ(room, allocated());
			RDS_CODE(ENO_ROOM, rds_malloc(0, NULL, &err));
		}
		RDS_OK(rds_unload_heap(&err));
		LOAD(&self->f, LENGTH, NULL);
	}
}

TEST_F(api, sizes)
{
	static const unsigned long too_big[] = {
		LENGTH, LENGTH * 2, 1ul << 32, 1ul << 37, 1ul << 62, -1ul, -24ul, -25ul, -32ul,
		-56ul, -64ul,
	};
	unsigned int room;
	char *p;

	start(&self->f);
	MAKE(&self->f, LENGTH);
	ASSERT_EQ(0, rds_maxblock(1));
	LOAD(&self->f, LENGTH, NULL);
	room = unallocated();
	for (size_t i = 0; i < sizeof(too_big) / sizeof(too_big[0]); i++) {
		RDS_CODE(ENO_ROOM, p = rds_malloc(too_big[i], NULL, &err));
		ASSERT_EQ(NULL, p);
		RDS_CODE(ENO_ROOM, rds_prealloc(too_big[i], 1, NULL, &err));
		ASSERT_EQ(0, rds_maxblock(too_big[i]));
	}
	for (unsigned long size = 0; size < 3000; size++) {
		unsigned long most = rds_maxblock(size);
		rvm_tid_t tid;

		ASSERT_EQ(block_bytes(size) - GUARDS, most);
		BEGIN(&tid);
		RDS_OK(p = rds_malloc(size, &tid, &err));
		/* all of it is the program's */
		OK(rvm_set_range(&tid, p, most));
		memset(p, 0xff, most);
		OK(rvm_end_transaction(&tid, no_flush));
		ASSERT_EQ(most + GUARDS, allocated());
		RDS_OK(rds_free(p, NULL, &err));
	}
	/* an err is not needed */
	p = rds_malloc(room - GUARDS, NULL, NULL);
	ASSERT_NE(NULL, p);
	ASSERT_EQ(0, unallocated());
	ASSERT_EQ(NULL, rds_malloc(0, NULL, NULL));
	ASSERT_EQ(SUCCESS, rds_free(p, NULL, NULL));
	ASSERT_EQ(ERVM_FAILED, rds_free(p, NULL, NULL));
	ASSERT_EQ(room, unallocated());
}

TEST_F(api, bad_frees)
{
	char *p, *next, own;
	rvm_tid_t tid;

	DECLARED_ONLY("several transactions at a time");
	start(&self->f);
	MAKE(&self->f, LENGTH);
	LOAD(&self->f, LENGTH, NULL);
	RDS_OK(p = rds_malloc(100, NULL, &err));
	RDS_OK(next = rds_malloc(100, NULL, &err));
	RDS_CODE(EBAD_ARGS, rds_free(NULL, NULL, &err));
	RDS_CODE(EBAD_ARGS, rds_free(&own, NULL, &err));
	RDS_CODE(EBAD_ARGS, rds_free(p + 1, NULL, &err));
	RDS_CODE(EBAD_ARGS, rds_free(HEAP, NULL, &err));
	RDS_CODE(EBAD_ARGS, rds_free(HEAP + LENGTH + 16, NULL, &err));
	RDS_CODE(ECORRUPT, rds_free(p + CHUNK, NULL, &err));
	/* overrun, and underrun of the next */
	BEGIN(&tid);
	OK(rvm_set_range(&tid, p, 136));
	memset(p, 0, 105);
	RDS_CODE(ECORRUPT, rds_free(p, NULL, &err));
	RDS_OK(rds_free(next, &tid, &err));
	OK(rvm_abort_transaction(&tid));
	BEGIN(&tid);
	OK(rvm_set_range(&tid, next - 1, 1));
	next[-1]++;
	RDS_CODE(ECORRUPT, rds_free(next, &tid, &err));
	OK(rvm_abort_transaction(&tid));
	/* a copy of a block, guards and all, is none */
	BEGIN(&tid);
	OK(rvm_modify_bytes(&tid, p + 4 * CHUNK + CHUNK - 16, next - 16, 16));
	RDS_CODE(ECORRUPT, rds_free(p + 5 * CHUNK, &tid, &err));
	OK(rvm_abort_transaction(&tid));
	RDS_OK(rds_free(p, NULL, &err));
	RDS_OK(rds_free(next, NULL, &err));
	RDS_CODE(EFREED_TWICE, rds_free(next, NULL, &err));
	ASSERT_EQ(0, allocated());
	/* tids that are none */
	rvm_init_tid(&tid);
	RDS_CODE(RVM_ETID, rds_malloc(1, &tid, &err));
	RDS_CODE(RVM_ETID, rds_prealloc(1, 1, &tid, &err));
	BEGIN(&tid);
	OK(rvm_end_transaction(&tid, flush));
	RDS_CODE(RVM_ETID, rds_malloc(1, &tid, &err));
	tid.struct_id = 0;
	RDS_CODE(RVM_ETID, rds_free(p, &tid, &err));
}

TEST_F(api, arguments)
{
	static const struct {
		int code;
		unsigned long heap, lists, chunk;
		char *at;
	} cases[] = {
		{ EBAD_ARGS, LENGTH, 0, CHUNK, HEAP }, { EBAD_ARGS, LENGTH, 1, 0, HEAP },
		{ EBAD_ARGS, LENGTH, 1, 24, HEAP }, { EBAD_ARGS, LENGTH, 1, 36, HEAP },
		{ EBAD_ARGS, LENGTH, 1, LENGTH, HEAP }, { EBAD_ARGS, LENGTH, 1, -8ul, HEAP },
		{ EBAD_ARGS, 0, 1, CHUNK, HEAP }, { EBAD_ARGS, 100, 1, CHUNK, HEAP },
		{ EBAD_ARGS, LENGTH, 1, CHUNK, NULL }, { EBAD_ARGS, -PAGE, 1, CHUNK, HEAP },
		{ EBAD_ARGS, 1ul << 40, 1, CHUNK, HEAP }, { EBAD_ARGS, LENGTH, 1, CHUNK, HEAP + 8 },
		{ RVM_EREGION_DEF, LENGTH - 16, 1, CHUNK, HEAP },
		{ RVM_EREGION_DEF, LENGTH, 1, CHUNK, HEAP + 16 },
		{ RVM_EOFFSET, 1024 * KIB, 1, CHUNK, HEAP },
	};
	rvm_offset_t length = HEAP_LENGTH(LENGTH);
	char *name = self->f.segment;
	struct stat st;
	char path[300];

	start(&self->f);
	RDS_CODE(EHEAP_INIT, rds_malloc(1, NULL, &err));
	RDS_CODE(EHEAP_INIT, rds_free(HEAP, NULL, &err));
	RDS_CODE(EHEAP_INIT, rds_stop_heap(&err));
	RDS_CODE(EHEAP_INIT, rds_unload_heap(&err));
	RDS_CODE(EHEAP_INIT, rds_clear_stats(&err));
	RDS_CODE(EHEAP_INIT, rds_prealloc(1, 1, NULL, &err));
	ASSERT_EQ(EHEAP_INIT, rds_print_stats());
	ASSERT_EQ(EHEAP_INIT, rds_trace_dump_heap());
	ASSERT_EQ(EBAD_ARGS, rds_get_stats(NULL));
	ASSERT_TRUE(make_file(name, 0, 0));
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		RDS_CODE(cases[i].code,
			 rds_zap_heap(name, length, cases[i].at, STATIC, cases[i].heap,
				      cases[i].lists, cases[i].chunk, &err));
		ASSERT_EQ(0, stat(name, &st));
		ASSERT_EQ(0, st.st_size);
	}
	RDS_CODE(RVM_EREGION_DEF,
		 rds_zap_heap(name, length, HEAP, 0, LENGTH, LISTS, CHUNK, &err));
	RDS_CODE(EBAD_ARGS, rds_zap_heap(NULL, length, HEAP, STATIC, LENGTH, LISTS, CHUNK, &err));
	RDS_CODE(EBAD_ARGS, rds_load_heap(NULL, length, NULL, &err));
	snprintf(path, sizeof(path), "%s/none", self->f.dir);
	EIO_ERRNO(ENOENT, (rds_zap_heap(path, length, HEAP, STATIC, LENGTH, LISTS, CHUNK,
					&(int){ 0 }), RVM_EIO));
	RDS_CODE(RVM_EIO, rds_load_heap(path, length, NULL, &err));
	/* no heap in it */
	ASSERT_TRUE(make_file(name, length.low, 0));
	RDS_CODE(RVM_ESEGMENT_HDR, rds_load_heap(name, length, NULL, &err));
	RDS_CODE(EBAD_ARGS, rds_start_heap(NULL, &err));
	RDS_CODE(EBAD_ARGS, rds_start_heap(HEAP + 8, &err));
	RDS_CODE(RVM_ENOT_MAPPED, rds_start_heap(HEAP, &err));
	MAKE(&self->f, LENGTH);
	LOAD(&self->f, LENGTH, NULL);
	RDS_CODE(EHEAP_INIT, rds_load_heap(name, length, NULL, &err));
	RDS_CODE(EHEAP_INIT, rds_start_heap(HEAP, &err));
	RDS_CODE(EHEAP_INIT, rds_init_heap(HEAP, LENGTH, CHUNK, LISTS, NULL, &err));
	RDS_CODE(EHEAP_INIT, rds_init_heap(HEAP + LENGTH - PAGE, PAGE, CHUNK, LISTS, NULL, &err));
	/* what is in use is not made anew */
	RDS_CODE(RVM_EIO, rds_zap_heap(name, length, HEAP, STATIC, LENGTH, LISTS, CHUNK, &err));
	ASSERT_EQ(EBUSY, errno);
	RDS_CODE(EBAD_ARGS, rds_prealloc(1, 0, NULL, &err));
	RDS_OK(rds_unload_heap(&err));
}

/* Any chunk size, one list or too many. */
TEST_F(api, dimensions)
{
	static const unsigned long chunks[] = { 32, 40, 48, 64, 1000, 4096 };
	static const unsigned long lists[] = { 1, 2, 8, 100, 4096, 1000000, -1ul };

	start(&self->f);
	for (size_t i = 0; i < sizeof(chunks) / sizeof(chunks[0]); i++) {
		for (size_t j = 0; j < sizeof(lists) / sizeof(lists[0]); j++) {
			char *blocks[64];
			unsigned int room, n;

			ASSERT_TRUE(make_file(self->f.segment, 0, 0));
			RDS_OK(rds_zap_heap(self->f.segment, HEAP_LENGTH(LENGTH), HEAP, PAGE,
					    LENGTH, lists[j], chunks[i], &err));
			LOAD(&self->f, LENGTH, NULL);
			room = unallocated();
			ASSERT_EQ(0, room % chunks[i]);
			ASSERT_LE(LENGTH - LENGTH / chunks[i] * 2 - 200 - chunks[i], room);
			for (n = 0; n < 64; n++) {
				blocks[n] = rds_malloc(n * 40, NULL, NULL);
				if (!blocks[n])
					break;
				ASSERT_EQ(0, (uintptr_t)blocks[n] % (chunks[i] % 16 ? 8 : 16));
			}
			for (unsigned int k = 0; k < n; k++)
				RDS_OK(rds_free(blocks[k], NULL, &err));
			ASSERT_EQ(room, unallocated());
			RDS_OK(rds_malloc(room - GUARDS, NULL, &err));
			RDS_OK(rds_unload_heap(&err));
		}
	}
}

/* A heap in memory that the program mapped, made in a transaction of the program's. */
TEST_F(api, init_and_start)
{
	rvm_region_t region = region_of(self->f.segment, 0, 0);
	rvm_tid_t tid;
	char *p;

	start(&self->f);
	/* what was there must not look like blocks */
	ASSERT_TRUE(make_file(self->f.segment, 64 * KIB, 0x77));
	region.vmaddr = HEAP;
	OK(rvm_map(&region, NULL));
	RDS_CODE(EBAD_SEGMENT_HDR, rds_start_heap(HEAP, &err));
	BEGIN(&tid);
	RDS_OK(rds_init_heap(HEAP + 48, 32 * KIB, CHUNK, LISTS, &tid, &err));
	RDS_CODE(RVM_EUNCOMMIT, rds_start_heap(HEAP + 48, &err));
	OK(rvm_abort_transaction(&tid));
	ASSERT_TRUE(all_are(HEAP, 0x77, 64 * KIB));
	RDS_CODE(EBAD_SEGMENT_HDR, rds_start_heap(HEAP + 48, &err));
	RDS_CODE(EBAD_ARGS, rds_init_heap(HEAP + 8, 32 * KIB, CHUNK, LISTS, NULL, &err));
	RDS_CODE(RVM_ENOT_MAPPED, rds_init_heap(HEAP, 128 * KIB, CHUNK, LISTS, NULL, &err));
	RDS_CODE(RVM_ETID, rds_init_heap(HEAP, 32 * KIB, CHUNK, LISTS, &tid, &err));

	BEGIN(&tid);
	RDS_OK(rds_init_heap(HEAP + 48, 32 * KIB, CHUNK, LISTS, &tid, &err));
	OK(rvm_end_transaction(&tid, flush));
	RDS_OK(rds_start_heap(HEAP + 48, &err));
	RDS_OK(p = rds_malloc(100, NULL, &err));
	ASSERT_TRUE(all_are(HEAP + 48 + 32 * KIB, 0x77, 32 * KIB - 48));
	RDS_OK(rds_stop_heap(&err));
	RDS_CODE(EHEAP_INIT, rds_free(p, NULL, &err));
	RDS_CODE(EBAD_SEGMENT_HDR, rds_start_heap(HEAP, &err));
	RDS_OK(rds_start_heap(HEAP + 48, &err));
	RDS_OK(rds_free(p, NULL, &err));
	RDS_OK(rds_stop_heap(&err));
	/* once more, over it, without a transaction */
	RDS_OK(rds_init_heap(HEAP, 64 * KIB, 64, 1, NULL, &err));
	RDS_OK(rds_start_heap(HEAP, &err));
	ASSERT_EQ(0, allocated());
	RDS_OK(rds_stop_heap(&err));
	OK(rvm_unmap(&region));
	/* elsewhere it is no heap */
	region.vmaddr = HEAP + 64 * KIB;
	OK(rvm_map(&region, NULL));
	RDS_CODE(EBAD_SEGMENT_HDR, rds_start_heap(HEAP + 64 * KIB, &err));
}

/* A second heap over an old one, and its static area. */
TEST_F(api, zap_again)
{
	char *root, *p;

	start(&self->f);
	MAKE(&self->f, LENGTH);
	LOAD(&self->f, LENGTH, &root);
	OK(commit_bytes(root, 9, STATIC, flush));
	for (int i = 0; i < 100; i++)
		RDS_OK(p = rds_malloc(i, NULL, &err));
	ASSERT_NE(NULL, p);
	RDS_OK(rds_unload_heap(&err));
	RDS_OK(rds_zap_heap(self->f.segment, HEAP_LENGTH(LENGTH), HEAP, STATIC, LENGTH, 1, 48,
			    &err));
	LOAD(&self->f, LENGTH, &root);
	ASSERT_EQ(0, allocated());
	ASSERT_TRUE(all_are(root, 0, STATIC));
}

TEST_F(api, intentions)
{
	intentionList_t list = { 0 };
	char *blocks[300];
	rvm_tid_t tid;

	start(&self->f);
	MAKE(&self->f, LENGTH);
	LOAD(&self->f, LENGTH, NULL);
	for (int i = 0; i < 300; i++)
		RDS_OK(blocks[i] = rds_malloc(8, NULL, &err));
	ASSERT_EQ(EBAD_ARGS, rds_fake_free(blocks[0], NULL));
	ASSERT_EQ(EBAD_ARGS, rds_fake_free(NULL, &list));
	ASSERT_EQ(NULL, list.table);
	ASSERT_EQ(SUCCESS, rds_do_free(&list, flush));
	ASSERT_EQ(EBAD_ARGS, rds_do_free(NULL, flush));
	for (int i = 0; i < 299; i++)
		ASSERT_EQ(SUCCESS, rds_fake_free(blocks[i], &list));
	ASSERT_EQ(299, list.count);
	ASSERT_EQ(4 * STARTSIZE, list.size);
	ASSERT_EQ(300 * CHUNK, allocated());
	ASSERT_EQ(RVM_EMODE, rds_do_free(&list, restore));
	/* all or nothing */
	ASSERT_EQ(SUCCESS, rds_fake_free(blocks[7], &list));
	ASSERT_EQ(EFREED_TWICE, rds_do_free(&list, flush));
	ASSERT_EQ(300 * CHUNK, allocated());
	ASSERT_EQ(300, list.count);
	list.count--;
	BEGIN(&tid);
	RDS_OK(rds_free(blocks[5], &tid, &err));
	ASSERT_EQ(RVM_EUNCOMMIT, rds_do_free(&list, no_flush));
	OK(rvm_abort_transaction(&tid));
	ASSERT_EQ(SUCCESS, rds_do_free(&list, no_flush));
	ASSERT_EQ(NULL, list.table);
	ASSERT_EQ(0, list.count);
	ASSERT_EQ(CHUNK, allocated());
	ASSERT_EQ(EFREED_TWICE, rds_fake_free(blocks[7], &list));
	RDS_OK(rds_free(blocks[299], NULL, &err));
}

TEST_F(api, statistics)
{
	rds_stats_t s;
	char *a, *b;

	start(&self->f);
	MAKE(&self->f, LENGTH);
	LOAD(&self->f, LENGTH, NULL);
	ASSERT_EQ(SUCCESS, rds_get_stats(&s));
	ASSERT_EQ(0, s.malloc | s.free | s.hits | s.misses | s.merged | s.unmerged | s.mallocbytes);
	ASSERT_EQ(1, s.large_list);
	RDS_OK(a = rds_malloc(100, NULL, &err));	/* 4 chunks, cut */
	RDS_OK(b = rds_malloc(2000, NULL, &err));	/* large, cut */
	RDS_OK(rds_free(a, NULL, &err));		/* unmerged, when it is looked at */
	RDS_OK(a = rds_malloc(90, NULL, &err));		/* a hit */
	RDS_OK(rds_free(b, NULL, &err));		/* merged with what follows */
	ASSERT_EQ(SUCCESS, rds_get_stats(&s));
	ASSERT_EQ(3, s.malloc);
	ASSERT_EQ(2, s.free);
	ASSERT_EQ(1, s.hits);
	ASSERT_EQ(1, s.misses);
	ASSERT_EQ(0, s.large_hits);
	ASSERT_EQ(1, s.large_misses);
	ASSERT_EQ(1, s.merged);
	ASSERT_EQ(1, s.unmerged);
	ASSERT_EQ(1, s.large_list);
	ASSERT_EQ(4 * CHUNK, s.mallocbytes);
	RDS_OK(rds_prealloc(90, 10, NULL, &err));
	RDS_OK(rds_clear_stats(&err));
	RDS_OK(b = rds_malloc(90, NULL, &err));
	ASSERT_EQ(SUCCESS, rds_get_stats(&s));
	ASSERT_EQ(1, s.malloc);
	ASSERT_EQ(1, s.hits);
	ASSERT_EQ(0, s.misses);
	ASSERT_EQ(8 * CHUNK, s.mallocbytes);
	/* the other nine don't stand in the way of a long one */
	RDS_CODE(ENO_ROOM, rds_malloc(s.freebytes, NULL, &err));
	RDS_OK(rds_malloc(s.freebytes - GUARDS, NULL, &err));
	ASSERT_EQ(SUCCESS, rds_get_stats(&s));
	ASSERT_EQ(1, s.coalesce);
	ASSERT_EQ(0, s.freebytes);
	ASSERT_EQ(SUCCESS, rds_print_stats());
}

TEST_F(api, prealloc)
{
	unsigned int room;
	rds_stats_t s;
	rvm_tid_t tid;

	start(&self->f);
	MAKE(&self->f, LENGTH);
	LOAD(&self->f, LENGTH, NULL);
	room = unallocated();
	RDS_OK(rds_prealloc(100, room / block_bytes(100), NULL, &err));
	RDS_CODE(ENO_ROOM, rds_prealloc(100, room / block_bytes(100) + 1, NULL, &err));
	RDS_CODE(ENO_ROOM, rds_prealloc(100, -1ul, NULL, &err));
	ASSERT_EQ(room, unallocated());
	BEGIN(&tid);
	for (unsigned int i = 0; i < room / block_bytes(100); i++)
		RDS_OK(rds_malloc(100, &tid, &err));
	ASSERT_EQ(SUCCESS, rds_get_stats(&s));
	ASSERT_EQ(room / block_bytes(100), s.hits);
	ASSERT_EQ(0, s.misses);
	OK(rvm_abort_transaction(&tid));
	RDS_OK(rds_prealloc(1, 5, NULL, &err));
	RDS_OK(rds_malloc(room - GUARDS, NULL, &err));
}

TEST_F(api, tracing)
{
	char *text = NULL, *p;
	size_t length;
	FILE *file = open_memstream(&text, &length);

	start(&self->f);
	MAKE(&self->f, LENGTH);
	LOAD(&self->f, LENGTH, NULL);
	ASSERT_EQ(EBAD_ARGS, rds_trace_on(NULL));
	ASSERT_EQ(EBAD_ARGS, rds_trace_dump_heap());
	RDS_LOG("not this\n");
	ASSERT_EQ(SUCCESS, rds_trace_on(file));
	RDS_OK(p = rds_malloc(100, NULL, &err));
	RDS_LOG("rdstrace: %d\n", 4711);
	ASSERT_EQ(SUCCESS, rds_trace_dump_heap());
	RDS_OK(rds_free(p, NULL, &err));
	ASSERT_EQ(SUCCESS, rds_trace_off());
	RDS_OK(rds_malloc(100, NULL, &err));
	fclose(file);
	TH_LOG("%s", text);
	ASSERT_EQ(1, rds_tracing == 0);
	ASSERT_NE(NULL, strstr(text, "rdstrace: malloc addr"));
	ASSERT_NE(NULL, strstr(text, "rdstrace: 4711\n"));
	ASSERT_NE(NULL, strstr(text, "rdstrace: allocated addr"));
	ASSERT_NE(NULL, strstr(text, "rdstrace: unallocated addr"));
	ASSERT_NE(NULL, strstr(text, "rdstrace: free addr"));
	ASSERT_EQ(NULL, strstr(text, "not this"));
	free(text);
}

static const char *mode;

/* Under check an undeclared store would be counted; under the others only found ones count. */
static void tracked(CHILD_ARGS)
{
	rvm_engine_counters_t counters;
	char *blocks[20];
	rvm_tid_t tid;

	ASSERT_EQ(0, setenv("RVM_TRACKING", mode, 1));
	start(f);
	MAKE(f, LENGTH);
	LOAD(f, LENGTH, NULL);
	for (int i = 0; i < 20; i++)
		RDS_OK(blocks[i] = rds_malloc(i * 100, NULL, &err));
	BEGIN(&tid);
	if (strcmp(mode, "check"))
		RDS_CODE(RVM_EUNCOMMIT, rds_malloc(1, NULL, &err));
	for (int i = 0; i < 20; i += 3)
		RDS_OK(rds_free(blocks[i], &tid, &err));
	RDS_OK(rds_malloc(3000, &tid, &err));
	OK(rvm_abort_transaction(&tid));
	for (int i = 0; i < 20; i += 2)
		RDS_OK(rds_free(blocks[i], NULL, &err));
	RDS_OK(rds_prealloc(100, 3, NULL, &err));
	OK(rvm_flush());
	OK(rvm_get_engine_counters(&counters));
	ASSERT_EQ(0, counters.undeclared);
	die(_metadata);
}

static void odd_ones_are_left(CHILD_ARGS)
{
	unsigned int sum = 0;

	start(f);
	LOAD(f, LENGTH, NULL);
	for (int i = 1; i < 20; i += 2)
		sum += block_bytes(i * 100);
	ASSERT_EQ(sum, allocated());
}

TEST_F(api, tracking)
{
	const struct files *f = &self->f;

	unsetenv("RVM_TRACKING");
	mode = "check";
	CHILD_DIES(tracked);
	CHILD_OK(odd_ones_are_left);
	mode = "diff";
	CHILD_DIES(tracked);
	CHILD_OK(odd_ones_are_left);
	mode = "pages";
	CHILD_DIES(tracked);
	CHILD_OK(odd_ones_are_left);
}

/* A log that is too small for the transaction. */
TEST_F(api, too_big)
{
	rvm_tid_t tid;
	int err = 0;

	OK(start_with(&self->f, 64 * KIB, 0));
	ASSERT_TRUE(make_file(self->f.segment, 0, 0));
	RDS_OK(rds_zap_heap(self->f.segment, HEAP_LENGTH(4 * MIB), HEAP, STATIC, 4 * MIB, LISTS,
			    CHUNK, &err));
	LOAD(&self->f, 4 * MIB, NULL);
	BEGIN(&tid);
	while (!err)
		rds_malloc(1, &tid, &err);
	/* an engine may say so at once */
	ASSERT_TRUE(err == ENO_ROOM || err == RVM_ETOO_BIG);
	if (err == ENO_ROOM)
		CODE(RVM_ETOO_BIG, rvm_end_transaction(&tid, flush));
	OK(rvm_abort_transaction(&tid));
	ASSERT_EQ(0, allocated());
	/* heaps that were full are made anew all the same */
	for (int i = 0; i < 1000; i++)
		RDS_OK(rds_malloc(1, NULL, &err));
	RDS_OK(rds_unload_heap(&err));
	RDS_OK(rds_zap_heap(self->f.segment, HEAP_LENGTH(4 * MIB), HEAP, STATIC, 4 * MIB, LISTS,
			    CHUNK, &err));
}

static void in_use(CHILD_ARGS)
{
	start(f);
	errno = 0;
	RDS_CODE(RVM_EIO, rds_load_heap((char *)f->segment, HEAP_LENGTH(LENGTH), NULL, &err));
	ASSERT_EQ(EBUSY, errno);
	RDS_CODE(RVM_EIO, rds_zap_heap((char *)f->segment, HEAP_LENGTH(LENGTH), HEAP, STATIC, LENGTH,
				       LISTS, CHUNK, &err));
	ASSERT_EQ(EBUSY, errno);
}

static void not_in_child(CHILD_ARGS)
{
	RDS_CODE(RVM_EINIT, rds_malloc(1, NULL, &err));
	RDS_CODE(RVM_EINIT, rds_free(HEAP, NULL, &err));
	ASSERT_EQ(RVM_EINIT, rds_get_stats(&(rds_stats_t){ 0 }));
}

/* Processes: with the user engine the second one has no log, either. */
TEST_F(api, one_process)
{
	const struct files *f = &self->f;
	int ready[2], go[2], status;
	char byte = 0;
	pid_t pid;

	ASSERT_EQ(0, pipe(ready));
	ASSERT_EQ(0, pipe(go));
	pid = fork();
	if (!pid) {
		start(f);
		MAKE(f, LENGTH);
		LOAD(f, LENGTH, NULL);
		CHILD_OK(not_in_child);
		ASSERT_EQ(1, write(ready[1], &byte, 1));
		close(go[1]);
		ASSERT_LE(0, read(go[0], &byte, 1));
		_exit(!_metadata->passed);
	}
	close(ready[1]);
	ASSERT_EQ(1, read(ready[0], &byte, 1));
	if (!strcmp(getenv("RVM_ENGINE") ?: "user", "kernel"))
		CHILD_OK(in_use);
	close(go[1]);
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	ASSERT_EQ(0, status);
}

TEST_F(api, not_initialized)
{
	RDS_CODE(RVM_EINIT, rds_malloc(1, NULL, &err));
	RDS_CODE(RVM_EINIT, rds_zap_heap(self->f.segment, HEAP_LENGTH(LENGTH), HEAP, STATIC, LENGTH,
					 LISTS, CHUNK, &err));
	RDS_CODE(RVM_EINIT, rds_load_heap(self->f.segment, HEAP_LENGTH(LENGTH), NULL, &err));
	RDS_CODE(RVM_EINIT, rds_init_heap(HEAP, LENGTH, CHUNK, LISTS, NULL, &err));
}

/* Threads whose transactions overlap in time, some aborted. */

#define THREADS	4

struct work {
	pthread_t thread;
	unsigned int seed;
	unsigned int rounds;
	unsigned long kept;
	const char *failed;
};

#define TRY(call) do {							\
	if (call) {							\
		work->failed = #call;					\
		return NULL;						\
	}								\
} while (0)

static void *allocate_and_free(void *context)
{
	struct work *work = context;
	char *blocks[50] = { NULL };
	unsigned long sizes[50];
	int err;

	for (unsigned int round = 0; round < work->rounds; round++) {
		char *before[50];
		rvm_tid_t tid;
		bool abort = rand_r(&work->seed) % 3 == 0;

		memcpy(before, blocks, sizeof(blocks));
		rvm_init_tid(&tid);
		TRY(rvm_begin_transaction(&tid, restore));
		for (int n = rand_r(&work->seed) % 10; n; n--) {
			int i = rand_r(&work->seed) % 50;

			if (before[i] != blocks[i])
				continue;
			if (blocks[i]) {
				TRY(*blocks[i] != i);
				TRY(rds_free(blocks[i], &tid, &err));
				blocks[i] = NULL;
			} else {
				sizes[i] = rand_r(&work->seed) % 1000 + 1;
				blocks[i] = rds_malloc(sizes[i], &tid, &err);
				TRY(!blocks[i]);
				TRY(rvm_set_range(&tid, blocks[i], sizes[i]));
				memset(blocks[i], i, sizes[i]);
			}
		}
		if (abort) {
			TRY(rvm_abort_transaction(&tid));
			memcpy(blocks, before, sizeof(blocks));
		} else {
			TRY(rvm_end_transaction(&tid, round % 8 ? no_flush : flush));
		}
		for (int i = 0; i < 50; i++)
			TRY(abort && blocks[i] && *blocks[i] != i);
		TRY(!rds_malloc(10, NULL, &err));
		work->kept += block_bytes(10);
	}
	for (int i = 0; i < 50; i++)
		if (blocks[i])
			TRY(rds_free(blocks[i], NULL, &err));
	return NULL;
}

TEST_F(api, threads)
{
	struct work work[THREADS] = { 0 };
	unsigned long kept = 0;

	start(&self->f);
	MAKE(&self->f, MIB);
	LOAD(&self->f, MIB, NULL);
	for (int i = 0; i < THREADS; i++) {
		work[i].seed = i;
		work[i].rounds = 200;
		ASSERT_EQ(0, pthread_create(&work[i].thread, NULL, allocate_and_free, &work[i]));
	}
	for (int i = 0; i < THREADS; i++) {
		ASSERT_EQ(0, pthread_join(work[i].thread, NULL));
		ASSERT_EQ(NULL, work[i].failed) TH_LOG("%s", work[i].failed);
		kept += work[i].kept;
	}
	ASSERT_EQ(kept, allocated());
	RDS_OK(rds_unload_heap(&err));
	LOAD(&self->f, MIB, NULL);
	ASSERT_EQ(kept, allocated());
}

TEST_HARNESS_MAIN
