#!/usr/bin/env python3
"""The systemd unit confines `godwit receive --keep` enough, and explains what it leaves open.

  systemd_unit_test.py UNIT
"""
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

MOST_EXPOSURE = 40  # systemd-analyze's "OK 4.0", in tenths


def analyze(unit, *options):
    command = ["systemd-analyze", "security", "--offline=yes", "--no-pager", *options, str(unit)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def unexplained(unit, assessments):
    """Directives that are not fully set and that the unit does not name, as a directive or in its comments."""
    text = unit.read_text()
    open_ones = [each["name"] for each in assessments if each.get("set") is False]
    assert open_ones, "systemd-analyze finds nothing to say: is its output another?"
    named = []
    for name in open_ones:
        # "CapabilityBoundingSet=~CAP_KILL", "RootDirectory=/RootImage="
        directive = re.split(r"[=/]", name)[0]
        if f"{directive}=" not in text:
            named.append(name)
    return named


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    unit = Path(sys.argv[1])
    if shutil.which("systemd-analyze") is None:
        print("skipped: there is no systemd-analyze (package systemd)")
        return
    judged = analyze(unit, f"--threshold={MOST_EXPOSURE}")
    overall = [line for line in judged.stdout.splitlines() if "Overall exposure" in line]
    if not overall and "offline" in judged.stderr:
        print("skipped: this systemd-analyze has no --offline (systemd 250)")
        return
    print(*overall)
    assert overall, judged.stderr
    assert judged.returncode == 0, f"the exposure is above {MOST_EXPOSURE / 10}"
    left = unexplained(unit, json.loads(analyze(unit, "--json=short").stdout))
    assert not left, f"neither set nor explained: {', '.join(left)}"
    # A mistyped directive only warns when systemd reads the unit; the program is not installed here.
    verified = subprocess.run(["systemd-analyze", "verify", str(unit)], capture_output=True, text=True, check=False)
    wrong = [line for line in verified.stderr.splitlines() if unit.name in line and "is not executable" not in line]
    assert not wrong, "\n".join(wrong)


if __name__ == "__main__":
    main()
