"""Made clips: the answer is read back from the pixels by other means than it was drawn with."""

from pathlib import Path

import numpy as np
import pytest
from jaxtyping import Float32

from castor.core.content import Document, Media, Text
from castor.core.media import open_video
from castor.data.clips import FRAMES, MovingEmoji, Strokes, _corner

Frames = Float32[np.ndarray, "F h w 3"]


def frames_of(document: Document) -> Frames:
    medium = document.turns[0].parts[0]
    assert isinstance(medium, Media)
    return open_video(medium.data, medium.mime).frames.astype(np.float32)


def answer_of(document: Document) -> str:
    part = document.turns[1].parts[0]
    assert isinstance(part, Text)
    return part.text


def ink(frames: Frames) -> list[Float32[np.ndarray, "n 2"]]:
    """The (x, y) of pixels that are not ground, by frame; the ground is the commonest colour."""
    colours, counts = np.unique(frames.reshape(-1, 3), axis=0, return_counts=True)
    ground = colours[counts.argmax()]
    return [
        np.argwhere(np.abs(frame - ground).sum(-1) > 30)[:, ::-1].astype(np.float32)
        for frame in frames
    ]


def documents(data: Path, kind: str, split: str, *, count: int = 30) -> list[Document]:
    source = MovingEmoji().open(data, split)
    found: list[Document] = []
    for seed in range(250):
        document = source.document(seed % len(source), np.random.default_rng(seed))
        if kind in document.tags:
            found.append(document)
        if len(found) == count:
            break
    return found


@pytest.mark.parametrize("split", ["train", "eval"])
def test_directions_are_where_the_middle_goes(data: Path, split: str) -> None:
    seen = set()
    for document in documents(data, "direction", split):
        middles = np.array([points.mean(0) for points in ink(frames_of(document))])
        across, down = middles[-1] - middles[0]
        if abs(across) > abs(down):
            wanted = "right" if across > 0 else "left"
        else:
            wanted = "down" if down > 0 else "up"
        assert answer_of(document) == wanted
        seen.add(wanted)
    assert split == "eval" or seen == {"left", "right", "up", "down"}


def test_counts_are_the_frames_that_are_not_empty(data: Path) -> None:
    for document in documents(data, "count", "train"):
        shown = sum(len(points) > 0 for points in ink(frames_of(document)))
        assert answer_of(document) == str(shown)


def test_sizes_are_how_far_the_ink_reaches(data: Path) -> None:
    for document in documents(data, "size", "train"):
        reach = [np.ptp(points, axis=0).max() for points in ink(frames_of(document))]
        assert answer_of(document) == ("it grows" if reach[-1] > reach[0] else "it shrinks")


def test_orders_begin_where_the_first_ink_is(data: Path) -> None:
    for document in documents(data, "order", "train"):
        frames = frames_of(document)
        first = next(points for points in ink(frames) if len(points))
        middle = first.mean(0) - frames.shape[1] / 2
        sides = {"left": -middle[0], "right": middle[0], "top": -middle[1], "bottom": middle[1]}
        assert sides[answer_of(document)] > 0


def test_turns_are_seen_by_turning_back(data: Path) -> None:
    from PIL import Image

    right = 0
    found = documents(data, "turn", "train")
    for document in found:
        frames = frames_of(document)
        middle = ink(frames)[0].mean(0)

        def unlike(degrees: float, frames: Frames = frames, at: np.ndarray = middle) -> float:
            """How little the second frame is the first one turned clockwise."""
            first = Image.fromarray(frames[0].astype(np.uint8))
            turned = first.rotate(-degrees, Image.Resampling.BILINEAR, center=tuple(at.tolist()))
            return float(np.abs(np.asarray(turned, np.float32) - frames[1]).mean())

        clockwise = min(map(unlike, (25, 30, 35, 40, 45)))
        other = min(map(unlike, (-25, -30, -35, -40, -45)))
        right += answer_of(document) == ("clockwise" if clockwise < other else "counterclockwise")
    assert right >= 0.9 * len(found)  # turning small pictures back is not exact


def test_a_sprite_that_looks_the_same_when_turned_is_moved_instead(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("castor.data.clips.TURNABLE", 1e9)
    assert not documents(data, "turn", "train", count=1)


def test_evaluation_asks_every_question_of_every_sprite(data: Path) -> None:
    source = MovingEmoji().open(data, "eval")
    rng = np.random.default_rng(0)
    kinds = [source.document(i, rng).tags for i in range(len(source))]
    assert len(source) == 3 * len(MovingEmoji.asks)
    assert {kind for tags in kinds for kind in tags} == set(MovingEmoji.asks)


def test_sprites_of_training_never_move_in_evaluation(data: Path) -> None:
    def names(split: str) -> set[str]:
        source = MovingEmoji().open(data, split)
        rng = np.random.default_rng(0)
        origins = (source.document(i, rng).origin for i in range(len(source)))
        return {origin.rsplit("/", 1)[1] for origin in origins}

    assert names("train") and names("eval") and not names("train") & names("eval")


def test_strokes_grow_and_are_counted(data: Path) -> None:
    source = Strokes().open(data, "eval")
    for i in range(len(source)):
        document = source.document(i, np.random.default_rng(0))
        amounts = [len(points) for points in ink(frames_of(document))]
        assert len(amounts) == FRAMES and amounts == sorted(amounts) and amounts[-1] > 0
        if "count" in document.tags:
            number = (3, 7, 11)[i // 2]
            assert answer_of(document) == str(1 + number % 2)
        else:
            assert answer_of(document).startswith("top") and "left" in answer_of(document)


def test_corners_are_those_of_the_character_itself() -> None:
    assert _corner([[[80, 90, 0], [60, 60, 1]]]) == "bottom right"
    assert _corner([[[60, 90, 0], [80, 60, 1]]]) == "bottom left"
