#!/bin/bash
# SPDX-License-Identifier: GPL-2.0 OR MIT
#
# Description: the demo runs to its end and shows what it says: a dead process
# rolled back before a watcher's eyes, a commit that survives a power cut, and the
# same log on the other engine; in a VM, and as if on a host that has the module.

set -uo pipefail
top=$(readlink -f "$(dirname "$(readlink -f "$0")")/../..")

tests=0
# shows FILE NAME PATTERN: the output has such a line
shows() {
	tests=$((tests + 1))
	if grep -q -e "$3" "$1"; then
		echo "ok $tests - $2"
	else
		sed 's/^/# /' "$1"
		echo "not ok $tests - $2"
	fi
}

echo "TAP version 13"
mkdir tmp
export TMPDIR=$PWD/tmp
"$top/tests/demo/run" --no-table >vm 2>&1
shows vm "the demo comes to its end" '^# That was it'
shows vm "the watcher sees coins missing" '^watcher: .* 50 .* together 750$'
shows vm "and then all of them" '^watcher:  100   70  130  100  100  100  100  100   together 800$'
shows vm "the commit survives the power cut" '^kernel:  100   70  130  100  100   40  160  100   together 800$'
shows vm "the user engine finds the same" '^user:  100   70  130  100  100   40  155  105   together 800$'

"$top/tests/vm/run" -- env HOST=1 TMPDIR=/tmp "$top/tests/demo/run" >host 2>&1
shows host "HOST=1 comes to its end" '^# That was it'
shows host "the watcher sees coins missing" '^watcher: .* 50 .* together 750$'
shows host "the user engine finds the same" '^user:  100   70  130  100  100   40  160  100   together 800$'
shows host "and there is a table" '^  flush *kernel .* ns for each$'

[ -e /dev/rvm ] || {
	HOST=1 "$top/tests/demo/run" >none 2>&1
	shows none "without the module it says what to do" 'insmod'
}
ls tmp >left
tests=$((tests + 1))
[ ! -s left ] && echo "ok $tests - it leaves nothing behind" || { sed 's/^/# /' left; echo "not ok $tests - it leaves nothing behind"; }
echo "1..$tests"
