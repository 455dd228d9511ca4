"""`castor train finetune`: what its flags make of a model and of somebody's documents."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from castor.cli.flags import count_from_one

if TYPE_CHECKING:
    from castor.train.recipe import FineTune

NAME = "finetune"
FLAGS = ("start", "rank", "alpha", "targets", "full")
EPILOG = """\
castor train finetune --start MODEL --data DIR goes on from a model that is there: a checkpoint, a
run or a folder of Hugging Face's. DIR is a .jsonl file, or a folder of them with pictures and
sound beside; a line is a conversation, and what the model says in it is learned:

  {"contents": [{"role": "user", "parts": [{"fileData": {"fileUri": "cat.png"}},
                                           {"text": "What is this?"}]},
                {"role": "model", "parts": [{"text": "A cat."}]}]}

A line with "split": "eval", or a file called eval.jsonl, is held out to measure on; where there
is none, one line in twenty is. Adapters are learned, the model stays as it is, and RUN/merged is
the model with them."""


def add_flags(verb: argparse.ArgumentParser) -> None:
    """What only fine-tuning is told."""
    add = verb.add_argument_group("finetune").add_argument
    add("--start", metavar="MODEL", help="the model to go on from")
    add("--rank", metavar="R", type=count_from_one, help="width of the adapters (default: 16)")
    add("--alpha", metavar="A", type=float, help="they count A / R times (default: 32)")
    add("--targets", metavar="NAMES", help="which weights get adapters (default: attention,mlp)")
    add("--full", action="store_true", default=None, help="learn all weights; no adapters")


def asked(arguments: argparse.Namespace) -> "FineTune":
    """The recipe that the flags ask for; the folder that its path starts from is `folder_of`.

    Raises:
        ValueError: no model is named, a flag is none of its values, or --full is with others.
    """
    from castor.core.recipe import override
    from castor.models.lora import Lora
    from castor.recipes.finetune import finetune
    from castor.train.recipe import Full

    if arguments.start is None:
        raise ValueError("finetune goes on from a model: name it with --start MODEL")
    given = {n: v for n in ("rank", "alpha", "targets") if (v := getattr(arguments, n)) is not None}
    if arguments.full and given:
        raise ValueError(f"--full learns all weights, without adapters; leave --{[*given][0]} out")
    tuning = Full() if arguments.full else Lora()
    for name, value in given.items():
        tuning = override(tuning, f"{name}={value}")
    recipe = finetune(arguments.start, arguments.data.resolve().name, tuning)
    for change in arguments.set:
        recipe = override(recipe, change)
    return recipe


def refuse(arguments: argparse.Namespace) -> None:
    """Raises: ValueError: a flag is given that only fine-tuning has."""
    for name in FLAGS:
        if getattr(arguments, name) is not None:
            raise ValueError(f"--{name} is for castor train {NAME}, not for {arguments.recipe}")


def folder_of(arguments: argparse.Namespace) -> Path:
    """The folder that the documents' file or folder lies in."""
    return arguments.data.resolve().parent


def tell(out: Path) -> None:
    """Print the loss on held-out documents before and after."""
    from castor.train.loop import METRICS
    from castor.train.metrics import read

    lines = [line for line in read(out / METRICS) if "held_out" in line]
    if not lines:
        print("nothing was held out to measure on")
        return
    before, after = (lines[i]["held_out"]["loss"] for i in (0, -1))
    print(f"held-out loss: {before:.3f} nats a token before, {after:.3f} after")
