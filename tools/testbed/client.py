"""The client: a process of its own that keeps asking the guest over one TCP connection, and notes every answer.

As a program:  python3 -m testbed.client ADDRESS PORT INTERVAL FILE
asks every INTERVAL seconds until SIGTERM; never connects again, because the connection is what is to survive. FILE gets
a line per answer: time asked, time answered (seconds since the epoch), errors, writes, boot id. A line beginning with
"broken" says why it ended too early.
"""

import collections
import os
import signal
import socket
import sys
import threading
import time

from . import guest, process
from .network import GUEST_ADDRESS

# No answer for this long, and the connection counts as lost. Far longer than any pause that could pass as one.
SILENCE_SECONDS = 60

Sample = collections.namedtuple("Sample", "asked answered errors writes boot")


class Client:
    """The client process, seen from the test bed."""

    def __init__(self, cleanup, place, network, interval=0.025):
        self._path = place.file("client.samples")
        self._errors = place.file("client.log")
        folder = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
        with open(self._errors, "w") as log:
            self._process = process.start([sys.executable, "-m", "testbed.client", GUEST_ADDRESS, guest.PORT, interval,
                                           self._path], network.switch, cwd=folder, stderr=log)
        cleanup.add(process.end, self._process)

    def end(self):
        process.end(self._process)

    def samples(self):
        out = []
        try:
            with open(self._path) as lines:
                for line in lines:
                    words = line.split()
                    if len(words) == 5 and line.endswith("\n") and words[0] != "broken":
                        out.append(Sample(float(words[0]), float(words[1]), int(words[2]), int(words[3]), words[4]))
        except FileNotFoundError:
            pass
        return out

    def wait_for_answers(self, count, timeout=30):
        """Whether that many more answers came."""
        target = len(self.samples()) + count
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline and self._process.poll() is None:
            if len(self.samples()) >= target:
                return True
            time.sleep(0.05)
        return False

    def complaint(self):
        """Why the client is not content with its connection, or None."""
        if self._process.poll() is not None:
            with open(self._path) as lines:
                last = lines.read().strip().splitlines()[-1:]
            with open(self._errors) as log:
                return " ".join(last + log.read().strip().splitlines()[-1:]) or "the client ended"
        samples = self.samples()
        if not samples:
            return "no answer yet"
        if samples[-1].boot != samples[0].boot:
            return "the guest was rebooted"
        return None

    def longest_gap(self, begin, end):
        """The longest time between two answers that overlaps [begin, end], in seconds; None without answers."""
        answered = [sample.answered for sample in self.samples()]
        gaps = [after - before for before, after in zip(answered, answered[1:]) if after >= begin and before <= end]
        return max(gaps, default=None)

    def writes_at(self, when):
        """How many pages the guest had rewritten at that time, as known from the nearest answers."""
        samples = self.samples()
        before = [s for s in samples if s.answered <= when]
        after = [s for s in samples if s.answered > when]
        if not before or not after:
            return (before or after)[-1 if before else 0].writes
        first, second = before[-1], after[0]
        share = (when - first.answered) / (second.answered - first.answered)
        return first.writes + (second.writes - first.writes) * share


def _ask(connection, interval, asked):
    """Questions at a steady pace, whether answers come or not: like a service with many users. One that waited for each
    answer would mostly measure TCP's shortest retransmission timeout, because its one lost packet has no successor."""
    due = time.time()
    try:
        while True:
            asked.append(time.time())
            connection.sendall(b"ping\n")
            due = max(due + interval, time.time() - interval)  # no burst after a standstill
            time.sleep(max(0.0, due - time.time()))
    except OSError:
        connection.close()  # the reader says why


def _converse(address, port, interval, out):
    connection = socket.create_connection((address, port), timeout=SILENCE_SECONDS)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    asked = collections.deque()
    threading.Thread(target=_ask, args=(connection, interval, asked), daemon=True).start()
    for count, line in enumerate(connection.makefile(), start=1):
        answer = guest.Answer(line)
        if answer.number("seq") != count:
            raise RuntimeError(f"answer {answer['seq']} to question {count}")
        out.write(f"{asked.popleft():.6f} {time.time():.6f} {answer['errors']} {answer['writes']} {answer['boot']}\n")
        out.flush()
    raise RuntimeError("the guest closed the connection")


def main():
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    address, port, interval, path = sys.argv[1], int(sys.argv[2]), float(sys.argv[3]), sys.argv[4]
    with open(path, "w") as out:
        try:
            _converse(address, port, interval, out)
        except (OSError, RuntimeError) as error:
            out.write(f"broken {error}\n")
    sys.exit(1)


if __name__ == "__main__":
    main()
