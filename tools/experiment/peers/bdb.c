// SPDX-License-Identifier: GPL-2.0 OR MIT
/*
 * Berkeley DB, transactional and durable as it is by default: four queues (fixed-length
 * records by number, with no tree to search), of one process with one thread, so without
 * locks.  Its log files are written with zeros before they are used and opened with
 * O_DSYNC, so that a commit changes no file's length.
 */
#include <db.h>
#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "tools/experiment/peers/peer.h"

#define CACHE_SIZE	(64u << 20)

static DB_ENV *env;
static DB *tables[TABLES];
static DB_TXN *txn;

static void check(int error, const char *call)
{
	if (error)
		die("%s: %s", call, db_strerror(error));
}

static void read_record(enum table table, uint64_t index, void *record)
{
	db_recno_t number = index + 1;
	DBT key = { .data = &number, .size = sizeof(number) };
	DBT value = { .data = record, .ulen = record_length[table], .flags = DB_DBT_USERMEM };

	check(tables[table]->get(tables[table], txn, &key, &value, 0), "DB->get");
}

static void write_record(enum table table, uint64_t index, void *record)
{
	db_recno_t number = index + 1;
	DBT key = { .data = &number, .size = sizeof(number) };
	DBT value = { .data = record, .size = record_length[table] };

	check(tables[table]->put(tables[table], txn, &key, &value, 0), "DB->put");
}

static void begin(void)
{
	check(env->txn_begin(env, NULL, &txn, 0), "DB_ENV->txn_begin");
}

static void commit(void)
{
	check(txn->commit(txn, DB_TXN_SYNC), "DB_TXN->commit");
	txn = NULL;
}

static void bdb_settle(void)
{
	check(env->txn_checkpoint(env, 0, 0, 0), "DB_ENV->txn_checkpoint");
}

static void fill(const struct shape *shape)
{
	static char zeros[sizeof(struct account)];

	begin();
	for (int table = 0; table < TABLES; table++)
		for (uint64_t i = 0; i < shape->count[table]; i++)
			write_record(table, i, zeros);
	commit();
	bdb_settle();
}

static void bdb_open(const struct shape *shape, bool create)
{
	static const char *const names[TABLES] = { "branches", "tellers", "accounts", "audits" };

	if (create && mkdir("bdb", 0700))
		die("bdb: %s", strerror(errno));
	check(db_env_create(&env, 0), "db_env_create");
	check(env->set_cachesize(env, 0, CACHE_SIZE, 1), "DB_ENV->set_cachesize");
	check(env->log_set_config(env, DB_LOG_AUTO_REMOVE | DB_LOG_DSYNC | DB_LOG_ZERO, 1), "DB_ENV->log_set_config");
	check(env->open(env, "bdb", DB_CREATE | DB_INIT_MPOOL | DB_INIT_LOG | DB_INIT_TXN | DB_PRIVATE | DB_RECOVER,
			0600), "DB_ENV->open");
	for (int i = 0; i < TABLES; i++) {
		check(db_create(&tables[i], env, 0), "db_create");
		check(tables[i]->set_re_len(tables[i], record_length[i]), "DB->set_re_len");
		check(tables[i]->open(tables[i], NULL, names[i], NULL, DB_QUEUE,
				      DB_AUTO_COMMIT | (create ? DB_CREATE : 0), 0600), "DB->open");
	}
	if (create)
		fill(shape);
}

static void bdb_transfer(const struct transfer *t)
{
	begin();
	transfer_copies(t, read_record, write_record);
	commit();
}

static void bdb_close(void)
{
	for (int i = 0; i < TABLES; i++)
		check(tables[i]->close(tables[i], 0), "DB->close");
	check(env->close(env, 0), "DB_ENV->close");
}

const struct peer peer_bdb = {
	.name = "bdb", .about = DB_VERSION_STRING ", queues, log synchronous", .survives = MACHINE, .atomic = true,
	.open = bdb_open, .transfer = bdb_transfer, .settle = bdb_settle, .read = read_record, .close = bdb_close,
};
