// SPDX-License-Identifier: GPL-2.0 OR MIT
/* What the heap's calls counted. */
#include <limits.h>
#include <string.h>

#include "lib/rds_heap.h"

static unsigned int bytes(uint64_t chunks)
{
	uint64_t n = chunks * rds_heap.layout.chunk_size;

	return n < UINT_MAX ? n : UINT_MAX;
}

int rds_get_stats(rds_stats_t *stats)
{
	int code;

	if (!stats)
		return EBAD_ARGS;
	code = rds_lock();
	if (code)
		return code;
	*stats = rds_heap.stats;
	stats->large_list = rds_heap.index.large;
	stats->mallocbytes = bytes(rds_heap.used);
	stats->freebytes = bytes(rds_heap.layout.chunks - rds_heap.used);
	rds_unlock();
	return SUCCESS;
}

int rds_clear_stats(int *err)
{
	int code = rds_lock();

	if (!code) {
		memset(&rds_heap.stats, 0, sizeof(rds_heap.stats));
		rds_unlock();
	}
	return rds_result(err, code);
}

int rds_print_stats(void)
{
	rds_stats_t s;
	int code = rds_get_stats(&s);

	if (code)
		return code;
	printf("blocks: %u allocated, %u preallocated, %u freed\n"
	       "requests: %u found their size, %u cut; large ones %u and %u\n"
	       "free extents: %u merged, %u not, %u large now; preallocated ones joined %u times\n"
	       "bytes: %u free, %u allocated\n",
	       s.malloc, s.prealloc, s.free, s.hits, s.misses, s.large_hits, s.large_misses,
	       s.merged, s.unmerged, s.large_list, s.coalesce, s.freebytes, s.mallocbytes);
	return SUCCESS;
}
