// SPDX-License-Identifier: GPL-2.0 OR MIT
/*
 * Description: random transactions on the recoverable heap, several open at once,
 * against a model that knows what each slot has; and processes killed at it.
 */
#include "heap.h"

#define LENGTH	(96 * KIB)
#define SLOTS	300
#define OPEN	4
#define NOBODY	(-1)

/* In the static area: all that the heap should hold. */
struct root {
	char *address;
	unsigned long size;
};

struct model {
	unsigned int seed;
	struct root *roots;
	struct root shadow[SLOTS];	/* what roots should be */
	struct root before[SLOTS];	/* and be again, if the owner aborts */
	int owner[SLOTS];
	rvm_tid_t tid[OPEN];
	bool open[OPEN];
	bool dies;			/* is going to be killed: leave no block that no root has */
};

static unsigned int number(struct model *m, unsigned int limit)
{
	return rand_r(&m->seed) % limit;
}

static void check(struct __test_metadata *_metadata, struct model *m, bool contents)
{
	unsigned long sum = 0;

	ASSERT_EQ(0, memcmp(m->roots, m->shadow, sizeof(m->shadow)));
	for (int i = 0; i < SLOTS; i++) {
		if (!m->shadow[i].address)
			continue;
		sum += block_bytes(m->shadow[i].size);
		if (contents)
			ASSERT_TRUE(all_are(m->shadow[i].address, i, m->shadow[i].size));
	}
	ASSERT_EQ(sum, allocated());
}

static unsigned long random_size(struct model *m)
{
	return number(m, 4) ? number(m, 200) : number(m, 6000);
}

static void put(struct __test_metadata *_metadata, struct model *m, int t, int slot, struct root root)
{
	if (m->owner[slot] == NOBODY) {
		m->before[slot] = m->shadow[slot];
		m->owner[slot] = t;
	}
	m->shadow[slot] = root;
	OK(rvm_modify_bytes(&m->tid[t], &m->roots[slot], &root, sizeof(root)));
}

static void change(struct __test_metadata *_metadata, struct model *m, int t, int slot)
{
	struct root root = m->shadow[slot];
	int err;

	if (m->owner[slot] != NOBODY && m->owner[slot] != t) {
		if (root.address)
			RDS_CODE(RVM_EUNCOMMIT, rds_free(root.address, &m->tid[t], &err));
		return;
	}
	if (root.address) {
		RDS_OK(rds_free(root.address, &m->tid[t], &err));
		put(_metadata, m, t, slot, (struct root){ NULL, 0 });
		return;
	}
	root.size = random_size(m);
	root.address = rds_malloc(root.size, &m->tid[t], &err);
	if (!root.address) {
		ASSERT_EQ(ENO_ROOM, err);
		return;
	}
	OK(rvm_set_range(&m->tid[t], root.address, root.size));
	memset(root.address, slot, root.size);
	put(_metadata, m, t, slot, root);
}

static void end(struct __test_metadata *_metadata, struct model *m, int t)
{
	bool abort = !number(m, 3);

	if (abort)
		OK(rvm_abort_transaction(&m->tid[t]));
	else
		OK(rvm_end_transaction(&m->tid[t], number(m, 4) ? no_flush : flush));
	for (int i = 0; i < SLOTS; i++) {
		if (m->owner[i] != t)
			continue;
		if (abort)
			m->shadow[i] = m->before[i];
		m->owner[i] = NOBODY;
	}
	m->open[t] = false;
}

static void alone(struct __test_metadata *_metadata, struct model *m)
{
	char *p = rds_malloc(random_size(m), NULL, NULL);

	if (p)
		RDS_OK(rds_free(p, NULL, &err));
}

static void step(struct __test_metadata *_metadata, struct model *m)
{
	int t = number(m, OPEN);

	if (!number(m, 50))
		rds_prealloc(random_size(m), number(m, 10), NULL, NULL);
	if (!m->dies && !number(m, 20))
		alone(_metadata, m);
	if (!m->open[t]) {
		BEGIN(&m->tid[t]);
		m->open[t] = true;
	} else if (!number(m, 12)) {
		end(_metadata, m, t);
	} else {
		change(_metadata, m, t, number(m, SLOTS));
	}
}

static void load(CHILD_ARGS, struct model *m)
{
	LOAD(f, LENGTH, &m->roots);
	memcpy(m->shadow, m->roots, sizeof(m->shadow));
	for (int i = 0; i < SLOTS; i++)
		m->owner[i] = NOBODY;
	check(_metadata, m, true);
}

TEST_F(api, random)
{
	struct model m = { .seed = 1 };

	DECLARED_ONLY("several transactions at a time");
	start(&self->f);
	MAKE(&self->f, LENGTH);
	for (int round = 0; round < 8; round++) {
		load(_metadata, &self->f, &m);
		for (int i = 0; i < 1500; i++) {
			step(_metadata, &m);
			check(_metadata, &m, !(i % 50));
		}
		for (int t = 0; t < OPEN; t++)
			if (m.open[t])
				end(_metadata, &m, t);
		check(_metadata, &m, true);
		RDS_OK(rds_unload_heap(&err));
	}
}

static unsigned int seed;

static void make(CHILD_ARGS)
{
	start(f);
	MAKE(f, LENGTH);
}

static void until_killed(CHILD_ARGS)
{
	struct model m = { .seed = seed, .dies = true };
	unsigned long steps = number(&m, 400) + 20;

	start(f);
	load(_metadata, f, &m);
	while (steps--)
		step(_metadata, &m);
	die(_metadata);
}

/* Until a moment that has nothing to do with what it does. */
static void for_a_while(CHILD_ARGS)
{
	struct model m = { .seed = seed, .dies = true };

	start(f);
	load(_metadata, f, &m);
	for (;;) {
		step(_metadata, &m);
		if (!_metadata->passed)
			_exit(1);
	}
}

/* What the dead left is a heap, and holds what the roots say, no more, no less. */
TEST_F(api, killed)
{
	const struct files *f = &self->f;

	DECLARED_ONLY("several transactions at a time");
	CHILD_OK(make);
	for (seed = 1; seed <= 12; seed++)
		CHILD_DIES(until_killed);
	for (; seed <= 24; seed++) {
		pid_t pid = fork();
		int status;

		if (!pid) {
			for_a_while(_metadata, f);
			_exit(1);
		}
		usleep(20000 + seed * 7919 % 60 * 1000);
		kill(pid, SIGKILL);
		ASSERT_EQ(pid, waitpid(pid, &status, 0));
		ASSERT_TRUE(WIFSIGNALED(status));
	}
	CHILD_DIES(until_killed);
}

TEST_HARNESS_MAIN
