"""The formats that people bring, and what is said when something is wrong with them."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from castor.core.content import Document, Media, Text
from castor.core.media import open_image, open_video, png, wav
from castor.core.wire import to_wire
from castor.data.folders import ImageText, Jsonl, SpeechText, TextFolder, VideoText

RNG = np.random.default_rng(0)
RED = png(np.full((6, 8, 3), (255, 0, 0), np.uint8))


def lines(path: Path, *records: dict[str, Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


def asked(*parts: dict[str, Any]) -> dict[str, Any]:
    answer = {"role": "model", "parts": [{"text": "ok"}]}
    return {"contents": [{"role": "user", "parts": list(parts)}, answer]}


def test_a_line_is_the_document_that_was_written(tmp_path: Path) -> None:
    document = Document.of(Media("image/png", RED), "What?", origin="me").then("Red ▁ \0 ünï")
    lines(tmp_path / "own/train.jsonl", to_wire(document), to_wire(Document.of("x").then("y")))
    source = Jsonl("own").open(tmp_path, "train")
    assert len(source) == 2
    assert source.document(0, RNG) == document
    assert source.document(1, RNG).origin == "train.jsonl#2"


def test_media_lie_beside_the_file_whole_or_as_slices(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(RED)
    (tmp_path / "media.bin").write_bytes(b"xx" + RED + b"yy")
    cut = {"fileUri": f"media.bin#2,{len(RED)}", "mimeType": "image/png"}
    path = lines(
        tmp_path / "train.jsonl",
        asked({"fileData": {"fileUri": "a.png"}}),
        asked({"fileData": cut}),
    )
    source = Jsonl(str(path)).open(tmp_path / "elsewhere", "train")
    for i in range(2):
        assert source.document(i, RNG).turns[0].parts == (Media("image/png", RED),)


def test_lines_go_to_the_split_that_they_or_their_file_name(tmp_path: Path) -> None:
    lines(
        tmp_path / "own/train.jsonl", asked({"text": "a"}), asked({"text": "b"}) | {"split": "dev"}
    )
    lines(tmp_path / "own/eval.jsonl", asked({"text": "c"}))
    train, evaluation = (Jsonl("own").open(tmp_path, split) for split in ("train", "eval"))
    assert (len(train), len(evaluation)) == (1, 2)


def test_a_share_of_lines_that_nothing_sorts_is_held_out_by_their_hash(tmp_path: Path) -> None:
    every = [asked({"text": f"number {i}"}) for i in range(400)]
    lines(tmp_path / "own/docs.jsonl", *every)
    lines(tmp_path / "turned/docs.jsonl", *every[::-1])

    def held(path: str, split: str) -> set[str]:
        source = Jsonl(path, held_out=0.1).open(tmp_path, split)
        return {str(source.document(i, RNG).turns) for i in range(len(source))}

    assert 20 <= len(held("own", "eval")) <= 60
    assert held("own", "eval") == held("turned", "eval")
    assert not held("own", "eval") & held("own", "train")
    assert len(held("own", "eval")) + len(held("own", "train")) == 400


@pytest.mark.parametrize(("count", "parts"), [(1, (1, 0)), (2, (1, 1)), (3, (2, 1))])
def test_of_several_lines_at_least_one_is_held_out_and_never_all(
    count: int, parts: tuple[int, int], tmp_path: Path
) -> None:
    lines(tmp_path / "own.jsonl", *(asked({"text": str(i)}) for i in range(count)))
    source = Jsonl("own.jsonl", held_out=1e-9)
    assert len(source.open(tmp_path, "train")) == parts[0]
    if parts[1]:
        assert len(source.open(tmp_path, "eval")) == parts[1]


def test_what_a_line_or_a_name_says_goes_before_the_hash(tmp_path: Path) -> None:
    lines(tmp_path / "own.jsonl", *(asked({"text": str(i)}) for i in range(9)))
    lines(tmp_path / "said.jsonl", asked({"text": "a"}) | {"split": "dev"}, asked({"text": "b"}))
    for held_out in (0.0, 0.9):
        assert len(Jsonl("said.jsonl", held_out=held_out).open(tmp_path, "eval")) == 1
    with pytest.raises(ValueError, match="has no line for the split 'eval'"):
        Jsonl("own.jsonl").open(tmp_path, "eval")
    with pytest.raises(ValueError, match="Jsonl.held_out=2 must be from 0 to 1"):
        Jsonl("own.jsonl", held_out=2)


@pytest.mark.parametrize("name", ["eval/x.jsonl", "test.jsonl", "deep/dev/x.jsonl"])
def test_lines_without_a_split_are_for_training_unless_a_name_says_otherwise(
    name: str, tmp_path: Path
) -> None:
    lines(tmp_path / "own/docs.jsonl", asked({"text": "a"}))
    lines(tmp_path / "own" / name, asked({"text": "b"}), asked({"text": "c"}) | {"split": "train"})
    for split, wanted in (("train", {"a", "c"}), ("eval", {"b"})):
        source = Jsonl("own").open(tmp_path, split)
        said = {source.document(i, RNG).turns[0].parts for i in range(len(source))}
        assert said == {(Text(text),) for text in wanted}


def test_the_pictures_of_model_turns_are_found(tmp_path: Path) -> None:
    document = Document.of(Media("image/png", RED), "Again").then("Here", Media("image/png", RED))
    lines(tmp_path / "train.jsonl", to_wire(document))
    source = Jsonl("train.jsonl").open(tmp_path, "train")
    assert [picture.data for picture in source.pictures()] == [RED]


def test_a_split_that_is_no_word_is_refused_with_what_to_write(tmp_path: Path) -> None:
    lines(tmp_path / "docs.jsonl", asked({"text": "a"}), asked({"text": "b"}) | {"split": 1})
    with pytest.raises(ValueError, match='docs.jsonl, line 2: "split" is 1; write "train", "eval"'):
        Jsonl("docs.jsonl").open(tmp_path, "train")


def test_a_line_that_is_no_document_is_refused_with_its_number(tmp_path: Path) -> None:
    lines(tmp_path / "train.jsonl", asked({"text": "a"}), {"contents": "words"})
    source = Jsonl("train.jsonl").open(tmp_path, "train")
    with pytest.raises(ValueError, match="train.jsonl, line 2: "):
        source.document(1, RNG)


def test_a_medium_that_is_not_there_is_refused_with_the_line(tmp_path: Path) -> None:
    lines(tmp_path / "train.jsonl", asked({"fileData": {"fileUri": "gone.png"}}))
    with pytest.raises(ValueError, match="train.jsonl, line 1: .*gone.png"):
        Jsonl("train.jsonl").open(tmp_path, "train").document(0, RNG)


def test_a_folder_without_lines_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="'own' looked for .*own and found nothing there"):
        Jsonl("own").open(tmp_path, "train")
    (tmp_path / "own").mkdir()
    with pytest.raises(ValueError, match="holds no .jsonl file"):
        Jsonl("own").open(tmp_path, "train")
    lines(tmp_path / "own/train.jsonl", asked({"text": "a"}))
    with pytest.raises(ValueError, match="no line for the split 'eval'"):
        Jsonl("own").open(tmp_path, "eval")


def test_a_text_folder_is_read_with_all_below_it(tmp_path: Path) -> None:
    for name in ("a.txt", "deep/b.md", "eval/c.txt", "d.bin"):
        path = tmp_path / "texts" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    for split, wanted in (("train", {"a.txt", "deep/b.md"}), ("eval", {"eval/c.txt"})):
        source = TextFolder("texts").open(tmp_path, split)
        found = {source.document(i, RNG).turns[0].parts[0] for i in range(len(source))}
        assert found == {Text(name) for name in wanted}


def test_a_text_folder_without_texts_is_refused(tmp_path: Path) -> None:
    (tmp_path / "texts").mkdir()
    with pytest.raises(ValueError, match="no .txt or .md file for the split 'train'"):
        TextFolder("texts").open(tmp_path, "train")
    (tmp_path / "a.txt").write_text("x")
    with pytest.raises(ValueError, match="a.txt is a file"):
        TextFolder("a.txt").open(tmp_path, "train")


def test_pictures_with_words_beside_them_are_described_or_drawn(tmp_path: Path) -> None:
    (tmp_path / "own").mkdir()
    (tmp_path / "own/a.png").write_bytes(RED)
    (tmp_path / "own/a.txt").write_text("a red thing\n")
    described = ImageText("own").open(tmp_path, "train").document(0, RNG)
    assert described.turns[1].parts == (Text("a red thing"),)
    source = ImageText("own", task="draw").open(tmp_path, "train")
    drawn = source.document(0, RNG)
    assert "a red thing" in str(drawn.turns[0].parts[0])
    picture = drawn.turns[1].parts[0]
    assert isinstance(picture, Media) and [p.data for p in source.pictures()] == [picture.data]
    assert open_image(picture.data, picture.mime).shape == (64, 64, 3)


@pytest.mark.parametrize("index", ["captions.jsonl", "metadata.jsonl"])
def test_captions_may_stand_in_one_file_with_several_wordings(tmp_path: Path, index: str) -> None:
    lines(
        tmp_path / "own" / index,
        {"file_name": "a.png", "captions": ["one", "two"]},
        {"file_name": "a.png", "text": "three", "split": "test"},
    )
    (tmp_path / "own/a.png").write_bytes(RED)
    source = ImageText("own").open(tmp_path, "train")
    said = {source.document(0, np.random.default_rng(i)).turns[1].parts[0] for i in range(20)}
    assert said == {Text("one"), Text("two")}
    assert len(ImageText("own").open(tmp_path, "eval")) == 1


def test_speech_comes_with_what_is_said(tmp_path: Path) -> None:
    (tmp_path / "own").mkdir()
    (tmp_path / "own/a.wav").write_bytes(wav(np.zeros(800, np.float32)))
    (tmp_path / "own/a.txt").write_text("hello")
    document = SpeechText("own").open(tmp_path, "train").document(0, RNG)
    assert document.turns[1].parts == (Text("hello"),)


def test_clips_may_be_folders_of_frames_or_animations(tmp_path: Path) -> None:
    frames = [Image.fromarray(np.full((8, 8, 3), 60 * i, np.uint8)) for i in range(3)]
    (tmp_path / "own/walk").mkdir(parents=True)
    for i, frame in enumerate(frames):
        frame.save(tmp_path / f"own/walk/{i}.png")
    frames[0].save(tmp_path / "own/run.gif", save_all=True, append_images=frames[1:])
    for name in ("walk", "run"):
        (tmp_path / f"own/{name}.txt").write_text(name)
    source = VideoText("own").open(tmp_path, "train")
    for i in range(2):
        document = source.document(i, RNG)
        medium = document.turns[0].parts[0]
        assert isinstance(medium, Media)
        assert len(open_video(medium.data, medium.mime).frames) == 3
    assert len(source) == 2


def test_words_without_a_medium_and_media_without_words_are_refused(tmp_path: Path) -> None:
    (tmp_path / "own").mkdir()
    (tmp_path / "own/a.txt").write_text("words")
    with pytest.raises(ValueError, match="a.txt has no image of the same name beside it"):
        ImageText("own").open(tmp_path, "train")
    lines(tmp_path / "own/index.jsonl", {"file": "a.txt"})
    with pytest.raises(ValueError, match="line 1: the record has no words"):
        ImageText("own").open(tmp_path, "train")
    lines(tmp_path / "own/index.jsonl", {"file": "b.png", "text": "x"})
    with pytest.raises(ValueError, match="line 1: the medium .*b.png is missing"):
        ImageText("own").open(tmp_path, "train")
    lines(tmp_path / "own/index.jsonl", {"text": "x"})
    with pytest.raises(ValueError, match="names no medium"):
        ImageText("own").open(tmp_path, "train")
    lines(tmp_path / "own/index.jsonl")
    with pytest.raises(ValueError, match="no image with words beside it for the split 'train'"):
        ImageText("own").open(tmp_path, "train")
