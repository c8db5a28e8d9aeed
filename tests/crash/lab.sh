#!/bin/bash
# SPDX-License-Identifier: GPL-2.0 OR MIT
#
# All commands of docs/lab.md, those on the kernel engine in VMs included.

top=$(readlink -f "$(dirname "$0")/../..")

echo "KTAP version 1"
echo "1..1"
if "$top/tests/tools/lab.sh" --vm >out 2>&1; then
	echo "ok 1 lab"
else
	sed 's/^/# /' out
	echo "not ok 1 lab"
	exit 1
fi
