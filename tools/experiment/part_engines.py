# SPDX-License-Identifier: GPL-2.0 OR MIT
"""Debit-credit and order-entry: instructions, waiting and writes, in groups of 1, 8, 64"""
import report
import vm

ENGINES = ("user", "kernel")
WORKLOADS = ("debit-credit", "order-entry")
# of flush commits, each group's last flushes; None: none does
GROUPS = (None, 1, 8, 64)


def runs(quick):
    commands = []
    for workload in WORKLOADS:
        for group in GROUPS:
            for engine in ENGINES:
                commands.append(vm.Command(
                    f"rvmbench --json --busy --verify --create --log /dev/nullb0 --segment /dev/nullb1 --repeat 2 "
                    f"--workload {workload} --engine {engine} --commit {'flush' if group else 'no_flush'} "
                    f"--group {group or 1} --truncate 0 --log-size 32M --transactions {2000 if quick else 10000}",
                    env={"LATENCY": vm.NVME}, seconds=4 if quick else 10))
    return [vm.Run("bank", commands)]


def of_group(rows, workload, group, engine):
    return report.one(rows, repetition=2, workload=workload, engine=engine, group=group or 1,
                      commit="flush" if group else "no_flush")


def tables(rows):
    cost, requests = [], []
    for workload in WORKLOADS:
        for group in GROUPS:
            kind = f"{workload}, {'no_flush' if not group else 'flush' if group == 1 else f'flush each {group}th'}"
            both = {}
            for engine in ENGINES:
                row = of_group(rows, workload, group, engine)
                commit, truncation = row["busy_ns_per_txn"], row["truncate_busy_ns_per_txn"]
                both[engine] = (commit, truncation, commit + truncation)
                cost.append([kind, engine, *map(report.number, both[engine]), report.number(row["ns_per_txn"] - commit)])
                requests.append([kind, engine, *(report.number(row[field], digits) for field, digits in (
                    ("log_writes_per_txn", 4), ("log_bytes_per_txn", 0),
                    ("segment_writes_per_txn", 4), ("segment_bytes_per_txn", 0)))])
            cost.append(["", "**kernel/user**", *(f"**{k / u:.2f}**" for k, u in zip(both["kernel"], both["user"])), ""])
    return {
        "engines": report.table(["workload, commit", "engine", "commit", "truncation", "both", "ns waiting"], cost, 2),
        "engines-requests": report.table(["workload, commit", "engine", "log writes", "bytes", "segment writes", "bytes"],
                                         requests, 2),
    }


def plots(rows):
    series = {f"{engine}, {workload}": [(group, of_group(rows, workload, group, engine)["ns_per_txn"] / 1000)
                                        for group in GROUPS if group]
              for workload in WORKLOADS for engine in ENGINES}
    return [report.Plot("engines-groups", "Flush commits in groups, on a device of 20 us", "transactions in a group",
                        "us for each", series, log="x")]
