/* SPDX-License-Identifier: GPL-2.0 OR MIT */
/*
 * The few words in which the kernel and userland differ, so that everything
 * else in core/ is one text for both.  Nothing here does I/O or takes locks.
 */
#ifndef RVM_CORE_PORT_H
#define RVM_CORE_PORT_H

#ifdef __KERNEL__

#include <linux/crc32c.h>
#include <linux/errno.h>
#include <linux/kernel.h>
#include <linux/mm.h>
#include <linux/slab.h>
#include <linux/string.h>
#include <linux/types.h>

static inline u32 rvm_crc32c(u32 crc, const void *data, size_t length)
{
#ifdef CONFIG_X86_64
	/* The layers above the kernel's own cost more than a short record's checksum. */
	if (length % 8 == 0 && length <= 1024 && static_cpu_has(X86_FEATURE_XMM4_2)) {
		const u64 *word = data;
		u64 sum = crc;

		for (; length; word++, length -= 8)
			asm("crc32q %1, %0" : "+r" (sum) : "rm" (*word));
		return sum;
	}
#endif
	return crc32c(crc, data, length);
}

static inline void *rvm_alloc(size_t size)
{
	return kvmalloc(size, GFP_KERNEL_ACCOUNT);
}

static inline void rvm_free(void *p)
{
	kvfree(p);
}

#else

#include <endian.h>
#include <errno.h>
#include <linux/types.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

typedef uint8_t u8;
typedef uint16_t u16;
typedef uint32_t u32;
typedef uint64_t u64;
typedef int64_t s64;

#define cpu_to_le16(x) htole16(x)
#define cpu_to_le32(x) htole32(x)
#define cpu_to_le64(x) htole64(x)
#define le16_to_cpu(x) le16toh(x)
#define le32_to_cpu(x) le32toh(x)
#define le64_to_cpu(x) le64toh(x)

#ifndef EUCLEAN
#define EUCLEAN 117
#endif

/* CRC32C (Castagnoli), no pre- or post-inversion, as the kernel's crc32c(). */
u32 rvm_crc32c(u32 crc, const void *data, size_t length);

static inline void *rvm_alloc(size_t size)
{
	return malloc(size);
}

static inline void rvm_free(void *p)
{
	free(p);
}

#endif /* __KERNEL__ */

#endif
