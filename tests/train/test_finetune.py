"""Going on from a model: what is learned, what stays, and what is refused."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from interop.folders import embedding, published

from castor.checkpoint import (
    checkpoints,
    load,
    load_adapters,
    load_codec,
    write,
)
from castor.core.batch import Signal
from castor.core.content import Document, Media
from castor.core.media import png
from castor.core.recipe import to_json
from castor.data.folders import Jsonl
from castor.data.mixture import Mixture, Part
from castor.interop.folder import open_model
from castor.models.lora import Lora
from castor.models.quant import quantise
from castor.tokens.render import Tokens
from castor.tokens.vocab import Vocab
from castor.train import meter
from castor.train.finetune import digest_of, finetune_job, merge, slots_needed
from castor.train.metrics import read
from castor.train.recipe import FineTune, Full, recipe_from
from castor.train.run import train
from train.small import TEXT as FROM_NOTHING
from train.tuned import PARROT, SEEING, begun, documents, seen_and_heard, tuning

RED = Media("image/png", png(np.full((8, 8, 3), (255, 0, 0), np.uint8)))


@pytest.fixture(autouse=True)
def known_peak(monkeypatch: pytest.MonkeyPatch) -> None:
    """Measuring the machine takes a second."""
    monkeypatch.setattr(meter, "peak_flops", lambda precision: 1e12)


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory, vocab: Vocab) -> Path:
    """A text model to go on from."""
    return begun(tmp_path_factory.mktemp("start") / "model", vocab)


@pytest.fixture(scope="module")
def parrot(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight short conversations."""
    return documents(tmp_path_factory.mktemp("data") / "parrot", *PARROT, *PARROT[::-1])


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, start: Path, parrot: Path) -> Path:
    """The folder of a run of adapters that was not interrupted."""
    out = tmp_path_factory.mktemp("runs") / "whole"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(meter, "peak_flops", lambda precision: 1e12)
        train(tuning(start, parrot), data=parrot.parent, out=out)
    return out


def same(one: Any, other: Any) -> bool:
    pairs = zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True)
    return all(np.array_equal(a, b) for a, b in pairs)


def fall(out: Path) -> float:
    """By how much the loss of the last step is lower than that of the first."""
    losses = [line["loss"] for line in read(out / "metrics.jsonl") if "loss" in line]
    return losses[0] - losses[-1]


def held_out(out: Path) -> list[float]:
    lines = read(out / "metrics.jsonl")
    return [line["held_out"]["loss"] for line in lines if "held_out" in line]


def test_a_short_run_learns_and_is_measured_before_and_after(whole: Path) -> None:
    lines = read(whole / "metrics.jsonl")
    assert fall(whole) > 0.3
    before, after = held_out(whole)
    assert after < before and lines[0]["step"] == 0
    assert lines[1]["sources"]["parrot"]["targets"] < lines[1]["tokens_per_s"]


def test_its_checkpoints_hold_adapters_alone(whole: Path) -> None:
    newest = checkpoints(whole)[-1]
    names = {path.name for path in newest.iterdir()}
    assert names == {"adapters.safetensors", "config.json", "recipe.json", "state"}
    found = load_adapters(whole)
    assert found.step == 6 and found.loss is not None
    assert found.origin.lora == Lora()
    assert all(float(np.abs(pair.b).max()) > 0 for pair in found.adapters[0].values())


def test_the_run_ends_with_the_whole_model_which_its_folder_stands_for(
    whole: Path, start: Path
) -> None:
    base, tuned, adapters = load(start), load(whole / "merged"), load_adapters(whole)
    assert same(load(whole).model, tuned.model)
    assert tuned.vocab.digest == base.vocab.digest and tuned.config == base.config
    assert isinstance(recipe_from(tuned.recipe), FineTune)
    block, was = tuned.model.decoder.blocks[0], base.model.decoder.blocks[0]
    pair, scale = adapters.adapters[0]["wq"], adapters.origin.lora.scale
    wanted = was.wq + scale * np.einsum("lir,lro->lio", pair.a, pair.b)
    np.testing.assert_allclose(block.wq, wanted, rtol=1e-5, atol=1e-6)
    assert same(block.mlp_norm, was.mlp_norm)
    assert same(tuned.model.decoder.embedding, base.model.decoder.embedding)


@pytest.mark.slow
def test_what_it_begins_with_is_not_touched(
    tmp_path: Path, start: Path, parrot: Path, vocab: Vocab
) -> None:
    job = finetune_job(tuning(start, parrot), data=parrot.parent, out=tmp_path)
    before = jax.tree.map(np.array, job.frozen)
    files = {path: path.read_bytes() for path in start.iterdir()}
    train(tuning(start, parrot, steps=2), data=parrot.parent, out=tmp_path / "run")
    assert same(job.frozen, before)
    assert files == {path: path.read_bytes() for path in start.iterdir()}


@pytest.mark.slow
def test_a_run_that_was_stopped_goes_on_to_the_same_bits(
    tmp_path: Path, whole: Path, start: Path, parrot: Path
) -> None:
    recipe, out = tuning(start, parrot), tmp_path / "run"

    class Stopped(Exception):
        pass

    def stop(progress: Any) -> None:
        if progress.done == 5:
            raise Stopped

    with pytest.raises(Stopped):
        train(recipe, data=parrot.parent, out=out, report=stop)
    assert [path.name for path in checkpoints(out)] == ["step_000003"]
    assert not (out / "merged").exists()
    assert train(recipe, data=parrot.parent, out=out) == out / "merged"
    for name in ("step_000006/adapters.safetensors", "merged/weights.safetensors"):
        assert (out / name).read_bytes() == (whole / name).read_bytes()
    shutil.rmtree(out / "merged")
    assert train(recipe, data=parrot.parent, out=out) == out / "merged"
    name = "merged/weights.safetensors"
    assert (out / name).read_bytes() == (whole / name).read_bytes()


@pytest.mark.slow
def test_all_weights_can_be_learned_instead(tmp_path: Path, start: Path, parrot: Path) -> None:
    recipe = tuning(start, parrot, tuning=Full(), steps=2, eval_every=0)
    path = train(recipe, data=parrot.parent, out=tmp_path)
    assert path == tmp_path / "step_000002" and not (tmp_path / "merged").exists()
    found, base = load(path), load(start)
    changed = jax.tree.map(
        lambda a, b: not np.array_equal(a, b), found.model.decoder, base.model.decoder
    )
    assert all(jax.tree.leaves(changed))
    assert found.vocab.digest == base.vocab.digest


@pytest.mark.slow
def test_pictures_and_sounds_ride_along(tmp_path: Path, vocab: Vocab) -> None:
    folder = documents(tmp_path / "docs", *seen_and_heard(tmp_path / "docs"))
    start = begun(tmp_path / "start", vocab, SEEING)
    every = Mixture((Part(Jsonl("docs"), 1.0),))
    recipe = tuning(start, folder, mixture=every, eval_every=0, steps=4)
    job = finetune_job(recipe, data=tmp_path, out=tmp_path / "run")
    batch = next(iter(job.batches(0, range(recipe.rows))))
    assert set(batch.media) == {"image", "audio"} and (batch.blocks > 0).any()
    assert batch.weights[batch.blocks > 0].max() == 0
    train(recipe, data=tmp_path, out=tmp_path / "run")
    assert fall(tmp_path / "run") > 0


def test_a_row_has_the_slots_that_documents_need(vocab: Vocab) -> None:
    def drawn(pictures: int) -> Any:
        places = np.zeros((3, 2), np.int32)
        signal = Signal("image", np.zeros((3, 1), np.uint8), places)
        ids = np.zeros(30, np.int32)
        return Tokens(ids, ids.astype(np.float32), ((1, signal),) * pictures, (RED,) * pictures)

    class Two:
        name, fills = "two", False

        def __len__(self) -> int:
            return 2

        def document(self, i: int, rng: np.random.Generator) -> Document:
            return Document.of(*[RED] * (i + 1)).then("red")

        def pictures(self) -> Any:
            yield from ()

    def draw(document: Document) -> Any:
        return drawn(len(document.turns[0].parts))

    assert slots_needed([Two()], draw, length=60) == {"image": 9}
    assert slots_needed([Two()], draw, length=5) == {"image": 5}


@pytest.mark.slow
def test_a_quantised_model_can_be_what_adapters_stand_beside(
    tmp_path: Path, start: Path, parrot: Path
) -> None:
    found = load(start)
    write(tmp_path / "int8", replace(found, model=quantise(found.model)))
    recipe = tuning(tmp_path / "int8", parrot, steps=3, eval_every=0)
    whole = train(recipe, data=parrot.parent, out=tmp_path / "run")
    assert fall(tmp_path / "run") > 0
    assert load(whole).model.decoder.blocks[0].wq.dtype == np.float32
    with pytest.raises(ValueError, match="are int4 and cannot be learned; learn adapters"):
        train(replace(recipe, tuning=Full()), data=parrot.parent, out=tmp_path / "full")


def test_adapters_for_another_model_are_refused(
    tmp_path: Path, start: Path, parrot: Path, vocab: Vocab
) -> None:
    here, out = tmp_path / "start", tmp_path / "run"
    shutil.copytree(start, here)
    recipe = tuning(here, parrot)

    def stop(progress: Any) -> None:
        if progress.done == 4:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        train(recipe, data=parrot.parent, out=out, report=stop)
    shutil.rmtree(here)
    begun(here, vocab, seed=1)
    for attempt in (lambda: train(recipe, data=parrot.parent, out=out), lambda: merge(out)):
        with pytest.raises(ValueError, match="are for another model .* than .*start now holds"):
            attempt()


def test_a_model_that_embeds_is_not_tuned(tmp_path: Path, parrot: Path, vocab: Vocab) -> None:
    start = embedding(tmp_path / "embeds", vocab)
    recipe = tuning(start, parrot)
    with pytest.raises(ValueError, match="embeds texts; only models that write some are tuned"):
        finetune_job(recipe, data=parrot.parent, out=tmp_path / "run")


def test_a_folder_of_hugging_face_is_known_by_its_weights(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "gemma"}')
    (tmp_path / "model.safetensors").write_bytes(b"one")
    first = digest_of(tmp_path)
    assert digest_of(tmp_path) == first
    (tmp_path / "model.safetensors").write_bytes(b"other")
    assert digest_of(tmp_path) != first


def test_a_model_is_no_adapters_and_the_other_way_round(whole: Path, start: Path) -> None:
    with pytest.raises(ValueError, match="holds no adapters"):
        load_adapters(start)
    with pytest.raises(ValueError, match="holds adapters for .* and no model; its run writes one"):
        load(checkpoints(whole)[-1])
    with pytest.raises(ValueError, match="holds no codec"):
        load_codec(whole)
    (whole / "merged").rename(whole / "elsewhere")
    with pytest.raises(ValueError, match="writes one to .*merged when it ends"):
        load(whole)
    (whole / "elsewhere").rename(whole / "merged")


@pytest.mark.parametrize(
    ("lines", "sentence"),
    [
        ([*PARROT, Document.of("What?")], "docs.jsonl#5: no turn of the model says anything"),
        ([*PARROT, Document.of(RED).then("red")], "docs.jsonl#5: this model does not read image/"),
        ([{"contents": [{"role": "you", "parts": []}]}], "docs.jsonl, line 1: .* a role is one of"),
        ([{"text": "Hi!"}], "docs.jsonl, line 1: the document needs a list of contents"),
        ([Document.of(*["one two"] * 3).then(RED)], "docs.jsonl#1: .* this model cannot draw"),
    ],
)
def test_a_document_that_cannot_be_learned_is_named(
    tmp_path: Path, start: Path, lines: list[Any], sentence: str
) -> None:
    folder = documents(tmp_path / "docs", *lines)
    recipe = tuning(start, folder, mixture=Mixture((Part(Jsonl("docs"), 1.0),)))
    with pytest.raises(ValueError, match=sentence):
        train(recipe, data=tmp_path, out=tmp_path / "run")


def test_rows_are_no_longer_than_the_models_context(
    tmp_path: Path, start: Path, parrot: Path
) -> None:
    with pytest.raises(ValueError, match="length=97 is more than the 96 tokens of .*model"):
        train(tuning(start, parrot, length=97), data=parrot.parent, out=tmp_path)


def test_the_recipe_comes_back_from_json_and_is_told_from_others(start: Path, parrot: Path) -> None:
    for recipe in (tuning(start, parrot), tuning(start, parrot, tuning=Full()), FROM_NOTHING):
        assert recipe_from(json.loads(json.dumps(to_json(recipe)))) == recipe
    with pytest.raises(ValueError, match="16,777,216 are the most; lower rows or length"):
        tuning(start, parrot, rows=2**15, length=2**10)


@pytest.mark.slow
def test_a_folder_of_hugging_faces_is_gone_on_from_in_its_own_words(
    tmp_path: Path, parrot: Path, vocab: Vocab
) -> None:
    start = published(tmp_path / "gemma", vocab)
    recipe = tuning(start, parrot, eval_every=0, steps=3, length=32)
    whole = train(recipe, data=parrot.parent, out=tmp_path / "run")
    found, base = load(whole, dtype=None), open_model(start, dtype=None)
    assert found.vocab.digest == base.vocab.digest
    assert found.model.decoder.embedding.dtype == base.model.decoder.embedding.dtype == "bfloat16"
    assert not same(found.model.decoder.blocks, base.model.decoder.blocks)
    told = json.loads((tmp_path / "run/peft/adapter_config.json").read_text())
    assert told["base_model_name_or_path"] == str(start)
