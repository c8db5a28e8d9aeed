// SPDX-License-Identifier: GPL-2.0 OR MIT
/*
 * Fuzzing the scan of records: it finds what docs/format.md says, forwards and
 * backwards, reads nothing but whole units of the area, and ends.
 */
#include "fuzz.h"
#include "image.h"
#include "reader.h"

#define READS_MAX	1000	/* in one call; by far more than the area has units */

static struct image image;
static struct rvm_status status;
static struct reader expected;
static u32 reads;

/* The area in memory of its own, so that nobody reads past its end unnoticed. */
static int read_area(void *context, u64 offset, void *buffer, size_t length)
{
	(void)context;
	CHECK(++reads < READS_MAX);
	CHECK(offset >= RVM_AREA_START && offset % RVM_AREA_UNIT == 0);
	CHECK(length && length % RVM_AREA_UNIT == 0 && length <= image.area_length);
	CHECK(offset - RVM_AREA_START <= image.area_length - length);
	memcpy(buffer, image.bytes + offset, length);
	return 0;
}

static bool same_record(const struct rvm_record *a, const struct rvm_record *b)
{
	return a->position == b->position && a->incarnation == b->incarnation &&
	       a->sequence == b->sequence && a->length == b->length && a->time == b->time &&
	       a->commits == b->commits && a->ranges == b->ranges;
}

/* What one record's ranges come to, in whatever pieces. */
struct content {
	u64 bytes, sum;
};

static int add_content(void *context, u32 segment, u64 offset, const void *data, u32 length)
{
	struct content *c = context;
	const u8 *p = data;

	CHECK(reader_knows(&status, segment));
	CHECK(length && !(offset >> 63) && !((offset + length) >> 63));
	c->bytes += length;
	for (; length--; offset++)
		c->sum = (c->sum ^ *p++ ^ offset ^ (u64)segment << 32) * 0x9e3779b97f4a7c15ull;
	return 0;
}

static int refuse(void *context, u32 segment, u64 offset, const void *data, u32 length)
{
	(void)segment;
	(void)offset;
	(void)data;
	(void)length;
	return ++*(int *)context;
}

static void check_ranges(struct rvm_scan *scan, const struct rvm_record *record)
{
	struct content got = { 0 }, right = { 0 };
	int refused = 0;

	reader_ranges(&image, &status, record, add_content, &right);
	reads = 0;
	CHECK(!rvm_scan_ranges(scan, record, add_content, &got));
	CHECK(got.bytes == right.bytes && got.sum == right.sum);
	CHECK(rvm_scan_ranges(scan, record, refuse, &refused) == !!record->ranges);
	CHECK(refused == !!record->ranges);
}

static int scan_next(struct rvm_scan *scan)
{
	reads = 0;
	return rvm_scan_next(scan);
}

static void check_forwards(struct rvm_scan *scan)
{
	u64 turn = status.head + status.area_length;
	int found;
	u32 n;

	for (n = 0; (found = scan_next(scan)) == 1; n++) {
		const struct rvm_record *r = &scan->record;
		const struct rvm_record *before = n ? &expected.record[n - 1] : NULL;

		CHECK(n < expected.n && same_record(r, &expected.record[n]));
		CHECK(r->position >= (before ? before->position + before->length : status.head));
		CHECK(r->length <= turn - r->position);
		CHECK(r->position >= status.start || r->length <= status.start - r->position);
		CHECK(r->sequence == (before ? before->sequence + before->commits :
				      status.head_sequence));
		CHECK(scan->position == r->position + r->length);
		check_ranges(scan, r);
	}
	CHECK(n == expected.n);
	CHECK(found == (expected.damaged ? -EUCLEAN : 0));
	if (!found)
		CHECK(scan->position == expected.tail && scan->sequence == expected.sequence);
	/* asked again, it says the same */
	CHECK(scan_next(scan) == found);
}

/* A record that ends in the gap behind the right one may be taken for it. */
static void check_backwards(struct rvm_scan *scan)
{
	u64 position = expected.tail;
	struct rvm_record record;
	int found;
	u32 n;

	for (n = expected.n; n--; position = expected.record[n].position) {
		const struct rvm_record *right = &expected.record[n];
		u64 end = right->position + right->length;

		scan->sequence = right->sequence + right->commits;
		reads = 0;
		found = rvm_scan_previous(scan, position, &record);
		CHECK(found == 1 || (!found && position - end >= RVM_BLOCK_MAX));
		if (!found)
			continue;
		CHECK(record.position >= status.head);
		CHECK(record.position + record.length <= position);
		CHECK(record.position + record.length >= end);
		if (record.position + record.length > end)
			continue;
		CHECK(same_record(&record, right));
		scan->position = record.position;
		scan->sequence = record.sequence;
		scan->incarnation = 0;
		CHECK(scan_next(scan) == 1 && same_record(&scan->record, right));
		check_ranges(scan, right);
	}
}

int LLVMFuzzerTestOneInput(const u8 *input, size_t size)
{
	static const size_t lengths[] = { RVM_SCAN_BUFFER_MIN, 3 * RVM_AREA_UNIT, 65536 };
	static void *buffers[3];
	struct rvm_scan scan;
	int i;

	if (!image.bytes) {
		image.bytes = malloc(IMAGE_MAX);
		for (i = 0; i < 3; i++)
			buffers[i] = malloc(lengths[i]);
	}
	image_build(&image, input, size);
	if (rvm_status_choose(&status, image.bytes))
		return 0;
	/* what the engines refuse; another length than ours would do no harm */
	if (image.size < RVM_AREA_START || status.area_length > image.size - RVM_AREA_START)
		return 0;
	image.area_length = status.area_length;
	reader_read(&expected, &image, &status);
	for (i = 0; i < 3; i++) {
		rvm_scan_init(&scan, &status, read_area, NULL, buffers[i], lengths[i]);
		check_forwards(&scan);
		if (!expected.damaged)
			check_backwards(&scan);
	}
	return 0;
}
