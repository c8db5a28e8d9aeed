// SPDX-License-Identifier: GPL-2.0 OR MIT
/*
 * Commands that write.  What changes a log as it is takes the session's update, which
 * is also ownership: the same that both engines take, so none of them runs meanwhile.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/log_file.h"
#include "lib/user.h"
#include "tools/rvmutl/rvmutl.h"

static bool need_update(const struct session *s)
{
	return (s->update && s->log->owner >= 0) || fail("this changes the log: update first");
}

bool set_update(struct session *s, struct words *w)
{
	(void)w;
	if (s->log && !log_own(s->log))
		return false;
	s->update = true;
	return !s->log || log_load(s->log);
}

bool set_no_update(struct session *s, struct words *w)
{
	(void)w;
	s->update = false;
	if (s->log)
		log_disown(s->log);
	return true;
}

/* --- making a log ------------------------------------------------------------- */

static bool tell_code(const char *path, rvm_return_t code)
{
	if (code == RVM_EOFFSET)
		return fail("%s: a log of that length can't be", path);
	if (code == RVM_EIO)
		return fail_errno(-errno, "%s", path);
	return !code || fail("%s: %s", path, rvm_return(code));
}

/* What stands there may be lost: a log, a device, or nothing. */
static bool may_overwrite(int fd, const char *path, u64 length, bool device)
{
	char magic[2][sizeof(RVM_STATUS_MAGIC)] = { 0 };
	int i;

	for (i = 0; i < 2; i++)
		if (pread(fd, magic[i], sizeof(magic[i]), (off_t)i * RVM_STATUS_SIZE) < 0)
			return fail_errno(-errno, "%s", path);
	return device || !length || !memcmp(magic[0], RVM_STATUS_MAGIC, sizeof(magic[0])) ||
	       !memcmp(magic[1], RVM_STATUS_MAGIC, sizeof(magic[1])) ||
	       fail("%s exists and is no log; remove it if nobody needs it", path);
}

static bool make_over(struct session *s, const char *path, u64 area)
{
	bool device, good;
	u64 length;
	int fd;

	if (!s->update)
		return fail("%s exists: after update, a new log can be made over an old one", path);
	/* it may be the one that is open, and ours */
	session_close_log(s);
	fd = user_file_open(path, &length, &device);
	if (fd < 0)
		return fail_errno(fd, "%s", path);
	good = may_overwrite(fd, path, length, device) && tell_code(path, rvm_log_file_format(fd, area));
	user_file_close(fd);
	return good;
}

bool init_log(struct session *s, struct words *w)
{
	const char *path = w->word[1];
	u64 area;

	if (!parse_length("LENGTH", w->word[2], &area))
		return false;
	if (access(path, F_OK)) {
		if (errno != ENOENT)
			return fail_errno(-errno, "%s", path);
		if (!tell_code(path, rvm_log_file_create(path, area, 0600)))
			return false;
	} else if (!make_over(s, path, area)) {
		return false;
	}
	return session_open_log(s, path);
}

/* --- recovery ------------------------------------------------------------------- */

/* In a process of its own, since a library is initialized only once. */
static void __attribute__((noreturn)) recover_in_child(const char *path)
{
	rvm_options_t options;
	rvm_return_t code;

	rvm_init_options(&options);
	options.log_dev = (char *)path;
	code = RVM_INIT(&options);
	if (!code)
		code = rvm_truncate();
	if (code == RVM_EIO)
		fail_errno(-errno, "recovering %s", path);
	else if (code)
		fail("recovering %s: %s", path, rvm_return(code));
	if (rvm_terminate() && !code)
		code = RVM_EIO;
	_exit(code != RVM_SUCCESS);
}

bool recover_log(struct session *s, struct words *w)
{
	int status = -1;
	pid_t pid;

	(void)w;
	log_disown(s->log);
	fflush(NULL);
	pid = fork();
	if (!pid)
		recover_in_child(s->log->path);
	if (pid < 0)
		fail_errno(-errno, "recovering %s", s->log->path);
	else
		while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
			;
	if (s->update && !log_own(s->log))
		s->update = false;
	s->have_place = false;
	return log_load(s->log) && !status;
}

/* --- the status, field by field --------------------------------------------------- */

static const struct {
	const char *name;
	size_t offset, size;		/* in struct rvm_status */
} fields[] = {
#define FIELD(name)	{ #name, offsetof(struct rvm_status, name), sizeof(((struct rvm_status *)0)->name) }
	FIELD(generation), FIELD(log_id), FIELD(incarnation), FIELD(area_length), FIELD(head),
	FIELD(head_sequence), FIELD(start), FIELD(start_sequence), FIELD(created), FIELD(next_segment),
#undef FIELD
};

#define FIELDS	(sizeof(fields) / sizeof(fields[0]))

const char *const status_fields[] = {
	"generation", "log_id", "incarnation", "area_length", "head", "head_sequence", "start", "start_sequence",
	"created", "next_segment", NULL
};

_Static_assert(sizeof(status_fields) / sizeof(status_fields[0]) == FIELDS + 1, "the same fields");

static void print_fields(FILE *out, const struct rvm_status *s)
{
	struct rvm_dict_entry e;
	u32 cursor = 0;

	for (size_t i = 0; i < FIELDS; i++) {
		const u8 *at = (const u8 *)s + fields[i].offset;
		u64 n = 0;

		memcpy(&n, at, fields[i].size);
		fprintf(out, "%-15s %" PRIu64 " (0x%" PRIx64 ")\n", fields[i].name, n, n);
	}
	while (rvm_dict_next(s, &cursor, &e)) {
		fprintf(out, "segment         %u ", e.id);
		print_name(out, e.name, e.name_length);
		putc('\n', out);
	}
}

bool set_field(struct session *s, struct words *w)
{
	u64 n;
	int i;

	if (w->n == 1) {
		print_fields(s->out, s->edit ? s->edit : &s->log->status);
		return true;
	}
	if (w->n == 2)
		return fail("set: to what?");
	i = find_word("field", status_fields, w->word[1]);
	if (i < 0 || !parse_whole(w->word[1], w->word[2], &n))
		return false;
	if (fields[i].size == sizeof(u32) && n > UINT32_MAX)
		return fail("%s: that is more than 2^32 - 1", fields[i].name);
	if (!s->edit) {
		s->edit = check_memory(malloc(sizeof(*s->edit)));
		*s->edit = s->log->status;
	}
	/* the lower half of a little-endian number comes first */
	memcpy((u8 *)s->edit + fields[i].offset, &n, fields[i].size);
	return true;
}

/* What stands in a slot, whether or not it counts. */
static bool print_slot(struct session *s, u64 number)
{
	struct rvm_status *status = check_memory(calloc(1, sizeof(*status)));
	const u8 *slot = s->log->slots + number * RVM_STATUS_SIZE;
	struct rvm_status_disk d;
	u32 used, crc;
	int error = rvm_status_decode(status, slot);

	memcpy(&d, slot, sizeof(d));
	used = le32_to_cpu(d.used);
	crc = le32_to_cpu(d.crc);
	d.crc = 0;
	fprintf(s->out, "slot            %" PRIu64 "\n", number);
	fprintf(s->out, "state           %s\n",
		error == -EINVAL ? "no status" : error == -EPROTONOSUPPORT ? "of another format version" :
		error ? "damaged" : (status->generation & 1) != number ? "sound, but of the other slot" : "sound");
	fprintf(s->out, "version         %u\n", le32_to_cpu(d.version));
	fprintf(s->out, "used            %u, %u segments\n", used, le32_to_cpu(d.segments));
	if (used >= sizeof(d) && used <= RVM_STATUS_SIZE) {
		u32 sum = rvm_crc32c(RVM_CRC_SEED, &d, sizeof(d));

		sum = rvm_crc32c(sum, slot + sizeof(d), used - sizeof(d));
		fprintf(s->out, "crc             %08x, and should be %08x\n", crc, sum);
		status->dict_used = used - sizeof(d);
	}
	status->generation = le64_to_cpu(d.generation);
	status->log_id = le64_to_cpu(d.log_id);
	status->incarnation = le64_to_cpu(d.incarnation);
	status->area_length = le64_to_cpu(d.area_length);
	status->head = le64_to_cpu(d.head);
	status->head_sequence = le64_to_cpu(d.head_sequence);
	status->start = le64_to_cpu(d.start);
	status->start_sequence = le64_to_cpu(d.start_sequence);
	status->created = le64_to_cpu(d.created);
	status->next_segment = le32_to_cpu(d.next_segment);
	memcpy(status->dict, slot + sizeof(d), sizeof(status->dict));
	print_fields(s->out, status);
	free(status);
	return !error;
}

bool read_status(struct session *s, struct words *w)
{
	u64 number;

	if (w->n > 1) {
		if (!parse_whole("SLOT", w->word[1], &number))
			return false;
		return number < 2 ? print_slot(s, number) : fail("there are slots 0 and 1");
	}
	free(s->edit);
	s->edit = NULL;
	if (!log_load(s->log))
		return false;
	print_fields(s->out, &s->log->status);
	return true;
}

/* Bytes of the log's file, durably. */
static bool write_log(struct log *log, u64 offset, const void *data, size_t length)
{
	int error = user_file_write(log->owner, offset, data, length);

	if (!error && fsync(log->owner))
		error = -errno;
	if (error)
		fail_errno(error, "log %s", log->path);
	return log_load(log) && !error;
}

bool write_status(struct session *s, struct words *w)
{
	struct rvm_status *check;
	struct log *log = s->log;
	bool good;
	u8 *slot;

	(void)w;
	if (!need_update(s))
		return false;
	if (!s->edit)
		return fail("nothing was set");
	if (s->edit->area_length > log->length || log->length - s->edit->area_length < RVM_AREA_START)
		return fail("the log is too short for that area_length");
	slot = check_memory(user_file_buffer(RVM_STATUS_SIZE));
	check = check_memory(malloc(sizeof(*check)));
	rvm_status_encode(s->edit, slot);
	good = rvm_status_decode(check, slot) ?
	       fail("that would be no sound status; docs/format.md says what it must be like") :
	       write_log(log, rvm_status_offset(s->edit), slot, RVM_STATUS_SIZE);
	/* another try is for the same slot: the other one may be all that there is */
	if (!good)
		s->edit->generation--;
	free(slot);
	free(check);
	if (!good)
		return false;
	good = !log->status_error && log->status.generation == s->edit->generation;
	free(s->edit);
	s->edit = NULL;
	return good || fail("it is written, but the other slot has a higher generation, and counts");
}

/* --- bytes ---------------------------------------------------------------------------- */

bool poke(struct session *s, struct words *w)
{
	size_t length = 0, most = 1;
	u64 offset, n;
	bool good;
	u8 *bytes;

	if (!need_update(s) || !parse_length("OFFSET", w->word[1], &offset))
		return false;
	for (int i = 2; i < w->n; i++)
		most += strlen(w->word[i]) + 1;
	bytes = check_memory(malloc(most));
	for (int i = 2; i < w->n; i++) {
		if (w->quoted[i]) {
			memcpy(bytes + length, w->word[i], strlen(w->word[i]));
			length += strlen(w->word[i]);
			continue;
		}
		if (!parse_whole("BYTE", w->word[i], &n) || (n > 255 && !fail("BYTE: %s is more than 255", w->word[i]))) {
			free(bytes);
			return false;
		}
		bytes[length++] = (u8)n;
	}
	if (offset > s->log->length || length > s->log->length - offset)
		good = fail("the log has only %s", plural(s->log->length, "byte"));
	else
		good = write_log(s->log, offset, bytes, length);
	free(bytes);
	return good;
}
