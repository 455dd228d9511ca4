"""What the processes of a run agree on before they begin."""

import pytest

from castor.fleet.team import Team


def with_clocks(monkeypatch: pytest.MonkeyPatch, *ahead: float) -> Team:
    """A team whose hosts' clocks are so many seconds ahead of the first one's."""

    def everyones(self: Team, what: str, value: str) -> list[str]:
        return [repr(float(value) + seconds) for seconds in ahead]

    monkeypatch.setattr(Team, "everyones", everyones)
    return Team()


@pytest.mark.parametrize("ahead", [(0.0,), (0.0, 9.0), (5.0, 0.0, -4.0)])
def test_clocks_that_are_nearly_alike_will_do(
    monkeypatch: pytest.MonkeyPatch, ahead: tuple[float, ...]
) -> None:
    with_clocks(monkeypatch, *ahead).refuse_clocks()


@pytest.mark.parametrize(
    ("ahead", "told"),
    [
        ((0.0, 37.0), "the clock of host 1 is 37 s ahead of that of host 0: 10 s are allowed"),
        ((0.0, 3.0, -3600.0), "the clock of host 1 is 3,603 s ahead of that of host 2"),
    ],
)
def test_clocks_that_disagree_are_named(
    monkeypatch: pytest.MonkeyPatch, ahead: tuple[float, ...], told: str
) -> None:
    with pytest.raises(ValueError, match=told):
        with_clocks(monkeypatch, *ahead).refuse_clocks()


def test_one_alone_waits_for_nobody() -> None:
    team, made = Team(), list[int]()
    team.after_first("made", lambda: made.append(1))
    assert made == [1] and team.first and team.told("word", "said") == "said"
