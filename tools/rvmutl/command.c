// SPDX-License-Identifier: GPL-2.0 OR MIT
/* The table of commands, and running one line of them. */
#include <errno.h>
#include <stdlib.h>

#include "tools/rvmutl/rvmutl.h"

#define DEPTH_MAX	16		/* files that read files */

static bool help(struct session *s, struct words *w);

static bool quit(struct session *s, struct words *w)
{
	(void)w;
	s->quit = true;
	return true;
}

static bool open_log(struct session *s, struct words *w)
{
	if (w->n == 2)
		return session_open_log(s, w->word[1]);
	if (!s->log)
		return fail("no log is open");
	print_name(s->out, s->log->path, strlen(s->log->path));
	fprintf(s->out, "%s\n", s->update ? ", open for changes" : "");
	return true;
}

static bool close_log(struct session *s, struct words *w)
{
	(void)w;
	session_close_log(s);
	return true;
}

const struct command commands[] = {
	{ "init_log", "i", "LOG LENGTH", init_log, false, 2, 2,
	  "make a log with so many bytes (K, M, G, S, P) for records; over what exists only after update" },
	{ "open_log", "log", "[LOG]", open_log, false, 0, 1,
	  "open a log to look at it, or name the one that is open" },
	{ "close_log", NULL, "", close_log, true, 0, 0, "close it" },
	{ "copy_log", NULL, "FILE", copy_log, true, 1, 1, "copy the log as it is now into a new file" },
	{ "status", "log_status", "", show_status, true, 0, 0,
	  "how the log is, and how much of which segments it holds" },
	{ "statistics", NULL, "", show_statistics, true, 0, 0, "count and measure its records" },
	{ "recover", NULL, "", recover_log, true, 0, 0,
	  "apply the records to their segments, and empty the log" },
	{ "replay", NULL, "SEGMENT FILE", replay, true, 2, 2,
	  "write into a new FILE what recovery would make of the segment" },
	{ "head", NULL, "", go_head, true, 0, 0, "go to the oldest record" },
	{ "tail", NULL, "", go_tail, true, 0, 0, "go to the newest record" },
	{ "earliest", NULL, "", go_earliest, true, 0, 0,
	  "go to the earliest record in the area, which may be truncated and not yet overwritten" },
	{ "find_earliest", NULL, "", find_earliest, true, 0, 0,
	  "the same, after a new search through the whole area" },
	{ "find_tail", NULL, "", find_tail, true, 0, 0,
	  "search the whole area for the record with the highest sequence number, and go there" },
	{ "next", "n", "[COUNT]", go_next, true, 0, 1, "go to the next record" },
	{ "prev", "pr", "[COUNT]", go_previous, true, 0, 1, "go to the record before" },
	{ "sub_rec", "sr", "[NUMBER]", sub_record, true, 0, 1, "show a range of the record, with its data" },
	{ "next_sub_rec", "ns", "", next_sub_record, true, 0, 0, "show the next range" },
	{ "prev_sub_rec", "ps", "", previous_sub_record, true, 0, 0, "show the range before" },
	{ "show", "s", "[all | head | tail | COUNT | remaining | seg_dict | status | statistics | "
			"mods ADDR / COUNT SIZE [= VALUE]]", show, true, 0, -1,
	  "show the record, or others; with mods the history of a datum, newest first: ADDR is "
	  "SEGMENT:OFFSET, or OFFSET if there is one segment" },
	{ "all_spec", NULL, "", all_special, true, 0, 0,
	  "show what is special: openings, wraps, merged commits" },
	{ "build_seg_dict", NULL, "", build_dictionary, true, 0, 0,
	  "find out from the records which segments there are, and what the log holds of them" },
	{ "monitor", NULL, "[SECONDS]", monitor, true, 0, 1,
	  "show records as they come, until interrupted" },
	{ "peek", NULL, "OFFSET [LENGTH]", peek, true, 1, 2, "show bytes of the log's file" },
	{ "poke", NULL, "OFFSET BYTE...", poke, true, 2, -1,
	  "change bytes of the log's file; a BYTE is a number or a \"quoted\" text" },
	{ "set", NULL, "[FIELD VALUE]", set_field, true, 0, 2,
	  "change a field of the status in memory, or show them" },
	{ "read_status", NULL, "[0|1]", read_status, true, 0, 1,
	  "forget changes, read the status again; or show a slot, field by field, sound or not" },
	{ "write_status", NULL, "", write_status, true, 0, 0, "write what was set into the log" },
	{ "sizeof", NULL, "", show_sizes, false, 0, 0, "sizes of what a log consists of" },
	{ "update", NULL, "", set_update, false, 0, 0, "take the log, and allow changes" },
	{ "no_update", NULL, "", set_no_update, false, 0, 0, "allow none, and let others have it, as at first" },
	{ "help", "?", "[COMMAND]", help, false, 0, 1, "this list" },
	{ "quit", "q", "", quit, false, 0, 0, "end" },
	{ 0 },
};

/* --- finding one ------------------------------------------------------------- */

int find_word(const char *what, const char *const *names, const char *word)
{
	char several[400] = "";
	int i, found = -1, matches = 0;

	for (i = 0; names[i]; i++) {
		if (!strcmp(names[i], word))
			return i;
		if (!strncmp(names[i], word, strlen(word))) {
			size_t used = strlen(several);

			snprintf(several + used, sizeof(several) - used, " %s", names[i]);
			matches++;
			found = i;
		}
	}
	if (matches == 1)
		return found;
	if (matches)
		fail("%s '%s' can be any of%s", what, word, several);
	else
		fail("there is no %s '%s'", what, word);
	return -1;
}

static const struct command *find_command(const char *word)
{
	const char *names[sizeof(commands) / sizeof(commands[0])];
	const struct command *c;
	int i;

	for (c = commands, i = 0; c->name; c++, i++) {
		if (c->alias && !strcmp(c->alias, word))
			return c;
		names[i] = c->name;
	}
	names[i] = NULL;
	i = find_word("command", names, word);
	return i < 0 ? NULL : &commands[i];
}

static void print_usage(FILE *out, const struct command *c)
{
	fprintf(out, "%s%s%s %s\n", c->name, c->alias ? ", " : "", c->alias ? c->alias : "", c->arguments);
}

static bool help(struct session *s, struct words *w)
{
	const struct command *c = w->n > 1 ? find_command(w->word[1]) : commands;

	if (!c)
		return false;
	for (; c->name; c++) {
		print_usage(s->out, c);
		fprintf(s->out, "        %s\n", c->help);
		if (w->n > 1)
			return true;
	}
	fputs("\nNames can be abbreviated. # begins a comment; < FILE runs the commands in it; > FILE and\n"
	      ">> FILE take what a command prints. Names with blanks stand in \"quotes\".\n", s->out);
	return true;
}

/* --- the log that is open ------------------------------------------------------ */

void session_close_log(struct session *s)
{
	if (s->log)
		log_close(s->log);
	s->log = NULL;
	free(s->edit);
	s->edit = NULL;
	s->have_place = false;
}

bool session_open_log(struct session *s, const char *path)
{
	struct log *log = log_open(path);

	if (!log)
		return false;
	session_close_log(s);
	s->log = log;
	if (s->update && !log_own(log)) {
		s->update = false;
		return false;
	}
	if (log_sound(log))
		return true;
	log_print_damage(stderr, log);
	return false;
}

/* --- one line -------------------------------------------------------------------- */

static bool run_words(struct session *s, struct words *w)
{
	const struct command *c = find_command(w->word[0]);

	if (!c)
		return false;
	if (w->n - 1 < c->min || (c->max >= 0 && w->n - 1 > c->max)) {
		fail("%s: wrong number of arguments; it is", c->name);
		print_usage(stderr, c);
		return false;
	}
	if (c->needs_log && !s->log)
		return fail("no log is open: open_log LOG opens one");
	if (s->log && !log_refresh(s->log))
		return false;
	return c->run(s, w);
}

/* The commands in a file. */
static bool run_file(struct session *s, const char *path)
{
	FILE *in;

	if (s->depth == DEPTH_MAX)
		return fail("%s: %d files are reading each other already", path, DEPTH_MAX);
	in = fopen(path, "re");
	if (!in)
		return fail_errno(-errno, "%s", path);
	s->depth++;
	run_stream(s, in);
	s->depth--;
	fclose(in);
	return true;
}

static bool run_redirected(struct session *s, struct words *w)
{
	FILE *before = s->out;
	bool good;

	if (w->n && w->in)
		return fail("< FILE stands alone on its line");
	if (!w->n && !w->in)
		return !w->out || fail("there is nothing to print into %s", w->out);
	if (w->out) {
		FILE *out = fopen(w->out, w->append ? "ae" : "we");

		if (!out)
			return fail_errno(-errno, "%s", w->out);
		s->out = out;
	}
	good = w->in ? run_file(s, w->in) : run_words(s, w);
	if (w->out) {
		bool failed = ferror(s->out);

		if ((fclose(s->out) || failed) && good)
			good = fail("%s: it could not be written whole", w->out);
		s->out = before;
	}
	return good;
}

void run_line(struct session *s, const char *line)
{
	struct words words;

	if (!split_line(line, &words) || !run_redirected(s, &words))
		s->failed = true;
	free_words(&words);
	if (s->out == stdout)
		fflush(stdout);
}

void run_stream(struct session *s, FILE *in)
{
	char *line = NULL;
	size_t room = 0;

	while (!s->quit && getline(&line, &room, in) >= 0)
		run_line(s, line);
	if (ferror(in)) {
		s->failed = true;
		fail("the commands can't be read");
	}
	free(line);
}
