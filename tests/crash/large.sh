#!/bin/bash
# SPDX-License-Identifier: GPL-2.0 OR MIT
#
# A segment of more than four times the machine's memory, on each engine: a bank
# is made in it, changed all over, and checked. What the user engine changes may be
# swapped.

top=$(readlink -f "$(dirname "$0")/../..")
build=$(cd "$top" && readlink -f "${BUILD:-build}")
accounts=$((2 << 20))	# of 256 bytes: 512 MiB
dir=$(mktemp -d) || exit 1
trap 'rm -rf "$dir"' EXIT

truncate -s 520M "$dir/segment"
truncate -s 24M "$dir/log"
truncate -s 600M "$dir/swap"
cp "$build/rvmbench" "$dir/"
cat >"$dir/script" <<END
awk '/MemTotal/ { exit \$2 * 4 > $accounts / 4 }' /proc/meminfo || { echo "too much memory"; exit 1; }
mkswap /dev/vdc && swapon /dev/vdc || exit 1
for options in "--engine kernel" "--engine user --map-private --seed 2"; do
	$dir/rvmbench --log /dev/vdb --segment /dev/vda --log-size 16M --create --accounts $accounts \
		--transactions 5000 --commit no_flush --verify \$options || exit 1
done
END

echo "KTAP version 1"
echo "1..1"
"$top/tests/vm/run" -m 170 -t 600 -d "$dir/segment" -d "$dir/log" -d "$dir/swap" -- sh "$dir/script" \
	>"$dir/out" 2>&1 || failed=1
sed 's/^/# /' "$dir/out"
echo "${failed:+not }ok 1 - a bank of four times the memory"
exit "${failed:-0}"
