// SPDX-License-Identifier: GPL-2.0 OR MIT
/* Description: scanning a log: every wrap, damage and forgery, one at a time. */

#include "log.h"
#include "kselftest_harness.h"

#define AREA 16384
#define BUFFER RVM_SCAN_BUFFER_MIN

FIXTURE(log) {
	struct log *log;
	struct scanned *got;
};

FIXTURE_SETUP(log)
{
	self->log = log_new(AREA);
	self->got = malloc(sizeof(*self->got));
}

FIXTURE_TEARDOWN(log)
{
	log_free(self->log);
	free(self->got);
}

/* Begin the log anew at a position, over whatever stands there. */
static void begin_at(struct log *log, u64 position)
{
	log->s.head = log->s.start = log->position = log->tail = position;
	log->s.head_sequence = log->s.start_sequence = log->sequence;
}

/* n records and the tail, or n records and an error. */
#define EXPECT_SCAN(records, last) do {					\
	scan_all(self->log, BUFFER, self->got);				\
	EXPECT_EQ(self->got->n, records);				\
	EXPECT_EQ(self->got->end, last);				\
	if (!self->got->end) {						\
		EXPECT_EQ(self->got->tail, self->log->tail);		\
	}								\
} while (0)

TEST_F(log, empty)
{
	EXPECT_SCAN(0, 0);
	memset(self->log->image, 0xff, RVM_AREA_START + AREA);
	EXPECT_SCAN(0, 0);
	random_fill(self->log->image, RVM_AREA_START + AREA);
	EXPECT_SCAN(0, 0);
	begin_at(self->log, 123 * AREA + 8);
	EXPECT_SCAN(0, 0);
}

/* The example in docs/format.md. */
TEST(layout)
{
	static const u8 expected[] = {
		0x52, 0x56, 0x4d, 0x52, 0x01, 0x00, 0x00, 0x00, 0x88, 0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11,
		0x01, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x01, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
		0x60, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0xca, 0xc4, 0x71, 0xfe, 0x9c, 0x97, 0x17,
		0x01, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x01, 0x00, 0x00, 0x00, 0x05, 0x00, 0x00, 0x00,
		0x00, 0x10, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x68, 0x65, 0x6c, 0x6c, 0x6f, 0x00, 0x00, 0x00,
		0x52, 0x56, 0x4d, 0x54, 0xf4, 0xcf, 0x69, 0xc8, 0x60, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
	};
	struct rvm_status *s = calloc(1, sizeof(*s));
	_Alignas(8) u8 p[96];
	u32 i;

	rvm_status_init(s, 0x1122334455667788, 65536, 0);
	s->incarnation = 1;
	rvm_record_header_init((void *)p, s, 1, 1, 96, 1, 1700000001000000000ull);
	rvm_range_header_init((void *)(p + 56), 1, 4096, 5);
	memcpy(p + 72, "hello\0\0", 8);
	rvm_record_trailer_init((void *)(p + 80), 96, rvm_crc32c(RVM_CRC_SEED, p, 80));
	for (i = 0; i < sizeof(expected); i++)
		EXPECT_EQ(p[i], expected[i])
			TH_LOG("byte %u", i);
	free(s);
}

TEST_F(log, block_gap)
{
	EXPECT_EQ(rvm_block_gap(0, 512), 0);
	EXPECT_EQ(rvm_block_gap(8, 512), 504);
	EXPECT_EQ(rvm_block_gap((1ull << 62) + 4088, 4096), 8);
}

/* Three records, at each place in the area, through each size of buffer. */
TEST_F(log, wrap_at_each_alignment)
{
	static const size_t buffers[] = { RVM_SCAN_BUFFER_MIN, 12288, 1 << 16 };
	struct log *log = self->log;
	u64 at, position[3];
	u32 i, k, align;

	for (at = AREA; at < 2 * AREA; at += 8) {
		align = 512u << random_below(4);
		begin_at(log, at);
		for (i = 0; i < 3; i++) {
			if (one_in(2))
				log_align(log, align);
			position[i] = log_record(log, random_below(4), 1 + random_below(700));
		}
		for (k = 0; k < ARRAY_SIZE(buffers); k++) {
			scan_all(log, buffers[k], self->got);
			ASSERT_EQ(self->got->end, 0);
			ASSERT_EQ(self->got->n, 3);
			for (i = 0; i < 3; i++) {
				ASSERT_EQ(self->got->record[i].position, position[i]);
				ASSERT_EQ(self->got->record[i].sequence, log->sequence - 3 + i);
			}
			ASSERT_EQ(self->got->tail, log->tail);
			ASSERT_EQ(self->got->sequence, log->sequence);
		}
	}
}

/* One record that takes the whole area, and records up to its very end. */
TEST_F(log, exactly_full)
{
	struct log *log = self->log;
	u64 at;

	for (at = AREA; at < AREA + 4096; at += 8) {
		begin_at(log, at);
		log_record(log, 1, AREA - RVM_RECORD_MIN - sizeof(struct rvm_range_header));
		ASSERT_EQ(log->position, at + AREA);
		scan_all(log, BUFFER, self->got);
		ASSERT_EQ(self->got->n, 1);
		ASSERT_EQ(self->got->end, 0);
		ASSERT_EQ(self->got->tail, at + AREA);
	}
	begin_at(log, 3 * AREA + 512);
	for (at = 0; at < AREA / 128; at++)
		log_record(log, 1, 128 - 16 - RVM_RECORD_MIN);
	ASSERT_EQ(log->position, log->s.head + AREA);
	EXPECT_SCAN(AREA / 128, 0);

	/* At the tail stands the head again; its record is not the next one. */
	log->s.head_sequence += 1;
	log->s.start_sequence += 1;
	scan_all(log, BUFFER, self->got);
	EXPECT_EQ(self->got->n, 0);
}

/* A record that would reach beyond one turn is no record, even if it is whole. */
TEST_F(log, longer_than_the_area)
{
	struct log *log = self->log, *large = log_new(2 * AREA);

	log_record(large, 1, AREA - 80);	/* 8 bytes more than the area */
	memcpy(log->image + RVM_AREA_START, large->image + RVM_AREA_START, AREA);
	EXPECT_SCAN(0, 0);
	log_free(large);
}

struct piece_check {
	struct build *expected;
	u64 at;			/* in the record */
	u32 left;		/* of the range */
	u64 offset;
	u32 segment;
	u32 pieces;
	int fail_at;
	bool wrong;
};

static int check_piece(void *context, u32 segment, u64 offset, const void *data, u32 length)
{
	struct piece_check *c = context;
	struct rvm_range_header r;

	if ((int)++c->pieces == c->fail_at)
		return 42;
	if (!c->left) {
		c->at = rvm_align8(c->at);
		memcpy(&r, c->expected->data + c->at, sizeof(r));
		c->at += sizeof(r);
		c->left = le32_to_cpu(r.length);
		c->offset = le64_to_cpu(r.offset);
		c->segment = le32_to_cpu(r.segment);
	}
	if (segment != c->segment || offset != c->offset || !length || length > c->left ||
	    memcmp(data, c->expected->data + c->at, length)) {
		c->wrong = true;
		return -1;
	}
	c->offset += length;
	c->left -= length;
	c->at += length;
	return 0;
}

/* Random shapes, much larger than the buffer and much smaller. */
TEST(contents)
{
	struct log *log = log_new(1 << 20);
	struct rvm_scan scan;
	struct rvm_record record;
	u8 *data = malloc(1 << 20), *buffer = aligned_alloc(4096, 1 << 16);
	struct build b;
	u64 left, before;
	u32 length, largest;
	int round;

	random_fill(data, 1 << 20);
	for (round = 0; round < 300; round++) {
		begin_at(log, random_below(1 << 20) * 8);
		build_begin(&b, 1 << 20);
		largest = 1u << random_below(20);
		for (left = random_below((1 << 20) - RVM_RECORD_MIN); left; ) {
			length = 1 + random_below(largest);
			if (rvm_range_size(length) > left)
				break;
			left -= rvm_range_size(length);
			build_range(&b, 1 + random_below(2),
				    one_in(10) ? (1ull << 63) - 1 - length : random_u64() >> 2,
				    data + random_below((1 << 20) - length), length);
		}
		build_seal(&b, log, log->sequence, 1 + random_below(1000));
		build_sum(&b);
		log_append(log, &b, le32_to_cpu(((struct rvm_record_header *)b.data)->commits));

		rvm_scan_init(&scan, &log->s, log_read, log, buffer, 8192 << random_below(4));
		ASSERT_EQ(rvm_scan_next(&scan), 1);
		record = scan.record;
		ASSERT_EQ(record.length, b.length);
		ASSERT_EQ(record.ranges, b.ranges);
		ASSERT_EQ(record.time, 99);
		if (one_in(2)) {
			ASSERT_EQ(rvm_scan_next(&scan), 0);
			ASSERT_EQ(scan.position, log->position);
			ASSERT_EQ(scan.sequence, log->sequence);
		}
		struct piece_check check = { .expected = &b, .at = sizeof(struct rvm_record_header) };

		ASSERT_EQ(rvm_scan_ranges(&scan, &record, check_piece, &check), 0);
		ASSERT_FALSE(check.wrong);
		ASSERT_EQ(check.left, 0);
		ASSERT_EQ(rvm_align8(check.at) + sizeof(struct rvm_record_trailer), b.length);
		ASSERT_EQ(scan.position, log->position);

		if (check.pieces) {
			struct piece_check stop = {
				.expected = &b, .at = sizeof(struct rvm_record_header),
				.fail_at = 1 + random_below(check.pieces),
			};

			ASSERT_EQ(rvm_scan_ranges(&scan, &record, check_piece, &stop), 42);
			ASSERT_EQ(stop.pieces, stop.fail_at);
		}
		/* It changed since. */
		scan.window_length = 0;
		before = record.position + random_below(record.length);
		log->image[rvm_area_offset(&log->s, before)] ^= 1 << random_below(8);
		memset(&check, 0, sizeof(check));
		check.expected = &b;
		check.at = sizeof(struct rvm_record_header);
		ASSERT_NE(rvm_scan_ranges(&scan, &record, check_piece, &check), 0);
		free(b.data);
	}
	/* Records that no status could allow do not lead the reading astray. */
	record.position = log->s.head + log->s.area_length - 8;
	ASSERT_EQ(rvm_scan_ranges(&scan, &record, check_piece, NULL), -EUCLEAN);
	record.position = ~7ull;
	ASSERT_EQ(rvm_scan_ranges(&scan, &record, check_piece, NULL), -EUCLEAN);
	record.length = 0;
	record.position = log->s.head;
	ASSERT_EQ(rvm_scan_ranges(&scan, &record, check_piece, NULL), -EUCLEAN);
	free(buffer);
	free(data);
	log_free(log);
}

/* Backwards: all records, each found sound by a scan set to it. */
TEST(backwards)
{
	struct log *log = log_new(1 << 18);
	struct scanned *got = malloc(sizeof(*got));
	u8 *buffer = aligned_alloc(4096, 1 << 15);
	struct rvm_record record;
	struct rvm_scan scan;
	u64 position;
	int round, i;

	for (round = 0; round < 100; round++) {
		begin_at(log, random_below(1 << 20) * 8);
		do {
			log_record(log, random_below(5), 1 + random_below(one_in(20) ? 8000 : 400));
			if (one_in(3))
				log_align(log, 512u << random_below(4));
			if (one_in(10))
				log_reopen(log, 512u << random_below(4));
		} while (log->position < log->s.head + (1 << 18) - 50000);
		scan_all(log, 8192, got);
		ASSERT_EQ(got->end, 0);

		rvm_scan_init(&scan, &log->s, log_read, log, buffer, 8192 << random_below(3));
		scan.sequence = got->sequence;
		position = got->tail;
		for (i = got->n - 1; i >= 0; i--) {
			ASSERT_EQ(rvm_scan_previous(&scan, position, &record), 1);
			ASSERT_EQ(record.position, got->record[i].position);
			ASSERT_EQ(record.length, got->record[i].length);
			scan.position = record.position;
			scan.sequence = record.sequence;
			scan.incarnation = 0;
			ASSERT_EQ(rvm_scan_next(&scan), 1);
			ASSERT_EQ(memcmp(&scan.record, &got->record[i], sizeof(record)), 0);
			scan.sequence = record.sequence;
			position = record.position;
		}
		ASSERT_EQ(rvm_scan_previous(&scan, position, &record), 0);
	}
	ASSERT_EQ(rvm_scan_previous(&scan, ~7ull, &record), 0);
	free(buffer);
	free(got);
	log_free(log);
}

/* A small log with two incarnations in it: what came before start, and after. */
static void two_openings(struct log *log, u64 at)
{
	begin_at(log, at);
	log_record(log, 2, 30);
	log_record(log, 1, 100);
	log_align(log, 512);
	log_record(log, 3, 400);
	log_reopen(log, 512);
	log_record(log, 1, 77);
	log_record(log, 0, 0);
	log_align(log, 512);
	log_record(log, 2, 300);
	log_align(log, 512);
}

/* Each bit of it flipped: the records before, then the tail or damage. */
TEST_F(log, every_bit_flipped)
{
	struct scanned *whole = malloc(sizeof(*whole));
	struct log *log = self->log;
	u64 at, i;
	int bit, before;

	two_openings(log, 3 * AREA - 1000);
	scan_all(log, BUFFER, whole);
	ASSERT_EQ(whole->n, 6);
	ASSERT_EQ(whole->end, 0);
	ASSERT_EQ(whole->tail, log->tail);
	for (at = log->s.head; at < log->position; at++) {
		for (before = 0; before < 6; before++)
			if (at < whole->record[before].position + whole->record[before].length)
				break;
		for (bit = 0; bit < 8; bit++) {
			log->image[rvm_area_offset(&log->s, at)] ^= 1 << bit;
			scan_all(log, BUFFER, self->got);
			log->image[rvm_area_offset(&log->s, at)] ^= 1 << bit;
			/* Between records it does not matter. */
			if (before == 6 || at < whole->record[before].position) {
				ASSERT_GE(self->got->n, before);
				continue;
			}
			ASSERT_EQ(self->got->n, before);
			ASSERT_EQ(self->got->end, at < log->s.start ? -EUCLEAN : 0);
			for (i = 0; i < (u64)before; i++)
				ASSERT_EQ(memcmp(&self->got->record[i], &whole->record[i],
						 sizeof(struct rvm_record)), 0);
		}
	}
	free(whole);
}

/* Cut off at each byte, the rest zeros, ones, or what an earlier turn left. */
TEST_F(log, every_truncation)
{
	struct log *log = self->log;
	struct scanned *whole = malloc(sizeof(*whole));
	u8 *image = malloc(RVM_AREA_START + AREA), *old = malloc(RVM_AREA_START + AREA);
	u64 at, i;
	int kind, before;

	two_openings(log, 2 * AREA - 1000);	/* the same shapes, a turn earlier */
	memcpy(old, log->image, RVM_AREA_START + AREA);
	two_openings(log, 3 * AREA - 1000);
	memcpy(image, log->image, RVM_AREA_START + AREA);
	scan_all(log, BUFFER, whole);
	ASSERT_EQ(whole->n, 6);
	for (at = log->s.head; at < log->position; at++) {
		for (before = 0; before < 6; before++)
			if (at < whole->record[before].position + whole->record[before].length)
				break;
		for (kind = 0; kind < 3; kind++) {
			memcpy(log->image, image, RVM_AREA_START + AREA);
			for (i = at; i < log->position; i++) {
				u64 offset = rvm_area_offset(&log->s, i);

				log->image[offset] = kind == 2 ? old[offset] : kind ? 0xff : 0;
			}
			scan_all(log, BUFFER, self->got);
			/* The last bytes can happen to be what was there. */
			if (self->got->n > before)
				ASSERT_EQ(memcmp(log->image, image, rvm_area_offset(&log->s, 0)), 0);
			ASSERT_GE(self->got->n, before);
			ASSERT_LE(self->got->n, before + 1);
			if (self->got->n == before && before < 6)
				ASSERT_EQ(self->got->end,
					  whole->record[before].position < log->s.start ? -EUCLEAN : 0);
		}
	}
	free(whole);
	free(image);
	free(old);
}

TEST_F(log, read_errors)
{
	struct log *log = self->log;
	int errors[] = { -EIO, -EINTR, -EUCLEAN }, i;
	u64 n, reads;

	begin_at(log, 2 * AREA - 6000);
	log_record(log, 2, 2000);
	log_record(log, 5, 1500);
	log->reads = 0;
	EXPECT_SCAN(2, 0);
	reads = log->reads;
	ASSERT_GE(reads, 3);
	for (i = 0; i < 3; i++) {
		for (n = 1; n <= reads; n++) {
			log->reads = 0;
			log->fail_read = n;
			log->read_error = errors[i];
			scan_all(log, BUFFER, self->got);
			EXPECT_EQ(self->got->end, errors[i]);
			EXPECT_LE(self->got->n, 2);
		}
	}
}

static int sum_only(void *context, u32 segment, u64 offset, const void *data, u32 length)
{
	*(u64 *)context += segment * offset + length + rvm_crc32c(0, data, 1);
	return 0;
}

/* A record read once more: with an error on the way, and as another one. */
TEST_F(log, reading_again)
{
	struct log *log = self->log;
	u8 *buffer = aligned_alloc(4096, BUFFER);
	struct rvm_scan scan;
	u64 sum = 0, again, n, reads;

	log_record(log, 3, 4000);
	log_record(log, 1, 10);
	rvm_scan_init(&scan, &log->s, log_read, log, buffer, BUFFER);
	ASSERT_EQ(rvm_scan_next(&scan), 1);
	log->reads = 0;
	ASSERT_EQ(rvm_scan_ranges(&scan, &scan.record, sum_only, &sum), 0);
	reads = log->reads;
	ASSERT_GE(reads, 2);
	for (n = 1; n <= reads; n++) {
		log->reads = 0;
		log->fail_read = n;
		log->read_error = -EIO;
		ASSERT_EQ(rvm_scan_ranges(&scan, &scan.record, sum_only, &again), -EIO);
		memset(buffer, 0xee, BUFFER);
		again = 0;
		ASSERT_EQ(rvm_scan_ranges(&scan, &scan.record, sum_only, &again), 0);
		ASSERT_EQ(again, sum);
	}
	log->sequence = 100;
	log->position = 0;
	log_record(log, 3, 4000);
	scan.window_length = 0;
	again = 0;
	EXPECT_EQ(rvm_scan_ranges(&scan, &scan.record, sum_only, &again), -EUCLEAN);
	EXPECT_EQ(again, 0);
	free(buffer);
}

/* After an error or the tail, the scan looks again at what is there now. */
TEST_F(log, asked_again)
{
	struct log *log = self->log;
	u8 *buffer = aligned_alloc(4096, BUFFER);
	struct rvm_scan scan;

	rvm_scan_init(&scan, &log->s, log_read, log, buffer, BUFFER);
	log_record(log, 1, 20);
	log->fail_read = 1;
	log->read_error = -EIO;
	EXPECT_EQ(rvm_scan_next(&scan), -EIO);
	EXPECT_EQ(rvm_scan_next(&scan), 1);
	EXPECT_EQ(rvm_scan_next(&scan), 0);
	EXPECT_EQ(rvm_scan_next(&scan), 0);
	log_record(log, 1, 20);
	EXPECT_EQ(rvm_scan_next(&scan), 1);
	EXPECT_EQ(scan.record.sequence, 2);
	EXPECT_EQ(rvm_scan_next(&scan), 0);
	free(buffer);
}

/*
 * One field of an otherwise good record made wrong, and the checksum right.
 * What could stand at the tail by accident is the tail.  What only a writer
 * can have put there is damage.
 */
#define FORGED(type, where, field, value, expected) do {		\
	struct build b;							\
	type *p;							\
									\
	begin_at(log, 4096);						\
	memset(log->image + RVM_AREA_START, 0, AREA);			\
	build_begin(&b, 4096);						\
	build_range(&b, 1, 1000, "some new values", 15);		\
	build_range(&b, 2, 2000, "more of them", 12);			\
	build_seal(&b, log, log->sequence, 1);				\
	p = (void *)(b.data + (where));					\
	p->field = value;						\
	build_sum(&b);							\
	log_put(log, 4096, b.data, b.length);				\
	scan_all(log, BUFFER, self->got);				\
	EXPECT_EQ(self->got->n, (expected) == 1)			\
		TH_LOG("%s = %s", #field, #value);			\
	EXPECT_EQ(self->got->end, (expected) == 1 ? 0 : (expected))	\
		TH_LOG("%s = %s", #field, #value);			\
	free(b.data);							\
} while (0)

#define HEADER(field, value, expected) \
	FORGED(struct rvm_record_header, 0, field, value, expected)
#define RANGE1(field, value, expected) \
	FORGED(struct rvm_range_header, sizeof(struct rvm_record_header), field, value, expected)
#define RANGE2(field, value, expected) \
	FORGED(struct rvm_range_header, sizeof(struct rvm_record_header) + 32, field, value, expected)

TEST_F(log, forged_fields)
{
	struct log *log = self->log;

	log->s.incarnation = 5;
	log->sequence = 100;
	HEADER(time, cpu_to_le64(7), 1);
	HEADER(magic, cpu_to_le32(RVM_TRAILER_MAGIC), 0);
	HEADER(log_id, cpu_to_le64(1), 0);
	HEADER(commits, 0, 0);
	HEADER(commits, cpu_to_le32(~0u), 1);
	HEADER(sequence, cpu_to_le64(99), 0);
	HEADER(sequence, cpu_to_le64(101), 0);
	HEADER(incarnation, cpu_to_le64(4), 0);
	HEADER(incarnation, 0, 0);
	HEADER(incarnation, cpu_to_le64(6), -EUCLEAN);
	HEADER(incarnation, cpu_to_le64(~0ull), -EUCLEAN);
	HEADER(reserved, cpu_to_le32(1), 0);
	HEADER(length, 0, 0);
	HEADER(length, cpu_to_le64(64), 0);
	HEADER(length, cpu_to_le64(80), 0);
	HEADER(length, cpu_to_le64(133), 0);
	HEADER(length, cpu_to_le64(144), 0);
	HEADER(length, cpu_to_le64(AREA), 0);
	HEADER(length, cpu_to_le64(AREA + 8), 0);
	HEADER(length, cpu_to_le64(-8ull), 0);
	HEADER(length, cpu_to_le64(-4096ull), 0);
	HEADER(ranges, cpu_to_le32(1), -EUCLEAN);
	HEADER(ranges, cpu_to_le32(3), -EUCLEAN);
	HEADER(ranges, cpu_to_le32(0), -EUCLEAN);
	HEADER(ranges, cpu_to_le32(~0u), -EUCLEAN);

	RANGE1(segment, cpu_to_le32(2), 1);
	RANGE1(segment, 0, -EUCLEAN);
	RANGE1(segment, cpu_to_le32(3), -EUCLEAN);
	RANGE2(segment, cpu_to_le32(~0u), -EUCLEAN);
	RANGE1(length, cpu_to_le32(16), 1);
	RANGE1(length, cpu_to_le32(9), 1);
	RANGE1(length, 0, -EUCLEAN);
	RANGE1(length, cpu_to_le32(17), -EUCLEAN);
	RANGE1(length, cpu_to_le32(8), -EUCLEAN);
	RANGE1(length, cpu_to_le32(48), -EUCLEAN);
	RANGE1(length, cpu_to_le32(49), -EUCLEAN);
	RANGE1(length, cpu_to_le32(~0u), -EUCLEAN);
	RANGE2(length, cpu_to_le32(17), -EUCLEAN);
	RANGE2(length, cpu_to_le32(1u << 31), -EUCLEAN);
	RANGE1(offset, cpu_to_le64((1ull << 63) - 16), 1);
	RANGE1(offset, cpu_to_le64((1ull << 63) - 15), -EUCLEAN);
	RANGE1(offset, cpu_to_le64(1ull << 63), -EUCLEAN);
	RANGE1(offset, cpu_to_le64(~0ull), -EUCLEAN);
	RANGE2(offset, cpu_to_le64(-12ull), -EUCLEAN);

	log->sequence = (1ull << 63) - 2;
	HEADER(time, 0, 1);
	HEADER(commits, cpu_to_le32(2), -EUCLEAN);
}

TEST_F(log, forged_shape)
{
	struct log *log = self->log;
	struct rvm_record_trailer *t;
	struct build b;
	int i;

	for (i = 0; i < 7; i++) {
		begin_at(log, 0);
		build_begin(&b, 4096);
		if (i == 4)
			b.length += 4;
		if (i >= 5)
			build_range(&b, 1, 0, "a", i - 5);
		build_seal(&b, log, log->sequence, 1);
		build_sum(&b);
		t = (void *)(b.data + rvm_align8(b.length) - sizeof(*t));
		if (i == 1)
			t->magic = 0;
		if (i == 2)
			t->length = cpu_to_le64(80);
		if (i == 3)
			t->crc = ~t->crc;
		log_put(log, 0, b.data, b.length);
		scan_all(log, BUFFER, self->got);
		/* 5: a range of no length, 6: one that is right */
		EXPECT_EQ(self->got->n, i == 0 || i == 6);
		EXPECT_EQ(self->got->end, i == 5 ? -EUCLEAN : 0);
		free(b.data);
	}
}

/* start: what must be before it, at it, and in the gap before it. */
TEST_F(log, start)
{
	struct log *log = self->log;
	u64 at;

	/* A gap of any size less than a block, with anything in it. */
	for (at = 0; at <= RVM_BLOCK_MAX; at += 8) {
		memset(log->image + RVM_AREA_START, 0xdd, AREA);
		begin_at(log, 4096);
		log_record(log, 1, 8);
		log->s.start = log->position + at;
		log->s.start_sequence = log->sequence;
		EXPECT_LE(log->s.start, 3 * 4096);
		log->s.incarnation++;
		log->position = log->s.start;
		log_record(log, 1, 24);
		scan_all(log, BUFFER, self->got);
		ASSERT_EQ(self->got->n, at < RVM_BLOCK_MAX ? 2 : 1);
		ASSERT_EQ(self->got->end, at < RVM_BLOCK_MAX ? 0 : -EUCLEAN);
	}

	/* The sequence at start must be what the status says. */
	begin_at(log, 0);
	log_record(log, 1, 8);
	log_record(log, 1, RVM_BLOCK_MAX);
	log_align(log, 512);
	log_reopen(log, 512);
	EXPECT_SCAN(2, 0);
	log->s.start_sequence++;
	EXPECT_SCAN(2, -EUCLEAN);
	log->s.start_sequence -= 2;
	EXPECT_SCAN(1, -EUCLEAN);
	log->s.start_sequence = log->s.head_sequence;
	EXPECT_SCAN(0, -EUCLEAN);
	log->s.start_sequence = log->s.head_sequence;
	log->s.head_sequence++;
	EXPECT_SCAN(0, -EUCLEAN);

	/* No record lies across start. */
	begin_at(log, 0);
	log_record(log, 1, 8);
	log_record(log, 1, 800);
	log_reopen(log, 512);
	log->s.start -= 512;
	EXPECT_SCAN(1, -EUCLEAN);

	/* A record in the gap before start is none: it was not found there. */
	begin_at(log, 0);
	log_record(log, 1, 8);
	log->s.start = 512;
	log->s.start_sequence = log->sequence;
	log_record(log, 1, 8);
	log->s.incarnation++;
	log->sequence--;
	log->position = log->tail = 512;
	EXPECT_SCAN(1, 0);
	log_record(log, 1, 8);
	EXPECT_SCAN(2, 0);
	EXPECT_EQ(self->got->record[1].position, 512);
}

/* Before start an incarnation may rise but never fall, nor reach past the status's. */
TEST_F(log, incarnations)
{
	struct log *log = self->log;
	u64 second;

	log->s.incarnation = 3;
	begin_at(log, 0);
	log_record(log, 1, 8);
	log->s.incarnation = 5;
	second = log_record(log, 1, 8);
	log->s.incarnation = 7;
	log_record(log, 1, 8);
	log->s.incarnation = 8;
	log_reopen(log, 512);
	EXPECT_SCAN(3, 0);
	log->position = second;
	log->sequence -= 2;
	log->s.incarnation = 2;
	log_record(log, 1, 8);
	log->s.incarnation = 9;
	EXPECT_SCAN(1, -EUCLEAN);
	log->position = second;
	log->sequence--;
	log->s.incarnation = 10;
	log_record(log, 1, 8);
	log->s.incarnation = 9;
	EXPECT_SCAN(1, -EUCLEAN);

	/* From start on, exactly the status's. */
	log->s.incarnation = 20;
	begin_at(log, 8192);
	log_record(log, 1, 8);
	log->s.incarnation = 21;
	EXPECT_EQ(log->s.start, 8192);
	scan_all(log, BUFFER, self->got);
	EXPECT_EQ(self->got->n, 0);
	EXPECT_EQ(self->got->end, 0);
}

/*
 * Two writes in flight, the first torn, the second whole: it is not live, and
 * does not come to life when the next opening puts a record of the very same
 * length before it.  Nor in the openings after that.
 */
TEST_F(log, resurrection)
{
	struct log *log = self->log;
	u64 tail, torn, whole;
	u8 *image = malloc(RVM_AREA_START + AREA);

	log_record(log, 1, 100);
	tail = log->position;
	log_align(log, 512);
	torn = log_record(log, 1, 200);
	log_align(log, 512);
	whole = log_record(log, 1, 300);
	log_align(log, 512);
	log->image[RVM_AREA_START + torn + 100] ^= 1;
	scan_all(log, BUFFER, self->got);
	EXPECT_EQ(self->got->n, 1);
	EXPECT_EQ(self->got->tail, tail);

	log->position = tail;
	log->sequence = self->got->sequence;
	log_reopen(log, 512);
	EXPECT_SCAN(1, 0);
	EXPECT_EQ(log_record(log, 1, 200), torn);
	log_align(log, 512);
	EXPECT_EQ(log->position, whole);
	EXPECT_SCAN(2, 0);
	log_reopen(log, 512);
	EXPECT_SCAN(2, 0);

	/* With a torn record at whole's place, and in an opening after that. */
	memcpy(image, log->image, RVM_AREA_START + AREA);
	log_record(log, 1, 500);
	log->image[RVM_AREA_START + whole + 400] ^= 1;
	log->position = log->tail = whole;
	log->sequence--;
	EXPECT_SCAN(2, 0);
	log_reopen(log, 512);
	EXPECT_SCAN(2, 0);

	/* With head behind the record of that very place. */
	memcpy(log->image, image, RVM_AREA_START + AREA);
	log->s.head = whole;
	log->s.head_sequence = log->sequence;
	EXPECT_SCAN(0, 0);
	free(image);
}

/* Whatever stands in the gap behind a write, the next one is found. */
TEST_F(log, garbage_in_gap)
{
	struct log *log = self->log;
	u8 garbage[RVM_BLOCK_MAX];
	u64 gap, i;

	for (i = 0; i < 500; i += 8) {
		begin_at(log, 4096);
		log_record(log, 1, 8 + i);
		gap = log->position;
		log_align(log, RVM_BLOCK_MAX);
		random_fill(garbage, sizeof(garbage));
		log_put(log, gap, garbage, log->position - gap);
		log_record(log, 1, 8);
		log_align(log, 512);
		scan_all(log, BUFFER, self->got);
		ASSERT_EQ(self->got->n, 2);
		log_reopen(log, 512);
		scan_all(log, BUFFER, self->got);
		ASSERT_EQ(self->got->n, 2);
		ASSERT_EQ(self->got->end, 0);
	}
}

/* Several openings with growing blocks leave gaps between records. */
TEST_F(log, forgotten_starts)
{
	struct log *log = self->log;
	int i;

	begin_at(log, 512);
	for (i = 0; i < 3; i++) {
		log_record(log, 1, 8);
		log_align(log, 512);
		log_reopen(log, RVM_BLOCK_MAX);
	}
	log_record(log, 1, 8);
	EXPECT_SCAN(4, 0);
	log_reopen(log, 512);
	EXPECT_SCAN(4, 0);
}

/* An older status, because the newest was lost: damage, and no empty log. */
TEST_F(log, older_status)
{
	struct log *log = self->log;

	begin_at(log, 0);
	log->s.incarnation = 4;
	log_record(log, 1, 8);
	log_align(log, 512);
	log->s.incarnation = 3;
	EXPECT_SCAN(0, -EUCLEAN);
	log->s.incarnation = 4;
	EXPECT_SCAN(1, 0);
}

/* Garbage with true headers in it: an end, within few reads, and no crash. */
TEST_F(log, garbage)
{
	struct log *log = self->log;
	struct rvm_record record;
	struct rvm_scan scan;
	u8 *buffer = aligned_alloc(4096, BUFFER);
	int round, i, err;
	u64 p;

	for (round = 0; round < 3000; round++) {
		log->sequence = 1;
		begin_at(log, random_below(1 << 20) * 8);
		if (one_in(2))
			random_fill(log->image + RVM_AREA_START, AREA);
		while (log->position + 8192 < log->s.head + AREA) {
			log_record(log, random_below(4), 1 + random_below(500));
			if (one_in(3))
				log_align(log, 512u << random_below(4));
			if (one_in(8))
				log_reopen(log, 512u << random_below(4));
		}
		for (i = random_below(20); i; i--) {
			p = log->s.head + random_below(AREA / 8) * 8;
			if (one_in(2))
				random_fill(log->image + rvm_area_offset(&log->s, p), 1 + random_below(8));
			else	/* bits moved about, 8 bytes at a time */
				memcpy(log->image + rvm_area_offset(&log->s, p), log->image +
				       RVM_AREA_START + random_below(AREA / 8) * 8, 8);
		}
		log->reads = 0;
		scan_all(log, BUFFER, self->got);
		ASSERT_LE(self->got->end, 0);
		ASSERT_TRUE(self->got->end == 0 || self->got->end == -EUCLEAN);
		ASSERT_LT(log->reads, 2000);
		ASSERT_LE(self->got->tail, log->s.head + AREA);

		rvm_scan_init(&scan, &log->s, log_read, log, buffer, BUFFER);
		for (p = log->s.head; p <= log->s.head + AREA; p += 8 * (1 + random_below(30))) {
			err = rvm_scan_previous(&scan, p, &record);
			ASSERT_TRUE(err == 0 || err == 1);
			if (err)
				rvm_scan_ranges(&scan, &record, check_piece,
						&(struct piece_check){ .fail_at = 1 });
			scan.position = p;
			scan.sequence = random_below(20);
			scan.incarnation = 0;
			err = rvm_scan_next(&scan);
			ASSERT_TRUE(err == 0 || err == 1 || err == -EUCLEAN);
		}
	}
	free(buffer);
}

/* Wrong inside, right checksum: the shape checks alone must hold. */
TEST_F(log, garbage_with_right_checksum)
{
	struct log *log = self->log;
	struct rvm_scan scan;
	u8 *buffer = aligned_alloc(4096, BUFFER);
	struct build b;
	u8 data[300] = { 0 };
	u64 sum = 0, found = 0, value;
	int round, i, err;

	for (round = 0; round < 30000; round++) {
		log->sequence = 1;
		begin_at(log, random_below(1 << 20) * 8);
		build_begin(&b, 4096);
		for (i = random_below(6); i; i--)
			build_range(&b, 1, 8, data, 1 + random_below(300));
		build_seal(&b, log, log->sequence, 1);
		for (i = 1 + random_below(3); i; i--) {
			value = one_in(2) ? random_below(40) : random_u64() >> random_below(64);
			memcpy(b.data + 40 + random_below((b.length - 40) / 4) * 4, &value, 4);
		}
		build_sum(&b);
		log_put(log, log->position, b.data, b.length);
		free(b.data);
		rvm_scan_init(&scan, &log->s, log_read, log, buffer, BUFFER);
		err = rvm_scan_next(&scan);
		ASSERT_TRUE(err == 0 || err == 1 || err == -EUCLEAN);
		if (err != 1)
			continue;
		found++;
		ASSERT_EQ(rvm_scan_ranges(&scan, &scan.record, sum_only, &sum), 0);
	}
	ASSERT_GT(found, 100);
	free(buffer);
}

TEST_HARNESS_MAIN
