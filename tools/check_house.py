#!/usr/bin/env python3
"""Checks the rules of the house that a compiler does not: who includes whom, words, names, and that headers compile
alone.

  check_house.py [--root ROOT] [--compiler CXX --stamps FOLDER]

The truth about who may include whom are the godwit_folder() lines of ROOT/CMakeLists.txt: a file in src/<folder> may
include only "folder/..." headers of its own folder and of those that the line names. With --compiler, each header of src/
is compiled alone with -fsyntax-only, but for those that the build itself proves, because some .cpp file of src/ includes them
before anything else; FOLDER remembers which have passed as they are, so that only what has changed is compiled. Words
(WORDS) are looked for in comments, texts between quotes and documents of the whole tree (WRITTEN). Prints each finding
as FILE:LINE: WHAT and exits with 1 if there is one.
"""

import argparse
import hashlib
import os
import pathlib
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

FOLDER_LINE = re.compile(r"^\s*godwit_folder\(\s*(\w+)\s*([\w\s]*)\)", re.MULTILINE)
QUOTED_INCLUDE = re.compile(r'^\s*#\s*include\s*"([^"]+)"')
ANGLE_INCLUDE = re.compile(r"^\s*#\s*include\s*<([^>]+)>")
NAMESPACE = re.compile(r"namespace ?([\w:]*) ?{$")
# At the beginning of a line: in a namespace, and in no class or function.
FILE_CONSTANT = re.compile(r"(?:static )?(?:constexpr|const) [\w:<>, *]+? (k[A-Z]\w*)(?:\[\w*\])?\s*[={]")
# Seconds of compile time each; a header that needs the type's name takes json_fwd.hpp.
HEAVY = {"nlohmann/json.hpp"}
FLAGS = ["-std=c++20", "-fsyntax-only", "-Wall", "-Wextra", "-Werror", "-x", "c++", "-"]

# Words that operators and kernel people do not use in this sense, and what they say instead. Only such as can be told by
# their neighbours: "for" in the sense of because, for one, cannot.
WORDS = [(re.compile(pattern, re.IGNORECASE), instead) for pattern, instead in [
    (r"\b(stands?|standing|stood)\b(?! for\b)", '"is paused" of guests, "is stopped" of threads, else "is"'),
    (r"\bmend(s|ed|ing)?\b", '"fix"'),
    (r"\bwill not do\b", '"is not enough" or "is not accepted"'),
    (r"\bin vain\b", '"without success"'),
    (r"(?<!\bthere )\b(is|are) no (?!more\b|longer\b|use\b|need\b|such\b)\w+", '"is not a"'),
    (r"\b(lives|lived)\b", '"is", "runs", "is alive"'),
    (r"\banew\b", '"again"'),
    (r"\bbut for\b", '"except"'),
    (r"\b(ladders?|rungs?)\b", '"codec levels"'),
    (r"\b(lest|whence|thence|hitherto|thereupon|whereupon|naught|aught)\b", "a word of today"),
]]
# Where they are looked for: folders and documents.
WRITTEN = ["CONTRIBUTING.md", "README.md", "docs", "src", "tests", "bench", "fuzz"]
# A comment, a text, or a character, which may be a quote.
PROSE = re.compile(r'//[^\n]*|/\*.*?\*/|R"(\w*)\(.*?\)\1"|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])+\'', re.DOTALL)


def allowed_folders(root):
    """{folder: folders that it may include, itself too}, in the order of CMakeLists.txt."""
    text = re.sub(r"#.*", "", (root / "CMakeLists.txt").read_text())
    return {name: {name, *rest.split()} for name, rest in FOLDER_LINE.findall(text)}


def sources(root):
    return sorted(p for p in (root / "src").rglob("*") if p.suffix in (".h", ".cpp"))


def includes(path, pattern):
    """(line number, what stands between the quotes or brackets) of each include."""
    for number, line in enumerate(path.read_text().splitlines(), 1):
        found = pattern.match(line)
        if found:
            yield number, found.group(1)


def check_includes(root):
    allowed = allowed_folders(root)
    for path in sources(root):
        shown = path.relative_to(root)
        folder = path.relative_to(root / "src").parts[0]
        if folder not in allowed:
            yield f"{shown}:1: src/{folder} has no godwit_folder() line in CMakeLists.txt"
            continue
        for line, name in includes(path, QUOTED_INCLUDE):
            other = name.split("/")[0]
            if "/" not in name or other not in allowed:
                yield f'{shown}:{line}: "{name}" does not begin with a folder of src/'
            elif other not in allowed[folder]:
                may = " ".join(sorted(allowed[folder] - {folder})) or "no other folder"
                yield f'{shown}:{line}: {folder} may not include "{name}" (it may include {may})'
            elif not (root / "src" / name).is_file():
                yield f'{shown}:{line}: there is no "{name}"'
        if path.suffix == ".h":
            if "#pragma once" not in path.read_text().splitlines():
                yield f"{shown}:1: has no #pragma once"
            for line, name in includes(path, ANGLE_INCLUDE):
                if name in HEAVY:
                    yield f"{shown}:{line}: <{name}> belongs into .cpp files only"


def prose(path):
    """(line number, text) of what is written for people."""
    text = path.read_text()
    if path.suffix not in (".h", ".cpp"):
        yield from enumerate(text.splitlines(), 1)
        return
    for found in PROSE.finditer(text):
        first = text.count("\n", 0, found.start()) + 1
        yield from enumerate(found.group().splitlines(), first)


def check_words(root):
    for name in WRITTEN:
        top = root / name
        paths = sorted(p for p in top.rglob("*") if p.suffix in (".h", ".cpp", ".md")) if top.is_dir() else [top]
        for path in paths:
            shown = path.relative_to(root).as_posix()
            if not path.is_file():
                continue
            for line, text in prose(path):
                for pattern, instead in WORDS:
                    for found in pattern.finditer(text):
                        yield f'{shown}:{line}: "{found.group()}": say {instead}'


def check_names(root):
    """Constants of .cpp files: those of a folder are compiled as one file, as a rule."""
    first = {}
    for path in sources(root):
        if path.suffix != ".cpp":
            continue
        shown = path.relative_to(root)
        inside = []
        for line, text in enumerate(path.read_text().splitlines(), 1):
            opened = NAMESPACE.match(text)
            if opened:
                inside.append(opened.group(1))
            elif text.startswith("}  // namespace"):
                inside = inside[:-1]
            found = FILE_CONSTANT.match(text)
            if not found:
                continue
            other = first.setdefault((path.parent, *inside, found.group(1)), shown)
            if other != shown:
                yield f"{shown}:{line}: {other.name} has a {found.group(1)} too, and both are compiled as one file"


def fingerprint(root, header, compiler):
    """Changes when the header, one that it includes (of ours), or the compiler does."""
    digest = hashlib.sha256(repr((compiler, FLAGS)).encode())
    waiting, seen = [header], set()
    while waiting:
        path = waiting.pop()
        if path in seen or not path.is_file():
            continue
        seen.add(path)
        waiting += [root / "src" / name for _, name in includes(path, QUOTED_INCLUDE)]
    for path in sorted(seen):
        digest.update(str(path.relative_to(root)).encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def first_include(path):
    for line in path.read_text().splitlines():
        if ANGLE_INCLUDE.match(line):
            return None
        found = QUOTED_INCLUDE.match(line)
        if found:
            return found.group(1)
    return None


def compile_alone(root, header, compiler):
    name = header.relative_to(root / "src").as_posix()
    result = subprocess.run([compiler, "-I", str(root / "src"), *FLAGS], input=f'#include "{name}"\n',
                            capture_output=True, text=True, check=False)
    return None if result.returncode == 0 else f"src/{name}:1: does not compile alone:\n{result.stderr.rstrip()}"


def check_headers(root, compiler, stamps):
    stamps.mkdir(parents=True, exist_ok=True)

    def check(header):
        stamp = stamps / fingerprint(root, header, compiler)
        if stamp.exists():
            return None
        finding = compile_alone(root, header, compiler)
        if finding is None:
            stamp.touch()
        return finding

    proven = {first_include(p) for p in sources(root) if p.suffix == ".cpp"}
    headers = [p for p in sources(root) if p.suffix == ".h" and p.relative_to(root / "src").as_posix() not in proven]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        yield from filter(None, pool.map(check, headers))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--root", type=pathlib.Path, default=pathlib.Path(__file__).resolve().parent.parent)
    parser.add_argument("--compiler")
    parser.add_argument("--stamps", type=pathlib.Path)
    options = parser.parse_args()
    if (options.compiler is None) != (options.stamps is None):
        parser.error("--compiler and --stamps go together")
    findings = [*check_includes(options.root), *check_words(options.root), *check_names(options.root)]
    if options.compiler:
        findings += check_headers(options.root, options.compiler, options.stamps)
    print("\n".join(findings) if findings else f"{len(sources(options.root))} files keep the rules")
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
