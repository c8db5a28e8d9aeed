// SPDX-License-Identifier: GPL-2.0 OR MIT
/* rdsinit: makes a segment with a recoverable heap. */
#include <argp.h>
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <rvm/rds.h>
#include <rvm/rvm_segment.h>

const char *argp_program_version = "rdsinit 1.0.0";

static const char doc[] =
	"Makes a segment with a recoverable heap, and beside it a static area, for programs that "
	"load it with rds_load_heap. What the segment had before is lost.\v"
	"  LOG       the log, which exists (rvmutl makes one: init_log LOG LENGTH)\n"
	"  DATA_SEG  the segment's file or device; a file is made if it is not there\n"
	"  DATALEN   its length: at least HLEN + SLEN and a page\n"
	"  SADDR     where in memory the heap is to be; the static area comes after it\n"
	"  HLEN      the heap's length\n"
	"  SLEN      the static area's length\n"
	"  NLISTS    sizes up to that many chunks have free lists of their own\n"
	"  CHUNK     bytes of which what is allocated is a multiple: 32, for example\n\n"
	"Lengths are in bytes. Numbers are decimal, hexadecimal after 0x, or octal after 0. "
	"SADDR, HLEN and SLEN are multiples of the page size.\n\n"
	"Exit status: 0; 1 if it failed or was not wanted; 2 for a wrong command line.";

static const char args_doc[] = "LOG DATA_SEG DATALEN SADDR HLEN SLEN NLISTS CHUNK";

static const struct argp_option options[] = {
	{ "force", 'f', NULL, 0, "don't ask first", 0 },
	{ NULL, 'h', NULL, OPTION_HIDDEN, NULL, -1 },
	{ 0 },
};

enum { DATALEN, SADDR, HLEN, SLEN, NLISTS, CHUNK, NUMBERS };

static const char *const names[NUMBERS] = {
	"DATALEN", "SADDR", "HLEN", "SLEN", "NLISTS", "CHUNK",
};

static struct {
	bool force;
	char *log, *segment;
	uint64_t number[NUMBERS];
} opt;

static uint64_t parse_number(struct argp_state *state, const char *name, const char *arg)
{
	char *end;
	uint64_t n;

	errno = 0;
	n = strtoull(arg, &end, 0);
	if (!isdigit((unsigned char)*arg) || *end)
		argp_error(state, "%s: '%s' is no number: decimal, 0x and hexadecimal, or 0 and octal",
			   name, arg);
	if (errno)
		argp_error(state, "%s: %s is too large", name, arg);
	return n;
}

static void check_pages(struct argp_state *state, int which)
{
	uint64_t page = RVM_PAGE_SIZE, n = opt.number[which];

	if (n && !(n % page))
		return;
	n = n ? (n - 1) / page * page + page : page;
	argp_error(state, "%s is not a multiple of the page size: %#" PRIx64 " would be", names[which],
		   n ? n : -page);
}

static void check_arguments(struct argp_state *state)
{
	const uint64_t *n = opt.number;
	uint64_t need, end;

	check_pages(state, SADDR);
	check_pages(state, HLEN);
	check_pages(state, SLEN);
	if (__builtin_add_overflow(n[HLEN], n[SLEN], &need) ||
	    __builtin_add_overflow(n[SADDR], need, &end) ||
	    __builtin_add_overflow(need, RVM_SEGMENT_HDR_SIZE, &need))
		argp_error(state, "SADDR, HLEN and SLEN are more than there are addresses");
	if (n[DATALEN] < need)
		argp_error(state, "DATALEN is less than a page, HLEN and SLEN: at least %" PRIu64, need);
	if (!n[NLISTS])
		argp_error(state, "NLISTS is at least 1");
	if (n[CHUNK] < 32 || n[CHUNK] % sizeof(char *))
		argp_error(state, "CHUNK is a multiple of %zu, and at least 32", sizeof(char *));
}

static error_t parse_option(int key, char *arg, struct argp_state *state)
{
	switch (key) {
	case 'f':
		opt.force = true;
		break;
	case 'h':
		argp_state_help(state, stdout, ARGP_HELP_STD_HELP);
		break;
	case ARGP_KEY_ARG:
		if (state->arg_num == 0)
			opt.log = arg;
		else if (state->arg_num == 1)
			opt.segment = arg;
		else if (state->arg_num < 2 + NUMBERS)
			opt.number[state->arg_num - 2] =
				parse_number(state, names[state->arg_num - 2], arg);
		else
			argp_error(state, "'%s' is one argument too many", arg);
		break;
	case ARGP_KEY_END:
		if (state->arg_num < 2 + NUMBERS)
			argp_error(state, "%u arguments are given, %u are needed", state->arg_num,
				   2 + NUMBERS);
		check_arguments(state);
		break;
	default:
		return ARGP_ERR_UNKNOWN;
	}
	return 0;
}

static bool wanted(void)
{
	char *line = NULL;
	size_t size = 0;
	bool yes;

	printf("log           %s\n"
	       "segment       %s, what it has is going to be lost\n"
	       "heap          %#" PRIx64 ", %" PRIu64 " bytes, chunks of %" PRIu64 ", %" PRIu64 " lists\n"
	       "static area   %#" PRIx64 ", %" PRIu64 " bytes\n"
	       "Go on (y/n)? ", opt.log, opt.segment, opt.number[SADDR], opt.number[HLEN],
	       opt.number[CHUNK], opt.number[NLISTS], opt.number[SADDR] + opt.number[HLEN],
	       opt.number[SLEN]);
	fflush(stdout);
	yes = getline(&line, &size, stdin) > 0 &&
	      (!strcasecmp(line, "y\n") || !strcasecmp(line, "yes\n") || !strcasecmp(line, "y") ||
	       !strcasecmp(line, "yes"));
	free(line);
	if (!yes)
		fprintf(stderr, "rdsinit: nothing was done\n");
	return yes;
}

static bool fail(const char *what, const char *why)
{
	fprintf(stderr, "rdsinit: %s: %s\n", what, why);
	return false;
}

/* Why a call of RVM failed, in words where they help. */
static const char *reason(int code)
{
	switch (code) {
	case RVM_EIO:
		return errno == EBUSY ? "it is in use" : strerror(errno);
	case RVM_ENO_MEMORY:
		return "out of memory";
	default:
		return rvm_return(code);
	}
}

static bool open_log(void)
{
	rvm_options_t o;
	rvm_return_t code;

	rvm_init_options(&o);
	o.log_dev = opt.log;
	code = RVM_INIT(&o);
	if (!code)
		return true;
	if (code == RVM_EIO && errno == ENOENT)
		return fail(opt.log, "there is no such log; rvmutl makes one: init_log LOG LENGTH");
	if (code == RVM_ELOG)
		return fail(opt.log, "it is no log, or a damaged one");
	return fail(opt.log, reason(code));
}

/* How long the segment is that exists; 0: it will be as long as wanted. */
static uint64_t segment_length(void)
{
	int fd = open(opt.segment, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	off_t length = fd < 0 ? 0 : lseek(fd, 0, SEEK_END);

	if (fd >= 0)
		close(fd);
	return length > 0 ? length : 0;
}

static bool explain(int code)
{
	uint64_t length = segment_length();
	char text[200];

	switch (code) {
	case RVM_EOFFSET:
		snprintf(text, sizeof(text),
			 "it has %" PRIu64 " bytes, and needs a page, HLEN and SLEN: %" PRIu64, length,
			 (uint64_t)RVM_SEGMENT_HDR_SIZE + opt.number[HLEN] + opt.number[SLEN]);
		return fail(opt.segment, text);
	case RVM_EVM_OVERLAP:
	case RVM_EREGION_DEF:
	case RVM_ERANGE:
	case RVM_ENO_MEMORY:
		return fail("SADDR",
			    "no place, or memory, for heap and static area there: take addresses "
			    "that no program uses, from 0x200000000000 on for example");
	case EBAD_ARGS:
		return fail("HLEN",
			    "too short for one chunk, or more than 2147483647: take another CHUNK");
	default:
		return fail(opt.segment, reason(code));
	}
}

static bool make_heap(void)
{
	const uint64_t *n = opt.number;
	rvm_offset_t length = RVM_LENGTH_TO_OFFSET(n[DATALEN]);
	int code;

	if (rds_zap_heap(opt.segment, length, (char *)(uintptr_t)n[SADDR], n[SLEN], n[HLEN],
			 n[NLISTS], n[CHUNK], &code))
		return explain(code);
	code = rvm_truncate();
	return code ? fail(opt.log, reason(code)) : true;
}

int main(int argc, char **argv)
{
	static const struct argp argp = { options, parse_option, args_doc, doc, NULL, NULL, NULL };
	bool made, ok;
	int fd, code;

	argp_err_exit_status = 2;
	argp_parse(&argp, argc, argv, 0, NULL, NULL);
	if (!opt.force && !wanted())
		return 1;
	if (!open_log())
		return 1;
	fd = open(opt.segment, O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC, 0666);
	made = fd >= 0;
	if (made)
		close(fd);
	ok = made || errno == EEXIST || fail(opt.segment, strerror(errno));
	ok = ok && make_heap();
	code = rvm_terminate();
	if (code && ok)
		ok = fail(opt.log, reason(code));
	if (made && !ok)
		unlink(opt.segment);
	return !ok;
}
