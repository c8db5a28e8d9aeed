/* SPDX-License-Identifier: GPL-2.0 OR MIT */
/* What the parts of rvmbench share: the command line, and calls that must work. */
#ifndef RVMBENCH_H
#define RVMBENCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <rvm/rvm.h>
#include <rvm/rvm_engine.h>
#include <rvm/rvm_tracking.h>

struct rvmbench_options {
	const char *engine;		/* NULL: as RVM_ENGINE says */
	const char *log, *segment;
	uint64_t log_size;		/* 0: not given */
	uint64_t accounts, threads, transactions, warmup, repeat, ranges, truncate, seed;
	int access, begin, commit, optimize, tracking;
	bool map_private, strict, create, verify, json, busy, worst, events;
};

extern struct rvmbench_options opt;

/* By opt.commit and opt.tracking. */
extern const char *const commit_names[];
extern const rvm_mode_t commit_modes[];
extern const char *const tracking_names[];

enum { TRACKING_RANGES, TRACKING_CHECK, TRACKING_PAGES, TRACKING_DIFF };

/* Is nothing declared? */
static inline bool tracked(void)
{
	return opt.tracking >= TRACKING_PAGES;
}

void die(const char *format, ...) __attribute__((noreturn, format(printf, 1, 2)));

/* Every call of the library goes through this. */
void check(rvm_return_t ret, const char *call, const char *path);

/* rvm_set_range, where changes are declared. */
void declare(rvm_tid_t *tid, void *at, size_t length);

uint64_t now_ns(void);

void print_json_string(const char *name, const char *value);
void print_tracking(void);

/* events.c: measure on so much mapped memory, and print. */
#define EVENTS_LENGTH	(UINT64_C(1024) * 4096)
void measure_events(char *memory);

#endif
