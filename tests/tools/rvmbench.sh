#!/bin/bash
# SPDX-License-Identifier: GPL-2.0 OR MIT
#
# Description: rvmbench keeps its bank right, prints what it says, and refuses
# wrong options and wrong files. Run in an empty folder.

set -uo pipefail
top=$(readlink -f "$(dirname "$(readlink -f "$0")")/../..")
build=$(cd "$top" && readlink -m "${BUILD:-build}")
bench() { "$build/rvmbench" --log log --segment segment "$@"; }

tool() { bench "$@"; }
. "$top/tests/tools/tap"

one_json_line_each() {
	[ "$(wc -l <out)" = "$1" ] &&
		! grep -v -E '^\{("[a-z_]+":("[^"]*"|-?[0-9]+(\.[0-9]+)?),?)+\}$' out &&
		! grep -q ',}' out
}
# one thread's longest commit took about the mean of its transactions at least, and no longer than all of them
worst_fits() {
	awk '
		function value(name) {
			return match($0, "\"" name "\":[0-9.]+") ? substr($0, RSTART + length(name) + 3, RLENGTH) + 0 : -1
		}
		{
			worst = value("worst_us") * 1000
			if (worst < value("ns_per_txn") / 4 || worst > value("ns_per_txn") * value("transactions"))
				bad = 1
		}
		END { exit bad }' out
}
# the share is what the two times say
bare_fits() {
	awk '
		function value(name) {
			return match($0, "\"" name "\":[0-9.]+") ? substr($0, RSTART + length(name) + 3, RLENGTH) + 0 : -1
		}
		{
			off = value("bare_ns_per_write") / value("ns_per_txn") / value("of_bare")
			if (value("bare_ns_per_write") <= 0 || off < 0.99 || off > 1.01)
				bad = 1
		}
		END { exit bad }' out
}
in_json() {
	local pair
	for pair; do
		grep -q "\"${pair%%=*}\":\"\?${pair#*=}\"\?[,}]" out || { echo "no $pair"; return 1; }
	done
}

echo "TAP version 13"
small="--accounts 1000 --transactions 200 --verify"

# shellcheck disable=SC2086
{
	good "a new bank" $small
	check "text tells the speed" grep -q 'a second$' out
	good "the same bank again" $small
	check "400 transactions since" grep -q 'verified: 400 transactions' out
	good "verify only" --accounts 1000 --transactions 0 --verify
	good "all options" $small --json --create --repeat 3 --warmup 50 --commit no_flush --access localized \
		--begin no_restore --ranges 9 --optimize all --truncate 10 --seed 7 --log-size 200K --engine user \
		--map-private
	check "one JSON object a line" one_json_line_each 3
	check "with the parameters" in_json engine=user commit=no_flush access=localized begin=no_restore optimize=all \
		map_private=true log=log segment=segment log_size=204800 accounts=1000 ranges=9 truncate=10 transactions=200 \
		warmup=50 repeat=3 repetition=3 seed=7
	good "a flush commit each" $small --json --create --truncate 0
	check "flushes the log each time" grep -q '"log_flushes_per_txn":[1-9]' out

	for access in sequential random localized; do
		good "$access access" $small --create --access $access
	done
	# one log holds two rounds of the audit trail: 2 * 64 records
	good "the audit trail wraps" --accounts 64 --transactions 1000 --create --verify

	good "several threads" $small --create --threads 7
	check "text tells how many" grep -q '7 threads' out
	good "fewer threads, and JSON" $small --threads 3 --json
	check "with their number" in_json threads=3 transactions=200
	check "each has its share" eval 'bench --accounts 1000 --threads 7 --transactions 0 --verify |
		grep -q "verified: 400 transactions"'
	good "order entry" $small --create --workload order-entry --truncate 0 --group 8
	check "text tells it" grep -q 'user engine, order-entry' out
	check "5 to 15 lines each" eval 'n=$(sed -n "s/^verified: \([0-9]*\) lines.*/\1/p" out) && [ $n -gt 1800 ] && [ $n -lt 2200 ]'
	good "and a debit or credit after it" $small --json
	check "with its name" in_json workload=debit-credit group=1 processes=1
	good "groups" $small --create --json --group 50 --truncate 0
	check "one flush each" grep -q '"log_flushes_per_txn":0.02' out
	good "a crash" --accounts 1000 --transactions 300 --crash --truncate 0 --create
	good "to start from" --startup --accounts 1000
	check "recovers" grep -q ' 300 records recovered' out
	good "with all balances" --accounts 1000 --transactions 0 --verify
	check "of 300 transactions" grep -q 'verified: 300 transactions' out
	good "starting, in JSON" --startup --accounts 1000 --json
	check "each step" grep -q '"open_ns":[0-9]*,"recovered":0,"map_ns":[0-9]*,"touch_ns":[0-9]*,"touch_each_ns":[0-9]*,"read_mib_ns":[0-9]*}' out
	bad "processes on the user engine" 1 'takes the kernel engine' --accounts 1000 --processes 2
	good "the longest commit" $small --create --worst --threads 7
	check "text tells it" grep -q '^  longest  *commit  *[0-9.]* us$' out
	good "the longest commit, in JSON" $small --worst --json --repeat 2
	check "and all else" one_json_line_each 2
	check "between the mean and the sum" worst_fits
	good "no longest commit" $small --json
	check "unless asked for" eval '! grep -q worst out'
	good "as many writes without RVM" $small --bare --repeat 2
	check "text tells the share" grep -q '^  without RVM  *a write  *[0-9.]* ns; transactions reach [0-9.]* of its rate$' out
	good "that leave the log as it is" $small --bare --json --log-size 16M
	check "the same in JSON" bare_fits
	check "and one object" one_json_line_each 1
	bad "no_flush commits have no writes to compare" 2 'takes --commit=flush and one thread' --bare --commit no_flush
	bad "nor do threads that share them" 2 'takes --commit=flush and one thread' --bare --threads 2
	for tracking in check pages diff "diff --strict" "diff --mechanism userfaultfd"; do
		rm -f log segment
		# shellcheck disable=SC2086 # two words
		good "tracking by $tracking" $small --verify --tracking $tracking
		check "nothing went undeclared" eval '! grep -q undeclared err'
		good "and declared again" $small --verify
	done
	rm -f log segment
	good "the steps of transactions" --events --tracking diff --commit no_flush --log-size 64M
	check "for each length" eval '[ $(grep -c "^commit .* pages, .* begin .* declare .* store .* end .* truncation .* ns$" out) = 12 ]'
	rm -f segment
	good "in JSON, of up to 8 pages" --events=8 --json
	check "each step" eval '[ $(grep -c "\"event\":\"commit\".*\"begin_ns\":[0-9]*,\"declare_ns\":[0-9]*,\"store_ns\":[0-9]*,\"end_ns\":[0-9]*,\"truncate_ns\":" out) = 6 ]'
	check "and one piece" eval '[ $(grep -c "\"event\":\"length\",\"pages\":1," out) = 5 ]'
	bad "not on what is there" 1 '--create says that it may' --events
	head -c 100000 /dev/zero >short
	bad "a segment too short for the steps" 1 'and --events takes' --events --segment short
	rm -f log segment
	good "a new bank" $small
	bad "too few banks for the threads" 1 '8 banks of 1000 accounts take' --accounts 1000 --threads 8

	for run in 1 2; do
		rm -f log segment
		bench $small --seed 3 >out 2>err
		mv segment segment.$run
	done
	check "the same seed makes the same bank" cmp segment.1 segment.2
	rm -f log segment
	bench $small --seed 4 >out 2>err
	check "another makes another" eval '! cmp -s segment segment.1'

	# a coin more in the last account
	rm -f log
	length=$((3 * 4096 + 999 * 128))
	byte=$(od -An -tu1 -j$length -N1 segment)
	printf "\\x$(printf %x $(((byte + 1) % 256)))" |
		dd of=segment bs=1 seek=$length conv=notrunc 2>/dev/null
	bad "verify finds a coin too many" 1 'verify: accounts have' --accounts 1000 --transactions 0 --verify
	good "--create begins anew" $small --create

	bad "another number of accounts" 1 'has 1000 accounts, not 900' --accounts 900
	bad "more accounts than fit" 1 'takes' --accounts 100000
	bad "another log size" 1 'not 1048576' --accounts 1000 --log-size 1M
	echo "no log" >log
	bad "a log that is none" 1 'no log' --accounts 1000
	: >log
	bad "an empty log" 1 'no log' --accounts 1000
	rm -f log
	head -c 1000000 /dev/zero >segment
	bad "a segment that is no bank" 1 'holds no bank' --accounts 1000
	rm -f log segment
	mkdir segment
	bad "a folder for a segment" 1 'neither' --accounts 1000
	rmdir segment

	bad "--log is required" 2 'required' --log ''
	bad "log and segment differ" 2 'the same file' --segment log
	bad "unknown engine" 2 "'disk' is not auto, kernel or user" --engine disk
	bad "unknown commit mode" 2 'not flush or no_flush' --commit later
	bad "negative number" 2 'not a number' --transactions -5
	bad "huge number" 2 'not a number' --accounts 99999999999999999999999
	bad "number with letters" 2 'not a number' --repeat 3x
	bad "too few ranges" 2 'not a number from 4' --ranges 3
	bad "unknown tracking" 2 "'page' is not ranges, check, pages or diff" --tracking page
	bad "strict without tracking" 2 'takes --tracking=pages or diff' --strict
	bad "unknown mechanism" 2 "'magic' is not mprotect, userfaultfd or userfaultfd-async" --tracking diff --mechanism magic
	bad "a mechanism without tracking" 2 'takes --tracking' --mechanism userfaultfd
	bad "strict, but later" 2 "can't be strict" --tracking diff --strict --mechanism userfaultfd-async
	bad "tracking with threads" 2 'takes one thread' --tracking diff --threads 2
	bad "no threads" 2 'not a number from 1 to 256' --threads 0
	bad "no processes" 2 'not a number from 1 to 256' --processes 0
	bad "processes and threads" 2 'does without --threads' --processes 2 --threads 2
	bad "unknown workload" 2 "not debit-credit or order-entry" --workload tpc-c
	bad "ranges of orders" 2 'for --workload=debit-credit' --workload order-entry --ranges 9
	bad "groups of none" 2 'not a number' --group 0
	bad "too many pages" 2 'from 1 to 512' --events=513
	bad "a start with a new log" 2 'a log that is there' --startup --create
	bad "bad suffix" 2 'suffixes' --log-size 3X
	bad "size overflows" 2 'out of range' --log-size 9999999999G
	bad "no size" 2 'not a size' --log-size M
	bad "per cent" 2 'from 0 to 100' --truncate 101
	bad "localized with too few accounts" 2 'at least 640' --access localized --accounts 639
	bad "an argument" 2 'one argument too many' more
	bad "unknown option" 2 'unrecognized' --what
}
echo "1..$tests"
