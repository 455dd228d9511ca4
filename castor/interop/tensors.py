"""Folders of safetensors, read and written one tensor at a time.

What a header promises is compared with the size of its file before anything is read.
"""

import json
import math
import struct
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import ml_dtypes
import numpy as np

ONE, INDEX = "model.safetensors", "model.safetensors.index.json"
DTYPES = {
    "F32": np.dtype(np.float32),
    "F16": np.dtype(np.float16),
    "BF16": np.dtype(ml_dtypes.bfloat16),
}
CODES = {dtype: code for code, dtype in DTYPES.items()}
LONGEST_HEADER = 100_000_000  # bytes, as in the safetensors library


class Place(NamedTuple):
    """Where a tensor lies in a file, and what it is."""

    file: Path
    start: int
    shape: tuple[int, ...]
    code: str  # of its type, e.g. "BF16"

    @property
    def dtype(self) -> np.dtype[Any]:
        """The type of its numbers."""
        return DTYPES[self.code]


@dataclass(frozen=True)
class Described:
    """A tensor to be written: its numbers are made when their turn comes."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    make: Callable[[], np.ndarray]

    @property
    def size(self) -> int:
        """Bytes."""
        return math.prod(self.shape) * self.dtype.itemsize


def places(folder: Path) -> dict[str, Place]:
    """Every tensor of a folder by its name; the numbers stay where they are.

    Raises:
        ValueError: there are none, a file is missing or cut short, or a type is none that we hold.
    """
    found: dict[str, Place] = {}
    for file in _files(folder):
        found |= _header(file)
    return found


def read_into(place: Place, out: np.ndarray) -> None:
    """The tensor's numbers, in the contiguous array of its shape and type."""
    with place.file.open("rb") as stream:
        stream.seek(place.start)
        view = memoryview(out.reshape(-1).view(np.uint8))
        assert stream.readinto(view) == len(view), f"{place.file} became shorter"


def write_folder(folder: Path, tensors: Mapping[str, Described], *, most_bytes: int) -> None:
    """Write the tensors in files of at most so many bytes each, and an index if there are several.

    Raises:
        OSError: they cannot be written.
    """
    files: list[dict[str, Described]] = [{}]
    for name, tensor in tensors.items():
        if files[-1] and sum(t.size for t in files[-1].values()) + tensor.size > most_bytes:
            files.append({})
        files[-1][name] = tensor
    if len(files) == 1:
        _write(folder / ONE, files[0])
        return
    table: dict[str, str] = {}
    for number, part in enumerate(files, 1):
        file = f"model-{number:05d}-of-{len(files):05d}.safetensors"
        _write(folder / file, part)
        table |= dict.fromkeys(part, file)
    total = sum(tensor.size for tensor in tensors.values())
    index = {"metadata": {"total_size": total}, "weight_map": table}
    (folder / INDEX).write_text(json.dumps(index, indent=2) + "\n")


def _files(folder: Path) -> Iterable[Path]:
    if (folder / INDEX).exists():
        try:
            names = sorted(set(json.loads((folder / INDEX).read_text())["weight_map"].values()))
        except (ValueError, KeyError, TypeError, AttributeError):
            raise ValueError(f"{folder / INDEX} is no index of safetensors") from None
        for name in names:
            if Path(name).name != name:
                raise ValueError(f"{folder / INDEX} names {name}, which is not beside it")
            if not (folder / name).is_file():
                raise ValueError(f"{folder} lacks {name}, which its {INDEX} names")
        return [folder / name for name in names]
    if not (folder / ONE).is_file():
        raise ValueError(f"{folder} has neither {ONE} nor {INDEX}")
    return [folder / ONE]


def _header(file: Path) -> dict[str, Place]:
    size = file.stat().st_size
    with file.open("rb") as stream:
        (length,) = struct.unpack("<Q", stream.read(8).ljust(8, b"\0"))
        if not 0 < length <= min(size - 8, LONGEST_HEADER):
            raise ValueError(f"{file} is cut short, or is no safetensors file")
        try:
            listed = json.loads(stream.read(length))
            listed.pop("__metadata__", None)
            return {name: _place(file, 8 + length, size, name, **of) for name, of in listed.items()}
        except (TypeError, AttributeError, UnicodeDecodeError, json.JSONDecodeError):
            raise ValueError(f"{file} has a header that is none of safetensors") from None


def _place(
    file: Path,
    data: int,
    size: int,
    name: str,
    *,
    dtype: str,
    shape: list[int],
    data_offsets: list[int],
) -> Place:
    if dtype not in DTYPES:
        raise ValueError(f"{file}: {name} is of type {dtype}; we hold {', '.join(DTYPES)}")
    if len(data_offsets) != 2 or not 0 <= data_offsets[0] <= data_offsets[1]:
        raise ValueError(f"{file}: {name} lies from {data_offsets}, which is no place")
    start, end = data_offsets
    if data + end > size:
        raise ValueError(f"{file} is cut short: {name} ends {data + end - size} bytes behind it")
    if end - start != math.prod(shape) * DTYPES[dtype].itemsize:
        raise ValueError(f"{file}: {name} takes {end - start} bytes, not those of {shape}")
    return Place(file, data + start, tuple(shape), dtype)


def _write(file: Path, tensors: Mapping[str, Described]) -> None:
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    at = 0
    for name, tensor in tensors.items():
        header[name] = {
            "dtype": CODES[tensor.dtype],
            "shape": list(tensor.shape),
            "data_offsets": [at, at + tensor.size],
        }
        at += tensor.size
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with file.open("wb") as stream:
        stream.write(struct.pack("<Q", len(text)) + text)
        for tensor in tensors.values():
            _append(stream, tensor)


def _append(stream: BinaryIO, tensor: Described) -> None:
    array = tensor.make()
    assert array.shape == tensor.shape and array.dtype == tensor.dtype
    stream.write(memoryview(np.ascontiguousarray(bits(array)).reshape(-1).view(np.uint8)))


def bits(array: np.ndarray) -> np.ndarray:
    """The same memory as integers: NumPy turns those several times faster than bfloat16."""
    return array.view(f"u{array.dtype.itemsize}")
