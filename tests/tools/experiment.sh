#!/bin/bash
# SPDX-License-Identifier: GPL-2.0 OR MIT
#
# Description: tools/experiment keeps, resumes, compares and prints what commands
# printed, and its gate fails. Natively: its own tree with a small part, no VM.
# Run in an empty folder.

set -uo pipefail
top=$(readlink -f "$(dirname "$(readlink -f "$0")")/../..")
export BUILD=build PYTHONDONTWRITEBYTECODE=1
. "$top/tests/tools/tap"

mkdir -p tree/tests/vm tree/docs bin
cp -r "$top/tools" tree/
rm -f tree/tools/experiment/part_*.py
ln -s "$top/tests/ktap" tree/tests/ktap
printf '%%:\n\t@:\n' >tree/Makefile
printf '#!/bin/sh\necho KVER=6.1.0-test\n' >tree/tests/vm/kernel
# what it is told to write
cat >bin/gnuplot <<'END'
#!/bin/sh
sed -n "s/^set output '\(.*\)'$/\1/p" | while read -r file; do echo plot >"$file"; done
END
chmod +x tree/tests/vm/kernel bin/gnuplot
PATH=$PWD/bin:$PATH
cat >tree/tools/experiment/part_canned.py <<'END'
"""Canned: what it says"""
import os
import report
import vm

HERE = os.environ["CANNED"]

def runs(quick):
    command = lambda n: vm.Command(f"sh {HERE}/canned {n}", tags={"case": n})
    return [vm.Run("first", [command(1)] + ([] if quick else [command(2)]), where="native"),
            vm.Run("second", [command(3)], where="native")]

def tables(rows):
    return {"canned": report.table(["case", "n"], [[row["case"], report.number(row["n"])] for row in rows])}

def plots(rows):
    return [report.Plot("canned-plot", "It's", "x", "y", {"a": [(row["case"], row["n"]) for row in rows]})]
END
export CANNED=$PWD
cat >canned <<'END'
echo $1 >>"$CANNED/ran"
echo "no figure"
[ ! -e "$CANNED/fail-$1" ] || exit 7
echo "{\"n\":$((1000 * $1 + $(cat "$CANNED/added" 2>/dev/null || echo 0))),\"word\":\"w\"}"
END

tool() { (cd tree && exec tools/experiment/run "$@"); }
# fails NAME OPTION...: with status 1, whatever it prints
fails() {
	local name=$1
	shift
	tool "$@" >out 2>err
	[ $? = 1 ]
	result $? "$name"
}
same() { [ "$(cat "$1")" = "$2" ]; }

echo "TAP version 13"
good "help" --help
check "it names the options" grep -q -e --resume out
bad "an unknown option" 2 'unrecognized' --what
bad "an unknown part" 2 "no part 'cann'" cann
bad "an unknown kernel" 2 'invalid choice' --kernel 5.10
bad "two things at once" 2 'only one of' --list --report
good "list" --list
check "it names the part" grep -q '^canned .* min  Canned: what it says$' out

good "all parts" --print
check "it prints the tables" grep -q '^| 3 | 3,000 |$' out
check "progress, and the time left" grep -q '^\[2/3\] canned/first: .* left$' err
check "rows" [ "$(grep -c '"part": "canned", .*"linux": "6.1.0-test", .*"case": [123], "n": [123]000, "word": "w"' tree/results/canned.jsonl)" = 3 ]
check "CSV" grep -q '^part,run,quick,icount,linux,qemu,cc,case,n,word$' tree/results/canned.csv
check "plots" test -s tree/results/canned-plot.svg -a -s tree/results/canned-plot.png
check "their data" grep -q '^2 2000$' tree/results/canned-plot.dat
check "tables" grep -q '^## canned$' tree/results/tables.md
check "with what was measured" grep -q '^(Linux 6.1.0-test, QEMU .*, gcc .*; `make experiment PARTS=canned`)$' tree/results/tables.md
rm tree/results/canned-plot.*
good "no plots" --no-plots
check "makes none" eval '! ls tree/results/*.svg'
good "the quick form" -q canned
check "has a folder of its own" [ "$(wc -l <tree/results/quick/canned.jsonl)" = 2 ]
check "its tables say so" grep -q 'PARTS=canned QUICK=1`)$' tree/results/quick/tables.md

# failure, and going on
cp tree/results/canned.jsonl before
: >ran
touch fail-2
echo 10 >added
bad "a command that fails" 1 'failed: canned/first; --resume' -o "$PWD/tree/results"
check "which one it was" grep -q 'canned/first: failed: sh .*canned 2; see .*logs/canned.first$' err
check "its log" grep -q 'no figure' tree/results/logs/canned.first
check "the other run was done" grep -q 3 ran
check "the results are what they were" cmp before tree/results/canned.jsonl
rm fail-2
: >ran
good "resume" --resume
check "only what had failed" same ran $'1\n2'
check "and all is there" [ "$(grep -c '010' tree/results/canned.jsonl)" = 3 ]
: >ran
good "resume with nothing left" --resume
check "does nothing" same ran ""
echo "/* changed */" >>tree/tools/rvmstat.c
good "resume with other sources" --resume
check "measures again" same ran $'1\n2\n3'
sed -i 's/^echo "{.*/echo "{no JSON"/' canned
bad "figures that are none" 1 'no JSON: {no JSON' canned -o "$PWD/other"
sed -i '/^echo "{/d' canned
bad "no figures at all" 1 'nothing printed a figure' canned -o "$PWD/other"

# guests, which only count: as many at once as there are CPUs, then what runs alone
cat >tree/tests/vm/suite <<'END'
#!/bin/bash
for list; do [[ $list != */list ]] || break; done
while read -r _ _ command; do
	echo "# Subtest: $command"
	$command | sed 's/^/    /'
	[ ${PIPESTATUS[0]} = 0 ] && result=ok || result="not ok"
	echo "$result - $command"
done <"$list"
END
chmod +x tree/tests/vm/suite
cat >tree/tools/experiment/part_guests.py <<'END'
"""Guests: who meets whom"""
import os
import vm

HERE = os.environ["CANNED"]

def runs(quick):
    say = f"sh {HERE}/guest"
    return [vm.Run("alone", [vm.Command(say + " alone")], where="native"),
            vm.Run("a", [vm.Command(say + (" stay" if quick else " a b"))]),
            vm.Run("b", [vm.Command(say + (" fail" if quick else " b a"))])]

def tables(rows):
    return {"guests": " ".join(row["who"] for row in rows)}

def plots(rows):
    return []
END
# guest stay|fail|alone|WHO OTHER
cat >guest <<'END'
cd "$CANNED" || exit
echo $1 >>ran
case $1 in
stay) echo $$ >staying; exec sleep 1000 ;;
fail) exit 7 ;;
alone) [ ! -e a ] || [ -e a-is-done ] || exit 1 ;;
*)
	touch $1
	n=0
	until [ -e $2 ] || [ "$(nproc)" = 1 ] || [ $((n += 1)) -gt 200 ]; do sleep 0.1; done
	[ $n -le 200 ] || exit 1
	touch $1-is-done
	;;
esac
echo "{\"who\":\"$1\"}"
END
: >ran
good "guests" guests
check "at once, and before what runs alone" [ "$(tail -n 1 ran)" = alone ]
check "their rows are in the part's order" [ "$(sed -n 's/.*"who": "\([a-z]*\)".*/\1/p' tree/results/guests.jsonl | tr '\n' ' ')" = "alone a b " ]
(cd tree && exec tools/experiment/run -q guests) >out 2>err & tool=$!
until [ -e staying ] && grep -q 'guests/b: failed' err; do sleep 0.1; done
kill $tool
wait $tool
check "interrupted" [ $? = 130 ]
n=0
while kill -0 "$(cat staying)" 2>/dev/null && [ $((n += 1)) -le 100 ]; do sleep 0.1; done
check "its guests end" [ $n -le 100 ]
check "and nothing begins" eval '! grep -q "guests/alone: begins" err'
rm tree/tools/experiment/part_guests.py

# the document
document=tree/docs/measurements.md
bad "no document" 1 'measurements.md' --document
printf 'before\n<!-- table canned -->\nold\n<!-- end of table -->\nafter\n<!-- table other -->\nkept\n<!-- end of table -->\n' >$document
good "tables into the document" --document
check "the new one" grep -q '^| 2 | 2,010 |$' $document
check "not the old one" eval '! grep -q old $document'
check "all else stays" [ "$(grep -c -x -e before -e after -e kept $document)" = 3 ]
cp $document before
good "once more" --document
check "changes nothing" cmp before $document
sed -i '/end of table/d' $document
bad "markers that don't match" 1 'takes an' --document
echo nothing >$document
bad "a table without a place" 1 'no place for the table canned' --document

# comparison
mkdir same other-rows
sed 's/"icount": false/"icount": true/' tree/results/canned.jsonl >same/canned.jsonl
cp same/canned.jsonl other-rows/
good "the same figures" --compare "$PWD/same" -o "$PWD/same"
check "says how many" grep -q '^canned: 6 of 6 figures the same$' out
sed -i 's/"n": 2010/"n": 2016/' other-rows/canned.jsonl
good "a little different" --compare "$PWD/other-rows" -o "$PWD/same"
check "says which" grep -q 'largest difference is 0.298 %: first, n: 2010 and 2016' out
fails "with a limit" --compare "$PWD/other-rows" -o "$PWD/same" --limit 0.2
sed -i 's/"n": 2016/"n": 2070/' other-rows/canned.jsonl
fails "too different" --compare "$PWD/other-rows" -o "$PWD/same"
sed -i 1d other-rows/canned.jsonl
bad "rows that are missing" 1 '3 rows, and 2' --compare "$PWD/other-rows" -o "$PWD/same"
bad "nothing to compare" 1 'nothing to compare' --compare "$PWD/other-rows" -o "$PWD/bin"
bad "no folder" 2 'is no folder' --compare "$PWD/none"

# the gate
tool() { "$top/tools/experiment/gate" --baseline "$PWD/baseline" "$@"; }
# rows FACTOR [LINUX]: of which the kernel engine's no_flush transaction takes that many thousandths
rows() {
	local engine commit of="\"linux\":\"${2-6.1.0-1}\",\"qemu\":\"7\",\"cc\":\"12\""
	for engine in user kernel; do
		for commit in no_flush flush; do
			echo "{$of,\"engine\":\"$engine\",\"commit\":\"$commit\",\"repetition\":2,\"busy_ns_per_txn\":$([ $engine$commit = kernelno_flush ] && echo $((5 * $1)) || echo 7000),\"truncate_busy_ns_per_txn\":3000.5}"
			echo "{$of,\"engine\":\"$engine\",\"commit\":\"$commit\",\"tracking\":\"ranges\",\"event\":\"commit\",\"bytes\":8,\"end_ns\":900}"
		done
		echo "{$of,\"engine\":\"$engine\",\"commit\":\"no_flush\",\"tracking\":\"diff\",\"event\":\"first_warm\",\"bytes\":8,\"store_ns\":2000}"
	done >rows
}
rows 1000
bad "no baseline" 2 'gate: .*No such file' --rows rows
good "accept" --rows rows --accept
good "the same" --rows rows
check "each figure" [ "$(grep -c '^ok .*+0.00 %$' out)" = 12 ]
rows 1030
fails "3 % more" --rows rows
check "says which" grep -q '^not ok [0-9]* - kernel, no_flush: a transaction: 5,000 -> 5,150, +3.00 %$' out
check "that one alone" [ "$(grep -c '^not ok' out)" = 1 ]
rows 1019
good "1.9 % more" --rows rows
rows 950
good "5 % less" --rows rows
check "asks to accept it" grep -q 'a transaction: .* -5.00 %, better: accept it' out
rows 1030 6.1.0-2
good "3 % more on another kernel" --rows rows
check "says that it is another" grep -q '^# the baseline is of linux 6.1.0-1, this is 6.1.0-2: limit 10 %$' out
rows 1110 6.1.0-2
fails "11 % more on another kernel" --rows rows
rows 1030
good "accept what is more" --rows rows --accept --save saved
good "and it is good" --rows saved
python3 -c '
import json
baseline = json.load(open("baseline"))
del baseline["instructions"]["user, diff: the first store to a page"]
json.dump(baseline, open("baseline", "w"))'
fails "a figure that was never accepted" --rows rows
check "says so" grep -q 'not ok .* the first store to a page: only measured' out
grep -v first_warm rows >fewer
bad "a figure that is missing" 2 'gate: '  --rows fewer
echo nothing >baseline
bad "a damaged baseline" 2 'gate: ' --rows rows

echo "1..$tests"
