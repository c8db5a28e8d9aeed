#!/bin/sh
# SPDX-License-Identifier: GPL-2.0 OR MIT
#
# Description: power cuts of VMs that commit, on both engines; see powercut.py.
# POWERCUT_BOOTS=100 POWERCUT_STATES=50 makes it thorough, in half an hour or so.

exec python3 -B "$(dirname "$0")/powercut.py" "$@"
