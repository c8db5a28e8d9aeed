// SPDX-License-Identifier: GPL-2.0 OR MIT
/*
 * Makes inputs for the fuzz targets out of real logs: each is written by a
 * process that dies, on the engine that RVM_ENGINE names, and is taken apart
 * into an input that builds it again.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <rvm/rvm.h>

#include "tests/fuzz/image.h"

#define PAGE		4096
#define SEGMENTS	3

static struct image image;
static const char *folder;

static void need(bool ok, const char *what)
{
	if (ok)
		return;
	fprintf(stderr, "seeds: %s failed\n", what);
	_exit(1);
}

#define NEED(condition) need(condition, #condition)

static char *path(const char *name)
{
	static char paths[8][4096];
	static int n;
	char *to = paths[n++ % 8];

	snprintf(to, sizeof(paths[0]), "%s/%s", folder, name);
	return to;
}

static rvm_region_t region[SEGMENTS];

static void start(int units, unsigned long flags)
{
	rvm_options_t options;
	char name[] = "s1";
	int i;

	rvm_init_options(&options);
	options.log_dev = path("log");
	options.truncate = 0;
	options.flags = flags;
	options.create_log_size = RVM_LENGTH_TO_OFFSET(units * PAGE);
	options.create_log_file = access(options.log_dev, F_OK) ? rvm_true : rvm_false;
	NEED(!RVM_INIT(&options));
	for (i = 0; i < SEGMENTS; i++, name[1]++) {
		int fd = open(path(name), O_RDWR | O_CREAT, 0600);

		NEED(fd >= 0 && !ftruncate(fd, PAGE) && !close(fd));
		rvm_init_region(&region[i]);
		region[i].data_dev = path(name);
		region[i].length = PAGE;
		NEED(!rvm_map(&region[i], NULL));
	}
}

/* `ranges` ranges over the first `segments` segments. */
static void commit(int n, int segments, int ranges, int length, rvm_mode_t mode)
{
	rvm_tid_t tid;
	int i;

	rvm_init_tid(&tid);
	NEED(!rvm_begin_transaction(&tid, restore));
	for (i = 0; i < ranges; i++) {
		char *at = region[i % segments].vmaddr + (n * 40 + i * 300) % (PAGE - length);

		NEED(!rvm_set_range(&tid, at, length));
		memset(at, n + i, length);
	}
	NEED(!rvm_end_transaction(&tid, mode));
}

static void one(void) { start(1, 0); commit(1, 1, 1, 5, flush); }
static void none(void) { start(1, 0); }

static void some(void)
{
	int n;

	start(2, 0);
	for (n = 0; n < 5; n++)
		commit(n, 1 + n % SEGMENTS, 1 + n, 10 + 30 * n, flush);
}

static void one_write(void)
{
	int n;

	start(2, 0);
	for (n = 0; n < 6; n++)
		commit(n, SEGMENTS, 2, 30 + n, no_flush);
	NEED(!rvm_flush());
}

static void coalesced(void)
{
	int n;

	start(2, RVM_COALESCE_TRANS);
	for (n = 0; n < 20; n++)
		commit(n % 3, 2, 3, 50, no_flush);
	NEED(!rvm_flush());
	commit(9, 2, 3, 50, flush);
}

/* Round the end of the area, records across it, and old ones behind. */
static void wrapped(void)
{
	int n;

	start(2, 0);
	for (n = 0; n < 14; n++) {
		commit(n, 2, 4, 250, flush);
		if (n % 3 == 2)
			NEED(!rvm_truncate());
	}
}

static void full(void)
{
	int n;

	start(1, 0);
	for (n = 0; n < 2; n++)
		commit(n, 1, 1, 1900, flush);
}

static const struct seed {
	const char *name;
	void (*make)(void);
	int openings;		/* so often, one behind the other's death */
} seeds[] = {
	{ "none", none, 1 },
	{ "one", one, 1 },
	{ "some", some, 1 },
	{ "again", one, 4 },
	{ "one-write", one_write, 1 },
	{ "coalesced", coalesced, 1 },
	{ "wrapped", wrapped, 1 },
	{ "wrapped-again", wrapped, 2 },
	{ "full", full, 1 },
};

/* The segments' names, which are where we made them, become /s1 and so on. */
static void rename_segments(u8 *slot)
{
	static struct rvm_status s, new;
	struct rvm_dict_entry e;
	char name[4] = "/s1";
	u32 cursor = 0, id;

	if (rvm_status_decode(&s, slot))
		return;
	new = s;
	new.dict_used = new.segments = 0;
	while (rvm_dict_next(&s, &cursor, &e)) {
		name[2] = e.name[e.name_length - 1];
		new.next_segment = e.id;
		NEED(!rvm_dict_add(&new, name, 3, &id));
	}
	new.next_segment = s.next_segment;
	new.generation--;
	rvm_status_encode(&new, slot);
}

/* The statuses alone, as tests/fuzz/status.c has them. */
static void pack_statuses(const char *to)
{
	char name[100];
	FILE *input;
	u32 used[2];
	int i;

	snprintf(name, sizeof(name), "%s.status", to);
	input = fopen(path(name), "w");
	NEED(input);
	for (i = 0; i < 2; i++)
		used[i] = le32_to_cpu(((struct rvm_status_disk *)(image.bytes + i * RVM_STATUS_SIZE))->used);
	fprintf(input, "%c%c%c", 0, used[0] & 0xff, used[0] >> 8);
	for (i = 0; i < 2; i++)
		fwrite(image.bytes + i * RVM_STATUS_SIZE, 1, used[i], input);
	NEED(!fclose(input));
}

static void pack(const char *to)
{
	static u8 read_back[65536], was[IMAGE_MAX];
	FILE *log = fopen(path("log"), "r"), *input = fopen(path(to), "w+");
	size_t n;

	NEED(log && input);
	image.bytes = calloc(1, IMAGE_MAX);
	image.size = fread(image.bytes, 1, IMAGE_MAX, log);
	image.area_length = image.size - RVM_AREA_START;
	rename_segments(image.bytes);
	rename_segments(image.bytes + RVM_STATUS_SIZE);
	pack_statuses(to);
	image_pack(&image, input);
	memcpy(was, image.bytes, IMAGE_MAX);
	rewind(input);
	n = fread(read_back, 1, sizeof(read_back), input);
	image_build(&image, read_back, n);
	NEED(!memcmp(was, image.bytes, IMAGE_MAX));
	free(image.bytes);
	NEED(!fclose(input) && !fclose(log));
}

int main(int argc, char **argv)
{
	const struct seed *s;
	int i, status;

	if (argc != 2 || argv[1][0] == '-') {
		fprintf(stderr, "usage: seeds FOLDER\nMakes inputs for tests/fuzz in FOLDER, on the engine RVM_ENGINE.\n");
		return argc == 2 && !strcmp(argv[1], "--help") ? 0 : 2;
	}
	folder = argv[1];
	for (s = seeds; s < seeds + sizeof(seeds) / sizeof(*s); s++) {
		unlink(path("log"));
		for (i = 0; i < s->openings; i++) {
			pid_t pid = fork();

			NEED(pid >= 0);
			if (!pid) {
				s->make();
				raise(SIGKILL);
			}
			NEED(waitpid(pid, &status, 0) == pid && WIFSIGNALED(status));
		}
		pack(s->name);
	}
	unlink(path("log"));
	unlink(path("s1"));
	unlink(path("s2"));
	unlink(path("s3"));
	return 0;
}
