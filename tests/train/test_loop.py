"""The loop's promise: stopped, killed and resumed at any moment, the same weights bit for bit."""

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from castor.checkpoint import Keep, checkpoints, load, load_codec, write
from castor.core.recipe import from_json
from castor.data.loader import Loader
from castor.data.mixture import Mixture, Part
from castor.data.playground import Playground
from castor.data.texts import Books
from castor.fleet import account
from castor.fleet.ledger import LEDGER
from castor.models.quant import quantise
from castor.models.sizes import TINY
from castor.train import job as jobs
from castor.train import loop, meter
from castor.train import run as runs
from castor.train.job import Progress
from castor.train.memory import Kept
from castor.train.metrics import read
from castor.train.optim import AdamW
from castor.train.recipe import LearnVocab, Recipe, StoredCodec, StoredVocab
from castor.train.run import train
from train.small import CODEC, DRAWINGS, NOWHERE, TEXT

GOLDEN = Path(__file__).parent / "golden_losses.json"
PLAIN = replace(TEXT, optimizer=AdamW(), steps=2)  # Muon takes longer to compile


@pytest.fixture(autouse=True)
def known_peak(monkeypatch: pytest.MonkeyPatch) -> None:
    """Measuring the machine takes a second."""
    monkeypatch.setattr(meter, "peak_flops", lambda precision: 1e12)


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """An environment in which processes share what they compile."""
    folder = tmp_path_factory.mktemp("compiled")
    shared = {
        "JAX_COMPILATION_CACHE_DIR": str(folder),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
    }
    return {**os.environ, **shared}


def process(environment: dict[str, str], out: Path, what: str, at: int) -> int:
    """Run `small.py`, and give how it ended: -9 if it was killed."""
    script = Path(__file__).parent / "small.py"
    arguments = [sys.executable, str(script), str(out), what, str(at)]
    return subprocess.run(arguments, env=environment, check=False).returncode


def told(out: Path) -> list[tuple[int, float]]:
    """The loss of each step, as the log has it."""
    return [(line["step"], line["loss"]) for line in read(out / "metrics.jsonl") if "loss" in line]


def weights(out: Path) -> bytes:
    return (out / "step_000012" / "weights.safetensors").read_bytes()


@pytest.mark.slow
def test_killed_stopped_and_resumed_it_ends_bit_for_bit_as_if_never_interrupted(
    tmp_path: Path, compiled: dict[str, str]
) -> None:
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    assert process(compiled, whole, "kill-at", 99) == 0
    assert process(compiled, broken, "kill-at", 7) == -signal.SIGKILL  # with step 7 in flight
    assert len(checkpoints(broken)) <= 1  # step 4 was being written meanwhile
    assert process(compiled, broken, "kill-in-save", 8) == -signal.SIGKILL
    assert [path.name for path in checkpoints(broken)] == ["step_000004"]
    assert len(list(broken.glob(".step_000008.*"))) == 1
    assert process(compiled, broken, "stop-at", 10) == 128 + signal.SIGTERM
    assert [path.name for path in checkpoints(broken)] == ["step_000008", "step_000010"]
    assert process(compiled, broken, "kill-at", 99) == 0
    assert weights(broken) == weights(whole)
    assert told(broken) == told(whole) and [n for n, _ in told(whole)] == list(range(1, 13))
    assert not list(broken.glob(".step*"))
    assert (broken / "curves.png").exists()
    ledgers = [account.read(out / LEDGER) for out in (whole, broken)]
    assert [(ledger.steps, ledger.lost > 0) for ledger in ledgers] == [(12, False), (12, True)]


def run(recipe: Any, out: Path) -> tuple[Path, list[Progress]]:
    """Train in this process."""
    seen: list[Progress] = []
    return train(recipe, data=NOWHERE, out=out, report=seen.append), seen


@pytest.mark.slow
def test_a_codec_a_vocabulary_and_a_model_are_made_in_order(tmp_path: Path) -> None:
    parts = (*TEXT.mixture.parts, *DRAWINGS.parts)
    recipe = replace(
        TEXT, mixture=Mixture(parts), codec=CODEC, steps=2, rows=2, length=160, eval_every=2
    )
    path, seen = run(recipe, tmp_path)
    stages = list(dict.fromkeys(progress.stage for progress in seen))
    assert stages == ["codec", "vocabulary", "pictures", "model"]
    assert seen[-1].done == seen[-1].total == 2 and seen[-1].numbers["loss"] > 0
    found = load(path)
    assert found.codec is not None and found.codec[1] == CODEC.model
    assert found.config.vocab == found.vocab.size and len(found.vocab.codes) == 9
    assert from_json(Recipe, found.recipe) == recipe and found.step == 2
    held_out = [line for line in read(tmp_path / "metrics.jsonl") if "held_out" in line]
    assert found.loss == pytest.approx(held_out[-1]["held_out"]["loss"], rel=1e-5)
    line = read(tmp_path / "metrics.jsonl")[0]
    assert {"lr", "tokens_per_s", "utilisation", "waiting_s", "skipped"} <= line.keys()
    assert set(line["sources"]) <= set(recipe.mixture.names)
    assert "bits_per_byte" in line["modalities"]["text"]
    codec_line = read(tmp_path / "codec/metrics.jsonl")[0]
    assert codec_line["sources"]["playground/draw"]["psnr"] > 0
    assert load_codec(tmp_path / "codec").step == 2

    again, seen = run(recipe, tmp_path)
    assert again == path and seen == []

    other = replace(
        TEXT,
        name="other",
        steps=1,
        codec=StoredCodec(str(tmp_path / "codec")),
        vocab=StoredVocab(str(tmp_path)),
        start=str(path),
        ema=0.0,
        optimizer=AdamW(peak_lr=0.0, decay=0.0),
    )
    begun = load(run(other, tmp_path / "other")[0])
    for a, b in zip(jax.tree.leaves(begun.model), jax.tree.leaves(found.model), strict=True):
        np.testing.assert_array_equal(a, b)

    for change, sentence in (
        ({"model": replace(TEXT.model, hidden=32)}, "has another shape"),
        ({"vocab": LearnVocab(size=390, characters=9_000)}, "has another vocabulary"),
    ):
        with pytest.raises(ValueError, match=f"start=.* {sentence}"):
            run(replace(other, **change), tmp_path / sentence)
    write(tmp_path / "small", replace(found, model=quantise(found.model)))
    with pytest.raises(ValueError, match="the weights of start=.* are int4 and cannot be learned"):
        run(replace(other, start=str(tmp_path / "small")), tmp_path / "rounded")


@pytest.mark.slow
def test_a_poisoned_batch_is_skipped_and_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    objective = jobs.next_token

    def poisoned(model: Any, batch: Any, **settings: Any) -> Any:
        loss = objective(model, batch, **settings)
        return loss._replace(nats=loss.nats / batch.weights.min())

    batches = Loader.iterate

    def spoil(self: Any, start: int = 0, groups: Any = None) -> Any:
        for n, batch in enumerate(batches(self, start, groups), start=start + 1):
            yield batch._replace(weights=np.maximum(batch.weights, 0.0 if n == 2 else 1.0))

    monkeypatch.setattr(jobs, "next_token", poisoned)
    monkeypatch.setattr(Loader, "iterate", spoil)
    monkeypatch.setattr(meter, "PATIENCE", 2)
    run(replace(TEXT, steps=3), tmp_path / "once")
    lines = read(tmp_path / "once/metrics.jsonl")
    assert [line["skipped"] for line in lines if "skipped" in line] == [0, 1, 1]
    assert lines[1]["gradient_norm"] is None
    monkeypatch.setattr(Loader, "iterate", batches)
    with pytest.raises(ValueError, match="has not been finite for 2 steps: lower"):
        run(TEXT, tmp_path / "always")


@pytest.mark.slow
def test_what_was_kept_of_the_last_step_is_saved_when_the_run_starts_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = Kept(folder=tmp_path / "memory")
    kept.folder.mkdir()
    recipe = replace(PLAIN, save_every=100)
    whole = train(recipe, data=NOWHERE, out=tmp_path / "whole")

    def killed(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(loop.Saver, "save", killed)
    with pytest.raises(KeyboardInterrupt):
        train(recipe, data=NOWHERE, out=tmp_path / "run", kept=kept)
    monkeypatch.undo()
    assert not checkpoints(tmp_path / "run")
    again = train(recipe, data=NOWHERE, out=tmp_path / "run", kept=kept)
    assert (again / "weights.safetensors").read_bytes() == (
        whole / "weights.safetensors"
    ).read_bytes()
    assert not any((tmp_path / "memory").rglob("slot*"))


@pytest.mark.slow
def test_another_recipe_is_refused_and_a_damaged_checkpoint_named(tmp_path: Path) -> None:
    recipe = replace(PLAIN, save_every=1, keep=Keep(last=9))
    path, _ = run(recipe, tmp_path)
    with pytest.raises(ValueError, match="holds a run whose steps is 2 and not 3; name another"):
        run(replace(recipe, steps=3), tmp_path)
    with pytest.raises(ValueError, match=r"steps is 2 and not 3 \(and 1 more\)"):
        run(replace(recipe, steps=3, seed=1), tmp_path)
    path.rename(tmp_path / "step_000009")
    (tmp_path / "step_000009" / "weights.safetensors").write_bytes(b"damaged")
    with pytest.raises(ValueError, match="step_000009 cannot be loaded.*good.*step_000001$"):
        run(PLAIN, tmp_path)


@pytest.mark.slow
def test_a_start_that_failed_does_not_tie_the_folder_to_its_recipe(tmp_path: Path) -> None:
    missing = replace(PLAIN, mixture=Mixture((Part(Books(), 1.0),)))
    with pytest.raises(ValueError, match="looked for"):
        run(missing, tmp_path)
    (tmp_path / "vocab.model").write_bytes(b"of the recipe that failed")
    run(PLAIN, tmp_path)
    assert from_json(Recipe, json.loads((tmp_path / "recipe.json").read_text())).steps == 2


@pytest.mark.slow
def test_ten_steps_of_the_tiny_model_lose_what_they_always_lost(tmp_path: Path) -> None:
    tasks = ("shapes", "speech", "motion", "sums")
    recipe = Recipe(
        name="golden",
        model=TINY,
        vocab=LearnVocab(size=448, characters=30_000),
        mixture=Mixture(tuple(Part(Playground(task), 1.0) for task in tasks)),
        steps=10,
        rows=2,
        length=128,
        capacity={"image": 96, "audio": 64},
        precision="float32",
        log_every=1,
        eval_every=0,
        eval_batches=1,
        workers=0,
    )
    run(recipe, tmp_path)
    losses = [loss for _, loss in told(tmp_path)]
    if os.environ.get("CASTOR_UPDATE"):
        GOLDEN.write_text(json.dumps(losses, indent=1) + "\n")
    np.testing.assert_allclose(losses, json.loads(GOLDEN.read_text()), rtol=2e-4)


def test_the_loop_and_the_step_can_be_read_at_a_sitting() -> None:
    for module in (runs, loop, jobs, meter):
        assert len(Path(str(module.__file__)).read_text().splitlines()) < 250
