"""A run that is copied to a bucket goes on from there, and what is there is whole or not there."""

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem
from train.small import NOWHERE, TEXT

from castor.checkpoint import HEAD, checkpoints, place
from castor.checkpoint.bucket import Bucket
from castor.train import meter
from castor.train.optim import AdamW
from castor.train.run import train

RECIPE = replace(TEXT, optimizer=AdamW(), steps=3, save_every=1)


@pytest.fixture(autouse=True)
def known_peak(monkeypatch: pytest.MonkeyPatch) -> None:
    """Measuring the machine takes a second."""
    monkeypatch.setattr(meter, "peak_flops", lambda precision: 1e12)


@pytest.fixture
def address() -> Iterator[str]:
    """An empty bucket in memory."""
    MemoryFileSystem.store.clear()
    yield "memory://bucket/run"
    MemoryFileSystem.store.clear()


def names() -> set[str]:
    """What is in the bucket, without the files of states."""
    found = MemoryFileSystem().find("/bucket/run")
    return {path.removeprefix("/bucket/run/") for path in found if "/state/" not in path}


def saved(out: Path, *steps: int) -> None:
    """Something that is named as a checkpoint is."""
    for step in steps:
        folder = place(out, step)
        (folder / "state" / "d").mkdir(parents=True)
        (folder / "state" / "d" / "0").write_bytes(bytes([step]) * 1000)
        (folder / HEAD).write_text(str(step))


@pytest.mark.slow
def test_a_run_goes_on_from_a_bucket_to_the_same_bits(tmp_path: Path, address: str) -> None:
    told: list[str] = []
    train(replace(RECIPE, steps=2), data=NOWHERE, out=tmp_path / "one", bucket=Bucket(address))
    assert {"recipe.json", "vocab.model", "metrics.jsonl", "curves.png"} <= names()
    assert {f"step_00000{n}/{HEAD}" for n in (1, 2)} <= names()
    assert not any(name.startswith((".", "ledger", "log_")) for name in names())

    MemoryFileSystem().rm_file("/bucket/run/recipe.json")  # which is of one step fewer
    again = train(RECIPE, data=NOWHERE, out=tmp_path / "two", bucket=Bucket(address, told.append))
    whole = train(RECIPE, data=NOWHERE, out=tmp_path / "whole")
    assert [line for line in told if "taking" in line] == [
        f"taking {tmp_path / 'two'} up from step 2 in {address}"
    ]
    name = "weights.safetensors"
    assert (again / name).read_bytes() == (whole / name).read_bytes()
    assert {f"step_00000{n}/{HEAD}" for n in (2, 3)} <= names()
    assert f"step_000001/{HEAD}" not in names()  # as in the folder


def test_what_is_newer_here_is_not_replaced(tmp_path: Path, address: str) -> None:
    saved(tmp_path, 5)
    bucket = Bucket(address)
    assert bucket.sync(tmp_path)
    saved(tmp_path, 7)
    shutil.rmtree(place(tmp_path, 5))
    bucket.fetch(tmp_path)
    assert checkpoints(tmp_path) == [place(tmp_path, 7)]


def test_half_a_checkpoint_is_none(
    tmp_path: Path, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that is killed at any file, while it copies or removes."""
    told: list[str] = []
    saved(tmp_path / "here", 5)
    bucket = Bucket(address, told.append)
    assert bucket.sync(tmp_path / "here")
    saved(tmp_path / "here", 6)
    put = MemoryFileSystem.put_file

    def cut(self: Any, source: str, target: str, **more: Any) -> None:
        if target.endswith(f"step_000006/{HEAD}"):
            raise ConnectionError("the network is away")
        put(self, source, target, **more)

    monkeypatch.setattr(MemoryFileSystem, "put_file", cut)
    assert not bucket.sync(tmp_path / "here")
    assert told == [f"{tmp_path / 'here'} could not be copied to {address}: the network is away"]
    with pytest.raises(OSError, match="is whole, but its end could not be copied"):
        bucket.finish(tmp_path / "here")
    Bucket(address).fetch(tmp_path / "there")
    assert [path.name for path in checkpoints(tmp_path / "there")] == ["step_000005"]

    monkeypatch.undo()
    shutil.rmtree(place(tmp_path / "here", 5))
    monkeypatch.setattr(MemoryFileSystem, "rm", cut)  # called otherwise: a TypeError, as good as
    assert not bucket.sync(tmp_path / "here")
    Bucket(address).fetch(tmp_path / "third")
    assert [path.name for path in checkpoints(tmp_path / "third")] == ["step_000006"]
    assert (place(tmp_path / "third", 6) / "state/d/0").read_bytes() == bytes([6]) * 1000


def test_files_are_copied_again_only_when_they_have_changed(
    tmp_path: Path, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    put, copied = MemoryFileSystem.put_file, []

    def counted(self: Any, source: str, target: str, **more: Any) -> None:
        copied.append(Path(source).name)
        put(self, source, target, **more)

    monkeypatch.setattr(MemoryFileSystem, "put_file", counted)
    saved(tmp_path, 1)
    (tmp_path / "vocab.model").write_text("a")
    bucket = Bucket(address)
    bucket.sync(tmp_path)
    assert sorted(copied) == ["0", HEAD, "vocab.model"]
    copied.clear()
    (tmp_path / "metrics.jsonl").write_text("b")
    bucket.sync(tmp_path)
    assert copied == ["metrics.jsonl"]


def test_a_folder_is_a_bucket_too(tmp_path: Path) -> None:
    saved(tmp_path / "run", 3)
    bucket = Bucket(f"file://{tmp_path}/far/away")
    assert bucket.sync(tmp_path / "run")
    Bucket(f"file://{tmp_path}/far/away").fetch(tmp_path / "again")
    assert (place(tmp_path / "again", 3) / HEAD).read_text() == "3"
    assert bucket.below("codec") and (tmp_path / "far/away/codec").is_dir()


def test_one_without_permission_is_refused(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(*_: Any, **__: Any) -> None:
        raise PermissionError("403 Forbidden\nand a page of HTML")

    monkeypatch.setattr(MemoryFileSystem, "pipe_file", forbidden)
    with pytest.raises(ValueError, match=r"cannot be written to .*: 403 Forbidden; name"):
        Bucket(address)


def test_one_that_gives_back_something_else_is_refused(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(MemoryFileSystem, "cat_file", lambda *_, **__: b"")
    with pytest.raises(ValueError, match="gives back something else"):
        Bucket(address)


def test_an_address_of_no_kind_is_refused() -> None:
    with pytest.raises(ValueError, match="nowhere://x cannot be opened: Protocol not known"):
        Bucket("nowhere://x")
    if "s3" not in fsspec.available_protocols():
        pytest.fail("fsspec knows s3, whether or not its package is there")


def test_one_that_cannot_be_read_is_an_error(
    tmp_path: Path, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved(tmp_path / "run", 3)
    bucket = Bucket(address)
    bucket.sync(tmp_path / "run")

    def away(*_: Any, **__: Any) -> None:
        raise TimeoutError

    monkeypatch.setattr(MemoryFileSystem, "get_file", away)
    with pytest.raises(OSError, match="bucket/run cannot be read: TimeoutError"):
        bucket.fetch(tmp_path / "again")
    assert not checkpoints(tmp_path / "again")
