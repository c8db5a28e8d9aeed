/* SPDX-License-Identifier: GPL-2.0 OR MIT */
/* What the parts of the API layer share: its state, and checks of arguments. */
#ifndef RVM_LIB_API_H
#define RVM_LIB_API_H

#include <pthread.h>
#include <stdbool.h>

#include "lib/engine.h"

/*
 * Locks are taken in this order:
 *
 *   setup	one at a time: initialize, terminate, set_options, map, unmap;
 *		held while the engine works
 *   lock	the fields below it, and the table of transactions; held shortly
 *   a transaction's own
 *   the table of regions
 */
struct rvm_api {
	pthread_mutex_t setup;

	pthread_mutex_t lock;
	pthread_cond_t idle;		/* users has become 0 */
	struct rvm_log *log;		/* changed with setup held, too; NULL: none */
	struct rvm_log *others;		/* rvm_open_log's; the same */
	unsigned int users;		/* calls that work on the log just now */
	unsigned int transactions;	/* open ones */
	unsigned int tracked;		/* regions; changed with setup held, too */
	bool held;			/* such a region comes or goes: none begins now */
	pthread_cond_t turn_over;	/* one may begin that could not */
	rvm_options_t options;		/* in force; no pointers in it are used */
};

extern struct rvm_api rvm_api;

/* Started, and neither terminated nor a forked child: the first check of every call. */
bool rvm_api_ready(void);

/* The log that this thread's calls are about, or NULL; call with setup or lock held. */
struct rvm_log *rvm_api_log(void);

/*
 * Keep the log from being closed until rvm_api_leave: RVM_EINIT, RVM_ELOG, or
 * success and *log.
 */
rvm_return_t rvm_api_enter(struct rvm_log **log);
void rvm_api_leave(void);

/*
 * Take `setup`, and have the log: RVM_EINIT or RVM_ELOG (and the lock is not
 * held), or success and *log, until rvm_api_unlock_setup.
 */
rvm_return_t rvm_api_lock_setup(struct rvm_log **log);
void rvm_api_unlock_setup(void);

rvm_return_t rvm_api_check_options(const rvm_options_t *options, bool required);
rvm_return_t rvm_api_check_name(const char *name);

/* Does this name that log? */
bool rvm_api_is_log(const struct rvm_log *log, const char *name);

#endif
