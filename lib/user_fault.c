// SPDX-License-Identifier: GPL-2.0 OR MIT
/*
 * The signals that stores to protected pages get: SIGSEGV and SIGBUS.  What is
 * not ours goes to the handler that was there before.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <signal.h>

#include "lib/user_track.h"

/* Under the tracking's lock; handlers read `previous`, which is written before they are there. */
static struct handled {
	u64 users;
	struct sigaction previous;	/* what was there before our handler */
	struct sigaction front;		/* the application's, that stayed and may call ours */
} segv, bus;

static struct handled *handled_of(int signal)
{
	return signal == SIGSEGV ? &segv : &bus;
}

static bool has_function(const struct sigaction *action)
{
	return action->sa_flags & SA_SIGINFO ||
	       (action->sa_handler != SIG_DFL && action->sa_handler != SIG_IGN);
}

static void call(const struct sigaction *action, int signal, siginfo_t *info, void *context)
{
	sigset_t mask = action->sa_mask, old;

	if (!(action->sa_flags & SA_NODEFER))
		sigaddset(&mask, signal);
	pthread_sigmask(SIG_BLOCK, &mask, &old);
	if (action->sa_flags & SA_SIGINFO)
		action->sa_sigaction(signal, info, context);
	else
		action->sa_handler(signal);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
}

/* As if ours were not there. */
static void pass_on(int signal, siginfo_t *info, void *context)
{
	const struct sigaction *previous = &handled_of(signal)->previous;

	if (has_function(previous)) {
		call(previous, signal, info, context);
		return;
	}
	/* that is ignored if somebody sends it, and only then */
	if (previous->sa_handler == SIG_IGN && info->si_code <= 0)
		return;
	/* the store is tried again, and now ends the process */
	sigaction(signal, previous, NULL);
	if (info->si_code <= 0)
		raise(signal);
}

/* A store at the wrong time is SIGSEGV, whatever the mechanism gives. */
static void deny(int signal, siginfo_t *info, void *context)
{
	struct sigaction action = { .sa_handler = SIG_DFL }, now;
	siginfo_t denied = *info;
	sigset_t mask;

	if (signal == SIGSEGV) {
		pass_on(signal, info, context);
		return;
	}
	denied.si_signo = SIGSEGV;
	denied.si_code = SEGV_ACCERR;
	sigaction(SIGSEGV, NULL, &now);
	if (has_function(&now)) {
		call(&now, SIGSEGV, &denied, context);
		return;
	}
	sigaction(SIGSEGV, &action, NULL);
	sigemptyset(&mask);
	sigaddset(&mask, SIGSEGV);
	pthread_sigmask(SIG_UNBLOCK, &mask, NULL);
	raise(SIGSEGV);
}

static void fault_handler(int signal, siginfo_t *info, void *context)
{
	int error = errno;
	enum user_fault fault = user_track_fault(signal, info->si_code, info->si_addr);

	errno = error;
	if (fault == USER_FAULT_FOREIGN)
		pass_on(signal, info, context);
	else if (fault == USER_FAULT_DENIED)
		deny(signal, info, context);
}

static bool is_ours(const struct sigaction *action)
{
	return action->sa_flags & SA_SIGINFO && action->sa_sigaction == fault_handler;
}

int user_fault_open(int signal)
{
	struct sigaction ours = {
		.sa_sigaction = fault_handler,
		.sa_flags = SA_SIGINFO | SA_NODEFER | SA_ONSTACK,
	}, now;
	struct handled *h = handled_of(signal);

	if (!h->users) {
		if (sigaction(signal, NULL, &now))
			return -errno;
		/* one that came in front and stayed calls ours: then ours must not call it */
		if (!is_ours(&now) &&
		    !(has_function(&h->front) && h->front.sa_handler == now.sa_handler)) {
			h->previous = now;
			if (sigaction(signal, &ours, NULL))
				return -errno;
		}
	}
	h->users++;
	return 0;
}

void user_fault_close(int signal)
{
	struct handled *h = handled_of(signal);
	struct sigaction now;

	if (--h->users || sigaction(signal, NULL, &now))
		return;
	if (is_ours(&now))
		sigaction(signal, &h->previous, NULL);
	else
		h->front = now;
}
