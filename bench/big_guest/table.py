"""The results as Markdown: medians, their spread, and ratios to QEMU's multifd on the same link."""

from statistics import median

BASELINE = "qemu-multifd"


def _engine_cpu(leg):
    return leg["engine_cpu_source_s"] + leg["engine_cpu_destination_s"]


def _cpu(leg):
    return _engine_cpu(leg) + leg["qemu_cpu_source_s"] + leg["qemu_cpu_destination_s"]


_COLUMNS = (  # heading, the leg's value, digits, whether a ratio to the baseline follows
    ("total s", lambda leg: leg["total_s"], 2, True),
    ("pause ms", lambda leg: leg["pause_ms"], 1, True),
    ("last harvest ms", lambda leg: leg["last_harvest_ms"], 2, False),
    ("wire MB", lambda leg: leg["wire_mb"], 0, True),
    ("lanes MB", lambda leg: leg["lanes_mb"], 0, False),
    ("engine CPU s, source", lambda leg: leg["engine_cpu_source_s"] or None, 2, False),
    ("destination", lambda leg: leg["engine_cpu_destination_s"] or None, 2, False),
    ("QEMU CPU s, source", lambda leg: leg["qemu_cpu_source_s"], 2, False),
    ("destination", lambda leg: leg["qemu_cpu_destination_s"], 2, False),
    ("pages written per s", lambda leg: leg["written_per_s"], 0, False),
    ("MB of data per CPU s", lambda leg: leg["data_mb"] / _cpu(leg), 0, True),
    ("load average", lambda leg: leg["load_average"], 1, False),
)

_LEGEND = f"""\
A cell is the median over the rounds, in brackets the least and the greatest value; after the slash the ratio of the
medians to `{BASELINE}` on the same link, with as many channels as Godwit has lanes. Rows count only where all memory
was equal at both ends, except what the guest had written since. pause: STOP at the source to RESUME at the destination.
wire: counted at the link, both ways; lanes: what Godwit's lanes sent. CPU: over the move; QEMU without its vCPUs. pages
written: by the guest, while it was moved. MB of data per CPU s: what the guest holds, by the CPU time of both QEMUs and
both engines. load average: of this machine, before the move.
"""


def render(legs, environment):
    out = ["# Moves of a large guest\n", *(f"- {name}: {value}" for name, value in environment.items()), "", _LEGEND]
    for link, lanes in dict.fromkeys((leg["link"], leg["lanes"]) for leg in legs):
        out += [f"## Link {link}, lanes or channels: {lanes}\n",
                *_table([leg for leg in legs if (leg["link"], leg["lanes"]) == (link, lanes)]), ""]
    return "\n".join(out)


def _table(rows):
    names = list(dict.fromkeys(leg["contender"] for leg in rows))
    good = {name: [leg for leg in rows if leg["contender"] == name and not leg["error"]] for name in names}
    out = ["| contender | right | " + " | ".join(column[0] for column in _COLUMNS) + " |",
           "|---|---|" + "---|" * len(_COLUMNS)]
    for name in names:
        cells = [_cell(good[name], good.get(BASELINE, []), *column[1:]) for column in _COLUMNS]
        count = sum(leg["contender"] == name for leg in rows)
        model = " (MODEL)" if any("MODEL" in leg.get("device", "") for leg in good[name]) else ""
        out.append(f"| {name}{model} | {len(good[name])} of {count} | " + " | ".join(cells) + " |")
    errors = [f"- round {leg['round']}, {leg['contender']}: {leg['error']}" for leg in rows if leg["error"]]
    return out + (["", "Errors:\n", *errors] if errors else [])


def _cell(legs, baseline, value, digits, with_ratio):
    values = [each for each in map(value, legs) if each is not None]
    if not values:
        return "–"
    text = f"{median(values):.{digits}f}"
    if len(values) > 1:
        text += f" ({min(values):.{digits}f} to {max(values):.{digits}f})"
    base = [each for each in map(value, baseline) if each is not None]
    if with_ratio and base and median(base) > 0:
        text += f" / {median(values) / median(base):.2f}"
    return text
