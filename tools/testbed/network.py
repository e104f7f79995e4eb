"""The namespaces, bridges and links of the test bed (drawn in __init__.py)."""

import ctypes
import json
import os
import re
import socket
import threading
import time

from .process import run

GUEST_ADDRESS = "10.77.0.2"
CLIENT_ADDRESS = "10.77.0.1"
MIGRATION_ADDRESSES = {"a": "10.78.0.1", "b": "10.78.0.2"}

_NAME = re.compile(r"^godwit-(\d+)-(a|b|switch)$")

_CLONE_NEWNET = 0x40000000

_POUR_BYTES = 1 << 20


class Network:
    def __init__(self, cleanup, rate=None, guests=True):
        """`rate` is the migration link's, in tc's words ("1gbit"); None leaves it unshaped. Without `guests` there is no
        switch, and guests have no network: a machine that lacks bridges or TAP devices can have that."""
        _remove_stale()
        self._cleanup = cleanup
        self.hosts = {name: self._namespace(name) for name in ("a", "b")}
        if guests:
            self._make_switch()
        a, b = self.hosts["a"], self.hosts["b"]
        _ip(a, "link", "add", "wire", "type", "veth", "peer", "name", "wire", "netns", b)
        for name, namespace in self.hosts.items():
            _ip(namespace, "address", "add", f"{MIGRATION_ADDRESSES[name]}/24", "dev", "wire")
            _ip(namespace, "link", "set", "wire", "up")
        self.shape(rate)

    def _make_switch(self):
        self.switch = self._namespace("switch")
        self._bridge(self.switch)
        _ip(self.switch, "address", "add", f"{CLIENT_ADDRESS}/24", "dev", "bridge")
        for name, namespace in self.hosts.items():
            self._bridge(namespace)
            trunk = f"trunk-{name}"
            _ip(self.switch, "link", "add", trunk, "type", "veth", "peer", "name", "trunk", "netns", namespace)
            for space, device in ((self.switch, trunk), (namespace, "trunk")):
                _ip(space, "link", "set", device, "master", "bridge", "up")

    def shape(self, rate):
        """Limits the migration link, both ways, or lifts the limit (None)."""
        for namespace in self.hosts.values():
            if rate is None:
                _quietly(run, "tc", "-n", namespace, "qdisc", "del", "dev", "wire", "root")
            else:
                burst = "4mb" if rate.startswith("10g") else "512kb"  # less is not enough for 10 Gbit/s
                run("tc", "-n", namespace, "qdisc", "replace", "dev", "wire", "root", "tbf",
                    "rate", rate, "burst", burst, "latency", "20ms")

    def tap(self, host, name):
        """A new TAP device for a guest, on the host's bridge."""
        namespace = self.hosts[host]
        _ip(namespace, "tuntap", "add", name, "mode", "tap")
        _ip(namespace, "link", "set", name, "master", "bridge", "up")

    def remove_tap(self, host, name):
        _quietly(_ip, self.hosts[host], "link", "del", name)

    def bytes_on_link(self):
        """Bytes that went over the migration link so far, both ways."""
        [link] = json.loads(_ip(self.hosts["a"], "-s", "-j", "link", "show", "dev", "wire"))
        return link["stats64"]["tx"]["bytes"] + link["stats64"]["rx"]["bytes"]

    def throughput(self, seconds=2.0):
        """What one plain TCP connection carries over the migration link, in bits per second."""
        listener = _in_namespace(self.hosts["b"], lambda: socket.create_server((MIGRATION_ADDRESSES["b"], 0)))
        sender = connect_from(self.hosts["a"], listener.getsockname(), 10)
        receiver, _ = listener.accept()
        thread = threading.Thread(target=_pour, args=(sender, seconds))
        thread.start()
        buffer, count, first, last = bytearray(_POUR_BYTES), 0, None, None
        while got := receiver.recv_into(buffer):
            last = time.monotonic()
            if first is None:
                first = last  # what came with it came before the clock ran
            else:
                count += got
        thread.join()
        for each in (listener, receiver, sender):
            each.close()
        return count * 8 / (last - first)

    def _namespace(self, name):
        full = f"godwit-{os.getpid()}-{name}"
        run("ip", "netns", "add", full)
        self._cleanup.add(_quietly, run, "ip", "netns", "del", full)
        _ip(full, "link", "set", "lo", "up")
        return full

    @staticmethod
    def _bridge(namespace):
        _ip(namespace, "link", "add", "name", "bridge", "type", "bridge", "forward_delay", "0", "stp_state", "0")
        _ip(namespace, "link", "set", "bridge", "up")


def connect_from(namespace, address, timeout):
    """A TCP connection that begins in a namespace. A socket stays in the namespace in which it was made."""
    made = _in_namespace(namespace, lambda: socket.socket(socket.AF_INET, socket.SOCK_STREAM))
    made.settimeout(timeout)
    made.connect(address)
    return made


def _in_namespace(namespace, call):
    """What a call gives in a network namespace."""
    made = []

    def make():
        with open(f"/run/netns/{namespace}") as space:
            if ctypes.CDLL(None, use_errno=True).setns(space.fileno(), _CLONE_NEWNET) == 0:
                made.append(call())

    thread = threading.Thread(target=make)  # one that ends with its namespace
    thread.start()
    thread.join()
    if not made:
        raise RuntimeError(f"cannot enter the network namespace {namespace}")
    return made[0]


def _pour(connection, seconds):
    """Sends as fast as the connection takes it, then ends the stream."""
    block = bytes(_POUR_BYTES)
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        connection.sendall(block)
    connection.shutdown(socket.SHUT_WR)


def _ip(namespace, *arguments):
    return run("ip", "-n", namespace, *arguments)


def _quietly(call, *arguments):
    try:
        call(*arguments)
    except RuntimeError:
        pass


def _remove_stale():
    """Removes what a run left behind that was killed: its pid is in the names."""
    for line in run("ip", "netns", "list").splitlines():
        name = line.split()[0] if line.split() else ""
        found = _NAME.match(name)
        if found and not os.path.exists(f"/proc/{found.group(1)}"):
            _quietly(run, "ip", "netns", "del", name)
