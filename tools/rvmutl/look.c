// SPDX-License-Identifier: GPL-2.0 OR MIT
/*
 * Commands that go through a log and show it.
 *
 * Where one is, is a record by its place: on a log that is in use it may be truncated
 * at any time, and then next goes to what is the oldest by then.
 */
#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "tools/rvmutl/rvmutl.h"

#define DATA_MAX	512u		/* bytes of a range that are shown */

/* --- one record --------------------------------------------------------------- */

static void print_head(FILE *out, const struct log *log, const struct rvm_record *r)
{
	fprintf(out, "%" PRIu64, r->sequence);
	if (r->commits > 1)
		fprintf(out, "-%" PRIu64, r->sequence + r->commits - 1);
	fprintf(out, "  %s  position %" PRIu64 ", file offset %" PRIu64 ", %" PRIu64 " bytes, %s, incarnation %" PRIu64 "\n",
		time_text(r->time), r->position, log_offset(log, r->position), r->length,
		plural(r->ranges, "range"), r->incarnation);
}

static void print_range(FILE *out, const struct log *log, const struct range *r)
{
	print_segment(out, log, r->segment);
	fprintf(out, ":0x%" PRIx64 "  %s", r->offset, plural(r->length, "byte"));
}

static void print_record(FILE *out, const struct log *log, const struct contents *c)
{
	print_head(out, log, &c->record);
	for (size_t i = 0; i < c->count; i++) {
		fprintf(out, "    %zu  ", i + 1);
		print_range(out, log, &c->ranges[i]);
		putc('\n', out);
	}
}

static bool print_each(void *context, struct log *log, const struct contents *c)
{
	print_record(context, log, c);
	return true;
}

/* Read it again, and tell if that is no use. */
static bool read_place(struct log *log, const struct place *place)
{
	int found = log_contents(log, place);

	if (found > 0)
		return true;
	if (!found)
		return fail("the record of sequence %" PRIu64 " was truncated meanwhile", place->sequence);
	return fail_errno(found, "the record of sequence %" PRIu64, place->sequence);
}

/* Go there, and show it. */
static bool go(struct session *s, const struct place *place)
{
	s->place = *place;
	s->have_place = true;
	s->range = 0;
	if (!read_place(s->log, place))
		return false;
	print_record(s->out, s->log, &s->log->contents);
	return true;
}

/* --- going about ----------------------------------------------------------------- */

static bool nothing(const struct session *s)
{
	return fail("there is no record in the log%s", s->log->status_error ? " that can be found" : "");
}

static bool earlier(const struct place *a, const struct place *b)
{
	return a->sequence != b->sequence ? a->sequence < b->sequence : a->incarnation < b->incarnation;
}

/* Those that next and prev go through: also what a search found, if one is there. */
static const struct places *around(const struct session *s)
{
	const struct places *live = &s->log->live;

	if (live->count && !earlier(&s->place, &live->at[0]) &&
	    !earlier(&live->at[live->count - 1], &s->place))
		return live;
	return s->log->found.count ? &s->log->found : live;
}

/* How many of them are before the current one. */
static size_t count_before(const struct places *p, const struct place *place)
{
	size_t low = 0, high = p->count;

	while (low < high) {
		size_t middle = (low + high) / 2;

		if (earlier(&p->at[middle], place))
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static bool is_at(const struct places *p, size_t i, const struct place *place)
{
	return i < p->count && !earlier(place, &p->at[i]);
}

/* Without a current record, the head is it. */
static bool need_place(struct session *s)
{
	if (s->have_place)
		return true;
	if (!s->log->live.count)
		return nothing(s);
	s->place = s->log->live.at[0];
	s->range = 0;
	s->have_place = true;
	return true;
}

bool go_head(struct session *s, struct words *w)
{
	(void)w;
	return s->log->live.count ? go(s, &s->log->live.at[0]) : nothing(s);
}

bool go_tail(struct session *s, struct words *w)
{
	const struct places *live = &s->log->live;

	(void)w;
	return live->count ? go(s, &live->at[live->count - 1]) : nothing(s);
}

static bool search(struct session *s)
{
	bool whole = log_search(s->log, 0);

	return (s->log->found.count && whole) || (whole && nothing(s));
}

bool find_earliest(struct session *s, struct words *w)
{
	(void)w;
	return search(s) && go(s, &s->log->found.at[0]);
}

bool go_earliest(struct session *s, struct words *w)
{
	return s->log->found.count ? go(s, &s->log->found.at[0]) : find_earliest(s, w);
}

bool find_tail(struct session *s, struct words *w)
{
	(void)w;
	return search(s) && go(s, &s->log->found.at[s->log->found.count - 1]);
}

static bool parse_steps(const struct words *w, u64 *steps)
{
	*steps = 1;
	return w->n < 2 || parse_whole(w->word[0], w->word[1], steps);
}

bool go_next(struct session *s, struct words *w)
{
	const struct places *p;
	u64 steps;
	size_t at;

	if (!parse_steps(w, &steps))
		return false;
	if (!s->have_place)
		return go_head(s, w);
	p = around(s);
	at = count_before(p, &s->place);
	/* one that has gone is not stepped over */
	if (!is_at(p, at, &s->place) && steps)
		steps--;
	if (steps >= p->count - at)
		return fail("there is no next record");
	return go(s, &p->at[at + steps]);
}

bool go_previous(struct session *s, struct words *w)
{
	const struct places *p;
	u64 steps;
	size_t at;

	if (!parse_steps(w, &steps))
		return false;
	if (!s->have_place)
		return go_tail(s, w);
	p = around(s);
	at = count_before(p, &s->place);
	if (steps > at)
		return fail("there is no record before");
	return go(s, &p->at[at - steps]);
}

/* --- ranges of the record ------------------------------------------------------------ */

static bool show_range(struct session *s, u64 number)
{
	const struct contents *c = &s->log->contents;
	const struct range *r;
	u32 shown;

	if (!read_place(s->log, &s->place))
		return false;
	if (!number || number > c->count)
		return fail("the record has %s", plural(c->count, "range"));
	r = &c->ranges[number - 1];
	s->range = number;
	fprintf(s->out, "%zu of %zu  ", (size_t)number, c->count);
	print_range(s->out, s->log, r);
	fprintf(s->out, ", file offset %" PRIu64 "\n", log_offset(s->log, r->position));
	shown = r->length < DATA_MAX ? r->length : DATA_MAX;
	print_bytes(s->out, r->offset, c->data + r->data, shown);
	if (shown < r->length)
		fprintf(s->out, "... and %s\n", plural(r->length - shown, "more byte"));
	return true;
}

bool sub_record(struct session *s, struct words *w)
{
	u64 number = s->range ? s->range : 1;

	if (w->n > 1 && !parse_whole("sub_rec", w->word[1], &number))
		return false;
	return need_place(s) && show_range(s, number);
}

bool next_sub_record(struct session *s, struct words *w)
{
	(void)w;
	return need_place(s) && show_range(s, s->range + 1);
}

bool previous_sub_record(struct session *s, struct words *w)
{
	(void)w;
	return need_place(s) && (s->range > 1 ? show_range(s, s->range - 1) :
						fail("there is no range before"));
}

/* --- counting ------------------------------------------------------------------------ */

struct segment_counts {
	u32 id;
	u64 records, ranges, bytes, low, high;
	u64 last;			/* record that was counted */
};

struct counts {
	struct segment_counts *segments;
	size_t count, room;
	u64 records, commits, merged, ranges, bytes, length, longest_record, longest_range;
	u64 gaps, end, incarnations, incarnation, first_time, last_time;
};

static struct segment_counts *counts_of(struct counts *t, u32 id)
{
	size_t i = 0;

	while (i < t->count && t->segments[i].id != id)
		i++;
	if (i == t->count) {
		t->segments = grow(t->segments, t->count, &t->room, sizeof(*t->segments));
		t->segments[t->count++] = (struct segment_counts){ .id = id, .low = UINT64_MAX };
	}
	return &t->segments[i];
}

static void count_range(struct counts *t, const struct rvm_record *record, const struct range *r)
{
	struct segment_counts *c = counts_of(t, r->segment);

	c->records += !c->records || c->last != record->position;
	c->last = record->position;
	c->ranges++;
	c->bytes += r->length;
	if (r->offset < c->low)
		c->low = r->offset;
	if (r->offset + r->length > c->high)
		c->high = r->offset + r->length;
	t->bytes += r->length;
	if (r->length > t->longest_range)
		t->longest_range = r->length;
}

static bool count_record(void *context, struct log *log, const struct contents *c)
{
	const struct rvm_record *r = &c->record;
	struct counts *t = context;

	(void)log;
	if (t->records && r->position > t->end)
		t->gaps += r->position - t->end;
	t->end = r->position + r->length;
	if (!t->records)
		t->first_time = r->time;
	t->last_time = r->time;
	t->incarnations += !t->records || r->incarnation != t->incarnation;
	t->incarnation = r->incarnation;
	t->records++;
	t->commits += r->commits;
	t->merged += r->commits > 1;
	t->ranges += c->count;
	t->length += r->length;
	if (r->length > t->longest_record)
		t->longest_record = r->length;
	for (size_t i = 0; i < c->count; i++)
		count_range(t, r, &c->ranges[i]);
	return true;
}

static bool count_all(struct log *log, struct counts *t)
{
	memset(t, 0, sizeof(*t));
	return log_each(log, count_record, t);
}

static void print_counts(FILE *out, const struct log *log, const struct segment_counts *c, u32 id)
{
	fprintf(out, "%8u  ", id);
	print_segment(out, log, id);
	if (c && c->records)
		fprintf(out, "  %s, %s, %s, offsets 0x%" PRIx64 " to 0x%" PRIx64, plural(c->records, "record"),
			plural(c->ranges, "range"), plural(c->bytes, "byte"), c->low, c->high);
	putc('\n', out);
}

/* The dictionary, and what the records have of each segment. */
static void print_dictionary(FILE *out, const struct log *log, struct counts *t)
{
	struct rvm_dict_entry e;
	u32 cursor = 0;

	while (rvm_dict_next(&log->status, &cursor, &e))
		print_counts(out, log, counts_of(t, e.id), e.id);
	for (size_t i = 0; i < t->count; i++) {
		bool named = false;

		for (cursor = 0; rvm_dict_next(&log->status, &cursor, &e);)
			named |= e.id == t->segments[i].id;
		if (!named)
			print_counts(out, log, &t->segments[i], t->segments[i].id);
	}
}

static double part(u64 n, u64 whole)
{
	return whole ? (double)n / whole : 0;
}

bool show_status(struct session *s, struct words *w)
{
	const struct log *log = s->log;
	const struct rvm_status *t = &log->status;
	FILE *out = s->out;
	struct counts counts;
	bool good;

	(void)w;
	good = count_all(s->log, &counts);
	fputs("log           ", out);
	print_name(out, log->path, strlen(log->path));
	fprintf(out, "%s%s\n", log->device ? ", a device" : "", log->owner >= 0 ? ", open for changes" : "");
	fputs("state         ", out);
	if (log_sound(log))
		fprintf(out, "%s\n", counts.records ? "sound" : "sound, and empty");
	else
		log_print_damage(out, log);
	if (log->status_error && !t->log_id)
		return false;
	fprintf(out, "log id        %016" PRIx64 "%s\n", t->log_id, log->status_error ? " (guessed, as all that follows)" : "");
	fprintf(out, "created       %s\n", time_text(t->created));
	fprintf(out, "generation    %" PRIu64 "\n", t->generation);
	fprintf(out, "incarnation   %" PRIu64 "\n", t->incarnation);
	fprintf(out, "area          %" PRIu64 " bytes\n", t->area_length);
	fprintf(out, "head          position %" PRIu64 ", sequence %" PRIu64 "\n", t->head, t->head_sequence);
	fprintf(out, "start         position %" PRIu64 ", sequence %" PRIu64 "\n", t->start, t->start_sequence);
	if (!log->status_error) {
		fprintf(out, "tail          position %" PRIu64 ", sequence %" PRIu64 "\n", log->scan.position,
			log->scan.sequence);
		fprintf(out, "in use        %" PRIu64 " bytes, %.1f %%\n", log_used(log),
			100 * part(log_used(log), t->area_length));
	}
	fprintf(out, "records       %" PRIu64 ", of %s\n", counts.records, plural(counts.commits, "commit"));
	fprintf(out, "segments      %u\n", t->segments);
	print_dictionary(out, log, &counts);
	free(counts.segments);
	return good && log_sound(log);
}

bool show_statistics(struct session *s, struct words *w)
{
	struct counts t;
	bool good = count_all(s->log, &t);

	(void)w;
	fprintf(s->out, "records          %" PRIu64 "\n", t.records);
	fprintf(s->out, "commits          %" PRIu64 "\n", t.commits);
	fprintf(s->out, "merged records   %" PRIu64 "\n", t.merged);
	fprintf(s->out, "incarnations     %" PRIu64 "\n", t.incarnations);
	fprintf(s->out, "ranges           %" PRIu64 ", %.1f a record\n", t.ranges, part(t.ranges, t.records));
	fprintf(s->out, "bytes of data    %" PRIu64 ", %.1f a range, at most %" PRIu64 "\n", t.bytes,
		part(t.bytes, t.ranges), t.longest_range);
	fprintf(s->out, "bytes of records %" PRIu64 ", %.1f each, at most %" PRIu64 "\n", t.length,
		part(t.length, t.records), t.longest_record);
	fprintf(s->out, "bytes in gaps    %" PRIu64 "\n", t.gaps);
	if (t.records) {
		fprintf(s->out, "oldest           %s\n", time_text(t.first_time));
		fprintf(s->out, "newest           %s\n", time_text(t.last_time));
	}
	free(t.segments);
	return good;
}

bool build_dictionary(struct session *s, struct words *w)
{
	struct counts t;
	bool good = count_all(s->log, &t);

	(void)w;
	print_dictionary(s->out, s->log, &t);
	if (!t.count && !s->log->status.segments)
		fputs("no segments\n", s->out);
	free(t.segments);
	return good;
}

/* --- show ------------------------------------------------------------------------------ */

bool show_all(struct session *s)
{
	if (!s->log->live.count)
		fputs("no records\n", s->out);
	return log_each(s->log, print_each, s->out);
}

/* So many from the current one on, which then is the last of them. */
static bool show_some(struct session *s, u64 n)
{
	const struct places *p;
	size_t at;

	if (!need_place(s))
		return false;
	p = around(s);
	for (at = count_before(p, &s->place); n && at < p->count; at++, n--)
		if (!go(s, &p->at[at]))
			return false;
	return true;
}

const char *const show_words[] = {
	"all", "head", "tail", "remaining", "seg_dict", "status", "statistics", "mods", NULL
};

enum { SHOW_ALL, SHOW_HEAD, SHOW_TAIL, SHOW_REMAINING, SHOW_DICTIONARY, SHOW_STATUS, SHOW_STATISTICS, SHOW_MODS };

bool show(struct session *s, struct words *w)
{
	int what;
	u64 n;

	if (w->n == 1)
		return show_some(s, 1);
	if (*w->word[1] >= '0' && *w->word[1] <= '9')
		return w->n == 2 ? parse_whole("show", w->word[1], &n) && show_some(s, n) :
				   fail("show COUNT takes nothing else");
	what = find_word("thing to show", show_words, w->word[1]);
	if (what == SHOW_MODS)
		return show_history(s, w, 2);
	if (what >= 0 && w->n > 2)
		return fail("show %s takes nothing else", show_words[what]);
	switch (what) {
	case SHOW_ALL:
		return show_all(s);
	case SHOW_HEAD:
		return go_head(s, w);
	case SHOW_TAIL:
		return go_tail(s, w);
	case SHOW_REMAINING:
		return show_some(s, UINT64_MAX);
	case SHOW_DICTIONARY:
		return build_dictionary(s, w);
	case SHOW_STATUS:
		return show_status(s, w);
	case SHOW_STATISTICS:
		return show_statistics(s, w);
	default:
		return false;
	}
}

/* --- what is special ----------------------------------------------------------------------- */

struct special {
	FILE *out;
	u64 end, incarnation, count;
};

static bool print_special(void *context, struct log *log, const struct contents *c)
{
	const struct rvm_record *r = &c->record;
	const u64 area = log->status.area_length;
	struct special *p = context;
	u64 first = r->position / area, last = (r->position + r->length - 1) / area;

	if (!p->count || r->incarnation != p->incarnation)
		fprintf(p->out, "opening   incarnation %" PRIu64 " begins with sequence %" PRIu64 "%s\n", r->incarnation,
			r->sequence, p->count ? "" : " or before");
	if (first != last)
		fprintf(p->out, "wrap      sequence %" PRIu64 " goes on at the area's start\n", r->sequence);
	else if (p->count && p->end / area != first && p->end % area)
		fprintf(p->out, "wrap      the area's end is before sequence %" PRIu64 "\n", r->sequence);
	else if (p->count && r->position % area == 0)
		fprintf(p->out, "wrap      sequence %" PRIu64 " begins at the area's start\n", r->sequence);
	if (r->commits > 1)
		fprintf(p->out, "merged    sequences %" PRIu64 " to %" PRIu64 " are one record\n", r->sequence,
			r->sequence + r->commits - 1);
	p->end = r->position + r->length;
	p->incarnation = r->incarnation;
	p->count++;
	return true;
}

bool all_special(struct session *s, struct words *w)
{
	struct special special = { .out = s->out };
	const struct rvm_status *t = &s->log->status;
	bool good;

	(void)w;
	good = log_each(s->log, print_special, &special);
	if (!s->log->status_error && t->incarnation && t->start_sequence >= s->log->scan.sequence)
		fprintf(s->out, "opening   incarnation %" PRIu64 " has no records yet\n", t->incarnation);
	if (!log_sound(s->log))
		log_print_damage(s->out, s->log);
	return good;
}

/* --- as they come --------------------------------------------------------------------------- */

static volatile sig_atomic_t interrupted;

static void interrupt(int signal)
{
	(void)signal;
	interrupted = 1;
}

/* What came after that sequence number; false if the log can't be followed. */
static bool print_new(struct session *s, u64 *sequence)
{
	const struct places *live = &s->log->live;
	const struct place from = { .sequence = *sequence };
	size_t i;

	for (i = count_before(live, &from); i < live->count; i++) {
		int found = log_contents(s->log, &live->at[i]);

		if (found < 0)
			return read_place(s->log, &live->at[i]);
		if (!found)
			continue;
		if (live->at[i].sequence > *sequence)
			fprintf(s->out, "%s passed unseen\n", plural(live->at[i].sequence - *sequence, "commit"));
		print_record(s->out, s->log, &s->log->contents);
		*sequence = live->at[i].sequence + s->log->contents.record.commits;
	}
	fflush(s->out);
	return true;
}

/* Have so many seconds passed?  All of them, wherever in one it began. */
static bool is_over(const struct timespec *start, u64 seconds)
{
	struct timespec now;
	u64 passed;

	clock_gettime(CLOCK_MONOTONIC, &now);
	passed = now.tv_sec - start->tv_sec - (now.tv_nsec < start->tv_nsec);
	return passed >= seconds;
}

bool monitor(struct session *s, struct words *w)
{
	struct sigaction action = { .sa_handler = interrupt }, before;
	u64 sequence = s->log->scan.sequence, seconds = UINT64_MAX;
	struct timespec start;
	bool good = true;

	if (w->n > 1 && !parse_whole("SECONDS", w->word[1], &seconds))
		return false;
	if (s->log->owner >= 0)
		return fail("nobody else writes while the log is open for changes: no_update first");
	if (s->log->status_error)
		return fail("there is no status to go by");
	interrupted = 0;
	sigaction(SIGINT, &action, &before);
	clock_gettime(CLOCK_MONOTONIC, &start);
	do {
		usleep(50000);
		good = log_refresh(s->log) && print_new(s, &sequence) && !ferror(s->out);
	} while (good && !interrupted && !is_over(&start, seconds));
	sigaction(SIGINT, &before, NULL);
	return good;
}

/* --- bytes and sizes --------------------------------------------------------------------------- */

bool peek(struct session *s, struct words *w)
{
	u64 offset, length = 64;
	u8 piece[4096];

	if (!parse_length("OFFSET", w->word[1], &offset))
		return false;
	if (w->n > 2 && !parse_length("LENGTH", w->word[2], &length))
		return false;
	if (offset >= s->log->length)
		return fail("the log has %" PRIu64 " bytes", s->log->length);
	while (length) {
		ssize_t n = log_bytes(s->log, offset, piece, length < sizeof(piece) ? length : sizeof(piece));

		if (n < 0)
			return fail_errno((int)n, "file offset %" PRIu64, offset);
		if (!n)
			break;
		print_bytes(s->out, offset, piece, n);
		offset += n;
		length -= n;
	}
	return true;
}

bool show_sizes(struct session *s, struct words *w)
{
	(void)w;
	fprintf(s->out, "status slot      %u\n", RVM_STATUS_SIZE);
	fprintf(s->out, "status           %zu, and the dictionary, at most %zu\n", sizeof(struct rvm_status_disk),
		(size_t)RVM_DICT_MAX);
	fprintf(s->out, "dictionary entry %zu, and the name\n", sizeof(struct rvm_dict_disk));
	fprintf(s->out, "record header    %zu\n", sizeof(struct rvm_record_header));
	fprintf(s->out, "range header     %zu\n", sizeof(struct rvm_range_header));
	fprintf(s->out, "record trailer   %zu\n", sizeof(struct rvm_record_trailer));
	fprintf(s->out, "area begins at   %u\n", RVM_AREA_START);
	fprintf(s->out, "area's unit      %u\n", RVM_AREA_UNIT);
	return true;
}
