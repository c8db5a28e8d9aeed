// SPDX-License-Identifier: GPL-2.0 OR MIT
/* Description: tracepoints: each step leaves its line, with what it says of it. */
#include "kernel.h"

#include <sys/sysmacros.h>

#define TRACING	"/sys/kernel/tracing"

static char text[MIB];		/* what was traced */

static int write_setting(const char *name, const char *value)
{
	char path[200];
	int fd, ret;

	snprintf(path, sizeof(path), TRACING "/%s", name);
	fd = open(path, O_WRONLY | O_TRUNC | O_CLOEXEC);
	if (fd < 0)
		return -1;
	ret = write(fd, value, strlen(value)) == (ssize_t)strlen(value) ? 0 : -1;
	close(fd);
	return ret;
}

static int begin_tracing(void)
{
	return write_setting("trace", "\n") || write_setting("events/rvm/enable", "1") ? -1 : 0;
}

static int end_tracing(void)
{
	size_t length = 0;
	ssize_t n;
	int fd;

	if (write_setting("events/rvm/enable", "0"))
		return -1;
	fd = open(TRACING "/trace", O_RDONLY | O_CLOEXEC);
	while (fd >= 0 && (n = read(fd, text + length, sizeof(text) - 1 - length)) > 0)
		length += n;
	text[length] = 0;
	close(fd);
	return length ? 0 : -1;
}

/* The n-th line of an event, from 0, without what stands before it; or NULL. */
static const char *line_of(const char *event, unsigned int n)
{
	static char line[400];
	char name[40];
	const char *at = text;

	snprintf(name, sizeof(name), ": %s: ", event);
	while ((at = strstr(at, name))) {
		at += strlen(name);
		if (n--)
			continue;
		snprintf(line, sizeof(line), "%.*s ", (int)strcspn(at, "\n"), at);
		return line;
	}
	return NULL;
}

/* A field's value; it is there. */
static long long value(const char *event, unsigned int n, const char *field)
{
	const char *line = line_of(event, n), *at;
	char name[40];

	snprintf(name, sizeof(name), " %s=", field);
	at = line ? strstr(line, name) : NULL;
	return at ? strtoll(at + strlen(name), NULL, 10) : -1000000;
}

#define VALUE(expected, event, n, field)				\
	EXPECT_EQ((long long)(expected), value(event, n, field))	\
		TH_LOG("%s", line_of(event, n) ?: "no such line")

WORLD_FIXTURE(512 * KIB)

static void end_with_it_open(const struct world *w)
{
	char *memory = map(w->segment, LENGTH);

	set(map(w->log, AREA), memory + 8 * PAGE, 1, 10);
	_exit(0);
}

TEST_F(rvm, every_step)
{
	struct world *w = &self->w;
	uint32_t area = w->area->area;
	char log[100], *line;
	struct stat st;

	if (mount("tracefs", TRACING, "tracefs", 0, NULL))
		ASSERT_EQ(EBUSY, errno);
	WORKS(set_truncate(w->log, 0));
	WORKS(begin_tracing());
	set(w->area, w->memory + 100, 1, 1000);
	set(w->area, w->memory + 5 * PAGE, 2, 8);
	WORKS(commit(w->log, w->area, RVM_COMMIT_FLUSH));
	set(w->area, w->memory + 100, 3, 10);
	WORKS(commit(w->log, w->area, 0));
	set(w->area, w->memory, 4, 10);
	WORKS(do_abort(w->log, w->area));
	w->area->used = 5;
	FAILS(EINVAL, commit(w->log, w->area, 0));
	WORKS(do_abort(w->log, w->area));
	CHILD(end_with_it_open(w));
	WORKS(truncate_log(w->log));
	WORKS(end_tracing());

	/* by which it is known which log they are about */
	WORKS(stat(w->f.log, &st));
	snprintf(log, sizeof(log), "log=%u:%u:%lu ", major(st.st_dev), minor(st.st_dev),
		 (unsigned long)st.st_ino);
	line = (char *)line_of("rvm_commit", 0);
	ASSERT_NE(NULL, line);
	EXPECT_EQ(0, strncmp(log, line, strlen(log))) TH_LOG("%s: %s", log, line);

	VALUE(area, "rvm_commit", 0, "area");
	VALUE(1, "rvm_commit", 0, "flush");
	VALUE(2, "rvm_commit", 0, "pieces");
	VALUE(0, "rvm_commit", 0, "ret");
	EXPECT_LT(1008, value("rvm_commit", 0, "bytes"));
	EXPECT_LT(0, value("rvm_commit", 0, "ns"));
	VALUE(0, "rvm_commit", 1, "flush");
	VALUE(1, "rvm_commit", 1, "pieces");
	EXPECT_EQ(value("rvm_commit", 0, "sequence") + 1, value("rvm_commit", 1, "sequence"));
	VALUE(-EINVAL, "rvm_commit", 2, "ret");
	VALUE(0, "rvm_commit", 2, "sequence");
	EXPECT_EQ(NULL, line_of("rvm_commit", 3));

	VALUE(0, "rvm_write_fault", 0, "page");
	VALUE(5, "rvm_write_fault", 1, "page");
	VALUE(8, "rvm_write_fault", 2, "page");
	EXPECT_EQ(NULL, line_of("rvm_write_fault", 3));

	EXPECT_LE(1008, value("rvm_log_write", 0, "bytes"));
	VALUE(0, "rvm_log_write", 0, "settled");
	VALUE(0, "rvm_log_write", 0, "ret");
	EXPECT_LT(0, value("rvm_log_write", 0, "ns"));
	/* the truncation's */
	EXPECT_EQ(value("rvm_log_write", 0, "position") + value("rvm_log_write", 0, "bytes"),
		  value("rvm_log_write", 1, "position"));

	VALUE(area, "rvm_undo", 0, "area");
	VALUE(0, "rvm_undo", 0, "died");
	VALUE(0, "rvm_undo", 1, "died");
	VALUE(1, "rvm_undo", 2, "died");
	VALUE(2, "rvm_truncate", 0, "pages");
	VALUE(0, "rvm_truncate", 0, "used");
	VALUE(0, "rvm_truncate", 0, "ret");
	EXPECT_LT(0, value("rvm_truncate", 0, "ns"));
}

TEST_F(rvm, recovery)
{
	struct world *w = &self->w;

	WORKS(set_truncate(w->log, 0));
	set(w->area, w->memory + PAGE, 1, 10);
	WORKS(commit(w->log, w->area, RVM_COMMIT_FLUSH));
	close_world(w);
	if (mount("tracefs", TRACING, "tracefs", 0, NULL))
		ASSERT_EQ(EBUSY, errno);
	WORKS(begin_tracing());
	WORKS(open_world(w));
	EXPECT_EQ(0, *(volatile char *)(w->memory + 7 * PAGE));
	WORKS(end_tracing());
	VALUE(1, "rvm_recover", 0, "applied");
	VALUE(0, "rvm_recover", 0, "kept");
	VALUE(0, "rvm_recover", 0, "ret");
	EXPECT_LT(0, value("rvm_recover", 0, "ns"));
	VALUE(1, "rvm_truncate", 0, "pages");
	VALUE(1, "rvm_read", 0, "page");
	VALUE(1, "rvm_read", 0, "pages");
	VALUE(0, "rvm_read", 0, "ret");
	VALUE(7, "rvm_read", 1, "page");
	EXPECT_EQ(value("rvm_read", 0, "segment"), value("rvm_read", 1, "segment"));
}

TEST_HARNESS_MAIN
