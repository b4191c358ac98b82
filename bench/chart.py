"""The ratios as one picture: a bar for each store and route, beside bare Tornado's whole."""

from collections.abc import Mapping, Sequence
from html import escape

LEFT, WIDTH, BAR, GAP = 150, 520, 16, 14
COLORS = {"anonymous": "#9fb8c1", "read": "#0d6278", "write": "#7d4e00", "login": "#1b6b3a"}


def chart(rows: Sequence[Mapping[str, float | str]]) -> str:
    """An SVG that is readable on light and on dark pages."""
    shown = [row for row in rows if row["server"] != "bare Tornado"]
    servers = list(dict.fromkeys(str(row["server"]) for row in shown))
    parts, y = [], 40
    for server in servers:
        mine = [row for row in shown if row["server"] == server]
        middle = y + len(mine) * BAR / 2 + 4
        parts.append(
            f'<text x="{LEFT - 12}" y="{middle}" text-anchor="end">{escape(server)}</text>'
        )
        for row in mine:
            route, ratio = str(row["route"]), float(row["ratio"])
            parts.append(
                f'<rect x="{LEFT}" y="{y}" width="{ratio * WIDTH:.1f}" height="{BAR - 3}" '
                f'fill="{COLORS[route]}"/>'
                f'<text x="{LEFT + ratio * WIDTH + 6:.1f}" y="{y + 11}" class="small">'
                f"{ratio:.2f} {route}</text>"
            )
            y += BAR
        y += GAP
    whole = LEFT + WIDTH
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {whole + 130} {y + 8}" role="img" '
        'font-family="system-ui, sans-serif" font-size="14">'
        "<title>Requests per second as a part of what Tornado does without sessions</title>"
        "<style>text{fill:#52626b}.small{font-size:12px}"
        "@media(prefers-color-scheme:dark){text{fill:#a3b3bb}}</style>"
        f'<line x1="{whole}" y1="30" x2="{whole}" y2="{y}" stroke="#74858f" '
        'stroke-dasharray="4 3"/>'
        f'<text x="{whole}" y="20" text-anchor="middle">bare Tornado = 1</text>'
        f"{''.join(parts)}</svg>\n"
    )
