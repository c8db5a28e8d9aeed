/* SPDX-License-Identifier: GPL-2.0 OR MIT */
/*
 * What memory and segments ought to hold: RVM as simple as can be.
 *
 * It is byte by byte: a transaction has a map of the bytes that it declared and
 * what they were, and a commit is a list of pieces. What says which commits may
 * survive is shared by all processes of a program and is right whenever one dies.
 */
#ifndef RVM_TESTS_MODEL_H
#define RVM_TESTS_MODEL_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#define SEGMENTS	3
#define SEGMENT_ROOM	(24 * 1024)
#define TRANSACTIONS	4
#define ARENA		(16 << 20)

static const unsigned long segment_length[SEGMENTS] = {
	24 * 1024, 20 * 1024 + 100, 12 * 1024 + 777,
};

typedef uint8_t model_bytes[SEGMENTS][SEGMENT_ROOM];

struct piece {
	uint32_t segment, offset, length;
	uint8_t data[];
};

struct model {
	model_bytes base;		/* what is durable for certain, at least */
	model_bytes committed;		/* base and all commits since */
	/* Ends of commits in the arena: base, durable, returned, called. */
	uint32_t folded, flushed, returned, called;
	uint8_t arena[ARENA];
};

struct model_transaction {
	bool open, restores, coalesces;
	model_bytes declared, old;
};

static struct model *model;

/* This process's; they end with it. */
static model_bytes memory;
static struct model_transaction transactions[TRANSACTIONS];

static inline void model_declare(struct model_transaction *t, int segment, unsigned long offset,
				 unsigned long length)
{
	for (unsigned long i = offset; i < offset + length; i++) {
		if (!t->declared[segment][i])
			t->old[segment][i] = memory[segment][i];
		t->declared[segment][i] = 1;
	}
}

static inline void model_begin(struct model_transaction *t, bool restores, bool coalesces)
{
	memset(t, 0, sizeof(*t));
	t->open = true;
	t->restores = restores;
	t->coalesces = coalesces;
}

static inline void model_abort(struct model_transaction *t)
{
	for (int s = 0; t->restores && s < SEGMENTS; s++)
		for (unsigned long i = 0; i < SEGMENT_ROOM; i++)
			if (t->declared[s][i])
				memory[s][i] = t->old[s][i];
	t->open = false;
}

/* Apply commits of the arena. */
static inline void model_apply(model_bytes to, uint32_t from, uint32_t end)
{
	while (from < end) {
		struct piece *p = (struct piece *)(model->arena + from);

		memcpy(to[p->segment] + p->offset, p->data, p->length);
		from += (sizeof(*p) + p->length + 3) & ~3u;
	}
}

/* The end of the commit that begins here. */
static inline uint32_t model_commit_end(uint32_t from)
{
	for (;;) {
		struct piece *p = (struct piece *)(model->arena + from);

		from += (sizeof(*p) + p->length + 3) & ~3u;
		if (!p->length)
			return from;
	}
}

/* Before the call: from here on it may be durable. */
static inline void model_commit_called(struct model_transaction *t)
{
	uint32_t at = model->returned;
	struct piece *p;

	for (int s = 0; s < SEGMENTS; s++) {
		for (unsigned long i = 0, end; i < SEGMENT_ROOM; i = end + 1) {
			for (end = i; end < SEGMENT_ROOM && t->declared[s][end]; end++)
				;
			if (end == i)
				continue;
			p = (struct piece *)(model->arena + at);
			p->segment = s;
			p->offset = i;
			p->length = end - i;
			memcpy(p->data, memory[s] + i, p->length);
			at += (sizeof(*p) + p->length + 3) & ~3u;
		}
	}
	p = (struct piece *)(model->arena + at);
	memset(p, 0, sizeof(*p));
	*(volatile uint32_t *)&model->called = at + sizeof(*p);
}

/* After it, if it has succeeded. An undo of others never brings back what is older. */
static inline void model_commit_returned(struct model_transaction *t)
{
	model_apply(model->committed, model->returned, model->called);
	*(volatile uint32_t *)&model->returned = model->called;
	for (struct model_transaction *o = transactions; o < transactions + TRANSACTIONS; o++)
		for (int s = 0; o != t && o->open && s < SEGMENTS; s++)
			for (unsigned long i = 0; i < SEGMENT_ROOM; i++)
				if (t->declared[s][i] && o->declared[s][i])
					o->old[s][i] = memory[s][i];
	t->open = false;
}

/* All that was committed is durable. A death in here does no harm. */
static inline void model_flushed(void)
{
	*(volatile uint32_t *)&model->flushed = model->returned;
	model_apply(model->base, model->folded, model->flushed);
	*(volatile uint32_t *)&model->folded = model->flushed;
}

/*
 * Begin anew after a death or termination: found must be what the commits up to
 * some one make, from `least` to the last that was called.
 */
static inline bool model_recovered(model_bytes found, uint32_t least)
{
	uint32_t end = model->folded;

	for (;; end = model_commit_end(end)) {
		if (end >= least && !memcmp(model->base, found, sizeof(model_bytes)))
			break;
		if (end >= model->called)
			return false;
		model_apply(model->base, end, model_commit_end(end));
	}
	memcpy(model->committed, model->base, sizeof(model_bytes));
	model->folded = 0;
	model->flushed = 0;
	model->returned = 0;
	model->called = 0;
	return true;
}

#endif
