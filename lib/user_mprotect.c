// SPDX-License-Identifier: GPL-2.0 OR MIT
/* Stores noticed by mprotect(2): each gets SIGSEGV. */
#include <errno.h>
#include <signal.h>
#include <sys/mman.h>

#include "lib/user_track.h"

static bool protect(const struct user_track *track, u64 number, u64 pages, bool on)
{
	return !mprotect(track->start + number * USER_PAGE, pages * USER_PAGE,
			 on ? PROT_READ : PROT_READ | PROT_WRITE);
}

static int open_track(struct user_track *track)
{
	int error = user_fault_open(SIGSEGV);

	if (error)
		return error;
	if (protect(track, 0, track->pages, true))
		return 0;
	error = -errno;
	user_fault_close(SIGSEGV);
	return error;
}

static void close_track(struct user_track *track, bool gone)
{
	if (!gone)
		protect(track, 0, track->pages, false);
	user_fault_close(SIGSEGV);
}

const struct user_mechanism user_mprotect = {
	.signal = SIGSEGV,
	.code = SEGV_ACCERR,
	.inherited = true,
	.open = open_track,
	.close = close_track,
	.protect = protect,
};
