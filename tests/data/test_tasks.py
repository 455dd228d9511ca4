"""Published text tasks as dialogues."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from castor.core.content import Call, Document, Result, Text
from castor.data.tasks import TextTask


def write(root: Path, name: str, *records: dict[str, Any]) -> Path:
    path = root / "text_tasks" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return root


def first(root: Path, name: str) -> Document:
    return TextTask(name).open(root, "train").document(0, np.random.default_rng(0))


def texts(document: Document) -> list[str]:
    return [p.text for turn in document.turns for p in turn.parts if isinstance(p, Text)]


def test_worked_answers_lose_their_calculator_marks(tmp_path: Path) -> None:
    record = {"question": "2 and 3?", "answer": "It is 2+3 = <<2+3=5>>5.\n#### 5"}
    write(tmp_path, "gsm8k/train.jsonl", *[record] * 3)
    assert texts(first(tmp_path, "gsm8k")) == ["2 and 3?", "It is 2+3 = 5.\n#### 5"]


def test_programs_are_asked_for_with_their_tests(tmp_path: Path) -> None:
    record = {"text": "Add.", "code": "def f():\r\n  pass", "test_list": ["assert f() is None"]}
    write(tmp_path, "mbpp/train.jsonl", *[record] * 3)
    ask, code = texts(first(tmp_path, "mbpp"))
    assert ask == "Add.\nIt must pass these tests:\nassert f() is None"
    assert code == "def f():\n  pass"


def test_services_are_called_and_answer(tmp_path: Path) -> None:
    called = {
        "s": "SYSTEM",
        "u": "Found one.",
        "calls": [{"service": "Bus_1", "method": "Find", "parameters": {"to": "Bern"}}],
        "results": [{"price": "3"}, {"price": "4"}, {"price": "5"}],
    }
    record = {"turns": [{"s": "USER", "u": "A bus?"}, called]}
    write(tmp_path, "sgd/train.jsonl", *[record] * 3)
    document = first(tmp_path, "sgd")
    assert [turn.role for turn in document.turns] == ["user", "model", "user", "model"]
    assert document.turns[1].parts == (Call("Bus_1.Find", {"to": "Bern"}),)
    shown = {"results": [{"price": "3"}, {"price": "4"}]}
    assert document.turns[2].parts == (Result("Bus_1.Find", shown),)


def test_tool_calls_keep_their_tools_and_results(tmp_path: Path) -> None:
    said = [
        {"from": "human", "value": "Area?"},
        {"from": "function_call", "value": "{'name': 'area', 'arguments': {'side': 2}}"},
        {"from": "observation", "value": '{"area": 4}'},
        {"from": "gpt", "value": "4."},
    ]
    record = {"conversations": said, "tools": '[{"name": "area"}]'}
    names = [f"instruct/glaive_toolcall_{code}_demo.jsonl" for code in ("en", "zh")]
    for name in names:
        write(tmp_path, name, *[record] * 3)
    document = first(tmp_path, "toolcalls")
    roles = [turn.role for turn in document.turns]
    assert roles == ["system", "user", "model", "user", "model"]
    assert document.turns[2].parts == (Call("area", {"side": 2}),)
    assert document.turns[3].parts == (Result("area", {"output": {"area": 4}}),)


def test_of_two_answers_the_better_is_learned_and_bad_ones_are_left_out(tmp_path: Path) -> None:
    pair = {
        "conversations": [{"from": "human", "value": "Hi"}],
        "chosen": {"from": "gpt", "value": "Hello."},
        "rejected": {"from": "gpt", "value": "No."},
    }
    marked = [{"role": "user", "content": "Ask"}, {"role": "assistant", "content": "Answer"}]
    bad = {"messages": marked, "label": False}
    write(tmp_path, "instruct/dpo_en_demo.jsonl", *[pair] * 3)
    write(tmp_path, "instruct/dpo_zh_demo.jsonl", *[pair] * 3)
    write(tmp_path, "instruct/kto_en_demo.jsonl", bad, {"messages": marked, "label": True}, bad)
    sources = [TextTask("preferred").open(tmp_path, split) for split in ("train", "eval")]
    rng = np.random.default_rng(0)
    found = [texts(s.document(i, rng)) for s in sources for i in range(len(s))]
    assert ["Hi", "Hello."] in found and ["Ask", "Answer"] in found
    assert len(found) == 7


def test_instructions_join_their_input(tmp_path: Path) -> None:
    record = {"instruction": "Name it.", "input": "Jupiter", "output": "A planet."}
    write(tmp_path, "instruct/alpaca_en_demo.jsonl", *[record] * 3)
    write(tmp_path, "instruct/alpaca_zh_demo.jsonl", record)
    assert texts(first(tmp_path, "alpaca")) == ["Name it.\nJupiter", "A planet."]


def test_translations_go_from_english_into_each_language(tmp_path: Path) -> None:
    folder = tmp_path / "text_tasks/multi30k"
    folder.mkdir(parents=True)
    for code, line in {"en": "A dog", "cs": "Pes", "de": "Ein Hund", "fr": "Un chien"}.items():
        (folder / f"train.{code}").write_text(f"{line}\n{line}\n")
    assert texts(first(tmp_path, "multi30k")) == ["Translate into Czech: A dog", "Pes"]


def test_one_record_in_fifty_is_for_evaluation(tmp_path: Path) -> None:
    records = [{"problem": str(i), "solution": str(i)} for i in range(100)]
    write(tmp_path, "math/train.jsonl", *records)
    splits = [TextTask("math").open(tmp_path, split) for split in ("train", "eval")]
    assert [len(source) for source in splits] == [98, 2]
    asked = [
        {texts(source.document(i, np.random.default_rng(0)))[0] for i in range(len(source))}
        for source in splits
    ]
    assert not asked[0] & asked[1]


def test_a_record_of_another_set_is_refused_with_its_line(tmp_path: Path) -> None:
    write(tmp_path, "gsm8k/train.jsonl", *[{"problem": "1"}] * 3)
    with pytest.raises(ValueError, match=r"gsm8k/train.jsonl, line \d: not a record of 'gsm8k'"):
        first(tmp_path, "gsm8k")


def test_a_set_that_is_not_there_is_refused(tmp_path: Path) -> None:
    for name in ("boolq", "multi30k"):
        with pytest.raises(ValueError, match="looked for .*train.* and found none"):
            TextTask(name).open(tmp_path, "train")


def test_an_empty_set_is_refused(tmp_path: Path) -> None:
    write(tmp_path, "math/train.jsonl")
    with pytest.raises(ValueError, match="no record of 'math'"):
        TextTask("math").open(tmp_path, "train")
