#!/usr/bin/env python3
"""What bench/versus_qemu decides and computes without a guest: who takes part, and TLS beside plain.

  versus_qemu_test.py BENCH_FOLDER TOOLS_FOLDER
"""

import os
import stat
import sys
import tempfile
import unittest

sys.dont_write_bytecode = True
sys.path[:0] = sys.argv[1:3]

import contenders  # noqa: E402
import table  # noqa: E402
from testbed.migrations import SharedKey  # noqa: E402


def leg(contender, total, cpu=1.0, error="", link="1gbit"):
    return {"qemu": "10.0.0", "link": link, "load": "idle", "round": 1, "contender": contender, "error": error,
            "total_s": total, "pause_ms": 1.0, "gap_ms": 2.0, "wire_mb": 100.0, "cpu_source_s": cpu,
            "cpu_destination_s": cpu, "memory_mb": 1.0, "writer_share": 1.0}


class Contenders(unittest.TestCase):
    def test_tls_is_beside_the_same_in_the_clear(self):
        for name in ("godwit-tls", "godwit-psk", "qemu-multifd-zstd-psk"):
            self.assertTrue(contenders.is_encrypted(name))
            self.assertFalse(contenders.is_qemu(name))
        self.assertEqual(contenders.in_the_clear("qemu-multifd-zstd-psk"), "qemu-multifd-zstd")
        self.assertEqual(contenders.in_the_clear("godwit"), "godwit")
        self.assertTrue(contenders.is_qemu("qemu-multifd"))

    def test_none_with_tls_takes_part_unless_it_is_named(self):
        everyone = [each.name for each in contenders.make([], "godwit", "report", 300)]
        self.assertFalse([name for name in everyone if contenders.is_encrypted(name)])

    def test_a_key_is_made_for_those_that_use_one(self):
        with tempfile.TemporaryDirectory() as folder:
            made = contenders.make(["qemu-multifd", "godwit-psk"], "godwit", "report", 300, keys_folder=folder)
            self.assertEqual([each.name for each in made], ["qemu-multifd", "godwit-psk"])
            self.assertEqual(os.listdir(folder), ["psk"])

    def test_a_key_is_written_as_qemu_reads_it(self):
        with tempfile.TemporaryDirectory() as folder:
            key = SharedKey(os.path.join(folder, "psk"))
            [_, file] = key.godwit_options("a")
            self.assertEqual(os.path.basename(file), "keys.psk")
            self.assertEqual(key.qemu_properties("a")["dir"], os.path.dirname(file))
            self.assertEqual(stat.S_IMODE(os.stat(file).st_mode), 0o600)
            with open(file) as text:
                self.assertRegex(text.read(), r"^qemu:[0-9a-f]{64}\n$")


class Table(unittest.TestCase):
    def test_sets_tls_beside_plain(self):
        legs = [leg("godwit", 2.0), leg("godwit", 2.2), leg("godwit-psk", 2.4, cpu=1.5), leg("godwit-psk", 2.6, cpu=1.5)]
        text = table.render(legs, {})
        self.assertIn("| 10.0.0 | 1gbit | idle | godwit-psk | 2.50 / 2.10 = 1.19 (×1.10) | 3.00 / 2.00 = 1.50 (×1.00) |",
                      text)

    def test_has_no_such_table_without_both(self):
        for legs in ([leg("godwit", 2.0)], [leg("godwit-psk", 2.0)],
                     [leg("godwit", 2.0, error="lost"), leg("godwit-psk", 2.0)]):
            self.assertNotIn("TLS beside plain", table.render(legs, {}))


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
