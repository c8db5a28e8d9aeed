// SPDX-License-Identifier: GPL-2.0 OR MIT
/*
 * metadata: transactions like those of a distributed file system's server and client,
 * for which RVM was made, to see what the library's two optimizations save of the log.
 *
 * A volume has directories, of a status and a page with entries, and files, of a status.
 * Code that is made of parts declares what it changes more than once: here the call
 * declares a file's status, and so does the routine which stamps it and writes it back.
 * That is what merging the ranges of one transaction saves.
 *
 *   server   each call is a flush commit; half of them are stores, the rest creates and
 *            removes, of any directory
 *   client   no_flush commits, with a flush for every FLUSH_EVERY of them, and locality: a
 *            user copies some files into one directory, each created, written and given
 *            its times.  The directory is changed again and again, and so is each file:
 *            what merging transactions saves.
 */
#include <argp.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/param.h>
#include <unistd.h>

#include <rvm/rvm.h>
#include <rvm/rvm_engine.h>

#define DIRECTORIES	64u
#define ENTRIES		30u
#define FLUSH_EVERY	50u
#define MAX_COPIED	8u
#define LOG_SIZE	(4ul << 20)

struct entry {
	uint64_t file;			/* its number, from 1 on; 0: none */
	char name[56];
};

/* A directory's page: a header, hash chains, and entries. */
struct page {
	uint64_t used, version;
	uint8_t header[48];
	uint8_t chains[64];
	struct entry entries[ENTRIES];
};

struct file {
	uint64_t version, length, modified;
	uint8_t other[104];
};

struct directory {
	uint64_t version, links, modified;
	uint8_t access_list[232];
	struct page page;
	struct file files[ENTRIES];	/* of its entries, in order */
};

struct volume {
	uint64_t calls, files;
	uint8_t other[112];
	struct directory directories[DIRECTORIES];
};

_Static_assert(sizeof(struct page) == 2048 && sizeof(struct entry) == 64, "a page of entries");
_Static_assert(sizeof(struct file) == 128, "a file's status");
_Static_assert(offsetof(struct directory, page) == 256, "a directory's status");
_Static_assert(offsetof(struct volume, directories) == 128, "a volume's status");

static const char *const workloads[] = { "server", "client", NULL };
static const char *const optimizations[] = { "none", "ranges", "all", NULL };
static const char *const commits[] = { "flush", "no_flush", NULL };
static const rvm_length_t optimize_flags[] = { 0, RVM_COALESCE_RANGES, RVM_ALL_OPTIMIZATIONS };

enum { SERVER, CLIENT };
enum { FLUSH, NO_FLUSH };

static struct {
	int workload, optimize, commit;
	uint64_t calls;
} opt = { .commit = -1, .calls = 5000 };

static struct volume *volume;
static uint64_t random_state = 1, transactions, declared;
static rvm_tid_t tid;

static void check(rvm_return_t ret, const char *call)
{
	if (ret == RVM_SUCCESS)
		return;
	fprintf(stderr, "metadata: %s: %s%s%s\n", call, rvm_return(ret), ret == RVM_EIO ? ": " : "",
		ret == RVM_EIO ? strerror(errno) : "");
	exit(1);
}

static uint64_t random_below(uint64_t n)
{
	/* xorshift64 */
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return random_state % n;
}

/* --- calls ------------------------------------------------------------------------ */

static void declare(void *at, size_t length)
{
	check(rvm_set_range(&tid, at, length), "rvm_set_range");
	declared += length;
}

static void begin(void)
{
	rvm_init_tid(&tid);
	check(rvm_begin_transaction(&tid, restore), "rvm_begin_transaction");
	declare(volume, offsetof(struct volume, directories));
	volume->calls++;
}

static void end(void)
{
	check(rvm_end_transaction(&tid, opt.commit == FLUSH ? flush : no_flush), "rvm_end_transaction");
	if (++transactions % FLUSH_EVERY == 0)
		check(rvm_flush(), "rvm_flush");
}

/* Whatever changed a file's status calls this at last. */
static void write_back(struct file *file)
{
	declare(file, sizeof(*file));
	file->version++;
}

static void store(struct file *file, uint64_t length)
{
	begin();
	declare(file, sizeof(*file));
	file->length = length;
	write_back(file);
	end();
}

static void set_times(struct file *file)
{
	begin();
	declare(file, sizeof(*file));
	file->modified = volume->calls;
	write_back(file);
	end();
}

/* Create the file of this entry, or remove it. */
static void change_entry(struct directory *directory, unsigned int slot, bool create)
{
	struct page *page = &directory->page;
	struct entry *entry = &page->entries[slot];
	struct file *file = &directory->files[slot];

	begin();
	declare(directory, offsetof(struct directory, page));
	directory->version++;
	directory->modified = volume->calls;
	declare(page, offsetof(struct page, chains));
	page->version++;
	page->used += create ? 1 : -1;
	declare(&page->chains[2 * slot / 32 * 32], 32);
	page->chains[2 * slot] = create;
	declare(entry, sizeof(*entry));
	memset(entry, 0, sizeof(*entry));
	if (create) {
		entry->file = ++volume->files;
		snprintf(entry->name, sizeof(entry->name), "file-%" PRIu64, entry->file);
	}
	declare(file, sizeof(*file));
	file->length = 0;
	write_back(file);
	end();
}

static void server_call(void)
{
	struct directory *directory = &volume->directories[random_below(DIRECTORIES)];
	unsigned int slot = random_below(ENTRIES);

	if (random_below(2))
		store(&directory->files[slot], random_below(1 << 20));
	else
		change_entry(directory, slot, !directory->page.entries[slot].file);
}

static void client_copy(void)
{
	struct directory *directory = &volume->directories[random_below(DIRECTORIES)];
	unsigned int files = 1 + random_below(MAX_COPIED), slot = random_below(ENTRIES);

	for (unsigned int i = 0; i < files; i++, slot = (slot + 1) % ENTRIES) {
		struct file *file = &directory->files[slot];

		if (directory->page.entries[slot].file)
			change_entry(directory, slot, false);
		change_entry(directory, slot, true);
		store(file, random_below(1 << 20));
		set_times(file);
	}
}

/* --- the program -------------------------------------------------------------------- */

static void create_file(const char *path)
{
	int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

	if (fd < 0) {
		fprintf(stderr, "metadata: %s: %s\n", path, strerror(errno));
		exit(1);
	}
	close(fd);
}

static void open_volume(rvm_region_t *region)
{
	rvm_options_t how;

	rvm_init_options(&how);
	how.log_dev = "metadata.log";
	how.create_log_file = rvm_true;
	how.create_log_size = RVM_MK_OFFSET(0, LOG_SIZE);
	how.flags = optimize_flags[opt.optimize];
	check(RVM_INIT(&how), "rvm_initialize");
	create_file("metadata.segment");
	rvm_init_region(region);
	region->data_dev = "metadata.segment";
	region->dev_length = RVM_MK_OFFSET(0, roundup(sizeof(struct volume), 4096));
	check(rvm_map(region, NULL), "rvm_map");
	volume = (struct volume *)region->vmaddr;
}

/* Is what the segment holds what the memory does, once the log was applied? */
static bool verify(void)
{
	struct volume *copy = malloc(sizeof(*copy));
	int fd = open("metadata.segment", O_RDONLY | O_CLOEXEC);
	bool same;

	if (!copy || fd < 0 || read(fd, copy, sizeof(*copy)) != sizeof(*copy)) {
		fprintf(stderr, "metadata: the segment can't be read\n");
		exit(1);
	}
	close(fd);
	same = !memcmp(copy, volume, sizeof(*copy));
	free(copy);
	return same;
}

static const char doc[] =
	"Makes the calls of a file system's server or client on RVM, with log and segment in new files of the current folder, "
	"and prints how many bytes were declared and how many went to the log, as a JSON object.\v"
	"RVM_ENGINE chooses the engine. Exit status: 0; 1 for an error, or if the segment is wrong in the end; 2 for a wrong command line.";

static const struct argp_option options[] = {
	{ "workload", 'w', "NAME", 0, "server or client (server)", 0 },
	{ "optimize", 'o', "WHAT", 0, "none, ranges or all (none)", 0 },
	{ "commit", 'c', "MODE", 0, "flush or no_flush, with a flush for every 50 (the server's is flush, the client's no_flush)", 0 },
	{ "calls", 'n', "N", 0, "Transactions, at least (5000)", 0 },
	{ 0 },
};

static int parse_name(struct argp_state *state, const char *arg, const char *const *names)
{
	for (int i = 0; names[i]; i++)
		if (!strcmp(arg, names[i]))
			return i;
	argp_error(state, "'%s' is none of the choices, see --help", arg);
	return 0;
}

static error_t parse_option(int key, char *arg, struct argp_state *state)
{
	char *rest;

	switch (key) {
	case 'w':
		opt.workload = parse_name(state, arg, workloads);
		break;
	case 'o':
		opt.optimize = parse_name(state, arg, optimizations);
		break;
	case 'c':
		opt.commit = parse_name(state, arg, commits);
		break;
	case 'n':
		opt.calls = strtoull(arg, &rest, 10);
		if (*arg < '1' || *arg > '9' || *rest || opt.calls > 1000000000)
			argp_error(state, "--calls: '%s' is not a number from 1 to 1000000000", arg);
		break;
	case ARGP_KEY_ARG:
		argp_error(state, "'%s' is one argument too many", arg);
		break;
	case ARGP_KEY_END:
		if (opt.commit < 0)
			opt.commit = opt.workload == SERVER ? FLUSH : NO_FLUSH;
		break;
	default:
		return ARGP_ERR_UNKNOWN;
	}
	return 0;
}

int main(int argc, char **argv)
{
	const struct argp argp = { .options = options, .parser = parse_option, .doc = doc };
	rvm_engine_counters_t before, after;
	rvm_region_t region;
	bool same;

	argp_err_exit_status = 2;
	argp_parse(&argp, argc, argv, 0, NULL, NULL);
	open_volume(&region);
	check(rvm_get_engine_counters(&before), "rvm_get_engine_counters");
	while (transactions < opt.calls)
		(opt.workload == SERVER ? server_call : client_copy)();
	check(rvm_flush(), "rvm_flush");
	check(rvm_get_engine_counters(&after), "rvm_get_engine_counters");
	check(rvm_truncate(), "rvm_truncate");
	same = verify();
	if (!same)
		fprintf(stderr, "metadata: the segment does not hold what was committed\n");
	printf("{\"workload\":\"%s\",\"engine\":\"%s\",\"optimize\":\"%s\",\"commit\":\"%s\",\"transactions\":%" PRIu64
	       ",\"declared_bytes\":%" PRIu64 ",\"log_bytes\":%" PRIu64 ",\"log_writes\":%" PRIu64 "}\n",
	       workloads[opt.workload], rvm_get_engine(), optimizations[opt.optimize], commits[opt.commit], transactions,
	       declared, after.log_bytes - before.log_bytes, after.log_writes - before.log_writes);
	check(rvm_unmap(&region), "rvm_unmap");
	check(rvm_terminate(), "rvm_terminate");
	return same ? 0 : 1;
}
