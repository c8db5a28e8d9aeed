// SPDX-License-Identifier: GPL-2.0 OR MIT
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "tools/rvmbench/arguments.h"

uint64_t parse_number(struct argp_state *state, const char *name, const char *arg,
		      uint64_t min, uint64_t max)
{
	unsigned long long n;
	char *end;

	errno = 0;
	n = strtoull(arg, &end, 10);
	if (*arg < '0' || *arg > '9' || *end || errno || n < min || n > max)
		argp_error(state, "--%s: '%s' is not a number from %" PRIu64 " to %" PRIu64,
			   name, arg, min, max);
	return n;
}
