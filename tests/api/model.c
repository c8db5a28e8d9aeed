// SPDX-License-Identifier: GPL-2.0 OR MIT
/*
 * Description: random programs of API calls, in many processes that end properly
 * or die anywhere, compared with a model at every step.
 *
 * Each program is run on the engine that RVM_ENGINE names. Where that is the
 * kernel's, it is run on the user engine too and then with a new choice in each
 * process, and what the calls return has to be the same. That ends where the
 * engines may differ: a death that no_flush commits survive on one of them, one
 * at some instruction, and a transaction that is too big.
 *
 * The seed says also how changes are found, unless RVM_TRACKING does.
 *
 * Step n of a program draws its numbers from the seed and n alone, so steps can
 * be left out: that is how a program that fails is made short.
 */
#include "api.h"
#include "model.h"
#include "model_steps.h"

#include <stddef.h>
#include <time.h>

#define STEPS_DEFAULT	80
#define SHORTEN_SECONDS	60

static void start_process(void)
{
	bool kernel = run->engine ? !strcmp(run->engine, "kernel") : below(2);
	bool lasting = !run->died || run->kernel;
	static model_bytes found;
	rvm_options_t options;
	rvm_tid_t tid;

	EXPECT(RVM_SUCCESS, rvm_set_engine(kernel ? "kernel" : "user"));
	rvm_init_tid(&tid);
	EXPECT(RVM_EINIT, rvm_begin_transaction(&tid, restore));
	random_options(&options);
	options.log_dev = log_name;
	options.create_log_size = RVM_LENGTH_TO_OFFSET((16 + 16 * below(6)) * KIB);
	options.create_log_file = access(log_name, F_OK) ? rvm_true : rvm_false;
	show("rvm_set_engine(%s), rvm_initialize(flags %lx, truncate %ld, log of %lu if new)",
	     kernel ? "kernel" : "user", options.flags, options.truncate,
	     options.create_log_size.low);
	EXPECT(RVM_SUCCESS, RVM_INIT(&options));
	read_files(found);
	/* no_flush commits survive a process only in the kernel */
	if (!model_recovered(found, lasting ? model->returned : model->flushed))
		fail("recovered is no state that was committed");
	run->kernel = kernel;
	run->died = true;
	if (ended_tid.struct_id != rvm_tid_id)
		rvm_init_tid(&ended_tid);
}

static void process(void)
{
	/* a start draws numbers of its own */
	draw_for(STEPS + run->step);
	start_process();
	for (; run->step < run->steps; run->step++) {
		if (run->skip[run->step])
			continue;
		draw_for(run->step);
		one_step();
	}
	for (int i = 0; i < TRANSACTIONS; i++)
		if (transactions[i].open)
			abort_transaction(i);
	compare_memory();
	terminate();
	_exit(FINISHED);
}

static void new_files(void)
{
	unlink(log_name);
	for (int s = 0; s < SEGMENTS; s++)
		if (!make_file(segment_name[s], s == 1 ? 0 : segment_length[s], 0))
			exit(2);
}

/* By the environment, or by the seed; what this kernel doesn't have is left out. */
static void choose_tracking(const char *wanted)
{
	unsigned long n = run->seed % (2 * TRACKINGS);

	tracking = &trackings[n < TRACKINGS ? n : 0];
	if (!wanted && strstr(tracking->name, "async") && !linux_is(6, 7))
		tracking = trackings;
	for (unsigned int i = 0; wanted && i < TRACKINGS; i++)
		if (!strcmp(trackings[i].name, wanted))
			tracking = &trackings[i];
	if (wanted && strcmp(tracking->name, wanted)) {
		fprintf(stderr, "model: it knows no RVM_TRACKING=%s\n", wanted);
		exit(2);
	}
	setenv("RVM_TRACKING", tracking->name, 1);
	setenv("RVM_CHECK", "abort", 1);
}

/* Run the program once; true if all was as it ought to be. */
static bool run_program(const char *engine)
{
	int status;

	new_files();
	run->engine = engine;
	run->step = 0;
	run->calls = 0;
	run->died = false;
	run->differs = false;
	run->failure[0] = 0;
	memset(&run->model, 0, offsetof(struct model, arena));
	do {
		pid_t pid = fork();

		if (pid < 0)
			exit(2);
		if (!pid)
			process();
		if (waitpid(pid, &status, 0) != pid)
			exit(2);
		if (WIFSIGNALED(status)) {
			/* which commits are there then, is not the same everywhere */
			run->differs |= WTERMSIG(status) == SIGALRM ||
				     model->flushed != model->returned;
			if (WTERMSIG(status) != SIGKILL && WTERMSIG(status) != SIGALRM) {
				sprintf(run->failure, "signal %d", WTERMSIG(status));
				return false;
			}
			/* a step that a death by SIGALRM cut short is not repeated */
			if (WTERMSIG(status) == SIGALRM)
				run->step++;
		} else if (WEXITSTATUS(status) == FAILED) {
			return false;
		}
	} while (WIFSIGNALED(status) || WEXITSTATUS(status) != FINISHED);
	return true;
}

static bool same_trace(void)
{
	static uint32_t first[STEPS * 64];
	int calls = run->calls;

	memcpy(first, run->trace, calls * sizeof(first[0]));
	if (!run_program("user"))
		return false;
	if (calls > run->calls)
		calls = run->calls;
	if (!memcmp(first, run->trace, calls * sizeof(first[0])))
		return true;
	strcpy(run->failure, "the engines return different codes");
	return false;
}

static bool good(bool both)
{
	if (!both)
		return run_program("user");
	return run_program("kernel") && same_trace() && run_program(NULL);
}

/* Leave out what need not be there. */
static void shorten(bool both)
{
	time_t end = time(NULL) + SHORTEN_SECONDS;

	for (int size = run->steps / 2; size; size /= 2) {
		for (int at = 0; at < run->steps && time(NULL) < end; at += size) {
			bool before[STEPS];

			memcpy(before, run->skip, sizeof(before));
			for (int i = at; i < at + size && i < run->steps; i++)
				run->skip[i] = true;
			if (good(both))
				memcpy(run->skip, before, sizeof(before));
		}
	}
}

static void report(bool both)
{
	int left = 0;

	printf("# seed %lu, step %d: %s\n", run->seed, run->step, run->failure);
	printf("# repeat it: RVM_TRACKING=%s model --seed %lu --steps %d\n", tracking->name,
	       run->seed, run->steps);
	fflush(stdout);
	if (run->step < run->steps)
		run->steps = run->step + 1;
	if (good(both)) {
		printf("# not when repeated with the steps up to that one\n");
		return;
	}
	shorten(both);
	for (int i = 0; i < run->steps; i++)
		left += !run->skip[i];
	printf("# shortened to %d steps; the last run of them:\n", left);
	fflush(stdout);
	run->print = true;
	if (good(both))
		printf("# which did not fail this time\n");
	else
		printf("# %s\n", run->failure);
}

static void usage(FILE *to)
{
	fputs("usage: model [--seed N] [--steps N]\n"
	      "\n"
	      "Runs random programs of API calls and compares with a model. With --seed\n"
	      "it runs that program alone. Environment: RVM_ENGINE (kernel: both engines),\n"
	      "MODEL_SECONDS, MODEL_PROGRAMS: as long as that, or so many;\n"
	      "RVM_TEST_SEED: the first one's seed; RVM_TRACKING: how changes are found,\n"
	      "instead of a choice by the seed.\n", to);
}

static unsigned long number(const char *text)
{
	char *end;
	unsigned long n = text ? strtoul(text, &end, 0) : 0;

	if (!text || end == text || *end) {
		usage(stderr);
		exit(2);
	}
	return n;
}

int main(int argc, char **argv)
{
	const char *tmp = getenv("TMPDIR"), *engine = getenv("RVM_ENGINE");
	const char *seconds = getenv("MODEL_SECONDS"), *programs = getenv("MODEL_PROGRAMS");
	const char *from = getenv("RVM_TEST_SEED"), *wanted = getenv("RVM_TRACKING");
	unsigned long most = programs ? number(programs) : -1ul, done = 0;
	time_t end = time(NULL) + (seconds ? number(seconds) : programs ? 1000000 : 8);
	bool both = engine && !strcmp(engine, "kernel"), ok = true;
	int steps = STEPS_DEFAULT;
	unsigned long seed = from ? number(from) : time(NULL) * 1000003ul;

	for (int i = 1; i < argc; i++) {
		if (!strcmp(argv[i], "--seed")) {
			seed = number(argv[++i]);
			most = 1;
		} else if (!strcmp(argv[i], "--steps")) {
			steps = number(argv[++i]);
		} else {
			usage(!strcmp(argv[i], "--help") ? stdout : stderr);
			return strcmp(argv[i], "--help") ? 2 : 0;
		}
	}
	if (steps < 1 || steps > STEPS) {
		fprintf(stderr, "model: from 1 to %d steps\n", STEPS);
		return 2;
	}
	snprintf(folder, sizeof(folder), "%s/rvm-test.XXXXXX", tmp ? tmp : "/tmp");
	if (!mkdtemp(folder)) {
		perror(folder);
		return 2;
	}
	snprintf(log_name, sizeof(log_name), "%s/log", folder);
	for (int s = 0; s < SEGMENTS; s++)
		snprintf(segment_name[s], sizeof(segment_name[s]), "%s/segment%d", folder, s);
	run = mmap(NULL, sizeof(*run), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (run == MAP_FAILED) {
		perror("mmap");
		return 2;
	}
	model = &run->model;
	run->steps = steps;
	printf("TAP version 13\n1..1\n# seeds from %lu\n", seed);
	fflush(stdout);
	for (; ok && done < most && time(NULL) < end; done++) {
		run->seed = seed + done;
		choose_tracking(wanted);
		ok = good(both);
	}
	if (!ok)
		report(both);
	printf("# %lu programs\n%sok 1 model\n", done, ok ? "" : "not ");
	nftw(folder, remove_one, 16, FTW_DEPTH | FTW_PHYS);
	return !ok;
}
