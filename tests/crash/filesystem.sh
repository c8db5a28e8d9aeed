#!/bin/sh
# SPDX-License-Identifier: GPL-2.0 OR MIT
#
# Description: power cuts of VMs whose log and segments are files, on ext4 and xfs; see
# filesystem.py. FILESYSTEM_BOOTS=6 FILESYSTEM_STATES=100 makes it thorough.

PATH=$PATH:/usr/sbin:/sbin exec python3 -B "$(dirname "$0")/filesystem.py" "$@"
