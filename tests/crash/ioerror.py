# SPDX-License-Identifier: GPL-2.0 OR MIT
"""Disks that fail a request, or many, under both engines.

usage: ioerror.py [OPTION]...

In one VM rounds of the workload run on either engine, from the same disks each
time. In a round the n-th read, write or flush of the log's disk or of a segment's
fails: while the log is opened and recovered, or in commits, truncation, faults.
A write that fails has been done, or not, or in part. The error must be reported;
when the log's disk fails for a commit, no commit succeeds any more; when a
segment's does, the log does not fail. Then the other engine recovers, and all that
was acknowledged is there. This machine finds the same in what the disks really
hold, with a power cut on top.

"""
import argparse
import os
import random
import sys
from collections import Counter

from disks import Disks
from harness import Harness
from states import random_state

FOREVER = 1 << 62
ENGINES = ("kernel", "user")

# A log that only a truncation gives room to.
FULL_LOG = "--threshold=100 --truncate-every=0 --shape=2"


class Rounds:
    """What the guest is told to do, one command after the other, and what came of it.

    The guest reads a command from the mark's second page, and writes there how
    it ended and what it printed.
    """

    def __init__(self, h, images, each):
        self.h, self.images, self.each = h, images, each
        self.disks = Disks(images, f"{h.folder}/socket", control=self)
        self.rounds, self.failures, self.bad = Counter(), 0, 0
        self._steps = self._sequence()
        self._next = next(self._steps)

    def command(self):
        return self._next

    def report(self, text):
        status, _, output = text.partition("\n")
        try:
            self._next = self._steps.send((int(status), output.strip()))
        except StopIteration:
            self._next = "end"

    def script(self):
        paths = " ".join(self.h.paths())
        page = "bs=4096 count=1 status=none"
        return f"""
            while command=$(dd if={self.h.folder}/mark {page} skip=1 iflag=direct | tr -d '\\0'); do
                [ "$command" != end ] || exit 0
                timeout -s KILL 60 {self.h.program} $command {paths} >/tmp/out 2>&1
                {{ echo $?; tail -c 3000 /tmp/out; }} |
                    dd of={self.h.folder}/mark {page} seek=1 iflag=fullblock oflag=direct conv=sync,notrunc
            done"""

    def _sequence(self):
        for engine, other in (ENGINES, ENGINES[::-1]):
            yield from self._round(engine, other, None, "")
            counts = Counter(self.disks.counts)
            self.h.comment(f"{engine} engine: " + ", ".join(
                f"{n} {what}s of {disk}" for (disk, what), n in sorted(counts.items())))
            for (disk, what), count in sorted(counts.items()):
                for n in range(count) if self.each else [self.h.rng.randrange(count)]:
                    yield from self._round(engine, other, (disk, what, n, n + 1), "")
            for what in "write", "flush":
                yield from self._round(engine, other, ("segment", what, 0, 8), FULL_LOG)
                yield from self._round(engine, other, ("segment", what, 0, FOREVER), FULL_LOG)

    def _round(self, engine, other, plan, options):
        self.disks.begin(self.images, plan)
        status, output = yield f"run --engine={engine} --errors {options}"
        self.disks.repair()
        self.rounds[engine] += 1
        self.failures += len(self.disks.failed) > 0
        wrong = self._judge(engine, plan, status, output)
        if not wrong:
            status, again = yield f"check --engine={other}"
            if status and plan and "Input/output error" in again:
                # Linux tells the next who opens a device of a lost write, once
                output += "\n" + again
                status, again = yield f"check --engine={other}"
            output += "\n" + again
            wrong = status and f"the {other} engine, afterwards"
        events, rng = self.disks.events, self.h.rng
        for cut, state in (("", self.disks.data),
                           (" with a power cut", random_state(self.images, events, rng.randrange(len(events) + 1), rng))):
            text = not wrong and self.h.check(state)
            if text:
                wrong = f"what the disks hold{cut}: {text}"
        if wrong:
            self.bad += 1
            self.h.comment(f"{engine} engine, {plan} {options}: {wrong}\n{output}\n" +
                           "\n".join(f"failed: {text}" for _, text in self.disks.failed[:20]))
            self.h.save(self.disks.data, f"{self.h.folder}/bad-{self.bad}")

    def _judge(self, engine, plan, status, output):
        """None, or what is wrong with a run."""
        failed = self.disks.failed
        if status:
            # it could not begin, or not read what it compares; or a page could not be read
            if failed and ("Input/output error" in output or
                           (plan[1] == "read" and engine == "kernel" and "died of signal 7" in output)):
                return None
            return f"exit status {status}"
        if not failed:
            return None if plan is None or self.disks.counts[plan[:2]] <= plan[2] else "nothing has failed"
        # what failed after the last acknowledgment did so while the process ended
        late = all(name != "mark" for name, _, _ in self.disks.events[failed[0][0]:])
        if ("the log has failed" in output) != (plan[0] == "log" and plan[1] != "read") and not late:
            return "has the log failed?"
        if plan[3] - plan[2] > 1:
            if "\nno call has failed" in output:
                return "the log is full, and no call says that the segment fails"
            if (plan[3] < FOREVER) == ("and no commit after" in output):
                return "do commits succeed once the segment has been repaired?"
        return None


def main():
    parser = argparse.ArgumentParser(usage="ioerror.py [OPTION]...", description=__doc__.split("\n\n", 2)[2],
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--each", action="store_true", default="IOERROR_EACH" in os.environ,
        help="each request in turn, else one of each kind; or IOERROR_EACH in the environment")
    add("--transactions", type=int, metavar="N", default=30, help="of each of three threads in a round")
    add("--seed", type=int, default=random.randrange(1 << 32))
    add("-k", "--kernel", default="6.1")
    args = parser.parse_args()

    h = Harness(args, 3)
    h.new_images()
    h.run_here("run")	# there is something to recover
    images = h.images()
    images["mark"] += bytes(4096)
    rounds = Rounds(h, images, args.each)
    status, output = h.vm(args.kernel, rounds.script(), rounds.disks, 3600)
    rounds.disks.close()
    h.comment(output)
    h.result(status == 0 and rounds.command() == "end", f"Linux {args.kernel}: it comes to the end")
    h.result(4 * rounds.failures > rounds.rounds.total(), f"in {rounds.failures} of the rounds requests failed")
    h.result(not rounds.bad, f"{rounds.rounds['kernel']} rounds on the kernel engine, "
                             f"{rounds.rounds['user']} on the user engine, and power cuts after them")
    return h.end()


sys.exit(main())
