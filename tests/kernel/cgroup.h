/* SPDX-License-Identifier: GPL-2.0 OR MIT */
/*
 * A cgroup for the memory of a test.
 */
#ifndef RVM_TESTS_CGROUP_H
#define RVM_TESTS_CGROUP_H

#include "null_blk.h"

#define GROUPS	"/sys/fs/cgroup"
#define GROUP	GROUPS "/rvm-test"

/* A cgroup for this process alone. */
static int UNUSED enter_group(void)
{
	if (mount("cgroup2", GROUPS, "cgroup2", 0, NULL) && errno != EBUSY)
		return -1;
	return write_text(GROUPS "/cgroup.subtree_control", "+memory") || mkdir(GROUP, 0700) ||
	       write_text(GROUP "/cgroup.procs", "0") ? -1 : 0;
}

static int UNUSED leave_group(void)
{
	return write_text(GROUPS "/cgroup.procs", "0") || rmdir(GROUP) ? -1 : 0;
}

/* The value behind a name in one of the group's files. */
static unsigned long UNUSED group_value(const char *path, const char *wanted)
{
	FILE *file = fopen(path, "re");
	unsigned long found = ~0ul, value;
	char name[100];

	while (file && fscanf(file, "%99s %lu", name, &value) == 2)
		if (!strcmp(name, wanted))
			found = value;
	if (file)
		fclose(file);
	return found;
}

/* Bytes of that kind that the group is charged for. */
static unsigned long UNUSED charged(const char *kind)
{
	return group_value(GROUP "/memory.stat", kind);
}

#endif
