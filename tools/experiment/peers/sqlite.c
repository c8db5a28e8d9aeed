// SPDX-License-Identifier: GPL-2.0 OR MIT
/*
 * SQLite with a write-ahead log, synced at each commit (synchronous=FULL), which only this
 * process uses (no shared index); prepared statements, one for each record.
 */
#include <sqlite3.h>
#include <string.h>

#include "tools/experiment/peers/peer.h"

enum statement { BEGIN, COMMIT, ACCOUNT, TELLER, BRANCH, AUDIT, STATEMENTS };

static const char *const texts[STATEMENTS] = {
	[BEGIN] = "BEGIN IMMEDIATE",
	[COMMIT] = "COMMIT",
	[ACCOUNT] = "UPDATE account SET balance = balance + ?2, updates = updates + 1, last_audit = ?3 WHERE id = ?1",
	[TELLER] = "UPDATE teller SET balance = balance + ?2, updates = updates + 1 WHERE id = ?1",
	[BRANCH] = "UPDATE branch SET balance = balance + ?2, updates = updates + 1 WHERE id = ?1",
	[AUDIT] = "UPDATE audit SET record = ?2 WHERE id = ?1",
};

static sqlite3 *db;
static sqlite3_stmt *statements[STATEMENTS], *readers[TABLES];

static void sql(const char *text)
{
	if (sqlite3_exec(db, text, NULL, NULL, NULL) != SQLITE_OK)
		die("%s: %s", text, sqlite3_errmsg(db));
}

static sqlite3_stmt *prepare(const char *text)
{
	sqlite3_stmt *statement;

	if (sqlite3_prepare_v3(db, text, -1, SQLITE_PREPARE_PERSISTENT, &statement, NULL) != SQLITE_OK)
		die("%s: %s", text, sqlite3_errmsg(db));
	return statement;
}

/* Whether there is a row. */
static bool step(sqlite3_stmt *statement)
{
	int status = sqlite3_step(statement);

	if (status != SQLITE_ROW && status != SQLITE_DONE)
		die("%s: %s", sqlite3_sql(statement), sqlite3_errmsg(db));
	return status == SQLITE_ROW;
}

static void run(sqlite3_stmt *statement)
{
	while (step(statement))
		;
	sqlite3_reset(statement);
}

static void fill(const struct shape *shape)
{
	static const char *const inserts[TABLES] = {
		"INSERT INTO branch VALUES (?1, 0, 0)", "INSERT INTO teller VALUES (?1, 0, 0)",
		"INSERT INTO account VALUES (?1, 0, 0, 0, zeroblob(104))", "INSERT INTO audit VALUES (?1, zeroblob(64))",
	};

	sql("CREATE TABLE branch (id INTEGER PRIMARY KEY, balance INTEGER, updates INTEGER);"
	    "CREATE TABLE teller (id INTEGER PRIMARY KEY, balance INTEGER, updates INTEGER);"
	    "CREATE TABLE account (id INTEGER PRIMARY KEY, balance INTEGER, updates INTEGER, last_audit INTEGER, filler BLOB);"
	    "CREATE TABLE audit (id INTEGER PRIMARY KEY, record BLOB);"
	    "BEGIN");
	for (int table = 0; table < TABLES; table++) {
		sqlite3_stmt *insert = prepare(inserts[table]);

		for (uint64_t i = 0; i < shape->count[table]; i++) {
			sqlite3_bind_int64(insert, 1, i);
			run(insert);
		}
		sqlite3_finalize(insert);
	}
	sql("COMMIT");
}

static void sqlite_open(const struct shape *shape, bool create)
{
	if (sqlite3_open_v2("sqlite", &db, SQLITE_OPEN_READWRITE | (create ? SQLITE_OPEN_CREATE : 0), NULL) != SQLITE_OK)
		die("sqlite: %s", sqlite3_errmsg(db));
	sql("PRAGMA locking_mode=EXCLUSIVE; PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;"
	    "PRAGMA cache_size=-65536");
	if (create)
		fill(shape);
	for (int i = 0; i < STATEMENTS; i++)
		statements[i] = prepare(texts[i]);
	readers[BRANCHES] = prepare("SELECT balance, updates FROM branch WHERE id = ?1");
	readers[TELLERS] = prepare("SELECT balance, updates FROM teller WHERE id = ?1");
	readers[ACCOUNTS] = prepare("SELECT balance, updates, last_audit FROM account WHERE id = ?1");
	readers[AUDITS] = prepare("SELECT record FROM audit WHERE id = ?1");
}

static void sqlite_read(enum table table, uint64_t index, void *record)
{
	sqlite3_stmt *reader = readers[table];
	struct account account = { 0 };

	sqlite3_bind_int64(reader, 1, index);
	if (!step(reader))
		die("table %d has no record %lu", table, (unsigned long)index);
	if (table == AUDITS) {
		if (sqlite3_column_bytes(reader, 0) != sizeof(struct audit))
			die("audit record %lu has %d bytes", (unsigned long)index, sqlite3_column_bytes(reader, 0));
		memcpy(record, sqlite3_column_blob(reader, 0), sizeof(struct audit));
	} else {
		/* an account begins as balances do */
		account.balance = sqlite3_column_int64(reader, 0);
		account.updates = sqlite3_column_int64(reader, 1);
		if (table == ACCOUNTS)
			account.last_audit = sqlite3_column_int64(reader, 2);
		memcpy(record, &account, table == ACCOUNTS ? sizeof(account) : sizeof(struct balance));
	}
	sqlite3_reset(reader);
}

static void sqlite_transfer(const struct transfer *t)
{
	struct balance branch;
	struct audit audit;

	run(statements[BEGIN]);
	sqlite3_bind_int64(statements[ACCOUNT], 1, t->record[ACCOUNTS]);
	sqlite3_bind_int64(statements[ACCOUNT], 2, t->amount[ACCOUNTS]);
	sqlite3_bind_int64(statements[ACCOUNT], 3, t->sequence);
	run(statements[ACCOUNT]);
	sqlite3_bind_int64(statements[TELLER], 1, t->record[TELLERS]);
	sqlite3_bind_int64(statements[TELLER], 2, t->amount[TELLERS]);
	run(statements[TELLER]);
	sqlite3_bind_int64(statements[BRANCH], 1, t->record[BRANCHES]);
	sqlite3_bind_int64(statements[BRANCH], 2, t->amount[BRANCHES]);
	run(statements[BRANCH]);
	/* this takes half as long as RETURNING */
	sqlite_read(BRANCHES, t->record[BRANCHES], &branch);
	audit = make_audit(t, branch.balance);
	sqlite3_bind_int64(statements[AUDIT], 1, t->record[AUDITS]);
	sqlite3_bind_blob(statements[AUDIT], 2, &audit, sizeof(audit), SQLITE_STATIC);
	run(statements[AUDIT]);
	run(statements[COMMIT]);
}

static void sqlite_settle(void)
{
	sql("PRAGMA wal_checkpoint(PASSIVE)");
}

static void sqlite_close(void)
{
	for (int i = 0; i < STATEMENTS; i++)
		sqlite3_finalize(statements[i]);
	for (int i = 0; i < TABLES; i++)
		sqlite3_finalize(readers[i]);
	if (sqlite3_close(db) != SQLITE_OK)
		die("sqlite: %s", sqlite3_errmsg(db));
}

const struct peer peer_sqlite = {
	.name = "sqlite", .about = "SQLite " SQLITE_VERSION ", WAL, synchronous=FULL", .survives = MACHINE, .atomic = true,
	.open = sqlite_open, .transfer = sqlite_transfer, .settle = sqlite_settle,
	.read = sqlite_read, .close = sqlite_close,
};
