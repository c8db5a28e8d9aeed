// SPDX-License-Identifier: GPL-2.0 OR MIT
/*
 * rvmutl: looks at a log, on a running engine too, and mends it.  This is the command
 * line; tools/rvmutl/ has the rest.
 */
#include <argp.h>
#include <stdlib.h>
#include <unistd.h>

#include "tools/rvmutl/rvmutl.h"

const char *argp_program_version = "rvmutl 1.0.0";

static const char doc[] =
	"Looks at logs of recoverable virtual memory, and mends them.\v"
	"The first form runs commands, from a terminal or from standard input; 'help' lists them. "
	"A log that an engine is using can be looked at; nothing is changed before 'update'.\n\n"
	"  status   how the log is, and which segments it has records of\n"
	"  dump     all of its records, with --json also their data\n"
	"  verify   check the log, and which of its bytes the SEGMENTs have\n"
	"  recover  apply its records to their segments\n\n"
	"Exit status: 0; 1 if something failed or the log is damaged; 2 for a wrong command line.";

static const char args_doc[] = "[LOG]\nstatus LOG\ndump [--json] LOG\nverify LOG [SEGMENT...]\nrecover LOG";

static const struct argp_option options[] = {
	{ "json", 'j', NULL, 0, "dump: one JSON object", 0 },
	{ NULL, 'h', NULL, OPTION_HIDDEN, NULL, -1 },
	{ 0 },
};

static const char *const verbs[] = { "status", "dump", "verify", "recover", NULL };

static struct {
	bool json;
	const char *verb;		/* NULL: commands are read */
	char *log;
	int segment_count;
	char **segments;
} opt;

static bool is_verb(const char *word)
{
	for (int i = 0; verbs[i]; i++)
		if (!strcmp(verbs[i], word))
			return true;
	return false;
}

static void check_arguments(struct argp_state *state)
{
	if (opt.verb && !opt.log)
		argp_error(state, "%s: which log?", opt.verb);
	if (opt.json && (!opt.verb || strcmp(opt.verb, "dump")))
		argp_error(state, "--json belongs to dump");
}

static error_t parse_option(int key, char *arg, struct argp_state *state)
{
	switch (key) {
	case 'j':
		opt.json = true;
		break;
	case 'h':
		argp_state_help(state, stdout, ARGP_HELP_STD_HELP);
		break;
	case ARGP_KEY_ARG:
		if (!state->arg_num && is_verb(arg))
			opt.verb = arg;
		else if (!opt.log)
			opt.log = arg;
		else if (opt.verb && !strcmp(opt.verb, "verify"))
			opt.segments[opt.segment_count++] = arg;
		else
			argp_error(state, "'%s' is one argument too many", arg);
		break;
	case ARGP_KEY_END:
		check_arguments(state);
		break;
	default:
		return ARGP_ERR_UNKNOWN;
	}
	return 0;
}

static bool run_verb(struct session *s)
{
	s->log = log_open(opt.log);
	if (!s->log)
		return false;
	if (!strcmp(opt.verb, "status"))
		return show_status(s, NULL);
	if (!strcmp(opt.verb, "verify"))
		return verify(s, opt.segment_count, opt.segments);
	if (!strcmp(opt.verb, "recover"))
		return recover_log(s, NULL);
	if (opt.json)
		return dump_json(s->out, s->log);
	if (!log_sound(s->log))
		log_print_damage(stderr, s->log);
	return show_all(s) && log_sound(s->log);
}

int main(int argc, char **argv)
{
	static const struct argp argp = { options, parse_option, args_doc, doc, NULL, NULL, NULL };
	struct session s = { .out = stdout };

	opt.segments = check_memory(calloc(argc, sizeof(*opt.segments)));
	argp_err_exit_status = 2;
	argp_parse(&argp, argc, argv, 0, NULL, NULL);
	if (opt.verb) {
		s.failed = !run_verb(&s);
	} else {
		if (opt.log && !session_open_log(&s, opt.log))
			s.failed = true;
		if (isatty(STDIN_FILENO))
			run_terminal(&s);
		else
			run_stream(&s, stdin);
	}
	session_close_log(&s);
	free(opt.segments);
	if (fflush(stdout) || ferror(stdout))
		s.failed = !fail("standard output can't be written");
	return s.failed;
}
