// SPDX-License-Identifier: GPL-2.0 OR MIT
/*
 * The small interface of <rvm/simple.h>, in terms of the standard one.
 *
 * A directory is a log of its own, by rvm_open_log(): it can be recovered without
 * any other.  A segment is a file, mapped whole.  What the standard interface has
 * no notion of is kept here: which segments a transaction has.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <rvm/rvm.h>
#include <rvm/rvm_engine.h>
#include <rvm/simple.h>

struct transaction {
	struct transaction *next;
	trans_t id;
	rvm_tid_t tid;
};

/* A mapped segment. */
struct segment {
	struct segment *next;
	rvm_t rvm;
	rvm_region_t region;
	struct transaction *owner;	/* the transaction that has it, or NULL */
	char path[];
};

struct rvm_directory {
	struct rvm_directory *next;
	rvm_log_t *log;
	char path[];			/* absolute: the program may change its own */
};

/* Held by every call.  The standard interface needs no such lock; these lists do. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct rvm_directory *directories;
static struct segment *segments;
static struct transaction *transactions;
static trans_t last_id;
static bool verbose;

static void __attribute__((format(printf, 1, 2))) tell(const char *format, ...)
{
	va_list ap;

	if (!verbose)
		return;
	va_start(ap, format);
	fputs("rvm: ", stderr);
	vfprintf(stderr, format, ap);
	fputc('\n', stderr);
	va_end(ap);
}

static void complain(const char *call, const char *what, const char *why)
{
	fprintf(stderr, "rvm: %s: %s: %s\n", call, what, why);
}

static const char *reason(rvm_return_t code)
{
	switch (code) {
	case RVM_EIO:
		return strerror(errno);
	case RVM_ENO_MEMORY:
		return strerror(ENOMEM);
	case RVM_ETOO_BIG:
		return "the transaction is larger than the log";
	case RVM_ELOG:
		return "the log is damaged";
	case RVM_EINIT:
		return "not in the child of a process that uses it, nor after rvm_terminate";
	default:
		return rvm_return(code);
	}
}

/* See "Mistakes and failures" in the header. */
static void __attribute__((noreturn)) give_up(const char *call, rvm_return_t code)
{
	complain(call, "can't go on", reason(code));
	abort();
}

/* Make changes of names in a directory durable. */
static bool sync_names(const char *path)
{
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC), err;

	if (fd < 0)
		return false;
	err = fsync(fd);
	close(fd);
	return !err;
}

/*
 * Directories
 */

static bool make_directory(const char *path)
{
	char parent[PATH_MAX];

	if (mkdir(path, 0777))
		return errno == EEXIST;
	if (snprintf(parent, sizeof(parent), "%s/..", path) >= (int)sizeof(parent)) {
		errno = ENAMETOOLONG;
		return false;
	}
	return sync_names(parent);
}

/* It gets its name when it is whole, so a crash can't leave half of one. */
static rvm_return_t make_log(const char *directory, const char *log)
{
	rvm_offset_t length = RVM_MK_OFFSET(0, RVM_SIMPLE_LOG);
	char new[PATH_MAX + 4];
	rvm_options_t options;
	rvm_return_t code;

	snprintf(new, sizeof(new), "%s.new", log);
	unlink(new);
	rvm_init_options(&options);
	options.log_dev = new;
	code = rvm_create_log(&options, &length, 0666);
	if (code)
		return code;
	return rename(new, log) || !sync_names(directory) ? RVM_EIO : RVM_SUCCESS;
}

/* Make the log if there is none: one process at a time, others may want to as well. */
static rvm_return_t have_log(const char *directory, const char *log)
{
	rvm_return_t code = RVM_EIO;
	int fd, err;

	if (!access(log, F_OK))
		return RVM_SUCCESS;
	fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return code;
	if (!flock(fd, LOCK_EX))
		code = access(log, F_OK) ? make_log(directory, log) : RVM_SUCCESS;
	err = errno;
	close(fd);
	errno = err;
	return code;
}

static rvm_return_t open_log(struct rvm_directory *rvm)
{
	char log[PATH_MAX];
	rvm_return_t code;

	if (snprintf(log, sizeof(log), "%s/rvm.log", rvm->path) >= (int)sizeof(log))
		return RVM_ENAME_TOO_LONG;
	code = have_log(rvm->path, log);
	return code ? code : rvm_open_log(log, &rvm->log);
}

static rvm_t use_directory(const char *name)
{
	struct rvm_directory *rvm;
	rvm_options_t options;
	char path[PATH_MAX];
	rvm_return_t code;

	/* without a log of its own; only the first time does anything */
	rvm_init_options(&options);
	options.flags = RVM_COALESCE_RANGES;
	code = RVM_INIT(&options);
	if (code) {
		complain("rvm_init", name, reason(code));
		return NULL;
	}
	if (!make_directory(name) || !realpath(name, path)) {
		complain("rvm_init", name, strerror(errno));
		return NULL;
	}
	for (rvm = directories; rvm; rvm = rvm->next)
		if (!strcmp(rvm->path, path))
			return rvm;
	rvm = calloc(1, sizeof(*rvm) + strlen(path) + 1);
	if (!rvm) {
		complain("rvm_init", name, strerror(errno));
		return NULL;
	}
	strcpy(rvm->path, path);
	code = open_log(rvm);
	if (code) {
		complain("rvm_init", name, code == RVM_EIO && errno == EBUSY ?
			 "another process uses it" : reason(code));
		free(rvm);
		return NULL;
	}
	rvm->next = directories;
	directories = rvm;
	return rvm;
}

rvm_t rvm_init(const char *directory)
{
	rvm_t rvm;

	if (!directory) {
		complain("rvm_init", "NULL", "no directory");
		return NULL;
	}
	pthread_mutex_lock(&lock);
	rvm = use_directory(directory);
	tell("init %s%s", directory, rvm ? "" : " failed");
	pthread_mutex_unlock(&lock);
	return rvm;
}

/* Lock, and have the log of that directory in use by this thread. */
static bool enter(const char *call, rvm_t rvm)
{
	struct rvm_directory *d;
	rvm_return_t code;

	pthread_mutex_lock(&lock);
	for (d = directories; d && d != rvm; d = d->next)
		;
	code = d ? rvm_use_log(d->log) : RVM_SUCCESS;
	if (d && !code)
		return true;
	complain(call, d ? d->path : "its rvm_t", d ? reason(code) : "not one of rvm_init");
	pthread_mutex_unlock(&lock);
	return false;
}

static void leave(void)
{
	rvm_use_log(NULL);
	pthread_mutex_unlock(&lock);
}

void rvm_truncate_log(rvm_t rvm)
{
	rvm_return_t code;

	if (!enter(__func__, rvm))
		return;
	code = rvm_truncate();
	if (code)
		complain(__func__, rvm->path, reason(code));
	tell("truncate the log of %s", rvm->path);
	leave();
}

/*
 * Segments
 */

static bool segment_path(const char *call, rvm_t rvm, const char *name, char *path)
{
	if (!name || !*name || strchr(name, '/')) {
		complain(call, name ? name : "NULL", "no name for a segment");
		return false;
	}
	if (snprintf(path, PATH_MAX, "%s/%s.segment", rvm->path, name) >= PATH_MAX) {
		complain(call, name, strerror(ENAMETOOLONG));
		return false;
	}
	return true;
}

static struct segment **find_path(const char *path)
{
	struct segment **s = &segments;

	while (*s && strcmp((*s)->path, path))
		s = &(*s)->next;
	return s;
}

static struct segment *find_base(const void *base)
{
	struct segment *s = segments;

	while (s && s->region.vmaddr != base)
		s = s->next;
	return s;
}

/* No engine expects a file to change its length while the log has records of it. */
static rvm_return_t extend(int fd, int size)
{
	struct stat st;
	rvm_return_t code;

	if (fstat(fd, &st))
		return RVM_EIO;
	if (st.st_size >= size)
		return RVM_SUCCESS;
	code = st.st_size ? rvm_truncate() : RVM_SUCCESS;
	if (code)
		return code;
	errno = posix_fallocate(fd, st.st_size, size - st.st_size);
	return errno || fsync(fd) ? RVM_EIO : RVM_SUCCESS;
}

/* Make the file if there is none, and as long as it has to be. */
static rvm_return_t make_segment(rvm_t rvm, const char *path, int size)
{
	int fd = open(path, O_CREAT | O_RDWR | O_CLOEXEC, 0666), err;
	rvm_return_t code;

	if (fd < 0)
		return RVM_EIO;
	code = extend(fd, size);
	err = errno;
	close(fd);
	errno = err;
	return code || sync_names(rvm->path) ? code : RVM_EIO;
}

static void *map(rvm_t rvm, const char *name, int size)
{
	struct segment *s;
	char path[PATH_MAX];
	rvm_return_t code;

	if (!segment_path("rvm_map", rvm, name, path))
		return NULL;
	if (size < 1 || *find_path(path)) {
		complain("rvm_map", name, size < 1 ? "its size is less than 1" : "it is mapped already");
		return NULL;
	}
	s = calloc(1, sizeof(*s) + strlen(path) + 1);
	code = s ? make_segment(rvm, path, size) : RVM_ENO_MEMORY;
	if (!code) {
		s->rvm = rvm;
		strcpy(s->path, path);
		rvm_init_region(&s->region);
		s->region.data_dev = s->path;
		code = rvm_map(&s->region, NULL);
	}
	if (code) {
		complain("rvm_map", name, reason(code));
		free(s);
		return NULL;
	}
	s->next = segments;
	segments = s;
	return s->region.vmaddr;
}

void *rvm_simple_map(rvm_t rvm, const char *segname, int size_to_create)
{
	void *base;

	if (!enter("rvm_map", rvm))
		return NULL;
	base = map(rvm, segname, size_to_create);
	tell("map %s of %s, %d bytes: %p", segname, rvm->path, size_to_create, base);
	leave();
	return base;
}

void rvm_simple_unmap(rvm_t rvm, void *segbase)
{
	struct segment *s;
	rvm_return_t code;

	if (!enter("rvm_unmap", rvm))
		return;
	s = find_base(segbase);
	if (!s || s->rvm != rvm) {
		complain("rvm_unmap", "its address", "no segment of this directory is mapped there");
	} else if (s->owner) {
		complain("rvm_unmap", s->path, "it is in a transaction");
	} else {
		tell("unmap %s", s->path);
		code = rvm_unmap(&s->region);
		if (code) {
			complain("rvm_unmap", s->path, reason(code));
		} else {
			*find_path(s->path) = s->next;
			free(s);
		}
	}
	leave();
}

/*
 * The log must have no records of it first, or they would be applied to whatever
 * gets its name next.
 */
static void remove_segment(rvm_t rvm, const char *path)
{
	rvm_return_t code;

	if (access(path, F_OK) && errno == ENOENT)
		return;
	code = rvm_truncate();
	if (!code && ((unlink(path) && errno != ENOENT) || !sync_names(rvm->path)))
		code = RVM_EIO;
	if (code)
		complain("rvm_destroy", path, reason(code));
	tell("destroy %s", path);
}

void rvm_destroy(rvm_t rvm, const char *segname)
{
	char path[PATH_MAX];

	if (!enter(__func__, rvm))
		return;
	if (segment_path(__func__, rvm, segname, path)) {
		if (*find_path(path))
			complain(__func__, segname, "it is mapped");
		else
			remove_segment(rvm, path);
	}
	leave();
}

/*
 * Transactions
 */

static struct transaction **find_transaction(trans_t id)
{
	struct transaction **t = &transactions;

	while (*t && (*t)->id != id)
		t = &(*t)->next;
	return t;
}

/* The segments of a transaction that is over are free, and so is its memory. */
static void forget(struct transaction *t)
{
	struct segment *s;

	for (s = segments; s; s = s->next)
		if (s->owner == t)
			s->owner = NULL;
	free(t);
}

/* Have the transaction take its segments: false if it can't have them all. */
static bool take_segments(rvm_t rvm, struct transaction *t, int numsegs, void **segbases)
{
	for (int i = 0; i < numsegs; i++) {
		struct segment *s = find_base(segbases[i]);

		if (!s || s->rvm != rvm || s->owner == t) {
			complain("rvm_begin_trans", "its segments", s && s->owner == t ?
				 "one is given twice" : "one is not mapped");
			return false;
		}
		if (s->owner) {
			tell("begin: %s is in a transaction", s->path);
			return false;
		}
		s->owner = t;
	}
	return true;
}

static trans_t begin_on(rvm_t rvm, int numsegs, void **segbases)
{
	struct transaction *t = calloc(1, sizeof(*t));
	rvm_return_t code;

	if (!t) {
		complain("rvm_begin_trans", rvm->path, strerror(errno));
		return (trans_t)-1;
	}
	if (!take_segments(rvm, t, numsegs, segbases))
		goto fail;
	rvm_init_tid(&t->tid);
	/* with tracked regions it may wait until another thread's is over */
	pthread_mutex_unlock(&lock);
	code = rvm_begin_transaction(&t->tid, restore);
	pthread_mutex_lock(&lock);
	if (code) {
		complain("rvm_begin_trans", rvm->path, reason(code));
		goto fail;
	}
	last_id = last_id == INT_MAX ? 1 : last_id + 1;
	t->id = last_id;
	t->next = transactions;
	transactions = t;
	tell("begin %d on %d segments", t->id, numsegs);
	return t->id;
fail:
	forget(t);
	return (trans_t)-1;
}

trans_t rvm_begin_trans(rvm_t rvm, int numsegs, void **segbases)
{
	trans_t id;

	if (numsegs < 1 || !segbases) {
		complain(__func__, "its segments", "none");
		return (trans_t)-1;
	}
	if (!enter(__func__, rvm))
		return (trans_t)-1;
	id = begin_on(rvm, numsegs, segbases);
	leave();
	return id;
}

void rvm_about_to_modify(trans_t tid, void *segbase, int offset, int size)
{
	struct transaction *t;
	struct segment *s;
	rvm_return_t code;

	pthread_mutex_lock(&lock);
	t = *find_transaction(tid);
	s = find_base(segbase);
	if (!t) {
		complain(__func__, "its transaction", "there is none of this number");
	} else if (!s || s->owner != t) {
		complain(__func__, s ? s->path : "its address", "not a segment of the transaction");
	} else if (offset < 0 || size < 0 ||
		   (unsigned long)offset + (unsigned long)size > s->region.length) {
		complain(__func__, s->path, "the range is not inside the segment");
	} else if (size) {
		tell("%d: about to modify %s, %d bytes from %d on", tid, s->path, size, offset);
		code = rvm_set_range(&t->tid, (char *)segbase + offset, size);
		if (code)
			give_up(__func__, code);
	}
	pthread_mutex_unlock(&lock);
}

static void end(const char *call, trans_t id, bool commit)
{
	struct transaction **at, *t;
	rvm_return_t code;

	pthread_mutex_lock(&lock);
	at = find_transaction(id);
	t = *at;
	if (t) {
		code = commit ? rvm_end_transaction(&t->tid, flush) :
		       rvm_abort_transaction(&t->tid);
		if (code)
			give_up(call, code);
		*at = t->next;
		forget(t);
		tell("%s %d", commit ? "commit" : "abort", id);
	} else {
		complain(call, "its transaction", "there is none of this number");
	}
	pthread_mutex_unlock(&lock);
}

void rvm_commit_trans(trans_t tid)
{
	end(__func__, tid, true);
}

void rvm_abort_trans(trans_t tid)
{
	end(__func__, tid, false);
}

void rvm_verbose(int enable)
{
	pthread_mutex_lock(&lock);
	verbose = enable;
	pthread_mutex_unlock(&lock);
}
