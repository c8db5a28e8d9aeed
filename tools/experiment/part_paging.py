# SPDX-License-Identifier: GPL-2.0 OR MIT
"""The paper's Table 1: throughput against recoverable / physical memory, with paging"""
import report
import vm

MEMORY = 64                                     # MiB, the paper's machine
RATIOS = [12.5 * n for n in range(1, 15)]       # recoverable memory in % of it
ACCOUNTS = 256                                  # bytes of the segment that an account takes
ACCOUNTS_PER_PAGE = 32
FORCE = 17.4e-3                                 # seconds: the paper's log force, and our disk's request

# Transactions a second of RVM in Table 1 of M. Satyanarayanan, H. H. Mashburn, P. Kumar,
# D. C. Steere and J. J. Kistler, Lightweight Recoverable Virtual Memory (SOSP 1993; ACM
# TOCS 12, 1994), on a DECstation 5000/200 with 64 MB; its log force is the bound, 57.4.
PAPER = {
    "sequential": [48.6, 48.5, 48.6, 48.2, 48.1, 47.7, 47.2, 46.9, 46.3, 46.9, 48.6, 46.9, 46.5, 46.4],
    "random": [47.9, 46.4, 45.5, 44.7, 43.9, 43.2, 42.5, 41.6, 40.8, 39.7, 33.8, 33.3, 30.9, 27.4],
    "localized": [47.5, 46.6, 46.2, 45.1, 44.2, 43.4, 43.8, 41.1, 39.0, 39.0, 40.0, 39.4, 38.7, 35.4],
}
ENGINES = ("kernel", "user")


# transactions that fill the log, and have the user engine truncate it twice
LONG = 32768


def command(access, engine, ratio, transactions, warmup):
    accounts = int(ratio * (MEMORY << 20) / 100 / ACCOUNTS)
    # so that on average each page of accounts was touched once
    warmup = accounts // ACCOUNTS_PER_PAGE if warmup is None else warmup
    return vm.Command(
        f"paged rvmbench --json --create --verify --log /dev/nullb0 --segment /dev/nullb1 --engine {engine} --commit flush "
        f"--access {access} --accounts {accounts} --warmup {warmup} --transactions {transactions}",
        env={"DEVICES": 0, "MEMORY": MEMORY, "LATENCY": round(FORCE * 1e9)},
        tags={"ratio": ratio}, seconds=5 + round(ratio / 8), limit=4000)


def run(name, commands):
    # a quarter of the memory for changed pages, as on a machine that has so much
    return vm.Run(name, commands, vm=["--icount", "-m", "1024", "--module-args", f"memory_kib={MEMORY << 10 >> 2}"],
                  programs=[vm.TOP + "/" + vm.HERE + "/paged"])


def runs(quick):
    if quick:
        return [run(f"random-{engine}", [command("random", engine, ratio, 500, 500) for ratio in (50, 100, 175)])
                for engine in ENGINES]
    return [run(f"{access}-{engine}", [command(access, engine, ratio, 2000, None) for ratio in RATIOS])
            for access in PAPER for engine in ENGINES] + \
           [run(f"long-{engine}", [command("random", engine, RATIOS[-1], LONG, None)]) for engine in ENGINES]


def share(row):
    """Of the rate at which a disk can do one request for each commit."""
    return row["tps"] * FORCE


def with_truncation(row):
    return 1e9 / (row["ns_per_txn"] + row["truncate_ns_per_txn"])


def tables(rows):
    lines, steady = [], []
    for row in report.pick(rows, transactions=LONG):
        steady.append([row["engine"], report.number(row["tps"], 1), report.number(share(row), 2), row["truncations"] - 1,
                       report.number(row["segment_writes_per_txn"], 2), report.number(row["segment_bytes_per_txn"]),
                       report.number(with_truncation(row), 1)])
    rows = [row for row in rows if row["transactions"] != LONG]
    for access, paper in PAPER.items():
        for ratio, theirs in zip(RATIOS, paper):
            found = [report.one(rows, access=access, ratio=ratio, engine=engine) for engine in ENGINES]
            if None in found:
                continue
            lines.append([access, f"{ratio:g} %", *(report.number(row["tps"], 1) for row in found),
                          report.number(found[0]["tps"] / found[1]["tps"], 2),
                          *(report.number(share(row), 2) for row in found), report.number(theirs * FORCE, 2),
                          *(report.number(row["log_writes_per_txn"], 2) for row in found),
                          *(report.number(with_truncation(row), 1) for row in found),
                          report.number(with_truncation(found[0]) / with_truncation(found[1]), 2)])
    made = {"paging": report.table(
        ["access", "memory", "kernel: tps", "user: tps", "kernel/user", "of limit: kernel", "user", "paper",
         "forces: kernel", "user", "with truncation: kernel", "user", "kernel/user"], lines, 2)}
    if steady:
        made["paging-long"] = report.table(["engine", "tps", "of limit", "truncations", "segment writes", "bytes",
                                            "with the last truncation"], steady)
    return made


def plots(rows):
    rows = [row for row in rows if row["transactions"] != LONG]
    made = []
    for access, paper in PAPER.items():
        series = {f"{engine} engine": [(row["ratio"], share(row)) for row in report.pick(rows, access=access, engine=engine)]
                  for engine in ENGINES}
        series["the paper's RVM"] = [(ratio, tps * FORCE) for ratio, tps in zip(RATIOS, paper)]
        if all(series.values()):
            made.append(report.Plot(f"paging-{access}", f"{access} accounts", "recoverable memory / physical memory, %",
                                    "transactions per log force", series, extra="set yrange [0:1.05]",
                                    dashed=("the paper's RVM",)))
    return made
