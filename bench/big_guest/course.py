"""The course: one guest that the contenders move back and forth between two hosts, in turn.

    low 16 MiB, the guest's own | hot: of each page it verifies and writes some words, again and again | cold | empty
                                |<---------------- filled before the guest starts ---------------->|

After each move the guest is paused where it is then, and all memory compared at both ends: what differs must be the
pages of the hot area that the guest says it has written there, next to one another in its order. It verified each of
them before it wrote it, so nothing is left that nobody has looked at. After an error the next leg has a new guest.
"""

import os
import struct
import time
from dataclasses import asdict, dataclass
from typing import NamedTuple, Optional

import content
from ram import MEBI, PAGE, GuestRam, pages_that_differ, side_by_side
from testbed import machine
from testbed.qmp import QmpError

_HOT_BEGINS = 16 * MEBI  # GUEST_LOWEST_AREA of the guest's status.h
_STATUS_AT, _STATUS_MAGIC, _STATUS_RUNNING = 0x200000, 0x54574447, 2
_COUNTER = 2**32

# A busy machine makes the guest slow, not wrong.
_SILENCE_SECONDS = 30
# How often a guest is tried again that KVM itself ended, as it now and then does where KVM runs in a VM.
_TRIES = 3


@dataclass
class Leg:
    """One migration, as a row of the results."""
    link: str
    lanes: int
    round: int
    contender: str
    error: str = ""  # why it does not count
    total_s: Optional[float] = None
    pause_ms: Optional[float] = None
    last_harvest_ms: Optional[float] = None
    wire_mb: Optional[float] = None  # counted at the link
    lanes_mb: Optional[float] = None
    engine_cpu_source_s: Optional[float] = None
    engine_cpu_destination_s: Optional[float] = None
    qemu_cpu_source_s: Optional[float] = None  # without its vCPUs
    qemu_cpu_destination_s: Optional[float] = None
    data_mb: Optional[float] = None  # what the guest holds
    written_per_s: Optional[int] = None  # pages, by the guest while it was moved
    device: str = ""  # that encoded, by its name in the report
    load_average: float = 0.0  # of this machine, before the leg: a busy machine measures nothing

    as_row = asdict


@dataclass
class Sizes:
    """Bytes of the guest, and how much of what fills it is random, of a hundred."""
    memory: int
    full: int
    hot: int
    random: int

    @property
    def files(self):
        """As many bytes of files as are kept beside the guests."""
        return min(self.full, max(256 * MEBI, min(2048 * MEBI, self.memory // 16)))


class LostGuest(RuntimeError):
    """The guest has ended or does not work any more."""


class Status(NamedTuple):
    """What the guest says of itself and of its one CPU."""
    state: int = 0
    heartbeat: int = 0
    passes: int = 0  # over the hot area
    written: int = 0  # pages
    verified: int = 0
    errors: int = 0


class Guest:
    """A QEMU, its RAM, and what its guest says of itself."""

    def __init__(self, vm, memory):
        self.vm, self.ram = vm, GuestRam(vm, memory)

    def end(self):
        self.ram.close()
        self.vm.end()

    def status(self):
        page = bytearray(96)
        self.ram.read_into(page, _STATUS_AT)
        magic, _, state = struct.unpack_from("3I", page)
        return Status(state, *struct.unpack_from("5I", page, 64)) if magic == _STATUS_MAGIC else Status()

    def wait_until(self, done, what):
        """Until `done(status)`; raises if the guest makes no progress or QEMU does not run it."""
        seen, since = None, time.monotonic()
        while not done(status := self.status()):
            self.check()
            if status != seen:
                seen, since = status, time.monotonic()
            if time.monotonic() - since > _SILENCE_SECONDS:
                raise LostGuest(f"the guest makes no progress: {what}")
            time.sleep(0.05)

    def check(self):
        if (state := self.state()) != "running":
            raise LostGuest(f"QEMU says of the guest: {state}")

    def state(self):
        """In QEMU's words."""
        try:
            return self.vm.qmp.command("query-status")["status"]
        except QmpError as error:
            return f"its QEMU has ended: {self.vm.words() or error}"


def why_lost(differing, hot, written):
    """What is wrong with the pages that are not the same at both ends, or nothing. The guest goes through the first
    `hot` pages in turn, and has written `written` of them since it was moved."""
    if differing and differing[-1] >= hot:
        return f"{sum(page >= hot for page in differing)} pages differ that the guest does not write"
    if written >= hot:
        return ""
    if abs(len(differing) - written) > 1:  # the guest may be paused after it has written a page, before it counts it
        return f"{len(differing)} pages differ in the hot area, and the guest has written {written}"
    apart = sum(page != before + 1 for before, page in zip(differing, differing[1:]))
    round_the_end = apart == 1 and differing[0] == 0 and differing[-1] == hot - 1
    return "" if apart == 0 or round_the_end else "pages differ in the hot area elsewhere than the guest writes"


class Course:
    def __init__(self, cleanup, network, place, hardware, sizes, threads, populated):
        """Fills and compares with so many `threads`. `populated` gives the destination all of its memory before the
        move."""
        self._cleanup, self._network, self._place, self._hardware = cleanup, network, place, hardware
        self._sizes, self._threads, self._populated = sizes, threads, populated
        self._files = content.of_files(sizes.files)
        self._guest = None
        self._lacking = ""  # why the last contender could not take part

    def close(self):
        if self._guest:
            self._guest.end()
        self._guest = None

    def run_leg(self, leg, contender, timeout):
        """Fills in the leg, or its error. After one the next leg has a new guest, but not where nothing was tried."""
        for _ in range(_TRIES):
            leg.error = self._tried(leg, contender, timeout)
            if not leg.error or leg.error == self._lacking:
                return
            self.close()
            if "internal-error" not in leg.error:
                return

    def _start(self):
        """The guest, if there is none; filled."""
        if self._guest:
            return
        vm = machine.Machine(self._cleanup, self._place, self._network, "a", self._hardware, stopped=True)
        self._guest = Guest(vm, self._sizes.memory)
        content.fill(self._guest.ram, _HOT_BEGINS, self._sizes.full, self._files, self._sizes.random, self._threads)
        vm.qmp.command("cont")
        self._guest.wait_until(lambda status: status.state == _STATUS_RUNNING and status.passes > 0, "it starts")

    def _tried(self, leg, contender, timeout):
        """What is wrong, or nothing."""
        there = None
        try:
            self._start()
            here = self._guest
            self._lacking = contender.lacking(here.vm)
            if self._lacking:
                return self._lacking
            there = self._destination(contender)
            self._warm()
            leg.load_average = round(os.getloadavg()[0], 2)
            here.check()
            written = here.status().written
            outcome = contender.move(here.vm, there.vm, timeout)
            if not outcome.moved:
                raise RuntimeError(f"{outcome.reason} (the guest at the source: {here.state()})")
            written = here.status().written - written
            self._verify(here, there)
            self._fill_in(leg, outcome, written)
            self._guest, there = there, here
        except (RuntimeError, OSError) as error:  # what is read of a QEMU that has ended is an OSError
            return " ".join(str(error).split())
        finally:
            if there:
                there.end()
        return ""

    def _destination(self, contender):
        vm = machine.Machine(self._cleanup, self._place, self._network, "b" if self._guest.vm.host == "a" else "a",
                             self._hardware, incoming=True, stopped=contender.destination_stopped)
        there = Guest(vm, self._sizes.memory)
        if self._populated:
            zeros = bytes(MEBI)
            pieces = range(_HOT_BEGINS, there.ram.length, MEBI)
            side_by_side(lambda begin: there.ram.write(zeros, begin), pieces, self._threads)
        return there

    def _warm(self):
        """Takes and frees as much memory as the destination will need: where this machine is a guest itself, what
        nobody used for half a minute is up to six times as slow to get, and whoever comes after a pause would pay."""
        if self._populated:
            return

        def take(length):
            memory = os.memfd_create("godwit-warm")
            os.posix_fallocate(memory, 0, length)
            return memory

        for memory in side_by_side(take, [self._sizes.full // self._threads] * self._threads, self._threads):
            os.close(memory)

    def _verify(self, here, there):
        """Raises if a page was lost."""
        there.check()
        there.vm.qmp.command("stop")
        paused_at = there.status().written
        written = (paused_at - here.status().written) % _COUNTER
        differing = pages_that_differ(here.ram, there.ram, _HOT_BEGINS, self._threads)
        first = _HOT_BEGINS // PAGE
        if reason := why_lost([page - first for page in differing], self._sizes.hot // PAGE, written):
            raise RuntimeError(reason)
        there.vm.qmp.command("cont")
        there.wait_until(lambda status: status.written != paused_at, "it goes on")
        if errors := there.status().errors:
            raise RuntimeError(f"the guest found {errors} wrong pages")

    def _fill_in(self, leg, outcome, pages_written):
        def thousand(value):
            return round(value * 1000, 2) if value is not None else None

        leg.total_s = round(outcome.total, 3)
        leg.pause_ms = thousand(outcome.pause)
        leg.wire_mb = round(outcome.wire_bytes / 1e6, 2)
        leg.data_mb = round(self._sizes.full / 1e6, 2)
        leg.written_per_s = round(pages_written % _COUNTER / outcome.total)
        for side in ("source", "destination"):
            engine = getattr(outcome, f"engine_cpu_{side}")
            setattr(leg, f"engine_cpu_{side}_s", round(engine, 3))
            setattr(leg, f"qemu_cpu_{side}_s", round(getattr(outcome, f"cpu_{side}") - engine, 3))
        if report := outcome.engine_report:
            leg.lanes_mb = round(report["bytes_lanes"] / 1e6, 2)
            leg.device = (report["encoding_device"] or {}).get("name", "")
            harvest = next((entry for entry in report["ledger"] if entry["name"] == "last harvest"), None)
            leg.last_harvest_ms = (harvest["end_us"] - harvest["begin_us"]) / 1000 if harvest else None
