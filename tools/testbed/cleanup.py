"""What must be undone, in reverse order, however the program ends.

Use as a context manager in the main thread. Ctrl-C and SIGTERM become KeyboardInterrupt, so `finally` runs; should
the program end in another way, atexit does the same. SIGKILL cannot be caught: processes then end with their parent
(process.py), and the next run removes what else was left (network.py, machine.py).
"""

import atexit
import signal
import sys


class Cleanup:
    def __init__(self):
        self._steps = []
        atexit.register(self.run)

    def add(self, step, *arguments):
        """Calls step(*arguments) at the end."""
        self._steps.append((step, arguments))

    def run(self):
        while self._steps:
            step, arguments = self._steps.pop()
            try:
                step(*arguments)
            except Exception as error:  # the other steps must still be done
                print(f"cleanup: {step.__qualname__}: {error}", file=sys.stderr)

    def __enter__(self):
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self._interrupted)
        return self

    def __exit__(self, *_):
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)  # a second Ctrl-C must not stop the cleaning
        self.run()

    @staticmethod
    def _interrupted(number, _frame):
        raise KeyboardInterrupt(f"signal {number}")
