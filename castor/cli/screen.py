"""What the terminal shows: tables, progress with time left, and sizes in words."""

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table

console = Console(highlight=False, soft_wrap=True)
aside = Console(stderr=True, highlight=False)


def table(heads: Sequence[str], rows: Sequence[Sequence[str]], *, title: str = "") -> None:
    """Print rows under heads; columns whose cells begin with a digit stand on the right."""
    shown = Table(title=title or None, title_justify="left", box=None, pad_edge=False)
    for i, head in enumerate(heads):
        numbers = all(row[i][:1].isdigit() or not row[i] for row in rows) and bool(rows)
        shown.add_column(head, justify="right" if numbers else "left", overflow="fold")
    for row in rows:
        shown.add_row(*map(escape, row))
    Console(highlight=False, width=None if sys.stdout.isatty() else 200).print(shown)


@contextmanager
def progress(what: str) -> Iterator[Callable[[str, int, int], None]]:
    """A live bar on standard error; the function it gives takes (text, done, total)."""
    bar = Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        console=aside,
        transient=True,
    )
    with bar:
        task = bar.add_task(what, total=None)
        yield lambda text, done, total: bar.update(
            task, description=text, completed=done, total=total
        )


def in_bytes(count: float) -> str:
    """A number of bytes with a unit of a thousand: "3.4 MB"."""
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if count < 1000 or unit == "TB":
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    raise AssertionError


def in_words(count: float) -> str:
    """A number in thousands, millions, billions: "3.40M"."""
    for unit in ("", "k", "M", "G", "T"):
        if count < 1000 or unit == "T":
            return f"{count:.0f}" if not unit else f"{count:.2f}{unit}"
        count /= 1000
    raise AssertionError


def seconds(count: float) -> str:
    """A stretch of time: "48 s", "12 min", "2.4 h"."""
    if count < 100:
        return f"{count:.0f} s"
    return f"{count / 60:.0f} min" if count < 100 * 60 else f"{count / 3600:.1f} h"
