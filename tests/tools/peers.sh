#!/bin/bash
# SPDX-License-Identifier: GPL-2.0 OR MIT
#
# Description: each peer of the experiment keeps the bank right, which is seen by another
# process that opens it, and a transfer that is wrong in any one record is found; a process
# that is killed loses what it says; the metadata workload leaves the right segment. Run in
# an empty folder.

set -uo pipefail
top=$(readlink -f "$(dirname "$(readlink -f "$0")")/../..")
build=$(cd "$top" && readlink -m "${BUILD:-build}")
export RVM_ENGINE=user

tool() { rm -rf data && "$build/peers" --folder data --accounts 500 --transactions 40 "$@"; }
metadata() { rm -f metadata.log metadata.segment && "$build/guest/metadata" "$@"; }
. "$top/tests/tools/tap"

survived() { grep -q "\"made\":40,\"survived\":$1,\"right\":true" out; }
# bytes that go to the log with each optimization, for a workload's options
log_bytes() {
	for optimize in none ranges all; do
		metadata --calls 2000 --optimize $optimize "$@" | sed -n 's/.*"log_bytes":\([0-9]*\).*/\1/p'
	done | tr '\n' ' '
}

{
	: >out 2>err
	names=$("$build/peers" --list | cut -d ' ' -f 1)
	[ "$(wc -w <<<"$names")" = 12 ]
	result $? "there are twelve"
	for peer in $names; do
		good "$peer" --peer "$peer" --verify
		check "$peer: figures" grep -q "^{\"peer\":\"$peer\".*\"transactions\":40,.*\"tps\":[0-9.]*,.*}$" out
		# what is in memory alone nobody can open
		[ "$peer" = memory ] || for table in branch teller account audit; do
			bad "$peer: a wrong $table is found" 1 '^verify: ' --peer "$peer" --transactions 1 --verify --plant "$table"
		done
		good "$peer: killed" --peer "$peer" --die
		case $peer in
		memory | rvm-no_flush) check "$peer: nothing is left" survived 0 ;;
		*) check "$peer: everything is left" survived 40 ;;
		esac
	done
	good "localized, warm, repeated" --peer rvm --access localized --accounts 2000 --warmup 50 --repeat 3 --verify
	check "a line each" eval '[ $(wc -l <out) = 3 ]'
	good "a bank that is made" --peer lmdb
	"$build/peers" --folder data --accounts 500 --transactions 40 --peer lmdb --check >out 2>err
	check "--check counts what is there" survived 40
	"$build/peers" --folder data --accounts 500 --peer lmdb >out 2>err
	status=$?
	check "a folder that exists is left alone" eval '[ $status = 1 ] && grep -q "data: File exists" err'

	bad "no peer" 2 'required'
	bad "an unknown peer" 2 "no peer 'oracle'" --peer oracle
	bad "a number" 2 'not a number' --peer rvm --repeat x
	bad "a table" 2 'is none' --peer rvm --plant bank
	bad "both --verify and --die" 2 'only one of' --peer rvm --verify --die
	bad "an argument" 2 'one argument too many' --peer rvm more

	: >out 2>err
	read -r none ranges all < <(log_bytes --workload server --commit no_flush)
	[ "${ranges:-0}" -gt 0 ] && [ $((none * 85)) -gt $((ranges * 100)) ]
	result $? "merging ranges saves a server's log more than 15 %: $none, $ranges bytes"
	read -r none ranges all < <(log_bytes --workload client)
	[ "${all:-0}" -gt 0 ] && [ $((none * 85)) -gt $((ranges * 100)) ] && [ $((none * 50)) -gt $((all * 100)) ]
	result $? "merging transactions saves a client's more than half: $none, $ranges, $all bytes"
}
echo "1..$tests"
