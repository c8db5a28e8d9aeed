/* SPDX-License-Identifier: GPL-2.0 OR MIT */
/*
 * What the user engine knows of a tracked or checked region, and the mechanisms
 * that protect its pages and notice stores to them.
 */
#ifndef RVM_LIB_USER_TRACK_H
#define RVM_LIB_USER_TRACK_H

#include "lib/user.h"

struct user_page {
	bool hot;		/* writable, and it has an image */
	bool changed;		/* by the transaction that is being committed */
	bool told;		/* a check has told of it: what it was then is in track->told */
	u8 quiet;		/* so many commits have left it alone */
};

struct user_track {
	struct user_track *next;
	const struct user_log *log;
	struct user_region *region;
	const struct user_mechanism *mechanism;
	char *start;
	u64 pages;
	bool tracked;		/* else checked */
	bool shows_file;	/* its memory is a private mapping */
	struct user_page *page;
	u32 *hot;		/* their numbers */
	u64 hot_count;
	char *images;		/* committed: of hot pages, or of all if the mechanism has find() */
	char *told;
};

/* All of them are called with the tracking's lock. */
struct user_mechanism {
	/*
	 * What a store to a protected page gets.  Without a signal it succeeds, and is
	 * known by find() later.
	 */
	int signal, code;
	/* A forked child's copy of the region is protected, too. */
	bool inherited;
	/* All pages are protected: 0 or -errno. */
	int (*open)(struct user_track *track);
	/* They are ordinary memory again, or `gone`: what lies there is not ours. */
	void (*close)(struct user_track *track, bool gone);
	bool (*protect)(const struct user_track *track, u64 number, u64 pages, bool on);
	/* Call user_track_stored() for all pages that are not protected any more. */
	void (*find)(struct user_track *track);
};

extern const struct user_mechanism user_mprotect, user_userfaultfd, user_userfaultfd_async;

/* These pages become hot, if they are not. */
void user_track_stored(struct user_track *track, u64 number, u64 pages);

/* What a signal for a store is, to the region that it hit. */
enum user_fault {
	USER_FAULT_FOREIGN,	/* none of ours */
	USER_FAULT_ADMITTED,	/* try again */
	USER_FAULT_DENIED,	/* the program stored at the wrong time */
};

enum user_fault user_track_fault(int signal, int code, char *address);

/* user_fault.c: handle the signal, from the first open to the last close. */
int user_fault_open(int signal);
void user_fault_close(int signal);

#endif
