// SPDX-License-Identifier: GPL-2.0 OR MIT
/*
 * A program as it is written in a course, for the interface given there: nothing in
 * it knows whose implementation it gets.  It compiles as C and as C++.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/wait.h>

#include "rvm.h"

#define TEST_STRING	"hello, world"
#define OFFSET2		1000

/* proc1 writes some data, commits it, begins to change it again, then exits */
static void proc1(void)
{
	rvm_t rvm;
	trans_t trans;
	char *segs[1];

	rvm = rvm_init("rvm_segments");
	rvm_destroy(rvm, "testseg");
	segs[0] = (char *)rvm_map(rvm, "testseg", 10000);

	trans = rvm_begin_trans(rvm, 1, (void **)segs);
	rvm_about_to_modify(trans, segs[0], 0, 100);
	sprintf(segs[0], TEST_STRING);
	rvm_about_to_modify(trans, segs[0], OFFSET2, 100);
	sprintf(segs[0] + OFFSET2, TEST_STRING);
	rvm_commit_trans(trans);

	trans = rvm_begin_trans(rvm, 1, (void **)segs);
	rvm_about_to_modify(trans, segs[0], 0, 100);
	sprintf(segs[0], "bleg!");
	_exit(0);
}

/* proc2 opens the segments and reads from them, in two directories */
static void proc2(void)
{
	char *segs[1], *other[1];
	rvm_t rvm, rvm2;
	trans_t trans;

	rvm = rvm_init("rvm_segments");
	rvm2 = rvm_init("more_segments");
	segs[0] = (char *)rvm_map(rvm, "testseg", 10000);
	if (strcmp(segs[0], TEST_STRING) || strcmp(segs[0] + OFFSET2, TEST_STRING)) {
		printf("ERROR: hello is not there\n");
		exit(2);
	}
	other[0] = (char *)rvm_map(rvm2, "testseg", 10);
	if (other[0][0])
		exit(2);

	trans = rvm_begin_trans(rvm, 1, (void **)segs);
	if (rvm_begin_trans(rvm, 1, (void **)segs) != (trans_t)-1)
		exit(2);
	rvm_about_to_modify(trans, segs[0], 0, 100);
	sprintf(segs[0], "rv rv");
	rvm_abort_trans(trans);
	if (strcmp(segs[0], TEST_STRING))
		exit(2);

	rvm_unmap(rvm, segs[0]);
	rvm_truncate_log(rvm);
	rvm_destroy(rvm, "testseg");
	rvm_destroy(rvm, "testseg");
	rvm_verbose(0);
	printf("OK\n");
	exit(0);
}

int main(void)
{
	int pid;

	pid = fork();
	if (pid < 0) {
		perror("fork");
		exit(2);
	}
	if (pid == 0)
		proc1();
	waitpid(pid, NULL, 0);
	proc2();
	return 0;
}
