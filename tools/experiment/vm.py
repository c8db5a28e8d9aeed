# SPDX-License-Identifier: GPL-2.0 OR MIT
"""Runs: lists of commands that print figures, each list in a VM of its own, or here.

A figure's row is the JSON object that a command printed, one a line, with the
command's tags and what it ran on added.
"""
import dataclasses
import hashlib
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import tempfile
import threading
import time

TOP = os.path.realpath(os.path.join(os.path.dirname(os.path.realpath(__file__)), "../.."))
BUILD = os.path.join(TOP, os.environ.get("BUILD") or "build")
HERE = "tools/experiment"
SCRIPTS = ("measure", "mounted", "paged", "callgrind")     # they have a part in what is measured

# A device for --icount's guest, at an instruction a nanosecond: that is some 2.4 times
# slower than native code, so its requests take 2.4 times those of the device it stands for.
ICOUNT_SLOWER = 2.4
MEMORY = 0                                      # takes no time: what is left are instructions
NVME = round(20e3 * ICOUNT_SLOWER)              # 20 us
DISK = round(10e6 * ICOUNT_SLOWER)              # 10 ms


@dataclasses.dataclass
class Command:
    """One measurement. env is for `measure`, which describes it, tags go into each row."""
    argv: str                                   # words without quotes; rvmbench is found
    tags: dict = dataclasses.field(default_factory=dict)
    env: dict = dataclasses.field(default_factory=dict)
    seconds: int = 20                           # about how long, until it was measured once
    limit: int = 600                            # and at most


@dataclasses.dataclass
class Run:
    """Commands that run one after the other in one VM, or on this machine.

    where   guest   a VM that holds busybox, rvm.ko, rvmbench and `programs` alone. With
                    --icount in vm this is what repeats. Programs in `dynamic` are there
                    with their libraries.
            files   a VM that sees this machine's files (tests/vm/run), for programs with
                    libraries; its devices are the same
            native  this machine, in an empty folder; `measure` and its env are not used
    vm      more options of tests/vm/run
    disks   sizes of raw disks, /dev/vda and so on, which are made for this run
    """
    name: str
    commands: list
    where: str = "guest"
    vm: list = dataclasses.field(default_factory=lambda: ["--icount"])
    disks: list = dataclasses.field(default_factory=list)
    programs: list = dataclasses.field(default_factory=list)    # static ones, or scripts of busybox's sh
    targets: list = dataclasses.field(default_factory=list)     # what make builds for it, beside rvmbench
    dynamic: list = dataclasses.field(default_factory=list)     # with their libraries; `mounted` runs them
    modules: list = dataclasses.field(default_factory=list)     # of the kernel, loaded first
    part: str = ""                              # the framework's
    kernel: str = "6.1"                         # the framework's
    quick: bool = False                         # the framework's

    @property
    def counts_alone(self):
        """What it measures is what its guest executes, whatever else this machine does meanwhile."""
        return "--icount" in self.vm and self.where == "guest"


class Failed(Exception):
    """A run did not end well; says why."""


children = set()                                # of all threads
stopped = threading.Event()


def stop():
    """End what runs, and let nothing begin: those who wait for it get Failed."""
    stopped.set()
    for child in list(children):
        try:
            os.killpg(child.pid, signal.SIGTERM)
        except ProcessLookupError:
            pass


def source_hash():
    """Of all that what is measured is made from."""
    digest = hashlib.sha256()
    for folder in ("core", "include", "lib", "module", "tools"):
        for path, folders, files in os.walk(os.path.join(TOP, folder)):
            folders.sort()
            for name in sorted(files):
                if name.endswith((".c", ".h")) or name in SCRIPTS:
                    with open(os.path.join(path, name), "rb") as file:
                        digest.update(name.encode() + b"\0" + file.read())
    return digest.hexdigest()


def versions(kernel):
    """What the figures depend on, besides the project."""
    said = subprocess.run([TOP + "/tests/vm/kernel", kernel], stdout=subprocess.PIPE, text=True, check=False)
    if said.returncode:
        raise Failed(f"tests/vm/kernel {kernel} failed")
    qemu = subprocess.run(["qemu-system-x86_64", "--version"], capture_output=True, text=True, check=True).stdout
    cc = subprocess.run([os.environ.get("CC", "cc"), "-dumpfullversion"], capture_output=True, text=True, check=True)
    return {
        "linux": re.search(r"^KVER=(.*)$", said.stdout, re.M).group(1).strip("'\""),
        "qemu": re.search(r"version (\S+)", qemu).group(1),
        "cc": cc.stdout.strip(),
    }


def build(runs):
    """What these runs measure."""
    targets = sorted({target for run in runs for target in run.targets})
    subprocess.run(["make", "-s", "-C", TOP, "BUILD=" + BUILD, "tools", BUILD + "/guest/rvmbench", *targets],
                   check=True, stdin=subprocess.DEVNULL)


def peers():
    """What a Run takes whose commands are `mounted peers`: see tools/experiment/peers."""
    return {"targets": ["peers"], "modules": ["ext4"], "programs": [os.path.join(TOP, HERE, "mounted"), "/etc/mke2fs.conf"],
            "dynamic": [BUILD + "/peers", shutil.which("mke2fs", path="/usr/sbin:/sbin")]}


def libraries(programs):
    """What these are linked with, the dynamic linker too."""
    found = set()
    for program in programs:
        said = subprocess.run(["ldd", program], capture_output=True, text=True, check=True).stdout
        found.update(re.findall(r"(/\S+) \(0x", said))
    return sorted(found)


def vm_options(run, folder):
    options = ["-k", run.kernel, *run.vm]
    for module in ["null_blk nr_devices=0", *run.modules]:
        options += ["-M", module]
    for number, size in enumerate(run.disks):
        image = os.path.join(folder, f"disk{number}")
        subprocess.run(["truncate", "-s", size, image], check=True)
        options += ["-d", image]
    return options


def argv(run, folder):
    """The command that executes the run, and prints what tests/ktap does."""
    if run.where == "guest":
        with open(folder + "/list", "w", encoding="ascii") as file:
            for command in run.commands:
                env = [f"{name}={value}" for name, value in command.env.items()]
                for word in env + command.argv.split():
                    if not re.fullmatch(r"\S+", word):
                        raise Failed(f"'{word}': what runs in a guest has no spaces in its words")
                file.write(" ".join([str(command.limit), *env, "measure", command.argv]) + "\n")
        return [TOP + "/tests/vm/suite", *vm_options(run, folder), folder + "/list",
                os.path.join(TOP, HERE, "measure"), BUILD + "/guest/rvmbench",
                *run.programs, *run.dynamic, *libraries(run.dynamic)]

    lines = []
    for number, command in enumerate(run.commands):
        words = command.argv
        if run.where == "files":
            env = " ".join(f"{name}={shlex.quote(str(value))}" for name, value in command.env.items())
            words = f"env {env} PATH={BUILD}:$PATH {TOP}/{HERE}/measure {words}"
        lines += [f"echo '#@ begin {number}'",
                  f"(cd \"$(mktemp -d)\" && PATH={BUILD}:$PATH && export PATH && timeout {command.limit} {words}) 2>&1",
                  "printf '\\n#@ end %s\\n' $?"]
    script = folder + "/script"
    with open(script, "w", encoding="utf-8") as file:
        file.write("\n".join([f"export TMPDIR={folder if run.where == 'native' else '/tmp'}",
                              f"echo '#@ plan {len(run.commands)}'", *lines]) + "\n")
    how = ["sh", script]
    if run.where == "files":
        limit = 120 + sum(command.limit for command in run.commands)
        how = [TOP + "/tests/vm/run", *vm_options(run, folder), "-t", str(limit), "--", *how]
    return ["sh", "-c", f"{{ {shlex.join(how)}; }} | {TOP}/tests/ktap"]


def execute(run, log, done):
    """Do it, and return its rows. What it prints goes to the file `log`; done(command,
    seconds) is called after each command. Raises Failed."""
    rows = []
    base = {"part": run.part, "run": run.name, "quick": run.quick, "icount": "--icount" in run.vm and run.where != "native"}
    base.update(versions(run.kernel))
    with tempfile.TemporaryDirectory(prefix="experiment-", dir=os.environ.get("TMPDIR")) as folder, \
            open(log, "w", encoding="utf-8") as out:
        child = subprocess.Popen(argv(run, folder), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                 stderr=subprocess.STDOUT, text=True, errors="replace", cwd=TOP,
                                 start_new_session=True)
        children.add(child)
        try:
            if stopped.is_set():
                raise Failed("interrupted")
            number, ours, failed, began = -1, False, None, time.monotonic()
            for line in child.stdout:
                out.write(line)
                out.flush()
                line = line.rstrip("\r\n")
                if line.startswith("# Subtest: "):
                    ours = line[11:] not in ("insmod", "rmmod", "console")
                    number += ours
                    began = time.monotonic()
                elif line.startswith("    {") and ours:
                    row = {**base, **run.commands[number].tags}
                    try:
                        row.update(json.loads(line))
                    except ValueError as error:
                        raise Failed(f"{run.commands[number].argv}: no JSON: {line.strip()}") from error
                    rows.append(row)
                elif line.startswith("not ok"):
                    failed = failed or (run.commands[number].argv if ours else line)
                elif line.startswith("ok") and ours:
                    done(run.commands[number], time.monotonic() - began)
            status = child.wait()
        finally:
            if child.poll() is None:
                os.killpg(child.pid, signal.SIGTERM)
                child.wait()
            children.discard(child)
    if failed:
        raise Failed(f"failed: {failed}")
    if status or number + 1 != len(run.commands):
        raise Failed(f"{number + 1} of {len(run.commands)} commands ran, exit status {status}")
    if not rows:
        raise Failed("nothing printed a figure")
    return rows
