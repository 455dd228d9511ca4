"""Adapters as the library peft keeps them, under the names of the modules of transformers."""

import json
from pathlib import Path

import numpy as np
from safetensors.numpy import save

from castor.checkpoint import Origin
from castor.core.files import folder_aside
from castor.interop.configs import FAMILIES, family_of
from castor.interop.hf import read_config
from castor.interop.names import sources
from castor.models.lora import Adapters

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
OUTER = "base_model.model."  # what peft puts around a model


def save_peft(folder: Path, adapters: Adapters, origin: Origin, *, start: Path) -> None:
    """Write adapters for the Hugging Face folder `start` as `PeftModel.from_pretrained` reads them.

    Raises:
        ValueError: `start` is no folder of Hugging Face's that we know.
        OSError: it cannot be written; what was there before is untouched.
    """
    data = read_config(start)
    table = FAMILIES[family_of(data)].names
    inner = "model.language_model." if "text_config" in data else "model."
    tensors: dict[str, np.ndarray] = {}
    modules: set[str] = set()
    for entry, pairs in enumerate(adapters):
        for name, pair in pairs.items():
            for i, tensor in enumerate(
                sources(f"decoder.blocks.{entry}.{name}", origin.config, table)
            ):
                module = tensor.removesuffix(".weight")
                modules.add(module.rpartition(".")[2])
                place = f"{OUTER}{inner}{module}"
                tensors[f"{place}.lora_A.weight"] = np.ascontiguousarray(np.asarray(pair.a[i]).T)
                tensors[f"{place}.lora_B.weight"] = np.ascontiguousarray(np.asarray(pair.b[i]).T)
    told = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": str(start),
        "r": origin.lora.rank,
        "lora_alpha": origin.lora.alpha,
        "lora_dropout": 0.0,
        "bias": "none",
        "target_modules": sorted(modules),
        "inference_mode": True,
    }
    with folder_aside(folder) as aside:
        (aside / WEIGHTS).write_bytes(save(tensors))
        (aside / CONFIG).write_text(json.dumps(told, indent=2) + "\n")
