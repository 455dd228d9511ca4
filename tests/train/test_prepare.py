"""What comes before the first step: made once, from the right documents, and read back."""

import json
from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from castor.checkpoint import HEAD, VOCAB, CodecCheckpoint
from castor.data.augment import Augment
from castor.data.mixture import Mixture, Part
from castor.data.playground import Playground
from castor.data.source import Split
from castor.data.texts import Books
from castor.models.image_codec import init_codec
from castor.tokens.learn import learn
from castor.train import prepare
from castor.train.objectives import Pictures
from castor.train.prepare import Gallery, has_eval, picture_book, pictures_of, texts, vocabulary
from castor.train.recipe import StoredVocab
from train.small import CODEC, DRAWINGS, NOWHERE, TEXT

DRAW = DRAWINGS.parts[0]


def test_a_vocabulary_is_learned_once_and_then_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = vocabulary(TEXT, data=NOWHERE, out=tmp_path, codes=7)
    monkeypatch.setattr(prepare, "learn", None)
    again = vocabulary(TEXT, data=NOWHERE, out=tmp_path, codes=7)
    assert first.digest == again.digest and first.text_size == 400 and len(first.codes) == 7


def test_a_stored_vocabulary_is_taken_over(tmp_path: Path) -> None:
    other = learn(["the cat sat on the mat " * 20], size=336, codes=0)
    other.save(tmp_path / "their.model")
    recipe = replace(TEXT, vocab=StoredVocab(str(tmp_path / "their.model")))
    assert vocabulary(recipe, data=NOWHERE, out=tmp_path, codes=0).model == other.model
    lost = replace(TEXT, vocab=StoredVocab(str(tmp_path / "lost.model")))
    with pytest.raises(FileNotFoundError):
        vocabulary(lost, data=NOWHERE, out=tmp_path / "new", codes=0)


def test_a_run_goes_on_with_no_other_vocabulary_than_it_began_with(tmp_path: Path) -> None:
    began = vocabulary(TEXT, data=NOWHERE, out=tmp_path, codes=0)
    saved = tmp_path / "step_000004"
    saved.mkdir()
    (saved / HEAD).write_text(json.dumps({"vocab": {"digest": began.digest}}))
    assert vocabulary(TEXT, data=NOWHERE, out=tmp_path, codes=0).digest == began.digest
    other = learn(["the cat sat on the mat " * 20], size=336, codes=0)
    other.save(tmp_path / VOCAB)
    told = rf"vocab.model is another vocabulary \({other.digest}\) than that of .*step_000004"
    with pytest.raises(ValueError, match=told):
        vocabulary(TEXT, data=NOWHERE, out=tmp_path, codes=0)
    (saved / HEAD).write_text("{cut short")  # said where the checkpoint is opened
    assert vocabulary(TEXT, data=NOWHERE, out=tmp_path, codes=0).digest == other.digest


def test_a_source_gives_text_by_its_share() -> None:
    parts = (Part(Playground("sums"), 3.0), Part(Playground("sums", ("de",)), 1.0))
    sizes = [
        sum(len(text) for text in texts(Mixture(chosen), NOWHERE, most=4000, seed=1))
        for chosen in (parts, parts[:1])
    ]
    assert 3900 <= sizes[0] <= 4600 and 3900 <= sizes[1] <= 4300
    one, two = (list(texts(Mixture(parts), NOWHERE, most=900, seed=s)) for s in (1, 2))
    assert one != two and one == list(texts(Mixture(parts), NOWHERE, most=900, seed=1))


def test_a_picture_book_is_made_once_for_each_codec_and_knows_held_out_pictures(
    tmp_path: Path,
) -> None:
    shapes = jax.eval_shape(lambda key: init_codec(CODEC.model, key), jax.random.key(0))
    rng = np.random.default_rng(0)
    weights = [
        jax.tree.map(lambda s: jnp.asarray(rng.normal(size=s.shape).astype(s.dtype)), shapes)
        for _ in range(2)
    ]
    recipe = replace(TEXT, mixture=DRAWINGS)
    codecs = [CodecCheckpoint(weight, CODEC.model) for weight in weights]
    book, other = (picture_book(recipe, c, data=NOWHERE, out=tmp_path) for c in codecs)
    assert len(list(tmp_path.glob("pictures_*.npz"))) == 2
    held_out = next(iter(pictures_of(DRAW, NOWHERE, "eval")))
    assert book(held_out).shape == (8, 8)
    again = picture_book(recipe, codecs[0], data=NOWHERE, out=tmp_path)
    assert len(again) == len(book) and (again(held_out) == book(held_out)).all()
    assert (other(held_out) != book(held_out)).any()


def test_a_gallery_gives_the_same_pictures_at_the_same_step() -> None:
    def gallery(seed: int) -> Gallery:
        return Gallery(DRAWINGS, data=NOWHERE, split="train", side=64, rows=6, seed=seed)

    one, two = gallery(1), gallery(1)
    for step in (5, 0, 3):
        for a, b in zip(one.batch(step), two.batch(step), strict=True):
            np.testing.assert_array_equal(a, b)
    assert (one.batch(0).pixels != one.batch(1).pixels).any()
    assert (one.batch(0).pixels != gallery(2).batch(0).pixels).any()
    later = list(one.iterate(range(2, 5), range(1, 3)))
    assert len(later) == 3 and (later[0].pixels == one.batch(2).pixels[1:3]).all()


def test_a_gallery_takes_pictures_by_share_and_varies_them_in_training_alone() -> None:
    one, two = Playground("draw", scenes=8), Playground("draw", ("de",), scenes=8)
    still = Mixture((Part(one, 3.0), Part(two, 1.0)))
    moved = Mixture((Part(one, 3.0, augment=Augment(shift=0.25)), Part(two, 1.0)))

    def batch(mixture: Mixture, split: Split) -> Pictures:
        return Gallery(mixture, data=NOWHERE, split=split, side=64, rows=200, seed=0).batch(0)

    a, b = batch(still, "train"), batch(moved, "train")
    first = a.sources == 0
    assert 0.65 < first.mean() < 0.85 and (a.sources == b.sources).all()
    assert (a.pixels[first] != b.pixels[first]).any((1, 2, 3)).mean() > 0.5
    np.testing.assert_array_equal(batch(still, "eval").pixels, batch(moved, "eval").pixels)


def test_a_picture_of_another_size_and_a_mixture_without_any_are_refused() -> None:
    with pytest.raises(ValueError, match="draw draws a picture of 64 x 64 .* from 32 x 32"):
        Gallery(DRAWINGS, data=NOWHERE, split="train", side=32, rows=4, seed=0)
    with pytest.raises(ValueError, match=r"no source of \['playground/sums'.* draws a picture"):
        Gallery(TEXT.mixture, data=NOWHERE, split="train", side=64, rows=4, seed=0)


def test_whether_documents_are_held_out_is_asked_of_the_source() -> None:
    books = Part(Books(), 1.0)  # their folder is not there
    assert has_eval(DRAW, NOWHERE) and not has_eval(books, NOWHERE)
    assert list(pictures_of(books, NOWHERE, "eval")) == []
