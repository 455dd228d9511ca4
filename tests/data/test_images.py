"""Sources of pictures: what is asked, and what is drawn."""

import json
import random
import re
from pathlib import Path

import numpy as np
import pytest

from castor.core.content import Media, Text
from castor.core.media import open_image, png
from castor.data.images import EasyVqa, Emoji, Nlvr
from castor.data.playground import boxes
from castor.data.research import Flickr1k, Sroie, TabMwp


def test_two_questions_about_one_shape_never_answer_each_other(data: Path) -> None:
    source = EasyVqa(questions=2).open(data, "train")
    lengths = set()
    for seed in range(60):
        turns = source.document(seed % len(source), np.random.default_rng(seed)).turns
        asked = [p.text for t in turns[::2] for p in t.parts if isinstance(p, Text)]
        lengths.add(len(asked))
        if len(asked) == 2:
            about_colour = [bool(re.search("color|red", question)) for question in asked]
            assert sorted(about_colour) == [False, True]
    assert lengths == {1, 2}


@pytest.mark.parametrize(
    ("question", "topics"),
    [
        ("what color is the shape?", {"colour"}),
        ("is there not a blue shape in the image?", {"colour"}),
        ("what is the blue shape?", {"colour", "shape"}),
        ("what is the color of the circle?", {"colour", "shape"}),
        ("what shape is present?", {"shape"}),
        ("is no triangle present?", {"shape"}),
    ],
)
def test_a_question_is_known_by_what_it_asks_and_what_it_gives_away(
    question: str, topics: set[str]
) -> None:
    assert EasyVqa()._topics(question) == topics


def test_evaluation_asks_every_question_of_every_picture_alone(data: Path) -> None:
    source = EasyVqa().open(data, "eval")
    assert len(source) == 3 * 4
    documents = [source.document(i, np.random.default_rng(0)) for i in range(4)]
    assert all(len(document.turns) == 2 for document in documents)
    assert len({document.turns[0].parts[1] for document in documents}) == 4


def test_drawn_emoji_are_squares_of_64_pixels_on_white(data: Path) -> None:
    source = Emoji("draw").open(data, "train")
    part = source.document(0, np.random.default_rng(0)).turns[1].parts[0]
    assert isinstance(part, Media)
    pixels = open_image(part.data, part.mime)
    assert pixels.shape == (64, 64, 3)
    assert (pixels[:20] == 255).all()  # smaller ones are not enlarged, but put in the middle
    assert (pixels[40:] != 255).any()


def test_a_sentence_about_a_scene_ends_with_one_stop(data: Path) -> None:
    document = Nlvr().open(data, "eval").document(0, np.random.default_rng(0))
    assert document.turns[0].parts[1] == Text("There is box 3. True or false?")
    assert document.turns[1].parts == (Text("true"),)


def test_a_scene_is_as_large_as_those_of_the_playground(tmp_path: Path) -> None:
    world = boxes.towers(random.Random(0), "eval")
    folder = tmp_path / "image/nlvr"
    folder.mkdir(parents=True)
    (folder / "a.png").write_bytes(png(boxes.draw(world)))
    record = {"file": "a.png", "split": "eval", "id": "0", "sentence": "It is.", "label": "true"}
    (folder / "index.jsonl").write_text(json.dumps(record))
    scene = Nlvr().open(tmp_path, "eval").document(0, np.random.default_rng(0)).turns[0].parts[0]
    assert isinstance(scene, Media)
    assert (open_image(scene.data, scene.mime) == boxes.draw(world)).all()


def test_research_sets_read_their_published_fields(tmp_path: Path) -> None:
    records = {
        "flickr1k": {"captions": ["A dog .", "One dog ."]},
        "sroie": {"key": {"company": "ABC", "total": "9.00"}},
        "tabmwp": {"question": "How many?", "choices": ["1", "2"], "answer": "2", "unit": "cups"},
    }
    for name, record in records.items():
        folder = tmp_path / "image" / name
        folder.mkdir(parents=True)
        (folder / "a.png").write_bytes(png(np.zeros((8, 8, 3), np.uint8)))
        (folder / "index.jsonl").write_text(json.dumps({"file": "a.png", "split": "x", **record}))
    rng = np.random.default_rng(0)
    flickr = Flickr1k().open(tmp_path, "eval").document(0, rng)
    assert flickr.turns[1].parts == (Text("A dog ."),)
    receipts = Sroie().open(tmp_path, "eval")
    answers = [receipts.document(i, rng).turns[1].parts[0] for i in range(len(receipts))]
    assert answers == [Text("9.00"), Text("ABC")]
    table = TabMwp().open(tmp_path, "eval").document(0, rng)
    assert table.turns[0].parts[1] == Text("How many? Choose: 1, 2. (Unit: cups)")
