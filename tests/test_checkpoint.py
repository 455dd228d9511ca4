"""Checkpoints: what is saved comes back bit for bit; damaged ones are refused."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from castor import checkpoint as checkpoints_module
from castor.checkpoint import (
    Checkpoint,
    CodecCheckpoint,
    Keep,
    checkpoints,
    damage,
    load,
    load_codec,
    newest,
    prune,
    resume,
    save,
    sweep,
    write,
)
from castor.models.decoder import init
from castor.models.image_codec import CodecConfig, init_codec
from castor.models.sizes import ImageConfig, ModelConfig
from castor.tokens.learn import learn
from castor.tokens.vocab import Vocab
from castor.train.optim import Muon
from castor.train.step import start

CODEC = CodecConfig(width=16, heads=1, encoder_layers=1, decoder_layers=1, levels=(3, 3), side=16)
IMAGE = ImageConfig(stem=(), width=16, heads=1, side=4)


def random(make: Callable[[jax.Array], Any]) -> Any:
    """Weights of the shapes that `make` makes, without the seconds that compiling it takes."""
    rng = np.random.default_rng(0)
    shapes = jax.eval_shape(make, jax.random.key(0))
    return jax.tree.map(lambda s: jnp.asarray(rng.normal(size=s.shape).astype(s.dtype)), shapes)


@pytest.fixture(scope="module")
def vocab() -> Vocab:
    return learn(["the cat sat on the mat " * 20], size=336, codes=CODEC.codes)


@pytest.fixture(scope="module")
def whole(vocab: Vocab) -> Checkpoint:
    config = ModelConfig(
        layers=2, width=32, hidden=64, heads=2, head_width=16, vocab=vocab.size, image=IMAGE
    )
    return Checkpoint(
        model=random(partial(init, config)),
        config=config,
        vocab=vocab,
        codec=(random(partial(init_codec, CODEC)), CODEC),
        recipe={"name": "tiny", "steps": 9},
        step=7,
        loss=1.5,
    )


def same(one: object, other: object) -> bool:
    leaves = jax.tree.map(lambda a, b: bool(jnp.all(a == b)), one, other)
    return jax.tree.structure(one) == jax.tree.structure(other) and all(jax.tree.leaves(leaves))


def test_a_model_comes_back_bit_for_bit(tmp_path: Path, whole: Checkpoint) -> None:
    path = save(tmp_path, whole)
    back = load(path)
    assert path.name == "step_000007"
    assert same(back.model, whole.model)
    assert back.codec is not None and whole.codec is not None
    assert same(back.codec[0], whole.codec[0]) and back.codec[1] == CODEC
    assert back.vocab.digest == whole.vocab.digest
    kept = ("config", "recipe", "step", "loss")
    assert [getattr(back, n) for n in kept] == [getattr(whole, n) for n in kept]


def test_a_model_without_codec_or_signals_comes_back(tmp_path: Path, vocab: Vocab) -> None:
    config = ModelConfig(layers=1, width=16, hidden=16, heads=1, head_width=16, vocab=vocab.size)
    plain = Checkpoint(random(partial(init, config)), config, vocab)
    back = load(save(tmp_path, plain))
    assert same(back.model, plain.model) and back.codec is None and back.loss is None


def test_a_codec_comes_back_alone_or_out_of_a_model(tmp_path: Path, whole: Checkpoint) -> None:
    assert whole.codec is not None
    alone = CodecCheckpoint(whole.codec[0], CODEC, recipe={"name": "codec"}, step=3)
    for path in (save(tmp_path, alone), save(tmp_path, whole)):
        back = load_codec(path)
        assert same(back.codec, alone.codec) and back.config == CODEC


def test_the_state_comes_back_with_its_key_moments_and_counts(
    tmp_path: Path, whole: Checkpoint
) -> None:
    state = start(whole.model, Muon().transform(10), key=jax.random.key(5), ema=0.9)
    path = save(tmp_path, whole, state=state)
    back = resume(
        path, fresh=start(whole.model, Muon().transform(10), key=jax.random.key(0), ema=0.9)
    )
    assert jax.tree.structure(back) == jax.tree.structure(state)
    assert (jax.random.key_data(back.key) == jax.random.key_data(state.key)).all()
    assert same(replace(back, key=0), replace(state, key=0))


def test_an_export_is_small_and_near(tmp_path: Path, whole: Checkpoint) -> None:
    full, half = tmp_path / "full", tmp_path / "half"
    write(full, whole)
    for precision, error in (("float16", 2**-11), ("bfloat16", 2**-8)):
        write(half, whole, precision=precision)
        sizes = [(p / "weights.safetensors").stat().st_size for p in (full, half)]
        assert sizes[1] < 0.6 * sizes[0]
        for a, b in zip(
            jax.tree.leaves(load(half).model), jax.tree.leaves(whole.model), strict=True
        ):
            assert a.dtype == jnp.float32
            np.testing.assert_allclose(a, b, rtol=error, atol=1e-7)
    with pytest.raises(ValueError, match="half holds weights only, no state to go on from"):
        resume(half, fresh=whole.model)
    assert resume(tmp_path, fresh=whole.model) is whole.model


def test_a_run_means_its_newest_checkpoint(tmp_path: Path, whole: Checkpoint) -> None:
    for step in (2, 1_000_000, 10):
        save(tmp_path, replace(whole, step=step))
    assert load(tmp_path).step == 1_000_000
    assert [path.name for path in checkpoints(tmp_path)] == [
        "step_000002",
        "step_000010",
        "step_1000000",
    ]
    assert newest(tmp_path / "step_000002") == tmp_path / "step_000002"
    assert newest(tmp_path / "nothing") is None


def test_pruning_keeps_the_newest_and_the_best(tmp_path: Path, whole: Checkpoint) -> None:
    for step, loss in ((1, 3.0), (2, 0.0), (3, 1.0), (4, None), (5, 2.0), (6, None)):
        save(tmp_path, replace(whole, step=step, loss=loss))
    removed = prune(tmp_path, Keep(last=2, best=1))
    assert [path.name[-1] for path in removed] == ["1", "3", "4"]
    assert [path.name[-1] for path in checkpoints(tmp_path)] == ["2", "5", "6"]


def test_at_least_one_checkpoint_is_kept() -> None:
    with pytest.raises(ValueError, match="keep.last=0 must be 1 or more"):
        Keep(last=0)


def truncated(folder: Path) -> None:
    file = folder / "weights.safetensors"
    file.write_bytes(file.read_bytes()[:-1000])


def flipped(folder: Path) -> None:
    file = folder / "codec.safetensors"
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)


def missing(folder: Path) -> None:
    (folder / "vocab.model").unlink()


def foreign(folder: Path) -> None:
    (folder / "config.json").write_text('{"architectures": ["GemmaForCausalLM"]}')


def headless(folder: Path) -> None:
    (folder / "config.json").unlink()


def other_vocabulary(folder: Path) -> None:
    other = learn(["a dog ran off with the hat " * 20], size=336, codes=CODEC.codes)
    (folder / "vocab.model").write_bytes(other.model)


def future(folder: Path) -> None:
    head = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**head, "castor": 99}))


def state_lost(folder: Path) -> None:
    shutil.rmtree(folder / "state")


def edited(*names: str, value: Any = None) -> Callable[[Path], None]:
    """A harm: what stands at these names in the head is another value, or gone."""

    def harm(folder: Path) -> None:
        head = inner = json.loads((folder / "config.json").read_text())
        for name in names[:-1]:
            inner = inner[name]
        inner[names[-1]] = value
        if value is None:
            del inner[names[-1]]
        (folder / "config.json").write_text(json.dumps(head))

    return harm


def scalar(folder: Path) -> None:
    (folder / "config.json").write_text("5")


DAMAGES = [
    (truncated, "weights.safetensors is not what was saved"),
    (flipped, "codec.safetensors is not what was saved"),
    (missing, "vocab.model is missing"),
    (foreign, "its config.json is not one that Castor wrote"),
    (headless, "it has no config.json, so it is no checkpoint of Castor's"),
    (other_vocabulary, r"vocab.model is another vocabulary \(.{12}\) than the one"),
    (future, "it is of format 99, and this version of Castor reads 1"),
    (state_lost, "state/.* is missing"),
    (scalar, "its config.json is not one that Castor wrote"),
    (edited("files", value=[]), r"not one that Castor wrote \(Head.files takes dict.*got \[\]"),
    (edited("files", value={}), "it has no digest of weights.safetensors"),
    *(
        (edited("files", name), f"not one that Castor wrote .it has no digest of {name}")
        for name in ("weights.safetensors", "vocab.model", "codec.safetensors", "recipe.json")
    ),
    (edited("step"), r"Head needs \['step'\]"),
    (edited("loss"), r"Head needs \['loss'\]"),
    (edited("loss", value="low"), "Head.loss takes float or none; got 'low'"),
    (edited("vocab"), "it names a model without its vocabulary, or the other way round"),
    (edited("vocab", value=5), "Head.vocab takes VocabHead or none; got 5"),
    (edited("vocab", "codes"), r"VocabHead needs \['codes'\]"),
    (edited("model", "heads", value=0), "ModelConfig.heads=0 must be 1 or more"),
    (edited("codec", "heads", value=0), "CodecConfig.heads=0 must be 1 or more"),
]


@pytest.mark.parametrize(("harm", "reason"), DAMAGES, ids=lambda x: getattr(x, "__name__", ""))
def test_what_is_damaged_is_refused_and_the_newest_good_one_named(
    tmp_path: Path, whole: Checkpoint, harm, reason: str
) -> None:
    for step in (1, 2, 3, 4):
        save(tmp_path, replace(whole, step=step), state={"n": jnp.int32(step)})
    harm(tmp_path / "step_000004")
    truncated(tmp_path / "step_000003")
    sentence = f"step_000004 cannot be loaded: .*{reason}.*newest good checkpoint beside it is .*2$"
    for path in (tmp_path, tmp_path / "step_000004"):
        with pytest.raises(ValueError, match=sentence):
            load(path)
    with pytest.raises(ValueError, match=sentence):
        resume(tmp_path, fresh={"n": jnp.int32(0)})


def test_a_damaged_checkpoint_without_good_ones_is_refused_alone(
    tmp_path: Path, whole: Checkpoint
) -> None:
    truncated(save(tmp_path, whole))
    with pytest.raises(ValueError, match=r"truncated or changed\)$"):
        load(tmp_path)


def test_what_is_not_there_is_refused(tmp_path: Path, whole: Checkpoint) -> None:
    with pytest.raises(ValueError, match="there is no such directory"):
        load(tmp_path / "nowhere")
    (tmp_path / "notes.md").write_text("# A model")
    with pytest.raises(ValueError, match="notes.md cannot be loaded: it is a file; name the dir"):
        load(tmp_path / "notes.md")
    with pytest.raises(ValueError, match="no checkpoint of Castor's"):
        load(tmp_path)
    assert whole.codec is not None
    codec = save(tmp_path, CodecCheckpoint(*whole.codec))
    with pytest.raises(ValueError, match="holds a codec but no model"):
        load(codec)
    model = save(tmp_path, replace(whole, codec=None))
    with pytest.raises(ValueError, match="holds no codec"):
        load_codec(model)


def test_a_head_that_names_nothing_is_refused(tmp_path: Path, whole: Checkpoint) -> None:
    path = save(tmp_path, replace(whole, codec=None))
    for name in ("model", "vocab"):
        edited(name)(path)
    with pytest.raises(ValueError, match="it names neither a model nor a codec"):
        load(path)


def test_weights_of_another_shape_are_refused(tmp_path: Path, whole: Checkpoint) -> None:
    path = save(tmp_path, whole)
    for change, sentence in (
        ({"width": 16}, r"embedding is \(\d+, 32\), its config.json says \(\d+, 16\)"),
        ({"image": None}, "has other weights than its config.json describes, e.g. encoders.image"),
        ({"vocab": 999}, r"the model has 999 ids, its vocabulary \d+"),
    ):
        head = json.loads((path / "config.json").read_text())
        head["model"] |= change
        other = tmp_path / "other"
        shutil.copytree(path, other)
        (other / "config.json").write_text(json.dumps(head))
        with pytest.raises(ValueError, match=sentence):
            load(other)
        shutil.rmtree(other)


@pytest.mark.parametrize("failing", ["packed", "write_state", "digests"])
def test_a_full_disk_leaves_what_was_there(
    tmp_path: Path, whole: Checkpoint, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    state = {"n": jnp.int32(1)}
    first = save(tmp_path, whole, state=state)

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoints_module, failing, full)
    for step in (whole.step, whole.step + 1):
        with pytest.raises(OSError, match="No space left"):
            save(tmp_path, replace(whole, step=step), state=state)
    monkeypatch.undo()
    assert [p.name for p in tmp_path.iterdir()] == [first.name]
    assert damage(first) is None


def test_what_a_killed_process_left_is_swept_away(tmp_path: Path, whole: Checkpoint) -> None:
    good = save(tmp_path, whole)
    for name in (".step_000009.abc", ".old.step_000007.xyz"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "weights.safetensors").write_bytes(b"half")
    assert checkpoints(tmp_path) == [good]
    sweep(tmp_path)
    assert list(tmp_path.iterdir()) == [good]
