// SPDX-License-Identifier: GPL-2.0 OR MIT
/* The segment loader: a header with the addresses of a segment's regions. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <endian.h>
#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <rvm/rvm_segment.h>

#define MAGIC		"RVM-SEG"	/* 8 bytes with the final 0 */
#define VERSION		1
#define HEADER_SIZE	4096u
#define MAX_REGIONS	((HEADER_SIZE - 32) / sizeof(struct entry))

/* docs/format.md describes it. */
struct entry {
	uint64_t offset, length, address;
};

struct header {
	char magic[8];
	uint32_t version;
	uint32_t crc;
	uint64_t regions;
	uint64_t reserved;
	struct entry at[(HEADER_SIZE - 32) / sizeof(struct entry)];
	char padding[(HEADER_SIZE - 32) % sizeof(struct entry)];
};

_Static_assert(sizeof(struct header) == HEADER_SIZE, "a header fills its page");

/* CRC32C of the header, its crc taken as 0; the library's own is not exported. */
static uint32_t checksum(struct header header)
{
	const unsigned char *p = (const unsigned char *)&header;
	uint32_t crc = ~0u;

	header.crc = 0;
	for (size_t i = 0; i < sizeof(header); i++) {
		crc ^= p[i];
		for (int bit = 0; bit < 8; bit++)
			crc = crc >> 1 ^ (crc & 1 ? 0x82f63b78u : 0);
	}
	return crc;
}

static bool whole_pages(uint64_t n)
{
	return n && !(n & ~rvm_page_mask());
}

/* Are the addresses sound?  RVM_EREGION_DEF, RVM_ERANGE. */
static rvm_return_t check_definitions(const rvm_region_def_t *defs, rvm_length_t count)
{
	if (!defs || !count || count > MAX_REGIONS)
		return RVM_EREGION_DEF;
	for (rvm_length_t i = 0; i < count; i++) {
		uint64_t start = (uintptr_t)defs[i].vmaddr, end;

		if (!whole_pages(start) || !whole_pages(defs[i].length) ||
		    __builtin_add_overflow(start, defs[i].length, &end))
			return RVM_EREGION_DEF;
		for (rvm_length_t j = 0; j < i; j++)
			if ((uintptr_t)defs[j].vmaddr < end &&
			    start < (uintptr_t)defs[j].vmaddr + defs[j].length)
				return RVM_ERANGE;
	}
	return RVM_SUCCESS;
}

static rvm_region_t region_of(char *name, rvm_offset_t dev_length, rvm_length_t offset,
			      rvm_length_t length)
{
	rvm_region_t region;

	rvm_init_region(&region);
	region.data_dev = name;
	region.dev_length = dev_length;
	region.offset = RVM_MK_OFFSET(0, offset);
	region.length = length;
	return region;
}

/* Does the segment reach to `end`? */
static rvm_return_t check_length(char *name, rvm_offset_t dev_length, rvm_options_t *options,
				 rvm_length_t end)
{
	rvm_region_t last = region_of(name, dev_length, end - RVM_PAGE_SIZE, RVM_PAGE_SIZE);
	rvm_return_t code = rvm_map(&last, options), unmapped;

	if (code)
		return code;
	code = last.length == RVM_PAGE_SIZE ? RVM_SUCCESS : RVM_EOFFSET;
	unmapped = rvm_unmap(&last);
	return code ? code : unmapped;
}

static rvm_return_t write_header(void *to, struct header *header)
{
	rvm_return_t code;
	rvm_tid_t tid;

	rvm_init_tid(&tid);
	code = rvm_begin_transaction(&tid, restore);
	if (code)
		return code;
	code = rvm_modify_bytes(&tid, to, header, sizeof(*header));
	if (!code)
		code = rvm_end_transaction(&tid, flush);
	if (code)
		rvm_abort_transaction(&tid);
	return code;
}

rvm_return_t rvm_create_segment(char *DevName, rvm_offset_t DevLength, rvm_options_t *options,
				rvm_length_t nregions, rvm_region_def_t *defs)
{
	struct header header = { .magic = MAGIC, .version = htole32(VERSION) };
	rvm_length_t end = RVM_SEGMENT_HDR_SIZE;
	rvm_return_t code, unmapped;
	rvm_region_t region;

	code = check_definitions(defs, nregions);
	if (code)
		return code;
	header.regions = htole64(nregions);
	for (rvm_length_t i = 0; i < nregions; i++) {
		header.at[i].offset = htole64(end);
		header.at[i].length = htole64(defs[i].length);
		header.at[i].address = htole64((uintptr_t)defs[i].vmaddr);
		if (__builtin_add_overflow(end, defs[i].length, &end))
			return RVM_EOFFSET;
	}
	if (!DevLength.high && DevLength.low && DevLength.low < end)
		return RVM_EOFFSET;
	header.crc = htole32(checksum(header));
	code = check_length(DevName, DevLength, options, end);
	if (code)
		return code;

	region = region_of(DevName, DevLength, 0, RVM_SEGMENT_HDR_SIZE);
	code = rvm_map(&region, options);
	if (code)
		return code;
	code = write_header(region.vmaddr, &header);
	unmapped = rvm_unmap(&region);
	for (rvm_length_t i = 0; !code && i < nregions; i++)
		defs[i].offset = RVM_MK_OFFSET(0, le64toh(header.at[i].offset));
	return code ? code : unmapped;
}

static rvm_return_t read_header(char *name, rvm_offset_t dev_length, rvm_options_t *options,
				struct header *header)
{
	rvm_region_t region = region_of(name, dev_length, 0, RVM_SEGMENT_HDR_SIZE);
	rvm_return_t code = rvm_map(&region, options);

	if (code)
		return code;
	if (region.length < sizeof(*header))
		memset(header, 0, sizeof(*header));
	else
		memcpy(header, region.vmaddr, sizeof(*header));
	return rvm_unmap(&region);
}

/* The definitions in a header, if all of it is sound. */
static bool decode(const struct header *header, rvm_region_def_t *defs, rvm_length_t *count)
{
	uint64_t end = RVM_SEGMENT_HDR_SIZE;

	*count = le64toh(header->regions);
	if (memcmp(header->magic, MAGIC, sizeof(header->magic)) ||
	    le32toh(header->version) != VERSION || le32toh(header->crc) != checksum(*header) ||
	    *count > MAX_REGIONS)
		return false;
	for (rvm_length_t i = 0; i < *count; i++) {
		defs[i].offset = RVM_MK_OFFSET(0, le64toh(header->at[i].offset));
		defs[i].length = le64toh(header->at[i].length);
		defs[i].vmaddr = (char *)(uintptr_t)le64toh(header->at[i].address);
		if (defs[i].offset.low != end || __builtin_add_overflow(end, defs[i].length, &end))
			return false;
	}
	return !check_definitions(defs, *count);
}

/*
 * Map a region where it belongs, but never in the place of anything: the
 * header may come from anywhere.
 */
static rvm_return_t map_there(char *name, rvm_offset_t dev_length, rvm_options_t *options,
			      const rvm_region_def_t *def)
{
	rvm_region_t region = region_of(name, dev_length, def->offset.low, def->length);
	void *place = mmap(def->vmaddr, def->length, PROT_NONE,
			   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE,
			   -1, 0);
	rvm_return_t code = RVM_EVM_OVERLAP;

	if (place == MAP_FAILED)
		return errno == ENOMEM ? RVM_ENO_MEMORY : code;
	/* a kernel before 4.17 takes the address for a hint */
	if (place == def->vmaddr) {
		region.vmaddr = def->vmaddr;
		code = rvm_map(&region, options);
		if (!code && region.length == def->length)
			return RVM_SUCCESS;
		if (!code)
			code = rvm_unmap(&region) ? RVM_EINTERNAL : RVM_ESEGMENT_HDR;
		if (code == RVM_EOFFSET)
			code = RVM_ESEGMENT_HDR;
	}
	munmap(place, def->length);
	return code;
}

static rvm_return_t unmap(const rvm_region_def_t *def)
{
	rvm_region_t region = region_of(NULL, def->offset, def->offset.low, def->length);
	rvm_return_t code;

	region.vmaddr = def->vmaddr;
	code = rvm_unmap(&region);
	/* a place that was given to rvm_map stays taken */
	if (!code)
		munmap(def->vmaddr, def->length);
	return code;
}

rvm_return_t rvm_load_segment(char *DevName, rvm_offset_t DevLength, rvm_options_t *options,
			      unsigned long *nregions, rvm_region_def_t *regions[])
{
	struct header header;
	rvm_region_def_t *defs;
	rvm_length_t count, i = 0;
	rvm_return_t code;

	if (!nregions || !regions)
		return RVM_EREGION_DEF;
	code = read_header(DevName, DevLength, options, &header);
	if (code)
		return code;
	defs = malloc(MAX_REGIONS * sizeof(*defs));
	if (!defs)
		return RVM_ENO_MEMORY;
	if (!decode(&header, defs, &count))
		code = RVM_ESEGMENT_HDR;
	while (!code && i < count) {
		code = map_there(DevName, DevLength, options, &defs[i]);
		if (!code)
			i++;
	}
	if (code) {
		while (i)
			unmap(&defs[--i]);
		free(defs);
		return code;
	}
	*nregions = count;
	*regions = defs;
	return RVM_SUCCESS;
}

rvm_return_t rvm_release_segment(unsigned long nregions, rvm_region_def_t **regions)
{
	rvm_return_t code;

	if (!regions || !*regions)
		return RVM_EREGION_DEF;
	for (unsigned long i = 0; i < nregions; i++) {
		if (!(*regions)[i].length)
			continue;
		code = unmap(&(*regions)[i]);
		if (code)
			return code;
		(*regions)[i].length = 0;
	}
	free(*regions);
	*regions = NULL;
	return RVM_SUCCESS;
}
