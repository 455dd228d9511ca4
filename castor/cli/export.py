"""`castor export`: the weights of a run, small enough to ship."""

import argparse
from pathlib import Path

from castor.cli.flags import Verbs, add_verb


def add(verbs: Verbs) -> None:
    """The verb and its flags."""
    verb = add_verb(
        verbs,
        "export",
        run,
        what="write the weights of a run, small enough to ship",
    )
    verb.add_argument("run_dir", metavar="RUN", type=Path, help="a run, or one of its checkpoints")
    verb.add_argument("out", metavar="DIR", type=Path, help="the folder to write")
    verb.add_argument(
        "--precision",
        choices=("bfloat16", "float16", "float32"),
        default="bfloat16",
        help="the type of the weights (default: bfloat16)",
    )
    verb.add_argument(
        "--scores",
        metavar="FILE",
        type=Path,
        help="what `castor eval --json` printed, for the model card",
    )


def run(arguments: argparse.Namespace) -> None:
    """Write the weights and a card from the run's records, and say what was written.

    Raises:
        ValueError: there is no such model, the scores cannot be read, or the folder holds something
            that is no part of a model and would be lost.
    """
    from castor.checkpoint import HEAD, load, write
    from castor.cli.card import NAME, card
    from castor.cli.screen import in_bytes
    from castor.core.files import write_atomic

    given = arguments.run_dir
    found, run_dir = load(given), given.parent if (given / HEAD).exists() else given
    _refuse_others(arguments.out)
    text = card(found, run=run_dir, scores=arguments.scores)
    write(arguments.out, found, precision=arguments.precision)
    write_atomic(arguments.out / NAME, text.encode())
    size = sum(file.stat().st_size for file in arguments.out.iterdir())
    print(f"wrote {arguments.out} ({in_bytes(size)})")


def _refuse_others(folder: Path) -> None:
    from castor.checkpoint import CODEC, HEAD, RECIPE, VOCAB, WEIGHTS
    from castor.cli.card import NAME

    if folder.is_file():
        raise ValueError(f"{folder} is a file; name a folder")
    parts = {HEAD, WEIGHTS, CODEC, VOCAB, RECIPE, NAME}
    others = sorted({file.name for file in folder.glob("*")} - parts)
    if others:
        raise ValueError(f"{folder} holds {others[0]}, which is no part of a model; name another")
