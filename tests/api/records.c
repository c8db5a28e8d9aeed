// SPDX-License-Identifier: GPL-2.0 OR MIT
/* Description: offsets, names and records, which need no log. */
#include <stddef.h>

#include "kselftest_harness.h"

#include <rvm/rvm.h>
#include <rvm/rvm_statistics.h>

#define KIB	1024ul

#define LAST	(~0ul)
#define IS(offset, h, l) do {			\
	rvm_offset_t o_ = (offset);		\
						\
	EXPECT_EQ((h), o_.high);		\
	EXPECT_EQ((l), o_.low);			\
} while (0)

TEST(constants)
{
	EXPECT_STREQ("RVM Interface Version 1.3  7 Mar 1994", RVM_VERSION);
	EXPECT_EQ(128, RVM_VERSION_MAX);
	EXPECT_EQ(0, rvm_false);
	EXPECT_EQ(1, rvm_true);
	EXPECT_EQ(1, TRUE);
	EXPECT_EQ(0, FALSE);
	EXPECT_EQ(40, rvm_region_id);
	EXPECT_EQ(41, rvm_options_id);
	EXPECT_EQ(42, rvm_tid_id);
	EXPECT_EQ(43, rvm_statistics_id);
	EXPECT_EQ(44, rvm_last_struct_id);
	EXPECT_EQ(140, restore);
	EXPECT_EQ(141, no_restore);
	EXPECT_EQ(142, flush);
	EXPECT_EQ(143, no_flush);
	EXPECT_EQ(144, rvm_last_mode);
	EXPECT_EQ(3, RVM_ALL_OPTIMIZATIONS);
	EXPECT_EQ(8, RVM_MAP_PRIVATE);
	EXPECT_EQ(sizeof(int), sizeof(rvm_return_t));
	EXPECT_EQ(sizeof(long), sizeof(rvm_length_t));
}

TEST(field_order)
{
#define AFTER(type, a, b)	EXPECT_LT(offsetof(type, a), offsetof(type, b))
	EXPECT_EQ(0, offsetof(rvm_tid_t, struct_id));
	AFTER(rvm_tid_t, struct_id, from_heap);
	AFTER(rvm_tid_t, from_heap, uname);
	AFTER(rvm_tid_t, uname, tid);
	AFTER(rvm_tid_t, tid, reserved);

	EXPECT_EQ(0, offsetof(rvm_options_t, struct_id));
	AFTER(rvm_options_t, struct_id, from_heap);
	AFTER(rvm_options_t, from_heap, log_dev);
	AFTER(rvm_options_t, log_dev, truncate);
	AFTER(rvm_options_t, truncate, recovery_buf_len);
	AFTER(rvm_options_t, recovery_buf_len, flush_buf_len);
	AFTER(rvm_options_t, flush_buf_len, max_read_len);
	AFTER(rvm_options_t, max_read_len, log_empty);
	AFTER(rvm_options_t, log_empty, pager);
	AFTER(rvm_options_t, pager, n_uncommit);
	AFTER(rvm_options_t, n_uncommit, tid_array);
	AFTER(rvm_options_t, tid_array, flags);
	AFTER(rvm_options_t, flags, create_log_file);
	AFTER(rvm_options_t, create_log_file, create_log_size);
	AFTER(rvm_options_t, create_log_size, create_log_mode);

	EXPECT_EQ(0, offsetof(rvm_region_t, struct_id));
	AFTER(rvm_region_t, struct_id, from_heap);
	AFTER(rvm_region_t, from_heap, data_dev);
	AFTER(rvm_region_t, data_dev, dev_length);
	AFTER(rvm_region_t, dev_length, offset);
	AFTER(rvm_region_t, offset, vmaddr);
	AFTER(rvm_region_t, vmaddr, length);
	AFTER(rvm_region_t, length, no_copy);
}

TEST(offset_arithmetic)
{
	rvm_offset_t a = RVM_OFFSET_INITIALIZER(1, LAST), b = RVM_MK_OFFSET(2, 3), zero;

	IS(a, 1, LAST);
	IS(b, 2, 3);
	IS(RVM_LENGTH_TO_OFFSET(7), 0, 7);
	EXPECT_EQ(3, RVM_OFFSET_TO_LENGTH(b));
	EXPECT_EQ(2, RVM_OFFSET_HIGH_BITS_TO_LENGTH(b));
	RVM_ZERO_OFFSET(zero);
	IS(zero, 0, 0);

	IS(RVM_ADD_OFFSETS(a, b), 4, 2);
	IS(RVM_ADD_LENGTH_TO_OFFSET(a, 1), 2, 0);
	IS(RVM_ADD_LENGTH_TO_OFFSET(b, 4), 2, 7);
	IS(RVM_SUB_OFFSETS(b, a), 0, 4);
	IS(RVM_SUB_OFFSETS(b, b), 0, 0);
	IS(RVM_SUB_LENGTH_FROM_OFFSET(b, 3), 2, 0);
	IS(RVM_SUB_LENGTH_FROM_OFFSET(b, 4), 1, LAST);
	/* the operands stay */
	IS(a, 1, LAST);
	IS(b, 2, 3);

	EXPECT_EQ((char *)12, RVM_ADD_LENGTH_TO_ADDR(5, (char *)7));
	EXPECT_EQ((char *)2, RVM_SUB_LENGTH_FROM_ADDR((char *)7, 5));

	IS(rvm_mk_offset(5, 6), 5, 6);
	IS(rvm_add_offsets(&a, &b), 4, 2);
	IS(rvm_add_length_to_offset(&a, 1), 2, 0);
	IS(rvm_sub_offsets(&b, &a), 0, 4);
	IS(rvm_sub_length_from_offset(&b, 4), 1, LAST);
}

TEST(offset_comparison)
{
	rvm_offset_t v[] = { { 0, 0 }, { 0, 1 }, { 0, LAST }, { 1, 0 }, { 1, 1 }, { LAST, LAST } };
	const size_t n = sizeof(v) / sizeof(v[0]);

	for (size_t i = 0; i < n; i++) {
		EXPECT_EQ(i == 0, RVM_OFFSET_EQL_ZERO(v[i]));
		for (size_t j = 0; j < n; j++) {
			EXPECT_EQ(i < j, RVM_OFFSET_LSS(v[i], v[j]));
			EXPECT_EQ(i > j, RVM_OFFSET_GTR(v[i], v[j]));
			EXPECT_EQ(i <= j, RVM_OFFSET_LEQ(v[i], v[j]));
			EXPECT_EQ(i >= j, RVM_OFFSET_GEQ(v[i], v[j]));
			EXPECT_EQ(i == j, RVM_OFFSET_EQL(v[i], v[j]));
		}
	}
}

TEST(pages)
{
	const rvm_length_t p = RVM_PAGE_SIZE;
	rvm_offset_t o = RVM_OFFSET_INITIALIZER(1, p + 1), top = RVM_OFFSET_INITIALIZER(1, LAST);

	ASSERT_EQ((rvm_length_t)sysconf(_SC_PAGESIZE), p);
	EXPECT_EQ(p, rvm_page_size());
	EXPECT_EQ(~(p - 1), rvm_page_mask());

	EXPECT_EQ(0, RVM_ROUND_LENGTH_UP_TO_PAGE_SIZE(0));
	EXPECT_EQ(p, RVM_ROUND_LENGTH_UP_TO_PAGE_SIZE(1));
	EXPECT_EQ(p, RVM_ROUND_LENGTH_UP_TO_PAGE_SIZE(p));
	EXPECT_EQ(2 * p, RVM_ROUND_LENGTH_UP_TO_PAGE_SIZE(p + 1));
	EXPECT_EQ(0, RVM_ROUND_LENGTH_DOWN_TO_PAGE_SIZE(p - 1));
	EXPECT_EQ(p, RVM_ROUND_LENGTH_DOWN_TO_PAGE_SIZE(2 * p - 1));
	EXPECT_EQ((char *)(2 * p), RVM_ROUND_ADDR_UP_TO_PAGE_SIZE((char *)p + 1));
	EXPECT_EQ((char *)p, RVM_ROUND_ADDR_DOWN_TO_PAGE_SIZE((char *)p + 1));

	IS(RVM_ROUND_OFFSET_UP_TO_PAGE_SIZE(o), 1, 2 * p);
	IS(RVM_ROUND_OFFSET_DOWN_TO_PAGE_SIZE(o), 1, p);
	IS(RVM_ROUND_OFFSET_UP_TO_PAGE_SIZE(top), 2, 0);
	IS(rvm_rnd_offset_up_to_page(&o), 1, 2 * p);
	IS(rvm_rnd_offset_dn_to_page(&o), 1, p);
	IS(o, 1, p + 1);
}

TEST(names)
{
	static const struct {
		int code;
		const char *name;
	} codes[] = {
#define C(code)	{ code, #code }
		C(RVM_SUCCESS), C(RVM_EINIT), C(RVM_EINTERNAL), C(RVM_EIO), C(RVM_ELOG),
		C(RVM_ELOG_VERSION_SKEW), C(RVM_EMODE), C(RVM_ENAME_TOO_LONG),
		C(RVM_ENO_MEMORY), C(RVM_ENOT_MAPPED), C(RVM_EOFFSET), C(RVM_EOPTIONS),
		C(RVM_EOVERLAP), C(RVM_EPAGER), C(RVM_ERANGE), C(RVM_EREGION),
		C(RVM_EREGION_DEF), C(RVM_ESRC), C(RVM_ESTATISTICS),
		C(RVM_ESTAT_VERSION_SKEW), C(RVM_ETERMINATED), C(RVM_ETHREADS),
		C(RVM_ETID), C(RVM_ETOO_BIG), C(RVM_EUNCOMMIT), C(RVM_EVERSION_SKEW),
		C(RVM_EVM_OVERLAP),
	};
	/* 203 has no name: the codes are 200..202 and 204..226 */
	int next = 200;

	for (size_t i = 0; i < sizeof(codes) / sizeof(codes[0]); i++) {
		EXPECT_STREQ(codes[i].name, rvm_return(codes[i].code));
		if (!i)
			continue;
		if (next == 203)
			next++;
		EXPECT_EQ(next, codes[i].code);
		next++;
	}
	EXPECT_EQ(227, next);
	EXPECT_EQ(199, rvm_first_code);
	EXPECT_EQ(227, rvm_last_code);

	EXPECT_STREQ("restore", rvm_mode(restore));
	EXPECT_STREQ("no_restore", rvm_mode(no_restore));
	EXPECT_STREQ("flush", rvm_mode(flush));
	EXPECT_STREQ("no_flush", rvm_mode(no_flush));
	EXPECT_STREQ("rvm_region_id", rvm_type(rvm_region_id));
	EXPECT_STREQ("rvm_options_id", rvm_type(rvm_options_id));
	EXPECT_STREQ("rvm_tid_id", rvm_type(rvm_tid_id));
	EXPECT_STREQ("rvm_statistics_id", rvm_type(rvm_statistics_id));
}

TEST(names_of_nothing)
{
	static const int values[] = { -1, 1, 139, 144, 39, 44, 199, 203, 227, 1 << 30, ~0u >> 1 };

	for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
		EXPECT_NE(NULL, strstr(rvm_return(values[i]), "unknown"));
		EXPECT_NE(NULL, strstr(rvm_mode(values[i]), "unknown"));
		EXPECT_NE(NULL, strstr(rvm_type(values[i]), "unknown"));
	}
}

TEST(options_record)
{
	rvm_options_t o, *m, *c;

	memset(&o, 0xff, sizeof(o));
	rvm_init_options(&o);
	EXPECT_EQ(rvm_options_id, o.struct_id);
	EXPECT_EQ(rvm_false, o.from_heap);
	EXPECT_EQ(NULL, o.log_dev);
	EXPECT_EQ(50, o.truncate);
	EXPECT_EQ(50, TRUNCATE);
	EXPECT_EQ(256 * KIB, o.recovery_buf_len);
	EXPECT_EQ(256 * KIB, RECOVERY_BUF_LEN);
	EXPECT_EQ(64 * KIB, MIN_RECOVERY_BUF_LEN);
	EXPECT_EQ(256 * KIB, o.flush_buf_len);
	EXPECT_EQ(256 * KIB, FLUSH_BUF_LEN);
	EXPECT_EQ(64 * KIB, MIN_FLUSH_BUF_LEN);
	EXPECT_EQ(512 * KIB, o.max_read_len);
	EXPECT_EQ(512 * KIB, MAX_READ_LEN);
	EXPECT_EQ(rvm_false, o.log_empty);
	EXPECT_EQ(NULL, o.pager);
	EXPECT_EQ(0, o.n_uncommit);
	EXPECT_EQ(NULL, o.tid_array);
	EXPECT_EQ(0, o.flags);
	EXPECT_EQ(rvm_false, o.create_log_file);
	EXPECT_TRUE(RVM_OFFSET_EQL_ZERO(o.create_log_size));
	EXPECT_EQ(0600, o.create_log_mode);
	rvm_free_options(&o);		/* not from the heap: nothing happens */

	m = rvm_malloc_options();
	ASSERT_NE(NULL, m);
	EXPECT_EQ(rvm_options_id, m->struct_id);
	EXPECT_EQ(rvm_true, m->from_heap);
	EXPECT_EQ(50, m->truncate);
	m->log_dev = (char *)"name";
	m->truncate = 30;
	c = rvm_copy_options(m);
	ASSERT_NE(NULL, c);
	EXPECT_NE(m, c);
	EXPECT_EQ(30, c->truncate);
	EXPECT_EQ(m->log_dev, c->log_dev);
	EXPECT_EQ(rvm_true, c->from_heap);
	rvm_free_options(m);
	rvm_free_options(c);

	c = rvm_copy_options(&o);
	ASSERT_NE(NULL, c);
	EXPECT_EQ(rvm_true, c->from_heap);
	rvm_free_options(c);
}

TEST(region_record)
{
	rvm_region_t r, *m, *c;

	memset(&r, 0xff, sizeof(r));
	rvm_init_region(&r);
	EXPECT_EQ(rvm_region_id, r.struct_id);
	EXPECT_EQ(rvm_false, r.from_heap);
	EXPECT_EQ(NULL, r.data_dev);
	EXPECT_TRUE(RVM_OFFSET_EQL_ZERO(r.dev_length));
	EXPECT_TRUE(RVM_OFFSET_EQL_ZERO(r.offset));
	EXPECT_EQ(NULL, r.vmaddr);
	EXPECT_EQ(0, r.length);
	EXPECT_EQ(rvm_false, r.no_copy);
	rvm_free_region(&r);

	m = rvm_malloc_region();
	ASSERT_NE(NULL, m);
	EXPECT_EQ(rvm_region_id, m->struct_id);
	EXPECT_EQ(rvm_true, m->from_heap);
	m->length = 77;
	c = rvm_copy_region(m);
	ASSERT_NE(NULL, c);
	EXPECT_EQ(77, c->length);
	rvm_free_region(m);
	EXPECT_EQ(77, c->length);
	rvm_free_region(c);
}

TEST(tid_record)
{
	rvm_tid_t t, *m, *c;

	memset(&t, 0xff, sizeof(t));
	rvm_init_tid(&t);
	EXPECT_EQ(rvm_tid_id, t.struct_id);
	EXPECT_EQ(rvm_false, t.from_heap);
	EXPECT_EQ(0, t.uname.tv_sec);
	EXPECT_EQ(0, t.uname.tv_usec);
	EXPECT_EQ(NULL, t.tid);
	EXPECT_EQ(0, t.reserved);
	rvm_free_tid(&t);

	m = rvm_malloc_tid();
	ASSERT_NE(NULL, m);
	EXPECT_EQ(rvm_tid_id, m->struct_id);
	EXPECT_EQ(rvm_true, m->from_heap);
	m->reserved = 5;
	c = rvm_copy_tid(m);
	ASSERT_NE(NULL, c);
	EXPECT_EQ(5, c->reserved);
	rvm_free_tid(m);
	rvm_free_tid(c);
}

TEST(statistics_record)
{
	rvm_statistics_t s, zero = { .struct_id = rvm_statistics_id }, *m, *c;

	memset(&s, 0xff, sizeof(s));
	rvm_init_statistics(&s);
	EXPECT_EQ(0, memcmp(&s, &zero, sizeof(s)));
	rvm_free_statistics(&s);

	m = rvm_malloc_statistics();
	ASSERT_NE(NULL, m);
	EXPECT_EQ(rvm_statistics_id, m->struct_id);
	EXPECT_EQ(rvm_true, m->from_heap);
	m->from_heap = rvm_false;
	EXPECT_EQ(0, memcmp(m, &zero, sizeof(s)));
	m->from_heap = rvm_true;
	m->tot_trans_coalesces[5] = 5;
	c = rvm_copy_statistics(m);
	ASSERT_NE(NULL, c);
	EXPECT_EQ(5, c->tot_trans_coalesces[5]);
	EXPECT_EQ(rvm_true, c->from_heap);
	rvm_free_statistics(m);
	rvm_free_statistics(c);
	c = rvm_copy_statistics(&s);
	ASSERT_NE(NULL, c);
	EXPECT_EQ(rvm_true, c->from_heap);
	rvm_free_statistics(c);

	s.from_heap = rvm_true;
	s.struct_id = rvm_tid_id;
	EXPECT_EQ(NULL, rvm_copy_statistics(&s));
	EXPECT_EQ(NULL, rvm_copy_statistics(NULL));
	rvm_free_statistics(&s);
	rvm_free_statistics(NULL);
	rvm_init_statistics(NULL);
}

TEST(records_of_another_kind)
{
	rvm_options_t o;
	rvm_region_t r;
	rvm_tid_t t;

	rvm_init_options(&o);
	rvm_init_region(&r);
	rvm_init_tid(&t);
	o.struct_id = rvm_tid_id;
	r.struct_id = rvm_options_id;
	t.struct_id = rvm_region_id;
	EXPECT_EQ(NULL, rvm_copy_options(&o));
	EXPECT_EQ(NULL, rvm_copy_region(&r));
	EXPECT_EQ(NULL, rvm_copy_tid(&t));
	o.from_heap = r.from_heap = t.from_heap = rvm_true;
	rvm_free_options(&o);
	rvm_free_region(&r);
	rvm_free_tid(&t);

	EXPECT_EQ(NULL, rvm_copy_options(NULL));
	EXPECT_EQ(NULL, rvm_copy_region(NULL));
	EXPECT_EQ(NULL, rvm_copy_tid(NULL));
	rvm_init_options(NULL);
	rvm_init_region(NULL);
	rvm_init_tid(NULL);
	rvm_free_options(NULL);
	rvm_free_region(NULL);
	rvm_free_tid(NULL);
}

TEST_HARNESS_MAIN
