"""The main memory of a QEMU, from outside, while its guest runs.

    shared (file, memfd)   the file itself, which QEMU holds open; its holes are memory that nobody has touched
    private                /proc/PID/mem; the page map says what has memory, because a look would give some to the rest

Offsets are those in the RAM block: up to 3 GiB the guest's own addresses.
"""

import ctypes
import fcntl
import mmap
import os
import re
import stat
import struct
import threading
from concurrent.futures import ThreadPoolExecutor

MEBI = 1 << 20
PAGE = 4096
PIECE = 8 * MEBI  # what one thread compares at a time
_KNOWN = 0x100000  # RAM on every PC

# PAGEMAP_SCAN of linux/fs.h (Linux 6.7, as Godwit needs): pages that are there or swapped out, and not the zero page.
_PAGEMAP_SCAN = 0xC0606610
_PRESENT, _SWAPPED, _ZERO_PAGE = 1 << 3, 1 << 4, 1 << 5
_REGIONS = 4096

_libc = ctypes.CDLL(None)
_libc.memcmp.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t]


class GuestRam:
    def __init__(self, machine, length):
        self.length, self._pid = length, machine.pid
        self._host = _host_address(machine) - _KNOWN
        inode = _inode_at(machine.pid, self._host)
        self._shared = inode != 0
        self._file = _open_of_inode(machine.pid, inode) if inode else os.open(f"/proc/{machine.pid}/mem", os.O_RDWR)
        self._base = 0 if inode else self._host

    def close(self):
        os.close(self._file)

    def read_into(self, buffer, offset):
        done = 0
        while done < len(buffer):
            got = os.preadv(self._file, [memoryview(buffer)[done:]], self._base + offset + done)
            if got == 0:
                raise RuntimeError("guest RAM is shorter than it should be")
            done += got

    def write(self, data, offset):
        data, done = memoryview(data), 0
        while done < len(data):
            done += os.pwrite(self._file, data[done:], self._base + offset + done)

    def pieces_with_data(self, begin):
        """Numbers of the pieces in which something has memory, from the piece of `begin` on."""
        pieces = set()
        for first, end in self._stretches_of_file(begin) if self._shared else self._stretches_of_process(begin):
            pieces.update(range(first // PIECE, (min(end, self.length) - 1) // PIECE + 1))
        return pieces

    def _stretches_of_file(self, at):
        while True:
            try:
                begin = os.lseek(self._file, at, os.SEEK_DATA)
            except OSError:
                return
            at = os.lseek(self._file, begin, os.SEEK_HOLE)
            yield begin, at

    def _stretches_of_process(self, at):
        regions = ctypes.create_string_buffer(_REGIONS * 24)  # begin, end, categories
        with open(f"/proc/{self._pid}/pagemap", "rb") as page_map:
            while at < self.length:
                question = bytearray(struct.pack("12Q", 96, 0, self._host + at, self._host + self.length, 0,
                                                 ctypes.addressof(regions), _REGIONS, 0, _ZERO_PAGE, _ZERO_PAGE,
                                                 _PRESENT | _SWAPPED, _PRESENT))
                count = fcntl.ioctl(page_map, _PAGEMAP_SCAN, question)
                for number in range(count):
                    begin, end, _ = struct.unpack_from("3Q", regions, number * 24)
                    yield begin - self._host, end - self._host
                at = struct.unpack_from("12Q", question)[4] - self._host


def side_by_side(work, items, threads):
    """What `work` gives for each item, in their order."""
    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(work, items))


def pages_that_differ(one, other, begin, threads):
    """Numbers of the pages from `begin` on that are not equal, in order."""
    own = threading.local()

    def differing(piece):
        if not hasattr(own, "views"):
            own.views = [(ctypes.c_char * PIECE).from_buffer(mmap.mmap(-1, PIECE)) for _ in range(2)]
        first = max(begin, piece * PIECE)
        length = min((piece + 1) * PIECE, one.length) - first
        for ram, view in zip((one, other), own.views):
            ram.read_into(memoryview(view).cast("B")[:length], first)
        if _libc.memcmp(*map(ctypes.addressof, own.views), length) == 0:  # other threads run meanwhile
            return []
        here, there = own.views
        return [(first + at) // PAGE for at in range(0, length, PAGE) if here[at:at + PAGE] != there[at:at + PAGE]]

    pieces = sorted(one.pieces_with_data(begin) | other.pieces_with_data(begin))
    return [page for pages in side_by_side(differing, pieces, threads) for page in pages]


def _host_address(machine):
    words = machine.qmp.command("human-monitor-command", **{"command-line": f"gpa2hva {_KNOWN:#x}"})
    found = re.search(r"is (0x[0-9a-f]+)", words)
    if not found:
        raise RuntimeError(f"QEMU does not say where guest RAM is: {words.strip()}")
    return int(found.group(1), 16)


def _inode_at(pid, address):
    """That of the file that is mapped shared there; 0 for a process's own memory."""
    with open(f"/proc/{pid}/maps") as maps:
        for line in maps:
            place, permissions, _, _, inode = line.split()[:5]
            begin, end = (int(each, 16) for each in place.split("-"))
            if begin <= address < end:
                return int(inode) if permissions[3] == "s" else 0
    raise RuntimeError(f"nothing is mapped at {address:#x} in QEMU")


def _open_of_inode(pid, inode):
    folder = f"/proc/{pid}/fd"
    for name in os.listdir(folder):
        path = os.path.join(folder, name)
        status = os.stat(path)
        if status.st_ino == inode and stat.S_ISREG(status.st_mode):
            return os.open(path, os.O_RDWR)
    raise RuntimeError("QEMU does not hold the file of its RAM open")
