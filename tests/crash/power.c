// SPDX-License-Identifier: GPL-2.0 OR MIT
/*
 * Description: the user engine keeps its promises through power cuts, which
 * are played here by keeping a journal of all its writes and flushes.
 *
 * Two workers run one after the other, each killed at a random event; then, from
 * the journal, the files are made as a power cut at some event can leave them:
 * what was flushed by then is there, and of each other write that had begun any
 * of its sectors.  The log is opened again, and compared: each thread must be at
 * a prefix of its transactions, nothing durable lost, and of two transactions of
 * which one returned before the other's commit began, never only the later there.
 * In half of the cases a third worker then goes on, and suffers a second cut.  In
 * the others recovery is cut short itself, and so is the recovery from that, and
 * from that: all of them must find the same.
 */
#include "journal.h"

#include <getopt.h>
#include <sys/mman.h>
#include <sys/wait.h>

/* A process that recovered, as it found the files, and then did more. */
struct process {
	unsigned int round;
	unsigned long base;		/* the event of having recovered; EVENTS: it didn't */
	unsigned long found[THREADS_MAX];
	model_t model;
};

enum { NOBODY, FIRST, SECOND, THIRD, CHECKER, PROCESSES };

struct shared {
	struct journal journal;
	char verdict[512];
	struct process process[PROCESSES];
};

#define DEPTH	3	/* recoveries of recoveries */

static struct shared *shared;
static unsigned long recoveries;	/* that were cut short */
static unsigned int threads = 3, runs = 4, cuts = 50, run_number;
static unsigned long log_size = 128 << 10, transactions = 100;
static const char *folder = ".";
static unsigned long options_flags;

/* --- the workers --- */

static struct process *self, *before;	/* whose work we find */

/* Recover, and compare with what the one before us was doing. */
static void start(void)
{
	unsigned int i, s;

	start_library(names[0], names + 1, options_flags, 20 + mix(seed ^ run_number) % 60);
	memcpy(self->model, before->model, sizeof(self->model));
	for (i = 0; i < threads; i++) {
		memcpy(&self->found[i], area(0, i), 8);
		if (self->found[i] < before->found[i] ||
		    self->found[i] > before->found[i] + transactions)
			fail("thread %u is at %lu; it was at %lu", i, self->found[i], before->found[i]);
		advance_model(self->model, i, before->found[i], self->found[i], before->round);
		for (s = 0; s < SEGMENTS; s++)
			compare(self->model, area(s, i), s, i, "after recovery");
	}
	if (journal) {
		self->base = journal->events;
		note(BASE, 0, 0);
	}
}

static void *worker_thread(void *context)
{
	unsigned int thread = (unsigned long)context, i;
	unsigned long r = mix(seed ^ mix(self->round) ^ thread), n = self->found[thread];
	unsigned long last = n + transactions;

	while (n++ < last) {
		bool flushes = next_random(&r) % 4 == 0;
		rvm_tid_t tid;

		if (next_random(&r) % 8 == 0) {
			begin_changes(&tid, thread, n, self->round, restore, true);
			OK(rvm_abort_transaction(&tid));
		}
		begin_changes(&tid, thread, n, self->round,
			      next_random(&r) % 2 ? restore : no_restore, false);
		note(COMMIT, thread, n);
		OK(rvm_end_transaction(&tid, flushes ? flush : no_flush));
		note(RETURNED, thread, n);
		i = next_random(&r) % 64;
		if (i == 0)
			OK(rvm_flush());
		else if (i == 1)
			OK(rvm_truncate());
		if (flushes || i < 2)
			note(DURABLE, thread, n);
	}
	return NULL;
}

static void worker(void)
{
	pthread_t id[THREADS_MAX];
	unsigned long i;

	journal = &shared->journal;
	start();
	for (i = 1; i < threads; i++)
		if (pthread_create(&id[i], NULL, worker_thread, (void *)i))
			fail("pthread_create");
	worker_thread(NULL);
	for (i = 1; i < threads; i++)
		pthread_join(id[i], NULL);
}

/* --- the parent --- */

static bool run(void (*fn)(void))
{
	int status;
	pid_t pid;

	fflush(stdout);
	pid = fork();
	if (!pid) {
		alarm(60);
		fn();
		_exit(0);
	}
	if (pid < 0 || waitpid(pid, &status, 0) != pid)
		return false;
	if (WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL)
		return true;
	if (WIFSIGNALED(status))
		snprintf(verdict, 512, "died of signal %d", WTERMSIG(status));
	return !status;
}

static bool run_process(unsigned int who, unsigned int after, void (*fn)(void), unsigned long life)
{
	self = &shared->process[who];
	before = &shared->process[after];
	self->round = run_number * PROCESSES + who;
	self->base = EVENTS;
	kill_at = shared->journal.events + life;
	return run(fn);
}

/*
 * The last process is dead.  Of the writes that it had begun, find out which
 * were made, and end those: the next process sees them.
 */
static void settle_writes(struct journal *j, unsigned long from)
{
	unsigned long end = j->events, i, k;

	for (i = from; i < end; i++) {
		struct event *e = &j->event[i];
		unsigned char *now;
		int fd;

		if (e->kind != WRITE)
			continue;
		for (k = i + 1; k < end; k++)
			if (j->event[k].kind == WRITTEN && j->event[k].other == i)
				break;
		if (k < end)
			continue;
		now = malloc(e->length);
		fd = open(names[e->file], O_RDONLY);
		if (pread(fd, now, e->length, e->offset) == (ssize_t)e->length &&
		    !memcmp(now, j->bytes + e->other, e->length))
			j->event[j->events++] = (struct event){ .kind = WRITTEN, .file = e->file,
								.other = i };
		else
			e->until = end;
		close(fd);
		free(now);
	}
}

/* What `who` found, against what `after` had done by the event `cut`. */
static bool in_order(const struct event *event, unsigned int who, unsigned int after,
		     unsigned long cut)
{
	const unsigned long *found = shared->process[who].found;
	unsigned long first_lost = cut, last_found = 0, i, begun[THREADS_MAX];

	memcpy(begun, shared->process[after].found, sizeof(begun));
	for (i = shared->process[after].base; i < cut; i++) {
		const struct event *e = &event[i];
		bool lost = e->kind > BASE && e->other > found[e->file];

		if (e->kind == DURABLE && lost) {
			snprintf(verdict, 512, "thread %u is at %lu, and %lu was durable", e->file,
				 found[e->file], e->other);
			return false;
		}
		if (e->kind == COMMIT)
			begun[e->file] = e->other;
		if (e->kind == RETURNED && lost && first_lost == cut)
			first_lost = i;
		if (e->kind == COMMIT && !lost)
			last_found = i;
	}
	if (last_found > first_lost) {
		snprintf(verdict, 512, "transaction %lu of thread %u is there, %lu of thread %u isn't",
			 event[last_found].other, event[last_found].file,
			 event[first_lost].other, event[first_lost].file);
		return false;
	}
	for (i = 0; i < threads; i++) {
		if (found[i] > begun[i]) {
			snprintf(verdict, 512, "thread %lu is at %lu, and %lu was begun", i, found[i],
				 begun[i]);
			return false;
		}
	}
	return true;
}

static void set_up(void)
{
	make_files(names[0], log_size, names + 1, threads);
}

/* One after the other, with one journal: the second finds what the first left in memory. */
static bool two_workers(unsigned long *r)
{
	struct journal *j = &shared->journal;
	unsigned long end;

	memset(&shared->process[NOBODY], 0, sizeof(shared->process[NOBODY]));
	j->events = j->data = 0;
	if (!run(set_up))
		return false;
	keep_files(".begin");
	if (!run_process(FIRST, NOBODY, worker, next_random(r) % 2500))
		return false;
	settle_writes(j, 0);
	end = j->events;
	if (shared->process[FIRST].base == EVENTS)
		shared->process[FIRST] = shared->process[NOBODY];
	return run_process(SECOND, FIRST, worker, next_random(r) % 2500) &&
	       (shared->process[SECOND].base == EVENTS ||
		in_order(j->event, SECOND, FIRST, end));
}

static unsigned int last_before(unsigned long cut)
{
	return shared->process[SECOND].base < cut ? SECOND :
	       shared->process[FIRST].base < cut ? FIRST : NOBODY;
}

static void recover(void)
{
	journal = &shared->journal;
	start();
}

/* The files are a crash state. Recover it, and then what cuts of that leave, again and again. */
static bool cut_recoveries(const struct journal *first, unsigned int after, unsigned long cut,
			   unsigned long *r)
{
	unsigned long found[THREADS_MAX];
	struct journal *j = &shared->journal;
	unsigned int depth;

	keep_files(".cut");
	if (!run_process(CHECKER, after, recover, EVENTS) ||
	    !in_order(first->event, CHECKER, after, cut))
		return false;
	memcpy(found, shared->process[CHECKER].found, sizeof(found));
	for (depth = 0; depth < DEPTH; depth++) {
		cut_files(j, ".cut", next_random(r) % (j->events + 1), next_random(r));
		keep_files(".cut");
		j->events = j->data = 0;
		if (!run_process(CHECKER, after, recover, EVENTS))
			return false;
		if (memcmp(found, shared->process[CHECKER].found, threads * sizeof(found[0]))) {
			snprintf(verdict, 512, "recovery cut short %u times finds another state",
				 depth + 1);
			return false;
		}
		recoveries++;
	}
	return true;
}

static bool one_cut(const struct journal *first, unsigned long *r, unsigned long *twice)
{
	unsigned long cut = next_random(r) % (first->events + 1);
	unsigned int after = last_before(cut);
	struct journal *j = &shared->journal;

	j->events = j->data = 0;
	cut_files(first, ".begin", cut, next_random(r));
	if (next_random(r) % 2)
		return cut_recoveries(first, after, cut, r);

	++*twice;
	keep_files(".cut");
	if (!run_process(THIRD, after, worker, next_random(r) % 500))
		return false;
	if (shared->process[THIRD].base != EVENTS && !in_order(first->event, THIRD, after, cut))
		return false;
	cut = next_random(r) % (j->events + 1);
	if (shared->process[THIRD].base < cut)
		after = THIRD;
	cut_files(j, ".cut", cut, next_random(r));
	if (!run_process(CHECKER, after, start, EVENTS))
		return false;
	return after != THIRD || in_order(j->event, CHECKER, THIRD, cut);
}

static void __attribute__((noreturn)) usage(void)
{
	printf("usage: power [--runs N] [--cuts N] [--seed N] [--threads N] [--transactions N]\n"
	       "             [--folder PATH] [--log-size BYTES]\n");
	exit(2);
}

int main(int argc, char **argv)
{
	static const unsigned long flags[] = { 0, RVM_COALESCE_RANGES, RVM_ALL_OPTIMIZATIONS };
	static const struct option options[] = {
		{ "runs", 1, NULL, 'n' }, { "cuts", 1, NULL, 'c' }, { "seed", 1, NULL, 's' },
		{ "threads", 1, NULL, 't' }, { "folder", 1, NULL, 'f' },
		{ "log-size", 1, NULL, 'z' }, { "transactions", 1, NULL, 'x' }, { NULL, 0, NULL, 0 },
	};
	unsigned long r, twice = 0, done = 0, i;
	struct journal *first;
	bool ok = true;
	int c;

	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (c) {
		case 'n': runs = atoi(optarg); break;
		case 'c': cuts = atoi(optarg); break;
		case 's': seed = strtoul(optarg, NULL, 0); break;
		case 't': threads = atoi(optarg); break;
		case 'f': folder = optarg; break;
		case 'z': log_size = strtoul(optarg, NULL, 0); break;
		case 'x': transactions = strtoul(optarg, NULL, 0); break;
		default: usage();
		}
	}
	if (optind < argc || !threads || threads > THREADS_MAX)
		usage();
	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE,
		      MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	first = mmap(NULL, sizeof(*first), PROT_READ | PROT_WRITE,
		     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (shared == MAP_FAILED || first == MAP_FAILED ||
	    asprintf(&names[0], "%s/power.log", folder) < 0 ||
	    asprintf(&names[1], "%s/power.segment", folder) < 0 ||
	    asprintf(&names[2], "%s/power.segment.2", folder) < 0) {
		perror("power");
		return 1;
	}
	verdict = shared->verdict;

	printf("KTAP version 1\n");
	if (rvm_set_engine("user")) {
		printf("1..0 # SKIP no user engine\n");
		return 4;
	}
	printf("1..%u\n", runs);
	for (run_number = 1; run_number <= runs; run_number++) {
		r = mix(seed ^ mix(run_number ^ 0x2000));
		options_flags = flags[next_random(&r) % 3] |
				(next_random(&r) % 3 ? 0 : RVM_MAP_PRIVATE);
		buffered = next_random(&r) % 2;
		ok = two_workers(&r);
		first->events = shared->journal.events;
		first->data = shared->journal.data;
		memcpy(first->event, shared->journal.event, first->events * sizeof(first->event[0]));
		memcpy(first->bytes, shared->journal.bytes, first->data);
		for (i = 0; ok && i < cuts; i++) {
			ok = one_cut(first, &r, &twice);
			done++;
		}
		if (!ok)
			printf("# cut %lu: %s\n", i, verdict[0] ? verdict : "a process died by itself");
		printf("%sok %u - %u cuts of %lu events, %s\n", ok ? "" : "not ", run_number, cuts,
		       first->events, buffered ? "buffered" : "direct");
		if (!ok)
			break;
	}
	printf("# %lu cuts, %lu of them with a second one, %lu cuts of recovery, seed %lu\n", done,
	       twice, recoveries, seed);
	for (i = 0; ok && i < FILES; i++) {
		unlink(names[i]);
		unlink(name_of(i, ".begin"));
		unlink(name_of(i, ".cut"));
	}
	return !ok;
}
