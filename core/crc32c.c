// SPDX-License-Identifier: GPL-2.0 OR MIT
/* CRC32C for userland; the kernel brings its own. */
#include "core/port.h"

#define POLYNOMIAL	0x82f63b78u	/* reflected */

#ifdef __x86_64__
/* Chosen once, before main and before any thread: nothing to synchronise. */
static bool have_sse42;

__attribute__((target("sse4.2")))
static u32 crc_sse42(u32 crc, const u8 *p, size_t length)
{
	u64 sum = crc, word;

#pragma GCC unroll 8
	for (; length >= 8; length -= 8, p += 8) {
		memcpy(&word, p, 8);
		sum = __builtin_ia32_crc32di(sum, word);
	}
	for (; length; length--)
		sum = __builtin_ia32_crc32qi(sum, *p++);
	return sum;
}
#endif

/* table[k][b]: what byte b does, k bytes before the end of an 8-byte step. */
static u32 table[8][256];

__attribute__((constructor(101)))
static void crc_init(void)
{
	u32 i, k, crc;

	for (i = 0; i < 256; i++) {
		crc = i;
		for (k = 0; k < 8; k++)
			crc = crc >> 1 ^ (crc & 1 ? POLYNOMIAL : 0);
		table[0][i] = crc;
	}
	for (i = 0; i < 256; i++)
		for (k = 1; k < 8; k++)
			table[k][i] = table[k - 1][i] >> 8 ^ table[0][table[k - 1][i] & 255];
#ifdef __x86_64__
	__builtin_cpu_init();
	have_sse42 = __builtin_cpu_supports("sse4.2");
#endif
}

static u32 crc_table(u32 crc, const u8 *p, size_t length)
{
	__le64 word;
	u64 n;

	for (; length >= 8; length -= 8, p += 8) {
		memcpy(&word, p, 8);
		n = le64_to_cpu(word) ^ crc;
		crc = table[7][n & 255] ^ table[6][n >> 8 & 255] ^
		      table[5][n >> 16 & 255] ^ table[4][n >> 24 & 255] ^
		      table[3][n >> 32 & 255] ^ table[2][n >> 40 & 255] ^
		      table[1][n >> 48 & 255] ^ table[0][n >> 56];
	}
	for (; length; length--)
		crc = crc >> 8 ^ table[0][(crc ^ *p++) & 255];
	return crc;
}

u32 rvm_crc32c(u32 crc, const void *data, size_t length)
{
#ifdef __x86_64__
	if (have_sse42)
		return crc_sse42(crc, data, length);
#endif
	return crc_table(crc, data, length);
}
