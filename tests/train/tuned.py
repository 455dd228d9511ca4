"""A small model that has learned nothing, and documents for it to go on from."""

import json
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np

from castor.checkpoint import Checkpoint, write
from castor.core.content import Document, Media
from castor.core.media import png, wav
from castor.core.wire import to_wire
from castor.data.folders import Jsonl
from castor.data.mixture import Mixture, Part
from castor.models.decoder import init
from castor.models.sizes import AudioConfig, ImageConfig, ModelConfig
from castor.tokens.vocab import Vocab
from castor.train.optim import AdamW
from castor.train.recipe import FineTune

TEXT = ModelConfig(layers=2, width=32, hidden=64, heads=2, head_width=16, context=96)
SEEING = ModelConfig(
    layers=1,
    width=32,
    hidden=64,
    heads=2,
    head_width=16,
    context=96,
    image=ImageConfig(stem=(), width=24, heads=2, least=1, slots=4, frame_slots=1),
    audio=AudioConfig(channels=(8, 8), width=24, heads=2),
)
PARROT = [Document.of(f"Say {word}.").then(f"{word}!") for word in ("one", "two", "seven", "cat")]


def begun(path: Path, vocab: Vocab, config: ModelConfig = TEXT, *, seed: int = 0) -> Path:
    """Random weights of that shape, as a checkpoint."""
    config = ModelConfig(**{**vars(config), "vocab": vocab.size})
    model = jax.jit(partial(init, config))(jax.random.key(seed))
    write(path, Checkpoint(model, config, vocab, step=7))
    return path


def documents(folder: Path, *lines: Document | dict[str, Any]) -> Path:
    """A folder of one file of these documents."""
    folder.mkdir(exist_ok=True)
    wires = [to_wire(line) if isinstance(line, Document) else line for line in lines]
    (folder / "docs.jsonl").write_text("".join(json.dumps(wire) + "\n" for wire in wires))
    return folder


def seen_and_heard(folder: Path) -> list[dict[str, Any]]:
    """Questions about a picture and a sound that lie beside the file, and one about none."""
    folder.mkdir(exist_ok=True)
    (folder / "red.png").write_bytes(png(np.full((8, 12, 3), (255, 0, 0), np.uint8)))
    (folder / "beep.wav").write_bytes(wav(np.sin(np.arange(3200, dtype=np.float32))))

    def asked(name: str, answer: str) -> dict[str, Any]:
        parts = [{"fileData": {"fileUri": name}}, {"text": "What?"}]
        model = {"role": "model", "parts": [{"text": answer}]}
        return {"contents": [{"role": "user", "parts": parts}, model]}

    inside = Document.of(Media("image/png", (folder / "red.png").read_bytes())).then("red")
    return [asked("red.png", "red"), asked("beep.wav", "a beep"), to_wire(inside)] * 2


def tuning(start: Path, folder: Path, **changes: Any) -> FineTune:
    """A short run over those documents; `train` is given the folder that theirs lies in."""
    return FineTune(
        **{
            "name": "tuned",
            "start": str(start),
            "mixture": Mixture((Part(Jsonl(folder.name, held_out=0.25), 1.0),)),
            "optimizer": AdamW(peak_lr=3e-2, b2=0.99, decay=0.0),
            "steps": 6,
            "rows": 2,
            "length": 64,
            "log_every": 1,
            "eval_every": 6,
            "eval_batches": 1,
            "save_every": 3,
            "precision": "float32",
            "workers": 0,
        }
        | changes
    )
