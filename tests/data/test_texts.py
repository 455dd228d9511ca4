"""Texts: passages that cover a file exactly, and books whose authors never meet."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from castor.core.content import Text
from castor.data.source import Source
from castor.data.texts import TRAINING_AUTHORS, Books, Corpus, Passages, cuts, poems


def text_of(source: Source, i: int) -> str:
    part = source.document(i, np.random.default_rng(0)).turns[0].parts[0]
    assert isinstance(part, Text)
    return part.text


@given(st.text(), st.integers(8, 60))
def test_passages_cover_a_text_and_split_no_character(text: str, size: int) -> None:
    data = text.encode()
    ends = [0, *cuts(data, size)]
    pieces = [data[a:b] for a, b in zip(ends, ends[1:], strict=False)]
    assert b"".join(pieces) == data
    assert all(0 < len(piece) <= size for piece in pieces)
    assert "".join(piece.decode() for piece in pieces) == text


def test_passages_end_with_paragraphs_where_there_are_any() -> None:
    data = b"one two three.\n\nfour five six seven eight nine ten"
    assert data[: cuts(data, 25)[0]] == b"one two three.\n\n"


def test_a_book_is_read_whole_and_in_order(tmp_path: Path) -> None:
    words = " ".join(f"word{i}" for i in range(2000))
    (tmp_path / "a.txt").write_text(words)
    source = Passages("a", [tmp_path / "a.txt"])
    assert "".join(text_of(source, i) for i in range(len(source))) == words


def test_a_file_that_is_not_utf_8_is_read_as_latin_1(data: Path) -> None:
    source = Corpus("genesis").open(data, "train")
    texts = [text_of(source, i) for i in range(len(source))]
    assert any("größer" in text for text in texts)


def test_books_for_evaluation_are_by_other_authors(data: Path) -> None:
    for split, wanted in (("train", {"Jane_Austen", "Mark_Twain"}), ("eval", {"Bram_Stoker"})):
        source = Books().open(data, split)
        origins = (source.document(i, np.random.default_rng(0)).origin for i in range(len(source)))
        assert {origin.split("/")[1].split("__")[0] for origin in origins} == wanted


def test_a_folder_without_training_authors_is_all_for_evaluation(tmp_path: Path) -> None:
    folder = tmp_path / "text_corpus/books"
    folder.mkdir(parents=True)
    for name in ("New_Author__One.md", "Other_Author__Two.md"):
        (folder / name).write_text("A short book.")
    assert len(Books().open(tmp_path, "eval")) == 2
    with pytest.raises(ValueError, match="no book by a training author"):
        Books().open(tmp_path, "train")


def test_the_held_out_authors_of_the_published_folder_are_no_training_authors() -> None:
    held_out = {"Bram_Stoker", "Edith_Nesbit", "Emily_Bronte", "Frederick_Douglass"}
    held_out |= {"H.G._Wells", "Kate_Chopin", "Rudyard_Kipling"}
    assert not held_out & TRAINING_AUTHORS
    assert len(TRAINING_AUTHORS) == 66


def test_verses_lose_their_numbers(data: Path) -> None:
    text = text_of(Corpus("bibles").open(data, "train"), 0)
    assert text.startswith("uJuda") and "b.MAT" not in text


def test_poems_come_with_title_and_author(tmp_path: Path) -> None:
    nested = {
        "title": "唐诗",
        "content": [{"type": "x", "content": [{"author": "李白", "paragraphs": ["床前", "疑是"]}]}],
    }
    (tmp_path / "a.json").write_text(json.dumps([{"para": ["一"], "title": "二"}, nested]))
    assert poems(tmp_path / "a.json") == ["二\n一", "李白\n床前\n疑是"]


def test_a_corpus_that_is_not_there_is_refused_with_its_home(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"looked for .*bibles/\*.tsv and found none; .*github"):
        Corpus("bibles").open(tmp_path, "train")
    with pytest.raises(ValueError, match="gutenberg"):
        Books().open(tmp_path, "train")


def test_empty_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("")
    with pytest.raises(ValueError, match="the 1 files of 'a' hold no text"):
        Passages("a", [tmp_path / "a.txt"])


def test_damaged_poems_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("[{")
    with pytest.raises(ValueError, match="a.json: no JSON"):
        poems(tmp_path / "a.json")
