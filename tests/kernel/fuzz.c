// SPDX-License-Identifier: GPL-2.0 OR MIT
/*
 * Description: hostile processes at once, killed at random; and beside them some
 * that behave, whose data and transactions must know nothing of it.
 *
 * A round: new files, one process that uses a log of its own (the witness),
 * some that use a log together with the hostile ones, each for blocks of its
 * own (the polite), and the hostile; then all go, and the rest must be in order.
 */
#define _GNU_SOURCE
#include <getopt.h>
#include <sys/wait.h>

#include "fuzz.h"
#include "fuzz_behave.h"
#include "fuzz_memory.h"

#define PATIENCE	100		/* seconds for what was killed to be gone */

static unsigned long seconds = 10, processes = 6;

/* --- hostile processes --------------------------------------------------- */

static void act(void);

/* In a child of a hostile process: the descriptors are inherited, mappings are not. */
static void act_as_child(unsigned int n)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	while (n--)
		act();
	_exit(0);
}

static bool do_fork(void)
{
	unsigned int n = pick(30);
	pid_t pid = fork();

	if (!pid)
		act_as_child(n);
	return pid > 0;
}

/* The address space is the same, for a while, whoever dies first. */
static bool do_vfork(void)
{
	volatile unsigned int n = 1 + pick(5);
	pid_t pid = vfork();

	if (!pid) {
		while (n--)
			do_commit();
		_exit(0);
	}
	return pid > 0;
}

static bool do_exec(void)
{
	fcntl(descriptors[pick(FDS)].fd, F_SETFD, 0);
	execl("/proc/self/exe", "fuzz", "--exit", NULL);
	return false;
}

static bool do_exit(void)
{
	_exit(0);
	return true;
}

/* A log with its segments, recovered, mapped and ready. */
static bool do_enter(void)
{
	unsigned int place = some_place(), i;
	const struct place *p = &board->place[place];
	int log = attach(p->log), fd;

	if (log < 0)
		return false;
	for (i = 0; i < SEGMENTS; i++) {
		fd = segment_as(log, p->segment[i], some_tracking(i));
		keep(fd, SEGMENT, place);
		if (fd < 0)
			continue;
		recover(log, NULL, NULL);
		map_into_slot(fd, SEGMENT, (1 + pick(12)) * PAGE, PROT_READ | PROT_WRITE,
			      MAP_SHARED, 0);
	}
	recover(log, NULL, NULL);
	map_into_slot(log, LOG, PAGE << pick(6), PROT_READ | PROT_WRITE, MAP_SHARED, 0);
	return keep(log, LOG, place);
}

/* needed: a run in which this never succeeded proves nothing, however short it was */
static const struct {
	const char *name;
	unsigned int weight;
	bool needed;
	bool (*act)(void);
} calls[] = {
	{ "enter",		20, true,  do_enter },
	{ "transaction",	60, true,  do_transaction },
	{ "declare",		60, true,  do_declare },
	{ "tracked",		60, true,  do_tracked },
	{ "scribble",		60, true,  do_scribble },
	{ "duel",		20, true,  do_duel },
	{ "open device",	 8, true,  do_open_device },
	{ "open file",		20, false, do_open_file },
	{ "ATTACH_LOG",		15, true,  do_attach_log },
	{ "ATTACH_SEGMENT",	20, true,  do_attach_segment },
	{ "DICTIONARY",		10, true,  do_dictionary },
	{ "RECOVER",		15, true,  do_recover },
	{ "COMMIT",		60, true,  do_commit },
	{ "ABORT",		20, true,  do_abort_area },
	{ "SPILL",		20, true,  do_spill },
	{ "FLUSH",		10, true,  do_flush },
	{ "TRUNCATE",		10, true,  do_truncate },
	{ "SET_OPTIONS",	 5, true,  do_set_options },
	{ "QUERY",		 5, true,  do_query },
	{ "STATISTICS",		 5, true,  do_statistics },
	{ "map area",		20, true,  do_map_area },
	{ "map segment",	25, true,  do_map_segment },
	{ "unmap",		12, true,  do_unmap },
	{ "mremap",		12, false, do_remap },
	{ "mprotect",		 8, false, do_protect },
	{ "madvise",		20, false, do_advise },
	{ "mlock, msync...",	10, false, do_lock_and_sync },
	{ "store",		40, true,  do_store },
	{ "load",		20, true,  do_load },
	{ "read into memory",	20, false, do_read_into },
	{ "write from memory",	15, false, do_write_from },
	{ "splice",		 8, false, do_splice },
	{ "process_vm_*",	10, false, do_other_memory },
	{ "dup",		 8, false, do_dup },
	{ "close",		15, true,  do_close },
	{ "send fd",		 8, false, do_send },
	{ "receive fd",		10, false, do_receive },
	{ "damage files",	 6, false, do_damage },
	{ "renew files",	 8, false, do_renew },
	{ "fork",		 4, false, do_fork },
	{ "vfork",		 4, false, do_vfork },
	{ "exec",		 1, false, do_exec },
	{ "exit",		 1, false, do_exit },
	{ "setrlimit",		 4, false, do_limit },
	{ "reclaim, compact",	 2, false, do_reclaim },
	{ "memory pressure",	 1, false, do_pressure },
};

_Static_assert(ARRAY_LENGTH(calls) <= TALLIES, "the board is too small");

static void act(void)
{
	unsigned int i, at, sum = 0;

	for (i = 0; i < ARRAY_LENGTH(calls); i++)
		sum += calls[i].weight;
	at = pick(sum);
	for (i = 0; at >= calls[i].weight; i++)
		at -= calls[i].weight;
	__atomic_add_fetch(&board->tally[i].calls, 1, __ATOMIC_RELAXED);
	if (calls[i].act())
		__atomic_add_fetch(&board->tally[i].successes, 1, __ATOMIC_RELAXED);
}

static unsigned long my_number;

static void *act_for_ever(void *thread)
{
	if (thread)
		seed_random(seed, my_number * THREADS_MAX + (uintptr_t)thread);
	for (;;)
		act();
	return NULL;
}

static void hostile(unsigned long number)
{
	pthread_t thread;
	unsigned long i, n;

	my_number = number;
	catch_faults();
	write_word("/proc/self/oom_score_adj", "1000");
	signal(SIGCHLD, SIG_IGN);
	seed_random(seed, number * THREADS_MAX);
	sparing = one_in(3);
	do_open_device();
	do_enter();
	n = pick(THREADS_MAX);
	for (i = 0; i < n; i++)
		pthread_create(&thread, NULL, act_for_ever, (void *)(i + 1));
	act_for_ever(0);
}

/* --- places -------------------------------------------------------------- */

#define NULLB	"/sys/kernel/config/nullb"

static int configure(const char *device, const char *attribute, const char *value)
{
	char path[200];

	snprintf(path, sizeof(path), NULLB "/%s/%s", device, attribute);
	return write_word(path, value) ? 0 : -1;
}

static int make_device(const char *name, const char *mib)
{
	char path[200];

	snprintf(path, sizeof(path), NULLB "/%s", name);
	return mkdir(path, 0700) || configure(name, "size", mib) ||
	       configure(name, "memory_backed", "1") || configure(name, "power", "1") ? -1 : 0;
}

static int remove_device(const char *name)
{
	char path[200];

	snprintf(path, sizeof(path), NULLB "/%s", name);
	configure(name, "power", "0");
	return rmdir(path);
}

static const char * const devices[] = { "fuzzlog", "fuzzseg0", "fuzzseg1", "fuzzfs" };

static int fill_place(const struct place *p)
{
	unsigned int i;

	for (i = 0; i < SEGMENTS; i++)
		if (renew_segment(p, i))
			return -1;
	return renew_log(p);
}

static int add_place(const char *dir, unsigned long log_length)
{
	struct place *p = &board->place[board->places++];
	unsigned int i;

	p->log_length = log_length;
	snprintf(p->log, sizeof(p->log), "%s/log", dir);
	for (i = 0; i < SEGMENTS; i++)
		snprintf(p->segment[i], sizeof(p->segment[i]), "%s/segment%u", dir, i);
	return fill_place(p);
}

/* The log of the polite, and segments of it that are not theirs. */
static int add_polite_place(void)
{
	struct place *p = &board->place[board->places++];
	unsigned int i;

	p->spared = true;
	if (make_files(&polite_files, 200 * KIB) ||
	    make_file(polite_files.segment, LENGTH, UNTOUCHED))
		return -1;
	strcpy(p->log, polite_files.log);
	for (i = 0; i < SEGMENTS; i++) {
		snprintf(p->segment[i], sizeof(p->segment[i]), "%.100s/other%u", polite_files.dir, i);
		if (renew_segment(p, i))
			return -1;
	}
	return 0;
}

static int add_devices(void)
{
	struct place *p = &board->place[board->places++];
	unsigned int i;

	for (i = 0; i < ARRAY_LENGTH(devices); i++)
		if (make_device(devices[i], i == 3 ? "16" : "1"))
			return -1;
	p->block = true;
	p->log_length = 256 * KIB;
	snprintf(p->log, sizeof(p->log), "/dev/%s", devices[0]);
	for (i = 0; i < SEGMENTS; i++)
		snprintf(p->segment[i], sizeof(p->segment[i]), "/dev/%s", devices[1 + i]);
	return renew_log(p);
}

static int add_file_system(const char *dir)
{
	if (system("mke2fs /dev/fuzzfs >/dev/null 2>&1") || mkdir(dir, 0700) ||
	    mount("/dev/fuzzfs", dir, "ext4", 0, NULL))
		return -1;
	return add_place(dir, 300 * KIB);
}

static char base[32] = "/tmp/rvm-fuzz.XXXXXX";
static char file_system[64];

static int make_places(void)
{
	unsigned int i;

	board->places = 0;
	for (i = 0; i < ARRAY_LENGTH(devices); i++)
		remove_device(devices[i]);
	strcpy(base + strlen(base) - 6, "XXXXXX");
	if (!mkdtemp(base))
		return -1;
	snprintf(file_system, sizeof(file_system), "%s/ext4", base);
	memset(blocks, 0, BLOCKS * sizeof(*blocks));
	return add_place(base, 64 * KIB) || add_polite_place() || add_devices() ||
	       add_file_system(file_system) || make_files(&witness_files, 100 * KIB) ? -1 : 0;
}

static int remove_places(void)
{
	unsigned int i;
	int ret;

	/* the last descriptors may still be on their way to be closed */
	for (i = 0; (ret = umount(file_system)) && errno == EBUSY && i < 100; i++)
		sleep_us(50000);
	for (i = 0; i < ARRAY_LENGTH(devices); i++)
		ret |= remove_device(devices[i]);
	nftw(base, remove_one, 16, FTW_DEPTH | FTW_PHYS);
	remove_files(&polite_files);
	remove_files(&witness_files);
	return ret;
}

/* --- rounds -------------------------------------------------------------- */

static unsigned long now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000ul + t.tv_nsec / 1000000;
}

static void print_file(const char *path)
{
	char text[4000];
	int fd = open(path, O_RDONLY | O_CLOEXEC), n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
	char *line, *rest = text;

	close(fd);
	text[n < 0 ? 0 : n] = 0;
	while ((line = strsep(&rest, "\n")) && *line)
		printf("#   %s\n", line);
}

/* Where all our processes are in the kernel. */
static void print_stacks(void)
{
	DIR *all = opendir("/proc"), *tasks;
	struct dirent *process, *task;
	char path[700], name[20];

	while (all && (process = readdir(all))) {
		int fd, n;

		snprintf(path, sizeof(path), "/proc/%s/comm", process->d_name);
		fd = open(path, O_RDONLY | O_CLOEXEC);
		n = fd < 0 ? 0 : read(fd, name, sizeof(name) - 1);
		close(fd);
		if (n < 4 || memcmp(name, "fuzz", 4) || atoi(process->d_name) == getpid())
			continue;
		snprintf(path, sizeof(path), "/proc/%s/task", process->d_name);
		tasks = opendir(path);
		while (tasks && (task = readdir(tasks))) {
			if (task->d_name[0] == '.')
				continue;
			printf("# process %s, thread %s:\n", process->d_name, task->d_name);
			snprintf(path, sizeof(path), "/proc/%s/task/%s/stack", process->d_name,
				 task->d_name);
			print_file(path);
		}
		closedir(tasks);
	}
	closedir(all);
}

enum role { HOSTILE, WELL_BEHAVED, WITNESS };

/* One of the parent's children; dead ones are replaced. */
struct child {
	pid_t pid;
	enum role role;
	unsigned long killed;	/* when; 0: not yet */
};

static struct child children[16];
static unsigned int n_children;
static unsigned long number;	/* of processes so far: with the seed, what each will do */
static bool hung;

static void start(unsigned int i)
{
	struct child *c = &children[i];

	number++;
	c->killed = 0;
	c->pid = fork();
	if (!c->pid) {
		setpgid(0, 0);
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (c->role == WITNESS)
			witness(number);
		if (c->role == WELL_BEHAVED)
			polite(i - 1, number);
		hostile(number);
	}
	if (c->role == HOSTILE)
		board->wild[i] = c->pid;
}

static void kill_child(struct child *c, bool descendants)
{
	if (c->pid <= 0 || c->killed)
		return;
	kill(descendants ? -c->pid : c->pid, SIGKILL);
	kill(c->pid, SIGKILL);
	c->killed = now_ms();
}

/* Note who has died; false if there is nobody left. */
static bool reap(void)
{
	unsigned int i;
	int status;
	pid_t pid;

	while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
		for (i = 0; i < n_children; i++) {
			struct child *c = &children[i];

			if (c->pid != pid)
				continue;
			c->pid = 0;
			if (c->role != HOSTILE && !c->killed && !(WIFEXITED(status) && board->stop))
				COMPLAIN("%s ended with status %x", c->role == WITNESS ? "the witness" :
					 "a polite process", status);
		}
	}
	for (i = 0; i < n_children; i++) {
		struct child *c = &children[i];

		if (c->pid && c->killed && now_ms() - c->killed > PATIENCE * 1000 && !hung) {
			hung = true;
			printf("# process %d was killed and is still there\n", c->pid);
			print_stacks();
		}
	}
	return pid != -1;
}

static void run_children(unsigned long ms)
{
	unsigned long end = now_ms() + ms;
	unsigned int i;

	n_children = 1 + POLITE + processes;
	for (i = 0; i < n_children; i++) {
		children[i].role = !i ? WITNESS : i <= POLITE ? WELL_BEHAVED : HOSTILE;
		start(i);
	}
	while (now_ms() < end && !hung) {
		sleep_us(1000 * (1 + pick(60)));
		if (one_in(4))
			kill_child(&children[1 + pick(n_children - 1)], one_in(2));
		reap();
		for (i = 1; i < n_children; i++)
			if (!children[i].pid && !board->complaints)
				start(i);
	}
}

/* All go; those that don't, hang. */
static void end_children(void)
{
	unsigned long end = now_ms() + PATIENCE * 1000;
	unsigned int i;

	for (i = 1; i < n_children; i++)
		kill_child(&children[i], true);
	board->stop = 1;
	while (reap() && now_ms() < end)
		sleep_us(20000);
	if (reap()) {
		hung = true;
		printf("# not all processes ended\n");
		print_stacks();
	}
	memset((void *)board->wild, 0, sizeof(board->wild));
}

/* Recovered by somebody else, or by us, the polite segment holds what was committed. */
static void check_polite(int log, bool reopen)
{
	static char file[LENGTH];
	unsigned long b;
	int fd;

	if (reopen) {
		close(log);
		log = attach(polite_files.log);
	}
	fd = segment(log, polite_files.segment);
	if (fd < 0 || recover(log, NULL, NULL) || truncate_log(log))
		COMPLAIN("the polite log can't be recovered and truncated: %s", strerror(errno));
	close(fd);
	close(log);
	fd = open(polite_files.segment, O_RDONLY | O_CLOEXEC);
	if (read(fd, file, LENGTH) != (ssize_t)LENGTH)
		COMPLAIN("the polite segment can't be read: %s", strerror(errno));
	close(fd);
	for (b = 0; b < BLOCKS; b++) {
		if (!block_is_good(file + b * BLOCK, b))
			COMPLAIN("after all: block %lu is neither version %u nor %u", b,
				 blocks[b].committed, blocks[b].pending);
		if (!all_are(file + b * BLOCK + HALF, UNTOUCHED, HALF))
			COMPLAIN("block %lu: a store that was never declared is in the segment", b);
	}
}

/* A log of the kind that the hostile used, from the beginning. */
static void check_fresh(void)
{
	struct world w;
	const char *who = "fresh";

	MUST(make_world(&w, 64 * KIB));
	set(w.area, w.memory + 100, 7, 5000);
	MUST(commit(w.log, w.area, RVM_COMMIT_FLUSH));
	MUST(truncate_log(w.log));
	close_world(&w);
	if (!file_is(w.f.segment, 100, 7, 5000))
		COMPLAIN("a fresh log: what was committed is not in the segment");
	remove_files(&w.f);
}

static void run_round(unsigned long n, unsigned long ms)
{
	int log;

	board->stop = 0;
	if (make_places() || socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0, board->sockets)) {
		COMPLAIN("can't make files and devices: %s", strerror(errno));
		return;
	}
	/* while we have it the polite log is not closed, and what is kept in it stays attached */
	log = attach(polite_files.log);
	if (log < 0 || recover(log, NULL, NULL))
		COMPLAIN("can't attach: %s", strerror(errno));
	run_children(ms);
	end_children();
	close(board->sockets[0]);
	close(board->sockets[1]);
	if (hung)
		return;
	check_polite(log, n % 2);
	if (!module_is_free())
		COMPLAIN("all processes are gone, and something still holds the module");
	check_fresh();
	if (remove_places())
		COMPLAIN("devices are still in use: %s", strerror(errno));
}

/* --- all ----------------------------------------------------------------- */

static int test_number, failures;

static void result(bool good, const char *name)
{
	printf("%sok %d %s\n", good ? "" : "not ", ++test_number, name);
	failures += !good;
}

static void usage(void)
{
	puts("usage: fuzz [--seconds N] [--seed N] [--processes N]\n\n"
	     "Hostile processes use /dev/rvm, at once, and are killed at random. As root, on\n"
	     "a machine that may crash, with configfs, null_blk and ext4.\n\n"
	     "  --seconds N    so long, in rounds (10, or what FUZZ_SECONDS in the environment says)\n"
	     "  --seed N       what each thread chooses depends on this alone (FUZZ_SEED, or the time)\n"
	     "  --processes N  hostile ones at a time, 1 to 12 (6)");
}

static unsigned long number_of(const char *text, unsigned long low, unsigned long high)
{
	char *end;
	unsigned long n = strtoul(text, &end, 0);

	if (!*text || *end || n < low || n > high) {
		fprintf(stderr, "fuzz: '%s' is not between %lu and %lu\n", text, low, high);
		exit(2);
	}
	return n;
}

static void options(int argc, char **argv)
{
	static const struct option known[] = {
		{ "seconds", required_argument, NULL, 's' }, { "seed", required_argument, NULL, 'r' },
		{ "processes", required_argument, NULL, 'p' }, { "help", no_argument, NULL, 'h' },
		{ "exit", no_argument, NULL, 'e' }, { }
	};
	int c;

	seed = time(NULL);
	if (getenv("FUZZ_SECONDS"))
		seconds = number_of(getenv("FUZZ_SECONDS"), 1, 1000000);
	if (getenv("FUZZ_SEED"))
		seed = number_of(getenv("FUZZ_SEED"), 0, -1ul);
	while ((c = getopt_long(argc, argv, "h", known, NULL)) != -1) {
		switch (c) {
		case 's':
			seconds = number_of(optarg, 1, 1000000);
			break;
		case 'r':
			seed = number_of(optarg, 0, -1ul);
			break;
		case 'p':
			processes = number_of(optarg, 1, 12);
			break;
		case 'h':
			usage();
			exit(0);
		case 'e':	/* for a hostile process's exec */
			_exit(0);
		default:
			exit(2);
		}
	}
}

int main(int argc, char **argv)
{
	unsigned long n, rounds, end;
	bool got_through = true;

	options(argc, argv);
	setvbuf(stdout, NULL, _IOLBF, 0);
	printf("TAP version 13\n1..4\n# %lu s, seed %lu, %lu processes\n", seconds, seed, processes);
	board = shared_memory(sizeof(*board));
	blocks = shared_memory(BLOCKS * sizeof(*blocks));
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	write_word("/proc/self/oom_score_adj", "-1000");
	seed_random(seed, 0);

	/* a round of about 12 seconds, at least two */
	rounds = seconds / 12 < 2 ? 2 : seconds / 12;
	end = now_ms() + seconds * 1000;
	for (n = 0; n < rounds && !hung && !board->complaints && (n < 2 || now_ms() < end); n++)
		run_round(n, seconds * 1000 / rounds);

	for (n = 0; n < ARRAY_LENGTH(calls); n++) {
		const struct tally *t = &board->tally[n];

		printf("# %-18s %8lu calls %8lu succeeded\n", calls[n].name, t->calls, t->successes);
		got_through &= t->successes || !calls[n].needed;
	}
	printf("# %lu processes in all; the polite committed %lu times, the witness %lu times\n", number,
	       board->commits, board->witnessed);
	result(!hung, "whoever was killed was gone");
	result(!board->complaints, "what others did changed nothing for those that behave");
	result(got_through, "the hostile got every ioctl and mapping through");
	result(board->commits && board->witnessed, "those that behave got commits through");
	return failures ? 1 : 0;
}
