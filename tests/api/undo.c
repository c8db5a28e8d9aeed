// SPDX-License-Identifier: GPL-2.0 OR MIT
/*
 * Description: several transactions open at once over the same bytes, against
 * a model: what an abort restores, and that it is never older than a commit
 * made since by another.
 */
#include "api.h"

#define BYTES	(48 * KIB)
#define OPEN	4
#define RANGES	400
#define STEPS	6000

struct saved {
	unsigned int at, length;
	unsigned char *old;
};

static struct open {
	rvm_tid_t tid;
	bool is_open, restores;
	unsigned int ranges;
	struct saved saved[RANGES + BYTES];	/* ranges; or single bytes, each once */
	bool declared[BYTES];
} open_ones[OPEN];

static unsigned char model[BYTES];
static unsigned long random_state = 1;

static unsigned int random_below(unsigned int n)
{
	random_state = random_state * 6364136223846793005ul + 1442695040888963407ul;
	return (random_state >> 33) % n;
}

static void save(struct open *t, unsigned int at, unsigned int length)
{
	struct saved *s = &t->saved[t->ranges++];

	s->at = at;
	s->length = length;
	s->old = malloc(length);
	memcpy(s->old, model + at, length);
}

static void model_declare(struct open *t, unsigned int at, unsigned int length, bool once)
{
	unsigned int i;

	if (!once) {
		save(t, at, length);
		memset(t->declared + at, true, length);
		return;
	}
	for (i = at; i < at + length; i++) {
		if (!t->declared[i])
			save(t, i, 1);
		t->declared[i] = true;
	}
}

/* What t declared is committed as it is in memory; others must not undo it. */
static void model_commit(const struct open *t)
{
	unsigned int i, k, b;

	for (i = 0; i < OPEN; i++) {
		struct open *o = &open_ones[i];

		if (o == t || !o->is_open || !o->restores)
			continue;
		for (k = 0; k < o->ranges; k++)
			for (b = 0; b < o->saved[k].length; b++)
				if (t->declared[o->saved[k].at + b])
					o->saved[k].old[b] = model[o->saved[k].at + b];
	}
}

static void model_abort(const struct open *t)
{
	unsigned int i;

	for (i = t->ranges; t->restores && i-- > 0;)
		memcpy(model + t->saved[i].at, t->saved[i].old, t->saved[i].length);
}

static void forget(struct open *t)
{
	while (t->ranges)
		free(t->saved[--t->ranges].old);
	memset(t->declared, 0, sizeof(t->declared));
	t->is_open = false;
}

static void step(CHILD_ARGS, char *memory, bool once)
{
	struct open *t = &open_ones[random_below(OPEN)];
	/* the first is a long one */
	unsigned int what = random_below(t == open_ones ? 1000 : 100), at, length;

	if (!t->is_open) {
		rvm_init_tid(&t->tid);
		t->restores = random_below(6) > 0;
		OK(rvm_begin_transaction(&t->tid, t->restores ? restore : no_restore));
		t->is_open = true;
	} else if (what < 2) {
		OK(rvm_end_transaction(&t->tid, random_below(8) ? no_flush : flush));
		model_commit(t);
		forget(t);
	} else if (what < 4) {
		OK(rvm_abort_transaction(&t->tid));
		model_abort(t);
		forget(t);
	} else if (t->ranges < RANGES || once) {
		/* often right behind the last */
		at = t->ranges && random_below(3) == 0 ?
		     t->saved[t->ranges - 1].at + t->saved[t->ranges - 1].length :
		     random_below(BYTES);
		length = 1 + random_below(random_below(10) ? 40 : 3000);
		if (at >= BYTES)
			at = 0;
		if (length > BYTES - at)
			length = BYTES - at;
		OK(rvm_set_range(&t->tid, memory + at, length));
		model_declare(t, at, length, once);
		memset(memory + at, (int)what, length);
		memset(model + at, (int)what, length);
	}
}

static void many_steps(CHILD_ARGS, unsigned long flags)
{
	rvm_region_t region;
	int i;

	OK(start_with(f, 4 * MIB, flags));
	OK(map_segment(f, &region));
	for (i = 0; i < STEPS; i++) {
		step(_metadata, f, region.vmaddr, flags != 0);
		ASSERT_EQ(0, memcmp(model, region.vmaddr, BYTES)) TH_LOG("step %d", i);
	}
	for (i = 0; i < OPEN; i++) {
		if (!open_ones[i].is_open)
			continue;
		OK(rvm_abort_transaction(&open_ones[i].tid));
		model_abort(&open_ones[i]);
		ASSERT_EQ(0, memcmp(model, region.vmaddr, BYTES));
		forget(&open_ones[i]);
	}
	OK(rvm_terminate());
}

static void plain(CHILD_ARGS)
{
	many_steps(_metadata, f, 0);
}

static void optimized(CHILD_ARGS)
{
	many_steps(_metadata, f, RVM_ALL_OPTIMIZATIONS);
}

TEST_F(api, undo_among_others)
{
	const struct files *f = &self->f;

	DECLARED_ONLY("several transactions at a time");
	CHILD_OK(plain);
}

TEST_F(api, undo_among_others_optimized)
{
	const struct files *f = &self->f;

	DECLARED_ONLY("several transactions at a time");
	CHILD_OK(optimized);
}

TEST_HARNESS_MAIN
