"""The laws of groups: a batch is the same whoever makes which of them."""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import partial
from hashlib import sha256
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from castor.core.batch import Batch, joined
from castor.data.loader import Loader, See
from castor.data.mixture import Mixture, Part, Stage
from castor.data.sources import Books, Corpus, EasyVqa, Fsdd, MovingEmoji
from castor.models.sizes import TINY
from castor.tokens.render import Tokens
from castor.tokens.vocab import Vocab
from castor.train.recipe import FineTune, Recipe, differences
from castor.train.rows import rows_of

STAGED = Mixture(
    (
        Part(EasyVqa(), 0.3),
        Part(MovingEmoji(), 0.1, emphasis=2.0),
        Part(Fsdd(), 0.2),
        Part(Books(), 0.2),
        Part(Corpus("bibles"), 0.2),
    ),
    stages=(
        Stage(0.25, {"books": 0.9, "fsdd": 0.0}),
        Stage(0.5, {"easy_vqa": 0.6}, {"fsdd": 3.0}),
        Stage(0.75, {"bibles": 0.0}),
    ),
    balance="parts",
)


@pytest.fixture(scope="module")
def setting(data: Path, vocab: Vocab, glance: See) -> dict[str, Any]:
    return {
        "data": data,
        "vocab": vocab,
        "see": glance,
        "rows": 8,
        "length": 128,
        "capacity": {"image": 48, "audio": 48},
        "seed": 3,
        "steps": 24,
    }


@pytest.fixture(scope="module")
def loaders(setting: dict[str, Any]) -> list[Loader]:
    """Those of eight hosts, for batches of eight groups."""
    return [Loader(STAGED, **setting, groups=8) for _ in range(8)]


def arrays(batch: Batch) -> Iterator[np.ndarray]:
    yield from batch[:-1]
    for kind in sorted(batch.media):
        yield from batch.media[kind]


def equal(one: Batch, other: Batch) -> bool:
    return one.media.keys() == other.media.keys() and all(
        a.dtype == b.dtype and np.array_equal(a, b)
        for a, b in zip(arrays(one), arrays(other), strict=True)
    )


def test_a_batch_of_one_group_is_what_it_was_before_there_were_groups(
    setting: dict[str, Any],
) -> None:
    loader, seen = Loader(STAGED, **setting), sha256()
    for step in (0, 5, 6, 11, 12, 18, 23):
        for values in arrays(loader.batch(step)):
            seen.update(values.tobytes())
    assert seen.hexdigest()[:16] == "c9d1aba29146f598"


def hosts(count: int, *, groups: int) -> list[range]:
    """The groups of each of `count` hosts."""
    size = groups // count
    return [range(host * size, (host + 1) * size) for host in range(count)]


def made_by(loaders: Sequence[Loader], start: int, stop: int) -> list[Batch]:
    """Batches of the steps that hosts with these loaders make together."""
    parts = [
        islice(loader.iterate(start, groups), stop - start)
        for loader, groups in zip(loaders, hosts(len(loaders), groups=8), strict=True)
    ]
    return [joined(batches) for batches in zip(*parts, strict=True)]


@pytest.mark.parametrize("count", [1, 2, 4, 8])
def test_hosts_together_make_the_batches_that_one_makes(
    setting: dict[str, Any], loaders: list[Loader], count: int
) -> None:
    whole = Loader(STAGED, **setting, groups=8)
    for start, stop in ((0, 1), (5, 7), (11, 13), (17, 19)):  # each stage begins within one
        made = made_by(loaders[:count], start, stop)
        wanted = map(whole.batch, range(start, stop))
        assert all(equal(a, b) for a, b in zip(made, wanted, strict=True))


def test_a_run_goes_on_with_another_number_of_hosts(
    setting: dict[str, Any], loaders: list[Loader]
) -> None:
    undisturbed = list(islice(Loader(STAGED, **setting, groups=8).iterate(), 10))
    disturbed: list[Batch] = []
    for count, stop in ((4, 3), (8, 4), (2, 10)):
        disturbed += made_by(loaders[:count], len(disturbed), stop)
    assert all(equal(a, b) for a, b in zip(undisturbed, disturbed, strict=True))
    assert not any(equal(a, b) for a, b in pairwise(undisturbed))


def test_hosts_see_and_hear_the_same_as_one(setting: dict[str, Any], see: See) -> None:
    seeing = {**setting, "see": see, "groups": 8, "steps": 4}
    whole, *pair = (Loader(STAGED, **seeing) for _ in range(3))
    made = made_by(pair, 1, 3)
    assert all(equal(a, whole.batch(step)) for a, step in zip(made, (1, 2), strict=True))
    for kind in ("image", "audio"):
        assert any(batch.media[kind].values.any() for batch in made)


def test_worker_processes_make_the_groups_that_are_asked_for(setting: dict[str, Any]) -> None:
    short = {**setting, "groups": 4, "steps": 3}
    some = range(1, 3)
    alone = Loader(STAGED, **short).iterate(0, some)
    helped = Loader(STAGED, **short, workers=1).iterate(1, some)
    next(alone)
    assert all(equal(a, b) for a, b in zip(alone, helped, strict=True))


@pytest.mark.parametrize("groups", [2, 4, 8])
def test_a_group_is_a_step_of_a_run_of_more_and_smaller_steps(
    setting: dict[str, Any], groups: int
) -> None:
    loader = Loader(STAGED, **setting, groups=groups)
    small = {"rows": setting["rows"] // groups, "steps": setting["steps"] * groups}
    reference = Loader(STAGED, **{**setting, **small})
    for step in (0, 6, 23):
        wanted = [reference.packed(step * groups + group) for group in range(groups)]
        found = loader.packed(step)
        assert equal(found.batch, joined([packed.batch for packed in wanted]))
        left_out = [Counter(packed.dropped) for packed in wanted]
        assert found.dropped == sum(left_out, Counter())


@pytest.mark.parametrize("groups", [1, 2, 8])
def test_groups_draw_consecutive_documents_and_none_twice(
    setting: dict[str, Any], groups: int
) -> None:
    loader = Loader(STAGED, **setting, groups=groups)
    turns = [loader._draws(turn) for turn in range(setting["steps"] * groups)]
    for part in range(len(STAGED.parts)):
        drawn = [number for draws in turns for number in draws[part]]
        assert drawn and drawn == list(range(len(drawn)))


def test_a_host_reads_no_documents_but_those_of_its_groups(
    setting: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    loader, read = Loader(STAGED, **setting, groups=4), list[tuple[int, int]]()
    render = loader.render

    def watched(part: int, number: int) -> Tokens:
        read.append((part, number))
        return render(part, number)

    monkeypatch.setattr(loader, "render", watched)
    loader.batch(7, range(1, 3))
    own = {
        (part, number)
        for group in (1, 2)
        for part, draws in enumerate(loader._draws(7 * 4 + group))
        for number in draws
    }
    assert read and set(read) <= own and len(set(read)) == len(read)


def test_groups_draw_as_many_documents_of_media_as_one_group(setting: dict[str, Any]) -> None:
    drawn = [
        [
            sum(len(loader._draws(turn)[part]) for turn in range(24 * loader.groups))
            for part in range(3)
        ]
        for loader in (Loader(STAGED, **setting, groups=groups) for groups in (1, 2, 4, 8))
    ]
    assert all(counts == drawn[0] for counts in drawn)


def test_stages_change_between_steps_and_not_within_one(setting: dict[str, Any]) -> None:
    loader, sounds = Loader(STAGED, **setting, groups=8), STAGED.names.index("fsdd")
    drawn = [len(loader._draws(turn)[sounds]) for turn in range(12 * 8)]
    assert sum(drawn[: 6 * 8]) == 0 < sum(drawn[6 * 8 : 7 * 8])  # a quarter of 24 steps is 6
    assert loader.emphases(5) != loader.emphases(6) == loader.emphases(11) != loader.emphases(12)


def test_emphases_are_the_same_in_every_group(setting: dict[str, Any]) -> None:
    one, eight = (Loader(STAGED, **setting, groups=groups) for groups in (1, 8))
    for step in (0, 6, 12, 18):
        np.testing.assert_allclose(eight.emphases(step), one.emphases(step))
    batch, there = eight.batch(12), one.emphases(12)
    for part in np.unique(batch.sources[batch.weights > 0]):
        weights = batch.weights[(batch.sources == part) & (batch.weights > 0)]
        np.testing.assert_allclose(weights, there[part], rtol=1e-6)


@pytest.mark.parametrize("groups", [2, 8])
def test_shares_hold_over_all_groups(setting: dict[str, Any], groups: int) -> None:
    plain = Mixture(STAGED.parts)
    loader, counts = Loader(plain, **{**setting, "steps": 30}, groups=groups), np.zeros(5)
    for step in range(30):
        batch = loader.batch(step)
        counts += np.bincount(batch.sources[batch.segments > 0], minlength=5)
    np.testing.assert_allclose(counts / counts.sum(), plain.spans(1)[0].shares, atol=0.05)


def test_a_group_has_its_share_of_the_rows_and_all_slots_of_each(setting: dict[str, Any]) -> None:
    batch = Loader(STAGED, **setting, groups=8).batch(0, range(3, 5))
    assert batch.tokens.shape == (2, 128) and batch.media.keys() == {"image", "audio"}
    assert all(slots.columns.shape == (2, 48) for slots in batch.media.values())


@pytest.mark.parametrize("groups", [range(0), range(3, 5), range(-1, 2), range(4, 5)])
def test_groups_that_a_batch_does_not_have_are_refused(
    setting: dict[str, Any], groups: range
) -> None:
    loader = Loader(STAGED, **setting, groups=4)
    sentence = rf"a batch is packed in groups 0 to 3, not {re.escape(str(groups))}"
    with pytest.raises(ValueError, match=sentence):
        loader.batch(0, groups)
    with pytest.raises(ValueError, match=sentence):
        next(loader.iterate(0, groups))


def test_a_run_and_what_it_is_measured_on_come_in_groups(data: Path, vocab: Vocab) -> None:
    mixture = Mixture((Part(Fsdd(), 0.5), Part(Books(), 0.5)))
    recipe = Recipe(
        name="groups",
        model=TINY,
        mixture=mixture,
        steps=3,
        rows=8,
        length=128,
        capacity={"audio": 24},
        groups=4,
        workers=0,
        eval_batches=2,
    )
    rows = rows_of(recipe, config=TINY, vocab=vocab, book=None, data=data)
    for batches in (partial(rows.training, 1), rows.held_out):
        parts = [batches(range(0, 4)), batches(range(4, 8))]
        made = [joined(batches) for batches in zip(*parts, strict=True)]
        assert len(made) == 2
        assert all(equal(a, b) for a, b in zip(made, batches(range(8)), strict=True))
    with pytest.raises(ValueError, match=r"trains on 1 of rows=8, .* groups=4: set groups=8"):
        rows.training(0, range(1))


RUN = {"name": "run", "mixture": STAGED, "steps": 3, "rows": 16, "length": 32}


@pytest.mark.parametrize("kind", [partial(Recipe, model=TINY), partial(FineTune, start="model")])
@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"groups": 0}, "groups=0 must be from 1 to 65,536"),
        ({"groups": 3}, "rows=16 cannot be cut into groups=3 .* the nearest rows that can are 15"),
        ({"groups": 40}, "rows=16 cannot be cut into groups=40 .* that can are 40"),
        (
            {"groups": 8, "accumulate": 4},
            "groups=8 and each of them into accumulate=4; the nearest rows that can are 32",
        ),
    ],
)
def test_rows_that_cannot_be_cut_into_groups_are_refused(
    kind: Any, changes: dict[str, int], sentence: str
) -> None:
    assert kind(**RUN, groups=8, accumulate=2).groups == 8
    with pytest.raises(ValueError, match=sentence):
        kind(**RUN, **changes)


def test_a_run_does_not_go_on_in_other_groups() -> None:
    one, other = (Recipe(**RUN, model=TINY, groups=groups) for groups in (1, 2))
    assert differences(one, other) == ["groups is 1 and not 2"]
