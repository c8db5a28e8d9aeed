# SPDX-License-Identifier: GPL-2.0 OR MIT
"""Mapping 1 MiB to 4 GiB, and the first touch; recovery against the device's sequential read"""
import report
import vm

# the engine, with what more options
KINDS = (("user", ""), ("user", " --map-private"), ("kernel", ""))
# a device's latency, and MB/s: a fast one and a disk, both slower as the guest is
DEVICES = {"20 us, 3 GB/s": (vm.NVME, round(3000 / vm.ICOUNT_SLOWER)),
           "10 ms, 200 MB/s": (vm.DISK, round(200 / vm.ICOUNT_SLOWER))}
BANK = "rvmbench --json --log /dev/nullb0 --segment /dev/nullb1"


def runs(quick):
    # 256 bytes of an account, with its audit trail; 7 pages less are the rest of the bank
    accounts = {size: size * 4096 - 112 for size in ((1, 64) if quick else (1, 16, 256, 1024, 4096))}
    mapping = []
    for size, number in accounts.items():
        for engine, more in KINDS:
            env = {"LATENCY": vm.NVME, "SIZE": 4200}
            mapping += [
                vm.Command(f"{BANK} --create --transactions 1 --accounts 1000 --engine {engine} --log-size 4M",
                           env=env, tags={"kind": "make"}, seconds=2),
                vm.Command(f"{BANK} --startup --accounts {number} --engine {engine}{more}",
                           env={**env, "KEEP": 1}, tags={"kind": "map", "mib": size},
                           seconds=max(2, size // 40), limit=1200)]
    recovery = []
    for device, (latency, mbps) in DEVICES.items():
        for transactions in (2000, 20000) if quick else (2000, 20000, 100000):
            for engine in ("user", "kernel"):
                env = {"LATENCY": latency, "MBPS": mbps, "SIZE": 512}
                options = f"--accounts 262144 --engine {engine}"
                recovery += [
                    vm.Command(f"{BANK} --create --crash --truncate 0 --log-size 256M --commit no_flush --transactions {transactions} {options}",
                               env=env, tags={"kind": "crash", "device": device}, seconds=4 + transactions // 20000),
                    vm.Command(f"{BANK} --startup --busy {options}", env={**env, "KEEP": 1},
                               tags={"kind": "recover", "device": device, "transactions": transactions},
                               seconds=4 + transactions // 20000)]
    return [vm.Run("map", mapping, vm=["--icount", "-m", "640" if quick else "9500"]),
            vm.Run("recovery", recovery, vm=["--icount", "-m", "1400"])]


def how(row):
    return row["engine"] + (", privately" if row["map_private"] else "")


def tables(rows):
    mapped = report.pick(rows, kind="map")
    lines = [[report.number(row["mib"]), how(row), *(report.number(row[field] / 1000, digits) for field, digits in (
        ("map_ns", 1), ("touch_ns", 1), ("touch_each_ns", 3)))] for row in mapped]
    recovered = []
    for row in report.pick(rows, kind="recover"):
        crash = report.one(rows, kind="crash", device=row["device"], engine=row["engine"], transactions=row["transactions"])
        mib = crash["log_bytes_per_txn"] * row["transactions"] / 2**20
        took, busy, device = row["open_ns"] / 1e6, row["open_busy_ns"] / 1e6, mib * row["read_mib_ns"] / 1e6
        recovered.append([row["device"], report.number(row["recovered"]), report.number(mib, 1), row["engine"],
                          report.number(took, 1), report.number(busy, 1),
                          report.number(device, 1), f"{device / took:.2f}"])
    return {
        "startup-map": report.table(["MiB", "engine", "map, us", "first touch, us", "each of many, us"], lines, 0),
        "startup-recovery": report.table(["device", "records", "MiB of log", "engine", "recovery, ms", "of it CPU, ms",
                                          "sequential read, ms", "read/recovery"], recovered, 1),
    }


def plots(rows):
    mapped, recovered = report.pick(rows, kind="map"), report.pick(rows, kind="recover")
    return [
        report.Plot("startup-map", "Mapping a segment", "MiB", "us", {
            kind: [(row["mib"], row["map_ns"] / 1000) for row in mapped if how(row) == kind]
            for kind in dict.fromkeys(map(how, mapped))}, log="xy"),
        report.Plot("startup-recovery", "Recovery", "transactions in the log", "ms", {
            f"{engine}, {device}": [(row["transactions"], row["open_ns"] / 1e6) for row in
                                    report.pick(recovered, engine=engine, device=device)]
            for engine in ("user", "kernel") for device in DEVICES}, log="xy"),
    ]
