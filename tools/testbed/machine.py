"""One QEMU with the test guest, on one of the two hosts."""

import os
import re
import shutil
import tempfile
import time

from . import guest, process
from .qmp import Qmp

SHARED_MEMORY = "/dev/shm"
_FOLDER = re.compile(r"^godwit-(\d+)-")
_MAC = "52:54:00:77:00:02"

# Long enough for a Linux to boot under emulation on a busy machine and to fill its memory.
BOOT_SECONDS = 180


class Place:
    """A folder for sockets, logs and RAM files, in memory, removed at the end."""

    def __init__(self, cleanup):
        for name in os.listdir(SHARED_MEMORY):  # left by a run that was killed
            found = _FOLDER.match(name)
            if found and not os.path.exists(f"/proc/{found.group(1)}"):
                shutil.rmtree(os.path.join(SHARED_MEMORY, name), ignore_errors=True)
        self.path = tempfile.mkdtemp(prefix=f"godwit-{os.getpid()}-", dir=SHARED_MEMORY)
        cleanup.add(shutil.rmtree, self.path, True)
        self._count = 0

    def file(self, name):
        return os.path.join(self.path, name)

    def next_number(self):
        self._count += 1
        return self._count


class Hardware:
    """How the virtual machine is made; the same on both sides.

    `hints` lets the balloon tell QEMU's migration of free pages. It then does so in every migration, unless the guest
    leaves the balloon without a driver."""

    def __init__(self, config, files, qemu="qemu-system-x86_64", accelerator="tcg", backend="memfd", vga=False,
                 hints=False):
        self.config, self.files, self.qemu, self.accelerator = config, files, qemu, accelerator
        self.backend, self.vga, self.hints = backend, vga, hints

    def arguments(self, ram_file):
        config = self.config
        machine = "pc-i440fx-7.2"  # known to all versions under test
        out = [self.qemu, "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"]
        if self.backend == "private":
            out += ["-machine", machine]
        else:
            where = f",mem-path={ram_file}" if self.backend == "file" else ""
            out += ["-machine", f"{machine},memory-backend=ram", "-object",
                    f"memory-backend-{self.backend},id=ram,size={config.memory}M,share=on{where}"]
        if self.accelerator == "kvm":
            out += ["-accel", "kvm", "-cpu", "host"]
        else:
            # Without cx16: some QEMUs' emulation of it fails with more than one CPU.
            out += ["-accel", "tcg,thread=multi", "-cpu", "qemu64,-cx16"]
        out += ["-m", f"{config.memory}M", "-smp", str(config.cpus), "-vga", "std" if self.vga else "none"]
        return out + self._guest_and_devices()

    def network(self, tap):
        return ["-netdev", f"tap,id=net,ifname={tap},script=no,downscript=no",
                "-device", f"virtio-net-pci,netdev=net,mac={_MAC},romfile="]

    def _guest_and_devices(self):
        out = ["-kernel", self.files.kernel, "-initrd", self.files.initramfs,
               "-append", self.config.kernel_command_line(),
               "-drive", f"file={self.files.content},format=raw,if=none,id=disk,readonly=on",
               "-device", "virtio-blk-pci,drive=disk"]
        if not self.hints:
            return out + ["-device", "virtio-balloon-pci"]
        return out + ["-object", "iothread,id=hinting",
                      "-device", "virtio-balloon-pci,free-page-hint=on,iothread=hinting"]


class LeanHardware(Hardware):
    """No device but a serial line, and the bare-metal guest, which has nothing to do unless `line` tells it to; its
    words are in tests/guests/bare_metal/main.c."""

    def __init__(self, memory, kernel, line="work=1M halt=1", cpus=1, **more):
        super().__init__(guest.Config(memory=memory, cpus=cpus), None, **more)
        self._kernel, self._line = kernel, line

    def network(self, tap):
        return []

    def _guest_and_devices(self):
        return ["-cpu", "kvm64", "-kernel", self._kernel, "-append", self._line]  # KVM in a VM refuses `host`


class Machine:
    """A QEMU process: a booting guest, or one that waits for a guest to come."""

    def __init__(self, cleanup, place, network, host, hardware, incoming=False, stopped=False):
        self.host, self.network, self.hardware = host, network, hardware
        number = place.next_number()
        self.name = f"vm{number}"
        self.engine_socket = place.file(f"{self.name}.qmp")  # for whoever migrates
        self.console = place.file(f"{self.name}.console")
        self.log = place.file(f"{self.name}.log")
        self._tap = f"tap{number}"
        self.ram_file = place.file(f"{self.name}.ram")
        card = hardware.network(self._tap)
        if card:
            network.tap(host, self._tap)
            cleanup.add(network.remove_tap, host, self._tap)
        observer = place.file(f"{self.name}.observer")
        arguments = hardware.arguments(self.ram_file) + [
            "-name", "guest,debug-threads=on",  # the same at both ends: it is one VM
            *card,
            "-serial", f"file:{self.console}",
            "-qmp", f"unix:{self.engine_socket},server=on,wait=off", "-qmp", f"unix:{observer},server=on,wait=off"]
        if incoming:
            arguments += ["-incoming", "defer"]
        if stopped:
            arguments += ["-S"]
        with open(self.log, "w") as log:
            self.process = process.start(arguments, network.hosts[host], stdout=log, stderr=log)
        cleanup.add(self.end)
        try:
            self.qmp = Qmp(observer)
        except RuntimeError as error:
            self.end()
            raise RuntimeError(f"QEMU did not start: {self.words()}") from error

    @property
    def pid(self):
        return self.process.pid

    def words(self):
        """What QEMU itself said."""
        with open(self.log, errors="replace") as log:
            return log.read().strip()

    def version(self):
        version = self.qmp.command("query-version")["qemu"]
        return f"{version['major']}.{version['minor']}.{version['micro']}"

    def running(self):
        return self.process.poll() is None and self.qmp.command("query-status")["running"]

    def wait_until_ready(self, seconds=BOOT_SECONDS, first_words=BOOT_SECONDS):
        """Waits for the guest to answer; gives up early if it has not even begun to boot after `first_words`."""
        begin = time.monotonic()
        while time.monotonic() < begin + seconds:
            with open(self.console, errors="replace") as console:
                text = console.read()
            if "GODWIT-GUEST READY" in text:
                return True
            late = "GODWIT-GUEST UP" not in text and time.monotonic() > begin + first_words
            if late or "GODWIT-GUEST DOWN" in text or self.process.poll() is not None:
                return False
            time.sleep(0.1)
        return False

    def cpu_beside_guest(self):
        """CPU seconds of everything in QEMU but the vCPUs: migration threads, but also its main loop."""
        return process.cpu_seconds(self.pid) - process.thread_cpu_seconds(self.pid, lambda name: name.startswith("CPU "))

    def trouble(self):
        return guest.trouble_in(self.console)

    def end(self):
        if getattr(self, "qmp", None):
            self.qmp.close()
        process.end(self.process)
        self.network.remove_tap(self.host, self._tap)
        if os.path.exists(self.ram_file):
            os.unlink(self.ram_file)
