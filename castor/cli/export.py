"""`castor export`: a model in the formats that the world runs."""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from castor.cli.flags import Verbs, add_verb

if TYPE_CHECKING:
    from castor.checkpoint import Checkpoint

FLOATS = ("bfloat16", "float16", "float32")
PRECISIONS = {  # by format; the first is what it is without --precision
    "castor": FLOATS,
    "hf": FLOATS,
    "gguf": (*FLOATS, "q8_0", "q4_0"),
    "onnx": ("int4", "int8", "float32"),
}
NAMES = tuple(dict.fromkeys(name for names in PRECISIONS.values() for name in names))
FILES = {  # what an export of a format may replace
    "hf": (".json", ".safetensors", ".model", ".jinja"),
}
MORE = """\
castor  weights, vocabulary and card, as Castor reads them again
hf      a folder for transformers; Castor's own decoders are written as Qwen 3
gguf    one file for llama.cpp, Ollama and LM Studio; quantised weights keep their codes
onnx    graphs for onnxruntime, as --device uses them"""


def add(verbs: Verbs) -> None:
    """The verb and its flags."""
    verb = add_verb(
        verbs, "export", run, what="write a model to ship, in one of four formats", more=MORE
    )
    verb.add_argument(
        "model",
        metavar="MODEL",
        type=Path,
        help="a run, one of its checkpoints, a Hugging Face folder or a model that was pulled",
    )
    verb.add_argument("out", metavar="OUT", type=Path, help="the folder, or the file, to write")
    verb.add_argument(
        "--format", choices=tuple(PRECISIONS), default="castor", help="(default: castor)"
    )
    verb.add_argument(
        "--precision",
        choices=NAMES,
        help="the type of the weights (default: bfloat16; of onnx: int4)",
    )
    verb.add_argument(
        "--text-only",
        action="store_true",
        help="leave encoders of pictures and sound behind, where the format has none like them",
    )
    verb.add_argument(
        "--scores",
        metavar="FILE",
        type=Path,
        help="what `castor eval --json` printed, for the model card",
    )


def run(arguments: argparse.Namespace) -> None:
    """Write the model, and say what was written.

    Raises:
        ValueError: there is no such model, it embeds, the format cannot express it or has no such
            precision, the scores cannot be read, or the folder holds something that would be lost.
    """
    from castor.cli.places import located
    from castor.cli.screen import in_bytes
    from castor.interop.folder import open_model

    kind, given = arguments.format, arguments.precision
    precision = given or PRECISIONS[kind][0]
    if precision not in PRECISIONS[kind]:
        allowed = ", ".join(PRECISIONS[kind])
        raise ValueError(f"--format {kind} has no --precision {precision}; it has {allowed}")
    if arguments.scores is not None and kind != "castor":
        raise ValueError("--scores goes into the card, which --format castor alone writes")
    found = open_model(
        located(arguments.model), dtype=None if kind in ("gguf", "hf") else "float32"
    )
    if found.embedder is not None:
        raise ValueError(f"{arguments.model} embeds texts; no format here keeps its heads")
    write: dict[str, Callable[[], None]] = {
        "castor": lambda: _castor(arguments, found, precision),
        "hf": lambda: _hf(arguments, found, precision),
        "gguf": lambda: _gguf(arguments, found, precision),
        "onnx": lambda: _onnx(arguments, found, precision),
    }
    write[kind]()
    out = arguments.out
    files = [out] if out.is_file() else [file for file in out.rglob("*") if file.is_file()]
    print(f"wrote {out} ({in_bytes(sum(file.stat().st_size for file in files))})")


def _castor(arguments: argparse.Namespace, found: "Checkpoint", precision: str) -> None:
    from castor.checkpoint import CODEC, HEAD, RECIPE, VOCAB, WEIGHTS, write
    from castor.cli.card import NAME, card
    from castor.core.files import write_atomic

    given = arguments.model
    run_dir = given.parent if (given / HEAD).exists() else given
    parts = {HEAD, WEIGHTS, CODEC, VOCAB, RECIPE, NAME}
    _refuse_others(arguments.out, lambda file: file.name in parts)
    text = card(found, run=run_dir, scores=arguments.scores)
    write(arguments.out, found, precision=precision)
    write_atomic(arguments.out / NAME, text.encode())


def _hf(arguments: argparse.Namespace, found: "Checkpoint", precision: str) -> None:
    from castor.interop.outward import refuse_encoders, save_folder, with_text_alone

    _refuse_others(arguments.out, lambda file: file.suffix in FILES["hf"])
    model, config = found.model, found.config
    if arguments.text_only:
        model, config = with_text_alone(model, config)
    refuse_encoders(config)
    sampling = found.recipe.get("sampling") or {}
    save_folder(
        arguments.out, model, config, vocab=found.vocab, precision=precision, sampling=sampling
    )


def _gguf(arguments: argparse.Namespace, found: "Checkpoint", precision: str) -> None:
    from castor.interop.gguf import write_gguf

    out = arguments.out
    if out.suffix != ".gguf" or out.is_dir():
        raise ValueError(f"{out} must be a file whose name ends with .gguf")
    kinds = [kind for kind in ("image", "audio") if getattr(found.config, kind) is not None]
    if kinds and not arguments.text_only:
        raise ValueError(
            f"a GGUF of Castor's has no encoders ({', '.join(kinds)}); --text-only leaves them "
            "behind"
        )
    write_gguf(
        out, found.model, found.config, vocab=found.vocab, precision=precision, tell=_progress
    )


def _onnx(arguments: argparse.Namespace, found: "Checkpoint", precision: str) -> None:
    import importlib.util

    for library in ("onnx", "onnxruntime"):
        if importlib.util.find_spec(library) is None:
            raise ValueError(f"--format onnx needs {library}; install the extra `device`")
    from castor.cli.device import DEVICES
    from castor.device.stored import keep

    if arguments.out.exists():
        raise ValueError(f"{arguments.out} exists; name a folder that does not")
    kept = DEVICES[f"cpu-{precision}"]
    keep(found.model, config=found.config, folder=arguments.out, precision=kept)


def _progress(done: int, total: int) -> None:
    """One line that is written over, on a terminal."""
    if sys.stderr.isatty():
        end = "\n" if done == total else ""
        print(
            f"\rcastor: {100 * done // total} % of {total / 1e6:,.0f} MB", end=end, file=sys.stderr
        )


def _refuse_others(folder: Path, is_part: Callable[[Path], bool]) -> None:
    if folder.is_file():
        raise ValueError(f"{folder} is a file; name a folder")
    others = sorted(file.name for file in folder.glob("*") if not is_part(file))
    if others:
        raise ValueError(f"{folder} holds {others[0]}, which is no part of a model; name another")
