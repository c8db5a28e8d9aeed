/* SPDX-License-Identifier: GPL-2.0 OR MIT */
/*
 * The steps of a random program: each is a call or a few, made on the library
 * and on the model, and what is different ends the process.
 */
#ifndef RVM_TESTS_MODEL_STEPS_H
#define RVM_TESTS_MODEL_STEPS_H

#include "api.h"
#include "model.h"

/* it knows by itself what declaring does */
#undef rvm_set_range

#define STEPS		1000
#define REGIONS		6
#define CHOSEN		0x7ea000000000ul	/* with ThreadSanitizer, too, it is a program's */

enum { FINISHED, FAILED, TERMINATED };

/* One run of a program; shared by its processes. */
static struct run {
	unsigned long seed;
	int steps, step;
	const char *engine;		/* NULL: a choice in each process */
	bool print, died, stopped, kernel;	/* how and on what the last process ended */
	bool differs;			/* what comes now need not be as on the other engine */
	bool skip[STEPS];
	int calls;
	uint32_t trace[STEPS * 64];	/* what each call returned */
	char failure[400];
	struct model model;
} *run;

static struct region {
	bool mapped;
	int segment;
	rvm_region_t record;
} regions[REGIONS];

/* How changes are found: half of the programs declare them. */
static const struct tracking {
	const char *name;	/* RVM_TRACKING */
	bool alone;		/* one transaction at a time */
	bool tracked;		/* what it stores is declared thereby, and nothing is stored outside */
	bool checked;		/* all that is stored is declared */
	bool copied;		/* regions can't be private mappings */
} trackings[] = {
	{ "ranges", false, false, false, false },
	{ "diff", true, true, false, false },
	{ "pages", true, true, false, false },
	{ "diff,strict", true, true, false, false },
	{ "check", true, false, true, false },
	{ "diff,userfaultfd", true, true, false, true },
	{ "diff,userfaultfd-async", true, true, false, false },
	{ "check,userfaultfd-async", true, false, true, false },
}, *tracking = trackings;

#define TRACKINGS	(sizeof(trackings) / sizeof(trackings[0]))

static rvm_tid_t tids[TRANSACTIONS];
static rvm_tid_t ended_tid;
static unsigned long flags;
static uint64_t random_state;
static char folder[200], log_name[256], segment_name[SEGMENTS][256];

static unsigned long below(unsigned long n)
{
	random_state += 0x9e3779b97f4a7c15ul;
	uint64_t z = random_state;

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ul;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebul;
	return ((z ^ (z >> 31)) >> 8) % n;
}

static void draw_for(int step)
{
	random_state = run->seed * 0x2545f4914f6cdd1dul + step * 0x632be59bd9b4e019ul;
	below(2);
}

__attribute__((format(printf, 1, 2), noreturn)) static void fail(const char *format, ...)
{
	va_list list;

	va_start(list, format);
	vsnprintf(run->failure, sizeof(run->failure), format, list);
	va_end(list);
	_exit(FAILED);
}

/* As in C, if the program is to be shown. */
__attribute__((format(printf, 1, 2))) static void show(const char *format, ...)
{
	va_list list;

	if (!run->print)
		return;
	dprintf(1, "# %3d ", run->step);
	va_start(list, format);
	vdprintf(1, format, list);
	va_end(list);
	dprintf(1, "\n");
}

static void note(uint32_t what)
{
	if (!run->differs && run->calls < STEPS * 64)
		run->trace[run->calls++] = what;
}

static void expect(rvm_return_t expected, rvm_return_t code, const char *call)
{
	int saved = errno;

	note(code);
	if (code != expected)
		fail("%s: %s (errno %d), not %s", call, rvm_return(code), saved,
		     rvm_return(expected));
}

#define EXPECT(expected, call) do {					\
	rvm_return_t expected_ = (expected);				\
	expect(expected_, (call), #call);				\
} while (0)

/* --- comparing ---------------------------------------------------------------- */

static void compare_memory(void)
{
	for (struct region *r = regions; r < regions + REGIONS; r++) {
		unsigned long offset = r->record.offset.low;

		if (!r->mapped)
			continue;
		for (unsigned long i = 0; i < r->record.length; i++) {
			uint8_t is = r->record.vmaddr[i];
			uint8_t ought = memory[r->segment][offset + i];

			if (is != ought)
				fail("memory of segment %d at %lu is %d, not %d",
				     r->segment, offset + i, is, ought);
		}
	}
}

static void read_files(model_bytes found)
{
	memset(found, 0, sizeof(model_bytes));
	for (int s = 0; s < SEGMENTS; s++) {
		int fd = open(segment_name[s], O_RDONLY | O_CLOEXEC);
		ssize_t n = fd < 0 ? -1 : read(fd, found[s], SEGMENT_ROOM);

		/* segment 1 begins empty */
		if (n != (ssize_t)segment_length[s] && !(s == 1 && !n))
			fail("segment %d has %zd bytes", s, n);
		close(fd);
	}
}

static void compare_files(void)
{
	static model_bytes found;

	read_files(found);
	for (int s = 0; s < SEGMENTS; s++)
		for (int i = 0; i < SEGMENT_ROOM; i++)
			if (found[s][i] != model->committed[s][i])
				fail("file of segment %d at %d is %d, not %d", s, i, found[s][i],
				     model->committed[s][i]);
}

/* --- steps -------------------------------------------------------------------- */

static int open_transactions(void)
{
	int n = 0;

	for (int i = 0; i < TRANSACTIONS; i++)
		n += transactions[i].open;
	return n;
}

static bool declared_in(const struct model_transaction *t, const struct region *r)
{
	return t->open && memchr(t->declared[r->segment] + r->record.offset.low, 1,
				 r->record.length);
}

static struct region *some_region(void)
{
	int first = below(REGIONS);

	for (int i = 0; i < REGIONS; i++)
		if (regions[(first + i) % REGIONS].mapped)
			return &regions[(first + i) % REGIONS];
	return NULL;
}

static int some_transaction(void)
{
	int first = below(TRANSACTIONS);

	for (int i = 0; i < TRANSACTIONS; i++)
		if (transactions[(first + i) % TRANSACTIONS].open)
			return (first + i) % TRANSACTIONS;
	return -1;
}

static unsigned long page_up(unsigned long n)
{
	return (n + PAGE - 1) & ~(PAGE - 1);
}

/* What rvm_map has to say, and what it has to map. */
static rvm_return_t expected_of_map(int segment, rvm_region_t *region)
{
	unsigned long offset = region->offset.low, end = segment_length[segment];
	rvm_return_t code = RVM_SUCCESS;

	if ((unsigned long)region->vmaddr % PAGE)
		return RVM_ERANGE;
	if (offset >= end)
		return RVM_EOFFSET;
	if (region->length && page_up(offset + region->length) < end)
		end = page_up(offset + region->length);
	offset -= offset % PAGE;
	for (struct region *r = regions; r < regions + REGIONS; r++) {
		unsigned long from = r->record.offset.low;

		if (!r->mapped)
			continue;
		if (region->vmaddr < r->record.vmaddr + page_up(r->record.length) &&
		    r->record.vmaddr < region->vmaddr + page_up(end - offset) && region->vmaddr)
			return RVM_EVM_OVERLAP;
		if (r->segment == segment && from < page_up(end) &&
		    offset < page_up(from + r->record.length))
			code = RVM_EOVERLAP;
	}
	if (!code) {
		region->offset.low = offset;
		region->length = end - offset;
	}
	return code;
}

static void map_step(void)
{
	struct region *r = &regions[below(REGIONS)];
	int s = below(SEGMENTS);
	rvm_region_t region = region_of(segment_name[s], below(10) ? below(SEGMENT_ROOM) : 0,
					below(2) ? below(3 * PAGE) : 0);
	unsigned long chosen = CHOSEN + below(8) * PAGE + (below(16) ? 0 : 1);
	rvm_region_t wanted;
	rvm_options_t options;
	bool private = below(2) && !tracking->copied;

	/* the first tracked one is mapped while no transaction is open */
	if (r->mapped || (tracking->tracked && open_transactions()))
		return;
	if (below(2))
		region.vmaddr = (char *)chosen;
	region.dev_length = RVM_LENGTH_TO_OFFSET(segment_length[s]);
	wanted = region;
	rvm_init_options(&options);
	options.flags = private ? RVM_MAP_PRIVATE : 0;
	show("rvm_map(&region[%d], segment %d, offset %lu, length %lu, vmaddr %p, %s)",
	     (int)(r - regions), s, region.offset.low, region.length, (void *)region.vmaddr,
	     private ? "RVM_MAP_PRIVATE" : "0");
	rvm_return_t expected = expected_of_map(s, &wanted);

	EXPECT(expected, rvm_map(&region, &options));
	if (region.offset.low != wanted.offset.low || region.length != wanted.length ||
	    (wanted.vmaddr && region.vmaddr != wanted.vmaddr))
		fail("mapped %lu bytes at %lu, not %lu at %lu", region.length, region.offset.low,
		     wanted.length, wanted.offset.low);
	if (expected)
		return;
	r->mapped = true;
	r->segment = s;
	r->record = region;
	memcpy(memory[s] + region.offset.low, model->committed[s] + region.offset.low,
	       region.length);
}

static void unmap_step(void)
{
	struct region *r = some_region();
	rvm_return_t expected = RVM_SUCCESS;

	if (!r)
		return;
	for (int i = 0; i < TRANSACTIONS; i++)
		if (declared_in(&transactions[i], r))
			expected = RVM_EUNCOMMIT;
	if (tracking->tracked && open_transactions())
		expected = RVM_EUNCOMMIT;
	show("rvm_unmap(&region[%d])", (int)(r - regions));
	EXPECT(expected, rvm_unmap(&r->record));
	r->mapped = expected;
}

static void begin_step(void)
{
	int i = below(TRANSACTIONS);
	/* what no_restore leaves behind would be undeclared */
	bool restores = below(4) || tracking->checked;

	if (transactions[i].open || (tracking->alone && open_transactions()))
		return;
	show("rvm_begin_transaction(&tid[%d], %s)", i, restores ? "restore" : "no_restore");
	rvm_init_tid(&tids[i]);
	EXPECT(RVM_SUCCESS, rvm_begin_transaction(&tids[i], restores ? restore : no_restore));
	model_begin(&transactions[i], restores || tracking->tracked, flags & RVM_ALL_OPTIMIZATIONS);
}

/* A range of a region: often of some bytes, near or beside the last one. */
static void some_range(const struct region *r, unsigned long *offset, unsigned long *length)
{
	static const unsigned long most[] = { 8, 64, 300, PAGE, SEGMENT_ROOM };
	static unsigned long last;
	unsigned long room = r->record.length;

	*offset = below(3) && last < room ? last - below(last < 20 ? last + 1 : 20) : below(room);
	*length = 1 + below(most[below(5)]);
	if (!below(30))
		*offset = 0, *length = room;
	if (*length > room - *offset)
		*length = room - *offset;
	last = *offset + *length;
}

static void store(const struct region *r, unsigned long offset, unsigned long length)
{
	int value = below(256);

	for (unsigned long i = 0; i < length; i++) {
		uint8_t byte = value + i * 7;

		r->record.vmaddr[offset + i] = byte;
		memory[r->segment][r->record.offset.low + offset + i] = byte;
	}
}

static void change_step(void)
{
	struct region *r = some_region();
	unsigned long offset, length;
	int i = some_transaction();
	static char bytes[SEGMENT_ROOM];

	if (!r || i < 0)
		return;
	for (int n = 1 + below(5); n; n--) {
		some_range(r, &offset, &length);
		char *at = r->record.vmaddr + offset;
		unsigned long place = r->record.offset.low + offset;

		if (below(3)) {
			show("rvm_set_range(&tid[%d], region[%d] + %lu, %lu)", i,
			     (int)(r - regions), offset, length);
			EXPECT(RVM_SUCCESS, rvm_set_range(&tids[i], at, length));
			model_declare(&transactions[i], r->segment, place, length);
			if (below(8))
				store(r, offset, length);
			continue;
		}
		/* its own bytes, shifted, or others */
		const char *source;

		if (below(2) && offset >= 3)
			source = at - 3;
		else
			source = memset(bytes, below(256), length);
		show("rvm_modify_bytes(&tid[%d], region[%d] + %lu, %s, %lu)", i,
		     (int)(r - regions), offset, source == at - 3 ? "dest - 3" : "bytes", length);
		model_declare(&transactions[i], r->segment, place, length);
		memmove(memory[r->segment] + place, source, length);
		EXPECT(RVM_SUCCESS, rvm_modify_bytes(&tids[i], at, source, length));
	}
}

/* Stores that were not declared, or were long ago. */
static void store_step(void)
{
	struct region *r = some_region();
	unsigned long offset, length;
	int i = some_transaction();

	if (!r || tracking->checked || (tracking->tracked && i < 0))
		return;
	some_range(r, &offset, &length);
	if (tracking->tracked)
		model_declare(&transactions[i], r->segment, r->record.offset.low + offset, length);
	show("store to region[%d] + %lu, %lu", (int)(r - regions), offset, length);
	store(r, offset, length);
}

static void abort_transaction(int i)
{
	show("rvm_abort_transaction(&tid[%d])", i);
	ended_tid = tids[i];
	EXPECT(RVM_SUCCESS, rvm_abort_transaction(&tids[i]));
	model_abort(&transactions[i]);
}

static void end_step(void)
{
	int i = some_transaction();
	bool flushes = !below(3);
	rvm_return_t code;

	if (i < 0)
		return;
	if (model->returned > ARENA - 4 * SEGMENTS * SEGMENT_ROOM) {
		EXPECT(RVM_SUCCESS, rvm_flush());
		model_flushed();
	}
	show("rvm_end_transaction(&tid[%d], %s)", i, flushes ? "flush" : "no_flush");
	ended_tid = tids[i];
	model_commit_called(&transactions[i]);
	code = rvm_end_transaction(&tids[i], flushes ? flush : no_flush);
	if (code == RVM_ETOO_BIG) {
		model->called = model->returned;
		/* whether it fits depends on how an engine merges ranges */
		run->differs = true;
		compare_memory();
		abort_transaction(i);
		return;
	}
	if (code)
		fail("rvm_end_transaction: %s, errno %d", rvm_return(code), errno);
	model_commit_returned(&transactions[i]);
	if (flushes)
		model_flushed();
}

static void abort_step(void)
{
	int i = some_transaction();

	if (i >= 0)
		abort_transaction(i);
}

static void flush_step(void)
{
	show("rvm_flush()");
	EXPECT(RVM_SUCCESS, rvm_flush());
	model_flushed();
}

static void truncate_step(void)
{
	show("rvm_truncate()");
	EXPECT(RVM_SUCCESS, rvm_truncate());
	model_flushed();
	compare_files();
}

static void query_step(void)
{
	char name[MAXPATHLEN];
	rvm_options_t options;

	show("rvm_query(&options, NULL)");
	rvm_init_options(&options);
	options.log_dev = name;
	EXPECT(RVM_SUCCESS, rvm_query(&options, NULL));
	if (options.n_uncommit != open_transactions() || options.flags != flags ||
	    strcmp(name, log_name))
		fail("rvm_query: %ld open, flags %lx, %s", options.n_uncommit, options.flags, name);
	for (long n = 0; n < options.n_uncommit; n++) {
		int i = 0;

		while (i < TRANSACTIONS && !(transactions[i].open &&
					     tids[i].tid == options.tid_array[n].tid))
			i++;
		if (i == TRANSACTIONS)
			fail("rvm_query: an unknown transaction");
	}
	free(options.tid_array);
}

static void random_options(rvm_options_t *options)
{
	static const unsigned long choice[] = {
		0, RVM_COALESCE_RANGES, RVM_COALESCE_TRANS, RVM_ALL_OPTIMIZATIONS,
		RVM_MAP_PRIVATE, RVM_ALL_OPTIMIZATIONS | RVM_MAP_PRIVATE,
	};

	rvm_init_options(options);
	options->flags = choice[below(6)];
	options->truncate = below(2) ? below(101) : TRUNCATE;
	flags = options->flags;
	/* as rvm_query says it */
	if (flags & RVM_COALESCE_TRANS)
		flags |= RVM_COALESCE_RANGES;
}

static void options_step(void)
{
	rvm_options_t options;

	random_options(&options);
	show("rvm_set_options(flags %lx, truncate %ld)", options.flags, options.truncate);
	EXPECT(RVM_SUCCESS, rvm_set_options(&options));
}

/* Calls that must fail, and change nothing. */
static void error_step(void)
{
	struct region *r = some_region();
	int i = some_transaction();
	rvm_offset_t length = RVM_MK_OFFSET(0, 65536);
	rvm_options_t options;
	rvm_region_t region;
	char byte = 1;
	rvm_tid_t tid;

	show("calls that must fail");
	memset(&tid, 0xff, sizeof(tid));
	EXPECT(RVM_EMODE, rvm_end_transaction(NULL, restore));
	EXPECT(RVM_ETID, rvm_end_transaction(&tid, flush));
	EXPECT(RVM_ETID, rvm_begin_transaction(&tid, flush));
	EXPECT(RVM_ETID, rvm_begin_transaction(NULL, restore));
	EXPECT(RVM_ETID, rvm_abort_transaction(NULL));
	EXPECT(RVM_ETID, rvm_set_range(&tid, &byte, 1));
	rvm_init_tid(&tid);
	EXPECT(RVM_EMODE, rvm_begin_transaction(&tid, no_flush));
	EXPECT(RVM_ETID, rvm_end_transaction(&tid, no_flush));
	EXPECT(RVM_ETID, rvm_modify_bytes(&tid, &byte, &byte, 1));
	EXPECT(RVM_ETID, rvm_abort_transaction(&ended_tid));
	EXPECT(RVM_ETID, rvm_set_range(&ended_tid, r ? r->record.vmaddr : &byte, 1));

	rvm_init_options(&options);
	options.truncate = 101;
	EXPECT(RVM_EOPTIONS, rvm_set_options(&options));
	EXPECT(RVM_EOPTIONS, rvm_set_options(NULL));
	EXPECT(RVM_EOPTIONS, rvm_query(NULL, NULL));
	rvm_init_options(&options);
	options.pager = &byte;
	EXPECT(RVM_EPAGER, rvm_set_options(&options));
	rvm_init_options(&options);
	options.log_dev = segment_name[0];
	EXPECT(RVM_ELOG, rvm_set_options(&options));
	EXPECT(RVM_ELOG, rvm_create_log(&options, &length, 0600));
	EXPECT(RVM_SUCCESS, RVM_INIT(NULL));

	memset(&region, 0xff, sizeof(region));
	EXPECT(RVM_EREGION, rvm_map(&region, NULL));
	EXPECT(RVM_EREGION, rvm_map(NULL, NULL));
	EXPECT(RVM_EREGION, rvm_unmap(NULL));
	region = region_of("/nowhere/at all", 0, 0);
	EXPECT(RVM_EIO, rvm_map(&region, NULL));
	region.vmaddr = &byte;
	EXPECT(RVM_ENOT_MAPPED, rvm_unmap(&region));

	if (open_transactions())
		EXPECT(RVM_EUNCOMMIT, rvm_terminate());
	if (r) {
		region = r->record;
		region.length++;
		EXPECT(RVM_ENOT_MAPPED, rvm_unmap(&region));
		region.length -= 2;
		EXPECT(RVM_ERANGE, rvm_unmap(&region));
	}
	if (i < 0)
		return;
	EXPECT(RVM_ENOT_MAPPED, rvm_set_range(&tids[i], &byte, 1));
	EXPECT(transactions[i].coalesces ? RVM_SUCCESS : RVM_ENOT_MAPPED,
	       rvm_set_range(&tids[i], &byte, 0));
	if (!r)
		return;
	EXPECT(RVM_ENOT_MAPPED, rvm_set_range(&tids[i], r->record.vmaddr, r->record.length + 1));
	EXPECT(RVM_ENOT_MAPPED, rvm_set_range(&tids[i], r->record.vmaddr + 1, -1ul));
	EXPECT(RVM_ESRC, rvm_modify_bytes(&tids[i], r->record.vmaddr, NULL, 1));
}

static void after_terminate(void)
{
	rvm_tid_t tid;

	rvm_init_tid(&tid);
	EXPECT(RVM_EINIT, rvm_terminate());
	EXPECT(RVM_EINIT, rvm_begin_transaction(&tid, restore));
	EXPECT(RVM_EINIT, rvm_flush());
	EXPECT(RVM_EINIT, RVM_INIT(NULL));
}

static void terminate(void)
{
	show("rvm_terminate()");
	EXPECT(RVM_SUCCESS, rvm_terminate());
	model_flushed();
	after_terminate();
	run->died = false;
}

static void terminate_step(void)
{
	if (open_transactions())
		return;
	terminate();
	run->step++;
	_exit(TERMINATED);
}

static void die_step(void)
{
	show("the process is killed");
	run->step++;
	raise(SIGKILL);
}

/* Somewhere in what follows, if it comes to that before the process ends. */
static void die_soon_step(void)
{
	struct itimerval when = { .it_value.tv_usec = 1 + below(below(2) ? 300 : 5000) };

	show("setitimer(ITIMER_REAL, %ld us)", when.it_value.tv_usec);
	setitimer(ITIMER_REAL, &when, NULL);
}

static void one_step(void)
{
	static const struct {
		unsigned int weight;
		void (*fn)(void);
	} kinds[] = {
		{ 12, map_step }, { 4, unmap_step }, { 14, begin_step }, { 40, change_step },
		{ 10, store_step }, { 20, end_step }, { 7, abort_step }, { 3, flush_step },
		{ 4, truncate_step }, { 2, query_step }, { 2, options_step }, { 2, error_step },
		{ 2, terminate_step }, { 3, die_step }, { 1, die_soon_step },
	};
	unsigned int total = 0, n = 0;
	long which;

	for (unsigned int i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
		total += kinds[i].weight;
	which = below(total);
	while ((which -= kinds[n].weight) >= 0)
		n++;
	kinds[n].fn();
	compare_memory();
}

#endif
