"""The eyes of open weights: how pictures are cut, published sizes, and what is refused."""

from functools import partial

import jax
import numpy as np
import pytest

from castor.core.batch import Slots
from castor.core.recipe import from_json, to_json
from castor.models.affine import Clipped
from castor.models.encoder import SPAN, attend_apart
from castor.models.modality import cut_picture, encode, init_encoders
from castor.models.patches import grid
from castor.models.signals import ImageConfig, PatchesConfig, Pictures, SiglipConfig, VitConfig
from castor.models.sizes import TINY, ModelConfig

E, LARGE = (
    VitConfig(clipped=True),
    VitConfig(layers=27, width=1152, heads=16, head_width=72, hidden=4304, standardized=True),
)
SMALL: dict[str, Pictures] = {
    "siglip": SiglipConfig(4, 2, 6, layers=2, width=24, heads=2, hidden=40),
    "vit": VitConfig(4, 3, 2, 24, 2, head_width=12, hidden=40, side=60, clipped=True, slots=6),
    "patches": PatchesConfig(patch=6, width=20, side=16, slots=6),
}


def sized(image: Pictures, width: int = 32) -> ModelConfig:
    return ModelConfig(1, width, hidden=64, heads=2, head_width=16, vocab=64, image=image)


def picture(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize(
    ("image", "width", "weights"),
    [
        (SiglipConfig(), 2560, 0.420e9),
        (E, 1536, 0.170e9),
        (LARGE, 5376, 0.576e9),
        (PatchesConfig(), 3840, 0.050e9),
    ],
)
def test_published_encoders_have_their_numbers_of_weights(image, width, weights):
    make = partial(init_encoders, sized(image, width=width))
    shapes = jax.tree.leaves(jax.eval_shape(make, jax.random.key(0)))
    assert sum(x.size for x in shapes) == pytest.approx(weights, rel=0.02)


@pytest.mark.parametrize("image", SMALL.values(), ids=SMALL)
def test_pictures_packed_side_by_side_are_seen_as_each_alone(image):
    config = sized(image)
    encoder = init_encoders(config, jax.random.key(0))["image"]
    cut = [cut_picture(picture(*size), config=image) for size in ((30, 50), (60, 20))]

    def see(signals, unused):
        parts = [np.concatenate([getattr(s, x) for s in signals]) for x in ("values", "places")]
        whose = np.concatenate(
            [np.full(len(s.places), i, np.int32) for i, s in enumerate(signals, 1)]
        )
        values, places, owners = (
            np.pad(x, ((0, unused), *((0, 0),) * (x.ndim - 1)))[None] for x in (*parts, whose)
        )
        slots = Slots(values, places, owners, owners)
        return np.asarray(encode(encoder, slots, config=config))[0, : len(whose)]

    alone = np.concatenate([see([signal], 0) for signal in cut])
    np.testing.assert_allclose(see(cut, 3), alone, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("image", SMALL.values(), ids=SMALL)
def test_a_config_of_each_encoder_is_written_and_read_again(image):
    config = sized(image)
    assert from_json(ModelConfig, to_json(config)) == config


def test_files_of_before_there_were_other_encoders_do_not_name_it():
    data = to_json(TINY)
    assert data["image"].pop("kind") == "ImageConfig"
    assert from_json(ModelConfig, data) == TINY


def test_a_few_queries_at_a_time_are_answered_as_all_at_once():
    rng = np.random.default_rng(0)
    q, k, v = (rng.normal(size=(2, SPAN + 9, 2, 4)).astype(np.float32) for _ in range(3))
    owners = rng.integers(0, 3, (2, SPAN + 9)).astype(np.int32)
    found = np.asarray(attend_apart(*map(jax.numpy.asarray, (q, k, v, owners)), scale=0.7))
    scores = np.einsum("btnh,bsnh->bnts", q, k) * 0.7
    seen = (owners[:, :, None] == owners[:, None]) & (owners > 0)[:, :, None]
    powers = np.exp(scores) * seen[:, None]
    shares = powers / np.maximum(powers.sum(-1, keepdims=True), 1e-30)
    np.testing.assert_allclose(found, np.einsum("bnts,bsnh->btnh", shares, v), atol=1e-5)


def test_bounds_hold_what_goes_in_and_what_comes_out():
    weight, bounds = jax.numpy.eye(2) * 3, jax.numpy.array([-1.0, 1.0, -2.0, 2.5])
    found = Clipped(weight, bounds).times(jax.numpy.array([[-9.0, 0.5], [9.0, 0.9]]))
    np.testing.assert_allclose(found, [[-2, 1.5], [2.5, 2.5]])


@pytest.mark.parametrize(
    ("pixels", "cells"),
    [
        ((480, 640), (14, 19)),
        ((896, 896), (16, 16)),
        ((100, 1000), (5, 52)),
        ((20, 9000), (1, 280)),
    ],
)
def test_a_picture_keeps_its_aspect_within_the_budget(pixels, cells):
    assert grid(*pixels, cell=48, most=280, side=3413) == cells


def test_a_table_bounds_a_side():
    assert grid(10, 9000, cell=6, most=100, side=8) == (1, 8)


def test_a_square_has_its_slots_and_no_fewer():
    image = SMALL["siglip"]
    assert len(cut_picture(picture(30, 50), config=image).places) == image.slots == 9
    with pytest.raises(ValueError, match="takes 9 slots of this model; the budget given is 4"):
        cut_picture(picture(30, 50), config=image, budget=4)


@pytest.mark.parametrize("image", [SMALL["vit"], SMALL["patches"]])
def test_a_budget_bounds_the_slots(image):
    assert len(cut_picture(picture(30, 50), config=image, budget=2).places) <= 2
    with pytest.raises(ValueError, match="at least 1 slot; the budget given is 0"):
        cut_picture(picture(30, 50), config=image, budget=0)


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (partial(SiglipConfig, side=9), "SiglipConfig.side=9 is not a multiple of pool=4"),
        (partial(SiglipConfig, heads=7), "SiglipConfig.width=1152 is not a multiple of heads=7"),
        (partial(SiglipConfig, layers=0), "SiglipConfig.layers=0 must be 1 or more"),
        (partial(VitConfig, head_width=6), "VitConfig.head_width=6 is not a multiple of 4"),
        (partial(VitConfig, side=2), "VitConfig.side=2 holds no slot of pool=3"),
        (partial(VitConfig, rope_base=0.0), "VitConfig.rope_base=0.0 must be above 0"),
        (partial(PatchesConfig, patch=0), "PatchesConfig.patch=0 must be 1 or more"),
        (partial(ImageConfig, slots=0), "ImageConfig.slots=0 must be 1 or more"),
    ],
)
def test_numbers_out_of_range_are_refused(make, sentence):
    with pytest.raises(ValueError, match=sentence):
        make()
