# SPDX-License-Identifier: GPL-2.0 OR MIT
"""What the tests with disks share: a folder of images, the workload, VMs, KTAP."""
import os
import random
import select
import subprocess
import tempfile

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
NAMES = ("log", "segment", "segment.2", "mark")
MOUNT = 'mount -t tmpfs rvm-crash "$0"'	# over a folder


class Checker:
    """A process of the workload that checks one state after the other, on the user engine.

    A log has its segments' names, so all states are checked in the same folder; but
    each of these processes sees another one there, which is memory, if `private`
    (a command that gives it mounts of its own) is not empty.
    """

    def __init__(self, h, private):
        self.output = ""	# of the last state's last command
        self._h, self._private, self._process = h, private, None
        self._commands = []

    def _start(self):
        with open(self._h.program, "rb") as program:	# by its fd: its name is hidden then
            mount = ["sh", "-c", MOUNT + ' && exec "$@"', self._h.folder]
            self._process = subprocess.Popen(
                (self._private + mount if self._private else []) +
                [f"/proc/self/fd/{program.fileno()}"] + self._h.workload("serve", "user")[1:],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                pass_fds=[program.fileno()])
        wrong = self._answer()
        if wrong:
            raise RuntimeError(wrong)
        self._place = f"/proc/{self._process.pid}/root{self._h.folder}"

    def _answer(self):
        """None, or what is wrong."""
        output = b""
        while not output.endswith((b"ok\n", b"bad\n")):
            if not select.select([self._process.stdout], [], [], 60)[0]:
                self.close()
                return "it hangs"
            more = os.read(self._process.stdout.fileno(), 1 << 16)
            output += more
            if not more:
                self.close()
                return f"it died: {output.decode(errors='replace')}"
        self.output = output.decode(errors="replace")
        return None if self.output.endswith("ok\n") else self.output[:-len("bad\n")]

    def _send(self):
        self._process.stdin.write(f"{self._commands.pop(0)}\n".encode())
        self._process.stdin.flush()

    def begin(self, images, commands=("check",)):
        if not self._process:
            self._start()
        self._h.save(images, self._place)
        self._commands = list(commands)
        self._send()

    def end(self):
        """None, or what is wrong with the state."""
        wrong = self._answer()
        while self._commands and not wrong:
            self._send()
            wrong = self._answer()
        return wrong

    def close(self):
        if self._process:
            self._process.kill()
            self._process.communicate()
            self._process = None


class Harness:
    def __init__(self, args, plan, folder=None):
        self.seed, self.transactions = args.seed, args.transactions
        self.rng = random.Random(args.seed)
        # the log has the segments' names, so the folder has the same name in a VM
        if folder:
            os.makedirs(folder, exist_ok=True)
        self.folder = folder or tempfile.mkdtemp(prefix="rvm-crash.")
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

    def end(self, keep=False):
        if self.failures or keep:
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
        self.run_here("make")
        return self.images()

    def run_here(self, command):
        subprocess.run(self.workload(command, "user"), check=True, stdout=subprocess.DEVNULL)

    def images(self):
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

    def checkers(self):
        """One for each CPU; a single one if they can't be kept apart."""
        for private in (["unshare", "-m"], ["unshare", "-r", "-m"]):
            if subprocess.run(private + ["sh", "-c", MOUNT, self.folder], stderr=subprocess.DEVNULL,
                              check=False).returncode == 0:
                return [Checker(self, private) for _ in range(os.cpu_count())]
        return [Checker(self, [])]

    def vm(self, kernel, script, disks=None, limit=300):
        """Exit status and output of a shell script in a VM, which has those disks in the folder."""
        options = ["-t", str(limit)]
        if disks:
            options += ["--qemu", disks.qemu_arguments()]
            for module in disks.modules():
                options += ["-M", module]
            script = disks.script(self.folder) + script
        # by one line: what comes by two may arrive in pieces between each other
        done = subprocess.run([f"{TOP}/tests/vm/run", "-k", kernel, "-m", "512", *options, "--",
                               "sh", "-c", "exec 2>&1\n" + script], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              text=True, errors="replace", check=False)
        return done.returncode, done.stdout
