"""What the bare-metal guest says of itself (tests/guests/bare_metal/status.h), read through QEMU's monitor."""

import re

STATUS_AT = 0x200000
MAGIC, RUNNING = 0x54574447, 2
CPUS_AT, CPU_WORDS, CPUS = 16, 16, 8  # in words
PASSES, PAGES_WRITTEN, ERRORS = 1, 2, 4


def words(vm, count):
    text = vm.qmp.command("human-monitor-command", **{"command-line": f"xp /{count}wx {STATUS_AT:#x}"})
    return [int(word, 16) for line in text.splitlines() for word in re.findall(r"0x[0-9a-f]{8}\b", line.split(":", 1)[1])]


def of_cpus(status, counter):
    """This counter of each CPU."""
    return [status[CPUS_AT + cpu * CPU_WORDS + counter] for cpu in range(CPUS)]


def runs(status):
    return status[0] == MAGIC and status[2] == RUNNING
