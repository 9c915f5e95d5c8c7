"""How a training step's time and memory grow: a table with fitted exponents, and a chart.

    python reference/bench_growth.py --rounds 3 --chart docs/growth.svg

One dimension of a small step is varied, the others stay; each point is a process of `examples/growth.rs` on its own, and
the median of the rounds. An exponent is the slope of a straight line through the points in logarithms, by least squares:
1 means that twice as much takes twice as long, 2 four times. What more threads than the machine has would bring is
simulated: the pieces of a step are timed on one, and shared out over many. Neither numpy nor matplotlib is needed.
"""

import argparse
import json
import math
import statistics
import subprocess

# vocabulary, width, layers, heads, tokens, sequences, K, threads
BASE = dict(vocabulary=65, width=384, layers=6, heads=6, tokens=256, sequences=2, k=0, threads=2)
# What varies, its name on the chart, its values, and what else is not the base's.
SWEEPS = {
    "context": ("context, tokens", "tokens", [64, 128, 256, 512, 1024, 2048], dict(sequences=1)),
    "width": ("width", "width", [128, 192, 256, 384, 512, 768], {}),
    "layers": ("layers", "layers", [1, 2, 4, 8, 16], {}),
    "batch": ("batch, sequences", "sequences", [1, 2, 4, 8, 16, 32], dict(tokens=64)),
    "threads": ("threads", "threads", [1, 2], dict(sequences=8)),
    "simulated": ("threads, simulated", "many", [1, 2, 4, 8, 16, 32, 64], dict(sequences=8, threads=1)),
    "ranking": ("K, responses of a ranking", "k", [2, 3, 4, 6, 9], dict(tokens=64)),
}
# Microseconds until a thread has begun what another gives it.
HAND_OVER = 5
# As in the charts of the reports: two colours that all eyes tell apart, a grey for light and dark pages.
TIME, MEMORY, GREY = "#0072b2", "#d55e00", "#74787e"


def shape(sweep, value):
    _, key, _, others = SWEEPS[sweep]
    of = {**BASE, **others, key: value}
    if key == "width":
        of["heads"] = value // 64
    return of


def measured(program, of):
    command = [program, *(str(of[key]) for key in ("vocabulary", "width", "layers", "heads", "tokens", "sequences", "k", "threads"))]
    if "many" in of:
        command += [str(of["many"]), str(HAND_OVER)]
    return json.loads(subprocess.run(command, check=True, capture_output=True).stdout)


def exponent(xs, ys):
    """The slope of a straight line through (ln x, ln y), by least squares, and the largest factor by which it misses."""
    xs, ys = [math.log(x) for x in xs], [math.log(y) for y in ys]
    x, y = statistics.fmean(xs), statistics.fmean(ys)
    slope = sum((a - x) * (b - y) for a, b in zip(xs, ys)) / sum((a - x) ** 2 for a in xs)
    return slope, math.exp(max(abs(b - y - slope * (a - x)) for a, b in zip(xs, ys)))


def sweep_rows(program, rounds, names):
    """By sweep: (value, milliseconds, MiB, operations in billions) of each point."""
    points = [(name, value) for name in names for value in SWEEPS[name][2]]
    found = {point: [] for point in points}
    for _ in range(rounds):
        for name, value in points:
            found[name, value].append(measured(program, shape(name, value)))
    middle = lambda point, key: statistics.median(one[key] for one in found[point]) if key in found[point][0] else None
    return {
        name: [(value, *(middle((name, value), key) for key in ("ms", "mib", "gflop"))) for value in SWEEPS[name][2]]
        for name in names
    }


def table(rows):
    """A row for each sweep, in Markdown."""
    lines = ["| what grows | from .. to | time, ms | exponent | memory, MiB | exponent | arithmetic's exponent |", "|---|---|---|---|---|---|---|"]
    for name, points in rows.items():
        values, ms, mib, gflop = zip(*points)
        cells = [SWEEPS[name][0], f"{values[0]} .. {values[-1]}"]
        for numbers in (ms, mib):
            if None in numbers:
                cells += ["", ""]
                continue
            slope, miss = exponent(values, numbers)
            cells += [f"{numbers[0]:.4g} .. {numbers[-1]:.4g}", f"{slope:.2f} (within {100 * (miss - 1):.0f} %)"]
        slope, _ = exponent(values, gflop)
        lines.append("| " + " | ".join(cells + [f"{slope:.2f}"]) + " |")
    return "\n".join(lines)


def ticks(low, high):
    """1, 2, 5, 10 .. between two numbers; powers of ten alone where these are many."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    fine = [m * 10.0**p for p in powers for m in (1, 2, 5) if low <= m * 10.0**p <= high]
    coarse = [10.0**p for p in powers if low <= 10.0**p <= high]
    return fine if len(fine) <= 5 else coarse


def panel(name, points, x0, y0, width, height, simulated=()):
    """Time and memory of a sweep on logarithmic axes. Both have one axis: milliseconds and MiB. What is simulated is dashed."""
    values, ms, mib, _ = zip(*points)
    lines = [(values, ms, TIME, ""), (values, mib, MEMORY, "")]
    if simulated:
        values, ms, _, _ = zip(*simulated)
        lines = [(values, ms, TIME, ' stroke-dasharray="5 4"'), *lines]
    numbers = [number for _, line, _, _ in lines for number in line]
    low, high = min(numbers) / 1.25, max(numbers) * 1.25
    across = lambda v: x0 + width * math.log(v / values[0]) / math.log(values[-1] / values[0])
    up = lambda v: y0 + height * (1 - math.log(v / low) / math.log(high / low))
    text = lambda x, y, words, anchor="middle", color=GREY, size=12: (
        f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" text-anchor="{anchor}" fill="{color}">{words}</text>')
    out = [text(x0, y0 - 12, SWEEPS[name][0], "start", size=14)]
    for tick in ticks(low, high):
        out.append(f'<path stroke="{GREY}" stroke-opacity=".25" d="M{x0:.1f} {up(tick):.1f}h{width:.1f}"/>')
        out.append(text(x0 - 6, up(tick) + 4, f"{tick:g}", "end"))
    out += [text(across(value), y0 + height + 18, value) for value in values]
    for xs, ys, color, dashes in lines:
        slope, _ = exponent(xs, ys)
        line = " ".join(f"{across(x):.1f},{up(y):.1f}" for x, y in zip(xs, ys))
        out.append(f'<polyline fill="none" stroke="{color}" stroke-width="2"{dashes} points="{line}"/>')
        out += [f'<circle cx="{across(x):.1f}" cy="{up(y):.1f}" r="3" fill="{color}"/>' for x, y in zip(xs, ys)]
        out.append(text(across(xs[-1]) + 6, up(ys[-1]) + 4, f"{slope:.2f}", "start", color, 13))
    return "\n".join(out)


def chart(rows):
    measured = {name: points for name, points in rows.items() if name != "simulated"}
    width, height, columns = 200, 150, 3
    wide, high = columns * 300, 48 + 220 * math.ceil(len(measured) / columns)
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {wide} {high}" width="{wide}" height="{high}" role="img" '
        'font-family="system-ui, sans-serif"><title>How a training step grows</title><desc>Time and memory against context, '
        "width, layers, batch, threads and responses of a ranking, on logarithmic axes, with fitted exponents</desc>",
    ]
    for x, color, words in ((16, TIME, "time, ms"), (116, MEMORY, "memory, MiB")):
        out.append(f'<path stroke="{color}" stroke-width="2" d="M{x} 16h18"/>')
        out.append(f'<text x="{x + 24}" y="21" font-size="14" fill="{GREY}">{words}</text>')
    out.append(f'<text x="250" y="21" font-size="14" fill="{GREY}">at the end of a line: its exponent; dashed: simulated</text>')
    for i, (name, points) in enumerate(measured.items()):
        simulated = rows.get("simulated", ()) if name == "threads" else ()
        out.append(panel(name, points, 48 + 300 * (i % columns), 72 + 220 * (i // columns), width, height, simulated))
    return "\n".join(out + ["</svg>\n"])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", default="target/release/examples/growth")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", nargs="+", choices=SWEEPS, default=list(SWEEPS))
    parser.add_argument("--chart", help="the SVG to write")
    args = parser.parse_args()
    if args.chart and "simulated" in args.only and "threads" not in args.only:
        parser.error("the chart has simulated threads beside the measured ones: --only threads simulated")
    rows = sweep_rows(args.program, args.rounds, args.only)
    print(table(rows))
    for name, points in rows.items():
        of = lambda ms, mib, gflop: [f"{ms:.4g} ms", *([] if mib is None else [f"{mib:.4g} MiB"]), f"{gflop / ms * 1e3:.0f} GFLOP/s"]
        print(f"\n{name}: " + "; ".join(f"{v}: " + ", ".join(of(*numbers)) for v, *numbers in points))
    if args.chart:
        with open(args.chart, "w", encoding="utf-8") as file:
            file.write(chart(rows))


if __name__ == "__main__":
    main()
