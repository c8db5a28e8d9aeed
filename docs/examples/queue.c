// SPDX-License-Identifier: GPL-2.0 OR MIT
/*
 * A persistent queue, which processes share that know nothing of each other:
 *
 *	queue FOLDER put TEXT
 *	queue FOLDER take		prints and removes the oldest
 *	queue FOLDER take crash		is killed in the middle of that
 *	queue FOLDER serve COMMAND	runs "COMMAND TEXT" for each, oldest first, as
 *					long as there is one; it is removed if that succeeds
 *
 * With the kernel engine all of them map the same memory at the same time: what
 * one commits, the others see.  When one dies in a transaction, the kernel undoes
 * that at once, and nobody else has to do anything.  (With the user engine a log
 * is one process's: a second one is told so, and can try again.)
 *
 * RVM has no locks: a lock file keeps transactions apart.  The kernel undoes a dead
 * process's transaction before it closes its files, so whoever gets the lock next
 * finds the queue in order.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/wait.h>
#include <unistd.h>

#include <rvm/rvm.h>

#define PLACES	1000

struct queue {
	uint64_t taken, put;		/* how many ever; text n is at place n % PLACES */
	char text[PLACES][120];
};

static struct queue *queue;		/* recoverable memory, shared */
static int lock_file;

static void check(rvm_return_t code, const char *what)
{
	if (code) {
		fprintf(stderr, "queue: %s: %s\n", what,
			code == RVM_EIO ? strerror(errno) : rvm_return(code));
		exit(1);
	}
}

static void lock(void)
{
	while (flock(lock_file, LOCK_EX)) {
		if (errno != EINTR)
			check(RVM_EIO, "lock");
	}
}

static void unlock(void)
{
	flock(lock_file, LOCK_UN);
}

/* The lock is for the making, too: of several that find nothing one makes it. */
static void open_queue(const char *folder)
{
	char log[512], segment[512], name[512];
	rvm_options_t options;
	rvm_region_t region;

	snprintf(log, sizeof(log), "%s/queue.log", folder);
	snprintf(segment, sizeof(segment), "%s/queue.segment", folder);
	snprintf(name, sizeof(name), "%s/queue.lock", folder);
	lock_file = open(name, O_CREAT | O_RDWR | O_CLOEXEC, 0600);
	if (lock_file < 0)
		check(RVM_EIO, name);
	lock();
	rvm_init_options(&options);
	options.log_dev = log;
	options.create_log_file = access(log, F_OK) ? rvm_true : rvm_false;
	options.create_log_size = RVM_MK_OFFSET(0, 1 << 20);
	check(RVM_INIT(&options), log);

	close(open(segment, O_CREAT | O_RDWR | O_CLOEXEC, 0600));
	rvm_init_region(&region);
	region.data_dev = segment;
	region.dev_length = RVM_MK_OFFSET(0, sizeof(struct queue));
	check(rvm_map(&region, NULL), segment);
	if (region.length < sizeof(struct queue))
		check(RVM_EOFFSET, segment);
	queue = (struct queue *)region.vmaddr;
	unlock();
}

static void begin(rvm_tid_t *tid)
{
	rvm_init_tid(tid);
	check(rvm_begin_transaction(tid, restore), "begin");
}

static int put(const char *text)
{
	char *place;
	rvm_tid_t tid;

	if (strlen(text) >= sizeof(queue->text[0])) {
		fprintf(stderr, "queue: the text is too long\n");
		return 1;
	}
	lock();
	if (queue->put - queue->taken == PLACES) {
		unlock();
		fprintf(stderr, "queue: it is full\n");
		return 1;
	}
	place = queue->text[queue->put % PLACES];
	begin(&tid);
	check(rvm_modify_bytes(&tid, place, text, strlen(text) + 1), "put");
	check(rvm_set_range(&tid, &queue->put, sizeof(queue->put)), "put");
	queue->put++;
	check(rvm_end_transaction(&tid, flush), "commit");
	unlock();
	return 0;
}

/* Begin a transaction that takes the oldest text; 0 if there is none. Locked. */
static int begin_take(rvm_tid_t *tid, char *text)
{
	if (queue->put == queue->taken)
		return 0;
	strcpy(text, queue->text[queue->taken % PLACES]);
	begin(tid);
	check(rvm_set_range(tid, &queue->taken, sizeof(queue->taken)), "take");
	queue->taken++;
	return 1;
}

static int take(int crash)
{
	char text[sizeof(queue->text[0])];
	rvm_tid_t tid;
	int any;

	lock();
	any = begin_take(&tid, text);
	if (any && crash)
		raise(SIGKILL);
	if (any)
		check(rvm_end_transaction(&tid, flush), "commit");
	unlock();
	if (any)
		puts(text);
	return !any;
}

static int run(const char *command, const char *text)
{
	int status;
	pid_t pid = fork();

	if (!pid) {
		execlp(command, command, text, (char *)NULL);
		_exit(127);
	}
	return pid < 0 || waitpid(pid, &status, 0) < 0 ? -1 : status;
}

/* A text is gone when its command has succeeded, and not before. */
static int serve(const char *command)
{
	char text[sizeof(queue->text[0])];
	rvm_tid_t tid;
	int status = 0;

	lock();
	while (!status && begin_take(&tid, text)) {
		status = run(command, text);
		if (status)
			check(rvm_abort_transaction(&tid), "abort");
		else
			check(rvm_end_transaction(&tid, flush), "commit");
	}
	unlock();
	return !!status;
}

int main(int argc, char **argv)
{
	const char *what = argc > 2 ? argv[2] : "";
	int status = 2;

	if (argc > 2)
		open_queue(argv[1]);
	if (argc == 4 && !strcmp(what, "put"))
		status = put(argv[3]);
	else if (argc == 4 && !strcmp(what, "serve"))
		status = serve(argv[3]);
	else if ((argc == 3 || argc == 4) && !strcmp(what, "take"))
		status = take(argc == 4);
	else
		fprintf(stderr, "usage: queue FOLDER put TEXT | take [crash] | serve COMMAND\n");
	if (argc > 2)
		check(rvm_terminate(), "terminate");
	return status;
}
