"""The picture of a run's time is drawn from any account, short or long."""

import json
from pathlib import Path
from typing import Any

import pytest

from castor.core.media import open_image
from castor.fleet.account import KINDS, account
from castor.fleet.timeline import COLOURS, draw_timeline

STEP = {"cause": "step", "begun": 0, "ended": 1, "step": 1}
LONG = [
    {"cause": "step", "begun": 3 * n, "ended": 3 * n + 2.9, "step": n % 400} for n in range(800)
]
FAULTS = [{"event": "fault", "at": 40 * n, "what": "some kind of kill", "n": n} for n in range(60)]


@pytest.mark.parametrize(
    "lines",
    [[STEP], [{"event": "started", "at": 0}, {"event": "ended", "at": 0.001}], [*LONG, *FAULTS]],
    ids=["one step", "no step", "many faults"],
)
def test_any_account_becomes_a_picture(tmp_path: Path, lines: list[dict[str, Any]]) -> None:
    path = tmp_path / "picture.png"
    draw_timeline(account(map(json.dumps, lines)), path, title="a run")
    pixels = open_image(path.read_bytes(), "image/png")
    assert min(pixels.shape[:2]) > 600 and pixels.std() > 5


def test_every_cause_has_a_colour_of_its_own() -> None:
    assert set(COLOURS) == set(KINDS)
    assert len(set(COLOURS.values())) == len(KINDS)


def test_the_time_line_shows_a_cause_at_its_place(tmp_path: Path) -> None:
    path = tmp_path / "picture.png"
    lost = {"cause": "restart", "begun": 1, "ended": 2}
    draw_timeline(account(map(json.dumps, [STEP, lost])), path, title="a run")
    pixels = open_image(path.read_bytes(), "image/png")
    row = pixels[len(pixels) // 4]
    step, restart = (bytes.fromhex(COLOURS[cause][1:]) for cause in ("step", "restart"))
    left, right = row[: len(row) // 2 - 20], row[len(row) // 2 + 20 :]
    assert (left == list(step)).all(-1).mean() > 0.8
    assert (right == list(restart)).all(-1).mean() > 0.8


def test_no_time_is_no_picture(tmp_path: Path) -> None:
    found = account(['{"event": "started", "at": 1}'])
    with pytest.raises(ValueError, match="the ledger spans no time yet"):
        draw_timeline(found, tmp_path / "picture.png", title="a run")
    assert not (tmp_path / "picture.png").exists()
