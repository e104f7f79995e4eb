"""This machine: what a guest may have of it, and what is worth knowing before its figures are read."""

import mmap
import os
import platform
import time

from ram import MEBI

_MOST_LANES = 8
_TOUCHED = 512 * MEBI


def cpus():
    """Those that we may use, also where a control group allows less than the machine has."""
    allowed = len(os.sched_getaffinity(0))
    for path in ("/sys/fs/cgroup/cpu.max", "/sys/fs/cgroup/cpu/cpu.cfs_quota_us"):
        words = _words(path)
        if words and words[0].isdigit():
            period = words[1] if len(words) > 1 else (_words("/sys/fs/cgroup/cpu/cpu.cfs_period_us") or ["100000"])[0]
            allowed = min(allowed, max(1, int(words[0]) // int(period)))
    return allowed


def lanes():
    return min(cpus(), _MOST_LANES)


def memory_for_a_guest():
    """MiB. Two of them fit, the files' content besides, and a rest for the machine."""
    total, available = (_from_meminfo(name) for name in ("MemTotal", "MemAvailable"))
    for path in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        words = _words(path)
        if words and words[0].isdigit():
            total = min(total, int(words[0]))
    return min(total // 3, available * 2 // 5) // (256 * MEBI) * 256


def facts():
    with open("/proc/cpuinfo") as info:
        model = next((line.split(":", 1)[1].strip() for line in info if line.startswith("model name")), "unknown")
    huge = " ".join(_words("/sys/kernel/mm/transparent_hugepage/enabled") or ["unknown"])
    return {
        "machine": f"{model}, {cpus()} CPUs, {_from_meminfo('MemTotal') >> 30} GiB, Linux {platform.release()}; both "
                   f"hosts and the guest share it; transparent huge pages: {huge}",
        "first touch of a page": _first_touch(),
        "load average": f"{os.getloadavg()[0]:.1f}",
    }


def _first_touch():
    """Where the machine is a guest itself, its host may back memory only now: it differs much, and all moves pay it."""
    pages = _TOUCHED // mmap.PAGESIZE
    began = time.perf_counter()
    memory = os.memfd_create("godwit-touch")
    os.posix_fallocate(memory, 0, _TOUCHED)
    shared = time.perf_counter() - began
    os.close(memory)
    began = time.perf_counter()
    mmap.mmap(-1, _TOUCHED, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | mmap.MAP_POPULATE).close()
    private = time.perf_counter() - began
    return f"{shared * 1e6 / pages:.2f} µs in a file in memory, {private * 1e6 / pages:.2f} µs in private memory"


def _from_meminfo(name):
    with open("/proc/meminfo") as info:
        return next(int(line.split()[1]) * 1024 for line in info if line.startswith(name + ":"))


def _words(path):
    try:
        with open(path) as file:
            return file.read().split()
    except OSError:
        return None
