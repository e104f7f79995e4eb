"""The ways to move a guest: Godwit, and QEMU's own migration in its variants. All are measured alike."""

import contextlib
import json
import os
import pathlib
import re
import secrets
import subprocess
import threading
import time
from dataclasses import dataclass, field
from typing import Optional

from . import process
from .network import MIGRATION_ADDRESSES
from .qmp import QmpError

_PORT = 4444  # of QEMU's own migration; the namespace is ours alone
_SAMPLE_SECONDS = 0.05

# How long Godwit's receiver may still take once its sender has ended.
_RECEIVER_SECONDS = 15


@dataclass
class Outcome:
    """What one migration did and cost. Times in seconds, taken outside of whoever migrated."""
    moved: bool
    reason: str = ""  # why not
    began: float = 0.0  # since the epoch, as all moments here
    ended: float = 0.0
    stopped: Optional[float] = None  # QEMU's STOP at the source, RESUME at the destination
    resumed: Optional[float] = None
    wire_bytes: int = 0
    cpu_source: float = 0.0  # QEMU without vCPUs, and the engine
    cpu_destination: float = 0.0
    engine_cpu_source: float = 0.0  # the engine's share of that
    engine_cpu_destination: float = 0.0
    peak_memory: int = 0  # anonymous memory added by the migration, the larger side
    engine_report: dict = field(default_factory=dict)

    @property
    def total(self):
        return self.ended - self.began

    @property
    def pause(self):
        return self.resumed - self.stopped if self.stopped and self.resumed else None


class Certificates:
    """Of a CA of their own, for both hosts, by `godwit keygen`; with the names that QEMU's credentials have, too."""

    qom_type = "tls-creds-x509"

    def __init__(self, binary, folder):
        self._folder = pathlib.Path(folder)
        hosts = [f"--host={address}" for address in MIGRATION_ADDRESSES.values()]
        subprocess.run([binary, "keygen", "--dir", str(folder), *hosts], check=True, stderr=subprocess.DEVNULL)

    def qemu_properties(self, host):
        """Of the object that gives QEMU on that host its credentials."""
        return {"dir": str(self._folder / MIGRATION_ADDRESSES[host]), "verify-peer": True}

    @staticmethod
    def qemu_hostname(host):
        """What the certificate of the QEMU there must be for."""
        return MIGRATION_ADDRESSES[host]

    def godwit_options(self, host):
        return ["--tls-dir", str(self._folder / MIGRATION_ADDRESSES[host])]


class SharedKey:
    """One that both hosts have, as QEMU looks for it: keys.psk in a folder, under the name that QEMU's client has."""

    qom_type = "tls-creds-psk"

    def __init__(self, folder):
        self._folder = pathlib.Path(folder)
        self._folder.mkdir(mode=0o700)
        # By open() with a mode: a key must not be readable for others even for a moment.
        file = os.open(self._folder / "keys.psk", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with open(file, "w") as keys:
            keys.write(f"qemu:{secrets.token_hex(32)}\n")

    def qemu_properties(self, _host):
        return {"dir": str(self._folder), "verify-peer": True}

    @staticmethod
    def qemu_hostname(_host):
        return ""

    def godwit_options(self, _host):
        return ["--tls-psk", str(self._folder / "keys.psk")]


class _Meter:
    """Costs of one migration, from its construction to stop()."""

    def __init__(self, source, destination):
        self._machines = (source, destination)
        self._cpu = [machine.cpu_beside_guest() for machine in self._machines]
        self._base = [process.anonymous_bytes(machine.pid) for machine in self._machines]
        self._engines = []
        self._engine_peak = {}
        self._peak = 0
        self._bytes = source.network.bytes_on_link()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)
        self._thread.start()

    def watch_engine(self, pid):
        self._engines.append(pid)

    def _sample(self):
        while not self._stop.wait(_SAMPLE_SECONDS):
            added = [process.anonymous_bytes(m.pid) - base for m, base in zip(self._machines, self._base)]
            engines = [process.anonymous_bytes(pid) for pid in self._engines]
            self._peak = max([self._peak] + (engines or added))

    def stop(self, outcome):
        self._stop.set()
        self._thread.join()
        outcome.wire_bytes = self._machines[0].network.bytes_on_link() - self._bytes
        used = [m.cpu_beside_guest() - before for m, before in zip(self._machines, self._cpu)]
        outcome.cpu_source += used[0]
        outcome.cpu_destination += used[1]
        outcome.peak_memory = self._peak


# What any variant may switch on. A guest moves on from where it arrived, and there the last move's settings still hold.
_CAPABILITIES = ("multifd", "xbzrle", "auto-converge", "postcopy-ram", "postcopy-preempt")
_PARAMETERS = {"multifd-compression": "none"}


class QemuMigration:
    """QEMU's own migration over TCP. `hints` says that the balloon is to tell it of free pages, `postcopy_after` after how
    many seconds it is to change to post-copy, which is a capability besides."""

    destination_stopped = False

    def __init__(self, name, capabilities=(), parameters=None, max_downtime_ms=300, hints=False, tls=None,
                 postcopy_after=None):
        """`tls`: Certificates or a SharedKey; none: in the clear."""
        self.name, self.hints, self._tls, self._postcopy_after = name, hints, tls, postcopy_after
        self._capabilities = capabilities
        # As fast as the link allows; by itself QEMU keeps below 1 Gbit/s.
        self._parameters = {**_PARAMETERS, "max-bandwidth": 10 << 30, "downtime-limit": max_downtime_ms,
                            **(parameters or {})}

    def lacking(self, machine):
        """What this QEMU does not have that it needs, or nothing."""
        method = self._parameters["multifd-compression"]
        enums = [each["values"] for each in machine.qmp.command("query-qmp-schema") if each["meta-type"] == "enum"]
        known = next((values for values in enums if {"none", "zlib"} <= set(values)), [method])
        return "" if method in known else f"not in this QEMU: multifd-compression={method}"

    def move(self, source, destination, timeout):
        for machine in (source, destination):
            machine.qmp.command("migrate-set-capabilities", capabilities=[
                {"capability": each, "state": each in self._capabilities} for each in _CAPABILITIES])
            machine.qmp.command("migrate-set-capabilities", capabilities=[{"capability": "events", "state": True}])
            machine.qmp.command("migrate-set-parameters", **self._parameters, **{"tls-creds": "", "tls-hostname": ""})
        if self._tls:
            self._encrypt(source, "client", destination)
            self._encrypt(destination, "server", source)
        address = f"tcp:{MIGRATION_ADDRESSES[destination.host]}:{_PORT}"
        destination.qmp.command("migrate-incoming", uri=address)
        meter = _Meter(source, destination)
        outcome = Outcome(moved=False, began=time.time())
        source.qmp.command("migrate", uri=address)
        if self._postcopy_after is not None:
            time.sleep(self._postcopy_after)
            source.qmp.command("migrate-start-postcopy")
        outcome.reason = self._await_end(source, outcome.began, timeout)
        if not outcome.reason:
            outcome.resumed = destination.qmp.time_of("RESUME", 10, outcome.began)
            outcome.moved = outcome.resumed is not None
            outcome.reason = "" if outcome.moved else "the destination did not resume: " + destination.words()
        outcome.ended = time.time()
        meter.stop(outcome)
        outcome.stopped = max(source.qmp.times_of("STOP", outcome.began), default=None)
        return outcome

    def _encrypt(self, machine, endpoint, other):
        """Both sides have to prove who they are."""
        name = f"tls-{endpoint}"
        with contextlib.suppress(QmpError):  # from an earlier move
            machine.qmp.command("object-del", id=name)
        machine.qmp.command("object-add", **{"qom-type": self._tls.qom_type, "id": name, "endpoint": endpoint,
                                             **self._tls.qemu_properties(machine.host)})
        machine.qmp.command("migrate-set-parameters", **{
            "tls-creds": name, "tls-hostname": self._tls.qemu_hostname(other.host) if endpoint == "client" else ""})

    @staticmethod
    def _await_end(source, began, timeout):
        """An empty reason if QEMU says "completed". By events: to be asked would cost QEMU time at the switchover."""
        ends = ("completed", "failed", "cancelled")
        event = source.qmp.wait_event("MIGRATION", timeout, began, lambda data: data["status"] in ends)
        if event is None:
            source.qmp.command("migrate_cancel")
            source.qmp.wait_event("MIGRATION", 30, began, lambda data: data["status"] in ends)
            return f"not finished after {timeout:.0f} s"
        status = event[1]["status"]
        return "" if status == "completed" else f"QEMU says {status}"


class GodwitMigration:
    """Godwit, from one host to the other: a command on each."""

    destination_stopped = True
    hints = False  # it reads the guest's free pages by itself

    def __init__(self, name, binary, options=(), max_downtime_ms=300, report_path=None, progress="none", tls=None):
        """`tls`: Certificates or a SharedKey; none: in the clear, as QEMU's own migration is by default."""
        self.name = name
        self._binary, self._tls = binary, tls
        self._options = [*options, "--max-downtime", f"{max_downtime_ms}ms", "--progress", progress]
        self._report_path = report_path
        self._show = progress != "none"

    @staticmethod
    def lacking(_machine):
        return ""

    def move(self, source, destination, timeout):
        network = source.network
        pathlib.Path(self._report_path).unlink(missing_ok=True)
        receiver = process.start([self._binary, "receive", "--qmp", destination.engine_socket,
                                  "--listen", f"tcp://{MIGRATION_ADDRESSES[destination.host]}:0",
                                  *self._trust(destination)],
                                 network.hosts[destination.host], stderr=subprocess.PIPE, text=True)
        sender = None
        try:
            said, address = self._await_listening(receiver)
            if not address:
                return Outcome(moved=False, reason="receive: " + " ".join(said)[-500:])
            drain = threading.Thread(target=lambda: said.extend(receiver.stderr), daemon=True)
            drain.start()
            meter = _Meter(source, destination)
            meter.watch_engine(receiver.pid)
            outcome = Outcome(moved=False, began=time.time())
            sender = process.start([self._binary, "send", "--qmp", source.engine_socket, "--to", address,
                                    "--timeout", f"{timeout:.0f}s", "--report", self._report_path, *self._options,
                                    *self._trust(source)],
                                   network.hosts[source.host],
                                   stderr=None if self._show else subprocess.PIPE, text=True)
            meter.watch_engine(sender.pid)
            words = self._await_end(sender, receiver, timeout + 30, outcome)
            # As with QEMU's "completed": the guest runs there, and the source's cleaning up may still go on.
            outcome.ended = self._time_of_report() or outcome.ended or time.time()
            meter.stop(outcome)
            drain.join(2)
            self._judge(outcome, source, destination, sender, f"{words} {' '.join(said)[-500:]}")
            return outcome
        finally:
            for each in (sender, receiver):
                if each:
                    process.end(each)

    def _trust(self, machine):
        return self._tls.godwit_options(machine.host) if self._tls else ["--insecure-plain"]

    @staticmethod
    def _await_listening(receiver):
        said = []
        for line in receiver.stderr:
            said.append(line.strip())
            found = re.search(r"listening on (tcp://\S+)", line)
            if found:
                return said, found.group(1)
        return said, None

    @staticmethod
    def _await_end(sender, receiver, timeout, outcome):
        """Waits for both processes and notes their CPU time."""
        deadline = time.monotonic() + timeout
        said = []
        if sender.stderr:
            threading.Thread(target=lambda: said.extend(sender.stderr), daemon=True).start()
        waiting = {sender, receiver} - {None}
        while waiting and time.monotonic() < deadline:
            for each in list(waiting):
                cpu = process.reap(each)
                if cpu is not None:
                    waiting.remove(each)
                    if each is sender:
                        deadline = min(deadline, time.monotonic() + _RECEIVER_SECONDS)
                        outcome.ended = time.time()
                        outcome.cpu_source += cpu
                        outcome.engine_cpu_source = cpu
                    else:
                        outcome.cpu_destination += cpu
                        outcome.engine_cpu_destination = cpu
            time.sleep(0.005)
        return " ".join(said)[-500:]

    def _time_of_report(self):
        try:
            return os.stat(self._report_path).st_mtime
        except OSError:
            return None

    def _judge(self, outcome, source, destination, sender, words):
        try:
            with open(self._report_path) as report:
                outcome.engine_report = json.load(report)
        except (OSError, ValueError):
            pass
        outcome.resumed = destination.qmp.time_of("RESUME", 1, outcome.began)
        outcome.stopped = max(source.qmp.times_of("STOP", outcome.began), default=None)
        try:
            still_here = source.running()
        except QmpError:
            still_here = False
        outcome.moved = sender.returncode == 0 and outcome.resumed is not None and not still_here
        if not outcome.moved:
            outcome.reason = f"godwit send: exit {sender.returncode}: {words.strip()}"


class GodwitOverSsh(GodwitMigration):
    """Godwit by one command on host A, which starts the other one on host B by ssh."""

    def __init__(self, name, binary, ssh, **options):
        """`ssh`: the server there (ssh.py)."""
        super().__init__(name, binary, **options)
        self._ssh = ssh

    def command(self, source, destination, timeout):
        return [self._binary, "send", "--qmp", source.engine_socket, "--to", self._ssh.target(destination.engine_socket),
                "--rsh", self._ssh.client(), "--remote-godwit", self._binary,
                "--timeout", f"{timeout:.0f}s", "--report", self._report_path, *self._options]

    def move(self, source, destination, timeout):
        pathlib.Path(self._report_path).unlink(missing_ok=True)
        meter = _Meter(source, destination)
        outcome = Outcome(moved=False, began=time.time())
        # What it says goes on at once; what it says last is the reason if it fails.
        sender = process.start(self.command(source, destination, timeout), source.network.hosts[source.host],
                               stderr=None if self._show else subprocess.PIPE, text=True)
        try:
            meter.watch_engine(sender.pid)
            words = self._await_end(sender, None, timeout + 30, outcome)
            outcome.ended = outcome.ended or time.time()
            meter.stop(outcome)
            self._judge(outcome, source, destination, sender, words)
            return outcome
        finally:
            process.end(sender)
