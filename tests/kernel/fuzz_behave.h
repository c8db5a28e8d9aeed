/* SPDX-License-Identifier: GPL-2.0 OR MIT */
/*
 * The processes beside the hostile ones: what they rely on must hold.
 */
#ifndef RVM_TESTS_FUZZ_BEHAVE_H
#define RVM_TESTS_FUZZ_BEHAVE_H

#include "fuzz.h"

#define POLITE		2	/* processes */
#define BLOCK		512ul	/* of the polite segment: a half declared, a half never */
#define BLOCKS		(LENGTH / BLOCK)
#define HALF		(BLOCK / 2)
#define UNTOUCHED	0x5a

#define COMPLAIN(...) do {						\
	printf("# " __VA_ARGS__);					\
	printf("\n");							\
	fflush(stdout);							\
	__atomic_add_fetch(&board->complaints, 1, __ATOMIC_SEQ_CST);	\
} while (0)

#define MUST(call) do {							\
	if ((long)(call) == -1) {					\
		COMPLAIN("%s:%d: %s: %s", who, __LINE__, #call, strerror(errno)); \
		_exit(1);						\
	}								\
} while (0)

/* By block of the polite segment: the last version known to be committed, and one on its way. */
struct block {
	volatile uint32_t committed, pending;
};

static struct block *blocks;
static struct files polite_files, witness_files;

static void fill(char *at, uint32_t version)
{
	uint32_t words[HALF / 4], i;

	for (i = 0; i < HALF / 4; i++)
		words[i] = version * 2654435761u + i;
	if (!version)
		memset(words, UNTOUCHED, HALF);
	memcpy(at, words, HALF);
}

static bool is_version(const char *at, uint32_t version)
{
	char expected[HALF];

	fill(expected, version);
	return !memcmp(at, expected, HALF);
}

static bool block_is_good(const char *at, unsigned long b)
{
	return is_version(at, blocks[b].committed) || is_version(at, blocks[b].pending);
}

/* Stores what it does not declare, too, and changes blocks of its own, in transactions. */
static void polite(unsigned int me, unsigned long number)
{
	struct world w = { .f = polite_files };
	const char *who = "polite";
	unsigned int i, n, b;

	signal(SIGXFSZ, SIG_IGN);
	seed_random(~seed, number);
	MUST(open_world(&w));
	for (i = 0; i < BLOCKS; i++) {
		if (i % POLITE == me && !block_is_good(w.memory + i * BLOCK, i)) {
			COMPLAIN("polite: block %u is neither version %u nor %u", i,
				 blocks[i].committed, blocks[i].pending);
			_exit(1);
		}
	}
	for (;;) {
		unsigned int chosen[8];

		n = 1 + pick(ARRAY_LENGTH(chosen));
		for (i = 0; i < n; i++) {
			char *at;

			b = pick(BLOCKS / POLITE) * POLITE + me;
			at = w.memory + b * BLOCK;
			chosen[i] = b;
			/* which version it is may be unknown after a death: now it is */
			if (is_version(at, blocks[b].pending))
				blocks[b].committed = blocks[b].pending;
			declare(w.area, at, HALF);
			memset(at + HALF, number, HALF);
		}
		if (one_in(4)) {
			for (i = 0; i < n; i++)
				fill(w.memory + chosen[i] * BLOCK, number * 7777);
			MUST(do_abort(w.log, w.area));
		} else {
			for (i = 0; i < n; i++) {
				blocks[chosen[i]].pending = blocks[chosen[i]].committed + 1;
				fill(w.memory + chosen[i] * BLOCK, blocks[chosen[i]].pending);
			}
			if (one_in(8))
				MUST(area_ioctl(w.log, RVM_IOC_SPILL, w.area->area));
			MUST(commit(w.log, w.area, one_in(4) ? RVM_COMMIT_FLUSH : 0));
			__atomic_add_fetch(&board->commits, 1, __ATOMIC_RELAXED);
			for (i = 0; i < n; i++)
				blocks[chosen[i]].committed = blocks[chosen[i]].pending;
		}
		for (i = 0; i < n; i++) {
			if (!is_version(w.memory + chosen[i] * BLOCK, blocks[chosen[i]].committed)) {
				COMPLAIN("polite: block %u is not version %u", chosen[i],
					 blocks[chosen[i]].committed);
				_exit(1);
			}
		}
		/* the machine is for the others */
		sleep_us(1000);
		if (one_in(50))
			MUST(truncate_log(w.log));
		if (one_in(100)) {
			close_world(&w);
			MUST(open_world(&w));
		}
	}
}

/* Uses a log that nobody else knows of: nothing may fail, and nothing change. */
static void witness(unsigned long number)
{
	static char model[LENGTH], file[LENGTH];
	struct world w = { .f = witness_files };
	const char *who = "witness";
	unsigned long n, commits = 0;
	int fd;

	write_word("/proc/self/oom_score_adj", "-1000");
	seed_random(seed, ~number);
	MUST(open_world(&w));
	memcpy(model, w.memory, LENGTH);
	while (!board->stop || !commits) {
		bool gives_up = one_in(5);

		for (n = 1 + pick(5); n--; ) {
			unsigned long length = 1 + pick(one_in(8) ? 8000 : 200);
			unsigned long offset = pick(LENGTH - length);
			int value = pick(256);

			set(w.area, w.memory + offset, value, length);
			if (!gives_up)
				memset(model + offset, value, length);
		}
		if (gives_up)
			MUST(do_abort(w.log, w.area));
		else
			MUST(commit(w.log, w.area, one_in(3) ? RVM_COMMIT_FLUSH : 0));
		commits += !gives_up;
		sleep_us(1000);
		if (one_in(30)) {
			close_world(&w);
			MUST(open_world(&w));
		}
		if (memcmp(model, w.memory, LENGTH)) {
			COMPLAIN("witness: memory is not what was committed");
			_exit(1);
		}
		if (one_in(20)) {
			MUST(truncate_log(w.log));
			MUST(fd = open(w.f.segment, O_RDONLY | O_CLOEXEC));
			MUST(read(fd, file, LENGTH));
			close(fd);
			if (memcmp(model, file, LENGTH)) {
				COMPLAIN("witness: the segment is not what was committed");
				_exit(1);
			}
		}
	}
	__atomic_add_fetch(&board->witnessed, commits, __ATOMIC_RELAXED);
	close_world(&w);
	_exit(0);
}

#endif
