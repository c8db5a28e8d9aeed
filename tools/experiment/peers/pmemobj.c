// SPDX-License-Identifier: GPL-2.0 OR MIT
/*
 * PMDK's libpmemobj with its pool in a file that is no persistent memory: it then makes
 * each of its steps durable by msync(), several in a transaction.
 */
#include <libpmem.h>
#include <libpmemobj.h>
#include <string.h>

#include "tools/experiment/peers/peer.h"

static PMEMobjpool *pool;
static struct layout layout;

static void pmemobj_open_pool(const struct shape *shape, bool create)
{
	size_t length = shape_length(shape);
	PMEMoid root;

	pool = create ? pmemobj_create("pmemobj", "bank", 2 * length + PMEMOBJ_MIN_POOL, 0600) :
			pmemobj_open("pmemobj", "bank");
	if (!pool)
		die("%s: %s", create ? "pmemobj_create" : "pmemobj_open", pmemobj_errormsg());
	root = pmemobj_root(pool, length);
	if (OID_IS_NULL(root))
		die("pmemobj_root: %s", pmemobj_errormsg());
	if (pmem_is_pmem(pmemobj_direct(root), length))
		die("pmemobj: this is taken for persistent memory, which no msync is needed for; unset PMEM_IS_PMEM_FORCE");
	lay_out(&layout, shape, pmemobj_direct(root));
}

static void check(int error, const char *call)
{
	if (error)
		die("%s: %s", call, pmemobj_errormsg());
}

static void pmemobj_transfer(const struct transfer *t)
{
	check(pmemobj_tx_begin(pool, NULL, TX_PARAM_NONE), "pmemobj_tx_begin");
	for (int i = 0; i < TABLES; i++)
		check(pmemobj_tx_add_range_direct(record_at(&layout, i, t->record[i]), record_length[i]),
		      "pmemobj_tx_add_range_direct");
	store_transfer(&layout, t);
	pmemobj_tx_commit();
	check(pmemobj_tx_end(), "pmemobj_tx_end");
}

static void pmemobj_read(enum table table, uint64_t index, void *record)
{
	memcpy(record, record_at(&layout, table, index), record_length[table]);
}

static void pmemobj_close_pool(void)
{
	pmemobj_close(pool);
}

const struct peer peer_pmemobj = {
	.name = "pmemobj", .about = "libpmemobj on a file, msync", .survives = MACHINE, .atomic = true,
	.open = pmemobj_open_pool, .transfer = pmemobj_transfer, .read = pmemobj_read, .close = pmemobj_close_pool,
};
