// SPDX-License-Identifier: GPL-2.0 OR MIT
/*
 * The segments that the log has to do with: those that are mapped, and those
 * that live records name.  Each is held open, and by flock ours, that long.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/user.h"

struct user_segment *user_segment_find(struct user_log *log, const char *name)
{
	struct user_segment *s;

	for (s = log->segments; s; s = s->next)
		if (!strcmp(s->name, name))
			break;
	return s;
}

int user_segment_add(struct user_log *log, const char *name, size_t length, u32 id,
		     struct user_segment **segment)
{
	struct user_segment *s = calloc(1, sizeof(*s));

	if (!s)
		return -ENOMEM;
	s->name = strndup(name, length);
	if (!s->name) {
		free(s);
		return -ENOMEM;
	}
	s->id = id;
	s->fd = -1;
	s->next = log->segments;
	log->segments = s;
	*segment = s;
	return 0;
}

/* Open it if it isn't. 0, or -errno. */
int user_segment_open(struct user_segment *s)
{
	u64 length;
	bool device;
	int fd;

	if (s->fd >= 0)
		return 0;
	fd = user_file_open(s->name, &length, &device);
	if (fd < 0)
		return fd;
	s->fd = fd;
	s->device_length = device ? length : 0;
	return 0;
}

static void segment_free(struct user_segment *s)
{
	user_file_close(s->fd);
	free(s->name);
	free(s);
}

/* Take back one that was just added. */
void user_segment_drop(struct user_log *log, struct user_segment *segment)
{
	struct user_segment **link;

	for (link = &log->segments; *link != segment; link = &(*link)->next)
		;
	*link = segment->next;
	rvm_dict_remove(&log->status, segment->id);
	segment_free(segment);
}

/* Neither mapped nor named by a record from head_sequence on. */
static bool is_idle(const struct user_segment *s, u64 head_sequence)
{
	return !s->regions && s->last_sequence < head_sequence;
}

void user_segment_forget_idle(struct user_log *log, struct rvm_status *status)
{
	struct user_segment *s;

	for (s = log->segments; s; s = s->next)
		if (is_idle(s, status->head_sequence))
			rvm_dict_remove(status, s->id);
}

void user_segment_free_idle(struct user_log *log)
{
	struct user_segment *s, **link = &log->segments;

	while ((s = *link)) {
		if (is_idle(s, log->status.head_sequence)) {
			*link = s->next;
			rvm_dict_remove(&log->status, s->id);
			segment_free(s);
		} else {
			link = &s->next;
		}
	}
}

void user_segment_free_all(struct user_log *log)
{
	struct user_segment *s;

	while ((s = log->segments)) {
		log->segments = s->next;
		segment_free(s);
	}
}
