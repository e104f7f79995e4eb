"""Results as Markdown."""

import statistics

_COLUMNS = (("pause_ms", "pause ms", 1), ("total_s", "total s", 1), ("post_copy_s", "post-copy s", 1),
            ("wire_mb", "wire MB", 0), ("waited", "touches that waited", 0), ("median_us", "median µs", 0),
            ("p99_us", "p99 µs", 0), ("most_us", "most µs", 0))


def _cell(rows, name, digits):
    values = [row[name] for row in rows if row.get(name) is not None]
    if not values:
        return "–"
    return f"{statistics.median(values):.{digits}f} ({min(values):.{digits}f}–{max(values):.{digits}f})"


def render(rows, facts):
    lines = [f"- {name}: {value}" for name, value in facts.items()]
    lines += ["", "| contender | moves | " + " | ".join(title for _, title, _ in _COLUMNS) + " |",
              "|---|---|" + "---|" * len(_COLUMNS)]
    for name in dict.fromkeys(row["contender"] for row in rows):
        own = [row for row in rows if row["contender"] == name]
        good = [row for row in own if not row.get("error")]
        cells = " | ".join(_cell(good, column, digits) for column, _, digits in _COLUMNS)
        lines.append(f"| {name} | {len(good)} of {len(own)} | {cells} |")
    lines += ["", "Median (least–most) of the moves."]
    lines += [f"- {row['contender']}, round {row['round']}: {row['error']}" for row in rows if row.get("error")]
    return "\n".join(lines) + "\n"
