// SPDX-License-Identifier: GPL-2.0 OR MIT
/*
 * Starting and ending the library, its options, and the choice of the engine.
 */
#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "lib/api.h"
#include "lib/log_file.h"
#include "lib/region.h"
#include "lib/transaction.h"

enum {
	UNUSED,
	READY,
	TERMINATED,
	FORKED,			/* a child of a process that used the library */
};

static _Atomic int phase = UNUSED;	/* READY and TERMINATED are set under setup */

struct rvm_api rvm_api = {
	.setup = PTHREAD_MUTEX_INITIALIZER,
	.lock = PTHREAD_MUTEX_INITIALIZER,
	.idle = PTHREAD_COND_INITIALIZER,
	.turn_over = PTHREAD_COND_INITIALIZER,
};

static const struct rvm_engine *_Atomic engine_in_use;	/* once READY */
static const char *engine_name;				/* rvm_set_engine's; under setup */

static struct rvm_log_options beyond;			/* what isn't the standard's; under setup */

static _Thread_local struct rvm_log *chosen;		/* rvm_use_log's */

/* Programs for the classic library set it to keep truncation from yielding. */
rvm_bool_t rvm_no_yield = rvm_false;

bool rvm_api_ready(void)
{
	return phase == READY;
}

struct rvm_log *rvm_api_log(void)
{
	return chosen ? chosen : rvm_api.log;
}

rvm_return_t rvm_api_enter(struct rvm_log **log)
{
	rvm_return_t code = RVM_SUCCESS;

	if (!rvm_api_ready())
		return RVM_EINIT;
	pthread_mutex_lock(&rvm_api.lock);
	if (!rvm_api_ready())
		code = RVM_EINIT;
	else if (!rvm_api_log())
		code = RVM_ELOG;
	else
		++rvm_api.users;
	*log = rvm_api_log();
	pthread_mutex_unlock(&rvm_api.lock);
	return code;
}

void rvm_api_leave(void)
{
	pthread_mutex_lock(&rvm_api.lock);
	if (!--rvm_api.users)
		pthread_cond_broadcast(&rvm_api.idle);
	pthread_mutex_unlock(&rvm_api.lock);
}

rvm_return_t rvm_api_lock_setup(struct rvm_log **log)
{
	if (!rvm_api_ready())
		return RVM_EINIT;
	pthread_mutex_lock(&rvm_api.setup);
	*log = rvm_api_log();
	if (rvm_api_ready() && *log)
		return RVM_SUCCESS;
	pthread_mutex_unlock(&rvm_api.setup);
	return rvm_api_ready() ? RVM_ELOG : RVM_EINIT;
}

void rvm_api_unlock_setup(void)
{
	pthread_mutex_unlock(&rvm_api.setup);
}

rvm_return_t rvm_api_check_name(const char *name)
{
	return strnlen(name, MAXPATHLEN) == MAXPATHLEN ? RVM_ENAME_TOO_LONG : RVM_SUCCESS;
}

rvm_return_t rvm_api_check_options(const rvm_options_t *options, bool required)
{
	if (!options)
		return required ? RVM_EOPTIONS : RVM_SUCCESS;
	if (options->struct_id != rvm_options_id ||
	    options->truncate < 0 || options->truncate > 100 ||
	    !rvm_tracking_flags_valid(options->flags))
		return RVM_EOPTIONS;
	if (options->pager)
		return RVM_EPAGER;
	return options->log_dev ? rvm_api_check_name(options->log_dev) : RVM_SUCCESS;
}

bool rvm_api_is_log(const struct rvm_log *log, const char *name)
{
	struct stat a, b;

	if (!strcmp(log->path, name))
		return true;
	return !stat(log->path, &a) && !stat(name, &b) &&
	       a.st_dev == b.st_dev && a.st_ino == b.st_ino;
}

/*
 * Engine choice
 */

static const struct rvm_engine *const engines[] = {
	&rvm_engine_kernel,	/* auto takes the first that can be used */
	&rvm_engine_user,
};

#define ENGINES	(sizeof(engines) / sizeof(engines[0]))

static bool known_engine(const char *name)
{
	if (!strcmp(name, "auto"))
		return true;
	for (size_t i = 0; i < ENGINES; i++)
		if (!strcmp(name, engines[i]->name))
			return true;
	return false;
}

rvm_return_t rvm_set_engine(const char *name)
{
	rvm_return_t code = RVM_EINIT;

	if (phase != UNUSED)
		return RVM_EINIT;
	if (!name || !known_engine(name))
		return RVM_EOPTIONS;
	pthread_mutex_lock(&rvm_api.setup);
	if (phase == UNUSED) {
		engine_name = !strcmp(name, "kernel") ? "kernel" :
			      !strcmp(name, "user") ? "user" : "auto";
		code = RVM_SUCCESS;
	}
	pthread_mutex_unlock(&rvm_api.setup);
	return code;
}

const char *rvm_get_engine(void)
{
	const struct rvm_engine *engine = engine_in_use;

	return engine ? engine->name : NULL;
}

static rvm_return_t choose_engine(const struct rvm_engine **chosen)
{
	const char *name = engine_name ? engine_name : getenv("RVM_ENGINE");
	const char *why = NULL;
	int err = 0;

	if (!name || !*name)
		name = "auto";
	if (!known_engine(name)) {
		fprintf(stderr, "rvm: RVM_ENGINE is \"%s\"; it can be user, kernel or auto\n",
			name);
		return RVM_EOPTIONS;
	}
	for (size_t i = 0; i < ENGINES; i++) {
		if (strcmp(name, "auto") && strcmp(name, engines[i]->name))
			continue;
		why = NULL;
		err = engines[i]->probe(&why);
		if (!err) {
			*chosen = engines[i];
			return RVM_SUCCESS;
		}
	}
	fprintf(stderr, "rvm: the %s engine can't be used: %s\n",
		strcmp(name, "auto") ? name : "user", why ? why : strerror(-err));
	errno = -err;
	return RVM_EIO;
}

/*
 * Options
 */

static rvm_length_t at_least(rvm_length_t length, rvm_length_t least)
{
	return length > least ? length : least;
}

/* Bring a caller's options into the form in which they are in force. */
static void take_options(rvm_options_t *to, const rvm_options_t *from)
{
	rvm_init_options(to);
	if (!from)
		return;
	to->truncate = from->truncate;
	to->recovery_buf_len = at_least(from->recovery_buf_len, MIN_RECOVERY_BUF_LEN);
	to->flush_buf_len = at_least(from->flush_buf_len, MIN_FLUSH_BUF_LEN);
	to->max_read_len = from->max_read_len;
	to->flags = from->flags & (RVM_ALL_OPTIMIZATIONS | RVM_MAP_PRIVATE | RVM_TRACKING_FLAGS);
	if (to->flags & RVM_COALESCE_TRANS)
		to->flags |= RVM_COALESCE_RANGES;
}

/* Under setup. */
static struct rvm_log_options engine_options(const rvm_options_t *options)
{
	struct rvm_log_options o = beyond;

	o.truncate = options->truncate;
	o.recovery_buffer = options->recovery_buf_len;
	o.flush_buffer = options->flush_buf_len;
	o.max_read = options->max_read_len;
	o.coalesce_ranges = options->flags & RVM_COALESCE_RANGES;
	o.coalesce_transactions = options->flags & RVM_COALESCE_TRANS;
	return o;
}

static void put_in_force(const rvm_options_t *options, struct rvm_log *log)
{
	pthread_mutex_lock(&rvm_api.lock);
	rvm_api.options = *options;
	rvm_api.log = log;
	pthread_mutex_unlock(&rvm_api.lock);
}

rvm_return_t rvm_set_options(rvm_options_t *options)
{
	struct rvm_log_options o;
	const char *log_dev;
	rvm_options_t new;
	struct rvm_log *log;
	rvm_return_t code;

	if (!rvm_api_ready())
		return RVM_EINIT;
	code = rvm_api_check_options(options, true);
	if (code)
		return code;
	log_dev = options->log_dev;
	take_options(&new, options);

	pthread_mutex_lock(&rvm_api.setup);
	o = engine_options(&new);
	log = rvm_api_log();
	if (!rvm_api_ready())
		code = RVM_EINIT;
	else if (log && log_dev && !rvm_api_is_log(log, log_dev))
		code = RVM_ELOG;
	else if (log)
		code = log->engine->set_options(log, &o);
	else if (log_dev)
		code = engine_in_use->open(log_dev, &o, &log);
	if (!code)
		put_in_force(&new, chosen ? rvm_api.log : log);
	pthread_mutex_unlock(&rvm_api.setup);
	return code;
}

/* Change `beyond`, whether there is a log or not: RVM_EINIT, or end_change() is to follow. */
static rvm_return_t begin_change(void)
{
	if (phase == FORKED)
		return RVM_EINIT;
	pthread_mutex_lock(&rvm_api.setup);
	if (phase != TERMINATED)
		return RVM_SUCCESS;
	pthread_mutex_unlock(&rvm_api.setup);
	return RVM_EINIT;
}

static rvm_return_t end_change(void)
{
	struct rvm_log_options o = engine_options(&rvm_api.options);
	struct rvm_log *log = rvm_api_log();
	rvm_return_t code = log ? log->engine->set_options(log, &o) : RVM_SUCCESS;

	pthread_mutex_unlock(&rvm_api.setup);
	return code;
}

rvm_return_t rvm_set_flush_interval(uint32_t milliseconds)
{
	rvm_return_t code = begin_change();

	if (code)
		return code;
	beyond.flush_interval = milliseconds;
	beyond.flush_interval_set = true;
	return end_change();
}

rvm_return_t rvm_set_memory_limit(uint64_t bytes)
{
	rvm_return_t code;

	if (bytes && bytes < RVM_MEMORY_LIMIT_MIN)
		return RVM_EOPTIONS;
	code = begin_change();
	if (code)
		return code;
	beyond.memory_limit = bytes;
	beyond.memory_limit_set = true;
	return end_change();
}

static void count_tid(void *context, const rvm_tid_t *tid)
{
	(void)tid;
	++*(size_t *)context;
}

static void append_tid(void *context, const rvm_tid_t *tid)
{
	rvm_options_t *options = context;

	options->tid_array[options->n_uncommit++] = *tid;
}

/* Called with rvm_api.lock held, so there won't be more; but some may end. */
static rvm_return_t append_tids(rvm_options_t *options, const struct rvm_mapping *mapping)
{
	size_t have = options->tid_array ? options->n_uncommit : 0, more = 0;
	rvm_tid_t *tids;

	rvm_transaction_list(mapping, count_tid, &more);
	if (more) {
		tids = realloc(options->tid_array, (have + more) * sizeof(*tids));
		if (!tids)
			return RVM_ENO_MEMORY;
		options->tid_array = tids;
	}
	options->n_uncommit = have;
	if (more)
		rvm_transaction_list(mapping, append_tid, options);
	return RVM_SUCCESS;
}

rvm_return_t rvm_query(rvm_options_t *options, rvm_region_t *region)
{
	struct rvm_mapping *mapping = NULL;
	rvm_engine_counters_t counters = { 0 };
	struct rvm_log *log;
	rvm_return_t code;
	bool entered;

	code = rvm_api_enter(&log);
	if (code == RVM_EINIT)
		return code;
	entered = !code;
	code = RVM_SUCCESS;
	if (!options || options->struct_id != rvm_options_id || options->n_uncommit < 0) {
		code = RVM_EOPTIONS;
		goto out;
	}
	if (entered)
		log->engine->counters(log, &counters);

	pthread_mutex_lock(&rvm_api.lock);
	if (region) {
		rvm_region_freeze();
		code = rvm_region_find(region, &mapping);
	}
	if (!code)
		code = append_tids(options, mapping);
	if (region)
		rvm_region_thaw();
	if (!code) {
		options->truncate = rvm_api.options.truncate;
		options->recovery_buf_len = rvm_api.options.recovery_buf_len;
		options->flush_buf_len = rvm_api.options.flush_buf_len;
		options->max_read_len = rvm_api.options.max_read_len;
		options->flags = rvm_api.options.flags;
		options->log_empty = counters.log_used ? rvm_false : rvm_true;
		options->pager = NULL;
		if (options->log_dev)
			strcpy(options->log_dev, entered ? log->path : "");
	}
	pthread_mutex_unlock(&rvm_api.lock);
out:
	if (entered)
		rvm_api_leave();
	return code;
}

rvm_return_t rvm_get_engine_counters(rvm_engine_counters_t *counters)
{
	struct rvm_log *log;
	rvm_return_t code = rvm_api_enter(&log);

	if (code)
		return code;
	if (counters) {
		log->engine->counters(log, counters);
		counters->undeclared = rvm_tracking_reported();
	} else {
		code = RVM_EOPTIONS;
	}
	rvm_api_leave();
	return code;
}

/*
 * Start and end
 */

static rvm_return_t create_log(const rvm_options_t *options, const rvm_offset_t *length,
			       long mode)
{
	if (!options->log_dev)
		return RVM_EOPTIONS;
	if (!length || length->high)
		return RVM_EOFFSET;
	return rvm_log_file_create(options->log_dev, length->low, mode & 07777);
}

rvm_return_t rvm_create_log(rvm_options_t *options, rvm_offset_t *log_len, long mode)
{
	rvm_return_t code;

	if (!rvm_api_ready())
		return RVM_EINIT;
	code = rvm_api_check_options(options, true);
	return code ? code : create_log(options, log_len, mode);
}

/*
 * The child has the parent's memory, but neither its threads nor, with the
 * kernel engine, its regions; and locks may have been held.
 */
static void in_child(void)
{
	if (phase != UNUSED || pthread_mutex_trylock(&rvm_api.setup))
		phase = FORKED;
	else
		pthread_mutex_unlock(&rvm_api.setup);
}

static rvm_return_t start(rvm_options_t *options)
{
	static bool fork_handled;	/* under setup */
	const struct rvm_engine *engine;
	struct rvm_log *log = NULL;
	struct rvm_log_options o;
	rvm_options_t new;
	rvm_return_t code;

	code = rvm_api_check_options(options, false);
	if (code)
		return code;
	take_options(&new, options);
	o = engine_options(&new);
	if (!fork_handled && pthread_atfork(NULL, NULL, in_child))
		return RVM_ENO_MEMORY;
	fork_handled = true;
	code = choose_engine(&engine);
	if (!code && options && options->create_log_file)
		code = create_log(options, &options->create_log_size,
				  options->create_log_mode);
	if (!code && options && options->log_dev)
		code = engine->open(options->log_dev, &o, &log);
	if (code)
		return code;
	put_in_force(&new, log);
	engine_in_use = engine;
	phase = READY;
	return RVM_SUCCESS;
}

rvm_return_t rvm_initialize(const char *version, rvm_options_t *options)
{
	rvm_return_t code;

	if (phase == FORKED)
		return RVM_EINIT;
	if (!version || strcmp(version, RVM_VERSION))
		return RVM_EVERSION_SKEW;
	pthread_mutex_lock(&rvm_api.setup);
	if (phase == UNUSED)
		code = start(options);
	else
		code = phase == READY ? RVM_SUCCESS : RVM_EINIT;
	pthread_mutex_unlock(&rvm_api.setup);
	return code;
}

/* With phase TERMINATED, so nobody looks at them any more: the first failure. */
static rvm_return_t close_logs(void)
{
	rvm_return_t code = RVM_SUCCESS, failed;
	struct rvm_log *log;

	while ((log = rvm_api.others)) {
		rvm_api.others = log->next;
		failed = log->engine->close(log);
		if (!code)
			code = failed;
	}
	return code;
}

rvm_return_t rvm_terminate(void)
{
	rvm_return_t code = RVM_SUCCESS;

	if (!rvm_api_ready())
		return RVM_EINIT;
	pthread_mutex_lock(&rvm_api.setup);
	pthread_mutex_lock(&rvm_api.lock);
	if (!rvm_api_ready()) {
		code = RVM_EINIT;
	} else if (rvm_api.transactions) {
		code = RVM_EUNCOMMIT;
	} else {
		phase = TERMINATED;
		while (rvm_api.users)
			pthread_cond_wait(&rvm_api.idle, &rvm_api.lock);
		if (rvm_api.log) {
			rvm_api.log->next = rvm_api.others;
			rvm_api.others = rvm_api.log;
			rvm_api.log = NULL;
		}
	}
	pthread_mutex_unlock(&rvm_api.lock);
	if (!code) {
		code = close_logs();
		rvm_region_forget();
		rvm_api.tracked = 0;
	}
	pthread_mutex_unlock(&rvm_api.setup);
	return code;
}

/*
 * Several logs
 */

/* With setup held. */
static rvm_return_t open_log(const char *name, struct rvm_log **opened)
{
	struct rvm_log_options o = engine_options(&rvm_api.options);
	struct rvm_log *log = rvm_api.log;
	rvm_return_t code;

	if (log && rvm_api_is_log(log, name)) {
		*opened = log;
		return RVM_SUCCESS;
	}
	for (log = rvm_api.others; log; log = log->next) {
		if (rvm_api_is_log(log, name)) {
			*opened = log;
			return RVM_SUCCESS;
		}
	}
	code = engine_in_use->open(name, &o, &log);
	if (code)
		return code;
	pthread_mutex_lock(&rvm_api.lock);
	log->next = rvm_api.others;
	rvm_api.others = log;
	pthread_mutex_unlock(&rvm_api.lock);
	*opened = log;
	return RVM_SUCCESS;
}

rvm_return_t rvm_open_log(const char *log_dev, rvm_log_t **log)
{
	rvm_return_t code;

	if (!rvm_api_ready())
		return RVM_EINIT;
	if (!log_dev || !log)
		return RVM_EOPTIONS;
	code = rvm_api_check_name(log_dev);
	if (code)
		return code;
	pthread_mutex_lock(&rvm_api.setup);
	code = rvm_api_ready() ? open_log(log_dev, log) : RVM_EINIT;
	pthread_mutex_unlock(&rvm_api.setup);
	return code;
}

rvm_return_t rvm_use_log(rvm_log_t *log)
{
	rvm_return_t code = RVM_SUCCESS;
	struct rvm_log *other;

	if (!rvm_api_ready())
		return RVM_EINIT;
	pthread_mutex_lock(&rvm_api.lock);
	for (other = rvm_api.others; other && other != log; other = other->next)
		;
	if (other || !log || log == rvm_api.log)
		chosen = other;
	else
		code = RVM_ELOG;
	pthread_mutex_unlock(&rvm_api.lock);
	return code;
}
