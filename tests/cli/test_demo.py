"""`castor demo`: examples of every form of the API are shown as a person would name their parts."""

import json
from pathlib import Path
from typing import Any

import pytest

from castor.cli.demo import read
from castor.core.content import Document, Media, Text, Turn
from castor.core.wire import to_wire

PIXEL = b"P6\n1 1\n255\n\xff\x00\x00"


def example(folder: Path, *parts: dict[str, Any], **more: Any) -> Path:
    """A file of one document: these parts, answered with words."""
    asked = {"role": "user", "parts": [*parts, {"text": "What is this?"}]}
    answer = {"role": "model", "parts": [{"text": "a pixel"}]}
    path = folder / "examples.jsonl"
    path.write_text(json.dumps({"contents": [asked, answer], **more}) + "\n", encoding="utf-8")
    return path


@pytest.mark.parametrize(
    "part",
    [{"fileData": {"fileUri": "pixel.ppm"}}, {"file_data": {"file_uri": "pixel.ppm"}}],
    ids=["camelCase", "snake_case"],
)
def test_a_file_is_shown_by_its_place(
    part: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "pixel.ppm").write_bytes(PIXEL)
    path = example(tmp_path, part)
    (found,) = read(path)
    assert found.asked == [f"you:       {tmp_path}/pixel.ppm", "you:       What is this?"]
    assert found.expected == "a pixel"
    monkeypatch.chdir(tmp_path)
    assert read(path)[0].asked[0] == "you:       pixel.ppm"


def test_what_has_no_file_is_shown_by_its_kind(tmp_path: Path) -> None:
    medium = Media("image/x-portable-pixmap", PIXEL)
    (turn,) = to_wire(Document((Turn("user", (medium,)),)))["contents"]
    call = {"functionCall": {"name": "zoom", "args": {}}}
    (found,) = read(example(tmp_path, *turn["parts"], call))
    assert found.asked[:2] == ["you:       [image/x-portable-pixmap]", "you:       [call zoom]"]
    assert found.document.turns[0].parts[0] == medium


def test_instructions_are_asked_with_but_not_shown(tmp_path: Path) -> None:
    (found,) = read(example(tmp_path, systemInstruction={"parts": [{"text": "Be brief."}]}))
    assert found.asked == ["you:       What is this?"]
    assert found.document.turns[0] == Turn("system", (Text("Be brief."),))


def test_a_part_of_no_known_form_is_refused(tmp_path: Path) -> None:
    path = example(tmp_path, {"image": "pixel.ppm"})
    with pytest.raises(ValueError, match=r"line 1: contents.0..parts.0. has .'image'.; a part has"):
        read(path)
