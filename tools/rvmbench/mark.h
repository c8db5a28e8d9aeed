/* SPDX-License-Identifier: GPL-2.0 OR MIT */
/*
 * Marks in the program's code, by which tests/vm/profile.c, which sees all
 * instructions of a virtual machine, knows what is to be counted.  They are a nopl
 * with an address that says which: one instruction that does nothing.
 */
#ifndef RVMBENCH_MARK_H
#define RVMBENCH_MARK_H

#define MARK_SIZE	7
#define MARK_BEGIN	"\x0f\x1f\x80RVM<"
#define MARK_END	"\x0f\x1f\x80RVM>"

static inline void mark_begin(void)
{
#ifdef __x86_64__
	asm volatile(".byte 0x0f, 0x1f, 0x80; .ascii \"RVM<\"" : : : "memory");
#endif
}

static inline void mark_end(void)
{
#ifdef __x86_64__
	asm volatile(".byte 0x0f, 0x1f, 0x80; .ascii \"RVM>\"" : : : "memory");
#endif
}

#endif
