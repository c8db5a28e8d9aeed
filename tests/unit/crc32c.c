// SPDX-License-Identifier: GPL-2.0 OR MIT
/* Description: CRC32C: known vectors, and both ways of computing it against a third. */

/* The file itself, so that the table is tested where the instruction is used. */
#define rvm_crc32c included_crc32c
#include "core/crc32c.c"
#undef rvm_crc32c
u32 rvm_crc32c(u32 crc, const void *data, size_t length);

#include "kselftest_harness.h"
#include "random.h"

static u32 by_bits(u32 crc, const u8 *p, size_t length)
{
	int bit;

	while (length--) {
		crc ^= *p++;
		for (bit = 0; bit < 8; bit++)
			crc = crc & 1 ? crc >> 1 ^ 0x82f63b78 : crc >> 1;
	}
	return crc;
}

/* RFC 3720, B.4; it inverts at the end, we do not. */
TEST(vectors)
{
	static const u8 pdu[48] = {
		0x01, 0xc0, [16] = 0x14, [22] = 0x04, [27] = 0x14,
		[31] = 0x18, 0x28, [40] = 0x02,
	};
	u8 p[32];
	int i;

	memset(p, 0, sizeof(p));
	EXPECT_EQ(~rvm_crc32c(~0u, p, 32), 0x8a9136aa);
	EXPECT_EQ(~crc_table(~0u, p, 32), 0x8a9136aa);
	memset(p, 0xff, sizeof(p));
	EXPECT_EQ(~rvm_crc32c(~0u, p, 32), 0x62a8ab43);
	for (i = 0; i < 32; i++)
		p[i] = i;
	EXPECT_EQ(~rvm_crc32c(~0u, p, 32), 0x46dd794e);
	for (i = 0; i < 32; i++)
		p[i] = 31 - i;
	EXPECT_EQ(~rvm_crc32c(~0u, p, 32), 0x113fdb5c);
	EXPECT_EQ(~rvm_crc32c(~0u, pdu, 48), 0xd9963a56);
	EXPECT_EQ(~crc_table(~0u, pdu, 48), 0xd9963a56);
	EXPECT_EQ(~rvm_crc32c(~0u, "123456789", 9), 0xe3069283);
	EXPECT_EQ(rvm_crc32c(0x12345678, p, 0), 0x12345678);
}

TEST(lengths_and_alignments)
{
	u8 p[256];
	u32 start, expected;
	size_t at, length;

	random_fill(p, sizeof(p));
	for (at = 0; at < 16; at++) {
		for (length = 0; length <= sizeof(p) - at; length++) {
			start = random_u64();
			expected = by_bits(start, p + at, length);
			ASSERT_EQ(rvm_crc32c(start, p + at, length), expected);
			ASSERT_EQ(crc_table(start, p + at, length), expected);
		}
	}
}

TEST(in_pieces)
{
	u8 p[512];
	u32 whole, crc;
	size_t cut;

	random_fill(p, sizeof(p));
	whole = rvm_crc32c(~0u, p, sizeof(p));
	for (cut = 0; cut <= sizeof(p); cut++) {
		crc = rvm_crc32c(~0u, p, cut);
		ASSERT_EQ(rvm_crc32c(crc, p + cut, sizeof(p) - cut), whole);
	}
}

TEST_HARNESS_MAIN
