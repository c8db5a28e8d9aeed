# SPDX-License-Identifier: GPL-2.0 OR MIT
"""The paper's Table 2: log bytes that merging ranges and transactions saves a file system"""
import report
import vm

ENGINES = ("kernel", "user")
# (workload, commit mode, what is merged). With flush commits a record ends on a device's block,
# so the server with no_flush ones shows the length of its records; those are not to be merged.
CASES = [("server", "no_flush", ("none", "ranges")), ("server", "flush", ("none", "ranges", "all")),
         ("client", "no_flush", ("none", "ranges", "all"))]

# Table 2 of the paper that part_paging.py names: the least and the most of three servers and of
# six clients, in percent saved within transactions, between them, and in total
PAPER = [("server, the paper's", "20.7 to 21.5", "0.0", "20.7 to 21.5"),
         ("client, the paper's", "17.3 to 41.6", "20.9 to 64.3", "47.7 to 81.6")]


def runs(quick):
    commands = [vm.Command(f"env RVM_ENGINE={engine} metadata --workload {workload} --commit {commit} --optimize {optimize} "
                           f"--calls {2000 if quick else 20000}",
                           env={"DEVICES": 0}, seconds=4)
                for engine in ENGINES for workload, commit, optimizations in CASES for optimize in optimizations]
    return [vm.Run("savings", commands, targets=[vm.BUILD + "/guest/metadata"], programs=[vm.BUILD + "/guest/metadata"])]


def tables(rows):
    lines = []
    for workload, commit, optimizations in CASES:
        for engine in ENGINES:
            found = [report.one(rows, workload=workload, commit=commit, engine=engine, optimize=optimize)
                     for optimize in optimizations]
            size = [row["log_bytes"] for row in found]
            saved = lambda i, j, size=size: report.number(100 * (size[i] - size[j]) / size[0], 1)
            lines.append([workload, "to the block" if commit == "flush" else "packed", engine,
                          report.number(found[0]["transactions"]), report.number(size[0] / found[0]["transactions"]),
                          saved(0, 1), saved(1, 2) if len(size) > 2 else "", saved(0, -1)])
    lines += [[name, "", "", "", "", *saved] for name, *saved in PAPER]
    return {"metadata": report.table(["workload", "records", "engine", "transactions", "bytes each", "saved within, %",
                                      "between, %", "total, %"], lines, 3)}


def plots(rows):
    del rows
    return []
