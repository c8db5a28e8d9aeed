#!/bin/sh
# SPDX-License-Identifier: GPL-2.0 OR MIT
#
# Description: disks that fail, under both engines; see ioerror.py.

exec python3 -B "$(dirname "$0")/ioerror.py" "$@"
