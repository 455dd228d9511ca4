"""Both ways against the library itself, where it and torch are installed: other seeds and shapes
than those of the fixtures."""

import json
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from castor.core.batch import Slots
from castor.interop.hf import load_hf, save_hf
from castor.models.cache import empty_cache
from castor.models.conformer import slots_of
from castor.models.decoder import extend, logits
from castor.models.modality import encode
from castor.models.signals import ConformerConfig

pytestmark = pytest.mark.slow

LOCAL, FULL = "sliding_attention", "full_attention"
ROPE = {
    LOCAL: {"rope_type": "default", "rope_theta": 1e4},
    FULL: {"rope_type": "linear", "rope_theta": 1e6, "factor": 8.0},
}
PROPORTIONAL = {
    LOCAL: ROPE[LOCAL],
    FULL: {"rope_type": "proportional", "rope_theta": 1e6, "partial_rotary_factor": 0.5},
}
GEMMA4 = {"rope_parameters": PROPORTIONAL, "final_logit_softcapping": 7.0} | {
    "global_head_dim": 16,
    "vocab_size_per_layer_input": 101,
}
EXPERTS = {"enable_moe_block": True, "num_experts": 6, "top_k_experts": 3} | {
    "moe_intermediate_size": 12
}
SHARED = {"num_kv_shared_layers": 2, "use_double_wide_mlp": True, "hidden_size_per_layer_input": 4}
TIED = {"attention_k_eq_v": True, "num_global_key_value_heads": 1, "hidden_size_per_layer_input": 0}
MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "gemma": ("gemma", {"num_key_value_heads": 1}),
    "gemma2": ("gemma2", {"attn_logit_softcapping": 4.0, "final_logit_softcapping": 5.0}),
    "vaultgemma": ("vaultgemma", {"attn_logit_softcapping": 4.0}),
    "gemma3": ("gemma3_text", {"query_pre_attn_scalar": 24, "rope_parameters": ROPE}),
    "gemma4 shared": ("gemma4_text", GEMMA4 | SHARED),
    "gemma4 tied": ("gemma4_text", GEMMA4 | TIED),
    "gemma4 experts": ("gemma4_text", GEMMA4 | TIED | EXPERTS),
}


def made(name: str, seed: int, folder: Path) -> tuple[Any, np.ndarray]:
    """A random model of the library's, saved, and ids for it."""
    torch, transformers = pytest.importorskip("torch"), pytest.importorskip("transformers")
    torch.manual_seed(seed)
    kind, more = MODELS[name]
    sizes = {"hidden_size": 24, "intermediate_size": 40, "num_attention_heads": 4} | {
        "num_key_value_heads": 2,
        "head_dim": 8,
        "num_hidden_layers": 5,
        "vocab_size": 101,
        "sliding_window": 4,
        "max_position_embeddings": 64,
    }
    types = [LOCAL, FULL, LOCAL, LOCAL, FULL]
    listed = {} if kind == "gemma" else {"layer_types": types}
    config = transformers.AutoConfig.for_model(kind, **(sizes | listed | more))
    config._attn_implementation = "eager"
    model = transformers.AutoModelForCausalLM.from_config(config).eval()
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(0.1 * torch.randn_like(weight))
    model.save_pretrained(folder)
    ids = np.random.default_rng(seed).integers(3, 101, (2, 17)).astype(np.int32)
    return model, ids


def theirs(model: Any, ids: np.ndarray) -> np.ndarray:
    torch = pytest.importorskip("torch")
    with torch.no_grad():
        return model(torch.tensor(ids, dtype=torch.int64)).logits.numpy()


def near(ours: np.ndarray, wanted: np.ndarray) -> None:
    assert np.abs(ours - wanted).max() <= 1e-4 * np.abs(wanted).max()


@pytest.mark.parametrize("seed", [11, 12])
@pytest.mark.parametrize("name", MODELS)
def test_the_library_and_we_compute_the_same_of_each_others_files(name, seed, tmp_path):
    made_by_them, ids = made(name, seed, tmp_path / "theirs")
    wanted = theirs(made_by_them, ids)
    model, config = load_hf(tmp_path / "theirs")
    step = jax.jit(partial(extend, config=config))
    cache = empty_cache(config, rows=2, room=17, dtype=jnp.float32)
    first, cache = step(model, jnp.asarray(ids[:, :9]), cache, valid=jnp.ones((2, 9), bool))
    near(np.asarray(logits(model, first, cap=config.logit_cap)), wanted[:, :9])
    for t in range(9, 17):
        token, valid = jnp.asarray(ids[:, t : t + 1]), jnp.ones((2, 1), bool)
        states, cache = step(model, token, cache, valid=valid)
        near(np.asarray(logits(model, states, cap=config.logit_cap)), wanted[:, t : t + 1])

    save_hf(tmp_path / "ours", model, config)
    transformers = pytest.importorskip("transformers")
    again, told = transformers.AutoModelForCausalLM.from_pretrained(
        tmp_path / "ours", attn_implementation="eager", output_loading_info=True
    )
    assert not told["missing_keys"] and not told["unexpected_keys"]
    near(theirs(again.eval(), ids), wanted)
    kind = json.loads((tmp_path / "ours" / "config.json").read_text())["model_type"]
    assert kind == MODELS[name][0]


@pytest.mark.parametrize(("seed", "change"), [
    (11, {}),
    (12, {"attention_context_left": 7, "attention_chunk_size": 3, "conv_kernel_size": 3}),
    (13, {"attention_context_right": 2, "use_clipped_linears": False}),
])  # fmt: skip
def test_the_library_and_we_hear_the_same_audio(seed, change, tmp_path):
    torch, transformers = pytest.importorskip("torch"), pytest.importorskip("transformers")
    torch.manual_seed(seed)
    audio = {"model_type": "gemma4_audio", "hidden_size": 24, "num_hidden_layers": 3} | {
        "num_attention_heads": 3,
        "subsampling_conv_channels": [12, 4],
        "output_proj_dims": 20,
        "attention_chunk_size": 4,
        "attention_context_left": 5,
        **change,
    }
    text = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2} | {
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "head_dim": 8,
        "vocab_size": 64,
        "vocab_size_per_layer_input": 64,
        "hidden_size_per_layer_input": 4,
    }
    config = transformers.Gemma4Config(text_config=text, audio_config=audio, vision_config=None)
    made = transformers.Gemma4ForConditionalGeneration(config).eval()
    with torch.no_grad():
        for weight in made.parameters():
            weight.add_(0.1 * torch.randn_like(weight))
    made.save_pretrained(tmp_path)
    mel = np.random.default_rng(seed).normal(size=(1, 61, 12)).astype(np.float32)
    with torch.no_grad():
        mask = torch.ones(1, 61, dtype=torch.bool)
        wanted = made.model.get_audio_features(torch.tensor(mel), mask).pooler_output[0].numpy()
    model, ours = load_hf(tmp_path)
    assert isinstance(ours.audio, ConformerConfig)
    signal = slots_of(mel[0], config=ours.audio)
    M = len(signal.values)
    ones = np.ones((1, M), np.int32)
    slots = Slots(signal.values[None], signal.places[None], ones, ones)
    near(np.asarray(encode(model.encoders["audio"], slots, config=ours))[0], wanted)
