/* SPDX-License-Identifier: GPL-2.0 OR MIT */
/*
 * What the tests share in which allocations fail: the debug kernel's fault
 * injection, and the places where a log may be.
 */
#ifndef RVM_TESTS_FAULT_H
#define RVM_TESTS_FAULT_H

#include "null_blk.h"

#include <setjmp.h>

#define FAULTS	"/sys/kernel/debug/"

static int UNUSED set_fault(const char *setting, const char *value)
{
	char path[200];

	snprintf(path, sizeof(path), FAULTS "%s", setting);
	return write_text(path, value);
}

static int UNUSED set_up_faults(void)
{
	static const char *const settings[][2] = {
		{ "failslab/ignore-gfp-wait", "N" }, { "fail_page_alloc/ignore-gfp-wait", "N" },
		{ "fail_page_alloc/ignore-gfp-highmem", "N" }, { "fail_page_alloc/min-order", "0" },
		/* a stack trace of each would take minutes on a serial line */
		{ "failslab/verbose", "0" }, { "fail_page_alloc/verbose", "0" },
		{ "fail_usercopy/verbose", "0" }, { "fail_make_request/verbose", "0" },
	};
	unsigned int i;

	for (i = 0; i < ARRAY_LENGTH(settings); i++)
		if (set_fault(settings[i][0], settings[i][1]))
			return -1;
	return 0;
}

/* Two devices, whose requests can be made to fail as well. */
static int UNUSED make_devices(struct files *f)
{
	int fd, ret;

	if (make_device(f->log, "rvmlog", "1", "512") ||
	    make_device(f->segment, "rvmseg", "1", "512") ||
	    write_text("/sys/block/rvmlog/make-it-fail", "1") ||
	    write_text("/sys/block/rvmseg/make-it-fail", "1"))
		return -1;
	fd = open(f->log, O_RDWR | O_CLOEXEC);
	ret = rvm_log_file_format(fd, 0);
	close(fd);
	return ret;
}

/* On a file system with direct I/O, for which it takes memory. */
static int UNUSED make_ext4(struct files *f)
{
	char device[100];

	strcpy(f->dir, "/tmp/rvm-ext4");
	snprintf(f->log, sizeof(f->log), "%s/log", f->dir);
	snprintf(f->segment, sizeof(f->segment), "%s/segment", f->dir);
	if (mkdir(f->dir, 0700) || make_device(device, "rvmfs", "8", "512") ||
	    system("mke2fs -F /dev/rvmfs >/tmp/mke2fs.log 2>&1") ||
	    mount(device, f->dir, "ext4", 0, NULL))
		return -1;
	return rvm_log_file_create(f->log, 512 * KIB, 0600) ||
	       make_file(f->segment, LENGTH, 0) ? -1 : 0;
}

enum place { FILES, EXT4, DEVICES };

static int UNUSED make_place(struct files *f, enum place place)
{
	return place == DEVICES ? make_devices(f) : place == EXT4 ? make_ext4(f) :
	       make_files(f, 512 * KIB);
}

static int UNUSED remove_place(const struct files *f, enum place place)
{
	switch (place) {
	case DEVICES:
		return remove_device("rvmlog") | remove_device("rvmseg");
	case EXT4:
		return umount(f->dir) || rmdir(f->dir) || remove_device("rvmfs") ? -1 : 0;
	default:
		remove_files(f);
		return 0;
	}
}

/* Load the module anew: with a small ring fewer of the same allocations fail. */
static int UNUSED load(const char *parameters)
{
	int fd = open("/rvm.ko", O_RDONLY | O_CLOEXEC), ret;

	if (fd < 0 || !module_is_free() || syscall(SYS_delete_module, "rvm", 0))
		return -1;
	ret = syscall(SYS_finit_module, fd, parameters, 0);
	close(fd);
	return ret;
}

#endif
