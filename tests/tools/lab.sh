#!/bin/bash
# SPDX-License-Identifier: GPL-2.0 OR MIT
#
# Description: the commands of docs/lab.md print what it says. Those which boot a
# VM are run with the option --vm only: tests/crash/lab.sh does.

set -uo pipefail
top=$(readlink -f "$(dirname "$(readlink -f "$0")")/../..")
build=$(cd "$top" && readlink -m "${BUILD:-build}")
vm=${1-}

# what they work on, of ours: not the user's
dir=$(mktemp -d) || exit 1
trap 'rm -rf "$dir"' EXIT
for name in docs tests; do
	ln -s "$top/$name" "$dir/"
done
ln -s "$build" "$dir/build"
cd "$dir" || exit 1
ulimit -c 0

# the indented lines from a command on: commands, and what they print
awk '/^    \$ / { on = 1 } !/^    / { on = 0 } on { sub(/^    /, ""); print }' "$top/docs/lab.md" >all
awk -v vm="$vm" '/^\$ / { on = vm || !/tests\/vm\/run/ } on' all >expected
[ "$(grep -c '^\$ ' all)" -gt 15 ] || { echo "there are hardly any commands in docs/lab.md"; exit 1; }

# each in a shell of its own, which tells of a signal by "bash: line N: PID Killed  COMMAND"
unset RVM_ENGINE
while IFS= read -r command; do
	echo "\$ $command"
	[[ $command == export\ * ]] && eval "$command"
	bash -c "${command//\/tmp\/lab /$dir/lab }; exit \$?" 2>&1 </dev/null
done < <(sed -n 's/^\$ //p' expected | sed "s#/tmp/lab/#$dir/lab/#g; s#/tmp/lab\$#$dir/lab#") >printed
sed -i "s#$dir/lab#/tmp/lab#g; s/^bash: line [0-9]*: *[0-9]* Killed .*/Killed/" printed

# a line of ... stands for any number of lines
python3 - expected printed <<'END' && echo "docs/lab.md's commands print what it says"
import re, sys
expected, printed = (open(name).read() for name in sys.argv[1:])
pattern = ''.join('(?:.*\n)*?' if line == '...' else re.escape(line) + '\n' for line in expected.splitlines())
if not re.fullmatch(pattern, printed):
    sys.exit('docs/lab.md says:\n' + expected + '\nbut it is:\n' + printed)
END
