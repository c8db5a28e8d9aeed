/* SPDX-License-Identifier: GPL-2.0 OR MIT */
/* Making logs. */
#ifndef RVM_LIB_LOG_FILE_H
#define RVM_LIB_LOG_FILE_H

#include <stdint.h>
#include <sys/types.h>

#include <rvm/rvm.h>

/*
 * Make a new log file, durably: RVM_ELOG if the name exists, RVM_EOFFSET if
 * area_length is 0 or too long for a file, RVM_EIO with errno (and no file is
 * left), RVM_ENO_MEMORY.  area_length is rounded up to whole units.
 */
rvm_return_t rvm_log_file_create(const char *path, uint64_t area_length, mode_t mode);

/*
 * Make an empty log of an open regular file or block device, whatever was in it
 * before.  On a device, area_length 0 means all there is; one that does not fit
 * is RVM_EIO with ENOSPC.
 */
rvm_return_t rvm_log_file_format(int fd, uint64_t area_length);

#endif
