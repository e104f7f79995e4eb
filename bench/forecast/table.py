"""Rows of runs as text, and what share of them came as it was forecast."""


def _seconds(microseconds):
    return "never" if microseconds is None else f"{microseconds / 1e6:.2f}"


def within(row):
    """Whether the true total time lay in the interval; of a guest that did not move, whether the forecast left that open."""
    total = row["forecast"]["total_us"]
    if not row["moved"]:
        return total["high"] is None or not row["forecast"]["converges"]
    high = float("inf") if total["high"] is None else total["high"]
    return total["low"] <= row["total_s"] * 1e6 <= high


def close(row, share=0.2):
    """Whether the true total time lay so close to the point forecast, or what never moved was to never move."""
    point = row["forecast"]["total_us"]["point"]
    if not row["moved"]:
        return not row["forecast"]["converges"]
    return point is not None and abs(point / 1e6 - row["total_s"]) <= share * row["total_s"]


def half_close(row, share=0.25):
    """Whether the time left that was shown at half of the time was so close; None: none was shown."""
    if not row["moved"] or row["left_shown"] is None:
        return None
    return abs(row["left_shown"] - row["left_true"]) <= share * row["left_true"]


def cells(row):
    forecast = row["forecast"]
    total, pause = forecast["total_us"], forecast["pause_us"]
    half = "" if row["left_shown"] is None else f"{row['left_shown']:.2f} / {row['left_true']:.2f}"
    return [row["load"], row["link"], forecast["prospect"], _seconds(total["point"]),
            f"{_seconds(total['low'])} to {_seconds(total['high'])}",
            f"{row['total_s']:.2f}" if row["moved"] else f"not in {row['total_s']:.0f}",
            "yes" if within(row) else "NO", "yes" if close(row) else "NO",
            f"{pause['point'] / 1e3:.0f}", "" if row["pause_ms"] is None else f"{row['pause_ms']:.0f}",
            f"{forecast['bytes']['point'] / 1e6:.0f}", f"{row['bytes'] / 1e6:.0f}", half]


_HEADS = ["load", "link", "forecast", "total s", "interval", "true", "within", "20 %", "pause ms", "true", "MB", "true",
          "left at half / true"]


def line_of(row):
    return "  ".join(cells(row)) + "".join(f"\n    {said}" for said in row["said"])


def render(rows):
    out = ["| " + " | ".join(_HEADS) + " |", "|" + "---|" * len(_HEADS)]
    out += ["| " + " | ".join(cells(row)) + " |" for row in rows]
    halves = [half_close(row) for row in rows]
    halves = [each for each in halves if each is not None]
    count = len(rows)
    out += ["", f"within the interval: {sum(map(within, rows))} of {count}; within 20 % of the point: "
            f"{sum(map(close, rows))} of {count}; time left at half of the time within 25 %: {sum(halves)} of "
            f"{len(halves)}; progress ran backwards in {sum(row['backwards'] for row in rows)}"]
    return "\n".join(out) + "\n"
