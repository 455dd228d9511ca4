"""Terms of use: every published set has them, and the shipped model's allow it."""

from pathlib import Path
from typing import get_args

from castor.data import folders
from castor.data.sources import LICENCES, RESEARCH, TEXTS, Corpus, SourceSpec, TextTask, licence
from castor.recipes import RECIPES

PAGE = Path(__file__).parents[2] / "docs" / "data.md"


def test_every_published_source_has_a_licence() -> None:
    own = {spec for spec in get_args(SourceSpec) if spec.__module__ == folders.__name__}
    assert set(get_args(SourceSpec)) - own == {*LICENCES, Corpus, TextTask}
    parts = Corpus.where.keys()
    assert TEXTS.keys() == parts and licence(Corpus("poetry")) == "MIT"


def test_the_shipped_model_learns_from_nothing_closed() -> None:
    for name in ("demo", "tiny"):
        assert RESEARCH not in {licence(part.source) for part in RECIPES[name].mixture.parts}
    assert RESEARCH in {licence(part.source) for part in RECIPES["demo_research"].mixture.parts}
    assert licence(TextTask("alpaca")) == RESEARCH != licence(TextTask("gsm8k"))


def test_the_page_on_data_names_the_same_licences() -> None:
    rows = [line for line in PAGE.read_text().splitlines() if line.startswith("| `")]
    for spec, terms in LICENCES.items():
        if terms not in (RESEARCH, "made by Castor"):
            assert any(f"`{spec.__name__}`" in row and terms in row for row in rows), spec


def test_the_page_on_data_names_every_place_and_licence_of_the_texts() -> None:
    (row,) = [line for line in PAGE.read_text().splitlines() if "`Corpus(part)`" in line]
    places = {pattern.split("/")[0] for found in Corpus.where.values() for pattern in found}
    assert [name for name in (*places, *TEXTS.values()) if name not in row] == []
