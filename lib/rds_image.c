// SPDX-License-Identifier: GPL-2.0 OR MIT
/* The heap as it lies in its region: layout and checks. */
#include <string.h>

#include <rvm/rds.h>

#include "lib/rds_image.h"

#define MAGIC	"RVMHEAP"		/* 8 bytes with the final 0 */
#define VERSION	1

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "a heap's words are little endian");
_Static_assert(sizeof(struct rds_image) % RDS_ALIGNMENT == 0, "the map is aligned");

bool rds_image_layout(const struct rds_header *header, struct rds_layout *layout)
{
	uint64_t length = header->length, chunks, end, map;

	if (header->base % RDS_ALIGNMENT || !header->base ||
	    __builtin_add_overflow(header->base, length, &end) ||
	    length < sizeof(struct rds_image) + RDS_ALIGNMENT ||
	    header->chunk_size < RDS_CHUNK_MIN || header->chunk_size % sizeof(char *) ||
	    header->chunk_size > length || !header->lists)
		return false;
	length -= sizeof(struct rds_image) + RDS_ALIGNMENT;
	chunks = length / (header->chunk_size + sizeof(uint16_t));
	if (!chunks || chunks > RDS_CHUNKS_MAX)
		return false;
	map = (chunks * sizeof(uint16_t) + RDS_ALIGNMENT - 1) & -(uint64_t)RDS_ALIGNMENT;
	layout->data = (char *)(uintptr_t)header->base + sizeof(struct rds_image) + map;
	layout->chunk_size = header->chunk_size;
	layout->chunks = chunks;
	/* a list for more chunks than there are has no use */
	layout->lists = header->lists < chunks ? header->lists : chunks;
	return true;
}

char *rds_image_end_of_map(struct rds_image *image, const struct rds_layout *layout)
{
	return (char *)(image->map + layout->chunks);
}

void rds_image_describe(struct rds_image *image, char *base, uint64_t length,
			uint64_t chunk_size, uint64_t lists)
{
	uint64_t words[RDS_WORDS];

	image->header = (struct rds_header) {
		.magic = MAGIC, .version = VERSION, .base = (uintptr_t)base, .length = length,
		.chunk_size = chunk_size, .lists = lists,
	};
	memcpy(words, &image->header, sizeof(words));
	for (size_t i = 0; i < RDS_WORDS; i++)
		image->inverse[i] = ~words[i];
}

int rds_image_check(const struct rds_image *image, const char *base, struct rds_layout *layout)
{
	uint64_t words[RDS_WORDS];

	memcpy(words, &image->header, sizeof(words));
	for (size_t i = 0; i < RDS_WORDS; i++)
		if (image->inverse[i] != ~words[i])
			return EBAD_SEGMENT_HDR;
	if (memcmp(image->header.magic, MAGIC, sizeof(image->header.magic)))
		return EBAD_SEGMENT_HDR;
	if (image->header.version != VERSION)
		return EHEAP_VERSION_SKEW;
	if (image->header.base != (uintptr_t)base || !rds_image_layout(&image->header, layout))
		return EBAD_SEGMENT_HDR;
	return SUCCESS;
}

/* The first entry in [at, end) that is not RDS_FREE, or end. */
static uint32_t skip_free(const uint16_t *map, uint32_t at, uint32_t end)
{
	uint64_t four;

	for (; at < end && !map[at]; at++) {
		if (at % 4)
			continue;
		for (; end - at >= 4; at += 4) {
			memcpy(&four, &map[at], sizeof(four));
			if (four)
				break;
		}
		if (at == end || map[at])
			break;
	}
	return at;
}

int rds_image_next(const uint16_t *map, uint32_t at, uint32_t end, struct rds_extent *block)
{
	at = skip_free(map, at, end);
	if (at == end)
		return 0;
	block->first = at;
	block->length = 1;
	if (map[at] == RDS_ONLY)
		return 1;
	if (map[at] != RDS_FIRST)
		return -1;
	at = skip_free(map, at + 1, end);
	if (at == end || map[at] != RDS_LAST)
		return -1;
	block->length = at - block->first + 1;
	return 1;
}

uint64_t rds_image_guard(const void *address)
{
	return 0x9bd7c3a1e5f08264u ^ (uintptr_t)address;
}

struct rds_block *rds_image_block(const struct rds_layout *layout, uint32_t first)
{
	return (struct rds_block *)(layout->data + first * layout->chunk_size);
}

uint64_t *rds_image_end_guard(const struct rds_layout *layout, struct rds_extent block)
{
	return (uint64_t *)rds_image_block(layout, block.first + block.length) - 1;
}

int rds_image_find(const uint16_t *map, const struct rds_layout *layout, const char *address,
		   struct rds_extent *found)
{
	uint64_t offset = (uintptr_t)address - (uintptr_t)layout->data - sizeof(struct rds_block);
	uint64_t first = offset / layout->chunk_size;
	const struct rds_block *block;
	struct rds_block copy;
	bool used;

	if (first >= layout->chunks || offset % layout->chunk_size)
		return EBAD_ARGS;
	block = rds_image_block(layout, first);
	memcpy(&copy, block, sizeof(copy));
	if (copy.guard != rds_image_guard(block) || !copy.chunks ||
	    copy.chunks > layout->chunks - first)
		return ECORRUPT;
	found->first = first;
	found->length = copy.chunks;
	if (map[first] == RDS_FREE)
		return EFREED_TWICE;
	used = found->length == 1 ? map[first] == RDS_ONLY :
	       map[first] == RDS_FIRST && map[first + found->length - 1] == RDS_LAST;
	if (!used || *rds_image_end_guard(layout, *found) != rds_image_guard(block))
		return ECORRUPT;
	return SUCCESS;
}
