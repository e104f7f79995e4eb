"""What the bare-metal guest says of its touches (tests/guests/bare_metal/status.h), read through QEMU's monitor."""

import re
import time

_STATUS_AT = 0x200000
_MAGIC, _RUNNING = 0x54574447, 2
_CPUS_AT, _CPU_WORDS, _CPUS = 16, 16, 8  # in words
_ERRORS = 4
_TOUCH_AT = _CPUS_AT + _CPU_WORDS * _CPUS + 16
_BUCKETS = 92
_TICKS_A_MICROSECOND = 3.579545
_BEGIN_SECONDS = 120


class Touches:
    """Numbers of touches, by how long they took."""

    def __init__(self, buckets, errors=0):
        self._buckets, self.errors = buckets, errors

    @classmethod
    def of(cls, vm):
        words = _words(vm, _TOUCH_AT + 1 + _BUCKETS)
        errors = sum(words[_CPUS_AT + cpu * _CPU_WORDS + _ERRORS] for cpu in range(_CPUS))
        return cls(words[_TOUCH_AT + 1:], errors)

    @staticmethod
    def await_begin(vm):
        deadline = time.monotonic() + _BEGIN_SECONDS
        while time.monotonic() < deadline:
            words = _words(vm, _TOUCH_AT + 1)
            if words[0] == _MAGIC and words[2] == _RUNNING and words[_TOUCH_AT] > 0:
                return
            time.sleep(0.2)
        raise RuntimeError(f"the guest does not begin: {vm.words()}")

    def since(self, earlier):
        return Touches([now - then for now, then in zip(self._buckets, earlier._buckets)])

    def count(self, slower_than_us=0):
        return sum(count for at, count in enumerate(self._buckets) if _microseconds(at) >= slower_than_us)

    def at(self, share, slower_than_us=0):
        """The upper bound, in microseconds, of the bucket that holds this share's touch; none if there are none."""
        counted = [count if _microseconds(at) >= slower_than_us else 0 for at, count in enumerate(self._buckets)]
        left = share * sum(counted)
        for at, count in enumerate(counted):
            left -= count
            if count and left <= 1e-9:
                return round(_microseconds(at + 1))
        return None


def _microseconds(bucket):
    """Where a bucket begins."""
    ticks = bucket if bucket < 4 else (4 + bucket % 4) << (bucket // 4 - 1)
    return ticks / _TICKS_A_MICROSECOND


def _words(vm, count):
    text = vm.qmp.command("human-monitor-command", **{"command-line": f"xp /{count}wx {_STATUS_AT:#x}"})
    return [int(word, 16) for line in text.splitlines() for word in re.findall(r"0x[0-9a-f]{8}\b", line.split(":", 1)[1])]
