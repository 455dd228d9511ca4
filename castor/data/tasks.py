"""Training splits of published text tasks as dialogues: questions with worked answers,
instructions, translations and function calls. Some are research only; see `NOT_SHIPPED`.
"""

import ast
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal
from zlib import crc32

from castor.core.content import Call, Document, Part, Result, Role, Text, Turn
from castor.data.index import Record, read_jsonl
from castor.data.source import Choice, Listed, Source, Split, answered

Set = Literal[
    "gsm8k",
    "math",
    "mbpp",
    "arc_easy",
    "arc_challenge",
    "boolq",
    "openbookqa",
    "multi30k",
    "sgd",
    "alpaca",
    "toolcalls",
    "preferred",
]
NOT_SHIPPED = ("multi30k", "alpaca", "toolcalls", "preferred")  # not for weights that are shipped
EVAL_ONE_IN = 50
LANGUAGES = {"cs": "Czech", "de": "German", "fr": "French"}
_SPEAKERS: dict[str, Role] = {
    "system": "system",
    "human": "user",
    "user": "user",
    "gpt": "model",
    "assistant": "model",
}


@dataclass(frozen=True)
class TextTask:
    """One published set as dialogues.

    Evaluation splits of the published benchmarks are read by the benchmarks themselves; here
    "eval" is one record in fifty of the training file.
    """

    set: Set = "gsm8k"

    @property
    def name(self) -> str:
        return self.set

    def open(self, data: Path, split: Split) -> Source:
        """Raises: ValueError: a file is missing or damaged."""
        folder = data / "text_tasks"
        read = _translations if self.set == "multi30k" else partial(_records, self.set)
        found = [
            item
            for number, item in enumerate(read(folder))
            if (split == "eval") == ((crc32(self.set.encode()) + number) % EVAL_ONE_IN == 0)
        ]
        if not found:
            raise ValueError(f"{folder} has no record of {self.set!r}")
        make = _translation if self.set == "multi30k" else partial(_dialogue, self.set)
        return Listed(self.name, split, found, make)


def _records(name: Set, folder: Path) -> Iterator[tuple[str, Record]]:
    for file in _SETS[name][0]:
        path = folder / file
        if not path.is_file():
            raise ValueError(f"looked for {path} and found none; see docs/data.md for the layout")
        for number, record in read_jsonl(path):
            if record.get("label", True):  # answers that people marked as bad are left out
                yield f"{path}, line {number}", record


def _dialogue(name: Set, item: tuple[str, Record], choice: Choice) -> Document:
    """Raises: ValueError: the record is not one of this set."""
    place, record = item
    try:
        turns = tuple(_SETS[name][1](record))
    except (KeyError, TypeError) as error:
        raise ValueError(f"{place}: not a record of {name!r}: {error}") from None
    return Document(turns, origin=f"{name}#{place.rsplit(' ', 1)[-1]}")


def _turn(role: Role, *parts: Part | str) -> Turn:
    return Turn(role, tuple(Text(p) if isinstance(p, str) else p for p in parts))


def _gsm8k(record: Record) -> list[Turn]:
    worked = re.sub(r"<<.*?>>", "", record["answer"])
    return [_turn("user", record["question"]), _turn("model", worked)]


def _math(record: Record) -> list[Turn]:
    return [_turn("user", record["problem"]), _turn("model", record["solution"])]


def _mbpp(record: Record) -> list[Turn]:
    tests = "\n".join(record["test_list"])
    ask = f"{record['text']}\nIt must pass these tests:\n{tests}"
    return [_turn("user", ask), _turn("model", record["code"].replace("\r\n", "\n"))]


def _instruction(record: Record) -> list[Turn]:
    ask = "\n".join(filter(None, (record["instruction"], record["input"])))
    return [_turn("user", ask), _turn("model", record["output"])]


def _choice(record: Record) -> list[Turn]:
    return [_turn("user", record["instruction"]), _turn("model", record["output"])]


def _service(record: Record) -> list[Turn]:
    """A dialogue in which the assistant calls services (Schema-Guided Dialogue)."""
    turns: list[Turn] = []
    for said in record["turns"]:
        if said["s"] == "USER":
            turns.append(_turn("user", said["u"]))
            continue
        calls = [
            Call(f"{call['service']}.{call['method']}", call["parameters"])
            for call in said.get("calls", ())
        ]
        if calls:
            turns.append(_turn("model", *calls))
            found = {"results": said.get("results", [])[:2]}  # two: long lists drown the talk
            turns.append(_turn("user", *(Result(call.name, found) for call in calls)))
        turns.append(_turn("model", said["u"]))
    return turns


def _sharegpt(record: Record) -> list[Turn]:
    """`conversations` of human, gpt, function_call and observation, with the tools as a system."""
    turns: list[Turn] = []
    tools = record.get("tools")
    if tools and tools != "[]":
        turns.append(_turn("system", f"Tools: {tools}"))
    called = ""
    for said in record["conversations"]:
        value = said["value"]
        if said["from"] == "function_call":
            call = _object(value)
            called = str(call["name"])
            turns.append(_turn("model", Call(called, call["arguments"])))
        elif said["from"] == "observation":
            turns.append(_turn("user", Result(called, {"output": _object(value)})))
        else:
            turns.append(_turn(_SPEAKERS[said["from"]], value))
    return turns


def _better(record: Record) -> list[Turn]:
    """The answer that people preferred, from pairs or from marked answers."""
    if "chosen" in record:
        asked = _sharegpt(record)
        return [*asked, _turn("model", record["chosen"]["value"])]
    return [_turn(_SPEAKERS[said["role"]], said["content"]) for said in record["messages"]]


def _object(text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        pass
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


def _translations(folder: Path) -> Iterator[tuple[str, str, str]]:
    """(language, English, the same in that language)."""
    texts: dict[str, list[str]] = {}
    for code in ("en", *LANGUAGES):
        path = folder / f"multi30k/train.{code}"
        if not path.is_file():
            raise ValueError(f"looked for {path} and found none; see docs/data.md for the layout")
        texts[code] = path.read_text(encoding="utf-8").splitlines()
    for code, language in LANGUAGES.items():
        for one, other in zip(texts["en"], texts[code], strict=True):
            yield language, one, other


def _translation(item: tuple[str, str, str], choice: Choice) -> Document:
    language, one, other = item
    return answered([f"Translate into {language}: {one}"], other, origin=f"multi30k/{language}")


_ToTurns = Callable[[Record], list[Turn]]
_SETS: dict[str, tuple[tuple[str, ...], _ToTurns]] = {
    "gsm8k": (("gsm8k/train.jsonl",), _gsm8k),
    "math": (("math/train.jsonl",), _math),
    "mbpp": (("mbpp/train.jsonl",), _mbpp),
    "arc_easy": (("ARC-Easy/train.jsonl",), _choice),
    "arc_challenge": (("ARC-Challenge/train.jsonl",), _choice),
    "boolq": (("boolq/train.jsonl",), _choice),
    "openbookqa": (("openbookqa/train.jsonl",), _choice),
    "sgd": (("sgd/train.jsonl",), _service),
    "alpaca": (
        ("instruct/alpaca_en_demo.jsonl", "instruct/alpaca_zh_demo.jsonl"),
        _instruction,
    ),
    "toolcalls": (
        ("instruct/glaive_toolcall_en_demo.jsonl", "instruct/glaive_toolcall_zh_demo.jsonl"),
        _sharegpt,
    ),
    "preferred": (
        (
            "instruct/dpo_en_demo.jsonl",
            "instruct/dpo_zh_demo.jsonl",
            "instruct/kto_en_demo.jsonl",
        ),
        _better,
    ),
}
