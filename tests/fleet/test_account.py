"""Time by cause against sums by hand, and what holds for any ledger."""

import itertools
import json
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from castor.fleet.account import KINDS, ORDER, account, at_rate, read, shares
from castor.fleet.ledger import CAUSES, EVENTS

Line = dict[str, Any]


def spent(cause: str, begun: float, ended: float, **more: Any) -> Line:
    return {"cause": cause, "begun": begun, "ended": ended, **more}


def step(number: int, begun: float, ended: float, **more: Any) -> Line:
    return spent("step", begun, ended, step=number, **more)


def event(name: str, at: float, **details: Any) -> Line:
    return {"event": name, "at": at, **details}


def of(lines: Sequence[Line]):
    return account(json.dumps(line) for line in lines)


# A crash in step 4 and a rollback to step 2; what a line comes to stands beside it.
CRASH = [
    event("started", 1000, process=0),  # other: 4 s until
    spent("restore", 1004, 1005),  # 1
    step(1, 1005, 1011),  # 1, because of
    spent("compile", 1005, 1010),  # 5
    step(2, 1011, 1013),  # 1.5, because of
    spent("data", 1011, 1011.5),  # 0.5
    step(3, 1013, 1015),  # replay: 2
    event("fault", 1016, what="kill", process=1),  # other: 1.5 from 1015 to
    event("detected", 1016.5, process=1),
    spent("restart", 1016.5, 1020),  # 3.5
    event("started", 1020, process=0),  # other: 2 until
    spent("restore", 1022, 1023),  # 1
    step(3, 1023, 1027),  # 2, because of
    spent("compile", 1023, 1025),  # 2
    step(4, 1027, 1029),  # 2
    spent("checkpoint", 1029, 1030),  # 1
    event("ended", 1030, process=0),
]


def test_a_crash_comes_to_what_the_hand_computes() -> None:
    found = of(CRASH)
    assert (found.begun, found.elapsed) == (1000, 30)
    assert found.seconds == {
        "step": 6.5,
        "replay": 2,
        "compile": 7,
        "restore": 2,
        "checkpoint": 1,
        "evaluation": 0,
        "data": 0.5,
        "restart": 3.5,
        "other": 7.5,
    }
    assert (found.steps, found.lost) == (4, 1)
    assert found.goodput == pytest.approx(6.5 / 30, abs=1e-15)


def test_the_crash_is_charged_with_all_until_the_next_step() -> None:
    (fault,) = of(CRASH).faults
    assert (fault.what, fault.at, fault.detected, fault.resumed) == (
        "kill, process 1",
        16,
        16.5,
        27,
    )
    assert fault.seconds == {"restart": 3.5, "restore": 1, "compile": 2, "other": 3.5, "replay": 2}
    assert fault.cost == 12


def test_another_rate_of_faults_gives_what_the_formula_says() -> None:
    found = of(CRASH)
    assert at_rate(found, 0) == pytest.approx(6.5 / 18)
    assert at_rate(found, 1) == pytest.approx(6.5 / 18 * (1 - 12 / 3600))
    assert at_rate(found, 1e6) == 0
    own = 3600 * len(found.faults) / found.elapsed
    assert at_rate(found, own) == pytest.approx(found.goodput)


def test_the_start_of_a_longer_run_is_spent_once() -> None:
    found = of([spent("compile", 0, 10), step(1, 10, 12), spent("data", 12, 13), step(2, 13, 14)])
    assert at_rate(found, 0) == found.goodput == 3 / 14
    assert at_rate(found, 0, hours=1) == pytest.approx(3 / 4 * (1 - 10 / 3600))
    assert at_rate(found, 0, hours=14 / 3600) == pytest.approx(found.goodput)
    with pytest.raises(ValueError, match="no step: the first began at 10 s"):
        at_rate(found, 0, hours=10 / 3600)


def test_a_stall_without_a_fault_costs_goodput_alone() -> None:
    found = of([step(1, 0, 1), spent("data", 1, 9), step(2, 9, 10)])
    assert found.goodput == 0.2
    assert found.faults == () and found.cost_per_fault is None


def test_a_rollback_in_place_loses_every_step_beyond_it() -> None:
    lines = [step(n, n, n + 1) for n in range(5)]
    lines += [event("detected", 5, what="loss"), spent("restore", 5, 6), step(2, 6, 7)]
    found = of(lines)
    assert (found.steps, found.lost) == (3, 3)  # 3 and 4 were not taken again before the end
    assert found.seconds["replay"] == 3 and found.goodput == 3 / 7
    assert found.faults[0].seconds == {"replay": 3, "restore": 1}


def test_lost_steps_are_charged_to_the_fault_that_undid_them() -> None:
    lines = [
        *(step(n, n, n + 1) for n in range(4)),
        event("detected", 4, what="first"),
        step(4, 5, 6),
        event("detected", 6, what="second"),
        *(step(n, 7 + n, 8 + n) for n in range(1, 5)),
    ]
    first, second = of(lines).faults
    assert first.seconds == {"other": 1}
    assert second.seconds == {"replay": 4, "other": 2}


def test_two_faults_in_one_outage_share_its_time() -> None:
    lines = [
        step(1, 0, 10),
        event("fault", 10, what="a"),
        spent("restart", 10, 14),
        event("fault", 12, what="b"),
        event("detected", 13),
        step(2, 15, 20),
    ]
    first, second = of(lines).faults
    assert (first.cost, first.detected) == (2, None)
    assert (second.cost, second.detected) == (3, 13)


def test_a_fault_that_stops_nothing_costs_nothing() -> None:
    (fault,) = of([step(1, 0, 10), event("fault", 3, what="keeper"), step(2, 10, 20)]).faults
    assert (fault.cost, fault.resumed) == (0, 20)


def test_a_fault_that_ends_the_run_costs_the_rest_of_it() -> None:
    (fault,) = of([step(1, 0, 10), event("fault", 10, what="fire"), event("ended", 17)]).faults
    assert (fault.cost, fault.resumed) == (7, None)


def test_a_fault_costs_nothing_beyond_the_next_step() -> None:
    lines = [step(1, 0, 10), event("detected", 10), step(2, 12, 20), step(3, 30, 31)]
    (fault,) = of(lines).faults
    assert (fault.cost, fault.resumed) == (2, 20)


def test_a_fault_that_is_seen_late_costs_until_the_step_after_that() -> None:
    lines = [
        step(1, 0, 2),
        event("fault", 1, what="a bit"),
        step(2, 2, 3),
        event("detected", 3),
        spent("restore", 3, 5),
        step(3, 5, 6),
    ]
    (fault,) = of(lines).faults
    assert (fault.seconds, fault.resumed) == ({"restore": 2}, 6)


def test_a_fault_that_is_seen_at_once_is_one_fault() -> None:
    (fault,) = of([step(1, 0, 2), event("detected", 2), event("fault", 2, what="a bit")]).faults
    assert (fault.what, fault.at, fault.detected) == ("a bit", 2, 2)


def test_lost_steps_that_overlap_are_charged_once() -> None:
    lines = [step(2, 0, 4), step(3, 1, 5), event("detected", 5), step(1, 5, 6)]
    assert of(lines).faults[0].seconds == {"replay": 5}


def test_steps_of_another_stage_are_others() -> None:
    found = of([step(1, 0, 1, stage="codec"), step(1, 1, 2, stage="model")])
    assert (found.steps, found.lost, found.goodput) == (2, 0, 1)


WRITTEN = [cause for cause in ORDER if cause != "replay"]


@pytest.mark.parametrize(("first", "second"), list(itertools.combinations(WRITTEN, 2)))
def test_overlapping_time_belongs_to_the_more_specific_cause(first: str, second: str) -> None:
    found = of([spent(first, 1, 3, step=1), spent(second, 0, 4, step=1)])
    assert (found.seconds[first], found.seconds[second]) == (2, 2)


def test_a_lost_step_goes_before_a_useful_one_and_after_what_is_done_within_it() -> None:
    found = of([step(2, 0, 4), step(1, 1, 5), spent("data", 2, 3)])
    assert (found.seconds["replay"], found.seconds["step"], found.seconds["data"]) == (3, 1, 1)


def test_what_hosts_do_within_steps_takes_no_time_of_its_own() -> None:
    alone = [step(1, 10, 12), event("fault", 14), spent("restart", 15, 16), step(2, 17, 19)]
    hosts = [spent("host", 10, 10.5, step=1), spent("host", 12, 13, step=2)]
    assert of([*alone, *hosts]) == of(alone)


def test_an_instant_is_no_time() -> None:
    found = of([event("started", 5)])
    assert (found.elapsed, found.goodput, set(found.seconds.values())) == (0, 0, {0})
    with pytest.raises(ValueError, match="the ledger spans no time yet"):
        shares(found, windows=3)


moments = st.integers(0, 3_000_000).map(lambda micros: 1_700_000_000 + micros / 1e6)
intervals = st.builds(
    lambda cause, ends, number: spent(cause, min(ends), max(ends), step=number),
    st.sampled_from(CAUSES),
    st.tuples(moments, moments),
    st.integers(0, 5),
)
events = st.builds(lambda name, at: event(name, at), st.sampled_from(EVENTS), moments)
ledgers = st.lists(intervals | events, min_size=1, max_size=25)


@given(ledgers)
def test_causes_add_up_to_the_elapsed_time_to_the_microsecond(lines: list[Line]) -> None:
    found = of(lines)
    assert set(found.seconds) == set(KINDS)
    assert sum(round(s * 1e6) for s in found.seconds.values()) == round(found.elapsed * 1e6)


@given(ledgers)
def test_the_time_line_has_neither_gap_nor_overlap(lines: list[Line]) -> None:
    found = of(lines)
    ends = [0, *(stretch.ended for stretch in found.stretches)]
    assert [stretch.begun for stretch in found.stretches] == ends[:-1]
    assert ends[-1] == round(found.elapsed * 1e6)


@given(ledgers, st.randoms(use_true_random=False))
def test_the_order_of_lines_does_not_matter(lines: list[Line], random: Random) -> None:
    mixed = list(lines)
    random.shuffle(mixed)
    assert of(mixed) == of(lines)


@given(ledgers, st.integers(1))
def test_a_torn_tail_does_not_matter(lines: list[Line], cut: int) -> None:
    whole, last = of(lines), json.dumps(spent("data", 1.0, 2.0))
    torn = account([*map(json.dumps, lines), last[: 1 + cut % (len(last) - 1)]])
    assert torn.torn == 1
    assert (torn.seconds, torn.faults) == (whole.seconds, whole.faults)


@given(ledgers)
def test_no_time_is_charged_to_two_faults(lines: list[Line]) -> None:
    found = of(lines)
    for cause in KINDS:
        charged = sum(round(1e6 * fault.seconds.get(cause, 0)) for fault in found.faults)
        assert charged <= round(1e6 * found.seconds[cause])
    assert not any({"step", "data"} & fault.seconds.keys() for fault in found.faults)


@given(ledgers)
def test_at_its_own_rate_a_ledger_has_its_own_goodput(lines: list[Line]) -> None:
    found = of(lines)
    if found.faults and found.elapsed:
        own = 3600 * len(found.faults) / found.elapsed
        assert at_rate(found, own) == pytest.approx(found.goodput, abs=1e-9)
    if found.elapsed:
        assert 0 <= at_rate(found, len(found.faults), hours=found.elapsed / 3600 + 1) <= 1


@given(ledgers, st.integers(1, 40))
def test_the_shares_of_windows_add_up_to_one_and_to_the_account(
    lines: list[Line], windows: int
) -> None:
    found = of(lines)
    if found.elapsed:
        by_cause = shares(found, windows=windows)
        np.testing.assert_allclose(sum(by_cause.values()), np.ones(windows), atol=1e-6)
        for cause, seconds in found.seconds.items():
            assert by_cause[cause].mean() * found.elapsed == pytest.approx(seconds, abs=1e-6)


@given(ledgers)
def test_useful_steps_are_one_rising_line_of_numbers(lines: list[Line]) -> None:
    steps = [line for line in lines if line.get("cause") == "step"]
    unique = {(s["ended"], s["begun"], s["step"]) for s in steps}
    useful: list[int] = []
    for *_, number in sorted(unique):  # ten lines of reference: drop what a step rolls back
        while useful and useful[-1] >= number:
            useful.pop()
        useful.append(number)
    assert of(lines).steps == len(useful)


def test_an_empty_ledger_and_one_that_is_not_there_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    with pytest.raises(ValueError, match="there is no ledger .*ledger.jsonl"):
        read(path)
    path.write_bytes(b'\n{"cause"')
    with pytest.raises(ValueError, match="ledger.jsonl: the ledger has no whole line yet"):
        read(path)


def test_a_rate_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match="-1 faults an hour is no rate; it is a number from 0 up"):
        at_rate(of(CRASH), -1)
    with pytest.raises(ValueError, match="has no fault, so nothing says what one costs"):
        at_rate(of([step(1, 0, 1)]), 1)


def test_an_account_of_many_steps_is_quick() -> None:
    found = of([step(n, n, n + 0.75) for n in range(20_000)])
    assert found.goodput == pytest.approx(0.75, abs=1e-4)
