"""Indexed folders: what is read, what is kept, and what is refused."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from castor.core.media import open_image, open_sound, open_video, png, wav
from castor.data.index import Shelf, need, read_index, read_jsonl


def picture(side: int = 4) -> bytes:
    return png(np.full((side, side, 3), 99, np.uint8))


def folder_of(tmp_path: Path, *records: dict[str, Any]) -> Path:
    (tmp_path / "a.png").write_bytes(picture())
    lines = (json.dumps(record) + "\n" for record in records)
    (tmp_path / "index.jsonl").write_text("".join(lines))
    return tmp_path


def test_every_record_belongs_to_exactly_one_split(tmp_path: Path) -> None:
    splits = ["train", "eval", "train", "test", "dev"]
    folder_of(tmp_path, *({"file": "a.png", "split": s, "id": i} for i, s in enumerate(splits)))
    assert [r["id"] for r in read_index(tmp_path, "train")] == [0, 2]
    assert [r["id"] for r in read_index(tmp_path, "eval")] == [1, 3, 4]


def test_a_missing_folder_is_refused_with_its_path_and_where_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"looked for .*cifar10/index.jsonl.*from https://x.org"):
        read_index(tmp_path / "cifar10", "train", home="https://x.org")


def test_an_empty_index_is_refused(tmp_path: Path) -> None:
    (tmp_path / "index.jsonl").write_text("\n")
    with pytest.raises(ValueError, match="no record for the split 'train'"):
        read_index(tmp_path, "train")


def test_a_broken_line_is_refused_with_its_number(tmp_path: Path) -> None:
    good = json.dumps({"file": "a.png", "split": "train"})
    (tmp_path / "index.jsonl").write_text(f"{good}\n\n{{'file': 1\n")
    (tmp_path / "a.png").write_bytes(picture())
    with pytest.raises(ValueError, match="index.jsonl, line 3: no JSON"):
        read_index(tmp_path, "train")


def test_a_line_that_is_no_object_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.jsonl").write_text("[1, 2]\n")
    with pytest.raises(ValueError, match="line 1: a record is a JSON object"):
        list(read_jsonl(tmp_path / "x.jsonl"))


def test_a_missing_medium_is_refused_with_its_path(tmp_path: Path) -> None:
    folder_of(tmp_path, {"file": "b.png", "split": "train"})
    with pytest.raises(ValueError, match="line 1: the medium .*b.png is missing"):
        read_index(tmp_path, "train")


def test_a_record_without_a_split_is_refused(tmp_path: Path) -> None:
    folder_of(tmp_path, {"file": "a.png"})
    with pytest.raises(ValueError, match='line 1: the record has no "split"'):
        read_index(tmp_path, "train")


def test_a_record_without_a_medium_is_refused(tmp_path: Path) -> None:
    folder_of(tmp_path, {"caption": "x", "split": "train"})
    with pytest.raises(ValueError, match="names no medium"):
        read_index(tmp_path, "train")


def test_a_slice_past_the_end_is_refused(tmp_path: Path) -> None:
    folder_of(tmp_path, {"file": "a.png", "offset": 10, "length": 9999, "split": "train"})
    with pytest.raises(ValueError, match="bytes and the record asks for 10009"):
        read_index(tmp_path, "train")


def test_a_missing_field_is_refused_with_the_fields_there_are(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"'a.png' has no 'caption'; it has \['file'\]"):
        need({"file": "a.png"}, "caption", tmp_path)


def test_a_damaged_medium_is_refused_with_its_path(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(picture()[:40])
    with pytest.raises(ValueError, match="a.png: the bytes called image.png are no picture"):
        Shelf(tmp_path).medium({"file": "a.png"})


def test_pictures_are_decoded_once_and_no_larger_than_asked(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(png(np.zeros((40, 80, 3), np.uint8)))
    shelf = Shelf(tmp_path, side=20)
    medium = shelf.medium({"file": "a.png"})
    assert open_image(medium.data, medium.mime).shape == (10, 20, 3)
    assert shelf.medium({"file": "a.png"}) is medium


def test_pictures_to_be_enlarged_are_just_as_large_as_asked(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(picture(side=32))
    for side in (8, 96):
        medium = Shelf(tmp_path, side=side, enlarged=True).medium({"file": "a.png"})
        assert max(open_image(medium.data, medium.mime).shape[:2]) == side


def test_sounds_come_as_wav_at_16_khz(tmp_path: Path) -> None:
    samples = np.sin(np.arange(1600, dtype=np.float32))
    (tmp_path / "a.wav").write_bytes(wav(samples))
    medium = Shelf(tmp_path).medium({"file": "a.wav"})
    assert medium.mime == "audio/wav"
    np.testing.assert_allclose(open_sound(medium.data, medium.mime), samples, atol=1e-4)


def test_frames_are_spread_evenly_and_keep_their_times(tmp_path: Path) -> None:
    names = []
    for i in range(9):
        names.append(f"{i}.jpg")
        Image.fromarray(np.full((16, 16, 3), 20 * i, np.uint8)).save(tmp_path / names[-1])
    medium = Shelf(tmp_path, frames=3).medium({"frames": names})
    clip = open_video(medium.data, medium.mime)
    assert clip.times.tolist() == [0.0, 1.0, 2.0]
    assert [int(f.mean()) for f in clip.frames] == [0, 80, 160]


def test_media_beyond_the_room_are_decoded_again_with_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("castor.data.index.KEEP_BYTES", 10)
    (tmp_path / "a.png").write_bytes(picture())
    shelf = Shelf(tmp_path)
    first, second = (shelf.medium({"file": "a.png"}) for _ in range(2))
    assert first == second and first is not second
