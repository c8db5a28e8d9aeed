// SPDX-License-Identifier: GPL-2.0 OR MIT
/*
 * Writing to the segments, by pages.
 *
 * Pieces are put to the page that they are of.  In the end a page with one
 * piece or two has these written as they are; one with more is read, changed in
 * memory and written whole, and neighbours go in one write.  Whole pages may be
 * written because a segment is ours while the log has records for it, and
 * regions, which are whole pages, have nobody else in them.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#include "lib/user_gather.h"

#define GATHER_MOST	(4u << 20)	/* bytes at once */
#define PIECE_MEAN	32u		/* shorter ones fill the table of pieces first */
#define DIRECT_LENGTH	(64u << 10)	/* a piece as long as this is written as it is */
#define GROUP		64u		/* pages in one write at most */
#define AHEAD		32u	/* pages: the system may read no more for one posix_fadvise() */
#define FEW		2u		/* pieces that don't make it worth reading a page */

struct gather_piece {
	u32 next;		/* of the same page: index + 1 */
	u32 data;		/* where in gather->data */
	u16 offset, length;	/* in the page */
};

struct gather_page {
	struct user_segment *segment;
	u64 number;
	u32 next;		/* of the same hash: index + 1 */
	u32 first, last;	/* pieces: index + 1 */
	u32 count;
};

int user_gather_init(struct user_gather *g, struct user_log *log, u64 length)
{
	u32 heads = 64;

	memset(g, 0, sizeof(*g));
	g->log = log;
	g->capacity = length < GATHER_MOST ? user_round_up(length, USER_PAGE) : GATHER_MOST;
	if (g->capacity < DIRECT_LENGTH)
		g->capacity = DIRECT_LENGTH;
	g->piece_capacity = g->capacity / PIECE_MEAN;
	while (heads < g->piece_capacity / 2)
		heads *= 2;
	g->mask = heads - 1;
	g->data = malloc(g->capacity);
	g->pieces = malloc(g->piece_capacity * sizeof(*g->pieces));
	g->pages = malloc(g->piece_capacity * sizeof(*g->pages));
	g->heads = calloc(heads, sizeof(*g->heads));
	g->images = user_file_buffer(GROUP * USER_PAGE);
	if (g->data && g->pieces && g->pages && g->heads && g->images)
		return 0;
	user_gather_free(g);
	return -ENOMEM;
}

void user_gather_free(struct user_gather *g)
{
	free(g->data);
	free(g->pieces);
	free(g->pages);
	free(g->heads);
	free(g->images);
	memset(g, 0, sizeof(*g));
}

static struct gather_page *find_page(struct user_gather *g, struct user_segment *segment,
				     u64 number)
{
	u32 *head = &g->heads[(number * 0x9e3779b97f4a7c15ull >> 32 ^ segment->id) & g->mask];
	struct gather_page *p;
	u32 i;

	for (i = *head; i; i = p->next) {
		p = &g->pages[i - 1];
		if (p->number == number && p->segment == segment)
			return p;
	}
	p = &g->pages[g->page_count++];
	*p = (struct gather_page){ .segment = segment, .number = number, .next = *head };
	*head = g->page_count;
	return p;
}

/* It lies in one page. */
static void add_piece(struct user_gather *g, struct user_segment *segment, u64 offset,
		      const void *data, u32 length)
{
	struct gather_piece *piece;
	struct gather_page *page;

	if (g->used + length > g->capacity || g->piece_count == g->piece_capacity)
		user_gather_flush(g);
	page = find_page(g, segment, offset / USER_PAGE);
	piece = &g->pieces[g->piece_count++];
	*piece = (struct gather_piece){ 0, g->used, offset % USER_PAGE, length };
	memcpy(g->data + g->used, data, length);
	g->used += length;
	if (page->last)
		g->pieces[page->last - 1].next = g->piece_count;
	else
		page->first = g->piece_count;
	page->last = g->piece_count;
	page->count++;
}

static void write_segment(struct user_gather *g, struct user_segment *s, u64 offset,
			  const void *data, size_t length)
{
	u64 began;

	if (s->failure)
		return;
	user_count(g->log->counters.segment_writes, 1);
	user_count(g->log->counters.segment_bytes, length);
	began = user_clock(CLOCK_MONOTONIC);
	s->failure = -user_file_write(s->target, offset, data, length);
	g->write_ns += user_clock(CLOCK_MONOTONIC) - began;
}

void user_gather_add(struct user_gather *g, struct user_segment *segment, u64 offset,
		     const void *data, u32 length)
{
	if (length >= DIRECT_LENGTH) {
		user_gather_flush(g);
		write_segment(g, segment, offset, data, length);
		return;
	}
	while (length) {
		u32 n = USER_PAGE - offset % USER_PAGE;

		if (n > length)
			n = length;
		add_piece(g, segment, offset, data, n);
		offset += n;
		data = (const char *)data + n;
		length -= n;
	}
}

static int by_place(const void *a, const void *b)
{
	const struct gather_page *x = a, *y = b;

	if (x->segment != y->segment)
		return x->segment > y->segment ? 1 : -1;
	return (x->number > y->number) - (x->number < y->number);
}

static void write_pieces(struct user_gather *g, const struct gather_page *p)
{
	const struct gather_piece *piece;
	u32 i;

	for (i = p->first; i; i = piece->next) {
		piece = &g->pieces[i - 1];
		write_segment(g, p->segment, p->number * USER_PAGE + piece->offset,
			      g->data + piece->data, piece->length);
	}
}

/* It has to be read, for what is written is only a part. */
static bool is_partial(const struct user_gather *g, const struct gather_page *p)
{
	return g->pieces[p->last - 1].length < USER_PAGE;
}

/*
 * The page as it is going to be: its length, less than a whole one at the
 * segment's end; or 0 if it can't be read, and the pieces have to do.
 */
static u32 make_image(struct user_gather *g, const struct gather_page *p, char *image)
{
	const struct gather_piece *piece;
	u32 i, length = 0;
	ssize_t n;

	if (is_partial(g, p)) {
		do {
			n = pread(p->segment->target, image, USER_PAGE, p->number * USER_PAGE);
		} while (n < 0 && errno == EINTR);
		if (n < 0)
			return 0;
		length = n;
		memset(image + n, 0, USER_PAGE - n);
	}
	for (i = p->first; i; i = piece->next) {
		piece = &g->pieces[i - 1];
		memcpy(image + piece->offset, g->data + piece->data, piece->length);
		if (piece->offset + piece->length > (int)length)
			length = piece->offset + piece->length;
	}
	return length;
}

/* Page i, and those after it that can go into the same write. Returns the next. */
static u32 write_group(struct user_gather *g, u32 i)
{
	const struct gather_page *first = &g->pages[i];
	u32 pages = 0, length = USER_PAGE;

	while (pages < GROUP && i + pages < g->page_count && length == USER_PAGE) {
		const struct gather_page *p = first + pages;

		if (p->segment != first->segment || p->number != first->number + pages)
			break;
		if (p->count <= FEW && is_partial(g, p))
			break;
		length = make_image(g, p, g->images + pages * USER_PAGE);
		if (!length)
			break;
		pages++;
	}
	if (!pages) {
		write_pieces(g, first);
		return i + 1;
	}
	if (!length)
		length = USER_PAGE;	/* of the last that could be made */
	write_segment(g, first->segment, first->number * USER_PAGE, g->images,
		      (pages - 1) * USER_PAGE + length);
	return i + pages;
}

/*
 * The system reads all of them at once, where it would read one after the other as each is
 * written.  What it can't do now is done then.
 */
static void read_ahead(struct user_gather *g)
{
	u32 i, pages;

	for (i = 0; i < g->page_count; i += pages) {
		const struct gather_page *p = &g->pages[i];
		u32 end = i + AHEAD < g->page_count ? i + AHEAD : g->page_count;

		for (pages = 0; i + pages < end && is_partial(g, p + pages); pages++)
			if (p[pages].segment != p->segment || p[pages].number != p->number + pages)
				break;
		if (pages)
			posix_fadvise(p->segment->target, p->number * USER_PAGE, pages * USER_PAGE,
				      POSIX_FADV_WILLNEED);
		else
			pages = 1;
	}
}

void user_gather_flush(struct user_gather *g)
{
	u32 i;

	qsort(g->pages, g->page_count, sizeof(*g->pages), by_place);
	if (g->read_ahead)
		read_ahead(g);
	for (i = 0; i < g->page_count; )
		i = write_group(g, i);
	memset(g->heads, 0, (g->mask + 1) * sizeof(*g->heads));
	g->used = 0;
	g->piece_count = g->page_count = 0;
}
