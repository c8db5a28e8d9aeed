// SPDX-License-Identifier: GPL-2.0 OR MIT
/* A log and other files: copying it, replaying it into a segment's copy, verifying both. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <unistd.h>

#include "core/rangeset.h"
#include "lib/user.h"
#include "tools/rvmutl/rvmutl.h"

#define PIECE	(1u << 20)

/* A new file; nothing is left of it if it isn't finished. */
static int create(const char *path)
{
	int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

	if (fd < 0)
		fail_errno(-errno, "%s", path);
	return fd;
}

static bool finish(int fd, const char *path, bool good)
{
	if (good && fsync(fd))
		good = fail_errno(-errno, "%s", path);
	if (close(fd) && good)
		good = fail_errno(-errno, "%s", path);
	if (!good)
		unlink(path);
	return good;
}

/* --- copy_log -------------------------------------------------------------------- */

static bool copy_bytes(struct log *log, int fd, const char *path, u64 from, u64 end)
{
	u8 *piece = check_memory(malloc(PIECE));
	ssize_t n = 0;
	int error = 0;

	for (; from < end && !error; from += n) {
		n = log_bytes(log, from, piece, end - from < PIECE ? end - from : PIECE);
		if (n <= 0) {
			error = n ? (int)n : -EIO;
			fail_errno(error, "log %s", log->path);
			break;
		}
		error = user_file_write(fd, from, piece, n);
		if (error)
			fail_errno(error, "%s", path);
	}
	free(piece);
	return !error;
}

/*
 * The area first, then the status: no record from its head on was overwritten in the
 * meantime, and the scan of the copy ends where the copying came too early.  Only
 * a new opening would be missed.
 */
static bool copy_log_once(struct log *log, int fd, const char *path, bool *again)
{
	u64 length = RVM_AREA_START + log_area(log), incarnation = log->status.incarnation;

	if (log->status_error)
		length = log->length;
	if (!copy_bytes(log, fd, path, RVM_AREA_START < length ? RVM_AREA_START : 0, length))
		return false;
	if (!log_refresh(log))
		return false;
	*again = !log->status_error && log->status.incarnation != incarnation;
	return user_file_write(fd, 0, log->slots, length < RVM_AREA_START ? 0 : RVM_AREA_START) == 0 ||
	       fail("%s: the status could not be written", path);
}

bool copy_log(struct session *s, struct words *w)
{
	const char *path = w->word[1];
	int fd = create(path), tries = 0;
	bool good = true, again = true;

	if (fd < 0)
		return false;
	while (good && again && tries++ < 10)
		good = copy_log_once(s->log, fd, path, &again);
	if (good && again)
		good = fail("log %s: it is opened again and again", s->log->path);
	return finish(fd, path, good);
}

/* --- replay ------------------------------------------------------------------------ */

struct replay {
	const char *path;
	int fd;
	u32 segment;
	u64 records, bytes;
};

static bool replay_record(void *context, struct log *log, const struct contents *c)
{
	struct replay *r = context;
	bool any = false;

	(void)log;
	for (size_t i = 0; i < c->count; i++) {
		const struct range *range = &c->ranges[i];
		int error;

		if (range->segment != r->segment)
			continue;
		error = user_file_write(r->fd, range->offset, c->data + range->data, range->length);
		if (error)
			return fail_errno(error, "%s", r->path);
		any = true;
		r->bytes += range->length;
	}
	r->records += any;
	return true;
}

/* The segment as it is, if it is there. */
static bool copy_segment(const char *name, int fd, const char *path)
{
	u64 at = 0, length;
	bool device;
	int from = open_to_read(name, &device, &length), error = from < 0 ? from : 0;
	u8 *piece;

	if (from == -ENOENT)
		return true;
	piece = check_memory(malloc(PIECE));
	while (!error && at < length) {
		size_t n = length - at < PIECE ? length - at : PIECE;

		error = user_file_read(from, at, piece, n);
		if (!error)
			error = user_file_write(fd, at, piece, n);
		at += n;
	}
	if (from >= 0)
		close(from);
	free(piece);
	return !error || fail_errno(error, "copying segment %s into %s", name, path);
}

/* The name of a segment as the system takes it; to be freed. */
static char *segment_name(const struct log *log, u32 id)
{
	struct rvm_dict_entry e;
	u32 cursor = 0;

	while (rvm_dict_next(&log->status, &cursor, &e))
		if (e.id == id)
			return check_memory(strndup(e.name, e.name_length));
	return check_memory(strdup(""));
}

bool replay(struct session *s, struct words *w)
{
	struct replay r = { .path = w->word[2], .segment = find_segment(s->log, w->word[1]) };
	char *name;
	bool good;

	if (!r.segment)
		return false;
	r.fd = create(r.path);
	if (r.fd < 0)
		return false;
	name = segment_name(s->log, r.segment);
	good = copy_segment(name, r.fd, r.path) && log_each(s->log, replay_record, &r);
	free(name);
	if (!finish(r.fd, r.path, good))
		return false;
	fprintf(s->out, "%s, %s\n", plural(r.records, "record"), plural(r.bytes, "byte"));
	return true;
}

/* --- verify ---------------------------------------------------------------------------- */

struct verify {
	int fd;
	u32 segment;
	bool device;
	u64 length;			/* of the segment's file */
	struct rvm_rangeset seen;	/* bytes that a newer record gave */
	u64 bytes, differ, beyond;	/* of the log's newest values */
	int error;
	const u8 *data;			/* of the range that is looked at */
	u64 offset;
};

/* rvm_gap_fn: these bytes are the newest that the log has. */
static int compare(void *context, u64 start, u64 length)
{
	struct verify *v = context;
	u8 piece[4096];

	v->bytes += length;
	while (length) {
		size_t n = length < sizeof(piece) ? length : sizeof(piece);

		if (start >= v->length) {
			v->beyond += length;
			return 0;
		}
		if (n > v->length - start)
			n = v->length - start;
		v->error = user_file_read(v->fd, start, piece, n);
		if (v->error)
			return v->error;
		for (size_t i = 0; i < n; i++)
			v->differ += piece[i] != v->data[start - v->offset + i];
		start += n;
		length -= n;
	}
	return 0;
}

static bool verify_record(struct verify *v, const struct contents *c)
{
	for (size_t i = 0; i < c->count && !v->error; i++) {
		const struct range *r = &c->ranges[i];

		if (r->segment != v->segment)
			continue;
		v->data = c->data + r->data;
		v->offset = r->offset;
		v->error = rvm_rangeset_add(&v->seen, r->offset, r->length, compare, v);
	}
	return !v->error;
}

static bool tell_verified(FILE *out, const struct log *log, const struct verify *v)
{
	print_segment(out, log, v->segment);
	fputs(": ", out);
	if (v->error) {
		fprintf(out, "%s\n", strerror(-v->error));
		return false;
	}
	fprintf(out, "the log has %s", plural(v->bytes, "byte"));
	if (v->differ || v->beyond)
		fprintf(out, ", of which %" PRIu64 " are not in the segment yet", v->differ + v->beyond);
	if (v->beyond)
		fprintf(out, ", %" PRIu64 " of them beyond its end", v->beyond);
	/* a file grows when they are applied */
	if (v->beyond && v->device)
		fputs(": the device is too short", out);
	putc('\n', out);
	return !v->beyond || !v->device;
}

/* Newest first, each byte once. */
static bool verify_segment(struct session *s, const char *text)
{
	struct verify v = { .segment = find_segment(s->log, text) };
	const struct places *live = &s->log->live;
	bool good = true;
	char *name;

	if (!v.segment)
		return false;
	name = segment_name(s->log, v.segment);
	rvm_rangeset_init(&v.seen);
	v.fd = open_to_read(name, &v.device, &v.length);
	v.error = v.fd < 0 ? v.fd : 0;
	for (size_t i = live->count; i-- > 0 && !v.error && good;) {
		int found = log_contents(s->log, &live->at[i]);

		/* truncated, and with it all that are older */
		if (!found)
			break;
		good = found > 0 ? verify_record(&v, &s->log->contents) || v.error :
				   fail_errno(found, "the record of sequence %" PRIu64, live->at[i].sequence);
	}
	good = tell_verified(s->out, s->log, &v) && good;
	rvm_rangeset_clear(&v.seen);
	if (v.fd >= 0)
		close(v.fd);
	free(name);
	return good;
}

/*
 * Since the last opening a record that is damaged can't be told from one that was never
 * finished: it ends the log.  But whole ones behind it are worth a word.
 */
static bool look_behind_tail(struct session *s)
{
	const struct log *log = s->log;
	u64 n = 0;

	if (!log_search(s->log, log->scan.sequence + 1))
		return false;
	for (size_t i = 0; i < log->found.count; i++)
		n += log->found.at[i].incarnation == log->status.incarnation;
	if (n)
		fprintf(s->out, "%s whole behind the tail: a crash cut short what was before them, or it is damaged; "
			"find_tail goes there\n", plural(n, "record"));
	return true;
}

bool verify(struct session *s, int n, char **segments)
{
	bool good = log_sound(s->log);
	int i;

	print_name(s->out, s->log->path, strlen(s->log->path));
	fputs(": ", s->out);
	if (good) {
		fprintf(s->out, "sound, %s\n", plural(s->log->live.count, "record"));
		good = look_behind_tail(s);
	} else {
		log_print_damage(s->out, s->log);
	}
	for (i = 0; i < n; i++)
		good = verify_segment(s, segments[i]) && good;
	return good;
}
