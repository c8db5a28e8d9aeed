/* SPDX-License-Identifier: GPL-2.0 OR MIT */
/* How changes are found in a region, and what is said of those that should not be. */
#ifndef RVM_LIB_TRACKING_H
#define RVM_LIB_TRACKING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <rvm/rvm.h>
#include <rvm/rvm_tracking.h>

enum rvm_tracking_mode {
	RVM_TRACKING_RANGES,
	RVM_TRACKING_CHECK,
	RVM_TRACKING_PAGES,		/* this and what follows: tracked */
	RVM_TRACKING_DIFF,
};

/* How the user engine notices stores; the kernel engine has hooks of its own. */
enum rvm_tracking_mechanism {
	RVM_TRACKING_MPROTECT,
	RVM_TRACKING_USERFAULTFD,
	RVM_TRACKING_USERFAULTFD_ASYNC,
};

struct rvm_tracking {
	enum rvm_tracking_mode mode;
	enum rvm_tracking_mechanism mechanism;
	bool strict;
};

static inline bool rvm_tracked(const struct rvm_tracking *tracking)
{
	return tracking->mode >= RVM_TRACKING_PAGES;
}

/*
 * By the flags of this map, or of the library's options, or the environment:
 * RVM_EOPTIONS, with a message if it is the environment that makes no sense.
 */
rvm_return_t rvm_tracking_choose(rvm_length_t map_flags, rvm_length_t flags,
				 struct rvm_tracking *tracking);

#define RVM_TRACKING_FLAGS	(RVM_TRACK_MODES | RVM_TRACK_STRICT | RVM_TRACK_USERFAULTFD | \
				 RVM_TRACK_USERFAULTFD_ASYNC)

bool rvm_tracking_flags_valid(rvm_length_t flags);

/* Bytes of a region that changed, and should not have. */
struct rvm_found {
	uint64_t address, length;
};

enum rvm_found_what {
	RVM_FOUND_UNDECLARED,		/* by a commit, in a checked region */
	RVM_FOUND_STRAY,		/* by a begin: stored outside of any transaction */
};

/* How many an engine reports one by one; the rest are only counted. */
#define RVM_FOUND_MAX	32

/* Shall a commit that finds undeclared changes not take place? */
bool rvm_tracking_refuses(void);

/*
 * Report `total` findings, of which found[] are the first, at most
 * RVM_FOUND_MAX: RVM_SUCCESS, or RVM_EUNDECLARED if that is what is wanted.
 */
rvm_return_t rvm_tracking_report(enum rvm_found_what what, const struct rvm_found *found,
				 uint64_t total);

/* Reported so far. */
uint64_t rvm_tracking_reported(void);

/* Where the program called the library, for reports. */
extern __thread const void *rvm_call_site;

#endif
