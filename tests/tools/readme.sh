#!/bin/bash
# SPDX-License-Identifier: GPL-2.0 OR MIT
#
# Description: README.md's program compiles, runs, and prints what it says.
# Run in an empty folder.

set -uo pipefail
top=$(readlink -f "$(dirname "$(readlink -f "$0")")/../..")
build=$(cd "$top" && readlink -m "${BUILD:-build}")

awk '/^```c$/ { on = 1; next } /^```$/ { on = 0 } on' "$top/README.md" >count.c
# the indented lines: commands, and what they print
awk '/^    \$ cc / { on = 1 } on && !/^    / { exit } on { sub(/^    /, ""); print }' "$top/README.md" >expected
[ -s count.c ] && [ -s expected ] || { echo "there is no program in README.md any more"; exit 1; }

ln -s "$top/include" include
ln -s "$build" build
ulimit -c 0
sed -n 's/^\$ //p' expected | while read -r command; do
	echo "\$ $command"
	# a shell of its own tells of a signal, in the form "FILE: line N: PID Aborted  COMMAND"
	bash -c "$command; exit \$?" 2>&1 | sed 's/^bash: line [0-9]*: *[0-9]* Aborted .*/Aborted/'
done >printed
diff -u expected printed && echo "README.md's program prints what README.md says"
