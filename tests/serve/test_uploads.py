"""Uploads: any cut of the bytes gives the same file, and what is lost is asked for again."""

import threading
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from castor.serve import uploads
from castor.serve.files import delete, find, resolve
from castor.serve.refusal import Refusal
from castor.serve.store import Store
from castor.serve.uploads import append, begin, cancel, finish, generated
from tests.serve.routed import cut, store_in


@pytest.fixture
def kept(tmp_path: Path) -> Store:
    return store_in(tmp_path, file_bytes=3 << 20, total_bytes=4 << 20)[0]


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return store_in(tmp_path_factory.mktemp("data"))[0]


@settings(max_examples=25, deadline=None)
@given(content=st.binary(max_size=200), places=st.lists(st.integers(0, 200), max_size=6))
def test_any_cut_into_requests_gives_the_same_file(
    shared: Store, content: bytes, places: list[int]
) -> None:
    upload = begin(shared, size=len(content))
    for offset, piece in cut(content, places):
        append(shared, upload.id, offset, piece)
    assert resolve(shared, finish(shared, upload.id).name)[1] == content


def test_the_address_of_an_upload_cannot_be_guessed(kept: Store) -> None:
    ids = {begin(kept).id for _ in range(50)}
    assert len(ids) == 50 and all(len(id) == 40 and id.isalnum() for id in ids)


def test_cancelling_touches_nothing_but_uploads(kept: Store) -> None:
    cancel(kept, "../castor.db")
    assert (kept.folder / "castor.db").exists()


def test_the_first_of_two_senders_wins(kept: Store) -> None:
    upload = begin(kept)
    append(kept, upload.id, 0, b"ab")
    with pytest.raises(Refusal, match="those from 2 on are due"):
        append(kept, upload.id, 0, b"xyz")
    assert resolve(kept, finish(kept, upload.id).name)[1] == b"ab"


def test_an_upload_that_changes_while_it_is_finished_is_not(
    kept: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    upload = begin(kept)
    append(kept, upload.id, 0, b"ab")
    monkeypatch.setattr(uploads, "flush", lambda path: append(kept, upload.id, 2, b"c"))
    with pytest.raises(Refusal, match="Another request has changed this upload") as told:
        finish(kept, upload.id)
    assert (told.value.code, told.value.status) == (409, "ABORTED")


def test_bytes_that_were_lost_are_asked_for_again(kept: Store) -> None:
    upload = begin(kept)
    append(kept, upload.id, 0, b"abcd")
    kept.part(upload.id).write_bytes(b"ab")  # as a power cut may leave it
    with pytest.raises(Refusal, match="4 bytes are due and 2 came"):
        finish(kept, upload.id)
    append(kept, upload.id, 2, b"cd")
    assert resolve(kept, finish(kept, upload.id).name)[1] == b"abcd"


def test_a_finished_file_that_was_deleted_is_not_told_again(kept: Store) -> None:
    upload = begin(kept)
    delete(kept, finish(kept, upload.id).name)
    with pytest.raises(Refusal, match="may not exist"):
        finish(kept, upload.id)


def test_a_name_that_is_taken_while_the_bytes_come_is_refused(kept: Store) -> None:
    upload = begin(kept, name="mine")
    generated(kept, [b"first"], mime="text/plain", name="mine")
    with pytest.raises(Refusal, match="File files/mine already exists") as told:
        finish(kept, upload.id)
    assert told.value.status == "ALREADY_EXISTS"


def test_all_files_together_have_a_limit(kept: Store) -> None:
    generated(kept, [bytes(3 << 20)], mime="a/b")
    with pytest.raises(Refusal, match="All files may take 4194304 bytes together") as told:
        generated(kept, [b"x" * (2 << 20)], mime="a/b")
    assert told.value.status == "RESOURCE_EXHAUSTED"
    assert not list((kept.folder / "parts").iterdir())
    generated(kept, [bytes(1 << 20)], mime="a/b")


def test_a_file_that_the_server_writes_is_generated(kept: Store) -> None:
    file = generated(kept, iter([b"a", b"b"]), mime="text/plain", display_name="Mine")
    assert find(kept, file.name).source == "GENERATED"


def test_an_upload_that_is_finished_twice_at_once_is_one_file(kept: Store) -> None:
    content = bytes(2 << 20)
    upload = begin(kept)
    append(kept, upload.id, 0, content)
    made: list[str] = []
    threads = [
        threading.Thread(target=lambda: made.append(finish(kept, upload.id).name)) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 4 and len(set(made)) == 1
