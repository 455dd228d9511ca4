"""What the files of a folder of graphs are called, and which masks the decoder's is given."""

from pathlib import Path

from castor.models.sizes import ModelConfig, Sight

DECODER, EMBEDDING = "decoder.onnx", "embedding.onnx"
CONFIG, WEIGHTS = "config.json", "weights.bin"
KINDS = ("image", "audio")


def encoder(kind: str) -> str:
    """The graph that reads signals of a kind."""
    return f"{kind}.onnx"


def encoders_in(folder: Path) -> dict[str, str]:
    """The graphs of a folder that read signals, by kind."""
    return {kind: encoder(kind) for kind in KINDS if (folder / encoder(kind)).exists()}


def sights(config: ModelConfig) -> list[Sight]:
    """Those of layers that need a mask: slots of one medium see each other in both directions."""
    if config.image is None and config.audio is None:
        return []
    return list(dict.fromkeys(layer.sight for layer in config.every_layer if layer.blocks))


def states_width(config: ModelConfig) -> int:
    """Numbers of a state before the first layer: the width and, behind it, what each layer is given
    of the id itself."""
    return config.width + (config.layers * config.inputs.width if config.inputs else 0)
