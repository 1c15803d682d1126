"""A picture of tables that serve_curve.py has printed: serve_curve_picture.py NAME=TABLE.md... >picture.svg"""

import math
import sys

WIDTH, HEIGHT, LEFT, TOP, GAP = 310, 220, 45, 30, 30
COLOURS = ["#0b57a4", "#c2571a"]


def rows_of(path):
    with open(path, encoding="utf-8") as file:
        lines = [line.strip().strip("|") for line in file if line.startswith("| ")]
    cells = [[cell.strip() for cell in line.split("|")] for line in lines]
    numbers = [[cell.replace("%", "").replace("of", "").replace(",", " ").split() for cell in row] for row in cells[1:]]
    return [
        {"streams": int(row[0][0]), "speed": float(row[1][0]), "bound": float(row[3][1]), "gap": float(row[6][0]),
         "late": float(row[6][1])}
        for row in numbers
    ]


class Panel:
    """Axes with streams by powers of two across, and what grows by powers of two upward."""

    def __init__(self, left, title, low, high):
        self.left, self.low, self.high = left, math.log2(low), math.log2(high)
        print(f'<text x="{left}" y="{TOP - 12}" font-weight="bold">{title}</text>')
        value = low
        while value <= high:
            y = self.y(value)
            print(f'<path d="M{left} {y:.1f}h{WIDTH}" stroke="#888" stroke-opacity=".35"/>'
                  f'<text x="{left - 6}" y="{y + 4:.1f}" text-anchor="end">{value}</text>')
            value *= 2
        for streams in (1, 2, 4, 8, 16, 32):
            print(f'<text x="{self.x(streams):.1f}" y="{TOP + HEIGHT + 18}" text-anchor="middle">{streams}</text>')

    def x(self, streams):
        return self.left + WIDTH * math.log2(streams) / 5

    def y(self, value):
        return TOP + HEIGHT * (1 - (math.log2(value) - self.low) / (self.high - self.low))

    def line(self, rows, key, colour, dash=""):
        points = " ".join(f"{self.x(row['streams']):.1f},{self.y(row[key]):.1f}" for row in rows)
        print(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2" stroke-dasharray="{dash}"/>')


def main():
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    tables = [argument.split("=", 1) for argument in sys.argv[1:]]
    width, height = 2 * (LEFT + WIDTH + GAP), TOP + HEIGHT + 30
    print(f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif" '
          f'font-size="12" fill="#777">')
    speeds = Panel(LEFT, "tok/s together (dashed: bound), by streams", 16, 256)
    gaps = Panel(2 * LEFT + WIDTH + GAP, "ms between pieces, median (dashed: 95 %)", 16, 1024)
    for (name, path), colour, at in zip(tables, COLOURS, range(len(tables))):
        rows = rows_of(path)
        speeds.line(rows, "speed", colour)
        speeds.line(rows, "bound", colour, "4 4")
        gaps.line(rows, "gap", colour)
        gaps.line(rows, "late", colour, "4 4")
        print(f'<text x="{LEFT + 12}" y="{TOP + 16 + 16 * at}" fill="{colour}">{name}</text>')
    print("</svg>")


main()
