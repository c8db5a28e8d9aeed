// SPDX-License-Identifier: GPL-2.0 OR MIT
/* How long things take: see clock.h. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/param.h>
#include <time.h>

#include "tools/rvmbench/clock.h"
#include "tools/rvmbench/mark.h"

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

void stretch_begin(struct stretch *s, bool busy)
{
	s->idle = busy ? idle_ns() : 0;
	s->elapsed = now_ns();
	mark_begin();
}

void stretch_end(struct stretch *s, bool busy)
{
	mark_end();
	s->elapsed = now_ns() - s->elapsed;
	/* idle time around the stretch counts, too: a file that the first reading waited for */
	s->idle = busy ? MIN(idle_ns() - s->idle, s->elapsed) : 0;
}
