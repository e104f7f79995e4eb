"""What the guest has written so far."""

import time

from testbed import bare_metal

_WORDS = bare_metal.CPUS_AT + bare_metal.CPUS * bare_metal.CPU_WORDS
_FIRST_PASS_SECONDS = 300
_RATE_SECONDS = 5.0


class Work:
    def __init__(self, vm):
        status = bare_metal.words(vm, _WORDS)
        self.runs = bare_metal.runs(status)
        self.errors = sum(bare_metal.of_cpus(status, bare_metal.ERRORS))
        self._passes = bare_metal.of_cpus(status, bare_metal.PASSES)
        self._pages = bare_metal.of_cpus(status, bare_metal.PAGES_WRITTEN)

    @classmethod
    def of(cls, vm):
        return cls(vm)

    def pages_since(self, earlier):
        return sum((now - then) % 2**32 for now, then in zip(self._pages, earlier._pages))

    @classmethod
    def rate(cls, vm):
        """Pages a second, just now."""
        before, begun = cls(vm), time.monotonic()
        time.sleep(_RATE_SECONDS)
        return cls(vm).pages_since(before) / (time.monotonic() - begun)

    @classmethod
    def await_first_pass(cls, vm, cpus=2):
        """All of its memory has been written."""
        deadline = time.monotonic() + _FIRST_PASS_SECONDS
        while time.monotonic() < deadline:
            work = cls(vm)
            if work.runs and all(passes > 0 for passes in work._passes[:cpus]):
                return
            time.sleep(0.2)
        raise RuntimeError(f"the guest does not begin: {vm.words()}")
