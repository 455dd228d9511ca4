"""`generate`, `chat`, `demo` and `export` with a model that has learned nothing."""

import io
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from castor.checkpoint import load
from castor.cli import main, parser
from castor.cli.answering import document, load_engine, printable, sampling, write_picture
from castor.core.content import Document, Media, Text, Turn
from castor.core.media import media_from_file, open_image
from castor.evals.protocols import DRAWING
from castor.sample.choose import Sampling
from castor.sample.engine import Engine

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
BRIEF = ["--max-tokens", "8", "--temperature", "1"]


def test_flags_that_are_not_given_are_as_benchmarks_sample(untrained: Path) -> None:
    model = load_engine(untrained)[1]
    plain = parser().parse_args(["generate", "x", "--seed", "3", "--stop", "a", "--stop", "b"])
    drawn = parser().parse_args(["generate", "x", "--draw", "--grid", "16x16", "--top-p", "0.5"])
    said = Sampling(max_tokens=256, pictures="allowed", seed=3, stop=("a", "b"))
    assert sampling(plain, model) == said
    shown = replace(DRAWING, grid=(16, 16), top_p=0.5)
    assert sampling(drawn, model, draw=True) == shown


def test_words_come_after_the_files_and_instructions_before() -> None:
    picture = EXAMPLES / "scene.png"
    asked = document("What is this?", [picture], system="Be brief.")
    turns = (
        Turn("system", (Text("Be brief."),)),
        Turn("user", (media_from_file(picture), Text("What is this?"))),
    )
    assert asked == Document(turns)


def test_generate_prints_an_answer_about_a_file(untrained: Path, capsys) -> None:
    argv = ["generate", "What", "is", "this?", "--file", str(EXAMPLES / "digit.flac")]
    assert main([*argv, "--model", str(untrained), *BRIEF]) == 0
    first = capsys.readouterr().out
    assert first.endswith("\n")
    assert main([*argv, "--model", str(untrained), *BRIEF]) == 0
    assert capsys.readouterr().out == first


def test_generate_draws_and_prints_the_path(untrained: Path, tmp_path: Path, capsys) -> None:
    out = tmp_path / "cat.png"
    argv = ["generate", "a cat", "--draw", "--grid", "2x3", "--out", str(out)]
    assert main([*argv, "--model", str(untrained)]) == 0
    assert capsys.readouterr().out == f"[{out}]\n"
    assert open_image(out.read_bytes(), "image/png").shape == (16, 24, 3)


def test_generate_answers_in_the_form_of_the_api(
    untrained: Path, capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("Is this piped?\n"))
    assert main(["generate", "--json", "--model", str(untrained), *BRIEF]) == 0
    (turn,) = json.loads(capsys.readouterr().out)["contents"]
    assert turn["role"] == "model"


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["x", "--file", "nothing.png"], "nothing.png: no such file or directory"),
        (["x", "--model", "nowhere"], "nowhere cannot be loaded: there is no such directory"),
        (["x", "--temperature", "9"], "temperature=9.0 is outside 0 to 2"),
        (["x", "--draw", "--grid", "99x1"], "a picture has 1 to 32 codes a side; got 99 by 1"),
    ],
)
def test_generate_refuses_in_a_sentence(
    argv: list[str], message: str, untrained: Path, capsys
) -> None:
    where = [] if "--model" in argv else ["--model", str(untrained)]
    assert main(["generate", *argv, *where]) == 1
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_generate_without_prompt_file_or_pipe_says_what_to_give(
    capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    assert main(["generate"]) == 1
    assert "give a prompt or a --file, or pipe text in" in capsys.readouterr().err


def test_without_shipped_weights_the_way_to_make_them_is_told(
    capsys, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("castor.cli.answering.SHIPPED", tmp_path / "none")
    assert main(["generate", "x"]) == 1
    assert "castor train demo --data DIR --out RUN" in capsys.readouterr().err


def test_pictures_never_replace_one_another(tmp_path: Path) -> None:
    picture = Media("image/png", b"png")
    names = [write_picture(picture, out=tmp_path / "a.png").name for _ in range(3)]
    assert names == ["a.png", "a-1.png", "a-2.png"]
    assert write_picture(picture, out=tmp_path / "new").name == "picture-1.png"


def test_of_several_files_the_damaged_one_is_named(untrained: Path, tmp_path: Path, capsys) -> None:
    good, bad = EXAMPLES / "shapes.png", tmp_path / "cut.png"
    bad.write_bytes(good.read_bytes()[:200])
    asked = ["what?", "--file", str(good), "--file", str(bad)]
    assert main(["generate", "--model", str(untrained), *asked]) == 1
    assert capsys.readouterr().err.startswith(f"castor: {bad}: the image/png picture is damaged")


def test_control_characters_do_not_reach_a_terminal() -> None:
    assert printable("a\x1b[2J\tb\n") == "a\ufffd[2J\tb\n"


def test_chat_survives_mistakes_and_remembers_files(
    untrained: Path, tmp_path: Path, capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    picture = EXAMPLES / "shapes.png"
    lines = (
        f"hello\n/file none.wav\n/file\n/nope\n/file {picture}\nwhat is it?\n/new\n/quit\nnever\n"
    )
    monkeypatch.setattr("sys.stdin", io.StringIO(lines))
    monkeypatch.setattr("builtins.input", lambda prompt="": _next_line())

    def _next_line() -> str:
        import sys

        line = sys.stdin.readline()
        if not line:
            raise EOFError
        return line

    assert main(["chat", "--model", str(untrained), "--out", str(tmp_path), *BRIEF]) == 0
    shown = capsys.readouterr()
    assert shown.err.splitlines() == [
        "castor: none.wav: no such file or directory",
        "castor: /file needs the path of a picture, a recording or a clip",
        "castor: there is no /nope here; there is /file PATH /draw WORDS /new /quit",
    ]
    assert shown.out.count("\n") >= 2


def test_a_file_that_is_not_there_does_not_cost_the_one_before(
    untrained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard: list[Document] = []

    def stream(model: Engine, asked: Document, sampling: Sampling) -> Iterator[Text]:
        heard.append(asked)
        yield Text("a shape")

    lines = iter([f"/file {EXAMPLES / 'shapes.png'}", "/file none.png", "what is it?", "/quit"])
    monkeypatch.setattr("builtins.input", lambda prompt="": next(lines))
    monkeypatch.setattr(Engine, "stream", stream)
    assert main(["chat", "--model", str(untrained), "--out", str(tmp_path)]) == 0
    assert heard == [document("what is it?", [EXAMPLES / "shapes.png"])]


def test_a_chat_that_is_full_tells_the_way_out(
    untrained: Path, tmp_path: Path, capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    long = "many words and more of them " * 4
    lines = iter(["hello", *[long] * 8, "/new", "x" * 9_000, "/quit"])
    monkeypatch.setattr("builtins.input", lambda prompt="": next(lines))
    argv = ["chat", "--model", str(untrained), "--out", str(tmp_path), *BRIEF]
    assert main(argv) == 0
    *full, last = capsys.readouterr().err.splitlines()
    assert full and all(line.endswith("; /new starts over") for line in full)
    assert "tokens" in last and "/new" not in last  # too long by itself: another talk is no help


def test_demo_shows_question_answer_and_expectation(
    untrained: Path, tmp_path: Path, capsys
) -> None:
    lines = (EXAMPLES / "demo.jsonl").read_text(encoding="utf-8").splitlines()
    sums = next(line for line in lines if json.loads(line)["tags"] == ["sums"])
    examples = tmp_path / "demo.jsonl"
    examples.write_text(sums + "\n", encoding="utf-8")
    assert main(["demo", "--model", str(untrained), "--examples", str(examples)]) == 0
    shown = capsys.readouterr().out
    for piece in ("you:       What comes next", "castor:    ", "expected:  53", "1 answers in"):
        assert piece in shown


def test_the_shipped_examples_can_all_be_opened() -> None:
    from castor.cli.demo import read, shipped

    examples = read(shipped())
    kinds = {p.mime.split("/")[0] for e in examples for t in e.document.turns for p in t.parts
             if isinstance(p, Media)}  # fmt: skip
    assert kinds == {"image", "audio", "video"}
    assert any("draw" in e.document.tags for e in examples)


def test_a_demo_that_does_not_end_with_an_answer_is_refused(
    untrained: Path, tmp_path: Path, capsys
) -> None:
    examples = tmp_path / "bad.jsonl"
    examples.write_text('{"contents": [{"role": "user", "parts": [{"text": "?"}]}]}\n')
    assert main(["demo", "--model", str(untrained), "--examples", str(examples)]) == 1
    assert "bad.jsonl, line 1: an example ends with the model's answer" in capsys.readouterr().err


def test_export_writes_half_the_bytes_and_the_same_model(
    untrained: Path, tmp_path: Path, capsys
) -> None:
    assert main(["export", str(untrained), str(tmp_path / "small")]) == 0
    assert f"wrote {tmp_path / 'small'} (" in capsys.readouterr().out
    whole, small = load(untrained), load(tmp_path / "small")
    assert whole.config == small.config
    assert whole.vocab.digest == small.vocab.digest
    sizes = [sum(f.stat().st_size for f in p.rglob("*.safetensors")) for p in (untrained, tmp_path)]
    assert sizes[1] < 0.6 * sizes[0]


def test_export_loses_nothing_that_was_there(untrained: Path, tmp_path: Path, capsys) -> None:
    notes = tmp_path / "notes.txt"
    notes.write_text("mine")
    assert main(["export", str(untrained), str(tmp_path)]) == 1
    assert "holds notes.txt, which is no part of a model; name another" in capsys.readouterr().err
    assert main(["export", str(untrained), str(notes)]) == 1
    assert "notes.txt is a file; name a folder" in capsys.readouterr().err
    assert notes.read_text() == "mine"
    for _ in range(2):  # what an export wrote, another may replace
        assert main(["export", str(untrained), str(tmp_path / "small")]) == 0
