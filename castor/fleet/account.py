"""What a run's time went to, from its ledger, and how much of it was of use.

Invariant: the seconds of all causes add up to the elapsed time, to the microsecond, whatever the
order of the lines.
"""

import itertools
import math
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64

from castor.fleet.ledger import Entries, Event, Interval, entries

# Where intervals overlap, the one that stands first here has the time.
ORDER = ("compile", "restore", "checkpoint", "evaluation", "data", "replay", "step", "restart")
KINDS = ("step", "replay", *(cause for cause in ORDER if cause not in ("step", "replay")), "other")
OUTAGE = ("restart", "restore", "compile", "other")  # what a fault costs besides lost steps
MICRO = 1_000_000
HOUR = 3600.0

Shares = dict[str, Float64[np.ndarray, " windows"]]  # by cause, all of KINDS


class Stretch(NamedTuple):
    """Time of one cause; `begun` and `ended` are microseconds since the first moment."""

    cause: str
    begun: int
    ended: int


@dataclass(frozen=True)
class Fault:
    """What befell the run; moments are seconds since the first one, None = never.

    `resumed` is the end of the first step that began after it was detected. `seconds` are what it
    cost, by cause: the steps that were lost, and all restart, restore, compile and other time from
    the last thing done before it until `resumed` or the next fault.
    """

    at: float
    what: str
    detected: float | None
    resumed: float | None
    seconds: dict[str, float]

    @property
    def cost(self) -> float:
        """Seconds in all."""
        return sum(self.seconds.values())


@dataclass(frozen=True)
class Account:
    """Where the time went, from the first moment of a ledger (unix seconds) to the last."""

    begun: float
    elapsed: float
    seconds: dict[str, float]  # by cause, all of KINDS; "step" is useful steps alone
    stretches: tuple[Stretch, ...]  # in order, without a gap
    faults: tuple[Fault, ...]
    steps: int  # useful ones
    lost: int  # steps that were computed for nothing
    torn: int  # lines that were left out

    @property
    def goodput(self) -> float:
        """Time of useful new steps over elapsed time; 0 if none has elapsed. [report]"""
        return self.seconds["step"] / self.elapsed if self.elapsed else 0.0

    @property
    def cost_per_fault(self) -> float | None:
        """Mean seconds, or None if there was no fault."""
        costs = [fault.cost for fault in self.faults]
        return math.fsum(costs) / len(costs) if costs else None


class _Step(NamedTuple):
    interval: Interval
    undone: float | None  # when a step of the same or a lower number began later: it was lost


def read(path: Path) -> Account:
    """The account of a ledger's file.

    Raises:
        ValueError: it is not there, is no ledger, or has no whole line yet.
    """
    if not path.is_file():
        raise ValueError(f"there is no ledger {path}")
    try:
        return account(path.read_text(encoding="utf-8", errors="replace").split("\n"))
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def account(lines: Iterable[str]) -> Account:
    """Seconds by cause, in one sweep over the lines of a ledger.

    What no interval covers is "other". What several cover belongs to the first of: compile,
    restore, checkpoint, evaluation, data, replay, step, restart: a step holds what is done within
    it, and a restart holds what the new process says of itself. A step is lost ("replay") if a step
    of the same or a lower number of its stage ended later: of a step that was computed several
    times the last one counts, and steps beyond a rollback count only when they are taken again.

    It does not see waiting within a step: one that a slow neighbour held up counts whole, and what
    hosts did meanwhile ("host") is left to castor.fleet.stragglers. Clocks of several hosts are
    believed as they stand.

    Raises:
        ValueError: a whole line is none of a ledger, or there is no whole line.
    """
    found = entries(lines)
    if not (found.intervals or found.events):
        raise ValueError("the ledger has no whole line yet")
    moments = [t for i in found.intervals for t in (i.begun, i.ended)]
    moments += [event.at for event in found.events]
    begun, ended = min(moments), max(moments)
    found = found._replace(intervals=[i for i in found.intervals if i.cause != "host"])
    steps = _steps(found.intervals)
    rest = [(i.cause, i) for i in found.intervals if i.cause != "step"]
    named = [*rest, *(("step" if s.undone is None else "replay", s.interval) for s in steps)]
    spans = [Stretch(c, _micros(i.begun - begun), _micros(i.ended - begun)) for c, i in named]
    stretches = _sweep(spans, _micros(ended - begun))
    totals: Counter[str] = Counter()
    for cause, start, end in stretches:
        totals[cause] += end - start
    lost = sum(step.undone is not None for step in steps)
    return Account(
        begun=begun,
        elapsed=_micros(ended - begun) / MICRO,
        seconds={cause: totals[cause] / MICRO for cause in KINDS},
        stretches=tuple(stretches),
        faults=_faults(found, steps, stretches, begun=begun),
        steps=len(steps) - lost,
        lost=lost,
        torn=found.torn,
    )


def at_rate(account: Account, faults_per_hour: float, *, hours: float | None = None) -> float:
    """The goodput of the same run at another rate of faults, or if it had gone on for so long.

    With S seconds of useful steps, E elapsed, n faults and C seconds that they cost in all, an
    undisturbed second does S / (E - C), and r faults an hour leave 1 - r (C / n) / 3600 of each
    hour undisturbed; goodput is their product, or 0. At the ledger's own rate, 3600 n / E, that is
    its own goodput. The start of the run counts in full, though a longer one has only one start:
    with `hours`, what came before the first step is spent once in these.

    Raises:
        ValueError: the rate is negative, there was no fault to learn a cost from, or the hours are
            over before the first step.
    """
    if not (math.isfinite(faults_per_hour) and faults_per_hour >= 0):
        raise ValueError(f"{faults_per_hour:g} faults an hour is no rate; it is a number from 0 up")
    cost = account.cost_per_fault
    if cost is None and faults_per_hour:
        raise ValueError("the ledger has no fault, so nothing says what one costs")
    each = cost or 0.0
    once = 0.0
    if hours is not None:
        steps = (s.begun for s in account.stretches if s.cause in ("step", "replay"))
        once = next(steps, 0) / MICRO
        if not once < hours * HOUR:
            raise ValueError(
                f"in {hours:g} hours there was no step: the first began at {once:,.0f} s"
            )
    later = math.fsum(fault.cost for fault in account.faults if fault.at >= once)
    calm = account.elapsed - once - later
    undisturbed = min(1.0, account.seconds["step"] / calm) if calm > 0 else 0.0
    kept = 1.0 - once / (hours * HOUR) if hours else 1.0
    return undisturbed * kept * max(0.0, 1.0 - faults_per_hour * each / HOUR)


def shares(account: Account, *, windows: int) -> Shares:
    """Of each of so many equal windows of the run, the share of every cause; they add up to 1.

    Raises:
        ValueError: no time has elapsed.
    """
    if not account.elapsed:
        raise ValueError("the ledger spans no time yet")
    edges = np.linspace(0.0, account.elapsed * MICRO, windows + 1)
    found: Shares = {}
    for cause in KINDS:
        mine = [stretch[1:] for stretch in account.stretches if stretch.cause == cause]
        moments = np.array([0, *itertools.chain(*mine)], np.float64)
        grown = np.diff(moments)
        grown[::2] = 0.0  # from the end of one stretch to the begin of the next
        sums = np.concatenate([[0.0], np.cumsum(grown)])
        found[cause] = np.diff(np.interp(edges, moments, sums)) / np.diff(edges)
    return found


def _micros(seconds: float) -> int:
    return round(seconds * MICRO)


def _steps(intervals: Iterable[Interval]) -> list[_Step]:
    """Training steps in the order of their ends, each with when it was undone."""
    found: list[_Step] = []
    later: dict[str, list[Interval]] = {}  # by stage: those that may undo an earlier one
    steps = [i for i in intervals if i.cause == "step"]
    for one in sorted(steps, key=lambda i: (i.ended, i.begun, i.step or 0), reverse=True):
        undoing = later.setdefault(one.stage, [])
        while undoing and (undoing[-1].step or 0) > (one.step or 0):
            undoing.pop()
        found.append(_Step(one, undoing[-1].begun if undoing else None))
        undoing.append(one)
    return found[::-1]


def _sweep(spans: Sequence[Stretch], end: int) -> list[Stretch]:
    """The time from 0 to `end`, every moment to the cause that comes first in ORDER."""
    changes: dict[int, Counter[str]] = {0: Counter(), end: Counter()}
    for cause, begun, ended in spans:
        changes.setdefault(begun, Counter())[cause] += 1
        changes.setdefault(ended, Counter())[cause] -= 1
    found: list[Stretch] = []
    active: Counter[str] = Counter()
    moments = sorted(changes)
    for i, moment in enumerate(moments[:-1]):
        for cause, change in changes[moment].items():
            active[cause] += change
        cause = next((cause for cause in ORDER if active[cause]), "other")
        if found and found[-1].cause == cause:
            found[-1] = found[-1]._replace(ended=moments[i + 1])
        else:
            found.append(Stretch(cause, moment, moments[i + 1]))
    return found


def _faults(
    found: Entries, steps: list[_Step], stretches: list[Stretch], *, begun: float
) -> tuple[Fault, ...]:
    """Every fault with what it cost; a detection without one before it is a fault of its own."""
    faults = _noticed(found.events, begun=begun)
    steps = sorted(steps, key=lambda step: step.interval.begun)
    starts = [_micros(step.interval.begun - begun) for step in steps]
    ends = sorted(_micros(i.ended - begun) for i in found.intervals)
    costs = _lost(faults, steps, stretches, begun=begun)
    end = stretches[-1].ended if stretches else 0
    free = 0  # nothing before it is charged again
    for i, fault in enumerate(faults):
        at, resumed = _micros(fault.at), None
        seen = at if fault.detected is None else _micros(fault.detected)
        if (after := bisect_left(starts, seen)) < len(steps):
            resumed = _micros(steps[after].interval.ended - begun)
        last = bisect_right(ends, at)
        first = max(free, ends[last - 1] if last else at)
        until = _micros(faults[i + 1].at) if i + 1 < len(faults) else end
        until = until if resumed is None else min(until, resumed)
        spent = _within(stretches, first, until)
        costs[i].update({cause: spent[cause] for cause in OUTAGE})
        free = max(free, until)
        faults[i] = replace(
            fault,
            resumed=None if resumed is None else resumed / MICRO,
            seconds={cause: n / MICRO for cause, n in costs[i].items() if n},
        )
    return tuple(faults)


def _noticed(events: list[Event], *, begun: float) -> list[Fault]:
    """Faults in their order, not yet with a cost; a detection belongs to the latest one before."""
    found: list[Fault] = []
    order = {"fault": 0, "detected": 1}
    those = [event for event in events if event.event in order]
    for event in sorted(those, key=lambda e: (e.at, order[e.event], str(e.details))):
        at = _micros(event.at - begun) / MICRO
        if event.event == "detected" and found and found[-1].detected is None:
            found[-1] = replace(found[-1], detected=at)
        else:
            detected = at if event.event == "detected" else None
            found.append(Fault(at, _told(event), detected, None, {}))
    return found


def _told(event: Event) -> str:
    details = {key: value for key, value in event.details.items() if key != "what"}
    what = str(event.details.get("what", event.event))
    return ", ".join([what, *(f"{key} {value}" for key, value in details.items())])


def _lost(
    faults: list[Fault], steps: list[_Step], stretches: list[Stretch], *, begun: float
) -> list[Counter[str]]:
    """Time of lost steps, charged to the last fault before the step that undid them."""
    costs: list[Counter[str]] = [Counter() for _ in faults]
    moments, done = [_micros(fault.at) for fault in faults], 0
    for step, undone in steps:
        if undone is None:
            continue
        first, ended = max(done, _micros(step.begun - begun)), _micros(step.ended - begun)
        culprit = bisect_right(moments, _micros(undone - begun)) - 1
        if culprit >= 0:
            costs[culprit]["replay"] += _within(stretches, first, ended)["replay"]
        done = max(done, ended)
    return costs


def _within(stretches: list[Stretch], first: int, until: int) -> Counter[str]:
    """Microseconds by cause between two moments."""
    spent: Counter[str] = Counter()
    at = max(0, bisect_right(stretches, first, key=lambda stretch: stretch.begun) - 1)
    while at < len(stretches) and stretches[at].begun < until:
        cause, begun, ended = stretches[at]
        spent[cause] += max(0, min(ended, until) - max(begun, first))
        at += 1
    return spent
