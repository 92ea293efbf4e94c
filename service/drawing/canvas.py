"""What all pictures share: their styles, their ground, and how several stand below each other in one file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from service.characters import safe

MARGIN = 16
GAP = 28  # between two pictures
LINE = 18  # height of a line of words
# Dark on light and light on dark: words keep a contrast of at least 4.5 on the ground and on the strongest tint.
STYLES = """
.paper{fill:#fff}.ink{fill:#1f2328}.faint{fill:#59636e}.rule{stroke:#59636e}
.hot{fill:#d6452b}.cold{fill:#2f6fde}.warm{fill:#e8a200}.mark{stroke:#1f2328}
.a{fill:#2f6fde}.b{fill:#c93a22}.c{fill:#1a7f37}.d{fill:#8250df}.e{fill:#9a6700}
@media (prefers-color-scheme:dark){
.paper{fill:#0d1117}.ink{fill:#e6edf3}.faint{fill:#9198a1}.rule{stroke:#9198a1}
.hot{fill:#d04a38}.cold{fill:#3b74d8}.warm{fill:#9a6c00}.mark{stroke:#e6edf3}
.a{fill:#6ea8ff}.b{fill:#ff7b6b}.c{fill:#56d364}.d{fill:#c297ff}.e{fill:#e3b341}
}
text{font:13px system-ui,-apple-system,"Segoe UI",sans-serif}
.bold{font-weight:600}
.mono{font:14px ui-monospace,"SFMono-Regular",Menlo,Consolas,"DejaVu Sans Mono",monospace;white-space:pre}
.middle{text-anchor:middle}.end{text-anchor:end}
""".replace("\n", "")
COLORS = "abcde"  # classes of series


@dataclass(frozen=True)
class Picture:
    """A part of a drawing in its own coordinates."""

    width: float
    height: float
    parts: Sequence[str]  # SVG elements


def document(title: str, pictures: Sequence[Picture]) -> str:
    """A file with pictures below each other."""
    width = max(picture.width for picture in pictures) + 2 * MARGIN
    height = sum(picture.height for picture in pictures) + GAP * (len(pictures) - 1) + 2 * MARGIN
    size = f'viewBox="0 0 {number(width)} {number(height)}" width="{number(width)}" height="{number(height)}"'
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img" style="max-width:100%;height:auto">',
        f"<title>{escaped(title)}</title>",
        f"<style>{STYLES}</style>",
        '<rect class="paper" width="100%" height="100%" rx="6"/>',
    ]
    top: float = MARGIN
    for picture in pictures:
        parts += [f'<g transform="translate({MARGIN} {number(top)})">', *picture.parts, "</g>"]
        top += picture.height + GAP
    return "\n".join([*parts, "</svg>", ""])


def escaped(text: str) -> str:
    """Text as XML that can hold it: neither what a terminal would obey nor the two code points that are no characters at all."""
    return escape(safe(text).translate({0xFFFE: "\ufffd", 0xFFFF: "\ufffd"}))


def words(x: float, y: float, text: str, classes: str = "ink") -> str:
    """A line of words; y is where they stand on."""
    return f'<text class="{classes}" x="{number(x)}" y="{number(y)}">{escaped(text)}</text>'


def heading(lines: Sequence[str], width: float) -> tuple[list[str], float]:
    """A title and what is said below it, broken to fit, and the height of it all."""
    parts, y = [], 0.0
    for index, line in enumerate(lines):
        for row in _broken(line, width):
            y += LINE
            parts.append(words(0, y - 5, row, "faint" if index else "ink bold"))
    return parts, y + 6


def number(value: float) -> str:
    """A number without digits that nobody sees."""
    return f"{value:z.2f}".rstrip("0").rstrip(".")


def _broken(text: str, width: float) -> list[str]:
    rows = [""]
    for word in text.split():
        if rows[-1] and 7 * (len(rows[-1]) + 1 + len(word)) > width:  # about the width of a letter in a wide font
            rows.append(word)
        else:
            rows[-1] = f"{rows[-1]} {word}".strip()
    return rows
