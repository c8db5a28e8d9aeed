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
	uint64_t opened, mapped, touched, each, at, read, most = MIN(length, TOUCH_AT_MOST);
	rvm_engine_counters_t counters;
	rvm_region_t region;
	volatile char *memory;
	const char *engine;
	char sum;

	at = now_ns();
	open_log();
	opened = now_ns() - at;
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
		printf("%s engine: the log opened, %" PRIu64 " records recovered, in %" PRIu64 " ns; %" PRIu64
		       " bytes mapped in %" PRIu64 " ns,\nthe first page touched in %" PRIu64 " ns, each of many in %" PRIu64
		       " ns; reading the log takes %" PRIu64 " ns for each MiB\n", engine,
		       counters.recovered_records, opened, length, mapped, touched, each, read);
		return;
	}
	putchar('{');
	print_json_string("engine", engine);
	printf("\"map_private\":%s,\"length\":%" PRIu64 ",\"open_ns\":%" PRIu64 ",\"recovered\":%" PRIu64
	       ",\"map_ns\":%" PRIu64 ",\"touch_ns\":%" PRIu64 ",\"touch_each_ns\":%" PRIu64
	       ",\"read_mib_ns\":%" PRIu64 "}\n", opt.map_private ? "true" : "false", length, opened,
	       counters.recovered_records, mapped, touched, each, read);
}
