// SPDX-License-Identifier: GPL-2.0 OR MIT
/*
 * LMDB, synchronous as it is by default.  All tables are in one tree, under integer keys:
 * a commit then writes fewer pages anew than with a tree for each table.
 */
#include <lmdb.h>
#include <string.h>

#include "tools/experiment/peers/peer.h"

#define MAP_SIZE	(1ul << 30)

static MDB_env *env;
static MDB_txn *txn;
static MDB_dbi dbi;

static void check(int error, const char *call)
{
	if (error)
		die("%s: %s", call, mdb_strerror(error));
}

static uint64_t key_of(enum table table, uint64_t index)
{
	return (uint64_t)table << 56 | index;
}

static void begin(unsigned int flags)
{
	check(mdb_txn_begin(env, NULL, flags, &txn), "mdb_txn_begin");
}

static void commit(void)
{
	check(mdb_txn_commit(txn), "mdb_txn_commit");
}

static void get(enum table table, uint64_t index, void *record)
{
	uint64_t number = key_of(table, index);
	MDB_val key = { .mv_size = sizeof(number), .mv_data = &number }, value;

	check(mdb_get(txn, dbi, &key, &value), "mdb_get");
	memcpy(record, value.mv_data, record_length[table]);
}

static void put_with(enum table table, uint64_t index, void *record, unsigned int flags)
{
	uint64_t number = key_of(table, index);
	MDB_val key = { .mv_size = sizeof(number), .mv_data = &number };
	MDB_val value = { .mv_size = record_length[table], .mv_data = record };

	check(mdb_put(txn, dbi, &key, &value, flags), "mdb_put");
}

static void put(enum table table, uint64_t index, void *record)
{
	put_with(table, index, record, 0);
}

static void fill(const struct shape *shape)
{
	static char zeros[sizeof(struct account)];

	begin(0);
	for (int table = 0; table < TABLES; table++)
		for (uint64_t i = 0; i < shape->count[table]; i++)
			put_with(table, i, zeros, MDB_APPEND);
	commit();
}

static void lmdb_open(const struct shape *shape, bool create)
{
	check(mdb_env_create(&env), "mdb_env_create");
	check(mdb_env_set_mapsize(env, MAP_SIZE), "mdb_env_set_mapsize");
	check(mdb_env_open(env, "lmdb", MDB_NOSUBDIR, 0600), "mdb_env_open");
	begin(0);
	check(mdb_dbi_open(txn, NULL, MDB_INTEGERKEY, &dbi), "mdb_dbi_open");
	commit();
	if (create)
		fill(shape);
}

static void lmdb_transfer(const struct transfer *t)
{
	begin(0);
	transfer_copies(t, get, put);
	commit();
}

static void lmdb_read(enum table table, uint64_t index, void *record)
{
	begin(MDB_RDONLY);
	get(table, index, record);
	mdb_txn_abort(txn);
}

static void lmdb_close(void)
{
	mdb_env_close(env);
}

const struct peer peer_lmdb = {
	.name = "lmdb", .about = MDB_VERSION_STRING ", synchronous",
	.survives = MACHINE, .atomic = true,
	.open = lmdb_open, .transfer = lmdb_transfer, .read = lmdb_read, .close = lmdb_close,
};
