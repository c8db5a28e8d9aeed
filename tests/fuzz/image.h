/* SPDX-License-Identifier: GPL-2.0 OR MIT */
/*
 * Log images out of few bytes.  An input is
 *
 *   u8   size: of the area, 1..4 units (bits 0, 1), and how much of the file is missing
 *   u32  spared: checksums that are left as they are: bit 0 the statuses', bit n the
 *        nth record's; all others are made right in the end
 *   then operations of one byte and their operands, until the input ends
 *
 * Any bytes are an input, and an operand that is missing is 0.  Operations
 * either write a log as an engine does (RECORD, BLOCK, REOPEN, HEAD, STATUS), make
 * that go wrong (FIELD, POKE), or write plain bytes (SEEK, BYTES, FILL), into which any
 * real log can be taken apart: image_pack.
 */
#ifndef RVM_FUZZ_IMAGE_H
#define RVM_FUZZ_IMAGE_H

#include <stdio.h>

#include "core/record.h"
#include "core/status.h"

#define IMAGE_UNITS	4
#define IMAGE_MAX	(RVM_AREA_START + IMAGE_UNITS * RVM_AREA_UNIT)
#define IMAGE_RANGES	16u
#define IMAGE_PIECE	2048u	/* a RECORD's ranges are shorter */

struct image {
	u64 size;		/* of the file */
	u64 area_length;
	u8 *bytes;		/* IMAGE_MAX of them; zeros behind size */

	/* what RECORD and the others go by */
	u64 position;
	u64 sequence;
	u64 record, record_length;	/* the last RECORD's */
	u64 at;			/* SEEK's */
	struct rvm_status_disk status;
};

enum image_operation {
	IMAGE_BYTES,		/* u8 length - 1, so many bytes */
	IMAGE_FILL,		/* u8 value, u16 length - 1 */
	IMAGE_SEEK,		/* u32 file offset */
	IMAGE_RECORD,		/* u8 commits - 1, u8 ranges, of each: u8 segment,
				 * u16 offset, u16 length, u8 first byte
				 */
	IMAGE_BLOCK,		/* u8: go on at a multiple of 512 << (it & 3) */
	IMAGE_REOPEN,		/* u8 0: an opening; else the log's first, at that times 512 */
	IMAGE_HEAD,		/* head is here */
	IMAGE_STATUS,		/* u8 segments: write it */
	IMAGE_FIELD,		/* u8 which, s8 value, u8 shift: add value << shift to it */
	IMAGE_POKE,		/* u8 where, s8 value: add it to a word of the last RECORD, the
				 * at 4 * where or, from 128 on, as far before its end
				 */
	IMAGE_OPERATIONS
};

struct image_input {
	const u8 *at, *end;
};

static inline u64 image_take(struct image_input *in, unsigned int bytes)
{
	u64 value = 0;
	unsigned int i;

	for (i = 0; i < bytes && in->at < in->end; i++)
		value |= (u64)*in->at++ << 8 * i;
	return value;
}

static inline void image_add(__le64 *field, u64 n)
{
	*field = cpu_to_le64(le64_to_cpu(*field) + n);
}

/* Bytes to a position and from it, round the end of the area. */
static inline void image_put(struct image *image, u64 position, const void *data, u64 length)
{
	u64 at = position % image->area_length, n = image->area_length - at;

	if (n > length)
		n = length;
	memcpy(image->bytes + RVM_AREA_START + at, data, n);
	memcpy(image->bytes + RVM_AREA_START, (const u8 *)data + n, length - n);
}

static inline void image_get(const struct image *image, u64 position, void *data, u64 length)
{
	u64 at = position % image->area_length, n = image->area_length - at;

	if (n > length)
		n = length;
	memcpy(data, image->bytes + RVM_AREA_START + at, n);
	memcpy((u8 *)data + n, image->bytes + RVM_AREA_START, length - n);
}

static inline void image_bytes(struct image *image, struct image_input *in)
{
	u64 n = image_take(in, 1) + 1;

	for (; n && in->at < in->end; n--) {
		image->bytes[image->at] = *in->at++;
		image->at = (image->at + 1) % image->size;
	}
}

static inline void image_fill(struct image *image, struct image_input *in)
{
	u8 value = image_take(in, 1);
	u64 n;

	for (n = image_take(in, 2) + 1; n; n--) {
		image->bytes[image->at] = value;
		image->at = (image->at + 1) % image->size;
	}
}

static inline void image_record(struct image *image, struct image_input *in)
{
	static u8 record[IMAGE_UNITS * RVM_AREA_UNIT] __attribute__((aligned(8)));
	struct rvm_record_header *h = (void *)record;
	u32 commits = image_take(in, 1) % 8 + 1, ranges = image_take(in, 1) % IMAGE_RANGES;
	u64 length = sizeof(*h);
	u32 i, k;

	memset(record, 0, sizeof(record));
	for (i = 0; i < ranges; i++) {
		u32 segment = image_take(in, 1), offset = image_take(in, 2);
		u32 bytes = image_take(in, 2) % IMAGE_PIECE;
		u8 value = image_take(in, 1);

		if (length + rvm_range_size(bytes) + sizeof(struct rvm_record_trailer) >
		    image->area_length)
			break;
		rvm_range_header_init((void *)(record + length), segment, offset, bytes);
		for (k = 0; k < bytes; k++)
			record[length + sizeof(struct rvm_range_header) + k] = value + k;
		length += rvm_range_size(bytes);
	}
	length += sizeof(struct rvm_record_trailer);
	h->magic = cpu_to_le32(RVM_RECORD_MAGIC);
	h->commits = cpu_to_le32(commits);
	h->log_id = image->status.log_id;
	h->incarnation = image->status.incarnation;
	h->sequence = cpu_to_le64(image->sequence);
	h->length = cpu_to_le64(length);
	h->time = cpu_to_le64(1);
	h->ranges = cpu_to_le32(i);
	image_put(image, image->position, record, length);
	image->record = image->position;
	image->record_length = length;
	image->position += length;
	image->sequence += commits;
}

static inline void image_start_here(struct image *image)
{
	image->status.start = cpu_to_le64(image->position);
	image->status.start_sequence = cpu_to_le64(image->sequence);
}

static inline void image_head_here(struct image *image)
{
	image->status.head = cpu_to_le64(image->position);
	image->status.head_sequence = cpu_to_le64(image->sequence);
	if (le64_to_cpu(image->status.start) < image->position)
		image_start_here(image);
}

static inline void image_reopen(struct image *image, struct image_input *in)
{
	u64 origin = image_take(in, 1);

	if (origin) {
		image->position = origin * 8 * 64;
		image_head_here(image);
	}
	image_start_here(image);
	image_add(&image->status.incarnation, 1);
}

/* Segments are /s1, /s2 and so on. */
static inline void image_status(struct image *image, struct image_input *in)
{
	struct rvm_status_disk *d = &image->status;
	u32 segments = image_take(in, 1) % 8, id, used = sizeof(*d);
	u8 *to;

	image_add(&d->generation, 1);
	to = image->bytes + (le64_to_cpu(d->generation) & 1) * RVM_STATUS_SIZE;
	for (id = 1; id <= segments; id++) {
		struct rvm_dict_disk entry = { cpu_to_le32(id), cpu_to_le32(3) };
		char name[8] = { '/', 's', '0' + id };

		memcpy(to + used, &entry, sizeof(entry));
		memcpy(to + used + sizeof(entry), name, sizeof(name));
		used += sizeof(entry) + sizeof(name);
	}
	d->used = cpu_to_le32(used);
	d->segments = cpu_to_le32(segments);
	d->next_segment = cpu_to_le32(segments + 1);
	memcpy(to, d, sizeof(*d));
}

static inline void image_field(struct image *image, struct image_input *in)
{
	u64 which = image_take(in, 1), value = (s64)(signed char)image_take(in, 1);

	value <<= image_take(in, 1) % 64;
	switch (which % 11) {
	case 0:
		image->position += value & ~7ull;
		break;
	case 1:
		image->sequence += value;
		break;
	case 2:
		image_add(&image->status.log_id, value);
		break;
	case 3:
		image_add(&image->status.incarnation, value);
		break;
	case 4:
		image_add(&image->status.generation, value);
		break;
	case 5:
		image_add(&image->status.area_length, value);
		break;
	case 6:
		image_add(&image->status.head, value);
		break;
	case 7:
		image_add(&image->status.head_sequence, value);
		break;
	case 8:
		image_add(&image->status.start, value);
		break;
	case 9:
		image_add(&image->status.start_sequence, value);
		break;
	case 10:
		image->status.version += cpu_to_le32(value);
		break;
	}
}

static inline void image_poke(struct image *image, struct image_input *in)
{
	u64 where = image_take(in, 1), at = image->record;
	s64 value = (s64)(image_take(in, 1) ^ 128) - 128;
	__le32 word;

	at += where < 128 ? 4 * where : image->record_length - 4 * (256 - where);
	image_get(image, at, &word, sizeof(word));
	word = cpu_to_le32(le32_to_cpu(word) + value);
	image_put(image, at, &word, sizeof(word));
}

/* --- checksums ------------------------------------------------------------ */

static inline void image_repair_status(u8 *slot)
{
	struct rvm_status_disk *d = (void *)slot;
	u32 used = le32_to_cpu(d->used);

	if (memcmp(d->magic, RVM_STATUS_MAGIC, sizeof(d->magic)) || used < sizeof(*d) ||
	    used > RVM_STATUS_SIZE)
		return;
	d->crc = 0;
	d->crc = cpu_to_le32(rvm_crc32c(RVM_CRC_SEED, slot, used));
}

/* The trailer that the record at a position should have. */
static inline void image_trailer(const struct image *image, u64 position, u64 length,
				 struct rvm_record_trailer *t)
{
	u64 end = position + length - sizeof(*t), n;
	u32 crc = RVM_CRC_SEED;

	while (position < end) {
		n = image->area_length - position % image->area_length;
		if (n > end - position)
			n = end - position;
		crc = rvm_crc32c(crc, image->bytes + RVM_AREA_START + position % image->area_length, n);
		position += n;
	}
	rvm_record_trailer_init(t, length, crc);
}

/*
 * Go through what looks like records, in the order of their places.  With
 * `spared`, make the others right; else return which are not.
 */
static inline u32 image_records(struct image *image, const u32 *spared)
{
	struct rvm_record_trailer right, now;
	struct rvm_record_header h;
	u64 position = 0, end, length;
	u32 wrong = 0, n = 0;

	while (position < image->area_length) {
		/* no magic wraps: the area is a multiple of 8, and so are positions */
		memcpy(&h.magic, image->bytes + RVM_AREA_START + position, sizeof(h.magic));
		if (h.magic != cpu_to_le32(RVM_RECORD_MAGIC)) {
			position += 8;
			continue;
		}
		image_get(image, position, &h, sizeof(h));
		length = le64_to_cpu(h.length);
		if (length % 8 || length < RVM_RECORD_MIN || length > image->area_length) {
			position += 8;
			continue;
		}
		end = position + length - sizeof(right);
		image_trailer(image, position, length, &right);
		image_get(image, end, &now, sizeof(now));
		if (spared && !(*spared >> (1 + n % 31) & 1))
			image_put(image, end, &right, sizeof(right));
		else if (memcmp(&right, &now, sizeof(now)))
			wrong |= 2u << n % 31;
		n++;
		position += length;
	}
	return wrong;
}

/* --- from an input, and to one ---------------------------------------------- */

static inline void image_build(struct image *image, const u8 *input, size_t size)
{
	struct image_input in = { input, input + size };
	u8 shape = image_take(&in, 1);
	u32 spared = image_take(&in, 4);
	struct rvm_status_disk *d = &image->status;
	u8 *bytes = image->bytes;

	memset(image, 0, sizeof(*image));
	image->bytes = bytes;
	memset(bytes, 0, IMAGE_MAX);
	image->area_length = (1 + shape % IMAGE_UNITS) * RVM_AREA_UNIT;
	image->size = RVM_AREA_START + image->area_length;

	memcpy(d->magic, RVM_STATUS_MAGIC, sizeof(d->magic));
	d->version = cpu_to_le32(RVM_FORMAT_VERSION);
	d->log_id = cpu_to_le64(0x1122334455667788);
	d->area_length = cpu_to_le64(image->area_length);
	d->incarnation = d->head_sequence = d->start_sequence = cpu_to_le64(1);
	d->created = cpu_to_le64(1);
	image->sequence = 1;

	while (in.at < in.end) {
		switch (image_take(&in, 1) % IMAGE_OPERATIONS) {
		case IMAGE_BYTES:
			image_bytes(image, &in);
			break;
		case IMAGE_FILL:
			image_fill(image, &in);
			break;
		case IMAGE_SEEK:
			image->at = image_take(&in, 4) % image->size;
			break;
		case IMAGE_RECORD:
			image_record(image, &in);
			break;
		case IMAGE_BLOCK: {
			u64 block = RVM_BLOCK_MIN << image_take(&in, 1) % 4;

			image->position = (image->position + block - 1) & ~(block - 1);
			break;
		}
		case IMAGE_REOPEN:
			image_reopen(image, &in);
			break;
		case IMAGE_HEAD:
			image_head_here(image);
			break;
		case IMAGE_STATUS:
			image_status(image, &in);
			break;
		case IMAGE_FIELD:
			image_field(image, &in);
			break;
		case IMAGE_POKE:
			image_poke(image, &in);
			break;
		}
	}
	if (!(spared & 1)) {
		image_repair_status(bytes);
		image_repair_status(bytes + RVM_STATUS_SIZE);
	}
	image_records(image, &spared);

	/* a file that is too short by some blocks, or by its whole area and more */
	image->size -= (shape >> 2) % 8 * RVM_BLOCK_MIN;
	if (shape >> 5 == 7)
		image->size = RVM_AREA_START - RVM_BLOCK_MIN;
	memset(bytes + image->size, 0, IMAGE_MAX - image->size);
}

/* Write the input that builds this image.  Its checksums are taken as they are. */
static inline void image_pack(struct image *image, FILE *to)
{
	const u8 *p = image->bytes, *end = p + image->size, *seen = NULL, *q;
	u32 spared = 1 | image_records(image, NULL), i;

	fputc(image->area_length / RVM_AREA_UNIT - 1, to);
	for (i = 0; i < 4; i++)
		fputc(spared >> 8 * i & 0xff, to);
	while (p < end) {
		if (!*p) {
			p++;
			continue;
		}
		if (seen != p) {
			fputc(IMAGE_SEEK, to);
			for (i = 0; i < 4; i++)
				fputc((p - image->bytes) >> 8 * i & 0xff, to);
		}
		for (q = p; q < end && *q == *p && q - p < 0x10000; q++)
			;
		if (q - p > 8) {
			fprintf(to, "%c%c%c%c", IMAGE_FILL, *p, (int)(q - p - 1) & 0xff,
				(int)(q - p - 1) >> 8);
		} else {
			/* up to eight that are the same */
			for (q = p; q < end && q - p < 256; q++)
				if (end - q >= 9 && !memcmp(q, q + 1, 8))
					break;
			fprintf(to, "%c%c", IMAGE_BYTES, (int)(q - p - 1));
			fwrite(p, 1, q - p, to);
		}
		p = seen = q;
	}
}

#endif
