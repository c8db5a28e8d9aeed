// SPDX-License-Identifier: GPL-2.0 OR MIT
/*
 * Description: several processes, mappings, logs and owners of the same thing.
 */
#include "kernel.h"

WORLD_FIXTURE(256 * KIB)

/* Regions at other addresses and offsets show the same bytes, in each direction. */
TEST_F(rvm, overlapping_regions)
{
	struct world *w = &self->w;
	char *second = map_at(NULL, w->segment, 4 * PAGE, 2 * PAGE);
	char *third = map_at(NULL, w->segment, PAGE, 3 * PAGE);

	ASSERT_NE(MAP_FAILED, second);
	ASSERT_NE(MAP_FAILED, third);
	set(w->area, w->memory + 3 * PAGE - 50, 1, 100);
	ASSERT_TRUE(all_are(second + PAGE - 50, 1, 100));
	ASSERT_TRUE(all_are(third, 1, 50));
	WORKS(do_abort(w->log, w->area));
	ASSERT_TRUE(all_are(second + PAGE - 50, 0, 100));
	ASSERT_TRUE(all_are(third, 0, 50));

	set(w->area, third, 2, 50);
	WORKS(commit(w->log, w->area, RVM_COMMIT_FLUSH));
	ASSERT_TRUE(all_are(w->memory + 3 * PAGE, 2, 50));

	CHILD({
		struct rvm_area_header *area = map(w->log, AREA);
		char *memory = map_at(NULL, w->segment, 3 * PAGE, 3 * PAGE);

		ASSERT_TRUE(all_are(memory, 2, 50));
		set(area, memory, 3, 2 * PAGE);
		WORKS(commit(w->log, area, 0));
		set(area, memory, 4, 2 * PAGE);
	});
	ASSERT_TRUE(all_are(w->memory + 3 * PAGE, 3, 2 * PAGE));
	ASSERT_TRUE(all_are(third, 3, PAGE));

	/* an entry goes to the region of its address: the others are not in its way */
	declare(w->area, second + PAGE, 10);
	memset(third, 5, 10);
	WORKS(do_abort(w->log, w->area));
	ASSERT_TRUE(all_are(w->memory + 3 * PAGE, 3, 10));

	/* a region that goes takes its part of the transaction with it */
	set(w->area, second + PAGE, 6, 10);
	set(w->area, w->memory, 6, 10);
	munmap(second, 4 * PAGE);
	ASSERT_TRUE(all_are(third, 3, 10));
	ASSERT_TRUE(all_are(w->memory, 6, 10));
	FAILS(EFAULT, commit(w->log, w->area, 0));
	WORKS(do_abort(w->log, w->area));
	ASSERT_TRUE(all_are(w->memory, 0, 10));
	munmap(third, PAGE);
}

#define TURNS	400

/* Many processes count up bytes of their own in the same pages. */
TEST_F(rvm, disjoint_bytes_of_a_page)
{
	struct world *w = &self->w;
	unsigned int i, n;
	int status;

	for (i = 0; i < 4; i++) {
		if (fork())
			continue;
		struct rvm_area_header *area = map(w->log, AREA);
		unsigned char *memory = map(w->segment, 2 * PAGE);

		for (n = 0; n < TURNS; n++) {
			unsigned char *at = memory + i + n % 1000 * 8;

			set(area, at, *at + 1, 1);
			if (n % 7 == 3) {
				if (do_abort(w->log, area))
					_exit(1);
				set(area, at, *at + 1, 1);
			}
			if (commit(w->log, area, n % 50 == 0))
				_exit(2);
		}
		/* and one that is never finished */
		set(area, memory + i, 99, 1);
		_exit(0);
	}
	for (n = 0; n < 3; n++)
		WORKS(truncate_log(w->log));
	for (i = 0; i < 4; i++) {
		wait(&status);
		ASSERT_EQ(0, status);
	}
	for (n = 0; n < TURNS; n++)
		ASSERT_TRUE(all_are(w->memory + n * 8, 1, 4) && all_are(w->memory + n * 8 + 4, 0, 4));
	WORKS(truncate_log(w->log));
	for (n = 0; n < TURNS; n++)
		ASSERT_TRUE(file_is(w->f.segment, n * 8, 1, 4));
}

static void commit_in_child(struct __test_metadata *_metadata, struct world *w, unsigned long offset,
			    int value, unsigned int length)
{
	CHILD({
		struct rvm_area_header *area = map(w->log, AREA);
		char *memory = map(w->segment, LENGTH);

		set(area, memory + offset, value, length);
		WORKS(commit(w->log, area, 0));
	});
}

/* An undo leaves memory not older than what another has committed since. */
TEST_F(rvm, commit_before_abort)
{
	struct world *w = &self->w;

	set(w->area, w->memory + 4000, 1, 1000);
	commit_in_child(_metadata, w, 4050, 2, 100);
	ASSERT_TRUE(all_are(w->memory + 4050, 2, 100));
	WORKS(do_abort(w->log, w->area));
	ASSERT_TRUE(all_are(w->memory + 4000, 0, 50));
	ASSERT_TRUE(all_are(w->memory + 4050, 2, 100));
	ASSERT_TRUE(all_are(w->memory + 4150, 0, 850));

	/* at the edges, in many entries, spilled ones too */
	set(w->area, w->memory, 3, 100);
	set(w->area, w->memory + 50, 4, 100);
	WORKS(area_ioctl(w->log, RVM_IOC_SPILL, w->area->area));
	set(w->area, w->memory + 20, 5, 100);
	set(w->area, w->memory + 8000, 5, 100);
	commit_in_child(_metadata, w, 0, 6, 1);
	commit_in_child(_metadata, w, 149, 7, 2);
	commit_in_child(_metadata, w, 60, 8, 10);
	commit_in_child(_metadata, w, 7900, 9, 300);
	WORKS(do_abort(w->log, w->area));
	ASSERT_EQ(6, w->memory[0]);
	ASSERT_TRUE(all_are(w->memory + 1, 0, 59));
	ASSERT_TRUE(all_are(w->memory + 60, 8, 10));
	ASSERT_TRUE(all_are(w->memory + 70, 0, 79));
	ASSERT_TRUE(all_are(w->memory + 149, 7, 2));
	ASSERT_TRUE(all_are(w->memory + 7900, 9, 300));
	WORKS(truncate_log(w->log));
	ASSERT_TRUE(file_is(w->f.segment, 7900, 9, 300));
}

/* The other order: the one that commits began first. */
TEST_F(rvm, abort_after_earlier_declaration)
{
	struct world *w = &self->w;
	struct rvm_area_header *second = map(w->log, AREA);

	declare(second, w->memory + 100, 50);
	set(w->area, w->memory + 90, 1, 100);
	memset(w->memory + 100, 2, 50);
	WORKS(commit(w->log, second, 0));
	WORKS(do_abort(w->log, w->area));
	ASSERT_TRUE(all_are(w->memory + 90, 0, 10));
	ASSERT_TRUE(all_are(w->memory + 100, 2, 50));
	ASSERT_TRUE(all_are(w->memory + 150, 0, 50));

	/* a transaction that was undone commits nothing */
	set(w->area, w->memory + 1000, 3, 50);
	set(second, w->memory + 1000, 4, 50);
	WORKS(do_abort(w->log, second));
	WORKS(do_abort(w->log, w->area));
	ASSERT_TRUE(all_are(w->memory + 1000, 0, 50));
	munmap(second, AREA);
}

/* The same with the death of a process in place of an abort. */
TEST_F(rvm, commit_before_death)
{
	struct world *w = &self->w;
	int fds[2], status, restore;
	pid_t pid;
	char c;

	for (restore = 0; restore < 2; restore++) {
		WORKS(pipe(fds));
		pid = fork();
		if (!pid) {
			struct rvm_area_header *area = map(w->log, AREA);
			char *memory = map(w->segment, LENGTH);

			if (restore)
				declare(area, memory, 300);
			else
				declare_no_restore(area, memory, 300);
			memset(memory, 1, 300);
			write(fds[1], "", 1);
			for (;;)
				pause();
		}
		ASSERT_EQ(1, read(fds[0], &c, 1));
		set(w->area, w->memory + 100, 2 + restore, 100);
		WORKS(commit(w->log, w->area, 0));
		kill(pid, SIGKILL);
		ASSERT_EQ(pid, waitpid(pid, &status, 0));
		ASSERT_TRUE(all_are(w->memory, 0, 100));
		ASSERT_TRUE(all_are(w->memory + 100, 2 + restore, 100));
		ASSERT_TRUE(all_are(w->memory + 200, 0, 100));
		close(fds[0]);
		close(fds[1]);
	}
}

/* The states of an entry, step by step. */
TEST_F(rvm, saving_and_again)
{
	struct world *w = &self->w;
	struct rvm_area_header *second = map(w->log, AREA);
	struct rvm_area_entry *e, *far;

	/* a commit of its bytes while it saves: AGAIN; of others: nothing */
	e = append(second, (uintptr_t)w->memory + 100, 100, RVM_ENTRY_SAVING);
	far = append(second, (uintptr_t)w->memory + 5000, 100, RVM_ENTRY_SAVING);
	memcpy(e->saved, w->memory + 100, 100);
	set(w->area, w->memory + 150, 1, 10);
	WORKS(commit(w->log, w->area, 0));
	ASSERT_EQ(RVM_ENTRY_AGAIN, e->state);
	ASSERT_EQ(RVM_ENTRY_SAVING, far->state);
	/* once more, before it has noticed */
	set(w->area, w->memory + 155, 2, 10);
	WORKS(commit(w->log, w->area, 0));
	ASSERT_EQ(RVM_ENTRY_AGAIN, e->state);
	ASSERT_FALSE(saved(e));
	ASSERT_EQ(RVM_ENTRY_SAVING, e->state);
	memcpy(e->saved, w->memory + 100, 100);
	/* and once more, after */
	set(w->area, w->memory + 199, 3, 10);
	WORKS(commit(w->log, w->area, 0));
	ASSERT_FALSE(saved(e));
	memcpy(e->saved, w->memory + 100, 100);
	/* a neighbour is none of its business */
	set(w->area, w->memory + 200, 4, 10);
	set(w->area, w->memory + 90, 4, 10);
	WORKS(commit(w->log, w->area, 0));
	ASSERT_TRUE(saved(e));
	memset(w->memory + 100, 9, 100);
	/* from now on the kernel changes what was saved */
	set(w->area, w->memory + 100, 5, 1);
	WORKS(commit(w->log, w->area, 0));
	ASSERT_EQ(RVM_ENTRY_SAVED, e->state);
	ASSERT_EQ(5, e->saved[0]);
	ASSERT_EQ(0, e->saved[1]);
	WORKS(do_abort(w->log, second));
	ASSERT_TRUE(all_are(w->memory + 100, 5, 1));
	ASSERT_TRUE(all_are(w->memory + 101, 0, 49));
	ASSERT_TRUE(all_are(w->memory + 150, 1, 5));
	ASSERT_TRUE(all_are(w->memory + 155, 2, 10));
	ASSERT_TRUE(all_are(w->memory + 165, 0, 34));
	ASSERT_TRUE(all_are(w->memory + 199, 3, 1));

	/* what is being saved was not stored to: abort leaves memory alone */
	e = append(second, (uintptr_t)w->memory + 300, 10, RVM_ENTRY_SAVING);
	memset(e->saved, 0x77, 10);
	e = append(second, (uintptr_t)w->memory + 400, 10, RVM_ENTRY_AGAIN);
	memset(e->saved, 0x77, 10);
	WORKS(do_abort(w->log, second));
	ASSERT_TRUE(all_are(w->memory + 300, 0, 200));

	/* no old bytes, no state */
	e = append(second, (uintptr_t)w->memory + 100, 10, RVM_ENTRY_NO_RESTORE);
	set(w->area, w->memory + 100, 8, 10);
	WORKS(commit(w->log, w->area, 0));
	ASSERT_EQ(RVM_ENTRY_NO_RESTORE, e->state);
	WORKS(do_abort(w->log, second));
	ASSERT_TRUE(all_are(w->memory + 100, 8, 10));
	munmap(second, AREA);
}

/*
 * The same under load.  The holder declares, and aborts; others commit some of
 * the same bytes.  What each then finds there is up to chance, but once all
 * have ended memory is what was committed.
 */
TEST_F(rvm, undo_under_load)
{
	struct world *w = &self->w;
	volatile unsigned long *counters = shared_memory(PAGE);
	unsigned int i, n, status;
	char file[300];
	pid_t pids[2];

	for (i = 0; i < 2; i++) {
		pids[i] = fork();
		if (pids[i])
			continue;
		struct rvm_area_header *area = map(w->log, AREA);
		char *memory = map(w->segment, LENGTH);
		char *at = memory + 100 + i * 50;

		for (n = 1; !counters[2]; n++) {
			declare(area, at, 50);
			memset(at, n, 50);
			if (commit(w->log, area, 0))
				_exit(1);
			counters[i] = n;
		}
		_exit(0);
	}
	for (n = 0; n < 1500; n++) {
		struct rvm_area_entry *e = append(w->area, (uintptr_t)w->memory + 80, 140,
						  RVM_ENTRY_SAVING);

		do
			memcpy(e->saved, w->memory + 80, 140);
		while (!saved(e));
		/* no store to what they change meanwhile: that would be a conflict */
		memset(w->memory + 80, n, 20);
		memset(w->memory + 200, n, 20);
		if (n % 3)
			sched_yield();
		WORKS(do_abort(w->log, w->area));
		ASSERT_TRUE(all_are(w->memory + 80, 0, 20));
		ASSERT_TRUE(all_are(w->memory + 200, 0, 20));
	}
	counters[2] = 1;
	for (i = 0; i < 2; i++) {
		waitpid(pids[i], (int *)&status, 0);
		ASSERT_EQ(0, status);
	}
	WORKS(truncate_log(w->log));
	WORKS(i = open(w->f.segment, O_RDONLY));
	ASSERT_EQ(300, pread(i, file, 300, 0));
	ASSERT_EQ(0, memcmp(w->memory, file, 300));
	close(i);
	munmap((void *)counters, PAGE);
}

static void path_of(char *path, const struct world *w, const char *name)
{
	sprintf(path, "%s/%s", w->f.dir, name);
}

/* Attaching the log once more gives another descriptor of the same. */
TEST_F(rvm, log_attached_twice)
{
	struct world *w = &self->w;
	struct rvm_area_header *area;
	char *memory;
	int log, fd;

	WORKS(log = attach(w->f.log));
	ASSERT_NE(log, w->log);
	WORKS(fd = segment(log, w->f.segment));
	WORKS(recover(log, NULL, NULL));
	memory = map(fd, LENGTH);
	area = map(log, AREA);
	set(area, memory, 1, 100);
	/* an id means the same through each */
	WORKS(commit(w->log, area, 0));
	ASSERT_TRUE(all_are(w->memory, 1, 100));
	ASSERT_EQ(query(log).commits, query(w->log).commits);
	munmap(area, AREA);
	munmap(memory, LENGTH);
	close(fd);
	close(log);
	set(w->area, w->memory, 2, 100);
	WORKS(commit(w->log, w->area, RVM_COMMIT_FLUSH));
}

TEST_F(rvm, several_logs)
{
	struct world *w = &self->w, others[3];
	unsigned int i, n;

	for (i = 0; i < 3; i++) {
		WORKS(make_files(&others[i].f, 4096 << i));
		WORKS(open_world(&others[i]));
		FAILS(EBUSY, segment(others[i].log, w->f.segment));
		FAILS(EBUSY, segment(w->log, others[i].f.segment));
		FAILS(EBUSY, segment(others[i].log, w->f.log));
		FAILS(EBUSY, attach(others[i].f.segment));
	}
	for (n = 0; n < 300; n++) {
		struct world *o = &others[n % 3];

		set(o->area, o->memory + n, n, 100);
		WORKS(commit(o->log, o->area, n % 2));
		set(w->area, w->memory + n, n + 1, 100);
		WORKS(commit(w->log, w->area, 0));
	}
	for (i = 0; i < 3; i++) {
		close_world(&others[i]);
		WORKS(open_world(&others[i]));
		ASSERT_TRUE(all_are(others[i].memory + 297 + i, 297 + i, 100));
		close_world(&others[i]);
		remove_files(&others[i].f);
	}
	ASSERT_TRUE(all_are(w->memory + 299, 300 & 0xff, 100));
}

static int locked(const char *path)
{
	int fd = open(path, O_RDWR | O_CLOEXEC);

	if (fd >= 0 && !flock(fd, LOCK_EX | LOCK_NB))
		return fd;
	close(fd);
	return -1;
}

/* One owner: the kernel, or somebody with a flock. */
TEST_F(rvm, flock)
{
	struct world *w = &self->w;
	char path[200];
	int fd, shared;

	FAILS(EWOULDBLOCK, locked(w->f.log));
	FAILS(EWOULDBLOCK, locked(w->f.segment));
	close_world(w);
	WORKS(fd = locked(w->f.log));
	FAILS(EBUSY, attach(w->f.log));
	/* even if it is the very descriptor that holds the lock */
	FAILS(EBUSY, attach_fd(fd));
	close(fd);
	WORKS(w->log = attach(w->f.log));
	WORKS(recover(w->log, NULL, NULL));

	WORKS(fd = locked(w->f.segment));
	FAILS(EBUSY, segment(w->log, w->f.segment));
	FAILS(EBUSY, segment_mode(w->log, w->f.segment, O_RDONLY));
	WORKS(flock(fd, LOCK_SH));
	FAILS(EBUSY, segment(w->log, w->f.segment));
	close(fd);
	WORKS(w->segment = segment(w->log, w->f.segment));
	w->memory = map(w->segment, LENGTH);
	w->area = map(w->log, AREA);

	/* a segment is free as soon as nobody has it and its records are applied */
	path_of(path, w, "other");
	WORKS(make_file(path, PAGE, 0));
	WORKS(fd = segment(w->log, path));
	FAILS(EWOULDBLOCK, locked(path));
	close(fd);
	WORKS(shared = locked(path));
	close(shared);
}

/* Live records keep their segment, though nobody has it open. */
TEST_F(rvm, segment_with_live_records)
{
	struct world *w = &self->w;
	char path[200], *memory;
	int fd, other;

	path_of(path, w, "other");
	WORKS(make_file(path, PAGE, 0));
	WORKS(fd = segment(w->log, path));
	memory = map(fd, PAGE);
	set(w->area, memory, 1, 100);
	WORKS(commit(w->log, w->area, 0));
	munmap(memory, PAGE);
	close(fd);
	FAILS(EWOULDBLOCK, locked(path));
	WORKS(truncate_log(w->log));
	/* given up by a worker, perhaps, some time after */
	for (fd = 0; fd < 100 && (other = locked(path)) < 0; fd++)
		usleep(20000);
	WORKS(other);
	close(other);
	ASSERT_TRUE(file_is(path, 0, 1, 100));
}

/* --- lock order --------------------------------------------------------- */

struct crossing {
	struct world *w;
	const char *path;
	volatile unsigned long *progress;
};

/* Write to the log's file, behind the log, out of pages that are not there yet. */
static void *write_to_log_file(void *argument)
{
	struct crossing *c = argument;
	int fd = open(c->path, O_RDWR | O_CLOEXEC);

	for (;; c->progress[0]++) {
		char *page = mmap(NULL, 16 * PAGE, PROT_READ | PROT_WRITE,
				  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

		pwrite(fd, page, 16 * PAGE, 16 * MIB);
		munmap(page, 16 * PAGE);
	}
	return NULL;
}

static void *map_and_unmap(void *argument)
{
	struct crossing *c = argument;

	for (;; c->progress[1]++) {
		void *area = map(c->w->log, PAGE), *memory = map(c->w->segment, PAGE);

		munmap(area, PAGE);
		munmap(memory, PAGE);
	}
	return NULL;
}

/*
 * A commit that is larger than the log's memory is written in pieces; an
 * ordinary write to the same file may fault, and mapping takes locks of both.
 */
TEST_F(rvm, lock_order)
{
	struct world *w = &self->w, o = { .log = -1 };
	volatile unsigned long *progress = shared_memory(PAGE);
	struct crossing c = { &o, o.f.log, progress };
	unsigned long before[3];
	pthread_t threads[3];
	char *memory;
	int i, n, status;
	pid_t pids[2];

	/* the log: of 8 MiB */
	strcpy(o.f.dir, w->f.dir);
	path_of(o.f.log, w, "log2");
	path_of(o.f.segment, w, "segment2");
	ASSERT_EQ(0, (int)rvm_log_file_create(o.f.log, 8 * MIB, 0600));
	WORKS(make_file(o.f.segment, 3 * MIB, 0));
	WORKS(open_world(&o));

	for (i = 0; i < 2; i++) {
		pids[i] = fork();
		if (pids[i])
			continue;
		if (i) {
			struct rvm_area_header *area = map(o.log, AREA);

			memory = map(o.segment, 3 * MIB);
			for (n = 0;; n++) {
				declare_no_restore(area, memory, 2 * MIB);
				memset(memory, n, 2 * MIB);
				if (commit(o.log, area, 0))
					_exit(1);
				progress[2]++;
			}
		}
		pthread_create(&threads[0], NULL, write_to_log_file, &c);
		pthread_create(&threads[1], NULL, write_to_log_file, &c);
		map_and_unmap(&c);
	}
	for (i = 0; i < 6; i++) {
		for (n = 0; n < 3; n++)
			before[n] = progress[n];
		/* slow machines, but not this slow */
		for (n = 0; n < 300; n++) {
			if (before[0] != progress[0] && before[1] != progress[1] &&
			    before[2] != progress[2])
				break;
			sleep_us(100000);
		}
		if (n == 300)
			break;
		sleep_us(500000);
	}
	EXPECT_EQ(6, i) TH_LOG("no progress: %lu %lu %lu", progress[0], progress[1], progress[2]);
	for (n = 0; n < 2; n++) {
		kill(pids[n], SIGKILL);
		waitpid(pids[n], &status, 0);
		EXPECT_TRUE(WIFSIGNALED(status));
	}
	close_world(&o);
	munmap((void *)progress, PAGE);
}

TEST_HARNESS_MAIN
