"""An sshd of our own on host B, with keys that are thrown away: what `godwit send --to ssh://...` starts there."""

import os
import shutil
import time

from . import process
from .network import MIGRATION_ADDRESSES

_SSHD = "/usr/sbin/sshd"
_PORT = 2222  # the namespace is ours alone
_START_SECONDS = 20


class Server:
    def __init__(self, cleanup, place, network, host="b"):
        if not os.path.exists(_SSHD):
            raise RuntimeError("openssh-server is missing; tools/install_dependencies installs it")
        self._address = MIGRATION_ADDRESSES[host]
        self._folder = place.file("ssh")
        os.mkdir(self._folder, 0o700)
        for key in ("host", "user"):
            process.run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", self._file(key))
        if not os.path.exists("/run/sshd"):  # into which sshd locks a part of itself
            os.mkdir("/run/sshd", 0o755)
            cleanup.add(shutil.rmtree, "/run/sshd", True)
        with open(self._file("config"), "w") as config:
            config.write(f"ListenAddress {self._address}:{_PORT}\nHostKey {self._file('host')}\n"
                         f"AuthorizedKeysFile {self._file('user.pub')}\nStrictModes no\nUsePAM {_pam()}\n"
                         "PermitRootLogin prohibit-password\nPidFile none\nPrintMotd no\n")
        with open(self._file("host.pub")) as key, open(self._file("known"), "w") as known:
            known.write(f"[{self._address}]:{_PORT} {key.read()}")
        with open(self._file("log"), "w") as log:
            server = process.start([_SSHD, "-D", "-e", "-f", self._file("config")], network.hosts[host], stderr=log)
        cleanup.add(process.end, server)
        self._await(server)

    def target(self, path):
        """For --to."""
        return f"ssh://root@{self._address}:{_PORT}{path}"

    def client(self):
        """For --rsh: nothing of this machine's own configuration or keys."""
        return (f"ssh -F none -i {self._file('user')} -o IdentitiesOnly=yes -o BatchMode=yes "
                f"-o UserKnownHostsFile={self._file('known')}")

    def _file(self, name):
        return os.path.join(self._folder, name)

    def _await(self, server):
        deadline = time.monotonic() + _START_SECONDS
        while time.monotonic() < deadline and server.poll() is None:
            with open(self._file("log")) as log:
                if "Server listening" in log.read():
                    return
            time.sleep(0.05)
        with open(self._file("log")) as log:
            raise RuntimeError(f"sshd does not start: {log.read().strip()[-500:]}")


def _pam():
    """A root account that is locked, as where only sudo is used, is let in by its key with PAM only."""
    try:
        with open("/etc/shadow") as shadow:
            return "yes" if any(line.startswith("root:!") for line in shadow) else "no"
    except OSError:
        return "no"
