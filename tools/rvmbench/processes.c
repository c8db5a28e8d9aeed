// SPDX-License-Identifier: GPL-2.0 OR MIT
#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tools/rvmbench/measure.h"
#include "tools/rvmbench/processes.h"

static pthread_barrier_t *all;		/* shared */

/* All else waits at barriers, for ever if one has died; what it died of it has said. */
static void one_ended(int signal)
{
	int status;

	(void)signal;
	while (waitpid(-1, &status, WNOHANG) > 0)
		if (status)
			_exit(1);
}

static void other_process(struct bank *banks, uint64_t number)
{
	rvm_region_t region;

	/* the banks are there */
	processes_wait();
	opt.create = false;
	open_log();
	open_banks(banks, &region);
	processes_wait();
	if (opt.warmup)
		take_part(banks, number, opt.warmup);
	for (uint64_t i = 0; i < opt.repeat && opt.transactions; i++)
		take_part(banks, number, opt.transactions);
	/* what was measured is over; the segment stays in use until here */
	processes_wait();
	check(rvm_unmap(&region), "rvm_unmap", NULL);
	check(rvm_terminate(), "rvm_terminate", NULL);
	_exit(0);
}

void processes_begin(struct bank *banks)
{
	pthread_barrierattr_t attributes;

	if (opt.processes == 1)
		return;
	all = mmap(NULL, sizeof(*all), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (all == MAP_FAILED)
		die("--processes: %s", strerror(errno));
	pthread_barrierattr_init(&attributes);
	pthread_barrierattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
	pthread_barrier_init(all, &attributes, opt.processes);
	signal(SIGCHLD, one_ended);
	for (uint64_t i = 1; i < opt.processes; i++) {
		pid_t parent = getpid(), pid = fork();

		if (pid < 0)
			die("%" PRIu64 " processes: %s", opt.processes, strerror(errno));
		if (pid == 0) {
			signal(SIGCHLD, SIG_DFL);
			prctl(PR_SET_PDEATHSIG, SIGKILL);
			if (getppid() != parent)
				_exit(1);
			other_process(banks, i);
		}
	}
}

void processes_wait(void)
{
	if (opt.processes > 1)
		pthread_barrier_wait(all);
}

void processes_end(void)
{
	int status;

	if (opt.processes == 1)
		return;
	signal(SIGCHLD, SIG_DFL);
	processes_wait();
	while (wait(&status) > 0)
		if (status)
			die("one of the processes failed");
}
