"""A drill's schedule is a function of its seed, and each of its faults happens."""

from collections import Counter
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from castor.fleet.drill import KINDS, Drill, schedule
from castor.fleet.ledger import LEDGER, Ledger, entries


def test_the_schedule_is_that_of_its_seed() -> None:
    one, same, other = (
        list(islice(schedule(list(KINDS), 4, every_s=60, seed=seed), 200)) for seed in (3, 3, 4)
    )
    assert one == same and one != other


def test_every_kind_comes_as_often_as_the_others_and_at_the_rate() -> None:
    found = list(islice(schedule(list(KINDS), 4, every_s=60, seed=0), 160 * len(KINDS)))
    assert set(Counter(fault.kind for fault in found).values()) == {160}
    assert np.mean([fault.after_s for fault in found]) == pytest.approx(60, rel=0.1)
    assert {fault.process for fault in found} == set(range(4))
    assert {fault.process for fault in found if fault.kind == "coordinator"} == {0}


def test_an_unknown_fault_is_refused_with_those_there_are() -> None:
    with pytest.raises(ValueError, match=r"there is no fault 'meteor'; there is worker, coordin"):
        next(schedule(["worker", "meteor"], 4, every_s=60, seed=0))


def test_nothing_befalls_a_run_that_is_not_there_yet(tmp_path: Path) -> None:
    with Ledger(tmp_path / LEDGER) as ledger:
        drill = Drill(
            schedule(["worker"], 1, every_s=0.001, seed=0),
            out=tmp_path,
            ledger=ledger,
            folders=lambda: [tmp_path],
            running=lambda: [0],
            seed=0,
        )
        with drill:
            pass
    assert drill.done == [] and not entries((tmp_path / LEDGER).read_text().split("\n")).events
