// SPDX-License-Identifier: GPL-2.0 OR MIT
/* Words, numbers, names and times: what is typed in, and what is printed. */
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <time.h>

#include "tools/rvmutl/rvmutl.h"

static void complain(const char *format, va_list args, const char *why)
{
	fflush(stdout);
	fputs("rvmutl: ", stderr);
	vfprintf(stderr, format, args);
	fprintf(stderr, "%s%s\n", why ? ": " : "", why ? why : "");
}

bool fail(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	complain(format, args, NULL);
	va_end(args);
	return false;
}

bool fail_errno(int error, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	complain(format, args, strerror(-error));
	va_end(args);
	return false;
}

void *check_memory(void *memory)
{
	if (!memory) {
		fail("out of memory");
		exit(1);
	}
	return memory;
}

void *grow(void *array, size_t count, size_t *room, size_t size)
{
	if (count < *room)
		return array;
	*room = *room ? *room * 2 : 16;
	return check_memory(reallocarray(array, *room, size));
}

/* --- words ---------------------------------------------------------------- */

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c |= 0x20;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* One character of a quoted word, \x.. and \" undone. */
static bool quoted_character(const char **at, char *to)
{
	const char *from = *at;

	if (from[0] == '\\' && from[1] == 'x') {
		int high = hex_digit(from[2]), low = high < 0 ? -1 : hex_digit(from[3]);

		if (low < 0 || !(high << 4 | low))
			return fail("\\x takes two hexadecimal digits, and not 00");
		*to = (char)(high << 4 | low);
		*at = from + 4;
		return true;
	}
	if (from[0] == '\\' && from[1])
		from++;
	*to = *from;
	*at = from + 1;
	return true;
}

/* The next word goes to *to, with a 0 behind it. */
static bool take_word(const char **at, char **to, bool *quoted)
{
	*quoted = false;
	while (**at && !strchr(" \t\r\n<>", **at)) {
		if (**at != '"') {
			*(*to)++ = *(*at)++;
			continue;
		}
		*quoted = true;
		++*at;
		while (**at != '"') {
			if (!**at)
				return fail("a quote is not closed");
			if (!quoted_character(at, (*to)++))
				return false;
		}
		++*at;
	}
	*(*to)++ = 0;
	return true;
}

static const char *skip_blanks(const char *at)
{
	return at + strspn(at, " \t\r\n");
}

/* Where < or > leads. */
static bool take_redirection(const char **at, char **to, struct words *words)
{
	const char sign = *(*at)++;
	char **target = sign == '<' ? &words->in : &words->out;
	bool quoted;

	if (*target)
		return fail("only one %c on a line", sign);
	if (sign == '>' && **at == '>') {
		words->append = true;
		++*at;
	}
	*at = skip_blanks(*at);
	*target = *to;
	if (**at == '#' || !take_word(at, to, &quoted))
		return fail("%c takes the name of a file", sign);
	return **target || fail("%c takes the name of a file", sign);
}

bool split_line(const char *line, struct words *words)
{
	size_t most = strlen(line) + 1;
	const char *at = skip_blanks(line);
	char *to;

	memset(words, 0, sizeof(*words));
	/* each word is shorter than what it is made of and a blank */
	to = words->text = check_memory(calloc(2, most));
	words->word = check_memory(calloc(most + 1, sizeof(*words->word)));
	words->quoted = check_memory(calloc(most, sizeof(*words->quoted)));
	for (; *at && *at != '#'; at = skip_blanks(at)) {
		if (*at == '<' || *at == '>') {
			if (!take_redirection(&at, &to, words))
				return false;
			continue;
		}
		words->word[words->n] = to;
		if (!take_word(&at, &to, &words->quoted[words->n++]))
			return false;
	}
	return true;
}

void free_words(struct words *words)
{
	free(words->text);
	free(words->word);
	free(words->quoted);
}

/* --- numbers --------------------------------------------------------------- */

bool parse_number(const char *text, u64 *n, const char **end)
{
	char *stop;

	/* strtoull takes blanks and signs as well */
	if (*text < '0' || *text > '9')
		return false;
	errno = 0;
	*n = strtoull(text, &stop, 0);
	*end = stop;
	return !errno;
}

bool parse_whole(const char *what, const char *text, u64 *n)
{
	const char *end;

	if (!parse_number(text, n, &end) || *end)
		return fail("%s: '%s' is not a number (decimal, 0x... or 0...) below 2^64", what, text);
	return true;
}

bool parse_length(const char *what, const char *text, u64 *n)
{
	static const struct {
		char letter;
		unsigned int shift;
	} units[] = { { 'K', 10 }, { 'M', 20 }, { 'G', 30 }, { 'S', 9 }, { 'P', 12 }, { 'B', 0 } };
	const char *end;

	if (!parse_number(text, n, &end))
		return fail("%s: '%s' is not a length", what, text);
	if (!*end)
		return true;
	for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
		if ((*end & ~0x20) != units[i].letter || end[1])
			continue;
		if (*n > UINT64_MAX >> units[i].shift)
			return fail("%s: '%s' is too long", what, text);
		*n <<= units[i].shift;
		return true;
	}
	return fail("%s: '%s' has no unit of K, M, G, S (512 bytes), P (4096 bytes) or B", what, text);
}

/* --- printing -------------------------------------------------------------- */

const char *plural(u64 n, const char *word)
{
	static char texts[4][64];
	static unsigned int turn;
	char *text = texts[turn++ % 4];

	snprintf(text, sizeof(texts[0]), "%" PRIu64 " %s%s", n, word, n == 1 ? "" : "s");
	return text;
}

/* How many bytes the UTF-8 character takes that begins here; 0: it is none. */
static size_t utf8_length(const u8 *c, size_t room)
{
	size_t n = *c < 0x80 ? 1 : *c >= 0xc2 && *c < 0xe0 ? 2 : (*c & 0xf0) == 0xe0 ? 3 :
		   *c >= 0xf0 && *c < 0xf5 ? 4 : 0;

	if (!n || n > room)
		return 0;
	for (size_t i = 1; i < n; i++)
		if ((c[i] & 0xc0) != 0x80)
			return 0;
	/* longer than need be, surrogates, and beyond the last one */
	if ((c[0] == 0xe0 && c[1] < 0xa0) || (c[0] == 0xed && c[1] >= 0xa0) ||
	    (c[0] == 0xf0 && c[1] < 0x90) || (c[0] == 0xf4 && c[1] >= 0x90))
		return 0;
	return n;
}

/* What a terminal would take for an order. */
static bool is_control(const u8 *c, size_t n)
{
	return *c < ' ' || *c == 127 || (n == 2 && c[0] == 0xc2 && c[1] < 0xa0);
}

void print_name(FILE *out, const char *name, size_t length)
{
	const u8 *c = (const u8 *)name, *end = c + length;
	bool quote = !length;
	size_t n;

	for (; c < end; c++)
		quote |= *c <= ' ' || *c >= 127 || strchr("\"\\#<>", *c);
	if (quote)
		putc('"', out);
	for (c = (const u8 *)name; c < end; c += n ? n : 1) {
		n = utf8_length(c, end - c);
		if (!n || is_control(c, n)) {
			for (size_t i = 0; i < (n ? n : 1); i++)
				fprintf(out, "\\x%02x", c[i]);
			continue;
		}
		if (*c == '"' || *c == '\\')
			putc('\\', out);
		fwrite(c, 1, n, out);
	}
	if (quote)
		putc('"', out);
}

/*
 * Bytes that are no UTF-8 become \udc80 to \udcff, lone surrogates, as Python's
 * os.fsencode() takes them back.
 */
void print_json_string(FILE *out, const char *text, size_t length)
{
	const u8 *c = (const u8 *)text, *end = c + length;
	size_t n;

	putc('"', out);
	for (; c < end; c += n ? n : 1) {
		n = utf8_length(c, end - c);
		if (!n)
			fprintf(out, "\\udc%02x", *c);
		else if (is_control(c, n) && n == 1)
			fprintf(out, "\\u%04x", *c);
		else if (*c == '"' || *c == '\\')
			fprintf(out, "\\%c", *c);
		else
			fwrite(c, 1, n, out);
	}
	putc('"', out);
}

const char *time_text(u64 time)
{
	static char text[64];
	time_t seconds = (time_t)(time / 1000000000);
	struct tm tm;
	size_t n;

	gmtime_r(&seconds, &tm);
	n = strftime(text, sizeof(text), "%Y-%m-%d %H:%M:%S", &tm);
	snprintf(text + n, sizeof(text) - n, ".%06u", (unsigned int)(time % 1000000000 / 1000));
	return text;
}

void print_bytes(FILE *out, u64 address, const u8 *data, size_t length)
{
	for (size_t i = 0; i < length; i += 16) {
		fprintf(out, "%010" PRIx64 " ", address + i);
		for (size_t j = i; j < i + 16; j++) {
			if (j % 8 == 0 && j % 16)
				putc(' ', out);
			if (j < length)
				fprintf(out, " %02x", data[j]);
			else
				fputs("   ", out);
		}
		fputs("  ", out);
		for (size_t j = i; j < i + 16 && j < length; j++)
			putc(data[j] >= ' ' && data[j] < 127 ? data[j] : '.', out);
		putc('\n', out);
	}
}
