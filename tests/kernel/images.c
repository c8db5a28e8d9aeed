// SPDX-License-Identifier: GPL-2.0 OR MIT
/*
 * Description: the log images of the fuzz targets' corpus, /t/images.tar, are
 * opened on both engines: both refuse one, or both succeed, and then the segments
 * hold the same.
 */
#include "kernel.h"

#include <rvm/rvm.h>
#include <rvm/rvm_engine.h>

#include "tests/fuzz/image.h"

#define SEGMENTS	3
#define SEGMENT_LENGTH	(128 * KIB)	/* more than what the images' 16-bit offsets reach */

static struct image image;

/* A segment's name, in the root folder as the images have it. */
static const char *segment_name(int i)
{
	static const char *const names[SEGMENTS] = { "/s1", "/s2", "/s3" };

	return names[i];
}

struct result {
	int status;		/* the child's: its code */
	int again;		/* and the second time's */
	bool grown;		/* a segment is longer than it was: the kernel engine keeps such records */
	bool kept;		/* records stayed */
	char bytes[SEGMENTS][SEGMENT_LENGTH];
};

static int open_in_child(const char *engine, const char *log)
{
	rvm_options_t options;
	pid_t pid = fork();
	int status, null;

	if (!pid) {
		null = open("/dev/null", O_WRONLY);
		dup2(null, 2);
		rvm_init_options(&options);
		options.log_dev = (char *)log;
		if (rvm_set_engine(engine))
			_exit(99);
		status = RVM_INIT(&options);
		if (!status && rvm_terminate())
			_exit(98);
		_exit(!status ? 0 : status - rvm_first_code);
	}
	return pid > 0 && waitpid(pid, &status, 0) == pid ? status : -1;
}

static bool live(const char *log)
{
	static u8 slots[RVM_AREA_START] __attribute__((aligned(8)));
	static struct rvm_status s;
	int fd = open(log, O_RDONLY | O_CLOEXEC);
	bool ok = fd >= 0 && pread(fd, slots, sizeof(slots), 0) == sizeof(slots) &&
		  !rvm_status_choose(&s, slots);

	close(fd);
	return ok && s.head != s.start;
}

static void try_engine(struct __test_metadata *_metadata, const char *engine, const char *log,
		       struct result *r)
{
	struct stat st;
	int fd, i;

	r->grown = false;
	for (i = 0; i < SEGMENTS; i++)
		WORKS(make_file(segment_name(i), SEGMENT_LENGTH, i + 1));
	WORKS(fd = open(log, O_CREAT | O_TRUNC | O_RDWR | O_CLOEXEC, 0600));
	ASSERT_EQ((ssize_t)image.size, write(fd, image.bytes, image.size));
	WORKS(close(fd));
	r->status = open_in_child(engine, log);
	r->kept = !r->status && live(log);
	for (i = 0; i < SEGMENTS; i++) {
		WORKS(fd = open(segment_name(i), O_RDONLY | O_CLOEXEC));
		WORKS(fstat(fd, &st));
		r->grown |= st.st_size != SEGMENT_LENGTH;
		ASSERT_EQ((ssize_t)SEGMENT_LENGTH, read(fd, r->bytes[i], SEGMENT_LENGTH));
		WORKS(close(fd));
	}
	r->again = open_in_child(engine, log);
}

/* A counter near its end can't be raised for ever; no real log gets there. */
static bool worn_out(void)
{
	const u64 most = (1ull << 63) - (1ull << 32);
	static struct rvm_status s;

	return !rvm_status_choose(&s, image.bytes) &&
	       (s.generation > most || s.incarnation > most || s.start > most ||
		s.start_sequence > most);
}

static bool exited(int status)
{
	return WIFEXITED(status) && WEXITSTATUS(status) < 90;
}

/* The next file of a tar: its length, -1 at the end. */
static long next_file(int tar, char *name)
{
	char header[512];
	long length;

	for (;;) {
		if (read(tar, header, 512) != 512 || !header[0])
			return -1;
		length = strtol(header + 124, NULL, 8);
		snprintf(name, 100, "%.99s", header);
		if (length)
			return length;
	}
}

TEST(images)
{
	static struct result user, kernel;
	static u8 input[64 * KIB];
	char dir[] = "/tmp/rvm-images.XXXXXX", log[100], name[100];
	int tar = open("/t/images.tar", O_RDONLY | O_CLOEXEC);
	int images = 0, refused = 0, applied = 0;
	long length;
	bool same;

	ASSERT_LE(0, tar) TH_LOG("there is no /t/images.tar");
	ASSERT_NE(NULL, mkdtemp(dir));
	sprintf(log, "%s/log", dir);
	image.bytes = malloc(IMAGE_MAX);
	while ((length = next_file(tar, name)) >= 0) {
		ASSERT_GT((long)sizeof(input), length + 511);
		ASSERT_EQ((length + 511) / 512 * 512, read(tar, input, (length + 511) / 512 * 512));
		image_build(&image, input, length);
		if (worn_out())
			continue;
		try_engine(_metadata, "user", log, &user);
		try_engine(_metadata, "kernel", log, &kernel);
		images++;
		EXPECT_TRUE(exited(user.status) && exited(user.again)) TH_LOG("%s", name);
		EXPECT_TRUE(exited(kernel.status) && exited(kernel.again)) TH_LOG("%s", name);
		/* a range beyond the end makes a file grow, or fails, only with the user engine */
		if (user.grown || WEXITSTATUS(user.status) == RVM_EIO - rvm_first_code)
			continue;
		same = !memcmp(user.bytes, kernel.bytes, sizeof(user.bytes));
		EXPECT_EQ(user.status, kernel.status) TH_LOG("%s", name);
		EXPECT_EQ(user.kept, kernel.kept) TH_LOG("%s", name);
		EXPECT_TRUE(same) TH_LOG("%s", name);
		refused += user.status != 0;
		applied += memchr(user.bytes[0], 1, SEGMENT_LENGTH) != user.bytes[0] ||
			   !all_are(user.bytes[0], 1, SEGMENT_LENGTH);
	}
	TH_LOG("%d images, %d refused, %d changed the first segment", images, refused, applied);
	EXPECT_LT(20, images);
	EXPECT_LT(5, refused);
	EXPECT_LT(5, applied);
	close(tar);
	unlink(log);
	rmdir(dir);
	unlink(segment_name(0));
	unlink(segment_name(1));
	unlink(segment_name(2));
}

TEST_HARNESS_MAIN
