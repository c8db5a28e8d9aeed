// SPDX-License-Identifier: GPL-2.0
/*
 * rvm.ko: the kernel engine of recoverable virtual memory.  /dev/rvm, its
 * ioctls, and the module itself.
 */
#include <linux/anon_inodes.h>
#include <linux/file.h>
#include <linux/miscdevice.h>
#include <linux/module.h>
#include <linux/uaccess.h>

#include "module/area.h"
#include "module/commit.h"
#include "module/file.h"
#include "module/log.h"
#include "module/memory.h"
#include "module/recover.h"
#include "module/segment.h"
#include "module/stat.h"
#include "module/tracking.h"
#include "module/truncate.h"

unsigned int rvm_ring_kib = 1024;
module_param_named(ring_kib, rvm_ring_kib, uint, 0444);
MODULE_PARM_DESC(ring_kib, "Memory in KiB for each log's unwritten end, 64 to 16384 (default 1024); a larger transaction makes it larger");

module_param_named(max_areas, rvm_max_areas, uint, 0644);
MODULE_PARM_DESC(max_areas, "Transactions that a process may have open at once in a log (default 1024)");

module_param_named(memory_kib, rvm_system_memory.limit_kib, uint, 0644);
MODULE_PARM_DESC(memory_kib, "Memory in KiB that changed pages, areas and unwritten log may take in all; half of it a log, unless that is set (default: a quarter of the machine's)");

static umode_t rvm_device_mode = 0666;
module_param_named(device_mode, rvm_device_mode, ushort, 0444);
MODULE_PARM_DESC(device_mode, "Permissions of /dev/rvm (default 0666: it gives access to nothing that a user could not open alone)");

/*
 * Every argument is a struct of known size with flags: copy it, and check that
 * it's the one we know.
 */
#define COPY_ARGUMENT(a, user, known_flags)					\
	(copy_from_user(&(a), (user), sizeof(a)) ? -EFAULT :			\
	 (a).size != sizeof(a) || ((a).flags & ~(known_flags)) ? -EINVAL : 0)

static int attach_segment(struct rvm_log *log, void __user *user)
{
	struct rvm_ioc_attach_segment a;
	struct file *file = ERR_PTR(-EINVAL);
	u64 size = 0;
	char *name;
	int fd, ret = COPY_ARGUMENT(a, user, RVM_SEGMENT_CHECK | RVM_SEGMENT_TRACKED |
				    RVM_SEGMENT_STRICT);

	if (ret)
		return ret;
	if (!rvm_tracking_valid(a.flags))
		return -EINVAL;
	if (!a.name_length || a.name_length > RVM_NAME_MAX)
		return -ENAMETOOLONG;
	name = memdup_user(u64_to_user_ptr(a.name), a.name_length);
	if (IS_ERR(name))
		return PTR_ERR(name);
	if (name[0] == '/' && !memchr(name, 0, a.name_length))
		file = rvm_segment_attach(log, a.fd, name, a.name_length, a.flags, &size);
	kfree(name);
	if (IS_ERR(file))
		return PTR_ERR(file);

	fd = get_unused_fd_flags(O_CLOEXEC);
	if (fd < 0) {
		ret = fd;
		goto err_file;
	}
	a.length = size;
	ret = -EFAULT;
	if (copy_to_user(user, &a, sizeof(a)))
		goto err_fd;
	fd_install(fd, file);
	return fd;

err_fd:
	put_unused_fd(fd);
err_file:
	fput(file);
	return ret;
}

/* The dictionary in the ioctl's form: its length, and the entries if to is given. */
static u32 pack_dictionary(struct rvm_log *log, u8 *to)
{
	struct rvm_dict_entry e;
	u32 cursor = 0, length = 0;

	while (rvm_dict_next(log->status, &cursor, &e)) {
		if (to) {
			void *records = xa_load(&log->waiting, e.id);
			struct rvm_ioc_segment_name out = {
				.id = e.id,
				.name_length = e.name_length,
				.records = records ? xa_to_value(records) : 0,
			};

			memcpy(to + length, &out, sizeof(out));
			memcpy(to + length + sizeof(out), e.name, e.name_length);
		}
		length += sizeof(struct rvm_ioc_segment_name) + rvm_align8(e.name_length);
	}
	return length;
}

static int dictionary(struct rvm_log *log, void __user *user)
{
	struct rvm_ioc_dictionary a;
	u8 *packed = NULL;
	u32 room;
	int ret = COPY_ARGUMENT(a, user, 0);

	if (ret)
		return ret;
	room = a.length;
	mutex_lock(&log->attach_lock);
	mutex_lock(&log->truncate_lock);
	a.segments = log->status->segments;
	a.length = pack_dictionary(log, NULL);
	if (a.length <= room) {
		packed = kvzalloc(a.length, GFP_KERNEL_ACCOUNT);
		if (packed)
			pack_dictionary(log, packed);
		else
			ret = -ENOMEM;
	} else {
		ret = -ENOSPC;
	}
	mutex_unlock(&log->truncate_lock);
	mutex_unlock(&log->attach_lock);

	if (packed && copy_to_user(u64_to_user_ptr(a.buffer), packed, a.length))
		ret = -EFAULT;
	kvfree(packed);
	if (copy_to_user(user, &a, sizeof(a)))
		return -EFAULT;
	return ret;
}

static int recover(struct rvm_log *log, void __user *user)
{
	struct rvm_ioc_recover a;
	int ret = COPY_ARGUMENT(a, user, 0);

	if (ret)
		return ret;
	ret = rvm_recover(log, &a.applied, &a.kept);
	if (!ret && copy_to_user(user, &a, sizeof(a)))
		return -EFAULT;
	return ret;
}

static int tell(const struct rvm_findings *findings, u64 to, u32 room, u64 __user *count)
{
	size_t n = min_t(u64, findings->count, room);

	if (put_user(findings->count, count))
		return -EFAULT;
	if (n && copy_to_user(u64_to_user_ptr(to), findings->found, n * sizeof(findings->found[0])))
		return -EFAULT;
	return 0;
}

static int commit(struct rvm_log *log, void __user *user)
{
	struct rvm_ioc_commit __user *to = user;
	struct rvm_findings findings;
	struct rvm_ioc_commit a;
	int ret = COPY_ARGUMENT(a, user, RVM_COMMIT_FLUSH | RVM_COMMIT_CHECKED);

	if (ret)
		return ret;
	if (a.room > RVM_FOUND_MAX)
		return -EINVAL;
	/* Can the sequence be told?  Afterwards it is too late for an error. */
	if (put_user(a.sequence, &to->sequence))
		return -EFAULT;
	ret = rvm_commit(log, a.area, a.flags, &a.sequence, &findings);
	(void)tell(&findings, a.found, a.room, &to->count);
	if (!ret)
		(void)put_user(a.sequence, &to->sequence);
	return ret;
}

static int begin(struct rvm_log *log, void __user *user)
{
	struct rvm_ioc_begin __user *to = user;
	struct rvm_findings findings;
	struct rvm_ioc_begin a;
	int ret = COPY_ARGUMENT(a, user, 0);

	if (ret)
		return ret;
	if (a.room > RVM_FOUND_MAX)
		return -EINVAL;
	ret = rvm_tracking_begin(log, a.area, &findings);
	return ret ? ret : tell(&findings, a.found, a.room, &to->count);
}

static int area_operation(struct rvm_log *log, void __user *user,
			  int (*operation)(struct rvm_log *log, u32 id))
{
	struct rvm_ioc_area a;
	int ret = COPY_ARGUMENT(a, user, 0);

	if (ret)
		return ret;
	return a.reserved ? -EINVAL : operation(log, a.area);
}

static int truncate(struct rvm_log *log)
{
	return READ_ONCE(log->recovered) ? rvm_truncate(log, 0, RVM_TRUNCATION_REQUESTED) :
					   -EAGAIN;
}

static int flush(struct rvm_log *log)
{
	mutex_lock(&log->commit_lock);
	log->counts.flush_requests++;
	mutex_unlock(&log->commit_lock);
	return rvm_log_flush_all(log);
}

static int log_operation(struct rvm_log *log, void __user *user, int (*operation)(struct rvm_log *))
{
	struct rvm_ioc_log a;
	int ret = COPY_ARGUMENT(a, user, 0);

	return ret ? ret : operation(log);
}

static int set_options(struct rvm_log *log, void __user *user)
{
	struct rvm_ioc_options a;
	int ret = COPY_ARGUMENT(a, user, RVM_OPTION_TRUNCATE | RVM_OPTION_FLUSH_INTERVAL |
				RVM_OPTION_COALESCE | RVM_OPTION_MEMORY);

	if (ret)
		return ret;
	/* What isn't meant to be set is 0. */
	if (a.reserved || a.truncate > 100 || a.coalesce > 1 ||
	    (a.truncate && !(a.flags & RVM_OPTION_TRUNCATE)) ||
	    (a.flush_interval && !(a.flags & RVM_OPTION_FLUSH_INTERVAL)) ||
	    (a.coalesce && !(a.flags & RVM_OPTION_COALESCE)) ||
	    (a.memory && (!(a.flags & RVM_OPTION_MEMORY) || a.memory < RVM_MEMORY_MIN)))
		return -EINVAL;
	if (a.flags & RVM_OPTION_COALESCE) {
		ret = rvm_coalesce_set(log, a.coalesce);
		if (ret)
			return ret;
	}
	if (a.flags & RVM_OPTION_FLUSH_INTERVAL)
		rvm_log_set_flush_interval(log, a.flush_interval);
	if (a.flags & RVM_OPTION_TRUNCATE) {
		WRITE_ONCE(log->truncate_at, a.truncate);
		rvm_truncate_consider(log);
	}
	if (a.flags & RVM_OPTION_MEMORY)
		WRITE_ONCE(log->memory.limit_kib, min_t(u64, a.memory >> 10, UINT_MAX));
	return 0;
}

static int query(struct rvm_log *log, void __user *user)
{
	struct rvm_ioc_query a;
	int ret = COPY_ARGUMENT(a, user, 0);

	if (ret)
		return ret;
	rvm_stat_query(log, &a);
	return copy_to_user(user, &a, sizeof(a)) ? -EFAULT : 0;
}

static int statistics(struct rvm_log *log, void __user *user)
{
	struct rvm_ioc_statistics *a;
	struct {
		u32 size, flags;
	} head;
	int ret = 0;

	if (copy_from_user(&head, user, sizeof(head)))
		return -EFAULT;
	if (head.size != sizeof(*a) || head.flags)
		return -EINVAL;
	/* Too much for the stack. */
	a = kmalloc(sizeof(*a), GFP_KERNEL);
	if (!a)
		return -ENOMEM;
	rvm_stat_statistics(log, a);
	if (copy_to_user(user, a, sizeof(*a)))
		ret = -EFAULT;
	kfree(a);
	return ret;
}

static long rvm_log_ioctl(struct file *file, unsigned int command, unsigned long argument)
{
	struct rvm_log *log = file->private_data;
	void __user *user = (void __user *)argument;

	switch (command) {
	case RVM_IOC_COMMIT:
		return commit(log, user);
	case RVM_IOC_BEGIN:
		return begin(log, user);
	case RVM_IOC_ABORT:
		return area_operation(log, user, rvm_area_abort);
	case RVM_IOC_SPILL:
		return area_operation(log, user, rvm_area_spill);
	case RVM_IOC_FLUSH:
		return log_operation(log, user, flush);
	case RVM_IOC_TRUNCATE:
		return log_operation(log, user, truncate);
	case RVM_IOC_DICTIONARY:
		return dictionary(log, user);
	case RVM_IOC_ATTACH_SEGMENT:
		return attach_segment(log, user);
	case RVM_IOC_RECOVER:
		return recover(log, user);
	case RVM_IOC_SET_OPTIONS:
		return set_options(log, user);
	case RVM_IOC_QUERY:
		return query(log, user);
	case RVM_IOC_STATISTICS:
		return statistics(log, user);
	default:
		return -ENOTTY;
	}
}

static int rvm_log_mmap(struct file *file, struct vm_area_struct *vma)
{
	return rvm_area_mmap(file->private_data, vma);
}

static int rvm_log_release(struct inode *inode, struct file *file)
{
	rvm_log_put(file->private_data);
	return 0;
}

static const struct file_operations rvm_log_fops = {
	.owner		= THIS_MODULE,
	.unlocked_ioctl	= rvm_log_ioctl,
	.compat_ioctl	= compat_ptr_ioctl,
	.mmap		= rvm_log_mmap,
	.release	= rvm_log_release,
};

static int attach_log(void __user *user)
{
	struct rvm_ioc_attach_log a;
	struct rvm_log *log;
	int ret = COPY_ARGUMENT(a, user, 0);

	if (ret)
		return ret;
	if (a.reserved)
		return -EINVAL;
	ret = rvm_log_attach(a.fd, &log);
	if (ret)
		return ret;
	ret = anon_inode_getfd("[rvm-log]", &rvm_log_fops, log, O_RDWR | O_CLOEXEC);
	if (ret < 0)
		rvm_log_put(log);
	return ret;
}

static long rvm_ioctl(struct file *file, unsigned int command, unsigned long argument)
{
	if (command != RVM_IOC_ATTACH_LOG)
		return -ENOTTY;
	return attach_log((void __user *)argument);
}

static const struct file_operations rvm_fops = {
	.owner		= THIS_MODULE,
	.unlocked_ioctl	= rvm_ioctl,
	.compat_ioctl	= compat_ptr_ioctl,
};

static struct miscdevice rvm_device = {
	.minor	= MISC_DYNAMIC_MINOR,
	.name	= RVM_DEVICE_NAME,
	.fops	= &rvm_fops,
};

static int __init rvm_init(void)
{
	int ret = rvm_file_init();

	if (ret)
		return ret;
	ret = rvm_log_init();
	if (ret)
		goto err_file;
	ret = rvm_memory_init();
	if (ret)
		goto err_log;
	rvm_stat_init();
	rvm_device.mode = rvm_device_mode;
	ret = misc_register(&rvm_device);
	if (!ret)
		return 0;

	rvm_stat_exit();
	rvm_memory_exit();
err_log:
	rvm_log_exit();
err_file:
	rvm_file_exit();
	return ret;
}

static void __exit rvm_exit(void)
{
	misc_deregister(&rvm_device);
	rvm_stat_exit();
	rvm_memory_exit();
	rvm_log_exit();
	rvm_file_exit();
}

module_init(rvm_init);
module_exit(rvm_exit);

MODULE_DESCRIPTION("Recoverable virtual memory: transactions on mapped memory, durable by a redo log (/dev/rvm)");
MODULE_AUTHOR("The RVM for Linux maintainers");
MODULE_LICENSE("GPL");
MODULE_SOFTDEP("pre: crc32c");
