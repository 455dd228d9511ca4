"""The store: what is in it is whole, whatever dies; servers share it; a full disk is told."""

import asyncio
import errno
import hashlib
import io
import sqlite3
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from castor.serve import files, store, uploads
from castor.serve.refusal import Refusal
from castor.serve.store import HOUR, Store, keep_clean
from tests.serve.routed import store_in

KILLED = Path(__file__).with_name("killed.py")


def names_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def lives_through_kills(folder: Path, *, step: int) -> int:
    """How many lines the life has that was cut off at every `step`-th of them."""
    command = [sys.executable, str(KILLED), str(folder), str(step)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return int(done.stdout)


def test_a_kill_at_many_lines_leaves_a_store_that_is_whole(tmp_path: Path) -> None:
    assert lives_through_kills(tmp_path / "data", step=23) > 500


@pytest.mark.slow
def test_a_kill_at_any_line_leaves_a_store_that_is_whole(tmp_path: Path) -> None:
    assert lives_through_kills(tmp_path / "data", step=1) > 500


class Life(RuleBasedStateMachine):
    """Any order of uploads, deletions, restarts and time, beside a dictionary."""

    folder: Path

    def __init__(self) -> None:
        super().__init__()
        self.data = self.folder / uploads.new_id(8)
        self.store, self.clock = store_in(self.data)
        self.files: dict[str, tuple[bytes, float]] = {}

    @rule(name=st.sampled_from(["a", "b", "c"]), content=st.sampled_from([b"", b"x", b"yz"]))
    def upload(self, name: str, content: bytes) -> None:
        try:
            file = uploads.generated(self.store, [content], mime="text/plain", name=name)
            self.files[file.name] = content, file.expires
        except Refusal as error:
            assert error.code == 409 and f"files/{name}" in self.alive()

    @precondition(lambda self: self.alive())
    @rule(data=st.data())
    def delete(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(self.alive())))
        files.delete(self.store, name)
        del self.files[name]

    @rule(hours=st.sampled_from([1, 30]))
    def wait(self, hours: int) -> None:
        self.clock.now += hours * HOUR

    @rule()
    def reopen(self) -> None:
        self.store.close()
        self.store = Store(self.data, clock=self.clock)

    @rule()
    def clean(self) -> None:
        self.store.clean()
        contents = {hashlib.sha256(content).hexdigest() for content, _ in self.alive().values()}
        assert names_in(self.data / "blobs") == contents

    def alive(self) -> dict[str, tuple[bytes, float]]:
        return {name: entry for name, entry in self.files.items() if entry[1] > self.clock.now}

    @invariant()
    def files_are_what_they_should_be(self) -> None:
        for name, (content, _) in self.alive().items():
            assert files.resolve(self.store, name) == ("text/plain", content)
        for name in self.files.keys() - self.alive().keys():
            with pytest.raises(LookupError):
                files.resolve(self.store, name)

    def teardown(self) -> None:
        self.store.close()


def test_files_are_what_a_dictionary_would_hold(tmp_path: Path) -> None:
    class Here(Life):
        folder = tmp_path

    case = Here.TestCase
    case.settings = settings(max_examples=15, stateful_step_count=12, deadline=None)
    case("runTest").runTest()


def test_equal_contents_lie_once_and_stay_until_the_last_of_them_goes(tmp_path: Path) -> None:
    kept, _ = store_in(tmp_path)
    first = uploads.generated(kept, [b"same"], mime="text/plain")
    second = uploads.generated(kept, [b"sa", b"me"], mime="text/html")
    assert len(names_in(tmp_path / "blobs")) == 1
    files.delete(kept, first.name)
    assert files.resolve(kept, second.name) == ("text/html", b"same")
    files.delete(kept, second.name)
    assert not names_in(tmp_path / "blobs")


def test_cleaning_forgets_uploads_that_nobody_went_on_with(tmp_path: Path) -> None:
    kept, clock = store_in(tmp_path)
    upload = uploads.begin(kept)
    uploads.append(kept, upload.id, 0, b"half")
    clock.now += 47 * HOUR
    kept.clean()
    assert names_in(tmp_path / "parts") == {upload.id}
    clock.now += 2 * HOUR
    kept.clean()
    assert not names_in(tmp_path / "parts")
    with pytest.raises(Refusal, match="waited too long"):
        uploads.find_upload(kept, upload.id)


def test_cleaning_forgets_files_whose_bytes_someone_has_removed(tmp_path: Path) -> None:
    kept, _ = store_in(tmp_path)
    file = uploads.generated(kept, [b"gone"], mime="text/plain")
    kept.blob(file.sha256).unlink()
    with pytest.raises(LookupError):
        files.resolve(kept, file.name)
    kept.clean()
    with pytest.raises(Refusal, match="may not exist"):
        files.find(kept, file.name)


def test_cleaning_goes_on_by_itself(tmp_path: Path) -> None:
    kept, _ = store_in(tmp_path)
    (tmp_path / "parts" / "stray").write_bytes(b"")

    async def scenario() -> None:
        with suppress(TimeoutError):
            await asyncio.wait_for(keep_clean(kept, every_s=0.01), 0.3)

    asyncio.run(scenario())
    assert not names_in(tmp_path / "parts")


def test_a_failed_cleaning_is_logged_and_tried_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    kept, _ = store_in(tmp_path)
    (tmp_path / "parts" / "folder").mkdir()  # cannot be unlinked

    async def scenario() -> None:
        with suppress(TimeoutError):
            await asyncio.wait_for(keep_clean(kept, every_s=0.01), 0.3)

    asyncio.run(scenario())
    assert caplog.messages.count("the store could not be cleaned") > 1


def test_two_servers_change_one_folder_at_the_same_time(tmp_path: Path) -> None:
    stores = [Store(tmp_path), Store(tmp_path)]
    made: list[str] = []

    def work(kept: Store, number: int) -> None:
        for i in range(5):
            content = f"{i if number % 2 else number}".encode()  # some equal, some not
            made.append(uploads.generated(kept, [content], mime="text/plain").name)
            files.delete(kept, uploads.generated(kept, [content], mime="text/plain").name)

    threads = [
        threading.Thread(target=work, args=(kept, number)) for number, kept in enumerate(stores * 2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 20
    for name in made:
        assert files.resolve(stores[0], name) == files.resolve(stores[1], name)


def test_many_servers_may_open_a_new_folder_at_once(tmp_path: Path) -> None:
    opened: list[Store] = []
    threads = [
        threading.Thread(target=lambda: opened.append(Store(tmp_path / "new"))) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(opened) == 8


def test_a_store_that_others_keep_busy_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "WAIT_S", 0.05)
    first, second = Store(tmp_path), Store(tmp_path)
    with first.write(), pytest.raises(Refusal, match="Other servers keep .* busy") as told:
        uploads.begin(second)
    assert told.value.status == "UNAVAILABLE"


def test_a_folder_of_a_newer_castor_is_refused(tmp_path: Path) -> None:
    Store(tmp_path).close()
    with sqlite3.connect(tmp_path / "castor.db") as rows:
        rows.execute("PRAGMA user_version = 7")
    rows.close()
    with pytest.raises(ValueError, match="newer castor .its layout is 7, this one knows 1"):
        Store(tmp_path)


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    (tmp_path / "castor.db").write_bytes(b"something else entirely, and long enough" * 99)
    with pytest.raises(ValueError, match="castor.db is not a database of castor's"):
        Store(tmp_path)


def test_a_folder_that_cannot_be_made_is_an_error_of_the_disk(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(OSError, match="file"):
        Store(tmp_path / "file" / "data")


def test_other_people_of_the_machine_cannot_look_into_the_folder(tmp_path: Path) -> None:
    Store(tmp_path / "data")
    assert (tmp_path / "data").stat().st_mode & 0o077 == 0


class FullDisk(io.FileIO):
    """Takes two bytes and no more."""

    def write(self, data: Any) -> int:
        super().write(bytes(data)[:2])
        raise OSError(errno.ENOSPC, "No space left on device")


def test_a_full_disk_is_told_and_nothing_half_written_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept, _ = store_in(tmp_path)
    upload = uploads.begin(kept)
    uploads.append(kept, upload.id, 0, b"abc")
    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", lambda path, mode, buffering: FullDisk(path, mode))
        with pytest.raises(Refusal, match="is full. Free some space") as told:
            uploads.append(kept, upload.id, 3, b"defgh")
    assert (told.value.code, told.value.status) == (503, "UNAVAILABLE")
    assert kept.part(upload.id).read_bytes() == b"abc"
    uploads.append(kept, upload.id, 3, b"def")  # there is room again
    assert files.resolve(kept, uploads.finish(kept, upload.id).name)[1] == b"abcdef"


def test_a_database_that_cannot_grow_is_a_full_disk(tmp_path: Path) -> None:
    kept, _ = store_in(tmp_path)
    with kept.write() as rows:
        pages = rows.execute("PRAGMA page_count").fetchone()[0]
        rows.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(Refusal, match="is full"):
        kept.save_interaction("long", {"text": "x" * 100_000})
    assert kept.load_interaction("long") is None


def test_a_database_that_the_disk_refuses_to_write_is_told(tmp_path: Path) -> None:
    kept, _ = store_in(tmp_path)
    error = sqlite3.OperationalError("disk I/O error")
    error.sqlite_errorcode = sqlite3.SQLITE_IOERR_WRITE
    with pytest.raises(Refusal, match="cannot be written. Is it full"), kept.write():
        raise error


def test_other_errors_of_the_disk_and_the_database_are_not_dressed_up(tmp_path: Path) -> None:
    kept, _ = store_in(tmp_path)
    with pytest.raises(PermissionError), kept.write():
        raise PermissionError
    with pytest.raises(sqlite3.OperationalError, match="no such table"), kept.read() as rows:
        rows.execute("SELECT * FROM absent")


def test_interactions_are_kept_for_55_days(tmp_path: Path) -> None:
    kept, clock = store_in(tmp_path)
    kept.save_interaction("one", {"status": "queued"})
    kept.save_interaction("one", {"status": "completed"})
    clock.now += 54 * 24 * HOUR
    kept.clean()
    assert kept.load_interaction("one") == {"status": "completed"}
    clock.now += 2 * 24 * HOUR
    assert kept.load_interaction("one") is None


def test_an_interaction_is_deleted_once(tmp_path: Path) -> None:
    kept, _ = store_in(tmp_path)
    kept.save_interaction("one", {})
    assert [kept.delete_interaction("one") for _ in range(2)] == [True, False]
