// SPDX-License-Identifier: GPL-2.0 OR MIT
/* Repetitions: what they take, and what the engine does in them. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/param.h>
#include <time.h>

#include "tools/rvmbench/bank.h"
#include "tools/rvmbench/mark.h"
#include "tools/rvmbench/measure.h"
#include "tools/rvmbench/processes.h"

uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * UINT64_C(1000000000) + ts.tv_nsec;
}

/*
 * How long the CPU has been idle since boot.  /proc/stat knows it in ticks, and
 * this file in nanoseconds; of a CPU that is idle now it misses the current
 * period, and so it serves on a machine with one CPU alone, whose CPU runs this.
 */
static uint64_t idle_ns(void)
{
	FILE *file = fopen("/proc/timer_list", "r");
	unsigned long long ns;
	uint64_t sum = 0;
	int found = 0;
	char line[256];

	if (!file)
		die("--busy: /proc/timer_list: %s", strerror(errno));
	while (fgets(line, sizeof(line), file)) {
		if (sscanf(line, " .idle_sleeptime : %llu nsecs", &ns) == 1 ||
		    sscanf(line, " .iowait_sleeptime : %llu nsecs", &ns) == 1) {
			sum += ns;
			found++;
		}
	}
	fclose(file);
	if (found != 2)
		die("--busy: /proc/timer_list tells no idle times; is it a kernel with NO_HZ?");
	return sum;
}

void stretch_begin(struct stretch *s)
{
	s->idle = opt.busy ? idle_ns() : 0;
	s->elapsed = now_ns();
	mark_begin();
}

void stretch_end(struct stretch *s)
{
	mark_end();
	s->elapsed = now_ns() - s->elapsed;
	/* idle time around the stretch counts, too: a file that the first reading waited for */
	s->idle = opt.busy ? MIN(idle_ns() - s->idle, s->elapsed) : 0;
}

static pthread_barrier_t begun;

static void *work(void *context)
{
	struct bank *bank = context;

	if (opt.threads > 1)
		pthread_barrier_wait(&begun);
	processes_wait();
	for (uint64_t i = 0; i < bank->transactions; i++)
		bank_transaction(bank);
	return NULL;
}

/* Of all these transactions the i-th bank's. */
static uint64_t share(uint64_t transactions, uint64_t i)
{
	return (transactions + count_banks() - 1 - i) / count_banks();
}

void take_part(struct bank *banks, uint64_t number, uint64_t transactions)
{
	banks[number].transactions = share(transactions, number);
	work(&banks[number]);
	processes_wait();
}

/* The first bank's by this thread, which measures. */
static void begin_others(struct bank *banks, uint64_t transactions)
{
	pthread_barrier_init(&begun, NULL, opt.threads);
	for (uint64_t i = 0; i < opt.threads; i++) {
		int error = 0;

		banks[i].transactions = share(transactions, i);
		banks[i].worst = 0;
		if (i)
			error = pthread_create(&banks[i].thread, NULL, work, &banks[i]);
		if (error)
			die("%" PRIu64 " threads: %s", opt.threads, strerror(error));
	}
}

void measure_repetition(struct bank *banks, uint64_t transactions, struct result *result)
{
	rvm_engine_counters_t before, after;

	check(rvm_get_engine_counters(&before), "rvm_get_engine_counters", NULL);
	begin_others(banks, transactions);
	stretch_begin(&result->commits);
	work(&banks[0]);
	for (uint64_t i = 1; i < opt.threads; i++)
		pthread_join(banks[i].thread, NULL);
	processes_wait();
	check(rvm_flush(), "rvm_flush", NULL);
	stretch_end(&result->commits);
	stretch_begin(&result->truncation);
	if (!opt.crash)
		check(rvm_truncate(), "rvm_truncate", NULL);
	stretch_end(&result->truncation);
	check(rvm_get_engine_counters(&after), "rvm_get_engine_counters", NULL);

	result->worst = 0;
	for (uint64_t i = 0; i < opt.threads; i++)
		result->worst = MAX(result->worst, banks[i].worst);
	result->counters = after;
#define DIFFERENCE(field) (result->counters.field = after.field - before.field)
	DIFFERENCE(log_writes);
	DIFFERENCE(log_flushes);
	DIFFERENCE(log_bytes);
	DIFFERENCE(segment_writes);
	DIFFERENCE(segment_flushes);
	DIFFERENCE(segment_bytes);
	DIFFERENCE(truncations);
#undef DIFFERENCE
	if (opt.bare)
		result->bare = measure_bare(transactions,
					    result->counters.log_bytes / result->counters.log_writes);
}
