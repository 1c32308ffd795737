"""Charts as SVG, by hand: bars with their values, and a thin line from the least to the most."""

import statistics
from xml.sax.saxutils import escape

WIDTH, LABEL, ROW, BAR = 720, 210, 26, 16
STYLE = """<style>
text { font: 13px system-ui, sans-serif; fill: #24292f } .title { font-weight: 600; font-size: 15px }
.work { font-weight: 600 } .note { fill: #57606a } .ours { fill: #d4562b } .theirs { fill: #8c959f }
.spread { stroke: #24292f; stroke-width: 1 } .back { fill: #ffffff }
@media (prefers-color-scheme: dark) { text { fill: #e6edf3 } .note { fill: #9198a1 }
.spread { stroke: #e6edf3 } .back { fill: #0d1117 } }
</style>"""


def draw(rows, results, folder):
    """Writes the charts that there are figures for; returns their names."""
    drawn = []

    def write(name, chart):
        (folder / name).write_text(chart)
        drawn.append(name)

    if rows:
        write("requests.svg", bars("Requests a second", "higher is better; each work has its own scale", [
            (row["work"], row["server"], row["per_second"], row["least"], row["most"], "/s") for row in rows]))
    if found := results.get("events"):
        groups = [("publish, durable", name, rates) for name, rates in found["published"].items()]
        groups.append(("effects, durable", "hotdock", found["effects"]))
        write("events.svg", bars("Events a second", "higher is better; everything is synced before it counts", [
            (work, name, statistics.median(rates), min(rates), max(rates), "/s") for work, name, rates in groups]))
    if found := results.get("neighbours"):
        write("neighbours.svg", bars("p99 of a service beside others that do harm", "lower is better", [
            ("", name, *spread([result["p99_us"] / 1000 for result in measured]), " ms")
            for name, measured in found.items()], ours="nothing"))
    return drawn


def spread(values):
    return statistics.median(values), min(values), max(values)


def bars(title, note, rows, ours="hotdock"):
    """A bar for each row of (group, name, value, least, most, unit), scaled within its group."""
    parts, y, group = [], 62, None
    tops = {}
    for work, _, _, _, most, _ in rows:
        tops[work] = max(tops.get(work, 0), most)
    label = max(LABEL, 8 * max(len(name) for _, name, *_ in rows))
    room = WIDTH - label - 110
    for work, name, value, least, most, unit in rows:
        if work != group:
            group = work
            if work:
                y += 8
                parts.append(f'<text class="work" x="12" y="{y}">{escape(work)}</text>')
                y += 12
        scale = room / tops[work] if tops[work] else 0
        kind = "ours" if name == ours else "theirs"
        middle = y + BAR / 2
        parts.append(f'<text x="{label - 8}" y="{middle + 4}" text-anchor="end">{escape(name)}</text>')
        parts.append(f'<rect class="{kind}" x="{label}" y="{y}" width="{max(1, value * scale):.1f}" height="{BAR}" rx="2"/>')
        parts.append(f'<line class="spread" x1="{label + least * scale:.1f}" x2="{label + most * scale:.1f}" y1="{middle}" y2="{middle}"/>')
        parts.append(f'<text x="{label + most * scale + 8:.1f}" y="{middle + 4}">{number(value)}{unit}</text>')
        y += ROW
    return (f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{y + 8}" viewBox="0 0 {WIDTH} {y + 8}">'
            f'{STYLE}<rect class="back" width="100%" height="100%"/>'
            f'<text class="title" x="12" y="26">{escape(title)}</text>'
            f'<text class="note" x="12" y="45">{escape(note)}</text>' + "\n".join(parts) + "</svg>\n")


def number(value):
    """1234567 as 1 234 567; small ones with a digit behind the point."""
    return f"{value:.2f}" if value < 10 else f"{value:.1f}" if value < 100 else f"{value:,.0f}".replace(",", "\u202f")
