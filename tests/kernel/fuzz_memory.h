/* SPDX-License-Identifier: GPL-2.0 OR MIT */
/*
 * What a hostile process of the fuzzer does by the other system calls: to its
 * mappings, through them, with descriptors, with the files, and to the machine.
 */
#ifndef RVM_TESTS_FUZZ_MEMORY_H
#define RVM_TESTS_FUZZ_MEMORY_H

#include "fuzz.h"

/* --- mapping ------------------------------------------------------------ */

static bool map_into_slot(int fd, enum fd_kind kind, unsigned long length, int protection, int flags,
			  unsigned long offset)
{
	unsigned int slot = pick(SLOTS);
	char *address = SLOTS_BASE + slot * SLOT_LENGTH + (one_in(8) ? pick(16) * PAGE : 0);
	struct mapping *m = &mappings[slot];

	if (length > SLOT_LENGTH / 2 && !one_in(16))
		length = SLOT_LENGTH / 2;
	/* over what is there, which is allowed only for the whole of it; or first that goes */
	if (m->length && !one_in(8))
		munmap(m->address, m->length);
	if (mmap(address, length, protection, flags | (length <= SLOT_LENGTH ? MAP_FIXED : 0), fd,
		 offset) != address)
		return false;
	*m = (struct mapping){ address, length, kind, kind == LOG ? fd : -1 };
	return true;
}

static int some_flags(void)
{
	static const int more[] = { MAP_POPULATE, MAP_LOCKED, MAP_NORESERVE, MAP_GROWSDOWN, MAP_SYNC };

	if (one_in(24))
		return MAP_PRIVATE;
	return MAP_SHARED | (one_in(8) ? more[pick(ARRAY_LENGTH(more))] : 0);
}

static int some_protection(void)
{
	return one_in(10) ? (int)pick(8) : PROT_READ | PROT_WRITE;
}

static bool do_map_area(void)
{
	unsigned long length = one_in(12) ? odd_value() : PAGE << pick(9);

	return map_into_slot(fd_of(LOG, NULL), LOG, length, some_protection(), some_flags(),
			     one_in(24) ? PAGE : 0);
}

static bool do_map_segment(void)
{
	unsigned long length = one_in(12) ? odd_value() : (1 + pick(16)) * PAGE;
	unsigned long offset = one_in(24) ? odd_value() : one_in(2) ? 0 : pick(8) * PAGE;

	return map_into_slot(fd_of(SEGMENT, NULL), SEGMENT, length, some_protection(), some_flags(),
			     offset);
}

static struct mapping *area_or_region(void)
{
	return any_mapping(one_in(3) ? LOG : SEGMENT);
}

static bool do_unmap(void)
{
	struct mapping *m = area_or_region();
	unsigned long length = m->length;
	char *at = m->address;
	bool done;

	if (one_in(3))
		at = some_pages(m, &length);
	done = !munmap(at, length);
	if (done && at == m->address)
		m->length = 0;
	return done;
}

static bool do_remap(void)
{
	struct mapping *m = area_or_region();
	char *to = SLOTS_BASE + pick(SLOTS) * SLOT_LENGTH;
	unsigned long length;
	char *at = some_pages(m, &length);

	switch (pick(4)) {
	case 0:
		return mremap(at, m->length, length, MREMAP_MAYMOVE) != MAP_FAILED;
	case 1:
		return mremap(at, length, length, MREMAP_MAYMOVE | MREMAP_FIXED, to) != MAP_FAILED;
	case 2:
		return mremap(at, length, length, MREMAP_MAYMOVE | MREMAP_DONTUNMAP) != MAP_FAILED;
	default:
		return !remap_file_pages(at, length, 0, pick(4), one_in(2) ? 0 : MAP_NONBLOCK);
	}
}

static bool do_protect(void)
{
	unsigned long length;
	char *at = some_pages(area_or_region(), &length);

	return !mprotect(at, length, one_in(2) ? PROT_READ | PROT_WRITE : (int)pick(8));
}

static bool do_advise(void)
{
	unsigned long length;
	char *at = some_pages(area_or_region(), &length);

	/* 0..25 is all there is, but for those that take memory away from the machine */
	return !madvise(at, length, one_in(4) ? MADV_DONTNEED : one_in(4) ? MADV_DOFORK : (int)pick(26));
}

static bool do_lock_and_sync(void)
{
	unsigned long length;
	char *at = some_pages(area_or_region(), &length);
	static unsigned char vector[64 * KIB];

	switch (pick(5)) {
	case 0:
		return !mlock(at, length);
	case 1:
		return !mlock2(at, length, MLOCK_ONFAULT);
	case 2:
		return !munlock(at, length);
	case 3:
		return !mincore(at, length < MIB ? length : MIB, vector);
	default:
		return !msync(at, length, pick(8));
	}
}

static bool do_store(void)
{
	unsigned long length = one_in(16) ? pick(64 * KIB) : 1 + pick(200);

	return touch(somewhere(any_mapping(SEGMENT), length), length, pick(256));
}

static bool do_load(void)
{
	unsigned long length = 1 + pick(32 * KIB);

	return look(somewhere(area_or_region(), length), length);
}

/* --- input and output, from and to regions ------------------------------ */

static bool do_read_into(void)
{
	unsigned long length = one_in(2) ? PAGE : 1 + pick(3 * PAGE);
	char *at = somewhere(area_or_region(), length);

	if (one_in(2))	/* for direct input */
		at = (char *)((uintptr_t)at & -512ul);
	return pread(fd_of(PLAIN, NULL), at, length, pick(16) * 512) > 0;
}

static bool do_write_from(void)
{
	unsigned long length = one_in(2) ? PAGE : 1 + pick(3 * PAGE);
	int fd = fd_of(PLAIN, NULL);
	char *at = somewhere(area_or_region(), length);

	if (one_in(2))
		at = (char *)((uintptr_t)at & -512ul);
	if (sparing)
		return false;
	return pwrite(fd, at, length, pick(64) * 512) > 0;
}

static bool do_splice(void)
{
	struct iovec v = { somewhere(area_or_region(), PAGE), PAGE };
	char back[PAGE];
	bool done = false;
	int fds[2];

	if (pipe2(fds, O_NONBLOCK | O_CLOEXEC))
		return false;
	done = vmsplice(fds[1], &v, 1, SPLICE_F_NONBLOCK | (one_in(4) ? SPLICE_F_GIFT : 0)) > 0;
	if (one_in(4))
		done |= splice(fd_of(SEGMENT, NULL), NULL, fds[1], NULL, PAGE, SPLICE_F_NONBLOCK) > 0;
	if (one_in(2))
		read(fds[0], somewhere(area_or_region(), PAGE), PAGE);
	else
		read(fds[0], back, sizeof(back));
	close(fds[0]);
	close(fds[1]);
	return done;
}

static bool do_other_memory(void)
{
	pid_t pid = board->wild[pick(ARRAY_LENGTH(board->wild))];
	struct iovec mine = { somewhere(area_or_region(), PAGE), 1 + pick(2 * PAGE) };
	/* all use the same addresses */
	struct iovec theirs = { somewhere(area_or_region(), PAGE), mine.iov_len };

	if (!pid)
		return false;
	return (one_in(2) ? process_vm_readv(pid, &mine, 1, &theirs, 1, 0) :
			    process_vm_writev(pid, &mine, 1, &theirs, 1, 0)) > 0;
}

/* --- descriptors -------------------------------------------------------- */

static bool do_dup(void)
{
	struct descriptor *d = any_descriptor(1 + pick(KINDS - 1));

	return d->kind != NOTHING && keep(dup(d->fd), d->kind, d->place);
}

static bool do_close(void)
{
	struct descriptor *d = any_descriptor(1 + pick(KINDS - 1));

	if (d->kind == NOTHING)
		return false;
	d->kind = NOTHING;
	return !close(d->fd);
}

union control {
	struct cmsghdr header;
	char room[CMSG_SPACE(sizeof(int))];
};

static bool do_send(void)
{
	struct descriptor *d = any_descriptor(1 + pick(KINDS - 1));
	union control control = { .header = {
		.cmsg_len = CMSG_LEN(sizeof(int)), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS,
	} };
	struct iovec data = { d, sizeof(*d) };
	struct msghdr message = {
		.msg_iov = &data, .msg_iovlen = 1,
		.msg_control = &control, .msg_controllen = sizeof(control),
	};

	if (sparing || d->kind == NOTHING)
		return false;
	memcpy(CMSG_DATA(&control.header), &d->fd, sizeof(d->fd));
	return sendmsg(board->sockets[0], &message, MSG_DONTWAIT) > 0;
}

static bool do_receive(void)
{
	union control control;
	struct descriptor d = { .fd = -1 };
	struct iovec data = { &d, sizeof(d) };
	struct msghdr message = {
		.msg_iov = &data, .msg_iovlen = 1,
		.msg_control = &control, .msg_controllen = sizeof(control),
	};
	int fd;

	if (recvmsg(board->sockets[1], &message, MSG_DONTWAIT) < (ssize_t)sizeof(d) ||
	    message.msg_controllen < sizeof(struct cmsghdr))
		return false;
	memcpy(&fd, CMSG_DATA(&control.header), sizeof(fd));
	return keep(fd, d.kind, d.place);
}

/* --- files -------------------------------------------------------------- */

static struct place *damageable_place(void)
{
	return sparing ? NULL : &board->place[some_place()];
}

static bool do_damage(void)
{
	struct place *p = damageable_place();
	const char *path = p ? some_file(p - board->place) : NULL;
	char garbage[2000];
	int fd = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
	bool done = false;

	if (fd < 0)
		return false;
	switch (pick(6)) {
	case 0:
		done = !ftruncate(fd, pick(2) ? pick(200 * KIB) : 100 * KIB);
		break;
	case 1:
		done = !fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, pick(64) * PAGE,
				  (1 + pick(4)) * PAGE);
		break;
	case 2:
		memset(garbage, pick(256), sizeof(garbage));
		done = pwrite(fd, garbage, sizeof(garbage), pick(200 * KIB)) > 0;
		break;
	case 3:
		done = !flock(fd, LOCK_EX | LOCK_NB);
		keep(dup(fd), PLAIN, p - board->place);
		break;
	case 4:
		done = !fsync(fd);
		break;
	default:
		if (p->block)
			done = !ioctl(fd, BLKFLSBUF);
		else
			done = !unlink(path);
		break;
	}
	close(fd);
	return done;
}

static int renew_segment(const struct place *p, unsigned int i)
{
	/* one of whole pages, one that ends in the middle of its last */
	return p->block ? 0 : make_file(p->segment[i], i ? 50001 : 64 * KIB, 0);
}

static int renew_log(const struct place *p)
{
	int fd, ret;

	if (!p->block) {
		unlink(p->log);
		return rvm_log_file_create(p->log, p->log_length, 0666) ? -1 : 0;
	}
	/* the kernel's claim on a device in use keeps this out */
	fd = open(p->log, O_RDWR | O_EXCL | O_CLOEXEC);
	if (fd < 0)
		return -1;
	ret = rvm_log_file_format(fd, p->log_length);
	close(fd);
	return ret ? -1 : 0;
}

/* After damage there's a log again, sooner or later. */
static bool do_renew(void)
{
	struct place *p = damageable_place();

	if (!p)
		return false;
	if (one_in(2))
		return !renew_log(p);
	return !renew_segment(p, pick(SEGMENTS));
}

/* --- the machine -------------------------------------------------------- */

static bool do_reclaim(void)
{
	/* 4: no message */
	static const char * const words[] = { "5", "6", "7" };

	if (one_in(2))
		return write_word("/proc/sys/vm/drop_caches", words[pick(3)]);
	return write_word("/proc/sys/vm/compact_memory", "1");
}

static bool do_pressure(void)
{
	unsigned long length = (1 + pick(48)) * MIB;
	char *memory = mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	unsigned long at;

	if (memory == MAP_FAILED)
		return false;
	for (at = 0; at < length; at += PAGE)
		touch(memory + at, 1, 1);
	return !munmap(memory, length);
}

static bool do_limit(void)
{
	static const int limits[] = { RLIMIT_FSIZE, RLIMIT_MEMLOCK, RLIMIT_AS, RLIMIT_NOFILE };
	int limit = limits[pick(ARRAY_LENGTH(limits))];
	struct rlimit r;

	if (getrlimit(limit, &r))
		return false;
	if (one_in(2))
		r.rlim_cur = r.rlim_max;
	else if (limit == RLIMIT_NOFILE)
		r.rlim_cur = 8 + pick(24);
	else if (limit == RLIMIT_AS)
		r.rlim_cur = (4 + pick(100)) * MIB;
	else
		r.rlim_cur = pick(2) ? 0 : pick(MIB);
	return !setrlimit(limit, &r);
}

#endif
