#!/bin/bash
# SPDX-License-Identifier: GPL-2.0 OR MIT
#
# Description: rvmutl shows what is in a log, sound or not, and changes what it is told
# to; none of the fuzz targets' images makes it crash or hang. Run in an empty folder.
# Logs that the kernel engine has are tests/crash/rvmutl.sh's.

set -uo pipefail
top=$(readlink -f "$(dirname "$(readlink -f "$0")")/../..")
build=$(cd "$top" && readlink -m "${BUILD:-build}")
. "$top/tests/tools/tap"
tool() { timeout 60 "$build/rvmutl" "$@"; }
commits() { "$build/tests/tools/commits" "$@"; }

# prints LINE...: they are what was printed
prints() { printf '%s\n' "$@" | diff - out >&2; }
# column N: of what was printed but for the last line, in one line; 0 is the last column
column() { sed '$d' "${2:-out}" | awk -v n="$1" '{ printf "%s%s", (NR > 1 ? " " : ""), (n ? $n : $NF) }'; }
json() { python3 -c 'import json, os, sys; d = json.load(open("out")); sys.exit(0 if eval("(" + sys.argv[1] + ")") else 1)' "$1"; }
# unsound NAME OPTION...: shows it, and says by its status that it is not sound
unsound() {
	local name=$1
	shift
	tool "$@" >out 2>err
	[ $? = 1 ]
	result $? "$name"
}
# damage FILE OFFSET: one byte, to another
damage() { printf "$(printf '\\%03o' $(($(od -An -tu1 -j "$2" -N 1 "$1") ^ 255)))" | dd of="$1" bs=1 seek="$2" conv=notrunc status=none; }

commits log 7 "a b" second || exit 1
here=$(readlink -f .)

# --- the history of a datum

good "mods" log <<<'show mods second:16 / 1 8'
check "newest first" [ "$(column 0)" = "7 6 5 4 3 2 1" ]
check "with sequence numbers" [ "$(column 1)" = "7 6 5 4 3 2 1" ]
check "and its address" [ "$(column 4 | cut -d ' ' -f 1)" = "$here/second:0x10" ]
good "mods of a value" log <<<'s mods 2:24 / 1 1 = 3'
check "only those" [ "$(column 1)" = 3 ]
good "without blanks" log <<<'s mods "a b":0x10/1 4=2'
check "the same" [ "$(column 1)" = 2 ]
good "several elements" log <<<"s mods $here/second:16 / 3 4"
check "one line for each that was written" [ "$(column 4 | tr ' ' '\n' | sed 's/.*://' | sort | uniq -c | tr -s ' \n' ' ')" = " 7 0x10 7 0x14 7 0x18 " ]
check "what the log doesn't know is not made up" grep -q ':0x18  07 ?? ?? ??$' out
good "text" log <<<'s mods second:1395 / 1 4 = "0006"'
check "is found" [ "$(column 1)" = 6 ]
good "a negative number" log <<<'s mods second:1000 / 1 1 = -1'
check "isn't there" prints "0 changes since sequence 1, with which the log begins"
bad "which segment" 1 'know 2 segments: it takes SEGMENT:OFFSET' log <<<'s mods 16 / 1 8'
bad "no such segment" 1 'third: the log.s records know no such' log <<<'s mods third:16 / 1 8'
bad "no such id" 1 '9: the log.s records know no such' log <<<'s mods 9:16 / 1 8'
for request in '' 16 :16 second: second:x 'second:16 /' 'second:16 / 1' 'second:16 / 0 8' 'second:16 / 1 0' \
	'second:16 / 1 8 = x' 'second:16 / 1 1 = 256' 'second:16 / 1 1 = -129' 'second:16 / 1 8 9' 'second:16 / 1 8 =' \
	'second:16 / 1048577 1' 'second:18446744073709551615 / 1 8' 'second:16 / 99999999999999999999 8' \
	'second:16 / 1 16 = 5' 'second:16 / 1 2 = "abc"'; do
	bad "mods $request" 1 '^rvmutl: ' log <<<"show mods $request"
done

# --- going about

good "head" log <<<'head'
check "is the first record" grep -q '^1  .*position 0, file offset 131072, 968 bytes, 4 ranges' out
good "from the head to the tail" log <<<$'next\nn 2\nn\ntail\npr 3\nshow 2\nshow remaining\nshow tail'
check "step by step" [ "$(grep -o '^[0-9]*' out | tr '\n' ' ')" = "1 3 4 7 4 4 5 5 6 7 7 " ]
bad "before the head" 1 'no record before' log <<<$'head\nprev'
bad "behind the tail" 1 'no next record' log <<<$'tail\nnext'
good "ranges" log <<<$'sr 3\nns\nps\nsr'
check "have their data" [ "$(grep -c '^3 of 4' out)" = 3 ] && check "at their offset" grep -q '^0000000010  01 00 00 00 00 00 00 00  01 ' out
bad "no fifth range" 1 'record has 4 ranges' log <<<'sub_rec 5'
bad "nor one before the first" 1 'no range before' log <<<'prev_sub_rec'
good "all" log <<<'show all'
check "records" [ "$(grep -c 'position' out)" = 7 ]
good "status" status log
check "says how it is" eval 'grep -q "^state *sound$" out && grep -q "^records *7, of 7 commits$" out &&
	grep -qF "2  $here/second  7 records, 14 ranges, 2863 bytes, offsets 0x10 to 0x578" out'
good "statistics" log <<<'statistics'
check "count" eval 'grep -q "^ranges *28, 4.0 a record$" out && grep -q "^bytes in gaps *336$" out'
good "dictionaries" log <<<$'build_seg_dict\nshow seg_dict'
check "are the same" [ "$(sort out | uniq -c | awk '{ print $1 }' | tr '\n' ' ')" = "2 2 " ]
good "sizes" log <<<'sizeof'
check "are the format's" grep -q '^record header    56$' out
good "bytes" log <<<'peek 131072 4'
check "of the first record" prints '0000020000  52 56 4d 52                                       RVMR'
good "a slot" log <<<'read_status 0'
check "field by field" eval 'grep -q "^state *sound$" out && grep -q "^next_segment *3 (0x3)$" out'

# --- the language

good "comments and blank lines" log <<<$'# nothing\n\n   \n  head # show all'
check "do nothing" [ "$(grep -c position out)" = 1 ]
printf 'head\nnext\n' >commands
good "input from a file" log <<<'< commands'
check "is run" [ "$(grep -o '^[0-9]*' out | tr '\n' ' ')" = "1 2 " ]
good "output into files" log <<<$'head > o1\n< commands >> o1\nnext >"o 2"'
check "goes there" eval '[ ! -s out ] && [ "$(grep -c position o1)" = 3 ] && [ -s "o 2" ]'
echo '< self' >self
bad "a file that reads itself" 1 '16 files are reading' log <<<'< self'
bad "a full disk" 1 '/dev/full: it could not be written' log <<<'show all > /dev/full'
tool dump --json log >/dev/full 2>err
[ $? = 1 ] && grep -q "standard output can't be written" err
result $? "the same on standard output"
for line in 'what' 'p' 'he\x' '"head' 'head "\x0g"' 'head <' 'head < commands' '> o' 'head > a > b' 'head x' 'peek' 'peek x' \
	'peek 99999999' 'next x' 'show 2 3' 'show what' 'show all all' 'set what 1' 'set head' 'set head -1' 'set next_segment 4294967296' \
	'read_status 2' 'help what' 'poke 0 1' 'write_status' 'log nothing' 'open_log .' 'replay second second' 'copy_log log' \
	'replay third new' 'init_log log 1M' 'init_log new 0' 'init_log new 5X' 'init_log new 99999999999G' 'init_log nowhere/new 1M'; do
	bad "line: $line" 1 '^rvmutl: ' log <<<"$line"
done
check "none of them made a file" [ ! -e new ]
bad "all but open_log need a log" 1 'no log is open' <<<'head'
bad "a line of 100,000 bytes" 1 'no command' log <<<"$(printf '%0100000d' 1)"
bad "no such log" 1 'nothing: No such file' nothing </dev/null
good "abbreviations" log <<<$'statu\nlog\nhead\nn\npr\nsr\nns\nps\ns all\nq\nwhat'
good "help" log <<<'help'
check "has every command" [ "$(grep '^[a-z]' out | sed 's/[ ,].*//' | tr '\n' ' ')" = "init_log open_log close_log copy_log \
status statistics recover replay head tail earliest find_earliest find_tail next prev sub_rec next_sub_rec prev_sub_rec show \
all_spec build_seg_dict monitor peek poke set read_status write_status sizeof update no_update help quit " ]
good "options' help" --help
check "says what it is" grep -q '^Usage: rvmutl' out
good "version" --version
for arguments in status dump verify recover 'status log log' 'log log' '--json log' '--what' 'status --json log'; do
	bad "wrong: $arguments" 2 'rvmutl: ' $arguments
done
# a tabulator, and control-p
printf 'hea\t\n\020\nshow st\t\nquit\n' >keys
TERM=dumb script -qec "$build/rvmutl log" /dev/null <keys >out 2>err
check "a terminal has a prompt" grep -q '^\* ' out
check "completion and history" [ "$(grep -c 'position 0, file offset' out)" = 2 ]

# --- JSON

good "dump" dump log
check "is text" [ "$(grep -c position out)" = 7 ]
good "JSON" dump --json log
check "has all of it" json 'd["damage"] is None and [r["sequence"] for r in d["records"]] == list(range(1, 8)) and
	d["records"][4]["ranges"][2] == {"segment": 2, "offset": 16, "length": 9, "data": "050000000000000005"} and
	d["status"]["next_segment"] == 3 and d["tail"] == {"position": 7112, "sequence": 8}'
name=$'odd "name"\\\t\xff\xc3\xa9\xed\xa0\x80\x7f'
commits "log $name" 1 "$name" || exit 1
good "odd names" dump --json "log $name"
check "come back byte by byte" json 'os.fsencode(d["segments"][0]["name"]) == os.fsencode("'"$here"'") + b"/odd \"name\"\\\t\xff\xc3\xa9\xed\xa0\x80\x7f" and
	os.fsencode(d["log"])[:5] == b"log o"'
good "and for a terminal" status "log $name"
check "they are escaped" grep -qF '/odd \"name\"\\\x09\xff'$'\xc3\xa9''\xed\xa0\x80\x7f"' out
good "what is printed" "log $name" <<<"show mods $(grep -oE '"/.*name.*\\x7f"' out):16 / 1 8"
check "can be typed in" [ "$(column 1)" = 1 ]

# --- verify, replay, copies

good "verify" verify log "a b" second
check "finds what the segments lack" prints 'log: sound, 7 records' \
	"\"$here/a b\": the log has 409 bytes, of which 401 are not in the segment yet" \
	"$here/second: the log has 409 bytes, of which 401 are not in the segment yet"
mv second gone
unsound "verify without a segment" verify log "a b" second
check "names it" grep -q "^$here/second: No such file" out
mkfifo second
unsound "verify a FIFO" verify log second
bad "replay a FIFO" 1 'copying segment .*second into new: Invalid argument' log <<<'replay 2 new'
check "which leaves nothing" [ ! -e new ]
rm second
good "replay without a segment" log <<<'replay 2 new'
check "has what the log has" [ "$(od -An -tu8 -j 16 -N 8 new | tr -d ' ')" = 7 ]
rm new
mv gone second
good "replay" log <<<'replay second replayed'
check "all records" prints '7 records, 2863 bytes'
check "as recovery would" [ "$(od -An -tu8 -j 16 -N 8 replayed | tr -d ' ')" = 7 ]
good "copy_log" log <<<'copy_log copy'
tool dump --json log | tail -n +2 >log.json
tool dump --json copy | tail -n +2 >copy.json
check "the copy is the same" cmp log.json copy.json
check "to the byte" cmp log copy

# --- damage. A record of the last opening is the tail, of one before it is damaged.

cp log torn
damage torn $((131072 + 3 * 1024 + 500))
good "a damaged record of the last opening" verify torn
check "is the tail, and there is more" grep -q '^3 records whole behind the tail' out
good "find_tail goes there" torn <<<$'find_tail\nprev\nprev\nprev'
check "and back" [ "$(grep -o '^[0-9]*' out | tr '\n' ' ')" = "7 6 5 3 " ]
# as if it was opened again: everything is before its start
cp log opened
bad "to change a log" 1 'nothing was set' opened <<<$'update\nwrite_status'
good "set" opened <<<$'update\nset incarnation 2\nset start 7168\nset start_sequence 8\nset\nwrite_status\nstatus'
check "says what was set" grep -q '^start_sequence  8 (0x8)' out
check "and it counts" eval 'grep -q "^generation *5$" out && grep -q "^state *sound$" out'
good "a log opened twice" opened <<<'all_spec'
check "shows the openings" prints 'opening   incarnation 1 begins with sequence 1 or before' 'opening   incarnation 2 has no records yet'
cp opened broken
damage broken $((131072 + 3 * 1024 + 500))
unsound "damage" status broken
check "is named" grep -q 'the log is damaged at position 3016, file offset 134088: no sound record stands there (sequence 4)' out
check "and what is behind it shown" grep -q '^records *6,' out
tool dump --json broken >out 2>err
result $((! $?)) "its dump fails"
check "but has it all" json '[r["sequence"] for r in d["records"]] == [1, 2, 3, 5, 6, 7] and "damaged at position 3016" in d["damage"]'
tool broken >out 2>err <<<'show mods second:16 / 1 8'
check "the history has a gap" eval '[ "$(awk "/^--/ { print 4; next } { print \$NF }" out | head -n 7 | tr "\n" " ")" = "7 6 5 4 3 2 1 " ]'
check "where records are damaged" [ "$(sed -n 4p out)" = '-- here records are damaged --' ]
tool broken >out 2>err <<<'earliest'
check "earliest is the first of all" grep -q '^1 ' out
unsound "verify damage" verify broken second
check "names the segment, too" grep -q 'second: the log has 409 bytes' out
for slot in 0 1; do
	cp log half
	damage half $((slot * 65536 + 40))
	unsound "one status damaged: slot $slot" half <<<"read_status $slot"
	check "it is shown as it is" grep -q '^state           damaged' out
	tool status half >out 2>err
	# slot 0 is the newer, and alone has the second segment
	[ $? = $((!slot)) ]
	result $? "the other one counts"
done
cp log both
damage both 40
damage both 65576
unsound "both statuses damaged" status both
check "says so" grep -q 'neither status is whole' out
tool both >out 2>err <<<$'show mods second:16 / 1 8'
check "the records are shown all the same" [ "$(head -n 8 out | column 0 /dev/stdin)" = "7 6 5 4 3 2 1" ]
tool both >out 2>err <<<$'update\nset incarnation 1\nwrite_status\nshow mods second:16 / 1 8'
check "and the status can be mended" eval 'tool verify both && [ "$(sed -n "s/.*  //p" out | tr "\n" " ")" = "7 6 5 4 3 2 1 " ]'
cp log no_status
dd if=/dev/zero of=no_status bs=65536 count=2 conv=notrunc status=none
tool no_status >out 2>err <<<'show mods 2:16 / 1 8'
check "no status at all: no names" grep -q '2: the log.s records know no such segment' err
tool no_status >out 2>err <<<'find_tail'
check "but records" grep -q '^7  .*file offset 137216' out
truncate -s 135000 short
cp log short
truncate -s 135000 short
unsound "a log cut short" status short
check "says so" grep -q 'the log was longer once: 61608 bytes' out
check "and shows what is there" grep -q '^records *3,' out
for size in 0 1 131071 131072 131073; do
	head -c $size log >piece
	unsound "$size bytes of a log" status piece
done
bad "a folder" 1 'Is a directory' status .
bad "a FIFO" 1 'neither a regular file nor a block device' status <(:)
good "poke" log <<<$'update\npoke 131072 "X" 0x59 "\\x5a"\npeek 131072 4\npoke 131072 82 86 77'
check "changes bytes" prints '0000020000  58 59 5a 52                                       XYZR'
bad "poke beyond the end" 1 'has only 196608 bytes' log <<<$'update\npoke 196608 0'
bad "no_update" 1 'this changes the log: update first' log <<<$'update\nno_update\npoke 0 0'
bad "no sound status" 1 'would be no sound status' log <<<$'update\nset head 3\nwrite_status'
bad "longer than it is" 1 'too short for that area_length' log <<<$'update\nset area_length 69632\nwrite_status'
bad "an old generation" 1 'the other slot has a higher generation' opened <<<$'update\nset generation 3\nwrite_status'

# --- making and recovering

good "init_log" <<<$'i fresh 100K\nstatus'
check "makes a log" eval 'grep -q "^area *102400 bytes$" out && grep -q "sound, and empty" out'
bad "init_log again" 1 'exists: after update' <<<'init_log fresh 64K'
good "after update" <<<$'update\ninit_log fresh 16P\nstatus'
check "over the old" grep -q '^area *65536 bytes$' out
bad "but not over what is no log" 1 'exists and is no log' <<<$'update\ninit_log second 64K'
good "recover" recover log
check "empties the log" eval 'tool status log | grep -q "sound, and empty"'
check "and the segments have it" [ "$(od -An -tu8 -j 16 -N 8 second | tr -d ' ')" = 7 ]
good "earliest" log <<<$'earliest\nn 6'
check "has what was truncated" [ "$(grep -o '^[0-9]*  2' out | tr '\n' ' ')" = "1  2 7  2 " ]
commits log 3 "a b" second
mv second gone
mkdir second
bad "recover without a segment" 1 'second' recover log
check "keeps its records" eval 'tool status log | grep -q "^records *3,"'
rmdir second
mv gone second
bad "recover damage" 1 'RVM_ELOG' recover broken
commits wraps 40 "a b" second third
commits wraps 40 "a b" second third
good "a log that has wrapped" wraps <<<$'all_spec\nshow mods second:16 / 1 8'
check "says where" grep -q '^wrap      sequence 43 goes on' out
check "and goes on" [ "$(grep -c second: out)" = 40 ]

# --- a log in use

"$build/tests/tools/commits" live 0 "a b" second 2>commits.err &
commits=$!
until tool status live >out 2>err && grep -q '^records *[1-9]' out; do sleep 0.1; done
# one history: without a gap, newest first; each command looks anew
steady() {
	awk '/second:/ { if ($NF >= last && last || last && $NF != last - 1) bad = 1; last = $NF; n++ }
		/^[0-9]+ change/ { last = 0; histories++; some += n > 0; n = 0 }
		END { exit bad || histories != 20 || !some }' out
}
for i in {1..20}; do echo 'show mods second:16 / 1 8'; done >commands
good "a live log, again and again" live <commands
check "has one steady history" steady
# one that stays sees what comes: a whole turn of the log later
tail_sequence() { tool status live | awk '/^tail/ { print $NF }'; }
mkfifo said
"$build/rvmutl" live >talked 2>&1 <said &
talker=$!
exec 3>said
echo 'show tail' >&3
until [ -s talked ]; do sleep 0.1; done
later=$(($(tail_sequence) + 100))
until [ "$(tail_sequence)" -gt $later ]; do sleep 0.1; done
printf 'status > status\nquit\n' >&3
exec 3>&-
wait $talker
check "each command sees what came before it" [ "$(awk '/^tail/ { print $NF }' status)" -gt $later ]
good "its status" status live
good "its dump" dump --json live
check "has no gap" json 'd["damage"] is None and [r["sequence"] for r in d["records"]] == list(range(d["records"][0]["sequence"], d["tail"]["sequence"])) if d["records"] else True'
good "a copy of it" live <<<'copy_log live_copy'
good "is sound" verify live_copy "a b" second
bad "update" 1 'log live is in use by another process or the kernel; it can be read only' live <<<'update'
bad "recover" 1 'Device or resource busy' recover live
bad "init_log" 1 'Device or resource busy' <<<$'update\ninit_log live 64K'
mkfifo until
"$build/rvmutl" live >out 2>err <until &
watcher=$!
exec 3>until
echo 'monitor' >&3
until [ "$(grep -c position out)" -gt 1 ] || ! kill -0 $watcher; do sleep 0.1; done
kill -INT $watcher
exec 3>&-
wait $watcher
result $? "monitor shows them as they come, until it is interrupted"
began=$(date +%s%N)
good "monitor for some seconds" live <<<'monitor 1'
check "and not less" [ $(($(date +%s%N) - began)) -ge 1000000000 ]
kill $commits
wait $commits 2>/dev/null
check "nothing disturbed it" [ ! -s commits.err ]
good "and it is whole" verify live second
good "update, when it is free" live <<<$'update\nlog'
check "says so" prints 'live, open for changes'
mkfifo hold
"$build/rvmutl" live >held <hold &
exec 3>hold
printf 'update\nlog\n' >&3
until grep -q 'open for changes' held || ! kill -0 $!; do sleep 0.1; done
bad "two can't own it" 1 'in use by another process' live <<<'update'
exec 3>&-
wait $!

# one that is slow finds what it saw overwritten, once it has more than it keeps in memory
good "a longer log" <<<'init_log long 1M'
"$build/tests/tools/commits" long 0 "a b" second 2>commits.err &
commits=$!
python3 - "$build/rvmutl" >out 2>err <<-END
	import fcntl, json, os, subprocess, sys, time
	def dump(**options): return subprocess.Popen([sys.argv[1], "dump", "--json", "long"], **options)
	def tail(): return json.loads(dump(stdout=subprocess.PIPE).communicate()[0])["tail"]["sequence"]
	missing = False
	while not missing:
	    r, w = os.pipe()
	    fcntl.fcntl(w, fcntl.F_SETPIPE_SZ, 4096)
	    later = tail() + 1500
	    slow = dump(stdout=w)
	    os.close(w)
	    while tail() < later: time.sleep(.1)
	    got = json.loads(os.fdopen(r, "rb").read())
	    seen = [record["sequence"] for record in got["records"]]
	    if slow.wait() or got["damage"] or seen != sorted(set(seen)): sys.exit("bad: %s" % got["damage"])
	    missing = len(seen) < got["tail"]["sequence"] - (seen or [later])[0]
END
result $? "what is truncated meanwhile is left out"
kill $commits
wait $commits 2>/dev/null

# --- images that were made to be bad

mkdir images
"$build/tests/tools/images" images "$top"/tests/fuzz/corpus/recover/* || exit 1
cat >commands <<END
status
statistics
all_spec
build_seg_dict
head
tail
earliest
find_tail
prev 2
next
sr
ns
show all
read_status 0
read_status 1
show mods 1:0 / 16 256
show mods 1:0 / 4096 1 = 7
copy_log copied
replay 1 replayed.1
peek 0 100
END
bad=0
for image in images/*; do
	rm -f copied replayed.1
	tool "$image" <commands >out 2>err
	[ $? -le 1 ] || { bad=1; echo "# $image: commands"; }
	tool verify "$image" >out 2>err
	[ $? -le 1 ] || { bad=1; echo "# $image: verify"; }
	tool dump --json "$image" >out 2>err
	[ $? -le 1 ] && json True || { bad=1; echo "# $image: dump"; }
done >bad_images
check "each image is shown" [ ! -s bad_images ]
echo "1..$tests"
