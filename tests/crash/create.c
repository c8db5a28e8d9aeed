// SPDX-License-Identifier: GPL-2.0 OR MIT
/*
 * Description: a power cut while a log is being made leaves no log, which is
 * said in so many words, or a good and empty one.
 *
 * A process has rvm_create_log or rvm_initialize make a log.  From the journal
 * the file is made as a cut can leave it: until it was flushed as a whole it can
 * be missing or of any length, and of each write that was not durable any sectors
 * are there.  Then the log is opened; and where there is none it can be made.
 */
#include "journal.h"

#include <getopt.h>
#include <sys/mman.h>
#include <sys/wait.h>

struct shared {
	struct journal journal;
	char verdict[512];
	unsigned long made;		/* the event of the log's having been made */
	unsigned long logs, none;	/* found by those who opened it */
};

static struct shared *shared;
static unsigned long area_length = 64 << 10;

static rvm_return_t initialize(bool create)
{
	rvm_options_t options;

	rvm_init_options(&options);
	options.log_dev = names[0];
	options.create_log_file = create;
	options.create_log_size = RVM_LENGTH_TO_OFFSET(area_length);
	return RVM_INIT(&options);
}

static void make_and_open(void)
{
	journal = &shared->journal;
	OK(initialize(true));
	shared->made = note(RETURNED, 0, 0);
	OK(rvm_terminate());
}

static void make_only(void)
{
	rvm_offset_t length = RVM_LENGTH_TO_OFFSET(area_length);
	rvm_options_t options;

	rvm_init_options(&options);
	options.log_dev = names[0];
	OK(rvm_initialize(RVM_VERSION, NULL));
	journal = &shared->journal;
	OK(rvm_create_log(&options, &length, 0600));
	shared->made = note(RETURNED, 0, 0);
	OK(rvm_terminate());
}

/* Is what the cut left right, given that rvm_initialize had returned, or not? */
static void open_log(bool made)
{
	rvm_engine_counters_t counters;
	rvm_return_t code;

	if (!freopen("/dev/null", "w", stderr))		/* it says what is wrong with the file */
		fail("/dev/null: %s", strerror(errno));
	code = initialize(false);
	if (code == RVM_SUCCESS) {
		OK(rvm_get_engine_counters(&counters));
		if (counters.recovered_records || counters.log_length != area_length)
			fail("a new log has %lu records in %lu bytes", counters.recovered_records,
			     counters.log_length);
		shared->logs++;
	} else if (made) {
		fail("the log was there, and then it is %s", rvm_return(code));
	} else if (code == RVM_ELOG || (code == RVM_EIO && errno == ENOENT)) {
		shared->none++;
	} else {
		fail("a log half made is %s, errno %d", rvm_return(code), errno);
	}
}

static void open_made(void)
{
	open_log(true);
}

static void open_half_made(void)
{
	open_log(false);
}

static void make_again(void)
{
	OK(initialize(true));
	OK(rvm_terminate());
}

/* What is not durable of the file's length: until a flush, all. */
static void cut_length(const struct journal *j, unsigned long cut, unsigned long *r)
{
	unsigned long i;
	int error = 0;

	for (i = 0; i < cut; i++)
		if (j->event[i].kind == FLUSHED)
			return;
	if (next_random(r) % 4 == 0)
		error = unlink(names[0]);
	else if (next_random(r) % 2)
		error = truncate(names[0], next_random(r) % 300 * SECTOR);
	if (error)
		fail("%s: %s", names[0], strerror(errno));
}

static bool run(void (*fn)(void))
{
	int status;
	pid_t pid = fork();

	if (!pid) {
		alarm(60);
		fn();
		_exit(0);
	}
	return pid > 0 && waitpid(pid, &status, 0) == pid && !status;
}

static bool one_cut(unsigned long cut, unsigned long r)
{
	const struct journal *j = &shared->journal;
	bool made = cut > shared->made;
	unsigned long none = shared->none;

	cut_files(j, ".begin", cut, next_random(&r));
	cut_length(j, cut, &r);
	if (!run(made ? open_made : open_half_made))
		return false;
	if (shared->none == none)
		return true;
	unlink(names[0]);
	return run(make_again);
}

static bool one_way(const char *how, void (*make)(void), unsigned long cuts)
{
	struct journal *j = &shared->journal;
	unsigned long cut = 0, i, r = mix(seed);
	bool ok;

	j->events = 0;
	j->data = 0;
	shared->logs = 0;
	shared->none = 0;
	unlink(names[0]);
	ok = run(make);
	for (i = 0; ok && i < cuts; i++) {
		cut = i <= j->events ? i : next_random(&r) % (j->events + 1);
		ok = one_cut(cut, next_random(&r));
	}
	if (!ok)
		printf("# cut after %lu of %lu events: %s\n", cut, j->events,
		       verdict[0] ? verdict : "a process died by itself");
	printf("# %lu logs, %lu times none; seed %lu\n", shared->logs, shared->none, seed);
	printf("%sok %u - %lu cuts of making a log by %s, of %lu events\n", ok ? "" : "not ",
	       make == make_only ? 1u : 2u, cuts, how, j->events);
	return ok;
}

static void __attribute__((noreturn)) usage(void)
{
	printf("usage: create [--cuts N] [--seed N] [--folder PATH]\n");
	exit(2);
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "cuts", 1, NULL, 'c' }, { "seed", 1, NULL, 's' }, { "folder", 1, NULL, 'f' },
		{ NULL, 0, NULL, 0 },
	};
	unsigned long cuts = 200;
	const char *folder = ".";
	unsigned int file;
	bool ok;
	int c;

	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (c) {
		case 'c': cuts = strtoul(optarg, NULL, 0); break;
		case 's': seed = strtoul(optarg, NULL, 0); break;
		case 'f': folder = optarg; break;
		default: usage();
		}
	}
	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE,
		      MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (optind < argc)
		usage();
	if (shared == MAP_FAILED || asprintf(&names[0], "%s/create.log", folder) < 0 ||
	    asprintf(&names[1], "%s/create.segment", folder) < 0 ||
	    asprintf(&names[2], "%s/create.segment.2", folder) < 0) {
		perror("create");
		return 1;
	}
	verdict = shared->verdict;
	printf("KTAP version 1\n1..2\n");
	if (rvm_set_engine("user"))
		return 1;
	for (file = 0; file < FILES; file++)		/* nothing is there at the beginning */
		close(open(name_of(file, ".begin"), O_CREAT | O_TRUNC | O_WRONLY, 0600));
	kill_at = EVENTS;
	ok = one_way("rvm_create_log", make_only, cuts);
	ok = one_way("rvm_initialize", make_and_open, cuts) && ok;
	for (file = 0; ok && file < FILES; file++) {
		unlink(names[file]);
		unlink(name_of(file, ".begin"));
	}
	return !ok;
}
