// SPDX-License-Identifier: GPL-2.0 OR MIT
/* Records of the API: making, copying and freeing them. */
#include <stdlib.h>
#include <string.h>

#include <rvm/rvm.h>
#include <rvm/rvm_statistics.h>

#define RECORD_FUNCTIONS(name)						\
rvm_##name##_t *rvm_malloc_##name(void)					\
{									\
	rvm_##name##_t *record = malloc(sizeof(*record));		\
									\
	rvm_init_##name(record);					\
	if (record)							\
		record->from_heap = rvm_true;				\
	return record;							\
}									\
									\
rvm_##name##_t *rvm_copy_##name(rvm_##name##_t *record)			\
{									\
	rvm_##name##_t *copy;						\
									\
	if (!record || record->struct_id != rvm_##name##_id)		\
		return NULL;						\
	copy = malloc(sizeof(*copy));					\
	if (copy) {							\
		*copy = *record;					\
		copy->from_heap = rvm_true;				\
	}								\
	return copy;							\
}									\
									\
void rvm_free_##name(rvm_##name##_t *record)				\
{									\
	if (record && record->struct_id == rvm_##name##_id && record->from_heap) \
		free(record);						\
}

RECORD_FUNCTIONS(options)
RECORD_FUNCTIONS(region)
RECORD_FUNCTIONS(tid)
RECORD_FUNCTIONS(statistics)

void rvm_init_options(rvm_options_t *options)
{
	if (!options)
		return;
	memset(options, 0, sizeof(*options));
	options->struct_id = rvm_options_id;
	options->truncate = TRUNCATE;
	options->recovery_buf_len = RECOVERY_BUF_LEN;
	options->flush_buf_len = FLUSH_BUF_LEN;
	options->max_read_len = MAX_READ_LEN;
	options->create_log_mode = 0600;
}

void rvm_init_region(rvm_region_t *region)
{
	if (!region)
		return;
	memset(region, 0, sizeof(*region));
	region->struct_id = rvm_region_id;
}

void rvm_init_tid(rvm_tid_t *tid)
{
	if (!tid)
		return;
	memset(tid, 0, sizeof(*tid));
	tid->struct_id = rvm_tid_id;
}

void rvm_init_statistics(rvm_statistics_t *statistics)
{
	if (!statistics)
		return;
	memset(statistics, 0, sizeof(*statistics));
	statistics->struct_id = rvm_statistics_id;
}
