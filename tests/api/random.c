// SPDX-License-Identifier: GPL-2.0 OR MIT
/*
 * Description: random operations of several transactions, compared with a
 * model at every step, through many processes and crashes.
 *
 * The seed is printed; RVM_TEST_SEED=N repeats it.
 */
#include "api.h"

#include <time.h>

#define SLOTS	6
#define STRIPE	(12 * KIB)
#define LENGTH	(SLOTS * STRIPE)
#define RANGES	24

/* What ought to be; shared by all processes of the test. */
static struct model {
	unsigned long seed;
	unsigned int process, step;
	char memory[LENGTH], committed[LENGTH];
} *model;

/* An open transaction of slot n changes only stripe n. */
static struct slot {
	bool open, restores;
	rvm_tid_t tid;
	int ranges;
	struct {
		unsigned long offset, length;
		char *old;
	} range[RANGES];
} slots[SLOTS];

static rvm_region_t region;
static char *at;

static unsigned long next(unsigned long n)
{
	model->seed = model->seed * 6364136223846793005 + 1442695040888963407;
	return (model->seed >> 33) % n;
}

static void forget_ranges(struct slot *s)
{
	while (s->ranges)
		free(s->range[--s->ranges].old);
	s->open = false;
}

static void begin(struct __test_metadata *_metadata, struct slot *s)
{
	s->restores = next(3);
	rvm_init_tid(&s->tid);
	OK(rvm_begin_transaction(&s->tid, s->restores ? restore : no_restore));
	s->open = true;
}

static void change(struct __test_metadata *_metadata, struct slot *s)
{
	unsigned long length = 1 + next(next(8) ? 200 : STRIPE);
	unsigned long offset = (s - slots) * STRIPE + next(STRIPE - length + 1);
	char value = next(256), copy[STRIPE];

	if (s->ranges == RANGES)
		return;
	s->range[s->ranges].offset = offset;
	s->range[s->ranges].length = length;
	s->range[s->ranges].old = malloc(length);
	memcpy(s->range[s->ranges].old, model->memory + offset, length);
	s->ranges++;
	memset(model->memory + offset, value, length);
	if (next(2)) {
		OK(rvm_set_range(&s->tid, at + offset, length));
		memset(at + offset, value, length);
	} else {
		memset(copy, value, length);
		OK(rvm_modify_bytes(&s->tid, at + offset, copy, length));
	}
}

static void abort_it(struct __test_metadata *_metadata, struct slot *s)
{
	OK(rvm_abort_transaction(&s->tid));
	for (int i = s->ranges; s->restores && i-- > 0;)
		memcpy(model->memory + s->range[i].offset, s->range[i].old, s->range[i].length);
	forget_ranges(s);
}

static void commit(struct __test_metadata *_metadata, struct slot *s)
{
	rvm_return_t code = rvm_end_transaction(&s->tid, next(4) ? no_flush : flush);

	if (code == RVM_ETOO_BIG) {
		ASSERT_EQ(0, memcmp(at, model->memory, LENGTH));
		abort_it(_metadata, s);
		return;
	}
	OK(code);
	for (int i = 0; i < s->ranges; i++) {
		unsigned long offset = s->range[i].offset, length = s->range[i].length;

		memcpy(model->committed + offset, model->memory + offset, length);
	}
	forget_ranges(s);
}

static bool any_open(void)
{
	for (int i = 0; i < SLOTS; i++)
		if (slots[i].open)
			return true;
	return false;
}

static void map_it(CHILD_ARGS)
{
	OK(map_segment(f, &region));
	at = region.vmaddr;
	ASSERT_EQ(LENGTH, region.length);
	memcpy(model->memory, model->committed, LENGTH);
	ASSERT_EQ(0, memcmp(at, model->memory, LENGTH));
}

static void something_else(CHILD_ARGS)
{
	rvm_options_t options;

	switch (next(8)) {
	case 0:
		OK(rvm_truncate());
		break;
	case 1:
		OK(rvm_flush());
		break;
	case 2:
		if (any_open()) {
			CODE(RVM_EUNCOMMIT, rvm_terminate());
			break;
		}
		OK(rvm_unmap(&region));
		map_it(_metadata, f);
		break;
	case 3:
		rvm_init_options(&options);
		options.flags = next(4);
		options.truncate = next(101);
		OK(rvm_set_options(&options));
		break;
	case 4:		/* all at once */
		rvm_init_options(&options);
		OK(rvm_query(&options, NULL));
		for (long i = 0; i < options.n_uncommit; i++) {
			struct slot *s = slots;

			while (s->tid.tid != options.tid_array[i].tid || !s->open)
				s++;
			abort_it(_metadata, s);
		}
		free(options.tid_array);
		break;
	}
}

static void one_step(CHILD_ARGS)
{
	struct slot *s = &slots[next(SLOTS)];
	unsigned long what = next(12);

	if (!what)
		something_else(_metadata, f);
	else if (!s->open)
		begin(_metadata, s);
	else if (what < 3)
		commit(_metadata, s);
	else if (what < 5)
		abort_it(_metadata, s);
	else
		change(_metadata, s);
	ASSERT_EQ(0, memcmp(at, model->memory, LENGTH));
}

/* All that it committed is durable when it dies. */
static void one_process(CHILD_ARGS)
{
	static const unsigned long flags[] = {
		0, RVM_COALESCE_RANGES, RVM_COALESCE_TRANS, RVM_ALL_OPTIMIZATIONS | RVM_MAP_PRIVATE,
	};

	OK(start_with(f, 64 * KIB, flags[next(4)]));
	map_it(_metadata, f);
	for (model->step = 0; model->step < 200; model->step++)
		one_step(_metadata, f);
	if (next(2)) {
		OK(rvm_flush());
		die(_metadata);
	}
	for (int i = 0; i < SLOTS; i++)
		if (slots[i].open)
			commit(_metadata, &slots[i]);
	OK(rvm_terminate());
	die(_metadata);
}

static void last_look(CHILD_ARGS)
{
	OK(start_with(f, 64 * KIB, 0));
	map_it(_metadata, f);
}

TEST_F(api, random)
{
	const char *seed = getenv("RVM_TEST_SEED");
	const struct files *f = &self->f;

	ASSERT_TRUE(make_file(f->segment, LENGTH, 0));
	model = mmap(NULL, sizeof(*model), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
		     -1, 0);
	ASSERT_NE(MAP_FAILED, model);
	model->seed = seed ? strtoul(seed, NULL, 0) : (unsigned long)time(NULL);
	printf("# RVM_TEST_SEED=%lu\n", model->seed);
	for (model->process = 0; model->process < 40; model->process++) {
		int status = in_child(_metadata, f, one_process);

		ASSERT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL)
			TH_LOG("process %u, step %u", model->process, model->step);
	}
	CHILD_OK(last_look);
}

TEST_HARNESS_MAIN
