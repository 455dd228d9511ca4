"""Castor, an open Gemini: one package to build, train, measure and use multimodal models.

The names below are imported on first use, so that `import castor` costs nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from castor.checkpoint import Checkpoint as Checkpoint
    from castor.core.content import Call as Call
    from castor.core.content import Document as Document
    from castor.core.content import Media as Media
    from castor.core.content import Result as Result
    from castor.core.content import Text as Text
    from castor.core.content import Turn as Turn
    from castor.core.media import media_from_file as media_from_file
    from castor.models.sizes import ModelConfig as ModelConfig
    from castor.sample.choose import Sampling as Sampling
    from castor.sample.engine import Engine as Engine
    from castor.tokens.vocab import Vocab as Vocab
    from castor.train.recipe import Recipe as Recipe

HOMES = {
    "Call": "core.content",
    "Checkpoint": "checkpoint",
    "Document": "core.content",
    "Engine": "sample.engine",
    "Media": "core.content",
    "ModelConfig": "models.sizes",
    "Recipe": "train.recipe",
    "Result": "core.content",
    "Sampling": "sample.choose",
    "Text": "core.content",
    "Turn": "core.content",
    "Vocab": "tokens.vocab",
    "media_from_file": "core.media",
}
__all__ = [
    "Call",
    "Checkpoint",
    "Document",
    "Engine",
    "Media",
    "ModelConfig",
    "Recipe",
    "Result",
    "Sampling",
    "Text",
    "Turn",
    "Vocab",
    "media_from_file",
]


def __getattr__(name: str) -> Any:
    """A public name, imported now. PEP 562."""
    if name not in HOMES:
        raise AttributeError(f"castor has no {name!r}; it has {sorted(HOMES)}")
    return getattr(import_module(f"castor.{HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*HOMES, "__version__"])
