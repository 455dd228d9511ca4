"""`--device`: a model on onnxruntime, from graphs that are written once and kept."""

import hashlib
import importlib.util
import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax

from castor.checkpoint import Checkpoint
from castor.cli.places import cache_home
from castor.core.recipe import to_json
from castor.models.decoder import Model
from castor.models.sizes import ModelConfig

if TYPE_CHECKING:
    from castor.device.engine import DeviceEngine
    from castor.device.weights import Precision

FORMAT = 1  # of the graphs: another number is another folder
DEVICES: dict[str, "Precision"] = {
    "cpu-int4": "int4",
    "cpu-int8": "int8",
    "cpu-float32": "float32",
}


def on_device(
    found: Checkpoint,
    path: Path,
    *,
    config: ModelConfig,
    device: str,
    threads: int = 0,
    weights: Callable[[], Model] | None = None,
) -> tuple[Checkpoint, "DeviceEngine"]:
    """A checkpoint that was found at a path, and its engine on a device such as "cpu-int4".

    Of its weights, which lie in the graphs from then on, the checkpoint has only the shapes. Where
    it comes with no more, `weights` are asked for, if the graphs are still to be written.

    Raises:
        ValueError: there is no such device, onnxruntime is not installed, or the model has no
            graph.
    """
    if device not in DEVICES:
        raise ValueError(f"there is no device {device!r}; there is {', '.join(DEVICES)}")
    for library in ("onnx", "onnxruntime"):
        if importlib.util.find_spec(library) is None:
            raise ValueError(f"--device {device} needs {library}; install the extra `device`")
    from castor.device.engine import DeviceEngine
    from castor.device.stored import keep

    precision = DEVICES[device]
    config = _reading(config)
    folder = cache_home() / "castor" / "device" / digest(path, config, precision)
    if not folder.exists():
        print(f"castor: writing {device} graphs to {folder}", file=sys.stderr)
        model = found.model if weights is None else weights()
        keep(model, config=config, folder=folder, precision=precision)
    shapes: Any = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), found.model)
    engine = DeviceEngine(folder, vocab=found.vocab, codec=found.codec, threads=threads)
    return replace(found, model=shapes, config=config), engine


def digest(path: Path, config: ModelConfig, precision: str) -> str:
    """What names the graphs of the files at a path: their names, sizes and times, not what they
    hold, which would take as long to read as it takes to load."""
    files = sorted(file for file in path.rglob("*") if file.is_file())
    told = [
        [str(file.relative_to(path)), (about := file.stat()).st_size, about.st_mtime_ns]
        for file in files
    ]
    text = json.dumps([FORMAT, str(path.resolve()), told, to_json(config), precision])
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _reading(config: ModelConfig) -> ModelConfig:
    """The config, without what cannot be read there; that is said."""
    from castor.device.encoders import readable

    less = readable(config)
    for kind in ("image", "audio"):
        if getattr(config, kind) is not None and getattr(less, kind) is None:
            name = type(getattr(config, kind)).__name__
            print(f"castor: a {name} has no graph; no {kind} is read", file=sys.stderr)
    return less
