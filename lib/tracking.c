// SPDX-License-Identifier: GPL-2.0 OR MIT
/* Choosing a region's tracking, and reporting changes that should not be. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <dlfcn.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/region.h"
#include "lib/tracking.h"

__thread const void *rvm_call_site;

/*
 * Modes
 */

static const struct {
	const char *word;
	rvm_length_t flags;
} words[] = {
	{ "ranges", RVM_TRACK_RANGES },
	{ "pages", RVM_TRACK_PAGES },
	{ "diff", RVM_TRACK_DIFF },
	{ "check", RVM_TRACK_CHECK },
	{ "strict", RVM_TRACK_STRICT },
	{ "userfaultfd", RVM_TRACK_USERFAULTFD },
	{ "userfaultfd-async", RVM_TRACK_USERFAULTFD_ASYNC },
};

#define WORDS	(sizeof(words) / sizeof(words[0]))

bool rvm_tracking_flags_valid(rvm_length_t flags)
{
	/* stores that are found later can't be refused at once */
	rvm_length_t not_async = RVM_TRACK_USERFAULTFD | RVM_TRACK_STRICT;

	return (flags & RVM_TRACK_MODES) <= RVM_TRACK_CHECK &&
	       !(flags & RVM_TRACK_USERFAULTFD_ASYNC && flags & not_async);
}

/* Add the flag of a word: false if there is no such, or it is one too many. */
static bool add_word(rvm_length_t *flags, const char *word, size_t length)
{
	for (size_t i = 0; i < WORDS; i++) {
		rvm_length_t flag = words[i].flags;

		if (strlen(words[i].word) != length || memcmp(words[i].word, word, length))
			continue;
		if (flag & RVM_TRACK_MODES && *flags & RVM_TRACK_MODES)
			return false;
		*flags |= flag;
		return true;
	}
	return false;
}

static bool parse(const char *text, rvm_length_t *flags)
{
	*flags = 0;
	for (;;) {
		size_t length = strcspn(text, ",");

		if (!add_word(flags, text, length))
			return false;
		if (!text[length])
			return *flags & RVM_TRACK_MODES && rvm_tracking_flags_valid(*flags);
		text += length + 1;
	}
}

rvm_return_t rvm_tracking_choose(rvm_length_t map_flags, rvm_length_t flags,
				 struct rvm_tracking *tracking)
{
	const char *text = getenv("RVM_TRACKING");

	if (map_flags & RVM_TRACK_MODES) {
		flags = map_flags;
	} else if (!(flags & RVM_TRACK_MODES) && text && *text) {
		if (!parse(text, &flags)) {
			fprintf(stderr,
				"rvm: RVM_TRACKING is \"%s\"; it can be ranges, pages, diff or check, and after it \",strict\" and \",userfaultfd\", or \",userfaultfd-async\"\n",
				text);
			return RVM_EOPTIONS;
		}
	}
	*tracking = (struct rvm_tracking){
		.strict = flags & RVM_TRACK_STRICT,
		.mechanism = flags & RVM_TRACK_USERFAULTFD ? RVM_TRACKING_USERFAULTFD :
			     flags & RVM_TRACK_USERFAULTFD_ASYNC ? RVM_TRACKING_USERFAULTFD_ASYNC :
			     RVM_TRACKING_MPROTECT,
	};
	switch (flags & RVM_TRACK_MODES) {
	case RVM_TRACK_PAGES:
		tracking->mode = RVM_TRACKING_PAGES;
		break;
	case RVM_TRACK_DIFF:
		tracking->mode = RVM_TRACKING_DIFF;
		break;
	case RVM_TRACK_CHECK:
		tracking->mode = RVM_TRACKING_CHECK;
		break;
	default:
		tracking->mode = RVM_TRACKING_RANGES;
	}
	return RVM_SUCCESS;
}

/*
 * Reports
 */

enum action {
	UNSET,			/* RVM_CHECK decides */
	WARN,
	FAIL,
	ABORT,
};

static _Atomic int chosen;	/* an action */
static _Atomic uint64_t reported;

static enum action action_named(const char *name)
{
	return !strcmp(name, "warn") ? WARN : !strcmp(name, "fail") ? FAIL :
	       !strcmp(name, "abort") ? ABORT : UNSET;
}

static enum action action(void)
{
	enum action a = WARN;
	int unset = UNSET;
	const char *name;

	if (chosen != UNSET)
		return chosen;
	name = getenv("RVM_CHECK");
	if (name && *name) {
		a = action_named(name);
		if (a == UNSET) {
			fprintf(stderr, "rvm: RVM_CHECK is \"%s\"; it can be warn, fail or abort\n",
				name);
			a = WARN;
		}
	}
	atomic_compare_exchange_strong(&chosen, &unset, a);
	return chosen;
}

rvm_return_t rvm_set_check(const char *name)
{
	enum action a = name ? action_named(name) : UNSET;

	if (a == UNSET)
		return RVM_EOPTIONS;
	chosen = a;
	return RVM_SUCCESS;
}

bool rvm_tracking_refuses(void)
{
	return action() != WARN;
}

uint64_t rvm_tracking_reported(void)
{
	return reported;
}

static const char *call_site(char *buffer, size_t size)
{
	const char *at = rvm_call_site;
	Dl_info info;

	if (at && dladdr(at, &info) && info.dli_fname) {
		const char *base = info.dli_saddr ? info.dli_saddr : info.dli_fbase;

		snprintf(buffer, size, "%s(%s+%#tx)", info.dli_fname,
			 info.dli_saddr ? info.dli_sname : "", at - base);
	} else {
		snprintf(buffer, size, "%p", rvm_call_site);
	}
	return buffer;
}

static void report_one(enum rvm_found_what what, const struct rvm_found *found, const char *site)
{
	char place[RVM_REGION_PLACE_MAX];

	fprintf(stderr, "rvm: %s of %" PRIu64 " bytes at %#" PRIx64 ", %s, found by %s at %s\n",
		what == RVM_FOUND_STRAY ? "store outside of any transaction" :
					  "undeclared change",
		found->length, found->address,
		rvm_region_place(found->address, place, sizeof(place)),
		what == RVM_FOUND_STRAY ? "rvm_begin_transaction" : "rvm_end_transaction", site);
}

rvm_return_t rvm_tracking_report(enum rvm_found_what what, const struct rvm_found *found,
				 uint64_t total)
{
	char site[1000];

	if (!total)
		return RVM_SUCCESS;
	reported += total;
	call_site(site, sizeof(site));
	for (uint64_t i = 0; i < total && i < RVM_FOUND_MAX; i++)
		report_one(what, &found[i], site);
	if (total > RVM_FOUND_MAX)
		fprintf(stderr, "rvm: and %" PRIu64 " more\n", total - RVM_FOUND_MAX);
	if (action() == ABORT)
		abort();
	return action() == FAIL ? RVM_EUNDECLARED : RVM_SUCCESS;
}
