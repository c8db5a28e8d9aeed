// SPDX-License-Identifier: GPL-2.0 OR MIT
/*
 * A log, which others may be writing while it is read.  Only one who owns it keeps
 * them away; a reader sees a moment that may pass while it looks.
 *
 * Where the head has passed what was to be read, it was truncated, and anything may
 * stand there now: that is no damage.  So a look that ends otherwise than at a tail
 * counts only if the status still says the same afterwards.
 *
 * Others write past the page cache; it is passed by in reading, too.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/fs.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/user.h"
#include "tools/rvmutl/rvmutl.h"

#define BUFFER		(256u << 10)
#define LOOKS		50		/* at a log that changes all the time */
#define PAUSE		20000		/* microseconds between them */
#define COUNT_MAX	((u64)1 << 63)	/* every counter stays below it */

/* --- reading ---------------------------------------------------------------- */

/* What can't be read of these blocks stands as zeros. */
static void read_blocks(struct log *log, u64 offset, u8 *buffer, size_t length)
{
	for (; length; length -= RVM_AREA_UNIT, offset += RVM_AREA_UNIT, buffer += RVM_AREA_UNIT) {
		if (!user_file_read(log->fd, offset, buffer, RVM_AREA_UNIT))
			continue;
		memset(buffer, 0, RVM_AREA_UNIT);
		if (!log->bad_blocks)
			log->first_bad = offset;
		log->bad_blocks = true;
	}
}

/* rvm_read_fn: whole units.  What the file lacks of them is zeros, all of it -ENODATA. */
static int read_units(void *context, u64 offset, void *buffer, size_t length)
{
	struct log *log = context;
	size_t done = 0;

	if (offset >= log->length)
		return -ENODATA;
	while (done < length) {
		ssize_t n = pread(log->fd, (u8 *)buffer + done, length - done, offset + done);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EIO) {
			read_blocks(log, offset, buffer, length);
			return 0;
		}
		if (n < 0)
			return -errno;
		if (!n)
			break;
		done += n;
	}
	memset((u8 *)buffer + done, 0, length - done);
	return 0;
}

ssize_t log_bytes(struct log *log, u64 offset, void *buffer, size_t length)
{
	u64 from = offset & -(u64)RVM_AREA_UNIT;
	size_t whole;
	u8 *units;
	int error;

	if (offset >= log->length)
		return 0;
	if (length > log->length - offset)
		length = log->length - offset;
	whole = user_round_up(offset + length, RVM_AREA_UNIT) - from;
	units = check_memory(user_file_buffer(whole));
	error = read_units(log, from, units, whole);
	if (!error)
		memcpy(buffer, units + (offset - from), length);
	free(units);
	return error ? error : (ssize_t)length;
}

bool log_area_bytes(struct log *log, u64 position, void *buffer, size_t length)
{
	u64 offset = position % log->status.area_length, left = log->status.area_length - offset;
	size_t first = left < length ? left : length;

	return log_bytes(log, RVM_AREA_START + offset, buffer, first) == (ssize_t)first &&
	       log_bytes(log, RVM_AREA_START, (u8 *)buffer + first, length - first) ==
			(ssize_t)(length - first);
}

u64 log_area(const struct log *log)
{
	u64 there = log->length > RVM_AREA_START ? log->length - RVM_AREA_START : 0;

	return log->status.area_length < there ? log->status.area_length : there;
}

u64 log_offset(const struct log *log, u64 position)
{
	return log_area(log) ? rvm_area_offset(&log->status, position) : 0;
}

u64 log_used(const struct log *log)
{
	return log->scan.position > log->status.head ? log->scan.position - log->status.head : 0;
}

/* --- status ----------------------------------------------------------------- */

/* As many entries of a dictionary as are sound. */
static void guess_dictionary(struct rvm_status *s, const u8 *dict)
{
	struct rvm_dict_entry e;
	u32 cursor = 0, end = 0;

	memcpy(s->dict, dict, sizeof(s->dict));
	s->dict_used = sizeof(s->dict);
	while (rvm_dict_next(s, &cursor, &e) && e.id >= s->next_segment && e.id < UINT32_MAX &&
	       e.name_length && e.name[0] == '/' && !memchr(e.name, 0, e.name_length)) {
		s->segments++;
		s->next_segment = e.id + 1;
		end = cursor;
	}
	s->dict_used = end;
}

/* Neither slot counts: take what seems to be right of the newer. */
static void guess_status(struct log *log, struct rvm_status *s)
{
	u64 there = log->length > RVM_AREA_START ? log->length - RVM_AREA_START : 0;
	struct rvm_status_disk d, best = { .generation = 0 };
	const u8 *dict = NULL;
	u64 area;
	int i;

	for (i = 0; i < 2; i++) {
		const u8 *slot = log->slots + i * RVM_STATUS_SIZE;

		memcpy(&d, slot, sizeof(d));
		if (memcmp(d.magic, RVM_STATUS_MAGIC, sizeof(d.magic)) ||
		    le64_to_cpu(d.generation) < le64_to_cpu(best.generation))
			continue;
		best = d;
		dict = slot + sizeof(d);
	}
	area = le64_to_cpu(best.area_length);
	if (!area || area % RVM_AREA_UNIT || area > there)
		area = there & -(u64)RVM_AREA_UNIT;
	rvm_status_init(s, le64_to_cpu(best.log_id), area, le64_to_cpu(best.created));
	if (!dict)
		return;
	guess_dictionary(s, dict);
	if (le32_to_cpu(best.next_segment) > s->next_segment)
		s->next_segment = le32_to_cpu(best.next_segment);
	s->generation = le64_to_cpu(best.generation);
	s->incarnation = le64_to_cpu(best.incarnation);
	s->head = s->start = le64_to_cpu(best.head) & (COUNT_MAX - 8);
	s->head_sequence = s->start_sequence = le64_to_cpu(best.head_sequence);
}

static int read_slots_once(struct log *log, struct rvm_status *s)
{
	int error = read_units(log, 0, log->slots, RVM_AREA_START);

	return error ? error : rvm_status_choose(s, log->slots);
}

/* No status is claimed to be newer: none was just being written. */
static bool is_newest(const struct log *log, const struct rvm_status *s)
{
	return rvm_status_generation(log->slots, 0) <= s->generation &&
	       rvm_status_generation(log->slots, 1) <= s->generation;
}

/*
 * What counts now, or why nothing does.  The newer status that is damaged may just be
 * written, and the other one be older than what it seems to follow: then they change.
 */
static int read_slots(struct log *log, struct rvm_status *s)
{
	u32 sum, before = 0;
	int error, tries;

	if (log->length < RVM_AREA_START)
		return -ENODATA;
	for (tries = 0; tries < LOOKS; tries++) {
		error = read_slots_once(log, s);
		if (error ? error != -EUCLEAN : is_newest(log, s))
			break;
		sum = rvm_crc32c(RVM_CRC_SEED, log->slots, RVM_AREA_START);
		if (tries && sum == before)
			break;
		before = sum;
		usleep(PAUSE);
	}
	return error;
}

/* --- the records that there are ---------------------------------------------- */

void places_add(struct places *places, u64 position, u64 sequence, u64 incarnation)
{
	places->at = grow(places->at, places->count, &places->room, sizeof(*places->at));
	places->at[places->count++] = (struct place){ position, sequence, incarnation };
}

/* To the tail, or to what else stops it. */
static void scan_on(struct log *log)
{
	const struct rvm_record *r = &log->scan.record;

	while ((log->end = rvm_scan_next(&log->scan)) > 0)
		places_add(&log->live, r->position, r->sequence, r->incarnation);
}

/* What was scanned by log->status is still so. */
static bool scan_counts(struct log *log, struct rvm_status *now)
{
	if (read_slots(log, now))
		return false;
	if (now->log_id != log->status.log_id || now->incarnation != log->status.incarnation)
		return false;
	return now->head <= log->scan.position &&
	       (!log->end || now->generation == log->status.generation);
}

static void scan_all(struct log *log)
{
	struct rvm_status *now = check_memory(malloc(sizeof(*now)));
	int looks;

	for (looks = 0; looks < LOOKS; looks++) {
		rvm_scan_init(&log->scan, &log->status, read_units, log, log->scan.buffer, BUFFER);
		log->live.count = 0;
		scan_on(log);
		if (scan_counts(log, now))
			break;
		/* what ended this look says nothing: it may all be overwritten by now */
		log->end = -EBUSY;
		log->status_error = read_slots(log, &log->status);
		if (log->status_error)
			break;
	}
	free(now);
}

/* What stands behind a damage belongs to the log as well. */
static void take_found(struct log *log)
{
	size_t i;

	for (i = 0; i < log->found.count; i++) {
		const struct place *p = &log->found.at[i];

		if (!log->status_error &&
		    (p->sequence < log->scan.sequence || p->incarnation > log->status.incarnation))
			continue;
		places_add(&log->live, p->position, p->sequence, p->incarnation);
		log->behind_damage++;
	}
	/* it was no search for all that there is */
	if (!log->status_error)
		log->found.count = 0;
}

static void set_length(struct log *log)
{
	struct stat st;

	if (!fstat(log->fd, &st) && !log->device)
		log->length = st.st_size;
}

static void prepare_reader(struct log *log)
{
	log->probe = log->status;
	rvm_scan_init(&log->reader, &log->probe, read_units, log, log->reader.buffer, BUFFER);
}

bool log_load(struct log *log)
{
	bool whole = true;

	set_length(log);
	log->behind_damage = log->live.count = log->found.count = 0;
	log->bad_blocks = false;
	log->status_error = read_slots(log, &log->status);
	if (!log->status_error)
		scan_all(log);
	if (log->status_error) {
		guess_status(log, &log->status);
		rvm_scan_init(&log->scan, &log->status, read_units, log, log->scan.buffer, BUFFER);
		log->live.count = 0;
		log->end = log->status_error;
	}
	prepare_reader(log);
	if (((log->end && log->end != -EBUSY) || log->bad_blocks) && log_area(log)) {
		whole = log_search(log, log->status_error ? 0 : log->scan.sequence);
		take_found(log);
	}
	return whole;
}

/* All records before the head have gone. */
static void drop_truncated(struct log *log, u64 head)
{
	size_t n = 0;

	while (n < log->live.count && log->live.at[n].position < head)
		n++;
	if (!n)
		return;
	log->live.count -= n;
	memmove(log->live.at, log->live.at + n, log->live.count * sizeof(*log->live.at));
}

bool log_refresh(struct log *log)
{
	struct rvm_status *now;
	bool follows;

	if (log->owner >= 0)
		return true;
	if (log->end == -EBUSY)
		return log_load(log);
	now = check_memory(malloc(sizeof(*now)));
	if (log->status_error || log->end || log->bad_blocks) {
		/* damage stays as it is, but for another's work */
		follows = log->length >= RVM_AREA_START &&
			  read_slots_once(log, now) == log->status_error &&
			  (log->status_error || now->generation == log->status.generation);
		free(now);
		return follows || log_load(log);
	}
	follows = scan_counts(log, now);
	if (follows) {
		drop_truncated(log, now->head);
		log->status = *now;
		scan_on(log);
		prepare_reader(log);
		follows = scan_counts(log, now) && !log->end;
	}
	free(now);
	return follows || log_load(log);
}

bool log_sound(const struct log *log)
{
	return !log->status_error && !log->end && !log->bad_blocks &&
	       log_area(log) == log->status.area_length;
}

void log_print_damage(FILE *out, const struct log *log)
{
	const struct rvm_status *s = &log->status;

	if (log->length < RVM_AREA_START)
		fprintf(out, "this is no log: it is too short\n");
	else if (log->status_error == -EINVAL)
		fprintf(out, "this is no log, or both statuses are damaged\n");
	else if (log->status_error == -EPROTONOSUPPORT)
		fprintf(out, "the log is of another format version\n");
	else if (log->status_error == -EUCLEAN)
		fprintf(out, "neither status is whole\n");
	else if (log->status_error)
		fprintf(out, "the statuses can't be read: %s\n", strerror(-log->status_error));
	if (!log->status_error && log_area(log) != s->area_length)
		fprintf(out, "the log was longer once: %" PRIu64 " bytes of its area are missing\n",
			(s->area_length - log_area(log)));
	if (log->bad_blocks)
		fprintf(out, "blocks can't be read, the first one at file offset %" PRIu64 "\n",
			log->first_bad);
	if (!log->status_error && log->end == -EBUSY)
		fprintf(out, "the log is truncated faster than it can be read to its end\n");
	else if (!log->status_error && log->end)
		fprintf(out, "the log is damaged at position %" PRIu64 ", file offset %" PRIu64 ": %s (sequence %" PRIu64 ")\n",
			log->scan.position,
			log_offset(log, log->scan.position),
			log->end == -EUCLEAN ? "no sound record stands there" : strerror(-log->end),
			log->scan.sequence);
	if (log->behind_damage)
		fprintf(out, log->status_error ? "%s found, by a search\n" :
						 "%s found behind that, the last of those shown\n",
			plural(log->behind_damage, "record"));
}

/* --- one record --------------------------------------------------------------- */

/* rvm_range_fn: a piece of a range, or all of it. */
static int take_piece(void *context, u32 segment, u64 offset, const void *data, u32 length)
{
	struct log *log = context;
	struct contents *c = &log->contents;
	u64 position = log->reader.window + (u64)((const u8 *)data - (u8 *)log->reader.buffer);
	struct range *r = c->count ? &c->ranges[c->count - 1] : NULL;

	/* two ranges have a header between them */
	if (!r || r->position + r->length != position) {
		c->ranges = grow(c->ranges, c->count, &c->room, sizeof(*c->ranges));
		r = &c->ranges[c->count++];
		*r = (struct range){ .segment = segment, .offset = offset, .position = position,
				     .data = c->length };
	}
	while (c->length + length > c->data_room)
		c->data = grow(c->data, c->data_room, &c->data_room, 1);
	memcpy(c->data + c->length, data, length);
	c->length += length;
	r->length += length;
	return 0;
}

/* It is not before the head by now. */
static bool still_live(struct log *log, u64 position)
{
	struct rvm_status *now;
	bool live = true;

	if (log->owner >= 0 || log->status_error)
		return true;
	now = check_memory(malloc(sizeof(*now)));
	if (!read_slots(log, now))
		live = now->log_id == log->status.log_id && now->head <= position;
	free(now);
	return live;
}

/*
 * A whole record names segments that the dictionary lacks, since it is damaged, or
 * the record was truncated.  Their ids are taken on trust: without names.
 */
static bool trust_segments(struct log *log, const struct place *place)
{
	struct rvm_status *s = &log->probe;
	const u32 before = s->dict_used;
	struct rvm_record_header h = { .magic = 0 };
	u64 at = sizeof(h), length;
	u8 *record;

	if (!log_area_bytes(log, place->position, &h, sizeof(h)))
		return false;
	length = le64_to_cpu(h.length);
	if (length > log_area(log) || length < RVM_RECORD_MIN)
		return false;
	length -= sizeof(struct rvm_record_trailer);
	record = check_memory(malloc(length));
	if (!log_area_bytes(log, place->position, record, length))
		length = 0;
	while (at + sizeof(struct rvm_range_header) <= length) {
		struct rvm_range_header r;
		struct rvm_dict_disk d = { .name_length = 0 };
		struct rvm_dict_entry e = { .id = 0 };
		u32 cursor = 0;

		memcpy(&r, record + at, sizeof(r));
		d.id = r.segment;
		while (e.id != le32_to_cpu(d.id) && rvm_dict_next(s, &cursor, &e))
			;
		if (e.id != le32_to_cpu(d.id)) {
			if (s->dict_used + sizeof(d) > sizeof(s->dict))
				break;
			memcpy(s->dict + s->dict_used, &d, sizeof(d));
			s->dict_used += sizeof(d);
		}
		at += rvm_range_size(le32_to_cpu(r.length));
	}
	free(record);
	return s->dict_used > before;
}

int log_contents(struct log *log, const struct place *place)
{
	struct rvm_status *s = &log->probe;
	struct contents *c = &log->contents;
	int found;

	/* a log in which it is the first record */
	s->head = s->start = log->reader.position = place->position;
	s->head_sequence = s->start_sequence = log->reader.sequence = place->sequence;
	s->incarnation = place->incarnation;
	log->reader.incarnation = 0;
	c->count = c->length = 0;
	found = rvm_scan_next(&log->reader);
	if (found == -EUCLEAN && trust_segments(log, place))
		found = rvm_scan_next(&log->reader);
	if (found > 0) {
		c->record = log->reader.record;
		found = rvm_scan_ranges(&log->reader, &c->record, take_piece, log);
		if (!found && c->record.position == place->position)
			return 1;
	}
	if (found && found != -EUCLEAN)
		return found;
	return still_live(log, place->position) ? -EUCLEAN : 0;
}

bool log_each(struct log *log, log_record_fn fn, void *context)
{
	size_t i;

	for (i = 0; i < log->live.count; i++) {
		int found = log_contents(log, &log->live.at[i]);

		if (found < 0)
			return fail("the record of sequence %" PRIu64 " can't be read any more",
				    log->live.at[i].sequence);
		if (found && !fn(context, log, &log->contents))
			return false;
	}
	return true;
}

/* --- segments ------------------------------------------------------------------ */

void print_segment(FILE *out, const struct log *log, u32 id)
{
	struct rvm_dict_entry e;
	u32 cursor = 0;

	while (rvm_dict_next(&log->status, &cursor, &e)) {
		if (e.id == id) {
			print_name(out, e.name, e.name_length);
			return;
		}
	}
	fprintf(out, "segment %u", id);
}

static bool ends_with(const struct rvm_dict_entry *e, const char *text)
{
	size_t n = strlen(text);

	return n < e->name_length && e->name[e->name_length - n - 1] == '/' &&
	       !memcmp(e->name + e->name_length - n, text, n);
}

u32 find_segment(const struct log *log, const char *text)
{
	struct rvm_dict_entry e;
	u32 cursor = 0, id = rvm_dict_find(&log->status, text, strlen(text)), ends = 0;
	const char *end;
	char *absolute;
	u64 number;

	if (id)
		return id;
	absolute = realpath(text, NULL);
	if (absolute)
		id = rvm_dict_find(&log->status, absolute, strlen(absolute));
	free(absolute);
	if (id)
		return id;
	if (!parse_number(text, &number, &end) || *end)
		number = 0;
	while (rvm_dict_next(&log->status, &cursor, &e)) {
		if (number && e.id == number)
			return e.id;
		if (ends_with(&e, text)) {
			id = e.id;
			ends++;
		}
	}
	if (ends == 1)
		return id;
	fail(ends ? "%s: several segments have names that end so" :
		    "%s: the log's records know no such segment; 'show seg_dict' lists them", text);
	return 0;
}

/* --- opening ------------------------------------------------------------------- */

/* Reads past the page cache, if they work. */
static void read_direct(struct log *log)
{
	void *buffer = check_memory(user_file_buffer(RVM_AREA_UNIT));
	int flags = fcntl(log->fd, F_GETFL);

	if (!fcntl(log->fd, F_SETFL, flags | O_DIRECT) &&
	    pread(log->fd, buffer, RVM_AREA_UNIT, 0) < 0)
		fcntl(log->fd, F_SETFL, flags);
	free(buffer);
}

int open_to_read(const char *path, bool *device, u64 *length)
{
	struct stat st;
	int fd, error;

	/* O_NONBLOCK: a FIFO of that name must not make us wait */
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	if (fd < 0)
		return -errno;
	error = fstat(fd, &st) ? -errno : 0;
	*device = S_ISBLK(st.st_mode);
	*length = st.st_size;
	if (!error && !*device && !S_ISREG(st.st_mode))
		error = S_ISDIR(st.st_mode) ? -EISDIR : -EINVAL;
	if (!error && *device && ioctl(fd, BLKGETSIZE64, length))
		error = -errno;
	if (!error)
		return fd;
	close(fd);
	return error;
}

struct log *log_open(const char *path)
{
	struct log *log = check_memory(calloc(1, sizeof(*log)));

	log->owner = -1;
	log->path = check_memory(strdup(path));
	log->fd = open_to_read(path, &log->device, &log->length);
	if (log->fd < 0) {
		fail("log %s: %s", path, log->fd == -EINVAL ? "neither a regular file nor a block device" :
							      strerror(-log->fd));
		log_close(log);
		return NULL;
	}
	read_direct(log);
	log->slots = check_memory(user_file_buffer(RVM_AREA_START));
	memset(log->slots, 0, RVM_AREA_START);
	log->scan.buffer = check_memory(user_file_buffer(BUFFER));
	log->reader.buffer = check_memory(user_file_buffer(BUFFER));
	log_load(log);
	return log;
}

void log_close(struct log *log)
{
	log_disown(log);
	if (log->fd >= 0)
		close(log->fd);
	free(log->slots);
	free(log->scan.buffer);
	free(log->reader.buffer);
	free(log->live.at);
	free(log->found.at);
	free(log->contents.ranges);
	free(log->contents.data);
	free(log->path);
	free(log);
}

bool log_own(struct log *log)
{
	struct stat st, owned;
	bool device;
	u64 length;

	if (log->owner >= 0)
		return true;
	log->owner = user_file_open(log->path, &length, &device);
	if (log->owner == -EBUSY)
		return fail("log %s is in use by another process or the kernel; it can be read only", log->path);
	if (log->owner < 0)
		return fail_errno(log->owner, "log %s can't be changed", log->path);
	if (!fstat(log->fd, &st) && !fstat(log->owner, &owned) && st.st_dev == owned.st_dev &&
	    st.st_ino == owned.st_ino)
		return true;
	log_disown(log);
	return fail("log %s: another file has that name by now", log->path);
}

void log_disown(struct log *log)
{
	user_file_close(log->owner);
	log->owner = -1;
}
