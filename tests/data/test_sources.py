"""Laws that hold for every source: purity, canonical evaluation, splits that never meet."""

from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import get_args

import numpy as np
import pytest

from castor.core.content import Media, Text
from castor.core.recipe import from_json, override, to_json
from castor.data.mixture import Mixture, Part
from castor.data.sources import (
    Books,
    Cifar10,
    Corpus,
    EasyVqa,
    Emoji,
    Esc10,
    Filmed,
    Flickr1k,
    Fsdd,
    ImageText,
    Jsonl,
    MovingEmoji,
    Nlvr,
    Omniglot,
    Playground,
    ReadSpeech,
    SourceSpec,
    SpeechText,
    Sroie,
    Strokes,
    TabMwp,
    TextFolder,
    TextTask,
    VideoText,
)

SPECS: tuple[SourceSpec, ...] = (
    Emoji("name"),
    Emoji("draw"),
    EasyVqa(),
    Nlvr(),
    Omniglot(),
    Strokes(),
    MovingEmoji(),
    Filmed("clips"),
    Fsdd(),
    Esc10(),
    ReadSpeech(),
    Books(),
    *(Corpus(part) for part in Corpus.where),
    Cifar10(),
    Playground("shapes"),
    Playground("draw", scenes=200),
)
ELSEWHERE = (Flickr1k, Sroie, TabMwp, TextTask, Jsonl, TextFolder, ImageText, SpeechText, VideoText)
every_source = pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.name)


def rng(seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_every_member_of_the_union_is_tested_here_or_beside() -> None:
    tested = {type(spec) for spec in SPECS} | set(ELSEWHERE)
    assert tested == set(get_args(SourceSpec))


@every_source
def test_a_document_is_a_function_of_its_number_and_the_generator(
    spec: SourceSpec, data: Path
) -> None:
    one, other = spec.open(data, "train"), spec.open(data, "train")
    for i in (0, len(one) - 1):
        assert one.document(i, rng(7)) == other.document(i, rng(7))


@every_source
def test_evaluation_does_not_depend_on_the_generator(spec: SourceSpec, data: Path) -> None:
    source = spec.open(data, "eval")
    for i in range(min(5, len(source))):
        assert source.document(i, rng(1)) == source.document(i, rng(2))


@every_source
def test_no_evaluation_document_is_in_training(spec: SourceSpec, data: Path) -> None:
    def media_and_words(split: str) -> set[object]:
        source = spec.open(data, split)
        documents = (source.document(i, rng(i)) for i in range(min(60, len(source))))
        seen = set()
        for document in documents:
            parts = [p for turn in document.turns for p in turn.parts]
            media = [p for p in parts if isinstance(p, Media)]
            seen |= {m.data for m in media} or {p.text for p in parts if isinstance(p, Text)}
        return seen

    assert not media_and_words("train") & media_and_words("eval")


@every_source
def test_a_document_ends_with_what_is_learned(spec: SourceSpec, data: Path) -> None:
    source = spec.open(data, "train")
    last = source.document(0, rng(0)).turns[-1]
    assert last.role == ("page" if source.fills else "model")
    assert last.parts


@every_source
def test_pictures_are_exactly_those_that_model_turns_hold(spec: SourceSpec, data: Path) -> None:
    source = spec.open(data, "train")
    known = {picture.data for picture in source.pictures()}
    for i in range(min(20, len(source))):
        for turn in source.document(i, rng(i)).turns:
            drawn = [p for p in turn.parts if isinstance(p, Media) and turn.role == "model"]
            assert all(picture.data in known for picture in drawn)
    if known:
        assert len(list(islice(source.pictures(), 5))) == 5


@every_source
def test_a_spec_survives_json(spec: SourceSpec) -> None:
    mixture = Mixture((Part(spec, 1.0),))
    assert from_json(Mixture, to_json(mixture)) == mixture


def test_a_source_is_changed_on_the_command_line_by_its_class_name() -> None:
    mixture = Mixture((Part(Fsdd(), 1.0),))
    changed = override(mixture, "parts.0.source=Emoji")
    assert override(changed, "parts.0.source.task=draw").parts[0].source == Emoji("draw")


@pytest.mark.parametrize(
    ("spec", "wanted"),
    [
        (Emoji("name"), Emoji.asks["name"][0]),
        (Omniglot(), Omniglot.asks[0]),
        (Fsdd(), Fsdd.asks[0]),
        (Esc10(), Esc10.asks[0]),
        (ReadSpeech(), ReadSpeech.asks[0]),
        (Cifar10(), Cifar10.asks[0]),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_evaluation_asks_in_the_first_wording_and_training_in_all(
    spec: SourceSpec, wanted: str, data: Path
) -> None:
    def asked(split: str, seed: int) -> str:
        turn = spec.open(data, split).document(0, rng(seed)).turns[0]
        return "".join(p.text for p in turn.parts if isinstance(p, Text))

    assert asked("eval", 0) == wanted
    assert len({asked("train", seed) for seed in range(30)}) > 1


@pytest.mark.parametrize(
    "make",
    [Emoji, EasyVqa, Nlvr, Omniglot, Strokes, MovingEmoji, Fsdd, Esc10, Cifar10, Flickr1k, Sroie],
    ids=lambda make: make.__name__,
)
def test_a_set_that_is_not_there_is_refused_with_its_home(
    make: Callable[[], SourceSpec], tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=r"looked for .*index.jsonl.*https://"):
        make().open(tmp_path, "train")
