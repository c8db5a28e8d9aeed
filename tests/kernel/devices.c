// SPDX-License-Identifier: GPL-2.0 OR MIT
/*
 * Description: log and segment on dm, md, loop, nbd and drbd devices, with sectors of
 * 512 and 4096 bytes: commits, recovery, truncation, exclusive ownership, and flushes
 * that reach the devices below.
 */
#include "stacked.h"

#include <rvm/rvm.h>
#include <rvm/rvm_engine.h>

#define TRACING		"/sys/kernel/tracing"
#define EXPEDITED	"/sys/kernel/rcu_expedited"

FIXTURE(devices) { struct world w; struct stacked log, segment; };

FIXTURE_VARIANT(devices) { const struct kind *kind; unsigned int block; };
FIXTURE_VARIANT_ADD(devices, linear_512) { &linear, 512 };
FIXTURE_VARIANT_ADD(devices, linear_4096) { &linear, 4096 };
FIXTURE_VARIANT_ADD(devices, raid0_512) { &raid0, 512 };
FIXTURE_VARIANT_ADD(devices, raid0_4096) { &raid0, 4096 };
FIXTURE_VARIANT_ADD(devices, raid1_512) { &raid1, 512 };
FIXTURE_VARIANT_ADD(devices, raid1_4096) { &raid1, 4096 };
FIXTURE_VARIANT_ADD(devices, loop_512) { &loop, 512 };
FIXTURE_VARIANT_ADD(devices, loop_4096) { &loop, 4096 };
FIXTURE_VARIANT_ADD(devices, loop_direct_512) { &loop_direct, 512 };
FIXTURE_VARIANT_ADD(devices, loop_direct_4096) { &loop_direct, 4096 };
FIXTURE_VARIANT_ADD(devices, loop_file_512) { &loop_file, 512 };
FIXTURE_VARIANT_ADD(devices, loop_file_4096) { &loop_file, 4096 };
FIXTURE_VARIANT_ADD(devices, nbd_512) { &network, 512 };
FIXTURE_VARIANT_ADD(devices, nbd_4096) { &network, 4096 };
FIXTURE_VARIANT_ADD(devices, drbd_512) { &drbd, 512 };
FIXTURE_VARIANT_ADD(devices, drbd_4096) { &drbd, 4096 };

FIXTURE_SETUP(devices)
{
	struct world *w = &self->w;
	int error;

	/* what waits for RCU when devices come and go takes most of the time */
	WORKS(write_text(EXPEDITED, "1"));
	if (make_stacked(&self->log, variant->kind, variant->block, "rvmlog", 0) ||
	    make_stacked(&self->segment, variant->kind, variant->block, "rvmseg", 1)) {
		error = errno;
		TH_LOG("%s", strerror(error));
		remove_stacked(&self->log);
		remove_stacked(&self->segment);
		ASSERT_EQ(0, error);
	}
	strcpy(w->f.log, self->log.path);
	strcpy(w->f.segment, self->segment.path);
	WORKS(format_log(w->f.log));
	ASSERT_TRUE(module_is_free());
	WORKS(open_world(w));
	WORKS(set_truncate(w->log, 0));
}

FIXTURE_TEARDOWN(devices)
{
	close_world(&self->w);
	EXPECT_EQ(0, remove_stacked(&self->log));
	EXPECT_EQ(0, remove_stacked(&self->segment));
	EXPECT_EQ(0, write_text(EXPEDITED, "0"));
	EXPECT_TRUE(module_is_free());
}

TEST_F(devices, commit_and_recover)
{
	struct world *w = &self->w;
	int i;

	for (i = 1; i < 12; i++) {
		set(w->area, w->memory + i * 5000, i, 5000);
		WORKS(commit(w->log, w->area, i % 2 ? RVM_COMMIT_FLUSH : 0));
		set(w->area, w->memory, i, 10);
		WORKS(do_abort(w->log, w->area));
	}
	ASSERT_TRUE(file_is(w->f.segment, 0, 0, LENGTH));
	WORKS(truncate_log(w->log));
	for (i = 1; i < 12; i++)
		ASSERT_TRUE(file_is(w->f.segment, i * 5000, i, 5000));

	/* records that are only in the log */
	for (i = 1; i < 4; i++) {
		set(w->area, w->memory + i * 10000, 20 + i, 3000);
		WORKS(commit(w->log, w->area, RVM_COMMIT_FLUSH));
	}
	close_world(w);
	ASSERT_TRUE(file_is(w->f.segment, 10000, 2, 5000));
	WORKS(open_world(w));
	ASSERT_EQ(3, query(w->log).recovered_records);
	for (i = 1; i < 4; i++) {
		ASSERT_TRUE(all_are(w->memory + i * 10000, 20 + i, 3000));
		ASSERT_TRUE(all_are(w->memory + i * 10000 + 3000, 2 * i, 2000));
	}
	WORKS(truncate_log(w->log));
	ASSERT_TRUE(file_is(w->f.segment, 10000, 21, 3000));
	WORKS(reopen_world(w));
	ASSERT_EQ(0, query(w->log).recovered_records);
	ASSERT_TRUE(all_are(w->memory + 30000, 23, 3000));
	ASSERT_TRUE(all_are(w->memory, 0, 5000));
}

/* More than a turn of the log, by large writes, with attaches in between. */
TEST_F(devices, wrap_around)
{
	struct world *w = &self->w;
	unsigned long length = query(w->log).log_length, written = 0;
	char *model = calloc(1, LENGTH);
	unsigned int i, offset, now;

	ASSERT_GE(2 * LOWER_LENGTH, length);
	for (i = 0; written < length + length / 2; i++, written += now) {
		offset = i * 991 % 20000;
		now = 20000 + i * 337 % 20000;
		set(w->area, w->memory + offset, i, now);
		memset(model + offset, i, now);
		WORKS(commit(w->log, w->area, i % 4 ? 0 : RVM_COMMIT_FLUSH));
		if (i % 37 == 36) {
			WORKS(reopen_world(w));
			ASSERT_EQ(0, memcmp(w->memory, model, LENGTH));
		}
	}
	WORKS(reopen_world(w));
	ASSERT_EQ(0, memcmp(w->memory, model, LENGTH));
	free(model);
}

/* A device that another has claimed is busy, and ours is to others. */
TEST_F(devices, exclusive)
{
	struct world *w = &self->w;
	int fd, log;

	FAILS(EBUSY, open(w->f.log, O_RDWR | O_EXCL | O_CLOEXEC));
	FAILS(EBUSY, open(w->f.segment, O_RDWR | O_EXCL | O_CLOEXEC));
	FAILS(EBUSY, segment(w->log, w->f.log));
	FAILS(EBUSY, attach(w->f.segment));

	close_world(w);
	WORKS(fd = open(w->f.log, O_RDWR | O_EXCL | O_CLOEXEC));
	FAILS(EBUSY, attach(w->f.log));
	close(fd);
	WORKS(log = attach(w->f.log));
	WORKS(fd = open(w->f.segment, O_RDWR | O_EXCL | O_CLOEXEC));
	FAILS(EBUSY, segment(log, w->f.segment));
	close(fd);
	close(log);
	WORKS(open_world(w));
}

/* --- the devices below -------------------------------------------------- */

static int forget_requests(struct stacked *log, struct stacked *segment)
{
	int fd = open(TRACING "/trace", O_WRONLY | O_TRUNC | O_CLOEXEC);

	log->nbd.flushes = 0;
	segment->nbd.flushes = 0;
	return fd < 0 ? -1 : close(fd);
}

/* Has a device been given a flush or FUA write since then? */
static bool was_flushed(const char *device)
{
	static const char event[] = ": block_rq_issue: ";
	FILE *trace = fopen(TRACING "/trace", "r");
	unsigned int first, second;
	char line[400], kind[16];
	bool found = false;
	const char *at;
	struct stat st;

	while (trace && !stat(device, &st) && !found && fgets(line, sizeof(line), trace)) {
		at = strstr(line, event);
		found = at && sscanf(at + strlen(event), "%u,%u %15s", &first, &second, kind) == 3 &&
			makedev(first, second) == st.st_rdev && strchr(kind, 'F');
	}
	if (trace)
		fclose(trace);
	return found;
}

/* How many of the devices below have been? */
static unsigned int flushed(struct stacked *d)
{
	unsigned int i, n = 0;

	if (!d->kind->lower)
		return __atomic_load_n(&d->nbd.flushes, __ATOMIC_SEQ_CST) != 0;
	for (i = 0; i < d->kind->parts; i++)
		n += was_flushed(d->lower[i]);
	return n;
}

TEST_F(devices, flushes_reach_those_below)
{
	struct stacked *log = &self->log, *segment = &self->segment;
	unsigned int parts = variant->kind->parts, i;
	struct world *w = &self->w;

	if (mount("tracefs", TRACING, "tracefs", 0, NULL))
		ASSERT_EQ(EBUSY, errno);
	WORKS(write_text(TRACING "/events/block/block_rq_issue/enable", "1"));
	for (i = 1; i < 3; i++) {
		set(w->area, w->memory, i, 5 * PAGE);
		WORKS(forget_requests(log, segment));
		ASSERT_EQ(0, flushed(log));
		WORKS(commit(w->log, w->area, RVM_COMMIT_FLUSH));
		/* a FUA write goes to where its data go */
		ASSERT_LE(variant->kind->mirrored ? parts : !!parts, flushed(log));
		ASSERT_EQ(0, flushed(segment));
		/* a flush goes everywhere */
		WORKS(forget_requests(log, segment));
		WORKS(truncate_log(w->log));
		ASSERT_EQ(parts, flushed(segment));
		ASSERT_EQ(parts, flushed(log));
	}
	WORKS(write_text(TRACING "/events/block/block_rq_issue/enable", "0"));
}

/* --- the user engine ---------------------------------------------------- */

/* A process that finds one byte, and dies without truncation after it has changed it. */
static void use_user_engine(struct __test_metadata *_metadata, const struct files *f, int found,
			    int left)
{
	rvm_options_t options;
	rvm_region_t region;
	rvm_tid_t tid;

	rvm_init_options(&options);
	options.log_dev = (char *)f->log;
	options.truncate = 0;
	rvm_init_region(&region);
	region.data_dev = (char *)f->segment;
	region.length = LENGTH;
	rvm_init_tid(&tid);
	ASSERT_EQ(RVM_SUCCESS, rvm_set_engine("user"));
	ASSERT_EQ(RVM_SUCCESS, RVM_INIT(&options));
	ASSERT_EQ(RVM_SUCCESS, rvm_map(&region, NULL));
	ASSERT_TRUE(all_are(region.vmaddr + 1000, found, 10000));
	ASSERT_EQ(RVM_SUCCESS, rvm_begin_transaction(&tid, restore));
	ASSERT_EQ(RVM_SUCCESS, rvm_set_range(&tid, region.vmaddr + 1000, 10000));
	memset(region.vmaddr + 1000, left, 10000);
	ASSERT_EQ(RVM_SUCCESS, rvm_end_transaction(&tid, flush));
}

TEST_F(devices, either_engine)
{
	struct world *w = &self->w;
	int i;

	for (i = 0; i < 4; i += 2) {
		close_world(w);
		CHILD(use_user_engine(_metadata, &w->f, i, i + 1));
		WORKS(open_world(w));
		ASSERT_EQ(1, query(w->log).recovered_records);
		ASSERT_TRUE(all_are(w->memory + 1000, i + 1, 10000));
		set(w->area, w->memory + 1000, i + 2, 10000);
		WORKS(commit(w->log, w->area, RVM_COMMIT_FLUSH));
	}
}

TEST_HARNESS_MAIN
