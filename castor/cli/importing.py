"""`castor import`: a Hugging Face folder as a checkpoint of Castor's own."""

import argparse
from pathlib import Path

from castor.cli.flags import Verbs, add_verb

MORE = """\
--model takes such a folder as it is; a checkpoint of our own loads the same model with its weights
checked against their digests, and is what training goes on from."""


def add(verbs: Verbs) -> None:
    """The verb and its flags."""
    verb = add_verb(verbs, "import", run, what="make a checkpoint of a published model", more=MORE)
    verb.add_argument(
        "folder", metavar="DIR", type=Path, help="a folder, or a name that was pulled"
    )
    verb.add_argument("out", metavar="OUT", type=Path, help="the checkpoint to write")
    verb.add_argument(
        "--precision",
        choices=("bfloat16", "float16", "float32"),
        help="the type of the weights (default: as they are stored)",
    )
    verb.add_argument(
        "--dialogue",
        metavar="NAME",
        help="how its prompts are written, where it is not its family's: plain, gemma, gemma3, "
        "functiongemma or gemma4",
    )


def run(arguments: argparse.Namespace) -> None:
    """Read the folder, write the checkpoint, and say how large it is.

    Raises:
        ValueError: the folder holds no model that we read, or something is in the way.
    """
    from castor.checkpoint import write
    from castor.cli.places import located
    from castor.cli.screen import in_bytes
    from castor.interop.folder import is_published, open_model

    folder = located(arguments.folder)
    if not folder.is_dir():
        raise ValueError(f"{folder}: there is no such folder")
    if not is_published(folder):
        raise ValueError(f"{folder} is no Hugging Face folder: its config.json names no model_type")
    if arguments.out.exists():
        raise ValueError(f"{arguments.out} is there already; name a new folder")
    found = open_model(folder, dtype=arguments.precision, dialogue=arguments.dialogue)
    kept = arguments.precision or str(found.model.decoder.final_norm.dtype)
    write(arguments.out, found, precision=kept)
    size = sum(file.stat().st_size for file in arguments.out.iterdir())
    print(f"wrote {arguments.out} ({in_bytes(size)})")
