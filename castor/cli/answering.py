"""The model that the verbs talk to, and what goes between it and the terminal or the disk."""

import argparse
import sys
from collections.abc import Iterable, Sequence
from dataclasses import fields, replace
from functools import partial
from itertools import count
from pathlib import Path

import castor
from castor.checkpoint import Checkpoint
from castor.cli.places import located
from castor.core.content import Call, Document, Media, Part, Text, Turn
from castor.core.files import write_atomic
from castor.core.media import media_from_file, open_image, open_sound, open_video
from castor.evals.protocols import DRAWING
from castor.interop.folder import is_published, open_model, outline
from castor.sample.choose import Sampling
from castor.sample.engine import Engine

SHIPPED = Path(castor.__file__).parent / "weights" / "demo"


def load_engine(
    model: Path | None,
    *,
    precision: str | None = None,
    context: int | None = None,
    most: int | None = None,
    device: str | None = None,
    threads: int = 0,
) -> tuple[Checkpoint, Engine]:
    """A checkpoint, a run's newest one, a Hugging Face folder, a model that was pulled or the
    weights shipped with Castor, ready to answer.

    `precision` is of its weights: float32 unless given, but as they are stored where others
    published them. `context` is another number of tokens than the model was made for: fewer, or
    more at its peril; without it there are `most`, where the model was made for more.
    `device` is one of `device.DEVICES`; None = JAX.

    Raises:
        ValueError: there are none, they are damaged, or the device cannot compute with them.
    """
    if model is None and not SHIPPED.exists():
        raise ValueError(
            "this copy of Castor holds no trained weights (castor/weights/demo is missing); train "
            "them with `castor train demo --data DIR --out RUN`, then pass --model RUN"
        )
    path = located(model or SHIPPED)
    stored = is_published(path)
    whole = partial(open_model, path, dtype=precision or (None if stored else "float32"))
    found = outline(path) if stored and device is not None else whole()
    made_for = found.config.context
    tokens = context or min(made_for, most or made_for)
    config = replace(found.config, context=tokens)
    if device is not None:
        if found.embedder is not None:
            raise ValueError(f"{path} embeds texts, which --device does not; leave the flag out")
        from castor.cli.device import on_device

        weights = (lambda: whole().model) if stored else None
        return on_device(
            found, path, config=config, device=device, threads=threads, weights=weights
        )
    kept = str(found.model.decoder.final_norm.dtype) if stored else "float32"
    engine = Engine(
        found.model,
        config=config,
        vocab=found.vocab,
        codec=found.codec,
        embedder=found.embedder,
        precision=precision or kept,
    )
    return found, engine


def document(words: str, files: Sequence[str | Path], *, system: str = "") -> Document:
    """One turn of files, then words, after the system's turn if there are instructions."""
    parts: list[Part] = [*map(attached, files), *([Text(words)] if words else [])]
    before = (Turn("system", (Text(system),)),) if system else ()
    return Document((*before, *((Turn("user", tuple(parts)),) if parts else ())))


def attached(path: str | Path) -> Media:
    """A file that can be opened, of several that somebody may have given.

    Raises:
        ValueError: it cannot; its name is said with the reason.
    """
    medium = media_from_file(path)
    opens = {"image": open_image, "audio": open_sound, "video": open_video}
    try:
        opens[medium.mime.split("/")[0]](medium.data, medium.mime)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    return medium


def sampling(arguments: argparse.Namespace, model: Engine, *, draw: bool = False) -> Sampling:
    """What the flags of `sampling_flags` say; without them, as benchmarks sample.

    With `draw` the answer is one picture; without, it may hold pictures if the model can draw.
    """
    plain = Sampling(max_tokens=256, pictures="never" if model.codec is None else "allowed")
    base = DRAWING if draw else plain
    names = (field.name for field in fields(Sampling))
    given = {name: value for name in names if (value := getattr(arguments, name, None)) is not None}
    stop = {"stop": tuple(given["stop"])} if "stop" in given else {}
    return replace(base, **given | stop)


def speak(pieces: Iterable[Part], *, out: Path) -> list[Part]:
    """Print text as it comes, write each picture and print its path; give back all parts."""
    parts: list[Part] = []
    for piece in pieces:
        parts.append(piece)
        if isinstance(piece, Text):
            sys.stdout.write(printable(piece.text) if sys.stdout.isatty() else piece.text)
        elif isinstance(piece, Media):
            sys.stdout.write(f"[{write_picture(piece, out=out)}]")
        elif isinstance(piece, Call):
            sys.stdout.write(f"[call {piece.name} {dict(piece.args)}]")
        sys.stdout.flush()
    sys.stdout.write("\n")
    return parts


def printable(text: str) -> str:
    """The text without the control characters that a terminal would obey."""
    return "".join("\ufffd" if ord(c) < 32 and c not in "\n\t" else c for c in text)


def write_picture(picture: Media, *, out: Path) -> Path:
    """Write a drawn picture to `out`, or to a new name in it where it is a folder."""
    if out.suffix.lower() == ".png":
        path = out if not out.exists() else _free(out.parent, out.stem)
    else:
        path = _free(out, "picture")
    write_atomic(path, picture.data)
    return path


def _free(folder: Path, stem: str) -> Path:
    return next(p for i in count(1) if not (p := folder / f"{stem}-{i}.png").exists())
