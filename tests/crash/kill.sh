#!/bin/bash
# SPDX-License-Identifier: GPL-2.0 OR MIT
#
# Processes killed at random moments, on each engine and across the two, and the
# user engine's writes cut short: nothing acknowledged is lost, nothing is torn.
# KILL_LOOPS says how often, 100 by default.

top=$(readlink -f "$(dirname "$0")/../..")
programs=$(cd "$top" && readlink -f "${BUILD:-build}")/tests/crash
loops=${KILL_LOOPS:-100}
dir=$(mktemp -d) || exit 1
trap 'rm -rf "$dir"' EXIT

n=0 failed=0
# try WHAT COMMAND...
try() {
	local what=$1
	shift
	n=$((n + 1))
	if "$@" >"$dir/out" 2>&1; then
		sed 's/^/# /' "$dir/out"
		echo "ok $n - $what"
	else
		sed 's/^/# /' "$dir/out"
		echo "not ok $n - $what"
		failed=1
	fi
}

kill=("$programs/kill" --loops "$loops" --log "$dir/log" --segment "$dir/segment")
echo "KTAP version 1"
echo "1..10"
try "$loops processes on the user engine" env RVM_ENGINE=user "${kill[@]}"
try "$loops cuts of four runs of the user engine" "$programs/power" --cuts "$loops" --folder "$dir"
try "cuts of making a log" "$programs/create" --cuts "$loops" --folder "$dir"
try "$loops processes on the kernel engine" \
	"$top/tests/vm/run" -t 36000 -- env RVM_ENGINE=kernel "${kill[@]}"
try "$loops processes on either engine, recovered by either" \
	"$top/tests/vm/run" -t 36000 -- "${kill[@]}" --engines kernel,user
# where nothing is declared, or all of it is looked at
try "$loops processes on the user engine, tracked by diff" \
	env RVM_ENGINE=user RVM_TRACKING=diff "${kill[@]}"
try "$loops cuts, tracked by diff" \
	env RVM_TRACKING=diff "$programs/power" --runs 2 --cuts "$loops" --folder "$dir"
try "$loops cuts, tracked by pages" \
	env RVM_TRACKING=pages,strict "$programs/power" --runs 2 --cuts "$loops" --folder "$dir"
try "$loops processes on either engine, tracked by diff" \
	"$top/tests/vm/run" -k 6.12 -t 36000 -- env RVM_TRACKING=diff "${kill[@]}" --engines kernel,user
try "$loops processes on either engine, all of it looked at" \
	"$top/tests/vm/run" -t 36000 -- env RVM_TRACKING=check RVM_CHECK=abort "${kill[@]}" --engines kernel,user
exit $failed
