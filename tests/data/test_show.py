"""The page of a mixture: complete, self-contained, and true to what is learned."""

import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from castor.core.content import Media
from castor.data.augment import DRAWINGS
from castor.data.loader import Loader, See
from castor.data.mixture import Mixture, Part, Stage
from castor.data.show import page
from castor.data.sources import Books, EasyVqa, Emoji, Filmed, Fsdd, Playground
from castor.tokens.vocab import Vocab

PARTS = (
    Part(EasyVqa(), 1.0, augment=DRAWINGS),
    Part(Fsdd(), 1.0),
    Part(Filmed("clips"), 1.0),
    Part(Emoji("draw"), 1.0),
    Part(Playground("sums"), 1.0),
    Part(Books(), 1.0),
)


def blank_codes(media: Media) -> np.ndarray:
    return np.zeros((2, 2), np.int32)


@pytest.fixture(scope="module")
def html(data: Path, vocab: Vocab, see: See) -> str:
    loader = Loader(
        Mixture(PARTS, stages=(Stage(0.5, {"books": 0.0}),)),
        data=data,
        vocab=vocab,
        see=see,
        draw=blank_codes,
        rows=4,
        length=256,
        capacity={"image": 96, "audio": 96},
        seed=0,
        steps=10,
    )
    return page(loader, count=2, title="a <mixture>")


class Tags(HTMLParser):
    """Counts tags that are opened and never closed, or the other way round."""

    EMPTY = ("meta", "img")

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))
        if tag not in self.EMPTY:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def tags(html: str) -> list[tuple[str, dict[str, str | None]]]:
    parser = Tags()
    parser.feed(html)
    assert not parser.open
    return parser.seen


def test_every_tag_is_closed_and_names_are_escaped(html: str) -> None:
    assert tags(html)
    assert "<h1>a &lt;mixture&gt;</h1>" in html


def test_nothing_comes_from_outside_the_page(html: str) -> None:
    for tag, attributes in tags(html):
        assert tag not in ("script", "link", "iframe")
        for name in ("src", "href"):
            value = attributes.get(name) or "#"
            assert value.startswith(("data:", "#"))
    assert "http" not in html


def test_pictures_sounds_and_frames_are_there(html: str) -> None:
    kinds = [tag for tag, _ in tags(html)]
    assert kinds.count("img") == 2 * 1 + 2 * 3 + 2 * 1
    assert kinds.count("audio") == 2


def test_every_part_has_its_row_and_its_documents(html: str) -> None:
    for part in PARTS:
        assert html.count(f">{part.source.name}<") == 2  # in the table and above its documents
    assert html.count('class="card"') == 2 * len(PARTS)
    assert "share, steps 0–4" in html and "share, steps 5–9" in html


def test_learned_ids_are_green_and_prompts_are_not(html: str) -> None:
    spans = re.findall(r'<span class="(.)"( style="[^"]*")? title="id \d+, weight (\S+)">', html)
    assert spans
    assert all(bool(style) == (float(weight) > 0) for _, style, weight in spans)


def test_runs_of_slots_and_codes_are_one_box(html: str) -> None:
    assert re.search(r"‹image› × \d+", html) and "‹code› × 4" in html
    assert re.search(r"‹audio› × \d+", html) and "‹side 2›" in html
