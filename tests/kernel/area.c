// SPDX-License-Identifier: GPL-2.0 OR MIT
/*
 * Description: areas that are scribbled, and mappings that are treated as they
 * should not be: the kernel believes nothing, and nothing happens to others.
 */
#include "kernel.h"

WORLD_FIXTURE(64 * KIB)

#define HEADER	sizeof(struct rvm_area_entry)

static void raw_entry(struct rvm_area_header *area, uint32_t at, uint64_t address, uint32_t length,
		      uint32_t state)
{
	*entry_at(area, at) = (struct rvm_area_entry){
		.address = address, .length = length, .state = state,
	};
}

/* The area is refused; abort undoes what can be understood, and it is as good as new. */
static void refused(struct __test_metadata *_metadata, struct world *w, int error)
{
	FAILS(error, commit(w->log, w->area, RVM_COMMIT_FLUSH));
	FAILS(error, commit(w->log, w->area, 0));
	WORKS(do_abort(w->log, w->area));
	ASSERT_EQ(0, w->area->used);
	set(w->area, w->memory, 1, 100);
	WORKS(commit(w->log, w->area, 0));
	ASSERT_EQ(0, w->area->used);
	set(w->area, w->memory, 0, 100);
	WORKS(commit(w->log, w->area, 0));
}

TEST_F(rvm, used)
{
	struct world *w = &self->w;
	uint32_t room = w->area->room, i;
	const uint32_t beyond[] = {
		room + 1, room + 8, room + 4096, 1u << 31, (1u << 31) - 1, UINT32_MAX - 7, UINT32_MAX,
	};
	const uint32_t odd[] = { 1, 7, 8, 15, HEADER - 1, room, room - 1 };

	for (i = 0; i < ARRAY_LENGTH(beyond); i++) {
		memset(w->area->entries, 0, room);
		w->area->used = beyond[i];
		FAILS(EINVAL, area_ioctl(w->log, RVM_IOC_SPILL, w->area->area));
		refused(_metadata, w, EINVAL);
	}
	for (i = 0; i < ARRAY_LENGTH(odd); i++) {
		memset(w->area->entries, 0, room);
		w->area->used = odd[i];
		refused(_metadata, w, EINVAL);
	}
	/* the rest of the header is ours alone */
	w->area->room = UINT32_MAX;
	w->area->area = 77777;
	w->area->open = w->area->hot = w->area->reserved = 5;
	w->area->used = room + 8;
	FAILS(ENOENT, commit_id(w->log, 77777, 0));
	w->area->used = 0;
}

/* `used` that goes back, while the kernel has seen the entries already. */
TEST_F(rvm, shrinking_used)
{
	struct world *w = &self->w;
	struct rvm_area_header *other = map(w->log, PAGE);

	ASSERT_NE(MAP_FAILED, other);
	set(w->area, w->memory, 5, 100);
	set(w->area, w->memory + 200, 5, 100);
	/* another's commit makes the kernel look */
	set(other, w->memory + 1000, 6, 10);
	WORKS(commit(w->log, other, 0));
	w->area->used = entry_size(100, true);
	/* it may insist on what it saw, or take what it finds */
	if (commit(w->log, w->area, 0)) {
		ASSERT_EQ(EINVAL, errno);
		WORKS(do_abort(w->log, w->area));
	}
	ASSERT_EQ(0, w->area->used);
	ASSERT_TRUE(all_are(w->memory + 1000, 6, 10));

	set(w->area, w->memory, 7, 100);
	set(other, w->memory + 1000, 7, 10);
	WORKS(commit(w->log, other, 0));
	w->area->used = 0;
	memset(w->area->entries, 0xff, w->area->room);
	commit(w->log, w->area, 0);
	WORKS(do_abort(w->log, w->area));
	set(w->area, w->memory, 8, 100);
	WORKS(commit(w->log, w->area, 0));
	munmap(other, PAGE);
}

TEST_F(rvm, lengths_and_states)
{
	struct world *w = &self->w;
	uint32_t room = w->area->room, i;
	const uint32_t long_ones[] = {
		9, 100, room, room - HEADER, 1u << 31, UINT32_MAX - 7, UINT32_MAX - 8, UINT32_MAX,
	};
	const uint32_t states[] = { 4, 5, 255, 256, 1u << 31, UINT32_MAX };
	uint64_t at = (uintptr_t)w->memory;

	raw_entry(w->area, 0, at, 0, RVM_ENTRY_SAVED);
	w->area->used = HEADER;
	refused(_metadata, w, EINVAL);
	raw_entry(w->area, 0, at, 0, RVM_ENTRY_NO_RESTORE);
	w->area->used = HEADER;
	refused(_metadata, w, EINVAL);

	for (i = 0; i < ARRAY_LENGTH(long_ones); i++) {
		raw_entry(w->area, 0, at, long_ones[i], RVM_ENTRY_SAVED);
		w->area->used = HEADER + 8;
		refused(_metadata, w, EINVAL);
	}
	for (i = 0; i < ARRAY_LENGTH(states); i++) {
		raw_entry(w->area, 0, at, 8, states[i]);
		w->area->used = HEADER + 8;
		refused(_metadata, w, EINVAL);
	}
	/* one good entry before: it is undone, and the rest is not */
	declare(w->area, w->memory, 16);
	memset(w->memory, 9, 16);
	raw_entry(w->area, w->area->used, at, 8, 99);
	w->area->used += HEADER + 8;
	refused(_metadata, w, EINVAL);
	ASSERT_TRUE(all_are(w->memory, 0, 100));
}

TEST_F(rvm, addresses)
{
	struct world *w = &self->w;
	uint64_t at = (uintptr_t)w->memory, end = at + LENGTH;
	char *anonymous = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
			       -1, 0);
	const struct { uint64_t address; uint32_t length; } wild[] = {
		{ 0, 8 }, { 1, 8 }, { 0xffff888000000000, 8 }, { 0xffffffff81000000, 8 },
		{ UINT64_MAX, 1 }, { UINT64_MAX - 7, 8 }, { UINT64_MAX - 3, 8 }, { 1ull << 63, 8 },
		{ at - 1, 2 }, { at - 1, 1 }, { end - 1, 2 }, { end, 1 },
		{ at, LENGTH + 1 }, { at, UINT32_MAX }, { at - PAGE, UINT32_MAX },
		{ (uintptr_t)w->area, 16 }, { (uintptr_t)anonymous, 16 }, { (uintptr_t)&wild, 16 },
		{ at + (1ull << 32), 8 }, { at | 1ull << 63, 8 },
	};
	unsigned int i, save;

	memset(anonymous, 3, PAGE);
	for (i = 0; i < ARRAY_LENGTH(wild); i++) {
		for (save = 0; save < 2; save++) {
			uint32_t length = wild[i].length;

			if (save && length > 16)
				continue;
			raw_entry(w->area, 0, wild[i].address, length,
				  save ? RVM_ENTRY_SAVED : RVM_ENTRY_NO_RESTORE);
			memset(entry_at(w->area, 0)->saved, 0xee, 16);
			w->area->used = entry_size(length, save);
			refused(_metadata, w, EFAULT);
		}
	}
	ASSERT_TRUE(all_are(w->memory, 0, LENGTH));
	ASSERT_TRUE(all_are(anonymous, 3, PAGE));
	munmap(anonymous, PAGE);
}

/* An address range over two regions that happen to be neighbours is in neither. */
TEST_F(rvm, two_regions)
{
	struct world *w = &self->w;
	char *at = mmap(NULL, 2 * LENGTH, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	ASSERT_EQ(at, map_at(at, w->segment, LENGTH, 0));
	ASSERT_EQ(at + LENGTH, map_at(at + LENGTH, w->segment, LENGTH, 0));
	set(w->area, at + LENGTH - 8, 1, 16);
	refused(_metadata, w, EFAULT);
	WORKS(munmap(at, LENGTH));
	WORKS(munmap(at + LENGTH, LENGTH));
}

/* Entries over a whole region without saved bytes, and many small ones. */
TEST_F(rvm, many)
{
	struct world *w = &self->w;
	unsigned int i;

	declare_no_restore(w->area, w->memory, LENGTH);
	memset(w->memory, 1, LENGTH / 2);
	WORKS(commit(w->log, w->area, RVM_COMMIT_FLUSH));
	for (i = 0; w->area->room - w->area->used >= HEADER + 8 && i < 2000; i++)
		set(w->area, w->memory + i * 8 % LENGTH, 2, 1);
	WORKS(commit(w->log, w->area, RVM_COMMIT_FLUSH));
	for (i = 0; i < 3; i++)
		set(w->area, w->memory, i, 64);
	WORKS(do_abort(w->log, w->area));
	ASSERT_EQ(2, w->memory[0]);
	ASSERT_TRUE(all_are(w->memory + 1, 1, 7));
}

/* Entries that are moved to the kernel are undone and committed like the others. */
TEST_F(rvm, spill)
{
	struct world *w = &self->w;
	unsigned int i, turn;

	for (turn = 0; turn < 2; turn++) {
		for (i = 0; i < 16; i++) {
			set(w->area, w->memory + i * 1000, turn + 5, 500);
			set(w->area, w->memory + i * 1000 + 250, turn + 6, 500);
			WORKS(area_ioctl(w->log, RVM_IOC_SPILL, w->area->area));
			ASSERT_EQ(0, w->area->used);
		}
		if (!turn) {
			WORKS(do_abort(w->log, w->area));
			ASSERT_TRUE(all_are(w->memory, 0, LENGTH));
		}
	}
	WORKS(commit(w->log, w->area, RVM_COMMIT_FLUSH));
	ASSERT_TRUE(all_are(w->memory + 250, 7, 500));
	WORKS(area_ioctl(w->log, RVM_IOC_SPILL, w->area->area));

	/* without end: no more than the log takes */
	for (i = 0; i < 1000; i++) {
		declare(w->area, w->memory, 32 * KIB);
		if (area_ioctl(w->log, RVM_IOC_SPILL, w->area->area))
			break;
	}
	ASSERT_EQ(EFBIG, errno);
	ASSERT_GT(100, i);
	WORKS(do_abort(w->log, w->area));
}

struct scribbler {
	struct world *w;
	struct rvm_area_header *area;
	unsigned long seed;
	volatile bool *stop;
};

/* Garbage, some of which looks as if it were meant. */
static void *scribble(void *argument)
{
	struct scribbler *s = argument;
	unsigned long r = s->seed;

	while (!*s->stop) {
		uint32_t at, n;

		for (n = 0; n < 64; n++) {
			r = r * 6364136223846793005ul + 1442695040888963407ul;
			at = (r >> 33) % (s->area->room - 64) & ~7u;
			switch (r & 7) {
			case 0:
				((volatile uint64_t *)(s->area->entries + at))[0] = r;
				break;
			case 1:
				raw_entry(s->area, at, r, r >> 40, r >> 61);
				break;
			default:
				raw_entry(s->area, at, (uintptr_t)s->w->memory + (r >> 20) % LENGTH,
					  (r >> 8) % 200, (r >> 4) % 4);
			}
		}
		s->area->used = r >> 60 == 1 ? r >> 32 : (r >> 33) % s->area->room & ~7u;
		/* now and then a run that makes sense */
		if (r >> 62 == 2) {
			for (at = 0; at < 1024; at += HEADER + 64)
				raw_entry(s->area, at, (uintptr_t)s->w->memory + (r >> 20) % (LENGTH - 64),
					  64, RVM_ENTRY_SAVED);
			s->area->used = at;
		}
	}
	return NULL;
}

static void *end_transactions(void *argument)
{
	struct scribbler *s = argument;
	uint32_t id = s->area->area;
	unsigned long n = 0;

	while (!*s->stop) {
		switch (n++ % 4) {
		case 0:
			commit_id(s->w->log, id, n % 3 ? 0 : RVM_COMMIT_FLUSH);
			break;
		case 1:
			area_ioctl(s->w->log, RVM_IOC_ABORT, id);
			break;
		case 2:
			area_ioctl(s->w->log, RVM_IOC_SPILL, id);
			break;
		default:
			s->w->memory[n % LENGTH] = n;
		}
	}
	return NULL;
}

/* Several scribble and end; in another segment an honest one sees nothing of it. */
TEST_F(rvm, garbage)
{
	struct world *w = &self->w;
	struct rvm_area_header *mine = map(w->log, PAGE);
	struct scribbler s[2];
	pthread_t threads[2 * ARRAY_LENGTH(s)];
	volatile bool stop = false;
	char path[200], *memory;
	time_t start = time(NULL);
	unsigned int i, n;
	int fd;

	snprintf(path, sizeof(path), "%s/mine", w->f.dir);
	WORKS(make_file(path, 8192, 0));
	WORKS(fd = segment(w->log, path));
	memory = map(fd, 8192);
	ASSERT_NE(MAP_FAILED, memory);
	ASSERT_NE(MAP_FAILED, mine);
	for (i = 0; i < ARRAY_LENGTH(s); i++) {
		s[i] = (struct scribbler){ w, map(w->log, 4 * PAGE), i + 1, &stop };
		ASSERT_NE(MAP_FAILED, s[i].area);
		s[i].area->area |= 0;
		ASSERT_EQ(0, pthread_create(&threads[2 * i + 1], NULL, end_transactions, &s[i]));
		ASSERT_EQ(0, pthread_create(&threads[2 * i], NULL, scribble, &s[i]));
	}
	for (n = 0; time(NULL) < start + 8; n++) {
		set(mine, memory + n % 4096, n, 300);
		set(mine, memory + 4096, n, 300);
		if (n % 2) {
			WORKS(commit(w->log, mine, n % 16 == 1 ? RVM_COMMIT_FLUSH : 0));
			ASSERT_TRUE(all_are(memory + n % 4096, n, 300));
			ASSERT_TRUE(all_are(memory + 4096, n, 300));
		} else {
			WORKS(do_abort(w->log, mine));
			ASSERT_TRUE(all_are(memory + 4096, n ? n - 1 : 0, 300));
		}
	}
	stop = true;
	for (i = 0; i < ARRAY_LENGTH(threads); i++)
		pthread_join(threads[i], NULL);
	for (i = 0; i < ARRAY_LENGTH(s); i++)
		munmap(s[i].area, 4 * PAGE);
	WORKS(truncate_log(w->log));
	munmap(mine, PAGE);
	munmap(memory, 8192);
	close(fd);
}

/* What many entries cost the others is bounded. */
TEST_F(rvm, most_entries)
{
	struct world *w = &self->w;
	struct rvm_area_header *a = map(w->log, RVM_AREA_MAX), *b = map(w->log, RVM_AREA_MAX);
	struct timespec start, end;
	unsigned int i;
	char path[200];
	int log, fd;
	char *memory;

	munmap(a, RVM_AREA_MAX);
	munmap(b, RVM_AREA_MAX);
	snprintf(path, sizeof(path), "%s/log2", w->f.dir);
	ASSERT_EQ(0, (int)rvm_log_file_create(path, 4 * MIB, 0600));
	WORKS(log = attach(path));
	WORKS(recover(log, NULL, NULL));
	snprintf(path, sizeof(path), "%s/segment2", w->f.dir);
	WORKS(make_file(path, PAGE, 0));
	WORKS(fd = segment(log, path));
	memory = map(fd, PAGE);
	a = map(log, RVM_AREA_MAX);
	b = map(log, RVM_AREA_MAX);
	ASSERT_NE(MAP_FAILED, memory);
	ASSERT_NE(MAP_FAILED, a);
	ASSERT_NE(MAP_FAILED, b);
	for (i = 0; a->used + HEADER <= a->room; i++)
		declare_no_restore(a, memory + i % PAGE, 1);
	for (i = 0; b->used + HEADER + 8 <= b->room; i++)
		declare(b, memory + (i + PAGE / 2) % PAGE, 1);
	memset(memory, 1, PAGE);
	clock_gettime(CLOCK_MONOTONIC, &start);
	WORKS(commit(log, a, 0));
	clock_gettime(CLOCK_MONOTONIC, &end);
	EXPECT_GT(20, end.tv_sec - start.tv_sec);
	WORKS(do_abort(log, b));
	ASSERT_TRUE(all_are(memory, 1, PAGE));
	munmap(a, RVM_AREA_MAX);
	munmap(b, RVM_AREA_MAX);
	munmap(memory, PAGE);
	close(fd);
	close(log);
}

struct committer {
	struct world *w;
	volatile bool stop;
	volatile uint32_t id;
	unsigned long ended, missing;
};

static void *commit_whatever(void *argument)
{
	struct committer *c = argument;
	unsigned long n = 0;

	while (!c->stop) {
		if (!commit_id(c->w->log, c->id, n++ % 8 ? 0 : RVM_COMMIT_FLUSH))
			c->ended++;
		else if (errno == ENOENT)
			c->missing++;
	}
	return NULL;
}

/* Areas and regions come and go while a commit looks at them. */
TEST_F(rvm, unmap_while_committing)
{
	struct world *w = &self->w;
	struct committer c = { .w = w };
	time_t start = time(NULL);
	pthread_t threads[2];
	unsigned int i;

	for (i = 0; i < 2; i++)
		ASSERT_EQ(0, pthread_create(&threads[i], NULL, commit_whatever, &c));
	for (i = 0; time(NULL) < start + 4; i++) {
		struct rvm_area_header *area = map(w->log, 4 * PAGE);
		char *memory = map(w->segment, LENGTH);

		ASSERT_NE(MAP_FAILED, area);
		ASSERT_NE(MAP_FAILED, memory);
		c.id = area->area;
		set(area, memory + i % 1000, i, 2000);
		if (i % 2)
			sched_yield();
		if (i % 3)
			munmap(memory, LENGTH);
		munmap(area, 4 * PAGE);
		if (i % 3 == 0)
			munmap(memory, LENGTH);
	}
	c.stop = true;
	for (i = 0; i < 2; i++)
		pthread_join(threads[i], NULL);
	ASSERT_NE(0, c.missing);
}

/* An area is its address space's. */
TEST_F(rvm, foreign_areas)
{
	struct world *w = &self->w;
	uint32_t id = w->area->area;
	const uint32_t unknown[] = { 0, id + 1, 1000, INT32_MAX, 1u << 31, UINT32_MAX };
	struct rvm_area_header *other;
	unsigned int i;
	char path[200];
	int log;

	set(w->area, w->memory, 1, 100);
	CHILD({
		FAILS(ENOENT, commit_id(w->log, id, 0));
		FAILS(ENOENT, area_ioctl(w->log, RVM_IOC_ABORT, id));
		FAILS(ENOENT, area_ioctl(w->log, RVM_IOC_SPILL, id));
	});
	for (i = 0; i < ARRAY_LENGTH(unknown); i++) {
		FAILS(ENOENT, commit_id(w->log, unknown[i], 0));
		FAILS(ENOENT, area_ioctl(w->log, RVM_IOC_ABORT, unknown[i]));
		FAILS(ENOENT, area_ioctl(w->log, RVM_IOC_SPILL, unknown[i]));
	}
	/* of another log */
	snprintf(path, sizeof(path), "%s/log2", w->f.dir);
	ASSERT_EQ(0, (int)rvm_log_file_create(path, 4096, 0600));
	WORKS(log = attach(path));
	WORKS(recover(log, NULL, NULL));
	FAILS(ENOENT, commit_id(log, id, 0));
	other = map(log, PAGE);
	ASSERT_NE(MAP_FAILED, other);
	/* a region of another log */
	set(other, w->memory + 500, 1, 10);
	FAILS(EFAULT, commit(log, other, 0));
	WORKS(do_abort(log, other));
	munmap(other, PAGE);
	close(log);

	ASSERT_TRUE(all_are(w->memory, 1, 100));
	WORKS(commit(w->log, w->area, 0));
	munmap(w->area, AREA);
	FAILS(ENOENT, commit_id(w->log, id, 0));
	w->area = map(w->log, AREA);
}

static void set_max_areas(struct __test_metadata *_metadata, const char *value)
{
	int fd = open("/sys/module/rvm/parameters/max_areas", O_WRONLY | O_CLOEXEC);

	ASSERT_EQ((ssize_t)strlen(value), write(fd, value, strlen(value)));
	close(fd);
}

TEST_F(rvm, max_areas)
{
	struct rvm_area_header *areas[3];
	struct world *w = &self->w;
	unsigned int i;

	set_max_areas(_metadata, "4");
	for (i = 0; i < 3; i++) {
		areas[i] = map(w->log, PAGE);
		EXPECT_NE(MAP_FAILED, areas[i]);
	}
	for (i = 0; i < 100; i++) {
		errno = 0;
		EXPECT_EQ(MAP_FAILED, map(w->log, PAGE));
		EXPECT_EQ(ENOMEM, errno);
	}
	/* counted by process */
	CHILD(EXPECT_NE(MAP_FAILED, map(w->log, PAGE)));
	munmap(areas[0], PAGE);
	areas[0] = map(w->log, PAGE);
	EXPECT_NE(MAP_FAILED, areas[0]);
	set_max_areas(_metadata, "1024");
	for (i = 0; i < 3; i++)
		munmap(areas[i], PAGE);
}

static char *pages(struct world *w, bool area)
{
	return area ? (char *)w->area : w->memory;
}

/* They can't be split, moved, grown or emptied. */
TEST_F(rvm, mappings)
{
	struct world *w = &self->w;
	unsigned int area, i;
	const int advice[] = {
		MADV_NORMAL, MADV_RANDOM, MADV_SEQUENTIAL, MADV_WILLNEED, MADV_DONTFORK, MADV_DODUMP,
		MADV_DONTDUMP, MADV_REMOVE, MADV_FREE, MADV_HUGEPAGE, MADV_NOHUGEPAGE, MADV_MERGEABLE,
		MADV_UNMERGEABLE, MADV_WIPEONFORK, MADV_KEEPONFORK, MADV_COLD, MADV_PAGEOUT,
		MADV_POPULATE_READ, MADV_POPULATE_WRITE,
	};

	for (area = 0; area < 2; area++) {
		char *at = pages(w, area);
		void *elsewhere = mmap(NULL, 4 * LENGTH, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

		FAILS(EINVAL, munmap(at, PAGE));
		FAILS(EINVAL, munmap(at + PAGE, PAGE));
		FAILS(EINVAL, munmap(at + LENGTH - PAGE, PAGE));
		FAILS(EINVAL, mprotect(at + PAGE, PAGE, PROT_NONE));
		ASSERT_EQ(MAP_FAILED, mmap(at + PAGE, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS |
					   MAP_FIXED, -1, 0));
		ASSERT_EQ(MAP_FAILED, mremap(at, LENGTH, PAGE, 0));
		ASSERT_EQ(MAP_FAILED, mremap(at, LENGTH, 2 * LENGTH, MREMAP_MAYMOVE));
		ASSERT_EQ(MAP_FAILED, mremap(at, LENGTH, LENGTH, MREMAP_MAYMOVE | MREMAP_FIXED,
					     elsewhere));
		/* that one may have emptied the target */
		ASSERT_EQ(MAP_FAILED, mremap(at, PAGE, PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, elsewhere));
		ASSERT_EQ(MAP_FAILED, mremap(at, 0, LENGTH, MREMAP_MAYMOVE));
		ASSERT_EQ(MAP_FAILED, mremap(at, LENGTH, LENGTH, MREMAP_MAYMOVE | MREMAP_DONTUNMAP));
		munmap(elsewhere, 4 * LENGTH);

		memset(w->memory, 0, 100);
		set(w->area, w->memory, 4, 100);
		for (i = 0; i < ARRAY_LENGTH(advice); i++) {
			madvise(at, LENGTH, advice[i]);
			madvise(at + PAGE, PAGE, advice[i]);
		}
		mlock(at, LENGTH);
		munlock(at, LENGTH);
		WORKS(mprotect(at, LENGTH, PROT_READ));
		WORKS(mprotect(at, LENGTH, PROT_READ | PROT_WRITE));
		WORKS(do_abort(w->log, w->area));
		ASSERT_TRUE(all_are(w->memory, 0, 100));
		set(w->area, w->memory, 5, 100);
		madvise(w->memory, LENGTH, MADV_DONTNEED);
		madvise(w->memory, LENGTH, MADV_DONTNEED_LOCKED);
		ASSERT_TRUE(all_are(w->memory, 5, 100));
		WORKS(commit(w->log, w->area, RVM_COMMIT_FLUSH));
		WORKS(truncate_log(w->log));
		ASSERT_TRUE(file_is(w->f.segment, 0, 5, 100));
		ASSERT_TRUE(file_is(w->f.segment, 100, 0, LENGTH - 100));
	}
}

/* Whoever throws away the pages of an area has no area to write any more, that's all. */
TEST_F(rvm, area_dontneed)
{
	struct world *w = &self->w;
	uint32_t id = w->area->area;
	int status;
	pid_t pid;

	pid = fork();
	if (!pid) {
		struct rvm_area_header *area = map(w->log, AREA);
		char *memory = map(w->segment, LENGTH);

		id = area->area;
		set(area, memory, 1, 100);
		set(area, memory + 100, 2, 100);
		if (madvise(area, AREA, MADV_DONTNEED))
			raise(SIGBUS);		/* refused is good, too */
		commit_id(w->log, id, 0);
		area->used = 0;
		_exit(0);
	}
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	ASSERT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGBUS);
}

static bool readable(const void *at)
{
	/* write(2) says EFAULT where the process itself would get a signal */
	int fds[2];
	bool ok;

	if (pipe(fds))
		return false;
	ok = write(fds[1], at, 1) == 1;
	close(fds[0]);
	close(fds[1]);
	return ok;
}

/* Children inherit neither regions nor areas, nor the transaction. */
TEST_F(rvm, fork)
{
	struct world *w = &self->w;

	set(w->area, w->memory, 1, 100);
	CHILD({
		ASSERT_FALSE(readable(w->memory));
		ASSERT_FALSE(readable(w->area));
	});
	ASSERT_TRUE(all_are(w->memory, 1, 100));
	WORKS(do_abort(w->log, w->area));
	ASSERT_TRUE(all_are(w->memory, 0, 100));
}

/* Not even if the parent asks for it. */
TEST_F(rvm, fork_after_dofork)
{
	struct world *w = &self->w;
	char path[200], *at = w->memory;
	int fd, status, fds[2];
	pid_t pid;

	madvise(w->memory, LENGTH, MADV_DOFORK);
	FAILS(EINVAL, madvise(w->area, AREA, MADV_DOFORK));
	at[0] = 1;
	WORKS(pipe(fds));
	pid = fork();
	if (!pid) {
		char c;

		close(fds[1]);
		/* until the parent is done */
		read(fds[0], &c, 1);
		_exit(readable(w->memory) || readable(w->area));
	}

	/* another segment where the region was: entries mean that one now */
	snprintf(path, sizeof(path), "%s/other", w->f.dir);
	WORKS(make_file(path, LENGTH, 7));
	WORKS(munmap(at, LENGTH));
	WORKS(fd = segment(w->log, path));
	ASSERT_EQ(at, map_at(at, fd, LENGTH / 2, 0));
	declare_no_restore(w->area, at + LENGTH / 2 - 8, 16);
	EXPECT_EQ(-1, commit(w->log, w->area, 0));
	EXPECT_EQ(EFAULT, errno);
	WORKS(do_abort(w->log, w->area));
	close(fd);
	close(fds[1]);
	close(fds[0]);
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status);
	munmap(at, LENGTH / 2);
	w->memory = map(w->segment, LENGTH);
	ASSERT_EQ(0, w->memory[0]);
}

/* A vfork child is the same address space; exec ends the transaction. */
TEST_F(rvm, vfork_and_exec)
{
	struct world *w = &self->w;
	struct rvm_ioc_query before = query(w->log);
	int status, fds[2], i;
	pid_t pid;

	set(w->area, w->memory, 1, 100);
	pid = vfork();
	if (!pid) {
		if (commit(w->log, w->area, 0))
			_exit(1);
		execl("/bin/true", "true", NULL);
		_exit(2);
	}
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	ASSERT_EQ(0, status);
	ASSERT_TRUE(all_are(w->memory, 1, 100));
	ASSERT_EQ(before.commits + 1, query(w->log).commits);

	WORKS(pipe2(fds, O_CLOEXEC));
	pid = fork();
	if (!pid) {
		struct rvm_area_header *area = map(w->log, AREA);
		char *memory = map(w->segment, LENGTH);

		set(area, memory, 9, 100);
		execl("/bin/sleep", "sleep", "100", NULL);
		_exit(2);
	}
	close(fds[1]);
	ASSERT_EQ(0, read(fds[0], &i, 1));	/* the exec has closed it */
	for (i = 0; i < 100 && query(w->log).undone == before.undone; i++)
		usleep(20000);
	ASSERT_EQ(before.undone + 1, query(w->log).undone);
	ASSERT_TRUE(all_are(w->memory, 1, 100));
	ASSERT_EQ(0, waitpid(pid, &status, WNOHANG));
	kill(pid, SIGKILL);
	waitpid(pid, &status, 0);
	close(fds[0]);
}

/* A store by the kernel on the process's behalf is one like any other. */
TEST_F(rvm, stores_by_the_kernel)
{
	struct world *w = &self->w;
	char buffer[8192];
	int fds[2];

	memset(buffer, 6, sizeof(buffer));
	WORKS(socketpair(AF_UNIX, SOCK_STREAM, 0, fds));
	declare(w->area, w->memory + 100, 8192);
	ASSERT_EQ(8192, write(fds[0], buffer, 8192));
	ASSERT_EQ(8192, read(fds[1], w->memory + 100, 8192));
	WORKS(commit(w->log, w->area, RVM_COMMIT_FLUSH));
	WORKS(truncate_log(w->log));
	ASSERT_TRUE(file_is(w->f.segment, 100, 6, 8192));
	close(fds[0]);
	close(fds[1]);
}

TEST_HARNESS_MAIN
