// SPDX-License-Identifier: GPL-2.0 OR MIT
/*
 * Description: a log is written, cut off at random and opened again, thousands
 * of times.  Each opening must find exactly a prefix of what was written since
 * the one before, with all that was acknowledged in it, and what an opening did
 * not find must never be found again.
 */

#include "log.h"
#include "kselftest_harness.h"

#define SECTOR 512
#define PENDING_MAX 256
#define ENTRIES_MAX 4096
#define WRITE_MAX (64 << 10)

struct write {
	u64 offset[2];
	u32 length[2];		/* the second for what goes on at the area's start */
	u8 *data;
	int entries;		/* the history's length after it */
};

/* One record, of which the history is a list. */
struct entry {
	u64 position, length, sequence, incarnation, sum;
};

/* The log, its disk, and what ought to be found there. */
struct world {
	struct log *log;	/* log->image: what a reader sees while the machine runs */
	u64 size;
	u8 *durable;
	struct write pending[PENDING_MAX];
	int writes;
	struct entry entry[ENTRIES_MAX];
	int entries, acknowledged;
	u64 durable_incarnation;
	u32 block;
	bool pack;		/* records go on in the block that the last one ended in */
	u8 *buffer, *slot;
	struct rvm_status *chosen;
	/* that the test tests something */
	u64 lost, torn_openings, turns, live;
};

static u64 sum_of(u32 segment, u64 offset, const u8 *data, u32 length)
{
	u64 sum = 0, i;

	for (i = 0; i < length; i++)
		sum += (offset + i + 1) * 0x9e3779b97f4a7c15ull * (data[i] + 1 + 256 * segment);
	return sum;
}

static int add_sum(void *context, u32 segment, u64 offset, const void *data, u32 length)
{
	*(u64 *)context += sum_of(segment, offset, data, length);
	return 0;
}

/* --- the disk: writes that wait for a flush, each sector of which can get lost --- */

static void apply(u8 *image, const struct write *w, u32 percent)
{
	u32 part, at, done = 0;

	for (part = 0; part < 2; done += w->length[part++])
		for (at = 0; at < w->length[part]; at += SECTOR)
			if (random_below(100) < percent)
				memcpy(image + w->offset[part] + at, w->data + done + at, SECTOR);
}

static void disk_write(struct world *w, u64 offset, u64 offset_first, const u8 *data, u32 length,
		       u32 first)
{
	struct write *write = &w->pending[w->writes++];

	write->offset[0] = offset;
	write->length[0] = first;
	write->offset[1] = offset_first;
	write->length[1] = length - first;
	write->data = malloc(length);
	memcpy(write->data, data, length);
	write->entries = w->entries;
	apply(w->log->image, write, 100);
}

/* The first n writes become durable, and what they wrote is acknowledged. */
static void disk_flush(struct world *w, int n)
{
	int i;

	for (i = 0; i < n; i++) {
		apply(w->durable, &w->pending[i], 100);
		w->acknowledged = w->pending[i].entries;
		free(w->pending[i].data);
	}
	w->writes -= n;
	memmove(w->pending, w->pending + n, w->writes * sizeof(w->pending[0]));
}

static void power_cut(struct world *w)
{
	static const u32 percents[] = { 0, 30, 60, 90, 97, 100 };
	u32 percent = percents[random_below(ARRAY_SIZE(percents))];
	int i;

	for (i = 0; i < w->writes; i++) {
		apply(w->durable, &w->pending[i], percent);
		free(w->pending[i].data);
	}
	w->writes = 0;
	memcpy(w->log->image, w->durable, w->size);
}

/* --- the writer, after the rules of docs/format.md --- */

static void area_write(struct world *w, u64 position, const u8 *data, u32 length)
{
	u64 left = w->log->s.area_length - position % w->log->s.area_length;

	disk_write(w, rvm_area_offset(&w->log->s, position), RVM_AREA_START, data, length,
		   left < length ? left : length);
}

static void write_status(struct world *w)
{
	u32 used = rvm_status_encode(&w->log->s, w->slot), length = (used + SECTOR - 1) & -SECTOR;

	disk_write(w, rvm_status_offset(&w->log->s), 0, w->slot, length, length);
}

static u32 random_length(void)
{
	static const u32 lengths[] = { 8, 424, 424, 936, 40, 1448 };

	return one_in(2) ? lengths[random_below(ARRAY_SIZE(lengths))] : 1 + random_below(600);
}

/* A record's bytes; payloads are often bits of the log itself. */
static void make_record(struct world *w, struct build *b, struct entry *e, u64 sequence, u32 commits)
{
	struct log *log = w->log;
	u8 data[2048];
	u64 offset;
	u32 n, length, segment;

	build_begin(b, 8192);
	e->sum = 0;
	for (n = random_below(4); n; n--) {
		length = random_length();
		if (one_in(2))
			random_fill(data, length);
		else
			log_get(log, random_below(log->s.area_length / 8) * 8, data, length);
		segment = 1 + random_below(2);
		offset = random_below(1 << 20);
		build_range(b, segment, offset, data, length);
		e->sum += sum_of(segment, offset, data, length);
	}
	build_seal(b, log, sequence, commits);
	build_sum(b);
	e->length = b->length;
	e->sequence = sequence;
	e->incarnation = log->s.incarnation;
}

/* One write of one to three records; false if there is no room for it. */
static bool append(struct world *w)
{
	struct log *log = w->log;
	u64 from = log->position & ~(u64)(w->block - 1), at = log->position, sequence = log->sequence;
	u64 limit = (log->s.head & ~(u64)(w->block - 1)) + log->s.area_length;
	static u8 data[WRITE_MAX];
	int n = w->entries, records = 1 + random_below(3);
	struct build b;
	u32 commits, gap;

	if (n + records > ENTRIES_MAX || w->writes == PENDING_MAX)
		return false;
	log_get(log, from, data, at - from);
	while (records--) {
		commits = 1 + random_below(3);
		make_record(w, &b, &w->entry[n], sequence, commits);
		if (((at + b.length + w->block - 1) & ~(u64)(w->block - 1)) > limit) {
			free(b.data);
			break;
		}
		memcpy(data + (at - from), b.data, b.length);
		w->entry[n++].position = at;
		at += b.length;
		sequence += commits;
		free(b.data);
	}
	if (n == w->entries)
		return false;
	gap = rvm_block_gap(at, w->block);
	memset(data + (at - from), 0, gap);
	w->entries = n;
	area_write(w, from, data, at + gap - from);
	w->turns += at / log->s.area_length - log->position / log->s.area_length;
	log->position = w->pack ? at : at + gap;
	log->sequence = sequence;
	return true;
}

static int entry_of(struct world *w, u64 sequence)
{
	int i;

	for (i = w->entries; i && w->entry[i - 1].sequence >= sequence; i--)
		;
	return i;
}

/* head goes to the record after some that are durable: true unless cut off half way. */
static bool truncate_log(struct world *w)
{
	struct rvm_status *s = &w->log->s;
	int first = entry_of(w, s->head_sequence), to;

	disk_flush(w, w->writes);
	to = first + random_below(w->acknowledged - first + 1);
	if (to == first)
		return true;
	if (to < w->entries) {
		s->head = w->entry[to].position;
		s->head_sequence = w->entry[to].sequence;
	} else {
		s->head = one_in(2) ? w->log->position :
			  w->entry[to - 1].position + w->entry[to - 1].length;
		s->head_sequence = w->log->sequence;
	}
	if (s->start < s->head) {
		s->start = s->head;
		s->start_sequence = s->head_sequence;
	}
	write_status(w);
	if (one_in(10))
		return false;
	disk_flush(w, w->writes);
	return true;
}

/* --- an opening, and all that must hold --- */

static void open_log(struct __test_metadata *_metadata, struct world *w, bool whole)
{
	struct log *log = w->log;
	struct rvm_status *s = &log->s;
	struct rvm_scan scan;
	const struct entry *e;
	int i, end;
	u64 sum;

	ASSERT_EQ(rvm_status_choose(w->chosen, log->image), 0);
	*s = *w->chosen;
	ASSERT_GE(s->incarnation, w->durable_incarnation);
	rvm_scan_init(&scan, s, log_read, log, w->buffer, 8192);
	for (i = entry_of(w, s->head_sequence); (end = rvm_scan_next(&scan)) == 1; i++) {
		ASSERT_LT(i, w->entries);
		e = &w->entry[i];
		ASSERT_EQ(scan.record.sequence, e->sequence);
		ASSERT_EQ(scan.record.position, e->position);
		ASSERT_EQ(scan.record.length, e->length);
		ASSERT_EQ(scan.record.incarnation, e->incarnation);
		sum = 0;
		ASSERT_EQ(rvm_scan_ranges(&scan, &scan.record, add_sum, &sum), 0);
		ASSERT_EQ(sum, e->sum);
		w->live++;
	}
	ASSERT_EQ(end, 0);
	ASSERT_GE(i, w->acknowledged);
	if (whole)
		ASSERT_EQ(i, w->entries);
	w->lost += w->entries - i;
	w->entries = i;
	disk_flush(w, w->writes);
	w->acknowledged = i;
	w->durable_incarnation = s->incarnation;

	w->block = 512u << random_below(4);
	w->pack = one_in(3);
	log->position = scan.position + rvm_block_gap(scan.position, w->block);
	log->sequence = scan.sequence;
	s->incarnation++;
	s->start = log->position;
	s->start_sequence = log->sequence;
	if (one_in(5) || s->start - s->head > s->area_length) {
		s->head = s->start;
		s->head_sequence = s->start_sequence;
	}
	write_status(w);
}

static void new_world(struct world *w)
{
	u64 area = 4096ull << random_below(4);

	memset(w, 0, sizeof(*w));
	w->log = log_new(area);
	w->log->s.incarnation = 0;
	w->size = RVM_AREA_START + area;
	w->durable = calloc(1, w->size);
	w->buffer = aligned_alloc(4096, 8192);
	w->slot = malloc(RVM_STATUS_SIZE);
	w->chosen = malloc(sizeof(*w->chosen));
	if (one_in(2))
		random_fill(w->log->image + RVM_AREA_START, area);
	memcpy(w->durable, w->log->image, w->size);
	if (one_in(2)) {
		w->log->s.head = w->log->s.start = random_below(1 << 20) * 512;
		w->log->s.head_sequence = w->log->s.start_sequence = 1 + random_below(1000);
	}
	write_status(w);
	disk_flush(w, 1);
}

static void end_world(struct world *w)
{
	disk_flush(w, w->writes);
	log_free(w->log);
	free(w->durable);
	free(w->buffer);
	free(w->slot);
	free(w->chosen);
}

TEST(crashes)
{
	struct world *w = malloc(sizeof(*w));
	u64 lost = 0, torn_openings = 0, turns = 0, live = 0;
	int world, opening, steps;
	bool whole, alive;

	for (world = 0; world < 400; world++) {
		new_world(w);
		whole = true;
		for (opening = 0; opening < 40; opening++) {
			open_log(_metadata, w, whole);
			alive = !one_in(5);
			if (alive)
				disk_flush(w, w->writes);
			else
				w->torn_openings++;
			for (steps = random_below(50); alive && steps; steps--) {
				if (!append(w) || one_in(10))
					alive = truncate_log(w);
				else if (one_in(3))
					disk_flush(w, random_below(w->writes + 1));
			}
			/* A process that dies leaves what it wrote; a machine does not. */
			whole = one_in(4);
			if (!whole)
				power_cut(w);
		}
		lost += w->lost;
		torn_openings += w->torn_openings;
		turns += w->turns;
		live += w->live;
		end_world(w);
	}
	TH_LOG("%llu records found, %llu lost, %llu turns, %llu openings cut off",
	       (unsigned long long)live, (unsigned long long)lost, (unsigned long long)turns,
	       (unsigned long long)torn_openings);
	EXPECT_GT(live, 10000);
	EXPECT_GT(lost, 1000);
	EXPECT_GT(torn_openings, 100);
	EXPECT_GT(turns, 1000);
	free(w);
}

TEST_HARNESS_MAIN
