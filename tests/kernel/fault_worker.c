// SPDX-License-Identifier: GPL-2.0 OR MIT
/*
 * Description: memory fails the module where no caller of it waits for an error:
 * in the kernel threads that read, write, close and truncate for it, and in a
 * task that dies.  A passing lack of memory fails no log; what lasts is reported;
 * nobody hangs, and all works once nothing fails.  It takes a kernel with fault
 * injection: the debug kernel.
 *
 * fail-nth is set for each kernel thread that runs work of no particular CPU, as
 * all of the module's is; so the n-th point fails in whichever it falls to.
 */
#include "fault.h"

#include <sys/resource.h>

#define QUIET		3	/* so many calls without a failure: there are no more points */

struct operation {
	const char *name;
	int (*prepare)(struct state *s);	/* all up to the call */
	long (*run)(struct state *s);		/* the one call: -1 and errno */
	bool limited;				/* by a task with a limit: a thread writes for it */
	bool may_fail;				/* a thread can't do it later instead */
	enum middle middle;
};

/* --- kernel threads -------------------------------------------------------- */

static struct {
	unsigned int n;
	int nth[64], make_it_fail[64];
} threads;

static bool is_ours(const char *pid)
{
	char path[300], name[40] = "";
	int fd;

	snprintf(path, sizeof(path), "/proc/%s/comm", pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return false;
	if (read(fd, name, sizeof(name) - 1) < 0)
		name[0] = 0;
	close(fd);
	/* the last is where new ones come from, and what they inherit */
	return !strncmp(name, "kworker/u", 9) || !strncmp(name, "rvm-write", 9) ||
	       !strcmp(name, "kthreadd\n");
}

static int open_of(const char *pid, const char *name)
{
	char path[300];

	snprintf(path, sizeof(path), "/proc/%s/%s", pid, name);
	return open(path, O_RDWR | O_CLOEXEC);
}

/* They come and go. */
static void find_threads(void)
{
	DIR *dir = opendir("/proc");
	struct dirent *e;

	while (threads.n) {
		threads.n--;
		close(threads.nth[threads.n]);
		close(threads.make_it_fail[threads.n]);
	}
	while (dir && (e = readdir(dir)) && threads.n < ARRAY_LENGTH(threads.nth)) {
		if (e->d_name[0] < '1' || e->d_name[0] > '9' || !is_ours(e->d_name))
			continue;
		threads.nth[threads.n] = open_of(e->d_name, "fail-nth");
		threads.make_it_fail[threads.n] = open_of(e->d_name, "make-it-fail");
		threads.n++;
	}
	if (dir)
		closedir(dir);
}

/* To threads that have gone meanwhile it says nothing. */
static void tell_threads(const int *fds, const char *text)
{
	unsigned int i;

	for (i = 0; i < threads.n; i++)
		if (pwrite(fds[i], text, strlen(text), 0) < 0 && errno != ESRCH)
			abort();
}

static void arm(unsigned int n)
{
	char text[16];

	find_threads();
	snprintf(text, sizeof(text), "%u", n);
	tell_threads(threads.nth, text);
}

/* Has the n-th point come? */
static bool disarm(void)
{
	bool fired = false;
	unsigned int i;
	char c;

	for (i = 0; i < threads.n; i++)
		fired |= pread(threads.nth[i], &c, 1, 0) == 1 && c == '0';
	tell_threads(threads.nth, "0");
	return fired;
}

/* Of a hundred points in the threads so many fail, at random; 0: none any more. */
static int fail_threads(unsigned int percent)
{
	static const char *const kinds[] = { "failslab", "fail_page_alloc" };
	char path[100], text[16];
	unsigned int i;
	int ret = 0;

	find_threads();
	snprintf(text, sizeof(text), "%u", percent);
	for (i = 0; i < ARRAY_LENGTH(kinds); i++) {
		snprintf(path, sizeof(path), "%s/task-filter", kinds[i]);
		ret |= set_fault(path, "Y");
		snprintf(path, sizeof(path), "%s/times", kinds[i]);
		ret |= set_fault(path, "-1");
		snprintf(path, sizeof(path), "%s/probability", kinds[i]);
		ret |= set_fault(path, text);
	}
	tell_threads(threads.make_it_fail, percent ? "1" : "0");
	return ret;
}

/* A task with a limit on what it writes to a file has a thread write for it. */
static int limit_files(bool limit)
{
	struct rlimit r;

	if (getrlimit(RLIMIT_FSIZE, &r))
		return -1;
	r.rlim_cur = limit ? 64 * MIB : RLIM_INFINITY;
	return setrlimit(RLIMIT_FSIZE, &r);
}

/* --- before ---------------------------------------------------------------- */

static int commit_next(struct state *s, uint32_t flags)
{
	set(s->w.area, s->w.memory + MIDDLE, s->value + 1, MIDDLE_LENGTH);
	return commit(s->w.log, s->w.area, flags);
}

/* More of it than the percentage at which truncation starts in run_background(). */
static int prepare_flushed(struct state *s)
{
	unsigned int i;

	if (prepare_open(s) || commit_next(s, 0))
		return -1;
	for (i = 0; i < 3; i++) {
		set(s->w.area, s->w.memory + USED, i, 8 * KIB);
		if (commit(s->w.log, s->w.area, RVM_COMMIT_FLUSH))
			return -1;
	}
	return 0;
}

/* --- the calls ------------------------------------------------------------- */

/* By the worker: it has come to its end when the count says so, or never. */
static long run_background(struct state *s)
{
	unsigned long before = query(s->w.log).truncations;
	unsigned int i;

	if (set_truncate(s->w.log, 1))
		return -1;
	for (i = 0; i < 100 && query(s->w.log).truncations == before; i++)
		sleep_us(10000);
	if (query(s->w.log).truncations > before)
		return 0;
	errno = ENOMEM;
	return -1;
}

/* --- each point ------------------------------------------------------------ */

/* How many failures there were. */
static unsigned int try_all(struct __test_metadata *_metadata, struct state *s,
			    const struct operation *o)
{
	unsigned int n, quiet = 0, fired = 0, errors = 0, failed_logs = 0;
	bool fires;
	int error;
	long ret;

	for (n = 1; quiet < QUIET; n++) {
		ASSERT_EQ(0, o->prepare(s)) TH_LOG("%s, before failure %u", o->name, n);
		WORKS(limit_files(o->limited));
		arm(n);
		ret = o->run(s);
		error = errno;
		fires = disarm();
		WORKS(limit_files(false));
		fired += fires;
		quiet = fires ? 0 : quiet + 1;
		if (s->devices && s->w.log >= 0 && query(s->w.log).failed) {
			/* a request that failed, where nobody was told: now they are */
			FAILS(EIO, flush_log(s->w.log));
			FAILS(EIO, commit_next(s, RVM_COMMIT_FLUSH));
			failed_logs++;
		} else if (ret) {
			ASSERT_TRUE(fires && o->may_fail) TH_LOG("%s, failure %u: %s", o->name, n,
								 strerror(error));
			ASSERT_TRUE(error == ENOMEM || error == EFAULT || error == EIO)
				TH_LOG("%s, failure %u: %s", o->name, n, strerror(error));
			errors++;
			ASSERT_EQ(0, o->run(s)) TH_LOG("%s, after failure %u: %s", o->name, n,
						       strerror(errno));
		}
		if (s->w.log >= 0 && !s->devices)
			ASSERT_EQ(0, query(s->w.log).failed) TH_LOG("%s, failure %u", o->name, n);
		ASSERT_TRUE(reopens(s, o->middle)) TH_LOG("%s, after failure %u, reopened", o->name, n);
	}
	printf("# %s: %u failures, %u errors, %u failed logs\n", o->name, fired, errors, failed_logs);
	return fired;
}

/* --- the fixture ------------------------------------------------------------- */

FIXTURE(worker) { struct state s; };

FIXTURE_VARIANT(worker) { enum place on; };
FIXTURE_VARIANT_ADD(worker, files) { FILES };
FIXTURE_VARIANT_ADD(worker, ext4) { EXT4 };
FIXTURE_VARIANT_ADD(worker, devices) { DEVICES };

FIXTURE_SETUP(worker)
{
	WORKS(set_up(&self->s, variant->on));
}

FIXTURE_TEARDOWN(worker)
{
	fail_threads(0);
	EXPECT_TRUE(take_down(&self->s, variant->on));
}

/* Each point of the threads' work, once. */
TEST_F(worker, each_point)
{
	static const struct operation operations[] = {
		{ "load", prepare_open, run_load, false, true, OLD },
		{ "store", prepare_open, run_store, false, true, OLD },
		{ "recover", prepare_recover, run_recover, false, true, OLD },
		{ "recover, limited", prepare_recover, run_recover, true, true, OLD },
		{ "commit", prepare_transaction, run_commit_flush, true, false, NEW },
		{ "flush", prepare_committed, run_flush, true, false, NEW },
		{ "truncate", prepare_committed, run_truncate, true, false, NEW },
		{ "close", prepare_close_log, run_close_log, true, false, NEW },
		{ "background", prepare_flushed, run_background, false, true, NEW },
	};
	unsigned int i, fired = 0;

	for (i = 0; i < ARRAY_LENGTH(operations); i++)
		fired += try_all(_metadata, &self->s, &operations[i]);
	/* tmpfs hardly takes any; devices are left to the tasks but for truncation */
	ASSERT_LE(variant->on == EXT4 ? 20 : variant->on == DEVICES ? 1 : 0, fired);
}

/* --- at random --------------------------------------------------------------- */

#define TASKS		3
#define SHARE		(LENGTH / TASKS / 8 * 8)
#define TRANSACTIONS	60

struct progress {
	unsigned int committed, refused, errors;
};

/* One of several processes with a share each: what was refused is as before. */
static void use_share(struct state *s, unsigned int me, struct progress *p)
{
	char *share = s->w.memory + me * SHARE;
	struct rvm_area_header *area = map(s->w.log, AREA);
	unsigned int n;

	if (limit_files(me != 0))
		_exit(1);
	for (n = 1; n <= TRANSACTIONS; n++) {
		set(area, share, n, 3000 + me * 4000);
		if (!commit(s->w.log, area, n % 3 ? 0 : RVM_COMMIT_FLUSH)) {
			p->committed = n;
			continue;
		}
		p->refused++;
		if (errno != ENOMEM)
			p->errors++;
		if (do_abort(s->w.log, area))
			_exit(2);
		if (!all_are(share, p->committed, 3000 + me * 4000))
			_exit(3);
	}
	_exit(0);
}

TEST_F(worker, at_random)
{
	struct state *s = &self->s;
	struct progress *p = shared_memory(PAGE);
	unsigned int i, refused = 0;
	pid_t pids[TASKS];
	int status;

	if (s->devices)
		return;		/* there they fail requests, too */
	/* the mappings are not inherited: the children map their own */
	WORKS(open_world(&s->w));
	WORKS(set_truncate(s->w.log, 10));
	WORKS(fail_threads(5));
	for (i = 0; i < TASKS; i++) {
		pids[i] = fork();
		if (!pids[i]) {
			s->w.memory = map(s->w.segment, LENGTH);
			use_share(s, i, &p[i]);
		}
	}
	for (i = 0; i < TASKS; i++) {
		ASSERT_EQ(pids[i], waitpid(pids[i], &status, 0));
		EXPECT_EQ(0, status) TH_LOG("task %u", i);
	}
	WORKS(fail_threads(0));
	ASSERT_EQ(0, query(s->w.log).failed);
	ASSERT_LT(0, query(s->w.log).truncations);
	set(s->w.area, s->w.memory + LENGTH - 8, 1, 8);
	WORKS(commit(s->w.log, s->w.area, RVM_COMMIT_FLUSH));
	WORKS(truncate_log(s->w.log));
	for (i = 0; i < TASKS; i++) {
		EXPECT_EQ(0, p[i].errors);
		EXPECT_TRUE(all_are(s->w.memory + i * SHARE, p[i].committed, 3000 + i * 4000));
		refused += p[i].refused;
	}
	close_all(s);
	WORKS(open_world(&s->w));
	for (i = 0; i < TASKS; i++)
		EXPECT_TRUE(all_are(s->w.memory + i * SHARE, p[i].committed, 3000 + i * 4000));
	printf("# %u of %u commits refused\n", refused, TASKS * TRANSACTIONS);
	munmap(p, PAGE);
}

/* --- for good ---------------------------------------------------------------- */

/* A full log that truncation has no memory to empty: that, and not that it is full. */
TEST_F(worker, full_and_short_of_memory)
{
	struct state *s = &self->s;
	int ret, error, myself;

	if (variant->on != EXT4)
		return;		/* the others need no memory to write again */
	ASSERT_EQ(0, prepare_full(s, RVM_COMMIT_FLUSH));
	/* open before: then that would fail, too */
	WORKS(myself = open("/proc/thread-self/make-it-fail", O_RDWR | O_CLOEXEC));
	WORKS(fail_threads(100));
	WORKS(write(myself, "1", 1));
	ret = commit(s->w.log, s->w.area, 0);
	error = errno;
	write(myself, "0", 1);
	close(myself);
	WORKS(fail_threads(0));
	ASSERT_EQ(-1, ret);
	ASSERT_EQ(ENOMEM, error) TH_LOG("%s", strerror(error));
	/* it is still open, and the log has not failed */
	ASSERT_EQ(0, query(s->w.log).failed);
	ASSERT_NE(0, s->w.area->used);
	ASSERT_TRUE(all_are(s->w.memory + MIDDLE, s->value + 1, MIDDLE_LENGTH));
	WORKS(commit(s->w.log, s->w.area, RVM_COMMIT_FLUSH));
	ASSERT_TRUE(reopens(s, NEW));
}

/* The worker can't, again and again: it comes to nothing, and then it can. */
TEST_F(worker, no_truncation)
{
	struct state *s = &self->s;

	if (variant->on != EXT4)
		return;
	ASSERT_EQ(0, prepare_flushed(s));
	WORKS(fail_threads(100));
	FAILS(ENOMEM, run_background(s));
	/* durable, lest the worker has the log to write: that would fail it */
	WORKS(commit_next(s, RVM_COMMIT_FLUSH));
	FAILS(ENOMEM, run_background(s));
	WORKS(fail_threads(0));
	ASSERT_EQ(0, query(s->w.log).failed);
	WORKS(run_background(s));
	ASSERT_TRUE(file_is(s->w.f.segment, MIDDLE, s->value + 1, MIDDLE_LENGTH));
	ASSERT_TRUE(reopens(s, NEW));
}

/* A log that can't be written for longer than it tries: it has failed, and says so. */
TEST_F(worker, no_log_write)
{
	struct state *s = &self->s;

	if (variant->on != EXT4)
		return;
	ASSERT_EQ(0, prepare_transaction(s));
	WORKS(limit_files(true));
	WORKS(fail_threads(100));
	FAILS(EIO, commit(s->w.log, s->w.area, RVM_COMMIT_FLUSH));
	WORKS(fail_threads(0));
	WORKS(limit_files(false));
	ASSERT_EQ(1, query(s->w.log).failed);
	FAILS(EIO, flush_log(s->w.log));
	FAILS(EIO, truncate_log(s->w.log));
	FAILS(EIO, commit_next(s, 0));
	ASSERT_TRUE(reopens(s, OLD));
	ASSERT_EQ(0, prepare_transaction(s));
	WORKS(run_commit_flush(s));
	ASSERT_TRUE(reopens(s, NEW));
}

/* --- a task that dies ---------------------------------------------------------- */

/* With a transaction open. */
static void die_at(struct state *s, unsigned int n, bool killed)
{
	int nth = open("/proc/thread-self/fail-nth", O_RDWR | O_CLOEXEC);
	char text[16];

	set(s->w.area, s->w.memory, 66, USED);
	snprintf(text, sizeof(text), "%u", n);
	if (nth < 0 || write(nth, text, strlen(text)) < 0)
		_exit(1);
	if (killed)
		kill(getpid(), SIGKILL);
	_exit(0);
}

/* Wait for its end: 1 if the n-th point has failed on the way, -1 if it went wrong. */
static int end_of(pid_t pid, bool killed)
{
	char path[50], c = 0;
	siginfo_t info;
	int fd, status;

	if (waitid(P_PID, pid, &info, WEXITED | WNOWAIT))
		return -1;
	snprintf(path, sizeof(path), "/proc/%d/fail-nth", pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || read(fd, &c, 1) != 1)
		c = 0;
	close(fd);
	if (!c || waitpid(pid, &status, 0) != pid)
		return -1;
	if (killed ? !WIFSIGNALED(status) || WTERMSIG(status) != SIGKILL : status)
		return -1;
	return c == '0';
}

/* The last of a log dies: what it had committed is written at its end. */
TEST_F(worker, last_dies)
{
	struct state *s = &self->s;
	unsigned int n, quiet = 0, failures = 0;
	int fired;
	pid_t pid;

	for (n = 1; quiet < 2 * QUIET; n++) {
		ASSERT_EQ(0, prepare_open(s));
		close_all(s);
		pid = fork();
		if (!pid) {
			if (open_all(s) || commit_next(s, 0))
				_exit(2);
			die_at(s, n, n & 1);
		}
		fired = end_of(pid, n & 1);
		ASSERT_NE(-1, fired) TH_LOG("failure %u", n);
		quiet = fired ? 0 : quiet + 1;
		failures += fired;
		ASSERT_TRUE(module_is_free());
		/* where it was a request that failed, the commit may not have got there */
		ASSERT_TRUE(reopens(s, NEW) || (s->devices && fired && reopens(s, OLD)))
			TH_LOG("failure %u", n);
	}
	printf("# %u failures\n", failures);
}

/* One of two dies: the other goes on, in the same log and the same pages. */
TEST_F(worker, one_of_two_dies)
{
	struct state *s = &self->s;
	unsigned int n, quiet = 0, failures = 0;
	int fired;
	pid_t pid;

	ASSERT_EQ(0, prepare_open(s));
	for (n = 1; quiet < 2 * QUIET; n++) {
		set(s->w.area, s->w.memory + USED, n, 100);
		pid = fork();
		if (!pid) {
			s->w.memory = map(s->w.segment, LENGTH);
			s->w.area = map(s->w.log, AREA);
			die_at(s, n, n & 1);
		}
		fired = end_of(pid, n & 1);
		ASSERT_NE(-1, fired) TH_LOG("failure %u", n);
		quiet = fired ? 0 : quiet + 1;
		failures += fired;
		ASSERT_TRUE(all_are(s->w.memory, s->value, USED)) TH_LOG("failure %u", n);
		WORKS(commit(s->w.log, s->w.area, n % 3 ? 0 : RVM_COMMIT_FLUSH));
		if (!(n % 4))
			WORKS(truncate_log(s->w.log));
	}
	ASSERT_TRUE(all_are(s->w.memory + USED, n - 1, 100));
	ASSERT_TRUE(reopens(s, OLD));
	printf("# %u failures\n", failures);
}

/* Killed in the middle of calls of which one point in so many fails. */
TEST_F(worker, killed_at_work)
{
	struct state *s = &self->s;
	unsigned int i;
	int status;
	pid_t pid;

	if (s->devices)
		return;		/* a request that fails, fails the log of both */
	ASSERT_EQ(0, prepare_open(s));
	for (i = 0; i < 40; i++) {
		pid = fork();
		if (!pid) {
			int nth = open("/proc/thread-self/fail-nth", O_RDWR | O_CLOEXEC);
			char text[16];

			for (;;) {
				struct rvm_area_header *volatile area;
				char *volatile memory;

				snprintf(text, sizeof(text), "%lu", 1 + next_random() % 40);
				write(nth, text, strlen(text));
				memory = map(s->w.segment, LENGTH);
				area = map(s->w.log, PAGE * 4);
				if (memory != MAP_FAILED && area != MAP_FAILED &&
				    !sigsetjmp(after_fault, 1)) {
					set(area, memory + USED, i, 9000);
					commit(s->w.log, area, i % 2);
					set(area, memory, 77, USED);
					truncate_log(s->w.log);
				}
				write(nth, "0", 1);
				if (area != MAP_FAILED)
					munmap(area, PAGE * 4);
				if (memory != MAP_FAILED)
					munmap(memory, LENGTH);
			}
		}
		sleep_us(next_random() % 60000);
		kill(pid, SIGKILL);
		ASSERT_EQ(pid, waitpid(pid, &status, 0));
		ASSERT_TRUE(WIFSIGNALED(status));
		ASSERT_TRUE(all_are(s->w.memory, s->value, USED)) TH_LOG("child %u", i);
		ASSERT_EQ(0, query(s->w.log).failed) TH_LOG("child %u", i);
		set(s->w.area, s->w.memory + USED + 12000, i, 100);
		WORKS(commit(s->w.log, s->w.area, RVM_COMMIT_FLUSH));
	}
	ASSERT_TRUE(reopens(s, OLD));
}

TEST_HARNESS_MAIN
