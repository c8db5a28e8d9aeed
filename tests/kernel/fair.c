// SPDX-License-Identifier: GPL-2.0 OR MIT
/*
 * Description: group commit is fair: commits are acknowledged in the log's order, and
 * none waits for more than two writes besides its own.  See tests/held.h.
 *
 * The log is on a network block device, whose server is in this process.
 */
#define ASLEEP	'D'
#include "tests/held.h"
#include "tests/nbd.h"

#include <sys/mount.h>

#define LOG_LENGTH	(STATUS_AREA + MIB)
#define DEBUG		"/sys/kernel/debug"

static char handles[sizeof(writes) / sizeof(writes[0])][sizeof(((struct nbd_request *)0)->handle)];
static bool hold;	/* under the mutex */

static bool hold_records(struct nbd *d, uint64_t from, uint32_t length, const char *handle)
{
	bool is_held;

	pthread_mutex_lock(&mutex);
	is_held = hold && from >= STATUS_AREA;
	if (is_held)
		memcpy(handles[hold_write(d->bytes + from, length, from)], handle, sizeof(handles[0]));
	pthread_mutex_unlock(&mutex);
	return is_held;
}

static struct nbd device = { .block = BLOCK, .length = LOG_LENGTH, .wrote = hold_records };

static void let_go(unsigned int write)
{
	nbd_reply(&device, handles[write], writes[write].error, NULL, 0);
}

/* The device has a tag for each request, from the call that submits it until it is done. */
static bool all_are_held(void)
{
	FILE *f = fopen(DEBUG "/block/nbd0/hctx0/tags", "re");
	unsigned int busy = WRITES + 1;
	char line[100];

	while (f && fgets(line, sizeof(line), f))
		if (sscanf(line, "busy=%u", &busy) == 1)
			break;
	if (f)
		fclose(f);
	return busy == held;
}

FIXTURE(fair) { struct files f; rvm_region_t region; };

static void open_log(struct __test_metadata *_metadata, const char *path, bool create)
{
	rvm_options_t options;

	rvm_init_options(&options);
	options.log_dev = (char *)path;
	options.create_log_file = create;
	options.create_log_size = RVM_LENGTH_TO_OFFSET(MIB);
	options.truncate = 0;
	OK(RVM_INIT(&options));
}

static void make_log(CHILD_ARGS)
{
	open_log(_metadata, f->log, true);
	OK(rvm_terminate());
}

/* The first write decides how many may be under way: it takes long. */
static void commit_slowly(struct __test_metadata *_metadata, const rvm_region_t *region)
{
	begin(_metadata, region, 0, SHORT, 1);
	settle(1);
	ASSERT_EQ(1, held);
	sleep(1);
	release(0, 0, 1);
	join(_metadata, 1);
	OK(committers[0].code);
}

FIXTURE_SETUP(fair)
{
	const struct files *f = &self->f;
	int fd;

	ASSERT_EQ(0, setenv("RVM_ENGINE", "kernel", 1));
	if (mount("debugfs", DEBUG, "debugfs", 0, NULL))
		ASSERT_EQ(EBUSY, errno);
	make_files(_metadata, &self->f);
	CHILD_OK(make_log);
	ASSERT_EQ(0, make_nbd(&device));
	fd = open("/sys/block/nbd0/queue/scheduler", O_WRONLY | O_CLOEXEC);
	ASSERT_EQ(4, write(fd, "none", 4));
	close(fd);
	fd = open(f->log, O_RDONLY | O_CLOEXEC);
	ASSERT_EQ(LOG_LENGTH, read(fd, device.bytes, LOG_LENGTH));
	close(fd);
	ASSERT_TRUE(make_file(f->segment, THREADS * (SHORT + PAGE), 0));

	open_log(_metadata, device.path, false);
	OK(map_segment(f, &self->region));
	/* nobody waits for pages, later */
	ASSERT_TRUE(all_are(self->region.vmaddr, 0, self->region.length));
	hold = true;
	commit_slowly(_metadata, &self->region);
}

FIXTURE_TEARDOWN(fair)
{
	EXPECT_EQ(RVM_SUCCESS, rvm_unmap(&self->region));
	EXPECT_EQ(RVM_SUCCESS, rvm_terminate());
	EXPECT_EQ(0, remove_nbd(&device));
	remove_files(&self->f);
}

TEST_F(fair, in_order)
{
	ten_commit(_metadata, &self->region, WRITES);
	/* the last is over first: that acknowledges none */
	release(8, 0, 10);
	ASSERT_EQ(0, finished(10));
	release(1, 0, 10);
	/* which let the others' begin, as one */
	ASSERT_EQ(10, begun);
	ASSERT_EQ(9, committers[8].write);
	ASSERT_EQ(9, committers[9].write);
	end_from_behind(_metadata, 1);
}

TEST_F(fair, nobody_waits_long)
{
	all_commit(_metadata, &self->region, SHORT, WRITES);
}

TEST_HARNESS_MAIN
