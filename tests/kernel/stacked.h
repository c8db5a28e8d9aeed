/* SPDX-License-Identifier: GPL-2.0 OR MIT */
/*
 * Block devices that stand on others: dm, md and loop devices and drbd's on null_blk
 * devices with a volatile cache, nbd's on a server in this process.
 */
#ifndef RVM_TESTS_STACKED_H
#define RVM_TESTS_STACKED_H

#include "null_blk.h"

#include "tests/nbd.h"

#include <stddef.h>
#include <sys/sysmacros.h>

#include <linux/dm-ioctl.h>
#include <linux/fs.h>
#include <linux/genetlink.h>
#include <linux/loop.h>
#include <linux/major.h>
#include <linux/netlink.h>
#include <linux/raid/md_p.h>
#include <linux/raid/md_u.h>

#define LOWER_LENGTH	MIB

struct stacked {
	const struct kind *kind;
	const char *name;
	unsigned int number;		/* of those of its kind */
	unsigned int block;		/* bytes of a sector */
	char path[256];
	char lower[2][32];
	struct nbd nbd;
};

struct kind {
	int (*make)(struct stacked *d);
	int (*remove)(struct stacked *d);
	unsigned int lower;		/* null_blk devices */
	unsigned int parts;		/* devices below that data go to, and flushes */
	bool mirrored;			/* all data go to each */
};

/* An ioctl on a device, whose errno stays. */
static int control(const char *path, unsigned long command, void *argument)
{
	int fd = open(path, O_RDWR | O_CLOEXEC), ret, error;

	if (fd < 0)
		return -1;
	ret = ioctl(fd, command, argument);
	error = errno;
	close(fd);
	errno = error;
	return ret;
}

/* --- dm-linear: a part of one, then a part of the other ----------------- */

#define LINEAR_START	256	/* sectors */
#define LINEAR_LENGTH	1536

struct linear_table {
	struct dm_ioctl io;
	struct {
		struct dm_target_spec spec;
		char device[64];
	} target[2];
};

static int control_dm(const struct stacked *d, unsigned long command, struct linear_table *t)
{
	unsigned int i;

	memset(t, 0, sizeof(*t));
	t->io.version[0] = DM_VERSION_MAJOR;
	t->io.data_size = sizeof(*t);
	t->io.data_start = offsetof(struct linear_table, target);
	t->io.target_count = 2;
	strcpy(t->io.name, d->name);
	for (i = 0; i < 2; i++) {
		t->target[i].spec.sector_start = i * LINEAR_LENGTH;
		t->target[i].spec.length = LINEAR_LENGTH;
		t->target[i].spec.next = sizeof(t->target[i]);
		strcpy(t->target[i].spec.target_type, "linear");
		snprintf(t->target[i].device, sizeof(t->target[i].device), "%s %u", d->lower[i],
			 LINEAR_START);
	}
	return control("/dev/" DM_DIR "/" DM_CONTROL_NODE, command, t);
}

static int make_linear(struct stacked *d)
{
	struct linear_table t;

	/* without a flag, DM_DEV_SUSPEND resumes */
	if (control_dm(d, DM_DEV_CREATE, &t) || control_dm(d, DM_TABLE_LOAD, &t) ||
	    control_dm(d, DM_DEV_SUSPEND, &t))
		return -1;
	sprintf(d->path, "/dev/dm-%u", minor(t.io.dev));
	return 0;
}

static int remove_linear(struct stacked *d)
{
	struct linear_table t;

	return control_dm(d, DM_DEV_REMOVE, &t);
}

/* --- md, without metadata ----------------------------------------------- */

static int make_raid(struct stacked *d, int level, int chunk)
{
	mdu_array_info_t array = {
		.level = level, .chunk_size = chunk, .raid_disks = 2, .nr_disks = 2,
		.size = chunk ? 0 : LOWER_LENGTH / KIB, .not_persistent = 1,
		.state = 1 << MD_SB_CLEAN,
	};
	char name[32];
	struct stat st;
	int i;

	snprintf(name, sizeof(name), "md_%s", d->name);
	if (write_text("/sys/module/md_mod/parameters/new_array", name))
		return -1;
	sprintf(d->path, "/dev/%s", name);
	if (control(d->path, SET_ARRAY_INFO, &array))
		return -1;
	for (i = 0; i < 2; i++) {
		mdu_disk_info_t disk = {
			.number = i, .raid_disk = i,
			.state = 1 << MD_DISK_ACTIVE | 1 << MD_DISK_SYNC,
		};

		if (stat(d->lower[i], &st))
			return -1;
		disk.major = major(st.st_rdev);
		disk.minor = minor(st.st_rdev);
		if (control(d->path, ADD_NEW_DISK, &disk))
			return -1;
	}
	return control(d->path, RUN_ARRAY, NULL);
}

static int make_raid1(struct stacked *d)
{
	return make_raid(d, 1, 0);
}

static int make_raid0(struct stacked *d)
{
	return make_raid(d, 0, 16 * KIB);
}

static int remove_raid(struct stacked *d)
{
	return control(d->path, STOP_ARRAY, NULL);
}

/* --- loop --------------------------------------------------------------- */

static int configure_loop(struct stacked *d, const char *path, uint32_t flags)
{
	struct loop_config config = { .block_size = d->block, .info = { .lo_flags = flags } };
	int number = control("/dev/loop-control", LOOP_CTL_GET_FREE, NULL), ret;
	char setting[64], direct = 0;

	if (number < 0)
		return -1;
	config.fd = open(path, O_RDWR | O_CLOEXEC);
	if ((int)config.fd < 0)
		return -1;
	sprintf(d->path, "/dev/loop%d", number);
	ret = control(d->path, LOOP_CONFIGURE, &config);
	close(config.fd);
	if (ret)
		return -1;
	/* it does without direct I/O if it has to */
	snprintf(setting, sizeof(setting), "/sys/block/loop%d/loop/dio", number);
	config.fd = open(setting, O_RDONLY | O_CLOEXEC);
	ret = read(config.fd, &direct, 1);
	close(config.fd);
	return ret == 1 && (direct == '1') == (flags == LO_FLAGS_DIRECT_IO) ? 0 : -1;
}

static int make_loop(struct stacked *d)
{
	return configure_loop(d, d->lower[0], 0);
}

static int make_loop_direct(struct stacked *d)
{
	return configure_loop(d, d->lower[0], LO_FLAGS_DIRECT_IO);
}

static int remove_loop(struct stacked *d)
{
	return control(d->path, LOOP_CLR_FD, NULL);
}

static int make_loop_file(struct stacked *d)
{
	char path[64];

	snprintf(path, sizeof(path), "/tmp/%s.image", d->name);
	return make_file(path, LOWER_LENGTH, 0) || configure_loop(d, path, 0) ? -1 : 0;
}

static int remove_loop_file(struct stacked *d)
{
	char path[64];

	snprintf(path, sizeof(path), "/tmp/%s.image", d->name);
	return remove_loop(d) || unlink(path) ? -1 : 0;
}

/* --- nbd ---------------------------------------------------------------- */

static int make_network(struct stacked *d)
{
	d->nbd = (struct nbd){ .number = d->number, .block = d->block, .length = LOWER_LENGTH };
	if (make_nbd(&d->nbd))
		return -1;
	strcpy(d->path, d->nbd.path);
	return 0;
}

static int remove_network(struct stacked *d)
{
	return remove_nbd(&d->nbd);
}

/* --- drbd: a primary that has no peer ----------------------------------- */

/* Of the kernel's <linux/drbd.h> and <linux/drbd_genl.h>, which user space has not. */
enum {
	DRBD_NEW_MINOR = 5, DRBD_NEW_RESOURCE = 7, DRBD_ATTACH = 12, DRBD_PRIMARY = 14,
	DRBD_DOWN = 27,
};

#define DRBD_CONTEXT		2
#define DRBD_CONTEXT_VOLUME	1
#define DRBD_CONTEXT_RESOURCE	2
#define DRBD_DISK		3
#define DRBD_DISK_BACKING	1
#define DRBD_DISK_META		2
#define DRBD_DISK_META_INDEX	3
#define DRBD_EXTERNAL		(-2)
#define DRBD_SET_DEFAULTS	1
#define DRBD_SUCCESS		101
#define DRBD_STATE_SUCCESS	1

struct drbd_header { uint32_t minor, flags; };

/* Its superblock, on the metadata's device; the activity log and the bitmap are zeros. */
struct drbd_superblock {
	uint64_t length;		/* sectors */
	uint64_t uuid[4], device_uuid, reserved;
	uint32_t flags, magic, md_length, log_at, log_extents, bitmap_at, bytes_per_bit;
};

#define DRBD_MAGIC		0x8374026b
#define DRBD_CLEAN		0x91	/* consistent, up to date, its activity log clean */

struct message {
	struct nlmsghdr nl;
	struct genlmsghdr genl;
	char payload[4096];
};

static struct nlattr *put(struct message *m, int type, const void *data, size_t length)
{
	struct nlattr *attr = (void *)((char *)m + m->nl.nlmsg_len);

	attr->nla_type = type;
	attr->nla_len = NLA_HDRLEN + length;
	memcpy((char *)attr + NLA_HDRLEN, data, length);
	m->nl.nlmsg_len += NLA_ALIGN(attr->nla_len);
	return attr;
}

/* The attributes since then are in that one. */
static void nest(const struct message *m, struct nlattr *attr)
{
	attr->nla_type |= NLA_F_NESTED;
	attr->nla_len = (char *)m + m->nl.nlmsg_len - (char *)attr;
}

/* The answer takes the message's place. */
static int ask(struct message *m)
{
	int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_GENERIC);
	ssize_t n = -1;

	m->nl.nlmsg_flags = NLM_F_REQUEST;
	if (fd >= 0 && send(fd, m, m->nl.nlmsg_len, 0) >= 0)
		n = recv(fd, m, sizeof(*m), 0);
	close(fd);
	if (n > 0 && m->nl.nlmsg_type == NLMSG_ERROR) {
		errno = -((struct nlmsgerr *)NLMSG_DATA(&m->nl))->error;
		n = -1;
	}
	return n > 0 ? 0 : -1;
}

static struct message begin_message(int type, int command)
{
	return (struct message) {
		.nl = { .nlmsg_len = NLMSG_HDRLEN + GENL_HDRLEN, .nlmsg_type = type },
		.genl = { .cmd = command, .version = 1 },
	};
}

static int drbd_family(void)
{
	struct message m = begin_message(GENL_ID_CTRL, CTRL_CMD_GETFAMILY);
	const struct nlattr *attr;
	uint32_t at;

	put(&m, CTRL_ATTR_FAMILY_NAME, "drbd", sizeof("drbd"));
	if (ask(&m))
		return -1;
	for (at = NLMSG_HDRLEN + GENL_HDRLEN; at < m.nl.nlmsg_len; at += NLA_ALIGN(attr->nla_len)) {
		attr = (const void *)((char *)&m + at);
		if (attr->nla_type == CTRL_ATTR_FAMILY_ID)
			return *(const uint16_t *)((const char *)attr + NLA_HDRLEN);
	}
	return -1;
}

static int control_drbd(const struct stacked *d, int command)
{
	struct message m = begin_message(drbd_family(), command);
	struct drbd_header *header = (void *)m.payload;
	const int32_t external = DRBD_EXTERNAL;
	const uint32_t volume = 0;
	struct nlattr *attr;

	header->minor = d->number;
	header->flags = DRBD_SET_DEFAULTS;
	m.nl.nlmsg_len += sizeof(*header);
	attr = put(&m, DRBD_CONTEXT, "", 0);
	put(&m, DRBD_CONTEXT_VOLUME, &volume, sizeof(volume));
	put(&m, DRBD_CONTEXT_RESOURCE, d->name, strlen(d->name) + 1);
	nest(&m, attr);
	if (command == DRBD_ATTACH) {
		attr = put(&m, DRBD_DISK, "", 0);
		put(&m, DRBD_DISK_BACKING, d->lower[0], strlen(d->lower[0]) + 1);
		put(&m, DRBD_DISK_META, d->lower[1], strlen(d->lower[1]) + 1);
		put(&m, DRBD_DISK_META_INDEX, &external, sizeof(external));
		nest(&m, attr);
	}
	if (ask(&m))
		return -1;
	/* it answers with a code there */
	if (header->flags == DRBD_SUCCESS || header->flags == DRBD_STATE_SUCCESS)
		return 0;
	fprintf(stderr, "# drbd: command %d: %d\n", command, (int)header->flags);
	errno = EIO;
	return -1;
}

static int make_drbd(struct stacked *d)
{
	struct drbd_superblock superblock = {
		.length = htobe64(LOWER_LENGTH / 512), .uuid = { htobe64(4) }, .device_uuid = 1,
		.flags = htobe32(DRBD_CLEAN), .magic = htobe32(DRBD_MAGIC),
		.md_length = htobe32(LOWER_LENGTH / 512), .log_at = htobe32(8),
		.log_extents = htobe32(67), .bitmap_at = htobe32(8 + 64),
		.bytes_per_bit = htobe32(PAGE),
	};
	int fd = open(d->lower[1], O_WRONLY | O_CLOEXEC), ret;

	if (fd < 0)
		return -1;
	ret = write(fd, &superblock, sizeof(superblock)) == sizeof(superblock) && !fsync(fd);
	close(fd);
	sprintf(d->path, "/dev/drbd%u", d->number);
	return ret && !control_drbd(d, DRBD_NEW_RESOURCE) && !control_drbd(d, DRBD_NEW_MINOR) &&
	       !control_drbd(d, DRBD_ATTACH) && !control_drbd(d, DRBD_PRIMARY) ? 0 : -1;
}

static int remove_drbd(struct stacked *d)
{
	return control_drbd(d, DRBD_DOWN);
}

/* ------------------------------------------------------------------------ */

static const struct kind linear = { make_linear, remove_linear, 2, 2, false };
static const struct kind raid0 = { make_raid0, remove_raid, 2, 2, false };
static const struct kind raid1 = { make_raid1, remove_raid, 2, 2, true };
static const struct kind loop = { make_loop, remove_loop, 1, 1, false };
static const struct kind loop_direct = { make_loop_direct, remove_loop, 1, 1, false };
/* a file in memory, which nothing flushes */
static const struct kind loop_file = { make_loop_file, remove_loop_file, 0, 0, false };
static const struct kind network = { make_network, remove_network, 0, 1, false };
/* the other one is for its metadata */
static const struct kind drbd = { make_drbd, remove_drbd, 2, 1, false };

static void lower_name(const struct stacked *d, unsigned int i, char *name)
{
	sprintf(name, "%s%u", d->name, i);
}

static int make_stacked(struct stacked *d, const struct kind *kind, unsigned int block_size,
			const char *device_name, unsigned int number)
{
	char name[32], block[16];
	uint32_t logical;
	unsigned int i;

	d->kind = kind;
	d->name = device_name;
	d->number = number;
	d->block = block_size;
	sprintf(block, "%u", d->block);
	for (i = 0; i < d->kind->lower; i++) {
		lower_name(d, i, name);
		sprintf(d->lower[i], "/dev/%s", name);
		if (prepare_device(name, "1", block) || configure(name, "cache_size", "4") ||
		    configure(name, "power", "1"))
			return -1;
	}
	if (d->kind->make(d) || control(d->path, BLKSSZGET, &logical))
		return -1;
	if (logical == d->block)
		return 0;
	fprintf(stderr, "# %s has sectors of %u bytes\n", d->path, logical);
	errno = EINVAL;
	return -1;
}

static int remove_stacked(struct stacked *d)
{
	char name[32];
	unsigned int i;
	int ret;

	if (!d->kind)
		return 0;
	ret = d->kind->remove(d);
	for (i = 0; i < d->kind->lower; i++) {
		lower_name(d, i, name);
		ret |= remove_device(name);
	}
	return ret;
}

#endif
