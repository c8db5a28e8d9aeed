#!/bin/sh
# SPDX-License-Identifier: GPL-2.0 OR MIT
#
# Description: power cuts of VMs that commit, on both engines; see powercut.py.
# powercut.py --help names the variables that make it thorough.

exec python3 -B "$(dirname "$0")/powercut.py" "$@"
