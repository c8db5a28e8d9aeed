# SPDX-License-Identifier: GPL-2.0 OR MIT
"""The engines compared: instructions of a debit-credit transaction, with truncation"""
import report
import vm

TRANSACTIONS = 10000


def runs(quick):
    commands = []
    for commit in ("no_flush", "flush"):
        for engine in ("user", "kernel"):
            commands.append(vm.Command(
                f"rvmbench --json --busy --verify --create --log /dev/nullb0 --segment /dev/nullb1 --repeat 2 "
                f"--engine {engine} --commit {commit} --truncate 0 --log-size 32M "
                f"--transactions {TRANSACTIONS // 5 if quick else TRANSACTIONS}",
                env={"LATENCY": vm.NVME}, tags={"request_us": 20}))
    return [vm.Run("bank", commands)]


def tables(rows):
    rows = report.pick(rows, repetition=2)
    lines, requests = [], []
    for commit in ("no_flush", "flush"):
        cost = {}
        for engine in ("user", "kernel"):
            row = report.one(rows, commit=commit, engine=engine)
            busy, truncation = row["busy_ns_per_txn"], row["truncate_busy_ns_per_txn"]
            cost[engine] = (busy, truncation, busy + truncation)
            lines.append([commit, engine, *(report.number(n) for n in cost[engine]),
                          report.number(row["ns_per_txn"] - busy)])
            requests.append([commit, engine, report.number(row["log_writes_per_txn"], 4),
                             report.number(row["log_bytes_per_txn"]), report.number(row["segment_writes_per_txn"], 4),
                             report.number(row["segment_bytes_per_txn"])])
        lines.append(["", "kernel/user", *(report.number(k / u, 2) for k, u in zip(cost["kernel"], cost["user"])), ""])
    return {
        "engines": report.table(["commit", "engine", "instructions: commit", "truncation", "both", "ns waited"], lines, 2),
        "engines-requests": report.table(["commit", "engine", "log writes", "bytes", "segment writes", "bytes"], requests, 2),
    }


def plots(rows):
    del rows
    return []
