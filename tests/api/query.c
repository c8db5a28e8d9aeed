// SPDX-License-Identifier: GPL-2.0 OR MIT
/* Description: rvm_query's list of open transactions. */
#include "api.h"

/* Is the tid in the array, once? */
static bool listed(const rvm_options_t *options, const rvm_tid_t *tid)
{
	int found = 0;

	for (long i = 0; i < options->n_uncommit; i++) {
		const rvm_tid_t *t = &options->tid_array[i];

		if (t->tid == tid->tid && t->struct_id == rvm_tid_id &&
		    t->uname.tv_sec == tid->uname.tv_sec &&
		    t->uname.tv_usec == tid->uname.tv_usec)
			found++;
	}
	return found == 1;
}

TEST_F(api, open_transactions)
{
	rvm_options_t options;
	rvm_region_t region;
	rvm_tid_t tid[5];

	DECLARED_ONLY("several transactions at a time");
	start(&self->f);
	OK(map_segment(&self->f, &region));
	rvm_init_options(&options);
	OK(rvm_query(&options, NULL));
	EXPECT_EQ(0, options.n_uncommit);
	EXPECT_EQ(NULL, options.tid_array);

	for (int i = 0; i < 5; i++) {
		rvm_init_tid(&tid[i]);
		OK(rvm_begin_transaction(&tid[i], i & 1 ? restore : no_restore));
	}
	OK(rvm_query(&options, NULL));
	ASSERT_EQ(5, options.n_uncommit);
	for (int i = 0; i < 5; i++) {
		EXPECT_TRUE(listed(&options, &tid[i]));
	}

	/* it adds */
	OK(rvm_end_transaction(&tid[0], flush));
	OK(rvm_query(&options, NULL));
	ASSERT_EQ(9, options.n_uncommit);
	free(options.tid_array);
	rvm_init_options(&options);
	OK(rvm_query(&options, NULL));
	ASSERT_EQ(4, options.n_uncommit);
	EXPECT_FALSE(listed(&options, &tid[0]));

	/* which is what lets a program end at any time */
	CODE(RVM_EUNCOMMIT, rvm_terminate());
	for (long i = 0; i < options.n_uncommit; i++)
		OK(rvm_abort_transaction(&options.tid_array[i]));
	free(options.tid_array);
	for (int i = 0; i < 5; i++)
		CODE(RVM_ETID, rvm_abort_transaction(&tid[i]));
	OK(rvm_terminate());
}

TEST_F(api, of_a_region)
{
	rvm_region_t a, b, part;
	rvm_options_t options;
	rvm_tid_t tid[4];

	DECLARED_ONLY("several transactions at a time");
	ASSERT_TRUE(make_file(self->f.segment, 64 * KIB, 0));
	start(&self->f);
	a = region_of(self->f.segment, 0, 32 * KIB);
	b = region_of(self->f.segment, 32 * KIB, 0);
	OK(rvm_map(&a, NULL));
	OK(rvm_map(&b, NULL));
	/* in a; in b; in both; in none */
	for (int i = 0; i < 4; i++) {
		rvm_init_tid(&tid[i]);
		OK(rvm_begin_transaction(&tid[i], restore));
	}
	for (int i = 0; i < 3; i++) {
		OK(rvm_set_range(&tid[0], a.vmaddr + i, 1));
		OK(rvm_set_range(&tid[1], b.vmaddr + 10 + i, 1));
		OK(rvm_set_range(&tid[2], b.vmaddr + 20 + i, 1));
		OK(rvm_set_range(&tid[2], a.vmaddr + 20 + i, 1));
	}

	rvm_init_options(&options);
	OK(rvm_query(&options, &a));
	ASSERT_EQ(2, options.n_uncommit);
	EXPECT_TRUE(listed(&options, &tid[0]));
	EXPECT_TRUE(listed(&options, &tid[2]));
	free(options.tid_array);

	/* a part of the region means the region */
	part = b;
	part.vmaddr += PAGE;
	part.length = 100;
	rvm_init_options(&options);
	OK(rvm_query(&options, &part));
	ASSERT_EQ(2, options.n_uncommit);
	EXPECT_TRUE(listed(&options, &tid[1]));
	EXPECT_TRUE(listed(&options, &tid[2]));
	free(options.tid_array);

	rvm_init_options(&options);
	part.vmaddr = (char *)&part;
	CODE(RVM_ENOT_MAPPED, rvm_query(&options, &part));
	part.vmaddr = b.vmaddr;
	part.length = b.length + 1;
	CODE(RVM_ENOT_MAPPED, rvm_query(&options, &part));
	part.struct_id = rvm_options_id;
	CODE(RVM_EREGION, rvm_query(&options, &part));
	EXPECT_EQ(0, options.n_uncommit);
	EXPECT_EQ(NULL, options.tid_array);

	/* with those out of the way, the region can be unmapped */
	rvm_init_options(&options);
	OK(rvm_query(&options, &a));
	CODE(RVM_EUNCOMMIT, rvm_unmap(&a));
	for (long i = 0; i < options.n_uncommit; i++)
		OK(rvm_abort_transaction(&options.tid_array[i]));
	free(options.tid_array);
	OK(rvm_unmap(&a));
	rvm_init_options(&options);
	OK(rvm_query(&options, &b));
	EXPECT_EQ(1, options.n_uncommit);
	free(options.tid_array);
	OK(rvm_end_transaction(&tid[1], flush));
	OK(rvm_end_transaction(&tid[3], flush));
	CODE(RVM_ETID, rvm_end_transaction(&tid[0], flush));
	OK(rvm_terminate());
}

TEST_HARNESS_MAIN
