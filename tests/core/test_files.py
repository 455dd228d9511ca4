"""Files appear whole or not at all; slices are exact; buckets go through fsspec."""

import os
import stat
import sys
from pathlib import Path

import fsspec
import pytest

from castor.core import files
from castor.core.files import folder_aside, read_bytes, write_atomic


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_what_is_written_is_read(tmp_path: Path) -> None:
    write_atomic(tmp_path / "deep" / "er" / "a.bin", b"\0\1")
    assert read_bytes(tmp_path / "deep" / "er" / "a.bin") == b"\0\1"
    assert read_bytes(f"{tmp_path}/deep/er/a.bin") == b"\0\1"


def test_a_file_is_replaced_and_nothing_is_left_beside_it(tmp_path: Path) -> None:
    write_atomic(tmp_path / "a.bin", b"old")
    write_atomic(tmp_path / "a.bin", b"new")
    assert read_bytes(tmp_path / "a.bin") == b"new"
    assert names(tmp_path) == ["a.bin"]


def test_others_may_read_what_is_written(tmp_path: Path) -> None:
    write_atomic(tmp_path / "a.bin", b"")
    with folder_aside(tmp_path / "run") as aside:
        (aside / "b.bin").write_bytes(b"")
    assert stat.S_IMODE((tmp_path / "a.bin").stat().st_mode) == 0o644
    assert stat.S_IMODE((tmp_path / "run").stat().st_mode) == 0o755


def test_a_write_that_fails_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    write_atomic(tmp_path / "a.bin", b"old")
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_atomic(tmp_path / "a.bin", b"new")
    assert names(tmp_path) == ["a.bin"]
    assert read_bytes(tmp_path / "a.bin") == b"old"


@pytest.mark.parametrize("name", ["a.bin", "a b #1.bin", "*?[x].bin", "a::b.bin", "ä▁.bin"])
def test_names_are_taken_as_they_are(tmp_path: Path, name: str) -> None:
    write_atomic(tmp_path / name, b"0123456789")
    assert read_bytes(tmp_path / name) == b"0123456789"
    assert read_bytes(f"{tmp_path}/{name}#3,4") == b"3456"


def test_a_slice_may_be_empty_or_the_whole_file(tmp_path: Path) -> None:
    write_atomic(tmp_path / "a.bin", b"0123456789")
    assert read_bytes(f"{tmp_path}/a.bin#10,0") == b""
    assert read_bytes(f"{tmp_path}/a.bin#0,10") == b"0123456789"


def test_a_slice_beyond_the_end_is_refused(tmp_path: Path) -> None:
    write_atomic(tmp_path / "a.bin", b"0123456789")
    with pytest.raises(ValueError, match="a.bin ends before byte 11; the slice asks for 2 bytes"):
        read_bytes(f"{tmp_path}/a.bin#9,2")


def test_a_negative_slice_is_no_slice(tmp_path: Path) -> None:
    write_atomic(tmp_path / "a.bin", b"0123456789")
    with pytest.raises(FileNotFoundError):
        read_bytes(f"{tmp_path}/a.bin#-1,2")


def test_a_file_that_is_not_there_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_bytes(tmp_path / "none")


def test_buckets_are_read_and_written_like_files() -> None:
    write_atomic("memory://bucket/a.bin", b"0123456789")
    assert read_bytes("memory://bucket/a.bin") == b"0123456789"
    assert read_bytes("memory://bucket/a.bin#2,3") == b"234"
    assert fsspec.filesystem("memory").exists("/bucket/a.bin")


@pytest.mark.parametrize(
    ("address", "package"), [("s3://bucket/a.png", "s3fs"), ("gs://bucket/a.png", "gcsfs")]
)
def test_a_bucket_whose_package_is_wanting_is_refused(
    address: str, package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    sentence = f"{address} cannot be opened: .*nstall {package}"
    with pytest.raises(ValueError, match=sentence):
        read_bytes(address)
    with pytest.raises(ValueError, match=sentence):
        write_atomic(address, b"")


def test_a_folder_appears_when_it_is_complete(tmp_path: Path) -> None:
    with folder_aside(tmp_path / "runs" / "step") as aside:
        assert aside.parent == tmp_path / "runs"
        (aside / "inner").mkdir()
        (aside / "inner" / "a").write_bytes(b"1")
        assert not (tmp_path / "runs" / "step").exists()
    assert (tmp_path / "runs" / "step" / "inner" / "a").read_bytes() == b"1"
    assert names(tmp_path / "runs") == ["step"]


def test_a_folder_replaces_the_one_before_it_whole(tmp_path: Path) -> None:
    for name in ("old", "new"):
        with folder_aside(tmp_path / "run") as aside:
            (aside / name).write_bytes(b"")
    assert names(tmp_path / "run") == ["new"]
    assert names(tmp_path) == ["run"]


@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
def test_a_folder_that_fails_leaves_the_old_one(tmp_path: Path, error: type[BaseException]) -> None:
    with folder_aside(tmp_path / "run") as aside:
        (aside / "old").write_bytes(b"")
    with pytest.raises(error), folder_aside(tmp_path / "run") as aside:
        (aside / "new").write_bytes(b"")
        raise error
    assert names(tmp_path / "run") == ["old"]
    assert names(tmp_path) == ["run"]


def test_a_rename_that_fails_brings_the_old_folder_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with folder_aside(tmp_path / "run") as aside:
        (aside / "old").write_bytes(b"")
    replace = os.replace

    def failing(source: Path, target: Path) -> None:
        if target == tmp_path / "run" and "was" not in Path(source).name:
            raise OSError(5, "Input/output error")
        replace(source, target)

    monkeypatch.setattr(files.os, "replace", failing)
    with (
        pytest.raises(OSError, match="Input/output error"),
        folder_aside(tmp_path / "run") as aside,
    ):
        (aside / "new").write_bytes(b"")
    assert names(tmp_path / "run") == ["old"]
    assert names(tmp_path) == ["run"]
