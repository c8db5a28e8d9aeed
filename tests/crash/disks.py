# SPDX-License-Identifier: GPL-2.0 OR MIT
"""Disks for a VM, which remember every write and flush and can be made to fail.

They are exports of a small NBD server.  All of them share one list of events,
so the order of events of different disks is known as well.  A disk is taken to
have a volatile cache: a flush makes durable what had been written before it,
and only that; a write with FUA is durable by itself, and flushes nothing else.

QEMU's virtio disks have no FUA: their guest makes a write and a flush of it.
Where that would hide something, the guest's own NBD client takes the exports
(`fua`), by way of QEMU's user network.
"""
import os
import socket
import struct
import threading

FLUSH = None	# in the place of an event's data
SECTOR = 512

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
    """

    def __init__(self, images, path, fua=False):
        self.data = {name: bytearray(image) for name, image in images.items()}
        self.events = []	# (name, offset, data), or (name, 0, FLUSH)
        self.failed = []	# what did, for messages
        self.plan = None	# [name, "write" or "flush", how many succeed before one fails]
        self.control = None	# the disk whose second page takes plans
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
            if self.fua:
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            try:
                name = self._negotiate(stream)
                while name is not None and self._request(stream, name):
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

    def _request(self, stream, name):
        _, flags, kind, handle, offset, length = struct.unpack(">IHHQQI", stream.read(28))
        error, data = 0, b""
        if kind == _DISCONNECT:
            return False
        if kind == _WRITE:
            data = stream.read(length)
            error = self._write(name, offset, Fua(data) if flags & _COMMAND_FUA else data)
            data = b""
        elif kind == _FLUSH:
            error = self._write(name, 0, FLUSH)
        elif kind == _READ:
            with self._lock:
                data = bytes(self.data[name][offset:offset + length])
        else:
            error = _EINVAL
        stream.write(struct.pack(">IIQ", 0x67446698, error, handle) + data)
        stream.flush()
        return True

    def _write(self, name, offset, data):
        with self._lock:
            if name == self.control and offset == 4096:
                words = data.split(b"\n")[0].decode().split()
                self.plan = [words[0], words[1], int(words[2])] if words else None
                return 0
            if self.plan and self.plan[:2] == [name, "flush" if data is FLUSH else "write"]:
                self.plan[2] -= 1
                if self.plan[2] < 0:
                    self.failed.append(f"{self.plan[1]} of {name}, at {offset}")
                    self.plan = None
                    return _EIO
            if data is not FLUSH:
                self.data[name][offset:offset + len(data)] = data
            self.events.append((name, offset, data))
            return 0


def waiting(events, name):
    """Which of the disk's writes were not durable: indexes."""
    found = []
    for i in range(len(events) - 1, -1, -1):
        if events[i][0] == name:
            if events[i][2] is FLUSH:
                break
            # the last one can be under way still
            if not isinstance(events[i][2], Fua) or i == len(events) - 1:
                found.append(i)
    return found[::-1]


def crash(images, events, random, exempt=(), there=None, torn=None):
    """What the disks hold if the power is cut after these events.

    Of what was not flushed each write is there, is lost, or is torn: any of its
    sectors are there.  How probable it is to be there, and then to be torn, is
    random, too.  The `exempt` disks have no cache.
    """
    images = {name: bytearray(image) for name, image in images.items()}
    if there is None:
        there, torn = random.choice((0, 0.1, 0.5, 0.9, 1)), random.choice((0, 0.3, 1))
    lost = {i for name in images if name not in exempt for i in waiting(events, name)}
    for i, (name, offset, data) in enumerate(events):
        if data is FLUSH:
            continue
        if i not in lost:
            images[name][offset:offset + len(data)] = data
        elif random.random() < there:
            tear = random.random() < torn
            for at in range(0, len(data), SECTOR):
                if not tear or random.random() < 0.5:
                    images[name][offset + at:offset + at + SECTOR] = data[at:at + SECTOR]
    return images
