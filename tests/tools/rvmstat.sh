#!/bin/bash
# SPDX-License-Identifier: GPL-2.0 OR MIT
#
# Description: rvmstat shows what stands in the kernel's files, refuses wrong
# options, and says what is missing. The files are our own here; on the kernel's
# tests/kernel/stat.c runs it. Run in an empty folder.

set -uo pipefail
top=$(readlink -f "$(dirname "$(readlink -f "$0")")/../..")
build=$(cd "$top" && readlink -m "${BUILD:-build}")
rvmstat() { "$build/rvmstat" --debugfs debug "$@"; }

tool() { rvmstat "$@"; }
. "$top/tests/tools/tap"

# counters LOG NAME=VALUE...: changes some
counters() {
	local log=debug/rvm/$1 pair
	shift
	for pair; do
		sed -i "s/^${pair%=*} .*/${pair%=*} ${pair#*=}/" "$log/counters"
	done
}
# add NAME PATH: a log
add() {
	mkdir -p "debug/rvm/$1"
	cat >"debug/rvm/$1/counters" <<-END
		log_length 1000000
		log_used 250000
		log_writes 10
		log_flushes 10
		log_bytes 20480
		segment_writes 3
		segment_flushes 1
		segment_bytes 12288
		commits 1000
		flush_commits 12
		aborts 3
		undone 2
		truncations 1
		recovered_records 0
		failed 0
		memory 4096000
		memory_limit 8192000
		memory_waits 2
		write_faults 5
		pages_read 16
		something_new 7
	END
	echo "$2" >"debug/rvm/$1/path"
	cat >"debug/rvm/$1/segments" <<-'END'
		segment=1 device=8:1:1234 size=65536 descriptors=1 regions=2 changed=3 write_faults=3 pages_read=16 pages_written=5 writable=1 waiting=0 unfit=0 path=/s/a\040b
		segment=4 device=8:1:1235 size=1073741824 descriptors=1 regions=0 changed=0 write_faults=0 pages_read=0 pages_written=0 writable=0 waiting=1 unfit=0 path=/s/c
	END
	cat >"debug/rvm/$1/processes" <<-END
		region pid=$$ segment=1 start=0x7f0000000000 end=0x7f0000010000 offset=4096 writable=1
		region pid=999999999 segment=1 start=0x7f0000000000 end=0x7f0000002000 offset=0 writable=0
		area pid=999999999 area=1 open=0 used=0 spilled=0
		area pid=$$ area=2 open=1 used=48 spilled=100
		area pid=999999999 area=3 open=0 used=0 spilled=0
	END
}
json() {
	python3 -c '
import json, sys
lines = [json.loads(line) for line in open("out")]
sys.exit(not eval("(" + sys.argv[1] + ")"))' "$1"
}

echo "TAP version 13"

bad "no debugfs" 1 'debugfs is not mounted on debug: mount -t'
mkdir -p debug/rvm
bad "no log" 1 'no log is attached'
add 8:1:12 '/l/a\040b"'
good "totals"
check "of transactions, log, segments, memory, pages" \
	grep -qE '^ +1000 +12 +3 +2 +25 +10 +20 +3 +12 +1 +50 +2 +5 +16 /l/a b"$' out
good "JSON" --json
check "has all there is" json 'len(lines) == 1 and lines[0]["commits"] == 1000 and
	lines[0]["something_new"] == 7 and lines[0]["seconds"] == 0 and lines[0]["log"] == "8:1:12" and
	lines[0]["log_path"] == "/l/a b\"" and lines[0]["type"] == "log"'
counters 8:1:12 failed=1
good "a log that failed"
check "says so" grep -q ', failed$' out
counters 8:1:12 failed=0

rvmstat --json 1 2 >out 2>err &
sleep 0.4
counters 8:1:12 commits=1500 log_used=0 pages_read=17
wait $!
result $? "an interval"
check "has the differences" json 'len(lines) == 2 and lines[1]["commits"] == 500 and
	lines[1]["log_used"] == 0 and lines[1]["log_length"] == 1000000 and
	lines[1]["pages_read"] == 1 and 0.5 < lines[1]["seconds"] < 3'
rvmstat 2 2 >out 2>err &
sleep 0.4
counters 8:1:12 commits=1700
wait $!
result $? "an interval of two seconds"
check "has what came each second" eval 'tail -n 1 out | grep -qE "^ +(9[0-9]|100) +0 +0 "'
rvmstat --json 1 2 >out 2>err &
sleep 0.4
counters 8:1:12 commits=3
wait $!
result $? "a log that was attached anew"
check "begins anew" json 'lines[1]["seconds"] == 0 and lines[1]["commits"] == 3'
good "many" 0.01 45
check "have the header again" eval '[ "$(grep -c transactions out)" = 3 ] && [ "$(wc -l <out)" = 51 ]'

good "segments" -s
check "with their path and state" eval "grep -qE '^ +1 +65536 +2 +3 +16 +5 +3  read-write /s/a b$' out &&
	grep -qE '^ +4 +1073741824 .* waiting +/s/c$' out"
good "segments, in JSON" -s --json
check "one a line" json 'len(lines) == 2 and lines[0]["path"] == "/s/a b" and lines[0]["device"] == "8:1:1234" and
	lines[1]["size"] == 1073741824 and lines[1]["type"] == "segment"'
good "processes" -p
cat >expected <<END
log /l/a b" (8:1:12)
process $$ ($(cat /proc/$$/comm))
    region  segment 1    offset 4096         length 65536        at 7f0000000000-7f0000010000 read-write
    open transaction in area 2: 148 bytes declared, 100 of them spilled
process 999999999 (?)
    region  segment 1    offset 0            length 8192         at 7f0000000000-7f0000002000 read-only
    2 areas without a transaction
END
check "each with what it has" diff -u expected out
good "processes, in JSON" -p --json
check "one a line for each region and area" json '[l["type"] for l in lines] == 2 * ["region"] + 3 * ["area"] and
	lines[0]["start"] == 0x7f0000000000 and lines[3]["open"] == 1 and lines[3]["spilled"] == 100'
: >debug/rvm/8:1:12/processes
good "no process" -p
check "says so" grep -q '^no process has' out

add 8:2:0 /dev/sda2
good "all logs"
check "a line each" eval '[ "$(grep -c /l/ out)" = 1 ] && [ "$(grep -c sda2 out)" = 1 ]'
good "one by its number" -l 8:2:0
check "and no other" eval '! grep -q /l/ out && grep -q sda2 out'
touch file
add "$(stat -c %Hd:%Ld:%i file)" "$PWD/file"
good "one by its path" --log=file
check "and no other again" eval '! grep -q -e /l/ -e sda2 out && grep -q "$PWD/file" out'
printf '/l/\033[31m\tred\n' >debug/rvm/8:2:0/path
good "a name for the terminal" -l 8:2:0
check "doesn't get there" eval 'grep -qF "/l/?[31m?red" out'
good "nor in JSON" -l 8:2:0 --json
check "which has it escaped" json 'lines[0]["log_path"] == "/l/\x1b[31m\tred"'

"$build/rvmstat" --debugfs debug 0.2 >out 2>err &
sleep 0.5
rm -r debug/rvm/8:2:0
sleep 0.5
kill -INT $!
wait $!
result $? "a signal ends it"
check "one log went before" eval '[ "$(wc -l <err)" = 1 ] && grep -q "(8:2:0) has gone$" err'
rvmstat 0.1 -l 8:1:12 >out 2>err &
sleep 0.5
rm -r debug/rvm/8:1:12
wait $!
result $? "the last log's end ends it"
check "and it is told" grep -q '(8:1:12) has gone$' err
: >err
check "closed standard output" eval 'rvmstat 0.01 | head -n 3'
check "and no word of it" [ ! -s err ]
add 8:1:12 /l
bad "no such log" 1 '1:2:3 is not attached' -l 1:2:3
bad "no such file" 1 'log nothing: No such file' -l nothing
rvmstat >/dev/full 2>err
[ $? = 1 ] && grep -q 'standard output: No space left' err
result $? "a full disk"
: >debug/rvm/8:1:12/counters
bad "no counters" 1 "counters of 8:1:12 can't be read" -l 8:1:12

good "help" -h
check "says what it is" grep -q '^Usage: rvmstat' out
bad "unknown option" 2 'unrecognized' --what
bad "an empty name" 2 'no name' -l ''
for interval in 0 -1 x 1x 1.2.3 .5 0.001 1e3 nan inf 99999999 ''; do
	bad "interval '$interval'" 2 "INTERVAL: '" -- "$interval"
done
for count in 0 -1 1.5 x '' 99999999999999999999999; do
	bad "count '$count'" 2 "COUNT: '" -- 1 "$count"
done
bad "three arguments" 2 "'3' is one argument too many" 1 2 3
echo "1..$tests"
