// SPDX-License-Identifier: GPL-2.0 OR MIT
/* Description: the programs of docs/examples do what they say they do. */
#include "api.h"

#include <stdlib.h>

/* They are beside this program in a VM, and in the build folder else. */
static void find(char *path, size_t size, const char *name)
{
	char self[400];
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);

	self[n > 0 ? n : 0] = 0;
	*strrchr(self, '/') = 0;
	snprintf(path, size, "%s/%s", self, name);
	if (access(path, X_OK))
		snprintf(path, size, "%s/../../examples/%s", self, name);
}

static char printed[8192];

/* Run a program with these arguments after the folder; what it printed is in `printed`. */
static int run(struct __test_metadata *_metadata, const struct files *f, const char *name,
	       const char *const *arguments)
{
	char path[500], *argv[6] = { path, (char *)f->dir };
	int fds[2], status, i;
	size_t length = 0;
	ssize_t n;
	pid_t pid;

	find(path, sizeof(path), name);
	for (i = 2; *arguments && i < 5; i++)
		argv[i] = (char *)*arguments++;
	ASSERT_EQ(0, pipe(fds));
	pid = fork();
	ASSERT_NE(-1, pid);
	if (!pid) {
		dup2(fds[1], 1);
		close(fds[0]);
		close(fds[1]);
		execv(path, argv);
		_exit(126);
	}
	close(fds[1]);
	while ((n = read(fds[0], printed + length, sizeof(printed) - 1 - length)) > 0)
		length += n;
	printed[length] = 0;
	close(fds[0]);
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	return status;
}

#define RUN(name, ...) ({						\
	const char *const arguments_[] = { __VA_ARGS__, NULL }; \
	run(_metadata, &self->f, name, arguments_);			\
})

#define PRINTS(text, name, ...) do {					\
	ASSERT_EQ(0, RUN(name, __VA_ARGS__));				\
	ASSERT_STREQ(text, printed);					\
} while (0)

#define KILLED(status)	ASSERT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL)
#define EXITS(code, status) ASSERT_EQ((code) << 8, status)

TEST_F(api, hashtable)
{
	EXITS(1, RUN("hashtable", "get", "one"));
	PRINTS("", "hashtable", "put", "one", "eins");
	PRINTS("", "hashtable", "put", "two", "zwei");
	PRINTS("", "hashtable", "put", "one", "un");
	PRINTS("un\n", "hashtable", "get", "one");
	PRINTS("", "hashtable", "delete", "one");
	EXITS(1, RUN("hashtable", "get", "one"));
	EXITS(1, RUN("hashtable", "delete", "one"));
	PRINTS("two: zwei\n", "hashtable", "list");
	PRINTS("", "hashtable", "put", "three", "drei");
	PRINTS("zwei\n", "hashtable", "get", "two");
	PRINTS("drei\n", "hashtable", "get", "three");
	EXITS(1, RUN("hashtable", "put", "a word of thirty-two letters, or more", ""));
	EXITS(2, RUN("hashtable", "nonsense"));
}

/* Many words, so that buckets have several; then half of them go, and their places are used again. */
TEST_F(api, hashtable_many)
{
	char word[20];

	for (int i = 0; i < 60; i++) {
		snprintf(word, sizeof(word), "w%d", i);
		PRINTS("", "hashtable", "put", word, word);
	}
	for (int i = 0; i < 60; i += 2) {
		snprintf(word, sizeof(word), "w%d", i);
		PRINTS("", "hashtable", "delete", word);
	}
	for (int i = 100; i < 120; i++) {
		snprintf(word, sizeof(word), "w%d", i);
		PRINTS("", "hashtable", "put", word, word);
	}
	for (int i = 1; i < 60; i += 2) {
		char line[20];

		snprintf(word, sizeof(word), "w%d", i);
		snprintf(line, sizeof(line), "w%d\n", i);
		PRINTS(line, "hashtable", "get", word);
	}
}

TEST_F(api, warehouse)
{
	PRINTS("at the beginning:      100 bolts 100 nuts  10 gears\n"
	       "a small order: delivered\n"
	       "                        92 bolts  92 nuts   8 gears\n"
	       "in the middle:          52 bolts  52 nuts   8 gears\n"
	       "a large order: not enough gears, undone\n"
	       "                        92 bolts  92 nuts   8 gears\n", "warehouse", NULL);
	KILLED(RUN("warehouse", "crash"));
	ASSERT_STREQ("at the beginning:       92 bolts  92 nuts   8 gears\n"
		     "in the middle:          84 bolts  84 nuts   6 gears\n", printed);
	ASSERT_EQ(0, RUN("warehouse", NULL));
	ASSERT_EQ(&printed[0], strstr(printed, "at the beginning:       92 bolts  92 nuts   8 gears\n"));
}

/* What is forgotten is lost without a word, unless somebody checks. */
TEST_F(api, ledger)
{
	char errors[300], line[1000] = "";
	FILE *file;
	int status, saved = dup(2);

	EXITS(2, RUN("ledger", "add", "x"));
	setenv("RVM_CHECK", "abort", 1);
	setenv("RVM_TRACKING", "check", 1);
	PRINTS("1 entries, sum 5\n", "ledger", "add", "5");
	unsetenv("RVM_TRACKING");
	PRINTS("2 entries, sum 12\n", "ledger", "add", "7", "forget");
	PRINTS("2 entries, sum 5\n", "ledger", "show");

	setenv("RVM_TRACKING", "check", 1);
	snprintf(errors, sizeof(errors), "%s/errors", self->f.dir);
	ASSERT_NE(-1, dup2(open(errors, O_CREAT | O_RDWR, 0600), 2));
	status = RUN("ledger", "add", "7", "forget");
	dup2(saved, 2);
	ASSERT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
	file = fopen(errors, "r");
	ASSERT_NE(NULL, fgets(line, sizeof(line), file));
	fclose(file);
	ASSERT_NE(NULL, strstr(line, "rvm: undeclared change of 1 bytes at "));
	ASSERT_NE(NULL, strstr(line, "/ledger.segment offset 8, found by rvm_end_transaction at "))
		TH_LOG("%s", line);
	/* nor is anything of it there */
	PRINTS("2 entries, sum 5\n", "ledger", "show");
	/* found, not declared: nothing can be forgotten */
	setenv("RVM_TRACKING", "diff", 1);
	PRINTS("3 entries, sum 12\n", "ledger", "add", "7", "forget");
	unsetenv("RVM_TRACKING");
	PRINTS("3 entries, sum 12\n", "ledger", "show");
}

TEST_F(api, queue)
{
	EXITS(1, RUN("queue", "take"));
	PRINTS("", "queue", "put", "first");
	PRINTS("", "queue", "put", "second");
	KILLED(RUN("queue", "take", "crash"));
	PRINTS("first\n", "queue", "take");
	EXITS(1, RUN("queue", "serve", "/no/such/command"));
	PRINTS("second\n", "queue", "take");
	EXITS(1, RUN("queue", "take"));
	PRINTS("", "queue", "put", "third");
	PRINTS("", "queue", "put", "fourth");
	PRINTS("third\nfourth\n", "queue", "serve", "echo");
	EXITS(1, RUN("queue", "take"));
}

#define PROCESSES	6
#define EACH		8

/*
 * Processes put at the same time, and some that take are killed.  With the user
 * engine each tries until it has the log for itself.
 */
static void puts_some(struct __test_metadata *_metadata, const struct files *f, int who)
{
	char text[20];
	const char *const put[] = { "put", text, NULL }, *const crash[] = { "take", "crash", NULL };
	int status;

	for (int i = 0; i < EACH; i++) {
		snprintf(text, sizeof(text), "%d.%d", who, i);
		while (run(_metadata, f, "queue", put)) {
			ASSERT_NE(0, strcmp(getenv("RVM_ENGINE") ?: "user", "kernel"));
			usleep(2000);
		}
		status = run(_metadata, f, "queue", crash);
		if (WIFSIGNALED(status))
			ASSERT_EQ(SIGKILL, WTERMSIG(status));
	}
}

TEST_F(api, queue_shared)
{
	int next[PROCESSES] = { 0 }, status, who;

	for (who = 0; who < PROCESSES; who++) {
		if (fork())
			continue;
		/* that it is in use, again and again */
		dup2(open("/dev/null", O_WRONLY), 2);
		puts_some(_metadata, &self->f, who);
		_exit(!_metadata->passed);
	}
	for (who = 0; who < PROCESSES; who++) {
		ASSERT_LT(0, wait(&status));
		ASSERT_EQ(0, status);
	}
	/* all are there, and those of each process in their order */
	for (int n = 0; n < PROCESSES * EACH; n++) {
		char *dot;

		ASSERT_EQ(0, RUN("queue", "take"));
		who = strtol(printed, &dot, 10);
		ASSERT_EQ('.', *dot);
		ASSERT_EQ(true, who >= 0 && who < PROCESSES);
		ASSERT_EQ(next[who]++, strtol(dot + 1, NULL, 10));
	}
	EXITS(1, RUN("queue", "take"));
}

TEST_HARNESS_MAIN
