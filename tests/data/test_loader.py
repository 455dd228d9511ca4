"""The loader's laws: a batch is a function of its number, shares are kept, splits never meet."""

import multiprocessing
import os
import subprocess
import sys
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from castor.core.batch import Batch
from castor.core.content import Media
from castor.data.augment import DRAWINGS, EVENTS, SPEECH, Augment
from castor.data.loader import Loader, See, shuffled
from castor.data.mixture import Mixture, Part, Stage
from castor.data.sources import (
    Books,
    Corpus,
    EasyVqa,
    Emoji,
    Esc10,
    Filmed,
    Fsdd,
    MovingEmoji,
    Nlvr,
    Omniglot,
    Playground,
    ReadSpeech,
    Strokes,
)
from castor.tokens.vocab import Vocab

SEEN = (
    Part(EasyVqa(), 0.2, augment=DRAWINGS),
    Part(Emoji("name"), 0.1, augment=DRAWINGS),
    Part(MovingEmoji(), 0.1),
    Part(Fsdd(), 0.2, augment=SPEECH),
    Part(Emoji("draw"), 0.1),
)
MIXED = Mixture((*SEEN, Part(Books(), 0.2), Part(Corpus("bibles"), 0.1)))


def blank_codes(media: Media) -> np.ndarray:
    return np.zeros((2, 2), np.int32)


@pytest.fixture(scope="module")
def setting(data: Path, vocab: Vocab, glance: See) -> dict[str, Any]:
    """Media are not opened: what the loader does with them does not depend on what is in them."""
    return {
        "data": data,
        "vocab": vocab,
        "see": glance,
        "draw": blank_codes,
        "rows": 4,
        "length": 256,
        "capacity": {"image": 96, "audio": 96},
        "seed": 3,
        "steps": 400,
    }


@pytest.fixture(scope="module")
def seeing(setting: dict[str, Any], see: See) -> dict[str, Any]:
    """The same with a model's own eyes and ears."""
    return {**setting, "see": see}


def equal(one: Batch, other: Batch) -> bool:
    same = all(np.array_equal(a, b) for a, b in zip(one[:-1], other[:-1], strict=True))
    return same and all(
        np.array_equal(a, b)
        for kind in one.media
        for a, b in zip(one.media[kind], other.media[kind], strict=True)
    )


def tokens_by_part(loader: Loader, steps: range) -> np.ndarray:
    counts = np.zeros(len(loader.mixture.parts))
    for step in steps:
        batch = loader.batch(step)
        here = batch.segments > 0
        counts += np.bincount(batch.sources[here], minlength=len(counts))
    return counts / counts.sum()


def test_a_batch_does_not_depend_on_the_batches_before_it(seeing: dict[str, Any]) -> None:
    forward, backward = Loader(MIXED, **seeing), Loader(MIXED, **seeing)
    wanted = {step: forward.batch(step) for step in range(5)}
    for step in (4, 1, 3, 3, 0):
        assert equal(backward.batch(step), wanted[step])
    assert not equal(wanted[0], wanted[1])


def test_resuming_at_a_step_goes_on_as_if_nothing_had_happened(setting: dict[str, Any]) -> None:
    short = {**setting, "steps": 6}
    uninterrupted = list(Loader(MIXED, **short).iterate())
    resumed = list(Loader(MIXED, **short).iterate(4))
    assert len(uninterrupted) == 6 and len(resumed) == 2
    assert all(equal(a, b) for a, b in zip(uninterrupted[4:], resumed, strict=True))
    assert list(Loader(MIXED, **short).iterate(6)) == []


def test_the_number_of_workers_changes_nothing(seeing: dict[str, Any]) -> None:
    short = {**seeing, "steps": 5}
    alone = list(Loader(MIXED, **short).iterate())
    helped = list(Loader(MIXED, **short, workers=2).iterate())
    assert len(helped) == len(alone)
    assert all(equal(a, b) for a, b in zip(alone, helped, strict=True))


def test_another_seed_gives_other_batches(setting: dict[str, Any]) -> None:
    other = Loader(MIXED, **{**setting, "seed": 4})
    assert not equal(Loader(MIXED, **setting).batch(0), other.batch(0))


def test_a_part_draws_the_same_documents_whatever_stands_beside_it(
    setting: dict[str, Any],
) -> None:
    alone = Loader(Mixture((Part(Fsdd(), 1.0),)), **setting)
    beside = Loader(Mixture((Part(EasyVqa(), 1.0), Part(Fsdd(), 1.0))), **setting)
    for number in range(12):
        assert alone.document(0, number) == beside.document(1, number)


def test_an_epoch_shows_every_document_once(setting: dict[str, Any]) -> None:
    loader = Loader(Mixture((Part(Fsdd(), 1.0),)), **setting)
    origins = [loader.document(0, number).origin for number in range(18)]
    assert len(set(origins[:6])) == len(set(origins[6:12])) == 6
    assert sorted(origins[:6]) == sorted(origins[6:12]) == sorted(origins[12:])
    assert len({tuple(origins[k : k + 6]) for k in (0, 6, 12)}) > 1


def test_steps_draw_consecutive_documents_and_none_twice(setting: dict[str, Any]) -> None:
    loader = Loader(MIXED, **setting)
    for part in range(len(MIXED.parts)):
        drawn = [number for step in range(50) for number in loader._draws(step)[part]]
        assert drawn == list(range(len(drawn)))


def test_shares_are_shares_of_the_tokens(setting: dict[str, Any]) -> None:
    loader = Loader(MIXED, **setting)
    wanted = MIXED.spans(1)[0].shares
    np.testing.assert_allclose(tokens_by_part(loader, range(50)), wanted, atol=0.05)


def test_shares_of_texts_are_kept_between_themselves(setting: dict[str, Any]) -> None:
    mixture = Mixture(
        (Part(Books(), 0.6), Part(Corpus("bibles"), 0.3), Part(Corpus("poetry"), 0.1))
    )
    found = tokens_by_part(Loader(mixture, **setting), range(100))
    np.testing.assert_allclose(found, (0.6, 0.3, 0.1), atol=0.05)


def test_shares_change_with_the_stages(setting: dict[str, Any]) -> None:
    stage = Stage(0.5, {"books": 0.0, "fsdd": 3.0})
    mixture = Mixture((Part(Books(), 1.0), Part(Fsdd(), 1.0)), stages=(stage,))
    loader = Loader(mixture, **{**setting, "steps": 40})
    np.testing.assert_allclose(tokens_by_part(loader, range(20)), (0.0, 1.0), atol=0.01)
    np.testing.assert_allclose(tokens_by_part(loader, range(20, 40)), (0.5, 0.5), atol=0.08)


def test_emphases_change_with_the_stages(setting: dict[str, Any]) -> None:
    stage = Stage(0.5, emphases={"fsdd": 3.0})
    mixture = Mixture((Part(Books(), 0.5), Part(Fsdd(), 0.5)), stages=(stage,), balance="parts")
    loader = Loader(mixture, **{**setting, "steps": 40})
    first, last = (np.array(loader.emphases(step)) for step in (19, 20))
    assert first[1] / first[0] == pytest.approx(3 * last[1] / last[0])


def test_a_part_that_comes_in_a_later_stage_changes_nothing_before(setting: dict[str, Any]) -> None:
    parts = (Part(Books(), 0.5), Part(Fsdd(), 0.5))
    later = Mixture(
        (*parts, Part(Corpus("bibles"), 0.0)), (Stage(0.5), Stage(1.0, {"bibles": 1.0}))
    )
    one, other = (
        Loader(mixture, **{**setting, "steps": 40}) for mixture in (Mixture(parts), later)
    )
    np.testing.assert_array_equal(one.batch(19).tokens, other.batch(19).tokens)
    assert (one.batch(20).tokens != other.batch(20).tokens).any()


def test_rows_are_full_where_there_is_text_and_nearly_so_where_not(
    setting: dict[str, Any],
) -> None:
    with_text, without = Loader(MIXED, **setting), Loader(Mixture(SEEN), **setting)
    full = [float((with_text.batch(s).segments > 0).mean()) for s in range(10)]
    assert min(full) > 0.97
    packed = [without.packed(s) for s in range(25)]
    assert np.mean([(p.batch.segments > 0).mean() for p in packed]) > 0.8
    drawn = sum(len(draws) for s in range(25) for draws in without._draws(s))
    assert sum(sum(p.dropped.values()) for p in packed) < 0.05 * drawn


def test_batches_of_one_loader_have_one_shape(setting: dict[str, Any]) -> None:
    loader = Loader(MIXED, **setting)
    shapes = {
        tuple(v.shape for v in b[:-1])
        + tuple((k, *(v.shape for v in s)) for k, s in b.media.items())
        for b in (loader.batch(step) for step in range(6))
    }
    assert len(shapes) == 1
    text = Loader(Mixture((Part(Books(), 1.0),)), **setting).batch(0)
    assert text.media.keys() == {"image", "audio"}  # the step is compiled for them


def test_balance_by_parts_gives_every_part_the_same_weight(setting: dict[str, Any]) -> None:
    parts = (Part(EasyVqa(), 0.3), Part(Books(), 0.5), Part(Fsdd(), 0.2, emphasis=2.0))
    loader = Loader(Mixture(parts, balance="parts"), **setting)
    sums, total, targets = np.zeros(3), 0.0, 0
    for step in range(50):
        batch = loader.batch(step)
        sums += [batch.weights[batch.sources == i].sum() for i in range(3)]
        total, targets = total + batch.weights.sum(), targets + (batch.weights > 0).sum()
    np.testing.assert_allclose(sums / sums.sum(), (0.25, 0.25, 0.5), atol=0.08)
    assert total / targets == pytest.approx(1, abs=0.15)


def test_emphasis_multiplies_the_weights_of_its_part(setting: dict[str, Any]) -> None:
    parts = (Part(EasyVqa(), 0.5, emphasis=3.0), Part(Books(), 0.5))
    batch = Loader(Mixture(parts), **setting).batch(0)
    for i, wanted in enumerate((3.0, 1.0)):
        weights = batch.weights[(batch.sources == i) & (batch.weights > 0)]
        assert set(weights.tolist()) == {wanted}


def test_no_evaluation_record_ever_appears_in_training(setting: dict[str, Any]) -> None:
    specs = (
        *(EasyVqa(), Emoji("name"), Emoji("draw"), Nlvr(), Omniglot(), Strokes(), MovingEmoji()),
        *(Fsdd(), Esc10(), ReadSpeech(), Filmed("clips"), Books(), Corpus("wiki"), Corpus("c4")),
        *(Playground("shapes"), Playground("draw", scenes=50)),
    )
    mixture = Mixture(tuple(Part(spec, 1.0) for spec in specs))
    training = Loader(mixture, **setting)
    for part, spec in enumerate(specs):
        source = spec.open(setting["data"], "eval")
        rng = np.random.default_rng(0)
        held_out = {source.document(i, rng).turns[0].parts for i in range(min(40, len(source)))}
        held_out |= {source.document(i, rng).turns[-1].parts for i in range(min(40, len(source)))}
        held_out = {parts for parts in held_out if any(isinstance(p, Media) for p in parts)}
        for number in range(40):
            turns = training.document(part, number).turns
            assert not {turn.parts for turn in turns} & held_out, spec.name


def test_variation_differs_from_draw_to_draw_and_is_off_by_default(
    seeing: dict[str, Any],
) -> None:
    varied = Loader(Mixture((Part(Esc10(), 1.0, augment=EVENTS),)), **seeing)
    plain = Loader(Mixture((Part(Esc10(), 1.0),)), **seeing)
    count = 6  # documents in an epoch
    by_origin: dict[str, list[bytes]] = {}
    for number in range(2 * count):
        name = varied.document(0, number).origin
        by_origin.setdefault(name, []).append(
            varied.render(0, number).signals[0][1].values.tobytes()
        )
    assert all(len(set(values)) == 2 for values in by_origin.values())
    same = Counter(
        plain.render(0, number).signals[0][1].values.tobytes() for number in range(2 * count)
    )
    assert set(same.values()) == {2}


def test_what_is_seen_can_be_watched(seeing: dict[str, Any]) -> None:
    loader = Loader(Mixture((Part(EasyVqa(), 1.0, augment=DRAWINGS),)), **seeing)
    seen: list = []
    tokens = loader.render(0, 0, seen=seen)
    assert [kind for kind, _ in seen[0]] == ["image"] and len(seen) == len(tokens.media)
    assert (loader.render(0, 0).ids == tokens.ids).all()


def test_slots_of_a_part_limit_its_pictures(seeing: dict[str, Any]) -> None:
    for slots in (4, 9):
        part = Part(Nlvr(), 1.0, slots=slots)
        loader = Loader(Mixture((part,)), **seeing)
        assert all(len(s.places) <= slots for _, s in loader.render(0, 0).signals)


@given(st.integers(1, 300), st.integers(0, 2**63))
def test_a_shuffle_is_a_permutation(size: int, key: int) -> None:
    assert sorted(shuffled(i, size, key=key) for i in range(size)) == list(range(size))


def test_a_shuffle_of_billions_stays_in_range_and_spreads() -> None:
    places = [shuffled(i, 2**31, key=5) for i in range(2000)]
    assert len(set(places)) == 2000 and max(places) < 2**31
    assert np.mean(places) == pytest.approx(2**30, rel=0.05)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"length": 20}, r"no document of 'easy_vqa' fits into a row: .*Raise `length`"),
        ({"capacity": {"image": 2, "audio": 9}}, r"no document of 'easy_vqa' fits .* \{'image': 2"),
        ({"capacity": {"smell": 3}}, "no slots of the kind 'smell'"),
    ],
)
def test_a_row_that_holds_no_document_is_refused(
    setting: dict[str, Any], changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        Loader(Mixture((Part(EasyVqa(), 1.0),)), **{**setting, **changes})


def test_documents_that_fit_no_row_are_measured_and_left_out(setting: dict[str, Any]) -> None:
    mixed = Mixture((Part(EasyVqa(questions=2), 1.0),))
    loader = Loader(mixed, **{**setting, "length": 58})
    assert 0 < loader.measures[0].fits < 1
    assert Loader(mixed, **setting).measures[0].fits == 1


def test_a_step_outside_the_run_is_refused(setting: dict[str, Any]) -> None:
    loader = Loader(Mixture((Part(Books(), 1.0),)), **setting)
    for step in (-1, 400):
        with pytest.raises(ValueError, match=f"step {step} is not one of the 400 steps"):
            loader.batch(step)


def test_a_source_that_is_not_there_is_refused_at_once(
    setting: dict[str, Any], tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match="looked for"):
        Loader(MIXED, **{**setting, "data": tmp_path})


def test_a_loader_for_evaluation_reads_the_other_split(setting: dict[str, Any]) -> None:
    mixture = replace(MIXED, parts=(Part(Fsdd(), 1.0),))
    loader = Loader(mixture, **setting, split="eval")
    assert {loader.document(0, n).origin for n in range(6)} == {"fsdd/3.wav", "fsdd/7.wav"}


def test_nothing_varies_in_evaluation_but_the_length_of_sounds(seeing: dict[str, Any]) -> None:
    parts = (Part(Fsdd(), 1.0, augment=SPEECH), Part(EasyVqa(), 1.0, augment=DRAWINGS))
    plain = Mixture(tuple(Part(part.source, 1.0) for part in parts))
    one = Loader(Mixture(parts), **seeing, split="eval")
    other = Loader(plain, **seeing, split="eval")
    for part, number in ((0, 0), (0, 1), (1, 0), (1, 1)):
        mine, yours = one.render(part, number).signals, other.render(part, number).signals
        assert (mine[0][1].values == yours[0][1].values).all()
    short = Augment(seconds=0.1, noise_db=(-9.0, -9.0))
    cut = Loader(Mixture((Part(Fsdd(), 1.0, augment=short),)), **seeing, split="eval")
    assert len(cut.render(0, 0).signals[0][1].places) < len(one.render(0, 0).signals[0][1].places)


PARENT = """
import os, sys, threading, time
from castor.data.workers import leave_in_time
if os.fork() == 0:
    leave_in_time(0, 1)
    print(os.getpid(), flush=True)
    time.sleep(60)
time.sleep(60)
"""


def test_a_worker_ends_when_its_parent_is_killed() -> None:
    command = [sys.executable, "-c", PARENT]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        worker = int(parent.stdout.readline())
        parent.kill()
        for _ in range(100):
            try:
                os.kill(worker, 0)
            except ProcessLookupError:
                break
            if Path(f"/proc/{worker}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z":
                break
            time.sleep(0.05)
        else:
            raise AssertionError("the worker is still there 5 s after its parent was killed")


def test_a_script_that_trains_while_it_is_imported_is_told_so(
    setting: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(multiprocessing.current_process(), "_inheriting", True, raising=False)
    batches = Loader(Mixture(SEEN), **setting, workers=1).iterate(0)
    with pytest.raises(ValueError, match="put what it does under `if __name__ == '__main__':`"):
        next(batches)
