/* SPDX-License-Identifier: GPL-2.0 OR MIT */
/*
 * The segment loader: a segment that knows its regions and their addresses.
 *
 * rvm_create_segment writes a header that says where each region is to be in
 * memory; rvm_load_segment maps all of them there, so that pointers stored in
 * them stay valid.  Link with -lseg -lrvm.
 *
 * Every call is thread safe.  Each may also return what rvm_map, rvm_unmap and
 * the calls of a transaction return.
 */
#ifndef RVM_SEGMENT_H
#define RVM_SEGMENT_H

#include <rvm/rvm.h>

#ifdef __cplusplus
extern "C" {
#endif

#define RVM_SEGMENT_HDR_SIZE	RVM_PAGE_SIZE	/* bytes before the first region */

#define RVM_ESEGMENT_HDR	2000	/* no header, a damaged one, or of another version */

typedef struct {
	rvm_offset_t offset;		/* in the segment; written by both calls below */
	rvm_length_t length;		/* whole pages */
	char *vmaddr;			/* where it is mapped; page aligned */
} rvm_region_def_t;

#define RVM_INIT_REGION(region, off, len, addr) do {	\
	(region).offset = (off);			\
	(region).length = (len);			\
	(region).vmaddr = (addr);			\
} while (0)

/*
 * Write the header of a segment, a file or device that exists; an empty file is
 * first grown to DevLength.  The regions lie after the header, in the order of
 * defs, and their offsets are written there.  Their contents stay as they are.
 * The header is durable when this returns.  Nothing stays mapped.  On failure
 * header and defs are as they were.
 *
 * RVM_EREGION_DEF	no definitions, too many, or one with a length or address
 *			that is 0 or not of whole pages
 * RVM_ERANGE		two of them overlap in memory
 * RVM_EOFFSET		the segment, or DevLength, is shorter than all of it
 */
rvm_return_t rvm_create_segment(char *DevName, rvm_offset_t DevLength, rvm_options_t *options,
				rvm_length_t nregions, rvm_region_def_t *defs);

/*
 * Map every region at its address.  *regions is an array from malloc of
 * *nregions, which rvm_release_segment frees.  On failure nothing is mapped, and
 * both stay as they were.
 *
 * RVM_ESEGMENT_HDR	see above; or the segment is shorter than its regions
 * RVM_EVM_OVERLAP	something is in memory at such an address already
 * RVM_EREGION_DEF	nregions or regions is NULL
 */
rvm_return_t rvm_load_segment(char *DevName, rvm_offset_t DevLength, rvm_options_t *options,
			      unsigned long *nregions, rvm_region_def_t *regions[]);

/*
 * Unmap the regions that rvm_load_segment mapped, free the array, and set
 * *regions to NULL.  On failure (RVM_EUNCOMMIT) some may have been unmapped; the
 * call can be made again, and goes on with the others.
 *
 * RVM_EREGION_DEF	no array
 */
rvm_return_t rvm_release_segment(unsigned long nregions, rvm_region_def_t **regions);

#ifdef __cplusplus
}
#endif

#endif
