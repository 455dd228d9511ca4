"""`castor pull`: open weights from the Hugging Face hub, ready for --model."""

import argparse
import sys
from pathlib import Path

from castor.cli.flags import Verbs, add_verb

MORE = """\
Only what is needed to run the model is fetched, and what is there already is not fetched again. A
model that asks for its licence to be accepted needs HF_TOKEN. Afterwards --model NAME means it, in
every verb. The default folder is ~/.local/share/castor/models/NAME."""


def add(verbs: Verbs) -> None:
    """The verb and its flags."""
    verb = add_verb(verbs, "pull", run, what="fetch open weights by their name", more=MORE)
    verb.add_argument("name", metavar="NAME", help="e.g. google/gemma-3-4b-it")
    verb.add_argument("--revision", metavar="REV", default="main", help="a branch, tag or commit")
    verb.add_argument("--out", metavar="DIR", type=Path, help="the folder to put it in")
    verb.add_argument("--endpoint", metavar="URL", help="another hub that speaks the same protocol")


def run(arguments: argparse.Namespace) -> None:
    """Show the licence, fetch, and look whether the model can be read.

    Raises:
        ValueError: it cannot be fetched, or is none that we read.
    """
    from castor.cli.places import models_home
    from castor.cli.screen import in_bytes
    from castor.interop.configs import config_from
    from castor.interop.hf import read_config

    try:
        from castor.interop.hub import offer, pull
    except ModuleNotFoundError:
        raise ValueError(
            "this needs the package huggingface-hub: pip install 'castor[hf]'"
        ) from None
    found = offer(arguments.name, revision=arguments.revision, endpoint=arguments.endpoint)
    folder = arguments.out or models_home() / arguments.name
    licence = found.licence or "its card names none"
    print(f"{found.name}: {in_bytes(found.bytes)}, licence: {licence}", file=sys.stderr)
    pull(found, folder, endpoint=arguments.endpoint)
    config_from(read_config(folder))
    print(folder)
