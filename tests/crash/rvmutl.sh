#!/bin/bash
# SPDX-License-Identifier: GPL-2.0 OR MIT
#
# rvmutl looks at logs that the kernel engine is writing: a file and a device, from
# which it must neither see what is not committed nor take truncation for damage.

top=$(readlink -f "$(dirname "$0")/../..")
build=$(cd "$top" && readlink -f "${BUILD:-build}")
dir=$(mktemp -d) || exit 1
trap 'rm -rf "$dir"' EXIT
cp "$build/rvmutl" "$build/tests/tools/commits" "$dir/"
truncate -s 192K "$dir/disk"

cat >"$dir/script" <<'EOF'
cd "$1" || exit 1
export RVM_ENGINE=kernel
tests=0
ok() {
	local status=$? name=$1
	tests=$((tests + 1))
	[ $status = 0 ] && echo "ok $tests - $name" || { echo "not ok $tests - $name"; tail -n 20 out err; }
}
# one history each time: newest first, without a gap
steady() {
	awk '/segment:/ { if (last && $NF != last - 1) bad = 1; last = $NF; n++ }
		/^[0-9]+ change/ { last = 0; histories++; some += n > 0; n = 0 }
		END { print histories, "histories,", some, "not empty"; exit bad || histories != 50 || !some }' out
}
mkdir segments
n=0
while [ $((n += 1)) -le 50 ]; do echo 'show mods 16 / 1 8'; done >history
printf 'update\ninit_log /dev/vda 64K\n' | ./rvmutl >out 2>err
ok "a log on a device"
for log in log /dev/vda; do
	segment=segments/${log##*/}-segment
	./commits $log 0 $segment & commits=$!
	sleep 1
	./rvmutl $log <history >out 2>err
	ok "$log: the history of a datum"
	steady
	ok "$log: without gaps"
	[ ! -s err ]
	ok "$log: and no complaint"
	./rvmutl status $log >out 2>err
	ok "$log: status"
	./rvmutl dump --json $log >out 2>err
	ok "$log: dump"
	grep -q '^"damage":null}' out
	ok "$log: shows no damage"
	./rvmutl verify $log $segment >out 2>err
	ok "$log: verify"
	echo 'monitor 1' | ./rvmutl $log >out 2>err && [ "$(grep -c position out)" -gt 0 ]
	ok "$log: monitor"
	echo "copy_log copy" | ./rvmutl $log >out 2>err && ./rvmutl verify copy >out 2>err
	ok "$log: a copy is sound"
	rm -f copy
	! echo update | ./rvmutl $log >out 2>err && grep -q 'in use by another process or the kernel' err
	ok "$log: is the kernel's alone"
	kill $commits
	wait $commits
	while ! echo update | ./rvmutl $log >out 2>err && [ $((n += 1)) -lt 200 ]; do sleep 0.1; done
	grep -q . err
	[ $? = 1 ]
	ok "$log: is free in the end"
	./rvmutl recover $log >out 2>err && ./rvmutl status $log >out 2>err && grep -q 'sound, and empty' out
	ok "$log: recover"
done
echo "1..$tests"
EOF
echo "KTAP version 1"
exec "$top/tests/vm/run" -t 300 -d "$dir/disk" -- sh "$dir/script" "$dir"
