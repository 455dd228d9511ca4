"""The picture of a run: what it lost, how fast it went, drawn from its log."""

from collections.abc import Callable
from pathlib import Path
from statistics import fmean, median
from typing import Any

from castor.train.metrics import read

INK, PALE = "#333333", "#e8e8e8"
COLOURS = ("#3b6ea5", "#c8553d", "#4f8f4a", "#8a63a8", "#c78a1b", "#2f8f9b", "#b0568a", "#6d6d6d")
POINTS = 150  # a longer line is drawn by the means of this many stretches
ROOM = 0.03  # of a panel's height between two names
LETTERS = 26  # of a source's name; a longer one loses its middle

Line = dict[str, Any]
Points = list[tuple[float, float]]


def draw_curves(log: Path, path: Path, *, title: str) -> None:
    """Four panels as a PNG: loss by source, bits per byte, learning rate, tokens per second.

    Lines are training, dots held-out data; sources are named at the right with their last value.
    Without a line in the log nothing is drawn.
    """
    lines = read(log)
    training = [line for line in lines if "loss" in line]
    if not training:
        return
    from matplotlib.figure import Figure

    held_out = [{"step": line["step"], **line["held_out"]} for line in lines if "held_out" in line]
    pictures = _has(training, "psnr")
    dots = "  ·  lines: training, dots: held-out data" if held_out else ""
    figure = Figure(figsize=(14, 9), layout="constrained")
    figure.suptitle(f"{title}, {training[-1]['step']:,} steps{dots}", x=0.01, ha="left", color=INK)
    axes = figure.subplots(2, 2, height_ratios=(3, 1))
    names = _by_loss(training, "psnr" if pictures else "nats")
    first, second = axes[0]
    _sources(first, names, training, held_out, "psnr" if pictures else "nats")
    first.set_title("decibels, by source" if pictures else "nats per learned token, by source")
    if _has(training, "bits_per_byte"):
        _sources(second, names, training, held_out, "bits_per_byte")
        second.set_title("bits per byte of text, by source")
    else:
        _plot(second, _points(training, lambda line: line["loss"]), COLOURS[0])
        _dots(second, _points(held_out, lambda line: line["loss"]), COLOURS[0])
        second.set_title("loss")
    _plot(axes[1, 0], _points(training, lambda line: line["lr"]), COLOURS[0])
    axes[1, 0].set_title("learning rate")
    _plot(axes[1, 1], _points(training, lambda line: line["tokens_per_s"]), COLOURS[0])
    unit, share = "pictures" if pictures else "tokens", median(x["utilisation"] for x in training)
    axes[1, 1].set_title(f"{unit} per second ({100 * share:.0f} % of the measured peak)")
    axes[1, 1].set_ylim(bottom=0)
    for panel in axes.flat:
        panel.spines[["top", "right"]].set_visible(False)
        panel.tick_params(which="both", labelsize=8, colors=INK)
        panel.grid(axis="y", color=PALE)
        panel.set_axisbelow(True)
        panel.title.set(fontsize=10, color=INK)
    for panel in axes[1]:
        panel.set_xlabel("step", fontsize=9, color=INK)
    figure.savefig(path, dpi=110)


def _has(lines: list[Line], unit: str) -> bool:
    return any(unit in costs for line in lines for costs in line["sources"].values())


def _by_loss(training: list[Line], unit: str) -> list[str]:
    """All sources, the one that was highest in the end first."""
    last = {name: costs[unit] for line in training for name, costs in line["sources"].items()}
    return sorted(last, key=lambda name: -(last[name] or 0))


def _sources(
    panel: Any, names: list[str], training: list[Line], held_out: list[Line], unit: str
) -> None:
    """One line for each source; its name stands at its end, moved up or down for room."""
    ends: list[tuple[float, float, str, str]] = []
    for i, name in enumerate(names):
        points, colour = _points(training, _cost(name, unit)), COLOURS[i % len(COLOURS)]
        if points:
            x, y = _plot(panel, points, colour)
            _dots(panel, _points(held_out, _cost(name, unit)), colour)
            ends.append((y, x, name, colour))
    if unit != "psnr":
        panel.set_yscale("log")
        panel.yaxis.set_major_formatter("{x:g}")
        panel.yaxis.set_minor_formatter("{x:g}")
    ends.sort(reverse=True)
    panel.get_ylim()  # settles the limits that the next line reads
    to_panel = panel.transData + panel.transAxes.inverted()
    heights = [float(to_panel.transform((x, y))[1]) for y, x, *_ in ends]
    places = _spread(heights, least=min(ROOM, 1 / max(1, len(ends) - 1)))
    for place, (y, x, name, colour) in zip(places, ends, strict=True):
        panel.annotate(
            f"{y:.2f} {_short(name)}",
            xy=(x, y),
            xytext=(1.06, place),
            textcoords="axes fraction",
            fontsize=7.5,
            color=colour,
            va="center",
            annotation_clip=False,
            arrowprops={"arrowstyle": "-", "color": colour, "linewidth": 0.6, "relpos": (0, 0.5)},
        )


def _spread(places: list[float], *, least: float) -> list[float]:
    """Falling places moved so that neighbours are `least` apart and all are within 0 to 1."""
    groups: list[list[float]] = []  # places that touch stand evenly around their mean
    for place in places:
        groups.append([place])
        while len(groups) > 1 and _ends(groups[-2], least)[0] < _ends(groups[-1], least)[1] + least:
            groups[-2:] = [groups[-2] + groups[-1]]
    return [_ends(group, least)[1] - least * i for group in groups for i in range(len(group))]


def _ends(group: list[float], least: float) -> tuple[float, float]:
    """The lowest and the highest place of an evenly spread group."""
    height = least * (len(group) - 1)
    low = min(max(fmean(group) - height / 2, 0.0), 1.0 - height)
    return low, low + height


def _short(name: str) -> str:
    return name if len(name) <= LETTERS else f"{name[: LETTERS - 5]}…{name[-4:]}"


def _cost(name: str, unit: str) -> Callable[[Line], Any]:
    return lambda line: line["sources"].get(name, {}).get(unit)


def _points(lines: list[Line], value: Callable[[Line], Any]) -> Points:
    return [(line["step"], value(line)) for line in lines if value(line) is not None]


def _plot(panel: Any, points: Points, colour: str) -> tuple[float, float]:
    """Draw a line, and give its last point."""
    size = -(-len(points) // POINTS)
    stretches = [points[i : i + size] for i in range(0, len(points), size)]
    means = [(s[-1][0], fmean(y for _, y in s)) for s in stretches]
    panel.plot(*zip(*means, strict=True), color=colour, linewidth=1.3)
    return means[-1]


def _dots(panel: Any, points: Points, colour: str) -> None:
    if points:
        panel.plot(*zip(*points, strict=True), "o", markersize=3, color=colour)
