"""Lines over a number of keys, as SVG."""

import dataclasses
import html

WIDTH, HEIGHT, LEFT, RIGHT, TOP, LOWER = 440, 260, 46, 36, 34, 40
# Told apart by brightness, too, for those who do not see colours alike.
COLOURS = ["#1b6ca8", "#c44e1c", "#2f7d4f", "#7a4fa3"]


@dataclasses.dataclass(frozen=True)
class Line:
    """One kind's figures, one a size; none where it was left out."""

    name: str
    figures: list
    dashed: bool = False


@dataclasses.dataclass(frozen=True)
class Panel:
    title: str
    lines: list


def nice(most):
    """A round end of an axis, above the most, and its steps."""
    step = 1.0
    while most / step > 6:
        step *= 2.5 if str(step).lstrip("0.").startswith("2") else 2
    while most / step < 2.5:
        step /= 2
    return step * (int(most / step) + 1), step


def points(figures, end):
    """Where the figures lie: across by their place, for each size is ten times the last."""
    across = (WIDTH - LEFT - RIGHT) / max(1, len(figures) - 1)
    return [
        (LEFT + at * across, TOP + (HEIGHT - TOP - LOWER) * (1 - figure / end))
        for at, figure in enumerate(figures)
        if figure is not None
    ]


def draw_panel(panel, sizes, left):
    end, step = nice(max(figure for line in panel.lines for figure in line.figures if figure is not None))
    out = [
        f'<g transform="translate({left},0)">',
        f'<text x="{LEFT}" y="18" font-weight="bold">{html.escape(panel.title)}</text>',
    ]
    at = 0.0
    while at <= end + step / 2:
        _, y = points([at], end)[0]
        out.append(
            f'<path d="M{LEFT},{y:.1f} H{WIDTH - RIGHT}" stroke="#ddd"/>'
            f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{at:g}</text>'
        )
        at += step
    for (x, _), size in zip(points([0.0] * len(sizes), end), sizes):
        out.append(f'<text x="{x:.1f}" y="{HEIGHT - LOWER + 16}" text-anchor="middle">{size:,}</text>')
    for line, colour in zip(panel.lines, colours(panel.lines)):
        marks = points(line.figures, end)
        path = " L".join(f"{x:.1f},{y:.1f}" for x, y in marks)
        dash = ' stroke-dasharray="5 3"' if line.dashed else ""
        out.append(f'<path d="M{path}" fill="none" stroke="{colour}" stroke-width="2"{dash}/>')
        out += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>' for x, y in marks]
    return [*out, "</g>"]


def colours(lines):
    """One for each name, so that a kind's two visits are alike."""
    names = list(dict.fromkeys(line.name for line in lines))
    return [COLOURS[names.index(line.name) % len(COLOURS)] for line in lines]


def svg(panels, sizes, note):
    """The panels side by side, below them the names of the lines and a note."""
    width, height = WIDTH * len(panels), HEIGHT + 44
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        'font-family="sans-serif" font-size="11">',
        f'<rect width="{width}" height="{height}" fill="#fff"/>',
    ]
    for number, panel in enumerate(panels):
        out += draw_panel(panel, sizes, WIDTH * number)
    names = list(dict.fromkeys(line.name for panel in panels for line in panel.lines))
    for number, name in enumerate(names):
        x = LEFT + number * 190
        out.append(
            f'<path d="M{x},{HEIGHT + 8} h18" stroke="{COLOURS[number % len(COLOURS)]}" stroke-width="2"/>'
            f'<text x="{x + 24}" y="{HEIGHT + 12}">{html.escape(name)}</text>'
        )
    out.append(f'<text x="{LEFT}" y="{HEIGHT + 34}" fill="#555">{html.escape(note)}</text>')
    return "\n".join([*out, "</svg>"]) + "\n"
