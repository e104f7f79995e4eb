"""What the link itself costs who asks for a page: a word there, 4 KiB back, on a connection of its own."""

import socket
import statistics
import threading
import time

from testbed import network

_SECONDS = 3.0
_PAGE = bytes(4096)


def _answer(listener):
    connection, _ = listener.accept()
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    with connection:
        while connection.recv(8):
            connection.sendall(_PAGE)


def _times(bed):
    listener = network._in_namespace(bed.hosts["a"], lambda: socket.create_server((network.MIGRATION_ADDRESSES["a"], 0)))
    thread = threading.Thread(target=_answer, args=(listener,))
    thread.start()
    asker = network.connect_from(bed.hosts["b"], listener.getsockname(), 10)
    asker.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    times, end = [], time.monotonic() + _SECONDS
    while time.monotonic() < end:
        began = time.perf_counter()
        asker.sendall(b"page 123")
        left = len(_PAGE)
        while left > 0:
            left -= len(asker.recv(left))
        times.append((time.perf_counter() - began) * 1e6)
        time.sleep(0.002)
    asker.close()
    thread.join()
    listener.close()
    return times


def words(bed, busy):
    """Median and 99th percentile, while one plain TCP connection fills the link or while nothing does."""
    filler = threading.Thread(target=bed.throughput, args=(_SECONDS + 1.0,)) if busy else None
    if filler:
        filler.start()
        time.sleep(0.5)
    times = _times(bed)
    if filler:
        filler.join()
    return f"{statistics.median(times):.0f} µs median, {statistics.quantiles(times, n=100)[98]:.0f} µs p99"
