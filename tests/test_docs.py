"""What the pages show in code is code that runs."""

import json
import re
from inspect import unwrap
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from castor.core.media import png
from castor.evals.suite import held_out

PAGE = Path(__file__).parents[1] / "docs" / "extend.md"
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
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
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
