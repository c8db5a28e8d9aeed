/* SPDX-License-Identifier: GPL-2.0 OR MIT */
/*
 * rvmutl, inside.  Nothing that is read from a log is believed: records are used
 * when they were found whole, and what can't be is counted and named.
 *
 *   ../rvmutl.c   the command line, and where commands come from
 *   line.c        the line editor
 *   command.c     the table of commands, and one line of them
 *   look.c        commands that go through the log and show it
 *   change.c      commands that write
 *   history.c     show mods: the history of a datum
 *   files.c       a log and segments together: verify, copy_log, replay
 *   dump.c        the log as JSON
 *   log.c         a log, which others may be writing
 *   search.c      records wherever they are, whatever the status says
 *   text.c        words, numbers, names and times
 */
#ifndef RVMUTL_H
#define RVMUTL_H

#include <stdbool.h>
#include <stdio.h>

#include "core/record.h"
#include "core/status.h"

/* --- text.c --- */

/* Tell what is wrong, on standard error; always false. */
bool fail(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* The same, with a negative errno's text behind it. */
bool fail_errno(int error, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* What was allocated; ends the program if it is NULL. */
void *check_memory(void *memory);
/* Room for one more of that size, doubled as needed. */
void *grow(void *array, size_t count, size_t *room, size_t size);

/* A line, split: all of it is in `text`. */
struct words {
	int n;
	char **word;
	bool *quoted;			/* it was, at least in part */
	char *in, *out;			/* what follows < and >; NULL: nothing */
	bool append;			/* >> */
	char *text;
};

/* False and a message: quotes or redirections are wrong. Free it in any case. */
bool split_line(const char *line, struct words *words);
void free_words(struct words *words);

/* A whole number: decimal, 0x or 0; `end` is where it ends. */
bool parse_number(const char *text, u64 *n, const char **end);
/* The same and nothing else; `what` is named in the message. */
bool parse_whole(const char *what, const char *text, u64 *n);
/* With a unit: K, M, G, S (512), P (4096) or B. */
bool parse_length(const char *what, const char *text, u64 *n);

/* "1 record", "2 records". */
const char *plural(u64 n, const char *word);
/* A name, as a word that can be typed in again. */
void print_name(FILE *out, const char *name, size_t length);
void print_json_string(FILE *out, const char *text, size_t length);
/* Nanoseconds since 1970, as UTC. */
const char *time_text(u64 time);
/* Lines of 16 bytes; `address` is the first one's. */
void print_bytes(FILE *out, u64 address, const u8 *data, size_t length);

/* --- log.c --- */

/* Where a record is, and which: enough to find it again. */
struct place {
	u64 position, sequence, incarnation;
};

struct places {
	struct place *at;
	size_t count, room;
};

struct range {
	u32 segment, length;
	u64 offset;			/* in the segment */
	u64 position;			/* of its data in the log */
	size_t data;			/* and in contents->data */
};

/* A record with all that is in it, checked. */
struct contents {
	struct rvm_record record;
	struct range *ranges;
	size_t count, room;
	u8 *data;
	size_t length, data_room;
};

/*
 * A log, which another may own and write meanwhile.  What `places` names was whole
 * when it was read; it may have been truncated and overwritten since.
 */
struct log {
	char *path;
	int fd;				/* reads; direct, if that works */
	int owner;			/* user_file_open's, or -1: it isn't ours */
	bool device;
	u64 length;			/* of the file or device */
	bool bad_blocks;		/* some could not be read, and stand as zeros; */
	u64 first_bad;			/* where the first was */

	u8 *slots;			/* both, as last read */
	struct rvm_status status;	/* what counts; if nothing does, what can be guessed */
	int status_error;		/* why no slot counts, see rvm_status_choose(); or 0 */

	struct rvm_scan scan;		/* from the head to the tail */
	int end;			/* what ended it: 0 the tail, -EUCLEAN damage, -ENODATA, ... */
	struct places live;		/* its records, and then those found behind damage */
	size_t behind_damage;		/* how many are the latter */
	struct places found;		/* by the last search, by sequence number */

	struct rvm_status probe;	/* under which single records are read */
	struct rvm_scan reader;
	struct contents contents;	/* the last that was read */
};

/* A regular file or block device, and how many bytes it has. -errno; -EINVAL: it is neither. */
int open_to_read(const char *path, bool *device, u64 *length);
/* NULL and a message: there is no such file. Anything else can be looked at. */
struct log *log_open(const char *path);
void log_close(struct log *log);
/* Be the one owner, or tell who can't; and give it up. */
bool log_own(struct log *log);
void log_disown(struct log *log);
/* See what is new. Damage is no error here. */
bool log_refresh(struct log *log);
/* The same, from the beginning: also after changes of our own. */
bool log_load(struct log *log);
/* The log has what a sound log has: a status, all records up to its tail, all bytes. */
bool log_sound(const struct log *log);
/* Why not: sentences. */
void log_print_damage(FILE *out, const struct log *log);

/*
 * Read a record again, into log->contents.  1; 0: it was truncated meanwhile;
 * -EUCLEAN: it is not whole and sound any more, or what reading gave.
 */
int log_contents(struct log *log, const struct place *place);
/*
 * fn for each of the live records, oldest first, while it says true; records
 * truncated meanwhile are left out.  False: fn said so.
 */
typedef bool (*log_record_fn)(void *context, struct log *log, const struct contents *c);
bool log_each(struct log *log, log_record_fn fn, void *context);

/* Any bytes of the file, short only at its end: how many, or -errno. */
ssize_t log_bytes(struct log *log, u64 offset, void *buffer, size_t length);
/* Any of the record area, from a position on: all of it, or false. */
bool log_area_bytes(struct log *log, u64 position, void *buffer, size_t length);
/* The record area that the file really has. */
u64 log_area(const struct log *log);
/* The file offset of a position; 0 if there is no area. */
u64 log_offset(const struct log *log, u64 position);
/* Bytes from the head to the end of the last record. */
u64 log_used(const struct log *log);
/* The name of a segment, as print_name has it; "segment 3" if there is none. */
void print_segment(FILE *out, const struct log *log, u32 id);
/* NAME, the end of a name that is the only such, or an id. 0 and a message. */
u32 find_segment(const struct log *log, const char *text);

void places_add(struct places *places, u64 position, u64 sequence, u64 incarnation);

/* --- search.c --- */

/*
 * Look through the whole area for whole records with a sequence number from that
 * one on, live or not, into log->found.  False and a message: not all of it was searched.
 */
bool log_search(struct log *log, u64 from);

/* --- command.c --- */

struct session {
	struct log *log;		/* NULL: none is open */
	FILE *out;
	bool update;			/* changes are wanted, and the log is ours */
	bool quit, failed;
	struct rvm_status *edit;	/* what set changed, and write_status writes; or NULL */
	unsigned int depth;		/* of < */

	/* the record that is looked at: */
	struct place place;
	bool have_place;
	size_t range;			/* of its ranges, the current one */
};

struct command {
	const char *name, *alias;
	const char *arguments;
	bool (*run)(struct session *session, struct words *words);
	bool needs_log;
	int min, max;			/* words after its name; -1: any number */
	const char *help;
};

extern const struct command commands[];
/* Run one line; what fails is told and noted in the session. */
void run_line(struct session *session, const char *line);
void run_stream(struct session *session, FILE *in);
bool session_open_log(struct session *session, const char *path);
void session_close_log(struct session *session);

/*
 * Which of the names, up to a NULL, a word means: that very one, or the only one that
 * begins so.  -1 and a message.
 */
int find_word(const char *what, const char *const *names, const char *word);

/* --- look.c --- */

bool show_status(struct session *s, struct words *w);
bool show_statistics(struct session *s, struct words *w);
bool show(struct session *s, struct words *w);
extern const char *const show_words[];
bool go_head(struct session *s, struct words *w);
bool go_tail(struct session *s, struct words *w);
bool go_earliest(struct session *s, struct words *w);
bool find_earliest(struct session *s, struct words *w);
bool find_tail(struct session *s, struct words *w);
bool go_next(struct session *s, struct words *w);
bool go_previous(struct session *s, struct words *w);
bool sub_record(struct session *s, struct words *w);
bool next_sub_record(struct session *s, struct words *w);
bool previous_sub_record(struct session *s, struct words *w);
bool all_special(struct session *s, struct words *w);
bool build_dictionary(struct session *s, struct words *w);
bool monitor(struct session *s, struct words *w);
bool peek(struct session *s, struct words *w);
bool show_sizes(struct session *s, struct words *w);
/* All records, as text. */
bool show_all(struct session *s);

/* --- change.c --- */

bool init_log(struct session *s, struct words *w);
bool recover_log(struct session *s, struct words *w);
bool set_update(struct session *s, struct words *w);
bool set_no_update(struct session *s, struct words *w);
bool set_field(struct session *s, struct words *w);
bool read_status(struct session *s, struct words *w);
bool write_status(struct session *s, struct words *w);
bool poke(struct session *s, struct words *w);
extern const char *const status_fields[];

/* --- history.c --- */

/* words: from ADDR on */
bool show_history(struct session *s, struct words *w, int first);

/* --- files.c --- */

bool copy_log(struct session *s, struct words *w);
bool replay(struct session *s, struct words *w);
/* The log, and what these segments lack of it. */
bool verify(struct session *s, int n, char **segments);

/* --- dump.c --- */

bool dump_json(FILE *out, struct log *log);

/* --- line.c --- */

/* Commands from a terminal, until its end or quit. */
void run_terminal(struct session *s);

#endif
