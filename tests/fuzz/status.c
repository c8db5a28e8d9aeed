// SPDX-License-Identifier: GPL-2.0 OR MIT
/*
 * Fuzzing the status block: any bytes are refused or hold what docs/format.md
 * demands, and what was decoded can be encoded, changed and decoded again.
 *
 * Input: u8 flags, bit 0: leave the checksums as they are; u16 length of the first
 * slot's bytes; the first slot's bytes, and the second's.
 */
#include "fuzz.h"
#include "image.h"

static struct rvm_status chosen, status, again;
static u8 *slots, *slot;

static bool below_2_63(u64 n)
{
	return !(n >> 63);
}

static void check_fields(const struct rvm_status *s)
{
	CHECK(s->generation && s->log_id && s->head_sequence && s->next_segment);
	CHECK(s->area_length && s->area_length % 4096 == 0 && s->area_length < 1ull << 62);
	CHECK(s->head % 8 == 0 && s->start % 8 == 0);
	CHECK(s->head <= s->start && s->start - s->head <= s->area_length);
	CHECK(s->head_sequence <= s->start_sequence);
	CHECK(s->head != s->start || s->head_sequence == s->start_sequence);
	CHECK(below_2_63(s->generation) && below_2_63(s->incarnation) && below_2_63(s->head) &&
	      below_2_63(s->start) && below_2_63(s->start_sequence));
}

static void check_dict(const struct rvm_status *s)
{
	const char *end = (const char *)s->dict;
	struct rvm_dict_entry e;
	u32 cursor = 0, n = 0, last = 0;

	while (rvm_dict_next(s, &cursor, &e)) {
		CHECK(e.id > last && e.id < s->next_segment);
		CHECK(e.name == end + sizeof(struct rvm_dict_disk));
		CHECK(e.name_length && e.name_length <= RVM_NAME_MAX);
		CHECK(e.name[0] == '/' && !memchr(e.name, 0, e.name_length));
		end = e.name + rvm_align8(e.name_length);
		CHECK(end == (const char *)s->dict + cursor && cursor <= s->dict_used);
		CHECK(rvm_dict_find(s, e.name, e.name_length) == e.id);
		last = e.id;
		n++;
	}
	CHECK(cursor == s->dict_used && n == s->segments);
}

/* Through an encoded slot it comes back as it was. */
static void check_encode(struct rvm_status *s)
{
	u64 generation = s->generation;
	u32 used;

	check_fields(s);
	check_dict(s);
	if (generation + 1 >= 1ull << 63)
		return;
	used = rvm_status_encode(s, slot);
	CHECK(s->generation == generation + 1);
	CHECK(used == sizeof(struct rvm_status_disk) + s->dict_used);
	CHECK(!rvm_status_decode(&again, slot));
	CHECK(!memcmp(&again, s, offsetof(struct rvm_status, dict) + s->dict_used));
	/* what stands behind it means nothing */
	memset(slot + used, 0xff, RVM_STATUS_SIZE - used);
	CHECK(!rvm_status_decode(&again, slot));
	CHECK(!memcmp(&again, s, offsetof(struct rvm_status, dict) + s->dict_used));
}

static void check_changes(struct rvm_status *s, const u8 *name, u32 length)
{
	u32 before = s->segments, next = s->next_segment, id = 0, cursor = 0;
	struct rvm_dict_entry e;
	int err = rvm_dict_add(s, (const char *)name, length, &id);

	switch (err) {
	case 0:
		CHECK(id == next && s->next_segment == next + 1 && s->segments == before + 1);
		CHECK(rvm_dict_find(s, (const char *)name, length) == id);
		check_encode(s);
		rvm_dict_remove(s, id);
		CHECK(!rvm_dict_find(s, (const char *)name, length));
		break;
	case -ENAMETOOLONG:
		CHECK(!length || length > RVM_NAME_MAX);
		break;
	case -EINVAL:
		CHECK(name[0] != '/' || memchr(name, 0, length));
		break;
	case -EEXIST:
		CHECK(rvm_dict_find(s, (const char *)name, length));
		break;
	default:
		CHECK(err == -ENOSPC && (s->dict_used > 60000 || next == ~0u));
	}
	CHECK(s->segments == before);
	check_encode(s);
	rvm_dict_remove(s, 0);
	CHECK(s->segments == before);
	/* one in the middle, and then all */
	if (rvm_dict_next(s, &cursor, &e) && rvm_dict_next(s, &cursor, &e)) {
		id = e.id;
		rvm_dict_remove(s, id);
		CHECK(--before == s->segments);
		check_encode(s);
	}
	for (; s->segments; before--) {
		cursor = 0;
		CHECK(s->segments == before && rvm_dict_next(s, &cursor, &e));
		rvm_dict_remove(s, e.id);
	}
	CHECK(!s->dict_used);
	check_encode(s);
}

/* The valid one with the higher generation, or the nearest error. */
static void check_choose(void)
{
	int err[2], i, right = -1, got;

	for (i = 0; i < 2; i++) {
		err[i] = rvm_status_decode(&status, slots + i * RVM_STATUS_SIZE);
		if (!err[i] && (status.generation & 1) != (u64)i)
			err[i] = -EUCLEAN;
		if (!err[i] && (right < 0 || status.generation > again.generation)) {
			right = i;
			memcpy(&again, &status, sizeof(again));
		}
	}
	got = rvm_status_choose(&chosen, slots);
	if (right >= 0)
		CHECK(!got && !memcmp(&chosen, &again, sizeof(chosen)));
	else if (err[0] == -EUCLEAN || err[1] == -EUCLEAN)
		CHECK(got == -EUCLEAN);
	else if (err[0] == -EPROTONOSUPPORT || err[1] == -EPROTONOSUPPORT)
		CHECK(got == -EPROTONOSUPPORT);
	else
		CHECK(got == -EINVAL && err[0] == -EINVAL && err[1] == -EINVAL);
}

int LLVMFuzzerTestOneInput(const u8 *input, size_t size)
{
	size_t first;
	u8 flags;
	int i;

	if (size < 3)
		return 0;
	if (!slots) {
		slots = malloc(2 * RVM_STATUS_SIZE);
		slot = malloc(RVM_STATUS_SIZE);
	}
	flags = input[0];
	first = input[1] | input[2] << 8;
	input += 3;
	size -= 3;
	if (first > size)
		first = size;
	if (first > RVM_STATUS_SIZE || size - first > RVM_STATUS_SIZE)
		return 0;
	memset(slots, 0, 2 * RVM_STATUS_SIZE);
	memcpy(slots, input, first);
	memcpy(slots + RVM_STATUS_SIZE, input + first, size - first);
	for (i = 0; i < 2 && !(flags & 1); i++)
		image_repair_status(slots + i * RVM_STATUS_SIZE);

	check_choose();
	for (i = 0; i < 2; i++) {
		/* alone, with nothing readable behind it */
		memcpy(slot, slots + i * RVM_STATUS_SIZE, RVM_STATUS_SIZE);
		if (rvm_status_decode(&status, slot))
			continue;
		check_encode(&status);
		check_changes(&status, input + first, size - first);
	}
	return 0;
}
