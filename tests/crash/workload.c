// SPDX-License-Identifier: GPL-2.0 OR MIT
/*
 * Description: the workload as a program, for machines that crash.
 *
 *	workload make		a new log, segments and mark
 *	workload run		check what is there, then work
 *	workload check		check what is there, twice
 *	workload serve		do what standard input says, line by line
 *
 * What was acknowledged stands in the *mark*, a file or device of one page that
 * is written after each acknowledgment and is no part of what is tested.  It
 * also has where each run began and what its transactions were like, so that a
 * check needs nothing else.
 *
 * The threads that work can be those of several processes, which map the same
 * segments; what they know of each other is in memory that they share.
 *
 * Each transaction also writes how many of each thread had returned before it
 * began.  All of these come earlier in the commit order, so where it is, they
 * must be: that is how a check sees that all threads together are at a prefix.
 */
#include "workload.h"

#include <getopt.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#define RUNS_MAX	56

struct mark {
	uint64_t run;				/* the present one, or the last */
	uint64_t ended;				/* then `begun` is final */
	uint64_t begun[THREADS_MAX], durable[THREADS_MAX];
	uint32_t start[RUNS_MAX][THREADS_MAX];	/* where each run began */
	uint8_t shape[RUNS_MAX];
};

/* Of each thread, in the part of the second segment that follows those of the threads. */
struct order {
	uint64_t count;			/* its transactions, this one included */
	uint64_t seen[THREADS_MAX];	/* had returned before this one began */
};

_Static_assert(THREADS_MAX * sizeof(struct order) <= AREA, "the orders fit");

/* Between the processes of a run, and of a check and their parent. */
static struct shared {
	union {
		struct mark mark;
		char page[4096];
	};
	char verdict[512];
	pthread_mutex_t mark_lock;
	pthread_barrier_t begun;		/* all may begin to work */
	_Atomic bool log_failed;		/* a commit has said so */
	_Atomic unsigned long errors;		/* of all calls, */
	_Atomic unsigned long after_error;	/* and commits after the last */
	bool checked;				/* then this was found: */
	unsigned long found[THREADS_MAX];
	struct {
		_Atomic unsigned long begun, returned, durable;
	} progress[THREADS_MAX];
} *m;

_Static_assert(sizeof(struct mark) <= 4096, "a mark is a page");

/* --- options --- */

static unsigned int threads, workers, processes, run;
static unsigned int shape, flush_percent, flush_every, truncate_every, threshold;
static int optimize;
static unsigned long log_size, transactions;
static const char *log_path, *segment_path, *mark_path, *engine;
static char *segments[SEGMENTS];
static bool errors_expected, grow;
static int mark_fd = -1;

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
	if (pwrite(mark_fd, m->page, sizeof(m->page), 0) != sizeof(m->page))
		fail("can't write %s: %s", mark_path, strerror(errno));
}

static void read_mark(void)
{
	open_mark(0);
	if (pread(mark_fd, m->page, sizeof(m->page), 0) != sizeof(m->page))
		fail("can't read %s", mark_path);
	run = m->mark.run;
}

static void start(void)
{
	static const unsigned long flags[] = { 0, RVM_COALESCE_RANGES, RVM_ALL_OPTIMIZATIONS };
	unsigned long r = mix(seed ^ mix(m->mark.run ^ 0x3000)), private;
	unsigned long wanted = flags[next_random(&r) % 3], at = 10 + next_random(&r) % 80;

	private = next_random(&r) % 3 ? 0 : RVM_MAP_PRIVATE;
	if (optimize >= 0)
		wanted = flags[optimize];
	if (threshold)
		at = threshold;
	if (engine)
		OK(rvm_set_engine(engine));
	start_library(log_path, segments, wanted | private, at);
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

static void expected_error(void)
{
	m->errors++;
	m->after_error = 0;
}

/* Everything that returned up to now is durable once the call that follows returns. */
static void note_returned(uint64_t *counts)
{
	unsigned int i;

	for (i = 0; i < threads; i++)
		counts[i] = m->progress[i].returned;
}

static void now_durable(const uint64_t *counts)
{
	unsigned int i;

	pthread_mutex_lock(&m->mark_lock);
	for (i = 0; i < threads; i++)
		if (m->mark.durable[i] < counts[i])
			m->mark.durable[i] = counts[i];
	write_mark();
	pthread_mutex_unlock(&m->mark_lock);
}

static void one_transaction(unsigned int thread, unsigned long n, unsigned long *r)
{
	bool aborts = next_random(r) % 8 == 0, flushes = next_random(r) % 100 < flush_percent;
	rvm_mode_t mode = aborts || next_random(r) % 2 ? restore : no_restore;
	struct order order = { .count = n };
	rvm_engine_counters_t counters;
	uint64_t counts[THREADS_MAX];
	bool failed_before;
	rvm_return_t code;
	rvm_tid_t tid;

	note_returned(order.seen);
	begin_changes(&tid, thread, n, ROUND(run, shape), mode, aborts);
	OK(rvm_modify_bytes(&tid, order_of(thread), &order, sizeof(order)));
	if (aborts) {
		OK(rvm_abort_transaction(&tid));
		return;
	}
	m->progress[thread].begun = n;
	note_returned(counts);
	failed_before = m->log_failed;
	code = rvm_end_transaction(&tid, flushes ? flush : no_flush);
	if (errors_expected && code == RVM_EIO) {
		/* or the log was full, and a segment failed: that passes */
		expected_error();
		OK(rvm_get_engine_counters(&counters));
		if (counters.failed)
			m->log_failed = true;
		return;
	}
	check(code, "rvm_end_transaction");
	if (failed_before)
		fail("thread %u: commit %lu succeeds after one has failed", thread, n);
	m->after_error++;
	m->progress[thread].returned = n;
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
	if (errors_expected && code == RVM_EIO) {
		expected_error();
		return;
	}
	check(code, name);
	now_durable(counts);
}

static void *work(void *context)
{
	unsigned long thread = (unsigned long)context, i;
	unsigned long r = mix(seed ^ mix(run) ^ thread);
	unsigned int more = 20;

	for (i = 0; i < transactions; i++) {
		one_transaction(thread, m->progress[thread].returned + 1, &r);
		if (flush_every && next_random(&r) % flush_every == 0)
			make_durable(rvm_flush, "rvm_flush");
		if (truncate_every && next_random(&r) % truncate_every == 0)
			make_durable(rvm_truncate, "rvm_truncate");
		if (m->log_failed && !--more)
			break;
	}
	return NULL;
}

static void begin_run(void)
{
	unsigned int i;

	if (m->mark.run + 1 == RUNS_MAX)
		fail("no room in the mark for one more run");
	run = ++m->mark.run;
	m->mark.shape[run] = shape;
	m->mark.ended = 0;
	for (i = 0; i < threads; i++) {
		m->progress[i].begun = m->progress[i].returned = found(i);
		m->mark.start[run][i] = m->mark.durable[i] = found(i);
	}
	write_mark();
}

static void end_run(void)
{
	rvm_engine_counters_t counters;
	unsigned int i;

	for (i = 0; i < threads; i++)
		m->mark.begun[i] = m->progress[i].begun;
	m->mark.ended = 1;
	write_mark();
	print_counts("left");
	if (errors_expected) {
		OK(rvm_get_engine_counters(&counters));
		printf("the log has %sfailed\n", counters.failed ? "" : "not ");
		if (!m->errors)
			printf("no call has failed\n");
		else if (!m->after_error)
			printf("%lu calls have failed, and no commit after these succeeded\n", m->errors);
		else
			printf("%lu calls have failed; after these %lu commits\n", m->errors,
			       m->after_error);
	}
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

		if (n < m->mark.durable[i] || (m->mark.ended && n > m->mark.begun[i]))
			fail("thread %u is at %lu; %lu were acknowledged, %lu begun", i, n,
			     (unsigned long)m->mark.durable[i], (unsigned long)m->mark.begun[i]);
		for (r = 1; r < run; r++)
			advance_model(model, i, m->mark.start[r][i], m->mark.start[r + 1][i],
				      ROUND(r, m->mark.shape[r]));
		if (run)
			advance_model(model, i, m->mark.start[run][i], n,
				      ROUND(run, m->mark.shape[run]));
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
	unsigned int i;

	read_mark();
	start();
	check_all();
	for (i = 0; i < threads; i++) {
		if (m->checked && m->found[i] != found(i))
			fail("thread %u is at %lu, and was at %lu when this was recovered before", i,
			     found(i), m->found[i]);
		m->found[i] = found(i);
	}
	if (!m->checked)
		print_counts("found");
	m->checked = true;
	OK(rvm_terminate());
}

/* The threads of one of the processes. */
static void work_as(unsigned int process)
{
	pthread_t id[THREADS_MAX];
	unsigned long i;

	for (i = process; i < workers; i += processes)
		if (pthread_create(&id[i], NULL, work, (void *)i))
			fail("pthread_create");
	for (i = process; i < workers; i += processes)
		pthread_join(id[i], NULL);
}

/* Else the process ends as in a crash. */
static void end(void)
{
	if (run % 2 && !errors_expected)
		OK(rvm_terminate());
}

static pid_t one_more(unsigned int process)
{
	pid_t pid = fork();

	if (pid)
		return pid;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	pthread_barrier_wait(&m->begun);
	run = m->mark.run;
	start();
	work_as(process);
	end();
	_exit(0);
}

static void check_and_run(void)
{
	pthread_barrierattr_t shared_barrier;
	pid_t pid[THREADS_MAX];
	unsigned int i;
	int status;

	read_mark();
	pthread_barrierattr_init(&shared_barrier);
	pthread_barrierattr_setpshared(&shared_barrier, PTHREAD_PROCESS_SHARED);
	pthread_barrier_init(&m->begun, &shared_barrier, processes);
	for (i = 1; i < processes; i++)
		pid[i] = one_more(i);
	start();
	check_all();
	print_counts("found");
	begin_run();
	pthread_barrier_wait(&m->begun);
	work_as(0);
	for (i = 1; i < processes; i++) {
		if (waitpid(pid[i], &status, 0) != pid[i] || status) {
			if (!verdict[0])
				fail("process %u died", i);
			_exit(1);
		}
	}
	end_run();
	end();
}

static int in_child(void (*fn)(void))
{
	int status;
	pid_t pid = fork();

	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
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

static void share_memory(void)
{
	pthread_mutexattr_t shared_mutex;

	if (!m)
		m = mmap(NULL, sizeof(*m), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (m == MAP_FAILED) {
		perror("workload");
		exit(1);
	}
	memset(m, 0, sizeof(*m));
	pthread_mutexattr_init(&shared_mutex);
	pthread_mutexattr_setpshared(&shared_mutex, PTHREAD_PROCESS_SHARED);
	pthread_mutex_init(&m->mark_lock, &shared_mutex);
	verdict = m->verdict;
}

static void __attribute__((noreturn)) usage(void)
{
	printf("usage: workload make|run|check|serve --log PATH --segment PATH --mark PATH [OPTION]...\n\n"
	       "PATH.2 is a second segment. serve takes lines of standard input, a command and more\n"
	       "options each. A line \"ok\" says that it waits for one, after a good one or at the\n"
	       "beginning, \"bad\" the same after a bad one.\n\n"
	       "  --engine NAME          the engine\n"
	       "  --threads N            threads that there is room for, 4 by default\n"
	       "  --workers N            how many of them work, all by default\n"
	       "  --processes N          in how many processes, 1 by default (kernel engine only)\n"
	       "  --transactions N       of each, 200 by default\n"
	       "  --seed N --log-size BYTES\n"
	       "  --shape N              0 any records, 1 of one block each, 2 long ones\n"
	       "  --flush-percent N      how many of the commits flush, 25 by default\n"
	       "  --flush-every N        rvm_flush after one transaction of N, 0 never, 64 by default\n"
	       "  --truncate-every N     the same of rvm_truncate, 256 by default\n"
	       "  --threshold PERCENT    of the log, that truncation begins at; else random\n"
	       "  --optimize N           0 none, 1 ranges, 2 transactions too; else random\n"
	       "  --grow                 segments are made empty, and rvm_map gives them their length\n"
	       "  --errors               calls may give RVM_EIO, but once a commit did, none must succeed\n");
	exit(2);
}

static int serve(int argc, char **argv);

static int do_command(int argc, char **argv)
{
	static const struct option options[] = {
		{ "log", 1, NULL, 'l' }, { "segment", 1, NULL, 'g' }, { "mark", 1, NULL, 'm' },
		{ "engine", 1, NULL, 'e' }, { "threads", 1, NULL, 't' }, { "seed", 1, NULL, 's' },
		{ "log-size", 1, NULL, 'z' }, { "transactions", 1, NULL, 'n' },
		{ "workers", 1, NULL, 'w' }, { "processes", 1, NULL, 'p' }, { "shape", 1, NULL, 'h' },
		{ "flush-percent", 1, NULL, 'f' }, { "flush-every", 1, NULL, 'F' },
		{ "truncate-every", 1, NULL, 'T' }, { "threshold", 1, NULL, 'H' },
		{ "optimize", 1, NULL, 'o' }, { "errors", 0, NULL, 'E' },
		{ "grow", 0, NULL, 'G' }, { NULL, 0, NULL, 0 },
	};
	const char *command = argc > 1 ? argv[1] : "";
	int c;

	threads = 4, workers = THREADS_MAX, processes = 1;
	log_size = 256 << 10, transactions = 200;
	shape = threshold = 0, optimize = -1;
	flush_percent = 25, flush_every = 64, truncate_every = 256;
	optind = 0;
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
		case 'w': workers = atoi(optarg); break;
		case 'p': processes = atoi(optarg); break;
		case 'h': shape = atoi(optarg); break;
		case 'f': flush_percent = atoi(optarg); break;
		case 'F': flush_every = atoi(optarg); break;
		case 'T': truncate_every = atoi(optarg); break;
		case 'H': threshold = atoi(optarg); break;
		case 'o': optimize = atoi(optarg); break;
		case 'E': errors_expected = true; break;
		case 'G': grow = true; break;
		default: usage();
		}
	}
	if (workers > threads)
		workers = threads;
	if (!log_path || !segment_path || !mark_path || !threads || threads >= THREADS_MAX ||
	    !workers || !processes || processes > workers || shape >= SHAPES || optimize > 2)
		usage();
	if (grow)
		grown_length = (threads + 1) * AREA;
	if (!segments[0] && (asprintf(&segments[0], "%s", segment_path) < 0 ||
			     asprintf(&segments[1], "%s.2", segment_path) < 0))
		return 1;
	share_memory();
	if (!strcmp(command, "make"))
		return in_child(make);
	if (!strcmp(command, "run"))
		return in_child(check_and_run);
	if (!strcmp(command, "check"))
		return in_child(check_only) || in_child(check_only);
	if (!strcmp(command, "serve"))
		return serve(argc, argv);
	usage();
}

/* Many checks by one process: its own options are theirs, too. */
static int serve(int argc, char **argv)
{
	char line[1024], *word, *words[argc + 32];
	int n, i;

	printf("ok\n");
	fflush(stdout);
	while (fgets(line, sizeof(line), stdin)) {
		n = 0;
		words[n++] = argv[0];
		word = strtok(line, " \n");
		words[n++] = word ? word : "";
		for (i = 2; i < argc; i++)
			words[n++] = argv[i];
		while (n < argc + 31 && (word = strtok(NULL, " \n")))
			words[n++] = word;
		words[n] = NULL;
		printf("%s\n", do_command(n, words) ? "bad" : "ok");
		fflush(stdout);
	}
	return 0;
}

int main(int argc, char **argv)
{
	return do_command(argc, argv);
}
