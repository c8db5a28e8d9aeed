# SPDX-License-Identifier: GPL-2.0 OR MIT
"""Cut the power of VMs that commit, and see that nothing is lost or torn.

usage: powercut.py [OPTION]...

Boots one VM after the other, whose log and segments are disks that remember
every write and flush. In each the workloads run one after the other, on the
kernel engine and the user engine in turn, on one kernel and then the other,
on virtio disks and on NBD disks, which have FUA. From what was recorded, crash
states are made: the disks as a power cut can leave them, at moments of which
the rare ones are preferred (status writes, truncation, the log's turn, recovery).
The user engine recovers each on this machine, twice. Where whole records stand
beyond a torn one, it also commits one more, of exactly the torn one's length,
and recovers again. One state is what the next VM finds, so that the other engine
recovers it, too, and works on, and has its power cut in recovery; and some are
recovered, in one VM, by the kernel engine.

What is wrong with a state is printed, and what was recorded is kept: --replay
makes the same states of it, without VMs.

"""
import argparse
import itertools
import os
import pickle
import random
import struct
import sys
from collections import Counter

from disks import Disks, FLUSH, SECTOR
from harness import Harness
from states import STATUS_AREA, Cut, choices, digest, group, hole, unsure

RUNS = 54	# then anew: the mark has no room for more

# What a run is like: the engines that it is for, what the workload is told, and its environment.
WORKLOADS = {
    "single": ("kernel user", "--workers=1 --flush-percent=100"),
    "threads": ("kernel user", ""),
    # several log writes are under way at once, and the first is not always done first
    "group": ("kernel user", "--flush-percent=100 --transactions=80"),
    "mixed": ("kernel user", "--flush-percent=10 --flush-every=16"),
    "no-flush": ("kernel user", "--flush-percent=0 --flush-every=24"),
    "coalesce": ("kernel user", "--flush-percent=0 --flush-every=16 --optimize=2"),
    "wrap": ("kernel user", "--shape=2 --threshold=100 --truncate-every=0"),
    "truncate": ("kernel user", "--truncate-every=8 --threshold=10"),
    "processes": ("kernel", "--processes=3"),
    # records of one block each, several in a write: any can take another's place
    "block": ("kernel user", "--shape=1 --flush-percent=3 --flush-every=12 --optimize=0"),
    # what was changed is found: declaring it does nothing
    "diff": ("kernel user", "--truncate-every=30", "RVM_TRACKING=diff"),
    "pages": ("kernel user", "--workers=2 --shape=2 --flush-percent=60", "RVM_TRACKING=pages,strict"),
    # on what a power cut left of "block", with whole records beyond a torn one
    "one-more": ("kernel user", "--shape=1 --workers=1 --transactions=2 --flush-percent=100 --optimize=0"),
}
# In which a write of several records, or of one for all of them, is to be cut
SEVERAL = ("block", "coalesce")
ONE_MORE = f"run {WORKLOADS['one-more'][1]}"


class Boot:
    """What one VM did: the disks before, the events, and which run was under way at each."""

    def __init__(self, h, number, engine, kernel, fua, names):
        self.seed, self.folder, self.transactions = h.seed, h.folder, h.transactions
        self.number, self.engine, self.kernel, self.fua = number, engine, kernel, fua
        self.names = names
        self.images = self.events = None

    def __str__(self):
        return f"boot {self.number + 1}, {self.engine} engine on {self.kernel}" + \
               (" with FUA" if self.fua else "")

    def run(self, h, images):
        """Whether all went well."""
        self.images = images
        h.save(images)
        disks = Disks(images, f"{h.folder}/socket", self.fua)
        script = " && ".join(" ".join([*WORKLOADS[name][2:], *h.workload("run", self.engine),
                                       *WORKLOADS[name][1].split()]) for name in self.names)
        status, output = h.vm(self.kernel, script, disks)
        disks.close()
        h.comment(output)
        self.events = disks.events
        return status == 0

    def phases(self):
        """{name: [ranges of events]}: of the workloads, and of what is between them."""
        found, begin, phase, run = {}, 0, "recovery", None
        names = iter(self.names)
        for i, (name, _, data) in enumerate(self.events + [("mark", 0, bytes(16))]):
            if name != "mark":
                continue
            state = struct.unpack_from("<QQ", data)
            if state == run or (run and state[0] == run[0] and not state[1]):
                continue
            found.setdefault(phase, []).append(range(begin, i + 1))
            begin, run = i + 1, state
            phase = "recovery" if state[1] else next(names, "recovery")
        return found

    def rare(self, i):
        """What is rare about this event, or None."""
        name, offset, data = self.events[i]
        if data is FLUSH or name == "mark":
            return None
        if name != "log":
            return "segment"
        if offset < STATUS_AREA:
            return "status"
        if offset == STATUS_AREA or offset + len(data) == len(self.images["log"]):
            return "turn"
        return "long" if len(data) > 2 * SECTOR else None

    def overtaken(self, events):
        """The log writes that were done after one that follows them in the log."""
        found, end = [], 0
        for i in events:
            name, offset, data = self.events[i]
            if name != "log" or data is FLUSH or offset < STATUS_AREA:
                continue
            if end - (64 << 10) < offset < end:
                found.append(i)
            else:
                end = offset
        return found


def choose_cuts(boot, rng, count):
    """{after so many events: in which phase}, as many of each phase."""
    cuts = {}
    phases = boot.phases()
    rare = {phase: {} for phase in phases}
    for phase, ranges in phases.items():
        for i in itertools.chain(*ranges):
            if i < len(boot.events) and boot.rare(i):
                rare[phase].setdefault(boot.rare(i), []).append(i)
    overtaken = boot.overtaken(itertools.chain(*phases.get("group", ())))
    # records beyond a torn one are found in "block" alone
    often = list(phases) + ["block"] * 3 * ("block" in phases)
    for phase in itertools.islice(itertools.cycle(often), max(count, len(often))):
        within = rng.choice(phases[phase])
        kind = rng.randrange(4)
        if kind < 3 and phase == "group" and overtaken:
            at = rng.choice(overtaken)	# is what overtook it acknowledged?
        elif kind < 2 and phase in SEVERAL and "long" in rare[phase]:
            at = rng.choice(rare[phase]["long"]) + 1
        elif kind < 2 and rare[phase]:
            at = rng.choice(rng.choice(list(rare[phase].values()))) + rng.choice((1, 1, 2, 3, 4))
        elif kind == 2:
            at = within.start + rng.randrange(min(40, len(within)))
        else:
            at = rng.choice(within)
        cuts[min(at, len(boot.events))] = phase
    return cuts


def log_pieces(pieces):
    return sum(group(piece) == ("log", False) for piece in pieces)


def make_states(boot, rng, count, most, exhaustive):
    """At least so many distinct states, if there are.

    Of each: phase, event, images, are whole records beyond a torn one, is the log torn,
    are these all states of this moment.
    """
    seen, made = set(), 0
    left = {phase: 2 * count // len(boot.phases()) for phase in boot.phases()}
    for _ in range(30):
        cut = Cut(boot.images, ["mark"])
        for at, phase in sorted(choose_cuts(boot, rng, count // 12).items()):
            cut.advance(boot.events, at)
            pieces = cut.pieces()
            free = unsure(pieces)
            # one workload's moments shall not take most of the states
            found, complete = choices(free, rng, most, exhaustive if left[phase] > 0 else 0)
            beyond = hole(free) if phase == "block" and log_pieces(free) > 2 else None
            if beyond and beyond not in found:
                found.append(beyond)
            for there in found:
                images = cut.state(pieces, there)
                key = digest(images)
                if key not in seen:
                    seen.add(key)
                    made += 1
                    left[phase] -= 1
                    log = [is_there for is_there, piece in zip(there, free) if piece[0] == "log"]
                    yield phase, at, images, there == beyond, any(log) and not all(log), complete
        if made >= count:
            return


class Tally:
    def __init__(self):
        self.states, self.torn, self.more, self.bad = Counter(), Counter(), 0, 0
        self.cuts, self.complete = set(), set()

    def add(self, phase, at, beyond, torn, complete):
        self.states[phase] += 1
        self.torn[phase] += torn
        self.more += beyond
        self.cuts.add(at)
        if complete:
            self.complete.add(at)

    def total(self):
        return sum(self.states.values()) + self.more

    def __str__(self):
        return f"{self.total()} crash states of {len(self.cuts)} moments " \
               f"({len(self.complete)} with every combination)"


def first_found(h, images):
    """What recovery finds: each time that it is cut short it must be the same."""
    checker = h.checkers()[0]
    checker.begin(images)
    wrong = checker.end()
    output = checker.output
    checker.close()
    return None if wrong else output


def check_states(h, boot, args, keep=lambda *_: None):
    """The user engine recovers the crash states of a boot: what came of it."""
    tally, rng = Tally(), random.Random(f"{boot.seed} {boot.number}")
    before = boot.phases()["recovery"][0][-1]	# nothing was committed until then
    first = first_found(h, boot.images)
    idle, busy = h.checkers(), []

    def end():
        checker, (phase, at, images, beyond, *_), number = busy.pop(0)
        wrong = checker.end()
        if not wrong and not beyond and at <= before and checker.output != first:
            wrong = f"recovery was cut short, and then finds another state: {checker.output}"
        idle.append(checker)
        if wrong:
            tally.bad += 1
            if tally.bad <= 5:
                h.comment(f"state {number}, {phase}, cut after {at} of {len(boot.events)} events: {wrong}")
                h.save(images, f"{h.folder}/bad-{boot.number}-{number}")
        else:
            keep(images, boot.number, f"{boot.number}-{number}", beyond)

    for number, state in enumerate(make_states(boot, rng, args.states, args.most, args.exhaustive)):
        if args.state not in (None, number):
            continue
        phase, at, images, beyond, *_ = state
        tally.add(phase, at, *state[3:])
        if not idle:
            end()
        checker = idle.pop()
        checker.begin(images, ("check", ONE_MORE, "check") if beyond else ("check",))
        busy.append((checker, state, number))
    while busy:
        end()
    for checker in idle:
        checker.close()
    h.comment("states (those with a torn log): " +
              ", ".join(f"{phase} {n} ({tally.torn[phase]})" for phase, n in sorted(tally.states.items())) +
              f"; with one more commit, before whole records beyond a torn one, {tally.more}")
    if tally.bad or args.keep:
        h.comment(f"{tally.bad} of {tally.total()} are bad")
        with open(f"{h.folder}/boot-{boot.number}", "wb") as f:
            pickle.dump(boot, f)
        h.comment(f"to repeat it: powercut.py --states {args.states} --most {args.most} "
                  f"--exhaustive {args.exhaustive} --replay {h.folder}/boot-{boot.number}")
    return tally


def next_images(boot, rng, beyond):
    """What the next boot begins with: a state with much in the log's cache when it was cut.

    `beyond`: whole records stand beyond a torn one, of the last workload. They
    must not come to life when others have taken exactly the torn one's place.
    """
    ranges = boot.phases().get("block") if beyond else None
    if not ranges:
        ranges = [range(len(boot.events) + 1)]
    best, most = 0, -1
    cut = Cut(boot.images, ["mark"])
    for at in sorted(rng.choice(ranges[-1]) for _ in range(50)):
        cut.advance(boot.events, at)
        waiting = log_pieces(unsure(cut.pieces()))
        if waiting >= most:
            best, most = at, waiting
    cut = Cut(boot.images, ["mark"])
    cut.advance(boot.events, best)
    pieces = cut.pieces()
    free = unsure(pieces)
    there = (hole(free) if beyond else None) or choices(free, rng, 1, 0)[0][0]
    return cut.state(pieces, there)


def kernel_checks(h, kernel, images):
    """States that were kept, recovered by the kernel engine."""
    count = len(os.listdir(f"{h.folder}/states"))
    check = " ".join(h.workload("check", "kernel"))
    one_more = " ".join(h.workload("run", "kernel") + ONE_MORE.split()[1:])
    disks = Disks(images, f"{h.folder}/socket")
    status, output = h.vm(kernel, f"""
        bad=0
        for state in {h.folder}/states/*; do
            cp $state/* {h.folder}/ && echo $state
            timeout 60 {check} || bad=1
            case $state in
            *-beyond) timeout 60 {one_more} && timeout 60 {check} || bad=1 ;;
            esac
        done
        exit $bad""", disks, 300 + 20 * count)
    disks.close()
    if status:
        h.comment(output)
    h.result(status == 0, f"the kernel engine recovers {count} of these states")


def run_boots(h, args):
    total = 0
    kept = {True: 0, False: 0}
    each = args.kernel_states / 2 / args.boots

    def keep(images, number, name, beyond):
        """For the kernel engine: some of each boot, half of them with records beyond a torn one."""
        if kept[beyond] < (number + 1) * each and (beyond or h.rng.random() < 4 * each / args.states):
            kept[beyond] += 1
            h.save(images, f"{h.folder}/states/{name}{'-beyond' if beyond else ''}")

    runs = RUNS
    for number in range(args.boots):
        engine = args.engines[number % len(args.engines)]
        # as many boots with each engine before the disks change, and then the kernel
        fua = args.fua if args.fua is not None else number // len(args.engines) % 2 == 1
        kernel = args.kernels[number // len(args.engines) % len(args.kernels)]
        names = [name for name in args.workload or WORKLOADS if engine in WORKLOADS[name][0].split()]
        h.rng.shuffle(names)
        # the one right after a power cut, the other before it
        names.sort(key=lambda name: (name == "block") - (name == "one-more"))
        if runs + len(names) > RUNS:
            images, runs = h.new_images(), 0
        runs += len(names)
        boot = Boot(h, number, engine, kernel, fua, names)
        if not names or not boot.run(h, images):
            h.result(False, f"{boot}: it recovers, checks and works")
            runs = RUNS
            continue
        tally = check_states(h, boot, args, keep)
        total += tally.total()
        # a workload alone may not have so many
        h.result(not tally.bad and (args.workload or tally.total() >= args.states),
                 f"{boot}: {tally}, of {len(boot.events)} writes and flushes")
        images = next_images(boot, h.rng, number % 2 == 0)
    h.comment(f"{total} distinct crash states in all, seed {args.seed}")
    return images


def main():
    parser = argparse.ArgumentParser(
        usage="powercut.py [OPTION]...", description=__doc__.split("\n\n", 2)[2],
        formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument

    def names(text):
        return text.split(",")

    def environment(name, default):
        return int(os.environ.get(f"POWERCUT_{name}", default))

    add("--boots", type=int, default=environment("BOOTS", 4), help="VMs; or POWERCUT_BOOTS in the environment")
    add("--states", type=int, default=environment("STATES", 260),
        help="distinct crash states of each at least, or POWERCUT_STATES")
    add("--exhaustive", type=int, metavar="N", default=environment("EXHAUSTIVE", 5),
        help="all combinations where up to N pieces of 512 bytes were not durable, or POWERCUT_EXHAUSTIVE")
    add("--most", type=int, metavar="N", default=8, help="else N combinations of a moment")
    add("--kernel-states", type=int, metavar="N", default=environment("KERNEL_STATES", 8),
        help="that the kernel engine recovers as well, or POWERCUT_KERNEL_STATES")
    add("--workload", type=names, metavar="NAME,...", help=f"of {', '.join(WORKLOADS)}; all by default")
    add("--transactions", type=int, metavar="N", default=40, help="of each thread in each workload")
    add("--engines", type=names, metavar="NAME,...", default=["kernel", "user"])
    add("-k", "--kernels", type=names, metavar="NAME,...", default=["6.1", "6.12"])
    add("--fua", action=argparse.BooleanOptionalAction, help="NBD disks with FUA always, or never")
    add("--seed", type=int, default=random.randrange(1 << 32))
    add("--keep", action="store_true", help="keep what was recorded of good boots, too")
    add("--replay", metavar="FILE", help="make the states of what was recorded of a boot")
    add("--state", type=int, metavar="N", help="only this state of each boot")
    args = parser.parse_args()
    for name in args.workload or ():
        if name not in WORKLOADS:
            parser.error(f"there is no workload {name}")

    if args.replay:
        with open(args.replay, "rb") as f:
            boot = pickle.load(f)
        args.seed, args.transactions = boot.seed, boot.transactions
        h = Harness(args, 1, boot.folder)
        tally = check_states(h, boot, args)
        h.result(not tally.bad, f"{boot}: {tally}")
        return tally.bad > 0
    h = Harness(args, args.boots + (args.kernel_states > 0))
    os.makedirs(f"{h.folder}/states")
    images = run_boots(h, args)
    if args.kernel_states:
        kernel_checks(h, args.kernels[-1], images)
    return h.end(args.keep)


if __name__ == "__main__":
    sys.exit(main())
