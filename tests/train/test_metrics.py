"""What a log line says: counted by hand on a small batch."""

import errno
import json
import math
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from castor.core.batch import Batch
from castor.fleet.team import Team
from castor.tokens.vocab import Control, Vocab
from castor.train.metrics import (
    Log,
    Sums,
    Tally,
    next_token_numbers,
    read,
    reconstruction_numbers,
    tally,
)
from castor.train.objectives import SOURCES, Loss


def sums_of(values: dict[int, tuple[float, float, float, float]]) -> Sums:
    """source: (nats, right, count, bytes)."""
    columns = np.zeros((4, SOURCES))
    for source, numbers in values.items():
        columns[:, source] = numbers
    nats, right, count, size = columns
    loss = Loss(nats.sum(), count.sum(), nats, right, count)
    sums = Sums()
    sums.add(loss, Tally(10, int(count.sum()), size.astype(np.float32), {1: "drawing", 2: "image"}))
    return sums


def test_a_tally_counts_bytes_tokens_and_what_documents_hold(vocab: Vocab) -> None:
    ids = [*vocab.encode("naïve 六"), Control.END]
    row = [Control.BOS, Control.IMAGE_BEGIN, Control.IMAGE, Control.IMAGE_END, *ids, Control.EOS]
    other = [Control.BOS, Control.DRAW_BEGIN, Control.IMAGE_BEGIN]
    tokens = np.zeros((2, len(row) + 2), np.int32)
    tokens[0, : len(row)], tokens[1, :3] = row, other
    weights = np.zeros(tokens.shape, np.float32)
    weights[0, 3 : 3 + len(ids)] = 0.5
    sources = np.zeros_like(tokens)
    sources[0], sources[1] = 3, 7
    targets = np.roll(tokens, -1, 1)
    segments = (np.arange(tokens.shape[1])[None] < np.array([[len(row)], [3]])).astype(np.int32)
    told = tally(
        Batch(tokens, targets, weights, segments, sources, sources, sources, {}), vocab=vocab
    )
    assert told.tokens == len(row) + 3 and told.learned == len(ids)
    assert (
        told.source_bytes[3] == len("naïve 六".encode())
        and told.source_bytes.sum() == (told.source_bytes[3])
    )
    assert told.modalities == {3: "image", 7: "drawing"}


def test_bits_per_byte_nats_and_accuracy_are_by_source_and_by_modality() -> None:
    numbers = next_token_numbers(
        sums_of({0: (8.0, 1, 4, 2), 1: (6.0, 3, 6, 5), 2: (2.0, 2, 2, 4), 4: (8.0, 1, 4, 2)}),
        ("books", "draw", "shapes", "unseen", "tales"),
    )
    assert numbers["sources"]["books"] == {
        "nats": 2.0,
        "accuracy": 0.25,
        "bits_per_byte": pytest.approx(8 / math.log(2) / 2),
        "targets": 4,
    }
    assert "unseen" not in numbers["sources"]
    assert "bits_per_byte" not in numbers["sources"]["draw"]
    assert list(numbers["modalities"]) == ["drawing", "image", "text"]
    assert numbers["modalities"]["text"]["targets"] == 8


def test_a_codecs_numbers_are_decibels() -> None:
    numbers = reconstruction_numbers(sums_of({0: (0.04, 0, 4, 0)}), ("emoji",))
    assert numbers == {"sources": {"emoji": {"psnr": pytest.approx(20.0)}}}


def test_sums_add_up() -> None:
    sums = sums_of({0: (8.0, 1, 4, 2)})
    sums.add(
        Loss(np.float32(4), np.float32(2), *[np.ones(SOURCES)] * 3),
        Tally(5, 2, np.ones(SOURCES, np.float32), {}),
    )
    assert (sums.steps, sums.tokens, sums.learned) == (2, 15, 6)
    assert sums.loss == 2.0 and sums.source_nats[0] == 9.0 and sums.source_bytes[0] == 3.0


def test_a_resumed_log_forgets_the_steps_that_come_again(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    log = Log(path, start=0, team=Team())
    for step in (10, 20, 30):
        log.add({"step": step, "loss": 1 / 3})
    with path.open("a") as stream:
        stream.write('{"step": 40, "lo')  # killed in mid-word
    Log(path, start=20, team=Team()).add({"step": 30, "loss": float("nan"), "inner": {"x": 2.0}})
    assert read(path) == [
        {"step": 10, "loss": 0.333333},
        {"step": 20, "loss": 0.333333},
        {"step": 30, "loss": None, "inner": {"x": 2.0}},
    ]
    assert [json.loads(line)["step"] for line in path.read_text().splitlines()] == [10, 20, 30]


def test_going_back_needs_no_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = Log(tmp_path / "log", start=0, team=Team())
    for step in (10, 20, 30):
        log.add({"step": step})

    def full(*_: Any, **__: Any) -> None:  # for a new file, or for more of an old one
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("tempfile.mkstemp", full)
    monkeypatch.setattr(Path, "write_bytes", full)
    Log(tmp_path / "log", start=20, team=Team())
    assert read(tmp_path / "log") == [{"step": 10}, {"step": 20}]


def test_a_log_that_is_not_there_has_no_lines(tmp_path: Path) -> None:
    assert read(tmp_path / "none.jsonl") == []


def test_on_a_full_disk_lines_wait_for_the_next_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = Log(tmp_path / "log", start=0, team=Team())
    log.add({"step": 1})
    whole = Path.open

    def full(path: Path, *given: Any, **more: Any) -> Any:
        with whole(path, "a") as stream:
            stream.write('{"st')
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "open", full)
    log.add({"step": 2})
    log.add({"step": 3})
    monkeypatch.undo()
    assert [line["step"] for line in read(tmp_path / "log")] == [1]
    log.back(2)
    log.add({"step": 3, "again": True})
    assert read(tmp_path / "log") == [{"step": 1}, {"step": 2}, {"step": 3, "again": True}]


def test_a_log_that_cannot_be_written_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = Log(tmp_path / "log", start=0, team=Team())

    def broken(*_: Any, **__: Any) -> Any:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(Path, "open", broken)
    with pytest.raises(OSError, match="error"):
        log.add({"step": 1})
