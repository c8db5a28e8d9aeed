// SPDX-License-Identifier: GPL-2.0 OR MIT
/* Opening the log and the segment, and making them. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/param.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tools/rvmbench/banks.h"

#define DEFAULT_LOG_SIZE	(UINT64_C(16) << 20)

static const rvm_length_t optimize_flags[] = { 0, RVM_COALESCE_RANGES, RVM_ALL_OPTIMIZATIONS };
static const rvm_length_t tracking_flags[] = {
	RVM_TRACK_RANGES, RVM_TRACK_CHECK, RVM_TRACK_PAGES, RVM_TRACK_DIFF,
};

static const rvm_length_t mechanism_flags[] = {
	0, RVM_TRACK_USERFAULTFD, RVM_TRACK_USERFAULTFD_ASYNC,
};

/* Length of a file or block device; 0 if there is none. */
static uint64_t file_length(const char *what, const char *path, bool *device)
{
	struct stat st;
	uint64_t length;
	int fd;

	*device = false;
	if (stat(path, &st)) {
		if (errno != ENOENT)
			die("%s %s: %s", what, path, strerror(errno));
		return 0;
	}
	if (S_ISREG(st.st_mode))
		return st.st_size;
	if (!S_ISBLK(st.st_mode))
		die("%s %s is neither a file nor a block device", what, path);
	*device = true;
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || ioctl(fd, BLKGETSIZE64, &length))
		die("%s %s: %s", what, path, strerror(errno));
	close(fd);
	return length;
}

static void remove_file(const char *what, const char *path)
{
	if (unlink(path) && errno != ENOENT)
		die("%s %s: %s", what, path, strerror(errno));
}

/*
 * The library makes logs in new files only, for fear of overwriting something;
 * but a log is the same bytes wherever it is, and --create says that it may.
 */
static void copy_to_device(const char *from, const char *device)
{
	static char buffer[1 << 20];
	int in = open(from, O_RDONLY | O_CLOEXEC);
	int out = open(device, O_WRONLY | O_EXCL | O_CLOEXEC);
	ssize_t n;

	if (in < 0 || out < 0)
		die("log %s: %s", in < 0 ? from : device, strerror(errno));
	while ((n = read(in, buffer, sizeof(buffer))) > 0)
		if (write(out, buffer, n) != n)
			die("log %s: %s", device, errno ? strerror(errno) : "it is too small");
	if (n < 0 || fsync(out) || close(out))
		die("log %s: %s", device, strerror(errno));
	close(in);
}

static void make_log(rvm_options_t *options, bool device)
{
	rvm_offset_t size = RVM_MK_OFFSET(0, opt.log_size ? opt.log_size : DEFAULT_LOG_SIZE);
	const char *dir = getenv("TMPDIR");
	char *made = (char *)opt.log, temporary[MAXPATHLEN];
	rvm_return_t ret;

	if (device) {
		if (snprintf(temporary, sizeof(temporary), "%s/rvmbench-log.%d", dir ? dir : "/tmp",
			     getpid()) >= (int)sizeof(temporary))
			die("TMPDIR is too long");
		made = temporary;
	}
	options->log_dev = made;
	ret = rvm_create_log(options, &size, 0600);
	if (ret == RVM_ELOG)
		die("%s exists and is no log; --create replaces it", made);
	check(ret, "rvm_create_log", made);
	if (device) {
		copy_to_device(made, opt.log);
		remove_file("log", made);
	}
}

void open_log(void)
{
	rvm_options_t options;
	rvm_engine_counters_t counters;
	rvm_return_t ret;
	bool device;
	uint64_t length;

	if (opt.engine)
		check(rvm_set_engine(opt.engine), "rvm_set_engine", opt.engine);

	rvm_init_options(&options);
	options.truncate = opt.truncate;
	options.flags = optimize_flags[opt.optimize] | (opt.map_private ? RVM_MAP_PRIVATE : 0) |
			tracking_flags[opt.tracking] | mechanism_flags[opt.mechanism] |
			(opt.strict ? RVM_TRACK_STRICT : 0);
	length = file_length("log", opt.log, &device);
	if (opt.create && !device) {
		remove_file("log", opt.log);
		length = 0;
	}
	if (length == 0 || opt.create) {
		/* it takes an initialized library to make a log */
		check(rvm_initialize(RVM_VERSION, &options), "rvm_initialize", NULL);
		make_log(&options, device);
		options.log_dev = (char *)opt.log;
		check(rvm_set_options(&options), "rvm_set_options", opt.log);
	} else {
		options.log_dev = (char *)opt.log;
		ret = rvm_initialize(RVM_VERSION, &options);
		if (ret == RVM_ELOG)
			die("%s is no log, or damaged; --create makes a new one", opt.log);
		check(ret, "rvm_initialize", opt.log);
	}
	check(rvm_get_engine_counters(&counters), "rvm_get_engine_counters", NULL);
	if (opt.log_size && opt.log_size != counters.log_length)
		die("the log %s has %" PRIu64 " bytes, not %" PRIu64 "; --create makes a new one",
		    opt.log, counters.log_length, opt.log_size);
}

bool open_segment(rvm_region_t *region, uint64_t need)
{
	bool device, fresh;
	uint64_t have;
	int fd;

	have = file_length("segment", opt.segment, &device);
	if (opt.create && !device) {
		remove_file("segment", opt.segment);
		have = 0;
	}
	fresh = opt.create || have == 0;
	if (have == 0 && !device) {
		/* rvm_map makes an empty file as long as it has to be */
		fd = open(opt.segment, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
		if (fd < 0)
			die("segment %s: %s", opt.segment, strerror(errno));
		close(fd);
	} else if (have < need) {
		if (opt.events)
			die("the segment %s has %" PRIu64 " bytes, and --events takes %" PRIu64,
			    opt.segment, have, need);
		die("the segment %s has %" PRIu64 " bytes, and %" PRIu64 " bank%s of %" PRIu64 " accounts take%s %" PRIu64,
		    opt.segment, have, count_banks(), count_banks() == 1 ? "" : "s", opt.accounts,
		    count_banks() == 1 ? "s" : "", need);
	}

	rvm_init_region(region);
	region->data_dev = (char *)opt.segment;
	region->dev_length = RVM_MK_OFFSET(0, need);
	region->length = need;
	check(rvm_map(region, NULL), "rvm_map", opt.segment);
	return fresh;
}
