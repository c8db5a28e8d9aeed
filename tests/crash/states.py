# SPDX-License-Identifier: GPL-2.0 OR MIT
"""The states that a power cut can leave, of disks whose writes and flushes are known.

What was durable is there.  Of what was not, each piece of 512 bytes is there or
is not: where these are few, all combinations are made; where they are many, those
that are most likely to show a missing barrier, and a random sample.
"""
import hashlib

from disks import FLUSH, SECTOR, Fua

STATUS_AREA = 128 << 10


class Cut:
    """The disks after that many events: what is durable, and what is not.

    `writes`: of each disk since its last flush, (offset, data, event) in order.
    """

    def __init__(self, images, exempt=()):
        self.at = 0
        self.images = {name: bytearray(image) for name, image in images.items()}
        self.writes = {name: [] for name in images if name not in exempt}

    def advance(self, events, at):
        for i in range(self.at, at):
            name, offset, data = events[i]
            if data is FLUSH:
                for before, written, _ in self.writes.get(name, ()):
                    self.images[name][before:before + len(written)] = written
                if name in self.writes:
                    self.writes[name] = []
            elif name in self.writes:
                self.writes[name].append((offset, data, i))
            else:
                self.images[name][offset:offset + len(data)] = data
        self.at = at

    def pieces(self):
        """(disk, offset, data, sure) in order, without those that change nothing.

        A write with FUA is sure to be there, but not yet when it is the last event.
        """
        found, places = [], {}
        for name, writes in self.writes.items():
            for offset, data, event in writes:
                sure = isinstance(data, Fua) and event != self.at - 1
                for i in range(0, len(data), SECTOR):
                    found.append((name, offset + i, data[i:i + SECTOR], sure))
                    places[name, offset + i] = places.get((name, offset + i), 0) + 1
        return [piece for piece in found if places[piece[0], piece[1]] > 1 or
                self.images[piece[0]][piece[1]:piece[1] + SECTOR] != piece[2]]

    def state(self, pieces, there):
        """`there` says of each piece that isn't sure whether it is."""
        images = {name: bytearray(image) for name, image in self.images.items()}
        chosen = iter(there)
        for name, offset, data, sure in pieces:
            if sure or next(chosen):
                images[name][offset:offset + len(data)] = data
        return images


def unsure(pieces):
    return [piece for piece in pieces if not piece[3]]


def group(piece):
    """What belongs together: a disk; of the log, status and records are two."""
    return piece[0], piece[0] == "log" and piece[1] < STATUS_AREA


def hole(pieces):
    """All is there but the log's first piece: whole records beyond a torn one."""
    first = next((i for i, piece in enumerate(pieces) if group(piece) == ("log", False)), None)
    return None if first is None else [i != first for i in range(len(pieces))]


def choices(pieces, rng, most, exhaustive):
    """Which of the unsure pieces are there: lists of booleans. And are these all?"""
    n = len(pieces)
    if n <= exhaustive or n == 0:
        return [[bool(number >> i & 1) for i in range(n)] for number in range(1 << n)], True
    groups = sorted(set(map(group, pieces)))
    # each disk all or nothing, which shows what waits for no other
    found = [[bool(number >> groups.index(group(piece)) & 1) for piece in pieces]
             for number in range(1 << len(groups))]
    if hole(pieces):
        found.append(hole(pieces))
    rng.shuffle(found)
    found = found[:most // 2]
    while len(found) < most:
        kind = rng.randrange(4)
        if kind == 0:	# in order, up to somewhere
            end = rng.randrange(n)
            found.append([i < end for i in range(n)])
        elif kind == 1:	# one lost, or only one there
            one, lost = rng.randrange(n), rng.random() < 0.7
            found.append([(i == one) != lost for i in range(n)])
        else:
            there = rng.choice((0.1, 0.5, 0.9))
            found.append([rng.random() < there for _ in range(n)])
    return found, False


def digest(images):
    total = hashlib.sha1(usedforsecurity=False)
    for name in sorted(images):
        total.update(images[name])
    return total.digest()


def random_state(images, events, at, rng):
    """What the disks can hold if the power is cut after so many events."""
    cut = Cut(images, ["mark"])
    cut.advance(events, at)
    pieces = cut.pieces()
    return cut.state(pieces, choices(unsure(pieces), rng, 1, 0)[0][0])
