"""`castor demo`: sample inputs, the model's answers as they come, and the expected ones."""

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from castor.cli.flags import Verbs, add_verb, model_flag

if TYPE_CHECKING:
    from castor.core.content import Document, Part

HERE = Path(__file__).resolve().parent.parent
PLACES = (HERE / "examples", HERE.parent / "examples")  # installed from a wheel; a clone
NAME = "demo.jsonl"


class Example(NamedTuple):
    """A document that ends with the right answer, and how to show the question and the answer."""

    document: "Document"
    asked: list[str]
    expected: str


def add(verbs: Verbs) -> None:
    """The verb and its flags."""
    verb = add_verb(
        verbs,
        "demo",
        run,
        what="show the model at work on pictures, sound, a clip and text",
    )
    model_flag(verb)
    verb.add_argument(
        "--out",
        metavar="DIR",
        type=Path,
        default=Path("drawn"),
        help="where the drawn pictures go (default: drawn)",
    )
    verb.add_argument(
        "--examples",
        metavar="FILE",
        type=Path,
        help="documents to ask about, one a line, each ending with the expected answer",
    )


def run(arguments: argparse.Namespace) -> None:
    """Ask, stream, compare."""
    import time

    from castor.cli.answering import load_engine, speak
    from castor.cli.screen import console
    from castor.core.content import Document
    from castor.evals.protocols import ANSWER, DRAWING

    start = time.perf_counter()
    _, model = load_engine(arguments.model)
    examples = read(arguments.examples or shipped())
    for document, lines, expected in examples:
        console.rule(style="dim")
        for line in lines:
            console.print(line, markup=False)
        print("castor:    ", end="", flush=True)
        asked = Document(document.turns[:-1], document.origin)
        chosen = DRAWING if "draw" in document.tags else ANSWER
        speak(model.stream(asked, chosen), out=arguments.out)
        console.print(f"expected:  {expected}", markup=False, style="dim")
    console.rule(style="dim")
    print(f"{len(examples)} answers in {time.perf_counter() - start:.0f} s")


def shipped() -> Path:
    """The examples that come with Castor.

    Raises:
        ValueError: this installation has none.
    """
    found = next((place / NAME for place in PLACES if (place / NAME).exists()), None)
    if found is None:
        raise ValueError("this installation holds no examples; name a file with --examples")
    return found


def read(path: Path) -> list["Example"]:
    """The documents of a JSONL file, with what to show of each.

    Raises:
        ValueError: a line is no document that ends with an answer.
        OSError: a file cannot be read.
    """
    from castor.core.files import read_bytes
    from castor.core.wire import from_wire

    examples: list[Example] = []
    places: dict[bytes, str] = {}

    def resolve(uri: str) -> bytes:
        data = read_bytes(f"{path.parent}/{uri}")
        places[data] = str(path.parent / uri)
        return data

    for number, text in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        try:
            document = from_wire(json.loads(text), resolve=resolve)
        except ValueError as error:
            raise ValueError(f"{path}, line {number}: {error}") from None
        if len(document.turns) < 2 or document.turns[-1].role != "model":
            raise ValueError(f"{path}, line {number}: an example ends with the model's answer")
        turns = [turn.parts for turn in document.turns if turn.role != "system"]
        *asked, answer = [[shown(part, places) for part in parts] for parts in turns]
        lines = [f"you:       {line}" for parts in asked for line in parts]
        examples.append(Example(document, lines, "  ".join(answer)))
    return examples


def shown(part: "Part", places: Mapping[bytes, str]) -> str:
    """Words as they are; media by the place of their file or, without one, by kind."""
    from castor.core.content import Media, Text

    if isinstance(part, Text):
        return part.text
    if not isinstance(part, Media):
        return f"[{type(part).__name__.lower()} {part.name}]"
    place = places.get(part.data, f"[{part.mime}]")
    return place.removeprefix(f"{Path.cwd()}/")
