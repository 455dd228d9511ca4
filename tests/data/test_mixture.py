"""Mixtures: shares over stages, and the mistakes that are refused."""

import pytest

from castor.data.mixture import Mixture, Part, Stage
from castor.data.sources import Books, Emoji, Fsdd

PARTS = (Part(Books(), 3.0), Part(Fsdd(), 1.0))


def test_shares_add_up_to_one() -> None:
    assert Mixture(PARTS).spans(100) == ((100, (0.75, 0.25), (1.0, 1.0)),)


def test_stages_follow_one_another_and_what_the_parts_say_comes_last() -> None:
    stages = (Stage(0.5, {"fsdd": 0.0}), Stage(0.9, {"books": 1.0}, {"fsdd": 3.0}))
    assert Mixture(PARTS, stages=stages).spans(1000) == (
        (500, (1.0, 0.0), (1.0, 1.0)),
        (900, (0.5, 0.5), (1.0, 3.0)),
        (1000, (0.75, 0.25), (1.0, 1.0)),
    )


def test_a_last_stage_until_the_end_leaves_nothing_after_it() -> None:
    mixture = Mixture(PARTS, stages=(Stage(1.0, {"books": 1.0}),))
    assert mixture.spans(10) == ((10, (0.5, 0.5), (1.0, 1.0)),)


@pytest.mark.parametrize(
    ("parts", "stages", "message"),
    [
        ((), (), "at least one part"),
        ((Part(Books(), 1.0), Part(Books(), 2.0)), (), r"names \['books'\] twice"),
        ((Part(Books(), 0.0),), (), "are all 0"),
        (PARTS, (Stage(0.5), Stage(0.4)), "growing fractions"),
        (PARTS, (Stage(1.5),), "growing fractions"),
        (PARTS, (Stage(0.5, {"cats": 1.0}),), r"names \['cats'\]; the parts are"),
        (PARTS, (Stage(0.5, {"books": 0.0, "fsdd": 0.0}),), "until 0.5 are all 0"),
        (PARTS, (Stage(0.5, {}, {"cats": 1.0}),), r"names \['cats'\]; the parts are"),
        (PARTS, (Stage(0.5, {}, {"books": -1.0}),), "cannot be negative"),
    ],
)
def test_mistakes_are_refused(
    parts: tuple[Part, ...], stages: tuple[Stage, ...], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        Mixture(parts, stages=stages)


def test_negative_shares_are_refused_with_the_source() -> None:
    with pytest.raises(ValueError, match=r"emoji/name: share=-1.* cannot be negative"):
        Part(Emoji(), -1.0)
