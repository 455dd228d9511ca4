"""Which hosts of a run kept the others waiting, from the ledgers that each of them wrote.

Collectives end a step on all hosts together and so hide who was late. What a host did by itself
between the end of one step and the begin of the next does not: its ledger has that as "host". Only
durations are compared, so clocks may differ.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64, Int64

from castor.fleet.ledger import Interval, entries

NAME = re.compile(r"ledger(?:_(\d+))?\.jsonl")  # ledger.jsonl is that of host 0
BLOCKS = 32  # stretches of a run whose medians show how much a host's time varies
FEWEST = 64  # steps that must have been taken before a host is called slow
NOISE = 10.0  # how often its standard error a host's excess must be
MATTERS = 0.01  # of a step, the least excess that is worth a word
SPREAD = 1.4826  # a normal distribution's standard deviation over its MAD

Step = tuple[str, int]  # (stage, number)
Own = Float64[np.ndarray, "hosts steps"]  # seconds; NaN where a host has not written a step
Ranks = Int64[np.ndarray, "hosts steps"]


class Host(NamedTuple):
    """One host's own time for a step, in seconds, over all the steps that it wrote down.

    `last` counts the steps whose latest host it was. `cost_s` is what it cost in all: every moment
    from the first host's readiness to the last one's is charged in equal parts to the hosts that
    are not ready yet. `excess_s` and `slow` are as `stragglers` says.
    """

    host: int
    steps: int
    median_s: float
    p99_s: float
    last: int
    cost_s: float
    excess_s: float
    slow: bool


def read_hosts(folder: Path) -> dict[int, list[Interval]]:
    """The intervals of every ledger in a run's folder, by host.

    Raises:
        ValueError: a file is named like a ledger and is none.
    """
    found: dict[int, list[Interval]] = {}
    for path in folder.iterdir():
        if not (name := NAME.fullmatch(path.name)):
            continue
        lines = path.read_text(encoding="utf-8", errors="replace").split("\n")
        try:
            found[int(name[1] or 0)] = entries(lines).intervals
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from None
    return dict(sorted(found.items()))


def stragglers(ledgers: Mapping[int, list[Interval]]) -> list[Host]:
    """Every host that wrote own times, by number; none if fewer than two did.

    Of a step that was taken several times the last one counts; of one that a single host wrote
    down, nothing does. A host's excess in a step is its own time less the median of the others'.
    The run is cut into 32 blocks of as many steps each (a rest at its end is left out), and E is
    the host's median excess in each block. A host is slow if it has 64 steps or more and

        median(E) > 10 * 1.4826 * MAD(E) / sqrt(32)   and   median(E) > 1 % of the median step.

    Of 8,000 simulated runs whose hosts were equal, 2 to 8 of them, in 64 to 200 steps that did not
    depend on each other, the first held in none, whether times were normal, lognormal, exponential
    or had spikes. What varies more slowly than a block lasts can pass for a slow host. One that is
    late now and then is not called slow: its 99th percentile and its cost tell.
    """
    times = {host: _own(intervals) for host, intervals in ledgers.items()}
    steps = sorted({step for own in times.values() for step in own})
    own = np.array([[own.get(step, np.nan) for step in steps] for own in times.values()])
    own = own.reshape(len(times), len(steps))
    found = compared(own, step_s=_median_step(ledgers))
    names = list(times)
    return [host._replace(host=names[host.host]) for host in found]


def compared(own: Own, *, step_s: float) -> list[Host]:
    """The same from own times alone, hosts by their rows; a step takes `step_s`."""
    own = own[:, (~np.isnan(own)).sum(axis=0) >= 2]
    if not own.size:
        return []
    ordered, ranks = np.sort(own, axis=0), own.argsort(axis=0).argsort(axis=0)
    excesses = own - _of_others(ordered, ranks)
    costs, worth = _costs(ordered, ranks), MATTERS * step_s
    return [
        _judged(host, own[host], excesses[host], last=last, cost=costs[host], worth=worth)
        for host, last in enumerate(_lasts(own, ordered))
        if not np.isnan(own[host]).all()
    ]


def waited_s(hosts: list[Host]) -> float:
    """Seconds from the first host's readiness to the last one's, over all steps."""
    return float(np.sum([host.cost_s for host in hosts]))


def _own(intervals: list[Interval]) -> dict[Step, float]:
    """Of each step the host's own time that was written last."""
    found = [i for i in intervals if i.cause == "host" and i.step is not None]
    found.sort(key=lambda i: i.ended)
    return {(i.stage, i.step or 0): i.ended - i.begun for i in found}


def _median_step(ledgers: Mapping[int, list[Interval]]) -> float:
    taken = [i.ended - i.begun for ledger in ledgers.values() for i in ledger if i.cause == "step"]
    return float(np.median(taken)) if taken else 0.0


def _of_others(ordered: Own, ranks: Ranks) -> Own:
    """The median of the other hosts' times, from all times in order; NaNs stand last."""
    others = (~np.isnan(ordered)).sum(axis=0)[None] - 1

    def at(place: np.ndarray) -> np.ndarray:
        return np.take_along_axis(ordered, np.maximum(0, place + (place >= ranks)), axis=0)

    return (at((others - 1) // 2) + at(others // 2)) / 2


def _costs(ordered: Own, ranks: Ranks) -> Float64[np.ndarray, " hosts"]:
    """Seconds charged to every host, over all steps."""
    later = np.nan_to_num(np.diff(ordered, axis=0, prepend=ordered[:1]))
    present = (~np.isnan(ordered)).sum(axis=0)
    waiting = np.maximum(1, present[None] - np.arange(len(ordered))[:, None])  # until then
    charged = np.cumsum(later / waiting, axis=0)
    mine = np.take_along_axis(charged, ranks, axis=0)
    return np.where(ranks < present, mine, 0.0).sum(axis=1)


def _lasts(own: Own, ordered: Own) -> list[int]:
    """In how many steps each host was later than every other one."""
    latest = np.nanmax(ordered, axis=0)
    alone = (ordered == latest).sum(axis=0) == 1
    return ((own == latest) & alone).sum(axis=1).tolist()


def _judged(
    host: int,
    own: Float64[np.ndarray, " steps"],
    excess: Float64[np.ndarray, " steps"],
    *,
    last: int,
    cost: float,
    worth: float,
) -> Host:
    there = ~np.isnan(own)
    mine, excess = own[there], excess[there]
    count = min(BLOCKS, len(excess))
    each = len(excess) // count
    blocks = np.median(excess[: count * each].reshape(count, each), axis=1)
    middle = float(np.median(blocks))
    error = SPREAD * float(np.median(np.abs(blocks - middle))) / np.sqrt(count)
    slow = len(mine) >= FEWEST and middle > NOISE * error and middle > worth
    return Host(
        host=host,
        steps=len(mine),
        median_s=float(np.median(mine)),
        p99_s=float(np.quantile(mine, 0.99)),
        last=last,
        cost_s=float(cost),
        excess_s=middle,
        slow=bool(slow),
    )
