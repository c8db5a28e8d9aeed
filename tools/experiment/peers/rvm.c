// SPDX-License-Identifier: GPL-2.0 OR MIT
/* RVM, on the engine that RVM_ENGINE names: a segment, and a log in a file. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include <rvm/rvm.h>
#include <rvm/rvm_engine.h>

#include "tools/experiment/peers/peer.h"

#define LOG_SIZE	(16ul << 20)

static rvm_region_t region;
static struct layout layout;

static void check(rvm_return_t ret, const char *call)
{
	if (ret != RVM_SUCCESS)
		die("%s: %s%s%s", call, rvm_return(ret), ret == RVM_EIO ? ": " : "",
		    ret == RVM_EIO ? strerror(errno) : "");
}

static void rvm_peer_open(const struct shape *shape, bool create)
{
	rvm_options_t options;
	int fd;

	rvm_init_options(&options);
	options.log_dev = "rvm.log";
	options.create_log_file = create ? rvm_true : rvm_false;
	options.create_log_size = RVM_MK_OFFSET(0, LOG_SIZE);
	check(RVM_INIT(&options), "rvm_initialize");

	fd = open("rvm.segment", O_RDWR | O_CLOEXEC | (create ? O_CREAT | O_EXCL : 0), 0600);
	if (fd < 0)
		die("rvm.segment: %s", strerror(errno));
	close(fd);
	rvm_init_region(&region);
	region.data_dev = "rvm.segment";
	region.dev_length = RVM_MK_OFFSET(0, shape_length(shape));
	check(rvm_map(&region, NULL), "rvm_map");
	lay_out(&layout, shape, region.vmaddr);
}

static void commit_transfer(const struct transfer *t, rvm_mode_t mode)
{
	rvm_tid_t tid;

	rvm_init_tid(&tid);
	check(rvm_begin_transaction(&tid, restore), "rvm_begin_transaction");
	for (int i = 0; i < TABLES; i++)
		check(rvm_set_range(&tid, record_at(&layout, i, t->record[i]), record_length[i]), "rvm_set_range");
	store_transfer(&layout, t);
	check(rvm_end_transaction(&tid, mode), "rvm_end_transaction");
}

static void rvm_peer_transfer(const struct transfer *t)
{
	commit_transfer(t, flush);
}

static void rvm_peer_transfer_no_flush(const struct transfer *t)
{
	commit_transfer(t, no_flush);
}

static void rvm_peer_settle(void)
{
	check(rvm_truncate(), "rvm_truncate");
}

static void rvm_peer_read(enum table table, uint64_t index, void *record)
{
	memcpy(record, record_at(&layout, table, index), record_length[table]);
}

static void rvm_peer_close(void)
{
	check(rvm_unmap(&region), "rvm_unmap");
	check(rvm_terminate(), "rvm_terminate");
}

const struct peer peer_rvm = {
	.name = "rvm", .about = "RVM, flush commits", .survives = MACHINE, .atomic = true, .engine = rvm_get_engine,
	.open = rvm_peer_open, .transfer = rvm_peer_transfer, .settle = rvm_peer_settle,
	.read = rvm_peer_read, .close = rvm_peer_close,
};

/* it survives the process with the kernel engine */
const struct peer peer_rvm_no_flush = {
	.name = "rvm-no_flush", .about = "RVM, no_flush commits", .survives = CLOSING, .atomic = true, .engine = rvm_get_engine,
	.open = rvm_peer_open, .transfer = rvm_peer_transfer_no_flush, .settle = rvm_peer_settle,
	.read = rvm_peer_read, .close = rvm_peer_close,
};
