// SPDX-License-Identifier: GPL-2.0 OR MIT
/* Description: the status block: round trip, damage of every kind, the choice of a slot, the dictionary. */

#include "core/status.h"
#include "kselftest_harness.h"
#include "random.h"

struct slots {
	_Alignas(8) u8 byte[2 * RVM_STATUS_SIZE];
};

FIXTURE(status) {
	struct rvm_status *s, *t;
	struct slots *slots;
};

FIXTURE_SETUP(status)
{
	self->s = malloc(sizeof(*self->s));
	self->t = malloc(sizeof(*self->t));
	self->slots = calloc(1, sizeof(*self->slots));
	rvm_status_init(self->s, 0x1122334455667788, 1 << 20, 12345);
}

FIXTURE_TEARDOWN(status)
{
	free(self->s);
	free(self->t);
	free(self->slots);
}

static void reseal(void *slot)
{
	struct rvm_status_disk *d = slot;

	d->crc = 0;
	d->crc = cpu_to_le32(rvm_crc32c(RVM_CRC_SEED, slot, le32_to_cpu(d->used)));
}

static int add(struct rvm_status *s, const char *name)
{
	u32 id;

	return rvm_dict_add(s, name, strlen(name), &id) ?: (int)id;
}

static u32 find(const struct rvm_status *s, const char *name)
{
	return rvm_dict_find(s, name, strlen(name));
}

TEST_F(status, round_trip)
{
	struct rvm_status *s = self->s, *t = self->t;
	u32 used;

	EXPECT_EQ(add(s, "/a"), 1);
	EXPECT_EQ(add(s, "/dev/disk/by-id/something"), 2);
	s->incarnation = 3;
	s->head = 4096 + 8;
	s->head_sequence = 17;
	s->start = 8192;
	s->start_sequence = 19;
	memset(self->slots, 0xee, sizeof(*self->slots));
	used = rvm_status_encode(s, self->slots);
	EXPECT_EQ(s->generation, 1);
	EXPECT_EQ(rvm_status_offset(s), RVM_STATUS_SIZE);
	EXPECT_EQ(used, sizeof(struct rvm_status_disk) + s->dict_used);
	EXPECT_EQ(self->slots->byte[used], 0);
	EXPECT_EQ(self->slots->byte[RVM_STATUS_SIZE - 1], 0);
	EXPECT_EQ(self->slots->byte[RVM_STATUS_SIZE], 0xee);
	memset(t, 0x55, sizeof(*t));
	ASSERT_EQ(rvm_status_decode(t, self->slots), 0);
	EXPECT_EQ(t->generation, 1);
	EXPECT_EQ(t->log_id, s->log_id);
	EXPECT_EQ(t->incarnation, 3);
	EXPECT_EQ(t->area_length, 1 << 20);
	EXPECT_EQ(t->head, 4104);
	EXPECT_EQ(t->head_sequence, 17);
	EXPECT_EQ(t->start, 8192);
	EXPECT_EQ(t->start_sequence, 19);
	EXPECT_EQ(t->created, 12345);
	EXPECT_EQ(t->next_segment, 3);
	EXPECT_EQ(t->segments, 2);
	EXPECT_EQ(t->dict_used, s->dict_used);
	EXPECT_EQ(find(t, "/a"), 1);
	EXPECT_EQ(find(t, "/dev/disk/by-id/something"), 2);
}

/* The example in docs/format.md. */
TEST_F(status, layout)
{
	static const u8 expected[] = {
		0x52, 0x56, 0x4d, 0x2d, 0x4c, 0x4f, 0x47, 0x00, 0x01, 0x00, 0x00, 0x00, 0xec, 0x86, 0x2d, 0xa2,
		0x78, 0x00, 0x00, 0x00, 0x01, 0x00, 0x00, 0x00, 0x02, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
		0x88, 0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11, 0x01, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
		0x00, 0x00, 0x01, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
		0x01, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
		0x01, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x2a, 0x36, 0xfe, 0x9c, 0x97, 0x17,
		0x02, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x01, 0x00, 0x00, 0x00, 0x05, 0x00, 0x00, 0x00,
		0x2f, 0x73, 0x65, 0x67, 0x31, 0x00, 0x00, 0x00,
	};
	u32 i;

	rvm_status_init(self->s, 0x1122334455667788, 65536, 1700000000000000000ull);
	self->s->generation = 1;
	self->s->incarnation = 1;
	add(self->s, "/seg1");
	ASSERT_EQ(rvm_status_encode(self->s, self->slots), sizeof(expected));
	EXPECT_EQ(rvm_status_offset(self->s), 0);
	for (i = 0; i < sizeof(expected); i++)
		EXPECT_EQ(self->slots->byte[i], expected[i])
			TH_LOG("byte %u", i);
}

TEST_F(status, every_bit_flipped)
{
	u8 *slot = self->slots->byte;
	u32 used, i;
	int bit, err;

	add(self->s, "/one");
	add(self->s, "/two/three");
	used = rvm_status_encode(self->s, slot);
	for (i = 0; i < used; i++) {
		for (bit = 0; bit < 8; bit++) {
			slot[i] ^= 1 << bit;
			err = rvm_status_decode(self->t, slot);
			ASSERT_EQ(err, i < 8 ? -EINVAL : i < 12 ? -EPROTONOSUPPORT : -EUCLEAN);
			slot[i] ^= 1 << bit;
		}
	}
	slot[used] ^= 1;	/* what is not used does not matter */
	EXPECT_EQ(rvm_status_decode(self->t, slot), 0);
}

TEST_F(status, garbage)
{
	struct rvm_status_disk *d = (void *)self->slots;
	int i, err;

	EXPECT_EQ(rvm_status_decode(self->t, self->slots), -EINVAL);
	for (i = 0; i < 2000; i++) {
		random_fill(self->slots, 1024);
		memcpy(d->magic, RVM_STATUS_MAGIC, 8);
		d->version = cpu_to_le32(1);
		if (one_in(2))
			d->used = cpu_to_le32(random_below(RVM_STATUS_SIZE + 64));
		if (le32_to_cpu(d->used) <= RVM_STATUS_SIZE && one_in(2))
			reseal(d);
		err = rvm_status_decode(self->t, self->slots);
		ASSERT_EQ(err, -EUCLEAN);
	}
}

/* One field made wrong, with a checksum that is right. */
#define BAD_FIELD(field, value) do {					\
	rvm_status_encode(self->s, slot);				\
	d->field = value;						\
	reseal(slot);							\
	EXPECT_EQ(rvm_status_decode(self->t, slot), -EUCLEAN)		\
		TH_LOG("%s = %s", #field, #value);			\
} while (0)

#define GOOD_FIELD(field, value) do {					\
	rvm_status_encode(self->s, slot);				\
	d->field = value;						\
	reseal(slot);							\
	EXPECT_EQ(rvm_status_decode(self->t, slot), 0)			\
		TH_LOG("%s = %s", #field, #value);			\
} while (0)

TEST_F(status, fields)
{
	struct rvm_status_disk *d = (void *)self->slots;
	void *slot = self->slots;

	add(self->s, "/a");
	add(self->s, "/b");
	self->s->head = 4096;
	self->s->head_sequence = 10;
	self->s->start = 8192;
	self->s->start_sequence = 20;

	GOOD_FIELD(generation, cpu_to_le64(77));
	BAD_FIELD(generation, 0);
	BAD_FIELD(generation, cpu_to_le64(1ull << 63));
	BAD_FIELD(generation, ~0ull);
	BAD_FIELD(log_id, 0);
	BAD_FIELD(incarnation, cpu_to_le64(1ull << 63));
	GOOD_FIELD(area_length, cpu_to_le64(4096));
	GOOD_FIELD(area_length, cpu_to_le64((1ull << 62) - 4096));
	BAD_FIELD(area_length, 0);
	BAD_FIELD(area_length, cpu_to_le64(4097));
	BAD_FIELD(area_length, cpu_to_le64(2048));
	BAD_FIELD(area_length, cpu_to_le64(1ull << 62));
	BAD_FIELD(area_length, cpu_to_le64(1ull << 63));
	BAD_FIELD(area_length, cpu_to_le64(-4096ull));
	GOOD_FIELD(head, cpu_to_le64(8184));
	BAD_FIELD(head, cpu_to_le64(8200));
	BAD_FIELD(head, cpu_to_le64(4100));
	BAD_FIELD(head, cpu_to_le64(8192));	/* start, but not its sequence */
	BAD_FIELD(head, cpu_to_le64(-8ull));
	GOOD_FIELD(start, cpu_to_le64(4096 + (1 << 20)));
	BAD_FIELD(start, cpu_to_le64(4096 + (1 << 20) + 8));
	BAD_FIELD(start, cpu_to_le64(8193));
	BAD_FIELD(start, cpu_to_le64(4088));
	BAD_FIELD(start, cpu_to_le64(1ull << 63));
	GOOD_FIELD(head_sequence, cpu_to_le64(20));
	BAD_FIELD(head_sequence, cpu_to_le64(21));
	BAD_FIELD(head_sequence, 0);
	BAD_FIELD(start_sequence, cpu_to_le64(9));
	BAD_FIELD(start_sequence, cpu_to_le64(1ull << 63));
	BAD_FIELD(next_segment, 0);
	BAD_FIELD(next_segment, cpu_to_le32(2));
	GOOD_FIELD(next_segment, cpu_to_le32(~0u));
	BAD_FIELD(reserved, cpu_to_le32(1));
	BAD_FIELD(segments, cpu_to_le32(1));
	BAD_FIELD(segments, cpu_to_le32(3));
	BAD_FIELD(segments, cpu_to_le32(~0u));
	BAD_FIELD(used, cpu_to_le32(sizeof(*d) + self->s->dict_used - 8));
	BAD_FIELD(used, cpu_to_le32(sizeof(*d) + self->s->dict_used + 8));
	BAD_FIELD(used, cpu_to_le32(sizeof(*d)));
	BAD_FIELD(used, cpu_to_le32(sizeof(*d) - 8));
	BAD_FIELD(used, cpu_to_le32(RVM_STATUS_SIZE));

	/* Where no other field contradicts. */
	self->s->start = self->s->head;
	self->s->start_sequence = self->s->head_sequence;
	GOOD_FIELD(area_length, cpu_to_le64(4096));
	BAD_FIELD(area_length, 0);
	rvm_dict_remove(self->s, 1);
	rvm_dict_remove(self->s, 2);
	GOOD_FIELD(next_segment, cpu_to_le32(1));
	BAD_FIELD(next_segment, 0);

	/* Above what a checksum could be taken of. */
	rvm_status_encode(self->s, slot);
	d->used = cpu_to_le32(RVM_STATUS_SIZE + 8);
	EXPECT_EQ(rvm_status_decode(self->t, slot), -EUCLEAN);
	d->used = cpu_to_le32(~0u);
	EXPECT_EQ(rvm_status_decode(self->t, slot), -EUCLEAN);
	d->used = 0;
	EXPECT_EQ(rvm_status_decode(self->t, slot), -EUCLEAN);

	/* start beyond what a position can be, though it fits with head */
	self->s->head = (1ull << 63) - 8;
	self->s->start = 1ull << 63;
	rvm_status_encode(self->s, slot);
	EXPECT_EQ(rvm_status_decode(self->t, slot), -EUCLEAN);
}

TEST_F(status, dictionary_damage)
{
	struct { const char *what; int at; u32 value; } bad[] = {
		{ "id 0", 0, 0 },
		{ "id twice", 16, 1 },
		{ "id not given out yet", 16, 3 },
		{ "id far away", 16, ~0u },
		{ "no name", 4, 0 },
		{ "name beyond the end", 20, 9 },
		{ "longer name than there are", 4, RVM_NAME_MAX + 1 },
		{ "name length that wraps", 4, ~0u },
		{ "name length that swallows the next", 4, 9 },
		{ "no absolute name", 8, 0x616161 },
		{ "0 in the name", 8, 0x61002f },
		{ "name twice", 24, 0x61612f },
	};
	u8 *slot = self->slots->byte;
	__le32 value;
	u32 i;

	EXPECT_EQ(add(self->s, "/aa"), 1);
	EXPECT_EQ(add(self->s, "/bb"), 2);
	for (i = 0; i < ARRAY_SIZE(bad); i++) {
		rvm_status_encode(self->s, slot);
		EXPECT_EQ(rvm_status_decode(self->t, slot), 0);
		value = cpu_to_le32(bad[i].value);
		memcpy(slot + sizeof(struct rvm_status_disk) + bad[i].at, &value, 4);
		reseal(slot);
		EXPECT_EQ(rvm_status_decode(self->t, slot), -EUCLEAN)
			TH_LOG("%s", bad[i].what);
	}
}

TEST_F(status, dictionary_damage_at_its_end)
{
	struct rvm_status_disk *d = (void *)self->slots;
	struct rvm_dict_disk e;
	u8 *dict = (u8 *)(d + 1);
	u32 i, n, id;
	char name[16];

	/* Bytes that are no entry, behind all that there should be. */
	add(self->s, "/aa");
	add(self->s, "/bb");
	rvm_status_encode(self->s, self->slots);
	d->segments = cpu_to_le32(1);
	e.name_length = cpu_to_le32(9);
	memcpy(dict + 20, &e.name_length, 4);
	reseal(d);
	EXPECT_EQ(rvm_status_decode(self->t, self->slots), -EUCLEAN);

	/* An empty name, before an id that reads as '/'. */
	memset(self->slots, 0, sizeof(*self->slots));
	self->s->next_segment = 100;
	rvm_status_encode(self->s, self->slots);
	d->used = cpu_to_le32(sizeof(*d) + 8 + 16);
	e.id = cpu_to_le32(1);
	e.name_length = 0;
	memcpy(dict, &e, 8);
	e.id = cpu_to_le32('/');
	e.name_length = cpu_to_le32(2);
	memcpy(dict + 8, &e, 8);
	memcpy(dict + 16, "/b\0\0\0\0\0", 8);
	reseal(d);
	EXPECT_EQ(rvm_status_decode(self->t, self->slots), -EUCLEAN);

	/* A name of one byte too many, which is there. */
	for (i = RVM_NAME_MAX; i <= RVM_NAME_MAX + 1; i++) {
		rvm_status_init(self->s, 1, 4096, 0);
		rvm_status_encode(self->s, self->slots);
		d->used = cpu_to_le32(sizeof(*d) + 8 + 4096);
		d->segments = cpu_to_le32(1);
		d->next_segment = cpu_to_le32(2);
		e.id = cpu_to_le32(1);
		e.name_length = cpu_to_le32(i);
		memcpy(dict, &e, 8);
		memset(dict + 8, '/', i);
		reseal(d);
		EXPECT_EQ(rvm_status_decode(self->t, self->slots), i > RVM_NAME_MAX ? -EUCLEAN : 0);
	}

	/* A full dictionary whose last name goes on behind it. */
	rvm_status_init(self->s, 1, 4096, 0);
	for (n = 0; n < RVM_DICT_MAX / 16; n++) {
		snprintf(name, sizeof(name), "/%07u", n);
		ASSERT_EQ(rvm_dict_add(self->s, name, 8, &id), 0);
	}
	ASSERT_EQ(rvm_status_encode(self->s, self->slots), n * 16 + sizeof(*d));
	e.name_length = cpu_to_le32(RVM_NAME_MAX);
	memcpy(dict + 16 * n - 12, &e.name_length, 4);
	reseal(d);
	EXPECT_EQ(rvm_status_decode(self->t, self->slots), -EUCLEAN);
}

/* Any bytes as a dictionary: a clear answer, and in reasonable time. */
TEST_F(status, dictionary_garbage)
{
	struct rvm_status_disk *d = (void *)self->slots;
	u8 *dict = (u8 *)(d + 1);
	u32 id, i, length, used;

	for (i = 0; i < 3000; i++) {
		rvm_status_encode(self->s, self->slots);
		used = 0;
		for (id = 1; id < 40; id++) {
			length = one_in(30) ? random_u64() : random_below(30);
			memcpy(dict + used, &id, 4);
			memcpy(dict + used + 4, &length, 4);
			memset(dict + used + 8, '/', 32);
			memcpy(dict + used + 9, &id, 1 + random_below(4));
			used += 8 + (length & 31) + (one_in(40) ? 0 : -length & 7);
		}
		used = rvm_align8(used);
		d->segments = cpu_to_le32(39);
		d->next_segment = cpu_to_le32(one_in(2) ? 40 : random_u64());
		d->used = cpu_to_le32(sizeof(*d) + used);
		reseal(d);
		if (!rvm_status_decode(self->t, self->slots))
			ASSERT_EQ(self->t->segments, 39);
	}
}

TEST_F(status, most_entries)
{
	char name[16];
	u32 id, n = 0;
	int err;

	do {
		snprintf(name, sizeof(name), "/%07u", n);
		err = rvm_dict_add(self->s, name, 8, &id);
		if (!err)
			ASSERT_EQ(id, ++n);
	} while (!err);
	EXPECT_EQ(err, -ENOSPC);
	EXPECT_EQ(n, RVM_DICT_MAX / 16);
	rvm_status_encode(self->s, self->slots);
	ASSERT_EQ(rvm_status_decode(self->t, self->slots), 0);
	EXPECT_EQ(self->t->segments, n);
	EXPECT_EQ(find(self->t, "/0000000"), 1);
	EXPECT_EQ(find(self->t, "/0004000"), 4001);
}

TEST_F(status, dictionary)
{
	struct rvm_status *s = self->s;
	char name[RVM_NAME_MAX + 2];
	struct rvm_dict_entry e;
	u32 cursor = 0, id = 0;

	EXPECT_FALSE(rvm_dict_next(s, &cursor, &e));
	memset(name, 'x', sizeof(name));
	name[0] = '/';
	EXPECT_EQ(rvm_dict_add(s, name, 0, &id), -ENAMETOOLONG);
	EXPECT_EQ(rvm_dict_add(s, name, RVM_NAME_MAX + 1, &id), -ENAMETOOLONG);
	EXPECT_EQ(rvm_dict_add(s, name, ~0u, &id), -ENAMETOOLONG);
	EXPECT_EQ(rvm_dict_add(s, "x", 1, &id), -EINVAL);
	EXPECT_EQ(rvm_dict_add(s, "/a\0b", 4, &id), -EINVAL);
	EXPECT_EQ(s->segments, 0);
	EXPECT_EQ(rvm_dict_add(s, name, RVM_NAME_MAX, &id), 0);
	EXPECT_EQ(id, 1);
	EXPECT_EQ(add(s, "/b"), 2);
	EXPECT_EQ(add(s, "/b"), -EEXIST);
	EXPECT_EQ(add(s, "/bb"), 3);
	EXPECT_EQ(find(s, "/"), 0);
	EXPECT_EQ(find(s, "/b"), 2);
	EXPECT_EQ(find(s, "/bb"), 3);

	/* A removed id is never given out again, whatever stands behind it. */
	rvm_dict_remove(s, 2);
	rvm_dict_remove(s, 2);
	rvm_dict_remove(s, 99);
	EXPECT_EQ(s->segments, 2);
	EXPECT_EQ(find(s, "/b"), 0);
	EXPECT_EQ(find(s, "/bb"), 3);
	EXPECT_EQ(add(s, "/b"), 4);
	rvm_dict_remove(s, 4);
	EXPECT_EQ(add(s, "/b"), 5);
	rvm_dict_remove(s, 1);
	rvm_status_encode(s, self->slots);
	EXPECT_EQ(rvm_status_decode(self->t, self->slots), 0);

	cursor = 0;
	EXPECT_TRUE(rvm_dict_next(self->t, &cursor, &e));
	EXPECT_EQ(e.id, 3);
	EXPECT_EQ(e.name_length, 3);
	EXPECT_EQ(memcmp(e.name, "/bb", 3), 0);
	EXPECT_TRUE(rvm_dict_next(self->t, &cursor, &e));
	EXPECT_EQ(e.id, 5);
	EXPECT_FALSE(rvm_dict_next(self->t, &cursor, &e));

	s->next_segment = ~0u;
	EXPECT_EQ(add(s, "/last"), -ENOSPC);
}

/* Writes status n in turn; each goes into the slot that the last is not in. */
static void write_status(struct rvm_status *s, struct slots *slots)
{
	struct slots *scratch = malloc(sizeof(*scratch));

	rvm_status_encode(s, scratch);
	memcpy(slots->byte + rvm_status_offset(s), scratch, RVM_STATUS_SIZE);
	free(scratch);
}

TEST_F(status, choice)
{
	struct rvm_status *s = self->s, *t = self->t;
	u8 *slot0 = self->slots->byte, *slot1 = slot0 + RVM_STATUS_SIZE;
	struct slots *copy = malloc(sizeof(*copy));
	int i;

	EXPECT_EQ(rvm_status_choose(t, self->slots), -EINVAL);
	for (i = 1; i <= 20; i++) {
		s->incarnation = i;
		write_status(s, self->slots);
		ASSERT_EQ(rvm_status_choose(t, self->slots), 0);
		ASSERT_EQ(t->generation, i);
		ASSERT_EQ(t->incarnation, i);
		/* The newer one torn: the older counts; the older one: no matter. */
		*copy = *self->slots;
		copy->byte[rvm_status_offset(s) + 40] ^= 1;
		ASSERT_EQ(rvm_status_choose(t, copy), i == 1 ? -EUCLEAN : 0);
		if (i > 1)
			ASSERT_EQ(t->generation, i - 1);
		*copy = *self->slots;
		copy->byte[RVM_STATUS_SIZE - rvm_status_offset(s) + 40] ^= 1;
		ASSERT_EQ(rvm_status_choose(t, copy), 0);
		ASSERT_EQ(t->generation, i);
	}

	/* In the other's place neither counts: that is no status written in turn. */
	memcpy(copy->byte, slot1, RVM_STATUS_SIZE);
	memcpy(copy->byte + RVM_STATUS_SIZE, slot0, RVM_STATUS_SIZE);
	EXPECT_EQ(rvm_status_choose(t, copy), -EUCLEAN);
	memcpy(copy->byte, slot0, RVM_STATUS_SIZE);
	EXPECT_EQ(rvm_status_choose(t, copy), 0);
	EXPECT_EQ(t->generation, 20);

	/* The nearest error: damaged, other version, no log. */
	memset(slot0, 0, RVM_STATUS_SIZE);
	slot1[8] = 2;
	EXPECT_EQ(rvm_status_choose(t, self->slots), -EPROTONOSUPPORT);
	memcpy(slot0, slot1, RVM_STATUS_SIZE);
	memset(slot1, 0, RVM_STATUS_SIZE);
	EXPECT_EQ(rvm_status_choose(t, self->slots), -EPROTONOSUPPORT);
	memcpy(slot1, slot0, RVM_STATUS_SIZE);
	slot1[8] = 1;
	slot1[100] ^= 1;
	EXPECT_EQ(rvm_status_choose(t, self->slots), -EUCLEAN);
	memset(slot0, 0, RVM_STATUS_SIZE);
	EXPECT_EQ(rvm_status_choose(t, self->slots), -EUCLEAN);
	free(copy);
}

TEST_HARNESS_MAIN
