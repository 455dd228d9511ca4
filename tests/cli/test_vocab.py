"""`castor vocab`: learn from files and folders, report by script and language."""

import json
from pathlib import Path

import pytest

from castor.cli import main
from castor.cli.vocab import text_files
from castor.tokens.vocab import Vocab

ENGLISH = "All human beings are born free and equal in dignity and rights.\n"
GREEK = "Όλοι οι άνθρωποι γεννιούνται ελεύθεροι και ίσοι στην αξιοπρέπεια.\n"


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    folder = tmp_path / "udhr"
    folder.mkdir()
    (folder / "eng.txt").write_text(ENGLISH * 60, encoding="utf-8")
    (folder / "ell.txt").write_text(GREEK * 30, encoding="utf-8")
    (folder / "empty.txt").write_text("")
    (folder / "notes.pdf").write_text("not text")
    return folder


@pytest.fixture
def vocab(texts: Path, tmp_path: Path, capsys) -> Path:
    out = tmp_path / "new" / "vocab.model"
    argv = ["vocab", "learn", str(texts / "eng.txt"), "--out", str(out), "--size", "380"]
    assert main([*argv, "--codes", "10"]) == 0
    assert f"wrote {out}: 380 text ids" in capsys.readouterr().out
    return out


def test_what_was_learned_encodes_what_it_was_learned_from(vocab: Path) -> None:
    found = Vocab.load(vocab, codes=10)
    assert found.decode(found.encode(ENGLISH)) == ENGLISH
    assert len(found.encode(ENGLISH)) < len(ENGLISH) / 2


def test_the_report_puts_the_cheaper_script_first(vocab: Path, texts: Path, capsys) -> None:
    assert main(["vocab", "report", str(vocab), "--texts", str(texts)]) == 0
    text = capsys.readouterr().out
    assert text.index("Latin") < text.index("Greek")
    assert text.index("eng") < text.index("ell")


def test_the_report_comes_as_json_and_as_a_plot(
    vocab: Path, texts: Path, tmp_path: Path, capsys
) -> None:
    plot = tmp_path / "plot.png"
    argv = ["vocab", "report", str(vocab), "--texts", str(texts), "--json", "--plot", str(plot)]
    assert main(argv) == 0
    shown = capsys.readouterr()
    rows = json.loads(shown.out)["languages"]
    assert [row["name"] for row in rows] == ["eng", "ell"]
    assert shown.err == f"wrote {plot}\n"
    assert plot.read_bytes().startswith(b"\x89PNG")


def test_a_checkpoint_has_a_vocabulary_to_report_on(untrained: Path, texts: Path, capsys) -> None:
    assert main(["vocab", "report", str(untrained), "--texts", str(texts)]) == 0
    assert "Greek" in capsys.readouterr().out


def test_folders_give_their_texts_and_files_themselves(texts: Path) -> None:
    pdf = texts / "notes.pdf"
    assert text_files([texts, pdf]) == [texts / "ell.txt", texts / "eng.txt", pdf]


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["learn", "{folder}/none", "--out", "v"], "found no .txt or .md file at "),
        (["report", "{folder}/eng.txt", "--texts", "{folder}"], "not a SentencePiece model"),
    ],
)
def test_mistakes_are_told(argv: list[str], message: str, texts: Path, capsys) -> None:
    assert main(["vocab", *(word.format(folder=texts) for word in argv)]) == 1
    assert message in capsys.readouterr().err
