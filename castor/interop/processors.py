"""What transformers' processors have to know of a model of several signals, as files of a folder.

Invariant: pictures and sound become the windows that Castor cuts, between the same ids.
"""

from collections.abc import Mapping
from typing import Any

from castor.interop.towers import Settings
from castor.interop.words import Words
from castor.models.sizes import ModelConfig

PREPROCESSOR, PROCESSOR = "preprocessor_config.json", "processor_config.json"
_GEMMA4 = {
    "boi": "<|image>",
    "image": "<|image|>",
    "eoi": "<image|>",
    "boa": "<|audio>",
    "audio": "<|audio|>",
    "eoa": "<audio|>",
    "video": "<|video|>",
}
# By family, the pieces that stand for signals and around them, under the names of Hugging Face's.
PIECES: dict[str, dict[str, str]] = {
    "gemma3": {
        "boi": "<start_of_image>",
        "image": "<image_soft_token>",
        "eoi": "<end_of_image>",
    },
    "gemma4": _GEMMA4,
    "gemma4_unified": _GEMMA4,
}
CLASSES = {"gemma3": "Gemma3", "gemma4": "Gemma4", "gemma4_unified": "Gemma4Unified"}
BILINEAR, BICUBIC = 2, 3  # as PIL numbers them


def ids_of(kind: str, known: Words) -> Settings:
    """The entries of config.json for ids that stand for signals; none where a model has no others.

    Raises:
        ValueError: the vocabulary has no such piece.
    """
    ids = {piece.text: i for i, piece in enumerate(known.pieces)}
    found: Settings = {}
    for name, piece in PIECES.get(kind, {}).items():
        if piece not in ids:
            raise ValueError(
                f"the vocabulary has no piece {piece}, which {kind} reads signals by; --text-only "
                "leaves its encoders behind"
            )
        found[f"{name}_token_{'index' if kind == 'gemma3' else 'id'}"] = ids[piece]
    return found | ({"eoa_token_index": found["eoa_token_id"]} if "eoa_token_id" in found else {})


def names_of(kind: str) -> Settings:
    """The entries of tokenizer_config.json that a processor finds the pieces by."""
    named = {f"{name}_token": piece for name, piece in PIECES.get(kind, {}).items()}
    if not named:
        return {}
    held = {name: piece for name, piece in named.items() if name != "video_token"}
    return {"extra_special_tokens": held, "processor_class": f"{CLASSES[kind]}Processor"}


def processors(data: Mapping[str, Any], config: ModelConfig) -> dict[str, Settings]:
    """The files by their names, for a model of such a config.json; none for one of text alone."""
    kind = data["model_type"]
    if kind not in PIECES:
        return {}
    whole: Settings = {"processor_class": f"{CLASSES[kind]}Processor"}
    if kind == "gemma3":
        assert config.image is not None
        whole["image_seq_length"] = config.image.slots
        return {PREPROCESSOR: whole | _square(config.image), PROCESSOR: whole}
    vision = data.get("vision_config") or {}
    if config.image is not None:
        cut = _scaled(BICUBIC) | {"do_normalize": False}
        cut |= {name: vision[name] for name in ("patch_size", "pooling_kernel_size")}
        whole["image_seq_length"] = config.image.slots
        whole["image_processor"] = {
            "image_processor_type": f"{CLASSES[kind]}ImageProcessor",
            "max_soft_tokens": config.image.slots,
            **cut,
        }
        whole["video_processor"] = {
            "video_processor_type": f"{CLASSES[kind]}VideoProcessor",
            "max_soft_tokens": config.image.frame_slots,
            **cut,
        }
    return {PROCESSOR: whole | _heard(kind, config)}


def _heard(kind: str, config: ModelConfig) -> Settings:
    if config.audio is None:
        extractor: Settings = {}
    elif kind == "gemma4":
        extractor = {"feature_size": getattr(config.audio, "mels", 128)}
    else:
        samples = getattr(config.audio, "samples", 640)
        extractor = {"feature_size": samples, "audio_samples_per_token": samples}
    extractor |= {
        "feature_extractor_type": f"{CLASSES[kind]}AudioFeatureExtractor",
        "sampling_rate": 16_000,
    }
    slots = {} if config.audio is None else {"audio_seq_length": config.audio.slots}
    return {"audio_ms_per_token": 40, **slots, "feature_extractor": extractor}


def _square(of: Any) -> Settings:
    middle = [0.5, 0.5, 0.5]
    return {
        "image_processor_type": "Gemma3ImageProcessor",
        "size": {"height": of.pixels, "width": of.pixels},
        **_scaled(BILINEAR),
        "do_normalize": True,
        "image_mean": middle,
        "image_std": middle,
        "do_pan_and_scan": False,
    }


def _scaled(resample: int) -> Settings:
    return {
        "do_convert_rgb": True,
        "do_resize": True,
        "resample": resample,
        "do_rescale": True,
        "rescale_factor": 1 / 255,
    }
