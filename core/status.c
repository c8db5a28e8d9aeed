// SPDX-License-Identifier: GPL-2.0 OR MIT
/* The status block: encoding, decoding and the dictionary of segments. */
#include "core/status.h"

#define COUNT_MAX	((u64)1 << 63)	/* every counter stays below it */
#define AREA_MAX	((u64)1 << 62)

void rvm_status_init(struct rvm_status *s, u64 log_id, u64 area_length, u64 created)
{
	memset(s, 0, sizeof(*s));
	s->log_id = log_id;
	s->area_length = area_length;
	s->created = created;
	s->head_sequence = 1;
	s->start_sequence = 1;
	s->next_segment = 1;
}

static bool dict_sound(const struct rvm_status *s)
{
	struct rvm_dict_entry e;
	u32 cursor = 0, entries = 0, last = 0;

	while (rvm_dict_next(s, &cursor, &e)) {
		if (e.id <= last || e.id >= s->next_segment)
			return false;
		if (!e.name_length || e.name[0] != '/' || memchr(e.name, 0, e.name_length))
			return false;
		if (rvm_dict_find(s, e.name, e.name_length) != e.id)
			return false;	/* a second entry of that name */
		last = e.id;
		entries++;
	}
	return cursor == s->dict_used && entries == s->segments;
}

static bool fields_sound(const struct rvm_status *s)
{
	if (!s->generation || s->generation >= COUNT_MAX || s->incarnation >= COUNT_MAX)
		return false;
	if (!s->log_id || !s->next_segment)
		return false;
	if (!s->area_length || s->area_length % RVM_AREA_UNIT || s->area_length >= AREA_MAX)
		return false;
	if (s->head % 8 || s->start % 8 || s->start >= COUNT_MAX || s->head > s->start)
		return false;
	if (s->start - s->head > s->area_length)
		return false;
	if (!s->head_sequence || s->start_sequence >= COUNT_MAX)
		return false;
	if (s->head == s->start)
		return s->head_sequence == s->start_sequence;
	return s->head_sequence <= s->start_sequence;
}

int rvm_status_decode(struct rvm_status *s, const void *slot)
{
	struct rvm_status_disk d;
	u32 used, crc, sum;

	memcpy(&d, slot, sizeof(d));
	if (memcmp(d.magic, RVM_STATUS_MAGIC, sizeof(d.magic)))
		return -EINVAL;
	if (le32_to_cpu(d.version) != RVM_FORMAT_VERSION)
		return -EPROTONOSUPPORT;

	used = le32_to_cpu(d.used);
	if (used < sizeof(d) || used > RVM_STATUS_SIZE || used % 8)
		return -EUCLEAN;
	crc = le32_to_cpu(d.crc);
	d.crc = 0;
	sum = rvm_crc32c(RVM_CRC_SEED, &d, sizeof(d));
	sum = rvm_crc32c(sum, (const u8 *)slot + sizeof(d), used - sizeof(d));
	if (sum != crc || d.reserved)
		return -EUCLEAN;

	s->generation = le64_to_cpu(d.generation);
	s->log_id = le64_to_cpu(d.log_id);
	s->incarnation = le64_to_cpu(d.incarnation);
	s->area_length = le64_to_cpu(d.area_length);
	s->head = le64_to_cpu(d.head);
	s->head_sequence = le64_to_cpu(d.head_sequence);
	s->start = le64_to_cpu(d.start);
	s->start_sequence = le64_to_cpu(d.start_sequence);
	s->created = le64_to_cpu(d.created);
	s->next_segment = le32_to_cpu(d.next_segment);
	s->segments = le32_to_cpu(d.segments);
	s->dict_used = used - sizeof(d);
	memcpy(s->dict, (const u8 *)slot + sizeof(d), s->dict_used);
	memset(s->dict + s->dict_used, 0, sizeof(s->dict) - s->dict_used);

	return fields_sound(s) && dict_sound(s) ? 0 : -EUCLEAN;
}

static const u8 *slot_at(const void *slots, int i)
{
	return (const u8 *)slots + i * RVM_STATUS_SIZE;
}

/* A status counts only in the slot that its generation goes to. */
static int decode_slot(struct rvm_status *s, const void *slots, int i)
{
	int err = rvm_status_decode(s, slot_at(slots, i));

	if (!err && (s->generation & 1) != (u64)i)
		err = -EUCLEAN;
	return err;
}

u64 rvm_status_generation(const void *slots, int i)
{
	struct rvm_status_disk d;

	memcpy(&d, slot_at(slots, i), sizeof(d));
	return le64_to_cpu(d.generation);
}

int rvm_status_choose(struct rvm_status *s, const void *slots)
{
	int first = rvm_status_generation(slots, 1) > rvm_status_generation(slots, 0);
	int err, other;

	/* If both are valid, the one that claims more is the one that counts. */
	err = decode_slot(s, slots, first);
	if (!err)
		return 0;
	other = decode_slot(s, slots, !first);
	if (!other)
		return 0;
	if (err == -EUCLEAN || other == -EUCLEAN)
		return -EUCLEAN;
	return err == -EPROTONOSUPPORT ? err : other;
}

u32 rvm_status_encode(struct rvm_status *s, void *slot)
{
	struct rvm_status_disk *d = slot;
	u32 used = sizeof(*d) + s->dict_used;

	s->generation++;

	memcpy(d->magic, RVM_STATUS_MAGIC, sizeof(d->magic));
	d->version = cpu_to_le32(RVM_FORMAT_VERSION);
	d->crc = 0;
	d->used = cpu_to_le32(used);
	d->segments = cpu_to_le32(s->segments);
	d->generation = cpu_to_le64(s->generation);
	d->log_id = cpu_to_le64(s->log_id);
	d->incarnation = cpu_to_le64(s->incarnation);
	d->area_length = cpu_to_le64(s->area_length);
	d->head = cpu_to_le64(s->head);
	d->head_sequence = cpu_to_le64(s->head_sequence);
	d->start = cpu_to_le64(s->start);
	d->start_sequence = cpu_to_le64(s->start_sequence);
	d->created = cpu_to_le64(s->created);
	d->next_segment = cpu_to_le32(s->next_segment);
	d->reserved = 0;
	memcpy(d + 1, s->dict, s->dict_used);
	memset((u8 *)slot + used, 0, RVM_STATUS_SIZE - used);

	d->crc = cpu_to_le32(rvm_crc32c(RVM_CRC_SEED, slot, used));
	return used;
}

static u32 entry_size(u32 name_length)
{
	return sizeof(struct rvm_dict_disk) + rvm_align8(name_length);
}

bool rvm_dict_next(const struct rvm_status *s, u32 *cursor, struct rvm_dict_entry *e)
{
	u32 left = s->dict_used - *cursor;
	struct rvm_dict_disk d;

	if (left < sizeof(d))
		return false;
	memcpy(&d, s->dict + *cursor, sizeof(d));
	e->id = le32_to_cpu(d.id);
	e->name_length = le32_to_cpu(d.name_length);
	e->name = (const char *)s->dict + *cursor + sizeof(d);
	if (e->name_length > RVM_NAME_MAX || entry_size(e->name_length) > left)
		return false;
	*cursor += entry_size(e->name_length);
	return true;
}

u32 rvm_dict_find(const struct rvm_status *s, const char *name, u32 name_length)
{
	struct rvm_dict_entry e;
	u32 cursor = 0;

	while (rvm_dict_next(s, &cursor, &e))
		if (e.name_length == name_length && !memcmp(e.name, name, name_length))
			return e.id;
	return 0;
}

int rvm_dict_add(struct rvm_status *s, const char *name, u32 name_length, u32 *id)
{
	struct rvm_dict_disk d;

	if (!name_length || name_length > RVM_NAME_MAX)
		return -ENAMETOOLONG;
	if (name[0] != '/' || memchr(name, 0, name_length))
		return -EINVAL;
	if (rvm_dict_find(s, name, name_length))
		return -EEXIST;
	if (entry_size(name_length) > sizeof(s->dict) - s->dict_used || !(s->next_segment + 1))
		return -ENOSPC;

	*id = s->next_segment++;
	d.id = cpu_to_le32(*id);
	d.name_length = cpu_to_le32(name_length);
	memset(s->dict + s->dict_used, 0, entry_size(name_length));
	memcpy(s->dict + s->dict_used, &d, sizeof(d));
	memcpy(s->dict + s->dict_used + sizeof(d), name, name_length);
	s->dict_used += entry_size(name_length);
	s->segments++;
	return 0;
}

void rvm_dict_remove(struct rvm_status *s, u32 id)
{
	struct rvm_dict_entry e;
	u32 at, cursor = 0;

	for (at = 0; rvm_dict_next(s, &cursor, &e); at = cursor) {
		if (e.id != id)
			continue;
		memmove(s->dict + at, s->dict + cursor, s->dict_used - cursor);
		s->dict_used -= cursor - at;
		s->segments--;
		return;
	}
}
