"""What fills a guest: bytes of this machine's files, and random bytes.

The files' pages are collected once, each different one once and none that is all zeros. Where the guest is larger
than that they come again and again, each time moved on by some bytes. Each page begins with its own number, so no two
are equal, not even those that lie in a long run of one byte.
"""

import hashlib
import os
from array import array

from ram import MEBI, PAGE, side_by_side

_FOLDERS = ("/usr/lib", "/usr/bin", "/usr/share")
_LARGEST_FILE = 32 * MEBI  # one huge library must not be all of the content
_PIECE = MEBI
_MOVED_ON = 977  # bytes from copy to copy; odd, so that it takes 4096 copies until pages begin at the same bytes again


def of_files(wanted):
    """So many bytes of files, or fewer if there are not so many; whole pieces, so that a copy ends where pages do."""
    paths = [os.path.join(folder, name) for top in _FOLDERS for folder, _, names in os.walk(top) for name in names]
    paths.sort(key=lambda path: hashlib.md5(path.encode(errors="surrogateescape")).digest())  # mixes all kinds
    seen, out = {_digest(bytes(PAGE))}, bytearray()
    for path in paths:
        if len(out) >= wanted:
            break
        if os.path.islink(path) or not os.path.isfile(path) or not os.access(path, os.R_OK):
            continue
        with open(path, "rb") as file:
            data = file.read(_LARGEST_FILE)
        for at in range(0, len(data), PAGE):
            page = data[at:at + PAGE].ljust(PAGE, b"\0")
            digest = _digest(page)
            if digest not in seen:
                seen.add(digest)
                out += page
    if len(out) < _PIECE:
        raise RuntimeError(f"there are too few files in {', '.join(_FOLDERS)}")
    return bytes(out[:min(wanted, len(out)) // _PIECE * _PIECE])


def _digest(page):
    return hashlib.blake2b(page, digest_size=16).digest()


def fill(ram, begin, length, files, random_percent, threads):
    """Fills that part of guest RAM. Of the pieces, evenly among the others, so many in a hundred are random."""
    ring = memoryview(files)

    def of_ring(at):
        at = (at + at // len(ring) * _MOVED_ON) % len(ring)
        first = ring[at:at + _PIECE]
        return bytearray(first) + ring[:_PIECE - len(first)]

    def put(number):
        randoms = number * random_percent // 100
        is_random = (number + 1) * random_percent // 100 > randoms
        at = begin + number * _PIECE
        piece = memoryview(bytearray(os.urandom(_PIECE)) if is_random else of_ring((number - randoms) * _PIECE))
        numbers = array("Q", range(at // PAGE, (at + _PIECE) // PAGE))
        piece.cast("Q")[::PAGE // 8] = memoryview(numbers)
        ram.write(piece[:begin + length - at], at)

    side_by_side(put, range(-(-length // _PIECE)), threads)
