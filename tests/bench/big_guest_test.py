#!/usr/bin/env python3
"""What bench/big_guest decides and computes without a guest: what fills it, which pages may differ, the table.

  big_guest_test.py BENCH_FOLDER TOOLS_FOLDER
"""

import sys
import unittest

sys.dont_write_bytecode = True
sys.path[:0] = sys.argv[1:3]

import content  # noqa: E402
import table  # noqa: E402
from course import Leg, why_lost  # noqa: E402
from ram import MEBI, PAGE  # noqa: E402


class Ram:
    """Guest RAM that is a bytearray."""

    def __init__(self, length):
        self.bytes = bytearray(length)

    def write(self, data, offset):
        self.bytes[offset:offset + len(data)] = data


def pages_of(ram):
    return [bytes(ram.bytes[at:at + PAGE]) for at in range(0, len(ram.bytes), PAGE)]


class Content(unittest.TestCase):
    FILES = b"".join(number.to_bytes(4, "little") for number in range(3 * MEBI // 4))

    def filled(self, random_percent, length):
        ram = Ram(20 * MEBI)
        content.fill(ram, 2 * MEBI, length, self.FILES, random_percent, threads=2)
        return ram

    def test_no_two_pages_are_equal_where_files_are_repeated(self):
        pages = pages_of(self.filled(0, 16 * MEBI))[512:-512]
        self.assertEqual(len(set(page[8:] for page in pages)), len(pages))

    def test_nor_where_they_hold_long_runs_of_one_byte(self):
        ram = Ram(8 * MEBI)
        content.fill(ram, 0, 8 * MEBI, b"x" * MEBI, random_percent=20, threads=2)
        self.assertEqual(len(set(pages_of(ram))), 2048)

    def test_each_copy_has_all_bytes_of_the_files(self):
        ram = self.filled(0, 6 * MEBI)
        for begin, wanted in (2 * MEBI, self.FILES), (5 * MEBI, self.FILES[977:] + self.FILES[:977]):
            for at in range(0, 3 * MEBI, PAGE):  # a page's first bytes are its number
                self.assertTrue(ram.bytes[begin + at + 8:begin + at + PAGE] == wanted[at + 8:at + PAGE])

    def test_fills_what_it_is_told_to_and_no_more(self):
        ram = self.filled(50, 15 * MEBI + 3 * PAGE)
        empty = [number for number, page in enumerate(pages_of(ram)) if not any(page)]
        self.assertEqual(empty, [*range(512), *range(17 * 256 + 3, 20 * 256)])

    def test_as_many_pieces_are_random_as_wanted(self):
        for percent in (0, 20, 75, 100):
            pages = pages_of(self.filled(percent, 16 * MEBI))[512:-512]
            # A page of the files has small numbers only: every fourth byte is zero.
            pieces = [pages[at] for at in range(0, len(pages), 256)]
            random = sum(page.count(0) < PAGE // 8 for page in pieces)
            self.assertEqual(random, 16 * percent // 100)

    def test_of_files_gives_different_pages_and_none_that_is_empty(self):
        pages = pages_of_bytes(content.of_files(4 * MEBI))
        self.assertEqual(len(pages), 1024)
        self.assertEqual(len(set(pages)), 1024)
        self.assertNotIn(bytes(PAGE), pages)


def pages_of_bytes(data):
    return [data[at:at + PAGE] for at in range(0, len(data), PAGE)]


class WhyLost(unittest.TestCase):
    def test_pages_that_the_guest_wrote_since_may_differ(self):
        self.assertEqual(why_lost([], 100, 0), "")
        self.assertEqual(why_lost([5, 6, 7], 100, 3), "")
        self.assertEqual(why_lost([0, 1, 98, 99], 100, 4), "")  # round the end
        self.assertEqual(why_lost([5, 6, 7], 100, 2), "")  # one that it had not counted when it was paused
        self.assertEqual(why_lost([5, 6], 100, 3), "")  # one that it had not counted at the source
        self.assertEqual(why_lost(list(range(100)), 100, 250), "")

    def test_others_may_not(self):
        self.assertIn("does not write", why_lost([100], 100, 1))
        self.assertIn("does not write", why_lost([5, 6, 200], 100, 3))
        self.assertIn("does not write", why_lost([*range(100), 200], 100, 250))
        self.assertIn("has written 0", why_lost([5, 6], 100, 0))
        self.assertIn("has written 3", why_lost([5, 6, 7, 8, 9], 100, 3))
        self.assertIn("has written 9", why_lost([5, 6, 7], 100, 9))
        self.assertIn("elsewhere", why_lost([5, 6, 20], 100, 3))
        self.assertIn("elsewhere", why_lost([0, 1, 50, 99], 100, 4))
        self.assertIn("elsewhere", why_lost([0, 1, 97, 98], 100, 4))


class Table(unittest.TestCase):
    @staticmethod
    def leg(contender, total, error="", link="10gbit"):
        leg = Leg(link, 2, 1, contender, error)
        if not error:
            leg.total_s, leg.pause_ms, leg.wire_mb, leg.data_mb, leg.written_per_s = total, 10.0, 100.0, 400.0, 5
            leg.engine_cpu_source_s = leg.engine_cpu_destination_s = 0.0
            leg.qemu_cpu_source_s, leg.qemu_cpu_destination_s = 1.0, 1.0
        return leg.as_row()

    def row(self, legs, contender):
        lines = table.render(legs, {}).splitlines()
        return next([cell.strip() for cell in line.split("|")] for line in lines if line.startswith(f"| {contender} "))

    def test_medians_spread_and_ratios(self):
        legs = [self.leg("qemu-multifd", each) for each in (4.0, 2.0, 3.0)]
        legs += [self.leg("godwit", each) for each in (1.0, 2.0, 1.5)]
        self.assertEqual(self.row(legs, "godwit")[2:4], ["3 of 3", "1.50 (1.00 to 2.00) / 0.50"])
        self.assertIn("200 (200 to 200) / 1.00", self.row(legs, "godwit"))

    def test_a_wrong_leg_is_an_error_and_not_a_figure(self):
        legs = [self.leg("godwit", 1.0), self.leg("godwit", 0.0, "8 pages differ")]
        self.assertEqual(self.row(legs, "godwit")[2:4], ["1 of 2", "1.00"])
        self.assertIn("- round 1, godwit: 8 pages differ", table.render(legs, {}))

    def test_a_contender_without_a_right_leg_has_no_figures(self):
        self.assertEqual(self.row([self.leg("godwit", 0.0, "lost")], "godwit")[2:4], ["0 of 1", "–"])

    def test_each_link_is_compared_with_its_own_baseline(self):
        legs = [self.leg("qemu-multifd", 4.0), self.leg("godwit", 2.0), self.leg("qemu-multifd", 1.0, link="unshaped")]
        self.assertEqual(self.row(legs, "godwit")[3], "2.00 / 0.50")


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
