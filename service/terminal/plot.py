"""A small plot of losses, in characters."""

from __future__ import annotations

from collections.abc import Sequence

Points = Sequence[tuple[float, float]]


def plot(series: Sequence[tuple[str, Points]], width: int = 72, height: int = 12) -> str:
    """Series, each with the character that draws it, in one frame; later ones are drawn on top. Empty without points.

    ::

        3.31 ┤·
             │·•
        1.52 ┤    ·•·•·•
             └──────────
             0      2,940
    """
    points = [point for _, each in series for point in each]
    if not points:
        return ""
    xs, ys = [x for x, _ in points], [y for _, y in points]
    low, high, first, last = min(ys), max(ys), min(xs), max(xs)
    labels = [f"{high:.2f}", f"{low:.2f}"]
    margin = max(map(len, labels))
    inner = max(10, width - margin - 2)
    grid = [[" "] * inner for _ in range(height)]
    for mark, each in series:
        for x, y in each:
            column = round((x - first) / (last - first) * (inner - 1)) if last > first else 0
            row = round((high - y) / (high - low) * (height - 1)) if high > low else height - 1
            grid[row][column] = mark
    lines = []
    for row, cells in enumerate(grid):
        label = labels[0] if row == 0 else labels[1] if row == height - 1 else ""
        lines.append(f"{label:>{margin}} {'┤' if label else '│'}{''.join(cells)}".rstrip())
    lines.append(" " * margin + " └" + "─" * inner)
    right = f"{last:,.0f}"
    lines.append(f"{' ' * margin}  {f'{first:,.0f}':<{max(1, inner - len(right))}}{right}")
    return "\n".join(lines)
