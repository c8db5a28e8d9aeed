// SPDX-License-Identifier: GPL-2.0 OR MIT
/*
 * rvmstat: what the kernel engine does, from the statistics that rvm.ko keeps in
 * debugfs: counters, segments, and what processes have mapped.
 *
 * The kernel's files are lines of "name value" (counters), or of "name=value"
 * pairs.  What is not known here is passed on with --json all the same.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <argp.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/magic.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <time.h>
#include <unistd.h>

#define MAX_COUNTERS	100
#define MAX_NAME	40
#define LINES_A_HEADER	20

static struct {
	const char *debugfs, *log;
	bool processes, segments, json;
	double interval;		/* seconds; 0: look once */
	uint64_t count;			/* 0: for ever */
} opt = { .debugfs = "/sys/kernel/debug" };

struct counters {
	unsigned int n;
	char names[MAX_COUNTERS][MAX_NAME];
	uint64_t values[MAX_COUNTERS];
};

/* A log that was found; it stays in the list for the next look. */
struct log {
	struct log *next;
	char *name;			/* of its folder */
	char *path;			/* of its file or device */
	struct counters last;		/* n is 0 before the first look */
	struct timespec time;		/* when that was */
	bool seen;			/* it is there, at this look */
};

static struct log *logs;
static volatile sig_atomic_t ended;	/* by a signal */

static void __attribute__((noreturn, format(printf, 1, 2))) die(const char *format, ...)
{
	va_list args;

	fflush(stdout);
	fputs("rvmstat: ", stderr);
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fputc('\n', stderr);
	exit(1);
}

static void *check_memory(void *memory)
{
	if (!memory)
		die("out of memory");
	return memory;
}

/* --- the command line ---------------------------------------------------- */

const char *argp_program_version = "rvmstat 1.0.0";

static const char doc[] =
	"Shows what the kernel engine of recoverable virtual memory does.\v"
	"Without INTERVAL it looks once, else every INTERVAL seconds, COUNT times or until it is interrupted. "
	"The first line of a log holds its totals since it was attached, the following ones what came in each "
	"second of the interval. Segments and processes are shown as they are.\n\n"
	"It takes root, and debugfs.\n\n"
	"Exit status: 0; 1 for an error, or if there is no such log; 2 for a wrong command line.";

static const char args_doc[] = "[INTERVAL [COUNT]]";

enum { KEY_DEBUGFS = 256, KEY_JSON };

static const struct argp_option options[] = {
	{ "log", 'l', "NAME", 0,
	  "Only this log: the path of its file or device, or MAJOR:MINOR:INODE (all logs)", 0 },
	{ "processes", 'p', NULL, 0, "Show which processes have what mapped, and their open transactions", 0 },
	{ "segments", 's', NULL, 0, "Show the segments", 0 },
	{ "json", KEY_JSON, NULL, 0, "Print one JSON object a line for each log, segment, region or area", 0 },
	{ "debugfs", KEY_DEBUGFS, "DIR", 0, "Where debugfs is mounted (/sys/kernel/debug)", 0 },
	{ NULL, 'h', NULL, OPTION_HIDDEN, NULL, -1 },
	{ 0 },
};

static double parse_interval(struct argp_state *state, const char *arg)
{
	char *end;
	double seconds = strtod(arg, &end);

	if (*arg < '0' || *arg > '9' || strspn(arg, "0123456789.") != strlen(arg) || *end ||
	    seconds < 0.01 || seconds > 1000000)
		argp_error(state, "INTERVAL: '%s' is not a number of seconds from 0.01 to 1000000", arg);
	return seconds;
}

static uint64_t parse_count(struct argp_state *state, const char *arg)
{
	unsigned long long n;
	char *end;

	errno = 0;
	n = strtoull(arg, &end, 10);
	if (*arg < '0' || *arg > '9' || *end || errno || !n)
		argp_error(state, "COUNT: '%s' is not a number from 1 on", arg);
	return n;
}

static error_t parse_option(int key, char *arg, struct argp_state *state)
{
	switch (key) {
	case 'l':
		if (!*arg)
			argp_error(state, "--log: it has no name");
		opt.log = arg;
		break;
	case 'p':
		opt.processes = true;
		break;
	case 's':
		opt.segments = true;
		break;
	case KEY_JSON:
		opt.json = true;
		break;
	case KEY_DEBUGFS:
		opt.debugfs = arg;
		break;
	case 'h':
		argp_state_help(state, stdout, ARGP_HELP_STD_HELP);
		break;
	case ARGP_KEY_ARG:
		if (state->arg_num == 0)
			opt.interval = parse_interval(state, arg);
		else if (state->arg_num == 1)
			opt.count = parse_count(state, arg);
		else
			argp_error(state, "'%s' is one argument too many", arg);
		break;
	default:
		return ARGP_ERR_UNKNOWN;
	}
	return 0;
}

/* --- the kernel's files --------------------------------------------------- */

/* Why there is no folder of logs. */
static void __attribute__((noreturn)) no_folder(const char *folder, int error)
{
	struct statfs fs;

	if (error == EACCES || error == EPERM)
		die("%s: %s; it takes root", folder, strerror(error));
	if (error != ENOENT)
		die("%s: %s", folder, strerror(error));
	if (statfs(opt.debugfs, &fs) || fs.f_type != DEBUGFS_MAGIC)
		die("debugfs is not mounted on %s: mount -t debugfs none %s", opt.debugfs, opt.debugfs);
	if (access("/sys/module/rvm", F_OK))
		die("the module rvm is not loaded");
	die("the module rvm has no statistics");
}

/* A log's file, whole; NULL if the log has gone. */
static char *read_file(const struct log *log, const char *file)
{
	size_t length = 0, room = 16384;
	char *text = check_memory(malloc(room)), *path;
	ssize_t n = -1;
	int fd;

	if (asprintf(&path, "%s/rvm/%s/%s", opt.debugfs, log->name, file) < 0)
		check_memory(NULL);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	while (fd >= 0 && (n = read(fd, text + length, room - 1 - length)) != 0) {
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			break;
		length += n;
		if (room - length < 2)
			text = check_memory(realloc(text, room *= 2));
	}
	if (n) {
		/* EIO: it went while the file was open */
		if (errno != ENOENT && errno != EIO)
			die("%s: %s", path, strerror(errno));
		free(text);
		text = NULL;
	} else {
		text[length] = 0;
	}
	if (fd >= 0)
		close(fd);
	free(path);
	return text;
}

/* Cut the next line off the text, or return NULL. */
static char *next_line(char **text)
{
	char *line = *text, *end;

	if (!*line)
		return NULL;
	end = strchrnul(line, '\n');
	*text = *end ? end + 1 : end;
	*end = 0;
	return line;
}

static bool read_counters(const struct log *log, struct counters *counters)
{
	char *text = read_file(log, "counters"), *at = text, *line;

	counters->n = 0;
	if (!text)
		return false;
	while ((line = next_line(&at)) && counters->n < MAX_COUNTERS)
		if (sscanf(line, "%39[a-z_] %" SCNu64, counters->names[counters->n],
			   &counters->values[counters->n]) == 2)
			counters->n++;
	free(text);
	if (!counters->n)
		die("the counters of %s can't be read", log->name);
	return true;
}

static uint64_t counter(const struct counters *counters, const char *name)
{
	for (unsigned int i = 0; i < counters->n; i++)
		if (!strcmp(counters->names[i], name))
			return counters->values[i];
	return 0;
}

/* One that says how it is, and doesn't count. */
static bool is_state(const char *name)
{
	static const char *const names[] = { "log_length", "log_used", "failed", "memory", "memory_limit" };

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (!strcmp(name, names[i]))
			return true;
	return false;
}

/* The value of name= in a line of pairs, up to the next blank; "" if it isn't there. */
static const char *pair(const char *line, const char *name)
{
	static char values[4][4096];
	static unsigned int turn;
	char *value = values[turn++ % 4];
	size_t n = strlen(name);

	for (const char *at = line; at; at = strchr(at, ' ')) {
		at += *at == ' ';
		if (!strncmp(at, name, n) && at[n] == '=') {
			snprintf(value, sizeof(values[0]), "%.*s", (int)strcspn(at + n + 1, " "), at + n + 1);
			return value;
		}
	}
	*value = 0;
	return value;
}

static uint64_t number(const char *line, const char *name)
{
	return strtoull(pair(line, name), NULL, 0);
}

/* Names are their users' to choose: they don't get at the terminal. */
static const char *printable(char *text)
{
	for (char *c = text; *c; c++)
		if ((unsigned char)*c < ' ' || *c == 127)
			*c = '?';
	return text;
}

/* Undo the octal escapes that the kernel has in paths. */
static char *plain(const char *path)
{
	static char result[4096];
	char *to = result;

	while (*path && to < result + sizeof(result) - 1) {
		if (path[0] == '\\' && strspn(path + 1, "01234567") >= 3) {
			*to++ = (path[1] - '0') << 6 | (path[2] - '0') << 3 | (path[3] - '0');
			path += 4;
		} else {
			*to++ = *path++;
		}
	}
	*to = 0;
	return result;
}

/* --- which logs ----------------------------------------------------------- */

/* The folder's name of the log that the user named. */
static const char *wanted_name(void)
{
	static char name[60];		/* as long as the file has it, and longer */
	unsigned int major_number, minor_number;
	unsigned long long inode;
	struct stat st;
	int end = -1;

	if (*name)
		return name;
	if (sscanf(opt.log, "%u:%u:%llu%n", &major_number, &minor_number, &inode, &end) == 3 &&
	    !opt.log[end])
		return opt.log;
	if (stat(opt.log, &st))
		die("log %s: %s", opt.log, strerror(errno));
	if (S_ISBLK(st.st_mode))
		snprintf(name, sizeof(name), "%u:%u:0", major(st.st_rdev), minor(st.st_rdev));
	else
		snprintf(name, sizeof(name), "%u:%u:%llu", major(st.st_dev), minor(st.st_dev),
			 (unsigned long long)st.st_ino);
	return name;
}

static struct log *find_log(const char *name)
{
	struct log **at = &logs;

	while (*at && strcmp((*at)->name, name))
		at = &(*at)->next;
	if (!*at) {
		*at = check_memory(calloc(1, sizeof(**at)));
		(*at)->name = check_memory(strdup(name));
	}
	return *at;
}

/* What this look does with a log that is there; false if it has gone. */
static bool show_log(struct log *log);

static bool is_there(struct log *log)
{
	char *text;

	log->seen = true;
	if (log->path)
		return true;
	text = read_file(log, "path");
	if (!text)
		return false;
	text[strcspn(text, "\n")] = 0;
	log->path = check_memory(strdup(opt.json ? plain(text) : printable(plain(text))));
	free(text);
	return true;
}

static void forget(struct log *log)
{
	struct log **at = &logs;

	while (*at != log)
		at = &(*at)->next;
	*at = log->next;
	free(log->name);
	free(log->path);
	free(log);
}

/* Look once.  How many logs there are. */
static unsigned int look(void)
{
	const char *wanted = opt.log ? wanted_name() : NULL;
	struct log *log, *next;
	struct dirent *entry;
	unsigned int n = 0;
	char *folder;
	DIR *dir;

	if (asprintf(&folder, "%s/rvm", opt.debugfs) < 0)
		check_memory(NULL);
	dir = opendir(folder);
	if (!dir && !logs)
		no_folder(folder, errno);
	for (log = logs; log; log = log->next)
		log->seen = false;
	while (dir && (entry = readdir(dir))) {
		if (entry->d_name[0] == '.' || (wanted && strcmp(entry->d_name, wanted)))
			continue;
		log = find_log(entry->d_name);
		log->seen = is_there(log) && show_log(log);
		n += log->seen;
	}
	if (dir)
		closedir(dir);
	free(folder);
	for (log = logs; log; log = next) {
		next = log->next;
		if (log->seen)
			continue;
		if (log->path) {
			fflush(stdout);
			fprintf(stderr, "rvmstat: the log %s (%s) has gone\n", log->path, log->name);
		}
		forget(log);
	}
	return n;
}

/* --- JSON ----------------------------------------------------------------- */

static void json_string(const char *name, const char *value)
{
	printf("\"%s\":\"", name);
	for (; *value; value++) {
		unsigned char c = *value;

		if (c == '"' || c == '\\')
			printf("\\%c", c);
		else if (c < ' ')
			printf("\\u%04x", c);
		else
			putchar(c);
	}
	putchar('"');
}

static void json_begin(const struct log *log, const char *type)
{
	putchar('{');
	json_string("type", type);
	putchar(',');
	json_string("log", log->name);
	putchar(',');
	json_string("log_path", log->path);
}

/* A line of pairs: numbers as they are, in decimal. */
static void json_pairs(const struct log *log, const char *type, const char *line)
{
	char name[MAX_NAME];

	json_begin(log, type);
	for (const char *at = line; at; at = strchr(at, ' ')) {
		const char *value;

		at += *at == ' ';
		if (sscanf(at, "%39[a-z_]=", name) != 1 || at[strlen(name)] != '=')
			continue;
		value = pair(at, name);
		putchar(',');
		if (*value && (strspn(value, "0123456789") == strlen(value) || !strncmp(value, "0x", 2)))
			printf("\"%s\":%" PRIu64, name, (uint64_t)strtoull(value, NULL, 0));
		else
			json_string(name, plain(value));
	}
	puts("}");
}

/* --- counters ------------------------------------------------------------- */

static unsigned int lines;		/* since the last header */

static void print_header(void)
{
	puts("-------- transactions ------- ---------- log ---------- ------- segments ------- -- memory -- ---- pages ---");
	printf("%7s %7s %6s %6s %5s %8s %8s %7s %8s %6s %5s %6s %7s %7s log\n", "commit", "flush", "abort",
	       "undone", "used%", "writes", "KiB", "writes", "KiB", "trunc", "used%", "waits",
	       "faults", "read");
}

/* What came each second, or the total if seconds is 0. */
static double rate(const struct log *log, const struct counters *now, double seconds, const char *name)
{
	if (seconds <= 0)
		return counter(now, name);
	return (counter(now, name) - counter(&log->last, name)) / seconds;
}

static double per_cent(const struct counters *now, const char *part, const char *whole)
{
	uint64_t n = counter(now, whole);

	return n ? 100.0 * counter(now, part) / n : 0;
}

static void print_counters(const struct log *log, const struct counters *now, double seconds)
{
#define RATE(name)	rate(log, now, seconds, name)
	if (lines++ % LINES_A_HEADER == 0)
		print_header();
	printf("%7.0f %7.0f %6.0f %6.0f %5.0f %8.0f %8.0f %7.0f %8.0f %6.0f %5.0f %6.0f %7.0f %7.0f",
	       RATE("commits"), RATE("flush_commits"), RATE("aborts"), RATE("undone"),
	       per_cent(now, "log_used", "log_length"), RATE("log_writes"), RATE("log_bytes") / 1024,
	       RATE("segment_writes"), RATE("segment_bytes") / 1024, RATE("truncations"),
	       per_cent(now, "memory", "memory_limit"), RATE("memory_waits"), RATE("write_faults"),
	       RATE("pages_read"));
	printf(" %s%s\n", log->path, counter(now, "failed") ? ", failed" : "");
#undef RATE
}

static void print_json(const struct log *log, const struct counters *now, double seconds)
{
	json_begin(log, "log");
	printf(",\"seconds\":%.3f", seconds);
	for (unsigned int i = 0; i < now->n; i++)
		printf(",\"%s\":%" PRIu64, now->names[i],
		       now->values[i] - (seconds > 0 && !is_state(now->names[i]) ?
					 counter(&log->last, now->names[i]) : 0));
	puts("}");
}

static bool show_counters(struct log *log)
{
	struct counters now;
	struct timespec time;
	double seconds = 0;

	if (!read_counters(log, &now))
		return false;
	clock_gettime(CLOCK_MONOTONIC, &time);
	/* It may have gone and come back, and begins anew. */
	for (unsigned int i = 0; i < now.n; i++)
		if (!is_state(now.names[i]) && now.values[i] < counter(&log->last, now.names[i]))
			log->last.n = 0;
	if (log->last.n)
		seconds = (time.tv_sec - log->time.tv_sec) + (time.tv_nsec - log->time.tv_nsec) / 1e9;
	if (opt.json)
		print_json(log, &now, seconds);
	else
		print_counters(log, &now, seconds);
	log->last = now;
	log->time = time;
	return true;
}

/* --- segments ------------------------------------------------------------- */

static bool show_segments(struct log *log)
{
	char *text = read_file(log, "segments"), *at = text, *line;

	if (!text)
		return false;
	if (!opt.json)
		puts("     ID         SIZE REGIONS CHANGED    READ WRITTEN  FAULTS  STATE      PATH");
	while ((line = next_line(&at))) {
		if (opt.json) {
			json_pairs(log, "segment", line);
			continue;
		}
		printf("%7" PRIu64 " %12" PRIu64 " %7" PRIu64 " %7" PRIu64 " %7" PRIu64 " %7" PRIu64 " %7" PRIu64 "  %-10s %s\n",
		       number(line, "segment"), number(line, "size"), number(line, "regions"),
		       number(line, "changed"), number(line, "pages_read"),
		       number(line, "pages_written"), number(line, "write_faults"),
		       number(line, "unfit") ? "unfit" : number(line, "waiting") ? "waiting" :
		       number(line, "writable") ? "read-write" : "read-only",
		       printable(plain(pair(line, "path"))));
	}
	free(text);
	return true;
}

/* --- processes ------------------------------------------------------------ */

static const char *command(uint64_t pid)
{
	static char name[64];
	char path[40];
	size_t n;
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%" PRIu64 "/comm", pid);
	file = fopen(path, "re");
	n = file ? fread(name, 1, sizeof(name) - 1, file) : 0;
	if (file)
		fclose(file);
	name[n] = 0;
	name[strcspn(name, "\n")] = 0;
	return *name ? printable(name) : "?";
}

struct record {
	uint64_t pid;
	unsigned int place;		/* in what was read */
	char *line;
};

static int by_pid(const void *a, const void *b)
{
	const struct record *x = a, *y = b;

	if (x->pid != y->pid)
		return x->pid < y->pid ? -1 : 1;
	return x->place < y->place ? -1 : x->place > y->place;
}

static void print_region(const char *line)
{
	uint64_t start = number(line, "start"), end = number(line, "end");

	printf("    region  segment %-4" PRIu64 " offset %-12" PRIu64 " length %-12" PRIu64 " at %" PRIx64 "-%" PRIx64 " %s\n",
	       number(line, "segment"), number(line, "offset"), end - start, start, end,
	       number(line, "writable") ? "read-write" : "read-only");
}

static void print_process(const struct record *records, size_t n)
{
	unsigned int idle = 0;

	if (records->pid)
		printf("process %" PRIu64 " (%s)\n", records->pid, command(records->pid));
	else
		puts("processes of other pid namespaces");
	for (; n--; records++) {
		const char *line = records->line;

		if (!strncmp(line, "region ", 7))
			print_region(line);
		else if (number(line, "open"))
			printf("    open transaction in area %" PRIu64 ": %" PRIu64 " bytes declared, %" PRIu64 " of them spilled\n",
			       number(line, "area"), number(line, "used") + number(line, "spilled"),
			       number(line, "spilled"));
		else
			idle++;
	}
	if (idle)
		printf("    %u area%s without a transaction\n", idle, idle == 1 ? "" : "s");
}

static bool show_processes(struct log *log)
{
	char *text = read_file(log, "processes"), *at = text, *line;
	struct record *records = NULL;
	size_t n = 0, first = 0;

	if (!text)
		return false;
	while ((line = next_line(&at))) {
		if (opt.json) {
			json_pairs(log, strncmp(line, "region ", 7) ? "area" : "region", line);
			continue;
		}
		if (!(n & (n + 1)))	/* it is 2^k - 1 long, or empty */
			records = check_memory(reallocarray(records, 2 * n + 2, sizeof(*records)));
		records[n] = (struct record){ .pid = number(line, "pid"), .place = n, .line = line };
		n++;
	}
	if (n)
		qsort(records, n, sizeof(*records), by_pid);
	for (size_t i = 1; i <= n; i++) {
		if (i < n && records[i].pid == records[first].pid)
			continue;
		print_process(records + first, i - first);
		first = i;
	}
	if (!n && !opt.json)
		puts("no process has anything mapped");
	free(records);
	free(text);
	return true;
}

/* --- all of it ------------------------------------------------------------ */

static bool show_log(struct log *log)
{
	static bool again;

	if (!opt.segments && !opt.processes)
		return show_counters(log);
	if (!opt.json)
		printf("%slog %s (%s)\n", again ? "\n" : "", log->path, log->name);
	again = true;
	return (!opt.segments || show_segments(log)) && (!opt.processes || show_processes(log));
}

static void end_soon(int signal)
{
	(void)signal;
	ended = 1;
}

/* True: go on. */
static bool flush_output(void)
{
	if (!fflush(stdout) && !ferror(stdout))
		return true;
	/* Who reads has seen enough. */
	if (errno == EPIPE)
		return false;
	die("writing to standard output: %s", strerror(errno));
}

static void sleep_until(const struct timespec *time)
{
	while (!ended && clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, time, NULL) == EINTR)
		;
}

int main(int argc, char **argv)
{
	static const struct argp argp = { options, parse_option, args_doc, doc, NULL, NULL, NULL };
	static const struct sigaction at_end = { .sa_handler = end_soon };
	struct timespec next;
	uint64_t turn = 0;

	argp_err_exit_status = 2;
	argp_parse(&argp, argc, argv, 0, NULL, NULL);
	signal(SIGPIPE, SIG_IGN);
	sigaction(SIGINT, &at_end, NULL);
	sigaction(SIGTERM, &at_end, NULL);

	clock_gettime(CLOCK_MONOTONIC, &next);
	while (!ended) {
		if (!look()) {
			if (turn)
				break;
			if (opt.log)
				die("the log %s is not attached", opt.log);
			die("no log is attached");
		}
		if (!flush_output() || opt.interval <= 0 || ++turn == opt.count)
			break;
		next.tv_sec += (time_t)opt.interval;
		next.tv_nsec += (long)((opt.interval - (double)(time_t)opt.interval) * 1e9);
		if (next.tv_nsec >= 1000000000) {
			next.tv_sec++;
			next.tv_nsec -= 1000000000;
		}
		sleep_until(&next);
	}
	return 0;
}
