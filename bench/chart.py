"""docs/img/reconcile.svg from bench/results/reconcile.json: milliseconds over N, both logarithmic.

python bench/chart.py
"""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path

from measure import RESULTS

TARGET = Path(__file__).parent.parent / "docs" / "img" / "reconcile.svg"
LEFT, TOP, WIDTH, HEIGHT = 70, 20, 480, 300
COLORS = ("#0b7285", "#868e96", "#d9480f", "#495057", "#5f3dc4", "#2b8a3e")


def svg(sizes: dict[int, dict[str, float]]) -> str:
    """Lines of the medians by what was timed."""
    values = [ms for found in sizes.values() for ms in found.values()]
    low, high = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))
    first, last = math.log10(min(sizes)), math.log10(max(sizes))

    def x(n: int) -> float:
        return LEFT + WIDTH * (math.log10(n) - first) / max(last - first, 1e-9)

    def y(ms: float) -> float:
        return TOP + HEIGHT * (high - math.log10(ms)) / (high - low)

    parts = [
        f'<line x1="{LEFT}" x2="{LEFT + WIDTH}" y1="{y(10**e):.1f}" y2="{y(10**e):.1f}" '
        f'stroke="#dee2e6"/><text x="{LEFT - 8}" y="{y(10**e) + 4:.1f}" text-anchor="end">'
        f"{10.0**e:g} ms</text>"
        for e in range(low, high + 1)
    ]
    parts += [
        f'<text x="{x(n):.1f}" y="{TOP + HEIGHT + 20}" text-anchor="middle">{n}</text>'
        for n in sizes
    ]
    for i, what in enumerate(next(iter(sizes.values()))):
        color = COLORS[i % len(COLORS)]
        points = " ".join(f"{x(n):.1f},{y(found[what]):.1f}" for n, found in sizes.items())
        parts.append(f'<polyline fill="none" stroke="{color}" stroke-width="2" points="{points}"/>')
        below = TOP + 14 + 20 * i
        parts.append(f'<text x="{LEFT + WIDTH + 20}" y="{below}" fill="{color}">{what}</text>')
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {LEFT + WIDTH + 200} 360"'
    style = 'font-family="sans-serif" font-size="12"'
    return "\n".join((f"{head} {style}>", '<rect width="100%" height="100%" fill="#fff"/>', *parts, "</svg>", ""))  # fmt: skip


def main() -> None:
    found = json.loads((RESULTS / "reconcile.json").read_text())["sizes"]
    sizes = {int(n): {k: s["median"] for k, s in what.items()} for n, what in found.items()}
    TARGET.parent.mkdir(exist_ok=True)
    TARGET.write_text(svg(sizes))
    print(f"written: {TARGET}")


if __name__ == "__main__":
    argparse.ArgumentParser(description=__doc__).parse_args()
    main()
