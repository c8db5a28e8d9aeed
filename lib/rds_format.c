// SPDX-License-Identifier: GPL-2.0 OR MIT
/* Making a heap. */
#include <string.h>

#include "lib/rds_heap.h"

#define PIECE	4096u		/* bytes cleared in a transaction: fits any log */

static const char zeros[PIECE];

/* Change bytes in that transaction, or with NULL in one of their own. */
static rvm_return_t modify(rvm_tid_t *tid, char *to, const void *from, size_t length)
{
	rvm_return_t code;
	rvm_tid_t own;

	if (!memcmp(to, from, length))
		return RVM_SUCCESS;
	if (tid)
		return rvm_modify_bytes(tid, to, from, length);
	rvm_init_tid(&own);
	code = rvm_begin_transaction(&own, restore);
	if (code)
		return code;
	code = rvm_modify_bytes(&own, to, from, length);
	if (!code)
		code = rvm_end_transaction(&own, no_flush);
	if (code)
		rvm_abort_transaction(&own);
	return code;
}

int rds_zero(rvm_tid_t *tid, char *start, const char *end)
{
	rvm_return_t code = RVM_SUCCESS;
	size_t length;

	for (; !code && start < end; start += length) {
		length = (size_t)(end - start) < PIECE ? (size_t)(end - start) : PIECE;
		code = modify(tid, start, zeros, length);
	}
	return code;
}

/* Is it all mapped, and nothing of the heap that is started? */
static int check(char *base, rvm_length_t length)
{
	bool open, in_use;

	pthread_mutex_lock(&rds_heap.lock);
	in_use = rds_heap.image && (char *)rds_heap.image < base + length &&
		 base < (char *)rds_image_block(&rds_heap.layout, rds_heap.layout.chunks);
	pthread_mutex_unlock(&rds_heap.lock);
	return in_use ? EHEAP_INIT : rds_mapped(base, length, &open);
}

int rds_init_heap(char *base, rvm_length_t length, unsigned long chunkSize,
		  unsigned long nlists, rvm_tid_t *tid, int *err)
{
	struct rds_image *image = (struct rds_image *)base, described;
	struct rds_layout layout;
	int code = rvm_check_tid(tid);

	/* without one it is RVM_ETID, or RVM_EINIT */
	if (code && (tid || code != RVM_ETID))
		return rds_result(err, code);
	rds_image_describe(&described, base, length, chunkSize, nlists);
	if (!rds_image_layout(&described.header, &layout))
		return rds_result(err, EBAD_ARGS);
	code = check(base, length);
	/* while the map is cleared there is no heap */
	if (!code)
		code = modify(tid, base, zeros, sizeof(*image));
	if (!code)
		code = rds_zero(tid, (char *)image->map, rds_image_end_of_map(image, &layout));
	if (!code)
		code = modify(tid, base, &described, sizeof(described));
	return rds_result(err, code);
}
