"""Pixels in, states and logits out: what the fixtures' own class computes is what we compute."""

import json
import shutil
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import load_file

from castor.core.batch import Slots
from castor.interop.configs import config_from
from castor.interop.describe import config_to
from castor.interop.hf import load_hf, save_hf
from castor.interop.names import plain
from castor.models.cache import empty_cache
from castor.models.decoder import Seen, extend, logits
from castor.models.modality import encode
from castor.models.signals import PatchesConfig, SiglipConfig, VitConfig
from tests.interop.conftest import FIXTURES, SIGNALS, known


def seen(known, pictures: Slots) -> np.ndarray:
    """The states of slots."""
    look = jax.jit(partial(encode, config=known.config))
    return np.asarray(look(known.model.encoders["image"], pictures))


def in_use(pictures: Slots) -> np.ndarray:
    return np.asarray(pictures.blocks) > 0


def near(ours, wanted, at_most=1e-4):
    assert np.abs(ours - wanted).max() <= at_most * np.abs(wanted).max()


def test_an_encoder_gives_the_states_of_the_reference(seeing_checkpoint):
    held = np.load(seeing_checkpoint.folder / "reference.npz")["out_image_hidden_states"]
    states = seen(seeing_checkpoint, seeing_checkpoint.pictures)
    wanted = held.reshape(-1, seeing_checkpoint.config.width)
    near(states[in_use(seeing_checkpoint.pictures)], wanted, at_most=1e-5)


def test_pixels_to_logits_is_what_the_reference_computes(seeing_checkpoint):
    model, config, ids = seeing_checkpoint[1:4]
    media = {"image": seeing_checkpoint.pictures}
    rows, room = ids.shape
    if seeing_checkpoint.media.slots.sum() > in_use(media["image"]).sum():  # there is sound too
        states, pictures = np.array(seeing_checkpoint.media.states), media["image"]
        found = seen(seeing_checkpoint, pictures)
        for b, columns in enumerate(pictures.columns):
            kept = columns < room
            states[b, columns[kept]] = found[b, kept]
        media = Seen(states, seeing_checkpoint.media.slots)
    cache = empty_cache(config, rows=rows, room=room, dtype=jnp.float32)
    step = jax.jit(partial(extend, config=config))
    valid, blocks = jnp.ones(ids.shape, bool), jnp.asarray(seeing_checkpoint.blocks)
    states, _ = step(model, jnp.asarray(ids), cache, valid=valid, blocks=blocks, media=media)
    near(np.asarray(logits(model, states, cap=config.logit_cap)), seeing_checkpoint.logits)


def test_pictures_side_by_side_are_seen_as_each_alone(seeing_checkpoint):
    """Those of both rows in one row, with unused slots behind them."""
    values, places, _, blocks = seeing_checkpoint.pictures
    used = in_use(seeing_checkpoint.pictures)
    rows = np.where(used, blocks + 10 * np.arange(len(blocks))[:, None], 0).astype(np.int32)
    together = Slots(
        *(np.concatenate([x[used], x[:1, 0]])[None] for x in (values, places)), *(None,) * 2
    )
    owners = np.append(rows[used], np.int32(0))[None]
    found = seen(seeing_checkpoint, together._replace(columns=owners, blocks=owners))[0, :-1]
    alone = []
    for number in dict.fromkeys(rows[used].tolist()):
        mine = rows == number
        whose = np.ones((1, mine.sum()), np.int32)
        picture = Slots(values[mine][None], places[mine][None], whose, whose)
        alone.append(seen(seeing_checkpoint, picture)[0])
    np.testing.assert_allclose(found, np.concatenate(alone), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "image"),
    [
        ("gemma3", SiglipConfig(4, 4, 8, layers=2, width=24, heads=2, hidden=40)),
        ("gemma4_unified", PatchesConfig(patch=6, width=32, side=16)),
        (
            "gemma4",
            VitConfig(4, 3, 2, 24, 2, head_width=12, hidden=40, side=64, clipped=True),
        ),
        (
            "gemma4_dense",
            VitConfig(4, 3, 2, 24, 2, head_width=12, hidden=40, side=64, standardized=True),
        ),
    ],
)
def test_a_config_tells_its_encoder(name, image):
    assert known(name).config.image == image


@pytest.mark.parametrize("name", SIGNALS)
def test_a_config_is_written_with_its_encoder_and_read_again(name):
    config = known(name).config
    data = config_to(config)
    original = json.loads((FIXTURES / name / "config.json").read_text())
    for key in ("architectures", "model_type"):
        assert data[key] == original[key]
    assert data["text_config"]["model_type"] == original["text_config"]["model_type"]
    assert data["vision_config"].items() <= original["vision_config"].items()
    assert config_from(json.loads(json.dumps(data))) == config


def test_names_of_files_are_those_of_the_hub(tmp_path):
    """Which says vision_model where later versions of the library do not."""
    save_hf(tmp_path / "saved", *known("gemma3")[1:3])
    names = set(load_file(tmp_path / "saved" / "model.safetensors"))
    assert "vision_tower.vision_model.embeddings.patch_embedding.weight" in names
    assert "language_model.model.norm.weight" in names
    assert "multi_modal_projector.mm_input_projection_weight" in names


@pytest.mark.parametrize("name", SIGNALS)
def test_tensors_are_written_as_they_were_read(name, tmp_path):
    save_hf(tmp_path / "saved", *known(name)[1:3])
    ours = load_file(tmp_path / "saved" / "model.safetensors")
    theirs = {plain(n): x for n, x in load_file(known(name).folder / "model.safetensors").items()}
    for key, array in ours.items():
        np.testing.assert_array_equal(array, theirs[plain(key)], strict=True)


def test_a_folder_without_its_encoder_is_refused(tmp_path):
    shutil.copytree(FIXTURES / "gemma4_text", tmp_path / "text")
    data = json.loads((FIXTURES / "gemma4" / "config.json").read_text())
    text = json.loads((tmp_path / "text" / "config.json").read_text())
    whole = data | {"text_config": text, "audio_config": None}
    (tmp_path / "text" / "config.json").write_text(json.dumps(whole))
    with pytest.raises(ValueError, match=r"lacks vision_tower\.patch_embedder\.input_proj"):
        load_hf(tmp_path / "text")
    (tmp_path / "text" / "config.json").write_text(json.dumps(whole | {"vision_config": None}))
    assert load_hf(tmp_path / "text")[0].encoders == {}


VISION = "vision_config"


@pytest.mark.parametrize(
    ("name", "change", "sentence"),
    [
        ("gemma3", {"mm_tokens_per_image": 5}, "mm_tokens_per_image=5 makes no square of 8 by 8"),
        ("gemma3", {"mm_tokens_per_image": 9}, "mm_tokens_per_image=9 makes no square of 8 by 8"),
        ("gemma3", {VISION: {"image_size": 33}}, "image_size=33 and patch_size=4"),
        ("gemma3", {VISION: {"hidden_act": "relu"}}, "hidden_act='relu'; we compute with 'gelu_p"),
        ("gemma3", {VISION: {"layer_norm_eps": 1e-5}}, "layer_norm_eps=1e-05; we compute with 1e"),
        ("gemma3", {VISION: {"num_channels": 1}}, "num_channels=1; we compute with 3 alone"),
        ("gemma3", {VISION: {"hidden_size": "a"}}, "hidden_size='a' must be a whole number"),
        ("gemma4", {VISION: {"attention_bias": True}}, "attention_bias=True; we compute with Fal"),
        ("gemma4", {VISION: {"num_key_value_heads": 1}}, "num_key_value_heads=1; we compute with"),
        ("gemma4", {VISION: {"rope_parameters": {"rope_type": "linear"}}}, "rope_type='linear'"),
        ("gemma4", {VISION: {"head_dim": 10}}, "head_width=10 is not a multiple of 4"),
        ("gemma4_unified", {VISION: {"output_proj_dims": 8}}, "output_proj_dims=8; we compute wi"),
    ],
)
def test_an_encoder_that_we_do_not_have_is_refused(name, change, sentence):
    data = json.loads((FIXTURES / name / "config.json").read_text())
    inner = data[VISION] | change.get(VISION, {})
    with pytest.raises(ValueError, match=sentence):
        config_from(data | change | {VISION: inner})
