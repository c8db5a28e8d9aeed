# SPDX-License-Identifier: GPL-2.0 OR MIT
"""Truncation in the background, of a small log under four threads: what commits and waits cost"""
import report
import vm

KINDS = ((0, "32M"), (50, "512K"))


def runs(quick):
    return [vm.Run("bank", [vm.Command(
        f"rvmbench --json --busy --worst --verify --create --log /dev/nullb0 --segment /dev/nullb1 --repeat 2 "
        f"--engine {engine} --threads 4 --truncate {truncate} --log-size {size} --transactions {3000 if quick else 10000}",
        env={"LATENCY": vm.NVME}, seconds=8 if quick else 15) for engine in ("user", "kernel") for truncate, size in KINDS])]


def tables(rows):
    lines = []
    for engine in ("user", "kernel"):
        for truncate, _ in KINDS:
            row = report.one(rows, repetition=2, engine=engine, truncate=truncate)
            lines.append([engine, f"at {truncate} %" if truncate else "never", row["truncations"] - 1,
                          report.number(row["tps"]), report.number(row["threads"] * 1e6 / row["tps"]),
                          report.number(row["worst_us"]), f"{100 * row['busy_ns_per_txn'] / row['ns_per_txn']:.0f} %",
                          report.number(row["segment_writes_per_txn"], 2), report.number(row["segment_bytes_per_txn"])])
    return {"truncation": report.table(["engine", "truncation", "how often", "commits/s", "mean us", "longest us", "CPU",
                                        "segment writes", "bytes"], lines, 2)}


def plots(rows):
    del rows
    return []
