/* SPDX-License-Identifier: GPL-2.0 OR MIT */
/* What the fuzz targets share. */
#ifndef RVM_FUZZ_FUZZ_H
#define RVM_FUZZ_FUZZ_H

#include <stdio.h>

#include "core/port.h"

/* Whatever the input, this holds. */
#define CHECK(condition) do {						\
	if (!(condition)) {						\
		fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #condition); \
		abort();						\
	}								\
} while (0)

int LLVMFuzzerTestOneInput(const u8 *input, size_t size);

#endif
