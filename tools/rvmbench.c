// SPDX-License-Identifier: GPL-2.0 OR MIT
/*
 * rvmbench: the TPC-A variant with which RVM was first measured, on a bank that
 * lies in one segment (tools/rvmbench/bank.h).
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tools/rvmbench/measure.h"
#include "tools/rvmbench/processes.h"

void die(const char *format, ...)
{
	va_list args;

	fflush(stdout);
	fputs("rvmbench: ", stderr);
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fputc('\n', stderr);
	exit(1);
}

void check(rvm_return_t ret, const char *call, const char *path)
{
	int err = errno;

	if (ret == RVM_SUCCESS)
		return;
	die("%s%s%s: %s%s%s", call, path ? " " : "", path ? path : "", rvm_return(ret),
	    ret == RVM_EIO ? ": " : "", ret == RVM_EIO ? strerror(err) : "");
}

int main(int argc, char **argv)
{
	static struct bank banks[MAX_THREADS];
	struct result result;
	rvm_region_t region;
	bool good = true;

	parse_command_line(argc, argv);
	if (opt.busy && sysconf(_SC_NPROCESSORS_ONLN) != 1)
		die("--busy takes a machine with one CPU, and here are %ld", sysconf(_SC_NPROCESSORS_ONLN));

	if (opt.startup) {
		measure_startup(banks_length());
		return 0;
	}
	processes_begin(banks);
	open_log();
	if (opt.processes > 1 && strcmp(rvm_get_engine(), "kernel"))
		die("--processes takes the kernel engine: the user engine's log is one process's alone");
	if (opt.events) {
		if (!open_segment(&region, EVENTS_LENGTH))
			die("--events would overwrite the segment %s; --create says that it may",
			    opt.segment);
		measure_events(region.vmaddr);
	} else {
		open_banks(banks, &region);
	}
	/* they open and map what is there now, and then all begin */
	processes_wait();
	processes_wait();
	if (opt.warmup && !opt.events)
		measure_repetition(banks, opt.warmup, &result);
	for (uint64_t i = 1; i <= opt.repeat && opt.transactions && !opt.events; i++) {
		measure_repetition(banks, opt.transactions, &result);
		report_repetition(i, &result);
	}
	processes_end();
	if (opt.crash && !opt.events) {
		fflush(stdout);
		_exit(0);
	}
	if (opt.verify && !opt.events)
		good = verify_banks(banks);
	check(rvm_unmap(&region), "rvm_unmap", NULL);
	check(rvm_terminate(), "rvm_terminate", NULL);
	if (fflush(stdout) || ferror(stdout))
		die("standard output: %s", strerror(errno));
	return good ? 0 : 1;
}
