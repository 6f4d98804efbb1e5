"""Lines over time as a small SVG, which is readable on light and dark pages."""

import html

WIDTH, HEIGHT = 760, 280
LEFT, RIGHT, TOP, BOTTOM = 56, 12, 34, 40

# Of the page only the browser knows how bright it is.
STYLE = """
  text { font: 12px system-ui, sans-serif; fill: #444; }
  .grid { stroke: #8886; stroke-width: 1; }
  .line0 { stroke: #0969da; fill: #0969da; } .line1 { stroke: #bc4c00; fill: #bc4c00; }
  polyline { fill: none !important; stroke-width: 1.8; stroke-linejoin: round; }
  .mark { stroke: #888; stroke-dasharray: 4 3; }
  @media (prefers-color-scheme: dark) {
    text { fill: #ccc; }
    .line0 { stroke: #58a6ff; fill: #58a6ff; } .line1 { stroke: #f0883e; fill: #f0883e; }
  }
"""


def svg(title, x_title, y_title, lines, marks):
    """`lines`: names and points; `marks`: texts and where they stand on the x axis."""
    most_x = max(x for _, points in lines for x, _ in points) or 1
    step_y, most_y = scale(max(y for _, points in lines for _, y in points))
    at_x = lambda x: LEFT + x / most_x * (WIDTH - LEFT - RIGHT)
    at_y = lambda y: HEIGHT - BOTTOM - y / most_y * (HEIGHT - TOP - BOTTOM)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img">',
        f"<title>{html.escape(title)}</title><style>{STYLE}</style>",
    ]
    text = lambda x, y, words, anchor="start": parts.append(
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{html.escape(words)}</text>'
    )
    for nth in range(round(most_y / step_y) + 1):
        y = at_y(nth * step_y)
        parts.append(f'<line class="grid" x1="{LEFT}" y1="{y:.1f}" x2="{WIDTH - RIGHT}" y2="{y:.1f}"/>')
        text(LEFT - 6, y + 4, f"{nth * step_y:g}", "end")
    step_x, _ = scale(most_x)
    for nth in range(int(most_x / step_x) + 1):
        text(at_x(nth * step_x), HEIGHT - BOTTOM + 16, f"{nth * step_x:g}", "middle")
    text(WIDTH - RIGHT, HEIGHT - 6, x_title, "end")
    text(4, 14, y_title)
    for words, x in marks:
        parts.append(f'<line class="mark" x1="{at_x(x):.1f}" y1="{TOP}" x2="{at_x(x):.1f}" y2="{HEIGHT - BOTTOM}"/>')
        text(at_x(x) + 4, TOP + 10, words)
    for nth, (name, points) in enumerate(lines):
        where = " ".join(f"{at_x(x):.1f},{at_y(y):.1f}" for x, y in points)
        parts.append(f'<polyline class="line{nth}" points="{where}"/>')
        x = LEFT + 150 + nth * 190
        parts.append(f'<rect class="line{nth}" x="{x}" y="6" width="12" height="8"/>')
        text(x + 18, 14, name)
    return "\n".join([*parts, "</svg>", ""])


def scale(most):
    """A step of 1, 2 or 5 times a power of ten, and the end of the axis."""
    step = 1e-3
    for factor in [2, 2.5, 2] * 6:
        if most / step <= 6:
            break
        step *= factor
    return step, max(1, -(-most // step)) * step
