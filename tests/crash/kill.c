// SPDX-License-Identifier: GPL-2.0 OR MIT
/*
 * Description: processes killed at random moments, while they commit, truncate
 * or recover, lose nothing that was acknowledged and leave nothing torn.
 *
 * Threads of a worker run the workload.  After each kill the parent has the
 * log opened again, and compares: each thread must be at a prefix of its
 * transactions, not behind what was acknowledged as durable, and not ahead of
 * what was begun.  A flush commit, rvm_flush or rvm_truncate acknowledges all
 * that had returned before it began; on the kernel engine a return is enough.
 * With --engines each process takes one of them at random, so that one recovers
 * what the other left.
 */
#include "workload.h"

#include <getopt.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>

/* Shared between the parent and its workers. All counts are of commits. */
struct shared {
	struct {
		_Atomic unsigned long begun, returned, durable;
	} thread[THREADS_MAX];
	_Atomic int worker_is_kernel;
	_Atomic int recovered;		/* a process got through rvm_initialize */
	char verdict[512];
	model_t model;
};

static struct shared *shared;
static unsigned int threads = 4, loops = 100;
static unsigned long log_size = 256 << 10, run_ms = 60;
static const char *log_path = "rvm-kill.log", *segment_path = "rvm-kill.segment";
static char *segments[SEGMENTS];
static unsigned long options_flags;
static unsigned int loop, recovery_kills, crossings;
static const char *engine, *engines[4];	/* NULL: as RVM_ENGINE says */
static unsigned int engine_count;

/* --- the worker --- */

static void start(void)
{
	if (engine)
		OK(rvm_set_engine(engine));
	start_library(log_path, segments, options_flags, 10 + mix(seed ^ loop) % 80);
	shared->recovered = 1;
}

/* Everything that returned up to now is durable once the call that follows returns. */
static void note_returned(unsigned long *counts)
{
	unsigned int i;

	for (i = 0; i < threads; i++)
		counts[i] = shared->thread[i].returned;
}

static void now_durable(const unsigned long *counts)
{
	unsigned int i;

	for (i = 0; i < threads; i++) {
		unsigned long old = shared->thread[i].durable;

		while (old < counts[i] &&
		       !atomic_compare_exchange_weak(&shared->thread[i].durable, &old, counts[i]))
			;
	}
}

static void one_transaction(unsigned int thread, unsigned long n, unsigned long *r)
{
	bool aborts = next_random(r) % 8 == 0, flushes = next_random(r) % 4 == 0;
	unsigned long counts[THREADS_MAX];
	rvm_tid_t tid;

	begin_changes(&tid, thread, n, loop, aborts || next_random(r) % 2 ? restore : no_restore,
		      aborts);
	if (aborts) {
		OK(rvm_abort_transaction(&tid));
		return;
	}
	shared->thread[thread].begun = n;
	note_returned(counts);
	OK(rvm_end_transaction(&tid, flushes ? flush : no_flush));
	shared->thread[thread].returned = n;
	if (flushes) {
		counts[thread] = n;
		now_durable(counts);
	}
}

static void *worker_thread(void *context)
{
	unsigned int thread = (unsigned long)context;
	unsigned long r = mix(seed ^ mix(loop) ^ thread), counts[THREADS_MAX];

	for (;;) {
		one_transaction(thread, shared->thread[thread].returned + 1, &r);
		if (next_random(&r) % 64 == 0) {
			note_returned(counts);
			OK(rvm_flush());
			now_durable(counts);
		}
		if (next_random(&r) % 256 == 0) {
			note_returned(counts);
			OK(rvm_truncate());
			now_durable(counts);
		}
	}
	return NULL;
}

static void worker(void)
{
	pthread_t id;
	unsigned int i;

	start();
	shared->worker_is_kernel = !strcmp(rvm_get_engine(), "kernel");
	for (i = 1; i < threads; i++)
		if (pthread_create(&id, NULL, worker_thread, (void *)(unsigned long)i))
			fail("pthread_create");
	worker_thread(NULL);
}

/* --- the checker --- */

static void check_file(unsigned int segment)
{
	static unsigned char buffer[AREA];
	int fd = open(segments[segment], O_RDONLY);
	unsigned int i;

	for (i = 0; i < threads; i++) {
		if (pread(fd, buffer, AREA, i * AREA) != (ssize_t)AREA)
			fail("reading %s: %s", segments[segment], strerror(errno));
		compare(shared->model, buffer, segment, i, "after rvm_truncate");
	}
	close(fd);
}

/* What the worker of this loop left, against the model; which takes it on from there. */
static void checker(void)
{
	unsigned int i, s;

	start();
	for (i = 0; i < threads; i++) {
		unsigned long found, before, least;

		memcpy(&found, area(0, i), 8);
		memcpy(&before, shared->model[0][i], 8);
		least = shared->worker_is_kernel ? shared->thread[i].returned :
						   shared->thread[i].durable;
		if (found < least || found > shared->thread[i].begun)
			fail("thread %u is at %lu; %lu were acknowledged, %lu begun", i, found,
			     least, (unsigned long)shared->thread[i].begun);
		advance_model(shared->model, i, before, found, loop);
		for (s = 0; s < SEGMENTS; s++)
			compare(shared->model, area(s, i), s, i, "after recovery");
		shared->thread[i].begun = shared->thread[i].returned =
			shared->thread[i].durable = found;
	}
	if (loop % 4 == 0) {
		OK(rvm_truncate());
		for (s = 0; s < SEGMENTS; s++)
			check_file(s);
	}
	if (loop % 2)
		OK(rvm_terminate());
}

/* --- the parent --- */

/* Run fn in a child; kill it after that many microseconds unless it ends before. Its status. */
static int run(void (*fn)(void), unsigned long microseconds)
{
	struct timespec t = { microseconds / 1000000, microseconds % 1000000 * 1000 };
	sigset_t set;
	pid_t pid;
	int status;

	fflush(stdout);
	sigemptyset(&set);
	sigaddset(&set, SIGCHLD);
	sigprocmask(SIG_BLOCK, &set, NULL);
	pid = fork();
	if (pid < 0) {
		perror("fork");
		exit(1);
	}
	if (!pid) {
		sigprocmask(SIG_UNBLOCK, &set, NULL);
		fn();
		_exit(0);
	}
	if (sigtimedwait(&set, NULL, microseconds ? &t : &(struct timespec){ 120, 0 }) < 0)
		kill(pid, SIGKILL);
	waitpid(pid, &status, 0);
	while (sigtimedwait(&set, NULL, &(struct timespec){ 0, 0 }) > 0)
		;
	return status;
}

static bool was_killed(int status)
{
	return WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
}

static void set_up(void)
{
	make_files(log_path, log_size, segments, threads);
}

static void choose_engine(unsigned long *r)
{
	if (engine_count)
		engine = engines[next_random(r) % engine_count];
}

static bool one_loop(void)
{
	static const unsigned long flags[] = { 0, RVM_COALESCE_RANGES, RVM_ALL_OPTIMIZATIONS };
	unsigned long r = mix(seed ^ mix(loop ^ 0x1000));
	const char *workers;
	unsigned int kills;
	int status;

	options_flags = flags[next_random(&r) % 3] | (next_random(&r) % 3 ? 0 : RVM_MAP_PRIVATE);
	choose_engine(&r);
	workers = engine;
	status = run(worker, 1000 + next_random(&r) % (run_ms * 1000));
	if (!was_killed(status))
		return false;
	/* the next recoveries do not live long, either */
	for (kills = next_random(&r) % 4; kills; kills--) {
		shared->recovered = 0;
		choose_engine(&r);
		status = run(start, 1 + next_random(&r) % 8000);
		if (!was_killed(status) && status)
			return false;
		recovery_kills += was_killed(status) && !shared->recovered;
	}
	choose_engine(&r);
	crossings += engine != workers;
	status = run(checker, 0);
	if (was_killed(status))
		snprintf(verdict, 512, "recovery hangs");
	return !status;
}

static void __attribute__((noreturn)) usage(void)
{
	printf("usage: kill [--loops N] [--seed N] [--threads N] [--run MS]\n"
	       "            [--log PATH] [--log-size BYTES] [--segment PATH] [--engines NAME,NAME]\n\n"
	       "RVM_ENGINE chooses the engine, or each process takes one of --engines at random.\n"
	       "PATH.2 is a second segment. All files are made anew.\n");
	exit(2);
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "loops", 1, NULL, 'n' }, { "seed", 1, NULL, 's' }, { "threads", 1, NULL, 't' },
		{ "log", 1, NULL, 'l' }, { "log-size", 1, NULL, 'z' }, { "segment", 1, NULL, 'g' },
		{ "run", 1, NULL, 'r' }, { "engines", 1, NULL, 'e' }, { NULL, 0, NULL, 0 },
	};
	unsigned long commits = 0;
	unsigned int i;
	char *name;
	bool ok;
	int c;

	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (c) {
		case 'n': loops = atoi(optarg); break;
		case 's': seed = strtoul(optarg, NULL, 0); break;
		case 't': threads = atoi(optarg); break;
		case 'l': log_path = optarg; break;
		case 'z': log_size = strtoul(optarg, NULL, 0); break;
		case 'g': segment_path = optarg; break;
		case 'r': run_ms = strtoul(optarg, NULL, 0); break;
		case 'e':
			for (name = strtok(optarg, ","); name && engine_count < 4; name = strtok(NULL, ","))
				engines[engine_count++] = name;
			break;
		default: usage();
		}
	}
	if (optind < argc || !threads || threads > THREADS_MAX || !run_ms)
		usage();
	if (asprintf(&segments[0], "%s", segment_path) < 0 ||
	    asprintf(&segments[1], "%s.2", segment_path) < 0)
		return 1;
	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (shared == MAP_FAILED) {
		perror("mmap");
		return 1;
	}
	verdict = shared->verdict;

	printf("KTAP version 1\n1..1\n");
	ok = run(set_up, 0) == 0;
	for (loop = 1; ok && loop <= loops; loop++)
		ok = one_loop();
	for (i = 0; i < threads; i++)
		commits += shared->thread[i].durable;
	printf("# %lu transactions kept, %u recoveries killed, %u checked by another engine, seed %lu\n",
	       commits, recovery_kills, crossings, seed);
	if (!ok)
		printf("# loop %u: %s\n", loop - 1, verdict[0] ? verdict : "a process died by itself");
	printf("%sok 1 - %u processes killed\n", ok ? "" : "not ", loops);
	return !ok;
}
