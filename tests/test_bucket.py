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
from castor.train.run import take_up, train

RECIPE = replace(TEXT, optimizer=AdamW(), steps=3, save_every=1)
ADDRESS = "memory://bucket/run"


@pytest.fixture(autouse=True)
def empty(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Before each test the bucket is empty; measuring the machine takes a second."""
    monkeypatch.setattr(meter, "peak_flops", lambda precision: 1e12)
    MemoryFileSystem.store.clear()
    yield
    MemoryFileSystem.store.clear()


def names() -> set[str]:
    """What is in the bucket, without the files of states."""
    found = MemoryFileSystem().find("/bucket")
    return {path.removeprefix("/bucket/run/") for path in found if "/state/" not in path}


def saved(out: Path, *steps: int) -> None:
    """Something that is named as a checkpoint is."""
    for step in steps:
        folder = place(out, step)
        (folder / "state" / "d").mkdir(parents=True)
        (folder / "state" / "d" / "0").write_bytes(bytes([step]) * 1000)
        (folder / HEAD).write_text(str(step))


def broken(monkeypatch: pytest.MonkeyPatch, method: str, error: Exception, at: str = "") -> None:
    """From now on a method of the store fails, where the last path that it is given ends so."""
    whole = getattr(MemoryFileSystem, method)

    def fails(self: Any, *given: Any, **more: Any) -> Any:
        if str([x for x in given if isinstance(x, str)][-1]).endswith(at):
            raise error
        return whole(self, *given, **more)

    monkeypatch.setattr(MemoryFileSystem, method, fails)


@pytest.mark.slow
def test_a_run_goes_on_from_a_bucket_to_the_same_bits(tmp_path: Path) -> None:
    told: list[str] = []
    bucket = Bucket(ADDRESS)
    train(replace(RECIPE, steps=2), data=NOWHERE, out=tmp_path / "one", bucket=bucket)
    bucket.finish(tmp_path / "one")
    assert {"recipe.json", "vocab.model", "metrics.jsonl", "curves.png"} <= names()
    assert {f"step_00000{n}/{HEAD}" for n in (1, 2)} <= names()
    assert not any(name.startswith((".", "ledger", "log_")) for name in names())

    MemoryFileSystem().rm_file("/bucket/run/recipe.json")  # which is of one step fewer
    bucket = Bucket(ADDRESS, told.append)
    take_up(RECIPE, bucket, tmp_path / "two")
    assert told == [f"taking {tmp_path / 'two'} up from step 2 in {ADDRESS}"]
    again = train(RECIPE, data=NOWHERE, out=tmp_path / "two", bucket=bucket)
    bucket.finish(tmp_path / "two")
    whole = train(RECIPE, data=NOWHERE, out=tmp_path / "whole")
    name = "weights.safetensors"
    assert (again / name).read_bytes() == (whole / name).read_bytes()
    assert {f"step_00000{n}/{HEAD}" for n in (2, 3)} <= names()
    assert f"step_000001/{HEAD}" not in names()  # as in the folder


def test_a_run_of_another_recipe_is_refused(tmp_path: Path) -> None:
    take_up(RECIPE, bucket := Bucket(ADDRESS), tmp_path / "run")
    saved(tmp_path / "run", 2)
    bucket.finish(tmp_path / "run")
    with pytest.raises(ValueError, match="bucket/run holds a run whose rows is 4 and not 2; name"):
        take_up(replace(RECIPE, rows=2), bucket, tmp_path / "other")
    assert not checkpoints(tmp_path / "other")
    take_up(RECIPE, bucket, tmp_path / "same")
    assert [path.name for path in checkpoints(tmp_path / "same")] == ["step_000002"]


def test_nothing_is_touched_that_is_not_the_runs(tmp_path: Path) -> None:
    others = {"/bucket/run/llama/config.json", "/bucket/run/step_old/config.json", "/bucket/x"}
    for path in others:
        MemoryFileSystem().pipe_file(path, b"{}")
    saved(tmp_path, 5)
    (bucket := Bucket(ADDRESS)).refuse()
    bucket.finish(tmp_path)
    shutil.rmtree(place(tmp_path, 5))
    saved(tmp_path, 6)
    bucket.finish(tmp_path)
    assert f"step_000006/{HEAD}" in names() and f"step_000005/{HEAD}" not in names()
    assert all(MemoryFileSystem().exists(path) for path in others)


def test_what_is_newer_is_kept_on_either_side(tmp_path: Path) -> None:
    saved(tmp_path / "far", 4, 5)
    (bucket := Bucket(ADDRESS)).finish(tmp_path / "far")
    saved(tmp_path / "near", 3)
    bucket.finish(tmp_path / "near")  # removes nothing that is further
    assert {f"step_00000{n}/{HEAD}" for n in (3, 4, 5)} <= names()
    assert bucket.fetch(tmp_path / "near")
    assert [path.name[-1] for path in checkpoints(tmp_path / "near")] == ["3", "4", "5"]
    saved(tmp_path / "near", 7)
    assert not bucket.fetch(tmp_path / "near")


def test_half_a_checkpoint_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that is cut off at a file, while it copies or removes."""
    told: list[str] = []
    saved(tmp_path / "here", 5)
    bucket = Bucket(ADDRESS, told.append)
    bucket.finish(tmp_path / "here")
    saved(tmp_path / "here", 6)
    broken(monkeypatch, "put_file", ConnectionError("it is away"), f"step_000006/{HEAD}")
    bucket.sync(tmp_path / "here")
    with pytest.raises(OSError, match="is whole, but could not be copied to .*: it is away; start"):
        bucket.finish(tmp_path / "here")
    assert told == [f"{tmp_path / 'here'} could not be copied to {ADDRESS}: it is away"]
    Bucket(ADDRESS).fetch(tmp_path / "there")
    assert [path.name for path in checkpoints(tmp_path / "there")] == ["step_000005"]

    monkeypatch.undo()
    shutil.rmtree(place(tmp_path / "here", 5))
    broken(monkeypatch, "rm", ConnectionError("it is away"))
    with pytest.raises(OSError, match="it is away"):
        bucket.finish(tmp_path / "here")
    Bucket(ADDRESS).fetch(tmp_path / "third")
    assert [path.name for path in checkpoints(tmp_path / "third")] == ["step_000006"]
    assert (place(tmp_path / "third", 6) / "state/d/0").read_bytes() == bytes([6]) * 1000

    monkeypatch.undo()
    bucket.finish(tmp_path / "here")
    assert not MemoryFileSystem().exists("/bucket/run/step_000005")


def test_files_are_copied_again_only_when_they_have_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put, copied = MemoryFileSystem.put_file, []

    def counted(self: Any, source: str, target: str, **more: Any) -> None:
        copied.append(target.removeprefix("/bucket/run/"))
        put(self, source, target, **more)

    monkeypatch.setattr(MemoryFileSystem, "put_file", counted)
    saved(tmp_path, 1)
    for name in ("vocab.model", "merged/model", "codec/vocab", ".lock", "log_1.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("a")
    (bucket := Bucket(ADDRESS)).finish(tmp_path)
    of_one = ["step_000001/state/d/0", f"step_000001/{HEAD}"]
    assert copied == ["vocab.model", "merged/model", *of_one]
    copied.clear()
    (tmp_path / "metrics.jsonl").write_text("b")
    bucket.finish(tmp_path)
    assert copied == ["metrics.jsonl"]


def test_a_folder_is_a_bucket_too_and_runs_within_runs_are_copied(tmp_path: Path) -> None:
    saved(tmp_path / "run", 3)
    saved(tmp_path / "run" / "codec", 4)
    (bucket := Bucket(f"file://{tmp_path}/far/away")).refuse()
    bucket.below("codec").sync(tmp_path / "run" / "codec")
    bucket.finish(tmp_path / "run")
    again = Bucket(f"file://{tmp_path}/far/away")
    assert again.fetch(tmp_path / "again")
    assert again.below("codec").fetch(tmp_path / "again" / "codec")
    assert (place(tmp_path / "again", 3) / HEAD).read_text() == "3"
    assert (place(tmp_path / "again" / "codec", 4) / HEAD).read_text() == "4"


@pytest.mark.parametrize("method", ["pipe_file", "cat_file", "rm_file", "ls"])
def test_one_without_permission_is_refused(monkeypatch: pytest.MonkeyPatch, method: str) -> None:
    broken(monkeypatch, method, PermissionError("403 Forbidden\nand a page of HTML"))
    with pytest.raises(ValueError, match=r"bucket/run cannot be .*: 403 Forbidden; name a bucket"):
        Bucket(ADDRESS).refuse()


def test_one_that_gives_back_something_else_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(MemoryFileSystem, "cat_file", lambda *_, **__: b"")
    with pytest.raises(ValueError, match="gives back something else"):
        Bucket(ADDRESS).refuse()


@pytest.mark.parametrize("address", ["", "/", "//"])
def test_an_address_of_nothing_is_refused(address: str) -> None:
    with pytest.raises(ValueError, match=f"'{address}' names no bucket"):
        Bucket(address)


def test_an_address_of_no_kind_is_refused() -> None:
    with pytest.raises(ValueError, match="nowhere://x cannot be opened: Protocol not known"):
        Bucket("nowhere://x")
    assert {"s3", "gs"} <= set(fsspec.available_protocols())  # whose packages may be wanting


@pytest.mark.parametrize("method", ["get_file", "ls", "cat_file"])
def test_one_that_cannot_be_read_is_an_error_unless_there_is_a_checkpoint_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    told: list[str] = []
    take_up(RECIPE, bucket := Bucket(ADDRESS, told.append), tmp_path / "run")
    saved(tmp_path / "run", 3)
    bucket.finish(tmp_path / "run")
    broken(monkeypatch, method, TimeoutError())
    with pytest.raises(OSError, match="bucket/run cannot be read: TimeoutError"):
        take_up(RECIPE, bucket, tmp_path / "again")
    assert not checkpoints(tmp_path / "again")
    saved(tmp_path / "again", 2)
    take_up(RECIPE, bucket, tmp_path / "again")
    assert told[-1].endswith(f"TimeoutError; going on from {place(tmp_path / 'again', 2)}")
