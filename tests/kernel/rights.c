// SPDX-License-Identifier: GPL-2.0 OR MIT
/* Description: who may use /dev/rvm, and what the library says to who may not. */
#include "kernel.h"

#include <rvm/rvm_engine.h>

#define NOBODY	65534

FIXTURE(rights) {
	struct stat device;
};

FIXTURE_SETUP(rights)
{
	WORKS(stat("/dev/rvm", &self->device));
}

FIXTURE_TEARDOWN(rights)
{
	EXPECT_EQ(0, chmod("/dev/rvm", self->device.st_mode & 0777));
}

/* What rvm_initialize() returns to somebody, with errno; and what it says. */
static rvm_return_t initialize(const char *engine, char *said, size_t room, int *error)
{
	rvm_return_t code;
	ssize_t length;
	int out[2];

	setenv("RVM_ENGINE", engine, 1);
	if (pipe(out) || dup2(out[1], STDERR_FILENO) < 0)
		return RVM_EINTERNAL;
	close(out[1]);
	code = RVM_INIT(NULL);
	*error = errno;
	close(STDERR_FILENO);
	length = read(out[0], said, room - 1);
	said[length > 0 ? length : 0] = 0;
	close(out[0]);
	return code;
}

/* Runs as nobody: 0, or the step that went wrong. */
static int without_permission(void)
{
	char said[1000];
	int error;

	if (setuid(NOBODY))
		return 1;
	if (initialize("kernel", said, sizeof(said), &error) != RVM_EIO || error != EACCES)
		return 2;
	if (!strstr(said, "no permission for /dev/rvm") || !strstr(said, "device_mode=0666"))
		return 3;
	if (rvm_get_engine())
		return 4;
	/* who leaves it to the library gets the other engine, and no message */
	if (initialize("auto", said, sizeof(said), &error) != RVM_SUCCESS || *said)
		return 5;
	return strcmp(rvm_get_engine(), "user") ? 6 : 0;
}

TEST_F(rights, of_the_device)
{
	int status;
	pid_t pid;

	WORKS(chmod("/dev/rvm", 0600));
	pid = fork();
	if (!pid)
		_exit(without_permission());
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status) TH_LOG("step %d", WEXITSTATUS(status));
}

/* By default everybody may: the files' own rights are what counts. */
TEST_F(rights, of_everybody)
{
	int status;
	pid_t pid;

	EXPECT_EQ(0666, self->device.st_mode & 0777);
	pid = fork();
	if (!pid) {
		char said[1000];
		int error;

		_exit(setuid(NOBODY) || initialize("auto", said, sizeof(said), &error) ||
		      strcmp(rvm_get_engine(), "kernel"));
	}
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status);
}

TEST_HARNESS_MAIN
