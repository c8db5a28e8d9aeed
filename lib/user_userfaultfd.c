// SPDX-License-Identifier: GPL-2.0 OR MIT
/*
 * Stores noticed by userfaultfd(2), in two ways that the kernel has of it.
 *
 * With UFFD_FEATURE_SIGBUS a store to a protected page gets that signal, in the
 * thread that stores: no other has to be told, and switched to and back.  With
 * UFFD_FEATURE_WP_ASYNC the kernel lets it through, and PAGEMAP_SCAN finds the page
 * later.  Neither is asked to serve stores that the kernel makes, so that no
 * privilege is needed.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "lib/user_track.h"
#include "lib/userfaultfd.h"

/* One for all regions; under the tracking's lock. */
struct watch {
	u64 users;
	int fd;
	int pagemap;		/* async: /proc/self/pagemap */
};

static struct watch sync_watch, async_watch;

static struct watch *watch_of(const struct user_track *track)
{
	return track->mechanism->find ? &async_watch : &sync_watch;
}

/* --- the file ------------------------------------------------------------ */

static int open_userfaultfd(u64 feature)
{
	struct uffdio_api api = {
		.api = UFFD_API,
		.features = UFFD_FEATURE_PAGEFAULT_FLAG_WP | feature,
	};
	int fd = syscall(SYS_userfaultfd, O_CLOEXEC | UFFD_USER_MODE_ONLY);

	if (fd < 0) {
		int error = errno;

		user_complain("userfaultfd can't be used here: %s", strerror(error));
		return -error;
	}
	if (!ioctl(fd, UFFDIO_API, &api))
		return fd;
	user_complain("this kernel's userfaultfd can't %s", feature == UFFD_FEATURE_WP_ASYNC ?
		      "write-protect asynchronously, which came with Linux 6.7" :
		      "write-protect and send signals");
	close(fd);
	return -EOPNOTSUPP;
}

static int open_watch(struct watch *watch, bool async)
{
	int error;

	if (watch->users)
		goto out;
	watch->fd = open_userfaultfd(async ? UFFD_FEATURE_WP_ASYNC : UFFD_FEATURE_SIGBUS);
	if (watch->fd < 0)
		return watch->fd;
	if (async) {
		watch->pagemap = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
		if (watch->pagemap < 0) {
			error = errno;
			user_complain("userfaultfd needs /proc/self/pagemap: %s", strerror(error));
			close(watch->fd);
			return -error;
		}
	}
out:
	watch->users++;
	return 0;
}

static void close_watch(struct watch *watch, bool async)
{
	if (--watch->users)
		return;
	close(watch->fd);
	if (async)
		close(watch->pagemap);
}

/* --- the region ---------------------------------------------------------- */

static struct uffdio_range range_of(const struct user_track *track, u64 number, u64 pages)
{
	return (struct uffdio_range){
		(uintptr_t)track->start + number * USER_PAGE, pages * USER_PAGE,
	};
}

static bool protect(const struct user_track *track, u64 number, u64 pages, bool on)
{
	struct uffdio_writeprotect request = {
		.range = range_of(track, number, pages),
		.mode = on ? UFFDIO_WRITEPROTECT_MODE_WP : 0,
	};

	return !ioctl(watch_of(track)->fd, UFFDIO_WRITEPROTECT, &request);
}

/* 0 or -errno */
static int begin_to_watch(const struct user_track *track)
{
	struct uffdio_register request = {
		.range = range_of(track, 0, track->pages),
		.mode = UFFDIO_REGISTER_MODE_WP,
	};

	if (ioctl(watch_of(track)->fd, UFFDIO_REGISTER, &request))
		return -errno;
	return protect(track, 0, track->pages, true) ? 0 : -errno;
}

/* It is of the address space, and goes with the last descriptor: a forked child may have one. */
static void end_to_watch(const struct user_track *track)
{
	struct uffdio_range range = range_of(track, 0, track->pages);

	ioctl(watch_of(track)->fd, UFFDIO_UNREGISTER, &range);
}

/*
 * A page that is not there can't be protected: have all of them there.  Without huge
 * ones, which would be split for the first store.
 */
static int populate(const struct user_track *track)
{
	madvise(track->start, track->pages * USER_PAGE, MADV_NOHUGEPAGE);
	return madvise(track->start, track->pages * USER_PAGE, MADV_POPULATE_READ) ? -errno : 0;
}

static int open_sync(struct user_track *track)
{
	int error;

	/* on tmpfs it could */
	if (track->shows_file) {
		user_complain("userfaultfd can't watch memory that shows a file (RVM_MAP_PRIVATE), userfaultfd-async can");
		return -EINVAL;
	}
	error = open_watch(&sync_watch, false);
	if (error)
		return error;
	error = user_fault_open(SIGBUS);
	if (error)
		goto no_signal;
	error = populate(track);
	if (!error)
		error = begin_to_watch(track);
	if (!error)
		return 0;
	end_to_watch(track);
	user_fault_close(SIGBUS);
no_signal:
	close_watch(&sync_watch, false);
	return error;
}

static void close_sync(struct user_track *track, bool gone)
{
	if (!gone)
		end_to_watch(track);
	user_fault_close(SIGBUS);
	close_watch(&sync_watch, false);
}

static int open_async(struct user_track *track)
{
	int error = open_watch(&async_watch, true);

	if (error)
		return error;
	error = begin_to_watch(track);
	if (error) {
		end_to_watch(track);
		close_watch(&async_watch, true);
	}
	return error;
}

static void close_async(struct user_track *track, bool gone)
{
	if (!gone)
		end_to_watch(track);
	close_watch(&async_watch, true);
}

/* If the kernel can't tell, any page may have been stored to: that is right, too. */
static void find(struct user_track *track)
{
	struct page_region found[64];
	struct pm_scan_arg scan = {
		.size = sizeof(scan),
		.flags = PM_SCAN_CHECK_WPASYNC,
		.start = (uintptr_t)track->start,
		.end = (uintptr_t)track->start + track->pages * USER_PAGE,
		.vec = (uintptr_t)found,
		.vec_len = sizeof(found) / sizeof(found[0]),
		.category_mask = PAGE_IS_WRITTEN,
		.return_mask = PAGE_IS_WRITTEN,
	};

	while (scan.start < scan.end) {
		int n = ioctl(async_watch.pagemap, PAGEMAP_SCAN, &scan);

		if (n < 0 || scan.walk_end <= scan.start) {
			user_track_stored(track, 0, track->pages);
			return;
		}
		for (int i = 0; i < n; i++)
			user_track_stored(track,
					  (found[i].start - (uintptr_t)track->start) / USER_PAGE,
					  (found[i].end - found[i].start) / USER_PAGE);
		scan.start = scan.walk_end;
	}
}

const struct user_mechanism user_userfaultfd = {
	.signal = SIGBUS,
	.code = BUS_ADRERR,
	.open = open_sync,
	.close = close_sync,
	.protect = protect,
};

const struct user_mechanism user_userfaultfd_async = {
	.open = open_async,
	.close = close_async,
	.protect = protect,
	.find = find,
};
