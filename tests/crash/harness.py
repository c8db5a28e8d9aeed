# SPDX-License-Identifier: GPL-2.0 OR MIT
"""What the tests with disks share: a folder of images, the workload, VMs, KTAP."""
import os
import random
import subprocess
import tempfile

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
NAMES = ("log", "segment", "segment.2", "mark")


class Harness:
    def __init__(self, args, plan):
        self.seed, self.transactions = args.seed, args.transactions
        self.rng = random.Random(args.seed)
        # the log has the segments' names, so the folder has the same name in a VM
        self.folder = tempfile.mkdtemp(prefix="rvm-crash.")
        # of its own, not to be built anew meanwhile
        self.program = f"{self.folder}/workload"
        subprocess.run(["cp", os.path.join(TOP, os.environ.get("BUILD", "build"), "tests/crash/workload"),
                        self.program], check=True)
        self.tests = self.failures = 0
        print(f"KTAP version 1\n1..{plan}", flush=True)
        self.comment(f"seed {args.seed}")

    def result(self, ok, text):
        self.tests += 1
        self.failures += not ok
        print(f"{'ok' if ok else 'not ok'} {self.tests} - {text}", flush=True)

    def comment(self, text):
        for line in text.splitlines():
            print("#", line, flush=True)

    def end(self):
        if self.failures:
            self.comment(f"the states are in {self.folder}; a log has its segments' names, so to look at "
                         "a bad one copy its files to that folder itself")
        else:
            subprocess.run(["rm", "-r", self.folder], check=True)
        return self.failures > 0

    def paths(self):
        """What a workload is told of them."""
        return [f"--{name}={self.folder}/{name}" for name in ("log", "segment", "mark")] + \
               [f"--seed={self.seed}", "--threads=3", f"--log-size={128 << 10}",
                f"--transactions={self.transactions}"]

    def workload(self, command, engine):
        return [self.program, command, f"--engine={engine}"] + self.paths()

    def save(self, images, where=None):
        where = where or self.folder
        os.makedirs(where, exist_ok=True)
        for name, image in images.items():
            with open(f"{where}/{name}", "wb") as f:
                f.write(image)

    def new_images(self):
        subprocess.run(self.workload("make", "user"), check=True)
        images = {}
        for name in NAMES:
            with open(f"{self.folder}/{name}", "rb") as f:
                images[name] = f.read()
        return images

    def check(self, images):
        """The user engine recovers this: None, or what is wrong."""
        self.save(images)
        try:
            done = subprocess.run(self.workload("check", "user"), stdout=subprocess.PIPE,
                                  stderr=subprocess.STDOUT, text=True, timeout=60, check=False)
        except subprocess.TimeoutExpired:
            return "it hangs"
        return done.stdout if done.returncode else None

    def vm(self, kernel, script, disks=None):
        """Exit status and output of a shell script in a VM, which has those disks in the folder."""
        options = []
        if disks:
            options = ["--qemu", disks.qemu_arguments()]
            script = "".join(f"mount --bind /dev/vd{'abcd'[i]} {self.folder}/{name} || exit 2\n"
                             for i, name in enumerate(NAMES)) + script
        done = subprocess.run([f"{TOP}/tests/vm/run", "-k", kernel, "-m", "512", *options, "--",
                               "sh", "-c", script], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              text=True, errors="replace", check=False)
        return done.returncode, done.stdout
