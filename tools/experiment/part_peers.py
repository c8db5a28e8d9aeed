# SPDX-License-Identifier: GPL-2.0 OR MIT
"""Other things that keep data, on the same debit-credit load, device and file system"""
import statistics

import report
import vm

# (peer, engine); the last three are no transactions
PEERS = [("rvm", "kernel"), ("rvm", "user"), ("lmdb", ""), ("sqlite", ""), ("bdb", ""), ("pmemobj", ""),
         ("pwrite", ""), ("msync", ""), ("bare", "")]
NAMES = {"rvm": "RVM", "lmdb": "LMDB", "sqlite": "SQLite, WAL, synchronous=FULL", "bdb": "Berkeley DB",
         "pmemobj": "libpmemobj, msync", "pwrite": "four pwrites, fdatasync", "msync": "stores, msync",
         "bare": "one O_DIRECT\\|O_DSYNC write"}
NATIVE = [(peer, engine) for peer, engine in PEERS if engine != "kernel"]
ROUNDS = 5
CHANGED = 224                                   # bytes, of a transaction


def runs(quick):
    n, rounds = (500, 1) if quick else (2000, ROUNDS)
    guest = [vm.Command(f"mounted peers --busy --device --verify --peer {peer} --warmup {n} --transactions {n}",
                        env={"LATENCY": vm.NVME, "DEVICES": 1, "RVM_ENGINE": engine or "user"},
                        tags={"kind": "guest"}, seconds=20, limit=3600)
             for peer, engine in PEERS]
    # one after the other, again and again: what the machine does meanwhile then meets all
    rate = [vm.Command(f"env RVM_ENGINE=user peers --verify --peer {peer} --warmup 200 --transactions {n // 4}",
                       tags={"kind": "native", "round": r, "engine": engine}, seconds=3)
            for r in range(1, rounds + 1) for peer, engine in NATIVE]
    # short turns of both, to the same file
    turns = vm.Command("rvmbench --engine user --create --log log --segment segment --bare --transactions 20 "
                       f"--repeat {20 if quick else 200} --json", tags={"kind": "turns"})
    count = [vm.Command(f"env RVM_ENGINE=user {vm.TOP}/{vm.HERE}/callgrind {peer} {n} {4096 if quick else 32768}",
                        tags={"kind": "callgrind", "engine": engine}, seconds=8)
             for peer, engine in NATIVE]
    return [vm.Run("guest", guest, vm=["--icount", "-m", "1536"], **vm.peers()),
            vm.Run("native", [turns, *rate], where="native", targets=["peers"]),
            vm.Run("callgrind", count, where="native", targets=["peers"])]


def native(rows, peer):
    """The median rate, and its shares of bare writes' in the same round."""
    mine = report.pick(rows, kind="native", peer=peer)
    bare = {row["round"]: row["tps"] for row in report.pick(rows, kind="native", peer="bare")}
    return [statistics.median(row["tps"] for row in mine), [row["tps"] / bare[row["round"]] for row in mine]]


def spread(shares):
    """Their median, and where the middle half of them lies."""
    low, middle, high = statistics.quantiles(shares, n=4, method="inclusive") if len(shares) > 1 else shares * 3
    return [report.number(middle, 2), f"{low:.2f} to {high:.2f}"]


def tables(rows):
    guest, here = [], []
    for peer, engine in PEERS:
        row = report.one(rows, kind="guest", peer=peer, **({"engine": engine} if engine else {}))
        name = NAMES[peer] + (f", {engine} engine" if engine else "")
        guest.append([name, "yes" if row["atomic"] else "no",
                      report.number(row["tps"]), report.number(row["busy_ns_per_txn"] + row["truncate_busy_ns_per_txn"]),
                      report.number(row["device_writes_per_txn"], 2), report.number(row["device_flushes_per_txn"], 2),
                      report.number(row["device_bytes_per_txn"]), report.number(row["device_bytes_per_txn"] / CHANGED, 1)])
        if (peer, engine) in NATIVE:
            tps, shares = native(rows, peer)
            here.append([name, report.number(tps), *spread(shares),
                         report.number(report.one(rows, kind="callgrind", peer=peer)["user_instructions"])])
    turns = report.pick(rows, kind="turns")
    here.append(["RVM, user engine, in turns with bare writes to the same file",
                 report.number(statistics.median(row["tps"] for row in turns)),
                 *spread([row["of_bare"] for row in turns]), ""])
    return {"peers": report.table(["", "atomic", "transactions/s", "instructions", "writes", "flushes", "bytes", "of 224"],
                                  guest, 2),
            "peers-native": report.table(["", "transactions/s", "of bare writes", "the middle half", "user instructions"], here)}


def plots(rows):
    del rows
    return []
