// SPDX-License-Identifier: GPL-2.0 OR MIT
/* What the heap's calls do, line by line. */
#include "lib/rds_heap.h"

/* Changed with the heap's lock held. */
int rds_tracing;
FILE *rds_tracing_file;

int rds_trace_on(FILE *file)
{
	if (!file)
		return EBAD_ARGS;
	pthread_mutex_lock(&rds_heap.lock);
	rds_tracing_file = file;
	rds_tracing = TRUE;
	RDS_LOG("rdstrace: on\n");
	pthread_mutex_unlock(&rds_heap.lock);
	return SUCCESS;
}

int rds_trace_off(void)
{
	pthread_mutex_lock(&rds_heap.lock);
	RDS_LOG("rdstrace: off\n");
	rds_tracing = FALSE;
	pthread_mutex_unlock(&rds_heap.lock);
	return SUCCESS;
}

static void line(const char *what, uint32_t first, uint32_t length)
{
	RDS_LOG("rdstrace: %s addr %p size %lu\n", what,
		(void *)rds_image_block(&rds_heap.layout, first)->data,
		(unsigned long)(length * rds_heap.layout.chunk_size));
}

static int dump(void)
{
	uint32_t at = 0, end = rds_heap.layout.chunks;
	struct rds_extent block;
	int found;

	while (at < end) {
		found = rds_image_next(rds_heap.image->map, at, end, &block);
		if (found < 0)
			return ECORRUPT;
		if (!found)
			block.first = end;
		if (block.first > at)
			line("unallocated", at, block.first - at);
		if (!found)
			break;
		line("allocated", block.first, block.length);
		at = block.first + block.length;
	}
	return SUCCESS;
}

int rds_trace_dump_heap(void)
{
	int code = rds_lock();

	if (code)
		return code;
	code = rds_tracing ? dump() : EBAD_ARGS;
	rds_unlock();
	return code;
}
