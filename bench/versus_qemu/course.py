"""The course: one guest that the contenders move back and forth between two hosts, in turn.

So all of them get the same guest, minutes apart, without a boot in between. Before each leg the guest fills and frees
memory again, because a contender that does not send free memory would otherwise leave an easier guest to the next; and
what loads rewrite is made again, because they would leave other content to the next than they found. A guest that was
lost is booted again, and the leg is an error. A load that wants other hardware (redis) gets a guest of its own.

Where a contender wants free-page hints, the balloon offers them at both ends, and the guest's driver is there for that
contender only: with it QEMU's migration uses hints in all of its modes.
"""

import os
import time
from dataclasses import asdict, dataclass
from typing import Optional

from testbed import busy, client, guest, machine

# The load settles, and after the move the guest must go on for a while before it counts.
_SETTLE_SECONDS = 1.5
_AFTER_SECONDS = 1.0

# A busy machine makes the guest's look at all of its memory and records slow, not wrong.
_VERIFY_SECONDS = 300

# Answers per second decide how finely the gap in the service is seen; more would be a load of its own.
_CLIENT_INTERVAL = 0.01


def _warm_memory(mebibytes):
    """Takes and frees as much memory as the destination will need. Where this machine is a guest itself, what nobody
    used for half a minute is up to six times as slow to get; whoever comes after a pause would pay for that."""
    memory = os.memfd_create("godwit-warm")
    try:
        os.posix_fallocate(memory, 0, mebibytes << 20)
    finally:
        os.close(memory)


@dataclass
class Leg:
    """One migration, as a row of the results."""
    qemu: str
    link: str
    load: str
    round: int
    contender: str
    error: str = ""  # why it does not count
    total_s: Optional[float] = None
    pause_ms: Optional[float] = None
    gap_ms: Optional[float] = None
    wire_mb: Optional[float] = None
    cpu_source_s: Optional[float] = None
    cpu_destination_s: Optional[float] = None
    memory_mb: Optional[float] = None
    writer_share: Optional[float] = None  # pages rewritten or keys set, of those asked for, during the migration
    load_average: float = 0.0  # of this machine, before the leg: a busy machine measures nothing
    others_cpu_s: Optional[float] = None  # what the processes had that keep cores busy, during the leg

    as_row = asdict


class Course:
    def __init__(self, cleanup, network, place, hardware_for, busy_cores):
        """`hardware_for` gives the hardware for a load's name, the same object each time. As many other processes as
        `busy_cores` says compute while a guest is moved."""
        self._cleanup, self._network, self._place, self._hardware_for = cleanup, network, place, hardware_for
        self._busy_cores = busy_cores
        self._vm = None
        self._client = None

    def close(self):
        """Ends the guest, if there is one."""
        if self._vm:
            self._vm.end()
        if self._client:
            self._client.end()
        self._vm = self._client = None

    def run_leg(self, leg, contender, load, rate, timeout):
        """Fills in the leg. Errors of a contender go into it; errors of the test bed are raised."""
        self._prepare(load, rate, contender.hints)
        leg.load_average = os.getloadavg()[0]
        there = "b" if self._vm.host == "a" else "a"
        destination = machine.Machine(self._cleanup, self._place, self._network, there, self._vm.hardware,
                                      incoming=True, stopped=contender.destination_stopped)
        _warm_memory(self._vm.hardware.config.memory)
        try:
            with busy.cores(self._cleanup, self._busy_cores) as others_cpu:
                outcome = contender.move(self._vm, destination, timeout)
                leg.others_cpu_s = round(others_cpu(), 2) if self._busy_cores else None
        except RuntimeError as error:
            leg.error = str(error)
            destination.end()
            self.close()
            return
        if outcome.moved:
            time.sleep(_AFTER_SECONDS)
            leg.error = self._verify([self._vm, destination])
            self._fill_in(leg, outcome, rate)
            self._vm.end()
            self._vm = destination
        else:
            destination.end()
            leg.error = outcome.reason
            lost = self._verify([self._vm])
            if lost:
                leg.error += f"; and the guest at the source: {lost}"
        if leg.error and self._verify([self._vm]):
            self.close()

    def _prepare(self, load, rate, hints):
        hardware = self._hardware_for(load)
        if self._vm and self._vm.hardware is not hardware:
            self.close()
        if self._vm is None:
            self._vm = machine.Machine(self._cleanup, self._place, self._network, "a", hardware)
            if not self._vm.wait_until_ready():
                raise RuntimeError("the guest does not boot")
            self._client = client.Client(self._cleanup, self._place, self._network, _CLIENT_INTERVAL)
        guest.ask(self._network, "load idle 0")
        if hardware.hints:
            guest.ask(self._network, "hints on" if hints else "hints off")
        guest.ask(self._network, f"renew {load}")
        guest.ask(self._network, "free")
        guest.ask(self._network, f"load {load} {rate}")
        time.sleep(_SETTLE_SECONDS)
        if not self._client.wait_for_answers(20):
            raise RuntimeError(f"the client gets no answers: {self._client.complaint()}")

    def _verify(self, machines):
        """What is wrong with the guest, or nothing."""
        for each in machines:
            if each.trouble():
                return "the guest's kernel says: " + each.trouble()[0]
        if not self._client.wait_for_answers(20, timeout=15):
            return "the client gets no answers: " + (self._client.complaint() or "silence")
        try:
            errors = guest.ask(self._network, "verify", _VERIFY_SECONDS).number("errors")
        except (OSError, RuntimeError) as error:
            return f"the guest cannot be asked: {error}"
        return f"the guest found {errors} wrong pages or records" if errors else ""

    def _fill_in(self, leg, outcome, rate):
        def thousand(value):
            return round(value * 1000, 2) if value is not None else None

        leg.total_s = round(outcome.total, 3)
        leg.pause_ms = thousand(outcome.pause)
        leg.wire_mb = round(outcome.wire_bytes / 1e6, 2)
        leg.cpu_source_s = round(outcome.cpu_source, 3)
        leg.cpu_destination_s = round(outcome.cpu_destination, 3)
        leg.memory_mb = round(outcome.peak_memory / 1e6, 1)
        if outcome.stopped and outcome.resumed:
            leg.gap_ms = thousand(self._client.longest_gap(outcome.stopped, outcome.resumed + _AFTER_SECONDS))
        if rate > 0 and outcome.total > 0:
            written = self._client.writes_at(outcome.ended) - self._client.writes_at(outcome.began)
            leg.writer_share = round(written / (rate * outcome.total), 3)
