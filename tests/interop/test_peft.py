"""Adapters in the format of peft: names, shapes, and which way round the matrices lie."""

import json
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import load_file

from castor.checkpoint import Origin
from castor.interop.hf import load_hf
from castor.interop.peft import save_peft
from castor.models.lora import Lora, init_adapters

FIXTURES = Path(__file__).parent.parent / "fixtures" / "gemma"


def written(folder: Path, family: str, lora: Lora) -> tuple[Any, dict[str, np.ndarray], Any]:
    """Random adapters for a fixture, and what was written of them."""
    start = FIXTURES / family
    _, config = load_hf(start)
    fresh, rng = init_adapters(config, lora, jax.random.key(0)), np.random.default_rng(0)
    adapters = jax.tree.map(
        lambda x: jnp.asarray(0.1 * rng.standard_normal(x.shape).astype(np.float32)), fresh
    )
    save_peft(folder, adapters, Origin(str(start), "0" * 12, config, lora), start=start)
    told = json.loads((folder / "adapter_config.json").read_text())
    return adapters, load_file(folder / "adapter_model.safetensors"), told


def test_each_layer_has_its_two_matrices_as_torch_keeps_them(tmp_path: Path) -> None:
    adapters, tensors, told = written(tmp_path / "peft", "gemma3_text", Lora(2, 8.0))
    start = FIXTURES / "gemma3_text"
    keys = json.loads((start / "keys.json").read_text())
    name = "model.layers.0.self_attn.q_proj"
    outer, inner = keys[f"{name}.weight"]
    assert tensors[f"base_model.model.{name}.lora_A.weight"].shape == (2, inner)
    assert tensors[f"base_model.model.{name}.lora_B.weight"].shape == (outer, 2)
    np.testing.assert_array_equal(
        tensors[f"base_model.model.{name}.lora_A.weight"].T, adapters[0]["wq"].a[0]
    )
    layers = sum(key.endswith("q_proj.weight") for key in keys)
    assert len(tensors) == 2 * 7 * layers
    assert (told["r"], told["lora_alpha"], told["peft_type"]) == (2, 8.0, "LORA")
    assert told["base_model_name_or_path"] == str(start)


def test_only_targets_are_named(tmp_path: Path) -> None:
    _, tensors, told = written(tmp_path / "peft", "gemma", Lora(targets=("mlp",)))
    assert told["target_modules"] == ["down_proj", "gate_proj", "up_proj"]
    assert all(".mlp." in name for name in tensors)


def test_a_model_that_also_sees_has_its_language_model_within(tmp_path: Path) -> None:
    _, tensors, _ = written(tmp_path / "peft", "gemma3", Lora())
    assert all(n.startswith("base_model.model.model.language_model.layers.") for n in tensors)


def test_what_is_no_folder_of_hugging_faces_is_refused(tmp_path: Path) -> None:
    _, config = load_hf(FIXTURES / "gemma")
    origin = Origin("x", "0" * 12, config, Lora())
    with pytest.raises(ValueError, match="has no config.json, so it is no Hugging Face model"):
        save_peft(tmp_path / "peft", (), origin, start=tmp_path)
    assert not (tmp_path / "peft").exists()
