# SPDX-License-Identifier: GPL-2.0 OR MIT
"""1 to 16 committers, threads and processes: commits a second, and what the CPU does for each"""
import report
import vm

KINDS = (("user", "threads"), ("kernel", "threads"), ("kernel", "processes"))
COMMITTERS = (1, 2, 4, 8, 16)
# of a request, not made longer for the guest's slower CPU
LATENCIES = (1_000_000, 20_000)


def runs(quick):
    commands = []
    for latency in LATENCIES:
        for engine, kind in KINDS:
            for number in (1, 4, 16) if quick else COMMITTERS:
                commands.append(vm.Command(
                    f"rvmbench --json --busy --verify --create --log /dev/nullb0 --segment /dev/nullb1 --repeat 2 "
                    f"--engine {engine} --{kind} {number} --accounts 4096 --truncate 0 --log-size 32M "
                    f"--transactions {2000 if quick else 10000}",
                    env={"LATENCY": latency}, tags={"latency": latency, "kind": kind, "committers": number},
                    seconds=5 if quick else 12))
    return [vm.Run("group", commands)]


def ideal(row):
    """As if a commit took one request and nothing else."""
    return row["tps"] * row["latency"] / 1e9 / row["committers"]


def tables(rows):
    rows = report.pick(rows, repetition=2)
    made = {}
    for latency in LATENCIES:
        lines = []
        for number in COMMITTERS:
            cells = []
            for engine, kind in KINDS:
                row = report.one(rows, latency=latency, engine=engine, kind=kind, committers=number)
                if row:
                    cells += [report.number(row["tps"]), f"{ideal(row):.2f}", f"{row['log_writes_per_txn']:.2f}",
                              f"{100 * row['busy_ns_per_txn'] / row['ns_per_txn']:.0f} %",
                              report.number(row["busy_ns_per_txn"] / 1000, 1)]
            if cells:
                lines.append([number, *cells])
        header = ["committers"]
        for engine, kind in KINDS:
            header += [f"{engine}, {kind}: commits/s", "of ideal", "writes", "CPU", "us each"]
        made[f"scaling-{latency // 1000}us"] = report.table(header, lines, 0)
    return made


def plots(rows):
    rows = report.pick(rows, repetition=2)
    return [report.Plot(f"scaling-{latency // 1000}us", f"Flush commits, requests of {latency // 1000} us", "committers",
                        "commits a second",
                        {f"{engine}, {kind}": [(row["committers"], row["tps"]) for row in
                                               report.pick(rows, latency=latency, engine=engine, kind=kind)]
                         for engine, kind in KINDS}, log="xy") for latency in LATENCIES]
