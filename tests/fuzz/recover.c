// SPDX-License-Identifier: GPL-2.0 OR MIT
/*
 * Fuzzing recovery: the user engine opens a log image.  It refuses it and
 * changes nothing, or the segments become exactly what the records say, and a
 * second opening finds only what had to stay.
 */
#include "files.h"

#include <rvm/rvm.h>

#include "fuzz.h"
#include "lib/engine.h"
#include "reader.h"

/*
 * A counter that is this near its end can't be raised for ever; no real log gets
 * there.
 */
#define COUNTERS_MOST	((1ull << 63) - (1ull << 32))

/* The API layer's; here nothing is mapped. */
rvm_return_t rvm_tracking_report(enum rvm_found_what what, const struct rvm_found *found,
				 uint64_t total)
{
	(void)what;
	(void)found;
	return total ? RVM_EINTERNAL : RVM_SUCCESS;
}

bool rvm_tracking_refuses(void)
{
	return false;
}

static struct image image;
static struct rvm_status status, after;
static struct reader records, left;
static u8 *log_before;

/* What the records make of a segment. */
static struct expected {
	u8 bytes[SEGMENT_MOST];
	u8 before[SEGMENT_MOST];
	bool touched[SEGMENT_MOST];
	u64 size;
	bool too_far;		/* a range lies where the file can't grow to, or the device ends */
	bool missing;
	bool used;
	u64 oldest;		/* index of the first record that names it */
} expected[FILES + 1];		/* the last: those that are not there */

static u32 applying;

static struct expected *expected_of(u32 segment)
{
	struct rvm_dict_entry e;
	u32 cursor = 0, i;

	while (rvm_dict_next(&status, &cursor, &e) && e.id != segment)
		;
	for (i = 1; i < FILES; i++)
		if (e.name_length == 3 && !memcmp(e.name, files[i].name, 3))
			return &expected[i];
	/* the log's own name: it is ours already, and so not to be had as a segment */
	return &expected[FILES];
}

static int apply(void *context, u32 segment, u64 offset, const void *data, u32 length)
{
	struct expected *x = expected_of(segment);
	bool device = x - expected < (long)FILES && files[x - expected].device;
	u64 most = device ? SEGMENT_LENGTH : SEGMENT_MOST, n = length;

	(void)context;
	if (!x->used)
		x->oldest = applying;
	x->used = true;
	if (offset >= most || length > most - offset) {
		x->too_far = true;
		n = offset >= most ? 0 : most - offset;
	}
	if (!n)
		return 0;
	memcpy(x->bytes + offset, data, n);
	memset(x->touched + offset, 1, n);
	if (x->size < offset + n)
		x->size = offset + n;
	return 0;
}

static void expect(void)
{
	u32 i;

	for (i = 1; i <= FILES; i++) {
		struct expected *x = &expected[i];

		memset(x->touched, 0, sizeof(x->touched));
		x->used = false;
		x->too_far = false;
		x->missing = i == FILES || files[i].forbidden;
		if (i == FILES)
			continue;
		memcpy(x->bytes, files[i].bytes, SEGMENT_MOST);
		memcpy(x->before, files[i].bytes, SEGMENT_MOST);
		x->size = files[i].size;
	}
	for (applying = 0; applying < records.n; applying++)
		reader_ranges(&image, &status, &records.record[applying], apply, NULL);
}

/*
 * Is there a record of a coming incarnation where the scan does not look?  No
 * writer leaves one, and it may come to life with its incarnation.
 */
static bool holds_coming(void)
{
	struct rvm_record_header h;
	u64 at;

	for (at = 0; at < image.area_length; at += 8) {
		image_get(&image, at, &h, sizeof(h));
		if (h.magic == cpu_to_le32(RVM_RECORD_MAGIC) &&
		    le64_to_cpu(h.incarnation) > status.incarnation)
			return true;
	}
	return false;
}

static rvm_return_t open_log(uint64_t *recovered)
{
	static const struct rvm_log_options options = {
		.recovery_buffer = 8192,
		.flush_buffer = 4096,
	};
	rvm_engine_counters_t counters;
	struct rvm_log *log;
	rvm_return_t code = rvm_engine_user.open(LOG->name, &options, &log);

	if (!code) {
		rvm_engine_user.counters(log, &counters);
		CHECK(!counters.failed);
		*recovered = counters.recovered_records;
		CHECK(!rvm_engine_user.close(log));
	}
	CHECK(files_all_closed());
	return code;
}

static void check_unchanged(void)
{
	u32 i, k;

	CHECK(!memcmp(log_before, LOG->bytes, LOG->size));
	for (i = 1; i < FILES; i++) {
		CHECK(files[i].size == (i == 2 ? 0 : SEGMENT_LENGTH));
		for (k = 0; k < files[i].size; k++)
			CHECK(files[i].bytes[k] == (u8)(i + k));
	}
}

/* `whole`: recovery succeeded.  A segment that it could not do wholly has old or new bytes. */
static void check_segments(bool whole)
{
	u32 i, k;

	for (i = 1; i < FILES; i++) {
		const struct expected *x = &expected[i];
		const struct file *f = &files[i];

		if (whole && !x->too_far && !x->missing) {
			CHECK(f->size == x->size && !memcmp(f->bytes, x->bytes, SEGMENT_MOST));
			continue;
		}
		CHECK(f->size <= x->size);
		CHECK(!x->missing || !memcmp(f->bytes, x->before, SEGMENT_MOST));
		for (k = 0; k < SEGMENT_MOST; k++)
			CHECK(x->touched[k] || f->bytes[k] == x->before[k]);
	}
}

/* How many of the newest records stay: all from the first of a segment that could not have its. */
static u32 kept(void)
{
	u32 i, oldest = records.n;

	for (i = 1; i <= FILES; i++)
		if (expected[i].used && (expected[i].missing || expected[i].too_far) &&
		    expected[i].oldest < oldest)
			oldest = expected[i].oldest;
	return records.n - oldest;
}

static void check_status(void)
{
	CHECK(!memcmp(log_before + RVM_AREA_START, LOG->bytes + RVM_AREA_START,
		      LOG->size - RVM_AREA_START));
	CHECK(!rvm_status_choose(&after, LOG->bytes));
	CHECK(after.generation == status.generation + 1);
	CHECK(after.incarnation == status.incarnation + 1);
	CHECK(after.log_id == status.log_id && after.area_length == status.area_length);
	CHECK(after.start_sequence == records.sequence);
	CHECK(after.start >= records.tail && after.start - records.tail < RVM_BLOCK_MIN);
}

static void check_left(void)
{
	u32 stay = kept(), i;

	memcpy(image.bytes, LOG->bytes, LOG->size);
	reader_read(&left, &image, &after);
	CHECK(!left.damaged && left.n == stay);
	for (i = 0; i < stay; i++)
		CHECK(left.record[i].position == records.record[records.n - stay + i].position);
	CHECK(stay || (after.head == after.start && !after.segments));
}

int LLVMFuzzerTestOneInput(const u8 *input, size_t size)
{
	uint64_t recovered;
	rvm_return_t code;
	int error;

	if (!image.bytes) {
		image.bytes = malloc(IMAGE_MAX);
		LOG->bytes = malloc(IMAGE_MAX);
		log_before = malloc(IMAGE_MAX);
	}
	image_build(&image, input, size);
	memcpy(LOG->bytes, image.bytes, image.size);
	memcpy(log_before, image.bytes, image.size);
	LOG->size = image.size;
	direct_works = size % 2;
	files_reset();

	error = LOG->size < RVM_AREA_START ? -EINVAL : rvm_status_choose(&status, image.bytes);
	if (!error && status.area_length > image.size - RVM_AREA_START)
		error = -EUCLEAN;
	if (!error && (status.generation > COUNTERS_MOST || status.incarnation > COUNTERS_MOST ||
		       status.start > COUNTERS_MOST || status.start_sequence > COUNTERS_MOST))
		return 0;
	if (!error) {
		image.area_length = status.area_length;
		reader_read(&records, &image, &status);
		error = records.damaged ? -EUCLEAN : 0;
	}
	if (error) {
		code = open_log(&recovered);
		CHECK(code == (error == -EPROTONOSUPPORT ? RVM_ELOG_VERSION_SKEW : RVM_ELOG));
		check_unchanged();
		return 0;
	}

	expect();
	code = open_log(&recovered);
	if (code) {
		CHECK(code == RVM_EIO && errno == EFBIG);
		CHECK(expected[1].too_far || expected[2].too_far);
		CHECK(!memcmp(log_before, LOG->bytes, LOG->size));
		check_segments(false);
		return 0;
	}
	CHECK(!expected[1].too_far && !expected[2].too_far);
	CHECK(recovered == records.n);
	check_segments(true);
	check_status();
	if (holds_coming())
		return 0;
	check_left();

	memcpy(log_before, LOG->bytes, LOG->size);
	CHECK(!open_log(&recovered));
	CHECK(recovered == left.n);
	check_segments(true);
	return 0;
}
