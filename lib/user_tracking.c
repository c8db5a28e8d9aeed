// SPDX-License-Identifier: GPL-2.0 OR MIT
/* Tracked and checked regions: which pages are hot, and what was changed in them. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "core/diff.h"
#include "lib/user_track.h"
#include "lib/user_tracking.h"

#define QUIET		2u		/* so many commits must leave a page alone */
#define HOT_MAX		512u		/* pages of a region that stay hot */

/* The lock, and under it: */
static struct user_lock lock;
static struct user_track *tracks;
static const struct user_log *transaction_open;	/* its log, or NULL: one of tracked regions */
static pid_t owner;			/* a forked child has copies of the regions */

/* --- pages --------------------------------------------------------------- */

static char *page_at(const struct user_track *track, u64 number)
{
	return track->start + number * USER_PAGE;
}

static char *image_of(const struct user_track *track, u64 number)
{
	return track->images + number * USER_PAGE;
}

/* Bytes of the page that are the segment's: the last may be a part of one. */
static u32 page_length(const struct user_track *track, u64 number)
{
	u64 left = track->region->base.length - number * USER_PAGE;

	return left < USER_PAGE ? left : USER_PAGE;
}

static bool page_changed(const struct user_track *track, u64 number)
{
	u32 length = page_length(track, number);

	return rvm_diff_first(image_of(track, number), page_at(track, number), 0, length) < length;
}

static bool protect(const struct user_track *track, u64 number, bool on)
{
	return track->mechanism->protect(track, number, 1, on);
}

static void add_hot(struct user_track *track, u64 number)
{
	struct user_page *page = &track->page[number];

	track->hot[track->hot_count++] = number;
	page->hot = true;
	page->told = false;
	page->quiet = 0;
}

/* Before the first store to the page, if there isn't an image of it. */
static bool heat(struct user_track *track, u64 number)
{
	bool was_hot = track->page[number].hot;

	if (!was_hot) {
		memcpy(image_of(track, number), page_at(track, number), USER_PAGE);
		add_hot(track, number);
	}
	track->page[number].quiet = 0;
	if (protect(track, number, false))
		return true;
	/* an undo writes to what is hot, and must get no signal */
	if (!was_hot) {
		track->hot_count--;
		track->page[number].hot = false;
	}
	return false;
}

void user_track_stored(struct user_track *track, u64 number, u64 pages)
{
	for (; pages; pages--, number++)
		if (!track->page[number].hot)
			add_hot(track, number);
}

static void find_hot(struct user_track *track)
{
	if (track->mechanism->find)
		track->mechanism->find(track);
}

static struct user_track *track_at(const char *address)
{
	struct user_track *track;

	for (track = tracks; track; track = track->next)
		if ((u64)(address - track->start) / USER_PAGE < track->pages)
			break;
	return track;
}

/* A child's copy of a region is ordinary memory.  Its lock may be held for ever. */
static enum user_fault fault_in_child(const struct user_track *track)
{
	return track->mechanism->inherited &&
	       track->mechanism->protect(track, 0, track->pages, false) ?
	       USER_FAULT_ADMITTED : USER_FAULT_FOREIGN;
}

static enum user_fault fault(struct user_track *track, const char *address)
{
	if (track->tracked && transaction_open != track->log)
		return USER_FAULT_DENIED;
	return heat(track, (address - track->start) / USER_PAGE) ? USER_FAULT_ADMITTED :
								   USER_FAULT_DENIED;
}

enum user_fault user_track_fault(int signal, int code, char *address)
{
	enum user_fault answer = USER_FAULT_FOREIGN;
	bool child = getpid() != owner;
	struct user_track *track;

	if (!child)
		user_lock(&lock);
	track = track_at(address);
	if (track && track->mechanism->signal == signal && track->mechanism->code == code)
		answer = child ? fault_in_child(track) : fault(track, address);
	if (!child)
		user_unlock(&lock);
	return answer;
}

/* --- regions ------------------------------------------------------------- */

static const struct user_mechanism *mechanism_of(const struct rvm_tracking *tracking)
{
	switch (tracking->mechanism) {
	case RVM_TRACKING_USERFAULTFD:
		return &user_userfaultfd;
	case RVM_TRACKING_USERFAULTFD_ASYNC:
		return &user_userfaultfd_async;
	default:
		return &user_mprotect;
	}
}

static void *map_memory(u64 size)
{
	void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	return memory == MAP_FAILED ? NULL : memory;
}

/*
 * Images of all pages, where a page can be stored to before there is one: the file
 * shows what was committed before, and commits are copied into it.  This is safe for
 * what makes private mappings safe (user_region.c): what truncation writes
 * was copied here when it was committed.
 */
static char *map_images(const struct user_track *track, const struct rvm_map_request *request)
{
	char *images;

	if (!track->mechanism->find || (request->no_copy && !track->shows_file))
		return map_memory(track->pages * USER_PAGE);
	images = user_map_private(request, track->region->segment->fd, NULL);
	return images == MAP_FAILED ? NULL : images;
}

static void track_free(struct user_track *track)
{
	if (track->images)
		munmap(track->images, track->pages * USER_PAGE);
	if (track->told)
		munmap(track->told, track->pages * USER_PAGE);
	if (track->hot)
		munmap(track->hot, track->pages * (sizeof(*track->hot) + sizeof(*track->page)));
	free(track);
}

static struct user_track *track_new(const struct user_log *log, struct user_region *region,
				    const struct rvm_map_request *request)
{
	struct user_track *track = calloc(1, sizeof(*track));
	int error;

	if (!track)
		return NULL;
	track->log = log;
	track->region = region;
	track->mechanism = mechanism_of(&region->base.tracking);
	track->start = region->base.address;
	track->pages = rvm_whole_pages(region->base.length) / USER_PAGE;
	track->tracked = rvm_tracked(&region->base.tracking);
	track->shows_file = request->private_map;
	track->hot = map_memory(track->pages * (sizeof(*track->hot) + sizeof(*track->page)));
	if (!track->tracked)
		track->told = map_memory(track->pages * USER_PAGE);
	track->images = map_images(track, request);
	if (track->hot && track->images && (track->told || track->tracked)) {
		track->page = (struct user_page *)(track->hot + track->pages);
		return track;
	}
	error = errno;
	track_free(track);
	errno = error;
	return NULL;
}

int user_tracking_open(const struct user_log *log, struct user_region *region,
		       const struct rvm_map_request *request)
{
	struct user_track *track;
	int error;

	if (region->base.tracking.mode == RVM_TRACKING_RANGES)
		return 0;
	track = track_new(log, region, request);
	if (!track)
		return -errno;
	user_lock(&lock);
	error = track->mechanism->open(track);
	if (!error) {
		owner = getpid();
		track->next = tracks;
		tracks = track;
		region->track = track;
	}
	user_unlock(&lock);
	if (error)
		track_free(track);
	return error;
}

bool user_tracking_close(struct user_region *region, bool unmap)
{
	struct user_track *track = region->track, **link;

	if (!track)
		return !unmap || rvm_unmap_memory(&region->base);
	/* with the lock: what comes to lie there is not ours to protect */
	user_lock(&lock);
	if (unmap && !rvm_unmap_memory(&region->base)) {
		user_unlock(&lock);
		return false;
	}
	for (link = &tracks; *link != track; link = &(*link)->next)
		;
	*link = track->next;
	track->mechanism->close(track, unmap);
	user_unlock(&lock);
	track_free(track);
	region->track = NULL;
	return true;
}

/* --- transactions -------------------------------------------------------- */

/* What is reported. */
struct findings {
	struct rvm_found found[RVM_FOUND_MAX];
	u64 count;
};

static void add_finding(struct findings *findings, const char *address, u64 length)
{
	if (findings->count < RVM_FOUND_MAX)
		findings->found[findings->count] =
			(struct rvm_found){ (uintptr_t)address, length };
	findings->count++;
}

static void put_back(struct user_track *track, u64 number, struct findings *findings)
{
	char *page = page_at(track, number), *image = image_of(track, number);
	u32 size = page_length(track, number), at, length;

	for (at = 0;; at += length) {
		at = rvm_diff_next(image, page, at, size, 0, &length);
		if (at == size)
			return;
		add_finding(findings, page + at, length);
		memcpy(page + at, image + at, length);
	}
}

/* Is it a tracked region of this log? */
static bool tracks_for(const struct user_track *track, const struct user_log *log)
{
	return track->tracked && track->log == log;
}

rvm_return_t user_tracking_begin(const struct user_log *log)
{
	struct findings findings = { .count = 0 };
	struct user_track *track;
	rvm_return_t code;

	user_lock(&lock);
	for (track = tracks; track; track = track->next) {
		if (!tracks_for(track, log))
			continue;
		find_hot(track);
		for (u64 i = 0; i < track->hot_count; i++)
			put_back(track, track->hot[i], &findings);
	}
	user_unlock(&lock);
	code = rvm_tracking_report(RVM_FOUND_STRAY, findings.found, findings.count);
	if (code)
		return code;
	user_lock(&lock);
	transaction_open = log;
	user_unlock(&lock);
	return RVM_SUCCESS;
}

rvm_return_t user_tracking_prepare(struct user_region *region, char *address, u64 length)
{
	struct user_track *track = region->track;
	u64 first = (address - track->start) / USER_PAGE;
	u64 last = (address + length - 1 - track->start) / USER_PAGE;
	bool done = true;

	/* what notices stores afterwards lets system calls' through, too */
	if (track->mechanism->find)
		return RVM_SUCCESS;
	user_lock(&lock);
	for (; done && first <= last; first++)
		if (!track->page[first].hot)
			done = heat(track, first);
	user_unlock(&lock);
	return done ? RVM_SUCCESS : RVM_ENO_MEMORY;
}

/* What a page of a tracked region has changed in, or all of it: false, no memory. */
static bool collect_page(struct user_track *track, u64 number, struct user_transaction *t)
{
	bool whole = track->region->base.tracking.mode == RVM_TRACKING_PAGES;
	char *page = page_at(track, number), *image = image_of(track, number);
	u32 size = page_length(track, number), at, length;

	at = rvm_diff_next(image, page, 0, size, RVM_DIFF_GAP, &length);
	track->page[number].changed = at < size;
	if (whole && at < size)
		return user_transaction_add(t, track->region, page, size);
	while (at < size) {
		if (!user_transaction_add(t, track->region, page + at, length))
			return false;
		at = rvm_diff_next(image, page, at + length, size, RVM_DIFF_GAP, &length);
	}
	return true;
}

/* --- checking ------------------------------------------------------------ */

/* Bytes of one page. */
struct bytes {
	u64 set[USER_PAGE / 64];
};

static void set_bytes(struct bytes *bytes, u32 start, u32 end, bool value)
{
	for (; start < end; start++) {
		u64 bit = 1ull << start % 64;

		bytes->set[start / 64] = (bytes->set[start / 64] & ~bit) | (value ? bit : 0);
	}
}

static bool has_byte(const struct bytes *bytes, u32 i)
{
	return bytes->set[i / 64] >> i % 64 & 1;
}

/* Without what the transaction has declared of the page. */
static void leave_out(struct bytes *bytes, const char *page, struct user_transaction *t)
{
	user_lock(&t->lock);
	for (u64 i = 0; i < t->count; i++) {
		const char *start = t->ranges[i].address, *end = start + t->ranges[i].length;

		if (start < page)
			start = page;
		if (end > page + USER_PAGE)
			end = page + USER_PAGE;
		if (start < end)
			set_bytes(bytes, start - page, end - page, false);
	}
	user_unlock(&t->lock);
}

/* log->lock is held: transactions neither end nor are their bytes restored. */
static void check_page(struct user_track *track, u64 number, struct user_log *log,
		       struct findings *findings)
{
	char *page = page_at(track, number), *image = image_of(track, number);
	u32 size = page_length(track, number), at, length;
	const char *told = track->told + number * USER_PAGE;
	struct user_transaction *t;
	struct bytes bytes = { 0 };

	track->page[number].changed = page_changed(track, number);
	if (!track->page[number].changed)
		return;
	for (at = 0;; at += length) {
		at = rvm_diff_next(image, page, at, size, 0, &length);
		if (at == size)
			break;
		set_bytes(&bytes, at, at + length, true);
	}
	/* Only now: who stores has declared before. */
	for (t = log->open_transactions; t; t = t->next)
		leave_out(&bytes, page, t);
	for (at = 0; at < size; at += length) {
		if (at % 64 == 0 && !bytes.set[at / 64]) {
			length = 64;
			continue;
		}
		length = 0;
		while (at + length < size && has_byte(&bytes, at + length) &&
		       !(track->page[number].told && told[at + length] == page[at + length]))
			length++;
		if (length)
			add_finding(findings, page + at, length);
		else
			length = 1;
	}
}

/* What has been told of these pages is told once. */
static void remember(struct user_track *track)
{
	for (u64 i = 0; i < track->hot_count; i++) {
		u64 number = track->hot[i];

		if (!track->page[number].changed)
			continue;
		memcpy(track->told + number * USER_PAGE, page_at(track, number), USER_PAGE);
		track->page[number].told = true;
	}
}

static void check(struct user_log *log, struct findings *findings)
{
	struct user_track *track;

	pthread_mutex_lock(&log->lock);
	user_lock(&lock);
	for (track = tracks; track; track = track->next) {
		u64 before = findings->count;

		if (track->tracked || track->log != log)
			continue;
		find_hot(track);
		for (u64 i = 0; i < track->hot_count; i++)
			check_page(track, track->hot[i], log, findings);
		if (findings->count > before && !rvm_tracking_refuses())
			remember(track);
	}
	user_unlock(&lock);
	pthread_mutex_unlock(&log->lock);
}

rvm_return_t user_tracking_collect(struct user_transaction *t)
{
	struct findings findings = { .count = 0 };
	struct user_track *track;
	rvm_return_t code;
	bool done = true;

	check(t->log, &findings);
	code = rvm_tracking_report(RVM_FOUND_UNDECLARED, findings.found, findings.count);
	if (code)
		return code;
	user_lock(&lock);
	for (track = tracks; track; track = track->next) {
		if (!tracks_for(track, t->log))
			continue;
		find_hot(track);
		for (u64 i = 0; done && i < track->hot_count; i++)
			done = collect_page(track, track->hot[i], t);
	}
	user_unlock(&lock);
	return done ? RVM_SUCCESS : RVM_ENO_MEMORY;
}

/* --- the end ------------------------------------------------------------- */

static void copy_to_images(struct user_track *track, const char *address, const char *data,
			   u64 length)
{
	u64 offset = address - track->start;

	while (length) {
		u64 number = offset / USER_PAGE, n = USER_PAGE - offset % USER_PAGE;

		if (n > length)
			n = length;
		if (track->page[number].hot || track->mechanism->find)
			memcpy(track->images + offset, data, n);
		offset += n;
		data += n;
		length -= n;
	}
}

void user_tracking_committed(struct user_transaction *t, const char *record)
{
	const char *at = record + sizeof(struct rvm_record_header);

	user_lock(&lock);
	for (u64 i = 0; i < t->count; i++) {
		const struct user_range *r = &t->ranges[i];
		const char *address = r->address;
		u64 left = r->length;

		while (left) {
			u64 piece = left < USER_PIECE ? left : USER_PIECE;

			at += sizeof(struct rvm_range_header);
			if (r->region->track)
				copy_to_images(r->region->track, address, at, piece);
			at += rvm_align8(piece);
			address += piece;
			left -= piece;
		}
	}
	user_unlock(&lock);
}

void user_tracking_undo(const struct user_log *log)
{
	struct user_track *track;

	user_lock(&lock);
	for (track = tracks; track; track = track->next) {
		if (!tracks_for(track, log))
			continue;
		find_hot(track);
		for (u64 i = 0; i < track->hot_count; i++)
			memcpy(page_at(track, track->hot[i]), image_of(track, track->hot[i]),
			       page_length(track, track->hot[i]));
	}
	user_unlock(&lock);
}

/* False: it was stored to at the last moment, and stays hot. */
static bool cool(struct user_track *track, u64 number)
{
	if (page_changed(track, number) || !protect(track, number, true))
		return false;
	if (page_changed(track, number)) {
		protect(track, number, false);
		return false;
	}
	track->page[number].hot = false;
	return true;
}

static void end_track(struct user_track *track)
{
	bool strict = track->region->base.tracking.strict;
	u64 kept = 0, excess;

	excess = track->hot_count > HOT_MAX ? track->hot_count - HOT_MAX : 0;
	/* The oldest come first. */
	for (u64 i = 0; i < track->hot_count; i++) {
		u64 number = track->hot[i];
		struct user_page *page = &track->page[number];
		bool cold;

		page->quiet = page->changed ? 0 : page->quiet + 1;
		page->changed = false;
		cold = strict || page->quiet >= QUIET || excess;
		if (cold && cool(track, number))
			excess -= excess > 0;
		else
			track->hot[kept++] = number;
	}
	track->hot_count = kept;
}

void user_tracking_end(const struct user_log *log)
{
	struct user_track *track;

	user_lock(&lock);
	transaction_open = NULL;
	for (track = tracks; track; track = track->next)
		if (track->log == log)
			end_track(track);
	user_unlock(&lock);
}
