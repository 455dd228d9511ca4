"""The picture of where a run's time went."""

from pathlib import Path
from typing import Any

import numpy as np

from castor.fleet.account import KINDS, Account, Shares, shares

INK, PALE = "#333333", "#e8e8e8"
COLOURS = {
    "step": "#3b6ea5",
    "replay": "#c8553d",
    "compile": "#8a63a8",
    "restore": "#4f8f4a",
    "checkpoint": "#2f8f9b",
    "evaluation": "#b0568a",
    "data": "#d9a441",
    "restart": "#e08a3c",
    "other": "#bdbdbd",
}
COLUMNS = 1200  # of the time line, about one a pixel
WINDOWS = 60  # of goodput, at most
LEAST_S = 1.0  # of a window
APART = 0.02  # of the time line between two faults that are both named
UNITS = (("hours", 3600.0, 2 * 3600.0), ("minutes", 60.0, 120.0), ("seconds", 1.0, 0.0))


def draw_timeline(account: Account, path: Path, *, title: str) -> None:
    """Three panels as a PNG: the time line, what was not useful by cause, goodput by window.

    Every column of the time line shows the shares of its causes, however short they were; faults
    are marked above it.

    Raises:
        ValueError: the ledger spans no time.
    """
    columns = shares(account, windows=COLUMNS)
    from matplotlib.figure import Figure

    figure = Figure(figsize=(14, 7), layout="constrained")
    told = f"{title}: goodput {100 * account.goodput:.1f} % of {account.elapsed:,.0f} s"
    faults = f", {len(account.faults)} faults" if account.faults else ""
    figure.suptitle(f"{told}{faults}  ·  blue: useful steps", x=0.01, ha="left", color=INK)
    grid = figure.add_gridspec(2, 2, height_ratios=(1.3, 1.6), width_ratios=(1, 1.6))
    line, bars = figure.add_subplot(grid[0, :]), figure.add_subplot(grid[1, 0])
    windows = figure.add_subplot(grid[1, 1])
    unit, scale, _ = next(u for u in UNITS if account.elapsed >= u[2])
    _line(line, columns, account, scale=scale)
    _bars(bars, account)
    _windows(windows, account, scale=scale)
    for panel in (line, bars, windows):
        panel.spines[["top", "right"]].set_visible(False)
        panel.tick_params(which="both", labelsize=8, colors=INK)
        panel.set_axisbelow(True)
        panel.title.set(fontsize=10, color=INK)
    for panel in (line, windows):
        panel.set_xlim(0, account.elapsed / scale)
        panel.set_xlabel(unit, fontsize=9, color=INK)
    figure.savefig(path, format="png", dpi=110)


def _line(panel: Any, columns: Shares, account: Account, *, scale: float) -> None:
    edges = np.linspace(0, account.elapsed / scale, COLUMNS + 1)
    floor = np.zeros(COLUMNS)
    for cause in KINDS:
        top, colour = floor + columns[cause], COLOURS[cause]
        panel.stairs(top, edges, baseline=floor, fill=True, color=colour, antialiased=False)
        floor = top
    panel.set_ylim(0, 1)
    panel.set_yticks([])
    named = -1.0
    for fault in account.faults:
        place = fault.at / account.elapsed
        panel.plot(place, 1.03, "v", color=INK, ms=4, transform=panel.transAxes, clip_on=False)
        if place - named >= APART:
            named = place
            panel.annotate(
                fault.what if len(fault.what) <= 26 else f"{fault.what[:25]}…",
                xy=(place, 1.07),
                xycoords="axes fraction",
                rotation=40,
                fontsize=6.5,
                color=INK,
                annotation_clip=False,
            )


def _bars(panel: Any, account: Account) -> None:
    causes = [cause for cause in KINDS[::-1] if cause != "step"]
    spent = [account.seconds[cause] for cause in causes]
    panel.barh(causes, spent, color=[COLOURS[cause] for cause in causes])
    for place, seconds in enumerate(spent):
        text = f" {seconds:,.1f} s, {100 * seconds / account.elapsed:.2f} %"
        panel.text(seconds, place, text, va="center", fontsize=8, color=INK)
    panel.set_xlim(0, 1.5 * max(spent) or 1.0)
    panel.set_xlabel("seconds", fontsize=9, color=INK)
    panel.set_title("time that was not useful, by cause")
    panel.grid(axis="x", color=PALE)


def _windows(panel: Any, account: Account, *, scale: float) -> None:
    count = max(1, min(WINDOWS, int(account.elapsed / LEAST_S)))
    edges = np.linspace(0, account.elapsed / scale, count + 1)
    useful = 100 * shares(account, windows=count)["step"]
    panel.stairs(useful, edges, fill=True, color=COLOURS["step"], alpha=0.35)
    panel.axhline(100 * account.goodput, color=COLOURS["step"], linewidth=1.3)
    panel.set_ylim(0, 100)
    panel.set_title(
        f"goodput by windows of {account.elapsed / count:.3g} s, in percent (line: of the run)"
    )
    panel.grid(axis="y", color=PALE)
