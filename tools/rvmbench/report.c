// SPDX-License-Identifier: GPL-2.0 OR MIT
/* Printing, as text or JSON. */
#include <inttypes.h>
#include <stdio.h>

#include "tools/rvmbench/measure.h"

void print_json_string(const char *name, const char *value)
{
	printf("\"%s\":\"", name);
	for (; *value; value++) {
		if (*value == '"' || *value == '\\')
			printf("\\%c", *value);
		else if ((unsigned char)*value < 0x20)
			printf("\\u%04x", *value);
		else
			putchar(*value);
	}
	printf("\",");
}

void print_tracking(void)
{
	print_json_string("tracking", tracking_names[opt.tracking]);
	print_json_string("mechanism", mechanism_names[opt.mechanism]);
	printf("\"strict\":%s,", opt.strict ? "true" : "false");
}

static void print_json(uint64_t number, const struct result *r)
{
	const rvm_engine_counters_t *c = &r->counters;
	double n = opt.transactions;

	putchar('{');
	print_json_string("engine", rvm_get_engine());
	print_json_string("begin", begin_names[opt.begin]);
	print_json_string("commit", commit_names[opt.commit]);
	print_json_string("workload", workload_names[opt.workload]);
	print_json_string("access", access_names[opt.access]);
	print_json_string("optimize", optimize_names[opt.optimize]);
	print_tracking();
	printf("\"map_private\":%s,", opt.map_private ? "true" : "false");
	print_json_string("log", opt.log);
	print_json_string("segment", opt.segment);
	printf("\"log_size\":%" PRIu64 ",\"accounts\":%" PRIu64 ",\"threads\":%" PRIu64 ",\"processes\":%" PRIu64 ",\"group\":%" PRIu64 ",\"ranges\":%" PRIu64
	       ",\"truncate\":%" PRIu64 ",\"transactions\":%" PRIu64 ",\"warmup\":%" PRIu64
	       ",\"repeat\":%" PRIu64 ",\"seed\":%" PRIu64 ",\"repetition\":%" PRIu64,
	       c->log_length, opt.accounts, opt.threads, opt.processes, opt.group, opt.ranges, opt.truncate, opt.transactions, opt.warmup,
	       opt.repeat, opt.seed, number);
	printf(",\"tps\":%.1f,\"ns_per_txn\":%.1f,\"truncate_ns_per_txn\":%.1f",
	       n * 1e9 / r->commits.elapsed, r->commits.elapsed / n, r->truncation.elapsed / n);
	if (opt.busy)
		printf(",\"busy_ns_per_txn\":%.1f,\"truncate_busy_ns_per_txn\":%.1f",
		       (r->commits.elapsed - r->commits.idle) / n,
		       (r->truncation.elapsed - r->truncation.idle) / n);
	if (opt.worst)
		printf(",\"worst_us\":%.1f", r->worst / 1e3);
	if (opt.bare)
		printf(",\"bare_ns_per_write\":%.1f,\"of_bare\":%.4f", r->bare / n,
		       (double)r->bare / r->commits.elapsed);
	printf(",\"log_writes_per_txn\":%.4f,\"log_flushes_per_txn\":%.4f,\"log_bytes_per_txn\":%.1f"
	       ",\"segment_writes_per_txn\":%.4f,\"segment_flushes_per_txn\":%.4f,\"segment_bytes_per_txn\":%.1f"
	       ",\"truncations\":%" PRIu64 "}\n",
	       c->log_writes / n, c->log_flushes / n, c->log_bytes / n,
	       c->segment_writes / n, c->segment_flushes / n, c->segment_bytes / n, c->truncations);
	fflush(stdout);
}

static void print_text(uint64_t number, const struct result *r)
{
	const rvm_engine_counters_t *c = &r->counters;
	double n = opt.transactions;

	if (number == 1)
		printf("%s engine, %s, %s commits, %" PRIu64 " %s%s, %" PRIu64 " accounts, %s access, %" PRIu64 " ranges\n"
		       "log %s, %" PRIu64 " bytes; segment %s, %" PRIu64 " bytes\n",
		       rvm_get_engine(), workload_names[opt.workload], commit_names[opt.commit],
		       count_banks(), opt.processes > 1 ? "processes" : "thread",
		       count_banks() == 1 || opt.processes > 1 ? "" : "s", opt.accounts, access_names[opt.access], opt.ranges,
		       opt.log, c->log_length, opt.segment, banks_length());
	printf("\nrepetition %" PRIu64 ": %" PRIu64 " transactions in %.3f s, %.0f a second\n",
	       number, opt.transactions, r->commits.elapsed / 1e9, n * 1e9 / r->commits.elapsed);
	printf("  for each        commit %12.1f ns, truncation %10.1f ns\n",
	       r->commits.elapsed / n, r->truncation.elapsed / n);
	if (opt.busy)
		printf("  CPU busy        commit %12.1f ns, truncation %10.1f ns\n",
		       (r->commits.elapsed - r->commits.idle) / n,
		       (r->truncation.elapsed - r->truncation.idle) / n);
	if (opt.worst)
		printf("  longest         commit %12.1f us\n", r->worst / 1e3);
	if (opt.bare)
		printf("  without RVM     a write %11.1f ns; transactions reach %.3f of its rate\n",
		       r->bare / n, (double)r->bare / r->commits.elapsed);
	printf("  log             %8.4f writes, %8.4f flushes, %10.1f bytes\n",
	       c->log_writes / n, c->log_flushes / n, c->log_bytes / n);
	printf("  segment         %8.4f writes, %8.4f flushes, %10.1f bytes; %" PRIu64 " truncation%s\n",
	       c->segment_writes / n, c->segment_flushes / n, c->segment_bytes / n, c->truncations,
	       c->truncations == 1 ? "" : "s");
	fflush(stdout);
}

void report_repetition(uint64_t number, const struct result *result)
{
	(opt.json ? print_json : print_text)(number, result);
}
