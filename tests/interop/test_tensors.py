import json
import struct
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from castor.interop.tensors import INDEX, ONE, Described, places, read_into, write_folder

HELD = {
    "a": np.arange(6, dtype=np.float32).reshape(2, 3),
    "b": np.arange(4).astype(ml_dtypes.bfloat16),
    "c": np.zeros((3, 0), np.float16),
    "d": np.array(7, np.float32),
}


def described(tensors: dict[str, np.ndarray]) -> dict[str, Described]:
    return {n: Described(x.shape, x.dtype, lambda x=x: x) for n, x in tensors.items()}


def read(folder: Path) -> dict[str, np.ndarray]:
    found = {}
    for name, place in places(folder).items():
        found[name] = np.empty(place.shape, place.dtype)
        read_into(place, found[name])
    return found


def same(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> bool:
    return one.keys() == other.keys() and all(
        x.dtype == other[n].dtype and x.tobytes() == other[n].tobytes() for n, x in one.items()
    )


def retold(file: Path, change) -> None:
    """The file with another header over the same numbers."""
    data = file.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    head = json.loads(data[8 : 8 + length])
    text = json.dumps(change(head)).encode()
    file.write_bytes(struct.pack("<Q", len(text)) + text + data[8 + length :])


@pytest.fixture
def file(tmp_path: Path) -> Path:
    write_folder(tmp_path, described(HELD), most_bytes=10**9)
    return tmp_path / ONE


def test_what_is_written_is_read(file):
    assert same(read(file.parent), HELD)


def test_the_library_reads_what_we_write(file):
    assert same(load_file(file), HELD)


def test_we_read_what_the_library_writes(tmp_path):
    save_file(HELD, tmp_path / ONE)
    assert same(read(tmp_path), HELD)


def test_files_hold_no_more_than_they_may_unless_one_tensor_does(tmp_path):
    write_folder(tmp_path, described(HELD), most_bytes=12)
    index = json.loads((tmp_path / INDEX).read_text())
    assert index["metadata"]["total_size"] == 36
    assert index["weight_map"]["a"] == "model-00001-of-00002.safetensors"
    assert same(read(tmp_path), HELD)


def test_a_missing_file_is_named(tmp_path):
    write_folder(tmp_path, described(HELD), most_bytes=12)
    (tmp_path / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(
        ValueError, match=f"lacks model-00002-of-00002.safetensors, which its {INDEX}"
    ):
        places(tmp_path)


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"weight_map": 5}'])
def test_an_index_that_is_none_is_refused(tmp_path, text):
    (tmp_path / INDEX).write_text(text)
    with pytest.raises(ValueError, match=f"{INDEX} is no index of safetensors"):
        places(tmp_path)


def test_an_index_of_files_elsewhere_is_refused(tmp_path):
    (tmp_path / INDEX).write_text('{"weight_map": {"a": "../b.safetensors"}}')
    with pytest.raises(ValueError, match="names ../b.safetensors, which is not beside it"):
        places(tmp_path)


def test_a_folder_without_tensors_is_refused(tmp_path):
    with pytest.raises(ValueError, match=f"has neither {ONE} nor {INDEX}"):
        places(tmp_path)


@pytest.mark.parametrize("kept", [0, 7, 40])
def test_a_file_cut_within_its_header_is_refused(file, kept):
    file.write_bytes(file.read_bytes()[:kept])
    with pytest.raises(ValueError, match="is cut short, or is no safetensors file"):
        places(file.parent)


def test_a_file_cut_within_its_numbers_is_refused(file):
    file.write_bytes(file.read_bytes()[:-3])
    with pytest.raises(ValueError, match="is cut short: d ends 3 bytes behind it"):
        places(file.parent)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda head: [], "has a header that is none of safetensors"),
        (lambda head: {"a": 5}, "has a header that is none of safetensors"),
        (lambda head: {"a": {"dtype": "F32"}}, "has a header that is none of safetensors"),
        (lambda head: {"a": {**head["a"], "dtype": "F8_E4M3"}}, "a is of type F8_E4M3; we hold"),
        (lambda head: {"a": {**head["a"], "data_offsets": [-8, 16]}}, r"from \[-8, 16\], which is"),
        (lambda head: {"a": {**head["a"], "data_offsets": [0]}}, r"a lies from \[0\], which is no"),
        (lambda head: {"a": {**head["a"], "shape": [9]}}, r"a takes 24 bytes, not those of \[9\]"),
    ],
)  # fmt: skip
def test_a_header_that_does_not_fit_is_refused(file, change, sentence):
    retold(file, change)
    with pytest.raises(ValueError, match=sentence):
        places(file.parent)
