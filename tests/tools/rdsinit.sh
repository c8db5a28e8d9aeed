#!/bin/bash
# SPDX-License-Identifier: GPL-2.0 OR MIT
#
# Description: rdsinit makes heaps that can be loaded, asks first, and says what would
# be right. Run in an empty folder.

set -u
top=$(readlink -f "$(dirname "$(readlink -f "$0")")/../..")
build=$(cd "$top" && readlink -m "${BUILD:-build}")
. "$top/tests/tools/tap"
tool() { timeout 60 "$build/rdsinit" "$@"; }

# loads it, allocates, and says what there is: a program as users write it
cat >load.c <<'END'
#include <stdio.h>
#include <stdlib.h>
#include <rvm/rds.h>
int main(int argc, char **argv)
{
	rvm_options_t options;
	rds_stats_t stats;
	char *area, *block;
	int err;

	rvm_init_options(&options);
	options.log_dev = "log";
	if (argc != 2 || RVM_INIT(&options) || rds_load_heap(argv[1], RVM_MK_OFFSET(0, 0), &area, &err))
		return 1;
	block = rds_malloc(1000, NULL, &err);
	if (!block || rds_get_stats(&stats) || *area || rds_unload_heap(&err) || rvm_terminate())
		return 2;
	printf("%p %u %u\n", (void *)area, stats.mallocbytes, stats.freebytes);
	return 0;
}
END
gcc -Wall -Werror -I"$top/include" load.c "$build"/lib{rds,seg,rvm}.a -pthread -o load || exit 1
"$build/rvmutl" >out 2>err <<<'init_log log 1M' || exit 1

# loads SEGMENT LINE: and the program says so
loads() { ./load "$1" >said && diff - said <<<"$2" >&2; }
at=0x200000000000
quiet() { [ ! -s out ] && [ ! -s err ]; }
heap=(log heap 208896 $at 0x20000 0200000 20 64)

good "help" --help
check "it names all arguments" grep -q "LOG DATA_SEG DATALEN SADDR HLEN SLEN NLISTS CHUNK" out
good "version" --version

# --- made, in each base of numbers

good "a heap, forced" -f "${heap[@]}"
check "says nothing" quiet
check "has its length" [ "$(stat -c %s heap)" = 208896 ]
check "loads" loads heap "0x200000020000 1024 125952"
check "what was allocated stays" loads heap "0x200000020000 2048 124928"
good "made anew" --force "${heap[@]}"
check "is empty" loads heap "0x200000020000 1024 125952"

# --- asks

answer() { printf '%s' "$1" | timeout 60 "$build/rdsinit" "${heap[@]}" >out 2>err; }
for word in n no '' x yy; do
	answer "$word"
	[ $? = 1 ] && grep -q 'nothing was done' err && grep -q 'heap is going to be lost\|heap, what it has' out
	result $? "the answer '$word'"
done
check "nothing was done" loads heap "0x200000020000 2048 124928"
for word in y YES; do
	check "the answer '$word'" answer "$word
"
	check "it was done" loads heap "0x200000020000 1024 125952"
done

# --- what is wrong, and what would be right

wrong() {
	local name=$1 message=$2
	shift 2
	bad "$name" 2 "$message" -f "$@"
}
wrong "no arguments" "0 arguments are given, 8 are needed"
wrong "too few" "7 arguments are given" log new 208896 $at 0x20000 0x10000 20
wrong "too many" "one argument too many" log new 208896 $at 0x20000 0x10000 20 64 1
wrong "no number" "DATALEN: '10k' is no number" log new 10k $at 0x20000 0x10000 20 64
wrong "a negative one" "CHUNK: '-64' is no number" -- log new 208896 $at 0x20000 0x10000 20 -64
wrong "an empty one" "CHUNK: '' is no number" log new 208896 $at 0x20000 0x10000 20 ""
wrong "too large a one" "too large" log new 99999999999999999999 $at 0x20000 0x10000 20 64
wrong "bad octal" "is no number" log new 208896 $at 09 0x10000 20 64
wrong "address" "SADDR.*0x200000001000 would be" log new 208896 0x200000000001 0x20000 0x10000 20 64
wrong "address 0" "SADDR.*0x1000 would be" log new 208896 0 0x20000 0x10000 20 64
wrong "heap" "HLEN.*0x2000 would be" log new 208896 $at 4097 0x10000 20 64
wrong "static area" "SLEN.*0x1000 would be" log new 208896 $at 0x20000 0 20 64
wrong "length" "at least 200704" log new 200703 $at 0x20000 0x10000 20 64
wrong "wraps around" "more than there are addresses" log new 208896 $at 0xfffffffffffff000 0x10000 20 64
wrong "lists" "NLISTS is at least 1" log new 208896 $at 0x20000 0x10000 0 64
wrong "chunks" "CHUNK is a multiple of 8, and at least 32" log new 208896 $at 0x20000 0x10000 20 24
wrong "chunks, uneven" "CHUNK is a multiple of 8" log new 208896 $at 0x20000 0x10000 20 33
wrong "option" "unrecognized option" --nonsense "${heap[@]}"
bad "no log" 1 "no such log; rvmutl makes one" -f none new 208896 $at 0x20000 0x10000 20 64
bad "not a log" 1 "it is no log" -f load.c new 208896 $at 0x20000 0x10000 20 64
bad "no folder" 1 "No such file" -f log none/new 208896 $at 0x20000 0x10000 20 64
bad "chunks longer than the heap" 1 "too short for one chunk" -f log new 208896 $at 0x20000 0x10000 20 0x20000
bad "addresses that are the kernel's" 1 "take addresses" -f log new 208896 0xffff800000000000 0x20000 0x10000 20 64
bad "a folder" 1 "rdsinit: \.: " -f log . 208896 $at 0x20000 0x10000 20 64
truncate -s 4096 short
bad "a segment that is too short" 1 "it has 4096 bytes, and needs.*200704" -f log short 208896 $at 0x20000 0x10000 20 64
check "no segment was made" [ ! -e new ]
check "and none changed" loads heap "0x200000020000 2048 124928"

echo "1..$tests"
