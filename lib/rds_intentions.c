// SPDX-License-Identifier: GPL-2.0 OR MIT
/* Deferred frees: blocks that are freed once nobody can want them back. */
#include <stdlib.h>
#include <string.h>

#include "lib/rds_heap.h"

static int make_room(intentionList_t *list)
{
	unsigned long size = list->size ? 2 * list->size : STARTSIZE;
	char **table;

	if (list->table && list->count < list->size)
		return SUCCESS;
	if (!list->table) {
		list->count = 0;
		size = STARTSIZE;
	}
	table = reallocarray(list->table, size, sizeof(*table));
	if (!table)
		return RVM_ENO_MEMORY;
	list->table = table;
	list->size = size;
	return SUCCESS;
}

int rds_fake_free(char *addr, intentionList_t *list)
{
	struct rds_extent block;
	int code;

	if (!list)
		return EBAD_ARGS;
	code = rds_lock();
	if (code)
		return code;
	code = rds_check_block(addr, &block);
	if (!code)
		code = make_room(list);
	if (!code) {
		list->table[list->count++] = addr;
		RDS_LOG("rdstrace: fake_free addr %p\n", (void *)addr);
	}
	rds_unlock();
	return code;
}

static int free_all(rvm_tid_t *tid, void *context)
{
	const intentionList_t *list = context;
	int code = SUCCESS;

	for (unsigned long i = 0; !code && i < list->count; i++)
		code = rds_free_block(tid, list->table[i]);
	return code;
}

int rds_do_free(intentionList_t *list, rvm_mode_t mode)
{
	int code = SUCCESS;

	if (!list)
		return EBAD_ARGS;
	if (mode != flush && mode != no_flush)
		return RVM_EMODE;
	if (list->table)
		code = rds_change(NULL, mode, free_all, list);
	if (code)
		return code;
	free(list->table);
	memset(list, 0, sizeof(*list));
	return SUCCESS;
}
