# SPDX-License-Identifier: GPL-2.0 OR MIT
"""Cut the power of VMs that commit, and see that nothing is lost or torn.

usage: powercut.py [--boots N] [--states N] [--kernel-states N] [--engines NAME,NAME]
                   [--kernels NAME,NAME] [--seed N]

Boots one VM after the other, whose log and segments are disks that remember
every write and flush.  In each a workload runs, on the kernel engine and the
user engine in turn, on one kernel and then the other.  From what was recorded,
crash states are made: the disks as a power cut at a random moment can leave
them.  The user engine recovers each on this machine; one is what the next VM
finds, so that the other engine recovers it, too, and works on; and some are
recovered, in one VM, by the kernel engine from files.

POWERCUT_BOOTS and POWERCUT_STATES in the environment say how many of each.
"""
import argparse
import os
import random
import sys

from disks import Disks, FLUSH, crash, hole, waiting
from harness import Harness

STATUS_AREA = 128 << 10
RUNS = 24	# then anew: the mark has no room for more


def boot(h, images, engine, kernel):
    """Run the workload on such disks: their events, or None."""
    h.save(images)
    disks = Disks(images, f"{h.folder}/socket")
    status, output = h.vm(kernel, " ".join(h.workload("run", engine)), disks)
    disks.close()
    h.comment(output)
    return disks.events if status == 0 else None


def moment(rng, events):
    """Any, or while a rare thing is under way, or in recovery and soon after."""
    kind = rng.randrange(3)
    if kind == 0:
        rare = [i for i, (name, offset, data) in enumerate(events)
                if data is not FLUSH and
                (name.startswith("segment") or (name == "log" and offset < STATUS_AREA))]
        if rare:
            return min(len(events), rng.choice(rare) + rng.randrange(8))
    if kind == 1:
        first = next((i for i, event in enumerate(events) if event[0] == "mark"), 0)
        return rng.randrange(min(len(events), 2 * first + 30) + 1)
    return rng.randrange(len(events) + 1)


def next_images(rng, images, events):
    """What the next boot begins with: a state with much in the log's cache when it was cut.

    In every other one whole records stand beyond a torn one. They must not
    come to life when others have taken exactly the torn one's place.
    """
    def busy(at):
        return sum(len(events[i][2]) for i in waiting(events[:at], "log"))

    at = max((rng.randrange(len(events) // 2, len(events) + 1) for _ in range(50)), key=busy)
    if rng.randrange(2):
        return hole(images, events[:at], rng, "log", ["mark"])
    return crash(images, events[:at], rng, ["mark"])


def check_states(h, images, events, args, number):
    """How many crash states are bad. Every so many is kept for the kernel engine."""
    every = max(1, args.states * args.boots // max(1, args.kernel_states))
    bad = 0
    for i in range(args.states):
        at = moment(h.rng, events)
        state = crash(images, events[:at], h.rng, ["mark"])
        wrong = h.check(state)
        if wrong:
            bad += 1
            h.comment(f"state {number}-{i}, cut after {at} of {len(events)} events: {wrong}")
            h.save(state, f"{h.folder}/bad-{number}-{i}")
        elif (number * args.states + i) % every == 0:
            h.save(state, f"{h.folder}/states/{number}-{i}")
    return bad


def kernel_checks(h, kernel):
    count = len(os.listdir(f"{h.folder}/states"))
    status, output = h.vm(kernel, f"""
        bad=0
        for state in {h.folder}/states/*; do
            cp $state/* {h.folder}/ && echo $state
            timeout 60 {' '.join(h.workload('check', 'kernel'))} || bad=1
        done
        exit $bad""")
    if status:
        h.comment(output)
    h.result(status == 0, f"the kernel engine recovers {count} of these states")


def main():
    parser = argparse.ArgumentParser(usage=__doc__.split("\n\n")[1][7:])
    parser.add_argument("--boots", type=int, default=int(os.environ.get("POWERCUT_BOOTS", 4)))
    parser.add_argument("--states", type=int, default=int(os.environ.get("POWERCUT_STATES", 15)))
    parser.add_argument("--kernel-states", type=int, default=8)
    parser.add_argument("--transactions", type=int, default=250)
    parser.add_argument("--engines", type=lambda names: names.split(","), default=["kernel", "user"])
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 32))
    parser.add_argument("-k", "--kernels", type=lambda names: names.split(","), default=["6.1", "6.12"])
    args = parser.parse_args()

    h = Harness(args, args.boots + (args.kernel_states > 0))
    for number in range(args.boots):
        engine = args.engines[number % len(args.engines)]
        if number % RUNS == 0:
            images = h.new_images()
        # as many boots with each engine before the kernel changes
        kernel = args.kernels[number // len(args.engines) % len(args.kernels)]
        events = boot(h, images, engine, kernel)
        if events is None:
            h.result(False, f"boot {number + 1}, {engine} engine on {kernel}: it recovers, checks and works")
            continue
        bad = check_states(h, images, events, args, number)
        h.result(not bad, f"boot {number + 1}, {engine} engine on {kernel}: {args.states} crash states, "
                          f"of {len(events)} writes and flushes")
        images = next_images(h.rng, images, events)
    if args.kernel_states:
        kernel_checks(h, args.kernels[-1])
    return h.end()


sys.exit(main())
