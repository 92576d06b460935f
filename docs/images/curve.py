"""Draws a run's accuracy as SVG: python docs/images/curve.py runs/quickstart docs/images/quickstart.svg"""

import json
import sys
from pathlib import Path

WIDTH, HEIGHT = 640, 300
LEFT, RIGHT, TOP, BOTTOM = 56, 24, 40, 46


def main(run: Path, out: Path) -> None:
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    accuracies = {row["step"]: row["accuracy"] for row in rows if "accuracy" in row}
    summary = json.loads((run / "summary.json").read_text())
    out.write_text(draw(accuracies, summary["before"], summary["after"]))


def draw(accuracies: dict[int, float], before: dict[str, float], after: dict[str, float]) -> str:
    """A line of the accuracy at each step, and the held-out accuracy before and after as dots."""
    last = max(accuracies)

    def x(step: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * step / (last + 1)

    def y(share: float) -> float:
        return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * share

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" '
        'font-family="sans-serif" font-size="12">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>',
        f'<text x="{LEFT}" y="20" font-size="14" fill="#222222">Accuracy in the grpo stage of the quickstart</text>',
    ]
    for percent in range(0, 101, 25):
        at = y(percent / 100)
        parts.append(f'<line x1="{LEFT}" y1="{at:.1f}" x2="{WIDTH - RIGHT}" y2="{at:.1f}" stroke="#dddddd"/>')
        parts.append(f'<text x="{LEFT - 8}" y="{at + 4:.1f}" text-anchor="end" fill="#555555">{percent}%</text>')
    for step in range(0, last + 1, 10):
        parts.append(
            f'<text x="{x(step):.1f}" y="{HEIGHT - BOTTOM + 18}" text-anchor="middle" fill="#555555">{step}</text>'
        )
    parts.append(f'<text x="{WIDTH / 2}" y="{HEIGHT - 8}" text-anchor="middle" fill="#555555">step</text>')
    points = " ".join(f"{x(step):.1f},{y(share):.1f}" for step, share in accuracies.items())
    parts.append(f'<polyline points="{points}" fill="none" stroke="#3f51b5" stroke-width="2"/>')
    parts.append(f'<text x="{x(last / 2):.1f}" y="{y(0.6):.1f}" fill="#3f51b5">line: sampled in training</text>')
    for step, result in ((0, before), (last + 1, after)):
        anchor, shift = ("start", 10) if step == 0 else ("end", -10)
        for key, colour, name in (("accuracy", "#3f51b5", "sampled"), ("greedy_accuracy", "#e65100", "greedy")):
            share = result[key]
            parts.append(f'<circle cx="{x(step):.1f}" cy="{y(share):.1f}" r="5" fill="{colour}"/>')
            below = {(True, 0): 22, (False, 0): 4, (True, last + 1): 36, (False, last + 1): -8}[key == "accuracy", step]
            parts.append(
                f'<text x="{x(step) + shift:.1f}" y="{y(share) + below:.1f}" text-anchor="{anchor}" fill="{colour}">'
                f"held-out, {name}: {share:.1%}</text>"
            )
    return "\n".join([*parts, "</svg>"]) + "\n"


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
