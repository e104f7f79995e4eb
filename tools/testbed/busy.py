"""Other processes that want the machine's cores: a host on which more runs than one guest."""

import contextlib
import sys
import time

from . import process


@contextlib.contextmanager
def cores(cleanup, count):
    """Keeps `count` processes computing until the block ends, each scheduled like a program of its own. Yields a
    function that gives the CPU seconds that they have had. Raises if one of them ended by itself."""
    burners = [process.start([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    for burner in burners:
        cleanup.add(process.end, burner)
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline and not all(process.cpu_seconds(each.pid) > 0.1 for each in burners):
        time.sleep(0.05)  # till each has left its start behind
    try:
        yield lambda: sum(process.cpu_seconds(each.pid) for each in burners)
        if any(each.poll() is not None for each in burners):
            raise RuntimeError("a process that was to keep a core busy has ended")
    finally:
        for burner in burners:
            process.end(burner)
