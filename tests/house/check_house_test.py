#!/usr/bin/env python3
"""Small trees that break one rule each, to see that tools/check_house.py finds it.

  check_house_test.py CHECKER COMPILER
"""

import pathlib
import subprocess
import sys
import tempfile
import unittest

CHECKER, COMPILER = sys.argv[1:3]

CMAKE = """
# godwit_folder(dream base)
godwit_folder(base)
godwit_folder(net base)
godwit_folder(wire base net)
"""


class CheckHouse(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory(prefix="godwit-house-")
        self.addCleanup(self.folder.cleanup)
        self.root = pathlib.Path(self.folder.name)
        self.write("CMakeLists.txt", CMAKE)
        self.write("src/base/a.h", "#pragma once\nstruct A {};\n")
        self.write("src/net/n.h", '#pragma once\n#include <cstdint>\n#include "base/a.h"\nstruct N { A a; };\n')
        self.write("src/wire/w.cpp", '#include <cstdint>\n#include "base/a.h"\n#include "net/n.h"\n#include <nlohmann/json.hpp>\n')

    def write(self, name, text):
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def run_checker(self, compile_headers=False):
        command = [sys.executable, CHECKER, "--root", str(self.root)]
        if compile_headers:
            command += ["--compiler", COMPILER, "--stamps", str(self.root / "stamps")]
        result = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
        return result.returncode, result.stdout

    def expect_finding(self, *parts, compile_headers=False):
        code, output = self.run_checker(compile_headers)
        self.assertEqual(code, 1, output)
        for part in parts:
            self.assertIn(part, output)

    def test_a_good_tree_passes(self):
        for _ in range(2):  # the second time from the stamps
            code, output = self.run_checker(compile_headers=True)
            self.assertEqual(code, 0, output)
        self.assertEqual(len(list((self.root / "stamps").iterdir())), 2)

    def test_words(self):
        for text, instead in [
            ("// While the guest stands, nothing changes.", "is paused"),
            ('const char* a = "it stood there";', "is paused"),
            ("/* First line.\n Then mend it. */", '"fix"'),
            ("int a;  ///< tried in vain", "without success"),
            ('fail("99999 is no port");', '"is not a"'),
            ("// The file that the class lives in.", "is alive"),
            ("// Begins ANEW.", '"again"'),
            ("// This will not do.", "is not enough"),
            ("// The next rung.", "codec level"),
            ("// All, but for one.", "except"),
        ]:
            self.write("src/base/words.cpp", "\n" + text + "\n")
            self.expect_finding(f"src/base/words.cpp:{3 if 'mend' in text else 2}: ", "say ", instead)

    def test_words_that_are_left_alone(self):
        self.write("src/base/words.cpp", "struct Vm { bool stands(); int lived; };\nchar quote = '\"';\nint mend = 0;\n"
                   "// EFAULT stands for SIGBUS; there is no port; it is no longer so; he lives_on.\n")
        code, output = self.run_checker()
        self.assertEqual(code, 0, output)

    def test_words_of_every_folder(self):
        for folder in ("src/wire", "tests/support", "bench/scan", "fuzz", "docs"):
            path = f"{folder}/words.{'md' if folder == 'docs' else 'cpp'}"
            self.write(path, "// The guest stands.\n")
            self.expect_finding(f"{path}:1: ", "is paused")
            (self.root / path).unlink()

    def test_words_of_documents(self):
        self.write("CONTRIBUTING.md", "# Title\n\nBegin anew.\n")
        self.expect_finding('CONTRIBUTING.md:3: "anew"')

    def test_a_name_that_another_file_of_the_folder_has(self):
        self.write("src/net/n.cpp", "namespace godwit {\nnamespace {\nconstexpr int kMost = 1;\n}  // namespace\n")
        self.write("src/net/o.cpp", "namespace godwit {\nnamespace {\nconstexpr double kMost = 2;\n}  // namespace\n")
        self.expect_finding("src/net/o.cpp:3: n.cpp has a kMost too")

    def test_names_of_other_folders_and_namespaces(self):
        self.write("src/net/n.cpp", "namespace godwit {\nnamespace {\nconstexpr int kMost = 1;\n}  // namespace\n")
        self.write("src/net/o.cpp", "namespace godwit {\nnamespace field {\nconstexpr int kMost = 2;\n}  // namespace\n")
        self.write("src/base/n.cpp", "namespace godwit {\nnamespace {\nconstexpr int kMost = 3;\n}  // namespace\n")
        code, output = self.run_checker()
        self.assertEqual(code, 0, output)

    def test_an_include_upwards(self):
        self.write("src/net/n.cpp", '\n#include "wire/w.h"\n')
        self.expect_finding("src/net/n.cpp:2:", "net may not include", "it may include base")

    def test_an_include_of_a_folder_that_is_none(self):
        self.write("src/net/n.cpp", '#include "n.h"\n')
        self.expect_finding("src/net/n.cpp:1:", "does not begin with a folder")
        self.write("src/net/n.cpp", '#include "../base/a.h"\n')
        self.expect_finding("src/net/n.cpp:1:", "does not begin with a folder")

    def test_an_include_of_nothing(self):
        self.write("src/net/n.cpp", '#include "base/nothing.h"\n')
        self.expect_finding('there is no "base/nothing.h"')

    def test_a_folder_that_cmake_does_not_know(self):
        self.write("src/dream/d.cpp", "")
        self.expect_finding("src/dream has no godwit_folder() line")

    def test_a_heavy_header_in_a_header(self):
        self.write("src/net/n.h", "#pragma once\n#include <nlohmann/json.hpp>\n")
        self.expect_finding("src/net/n.h:2:", "belongs into .cpp files only")

    def test_a_header_that_needs_another(self):
        self.write("src/wire/w.h", "#pragma once\nstruct W { A a; };\n")
        self.expect_finding("src/wire/w.h:1: does not compile alone", compile_headers=True)

    def test_a_header_without_a_guard(self):
        self.write("src/wire/w.h", "struct W {};\n")
        self.expect_finding("src/wire/w.h:1: has no #pragma once")

    def test_a_header_that_the_build_compiles_alone_is_left_to_it(self):
        self.write("src/wire/v.h", "#pragma once\nstruct V { A a; };\n")
        self.write("src/wire/v.cpp", '#include "wire/v.h"\n')
        code, output = self.run_checker(compile_headers=True)
        self.assertEqual(code, 0, output)
        self.write("src/wire/v.cpp", '#include "base/a.h"\n#include "wire/v.h"\n')
        self.expect_finding("src/wire/v.h:1: does not compile alone", compile_headers=True)

    def test_a_change_below_is_noticed(self):
        self.assertEqual(self.run_checker(compile_headers=True)[0], 0)
        self.write("src/base/a.h", "#pragma once\nstruct B {};\n")
        self.expect_finding("src/net/n.h:1: does not compile alone", compile_headers=True)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
