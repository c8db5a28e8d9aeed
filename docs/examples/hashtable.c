// SPDX-License-Identifier: GPL-2.0 OR MIT
/*
 * A persistent hash table: words, each with a text.
 *
 *	hashtable FOLDER put WORD TEXT
 *	hashtable FOLDER get WORD
 *	hashtable FOLDER delete WORD
 *	hashtable FOLDER list
 *
 * The table is an ordinary data structure of fixed size, which happens to lie in
 * a mapped segment.  Two things make it persistent: its links are indices, good
 * at whatever address it is mapped next time, and each change of it is one
 * transaction, so a crash finds it before or after, never in between.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <rvm/rvm.h>

#define BUCKETS	509
#define ENTRIES	4096

struct entry {
	uint32_t next;			/* in the bucket's list, or the free one; 0: the last */
	char word[32];
	char text[92];
};

/* All zeros, as a new segment is, is an empty table. */
struct table {
	uint32_t bucket[BUCKETS];
	uint32_t free;			/* entries that were deleted */
	uint32_t used;			/* entries [1, used] have been in use */
	struct entry entry[ENTRIES];	/* entry 0 is never used: 0 means none */
};

static struct table *table;		/* recoverable memory */

static void check(rvm_return_t code, const char *what)
{
	if (code) {
		fprintf(stderr, "hashtable: %s: %s\n", what,
			code == RVM_EIO ? strerror(errno) : rvm_return(code));
		exit(1);
	}
}

/* Open the log, which recovers, and map the segment; make them if they are not there. */
static void open_table(const char *folder)
{
	char log[512], segment[512];
	rvm_options_t options;
	rvm_region_t region;

	snprintf(log, sizeof(log), "%s/table.log", folder);
	snprintf(segment, sizeof(segment), "%s/table.segment", folder);
	rvm_init_options(&options);
	options.log_dev = log;
	options.create_log_file = access(log, F_OK) ? rvm_true : rvm_false;
	options.create_log_size = RVM_MK_OFFSET(0, 1 << 20);
	check(RVM_INIT(&options), log);

	close(open(segment, O_CREAT | O_RDWR | O_CLOEXEC, 0600));
	rvm_init_region(&region);
	region.data_dev = segment;
	region.dev_length = RVM_MK_OFFSET(0, sizeof(struct table));
	check(rvm_map(&region, NULL), segment);
	if (region.length < sizeof(struct table))
		check(RVM_EOFFSET, segment);
	table = (struct table *)region.vmaddr;
}

static uint32_t *bucket_of(const char *word)
{
	uint32_t hash = 2166136261u;	/* FNV-1a */

	while (*word)
		hash = (hash ^ (unsigned char)*word++) * 16777619u;
	return &table->bucket[hash % BUCKETS];
}

/* The link that leads to the entry of a word, or the 0 at the end of its bucket's list. */
static uint32_t *find(const char *word)
{
	uint32_t *link = bucket_of(word);

	while (*link && strcmp(table->entry[*link].word, word))
		link = &table->entry[*link].next;
	return link;
}

/* Every store to the table goes through here: declared first, then made. */
static void set(rvm_tid_t *tid, uint32_t *where, uint32_t value)
{
	check(rvm_modify_bytes(tid, where, &value, sizeof(value)), "set");
}

/* An entry that is free, for the transaction to use; 0: there is none. */
static uint32_t take_entry(rvm_tid_t *tid)
{
	uint32_t i = table->free;

	if (i) {
		set(tid, &table->free, table->entry[i].next);
	} else if (table->used < ENTRIES - 1) {
		i = table->used + 1;
		set(tid, &table->used, i);
	}
	return i;
}

static int put(const char *word, const char *text)
{
	uint32_t *link = find(word), i = *link;
	struct entry new = { 0 };
	rvm_tid_t tid;

	if (strlen(word) >= sizeof(new.word) || strlen(text) >= sizeof(new.text)) {
		fprintf(stderr, "hashtable: too long\n");
		return 1;
	}
	rvm_init_tid(&tid);
	check(rvm_begin_transaction(&tid, restore), "begin");
	if (i) {
		new.next = table->entry[i].next;
	} else {
		i = take_entry(&tid);
		if (!i) {
			check(rvm_abort_transaction(&tid), "abort");
			fprintf(stderr, "hashtable: it is full\n");
			return 1;
		}
		set(&tid, link, i);
	}
	strcpy(new.word, word);
	strcpy(new.text, text);
	check(rvm_modify_bytes(&tid, &table->entry[i], &new, sizeof(new)), "put");
	check(rvm_end_transaction(&tid, flush), "commit");
	return 0;
}

static int get(const char *word)
{
	uint32_t i = *find(word);

	if (i)
		puts(table->entry[i].text);
	return !i;
}

static int delete(const char *word)
{
	uint32_t *link = find(word), i = *link;
	rvm_tid_t tid;

	if (!i)
		return 1;
	rvm_init_tid(&tid);
	check(rvm_begin_transaction(&tid, restore), "begin");
	set(&tid, link, table->entry[i].next);
	set(&tid, &table->entry[i].next, table->free);
	set(&tid, &table->free, i);
	check(rvm_end_transaction(&tid, flush), "commit");
	return 0;
}

static int list(void)
{
	for (int b = 0; b < BUCKETS; b++)
		for (uint32_t i = table->bucket[b]; i; i = table->entry[i].next)
			printf("%s: %s\n", table->entry[i].word, table->entry[i].text);
	return 0;
}

int main(int argc, char **argv)
{
	const char *what = argc > 2 ? argv[2] : "";
	int status = 2;

	if (argc > 2)
		open_table(argv[1]);
	if (argc == 5 && !strcmp(what, "put"))
		status = put(argv[3], argv[4]);
	else if (argc == 4 && !strcmp(what, "get"))
		status = get(argv[3]);
	else if (argc == 4 && !strcmp(what, "delete"))
		status = delete(argv[3]);
	else if (argc == 3 && !strcmp(what, "list"))
		status = list();
	else
		fprintf(stderr, "usage: hashtable FOLDER put WORD TEXT | get WORD | delete WORD | list\n");
	if (argc > 2)
		check(rvm_terminate(), "terminate");
	return status;
}
