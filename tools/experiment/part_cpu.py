# SPDX-License-Identifier: GPL-2.0 OR MIT
"""Instructions of each step of a transaction: ranges, bytes, how changes are found"""
import report
import vm

ENGINES = ("user", "kernel")
TRACKING = ("ranges", "check", "pages", "diff", "diff --strict")
USERFAULTFD = ("diff --mechanism userfaultfd", "diff --strict --mechanism userfaultfd")	# the user engine's
PAGES, BYTES = (1, 8, 64, 512), (8, 256, 4096)
STEPS = ("begin_ns", "declare_ns", "store_ns", "end_ns")


def runs(quick):
    def events(engine, commit, tracking, device, pages=8 if quick else 512):
        return vm.Command(
            f"rvmbench --events={pages} --json --create --log /dev/nullb0 --segment /dev/nullb1 --log-size 64M "
            f"--truncate 0 --engine {engine} --commit {commit} --tracking {tracking}",
            env={"LATENCY": device}, tags={"latency": device}, seconds=5 if quick else 30)

    return [
        vm.Run("steps", [events(engine, commit, tracking, vm.MEMORY)
                         for engine in ENGINES
                         for tracking in (("ranges", "diff") if quick else
                                          TRACKING + (USERFAULTFD if engine == "user" else ()))
                         for commit in ("no_flush", "flush")]),
        vm.Run("latency", [events(engine, "flush", "ranges", device, 8)
                           for device in (vm.NVME, vm.DISK) for engine in ENGINES]),
    ]


def whole(row):
    return sum(row[step] for step in STEPS)


def name(row):
    return row["tracking"] + (", strict" if row["strict"] else "") + (
        ", " + row["mechanism"] if row.get("mechanism", "mprotect") != "mprotect" else "")


def phases(rows):
    """The log's part of a commit is what a flush commit takes beyond one that does not."""
    lines = []
    for pages in PAGES:
        for size in BYTES:
            cost = {}
            for engine in ENGINES:
                no_flush, flush = (report.one(rows, event="commit", pages=pages, bytes=size, engine=engine,
                                              tracking="ranges", commit=commit) for commit in ("no_flush", "flush"))
                if not no_flush or not flush:
                    continue
                log = flush["end_ns"] - no_flush["end_ns"]
                cost[engine] = [*(no_flush[step] for step in STEPS), log, no_flush["truncate_ns"]]
                cost[engine].append(sum(cost[engine]))
            for engine, steps in cost.items():
                ratio = f"{cost['kernel'][-1] / cost['user'][-1]:.2f}" if engine == "kernel" else ""
                lines.append([f"{pages} of {size}", engine, *(report.number(n) for n in steps), ratio])
    return report.table(["ranges, bytes", "engine", "begin", "declare", "store", "commit", "log write", "truncation",
                         "all", "kernel/user"], lines, 2)


def tracking(rows):
    lines, grid = [], []
    for commit in ("no_flush", "flush"):
        for engine in ENGINES:
            some = report.pick(rows, commit=commit, engine=engine)
            base = whole(report.one(some, event="commit", pages=1, bytes=8, tracking="ranges"))
            for how in dict.fromkeys(name(row) for row in some):
                of = {(row["event"], row["pages"], row["bytes"]): row for row in some if name(row) == how}
                row = of["commit", 1, 8]
                lines.append([commit, engine, how, report.number(whole(of["read_only", 0, 0])),
                              *(report.number(of[event, 1, 8]["declare_ns"] + of[event, 1, 8]["store_ns"])
                                for event in ("first_cold", "first_warm")),
                              *(report.number(row[step]) for step in STEPS), report.number(whole(row)),
                              f"{whole(row) / base:.2f}"])
                grid.append([commit, engine, how, *(report.number(whole(of["commit", p, b]) / 1000, 1)
                                                    if ("commit", p, b) in of else "" for p in PAGES for b in BYTES)])
    return (report.table(["commit", "engine", "tracking", "read-only", "first store, cold", "warm", "begin", "declare",
                          "store", "end", "all", "of ranges"], lines, 3),
            report.table(["commit", "engine", "tracking", *(f"{p} of {b}" for p in PAGES for b in BYTES)], grid, 3))


def lengths(rows):
    lines = []
    for size in sorted({row["bytes"] for row in report.pick(rows, event="length")}):
        cells = []
        for commit in ("no_flush", "flush"):
            cost = [whole(report.one(rows, event="length", bytes=size, engine=engine, tracking="ranges", commit=commit))
                    for engine in ENGINES]
            cells += [*map(report.number, cost), f"{cost[1] / cost[0]:.2f}"]
        lines.append([report.number(size), *cells])
    return report.table(["bytes", "no_flush: user", "kernel", "kernel/user", "flush: user", "kernel", "kernel/user"], lines)


def latency(rows):
    lines = []
    for pages, size in ((1, 8), (8, 256), (8, 4096)):
        for device, words in ((vm.MEMORY, "none"), (vm.NVME, "20 us"), (vm.DISK, "10 ms")):
            cost = [whole(report.one(rows, event="commit", pages=pages, bytes=size, engine=engine, tracking="ranges",
                                     commit="flush", latency=device)) for engine in ENGINES]
            lines.append([f"{pages} of {size}", words, *(report.number(ns / 1000, 1) for ns in cost),
                          f"{cost[1] / cost[0]:.2f}"])
    return report.table(["ranges, bytes", "device", "user, us", "kernel, us", "kernel/user"], lines, 2)


def tables(rows):
    steps = report.pick(rows, run="steps")
    modes, grid = tracking(steps)
    return {"cpu-phases": phases(steps), "cpu-tracking": modes, "cpu-tracking-pages": grid,
            "cpu-length": lengths(steps), "cpu-latency": latency(rows)}


def plots(rows):
    steps = report.pick(rows, run="steps", tracking="ranges")
    series = {}
    for engine in ENGINES:
        for commit in ("no_flush", "flush"):
            series[f"{engine}, {commit}"] = [(row["bytes"], whole(row)) for row in
                                             report.pick(steps, event="length", engine=engine, commit=commit)]
    return [report.Plot("cpu-length", "A transaction of one range", "bytes", "instructions", series, log="xy")]
