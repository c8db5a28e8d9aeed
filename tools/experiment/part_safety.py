# SPDX-License-Identifier: GPL-2.0 OR MIT
"""The cost of safety: what survives what, and what each step costs"""
import report
import vm

# (label, peer, engine)
STEPS = [
    ("stores alone", "memory", "user"),
    ("four pwrites", "pwrite-only", "user"),
    ("RVM, user engine, no_flush", "rvm-no_flush", "user"),
    ("RVM, kernel engine, no_flush", "rvm-no_flush", "kernel"),
    ("one block written", "direct", "user"),
    ("one block written, durably", "bare", "user"),
    ("four pwrites, fdatasync", "pwrite", "user"),
    ("RVM, user engine, flush", "rvm", "user"),
    ("RVM, kernel engine, flush", "rvm", "kernel"),
]


def runs(quick):
    n = 500 if quick else 3000
    commands = []
    for label, peer, engine in STEPS:
        for end, options in (("close", f"--busy --device --verify --warmup {n}"), ("kill", "--die")):
            commands.append(vm.Command(
                f"mounted peers --peer {peer} --transactions {n} {options}",
                env={"LATENCY": vm.NVME, "DEVICES": 1, "RVM_ENGINE": engine},
                tags={"step": label, "end": end}, seconds=3))
    return [vm.Run("steps", commands, vm=["--icount", "-m", "1024"], **vm.peers())]


def tables(rows):
    lines = []
    for label, *_ in STEPS:
        row = report.one(rows, step=label, end="close")
        died = report.one(rows, step=label, end="kill")
        lines.append([label, "yes" if row["atomic"] else "no",
                      f"{report.number(died['survived'])} of {report.number(died['made'])}",
                      "yes" if row["survives"] in ("the kernel", "the machine") else "no",
                      "yes" if row["survives"] == "the machine" else "no",
                      report.number(row["busy_ns_per_txn"]), report.number(row["truncate_busy_ns_per_txn"]),
                      report.number(row["ns_per_txn"] / 1000, 1),
                      report.number(row["device_writes_per_txn"], 2), report.number(row["device_flushes_per_txn"], 2)])
    return {"safety": report.table(
        ["", "all or nothing", "left after SIGKILL", "after the kernel's end", "after a power cut", "instructions", "put off",
         "us", "writes", "flushes"], lines, 5)}


def plots(rows):
    del rows
    return []
