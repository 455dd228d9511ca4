"""The tiny checkpoints of every family, read once."""

import json
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from castor.interop.hf import load_hf
from castor.models.decoder import Model, Seen
from castor.models.sizes import ModelConfig

FIXTURES = Path(__file__).parents[1] / "fixtures" / "gemma"
TEXT = ("gemma", "gemma2", "gemma3_text", "gemma4_text")
EMBEDS = "embeddinggemma"  # gives states, not logits
SIGNALS = ("gemma4_dense", "gemma4_moe", "gemma4")  # with pictures, and the last with sound


class Known(NamedTuple):
    """A checkpoint and what it gives; media stand in the states that its own encoders made."""

    folder: Path
    model: Model
    config: ModelConfig
    ids: np.ndarray
    logits: np.ndarray  # or states
    blocks: np.ndarray  # 1 where a picture is
    media: Seen | None


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
            there = ids == data[f"{kind}_token_id"]
            states[there], slots = held[f"out_{kind}_hidden_states"], slots | there
    picture = ids == data.get("image_token_id")
    media = Seen(states, slots) if slots.any() else None
    out = held["out_last_hidden_state" if name == EMBEDS else "out_logits"]
    return Known(folder, model, config, ids, out, picture.astype(np.int32), media)


@pytest.fixture(params=[*TEXT, *SIGNALS])
def checkpoint(request: pytest.FixtureRequest) -> Known:
    """Each of the fixtures."""
    return known(request.param)


@pytest.fixture(params=[*TEXT, EMBEDS])
def text_checkpoint(request: pytest.FixtureRequest) -> Known:
    """Each of those that read text alone."""
    return known(request.param)
