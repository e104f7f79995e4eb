"""The results as Markdown: medians, their spread, and ratios to QEMU's plain migration; then Godwit against the best."""

from statistics import median

from contenders import BASELINE, OURS, QEMU_COMPRESSED, is_hinted, is_qemu


def _cpu(leg):
    return leg["cpu_source_s"] + leg["cpu_destination_s"]


_COLUMNS = (  # heading, the leg's value, digits, whether a ratio to the baseline follows
    ("total s", lambda leg: leg["total_s"], 2, True),
    ("pause ms", lambda leg: leg["pause_ms"], 1, True),
    ("gap ms", lambda leg: leg["gap_ms"], 0, True),
    ("wire MB", lambda leg: leg["wire_mb"], 0, True),
    ("CPU s, both sides", _cpu, 2, True),
    ("memory MB", lambda leg: leg["memory_mb"], 0, False),
    ("writer", lambda leg: leg["writer_share"], 2, False),
)

_LEGEND = """\
A cell is the median over the rounds; in brackets the largest value over the smallest, then after the slash the ratio of
the medians to `qemu`, QEMU's own plain migration. Rows count only where the guest found all of its memory right and the
client's connection survived. pause: STOP at the source to RESUME at the destination. gap: the client's longest wait for
an answer round the switchover. wire: counted at the link, both ways. CPU: QEMU without its vCPUs, and the engine.
memory: anonymous memory that the migration added, the larger side. writer: pages the guest rewrote (redis: keys it set)
while it was moved, of those it was to write. `-hint`: the guest's balloon tells QEMU of free pages (free-page-hint=on),
which most guests do not have; for all others the guest has no balloon driver bound in such a run, for with it QEMU uses
hints in all modes. The line below a table sets `godwit`, with its default options, against the best of QEMU's modes
without hints, and in brackets with them: ratios of medians, the best taken for each figure apart, and bytes also against
the mode that is the fastest. The guests run under TCG, where QEMU 7.2's own migration now and then loses a page (not seen
with 10.0, nor with Godwit on either): such a leg is an error here, and says nothing about KVM.
"""


def render(legs, environment):
    out = ["# Godwit and QEMU's own migration\n"]
    out += [f"- {name}: {value}" for name, value in environment.items()]
    out += ["", _LEGEND]
    courses = list(dict.fromkeys((leg["qemu"], leg["link"], leg["load"]) for leg in legs))
    for course in courses:
        rows = [leg for leg in legs if (leg["qemu"], leg["link"], leg["load"]) == course]
        out.append(f"## QEMU {course[0]}, link {course[1]}, guest {course[2]}\n")
        out += _table(rows) + [""] + _against_the_best(rows) + _errors(rows)
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
    """`godwit` over the best of QEMU's modes, as one line; none without verified legs of `godwit`."""
    good = [leg for leg in rows if not leg["error"]]
    names = {leg["contender"] for leg in good}
    if OURS not in names or not any(map(is_qemu, names)):
        return []

    def medians(value, such):
        values = {name: [each for each in (value(leg) for leg in good if leg["contender"] == name) if each is not None]
                  for name in names if such(name)}
        return [median(each) for each in values.values() if each]

    def ratio(value):
        [ours] = medians(value, lambda name: name == OURS)
        text = f"{ours / min(medians(value, is_qemu)):.2f}"
        if any(map(is_hinted, names)):
            text += f" ({ours / min(medians(value, lambda name: is_qemu(name) or is_hinted(name))):.2f})"
        return text

    def bytes_to_the_fastest():
        modes = [name for name in names if is_qemu(name)]
        seconds, megabytes = ({name: median(leg[key] for leg in good if leg["contender"] == name)
                               for name in [OURS, *modes]} for key in ("total_s", "wire_mb"))
        fastest = min(modes, key=seconds.get)
        return f"{megabytes[OURS] / megabytes[fastest]:.2f} vs {fastest}, the fastest"

    parts = [f"time {ratio(lambda leg: leg['total_s'])}",
             f"bytes {ratio(lambda leg: leg['wire_mb'])}, {bytes_to_the_fastest()}", f"CPU {ratio(_cpu)} vs cheapest"]
    if QEMU_COMPRESSED in names:
        [ours] = medians(_cpu, lambda name: name == OURS)
        [compressed] = medians(_cpu, lambda name: name == QEMU_COMPRESSED)
        parts[-1] += f", {ours / compressed:.2f} vs {QEMU_COMPRESSED.removeprefix(BASELINE + '-')}"
    line = f"{OURS} / best of QEMU: " + ", ".join(parts)
    shares = [medians(lambda leg: leg["writer_share"], such) for such in (lambda name: name == OURS, is_qemu)]
    if all(shares):
        line += f"; writer share {shares[0][0]:.2f} vs {max(shares[1]):.2f}"
    return [line, ""]


def _errors(rows):
    errors = [f"- round {leg['round']}, {leg['contender']}: {leg['error']}" for leg in rows if leg["error"]]
    return ["Errors:\n", *errors, ""] if errors else []
