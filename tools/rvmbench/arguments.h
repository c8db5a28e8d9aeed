/* SPDX-License-Identifier: GPL-2.0 OR MIT */
/* Arguments of options, for what is compared with RVM, too. */
#ifndef ARGUMENTS_H
#define ARGUMENTS_H

#include <argp.h>
#include <stdint.h>

/* Of --name. Another ends the program with an error. */
uint64_t parse_number(struct argp_state *state, const char *name, const char *arg,
		      uint64_t min, uint64_t max);

#endif
