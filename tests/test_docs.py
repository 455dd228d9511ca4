"""What the pages show in code is code that runs."""

import json
import re
import shlex
from inspect import unwrap
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from castor.cli import parser
from castor.cli.recipes import chosen
from castor.core.media import png
from castor.data.folders import Jsonl
from castor.data.mixture import Part
from castor.evals.suite import held_out

DOCS = Path(__file__).parents[1] / "docs"
NAMES = """
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from castor.core.content import Document
from castor.data.index import Record, Shelf, read_index
from castor.data.source import Choice, Listed, Source, Split, answered
from castor.evals import protocols
from castor.evals.benchmark import Benchmark
"""


@pytest.fixture
def defined() -> dict[str, Any]:
    """What the code on the page on extensions defines, from top to bottom."""
    page = (DOCS / "extend.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    assert len(blocks) == 2
    names: dict[str, Any] = {"held_out": unwrap(held_out)}  # `SourceSpec` does not name Receipts
    exec("\n".join([NAMES, *blocks]), names)
    return names


def test_the_source_and_the_benchmark_of_the_page_work(
    defined: dict[str, Any], tmp_path: Path
) -> None:
    folder = tmp_path / "image/receipts"
    folder.mkdir(parents=True)
    (folder / "a.png").write_bytes(png(np.zeros((20, 30, 3), np.uint8)))
    record = {"split": "eval", "file": "a.png", "total": "3.50"}
    (folder / "index.jsonl").write_text(json.dumps(record) + "\n")
    (problem,) = defined["RECEIPTS"].problems(tmp_path)
    assert problem.answer == "3.50"
    assert problem.prompt.turns[0].parts[1].text == "How much is due?"


def test_the_command_of_the_page_learns_from_a_folder_of_ones_own() -> None:
    page = (DOCS / "data.md").read_text(encoding="utf-8")
    found = re.findall(r"^castor (train .*?)$\n^(?:```|castor)", page, re.DOTALL | re.MULTILINE)
    tune, train = (parser().parse_args(shlex.split(x.replace("\\\n", ""))) for x in found)
    assert (tune.recipe, tune.start) == ("finetune", "MODEL")
    recipe = chosen(train.recipe, train.set)
    assert (recipe.name, recipe.mixture.parts) == ("mine", (Part(Jsonl("mine"), 1.0),))
