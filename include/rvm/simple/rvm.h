/* SPDX-License-Identifier: GPL-2.0 OR MIT */
/* For programs that say #include "rvm.h" and mean the small interface. */
#include "../simple.h"
