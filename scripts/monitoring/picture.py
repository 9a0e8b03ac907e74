"""The panels of the dashboard as one SVG, from what Prometheus has."""

import html
import json
import re

WIDE, HIGH, GAP = 300, 150, 16
COLOURS = ["#3274d9", "#e0752d", "#5aa64b", "#c4162a"]


def panel(x, y, title, series, start, end):
    top = max((value for _, points in series for _, value in points), default=0) or 1
    left, width, low, height = x + 8, WIDE - 16, y + HIGH - 24, HIGH - 56
    yield f'<rect x="{x}" y="{y}" width="{WIDE}" height="{HIGH}" rx="4" fill="#fff" stroke="#ccc"/>'
    yield f'<text x="{left}" y="{y + 18}" font-weight="bold">{html.escape(title)}</text>'
    yield f'<text x="{x + WIDE - 8}" y="{y + 18}" text-anchor="end" fill="#777">max {top:.4g}</text>'
    for n, (name, points) in enumerate(series[:4]):
        path = " ".join(
            f"{left + (at - start) / (end - start) * width:.1f},{low - value / top * height:.1f}"
            for at, value in points
        )
        yield f'<polyline fill="none" stroke="{COLOURS[n]}" stroke-width="1.5" points="{path}"/>'
        yield f'<text x="{left + 72 * n}" y="{y + HIGH - 8}" fill="{COLOURS[n]}">{html.escape(name)}</text>'


def draw(dashboard, ask, start, end):
    panels = [p for p in json.loads(dashboard.read_text())["panels"] if p["type"] != "row"]
    parts = []
    for n, p in enumerate(panels):
        series = []
        for target in p["targets"]:
            found = ask("query_range", query=target["expr"], start=start, end=end, step=2)["result"]
            for result in found:
                label = re.sub(
                    r"\{\{(\w+)\}\}",
                    lambda m, of=result["metric"]: of.get(m[1], ""),
                    target["legendFormat"].replace(" {{instance}}", ""),
                )
                points = [(at, float(value)) for at, value in result["values"]]
                series.append((label, [(at, value) for at, value in points if value == value]))
        column, row = n % 3, n // 3
        parts += panel(GAP + column * (WIDE + GAP), GAP + row * (HIGH + GAP), p["title"], series, start, end)
    width, height = GAP + 3 * (WIDE + GAP), GAP + -(-len(panels) // 3) * (HIGH + GAP)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif" '
        f'font-size="11"><rect width="100%" height="100%" fill="#f4f5f5"/>\n' + "\n".join(parts) + "\n</svg>\n"
    )
