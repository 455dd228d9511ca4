"""The picture of a run is drawn from any log, and its names never cover each other."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from castor.core.media import open_image
from castor.train import curves
from castor.train.curves import draw_curves


def log(path: Path, sources: dict[str, dict[str, Any]], *, steps: int = 3) -> Path:
    """Lines of training and one of held-out data."""
    lines = [
        {"step": n, "loss": 1.0, "lr": 0.1, "tokens_per_s": 9.0, "utilisation": 0.3}
        | {"sources": sources}
        for n in range(1, steps + 1)
    ]
    held_out = {"step": steps, "held_out": {"loss": 1.5, "sources": sources}}
    path.write_text("".join(json.dumps(line) + "\n" for line in [*lines, held_out]))
    return path


@pytest.mark.parametrize(
    "sources",
    [
        {"books": {"nats": 2.0, "bits_per_byte": 1.9}, "draw": {"nats": 3.0}},
        {"emoji": {"psnr": 21.0}},
        {"never finite": {"nats": None}},
        {f"a very long name of a source, {i}": {"nats": 1.0 + i} for i in range(40)},
    ],
    ids=["model", "codec", "null", "many"],
)
def test_any_log_becomes_a_picture(tmp_path: Path, sources: dict[str, Any]) -> None:
    path = tmp_path / "curves.png"
    draw_curves(log(tmp_path / "m.jsonl", sources), path, title="a run")
    pixels = open_image(path.read_bytes(), "image/png")
    assert min(pixels.shape[:2]) > 800 and pixels.std() > 5


def test_a_long_log_is_drawn_by_means(tmp_path: Path) -> None:
    assert len(range(0, 1000, -(-1000 // curves.POINTS))) <= curves.POINTS
    path = tmp_path / "curves.png"
    sources = {"books": {"nats": 2.0, "bits_per_byte": 1.9}}
    draw_curves(log(tmp_path / "m.jsonl", sources, steps=1000), path, title="a run")
    assert path.exists()


def test_an_empty_log_is_no_picture(tmp_path: Path) -> None:
    draw_curves(tmp_path / "none.jsonl", tmp_path / "curves.png", title="a run")
    assert not (tmp_path / "curves.png").exists()


@given(st.lists(st.floats(0, 1), min_size=1, max_size=30))
def test_names_keep_their_order_and_distance(places: list[float]) -> None:
    places = sorted(places, reverse=True)
    least = min(0.03, 1 / max(1, len(places) - 1))
    spread = curves._spread(places, least=least)
    assert len(spread) == len(places) and max(spread) <= 1 + 1e-9 and min(spread) >= -1e-9
    assert all(a - b >= least - 1e-9 for a, b in zip(spread, spread[1:], strict=False))
