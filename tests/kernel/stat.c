// SPDX-License-Identifier: GPL-2.0 OR MIT
/*
 * Description: statistics in debugfs: they say what is so, of several processes, and
 * go with their log, whoever reads them.  rvmstat shows them.
 */
#include "null_blk.h"

#include <sys/prctl.h>
#include <sys/sysmacros.h>

#define DEBUGFS	"/sys/kernel/debug"

static char text[4 * MIB];	/* what was read last */

static int mount_debugfs(void)
{
	return mount("debugfs", DEBUGFS, "debugfs", 0, NULL) && errno != EBUSY ? -1 : 0;
}

/* A log's folder, or a file in it. */
static const char *stat_path(const char *log, const char *file)
{
	static char path[200];
	struct stat st;

	if (stat(log, &st))
		return "";
	if (S_ISBLK(st.st_mode)) {
		st.st_dev = st.st_rdev;
		st.st_ino = 0;
	}
	snprintf(path, sizeof(path), DEBUGFS "/rvm/%u:%u:%lu/%s", major(st.st_dev),
		 minor(st.st_dev), (unsigned long)st.st_ino, file);
	return path;
}

static int read_at_once(int fd, size_t at_once)
{
	size_t length = 0;
	ssize_t n;

	while ((n = read(fd, text + length, at_once)) > 0) {
		length += n;
		if (length + at_once >= sizeof(text))
			return -1;
	}
	text[length] = 0;
	return n ? -1 : 0;
}

static int read_stat(const struct world *w, const char *file)
{
	int fd = open(stat_path(w->f.log, file), O_RDONLY | O_CLOEXEC), ret;

	if (fd < 0)
		return -1;
	ret = read_at_once(fd, 64 * KIB);
	close(fd);
	return ret;
}

/* A counter's value; it is there. */
static long long counter(const char *name)
{
	const char *at = text;
	size_t n = strlen(name);

	for (; *at; at += strcspn(at, "\n"), at += *at == '\n')
		if (!strncmp(at, name, n) && at[n] == ' ')
			return strtoll(at + n, NULL, 10);
	return -1000000;
}

/* How many lines of the text have all of these words. */
static unsigned int count_lines(const char *const *words)
{
	char line[1000];
	unsigned int n = 0, i;

	for (const char *at = text; *at; at += strcspn(at, "\n"), at += *at == '\n') {
		snprintf(line, sizeof(line), " %.*s ", (int)strcspn(at, "\n"), at);
		for (i = 0; words[i]; i++) {
			char word[300];

			snprintf(word, sizeof(word), " %s ", words[i]);
			if (!strstr(line, word))
				break;
		}
		n += !words[i];
	}
	return n;
}

#define LINES(...)	count_lines((const char *const[]){ __VA_ARGS__, NULL })

/* "name=value", for a while. */
static const char *word_as(const char *format, const char *name, unsigned long value)
{
	static char words[32][60];
	static unsigned int next;
	char *to = words[next++ % ARRAY_LENGTH(words)];

	snprintf(to, sizeof(words[0]), format, name, value);
	return to;
}

#define word(name, value)	word_as("%s=%lu", name, value)
#define word_hex(name, value)	word_as("%s=%#lx", name, value)

static const char *pid_word(pid_t pid)
{
	return word("pid", pid);
}

FIXTURE(rvm) { struct world w; };

FIXTURE_SETUP(rvm)
{
	WORKS(mount_debugfs());
	WORKS(make_world(&self->w, 512 * KIB));
}

FIXTURE_TEARDOWN(rvm)
{
	close_world(&self->w);
	remove_files(&self->w.f);
}

#define SAME(name)	EXPECT_EQ((long long)q.name, counter(#name)) TH_LOG("%s", #name)
#define SAME_COUNT(name) EXPECT_EQ((long long)s.now.name, counter(#name)) TH_LOG("%s", #name)

TEST_F(rvm, counters_are_those_of_query)
{
	struct world *w = &self->w;
	struct rvm_ioc_statistics s;
	struct rvm_ioc_query q;
	unsigned int i;

	WORKS(set_truncate(w->log, 0));
	for (i = 0; i < 5; i++) {
		set(w->area, w->memory + i * PAGE, 1, 1000);
		WORKS(commit(w->log, w->area, i % 2 ? 0 : RVM_COMMIT_FLUSH));
	}
	set(w->area, w->memory, 2, 10);
	WORKS(do_abort(w->log, w->area));
	CHILD({
		char *memory = map(w->segment, LENGTH);

		set(map(w->log, AREA), memory, 3, 10);
	});
	WORKS(truncate_log(w->log));
	set(w->area, w->memory, 2, 10);
	WORKS(commit(w->log, w->area, 0));
	q = query(w->log);
	s = statistics(w->log);
	WORKS(read_stat(w, "counters"));
	ASSERT_EQ(6, q.commits);
	ASSERT_EQ(1, q.aborts);
	ASSERT_EQ(1, q.undone);
	ASSERT_LT(0, q.segment_bytes);
	SAME(log_length);
	SAME(log_used);
	SAME(log_writes);
	SAME(log_flushes);
	SAME(log_bytes);
	SAME(segment_writes);
	SAME(segment_flushes);
	SAME(segment_bytes);
	SAME(commits);
	SAME(flush_commits);
	SAME(aborts);
	SAME(undone);
	SAME(truncations);
	SAME(recovered_records);
	SAME(failed);
	SAME(memory);
	SAME(memory_limit);
	SAME(memory_waits);
	EXPECT_EQ(3, s.now.flushes);
	EXPECT_EQ(1, s.now.truncations[0]);
	EXPECT_EQ(1, s.queued_commits);
	EXPECT_EQ(5, s.before.commits);
	EXPECT_EQ(1, s.before.undone);
	SAME_COUNT(truncation_waits);
	SAME_COUNT(merged_ranges);
	SAME_COUNT(merged_bytes);
	SAME_COUNT(coalesced_commits);
	SAME_COUNT(coalesced_ranges);
	SAME_COUNT(coalesced_bytes);
	SAME_COUNT(splits);
	SAME_COUNT(wraps);
	SAME_COUNT(flushes);
	SAME_COUNT(flushed_bytes);
	SAME_COUNT(flush_ns);
	SAME_COUNT(flush_requests);
	SAME_COUNT(status_writes);
	SAME_COUNT(recoveries);
	SAME_COUNT(truncation_ns);
	EXPECT_LE(5, counter("write_faults"));
	EXPECT_LE(5, counter("pages_read"));
	EXPECT_GE(16, counter("pages_read"));
	WORKS(read_stat(w, "path"));
	text[strcspn(text, "\n")] = 0;
	EXPECT_STREQ(w->f.log, text);
}

/* A line with this name and the array's numbers. */
static void check_histogram(struct __test_metadata *_metadata, const char *name,
			    const __u64 *values, size_t n)
{
	char line[600];
	size_t at = snprintf(line, sizeof(line), "%s", name);

	while (n--)
		at += snprintf(line + at, sizeof(line) - at, " %llu", *values++);
	line[at++] = '\n';
	line[at] = 0;
	EXPECT_NE(NULL, strstr(text, line)) TH_LOG("%s", line);
}

#define SAME_HISTOGRAM(name) \
	check_histogram(_metadata, #name, s.now.name, ARRAY_LENGTH(s.now.name))

TEST_F(rvm, histograms)
{
	struct world *w = &self->w;
	struct rvm_ioc_statistics s;
	unsigned int i;

	for (i = 0; i < 5; i++) {
		/* what the library would tell of a transaction that declared bytes again */
		w->area->merged_ranges = i * 5;
		w->area->merged_bytes = i * 100;
		set(w->area, w->memory + i * PAGE, 1, 1000 * i + 1);
		WORKS(commit(w->log, w->area, i % 2 ? 0 : RVM_COMMIT_FLUSH));
		EXPECT_EQ(0, w->area->merged_ranges);
	}
	WORKS(truncate_log(w->log));
	s = statistics(w->log);
	EXPECT_EQ(50, s.now.merged_ranges);
	EXPECT_EQ(1000, s.now.merged_bytes);
	EXPECT_EQ(1, s.now.range_merges[1]);
	EXPECT_EQ(2, s.now.range_merges[3]);
	EXPECT_EQ(2, s.now.range_overlaps[8]);
	EXPECT_EQ(1, s.now.range_lengths[0]);
	EXPECT_EQ(2, s.now.range_lengths[11]);
	EXPECT_EQ(0, memcmp(&s.now, &s.before, sizeof(s.now)));
	WORKS(read_stat(w, "histograms"));
	SAME_HISTOGRAM(truncations);
	SAME_HISTOGRAM(range_lengths);
	SAME_HISTOGRAM(range_merges);
	SAME_HISTOGRAM(range_overlaps);
	SAME_HISTOGRAM(trans_coalesces);
	SAME_HISTOGRAM(trans_merges);
	SAME_HISTOGRAM(trans_overlaps);
	SAME_HISTOGRAM(flush_times);
	SAME_HISTOGRAM(truncation_times);
	SAME_HISTOGRAM(build_times);
	SAME_HISTOGRAM(apply_times);
}

TEST_F(rvm, segments)
{
	struct world *w = &self->w;
	char second[300], named[400], device[100];
	struct stat st;
	int fd;

	WORKS(set_truncate(w->log, 0));
	WORKS(stat(w->f.segment, &st));
	snprintf(device, sizeof(device), "device=%u:%u:%lu", major(st.st_dev), minor(st.st_dev),
		 (unsigned long)st.st_ino);
	snprintf(named, sizeof(named), "path=%s", w->f.segment);
	set(w->area, w->memory, 1, 10);
	set(w->area, w->memory + 3 * PAGE, 1, 10);
	WORKS(commit(w->log, w->area, 0));
	WORKS(read_stat(w, "segments"));
	EXPECT_EQ(1, LINES(named, device, word("size", 64 * KIB), "descriptors=1", "regions=1",
			   "changed=2", "write_faults=2", "pages_written=0", "writable=1",
			   "waiting=0", "unfit=0"))
		TH_LOG("%s", text);
	WORKS(truncate_log(w->log));
	WORKS(read_stat(w, "segments"));
	EXPECT_EQ(1, LINES(named, "pages_written=2")) TH_LOG("%s", text);

	/* another one, for reading; its name has what would be two words */
	snprintf(second, sizeof(second), "%s/a b", w->f.dir);
	WORKS(make_file(second, 10 * KIB, 1));
	fd = segment_mode(w->log, second, O_RDONLY);
	WORKS(fd);
	WORKS(read_stat(w, "segments"));
	snprintf(named, sizeof(named), "path=%s/a\\040b", w->f.dir);
	EXPECT_EQ(1, LINES(named, "size=10240", "regions=0", "writable=0")) TH_LOG("%s", text);
	EXPECT_EQ(2, LINES("descriptors=1"));
	close(fd);
	WORKS(read_stat(w, "segments"));
	EXPECT_EQ(0, LINES("size=10240"));
	EXPECT_EQ(1, LINES("descriptors=1"));
}

/* Maps, begins a transaction, says so, and lives until it is told to end. */
static void live(const struct world *w, int said, int told)
{
	struct rvm_area_header *area = map(w->log, AREA);
	char *memory = map_at(NULL, w->segment, 4 * PAGE, 2 * PAGE);
	char c = 0;

	set(area, memory, 1, 100);
	if (area_ioctl(w->log, RVM_IOC_SPILL, area->area))
		_exit(1);
	set(area, memory + PAGE, 1, 16);
	if (write(said, &c, 1) != 1 || read(told, &c, 1) != 0)
		_exit(2);
	_exit(0);
}

#define PROCESSES	5

TEST_F(rvm, processes)
{
	struct world *w = &self->w;
	int said[2], told[2], status, i;
	char *reading, c;
	pid_t pids[PROCESSES];

	WORKS(read_stat(w, "processes"));
	EXPECT_EQ(2, LINES(pid_word(getpid())));
	EXPECT_EQ(1, LINES("region", pid_word(getpid()), "offset=0", "writable=1",
			   word_hex("start", (uintptr_t)w->memory),
			   word_hex("end", (uintptr_t)w->memory + LENGTH))) TH_LOG("%s", text);
	EXPECT_EQ(1, LINES("area", pid_word(getpid()), "open=0", "used=0", "spilled=0"));
	declare_no_restore(w->area, w->memory, 10);
	WORKS(read_stat(w, "processes"));
	EXPECT_EQ(1, LINES("area", pid_word(getpid()), word("area", w->area->area), "open=1",
			   "used=16"));
	/* what a process writes there is bounded */
	w->area->used = UINT32_MAX;
	WORKS(read_stat(w, "processes"));
	EXPECT_EQ(1, LINES("area", "open=1", word("used", w->area->room)));
	w->area->used = 0;

	reading = mmap(NULL, PAGE, PROT_READ, MAP_SHARED, segment_mode(w->log, w->f.segment, O_RDONLY),
		       PAGE);
	ASSERT_NE(MAP_FAILED, reading);
	WORKS(read_stat(w, "processes"));
	EXPECT_EQ(1, LINES("region", pid_word(getpid()), "offset=4096", "writable=0"));
	munmap(reading, PAGE);
	WORKS(read_stat(w, "processes"));
	EXPECT_EQ(0, LINES("region", "offset=4096"));

	WORKS(pipe(said));
	WORKS(pipe(told));
	for (i = 0; i < PROCESSES; i++) {
		pids[i] = fork();
		if (!pids[i]) {
			close(told[1]);
			live(w, said[1], told[0]);
		}
	}
	for (i = 0; i < PROCESSES; i++)
		ASSERT_EQ(1, read(said[0], &c, 1));
	WORKS(read_stat(w, "processes"));
	for (i = 0; i < PROCESSES; i++) {
		EXPECT_EQ(2, LINES(pid_word(pids[i])));
		EXPECT_EQ(1, LINES("region", pid_word(pids[i]), "offset=8192"));
		EXPECT_EQ(1, LINES("area", pid_word(pids[i]), "open=1",
				   word("used", entry_size(16, true)),
				   word("spilled", entry_size(100, true)))) TH_LOG("%s", text);
	}
	WORKS(read_stat(w, "segments"));
	EXPECT_EQ(1, LINES(word("regions", 1 + PROCESSES)));

	/* one dies, the others end */
	kill(pids[0], SIGKILL);
	ASSERT_EQ(pids[0], waitpid(pids[0], &status, 0));
	WORKS(read_stat(w, "processes"));
	EXPECT_EQ(0, LINES(pid_word(pids[0])));
	EXPECT_EQ(PROCESSES - 1, LINES("open=1"));
	close(told[1]);
	for (i = 1; i < PROCESSES; i++) {
		ASSERT_EQ(pids[i], waitpid(pids[i], &status, 0));
		EXPECT_EQ(0, status);
	}
	WORKS(read_stat(w, "processes"));
	EXPECT_EQ(2, LINES("pid=0") + LINES(pid_word(getpid())));
	WORKS(read_stat(w, "counters"));
	EXPECT_EQ(PROCESSES, counter("undone"));
}

/* More than goes into a buffer, and read a few bytes at a time, while others come and go. */
TEST_F(rvm, many)
{
	struct world *w = &self->w;
	char *regions[300];
	struct rvm_area_header *areas[300];
	unsigned int i, turn;
	int status, fd;
	pid_t pid;

	for (i = 0; i < ARRAY_LENGTH(regions); i++) {
		regions[i] = map_at(NULL, w->segment, PAGE, PAGE);
		areas[i] = map(w->log, PAGE);
		ASSERT_TRUE(regions[i] != MAP_FAILED && areas[i] != MAP_FAILED);
		if (i % 3 == 0)
			declare_no_restore(areas[i], regions[i], 1);
	}
	pid = fork();
	if (!pid) {
		for (;;) {
			char *memory = map(w->segment, LENGTH);
			struct rvm_area_header *area = map(w->log, AREA);

			set(area, memory, 1, 10);
			munmap(area, AREA);
			munmap(memory, LENGTH);
		}
	}
	for (turn = 0; turn < 20; turn++) {
		fd = open(stat_path(w->f.log, "processes"), O_RDONLY | O_CLOEXEC);
		WORKS(fd);
		WORKS(read_at_once(fd, turn < 3 ? 7 : 100 + turn * 500));
		close(fd);
		EXPECT_EQ(301, LINES("region", pid_word(getpid())));
		EXPECT_EQ(301, LINES("area", pid_word(getpid())));
		EXPECT_EQ(100, LINES("area", pid_word(getpid()), "open=1", "used=16"));
	}
	kill(pid, SIGKILL);
	waitpid(pid, &status, 0);
	for (i = 0; i < ARRAY_LENGTH(regions); i++) {
		munmap(regions[i], PAGE);
		munmap(areas[i], PAGE);
	}
	WORKS(read_stat(w, "processes"));
	EXPECT_EQ(2, LINES(pid_word(getpid())));
}

/* A reader tells of the pid as it knows the process. */
TEST_F(rvm, pid_namespace)
{
	struct world *w = &self->w;

	if (access("/proc/self/ns/pid", F_OK))
		SKIP(return, "this kernel has no pid namespaces");
	CHILD({
		int status;
		pid_t pid;

		WORKS(unshare(CLONE_NEWPID));
		pid = fork();
		if (!pid) {
			char *memory = map(w->segment, LENGTH);
			bool good = !read_stat(w, "processes") &&
				    LINES("region", "pid=1") == 1 && LINES("region", "pid=0") == 1;

			munmap(memory, LENGTH);
			_exit(!good);
		}
		ASSERT_EQ(pid, waitpid(pid, &status, 0));
		ASSERT_EQ(0, status);
	});
}

TEST_F(rvm, roots_alone)
{
	static const char *const files[] = { "counters", "path", "processes", "segments" };
	struct world *w = &self->w;
	struct stat st;
	unsigned int i;

	for (i = 0; i < ARRAY_LENGTH(files); i++) {
		const char *path = stat_path(w->f.log, files[i]);

		WORKS(stat(path, &st));
		EXPECT_EQ(S_IFREG | 0400, st.st_mode);
		EXPECT_EQ(0, st.st_uid);
	}
	WORKS(chmod(DEBUGFS, 0755));
	WORKS(chmod(w->f.dir, 0755));
	CHILD({
		WORKS(setresuid(1000, 1000, 1000));
		for (i = 0; i < ARRAY_LENGTH(files); i++)
			FAILS(EACCES, open(stat_path(w->f.log, files[i]), O_RDONLY));
	});
	WORKS(chmod(DEBUGFS, 0700));
}

TEST_F(rvm, folder_goes_with_the_log)
{
	struct world *w = &self->w;
	int fds[3], i;
	char c;

	fds[0] = open(stat_path(w->f.log, "counters"), O_RDONLY | O_CLOEXEC);
	fds[1] = open(stat_path(w->f.log, "processes"), O_RDONLY | O_CLOEXEC);
	fds[2] = open(stat_path(w->f.log, "segments"), O_RDONLY | O_CLOEXEC);
	for (i = 0; i < 3; i++)
		ASSERT_EQ(1, read(fds[i], &c, 1));
	close_world(w);
	FAILS(ENOENT, access(stat_path(w->f.log, ""), F_OK));
	WORKS(access(DEBUGFS "/rvm", F_OK));
	for (i = 0; i < 3; i++)
		FAILS(EIO, read(fds[i], &c, 1));
	/* the same name, another log: what was open stays without one */
	WORKS(open_world(w));
	WORKS(read_stat(w, "counters"));
	EXPECT_EQ(0, counter("commits"));
	for (i = 0; i < 3; i++) {
		FAILS(EIO, read(fds[i], &c, 1));
		close(fds[i]);
	}
}

/* A log that can't be opened leaves none. */
TEST_F(rvm, no_folder_for_what_is_no_log)
{
	char path[300];

	snprintf(path, sizeof(path), "%s/other", self->w.f.dir);
	WORKS(make_file(path, 64 * KIB, 0));
	ASSERT_EQ(-1, attach(path));
	FAILS(ENOENT, access(stat_path(path, ""), F_OK));
}

/* Its output is the text then; what it exits with. */
static int rvmstat(const char *arguments)
{
	char command[500];
	size_t length;
	FILE *pipe;

	snprintf(command, sizeof(command), "exec /t/rvmstat %s 2>&1", arguments);
	pipe = popen(command, "re");
	if (!pipe)
		return -1;
	length = fread(text, 1, sizeof(text) - 1, pipe);
	text[length] = 0;
	return WEXITSTATUS(pclose(pipe));
}

#define SHOWS(what)	EXPECT_NE(NULL, strstr(text, what)) TH_LOG("%s: %s", what, text)

TEST_F(rvm, rvmstat)
{
	struct world *w = &self->w;
	char arguments[400], expected[400];
	int status;
	pid_t pid;

	if (access("/t/rvmstat", X_OK))
		SKIP(return, "there is no rvmstat");
	WORKS(set_truncate(w->log, 0));
	set(w->area, w->memory, 1, 10);
	WORKS(commit(w->log, w->area, RVM_COMMIT_FLUSH));
	set(w->area, w->memory, 2, 10);

	ASSERT_EQ(0, rvmstat("--json")) TH_LOG("%s", text);
	SHOWS("\"seconds\":0.000,");
	SHOWS("\"commits\":1,\"flush_commits\":1,\"aborts\":0,");
	snprintf(expected, sizeof(expected), "\"log_path\":\"%s\"", w->f.log);
	SHOWS(expected);
	ASSERT_EQ(0, rvmstat("0.1 3"));
	SHOWS(" commit   flush ");
	SHOWS("\n      1       1 ");
	SHOWS("\n      0       0 ");
	snprintf(arguments, sizeof(arguments), "-p -s --log %s", w->f.log);
	ASSERT_EQ(0, rvmstat(arguments));
	snprintf(expected, sizeof(expected), "log %s (", w->f.log);
	SHOWS(expected);
	snprintf(expected, sizeof(expected), "read-write %s\nprocess %d (", w->f.segment, getpid());
	SHOWS(expected);
	snprintf(expected, sizeof(expected),
		 ")\n    region  segment 1    offset 0            length 65536        at %lx-",
		 (unsigned long)w->memory);
	SHOWS(expected);
	snprintf(expected, sizeof(expected),
		 "    open transaction in area %u: 32 bytes declared, 0 of them spilled\n",
		 w->area->area);
	SHOWS(expected);

	/* what it says when the log goes, and when there is none */
	pid = fork();
	if (!pid) {
		sleep(2);
		close_world(w);
		_exit(0);
	}
	close_world(w);
	EXPECT_EQ(0, rvmstat("0.2"));
	SHOWS("has gone\n");
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(1, rvmstat(""));
	SHOWS("rvmstat: no log is attached\n");
	EXPECT_EQ(1, rvmstat(arguments));
	SHOWS("is not attached\n");
	WORKS(umount(DEBUGFS));
	EXPECT_EQ(1, rvmstat(""));
	SHOWS("debugfs is not mounted");
	WORKS(mount_debugfs());
	WORKS(open_world(w));
}

static void read_for_ever(const struct world *w)
{
	static const char *const files[] = { "counters", "path", "processes", "segments" };
	unsigned long reads = 0;
	int fd;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	for (;; reads++) {
		fd = open(stat_path(w->f.log, files[reads % ARRAY_LENGTH(files)]), O_RDONLY);
		if (fd < 0)
			continue;
		read_at_once(fd, 1 + reads % 5000);
		close(fd);
	}
}

static void use_for_a_while(const struct world *w, unsigned int n)
{
	struct world mine = *w;

	while (n--) {
		/* another may be its owner's last user now, or RECOVER not have been called */
		if (attach_world(&mine))
			_exit(1);
		mine.memory = map(mine.segment, LENGTH);
		if (mine.memory == MAP_FAILED)
			_exit(2);
		set(mine.area, mine.memory + n % 16 * PAGE, n, 100);
		if (n % 3 && commit(mine.log, mine.area, 0))
			_exit(3);
		close_world(&mine);
	}
	_exit(0);
}

TEST_F(rvm, attaching_and_reading_at_once)
{
	struct world *w = &self->w;
	pid_t readers[2], users[3];
	unsigned int i;
	int status;

	close_world(w);
	for (i = 0; i < ARRAY_LENGTH(readers); i++) {
		readers[i] = fork();
		if (!readers[i])
			read_for_ever(w);
	}
	for (i = 0; i < ARRAY_LENGTH(users); i++) {
		users[i] = fork();
		if (!users[i])
			use_for_a_while(w, 60);
	}
	for (i = 0; i < ARRAY_LENGTH(users); i++) {
		ASSERT_EQ(users[i], waitpid(users[i], &status, 0));
		EXPECT_EQ(0, status);
	}
	for (i = 0; i < ARRAY_LENGTH(readers); i++) {
		kill(readers[i], SIGKILL);
		waitpid(readers[i], &status, 0);
	}
	EXPECT_TRUE(module_is_free());
	FAILS(ENOENT, access(stat_path(w->f.log, ""), F_OK));
	WORKS(open_world(w));
}

static void *truncate_slowly(void *context)
{
	return (void *)(long)truncate_log(((struct world *)context)->log);
}

/* Devices have their own names; and who looks does not wait for one that is slow. */
TEST(slow_device)
{
	struct timespec start, now;
	struct world w;
	pthread_t thread;
	struct stat st;
	char device[60];
	void *result;

	if (access(NULL_BLK, X_OK))
		SKIP(return, "null_blk is not loaded");
	WORKS(mount_debugfs());
	WORKS(make_device(w.f.log, "rvmlog", "1", "512"));
	WORKS(make_slow_device(w.f.segment, "rvmseg", "4", "4096", "64", "2000000000"));
	WORKS(format_log(w.f.log));
	WORKS(open_world(&w));
	WORKS(set_truncate(w.log, 0));
	set(w.area, w.memory, 1, 10);
	WORKS(commit(w.log, w.area, 0));

	ASSERT_EQ(0, pthread_create(&thread, NULL, truncate_slowly, &w));
	sleep_us(500000);
	clock_gettime(CLOCK_MONOTONIC, &start);
	WORKS(read_stat(&w, "counters"));
	EXPECT_EQ(0, counter("truncations"));
	EXPECT_EQ(1, counter("segment_writes"));
	EXPECT_EQ(0, query(w.log).truncations);
	WORKS(read_stat(&w, "processes"));
	WORKS(read_stat(&w, "segments"));
	clock_gettime(CLOCK_MONOTONIC, &now);
	EXPECT_GT(1000, (now.tv_sec - start.tv_sec) * 1000 + (now.tv_nsec - start.tv_nsec) / 1000000);
	WORKS(stat(w.f.segment, &st));
	snprintf(device, sizeof(device), "device=%u:%u:0", major(st.st_rdev), minor(st.st_rdev));
	EXPECT_EQ(1, LINES(device, "path=/dev/rvmseg", "size=4194304")) TH_LOG("%s", text);
	ASSERT_EQ(0, pthread_join(thread, &result));
	EXPECT_EQ(NULL, result);
	WORKS(read_stat(&w, "counters"));
	EXPECT_EQ(1, counter("truncations"));
	close_world(&w);
	EXPECT_EQ(0, remove_device("rvmlog"));
	EXPECT_EQ(0, remove_device("rvmseg"));
}

TEST_HARNESS_MAIN
