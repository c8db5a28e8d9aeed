// SPDX-License-Identifier: GPL-2.0 OR MIT
/*
 * Description: each allocation, copy and block request of each call fails in
 * turn.  fail-nth lets the n-th point fail that a task comes to, wherever it
 * is; n grows until the call comes to its end before that.  After each failure:
 * an error that says so, all as before, and the same call works when nothing
 * fails.  It takes a kernel with fault injection: the debug kernel.
 */
#include "fault.h"

/* So many errors are each followed by a call that works and a reopening; then one in so many. */
#define FULL_CHECKS	8

static int nth;			/* fail-nth, open */
static int pipe_fds[2];

struct operation {
	const char *name;
	int (*prepare)(struct state *s);	/* all up to the call */
	long (*run)(struct state *s);		/* the one call: -1 and errno */
	bool (*unchanged)(struct state *s);	/* after it failed, if there is something to see */
	enum middle middle;
};

/* --- before ---------------------------------------------------------------- */

static int prepare_log(struct state *s)
{
	if (prepare_closed(s))
		return -1;
	s->rvm = open("/dev/rvm", O_RDWR | O_CLOEXEC);
	s->file = open(s->w.f.log, O_RDWR | O_CLOEXEC);
	return s->rvm < 0 || s->file < 0 ? -1 : 0;
}

static int prepare_segment(struct state *s)
{
	if (prepare_closed(s))
		return -1;
	s->w.log = attach(s->w.f.log);
	s->file = open(s->w.f.segment, O_RDWR | O_CLOEXEC);
	return s->w.log < 0 || s->file < 0 ? -1 : 0;
}

static int prepare_map(struct state *s)
{
	return prepare_recover(s) ? -1 : recover(s->w.log, NULL, NULL);
}

static int prepare_loaded(struct state *s)
{
	return prepare_open(s) || !all_are(s->w.memory, s->value, USED) ? -1 : 0;
}

/* Of more ranges than an area has room for pieces at first. */
static int prepare_many(struct state *s)
{
	unsigned int i;

	if (prepare_open(s))
		return -1;
	for (i = 0; i < MIDDLE_LENGTH; i += 20)
		set(s->w.area, s->w.memory + MIDDLE + i, s->value + 1, 20);
	return 0;
}

/* A record that the ring in memory is too small for. */
static int prepare_large(struct state *s)
{
	unsigned int i;

	if (prepare_transaction(s))
		return -1;
	for (i = 0; i < LENGTH; i += PAGE)
		set(s->w.area, s->w.memory + i + PAGE - 1, s->w.memory[i + PAGE - 1], 1);
	for (i = 0; i < 3; i++)
		declare_no_restore(s->w.area, s->w.memory, LENGTH);
	return 0;
}

static int prepare_full_unflushed(struct state *s)
{
	return prepare_full(s, 0);
}

/* --- the calls ------------------------------------------------------------ */

static long run_open(struct state *s)
{
	s->rvm = open("/dev/rvm", O_RDWR | O_CLOEXEC);
	return s->rvm;
}

static long run_attach_log(struct state *s)
{
	struct rvm_ioc_attach_log a = { .size = sizeof(a), .fd = s->file };

	s->w.log = ioctl(s->rvm, RVM_IOC_ATTACH_LOG, &a);
	return s->w.log;
}

static long run_attach_segment(struct state *s)
{
	s->w.segment = segment_fd(s->w.log, s->file, s->w.f.segment, strlen(s->w.f.segment));
	return s->w.segment;
}

/* Under a name that the log has to take note of. */
static long run_attach_new(struct state *s)
{
	char name[20];

	snprintf(name, sizeof(name), "/new.%d", s->value);
	s->w.segment = segment_fd(s->w.log, s->file, name, strlen(name));
	return s->w.segment;
}

static long run_dictionary(struct state *s)
{
	struct rvm_ioc_segment_name entry;

	return find_name(s->w.log, s->w.f.segment, &entry) ? 0 : -1;
}

static long run_query(struct state *s)
{
	struct rvm_ioc_query a = { .size = sizeof(a) };

	return ioctl(s->w.log, RVM_IOC_QUERY, &a);
}

static long run_statistics(struct state *s)
{
	struct rvm_ioc_statistics a = { .size = sizeof(a) };

	return ioctl(s->w.log, RVM_IOC_STATISTICS, &a);
}

static long run_set_options(struct state *s)
{
	return set_truncate(s->w.log, 0);
}

static long run_map_area(struct state *s)
{
	s->w.area = map(s->w.log, AREA);
	return s->w.area == MAP_FAILED ? -1 : 0;
}

static long run_map_region(struct state *s)
{
	s->w.memory = map(s->w.segment, LENGTH);
	return s->w.memory == MAP_FAILED ? -1 : 0;
}

/* A load and a store by a system call. */
static long run_copy_out(struct state *s)
{
	char byte;

	return write(pipe_fds[1], s->w.memory, 1) == 1 && read(pipe_fds[0], &byte, 1) == 1 ? 0 : -1;
}

static long run_copy_in(struct state *s)
{
	return pread(nth, s->w.memory + USED, 1, 0) == 1 ? 0 : -1;
}

static long run_commit(struct state *s)
{
	return commit(s->w.log, s->w.area, 0);
}

static long run_abort(struct state *s)
{
	return do_abort(s->w.log, s->w.area);
}

static long run_spill(struct state *s)
{
	return area_ioctl(s->w.log, RVM_IOC_SPILL, s->w.area->area);
}

static long run_unmap_area(struct state *s)
{
	long ret = munmap(s->w.area, AREA);

	if (!ret)
		s->w.area = MAP_FAILED;
	return ret;
}

static long run_unmap_region(struct state *s)
{
	long ret = munmap(s->w.memory, LENGTH);

	if (!ret)
		s->w.memory = MAP_FAILED;
	return ret;
}

static long run_close_segment(struct state *s)
{
	int fd = s->w.segment;

	s->w.segment = -1;
	return close(fd);
}

/* --- what must hold afterwards -------------------------------------------- */

/* The transaction is still open, and memory as its process left it. */
static bool still_open(struct state *s)
{
	return s->w.area->used && all_are(s->w.memory + MIDDLE, s->value + 1, MIDDLE_LENGTH);
}

static bool still_committed(struct state *s)
{
	return all_are(s->w.memory + MIDDLE, s->value + 1, MIDDLE_LENGTH);
}

static bool still_mapped(struct state *s)
{
	return all_are(s->w.memory, s->value, USED);
}

/* Does the n-th point fail in the call?  It returns the call's result and errno. */
static bool fails_at(struct state *s, const struct operation *o, unsigned int n, long *ret,
		     int *error)
{
	char text[16] = "";
	ssize_t length;

	snprintf(text, sizeof(text), "%u", n);
	if (write(nth, text, strlen(text)) < 0)
		abort();
	*ret = o->run(s);
	*error = errno;
	/* this copies, too: where it fails, the call came to its end without */
	length = pread(nth, text, sizeof(text) - 1, 0);
	write(nth, "0", 1);
	return length > 0 && text[0] == '0';
}

static void try_all(struct __test_metadata *_metadata, struct state *s, const struct operation *o)
{
	unsigned int n, worked = 0, errors = 0, failed_logs = 0;
	bool fired = true, prepared = false;
	int error, middle;
	long ret;

	for (n = 1; fired; n++) {
		if (!prepared)
			ASSERT_EQ(0, o->prepare(s)) TH_LOG("%s, before failure %u", o->name, n);
		prepared = false;
		fired = fails_at(s, o, n, &ret, &error);
		middle = o->middle;
		if (!fired)
			ASSERT_NE(-1, ret) TH_LOG("%s: %s", o->name, strerror(error));
		if (ret >= 0) {
			worked++;
			/* the close of a log can't say that its last flush failed */
			if (fired && s->devices && s->w.log < 0)
				middle = EITHER;
		} else if (s->w.log >= 0 && query(s->w.log).failed) {
			/* only by a failed request, and it stays so */
			ASSERT_TRUE(s->devices && error == EIO)
				TH_LOG("%s, failure %u: the log has failed: %s", o->name, n,
				       strerror(error));
			FAILS(EIO, flush_log(s->w.log));
			middle = EITHER;
			failed_logs++;
		} else {
			ASSERT_TRUE(error == ENOMEM || error == EFAULT ||
				    (s->devices && (error == EIO || error == ENOSPC)))
				TH_LOG("%s, failure %u: %s", o->name, n, strerror(error));
			if (o->unchanged)
				ASSERT_TRUE(o->unchanged(s)) TH_LOG("%s, failure %u", o->name, n);
			errors++;
			/* as nothing has changed, the next may follow at once */
			prepared = errors > FULL_CHECKS && errors % FULL_CHECKS;
			if (prepared)
				continue;
			ASSERT_NE(-1, o->run(s)) TH_LOG("%s, after failure %u", o->name, n);
		}
		ASSERT_TRUE(reopens(s, middle)) TH_LOG("%s, after failure %u, reopened", o->name, n);
	}
	/* the last n is the one that nothing failed at */
	printf("# %s: %u failures, %u errors, %u failed logs\n", o->name, n - 2, errors,
	       failed_logs);
	ASSERT_EQ(n - 1, errors + failed_logs + worked);
}

/* --- the fixture ---------------------------------------------------------- */

FIXTURE(fault) { struct state s; };

FIXTURE_VARIANT(fault) { enum place on; };
FIXTURE_VARIANT_ADD(fault, files) { FILES };
FIXTURE_VARIANT_ADD(fault, ext4) { EXT4 };
FIXTURE_VARIANT_ADD(fault, devices) { DEVICES };

FIXTURE_SETUP(fault)
{
	WORKS(set_up(&self->s, variant->on));
	nth = open("/proc/thread-self/fail-nth", O_RDWR | O_CLOEXEC);
	WORKS(nth);
	WORKS(pipe2(pipe_fds, O_CLOEXEC));
}

FIXTURE_TEARDOWN(fault)
{
	EXPECT_TRUE(take_down(&self->s, variant->on));
}

#define OPERATION(name, prepare, unchanged, middle)			\
TEST_F(fault, name)							\
{									\
	static const struct operation o = { #name, prepare, run_##name, unchanged, middle }; \
									\
	try_all(_metadata, &self->s, &o);				\
}

OPERATION(open, prepare_closed, NULL, OLD)
OPERATION(attach_log, prepare_log, NULL, OLD)
OPERATION(attach_segment, prepare_segment, NULL, OLD)
OPERATION(attach_new, prepare_segment, NULL, OLD)
OPERATION(dictionary, prepare_open, still_mapped, OLD)
OPERATION(query, prepare_open, still_mapped, OLD)
OPERATION(statistics, prepare_open, still_mapped, OLD)
OPERATION(set_options, prepare_open, still_mapped, OLD)
OPERATION(recover, prepare_recover, NULL, OLD)
OPERATION(map_area, prepare_map, NULL, OLD)
OPERATION(map_region, prepare_map, NULL, OLD)
OPERATION(load, prepare_open, NULL, OLD)
OPERATION(store, prepare_open, NULL, OLD)
OPERATION(copy_out, prepare_open, NULL, OLD)
OPERATION(copy_in, prepare_loaded, NULL, OLD)
OPERATION(spill, prepare_transaction, still_open, OLD)
OPERATION(abort, prepare_transaction, still_open, OLD)
OPERATION(commit, prepare_many, still_open, NEW)
OPERATION(commit_flush, prepare_transaction, still_open, NEW)
OPERATION(flush, prepare_committed, still_committed, NEW)
OPERATION(truncate, prepare_committed, still_committed, NEW)
OPERATION(unmap_area, prepare_transaction, still_open, OLD)
OPERATION(unmap_region, prepare_transaction, still_open, OLD)
OPERATION(close_segment, prepare_committed, NULL, NEW)
OPERATION(close_log, prepare_close_log, NULL, NEW)

/* A commit that needs a larger ring, and one that needs truncation. */
#define run_commit_large	run_commit
#define run_commit_full		run_commit_flush
OPERATION(commit_large, prepare_large, still_open, NEW)
OPERATION(commit_full, prepare_full_unflushed, still_open, NEW)

int main(int argc, char **argv)
{
	int ret;

	if (load("ring_kib=64")) {
		perror("rvm.ko can't be loaded anew");
		return 1;
	}
	ret = test_harness_run(argc, argv);
	return load("") || ret;
}
