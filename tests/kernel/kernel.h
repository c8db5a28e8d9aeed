/* SPDX-License-Identifier: GPL-2.0 OR MIT */
/*
 * What the tests of the kernel's ABI share: a folder with a log and a segment,
 * the raw ioctls of <linux/rvm.h>, and declaring ranges as that says.
 */
#ifndef RVM_TESTS_KERNEL_H
#define RVM_TESTS_KERNEL_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <dirent.h>
#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>

#include "kselftest_harness.h"

#include <linux/rvm.h>

#include "core/status.h"
#include "lib/log_file.h"

/* Only against hangs; emulated machines are slow. */
#undef TEST_TIMEOUT_DEFAULT
#define TEST_TIMEOUT_DEFAULT 280

#define KIB	1024ul
#define MIB	(1024 * KIB)
#define PAGE	4096ul
#define UNUSED	__attribute__((unused))

#define ARRAY_LENGTH(a)	(sizeof(a) / sizeof((a)[0]))

/* A call fails with this errno. */
#define FAILS(expected, call) do {					\
	errno = 0;							\
	ASSERT_EQ(-1, (long)(call)) TH_LOG("%s", #call);		\
	ASSERT_EQ((expected), errno) TH_LOG("%s", #call);		\
} while (0)

#define WORKS(call) do {						\
	ASSERT_NE(-1, (long)(call)) TH_LOG("%s: %s", #call, strerror(errno)); \
} while (0)

/* --- files -------------------------------------------------------------- */

struct files {
	char dir[64];
	char log[256];
	char segment[256];
};

static int UNUSED remove_one(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
	(void)st;
	(void)flag;
	(void)ftw;
	return remove(path);
}

static int UNUSED make_file(const char *path, unsigned long length, int value)
{
	int fd = open(path, O_CREAT | O_TRUNC | O_RDWR | O_CLOEXEC, 0666), ret = 0;
	char buffer[PAGE];

	if (fd < 0)
		return -1;
	memset(buffer, value, sizeof(buffer));
	while (!ret && length) {
		size_t n = length < sizeof(buffer) ? length : sizeof(buffer);

		ret = write(fd, buffer, n) == (ssize_t)n ? 0 : -1;
		length -= n;
	}
	close(fd);
	return ret;
}

/* Does nothing hold the module, or soon nothing? */
static bool UNUSED module_is_free(void)
{
	char buffer[20];
	int tries, fd;

	for (tries = 0; tries < 100; tries++) {
		fd = open("/sys/module/rvm/refcnt", O_RDONLY | O_CLOEXEC);
		if (fd < 0)
			return false;
		if (read(fd, buffer, sizeof(buffer)) > 0 && buffer[0] == '0')
			tries = 1000;
		close(fd);
		if (tries < 1000)
			usleep(50000);
	}
	return tries > 1000;
}

/* A new log on a device, as long as that. */
static int UNUSED format_log(const char *path)
{
	int fd = open(path, O_RDWR | O_CLOEXEC), ret;

	if (fd < 0)
		return -1;
	ret = rvm_log_file_format(fd, 0) ? -1 : 0;
	close(fd);
	return ret;
}

/* A log with so long a record area, and a segment of 64 KiB of zeros. */
static int UNUSED make_files(struct files *f, unsigned long log_length)
{
	strcpy(f->dir, "/tmp/rvm-kernel.XXXXXX");
	if (!mkdtemp(f->dir))
		return -1;
	snprintf(f->log, sizeof(f->log), "%s/log", f->dir);
	snprintf(f->segment, sizeof(f->segment), "%s/segment", f->dir);
	if (rvm_log_file_create(f->log, log_length, 0600))
		return -1;
	return make_file(f->segment, 64 * KIB, 0);
}

static void UNUSED remove_files(const struct files *f)
{
	nftw(f->dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static bool UNUSED all_are(const void *memory, int value, unsigned long length)
{
	const char *at = memory;

	while (length)
		if (at[--length] != (char)value)
			return false;
	return true;
}

/* A file's bytes, by ordinary reads. */
static bool UNUSED file_is(const char *path, unsigned long offset, int value, unsigned long length)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	char buffer[PAGE];

	if (fd < 0)
		return false;
	while (length) {
		size_t n = length < sizeof(buffer) ? length : sizeof(buffer);

		if (pread(fd, buffer, n, offset) != (ssize_t)n || !all_are(buffer, value, n))
			break;
		offset += n;
		length -= n;
	}
	close(fd);
	return !length;
}

static int UNUSED count_fds(void)
{
	DIR *dir = opendir("/proc/self/fd");
	int n = -1;	/* its own */

	while (dir && readdir(dir))
		n++;
	if (dir)
		closedir(dir);
	return n;
}

/* --- the ioctls --------------------------------------------------------- */

static int UNUSED attach_fd(int file)
{
	struct rvm_ioc_attach_log a = { .size = sizeof(a), .fd = file };
	int device = open("/dev/rvm", O_RDWR | O_CLOEXEC), fd, error;

	if (device < 0)
		return -1;
	fd = ioctl(device, RVM_IOC_ATTACH_LOG, &a);
	error = errno;
	close(device);
	errno = error;
	return fd;
}

static int UNUSED attach(const char *path)
{
	int file = open(path, O_RDWR | O_CLOEXEC), fd, error;

	if (file < 0)
		return -1;
	fd = attach_fd(file);
	error = errno;
	close(file);
	errno = error;
	return fd;
}

static int UNUSED segment_fd(int log, int file, const char *name, uint32_t name_length)
{
	struct rvm_ioc_attach_segment a = {
		.size = sizeof(a),
		.fd = file,
		.name = (uintptr_t)name,
		.name_length = name_length,
	};

	return ioctl(log, RVM_IOC_ATTACH_SEGMENT, &a);
}

static int UNUSED segment_mode(int log, const char *path, int flags)
{
	int file = open(path, flags | O_CLOEXEC), fd, error;

	if (file < 0)
		return -1;
	fd = segment_fd(log, file, path, strlen(path));
	error = errno;
	close(file);
	errno = error;
	return fd;
}

static int UNUSED segment(int log, const char *path)
{
	return segment_mode(log, path, O_RDWR);
}

/* With RVM_SEGMENT_* flags. */
static int UNUSED segment_as(int log, const char *path, uint32_t flags)
{
	int file = open(path, O_RDWR | O_CLOEXEC), fd, error;
	struct rvm_ioc_attach_segment a = {
		.size = sizeof(a), .flags = flags, .fd = file,
		.name = (uintptr_t)path, .name_length = strlen(path),
	};

	fd = ioctl(log, RVM_IOC_ATTACH_SEGMENT, &a);
	error = errno;
	close(file);
	errno = error;
	return fd;
}

static int UNUSED recover(int log, uint64_t *applied, uint64_t *kept)
{
	struct rvm_ioc_recover a = { .size = sizeof(a) };
	int ret = ioctl(log, RVM_IOC_RECOVER, &a);

	if (applied)
		*applied = a.applied;
	if (kept)
		*kept = a.kept;
	return ret;
}

static int UNUSED commit_id(int log, uint32_t id, uint32_t flags)
{
	struct rvm_ioc_commit a = { .size = sizeof(a), .flags = flags, .area = id };

	return ioctl(log, RVM_IOC_COMMIT, &a);
}

static int UNUSED begin_id(int log, uint32_t area, struct rvm_ioc_found *found, uint32_t room,
			   uint64_t *count)
{
	struct rvm_ioc_begin a = {
		.size = sizeof(a), .area = area, .room = room, .found = (uintptr_t)found,
	};
	int ret = ioctl(log, RVM_IOC_BEGIN, &a);

	*count = a.count;
	return ret;
}

static int UNUSED area_ioctl(int log, unsigned long command, uint32_t id)
{
	struct rvm_ioc_area a = { .size = sizeof(a), .area = id };

	return ioctl(log, command, &a);
}

static int UNUSED commit(int log, const struct rvm_area_header *area, uint32_t flags)
{
	return commit_id(log, area->area, flags);
}

static int UNUSED do_abort(int log, const struct rvm_area_header *area)
{
	return area_ioctl(log, RVM_IOC_ABORT, area->area);
}

static int UNUSED log_ioctl(int log, unsigned long command)
{
	struct rvm_ioc_log a = { .size = sizeof(a) };

	return ioctl(log, command, &a);
}

#define flush_log(log)		log_ioctl(log, RVM_IOC_FLUSH)
#define truncate_log(log)	log_ioctl(log, RVM_IOC_TRUNCATE)

static int UNUSED set_truncate(int log, unsigned int percent)
{
	struct rvm_ioc_options a = {
		.size = sizeof(a), .flags = RVM_OPTION_TRUNCATE, .truncate = percent,
	};

	return ioctl(log, RVM_IOC_SET_OPTIONS, &a);
}

static int UNUSED set_memory(int log, uint64_t bytes)
{
	struct rvm_ioc_options a = {
		.size = sizeof(a), .flags = RVM_OPTION_MEMORY, .memory = bytes,
	};

	return ioctl(log, RVM_IOC_SET_OPTIONS, &a);
}

static UNUSED struct rvm_ioc_query query(int log)
{
	struct rvm_ioc_query a = { .size = sizeof(a) };

	if (ioctl(log, RVM_IOC_QUERY, &a))
		memset(&a, 0xff, sizeof(a));
	return a;
}

static UNUSED struct rvm_ioc_statistics statistics(int log)
{
	struct rvm_ioc_statistics a = { .size = sizeof(a) };

	if (ioctl(log, RVM_IOC_STATISTICS, &a))
		memset(&a, 0xff, sizeof(a));
	return a;
}

/* The dictionary's entry of this name: false if there is none. */
static bool UNUSED find_name(int log, const char *name, struct rvm_ioc_segment_name *entry)
{
	static char buffer[64 * KIB];
	struct rvm_ioc_dictionary a = {
		.size = sizeof(a), .buffer = (uintptr_t)buffer, .length = sizeof(buffer),
	};
	char *at = buffer;

	if (ioctl(log, RVM_IOC_DICTIONARY, &a))
		return false;
	while (a.segments--) {
		memcpy(entry, at, sizeof(*entry));
		at += sizeof(*entry);
		if (entry->name_length == strlen(name) && !memcmp(at, name, strlen(name)))
			return true;
		at += (entry->name_length + 7) & ~7u;
	}
	return false;
}

/* --- memory ------------------------------------------------------------- */

static UNUSED void *map_at(void *address, int fd, unsigned long length, unsigned long offset)
{
	return mmap(address, length, PROT_READ | PROT_WRITE,
		    MAP_SHARED | (address ? MAP_FIXED : 0), fd, offset);
}

static UNUSED void *map(int fd, unsigned long length)
{
	return map_at(NULL, fd, length, 0);
}

/* A page that can't be touched. */
static UNUSED char *hole(void)
{
	char *at = mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	munmap(at, PAGE);
	return at;
}

static UNUSED struct rvm_area_entry *entry_at(struct rvm_area_header *area, uint32_t at)
{
	return (struct rvm_area_entry *)(area->entries + at);
}

/* What an entry takes in an area. */
static uint32_t UNUSED entry_size(uint32_t length, bool save)
{
	return sizeof(struct rvm_area_entry) + (save ? (length + 7) & ~7u : 0);
}

/* Steps 1 and 2 of <linux/rvm.h>'s protocol. */
static UNUSED struct rvm_area_entry *append(struct rvm_area_header *area, uint64_t address,
					    uint32_t length, uint32_t state)
{
	struct rvm_area_entry *e = entry_at(area, area->used);

	e->address = address;
	e->length = length;
	e->state = state;
	__atomic_store_n(&area->used, area->used + entry_size(length, state != RVM_ENTRY_NO_RESTORE),
			 __ATOMIC_RELEASE);
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	return e;
}

/* Step 4, once: false if it must be saved again. */
static bool UNUSED saved(struct rvm_area_entry *e)
{
	uint32_t state = RVM_ENTRY_SAVING;

	if (__atomic_compare_exchange_n(&e->state, &state, RVM_ENTRY_SAVED, false,
					__ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST))
		return true;
	__atomic_exchange_n(&e->state, RVM_ENTRY_SAVING, __ATOMIC_SEQ_CST);
	return false;
}

static void UNUSED declare(struct rvm_area_header *area, void *address, uint32_t length)
{
	struct rvm_area_entry *e = append(area, (uintptr_t)address, length, RVM_ENTRY_SAVING);

	do
		memcpy(e->saved, address, length);
	while (!saved(e));
}

static void UNUSED declare_no_restore(struct rvm_area_header *area, void *address, uint32_t length)
{
	append(area, (uintptr_t)address, length, RVM_ENTRY_NO_RESTORE);
}

/* Declare, and store. */
static void UNUSED set(struct rvm_area_header *area, void *address, int value, uint32_t length)
{
	declare(area, address, length);
	memset(address, value, length);
}

/* --- all of it, open ---------------------------------------------------- */

struct world {
	struct files f;
	int log, segment;
	char *memory;			/* 64 KiB */
	struct rvm_area_header *area;	/* 64 KiB */
};

#define AREA	(64 * KIB)
#define LENGTH	(64 * KIB)

/* All but the region. */
static int UNUSED attach_world(struct world *w)
{
	w->memory = MAP_FAILED;
	w->log = attach(w->f.log);
	if (w->log < 0)
		return -1;
	w->segment = segment(w->log, w->f.segment);
	if (w->segment < 0 || recover(w->log, NULL, NULL))
		return -1;
	w->area = map(w->log, AREA);
	return w->area == MAP_FAILED ? -1 : 0;
}

/* Attach, recover, map. The descriptor of the segment is needed no more after that. */
static int UNUSED open_world(struct world *w)
{
	if (attach_world(w))
		return -1;
	w->memory = map(w->segment, LENGTH);
	return w->memory == MAP_FAILED ? -1 : 0;
}

static void UNUSED close_world(struct world *w)
{
	munmap(w->memory, LENGTH);
	munmap(w->area, AREA);
	close(w->segment);
	close(w->log);
}

/* Once more, without truncation in the background. */
static int UNUSED reopen_world(struct world *w)
{
	close_world(w);
	return open_world(w) || set_truncate(w->log, 0) ? -1 : 0;
}

static int UNUSED make_world(struct world *w, unsigned long log_length)
{
	if (!module_is_free()) {
		fprintf(stderr, "# something of an earlier test holds the module\n");
		return -1;
	}
	return make_files(&w->f, log_length) || open_world(w) ? -1 : 0;
}

#define WORLD_FIXTURE(length)						\
FIXTURE(rvm) { struct world w; };					\
FIXTURE_SETUP(rvm) { WORKS(make_world(&self->w, length)); }		\
FIXTURE_TEARDOWN(rvm) { close_world(&self->w); remove_files(&self->w.f); }

/* --- processes ---------------------------------------------------------- */

static unsigned long random_state = 88172645463325252ul;

static unsigned long UNUSED next_random(void)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return random_state;
}

static void UNUSED sleep_us(unsigned long us)
{
	struct timespec t = { us / 1000000, us % 1000000 * 1000 };

	nanosleep(&t, NULL);
}

/* Run the statement in a process of its own, which is to exit with 0. */
#define CHILD(statement) do {						\
	int status_;							\
	pid_t pid_ = fork();						\
									\
	ASSERT_NE(-1, pid_);						\
	if (!pid_) {							\
		statement;						\
		_exit(_metadata->passed ? 0 : 1);			\
	}								\
	ASSERT_EQ(pid_, waitpid(pid_, &status_, 0));			\
	ASSERT_EQ(0, status_);						\
} while (0)

/* Memory that a test's processes share, of no interest to the kernel engine. */
static UNUSED void *shared_memory(unsigned long length)
{
	return mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
}

#endif
