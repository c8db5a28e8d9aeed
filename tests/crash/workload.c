// SPDX-License-Identifier: GPL-2.0 OR MIT
/*
 * Description: the workload as a program, for machines that crash.
 *
 *	workload make		a new log, segments and mark
 *	workload run		check what is there, then work
 *	workload check		check what is there
 *
 * What was acknowledged stands in the *mark*, a file or device of one page that
 * is written after each acknowledgement and is no part of what is tested.  It
 * also has where each run began, so that a check needs nothing else.
 *
 * Each transaction also writes how many of each thread had returned before it
 * began.  All of these come earlier in the commit order, so where it is, they
 * must be: that is how a check sees that all threads together are at a prefix.
 */
#include "workload.h"

#include <getopt.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/wait.h>

#define RUNS_MAX	28

struct mark {
	uint64_t run;				/* the present one, or the last */
	uint64_t ended;				/* then `begun` is final */
	uint64_t begun[THREADS_MAX], durable[THREADS_MAX];
	uint64_t start[RUNS_MAX][THREADS_MAX];	/* where each run began */
};

/* Of each thread, in the part of the second segment that follows those of the threads. */
struct order {
	uint64_t count;			/* its transactions, this one included */
	uint64_t seen[THREADS_MAX];	/* had returned before this one began */
};

static union {
	struct mark mark;
	char page[4096];
} __attribute__((aligned(4096))) m;

_Static_assert(sizeof(struct mark) <= sizeof(m), "a mark is a page");
_Static_assert(THREADS_MAX * sizeof(struct order) <= AREA, "the orders fit");

static struct {
	_Atomic unsigned long begun, returned, durable;
} progress[THREADS_MAX];
static unsigned int threads = 4, run;
static unsigned long log_size = 256 << 10, transactions = 200;
static const char *log_path, *segment_path, *mark_path, *engine;
static char *segments[SEGMENTS];
static bool errors_expected;
static _Atomic bool log_failed;			/* a commit has said so */
static int mark_fd = -1;
static pthread_mutex_t mark_lock = PTHREAD_MUTEX_INITIALIZER;

static void open_mark(int flags)
{
	mark_fd = open(mark_path, O_RDWR | O_DIRECT | flags, 0600);
	if (mark_fd < 0 && errno == EINVAL)
		mark_fd = open(mark_path, O_RDWR | flags, 0600);
	if (mark_fd < 0)
		fail("can't open %s: %s", mark_path, strerror(errno));
}

static void write_mark(void)
{
	if (pwrite(mark_fd, &m, sizeof(m), 0) != sizeof(m))
		fail("can't write %s: %s", mark_path, strerror(errno));
}

static void start(void)
{
	static const unsigned long flags[] = { 0, RVM_COALESCE_RANGES, RVM_ALL_OPTIMIZATIONS };
	unsigned long r;

	open_mark(0);
	if (pread(mark_fd, &m, sizeof(m), 0) != sizeof(m))
		fail("can't read %s", mark_path);
	run = m.mark.run;
	r = mix(seed ^ mix(run ^ 0x3000));
	if (engine)
		OK(rvm_set_engine(engine));
	start_library(log_path, segments, flags[next_random(&r) % 3] |
		      (next_random(&r) % 3 ? 0 : RVM_MAP_PRIVATE), 10 + next_random(&r) % 80);
}

static unsigned long found(unsigned int thread)
{
	unsigned long n;

	memcpy(&n, area(0, thread), sizeof(n));
	return n;
}

static struct order *order_of(unsigned int thread)
{
	return (struct order *)area(1, threads) + thread;
}

static void print_counts(const char *what)
{
	unsigned int i;

	printf("%s:", what);
	for (i = 0; i < threads; i++)
		printf(" %lu", found(i));
	printf("\n");
	fflush(stdout);
}

/* --- work --- */

/* Everything that returned up to now is durable once the call that follows returns. */
static void note_returned(uint64_t *counts)
{
	unsigned int i;

	for (i = 0; i < threads; i++)
		counts[i] = progress[i].returned;
}

static void now_durable(const uint64_t *counts)
{
	unsigned int i;

	pthread_mutex_lock(&mark_lock);
	for (i = 0; i < threads; i++)
		if (m.mark.durable[i] < counts[i])
			m.mark.durable[i] = counts[i];
	write_mark();
	pthread_mutex_unlock(&mark_lock);
}

static void one_transaction(unsigned int thread, unsigned long n, unsigned long *r)
{
	bool aborts = next_random(r) % 8 == 0, flushes = next_random(r) % 4 == 0;
	rvm_mode_t mode = aborts || next_random(r) % 2 ? restore : no_restore;
	struct order order = { .count = n };
	rvm_engine_counters_t counters;
	uint64_t counts[THREADS_MAX];
	bool failed_before;
	rvm_return_t code;
	rvm_tid_t tid;

	note_returned(order.seen);
	begin_changes(&tid, thread, n, run, mode, aborts);
	OK(rvm_modify_bytes(&tid, order_of(thread), &order, sizeof(order)));
	if (aborts) {
		OK(rvm_abort_transaction(&tid));
		return;
	}
	progress[thread].begun = n;
	note_returned(counts);
	failed_before = log_failed;
	code = rvm_end_transaction(&tid, flushes ? flush : no_flush);
	if (errors_expected && code == RVM_EIO) {
		/* or the log was full, and a segment failed: that passes */
		OK(rvm_get_engine_counters(&counters));
		if (counters.failed)
			log_failed = true;
		return;
	}
	check(code, "rvm_end_transaction");
	if (failed_before)
		fail("thread %u: commit %lu succeeds after one has failed", thread, n);
	progress[thread].returned = n;
	if (flushes) {
		counts[thread] = n;
		now_durable(counts);
	}
}

/* rvm_flush or rvm_truncate; it may fail where errors are expected. */
static void make_durable(rvm_return_t (*fn)(void), const char *name)
{
	uint64_t counts[THREADS_MAX];
	rvm_return_t code;

	note_returned(counts);
	code = fn();
	if (errors_expected && code == RVM_EIO)
		return;
	check(code, name);
	now_durable(counts);
}

static void *work(void *context)
{
	unsigned long thread = (unsigned long)context, i;
	unsigned long r = mix(seed ^ mix(run) ^ thread);
	unsigned int more = 20;

	for (i = 0; i < transactions; i++) {
		one_transaction(thread, progress[thread].returned + 1, &r);
		if (next_random(&r) % 64 == 0)
			make_durable(rvm_flush, "rvm_flush");
		if (next_random(&r) % 256 == 0)
			make_durable(rvm_truncate, "rvm_truncate");
		if (log_failed && !--more)
			break;
	}
	return NULL;
}

static void begin_run(void)
{
	unsigned int i;

	if (m.mark.run + 1 == RUNS_MAX)
		fail("no room in the mark for one more run");
	run = ++m.mark.run;
	m.mark.ended = 0;
	for (i = 0; i < threads; i++) {
		progress[i].begun = progress[i].returned = found(i);
		m.mark.start[run][i] = m.mark.durable[i] = found(i);
	}
	write_mark();
}

static void end_run(void)
{
	unsigned int i;

	for (i = 0; i < threads; i++)
		m.mark.begun[i] = progress[i].begun;
	m.mark.ended = 1;
	write_mark();
	print_counts("left");
	if (errors_expected)
		printf("the log %s\n", log_failed ? "has failed" : "has not failed");
	fflush(stdout);
}

/* --- the check --- */

static void check_order(void)
{
	unsigned int i, j;

	for (i = 0; i < threads; i++) {
		const struct order *o = order_of(i);

		if (o->count != found(i))
			fail("thread %u is at %lu here and at %lu there", i, found(i),
			     (unsigned long)o->count);
		for (j = 0; j < threads; j++)
			if (o->seen[j] > found(j))
				fail("thread %u is at %lu, which came after %lu of thread %u, which is at %lu",
				     i, found(i), (unsigned long)o->seen[j], j, found(j));
	}
}

/* After rvm_truncate an ordinary reader sees the same. */
static void compare_files(model_t model)
{
	static unsigned char buffer[AREA];
	unsigned int i, s;

	OK(rvm_truncate());
	for (s = 0; s < SEGMENTS; s++) {
		int fd = open(segments[s], O_RDONLY);

		for (i = 0; i < threads; i++) {
			if (pread(fd, buffer, AREA, i * AREA) != (ssize_t)AREA)
				fail("reading %s: %s", segments[s], strerror(errno));
			compare(model, buffer, s, i, "after rvm_truncate");
		}
		close(fd);
	}
}

/* Memory is what all runs so far left, and has all that they acknowledged. */
static void check_all(void)
{
	static model_t model;
	unsigned int i, s, r;

	for (i = 0; i < threads; i++) {
		unsigned long n = found(i);

		if (n < m.mark.durable[i] || (m.mark.ended && n > m.mark.begun[i]))
			fail("thread %u is at %lu; %lu were acknowledged, %lu begun", i, n,
			     (unsigned long)m.mark.durable[i], (unsigned long)m.mark.begun[i]);
		for (r = 1; r < run; r++)
			advance_model(model, i, m.mark.start[r][i], m.mark.start[r + 1][i], r);
		if (run)
			advance_model(model, i, m.mark.start[run][i], n, run);
		for (s = 0; s < SEGMENTS; s++)
			compare(model, area(s, i), s, i, "after recovery");
	}
	check_order();
	/* not always: it would hide what a later run meets */
	if (mix(seed ^ mix(found(0))) % 2)
		compare_files(model);
}

/* --- the commands --- */

static void make(void)
{
	open_mark(O_CREAT | O_TRUNC);
	write_mark();
	make_files(log_path, log_size, segments, threads + 1);
}

static void check_only(void)
{
	start();
	check_all();
	print_counts("found");
	OK(rvm_terminate());
}

static void check_and_run(void)
{
	pthread_t id[THREADS_MAX];
	unsigned long i;

	start();
	check_all();
	print_counts("found");
	begin_run();
	for (i = 1; i < threads; i++)
		if (pthread_create(&id[i], NULL, work, (void *)i))
			fail("pthread_create");
	work(NULL);
	for (i = 1; i < threads; i++)
		pthread_join(id[i], NULL);
	end_run();
	/* else the process ends as in a crash */
	if (run % 2 && !errors_expected)
		OK(rvm_terminate());
}

static int in_child(void (*fn)(void))
{
	int status;
	pid_t pid = fork();

	if (!pid) {
		fn();
		_exit(0);
	}
	if (pid < 0 || waitpid(pid, &status, 0) != pid) {
		perror("workload");
		return 1;
	}
	if (WIFSIGNALED(status))
		printf("died of signal %d\n", WTERMSIG(status));
	if (verdict[0])
		printf("%s\n", verdict);
	return status ? 1 : 0;
}

static int __attribute__((noreturn)) usage(void)
{
	printf("usage: workload make|run|check --log PATH --segment PATH --mark PATH [--engine NAME]\n"
	       "                [--threads N] [--seed N] [--log-size BYTES] [--transactions N] [--errors]\n\n"
	       "PATH.2 is a second segment. Each thread does --transactions. With --errors, calls may\n"
	       "give RVM_EIO, but once a commit did, none must succeed.\n");
	exit(2);
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "log", 1, NULL, 'l' }, { "segment", 1, NULL, 'g' }, { "mark", 1, NULL, 'm' },
		{ "engine", 1, NULL, 'e' }, { "threads", 1, NULL, 't' }, { "seed", 1, NULL, 's' },
		{ "log-size", 1, NULL, 'z' }, { "transactions", 1, NULL, 'n' },
		{ "errors", 0, NULL, 'E' }, { NULL, 0, NULL, 0 },
	};
	const char *command = argc > 1 ? argv[1] : "";
	int c;

	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (c) {
		case 'l': log_path = optarg; break;
		case 'g': segment_path = optarg; break;
		case 'm': mark_path = optarg; break;
		case 'e': engine = optarg; break;
		case 't': threads = atoi(optarg); break;
		case 's': seed = strtoul(optarg, NULL, 0); break;
		case 'z': log_size = strtoul(optarg, NULL, 0); break;
		case 'n': transactions = strtoul(optarg, NULL, 0); break;
		case 'E': errors_expected = true; break;
		default: usage();
		}
	}
	if (!log_path || !segment_path || !mark_path || !threads || threads >= THREADS_MAX)
		usage();
	if (asprintf(&segments[0], "%s", segment_path) < 0 ||
	    asprintf(&segments[1], "%s.2", segment_path) < 0)
		return 1;
	verdict = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (verdict == MAP_FAILED)
		return 1;
	if (!strcmp(command, "make"))
		return in_child(make);
	if (!strcmp(command, "run"))
		return in_child(check_and_run);
	if (!strcmp(command, "check"))
		return in_child(check_only);
	usage();
}
