# SPDX-License-Identifier: GPL-2.0 OR MIT
"""Disks for a VM, which remember every write and flush and can be made to fail.

They are exports of a small NBD server.  All of them share one list of events,
so the order of events of different disks is known as well.  A disk is taken to
have a volatile cache: a flush makes durable what had been written before it,
and only that; a write with FUA is durable by itself, and flushes nothing else.

QEMU's virtio disks have no FUA: their guest makes a write and a flush of it.
Where that would hide something, the guest's own NBD client takes the exports
(`fua`), by way of QEMU's user network.

Of several writes under way at once any can be done first: some are made to wait.
"""
import os
import random
import socket
import struct
import threading
import time
from collections import Counter

FLUSH = None	# in the place of an event's data
SECTOR = 512
PAGE = 4096
LATE, LATE_SECONDS = 0.1, 0.02	# so many writes wait so long at most

_OPTION_MAGIC = b"IHAVEOPT"
_REPLY_MAGIC = 0x3E889045565A9
_OPT_ABORT, _OPT_GO = 2, 7
_REP_ACK, _REP_INFO, _REP_ERR_UNSUP, _REP_ERR_UNKNOWN = 1, 3, 1 << 31 | 1, 1 << 31 | 6
_READ, _WRITE, _DISCONNECT, _FLUSH = 0, 1, 2, 3
_HAS_FLAGS, _SEND_FLUSH, _SEND_FUA = 1, 4, 8
_COMMAND_FUA = 1
_EIO, _EINVAL = 5, 22


class Fua(bytes):
    """An event's data, of a write that was durable by itself."""


class Disks:
    """images: {name: bytes}.  path: where the server's socket is made.

    fua: the guest's own client is going to connect, not QEMU.
    control: what the guest talks to by the mark's second page, command() and report().
    """

    def __init__(self, images, path, fua=False, control=None):
        self.begin(images)
        self.control = control
        self.fua = fua
        self._lock = threading.Lock()
        self._path = path
        if fua:
            self._listener = socket.create_server(("127.0.0.1", 0))
        else:
            self._listener = socket.socket(socket.AF_UNIX)
            self._listener.bind(path)
            self._listener.listen()
        threading.Thread(target=self._accept, daemon=True).start()

    def begin(self, images, plan=None):
        """The disks are these from now on.

        plan: disk, "read", "write" or "flush", and which of these fail: the first, and up to which.
        """
        self.data = {name: bytearray(image) for name, image in images.items()}
        self.events = []	# (name, offset, data), or (name, 0, FLUSH)
        self.counts = Counter()	# of requests that can fail
        self.failed = []	# what did, after so many events
        self._plan = plan

    def repair(self):
        with self._lock:
            self._plan = None

    def close(self):
        self._listener.close()
        if not self.fua:
            os.unlink(self._path)

    def qemu_arguments(self):
        """For QEMU: /dev/vda, vdb... in the order of the images."""
        if self.fua:
            return "-netdev user,id=net -device virtio-net-pci,netdev=net"
        return " ".join(
            f"-drive if=virtio,format=raw,cache=writeback,file.driver=nbd,file.export={name},"
            f"file.server.type=unix,file.server.path={self._path}" for name in self.data)

    def modules(self):
        """What the guest needs for them."""
        return ["virtio_net", f"nbd nbds_max={len(self.data)}"] if self.fua else []

    def script(self, folder):
        """In the guest: puts the disks there, under their names."""
        if not self.fua:
            return "".join(f"mount --bind /dev/vd{'abcdefgh'[i]} {folder}/{name} || exit 2\n"
                           for i, name in enumerate(self.data))
        port = self._listener.getsockname()[1]
        return "busybox ifconfig eth0 10.0.2.15 up || exit 2\n" + "".join(
            f"nbd-client -b 512 -N {name} 10.0.2.2 {port} /dev/nbd{i} >/tmp/nbd 2>&1 || {{ cat /tmp/nbd; exit 2; }}\n"
            f"mount --bind /dev/nbd{i} {folder}/{name} || exit 2\n"
            for i, name in enumerate(self.data))

    def _accept(self):
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection):
        with connection, connection.makefile("rwb") as stream:
            replies = threading.Lock()
            if self.fua:
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            try:
                name = self._negotiate(stream)
                while name is not None and self._request(stream, replies, name):
                    pass
            except (OSError, EOFError, struct.error):
                pass	# QEMU has been killed

    def _negotiate(self, stream):
        stream.write(b"NBDMAGIC" + _OPTION_MAGIC + struct.pack(">H", 3))
        stream.flush()
        stream.read(4)
        while True:
            magic, option, length = struct.unpack(">8sII", stream.read(16))
            data = stream.read(length)

            def reply(kind, payload=b""):
                stream.write(struct.pack(">QIII", _REPLY_MAGIC, option, kind, len(payload)) + payload)

            name = None
            if magic != _OPTION_MAGIC:
                return None
            if option == _OPT_GO:
                length, = struct.unpack_from(">I", data)
                name = data[4:4 + length].decode()
                if name in self.data:
                    reply(_REP_INFO, struct.pack(">HQH", 0, len(self.data[name]),
                                                 _HAS_FLAGS | _SEND_FLUSH | (_SEND_FUA if self.fua else 0)))
                    reply(_REP_ACK)
                else:
                    reply(_REP_ERR_UNKNOWN)
                    name = None
            else:
                reply(_REP_ACK if option == _OPT_ABORT else _REP_ERR_UNSUP)
            stream.flush()
            if name or option == _OPT_ABORT:
                return name

    def _request(self, stream, replies, name):
        _, flags, kind, handle, offset, length = struct.unpack(">IHHQQI", stream.read(28))
        data = stream.read(length) if kind == _WRITE else b""
        if flags & _COMMAND_FUA:
            data = Fua(data)
        if kind == _DISCONNECT:
            return False

        def do():
            if name == "mark" and offset == PAGE and self.control:
                error, found = self._talk(kind, data, length)
            else:
                with self._lock:
                    error, found = self._do(name, kind, offset, length, data)
            with replies:
                stream.write(struct.pack(">IIQ", 0x67446698, error, handle) + found)
                stream.flush()

        def do_late():
            time.sleep(random.random() * LATE_SECONDS)
            try:
                do()
            except (OSError, ValueError):
                pass	# QEMU has been killed

        if kind == _WRITE and not self.control and random.random() < LATE:
            threading.Thread(target=do_late, daemon=True).start()
        else:
            do()
        return True

    def _talk(self, kind, data, length):
        if kind == _READ:
            return 0, self.control.command().encode().ljust(length, b"\0")
        self.control.report(data.rstrip(b"\0").decode(errors="replace"))
        return 0, b""

    def _do(self, name, kind, offset, length, data):
        """Error, and what is read."""
        what = {_READ: "read", _WRITE: "write", _FLUSH: "flush"}.get(kind)
        if what is None:
            return _EINVAL, b""
        failed = name != "mark" and self._fails(name, what, offset)
        if failed and what == "write":	# of it there is nothing, all, or a part
            data = bytes(data[:random.choice((0, length, random.randrange(length) & -SECTOR))])
        if what == "flush" and not failed:
            self.events.append((name, 0, FLUSH))
        elif what == "write" and data:
            self.data[name][offset:offset + len(data)] = data
            self.events.append((name, offset, data))
        if failed:
            return _EIO, b""
        return 0, bytes(self.data[name][offset:offset + length]) if what == "read" else b""

    def _fails(self, name, what, offset):
        number = self.counts[name, what]
        self.counts[name, what] += 1
        if not self._plan or self._plan[:2] != (name, what) or not self._plan[2] <= number < self._plan[3]:
            return False
        self.failed.append((len(self.events), f"{what} of {name}, at {offset}"))
        return True
