#!/bin/sh
# SPDX-License-Identifier: GPL-2.0 OR MIT
#
# Description: processes killed at random moments on either engine, and recovered
# by either. CROSS_LOOPS=300 makes it thorough.

top=$(readlink -f "$(dirname "$0")/../..")
kill=$(cd "$top" && readlink -f "${BUILD:-build}")/tests/crash/kill
dir=$(mktemp -d) || exit 1
trap 'rm -rf "$dir"' EXIT
loops=${CROSS_LOOPS:-30}

echo "KTAP version 1"
echo "1..1"
"$top/tests/vm/run" -t 600 -- "$kill" --engines kernel,user --loops "$loops" --run 200 \
	--log "$dir/log" --segment "$dir/segment" >"$dir/out" 2>&1
status=$?
sed 's/^/# /' "$dir/out"
if [ $status = 0 ]; then
	echo "ok 1 - $loops processes on either engine, recovered by either"
else
	echo "not ok 1 - status $status"
	exit 1
fi
