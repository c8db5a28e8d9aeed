// SPDX-License-Identifier: GPL-2.0 OR MIT
/*
 * The program of docs/lab.md, for the small interface: Alice and Bob have 100 coins
 * together.
 *
 *	lab FOLDER show
 *	lab FOLDER move COINS [HOW]	from Alice to Bob.  HOW: abort, crash (in the
 *					middle), forget (to declare what Bob gets)
 *	lab FOLDER truncate
 *	lab FOLDER witness COINS	looks while another process moves, and dies
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "rvm.h"

static rvm_t rvm;
static long *alice, *bob;		/* recoverable memory: a segment each */

static void show(const char *when)
{
	printf("%s: alice %ld, bob %ld, together %ld\n", when, *alice, *bob, *alice + *bob);
	fflush(stdout);
}

static trans_t begin(void)
{
	void *both[] = { alice, bob };
	trans_t t = rvm_begin_trans(rvm, 2, both);

	if (t == (trans_t)-1)
		exit(1);
	return t;
}

/* 0 if the folder can't be used. */
static int open_folder(const char *folder)
{
	trans_t t;

	rvm = rvm_init(folder);
	if (!rvm)
		return 0;
	alice = (long *)rvm_map(rvm, "alice", sizeof(long));
	bob = (long *)rvm_map(rvm, "bob", sizeof(long));
	if (!alice || !bob)
		exit(1);
	if (!*alice && !*bob) {
		t = begin();
		rvm_about_to_modify(t, alice, 0, sizeof(long));
		*alice = 100;
		rvm_commit_trans(t);
	}
	return 1;
}

static void move(long coins, const char *how)
{
	trans_t t = begin();

	rvm_about_to_modify(t, alice, 0, sizeof(long));
	*alice -= coins;
	if (!strcmp(how, "crash")) {
		show("in the middle");
		raise(SIGKILL);
	}
	if (strcmp(how, "forget"))
		rvm_about_to_modify(t, bob, 0, sizeof(long));
	*bob += coins;
	if (!strcmp(how, "abort"))
		rvm_abort_trans(t);
	else
		rvm_commit_trans(t);
}

/* The other process: stops in the middle of a transaction, and waits to be killed. */
static pid_t start_other(const char *folder, long coins)
{
	int ready[2];
	pid_t pid;
	char c;

	fflush(stdout);
	if (pipe(ready))
		exit(1);
	pid = fork();
	if (pid < 0)
		exit(1);
	if (!pid) {
		if (!open_folder(folder))
			_exit(1);
		rvm_about_to_modify(begin(), alice, 0, sizeof(long));
		*alice -= coins;
		show("in it");
		close(ready[0]);
		close(ready[1]);
		for (;;)
			pause();
	}
	close(ready[1]);
	if (read(ready[0], &c, 1))	/* the end: it has closed the pipe */
		exit(1);
	close(ready[0]);
	return pid;
}

static void kill_other(pid_t pid)
{
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
}

static void witness(const char *folder, long coins)
{
	pid_t pid = start_other(folder, coins);

	if (open_folder(folder)) {
		show("beside it");
		kill_other(pid);
	} else {
		kill_other(pid);
		if (!open_folder(folder))
			exit(1);
	}
	show("after its death");
}

int main(int argc, char **argv)
{
	const char *what = argc > 2 ? argv[2] : "";

	rvm_verbose(!!getenv("LAB_VERBOSE"));
	if (argc == 4 && !strcmp(what, "witness")) {
		witness(argv[1], atol(argv[3]));
		return 0;
	}
	if (argc < 3 || !open_folder(argv[1]))
		return 1;
	if (argc >= 4 && !strcmp(what, "move"))
		move(atol(argv[3]), argc > 4 ? argv[4] : "");
	else if (!strcmp(what, "truncate"))
		rvm_truncate_log(rvm);
	show(what);
	return 0;
}
