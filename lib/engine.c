// SPDX-License-Identifier: GPL-2.0 OR MIT
/*
 * What both engines do alike with a region's memory.
 */
#include <sys/mman.h>
#include <unistd.h>

#include "lib/engine.h"

size_t rvm_whole_pages(uint64_t length)
{
	size_t page = sysconf(_SC_PAGESIZE);

	return (length + page - 1) & -page;
}

bool rvm_unmap_memory(const struct rvm_region *region)
{
	size_t length = rvm_whole_pages(region->length);

	if (!region->address_given)
		return !munmap(region->address, length);
	return mmap(region->address, length, PROT_READ | PROT_WRITE,
		    MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) != MAP_FAILED;
}
