# SPDX-License-Identifier: GPL-2.0 OR MIT
"""The regression gate: a few figures, against those that were accepted."""
import json
import os

import report
import vm

BASELINE = os.path.join(os.path.dirname(os.path.realpath(__file__)), "baseline.json")
VERSIONS = ("linux", "qemu", "cc")
# per cent that a figure may be worse: measured with what the baseline was, and with others
LIMIT, LIMIT_ELSEWHERE = 2.0, 10.0


def run():
    bank = "rvmbench --json --busy --create --log /dev/nullb0 --segment /dev/nullb1 --truncate 0 --log-size 32M"
    commands = []
    for engine in ("user", "kernel"):
        for commit in ("no_flush", "flush"):
            commands.append(vm.Command(f"{bank} --repeat 2 --transactions 2000 --engine {engine} --commit {commit}"))
            commands.append(vm.Command(f"{bank} --events=1 --engine {engine} --commit {commit}"))
        commands.append(vm.Command(f"{bank} --events=1 --engine {engine} --commit no_flush --tracking diff"))
    for command in commands:
        # without requests that take time: these are instructions
        command.env["LATENCY"] = vm.MEMORY
    return vm.Run("gate", commands, part="gate")


def figures(rows):
    """{name: instructions}"""
    found = {}
    for engine in ("user", "kernel"):
        for commit in ("no_flush", "flush"):
            bank = report.one(report.pick(rows, engine=engine, commit=commit), repetition=2)
            found[f"{engine}, {commit}: a transaction"] = bank["busy_ns_per_txn"]
            step = report.one(rows, engine=engine, commit=commit, tracking="ranges", event="commit", bytes=8)
            found[f"{engine}, {commit}: a commit of 8 bytes"] = step["end_ns"]
        found[f"{engine}: truncation for a transaction"] = report.one(
            rows, engine=engine, commit="no_flush", repetition=2)["truncate_busy_ns_per_txn"]
        first = report.one(rows, engine=engine, tracking="diff", event="first_warm")
        found[f"{engine}, diff: the first store to a page"] = first["store_ns"]
    return found


def least(figures, again):
    """Of two measurements: interrupts, and where memory lies by chance, only add."""
    return {name: min(value, again[name]) for name, value in figures.items()}


def accept(now, versions):
    base = {name: versions[name] for name in VERSIONS}
    with open(BASELINE, "w", encoding="utf-8") as file:
        json.dump({"SPDX-License-Identifier": "GPL-2.0 OR MIT", "versions": base, "instructions": now}, file, indent="\t")
        file.write("\n")


def limit_of(versions, baseline):
    return LIMIT if all(versions[name] == baseline["versions"][name] for name in VERSIONS) else LIMIT_ELSEWHERE


def change(now, baseline, name):
    """In per cent."""
    return 100 * (now[name] / baseline["instructions"][name] - 1)


def any_larger(now, versions, baseline):
    limit = limit_of(versions, baseline)
    return any(change(now, baseline, name) > limit for name in now if name in baseline["instructions"])


def compare(now, versions, baseline):
    """One line of TAP for each figure; the number of those that are too large."""
    limit, bad, base = limit_of(versions, baseline), 0, baseline["instructions"]
    for name in VERSIONS:
        if versions[name] != baseline["versions"][name]:
            print(f"# the baseline is of {name} {baseline['versions'][name]}, this is {versions[name]}: "
                  f"limit {limit:.0f} %")
    print("TAP version 13")
    names = list(dict.fromkeys([*base, *now]))
    for number, name in enumerate(names, 1):
        if name not in now or name not in base:
            verdict, good = "only " + ("accepted" if name in base else "measured"), False
        else:
            more = change(now, baseline, name)
            good = more <= limit
            verdict = f"{report.number(base[name])} -> {report.number(now[name])}, {more:+.2f} %"
            if more < -limit:
                verdict += ", better: accept it"
        bad += not good
        print(f"{'ok' if good else 'not ok'} {number} - {name}: {verdict}")
    print(f"1..{len(names)}")
    return bad
