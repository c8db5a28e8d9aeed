# SPDX-License-Identifier: GPL-2.0 OR MIT
"""Cut the power of VMs whose log and segments are files, on ext4 and on xfs.

usage: filesystem.py [OPTION]...

Boots VMs with a disk for each file system, which remembers every write and flush.
On each of them the log and the segments are made, as files, the segments empty, so
that the first map has to give them their length; then both engines work in turn.
From what was recorded, crash states are made: the disk as a power cut can leave it.
A state counts once the file system's own journal has been replayed: ext4's by e2fsck
on this machine, where the user engine then recovers the files; xfs's, and some of
ext4's, by mounting in a VM, where either engine does.

When the power is cut while the log is being made, there must be no log, or an empty
one, or one that is refused as none.

"""
import argparse
import os
import random
import subprocess
import sys

from disks import FLUSH, PAGE, Disks
from harness import TOP, Harness
from states import digest, random_state

SIZE = 16 << 20		# of a disk
MAKE = {
    "ext4": ["mkfs.ext4", "-q", "-F"],
    # it wants 300 MiB, of which 64 MiB are its journal, of whom it supports
    "xfs": ["mkfs.xfs", "-q", "--unsupported"],
}


class Recording:
    """What happened to one file system: its disk, and its mark, which is another."""

    def __init__(self, filesystem, images, events):
        self.filesystem, self.images, self.events = filesystem, images, events
        marks = [i for i, (name, _, _) in enumerate(events) if name == "mark"]
        # the mark's second page is written when all files have been made
        self.first = marks[0]
        self.made = next(i for i in marks if events[i][1] == PAGE)
        self.marks = [i for i in marks if i > self.made]
        self.flushes = [i for i, (_, _, data) in enumerate(events) if data is FLUSH]

    def moment(self, rng):
        """So many events come before the cut."""
        kind = rng.randrange(4)
        if kind == 0:	# while the files are made
            return rng.randrange(self.first, self.made + 1)
        if kind == 1:	# right after something was acknowledged
            return rng.choice(self.marks) + 1
        if kind == 2:	# when the most is in the cache
            return rng.choice(self.flushes)
        return rng.randrange(len(self.events) + 1)

    def states(self, rng, count):
        """(events before the cut, whether the files were made by then, images), all different."""
        seen = set()
        for _ in range(20 * count):
            at = self.moment(rng)
            images = random_state(self.images, self.events, at, rng)
            key = digest(images)
            if key not in seen:
                seen.add(key)
                yield at, at > self.made, images
            if len(seen) == count:
                return


class Test:
    def __init__(self, args):
        self.args = args
        self.h = Harness(args, 3 * args.boots)
        self.filesystems = list(MAKE)
        self.none = self.empty = self.refused = self.bads = 0
        for name in self.filesystems:
            os.mkdir(f"{self.h.folder}/{name}")

    def workload(self, command, engine, filesystem):
        where = f"{self.h.folder}/{filesystem}"
        return self.h.workload(command, engine) + \
            [f"--log={where}/log", f"--segment={where}/segment", f"--mark={where}.mark", "--grow"]

    def vm(self, kernel, script, *options):
        """Exit status and output of a shell script in a VM that has the file systems."""
        loads = [word for name in ("loop", *self.filesystems) for word in ("-M", name)]
        done = subprocess.run([f"{TOP}/tests/vm/run", "-k", kernel, "-m", "512", "-t", "3600", *loads, *options,
                               "--", "sh", "-c", "exec 2>&1\n" + script], stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True, errors="replace", check=False)
        return done.returncode, done.stdout

    # --- recording ---

    def new_image(self, filesystem):
        path = f"{self.h.folder}/image"
        with open(path, "wb") as f:
            f.truncate(SIZE)
        subprocess.run(MAKE[filesystem] + [path], check=True, stdout=subprocess.DEVNULL,
                       stderr=subprocess.DEVNULL)
        with open(path, "rb") as f:
            image = f.read()
        os.unlink(path)
        return image

    def record(self, kernel):
        """A boot, in which all file systems are worked on at once: Recordings, or None."""
        images, script = {}, ""
        for name in self.filesystems:
            where, disk = f"{self.h.folder}/{name}", "abcd"[len(images)]
            engines = self.h.rng.sample(["kernel", "user"], 2) * 2
            images[name] = self.new_image(name)
            images[f"{name}.mark"] = bytes(2 * PAGE)
            script += f"""
                touch {where}.mark
                mount -t {name} /dev/vd{disk} {where} && mount --bind /dev/vd{chr(ord(disk) + 1)} {where}.mark || exit 2
                ({' '.join(self.workload('make', 'user', name))} &&
                dd if=/dev/zero of={where}.mark bs={PAGE} seek=1 count=1 oflag=direct conv=notrunc status=none &&
                {' && '.join(' '.join(self.workload('run', engine, name)) for engine in engines)}) || touch /tmp/bad &
                """
        disks = Disks(images, f"{self.h.folder}/socket")
        status, output = self.vm(kernel, script + "wait; [ ! -e /tmp/bad ]", "--qemu", disks.qemu_arguments())
        disks.close()
        self.h.comment(output)
        self.h.result(status == 0, f"Linux {kernel}: the engines recover, check and work on "
                                   f"{' and '.join(self.filesystems)}")
        if status:
            return None
        return [Recording(name, {"disk": images[name], "mark": images[f"{name}.mark"]},
                          [({name: "disk", f"{name}.mark": "mark"}[disk], offset, data)
                           for disk, offset, data in disks.events if disk.split(".")[0] == name])
                for name in self.filesystems]

    # --- checking ---

    def wrong(self, made, log, status, output):
        """None, or what is wrong with a state. log: is there one? status, output: the check's."""
        if made:
            if not log:
                return "the log is gone"
        elif not log:
            self.none += 1
            return None
        elif status == 0:
            self.empty += 1
        elif "RVM_INIT(&options): RVM_ELOG," in output:
            self.refused += 1
            return None
        return None if status == 0 else output.strip() or f"exit status {status}"

    def extract(self, path, where):
        """Replay ext4's journal, and take the files out. None, or what is wrong."""
        done = subprocess.run(["e2fsck", "-fy", path], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              text=True, check=False)
        if done.returncode > 1:
            return done.stdout
        commands = "".join(f"dump {name} {where}/{name}\n" for name in ("log", "segment", "segment.2"))
        subprocess.run(["debugfs", "-f", "-", path], input=commands, stdout=subprocess.DEVNULL,
                       stderr=subprocess.DEVNULL, text=True, check=True)
        return None

    def check_here(self, made, images):
        """ext4, the user engine: None, or what is wrong."""
        where = f"{self.h.folder}/ext4"
        for name in os.listdir(where):
            os.unlink(f"{where}/{name}")
        self.h.save({"image": images["disk"], "ext4.mark": images["mark"]})
        bad = self.extract(f"{self.h.folder}/image", where)
        if bad:
            return bad
        if not os.path.exists(f"{where}/log"):
            return self.wrong(made, False, None, None)
        try:
            done = subprocess.run(self.workload("check", "user", "ext4"), stdout=subprocess.PIPE,
                                  stderr=subprocess.STDOUT, text=True, timeout=60, check=False)
        except subprocess.TimeoutExpired:
            return "it hangs"
        return self.wrong(made, True, done.returncode, done.stdout)

    def keep(self, number, images):
        """On one disk for a VM, one after the other; holes stay holes."""
        self.h.save({f"mark.{number}": images["mark"]})
        with open(f"{self.h.folder}/states", "r+b" if number else "wb") as f:
            f.truncate((number + 1) * SIZE)
            for at in range(0, SIZE, 1 << 16):
                piece = images["disk"][at:at + (1 << 16)]
                if any(piece):
                    f.seek(number * SIZE + at)
                    f.write(piece)

    def kept(self, number):
        with open(f"{self.h.folder}/states", "rb") as f, open(f"{self.h.folder}/mark.{number}", "rb") as mark:
            f.seek(number * SIZE)
            return {"disk": f.read(SIZE), "mark": mark.read()}

    def check_kept(self, kernel, states):
        """[(file system, engine, made)], as they were kept: of each None, or what is wrong."""
        folder = self.h.folder
        check = " ".join(self.workload("check", "$3", "$2"))
        status, output = self.vm(kernel, f"""
            check() {{
                echo
                echo "#state"
                cp {folder}/mark.$1 {folder}/$2.mark
                mount -t $2 -o loop,offset=$(($1 * {SIZE})),sizelimit={SIZE} /dev/vda {folder}/$2 || return
                if [ -e {folder}/$2/log ]; then
                    timeout -s KILL 60 {check}
                    echo "#status $?"
                else
                    echo "#none"
                fi
                umount {folder}/$2
            }}
            """ + "".join(f"check {number} {filesystem} {engine}\n"
                          for number, (filesystem, engine, _) in enumerate(states)),
                                 "--qemu", f"-drive if=virtio,format=raw,snapshot=on,file={folder}/states")
        outputs = output.split("\n#state\n")[1:]
        if status or len(outputs) != len(states):
            return [f"the VM ended with {status}: {output}"] * len(states)
        return [self.read_verdict(made, text) for (_, _, made), text in zip(states, outputs)]

    def read_verdict(self, made, text):
        text, _, verdict = ("\n" + text).rpartition("\n#")
        word, _, number = verdict.strip().partition(" ")
        if word == "none":
            return self.wrong(made, False, None, None)
        if word == "status":
            return self.wrong(made, True, int(number), text)
        return f"it can't be mounted: {verdict}"

    def bad(self, name, at, images, text):
        self.bads += 1
        self.h.comment(f"{name}, cut after {at} events: {text}")
        self.h.save(images, f"{self.h.folder}/bad-{name}-{self.bads}")

    def check(self, ext4, xfs, kernel):
        """The states of both; some of ext4's are recovered in a VM as well."""
        args = self.args
        found = self.bads
        kept = []	# (file system, engine, made, events before the cut)
        for i, (at, made, images) in enumerate(ext4.states(self.h.rng, args.ext4)):
            text = self.check_here(made, images)
            if text:
                self.bad("ext4", at, images, text)
            elif len(kept) < args.sample:
                self.keep(len(kept), images)
                kept.append(("ext4", "kernel", made, at))
        self.h.result(found == self.bads, f"{i + 1} crash states of ext4, of {len(ext4.events)} writes and flushes, "
                                          "recovered by the user engine")

        for i, (at, made, images) in enumerate(xfs.states(self.h.rng, args.xfs)):
            self.keep(len(kept), images)
            kept.append(("xfs", ("kernel", "user")[i % 2], made, at))
        found = self.bads
        for number, text in enumerate(self.check_kept(kernel, [state[:3] for state in kept])):
            if text:
                self.bad(kept[number][0], kept[number][3], self.kept(number), f"{kept[number][1]} engine: {text}")
        self.h.result(found == self.bads, f"{i + 1} of xfs, of {len(xfs.events)}, and {len(kept) - i - 1} of ext4, "
                                          f"recovered on Linux {kernel} by either engine")
        self.h.comment(f"while a log was made: none there {self.none}, an empty one {self.empty}, refused {self.refused}")

    def run(self):
        args = self.args
        for number in range(args.boots):
            kernel = args.kernels[number % len(args.kernels)]
            recordings = self.record(kernel)
            if not recordings:
                for _ in range(2):
                    self.h.result(False, "there is nothing to check")
            else:
                self.check(*recordings, args.kernels[(number + 1) % len(args.kernels)])
        return self.h.end()


def main():
    parser = argparse.ArgumentParser(usage="filesystem.py [OPTION]...", description=__doc__.split("\n\n", 2)[2],
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    states = os.environ.get("FILESYSTEM_STATES")
    add("--boots", type=int, default=int(os.environ.get("FILESYSTEM_BOOTS", 1)),
        help="or FILESYSTEM_BOOTS in the environment")
    add("--ext4", type=int, metavar="N", default=int(states or 40),
        help="crash states of ext4 from each boot; or FILESYSTEM_STATES")
    add("--xfs", type=int, metavar="N", default=int(states or 10),
        help="crash states of xfs from each boot; or FILESYSTEM_STATES")
    add("--sample", type=int, metavar="N", default=int(states or 40) // 10,
        help="how many of ext4's are recovered in a VM, too")
    add("--transactions", type=int, default=40, help="of each thread in each of four runs")
    add("--seed", type=int, default=random.randrange(1 << 32))
    add("-k", "--kernels", type=lambda names: names.split(","), default=["6.1", "6.12"])
    return Test(parser.parse_args()).run()


sys.exit(main())
