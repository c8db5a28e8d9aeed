// SPDX-License-Identifier: GPL-2.0 OR MIT
/*
 * The history of a datum: which commits changed it, and to what, newest first.
 *
 * The log is read forwards, since its oldest records are the first that go.  Each change
 * is done to a copy of the datum, and what it wrote over is kept in its place;
 * going back then undoes one after the other, and the copy is what it was at that
 * time.  Bytes that no record gave before are not known.
 */
#include <inttypes.h>
#include <stdlib.h>

#include "tools/rvmutl/rvmutl.h"

#define DATUM_MAX	(1u << 20)

struct byte {
	u8 value;
	bool known;
};

/* Of one record, the part of a range that is in the datum. */
struct change {
	u32 at, length;
	size_t bytes;			/* in the pool: what is not in the datum, but was or will be */
};

struct hit {
	u64 sequence, time;
	u32 commits;			/* 0: here records are missing */
	size_t changes;			/* where its changes begin */
};

struct history {
	u32 segment;
	u64 offset;
	u64 count, size;		/* elements, and bytes of each */
	bool filter;
	u8 wanted[DATUM_MAX];

	u64 first_sequence;		/* where it begins */
	u64 next_sequence;		/* the next record's, if none is missing */
	struct byte *datum;
	bool *touched;			/* elements, by the record that is printed */
	struct hit *hits;
	struct change *changes;
	struct byte *pool;
	size_t hit_count, hit_room, change_count, change_room, pool_count, pool_room;
};

/* --- gathering ------------------------------------------------------------------ */

/* Do it, or undo it: what it has and what the datum has change places. */
static void swap(struct history *h, const struct change *c)
{
	for (u32 i = 0; i < c->length; i++) {
		struct byte *kept = &h->pool[c->bytes + i], *now = &h->datum[c->at + i], b = *kept;

		*kept = *now;
		*now = b;
	}
}

static void add_change(struct history *h, const struct range *r, const u8 *data)
{
	u64 end = h->offset + h->count * h->size, from = r->offset > h->offset ? r->offset : h->offset;
	struct change *c;

	if (end > r->offset + r->length)
		end = r->offset + r->length;
	if (r->segment != h->segment || from >= end)
		return;
	h->changes = grow(h->changes, h->change_count, &h->change_room, sizeof(*h->changes));
	c = &h->changes[h->change_count++];
	*c = (struct change){ .at = from - h->offset, .length = end - from, .bytes = h->pool_count };
	for (; from < end; from++) {
		h->pool = grow(h->pool, h->pool_count, &h->pool_room, sizeof(*h->pool));
		h->pool[h->pool_count++] = (struct byte){ data[from - r->offset], true };
	}
	swap(h, c);
}

static void add_hit(struct history *h, const struct hit *hit)
{
	h->hits = grow(h->hits, h->hit_count, &h->hit_room, sizeof(*h->hits));
	h->hits[h->hit_count++] = *hit;
}

/*
 * Records are missing before this one.  They were truncated meanwhile, and all before
 * them too: then the history begins here.  Or they are damaged: what is before
 * them is shown, but what they changed is not known.
 */
static void take_gap(struct history *h, const struct log *log)
{
	const u64 length = h->count * h->size;

	if (!log->behind_damage) {
		h->hit_count = h->change_count = h->pool_count = 0;
		memset(h->datum, 0, length * sizeof(*h->datum));
		return;
	}
	add_hit(h, &(struct hit){ .changes = h->change_count });
	h->changes = grow(h->changes, h->change_count, &h->change_room, sizeof(*h->changes));
	h->changes[h->change_count] = (struct change){ .length = length, .bytes = h->pool_count };
	for (u64 i = 0; i < length; i++) {
		h->pool = grow(h->pool, h->pool_count, &h->pool_room, sizeof(*h->pool));
		h->pool[h->pool_count++] = (struct byte){ 0, false };
	}
	swap(h, &h->changes[h->change_count++]);
}

static bool take_record(void *context, struct log *log, const struct contents *c)
{
	const struct rvm_record *r = &c->record;
	struct history *h = context;
	size_t before;

	if (h->next_sequence && r->sequence != h->next_sequence)
		take_gap(h, log);
	if (!h->next_sequence || (r->sequence != h->next_sequence && !log->behind_damage))
		h->first_sequence = r->sequence;
	h->next_sequence = r->sequence + r->commits;
	before = h->change_count;
	for (size_t i = 0; i < c->count; i++)
		add_change(h, &c->ranges[i], c->data + c->ranges[i].data);
	if (h->change_count == before)
		return true;
	add_hit(h, &(struct hit){
		.sequence = r->sequence, .time = r->time, .commits = r->commits, .changes = before,
	});
	return true;
}

/* --- printing -------------------------------------------------------------------- */

static bool all_known(const struct byte *b, u64 size)
{
	while (size && b->known) {
		size--;
		b++;
	}
	return !size;
}

static bool is_wanted(const struct history *h, const struct byte *b)
{
	if (!h->filter)
		return true;
	for (u64 i = 0; i < h->size; i++)
		if (!b[i].known || b[i].value != h->wanted[i])
			return false;
	return true;
}

static void print_number(FILE *out, const struct byte *b, u64 size)
{
	u64 n = 0;

	for (u64 i = size; i-- > 0;)
		n = n << 8 | b[i].value;
	fprintf(out, "0x%0*" PRIx64 "  %" PRIu64, (int)size * 2, n, n);
	if (b[size - 1].value & 0x80)
		fprintf(out, "  %" PRId64, (s64)(n << (64 - 8 * size)) >> (64 - 8 * size));
}

static void print_value(FILE *out, const struct byte *b, u64 size)
{
	if ((size == 1 || size == 2 || size == 4 || size == 8) && all_known(b, size)) {
		print_number(out, b, size);
		return;
	}
	for (u64 i = 0; i < size; i++) {
		if (b[i].known)
			fprintf(out, "%s%02x", i ? " " : "", b[i].value);
		else
			fprintf(out, "%s??", i ? " " : "");
	}
}

static void print_element(struct session *s, const struct history *h, const struct hit *hit, u64 element)
{
	fprintf(s->out, "%" PRIu64, hit->sequence);
	if (hit->commits > 1)
		fprintf(s->out, "-%" PRIu64, hit->sequence + hit->commits - 1);
	fprintf(s->out, "  %s  ", time_text(hit->time));
	print_segment(s->out, s->log, h->segment);
	fprintf(s->out, ":0x%" PRIx64 "  ", h->offset + element * h->size);
	print_value(s->out, h->datum + element * h->size, h->size);
	putc('\n', s->out);
}

/* The elements that a change is in, up to this one. */
static u64 last_element(const struct history *h, const struct change *c)
{
	return (c->at + c->length - 1) / h->size;
}

/* Each element once that the record wrote to. Whether any is wanted. */
static bool print_hit(struct session *s, struct history *h, const struct hit *hit, size_t end)
{
	bool any = false;

	if (!hit->commits) {
		fputs("-- here records are damaged --\n", s->out);
		return false;
	}
	for (size_t i = hit->changes; i < end; i++) {
		for (u64 e = h->changes[i].at / h->size; e <= last_element(h, &h->changes[i]); e++) {
			if (h->touched[e] || !is_wanted(h, h->datum + e * h->size))
				continue;
			h->touched[e] = any = true;
			print_element(s, h, hit, e);
		}
	}
	for (size_t i = hit->changes; i < end; i++)
		for (u64 e = h->changes[i].at / h->size; e <= last_element(h, &h->changes[i]); e++)
			h->touched[e] = false;
	return any;
}

static void print_history(struct session *s, struct history *h)
{
	const struct log *log = s->log;
	size_t end = h->change_count, i, n = 0;

	for (i = h->hit_count; i-- > 0;) {
		n += print_hit(s, h, &h->hits[i], end);
		while (end > h->hits[i].changes)
			swap(h, &h->changes[--end]);
	}
	fprintf(s->out, "%s", plural(n, "change"));
	if (h->first_sequence)
		fprintf(s->out, " since sequence %" PRIu64 ", with which the log begins", h->first_sequence);
	putc('\n', s->out);
	if (!log_sound(log))
		log_print_damage(s->out, log);
}

/* --- what is asked for --------------------------------------------------------------- */

/* SEGMENT:OFFSET or OFFSET; what follows it is at *rest. */
static bool parse_address(const struct log *log, char *text, struct history *h, const char **rest)
{
	struct rvm_dict_entry e;
	u32 cursor = 0;
	char *colon;

	/* a name may have colons in it, the number behind the last has none */
	colon = strrchr(text, ':');
	if (colon) {
		if (!parse_number(colon + 1, &h->offset, rest))
			return fail("ADDR: '%s' is no offset", colon + 1);
		*colon = 0;
		h->segment = find_segment(log, text);
		return h->segment;
	}
	if (!parse_number(text, &h->offset, rest))
		return fail("ADDR: '%s' is neither SEGMENT:OFFSET nor OFFSET", text);
	if (log->status.segments != 1)
		return fail("ADDR: the log's records know %s: it takes SEGMENT:OFFSET",
			    plural(log->status.segments, "segment"));
	h->segment = rvm_dict_next(&log->status, &cursor, &e) ? e.id : 0;
	return h->segment;
}

/* The bytes that a number or a quoted text makes in an element. */
static bool parse_value(const char *text, bool quoted, struct history *h)
{
	bool minus = !quoted && *text == '-';
	u64 n;

	h->filter = true;
	if (quoted) {
		if (strlen(text) > h->size)
			return fail("VALUE: it is longer than SIZE");
		memcpy(h->wanted, text, strlen(text));
		return true;
	}
	if (h->size > 8)
		return fail("VALUE: of more than 8 bytes it takes a \"quoted\" text");
	if (!parse_whole("VALUE", text + minus, &n))
		return false;
	if (h->size < 8 && n >> (8 * h->size - minus) && !(minus && n == 1ull << (8 * h->size - 1)))
		return fail("VALUE: %s does not fit into %s", text, plural(h->size, "byte"));
	if (minus)
		n = -n;
	for (u64 i = 0; i < h->size; i++)
		h->wanted[i] = n >> (8 * i);
	return true;
}

/* ADDR / COUNT SIZE = VALUE; the signs may stand without blanks. */
static bool parse_request(struct session *s, struct words *w, int i, struct history *h)
{
	const char *at;

	if (i == w->n)
		return fail("mods takes ADDR / COUNT SIZE [= VALUE]");
	h->count = 1;
	h->size = 8;
	if (!parse_address(s->log, w->word[i], h, &at))
		return false;
	if (!*at)
		at = ++i < w->n ? w->word[i] : "";
	if (*at == '/') {
		if (!*++at)
			at = ++i < w->n ? w->word[i] : "";
		if (!parse_whole("COUNT", at, &h->count))
			return false;
		if (++i == w->n)
			return fail("mods: SIZE is missing");
		if (!parse_number(w->word[i], &h->size, &at) || (*at && *at != '='))
			return fail("SIZE: '%s' is not a number", w->word[i]);
		if (!*at)
			at = ++i < w->n ? w->word[i] : "";
	}
	if (!h->count || !h->size || h->count > DATUM_MAX || h->size > DATUM_MAX / h->count)
		return fail("mods: COUNT * SIZE is from 1 to %u bytes", DATUM_MAX);
	if (h->offset > INT64_MAX - DATUM_MAX)
		return fail("ADDR: no segment is so long");
	if (*at == '=') {
		if (!*++at)
			at = ++i < w->n ? w->word[i] : "";
		if (!parse_value(at, i < w->n && w->quoted[i], h))
			return false;
		i++;
	}
	return i >= w->n || fail("mods: '%s' is too much", w->word[i]);
}

bool show_history(struct session *s, struct words *w, int first)
{
	struct history *h = check_memory(calloc(1, sizeof(*h)));
	bool good = parse_request(s, w, first, h);

	if (good) {
		h->datum = check_memory(calloc(h->count * h->size, sizeof(*h->datum)));
		h->touched = check_memory(calloc(h->count, sizeof(*h->touched)));
		good = log_each(s->log, take_record, h);
		print_history(s, h);
	}
	free(h->datum);
	free(h->touched);
	free(h->hits);
	free(h->changes);
	free(h->pool);
	free(h);
	return good;
}
