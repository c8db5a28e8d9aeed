// SPDX-License-Identifier: GPL-2.0 OR MIT
/*
 * Description: every ioctl, mmap and descriptor of /dev/rvm with arguments that
 * it must refuse, and what it must not take along when it does.
 */
#include "kernel.h"

#define WILD	((void *)0xffff888000001000ul)	/* the kernel's */
#define ODD	((void *)0x1234567890abcdeful)	/* nobody's */

FIXTURE(rvm) {
	struct world w;
	int device, fds;
};

FIXTURE_SETUP(rvm)
{
	WORKS(make_world(&self->w, 64 * KIB));
	self->device = open("/dev/rvm", O_RDWR | O_CLOEXEC);
	WORKS(self->device);
	self->fds = count_fds();
}

/* What failed left no descriptor open. */
FIXTURE_TEARDOWN(rvm)
{
	EXPECT_EQ(self->fds, count_fds());
	close(self->device);
	close_world(&self->w);
	remove_files(&self->w.f);
}

static const unsigned long commands[] = {
	RVM_IOC_ATTACH_LOG, RVM_IOC_DICTIONARY, RVM_IOC_ATTACH_SEGMENT, RVM_IOC_RECOVER,
	RVM_IOC_COMMIT, RVM_IOC_ABORT, RVM_IOC_SPILL, RVM_IOC_FLUSH, RVM_IOC_TRUNCATE,
	RVM_IOC_SET_OPTIONS, RVM_IOC_QUERY, RVM_IOC_BEGIN, RVM_IOC_STATISTICS,
};

static int fd_for(const FIXTURE_DATA(rvm) *self, unsigned long command)
{
	return command == RVM_IOC_ATTACH_LOG ? self->device : self->w.log;
}

TEST_F(rvm, unknown_ioctls)
{
	char argument[256] = { 0 };
	unsigned int i, nr, size;

	for (nr = 0; nr < 256; nr++) {
		for (size = 0; size < 200; size += 8) {
			unsigned long command = _IOWR(RVM_IOC_TYPE, nr, char[size]);
			bool known = false;

			for (i = 0; i < ARRAY_LENGTH(commands); i++)
				known |= commands[i] == command;
			if (known)
				continue;
			FAILS(ENOTTY, ioctl(self->device, command, argument));
			FAILS(ENOTTY, ioctl(self->w.log, command, argument));
			FAILS(ENOTTY, ioctl(self->w.segment, command, argument));
		}
	}
	for (i = 0; i < ARRAY_LENGTH(commands); i++) {
		bool device = commands[i] == RVM_IOC_ATTACH_LOG;

		FAILS(ENOTTY, ioctl(device ? self->w.log : self->device, commands[i], argument));
		FAILS(ENOTTY, ioctl(self->w.segment, commands[i], argument));
		FAILS(EBADF, ioctl(-1, commands[i], argument));
	}
}

/* How many flags it knows: the lowest bits. */
static unsigned int flags_of(unsigned long command)
{
	return command == RVM_IOC_COMMIT ? 2 : command == RVM_IOC_SET_OPTIONS ||
	       command == RVM_IOC_ATTACH_SEGMENT ? 4 : 0;
}

TEST_F(rvm, sizes_and_flags)
{
	unsigned int i, bit;

	for (i = 0; i < ARRAY_LENGTH(commands); i++) {
		unsigned long command = commands[i];
		uint32_t a[64] = { 0 }, size = _IOC_SIZE(command), wrong;
		int fd = fd_for(self, command);

		for (wrong = 0; wrong < 256; wrong++) {
			if (wrong == size)
				continue;
			a[0] = wrong;
			FAILS(EINVAL, ioctl(fd, command, a));
		}
		a[0] = UINT32_MAX;
		FAILS(EINVAL, ioctl(fd, command, a));
		a[0] = size;
		for (bit = flags_of(command); bit < 32; bit++) {
			a[1] = 1u << bit;
			FAILS(EINVAL, ioctl(fd, command, a));
		}
	}
}

TEST_F(rvm, reserved_fields)
{
	struct rvm_ioc_attach_log log = { .size = sizeof(log), .fd = -1, .reserved = 1 };
	struct rvm_ioc_commit c = {
		.size = sizeof(c), .area = self->w.area->area, .room = RVM_FOUND_MAX + 1,
	};
	struct rvm_ioc_area area = {
		.size = sizeof(area), .area = self->w.area->area, .reserved = 1u << 31,
	};
	struct rvm_ioc_options options = { .size = sizeof(options), .reserved = 1 };

	FAILS(EINVAL, ioctl(self->device, RVM_IOC_ATTACH_LOG, &log));
	FAILS(EINVAL, ioctl(self->w.log, RVM_IOC_COMMIT, &c));
	FAILS(EINVAL, ioctl(self->w.log, RVM_IOC_ABORT, &area));
	FAILS(EINVAL, ioctl(self->w.log, RVM_IOC_SPILL, &area));
	FAILS(EINVAL, ioctl(self->w.log, RVM_IOC_SET_OPTIONS, &options));
	FAILS(EINVAL, set_truncate(self->w.log, 101));
	FAILS(EINVAL, set_truncate(self->w.log, UINT32_MAX));
}

TEST_F(rvm, pointers)
{
	unsigned int i;

	for (i = 0; i < ARRAY_LENGTH(commands); i++) {
		unsigned long command = commands[i];
		int fd = fd_for(self, command);
		char *two = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE,
				 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		uint32_t *straddling = (void *)(two + PAGE - 4);

		munmap(two + PAGE, PAGE);
		*straddling = _IOC_SIZE(command);
		FAILS(EFAULT, ioctl(fd, command, NULL));
		FAILS(EFAULT, ioctl(fd, command, 1));
		FAILS(EFAULT, ioctl(fd, command, -1ul));
		FAILS(EFAULT, ioctl(fd, command, WILD));
		FAILS(EFAULT, ioctl(fd, command, ODD));
		FAILS(EFAULT, ioctl(fd, command, hole()));
		FAILS(EFAULT, ioctl(fd, command, straddling));
		munmap(two, PAGE);
	}
}

/* What the kernel can't write back is EFAULT, and the descriptor does not stay. */
TEST_F(rvm, read_only_arguments)
{
	static const char name[] = "/other";
	struct rvm_ioc_attach_segment *s;
	struct rvm_ioc_commit *c;
	uint32_t *a;
	unsigned int i;
	void *page = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	static const unsigned long writing[] = {
		RVM_IOC_DICTIONARY, RVM_IOC_RECOVER, RVM_IOC_QUERY, RVM_IOC_STATISTICS,
	};
	int file = open(self->w.f.segment, O_RDWR | O_CLOEXEC);

	for (i = 0; i < ARRAY_LENGTH(writing); i++) {
		a = memset(page, 0, PAGE);
		a[0] = _IOC_SIZE(writing[i]);
		WORKS(mprotect(page, PAGE, PROT_READ));
		FAILS(EFAULT, ioctl(self->w.log, writing[i], page));
		WORKS(mprotect(page, PAGE, PROT_READ | PROT_WRITE));
	}

	s = memset(page, 0, PAGE);
	s->size = sizeof(*s);
	s->fd = file;
	s->name = (uintptr_t)name;
	s->name_length = strlen(name);
	WORKS(mprotect(page, PAGE, PROT_READ));
	FAILS(EFAULT, ioctl(self->w.log, RVM_IOC_ATTACH_SEGMENT, page));
	WORKS(mprotect(page, PAGE, PROT_READ | PROT_WRITE));
	close(file);

	memset(page, 0, PAGE);
	a = page;
	a[0] = sizeof(struct rvm_ioc_begin);
	a[2] = self->w.area->area;
	WORKS(mprotect(page, PAGE, PROT_READ));
	FAILS(EFAULT, ioctl(self->w.log, RVM_IOC_BEGIN, page));
	WORKS(mprotect(page, PAGE, PROT_READ | PROT_WRITE));

	/* The sequence could not be told: there is no commit. */
	set(self->w.area, self->w.memory, 7, 100);
	c = memset(page, 0, PAGE);
	c->size = sizeof(*c);
	c->area = self->w.area->area;
	c->sequence = 77;
	WORKS(mprotect(page, PAGE, PROT_READ));
	FAILS(EFAULT, ioctl(self->w.log, RVM_IOC_COMMIT, page));
	ASSERT_NE(0, self->w.area->used);
	ASSERT_EQ(0, query(self->w.log).commits);
	WORKS(mprotect(page, PAGE, PROT_READ | PROT_WRITE));
	ASSERT_EQ(77, c->sequence);
	WORKS(ioctl(self->w.log, RVM_IOC_COMMIT, page));
	ASSERT_NE(77, c->sequence);
	ASSERT_EQ(0, self->w.area->used);
	ASSERT_TRUE(all_are(self->w.memory, 7, 100));
	munmap(page, PAGE);
}

static void *change_rights(void *page)
{
	for (;;) {
		mprotect(page, PAGE, PROT_READ);
		mprotect(page, PAGE, PROT_READ | PROT_WRITE);
		pthread_testcancel();
	}
	return NULL;
}

/* Whatever becomes of the argument during the call: EFAULT if and only if nothing was committed. */
TEST_F(rvm, argument_that_goes)
{
	void *page = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct rvm_ioc_commit argument = {
		.size = sizeof(argument), .area = self->w.area->area,
	};
	unsigned long commits = 0;
	pthread_t thread;
	unsigned int i;

	memcpy(page, &argument, sizeof(argument));
	ASSERT_EQ(0, pthread_create(&thread, NULL, change_rights, page));
	for (i = 0; i < 2000; i++) {
		set(self->w.area, self->w.memory, i, 100);
		if (!ioctl(self->w.log, RVM_IOC_COMMIT, page)) {
			commits++;
			ASSERT_EQ(0, self->w.area->used);
		} else {
			ASSERT_EQ(EFAULT, errno);
			ASSERT_NE(0, self->w.area->used);
			WORKS(do_abort(self->w.log, self->w.area));
		}
		ASSERT_EQ(commits, query(self->w.log).commits);
	}
	pthread_cancel(thread);
	pthread_join(thread, NULL);
	munmap(page, PAGE);
}

/* Descriptors that are no regular file or block device, or lack the rights. */
static void refused(struct __test_metadata *_metadata, const FIXTURE_DATA(rvm) *self, int fd,
		    int log_errno, int segment_errno)
{
	FAILS(log_errno, attach_fd(fd));
	FAILS(segment_errno, segment_fd(self->w.log, fd, "/wrong", 6));
}

TEST_F(rvm, wrong_files)
{
	const struct files *f = &self->w.f;
	char path[200];
	int fds[2], fd;

	refused(_metadata, self, -1, EBADF, EBADF);
	refused(_metadata, self, INT_MIN, EBADF, EBADF);
	refused(_metadata, self, AT_FDCWD, EBADF, EBADF);
	refused(_metadata, self, 100000, EBADF, EBADF);
	WORKS(dup2(STDIN_FILENO, 500));
	close(500);
	refused(_metadata, self, 500, EBADF, EBADF);

#define REFUSED(opened, log_errno, segment_errno) do {			\
	fd = (opened);							\
	WORKS(fd);							\
	refused(_metadata, self, fd, log_errno, segment_errno);		\
	close(fd);							\
} while (0)
	REFUSED(open(f->dir, O_RDONLY), EINVAL, EINVAL);
	REFUSED(open(f->log, O_PATH), EBADF, EBADF);
	REFUSED(open(f->segment, O_PATH), EBADF, EBADF);
	REFUSED(open(f->segment, O_WRONLY), EBADF, EBADF);
	REFUSED(open("/dev/null", O_RDWR), EINVAL, EINVAL);
	REFUSED(open("/dev/zero", O_RDWR), EINVAL, EINVAL);
	REFUSED(open("/dev/rvm", O_RDWR), EINVAL, EINVAL);
	REFUSED(socket(AF_UNIX, SOCK_STREAM, 0), EINVAL, EINVAL);
	REFUSED(posix_openpt(O_RDWR | O_NOCTTY), EINVAL, EINVAL);
	REFUSED(memfd_create("empty", 0), EINVAL, EINVAL);
	REFUSED(dup(self->w.log), EINVAL, EINVAL);
	REFUSED(dup(self->w.segment), EINVAL, EINVAL);
	/* regular files of a kind */
	REFUSED(open("/proc/self/maps", O_RDONLY), EBADF, EINVAL);
	REFUSED(open("/proc/self/mem", O_RDWR), EINVAL, EINVAL);

	WORKS(pipe(fds));
	refused(_metadata, self, fds[0], EINVAL, EINVAL);
	refused(_metadata, self, fds[1], EINVAL, EINVAL);
	close(fds[0]);
	close(fds[1]);

	snprintf(path, sizeof(path), "%s/fifo", f->dir);
	WORKS(mkfifo(path, 0600));
	REFUSED(open(path, O_RDWR | O_NONBLOCK), EINVAL, EINVAL);

	/* no rights, no log */
	snprintf(path, sizeof(path), "%s/other", f->dir);
	ASSERT_EQ(0, (int)rvm_log_file_create(path, 4096, 0600));
	fd = open(path, O_RDONLY);
	FAILS(EBADF, attach_fd(fd));
	close(fd);
	fd = open(path, O_WRONLY);
	FAILS(EBADF, attach_fd(fd));
	close(fd);
	WORKS(fd = attach(path));
	close(fd);
}

/* Who may only append gets no more, not even of what is attached already. */
TEST_F(rvm, append_only)
{
	const struct files *f = &self->w.f;
	char path[200];
	int fd;

	FAILS(EPERM, segment_mode(self->w.log, f->segment, O_RDWR | O_APPEND));
	WORKS(fd = segment_mode(self->w.log, f->segment, O_RDONLY | O_APPEND));
	close(fd);
	WORKS(fd = open(f->log, O_RDWR | O_APPEND));
	FAILS(EPERM, attach_fd(fd));
	close(fd);
	snprintf(path, sizeof(path), "%s/other", f->dir);
	ASSERT_EQ(0, (int)rvm_log_file_create(path, 4096, 0600));
	WORKS(fd = open(path, O_RDWR | O_APPEND));
	FAILS(EPERM, attach_fd(fd));
	close(fd);
	WORKS(fd = attach(path));
	close(fd);
}

TEST_F(rvm, files_that_are_no_log)
{
	char path[200];
	unsigned long length;

	snprintf(path, sizeof(path), "%s/no-log", self->w.f.dir);
	for (length = 0; length <= 140 * KIB; length += 20 * KIB) {
		WORKS(make_file(path, length, 0x55));
		FAILS(EINVAL, attach(path));
		WORKS(make_file(path, length, 0));
		FAILS(EINVAL, attach(path));
	}
	/* the name of an attached segment does not make it a log */
	FAILS(EBUSY, attach(self->w.f.segment));
}

TEST_F(rvm, log_as_its_own_segment)
{
	FAILS(EBUSY, segment(self->w.log, self->w.f.log));
	FAILS(EBUSY, segment_mode(self->w.log, self->w.f.log, O_RDONLY));
}

TEST_F(rvm, names)
{
	char name[5000], other[200];
	int log = self->w.log, file, fd;

	snprintf(other, sizeof(other), "%s/other", self->w.f.dir);
	WORKS(make_file(other, 4096, 0));
	WORKS(file = open(other, O_RDWR | O_CLOEXEC));
	memset(name, 'x', sizeof(name));

	FAILS(EINVAL, segment_fd(log, file, "relative", 8));
	FAILS(EINVAL, segment_fd(log, file, "./x", 3));
	FAILS(EINVAL, segment_fd(log, file, "/a\0b", 4));
	FAILS(EINVAL, segment_fd(log, file, "/a", 3));
	FAILS(EINVAL, segment_fd(log, file, "", 1));
	FAILS(ENAMETOOLONG, segment_fd(log, file, "/", 0));
	name[0] = '/';
	FAILS(ENAMETOOLONG, segment_fd(log, file, name, 4096));
	FAILS(ENAMETOOLONG, segment_fd(log, file, name, UINT32_MAX));
	FAILS(EFAULT, segment_fd(log, file, NULL, 10));
	FAILS(EFAULT, segment_fd(log, file, WILD, 10));
	FAILS(EFAULT, segment_fd(log, file, ODD, 10));
	FAILS(EFAULT, segment_fd(log, file, hole(), 4095));
	WORKS(fd = segment_fd(log, file, name, 4095));
	close(fd);
	WORKS(fd = segment_fd(log, file, "/", 1));

	/* another file, by a name that is in use */
	close(fd);
	FAILS(EEXIST, segment_fd(log, file, self->w.f.segment, strlen(self->w.f.segment)));
	close(file);
}

/* Two names of one file, by a hard link, a symlink or by mere words, are one segment. */
TEST_F(rvm, two_names)
{
	char hard[200], soft[200];
	char *memory;
	int fds[3], i;

	snprintf(hard, sizeof(hard), "%s/hard", self->w.f.dir);
	snprintf(soft, sizeof(soft), "%s/soft", self->w.f.dir);
	WORKS(link(self->w.f.segment, hard));
	WORKS(symlink(self->w.f.segment, soft));
	WORKS(fds[0] = segment(self->w.log, hard));
	WORKS(fds[1] = segment(self->w.log, soft));
	fds[2] = open(hard, O_RDWR);
	WORKS(i = segment_fd(self->w.log, fds[2], "/any", 4));
	close(fds[2]);
	fds[2] = i;
	for (i = 0; i < 3; i++) {
		memory = map(fds[i], LENGTH);
		ASSERT_NE(MAP_FAILED, memory);
		self->w.memory[i] = i + 1;
		ASSERT_EQ(i + 1, memory[i]);
		munmap(memory, LENGTH);
		close(fds[i]);
	}
}

/* A full dictionary: entries that nothing needs make room, others do not. */
TEST_F(rvm, full_dictionary)
{
	char path[200], name[4000];
	int fds[40], n, i, file, round, first = 0;

	memset(name, 'n', sizeof(name));
	for (round = 0; round < 2; round++) {
		for (n = 0; n < 40; n++) {
			snprintf(path, sizeof(path), "%s/file%d", self->w.f.dir, n);
			WORKS(make_file(path, 4096, 0));
			WORKS(file = open(path, O_RDWR | O_CLOEXEC));
			snprintf(name, 20, "/%d.%d/", round, n);
			name[strlen(name)] = 'x';
			fds[n] = segment_fd(self->w.log, file, name, sizeof(name));
			close(file);
			if (fds[n] < 0)
				break;
		}
		ASSERT_EQ(ENOSPC, errno);
		ASSERT_LT(10, n);
		ASSERT_TRUE(!round || n == first);
		first = n;
		for (i = 0; i < n; i++)
			close(fds[i]);
	}
	set(self->w.area, self->w.memory, 1, 10);
	WORKS(commit(self->w.log, self->w.area, RVM_COMMIT_FLUSH));
	WORKS(truncate_log(self->w.log));
}

TEST_F(rvm, dictionary)
{
	struct rvm_ioc_segment_name *name;
	char buffer[1000];
	struct rvm_ioc_dictionary a = { .size = sizeof(a) };
	uint32_t needed;

	FAILS(ENOSPC, ioctl(self->w.log, RVM_IOC_DICTIONARY, &a));
	ASSERT_EQ(1, a.segments);
	needed = a.length;
	ASSERT_EQ(sizeof(*name) + ((strlen(self->w.f.segment) + 7) & ~7ul), needed);

	memset(buffer, 0x55, sizeof(buffer));
	a.buffer = (uintptr_t)buffer;
	a.length = needed - 1;
	FAILS(ENOSPC, ioctl(self->w.log, RVM_IOC_DICTIONARY, &a));
	ASSERT_TRUE(all_are(buffer, 0x55, sizeof(buffer)));

	a.length = needed;
	WORKS(ioctl(self->w.log, RVM_IOC_DICTIONARY, &a));
	name = (void *)buffer;
	ASSERT_EQ(1, name->id);
	ASSERT_EQ(0, name->records);
	ASSERT_EQ(strlen(self->w.f.segment), name->name_length);
	ASSERT_EQ(0, memcmp(name + 1, self->w.f.segment, name->name_length));
	ASSERT_TRUE(all_are(buffer + needed, 0x55, sizeof(buffer) - needed));

	a.length = UINT32_MAX;
	WORKS(ioctl(self->w.log, RVM_IOC_DICTIONARY, &a));
	ASSERT_EQ(needed, a.length);

	a.buffer = (uintptr_t)WILD;
	FAILS(EFAULT, ioctl(self->w.log, RVM_IOC_DICTIONARY, &a));
	a.length = needed;
	a.buffer = 0;
	FAILS(EFAULT, ioctl(self->w.log, RVM_IOC_DICTIONARY, &a));
}

TEST_F(rvm, map_segment)
{
	const unsigned long offsets[] = {
		LENGTH, LENGTH - PAGE, 1ul << 40, 1ul << 62, ~0ul << 12, 1ul << 63,
	};
	int fd = self->w.segment, read_only;
	unsigned int i;
	char *at;

#define UNMAPPABLE(expected, length, protection, flags, fd, offset) do {	\
	errno = 0;								\
	ASSERT_EQ(MAP_FAILED, mmap(NULL, length, protection, flags, fd, offset)); \
	ASSERT_EQ(expected, errno);						\
} while (0)
	UNMAPPABLE(EINVAL, PAGE, PROT_READ, MAP_PRIVATE, fd, 0);
	UNMAPPABLE(EINVAL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
	UNMAPPABLE(EINVAL, LENGTH + 1, PROT_READ, MAP_SHARED, fd, 0);
	UNMAPPABLE(EINVAL, 0, PROT_READ, MAP_SHARED, fd, 0);
	UNMAPPABLE(EINVAL, PAGE, PROT_READ, MAP_SHARED, fd, 1);
	for (i = 0; i < ARRAY_LENGTH(offsets); i++) {
		errno = 0;
		ASSERT_EQ(MAP_FAILED, mmap(NULL, 2 * PAGE, PROT_READ, MAP_SHARED, fd, offsets[i]));
		ASSERT_TRUE(errno == EINVAL || errno == EOVERFLOW) TH_LOG("%u: %d", i, errno);
	}

	/* what the descriptor may not, the mapping may not */
	WORKS(read_only = segment_mode(self->w.log, self->w.f.segment, O_RDONLY));
	UNMAPPABLE(EACCES, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, read_only, 0);
	at = mmap(NULL, PAGE, PROT_READ, MAP_SHARED, read_only, 0);
	ASSERT_NE(MAP_FAILED, at);
	FAILS(EACCES, mprotect(at, PAGE, PROT_READ | PROT_WRITE));
	declare_no_restore(self->w.area, at, 1);
	FAILS(EFAULT, commit(self->w.log, self->w.area, 0));
	WORKS(do_abort(self->w.log, self->w.area));
	munmap(at, PAGE);
	close(read_only);
}

/* A segment opened for reading only is not written through a later descriptor. */
TEST_F(rvm, read_only_segment)
{
	char path[200], *at;
	int fd;

	snprintf(path, sizeof(path), "%s/read-only", self->w.f.dir);
	WORKS(make_file(path, PAGE, 9));
	WORKS(fd = segment_mode(self->w.log, path, O_RDONLY));
	at = mmap(NULL, PAGE, PROT_READ, MAP_SHARED, fd, 0);
	ASSERT_NE(MAP_FAILED, at);
	ASSERT_TRUE(all_are(at, 9, PAGE));
	FAILS(EBUSY, segment(self->w.log, path));
	munmap(at, PAGE);
	close(fd);
	WORKS(fd = segment(self->w.log, path));
	close(fd);
}

TEST_F(rvm, map_area)
{
	const unsigned long lengths[] = { PAGE, 3 * PAGE, RVM_AREA_MAX };
	struct rvm_area_header *area;
	int fd = self->w.log;
	unsigned int i;

	UNMAPPABLE(EINVAL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
	UNMAPPABLE(EINVAL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, PAGE);
	UNMAPPABLE(EINVAL, 0, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	UNMAPPABLE(EINVAL, RVM_AREA_MAX + 1, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	UNMAPPABLE(EINVAL, 1ul << 40, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	UNMAPPABLE(ENODEV, PAGE, PROT_READ, MAP_SHARED, self->device, 0);
	for (i = 0; i < ARRAY_LENGTH(lengths); i++) {
		area = map(fd, lengths[i]);
		ASSERT_NE(MAP_FAILED, area);
		ASSERT_NE(0, area->area);
		ASSERT_NE(self->w.area->area, area->area);
		ASSERT_EQ(lengths[i] - sizeof(*area), area->room);
		ASSERT_EQ(0, area->used);
		ASSERT_TRUE(all_are(area->entries, 0, area->room));
		WORKS(commit(fd, area, RVM_COMMIT_FLUSH));
		WORKS(do_abort(fd, area));
		munmap(area, lengths[i]);
	}
	area = mmap(NULL, PAGE, PROT_READ, MAP_SHARED, fd, 0);
	ASSERT_NE(MAP_FAILED, area);
	munmap(area, PAGE);
}

TEST_F(rvm, before_recover)
{
	struct rvm_area_header *area;
	char path[200];
	int log, fd;

	snprintf(path, sizeof(path), "%s/log2", self->w.f.dir);
	ASSERT_EQ(0, (int)rvm_log_file_create(path, 4096, 0600));
	WORKS(log = attach(path));
	snprintf(path, sizeof(path), "%s/segment2", self->w.f.dir);
	WORKS(make_file(path, PAGE, 0));
	WORKS(fd = segment(log, path));
	UNMAPPABLE(EAGAIN, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	area = map(log, PAGE);
	ASSERT_NE(MAP_FAILED, area);
	FAILS(EAGAIN, commit(log, area, 0));
	FAILS(EAGAIN, commit_id(log, 12345, 0));
	FAILS(EAGAIN, truncate_log(log));
	WORKS(flush_log(log));
	WORKS(do_abort(log, area));
	WORKS(recover(log, NULL, NULL));
	WORKS(commit(log, area, 0));
	munmap(area, PAGE);
	close(fd);
	close(log);
}

/* The descriptors are for ioctl and mmap, and nothing else. */
TEST_F(rvm, other_system_calls)
{
	int fds[] = { self->device, self->w.log, self->w.segment };
	char byte = 0, path[64];
	unsigned int i;
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);

#define REFUSES(call) do {						\
	errno = 0;							\
	EXPECT_EQ(-1, (long)(call)) TH_LOG("%s on %u", #call, i);	\
} while (0)
	for (i = 0; i < ARRAY_LENGTH(fds); i++) {
		int fd = fds[i];

		REFUSES(read(fd, &byte, 1));
		REFUSES(write(fd, &byte, 1));
		REFUSES(pread(fd, &byte, 1, 0));
		REFUSES(pwrite(fd, &byte, 1, 0));
		REFUSES(ftruncate(fd, 0));
		REFUSES(ftruncate(fd, 1 << 20));
		REFUSES(fallocate(fd, 0, 0, 4096));
		REFUSES(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 4096));
		REFUSES(fsync(fd));
		REFUSES(copy_file_range(fd, NULL, null, NULL, 4096, 0));
		REFUSES(syscall(SYS_sendfile, null, fd, NULL, 4096));
	}
	/* the others have inodes that anyone may have */
	i = 2;
	REFUSES(fchmod(self->w.segment, 0777));
	REFUSES(fchown(self->w.segment, 1, 1));
	REFUSES(futimens(self->w.segment, NULL));
	snprintf(path, sizeof(path), "/proc/self/fd/%d", self->w.segment);
	REFUSES(open(path, O_RDWR | O_CLOEXEC));
	REFUSES(open(path, O_RDONLY | O_CLOEXEC));
	REFUSES(truncate(path, 0));
	REFUSES(execl(path, "x", NULL));
	snprintf(path, sizeof(path), "/proc/self/fd/%d", self->w.log);
	REFUSES(open(path, O_RDWR | O_CLOEXEC));
	/* harmless, whatever they say */
	lseek(self->w.segment, 4096, SEEK_END);
	lseek(self->w.segment, 0, SEEK_DATA);
	flock(self->w.segment, LOCK_EX);
	fcntl(self->w.segment, F_SETFL, O_APPEND | O_NONBLOCK | O_DIRECT | O_NOATIME);
	fcntl(self->w.log, F_SETFL, O_APPEND | O_NONBLOCK | O_DIRECT);
	close(null);

	ASSERT_TRUE(all_are(self->w.memory, 0, LENGTH));
	set(self->w.area, self->w.memory, 3, LENGTH / 2);
	WORKS(commit(self->w.log, self->w.area, RVM_COMMIT_FLUSH));
	WORKS(truncate_log(self->w.log));
	ASSERT_TRUE(file_is(self->w.f.segment, 0, 3, LENGTH / 2));
	ASSERT_TRUE(file_is(self->w.f.segment, LENGTH / 2, 0, LENGTH / 2));
}

/* Nothing done to the caller's descriptor after the attach matters. */
TEST_F(rvm, the_callers_descriptor)
{
	char path[200], segment_path[200], *memory;
	struct rvm_area_header *area;
	int file, log, fd;

	snprintf(path, sizeof(path), "%s/log2", self->w.f.dir);
	snprintf(segment_path, sizeof(segment_path), "%s/segment2", self->w.f.dir);
	ASSERT_EQ(0, (int)rvm_log_file_create(path, 8192, 0600));
	WORKS(make_file(segment_path, 5000, 0));

	WORKS(file = open(path, O_RDWR | O_CLOEXEC));
	WORKS(log = attach_fd(file));
	WORKS(fcntl(file, F_SETFL, O_APPEND));
	FAILS(EWOULDBLOCK, flock(file, LOCK_EX | LOCK_NB));
	flock(file, LOCK_UN);
	FAILS(EWOULDBLOCK, flock(file, LOCK_EX | LOCK_NB));
	close(file);
	WORKS(recover(log, NULL, NULL));

	WORKS(file = open(segment_path, O_RDWR | O_CLOEXEC));
	WORKS(fd = segment_fd(log, file, segment_path, strlen(segment_path)));
	WORKS(fcntl(file, F_SETFL, O_APPEND));
	flock(file, LOCK_UN);
	memory = map(fd, 5000);
	area = map(log, PAGE);
	ASSERT_NE(MAP_FAILED, memory);
	ASSERT_NE(MAP_FAILED, area);
	set(area, memory, 5, 1000);
	WORKS(commit(log, area, RVM_COMMIT_FLUSH));
	WORKS(truncate_log(log));
	close(file);
	ASSERT_TRUE(file_is(segment_path, 0, 5, 1000));
	ASSERT_TRUE(file_is(segment_path, 1000, 0, 4000));
	munmap(memory, 5000);
	munmap(area, PAGE);
	close(fd);
	close(log);
}

/* The bytes of the last page behind the segment's end are nobody's. */
TEST_F(rvm, behind_the_end)
{
	char path[200], *memory;
	struct rvm_area_header *area = self->w.area;
	struct stat st;
	int fd;

	snprintf(path, sizeof(path), "%s/odd", self->w.f.dir);
	WORKS(make_file(path, 5000, 1));
	WORKS(fd = segment(self->w.log, path));
	memory = map(fd, 8192);
	ASSERT_NE(MAP_FAILED, memory);
	ASSERT_TRUE(all_are(memory, 1, 5000));
	ASSERT_TRUE(all_are(memory + 5000, 0, 8192 - 5000));

	set(area, memory + 4990, 2, 11);
	FAILS(EFAULT, commit(self->w.log, area, 0));
	WORKS(do_abort(self->w.log, area));
	ASSERT_TRUE(all_are(memory, 1, 5000));
	set(area, memory + 5000, 2, 1);
	FAILS(EFAULT, commit(self->w.log, area, 0));
	WORKS(do_abort(self->w.log, area));

	set(area, memory + 4990, 2, 10);
	WORKS(commit(self->w.log, area, RVM_COMMIT_FLUSH));
	memory[5500] = 3;
	WORKS(truncate_log(self->w.log));
	WORKS(stat(path, &st));
	ASSERT_EQ(5000, st.st_size);
	ASSERT_TRUE(file_is(path, 4990, 2, 10));
	munmap(memory, 8192);
	close(fd);
}

static int remove_module(void)
{
	return syscall(SYS_delete_module, "rvm", O_NONBLOCK);
}

/* The module stays while anything of it is in use. */
TEST_F(rvm, rmmod)
{
	struct world *w = &self->w;

	FAILS(EWOULDBLOCK, remove_module());
	close(self->device);
	FAILS(EWOULDBLOCK, remove_module());
	munmap(w->area, AREA);
	munmap(w->memory, LENGTH);
	close(w->segment);
	FAILS(EWOULDBLOCK, remove_module());	/* the log */

	w->segment = segment(w->log, w->f.segment);
	close(w->log);
	FAILS(EWOULDBLOCK, remove_module());	/* a segment */
	w->memory = map(w->segment, LENGTH);
	ASSERT_NE(MAP_FAILED, w->memory);
	close(w->segment);
	FAILS(EWOULDBLOCK, remove_module());	/* a region */
	munmap(w->memory, LENGTH);

	w->log = attach(w->f.log);
	w->area = map(w->log, AREA);
	ASSERT_NE(MAP_FAILED, w->area);
	close(w->log);
	FAILS(EWOULDBLOCK, remove_module());	/* an area */
	munmap(w->area, AREA);

	self->device = open("/dev/rvm", O_RDWR | O_CLOEXEC);
	FAILS(EWOULDBLOCK, remove_module());	/* the device */
	WORKS(open_world(w));
}

TEST_HARNESS_MAIN
