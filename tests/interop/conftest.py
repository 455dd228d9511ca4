"""The tiny checkpoints of every family, read once."""

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from castor.core.batch import Slots
from castor.interop.hf import load_hf
from castor.models.decoder import Model, Seen
from castor.models.patches import windows
from castor.models.sizes import ModelConfig

FIXTURES = Path(__file__).parents[1] / "fixtures" / "gemma"
TEXT = ("gemma", "gemma2", "gemma3_text", "gemma4_text")
EMBEDS = "embeddinggemma"  # gives states, not logits
# With pictures, and the last two with sound.
SIGNALS = ("gemma3", "gemma4_dense", "gemma4_moe", "gemma4", "gemma4_unified")


class Known(NamedTuple):
    """A checkpoint and what it gives; media stand in the states that its own encoders made."""

    folder: Path
    model: Model
    config: ModelConfig
    ids: np.ndarray
    logits: np.ndarray  # or states
    blocks: np.ndarray  # the number of the picture that is there, from 1
    media: Seen | None
    pictures: Slots | None  # what the media's pictures were before they were encoded


@cache
def known(name: str) -> Known:
    """A fixture by its folder's name."""
    folder = FIXTURES / name
    model, config = load_hf(folder)
    held = np.load(folder / "reference.npz")
    ids = held["in_input_ids"].astype(np.int32)
    data = json.loads((folder / "config.json").read_text())
    states, slots = np.zeros((*ids.shape, config.width), np.float32), np.zeros(ids.shape, bool)
    for kind in ("image", "audio"):
        if f"out_{kind}_hidden_states" in held:
            there = ids == data.get(f"{kind}_token_id", data.get(f"{kind}_token_index"))
            found = held[f"out_{kind}_hidden_states"]
            states[there], slots = found.reshape(-1, config.width), slots | there
    picture = ids == data.get("image_token_id", data.get("image_token_index"))
    starts = picture & ~np.pad(picture, ((0, 0), (1, 0)))[:, :-1]
    blocks = np.where(picture, np.cumsum(starts, axis=1), 0).astype(np.int32)
    media = Seen(states, slots) if slots.any() else None
    wanted = ("out_logits_generate", "out_last_hidden_state", "out_logits")
    out = next(held[key] for key in wanted if key in held)
    seen = _pictures(held, config, blocks) if picture.any() else None
    return Known(folder, model, config, ids, out, blocks, media, seen)


def _pictures(held: Mapping[str, np.ndarray], config: ModelConfig, blocks: np.ndarray) -> Slots:
    """The windows of a fixture's pictures in the rows and columns of their slots."""
    patch, pool = config.image.patch, getattr(config.image, "pool", 1)
    if "in_image_position_ids" not in held:
        whole = [x.transpose(1, 2, 0) * 127.5 + 127.5 for x in held["in_pixel_values"]]
    else:
        pairs = zip(held["in_pixel_values"], held["in_image_position_ids"], strict=True)
        whole = [_joined(x, places, patch) * 255 for x, places in pairs]
    cut = iter([windows(x.astype(np.float32), patch=patch, pool=pool) for x in whole])
    B, M = len(blocks), int((blocks > 0).sum(1).max()) + 1
    values = np.zeros((B, M, pool**2, patch, patch, 3), np.float32)
    places = np.zeros((B, M, 2), np.int32)
    columns, owners = np.full((B, M), blocks.shape[1], np.int32), np.zeros((B, M), np.int32)
    for b, row in enumerate(blocks):
        n = int((row > 0).sum())
        columns[b, :n] = np.flatnonzero(row)
        owners[b, :n] = row[row > 0]
        parts = [next(cut) for _ in range(row.max())]
        values[b, :n] = np.concatenate([x for x, _ in parts])
        places[b, :n] = np.concatenate([x for _, x in parts])
    return Slots(values, places, columns, owners)


def _joined(patches: np.ndarray, places: np.ndarray, patch: int) -> np.ndarray:
    """A picture of patches that lie at places; those at -1 are none."""
    there = (places >= 0).all(-1)
    across, down = places.max(0) + 1
    grid = np.zeros((down, across, patch, patch, 3), np.float32)
    grid[places[there, 1], places[there, 0]] = patches[there].reshape(-1, patch, patch, 3)
    return grid.swapaxes(1, 2).reshape(down * patch, across * patch, 3)


@pytest.fixture(params=[*TEXT, *SIGNALS])
def checkpoint(request: pytest.FixtureRequest) -> Known:
    """Each of the fixtures."""
    return known(request.param)


@pytest.fixture(params=SIGNALS)
def seeing_checkpoint(request: pytest.FixtureRequest) -> Known:
    """Each of those that read pictures."""
    return known(request.param)


@pytest.fixture(params=[*TEXT, EMBEDS])
def text_checkpoint(request: pytest.FixtureRequest) -> Known:
    """Each of those that read text alone."""
    return known(request.param)
