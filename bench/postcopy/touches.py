"""What the bare-metal guest says of its touches (tests/guests/bare_metal/status.h)."""

import time

from testbed import bare_metal

_TOUCH_AT = bare_metal.CPUS_AT + bare_metal.CPU_WORDS * bare_metal.CPUS + 16
_BUCKETS = 92
_TICKS_A_MICROSECOND = 3.579545
_BEGIN_SECONDS = 120


class Touches:
    """Numbers of touches, by how long they took."""

    def __init__(self, buckets, errors=0):
        self._buckets, self.errors = buckets, errors

    @classmethod
    def of(cls, vm):
        words = bare_metal.words(vm, _TOUCH_AT + 1 + _BUCKETS)
        errors = sum(bare_metal.of_cpus(words, bare_metal.ERRORS))
        return cls(words[_TOUCH_AT + 1:], errors)

    @staticmethod
    def await_begin(vm):
        deadline = time.monotonic() + _BEGIN_SECONDS
        while time.monotonic() < deadline:
            words = bare_metal.words(vm, _TOUCH_AT + 1)
            if bare_metal.runs(words) and words[_TOUCH_AT] > 0:
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
