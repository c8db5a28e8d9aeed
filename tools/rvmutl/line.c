// SPDX-License-Identifier: GPL-2.0 OR MIT
/* The line editor: libedit, which is under the BSD licence, by its readline interface. */
#include <stdlib.h>
#include <string.h>

#if __has_include(<editline/readline.h>)
#include <editline/readline.h>
#else
#error "rvmutl takes libedit (Debian's libedit-dev): tests/setup installs it, or names it"
#endif

#include "tools/rvmutl/rvmutl.h"

/* What the word that is typed may become: of these, the ones that begin so. */
static const char *const *candidates;

static const char *command_name(int i)
{
	return commands[i].name;
}

static char *next_match(const char *text, int state)
{
	static int i;
	const char *name;

	if (!state)
		i = 0;
	for (;;) {
		name = candidates ? candidates[i] : command_name(i);
		if (!name)
			return NULL;
		i++;
		if (!strncmp(name, text, strlen(text)))
			return strdup(name);
	}
}

static bool begins(const char *line, const char *command)
{
	size_t n = strcspn(line, " ");

	return n && !strncmp(line, command, n) && line[n];
}

/* Commands first; then fields and things to show; else names of files. */
static char **complete(const char *text, int start, int end)
{
	const char *line = rl_line_buffer + strspn(rl_line_buffer, " ");
	bool second = !memchr(line, ' ', rl_line_buffer + start - line) ||
		      !strchr(line + strcspn(line, " ") + strspn(line + strcspn(line, " "), " "), ' ');

	(void)end;
	candidates = NULL;
	if (line < rl_line_buffer + start) {
		candidates = begins(line, "show") ? show_words : begins(line, "set") ? status_fields : NULL;
		if (begins(line, "help") || begins(line, "?"))
			return rl_completion_matches(text, next_match);
		if (!candidates || !second)
			return NULL;
	}
	return rl_completion_matches(text, next_match);
}

void run_terminal(struct session *s)
{
	char *line;

	rl_readline_name = "rvmutl";
	rl_attempted_completion_function = complete;
	using_history();
	stifle_history(1000);
	while (!s->quit && (line = readline("* "))) {
		if (line[strspn(line, " \t")])
			add_history(line);
		run_line(s, line);
		free(line);
	}
	if (!s->quit)
		putchar('\n');
}
