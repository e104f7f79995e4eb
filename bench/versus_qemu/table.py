"""The results as Markdown: Godwit against the best of QEMU's modes; then medians, their spread, and ratios."""

from statistics import median

from contenders import BASELINE, OURS, OURS_RAW, QEMU_COMPRESSED, in_the_clear, is_encrypted, is_hinted, is_qemu


def _cpu(leg):
    return leg["cpu_source_s"] + leg["cpu_destination_s"]


def _seconds(leg):
    return leg["total_s"]


def _megabytes(leg):
    return leg["wire_mb"]


def _writer(leg):
    return leg["writer_share"]


_COLUMNS = (  # heading, the leg's value, digits, whether a ratio to the baseline follows
    ("total s", _seconds, 2, True),
    ("pause ms", lambda leg: leg["pause_ms"], 1, True),
    ("gap ms", lambda leg: leg["gap_ms"], 0, True),
    ("wire MB", _megabytes, 0, True),
    ("CPU s, both sides", _cpu, 2, True),
    ("memory MB", lambda leg: leg["memory_mb"], 0, False),
    ("writer", _writer, 2, False),
)

_LEGEND = """\
A cell is the median over the rounds; in brackets the largest value over the smallest, then after the slash the ratio of
the medians to `qemu`, QEMU's own plain migration. Rows count only where the guest found all of its memory right and the
client's connection survived. pause: STOP at the source to RESUME at the destination. gap: the client's longest wait for
an answer round the switchover. wire: counted at the link, both ways. CPU: QEMU without its vCPUs, and the engine.
memory: anonymous memory that the migration added, the larger side. writer: pages the guest rewrote (redis: keys it set)
while it was moved, of those it was to write. `-hint`: the guest's balloon tells QEMU of free pages (free-page-hint=on),
which most guests do not have; for all others the guest has no balloon driver bound in such a run, because with it QEMU
uses hints in all modes. The first table sets `godwit`, with its default options, against the best of QEMU's modes without
hints, and in brackets with them: ratios of medians, the best taken for each figure apart, bytes also against the mode
that is the fastest, and time also against Godwit without compression. The guests run under TCG, where QEMU 7.2's own
migration now and then loses a page (not seen with 10.0, nor with Godwit on either): such a leg is an error here, and
says nothing about KVM.
"""

_TLS_LEGEND = """\
Medians with TLS / in the clear = their ratio; in brackets the larger of the two spreads, largest over smallest: a ratio
within it says nothing. `-tls`: certificates both ways; `-psk`: a key that both sides have.
"""


def render(legs, environment):
    out = ["# Godwit and QEMU's own migration\n"]
    out += [f"- {name}: {value}" for name, value in environment.items()]
    out += ["", _LEGEND]

    def legs_of(course):
        return [leg for leg in legs if (leg["qemu"], leg["link"], leg["load"]) == course]

    courses = list(dict.fromkeys((leg["qemu"], leg["link"], leg["load"]) for leg in legs))
    for qemu in dict.fromkeys(course[0] for course in courses):
        out += [f"## QEMU {qemu}: Godwit to the best of its modes\n",
                *_summary([course for course in courses if course[0] == qemu], legs_of), ""]
    compared = [(course, row) for course in courses for row in _encrypted_beside_plain(legs_of(course))]
    if compared:
        out += ["## TLS beside plain\n", _TLS_LEGEND, *_tls_table(compared), ""]
    for course in courses:
        out.append(f"## QEMU {course[0]}, link {course[1]}, guest {course[2]}\n")
        out += _table(legs_of(course)) + [""] + _errors(legs_of(course))
    return "\n".join(out)


def _table(rows):
    names = list(dict.fromkeys(leg["contender"] for leg in rows))
    good = {name: [leg for leg in rows if leg["contender"] == name and not leg["error"]] for name in names}
    count = {name: sum(leg["contender"] == name for leg in rows) for name in names}
    out = ["| contender | verified | " + " | ".join(column[0] for column in _COLUMNS) + " |",
           "|---|---|" + "---|" * len(_COLUMNS)]
    for name in names:
        cells = [_cell(good[name], good.get(BASELINE, []), *column[1:]) for column in _COLUMNS]
        out.append(f"| {name} | {len(good[name])} of {count[name]} | " + " | ".join(cells) + " |")
    return out


def _cell(legs, baseline, value, digits, with_ratio):
    values = [each for each in map(value, legs) if each is not None]
    if not values:
        return "–"
    text = f"{median(values):.{digits}f}"
    if len(values) > 1 and min(values) > 0:
        text += f" (×{max(values) / min(values):.2f})"
    base = [each for each in map(value, baseline) if each is not None]
    if with_ratio and base and median(base) > 0:
        text += f" / {median(values) / median(base):.2f}"
    return text


def _against_the_best(rows):
    """Ratios of medians by name, each a text; empty without verified legs of `godwit` and of QEMU."""
    good = [leg for leg in rows if not leg["error"]]
    names = {leg["contender"] for leg in good}
    modes = [name for name in names if is_qemu(name)]
    if OURS not in names or not modes:
        return {}

    def of(name, value):
        values = [each for each in (value(leg) for leg in good if leg["contender"] == name) if each is not None]
        return median(values) if values else None

    def least(value, such):
        return min(of(name, value) for name in names if such(name))

    def ratio(value):
        text = f"{of(OURS, value) / least(value, is_qemu):.2f}"
        if any(map(is_hinted, names)):
            text += f" ({of(OURS, value) / least(value, lambda name: is_qemu(name) or is_hinted(name)):.2f})"
        return text

    fastest = min(modes, key=lambda name: of(name, _seconds))
    compressed = of(QEMU_COMPRESSED, _cpu) if QEMU_COMPRESSED in names else None
    shares = [share for share in (of(name, _writer) for name in modes) if share is not None]
    out = {"time": ratio(_seconds), "bytes": ratio(_megabytes),
           "bytes to the fastest mode": f"{of(OURS, _megabytes) / of(fastest, _megabytes):.2f} ({fastest})",
           "CPU to the cheapest mode": ratio(_cpu),
           "CPU to multifd-zstd": f"{of(OURS, _cpu) / compressed:.2f}" if compressed else "–",
           "writer, Godwit / best of QEMU": f"{of(OURS, _writer):.2f} / {max(shares):.2f}" if shares else "–"}
    if OURS_RAW in names:
        out["time to raw"] = f"{of(OURS, _seconds) / of(OURS_RAW, _seconds):.2f}"
    return out


def _summary(courses, legs_of):
    """A row for each course that has both Godwit and a mode of QEMU's."""
    rows = [(course, ratios) for course in courses if (ratios := _against_the_best(legs_of(course)))]
    columns = list(dict.fromkeys(name for _, ratios in rows for name in ratios))
    out = ["| link | load | " + " | ".join(columns) + " |", "|---|---|" + "---|" * len(columns)] if rows else []
    return out + [f"| {link} | {load} | " + " | ".join(ratios.get(name, "–") for name in columns) + " |"
                  for (_, link, load), ratios in rows]


def _encrypted_beside_plain(rows):
    """For each contender with TLS that has verified legs, and has them in the clear: its name, and a cell for time, CPU
    and bytes each."""
    good = {}
    for leg in rows:
        if not leg["error"]:
            good.setdefault(leg["contender"], []).append(leg)

    def cell(name, value):
        encrypted, plain = ([value(leg) for leg in good[each]] for each in (name, in_the_clear(name)))
        spread = max(max(values) / min(values) if min(values) > 0 else 1 for values in (encrypted, plain))
        return f"{median(encrypted):.2f} / {median(plain):.2f} = {median(encrypted) / median(plain):.2f} (×{spread:.2f})"

    return [(name, *(cell(name, value) for value in (_seconds, _cpu, _megabytes)))
            for name in good if is_encrypted(name) and in_the_clear(name) in good]


def _tls_table(compared):
    return ["| QEMU | link | load | contender | time s | CPU s, both sides | wire MB |", "|---|---|---|---|---|---|---|",
            *("| " + " | ".join((*course, *row)) + " |" for course, row in compared)]


def _errors(rows):
    errors = [f"- round {leg['round']}, {leg['contender']}: {leg['error']}" for leg in rows if leg["error"]]
    return ["Errors:\n", *errors, ""] if errors else []
