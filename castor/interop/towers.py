"""What tables of encoders are made of: where config.json and the tensors keep one."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from castor.interop.names import LINEAR, Tensors
from castor.models.sizes import ModelConfig

Settings = dict[str, Any]


@dataclass(frozen=True)
class EncoderOf:
    """How the files of a family keep the encoder of one kind of signal."""

    kind: str
    config: type
    read: Callable[[Mapping[str, Any]], Any]  # of a config.json; None where it tells of no encoder
    write: Callable[[Any, ModelConfig], Settings]  # as entries of a config.json
    tensors: Callable[[Any], dict[str, Tensors]]  # by our path below "encoders.<kind>."


def only(part: str, given: Mapping[str, Any], **allowed: Any) -> None:
    """Raise a ValueError where an entry is there and not what alone we compute."""
    for name, value in allowed.items():
        if given.get(name, value) != value:
            raise ValueError(f"{part}: {name}={given[name]!r}; we compute with {value!r} alone")


def counts(part: str, given: Mapping[str, Any], *names: str) -> list[int]:
    """These entries, which are whole numbers.

    Raises:
        ValueError: one is none.
    """
    for name in names:
        if type(given.get(name)) is not int:
            raise ValueError(f"{part}: {name}={given.get(name)!r} must be a whole number")
    return [given[name] for name in names]


def linear(name: str) -> dict[str, Tensors]:
    """A torch Linear as an Affine."""
    return {"weight": Tensors((f"{name}.weight",), LINEAR), "bias": Tensors((f"{name}.bias",))}


def layer_norm(name: str) -> dict[str, Tensors]:
    """A LayerNorm with its bias."""
    return {"scale": Tensors((f"{name}.weight",)), "bias": Tensors((f"{name}.bias",))}


def clippable(name: str) -> dict[str, Tensors]:
    """A linear layer of Gemma 4's towers as a Clipped."""
    ends = (f"{name}.{way}_{end}" for way in ("input", "output") for end in ("min", "max"))
    return {"weight": Tensors((f"{name}.linear.weight",), LINEAR), "bounds": Tensors(tuple(ends))}


def below(part: str, tensors: Mapping[str, Tensors]) -> dict[str, Tensors]:
    """The same by paths that go on from a part."""
    return {f"{part}.{leaf}": of for leaf, of in tensors.items()}
