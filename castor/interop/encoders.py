"""What each `model_type` has besides its decoder: its encoders, and how it keeps the whole.

To read another encoder, name it in ENCODERS.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from castor.interop.names import OLDER_TOWER, TOWER, UNREAD, Tensors
from castor.interop.pictures import PATCHES, SIGLIP, VIT
from castor.interop.sounds import CONFORMER, FRAMES
from castor.interop.towers import EncoderOf, Settings
from castor.models.sizes import ModelConfig


class Around(NamedTuple):
    """A family of models of several signals, and the decoder within."""

    decoder: str
    text: str  # what its own config.json calls that
    architecture: str
    prefix: str  # of the decoder's tensors, and the next of all others
    other: str
    ids: Settings  # that stand for signals in a text, as published
    defaults: Settings = {}  # of its decoder, where they are not those of the decoder alone


_GEMMA4_IDS: Settings = {
    "boi_token_id": 255_999,
    "image_token_id": 258_880,
    "eoi_token_id": 258_882,
    "boa_token_id": 256_000,
    "audio_token_id": 258_881,
    "eoa_token_id": 258_883,
    "eoa_token_index": 258_883,
    "video_token_id": 258_884,
}
AROUND = {
    "gemma3": Around(
        "gemma3_text",
        "gemma3_text",
        "Gemma3ForConditionalGeneration",
        "language_model.model.",
        "",
        {
            "boi_token_index": 255_999,
            "eoi_token_index": 256_000,
            "image_token_index": 262_144,
        },
    ),
    "gemma4": Around(
        "gemma4_text",
        "gemma4_text",
        "Gemma4ForConditionalGeneration",
        "model.language_model.",
        "model.",
        _GEMMA4_IDS,
    ),
    "gemma4_unified": Around(
        "gemma4_text",
        "gemma4_unified_text",
        "Gemma4UnifiedForConditionalGeneration",
        "model.language_model.",
        "model.",
        _GEMMA4_IDS,
        {"hidden_size_per_layer_input": 0},
    ),
}
ENCODERS: dict[str, tuple[EncoderOf, ...]] = {
    "gemma3": (SIGLIP,),
    "gemma4": (VIT, CONFORMER),
    "gemma4_unified": (PATCHES, FRAMES),
}


def encoders_from(data: Mapping[str, Any]) -> dict[str, Any]:
    """The config of every encoder that a config.json tells of, by kind.

    Raises:
        ValueError: one has an option that we do not know.
    """
    of = ENCODERS.get(data.get("model_type", ""), ())
    found = {encoder.kind: encoder.read(data) for encoder in of}
    return {kind: config for kind, config in found.items() if config is not None}


def around(config: ModelConfig, decoder: str) -> str:
    """The family of models of several signals that has these encoders around that decoder.

    Raises:
        ValueError: there is none.
    """
    wanted = {kind: type(of) for kind in ("image", "audio") if (of := getattr(config, kind))}
    for name, outer in AROUND.items():
        held = {encoder.kind: encoder.config for encoder in ENCODERS[name]}
        if outer.decoder == decoder and wanted.items() <= held.items():
            return name
    raise ValueError(
        f"no class of Hugging Face's that we write has the encoders of {', '.join(sorted(wanted))} "
        f"around such a decoder: {', '.join(c.__name__ for c in wanted.values())} by {decoder}"
    )


def told(config: ModelConfig, name: str) -> Settings:
    """What config.json says of a model around its decoder."""
    data: Settings = {"architectures": [AROUND[name].architecture], "model_type": name}
    data |= AROUND[name].ids
    for encoder in ENCODERS[name]:
        of = getattr(config, encoder.kind)
        if of is not None:
            data |= encoder.write(of, config)
    return data


def tensors_of(config: ModelConfig, name: str) -> dict[str, Tensors]:
    """The tensors of every encoder's weights, by our path."""
    return {
        f"encoders.{encoder.kind}.{leaf}": tensors
        for encoder in ENCODERS.get(name, ())
        if (of := getattr(config, encoder.kind)) is not None
        for leaf, tensors in encoder.tensors(of).items()
    }


def name_in(data: Mapping[str, Any], name: str) -> str:
    """The name that a tensor of a plain name has in files of such a config.json."""
    outer = AROUND.get(data["model_type"])
    if outer is None:
        return name if data["architectures"][0].endswith("TextModel") else f"model.{name}"
    if not any(of.match(name) for of in UNREAD.values()):
        return outer.prefix + name
    older = not outer.other and name.startswith(TOWER)
    return OLDER_TOWER + name[len(TOWER) :] if older else outer.other + name
