/* SPDX-License-Identifier: GPL-2.0 OR MIT */
/* What the parts of rvmbench share: the command line, the log and segment, and calls that must work. */
#ifndef RVMBENCH_H
#define RVMBENCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <rvm/rvm.h>
#include <rvm/rvm_engine.h>
#include <rvm/rvm_tracking.h>

#include "tools/rvmbench/clock.h"

struct rvmbench_options {
	const char *engine;		/* NULL: as RVM_ENGINE says */
	const char *log, *segment;
	uint64_t log_size;		/* 0: not given */
	uint64_t accounts, threads, transactions, warmup, repeat, ranges, truncate, seed;
	uint64_t processes, group;
	uint64_t events;		/* up to so many pages; 0: none */
	int access, begin, commit, optimize, tracking, mechanism, workload;
	bool map_private, strict, create, verify, json, busy, worst, bare, startup, crash;
};

extern struct rvmbench_options opt;

enum { OPTIMIZE_NONE, OPTIMIZE_RANGES, OPTIMIZE_ALL };
enum { COMMIT_FLUSH, COMMIT_NO_FLUSH };
enum { WORKLOAD_DEBIT_CREDIT, WORKLOAD_ORDER_ENTRY };
enum { TRACKING_RANGES, TRACKING_CHECK, TRACKING_PAGES, TRACKING_DIFF };
enum { MECHANISM_MPROTECT, MECHANISM_USERFAULTFD, MECHANISM_USERFAULTFD_ASYNC };

/* By opt.optimize and so on. */
extern const char *const optimize_names[], *const begin_names[];
extern const char *const commit_names[], *const tracking_names[], *const mechanism_names[];
extern const char *const workload_names[];
extern const rvm_mode_t begin_modes[], commit_modes[];

/* options.c: fill opt, or exit. */
void parse_command_line(int argc, char **argv);

/* Is nothing declared? */
static inline bool tracked(void)
{
	return opt.tracking >= TRACKING_PAGES;
}

/* Every call of the library goes through this. */
void check(rvm_return_t ret, const char *call, const char *path);

/* banks.c: rvm_set_range, where changes are declared. */
void declare(rvm_tid_t *tid, void *at, size_t length);

/* open.c: initialize the library, and map the segment, of so many bytes; is it new? */
void open_log(void);
bool open_segment(rvm_region_t *region, uint64_t need);

/* report.c */
void print_json_string(const char *name, const char *value);
void print_tracking(void);

/* events.c: measure on so much mapped memory, and print. */
#define EVENTS_LENGTH	(UINT64_C(1024) * 4096)
#define EVENTS_PAGES	512
void measure_events(char *memory);

/* startup.c: open the log, map so many bytes, print how long each step takes, and end. */
void measure_startup(uint64_t length);

#endif
