// SPDX-License-Identifier: GPL-2.0 OR MIT
/* The log as one JSON object. */
#include <inttypes.h>

#include "tools/rvmutl/rvmutl.h"

struct dump {
	FILE *out;
	u64 records;
};

static void dump_status(FILE *out, const struct rvm_status *s)
{
	fprintf(out, "\"status\":{\"generation\":%" PRIu64 ",\"log_id\":\"%016" PRIx64 "\",\"incarnation\":%" PRIu64
		",\"area_length\":%" PRIu64 ",\"head\":%" PRIu64 ",\"head_sequence\":%" PRIu64 ",\"start\":%" PRIu64
		",\"start_sequence\":%" PRIu64 ",\"created\":%" PRIu64 ",\"next_segment\":%u},\n", s->generation,
		s->log_id, s->incarnation, s->area_length, s->head, s->head_sequence, s->start, s->start_sequence,
		s->created, s->next_segment);
}

static void dump_segments(FILE *out, const struct rvm_status *s)
{
	struct rvm_dict_entry e;
	u32 cursor = 0;
	const char *comma = "";

	fputs("\"segments\":[", out);
	for (; rvm_dict_next(s, &cursor, &e); comma = ",") {
		fprintf(out, "%s{\"id\":%u,\"name\":", comma, e.id);
		print_json_string(out, e.name, e.name_length);
		putc('}', out);
	}
	fputs("],\n", out);
}

static void dump_range(FILE *out, const struct contents *c, const struct range *r)
{
	static const char digits[] = "0123456789abcdef";

	fprintf(out, "{\"segment\":%u,\"offset\":%" PRIu64 ",\"length\":%u,\"data\":\"", r->segment, r->offset,
		r->length);
	for (u32 i = 0; i < r->length; i++) {
		putc(digits[c->data[r->data + i] >> 4], out);
		putc(digits[c->data[r->data + i] & 15], out);
	}
	fputs("\"}", out);
}

static bool dump_record(void *context, struct log *log, const struct contents *c)
{
	const struct rvm_record *r = &c->record;
	struct dump *d = context;

	(void)log;
	fprintf(d->out, "%s\n{\"sequence\":%" PRIu64 ",\"commits\":%u,\"time\":%" PRIu64 ",\"incarnation\":%" PRIu64
		",\"position\":%" PRIu64 ",\"length\":%" PRIu64 ",\"ranges\":[", d->records++ ? "," : "", r->sequence,
		r->commits, r->time, r->incarnation, r->position, r->length);
	for (size_t i = 0; i < c->count; i++) {
		if (i)
			putc(',', d->out);
		dump_range(d->out, c, &c->ranges[i]);
	}
	fputs("]}", d->out);
	return true;
}

static void dump_damage(FILE *out, const struct log *log)
{
	char *text = NULL;
	size_t length = 0;
	FILE *memory;

	fputs("\"damage\":", out);
	if (log_sound(log)) {
		fputs("null", out);
		return;
	}
	memory = check_memory(open_memstream(&text, &length));
	log_print_damage(memory, log);
	fclose(memory);
	/* without the last end of line */
	print_json_string(out, text, length ? length - 1 : 0);
	free(text);
}

bool dump_json(FILE *out, struct log *log)
{
	struct dump d = { .out = out };
	bool good;

	fputs("{\"log\":", out);
	print_json_string(out, log->path, strlen(log->path));
	fprintf(out, ",\"length\":%" PRIu64 ",\n", log->length);
	if (log->status_error)
		fputs("\"status\":null,\n", out);
	else
		dump_status(out, &log->status);
	dump_segments(out, &log->status);
	fputs("\"records\":[", out);
	good = log_each(log, dump_record, &d);
	fputs("],\n", out);
	if (log->status_error)
		fputs("\"tail\":null,\n", out);
	else
		fprintf(out, "\"tail\":{\"position\":%" PRIu64 ",\"sequence\":%" PRIu64 "},\n", log->scan.position,
			log->scan.sequence);
	dump_damage(out, log);
	fputs("}\n", out);
	return good && log_sound(log);
}
