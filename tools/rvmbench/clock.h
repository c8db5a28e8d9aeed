/* SPDX-License-Identifier: GPL-2.0 OR MIT */
/* Time that passes, and how much of it the CPU was idle. */
#ifndef RVMBENCH_CLOCK_H
#define RVMBENCH_CLOCK_H

#include <stdbool.h>
#include <stdint.h>

/* The idle time is read outside it, since reading takes long. */
struct stretch {
	uint64_t elapsed, idle;		/* ns */
};

/* Each program's own. */
void die(const char *format, ...) __attribute__((noreturn, format(printf, 1, 2)));

uint64_t now_ns(void);

/* With busy the idle time too: that takes root, and a machine with one CPU. */
void stretch_begin(struct stretch *s, bool busy);
void stretch_end(struct stretch *s, bool busy);

#endif
