"""A run as it goes: a bar for each of its stages, with its figures and the time that is left."""

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)

from castor.cli.screen import aside, seconds
from castor.train.job import Progress as Place


class Live:
    """Bars on standard error while a `with` block lasts; `show` is what `train` reports to."""

    def __init__(self, console: Console = aside) -> None:
        self._bar = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("{task.fields[numbers]}", markup=False),
            TimeElapsedColumn(),
            TextColumn("{task.fields[left]}", markup=False),
            console=console,
        )
        self._stages: dict[str, TaskID] = {}

    def __enter__(self) -> "Live":
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def show(self, place: Place) -> None:
        """Move the bar of the stage; the stages before it are done."""
        if place.stage not in self._stages:
            for task in self._bar.tasks:
                if not task.finished:
                    self._bar.update(task.id, total=max(1, task.completed), completed=1, left="")
            made = self._bar.add_task(place.stage, total=None, numbers="", left="")
            self._stages[place.stage] = made
        left = "" if place.seconds_left is None else f"{seconds(place.seconds_left)} left"
        self._bar.update(
            self._stages[place.stage],
            completed=place.done,
            total=place.total or None,
            numbers="  ".join(f"{name} {value:,.4g}" for name, value in place.numbers.items()),
            left=left if place.done < place.total else "",
        )
