"""The ratios as one picture: for each store ours and its peers, beside bare Tornado's whole."""

from collections.abc import Mapping, Sequence
from html import escape
from itertools import groupby

LEFT, WHOLE, RIGHT, BAR, GAP, HEAD = 205, 360, 90, 13, 9, 26
OURS = {"read": "#0d6278", "write": "#2a8ba5", "login": "#6db6c9"}
THEIRS = {"read": "#77838a", "write": "#98a3a9", "login": "#b9c1c5"}
TITLE = "Requests per second as a part of what Tornado does without sessions"


def chart(rows: Sequence[Mapping[str, float | str]]) -> str:
    """An SVG that is readable on light and on dark pages."""
    shown = [row for row in rows if row["route"] in OURS]
    parts, y = [], HEAD
    for store, on_store in groupby(shown, lambda row: str(row["store"])):
        parts.append(f'<text x="8" y="{y + 11}" class="store">{escape(store)}</text>')
        for server, routes in groupby(on_store, lambda row: str(row["server"])):
            colors = OURS if server == "hello_tornado" else THEIRS
            middle = y + len(OURS) * BAR / 2 + 3
            parts.append(f'<text x="{LEFT - 8}" y="{middle}" text-anchor="end">{server}</text>')
            for row in routes:
                parts.append(_bar(str(row["route"]), float(row["ratio"]), y, colors))
                y += BAR
            y += GAP
    whole = LEFT + WHOLE
    longest = max([1.0, *(float(row["ratio"]) for row in shown)])
    width = LEFT + longest * WHOLE + RIGHT
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {y}" role="img" '
        'font-family="system-ui, sans-serif" font-size="13">'
        f"<title>{TITLE}</title>"
        "<style>text{fill:#52626b}.small{font-size:11px}.store{font-weight:600}"
        "@media(prefers-color-scheme:dark){text{fill:#a3b3bb}}</style>"
        f'<line x1="{whole}" y1="{HEAD - 4}" x2="{whole}" y2="{y}" stroke="#74858f" '
        'stroke-dasharray="4 3"/>'
        f'<text x="{whole}" y="16" text-anchor="middle">Tornado without sessions</text>'
        f"{''.join(parts)}</svg>\n"
    )


def _bar(route: str, ratio: float, y: int, colors: Mapping[str, str]) -> str:
    length = ratio * WHOLE
    return (
        f'<rect x="{LEFT}" y="{y}" width="{length:.1f}" height="{BAR - 2}" fill="{colors[route]}"/>'
        f'<text x="{LEFT + length + 6:.1f}" y="{y + 10}" class="small">{ratio:.2f} {route}</text>'
    )
