#!/bin/bash
# SPDX-License-Identifier: GPL-2.0 OR MIT
#
# rvmutl looks at logs that the kernel engine is writing: a file and a device, from
# which it must neither see what is not committed nor take truncation for damage.
# And at a device with sectors that can't be read.

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
	[ $status = 0 ] && echo "ok $tests - $name" && return
	tail -n 20 out err | sed 's/^/# /'
	echo "not ok $tests - $name"
}
# one history each time: newest first, without a gap. Status 2 if all were empty
steady() {
	awk '/segment:/ { if (last && $NF != last - 1) bad = 1; last = $NF; n++ }
		/^[0-9]+ change/ { last = 0; histories++; some += n > 0; n = 0 }
		END { print histories, "histories,", some, "not empty"
			exit bad || histories != 50 ? 1 : some ? 0 : 2 }' out
}
# The log is empty after a truncation, until who writes it is on a CPU again: look on
histories() {
	local tries=0
	while ./rvmutl $log <history >out 2>err && [ ! -s err ]; do
		steady
		[ $? = 2 ] && [ $((tries += 1)) -lt 100 ] || return 0
		sleep 0.1
	done
	return 1
}
mkdir segments
n=0
while [ $((n += 1)) -le 50 ]; do echo 'show mods 16 / 1 8'; done >history
printf 'update\ninit_log /dev/vda 64K\n' | ./rvmutl >out 2>err
ok "a log on a device"
for log in log /dev/vda; do
	segment=segments/${log##*/}-segment
	./commits $log 0 $segment & commits=$!
	until ./rvmutl status $log 2>&1 | grep -q '^records *[1-9]'; do sleep 0.1; done
	histories
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
	echo monitor | ./rvmutl $log >out 2>err & monitor=$!
	until grep -q position out || ! kill -0 $monitor; do sleep 0.1; done
	kill -INT $monitor
	wait $monitor
	ok "$log: monitor, until it is interrupted"
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

mount -t configfs none /sys/kernel/config 2>/dev/null
null=/sys/kernel/config/nullb/nullb0
mkdir $null && echo 4 >$null/size && echo 1 >$null/memory_backed && echo 1 >$null/power
printf 'update\ninit_log /dev/nullb0 64K\n' | ./rvmutl >out 2>err && RVM_ENGINE=user ./commits /dev/nullb0 30 a
ok "a log on a device that will fail"
# of the record area, the second 4096 bytes
echo +264-264 >$null/badblocks
! ./rvmutl status /dev/nullb0 >out 2>err && grep -q 'blocks can.t be read, the first one at file offset 135168' out
ok "a block that can't be read is named"
! ./rvmutl dump --json /dev/nullb0 >out 2>err && [ "$(grep -c '"sequence":.*commits' out)" = 26 ]
ok "what is before and behind it is shown"
! ./rvmutl recover /dev/nullb0 >out 2>err
ok "but not recovered"
echo "1..$tests"
EOF
echo "KTAP version 1"
exec "$top/tests/vm/run" -t 300 -M "null_blk nr_devices=0" -d "$dir/disk" -- sh "$dir/script" "$dir"
