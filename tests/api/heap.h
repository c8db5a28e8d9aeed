/* SPDX-License-Identifier: GPL-2.0 OR MIT */
/* What the tests of the recoverable heap share. */
#ifndef RVM_TESTS_HEAP_H
#define RVM_TESTS_HEAP_H

#include "api.h"

#include <rvm/rds.h>

/* Where neither the kernel nor a sanitizer maps anything by itself. */
#define HEAP	((char *)0x566000000000)
#define STATIC	(64 * KIB)
#define LISTS	20
#define CHUNK	32ul
#define GUARDS	24ul			/* bytes of a block that are not the program's */

#define HEAP_LENGTH(heap)	RVM_LENGTH_TO_OFFSET(PAGE + (heap) + STATIC)

#define RDS_CODE(expected, call) do {					\
	int err = 1;							\
	(void)(call);							\
	ASSERT_EQ((expected), err) TH_LOG("%s, errno %d", #call, errno);	\
} while (0)
#define RDS_OK(call)	RDS_CODE(SUCCESS, call)

#define MAKE(f, length) do {						\
	ASSERT_TRUE(make_file((f)->segment, 0, 0));			\
	RDS_OK(rds_zap_heap((char *)(f)->segment, HEAP_LENGTH(length), HEAP, STATIC, length, \
			    LISTS, CHUNK, &err));			\
} while (0)

#define LOAD(f, length, root)						\
	RDS_OK(rds_load_heap((char *)(f)->segment, HEAP_LENGTH(length), (char **)(root), &err))

#define BEGIN(tid) do {							\
	rvm_init_tid(tid);						\
	OK(rvm_begin_transaction(tid, restore));			\
} while (0)

static unsigned long UNUSED block_bytes(unsigned long size)
{
	return (size + GUARDS + CHUNK - 1) / CHUNK * CHUNK;
}

static unsigned int UNUSED allocated(void)
{
	rds_stats_t stats;

	return rds_get_stats(&stats) ? 0 : stats.mallocbytes;
}

static unsigned int UNUSED unallocated(void)
{
	rds_stats_t stats;

	return rds_get_stats(&stats) ? 0 : stats.freebytes;
}

#endif
