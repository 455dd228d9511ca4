"""Flags that several verbs share, and the types of their values."""

import argparse
from collections.abc import Callable
from math import prod
from pathlib import Path
from typing import Any


class Layout(argparse.RawDescriptionHelpFormatter):
    """Help with room for the names of our verbs and flags."""

    def __init__(self, prog: str, **options: Any) -> None:
        super().__init__(prog, **{"max_help_position": 28, **options})


Verbs = argparse._SubParsersAction  # argparse has no public name for it
MESH_AXES = ("replica", "fsdp", "expert", "tensor", "sequence")  # as castor.models.layout.AXES
MOST_SIDE_BY_SIDE = 1 << 20  # devices of a mesh, or codes of a picture


def add_verb(
    verbs: Verbs,
    name: str,
    run: Callable[[argparse.Namespace], int | None],
    *,
    what: str,
    more: str = "",
) -> argparse.ArgumentParser:
    """A new verb that calls `run`; `what` is one line, `more` is shown below it."""
    verb = verbs.add_parser(
        name,
        help=what,
        description=f"{what[0].upper()}{what[1:]}." + (f"\n\n{more}" if more else ""),
        formatter_class=Layout,
    )
    debug_flag(verb, default=argparse.SUPPRESS)
    verb.set_defaults(run=run)
    return verb


def add_group(verbs: Verbs, name: str, *, what: str) -> Verbs:
    """A verb that has verbs of its own."""
    group = verbs.add_parser(
        name, help=what, description=f"{what[0].upper()}{what[1:]}.", formatter_class=Layout
    )
    return group.add_subparsers(title="verbs", dest=f"{name}_verb", metavar="VERB", required=True)


def debug_flag(verb: argparse.ArgumentParser, *, default: Any) -> None:
    """--debug may stand before or after the verb."""
    verb.add_argument(
        "--debug", action="store_true", default=default, help="show the traceback of an error"
    )


def processes_flag(verb: argparse.ArgumentParser, *, default: int) -> None:
    """How many processes train."""
    verb.add_argument(
        "-n",
        dest="processes",
        metavar="N",
        type=count_from_one,
        default=default,
        help=f"how many processes (default: {default})",
    )


def model_flag(verb: argparse.ArgumentParser) -> None:
    """Which model answers."""
    verb.add_argument(
        "--model",
        metavar="DIR",
        type=Path,
        help="a checkpoint or a run of `castor train`, a Hugging Face folder, or the name of a "
        "model that `castor pull` fetched (default: the weights shipped with Castor)",
    )


def device_flags(verb: argparse.ArgumentParser) -> None:
    """What computes, where it is not JAX."""
    verb.add_argument(
        "--device",
        choices=("cpu-int4", "cpu-int8", "cpu-float32"),
        help="compute with onnxruntime, with weights of so many bits (default: with JAX)",
    )
    verb.add_argument(
        "--threads",
        metavar="N",
        type=count_from_one,
        default=0,
        help="of the --device (default: one for each core)",
    )


def data_flag(verb: argparse.ArgumentParser) -> None:
    """Where the data lies."""
    verb.add_argument(
        "--data",
        metavar="DIR",
        type=Path,
        default=Path("data"),
        help="the folder that holds image/, audio/, text_corpus/ and others (default: data)",
    )


def set_flag(verb: argparse.ArgumentParser) -> None:
    """Change a field of a recipe."""
    verb.add_argument(
        "--set",
        metavar="FIELD=VALUE",
        action="append",
        default=[],
        help="change a field, e.g. steps=500, model.width=256 or optimizer=AdamW; may be repeated",
    )


def sampling_flags(verb: argparse.ArgumentParser) -> None:
    """How the model chooses its next token. What is not given is None; names are Sampling's."""
    add = verb.add_argument_group("choosing tokens").add_argument
    add("--temperature", metavar="T", type=positive_or_zero, help="0 = the likeliest (default: 0)")
    add("--top-k", metavar="K", type=count, help="of the K likeliest (default: of all)")
    add("--top-p", metavar="P", type=share, help="of the likeliest that reach P (default: 1)")
    add("--presence-penalty", metavar="X", type=float, help="against any repetition (default: 0)")
    add("--frequency-penalty", metavar="X", type=float, help="against each one (default: 0)")
    add("--stop", metavar="TEXT", action="append", help="end before TEXT; may be repeated")
    add("--max-tokens", metavar="N", type=count, help="end after N (default: 256)")
    add("--guidance", metavar="X", type=positive_or_zero, help="of drawn pictures; 1 = none")
    add("--seed", metavar="N", type=int, help="the same seed gives the same answer (default: 0)")


def count(text: str) -> int:
    """A whole number, not negative."""
    number = int(text)
    if number < 0:
        raise argparse.ArgumentTypeError(f"{text} is negative")
    return number


def count_from_one(text: str) -> int:
    """A whole number, 1 or more."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number, 1 or more")
    return int(text)


def positive_or_zero(text: str) -> float:
    """A number, not negative."""
    number = float(text)
    if not 0 <= number < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is not a number from 0 up")
    return number


def share(text: str) -> float:
    """A number above 0, at most 1."""
    number = float(text)
    if not 0 < number <= 1:
        raise argparse.ArgumentTypeError(f"{text} is not above 0 and at most 1")
    return number


def mesh_sizes(text: str) -> dict[str, int]:
    """Axes of a mesh and how long each is: "fsdp=4,tensor=2"."""
    found: dict[str, int] = {}
    for part in text.split(","):
        axis, _, length = part.partition("=")
        if axis not in MESH_AXES or axis in found or not (length.isdecimal() and int(length)):
            raise argparse.ArgumentTypeError(
                f"{text!r} is no mesh: it is AXIS=N,AXIS=N with each of "
                f"{', '.join(MESH_AXES)} once at most, such as fsdp=4,tensor=2"
            )
        found[axis] = int(length)
    if prod(found.values()) > MOST_SIDE_BY_SIDE:
        raise argparse.ArgumentTypeError(f"{text!r} is more than {MOST_SIDE_BY_SIDE:,} in all")
    return found


def side_by_side(text: str) -> tuple[int, int]:
    """Two whole numbers, 1 or more, with an x between them: "8x8"."""
    high, _, wide = text.partition("x")
    if not (high.isdecimal() and wide.isdecimal() and int(high) and int(wide)):
        raise argparse.ArgumentTypeError(f"{text!r} is not two whole numbers above 0, such as 8x8")
    if int(high) * int(wide) > MOST_SIDE_BY_SIDE:
        raise argparse.ArgumentTypeError(f"{text!r} is more than {MOST_SIDE_BY_SIDE:,} in all")
    return int(high), int(wide)
