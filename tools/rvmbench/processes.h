/* SPDX-License-Identifier: GPL-2.0 OR MIT */
/* --processes: others of them, each with a bank of its own in the same log and segment. */
#ifndef RVMBENCH_PROCESSES_H
#define RVMBENCH_PROCESSES_H

#include "tools/rvmbench/banks.h"

/* Before the log is opened: they wait for this one, which makes the banks, and measures. */
void processes_begin(struct bank *banks);

/* Until all have come here. Nothing with one process. */
void processes_wait(void);

/* After the last repetition: until they have ended well. */
void processes_end(void);

#endif
