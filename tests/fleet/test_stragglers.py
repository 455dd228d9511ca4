"""Who was late, against counts by hand, and no word about hosts that are equal."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from castor.fleet.ledger import Interval, Ledger, ledger_of
from castor.fleet.stragglers import FEWEST, Host, compared, read_hosts, stragglers, waited_s

STEP_S = 1.0
Draw = Callable[[np.random.Generator, tuple[int, int]], np.ndarray]


def ledgers(own: np.ndarray | list[list[float | None]]) -> dict[int, list[Interval]]:
    """Hosts whose clocks are years apart, with these own times by host and step; None = no line."""
    found: dict[int, list[Interval]] = {}
    for host, times in enumerate(own):
        at, found[host] = 1e9 + 3e7 * host, []
        for number, time in enumerate(times, start=1):
            if time is not None:
                found[host] += [
                    Interval("step", at, at + STEP_S, number),
                    Interval("host", at, at + float(time), number),
                ]
            at += STEP_S
    return found


def late(own: np.ndarray) -> list[int]:
    return [host.host for host in stragglers(ledgers(own)) if host.slow]


def noisy(hosts: int, steps: int, *, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0.1, 0.01, (hosts, steps)).clip(0)


def test_two_steps_of_three_hosts_come_to_what_the_hand_computes() -> None:
    first, second, third = stragglers(ledgers([[0.1, 0.2], [0.4, 0.2], [0.8, 0.1]]))
    assert (first.steps, second.steps, third.steps) == (2, 2, 2)
    assert (first.last, second.last, third.last) == (0, 0, 1)  # in step 2 two were last together
    assert first.cost_s == pytest.approx(0.05, abs=1e-6)  # step 2: half of 0.1
    assert second.cost_s == pytest.approx(0.15 + 0.05, abs=1e-6)  # step 1: half of 0.1 to 0.4
    assert third.cost_s == pytest.approx(0.15 + 0.4, abs=1e-6)  # and all from 0.4 to 0.8
    assert third.median_s == pytest.approx(0.45, abs=1e-6)
    assert third.p99_s == pytest.approx(0.793, abs=1e-6)
    assert third.excess_s == pytest.approx((0.55 - 0.1) / 2, abs=1e-6)  # of steps 1 and 2
    assert waited_s([first, second, third]) == pytest.approx(0.7 + 0.1, abs=1e-6)


@given(st.lists(st.lists(st.integers(0, 900), min_size=5, max_size=5), min_size=2, max_size=6))
def test_costs_add_up_to_the_time_from_the_first_to_the_last(millis: list[list[int]]) -> None:
    own = np.array(millis) / 1000
    hosts = stragglers(ledgers(own))
    assert waited_s(hosts) == pytest.approx(np.ptp(own, axis=0).sum(), abs=1e-5)
    assert all(host.cost_s >= 0 for host in hosts)


def test_a_host_that_is_the_same_as_another_is_charged_the_same() -> None:
    own = noisy(3, 50)
    one, other, *_ = stragglers(ledgers(own[[0, 0, 1, 2]]))
    assert one.cost_s == pytest.approx(other.cost_s, abs=1e-6)


@pytest.mark.parametrize("hosts", [2, 3, 8])
def test_a_slow_host_is_named(hosts: int) -> None:
    own = noisy(hosts, 300)
    own[1] += 0.03
    assert late(own) == [1]
    slow = stragglers(ledgers(own))[1]
    assert slow.excess_s == pytest.approx(0.03, abs=0.003)
    assert slow.last > 0.8 * 300


def test_two_slow_hosts_of_six_are_both_named() -> None:
    own = noisy(6, 300)
    own[[2, 5]] += 0.03
    assert late(own) == [2, 5]


DRAWS: tuple[Draw, ...] = (
    lambda random, shape: random.normal(0.3, 0.03, shape).clip(0),
    lambda random, shape: random.lognormal(-3, 1, shape),
    lambda random, shape: random.exponential(0.1, shape),
    lambda random, shape: np.where(
        random.random(shape) < 0.05, 0.9, random.normal(0.2, 0.01, shape)
    ),
    lambda random, shape: random.uniform(0, 1, shape) + random.exponential(1, shape[1]),
)


def test_equal_hosts_are_not_named_in_a_thousand_runs() -> None:
    random, sizes = np.random.default_rng(0), ((2, FEWEST), (2, 200), (4, 100), (8, FEWEST))
    for i in range(1000):
        shape = sizes[i % len(sizes)]
        own = DRAWS[i % len(DRAWS)](random, shape)
        assert not any(host.slow for host in compared(own, step_s=0.0)), (i, shape)


def test_a_host_is_not_called_slow_for_little_or_too_soon() -> None:
    own = np.full((2, 2 * FEWEST), 0.1)
    own[1] += 0.009 * STEP_S
    assert late(own) == []
    own[1] += 0.002 * STEP_S
    assert late(own) == [1]
    assert late(own[:, : FEWEST - 1]) == []


def test_one_long_pause_costs_and_is_not_called_slow() -> None:
    own = noisy(4, 200)
    own[3, 70] = 0.9
    assert late(own) == []
    costs = [host.cost_s for host in stragglers(ledgers(own))]
    assert max(costs) == costs[3]


def test_of_a_step_taken_again_the_last_time_counts() -> None:
    found = ledgers([[0.1, 0.1], [0.3, 0.1]])
    found[1].insert(0, Interval("host", 5e9, 5e9 + 0.2, 2))
    assert stragglers(found)[1].cost_s == pytest.approx(0.2 + 0.1, abs=1e-6)


def test_steps_of_different_stages_are_different() -> None:
    found = {
        host: [Interval("host", 0, own, 1), Interval("host", 9, 9 + own / 2, 1, "codec")]
        for host, own in enumerate((0.1, 0.3))
    }
    assert [host.steps for host in stragglers(found)] == [2, 2]
    assert waited_s(stragglers(found)) == pytest.approx(0.3, abs=1e-9)


def test_a_host_that_came_late_is_compared_where_it_was() -> None:
    own = [[0.1, 0.1, 0.1, None], [0.2, 0.2, 0.2, None], [None, None, 0.5, 0.9]]
    first, second, third = stragglers(ledgers(own))
    assert (first.steps, second.steps, third.steps) == (3, 3, 1)  # a step of its own has no other
    assert (first.last, second.last, third.last) == (0, 2, 1)
    assert second.cost_s == pytest.approx(0.1 + 0.1 + 0.05, abs=1e-6)
    assert third.cost_s == pytest.approx(0.05 + 0.3, abs=1e-6)


def test_a_run_of_one_host_or_without_own_times_has_no_stragglers() -> None:
    assert stragglers({}) == []
    assert stragglers(ledgers([[0.1, 0.2]])) == []
    assert stragglers({0: [Interval("step", 0, 1, 1)], 1: [Interval("step", 0, 1, 1)]}) == []
    apart = ledgers([[0.1, None], [None, 0.1]])
    assert stragglers(apart) == []


def test_every_ledger_of_a_folder_is_read_by_its_host(tmp_path: Path) -> None:
    for host in (0, 2, 10):
        with Ledger(tmp_path / ledger_of(host)) as ledger:
            ledger.spent("host", begun=1.0, ended=1.5 + host, step=1)
    (tmp_path / "ledger_x.jsonl").write_text("no ledger\n")
    with (tmp_path / "ledger_2.jsonl").open("a") as stream:
        stream.write('{"cause": "ho')
    found = read_hosts(tmp_path)
    assert list(found) == [0, 2, 10]
    assert [host.host for host in stragglers(found)] == [0, 2, 10]
    assert isinstance(stragglers(found)[0], Host)
    (tmp_path / "ledger_10.jsonl").write_text("step 1\n")
    with pytest.raises(ValueError, match=r"ledger_10.jsonl: line 1 is none of a ledger"):
        read_hosts(tmp_path)


def test_what_is_told_can_be_written_as_json() -> None:
    (one, _) = stragglers(ledgers(noisy(2, 70)))
    assert Host(**json.loads(json.dumps(one._asdict()))) == one
