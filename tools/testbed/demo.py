"""The demo: a real Linux guest moves to another host while it works and while a client talks to it.

Started by ./demo, which has installed and built everything. Needs root. As a program:

    python3 -m testbed.demo --godwit BINARY [--report FILE] [--accelerator auto|kvm|tcg] [--transport godwit|qemu]
"""

import argparse
import functools
import json
import os
import sys
import textwrap
import time

from . import client, guest, machine, migrations, network, ssh
from .cleanup import Cleanup

RATE = "1gbit"
MAX_DOWNTIME_MS = 50
MOVE_SECONDS = 120

# A Linux under KVM says hello within two seconds; a KVM that cannot run one says nothing at all.
KVM_PATIENCE_SECONDS = 6

# Around the switchover: later gaps would not be the migration's.
AFTER_SECONDS = 1.0


def say(text=""):
    for paragraph in text.split("\n"):
        print(textwrap.fill(paragraph, 100, subsequent_indent="      " if paragraph.startswith("[") else ""), flush=True)


class Demo:
    def __init__(self, options, cleanup):
        self.options, self.cleanup = options, cleanup
        # One vCPU where the machine has only two cores: the guest, both hosts and the client share them.
        self.config = guest.Config(cpus=1 if (os.cpu_count() or 1) <= 2 else 2)
        self.files = guest.Files(256)
        self.network = network.Network(cleanup, RATE)
        self.place = machine.Place(cleanup)

    def run(self):
        """The report; its "verdict" tells whether all is well."""
        say("[1/5] Two hosts, A and B, are on this machine: network namespaces, joined by a 1 Gbit/s link. A third "
            "place, the switch between them, is where the client lives.")
        source, hardware = self._boot()
        config = self.config
        say(f"[2/5] A Linux guest runs on host A: QEMU {source.version()}, {hardware.accelerator.upper()}, "
            f"{config.memory} MiB, {config.cpus} CPU. It holds {config.content} MiB of real files and "
            f"{config.random} MiB of random bytes, has used and freed {config.freed} MiB more, and rewrites "
            f"{config.rate} pages a second in a table of {config.area} MiB. It knows what every page must hold, and checks.")
        before = guest.ask(self.network, "verify")
        say(f"      The guest has checked all of it: {before['errors']} errors.")
        talker = client.Client(self.cleanup, self.place, self.network)
        if not talker.wait_for_answers(40):
            raise RuntimeError(f"the client gets no answers: {talker.complaint()}")
        rate = len(talker.samples()) / (talker.samples()[-1].asked - talker.samples()[0].asked)
        say(f"[3/5] The client asks the guest {rate:.0f} times a second over one TCP connection. It will not connect again.")
        destination = machine.Machine(self.cleanup, self.place, self.network, "b", hardware, incoming=True,
                                      stopped=self._mover.destination_stopped)
        say(f"[4/5] An empty QEMU waits on host B. Now {self._mover.name} moves the running guest there:\n")
        if self.options.transport == "godwit":
            print(f"      host-a$ godwit send --qmp {os.path.basename(source.engine_socket)} "
                  f"--to ssh://root@host-b/{os.path.basename(destination.engine_socket)}"
                  f"{' --codec qat' if self.options.accelerator_model else ''}\n", flush=True)
            if self.options.accelerator_model:
                say("      (qat is a MODEL here: a library with QATzip's interface and software behind it.)")
        outcome = self._mover.move(source, destination, MOVE_SECONDS)
        if not outcome.moved:
            say(f"\nThe guest was not moved: {outcome.reason}")
            say("      Does it still run on host A, unharmed?")
            after = guest.ask(self.network, "verify") if talker.wait_for_answers(20) else None
            return self._report(outcome, talker, before, after, (source, destination))
        time.sleep(AFTER_SECONDS)
        source.end()
        say("\n[5/5] The guest runs on host B, and host A's QEMU is gone. The guest checks all of its memory again.")
        # A guest that answers nobody would keep the question waiting, too.
        after = guest.ask(self.network, "verify") if talker.wait_for_answers(20) else None
        return self._report(outcome, talker, before, after, (source, destination))

    def _boot(self):
        wanted = self.options.accelerator
        for accelerator in ("kvm", "tcg") if wanted == "auto" else (wanted,):
            if accelerator == "kvm" and not os.access("/dev/kvm", os.R_OK | os.W_OK):
                continue
            hardware = machine.Hardware(self.config, self.files, self.options.qemu, accelerator)
            try:
                vm = machine.Machine(self.cleanup, self.place, self.network, "a", hardware)
            except RuntimeError:
                if accelerator == wanted or accelerator == "tcg":
                    raise
                say("      (KVM is here, but QEMU does not start with it; going on with emulation.)")
                continue
            if vm.wait_until_ready(first_words=KVM_PATIENCE_SECONDS if accelerator == "kvm" else machine.BOOT_SECONDS):
                return vm, hardware
            vm.end()
            if accelerator == "kvm":
                say("      (KVM is here but boots no Linux guest; going on with emulation.)")
        raise RuntimeError("the guest does not boot; its console's last lines:\n" + _tail(vm.console))

    @functools.cached_property
    def _mover(self):
        if self.options.transport == "qemu":
            return migrations.QemuMigration("QEMU's own migration", max_downtime_ms=MAX_DOWNTIME_MS)
        return migrations.GodwitOverSsh("Godwit", self.options.godwit,
                                        ssh.Server(self.cleanup, self.place, self.network),
                                        max_downtime_ms=MAX_DOWNTIME_MS, report_path=self.place.file("report.json"),
                                        progress="auto",
                                        options=["--codec", "qat"] if self.options.accelerator_model else [])

    @staticmethod
    def _report(outcome, talker, before, after, machines):
        """The engine's report and what the guest and the client saw."""
        report = dict(outcome.engine_report) or {
            "outcome": "done" if outcome.moved else "failed", "total_us": round(outcome.total * 1e6),
            "pause_us": round(outcome.pause * 1e6) if outcome.pause else None}
        trouble = [line for each in machines for line in each.trouble()]
        errors = max((sample.errors for sample in talker.samples()), default=None)
        report["guest_verified"] = bool(after and before.number("errors") == errors == after.number("errors") == 0
                                        and before["boot"] == after["boot"] and not trouble)
        complaint = talker.complaint()
        if after is None:
            complaint = complaint or "the guest answers no more"
        report["accelerator"] = machines[0].hardware.accelerator
        report["connection_survived"] = complaint is None
        # Not moved: then there was no switchover to look around.
        gap = talker.longest_gap(outcome.stopped, outcome.resumed + AFTER_SECONDS) if outcome.moved else None
        report["service_gap_ms"] = round(gap * 1000, 1) if gap is not None else None
        report["wire_bytes"] = outcome.wire_bytes
        for line in trouble[:5] + ([complaint] if complaint else []):
            say(f"      trouble: {line}")
        good = outcome.moved and report.get("outcome") == "done"
        return report, good and report["guest_verified"] and report["connection_survived"]


def _tail(path, lines=15):
    with open(path, errors="replace") as text:
        return "".join(text.readlines()[-lines:])


def _verdict(report, well):
    yes = {True: "yes", False: "NO"}
    pause = report.get("pause_us")
    say(f"      the guest's memory held, every page of it      {yes[report['guest_verified']]}")
    say(f"      the client's TCP connection survived           {yes[report['connection_survived']]}")
    if pause is not None and report["service_gap_ms"] is not None:
        say(f"      the guest was paused for                       {pause / 1000:.1f} ms")
        say(f"      the longest wait the client saw                {report['service_gap_ms']:.0f} ms "
            "(it asks every 25 ms)")
        if report["accelerator"] == "tcg":
            say("      (Most of that wait is emulation: on host B QEMU must first translate the guest's code again.)")
        if report.get("encoding_device"):
            device = report["encoding_device"]
            kind = f"a MODEL ({device['model']})" if device["model"] else device["library"]
            say(f"      compressed by {device['name']}, {kind}: {device['blocks']} blocks")
        say(f"      the whole move took                            {report['total_us'] / 1e6:.1f} s, "
            f"{report['wire_bytes'] / 1e6:.0f} MB on the wire")
    say("\nVerdict: " + ("all is well." if well else "SOMETHING WENT WRONG, see above."))


def main():
    parser = argparse.ArgumentParser(prog="./demo", description="Moves a running Linux guest from host A to host B.")
    parser.add_argument("--report", metavar="FILE", help="write the report there as JSON")
    parser.add_argument("--accelerator", choices=("auto", "kvm", "tcg"), default="auto", help="[auto]")
    parser.add_argument("--accelerator-model", action="store_true",
                        help="compress by a MODEL of an accelerator (GODWIT_QATZIP names it)")
    parser.add_argument("--qemu", metavar="BINARY", default="qemu-system-x86_64", help="[qemu-system-x86_64]")
    parser.add_argument("--godwit", help=argparse.SUPPRESS)  # set by ./demo
    parser.add_argument("--transport", choices=("godwit", "qemu"), default="godwit", help=argparse.SUPPRESS)  # self-test
    options = parser.parse_args()
    if options.report:
        options.report = os.path.abspath(options.report)
    try:
        with Cleanup() as cleanup:
            report, well = Demo(options, cleanup).run()
    except KeyboardInterrupt:
        print("\ninterrupted; everything is removed", file=sys.stderr)
        return 130
    except (RuntimeError, OSError) as error:
        print(f"\ndemo: {error}", file=sys.stderr)
        return 1
    if options.report:
        with open(options.report, "w") as out:
            json.dump(report, out, indent=2)
            out.write("\n")
    _verdict(report, well)
    return 0 if well else 1


if __name__ == "__main__":
    sys.exit(main())
