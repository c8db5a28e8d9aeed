// SPDX-License-Identifier: GPL-2.0 OR MIT
/*
 * Description: the small interface of <rvm/simple.h>: segments, transactions,
 * mistakes, crashes, several directories and processes.
 */
#include "api.h"

#include <pthread.h>
#include <sys/file.h>

#include <rvm/simple.h>

/* What the processes of a test do happens in this directory and that one. */
static char one[256], two[256];

FIXTURE(simple) {
	struct files f;
};

FIXTURE_SETUP(simple)
{
	make_files(_metadata, &self->f);
	snprintf(one, sizeof(one), "%s/one", self->f.dir);
	snprintf(two, sizeof(two), "%s/two", self->f.dir);
}

FIXTURE_TEARDOWN(simple)
{
	remove_files(&self->f);
}

#define INIT(directory) ({						\
	rvm_t rvm_ = rvm_init(directory);				\
	ASSERT_NE(NULL, rvm_);						\
	rvm_;								\
})

#define MAP(rvm, name, size) ({						\
	char *base_ = rvm_simple_map((rvm), (name), (size));		\
	ASSERT_NE(NULL, base_);						\
	base_;								\
})

#define BEGIN(rvm, ...) ({						\
	void *bases_[] = { __VA_ARGS__ };				\
	trans_t t_ = rvm_begin_trans((rvm), sizeof(bases_) / sizeof(void *), bases_); \
	ASSERT_NE((trans_t)-1, t_);					\
	t_;								\
})

static trans_t try_begin(rvm_t rvm, void *a, void *b)
{
	void *bases[] = { a, b };

	return rvm_begin_trans(rvm, b ? 2 : 1, bases);
}

static void say(trans_t t, char *base, int offset, const char *text)
{
	rvm_about_to_modify(t, base, offset, strlen(text) + 1);
	strcpy(base + offset, text);
}

static char said[4096];

static int keep_errors(const struct files *f)
{
	char path[300];
	int kept = dup(2), fd;

	snprintf(path, sizeof(path), "%s/errors", f->dir);
	fd = open(path, O_CREAT | O_TRUNC | O_RDWR, 0600);
	dup2(fd, 2);
	close(fd);
	return kept;
}

/* What has been written to stderr since, into `said`. */
static void read_errors(int kept)
{
	ssize_t n;

	fflush(stderr);
	n = pread(2, said, sizeof(said) - 1, 0);
	said[n > 0 ? n : 0] = 0;
	dup2(kept, 2);
	close(kept);
}

/* A mistake is told, in these words. */
#define SAYS(words, call) do {						\
	int kept_ = keep_errors(f);					\
	call;								\
	read_errors(kept_);						\
	ASSERT_NE(NULL, strstr(said, words)) TH_LOG("%s said: %s", #call, said); \
} while (0)

#define SILENT(call) do {						\
	int kept_ = keep_errors(f);					\
	call;								\
	read_errors(kept_);						\
	ASSERT_STREQ("", said) TH_LOG("%s", #call);			\
} while (0)

static void commits_and_dies(CHILD_ARGS)
{
	rvm_t rvm = INIT(one);
	char *base = MAP(rvm, "a", 10000);
	trans_t t = BEGIN(rvm, base);

	say(t, base, 0, "hello");
	say(t, base, 5000, "world");
	rvm_commit_trans(t);
	t = BEGIN(rvm, base);
	say(t, base, 0, "never");
	say(t, base, 5000, "said");
	die(_metadata);
}

static void finds_the_committed(CHILD_ARGS)
{
	char *base = MAP(INIT(one), "a", 10000);

	ASSERT_STREQ("hello", base);
	ASSERT_STREQ("world", base + 5000);
}

TEST_F(simple, dies_in_a_transaction)
{
	const struct files *f = &self->f;

	CHILD_DIES(commits_and_dies);
	CHILD_OK(finds_the_committed);
	CHILD_OK(finds_the_committed);
}

TEST_F(simple, abort)
{
	rvm_t rvm = INIT(one);
	char *a = MAP(rvm, "a", 100), *b = MAP(rvm, "b", 5000);
	trans_t t = BEGIN(rvm, a, b);

	say(t, a, 10, "first");
	say(t, b, 4096, "first");
	rvm_commit_trans(t);
	t = BEGIN(rvm, a, b);
	say(t, a, 10, "second");
	say(t, a, 12, "third");
	say(t, b, 4096, "second");
	rvm_abort_trans(t);
	ASSERT_STREQ("first", a + 10);
	ASSERT_STREQ("first", b + 4096);
	t = BEGIN(rvm, a, b);
	rvm_commit_trans(t);
}

/* Size by size the same segment grows, in one process and from process to process. */
static const int sizes[] = { 1, 100, 99, 4096, 4097, 20000, 300 };

#define SIZES	((int)(sizeof(sizes) / sizeof(sizes[0])))

static int size_at;

static void grow_once(struct __test_metadata *_metadata, rvm_t rvm, int i)
{
	int length = 0, last = 0;
	trans_t t;
	char *base;

	for (int j = 0; j <= i; j++) {
		last = length;
		length = sizes[j] > length ? sizes[j] : length;
	}
	base = MAP(rvm, "a", sizes[i]);
	for (int j = 0; j < last; j++)
		ASSERT_EQ((char)i, base[j]);
	for (int j = last; j < length; j++)
		ASSERT_EQ(0, base[j]);
	t = BEGIN(rvm, base);
	rvm_about_to_modify(t, base, 0, length);
	memset(base, i + 1, length);
	rvm_commit_trans(t);
	rvm_simple_unmap(rvm, base);
}

static void grows_once(CHILD_ARGS)
{
	grow_once(_metadata, INIT(one), size_at);
	die(_metadata);
}

TEST_F(simple, sizes_by_processes)
{
	const struct files *f = &self->f;

	for (size_at = 0; size_at < SIZES; size_at++)
		CHILD_DIES(grows_once);
}

TEST_F(simple, sizes_in_a_process)
{
	rvm_t rvm = INIT(one);

	for (int i = 0; i < SIZES; i++)
		grow_once(_metadata, rvm, i);
}

TEST_F(simple, mistakes_of_map)
{
	const struct files *f = &self->f;
	rvm_t rvm = INIT(one);
	char *base = MAP(rvm, "a", 100), name[300];

	memset(name, 'x', sizeof(name));
	name[sizeof(name) - 1] = 0;
	SAYS("mapped already", ASSERT_EQ(NULL, rvm_simple_map(rvm, "a", 100)));
	SAYS("less than 1", ASSERT_EQ(NULL, rvm_simple_map(rvm, "b", 0)));
	SAYS("less than 1", ASSERT_EQ(NULL, rvm_simple_map(rvm, "b", -1)));
	SAYS("no name", ASSERT_EQ(NULL, rvm_simple_map(rvm, "", 1)));
	SAYS("no name", ASSERT_EQ(NULL, rvm_simple_map(rvm, "../a", 1)));
	SAYS("no name", ASSERT_EQ(NULL, rvm_simple_map(rvm, NULL, 1)));
	SAYS("too long", ASSERT_EQ(NULL, rvm_simple_map(rvm, name, 1)));
	SAYS("not one of rvm_init", ASSERT_EQ(NULL, rvm_simple_map(NULL, "b", 1)));
	SAYS("no segment", rvm_simple_unmap(rvm, base + 1));
	SAYS("no segment", rvm_simple_unmap(rvm, NULL));
	SAYS("no directory", ASSERT_EQ(NULL, rvm_init(NULL)));
	SAYS("No such file", ASSERT_EQ(NULL, rvm_init("")));
	ASSERT_TRUE(make_file(self->f.segment, 10, 1));
	SAYS("Not a directory", ASSERT_EQ(NULL, rvm_init(self->f.segment)));
	SAYS("No such file", ASSERT_EQ(NULL, rvm_init("/no/such/folder")));
	/* a segment's name can't be the log's */
	SILENT(MAP(rvm, "rvm.log", 100));
	rvm_simple_unmap(rvm, base);
	SILENT(MAP(rvm, "a", 100));
}

TEST_F(simple, mistakes_of_transactions)
{
	const struct files *f = &self->f;
	rvm_t rvm = INIT(one), other = INIT(two);
	char *a = MAP(rvm, "a", 100), *b = MAP(rvm, "b", 100), *c = MAP(rvm, "c", 100);
	char *far = MAP(other, "a", 100);
	void *none = NULL;
	trans_t t = BEGIN(rvm, a, b), u;

	DECLARED_ONLY("several transactions at a time");
	/* a segment has one transaction, which is no mistake to find out */
	SILENT(ASSERT_EQ((trans_t)-1, try_begin(rvm, a, NULL)));
	SILENT(ASSERT_EQ((trans_t)-1, try_begin(rvm, c, b)));
	u = BEGIN(rvm, c);
	ASSERT_NE(t, u);
	rvm_abort_trans(u);

	SAYS("given twice", ASSERT_EQ((trans_t)-1, try_begin(rvm, c, c)));
	SAYS("not mapped", ASSERT_EQ((trans_t)-1, try_begin(rvm, c, c + 1)));
	SAYS("not mapped", ASSERT_EQ((trans_t)-1, try_begin(rvm, c, far)));
	SAYS("none", ASSERT_EQ((trans_t)-1, rvm_begin_trans(rvm, 0, &none)));
	SAYS("none", ASSERT_EQ((trans_t)-1, rvm_begin_trans(rvm, -1, &none)));
	SAYS("none", ASSERT_EQ((trans_t)-1, rvm_begin_trans(rvm, 1, NULL)));
	u = BEGIN(rvm, c);

	SAYS("not a segment of the transaction", rvm_about_to_modify(t, c, 0, 1));
	SAYS("not a segment of the transaction", rvm_about_to_modify(t, a + 1, 0, 1));
	SAYS("not inside", rvm_about_to_modify(t, a, -1, 2));
	SAYS("not inside", rvm_about_to_modify(t, a, 0, -1));
	SAYS("not inside", rvm_about_to_modify(t, a, 0, 101));
	SAYS("not inside", rvm_about_to_modify(t, a, 101, 0));
	SAYS("not inside", rvm_about_to_modify(t, a, 0x7fffffff, 0x7fffffff));
	SAYS("none of this number", rvm_about_to_modify(u + 1, a, 0, 1));
	SAYS("none of this number", rvm_about_to_modify(-1, a, 0, 1));
	SILENT(rvm_about_to_modify(t, a, 0, 100));
	SILENT(rvm_about_to_modify(t, a, 100, 0));

	SAYS("in a transaction", rvm_simple_unmap(rvm, a));
	SAYS("is mapped", rvm_destroy(rvm, "a"));
	SILENT(rvm_commit_trans(t));
	SAYS("none of this number", rvm_commit_trans(t));
	SAYS("none of this number", rvm_abort_trans(t));
	SILENT(rvm_abort_trans(u));
	SAYS("no segment of this directory", rvm_simple_unmap(other, a));
}

static void leaves_undeclared(CHILD_ARGS)
{
	rvm_t rvm = INIT(one);
	char *base = MAP(rvm, "a", 100);
	trans_t t = BEGIN(rvm, base);

	rvm_about_to_modify(t, base, 0, 1);
	SAYS("not inside", rvm_about_to_modify(t, base, 99, 2));
	base[0] = base[99] = 1;
	rvm_commit_trans(t);
	die(_metadata);
}

TEST_F(simple, undeclared_is_lost)
{
	const struct files *f = &self->f;
	char *base;

	DECLARED_ONLY("stores that are in no transaction");
	CHILD_DIES(leaves_undeclared);
	base = MAP(INIT(one), "a", 100);
	ASSERT_EQ(1, base[0]);
	ASSERT_EQ(0, base[99]);
}

static void destroys_in_time(CHILD_ARGS)
{
	rvm_t rvm = INIT(one);
	char *base = MAP(rvm, "a", 5000);
	trans_t t = BEGIN(rvm, base);

	say(t, base, 0, "old");
	rvm_commit_trans(t);
	SAYS("is mapped", rvm_destroy(rvm, "a"));
	rvm_simple_unmap(rvm, base);
	SILENT(rvm_destroy(rvm, "a"));
	SILENT(rvm_destroy(rvm, "a"));
	SAYS("no name", rvm_destroy(rvm, "x/a"));
	base = MAP(rvm, "a", 200);
	ASSERT_TRUE(all_are(base, 0, 200));
	t = BEGIN(rvm, base);
	say(t, base, 100, "new");
	rvm_commit_trans(t);
	rvm_simple_unmap(rvm, base);
	die(_metadata);
}

/* What the log knew of a segment does not come back in one of the same name. */
TEST_F(simple, destroy)
{
	const struct files *f = &self->f;
	rvm_t rvm = NULL;
	char *base;

	CHILD_DIES(destroys_in_time);
	SILENT(rvm = rvm_init(one));
	base = MAP(rvm, "a", 200);
	ASSERT_TRUE(all_are(base, 0, 100));
	ASSERT_STREQ("new", base + 100);
	rvm_simple_unmap(rvm, base);
	rvm_destroy(rvm, "a");
	SILENT(rvm_destroy(rvm, "never was"));
}

TEST_F(simple, truncate)
{
	const struct files *f = &self->f;
	rvm_t rvm = INIT(one);
	char *base = MAP(rvm, "a", 5000), path[300];
	trans_t t = BEGIN(rvm, base);

	snprintf(path, sizeof(path), "%s/a.segment", one);
	rvm_about_to_modify(t, base, 0, 5000);
	memset(base, 7, 5000);
	rvm_commit_trans(t);
	SILENT(rvm_truncate_log(rvm));
	ASSERT_TRUE(file_is(path, 0, 7, 5000));
	ASSERT_EQ(5000, file_size(path));
	SAYS("not one of rvm_init", rvm_truncate_log(NULL));
}

/* More in all than the log holds. */
TEST_F(simple, many)
{
	rvm_t rvm = INIT(one);
	char *base = MAP(rvm, "a", MIB);

	for (int i = 0; i < 20; i++) {
		trans_t t = BEGIN(rvm, base);

		rvm_about_to_modify(t, base, 0, MIB);
		memset(base, i, MIB);
		rvm_commit_trans(t);
	}
	rvm_simple_unmap(rvm, base);
	base = MAP(rvm, "a", 1);
	ASSERT_TRUE(all_are(base, 19, MIB));
}

static void commits_too_much(CHILD_ARGS)
{
	rvm_t rvm = INIT(one);
	char *base = MAP(rvm, "a", RVM_SIMPLE_LOG + 1);
	trans_t t = BEGIN(rvm, base);

	say(t, base, 0, "fits");
	rvm_commit_trans(t);
	t = BEGIN(rvm, base);
	rvm_about_to_modify(t, base, 0, RVM_SIMPLE_LOG + 1);
	memset(base, 1, RVM_SIMPLE_LOG + 1);
	rvm_commit_trans(t);
}

/* No return means no success. */
TEST_F(simple, too_big)
{
	const struct files *f = &self->f;
	int status = 0;

	SAYS("larger than the log", status = in_child(_metadata, f, commits_too_much));
	ASSERT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
	ASSERT_STREQ("fits", MAP(INIT(one), "a", 1));
}

/*
 * Two directories
 */

static void uses_two(CHILD_ARGS)
{
	rvm_t first = INIT(one), second = INIT(two);
	char *a = MAP(first, "a", 100), *b = MAP(second, "a", 100);
	trans_t t = BEGIN(first, a), u = BEGIN(second, b);

	say(t, a, 0, "first");
	say(u, b, 0, "second");
	rvm_commit_trans(u);
	u = BEGIN(second, b);
	rvm_commit_trans(t);
	say(u, b, 0, "lost");
	die(_metadata);
}

static void finds_first(CHILD_ARGS)
{
	ASSERT_STREQ("first", MAP(INIT(one), "a", 100));
}

static void finds_second(CHILD_ARGS)
{
	ASSERT_STREQ("second", MAP(INIT(two), "a", 100));
}

/* Each has all it needs, whatever became of the other. */
TEST_F(simple, two_directories)
{
	const struct files *f = &self->f;
	char away[300];

	DECLARED_ONLY("several transactions at a time");
	CHILD_DIES(uses_two);
	snprintf(away, sizeof(away), "%s/away", self->f.dir);
	ASSERT_EQ(0, rename(one, away));
	CHILD_OK(finds_second);
	ASSERT_EQ(0, rename(away, one));
	ASSERT_EQ(0, rename(two, away));
	CHILD_OK(finds_first);
	ASSERT_EQ(0, rename(away, two));
	CHILD_OK(finds_second);
}

TEST_F(simple, two_directories_unmap)
{
	rvm_t first = INIT(one), second = INIT(two);
	char *a = MAP(first, "a", 100), *b = MAP(second, "b", 100);
	trans_t t = BEGIN(second, b);

	say(t, b, 0, "here");
	rvm_simple_unmap(first, a);
	rvm_destroy(first, "a");
	rvm_truncate_log(first);
	rvm_commit_trans(t);
	rvm_simple_unmap(second, b);
	ASSERT_STREQ("here", MAP(second, "b", 100));
	MAP(first, "b", 100);
}

/* By whatever name, and wherever the process goes. */
TEST_F(simple, same_directory)
{
	rvm_t rvm;

	ASSERT_EQ(0, chdir(self->f.dir));
	rvm = INIT("one");
	ASSERT_EQ(0, symlink("one", "link"));
	ASSERT_EQ(rvm, INIT("./one/"));
	ASSERT_EQ(rvm, INIT("link"));
	ASSERT_EQ(rvm, INIT(one));
	ASSERT_EQ(0, chdir("/"));
	MAP(rvm, "a", 100);
	ASSERT_EQ(0, access(one, F_OK));
}

/*
 * Processes
 */

static int turn;

static void takes_a_turn(CHILD_ARGS)
{
	rvm_t rvm = INIT(turn % 2 ? one : two);
	int *count = (int *)MAP(rvm, "count", sizeof(int));
	trans_t t = BEGIN(rvm, count);

	ASSERT_EQ(turn / 2, *count);
	rvm_about_to_modify(t, count, 0, sizeof(int));
	++*count;
	rvm_commit_trans(t);
	t = BEGIN(rvm, count);
	rvm_about_to_modify(t, count, 0, sizeof(int));
	*count = -1;
	switch (turn % 3) {
	case 0:
		rvm_abort_trans(t);
		break;
	case 1:
		die(_metadata);
		break;
	}
}

TEST_F(simple, one_process_after_the_other)
{
	const struct files *f = &self->f;

	for (turn = 0; turn < 24; turn++) {
		if (turn % 3 == 1)
			CHILD_DIES(takes_a_turn);
		else
			CHILD_OK(takes_a_turn);
	}
}

static void comes_second(CHILD_ARGS)
{
	/* the child of one that uses the library */
	SAYS("not in the child", ASSERT_EQ(NULL, rvm_init(one)));
	SAYS("not in the child", ASSERT_EQ(NULL, rvm_init(two)));
}

TEST_F(simple, forked_child)
{
	const struct files *f = &self->f;

	INIT(one);
	CHILD_OK(comes_second);
}

static int to_child[2], to_parent[2];

static void holds_it(CHILD_ARGS)
{
	char c;

	INIT(one);
	ASSERT_EQ(1, write(to_parent[1], "x", 1));
	ASSERT_EQ(1, read(to_child[0], &c, 1));
}

/* With the user engine a directory is one process's; the kernel's is for all. */
TEST_F(simple, two_processes)
{
	const struct files *f = &self->f;
	rvm_t rvm;
	pid_t pid;
	char c;

	ASSERT_EQ(0, pipe(to_child));
	ASSERT_EQ(0, pipe(to_parent));
	pid = fork();
	ASSERT_NE(-1, pid);
	if (!pid) {
		holds_it(_metadata, f);
		_exit(!_metadata->passed);
	}
	ASSERT_EQ(1, read(to_parent[0], &c, 1));
	if (!strcmp(getenv("RVM_ENGINE") ?: "user", "kernel"))
		INIT(one);
	else
		SAYS("another process uses it", ASSERT_EQ(NULL, rvm_init(one)));
	ASSERT_EQ(1, write(to_child[1], "x", 1));
	ASSERT_EQ(pid, waitpid(pid, NULL, 0));
	rvm = INIT(one);
	MAP(rvm, "a", 1);
}

/* A crash while the log was made leaves what is no log, and in nobody's way. */
TEST_F(simple, half_a_log)
{
	const struct files *f = &self->f;
	char path[300];

	ASSERT_EQ(0, mkdir(one, 0700));
	snprintf(path, sizeof(path), "%s/rvm.log.new", one);
	ASSERT_TRUE(make_file(path, 5000, 1));
	SILENT(INIT(one));
	ASSERT_NE(0, access(path, F_OK));
	/* what is no log, but has its name, is left alone */
	ASSERT_EQ(0, mkdir(two, 0700));
	snprintf(path, sizeof(path), "%s/rvm.log", two);
	ASSERT_TRUE(make_file(path, 5000, 1));
	SAYS("damaged", ASSERT_EQ(NULL, rvm_init(two)));
	ASSERT_TRUE(file_is(path, 0, 1, 5000));
}

static void makes_it(CHILD_ARGS)
{
	INIT(one);
}

/* Processes that come at the same time don't take each other's half for a whole one. */
TEST_F(simple, makes_alone)
{
	char path[300];
	int fd, status;
	pid_t pid;

	ASSERT_EQ(0, mkdir(one, 0700));
	snprintf(path, sizeof(path), "%s/rvm.log", one);
	fd = open(one, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	ASSERT_LE(0, fd);
	ASSERT_EQ(0, flock(fd, LOCK_EX));
	pid = fork();
	ASSERT_NE(-1, pid);
	if (!pid) {
		close(fd);
		makes_it(_metadata, &self->f);
		_exit(!_metadata->passed);
	}
	usleep(100000);
	ASSERT_NE(0, access(path, F_OK));
	close(fd);
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	ASSERT_EQ(0, status);
	ASSERT_EQ(0, access(path, F_OK));
}

static rvm_t turns;
static char *second_base;

static void *begins_second(void *context)
{
	trans_t t = try_begin(turns, second_base, NULL);

	(void)context;
	say(t, second_base, 0, "second");
	rvm_commit_trans(t);
	return NULL;
}

static void takes_turns(CHILD_ARGS)
{
	pthread_t thread;
	trans_t t;
	char *base;

	setenv("RVM_TRACKING", "diff", 1);
	turns = INIT(one);
	base = MAP(turns, "a", 100);
	second_base = MAP(turns, "b", 100);
	t = BEGIN(turns, base);
	ASSERT_EQ(0, pthread_create(&thread, NULL, begins_second, NULL));
	usleep(50000);
	strcpy(base, "first");
	rvm_commit_trans(t);
	ASSERT_EQ(0, pthread_join(thread, NULL));
	ASSERT_STREQ("first", base);
	ASSERT_STREQ("second", second_base);
}

/* Where changes are found there is one transaction at a time. */
TEST_F(simple, tracked)
{
	const struct files *f = &self->f;

	CHILD_OK(takes_turns);
}

TEST_F(simple, verbose)
{
	const struct files *f = &self->f;
	rvm_t rvm = NULL;
	char *base = NULL;
	trans_t t = 0;

	rvm_verbose(1);
	SAYS("init", rvm = INIT(one));
	SAYS("map a", base = MAP(rvm, "a", 100));
	SAYS("begin", t = BEGIN(rvm, base));
	SAYS("about to modify", rvm_about_to_modify(t, base, 1, 2));
	SAYS("commit", rvm_commit_trans(t));
	t = BEGIN(rvm, base);
	SAYS("abort", rvm_abort_trans(t));
	SAYS("truncate", rvm_truncate_log(rvm));
	SAYS("unmap", rvm_simple_unmap(rvm, base));
	SAYS("destroy", rvm_destroy(rvm, "a"));
	rvm_verbose(0);
	SILENT(MAP(rvm, "b", 100));
}

/* The standard interface beside it, with a log of its own. */
TEST_F(simple, standard_beside)
{
	const struct files *f = &self->f;
	rvm_region_t region;
	rvm_t rvm;
	char *base;
	trans_t t;

	start(f);
	OK(map_segment(f, &region));
	rvm = INIT(one);
	base = MAP(rvm, "a", 100);
	OK(commit_bytes(region.vmaddr, 1, 10, flush));
	t = BEGIN(rvm, base);
	say(t, base, 0, "here");
	CODE(RVM_EUNCOMMIT, rvm_terminate());
	rvm_commit_trans(t);
	CODE(RVM_ENOT_MAPPED, commit_bytes(base, 1, 10, flush));
	OK(rvm_truncate());
	ASSERT_TRUE(file_is(f->segment, 0, 1, 10));
}

TEST_HARNESS_MAIN
