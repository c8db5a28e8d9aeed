// SPDX-License-Identifier: GPL-2.0 OR MIT
/* Repetitions: what they take, and what the engine does in them. */
#include <inttypes.h>
#include <string.h>
#include <sys/param.h>

#include "tools/rvmbench/measure.h"
#include "tools/rvmbench/processes.h"

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
	stretch_begin(&result->commits, opt.busy);
	work(&banks[0]);
	for (uint64_t i = 1; i < opt.threads; i++)
		pthread_join(banks[i].thread, NULL);
	processes_wait();
	check(rvm_flush(), "rvm_flush", NULL);
	stretch_end(&result->commits, opt.busy);
	stretch_begin(&result->truncation, opt.busy);
	if (!opt.crash)
		check(rvm_truncate(), "rvm_truncate", NULL);
	stretch_end(&result->truncation, opt.busy);
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
