// SPDX-License-Identifier: GPL-2.0 OR MIT
/*
 * What a program waits for before its first transaction: the log that is opened and
 * recovered, the segment that is mapped, the pages that are touched first.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE		/* O_DIRECT */
#endif
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/param.h>
#include <unistd.h>

#include "tools/rvmbench/measure.h"

#define STRETCH	(UINT64_C(1) << 20)
#define PAGE	4096u
#define READ_AT_MOST	(UINT64_C(64) << 20)
#define TOUCH_AT_MOST	(UINT64_C(256) << 20)

/* The yardstick of recovery: ns for each MiB of the log's file, read in one sequence. */
static uint64_t read_log(uint64_t length)
{
	int fd = open(opt.log, O_RDONLY | O_DIRECT | O_CLOEXEC);
	char *buffer = aligned_alloc(PAGE, STRETCH);
	uint64_t stretches = MIN(length, READ_AT_MOST) / STRETCH, began;

	if (fd < 0 || !buffer)
		die("--startup: %s: %s", opt.log, strerror(errno));
	began = now_ns();
	for (uint64_t i = 0; i < stretches; i++)
		if (pread(fd, buffer, STRETCH, i * STRETCH) != (ssize_t)STRETCH)
			die("--startup: %s can't be read directly: %s", opt.log, strerror(errno));
	free(buffer);
	close(fd);
	return stretches ? (now_ns() - began) / stretches : 0;
}

void measure_startup(uint64_t length)
{
	struct stretch opened;
	uint64_t mapped, touched, each, at, read, most = MIN(length, TOUCH_AT_MOST);
	rvm_engine_counters_t counters;
	rvm_region_t region;
	volatile char *memory;
	const char *engine;
	char sum;

	stretch_begin(&opened, opt.busy);
	open_log();
	stretch_end(&opened, opt.busy);
	check(rvm_get_engine_counters(&counters), "rvm_get_engine_counters", NULL);
	engine = rvm_get_engine();

	at = now_ns();
	open_segment(&region, length);
	mapped = now_ns() - at;
	memory = (volatile char *)region.vmaddr;

	/* in the middle, where nothing was read ahead */
	at = now_ns();
	sum = memory[length / 2];
	touched = now_ns() - at;
	at = now_ns();
	for (uint64_t i = 0; i < most; i += PAGE)
		sum += memory[i];
	each = (now_ns() - at) / MAX(howmany(most, PAGE), UINT64_C(1));
	(void)sum;
	check(rvm_unmap(&region), "rvm_unmap", NULL);
	check(rvm_terminate(), "rvm_terminate", NULL);
	read = read_log(counters.log_length);

	if (!opt.json) {
		printf("%s engine: the log opened, %" PRIu64 " records recovered, in %" PRIu64 " ns", engine,
		       counters.recovered_records, opened.elapsed);
		if (opt.busy)
			printf(", the CPU busy for %" PRIu64 " of them", opened.elapsed - opened.idle);
		printf(";\n%" PRIu64 " bytes mapped in %" PRIu64 " ns, the first page touched in %" PRIu64
		       " ns, each of many in %" PRIu64 " ns;\nreading the log takes %" PRIu64 " ns for each MiB\n",
		       length, mapped, touched, each, read);
		return;
	}
	putchar('{');
	print_json_string("engine", engine);
	printf("\"map_private\":%s,\"length\":%" PRIu64 ",\"open_ns\":%" PRIu64,
	       opt.map_private ? "true" : "false", length, opened.elapsed);
	if (opt.busy)
		printf(",\"open_busy_ns\":%" PRIu64, opened.elapsed - opened.idle);
	printf(",\"recovered\":%" PRIu64 ",\"map_ns\":%" PRIu64 ",\"touch_ns\":%" PRIu64
	       ",\"touch_each_ns\":%" PRIu64 ",\"read_mib_ns\":%" PRIu64 "}\n",
	       counters.recovered_records, mapped, touched, each, read);
}
