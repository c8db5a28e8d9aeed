/* SPDX-License-Identifier: GPL-2.0 OR MIT */
/*
 * What the tests share in which allocations fail: the debug kernel's fault
 * injection, the places where a log may be, the calls, and what must hold after.
 */
#ifndef RVM_TESTS_FAULT_H
#define RVM_TESTS_FAULT_H

#include "null_blk.h"

#include <setjmp.h>

/* What is committed durably before each call, and the part that calls change. */
#define USED		(3 * PAGE)
#define MIDDLE		PAGE
#define MIDDLE_LENGTH	2000ul

struct state {
	struct world w;
	bool devices;		/* log and segment are devices, whose requests fail as well */
	int rvm, file;		/* descriptors for the call, or made by it */
	unsigned char value;	/* the committed one; the middle may have the next */
};

/* What the middle has once a call has worked. */
enum middle { OLD, NEW, EITHER };

/* --- the kernel's settings ------------------------------------------------ */

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

/* --- places ---------------------------------------------------------------- */

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

/* --- opening and closing -------------------------------------------------- */

static void close_fd(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

static void UNUSED close_mappings(struct state *s)
{
	if (s->w.memory != MAP_FAILED)
		munmap(s->w.memory, LENGTH);
	if (s->w.area != MAP_FAILED)
		munmap(s->w.area, AREA);
	s->w.memory = MAP_FAILED;
	s->w.area = MAP_FAILED;
	close_fd(&s->w.segment);
}

static void UNUSED close_all(struct state *s)
{
	close_mappings(s);
	close_fd(&s->w.log);
	close_fd(&s->file);
	close_fd(&s->rvm);
}

static int UNUSED open_all(struct state *s)
{
	return open_world(&s->w) || set_truncate(s->w.log, 0) ? -1 : 0;
}

/* Nothing open, and a record in the log. */
static int UNUSED prepare_closed(struct state *s)
{
	if (open_all(s))
		return -1;
	s->value++;
	set(s->w.area, s->w.memory, s->value, USED);
	if (truncate_log(s->w.log) || commit(s->w.log, s->w.area, RVM_COMMIT_FLUSH))
		return -1;
	close_all(s);
	return 0;
}

/* All but RECOVER. */
static int UNUSED prepare_recover(struct state *s)
{
	if (prepare_closed(s))
		return -1;
	s->w.log = attach(s->w.f.log);
	if (s->w.log < 0)
		return -1;
	s->w.segment = segment(s->w.log, s->w.f.segment);
	return s->w.segment < 0 ? -1 : 0;
}

/* None of its pages in memory, and nothing in the log. */
static int UNUSED prepare_open(struct state *s)
{
	if (prepare_closed(s) || open_all(s) || truncate_log(s->w.log))
		return -1;
	close_all(s);
	return open_all(s);
}

static int UNUSED prepare_transaction(struct state *s)
{
	if (prepare_open(s))
		return -1;
	set(s->w.area, s->w.memory + MIDDLE, s->value + 1, MIDDLE_LENGTH);
	return 0;
}

static int UNUSED prepare_committed(struct state *s)
{
	return prepare_transaction(s) ? -1 : commit(s->w.log, s->w.area, 0);
}

/* Only the log's descriptor is left, and what was not flushed. */
static int UNUSED prepare_close_log(struct state *s)
{
	if (prepare_committed(s))
		return -1;
	close_mappings(s);
	return 0;
}

/* A log that has no room for the transaction. */
static int UNUSED prepare_full(struct state *s, uint32_t flags)
{
	if (prepare_open(s))
		return -1;
	while (query(s->w.log).log_length - query(s->w.log).log_used > 40 * KIB) {
		set(s->w.area, s->w.memory + USED, s->value, 32 * KIB);
		if (commit(s->w.log, s->w.area, flags))
			return -1;
	}
	set(s->w.area, s->w.memory + USED, s->value, 40 * KIB);
	set(s->w.area, s->w.memory + MIDDLE, s->value + 1, MIDDLE_LENGTH);
	return 0;
}

/* --- calls: -1 and errno -------------------------------------------------- */

static sigjmp_buf after_fault;

static void UNUSED on_fault(int signal)
{
	siglongjmp(after_fault, signal);
}

static long UNUSED run_load(struct state *s)
{
	if (sigsetjmp(after_fault, 1)) {
		errno = EFAULT;
		return -1;
	}
	return *(volatile unsigned char *)s->w.memory == s->value ? 0 : -1;
}

static long UNUSED run_store(struct state *s)
{
	if (sigsetjmp(after_fault, 1)) {
		errno = EFAULT;
		return -1;
	}
	*(volatile unsigned char *)s->w.memory = 99;
	return 0;
}

static long UNUSED run_recover(struct state *s)
{
	return recover(s->w.log, NULL, NULL);
}

static long UNUSED run_commit_flush(struct state *s)
{
	return commit(s->w.log, s->w.area, RVM_COMMIT_FLUSH);
}

static long UNUSED run_flush(struct state *s)
{
	return flush_log(s->w.log);
}

static long UNUSED run_truncate(struct state *s)
{
	return truncate_log(s->w.log);
}

static long UNUSED run_close_log(struct state *s)
{
	int fd = s->w.log;

	s->w.log = -1;
	return close(fd);
}

/* --- what must hold afterwards -------------------------------------------- */

/* All is opened again: is what was committed there, and the middle as it should be, as a whole? */
static bool UNUSED reopens(struct state *s, enum middle middle)
{
	bool is_old, is_new, ret;

	close_all(s);
	if (open_all(s))
		return false;
	is_old = all_are(s->w.memory + MIDDLE, s->value, MIDDLE_LENGTH);
	is_new = all_are(s->w.memory + MIDDLE, s->value + 1, MIDDLE_LENGTH);
	ret = all_are(s->w.memory, s->value, MIDDLE) &&
	      all_are(s->w.memory + MIDDLE + MIDDLE_LENGTH, s->value,
		      USED - MIDDLE - MIDDLE_LENGTH) &&
	      (middle == OLD ? is_old : middle == NEW ? is_new : is_old || is_new);
	close_all(s);
	return ret;
}

/* --- of the fixtures ------------------------------------------------------ */

static int UNUSED set_up(struct state *s, enum place place)
{
	struct sigaction action = { .sa_handler = on_fault };

	if (set_up_faults() || make_place(&s->w.f, place))
		return -1;
	s->devices = place == DEVICES;
	s->w.memory = MAP_FAILED;
	s->w.area = MAP_FAILED;
	s->w.log = -1;
	s->w.segment = -1;
	s->rvm = -1;
	s->file = -1;
	return sigaction(SIGBUS, &action, NULL) | sigaction(SIGSEGV, &action, NULL);
}

/* False: something of it is still in use. */
static bool UNUSED take_down(struct state *s, enum place place)
{
	close_all(s);
	return module_is_free() && !remove_place(&s->w.f, place);
}

#endif
