// SPDX-License-Identifier: GPL-2.0 OR MIT
/*
 * A plugin for QEMU's code generator: counts the instructions that a guest
 * executes in one stretch of its work, by address.
 *
 * The guest's program marks where a stretch begins and ends by an instruction
 * that does nothing (see tools/rvmbench/mark.h).  Counted is all that runs in
 * between, program, kernel and interrupts: code is translated in blocks, and each
 * block has a count.  A block that an exception leaves early counts as a whole.
 *
 * Arguments: output=FILE, for lines of an address and a count, in hexadecimal and
 * decimal; stretch=N, which one of those that the guest marks, from 1 on.
 */
#include <inttypes.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/vm/qemu_plugin.h"
#include "tools/rvmbench/mark.h"

#define EXPORT __attribute__((visibility("default")))

EXPORT int qemu_plugin_version = 1;
EXPORT int qemu_plugin_install(uint64_t id, const void *info, int argc, char **argv);

/* A block, each time it is translated: what was executed of it in the stretch. */
struct block {
	struct block *next;
	uint64_t address, length, count;	/* instructions */
};

static struct block *blocks;
static const char *output;
static unsigned int wanted = 1, seen;
static bool counting;

static void execute(unsigned int cpu, void *context)
{
	struct block *block = context;

	(void)cpu;
	if (counting)
		block->count += block->length;
}

static void begin(unsigned int cpu, void *context)
{
	(void)cpu;
	(void)context;
	counting = ++seen == wanted;
}

/* Written now: the guest's end is QEMU's, by exit(). */
static void end(unsigned int cpu, void *context)
{
	FILE *file;

	(void)cpu;
	(void)context;
	if (!counting)
		return;
	counting = false;
	file = fopen(output, "w");
	if (!file) {
		perror(output);
		exit(2);
	}
	for (struct block *block = blocks; block; block = block->next)
		if (block->count)
			fprintf(file, "%" PRIx64 " %" PRIu64 "\n", block->address, block->count);
	if (fclose(file)) {
		perror(output);
		exit(2);
	}
}

static bool is_mark(const struct qemu_plugin_insn *insn, const char *mark)
{
	return qemu_plugin_insn_size(insn) == MARK_SIZE &&
	       !memcmp(qemu_plugin_insn_data(insn), mark, MARK_SIZE);
}

static void translate(uint64_t id, struct qemu_plugin_tb *tb)
{
	size_t n = qemu_plugin_tb_n_insns(tb);
	struct block *block = calloc(1, sizeof(*block));

	(void)id;
	if (!block) {
		perror("profile");
		exit(2);
	}
	*block = (struct block){ blocks, qemu_plugin_tb_vaddr(tb), n, 0 };
	blocks = block;
	qemu_plugin_register_vcpu_tb_exec_cb(tb, execute, QEMU_PLUGIN_CB_NO_REGS, block);
	for (size_t i = 0; i < n; i++) {
		struct qemu_plugin_insn *insn = qemu_plugin_tb_get_insn(tb, i);
		exec_fn fn = is_mark(insn, MARK_BEGIN) ? begin :
			     is_mark(insn, MARK_END) ? end : NULL;

		if (fn)
			qemu_plugin_register_vcpu_insn_exec_cb(insn, fn, QEMU_PLUGIN_CB_NO_REGS,
							       NULL);
	}
}

int qemu_plugin_install(uint64_t id, const void *info, int argc, char **argv)
{
	(void)info;
	for (int i = 0; i < argc; i++) {
		if (!strncmp(argv[i], "output=", 7))
			output = argv[i] + 7;
		else if (!strncmp(argv[i], "stretch=", 8))
			wanted = atoi(argv[i] + 8);
		else
			return -1;
	}
	if (!output)
		return -1;
	qemu_plugin_register_vcpu_tb_trans_cb(id, translate);
	return 0;
}
