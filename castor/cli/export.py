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


def run(arguments: argparse.Namespace) -> None:
    """Write, and say what was written."""
    from castor.checkpoint import load, write
    from castor.cli.screen import in_bytes

    write(arguments.out, load(arguments.run_dir), precision=arguments.precision)
    size = sum(file.stat().st_size for file in arguments.out.iterdir())
    print(f"wrote {arguments.out} ({in_bytes(size)})")
