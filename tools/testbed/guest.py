"""The Linux test guest (tests/guests/linux): its files, its configuration, and its answers."""

import hashlib
import os
import re
import subprocess

from .network import GUEST_ADDRESS, connect_from

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.path.join(ROOT, "build", "guest")
PORT = 7777

# Where real files come from. Any Debian that can build Godwit has well over a gigabyte here.
_CONTENT_FOLDERS = ("/usr/bin", "/usr/lib", "/usr/share")
_LARGEST_FILE = 32 << 20  # one huge library must not be all of the content
_PAGE = 4096

# What a Linux kernel prints when something is badly wrong.
_TROUBLE = re.compile(r"BUG:|Oops|Call Trace|Kernel panic|GODWIT-GUEST ERROR|soft lockup|rcu_.* detected stalls")


class Files:
    """Kernel, initramfs and content disk, made where they are missing. `redis` puts a redis-server into the initramfs."""

    def __init__(self, content_mebibytes, redis=False):
        kernel = subprocess.run([os.path.join(ROOT, "tools/fetch_guest_kernel")], check=True, text=True,
                                stdout=subprocess.PIPE).stdout.strip()
        self.kernel = os.path.join(kernel, "vmlinuz")
        made_of = [kernel, os.path.join(BUILD, "initramfs-redis" if redis else "initramfs")]
        self.initramfs = made_of[1]
        if redis:
            made_of.append(subprocess.run([os.path.join(ROOT, "tests/guests/linux/fetch_redis")], check=True, text=True,
                                          stdout=subprocess.PIPE).stdout.strip())
        subprocess.run([os.path.join(ROOT, "tests/guests/linux/build_initramfs"), *made_of], check=True)
        self.content = os.path.join(BUILD, f"content-{content_mebibytes}.img")
        if not os.path.exists(self.content):
            _write_content(self.content, content_mebibytes << 20)


class Config:
    """What a guest holds and does; sizes in MiB, rates in pages per second (redis: keys). `redis` needs Files with it."""

    def __init__(self, memory=1024, content=192, random=48, freed=128, area=64, load="inplace", rate=2000, check=16,
                 cpus=2, redis=0):
        self.memory, self.content, self.random, self.freed, self.area = memory, content, random, freed, area
        self.load, self.rate, self.check, self.cpus, self.redis = load, rate, check, cpus, redis

    def kernel_command_line(self):
        words = {"ip": f"{GUEST_ADDRESS}/24", "port": PORT, "content": self.content, "random": self.random,
                 "freed": self.freed, "area": self.area, "load": self.load, "rate": self.rate, "check": self.check,
                 "redis": self.redis}
        return "console=ttyS0 panic=-1 " + " ".join(f"godwit.{name}={value}" for name, value in words.items())


class Answer(dict):
    """A line of the guest's, as name -> text; numbers by number()."""

    def __init__(self, line):
        if not line.startswith("ok "):
            raise RuntimeError(f"the guest says: {line.strip() or 'nothing'}")
        super().__init__(word.split("=", 1) for word in line.split()[1:])

    def number(self, name):
        return int(self[name])


def ask(network, line, timeout=120):
    """One question on a connection of its own, from the switch."""
    with connect_from(network.switch, (GUEST_ADDRESS, PORT), timeout) as connection:
        connection.sendall(line.encode() + b"\n")
        return Answer(connection.makefile().readline())


def trouble_in(log):
    """Lines of a guest's console that should not be there."""
    try:
        with open(log, errors="replace") as lines:
            return [line.strip() for line in lines if _TROUBLE.search(line)]
    except FileNotFoundError:
        return []


def _write_content(path, wanted):
    """Real files one after another, each from a page boundary, as a page cache would hold them; always the same order."""
    paths = [os.path.join(folder, name) for top in _CONTENT_FOLDERS for folder, _, names in os.walk(top)
             for name in names]
    paths.sort(key=lambda each: hashlib.md5(each.encode()).digest())  # mixes programs, libraries, texts, pictures
    os.makedirs(os.path.dirname(path), exist_ok=True)
    written = 0
    with open(path + ".new", "wb") as out:
        while written < wanted:
            before = written
            for each in paths:
                if written == wanted:
                    break
                if os.path.isfile(each) and not os.path.islink(each) and os.access(each, os.R_OK):
                    with open(each, "rb") as source:
                        data = source.read(min(_LARGEST_FILE, wanted - written))
                    data += bytes(-len(data) % _PAGE)
                    written += out.write(data)
            if written == before:
                raise RuntimeError("found no files to make a content disk of")
    os.rename(path + ".new", path)
