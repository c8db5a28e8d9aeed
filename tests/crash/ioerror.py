# SPDX-License-Identifier: GPL-2.0 OR MIT
"""Disks that fail one write or flush, under both engines.

usage: ioerror.py [--seed N] [-k KERNEL] [--states N]

In one VM, whose disks fail on request, rounds of the workload run on either
engine.  When the log fails, no commit succeeds any more; when a segment fails,
the log does not.  Then the log is opened again, by the other engine, and all
that was acknowledged is there.  The same is checked on this machine, from what
the disks really hold, and with a power cut on top.
"""
import argparse
import random
import sys

from disks import Disks, crash
from harness import Harness

FAILURES = (	# disk, what fails, after how many at least and at most, what the log does
    ("log", "write", 3, 100, "has failed"),
    ("log", "flush", 3, 60, "has failed"),
    ("segment", "write", 0, 10, "has not failed"),
    ("segment", "flush", 0, 3, "has not failed"),
    ("segment.2", "write", 0, 10, "has not failed"),
)


def script(h, rounds):
    def workload(command):
        return " ".join(h.workload(command, "$engine"))

    lines = "\n".join(" ".join(map(str, r)) for r in rounds)
    return f"""
fail() {{ echo "round $n: $1"; exit 1; }}
n=0
while read -r engine other disk what count log; do
    n=$((n + 1))
    echo "round $n: $engine engine, $what of $disk after $count"
    echo $disk $what $count | dd of={h.folder}/mark bs=4096 seek=1 oflag=direct conv=sync,notrunc status=none
    {workload('run')} --errors >/tmp/out 2>&1 || {{ cat /tmp/out; fail "the workload"; }}
    cat /tmp/out
    grep -q "the log $log" /tmp/out || fail "the log $log, one should think"
    engine=$other
    {workload('check')} || fail "after reopening"
done <<END
{lines}
END
"""


def main():
    parser = argparse.ArgumentParser(usage=__doc__.split("\n\n")[1][7:])
    parser.add_argument("--states", type=int, default=10)
    parser.add_argument("--transactions", type=int, default=150)
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 32))
    parser.add_argument("-k", "--kernel", default="6.1")
    args = parser.parse_args()

    h = Harness(args, 3)
    rounds = [(engine, other, disk, what, h.rng.randint(least, most), log)
              for engine, other in (("kernel", "user"), ("user", "kernel"))
              for disk, what, least, most, log in FAILURES]
    images = h.new_images()
    # a page more, by which the guest says what is to fail
    images["mark"] += bytes(4096)
    h.save(images)
    disks = Disks(images, f"{h.folder}/socket")
    disks.control = "mark"
    status, output = h.vm(args.kernel, script(h, rounds), disks)
    disks.close()
    h.comment(output)
    for failed in disks.failed:
        h.comment(f"failed: {failed}")
    h.result(status == 0, f"{len(rounds)} rounds in which a disk fails")
    h.result(len(disks.failed) == len(rounds), f"{len(disks.failed)} failures")
    bad = 0
    for i in range(args.states + 1):
        at = len(disks.events) if i == 0 else h.rng.randrange(len(disks.events) + 1)
        state = disks.data if i == 0 else crash(images, disks.events[:at], h.rng, ["mark"])
        wrong = h.check(state)
        if wrong:
            bad += 1
            h.comment(f"state {i}, cut after {at} of {len(disks.events)} events: {wrong}")
            h.save(state, f"{h.folder}/bad-{i}")
    h.result(not bad, f"what the disks hold, and {args.states} crash states")
    return h.end()


sys.exit(main())
