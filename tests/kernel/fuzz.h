/* SPDX-License-Identifier: GPL-2.0 OR MIT */
/*
 * What one hostile process of the fuzzer does: system calls in random order,
 * by several threads that share its descriptors and mappings and close them
 * under each other.  Arguments are right, nearly right, or garbage.
 */
#ifndef RVM_TESTS_FUZZ_H
#define RVM_TESTS_FUZZ_H

#include "kernel.h"

#include <linux/fs.h>
#include <setjmp.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/uio.h>

#define THREADS_MAX	3
#define FDS		24
#define SLOTS		16
#define SLOT_LENGTH	(2 * MIB)
#define SLOTS_BASE	((char *)0x100000000000ul)	/* where nothing else is mapped */
#define SEGMENTS	2

/* A log and segments that hostile processes share, by their names. */
struct place {
	char log[128];
	char segment[SEGMENTS][128];
	unsigned long log_length;
	bool block;		/* raw devices */
	bool spared;		/* reached by /dev/rvm alone: its files stay as they are */
};

enum fd_kind { NOTHING, DEVICE, LOG, SEGMENT, PLAIN, KINDS };

struct descriptor {
	int fd;
	enum fd_kind kind;
	unsigned int place;
};

struct mapping {
	char *address;
	unsigned long length;	/* 0: none */
	enum fd_kind kind;	/* LOG: an area */
	int log;		/* of an area */
};

struct tally {
	unsigned long calls, successes;
};

#define TALLIES	64

/* Shared by all processes of the fuzzer. */
struct board {
	struct tally tally[TALLIES];
	unsigned long places;
	struct place place[8];
	pid_t wild[16];		/* for process_vm_readv */
	int sockets[2];
	volatile unsigned long stop;
	unsigned long commits, witnessed;	/* of the polite and the witness */
	unsigned long complaints;
};

static struct board *board;
static unsigned long seed;
/*
 * This process may enter places that are spared, and damages no file in any: a
 * descriptor's number may mean another file a moment later.
 */
static bool sparing;
static struct descriptor descriptors[FDS];
static struct mapping mappings[SLOTS];
static __thread unsigned long fuzz_state;
static __thread sigjmp_buf *rescue;

static bool write_word(const char *path, const char *word)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	bool done = fd >= 0 && write(fd, word, strlen(word)) > 0;

	close(fd);
	return done;
}

/* --- chance ------------------------------------------------------------- */

static unsigned long pick(unsigned long n)
{
	fuzz_state ^= fuzz_state << 13;
	fuzz_state ^= fuzz_state >> 7;
	fuzz_state ^= fuzz_state << 17;
	return (fuzz_state >> 11) % n;
}

static void seed_random(unsigned long seed, unsigned long number)
{
	unsigned int i;

	fuzz_state = (seed * 0x9e3779b97f4a7c15ul) ^ ((number + 1) * 0xd1b54a32d192ed03ul);
	fuzz_state |= 1;
	for (i = 0; i < 8; i++)
		pick(2);
}

static bool one_in(unsigned long n)
{
	return !pick(n);
}

static uint64_t odd_value(void)
{
	static const uint64_t values[] = {
		0, 1, 2, 7, 8, 16, 0x7f, 4095, PAGE, PAGE + 1, 64 * KIB, MIB, 0x7fffffff, 0x80000000,
		0xfffffff0, 0xffffffff, 1ul << 32, 1ul << 47, -PAGE, -8ul, -1ul, 0xffff888000001000,
	};

	return one_in(4) ? pick(-1ul) : values[pick(ARRAY_LENGTH(values))];
}

/* --- memory that may not be there --------------------------------------- */

static void on_fault(int signal)
{
	sigjmp_buf *back = rescue;

	(void)signal;
	if (!back)
		_exit(3);
	rescue = NULL;
	siglongjmp(*back, 1);
}

/* Run a statement that may fault: what it leaves half done stays so. */
#define CAREFULLY(statement) do {					\
	sigjmp_buf here_;						\
									\
	if (!sigsetjmp(here_, 0)) {					\
		rescue = &here_;					\
		statement;						\
		rescue = NULL;						\
	}								\
} while (0)

static void catch_faults(void)
{
	struct sigaction action = { .sa_handler = on_fault, .sa_flags = SA_NODEFER };

	sigaction(SIGSEGV, &action, NULL);
	sigaction(SIGBUS, &action, NULL);
	signal(SIGXFSZ, SIG_IGN);
	signal(SIGPIPE, SIG_IGN);
}

static bool touch(volatile char *at, unsigned long length, int value)
{
	volatile bool done = false;

	CAREFULLY({
		memset((void *)at, value, length);
		done = true;
	});
	return done;
}

static bool look(const volatile char *at, unsigned long length)
{
	volatile bool done = false;
	volatile unsigned long i;

	CAREFULLY({
		for (i = 0; i < length; i += 512)
			(void)at[i];
		done = true;
	});
	return done;
}

static void put(void *to, const void *from, unsigned long length)
{
	CAREFULLY(memcpy(to, from, length));
}

/* --- descriptors and mappings ------------------------------------------- */

static struct descriptor *any_descriptor(enum fd_kind kind)
{
	unsigned int i, first = pick(FDS);

	for (i = 0; i < FDS; i++) {
		struct descriptor *d = &descriptors[(first + i) % FDS];

		if (d->kind == kind)
			return d;
	}
	return &descriptors[first];
}

static int wild_fd(void)
{
	return one_in(4) ? (int)odd_value() : descriptors[pick(FDS)].fd;
}

static int fd_of(enum fd_kind kind, unsigned int *place)
{
	struct descriptor *d = any_descriptor(kind);

	if (place)
		*place = d->place;
	return one_in(24) ? wild_fd() : d->kind == NOTHING ? -1 : d->fd;
}

static bool keep(int fd, enum fd_kind kind, unsigned int place)
{
	struct descriptor *d = &descriptors[pick(FDS)];

	if (fd < 0)
		return false;
	if (d->kind != NOTHING)
		close(d->fd);
	*d = (struct descriptor){ fd, kind, place };
	return true;
}

static struct mapping *any_mapping(enum fd_kind kind)
{
	unsigned int i, first = pick(SLOTS);

	for (i = 0; i < SLOTS; i++) {
		struct mapping *m = &mappings[(first + i) % SLOTS];

		if (m->length && m->kind == kind)
			return m;
	}
	return &mappings[first];
}

/* Somewhere in a mapping, if there's one; mostly such that length more bytes are in it. */
static char *somewhere(const struct mapping *m, unsigned long length)
{
	unsigned long room = m->length > length ? m->length - length : 1;

	if (!m->address)
		return SLOTS_BASE + pick(SLOTS * SLOT_LENGTH);
	if (one_in(16))
		return m->address + m->length - pick(length + 2);
	return m->address + pick(room);
}

static char *some_pages(const struct mapping *m, unsigned long *length)
{
	unsigned long pages = m->length / PAGE + 1, first = one_in(2) ? 0 : pick(pages);

	*length = one_in(16) ? odd_value() : (one_in(2) ? pages - first : 1 + pick(pages)) * PAGE;
	return (m->address ? m->address : SLOTS_BASE) + first * PAGE + (one_in(32) ? 1 : 0);
}

/* --- ioctls ------------------------------------------------------------- */

/* An ioctl of which, now and then, one thing is not as it should be. */
static int call(int fd, unsigned long command, void *argument)
{
	unsigned int size = _IOC_SIZE(command);
	void *at = argument;

	if (one_in(10))
		((uint32_t *)argument)[pick(size / 4)] = odd_value();
	if (one_in(40))
		fd = wild_fd();
	if (one_in(60))
		command ^= 1ul << pick(32);
	switch (pick(40)) {
	case 0:
		at = (void *)odd_value();
		break;
	case 1:
	case 2: {
		/* the argument inside a region or an area: which the call itself may lock */
		char *place = somewhere(any_mapping(one_in(2) ? LOG : SEGMENT), size);

		put(place, argument, size);
		at = place;
		break;
	}
	}
	return ioctl(fd, command, at);
}

static bool do_open_device(void)
{
	return keep(open("/dev/rvm", one_in(8) ? O_RDONLY : O_RDWR | O_CLOEXEC), DEVICE, 0);
}

static const char *some_file(unsigned int place)
{
	const struct place *p = &board->place[place];
	unsigned long n = pick(SEGMENTS + 1);

	return n ? p->segment[n - 1] : p->log;
}

static unsigned int some_place(void)
{
	unsigned int place;

	do
		place = pick(board->places);
	while (board->place[place].spared && !sparing);
	return place;
}

static bool do_open_file(void)
{
	static const int flags[] = {
		O_RDWR, O_RDWR, O_RDONLY, O_WRONLY, O_RDWR | O_APPEND, O_RDWR | O_DIRECT, O_PATH,
	};
	unsigned int place = some_place();

	return keep(open(some_file(place), flags[pick(ARRAY_LENGTH(flags))] | O_CLOEXEC), PLAIN, place);
}

static bool attach_log(unsigned int place)
{
	int file = open(board->place[place].log, O_RDWR | O_CLOEXEC), fd;
	struct rvm_ioc_attach_log a = { .size = sizeof(a), .fd = one_in(20) ? wild_fd() : file };

	fd = call(fd_of(DEVICE, NULL), RVM_IOC_ATTACH_LOG, &a);
	if (one_in(8))
		keep(file, PLAIN, place);
	else
		close(file);
	return keep(fd, LOG, place);
}

static bool do_attach_log(void)
{
	return attach_log(some_place());
}

/* Mostly the same for all: tracked regions and others of a segment don't mix. */
static uint32_t some_tracking(unsigned int which)
{
	static const uint32_t tracked[] = {
		RVM_SEGMENT_DIFF, RVM_SEGMENT_PAGES, RVM_SEGMENT_DIFF | RVM_SEGMENT_STRICT,
	};

	if (one_in(16))
		return pick(32);
	return which % 2 ? tracked[pick(ARRAY_LENGTH(tracked))] : one_in(3) ? RVM_SEGMENT_CHECK : 0;
}

static bool do_attach_segment(void)
{
	struct rvm_ioc_attach_segment a = { .size = sizeof(a) };
	unsigned int place, which = pick(SEGMENTS);
	int log = fd_of(LOG, &place), file, fd;
	const char *name = board->place[place].segment[which];

	a.flags = some_tracking(which);
	file = open(name, (one_in(12) ? O_RDONLY : O_RDWR) | O_CLOEXEC);
	a.fd = one_in(20) ? wild_fd() : file;
	a.name = (uintptr_t)(one_in(20) ? somewhere(any_mapping(SEGMENT), 20) : name);
	a.name_length = strlen(name);
	fd = call(log, RVM_IOC_ATTACH_SEGMENT, &a);
	close(file);
	return keep(fd, SEGMENT, place);
}

static bool do_dictionary(void)
{
	char room[8 * KIB];
	struct rvm_ioc_dictionary a = {
		.size = sizeof(a), .buffer = (uintptr_t)room, .length = sizeof(room),
	};

	if (one_in(3)) {
		a.buffer = (uintptr_t)somewhere(any_mapping(one_in(2) ? LOG : SEGMENT), KIB);
		a.length = KIB;
	}
	/* its length and address may be wrong, but then they must not be of the stack */
	if (one_in(4))
		a.length = pick(sizeof(room));
	return !ioctl(fd_of(LOG, NULL), RVM_IOC_DICTIONARY, &a);
}

static bool do_recover(void)
{
	struct rvm_ioc_recover a = { .size = sizeof(a) };

	return !call(fd_of(LOG, NULL), RVM_IOC_RECOVER, &a);
}

static uint32_t id_of(const struct mapping *area)
{
	volatile uint32_t id = 0;

	CAREFULLY(id = ((volatile struct rvm_area_header *)area->address)->area);
	return one_in(16) ? pick(2000) : id;
}

static bool area_call(unsigned long command)
{
	struct mapping *area = any_mapping(LOG);
	struct rvm_ioc_area a = { .size = sizeof(a), .area = id_of(area) };

	return !call(one_in(8) ? fd_of(LOG, NULL) : area->log, command, &a);
}

/* Where the kernel tells: nobody reads it. */
static struct rvm_ioc_found found[RVM_FOUND_MAX];

static bool do_commit(void)
{
	struct mapping *area = any_mapping(LOG);
	struct rvm_ioc_commit a = {
		.size = sizeof(a), .flags = one_in(4) ? RVM_COMMIT_FLUSH : 0, .area = id_of(area),
		.room = one_in(8) ? odd_value() : pick(RVM_FOUND_MAX + 1),
		.found = one_in(8) ? (uintptr_t)somewhere(any_mapping(SEGMENT), 500) : (uintptr_t)found,
	};
	bool done = !call(one_in(16) ? fd_of(LOG, NULL) : area->log, RVM_IOC_COMMIT, &a);

	/* what stands there would never be taken */
	if (!done && !one_in(4))
		area_ioctl(area->log, RVM_IOC_ABORT, id_of(area));
	return done;
}

static bool do_abort_area(void)
{
	return area_call(RVM_IOC_ABORT);
}

static bool do_spill(void)
{
	return area_call(RVM_IOC_SPILL);
}

static bool log_call(unsigned long command)
{
	struct rvm_ioc_log a = { .size = sizeof(a) };

	return !call(fd_of(LOG, NULL), command, &a);
}

static bool do_flush(void)
{
	return log_call(RVM_IOC_FLUSH);
}

static bool do_truncate(void)
{
	return log_call(RVM_IOC_TRUNCATE);
}

static bool do_set_options(void)
{
	struct rvm_ioc_options a = { .size = sizeof(a), .flags = pick(16) };

	if (a.flags & RVM_OPTION_TRUNCATE)
		a.truncate = pick(101);
	if (a.flags & RVM_OPTION_FLUSH_INTERVAL)
		a.flush_interval = pick(20);
	if (a.flags & RVM_OPTION_COALESCE)
		a.coalesce = pick(2);
	if (a.flags & RVM_OPTION_MEMORY)
		/* refused, or so large that those that behave have enough: it is theirs, too */
		a.memory = one_in(2) ? pick(RVM_MEMORY_MIN) : (256 + pick(256)) * MIB;

	return !call(fd_of(LOG, NULL), RVM_IOC_SET_OPTIONS, &a);
}

static bool do_query(void)
{
	struct rvm_ioc_query a = { .size = sizeof(a) };

	return !call(fd_of(LOG, NULL), RVM_IOC_QUERY, &a);
}

static bool do_statistics(void)
{
	struct rvm_ioc_statistics a = { .size = sizeof(a) };

	return !call(fd_of(LOG, NULL), RVM_IOC_STATISTICS, &a);
}

/* --- areas and transactions --------------------------------------------- */

/* One entry, mostly a good one; false if the area is not to be written. */
static bool append_entry(struct mapping *area, bool good)
{
	struct mapping *region = any_mapping(SEGMENT);
	uint32_t length = one_in(8) ? 1 + pick(3 * PAGE) : 1 + pick(300);
	char *at = somewhere(region, length);
	volatile bool done = false;

	CAREFULLY({
		struct rvm_area_header *header = (void *)area->address;
		uint32_t state = one_in(3) ? RVM_ENTRY_NO_RESTORE : RVM_ENTRY_SAVING;
		uint32_t used = header->used;

		if (used + entry_size(length, true) + sizeof(*header) < area->length) {
			struct rvm_area_entry *e = append(header, (uintptr_t)at, length, state);

			if (state == RVM_ENTRY_SAVING) {
				memcpy(e->saved, at, length);
				saved(e);
			}
			if (!good) {
				uint32_t *word = (uint32_t *)e + pick(5);

				*word = odd_value();
			}
			memset(at, pick(256), length);
			done = true;
		}
	});
	return done;
}

static bool do_declare(void)
{
	return append_entry(any_mapping(LOG), !one_in(12));
}

/* As it should be; what fails is the other threads' fault, or the full log's. */
static bool do_transaction(void)
{
	struct mapping *area = any_mapping(LOG);
	unsigned long n = 1 + pick(4);
	uint32_t id = id_of(area);

	while (n--)
		if (!append_entry(area, true))
			break;
	if (one_in(6))
		return !area_ioctl(area->log, RVM_IOC_ABORT, id);
	if (!commit_id(area->log, id, one_in(8) ? RVM_COMMIT_FLUSH : 0))
		return true;
	area_ioctl(area->log, RVM_IOC_ABORT, id);
	return false;
}

/* Stores to tracked regions, mostly in a transaction, that ends in some way or stays open. */
static bool do_tracked(void)
{
	struct mapping *area = any_mapping(LOG);
	uint32_t id = id_of(area);
	unsigned long n = 1 + pick(8);
	uint64_t count;

	if (one_in(3))
		begin_id(area->log, id, found, pick(RVM_FOUND_MAX + 2), &count);
	if (!one_in(8))
		CAREFULLY(((volatile struct rvm_area_header *)area->address)->open = 1);
	while (n--) {
		struct mapping *region = any_mapping(SEGMENT);
		unsigned long length = 1 + pick(one_in(4) ? 3 * PAGE : 100);

		touch(somewhere(region, length), length, pick(256));
	}
	if (one_in(8))
		return false;
	return one_in(3) ? !area_ioctl(area->log, RVM_IOC_ABORT, id) :
			   !commit_id(area->log, id, one_in(8) ? RVM_COMMIT_FLUSH : 0);
}

/* Garbage where the kernel reads, for a while: what it checked is not what it uses. */
static bool do_scribble(void)
{
	struct mapping *area = any_mapping(LOG);
	unsigned int n = 1 + pick(one_in(4) ? 2000 : 50);
	volatile bool done = false;

	CAREFULLY({
		volatile uint32_t *word = (volatile uint32_t *)area->address;
		uint32_t near;
		uint32_t old;

		while (n--) {
			/* mostly the header's `used`, `open` and the first entries, and mostly back again */
			near = one_in(3) ? 2 + pick(2) : one_in(8) ? pick(area->length / 4 + 1) : pick(48);
			old = word[near];
			word[near] = odd_value();
			if (!one_in(8))
				word[near] = old;
		}
		done = true;
	});
	return done;
}

/* --- duels --------------------------------------------------------------- */

/*
 * An area with entries up to its end and one that leads beyond it, and a thread
 * that changes `used` to and fro: from what ends before that one to what believes it.
 */
struct duel {
	struct rvm_area_header *header;
	uint32_t room;
	char *region;
	unsigned long length;	/* of the region */
	volatile uint32_t good, bad;
	volatile bool over;
};

static void *flip_used(void *argument)
{
	struct duel *d = argument;
	volatile uint32_t *used = &d->header->used;

	while (!d->over) {
		*used = d->bad;
		*used = d->good;
	}
	return NULL;
}

/*
 * Many small entries, which take the kernel a while, and a last one that ends less
 * than a page beyond the area, where nothing is mapped.
 */
static void fill_beyond(struct duel *d)
{
	struct rvm_area_entry e = {
		.address = (uintptr_t)d->region, .length = 8, .state = RVM_ENTRY_NO_RESTORE,
	};
	uint32_t at;

	for (at = 0; d->room - at >= PAGE; at += sizeof(e))
		memcpy(entry_at(d->header, at), &e, sizeof(e));
	e.state = RVM_ENTRY_SAVED;
	e.length = d->room - at - sizeof(e) + pick(PAGE / 8 - 2) * 8;
	memcpy(entry_at(d->header, at), &e, sizeof(e));
	d->good = at;
	d->bad = one_in(4) ? odd_value() : at + entry_size(e.length, true) + sizeof(e);
}

static bool fight(struct duel *d, int log)
{
	unsigned int n = 10 + pick(50);
	uint32_t id = d->header->area;
	bool done = false;
	pthread_t thread;

	fill_beyond(d);
	touch(d->region, PAGE, 1);
	if (pthread_create(&thread, NULL, flip_used, d))
		return false;
	while (n--) {
		if (one_in(2))
			done |= !area_ioctl(log, one_in(2) ? RVM_IOC_ABORT : RVM_IOC_SPILL, id);
		else
			done |= !commit_id(log, id, 0);
		/* spilled entries are the transaction's, too */
		if (one_in(8)) {
			area_ioctl(log, RVM_IOC_ABORT, id);
			fill_beyond(d);
		}
	}
	d->over = true;
	pthread_join(thread, NULL);
	return done;
}

/* Over memory of its own: what others do to that would only end it early. */
static bool do_duel(void)
{
	const struct place *p = &board->place[some_place()];
	struct duel d = { .length = (2 + pick(11)) * PAGE };
	unsigned long length = PAGE << pick(6);
	int log = attach(p->log), file;
	bool done = false;

	if (log < 0)
		return false;
	file = segment(log, p->segment[pick(SEGMENTS)]);
	recover(log, NULL, NULL);
	d.room = length - sizeof(*d.header);
	d.region = map(file, d.length);
	d.header = map(log, length);
	if (d.region != MAP_FAILED && d.header != MAP_FAILED)
		done = fight(&d, log);
	if (d.header != MAP_FAILED)
		munmap(d.header, length);
	if (d.region != MAP_FAILED)
		munmap(d.region, d.length);
	close(file);
	close(log);
	return done;
}

#endif
