"""The frame of the command: exit codes, sentences instead of tracebacks, help that stays quick."""

import argparse
import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

import castor.cli
from castor.cli import main, parser, sentence
from castor.cli.flags import (
    Verbs,
    count,
    count_from_one,
    mesh_sizes,
    positive_or_zero,
    share,
    side_by_side,
)
from castor.cli.reference import reference, walk

ROOT = Path(__file__).resolve().parents[2]


def raising(error: BaseException):
    def run(arguments: argparse.Namespace) -> int:
        raise error

    return run


@pytest.fixture
def verb_that(monkeypatch: pytest.MonkeyPatch):
    """Make the verb `completion bash` raise what is given."""

    def install(error: BaseException) -> list[str]:
        monkeypatch.setattr(castor.cli.completion, "run", raising(error))
        return ["completion", "bash"]

    return install


def test_a_mistake_of_the_user_is_one_sentence(verb_that, capsys) -> None:
    assert main(verb_that(ValueError("the\n  answer is\n42"))) == 1
    assert capsys.readouterr().err == "castor: the answer is 42\n"


def test_a_missing_file_is_named_without_pythons_words(verb_that, capsys) -> None:
    error = FileNotFoundError(2, "No such file or directory", "cat.png")
    assert main(verb_that(error)) == 1
    assert capsys.readouterr().err == "castor: cat.png: no such file or directory\n"


def test_an_error_without_words_has_the_name_of_its_kind() -> None:
    assert sentence(ValueError()) == "ValueError"
    assert sentence(OSError("disk is full")) == "disk is full"


def test_debug_before_or_after_the_verb_shows_the_traceback(verb_that) -> None:
    argv = verb_that(ValueError("no"))
    for order in (["--debug", *argv], [*argv, "--debug"]):
        with pytest.raises(ValueError, match="no"):
            main(order)


def test_our_own_mistakes_keep_their_traceback(verb_that) -> None:
    with pytest.raises(KeyError):
        main(verb_that(KeyError("bug")))


def test_control_c_exits_with_130(verb_that, capsys) -> None:
    assert main(verb_that(KeyboardInterrupt())) == 130
    assert capsys.readouterr().err == "castor: stopped\n"


@pytest.mark.parametrize(
    "argv", [[], ["nothing"], ["generate", "--seed", "x"], ["eval", "--limit=-1"]]
)
def test_wrong_usage_exits_with_2(argv: list[str], capsys) -> None:
    with pytest.raises(SystemExit) as end:
        main(argv)
    assert end.value.code == 2
    assert "usage: castor" in capsys.readouterr().err


def test_a_reader_that_has_gone_is_no_failure() -> None:
    command = f"{sys.executable} -m castor.cli completion bash | head -1"
    done = subprocess.run(command, shell=True, cwd=ROOT, capture_output=True, text=True)
    assert done.stderr == ""
    assert len(done.stdout.splitlines()) == 1


def test_every_verb_says_what_it_does() -> None:
    for verb in walk(parser()):
        assert verb.description, verb.prog
        for action in verb._actions:
            assert action.help or isinstance(action, Verbs), f"{verb.prog}: {action.dest}"


def test_the_page_of_the_command_line_is_up_to_date() -> None:
    page = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")
    assert page == reference(), "run `make docs`"


@pytest.mark.parametrize("shell", ["bash", "zsh", "tcsh"])
def test_completion_knows_every_verb_and_completes_paths(shell: str, capsys) -> None:
    assert main(["completion", shell]) == 0
    script = capsys.readouterr().out
    for verb in ("train", "generate", "doctor"):
        assert verb in script
    files = {"bash": "_shtab_compgen_files", "zsh": "_files", "tcsh": "f"}[shell]
    assert re.search(rf"\b{files}\b", script)


def test_readme_and_docs_name_only_verbs_and_flags_that_exist() -> None:
    verbs = {verb.prog.removeprefix("castor").strip(): verb for verb in walk(parser())}
    for page in [ROOT / "README.md", *(ROOT / "docs").glob("*.md"), ROOT / "CHANGELOG.md"]:
        for line in re.findall(r"castor ([a-z][^`\n#]*)", page.read_text(encoding="utf-8")):
            words = line.split()
            name = next((n for n in (" ".join(words[:2]), words[0]) if n in verbs), None)
            if name is None:
                assert words[0] not in ("make", "run"), line
                continue
            given = [verbs[name], verbs["train"]] if name == "launch" else [verbs[name]]
            known = {s for verb in given for action in verb._actions for s in action.option_strings}
            for flag in (w.partition("=")[0] for w in words if re.fullmatch(r"--[a-z-]+(=.*)?", w)):
                assert flag in known or flag == "--debug", (
                    f"{page.name}: castor {name} has no {flag}"
                )


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        (count, "3", 3),
        (count_from_one, "1", 1),
        (positive_or_zero, "0.5", 0.5),
        (share, "1", 1.0),
        (side_by_side, "8x4", (8, 4)),
        (mesh_sizes, "fsdp=4,tensor=2", {"fsdp": 4, "tensor": 2}),
    ],
)
def test_values_of_flags_are_read(kind, text: str, value: object) -> None:
    assert kind(text) == value


@pytest.mark.parametrize(
    ("kind", "text"),
    [(count, "-1"), (positive_or_zero, "-0.1"), (positive_or_zero, "inf"), (share, "0"),
     (share, "1.1"), (side_by_side, "8"), (side_by_side, "axb"), (side_by_side, "0x1"),
     (mesh_sizes, "fsdp"), (mesh_sizes, "fsdp=0"), (mesh_sizes, "rows=2"),
     (mesh_sizes, "fsdp=2,fsdp=2"),
     (count_from_one, "0"), (count_from_one, "-1"), (count_from_one, "x")],
)  # fmt: skip
def test_values_out_of_range_are_refused(kind, text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match=re.escape(text)):
        kind(text)


def test_a_benchmark_of_no_problems_is_wrong_usage(capsys) -> None:
    for flag, message in (
        ("--limit=0", "--limit: '0' is not a whole number, 1 or more"),
        ("--seed=-1", "--seed: -1 is negative"),
    ):
        with pytest.raises(SystemExit):
            main(["eval", "sums", flag])
        assert message in capsys.readouterr().err


def templates() -> list[str]:
    """Every text in the package, with … for what is filled in."""
    found = []
    for path in (ROOT / "castor").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.JoinedStr):
                parts = (p.value if isinstance(p, ast.Constant) else "…" for p in node.values)
                found.append("".join(map(str, parts)))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.append(node.value)
    return found


def test_the_messages_that_the_faq_answers_exist() -> None:
    page = (ROOT / "docs" / "faq.md").read_text(encoding="utf-8")
    headings = re.findall(r"^## (.*)$", page, flags=re.MULTILINE)
    ours = "\n".join([*templates(), (ROOT / "Makefile").read_text(encoding="utf-8")])
    ours = ours.replace('" \\\n\t\t"', " ")  # a sentence over two lines of a recipe
    # pip's, and no messages at all
    others = ("ERROR:", "Training starts", "A GPU is there", "The scores differ")
    for heading in headings:
        if heading.startswith(others):
            continue
        for piece in heading.split("…"):
            assert piece.strip() in ours, f"{heading!r}: {piece.strip()!r} is said nowhere"
