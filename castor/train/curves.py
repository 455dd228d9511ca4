"""The picture of a run: what it lost, how fast it went, drawn from its log."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from castor.train.metrics import read

INK, GREY = "#222222", "#999999"
COLOURS = ("#3b6ea5", "#c8553d", "#5b9a55", "#8a63a8", "#d19a2e", "#3f9aa6", "#b0568a", "#6d6d6d")
DASHES = ("-", "--", ":", "-.")
FEW = 12  # more sources than this share a line each with their modality
SMOOTH = 0.8  # of each point, how much is the one before it


def draw_curves(log: Path, path: Path, *, title: str) -> None:
    """Four panels as a PNG: loss by source, bits per byte, learning rate, tokens per second.

    A log without a line is no picture.
    """
    lines = read(log)
    training = [line for line in lines if "loss" in line]
    if not training:
        return
    from matplotlib.figure import Figure

    held_out = [{"step": line["step"], **line["held_out"]} for line in lines if "held_out" in line]
    figure = Figure(figsize=(13, 8), layout="constrained")
    figure.suptitle(f"{title}: {training[-1]['step']} steps", x=0.01, ha="left", color=INK)
    axes = figure.subplots(2, 2, width_ratios=(3, 2))
    unit = "psnr" if _has(training, "psnr") else "nats"
    _by_source(axes[0, 0], training, held_out, unit)
    axes[0, 0].set_title(
        "decibels by source" if unit == "psnr" else "nats per learned token, by source"
    )
    if _has(training, "bits_per_byte"):
        _by_source(axes[1, 0], training, held_out, "bits_per_byte")
        axes[1, 0].set_title("bits per byte, by source")
    else:
        _line(axes[1, 0], training, "loss", "loss")
        _dots(axes[1, 0], held_out, lambda line: line["loss"])
    _line(axes[0, 1], training, "lr", "learning rate")
    _line(axes[1, 1], training, "tokens_per_s", "tokens per second")
    axes[1, 1].set_ylim(bottom=0)
    for panel in axes.flat:
        panel.spines[["top", "right"]].set_visible(False)
        panel.tick_params(labelsize=8, color=GREY)
        panel.grid(axis="y", color="#eeeeee")
        panel.set_axisbelow(True)
        panel.title.set(fontsize=10, color=INK)
    for panel in axes[1]:
        panel.set_xlabel("step", fontsize=9)
    figure.savefig(path, dpi=110)


def _has(lines: list[dict[str, Any]], unit: str) -> bool:
    return any(unit in costs for line in lines for costs in line["sources"].values())


def _by_source(
    panel: Any, training: list[dict[str, Any]], held_out: list[dict[str, Any]], unit: str
) -> None:
    """One smoothed line per source, held-out values as dots, named at the right."""
    names = [
        name
        for name in dict.fromkeys(name for line in training for name in line["sources"])
        if any(unit in line["sources"].get(name, {}) for line in training)
    ]
    for i, name in enumerate(names):
        style = {"color": COLOURS[i % len(COLOURS)], "linestyle": DASHES[i // len(COLOURS) % 4]}
        points = [
            (line["step"], line["sources"][name][unit])
            for line in training
            if line["sources"].get(name, {}).get(unit) is not None
        ]
        panel.plot(*_smoothed(points), linewidth=1.4, label=name, **style)
        _dots(panel, held_out, _value(name, unit), colour=style["color"])
    columns = 1 + (len(names) > FEW)
    panel.legend(
        fontsize=7, ncols=columns, frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5)
    )


def _value(name: str, unit: str) -> Callable[[dict[str, Any]], Any]:
    return lambda line: line["sources"].get(name, {}).get(unit)


def _dots(
    panel: Any,
    held_out: list[dict[str, Any]],
    value: Callable[[dict[str, Any]], Any],
    colour: str = COLOURS[0],
) -> None:
    points = [(line["step"], value(line)) for line in held_out if value(line) is not None]
    if points:
        panel.plot(*zip(*points, strict=True), "o", markersize=3.5, color=colour)


def _line(panel: Any, lines: list[dict[str, Any]], key: str, title: str) -> None:
    points = [(line["step"], line[key]) for line in lines if line[key] is not None]
    if points:
        panel.plot(*zip(*points, strict=True), color=COLOURS[0], linewidth=1.4)
    panel.set_title(title)


def _smoothed(points: list[tuple[int, float]]) -> tuple[list[int], list[float]]:
    """Steps and running means; the first points count as much as there are of them."""
    values: list[float] = []
    total = weight = 0.0
    for _, value in points:
        total, weight = SMOOTH * total + value, SMOOTH * weight + 1
        values.append(total / weight)
    return [step for step, _ in points], values
