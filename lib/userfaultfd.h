/* SPDX-License-Identifier: GPL-2.0 OR MIT */
/* <linux/userfaultfd.h>, and what Linux 6.7 added to it and to /proc/PID/pagemap. */
#ifndef RVM_LIB_USERFAULTFD_H
#define RVM_LIB_USERFAULTFD_H

#include <linux/fs.h>
#include <linux/types.h>
#include <linux/userfaultfd.h>
#include <sys/ioctl.h>

#ifndef UFFD_FEATURE_WP_ASYNC
#define UFFD_FEATURE_WP_ASYNC	(1 << 15)
#endif

#ifndef PAGEMAP_SCAN
#define PAGEMAP_SCAN		_IOWR('f', 16, struct pm_scan_arg)

#define PAGE_IS_WRITTEN		(1 << 1)
#define PM_SCAN_CHECK_WPASYNC	(1 << 1)

struct page_region {
	__u64 start, end;
	__u64 categories;
};

struct pm_scan_arg {
	__u64 size, flags;
	__u64 start, end, walk_end;
	__u64 vec, vec_len;
	__u64 max_pages;
	__u64 category_inverted, category_mask, category_anyof_mask;
	__u64 return_mask;
};
#endif

#endif
