/* SPDX-License-Identifier: GPL-2.0 OR MIT */
/*
 * The heap as it lies in its region: header, map, chunks.  docs/format.md has it
 * all.  Nothing in it is believed before it was checked.
 *
 * What is free is what the map does not say is used: there is nothing in the
 * image that two allocations share.  So each transaction changes only bytes of
 * its own blocks, and can be undone whatever the others did.
 */
#ifndef RVM_LIB_RDS_IMAGE_H
#define RVM_LIB_RDS_IMAGE_H

#include <stdbool.h>
#include <stdint.h>

#include <rvm/rvm.h>

struct rds_header {
	char magic[8];
	uint64_t version;
	uint64_t base;			/* the address where all this is */
	uint64_t length;		/* bytes, this included */
	uint64_t chunk_size;
	uint64_t lists;
};

#define RDS_WORDS	(sizeof(struct rds_header) / sizeof(uint64_t))

struct rds_image {
	struct rds_header header;
	uint64_t inverse[RDS_WORDS];	/* all bits of the header, inverted */
	uint16_t map[];			/* an entry for each chunk */
};

/*
 * Entries of the map.  Any two differ in both bytes, so a damaged byte never
 * makes another entry.
 */
enum {
	RDS_FREE = 0x0000,		/* of no block, or within one */
	RDS_FIRST = 0x1b51,		/* the first chunk of a block */
	RDS_LAST = 0x2e62,
	RDS_ONLY = 0x4dc4,		/* the only one */
};

/* A block: this, what the program has, and after that a word that guards the end. */
struct rds_block {
	uint64_t guard;
	uint64_t chunks;
	char data[];
};

#define RDS_OVERHEAD	(sizeof(struct rds_block) + sizeof(uint64_t))

#define RDS_CHUNK_MIN	32u
#define RDS_ALIGNMENT	16u		/* of the image, and of its first chunk */
#define RDS_CHUNKS_MAX	0x7fffffffu

/* A heap's dimensions, taken out of a header that is sound. */
struct rds_layout {
	char *data;			/* the first chunk */
	uint64_t chunk_size;
	uint32_t chunks;
	uint32_t lists;
};

struct rds_extent {
	uint32_t first, length;		/* in chunks */
};

/* False: no heap can be like that. */
bool rds_image_layout(const struct rds_header *header, struct rds_layout *layout);

/* Where the map ends. */
char *rds_image_end_of_map(struct rds_image *image, const struct rds_layout *layout);

/* What a heap's first bytes are to be. */
void rds_image_describe(struct rds_image *image, char *base, uint64_t length,
			uint64_t chunk_size, uint64_t lists);

/*
 * Is this (a copy of) the image that is at base?  An error of rds.h, or SUCCESS and
 * the layout.
 */
int rds_image_check(const struct rds_image *image, const char *base, struct rds_layout *layout);

/* The first block in [at, end): 1; 0 there is none, -1 the map is damaged. */
int rds_image_next(const uint16_t *map, uint32_t at, uint32_t end, struct rds_extent *block);

/* Guards are other ones at each address: a copy of a block is none. */
uint64_t rds_image_guard(const void *address);
uint64_t *rds_image_end_guard(const struct rds_layout *layout, struct rds_extent block);
struct rds_block *rds_image_block(const struct rds_layout *layout, uint32_t first);

/*
 * Which block is this address the data of?  EBAD_ARGS, ECORRUPT, EFREED_TWICE,
 * or SUCCESS.
 */
int rds_image_find(const uint16_t *map, const struct rds_layout *layout, const char *address,
		   struct rds_extent *block);

#endif
